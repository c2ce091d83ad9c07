"""What a client gets of a call and when: the text, the error, how the stream ends, and the first byte that is of use.

Of use is a word of the answer, or the error that says that there is none. Neither headers nor the records before the
first word are: a client can show none of them.
"""

import json
import time
from dataclasses import dataclass, field

from load import CALL_SECONDS_MAX, Connection


@dataclass
class Reading:
    """An answer as a client of the dialect reads it."""

    status: int = 0
    headers: dict = field(default_factory=dict)
    text: str = ""
    model: str | None = None
    # `error.type`, `error.code` (OpenAI alone) and the message, of the body or of the stream's last record.
    error: tuple | None = None
    # As the client counts it, if it is told at all.
    usage: dict | None = None
    finish: str | None = None
    # The stream's own end marker, and the end of the HTTP body.
    has_end_marker: bool = False
    is_complete: bool = False
    # Since the request was sent.
    seconds_to_first_use: float | None = None
    seconds: float = 0.0

    @property
    def request_id(self):
        return self.headers["x-tollgate-request-id"]

    @property
    def attempts(self):
        return self.headers.get("x-tollgate-attempts")

    @property
    def provider(self):
        return self.headers.get("x-tollgate-provider")


def read(port, key, call, seconds_max=CALL_SECONDS_MAX):
    """Makes one call on a connection of its own."""
    reading = Reading()
    with Connection(port, seconds_max) as connection:
        began = time.monotonic()
        connection.send(call.request(key))
        head = connection.head()
        reading.status, reading.headers = head.status, head.headers
        if head.headers.get("content-type", "").startswith("text/event-stream"):
            _read_stream(reading, call.dialect, connection.chunks(head), began)
        else:
            connection.read_body(head)
            _use(reading, began)
            _read_whole(reading, call.dialect, json.loads(head.body))
        reading.is_complete = True
        reading.seconds = time.monotonic() - began
    return reading


def _use(reading, began):
    if reading.seconds_to_first_use is None:
        reading.seconds_to_first_use = time.monotonic() - began


def _error(body):
    """The error of a body or record, whose shape is checked."""
    error = body["error"]
    if body.get("type") == "error":
        assert set(error) == {"type", "message"} and set(body) <= {"type", "error", "request_id"}, body
        return error["type"], None, error["message"]
    assert set(error) == {"message", "type", "param", "code"} and set(body) == {"error"}, body
    return error["type"], error["code"], error["message"]


def _read_whole(reading, dialect, body):
    if reading.status != 200:
        reading.error = _error(body)
        return
    reading.model = body["model"]
    reading.usage = body["usage"]
    if dialect == "openai":
        (choice,) = body["choices"]
        reading.text, reading.finish = choice["message"]["content"], choice["finish_reason"]
    else:
        (block,) = body["content"]
        reading.text, reading.finish = block["text"], body["stop_reason"]


def _read_stream(reading, dialect, chunks, began):
    """Record by record, as the bytes come; what stands behind an end marker or an error fails."""
    waiting = b""
    for chunk in chunks:
        waiting += chunk
        while b"\n\n" in waiting:
            record, waiting = waiting.split(b"\n\n", 1)
            assert not reading.has_end_marker and reading.error is None, f"{record} comes behind the end"
            lines = dict(line.split(b": ", 1) for line in record.split(b"\n"))
            if b"data" not in lines:
                continue
            take = _take_chat if dialect == "openai" else _take_message
            if take(reading, lines):
                _use(reading, began)
    assert not waiting, f"a record without its end: {waiting}"


def _take_chat(reading, lines):
    """One record of a chat stream; True when it is of use."""
    if lines[b"data"] == b"[DONE]":
        reading.has_end_marker = True
        return False
    body = json.loads(lines[b"data"])
    if "error" in body:
        reading.error = _error(body)
        return True
    reading.model = body["model"]
    reading.usage = body.get("usage") or reading.usage
    for choice in body["choices"]:
        reading.text += choice["delta"].get("content") or ""
        reading.finish = choice["finish_reason"] or reading.finish
    return bool(reading.text)


def _take_message(reading, lines):
    """One record of a messages stream; True when it is of use."""
    body = json.loads(lines[b"data"])
    assert lines[b"event"].decode() == body["type"], lines
    if body["type"] == "error":
        reading.error = _error(body)
        return True
    if body["type"] == "message_start":
        reading.model = body["message"]["model"]
    elif body["type"] == "content_block_delta":
        reading.text += body["delta"].get("text", "")
    elif body["type"] == "message_delta":
        reading.finish, reading.usage = body["delta"]["stop_reason"], body.get("usage")
    elif body["type"] == "message_stop":
        reading.has_end_marker = True
    return bool(reading.text)
