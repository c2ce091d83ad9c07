"""Which deployment a call goes to, and that the reason can be read: by share, price, speed, ability and prompt cache."""

import concurrent.futures
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from decimal import Decimal

import openai
import pytest

from conftest import ADMIN_TOKEN, Gateway, get_json, wait_for

pytestmark = pytest.mark.gateway

# Two sandboxes of the same price and different speed; models of different price at one of them.
SETTINGS = """
[cache]
enabled = false

[log]
bodies = "full"

[[providers]]
name = "slow"
kind = "sandbox"
latency = "150ms"

[[providers]]
name = "quick"
kind = "sandbox"
latency = "5ms"

[[routes]]
name = "shared"
strategy = "weighted"
deployments = ["quick/sandbox-small", "quick/sandbox-large"]
weights = [3, 1]

[[routes]]
name = "cheap"
strategy = "cost-optimized"
deployments = ["quick/sandbox-large", "quick/sandbox-small", "quick/unpriced-model"]

[[routes]]
name = "fast"
strategy = "performance"
deployments = ["slow/sandbox-small", "quick/sandbox-small"]

[[routes]]
name = "refused"
strategy = "performance"
deployments = ["quick/sandbox-small", "openai/no-such-model"]

[[routes]]
name = "uncounted"
strategy = "performance"
deployments = ["openai/gpt-4o-mini", "openai/gpt-4o"]

[[routes]]
name = "able"
strategy = "fallback"
deployments = ["openai/gpt-5-chat", "openai/gpt-4o-mini"]

[[routes]]
name = "longer"
deployments = ["openai/gpt-3.5-turbo", "openai/gpt-4o-mini"]

[[routes]]
name = "many"
deployments = ["dead-openai/gpt-4", "dead-openai/gpt-4-turbo", "openai/gpt-4o-mini"]
attempts_max = 2
hedge = "300ms"
hedge_percent_max = 100

[[routes]]
name = "toolless"
deployments = ["openai/gpt-5-chat"]

[[routes]]
name = "talk"
strategy = "fallback"
deployments = ["openai/gpt-4o-mini", "openai/gpt-4o"]

[[routes]]
name = "lame"
strategy = "fallback"
deployments = ["dead-openai/gpt-4o-mini", "openai/gpt-4o-mini"]

[[routes]]
name = "broken"
deployments = ["dead-openai/gpt-4.1", "openai/gpt-4.1"]

[[routes]]
name = "reviews"
strategy = "primary"
deployments = ["quick/sandbox-large"]

[operations.review-code]
route = "reviews"
"""


@pytest.fixture(scope="module")
def routed(folder, upstream):
    """A server of its own, with routes of every strategy."""
    own = folder / "routing"
    own.mkdir()
    running = Gateway(own, upstream, SETTINGS)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def client(routed):
    with openai.OpenAI(base_url=f"{routed.url}/v1", api_key=routed.key, max_retries=0, timeout=60) as client:
        yield client


def ask(client, model, text="hello", headers=None, **options):
    """Who answered, and the headers."""
    options.setdefault("messages", [{"role": "user", "content": text}])
    raw = client.chat.completions.with_raw_response.create(model=model, extra_headers=headers or {}, **options)
    raw.parse()
    return f"{raw.headers['x-tollgate-provider']}/{raw.headers['x-tollgate-model']}", raw.headers


def entry(routed, headers):
    return routed.admin(f"/api/requests/{headers['x-tollgate-request-id']}")


def explain(routed, name, body=None, **params):
    query = urllib.parse.urlencode(params)
    path = f"/api/routes/{urllib.parse.quote(name, safe='')}/explain?{query}"
    return routed.admin(path) if body is None else routed.admin(path, "POST", body)


TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


# Shares, prices, speeds


def test_weights_are_shares_and_a_conversation_stays_where_it_began(routed, client):
    seen = Counter(ask(client, "shared", f"question {number}")[0] for number in range(240))
    # 180 by its weight, and 120 by none: more than five, and more than three standard deviations away.
    assert 145 <= seen["quick/sandbox-small"] <= 215, seen
    assert sum(seen.values()) == 240
    for number in range(6):
        messages = [{"role": "user", "content": f"conversation {number}"}]
        first, _ = ask(client, "shared", messages=messages)
        for turn in range(4):
            messages += [{"role": "assistant", "content": "yes"}, {"role": "user", "content": f"turn {turn}"}]
            again, headers = ask(client, "shared", messages=messages)
            assert again == first
    seen = {ask(client, "shared", f"in a session {number}", {"x-tollgate-session": "one"})[0] for number in range(8)}
    assert len(seen) == 1, "a session is one conversation"
    decision = entry(routed, headers)["decision"]
    assert [candidate["weight"] for candidate in sorted(decision["candidates"], key=lambda each: each["model"])] == [1, 3]


def test_the_cheapest_that_is_known_to_be_is_asked(routed, client):
    who, headers = ask(client, "cheap")
    assert who == "quick/sandbox-small"
    decision = entry(routed, headers)["decision"]
    assert (decision["route"], decision["strategy"], decision["reason"]) == ("cheap", "cost-optimized", "cheapest")
    assert decision["chosen"] == "quick/sandbox-small"
    costs = [candidate["expectedCostUsd"] for candidate in decision["candidates"]]
    assert costs[2] is None and Decimal(costs[0]) < Decimal(costs[1])
    assert decision["candidates"][2]["deployment"] == "quick/unpriced-model"


def test_the_expected_length_of_an_answer_is_learned(routed, client):
    before = explain(routed, "cheap")["outputTokens"]
    assert before == pytest.approx(400, abs=400)
    for number in range(8):
        ask(client, "cheap", f"short {number}", {"x-tollgate-operation": "explain-code"}, max_tokens=4)
    after = explain(routed, "cheap", operation="explain-code")["outputTokens"]
    assert after < 200, "eight short answers outweigh the guess"


def test_the_faster_one_gets_almost_all_calls_once_both_are_known(routed, client):
    def deployments():
        return next(route for route in routed.admin("/api/routes")["items"] if route["name"] == "fast")["deployments"]

    def both_are_known():
        ask(client, "fast", f"measured {time.monotonic_ns()}")
        return all(deployment["samples"] > 1.5 for deployment in deployments())

    # One call in ten looks how fast the other one is.
    wait_for(both_are_known, "both being measured", 60)
    seen = Counter(ask(client, "fast", f"race {number}")[0] for number in range(100))
    # 95 but for chance.
    assert seen["quick/sandbox-small"] >= 75, seen
    slow, quick = deployments()
    assert slow["firstTokenMs"] > quick["firstTokenMs"]


def test_a_deployment_that_refuses_every_call_gets_a_share_of_them_and_no_more(client):
    refused = 0
    for number in range(120):
        try:
            ask(client, "refused", f"question {number}")
        except openai.NotFoundError:
            refused += 1
    assert refused <= 30, "a tenth, and what chance adds"


@pytest.mark.parametrize("stream", [False, True])
def test_the_speed_of_a_deployment_that_reports_no_usage_is_learned(routed, client, marker, stream):
    def samples():
        route = next(route for route in routed.admin("/api/routes")["items"] if route["name"] == "uncounted")
        return sum(deployment["samples"] for deployment in route["deployments"])

    before = samples()
    for number in range(4):
        messages = [{"role": "user", "content": f"no-usage id:{marker}-{number} hello"}]
        answer = client.chat.completions.create(model="uncounted", messages=messages, stream=stream)
        if stream:
            assert any(chunk.choices for chunk in answer)
    wait_for(lambda: samples() > before + 2, "the speed being learned", 10)


def test_a_call_may_ask_for_another_strategy(routed, client):
    who, headers = ask(client, "cheap", headers={"x-tollgate-strategy": "primary"})
    assert who == "quick/sandbox-large"
    assert entry(routed, headers)["decision"]["strategy"] == "primary"


@pytest.mark.parametrize("word", ["learned", "experiment", "cheapest", "Primary"])
def test_a_strategy_that_is_not_served_is_refused_with_those_that_are(client, word):
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, "cheap", headers={"x-tollgate-strategy": word})
    told = refused.value.response.json()["error"]
    assert told["param"] == "x-tollgate-strategy"
    assert "cost-optimized" in told["message"] and word in told["message"]
    assert ("not served by this version yet" in told["message"]) == (word in ("learned", "experiment"))


# What a call needs


def test_who_takes_no_tools_is_passed_over_and_the_entry_says_so(routed, client, marker):
    who, headers = ask(client, "able", f"id:{marker}", tools=[TOOL])
    assert who == "openai/gpt-4o-mini"
    assert headers["x-tollgate-attempts"] == "1"
    decision = entry(routed, headers)["decision"]
    assert decision["reason"] == "only"
    out = decision["candidates"][1]
    assert (out["deployment"], out["excluded"], out["excludedText"]) == ("openai/gpt-5-chat", "tools", "it takes no tools")
    assert ask(client, "able", f"id:{marker} again")[0] == "openai/gpt-5-chat", "without tools it is the first"


def test_when_nobody_can_take_the_call_the_refusal_names_what_is_missing(client, upstream, marker):
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, "toolless", f"id:{marker}", tools=[TOOL])
    told = refused.value.response.json()["error"]
    assert told["code"] == "no_deployment_fits"
    assert "openai/gpt-5-chat: it takes no tools" in told["message"]
    assert upstream.account(marker) == [], "nobody was asked"


def test_a_refusal_says_in_its_entry_how_it_came_to_that(routed, client):
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, "toolless", tools=[TOOL])
    refusal = entry(routed, refused.value.response.headers)
    assert (refusal["error"], refusal["attempts"]) == ("no_deployment_fits", [])
    decision = refusal["decision"]
    assert (decision["reason"], decision["chosen"]) == ("none-fits", None)
    assert decision["candidates"][0]["excluded"] == "tools"


@pytest.mark.parametrize("durability", ["strict", "relaxed"])
def test_a_call_can_be_read_by_whoever_was_told_how_it_ended(tmp_path, upstream, durability):
    running = Gateway(tmp_path, upstream, f'{SETTINGS}[ledger]\ndurability = "{durability}"\n')
    client = openai.OpenAI(base_url=f"{running.url}/v1", api_key=running.key, max_retries=0)

    def end(number):
        """A call that is answered, or refused before anybody is asked: its key reads of it at that moment what it was told."""
        if number % 2:
            status, (_, headers) = "settled", ask(client, "cheap")
        else:
            with pytest.raises(openai.BadRequestError) as refused:
                ask(client, "toolless", tools=[TOOL])
            status, headers = "failed", refused.value.response.headers
        request = headers["x-request-id"]
        listed = get_json(f"{running.url}/api/requests?q={request}", running.key)["items"]
        assert [each["status"] for each in listed] == [status]
        assert get_json(f"{running.url}/api/requests/{request}", running.key)["status"] == status

    try:
        for number in range(20):
            end(number)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(end, range(80)))
    finally:
        client.close()
        running.stop()


def test_who_writes_less_than_the_call_asks_for_is_passed_over(routed, client, marker):
    assert ask(client, "longer", f"id:{marker}", max_tokens=4096)[0] == "openai/gpt-3.5-turbo"
    who, headers = ask(client, "longer", f"id:{marker} more", max_tokens=4097)
    out = entry(routed, headers)["decision"]["candidates"][1]
    assert (who, out["excluded"]) == ("openai/gpt-4o-mini", "output")
    assert out["excludedText"] == "it writes at most 4096 tokens and the call asks for 4097"


def test_a_model_that_the_call_names_itself_is_asked_all_the_same(client, marker):
    assert ask(client, "openai/gpt-5-chat", f"id:{marker}", tools=[TOOL])[0] == "openai/gpt-5-chat"


def test_a_key_gets_of_a_route_what_it_may_use(routed):
    made = routed.admin("/api/keys", "POST", {"name": "only-large", "allowedModels": ["sandbox-large"]})
    with openai.OpenAI(base_url=f"{routed.url}/v1", api_key=made["key"], max_retries=0) as client:
        who, headers = ask(client, "cheap")
        assert who == "quick/sandbox-large"
        excluded = [candidate["excluded"] for candidate in entry(routed, headers)["decision"]["candidates"]]
        assert excluded == [None, "not-allowed", "not-allowed"]
        with pytest.raises(openai.PermissionDeniedError):
            ask(client, "talk")
    told = explain(routed, "talk", key="only-large")
    assert (told["chosen"], told["refusal"]["code"]) == (None, "model_not_allowed")


# Operations


def test_auto_is_the_route_of_the_operation(routed, client):
    who, headers = ask(client, "auto", headers={"x-tollgate-operation": "review-code"})
    assert who == "quick/sandbox-large"
    row = entry(routed, headers)
    assert (row["requestedModel"], row["operation"], row["decision"]["route"]) == ("auto", "review-code", "reviews")
    groups = routed.admin("/api/costs?groupBy=operation")["groups"]
    assert any(group["key"] == "review-code" and Decimal(group["costUsd"]) > 0 for group in groups)
    shipped = explain(routed, "auto", operation="chat")
    assert shipped["strategy"] == "cost-optimized"
    assert {candidate["model"] for candidate in shipped["candidates"]} == {"gpt-5-mini", "claude-haiku-4-5"}
    names = [model.id for model in client.models.list()]
    assert "auto" in names
    routes = routed.admin("/api/routes")["items"]
    assert next(route for route in routes if route["name"] == "reviews")["operations"] == ["review-code"]
    assert {route["configured"] for route in routes if route["name"] == "auto"} == {False}


# Explanations


def test_an_explanation_calls_nobody_and_agrees_with_what_then_happens(routed, client, upstream, marker):
    body = {"messages": [{"role": "user", "content": f"id:{marker}"}], "tools": [TOOL]}
    told = explain(routed, "able", body)
    assert (told["chosen"], told["order"], told["refusal"]) == ("openai/gpt-4o-mini", ["openai/gpt-4o-mini"], None)
    assert upstream.account(marker) == []
    assert ask(client, "able", **body)[0] == told["chosen"]
    told = explain(routed, "toolless", body)
    assert told["refusal"]["status"] == 400 and told["refusal"]["code"] == "no_deployment_fits"
    assert told["candidates"][0]["excludedText"] == "it takes no tools"
    named = explain(routed, "openai/gpt-4o-mini")
    assert (named["reason"], named["chosen"]) == ("named", "openai/gpt-4o-mini")


def test_an_explanation_names_those_that_no_attempt_is_left_for(routed, client, marker):
    told = explain(routed, "many", {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 10})
    assert (told["order"], told["unasked"]) == (["dead-openai/gpt-4", "dead-openai/gpt-4-turbo"], ["openai/gpt-4o-mini"])
    assert told["hedge"]["reason"] is None, "of a route without calls the first may be hedged, where all may"
    with pytest.raises(openai.APIError):
        ask(client, "many", f"id:{marker}")


def test_every_place_says_the_same_of_a_circuit(routed, client, marker):
    for _ in range(5):
        with pytest.raises(openai.APIError):
            ask(client, "dead-openai/gpt-4.1", f"id:{marker}")

    def shown():
        route = next(item for item in routed.admin("/api/routes")["items"] if item["name"] == "broken")
        candidate = explain(routed, "broken")["candidates"]
        dead = next(each for each in candidate if each["provider"] == "dead-openai")
        return route["deployments"][0]["circuit"], dead["circuitOpen"]

    assert shown() == ("open", True)
    wait_for(lambda: shown() == ("half-open", False), "the circuit to be half-open", 10)


@pytest.mark.parametrize(
    "path, body, status",
    [
        ("/api/routes/cheap/explain?strategy=learned", None, 400),
        ("/api/routes/cheap/explain?endpoint=images", None, 400),
        ("/api/routes/cheap/explain?key=nobody", None, 400),
        ("/api/routes/cheap/explain?more=1", None, 400),
        ("/api/routes/cheap/explain", b"[1]", 400),
        ("/api/routes/cheap/explain", b'{"n":0}', 400),
    ],
)
def test_an_explanation_that_makes_no_sense_is_refused(routed, path, body, status):
    headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
    request = urllib.request.Request(f"{routed.url}{path}", data=body, headers=headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert refused.value.code == status, refused.value.read()
    with pytest.raises(AssertionError, match="401|403"):
        get_json(f"{routed.url}/api/routes", routed.key)


# Prompt caches

FILLER = "These are the rules of the house, and there are many of them. " * 120


def prompt_cache(routed, name):
    return routed.admin(f"/api/routes/{urllib.parse.quote(name, safe='')}/prompt-cache")


def ask_and_learn(routed, client, model, messages):
    """Asks and waits until the turn is learned from, which happens behind the answer."""

    def learned():
        return sum(key["calls"] for key in prompt_cache(routed, model)["keys"])

    before = learned()
    answer = ask(client, model, messages=messages)
    wait_for(lambda: learned() > before, "the turn being learned from", 10)
    return answer


def turn(routed, client, marker, system, usages, model="talk"):
    """The last turn of a conversation whose turns used this much, one after another."""
    messages = [{"role": "system", "content": f"{FILLER}{system}"}]
    for number, usage in enumerate(usages):
        messages += [{"role": "assistant", "content": "yes"}] if number else []
        messages.append({"role": "user", "content": f"id:{marker} usage:{usage} turn {number}"})
    return ask_and_learn(routed, client, model, messages)


def test_reads_of_the_prompt_cache_are_counted_against_what_was_expected(routed, client, marker):
    # As OpenAI counts: in steps of 128.
    usages = ["in=2000,out=9", "in=140,read=1920,out=9", "in=90,read=2048,out=9"]
    for turns in range(3):
        who, headers = turn(routed, client, marker, "", usages[: turns + 1])
        assert who == "openai/gpt-4o-mini"
    told = prompt_cache(routed, "talk")
    key = told["keys"][0]
    assert (key["key"], key["calls"], key["cacheReadTokens"], key["lostUsd"]) == ("sdk", 3, 1920 + 2048, "0")
    assert key["expectedCacheReadTokens"] == key["cacheReadTokens"], "what is rounded off is no loss"
    assert told["findings"] == []


def test_what_stands_behind_the_mark_for_anthropic_is_not_expected_to_be_read(routed, marker):
    mark = {"type": "ephemeral"}
    body = {"model": "anthropic/claude-haiku-4-5", "max_tokens": 400, "messages": []}
    body["system"] = [{"type": "text", "text": FILLER, "cache_control": mark}]
    for number, usage in enumerate(["in=900,write5m=5001,out=9", "in=1900,read=5001,out=9", "in=2900,read=5001,out=9"]):
        body["messages"] += [{"role": "assistant", "content": "yes"}] if number else []
        body["messages"].append({"role": "user", "content": f"id:{marker} usage:{usage} turn {number} {FILLER}"})
        get_json(f"{routed.url}/v1/messages", routed.key, "POST", body, {"anthropic-version": "2023-06-01"})
    told = routed.admin(f"/api/routes/{urllib.parse.quote('anthropic/claude-haiku-4-5', safe='')}/prompt-cache")
    (key,) = told["keys"]
    assert (key["expectedCacheReadTokens"], key["cacheReadTokens"], key["lostUsd"]) == (10_002, 10_002, "0")
    assert told["findings"] == []


def test_a_conversation_stays_where_its_prompt_cache_is_after_a_fallback(routed, client, marker):
    messages = [{"role": "system", "content": FILLER}, {"role": "user", "content": f"id:{marker} usage:in=2000,out=9 turn 0"}]
    first, headers = ask_and_learn(routed, client, "lame", messages)
    assert (first, headers["x-tollgate-attempts"]) == ("openai/gpt-4o-mini", "2"), "the first of the route is dead"
    messages += [{"role": "assistant", "content": "yes"}, {"role": "user", "content": f"id:{marker} usage:in=2100,out=9 more"}]
    again, headers = ask(client, "lame", messages=messages)
    assert (again, headers["x-tollgate-attempts"]) == (first, "1"), "nobody tries the dead one again for it"
    decision = entry(routed, headers)["decision"]
    assert (decision["reason"], decision["chosen"]) == ("conversation", first)
    other, headers = ask(client, "lame", messages=[{"role": "user", "content": f"id:{marker} {FILLER} another"}])
    assert headers["x-tollgate-attempts"] == "2", "another conversation begins at the beginning"


def test_the_doctor_names_the_byte_that_broke_the_cache_and_what_it_cost(routed, client, marker):
    turn(routed, client, marker, "It is 10:00.", ["in=2000,out=9"], model="openai/gpt-4o-mini")
    _, headers = turn(routed, client, marker, "It is 10:01.", ["in=2000,out=9", "in=2100,out=9"], model="openai/gpt-4o-mini")
    told = prompt_cache(routed, "openai/gpt-4o-mini")
    finding = told["findings"][0]
    assert finding["requestId"] == headers["x-tollgate-request-id"]
    assert (finding["cause"], finding["place"]) == ("changed", "messages[0]")
    # Contents are written once a second.
    kept = wait_for(lambda: entry(routed, headers)["content"], "the body being kept", 10)["request"]["text"]
    assert finding["bodyOffset"] == kept.index("It is 10:01.") + len("It is 10:0")
    assert kept.encode()[finding["bodyOffset"]] == ord("1")
    assert "10:00" in finding["before"] and "10:01" in finding["after"]
    assert finding["lostTokens"] == 1920
    # $0.15 a million instead of $0.075.
    assert Decimal(finding["lostUsd"]) == Decimal("0.000144")
    assert Decimal(told["keys"][0]["lostUsd"]) == Decimal("0.000144")


def test_routes_and_decisions_survive_a_damaged_body(routed):
    """A sample that is no JSON says so, and nothing else happens."""
    headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
    request = urllib.request.Request(f"{routed.url}/api/routes/cheap/explain", data=b"{", headers=headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert json.loads(refused.value.read())["code"] == "invalid_json"
