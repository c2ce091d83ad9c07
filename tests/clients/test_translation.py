"""The official OpenAI SDK's chat completions, answered by a provider of each kind.

Without the gateway the cases run against the provider's own chat completions, which shows that they ask for nothing
that OpenAI would not do.
"""

import base64
import json
import time

import openai
import pydantic
import pytest

from conftest import OLD_VERSION
from test_openai import read_until_error, streamed_text, tool_calls_of, user

MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5", "compat": "qwen3-coder"}
EVERY_PROVIDER = ["openai", pytest.param("anthropic", marks=pytest.mark.gateway)]
EVERY_PROVIDER += [pytest.param("compat", marks=pytest.mark.gateway)]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
TIME = {"type": "function", "function": {"name": "get_time"}}
PIXEL = base64.b64encode(bytes(range(64))).decode()
TWO_CALLS = 'call:get_weather={"city":"São_Paulo"} call:get_time={}'


class City(pydantic.BaseModel):
    name: str
    inhabitants: int


@pytest.fixture(params=EVERY_PROVIDER)
def provider(request):
    return request.param


@pytest.fixture
def model(gateway, provider):
    return gateway.model(provider, MODELS[provider])


@pytest.fixture
def claude(gateway):
    return gateway.model("anthropic", "claude-haiku-4-5")


def chat(client, model, marker, text, **options):
    return client.chat.completions.create(model=model, messages=user(f"id:{marker} {text}"), **options)


def streamed_chat(client, model, marker, text, **options):
    """The completion that the SDK itself puts together from the stream."""
    options.setdefault("messages", user(f"id:{marker} {text}"))
    with client.chat.completions.stream(model=model, **options) as stream:
        return stream.get_final_completion()


def parts_of(answer, stream):
    """Content, refusal and finish reason, without the SDK's own judgement on how an answer may end."""
    if not stream:
        choice = answer.choices[0]
        return choice.message.content or "", choice.message.refusal or "", choice.finish_reason
    choices = [chunk.choices[0] for chunk in answer if chunk.choices]
    content = "".join(choice.delta.content or "" for choice in choices)
    refusal = "".join(choice.delta.refusal or "" for choice in choices)
    return content, refusal, choices[-1].finish_reason


def either(stream):
    return streamed_chat if stream else chat


both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


# Text


def test_an_answer_is_the_models_words(booked_openai, model, marker):
    answer = chat(booked_openai, model, marker, "echo:Grüße, 東京 🗼!")
    assert answer.choices[0].message.content == "Grüße, 東京 🗼!"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.created > 1_500_000_000


def test_a_stream_is_the_same_words_in_well_formed_chunks(booked_openai, model, marker):
    chunks = list(chat(booked_openai, model, marker, "split:3 echo:Grüße, 東京 🗼!", stream=True))
    assert streamed_text(chunks) == "Grüße, 東京 🗼!"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "stop"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert len({(chunk.id, chunk.model, chunk.created, chunk.object) for chunk in chunks}) == 1
    assert not any("usage" in chunk.model_fields_set for chunk in chunks)


def test_the_usage_chunk_comes_last_when_asked_for(booked_openai, upstream, model, marker):
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(chat(booked_openai, model, marker, "usage:in=100,read=20,out=7 hello", **options))
    assert chunks[-1].choices == []
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (120, 7)
    assert chunks[-1].usage.total_tokens == 127
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens == 20
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)


def test_a_record_arrives_before_the_next_one_is_sent(booked_openai, model, marker):
    started = time.monotonic()
    stream = chat(booked_openai, model, marker, "drip:200ms echo:one two three four five six seven", stream=True)
    next(chunk for chunk in stream if chunk.choices and chunk.choices[0].delta.content)
    first_after = time.monotonic() - started
    streamed_text(stream)
    # Some ten records, 200 ms apart: whoever holds them back delivers the first one with the last.
    assert time.monotonic() - started - first_after > 0.8


@pytest.mark.gateway
@both_ways
def test_every_kind_of_input_token_is_in_the_usage(booked_openai, claude, marker, stream):
    options = {"stream_options": {"include_usage": True}} if stream else {}
    text = "usage:in=12,read=2048,write5m=512,write1h=1024,out=14,reasoning=5 hello"
    answer = either(stream)(booked_openai, claude, marker, text, **options)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3596, 14)
    assert answer.usage.total_tokens == 3610
    assert answer.usage.prompt_tokens_details.cached_tokens == 2048
    assert answer.usage.prompt_tokens_details.cache_write_tokens == 1536
    assert answer.usage.completion_tokens_details.reasoning_tokens == 5


@both_ways
@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_the_cap_ends_an_answer(booked_openai, model, sent, marker, field, stream):
    answer = chat(booked_openai, model, marker, "echo:one two three four five", stream=stream, **{field: 3})
    assert parts_of(answer, stream) == ("one two three", "", "length")
    assert 3 in (sent().get("max_tokens"), sent().get("max_completion_tokens"))


@pytest.mark.gateway
def test_without_a_cap_claude_gets_the_most_it_can_write(booked_openai, claude, sent, marker):
    chat(booked_openai, claude, marker, "hello")
    assert sent()["max_tokens"] == 64_000


@both_ways
@pytest.mark.parametrize("stop", ["END", ["nothing", "END"]], ids=["one", "several"])
def test_a_stop_sequence_ends_an_answer(booked_openai, model, marker, stop, stream):
    answer = either(stream)(booked_openai, model, marker, "echo:before END after", stop=stop)
    assert answer.choices[0].message.content == "before "
    assert answer.choices[0].finish_reason == "stop"


@both_ways
def test_a_refusal_is_told_apart_from_an_answer(booked_openai, provider, model, marker, stream):
    answer = chat(booked_openai, model, marker, "refuse:I_will_not.", stream=stream)
    content, refusal, finish_reason = parts_of(answer, stream)
    assert content == ""
    assert finish_reason == ("content_filter" if provider == "anthropic" else "stop")
    # The lenient server knows no such field.
    assert refusal == ("" if provider == "compat" else "I will not.")


@pytest.mark.gateway
def test_what_a_filter_stopped_is_no_ordinary_end(booked_openai, claude, marker):
    answer = chat(booked_openai, claude, marker, "filtered echo:Half an")
    assert answer.choices[0].finish_reason == "content_filter"


# Prompts


def test_leading_instructions_reach_the_model_in_order(booked_openai, provider, model, sent, marker):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        *user(f"id:{marker} echo:ok"),
    ]
    answer = booked_openai.chat.completions.create(model=model, messages=messages)
    assert answer.choices[0].message.content == "ok"
    if provider == "anthropic":
        system = sent()["system"]
        assert [(block["type"], block["text"]) for block in system] == [("text", "Be brief."), ("text", "Be kind.")]
        assert [message["role"] for message in sent()["messages"]] == ["user"]


@pytest.mark.gateway
@pytest.mark.parametrize("name", ["claude-haiku-4-5", "claude-sonnet-5"])
def test_later_instructions_are_not_lost(booked_openai, gateway, sent, marker, name):
    messages = [*user("first"), {"role": "assistant", "content": "yes"}]
    messages += [*user(f"id:{marker} echo:ok"), {"role": "system", "content": "From now on, rhyme."}]
    answer = booked_openai.chat.completions.create(model=gateway.model("anthropic", name), messages=messages)
    assert answer.choices[0].message.content == "ok"
    roles = [message["role"] for message in sent()["messages"]]
    assert roles == ["user", "assistant", "user"] + (["system"] if name == "claude-sonnet-5" else [])
    assert "From now on, rhyme." in json.dumps(sent())


def test_an_image_arrives_as_the_provider_wants_it(booked_openai, provider, model, sent, marker):
    content = [
        {"type": "text", "text": f"id:{marker} echo:a pixel"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "auto"}},
        {"type": "image_url", "image_url": {"url": "https://example.test/cat.jpg"}},
    ]
    answer = booked_openai.chat.completions.create(model=model, messages=[{"role": "user", "content": content}])
    assert answer.choices[0].message.content == "a pixel"
    if provider == "anthropic":
        sources = [block["source"] for block in sent()["messages"][0]["content"] if block["type"] == "image"]
        assert sources == [
            {"type": "base64", "media_type": "image/png", "data": PIXEL},
            {"type": "url", "url": "https://example.test/cat.jpg"},
        ]


@pytest.mark.gateway
def test_a_document_arrives_with_its_name(booked_openai, claude, sent, marker):
    pdf = base64.b64encode(b"%PDF-1.7 small").decode()
    file = {"filename": "offer.pdf", "file_data": f"data:application/pdf;base64,{pdf}"}
    content = [{"type": "file", "file": file}, {"type": "text", "text": f"id:{marker} echo:read"}]
    booked_openai.chat.completions.create(model=claude, messages=[{"role": "user", "content": content}])
    document = sent()["messages"][0]["content"][0]
    assert document["source"] == {"type": "base64", "media_type": "application/pdf", "data": pdf}
    assert document["title"] == "offer.pdf"


# Tools


@both_ways
def test_parallel_tool_calls_make_a_round_trip(booked_openai, model, marker, stream):
    tools = [WEATHER, TIME]
    first = either(stream)(booked_openai, model, marker, TWO_CALLS, tools=tools)
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    assert not message.content
    calls = tool_calls_of(message)
    assert [call[1:] for call in calls] == [("get_weather", {"city": "São_Paulo"}), ("get_time", {})]
    assert len({identity for identity, _, _ in calls}) == 2
    assert message.tool_calls[1].function.arguments == "{}"
    turns = user(f"id:{marker} {TWO_CALLS}") + [message.model_dump(exclude_none=True, exclude={"parsed"})]
    for call in turns[1]["tool_calls"]:
        call["function"].pop("parsed_arguments", None)
    # In the other order: what belongs together is told by the ids.
    results = {calls[1][0]: "noon", calls[0][0]: "sunny"}
    turns += [{"role": "tool", "tool_call_id": identity, "content": text} for identity, text in results.items()]
    second = booked_openai.chat.completions.create(model=model, messages=turns, tools=tools)
    assert sorted(second.choices[0].message.content.removeprefix("Results: ").split(" | ")) == ["noon", "sunny"]
    assert second.choices[0].finish_reason == "stop"


@both_ways
def test_words_may_stand_before_a_tool_call(booked_openai, model, marker, stream):
    text = 'call:get_weather={"city":"Paris"} echo:Let me look.'
    answer = either(stream)(booked_openai, model, marker, text, tools=[WEATHER])
    assert answer.choices[0].message.content == "Let me look."
    assert [call[1:] for call in tool_calls_of(answer.choices[0].message)] == [("get_weather", {"city": "Paris"})]


def test_streamed_tool_deltas_count_tools_and_name_each_once(booked_openai, model, marker):
    text = f"{TWO_CALLS} echo:Let me look."
    chunks = list(chat(booked_openai, model, marker, text, tools=[WEATHER, TIME], stream=True))
    deltas = [delta for chunk in chunks for delta in chunk.choices[0].delta.tool_calls or []]
    assert {delta.index for delta in deltas} == {0, 1}
    for index, name in enumerate(["get_weather", "get_time"]):
        own = [delta for delta in deltas if delta.index == index]
        assert [delta.function.name for delta in own if delta.function.name] == [name]
        assert [bool(delta.id) for delta in own] == [True] + [False] * (len(own) - 1)
        json.loads("".join(delta.function.arguments or "" for delta in own))


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("required", "get_time"),
        ({"type": "function", "function": {"name": "get_weather"}}, "get_weather"),
        ("auto", None),
        ("none", None),
    ],
    ids=["required", "named", "auto", "none"],
)
def test_a_tool_choice_is_obeyed(booked_openai, model, marker, choice, called):
    answer = chat(booked_openai, model, marker, "hello", tools=[TIME, WEATHER], tool_choice=choice)
    calls = answer.choices[0].message.tool_calls or []
    assert [call.function.name for call in calls] == ([called] if called else [])


def test_parallel_calls_can_be_switched_off(booked_openai, model, marker):
    answer = chat(booked_openai, model, marker, TWO_CALLS, tools=[WEATHER, TIME], parallel_tool_calls=False)
    assert [call.function.name for call in answer.choices[0].message.tool_calls] == ["get_weather"]


@pytest.mark.gateway
def test_foreign_tool_ids_are_mapped_alike_for_call_and_result(booked_openai, claude, sent, marker):
    call = {"id": "call:1/ü", "type": "function", "function": {"name": "get_time", "arguments": ""}}
    turns = user(f"id:{marker} time?") + [{"role": "assistant", "tool_calls": [call]}]
    turns += [{"role": "tool", "tool_call_id": "call:1/ü", "content": "noon"}]
    answer = booked_openai.chat.completions.create(model=claude, messages=turns, tools=[TIME])
    assert answer.choices[0].message.content == "Results: noon"
    assert sent()["messages"][1]["content"][-1]["input"] == {}


@pytest.mark.gateway
def test_results_and_the_next_words_share_one_turn(booked_openai, claude, sent, marker):
    calls = [
        {"id": f"call_{name}", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"A"}'}}
        for name in "ab"
    ]
    turns = user("weather?") + [{"role": "assistant", "content": "Looking.", "tool_calls": calls}]
    turns += [{"role": "tool", "tool_call_id": call["id"], "content": "dry"} for call in calls]
    turns += user(f"id:{marker} echo:Dry all over.")
    answer = booked_openai.chat.completions.create(model=claude, messages=turns, tools=[WEATHER])
    assert answer.choices[0].message.content == "Dry all over."
    kinds = [[block["type"] for block in message["content"]] for message in sent()["messages"][1:]]
    assert kinds == [["text", "tool_use", "tool_use"], ["tool_result", "tool_result", "text"]]


# Structured output


@both_ways
def test_structured_output_is_parsed(booked_openai, model, marker, stream):
    if stream:
        answer = streamed_chat(booked_openai, model, marker, "a city", response_format=City)
    else:
        messages = user(f"id:{marker} a city")
        answer = booked_openai.chat.completions.parse(model=model, messages=messages, response_format=City)
    assert answer.choices[0].message.parsed == City(name="text", inhabitants=1)
    assert answer.choices[0].finish_reason == "stop"
    assert not answer.choices[0].message.tool_calls


@pytest.mark.gateway
@both_ways
def test_a_model_without_schemas_of_its_own_still_keeps_to_one(booked_openai, gateway, sent, marker, stream):
    model = gateway.model("anthropic", "claude-opus-4-1")
    schema = City.model_json_schema() | {"additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema, "strict": True}}
    answer = either(stream)(booked_openai, model, marker, "a city", response_format=wanted)
    assert json.loads(answer.choices[0].message.content) == {"name": "text", "inhabitants": 1}
    assert answer.choices[0].finish_reason == "stop"
    assert not answer.choices[0].message.tool_calls
    assert "output_config" not in sent()


@pytest.mark.gateway
@pytest.mark.parametrize("name", ["claude-haiku-4-5", "claude-opus-4-1"])
def test_a_schema_that_leaves_its_objects_open_is_no_obstacle(booked_openai, gateway, marker, name):
    """As the `llm` command sends it; Anthropic itself takes only objects that are closed."""
    city = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    schema = {"type": "object", "properties": {"cities": {"type": "array", "items": city, "minItems": 1}}}
    schema["required"] = ["cities"]
    wanted = {"type": "json_schema", "json_schema": {"name": "cities", "schema": schema}}
    answer = chat(booked_openai, gateway.model("anthropic", name), marker, "cities", response_format=wanted)
    assert json.loads(answer.choices[0].message.content) == {"cities": [{"name": "text"}]}


# Thinking


@pytest.mark.gateway
@pytest.mark.parametrize("name", ["claude-haiku-4-5", "claude-sonnet-4-6", "claude-sonnet-5"])
def test_claude_thinks_when_it_is_asked_to(booked_openai, gateway, sent, marker, name):
    text = "think:Two_plus_two. echo:four"
    answer = chat(booked_openai, gateway.model("anthropic", name), marker, text, reasoning_effort="high")
    assert answer.choices[0].message.content == "four"
    assert answer.choices[0].message.model_extra["reasoning_content"] == "Two plus two."
    assert answer.usage.completion_tokens_details.reasoning_tokens == 3
    if name == "claude-haiku-4-5":
        assert sent()["thinking"]["type"] == "enabled"
        assert 1024 <= sent()["thinking"]["budget_tokens"] < sent()["max_tokens"]
    else:
        assert sent()["thinking"]["type"] == "adaptive"
        assert sent()["output_config"]["effort"] == "high"


@pytest.mark.gateway
def test_a_small_cap_leaves_no_room_for_a_thinking_budget(booked_openai, claude, upstream, marker):
    options = {"reasoning_effort": "high", "max_completion_tokens": 500}
    try:
        answer = chat(booked_openai, claude, marker, "echo:ok", **options)
    except openai.BadRequestError as error:
        # Said by the gateway itself, with the field's own name, and not by the provider.
        assert error.param in ("reasoning_effort", "max_completion_tokens")
        assert upstream.account(marker) == []
    else:
        assert answer.choices[0].message.content == "ok"


@pytest.mark.gateway
@pytest.mark.parametrize("provider_model", ["anthropic/claude-haiku-4-5", "compat/qwen3-coder"])
def test_thoughts_are_streamed_before_the_words(booked_openai, marker, provider_model):
    options = {"stream": True, "reasoning_effort": "low"}
    chunks = list(chat(booked_openai, provider_model, marker, "think:Two_plus_two. echo:four now", **options))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    thoughts = [(delta.model_extra or {}).get("reasoning_content") or "" for delta in deltas]
    assert "".join(thoughts) == "Two plus two."
    assert streamed_text(chunks) == "four now"
    last_thought = max(number for number, thought in enumerate(thoughts) if thought)
    assert not any(delta.content for delta in deltas[: last_thought + 1])


@pytest.mark.gateway
def test_a_tool_turn_goes_on_after_thoughts(booked_openai, claude, marker):
    options = {"tools": [TIME], "reasoning_effort": "low", "max_completion_tokens": 8000}
    text = "think:I_need_the_time. call:get_time={}"
    first = chat(booked_openai, claude, marker, text, **options).choices[0].message
    turns = user(f"id:{marker} {text}") + [first.model_dump(exclude_none=True)]
    turns.append({"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "noon"})
    second = booked_openai.chat.completions.create(model=claude, messages=turns, **options)
    assert second.choices[0].message.content == "Results: noon"


@pytest.mark.gateway
def test_a_tool_turn_goes_on_even_if_the_client_dropped_the_thoughts(booked_openai, claude, marker):
    options = {"tools": [TIME], "reasoning_effort": "low", "max_completion_tokens": 8000}
    first = chat(booked_openai, claude, marker, "think:Hm. call:get_time={}", **options).choices[0].message
    call = first.tool_calls[0]
    function = {"name": call.function.name, "arguments": call.function.arguments}
    turns = user(f"id:{marker} think:Hm. call:get_time={{}}")
    turns.append({"role": "assistant", "tool_calls": [{"id": call.id, "type": "function", "function": function}]})
    turns.append({"role": "tool", "tool_call_id": call.id, "content": "noon"})
    second = booked_openai.chat.completions.create(model=claude, messages=turns, **options)
    assert second.choices[0].message.content == "Results: noon"


# Parameters


@pytest.mark.gateway
def test_a_temperature_goes_to_a_claude_that_takes_one(booked_openai, claude, upstream, sent, marker):
    chat(booked_openai, claude, marker, "hello", temperature=0.25)
    assert sent()["temperature"] == 0.25
    (entry,) = upstream.account(marker)
    assert upstream.request(entry)[0]["anthropic-version"] == OLD_VERSION


@pytest.mark.gateway
@pytest.mark.parametrize("name", ["claude-haiku-4-5", "claude-sonnet-5"])
def test_defaults_that_frameworks_send_do_no_harm(booked_openai, gateway, sent, marker, name):
    defaults = {
        "n": 1,
        "temperature": 1,
        "top_p": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "logprobs": False,
        "logit_bias": {},
        "store": False,
        "modalities": ["text"],
        "service_tier": "auto",
        "response_format": {"type": "text"},
        "parallel_tool_calls": True,
        "metadata": {"team": "blue"},
    }
    answer = chat(booked_openai, gateway.model("anthropic", name), marker, "echo:ok", **defaults)
    assert answer.choices[0].message.content == "ok"
    assert set(sent()) <= {"model", "messages", "max_tokens", "stream"}


@pytest.mark.gateway
def test_the_user_is_named_in_anthropics_way(booked_openai, claude, sent, marker):
    chat(booked_openai, claude, marker, "hello", user="user-7")
    assert sent()["metadata"] == {"user_id": "user-7"}


UNTRANSLATABLE = {
    "n": {"n": 2},
    "logprobs": {"logprobs": True},
    "logit_bias": {"logit_bias": {"50256": 1}},
    "seed": {"seed": 7},
    "presence_penalty": {"presence_penalty": 0.5},
    "frequency_penalty": {"frequency_penalty": -0.5},
    "prediction": {"prediction": {"type": "content", "content": "x"}},
    "modalities": {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
    "web_search_options": {"web_search_options": {}},
    "store": {"store": True},
    "verbosity": {"verbosity": "low"},
    "service_tier": {"service_tier": "flex"},
    "temperature": {"temperature": 1.5},
    "stop": {"stop": ["\n"]},
    "tools": {"tools": [{"type": "custom", "custom": {"name": "shell"}}]},
}


def check_refused(caught, upstream, marker, field, model):
    error = caught.value
    assert error.status_code == 400
    assert error.type == "invalid_request_error"
    assert (error.param or "").startswith(field) or field in (error.param or "")
    assert model in error.message, "the message names the model that can't do it"
    assert upstream.account(marker) == []


@pytest.mark.gateway
@pytest.mark.parametrize("field", UNTRANSLATABLE)
def test_what_claude_cannot_do_is_refused_by_name(booked_openai, claude, upstream, marker, field):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(booked_openai, claude, marker, "hello", **UNTRANSLATABLE[field])
    check_refused(caught, upstream, marker, field, "claude-haiku-4-5")


@pytest.mark.gateway
@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {"data": PIXEL, "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-abc"}},
        {"type": "image_url", "image_url": {"url": f"data:image/bmp;base64,{PIXEL}"}},
    ],
    ids=["audio", "file_id", "bmp"],
)
def test_content_that_claude_cannot_read_is_refused_by_name(booked_openai, claude, upstream, marker, part):
    content = [{"type": "text", "text": f"id:{marker} hello"}, part]
    with pytest.raises(openai.BadRequestError) as caught:
        booked_openai.chat.completions.create(model=claude, messages=[{"role": "user", "content": content}])
    check_refused(caught, upstream, marker, "messages", "claude-haiku-4-5")


@pytest.mark.gateway
@pytest.mark.parametrize("field", ["temperature", "top_p"])
def test_sampling_is_refused_for_a_claude_without_it(booked_openai, gateway, upstream, marker, field):
    with pytest.raises(openai.BadRequestError) as caught:
        chat(booked_openai, gateway.model("anthropic", "claude-sonnet-5"), marker, "hello", **{field: 0.5})
    check_refused(caught, upstream, marker, field, "claude-sonnet-5")


@pytest.mark.gateway
def test_a_forced_tool_is_refused_for_a_claude_that_takes_none(booked_openai, gateway, upstream, marker):
    model = gateway.model("anthropic", "claude-sonnet-5-5")
    with pytest.raises(openai.BadRequestError) as caught:
        chat(booked_openai, model, marker, "hello", tools=[TIME], tool_choice="required")
    check_refused(caught, upstream, marker, "tool_choice", "claude-sonnet-5-5")


@pytest.mark.gateway
def test_a_call_without_its_result_is_refused_with_its_id(booked_openai, claude, upstream, marker):
    call = {"id": "call_lost", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
    turns = user("time?") + [{"role": "assistant", "tool_calls": [call]}, *user(f"id:{marker} well?")]
    with pytest.raises(openai.BadRequestError, match="call_lost"):
        booked_openai.chat.completions.create(model=claude, messages=turns, tools=[TIME])
    assert upstream.account(marker) == []


@pytest.mark.gateway
@pytest.mark.parametrize("arguments", ["not json", "[1]", '"text"'])
def test_arguments_that_are_no_object_are_refused(booked_openai, claude, upstream, marker, arguments):
    call = {"id": "call_a", "type": "function", "function": {"name": "get_time", "arguments": arguments}}
    turns = user(f"id:{marker} time?") + [{"role": "assistant", "tool_calls": [call]}]
    turns += [{"role": "tool", "tool_call_id": "call_a", "content": "noon"}]
    with pytest.raises(openai.BadRequestError):
        booked_openai.chat.completions.create(model=claude, messages=turns, tools=[TIME])
    assert upstream.account(marker) == []


# Errors


ERRORS = [
    (400, openai.BadRequestError, (400,), None),
    (404, openai.NotFoundError, (404,), "model_not_found"),
    (413, openai.APIStatusError, (413,), None),
    (429, openai.RateLimitError, (429,), "rate_limit_exceeded"),
    (500, openai.InternalServerError, (500, 502), None),
    (529, openai.InternalServerError, (503,), "overloaded"),
]


@pytest.mark.gateway
@pytest.mark.parametrize(("status", "error", "told", "code"), ERRORS, ids=[str(row[0]) for row in ERRORS])
@both_ways
def test_a_failure_of_claude_has_the_class_of_this_sdk(
    openai_client, faulty, upstream, marker, status, error, told, code, stream
):
    with pytest.raises(error) as caught:
        text = f"error:{status};retry-after-ms=20"
        chat(openai_client, faulty("anthropic", "claude-haiku-4-5"), marker, text, stream=stream)
    assert caught.value.status_code in told
    assert set(caught.value.response.json()["error"]) == {"message", "type", "param", "code"}
    assert caught.value.message
    if code:
        assert caught.value.code == code
    if status == 429:
        assert {"retry-after", "retry-after-ms"} & set(caught.value.response.headers)
    assert 1 <= len(upstream.account(marker)) <= 3


@pytest.mark.gateway
def test_a_refused_provider_key_is_not_the_clients_fault(openai_client, gateway, marker):
    with pytest.raises(openai.InternalServerError) as caught:
        chat(openai_client, gateway.model("wrong-key-anthropic", "claude-haiku-4-5"), marker, "hello")
    assert "sk-not-the-key" not in caught.value.response.text


@pytest.mark.gateway
def test_a_prompt_that_is_too_long_has_its_code(openai_client, faulty, marker):
    text = "error:400;message=prompt_is_too_long:_250000_tokens_>_200000_maximum"
    with pytest.raises(openai.BadRequestError) as caught:
        chat(openai_client, faulty("anthropic", "claude-haiku-4-5"), marker, text)
    assert caught.value.code == "context_length_exceeded"


@pytest.mark.gateway
def test_the_gateway_waits_out_a_rate_limit_of_claude(openai_client, faulty, upstream, marker):
    raw = openai_client.chat.completions.with_raw_response.create(
        model=faulty("anthropic", "claude-haiku-4-5"),
        messages=user(f"id:{marker} error:429;retry-after-ms=20;times=1 echo:at last"),
    )
    assert raw.parse().choices[0].message.content == "at last"
    assert [entry["status"] for entry in upstream.account(marker)] == [429, 200]


@pytest.mark.gateway
@pytest.mark.parametrize("directive", ["fixture:anthropic_stream_error.sse", "cut:6", "truncate:6", "hang:6"])
def test_a_claude_stream_without_its_end_raises(openai_client, faulty, marker, directive):
    text = directive if "fixture" in directive else f"{directive} echo:Half an answer and more"
    stream = chat(openai_client, faulty("anthropic", "claude-haiku-4-5"), marker, text, stream=True)
    seen, error = read_until_error(stream, openai.APIError)
    assert seen and "Half an answer".startswith(seen)
    assert not isinstance(error, openai.APIConnectionError)


@pytest.mark.gateway
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_fallback_may_cross_the_dialects(openai_client, upstream, marker, stream):
    raw = openai_client.chat.completions.with_raw_response.create(
        model="crossing", messages=user(f"id:{marker} echo:from the other side"), stream=stream
    )
    answer = raw.parse()
    assert (streamed_text(answer) if stream else answer.choices[0].message.content) == "from the other side"
    assert raw.headers["x-tollgate-provider"] == "anthropic"
    (entry,) = upstream.account(marker)
    assert entry["dialect"] == "anthropic"


@pytest.mark.gateway
def test_a_quiet_stream_shows_that_it_lives(openai_client, claude, marker):
    with openai_client.chat.completions.with_streaming_response.create(
        model=claude, messages=user(f"id:{marker} hang:4"), stream=True, extra_headers={"x-tollgate-timeout": "7s"}
    ) as answer:
        lines = answer.iter_lines()
        assert any(line == ": ping" for line in lines)
