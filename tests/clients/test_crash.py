"""Kills the real binary at random instants under load and holds its ledger against the provider's own account.

What must hold after any number of kills: an answer that a client got to its last byte is booked once, at exactly what
the provider says; a call that reached the provider and did not end is in the ledger at no less than that; nothing is
there twice, nothing is pending, every sum is the sum of its rows.

`DEEP_TESTS=1` kills 300 times in place of 20. A failure names its seed; `TOLLGATE_CRASH_SEED` repeats it.
"""

import collections
import os
import random
import time

import pytest

from books import picodollars, window
from conftest import Upstream
from load import Call, Load, Server, account_cost, idle_account, is_whole, provider

pytestmark = pytest.mark.gateway

ROUNDS = 300 if os.environ.get("DEEP_TESTS") == "1" else 20
CLIENTS = 16
# Every so many rounds the process is killed while it starts, whatever it is doing then.
KILL_AT_START_EVERY = 5


class OwnUpstream(Upstream):
    """A provider whose account nobody else writes."""

    def __init__(self, folder):
        self.account_file = folder / "upstream.jsonl"
        super().__init__(folder)


@pytest.fixture
def own_upstream(tmp_path):
    running = OwnUpstream(tmp_path)
    yield running
    running.stop()


def mixed_call(seed, number, count):
    """The n-th call of a client: always the same for the same seed."""
    dice = random.Random(f"{seed}/{number}/{count}")
    dialect = dice.choice(["openai", "anthropic"])
    stream = dice.random() < 0.6
    # No more input than the bytes of the request allow, for that is what a reservation stands on.
    usage = (
        f"usage:in={dice.randint(1, 300)},read={dice.choice([0, 0, dice.randint(1, 200)])},out={dice.randint(1, 300)}"
    )
    speed = dice.choice(["", "", f"slow:{dice.randint(5, 300)}ms "])
    if stream and dice.random() < 0.6:
        speed += f"drip:{dice.randint(1, 40)}ms "
    words = " ".join(["word"] * dice.randint(1, 12))
    text = f"{speed}{usage} echo:{words}"
    if dice.random() < 0.1:
        text = f"error:429;retry-after-ms=10;times=1 {text}"
    if dice.random() < 0.05:
        text = "error:400"
    fields = (
        {"stream_options": {"include_usage": True}} if dialect == "openai" and stream and dice.random() < 0.5 else {}
    )
    return Call(f"c{number}-{count}", dialect, stream, text, fields=fields)


def check_ledger(rows, results, account):
    """Every promise about single calls, all violations at once."""
    by_marker = collections.defaultdict(list)
    for row in rows:
        by_marker[row["client_request_id"]].append(row)
    seen = collections.defaultdict(list)
    for entry in account:
        seen[entry["id"]].append(entry)
    sent = {call.marker: (call, answer) for call, answer in results}
    wrong = []
    for marker, found in by_marker.items():
        if len(found) > 1:
            wrong.append(f"{marker} is there {len(found)} times: {found}")
        if marker not in sent:
            wrong.append(f"{marker} was never sent: {found}")
    wrong += [f"{row['client_request_id']} is still pending" for row in rows if row["status"] == "pending"]
    for marker, (call, answer) in sent.items():
        true_cost = sum(account_cost(entry) for entry in seen[marker])
        found = by_marker.get(marker, [])
        if is_whole(call, answer):
            if not seen[marker]:
                wrong.append(f"{marker} was answered without the provider")
            expected = ("settled", "exact", true_cost)
            got = [(row["status"], row["cost_basis"], picodollars(row["cost_usd"])) for row in found]
            if got != [expected]:
                wrong.append(f"{marker} got its whole answer, and its row is {got} in place of {expected}: {found}")
        elif seen[marker]:
            if not found:
                wrong.append(f"{marker} reached the provider and is not in the ledger: {seen[marker]}")
            elif found[0]["status"] not in ("settled", "failed", "unknown"):
                wrong.append(f"{marker}: {found}")
            elif picodollars(found[0]["cost_usd"] or "0") < true_cost:
                wrong.append(f"{marker} cost {true_cost} and is booked below that: {found}, {seen[marker]}")
    return wrong


def test_no_kill_at_any_instant_loses_doubles_or_misprices_a_call(own_upstream, tmp_path):
    seed = os.environ.get("TOLLGATE_CRASH_SEED") or str(random.SystemRandom().randrange(1 << 32))
    print(f"TOLLGATE_CRASH_SEED={seed}")
    dice = random.Random(seed)
    root = own_upstream.url
    settings = provider("openai", "openai", f"{root}/v1") + provider("anthropic", "anthropic", root)
    server = Server(tmp_path / "gateway", settings)
    key = server.create_key("crash")
    load = Load(key, lambda number, count: mixed_call(seed, number, count), CLIENTS).start()
    try:
        for number in range(ROUNDS):
            if number % KILL_AT_START_EVERY == KILL_AT_START_EVERY - 1:
                server.launch()
                time.sleep(dice.uniform(0.0, 0.4))
                server.kill()
            server.start()
            # What was pending has lost its process, and that is settled before anybody can ask.
            report = server.admin(f"/api/costs?{window()}")
            assert report["pendingCount"] == 0 and picodollars(report["heldUsd"]) == 0, report
            load.direct_to(server.port)
            time.sleep(dice.uniform(0.05, 1.6))
            server.kill()
            load.up.clear()
        server.start()
        load.direct_to(server.port)
        results = load.stop()
        account = idle_account(own_upstream)
        rows = server.settled()
        wrong = check_ledger(rows, results, account)
        assert not wrong, f"TOLLGATE_CRASH_SEED={seed}: {len(wrong)} of {len(results)} calls:\n" + "\n".join(wrong[:20])
        server.check_totals(rows)
        server.stop()
        server.verify()
    finally:
        load.stopping.set()
        server.kill()
    # A test that never hit anything in flight has shown nothing.
    whole = sum(is_whole(call, answer) for call, answer in results)
    statuses = collections.Counter(row["status"] for row in rows)
    print(f"{len(results)} calls, {whole} whole; rows: {dict(statuses)}")
    assert whole >= ROUNDS and statuses["unknown"] >= ROUNDS // 2, f"TOLLGATE_CRASH_SEED={seed}: {statuses}"
