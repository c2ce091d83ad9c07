"""Node's clients, unmodified: OpenAI's and Anthropic's SDK in two majors each, and the Vercel AI SDK.

Each script in `node/` runs the cases of one client against one provider and prints a line for each; here is what the
lines must say. The packages are installed under target/ by `tests/run`.
"""

import json
import os
import subprocess

import pytest

from books import check_books
from conftest import HERE, ROOT

INSTALLED = ROOT / "target" / "test-node"
RUN_SECONDS_MAX = 180
MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5", "compat": "qwen3-coder"}
CALLS = [["get_weather", {"city": "São_Paulo"}], ["get_time", {}]]
# Script, package or mode, and the dialect that it speaks.
CLIENTS = {
    "openai": ("openai_cases.mjs", "openai", "openai"),
    "openai_previous": ("openai_cases.mjs", "openai-previous", "openai"),
    "anthropic": ("anthropic_cases.mjs", "@anthropic-ai/sdk", "anthropic"),
    "anthropic_previous": ("anthropic_cases.mjs", "anthropic-previous", "anthropic"),
    "ai_responses": ("ai_cases.mjs", "responses", "openai"),
    "ai_chat": ("ai_cases.mjs", "chat", "openai"),
    "ai_messages": ("ai_cases.mjs", "messages", "anthropic"),
}
PAIRS = [
    pytest.param((client, provider), id=f"{client}-{provider}", marks=[] if provider == own else [pytest.mark.gateway])
    for client, (_, _, own) in CLIENTS.items()
    for provider in MODELS
]


@pytest.fixture(scope="module")
def scripts():
    """The scripts beside the installed packages, by a link, so that their imports are found."""
    link = INSTALLED / "cases"
    assert (INSTALLED / "node_modules").is_dir(), "tests/run installs the packages of tests/clients/node"
    target = os.path.relpath(HERE / "node", INSTALLED)
    try:
        link.symlink_to(target)
    except FileExistsError:
        assert os.readlink(link) == target
    return link


@pytest.fixture(scope="module")
def played():
    """What the scripts have printed so far, by client and provider."""
    return {}


@pytest.fixture(params=PAIRS)
def pair(request):
    return request.param


@pytest.fixture
def lines(pair, played, scripts, gateway, faulty_numbers):
    """Every case of this pair; the script runs once for all of them."""
    if pair not in played:
        client, provider = pair
        script, package, _ = CLIENTS[client]
        settings = {
            "url": gateway.url,
            "key": gateway.key,
            "model": gateway.model(provider, MODELS[provider]),
            "faulty": gateway.model(f"faulty-{provider}-{next(faulty_numbers)}", MODELS[provider]),
            "marker": f"node-{client}-{provider}",
            "package": package,
        }
        environment = {"PATH": os.environ.get("PATH", ""), "CLIENT_CASES": json.dumps(settings)}
        command = ["node", "--preserve-symlinks", "--preserve-symlinks-main", str(scripts / script)]
        done = subprocess.run(command, env=environment, capture_output=True, timeout=RUN_SECONDS_MAX)
        assert done.returncode == 0, done.stderr.decode()
        printed = [json.loads(line) for line in done.stdout.splitlines()]
        played[pair] = {line["case"]: line for line in printed}
    return played[pair]


def value(lines, case):
    assert "error" not in lines[case], lines[case]["error"]
    return lines[case]["value"]


def dialect_of(pair):
    return CLIENTS[pair[0]][2]


def is_ai(pair):
    return pair[0].startswith("ai_")


def stop_name(pair, stop):
    names = {
        "stop": {"openai": "stop", "anthropic": "end_turn", "ai": "stop"},
        "tools": {"openai": "tool_calls", "anthropic": "tool_use", "ai": "tool-calls"},
        "cap": {"openai": "length", "anthropic": "max_tokens", "ai": "length"},
    }
    return names[stop]["ai" if is_ai(pair) else dialect_of(pair)]


def test_an_answer_arrives_with_its_usage(lines, pair):
    seen = value(lines, "text")
    assert (seen["text"], seen["stop"]) == ("Grüße, 東京 🗼", stop_name(pair, "stop"))
    if is_ai(pair):
        assert seen["usage"] == [50, 9]
    else:
        assert seen["usage"] == ([50, 20, 9] if dialect_of(pair) == "openai" else [30, 20, 9])


def test_a_stream_arrives_with_its_usage(lines):
    assert value(lines, "stream") == {"text": "Grüße, 東京 🗼", "usage": [30, 9]}


def test_tools_make_a_round_trip(lines, pair):
    expected = {"stop": stop_name(pair, "tools"), "calls": CALLS, "text": "Results: sunny | noon"}
    assert value(lines, "tools") == expected


def test_streamed_tools_are_put_together(lines, pair):
    text = "Results: sunny | noon" if is_ai(pair) else "Looking."
    assert value(lines, "streamedTools") == {"text": text, "calls": CALLS}


def test_structured_output_is_parsed(lines):
    assert value(lines, "structured") == {"name": "text", "inhabitants": 1}


def test_an_image_is_taken(lines):
    assert value(lines, "image") == "a pixel"


def test_stops_and_caps_are_obeyed(lines, pair):
    if is_ai(pair):
        assert value(lines, "cap") == [16, stop_name(pair, "cap")]
        return
    stopped, capped = value(lines, "stopAndCap")
    stop = "stop_sequence" if pair[1] == dialect_of(pair) == "anthropic" else stop_name(pair, "stop")
    assert stopped == ["before ", stop]
    assert capped == ["one two", stop_name(pair, "cap")]


def test_what_only_this_client_has_works_too(lines, pair):
    client, _ = pair
    if client.startswith("openai"):
        assert value(lines, "toolRunner") == "Results: sunny | noon"
        assert value(lines, "responses") == {"text": "Hallo ✓", "status": "completed"}
        assert value(lines, "responsesStream") == {"text": "Looking.", "calls": CALLS}
    if client.startswith("anthropic"):
        assert value(lines, "counted")
    if not is_ai(pair):
        assert value(lines, "models")


@pytest.mark.parametrize(
    ("case", "status", "name"),
    [
        ("errorKey", 401, "AuthenticationError"),
        ("errorModel", 404, "NotFoundError"),
        ("error400", 400, "BadRequestError"),
        ("error429", 429, "RateLimitError"),
        ("error500", 500, "InternalServerError"),
    ],
)
def test_an_error_has_its_class(lines, pair, case, status, name):
    error = lines[case]["error"]
    # A failure of the provider may be told as one of a gateway.
    assert error["status"] in ((500, 502) if status == 500 else (status,))
    if not is_ai(pair):
        assert error["class"] == name
        assert error["requestId"]
    if status == 429:
        assert error["retryAfter"]


@pytest.mark.gateway
def test_a_stream_that_breaks_raises(lines):
    seen = value(lines, "midStream")
    assert seen["error"] == "APIError"
    assert seen["text"] and "one two three four".startswith(seen["text"])


@pytest.mark.gateway
def test_a_rate_limit_is_waited_out(lines):
    assert value(lines, "retried") == "at last"


@pytest.mark.gateway
def test_the_books_balance(lines, pair, gateway, upstream):
    client, provider = pair
    # The cases that make the provider fail are not marked in the ledger.
    check_books(gateway, upstream, f"node-{client}-{provider}", without=("cut", "error"))
