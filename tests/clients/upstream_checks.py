"""What OpenAI refuses, for `upstream.py`; what Anthropic refuses is in `upstream_checks_anthropic.py`.

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
# What an assistant message of an answer may carry back; a field of another server, like its thoughts, is refused.
MESSAGE_FIELDS = frozenset(
    "annotations audio content function_call name prompt_cache_breakpoint refusal role tool_call_id tool_calls".split()
)
TOOL_CALL_ID_CHARACTERS_MAX = 40
IDENTIFIER_CHARACTERS_MAX = 64
# Models that think refuse what would steer the words of their answer.
REASONING_MODEL = re.compile(r"(o[134]|gpt-[5-9])[a-z0-9.-]*")
STEERING = (("temperature", 1), ("top_p", 1), ("presence_penalty", 0), ("frequency_penalty", 0))
FUNCTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


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


def reasons(model):
    """Whether the model thinks before it answers."""
    return bool(REASONING_MODEL.fullmatch(model))


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
    if not lenient:
        openai_sampling(body, body["model"])
        openai_text_fields(body)
        _openai_reasoning(body)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refusal(
            400, "Missing required parameter: 'messages'.", param="messages", code="missing_required_parameter"
        )
    for index, message in enumerate(messages):
        _openai_message(message, f"messages.[{index}]", lenient)
    if not lenient or "quirk:" not in str(messages):
        _openai_tool_turns(messages, lenient)
    _openai_tools(body, lenient)
    _openai_response_format(body.get("response_format"), lenient)


def openai_sampling(body, model):
    """Ranges, and what a model that thinks refuses."""
    for name, low, high in (
        ("temperature", 0, 2),
        ("top_p", 0, 1),
        ("presence_penalty", -2, 2),
        ("frequency_penalty", -2, 2),
    ):
        value = body.get(name)
        if value is not None and not (is_number(value) and low <= value <= high):
            raise Refusal(400, f"Invalid '{name}'.", param=name, code="invalid_type")
    if reasons(model):
        for name, default in STEERING:
            if body.get(name) not in (None, default):
                message = f"Unsupported value: '{name}' does not support {body[name]} with this model."
                raise Refusal(400, message, param=name, code="unsupported_value")


def openai_text_fields(body):
    """Identifiers have a greatest length, and metadata is for what is stored."""
    for name in ("user", "safety_identifier", "prompt_cache_key"):
        value = body.get(name)
        if value is not None and not (isinstance(value, str) and len(value) <= IDENTIFIER_CHARACTERS_MAX):
            message = f"Invalid '{name}': string too long. Expected a string with maximum length 64."
            raise Refusal(400, message, param=name, code="string_above_max_length")


def openai_strict_schema(schema, what, param):
    """With `strict`, every object names all its properties as required and allows no others."""
    if isinstance(schema, list):
        for part in schema:
            openai_strict_schema(part, what, param)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object" or "properties" in schema:
        if schema.get("additionalProperties") is not False:
            text = "'additionalProperties' is required to be supplied and to be false."
            raise Refusal(400, f"Invalid schema for {what}: {text}", param=param, code="invalid_json_schema")
        if set(schema.get("required", [])) != set(schema.get("properties", {})):
            text = "'required' is required to be supplied and to be an array including every key in properties."
            raise Refusal(400, f"Invalid schema for {what}: {text}", param=param, code="invalid_json_schema")
    for part in schema.values():
        openai_strict_schema(part, what, param)


def _openai_reasoning(body):
    """The knobs of models that think, and those that they refuse."""
    model = body["model"]
    thinking = reasons(model)
    refused = ("max_tokens", "stop", "logprobs", "top_logprobs", "logit_bias") if thinking else ("reasoning_effort",)
    for name in refused:
        if body.get(name) not in (None, False):
            instead = " Use 'max_completion_tokens' instead." if name == "max_tokens" else ""
            message = f"Unsupported parameter: '{name}' is not supported with this model.{instead}"
            raise Refusal(400, message, param=name, code="unsupported_parameter")
    if body.get("verbosity") not in (None, "medium") and not thinking:
        message = f"Unsupported value: 'verbosity' does not support '{body['verbosity']}' with this model."
        raise Refusal(400, message, param="verbosity", code="unsupported_value")
    effort = body.get("reasoning_effort")
    if effort is not None and effort not in ("none", "minimal", "low", "medium", "high", "xhigh", "max"):
        raise Refusal(400, f"Invalid value: '{effort}'.", param="reasoning_effort", code="invalid_value")


def _openai_scalars(body):
    """Types of the plain parameters, and which of them need another."""
    for name in ("max_tokens", "max_completion_tokens", "n"):
        value = body.get(name)
        if value is not None and not (is_integer(value) and value >= 1):
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


def _openai_message(message, where, lenient):
    """Role, content and, for its role, the fields that go with it."""
    if not isinstance(message, dict):
        raise Refusal(400, f"Invalid type for '{where}'.", param=where, code="invalid_type")
    unknown = set(message) - MESSAGE_FIELDS
    if unknown and not lenient:
        param = f"{where}.{sorted(unknown)[0]}"
        raise Refusal(400, f"Unrecognized request argument supplied: {param}", param=param)
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
            if kind == "image_url":
                _openai_image(part["image_url"], f"{where}.content.[{index}].image_url")
    elif not isinstance(content, str):
        param = f"{where}.content"
        raise Refusal(400, f"Invalid value for 'content': expected a string, got {content!r}.", param=param)


def _openai_image(image, where):
    """An object with an address of the web, or the picture itself as a data address."""
    url = image.get("url") if isinstance(image, dict) else None
    data = isinstance(url, str) and re.fullmatch(r"data:image/[a-z]+;base64,[A-Za-z0-9+/]+=*", url)
    if not data and not (isinstance(url, str) and url.startswith(("http://", "https://"))):
        message = "Invalid 'image_url': expected a base64-encoded data URL with an image MIME type, or a web address."
        raise Refusal(400, message, param=f"{where}.url", code="invalid_image_url")


def _openai_tool_turns(messages, lenient):
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
            if not lenient and len(call.get("id") or "") > TOOL_CALL_ID_CHARACTERS_MAX:
                message = "Invalid 'id' of a tool call: string too long. Expected a string with maximum length 40."
                param = f"messages[{index}].tool_calls[0].id"
                raise Refusal(400, message, param=param, code="string_above_max_length")
            waiting.append(str(call.get("id")))
    if waiting:
        text = "An assistant message with 'tool_calls' must be followed by tool messages responding to each"
        raise Refusal(400, f"{text} 'tool_call_id'. Missing: {', '.join(waiting)}", param="messages")


def _openai_tools(body, lenient):
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
        if function.get("strict") is True and not lenient:
            param = f"tools[{index}].function.parameters"
            openai_strict_schema(function.get("parameters", {}), f"function '{function['name']}'", param)
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "function":
        named = (choice.get("function") or {}).get("name")
        if named not in [tool["function"]["name"] for tool in tools if tool["type"] == "function"]:
            message = "Tool choice 'function' not found in 'tools' parameter."
            raise Refusal(400, message, param="tool_choice")
    elif isinstance(choice, str) and choice not in ("auto", "none", "required"):
        raise Refusal(400, f"Invalid value: '{choice}'.", param="tool_choice", code="invalid_value")


def _openai_response_format(response_format, lenient):
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
        if schema.get("strict") is True and not lenient:
            openai_strict_schema(schema["schema"], f"response_format '{schema['name']}'", "response_format")


def is_integer(value):
    """JSON's true is no number."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value):
    """Whole or not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
