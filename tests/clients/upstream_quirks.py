"""What OpenAI-compatible servers do differently, for the lenient side of `upstream.py`: `quirk:NAME,NAME`.

floats             embeddings are numbers although base64 was asked for
no-ids             tool calls without an id
no-index           tool deltas without an index (an older Ollama)
same-index         every tool delta says index 0, and only the id tells the calls apart
one-delta          id, name and all arguments of a call in one delta
object-arguments   arguments as an object instead of a string
stop-with-tools    finish_reason `stop` although tools are called
no-done            a stream without `[DONE]`
usage-on-finish    usage on the finish chunk instead of one of its own
role-text          the first words ride on the role chunk
text-with-tools    the last words and the first tool delta share a chunk
noise              `tool_calls: []`, empty content and the role on every chunk
reasoning          thoughts as `reasoning` (vLLM); without it as `reasoning_content`
mistral            knows max_tokens only; ids of tool calls have nine letters or digits
groq               usage under `x_groq` too
openrouter         keep-alive comments, and the price among the usage
openrouter-error   the same, and an error in the middle of a stream
deepseek           cache hits and misses as fields of their own
"""

import hashlib
import json
import re

from upstream_answers import compact, openai_error
from upstream_checks import Refusal

NINE = re.compile(r"[A-Za-z0-9]{9}")


def read(directives):
    """The names in the directive."""
    return frozenset(directives.get("quirk", "").split(",")) - {""}


def check(body, quirks):
    """Mistral refuses what it doesn't know."""
    if "mistral" not in quirks:
        return
    for name in ("max_completion_tokens", "store", "metadata", "reasoning_effort"):
        if name in body:
            raise Refusal(422, f"body.{name}: Extra inputs are not permitted", param=name)
    for message in body["messages"]:
        identities = [call.get("id") for call in message.get("tool_calls") or []]
        if message["role"] == "tool":
            identities.append(message.get("tool_call_id"))
        for identity in identities:
            if not NINE.fullmatch(identity or ""):
                text = f"Tool call id was {identity} but must be a-z, A-Z, 0-9, with a length of 9."
                raise Refusal(400, text)


def _call(call, quirks):
    """One call or tool delta as this server writes it."""
    call = json.loads(json.dumps(call))
    if "no-ids" in quirks:
        call.pop("id", None)
    elif "mistral" in quirks and call.get("id"):
        call["id"] = hashlib.sha256(call["id"].encode()).hexdigest()[:9]
    if "no-index" in quirks:
        call.pop("index", None)
    elif "same-index" in quirks and "index" in call:
        call["index"] = 0
    arguments = call["function"].get("arguments")
    if "object-arguments" in quirks and arguments:
        call["function"]["arguments"] = json.loads(arguments)
    return call


def _usage(usage, quirks):
    if usage is None:
        return None
    plain = {name: usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    if "deepseek" in quirks:
        missed = usage["prompt_tokens"] - cached
        return {**plain, "prompt_cache_hit_tokens": cached, "prompt_cache_miss_tokens": missed}
    if "openrouter" in quirks:
        return {**usage, "cost": 0.00014, "is_byok": False}
    return {**plain, "prompt_tokens_details": {"cached_tokens": cached} if cached else None}


def _thoughts(answer, quirks):
    name = "reasoning" if "reasoning" in quirks else "reasoning_content"
    return {name: answer.thinking} if answer.thinking else {}


def whole(body, answer, quirks):
    """A chat completion as this server sends it."""
    choice = body["choices"][0]
    message = {"role": "assistant", "content": choice["message"]["content"], **_thoughts(answer, quirks)}
    if answer.calls:
        message["tool_calls"] = [_call(call, quirks) for call in choice["message"]["tool_calls"]]
    finish = "stop" if "stop-with-tools" in quirks else choice["finish_reason"]
    served = {name: body[name] for name in ("id", "object", "created", "model")}
    served["choices"] = [{"index": 0, "message": message, "finish_reason": finish}]
    served["usage"] = _usage(body.get("usage"), quirks)
    if "groq" in quirks:
        served["x_groq"] = {"id": "req_groq"}
    return served


def records(strict, answer, quirks, include_usage):
    """The strict stream, rewritten record by record."""
    chunks = [json.loads(record[6:]) for record in strict if not record.startswith("data: [DONE]")]
    usage = None
    if chunks and not chunks[-1]["choices"]:
        usage = _usage(chunks.pop()["usage"], quirks)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    # The thoughts stand between the role and the first word.
    for name, thoughts in _thoughts(answer, quirks).items():
        deltas[1:1] = [{name: piece} for piece in re.findall(r"\s*\S+", thoughts)]
    deltas = _rearrange(deltas, quirks)
    base = {name: chunks[0][name] for name in ("id", "object", "created", "model")}
    finish = "stop" if "stop-with-tools" in quirks else chunks[-1]["choices"][0]["finish_reason"]
    wants_usage = usage is not None and (include_usage or "usage-on-finish" in quirks or "mistral" in quirks)
    comments = bool(quirks & {"openrouter", "openrouter-error"})
    if comments:
        yield ": OPENROUTER PROCESSING\n\n"
    for number, delta in enumerate(deltas):
        last = number == len(deltas) - 1
        if comments and number == 2:
            yield ": OPENROUTER PROCESSING\n\n"
        if "openrouter-error" in quirks and number == 3:
            error = openai_error("Provider disconnected", "server_error", None, 502)["error"]
            choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
            yield f"data: {compact({**base, 'error': error, 'choices': [choice]})}\n\n"
            return
        if "noise" in quirks:
            delta = {"role": "assistant", "content": "", "tool_calls": [], **delta}
        chunk = {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": finish if last else None}]}
        if last and wants_usage and quirks & {"usage-on-finish", "mistral"}:
            chunk["usage"] = usage
        if last and "groq" in quirks:
            chunk["x_groq"] = {"id": "req_groq", "usage": usage}
        yield f"data: {compact(chunk)}\n\n"
    if wants_usage and not quirks & {"usage-on-finish", "mistral"}:
        yield f"data: {compact({**base, 'choices': [], 'usage': usage})}\n\n"
    if "no-done" not in quirks:
        yield "data: [DONE]\n\n"


def _rearrange(deltas, quirks):
    """Deltas joined where this server joins them."""
    joined = []
    for delta in deltas:
        if "refusal" in delta:
            delta = {name: value for name, value in delta.items() if name != "refusal"}
        for part in delta.get("tool_calls") or []:
            earlier = joined[-1].get("tool_calls") if joined else None
            if quirks & {"one-delta", "object-arguments", "no-ids", "no-index", "same-index"} and "id" not in part:
                earlier[0]["function"]["arguments"] += part["function"]["arguments"]
                break
        else:
            joined.append(json.loads(json.dumps(delta)))
    if "role-text" in quirks and len(joined) > 1 and joined[1].get("content"):
        joined[0]["content"] = joined.pop(1)["content"]
    if "text-with-tools" in quirks:
        for number in range(1, len(joined)):
            if "tool_calls" in joined[number] and joined[number - 1].get("content"):
                joined[number - 1]["tool_calls"] = joined.pop(number)["tool_calls"]
                break
    for delta in joined:
        if "tool_calls" in delta:
            delta["tool_calls"] = [_call(call, quirks) for call in delta["tool_calls"]]
    return joined
