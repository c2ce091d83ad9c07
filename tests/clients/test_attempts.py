"""What the attempts of one call cost together: in its entry, in what the client is told, and in what is held while it waits.

`garbage` may have been paid for, so it is charged at all that was held; `error:503` and a provider that refuses connections owe
nothing.
"""

import concurrent.futures
import socket

import pytest

from books import picodollars
from conftest import Upstream, wait_for
from load import Call, Server, provider, route, send

pytestmark = pytest.mark.gateway

LOST_FIRST = "at:first/garbage"
# 400 tokens of output at the dearest price of gpt-4o-mini, and its input.
HELD_MIN = 400 * 1_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    # Bound and never listened on: whoever connects is refused.
    dead = socket.socket()
    dead.bind(("127.0.0.1", 0))
    dead_port = dead.getsockname()[1]
    upstreams = {name: Upstream(tmp_path_factory.mktemp(name), "--name", name) for name in ("first", "second")}
    roots = {name: running.url for name, running in upstreams.items()}
    settings = provider("one", "openai", f"{roots['first']}/v1", "openai")
    settings += provider("two", "openai", f"{roots['second']}/v1", "openai")
    settings += provider("three", "openai", f"{roots['second']}/v1", "openai")
    settings += provider("dead", "openai", f"http://127.0.0.1:{dead_port}/v1", "openai")
    settings += provider("full", "openai", f"{roots['second']}/v1", "openai", extra="concurrent_requests_max = 1")
    settings += route("then-two", ["one/gpt-4o-mini", "two/gpt-4o-mini"])
    settings += route("then-dead", ["one/gpt-4o-mini", "dead/gpt-4o-mini"])
    settings += route("then-full", ["one/gpt-4o-mini", "full/gpt-4o-mini"])
    settings += route("alone", ["one/gpt-4o-mini"])
    settings += route("dead-first", ["dead/gpt-4.1-mini", "one/gpt-4o-mini"])
    settings += route("unpriced-first", ["one/nobody-knows-its-price", "two/gpt-4o-mini"])
    settings += route("hedged", [f"{name}/gpt-4o-mini" for name in ("one", "two", "three")])
    settings += 'hedge = "400ms"\nhedge_percent_max = 100\n'
    settings += "[cache]\nenabled = false\n"
    running = Server(tmp_path_factory.mktemp("gateway"), settings)
    running.upstreams = upstreams
    running.start()
    yield running
    running.check_totals(running.settled())
    running.stop()
    running.verify()
    for upstream in upstreams.values():
        upstream.stop()
    dead.close()


@pytest.fixture
def bound(server, marker):
    """A key under a budget that blocks, and how that budget stands."""
    terms = {"window": "day", "limitUsd": "1", "action": "block"}
    made = server.admin("/api/keys", "POST", {"name": f"k-{marker}", "budgets": [terms]})

    scope = {"kind": "key", "id": made["id"]}

    def standing(name):
        (budget,) = [budget for budget in server.admin("/api/budgets")["items"] if budget["scope"] == scope]
        return picodollars(budget[name])

    return made["key"], standing


def ask(server, key, marker, model, text):
    return send(server.port, key, Call(marker, model=model, text=text, fields={"max_tokens": 400}))


def entry_of(server, marker):
    return server.admin(f"/api/requests/{server.booked(marker)['id']}")


def bases(entry):
    return [attempt["costBasis"] for attempt in entry["attempts"]]


def counted(server):
    """What the counters say that calls have cost, in picodollars."""
    lines = [line for line in server.text("/metrics").splitlines() if line.startswith("tollgate_cost_usd_total{")]
    return sum(round(float(line.rsplit(" ", 1)[1]) * 10**12) for line in lines)


def test_an_answer_tells_what_all_of_its_attempts_cost(server, bound, marker):
    key, standing = bound
    before = counted(server)
    answer = ask(server, key, marker, "then-two", LOST_FIRST)
    assert answer.status == 200, answer.body
    entry = entry_of(server, marker)
    assert (entry["status"], bases(entry)) == ("settled", ["reserved", "exact"])
    cost = picodollars(entry["costUsd"])
    assert cost == sum(picodollars(attempt["costUsd"]) for attempt in entry["attempts"]) > HELD_MIN
    assert picodollars(answer.headers["x-tollgate-cost-usd"]) == cost
    assert picodollars(answer.headers["x-tollgate-budget-remaining-usd"]) == 10**12 - cost
    assert abs(counted(server) - before - cost) <= 1
    line = f"call settled cost {entry['costUsd']} USD"
    wait_for(lambda: line in server.log.read_text(encoding="utf-8"), "the call's line in the log", 10)
    assert (standing("spentUsd"), standing("heldUsd")) == (cost, 0)


def test_a_call_that_fails_after_an_attempt_whose_end_nobody_saw_is_unknown(server, bound, marker):
    key, standing = bound
    before = counted(server)
    answer = ask(server, key, marker, "then-dead", LOST_FIRST)
    assert answer.status == 502, answer.body
    entry = entry_of(server, marker)
    assert (entry["status"], entry["error"], entry["costBasis"]) == ("unknown", "upstream_connect", "reserved")
    assert bases(entry)[0] == "reserved" and set(bases(entry)[1:]) == {"exact"}
    cost = picodollars(entry["costUsd"])
    assert cost > HELD_MIN
    assert (standing("spentUsd"), standing("unknownUsd"), standing("heldUsd")) == (cost, cost, 0)
    assert abs(counted(server) - before - cost) <= 1


@pytest.mark.usefixtures("not_at_the_full_hour")
def test_what_costs_more_than_was_held_is_booked_told_once_and_stops_nobody(server, bound, marker):
    key, standing = bound
    for number in range(2):
        answer = ask(server, key, f"{marker}{number}", "two/gpt-4o-mini", "usage:in=50000,out=5")
        assert answer.status == 200, answer.body
    cost = 2 * (50_000 * 150_000 + 5 * 600_000)
    assert (standing("spentUsd"), standing("heldUsd")) == (cost, 0)
    assert "tollgate_ledger_underestimate_total 2" in server.text("/metrics")

    def told():
        alerts = server.admin("/api/alerts")["items"]
        return [alert for alert in alerts if alert["type"] == "ledger_underestimate"]

    wait_for(told, "the alert", 10)
    ask(server, key, f"{marker}2", "two/gpt-4o-mini", "usage:in=5,out=5")
    (alert,) = told()
    assert (alert["scope"], alert["window"]) == ({"kind": "provider", "id": "two"}, "hour"), alert
    assert "more than the 0." in alert["text"] and f"of key k-{marker} cost 0.007503 USD" in alert["text"], alert


def test_a_call_that_waits_to_be_retried_holds_nothing_for_the_attempt_that_failed(server, bound, marker):
    key, standing = bound
    text = "error:503;retry-after-ms=4000;times=1"
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(ask, server, key, marker, "alone", text)
        wait_for(lambda: server.upstreams["first"].account(marker), "the first attempt", 20)
        wait_for(lambda: standing("heldUsd") == 0, "its money being free", 3)
        assert not call.done()
        assert call.result().status == 200
    assert bases(entry_of(server, marker)) == ["exact", "exact"]


def test_a_call_that_waits_for_a_place_holds_nothing_for_the_attempt_that_failed(server, bound, marker):
    key, standing = bound
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        other = server.admin("/api/keys", "POST", {"name": f"o-{marker}"})["key"]
        fills = pool.submit(ask, server, other, f"{marker}a", "full/gpt-4o-mini", "slow:5s")
        wait_for(lambda: server.upstreams["second"].account(f"{marker}a"), "the place being taken", 20)
        call = pool.submit(ask, server, key, marker, "then-full", "at:first/error:503")
        wait_for(lambda: server.upstreams["first"].account(marker), "the first attempt", 20)
        wait_for(lambda: standing("heldUsd") == 0, "its money being free", 3)
        assert not (fills.done() or call.done())
        assert (fills.result().status, call.result().status) == (200, 200)
    assert bases(entry_of(server, marker)) == ["exact", "exact"]


def test_a_call_that_has_paid_for_an_attempt_in_vain_is_not_hedged(server, bound, marker):
    key, _ = bound
    answer = ask(server, key, marker, "hedged", f"{LOST_FIRST} at:second/slow:1500ms")
    assert answer.status == 200, answer.body
    assert answer.headers["x-tollgate-provider"] == "two"
    entry = entry_of(server, marker)
    assert bases(entry) == ["reserved", "exact"], "twice its dearest attempt at most"


def test_a_call_whose_failed_attempt_owes_nothing_is_hedged(server, bound, marker):
    key, _ = bound
    answer = ask(server, key, marker, "hedged", "at:first/error:503 at:second/slow:1500ms")
    assert answer.status == 200, answer.body
    assert answer.headers["x-tollgate-attempts"] == "3"


def test_who_is_left_is_tried_again_while_the_other_one_is_passed_over(server, bound, marker):
    key, _ = bound
    for number in range(5):
        assert ask(server, key, f"{marker}{number}", "dead-first", "hello").status == 200
    explained = server.admin("/api/routes/dead%2Fgpt-4.1-mini/explain")
    assert explained["candidates"][0]["obstacle"] == "circuit-open", "a model that is named has one too"
    answer = ask(server, key, marker, "dead-first", "error:503;times=1")
    assert (answer.status, answer.headers["x-tollgate-attempts"]) == (200, "2"), answer.body
    assert [attempt["provider"] for attempt in entry_of(server, marker)["attempts"]] == ["one", "one"]


def test_a_budget_that_needs_a_price_sends_a_call_on_to_who_has_one(server, bound, marker):
    key, _ = bound
    answer = ask(server, key, marker, "unpriced-first", "hello")
    assert (answer.status, answer.headers["x-tollgate-provider"]) == (200, "two"), answer.body
    alone = ask(server, key, f"{marker}-alone", "one/nobody-knows-its-price", "hello")
    assert (alone.status, alone.error()[1]) == (400, "unpriced_model"), alone.body
