"""What Anthropic refuses, for `upstream.py`; what OpenAI refuses is in `upstream_checks.py`.

Much depends on the model: `MODELS` says for those that the tests use what they take, apart from the catalogue that
the gateway reads.
"""

import re
from dataclasses import dataclass

from upstream_answers import signature_of
from upstream_checks import Refusal, is_integer, is_number

FIELDS = frozenset(
    """cache_control container diagnostics inference_geo max_tokens mcp_servers messages metadata model output_config
    service_tier speed stop_sequences stream system temperature thinking tool_choice tools top_k top_p
    user_profile_id workspace_id""".split()
)
COUNTED_FIELDS = frozenset(
    """cache_control messages model output_config speed system thinking tool_choice tools user_profile_id
    workspace_id""".split()
)
BLOCK_FIELDS = {
    "text": frozenset("cache_control citations text type".split()),
    "image": frozenset("cache_control source transformations type".split()),
    "document": frozenset("cache_control citations context source title type".split()),
    "tool_use": frozenset("cache_control caller id input name toolset_name type".split()),
    "tool_result": frozenset("cache_control content is_error tool_use_id toolset_name type".split()),
    "thinking": frozenset("signature thinking type".split()),
    "redacted_thinking": frozenset("data type".split()),
}
TOOL_FIELDS = frozenset(
    """allowed_callers cache_control defer_loading description eager_input_streaming input_examples input_schema name
    strict type""".split()
)
VERSIONS = ("2023-06-01", "2026-10-21")
# From this version on any sampling parameter is refused, whatever its value.
VERSION_WITHOUT_SAMPLING = "2026-10-21"
THINKING_BUDGET_MIN = 1024
CACHE_BREAKPOINTS_MAX = 4
IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
EFFORTS = ("low", "medium", "high", "xhigh", "max")
TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
TOOL_ID = re.compile(r"[A-Za-z0-9_-]+")
# Of the thought in the wire fixtures.
FIXTURE_SIGNATURE = "Rml4dHVyZVNpZ25hdHVyZQ=="


@dataclass(frozen=True)
class Model:
    """What a model takes."""

    output_max: int = 64_000
    prefill: bool = True
    sampling: bool = True
    adaptive: bool = False
    budget: bool = True
    always_thinks: bool = False
    forced_tools: bool = True
    system_in_between: bool = False
    json_schema: bool = True


NEWER = {"output_max": 128_000, "prefill": False, "sampling": False, "adaptive": True, "budget": False}
MODELS = {
    "claude-haiku-4-5": Model(),
    "claude-sonnet-4-5": Model(),
    "claude-opus-4-1": Model(output_max=32_000, json_schema=False),
    "claude-sonnet-4-6": Model(output_max=128_000, prefill=False, adaptive=True),
    "claude-sonnet-5": Model(**NEWER, system_in_between=True),
    "claude-sonnet-5-5": Model(**NEWER, system_in_between=True, always_thinks=True, forced_tools=False),
}


def headers(headers, expected_key):
    """The key in either of its two places, and a known API version."""
    keys = []
    if "x-api-key" in headers:
        keys.append(headers["x-api-key"])
    if "authorization" in headers:
        scheme, _, token = headers["authorization"].partition(" ")
        keys.append(token if scheme == "Bearer" else None)
    if not keys:
        raise Refusal(401, "x-api-key header is required", kind="authentication_error")
    if any(key != expected_key for key in keys):
        raise Refusal(401, "invalid x-api-key", kind="authentication_error")
    version = headers.get("anthropic-version")
    if version is None:
        raise Refusal(400, "anthropic-version: header is required")
    if version not in VERSIONS:
        raise Refusal(400, f'anthropic-version: "{version}" is not a valid version')
    return version


def model_of(model):
    """What the model takes; a name with a gateway's prefix, or the other vendor's, is none here."""
    if not re.fullmatch(r"claude-[a-z0-9.-]+", model):
        raise Refusal(404, f"model: {model}", kind="not_found_error")
    return MODELS.get(re.sub(r"-20[0-9]{6}$", "", model), Model())


def messages_request(body, version, counting):
    """One messages request, or the same without `max_tokens` for a token count."""
    for name in body:
        if name not in (COUNTED_FIELDS if counting else FIELDS):
            raise Refusal(400, f"{name}: Extra inputs are not permitted")
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise Refusal(400, "model: Field required")
    model = model_of(body["model"])
    limit = body.get("max_tokens")
    if limit is None and not counting:
        raise Refusal(400, "max_tokens: Field required")
    if limit is not None and not (is_integer(limit) and limit >= 0):
        raise Refusal(400, "max_tokens: Input should be greater than or equal to 0")
    if limit is not None and limit > model.output_max:
        text = f"{limit} > {model.output_max}, which is the maximum allowed number of output tokens for"
        raise Refusal(400, f"max_tokens: {text} {body['model']}")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "messages: at least one message is required")
    if body.get("stream") is not None and not isinstance(body["stream"], bool):
        raise Refusal(400, "stream: Input should be a valid boolean")
    _sampling(body, version, model)
    _thinking(body, model)
    _output_config(body.get("output_config") or {}, model)
    _plain_fields(body)
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or set(message) - {"role", "content"}:
            raise Refusal(400, f"messages.{index}: Extra inputs are not permitted")
        if message.get("role") not in ("user", "assistant", "system"):
            raise Refusal(400, f"messages.{index}.role: Input should be 'user' or 'assistant'")
        if message["role"] == "system" and not model.system_in_between:
            text = "use the top-level `system` parameter for the initial system prompt"
            raise Refusal(400, f"messages.{index}.role: this model takes no system messages; {text}")
        _content(message.get("content"), message["role"], version, f"messages.{index}.content")
    if messages[0]["role"] != "user":
        raise Refusal(400, 'messages: first message must use the "user" role')
    system = body.get("system")
    if system is not None and not isinstance(system, str):
        _content(system, "system", version, "system")
    _tool_turns(messages)
    _last_turn(body, model)
    _tools(body, model)
    if _count_cache_controls(body) > CACHE_BREAKPOINTS_MAX:
        message = f"A maximum of {CACHE_BREAKPOINTS_MAX} blocks with cache_control may be provided."
        raise Refusal(400, message)


def _sampling(body, version, model):
    """Refused altogether by the newer version and the newer models, range-checked by the older."""
    for name, high in (("temperature", 1), ("top_p", 1), ("top_k", None)):
        if name not in body:
            continue
        if version == VERSION_WITHOUT_SAMPLING:
            raise Refusal(400, f"{name}: Extra inputs are not permitted in version {version}")
        if not model.sampling:
            raise Refusal(400, f"`{name}` is not supported for this model.")
        value = body[name]
        if not is_number(value) or value < 0 or (high is not None and value > high):
            raise Refusal(400, f"{name}: Input should be between 0 and {high}")
    if "temperature" in body and "top_p" in body:
        raise Refusal(400, "`temperature` and `top_p` cannot both be specified for this model.")


def _thinking(body, model):
    """A thinking budget has a least size, lies under `max_tokens`, and forbids what would steer the answer."""
    thinking = body.get("thinking")
    if thinking is None:
        return
    kind = thinking.get("type")
    if kind not in ("enabled", "adaptive", "disabled", "between_tools"):
        raise Refusal(400, "thinking.type: Input tag does not match any of the expected tags")
    if kind == "adaptive" and not model.adaptive:
        raise Refusal(400, "adaptive thinking is not supported on this model")
    if kind == "disabled" and model.always_thinks:
        raise Refusal(400, "thinking.type: `disabled` is not supported on this model")
    if kind != "enabled":
        return
    if not model.budget:
        text = "`thinking.type: enabled` is not supported for this model. Use `adaptive` and `output_config.effort`"
        raise Refusal(400, text)
    budget = thinking.get("budget_tokens")
    if not is_integer(budget) or budget < THINKING_BUDGET_MIN:
        raise Refusal(400, f"thinking.enabled.budget_tokens: Input should be at least {THINKING_BUDGET_MIN}")
    if body.get("max_tokens") is not None and budget >= body["max_tokens"]:
        raise Refusal(400, "`max_tokens` must be greater than `thinking.budget_tokens`.")
    if body.get("temperature", 1) != 1:
        raise Refusal(400, "`temperature` may only be set to 1 when thinking is enabled.")
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        raise Refusal(400, "Thinking may not be enabled when tool_choice forces tool use.")


def _output_config(config, model):
    """Effort where the model knows it; a schema whose objects are closed."""
    if set(config) - {"effort", "format"}:
        raise Refusal(400, "output_config: Extra inputs are not permitted")
    effort = config.get("effort")
    if effort is not None:
        if not model.adaptive:
            raise Refusal(400, "This model does not support the effort parameter.")
        if effort not in EFFORTS:
            raise Refusal(400, f"output_config.effort: Input should be one of {EFFORTS}")
    wanted = config.get("format")
    if wanted is not None:
        if not model.json_schema:
            raise Refusal(400, "output_config.format: this model does not support structured outputs")
        if wanted.get("type") != "json_schema" or not isinstance(wanted.get("schema"), dict):
            raise Refusal(400, "output_config.format: Input should be a json_schema with a schema")
        if set(wanted) - {"type", "schema"}:
            raise Refusal(400, "output_config.format: Extra inputs are not permitted")
        _closed_objects(wanted["schema"])


def _closed_objects(schema):
    """Structured output takes no object that allows more than it names."""
    if isinstance(schema, dict):
        if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
            text = "For 'object' type, 'additionalProperties' must be explicitly set to false"
            raise Refusal(400, f"output_config.format.schema: {text}")
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            _closed_objects(part)


def _plain_fields(body):
    """Metadata, the tier and the stop sequences."""
    if set(body.get("metadata") or {}) - {"user_id"}:
        raise Refusal(400, "metadata: Extra inputs are not permitted")
    if body.get("service_tier", "auto") not in ("auto", "standard_only"):
        raise Refusal(400, "service_tier: Input should be 'auto' or 'standard_only'")
    stops = body.get("stop_sequences")
    if stops is not None:
        if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
            raise Refusal(400, "stop_sequences: Input should be a valid list of strings")
        if not all(stop.strip() for stop in stops):
            raise Refusal(400, "stop_sequences: each stop sequence must contain non-whitespace")


def _last_turn(body, model):
    """What the conversation ends with: no prefill on newer models, and a thought where thinking is on."""
    last = body["messages"][-1]
    if last["role"] == "assistant":
        if not model.prefill:
            text = "This model does not support assistant message prefill. The conversation must end with a user"
            raise Refusal(400, f"{text} message.")
        text = last["content"] if isinstance(last["content"], str) else last["content"][-1].get("text", "")
        if text != text.rstrip():
            raise Refusal(400, "messages: final assistant content cannot end with trailing whitespace")
    if (body.get("thinking") or {}).get("type") != "enabled":
        return
    said = [message for message in body["messages"] if message["role"] == "assistant"]
    blocks = said[-1]["content"] if said and isinstance(said[-1]["content"], list) else []
    if any(block["type"] == "tool_use" for block in blocks) and "thinking" not in blocks[0]["type"]:
        text = f"Expected `thinking` or `redacted_thinking`, but found `{blocks[0]['type']}`. When `thinking` is"
        raise Refusal(400, f"{text} enabled, a final `assistant` message must start with a thinking block.")


def _content(content, role, version, where):
    """Blocks of known types with what they need; no empty text."""
    if isinstance(content, str):
        if not content.strip():
            raise Refusal(400, f"{where}: text content must be non-empty")
        return
    if not isinstance(content, list) or not content:
        raise Refusal(400, f"{where}: Input should be a valid list")
    for index, block in enumerate(content):
        here = f"{where}.{index}"
        kind = block.get("type") if isinstance(block, dict) else None
        if kind in BLOCK_FIELDS and set(block) - BLOCK_FIELDS[kind]:
            name = sorted(set(block) - BLOCK_FIELDS[kind])[0]
            raise Refusal(400, f"{here}.{kind}.{name}: Extra inputs are not permitted")
        if role == "system" and kind != "text":
            raise Refusal(400, f"{here}: system content takes text blocks only")
        if kind == "text":
            if not isinstance(block.get("text"), str) or not block["text"].strip():
                raise Refusal(400, f"{here}.text: text content blocks must contain non-whitespace text")
        elif kind == "image":
            _image(block.get("source") or {}, here)
        elif kind == "document":
            if role == "assistant" and version == VERSION_WITHOUT_SAMPLING:
                raise Refusal(400, f"{here}: document blocks are not permitted in assistant messages")
        elif kind == "tool_use":
            if not isinstance(block.get("input"), dict) or not TOOL_ID.fullmatch(block.get("id") or ""):
                raise Refusal(400, f"{here}.tool_use: Input should be a valid dictionary with a valid id")
        elif kind == "tool_result":
            if not TOOL_ID.fullmatch(block.get("tool_use_id") or ""):
                raise Refusal(400, f"{here}.tool_result.tool_use_id: Field required")
            if block.get("content"):
                _result_content(block["content"], f"{here}.tool_result.content")
        elif kind == "thinking":
            signature = block.get("signature")
            if role != "assistant" or signature not in (signature_of(block.get("thinking")), FIXTURE_SIGNATURE):
                raise Refusal(400, f"{here}: Invalid `signature` in `thinking` block")
        elif kind == "redacted_thinking":
            if not isinstance(block.get("data"), str):
                raise Refusal(400, f"{here}.redacted_thinking.data: Field required")
        else:
            raise Refusal(400, f"{here}: Input tag '{kind}' does not match any of the expected tags")


def _result_content(content, where):
    """Text, or blocks of the kinds that a tool may return; empty text is refused here too."""
    if isinstance(content, str):
        return
    for index, block in enumerate(content):
        if block.get("type") not in ("text", "image", "document", "search_result", "tool_reference"):
            raise Refusal(400, f"{where}.{index}: Input tag '{block.get('type')}' does not match the expected tags")
        if block["type"] == "text" and not block.get("text"):
            raise Refusal(400, f"{where}.{index}: text content blocks must be non-empty")


def _image(source, where):
    """The three kinds of source, each with its field."""
    kind = source.get("type")
    if kind == "base64":
        if source.get("media_type") not in IMAGE_TYPES or not isinstance(source.get("data"), str):
            raise Refusal(400, f"{where}.image.source.base64.media_type: Input should be one of {IMAGE_TYPES}")
    elif not isinstance(source.get({"url": "url", "file": "file_id"}.get(kind)), str):
        raise Refusal(400, f"{where}.image.source: Input tag '{kind}' does not match any of the expected tags")


def _tool_turns(messages):
    """All results of a turn sit in the very next user message, before any other block, and answer its calls."""
    waiting = []
    for index, message in enumerate(messages):
        blocks = message["content"] if isinstance(message["content"], list) else []
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        leading = [block["type"] == "tool_result" for block in blocks]
        if set(results) != set(waiting):
            if waiting:
                missing = ", ".join(identity for identity in waiting if identity not in results)
                text = "`tool_use` ids were found without `tool_result` blocks immediately after"
                raise Refusal(400, f"messages.{index - 1}: {text}: {missing}")
            text = "unexpected `tool_use_id` found in `tool_result` blocks"
            raise Refusal(400, f"messages.{index}: {text}: {', '.join(results)}")
        if leading != sorted(leading, reverse=True):
            raise Refusal(400, f"messages.{index}: `tool_result` blocks must come before other content")
        waiting = [block["id"] for block in blocks if block["type"] == "tool_use"]
    if waiting:
        raise Refusal(400, "messages: final assistant content cannot end with `tool_use`")


def _tools(body, model):
    """Names and schemas of the client's tools, and a choice among the four kinds."""
    names = [tool.get("name") for tool in body.get("tools") or []]
    if len(set(names)) < len(names):
        raise Refusal(400, "tools: Tool names must be unique.")
    for index, tool in enumerate(body.get("tools") or []):
        if tool.get("type", "custom") != "custom":
            continue
        if set(tool) - TOOL_FIELDS:
            name = sorted(set(tool) - TOOL_FIELDS)[0]
            raise Refusal(400, f"tools.{index}.custom.{name}: Extra inputs are not permitted")
        if not TOOL_NAME.fullmatch(tool.get("name") or ""):
            raise Refusal(400, f"tools.{index}.custom.name: String should match pattern '{TOOL_NAME.pattern}'")
        if (tool.get("input_schema") or {}).get("type") != "object":
            raise Refusal(400, f"tools.{index}.custom.input_schema.type: Field required")
    choice = body.get("tool_choice")
    if choice is not None:
        if not body.get("tools"):
            raise Refusal(400, "tool_choice may only be specified while providing tools")
        if choice.get("type") not in ("auto", "any", "tool", "none"):
            raise Refusal(400, "tool_choice: Input tag does not match any of the expected tags")
        if choice["type"] in ("any", "tool") and not model.forced_tools:
            raise Refusal(400, "tool_choice forces tool use, which is not supported on this model")
        if choice["type"] == "tool" and choice.get("name") not in names:
            raise Refusal(400, f"tool_choice.tool.name: Tool '{choice.get('name')}' not found in provided tools")
        if choice["type"] == "none" and "disable_parallel_tool_use" in choice:
            raise Refusal(400, "tool_choice.none.disable_parallel_tool_use: Extra inputs are not permitted")


def _count_cache_controls(value):
    """How many cache breakpoints the request sets, wherever they are."""
    if isinstance(value, dict):
        own = 1 if value.get("cache_control") is not None else 0
        return own + sum(_count_cache_controls(child) for child in value.values())
    if isinstance(value, list):
        return sum(_count_cache_controls(child) for child in value)
    return 0
