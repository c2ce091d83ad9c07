"""The fault matrix: every fault of a provider × whole or streamed × every strategy, against the real binary.

What must come of each stands in `fault_cells.py`. The first deployment in order is faulty, the second one is well. Each cell
has a provider, a route, a virtual key and a budget of its own, so that neither a circuit nor a cooled or refused
credential, a prompt cache or a sum reaches another one. Of each it is checked

- that the fault happened: the provider's own account shows the requests, or its address refuses or swallows them;
- what the client gets: from whom, every word, and the end or the error of its dialect;
- when the first byte came that is of use, against bounds that follow from the time limits in the settings;
- the bill: every attempt of the entry against the account of its provider, equal where that can be known and never below
  it otherwise, and the entry against its key's sum and its budget.

A group of cells is a strategy in a dialect, and has a server; once its cells are through, its sums must agree and
`tollgate verify` must pass. `--junitxml` has the time to the first useful byte of every cell. With `-n 3 --dist loadgroup`
the groups run side by side.
"""

import statistics
import threading
import uuid
from dataclasses import replace

import pytest

from books import owed, picodollars, window
from fault_cells import BACKOFF, CELLS, CODES_TOLD, SHAPES, TOLD, Bill, Then
from fault_groups import (
    ASKED_FOR,
    DIALECTS,
    FEW,
    FIRST_MODEL,
    GROUPS,
    SECOND_MODEL,
    SECOND_WORDS,
    STRATEGIES,
    Providers,
    Running,
    base_url,
    route,
)
from faulty import WORDS, WORDS_BEFORE_THE_END
from first_byte import read
from load import Call, Server, provider

pytestmark = pytest.mark.gateway

# What a debug build on a busy machine may take on top of what the faults take, two answers of a provider included.
# Were one not ended by a limit of its own, of half a second at most, the limit of the whole call would end it after 3 s.
SLACK = 1.5


@pytest.fixture(scope="module")
def running(request, tmp_path_factory):
    """The server of the group that the cell is of."""
    name = request.param
    started = Running(GROUPS[name], tmp_path_factory.mktemp(name))
    try:
        yield started
        started.check_sums()
    finally:
        started.close()


@pytest.fixture
def marker():
    return uuid.uuid4().hex[:16]


# What is checked of a cell


def seconds_bounds(cell, tries):
    """The least and the most that failed attempts and the pauses between them take."""
    least = most = cell.takes * tries
    for shortest, longest in cell.pauses[: tries - 1]:
        least, most = least + shortest, most + longest
    return least, most


def check_the_fault_happened(running, fault, marker, tries):
    """As the provider's own account tells; who was never reached has an address that shows it."""
    visits = running.providers.faulty.account(marker)
    address = running.providers.addresses.get(fault)
    if address:
        assert address.is_faulty() and not visits
    else:
        assert [visit.fault for visit in visits] == [fault] * tries, visits
    return visits


def check_answer(reading, client, streamed, words, model):
    """All of an answer, and its end."""
    assert reading.status == 200 and reading.error is None, reading
    assert (reading.text, reading.model) == (words, model), reading
    assert reading.finish == ("stop" if client == "openai" else "end_turn"), reading
    assert reading.is_complete and reading.has_end_marker == streamed, reading


def check_error(reading, client, code, retry_after, tries):
    """An error instead of an answer, that an SDK must not multiply the gateway's own attempts for."""
    status, kind = TOLD[code][client]
    assert reading.status == status and reading.error[0] == kind, reading
    assert reading.error[1] == (CODES_TOLD.get(code, code) if client == "openai" else None), reading
    assert reading.error[2], reading
    told = reading.headers.get("retry-after")
    assert told == (None if retry_after is None else str(retry_after)), reading
    is_final = tries > 1 or code == "upstream_unauthorized"
    assert reading.headers.get("x-should-retry") == ("false" if is_final else None), reading
    assert reading.text == "" and reading.is_complete, reading


def check_break(reading, client, code, words):
    """What came, then the dialect's error event, and nothing invented behind it."""
    _, kind = TOLD[code][client]
    assert reading.status == 200 and reading.text == words, reading
    assert reading.error and reading.error[0] == kind and reading.error[2], reading
    assert reading.error[1] == (code if client == "openai" else None), reading
    assert not reading.has_end_marker and reading.finish is None and reading.usage is None, reading


def check_failed_attempt(attempt, cell, visit, first, kind):
    """Booked as the fault's row says, and never below what the provider charges for it."""
    assert f"{attempt['provider']}/{attempt['model']}" == first and attempt["error"] == cell.code, attempt
    cost, basis = picodollars(attempt["costUsd"]), attempt["costBasis"]
    charged = visit.cost() if visit else 0
    bill = Bill.NOTHING if cell.then is Then.SERVED else cell.bill
    if bill is Bill.TOLD and kind == "openai":
        bill = Bill.RESERVED
    if bill is Bill.NOTHING:
        assert (cost, basis, charged) == (0, "exact", 0), attempt
    elif bill is Bill.RESERVED:
        assert basis == "reserved" and cost >= charged > 0, (attempt, visit)
    else:
        assert basis == "estimated" and cost >= charged > 0, (attempt, visit)
        tokens_in, tokens_out = attempt["usage"]["uncachedInputTokens"], attempt["usage"]["outputTokens"]
        # Few words are few tokens, and the input is not all that was held for it.
        assert visit.output <= tokens_out <= max(1, 3 * visit.output), (attempt, visit)
        assert visit.input <= tokens_in < 300, (attempt, visit)
        assert kind == "openai" or tokens_in == visit.input, (attempt, visit)


def check_bill(running, cell, reading, entry, visits, account, tries):
    """Each attempt against its provider's account, and the entry against its key's sum and budget."""
    group = running.group
    name = entry["requestedModel"].removeprefix("to-")
    first = f"{name}/{FIRST_MODEL[group.first]}"
    attempts = entry["attempts"]
    is_served, goes_on = cell.then is Then.SERVED, bool(account)
    failed = attempts[: tries - 1] if is_served else attempts[:tries]
    assert len(attempts) == tries + goes_on == entry["attemptCount"], attempts
    assert reading.attempts == str(len(attempts)), reading
    for number, attempt in enumerate(failed):
        check_failed_attempt(attempt, cell, visits[number] if visits else None, first, group.first)
    if is_served or goes_on:
        last = attempts[-1]
        charged = visits[-1].cost() if is_served else owed(account)
        assert f"{last['provider']}/{last['model']}" == (first if is_served else running.second(name)), last
        assert (last["error"], last["costBasis"], picodollars(last["costUsd"])) == (None, "exact", charged), last
        assert charged > 0
    cost = sum(picodollars(attempt["costUsd"]) for attempt in attempts)
    bases = {attempt["costBasis"] for attempt in attempts}
    weakest = next(basis for basis in ("reserved", "estimated", "exact") if basis in bases)
    answered = is_served or goes_on
    status = "settled" if answered or weakest == "estimated" else {"reserved": "unknown", "exact": "failed"}[weakest]
    assert (entry["status"], entry["costBasis"], picodollars(entry["costUsd"])) == (status, weakest, cost), entry
    assert entry["error"] == (None if answered else cell.code), entry
    assert entry["httpStatus"] == reading.status, entry
    report = running.server.admin(f"/api/costs?{window()}&groupBy=key")
    (sums,) = [each for each in report["groups"] if each["key"] == entry["key"]]
    assert (picodollars(sums["costUsd"]), sums["requests"]) == (cost, 1), sums
    standing = running.key_budget(entry)
    unknown = cost if status == "unknown" else 0
    booked = tuple(picodollars(standing[name]) for name in ("spentUsd", "unknownUsd", "heldUsd"))
    assert booked == (cost, unknown, 0), standing


def in_groups(names):
    """A test runs in each of these groups, and on one worker with all others of the group."""
    each = [pytest.param(name, id=name, marks=pytest.mark.xdist_group(name)) for name in names]
    return pytest.mark.parametrize("running", each, indirect=True, scope="module")


def of_faults(names):
    each = [pytest.param(fault, shape, id=f"{fault}-{shape}") for fault in names for shape in CELLS[fault]]
    return pytest.mark.parametrize(("fault", "shape"), each)


@of_faults(CELLS)
@in_groups(STRATEGIES)
def test_a_fault_ends_as_specified(running, fault, shape, marker, record_property):
    check_cell(running, fault, shape, marker, record_property)


@of_faults(CELLS)
@in_groups(DIALECTS)
def test_a_fault_ends_as_specified_in_the_other_dialect_too(running, fault, shape, marker, record_property):
    check_cell(running, fault, shape, marker, record_property)


@of_faults(FEW)
@in_groups(ASKED_FOR)
def test_a_strategy_that_a_call_asks_for_holds_in_a_fault(running, fault, shape, marker, record_property):
    check_cell(running, fault, shape, marker, record_property)


def call_the_first(running, fault, shape, marker):
    """A call that goes to the faulty deployment first, as one in ten of a strategy that looks elsewhere does not."""
    for name in running.copies(fault, shape):
        reading = read(running.server.port, running.key(marker), running.call(marker, shape, f"to-{name}"))
        entry = running.entry(reading)
        if entry["decision"]["chosen"] == running.first(name) or not running.strategy.explores:
            return name, marker, reading, entry
        marker = uuid.uuid4().hex[:16]
    raise AssertionError(f"no call went to {running.first(name)} first: {entry}")


def check_cell(running, fault, shape, marker, record_property):
    """Makes the one call of a cell, and checks all that is specified of it."""
    cell, group, strategy = CELLS[fault][shape], running.group, running.strategy
    name, marker, reading, entry = call_the_first(running, fault, shape, marker)
    record_property("first_useful_ms", round(reading.seconds_to_first_use * 1000))
    tries = cell.tries if strategy.has_next else cell.tries_alone

    visits = check_the_fault_happened(running, fault, marker, tries)
    account = running.providers.well.account(marker)
    goes_on = cell.then is Then.NEXT and strategy.has_next
    assert len(account) == (1 if goes_on else 0), account

    streamed = shape == "streamed"
    if goes_on:
        check_answer(reading, group.client, streamed, SECOND_WORDS, SECOND_MODEL[group.second])
        assert reading.provider == running.second(name).split("/")[0], reading
    elif cell.then is Then.SERVED:
        check_answer(reading, group.client, streamed, WORDS, FIRST_MODEL[group.first])
        assert reading.provider == name, reading
    elif cell.then is Then.BREAKS:
        check_break(reading, group.client, cell.code, " ".join(WORDS.split()[:WORDS_BEFORE_THE_END]))
        assert reading.provider == name, reading
    else:
        check_error(reading, group.client, cell.code, cell.retry_after, tries)

    least, most = seconds_bounds(cell, tries)
    assert least <= reading.seconds_to_first_use <= most + SLACK, (least, most, reading)

    rest = reading.seconds - reading.seconds_to_first_use
    goes_on_for = 0 if goes_on else cell.goes_on_for
    # By the client's watch, which a busy machine may let see the first word late, but not as late as the last one.
    assert least + goes_on_for <= reading.seconds and goes_on_for / 2 <= rest, (least, goes_on_for, rest, reading)
    assert rest <= 1.5 * goes_on_for + SLACK, (goes_on_for, rest, reading)

    if streamed and reading.status == 200:
        assert least <= entry["timeToFirstTokenMs"] / 1000 <= reading.seconds_to_first_use, (entry, reading)
    decision = entry["decision"]
    chosen = (decision["strategy"], decision["reason"], decision["chosen"])
    assert chosen == (group.strategy, strategy.reason, running.first(name)), decision
    check_bill(running, cell, reading, entry, visits, account, tries)


# Storms


STORM_CALLS = 12
FAILURES_UNTIL_OPEN = 5


def all_at_once(jobs):
    """Runs every job in a thread of its own and returns what they came to, in order."""
    results = [None] * len(jobs)

    def run(number, job):
        results[number] = job()

    threads = [threading.Thread(target=run, args=each, daemon=True) for each in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(result is not None for result in results), "a call came to nothing"
    return results


def check_storm_bill(running, reading, marker):
    """A 500 costs nothing, so the entry is what the second provider charges."""
    entry = running.entry(reading)
    charged = owed(running.providers.well.account(marker))
    status = "settled" if charged else "failed"
    assert (entry["status"], entry["costBasis"], picodollars(entry["costUsd"])) == (status, "exact", charged), entry
    return entry


@pytest.mark.parametrize("shape", SHAPES)
@in_groups(STRATEGIES)
def test_a_storm_of_500_opens_the_circuit_and_then_costs_no_time(running, shape, marker, record_property):
    group, strategy, faulty = running.group, running.strategy, running.providers.faulty
    key = running.key(marker)

    def make(name):
        return read(running.server.port, key, running.call(name, shape, f"to-storm-{shape}"))

    markers = [f"{marker}-{number}" for number in range(STORM_CALLS)]
    readings = all_at_once([lambda name=name: make(name) for name in markers])
    assert sum(len(faulty.account(name)) for name in markers) >= FAILURES_UNTIL_OPEN
    for name, reading in zip(markers, readings):
        if strategy.has_next:
            check_answer(reading, group.client, shape == "streamed", SECOND_WORDS, SECOND_MODEL[group.second])
        else:
            assert reading.status in (502, 503) and reading.error[1] in ("upstream_error", "circuit_open"), reading
        check_storm_bill(running, reading, name)
    taken = []
    for name in (f"{marker}-after-{number}" for number in range(3)):
        reading = make(name)
        assert faulty.account(name) == [], "a call went through an open circuit"
        if strategy.has_next:
            check_answer(reading, group.client, shape == "streamed", SECOND_WORDS, SECOND_MODEL[group.second])
            well = running.second(f"storm-{shape}").split("/")[0]
            assert (reading.attempts, reading.provider) == ("1", well), reading
        else:
            status, kind = TOLD["circuit_open"][group.client]
            assert (reading.status, reading.error[:2]) == (status, (kind, "circuit_open")), reading
            assert 1 <= int(reading.headers["retry-after"]) <= 5, reading
        entry = check_storm_bill(running, reading, name)
        assert entry["attemptCount"] == (1 if strategy.has_next else 0), entry
        taken.append(reading.seconds_to_first_use)
    record_property("first_useful_ms", round(statistics.median(taken) * 1000))
    # Shorter than any pause before a repetition.
    assert max(taken) < SLACK and min(taken) < BACKOFF[0][0], taken
    assert all(picodollars(item["heldUsd"]) == 0 for item in running.server.admin("/api/budgets")["items"])


@pytest.mark.parametrize("shape", SHAPES)
@in_groups(["performance"])
def test_the_fastest_that_falls_ill_is_left_for_the_next_one(running, shape, marker):
    # The second provider does as the message says: slowly.
    key, streamed = running.key(marker), shape == "streamed"
    slowly = "drip:20ms" if streamed else "slow:150ms"
    name = f"told-{shape}"

    def make(marker, **headers):
        call = replace(running.call(marker, shape, f"to-{name}", slowly), headers=headers)
        reading = read(running.server.port, key, call)
        return reading, running.entry(reading)

    # The first one is known before the other one is: whoever is known alone counts as the fastest.
    for number in range(3):
        reading, _ = make(f"{marker}-known-{number}", **{"x-tollgate-strategy": "primary"})
        assert (reading.status, reading.provider) == (200, name), reading
    for number in range(6):
        reading, _ = make(f"{marker}-{number}")
        assert reading.status == 200, reading
    for number in range(10):
        ill = f"{marker}-{number}-ill"
        reading, entry = make(ill)
        # A few calls look whether another one has become faster.
        if entry["decision"]["chosen"] == running.first(name):
            break
    decision = entry["decision"]
    assert (decision["reason"], decision["chosen"]) == ("fastest", running.first(name)), decision
    assert [visit.fault for visit in running.providers.faulty.account(ill)] == ["told"]
    check_answer(reading, running.group.client, streamed, SECOND_WORDS, SECOND_MODEL[running.group.second])
    assert (reading.attempts, entry["costBasis"]) == ("2", "exact"), entry
    assert picodollars(entry["costUsd"]) == owed(running.providers.well.account(ill)) > 0, entry


# The default time limits

CONNECT_BY_DEFAULT = 0.8
DEAD_SECONDS_MAX = 1.0
# On a busy machine. Two attempts at a black hole, one after the other, would take as long.
BUSY_SECONDS_MAX = 2 * CONNECT_BY_DEFAULT
OPEN_SECONDS_MAX = 0.05
DEAD = {"connect-refused": 0.0, "black-hole": CONNECT_BY_DEFAULT, "connection-reset": 0.0, "no-address": 0.0}


@pytest.fixture(scope="module")
def by_default(tmp_path_factory):
    """A server whose providers have the default time limits, and dead ones."""
    folder = tmp_path_factory.mktemp("defaults")
    providers = Providers(folder)
    kind, second = "openai", f"well/{SECOND_MODEL['openai']}"
    parts = [provider("well", kind, base_url(kind, providers.well.url), kind)]
    for fault in DEAD:
        for shape in SHAPES:
            name = f"{fault}-{shape}"
            root = "http://nobody.invalid" if fault == "no-address" else providers.root(fault)
            parts.append(provider(name, kind, base_url(kind, root), kind))
            parts.append(route(f"to-{name}", "fallback", [f"{name}/{FIRST_MODEL[kind]}", second]))
    server = Server(folder, "".join(parts))
    try:
        server.key = server.create_key("defaults")
        yield server.start(), providers
        server.check_totals(server.settled())
        server.stop()
        server.verify()
    finally:
        server.kill()
        providers.close()


@pytest.mark.xdist_group("defaults")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fault", DEAD)
def test_a_dead_provider_costs_less_than_a_second_and_next_to_nothing_once_its_circuit_is_open(
    by_default, fault, shape, marker, record_property
):
    server, providers = by_default
    streamed = shape == "streamed"

    def make(name, model):
        words = f"usage:in=100,out=10 echo:{SECOND_WORDS}"
        reading = read(server.port, server.key, Call(name, "openai", streamed, words, model=model))
        check_answer(reading, "openai", streamed, SECOND_WORDS, SECOND_MODEL["openai"])
        return reading

    readings = [make(marker, f"to-{fault}-{shape}")]
    check_the_fault_is_there(providers, fault, marker)
    more = [f"{marker}-{number}" for number in range(FAILURES_UNTIL_OPEN - 1)]
    readings += all_at_once([lambda name=name: make(name, f"to-{fault}-{shape}") for name in more])
    assert all(reading.attempts == "2" for reading in readings), readings
    taken = [reading.seconds_to_first_use for reading in readings]
    record_property("first_useful_ms", round(min(taken) * 1000))
    assert DEAD[fault] <= min(taken) < DEAD_SECONDS_MAX and max(taken) < BUSY_SECONDS_MAX, taken
    skipped, direct = [], []
    for number in range(15):
        reading = make(f"{marker}-open-{number}", f"to-{fault}-{shape}")
        assert reading.attempts == "1", reading
        skipped.append(reading.seconds_to_first_use)
        direct.append(make(f"{marker}-direct-{number}", f"well/{SECOND_MODEL['openai']}").seconds_to_first_use)
    # Over what the provider that is well takes itself.
    cost = statistics.median(skipped) - statistics.median(direct)
    record_property("open_circuit_ms", round(cost * 1000, 1))
    assert cost < OPEN_SECONDS_MAX and min(skipped) < OPEN_SECONDS_MAX, (skipped, direct)


def check_the_fault_is_there(providers, fault, marker):
    if fault in providers.addresses:
        assert providers.addresses[fault].is_faulty()
    elif fault != "no-address":
        assert len(providers.faulty.account(marker)) == 1
