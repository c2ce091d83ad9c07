"""Requests that wish to go on in another protocol, as some clients and proxies send them: answered as if they had no such wish."""

import http.client
import json
import shutil
import socket
import subprocess

import pytest

from conftest import ADMIN_TOKEN
from load import Server

pytestmark = pytest.mark.gateway
SANDBOX = '[[providers]]\nname = "box"\nkind = "sandbox"\n'
QUESTION = {"model": "sandbox-small", "messages": [{"role": "user", "content": "hello"}]}
# Far less than the 30 s that a body may take.
SECONDS_MAX = 5
WISHES = {
    "web_socket": {"connection": "Upgrade", "upgrade": "websocket"},
    "web_socket_without_connection": {"upgrade": "WebSocket"},
    "web_socket_kept_alive": {"connection": "keep-alive, upgrade", "upgrade": "websocket"},
    "http2": {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAMAAABkAAQAoAAAAAIAAAAA"},
    "nothing_named": {"connection": "upgrade"},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("upgrade"), SANDBOX).start()
    server.key = server.admin("/api/keys", "POST", {"name": "tests"})["key"]
    yield server
    server.stop()


def ask(server, wish, body=None, method="POST", path="/v1/chat/completions"):
    """What is answered to a request with a wish, by a client that uses its connection again unless it is told that it ends."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS_MAX)
    headers = {"authorization": f"Bearer {server.key}", "content-type": "application/json", "x-tollgate-cache": "bypass"}
    try:
        connection.request(method, path, body, headers | wish, encode_chunked="transfer-encoding" in wish)
        answer = connection.getresponse()
        text = answer.read()
        assert "upgrade" not in answer.headers and answer.headers["connection"] in (None, "close")
        connection.request("GET", "/health")
        assert connection.getresponse().status == 200
        return answer, text
    finally:
        connection.close()


@pytest.mark.parametrize("wish", WISHES.values(), ids=WISHES)
@pytest.mark.parametrize("is_chunked", [False, True], ids=["in_one", "in_chunks"])
def test_a_call_is_answered_and_tells_whether_the_connection_ends(server, wish, is_chunked):
    body = json.dumps(QUESTION).encode()
    if is_chunked:
        wish, body = wish | {"transfer-encoding": "chunked"}, iter([body[:20], body[20:]])
    answer, text = ask(server, wish, body)
    assert answer.status == 200, text
    assert json.loads(text)["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("wish", WISHES.values(), ids=WISHES)
def test_a_stream_is_answered_whole(server, wish):
    answer, text = ask(server, wish, json.dumps(QUESTION | {"stream": True}))
    assert answer.status == 200, text
    records = [line.removeprefix(b"data: ") for line in text.split(b"\n\n") if line]
    assert records[-1] == b"[DONE]" and all(json.loads(record) for record in records[:-1])


@pytest.mark.parametrize("wish", WISHES.values(), ids=WISHES)
def test_what_has_no_body_or_another_reader_is_answered_too(server, wish):
    answer, text = ask(server, wish, method="GET", path="/v1/models")
    assert answer.status == 200 and json.loads(text)["data"]
    answer, text = ask(server, wish, b"username=a&password=b", path="/login")
    assert answer.status == 400
    answer, text = ask(server, wish | {"authorization": f"Bearer {ADMIN_TOKEN}"}, "{}", path="/api/keys")
    assert answer.status == 400 and json.loads(text)["code"], text


def test_what_follows_the_body_is_none_of_it(server):
    body = json.dumps(QUESTION).encode()
    head = [
        "POST /v1/chat/completions HTTP/1.1",
        "host: gateway",
        f"authorization: Bearer {server.key}",
        f"content-length: {len(body)}",
        "upgrade: websocket",
    ]
    with socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS_MAX) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode() + body + b"DELETE /api/keys/all HTTP/1.1\r\nhost: gateway\r\n\r\n")
        with connection.makefile("rb") as answers:
            text = answers.read()
    assert text.startswith(b"HTTP/1.1 200 ") and text.count(b"HTTP/1.1 ") == 1, text


def test_half_a_body_is_no_body(server):
    body = json.dumps(QUESTION).encode()
    before = len(server.rows())
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {server.key}\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS_MAX) as connection:
        connection.sendall(f"{head}content-length: {len(body) + 1}\r\nupgrade: websocket\r\n\r\n".encode() + body)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answers:
            assert b" 200 " not in answers.read()
    assert len(server.rows()) == before


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl here")
def test_curl_that_would_rather_speak_http2(server):
    command = ["curl", "--http2", "--silent", "--max-time", str(SECONDS_MAX), f"{server.url}/v1/chat/completions"]
    command += ["--header", f"authorization: Bearer {server.key}", "--header", "content-type: application/json"]
    done = subprocess.run([*command, "--data", json.dumps(QUESTION)], capture_output=True, timeout=30, check=True)
    assert json.loads(done.stdout)["choices"]
