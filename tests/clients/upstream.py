#!/usr/bin/env python3
"""A provider for tests: speaks both vendors' dialects, checks requests as they do, and keeps its own account.

    python3 tests/clients/upstream.py --port 0 --port-file FILE [--account FILE.jsonl]

Standard library only, and written apart from the gateway's sandbox, so that a misread wire fact can't agree with
itself. `/v1/...` is strict, `/compat/v1/...` is a lenient OpenAI-compatible server. The key is `sk-upstream-test`.

The last user message chooses the behaviour: any of these words at its start (`id:NAME` may stand before, between or
after them and marks the request in the account); with none of them the answer is a fixed sentence.

    fixture:FILE             a file of tests/fixtures/wire, with the status and headers of its index
    echo:TEXT                answers TEXT (the rest of the message)
    call:NAME={"a":1}        calls a tool of the request, by name or by place in its list; may stand more than once
    think:SOME_WORDS         thinks first (underscores are spaces), if the request has the model think
    refuse:SOME_WORDS        refuses in these words
    filtered                 what a content filter stopped
    error:429;times=1        an error status; retry-after=, retry-after-ms=, should-retry=, date=, type=, code=, param=,
                             message= (underscores are spaces); `times` fails only the first so many attempts with
                             this message
    usage:in=9,read=0,write5m=0,write1h=0,out=5,reasoning=0     the usage to report (any may be left out)
    tier:priority            the service tier that the answer claims to be billed at
    no-usage negative-usage  reports none, or counts below zero
    slow:200ms drip:20ms     waits before the first byte, or before every record
    spaced                   JSON with spaces behind its colons and commas, as Python's json writes it
    split:7                  sends the body in pieces of so many bytes, even inside a character
    cut cut:N truncate:N     breaks the connection, or ends the stream in good order, after N records
    hang hang:mid reset      never answers; stops after two records; resets the connection
    garbage html endless-line redirect      what broken proxies do
    at:NAME/WORD             any of these, at the process that was started with `--name NAME` alone
    quirk:NAME,NAME          on the lenient server, what others do differently (upstream_quirks.py)

Without a word on it the model does what the request makes it do (upstream_model.py). Usage follows one rule when
nothing else is said: input is the number of words in all text of the request, output the number of words in the
answer, and never above the request's own cap. In the account `finished` means that the whole answer was sent, and
`usage` is what was reported, in disjoint counts.

`POST /__keys` makes other keys known, each with how it is judged: `{"sk-a": {}, "sk-b": {"status": 429, "retry-after": "2",
"models": ["gpt-4o"], "paths": ["/v1/embeddings"], "one-in": 2}}` (a status for some models or paths, and for one of so many
requests, where that is said). It replaces what was told before. In the account `key` is the end of the key that a request came with.

`GET /__account` returns the account, `GET /__request/SEQUENCE` one request's headers and body, `POST /__reset` clears
both. None of these takes a key.
"""

import argparse
import hashlib
import http.server
import json
import os
import pathlib
import re
import select
import signal
import socket
import struct
import threading
import time
from urllib.parse import urlsplit

import upstream_answers as answers
import upstream_checks as checks
import upstream_checks_anthropic as anthropic_checks
import upstream_directives
import upstream_model as model
import upstream_other as other
import upstream_quirks as quirks
import upstream_responses as responses
from upstream_account import Account
from upstream_checks import Refusal
from upstream_directives import (
    FIXTURES,
    HANG_SECONDS_MAX,
    Fixtures,
    named_values,
    read_directives,
    seconds,
    without_usage,
)

EXPECTED_KEY = "sk-upstream-test"
OPENAI_MODELS = ("gpt-4o-mini", "gpt-4o", "gpt-5-mini", "text-embedding-3-small")
ANTHROPIC_MODELS = ("claude-haiku-4-5", "claude-sonnet-4-5", "claude-sonnet-5")
LENIENT_ROUTES = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
BODY_BYTES_MAX = 64 * 1024 * 1024
ENDLESS_BYTES_MAX = 96 * 1024 * 1024


def _spaced(record):
    """A record of a stream whose data is JSON, with the spaces that Python's json writes."""
    lines = []
    for line in record.split("\n"):
        name, colon, value = line.partition(": ")
        lines.append(f"data: {json.dumps(json.loads(value))}" if name == "data" and value.startswith("{") else line)
    return "\n".join(lines)


class BrokenOff(Exception):
    """The connection ended on purpose, or the client went away."""


class Provider(http.server.BaseHTTPRequestHandler):
    """One connection; each request is checked, answered as its directive says, and booked."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # Bounds how long an idle kept-alive connection holds its thread.
    timeout = 300

    def log_message(self, format, *arguments):
        """Silent: the account is the log."""

    def do_GET(self):
        self._handle(b"")

    def do_POST(self):
        self._handle(self._read_body())

    def do_DELETE(self):
        # The SDK sends a body along with some deletions.
        self._handle(self._read_body())

    # Reading

    def _read_body(self):
        """By length or in chunks; both are legal towards a provider."""
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            body = b""
            while True:
                size = int(self.rfile.readline(64).split(b";")[0], 16)
                body += self.rfile.read(size)
                self.rfile.readline(8)
                if size == 0 or len(body) > BODY_BYTES_MAX:
                    return body
        return self.rfile.read(min(int(self.headers.get("content-length", 0)), BODY_BYTES_MAX))

    def _handle(self, raw):
        path = urlsplit(self.path).path
        if path.startswith("/__") and path != "/__redirected":
            self._answer_test(path, raw)
            return
        self.lenient = path.startswith("/compat/")
        self.route = path.removeprefix("/compat")
        anthropic = self.route.startswith("/v1/messages") or "anthropic-version" in self.headers
        self.dialect = "anthropic" if anthropic and not self.lenient else "openai"
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.record = {
            "sequence": 0,
            "time": time.time(),
            "ended": None,
            "method": self.command,
            "path": self.path,
            "dialect": self.dialect,
            "key": None,
            "model": None,
            "stream": False,
            "id": None,
            "directive": None,
            "gateway_request_id": headers.get("x-tollgate-request-id"),
            "body_sha256": hashlib.sha256(raw).hexdigest(),
            "status": None,
            "finished": False,
            "usage": None,
            "usage_raw": None,
        }
        self.sent = ""
        # The object lives as long as the connection; a directive only as long as its request.
        self.directives = {}
        self.server.account.open(self.record, headers, raw)
        try:
            self._serve(headers, raw)
        except Refusal as refusal:
            self._send_refusal(refusal)
        except (BrokenOff, OSError):
            self.close_connection = True
        finally:
            self._book_usage()
            self.server.account.close(self.record)

    def _book_usage(self):
        """Called before the last byte leaves too, so that whoever has the answer finds it in the account."""
        reported = answers.reported_usage(self.sent, self.dialect)
        self.record["usage"] = reported and reported["tokens"]
        self.record["usage_raw"] = reported and reported["raw"]

    def _answer_test(self, path, raw):
        """The account itself; never booked."""
        account = self.server.account
        if path == "/__account":
            body = account.listing()
        elif path == "/__keys":
            account.keys = json.loads(raw)
            body = "{}"
        elif path == "/__reset":
            account.clear()
            body = "{}"
        else:
            body = account.request(int(path.rsplit("/", 1)[1]))
        self._write(self._head(200, {"content-type": "application/json"}, len(body.encode())) + body.encode())

    # Deciding

    def _serve(self, headers, raw):
        if self.route == "/__redirected":
            self._send_json(200, {"followed": True})
            return
        key = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        self.record["key"] = key[-4:]
        expected = key if key in self.server.account.keys else EXPECTED_KEY
        if self.dialect == "anthropic":
            version = anthropic_checks.headers(headers, expected)
        else:
            version = None
            checks.openai_headers(headers, expected)
        if self.command != "POST":
            self._serve_kept()
            return
        if self.route in ("/v1/audio/transcriptions", "/v1/files"):
            self._serve_form(other.form_fields(headers.get("content-type", ""), raw))
            return
        checks.json_content_type(headers)
        try:
            body = json.loads(raw)
            if not isinstance(body, dict):
                raise ValueError
        except ValueError:
            raise Refusal(400, "We could not parse the JSON body of your request.") from None
        self.record["model"] = body.get("model")
        self.record["stream"] = body.get("stream") is True
        self.record["id"] = model.marker_in(self._marked_text(body))
        if self._judged(self.server.account.keys.get(key, {})):
            return
        routes = {
            "/v1/chat/completions": self._serve_chat,
            "/v1/responses": self._serve_response,
            "/v1/completions": self._serve_completion,
            "/v1/embeddings": self._serve_embeddings,
            "/v1/images/generations": lambda body, _: self._serve_plain(other.image, body),
            "/v1/moderations": lambda body, _: self._serve_plain(other.moderation, body),
            "/v1/batches": self._serve_batch,
        }
        if self.lenient:
            # As most of them: chat, the older completions and embeddings.
            routes = {path: routes[path] for path in LENIENT_ROUTES}
        if self.dialect == "anthropic":
            routes = {"/v1/messages": self._serve_message, "/v1/messages/count_tokens": self._serve_count}
        if self.route not in routes:
            raise Refusal(404, f"Unknown request URL: POST {self.path}.", kind=self._not_found())
        routes[self.route](body, version)

    def _judged(self, rule):
        """Fails the request as its key is judged; True when that was all."""
        is_meant = self.record["model"] in rule.get("models", [self.record["model"]])
        is_meant = is_meant and self.route in rule.get("paths", [self.route])
        if "status" not in rule or not is_meant or self._sequence() % rule.get("one-in", 1):
            return False
        options = ";".join(f"{name}={value}" for name, value in rule.items() if name not in ("status", "models", "paths", "one-in"))
        return self._fail(f"{rule['status']};{options}", "")

    def _not_found(self):
        return "not_found_error" if self.dialect == "anthropic" else "invalid_request_error"

    def _serve_models(self):
        """The listing, or one of it, in the dialect that the headers chose."""
        anthropic = self.dialect == "anthropic"
        names = ANTHROPIC_MODELS if anthropic else OPENAI_MODELS
        items = [
            {"type": "model", "id": name, "display_name": name, "created_at": "2025-10-01T00:00:00Z"}
            if anthropic
            else {"id": name, "object": "model", "created": answers.CREATED, "owned_by": "upstream"}
            for name in names
        ]
        if self.route == "/v1/models":
            listing = {"object": "list", "data": items}
            if anthropic:
                listing = {"data": items, "has_more": False, "first_id": names[0], "last_id": names[-1]}
            self._send_json(200, listing)
            return
        wanted = self.route.removeprefix("/v1/models/")
        for item in items:
            if item["id"] == wanted:
                self._send_json(200, item)
                return
        raise Refusal(404, f"The model '{wanted}' does not exist", kind=self._not_found(), code="model_not_found")

    def _sequence(self):
        return self.record["sequence"]

    def _marked_text(self, body):
        """Where a test put its marker: the words of the user, or whatever the endpoint has instead of them."""
        said = model.last_user_text(body)
        if said and not (self.route == "/v1/embeddings" or self.route == "/v1/moderations"):
            return said
        given = body.get("prompt", body.get("input"))
        texts = given if isinstance(given, list) else [given]
        return " ".join(text for text in texts if isinstance(text, str)) or model.all_text(body)

    def _serve_kept(self):
        """What is read or deleted: models, and the objects that earlier requests left."""
        account = self.server.account
        kinds = {"responses": account.responses, "files": account.files, "batches": account.batches}
        kind, _, rest = self.route.removeprefix("/v1/").partition("/")
        if kind not in kinds or self.dialect == "anthropic":
            self._serve_models()
            return
        kept = kinds[kind]
        if not rest:
            listed = [entry[0] for entry in kept.values()]
            self._send_json(200, {"object": "list", "data": listed, "has_more": False})
            return
        identity, _, part = rest.partition("/")
        if identity not in kept:
            raise Refusal(404, f"No such {kind} object: {identity}", param="id")
        described, content = kept[identity]
        if self.command == "DELETE":
            del kept[identity]
            self._send_json(200, {"id": identity, "object": described["object"], "deleted": True})
        elif part == "content":
            self._send_body(200, self._request_headers(), content, "application/octet-stream")
        else:
            self._send_json(200, described)

    def _serve_form(self, fields):
        """An upload: speech to write down, or a file to keep."""
        self.record["model"] = fields.get("model")
        name = fields["file"][0] if isinstance(fields.get("file"), tuple) else ""
        self.record["id"] = model.marker_in(f"{fields.get('prompt', '')} {name.partition('.')[0].replace('=', ':')}")
        if self.route == "/v1/files":
            described, content = other.upload(fields, self._sequence())
            self.server.account.files[described["id"]] = (described, content)
            self._send_json(200, described)
            return
        checks.openai_model(str(fields.get("model")), self.lenient)
        self._send_json(200, other.transcription(fields, self._sequence()))

    def _serve_plain(self, answer, body):
        """An endpoint that checks and answers in one, once its directive has been played."""
        if not self._failed(self._marked_text(body)):
            self._send_json(200, answer(body, self._sequence()))

    def _serve_batch(self, body, _version):
        if body.get("input_file_id") not in self.server.account.files:
            raise Refusal(400, "Invalid input_file_id.", param="input_file_id")
        described = other.batch(body, self._sequence())
        self.server.account.batches[described["id"]] = (described, b"")
        self._send_json(200, described)

    def _serve_chat(self, body, _version):
        checks.openai_chat(body, self.lenient)
        include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        odd = quirks.read(read_directives(model.last_user_text(body)))

        def whole(answer, sequence):
            strict = answers.openai_chat(answer, sequence)
            return quirks.whole(strict, answer, odd) if self.lenient else strict

        def records(answer, sequence):
            if not self.lenient:
                return answers.openai_chat_records(answer, sequence, include_usage)
            return quirks.records(answers.openai_chat_records(answer, sequence, True), answer, odd, include_usage)

        if self.lenient:
            quirks.check(body, odd)
        self._serve_answer(body, model.read_chat(body), whole, records, include_usage)

    def _serve_completion(self, body, _version):
        other.check_completion(body, self.lenient)
        prompt = body["prompt"] if isinstance(body["prompt"], str) else " ".join(map(str, body["prompt"]))
        stop = body.get("stop") or []
        asked = model.Asked(body["model"], prompt, prompt, cap=body.get("max_tokens"))
        asked.stops = [stop] if isinstance(stop, str) else stop
        include_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        self._serve_answer(
            body,
            asked,
            other.completion,
            lambda answer, sequence: other.completion_records(answer, sequence, include_usage),
            include_usage,
        )

    def _serve_message(self, body, version):
        anthropic_checks.messages_request(body, version, counting=False)
        asked = model.read_messages(body)
        self._serve_answer(body, asked, answers.anthropic_message, answers.anthropic_message_records)

    def _serve_response(self, body, _version):
        earlier = []
        previous = body.get("previous_response_id")
        if previous is not None:
            if previous not in self.server.account.responses:
                message = f"Previous response with id '{previous}' not found."
                raise Refusal(400, message, param="previous_response_id", code="previous_response_not_found")
            earlier = self.server.account.responses[previous][0]["output"]
        known = [item["call_id"] for item in earlier if item["type"] == "function_call"]
        responses.check(body, known)

        def whole(answer, sequence):
            finished = responses.whole(answer, sequence, body)
            if finished["store"]:
                self.server.account.responses[finished["id"]] = (finished, b"")
            return finished

        def records(answer, sequence):
            whole(answer, sequence)
            return responses.records(answer, sequence, body)

        self._serve_answer(body, model.read_responses(body), whole, records)

    def _serve_count(self, body, version):
        anthropic_checks.messages_request(body, version, counting=True)
        if not self._failed(model.last_user_text(body)):
            self._send_json(200, {"input_tokens": answers.word_count(model.all_text(body))})

    def _serve_embeddings(self, body, _version):
        texts = body.get("input") if isinstance(body.get("input"), list) else [body.get("input")]
        first = next((text for text in texts if isinstance(text, str)), "")
        answer = other.embeddings(body, self.lenient, quirks.read(read_directives(first)))
        if not self._failed(first):
            self._send_json(200, answer)

    def _serve_answer(self, body, asked, whole, records, include_usage=True):
        """Plays the directive of the last user message."""
        if self._failed(asked.text):
            return
        directives = self.directives
        stream = body.get("stream") is True
        if "fixture" in directives:
            self._send_fixture(directives["fixture"], stream, include_usage)
            return
        answer = model.answer(asked, directives)
        sequence = self.record["sequence"]
        if "garbage" in directives:
            self._send_garbage(stream)
        elif stream:
            self._send_stream(self._request_headers(), records(answer, sequence))
        else:
            self._send_json(200, whole(answer, sequence))

    def _failed(self, text):
        """Plays the part of the directive that comes before any answer; True when that was all."""
        directives = self.directives = read_directives(text)
        self.record["directive"] = " ".join(sorted(set(directives) - {"id"})) or None
        if "slow" in directives:
            time.sleep(seconds(directives["slow"]))
        self._misbehave(directives)
        return "error" in directives and self._fail(directives["error"], text)

    def _misbehave(self, directives):
        """The behaviours that never reach an answer."""
        if directives.get("hang") == "":
            self._wait_for_the_client_to_leave()
        if "reset" in directives:
            # Closing with a linger of zero sends a reset instead of an orderly end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())
            raise BrokenOff
        if "redirect" in directives:
            port = self.server.server_address[1]
            self.record["status"] = 307
            self._write(self._head(307, {"location": f"http://127.0.0.1:{port}/__redirected"}, 0))
            raise BrokenOff
        if "html" in directives:
            status = int(directives["html"] or 502)
            page = b"<html><head><title>502 Bad Gateway</title></head><body>cloudflare</body></html>"
            self.record["status"] = status
            self._write(self._head(status, {"content-type": "text/html"}, len(page)) + page)
            raise BrokenOff
        if "endless-line" in directives:
            self._send_endless_line()

    def _fail(self, description, text):
        """An error in the vendor's words; False when its `times` are used up."""
        status_text, _, rest = description.partition(";")
        status, options = int(status_text), named_values(rest, ";")
        if self.server.account.failed_before((self.path, text)) >= int(options.get("times", 1 << 30)):
            return False
        stem = "anthropic" if self.dialect == "anthropic" else "openai"
        name = f"{stem}_{status}.json"
        if (FIXTURES / name).exists():
            body = json.loads((FIXTURES / name).read_text(encoding="utf-8"))
        else:
            body = self._error_body(status, "The request failed as it was told to.", None, None, None)
        for option in ("type", "code", "param", "message"):
            if option in options:
                body["error"][option] = options[option].replace("_", " ") if option == "message" else options[option]
        headers = self._request_headers()
        for option, header in (
            ("retry-after", "retry-after"),
            ("retry-after-ms", "retry-after-ms"),
            ("should-retry", "x-should-retry"),
            ("date", "date"),
        ):
            if option in options:
                headers[header] = options[option]
        self._send_json(status, body, headers)
        return True

    # Answering

    def _error_body(self, status, message, kind, param, code):
        if self.dialect == "anthropic":
            kinds = {
                400: "invalid_request_error",
                401: "authentication_error",
                402: "billing_error",
                403: "permission_error",
                404: "not_found_error",
                413: "request_too_large",
                429: "rate_limit_error",
                504: "timeout_error",
                529: "overloaded_error",
            }
            request_id = self._request_headers()["request-id"]
            return answers.anthropic_error(message, kind or kinds.get(status, "api_error"), request_id)
        default = "server_error" if status >= 500 else "invalid_request_error"
        return answers.openai_error(message, kind or default, param, code)

    def _send_refusal(self, refusal):
        body = self._error_body(refusal.status, refusal.message, refusal.kind, refusal.param, refusal.code)
        self._send_json(refusal.status, body)

    def _request_headers(self):
        """The vendor's own headers, with a request id that is this request's."""
        headers = self.server.fixtures.headers(self.dialect)
        name = "request-id" if self.dialect == "anthropic" else "x-request-id"
        headers[name] = f"req_upstream{self.record['sequence']:08d}"
        return headers

    def _send_fixture(self, name, stream, include_usage):
        entry, content = self.server.fixtures.load(name)
        headers = dict(entry["headers"])
        if name.endswith(".sse"):
            if not stream:
                raise Refusal(400, f"{name} is a stream, and the request did not ask for one")
            records = re.findall(r".+?(?:\n\n|\Z)", content.decode("utf-8"), re.DOTALL)
            # Compatible servers send usage unasked; OpenAI does not.
            if entry["dialect"] == "openai" and not include_usage:
                records = without_usage(records)
            self._send_stream(headers, records)
            return
        if stream and entry["status"] < 400:
            raise Refusal(400, f"{name} is not a stream, and the request asked for one")
        self._send_body(entry["status"], headers, content)

    def _send_json(self, status, value, headers=None):
        text = json.dumps(value) if "spaced" in self.directives else answers.compact(value)
        self._send_body(status, headers or self._request_headers(), text.encode("utf-8"))

    def _send_body(self, status, headers, content, kind="application/json"):
        """A whole body, or a part of it where the directive breaks it off."""
        directives = self.directives
        self.record["status"] = status
        head = self._head(status, {**headers, "content-type": kind}, len(content))
        if status < 400 and ("cut" in directives or "hang" in directives):
            self._write(head + content[: len(content) // 2])
            if "hang" in directives:
                self._wait_for_the_client_to_leave()
            self._break_off()
        self.sent = content.decode("utf-8", errors="replace")
        self.record["finished"] = status < 400
        self._book_usage()
        self._write_in_pieces(head, content)

    def _send_stream(self, headers, records):
        """SSE records, one chunk each unless the directive cuts them otherwise."""
        directives = self.directives
        self.record["status"] = 200
        headers = {**headers, "content-type": "text/event-stream; charset=utf-8"}
        records = [_spaced(record) for record in records] if "spaced" in directives else list(records)
        complete = True
        for name, default in (("cut", 3), ("truncate", 3), ("hang", 2)):
            if name in directives:
                count = directives[name]
                records = records[: int(count) if count.isdigit() else default]
                complete = False
        drip = seconds(directives["drip"]) if "drip" in directives else 0
        self._write(self._head(200, headers, None))
        chunks = [record.encode("utf-8") for record in records]
        if "split" in directives:
            size, joined = int(directives["split"]), b"".join(chunks)
            chunks = [joined[start : start + size] for start in range(0, len(joined), size)]
        for index, chunk in enumerate(chunks):
            if drip:
                time.sleep(drip)
            # What has been reported so far counts, should the client leave before the end.
            self.sent += chunk.decode("utf-8", errors="replace")
            if index == len(chunks) - 1:
                self.sent = "".join(records)
                self.record["finished"] = complete
                self._book_usage()
            self._write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        if "hang" in directives:
            self._wait_for_the_client_to_leave()
        if "cut" in directives:
            self._break_off()
        self._write(b"0\r\n\r\n")

    def _send_garbage(self, stream):
        """A success that is not JSON."""
        self.record["status"] = 200
        if stream:
            self._write(self._head(200, {"content-type": "text/event-stream"}, None))
            for record in (b"data: {not json\n\n", b"\xff\xfe\x00garbage\n\n"):
                self._write(b"%x\r\n%b\r\n" % (len(record), record))
            self._write(b"0\r\n\r\n")
            return
        content = b'{"id": "x", \xff\xfe not json'
        self._write(self._head(200, {"content-type": "application/json"}, len(content)) + content)

    def _send_endless_line(self):
        """A line that never ends, until the client has had enough."""
        self.record["status"] = 200
        self._write(self._head(200, {"content-type": "text/event-stream"}, None))
        block = b"data: " + b"x" * 65530
        sent = 0
        while sent < ENDLESS_BYTES_MAX:
            self._write(b"%x\r\n%b\r\n" % (len(block), block))
            sent += len(block)
            block = b"x" * 65536
        self._break_off()

    def _head(self, status, headers, length):
        """Status line and headers; no length means a body in chunks."""
        reason = self.responses.get(status, ("Overloaded",))[0]
        lines = [f"HTTP/1.1 {status} {reason}"]
        lines += [f"{name}: {value}" for name, value in {"date": self.date_time_string(), **headers}.items()]
        lines.append("transfer-encoding: chunked" if length is None else f"content-length: {length}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8")

    def _write(self, content):
        self.connection.sendall(content)

    def _write_in_pieces(self, head, content):
        size = int(self.directives.get("split", 0))
        if not size:
            self._write(head + content)
            return
        self._write(head)
        for start in range(0, len(content), size):
            self._write(content[start : start + size])

    def _break_off(self):
        """Ends the connection in the middle of a body."""
        self.connection.shutdown(socket.SHUT_RDWR)
        raise BrokenOff

    def _wait_for_the_client_to_leave(self):
        """Sends nothing more; ends when the other side does, or at the bound."""
        readable, _, _ = select.select([self.connection], [], [], HANG_SECONDS_MAX)
        if readable:
            self.connection.recv(1, socket.MSG_PEEK)
        raise BrokenOff


class Server(http.server.ThreadingHTTPServer):
    """One thread per connection, enough backlog for a load test."""

    request_queue_size = 1024
    daemon_threads = True

    def __init__(self, port, account_path):
        super().__init__(("127.0.0.1", port), Provider)
        self.account = Account(account_path)
        self.fixtures = Fixtures()

    def handle_error(self, request, client_address):
        """A client that went away is no news here; the account has it."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--port-file", help="where the port is written once it listens")
    parser.add_argument("--account", help="a file that gets one JSON line per request")
    parser.add_argument("--name", default="", help="what messages call this one in `at:NAME/WORD`")
    arguments = parser.parse_args()
    upstream_directives.name_of_this = arguments.name
    server = Server(arguments.port, arguments.account)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    if arguments.port_file:
        # Renamed into place, so that a reader never sees half a number.
        partial = f"{arguments.port_file}.partial"
        pathlib.Path(partial).write_text(str(server.server_address[1]), encoding="utf-8")
        os.replace(partial, arguments.port_file)
    try:
        server.serve_forever(poll_interval=0.1)
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()


if __name__ == "__main__":
    main()
