"""The bodies and streams that `upstream.py` answers with, per dialect.

Plain functions from an `Answer` to the vendor's JSON, and from bytes that were sent back to the usage in them. The
shapes follow the fixtures in `tests/fixtures/wire`; nothing here knows about sockets or directives.
"""

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field

CREATED = 1795330000


@dataclass
class Call:
    """A tool that the model wants called."""

    name: str
    arguments: dict


@dataclass
class Answer:
    """What the model said, and what it claims to have used."""

    model: str
    text: str
    usage: dict | None = field(default_factory=dict)
    tier: str | None = None
    # stop, stop_sequence, length, tools, refusal or filtered
    stop: str = "stop"
    stop_sequence: str | None = None
    calls: list = field(default_factory=list)
    thinking: str | None = None
    refusal: str | None = None


def compact(value):
    """JSON as the vendors send it: no spaces, text not escaped."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def word_count(text):
    """The fixed rule by which plain answers are metered: one token per word."""
    return len(text.split())


def pieces(text):
    """The text cut before each word, so that joining the pieces gives it back."""
    return re.findall(r"\s*\S+|\s+$", text)


def fragments(text):
    """JSON in small pieces, as a model writes it."""
    return [text[start : start + 7] for start in range(0, len(text), 7)]


def openai_error(message, kind, param, code):
    """All four keys are always present."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def anthropic_error(message, kind, request_id):
    """The error with the id that the `request-id` header also carries."""
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id}


def openai_usage(usage):
    """Totals include cached, written and reasoning tokens; the details only break them down."""
    prompt = usage["input"] + usage["cache_read"] + usage["cache_write_5m"] + usage["cache_write_1h"]
    details = {"cached_tokens": usage["cache_read"], "audio_tokens": 0}
    if usage["cache_write_5m"]:
        details["cache_write_tokens"] = usage["cache_write_5m"]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": usage["output"],
        "total_tokens": prompt + usage["output"],
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": usage["reasoning"], "audio_tokens": 0},
    }


def anthropic_usage(usage):
    """The input count leaves out what was read from or written to the cache."""
    return {
        "input_tokens": usage["input"],
        "cache_creation_input_tokens": usage["cache_write_5m"] + usage["cache_write_1h"],
        "cache_read_input_tokens": usage["cache_read"],
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage["cache_write_5m"],
            "ephemeral_1h_input_tokens": usage["cache_write_1h"],
        },
        "output_tokens": usage["output"],
        **({"output_tokens_details": {"thinking_tokens": usage["reasoning"]}} if usage["reasoning"] else {}),
        "service_tier": "standard",
    }


def openai_finish(answer):
    """A stop sequence is an ordinary stop here, and so is a refusal in words."""
    return {"length": "length", "tools": "tool_calls", "filtered": "content_filter"}.get(answer.stop, "stop")


def openai_calls(answer, sequence):
    """The calls with their ids; arguments are JSON in a string."""
    return [
        {
            "id": f"call_up{sequence:08d}n{number}",
            "type": "function",
            "function": {"name": call.name, "arguments": compact(call.arguments)},
        }
        for number, call in enumerate(answer.calls)
    ]


def openai_chat(answer, sequence):
    """A whole chat completion."""
    message = {"role": "assistant", "content": answer.text, "refusal": answer.refusal, "annotations": []}
    if answer.calls or answer.refusal:
        message["content"] = answer.text or None
    if answer.calls:
        message["tool_calls"] = openai_calls(answer, sequence)
    body = {
        "id": f"chatcmpl-up{sequence:08d}",
        "object": "chat.completion",
        "created": CREATED,
        "model": answer.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": openai_finish(answer)}],
    }
    if answer.usage is not None:
        body["usage"] = openai_usage(answer.usage)
    body["service_tier"] = answer.tier or "default"
    return body


def openai_chat_records(answer, sequence, include_usage):
    """The same answer as SSE records, with the usage chunk only if it was asked for."""
    base = {
        "id": f"chatcmpl-up{sequence:08d}",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": answer.model,
        "service_tier": answer.tier or "default",
    }
    # A server that reports no usage at all does not announce it on its chunks either.
    tail = {"usage": None} if include_usage and answer.usage is not None else {}

    def chunk(delta, finish_reason=None):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return f"data: {compact({**base, 'choices': [choice], **tail})}\n\n"

    straight_to_tools = answer.calls and not answer.text
    yield chunk({"role": "assistant", "content": None if straight_to_tools else "", "refusal": None})
    for piece in pieces(answer.text):
        yield chunk({"content": piece})
    for piece in pieces(answer.refusal or ""):
        yield chunk({"refusal": piece})
    for index, call in enumerate(openai_calls(answer, sequence)):
        function = call["function"]
        yield chunk({"tool_calls": [{"index": index, **call, "function": {**function, "arguments": ""}}]})
        for fragment in fragments(function["arguments"]):
            yield chunk({"tool_calls": [{"index": index, "function": {"arguments": fragment}}]})
    yield chunk({}, openai_finish(answer))
    if tail:
        yield f"data: {compact({**base, 'choices': [], 'usage': openai_usage(answer.usage)})}\n\n"
    yield "data: [DONE]\n\n"


def signature_of(thinking):
    """What the vendor would sign a thought with; only the same thought has it."""
    return base64.b64encode(hashlib.sha256(f"upstream {thinking}".encode()).digest()).decode("ascii")


def anthropic_blocks(answer, sequence):
    """Thinking first, then text, then the calls."""
    blocks = []
    if answer.thinking:
        blocks.append({"type": "thinking", "thinking": answer.thinking, "signature": signature_of(answer.thinking)})
    if answer.text or not (answer.calls or answer.refusal):
        blocks.append({"type": "text", "text": answer.text})
    for number, call in enumerate(answer.calls):
        identity = f"toolu_up{sequence:08d}n{number}"
        blocks.append({"type": "tool_use", "id": identity, "name": call.name, "input": call.arguments})
    return blocks


def anthropic_stop(answer):
    """The stop reason with what goes with it."""
    names = {"stop": "end_turn", "length": "max_tokens", "tools": "tool_use", "filtered": "refusal"}
    stop = {"stop_reason": names.get(answer.stop, answer.stop), "stop_sequence": answer.stop_sequence}
    if stop["stop_reason"] == "refusal":
        stop["stop_details"] = {"type": "refusal", "category": None, "explanation": answer.refusal}
    return stop


def anthropic_message(answer, sequence):
    """A whole message."""
    body = {
        "id": f"msg_up{sequence:08d}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": anthropic_blocks(answer, sequence),
        **anthropic_stop(answer),
    }
    if answer.usage is not None:
        body["usage"] = anthropic_usage(answer.usage)
    return body


def anthropic_message_records(answer, sequence):
    """The same message as SSE records: input counts first, the whole output count last."""

    def event(kind, **rest):
        return f"event: {kind}\ndata: {compact({'type': kind, **rest})}\n\n"

    def deltas(block):
        if block["type"] == "text":
            return "text_delta", "text", pieces(block["text"])
        if block["type"] == "thinking":
            return "thinking_delta", "thinking", pieces(block["thinking"])
        # The first is often empty, and a tool without arguments has nothing else.
        given = fragments(compact(block["input"])) if block["input"] else []
        return "input_json_delta", "partial_json", ["", *given]

    emptied = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}, "tool_use": {"input": {}}}
    message = {**anthropic_message(answer, sequence), "content": [], "stop_reason": None, "stop_sequence": None}
    message.pop("stop_details", None)
    final = {}
    if answer.usage is not None:
        # The last event repeats the input counts, as the API does by now; the fixtures have streams without them.
        final = {"usage": {name: count for name, count in message["usage"].items() if name != "service_tier"}}
        message["usage"] = {**message["usage"], "output_tokens": min(1, answer.usage["output"])}
    yield event("message_start", message=message)
    for index, block in enumerate(anthropic_blocks(answer, sequence)):
        yield event("content_block_start", index=index, content_block={**block, **emptied[block["type"]]})
        if index == 0:
            yield event("ping")
        kind, name, values = deltas(block)
        for value in values:
            yield event("content_block_delta", index=index, delta={"type": kind, name: value})
        if block["type"] == "thinking":
            delta = {"type": "signature_delta", "signature": block["signature"]}
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    yield event("message_delta", delta=anthropic_stop(answer), **final)
    yield event("message_stop")


def reported_usage(sent, dialect):
    """The usage object in what was sent, merged as the vendor documents, or None when there was none."""
    found = None
    for line in sent.splitlines():
        payload = line.removeprefix("data: ")
        if '"usage"' not in payload and not found:
            continue
        try:
            record = json.loads(payload)
        except ValueError:
            continue
        carrier = record.get("message") or record.get("response") or record
        # Of audio and images the whole body is no object with usage.
        usage = carrier.get("usage") if isinstance(carrier, dict) else None
        if usage:
            found = {**(found or {}), **usage}
    return found and {"raw": found, "tokens": _buckets(found, dialect)}


def _buckets(raw, dialect):
    """Raw usage as disjoint counts; `reasoning` is a part of `output`."""
    if dialect == "anthropic":
        written = raw.get("cache_creation_input_tokens") or 0
        one_hour = (raw.get("cache_creation") or {}).get("ephemeral_1h_input_tokens") or 0
        return {
            "input": raw.get("input_tokens", 0),
            "cache_read": raw.get("cache_read_input_tokens") or 0,
            "cache_write_5m": written - one_hour,
            "cache_write_1h": one_hour,
            "output": raw.get("output_tokens", 0),
            "reasoning": (raw.get("output_tokens_details") or {}).get("thinking_tokens") or 0,
        }
    total_input = raw.get("prompt_tokens", raw.get("input_tokens", 0))
    details = raw.get("prompt_tokens_details") or raw.get("input_tokens_details") or {}
    outcome = raw.get("completion_tokens_details") or raw.get("output_tokens_details") or {}
    read = details.get("cached_tokens") or raw.get("prompt_cache_hit_tokens") or 0
    written = details.get("cache_write_tokens") or 0
    return {
        "input": total_input - read - written,
        "cache_read": read,
        "cache_write_5m": written,
        "cache_write_1h": 0,
        "output": raw.get("completion_tokens", raw.get("output_tokens", 0)),
        "reasoning": outcome.get("reasoning_tokens") or 0,
    }
