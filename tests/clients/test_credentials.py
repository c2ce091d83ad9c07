"""Several keys of one provider: how they take turns, what a key that is refused or limited costs, and how it comes back.

The provider judges by key and counts by key (`upstream.py`, `/__keys`), so that every claim is held against what reached
it. Retry budgets stand here too: what an outage may do to those who wait for its end.
"""

import email.utils
import math
import re
import socket
import statistics
import threading
import time
import uuid

import pytest

from books import picodollars
from conftest import ADMIN_TOKEN, UPSTREAM_KEY, Upstream, get_json, wait_for
from load import (
    Call,
    Connection,
    Load,
    Scripted,
    Server,
    account_cost,
    black_hole,
    idle_account,
    is_whole,
    provider,
    route,
    send,
)

pytestmark = pytest.mark.gateway

DIALECTS = ("openai", "anthropic")
MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5"}
OTHER_MODELS = {"openai": "gpt-4o", "anthropic": "claude-sonnet-4-5"}
KEYS = [f"sk-canary-of-three-{number:06d}" for number in (1, 2, 3)]
ENDS = [key[-4:] for key in KEYS]
BAD_GATEWAY = {"openai": 502, "anthropic": 500}
OUT_OF_FUNDS = {"openai": 429, "anthropic": 402}


class OwnUpstream(Upstream):
    """The test provider with the file that `idle_account` reads, and its judgement of keys."""

    def __init__(self, folder):
        super().__init__(folder)
        self.account_file = folder / "upstream.jsonl"

    def judge(self, **rules):
        """How each key is judged from now on, by its number; those that are not named are good."""
        keys = {key: rules.get(f"key{number}", {}) for number, key in enumerate(KEYS, 1)}
        get_json(f"{self.url}/__keys", method="POST", body=keys)

    def seen(self, marker):
        """The ends of the keys that reached the provider with calls of a test, in order."""
        entries = get_json(f"{self.url}/__account")
        return [entry["key"] for entry in entries if (entry["id"] or "").startswith(marker)]


@pytest.fixture(scope="module")
def double(tmp_path_factory):
    running = OwnUpstream(tmp_path_factory.mktemp("double"))
    yield running
    running.stop()


def several(keys):
    """Takes the place of `api_key` in what `provider` writes."""
    return f'api_keys = [{", ".join(f"{chr(34)}{key}{chr(34)}" for key in keys)}]'


def keyed(name, dialect, url, keys, extra=""):
    base = f"{url}/v1" if dialect == "openai" else url
    text = provider(name, dialect, base, dialect, extra=extra)
    return text.replace('api_key = "env:UPSTREAM_KEY"', several(keys))


def settings(double, keys=KEYS, extra="", route_extra=""):
    parts = []
    for dialect in DIALECTS:
        parts.append(keyed(dialect, dialect, double.url, keys, extra))
        base = f"{double.url}/v1" if dialect == "openai" else double.url
        parts.append(provider(f"spare-{dialect}", dialect, base, dialect))
        first, model = f"{dialect}/{MODELS[dialect]}", MODELS[dialect]
        parts.append(route(f"resilient-{dialect}", [first, f"spare-{dialect}/{model}"]) + route_extra)
        parts.append(route(f"single-{dialect}", [first]) + "attempts_max = 1\n")
    return "".join(parts)


@pytest.fixture
def start(tmp_path):
    """Starts a server of the test's own; its books have to balance in the end."""
    running = []

    def start(text, **environment):
        server = Server(tmp_path / f"server-{len(running)}", text, environment)
        server.key = server.create_key("credentials")
        running.append(server.start())
        return server

    yield start
    try:
        for server in running:
            server.check_totals(server.settled())
            server.stop()
            server.verify()
    finally:
        for server in running:
            server.kill()


@pytest.fixture
def marker():
    return uuid.uuid4().hex[:16]


def calls(server, marker, dialect, count, stream=False, **fields):
    """Calls one after the other."""
    made = [Call(f"{marker}-{number}", dialect, stream, **fields) for number in range(count)]
    return [(call, send(server.port, server.key, call)) for call in made]


def keys_of(server, name):
    """What the management API says of a provider's keys."""
    items = server.admin("/api/providers")["items"]
    return next(item["credentials"] for item in items if item["name"] == name)


def states(server, name):
    return [key["state"] for key in keys_of(server, name)]


def check_bill(server, double, marker):
    """What was booked is what the provider's account says."""
    server.settled()
    account = [entry for entry in idle_account(double) if (entry["id"] or "").startswith(marker)]
    rows = [row for row in server.rows() if row["client_request_id"].startswith(marker)]
    assert sum(picodollars(row["cost_usd"] or "0") for row in rows) == sum(account_cost(entry) for entry in account)
    assert {row["cost_basis"] for row in rows if row["status"] == "settled"} <= {"exact"}
    return rows


def lines_of_keys(log, words):
    """What the log says of keys themselves: the alert that follows says the same, sooner or later."""
    return [line for line in log.splitlines() if words in line and "tollgate::alerts" not in line]


def page(server, path):
    """Headers and body of any page, as an admin's script gets it."""
    with Connection(server.port) as connection:
        lines = [f"GET {path} HTTP/1.1", "host: gateway", f"authorization: Bearer {ADMIN_TOKEN}"]
        connection.send(("\r\n".join(lines) + "\r\n\r\n").encode())
        answer = connection.answer()
    return str(answer.headers) + answer.body.decode(errors="replace")


# Turns


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_keys_take_turns_evenly(start, double, marker, dialect, stream):
    double.judge()
    server = start(settings(double))
    assert all(is_whole(*made) for made in calls(server, marker, dialect, 30, stream))
    assert double.seen(marker) == ENDS * 10
    assert states(server, dialect) == ["ready"] * 3
    check_bill(server, double, marker)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_one_bad_key_of_three_costs_one_failed_attempt_and_is_told_loudly(start, double, marker, dialect, stream):
    double.judge(key2={"status": 401, "message": f"Incorrect_API_key:_{KEYS[1]}"})
    server = start(settings(double), TOLLGATE_LOG="trace")
    made = calls(server, marker, dialect, 30, stream)
    assert all(is_whole(*one) for one in made)
    assert sorted(answer.headers["x-tollgate-attempts"] for _, answer in made) == ["1"] * 29 + ["2"]
    seen = double.seen(marker)
    assert seen.count(ENDS[1]) == 1 and abs(seen.count(ENDS[0]) - seen.count(ENDS[2])) <= 1, seen
    rows = check_bill(server, double, marker)
    assert {row["status"] for row in rows} == {"settled"}
    # Told in the log, by the API, on the overview, among the alerts and in the metrics.
    log = server.log.read_text()
    told = lines_of_keys(log, "was refused with 401")
    assert len(told) == 1 and "ERROR" in told[0].upper() and f"…{ENDS[1]}" in told[0], told
    first, second, third = keys_of(server, dialect)
    assert (first["state"], second["state"], third["state"]) == ("ready", "disabled", "ready")
    assert (second["position"], second["last4"], second["error"]) == (2, ENDS[1], "upstream_unauthorized")
    assert second["since"] < second["until"] and first["lastAnsweredAt"] and not second["lastAnsweredAt"]
    alerts = wait_for(lambda: server.admin("/api/alerts")["items"], "the alert", 10)
    assert [(alert["type"], alert["scope"]) for alert in alerts] == [
        ("credential_disabled", {"kind": "credential", "id": f"{dialect}/2"})
    ]
    assert f'provider_credentials{{provider="{dialect}",state="disabled"}} 1' in server.text("/metrics")
    # And nowhere does anything stand that could be used as the key.
    pages = ["/api/providers", "/api/alerts", "/api/status", "/metrics", "/api/requests", "/api/routes"]
    pages += [f"/api/requests/{row['id']}" for row in rows]
    everything = log + "".join(page(server, path) for path in pages) + "".join(str(a.headers) + str(a.body) for _, a in made)
    assert not [key for key in [*KEYS, UPSTREAM_KEY] if key in everything]
    server.stop()
    files = [path for path in server.data_dir.rglob("*") if path.is_file()]
    assert not [(path, key) for path in files for key in KEYS if key.encode() in path.read_bytes()]
    server.start()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_403_concerns_one_model_and_the_key_goes_on_at_others(start, double, marker, dialect):
    double.judge(key1={"status": 403, "models": [MODELS[dialect]]})
    server = start(settings(double, KEYS[:2]))
    assert all(is_whole(*made) for made in calls(server, marker, dialect, 10))
    assert double.seen(marker).count(ENDS[0]) == 1
    other = f"{marker}-other"
    answers = calls(server, other, dialect, 10, model=f"{dialect}/{OTHER_MODELS[dialect]}")
    assert all(is_whole(*made) for made in answers)
    assert double.seen(other).count(ENDS[0]) == 5
    (first, _) = keys_of(server, dialect)
    assert first["state"] == "ready"
    assert [(at["model"], at["state"], at["error"]) for at in first["models"]] == [
        (MODELS[dialect], "disabled", "upstream_unauthorized")
    ]
    assert f"was refused with 403 at {dialect}/{MODELS[dialect]}" in server.log.read_text()


LACKS_A_SCOPE = "You_have_insufficient_permissions_for_this_operation._Missing_scopes:_api.responses.write."


@pytest.mark.parametrize(
    ("path", "message"),
    [("/v1/embeddings", LACKS_A_SCOPE), ("/v1/moderations", LACKS_A_SCOPE), ("/v1/moderations", "Unauthorized")],
)
def test_a_401_at_a_path_that_the_key_has_no_right_to_leaves_it_to_the_others(start, double, marker, path, message):
    double.judge(key1={"status": 401, "paths": [path], "message": message})
    server = start(settings(double, KEYS[:1]))

    def refused():
        """Asks for the model that others talk to, which the key may do."""
        body = {"model": "openai/gpt-4o-mini", "input": "words"}
        with pytest.raises(AssertionError, match="502"):
            get_json(f"{server.url}{path}", server.key, "POST", body)

    refused()
    assert all(is_whole(*made) for made in calls(server, marker, "openai", 3))
    (key,) = keys_of(server, "openai")
    assert (key["state"], key["models"]) == ("ready", [])
    assert [(at["path"], at["state"], at["error"]) for at in key["paths"]] == [(path, "disabled", "upstream_unauthorized")]
    reached = double.paths().count(path)
    refused()
    assert double.paths().count(path) == reached, "the path itself is left alone"
    assert f"at {path}; it is not used there" in server.log.read_text()


@pytest.mark.parametrize("status", [400, 404, 413, 422])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_request_that_is_refused_for_itself_changes_no_key(start, double, marker, dialect, status):
    double.judge(key1={"status": status})
    server = start(settings(double, KEYS[:1]))
    answers = calls(server, marker, dialect, 8)
    assert all(400 <= answer.status < 500 for _, answer in answers)
    assert len(double.seen(marker)) == 8 and states(server, dialect) == ["ready"]
    health = next(item for item in server.admin("/api/providers")["items"] if item["name"] == dialect)
    assert (health["circuit"], health["failing"]) == ("closed", [])


@pytest.mark.parametrize("dialect", DIALECTS)
def test_one_attempt_means_one(start, double, marker, dialect):
    double.judge(key1={"status": 401})
    server = start(settings(double))
    made = calls(server, marker, dialect, 7, model=f"single-{dialect}")
    statuses = [answer.status for _, answer in made]
    assert statuses == [BAD_GATEWAY[dialect]] + [200] * 6
    assert len(double.seen(marker)) == 7


# All of them


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_where_every_key_is_refused_calls_are_told_at_once_and_the_provider_is_left_alone(
    start, double, marker, dialect, stream
):
    double.judge(**{f"key{number}": {"status": 401} for number in (1, 2, 3)})
    server = start(settings(double))
    ((_, first),) = calls(server, f"{marker}-first", dialect, 1, stream)
    assert first.status == BAD_GATEWAY[dialect] and first.headers["x-should-retry"] == "false"
    assert sorted(double.seen(marker)) == ENDS
    later = [answer for _, answer in calls(server, f"{marker}-later", dialect, 5, stream)]
    for answer in later:
        assert answer.status == BAD_GATEWAY[dialect] and answer.headers["x-should-retry"] == "false"
        kind, code, message = answer.error()
        assert (kind, code) in {("server_error", "upstream_unauthorized"), ("api_error", None)}
        assert re.search(r"key 1 was refused with 401 \d+ s ago and is tried again in \d+ s", message), message
        assert f"POST /api/providers/{dialect}/credentials/1/enable" in message
        assert not any(end in message for end in ENDS), "a client is told nothing of the key itself"
    assert min(answer.seconds for answer in later) < 0.1
    assert len(double.seen(marker)) == 3
    # A route goes on with its next deployment, without an attempt here.
    ((call, answer),) = calls(server, f"{marker}-route", dialect, 1, stream, model=f"resilient-{dialect}")
    assert is_whole(call, answer) and answer.headers["x-tollgate-attempts"] == "1"
    assert double.seen(f"{marker}-route") == [UPSTREAM_KEY[-4:]]
    assert {row["status"] for row in check_bill(server, double, marker)} == {"failed", "settled"}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_admin_enables_a_key_and_the_next_call_uses_it(start, double, marker, dialect):
    double.judge(key1={"status": 401})
    server = start(settings(double, KEYS[:1]))
    calls(server, f"{marker}-bad", dialect, 2)
    assert states(server, dialect) == ["disabled"]
    wait_for(lambda: server.admin("/api/alerts")["items"], "the alert", 10)
    double.judge()
    path = f"/api/providers/{dialect}/credentials"
    for wrong in (f"{path}/0/enable", f"{path}/2/enable", f"{path}/x/enable", "/api/providers/nobody/credentials/1/enable"):
        with pytest.raises(AssertionError, match="404"):
            server.admin(wrong, "POST")
    for token in (None, server.key):
        with pytest.raises(AssertionError, match="401|403"):
            get_json(f"{server.url}{path}/1/enable", token, "POST")
    assert states(server, dialect) == ["disabled"]
    enabled = server.admin(f"{path}/1/enable", "POST")
    assert (enabled["position"], enabled["state"], enabled["until"]) == (1, "ready", None)
    assert all(is_whole(*made) for made in calls(server, f"{marker}-good", dialect, 3))
    kinds = wait_for(
        lambda: [alert["type"] for alert in server.admin("/api/alerts")["items"]][:-1], "the end being told", 10
    )
    assert kinds == ["credential_recovered"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_live_call_finds_out_that_a_key_is_good_again(start, double, marker, dialect):
    # An account that has no money has the shortest pause: half a minute.
    double.judge(key1={"status": 402})
    server = start(settings(double, KEYS[:1]))
    ((_, first), (_, second)) = calls(server, marker, dialect, 2)
    assert (first.status, second.status) == (OUT_OF_FUNDS[dialect],) * 2
    assert "out of money" in second.error()[2] and len(double.seen(marker)) == 1
    wait_for(lambda: states(server, dialect) == ["half-open"], "the end of the pause", 40)
    assert len(double.seen(marker)) == 1, "nobody is probed"
    ((_, refused),) = calls(server, f"{marker}-still", dialect, 1)
    assert refused.status == OUT_OF_FUNDS[dialect] and states(server, dialect) == ["disabled"]
    double.judge()
    server.admin(f"/api/providers/{dialect}/credentials/1/enable", "POST")
    ((call, answer),) = calls(server, f"{marker}-well", dialect, 1)
    assert is_whole(call, answer) and states(server, dialect) == ["ready"]


# Limits of the rate


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_limited_key_cools_as_long_as_it_is_told_and_the_others_carry_on(start, double, marker, dialect, stream):
    double.judge(key1={"status": 429, "retry-after": "5"})
    server = start(settings(double))
    began = time.monotonic()
    made = calls(server, marker, dialect, 12, stream)
    assert time.monotonic() - began < 5, "too slow to show anything"
    assert all(is_whole(*one) for one in made)
    assert double.seen(marker).count(ENDS[0]) == 1
    first = keys_of(server, dialect)[0]
    assert first["state"] == "ready"
    assert [(at["state"], at["error"]) for at in first["models"]] == [("cooling", "upstream_rate_limited")]
    double.judge()
    wait_for(lambda: not keys_of(server, dialect)[0]["models"], "the end of the pause", 10)
    assert all(is_whole(*one) for one in calls(server, f"{marker}-after", dialect, 6, stream))
    assert double.seen(f"{marker}-after").count(ENDS[0]) == 2
    check_bill(server, double, marker)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_where_every_key_is_limited_the_client_is_told_how_long_at_once(start, double, marker, dialect, stream):
    double.judge(**{f"key{number}": {"status": 429, "retry-after": "20"} for number in (1, 2, 3)})
    server = start(settings(double))
    ((_, first),) = calls(server, f"{marker}-first", dialect, 1, stream)
    assert first.status == 429 and first.headers["retry-after"] == "20" and first.seconds < 5
    assert sorted(double.seen(marker)) == ENDS
    for _, answer in calls(server, f"{marker}-later", dialect, 3, stream):
        assert answer.status == 429 and 15 <= int(answer.headers["retry-after"]) <= 20
        assert 15_000 < int(answer.headers["retry-after-ms"]) < 20_000
        assert answer.error()[:2] in {("rate_limit_error", "rate_limit_exceeded"), ("rate_limit_error", None)}
        assert answer.seconds < 5
    assert len(double.seen(marker)) == 3
    # Another model is not limited, and a route goes on without an attempt here.
    double.judge()
    other = f"{dialect}/{OTHER_MODELS[dialect]}"
    assert all(is_whole(*one) for one in calls(server, f"{marker}-other", dialect, 3, stream, model=other))
    ((call, answer),) = calls(server, f"{marker}-route", dialect, 1, stream, model=f"resilient-{dialect}")
    assert is_whole(call, answer) and double.seen(f"{marker}-route") == [UPSTREAM_KEY[-4:]]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_short_pause_is_waited_for(start, double, marker, dialect):
    double.judge(key1={"status": 429, "retry-after-ms": "600", "one-in": 2})
    server = start(settings(double, KEYS[:1]))
    # Each first attempt or second one meets the limit; nobody is refused.
    assert all(is_whole(*one) for one in calls(server, marker, dialect, 4))


def test_a_request_that_is_larger_than_the_limit_cools_no_key(start, double, marker):
    double.judge()
    server = start(settings(double, KEYS[:1]))
    too_large = "error:429;message=Request_too_large_for_gpt-4o-mini_on_tokens_per_min_(TPM):_Limit_1,_Requested_2."
    waited = []
    for number in range(3):
        ((_, answer),) = calls(server, f"{marker}-large-{number}", "openai", 1, text=too_large)
        assert (answer.status, answer.headers["x-should-retry"]) == (429, "false"), answer.body
        assert "retry-after" not in answer.headers and "Request too large" in answer.error()[2]
        ((call, answer),) = calls(server, f"{marker}-small-{number}", "openai", 1)
        assert is_whole(call, answer)
        waited.append(answer.seconds)
    # A key that cools does so for half a second at least.
    assert min(waited) < 0.4, "nobody waits for a key that cools"
    (key,) = keys_of(server, "openai")
    assert (key["state"], key["models"]) == ("ready", [])
    # Another deployment may allow more.
    only_here = too_large.replace("error:429", "error:429;times=1")
    ((call, answer),) = calls(server, f"{marker}-route", "openai", 1, text=only_here, model="resilient-openai")
    assert is_whole(call, answer) and answer.headers["x-tollgate-attempts"] == "2"


@pytest.mark.parametrize("ahead", [0, -7_200, 7_200])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_wait_until_a_date_is_read_by_the_clock_of_the_provider(start, double, marker, dialect, ahead):
    told = time.time() + ahead
    date, until = (email.utils.formatdate(at, usegmt=True) for at in (told, told + 40))
    double.judge(key1={"status": 429, "date": date, "retry-after": until})
    server = start(settings(double, KEYS[:1]))
    ((_, first), (_, second)) = calls(server, marker, dialect, 2)
    for answer in (first, second):
        assert answer.status == 429 and 35 <= int(answer.headers["retry-after"]) <= 40, answer.headers
    assert len(double.seen(marker)) == 1, "a wait that is too long is told at once, and the key is left alone"


# Retry budgets


def attempts_and_calls(double, marker):
    account = [entry for entry in idle_account(double) if (entry["id"] or "").startswith(marker)]
    return len(account), len({entry["id"] for entry in account})


@pytest.mark.parametrize("one_in", [1, 2])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_outage_under_load_is_not_amplified(start, double, marker, dialect, one_in):
    double.judge(key1={"status": 500, "one-in": one_in})
    server = start(settings(double, KEYS[:1]))
    # So few of which every second one fails can't come to five failures in a row, which would open the circuit.
    clients, calls_min = (16, 1_000) if one_in == 1 else (4, 250)
    load = Load(server.key, lambda number, count: Call(f"{marker}-{number}-{count}", dialect), clients).start()
    began = time.monotonic()
    load.direct_to(server.port)
    wait_for(lambda: len(load.results) >= calls_min, f"{calls_min} calls", 60, server.process)
    results = load.stop()
    seconds = time.monotonic() - began
    attempts, reached = attempts_and_calls(double, marker)
    floor = 10 * math.ceil(seconds / 10 + 1)
    assert attempts <= reached * 1.2 + floor, (attempts, reached, seconds)
    if one_in == 1:
        assert attempts < 100, "a circuit that is open lets nobody through"
    else:
        assert attempts > reached, "what passes by itself is retried"
    print(f"{len(results) / seconds:.0f} calls/s, {reached} reached the provider with {attempts} attempts")
    check_bill(server, double, marker)


def test_a_provider_that_may_get_no_repeats_gets_none(start, double, marker):
    double.judge(key1={"status": 500})
    server = start(settings(double, KEYS[:1], "retry_percent_max = 0"))
    ((_, answer),) = calls(server, marker, "openai", 1)
    assert answer.status == 502 and len(double.seen(marker)) == 1
    ((call, answer),) = calls(server, f"{marker}-route", "openai", 1, model="resilient-openai")
    assert is_whole(call, answer), "another provider is no repeat"


def test_money_that_failed_attempts_may_cost(start, double, marker):
    def closes(_connection, _dialect, _body):
        """Takes the request and says nothing, so that all of it may be owed."""

    scripted = Scripted({"closes": closes})
    try:
        base = f"{scripted.url('closes')}/v1"
        lossy = provider("lossy", "openai", base, "openai") + provider("lossy-2", "openai", base, "openai")
        to = ["lossy/gpt-4o-mini", "openai/gpt-4o-mini"]
        twice = ["lossy/gpt-4o-mini", "lossy/gpt-4o", "openai/gpt-4o-mini"]
        text = settings(double, KEYS[:1]) + lossy
        text += route("none", to) + 'retry_usd_max = "0"\n' + route("cent", to) + 'retry_usd_max = "0.01"\n'
        text += route("plain", to) + route("twice", twice)
        text += route("in-vain", ["lossy/gpt-4o", "lossy-2/gpt-4o", "openai/gpt-4o-mini"])
        server = start(text)
        double.judge()

        def check(name, status, attempts, **fields):
            mark = f"{marker}-{name}-{attempts}"
            call = Call(mark, model=name, fields={"max_tokens": 400, **fields})
            answer = send(server.port, server.key, call)
            assert (answer.status, answer.headers["x-tollgate-attempts"]) == (status, str(attempts)), (name, answer.body)
            return server.booked(mark)

        assert picodollars(check("none", 502, 1)["cost_usd"]) > 0
        check("cent", 200, 2)
        check("cent", 502, 1, max_tokens=16_000, n=2)
        check("plain", 200, 2)
        # A cheap and a dear one are lost, and a cheap one stays within twice the dear one; after two dear ones it doesn't.
        check("twice", 200, 3)
        check("in-vain", 502, 2)
    finally:
        scripted.close()


# A dead provider


@pytest.mark.parametrize("death", ["refused", "black-hole"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_dead_provider_costs_less_than_a_second_and_next_to_nothing_once_its_circuit_is_open(
    start, double, marker, dialect, death
):
    held = black_hole()
    if death == "refused":
        # Bound and never listening: refused at once, and nobody else can take it.
        held = [socket.socket()]
        held[0].bind(("127.0.0.1", 0))
    double.judge()
    try:
        dead = f"http://127.0.0.1:{held[0].getsockname()[1]}"
        model = MODELS[dialect]
        text = settings(double) + keyed("dead", dialect, dead, KEYS)
        server = start(text + route("dying", [f"dead/{model}", f"{dialect}/{model}"]))
        made = calls(server, marker, dialect, 12, model="dying")
        assert all(is_whole(*one) for one in made)
        opened = [answer.seconds for _, answer in made if answer.headers["x-tollgate-attempts"] == "1"]
        tried = [answer.seconds for _, answer in made if answer.headers["x-tollgate-attempts"] == "2"]
        # Two attempts at a black hole, one after the other, would take 1.6 s.
        assert len(tried) == 5 and min(tried) < 1 and max(tried) < 1.6, made
        direct = [answer.seconds for _, answer in calls(server, f"{marker}-direct", dialect, len(opened))]
        # Over what the provider that is well takes itself.
        assert min(opened) - min(direct) < 0.05 and statistics.median(opened) < 0.25, (opened, direct)
    finally:
        for one in held:
            one.close()


def test_a_provider_of_which_a_few_calls_all_failed_is_told_to_be_failing(start, double, marker):
    double.judge(key1={"status": 500})
    server = start(settings(double, KEYS[:1]))

    def health():
        found = next(item for item in server.admin("/api/providers")["items"] if item["name"] == "openai")
        return found["health"], found["circuit"], found["failing"]

    assert health() == ("unknown", "closed", [])
    calls(server, marker, "openai", 1)
    assert health() == ("failing", "closed", ["openai/gpt-4o-mini"])
    double.judge()
    calls(server, f"{marker}-well", "openai", 1)
    assert health() == ("well", "closed", [])


def test_a_burst_that_meets_a_bad_key_is_told_once(start, double, marker):
    double.judge(key1={"status": 401})
    server = start(settings(double))
    answers = []

    def one(number):
        call = Call(f"{marker}-{number}")
        answers.append((call, send(server.port, server.key, call)))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(is_whole(*made) for made in answers)
    assert len(lines_of_keys(server.log.read_text(), "was refused with 401")) == 1
    ((_, _),) = calls(server, f"{marker}-later", "openai", 1)
    assert states(server, "openai") == ["disabled", "ready", "ready"]
