// The official Anthropic SDK for Node, current and previous major.
import { CITY_CALL, PIXEL, RESULTS, headers, run, say, settings } from "./cases.mjs";

const { default: Anthropic } = await import(settings.package);
const { model, url, key } = settings;
// The previous major keeps a key and a token apart; the older of the two headers is the one that most programs send.
const credentials = { apiKey: key };
const client = new Anthropic({ baseURL: url, ...credentials, maxRetries: 0, defaultHeaders: headers });
const plain = new Anthropic({ baseURL: url, ...credentials, maxRetries: 0 });
const user = (text) => [{ role: "user", content: say(text) }];
const ask = (text, options = {}) => client.messages.create({ model, max_tokens: 200, messages: user(text), ...options });
const faulty = (text, options = {}) =>
  plain.messages.create({ model: settings.faulty, max_tokens: 200, messages: user(text), ...options });

const tools = [
  {
    name: "get_weather",
    input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
  { name: "get_time", input_schema: { type: "object", properties: {} } },
];
const schema = {
  type: "object",
  properties: { name: { type: "string" }, inhabitants: { type: "integer" } },
  required: ["name", "inhabitants"],
  additionalProperties: false,
};
const textOf = (message) => message.content.map((block) => (block.type === "text" ? block.text : "")).join("");
const usesOf = (message) => message.content.filter((block) => block.type === "tool_use");

await run({
  async text() {
    const answer = await ask("usage:in=30,read=20,out=9 echo:Grüße, 東京 🗼", { system: "Be brief." });
    const { input_tokens, cache_read_input_tokens, output_tokens } = answer.usage;
    return { text: textOf(answer), stop: answer.stop_reason, usage: [input_tokens, cache_read_input_tokens, output_tokens] };
  },
  async stream() {
    const stream = client.messages.stream({
      model,
      max_tokens: 200,
      messages: user("split:3 usage:in=30,out=9 echo:Grüße, 東京 🗼"),
    });
    let text = "";
    stream.on("text", (piece) => (text += piece));
    const final = await stream.finalMessage();
    return { text, usage: [final.usage.input_tokens, final.usage.output_tokens] };
  },
  async tools() {
    const first = await ask(CITY_CALL, { tools });
    const content = usesOf(first).map((use) => ({ type: "tool_result", tool_use_id: use.id, content: RESULTS[use.name] }));
    const messages = [...user(CITY_CALL), { role: "assistant", content: first.content }, { role: "user", content }];
    const second = await client.messages.create({ model, max_tokens: 200, messages, tools });
    return {
      stop: first.stop_reason,
      calls: usesOf(first).map((use) => [use.name, use.input]),
      text: textOf(second),
    };
  },
  async streamedTools() {
    const options = { model, max_tokens: 200, messages: user(`${CITY_CALL} echo:Looking.`), tools };
    const message = await client.messages.stream(options).finalMessage();
    return { text: textOf(message), calls: usesOf(message).map((use) => [use.name, use.input]) };
  },
  async structured() {
    const answer = await ask("a city", { output_config: { format: { type: "json_schema", schema } } });
    return JSON.parse(textOf(answer));
  },
  async image() {
    const source = { type: "base64", media_type: "image/png", data: PIXEL };
    const content = [{ type: "image", source }, { type: "text", text: say("echo:a pixel") }];
    return textOf(await client.messages.create({ model, max_tokens: 200, messages: [{ role: "user", content }] }));
  },
  async stopAndCap() {
    const stopped = await ask("echo:before END after", { stop_sequences: ["END"] });
    const capped = await ask("echo:one two three", { max_tokens: 2 });
    return [stopped, capped].map((message) => [textOf(message), message.stop_reason]);
  },
  async counted() {
    const { input_tokens } = await client.messages.countTokens({ model, messages: user("one two three") });
    return input_tokens >= 4;
  },
  async models() {
    const ids = [];
    for await (const listed of client.models.list()) ids.push(listed.id);
    return ids.length > 0;
  },
  async errorKey() {
    await new Anthropic({ baseURL: url, apiKey: "tg-wrong" }).models.list();
  },
  async errorModel() {
    await client.messages.create({ model: "no-such-model", max_tokens: 20, messages: user("hello") });
  },
  error400: () => faulty("error:400"),
  error429: () => faulty("error:429;retry-after=1"),
  error500: () => faulty("error:500"),
  async midStream() {
    const seen = { text: "", error: null };
    try {
      for await (const event of await faulty("cut:7 echo:one two three four", { stream: true })) {
        seen.text += event.delta?.text ?? "";
      }
    } catch (error) {
      seen.error = error instanceof Anthropic.APIError ? "APIError" : error.constructor.name;
    }
    return seen;
  },
  async retried() {
    return textOf(await faulty("error:429;retry-after-ms=20;times=1 echo:at last"));
  },
});
