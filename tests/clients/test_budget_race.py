"""Many clients against a small budget: whatever they send, the provider's own account never comes to more than the limit.

Each shape of call has a key with a budget of its own: 64 clients make 20 calls in each of three rounds, nearly all of them in
vain. The limit is a multiple of what one call reserves at least, so that at the end less than that may be left; and while half
of it is free, eight calls or more must be under way at once, for a limit that lets one caller in at a time is no use.
"""

import asyncio
import json
import os
from dataclasses import dataclass, field

import pytest

from books import PRICES, all_rows, owed, picodollars, window
from conftest import Gateway, get_json, wait_for

pytestmark = pytest.mark.gateway

CLIENTS = 64
CALLS = 20
ROUNDS = 3
# How many calls fit at once with the least that they may reserve.
LEAST_CALLS = 24
IN_FLIGHT_MIN = 8
SETTLE_SECONDS_MAX = 60
CALL_SECONDS_MAX = 60
# What is added to a request's bytes for what providers put around it.
OVERHEAD_TOKENS = 1_024
# A call that names no limit asks for this much, and is clipped to a quarter of it at most.
CAP_DEFAULT, CAP_LEAST = 4_096, 1_024
# Picodollars a token at the dearest: gpt-4o-mini in the priority tier; an input of claude-haiku-4-5 that is kept for an hour,
# and what is computed in one country costs a tenth more; gpt-5-mini in the priority tier.
DEAREST = {
    "gpt-4o-mini": (250_000, 1_000_000),
    "gpt-5-mini": (450_000, 3_600_000),
    "claude-haiku-4-5": (2_200_000, 5_500_000),
    "text-embedding-3-small": (20_000, 0),
}
SETTINGS = """
[[providers]]
name = "shaky"
kind = "openai"
base_url = "{url}/v1"
api_key = "env:UPSTREAM_KEY"
catalog = "openai"

[[routes]]
name = "dearer"
strategy = "fallback"
deployments = ["shaky/gpt-4o-mini", "openai/gpt-5-mini"]

[limits]
concurrent_requests_max = 1000
"""


@dataclass
class Shape:
    """A kind of call, and what one of them may reserve at least."""

    name: str
    model: str = "openai/gpt-4o-mini"
    path: str = "/v1/chat/completions"
    words: str = "slow:100ms usage:in=900,out=200"
    fields: dict = field(default_factory=dict)
    text: str = "hello"
    cap_least: int = CAP_LEAST
    dearest: str = "gpt-4o-mini"
    hangs_up: bool = False
    # What else clients may be told: where no money is left for a fallback, the failure before it.
    also: frozenset = frozenset()

    def body(self, marker):
        text = f"id:{marker} {self.words} {self.text}"
        if self.path == "/v1/embeddings":
            return json.dumps({"model": self.model, "input": text}).encode()
        return json.dumps(
            {"model": self.model, "messages": [{"role": "user", "content": text}], **self.fields}
        ).encode()

    def limit(self):
        """In picodollars."""
        price_in, price_out = DEAREST[self.dearest]
        least = (len(self.body("m" * 24)) + OVERHEAD_TOKENS) * price_in + self.cap_least * price_out
        return LEAST_CALLS * least


TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
SHAPES = [
    Shape("whole"),
    Shape("streamed", fields={"stream": True}, words="slow:100ms drip:1ms usage:in=900,out=200"),
    Shape("whole with a limit", fields={"max_tokens": 2_000}, cap_least=500),
    Shape("streamed with a limit", fields={"stream": True, "max_completion_tokens": 1_200}, cap_least=300),
    Shape("tools", fields={"tools": [TOOL]}, words="slow:100ms usage:in=900,out=60 call:look_up={}"),
    Shape("long context", text="word " * 4_000, words="slow:100ms usage:in=18000,out=100"),
    Shape("embeddings", model="openai/text-embedding-3-small", path="/v1/embeddings", words="slow:100ms",
          text="word " * 400, cap_least=0, dearest="text-embedding-3-small"),
    Shape("fallback to a dearer model", model="dearer", dearest="gpt-5-mini",
          words="error:503;times=1 slow:100ms usage:in=900,out=400", also=frozenset({503})),
    Shape("messages", model="anthropic/claude-haiku-4-5", path="/v1/messages", fields={"max_tokens": 4_000, "stream": True},
          cap_least=1_000, dearest="claude-haiku-4-5", words="slow:100ms usage:in=900,out=300"),
    Shape("clients that hang up", fields={"stream": True}, hangs_up=True,
          words="slow:100ms drip:4ms usage:in=900,out=200"),
]


@pytest.fixture(scope="module")
def racing(tmp_path_factory, upstream):
    """A server of its own: thousands of rows would slow every other test that reads them all."""
    running = Gateway(tmp_path_factory.mktemp("race"), upstream, SETTINGS.format(url=upstream.url))
    yield running
    running.stop()


async def call(port, key, shape, marker):
    """One call; its status, its headers, and its body as far as it was read."""
    body = shape.body(marker)
    head = [f"POST {shape.path} HTTP/1.1", "host: gateway", "content-type: application/json", "connection: close"]
    head += [f"authorization: Bearer {key}", f"x-request-id: {marker}", f"content-length: {len(body)}"]
    head += ["anthropic-version: 2023-06-01"] if shape.path == "/v1/messages" else []
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status = int(text.split()[1])
        headers = dict(line.lower().split(": ", 1) for line in text.split("\r\n")[1:] if line)
        if status == 200 and shape.hangs_up:
            return status, headers, await reader.read(64)
        return status, headers, await reader.read(-1)
    finally:
        writer.close()


async def race(port, key, shape):
    """All rounds; what came of every call."""
    answers = []

    async def client(round_number, number):
        for count in range(CALLS):
            marker = f"r{round_number}-{number}-{count}-{os.urandom(4).hex()}"
            answers.append(await asyncio.wait_for(call(port, key, shape, marker), CALL_SECONDS_MAX))

    for round_number in range(ROUNDS):
        await asyncio.gather(*(client(round_number, number) for number in range(CLIENTS)))
    return answers


def in_flight(entries, limit):
    """How many calls ran at once at most while not more than half of the limit was spent."""
    ends = sorted((entry["ended"], 0, owed([entry])) for entry in entries if entry["ended"])
    starts = sorted((entry["time"], 1, 0) for entry in entries)
    running = spent = most = 0
    for _, is_start, cost in sorted(ends + starts):
        running += 1 if is_start else -1
        spent += cost
        if 2 * spent <= limit:
            most = max(most, running)
    return most


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_no_race_takes_a_budget_over_its_limit(racing, upstream, shape):
    get_json(f"{upstream.url}/__reset", method="POST")
    limit = shape.limit()
    budget = {"window": "total", "limitUsd": str_of(limit), "action": "block"}
    made = racing.admin("/api/keys", "POST", {"name": shape.name.replace(" ", "-"), "budgets": [budget]})
    answers = asyncio.run(race(int(racing.url.rsplit(":", 1)[1]), made["key"], shape))
    assert len(answers) == CLIENTS * CALLS * ROUNDS

    def settled():
        (standing,) = [b for b in racing.admin("/api/budgets")["items"] if b["scope"]["id"] == made["id"]]
        return standing if picodollars(standing["heldUsd"]) == 0 else None

    standing = wait_for(settled, "every call being booked", SETTLE_SECONDS_MAX, racing.process)
    entries = get_json(f"{upstream.url}/__account")
    spent, booked = owed(entries), picodollars(standing["spentUsd"])
    # A client that hangs up may be charged with what nobody has told; nobody is charged with less than the provider asks.
    assert spent <= booked <= limit, (spent, booked, limit)
    assert shape.hangs_up or spent == booked
    assert 2 * booked >= limit, f"only {booked} of {limit} was used"
    assert in_flight(entries, limit) >= IN_FLIGHT_MIN
    statuses = {status for status, _, _ in answers}
    assert statuses <= {200, 402 if shape.path == "/v1/messages" else 429, 429} | shape.also, statuses
    check_refusals(shape, answers)
    clipped = [headers for status, headers, _ in answers if status == 200 and "x-tollgate-budget-clipped" in headers]
    assert bool(clipped) == (shape.cap_least > 0)
    for headers in clipped:
        assert int(headers["x-tollgate-budget-clipped"]) >= shape.cap_least


def check_refusals(shape, answers):
    """Nobody is told to come back to a budget that is used up, and nobody is sent away for good who only has to wait."""
    refused = [(status, headers, json.loads(body)["error"]) for status, headers, body in answers if status in (402, 429)]
    assert refused or shape.also, "the budget was never used up"
    for status, headers, error in refused:
        only_held = "it fits once calls that run have ended" in error["message"]
        assert headers["x-should-retry"] == ("true" if only_held else "false"), error
        assert ("retry-after" in headers) == only_held, error
        if shape.path == "/v1/messages":
            assert (status, error["type"]) == ((429, "rate_limit_error") if only_held else (402, "billing_error"))
        else:
            kind = ("rate_limit_error", "budget_held") if only_held else ("insufficient_quota", "budget_exceeded")
            assert (status, error["type"], error["code"]) == (429, *kind)


def str_of(amount):
    """Picodollars as dollars."""
    return f"{amount // 10**12}.{amount % 10**12:012d}"
