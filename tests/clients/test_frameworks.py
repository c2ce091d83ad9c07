"""Frameworks on top of the SDKs, unmodified: LangChain with both vendors' packages, and the `llm` command.

They live in an environment of their own (`requirements-frameworks.txt`), since each pins SDKs to its taste; without
it this file is left out.
"""

import json
import os
import subprocess
import sys

import anthropic
import openai
import pydantic
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from test_translation import PIXEL

MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5", "compat": "qwen3-coder"}
LLM_SECONDS_MAX = 60
TWO_CALLS = 'call:get_weather={"city":"São_Paulo"} call:get_time={}'
# Kind of client, and whether it uses the Responses API; then the dialect of its own.
CLIENTS = {"chat": "openai", "responses": "openai", "messages": "anthropic"}
PAIRS = [
    pytest.param((client, provider), id=f"{client}-{provider}", marks=[] if provider == own else [pytest.mark.gateway])
    for client, own in CLIENTS.items()
    for provider in MODELS
]


@tool
def get_weather(city: str) -> str:
    """Weather of a city."""
    return f"sunny in {city}"


@tool
def get_time() -> str:
    """The time."""
    return "noon"


TOOLS = {"get_weather": get_weather, "get_time": get_time}


class City(pydantic.BaseModel):
    """A city."""

    name: str
    inhabitants: int


def build(gateway, client, model, headers=None, **options):
    """A LangChain model that talks to the gateway."""
    if client == "messages":
        return ChatAnthropic(
            model=model,
            base_url=gateway.url,
            api_key=options.pop("api_key", gateway.key),
            max_retries=options.pop("max_retries", 0),
            default_headers=headers or {},
            **{"max_tokens": 200, **options},
        )
    return ChatOpenAI(
        model=model,
        base_url=f"{gateway.url}/v1",
        api_key=options.pop("api_key", gateway.key),
        max_retries=options.pop("max_retries", 0),
        default_headers=headers or {},
        use_responses_api=client == "responses",
        # Off by default when the address is not OpenAI's own.
        stream_usage=True,
        **options,
    )


@pytest.fixture(params=PAIRS)
def pair(request):
    return request.param


@pytest.fixture
def model(pair, gateway, booked):
    client, provider = pair
    return build(gateway, client, gateway.model(provider, MODELS[provider]), booked)


def human(marker, text):
    return HumanMessage(f"id:{marker} {text}")


# LangChain


def test_langchain_gets_an_answer_with_its_usage(model, marker):
    answer = model.invoke([SystemMessage("Be brief."), human(marker, "usage:in=30,read=20,out=9 echo:Grüße, 東京 🗼")])
    assert answer.text == "Grüße, 東京 🗼"
    usage = answer.usage_metadata
    assert (usage["input_tokens"], usage["output_tokens"]) == (50, 9)
    assert usage["input_token_details"]["cache_read"] == 20


def test_langchain_streams(model, marker):
    chunks = list(model.stream([human(marker, "split:3 usage:in=30,out=9 echo:Grüße, 東京 🗼")]))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.text == "Grüße, 東京 🗼"
    assert (whole.usage_metadata["input_tokens"], whole.usage_metadata["output_tokens"]) == (30, 9)


# One loop for all of them: LangChain keeps its connections from one model to the next.
@pytest.mark.asyncio(loop_scope="module")
async def test_langchain_streams_asynchronously(model, marker):
    texts = [chunk.text async for chunk in model.astream([human(marker, "echo:one two three")])]
    assert "".join(texts) == "one two three"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_langchain_calls_tools_and_hands_in_their_results(model, marker, stream):
    bound = model.bind_tools(list(TOOLS.values()))
    messages = [human(marker, TWO_CALLS)]
    if stream:
        first = None
        for chunk in bound.stream(messages):
            first = chunk if first is None else first + chunk
        first = AIMessage(content=first.content, tool_calls=first.tool_calls, id=first.id)
    else:
        first = bound.invoke(messages)
    assert [(call["name"], call["args"]) for call in first.tool_calls] == [
        ("get_weather", {"city": "São_Paulo"}),
        ("get_time", {}),
    ]
    messages.append(first)
    for call in first.tool_calls:
        messages.append(ToolMessage(TOOLS[call["name"]].invoke(call["args"]), tool_call_id=call["id"]))
    assert bound.invoke(messages).text == "Results: sunny in São_Paulo | noon"


@pytest.mark.parametrize("choice", ["any", "get_time"])
def test_langchain_forces_a_tool(model, marker, choice):
    answer = model.bind_tools([get_time, get_weather], tool_choice=choice).invoke([human(marker, "hello")])
    assert [call["name"] for call in answer.tool_calls] == ["get_time"]


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_langchain_parses_structured_output(model, marker, method):
    answer = model.with_structured_output(City, method=method).invoke([human(marker, "a city")])
    assert answer == City(name="text", inhabitants=1)


def test_langchain_sends_an_image(model, marker):
    content = [
        {"type": "text", "text": f"id:{marker} echo:a pixel"},
        {"type": "image", "base64": PIXEL, "mime_type": "image/png"},
    ]
    assert model.invoke([HumanMessage(content)]).text == "a pixel"


@pytest.mark.gateway
@pytest.mark.parametrize("client", ["chat", "responses"])
def test_langchains_agents_keep_thoughts_in_the_history(gateway, booked, marker, client):
    options = {"chat": {"reasoning_effort": "low"}, "responses": {"reasoning": {"effort": "low", "summary": "auto"}}}
    model = build(gateway, client, gateway.model("anthropic", "claude-haiku-4-5"), booked, **options[client])
    bound = model.bind_tools([get_time])
    messages = [human(marker, "think:I_need_it. call:get_time={}")]
    first = bound.invoke(messages)
    messages += [first, ToolMessage("noon", tool_call_id=first.tool_calls[0]["id"])]
    assert bound.invoke(messages).text == "Results: noon"


ERRORS = [
    ("error:400", openai.BadRequestError, anthropic.BadRequestError),
    ("error:429;retry-after-ms=20", openai.RateLimitError, anthropic.RateLimitError),
    ("error:500", openai.InternalServerError, anthropic.InternalServerError),
]


@pytest.mark.parametrize(("text", "of_openai", "of_anthropic"), ERRORS, ids=["400", "429", "500"])
def test_langchain_raises_the_sdks_own_errors(pair, gateway, faulty, marker, text, of_openai, of_anthropic):
    client, provider = pair
    model = build(gateway, client, faulty(provider, MODELS[provider]))
    with pytest.raises(of_anthropic if client == "messages" else of_openai):
        model.invoke([human(marker, text)])


def test_langchain_tells_a_wrong_key(pair, gateway, marker):
    client, provider = pair
    model = build(gateway, client, gateway.model(provider, MODELS[provider]), api_key="tg-wrong")
    with pytest.raises((openai.AuthenticationError, anthropic.AuthenticationError)):
        model.invoke([human(marker, "hello")])


@pytest.mark.gateway
def test_langchain_raises_when_a_stream_breaks(pair, gateway, faulty, marker):
    client, provider = pair
    model = build(gateway, client, faulty(provider, MODELS[provider]))
    with pytest.raises((openai.APIError, anthropic.APIError)):
        list(model.stream([human(marker, "cut:7 echo:one two three four")]))


def test_langchain_embeds(gateway, booked, marker):
    embedder = OpenAIEmbeddings(
        model=gateway.model("openai", "text-embedding-3-small"),
        base_url=f"{gateway.url}/v1",
        api_key=gateway.key,
        default_headers=booked,
        check_embedding_ctx_length=False,
    )
    assert embedder.embed_documents(["a" * 32, f"id:{marker}"]) == [[0.5, 0.5, -0.25], [19 / 64, 0.5, -0.25]]


# llm


OPENAI_LLM = """
- model_id: gate
  model_name: {model}
  api_base: {url}/v1
  api_key_name: gate
  vision: true
  supports_tools: true
  supports_schema: true
  can_stream: true
"""


@pytest.fixture
def llm(gateway, folder, marker):
    """Runs the command with a folder of its own."""
    home = folder / f"llm-{marker}"
    home.mkdir()

    def run(name, *arguments, key=None, **configured):
        if configured:
            (home / "extra-openai-models.yaml").write_text(OPENAI_LLM.format(url=gateway.url, **configured))
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(home),
            "LLM_USER_PATH": str(home),
            "ANTHROPIC_BASE_URL": gateway.url,
            "PYTHONUTF8": "1",
        }
        command = [sys.executable, "-m", "llm", "-m", name, "--key", key or gateway.key, *arguments]
        return subprocess.run(
            command, env=environment, cwd=home, input=b"", capture_output=True, timeout=LLM_SECONDS_MAX
        )

    return run


def printed(done):
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


LLM_PROVIDERS = ["openai", *(pytest.param(name, marks=pytest.mark.gateway) for name in ("anthropic", "compat"))]


@pytest.mark.parametrize("provider", LLM_PROVIDERS)
@pytest.mark.parametrize("options", [[], ["--no-stream"]], ids=["streamed", "whole"])
def test_llm_prints_an_answer(llm, gateway, marker, provider, options):
    model = gateway.model(provider, MODELS[provider])
    done = llm("gate", "-s", "Be brief.", *options, f"id:{marker} echo:Grüße, 東京 🗼", model=model)
    assert printed(done) == "Grüße, 東京 🗼"


@pytest.mark.parametrize("provider", LLM_PROVIDERS)
def test_llm_keeps_to_a_schema(llm, gateway, marker, provider):
    model = gateway.model(provider, MODELS[provider])
    done = llm("gate", "--schema", "name, inhabitants int", f"id:{marker} a city", model=model)
    assert json.loads(printed(done)) == {"name": "text", "inhabitants": 1}


@pytest.mark.parametrize("provider", LLM_PROVIDERS)
def test_llm_calls_tools(llm, gateway, marker, provider):
    model = gateway.model(provider, MODELS[provider])
    functions = 'def get_weather(city: str) -> str:\n    return f"sunny in {city}"\n'
    text = f'id:{marker} call:get_weather={{"city":"Paris"}}'
    assert printed(llm("gate", "--functions", functions, text, model=model)) == "Results: sunny in Paris"


@pytest.mark.parametrize("options", [[], ["--no-stream"]], ids=["streamed", "whole"])
def test_llms_plugin_for_claude_prints_an_answer(llm, marker, options):
    done = llm("claude-haiku-4.5", *options, f"id:{marker} echo:Grüße, 東京 🗼")
    assert printed(done) == "Grüße, 東京 🗼"


def test_llms_plugin_for_claude_calls_tools(llm, marker):
    functions = 'def get_weather(city: str) -> str:\n    return f"sunny in {city}"\n'
    text = f'id:{marker} call:get_weather={{"city":"Paris"}}'
    assert printed(llm("claude-haiku-4.5", "--functions", functions, text)) == "Results: sunny in Paris"


def test_llm_says_what_the_server_said(llm, gateway, marker):
    done = llm("gate", f"id:{marker} hello", key="tg-wrong", model=gateway.model("openai", "gpt-4o-mini"))
    assert done.returncode == 1
    assert b"401" in done.stderr or b"key" in done.stderr
