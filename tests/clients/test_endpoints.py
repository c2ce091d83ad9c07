"""OpenAI's other endpoints through its official SDK: legacy completions, and what is passed on unread."""

import io
import json
import urllib.error
import urllib.request

import anthropic
import openai
import pytest

from conftest import get_json

INSTRUCT = "gpt-3.5-turbo-instruct"


def complete(client, gateway, prompt, **options):
    return client.completions.create(model=gateway.model("openai", INSTRUCT), prompt=prompt, **options)


# Completions


def test_a_prompt_is_completed(booked_openai, gateway, marker):
    answer = complete(booked_openai, gateway, f"id:{marker} usage:in=30,out=9 echo:Hallo, Welt ✓")
    assert answer.choices[0].text == "Hallo, Welt ✓"
    assert (answer.object, answer.choices[0].finish_reason) == ("text_completion", "stop")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (30, 9)


@pytest.mark.parametrize("asked", [False, True], ids=["usage_not_asked", "usage_asked"])
def test_a_completion_is_streamed(booked_openai, gateway, marker, asked):
    options = {"stream_options": {"include_usage": True}} if asked else {}
    text = f"id:{marker} split:3 usage:in=30,out=9 echo:Hallo, schöne Welt ✓"
    chunks = list(complete(booked_openai, gateway, text, stream=True, **options))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "Hallo, schöne Welt ✓"
    if asked:
        assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 9
    else:
        assert not any("usage" in chunk.model_fields_set for chunk in chunks)


def test_the_cap_and_the_stop_end_a_completion(booked_openai, gateway, marker):
    answer = complete(booked_openai, gateway, f"id:{marker} echo:one two three four", max_tokens=2)
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("one two", "length")


@pytest.mark.gateway
def test_anthropic_has_no_completions(booked_openai, gateway, upstream, marker):
    model = gateway.model("anthropic", "claude-haiku-4-5")
    with pytest.raises(openai.BadRequestError) as caught:
        booked_openai.completions.create(model=model, prompt=f"id:{marker} hello")
    assert "claude-haiku-4-5" in caught.value.message and "completions" in caught.value.message
    assert upstream.account(marker) == []


# What is passed on


def test_content_is_moderated(openai_client, gateway, upstream, marker):
    model = gateway.model("openai", "omni-moderation-latest")
    answer = openai_client.moderations.create(model=model, input=f"id:{marker} hello")
    assert [result.flagged for result in answer.results] == [False]


def test_an_image_is_made(openai_client, gateway, marker):
    answer = openai_client.images.generate(model=gateway.model("openai", "gpt-image-1"), prompt=f"id:{marker} a cat")
    assert answer.data[0].b64_json


def test_speech_is_written_down(openai_client, gateway, upstream, marker):
    speech = io.BytesIO(bytes(range(256)) * 40)
    speech.name = "ü.wav"
    answer = openai_client.audio.transcriptions.create(
        model=gateway.model("openai", "gpt-4o-transcribe"), file=speech, prompt=f"id:{marker}"
    )
    assert answer.text.startswith("10240 bytes of ")


def test_files_and_batches_live_at_the_provider(openai_client, upstream, marker):
    content = b'{"custom_id":"1"}\n' * 100
    file = openai_client.files.create(file=(f"id={marker}.jsonl", content), purpose="batch")
    assert file.bytes == len(content)
    assert openai_client.files.retrieve(file.id).filename == f"id={marker}.jsonl"
    assert openai_client.files.content(file.id).read() == content
    assert file.id in [listed.id for listed in openai_client.files.list()]
    batch = openai_client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert openai_client.batches.retrieve(batch.id).input_file_id == file.id
    assert openai_client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        openai_client.files.retrieve(file.id)


@pytest.mark.gateway
def test_the_virtual_key_stays_here_on_every_path(openai_client, gateway, upstream, marker):
    openai_client.files.create(file=(f"id={marker}.jsonl", b"{}\n"), purpose="batch")
    (entry,) = upstream.account(marker)
    headers, body = upstream.request(entry)
    assert headers["authorization"] == "Bearer sk-upstream-test"
    assert gateway.key not in str(headers) and gateway.key.encode() not in body


@pytest.mark.gateway
@pytest.mark.parametrize("path", ["/v1/moderations", "/v1/images/generations", "/v1/files", "/v1/batches"])
def test_nothing_is_passed_on_without_a_key(gateway, upstream, path):
    before = len(upstream.paths())
    with pytest.raises(AssertionError, match=": 401 "):
        get_json(f"{gateway.url}{path}", "tg-wrong", "POST", {"input": "hello", "model": "openai/gpt-4o-mini"})
    assert len(upstream.paths()) == before or f"{path}" not in upstream.paths()[before:]


@pytest.mark.gateway
@pytest.mark.parametrize("endpoint", ["moderations", "images"])
def test_what_has_no_price_is_refused_under_a_block_budget(openai_options, gateway, upstream, marker, endpoint):
    budget = {"window": "day", "limitUsd": "5", "action": "block"}
    key = gateway.admin("/api/keys", "POST", {"name": f"capped-{marker}", "budgets": [budget]})["key"]
    with openai.OpenAI(**{**openai_options, "api_key": key}) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            if endpoint == "moderations":
                client.moderations.create(model="openai/omni-moderation-latest", input=f"id:{marker} hello")
            else:
                client.images.generate(model="openai/gpt-image-1", prompt=f"id:{marker} a cat")
    assert 400 <= caught.value.status_code < 500
    assert "no known price" in str(caught.value) or "whose price nobody can tell" in str(caught.value)
    assert upstream.account(marker) == []


@pytest.mark.gateway
def refused(gateway, method, path):
    """What is said to a request without an SDK: status, headers, body."""
    headers = {"authorization": f"Bearer {gateway.key}"}
    request = urllib.request.Request(f"{gateway.url}{path}", headers=headers, method=method)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    return caught.value.code, caught.value.headers, json.load(caught.value)


@pytest.mark.gateway
@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("", "/v1"),
        ("/v1/v1", "/v1"),
        ("//v1", "/v1"),
    ],
    ids=["no_version", "two_versions", "two_slashes"],
)
def test_a_client_of_openai_with_a_wrong_base_url_learns_the_right_one(gateway, openai_options, path, right):
    with openai.OpenAI(**{**openai_options, "base_url": f"{gateway.url}{path}"}) as client:
        calls = [
            lambda: client.chat.completions.create(model="x", messages=[{"role": "user", "content": "hi"}]),
            lambda: client.responses.create(model="x", input="hi"),
            lambda: client.embeddings.create(model="x", input="hi"),
            lambda: client.completions.create(model="x", prompt="hi"),
            lambda: client.models.list(),
            lambda: client.models.retrieve("x"),
        ]
        for call in calls:
            with pytest.raises(openai.NotFoundError) as caught:
                call()
            assert f"{gateway.url}{right}" in caught.value.message, caught.value.message
            assert caught.value.code == "unknown_path"


@pytest.mark.gateway
@pytest.mark.parametrize("path", ["/v1", "//"], ids=["with_version", "two_slashes"])
def test_a_client_of_anthropic_with_a_wrong_base_url_learns_the_right_one(gateway, anthropic_options, path):
    with anthropic.Anthropic(**{**anthropic_options, "base_url": f"{gateway.url}{path}"}) as client:
        for call in (
            lambda: client.messages.create(model="x", max_tokens=9, messages=[{"role": "user", "content": "hi"}]),
            lambda: client.messages.count_tokens(model="x", messages=[{"role": "user", "content": "hi"}]),
            lambda: client.models.list(),
        ):
            with pytest.raises(anthropic.NotFoundError) as caught:
                call()
            told = caught.value.body
            assert told["error"]["type"] == "not_found_error" and told["request_id"]
            assert told["error"]["message"].endswith(f"without /v1: {gateway.url}")


@pytest.mark.gateway
@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("DELETE", "/v1/messages", "POST"),
        ("PUT", "/v1/files/file-1", "GET, POST, DELETE"),
        ("POST", "/v1/models", "GET"),
    ],
)
def test_a_wrong_method_says_which_are_right(gateway, method, path, allowed):
    status, headers, told = refused(gateway, method, path)
    assert (status, headers["allow"]) == (405, allowed)
    assert allowed in told["error"]["message"]
    assert ("request_id" in told) == path.startswith("/v1/messages")


@pytest.mark.gateway
def test_an_unknown_path_lists_what_is_served(gateway):
    status, _, told = refused(gateway, "GET", "/v1/assistants")
    assert status == 404
    assert "/v1/chat/completions" in told["error"]["message"]


@pytest.mark.gateway
@pytest.mark.parametrize("name", ["openai/gpt-4o-mini", "openai%2Fgpt-4o-mini"])
def test_a_model_is_found_with_its_provider(gateway, name):
    found = get_json(f"{gateway.url}/v1/models/{name}", gateway.key)
    assert (found["id"], found["owned_by"]) == ("openai/gpt-4o-mini", "openai")
    with pytest.raises(AssertionError, match=": 404"):
        get_json(f"{gateway.url}/v1/models/openai/no-such-model", gateway.key)


def test_realtime_is_not_here_and_says_so(gateway):
    with pytest.raises(AssertionError, match=r": 404 .*[Rr]ealtime"):
        get_json(f"{gateway.url}/v1/realtime?model=gpt-realtime", gateway.key)
