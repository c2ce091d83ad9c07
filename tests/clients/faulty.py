"""A provider that fails in one way for each of its base paths, and keeps its own account of what it charges for it.

`http://…/FAULT/v1` (OpenAI) and `http://…/FAULT` (Anthropic) do what `FAULTS` has under that name, whatever the request
says: a fallback carries the same request on, and must find a provider that is well. The answers are in words of this
provider's own, so that a test sees from whom one came. Two faults need no path, because nobody ever gets that far:
`Refusing` and `BlackHole` are addresses.

An account holds for each request what the provider charges for it: input and output tokens, counted as `upstream.py`
does (a word is a token), of what it had sent when it failed, or of its whole answer where it wrote one that nobody got.
"""

import json
import socket
import struct
import threading
import time
from dataclasses import dataclass, replace

import upstream_answers as answers
import upstream_model as model
from books import PRICES
from load import Scripted, black_hole

# What this provider says, a word at a time.
WORDS = "red green blue black white grey pink gold"
# What has come before a stream stalls or breaks.
WORDS_BEFORE_THE_END = 3
SLOW_SECONDS = 0.75
DRIP_SECONDS = 0.06
SOON_MS = 100
LATER_SECONDS = 30
ERROR_TYPES = {401: "authentication_error", 429: "rate_limit_error", 500: "api_error"}


@dataclass
class Visit:
    """One request that came, and what is charged for it."""

    marker: str
    fault: str
    model: str
    time: float
    input: int = 0
    output: int = 0

    def cost(self):
        """In picodollars."""
        price = PRICES[self.model]
        return self.input * price[0] + self.output * price[4]


class Turn:
    """One request, and the ways of answering it."""

    def __init__(self, connection, dialect, body, visit, number):
        self.connection = connection
        self.dialect = dialect
        self.visit = visit
        self.number = number
        body = json.loads(body)
        self.streams = bool(body.get("stream"))
        self.asks_for_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        asked = model.read_chat(body) if dialect == "openai" else model.read_messages(body)
        self.answer = model.answer(replace(asked, cap=None), {"echo": WORDS})

    # What is charged

    def charge_all(self):
        self.visit.input, self.visit.output = self.answer.usage["input"], self.answer.usage["output"]

    def charge(self, words):
        self.visit.input, self.visit.output = self.answer.usage["input"], words

    # What is sent

    def send(self, content):
        self.connection.sendall(content)

    def head(self, status="200 OK", length=None, kind="application/json", more=""):
        framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
        # Said before it is done, so that no later request is sent into a connection that is about to close.
        lines = [f"HTTP/1.1 {status}", f"content-type: {kind}", framing, "connection: close"]
        self.send(("\r\n".join(lines) + f"\r\n{more}\r\n").encode())

    def whole(self):
        make = answers.openai_chat if self.dialect == "openai" else answers.anthropic_message
        return json.dumps(make(self.answer, self.number)).encode()

    def records(self):
        if self.dialect == "openai":
            records = answers.openai_chat_records(self.answer, self.number, self.asks_for_usage)
        else:
            records = answers.anthropic_message_records(self.answer, self.number)
        return [record.encode() for record in records]

    def before_the_first_word(self):
        """How many records of a stream come before the first word."""
        return 1 if self.dialect == "openai" else 3

    def chunk(self, content):
        self.send(b"%x\r\n%b\r\n" % (len(content), content))

    def stream(self, records, pause=0.0):
        self.head(kind="text/event-stream")
        for record in records:
            self.chunk(record)
            time.sleep(pause)

    def stream_end(self):
        self.send(b"0\r\n\r\n")

    def answer_well(self):
        self.charge_all()
        if self.streams:
            self.stream(self.records())
            self.stream_end()
        else:
            content = self.whole()
            self.head(length=len(content))
            self.send(content)

    def begin(self):
        """A part of the answer: some words of a stream, half of a whole one, of which nobody can read a word."""
        if self.streams:
            self.charge(WORDS_BEFORE_THE_END)
            self.stream(self.records()[: self.before_the_first_word() + WORDS_BEFORE_THE_END])
        else:
            self.charge_all()
            content = self.whole()
            self.head(length=len(content))
            self.send(content[: len(content) // 2])

    def fail(self, status, more=""):
        """An error in the dialect's own words; nothing is charged for it."""
        kind = ERROR_TYPES[status]
        if self.dialect == "anthropic":
            error = answers.anthropic_error("as it was told to", kind, "req_faulty")
        else:
            error = answers.openai_error("as it was told to", kind, None, None)
        content = json.dumps(error).encode()
        self.head(f"{status} As Told", len(content), more=more)
        self.send(content)

    def wait_for_leaving(self):
        self.connection.recv(1)


# The faults. When one returns, the connection is closed.


def connection_reset(turn):
    turn.charge_all()
    turn.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    turn.connection.close()


def slow_first_byte(turn):
    """Whoever does not wait for it is charged for it all the same."""
    turn.charge_all()
    time.sleep(SLOW_SECONDS)
    turn.answer_well()


def slow_first_word(turn):
    """The head at once, and of a stream what has no word in it."""
    turn.charge_all()
    if turn.streams:
        records, first = turn.records(), turn.before_the_first_word()
        turn.stream(records[:first])
        time.sleep(SLOW_SECONDS)
        for record in records[first:]:
            turn.chunk(record)
        turn.stream_end()
    else:
        content = turn.whole()
        turn.head(length=len(content))
        time.sleep(SLOW_SECONDS)
        turn.send(content)


def no_answer(turn):
    turn.charge_all()
    turn.wait_for_leaving()


def slow_stream(turn):
    turn.charge_all()
    if turn.streams:
        turn.stream(turn.records(), DRIP_SECONDS)
        turn.stream_end()
    else:
        content = turn.whole()
        turn.head(length=len(content))
        for start in range(0, len(content), 64):
            turn.send(content[start : start + 64])
            time.sleep(DRIP_SECONDS)


def stalled(turn):
    turn.begin()
    turn.wait_for_leaving()


def garbage(turn):
    turn.charge_all()
    if turn.streams:
        turn.stream([b"data: {not json\n\n", b"\xff\xfe\x00garbage\n\n"])
        turn.stream_end()
    else:
        turn.head(length=12)
        turn.send(b"{\xff\xfe not json")


def garbage_mid_stream(turn):
    turn.begin()
    turn.chunk(b"data: {not json\n\n")
    turn.wait_for_leaving()


def broken_before_the_first_word(turn):
    turn.charge(0)
    turn.stream(turn.records()[: turn.before_the_first_word()])


def broken_mid_stream(turn):
    turn.begin()


def error_mid_stream(turn):
    turn.begin()
    error = answers.openai_error("as it was told to", "server_error", None, None)
    if turn.dialect == "anthropic":
        error = answers.anthropic_error("as it was told to", "api_error", "req_faulty")
    event = b"event: error\n" if turn.dialect == "anthropic" else b""
    turn.chunk(event + b"data: %b\n\n" % json.dumps(error).encode())
    turn.stream_end()


def lifted_soon(turn):
    """Limits the first request of each marker and answers the next one."""
    if turn.number == 1:
        turn.fail(429, f"retry-after-ms: {SOON_MS}\r\n")
    else:
        turn.answer_well()


def told(turn):
    """Well, and broken for requests that are marked so."""
    if turn.visit.marker.endswith("-ill"):
        turn.fail(500)
    else:
        turn.answer_well()


FAULTS = {
    "connection-reset": connection_reset,
    "slow-first-byte": slow_first_byte,
    "slow-first-word": slow_first_word,
    "no-answer": no_answer,
    "slow-stream": slow_stream,
    "stalled": stalled,
    "garbage": garbage,
    "garbage-mid-stream": garbage_mid_stream,
    "429-retry-after": lambda turn: turn.fail(429, f"retry-after: {LATER_SECONDS}\r\n"),
    "429-lifted-soon": lifted_soon,
    "429-always-soon": lambda turn: turn.fail(429, f"retry-after-ms: {SOON_MS}\r\n"),
    "429-bare": lambda turn: turn.fail(429),
    "500": lambda turn: turn.fail(500),
    "401": lambda turn: turn.fail(401),
    "broken-before-the-first-word": broken_before_the_first_word,
    "broken-mid-stream": broken_mid_stream,
    "error-mid-stream": error_mid_stream,
    "told": told,
}


class Faulty(Scripted):
    """The provider, one thread a connection."""

    def __init__(self):
        self.visits = []
        self.lock = threading.Lock()
        super().__init__({name: self._behave(name, fault) for name, fault in FAULTS.items()})

    def _behave(self, name, fault):
        def behave(connection, dialect, body):
            marker = model.marker_in(model.last_user_text(json.loads(body)))
            visit = Visit(marker, name, json.loads(body)["model"], time.time())
            with self.lock:
                self.visits.append(visit)
                number = sum(1 for one in self.visits if one.marker == marker)
            fault(Turn(connection, dialect, body, visit, number))

        return behave

    def account(self, marker):
        """The requests that carried this marker, in order."""
        with self.lock:
            return [visit for visit in self.visits if visit.marker == marker]


class Refusing:
    """An address at which nobody listens, and that nobody else can take."""

    def __init__(self):
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def is_faulty(self):
        """Whether it still refuses."""
        try:
            socket.create_connection(self.socket.getsockname(), timeout=5).close()
        except ConnectionRefusedError:
            return True
        return False

    def close(self):
        self.socket.close()


class BlackHole:
    """An address at which connections neither come about nor are refused."""

    def __init__(self):
        self.sockets = black_hole()
        self.url = f"http://127.0.0.1:{self.sockets[0].getsockname()[1]}"

    def is_faulty(self):
        """Whether it still swallows everything."""
        try:
            socket.create_connection(self.sockets[0].getsockname(), timeout=0.05).close()
        except TimeoutError:
            return True
        return False

    def close(self):
        for one in self.sockets:
            one.close()
