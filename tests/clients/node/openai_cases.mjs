// The official OpenAI SDK for Node, current and previous major.
import { z } from "zod";
import { CITY_CALL, PIXEL, RESULTS, headers, run, say, settings } from "./cases.mjs";

const { default: OpenAI } = await import(settings.package);
const { zodResponseFormat } = await import(`${settings.package}/helpers/zod`);
const { model, url, key } = settings;
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0, defaultHeaders: headers });
const user = (text) => [{ role: "user", content: say(text) }];
const chat = (text, options = {}) => client.chat.completions.create({ model, messages: user(text), ...options });
const faulty = (text, options = {}) => {
  const { ["x-request-id"]: _, ...none } = headers;
  const plain = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0, defaultHeaders: none });
  return plain.chat.completions.create({ model: settings.faulty, messages: user(text), ...options });
};

const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [
  { type: "function", function: { name: "get_weather", parameters } },
  { type: "function", function: { name: "get_time", parameters: { type: "object", properties: {} } } },
];
const flat = tools.map(({ function: { name, parameters } }) => ({ type: "function", name, parameters, strict: false }));
const City = z.object({ name: z.string(), inhabitants: z.number().int() });

async function text(stream) {
  let seen = "";
  for await (const chunk of stream) seen += chunk.choices[0]?.delta?.content ?? "";
  return seen;
}

await run({
  async text() {
    const answer = await chat("usage:in=30,read=20,out=9 echo:Grüße, 東京 🗼");
    const { prompt_tokens, completion_tokens, prompt_tokens_details } = answer.usage;
    const usage = [prompt_tokens, prompt_tokens_details?.cached_tokens, completion_tokens];
    return { text: answer.choices[0].message.content, stop: answer.choices[0].finish_reason, usage };
  },
  async stream() {
    const stream = await chat("split:3 usage:in=30,out=9 echo:Grüße, 東京 🗼", {
      stream: true,
      stream_options: { include_usage: true },
    });
    const seen = { text: "", usage: null };
    for await (const chunk of stream) {
      seen.text += chunk.choices[0]?.delta?.content ?? "";
      if (chunk.usage) seen.usage = [chunk.usage.prompt_tokens, chunk.usage.completion_tokens];
    }
    return seen;
  },
  async tools() {
    const first = await chat(CITY_CALL, { tools });
    const message = first.choices[0].message;
    const messages = [...user(CITY_CALL), message];
    for (const call of message.tool_calls) {
      messages.push({ role: "tool", tool_call_id: call.id, content: RESULTS[call.function.name] });
    }
    const second = await client.chat.completions.create({ model, messages, tools });
    return {
      stop: first.choices[0].finish_reason,
      calls: message.tool_calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]),
      text: second.choices[0].message.content,
    };
  },
  async streamedTools() {
    const stream = client.chat.completions.stream({ model, messages: user(`${CITY_CALL} echo:Looking.`), tools });
    const message = (await stream.finalChatCompletion()).choices[0].message;
    return {
      text: message.content,
      calls: message.tool_calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]),
    };
  },
  async toolRunner() {
    const runner = client.chat.completions.runTools({
      model,
      messages: user(CITY_CALL),
      tools: tools.map(({ function: { name, parameters } }) => ({
        type: "function",
        function: { name, parameters, parse: JSON.parse, function: () => RESULTS[name] },
      })),
    });
    return await runner.finalContent();
  },
  async structured() {
    const response_format = zodResponseFormat(City, "city");
    const answer = await client.chat.completions.parse({ model, messages: user("a city"), response_format });
    return answer.choices[0].message.parsed;
  },
  async image() {
    const content = [
      { type: "text", text: say("echo:a pixel") },
      { type: "image_url", image_url: { url: `data:image/png;base64,${PIXEL}` } },
    ];
    const answer = await client.chat.completions.create({ model, messages: [{ role: "user", content }] });
    return answer.choices[0].message.content;
  },
  async stopAndCap() {
    const stopped = await chat("echo:before END after", { stop: ["END"] });
    const capped = await chat("echo:one two three", { max_completion_tokens: 2 });
    return [stopped, capped].map(({ choices: [choice] }) => [choice.message.content, choice.finish_reason]);
  },
  async responses() {
    const answer = await client.responses.create({ model, input: say("echo:Hallo ✓"), instructions: "Be brief." });
    return { text: answer.output_text, status: answer.status };
  },
  async responsesStream() {
    const stream = client.responses.stream({ model, input: say(`${CITY_CALL} echo:Looking.`), tools: flat });
    const answer = await stream.finalResponse();
    const calls = answer.output.filter((item) => item.type === "function_call");
    return { text: answer.output_text, calls: calls.map((call) => [call.name, JSON.parse(call.arguments)]) };
  },
  async models() {
    const ids = [];
    for await (const listed of client.models.list()) ids.push(listed.id);
    return ids.length > 0;
  },
  async errorKey() {
    await new OpenAI({ baseURL: `${url}/v1`, apiKey: "tg-wrong" }).models.list();
  },
  async errorModel() {
    await client.chat.completions.create({ model: "no-such-model", messages: user("hello") });
  },
  error400: () => faulty("error:400"),
  error429: () => faulty("error:429;retry-after=1"),
  error500: () => faulty("error:500"),
  async midStream() {
    const seen = { text: "", error: null };
    try {
      for await (const chunk of await faulty("cut:6 echo:one two three four", { stream: true })) {
        seen.text += chunk.choices[0]?.delta?.content ?? "";
      }
    } catch (error) {
      seen.error = error instanceof OpenAI.APIError ? "APIError" : error.constructor.name;
    }
    return seen;
  },
  async retried() {
    return await text(await faulty("error:429;retry-after-ms=20;times=1 echo:at last", { stream: true }));
  },
});
