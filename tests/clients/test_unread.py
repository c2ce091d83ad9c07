"""Clients that take the head of an answer and read no further: what was held for their calls is free again after a while."""

import json
import socket
import time

import pytest

import upstream_answers as answers
from conftest import wait_for
from load import Call, Connection, Scripted, Server, provider, send

pytestmark = pytest.mark.gateway

# The time that the settings here give to whoever is silent.
IDLE = 1.0
TOTAL = 8.0
# More than all the buffers between provider and client take together.
STREAM_BYTES = 64 << 20
WHOLE_BYTES = 24 << 20
READ_BYTES = 6 << 20
WORD = "x" * 8_000 + " "


def record(content):
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini"}
    delta = {"index": 0, "delta": content and {"content": content}, "finish_reason": None if content else "stop"}
    return f"data: {json.dumps({**chunk, 'choices': [delta]})}\n\n".encode()


def framed(content):
    return b"%x\r\n%b\r\n" % (len(content), content)


class Provider:
    """Streams and whole answers that are larger than any buffer."""

    def __init__(self):
        # One for each stream that was sent to its end, or not.
        self.ends = []
        self.running = Scripted(
            {"endless": self.stream(STREAM_BYTES), "long": self.stream(READ_BYTES), "whole": self.whole}
        )

    def stream(self, size):
        def behave(connection, _dialect, _body):
            head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            word = framed(record(WORD))
            try:
                connection.sendall(head.encode())
                for _ in range(size // len(word)):
                    connection.sendall(word)
                usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
                last = f"data: {json.dumps({'id': 'x', 'choices': [], 'usage': usage})}\n\ndata: [DONE]\n\n".encode()
                connection.sendall(framed(record(None)) + framed(last) + b"0\r\n\r\n")
                self.ends.append("whole")
            except OSError:
                self.ends.append("cut")

        return behave

    def whole(self, connection, _dialect, _body):
        usage = {"input": 9, "cache_read": 0, "cache_write_5m": 0, "cache_write_1h": 0, "output": 6, "reasoning": 0}
        answer = answers.Answer("gpt-4o-mini", "x" * WHOLE_BYTES, usage)
        content = json.dumps(answers.openai_chat(answer, 1)).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        connection.sendall(head.encode() + content)


@pytest.fixture(scope="module")
def upstream():
    running = Provider()
    yield running
    running.running.close()


@pytest.fixture(params=["drain", "cancel"])
def server(request, tmp_path_factory, upstream):
    times = f'timeouts = {{ connect = "1s", first_token = "5s", idle = "{IDLE:.0f}s", total = "{TOTAL:.0f}s" }}'
    urls = {name: f"{upstream.running.url(name)}/v1" for name in ("endless", "long", "whole")}
    settings = "".join(provider(name, "openai", url, "openai", extra=times) for name, url in urls.items())
    settings += f'[streams]\non_disconnect = "{request.param}"\n[cache]\nenabled = false\n'
    running = Server(tmp_path_factory.mktemp("gateway"), settings)
    running.key = running.create_key("unread")
    running.start()
    yield running
    running.check_totals(running.settled())
    running.stop()
    running.verify()


def reads_little(port):
    """A connection whose own buffer is small, so that what is not read stays with the server."""
    connection = Connection.__new__(Connection)
    connection.socket = socket.socket()
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    connection.socket.settimeout(20)
    connection.socket.connect(("127.0.0.1", port))
    connection.file = connection.socket.makefile("rb")
    return connection


def held(server):
    """Everything that a call holds: its place at the provider, its money, its place among all calls."""
    metrics = server.admin("/api/metrics")
    running = sum(one["running"] for one in metrics["overload"]["providers"])
    return running, server.admin("/api/costs")["pendingCount"], metrics["requests"]["inFlight"]


def test_a_stream_that_is_not_read_holds_nothing_after_a_while(server, upstream, marker):
    call = Call(marker, stream=True, model="endless/gpt-4o-mini")
    upstream.ends.clear()
    with reads_little(server.port) as connection:
        connection.send(call.request(server.key))
        answer = connection.head()
        assert answer.status == 200 and held(server) == (1, 1, 1)
        began = time.monotonic()
        row = server.booked(marker, 15)
        assert IDLE * 0.8 < time.monotonic() - began < IDLE + TOTAL
        assert (row["status"], row["cost_basis"], row["error"]) == ("settled", "estimated", "client_left"), row
        assert int(row["output_tokens"]) > 1_000, "it was written"
        wait_for(lambda: held(server) == (0, 0, 0), "everything being free", 5)
        wait_for(lambda: upstream.ends == ["cut"], "the provider being let go", 5)
        # Who comes back late finds no end where there was none.
        with pytest.raises((ConnectionError, OSError)):
            connection.read_body(answer)
        assert b"[DONE]" not in answer.body
    after = Call(f"{marker}-after", stream=True, model="long/gpt-4o-mini")
    assert b"[DONE]" in send(server.port, server.key, after).body, "health is no matter of clients"


def test_a_client_that_reads_slowly_gets_all_of_it(server, marker):
    call = Call(marker, stream=True, model="long/gpt-4o-mini")
    with reads_little(server.port) as connection:
        connection.send(call.request(server.key))
        answer = connection.head()
        pieces = connection.chunks(answer)
        received = 0
        for piece in pieces:
            # A pause that is no standstill, a few times on the way.
            if received // (2 << 20) != (received + len(piece)) // (2 << 20):
                time.sleep(IDLE * 0.4)
            received += len(piece)
            answer.body = piece
    assert received > READ_BYTES * 0.9 and b"[DONE]" in answer.body
    row = server.booked(marker, 5)
    assert (row["status"], row["cost_basis"], row["error"]) == ("settled", "exact", ""), row


def test_a_whole_answer_that_is_not_read_is_booked_and_holds_nothing(server, marker):
    call = Call(marker, model="whole/gpt-4o-mini")
    with reads_little(server.port) as connection:
        connection.send(call.request(server.key))
        assert connection.head().status == 200
        row = server.booked(marker, 5)
        assert (row["status"], row["cost_basis"], row["error"]) == ("settled", "exact", ""), row
        assert held(server) == (0, 0, 0)


def test_many_that_do_not_read_keep_nobody_from_being_served(server, marker):
    connections = [reads_little(server.port) for _ in range(8)]
    try:
        for number, connection in enumerate(connections):
            call = Call(f"{marker}-{number}", stream=True, model="endless/gpt-4o-mini")
            connection.send(call.request(server.key))
        wait_for(lambda: held(server)[2] == len(connections), "all of them running", 10)
        wait_for(lambda: held(server) == (0, 0, 0), "all of them having ended", 20)
    finally:
        for connection in connections:
            connection.close()
