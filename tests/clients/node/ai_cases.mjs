// The Vercel AI SDK with its OpenAI provider (Responses by default, or chat) or its Anthropic provider.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { Output, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { CITY_CALL, PIXEL, RESULTS, headers, run, say, settings } from "./cases.mjs";

// Its warnings are for people.
globalThis.AI_SDK_LOG_WARNINGS = false;

const { url, key } = settings;
const makers = {
  responses: (options) => createOpenAI(options),
  chat: (options) => createOpenAI(options).chat,
  messages: (options) => createAnthropic(options),
};
const maker = (apiKey) => makers[settings.package]({ baseURL: `${url}/v1`, apiKey });
const model = maker(key)(settings.model);
const faulty = maker(key)(settings.faulty);
// What only OpenAI stores can't be referred to elsewhere.
const providerOptions = { openai: { store: false } };
const base = { model, headers, maxRetries: 0, providerOptions };
const ask = (text, options = {}) => generateText({ ...base, prompt: say(text), ...options });
const broken = (text, options = {}) =>
  generateText({ model: faulty, maxRetries: 0, providerOptions, prompt: say(text), ...options });

const tools = {
  get_weather: tool({ inputSchema: z.object({ city: z.string() }), execute: async () => RESULTS.get_weather }),
  get_time: tool({ inputSchema: z.object({}), execute: async () => RESULTS.get_time }),
};
const City = z.object({ name: z.string(), inhabitants: z.number().int() });

await run({
  async text() {
    const answer = await ask("usage:in=30,read=20,out=9 echo:Grüße, 東京 🗼", { instructions: "Be brief." });
    const { inputTokens, outputTokens } = answer.usage;
    return { text: answer.text, stop: answer.finishReason, usage: [inputTokens, outputTokens] };
  },
  async stream() {
    const result = streamText({ ...base, prompt: say("split:3 usage:in=30,out=9 echo:Grüße, 東京 🗼") });
    let text = "";
    for await (const piece of result.textStream) text += piece;
    const usage = await result.usage;
    return { text, usage: [usage.inputTokens, usage.outputTokens] };
  },
  async tools() {
    const answer = await ask(CITY_CALL, { tools, stopWhen: stepCountIs(3) });
    const calls = answer.steps[0].toolCalls.map((call) => [call.toolName, call.input]);
    return { stop: answer.steps[0].finishReason, calls, text: answer.text };
  },
  async streamedTools() {
    const result = streamText({ ...base, prompt: say(CITY_CALL), tools, stopWhen: stepCountIs(3) });
    let text = "";
    for await (const piece of result.textStream) text += piece;
    const [first] = await result.steps;
    return { text, calls: first.toolCalls.map((call) => [call.toolName, call.input]) };
  },
  async structured() {
    const answer = await ask("a city", { output: Output.object({ schema: City }) });
    return answer.output;
  },
  async image() {
    const content = [
      { type: "text", text: say("echo:a pixel") },
      { type: "image", image: Buffer.from(PIXEL, "base64"), mediaType: "image/png" },
    ];
    return (await generateText({ ...base, messages: [{ role: "user", content }] })).text;
  },
  async cap() {
    const words = Array.from({ length: 30 }, (_, number) => `w${number}`).join(" ");
    const answer = await ask(`echo:${words}`, { maxOutputTokens: 16 });
    return [answer.text.split(" ").length, answer.finishReason];
  },
  errorKey: () => generateText({ model: maker("tg-wrong")(settings.model), maxRetries: 0, prompt: say("hello") }),
  errorModel: () => generateText({ ...base, model: maker(key)("no-such-model"), prompt: say("hello") }),
  error400: () => broken("error:400"),
  error429: () => broken("error:429;retry-after=1"),
  error500: () => broken("error:500"),
  async midStream() {
    const seen = { text: "", error: null };
    const result = streamText({
      model: faulty,
      maxRetries: 0,
      providerOptions,
      prompt: say("cut:7 echo:one two three four"),
      onError() {},
    });
    for await (const part of result.fullStream ?? result.stream) {
      if (part.type === "text-delta") seen.text += part.text;
      if (part.type === "error") seen.error = "APIError";
    }
    return seen;
  },
  async retried() {
    return (await broken("error:429;retry-after-ms=20;times=1 echo:at last")).text;
  },
});
