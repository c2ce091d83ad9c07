"""How much a key may do in a minute and at once: refused in the shape of the dialect, with a true time to come back."""

import concurrent.futures
import time

import anthropic
import openai
import pytest

pytestmark = pytest.mark.gateway

MODELS = {"openai": "openai/gpt-4o-mini", "anthropic": "anthropic/claude-haiku-4-5"}


def limited_key(gateway, marker, **limits):
    """A key with limits of its own."""
    return gateway.admin("/api/keys", "POST", {"name": f"limited-{marker}", "limits": limits})


def ask(gateway, key, dialect, text="hello", **options):
    """One call by the SDK of a dialect, without its own retries."""
    messages = [{"role": "user", "content": text}]
    if dialect == "openai":
        with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0, timeout=60) as client:
            return client.chat.completions.create(model=MODELS[dialect], messages=messages, **options)
    with anthropic.Anthropic(base_url=gateway.url, api_key=key, max_retries=0, timeout=60) as client:
        return client.messages.create(model=MODELS[dialect], messages=messages, max_tokens=10, **options)


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_calls_of_a_minute_are_limited(gateway, upstream, marker, dialect):
    made = limited_key(gateway, marker, requestsPerMinute=30)
    began = time.monotonic()
    for _ in range(30):
        ask(gateway, made["key"], dialect, f"id:{marker}")
    error = openai.RateLimitError if dialect == "openai" else anthropic.RateLimitError
    with pytest.raises(error) as refused:
        for _ in range(30):
            ask(gateway, made["key"], dialect, f"id:{marker}")
    answer = refused.value.response
    told = answer.json()["error"]
    assert told["type"] == "rate_limit_error"
    assert "30 calls a minute" in told["message"]
    if dialect == "openai":
        assert told["code"] == "rate_limit_exceeded"
    # A call each two seconds: who waits as long as told goes.
    wait = int(answer.headers["retry-after-ms"]) / 1000
    assert 0 < wait <= 2
    assert int(answer.headers["retry-after"]) == 1 if wait <= 1 else 2
    time.sleep(wait)
    ask(gateway, made["key"], dialect, f"id:{marker}")
    sent = len(upstream.account(marker))
    assert sent <= 31 + (time.monotonic() - began) / 2, "nothing more went to the provider"
    entry = gateway.admin(f"/api/requests/{answer.headers['x-tollgate-request-id']}")
    assert (entry["status"], entry["error"], entry["httpStatus"]) == ("failed", "rate_limit_exceeded", 429)
    assert (entry["costUsd"], entry["attemptCount"]) == ("0", 0)


def test_the_sdk_waits_and_tries_again_by_itself(gateway, marker):
    made = limited_key(gateway, marker, requestsPerMinute=60)
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=made["key"], max_retries=3, timeout=60) as client:
        for _ in range(62):
            client.chat.completions.create(model=MODELS["openai"], messages=[{"role": "user", "content": marker}])


def test_tokens_of_a_minute_are_limited_and_corrected_by_usage(gateway, marker):
    made = limited_key(gateway, marker, tokensPerMinute=5000)
    # Estimated at four thousand each, but the answers are short: without the correction the second would be refused.
    for _ in range(3):
        ask(gateway, made["key"], "openai", f"id:{marker}", max_tokens=4000)
    with pytest.raises(openai.RateLimitError) as refused:
        ask(gateway, made["key"], "openai", "word " * 20_000, max_tokens=4000)
        ask(gateway, made["key"], "openai", "word " * 20_000, max_tokens=4000)
    assert "5000 tokens a minute" in refused.value.response.json()["error"]["message"]


def test_calls_at_once_are_limited_and_their_places_come_free(gateway, marker):
    made = limited_key(gateway, marker, concurrentRequests=2)

    def one(_):
        try:
            ask(gateway, made["key"], "openai", f"slow:2s id:{marker}")
        except openai.RateLimitError as refused:
            return refused.response.json()["error"]["code"]
        return "answered"

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(one, range(8)))
    assert outcomes.count("answered") >= 2
    assert outcomes.count("rate_limit_exceeded") >= 1
    assert one(None) == "answered", "all places are free again"
