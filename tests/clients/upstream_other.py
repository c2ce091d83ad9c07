"""OpenAI's smaller endpoints, for `upstream.py`: completions, embeddings, moderations, images, audio, files, batches.

Each function takes what was asked, refuses what OpenAI refuses, and returns the body to answer with.
"""

import base64
import email.parser
import email.policy
import struct

from upstream_answers import CREATED, compact, openai_usage, pieces, word_count
from upstream_checks import Refusal, is_integer, openai_model

COMPLETION_FIELDS = frozenset(
    """best_of echo frequency_penalty logit_bias logprobs max_tokens model n presence_penalty prompt seed stop stream
    stream_options suffix temperature top_p user""".split()
)
EMBEDDING_FIELDS = frozenset("dimensions encoding_format input model user".split())
DIMENSIONS = 3
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n pixel").decode("ascii")


def _known_fields(body, fields):
    for name in body:
        if name not in fields:
            raise Refusal(400, f"Unrecognized request argument supplied: {name}", param=name)


def _required(body, *names):
    for name in names:
        if body.get(name) in (None, "", []):
            message = f"Missing required parameter: '{name}'."
            raise Refusal(400, message, param=name, code="missing_required_parameter")


def check_completion(body, lenient):
    """The legacy endpoint: a prompt and no messages."""
    if not lenient:
        _known_fields(body, COMPLETION_FIELDS)
    _required(body, "model", "prompt")
    openai_model(str(body["model"]), lenient)
    if not lenient and not body["model"].startswith(("gpt-3.5-turbo-instruct", "davinci", "babbage")):
        message = "This is a chat model and not supported in the v1/completions endpoint."
        raise Refusal(404, message, param="model")
    if body.get("stream_options") is not None and body.get("stream") is not True:
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise Refusal(400, message, param="stream_options")


def completion_finish(answer):
    """Only two ways to end here."""
    return "length" if answer.stop == "length" else "stop"


def _completion(answer, sequence, text, finish_reason):
    return {
        "id": f"cmpl-up{sequence:08d}",
        "object": "text_completion",
        "created": CREATED,
        "model": answer.model,
        "choices": [{"text": text, "index": 0, "logprobs": None, "finish_reason": finish_reason}],
    }


def completion(answer, sequence):
    """A whole text completion."""
    body = _completion(answer, sequence, answer.text, completion_finish(answer))
    if answer.usage is not None:
        body["usage"] = openai_usage(answer.usage)
    return body


def completion_records(answer, sequence, include_usage):
    """The same as SSE records."""
    tail = {"usage": None} if include_usage and answer.usage is not None else {}
    for piece in pieces(answer.text):
        yield f"data: {compact({**_completion(answer, sequence, piece, None), **tail})}\n\n"
    yield f"data: {compact({**_completion(answer, sequence, '', completion_finish(answer)), **tail})}\n\n"
    if tail:
        last = {**_completion(answer, sequence, "", None), "choices": [], "usage": openai_usage(answer.usage)}
        yield f"data: {compact(last)}\n\n"
    yield "data: [DONE]\n\n"


def embeddings(body, lenient, quirks):
    """A few numbers per input, made from its length; base64 of little-endian floats when that is asked for."""
    if not lenient:
        _known_fields(body, EMBEDDING_FIELDS)
    _required(body, "model", "input")
    openai_model(str(body["model"]), lenient)
    if not lenient and not body["model"].startswith("text-embedding-"):
        raise Refusal(404, f"The model `{body['model']}` does not exist.", code="model_not_found", param="model")
    encoding = body.get("encoding_format", "float")
    if encoding not in ("float", "base64"):
        message = f"Invalid value: '{encoding}'."
        raise Refusal(400, message, param="encoding_format", code="invalid_value")
    texts = body["input"]
    if isinstance(texts, str) or all(is_integer(token) for token in texts):
        texts = [texts]
    size = body.get("dimensions") or DIMENSIONS
    data, tokens = [], 0
    for index, text in enumerate(texts):
        vector = ([len(text) / 64, 0.5, -0.25] + [0.125] * size)[:size]
        if encoding == "base64" and "floats" not in quirks:
            vector = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode("ascii")
        data.append({"object": "embedding", "index": index, "embedding": vector})
        tokens += word_count(text) if isinstance(text, str) else len(text)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": body["model"], "usage": usage}


def moderation(body, sequence):
    """Nothing is ever objectionable."""
    _required(body, "input")
    inputs = [body["input"]] if isinstance(body["input"], str) else body["input"]
    result = {"flagged": False, "categories": {"violence": False}, "category_scores": {"violence": 0.0}}
    model = body.get("model") or "omni-moderation-latest"
    return {"id": f"modr-up{sequence:08d}", "model": model, "results": [result for _ in inputs]}


def image(body, _sequence):
    """One picture, whatever was wished for."""
    _required(body, "prompt")
    usage = {"input_tokens": word_count(body["prompt"]), "output_tokens": 10, "total_tokens": 10}
    usage["total_tokens"] += usage["input_tokens"]
    usage["input_tokens_details"] = {"text_tokens": usage["input_tokens"], "image_tokens": 0}
    data = [{"b64_json": PIXEL} for _ in range(body.get("n") or 1)]
    return {"created": CREATED, "data": data, "usage": usage}


def form_fields(content_type, raw):
    """The fields of a multipart form; a file as its name and bytes."""
    if not content_type.startswith("multipart/form-data"):
        raise Refusal(400, "you must provide a multipart form")
    head = f"content-type: {content_type}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + raw)
    fields = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        file_name = part.get_filename()
        fields[name] = (file_name, content) if file_name else content.decode("utf-8").strip()
    return fields


def transcription(fields, _sequence):
    """Says how much it heard."""
    _required(fields, "file", "model")
    if not isinstance(fields["file"], tuple):
        raise Refusal(400, "Invalid 'file': expected an upload.", param="file")
    text = f"{len(fields['file'][1])} bytes of {fields['file'][0]}"
    usage = {"type": "tokens", "input_tokens": 14, "output_tokens": word_count(text), "total_tokens": 0}
    usage["total_tokens"] = usage["input_tokens"] + usage["output_tokens"]
    return {"text": text, "usage": usage}


def upload(fields, sequence):
    """A file object and its content."""
    _required(fields, "file", "purpose")
    name, content = fields["file"]
    described = {
        "id": f"file-up{sequence:08d}",
        "object": "file",
        "bytes": len(content),
        "created_at": CREATED,
        "filename": name,
        "purpose": fields["purpose"],
        "status": "processed",
    }
    return described, content


def batch(body, sequence):
    """A batch that waits for ever."""
    _required(body, "input_file_id", "endpoint", "completion_window")
    return {
        "id": f"batch_up{sequence:08d}",
        "object": "batch",
        "endpoint": body["endpoint"],
        "input_file_id": body["input_file_id"],
        "completion_window": body["completion_window"],
        "status": "validating",
        "created_at": CREATED,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "metadata": body.get("metadata"),
    }
