"""The official Anthropic SDK, unmodified."""

import asyncio
import base64
import json
import time
from decimal import Decimal

import anthropic
import pydantic
import pytest

from conftest import NEW_VERSION, OLD_VERSION, WIRE

ANSWER = "The answer is café 😀."
FIXTURE_TEXT = "Paris is the capital of France. é✓"
TOOLS = [
    {
        "name": "get_weather",
        "description": "Weather of a city",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}, "unit": {"type": "string"}}},
    },
    {"name": "get_time", "input_schema": {"type": "object", "properties": {}}},
]
CALLS = [("toolu_01FixA", "get_weather", {"city": "Paris", "unit": "celsius"}), ("toolu_01FixB", "get_time", {})]
STREAM_EVENTS_MAX = 1000


class City(pydantic.BaseModel):
    name: str
    inhabitants: int


def user(text):
    return [{"role": "user", "content": text}]


def haiku(gateway):
    return gateway.model("anthropic", "claude-haiku-4-5")


def ask(client, model, text, **options):
    return client.messages.create(model=model, max_tokens=200, messages=user(text), **options)


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def told(error):
    """What the server said, wherever this version of the SDK keeps it."""
    return error.body["error"]["message"]


def tool_uses_of(message):
    return [(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"]


def read_until_error(stream, error):
    """The text that arrived before the stream raised."""
    seen = []
    with pytest.raises(error) as caught:
        for event in stream:
            if event.type == "content_block_delta" and event.delta.type == "text_delta":
                seen.append(event.delta.text)
            assert len(seen) < STREAM_EVENTS_MAX
    return "".join(seen), caught.value


# Answers


def test_an_answer_arrives_with_its_usage(anthropic_client, gateway, marker):
    answer = ask(anthropic_client, haiku(gateway), f"id:{marker} fixture:anthropic_message.json")
    assert text_of(answer) == FIXTURE_TEXT
    assert answer.stop_reason == "end_turn"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (12, 14)
    assert (answer.usage.cache_read_input_tokens, answer.usage.cache_creation_input_tokens) == (2048, 1536)
    assert answer.usage.cache_creation.ephemeral_1h_input_tokens == 1024


def test_the_bytes_of_an_answer_come_back_as_the_provider_sent_them(anthropic_client, gateway, marker):
    raw = anthropic_client.messages.with_raw_response.create(
        model=haiku(gateway), max_tokens=200, messages=user(f"id:{marker} fixture:anthropic_message_tools.json")
    )
    assert raw.http_response.content == (WIRE / "anthropic_message_tools.json").read_bytes()


@pytest.mark.asyncio
async def test_concurrent_calls_each_get_their_own_answer(anthropic_options, gateway, marker):
    async with anthropic.AsyncAnthropic(**anthropic_options) as client:
        texts = [f"reply {number} to {marker}" for number in range(20)]
        answers = await asyncio.gather(*(ask(client, haiku(gateway), f"echo:{text}") for text in texts))
    assert [text_of(answer) for answer in answers] == texts


@pytest.mark.parametrize("pieces", ["", "split:1 ", "split:7 "], ids=["by_record", "by_byte", "by_seven_bytes"])
def test_streamed_text_is_exact_however_the_provider_cuts_it(anthropic_client, gateway, marker, pieces):
    with anthropic_client.messages.stream(
        model=haiku(gateway), max_tokens=200, messages=user(f"id:{marker} {pieces}fixture:anthropic_stream.sse")
    ) as stream:
        assert "".join(stream.text_stream) == ANSWER
        final = stream.get_final_message()
    assert (final.usage.input_tokens, final.usage.cache_read_input_tokens) == (25, 2048)
    assert final.usage.output_tokens == 9
    assert final.stop_reason == "end_turn"


@pytest.mark.asyncio
async def test_the_async_client_streams(anthropic_options, gateway, marker):
    async with anthropic.AsyncAnthropic(**anthropic_options) as client:
        async with client.messages.stream(
            model=haiku(gateway), max_tokens=200, messages=user(f"id:{marker} echo:Grüße, 東京 🗼")
        ) as stream:
            assert "".join([text async for text in stream.text_stream]) == "Grüße, 東京 🗼"


def test_the_bytes_of_a_stream_come_back_as_the_provider_sent_them(anthropic_client, gateway, marker):
    with anthropic_client.messages.with_streaming_response.create(
        model=haiku(gateway),
        max_tokens=2000,
        messages=user(f"id:{marker} fixture:anthropic_stream_thinking.sse"),
        stream=True,
    ) as response:
        received = b"".join(response.iter_bytes())
    assert received == (WIRE / "anthropic_stream_thinking.sse").read_bytes()


# Tools, thinking, structured output, images


def test_tool_uses_arrive_whole(anthropic_client, gateway, marker):
    answer = ask(anthropic_client, haiku(gateway), f"id:{marker} fixture:anthropic_message_tools.json", tools=TOOLS)
    assert answer.stop_reason == "tool_use"
    assert text_of(answer) == "I will check both."
    assert tool_uses_of(answer) == CALLS


def test_streamed_tool_uses_are_put_together(anthropic_client, gateway, marker):
    with anthropic_client.messages.stream(
        model=haiku(gateway),
        max_tokens=200,
        tools=TOOLS,
        messages=user(f"id:{marker} fixture:anthropic_stream_tools.sse"),
    ) as stream:
        answer = stream.get_final_message()
    assert answer.stop_reason == "tool_use"
    assert tool_uses_of(answer) == CALLS
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (472, 89)


def test_tool_results_go_back_in_the_next_turn(anthropic_client, gateway, marker):
    first = ask(anthropic_client, haiku(gateway), f"id:{marker} fixture:anthropic_message_tools.json", tools=TOOLS)
    results = [
        {"type": "tool_result", "tool_use_id": identity, "content": [{"type": "text", "text": "-"}]}
        for identity, _, _ in tool_uses_of(first)
    ]
    second = anthropic_client.messages.create(
        model=haiku(gateway),
        max_tokens=200,
        tools=TOOLS,
        messages=[
            {"role": "user", "content": "weather and time"},
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": results},
            {"role": "user", "content": f"id:{marker} echo:Sunny at noon."},
        ],
    )
    assert text_of(second) == "Sunny at noon."


def test_thinking_blocks_keep_their_signatures(anthropic_client, gateway, marker):
    with anthropic_client.messages.stream(
        model=haiku(gateway),
        max_tokens=2000,
        thinking={"type": "enabled", "budget_tokens": 1024},
        messages=user(f"id:{marker} fixture:anthropic_stream_thinking.sse"),
    ) as stream:
        answer = stream.get_final_message()
    thinking, redacted, text = answer.content
    assert (thinking.thinking, thinking.signature) == ("Two plus two is four.", "Rml4dHVyZVNpZ25hdHVyZQ==")
    assert redacted.data == "Rml4dHVyZVJlZGFjdGVk"
    assert text.text == "4"
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (60, 48)


def test_thinking_goes_back_to_the_provider_untouched(anthropic_client, gateway, upstream, marker):
    blocks = [
        {"type": "thinking", "thinking": "Two plus two is four.", "signature": "Rml4dHVyZVNpZ25hdHVyZQ=="},
        {"type": "redacted_thinking", "data": "Rml4dHVyZVJlZGFjdGVk"},
        {"type": "text", "text": "4"},
    ]
    anthropic_client.messages.create(
        model=haiku(gateway),
        max_tokens=2000,
        thinking={"type": "enabled", "budget_tokens": 1024},
        messages=[
            {"role": "user", "content": "2+2?"},
            {"role": "assistant", "content": blocks},
            {"role": "user", "content": f"id:{marker} and 3+3?"},
        ],
    )
    (entry,) = upstream.account(marker)
    assert json.loads(upstream.request(entry)[1])["messages"][1]["content"] == blocks


def test_cache_control_and_beta_headers_reach_the_provider(anthropic_client, gateway, upstream, marker):
    system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    block = {"type": "text", "text": f"id:{marker} hello", "cache_control": {"type": "ephemeral"}}
    anthropic_client.messages.create(
        model=haiku(gateway),
        max_tokens=200,
        system=system,
        messages=[{"role": "user", "content": [block]}],
        extra_headers={"anthropic-beta": "one-2026-01-01,two-2026-01-01"},
    )
    (entry,) = upstream.account(marker)
    headers, body = upstream.request(entry)
    assert json.loads(body)["system"] == system
    assert json.loads(body)["messages"][0]["content"] == [block]
    assert headers["anthropic-beta"].replace(" ", "") == "one-2026-01-01,two-2026-01-01"


def test_structured_output_is_parsed(anthropic_client, gateway, upstream, marker):
    answer = anthropic_client.messages.parse(
        model=haiku(gateway),
        max_tokens=200,
        messages=user(f'id:{marker} echo:{{"name":"Zürich","inhabitants":440000}}'),
        output_format=City,
    )
    assert answer.parsed_output == City(name="Zürich", inhabitants=440000)
    (entry,) = upstream.account(marker)
    assert json.loads(upstream.request(entry)[1])["output_config"]["format"]["type"] == "json_schema"


@pytest.mark.parametrize("prefixed", [True, False], ids=["prefixed_model", "bare_model"])
def test_a_request_with_an_image_reaches_the_provider_byte_for_byte(
    anthropic_client, gateway, upstream, marker, prefixed
):
    image = base64.b64encode(bytes(range(256)) * 400).decode()
    asked = haiku(gateway) if prefixed else "claude-haiku-4-5"
    raw = anthropic_client.messages.with_raw_response.create(
        model=asked,
        max_tokens=200,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": image}},
                    {"type": "text", "text": f"id:{marker} what is this? ü\u2028"},
                ],
            }
        ],
    )
    (entry,) = upstream.account(marker)
    _, body = upstream.request(entry)
    # The model's name is the one place that may differ: no budget applies.
    assert body == raw.http_request.content.replace(json.dumps(asked).encode(), b'"claude-haiku-4-5"', 1)
    assert len(body) > len(image)


# Versions and keys


@pytest.mark.parametrize("version", [OLD_VERSION, NEW_VERSION])
@pytest.mark.parametrize("key_header", ["authorization", "x-api-key"])
def test_both_versions_and_both_places_of_the_key_work(
    anthropic_options, gateway, upstream, marker, version, key_header
):
    headers = {"anthropic-version": version}
    if key_header == "x-api-key":
        headers |= {"Authorization": anthropic.Omit(), "x-api-key": gateway.key}
    with anthropic.Anthropic(**anthropic_options, default_headers=headers) as client:
        assert text_of(ask(client, haiku(gateway), f"id:{marker} echo:in")) == "in"
    (entry,) = upstream.account(marker)
    assert upstream.request(entry)[0]["anthropic-version"] == version


def test_the_old_version_still_takes_a_temperature(anthropic_options, gateway, upstream, marker):
    with anthropic.Anthropic(**anthropic_options, default_headers={"anthropic-version": OLD_VERSION}) as client:
        answer = ask(client, haiku(gateway), f"id:{marker} echo:warm", extra_body={"temperature": 0.5})
    assert text_of(answer) == "warm"
    (entry,) = upstream.account(marker)
    assert json.loads(upstream.request(entry)[1])["temperature"] == 0.5


@pytest.mark.parametrize(
    "field", [{"temperature": 1.0}, {"top_p": 1.0}, {"top_k": 5}], ids=lambda field: next(iter(field))
)
def test_the_new_version_refuses_every_sampling_parameter(anthropic_client, gateway, marker, field):
    with pytest.raises(anthropic.BadRequestError) as caught:
        headers = {"anthropic-version": NEW_VERSION}
        ask(anthropic_client, haiku(gateway), f"id:{marker} hello", extra_body=field, extra_headers=headers)
    assert next(iter(field)) in told(caught.value)


@pytest.mark.gateway
def test_two_different_keys_are_refused(anthropic_options, gateway, upstream, marker):
    with anthropic.Anthropic(**anthropic_options, default_headers={"x-api-key": "tg-another"}) as client:
        with pytest.raises(anthropic.AuthenticationError):
            ask(client, haiku(gateway), f"id:{marker} hello")
    assert upstream.account(marker) == []


# Other endpoints and headers


def test_models_are_listed_and_read_one_by_one(anthropic_client):
    listed = list(anthropic_client.models.list())
    assert listed and all(model.type == "model" and model.display_name for model in listed)
    assert anthropic_client.models.retrieve(listed[0].id).id == listed[0].id


@pytest.mark.gateway
def test_headers_say_who_answered_and_what_it_cost(anthropic_client, gateway, marker):
    raw = anthropic_client.messages.with_raw_response.create(
        model=haiku(gateway), max_tokens=200, messages=user(f"id:{marker} fixture:anthropic_message.json")
    )
    own = raw.headers["x-tollgate-request-id"]
    assert own and raw.headers["request-id"] == own and raw.headers["x-request-id"] == own
    assert raw.parse()._request_id == own
    assert raw.headers["x-tollgate-provider"] == "anthropic"
    assert raw.headers["x-tollgate-model"].startswith("claude-haiku-4-5")
    # (12 x 1 + 2048 x 0.1 + 512 x 1.25 + 1024 x 2 + 14 x 5) USD per million
    assert Decimal(raw.headers["x-tollgate-cost-usd"]) == Decimal("0.0029748")


@pytest.mark.gateway
def test_neither_the_virtual_key_nor_sdk_headers_reach_the_provider(anthropic_client, gateway, upstream, marker):
    ask(anthropic_client, haiku(gateway), f"id:{marker} hello")
    (entry,) = upstream.account(marker)
    headers, _ = upstream.request(entry)
    assert gateway.key not in json.dumps(headers)
    assert not [name for name in headers if name.startswith("x-stainless-")]
    assert "sk-upstream-test" in (headers.get("x-api-key"), headers.get("authorization", "").removeprefix("Bearer "))


# Refusals


def test_a_wrong_key_is_an_authentication_error(anthropic_options, gateway, marker):
    with anthropic.Anthropic(**{**anthropic_options, "api_key": "tg-wrong"}) as client:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            ask(client, haiku(gateway), f"id:{marker} hello")
    assert caught.value.type == "authentication_error"
    assert "tg-wrong" not in caught.value.response.text


def test_an_error_names_its_request_in_header_and_body(anthropic_client, gateway, marker):
    with pytest.raises(anthropic.NotFoundError) as caught:
        ask(anthropic_client, "no-such-model", f"id:{marker} hello")
    assert caught.value.type == "not_found_error"
    assert caught.value.request_id
    assert caught.value.body["request_id"] == caught.value.request_id


def test_the_providers_400_keeps_its_message(anthropic_client, gateway, upstream, marker):
    with pytest.raises(anthropic.BadRequestError) as caught:
        ask(anthropic_client, haiku(gateway), f"id:{marker} fixture:anthropic_400.json")
    assert caught.value.type == "invalid_request_error"
    assert "max_tokens: Field required" in told(caught.value)
    assert len(upstream.account(marker)) == 1


def test_one_rate_limit_is_waited_out(anthropic_options, faulty, upstream, marker):
    with anthropic.Anthropic(**{**anthropic_options, "max_retries": 2}) as client:
        text = f"id:{marker} error:429;retry-after-ms=20;times=1 echo:at last"
        assert text_of(ask(client, faulty("anthropic", "claude-haiku-4-5"), text)) == "at last"
    assert [entry["status"] for entry in upstream.account(marker)] == [429, 200]


def test_a_lasting_rate_limit_is_a_rate_limit_error(anthropic_options, faulty, upstream, marker):
    with anthropic.Anthropic(**{**anthropic_options, "max_retries": 2}) as client:
        with pytest.raises(anthropic.RateLimitError) as caught:
            ask(client, faulty("anthropic", "claude-haiku-4-5"), f"id:{marker} error:429;retry-after-ms=20")
    assert caught.value.type == "rate_limit_error"
    assert {"retry-after", "retry-after-ms"} & set(caught.value.response.headers)
    # The retries of gateway and SDK must not multiply.
    assert len(upstream.account(marker)) <= 3


@pytest.mark.parametrize(("status", "error"), [(500, anthropic.InternalServerError), (529, anthropic.OverloadedError)])
def test_a_providers_failure_keeps_its_class(anthropic_client, faulty, upstream, marker, status, error):
    with pytest.raises(error):
        ask(anthropic_client, faulty("anthropic", "claude-haiku-4-5"), f"id:{marker} error:{status}")
    assert 1 <= len(upstream.account(marker)) <= 3


@pytest.mark.gateway
def test_a_refused_provider_key_is_not_the_clients_fault(anthropic_client, gateway, marker):
    with pytest.raises(anthropic.InternalServerError) as caught:
        ask(anthropic_client, gateway.model("wrong-key-anthropic", "claude-haiku-4-5"), f"id:{marker} hello")
    assert "sk-not-the-key" not in caught.value.response.text


@pytest.mark.gateway
@pytest.mark.parametrize(
    "behaviour", ["html", "html:200", "garbage", "redirect", "reset", "cut"], ids=lambda text: text.replace(":", "_")
)
def test_a_broken_provider_is_a_server_error_of_the_dialect(anthropic_client, faulty, upstream, marker, behaviour):
    with pytest.raises(anthropic.InternalServerError) as caught:
        ask(anthropic_client, faulty("anthropic", "claude-haiku-4-5"), f"id:{marker} {behaviour}")
    body = caught.value.response.json()
    assert body["type"] == "error" and set(body["error"]) >= {"type", "message"}
    assert "/__redirected" not in upstream.paths()


@pytest.mark.gateway
def test_a_provider_that_hangs_is_a_gateway_timeout(anthropic_client, faulty, marker):
    started = time.monotonic()
    # The previous major has another name for the class of a 504.
    with pytest.raises(anthropic.InternalServerError) as caught:
        ask(anthropic_client, faulty("anthropic", "claude-haiku-4-5"), f"id:{marker} hang")
    assert caught.value.status_code == 504
    assert caught.value.type == "timeout_error"
    # Three attempts of half a second each, with their pauses.
    assert time.monotonic() - started < 8


# Streams that end badly


def test_an_error_in_a_stream_raises_after_the_text_before_it(anthropic_client, faulty, marker):
    stream = ask(
        anthropic_client,
        faulty("anthropic", "claude-haiku-4-5"),
        f"id:{marker} fixture:anthropic_stream_error.sse",
        stream=True,
    )
    text, error = read_until_error(stream, anthropic.APIStatusError)
    assert text == "Half"
    assert error.type == "overloaded_error"


@pytest.mark.gateway
@pytest.mark.parametrize("behaviour", ["cut:5", "truncate:5", "hang:5"])
def test_a_stream_without_its_end_raises_a_typed_error(anthropic_client, faulty, marker, behaviour):
    stream = ask(
        anthropic_client,
        faulty("anthropic", "claude-haiku-4-5"),
        f"id:{marker} {behaviour} echo:one two three four",
        stream=True,
    )
    text, error = read_until_error(stream, anthropic.APIStatusError)
    assert text == "one two"
    assert error.type in ("api_error", "timeout_error")


@pytest.mark.gateway
@pytest.mark.parametrize("behaviour", ["garbage", "endless-line"])
def test_a_stream_of_nonsense_never_passes_as_an_answer(anthropic_client, faulty, marker, behaviour):
    with pytest.raises(anthropic.APIStatusError):
        stream = ask(anthropic_client, faulty("anthropic", "claude-haiku-4-5"), f"id:{marker} {behaviour}", stream=True)
        for _ in stream:
            pass


# Fallback


@pytest.mark.gateway
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_route_falls_back_past_a_dead_provider(anthropic_client, upstream, marker, stream):
    started = time.monotonic()
    options = {"model": "resilient-claude", "max_tokens": 200, "messages": user(f"id:{marker} echo:still here")}
    if stream:
        with anthropic_client.messages.stream(**options) as events:
            assert events.get_final_text() == "still here"
            provider = events.response.headers["x-tollgate-provider"]
    else:
        raw = anthropic_client.messages.with_raw_response.create(**options)
        assert text_of(raw.parse()) == "still here"
        provider = raw.headers["x-tollgate-provider"]
    assert provider == "anthropic"
    assert time.monotonic() - started < 2
    assert len(upstream.account(marker)) == 1


# An OpenAI model through this SDK


