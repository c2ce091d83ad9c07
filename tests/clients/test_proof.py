"""Proof of the ledger: chains over kills and against copies that were put back, adjustments, history at other prices.

Amounts are worked out by hand here, in whole picodollars: a token of gpt-4o-mini costs 150,000 in and 600,000 out, with
priority 250,000 and 1,000,000.
"""

import json
import shutil
import urllib.error

import pytest

from books import picodollars, window
from conftest import ADMIN_TOKEN, get_json, wait_for
from load import Call, Load, Server, is_whole, provider, send

pytestmark = pytest.mark.gateway


@pytest.fixture
def server(upstream, tmp_path):
    root = upstream.url
    settings = provider("openai", "openai", f"{root}/v1") + provider("anthropic", "anthropic", root)
    settings += provider("compat", "openai-compatible", f"{root}/compat/v1", catalog="compat")
    running = Server(tmp_path / "gateway", settings)
    yield running
    running.kill()


def call(server, key, marker, text, **options):
    """One whole answer, and its row."""
    answer = send(server.port, key, Call(marker, text=text, **options))
    assert answer.status == 200 and answer.complete, answer
    return server.booked(marker)


def verify(server, *arguments, code=0):
    done = server.command("verify", *arguments, seconds_max=120)
    assert done.returncode == code, f"verify: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def refused(server, path, body, token=ADMIN_TOKEN):
    """The status and code of a refused POST."""
    with pytest.raises(AssertionError) as raised:
        get_json(f"{server.url}{path}", token, "POST", body)
    error = raised.value.__cause__
    assert isinstance(error, urllib.error.HTTPError)
    return error.code, str(raised.value)


def total(server):
    return picodollars(server.admin(f"/api/costs?{window()}")["totalUsd"])


def test_chains_hold_over_kills_under_load(server, upstream, tmp_path):
    heads = tmp_path / "heads.json"
    key = server.create_key("load")
    load = Load(key, lambda number, count: Call(f"k{number}-{count}", stream=count % 2 == 0, text="echo:one two"), 8)
    load.start()
    try:
        for number in range(4):
            server.start()
            if number:
                # What was proved before a kill still stands after it, and what came since has gone on from there.
                verify(server, "--expect", str(heads))
            load.direct_to(server.port)
            done = len(load.results)
            wait_for(lambda: len(load.results) > done + 40, "some calls", 60)
            verify(server, "--heads", str(heads))
            server.kill()
            load.up.clear()
        server.start()
        load.direct_to(server.port)
        results = load.stop()
        assert sum(is_whole(call, answer) for call, answer in results) > 100
        verify(server, "--expect", str(heads))
        days = json.loads(heads.read_text())["days"]
        assert 0 < sum(day["entries"] for day in days.values()) <= len(server.settled())
        server.stop()
        assert "nothing was rewritten since" in verify(server, "--expect", str(heads))
    finally:
        load.stopping.set()


def test_a_ledger_that_was_put_back_or_replaced_is_told_by_heads_that_were_kept_elsewhere(server, tmp_path):
    key = server.create_key("one")
    server.start()
    call(server, key, "first", "usage:in=10,out=5")
    server.stop()
    older = tmp_path / "older"
    shutil.copytree(server.data_dir, older)
    server.start()
    call(server, key, "second", "usage:in=10,out=5")
    heads = json.loads(verify(server, "--heads", "-"))
    assert [day["entries"] for day in heads["days"].values()] == [2]
    kept = tmp_path / "heads.json"
    kept.write_text(json.dumps(heads))
    server.stop()
    verify(server, "--expect", str(kept))
    # The day's work is undone by putting yesterday's copy back: it is sound in itself, and yet not what was kept.
    shutil.rmtree(server.data_dir)
    shutil.copytree(older, server.data_dir)
    verify(server)
    told = verify(server, "--expect", str(kept), code=1)
    assert "had 2 when its head was kept, and has 1" in told, told
    report = json.loads(verify(server, "--expect", str(kept), "--json", code=1))
    assert report["ok"] is False and report["differences"] == [] and report["chainFaults"], report
    # Another history of the same length.
    server.start()
    call(server, key, "third", "usage:in=1,out=1")
    told = verify(server, "--expect", str(kept), code=1)
    assert "was rewritten" in told, told
    verify(server)
    server.stop()
    kept.write_text("{}")
    done = server.command("verify", "--expect", str(kept))
    assert done.returncode == 2 and "--heads" in done.stderr, done.stderr


def test_an_unknown_call_gets_its_true_cost_after_a_crash(server):
    key = server.create_key("crash", "--budget", "day=1.00")
    server.start()
    load = Load(key, lambda number, count: Call(f"lost-{number}-{count}", text="hang"), 1).start()
    load.direct_to(server.port)
    wait_for(lambda: server.admin(f"/api/costs?{window()}")["pendingCount"] == 1, "the call being held", 20)
    server.kill()
    load.stopping.set()
    server.start()
    (lost,) = [row for row in server.settled() if row["status"] == "unknown"]
    held = picodollars(lost["cost_usd"])
    assert held > 0 and lost["cost_basis"] == "reserved"
    path = f"/api/requests/{lost['id']}/adjust"
    # Only admins, and with a reason.
    assert refused(server, path, {"costUsd": "0", "reason": "free"}, token=key)[0] == 403
    assert refused(server, path, {"costUsd": "0", "reason": ""})[0] == 400
    assert refused(server, path, {"costUsd": "-1", "reason": "x"})[0] == 400
    assert total(server) == held
    shown = server.admin(path, "POST", {"costUsd": "0.000123", "reason": "the provider's invoice"})
    assert shown["adjustedCostUsd"] == "0.000123" and picodollars(shown["costUsd"]) == held
    rows = {row["id"]: row for row in server.rows()}
    adjustment = rows[shown["adjustments"][0]["id"]]
    assert picodollars(adjustment["cost_usd"]) == 123_000_000 - held
    assert adjustment["error"] == f"adjusts {lost['id']}" and adjustment["client_request_id"] == lost["client_request_id"]
    assert rows[lost["id"]] == lost, "the entry itself stays as it was"
    report = server.admin(f"/api/costs?{window()}&groupBy=key")
    assert report["requests"] == 1 and picodollars(report["totalUsd"]) == picodollars(report["unknownUsd"]) == 123_000_000
    (budget,) = server.admin("/api/budgets")["items"]
    assert picodollars(budget["spentUsd"]) == 123_000_000, "the key has the rest of its day back"
    # The command line does the same, on the server and on the folder.
    done = server.command("adjust", lost["id"], "--cost", "0.0002", "--reason", "a later invoice")
    assert done.returncode == 0 and "costs 0.0002 USD now" in done.stdout, done.stdout + done.stderr
    server.stop()
    done = server.command("adjust", lost["id"], "--cost", "0", "--reason", "credited", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["adjustedCostUsd"] == "0", done.stdout + done.stderr
    verify(server)
    done = server.command("adjust", "req_00000000000000000000000001", "--cost", "0", "--reason", "x")
    assert done.returncode == 1 and "there is no call" in done.stderr
    server.start()
    assert total(server) == 0
    shown = server.admin(f"/api/requests/{lost['id']}")
    tokens = ['admin token "TOLLGATE_ADMIN_TOKEN"', 'admin token "local-token"']
    assert [one["by"] for one in shown["adjustments"]] == [*tokens, "command line"]


CORRECTED = """
[prices."openai/gpt-4o-mini"]
output = "0.7"
[prices."anthropic/claude-haiku-4-5"]
input = "2"
output = "6"
cache_read = "0.1"
[prices."compat/*"]
input = "1"
output = "3"
"""


def test_history_is_seen_at_corrected_prices_and_the_difference_booked_once(server, tmp_path):
    prices = tmp_path / "corrected.toml"
    prices.write_text(CORRECTED)
    key = server.create_key("history")
    server.start()
    plain = call(server, key, "plain", "usage:in=1000,read=200,out=500")
    priority = call(server, key, "priority", "tier:priority usage:in=100,out=50", fields={"service_tier": "priority"})
    claude = call(server, key, "claude", "usage:in=1000,out=400", dialect="anthropic", stream=True)
    unpriced = call(server, key, "unpriced", "usage:in=40,out=20", model="compat/nobodys-model")
    was = {
        "plain": 1000 * 150_000 + 200 * 75_000 + 500 * 600_000,
        "priority": 100 * 250_000 + 50 * 1_000_000,
        "claude": 1000 * 1_000_000 + 400 * 5_000_000,
        "unpriced": 0,
    }
    rows = {"plain": plain, "priority": priority, "claude": claude, "unpriced": unpriced}
    assert {name: picodollars(row["cost_usd"]) for name, row in rows.items()} == was
    assert unpriced["cost_basis"] == "unpriced"
    # A price of output alone corrects the plain list: a call that was billed with priority keeps that tier's price.
    would_be = {
        "plain": 1000 * 150_000 + 200 * 75_000 + 500 * 700_000,
        "priority": was["priority"],
        "claude": 1000 * 2_000_000 + 400 * 6_000_000,
        "unpriced": 40 * 1_000_000 + 20 * 3_000_000,
    }
    day = ["--from", plain["time"][:10]]

    def re_rate(*arguments, code=0):
        done = server.command("re-rate", *day, "--prices", str(prices), "--json", *arguments)
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    seen = re_rate()
    assert picodollars(seen["wasUsd"]) == sum(was.values())
    assert picodollars(seen["wouldBeUsd"]) == sum(would_be.values())
    assert seen["booked"] == 0 and seen["left"] == [] and total(server) == sum(was.values())
    by_model = {group["model"]: picodollars(group["differenceUsd"]) for group in seen["groups"]}
    assert by_model == {
        "gpt-4o-mini": would_be["plain"] - was["plain"],
        "claude-haiku-4-5": would_be["claude"] - was["claude"],
        "nobodys-model": would_be["unpriced"],
    }
    # A name that is mistyped is told of, and keeps from booking what the rest would come to.
    assert all(section["attempts"] for section in seen["sections"]) and seen["sections"]
    mistyped = tmp_path / "mistyped.toml"
    mistyped.write_text(prices.read_text() + '[prices."openai/gpt-4o-minni"]\ninput = "9"\n')
    done = server.command("re-rate", *day, "--prices", str(mistyped))
    assert done.returncode == 0 and 'openai/gpt-4o-minni"] fits nothing that was called' in done.stderr, done.stderr
    done = server.command("re-rate", *day, "--prices", str(mistyped), "--book")
    assert done.returncode == 2 and "--allow-unmatched" in done.stderr, done.stdout + done.stderr
    assert total(server) == sum(was.values())
    # On the server, then on the folder, where nothing is left to do.
    done = server.command("re-rate", *day, "--prices", str(prices), "--book")
    assert done.returncode == 0 and "3 adjustments were booked" in done.stdout, done.stdout + done.stderr
    assert total(server) == sum(would_be.values())
    shown = server.admin(f"/api/requests/{unpriced['id']}")
    assert picodollars(shown["adjustedCostUsd"]) == would_be["unpriced"]
    assert shown["adjustments"][0]["kind"] == "re_rated" and shown["adjustments"][0]["costBasis"] == "exact"
    assert "corrected.toml" in shown["adjustments"][0]["reason"]
    assert sum(picodollars(row["cost_usd"]) for row in server.rows()) == total(server)
    assert re_rate("--book")["booked"] == 0
    server.stop()
    again = re_rate("--book", "--allow-unmatched")
    assert (again["booked"], again["differenceUsd"]) == (0, "0"), again
    # By the prices in force all of it goes back, but for what has none.
    done = server.command("re-rate", *day, "--json", "--book")
    assert done.returncode == 0, done.stderr
    back = json.loads(done.stdout)
    assert back["booked"] == 2 and [left["reason"] for left in back["left"]] == ["no_price"], back
    verify(server)
    server.start()
    assert total(server) == sum(was.values()) + would_be["unpriced"]
    for arguments, words in [
        (["--from", "yesterday"], "--from yesterday"),
        ([*day, "--prices", str(tmp_path / "nowhere.toml")], "nowhere.toml"),
        ([*day, "--to", "2001-01-01"], "before"),
    ]:
        done = server.command("re-rate", *arguments)
        assert done.returncode in (1, 2) and done.stderr, (arguments, done.stdout, done.stderr)
        assert words.split()[-1] in done.stderr or "from" in done.stderr, done.stderr
