"""What the two vendors refuse, for `upstream.py`.

Each check raises `Refusal` with the status, type, param and code that the vendor would answer with; the server
turns it into that vendor's error body. The rules are the documented ones, written apart from the gateway's own
sandbox, so that a request which the gateway spoils is noticed here and not waved through.
"""

import re

OPENAI_FIELDS = frozenset(
    """audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens messages
    metadata modalities model moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key
    prompt_cache_options prompt_cache_retention reasoning_effort response_format safety_identifier seed service_tier
    stop store stream stream_options temperature tool_choice tools top_logprobs top_p user verbosity
    web_search_options""".split()
)
ANTHROPIC_FIELDS = frozenset(
    """cache_control container diagnostics inference_geo max_tokens mcp_servers messages metadata model output_config
    service_tier speed stop_sequences stream system temperature thinking tool_choice tools top_k top_p
    user_profile_id""".split()
)
ANTHROPIC_VERSIONS = ("2023-06-01", "2026-10-21")
# From this version on any sampling parameter is refused, whatever its value.
ANTHROPIC_VERSION_WITHOUT_SAMPLING = "2026-10-21"
THINKING_BUDGET_MIN = 1024
CACHE_BREAKPOINTS_MAX = 4
IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
FUNCTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
TOOL_ID = re.compile(r"[A-Za-z0-9_-]+")


class Refusal(Exception):
    """A request that the vendor would not serve, with what it would say."""

    def __init__(self, status, message, kind="invalid_request_error", param=None, code=None):
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.code = code


def openai_headers(headers, expected_key):
    """The key as a bearer token, and a JSON body."""
    authorization = headers.get("authorization")
    if authorization is None:
        raise Refusal(401, "You didn't provide an API key. Provide it in an Authorization header using Bearer auth.")
    if authorization != f"Bearer {expected_key}":
        raise Refusal(401, "Incorrect API key provided.", code="invalid_api_key")


def anthropic_headers(headers, expected_key):
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
    if version not in ANTHROPIC_VERSIONS:
        raise Refusal(400, f'anthropic-version: "{version}" is not a valid version')
    return version


def json_content_type(headers):
    """Both vendors refuse a body that does not say it is JSON."""
    if headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise Refusal(400, "The content type of this request must be application/json")


def openai_model(model, lenient):
    """A name with a gateway's prefix, or the other vendor's, is not a model here."""
    known = re.fullmatch(r"(gpt-|o[134]|text-embedding-)[a-z0-9.-]*", model)
    if (lenient and model.startswith("missing")) or (not lenient and not known):
        message = f"The model `{model}` does not exist or you do not have access to it."
        raise Refusal(404, message, code="model_not_found")


def anthropic_model(model):
    """As `openai_model`, in Anthropic's words."""
    if not re.fullmatch(r"claude-[a-z0-9.-]+", model):
        raise Refusal(404, f"model: {model}", kind="not_found_error")


def openai_chat(body, lenient):
    """One chat completion request. `lenient` is a compatible server: it ignores the fields it does not know."""
    if not lenient:
        for name in body:
            if name not in OPENAI_FIELDS:
                raise Refusal(400, f"Unrecognized request argument supplied: {name}", param=name)
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise Refusal(400, "you must provide a model parameter")
    openai_model(body["model"], lenient)
    _openai_scalars(body)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refusal(
            400, "Missing required parameter: 'messages'.", param="messages", code="missing_required_parameter"
        )
    for index, message in enumerate(messages):
        _openai_message(message, f"messages.[{index}]")
    _openai_tool_turns(messages)
    _openai_tools(body)
    _openai_response_format(body.get("response_format"))


def _openai_scalars(body):
    """Types and ranges of the plain parameters, and which of them need another."""
    for name, low, high in (
        ("temperature", 0, 2),
        ("top_p", 0, 1),
        ("presence_penalty", -2, 2),
        ("frequency_penalty", -2, 2),
    ):
        value = body.get(name)
        if value is not None and not (_is_number(value) and low <= value <= high):
            raise Refusal(400, f"Invalid '{name}'.", param=name, code="invalid_type")
    for name in ("max_tokens", "max_completion_tokens", "n"):
        value = body.get(name)
        if value is not None and not (_is_integer(value) and value >= 1):
            raise Refusal(400, f"Invalid '{name}': expected a value >= 1.", param=name, code="integer_below_min_value")
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        message = "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
        raise Refusal(400, message, param="max_tokens", code="invalid_parameter_combination")
    for name in ("stream", "logprobs", "parallel_tool_calls", "store"):
        if body.get(name) is not None and not isinstance(body[name], bool):
            raise Refusal(400, f"Invalid type for '{name}': expected a boolean.", param=name, code="invalid_type")
    options = body.get("stream_options")
    if options is not None:
        if not isinstance(options, dict):
            raise Refusal(400, "Invalid type for 'stream_options'.", param="stream_options", code="invalid_type")
        if body.get("stream") is not True:
            message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
            raise Refusal(400, message, param="stream_options")
        if not isinstance(options.get("include_usage", False), bool):
            message = "Invalid type for 'stream_options.include_usage'."
            raise Refusal(400, message, param="stream_options.include_usage", code="invalid_type")
    stop = body.get("stop")
    if isinstance(stop, list) and len(stop) > 4:
        raise Refusal(400, "Invalid 'stop': array too long.", param="stop", code="array_above_max_length")


def _openai_message(message, where):
    """Role, content and, for its role, the fields that go with it."""
    if not isinstance(message, dict):
        raise Refusal(400, f"Invalid type for '{where}'.", param=where, code="invalid_type")
    role = message.get("role")
    if role not in ("developer", "system", "user", "assistant", "tool", "function"):
        raise Refusal(400, f"Invalid value: '{role}'.", param=f"{where}.role", code="invalid_value")
    content = message.get("content")
    if content is None and role == "assistant" and (message.get("tool_calls") or message.get("refusal")):
        return
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        raise Refusal(400, f"Missing parameter 'tool_call_id' in '{where}'.", param=where)
    allowed = {
        "user": ("text", "image_url", "input_audio", "file"),
        "assistant": ("text", "refusal"),
    }.get(role, ("text",))
    if isinstance(content, list) and content:
        for index, part in enumerate(content):
            kind = part.get("type") if isinstance(part, dict) else None
            if kind not in allowed or not isinstance(part.get(kind), (dict, str)):
                param = f"{where}.content.[{index}]"
                raise Refusal(400, f"Invalid content part in '{param}'.", param=param, code="invalid_value")
    elif not isinstance(content, str):
        param = f"{where}.content"
        raise Refusal(400, f"Invalid value for 'content': expected a string, got {content!r}.", param=param)


def _openai_tool_turns(messages):
    """Every tool call is answered by the tool messages right after it, and none answers nothing."""
    waiting = []
    for index, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                text = "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
                raise Refusal(400, f"Invalid parameter: {text}", param=f"messages.[{index}].role")
            waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            break
        for call in message.get("tool_calls") or []:
            if call.get("type") == "function" and not isinstance(call["function"].get("arguments"), str):
                raise Refusal(400, "Invalid type for 'arguments': expected a string.", param=f"messages.[{index}]")
            waiting.append(call.get("id"))
    if waiting:
        text = "An assistant message with 'tool_calls' must be followed by tool messages responding to each"
        raise Refusal(400, f"{text} 'tool_call_id'. Missing: {', '.join(waiting)}", param="messages")


def _openai_tools(body):
    """Function tools with valid names; choices only where there are tools."""
    tools = body.get("tools")
    if tools is None:
        for name in ("tool_choice", "parallel_tool_calls"):
            if body.get(name) is not None:
                raise Refusal(400, f"'{name}' is only allowed when 'tools' are specified.", param=name)
        return
    if not isinstance(tools, list) or not tools:
        raise Refusal(400, "Invalid 'tools': empty array.", param="tools", code="empty_array")
    for index, tool in enumerate(tools):
        if tool.get("type") == "custom":
            continue
        function = tool.get("function")
        if tool.get("type") != "function" or not isinstance(function, dict):
            raise Refusal(400, f"Missing required parameter: 'tools[{index}].function'.", param=f"tools[{index}]")
        if not FUNCTION_NAME.fullmatch(function.get("name") or ""):
            param = f"tools[{index}].function.name"
            raise Refusal(400, f"Invalid '{param}'.", param=param, code="invalid_value")
        if not isinstance(function.get("parameters", {}), dict):
            param = f"tools[{index}].function.parameters"
            raise Refusal(400, f"Invalid '{param}'.", param=param, code="invalid_function_parameters")


def _openai_response_format(response_format):
    """A JSON schema needs its name and its schema."""
    if response_format is None:
        return
    kind = response_format.get("type")
    if kind not in ("text", "json_object", "json_schema"):
        raise Refusal(400, f"Invalid value: '{kind}'.", param="response_format.type", code="invalid_value")
    if kind == "json_schema":
        schema = response_format.get("json_schema") or {}
        for name, wanted in (("name", str), ("schema", dict)):
            if not isinstance(schema.get(name), wanted):
                param = f"response_format.json_schema.{name}"
                raise Refusal(400, f"Missing required parameter: '{param}'.", param=param)


def anthropic_messages(body, version, counting):
    """One messages request, or the same without `max_tokens` for a token count."""
    for name in body:
        if name not in ANTHROPIC_FIELDS:
            raise Refusal(400, f"{name}: Extra inputs are not permitted")
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise Refusal(400, "model: Field required")
    anthropic_model(body["model"])
    limit = body.get("max_tokens")
    if limit is None and not counting:
        raise Refusal(400, "max_tokens: Field required")
    if limit is not None and not (_is_integer(limit) and limit >= 0):
        raise Refusal(400, "max_tokens: Input should be greater than or equal to 0")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "messages: at least one message is required")
    if body.get("stream") is not None and not isinstance(body["stream"], bool):
        raise Refusal(400, "stream: Input should be a valid boolean")
    _anthropic_sampling(body, version)
    _anthropic_thinking(body)
    for index, message in enumerate(messages):
        if message.get("role") not in ("user", "assistant", "system"):
            raise Refusal(400, f"messages.{index}.role: Input should be 'user' or 'assistant'")
        _anthropic_content(message.get("content"), message["role"], version, f"messages.{index}.content")
    if messages[0]["role"] != "user":
        raise Refusal(400, 'messages: first message must use the "user" role')
    system = body.get("system")
    if system is not None and not isinstance(system, str):
        _anthropic_content(system, "system", version, "system")
    _anthropic_tool_turns(messages)
    _anthropic_tools(body)
    if _count_cache_controls(body) > CACHE_BREAKPOINTS_MAX:
        message = f"A maximum of {CACHE_BREAKPOINTS_MAX} blocks with cache_control may be provided."
        raise Refusal(400, message)


def _anthropic_sampling(body, version):
    """Refused altogether by the newer version, range-checked by the older."""
    for name, high in (("temperature", 1), ("top_p", 1), ("top_k", None)):
        if name not in body:
            continue
        if version == ANTHROPIC_VERSION_WITHOUT_SAMPLING:
            raise Refusal(400, f"{name}: Extra inputs are not permitted in version {version}")
        value = body[name]
        if not _is_number(value) or value < 0 or (high is not None and value > high):
            raise Refusal(400, f"{name}: Input should be between 0 and {high}")


def _anthropic_thinking(body):
    """A thinking budget has a least size, lies under `max_tokens`, and forbids what would steer the answer."""
    thinking = body.get("thinking")
    if thinking is None or thinking.get("type") in ("disabled", "adaptive", "between_tools"):
        return
    if thinking.get("type") != "enabled":
        raise Refusal(400, "thinking.type: Input tag does not match any of the expected tags")
    budget = thinking.get("budget_tokens")
    if not _is_integer(budget) or budget < THINKING_BUDGET_MIN:
        raise Refusal(400, f"thinking.enabled.budget_tokens: Input should be at least {THINKING_BUDGET_MIN}")
    if body.get("max_tokens") is not None and budget >= body["max_tokens"]:
        raise Refusal(400, "`max_tokens` must be greater than `thinking.budget_tokens`.")
    if body.get("temperature", 1) != 1:
        raise Refusal(400, "`temperature` may only be set to 1 when thinking is enabled.")
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        raise Refusal(400, "Thinking may not be enabled when tool_choice forces tool use.")


def _anthropic_content(content, role, version, where):
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
        if kind == "text":
            if not isinstance(block.get("text"), str) or not block["text"].strip():
                raise Refusal(400, f"{here}.text: text content blocks must contain non-whitespace text")
        elif kind == "image":
            _anthropic_image(block.get("source") or {}, here)
        elif kind == "document":
            if role == "assistant" and version == ANTHROPIC_VERSION_WITHOUT_SAMPLING:
                raise Refusal(400, f"{here}: document blocks are not permitted in assistant messages")
        elif kind == "tool_use":
            if not isinstance(block.get("input"), dict) or not TOOL_ID.fullmatch(block.get("id") or ""):
                raise Refusal(400, f"{here}.tool_use: Input should be a valid dictionary with a valid id")
        elif kind == "tool_result":
            if not TOOL_ID.fullmatch(block.get("tool_use_id") or ""):
                raise Refusal(400, f"{here}.tool_result.tool_use_id: Field required")
        elif kind == "thinking":
            if not isinstance(block.get("thinking"), str) or not block.get("signature"):
                raise Refusal(400, f"{here}: Invalid `signature` in `thinking` block")
        elif kind == "redacted_thinking":
            if not isinstance(block.get("data"), str):
                raise Refusal(400, f"{here}.redacted_thinking.data: Field required")
        else:
            raise Refusal(400, f"{here}: Input tag '{kind}' does not match any of the expected tags")


def _anthropic_image(source, where):
    """The three kinds of source, each with its field."""
    kind = source.get("type")
    if kind == "base64":
        if source.get("media_type") not in IMAGE_TYPES or not isinstance(source.get("data"), str):
            raise Refusal(400, f"{where}.image.source.base64.media_type: Input should be one of {IMAGE_TYPES}")
    elif not isinstance(source.get({"url": "url", "file": "file_id"}.get(kind)), str):
        raise Refusal(400, f"{where}.image.source: Input tag '{kind}' does not match any of the expected tags")


def _anthropic_tool_turns(messages):
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


def _anthropic_tools(body):
    """Names and schemas of the client's tools, and a choice among the four kinds."""
    for index, tool in enumerate(body.get("tools") or []):
        if tool.get("type", "custom") != "custom":
            continue
        if not isinstance(tool.get("name"), str) or not tool["name"]:
            raise Refusal(400, f"tools.{index}.custom.name: Field required")
        if (tool.get("input_schema") or {}).get("type") != "object":
            raise Refusal(400, f"tools.{index}.custom.input_schema.type: Field required")
    choice = body.get("tool_choice")
    if choice is not None:
        if not body.get("tools"):
            raise Refusal(400, "tool_choice may only be specified while providing tools")
        if choice.get("type") not in ("auto", "any", "tool", "none"):
            raise Refusal(400, "tool_choice: Input tag does not match any of the expected tags")
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


def _is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)
