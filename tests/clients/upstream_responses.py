"""The Responses API, for `upstream.py`: what OpenAI refuses in it, and its answers, whole and as named events.

Written from the types of the official SDKs and the rules of `protocols`, apart from the gateway.
"""

from upstream_answers import CREATED, compact, fragments, pieces
from upstream_checks import (
    FUNCTION_NAME,
    Refusal,
    is_integer,
    openai_model,
    openai_sampling,
    openai_strict_schema,
    openai_text_fields,
    reasons,
)

FIELDS = frozenset(
    """access_programs background background_options context_management conversation image include input instructions
    max_output_tokens max_tool_calls metadata model moderation parallel_tool_calls previous_response_id prompt
    prompt_cache_key prompt_cache_options prompt_cache_retention reasoning safety_identifier service_tier store stream
    stream_options temperature text tool_choice tools top_logprobs top_p truncation user""".split()
)
OUTPUT_TOKENS_MIN = 16
INPUT_PARTS = {"input_text": "text", "input_image": None, "input_file": None}
OUTPUT_PARTS = {"output_text": "text", "refusal": "refusal"}
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def check(body, known_calls):
    """One request. `known_calls` are the function calls of the responses that it builds on."""
    for name in body:
        if name not in FIELDS:
            raise Refusal(400, f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise Refusal(400, "Missing required parameter: 'model'.", param="model", code="missing_required_parameter")
    openai_model(model, lenient=False)
    _scalars(body, model)
    _tools(body)
    _text(body)
    _reasoning(body, model)
    items = body.get("input")
    if isinstance(items, list) and items:
        _items(items, known_calls)
    elif not isinstance(items, str):
        raise Refusal(400, "Missing required parameter: 'input'.", param="input", code="missing_required_parameter")


def _scalars(body, model):
    openai_sampling(body, model)
    openai_text_fields(body)
    limit = body.get("max_output_tokens")
    if limit is not None and not (is_integer(limit) and limit >= OUTPUT_TOKENS_MIN):
        message = f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= {OUTPUT_TOKENS_MIN}."
        raise Refusal(400, message, param="max_output_tokens", code="integer_below_min_value")
    for name in ("stream", "store", "background", "parallel_tool_calls"):
        if body.get(name) is not None and not isinstance(body[name], bool):
            raise Refusal(400, f"Invalid type for '{name}': expected a boolean.", param=name, code="invalid_type")
    if body.get("stream_options") is not None and body.get("stream") is not True:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise Refusal(400, message, param="stream_options")
    unknown = set(body.get("stream_options") or {}) - {"include_obfuscation"}
    if unknown:
        param = f"stream_options.{sorted(unknown)[0]}"
        raise Refusal(400, f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")


def _tools(body):
    """Function tools are flat here: the nested form of chat completions is refused."""
    tools = body.get("tools") or []
    for index, tool in enumerate(tools):
        if tool.get("type") != "function":
            continue
        param = f"tools[{index}].name"
        if not isinstance(tool.get("name"), str):
            raise Refusal(
                400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
            )
        if not FUNCTION_NAME.fullmatch(tool["name"]):
            raise Refusal(400, f"Invalid '{param}'.", param=param, code="invalid_value")
        parameters = tool.get("parameters")
        if parameters is not None and not isinstance(parameters, dict):
            param = f"tools[{index}].parameters"
            raise Refusal(400, f"Invalid '{param}'.", param=param, code="invalid_function_parameters")
        if tool.get("strict") is True:
            openai_strict_schema(parameters or {}, f"function '{tool['name']}'", f"tools[{index}].parameters")
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "function":
        if choice.get("name") not in [tool.get("name") for tool in tools]:
            message = "Tool choice 'function' not found in 'tools' parameter."
            raise Refusal(400, message, param="tool_choice")
    elif isinstance(choice, str) and choice not in ("auto", "none", "required"):
        raise Refusal(400, f"Invalid value: '{choice}'.", param="tool_choice", code="invalid_value")
    elif choice == "required" and not tools:
        message = "Tool choice 'required' must be specified with 'tools' parameter."
        raise Refusal(400, message, param="tool_choice")


def _text(body):
    """The format is flat too."""
    text_format = (body.get("text") or {}).get("format") or {"type": "text"}
    kind = text_format.get("type")
    if kind not in ("text", "json_object", "json_schema"):
        raise Refusal(400, f"Invalid value: '{kind}'.", param="text.format.type", code="invalid_value")
    if kind == "json_schema":
        for name, wanted in (("name", str), ("schema", dict)):
            if not isinstance(text_format.get(name), wanted):
                param = f"text.format.{name}"
                raise Refusal(
                    400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
                )
        if text_format.get("strict") is True:
            openai_strict_schema(text_format["schema"], "response_format", "text.format.schema")


def _reasoning(body, model):
    reasoning = body.get("reasoning")
    if reasoning is None:
        return
    effort = reasoning.get("effort")
    if effort is not None and effort not in EFFORTS:
        raise Refusal(400, f"Invalid value: '{effort}'.", param="reasoning.effort", code="invalid_value")
    if not reasons(model) and any(value is not None for value in reasoning.values()):
        message = "Unsupported parameter: 'reasoning.effort' is not supported with this model."
        raise Refusal(400, message, param="reasoning.effort", code="unsupported_parameter")


def _items(items, known_calls):
    """Messages, calls and their outputs; each output needs its call, and each call its output."""
    open_calls = dict.fromkeys(known_calls)
    for index, item in enumerate(items):
        where = f"input[{index}]"
        kind = item.get("type", "message") if isinstance(item, dict) else None
        if kind == "message":
            _message(item, where)
        elif kind == "function_call":
            for name in ("call_id", "name", "arguments"):
                if not isinstance(item.get(name), str):
                    param = f"{where}.{name}"
                    message = f"Missing required parameter: '{param}'."
                    raise Refusal(400, message, param=param, code="missing_required_parameter")
            open_calls[item["call_id"]] = None
        elif kind == "function_call_output":
            if item.get("call_id") not in open_calls:
                message = f"No tool call found for function call output with call_id {item.get('call_id')}."
                raise Refusal(400, message, param="input")
            del open_calls[item["call_id"]]
            if not isinstance(item.get("output"), (str, list)):
                raise Refusal(400, f"Missing required parameter: '{where}.output'.", param=f"{where}.output")
        elif kind == "reasoning":
            if not isinstance(item.get("summary"), list):
                raise Refusal(400, f"Missing required parameter: '{where}.summary'.", param=f"{where}.summary")
        elif kind != "item_reference":
            raise Refusal(400, f"Invalid value: '{kind}'.", param=f"{where}.type", code="invalid_value")
    if open_calls:
        raise Refusal(400, f"No tool output found for function call {next(iter(open_calls))}.", param="input")


def _message(item, where):
    role = item.get("role")
    if role not in ("user", "assistant", "system", "developer"):
        raise Refusal(400, f"Invalid value: '{role}'.", param=f"{where}.role", code="invalid_value")
    content = item.get("content")
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise Refusal(400, f"Missing required parameter: '{where}.content'.", param=f"{where}.content")
    allowed = OUTPUT_PARTS if role == "assistant" else INPUT_PARTS
    for number, part in enumerate(content):
        param = f"{where}.content[{number}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in allowed:
            message = f"Invalid value: '{kind}'. Supported values are: {', '.join(allowed)}."
            raise Refusal(400, message, param=param, code="invalid_value")
        if allowed[kind] and not isinstance(part.get(allowed[kind]), str):
            raise Refusal(400, f"Missing required parameter: '{param}.{allowed[kind]}'.", param=param)
        if kind == "input_image" and not isinstance(part.get("image_url", part.get("file_id")), str):
            raise Refusal(400, f"Missing required parameter: '{param}.image_url'.", param=param)


def _usage(usage):
    total_input = usage["input"] + usage["cache_read"] + usage["cache_write_5m"]
    details = {"cached_tokens": usage["cache_read"]}
    if usage["cache_write_5m"]:
        details["cache_write_tokens"] = usage["cache_write_5m"]
    return {
        "input_tokens": total_input,
        "input_tokens_details": details,
        "output_tokens": usage["output"],
        "output_tokens_details": {"reasoning_tokens": usage["reasoning"]},
        "total_tokens": total_input + usage["output"],
    }


def _output(answer, sequence, request):
    """Thoughts, the message, the calls, in this order."""
    items = []
    if answer.thinking:
        # The thoughts themselves are shown only as a summary, and only to those who ask.
        asked = (request.get("reasoning") or {}).get("summary")
        summary = [{"type": "summary_text", "text": answer.thinking}] if asked else []
        item = {"id": f"rs_up{sequence:08d}", "type": "reasoning", "summary": summary}
        if "reasoning.encrypted_content" in (request.get("include") or []):
            item["encrypted_content"] = f"sealed-{sequence:08d}"
        items.append(item)
    status = "incomplete" if answer.stop in ("length", "filtered") else "completed"
    if answer.refusal or answer.text or not answer.calls:
        part = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
        if answer.refusal:
            part = {"type": "refusal", "refusal": answer.refusal}
        items.append(
            {
                "id": f"msg_up{sequence:08d}",
                "type": "message",
                "status": status,
                "role": "assistant",
                "content": [part],
            }
        )
    for number, call in enumerate(answer.calls):
        items.append(
            {
                "id": f"fc_up{sequence:08d}n{number}",
                "type": "function_call",
                "status": "completed",
                "call_id": f"call_up{sequence:08d}n{number}",
                "name": call.name,
                "arguments": compact(call.arguments),
            }
        )
    return items


def whole(answer, sequence, request, status=None):
    """A whole object; without a status of its own, the one that the answer ends with."""
    reason = {"length": "max_output_tokens", "filtered": "content_filter"}.get(answer.stop)
    ended = status is None
    if ended:
        status = "incomplete" if reason else "completed"
    return {
        "id": f"resp_up{sequence:08d}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": reason} if ended and reason else None,
        "instructions": request.get("instructions"),
        "max_output_tokens": request.get("max_output_tokens"),
        "model": answer.model,
        "output": _output(answer, sequence, request) if ended else [],
        "parallel_tool_calls": request.get("parallel_tool_calls") is not False,
        "previous_response_id": request.get("previous_response_id"),
        "reasoning": request.get("reasoning") or {"effort": None, "summary": None},
        "service_tier": answer.tier or "default",
        "store": request.get("store") is not False,
        "temperature": 1.0,
        "text": request.get("text") or {"format": {"type": "text"}},
        "tool_choice": request.get("tool_choice") or "auto",
        "tools": request.get("tools") or [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": _usage(answer.usage) if ended and answer.usage is not None else None,
        "user": None,
        "metadata": request.get("metadata") or {},
    }


def records(answer, sequence, request):
    """The named events of one answer, in their order and numbered."""
    count = 0

    def event(kind, **rest):
        nonlocal count
        record = f"event: {kind}\ndata: {compact({'type': kind, 'sequence_number': count, **rest})}\n\n"
        count += 1
        return record

    started = whole(answer, sequence, request, "in_progress")
    finished = whole(answer, sequence, request)
    yield event("response.created", response=started)
    yield event("response.in_progress", response=started)
    steps = {"reasoning": _reasoning_steps, "message": _message_steps, "function_call": _call_steps}
    for index, item in enumerate(finished["output"]):
        for kind, rest in steps[item["type"]](item, index):
            yield event(kind, **rest)
    yield event(f"response.{finished['status']}", response=finished)


def _reasoning_steps(item, index):
    place = {"item_id": item["id"], "output_index": index, "summary_index": 0}
    opened = {name: value for name, value in item.items() if name != "encrypted_content"}
    yield "response.output_item.added", {"output_index": index, "item": {**opened, "summary": []}}
    for part in item["summary"]:
        yield "response.reasoning_summary_part.added", {**place, "part": {**part, "text": ""}}
        for piece in pieces(part["text"]):
            yield "response.reasoning_summary_text.delta", {**place, "delta": piece}
        yield "response.reasoning_summary_text.done", {**place, "text": part["text"]}
        yield "response.reasoning_summary_part.done", {**place, "part": part}
    yield "response.output_item.done", {"output_index": index, "item": item}


def _message_steps(item, index):
    place = {"item_id": item["id"], "output_index": index, "content_index": 0}
    part = item["content"][0]
    yield (
        "response.output_item.added",
        {
            "output_index": index,
            "item": {**item, "status": "in_progress", "content": []},
        },
    )
    if part["type"] == "refusal":
        yield "response.content_part.added", {**place, "part": {**part, "refusal": ""}}
        for piece in pieces(part["refusal"]):
            yield "response.refusal.delta", {**place, "delta": piece}
        yield "response.refusal.done", {**place, "refusal": part["refusal"]}
    else:
        yield "response.content_part.added", {**place, "part": {**part, "text": ""}}
        for piece in pieces(part["text"]):
            yield "response.output_text.delta", {**place, "delta": piece, "logprobs": []}
        yield "response.output_text.done", {**place, "text": part["text"], "logprobs": []}
    yield "response.content_part.done", {**place, "part": part}
    yield "response.output_item.done", {"output_index": index, "item": item}


def _call_steps(item, index):
    place = {"item_id": item["id"], "output_index": index}
    yield (
        "response.output_item.added",
        {
            "output_index": index,
            "item": {**item, "status": "in_progress", "arguments": ""},
        },
    )
    for fragment in fragments(item["arguments"]):
        yield "response.function_call_arguments.delta", {**place, "delta": fragment}
    yield (
        "response.function_call_arguments.done",
        {**place, "name": item["name"], "arguments": item["arguments"]},
    )
    yield "response.output_item.done", {"output_index": index, "item": item}
