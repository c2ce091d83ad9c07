"""The way to a provider: TLS with a company's own authority, proxies, names; all on loopback."""

import contextlib
import http.server
import json
import select
import socket
import ssl
import subprocess
import threading

import pytest

from load import Call, Server, provider, send

pytestmark = pytest.mark.gateway
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
    "usage": USAGE,
}


class Provider(http.server.BaseHTTPRequestHandler):
    """Answers every call, and as a proxy takes calls for anybody and makes tunnels to this machine."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.server.targets.append(self.path)
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_CONNECT(self):
        self.server.targets.append(self.path)
        self.close_connection = True
        with socket.create_connection(("127.0.0.1", int(self.path.rsplit(":", 1)[1]))) as other:
            self.send_response(200)
            self.end_headers()
            ends = {self.connection: other, other: self.connection}
            while True:
                for end in select.select(list(ends), [], [], 30)[0]:
                    piece = end.recv(65536)
                    if not piece:
                        return
                    ends[end].sendall(piece)

    def log_message(self, *_):
        """Nothing is told."""


@contextlib.contextmanager
def listening(certificate=None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    server.daemon_threads = True
    server.targets = []
    server.handle_error = lambda *_: None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """An authority that only this test knows, and a certificate of it for `localhost`."""
    folder = tmp_path_factory.mktemp("authority")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl(*new, "-x509", "-days", "2", "-subj", "/CN=Test authority", "-keyout", "ca.key", "-out", "ca.pem",
            "-addext", "basicConstraints=critical,CA:true")
    openssl(*new, "-subj", "/CN=localhost", "-keyout", "host.key", "-out", "host.csr")
    (folder / "host.ext").write_text("subjectAltName=DNS:localhost\nbasicConstraints=CA:false\n")
    openssl("x509", "-req", "-in", "host.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "host.ext", "-out", "host.pem")
    return folder


@contextlib.contextmanager
def running(folder, base_url, settings="", environment=None):
    # Top-level settings stand before the providers.
    server = Server(folder, settings + provider("openai", "openai", base_url), environment)
    key = server.create_key("network")
    server.start()
    try:
        yield server, key
        server.stop()
    finally:
        server.kill()


def ask(server, key, marker):
    answer = send(server.port, key, Call(marker, "openai", False))
    return answer, server.booked(marker)


def test_a_company_s_own_authority_is_trusted_where_it_is_named(tmp_path, authority):
    with listening((authority / "host.pem", authority / "host.key")) as upstream:
        base_url = f"https://localhost:{upstream.server_port}/v1"
        settings = f'[tls]\nca_file = "{authority / "ca.pem"}"\n'
        with running(tmp_path / "trusting", base_url, settings) as (server, key):
            for number in range(3):
                answer, row = ask(server, key, f"trusted-{number}")
                assert (answer.status, row["status"], row["cost_basis"]) == (200, "settled", "exact")
        assert upstream.targets == ["/v1/chat/completions"] * 3
        with running(tmp_path / "wary", base_url) as (server, key):
            answer, row = ask(server, key, "untrusted")
            assert (answer.status, row["status"]) == (502, "failed")
        assert len(upstream.targets) == 3


def test_calls_without_tls_go_through_the_proxy_that_the_environment_names(tmp_path):
    with listening() as proxy:
        environment = {"http_proxy": f"http://127.0.0.1:{proxy.server_port}"}
        with running(tmp_path, "http://provider.invalid/v1", environment=environment) as (server, key):
            answer, row = ask(server, key, "proxied")
            assert (answer.status, row["status"], row["cost_basis"]) == (200, "settled", "exact")
        assert proxy.targets == ["http://provider.invalid/v1/chat/completions"]


def test_calls_over_tls_go_through_a_tunnel_of_the_proxy(tmp_path, authority):
    with listening((authority / "host.pem", authority / "host.key")) as upstream, listening() as proxy:
        environment = {"HTTPS_PROXY": f"http://127.0.0.1:{proxy.server_port}"}
        settings = f'[tls]\nca_file = "{authority / "ca.pem"}"\n'
        base_url = f"https://localhost:{upstream.server_port}/v1"
        with running(tmp_path, base_url, settings, environment) as (server, key):
            answer, row = ask(server, key, "tunnelled")
            assert (answer.status, row["status"], row["cost_basis"]) == (200, "settled", "exact")
        assert proxy.targets == [f"localhost:{upstream.server_port}"]


def test_what_no_proxy_names_is_called_directly(tmp_path):
    with listening() as upstream, listening() as proxy:
        environment = {"HTTP_PROXY": f"http://127.0.0.1:{proxy.server_port}", "NO_PROXY": "localhost"}
        with running(tmp_path, f"http://localhost:{upstream.server_port}/v1", environment=environment) as (server, key):
            answer, row = ask(server, key, "direct")
            assert (answer.status, row["status"]) == (200, "settled")
        assert (upstream.targets, proxy.targets) == (["/v1/chat/completions"], [])


def test_a_name_that_leads_nowhere_costs_nothing(tmp_path):
    with running(tmp_path, "http://provider.invalid/v1") as (server, key):
        answer, row = ask(server, key, "nowhere")
        assert (answer.status, row["status"]) == (502, "failed")
