"""What budgets do to calls, on the running binary: clipped, made to wait, refused, sent elsewhere; every scope and window.

Prices at their dearest, in picodollars a token: gpt-4o-mini 250,000 in and 1,000,000 out (its priority tier); claude-haiku-4-5
2,200,000 in (kept for an hour, computed in one country) and 5,500,000 out.
"""

import concurrent.futures
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from decimal import Decimal

import pytest

from books import all_rows, picodollars, settled_row
from conftest import ADMIN_TOKEN, START_SECONDS_MAX, Gateway, wait_for
from load import Call, Connection, send

pytestmark = pytest.mark.gateway

ROUTES = """
[[routes]]
name = "cheap"
strategy = "primary"
deployments = ["openai/gpt-4o-mini"]

[[routes]]
name = "cheap-claude"
strategy = "primary"
deployments = ["anthropic/claude-haiku-4-5"]

[[routes]]
name = "cheapest"
strategy = "primary"
deployments = ["compat/qwen3-coder"]

[alerts]
thresholds = [60, 90]
"""
WINDOWS = ["hour", "day", "week", "month", "total"]


@pytest.fixture(scope="module")
def server(tmp_path_factory, upstream):
    running = Gateway(tmp_path_factory.mktemp("budgets"), upstream, ROUTES)
    running.port = int(running.url.rsplit(":", 1)[1])
    yield running
    running.stop()


@pytest.fixture
def key_with(server, marker):
    """Makes a key with a budget and gives it with the budget's id."""
    count = iter(range(100))

    def make(limit, action="block", window="day", **more):
        terms = {"window": window, "limitUsd": str(limit), "action": action}
        terms |= {name: more.pop(name) for name in ("downgradeTo", "thresholds") if name in more}
        made = server.admin("/api/keys", "POST", {"name": f"k{next(count)}-{marker}", "budgets": [terms], **more})
        (budget,) = budgets_of(server, "key", made["id"])
        return made["key"], budget["id"]

    return make


@pytest.fixture
def budget_over(server):
    """Makes a budget over a scope, and takes it away after the test."""
    made = []

    def make(kind, scope_id, window, limit, action="block", **more):
        body = {"scope": {"kind": kind, "id": scope_id}, "window": window, "limitUsd": limit, "action": action, **more}
        budget = server.admin("/api/budgets", "POST", body)
        made.append(budget["id"])
        return budget

    yield make
    for budget_id in made:
        server.admin(f"/api/budgets/{budget_id}", "DELETE")


def budgets_of(server, kind, scope_id):
    items = server.admin("/api/budgets")["items"]
    return [budget for budget in items if budget["scope"] == {"kind": kind, "id": scope_id}]


def standing(server, budget_id):
    return server.admin(f"/api/budgets/{budget_id}")


def refusal(server, path, method, body, headers=None):
    """The problem that a management call is refused with."""
    request = urllib.request.Request(f"{server.url}{path}", json.dumps(body).encode(), headers or {}, method=method)
    request.add_header("authorization", f"Bearer {ADMIN_TOKEN}")
    request.add_header("content-type", "application/json")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    problem = json.loads(caught.value.read())
    return caught.value.code, problem["code"], problem["detail"]


def ask(server, key, marker, text="hello", **options):
    return send(server.port, key, Call(marker, text=text, **options))


def sent(upstream, marker):
    """The body of the last request that reached the provider."""
    entry = upstream.account(marker)[-1]
    return json.loads(upstream.request(entry)[1])


# Clipping


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"fields": {"max_tokens": 3000}}, "max_tokens"),
        ({"fields": {"max_completion_tokens": 3000}}, "max_completion_tokens"),
        ({"fields": {"max_tokens": 3000}, "stream": True}, "max_tokens"),
        ({}, "max_completion_tokens"),
    ],
    ids=["max_tokens", "max_completion_tokens", "streamed", "no_limit"],
)
def test_a_chat_is_clipped_to_what_an_eighth_covers(server, key_with, upstream, marker, options, field):
    key, _ = key_with("0.016")
    answer = ask(server, key, marker, **options)
    assert answer.status == 200, answer.body
    cap = int(answer.headers["x-tollgate-budget-clipped"])
    body = sent(upstream, marker)
    assert body[field] == cap
    input_cost = (len(Call(marker, **options).body()) + 1024) * 250_000
    # An eighth of 0.016 is 0.002; a token of output more would not fit.
    assert input_cost + cap * 1_000_000 <= 2_000_000_000 < input_cost + (cap + 1) * 1_000_000


def test_two_limits_of_one_call_are_both_lowered(server, key_with, upstream, marker):
    key, budget_id = key_with("0.016")
    fields = {"max_tokens": 3000, "max_completion_tokens": 2900}
    # The provider takes one of them only, which costs nothing; it has seen both all the same.
    answer = ask(server, key, marker, fields=fields)
    assert answer.status == 400, answer.body
    body = sent(upstream, marker)
    assert body["max_tokens"] == body["max_completion_tokens"] < 2900
    shown = standing(server, budget_id)
    assert (shown["heldUsd"], shown["spentUsd"]) == ("0", "0")


def test_nothing_is_clipped_while_an_eighth_covers_it(server, key_with, upstream, marker):
    key, _ = key_with("0.05")
    answer = ask(server, key, marker, fields={"max_tokens": 3000})
    assert (answer.status, "x-tollgate-budget-clipped" in answer.headers) == (200, False)
    assert sent(upstream, marker)["max_tokens"] == 3000


def post(server, path, key, marker, body, extra=()):
    raw = json.dumps(body).encode()
    head = [f"POST {path} HTTP/1.1", "host: gateway", "content-type: application/json", f"x-request-id: {marker}"]
    head += [f"authorization: Bearer {key}", f"content-length: {len(raw)}", *extra]
    with Connection(server.port) as connection:
        connection.send("\r\n".join(head).encode() + b"\r\n\r\n" + raw)
        return connection.answer()


def test_responses_and_completions_are_clipped_by_their_own_field(server, key_with, upstream, marker):
    key, _ = key_with("0.016")
    body = {"model": "openai/gpt-4o-mini", "input": f"id:{marker} hello", "max_output_tokens": 3000}
    answer = post(server, "/v1/responses", key, marker, body)
    assert answer.status == 200, answer.body
    assert sent(upstream, marker)["max_output_tokens"] == int(answer.headers["x-tollgate-budget-clipped"]) < 3000
    key, _ = key_with("0.04")
    marker = f"{marker}c"
    body = {"model": "openai/gpt-3.5-turbo-instruct", "prompt": f"id:{marker} hello", "max_tokens": 2000}
    answer = post(server, "/v1/completions", key, marker, body)
    assert answer.status == 200, answer.body
    assert sent(upstream, marker)["max_tokens"] == int(answer.headers["x-tollgate-budget-clipped"]) < 2000


def test_a_message_keeps_a_limit_above_its_thinking(server, key_with, upstream, marker):
    key, _ = key_with("0.06")
    fields = {"max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 2000}}
    answer = ask(server, key, marker, dialect="anthropic", fields=fields)
    assert answer.status == 200, answer.body
    body = sent(upstream, marker)
    # A quarter would be 1,000: the thinking needs more.
    assert answer.headers["x-tollgate-budget-clipped"] == str(body["max_tokens"]) == "2001"
    assert body["thinking"]["budget_tokens"] == 2000


def test_a_translated_call_is_written_again_with_the_lower_limit(server, key_with, upstream, marker):
    key, _ = key_with("0.06")
    answer = ask(server, key, marker, model="anthropic/claude-haiku-4-5", fields={"max_tokens": 3000})
    assert answer.status == 200, answer.body
    assert sent(upstream, marker)["max_tokens"] == int(answer.headers["x-tollgate-budget-clipped"]) < 3000
    marker = f"{marker}m"
    key, _ = key_with("0.016")
    answer = ask(server, key, marker, dialect="anthropic", model="openai/gpt-4o-mini", fields={"max_tokens": 3000})
    assert answer.status == 200, answer.body
    clipped = int(answer.headers["x-tollgate-budget-clipped"])
    body = sent(upstream, marker)
    assert clipped == body.get("max_completion_tokens", body.get("max_tokens")) < 3000


def test_an_embedding_is_never_clipped(server, key_with, marker):
    key, _ = key_with("0.0002")
    body = {"model": "openai/text-embedding-3-small", "input": f"id:{marker} hello"}
    answer = post(server, "/v1/embeddings", key, marker, body)
    assert (answer.status, "x-tollgate-budget-clipped" in answer.headers) == (200, False), answer.body


def test_a_clipped_answer_is_kept_only_if_it_ended_by_itself(server, key_with, marker):
    key, _ = key_with("0.016")
    whole = {"text": "echo:short and whole", "fields": {"max_tokens": 3000}}
    first, second = (ask(server, key, marker, **whole) for _ in range(2))
    assert "x-tollgate-budget-clipped" in first.headers
    assert [answer.headers["x-tollgate-cache"] for answer in (first, second)] == ["miss", "hit"]
    # Longer than any limit that is left: it ends by its limit.
    cut = {"text": "echo:" + "word " * 900, "fields": {"max_tokens": 1200}}
    key, _ = key_with("0.009")
    first, second = (ask(server, key, marker, **cut) for _ in range(2))
    assert first.json()["choices"][0]["finish_reason"] == "length", first.body
    assert [answer.headers["x-tollgate-cache"] for answer in (first, second)] == ["miss", "miss"]


# Refusals and waiting


def test_a_refusal_says_which_budget_what_is_left_and_when_it_resets(server, key_with, marker):
    key, budget_id = key_with("0.0001")
    answer = ask(server, key, marker)
    kind, code, message = answer.error()
    assert (answer.status, kind, code, answer.headers["x-should-retry"]) == (
        429, "insufficient_quota", "budget_exceeded", "false"
    )
    resets = standing(server, budget_id)["resetsAt"]
    for part in ("0.0001 USD over key", "per day", "has 0.0001 USD left", f"resets at {resets}"):
        assert part in message, message
    assert "retry-after" not in answer.headers
    answer = ask(server, key, marker, dialect="anthropic")
    assert (answer.status, answer.error()[0], answer.headers["x-should-retry"]) == (402, "billing_error", "false")


def test_who_is_kept_back_by_others_alone_waits_for_them(server, key_with, marker):
    # Room for one call of 450 tokens of output, the least that 1,800 are clipped to, and not for two.
    key, budget_id = key_with("0.0012")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, server, key, f"{marker}a", "slow:900ms usage:in=5,out=5", fields={"max_tokens": 1800})
        wait_for(lambda: Decimal(standing(server, budget_id)["heldUsd"]), "the first call holding", 20)
        began = time.monotonic()
        second = ask(server, key, f"{marker}b", "usage:in=5,out=5", fields={"max_tokens": 1800})
        waited = time.monotonic() - began
        assert (first.result().status, second.status) == (200, 200), second.body
    assert waited > 0.1
    shown = standing(server, budget_id)
    assert (shown["heldUsd"], Decimal(shown["spentUsd"])) == ("0", Decimal("0.0000075"))


def test_who_has_waited_in_vain_is_told_when_to_come_back(server, key_with, marker):
    key, budget_id = key_with("0.0012")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, server, key, f"{marker}a", "slow:4s usage:in=5,out=5", fields={"max_tokens": 1800})
        wait_for(lambda: Decimal(standing(server, budget_id)["heldUsd"]), "the first call holding", 20)
        began = time.monotonic()
        second = ask(server, key, f"{marker}b", fields={"max_tokens": 1800})
        waited = time.monotonic() - began
        kind, code, message = second.error()
        assert (second.status, kind, code) == (429, "rate_limit_error", "budget_held"), message
        assert 1.9 < waited < 3.5
        assert second.headers["x-should-retry"] == "true"
        assert 1 <= int(second.headers["retry-after"]) <= 60
        assert "held" in message and "it fits once calls that run have ended" in message
        assert first.result().status == 200


def test_a_client_that_hangs_up_while_it_waits_leaves_nothing_behind(server, key_with, upstream, marker):
    key, budget_id = key_with("0.0012")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, server, key, f"{marker}a", "slow:4s usage:in=5,out=5", fields={"max_tokens": 1800})
        held = wait_for(lambda: Decimal(standing(server, budget_id)["heldUsd"]), "the first call holding", 20)
        with Connection(server.port) as connection:
            connection.send(Call(f"{marker}b", fields={"max_tokens": 1800}).request(key))
            time.sleep(0.2)
        row = settled_row(server, f"{marker}b")
        assert (row["status"], row["cost_usd"], row["attempts"]) == ("failed", "0", "0")
        assert Decimal(standing(server, budget_id)["heldUsd"]) == held
        assert first.result().status == 200
    assert not upstream.account(f"{marker}b")
    assert standing(server, budget_id)["heldUsd"] == "0"


# Downgrades


def test_at_the_limit_a_call_goes_to_the_other_route_and_still_counts(server, key_with, upstream, marker):
    key, budget_id = key_with("0.004", "downgrade", downgradeTo="cheap")
    options = {"model": "anthropic/claude-haiku-4-5", "fields": {"max_tokens": 100}}
    first = ask(server, key, f"{marker}a", "usage:in=500,out=100", **options)
    assert (first.status, first.headers["x-tollgate-model"]) == (200, "claude-haiku-4-5"), first.body
    assert "x-tollgate-budget-downgraded" not in first.headers
    # 0.001 is spent: what the second may cost doesn't fit any more.
    second = ask(server, key, f"{marker}b", "usage:in=500,out=100 " + "word " * 300, **options)
    assert (second.status, second.headers["x-tollgate-model"]) == (200, "gpt-4o-mini"), second.body
    assert second.headers["x-tollgate-budget-downgraded"] == "cheap"
    row = settled_row(server, f"{marker}b")
    assert (row["provider"], row["requested_model"]) == ("openai", "anthropic/claude-haiku-4-5")
    # 500 x 150,000 + 100 x 600,000
    assert picodollars(row["cost_usd"]) == 135_000_000
    spent = picodollars(standing(server, budget_id)["spentUsd"])
    assert spent == 1_000_000_000 + 135_000_000
    # What came from elsewhere is no answer to the same question later.
    third = ask(server, key, f"{marker}b", "usage:in=500,out=100 " + "word " * 300, **options)
    assert third.headers["x-tollgate-cache"] == "miss"


@pytest.mark.parametrize(
    ("scope", "model", "binds"),
    [
        ("gpt-4o", "gpt-4o", True),
        ("gpt-4o", "gpt-4o-2024-08-06", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4o-2024-08-06", "gpt-4o", False),
        ("gpt-4o*", "gpt-4o-mini", True),
        ("openai/gpt-4o", "gpt-4o", True),
        ("openai/*", "gpt-4o-mini", True),
        ("anthropic/*", "gpt-4o", False),
        ("*haiku*", "anthropic/claude-haiku-4-5-20251001", True),
    ],
)
def test_a_budget_of_a_model_binds_its_dated_versions_and_what_fits_its_pattern(
    server, budget_over, key_with, marker, scope, model, binds
):
    key, _ = key_with("1", "alert")
    budget = budget_over("model", scope, "total", "0")
    answer = ask(server, key, marker, model=model)
    assert answer.status == (429 if binds else 200), answer.body
    # What is let through is summed where it belongs, and nowhere else.
    server.admin(f"/api/budgets/{budget['id']}", "PUT", {"limitUsd": "5", "action": "block"})
    before = picodollars(standing(server, budget["id"])["spentUsd"])
    assert ask(server, key, f"{marker}b", "usage:in=500,out=100", model=model).status == 200
    cost = picodollars(settled_row(server, f"{marker}b")["cost_usd"])
    assert cost > 0
    assert picodollars(standing(server, budget["id"])["spentUsd"]) - before == (cost if binds else 0)


def test_a_budget_of_a_model_that_is_a_route_is_refused(server):
    body = {"scope": {"kind": "model", "id": "cheap"}, "window": "day", "limitUsd": "1", "action": "block"}
    status, code, detail = refusal(server, "/api/budgets", "POST", body)
    assert (status, code) == (400, "invalid_field") and "cheap is a route" in detail


def test_a_call_cannot_put_another_tag_in_the_place_of_its_keys(server, budget_over, key_with, marker):
    key, _ = key_with("1", "alert", tags={"env": marker})
    budget_over("tag", f"env={marker}", "day", "0")
    assert ask(server, key, marker).status == 429
    assert ask(server, key, f"{marker}b", headers={"x-tollgate-tags": "env=free,more=x"}).status == 429


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_downgrade_crosses_dialects(server, key_with, marker, stream):
    key, _ = key_with("0", "downgrade", downgradeTo="cheap-claude")
    answer = ask(server, key, marker, "echo:hello there", stream=stream)
    assert (answer.status, answer.headers["x-tollgate-model"]) == (200, "claude-haiku-4-5"), answer.body
    assert b"hello" in answer.body and b"chat.completion" in answer.body


def test_downgrades_that_point_at_each_other_end(server, budget_over, key_with, marker):
    key, _ = key_with("0", "downgrade", downgradeTo="cheap-claude")
    budget_over("tag", f"t={marker}", "day", "0", "downgrade", downgradeTo="cheap")
    answer = ask(server, key, marker, headers={"x-tollgate-tags": f"t={marker}"})
    assert (answer.status, answer.headers["x-tollgate-budget-downgraded"]) == (200, "cheap"), answer.body


def test_a_budget_that_blocks_holds_back_what_was_sent_elsewhere(server, budget_over, key_with, upstream, marker):
    key, _ = key_with("0", "downgrade", downgradeTo="cheap")
    block = budget_over("tag", f"t={marker}", "day", "0.016")
    tags = {"x-tollgate-tags": f"t={marker}"}
    answer = ask(server, key, marker, model="anthropic/claude-haiku-4-5", headers=tags, fields={"max_tokens": 3000})
    assert (answer.status, answer.headers["x-tollgate-model"]) == (200, "gpt-4o-mini"), answer.body
    # Clipped at the prices of where it went.
    assert 1400 < int(answer.headers["x-tollgate-budget-clipped"]) < 1800
    server.admin(f"/api/budgets/{block['id']}", "PUT", {"limitUsd": "0", "action": "block"})
    refused = ask(server, key, f"{marker}x", model="anthropic/claude-haiku-4-5", headers=tags)
    assert refused.error()[1] == "budget_exceeded"


def test_a_key_that_may_not_use_the_route_is_refused_and_told_so(server, key_with, upstream, marker):
    key, _ = key_with("0", "downgrade", downgradeTo="cheap", allowedModels=["anthropic/*"])
    answer = ask(server, key, marker, model="anthropic/claude-haiku-4-5")
    assert (answer.status, answer.error()[1]) == (429, "budget_exceeded")
    assert "\"cheap\" then, which this key may not use" in answer.error()[2], answer.body
    assert answer.headers["x-should-retry"] == "false"
    assert not upstream.account(marker)


def test_a_route_that_the_file_no_longer_has_is_named(tmp_path, upstream, marker):
    server = Gateway(tmp_path, upstream, ROUTES)
    try:
        budget = {"window": "day", "limitUsd": "0", "action": "downgrade", "downgradeTo": "cheapest"}
        key = server.admin("/api/keys", "POST", {"name": "old", "budgets": [budget]})["key"]
    finally:
        server.stop()
    text = server.config.read_text(encoding="utf-8").replace('name = "cheapest"', 'name = "other"')
    server.config.write_text(text, encoding="utf-8")
    again = Again(server)
    try:
        answer = send(again.port, key, Call(marker))
        assert (answer.status, answer.error()[1]) == (429, "budget_exceeded")
        assert "\"cheapest\" then, which tollgate.toml no longer has" in answer.error()[2]
    finally:
        again.stop()


class Again(Gateway):
    """The same data folder and file, started once more."""

    def __init__(self, before):
        self.__dict__.update(before.__dict__)
        self.dead = socket.socket()
        with self.log.open("ab") as log:
            command = [self.binary, "serve", "--config", str(self.config)]
            self.process = subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)
        lock = self.data_dir / "tollgate.lock"
        self.url = wait_for(lambda: self._address(lock), "the lock file", START_SECONDS_MAX, self.process)
        wait_for(self._is_ready, "/ready answering 200", START_SECONDS_MAX, self.process)
        self.port = int(self.url.rsplit(":", 1)[1])


def test_a_route_that_is_not_there_is_refused_when_the_budget_is_made(server):
    body = {"scope": {"kind": "everything", "id": None}, "window": "day", "limitUsd": "1", "action": "downgrade"}
    assert refusal(server, "/api/budgets", "POST", {**body, "downgradeTo": "nowhere"})[:2] == (400, "invalid_field")


# Scopes and windows


@pytest.mark.usefixtures("not_at_the_full_hour")
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("kind", ["everything", "team", "key", "provider", "model", "operation", "tag"])
def test_every_scope_counts_and_refuses_in_every_window(server, budget_over, marker, kind, window):
    made = server.admin("/api/keys", "POST", {"name": f"s-{marker}", "team": f"team-{marker}"})
    ids = {
        "everything": None,
        "team": f"team-{marker}",
        "key": made["id"],
        "provider": "compat",
        "model": "qwen3-coder",
        "operation": f"op-{marker}",
        "tag": f"job={marker}",
    }
    headers = {"x-tollgate-operation": ids["operation"], "x-tollgate-tags": ids["tag"]}
    options = {"model": "compat/qwen3-coder", "headers": headers, "fields": {"max_tokens": 50}}
    before = budget_over(kind, ids[kind], window, "1000")
    answer = ask(server, made["key"], marker, "usage:in=1000,out=50", **options)
    assert answer.status == 200, answer.body
    # 1000 x 200,000 + 50 x 800,000
    cost = Decimal("0.00024")
    assert Decimal(standing(server, before["id"])["spentUsd"]) == Decimal(before["spentUsd"]) + cost
    # A limit below what is spent is taken, and refuses at once.
    changed = server.admin(f"/api/budgets/{before['id']}", "PUT", {"limitUsd": "0.0001", "action": "block"})
    assert (changed["remainingUsd"], changed["percentUsed"] >= 100) == ("0", True)
    refused = ask(server, made["key"], f"{marker}2", **options)
    assert (refused.status, refused.error()[1]) == (429, "budget_exceeded"), refused.body
    # A key is called by its name.
    called = made["name"] if kind == "key" else ids[kind]
    name = f"over {kind}" + (f" {called}" if called else "")
    span = "in all" if window == "total" else f"per {window}"
    assert name in refused.error()[2] and span in refused.error()[2]
    # Whoever is out of its scope is not in its way.
    if kind != "everything":
        free = server.admin("/api/keys", "POST", {"name": f"f-{marker}"})["key"]
        assert ask(server, free, f"{marker}3").status == 200


@pytest.mark.parametrize("spelling", [str.lower, str.upper, str.title])
def test_no_spelling_of_an_operation_gets_past_its_budget(server, budget_over, marker, spelling):
    budget = budget_over("operation", f"Review-{marker}", "day", "0")
    assert budget["scope"]["id"] == f"review-{marker}".lower()
    answer = ask(server, server.key, marker, headers={"x-tollgate-operation": spelling(f"review-{marker}")})
    assert answer.status == 429 and answer.error()[1] == "budget_exceeded", answer


def test_a_budget_of_a_run_is_kept_and_in_nobodys_way(server, budget_over, marker):
    made = budget_over("run", f"run_{marker}", "total", "0")
    assert (made["spentUsd"], made["resetsAt"]) == ("0", None)
    key = server.admin("/api/keys", "POST", {"name": f"r-{marker}"})["key"]
    assert ask(server, key, marker).status == 200


def test_several_scopes_are_held_together_or_not_at_all(server, budget_over, marker):
    key = server.admin("/api/keys", "POST", {"name": f"m-{marker}", "team": f"team-{marker}"})["key"]
    wide = budget_over("team", f"team-{marker}", "month", "5")
    tight = budget_over("tag", f"job={marker}", "day", "0.0001")
    answer = ask(server, key, marker, headers={"x-tollgate-tags": f"job={marker}"})
    assert answer.error()[1] == "budget_exceeded" and f"over tag job={marker}" in answer.error()[2]
    for budget in (wide, tight):
        shown = standing(server, budget["id"])
        assert (shown["heldUsd"], shown["spentUsd"]) == ("0", "0")


def test_a_fallback_to_a_dearer_model_is_clipped_at_its_own_price(server, key_with, upstream, marker):
    # 3,000 tokens fit an eighth at the first one's price, which fails, and not at the second one's.
    key, _ = key_with("0.036")
    answer = ask(server, key, marker, model="crossing", fields={"max_tokens": 3000})
    assert (answer.status, answer.headers["x-tollgate-attempts"]) == (200, "2"), answer.body
    cap = int(answer.headers["x-tollgate-budget-clipped"])
    assert sent(upstream, marker)["max_tokens"] == cap == 750


# Definitions


@pytest.mark.parametrize("limit", ["-1", "NaN", "Infinity", "1e9", "", "1.0000000000001", "9999999999999999", "0x10"])
def test_a_limit_that_is_no_amount_is_refused(server, limit):
    body = {"scope": {"kind": "everything", "id": None}, "window": "day", "limitUsd": limit, "action": "block"}
    status, code, detail = refusal(server, "/api/budgets", "POST", body)
    assert (status, code) == (400, "invalid_field") and limit in detail
    assert not [budget for budget in server.admin("/api/budgets")["items"] if budget["scope"]["kind"] == "everything"]


def test_two_admins_do_not_overwrite_each_other(server, budget_over, marker):
    made = budget_over("tag", f"job={marker}", "day", "1", "alert")
    assert (made["revision"], made["thresholds"]) == (1, [60, 90])
    path = f"/api/budgets/{made['id']}"
    terms, seen = {"limitUsd": "2", "action": "block"}, {"if-match": '"1"'}
    assert server.admin(path, "PUT", {**terms, "thresholds": [75]}, seen)["revision"] == 2
    status, code, detail = refusal(server, path, "PUT", {**terms, "limitUsd": "3"}, seen)
    assert (status, code) == (412, "changed_meanwhile") and "this budget was changed meanwhile" in detail
    shown = server.admin(path)
    assert (shown["limitUsd"], shown["thresholds"], shown["revision"]) == ("2", [75], 2)
    # Who names no revision replaces whatever stands, and keeps the thresholds.
    shown = server.admin(path, "PUT", {"limitUsd": "4", "action": "block"})
    assert (shown["limitUsd"], shown["thresholds"], shown["revision"]) == ("4", [75], 3)


def test_the_thresholds_of_the_file_reach_budgets_of_the_command_line(tmp_path, upstream):
    server = Gateway(tmp_path, upstream, ROUTES)
    try:
        (made,) = run(server, "budget", "set", "everything", "day", "5")
        assert made["thresholds"] == [60, 90]
        (kept,) = run(server, "budget", "set", "everything", "day", "6", "--thresholds", "10,20")
        assert kept["thresholds"] == [10, 20]
        (kept,) = run(server, "budget", "set", "everything", "day", "7")
        assert (kept["thresholds"], kept["limitUsd"]) == ([10, 20], "7")
    finally:
        server.stop()
    # Without a server, on the folder alone.
    (kept,) = run(server, "budget", "set", "everything", "day", "8", "--action", "alert")
    assert kept["action"] == "alert"
    (kept,) = run(server, "budget", "set", "everything", "day", "8")
    assert kept["action"] == "alert"
    assert kept["thresholds"] == [10, 20]
    (made,) = run(server, "budget", "set", "everything", "week", "8")
    assert made["thresholds"] == [60, 90]


def run(server, *arguments):
    command = [server.binary, *arguments, "--config", str(server.config), "--json"]
    done = subprocess.run(command, cwd=server.folder, env=server.environment, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.strip()]


def test_a_time_zone_that_is_not_there_is_refused(server, tmp_path):
    config = tmp_path / "tollgate.toml"
    config.write_text(f'data_dir = "{tmp_path}/data"\ntime_zone = "Mars/Olympus"\n', encoding="utf-8")
    command = [server.binary, "check-config", "--config", str(config)]
    done = subprocess.run(command, cwd=tmp_path, env=server.environment, capture_output=True, timeout=60)
    assert done.returncode != 0
    told = done.stdout.decode() + done.stderr.decode()
    assert "time_zone" in told and "Mars/Olympus" in told


def test_rows_and_budgets_agree_in_the_end(server):
    """After all of the above nothing is held, and every row has ended."""
    wait_for(lambda: all(row["status"] != "pending" for row in all_rows(server)), "every call having ended", 60)
    assert all(picodollars(budget["heldUsd"]) == 0 for budget in server.admin("/api/budgets")["items"])
