"""The official Anthropic SDK's messages, answered by a provider of each kind.

Without the gateway the cases run against the provider's own messages.
"""

import base64
import json
import time

import anthropic
import pydantic
import pytest

from conftest import OLD_VERSION
from test_anthropic import ask, read_until_error, text_of, tool_uses_of, user
from test_translation import PIXEL, both_ways

MODELS = {"anthropic": "claude-haiku-4-5", "openai": "gpt-4o-mini", "compat": "qwen3-coder"}
OTHERS = [pytest.param(name, marks=pytest.mark.gateway) for name in ("openai", "compat")]
WEATHER = {
    "name": "get_weather",
    "description": "Weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TIME = {"name": "get_time", "input_schema": {"type": "object", "properties": {}}}
TWO_CALLS = 'call:get_weather={"city":"São_Paulo"} call:get_time={}'


class City(pydantic.BaseModel):
    name: str
    inhabitants: int


@pytest.fixture(params=["anthropic", *OTHERS])
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


@pytest.fixture
def gpt(gateway):
    return gateway.model("openai", "gpt-4o-mini")


def streamed(client, model, text, **options):
    """The message that the SDK itself puts together from the stream."""
    options.setdefault("messages", user(text))
    options.setdefault("max_tokens", 200)
    with client.messages.stream(model=model, **options) as stream:
        return stream.get_final_message()


def whole(client, model, text, **options):
    options.setdefault("max_tokens", 200)
    return client.messages.create(model=model, messages=user(text), **options)


def either(stream):
    return streamed if stream else whole


# Text


@both_ways
def test_an_answer_is_the_models_words(booked_anthropic, model, marker, stream):
    answer = either(stream)(booked_anthropic, model, f"id:{marker} echo:Grüße, 東京 🗼!")
    assert [(block.type, block.text) for block in answer.content] == [("text", "Grüße, 東京 🗼!")]
    assert (answer.type, answer.role, answer.stop_reason, answer.stop_sequence) == (
        "message",
        "assistant",
        "end_turn",
        None,
    )
    assert answer.id.startswith("msg_")


def test_the_events_of_a_stream_are_well_formed(booked_anthropic, model, marker):
    events = list(ask(booked_anthropic, model, f"id:{marker} split:3 echo:Grüße, 東京 🗼!", stream=True))
    kinds = [event.type for event in events if event.type != "ping"]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert events[0].message.content == [] and events[0].message.stop_reason is None
    assert "".join(event.delta.text for event in events if event.type == "content_block_delta") == "Grüße, 東京 🗼!"


@both_ways
def test_the_usage_is_counted_in_this_dialects_way(booked_anthropic, model, marker, stream):
    text = f"id:{marker} usage:in=476,read=1024,out=12 hello"
    usage = either(stream)(booked_anthropic, model, text).usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (476, 1024, 12)


@pytest.mark.gateway
@both_ways
def test_openais_cache_writes_are_not_plain_input(booked_anthropic, gpt, marker, stream):
    usage = either(stream)(booked_anthropic, gpt, f"id:{marker} usage:in=20,read=3,out=2 hello").usage
    assert (usage.input_tokens, usage.cache_read_input_tokens) == (20, 3)
    assert not usage.cache_creation_input_tokens


def test_a_record_arrives_before_the_next_one_is_sent(booked_anthropic, model, marker):
    started = time.monotonic()
    text = f"id:{marker} drip:200ms echo:one two three four five six seven"
    events = iter(ask(booked_anthropic, model, text, stream=True))
    next(event for event in events if event.type == "content_block_delta")
    first_after = time.monotonic() - started
    assert list(events)[-1].type == "message_stop"
    assert time.monotonic() - started - first_after > 0.8


@both_ways
def test_the_cap_ends_an_answer(booked_anthropic, provider, model, sent, marker, stream):
    text = f"id:{marker} echo:one two three four five"
    answer = either(stream)(booked_anthropic, model, text, max_tokens=3)
    assert text_of(answer) == "one two three"
    assert answer.stop_reason == "max_tokens"
    name = {"openai": "max_completion_tokens"}.get(provider, "max_tokens")
    assert sent()[name] == 3


@both_ways
def test_a_stop_sequence_ends_an_answer(booked_anthropic, provider, model, marker, stream):
    text = f"id:{marker} echo:before END after"
    answer = either(stream)(booked_anthropic, model, text, stop_sequences=["nothing", "END"])
    assert text_of(answer) == "before "
    # The others don't say which sequence it was.
    expected = ("stop_sequence", "END") if provider == "anthropic" else ("end_turn", None)
    assert (answer.stop_reason, answer.stop_sequence) == expected


@pytest.mark.gateway
@both_ways
def test_a_refusal_is_told_apart_from_an_answer(booked_anthropic, gpt, marker, stream):
    answer = either(stream)(booked_anthropic, gpt, f"id:{marker} refuse:I_will_not.")
    assert answer.stop_reason == "refusal"


@pytest.mark.gateway
@both_ways
def test_what_a_filter_stopped_is_a_refusal(booked_anthropic, other_model, marker, stream):
    answer = either(stream)(booked_anthropic, other_model, f"id:{marker} filtered echo:Half an")
    assert answer.stop_reason == "refusal"


# Prompts


@pytest.mark.parametrize("blocks", [False, True], ids=["text", "blocks"])
def test_the_system_prompt_reaches_the_model(booked_anthropic, provider, model, sent, marker, blocks):
    system = "Be brief."
    if blocks:
        system = [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}]
        system[1]["cache_control"] = {"type": "ephemeral"}
    answer = ask(booked_anthropic, model, f"id:{marker} echo:ok", system=system)
    assert text_of(answer) == "ok"
    if provider != "anthropic":
        first = sent()["messages"][0]
        assert first["role"] in (("system", "developer") if provider == "openai" else ("system",))
        text = first["content"] if isinstance(first["content"], str) else str(first["content"])
        assert "Be brief." in text and ("Be kind." in text) == blocks
        assert "cache_control" not in json.dumps(sent())
        if provider == "compat" and blocks:
            assert first["content"] == "Be brief.\n\nBe kind."


def test_an_image_arrives_as_the_provider_wants_it(booked_anthropic, provider, model, sent, marker):
    content = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        {"type": "image", "source": {"type": "url", "url": "https://example.test/cat.jpg"}},
        {"type": "text", "text": f"id:{marker} echo:a pixel"},
    ]
    messages = [{"role": "user", "content": content}]
    answer = booked_anthropic.messages.create(model=model, max_tokens=200, messages=messages)
    assert text_of(answer) == "a pixel"
    if provider != "anthropic":
        parts = [part for part in sent()["messages"][0]["content"] if part["type"] == "image_url"]
        assert [part["image_url"]["url"] for part in parts] == [
            f"data:image/png;base64,{PIXEL}",
            "https://example.test/cat.jpg",
        ]


@pytest.mark.gateway
def test_a_document_goes_to_openai_as_a_file(booked_anthropic, gpt, sent, marker):
    pdf = base64.b64encode(b"%PDF-1.7 small").decode()
    source = {"type": "base64", "media_type": "application/pdf", "data": pdf}
    content = [{"type": "document", "source": source, "title": "offer.pdf"}]
    content.append({"type": "text", "text": f"id:{marker} echo:read"})
    messages = [{"role": "user", "content": content}]
    booked_anthropic.messages.create(model=gpt, max_tokens=200, messages=messages)
    (part,) = [part for part in sent()["messages"][0]["content"] if part["type"] == "file"]
    assert part["file"]["file_data"] == f"data:application/pdf;base64,{pdf}"
    assert part["file"]["filename"]


# Tools


@both_ways
def test_parallel_tool_uses_make_a_round_trip(booked_anthropic, model, marker, stream):
    tools = [WEATHER, TIME]
    first = either(stream)(booked_anthropic, model, f"id:{marker} {TWO_CALLS}", tools=tools)
    assert first.stop_reason == "tool_use"
    calls = tool_uses_of(first)
    assert [call[1:] for call in calls] == [("get_weather", {"city": "São_Paulo"}), ("get_time", {})]
    assert len({identity for identity, _, _ in calls}) == 2
    texts = ["sunny", "noon"]
    results = [
        {"type": "tool_result", "tool_use_id": call[0], "content": [{"type": "text", "text": text}]}
        for call, text in zip(calls, texts)
    ]
    second = booked_anthropic.messages.create(
        model=model,
        max_tokens=200,
        tools=tools,
        messages=[
            *user(f"id:{marker} {TWO_CALLS}"),
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": results},
        ],
    )
    assert text_of(second) == "Results: sunny | noon"
    assert second.stop_reason == "end_turn"


@both_ways
def test_words_may_stand_before_a_tool_use(booked_anthropic, model, marker, stream):
    text = f'id:{marker} call:get_weather={{"city":"Paris"}} echo:Let me look.'
    answer = either(stream)(booked_anthropic, model, text, tools=[WEATHER])
    assert [block.type for block in answer.content] == ["text", "tool_use"]
    assert text_of(answer) == "Let me look."
    assert [use[1:] for use in tool_uses_of(answer)] == [("get_weather", {"city": "Paris"})]


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ({"type": "any"}, "get_time"),
        ({"type": "tool", "name": "get_weather"}, "get_weather"),
        ({"type": "auto"}, None),
        ({"type": "none"}, None),
    ],
    ids=["any", "named", "auto", "none"],
)
def test_a_tool_choice_is_obeyed(booked_anthropic, model, marker, choice, called):
    answer = ask(booked_anthropic, model, f"id:{marker} hello", tools=[TIME, WEATHER], tool_choice=choice)
    assert [name for _, name, _ in tool_uses_of(answer)] == ([called] if called else [])


def test_parallel_uses_can_be_switched_off(booked_anthropic, model, marker):
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    answer = ask(booked_anthropic, model, f"id:{marker} {TWO_CALLS}", tools=[WEATHER, TIME], tool_choice=choice)
    assert [name for _, name, _ in tool_uses_of(answer)] == ["get_weather"]


def tool_turn(marker, result, identity="toolu_01A"):
    use = {"type": "tool_use", "id": identity, "name": "get_time", "input": {"zone": "CET", "a": 1}}
    return [
        *user(f"id:{marker} time?"),
        {"role": "assistant", "content": [{"type": "text", "text": "Looking."}, use]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": identity, **result}]},
    ]


def continued(client, model, messages, **options):
    return client.messages.create(model=model, max_tokens=200, messages=messages, tools=[TIME], **options)


@pytest.mark.gateway
def test_arguments_keep_the_order_of_their_keys(booked_anthropic, other_model, sent, marker):
    answer = continued(booked_anthropic, other_model, tool_turn(marker, {"content": "noon"}))
    assert text_of(answer) == "Results: noon"
    (call,) = sent()["messages"][1]["tool_calls"]
    assert call["function"]["arguments"] == '{"zone":"CET","a":1}'


@pytest.mark.gateway
def test_a_failed_tool_is_told_as_such(booked_anthropic, other_model, marker):
    answer = continued(booked_anthropic, other_model, tool_turn(marker, {"content": "no clock", "is_error": True}))
    assert text_of(answer).startswith("Results: Error")
    assert "no clock" in text_of(answer)


@pytest.mark.gateway
def test_an_image_in_a_tools_result_is_not_lost(booked_anthropic, other_model, sent, marker):
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    result = {"content": [{"type": "text", "text": "a photo"}, image]}
    continued(booked_anthropic, other_model, tool_turn(marker, result))
    roles = [message["role"] for message in sent()["messages"]]
    assert roles == ["user", "assistant", "tool", "user"]
    assert sent()["messages"][3]["content"][0]["image_url"]["url"] == f"data:image/png;base64,{PIXEL}"


@pytest.mark.gateway
def test_long_tool_ids_are_mapped_alike_for_call_and_result(booked_anthropic, gpt, marker):
    answer = continued(booked_anthropic, gpt, tool_turn(marker, {"content": "noon"}, "toolu_" + "x" * 60))
    assert text_of(answer) == "Results: noon"


@pytest.mark.gateway
def test_results_stand_before_the_words_that_follow_them(booked_anthropic, other_model, sent, marker):
    messages = tool_turn(marker, {"content": "noon"})
    messages[-1]["content"].append({"type": "text", "text": f"id:{marker} echo:Lunch."})
    assert text_of(continued(booked_anthropic, other_model, messages)) == "Lunch."
    assert [message["role"] for message in sent()["messages"]] == ["user", "assistant", "tool", "user"]


@pytest.mark.gateway
@pytest.mark.parametrize(
    "quirk",
    [
        "no-ids",
        "no-index",
        "same-index",
        "one-delta",
        "object-arguments",
        "stop-with-tools",
        "no-done",
        "usage-on-finish",
        "noise",
        "role-text",
        "text-with-tools,one-delta",
        "groq",
        "openrouter",
        "deepseek",
    ],
)
@both_ways
def test_the_ways_of_compatible_servers_make_no_difference(booked_anthropic, gateway, marker, quirk, stream):
    text = f"id:{marker} quirk:{quirk} {TWO_CALLS} echo:Let me look."
    answer = either(stream)(booked_anthropic, gateway.model("compat", "qwen3-coder"), text, tools=[WEATHER, TIME])
    assert [block.type for block in answer.content] == ["text", "tool_use", "tool_use"]
    assert text_of(answer) == "Let me look."
    uses = tool_uses_of(answer)
    assert [use[1:] for use in uses] == [("get_weather", {"city": "São_Paulo"}), ("get_time", {})]
    assert len({identity for identity, _, _ in uses}) == 2 and all(identity for identity, _, _ in uses)
    assert answer.stop_reason == "tool_use"


@pytest.mark.gateway
@both_ways
def test_a_server_with_ids_of_its_own_makes_the_round_trip(booked_anthropic, gateway, marker, stream):
    model = gateway.model("compat", "qwen3-coder")
    text = f"id:{marker} quirk:mistral call:get_time={{}}"
    try:
        first = either(stream)(booked_anthropic, model, text, tools=[TIME])
    except anthropic.UnprocessableEntityError:
        pytest.fail("a field that only OpenAI knows was sent to a compatible server")
    messages = [*user(text), {"role": "assistant", "content": first.content}]
    result = {"type": "tool_result", "tool_use_id": tool_uses_of(first)[0][0], "content": "noon"}
    messages.append({"role": "user", "content": [result]})
    assert text_of(continued(booked_anthropic, model, messages)) == "Results: noon"


@pytest.mark.gateway
def test_cache_hits_under_another_name_are_counted(booked_anthropic, gateway, marker):
    text = f"id:{marker} quirk:deepseek usage:in=4,read=16,out=9 hello"
    usage = ask(booked_anthropic, gateway.model("compat", "qwen3-coder"), text).usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (4, 16, 9)


# Structured output


@both_ways
def test_structured_output_is_parsed(booked_anthropic, provider, model, sent, marker, stream):
    if stream:
        with booked_anthropic.messages.stream(
            model=model, max_tokens=200, messages=user(f"id:{marker} a city"), output_format=City
        ) as events:
            answer = events.get_final_message()
    else:
        answer = booked_anthropic.messages.parse(
            model=model, max_tokens=200, messages=user(f"id:{marker} a city"), output_format=City
        )
    assert answer.parsed_output == City(name="text", inhabitants=1)
    assert answer.stop_reason == "end_turn"
    if provider != "anthropic":
        assert sent()["response_format"]["type"] == "json_schema"


# Thinking


@pytest.mark.gateway
@pytest.mark.parametrize(
    ("thinking", "options", "effort"),
    [
        ({"type": "enabled", "budget_tokens": 1024}, {}, ("minimal", "low")),
        ({"type": "enabled", "budget_tokens": 16000}, {}, ("high", "xhigh", "max")),
        ({"type": "adaptive"}, {"output_config": {"effort": "medium"}}, ("medium",)),
    ],
    ids=["little", "much", "adaptive"],
)
def test_a_thinking_budget_becomes_an_effort(booked_anthropic, gateway, sent, marker, thinking, options, effort):
    booked_anthropic.messages.create(
        model=gateway.model("openai", "gpt-5-mini"),
        max_tokens=20_000,
        messages=user(f"id:{marker} think:Hm. echo:four"),
        thinking=thinking,
        **options,
    )
    assert sent()["reasoning_effort"] in effort


@pytest.mark.gateway
@pytest.mark.parametrize("quirk", ["none", "reasoning"])
@both_ways
def test_a_compatible_servers_thoughts_are_shown(booked_anthropic, gateway, marker, quirk, stream):
    text = f"id:{marker} quirk:{quirk} think:Two_plus_two. echo:four"
    answer = either(stream)(booked_anthropic, gateway.model("compat", "qwen3-coder"), text)
    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert (answer.content[0].thinking, answer.content[0].signature) == ("Two plus two.", "")
    assert text_of(answer) == "four"


@both_ways
def test_thoughts_go_back_with_the_next_turn(booked_anthropic, provider, model, marker, stream):
    options = {"thinking": {"type": "enabled", "budget_tokens": 1024}} if provider == "anthropic" else {}
    text = f"id:{marker} think:I_need_the_time. call:get_time={{}}"
    first = either(stream)(booked_anthropic, model, text, max_tokens=2000, tools=[TIME], **options)
    messages = [*user(text), {"role": "assistant", "content": first.content}]
    result = {"type": "tool_result", "tool_use_id": tool_uses_of(first)[0][0], "content": "noon"}
    messages.append({"role": "user", "content": [result]})
    second = booked_anthropic.messages.create(model=model, max_tokens=2000, messages=messages, tools=[TIME], **options)
    assert text_of(second) == "Results: noon"


@pytest.mark.gateway
@pytest.mark.parametrize("signature", ["", "Q2xhdWRl"], ids=["unsigned", "signed"])
def test_thoughts_in_the_history_are_left_out_for_openai(booked_anthropic, gpt, sent, marker, signature):
    """The conversation changes its provider, as after a fallback."""
    thought = {"type": "thinking", "thinking": "Two plus two.", "signature": signature}
    blocks = [thought, {"type": "redacted_thinking", "data": "UmVk"}, {"type": "text", "text": "four"}]
    messages = [*user("2+2?"), {"role": "assistant", "content": blocks}, *user(f"id:{marker} echo:six")]
    answer = booked_anthropic.messages.create(model=gpt, max_tokens=200, messages=messages)
    assert text_of(answer) == "six"
    assert "Two plus two" not in json.dumps(sent())


# Parameters


@pytest.mark.gateway
@pytest.mark.parametrize(("other", "field"), [("openai", "safety_identifier"), ("compat", "user")])
def test_the_user_is_named_in_the_providers_way(booked_anthropic, gateway, sent, marker, other, field):
    model = gateway.model(other, MODELS[other])
    ask(booked_anthropic, model, f"id:{marker} hello", metadata={"user_id": "user-7"})
    assert sent()[field] == "user-7"


@pytest.mark.gateway
def test_a_long_user_id_is_shortened_for_openai(booked_anthropic, gpt, sent, marker):
    ask(booked_anthropic, gpt, f"id:{marker} hello", metadata={"user_id": "u" * 100})
    assert 0 < len(sent()["safety_identifier"]) <= 64


@pytest.mark.gateway
def test_the_old_versions_temperature_goes_along(anthropic_options, booked, gpt, sent, marker):
    headers = {**booked, "anthropic-version": OLD_VERSION}
    with anthropic.Anthropic(**anthropic_options, default_headers=headers) as client:
        ask(client, gpt, f"id:{marker} hello", extra_body={"temperature": 0.5, "top_p": 0.9})
    assert (sent()["temperature"], sent()["top_p"]) == (0.5, 0.9)


@pytest.mark.gateway
@pytest.mark.parametrize("field", ["temperature", "top_p", "top_k"])
def test_the_new_version_refuses_sampling_for_every_provider(booked_anthropic, other_model, upstream, marker, field):
    headers = {"anthropic-version": "2026-10-21"}
    with pytest.raises(anthropic.BadRequestError, match=field):
        ask(booked_anthropic, other_model, f"id:{marker} hello", extra_body={field: 1}, extra_headers=headers)
    assert upstream.account(marker) == []


UNTRANSLATABLE = {
    "tools": {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
    "container": {"extra_body": {"container": "container_1"}},
    "mcp_servers": {"extra_body": {"mcp_servers": [{"type": "url", "url": "https://x.test", "name": "x"}]}},
    "context_management": {"extra_body": {"context_management": {"edits": []}}},
    "speed": {"extra_body": {"speed": "fast"}},
    "inference_geo": {"extra_body": {"inference_geo": "us"}},
    "thinking": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    "stop_sequences": {"stop_sequences": list("abcde")},
    "user_profile_id": {"extra_body": {"user_profile_id": "p"}},
}


@pytest.mark.gateway
@pytest.mark.parametrize("field", UNTRANSLATABLE)
def test_what_openai_cannot_do_is_refused_by_name(booked_anthropic, gpt, upstream, marker, field):
    with pytest.raises(anthropic.BadRequestError) as caught:
        booked_anthropic.messages.create(
            model=gpt, max_tokens=2000, messages=user(f"id:{marker} hello"), **UNTRANSLATABLE[field]
        )
    message = caught.value.body["error"]["message"]
    assert field in message and "gpt-4o-mini" in message
    assert caught.value.body["error"]["type"] == "invalid_request_error"
    assert upstream.account(marker) == []


CONTENT = {
    "search_result": {
        "type": "search_result",
        "source": "https://x.test",
        "title": "x",
        "content": [{"type": "text", "text": "x"}],
    },
    "image": {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
    "document": {"type": "document", "source": {"type": "url", "url": "https://x.test/a.pdf"}},
}


@pytest.mark.gateway
@pytest.mark.parametrize("kind", CONTENT)
def test_content_that_openai_cannot_read_is_refused_by_name(booked_anthropic, gpt, upstream, marker, kind):
    content = [CONTENT[kind], {"type": "text", "text": f"id:{marker} hello"}]
    with pytest.raises(anthropic.BadRequestError, match=kind):
        booked_anthropic.messages.create(model=gpt, max_tokens=200, messages=[{"role": "user", "content": content}])
    assert upstream.account(marker) == []


@pytest.mark.gateway
def test_a_document_is_refused_where_no_file_can_go(booked_anthropic, gateway, upstream, marker):
    source = {"type": "base64", "media_type": "application/pdf", "data": PIXEL}
    content = [{"type": "document", "source": source}, {"type": "text", "text": f"id:{marker} hello"}]
    model = gateway.model("compat", "qwen3-coder")
    with pytest.raises(anthropic.BadRequestError, match="document"):
        booked_anthropic.messages.create(model=model, max_tokens=200, messages=[{"role": "user", "content": content}])
    assert upstream.account(marker) == []


@pytest.mark.gateway
def test_a_prefill_is_refused_since_openai_would_not_continue_it(booked_anthropic, gpt, upstream, marker):
    messages = [*user(f"id:{marker} continue"), {"role": "assistant", "content": "Once upon"}]
    with pytest.raises(anthropic.BadRequestError, match="assistant"):
        booked_anthropic.messages.create(model=gpt, max_tokens=200, messages=messages)
    assert upstream.account(marker) == []


@pytest.mark.gateway
def test_filling_the_cache_only_is_refused(booked_anthropic, gpt, upstream, marker):
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        booked_anthropic.messages.create(model=gpt, max_tokens=0, messages=user(f"id:{marker} hello"))
    assert upstream.account(marker) == []


# Counting


def test_tokens_are_counted_by_the_provider(anthropic_client, gateway):
    counted = anthropic_client.messages.count_tokens(
        model=gateway.model("anthropic", "claude-haiku-4-5"), system="Be brief.", messages=user("one two three")
    )
    assert counted.input_tokens == 5


@pytest.mark.gateway
def test_tokens_are_estimated_where_nobody_counts_them(anthropic_client, other_model):
    texts = ["one two three four five six", "one two three four five six " * 100]
    counts = [
        anthropic_client.messages.count_tokens(model=other_model, messages=user(text), tools=[WEATHER]).input_tokens
        for text in texts
    ]
    assert 6 <= counts[0] < counts[1]
    assert counts[1] >= 600


# Errors


ERRORS = [
    (400, anthropic.BadRequestError, (400,), "invalid_request_error"),
    (404, anthropic.NotFoundError, (404,), "not_found_error"),
    (413, anthropic.APIStatusError, (413,), "request_too_large"),
    (429, anthropic.RateLimitError, (429,), "rate_limit_error"),
    (500, anthropic.InternalServerError, (500, 502), "api_error"),
    (503, anthropic.APIStatusError, (529,), "overloaded_error"),
]


@pytest.mark.gateway
@pytest.mark.parametrize(("status", "error", "told", "kind"), ERRORS, ids=[str(row[0]) for row in ERRORS])
@both_ways
def test_a_failure_of_openai_has_the_class_of_this_sdk(
    anthropic_client, faulty, upstream, marker, status, error, told, kind, stream
):
    with pytest.raises(error) as caught:
        text = f"id:{marker} error:{status};retry-after-ms=20"
        ask(anthropic_client, faulty("openai", "gpt-4o-mini"), text, stream=stream)
    assert caught.value.status_code in told
    body = caught.value.response.json()
    assert (body["type"], body["error"]["type"]) == ("error", kind)
    assert body["error"]["message"]
    assert body["request_id"] == caught.value.response.headers["request-id"]
    if status == 429:
        assert {"retry-after", "retry-after-ms"} & set(caught.value.response.headers)
    assert 1 <= len(upstream.account(marker)) <= 3


@pytest.mark.gateway
def test_a_refused_provider_key_is_not_the_clients_fault(anthropic_client, gateway, marker):
    with pytest.raises(anthropic.InternalServerError) as caught:
        ask(anthropic_client, gateway.model("wrong-key-openai", "gpt-4o-mini"), f"id:{marker} hello")
    assert "sk-not-the-key" not in caught.value.response.text


@pytest.mark.gateway
def test_an_exhausted_account_is_payment_required(anthropic_options, faulty, upstream, marker):
    with anthropic.Anthropic(**{**anthropic_options, "max_retries": 2}) as client:
        with pytest.raises(anthropic.APIStatusError) as caught:
            ask(client, faulty("openai", "gpt-4o-mini"), f"id:{marker} fixture:openai_429_quota.json")
    assert caught.value.status_code == 402
    assert caught.value.response.json()["error"]["type"] == "billing_error"
    assert len(upstream.account(marker)) == 1


@pytest.mark.gateway
def test_a_prompt_that_is_too_long_has_its_words(anthropic_client, faulty, marker):
    with pytest.raises(anthropic.BadRequestError) as caught:
        ask(anthropic_client, faulty("openai", "gpt-4o-mini"), f"id:{marker} fixture:openai_400_context.json")
    assert caught.value.body["error"]["message"].startswith("prompt is too long")


@pytest.mark.gateway
def test_the_gateway_waits_out_a_rate_limit_of_openai(anthropic_client, faulty, upstream, marker):
    text = f"id:{marker} error:429;retry-after-ms=20;times=1 echo:at last"
    assert text_of(ask(anthropic_client, faulty("openai", "gpt-4o-mini"), text)) == "at last"
    assert [entry["status"] for entry in upstream.account(marker)] == [429, 200]


@pytest.mark.gateway
@pytest.mark.parametrize(
    "directive",
    [
        "fixture:openai_stream_error.sse",
        "fixture:openai_stream_truncated.sse",
        "cut:3 echo:Half an answer",
        "truncate:3 echo:Half an answer",
        "hang:3 echo:Half an answer",
    ],
    ids=lambda text: text.split()[0].replace(":", "_"),
)
def test_an_openai_stream_without_its_end_raises(anthropic_client, faulty, marker, directive):
    model = faulty("openai", "gpt-4o-mini")
    stream = ask(anthropic_client, model, f"id:{marker} {directive}", stream=True)
    seen, error = read_until_error(stream, anthropic.APIStatusError)
    assert seen and "Half an answer".startswith(seen)
    assert error.body["error"]["type"] in ("api_error", "overloaded_error", "timeout_error")


@pytest.mark.gateway
def test_an_error_amid_a_compatible_servers_stream_raises(anthropic_client, faulty, marker):
    text = f"id:{marker} quirk:openrouter-error echo:Half an answer and more"
    stream = ask(anthropic_client, faulty("compat", "qwen3-coder"), text, stream=True)
    seen, _ = read_until_error(stream, anthropic.APIStatusError)
    assert seen == "Half an"


@pytest.mark.gateway
def test_a_quiet_stream_shows_that_it_lives(anthropic_client, gpt, marker):
    with anthropic_client.messages.with_streaming_response.create(
        model=gpt, messages=user(f"id:{marker} hang:3"), max_tokens=100, stream=True, extra_headers={"x-tollgate-timeout": "7s"}
    ) as answer:
        names = (line for line in answer.iter_lines() if line.startswith("event: "))
        assert next(names) == "event: message_start"
        assert any(name == "event: ping" for name in names)
