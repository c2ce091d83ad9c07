"""A second attempt beside a slow one: the first to produce content wins, and whatever both cost is in the books.

Two processes of the test provider stand behind each route; `at:first/slow:900ms` makes one of them slow. Prices are worked out
by hand, in picodollars: gpt-4o-mini 150,000 a token in and 600,000 out; claude-haiku-4-5 1,000,000 and 5,000,000.
"""

import concurrent.futures
import json
import time

import anthropic
import openai
import pytest

from books import picodollars
from conftest import Upstream, wait_for
from load import Call, Connection, Server, account_cost, idle_account, is_whole, provider, route, send

pytestmark = pytest.mark.gateway

# When the hedge of most routes here starts, and how slow "slow" is.
AFTER = 0.25
SLOW = 4
SLOW_FIRST = f"at:first/slow:{SLOW}s"
# How much later than its time a hedge may answer on a busy machine.
SLACK = 2.5
HELD_MAX = 16_384


def hedged(name, deployments, hedge='"250ms"', percent=100):
    return route(name, deployments) + f"hedge = {hedge}\nhedge_percent_max = {percent}\n"


def start(tmp_path_factory, streams=""):
    upstreams = {name: Upstream(tmp_path_factory.mktemp(name), "--name", name) for name in ("first", "second")}
    roots = {name: running.url for name, running in upstreams.items()}
    settings = provider("one", "openai", f"{roots['first']}/v1", "openai")
    settings += provider("two", "openai", f"{roots['second']}/v1", "openai")
    settings += provider("claude", "anthropic", roots["second"])
    settings += provider("claude-one", "anthropic", roots["first"], "anthropic")
    settings += provider("full", "openai", f"{roots['second']}/v1", "openai", extra="concurrent_requests_max = 1")
    pair = ["one/gpt-4o-mini", "two/gpt-4o-mini"]
    settings += hedged("pair", pair)
    # Deployments of its own: what is measured is measured for all routes.
    settings += hedged("measured", ["one/gpt-4o", "two/gpt-4o"], "true")
    settings += hedged("patient", pair, '"1s"')
    settings += hedged("share", pair, '"50ms"', 10)
    settings += hedged("cross", ["one/gpt-4o-mini", "claude/claude-haiku-4-5"])
    settings += hedged("claudes", ["claude-one/claude-haiku-4-5", "claude/claude-haiku-4-5"])
    settings += hedged("thinkers", ["one/gpt-5-mini", "two/gpt-5-mini"])
    settings += hedged("crowded", ["one/gpt-4o-mini", "full/gpt-4o-mini"])
    settings += route("plain", pair)
    settings += f"[cache]\nenabled = false\n{streams}"
    running = Server(tmp_path_factory.mktemp("gateway"), settings)
    running.key = running.create_key("hedging")
    running.upstreams = upstreams
    running.start()
    return running


def finish(running):
    running.check_totals(running.settled())
    running.stop()
    running.verify()
    for upstream in running.upstreams.values():
        upstream.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = start(tmp_path_factory)
    yield running
    finish(running)


@pytest.fixture(scope="module")
def hasty(tmp_path_factory):
    """The same, where a client that leaves ends its call at once."""
    running = start(tmp_path_factory, '[streams]\non_disconnect = "cancel"\n')
    yield running
    finish(running)


def call(marker, model="pair", text=SLOW_FIRST, **options):
    options.setdefault("fields", {"max_tokens": 200})
    return Call(marker, model=model, text=text, **options)


def ask(server, one, key=None):
    """Sends a call; the answer tells when its first byte of content came."""
    began = time.monotonic()
    with Connection(server.port) as connection:
        connection.send(one.request(key or server.key))
        answer = connection.head()
        answer.first = None
        for chunk in connection.chunks(answer):
            answer.body += chunk
            if answer.first is None and (b'"content":"' in answer.body or b"text_delta" in answer.body):
                answer.first = time.monotonic() - began
        answer.complete = True
    answer.seconds = time.monotonic() - began
    return answer


def entry_of(server, marker):
    """The entry of a call with its attempts, once it is booked."""
    row = server.booked(marker)
    entry = server.admin(f"/api/requests/{row['id']}")
    assert sum(picodollars(attempt["costUsd"]) for attempt in entry["attempts"]) == picodollars(row["cost_usd"])
    return entry


def brief(entry):
    """Provider, error, basis and whether it was the hedge, of each attempt in order."""
    told = [(a["provider"], a["error"], a["costBasis"], a["hedge"]) for a in entry["attempts"]]
    return told


def asked(server, name, marker):
    return server.upstreams[name].account(marker)


def metric(server, outcome):
    line = f'tollgate_hedges_total{{outcome="{outcome}"}}'
    (found,) = [text for text in server.text("/metrics").splitlines() if text.startswith(line)]
    return float(found.rsplit(" ", 1)[1])


# Who wins


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_the_second_answers_where_the_first_is_slow_and_both_are_booked(server, marker, stream):
    before = metric(server, "started"), metric(server, "won")
    answer = ask(server, call(marker, stream=stream))
    assert is_whole(call(marker, stream=stream), answer)
    assert AFTER <= answer.seconds < AFTER + SLACK < SLOW
    assert answer.headers["x-tollgate-attempts"] == "2" and answer.headers["x-tollgate-provider"] == "two"
    entry = entry_of(server, marker)
    basis = "estimated" if stream else "reserved"
    assert brief(entry) == [("one", "cancelled", basis, False), ("two", None, "exact", True)]
    first, second = entry["attempts"]
    assert entry["status"] == "settled" and entry["provider"] == "two"
    assert entry["decision"]["hedge"]["deployment"] == "two/gpt-4o-mini" and entry["decision"]["hedge"]["won"] is True
    assert AFTER <= entry["decision"]["hedge"]["afterMs"] / 1000 < AFTER + SLACK
    assert first["startedMs"] + AFTER * 1000 - 1 <= second["startedMs"]
    # Of a stream without a word: its input. Of a whole answer nothing is known.
    if stream:
        assert 0 < picodollars(first["costUsd"]) < 1_000 * 150_000 and first["usage"]["outputTokens"] == 0
    else:
        assert picodollars(first["costUsd"]) >= 200 * 600_000
    (booked,) = asked(server, "second", marker)
    assert picodollars(second["costUsd"]) == account_cost(booked)
    assert (metric(server, "started"), metric(server, "won")) == (before[0] + 1, before[1] + 1)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_the_first_answers_where_both_are_slow_and_it_is_sooner(server, marker, stream):
    text = f"at:first/slow:700ms at:second/slow:{SLOW}s"
    won = metric(server, "won")
    answer = ask(server, call(marker, text=text, stream=stream))
    assert 0.7 <= answer.seconds < 0.7 + SLACK
    assert answer.headers["x-tollgate-attempts"] == "2" and answer.headers["x-tollgate-provider"] == "one"
    entry = entry_of(server, marker)
    basis = "estimated" if stream else "reserved"
    assert brief(entry) == [("two", "cancelled", basis, True), ("one", None, "exact", False)]
    assert entry["decision"]["hedge"]["won"] is False and entry["provider"] == "one"
    assert metric(server, "won") == won


def test_a_fast_first_is_left_alone(server, marker):
    answer = ask(server, call(marker, "patient", "hello", stream=True))
    assert answer.headers["x-tollgate-attempts"] == "1" and answer.seconds < SLACK
    entry = entry_of(server, marker)
    assert brief(entry) == [("one", None, "exact", False)] and entry["decision"]["hedge"] is None
    assert asked(server, "second", marker) == []


def test_a_stream_that_has_said_only_its_prelude_is_still_silent(server, marker):
    # Records come seconds apart, and the first has no content.
    answer = ask(server, call(marker, text=f"at:first/drip:{SLOW}s", stream=True))
    assert answer.headers["x-tollgate-provider"] == "two" and answer.first < AFTER + SLACK
    assert brief(entry_of(server, marker))[0] == ("one", "cancelled", "estimated", False)


def test_no_word_of_the_loser_reaches_the_client(server, marker):
    answer = ask(server, call(marker, text="at:first/slow:300ms at:second/slow:60ms echo:one answer", stream=True))
    assert answer.body.count(b"[DONE]") == 1
    ids = {json.loads(line[6:])["id"] for line in answer.body.decode().splitlines() if line.startswith("data: {")}
    assert len(ids) == 1


# Failures beside


def test_a_first_that_fails_beside_leaves_the_call_to_the_second_without_a_pause(server, marker):
    text = "at:first/slow:500ms at:first/error:500 at:second/slow:700ms"
    answer = ask(server, call(marker, text=text))
    assert answer.status == 200 and AFTER + 0.7 <= answer.seconds < AFTER + 0.7 + SLACK
    assert answer.headers["x-tollgate-attempts"] == "2"
    assert brief(entry_of(server, marker)) == [("one", "upstream_error", "exact", False), ("two", None, "exact", True)]
    assert (len(asked(server, "first", marker)), len(asked(server, "second", marker))) == (1, 1)


def test_a_second_that_fails_leaves_the_call_to_the_first_and_is_not_tried_again(server, marker):
    answer = ask(server, call(marker, text="at:first/slow:900ms at:second/error:500"))
    assert answer.status == 200 and answer.headers["x-tollgate-provider"] == "one"
    assert brief(entry_of(server, marker)) == [("two", "upstream_error", "exact", True), ("one", None, "exact", False)]
    assert len(asked(server, "second", marker)) == 1


def test_where_both_fail_the_client_is_told_once(server, marker):
    answer = ask(server, call(marker, text="at:first/slow:500ms at:first/error:500 at:second/error:400"))
    assert answer.status >= 400
    entry = entry_of(server, marker)
    assert entry["status"] == "failed" and picodollars(entry["costUsd"]) == 0
    assert {attempt["provider"] for attempt in entry["attempts"]} == {"one", "two"}


# Dialects


def test_sdks_of_both_vendors_get_the_answer_of_the_hedge(server, marker):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as client:
        said = client.chat.completions.create(
            model="cross",
            max_tokens=100,
            messages=[{"role": "user", "content": f"id:{marker} {SLOW_FIRST} echo:across"}],
            extra_headers={"x-request-id": f"{marker}-a"},
        )
    assert said.choices[0].message.content == "across"
    entry = entry_of(server, f"{marker}-a")
    assert [attempt["provider"] for attempt in entry["attempts"]] == ["one", "claude"]
    with anthropic.Anthropic(base_url=server.url, api_key=server.key, max_retries=0) as client:
        with client.messages.stream(
            model="claudes",
            max_tokens=100,
            messages=[{"role": "user", "content": f"id:{marker} {SLOW_FIRST} echo:alike"}],
            extra_headers={"x-request-id": f"{marker}-b"},
        ) as stream:
            assert stream.get_final_text() == "alike"
    assert brief(entry_of(server, f"{marker}-b")) == [
        ("claude-one", "cancelled", "estimated", False),
        ("claude", None, "exact", True),
    ]


def test_a_stream_crosses_dialects_to_the_hedge(server, marker):
    answer = ask(server, call(marker, "cross", f"{SLOW_FIRST} echo:across", stream=True))
    assert b"across" in answer.body and b"[DONE]" in answer.body
    assert answer.headers["x-tollgate-provider"] == "claude" and answer.first < AFTER + SLACK


def test_a_model_that_may_have_thought_in_silence_is_booked_at_what_was_held(server, marker):
    one = call(marker, "thinkers", stream=True, fields={"max_completion_tokens": 500})
    assert ask(server, one).headers["x-tollgate-provider"] == "two"
    entry = entry_of(server, marker)
    assert brief(entry)[0] == ("one", "cancelled", "reserved", False)
    assert picodollars(entry["attempts"][0]["costUsd"]) >= 500 * 2_000_000


def test_what_nobody_could_price_when_it_is_given_up_is_hedged_only_with_a_limit_on_its_output(server, marker):
    text = "at:first/slow:700ms"
    whole = ask(server, call(f"{marker}-whole", text=text, fields={}))
    silent = ask(server, call(f"{marker}-silent", "thinkers", text, stream=True, fields={}))
    assert [answer.headers["x-tollgate-attempts"] for answer in (whole, silent)] == ["1", "1"]
    # Of a stream its input is all that can be owed before its first word, so that it needs none.
    assert ask(server, call(f"{marker}-plain", text=text, stream=True, fields={})).headers["x-tollgate-attempts"] == "2"
    # A budget that blocks writes a limit.
    key = budget(server, "5")["key"]
    assert ask(server, call(f"{marker}-bound", text=text, fields={}), key).headers["x-tollgate-attempts"] == "2"


# Measured


def test_the_hedge_starts_after_the_measured_percentile_once_enough_is_known(server, marker):
    def outlook():
        return server.admin("/api/routes/measured/explain?stream=true")["hedge"]

    assert outlook()["afterMs"] is None and "20" in outlook()["reason"]
    slow = ask(server, call(f"{marker}-0", "measured", stream=True))
    assert slow.headers["x-tollgate-attempts"] == "1" and slow.seconds >= SLOW
    # The one slow answer among them is beyond the 95th percentile.
    for number in range(1, 30):
        one = call(f"{marker}-{number}", "measured", "at:first/slow:100ms", stream=True)
        answer = ask(server, one)
        # With twenty, one that is slower than all others but the first is rightly hedged.
        assert number >= 20 or answer.headers["x-tollgate-attempts"] == "1"
    known = outlook()
    assert 100 <= known["afterMs"] < 100 + SLACK * 1000 and known["deployment"] == "two/gpt-4o"
    late = ask(server, call(f"{marker}-late", "measured", stream=True))
    assert late.headers["x-tollgate-provider"] == "two"
    assert known["afterMs"] / 1000 <= late.first < known["afterMs"] / 1000 + SLACK < SLOW
    # Whole answers have times of their own, of which nothing is known yet.
    whole = ask(server, call(f"{marker}-whole", "measured", "at:first/slow:600ms"))
    assert whole.headers["x-tollgate-attempts"] == "1"
    routes = {one["name"]: one for one in server.admin("/api/routes")["items"]}
    assert routes["measured"]["hedge"] == {"after": "p95", "percentMax": 100}
    assert routes["plain"]["hedge"] is None


def test_no_more_than_its_share_of_a_route_is_hedged(server, marker):
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        calls = [call(f"{marker}-{n}", "share", "at:first/slow:400ms", stream=True) for n in range(40)]
        answers = list(pool.map(lambda one: ask(server, one), calls))
    attempts = [answer.headers["x-tollgate-attempts"] for answer in answers]
    assert 1 <= attempts.count("2") <= 4, attempts
    outlook = server.admin("/api/routes/share/explain")["hedge"]
    assert outlook["percentMax"] == 10


# Calls that are never hedged


@pytest.mark.parametrize(
    "model, options",
    [
        ("plain", {}),
        ("one/gpt-4o-mini", {}),
        ("pair", {"headers": {"idempotency-key": "one-call-only"}}),
        ("pair", {"headers": {"x-tollgate-strategy": "primary"}}),
    ],
    ids=["another route", "a model by name", "an idempotency key", "one deployment"],
)
def test_such_a_call_is_not_hedged(server, marker, model, options):
    if "headers" in options and "idempotency-key" in options["headers"]:
        options = {"headers": {"idempotency-key": marker}}
    answer = ask(server, call(marker, model, "at:first/slow:600ms", **options))
    assert answer.status == 200 and answer.headers["x-tollgate-attempts"] == "1"
    assert asked(server, "second", marker) == []


def test_a_hedge_waits_for_no_place(server, marker):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        held = pool.submit(send, server.port, server.key, call(f"{marker}-held", "full/gpt-4o-mini", "slow:4s"))
        wait_for(lambda: asked(server, "second", f"{marker}-held"), "the only place being taken", 20)
        answer = ask(server, call(marker, "crowded", "at:first/slow:700ms"))
        assert answer.headers["x-tollgate-attempts"] == "1" and answer.seconds >= 0.7
        assert held.result().status == 200


# Money


def budget(server, limit):
    key = server.admin("/api/keys", "POST", {"name": f"k{time.monotonic_ns()}"})
    scope = {"kind": "key", "id": key["id"]}
    server.admin("/api/budgets", "POST", {"scope": scope, "window": "total", "limitUsd": limit, "action": "block"})
    return key


def test_a_budget_with_room_for_one_hedges_nothing_and_refuses_nobody(server, marker):
    # 200 tokens out are 0.00012 USD, and the input's bound is about as much again.
    key = budget(server, "0.0006")
    answer = ask(server, call(marker, text="at:first/slow:600ms"), key["key"])
    assert answer.status == 200 and answer.headers["x-tollgate-attempts"] == "1"
    assert asked(server, "second", marker) == []
    wide = budget(server, "1")
    answer = ask(server, call(f"{marker}-wide"), wide["key"])
    assert answer.headers["x-tollgate-attempts"] == "2"


def test_two_hundred_hedged_calls_at_once_stay_within_a_budget_and_match_the_providers_accounts(server, marker):
    limit = 100_000_000_000
    key = budget(server, "0.1")
    kinds = ["at:first/slow:500ms", "at:first/slow:350ms at:second/slow:150ms", "hello", "at:first/slow:1s"]

    def one(number):
        text = kinds[number % len(kinds)]
        return call(f"{marker}-{number}", text=text, stream=number % 3 != 0)

    seen = []
    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        answers = [pool.submit(send, server.port, key["key"], one(number)) for number in range(200)]
        while not all(answer.done() for answer in answers):
            (standing,) = [b for b in server.admin("/api/budgets")["items"] if b["scope"]["id"] == key["id"]]
            seen.append(picodollars(standing["spentUsd"]) + picodollars(standing["heldUsd"]))
            time.sleep(0.05)
    statuses = [answer.result().status for answer in answers]
    assert set(statuses) <= {200, 429} and statuses.count(200) >= 20
    assert max(seen) <= limit

    def all_rows():
        rows = [row for row in server.settled() if row["client_request_id"].startswith(f"{marker}-")]
        return rows if len(rows) >= 200 else None

    # What was refused is written down after it was told so.
    rows = wait_for(all_rows, "every call's row", 20)
    assert len(rows) == 200
    entries = [server.admin(f"/api/requests/{row['id']}") for row in rows if row["attempts"] != "0"]
    both = [entry for entry in entries if len(entry["attempts"]) == 2]
    assert both, "some were hedged"
    account = {}
    for name in ("first", "second"):
        for told in idle_account(server.upstreams[name]):
            if (told["id"] or "").startswith(f"{marker}-"):
                account[name, told["id"]] = account_cost(told)
    assert sum(account.values()) <= sum(picodollars(row["cost_usd"]) for row in rows) <= limit
    where = {"one": "first", "two": "second"}
    for entry in entries:
        for attempt in entry["attempts"]:
            cost = account.get((where[attempt["provider"]], entry["clientRequestId"]), 0)
            booked = picodollars(attempt["costUsd"])
            assert booked == cost if attempt["costBasis"] == "exact" else booked >= cost, attempt


# Clients that leave, processes that die


def leave(server, one, after):
    """Hangs up while both attempts are in flight."""
    with Connection(server.port) as connection:
        connection.send(one.request(server.key))
        wait_for(lambda: asked(server, "second", one.marker), "the second attempt", 20)
        time.sleep(after)


BOTH_SLOW = "at:first/slow:2s at:second/slow:1s"


def test_a_client_that_leaves_with_both_in_flight_is_billed_for_both(hasty, server, marker):
    leave(hasty, call(marker, text=BOTH_SLOW, stream=True), 0.05)
    entry = entry_of(hasty, marker)
    assert (entry["status"], entry["error"]) == ("settled", "client_left")
    both = [("two", "client_left", "estimated", True), ("one", "client_left", "estimated", False)]
    assert brief(entry) == both
    # Where the answer is read to its end, one of the two still wins.
    leave(server, call(marker, text=BOTH_SLOW, stream=True), 0.05)
    entry = entry_of(server, marker)
    assert (entry["status"], entry["error"]) == ("settled", "client_left")
    assert brief(entry) == [("one", "cancelled", "estimated", False), ("two", None, "exact", True)]


def test_a_process_that_dies_with_both_in_flight_books_both_as_unknown(tmp_path_factory, marker):
    running = start(tmp_path_factory)
    try:
        for number, stream in enumerate((True, False)):
            with Connection(running.port) as connection:
                connection.send(call(f"{marker}-{number}", text=BOTH_SLOW, stream=stream).request(running.key))
                wait_for(lambda: asked(running, "second", f"{marker}-{number}"), "the second attempt", 20)
                if number:
                    running.kill()
                else:
                    assert connection.head().status == 200
        running.start()
        entry = entry_of(running, f"{marker}-1")
        assert entry["status"] == "unknown" and entry["error"] == "crashed"
        assert brief(entry) == [("one", "crashed", "reserved", False), ("two", "crashed", "reserved", True)]
        assert all(picodollars(attempt["costUsd"]) >= 200 * 600_000 for attempt in entry["attempts"])
    finally:
        finish(running)


# Telling


def test_the_page_and_the_explanation_tell_of_the_hedge(server, marker):
    ask(server, call(marker, stream=True))
    outlook = server.admin("/api/routes/pair/explain")["hedge"]
    assert outlook["afterMs"] == AFTER * 1000 and outlook["deployment"] == "two/gpt-4o-mini"
    assert server.admin("/api/routes/plain/explain")["hedge"] is None
