"""The exact response cache as the official SDKs see it: what is answered from it, what never is, and what it costs."""

import asyncio
import json
import threading
import time
import urllib.request
from decimal import Decimal

import anthropic
import openai
import pytest

from books import picodollars, settled_row
from conftest import ADMIN_TOKEN, wait_for
from test_openai import user
from test_translation import WEATHER, both_ways

pytestmark = pytest.mark.gateway

MINI = "openai/gpt-4o-mini"
HAIKU = "anthropic/claude-haiku-4-5"
PARALLEL_CALLS = 50


def raw_chat(client, marker, text="echo:Grüße, 東京 🗼", model=MINI, headers=None, **options):
    """One call, read to its end: what was said, and the headers."""
    options.setdefault("messages", user(f"id:{marker} {text}"))
    raw = client.chat.completions.with_raw_response.create(model=model, extra_headers=headers or {}, **options)
    answer = raw.parse()
    if options.get("stream"):
        chunks = list(answer)
        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1]
        return said, raw.headers, chunks
    return answer.choices[0].message.content, raw.headers, answer


def raw_message(client, marker, text="echo:Grüße, 東京 🗼", model=HAIKU, stream=False, **options):
    """As `raw_chat`."""
    options = {"model": model, "max_tokens": 200, "messages": user(f"id:{marker} {text}"), **options}
    if stream:
        with client.messages.stream(**options) as events:
            answer = events.get_final_message()
            headers = events.response.headers
    else:
        raw = client.messages.with_raw_response.create(**options)
        answer, headers = raw.parse(), raw.headers
    return "".join(block.text for block in answer.content if block.type == "text"), headers, answer


def seen(results):
    return [headers["x-tollgate-cache"] for _, headers, _ in results]


# Hits


def test_the_same_call_again_is_a_hit_that_costs_nothing(openai_client, gateway, upstream, marker):
    results = [
        raw_chat(openai_client, marker, "usage:in=100,out=10 echo:once", headers={"x-request-id": f"{marker}-{number}"})
        for number in range(2)
    ]
    assert seen(results) == ["miss", "hit"]
    assert [said for said, _, _ in results] == ["once", "once"]
    hit = results[1][1]
    assert Decimal(hit["x-tollgate-cost-usd"]) == 0
    assert int(hit["x-tollgate-cache-age"]) >= 0
    assert hit["x-tollgate-cache-entry"]
    assert hit["x-tollgate-request-id"] != results[0][1]["x-tollgate-request-id"]
    assert len(upstream.account(marker)) == 1
    first, second = (settled_row(gateway, f"{marker}-{number}") for number in range(2))
    assert (first["cache"], picodollars(first["cost_usd"])) == ("miss", 21_000_000)
    assert (second["status"], second["cache"], picodollars(second["cost_usd"])) == ("settled", "hit", 0)
    assert (second["provider"], second["model"]) == (first["provider"], first["model"])


def test_a_hit_is_the_same_answer_to_the_byte(openai_client, marker):
    raws = [
        openai_client.chat.completions.with_raw_response.create(
            model=MINI, messages=user(f"id:{marker} fixture:openai_chat_tools.json")
        )
        for _ in range(2)
    ]
    assert [raw.headers["x-tollgate-cache"] for raw in raws] == ["miss", "hit"]
    assert raws[0].http_response.content == raws[1].http_response.content


@pytest.mark.parametrize("first_streams", [False, True], ids=["whole_first", "stream_first"])
@pytest.mark.parametrize("model", [MINI, HAIKU], ids=["openai", "anthropic"])
def test_streams_and_whole_answers_stand_in_for_each_other_in_chat(
    openai_client, upstream, marker, first_streams, model
):
    text = "usage:in=100,read=20,out=7 echo:Grüße, 東京 🗼"
    results = [
        raw_chat(openai_client, marker, text, model, stream=stream) for stream in (first_streams, not first_streams)
    ]
    results.append(raw_chat(openai_client, marker, text, model, stream=True, stream_options={"include_usage": True}))
    assert seen(results) == ["miss", "hit", "hit"]
    assert [said for said, _, _ in results] == ["Grüße, 東京 🗼"] * 3
    assert len(upstream.account(marker)) == 1
    whole = next(answer for (_, _, answer), stream in zip(results, (first_streams, not first_streams)) if not stream)
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (120, 7)
    plain = next(answer for (_, _, answer), stream in zip(results, (first_streams, not first_streams)) if stream)
    assert not any("usage" in chunk.model_fields_set for chunk in plain)
    asked = results[2][2]
    assert asked[-1].choices == [] and asked[-1].usage.prompt_tokens == 120


@pytest.mark.parametrize("first_streams", [False, True], ids=["whole_first", "stream_first"])
@pytest.mark.parametrize("model", [HAIKU, MINI], ids=["anthropic", "openai"])
def test_streams_and_whole_answers_stand_in_for_each_other_in_messages(
    anthropic_client, upstream, marker, first_streams, model
):
    text = "usage:in=100,read=20,out=7 echo:Grüße, 東京 🗼"
    order = (first_streams, not first_streams)
    results = [raw_message(anthropic_client, marker, text, model, stream) for stream in order]
    assert seen(results) == ["miss", "hit"]
    assert [said for said, _, _ in results] == ["Grüße, 東京 🗼"] * 2
    for _, _, answer in results:
        usage = answer.usage
        assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (100, 20, 7)
        assert answer.stop_reason == "end_turn"
    assert len(upstream.account(marker)) == 1


@pytest.mark.parametrize("first_streams", [False, True], ids=["whole_first", "stream_first"])
def test_streams_and_whole_answers_stand_in_for_each_other_in_responses(openai_client, upstream, marker, first_streams):
    texts, caches = [], []
    for stream in (first_streams, not first_streams):
        raw = openai_client.responses.with_raw_response.create(
            model=MINI, input=f"id:{marker} echo:Grüße, 東京 🗼", stream=stream, store=False
        )
        answer = raw.parse()
        if stream:
            *_, last = answer
            assert last.type == "response.completed"
            answer = last.response
        texts.append(answer.output_text)
        caches.append(raw.headers["x-tollgate-cache"])
    assert texts == ["Grüße, 東京 🗼"] * 2
    assert caches == ["miss", "hit"]
    assert len(upstream.account(marker)) == 1


@pytest.mark.parametrize("first_streams", [False, True], ids=["whole_first", "stream_first"])
def test_tool_calls_survive_the_change_of_form(openai_client, anthropic_client, marker, first_streams):
    call = 'call:get_weather={"city":"São_Paulo"} call:get_weather={"city":"Paris"}'
    wanted = [{"city": "São_Paulo"}, {"city": "Paris"}]
    for stream in (first_streams, not first_streams):
        options = {"model": MINI, "messages": user(f"id:{marker} {call}"), "tools": [WEATHER]}
        if stream:
            with openai_client.chat.completions.stream(**options) as events:
                answer = events.get_final_completion()
        else:
            answer = openai_client.chat.completions.create(**options)
        calls = answer.choices[0].message.tool_calls
        assert [json.loads(call.function.arguments) for call in calls] == wanted
        assert answer.choices[0].finish_reason == "tool_calls"
    tool = {"name": "get_weather", "input_schema": WEATHER["function"]["parameters"]}
    for stream in (first_streams, not first_streams):
        _, _, answer = raw_message(anthropic_client, marker, call, stream=stream, tools=[tool])
        assert [block.input for block in answer.content] == wanted
        assert answer.stop_reason == "tool_use"


def test_embeddings_are_kept_too(openai_client, upstream, marker):
    raws = [
        openai_client.embeddings.with_raw_response.create(model="openai/text-embedding-3-small", input=f"id:{marker}")
        for _ in range(2)
    ]
    assert [raw.headers["x-tollgate-cache"] for raw in raws] == ["miss", "hit"]
    assert raws[0].parse().data[0].embedding == raws[1].parse().data[0].embedding
    assert len(upstream.account(marker)) == 1


# What is the same call


def post(client, body):
    return client.post(
        "/chat/completions",
        cast_to=openai.types.chat.ChatCompletion,
        content=body.encode(),
        options={"headers": {"content-type": "application/json"}},
    )


def test_spelling_makes_no_other_call(openai_client, upstream, marker):
    message = f'{{"role":"user","content":"id:{marker} gr\\u00fc\\u00dfe"}}'
    spellings = [
        f'{{"model":"{MINI}","messages":[{message}],"temperature":1,"seed":7}}',
        f'{{"seed":7,"temperature":1.0,"messages":[{message}],"model":"{MINI}"}}',
        f' {{ "temperature": 10e-1 , "seed": 7, "model": "{MINI}", "messages": [ {message} ] }} ',
        f'{{"model":"{MINI}","messages":[{{"content":"id:{marker} grüße","role":"user"}}],"temperature":1,"seed":7}}',
    ]
    for spelling in spellings:
        post(openai_client, spelling)
    assert len(upstream.account(marker)) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"temperature": 0.5},
        {"seed": 8},
        {"max_tokens": 50},
        {"tools": [WEATHER]},
        {"response_format": {"type": "json_object"}},
        {"model": "openai/gpt-4o"},
        {"model": "compat/qwen3-coder"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_another_call_is_no_hit(openai_client, marker, changed):
    first = raw_chat(openai_client, marker, seed=7)
    second = raw_chat(openai_client, marker, **{"seed": 7, **changed})
    assert seen([first, second]) == ["miss", "miss"]


def test_the_order_of_turns_matters(openai_client, marker):
    turns = [*user(f"id:{marker} a"), {"role": "assistant", "content": "x"}, *user(f"id:{marker} b")]
    results = [raw_chat(openai_client, marker, messages=messages) for messages in (turns, turns[::-1])]
    assert seen(results) == ["miss", "miss"]


def test_another_key_gets_no_hit(openai_client, openai_options, gateway, upstream, marker):
    other = gateway.admin("/api/keys", "POST", {"name": f"other-{marker}"})["key"]
    first = raw_chat(openai_client, marker)
    with openai.OpenAI(**{**openai_options, "api_key": other}) as client:
        second = raw_chat(client, marker)
        third = raw_chat(client, marker)
    assert seen([first, second, third]) == ["miss", "miss", "hit"]
    assert len(upstream.account(marker)) == 2


# Modes


def test_bypass_neither_reads_nor_keeps(openai_client, upstream, marker):
    around = {"x-tollgate-cache": "bypass"}
    results = [raw_chat(openai_client, marker, headers=headers) for headers in (around, {}, around, {})]
    assert seen(results) == ["bypass", "miss", "bypass", "hit"]
    assert len(upstream.account(marker)) == 3


def test_refresh_asks_anew_and_keeps_the_answer(openai_client, upstream, marker):
    results = [
        raw_chat(openai_client, marker, headers=headers) for headers in ({}, {"x-tollgate-cache": "refresh"}, {})
    ]
    assert seen(results)[0] == "miss" and seen(results)[2] == "hit"
    assert seen(results)[1] != "hit"
    assert len(upstream.account(marker)) == 2


def test_only_answers_from_the_cache_or_not_at_all(openai_options, openai_client, upstream, marker):
    only = {"x-tollgate-cache": "only"}
    with openai.OpenAI(**{**openai_options, "max_retries": 2}) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            raw_chat(client, marker, headers=only)
    assert (caught.value.status_code, caught.value.code) == (504, "cache_miss")
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert upstream.account(marker) == []
    raw_chat(openai_client, marker)
    assert seen([raw_chat(openai_client, marker, headers=only)]) == ["hit"]


def test_only_is_an_error_of_the_other_dialect_too(anthropic_client, upstream, marker):
    with pytest.raises(anthropic.GatewayTimeoutError):
        raw_message(anthropic_client, marker, extra_headers={"x-tollgate-cache": "only"})
    assert upstream.account(marker) == []


def test_an_entry_ends_with_its_time(openai_client, upstream, marker):
    brief = {"x-tollgate-cache-ttl": "3s"}
    assert seen([raw_chat(openai_client, marker, headers=brief)] * 1) == ["miss"]
    assert seen([raw_chat(openai_client, marker)]) == ["hit"]
    time.sleep(3.2)
    assert seen([raw_chat(openai_client, marker)]) == ["miss"]
    assert len(upstream.account(marker)) == 2


@pytest.mark.parametrize(
    "header", [{"x-tollgate-cache": "sometimes"}, {"x-tollgate-cache-ttl": "soon"}], ids=["mode", "ttl"]
)
def test_a_mode_that_is_none_is_the_clients_fault(openai_client, upstream, marker, header):
    with pytest.raises(openai.BadRequestError, match=next(iter(header))):
        raw_chat(openai_client, marker, headers=header)
    assert upstream.account(marker) == []


# What is never kept


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("echo:one two three four", {"max_tokens": 2}),
        ("refuse:I_will_not.", {}),
        ("spaced refuse:I_will_not.", {}),
        ("filtered echo:Half an", {}),
    ],
    ids=["cut_short", "refused", "refused_with_spaces", "filtered"],
)
@both_ways
def test_an_answer_that_is_none_is_not_kept(openai_client, upstream, marker, text, options, stream):
    results = [raw_chat(openai_client, marker, text, stream=stream, **options) for _ in range(2)]
    assert "hit" not in seen(results)
    assert len(upstream.account(marker)) == 2


@pytest.mark.parametrize(
    ("text", "options"),
    [("echo:one two three four", {"max_tokens": 2}), ("refuse:I_will_not.", {})],
    ids=["cut_short", "refused"],
)
@both_ways
def test_no_message_that_is_none_is_kept(anthropic_client, upstream, marker, text, options, stream):
    results = [raw_message(anthropic_client, marker, text, stream=stream, **options) for _ in range(2)]
    assert "hit" not in seen(results)
    assert len(upstream.account(marker)) == 2


@pytest.mark.parametrize("text", ["refuse:I_will_not.", "spaced refuse:I_will_not."], ids=["compact", "spaced"])
@both_ways
def test_a_translated_refusal_is_not_kept(anthropic_client, upstream, marker, text, stream):
    results = [raw_message(anthropic_client, marker, text, MINI, stream) for _ in range(2)]
    assert [answer.stop_reason for _, _, answer in results] == ["refusal"] * 2
    assert "hit" not in seen(results)
    assert len(upstream.account(marker)) == 2


@both_ways
def test_a_refused_response_is_not_kept(openai_client, upstream, marker, stream):
    for _ in range(2):
        raw = openai_client.responses.with_raw_response.create(
            model=MINI, input=f"id:{marker} spaced refuse:I_will_not.", stream=stream
        )
        assert raw.headers["x-tollgate-cache"] == "miss"
        assert "I will not." in raw.http_response.read().decode()
    assert len(upstream.account(marker)) == 2


def test_warming_tells_what_is_not_kept_and_why(openai_client, gateway, marker):
    def line(text, **options):
        return json.dumps({"model": MINI, "messages": user(f"id:{marker} {text}"), **options})

    lines = [
        line("echo:kept"),
        line("echo:one two three four", max_tokens=2),
        line("echo:one two three", max_tokens=2, stream=True),
        line("refuse:I_will_not."),
        line("echo:two answers", n=2),
    ]
    request = urllib.request.Request(
        f"{gateway.url}/api/cache/warm?key=sdk",
        data="\n".join(lines).encode(),
        headers={"authorization": f"Bearer {ADMIN_TOKEN}", "content-type": "application/x-ndjson"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        warmed = json.load(response)
    assert (warmed["warmed"], warmed["hits"], warmed["notCached"], warmed["failed"]) == (1, 0, 4, 0), warmed
    assert [(told["line"], told["reason"]) for told in warmed["notCachedLines"]] == [
        (2, "the answer was cut"),
        (3, "the answer was cut"),
        (4, "the model refused"),
        (5, "answers to such a request are never kept"),
    ]


def test_what_a_call_brings_that_ran_while_the_cache_was_cleared_is_not_kept(openai_client, gateway, upstream, marker):
    results = []

    def call(text="slow:2s echo:old"):
        results.append(raw_chat(openai_client, marker, text))

    running = threading.Thread(target=call)
    running.start()
    wait_for(lambda: upstream.account(marker), "the call reaching the provider", 10)
    gateway.admin("/api/cache?pattern=no-such-model-*", "DELETE")
    running.join()
    call()
    assert seen(results) == ["miss", "miss"]
    call()
    assert seen(results)[-1] == "hit"


def test_several_choices_are_not_kept(openai_client, upstream, marker):
    results = [raw_chat(openai_client, marker, n=2) for _ in range(2)]
    assert "hit" not in seen(results)
    assert len(upstream.account(marker)) == 2


@pytest.mark.parametrize("status", [400, 429, 500])
def test_an_error_is_not_kept(openai_client, faulty, upstream, marker, status):
    model = faulty("openai", "gpt-4o-mini")
    # As often as the gateway tries: the first call fails for good, the second finds the provider well.
    times = 1 if status == 400 else 3
    text = f"error:{status};retry-after-ms=10;times={times} echo:well again"
    with pytest.raises(openai.APIStatusError):
        raw_chat(openai_client, marker, text, model)
    before = len(upstream.account(marker))
    said, headers, _ = raw_chat(openai_client, marker, text, model)
    assert (said, headers["x-tollgate-cache"]) == ("well again", "miss")
    assert len(upstream.account(marker)) == before + 1


@pytest.mark.parametrize("behaviour", ["cut:4", "truncate:4"])
def test_an_interrupted_stream_is_not_kept(openai_client, faulty, upstream, marker, behaviour):
    model = faulty("openai", "gpt-4o-mini")
    for _ in range(2):
        with pytest.raises(openai.APIError):
            raw_chat(openai_client, marker, f"{behaviour} echo:one two three four", model, stream=True)
    assert len(upstream.account(marker)) == 2


def test_a_stream_that_the_client_left_is_not_kept_in_part(openai_client, marker):
    text = "drip:40ms echo:" + " ".join(f"word{number}" for number in range(30))
    stream = openai_client.chat.completions.create(model=MINI, messages=user(f"id:{marker} {text}"), stream=True)
    next(stream)
    stream.close()
    said, _, _ = raw_chat(openai_client, marker, text)
    assert said == text.partition("echo:")[2]


# Calls that share one


async def ask_at_once(options, count, text, stream_every=None, model=MINI):
    """The same call `count` times at once; every `stream_every`-th as a stream."""

    async def one(client, number):
        stream = bool(stream_every) and number % stream_every == 0
        raw = await client.chat.completions.with_raw_response.create(
            model=model, messages=user(text), **({"stream": True} if stream else {})
        )
        answer = raw.parse()
        if stream:
            said = "".join([c.choices[0].delta.content or "" async for c in answer if c.choices])
        else:
            said = answer.choices[0].message.content
        return said, raw.headers["x-tollgate-cache"], raw.headers.get("x-tollgate-request-id")

    async with openai.AsyncOpenAI(**options) as client:
        return await asyncio.gather(*(one(client, number) for number in range(count)), return_exceptions=True)


@pytest.mark.asyncio
@pytest.mark.parametrize("stream_every", [None, 1, 2], ids=["whole", "streamed", "mixed"])
async def test_identical_calls_at_once_make_one_call(openai_options, gateway, upstream, marker, stream_every):
    text = f"id:{marker} slow:400ms usage:in=100,out=10 echo:shared by all"
    options = {**openai_options, "default_headers": {"x-request-id": marker}}
    results = await ask_at_once(options, PARALLEL_CALLS, text, stream_every)
    assert [said for said, _, _ in results] == ["shared by all"] * PARALLEL_CALLS
    assert len(upstream.account(marker)) == 1
    caches = [cache for _, cache, _ in results]
    assert (caches.count("miss"), caches.count("hit")) == (1, PARALLEL_CALLS - 1)
    assert len({identity for _, _, identity in results}) == PARALLEL_CALLS
    costs = []
    for _, _, identity in results:
        entry = await asyncio.to_thread(settled_entry, gateway, identity)
        costs.append(picodollars(entry["costUsd"]))
    # 100 x 150,000 + 10 x 600,000, once
    assert sorted(costs) == [0] * (PARALLEL_CALLS - 1) + [21_000_000]


def settled_entry(gateway, identity):
    for _ in range(400):
        entry = gateway.admin(f"/api/requests/{identity}")
        if entry["status"] == "settled":
            return entry
        time.sleep(0.02)
    raise AssertionError(f"{identity} is still {entry['status']}")


@pytest.mark.asyncio
async def test_calls_that_bypass_share_nothing(openai_options, upstream, marker):
    options = {**openai_options, "default_headers": {"x-tollgate-cache": "bypass"}}
    results = await ask_at_once(options, 5, f"id:{marker} slow:200ms echo:my own")
    assert [cache for _, cache, _ in results] == ["bypass"] * 5
    assert len(upstream.account(marker)) == 5


@pytest.mark.asyncio
async def test_who_joined_a_failing_call_is_told_so(openai_options, faulty, marker):
    model = faulty("openai", "gpt-4o-mini")
    results = await ask_at_once(openai_options, 5, f"id:{marker} slow:100ms error:400 hello", model=model)
    assert all(isinstance(result, openai.BadRequestError) for result in results), results


def test_who_joined_is_served_although_the_first_caller_left(openai_client, openai_options, upstream, marker):
    text = f"id:{marker} drip:60ms echo:" + " ".join(f"word{number}" for number in range(20))
    stream = openai_client.chat.completions.create(model=MINI, messages=user(text), stream=True)
    next(stream)
    answers = []

    def join():
        with openai.OpenAI(**openai_options) as client:
            answers.append(client.chat.completions.create(model=MINI, messages=user(text)))

    joined = threading.Thread(target=join)
    joined.start()
    time.sleep(0.3)
    stream.close()
    joined.join(timeout=30)
    assert [answer.choices[0].message.content for answer in answers] == [text.partition("echo:")[2]]


# Counts


def test_hits_and_what_they_saved_are_counted(openai_client, gateway, marker):
    def counts():
        cache = gateway.admin("/api/status")["cache"]
        return (
            cache["metrics"]["hits"],
            cache["metrics"]["misses"],
            Decimal(cache["metrics"]["savedUsd"]),
            cache["size"],
        )

    before = counts()
    for _ in range(3):
        raw_chat(openai_client, marker, "usage:in=100,out=10 echo:counted")
    after = counts()
    assert after[0] - before[0] == 2
    assert after[1] - before[1] == 1
    assert after[2] - before[2] == 2 * Decimal("0.000021")
    assert after[3] - before[3] == 1
