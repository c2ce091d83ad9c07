"""What becomes of calls that still run when the server has to end: each is told so in its dialect, and booked at what it cost.

SIGTERM gives calls 25 seconds; a second one ends what still runs at once. Nothing but a whole answer of which nothing had come,
and of which nobody can know what it cost, is `unknown` afterwards.
"""

import concurrent.futures
import json
import signal
import time

import pytest

from books import picodollars
from conftest import Upstream, wait_for
from load import Call, Connection, Server, provider, route

pytestmark = pytest.mark.gateway

LONG = " ".join(["word"] * 400)
# A stream of forty seconds.
SLOW_STREAM = f"drip:100ms echo:{LONG}"
NEVER = "hang"
DRAIN_SECONDS = 25
# From the wish to end until the process is gone, on a busy machine.
END_SECONDS_MAX = 6
OUTPUT_PRICES = {"openai": 600_000, "anthropic": 5_000_000}


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    running = Upstream(tmp_path_factory.mktemp("upstream"))
    yield running
    running.stop()


@pytest.fixture
def server(tmp_path_factory, upstream):
    root = upstream.url
    settings = provider("openai", "openai", f"{root}/v1") + provider("anthropic", "anthropic", root)
    settings += provider("other", "openai", f"{root}/v1", "openai")
    settings += provider("narrow", "openai", f"{root}/v1", "openai", extra="concurrent_requests_max = 1")
    settings += route("hedged", ["openai/gpt-4o-mini", "other/gpt-4o-mini"])
    settings += 'hedge = "100ms"\nhedge_percent_max = 100\n'
    running = Server(tmp_path_factory.mktemp("gateway"), settings)
    running.key = running.create_key("stop")
    running.start()
    yield running
    running.kill()


class Running:
    """A call on its way, read in a thread to whatever its end is."""

    def __init__(self, server, pool, call):
        self.call = call
        self.connection = Connection(server.port)
        self.connection.send(call.request(server.key))
        self.reading = pool.submit(self._read)
        self.body = b""

    def _read(self):
        with self.connection as connection:
            answer = connection.head()
            for chunk in connection.chunks(answer):
                self.body += chunk
            answer.body = self.body
            answer.complete = True
        return answer

    def has_begun(self):
        return self.body.count(b"word") > 3

    def answer(self):
        return self.reading.result(timeout=END_SECONDS_MAX)


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(16) as running:
        yield running


def stop(server, *, at_once):
    """Asks the server to stop, and where it shall not wait for calls, once more; how long it took from the last time."""
    began = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    if at_once:
        wait_for(lambda: "stopping: calls that run" in server.log_end(), "the stop", 10, server.process)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
    code = server.process.wait(timeout=40)
    assert code == 0, f"the server ended with {code}\n{server.log_end()}"
    return time.monotonic() - began


def check_ended(call, answer):
    """A stream ends with an error of its dialect, as a stream: not as if all had been said, and not cut off."""
    assert answer.status == 200 and answer.complete
    last = answer.body.strip().split(b"\n\n")[-1].decode()
    if call.dialect == "openai":
        assert b"[DONE]" not in answer.body
        error = json.loads(last.removeprefix("data: "))["error"]
        assert (error["type"], error["code"]) == ("server_error", "stopping"), last
    else:
        assert b"message_stop" not in answer.body and last.startswith("event: error\n")
        error = json.loads(last.partition("data: ")[2])["error"]
        assert error["type"] == "api_error", last
    assert "the server is stopping" in error["message"]


def check_books(server, calls):
    """What the next start finds: the entry of each call, none of which is still open."""
    server.start()
    rows = {call.marker: server.booked(call.marker, 5) for call in calls}
    server.check_totals(server.settled())
    server.stop()
    server.verify()
    return rows


def check_stream_booked(call, row, answer):
    """At its input and at least what its client has seen."""
    seen = answer.body.count(b"word")
    assert (row["status"], row["cost_basis"], row["error"]) == ("settled", "estimated", "stopping"), row
    assert picodollars(row["cost_usd"]) >= seen * OUTPUT_PRICES[call.dialect] > 0
    assert int(row["output_tokens"]) < 400


def test_streams_that_outlast_the_stop_are_told_and_booked_at_what_came(server, pool, marker):
    calls = [Call(f"{marker}-{dialect}", dialect, True, SLOW_STREAM) for dialect in ("openai", "anthropic")]
    running = [Running(server, pool, call) for call in calls]
    wait_for(lambda: all(one.has_begun() for one in running), "the streams", 20)
    seconds = stop(server, at_once=False)
    assert DRAIN_SECONDS < seconds < DRAIN_SECONDS + END_SECONDS_MAX - 1
    answers = [one.answer() for one in running]
    assert all(answer.body.count(b"word") > 150 for answer in answers), "they had their time"
    for call, answer in zip(calls, answers, strict=True):
        check_ended(call, answer)
    rows = check_books(server, calls)
    for call, answer in zip(calls, answers, strict=True):
        check_stream_booked(call, rows[call.marker], answer)
    assert "calls still run: they end now" in server.log.read_text()


def test_whatever_runs_ends_when_it_is_asked_for_twice(server, upstream, pool, marker):
    def call(name, text, **options):
        return Call(f"{marker}-{name}", text=text, fields={"max_tokens": 500}, **options)

    streams = [call(dialect, SLOW_STREAM, dialect=dialect, stream=True) for dialect in ("openai", "anthropic")]
    silent = call("silent", NEVER, stream=True)
    hedged = call("hedged", NEVER, stream=True, model="hedged")
    whole = call("whole", NEVER)
    holder = call("holder", SLOW_STREAM, stream=True, model="narrow/gpt-4o-mini")
    crowded = call("crowded", "hello", model="narrow/gpt-4o-mini")
    pausing = call("pausing", "error:503;retry-after=8", model="other/gpt-4o-mini")
    same = {"x-request-id": f"{marker}-follower"}
    follower = Call(whole.marker, text=NEVER, fields={"max_tokens": 500}, headers=same)
    leaver = call("leaver", SLOW_STREAM, stream=True)

    began = [Running(server, pool, one) for one in [*streams, holder]]
    wait_for(lambda: all(one.has_begun() for one in began), "the streams", 20)
    waiting = [Running(server, pool, one) for one in (silent, hedged, whole, crowded, pausing)]
    for one, attempts in ((silent, 1), (hedged, 2), (whole, 1), (pausing, 1)):
        wait_for(lambda one=one, n=attempts: len(upstream.account(one.marker)) == n, f"{one.marker} asked", 20)
    waiting.append(Running(server, pool, follower))
    with Connection(server.port) as connection:
        connection.send(leaver.request(server.key))
        connection.head()
    wait_for(lambda: server.admin("/api/metrics")["requests"]["inFlight"] >= 9, "all of them running", 20)

    assert stop(server, at_once=True) < END_SECONDS_MAX
    for one in began:
        check_ended(one.call, one.answer())
    codes = {one.call.headers.get("x-request-id", one.call.marker): one.answer() for one in waiting}
    told = {name.removeprefix(f"{marker}-"): (answer.status, answer.error()[1]) for name, answer in codes.items()}
    stopped = (503, "stopping")
    assert told.pop("pausing") == (503, "overloaded"), "the last that was heard of it"
    assert told == dict.fromkeys(("silent", "hedged", "whole", "crowded", "follower"), stopped)

    everything = [*streams, holder, silent, hedged, whole, crowded, pausing, leaver, Call(f"{marker}-follower")]
    rows = check_books(server, everything)
    for one in began:
        check_stream_booked(one.call, rows[one.call.marker], one.answer())
    briefly = {
        name.removeprefix(f"{marker}-"): (row["status"], row["cost_basis"], row["error"]) for name, row in rows.items()
    }
    # Their input was paid for, and not a word of an answer.
    for name in ("silent", "hedged"):
        assert briefly[name] == ("settled", "estimated", "stopping")
        assert 0 < picodollars(rows[f"{marker}-{name}"]["cost_usd"]) < 2 * 100 * 150_000
    assert int(rows[hedged.marker]["attempts"]) == 2
    assert briefly["leaver"] == ("settled", "estimated", "stopping")
    # It may have been written to its end.
    assert briefly["whole"] == ("unknown", "reserved", "stopping")
    for name, error in (("crowded", "stopping"), ("follower", "stopping"), ("pausing", "upstream_overloaded")):
        assert (rows[f"{marker}-{name}"]["status"], rows[f"{marker}-{name}"]["cost_usd"]) == ("failed", "0")
        assert briefly[name][2] == error
