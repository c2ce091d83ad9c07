"""The official OpenAI SDK, unmodified."""

import asyncio
import base64
import json
import time
from decimal import Decimal

import openai
import pydantic
import pytest

from conftest import WIRE

ANSWER = "The answer is café 😀."
FIXTURE_TEXT = "Paris is the capital of France. é✓ 😀"
WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
            "required": ["city"],
        },
    },
}
WEATHER_CALLS = [
    ("call_FixA", "get_weather", {"city": "Paris", "unit": "celsius"}),
    ("call_FixB", "get_weather", {"city": "São Paulo"}),
]
STREAM_PIECES_MAX = 1000


class City(pydantic.BaseModel):
    name: str
    inhabitants: int


def user(text):
    return [{"role": "user", "content": text}]


def mini(gateway):
    return gateway.model("openai", "gpt-4o-mini")


def streamed_text(stream):
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def tool_calls_of(message):
    return [(call.id, call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls]


def read_until_error(stream, error):
    """The text that arrived before the stream raised."""
    seen = []
    with pytest.raises(error) as caught:
        for chunk in stream:
            seen += [choice.delta.content or "" for choice in chunk.choices]
            assert len(seen) < STREAM_PIECES_MAX
    return "".join(seen), caught.value


# Answers


def test_an_answer_arrives_with_its_usage(openai_client, gateway, marker):
    answer = openai_client.chat.completions.create(
        model=mini(gateway), messages=user(f"id:{marker} fixture:openai_chat.json")
    )
    assert answer.choices[0].message.content == FIXTURE_TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (1500, 12)
    assert answer.usage.prompt_tokens_details.cached_tokens == 1024


def test_the_bytes_of_an_answer_come_back_as_the_provider_sent_them(openai_client, gateway, marker):
    raw = openai_client.chat.completions.with_raw_response.create(
        model=mini(gateway), messages=user(f"id:{marker} fixture:openai_chat_reasoning.json")
    )
    assert raw.http_response.content == (WIRE / "openai_chat_reasoning.json").read_bytes()


@pytest.mark.asyncio
async def test_concurrent_calls_each_get_their_own_answer(openai_options, gateway, marker):
    async with openai.AsyncOpenAI(**openai_options) as client:
        texts = [f"reply {number} to {marker}" for number in range(20)]
        answers = await asyncio.gather(
            *(client.chat.completions.create(model=mini(gateway), messages=user(f"echo:{text}")) for text in texts)
        )
    assert [answer.choices[0].message.content for answer in answers] == texts


@pytest.mark.parametrize("pieces", ["", "split:1 ", "split:7 "], ids=["by_record", "by_byte", "by_seven_bytes"])
def test_streamed_text_is_exact_however_the_provider_cuts_it(openai_client, gateway, marker, pieces):
    stream = openai_client.chat.completions.create(
        model=mini(gateway), messages=user(f"id:{marker} {pieces}fixture:openai_stream_usage.sse"), stream=True
    )
    assert streamed_text(stream) == ANSWER


@pytest.mark.asyncio
async def test_the_async_client_streams(openai_options, gateway, marker):
    async with openai.AsyncOpenAI(**openai_options) as client:
        stream = await client.chat.completions.create(
            model=mini(gateway), messages=user(f"id:{marker} echo:Grüße, 東京 🗼"), stream=True
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == "Grüße, 東京 🗼"


def test_a_record_arrives_before_the_next_one_is_sent(openai_client, gateway, marker):
    started = time.monotonic()
    stream = openai_client.chat.completions.create(
        model=mini(gateway), messages=user(f"id:{marker} drip:300ms echo:one two three four five six"), stream=True
    )
    first = next(chunk for chunk in stream if chunk.choices and chunk.choices[0].delta.content)
    first_after = time.monotonic() - started
    rest = streamed_text(stream)
    assert first.choices[0].delta.content + rest == "one two three four five six"
    # Ten records, 300 ms apart: whoever holds them back delivers the first one with the last.
    assert time.monotonic() - started - first_after > 1.0


def test_the_usage_chunk_is_there_when_asked_for(openai_client, gateway, marker):
    chunks = list(
        openai_client.chat.completions.create(
            model=mini(gateway),
            messages=user(f"id:{marker} fixture:openai_stream_usage.sse"),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[-1].choices == []
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (1500, 6)
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens == 1024
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": False}}], ids=["silent", "refused"])
def test_no_chunk_mentions_usage_when_it_was_not_asked_for(openai_client, gateway, marker, options):
    chunks = list(
        openai_client.chat.completions.create(
            model=mini(gateway),
            messages=user(f"id:{marker} fixture:openai_stream_usage.sse"),
            stream=True,
            **options,
        )
    )
    assert streamed_text(chunks) == ANSWER
    assert all(chunk.choices for chunk in chunks)
    assert not any("usage" in chunk.model_fields_set for chunk in chunks)


@pytest.mark.gateway
def test_the_gateway_asks_for_usage_even_when_the_client_does_not(openai_client, gateway, upstream, marker):
    stream = openai_client.chat.completions.create(
        model=mini(gateway), messages=user(f"id:{marker} hello"), stream=True
    )
    assert streamed_text(stream) == FIXTURE_TEXT
    (entry,) = upstream.account(marker)
    _, body = upstream.request(entry)
    assert json.loads(body)["stream_options"] == {"include_usage": True}


def test_the_bytes_of_a_stream_with_usage_come_back_as_the_provider_sent_them(openai_client, gateway, marker):
    with openai_client.chat.completions.with_streaming_response.create(
        model=mini(gateway),
        messages=user(f"id:{marker} fixture:openai_stream_tools.sse"),
        stream=True,
        stream_options={"include_usage": True},
    ) as response:
        received = b"".join(response.iter_bytes())
    assert received == (WIRE / "openai_stream_tools.sse").read_bytes()


# Tools, structured output, images


def test_parallel_tool_calls_arrive_whole(openai_client, gateway, marker):
    answer = openai_client.chat.completions.create(
        model=mini(gateway), messages=user(f"id:{marker} fixture:openai_chat_tools.json"), tools=[WEATHER_TOOL]
    )
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.content is None
    assert tool_calls_of(answer.choices[0].message) == WEATHER_CALLS


def test_streamed_tool_calls_are_put_together(openai_client, gateway, marker):
    with openai_client.chat.completions.stream(
        model=mini(gateway), messages=user(f"id:{marker} fixture:openai_stream_tools.sse"), tools=[WEATHER_TOOL]
    ) as stream:
        answer = stream.get_final_completion()
    assert answer.choices[0].finish_reason == "tool_calls"
    assert tool_calls_of(answer.choices[0].message) == WEATHER_CALLS


def test_tool_results_go_back_in_the_next_turn(openai_client, gateway, marker):
    first = openai_client.chat.completions.create(
        model=mini(gateway), messages=user(f"id:{marker} fixture:openai_chat_tools.json"), tools=[WEATHER_TOOL]
    )
    message = first.choices[0].message
    turns = user("weather in two cities") + [message.model_dump(exclude_none=True)]
    turns += [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in message.tool_calls]
    turns += user(f"id:{marker} echo:Sunny in both.")
    second = openai_client.chat.completions.create(model=mini(gateway), messages=turns, tools=[WEATHER_TOOL])
    assert second.choices[0].message.content == "Sunny in both."


def test_structured_output_is_parsed(openai_client, gateway, marker):
    answer = openai_client.chat.completions.parse(
        model=mini(gateway),
        messages=user(f'id:{marker} echo:{{"name":"Zürich","inhabitants":440000}}'),
        response_format=City,
    )
    assert answer.choices[0].message.parsed == City(name="Zürich", inhabitants=440000)


@pytest.mark.parametrize("prefixed", [True, False], ids=["prefixed_model", "bare_model"])
def test_a_request_with_an_image_reaches_the_provider_byte_for_byte(openai_client, gateway, upstream, marker, prefixed):
    image = base64.b64encode(bytes(range(256)) * 400).decode()
    asked = mini(gateway) if prefixed else "gpt-4o-mini"
    raw = openai_client.chat.completions.with_raw_response.create(
        model=asked,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": f"id:{marker} what is this? ü\u2028"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}", "detail": "low"}},
                ],
            }
        ],
        temperature=0.25,
        seed=9007199254740993,
    )
    (entry,) = upstream.account(marker)
    _, body = upstream.request(entry)
    sent = raw.http_request.content
    # The model's name is the one place that may differ: there is neither a stream nor a budget.
    assert body == sent.replace(json.dumps(asked).encode(), b'"gpt-4o-mini"', 1)
    assert len(body) > len(image)


@pytest.mark.gateway
def test_a_field_that_the_gateway_does_not_know_survives(openai_client, gateway, upstream, marker):
    extension = {"nested": [1, 2.50, "é"], "empty": {}}
    openai_client.chat.completions.create(
        model=gateway.model("compat", "qwen3-coder"),
        messages=user(f"id:{marker} hello"),
        extra_body={"vendor_extension": extension},
    )
    (entry,) = upstream.account(marker)
    assert entry["path"] == "/compat/v1/chat/completions"
    assert json.loads(upstream.request(entry)[1])["vendor_extension"] == extension


@pytest.mark.gateway
def test_neither_the_virtual_key_nor_sdk_headers_reach_the_provider(openai_client, gateway, upstream, marker):
    openai_client.chat.completions.create(
        model=mini(gateway), messages=user(f"id:{marker} hello"), extra_headers={"cookie": "session=1"}
    )
    (entry,) = upstream.account(marker)
    headers, body = upstream.request(entry)
    assert headers["authorization"] == "Bearer sk-upstream-test"
    assert not [name for name in headers if name.startswith("x-stainless-") or name == "cookie"]
    assert gateway.key not in json.dumps(headers) and gateway.key.encode() not in body


def test_a_lenient_servers_stream_is_read_as_it_is(openai_client, gateway, marker):
    client = openai_client
    if gateway.direct:
        # Without the gateway the lenient server stands under a path of its own.
        client = openai_client.with_options(base_url=f"{gateway.url}/compat/v1")
    stream = client.chat.completions.create(
        model=gateway.model("compat", "qwen3-coder"),
        messages=user(f"id:{marker} fixture:compat_stream_quirks.sse"),
        stream=True,
    )
    assert streamed_text(stream) == "Let me look. Ok"


# Other endpoints


def test_models_are_listed_and_read_one_by_one(openai_client, gateway):
    listed = list(openai_client.models.list())
    assert listed and all(model.object == "model" for model in listed)
    one = openai_client.models.retrieve(listed[0].id)
    assert one.id == listed[0].id


@pytest.mark.gateway
def test_routes_are_listed_as_models(openai_client):
    assert {"resilient", "resilient-claude", "crossing"} <= {model.id for model in openai_client.models.list()}


# Headers and keys


@pytest.mark.gateway
def test_headers_say_who_answered_and_what_it_cost(openai_client, gateway, marker):
    raw = openai_client.chat.completions.with_raw_response.create(
        model=mini(gateway), messages=user(f"id:{marker} usage:in=1000,out=100 hello")
    )
    own = raw.headers["x-tollgate-request-id"]
    assert own and raw.headers["x-request-id"] == own and raw.headers["request-id"] == own
    assert raw.parse()._request_id == own
    assert raw.headers["x-tollgate-provider"] == "openai"
    assert raw.headers["x-tollgate-model"] == "gpt-4o-mini"
    assert raw.headers["x-tollgate-attempts"] == "1"
    assert raw.headers["x-tollgate-cache"] in ("miss", "bypass")
    # 1000 x 0.15 + 100 x 0.60 USD per million = 0.00015 + 0.00006
    assert Decimal(raw.headers["x-tollgate-cost-usd"]) == Decimal("0.00021")


@pytest.mark.gateway
def test_a_stream_names_its_call_but_not_yet_its_cost(openai_client, gateway, marker):
    with openai_client.chat.completions.with_streaming_response.create(
        model=mini(gateway), messages=user(f"id:{marker} hello"), stream=True
    ) as response:
        assert response.headers["x-tollgate-request-id"] == response.headers["x-request-id"]
        assert response.headers["x-tollgate-provider"] == "openai"
        assert "x-tollgate-cost-usd" not in response.headers
        assert b"[DONE]" in b"".join(response.iter_bytes())


@pytest.mark.gateway
def test_the_key_may_also_come_as_x_api_key(openai_options, gateway, marker):
    headers = {"Authorization": openai.Omit(), "x-api-key": gateway.key}
    with openai.OpenAI(**openai_options) as client:
        answer = client.chat.completions.create(
            model=mini(gateway), messages=user(f"id:{marker} echo:in"), extra_headers=headers
        )
    assert answer.choices[0].message.content == "in"


@pytest.mark.gateway
def test_two_different_keys_are_refused(openai_options, gateway, upstream, marker):
    with openai.OpenAI(**openai_options, default_headers={"x-api-key": "tg-another"}) as client:
        with pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(model=mini(gateway), messages=user(f"id:{marker} hello"))
    assert upstream.account(marker) == []


# Refusals


def test_a_wrong_key_is_an_authentication_error(openai_options, gateway, marker):
    with openai.OpenAI(**{**openai_options, "api_key": "tg-wrong"}) as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            client.chat.completions.create(model=mini(gateway), messages=user(f"id:{marker} hello"))
    assert caught.value.code == "invalid_api_key"
    assert "tg-wrong" not in str(caught.value)


@pytest.mark.parametrize("name", ["no-such-model", "openai/no-such-model"])
def test_an_unknown_model_is_not_found(openai_client, marker, name):
    with pytest.raises(openai.NotFoundError) as caught:
        openai_client.chat.completions.create(model=name, messages=user(f"id:{marker} hello"))
    assert caught.value.code == "model_not_found"
    assert "no-such-model" in caught.value.message


@pytest.mark.parametrize(
    ("fixture", "param", "code"),
    [
        ("openai_400.json", "temperature", "unsupported_value"),
        ("openai_400_context.json", "messages", "context_length_exceeded"),
    ],
)
def test_the_providers_400_keeps_its_param_and_code(openai_client, gateway, upstream, marker, fixture, param, code):
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.chat.completions.create(model=mini(gateway), messages=user(f"id:{marker} fixture:{fixture}"))
    assert (caught.value.param, caught.value.code) == (param, code)
    assert caught.value.type == "invalid_request_error"
    assert json.loads((WIRE / fixture).read_text())["error"]["message"] in caught.value.message
    assert len(upstream.account(marker)) == 1


def test_a_request_that_the_provider_would_refuse_is_a_400(openai_client, gateway, marker):
    with pytest.raises(openai.BadRequestError):
        openai_client.chat.completions.create(
            model=mini(gateway), messages=user(f"id:{marker} hello"), stream_options={"include_usage": True}
        )


@pytest.mark.gateway
def test_a_duplicated_key_is_refused_before_any_provider_sees_it(openai_client, upstream, marker):
    body = f'{{"model":"gpt-4o-mini","model":"gpt-4o","messages":[{{"role":"user","content":"id:{marker}"}}]}}'
    with pytest.raises(openai.BadRequestError):
        openai_client.post(
            "/chat/completions",
            cast_to=object,
            content=body.encode(),
            options={"headers": {"content-type": "application/json"}},
        )
    assert upstream.account(marker) == []


def test_one_rate_limit_is_waited_out(openai_options, faulty, upstream, marker):
    with openai.OpenAI(**{**openai_options, "max_retries": 2}) as client:
        answer = client.chat.completions.create(
            model=faulty("openai", "gpt-4o-mini"),
            messages=user(f"id:{marker} error:429;retry-after-ms=20;times=1 echo:at last"),
        )
    assert answer.choices[0].message.content == "at last"
    assert [entry["status"] for entry in upstream.account(marker)] == [429, 200]


@pytest.mark.gateway
def test_the_gateway_waits_out_a_rate_limit_by_itself(openai_client, faulty, upstream, marker):
    raw = openai_client.chat.completions.with_raw_response.create(
        model=faulty("openai", "gpt-4o-mini"),
        messages=user(f"id:{marker} error:429;retry-after-ms=20;times=1 echo:at last"),
    )
    assert raw.parse().choices[0].message.content == "at last"
    assert raw.headers["x-tollgate-attempts"] == "2"
    assert [entry["status"] for entry in upstream.account(marker)] == [429, 200]


def test_a_lasting_rate_limit_is_a_rate_limit_error(openai_options, faulty, upstream, marker):
    with openai.OpenAI(**{**openai_options, "max_retries": 2}) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(
                model=faulty("openai", "gpt-4o-mini"), messages=user(f"id:{marker} error:429;retry-after-ms=20")
            )
    assert caught.value.code == "rate_limit_exceeded"
    assert {"retry-after", "retry-after-ms"} & set(caught.value.response.headers)
    # The retries of gateway and SDK must not multiply.
    assert len(upstream.account(marker)) <= 3


def test_an_exhausted_account_is_not_tried_again(openai_options, faulty, upstream, marker):
    with openai.OpenAI(**{**openai_options, "max_retries": 2}) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(
                model=faulty("openai", "gpt-4o-mini"), messages=user(f"id:{marker} fixture:openai_429_quota.json")
            )
    assert caught.value.status_code in (402, 429)
    assert caught.value.code == "insufficient_quota"
    assert len(upstream.account(marker)) == 1


@pytest.mark.parametrize("status", [500, 503])
def test_a_server_error_is_an_internal_server_error(openai_client, faulty, upstream, marker, status):
    with pytest.raises(openai.InternalServerError):
        openai_client.chat.completions.create(
            model=faulty("openai", "gpt-4o-mini"), messages=user(f"id:{marker} error:{status}")
        )
    assert 1 <= len(upstream.account(marker)) <= 3


@pytest.mark.gateway
def test_a_refused_provider_key_is_not_the_clients_fault(openai_client, gateway, marker):
    with pytest.raises(openai.InternalServerError) as caught:
        openai_client.chat.completions.create(
            model=gateway.model("wrong-key-openai", "gpt-4o-mini"), messages=user(f"id:{marker} hello")
        )
    assert "sk-not-the-key" not in caught.value.response.text


@pytest.mark.gateway
@pytest.mark.parametrize(
    "behaviour", ["html", "html:200", "garbage", "redirect", "reset", "cut"], ids=lambda text: text.replace(":", "_")
)
def test_a_broken_provider_is_a_server_error_of_the_dialect(openai_client, faulty, upstream, marker, behaviour):
    with pytest.raises(openai.InternalServerError) as caught:
        openai_client.chat.completions.create(
            model=faulty("openai", "gpt-4o-mini"), messages=user(f"id:{marker} {behaviour}")
        )
    error = caught.value.response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "/__redirected" not in upstream.paths()


@pytest.mark.gateway
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_provider_that_hangs_is_a_504_in_time(openai_client, faulty, marker, stream):
    started = time.monotonic()
    with pytest.raises(openai.InternalServerError) as caught:
        openai_client.chat.completions.create(
            model=faulty("openai", "gpt-4o-mini"), messages=user(f"id:{marker} hang"), stream=stream
        )
    assert caught.value.status_code == 504
    # A stream is given 1.5 s until its first word; a whole answer has none, and all of the call's 5 s.
    assert time.monotonic() - started < 8


# Streams that end badly


def test_an_error_in_a_stream_raises_after_the_text_before_it(openai_client, faulty, marker):
    stream = openai_client.chat.completions.create(
        model=faulty("openai", "gpt-4o-mini"),
        messages=user(f"id:{marker} fixture:openai_stream_error.sse"),
        stream=True,
    )
    text, error = read_until_error(stream, openai.APIError)
    assert text == "Half"
    assert error.type == "server_error"


@pytest.mark.gateway
@pytest.mark.parametrize(
    ("directive", "expected"),
    [
        ("fixture:openai_stream_truncated.sse", "Half an"),
        ("cut:3 echo:one two three four", "one two"),
        ("truncate:3 echo:one two three four", "one two"),
        ("hang:3 echo:one two three four", "one two"),
    ],
    ids=["truncated_fixture", "cut", "truncated", "hanging"],
)
def test_a_stream_without_its_end_raises_a_typed_error(openai_client, faulty, marker, directive, expected):
    stream = openai_client.chat.completions.create(
        model=faulty("openai", "gpt-4o-mini"), messages=user(f"id:{marker} {directive}"), stream=True
    )
    text, error = read_until_error(stream, openai.APIError)
    assert text == expected
    assert not isinstance(error, openai.APIConnectionError)


@pytest.mark.gateway
@pytest.mark.parametrize("behaviour", ["garbage", "endless-line"])
def test_a_stream_of_nonsense_never_passes_as_an_answer(openai_client, faulty, marker, behaviour):
    with pytest.raises(openai.APIError) as caught:
        stream = openai_client.chat.completions.create(
            model=faulty("openai", "gpt-4o-mini"), messages=user(f"id:{marker} {behaviour}"), stream=True
        )
        streamed_text(stream)
    assert not isinstance(caught.value, openai.APIConnectionError)


# Fallback


@pytest.mark.gateway
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_route_falls_back_past_a_dead_provider(openai_client, upstream, marker, stream):
    started = time.monotonic()
    raw = openai_client.chat.completions.with_raw_response.create(
        model="resilient", messages=user(f"id:{marker} echo:still here"), stream=stream
    )
    answer = raw.parse()
    text = streamed_text(answer) if stream else answer.choices[0].message.content
    assert text == "still here"
    assert time.monotonic() - started < 2
    assert raw.headers["x-tollgate-provider"] == "openai"
    assert len(upstream.account(marker)) == 1


# An Anthropic model through this SDK


