"""The bodies and streams that `upstream.py` answers with, per dialect.

Plain functions from an `Answer` to the vendor's JSON, and from bytes that were sent back to the usage in them. The
shapes follow the fixtures in `tests/fixtures/wire`; nothing here knows about sockets or directives.
"""

import base64
import json
import re
import struct
from dataclasses import dataclass, field

CREATED = 1795330000


@dataclass
class Answer:
    """What the model said, and what it claims to have used."""

    model: str
    text: str
    usage: dict | None = field(default_factory=dict)
    tier: str | None = None
    stop: str = "stop"


def compact(value):
    """JSON as the vendors send it: no spaces, text not escaped."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def word_count(text):
    """The fixed rule by which plain answers are metered: one token per word."""
    return len(text.split())


def pieces(text):
    """The text cut before each word, so that joining the pieces gives it back."""
    return re.findall(r"\s*\S+|\s+$", text)


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
        "service_tier": "standard",
    }


def openai_chat(answer, sequence):
    """A whole chat completion."""
    message = {"role": "assistant", "content": answer.text, "refusal": None, "annotations": []}
    body = {
        "id": f"chatcmpl-up{sequence:08d}",
        "object": "chat.completion",
        "created": CREATED,
        "model": answer.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": answer.stop}],
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

    yield chunk({"role": "assistant", "content": "", "refusal": None})
    for piece in pieces(answer.text):
        yield chunk({"content": piece})
    yield chunk({}, answer.stop)
    if tail:
        yield f"data: {compact({**base, 'choices': [], 'usage': openai_usage(answer.usage)})}\n\n"
    yield "data: [DONE]\n\n"


def anthropic_message(answer, sequence):
    """A whole message."""
    body = {
        "id": f"msg_up{sequence:08d}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [{"type": "text", "text": answer.text}],
        "stop_reason": "max_tokens" if answer.stop == "length" else "end_turn",
        "stop_sequence": None,
    }
    if answer.usage is not None:
        body["usage"] = anthropic_usage(answer.usage)
    return body


def anthropic_message_records(answer, sequence):
    """The same message as SSE records: input counts first, the whole output count last."""

    def event(kind, **rest):
        return f"event: {kind}\ndata: {compact({'type': kind, **rest})}\n\n"

    message = {**anthropic_message(answer, sequence), "content": [], "stop_reason": None}
    final = {}
    if answer.usage is not None:
        message["usage"] = {**message["usage"], "output_tokens": min(1, answer.usage["output"])}
        final = {"usage": {"output_tokens": answer.usage["output"]}}
    yield event("message_start", message=message)
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    yield event("ping")
    for piece in pieces(answer.text):
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
    yield event("content_block_stop", index=0)
    stop = "max_tokens" if answer.stop == "length" else "end_turn"
    yield event("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, **final)
    yield event("message_stop")


def openai_response(answer, sequence, status="completed"):
    """A whole object of the Responses API."""
    part = {"type": "output_text", "text": answer.text, "annotations": []}
    item = {"type": "message", "id": f"msg_up{sequence:08d}", "status": status, "role": "assistant", "content": [part]}
    body = {
        "id": f"resp_up{sequence:08d}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "model": answer.model,
        "output": [item] if status == "completed" else [],
        "error": None,
        "incomplete_details": None,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": None,
    }
    if status == "completed" and answer.usage is not None:
        usage = answer.usage
        total_input = usage["input"] + usage["cache_read"] + usage["cache_write_5m"]
        body["usage"] = {
            "input_tokens": total_input,
            "input_tokens_details": {"cached_tokens": usage["cache_read"]},
            "output_tokens": usage["output"],
            "output_tokens_details": {"reasoning_tokens": usage["reasoning"]},
            "total_tokens": total_input + usage["output"],
        }
    return body


def openai_response_records(answer, sequence):
    """The named events of one text answer, in their order."""
    count = 0

    def event(kind, **rest):
        nonlocal count
        record = f"event: {kind}\ndata: {compact({'type': kind, 'sequence_number': count, **rest})}\n\n"
        count += 1
        return record

    whole = openai_response(answer, sequence)
    item = whole["output"][0]
    part = item["content"][0]
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    started = openai_response(answer, sequence, "in_progress")
    yield event("response.created", response=started)
    yield event("response.in_progress", response=started)
    opened = {**item, "status": "in_progress", "content": []}
    yield event("response.output_item.added", output_index=0, item=opened)
    yield event("response.content_part.added", **place, part={**part, "text": ""})
    for piece in pieces(answer.text):
        yield event("response.output_text.delta", **place, delta=piece, logprobs=[])
    yield event("response.output_text.done", **place, text=answer.text, logprobs=[])
    yield event("response.content_part.done", **place, part=part)
    yield event("response.output_item.done", output_index=0, item=item)
    yield event("response.completed", response=whole)


def openai_embeddings(body):
    """Three numbers per input, made from its length; base64 of little-endian floats when that is asked for."""
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    data = []
    for index, text in enumerate(texts):
        vector = [len(text) / 64, 0.5, -0.25]
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack("<3f", *vector)).decode("ascii")
        data.append({"object": "embedding", "index": index, "embedding": vector})
    tokens = sum(word_count(text) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "model": body["model"], "data": data, "usage": usage}


def schema_example(schema):
    """The smallest value that a JSON schema allows, for answers whose form the request fixes."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf"):
        if schema.get(choice):
            return schema_example(schema[choice][0])
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object":
        required = schema.get("required", [])
        return {name: schema_example(schema.get("properties", {}).get(name, {})) for name in required}
    if kind == "array":
        return [schema_example(schema.get("items", {})) for _ in range(schema.get("minItems", 0))]
    return {"integer": 1, "number": 1, "boolean": True, "null": None}.get(kind, "text")


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
        usage = carrier.get("usage")
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
