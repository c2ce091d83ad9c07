"""Stand-ins for what alerts are sent to, written from the public descriptions: they refuse what those refuse.

Slack: incoming webhooks (JSON with `text`; errors are plain words with 4xx; more than about one message a second is a 429 with
Retry-After in whole seconds). Discord: execute webhook (JSON with `content` of at most 2,000 characters, `allowed_mentions`
with known words, 204 without a body; 429 with Retry-After, fractions of a second, and the same in the body). The plain webhook checks
the signature as a careful receiver does: over the bytes as they came, in constant time.

The collector takes traces as OTLP over HTTP (specification 1.9): protobuf by the project's own definitions, at
`/v1/traces`; ids of the right length and no zeros, ends that are not before their beginnings.
"""

import hashlib
import hmac
import http.server
import json
import threading
import time

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

DISCORD_CHARS_MAX = 2000
DISCORD_MENTIONS = {"roles", "users", "everyone"}
DISCORD_SUPPRESS_EMBEDS = 4


class Receiver:
    """An HTTP server on loopback that keeps what it has taken. A test may hold it down, or make it answer anything once."""

    path = "/"

    def __init__(self, port=0):
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                status, headers, answer = receiver.answer(self.path, self.headers, body)
                self.send_response(status)
                for name, value in {"content-length": str(len(answer)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                """Quiet: a test says what it needs."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        self.taken = []
        self.refused = []
        self.answer_next = []
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}{self.path}"

    def answer(self, path, headers, body):
        with self.lock:
            if self.answer_next:
                return self.answer_next.pop(0)
            if path != self.path:
                return self.refuse(404, b"no_service")
            if headers.get_content_type() != "application/json":
                return self.refuse(400, b"invalid_payload")
            try:
                message = json.loads(body)
            except ValueError:
                return self.refuse(400, b"invalid_payload")
            return self.take(message, headers, body)

    def refuse(self, status, words, headers=None):
        self.refused.append((status, words))
        return status, headers or {}, words

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Slack(Receiver):
    """An incoming webhook."""

    path = "/services/T00000000/B00000000/canaryCanaryCanaryCanary"

    def __init__(self, port=0, seconds_between=0.0):
        self.seconds_between = seconds_between
        self.last = 0.0
        super().__init__(port)

    def take(self, message, headers, body):
        now = time.monotonic()
        if now - self.last < self.seconds_between:
            return self.refuse(429, b"rate_limited", {"retry-after": "1"})
        if not isinstance(message, dict):
            return self.refuse(400, b"invalid_payload")
        text = message.get("text")
        if not isinstance(text, str) or not text:
            return self.refuse(400, b"no_text")
        if len(text) > 40_000:
            return self.refuse(400, b"msg_too_long")
        self.last = now
        self.taken.append(message)
        return 200, {"content-type": "text/plain"}, b"ok"


class Discord(Receiver):
    """A webhook of a channel."""

    path = "/api/webhooks/1234567890/canary-canary-canary"

    def take(self, message, headers, body):
        content = message.get("content")
        if not content:
            return self.refuse(400, b'{"message": "Cannot send an empty message", "code": 50006}')
        if not isinstance(content, str) or len(content) > DISCORD_CHARS_MAX:
            return self.refuse(400, b'{"content": ["Must be 2000 or fewer in length."]}')
        mentions = message.get("allowed_mentions", {})
        if not set(mentions.get("parse", [])) <= DISCORD_MENTIONS:
            return self.refuse(400, b'{"allowed_mentions": {"parse": ["Value must be one of..."]}}')
        if message.get("flags", 0) not in (0, DISCORD_SUPPRESS_EMBEDS):
            return self.refuse(400, b'{"flags": ["Only SUPPRESS_EMBEDS may be set."]}')
        self.taken.append(message)
        return 204, {}, b""

    @staticmethod
    def limited(seconds):
        """What it says to whoever sends too much."""
        answer = json.dumps({"message": "You are being rate limited.", "retry_after": seconds, "global": False}).encode()
        return 429, {"content-type": "application/json", "retry-after": str(seconds)}, answer


class Webhook(Receiver):
    """A receiver of one's own."""

    path = "/alerts"
    secret = "a webhook's secret, known to both".replace(" ", "-")

    def take(self, message, headers, body):
        expected = "sha256=" + hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(headers.get("x-tollgate-signature", ""), expected):
            return self.refuse(401, b"wrong signature")
        self.taken.append(message)
        return 200, {}, b""

    def of_type(self, kind):
        with self.lock:
            return [message for message in self.taken if message["type"] == kind]


class Collector(Receiver):
    """A collector of traces; what it has taken are spans, each with its resource as a dictionary."""

    path = "/v1/traces"
    wanted = {}

    @property
    def endpoint(self):
        return self.url.removesuffix(self.path)

    def answer(self, path, headers, body):
        with self.lock:
            if self.answer_next:
                return self.answer_next.pop(0)
            if path != self.path:
                return self.refuse(404, b"")
            if headers.get("content-type") != "application/x-protobuf":
                return self.refuse(415, b"")
            if any(headers.get(name) != value for name, value in self.wanted.items()):
                return self.refuse(401, b"")
            try:
                request = ExportTraceServiceRequest.FromString(body)
                spans = [self.read(resource, span) for resource, span in self.spans(request)]
            except (DecodeError, AssertionError) as error:
                return self.refuse(400, str(error).encode())
            self.taken.extend(spans)
            return 200, {"content-type": "application/x-protobuf"}, ExportTraceServiceResponse().SerializeToString()

    @staticmethod
    def spans(request):
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    yield values(resource.resource.attributes), span

    @staticmethod
    def read(resource, span):
        assert len(span.trace_id) == 16 and any(span.trace_id), "trace id"
        assert len(span.span_id) == 8 and any(span.span_id), "span id"
        assert len(span.parent_span_id) in (0, 8), "parent span id"
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano, "times"
        assert span.name and span.kind, "name and kind"
        return {
            "resource": resource,
            "trace": span.trace_id.hex(),
            "id": span.span_id.hex(),
            "parent": span.parent_span_id.hex() or None,
            "name": span.name,
            "kind": {2: "server", 3: "client"}[span.kind],
            "start": span.start_time_unix_nano,
            "end": span.end_time_unix_nano,
            "failed": span.status.code == 2,
            "message": span.status.message,
            **values(span.attributes),
        }


def values(attributes):
    """Attributes as a dictionary; none may stand twice."""
    told = {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
    assert len(told) == len(attributes), "an attribute stands twice"
    return told
