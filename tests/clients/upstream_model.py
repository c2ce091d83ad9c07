"""What the model behind `upstream.py` says: the request of any dialect, read once, and the answer it gets.

`read_*` turn a checked request into an `Asked`; `answer` follows the directives of the last user message and, where
they are silent, what the request itself demands: it calls the tool that it is forced to call, keeps to the schema,
stops at a stop sequence and at the cap, and tells the tool results that it was given. So a test sees in the answer
whether a parameter arrived, and not only that something of that name did.
"""

import json
import re
from dataclasses import dataclass, field

from upstream_answers import Answer, Call, compact, pieces, word_count
from upstream_checks import Refusal

DEFAULT_TEXT = "Paris is the capital of France. é✓ 😀"
USAGE_NAMES = {
    "in": "input",
    "read": "cache_read",
    "write5m": "cache_write_5m",
    "write1h": "cache_write_1h",
    "out": "output",
    "reasoning": "reasoning",
}


@dataclass
class Asked:
    """The part of a request that decides what a model does."""

    model: str
    text: str
    everything: str
    # The tool results that came after the last words of the user.
    results: list = field(default_factory=list)
    tools: dict = field(default_factory=dict)
    # auto, none, required, or the one tool that must be called.
    choice: str = "auto"
    parallel: bool = True
    schema: dict | None = None
    json_object: bool = False
    stops: list = field(default_factory=list)
    cap: int | None = None
    thinks: bool = False


def texts_of(value):
    """Every text in a message's content, in order."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for part in value for text in texts_of(part)]
    if isinstance(value, dict):
        return texts_of(value.get("text") or value.get("content") or value.get("output") or [])
    return []


def _turns(body):
    """The conversation as a list, whatever the dialect."""
    source = body.get("messages", body.get("input"))
    if isinstance(source, str):
        return [{"role": "user", "content": source}]
    return [turn for turn in source or [] if isinstance(turn, dict)]


def _is_result(block):
    return isinstance(block, dict) and block.get("type") == "tool_result"


def _own_text(turn):
    """What the user wrote in this turn; tool results in it are not the user's words."""
    content = turn.get("content")
    if isinstance(content, list):
        content = [block for block in content if not _is_result(block)]
    return "\n".join(texts_of(content))


def last_user_text(body):
    """The last words of the user."""
    for turn in reversed(_turns(body)):
        if turn.get("role") == "user" and _own_text(turn).strip():
            return _own_text(turn)
    return ""


def all_text(body):
    """Everything that the metering rule counts."""
    source = [body.get("system"), body.get("instructions"), body.get("messages", body.get("input"))]
    return " ".join(texts_of([part for part in source if part is not None]))


def _fresh_results(body):
    """The texts of the tool results that nothing of the user follows, in their order."""
    found = []
    for turn in _turns(body):
        if turn.get("role") == "user":
            blocks = turn["content"] if isinstance(turn.get("content"), list) else []
            found += [" ".join(texts_of(block.get("content"))) for block in blocks if _is_result(block)]
            if _own_text(turn).strip():
                found = []
        elif turn.get("role") == "tool":
            found.append(" ".join(texts_of(turn.get("content"))))
        elif turn.get("type") == "function_call_output":
            found.append(" ".join(texts_of(turn.get("output"))))
        elif turn.get("role") == "assistant" or turn.get("type") == "function_call":
            found = []
    return found


def _base(body):
    return Asked(str(body.get("model")), last_user_text(body), all_text(body), _fresh_results(body))


def read_chat(body):
    """A chat completion request."""
    asked = _base(body)
    for tool in body.get("tools") or []:
        if tool["type"] == "function":
            asked.tools[tool["function"]["name"]] = tool["function"].get("parameters") or {}
    for function in body.get("functions") or []:
        asked.tools[function["name"]] = function.get("parameters") or {}
    choice = body.get("tool_choice") or "auto"
    asked.choice = choice if isinstance(choice, str) else (choice.get("function") or {}).get("name", "auto")
    asked.parallel = body.get("parallel_tool_calls") is not False
    response_format = body.get("response_format") or {}
    asked.schema = (response_format.get("json_schema") or {}).get("schema")
    asked.json_object = response_format.get("type") == "json_object"
    stop = body.get("stop") or []
    asked.stops = [stop] if isinstance(stop, str) else stop
    asked.cap = body.get("max_completion_tokens", body.get("max_tokens"))
    asked.thinks = body.get("reasoning_effort") != "none"
    return asked


def read_messages(body):
    """A messages request."""
    asked = _base(body)
    for tool in body.get("tools") or []:
        if tool.get("type", "custom") == "custom":
            asked.tools[tool["name"]] = tool["input_schema"]
    choice = body.get("tool_choice") or {}
    kind = choice.get("type", "auto")
    asked.choice = {"any": "required", "tool": choice.get("name")}.get(kind, kind)
    asked.parallel = choice.get("disable_parallel_tool_use") is not True
    asked.schema = ((body.get("output_config") or {}).get("format") or {}).get("schema")
    asked.stops = body.get("stop_sequences") or []
    asked.cap = body.get("max_tokens")
    asked.thinks = (body.get("thinking") or {}).get("type") in ("enabled", "adaptive", "between_tools")
    return asked


def read_responses(body):
    """A Responses request."""
    asked = _base(body)
    for tool in body.get("tools") or []:
        if tool["type"] == "function":
            asked.tools[tool["name"]] = tool.get("parameters") or {}
    choice = body.get("tool_choice") or "auto"
    asked.choice = choice if isinstance(choice, str) else choice.get("name", "auto")
    asked.parallel = body.get("parallel_tool_calls") is not False
    text_format = (body.get("text") or {}).get("format") or {}
    asked.schema = text_format.get("schema")
    asked.json_object = text_format.get("type") == "json_object"
    asked.cap = body.get("max_output_tokens")
    asked.thinks = (body.get("reasoning") or {}).get("effort") != "none"
    return asked


def answer(asked, directives):
    """The answer that the directives or the fixed rules give."""
    said = Answer(asked.model, "", tier=directives.get("tier"))
    if "think" in directives and asked.thinks:
        said.thinking = directives["think"].replace("_", " ")
    if asked.results:
        said.text = f"Results: {' | '.join(asked.results)}"
    elif "refuse" in directives:
        said.refusal, said.stop = directives["refuse"].replace("_", " "), "refusal"
    else:
        said.calls = _calls(asked, directives)
        said.text = _text(asked, directives, said.calls)
        said.stop = "tools" if said.calls else "stop"
    for stop in asked.stops:
        if stop in said.text:
            said.text, said.stop, said.stop_sequence = said.text[: said.text.index(stop)], "stop_sequence", stop
    _meter(asked, directives, said)
    if "filtered" in directives:
        said.stop = "filtered"
    return said


def _calls(asked, directives):
    """The tools that the model calls: those it was told to, or the one it is forced to call."""
    if not asked.tools or asked.choice == "none":
        return []
    calls = []
    for value in directives.get("call", []):
        name, _, arguments = value.partition("=")
        if name.isdigit():
            name = list(asked.tools)[int(name)]
        if name not in asked.tools:
            raise Refusal(400, f"the model was to call {name}, and the request has no such tool")
        calls.append(Call(name, json.loads(arguments or "{}")))
    if asked.choice not in ("auto", "required"):
        calls = [call for call in calls if call.name == asked.choice]
    if not calls and asked.choice != "auto":
        name = next(iter(asked.tools)) if asked.choice == "required" else asked.choice
        calls = [Call(name, schema_example(asked.tools[name]))]
    return calls if asked.parallel else calls[:1]


def _text(asked, directives, calls):
    if "echo" in directives:
        return directives["echo"]
    if calls:
        return ""
    if asked.schema:
        return compact(schema_example(asked.schema))
    return '{"answer":42}' if asked.json_object else DEFAULT_TEXT


def _meter(asked, directives, said):
    """The usage, and the cap; what the directive says wins over the rule."""
    arguments = sum(word_count(compact(call.arguments)) for call in said.calls)
    thoughts = word_count(said.thinking or "")
    output = word_count(said.text) + word_count(said.refusal or "") + arguments + thoughts
    usage = dict.fromkeys(USAGE_NAMES.values(), 0)
    usage.update(input=word_count(asked.everything), output=output, reasoning=thoughts)
    if "usage" in directives:
        given = dict(part.split("=", 1) for part in directives["usage"].split(","))
        usage = {name: int(given.get(short, 0)) for short, name in USAGE_NAMES.items()}
    # The model stops where the request caps it, whatever the directive would have it say.
    if asked.cap is not None and usage["output"] > asked.cap:
        usage["output"], said.stop, said.stop_sequence = asked.cap, "length", None
        said.text = "".join(pieces(said.text)[: asked.cap])
    if "negative-usage" in directives:
        usage.update(input=-1_000_000, output=-1_000_000)
    said.usage = None if "no-usage" in directives else usage


def schema_example(schema):
    """The smallest value that a JSON schema allows, for answers whose form the request fixes."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf"):
        if schema.get(choice):
            return schema_example(schema[choice][0])
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object":
        required = schema.get("required", [])
        return {name: schema_example(schema.get("properties", {}).get(name, {})) for name in required}
    if kind == "array":
        return [schema_example(schema.get("items", {})) for _ in range(schema.get("minItems", 0))]
    return {"integer": 1, "number": 1, "boolean": True, "null": None}.get(kind, "text")


def marker_in(text):
    """The name that a test gave its request."""
    found = re.search(r"(?<!\S)id:([A-Za-z0-9_-]+)", text)
    return found and found[1]
