"""Every wire fixture through every client dialect, whole and cut at every byte.

The expected values stand in the index beside the fixtures; each client has to see the same words, calls and counts,
whoever the provider is. Pairs of one dialect are covered byte for byte elsewhere, and stay here as a check of the
expectations: with TOLLGATE_DIRECT=1 only they run.
"""

import json

import anthropic
import openai
import pytest

from test_anthropic import text_of, tool_uses_of
from test_openai import streamed_text

# For each fixture: its provider and model, the words, the calls, the counts (plain, read, written, out), and why it
# ends.
WEATHER_CALLS = [("get_weather", {"city": "Paris", "unit": "celsius"}), ("get_weather", {"city": "São Paulo"})]
CLAUDE_CALLS = [("get_weather", {"city": "Paris", "unit": "celsius"}), ("get_time", {})]
GPT, CLAUDE, COMPAT = ("openai", "gpt-4o-mini"), ("anthropic", "claude-haiku-4-5"), ("compat", "qwen3-coder")
STREAMS = {
    "openai_stream_usage.sse": (GPT, "The answer is café 😀.", [], (476, 1024, 0, 6), "stop"),
    "openai_stream_tools.sse": (GPT, "", WEATHER_CALLS, None, "tools"),
    "compat_stream_quirks.sse": (COMPAT, "Let me look. Ok", WEATHER_CALLS, (50, 0, 0, 30), "tools"),
    "compat_stream_reasoning.sse": (COMPAT, "4", [], (4, 16, 0, 9), "stop"),
    "anthropic_stream.sse": (CLAUDE, "The answer is café 😀.", [], (25, 2048, 0, 9), "stop"),
    "anthropic_stream_tools.sse": (CLAUDE, None, CLAUDE_CALLS, (472, 0, 0, 89), "tools"),
    "anthropic_stream_thinking.sse": (CLAUDE, "4", [], (60, 0, 0, 48), "stop"),
}
BODIES = {
    "openai_chat.json": (GPT, "Paris is the capital of France. é✓ 😀", [], (476, 1024, 0, 12), "stop"),
    "openai_chat_tools.json": (GPT, "", WEATHER_CALLS, None, "tools"),
    "openai_chat_reasoning.json": (GPT, None, [], (30, 0, 0, 210), "stop"),
    "openai_chat_cache_write.json": (GPT, None, [], (200, 1000, 1800, 5), "stop"),
    "anthropic_message.json": (CLAUDE, "Paris is the capital of France. é✓", [], (12, 2048, 1536, 14), "stop"),
    "anthropic_message_tools.json": (CLAUDE, "I will check both.", CLAUDE_CALLS, None, "tools"),
}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}, "unit": {"type": "string"}}}
NAMES = ("get_weather", "get_time")
STOPS = {
    "chat": {"stop": "stop", "tools": "tool_calls"},
    "messages": {"stop": "end_turn", "tools": "tool_use"},
}


def of_dialect(provider):
    return "messages" if provider == "anthropic" else "chat"


def possible(client, table, name):
    """Which pairs there are."""
    # OpenAI itself is asked for Responses there, and a file of chat completions is none.
    if client == "responses" and table[name][0] == GPT:
        return False
    # Within one dialect nothing is mended, and this SDK can't put deltas without an index together.
    return not (client == "chat" and name == "compat_stream_quirks.sse")


def pairs(table):
    """Every fixture with every client; what needs translation needs the gateway."""
    found = []
    for name, (target, *_) in table.items():
        for client in ("chat", "messages", "responses"):
            if possible(client, table, name):
                direct = client == of_dialect(target[0]) and target[0] != "compat"
                marks = [] if direct else [pytest.mark.gateway]
                found.append(pytest.param(client, name, id=f"{client}-{name}", marks=marks))
    return found


def through_chat(clients, model, text, stream):
    tools = [{"type": "function", "function": {"name": name, "parameters": PARAMETERS}} for name in NAMES]
    options = {"model": model, "messages": [{"role": "user", "content": text}], "tools": tools}
    if stream:
        with clients[0].chat.completions.stream(**options, stream_options={"include_usage": True}) as events:
            answer = events.get_final_completion()
    else:
        answer = clients[0].chat.completions.create(**options)
    message, usage = answer.choices[0].message, answer.usage
    details = usage.prompt_tokens_details
    read = (details.cached_tokens or 0) if details else 0
    written = (getattr(details, "cache_write_tokens", 0) or 0) if details else 0
    # A lenient server's own counters pass through as they are when nothing is translated.
    read = read or (usage.model_extra or {}).get("prompt_cache_hit_tokens", 0)
    counts = (usage.prompt_tokens - read - written, read, written, usage.completion_tokens)
    calls = [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]
    return message.content or "", calls, counts, answer.choices[0].finish_reason


def through_messages(clients, model, text, stream):
    tools = [{"name": name, "input_schema": PARAMETERS} for name in NAMES]
    options = {"model": model, "max_tokens": 2000, "messages": [{"role": "user", "content": text}], "tools": tools}
    if stream:
        with clients[1].messages.stream(**options) as events:
            answer = events.get_final_message()
    else:
        answer = clients[1].messages.create(**options)
    usage = answer.usage
    counts = (
        usage.input_tokens,
        usage.cache_read_input_tokens or 0,
        usage.cache_creation_input_tokens or 0,
        usage.output_tokens,
    )
    return text_of(answer), [use[1:] for use in tool_uses_of(answer)], counts, answer.stop_reason


def through_responses(clients, model, text, stream):
    tools = [{"type": "function", "name": name, "parameters": PARAMETERS, "strict": False} for name in NAMES]
    options = {"model": model, "input": text, "tools": tools}
    if stream:
        with clients[0].responses.stream(**options) as events:
            answer = events.get_final_response()
    else:
        answer = clients[0].responses.create(**options)
    usage = answer.usage
    read = usage.input_tokens_details.cached_tokens
    written = getattr(usage.input_tokens_details, "cache_write_tokens", 0) or 0
    calls = [(item.name, json.loads(item.arguments)) for item in answer.output if item.type == "function_call"]
    counts = (usage.input_tokens - read - written, read, written, usage.output_tokens)
    return answer.output_text, calls, counts, answer.status


THROUGH = {"chat": through_chat, "messages": through_messages, "responses": through_responses}


@pytest.fixture
def clients(openai_client, anthropic_client):
    return openai_client, anthropic_client


def check(seen, client, expected):
    text, calls, counts, ending = seen
    _, wanted_text, wanted_calls, wanted_counts, wanted_ending = expected
    if wanted_text is not None:
        assert text == wanted_text
    assert calls == wanted_calls
    if wanted_counts is not None:
        assert counts == wanted_counts
    if client in STOPS:
        # A lenient server's `stop` after calls is passed on as it is within one dialect.
        lenient = expected[0] == COMPAT and client == "chat"
        assert ending == STOPS[client][wanted_ending] or lenient
    else:
        assert ending == "completed"


@pytest.mark.parametrize(("client", "name"), pairs(BODIES))
@pytest.mark.parametrize("pieces", ["", "split:1 "], ids=["whole", "by_byte"])
def test_a_body_means_the_same_in_every_dialect(clients, gateway, marker, client, name, pieces):
    expected = BODIES[name]
    seen = THROUGH[client](clients, gateway.model(*expected[0]), f"id:{marker} {pieces}fixture:{name}", False)
    check(seen, client, expected)


@pytest.mark.parametrize(("client", "name"), pairs(STREAMS))
@pytest.mark.parametrize("pieces", ["", "split:1 ", "split:7 "], ids=["by_record", "by_byte", "by_seven_bytes"])
def test_a_stream_means_the_same_in_every_dialect(clients, gateway, marker, client, name, pieces):
    expected = STREAMS[name]
    seen = THROUGH[client](clients, gateway.model(*expected[0]), f"id:{marker} {pieces}fixture:{name}", True)
    check(seen, client, expected)


BROKEN = {
    "openai_stream_error.sse": GPT,
    "openai_stream_truncated.sse": GPT,
    "anthropic_stream_error.sse": CLAUDE,
}


@pytest.mark.gateway
@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("client", ["chat", "messages"])
@pytest.mark.parametrize("pieces", ["", "split:1 "], ids=["by_record", "by_byte"])
def test_a_broken_stream_raises_in_every_dialect(clients, faulty, marker, client, name, pieces):
    model = faulty(*BROKEN[name])
    text = f"id:{marker} {pieces}fixture:{name}"
    turns = [{"role": "user", "content": text}]
    if client == "chat":
        with pytest.raises(openai.APIError) as caught:
            streamed_text(clients[0].chat.completions.create(model=model, messages=turns, stream=True))
        assert not isinstance(caught.value, openai.APIConnectionError)
    else:
        with pytest.raises(anthropic.APIStatusError):
            list(clients[1].messages.create(model=model, max_tokens=200, messages=turns, stream=True))
