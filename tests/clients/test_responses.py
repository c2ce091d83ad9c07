"""The Responses API through the official OpenAI SDK: passed on to OpenAI, translated for everyone else."""

import json
import time

import openai
import pydantic
import pytest

from conftest import WIRE
from test_openai import ANSWER
from test_translation import PIXEL, both_ways

MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5", "compat": "qwen3-coder"}
OTHERS = [pytest.param(name, marks=pytest.mark.gateway) for name in ("anthropic", "compat")]
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
TIME = {
    "type": "function",
    "name": "get_time",
    "parameters": {"type": "object", "properties": {}, "additionalProperties": False, "required": []},
    "strict": False,
}
TWO_CALLS = 'call:get_weather={"city":"São_Paulo"} call:get_time={}'
TEXT_EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]
EVENTS_MAX = 1000


class City(pydantic.BaseModel):
    name: str
    inhabitants: int


@pytest.fixture(params=["openai", *OTHERS])
def provider(request):
    return request.param


@pytest.fixture
def model(gateway, provider):
    return gateway.model(provider, MODELS[provider])


@pytest.fixture(params=OTHERS)
def other(request):
    return request.param


@pytest.fixture
def other_model(gateway, other):
    return gateway.model(other, MODELS[other])


def whole(client, model, given, **options):
    return client.responses.create(model=model, input=given, **options)


def streamed(client, model, given, **options):
    """The response that the SDK itself puts together from the stream."""
    with client.responses.stream(model=model, input=given, **options) as stream:
        return stream.get_final_response()


def either(stream):
    return streamed if stream else whole


def calls_of(answer):
    return [item for item in answer.output if item.type == "function_call"]


def as_input(items):
    """The items of an answer as they go back: without what only the SDK's parser added."""
    return [item.model_dump(exclude_none=True, exclude={"parsed_arguments", "parsed"}) for item in items]


# Text


@both_ways
def test_an_answer_is_the_models_words(booked_openai, model, marker, stream):
    answer = either(stream)(booked_openai, model, f"id:{marker} usage:in=30,read=20,out=9 echo:Hallo, Welt ✓")
    assert answer.output_text == "Hallo, Welt ✓"
    assert (answer.status, answer.object, answer.error, answer.incomplete_details) == (
        "completed",
        "response",
        None,
        None,
    )
    assert answer.id.startswith("resp_")
    assert [item.type for item in answer.output] == ["message"]
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (50, 9, 59)
    assert answer.usage.input_tokens_details.cached_tokens == 20
    assert answer.usage.output_tokens_details.reasoning_tokens == 0


def test_the_events_of_a_stream_come_in_their_order(booked_openai, model, marker):
    events = list(whole(booked_openai, model, f"id:{marker} split:3 echo:Hallo, schöne Welt ✓", stream=True))
    kinds = [event.type for event in events]
    assert [kind for kind, before in zip(kinds, [None, *kinds]) if kind != before] == TEXT_EVENTS
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert "".join(event.delta for event in deltas) == "Hallo, schöne Welt ✓"
    added = next(event for event in events if event.type == "response.output_item.added")
    assert {event.item_id for event in deltas} == {added.item.id}
    assert events[0].response.id == events[-1].response.id
    assert events[-1].response.output[0].content[0].text == "Hallo, schöne Welt ✓"


def test_a_record_arrives_before_the_next_one_is_sent(booked_openai, model, marker):
    started = time.monotonic()
    text = f"id:{marker} drip:150ms echo:one two three four five six seven eight"
    events = iter(whole(booked_openai, model, text, stream=True))
    next(event for event in events if event.type == "response.output_text.delta")
    first_after = time.monotonic() - started
    assert list(events)[-1].type == "response.completed"
    assert time.monotonic() - started - first_after > 0.8


@pytest.mark.parametrize("pieces", ["", "split:1 "], ids=["by_record", "by_byte"])
def test_the_bytes_of_an_openai_stream_come_back_as_they_were_sent(openai_client, gateway, marker, pieces):
    with openai_client.responses.with_streaming_response.create(
        model=gateway.model("openai", "gpt-4o-mini"),
        input=f"id:{marker} {pieces}fixture:openai_responses_stream.sse",
        stream=True,
    ) as response:
        received = b"".join(response.iter_bytes())
    assert received == (WIRE / "openai_responses_stream.sse").read_bytes()


def test_the_fixtures_stream_is_read(openai_client, gateway, marker):
    model = gateway.model("openai", "gpt-4o-mini")
    answer = streamed(openai_client, model, f"id:{marker} fixture:openai_responses_stream.sse")
    assert answer.output_text == ANSWER


@both_ways
def test_the_cap_leaves_an_incomplete_response(booked_openai, model, marker, stream):
    words = " ".join(f"w{number}" for number in range(40))
    answer = whole(booked_openai, model, f"id:{marker} echo:{words}", max_output_tokens=16, stream=stream)
    if stream:
        # The SDK's own helper takes no other end than a complete one.
        *_, last = answer
        assert last.type == "response.incomplete"
        answer = last.response
    assert answer.output_text == " ".join(f"w{number}" for number in range(16))
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")


@both_ways
def test_a_refusal_is_told_apart_from_an_answer(booked_openai, provider, model, marker, stream):
    answer = whole(booked_openai, model, f"id:{marker} refuse:I_will_not.", stream=stream)
    if stream:
        *_, last = answer
        answer = last.response
    assert answer.output_text == ""
    if provider == "compat":
        return
    parts = [part for item in answer.output for part in item.content]
    assert [(part.type, part.refusal) for part in parts] == [("refusal", "I will not.")]


# Prompts


def test_instructions_and_messages_reach_the_model(booked_openai, provider, model, sent, marker):
    given = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "input_text", "text": "first"}]},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": f"id:{marker} echo:ok"},
    ]
    answer = whole(booked_openai, model, given, instructions="Be brief.")
    assert answer.output_text == "ok"
    text = json.dumps(sent())
    assert text.index("Be brief.") >= 0 and text.index("Be kind.") >= 0
    if provider == "anthropic":
        assert [block["text"] for block in sent()["system"]] == ["Be brief.", "Be kind."]
        assert [message["role"] for message in sent()["messages"]] == ["user", "assistant", "user"]


def test_an_image_arrives_as_the_provider_wants_it(booked_openai, provider, model, sent, marker):
    content = [
        {"type": "input_text", "text": f"id:{marker} echo:a pixel"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"},
    ]
    answer = whole(booked_openai, model, [{"role": "user", "content": content}])
    assert answer.output_text == "a pixel"
    if provider == "anthropic":
        block = sent()["messages"][0]["content"][1]
        assert block["source"] == {"type": "base64", "media_type": "image/png", "data": PIXEL}
    if provider == "compat":
        part = sent()["messages"][0]["content"][1]
        assert part["image_url"]["url"] == f"data:image/png;base64,{PIXEL}"


# Tools


@both_ways
def test_parallel_calls_make_a_round_trip(booked_openai, model, marker, stream):
    given = [{"role": "user", "content": f"id:{marker} {TWO_CALLS}"}]
    tools = [WEATHER, TIME]
    first = either(stream)(booked_openai, model, given, tools=tools)
    calls = calls_of(first)
    assert first.status == "completed"
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [
        ("get_weather", {"city": "São_Paulo"}),
        ("get_time", {}),
    ]
    assert len({call.call_id for call in calls}) == 2
    given += as_input(first.output)
    given += [
        {"type": "function_call_output", "call_id": call.call_id, "output": text}
        for call, text in zip(calls, ["sunny", "noon"])
    ]
    second = whole(booked_openai, model, given, tools=tools)
    assert second.output_text == "Results: sunny | noon"


def test_streamed_calls_have_their_own_events(booked_openai, model, marker):
    events = list(
        whole(booked_openai, model, f"id:{marker} {TWO_CALLS} echo:Let me look.", tools=[WEATHER, TIME], stream=True)
    )
    assert [event.sequence_number for event in events] == list(range(len(events)))
    added = [event for event in events if event.type == "response.output_item.added"]
    assert [event.item.type for event in added] == ["message", "function_call", "function_call"]
    assert [event.output_index for event in added] == [0, 1, 2]
    for event in added[1:]:
        deltas = [
            other.delta
            for other in events
            if other.type == "response.function_call_arguments.delta" and other.item_id == event.item.id
        ]
        (done,) = [
            other.arguments
            for other in events
            if other.type == "response.function_call_arguments.done" and other.item_id == event.item.id
        ]
        assert "".join(deltas) in (done, "") and json.loads(done) is not None
    assert events[-1].type == "response.completed"
    assert [item.type for item in events[-1].response.output] == ["message", "function_call", "function_call"]


@pytest.mark.parametrize(
    ("choice", "called"),
    [("required", "get_time"), ({"type": "function", "name": "get_weather"}, "get_weather"), ("none", None)],
    ids=["required", "named", "none"],
)
def test_a_tool_choice_is_obeyed(booked_openai, model, marker, choice, called):
    answer = whole(booked_openai, model, f"id:{marker} hello", tools=[TIME, WEATHER], tool_choice=choice)
    assert [call.name for call in calls_of(answer)] == ([called] if called else [])


def test_parallel_calls_can_be_switched_off(booked_openai, model, marker):
    options = {"tools": [WEATHER, TIME], "parallel_tool_calls": False}
    answer = whole(booked_openai, model, f"id:{marker} {TWO_CALLS}", **options)
    assert [call.name for call in calls_of(answer)] == ["get_weather"]


# Structured output and thinking


@both_ways
def test_structured_output_is_parsed(booked_openai, model, marker, stream):
    if stream:
        answer = streamed(booked_openai, model, f"id:{marker} a city", text_format=City)
    else:
        answer = booked_openai.responses.parse(model=model, input=f"id:{marker} a city", text_format=City)
    assert answer.output_parsed == City(name="text", inhabitants=1)


THINKERS = [
    "openai/gpt-5-mini",
    *(pytest.param(n, marks=pytest.mark.gateway) for n in ("anthropic/claude-haiku-4-5", "compat/qwen3-coder")),
]


@pytest.mark.parametrize("name", THINKERS)
@both_ways
def test_thoughts_are_shown_as_a_summary(booked_openai, gateway, marker, name, stream):
    text = f"id:{marker} think:Two_plus_two. echo:four"
    model = gateway.model(*name.split("/"))
    answer = either(stream)(booked_openai, model, text, reasoning={"effort": "low", "summary": "auto"})
    assert [item.type for item in answer.output] == ["reasoning", "message"]
    thoughts = answer.output[0]
    shown = [part.text for part in thoughts.summary] or [part.text for part in thoughts.content or []]
    assert shown == ["Two plus two."]
    assert answer.output_text == "four"
    assert answer.usage.output_tokens_details.reasoning_tokens == 3 or name.startswith("compat")


@pytest.mark.parametrize("name", THINKERS)
def test_a_tool_turn_goes_on_after_thoughts(booked_openai, gateway, marker, name):
    model = gateway.model(*name.split("/"))
    options = {"tools": [TIME], "reasoning": {"effort": "low", "summary": "auto"}, "store": False}
    options["include"] = ["reasoning.encrypted_content"]
    given = [{"role": "user", "content": f"id:{marker} think:I_need_the_time. call:get_time={{}}"}]
    first = whole(booked_openai, model, given, **options)
    (call,) = calls_of(first)
    given += as_input(first.output)
    given.append({"type": "function_call_output", "call_id": call.call_id, "output": "noon"})
    assert whole(booked_openai, model, given, **options).output_text == "Results: noon"


# State


def test_openai_goes_on_from_an_earlier_response(booked_openai, gateway, marker):
    model = gateway.model("openai", "gpt-4o-mini")
    first = whole(booked_openai, model, f"id:{marker} call:get_time={{}}", tools=[TIME])
    results = [{"type": "function_call_output", "call_id": calls_of(first)[0].call_id, "output": f"id:{marker} noon"}]
    second = whole(booked_openai, model, results, previous_response_id=first.id, tools=[TIME])
    assert "noon" in second.output_text


STATEFUL = {
    "previous_response_id": {"previous_response_id": "resp_1"},
    "store": {"store": True},
    "background": {"background": True},
    "tools": {"tools": [{"type": "web_search"}]},
    "conversation": {"conversation": "conv_1"},
    "prompt": {"extra_body": {"prompt": {"id": "pmpt_1"}}},
    "truncation": {"truncation": "auto"},
}


@pytest.mark.gateway
@pytest.mark.parametrize("field", STATEFUL)
def test_what_needs_openais_own_store_is_refused_by_name(booked_openai, other_model, upstream, marker, field):
    with pytest.raises(openai.BadRequestError) as caught:
        whole(booked_openai, other_model, f"id:{marker} hello", **STATEFUL[field])
    assert (caught.value.param or "").startswith(field)
    assert caught.value.type == "invalid_request_error"
    assert upstream.account(marker) == []


@pytest.mark.gateway
@pytest.mark.parametrize("item", ["item_reference", "file_search_call", "web_search_call"])
def test_items_of_openais_own_are_refused_by_name(booked_openai, other_model, upstream, marker, item):
    given = [{"role": "user", "content": f"id:{marker} hello"}]
    given.append({"type": item, "id": "x", "status": "completed", "queries": [], "action": {"type": "search"}})
    with pytest.raises(openai.BadRequestError) as caught:
        whole(booked_openai, other_model, given)
    assert item in str(caught.value) or "input" in (caught.value.param or "")
    assert upstream.account(marker) == []


# Errors


ERRORS = [
    (400, openai.BadRequestError, (400,)),
    (404, openai.NotFoundError, (404,)),
    (429, openai.RateLimitError, (429,)),
    (500, openai.InternalServerError, (500, 502)),
    (529, openai.InternalServerError, (503,)),
]


@pytest.mark.gateway
@pytest.mark.parametrize(("status", "error", "told"), ERRORS, ids=[str(row[0]) for row in ERRORS])
@both_ways
def test_a_failure_of_claude_has_the_class_of_this_sdk(openai_client, faulty, marker, status, error, told, stream):
    with pytest.raises(error) as caught:
        whole(openai_client, faulty("anthropic", "claude-haiku-4-5"), f"id:{marker} error:{status}", stream=stream)
    assert caught.value.status_code in told
    assert set(caught.value.response.json()["error"]) == {"message", "type", "param", "code"}


def read_to_the_end(stream):
    """The text, and how the stream ended: the last event's type, or the error that the SDK raised."""
    text, last = "", None
    try:
        for number, event in enumerate(stream):
            last = event.type
            text += event.delta if event.type == "response.output_text.delta" else ""
            assert number < EVENTS_MAX
    except openai.APIError as error:
        assert not isinstance(error, openai.APIConnectionError)
        return text, "error"
    return text, last


@pytest.mark.gateway
@pytest.mark.parametrize("name", ["openai/gpt-4o-mini", "anthropic/claude-haiku-4-5", "compat/qwen3-coder"])
@pytest.mark.parametrize("behaviour", ["cut", "truncate", "hang"])
def test_a_stream_without_its_end_never_passes_as_complete(openai_client, faulty, marker, name, behaviour):
    provider, model = name.split("/")
    after = {"openai": 6, "anthropic": 5, "compat": 3}[provider]
    text = f"id:{marker} {behaviour}:{after} echo:one two three four"
    stream = whole(openai_client, faulty(provider, model), text, stream=True)
    seen, ending = read_to_the_end(stream)
    assert seen == "one two"
    assert ending in ("error", "response.failed")


@pytest.mark.gateway
def test_the_gateway_waits_out_a_rate_limit(openai_client, faulty, upstream, marker):
    text = f"id:{marker} error:429;retry-after-ms=20;times=1 echo:at last"
    assert whole(openai_client, faulty("openai", "gpt-4o-mini"), text).output_text == "at last"
    assert [entry["status"] for entry in upstream.account(marker)] == [429, 200]


@pytest.mark.gateway
def test_the_providers_400_keeps_its_param(openai_client, gateway, marker):
    with pytest.raises(openai.BadRequestError) as caught:
        whole(openai_client, gateway.model("openai", "gpt-4o-mini"), f"id:{marker} hello", max_output_tokens=1)
    assert (caught.value.param, caught.value.code) == ("max_output_tokens", "integer_below_min_value")
