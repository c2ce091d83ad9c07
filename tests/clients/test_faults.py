"""What bad clients, bad providers, bad disks and bad luck may do, and what they may not.

Each row of a table says the status, the error in the dialect that was asked, what the ledger has afterwards and how
long it may take. The binary is the real one; the provider is `upstream.py`, or a socket that does one wrong thing.
"""

import base64
import gzip
import hashlib
import json
import os
import resource
import shutil
import socket
import struct
import subprocess
import threading
import time
import uuid
import zlib

import pytest

import upstream_answers as answers
from books import picodollars
from conftest import ADMIN_TOKEN, UPSTREAM_KEY, Upstream, wait_for
from load import (
    END_MARKERS,
    Call,
    Connection,
    Load,
    Scripted,
    Server,
    account_cost,
    black_hole,
    idle_account,
    is_whole,
    provider,
    route,
    send,
)

pytestmark = pytest.mark.gateway

BODY_BYTES_MAX = 64 * 1024
DIALECTS = ("openai", "anthropic")
SHAPES = ("whole", "streamed")
MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5"}
HASTY = 'timeouts = { connect = "800ms", first_token = "900ms", idle = "500ms", total = "4s" }'
# A dead provider costs a caller less than this before the fallback answers.
FALLBACK_SECONDS_MAX = 1.0
# A black hole takes 0.8 s of it itself. Two attempts at one, or three, would take twice or three times as long.
BLACK_HOLE_SECONDS_MAX = 1.5
WORDS = "one two three four five six"


# Providers that do one wrong thing each


def answer_head(content_type="application/json", length=None, status="200 OK", more=""):
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    return f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\n{framing}\r\n{more}\r\n".encode()


def chunk(content):
    return b"%x\r\n%b\r\n" % (len(content), content)


def reset(connection, _dialect, _body):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def wait_for_leaving(connection):
    connection.recv(1)


def says(content):
    """Sends these bytes and closes."""
    return lambda connection, _dialect, _body: connection.sendall(content)


def hang(connection, _dialect, _body):
    wait_for_leaving(connection)


def half_then_hang(connection, _dialect, _body):
    connection.sendall(answer_head(length=1000) + b'{"id":"x",')
    wait_for_leaving(connection)


def endless(block):
    """Sends the same bytes for ever, as far as anybody reads them."""

    def behave(connection, _dialect, _body):
        for _ in range(2048):
            connection.sendall(block)

    return behave


def endless_line(connection, _dialect, _body):
    connection.sendall(answer_head("text/event-stream"))
    connection.sendall(chunk(b"data: "))
    for _ in range(1024):
        connection.sendall(chunk(b"x" * 65536))


def too_large(connection, _dialect, _body):
    """A whole answer of more than the 64 MiB that are taken."""
    length = (64 << 20) + (1 << 16)
    connection.sendall(answer_head(length=length) + b'{"id":"')
    for _ in range(length >> 16):
        connection.sendall(b"x" * 65536)


def bomb(connection, _dialect, body):
    """Ten megabytes of zeros in ten kilobytes, although nobody asked for compression."""
    content = gzip.compress(bytes(10 << 20))
    kind = "text/event-stream" if json.loads(body)["stream"] else "application/json"
    connection.sendall(answer_head(kind, len(content), more="content-encoding: gzip\r\n") + content)


def fails(status, headers="", kind=None):
    """An error in the dialect's own words."""

    def behave(connection, dialect, _body):
        if dialect == "anthropic":
            error = answers.anthropic_error("as it was told to", kind or "api_error", "req_x")
        else:
            error = answers.openai_error("as it was told to", kind or "server_error", None, None)
        content = json.dumps(error).encode()
        connection.sendall(answer_head(length=len(content), status=f"{status} X", more=headers) + content)

    return behave


def records_of(dialect):
    answer = answers.Answer(
        MODELS[dialect],
        WORDS,
        {"input": 9, "cache_read": 0, "cache_write_5m": 0, "cache_write_1h": 0, "output": 6, "reasoning": 0},
    )
    if dialect == "openai":
        return list(answers.openai_chat_records(answer, 1, True))
    return list(answers.anthropic_message_records(answer, 1))


def cut_after(count):
    """A stream whose connection ends after so many records."""

    def behave(connection, dialect, _body):
        connection.sendall(answer_head("text/event-stream"))
        for record in records_of(dialect)[:count]:
            connection.sendall(chunk(record.encode()))

    return behave


# Name: what it does, in which shapes; code in the ledger, statuses of both dialects, whether money may be owed, and
# whether it is a dead provider in the sense of the promise on fallbacks.
FAULTS = {
    "refused": (None, SHAPES, "upstream_connect", (502, 500), False, True),
    "black-hole": (None, SHAPES, "timeout_connect", (504, 504), False, True),
    "no-address": (None, SHAPES, "upstream_connect", (502, 500), False, True),
    "reset": (reset, SHAPES, "upstream_lost", (502, 500), True, True),
    "closes": (says(b""), SHAPES, "upstream_lost", (502, 500), True, True),
    "half-a-head": (says(b"HTTP/1.1 200 OK\r\ncontent-ty"), SHAPES, "upstream_lost", (502, 500), True, True),
    "no-http": (says(b"\x16\x03\x01 hello there\r\n\r\n"), SHAPES, "upstream_lost", (502, 500), True, True),
    "endless-head": (
        endless(b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 4096),
        SHAPES,
        "upstream_lost",
        (502, 500),
        True,
        False,
    ),
    "hangs": (hang, ("streamed",), "timeout_first_token", (504, 504), True, False),
    "not-json": (says(answer_head(length=8) + b"not json"), SHAPES, "upstream_garbage", (502, 500), True, True),
    "empty": (says(answer_head(length=0)), SHAPES, "upstream_garbage", (502, 500), True, True),
    "html": (
        says(answer_head("text/html", 12) + b"<html></html"),
        SHAPES,
        "upstream_garbage",
        (502, 500),
        True,
        True,
    ),
    "other-json": (says(answer_head(length=2) + b"[]"), SHAPES, "upstream_garbage", (502, 500), True, True),
    "compressed": (bomb, SHAPES, "upstream_garbage", (502, 500), True, True),
    "endless-line": (endless_line, ("streamed",), "upstream_garbage", (502, 500), True, False),
    "too-large": (too_large, ("whole",), "upstream_garbage", (502, 500), True, False),
    "half-a-body": (says(answer_head(length=99) + b'{"id":'), ("whole",), "stream_broke_off", (502, 500), True, True),
    "limits": (
        fails(429, "retry-after: 30\r\n", "rate_limit_error"),
        SHAPES,
        "upstream_rate_limited",
        (429, 429),
        False,
        True,
    ),
    "limits-silently": (
        fails(429, kind="rate_limit_error"),
        SHAPES,
        "upstream_rate_limited",
        (429, 429),
        False,
        True,
    ),
    "overloaded": (fails(529, kind="overloaded_error"), SHAPES, "upstream_overloaded", (503, 529), False, True),
    "broken": (fails(500), SHAPES, "upstream_error", (502, 500), False, True),
    "unauthorized": (fails(401, kind="authentication_error"), SHAPES, "upstream_unauthorized", (502, 500), False, True),
}
FAULT_CASES = [
    pytest.param(name, dialect, shape, id=f"{name}-{dialect}-{shape}")
    for name, (_, shapes, *_) in FAULTS.items()
    for dialect in DIALECTS
    for shape in shapes
]
CUT_CASES = [
    pytest.param(count, dialect, id=f"{count}-{dialect}")
    for dialect in DIALECTS
    for count in range(len(records_of(dialect)) + 1)
]


class OwnUpstream(Upstream):
    """A provider whose account nobody else writes."""

    def __init__(self, folder):
        self.account_file = folder / "upstream.jsonl"
        super().__init__(folder)


@pytest.fixture(scope="module")
def provider_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("provider")


@pytest.fixture(scope="module")
def healthy(provider_folder):
    running = OwnUpstream(provider_folder)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def elsewhere():
    """Where redirects point: nobody may come here, least of all with a key."""
    listening = Scripted({"stolen": says(answer_head(length=2) + b"{}")})
    yield listening
    listening.close()


@pytest.fixture(scope="module")
def scripted(elsewhere):
    behaviours = {name: fault[0] for name, fault in FAULTS.items() if fault[0]}
    behaviours |= {f"cut-{count}": cut_after(count) for count in range(13)}
    for status in (301, 307, 308):
        more = f"location: {elsewhere.url('stolen')}/v1/chat/completions\r\n"
        behaviours[f"redirect-{status}"] = says(answer_head(length=0, status=f"{status} Elsewhere", more=more))
    behaviours["half-then-hang"] = half_then_hang
    running = Scripted(behaviours)
    yield running
    running.close()


def base_settings(healthy):
    root = healthy.url
    return provider("openai", "openai", f"{root}/v1") + provider("anthropic", "anthropic", root)


def fault_settings(healthy, scripted, bases):
    """Every fault as a provider of each dialect and shape, alone and as the first of a route."""
    names = [(name, shape) for name, (_, shapes, *_) in FAULTS.items() for shape in shapes]
    names += [(name, shape) for name in scripted.behaviours if name not in FAULTS for shape in SHAPES]
    parts = [f"[limits]\nbody_bytes_max = {BODY_BYTES_MAX}\n", base_settings(healthy)]
    for name, shape in names:
        base = bases.get(name) or scripted.url(name)
        for dialect in DIALECTS:
            mine = f"{name}-{dialect}-{shape}"
            url = f"{base}/v1" if dialect == "openai" else base
            parts.append(provider(mine, dialect, url, dialect, extra=HASTY))
            model = MODELS[dialect]
            parts.append(route(f"route-{mine}", [f"{mine}/{model}", f"{dialect}/{model}"]))
    parts.append(provider("narrow", "openai", f"{healthy.url}/v1", extra="concurrent_requests_max = 1"))
    # Told by the message, and with a circuit that no other test opens.
    for dialect in DIALECTS:
        url = f"{healthy.url}/v1" if dialect == "openai" else healthy.url
        parts += [provider(f"told-{dialect}-{number}", dialect, url, dialect, extra=HASTY) for number in range(40)]
    return "".join(parts)


@pytest.fixture(scope="module")
def server(healthy, scripted, tmp_path_factory):
    # Bound and never listening: refused at once, and nobody else can take it.
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    held = black_hole()
    bases = {
        "refused": f"http://127.0.0.1:{closed.getsockname()[1]}",
        "black-hole": f"http://127.0.0.1:{held[0].getsockname()[1]}",
        "no-address": "http://nobody.invalid",
    }
    running = Server(tmp_path_factory.mktemp("faults"), fault_settings(healthy, scripted, bases))
    running.key = running.create_key("faults")
    running.start()
    yield running
    try:
        running.check_totals(running.settled())
        running.stop()
        running.verify()
    finally:
        running.kill()
        for one in [closed, *held]:
            one.close()


@pytest.fixture
def marker():
    return uuid.uuid4().hex[:16]


@pytest.fixture(scope="module")
def told_numbers():
    return {"openai": iter(range(40)), "anthropic": iter(range(40))}


@pytest.fixture
def told(told_numbers):
    """A model at a provider that only this test uses and that does what the message says."""
    return lambda dialect: f"told-{dialect}-{next(told_numbers[dialect])}/{MODELS[dialect]}"


def check_error(dialect, answer, status, kind=None, code=None, words=()):
    """The error has the dialect's shape and says what it should."""
    assert answer.status == status, answer
    got_kind, got_code, message = answer.error()
    if kind is not None:
        assert got_kind == kind, answer.body
    if code is not None and dialect == "openai":
        assert got_code == code, answer.body
    for word in words:
        assert word in message, message
    assert answer.headers.get("x-tollgate-request-id"), "an error names the call it belongs to"


def check_nothing_owed(server, marker):
    rows = server.rows_of(marker)
    assert len(rows) <= 1, rows
    for row in rows:
        assert row["status"] == "failed" and picodollars(row["cost_usd"] or "0") == 0, row


# Bad clients


def nested(depth):
    """A request whose deepest value is so many levels down, the request itself being the first."""
    return b'{"model":"gpt-4o-mini","metadata":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def request_with(**fields):
    """The fields over those of a sound request, as JSON."""
    sound = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
    return json.dumps({**sound, **fields}).encode()


BAD_BODIES = {
    "no_json": (b"{", "invalid_json", ()),
    "nothing": (b"", "invalid_json", ()),
    "text_after_it": (request_with() + b"{}", "invalid_json", ()),
    "an_array": (b"[]", "invalid_json", ()),
    "no_utf8": (b'{"model":"\xff"}', "invalid_json", ()),
    "a_lone_surrogate_in_the_model": (b'{"model":"\\ud800"}', None, ()),
    "65_levels": (nested(65), "json_too_deep", ("64",)),
    "a_million_levels": (b"[" * 60_000, "json_too_deep", ()),
    "a_key_that_stands_twice": (b'{"model":"gpt-4o-mini","model":"gpt-4o"}', "duplicate_key", ("model",)),
    "the_same_key_in_escapes": (b'{"max_tokens":1,"model":"gpt-4o-mini","max\\u005ftokens":9}', "duplicate_key", ()),
    "no_model": (b'{"messages":[]}', "invalid_value", ("model",)),
    "a_model_that_is_a_number": (request_with(model=7), "invalid_value", ("model",)),
    "an_empty_model": (request_with(model=""), "invalid_value", ("model",)),
    "a_stream_that_is_a_text": (request_with(stream="yes"), "invalid_value", ("stream",)),
    "tokens_below_zero": (request_with(max_tokens=-1), "invalid_value", ("max_tokens",)),
    "tokens_beyond_any_model": (request_with(max_tokens=10**30), "invalid_value", ("max_tokens",)),
    "tokens_in_a_text": (request_with(max_tokens="5"), "invalid_value", ("max_tokens",)),
    "half_a_token": (request_with(max_tokens=0.5), "invalid_value", ("max_tokens",)),
    "tokens_that_are_true": (request_with(max_tokens=True), "invalid_value", ("max_tokens",)),
    "tokens_that_are_a_list": (request_with(max_tokens=[5]), "invalid_value", ("max_tokens",)),
    "answers_below_zero": (request_with(n=-1), "invalid_value", ("n must be",)),
    "no_answers": (request_with(n=0), "invalid_value", ("n must be",)),
    "a_million_answers": (request_with(n=10**6), "invalid_value", ("n must be",)),
    "answers_in_a_text": (request_with(n="2"), "invalid_value", ("n must be",)),
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_body_that_can_not_be_right_is_refused_before_any_provider_sees_it(server, healthy, marker, name, dialect):
    body, code, words = BAD_BODIES[name]
    answer = send(server.port, server.key, Call(marker, dialect), body=body)
    check_error(dialect, answer, 400, "invalid_request_error", code, words)
    assert answer.seconds < 2
    assert healthy.account(marker) == []
    check_nothing_owed(server, marker)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_unknown_model_is_refused_with_one_that_is_meant(server, marker, dialect):
    model = MODELS[dialect]
    answer = send(server.port, server.key, Call(marker, dialect, model=f"{model}x"))
    kind = "not_found_error" if dialect == "anthropic" else "invalid_request_error"
    check_error(dialect, answer, 404, kind, "model_not_found", (model, "GET /v1/models"))
    check_nothing_owed(server, marker)


KEY_CASES = {
    "none": {},
    "wrong": {"authorization": "Bearer tg-0000000000000000000000000000000000000000"},
    "not_a_bearer": {"authorization": "Basic dGc6dGc="},
    "empty": {"authorization": "Bearer "},
    "the_admin_token": {"authorization": f"Bearer {ADMIN_TOKEN}"},
    "two_that_differ": {"authorization": "Bearer {key}", "x-api-key": "tg-other"},
    "half_of_it": {"x-api-key": "{half}"},
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", KEY_CASES)
def test_a_call_without_one_good_key_is_refused(server, healthy, marker, name, dialect):
    half = server.key[: len(server.key) // 2]
    headers = {name: value.format(key=server.key, half=half) for name, value in KEY_CASES[name].items()}
    answer = send(server.port, None, Call(marker, dialect, headers=headers))
    kind = "authentication_error" if dialect == "anthropic" else "invalid_request_error"
    check_error(dialect, answer, 401, kind, "invalid_api_key")
    assert server.key.encode() not in answer.body
    assert healthy.account(marker) == []
    assert server.rows_of(marker) == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_same_key_in_both_headers_is_one_key(server, marker, dialect):
    answer = send(server.port, server.key, Call(marker, dialect, headers={"x-api-key": server.key}))
    assert answer.status == 200


def test_a_revoked_key_is_refused_within_a_second(server, marker):
    created = server.admin("/api/keys", "POST", {"name": f"revoked-{marker}"})
    assert send(server.port, created["key"], Call(marker)).status == 200
    server.admin(f"/api/keys/{created['id']}", "DELETE")
    answer = send(server.port, created["key"], Call(f"{marker}-2"))
    check_error("openai", answer, 401, "invalid_request_error", "invalid_api_key")


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("chunked", [False, True], ids=["told_length", "chunked"])
def test_a_body_above_the_limit_is_refused(server, healthy, marker, dialect, chunked):
    body = request_with(padding="x" * (BODY_BYTES_MAX + 1))
    call = Call(marker, dialect)
    if chunked:
        call.headers = {"content-length": None, "transfer-encoding": "chunked"}
        body = chunk(body) + b"0\r\n\r\n"
    answer = send(server.port, server.key, call, body=body)
    kind = "request_too_large" if dialect == "anthropic" else "invalid_request_error"
    check_error(dialect, answer, 413, kind, "body_too_large", (str(BODY_BYTES_MAX),))
    assert healthy.account(marker) == []


def test_a_body_that_only_claims_to_be_large_is_refused_at_once(server, marker):
    call = Call(marker, headers={"content-length": str(1 << 40)})
    answer = send(server.port, server.key, call, body=b"{}", seconds_max=5)
    check_error("openai", answer, 413, "invalid_request_error", "body_too_large")
    assert answer.seconds < 2


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_a_compressed_body_is_refused_unopened(server, healthy, marker, dialect, encoding):
    bomb = zlib.compress(bytes(32 << 20)) if encoding == "deflate" else gzip.compress(bytes(32 << 20))
    answer = send(
        server.port,
        server.key,
        Call(marker, dialect, headers={"content-encoding": encoding}),
        body=bomb[:BODY_BYTES_MAX],
    )
    check_error(dialect, answer, 415, "invalid_request_error", "encoding_not_taken")
    assert healthy.account(marker) == []


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: gateway\r\n\r\n"
FRAMINGS = {
    "length_and_chunks": ["content-length: 5", "transfer-encoding: chunked"],
    "chunks_and_length": ["transfer-encoding: chunked", "content-length: 5"],
    "two_lengths": ["content-length: 5", "content-length: 6"],
    "a_length_with_a_sign": ["content-length: +5"],
    "a_length_in_a_list": ["content-length: 5, 6"],
    "chunks_under_another_name": ["transfer-encoding: xchunked"],
    "chunks_not_last": ["transfer-encoding: chunked, identity"],
    "a_folded_header": ["content-length: 5", "x-a: b\r\n c"],
    "a_space_before_the_colon": ["content-length : 5"],
}


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_request_whose_end_is_in_doubt_is_refused_and_nothing_behind_it_is_read(server, marker, framing):
    lines = ["POST /v1/chat/completions HTTP/1.1", "host: gateway", f"authorization: Bearer {server.key}"]
    lines += [f"x-request-id: {marker}", *FRAMINGS[framing]]
    body = b"0\r\n\r\n" + SMUGGLED
    with Connection(server.port, 10) as connection:
        connection.send(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
        connection.socket.shutdown(socket.SHUT_WR)
        received = b""
        while part := connection.socket.recv(65536):
            received += part
    assert received.count(b"HTTP/1.1 ") <= 1, received
    assert received.startswith(b"HTTP/1.1 400 ") or received == b"", received
    assert b"smuggled" not in received


@pytest.mark.parametrize("kind", ["many", "long"])
def test_headers_beyond_the_limits_are_refused(server, marker, kind):
    headers = {f"x-{number}": "y" for number in range(200)} if kind == "many" else {"x-long": "y" * (256 << 10)}
    answer = send(server.port, server.key, Call(marker, headers=headers), seconds_max=10)
    assert answer.status in (0, 400, 431)
    assert server.rows_of(marker) == []


def test_a_client_that_never_ends_its_headers_is_let_go(server, marker):
    began = time.monotonic()
    with Connection(server.port, 15) as connection:
        connection.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nx-slow: ")
        connection.socket.settimeout(0.5)
        received, ended = b"", False
        while not ended and time.monotonic() - began < 14:
            try:
                # One more byte of the header now and then must not buy more time.
                connection.send(b"y")
                part = connection.socket.recv(65536)
                received, ended = received + part, not part
            except TimeoutError:
                pass
            except OSError:
                ended = True
    assert ended and time.monotonic() - began < 12
    assert received == b"" or received.startswith(b"HTTP/1.1 408 "), received


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_body_that_trickles_in_is_a_request_timeout(server, healthy, marker, dialect):
    call = Call(marker, dialect, headers={"content-length": "5000"})
    began = time.monotonic()
    with Connection(server.port, 15) as connection:
        connection.send(call.request(server.key, b""))
        connection.socket.setblocking(False)
        received = b""
        while not received and time.monotonic() - began < 10:
            connection.send(b" ")
            time.sleep(0.1)
            try:
                received = connection.socket.recv(65536)
            except BlockingIOError:
                continue
    assert time.monotonic() - began < 9
    assert received.startswith(b"HTTP/1.1 408 "), received
    assert b"invalid_request_error" in received and b"1 KB/s" in received
    assert healthy.account(marker) == []
    check_nothing_owed(server, marker)


# Clients that hang up


def hang_up_after(server, call, records):
    """Reads so many records of a stream and goes away without a word."""
    with Connection(server.port) as connection:
        connection.send(call.request(server.key))
        answer = connection.head()
        assert answer.status == 200, answer
        if records:
            for piece in connection.chunks(answer):
                answer.body += piece
                if answer.body.count(b"\n\n") >= records:
                    break
    return answer


def all_at_once(jobs):
    """Runs every job in a thread of its own; the first failure is told."""
    failures = []

    def run(job):
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - handed on to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_client_that_hangs_up_at_any_record_is_billed_in_full_while_that_is_cheap(server, healthy, marker, dialect):
    # Without what only the gateway asked for: an OpenAI client sees no record of usage.
    seen = len(records_of(dialect)) - (1 if dialect == "openai" else 0)
    text = f"drip:20ms usage:in=100,out=10 echo:{WORDS}"
    calls = [(Call(f"{marker}-{count}", dialect, True, text), count) for count in range(seen)]
    all_at_once([lambda call=call, count=count: hang_up_after(server, call, count) for call, count in calls])
    for call, count in calls:
        row = server.booked(call.marker)
        (entry,) = healthy.account(call.marker)
        assert entry["finished"], f"after {count} records the provider was cut off"
        assert (row["status"], row["cost_basis"]) == ("settled", "exact"), row
        assert picodollars(row["cost_usd"]) == account_cost(entry) > 0, row


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_client_that_hangs_up_before_a_whole_answer_is_billed_for_it(server, healthy, marker, dialect):
    call = Call(marker, dialect, False, "slow:400ms usage:in=100,out=10 hello")
    with Connection(server.port) as connection:
        connection.send(call.request(server.key))
        wait_for(lambda: healthy.account(marker), "the provider being asked", 10)
    row = server.booked(marker)
    (entry,) = healthy.account(marker)
    assert (row["status"], row["cost_basis"]) == ("settled", "exact"), row
    assert picodollars(row["cost_usd"]) == account_cost(entry) > 0


def test_streams_that_are_read_take_no_place_from_one_whose_client_hangs_up(server, healthy, marker):
    readers = [Call(f"{marker}-{number}", "openai", True, f"drip:300ms echo:{WORDS}") for number in range(80)]
    leaver = Call(f"{marker}-leaver", "openai", True, f"drip:50ms usage:in=100,out=10 echo:{WORDS}")
    reading = threading.Semaphore(0)

    def read(call):
        with Connection(server.port) as connection:
            connection.send(call.request(server.key))
            answer = connection.head()
            for number, piece in enumerate(connection.chunks(answer)):
                answer.body += piece
                if number == 0:
                    reading.release()
            assert is_whole(call, answer), answer

    def leave():
        for _ in readers:
            assert reading.acquire(timeout=20)
        hang_up_after(server, leaver, 2)

    all_at_once([*(lambda call=call: read(call) for call in readers), leave])
    row = server.booked(leaver.marker)
    (entry,) = healthy.account(leaver.marker)
    assert entry["finished"] and row["cost_basis"] == "exact", row
    assert picodollars(row["cost_usd"]) == account_cost(entry)


def test_64_calls_go_on_without_their_clients_and_others_are_cancelled(server, healthy, marker):
    calls = [Call(f"{marker}-{number}", text="slow:8s usage:in=100,out=10 hello") for number in range(80)]
    connections = [Connection(server.port) for _ in calls]
    for connection, call in zip(connections, calls, strict=True):
        connection.send(call.request(server.key))
    wait_for(lambda: all(healthy.account(call.marker) for call in calls), "all of them being asked", 10)
    for connection in connections:
        connection.close()
    in_flight = lambda: server.admin("/api/metrics")["requests"]["inFlight"]  # noqa: E731 - read twice
    wait_for(lambda: in_flight() == 64, "the others having ended", 5)
    rows = [server.booked(call.marker) for call in calls]
    assert sorted(row["cost_basis"] for row in rows) == ["exact"] * 64 + ["reserved"] * 16
    assert {row["error"] for row in rows} == {"client_left"}


def test_a_client_that_hangs_up_in_the_middle_of_its_body_costs_nothing(server, healthy, marker):
    call = Call(marker)
    body = call.body()
    with Connection(server.port) as connection:
        connection.send(call.request(server.key, body)[: -len(body) // 2])
    assert send(server.port, server.key, Call(f"{marker}-next")).status == 200
    assert healthy.account(marker) == []
    check_nothing_owed(server, marker)


@pytest.fixture(scope="module")
def cancelling(healthy, tmp_path_factory):
    """The same with `on_disconnect = "cancel"` and the default time limits."""
    settings = '[streams]\non_disconnect = "cancel"\n' + base_settings(healthy)
    running = Server(tmp_path_factory.mktemp("cancel"), settings)
    running.key = running.create_key("cancel")
    running.start()
    yield running
    try:
        running.stop()
        running.verify()
    finally:
        running.kill()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_cancel_ends_the_call_upstream_and_books_what_had_come(cancelling, healthy, marker, dialect):
    words = " ".join(["word"] * 60)
    text = f"drip:50ms usage:in=100,out=60 echo:{words}"
    calls = [(Call(f"{marker}-{count}", dialect, True, text), count) for count in (1, 2, 4, 8, 12)]
    all_at_once([lambda call=call, count=count: hang_up_after(cancelling, call, count) for call, count in calls])
    began = time.monotonic()
    for call, count in calls:
        row = cancelling.booked(call.marker, 5)
        assert (row["status"], row["cost_basis"], row["error"]) == ("settled", "estimated", "client_left"), row
        fresh, _, _, output = (150_000, 0, 0, 600_000) if dialect == "openai" else (1_000_000, 0, 0, 5_000_000)
        # What the client has seen of the text is the least that was produced; all of it the most.
        seen = max(0, count - (1 if dialect == "openai" else 3))
        least = seen * output + (100 * fresh if dialect == "anthropic" else 0)
        assert least <= picodollars(row["cost_usd"]) <= 200 * fresh + 70 * output, row
    idle_account(healthy)
    assert all(not healthy.account(call.marker)[0]["finished"] for call, _ in calls)
    assert time.monotonic() - began < 6


@pytest.mark.parametrize("dialect", DIALECTS)
def test_cancel_does_not_wait_for_a_provider_that_says_nothing(cancelling, healthy, marker, dialect):
    call = Call(marker, dialect, True, f"hang:5 usage:in=100,out=10 echo:{WORDS}")
    hang_up_after(cancelling, call, 4)
    row = cancelling.booked(marker, 3)
    assert (row["status"], row["cost_basis"], row["error"]) == ("settled", "estimated", "client_left"), row


@pytest.mark.parametrize("dialect", DIALECTS)
def test_cancel_ends_a_whole_call_too(cancelling, healthy, marker, dialect):
    call = Call(marker, dialect, False, "slow:8s usage:in=100,out=10 hello")
    with Connection(cancelling.port) as connection:
        connection.send(call.request(cancelling.key))
        wait_for(lambda: healthy.account(marker), "the provider being asked", 10)
    row = cancelling.booked(marker, 3)
    # Nobody knows what the provider makes of it: never below the truth.
    assert row["status"] in ("settled", "unknown") and row["cost_basis"] in ("estimated", "reserved"), row
    assert picodollars(row["cost_usd"]) > 0, row


# Bad providers


def enable(server, name):
    """Has a provider's key used at once, whatever earlier calls have shown of it."""
    server.admin(f"/api/providers/{name}/credentials/1/enable", "POST")


def fault_call(marker, name, dialect, shape, through_route=False):
    mine = f"{name}-{dialect}-{shape}"
    model = f"route-{mine}" if through_route else f"{mine}/{MODELS[dialect]}"
    return Call(marker, dialect, shape == "streamed", f"usage:in=100,out=10 echo:{WORDS}", model=model)


@pytest.mark.parametrize(("name", "dialect", "shape"), FAULT_CASES)
def test_a_provider_that_fails_is_told_in_the_dialect_and_booked(server, healthy, marker, name, dialect, shape):
    _, _, code, statuses, owed, _ = FAULTS[name]
    answer = send(server.port, server.key, fault_call(marker, name, dialect, shape))
    check_error(dialect, answer, statuses[DIALECTS.index(dialect)])
    assert answer.seconds < 5
    row = server.booked(marker)
    assert row["error"] == code, row
    if owed:
        # The provider may have done the work: never below what that can cost.
        assert row["status"] == "unknown" and row["cost_basis"] == "reserved" and picodollars(row["cost_usd"]) > 0, row
    else:
        assert row["status"] == "failed" and picodollars(row["cost_usd"] or "0") == 0, row
    assert healthy.account(marker) == []


@pytest.mark.parametrize(("name", "dialect", "shape"), FAULT_CASES)
def test_a_fallback_answers_in_place_of_a_provider_that_fails(server, healthy, marker, name, dialect, shape):
    _, _, _, _, owed, dead = FAULTS[name]
    # An earlier call may have shown that its key is refused or limited.
    enable(server, f"{name}-{dialect}-{shape}")
    call = fault_call(marker, name, dialect, shape, through_route=True)
    answer = send(server.port, server.key, call)
    assert is_whole(call, answer), answer
    assert answer.headers["x-tollgate-provider"] == dialect
    assert answer.headers["x-tollgate-attempts"] == "2"
    if dead:
        assert answer.seconds < (BLACK_HOLE_SECONDS_MAX if name == "black-hole" else FALLBACK_SECONDS_MAX)
    (entry,) = healthy.account(marker)
    row = server.booked(marker)
    assert (row["status"], row["provider"], row["attempts"]) == ("settled", dialect, "2"), row
    cost = picodollars(row["cost_usd"])
    if owed:
        assert row["cost_basis"] == "reserved" and cost > account_cost(entry), row
    else:
        assert row["cost_basis"] == "exact" and cost == account_cost(entry), row


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_caller_whose_time_runs_out_before_there_is_a_connection_owes_nothing(server, marker, dialect):
    call = fault_call(marker, "black-hole", dialect, "whole")
    call.headers = {"x-tollgate-timeout": "300ms"}
    answer = send(server.port, server.key, call)
    check_error(dialect, answer, 504)
    # Nobody has waited for all three attempts, which would take 2.4 s.
    assert answer.seconds < BLACK_HOLE_SECONDS_MAX
    row = server.booked(marker)
    assert row["status"] == "failed" and picodollars(row["cost_usd"] or "0") == 0, row


def test_a_caller_whose_own_time_runs_out_is_told_that_it_was_theirs(server, healthy, marker):
    call = Call(marker, "openai", False, f"slow:2s echo:{WORDS}", model="narrow/gpt-4o-mini")
    call.headers = {"x-tollgate-timeout": "300ms"}
    answer = send(server.port, server.key, call)
    assert answer.status == 504 and b"call's own limit of 300ms" in answer.body, answer


@pytest.mark.parametrize(
    "shape",
    [
        "whole",
        "streamed",
    ],
)
def test_a_provider_is_never_sent_more_calls_at_a_time_than_it_may_have(server, healthy, marker, shape):
    speed = "drip:100ms" if shape == "streamed" else "slow:800ms"
    calls = [
        Call(f"{marker}-{number}", "openai", shape == "streamed", f"{speed} echo:{WORDS}", model="narrow/gpt-4o-mini")
        for number in range(3)
    ]
    ended = []
    all_at_once([lambda call=call: ended.append((send(server.port, server.key, call), time.time())) for call in calls])
    assert all(answer.status == 200 for answer, _ in ended), ended
    began = sorted(healthy.account(call.marker)[0]["time"] for call in calls)
    ends = sorted(end for _, end in ended)
    # One place: each begins when the one before has ended.
    assert began[1] > began[0] + 0.7 and began[2] > began[1] + 0.7, (began, ends)


def test_a_dead_provider_costs_next_to_nothing_once_its_circuit_is_open(server, marker):
    name, dialect, shape = "black-hole", "openai", "whole"
    seconds = []
    for number in range(12):
        call = fault_call(f"{marker}-{number}", name, dialect, shape, through_route=True)
        answer = send(server.port, server.key, call)
        assert answer.status == 200, answer
        seconds.append((answer.seconds, answer.headers["x-tollgate-attempts"]))
    skipped = [taken for taken, attempts in seconds if attempts == "1"]
    assert len(skipped) >= 5, seconds
    # The 50 ms of the promise are the gateway's part; a debug build and the provider's answer come on top.
    assert min(skipped) < 0.1 and sorted(skipped)[len(skipped) // 2] < 0.4, seconds


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_whole_answer_that_stops_half_way_ends_at_the_idle_limit(server, marker, dialect):
    answer = send(server.port, server.key, fault_call(marker, "half-then-hang", dialect, "whole"))
    check_error(dialect, answer, 504, words=("idle",))
    assert answer.seconds < 2
    row = server.booked(marker)
    assert (row["status"], row["cost_basis"], row["error"]) == ("unknown", "reserved", "timeout_idle"), row
    assert picodollars(row["cost_usd"]) > 0


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("status", [301, 307, 308])
def test_a_redirect_is_not_followed_and_no_key_leaves(server, elsewhere, marker, status, shape, dialect):
    answer = send(server.port, server.key, fault_call(marker, f"redirect-{status}", dialect, shape))
    check_error(dialect, answer, 500 if dialect == "anthropic" else 502)
    row = server.booked(marker)
    assert row["status"] in ("failed", "unknown") and row["error"], row
    assert elsewhere.seen == []


@pytest.mark.parametrize(("count", "dialect"), CUT_CASES)
def test_a_stream_that_is_cut_falls_back_before_its_first_word_and_is_billed_after_it(
    server, healthy, marker, count, dialect
):
    records = records_of(dialect)
    call = fault_call(marker, f"cut-{count}", dialect, "streamed", through_route=True)
    answer = send(server.port, server.key, call)
    row = server.booked(marker)
    first_word = 1 if dialect == "openai" else 3
    assert answer.status == 200, answer
    if count <= first_word:
        assert is_whole(call, answer) and answer.seconds < FALLBACK_SECONDS_MAX, answer
        (entry,) = healthy.account(marker)
        assert (row["status"], row["provider"], row["attempts"]) == ("settled", dialect, "2"), row
        assert picodollars(row["cost_usd"]) >= account_cost(entry), row
        return
    assert healthy.account(marker) == [], "a provider is never switched after the first word"
    assert row["attempts"] == "1" and row["status"] == "settled", row
    if count == len(records):
        # The end marker came; that the connection broke behind it is nobody's loss.
        assert is_whole(call, answer) and row["cost_basis"] == "exact", (answer, row)
        return
    assert END_MARKERS[dialect] not in answer.body
    last = answer.body.rstrip().split(b"\n\n")[-1]
    error = json.loads(last.split(b"data: ", 1)[1])["error"]
    assert error["message"] and last.startswith(b"event: error" if dialect == "anthropic" else b"data: "), last
    assert row["error"] == "stream_broke_off", row
    # Six words of output at the most, and no less than those that came.
    fresh, output = (150_000, 600_000) if dialect == "openai" else (1_000_000, 5_000_000)
    came = min(count - first_word, 6)
    assert came * output <= picodollars(row["cost_usd"]) <= 200 * fresh + 12 * output, row


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stream_that_hangs_after_its_first_word_ends_at_the_idle_limit(server, told, marker, dialect):
    call = Call(marker, dialect, True, f"hang:5 echo:{WORDS}", model=told(dialect))
    answer = send(server.port, server.key, call)
    assert answer.status == 200 and END_MARKERS[dialect] not in answer.body
    assert b"idle" in answer.body and answer.seconds < 3, answer
    row = server.booked(marker)
    assert (row["status"], row["cost_basis"], row["error"]) == ("settled", "estimated", "timeout_idle"), row
    assert picodollars(row["cost_usd"]) > 0


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("behaviour", ["no-usage", "negative-usage"])
def test_usage_that_is_missing_or_below_zero_is_counted_here(server, told, marker, behaviour, shape, dialect):
    call = Call(marker, dialect, shape == "streamed", f"{behaviour} echo:{WORDS}", model=told(dialect))
    answer = send(server.port, server.key, call)
    assert is_whole(call, answer), answer
    row = server.booked(marker)
    assert (row["status"], row["cost_basis"]) == ("settled", "estimated"), row
    assert min(int(row[f"{name}_tokens"] or 0) for name in ("input", "cache_read", "cache_write", "output")) >= 0
    # Six words are no less than six tokens.
    fresh, output = (150_000, 600_000) if dialect == "openai" else (1_000_000, 5_000_000)
    assert picodollars(row["cost_usd"]) >= 6 * fresh + 6 * output, row


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_limit_that_lifts_soon_is_waited_for_and_one_that_does_not_is_told(server, healthy, told, marker, dialect):
    soon = Call(marker, dialect, False, "error:429;retry-after-ms=50;times=2 hello", model=told(dialect))
    answer = send(server.port, server.key, soon)
    assert answer.status == 200 and answer.headers["x-tollgate-attempts"] == "3", answer
    assert len(healthy.account(marker)) == 3 and server.booked(marker)["cost_basis"] == "exact"
    late = Call(f"{marker}-2", dialect, False, "error:429;retry-after=40 hello", model=told(dialect))
    answer = send(server.port, server.key, late)
    check_error(dialect, answer, 429, "rate_limit_error")
    assert answer.headers["retry-after"] == "40" and answer.seconds < 1
    assert len(healthy.account(late.marker)) == 1


# Disks


def ledger_file(server):
    (path,) = server.data_dir.glob("ledger.redb")
    return path


def set_size_limit(pid, limit):
    subprocess.run(["prlimit", f"--fsize={limit}", "--pid", str(pid)], check=True, timeout=10)


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="needs prlimit of util-linux")
@pytest.mark.parametrize(
    "log",
    [
        "log_elsewhere",
        "log_on_the_same_disk",
    ],
)
def test_a_full_disk_refuses_what_it_can_not_book_and_recovers_by_itself(tmp_path, healthy, marker, log):
    server = Server(tmp_path / "full", base_settings(healthy))
    key = server.create_key("full")
    server.start()
    assert send(server.port, key, Call(f"{marker}-first")).status == 200
    server.stop()
    size = ledger_file(server).stat().st_size
    limit = size + 64 * 1024

    def limited():
        # What a full disk answers with is an error; the limit's signal is ignored so that it does the same.
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if log == "log_on_the_same_disk":
        with server.log.open("ab") as file:
            file.truncate(limit)
        options = {}
    server.start(preexec_fn=limited, restore_signals=False, **options)

    def make_call(number, count):
        dialect = DIALECTS[count % 2]
        text = f"{'drip:2ms ' if count % 3 == 0 else ''}usage:in=10,out=10 echo:{WORDS}"
        return Call(f"{marker}-{number}-{count}", dialect, count % 3 == 0, text)

    load = Load(key, make_call, 16).start()
    load.direct_to(server.port)
    try:
        # Until calls are refused, and a little longer, so that many are in flight when it happens.
        wait_for(
            lambda: any(answer.status == 503 for _, answer in list(load.results)),
            "a call being refused for want of room",
            90,
            server.process,
        )
        time.sleep(1)
        assert server.status("/health") == 503
        assert server.status("/ready") == 503
        for dialect in DIALECTS:
            answer = send(server.port, key, Call(f"{marker}-refused-{dialect}", dialect))
            kind = "api_error" if dialect == "anthropic" else "server_error"
            check_error(dialect, answer, 503, kind, "ledger_unavailable")
            assert "retry-after" in answer.headers
            assert healthy.account(f"{marker}-refused-{dialect}") == []
        assert server.status("/api/status") == 200
        assert len(server.rows()) > 0
        set_size_limit(server.process.pid, "unlimited")
        wait_for(lambda: server.status("/health") == 200, "recovery without a restart", 30, server.process)
        answer = send(server.port, key, Call(f"{marker}-after"))
        assert answer.status == 200, answer
        results = load.stop()
        rows = server.settled()
        server.check_totals(rows)
        check_nothing_is_lost(rows, results, [e for e in idle_account(healthy) if (e["id"] or "").startswith(marker)])
        server.stop()
        server.verify()
    finally:
        load.stopping.set()
        server.kill()


def check_nothing_is_lost(rows, results, account):
    """What was answered is booked exactly; what the provider saw is booked at no less than it cost."""
    by_marker = {}
    for row in rows:
        assert row["client_request_id"] not in by_marker, row
        by_marker[row["client_request_id"]] = row
    costs = {}
    for entry in account:
        costs[entry["id"]] = costs.get(entry["id"], 0) + account_cost(entry)
    wrong = []
    for call, answer in results:
        row = by_marker.get(call.marker)
        true_cost = costs.get(call.marker)
        if is_whole(call, answer):
            expected = ("settled", "exact", true_cost)
            if row is None or (row["status"], row["cost_basis"], picodollars(row["cost_usd"])) != expected:
                wrong.append(f"answered, {expected}: {row}")
        elif true_cost is not None and (row is None or picodollars(row["cost_usd"] or "0") < true_cost):
            wrong.append(f"{call.marker} cost {true_cost} and is booked as {row}")
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong[:20])


def test_calls_go_on_when_nobody_reads_the_log(tmp_path, healthy, marker):
    server = Server(tmp_path / "unread", base_settings(healthy))
    key = server.create_key("unread")
    reading, writing = os.pipe()
    server.start(stdout=writing, stderr=writing)
    os.close(writing)
    os.close(reading)
    try:
        for number in range(8):
            call = Call(f"{marker}-{number}", DIALECTS[number % 2], number % 4 < 2)
            answer = send(server.port, key, call)
            assert is_whole(call, answer), answer
        server.check_totals(server.settled())
        assert {row["status"] for row in server.rows()} == {"settled"}
        server.stop()
        server.verify()
    finally:
        server.kill()


@pytest.fixture(scope="module")
def sound_folder(healthy, tmp_path_factory):
    """A stopped server whose ledger holds something."""
    server = Server(tmp_path_factory.mktemp("sound"), base_settings(healthy))
    key = server.create_key("sound")
    server.start()
    for number in range(20):
        assert send(server.port, key, Call(f"sound-{number}")).status == 200
    server.stop()
    server.verify()
    return server


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def truncate(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def truncate_to_a_page(path):
    with path.open("r+b") as file:
        file.truncate(4096)


def zero(path):
    path.write_bytes(bytes(path.stat().st_size))


def zero_the_middle(path):
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(size - 8192))


def empty(path):
    path.write_bytes(b"")


def foreign(path):
    path.write_bytes(b"SQLite format 3\0" + bytes(8192))


def missing(path):
    path.unlink()


def a_folder(path):
    path.unlink()
    path.mkdir()


DAMAGES = [truncate, truncate_to_a_page, zero, zero_the_middle, empty, foreign, missing, a_folder]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_ledger_is_refused_with_what_to_do_and_left_as_it_is(sound_folder, tmp_path, damage):
    server = Server(tmp_path / "damaged", "")
    shutil.copytree(sound_folder.data_dir, server.data_dir)
    path = ledger_file(server)
    damage(path)
    before = digest(path) if path.is_file() else path.exists()
    done = server.command("serve", seconds_max=20)
    said = done.stdout + done.stderr
    assert done.returncode not in (0, None) and done.returncode > 0, said
    assert str(path) in said, said
    assert "panicked" not in said, said
    assert any(word in said for word in ("restore", "move it away", "choose another")), said
    assert (digest(path) if path.is_file() else path.exists()) == before, "the file was touched"
    assert not path.with_suffix(".begun").exists()


def test_a_copy_of_a_sound_folder_starts(sound_folder, tmp_path):
    # Without which the refusals above would show nothing.
    server = Server(tmp_path / "copy", "")
    shutil.copytree(sound_folder.data_dir, server.data_dir)
    server.start()
    assert len(server.rows()) == 20
    server.stop()
    server.verify()


# Stopping and starting


def test_a_stop_under_load_loses_nothing_and_leaves_nothing_unknown(tmp_path, healthy, marker):
    server = Server(tmp_path / "stopped", base_settings(healthy))
    key = server.create_key("stopped")
    server.start()

    def make_call(number, count):
        dialect = DIALECTS[(number + count) % 2]
        stream = count % 2 == 0
        speed = "drip:60ms " if stream else "slow:300ms "
        return Call(f"{marker}-{number}-{count}", dialect, stream, f"{speed}usage:in=50,out=20 echo:{WORDS}")

    load = Load(key, make_call, 16).start()
    load.direct_to(server.port)
    try:
        wait_for(lambda: len(load.results) >= 60, "the load running", 30, server.process)
        server.stop()
        load.up.clear()
        results = load.stop()
        account = [entry for entry in idle_account(healthy) if (entry["id"] or "").startswith(marker)]
        assert all(entry["finished"] for entry in account), "a call was cut off that had 25 s to end"
        server.start()
        rows = server.settled()
        check_nothing_is_lost(rows, results, account)
        assert {row["status"] for row in rows} <= {"settled", "failed"}
        reached = {entry["id"] for entry in account}
        unanswered = [call.marker for call, answer in results if call.marker in reached and not is_whole(call, answer)]
        assert not unanswered, f"the provider was paid for calls whose clients got nothing: {unanswered}"
        server.check_totals(rows)
        server.stop()
        server.verify()
    finally:
        load.stopping.set()
        server.kill()


def test_a_second_process_on_the_same_folder_is_refused_and_told_who_has_it(server):
    second = server.command("serve", seconds_max=20)
    said = second.stdout + second.stderr
    assert second.returncode > 0
    assert str(server.process.pid) in said and server.url in said and str(server.data_dir) in said, said
    assert server.status("/ready") == 200


def test_a_public_address_without_an_admin_is_refused_with_a_way_out(tmp_path):
    server = Server(tmp_path / "public", "")
    server.config.write_text(server.config.read_text().replace("127.0.0.1:0", "0.0.0.0:0"), encoding="utf-8")
    del server.environment["TOLLGATE_ADMIN_TOKEN"]
    done = server.command("serve", seconds_max=20)
    said = done.stdout + done.stderr
    assert done.returncode > 0, said
    assert "tollgate admin create" in said and "no admin" in said, said


# Secrets


def forms_of(secret):
    """The secret as it is, and as it would be in a basic credential or a dump."""
    raw = secret.encode()
    return {raw, base64.b64encode(raw), raw.hex().encode()}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "status",
    [400, 401, 403, 429, 500, 529],
)
def test_a_provider_that_repeats_our_key_to_the_client_is_not_passed_on(server, told_numbers, status, shape, dialect):
    marker = uuid.uuid4().hex[:16]
    text = f"error:{status};message=Incorrect_API_key_provided:_{UPSTREAM_KEY} hello"
    name = f"told-{dialect}-{30 + (status == 500) + 2 * (status == 529)}"
    model = f"{name}/{MODELS[dialect]}"
    enable(server, name)
    answer = send(server.port, server.key, Call(marker, dialect, shape == "streamed", text, model=model))
    assert answer.status >= 400
    assert UPSTREAM_KEY.encode() not in answer.body, answer.body
    identity = answer.headers["x-tollgate-request-id"]
    server.booked(marker)
    assert UPSTREAM_KEY not in server.text(f"/api/requests/{identity}")


def test_no_secret_is_found_in_any_answer_log_export_metric_or_file(tmp_path, healthy, marker):
    server = Server(tmp_path / "canary", base_settings(healthy), {"TOLLGATE_LOG": "trace"})
    key = server.create_key("canary")
    server.start()
    created = server.admin("/api/keys", "POST", {"name": "canary-2"})
    secrets = {
        "the provider's key": UPSTREAM_KEY,
        "a virtual key": key,
        "another virtual key": created["key"],
        "the admin token": ADMIN_TOKEN,
    }
    try:
        for number, one in enumerate([key, created["key"]]):
            for dialect in DIALECTS:
                for stream in (False, True):
                    assert send(server.port, one, Call(f"{marker}-{number}-{stream}", dialect, stream)).status == 200
            send(server.port, one, Call(f"{marker}-bad", text="error:401 hello"))
            enable(server, "openai")
            send(server.port, one, Call(f"{marker}-unknown", model="no-such-model"))
        send(server.port, None, Call(f"{marker}-two", headers={"authorization": f"Bearer {key}", "x-api-key": "tg-x"}))
        server.settled()
        listing = json.loads(server.text("/api/openapi.json"))
        paths = [path for path, methods in listing["paths"].items() if "get" in methods and "{" not in path]
        assert len(paths) >= 5, paths
        paths += [f"/api/keys/{created['id']}", f"/api/requests/{server.rows()[0]['id']}", "/v1/models"]
        found = []
        looked_at = {}
        for path in paths:
            answer = read_all(server, path)
            looked_at[path] = len(answer)
            found += [(path, name) for name, secret in secrets.items() for form in forms_of(secret) if form in answer]
        server.stop()
        files = [path for path in [*server.data_dir.rglob("*"), server.log] if path.is_file()]
        assert {"ledger.redb", "server.log"} <= {path.name for path in files}
        for path in files:
            content = path.read_bytes()
            found += [
                (path.name, name) for name, secret in secrets.items() for form in forms_of(secret) if form in content
            ]
        assert not found, found
    finally:
        server.kill()


def read_all(server, path):
    """Headers and body of an answer, whatever its status; event streams are read for a moment only."""
    with Connection(server.port, 5) as connection:
        lines = [f"GET {path} HTTP/1.1", "host: gateway", f"authorization: Bearer {ADMIN_TOKEN}", "connection: close"]
        connection.send(("\r\n".join(lines) + "\r\n\r\n").encode())
        received = b""
        try:
            while part := connection.socket.recv(65536):
                received += part
        except TimeoutError:
            pass
    return received
