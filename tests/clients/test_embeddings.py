"""Embeddings through the official OpenAI SDK, from servers that send base64 and from those that don't."""

import base64
import json
import struct

import openai
import pytest

EMBEDDER = "text-embedding-3-small"


@pytest.fixture
def model(gateway):
    return gateway.model("openai", EMBEDDER)


def test_what_the_sdk_asks_for_by_itself_is_decoded(booked_openai, model, marker):
    answer = booked_openai.embeddings.create(model=model, input=["a" * 32, f"id:{marker}"])
    assert [item.embedding for item in answer.data] == [[0.5, 0.5, -0.25], [19 / 64, 0.5, -0.25]]
    assert [item.index for item in answer.data] == [0, 1]
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (2, 2)
    assert answer.object == "list"


def test_numbers_are_numbers_when_asked_for(booked_openai, model, marker):
    answer = booked_openai.embeddings.create(model=model, input=f"id:{marker}", encoding_format="float")
    assert answer.data[0].embedding == [19 / 64, 0.5, -0.25]


def test_base64_is_base64_when_asked_for(booked_openai, model, marker):
    answer = booked_openai.embeddings.create(model=model, input=f"id:{marker}", encoding_format="base64")
    assert struct.unpack("<3f", base64.b64decode(answer.data[0].embedding)) == (19 / 64, 0.5, -0.25)


def test_dimensions_reach_the_provider(booked_openai, model, marker):
    answer = booked_openai.embeddings.create(model=model, input=f"id:{marker}", dimensions=5)
    assert answer.data[0].embedding == [19 / 64, 0.5, -0.25, 0.125, 0.125]


@pytest.mark.parametrize("given", [[1, 2, 3], [[1, 2], [3]]], ids=["one", "several"])
def test_tokens_may_be_given_instead_of_text(openai_client, model, given):
    answer = openai_client.embeddings.create(model=model, input=given)
    assert len(answer.data) == (2 if isinstance(given[0], list) else 1)
    assert answer.usage.prompt_tokens == 3


def test_many_texts_come_back_in_their_order(booked_openai, model, marker):
    texts = ["x" * length for length in range(1, 200)] + [f"id:{marker}"]
    answer = booked_openai.embeddings.create(model=model, input=texts)
    assert [item.embedding[0] for item in answer.data[:-1]] == [length / 64 for length in range(1, 200)]


@pytest.mark.gateway
@pytest.mark.parametrize("encoding", [None, "base64", "float"], ids=["unasked", "base64", "float"])
def test_a_server_that_sends_numbers_all_the_same_is_understood(booked_openai, gateway, marker, encoding):
    options = {"encoding_format": encoding} if encoding else {}
    answer = booked_openai.embeddings.create(
        model=gateway.model("compat", "qwen3-coder"), input=[f"quirk:floats id:{marker}"], **options
    )
    vector = answer.data[0].embedding
    if encoding == "base64":
        vector = list(struct.unpack("<3f", base64.b64decode(vector)))
    assert vector == [32 / 64, 0.5, -0.25]


@pytest.mark.gateway
def test_the_body_goes_on_as_it_came(openai_client, gateway, upstream, marker):
    asked = gateway.model("openai", EMBEDDER)
    raw = openai_client.embeddings.with_raw_response.create(model=asked, input=f"id:{marker} ü\u2028", user="me")
    (entry,) = upstream.account(marker)
    expected = raw.http_request.content.replace(json.dumps(asked).encode(), json.dumps(EMBEDDER).encode(), 1)
    assert upstream.request(entry)[1] == expected


@pytest.mark.gateway
def test_anthropic_has_no_embeddings(booked_openai, gateway, upstream, marker):
    with pytest.raises(openai.BadRequestError) as caught:
        booked_openai.embeddings.create(model=gateway.model("anthropic", "claude-haiku-4-5"), input=f"id:{marker}")
    assert "claude-haiku-4-5" in caught.value.message and "embedding" in caught.value.message.lower()
    assert upstream.account(marker) == []


def test_an_empty_input_is_the_clients_fault(openai_client, model):
    with pytest.raises(openai.BadRequestError):
        openai_client.embeddings.create(model=model, input=[])


@pytest.mark.gateway
@pytest.mark.parametrize(
    ("status", "error"),
    [(400, openai.BadRequestError), (429, openai.RateLimitError), (500, openai.InternalServerError)],
)
def test_a_providers_failure_keeps_its_class(openai_client, faulty, marker, status, error):
    with pytest.raises(error):
        openai_client.embeddings.create(model=faulty("openai", EMBEDDER), input=f"id:{marker} error:{status}")
