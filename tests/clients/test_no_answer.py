"""What a client is told where no provider answered: which limit ended its call, when to come back, and each deployment's reason.

An SDK tries again by itself; `x-should-retry: false` keeps it from what the gateway has decided against.
"""

import concurrent.futures
import itertools
import socket

import pytest

from books import picodollars
from conftest import Upstream, wait_for
from load import Call, Scripted, Server, provider, route, send

pytestmark = pytest.mark.gateway

BAD_GATEWAY = {"openai": 502, "anthropic": 500}
MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5"}
KINDS = [(dialect, stream) for dialect in MODELS for stream in (False, True)]
# As many as open a circuit.
FAILURES_UNTIL_OPEN = 5
HOUR = 3600
ABSURD = 999_999_999_999


def says(status, headers="", body=""):
    """Answers every request so."""
    head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return lambda connection, _dialect, _body: connection.sendall(f"{head}{body}".encode())


BEHAVIOURS = {
    "moved": says("302 Found", "location: https://me:secret@elsewhere.test:8443/v1/x?token=secret#secret\r\n"),
    "moved-nowhere": says("302 Found"),
    "firewall": says("403 Forbidden", "content-type: text/html\r\n", "<html>Request blocked</html>"),
    "hurried": says("529 Busy", "content-type: application/json\r\n", '{"error":{"message":"busy"}}'),
    "garbage": says("200 OK", "content-type: application/json\r\n", "[]"),
    "fails": says("500 No", "content-type: application/json\r\n", '{"error":{"message":"it fell"}}'),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    dead = socket.socket()
    dead.bind(("127.0.0.1", 0))
    upstream = Upstream(tmp_path_factory.mktemp("upstream"))
    scripted = Scripted(BEHAVIOURS)
    parts = ["[cache]\nenabled = false\n"]

    def both(name, root, extra=""):
        for dialect in MODELS:
            base = f"{root}/v1" if dialect == "openai" else root
            parts.append(provider(f"{name}-{dialect}", dialect, base, dialect, extra=extra))

    for name in BEHAVIOURS:
        both(name, scripted.url(name))
    for number in range(24):
        both(f"told-{number}", upstream.url)
    both("never-again", upstream.url, "retry_percent_max = 0")
    both("dead", f"http://127.0.0.1:{dead.getsockname()[1]}")
    both("nobody", "http://nobody.invalid")
    for dialect, model in MODELS.items():
        names = {name: f"{name}-{dialect}/{model}" for name in ("garbage", "told-0", "fails", "hurried", "dead", "firewall")}
        parts.append(route(f"free-{dialect}", [names["garbage"], names["told-0"]]) + 'retry_usd_max = "0"\n')
        parts.append(route(f"once-{dialect}", [names["fails"], names["told-0"]]) + "attempts_max = 1\n")
        parts.append(route(f"three-{dialect}", [names["firewall"], names["hurried"], names["dead"]]))
    running = Server(tmp_path_factory.mktemp("gateway"), "".join(parts))
    running.key = running.create_key("no-answer")
    running.start()
    running.upstream, running.numbers = upstream, itertools.count(1)
    yield running
    running.check_totals(running.settled())
    running.stop()
    running.verify()
    scripted.close()
    upstream.stop()
    dead.close()


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind[0]}-{'stream' if kind[1] else 'whole'}")
def ask(request, server, marker):
    """Asks a provider or a route in each dialect and shape."""
    dialect, stream = request.param

    def ask(name, text="hello", suffix="", **headers):
        model = f"{name}-{dialect}" if name.split("-")[0] in ("free", "once", "three") else f"{name}-{dialect}/{MODELS[dialect]}"
        named = {header.replace("_", "-"): value for header, value in headers.items()}
        return send(server.port, server.key, Call(marker + suffix, dialect, stream, text, model, headers=named))

    ask.dialect, ask.stream = dialect, stream
    return ask


@pytest.fixture
def untouched(server):
    """A provider that does as the message says, with a circuit and keys that no other test has met."""
    return f"told-{next(server.numbers)}"


def entry_of(server, marker):
    return server.admin(f"/api/requests/{server.booked(marker)['id']}")


def check_ended(answer, attempts, limit):
    assert answer.headers["x-tollgate-attempts"] == str(attempts), answer
    assert answer.headers.get("x-should-retry") == "false", answer
    message = answer.error()[2]
    assert "not tried again: " in message and limit in message, message


# Limits that end a call


def test_a_retry_that_the_budget_of_retries_forbids_is_not_handed_to_the_sdk(ask):
    check_ended(ask("never-again", "error:500"), 1, "retry_percent_max")


def test_a_retry_that_costs_too_much_is_not_handed_to_the_sdk(ask):
    check_ended(ask("free"), 1, "retry_usd_max")


def test_a_retry_that_does_not_fit_into_the_time_is_not_handed_to_the_sdk(ask):
    check_ended(ask("told-0", "error:500", x_tollgate_timeout="550ms"), 1, "its time")


def test_attempts_that_are_used_up_are_told_after_the_first_already(ask):
    check_ended(ask("once"), 1, "attempts_max")


def test_a_failure_that_another_attempt_would_not_mend_is_left_to_the_sdk(ask):
    answer = ask("garbage")
    assert answer.status == BAD_GATEWAY[ask.dialect] and answer.headers["x-tollgate-attempts"] == "1"
    assert "x-should-retry" not in answer.headers and "not tried again" not in answer.error()[2]


# Time


@pytest.mark.parametrize("given", ["0", "0s", "0ms"])
def test_no_time_at_all_is_refused_with_what_to_write(ask, server, marker, given):
    answer = ask("told-0", x_tollgate_timeout=given)
    kind, _, message = answer.error()
    assert (answer.status, kind) == (400, "invalid_request_error"), answer
    assert "x-tollgate-timeout" in message and "such as 30s" in message
    assert server.upstream.account(marker) == []


def test_a_call_whose_time_is_up_before_its_first_attempt_makes_none_and_owes_nothing(ask, server, marker):
    # So that a connection waits already.
    assert ask("told-0", suffix="-before").status == 200
    answer = ask("told-0", x_tollgate_timeout="1us")
    assert (answer.status, answer.headers["x-tollgate-attempts"]) == (504, "0"), answer
    assert "was up before it was sent to" in answer.error()[2]
    entry = entry_of(server, marker)
    assert (entry["status"], picodollars(entry["costUsd"])) == ("failed", 0), entry
    assert server.upstream.account(marker) == []


# When to come back


def test_a_limit_without_a_word_of_how_long_is_told_as_long_as_the_key_rests(ask, untouched):
    answer = ask(untouched, "error:429")
    assert (answer.status, answer.headers["x-tollgate-attempts"]) == (429, "3"), answer
    assert answer.headers["retry-after"] == "2" and 1000 < int(answer.headers["retry-after-ms"]) <= 2000, answer.headers


def test_an_absurd_wait_is_told_as_the_longest_that_is_believed_every_time(ask, untouched):
    first, second = (ask(untouched, f"error:429;retry-after={ABSURD}", suffix=f"-{number}") for number in range(2))
    assert [answer.status for answer in (first, second)] == [429, 429]
    assert [answer.headers["retry-after"] for answer in (first, second)] == [str(HOUR)] * 2


def test_while_a_call_finds_out_about_a_deployment_others_are_told_to_come_back_in_a_second(ask, server, marker, untouched):
    for number in range(FAILURES_UNTIL_OPEN):
        ask(untouched, "error:500", suffix=f"-{number}", x_tollgate_timeout="550ms")

    def probe():
        """Asks until the circuit lets one call through."""
        while (answer := ask(untouched, "slow:3s", suffix="-probe")).status in (503, 529):
            pass
        return answer

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(probe)
        wait_for(lambda: server.upstream.account(f"{marker}-probe"), "the probe", 20)
        answer = ask(untouched, suffix="-other")
        assert answer.status in (503, 529) and answer.headers["retry-after"] == "1", answer
        assert running.result().status == 200


# What a provider's answer was


@pytest.mark.parametrize(("name", "place"), [("moved", "https://elsewhere.test:8443/v1/x,"), ("moved-nowhere", "a place")])
def test_a_redirect_owes_nothing_and_names_the_place_and_the_way_out(ask, server, marker, name, place):
    answer = ask(name)
    assert answer.status == BAD_GATEWAY[ask.dialect] and answer.headers["x-should-retry"] == "false", answer
    message = answer.error()[2]
    assert place in message and "base_url" in message and "secret" not in message, message
    entry = entry_of(server, marker)
    (attempt,) = entry["attempts"]
    assert (entry["status"], entry["error"], attempt["status"]) == ("failed", "upstream_redirected", 302), entry
    assert (attempt["costBasis"], picodollars(attempt["costUsd"])) == ("exact", 0), attempt


@pytest.mark.parametrize("status", [402, 529])
def test_an_attempt_has_the_status_that_came(ask, server, marker, untouched, status):
    ask(untouched, f"error:{status}")
    assert {attempt["status"] for attempt in entry_of(server, marker)["attempts"]} == {status}


def test_a_403_that_is_no_answer_of_the_api_is_not_told_as_a_refused_key(ask, server, marker):
    answer = ask("firewall")
    message = answer.error()[2]
    assert answer.status == BAD_GATEWAY[ask.dialect] and "refuses the key" not in message, answer
    assert "answered 403" in message and "no answer of its API" in message and "base_url" in message, message
    assert entry_of(server, marker)["error"] == "upstream_blocked"


def test_a_name_without_an_address_is_told_in_plain_words(ask):
    message = ask("nobody").error()[2]
    assert "the name nobody.invalid " in message and "Query" not in message, message


# Several deployments


def test_each_deployment_is_told_with_its_own_reason(ask):
    answer = ask("three")
    message, model = answer.error()[2], MODELS[ask.dialect]
    assert message.startswith(f"can't connect to dead-{ask.dialect}"), message
    assert f"firewall-{ask.dialect}/{model} answered 403 instead of its API" in message, message
    assert f"hurried-{ask.dialect}/{model} is overloaded" in message, message
