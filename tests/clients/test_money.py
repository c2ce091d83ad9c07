"""What the calls of the SDKs cost: every amount is worked out by hand here, in whole picodollars (10⁻¹² USD).

A price of P USD per million tokens is P x 1,000,000 picodollars per token. Prices used below (input / cache read /
cache write 5 min / 1 h / output, per million): gpt-4o-mini 0.15 / 0.075 / - / - / 0.60; its priority tier 0.25 /
0.125 / - / - / 1; gpt-5-mini 0.25 / 0.025 / - / - / 2; gpt-5.4 2.50 / 0.25 / - / - / 15, above 272,000 input tokens
5 / 0.50 / - / - / 22.50; gpt-5.6-sol 4 / 0.40 / 5 / - / 20; claude-haiku-4-5 1 / 0.10 / 1.25 / 2 / 5;
compat/qwen3-coder as the test's own file says, 0.20 in and 0.80 out.
"""

import json
from decimal import Decimal

import anthropic
import openai
import pytest

from books import SETTLE_SECONDS_MAX, all_rows, picodollars, settled_row, tokens, window
from conftest import get_json, wait_for

pytestmark = pytest.mark.gateway

STREAM_EVENTS_MAX = 1000
# At least 155,100,000 picodollars a call, so that 0.01 USD is spent long before.
BUDGET_CALLS_MAX = 100


def call_openai(client, model, marker, text, **options):
    return client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": f"id:{marker} {text}"}],
        extra_headers={"x-request-id": marker, **options.pop("headers", {})},
        **options,
    )


def call_anthropic(client, model, marker, text, **options):
    return client.messages.create(
        model=model,
        max_tokens=options.pop("max_tokens", 200),
        messages=[{"role": "user", "content": f"id:{marker} {text}"}],
        extra_headers={"x-request-id": marker},
        **options,
    )


def check_exact(gateway, marker, expected_tokens, expected_picodollars):
    row = settled_row(gateway, marker)
    assert tokens(row) == expected_tokens
    assert picodollars(row["cost_usd"]) == expected_picodollars
    assert (row["status"], row["cost_basis"], row["error"]) == ("settled", "exact", "")
    return row


# Exact costs


def test_an_openai_call_is_booked_to_the_picodollar(openai_client, gateway, marker):
    call_openai(openai_client, "openai/gpt-4o-mini", marker, "fixture:openai_chat.json")
    # 476 x 150,000 = 71,400,000; 1024 x 75,000 = 76,800,000; 12 x 600,000 = 7,200,000
    row = check_exact(gateway, marker, (476, 1024, 0, 12), 155_400_000)
    assert row["provider"] == "openai"
    assert row["model"].startswith("gpt-4o-mini")
    assert row["requested_model"] == "openai/gpt-4o-mini"
    assert (row["cache"], row["attempts"], row["stream"]) == ("miss", "1", "false")


def test_an_anthropic_call_is_booked_to_the_picodollar(anthropic_client, gateway, marker):
    call_anthropic(anthropic_client, "anthropic/claude-haiku-4-5", marker, "fixture:anthropic_message.json")
    # 12 x 1,000,000 = 12,000,000; 2048 x 100,000 = 204,800,000; 512 x 1,250,000 = 640,000,000;
    # 1024 x 2,000,000 = 2,048,000,000; 14 x 5,000,000 = 70,000,000
    check_exact(gateway, marker, (12, 2048, 1536, 14), 2_974_800_000)


def test_reasoning_is_a_part_of_the_output_and_not_added(openai_client, gateway, marker):
    call_openai(openai_client, "openai/gpt-5-mini", marker, "fixture:openai_chat_reasoning.json")
    # 30 x 250,000 = 7,500,000; 210 x 2,000,000 = 420,000,000
    row = check_exact(gateway, marker, (30, 0, 0, 210), 427_500_000)
    assert row["reasoning_tokens"] == "192"


def test_openai_cache_writes_are_priced_as_writes(openai_client, gateway, marker):
    call_openai(openai_client, "openai/gpt-5.6-sol", marker, "fixture:openai_chat_cache_write.json")
    # 200 x 4,000,000 = 800,000,000; 1000 x 400,000 = 400,000,000; 1800 x 5,000,000 = 9,000,000,000;
    # 5 x 20,000,000 = 100,000,000
    check_exact(gateway, marker, (200, 1000, 1800, 5), 10_300_000_000)


@pytest.mark.parametrize("asked", [True, False], ids=["usage_asked", "usage_not_asked"])
def test_an_openai_stream_is_booked_exactly_whether_or_not_the_client_asks(openai_client, gateway, marker, asked):
    options = {"stream_options": {"include_usage": True}} if asked else {}
    stream = call_openai(
        openai_client, "openai/gpt-4o-mini", marker, "fixture:openai_stream_usage.sse", stream=True, **options
    )
    assert len(list(stream)) < STREAM_EVENTS_MAX
    # 476 x 150,000 = 71,400,000; 1024 x 75,000 = 76,800,000; 6 x 600,000 = 3,600,000
    row = check_exact(gateway, marker, (476, 1024, 0, 6), 151_800_000)
    assert row["stream"] == "true"
    assert int(row["time_to_first_token_ms"]) <= int(row["latency_ms"])


def test_an_anthropic_stream_takes_the_last_count_and_does_not_add(anthropic_client, gateway, marker):
    events = list(
        call_anthropic(
            anthropic_client, "anthropic/claude-haiku-4-5", marker, "fixture:anthropic_stream.sse", stream=True
        )
    )
    assert events[-1].type == "message_stop"
    # 25 x 1,000,000 = 25,000,000; 2048 x 100,000 = 204,800,000; 9 x 5,000,000 = 45,000,000
    check_exact(gateway, marker, (25, 2048, 0, 9), 274_800_000)


def test_repeated_input_counts_of_a_thinking_stream_replace_the_first_ones(anthropic_client, gateway, marker):
    stream = call_anthropic(
        anthropic_client,
        "anthropic/claude-haiku-4-5",
        marker,
        "fixture:anthropic_stream_thinking.sse",
        max_tokens=2000,
        thinking={"type": "enabled", "budget_tokens": 1024},
        stream=True,
    )
    assert len(list(stream)) < STREAM_EVENTS_MAX
    # 60 x 1,000,000 = 60,000,000; 48 x 5,000,000 = 240,000,000
    row = check_exact(gateway, marker, (60, 0, 0, 48), 300_000_000)
    assert row["reasoning_tokens"] == "40"


def test_the_tier_that_the_answer_names_is_the_one_billed(openai_client, gateway, marker):
    call_openai(openai_client, "openai/gpt-4o-mini", marker, "tier:priority usage:in=1000,read=100,out=10 hello")
    # 1000 x 250,000 = 250,000,000; 100 x 125,000 = 12,500,000; 10 x 1,000,000 = 10,000,000
    check_exact(gateway, marker, (1000, 100, 0, 10), 272_500_000)


@pytest.mark.parametrize(
    ("read", "cost"),
    [
        # 172,000 x 2,500,000 = 430,000,000,000; 100,000 x 250,000 = 25,000,000,000; 10 x 15,000,000 = 150,000,000
        (100_000, 455_150_000_000),
        # One more cached token, and the whole request is dearer:
        # 172,000 x 5,000,000 = 860,000,000,000; 100,001 x 500,000 = 50,000,500,000; 10 x 22,500,000 = 225,000,000
        (100_001, 910_225_500_000),
    ],
    ids=["at_the_limit", "above_it"],
)
def test_a_long_context_reprices_the_whole_request(openai_client, gateway, marker, read, cost):
    call_openai(openai_client, "openai/gpt-5.4", marker, f"usage:in=172000,read={read},out=10 hello")
    check_exact(gateway, marker, (172_000, read, 0, 10), cost)


def test_a_price_from_the_file_is_used(openai_client, gateway, marker):
    call_openai(openai_client, "compat/qwen3-coder", marker, "usage:in=1001,out=77 hello")
    # 1001 x 200,000 = 200,200,000; 77 x 800,000 = 61,600,000
    check_exact(gateway, marker, (1001, 0, 0, 77), 261_800_000)


# Costs without a clean report


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_missing_usage_is_estimated_and_never_zero(openai_client, gateway, marker, stream):
    answer = call_openai(
        openai_client, "openai/gpt-4o-mini", marker, "no-usage echo:one two three four five six", stream=stream
    )
    if stream:
        assert len(list(answer)) < STREAM_EVENTS_MAX
    row = settled_row(gateway, marker)
    assert (row["status"], row["cost_basis"]) == ("settled", "estimated")
    # Six words are at least six tokens, in and out: 6 x 150,000 + 6 x 600,000
    assert tokens(row)[0] >= 6 and tokens(row)[3] >= 6
    assert picodollars(row["cost_usd"]) >= 4_500_000


def test_the_same_words_without_usage_cost_the_same_whole_and_streamed(openai_client, gateway, marker):
    booked = []
    for stream in (False, True):
        name = f"{marker}-{stream}"
        answer = call_openai(openai_client, "openai/gpt-4o-mini", name, "no-usage echo:one two three four", stream=stream)
        if stream:
            list(answer)
        booked.append(tokens(settled_row(gateway, name)))
    whole, streamed = (row[3] for row in booked)
    # Eighteen letters, in four words.
    assert whole == 6 and 4 <= streamed <= whole, booked


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_translated_answer_without_usage_tells_what_is_booked(anthropic_client, gateway, marker, stream):
    options = {"model": "openai/gpt-4o-mini", "max_tokens": 100, "extra_headers": {"x-request-id": marker}}
    options["messages"] = [{"role": "user", "content": f"id:{marker} no-usage echo:one two three four"}]
    if stream:
        with anthropic_client.messages.stream(**options) as events:
            usage = events.get_final_message().usage
    else:
        usage = anthropic_client.messages.create(**options).usage
    row = settled_row(gateway, marker)
    assert (usage.input_tokens, usage.output_tokens) == (tokens(row)[0], tokens(row)[3])
    assert usage.input_tokens > 10


def test_usage_below_zero_never_gives_money_back(openai_client, gateway, marker):
    call_openai(openai_client, "openai/gpt-4o-mini", marker, "negative-usage echo:one two three")
    row = settled_row(gateway, marker)
    assert min(tokens(row)) >= 0
    assert picodollars(row["cost_usd"]) >= 0
    assert row["cost_basis"] != "exact"


def test_a_stream_that_breaks_is_billed_for_what_arrived(anthropic_client, gateway, faulty, marker):
    stream = call_anthropic(
        anthropic_client,
        faulty("anthropic", "claude-haiku-4-5"),
        marker,
        "fixture:anthropic_stream_error.sse",
        stream=True,
    )
    with pytest.raises(anthropic.APIStatusError):
        list(stream)
    row = settled_row(gateway, marker)
    assert (row["status"], row["cost_basis"]) == ("settled", "estimated")
    assert tokens(row)[:2] == (25, 2048)
    # 25 x 1,000,000 + 2048 x 100,000 = 229,800,000; at least one token of text, at most a handful at 5,000,000
    assert 234_800_000 <= picodollars(row["cost_usd"]) <= 279_800_000
    assert row["error"]


def test_a_client_that_hangs_up_is_billed_in_full_while_draining_is_cheap(openai_client, gateway, upstream, marker):
    stream = call_openai(
        openai_client,
        "openai/gpt-4o-mini",
        marker,
        "drip:30ms usage:in=1000,out=10 echo:one two three four five six seven eight nine ten",
        stream=True,
    )
    next(stream)
    stream.close()
    # 1000 x 150,000 = 150,000,000; 10 x 600,000 = 6,000,000
    row = settled_row(gateway, marker)
    assert (row["cost_basis"], picodollars(row["cost_usd"])) == ("exact", 156_000_000)
    (entry,) = upstream.account(marker)
    assert entry["finished"]


def test_an_unpriced_model_says_so(openai_client, gateway, marker):
    call_openai(openai_client, "compat/model-without-a-price", marker, "hello")
    row = settled_row(gateway, marker)
    assert row["cost_basis"] == "unpriced"
    assert Decimal(row["cost_usd"] or "0") == 0
    # The marker and one word in, eight words out: counted although nobody knows their price.
    assert tokens(row) == (2, 0, 0, 8)


def test_a_call_that_failed_owes_nothing(openai_client, gateway, marker):
    with pytest.raises(openai.BadRequestError):
        call_openai(openai_client, "openai/gpt-4o-mini", marker, "fixture:openai_400.json")
    row = settled_row(gateway, marker)
    assert row["status"] == "failed"
    assert Decimal(row["cost_usd"] or "0") == 0
    assert row["error"]


# Attempts and the cache


def test_a_retried_call_is_one_row_with_its_attempts(openai_client, gateway, faulty, marker):
    text = "error:429;retry-after-ms=20;times=1 usage:in=100,out=10 hello"
    call_openai(openai_client, faulty("openai", "gpt-4o-mini"), marker, text)
    # 100 x 150,000 = 15,000,000; 10 x 600,000 = 6,000,000
    row = check_exact(gateway, marker, (100, 0, 0, 10), 21_000_000)
    assert row["attempts"] == "2"


def test_a_fallback_is_one_row_under_the_provider_that_answered(openai_client, gateway, marker):
    call_openai(openai_client, "resilient", marker, "usage:in=100,out=10 hello")
    row = check_exact(gateway, marker, (100, 0, 0, 10), 21_000_000)
    assert (row["provider"], row["requested_model"]) == ("openai", "resilient")


# Reports


def test_a_row_is_found_by_the_id_in_the_answers_header(openai_client, gateway, marker):
    raw = openai_client.chat.completions.with_raw_response.create(
        model="openai/gpt-4o-mini",
        messages=[{"role": "user", "content": f"id:{marker} usage:in=100,out=10 hello"}],
        extra_headers={"x-request-id": marker},
    )
    identity = raw.headers["x-tollgate-request-id"]
    assert settled_row(gateway, marker)["id"] == identity
    entry = gateway.admin(f"/api/requests/{identity}")
    assert (entry["id"], entry["clientRequestId"]) == (identity, marker)
    assert picodollars(entry["costUsd"]) == 21_000_000
    assert (entry["status"], entry["costBasis"]) == ("settled", "exact")


def test_a_virtual_key_reads_its_own_requests_only(openai_client, gateway, marker):
    call = openai_client.chat.completions.with_raw_response.create(
        model="openai/gpt-4o-mini", messages=[{"role": "user", "content": f"id:{marker} hello"}]
    )
    identity = call.headers["x-tollgate-request-id"]
    assert get_json(f"{gateway.url}/api/requests/{identity}", gateway.key)["id"] == identity
    other = gateway.admin("/api/keys", "POST", {"name": f"other-{marker}"})["key"]
    with pytest.raises(AssertionError, match=": 40[34] "):
        get_json(f"{gateway.url}/api/requests/{identity}", other)


def test_the_total_is_the_sum_of_the_rows(openai_client, gateway, marker):
    call_openai(openai_client, "openai/gpt-4o-mini", marker, "usage:in=123,out=45 hello")
    # 123 x 150,000 = 18,450,000; 45 x 600,000 = 27,000,000
    check_exact(gateway, marker, (123, 0, 0, 45), 45_450_000)

    def nothing_pending():
        report = gateway.admin(f"/api/costs?{window()}&groupBy=provider")
        return report if report["pendingCount"] == 0 else None

    report = wait_for(nothing_pending, "every call settling", SETTLE_SECONDS_MAX)
    rows = all_rows(gateway)
    total = sum(picodollars(row["cost_usd"] or "0") for row in rows)
    assert picodollars(report["totalUsd"]) == total
    assert sum(picodollars(group["costUsd"]) for group in report["groups"]) == total
    assert report["requests"] == len(rows) == sum(group["requests"] for group in report["groups"])
    assert picodollars(report["heldUsd"]) == 0


# Budgets


def spent_key(gateway, marker):
    """A key whose block budget cannot pay for a single token."""
    budget = {"window": "day", "limitUsd": "0.000000001", "action": "block"}
    return gateway.admin("/api/keys", "POST", {"name": f"poor-{marker}", "budgets": [budget]})["key"]


def test_a_spent_budget_is_insufficient_quota_for_openai(openai_options, gateway, upstream, marker):
    options = {**openai_options, "api_key": spent_key(gateway, marker), "max_retries": 2}
    with openai.OpenAI(**options) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            call_openai(client, "openai/gpt-4o-mini", marker, "hello")
    assert (caught.value.type, caught.value.code) == ("insufficient_quota", "budget_exceeded")
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert upstream.account(marker) == []


def test_a_spent_budget_is_payment_required_for_anthropic(anthropic_options, gateway, upstream, marker):
    options = {**anthropic_options, "api_key": spent_key(gateway, marker), "max_retries": 2}
    with anthropic.Anthropic(**options) as client:
        with pytest.raises(anthropic.PaymentRequiredError) as caught:
            call_anthropic(client, "anthropic/claude-haiku-4-5", marker, "hello")
    assert caught.value.type == "billing_error"
    assert upstream.account(marker) == []


def test_a_block_budget_is_never_exceeded(openai_options, gateway, upstream, marker):
    budget = {"window": "day", "limitUsd": "0.01", "action": "block"}
    created = gateway.admin("/api/keys", "POST", {"name": f"capped-{marker}", "budgets": [budget]})
    answered = 0
    with openai.OpenAI(**{**openai_options, "api_key": created["key"]}) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            for number in range(BUDGET_CALLS_MAX):
                text = f"usage:in=10,out=5000 call {number}"
                client.chat.completions.create(
                    model="openai/gpt-4o-mini",
                    messages=[{"role": "user", "content": f"id:{marker} {text}"}],
                    max_tokens=500,
                )
                answered += 1
    assert caught.value.code == "budget_exceeded"
    entries = upstream.account(marker)
    assert 1 <= answered == len(entries)
    # The model would go on for 5,000 tokens: only the cap that reaches the provider holds it.
    assert all(json.loads(upstream.request(entry)[1])["max_tokens"] <= 500 for entry in entries)
    # The provider's own account at 150,000 in and 600,000 out, against 0.01 USD.
    spent = sum(entry["usage"]["input"] * 150_000 + entry["usage"]["output"] * 600_000 for entry in entries)
    assert spent <= 10_000_000_000
    rows = [row for row in all_rows(gateway) if row["key"] in (created["id"], created["name"])]
    assert sum(picodollars(row["cost_usd"] or "0") for row in rows) == spent


def test_a_call_without_a_limit_gets_one_where_a_budget_blocks(openai_options, gateway, upstream, marker):
    budget = {"window": "day", "limitUsd": "5", "action": "block"}
    created = gateway.admin("/api/keys", "POST", {"name": f"unlimited-{marker}", "budgets": [budget]})
    with openai.OpenAI(**{**openai_options, "api_key": created["key"]}) as client:
        call_openai(client, "openai/gpt-4o-mini", marker, "hello")
    (entry,) = upstream.account(marker)
    sent = json.loads(upstream.request(entry)[1])
    assert sent.get("max_completion_tokens", sent.get("max_tokens")) == 4096


def test_an_answer_tells_what_is_left_under_the_tightest_budget(openai_options, gateway, marker):
    budgets = [
        {"window": "day", "limitUsd": "1", "action": "block"},
        {"window": "month", "limitUsd": "0.5", "action": "alert"},
    ]
    made = gateway.admin("/api/keys", "POST", {"name": f"left-{marker}", "budgets": budgets})
    with openai.OpenAI(**{**openai_options, "api_key": made["key"]}) as client:
        raw = client.chat.completions.with_raw_response
        first = call_raw(raw, "openai/gpt-4o-mini", marker)
        cost = Decimal(first.headers["x-tollgate-cost-usd"])
        assert cost > 0
        assert Decimal(first.headers["x-tollgate-budget-remaining-usd"]) == Decimal("0.5") - cost
        streamed = call_raw(raw, "openai/gpt-4o-mini", marker, stream=True, max_tokens=10)
        left = Decimal(streamed.headers["x-tollgate-budget-remaining-usd"])
        assert Decimal("0.4") < left < Decimal("0.5") - cost, "what is held for the stream counts"
    with openai.OpenAI(**openai_options) as client:
        free = call_raw(client.chat.completions.with_raw_response, "openai/gpt-4o-mini", marker)
        assert "x-tollgate-budget-remaining-usd" not in free.headers, "no budget applies"


def call_raw(raw, model, marker, **options):
    return raw.create(model=model, messages=[{"role": "user", "content": f"id:{marker} left"}], **options)
