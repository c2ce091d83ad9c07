"""A server that tests may kill, fill and restart, and clients that talk to it in raw HTTP.

The SDKs hide what these tests look at: the last byte, a half-sent request, a connection that goes away. So the clients
here are sockets.
"""

import csv
import io
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field

from books import COLUMNS, picodollars, window
from conftest import ADMIN_TOKEN, ROOT, START_SECONDS_MAX, STOP_SECONDS_MAX, UPSTREAM_KEY, get_json, wait_for

ANSWER_BYTES_MAX = 8 * 1024 * 1024
CALL_SECONDS_MAX = 60
# Picodollars a token: uncached input, cache read, cache write, output; as in books.py.
PRICES = {
    "gpt-4o-mini": (150_000, 75_000, 0, 600_000),
    "claude-haiku-4-5": (1_000_000, 100_000, 1_250_000, 5_000_000),
}
END_MARKERS = {"openai": b"data: [DONE]\n\n", "anthropic": b"event: message_stop\n"}


def binary():
    """The program under test, as conftest finds it."""
    path = pathlib.Path(os.environ.get("TOLLGATE_BIN", "target/debug/tollgate"))
    return str(path if path.is_absolute() else ROOT / path)


def provider(name, kind, base_url, catalog=None, key="env:UPSTREAM_KEY", extra=""):
    """One `[[providers]]` of a configuration."""
    lines = ["[[providers]]", f'name = "{name}"', f'kind = "{kind}"', f'base_url = "{base_url}"', f'api_key = "{key}"']
    lines.append(f'catalog = "{catalog or kind}"')
    return "\n".join([*lines, extra]) + "\n"


def route(name, deployments):
    """One `[[routes]]` that falls back in order."""
    return f'[[routes]]\nname = "{name}"\nstrategy = "fallback"\ndeployments = {json.dumps(deployments)}\n'


class Server:
    """The binary on one data folder, started as often as a test likes."""

    def __init__(self, folder, settings, environment=None):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.data_dir = folder / "data"
        self.config = folder / "tollgate.toml"
        head = f'listen = "127.0.0.1:0"\ndata_dir = "{self.data_dir}"\ntime_zone = "UTC"\n'
        self.config.write_text(head + settings, encoding="utf-8")
        self.environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(folder),
            "UPSTREAM_KEY": UPSTREAM_KEY,
            "TOLLGATE_ADMIN_TOKEN": ADMIN_TOKEN,
            **(environment or {}),
        }
        self.log = folder / "server.log"
        self.process = None
        self.url = None

    def command(self, *arguments, seconds_max=60):
        """Runs one command to its end."""
        return subprocess.run(
            [binary(), *arguments, "--config", str(self.config)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds_max,
            check=False,
        )

    def create_key(self, name, *arguments):
        done = self.command("key", "create", name, *arguments, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)["key"]

    def launch(self, **options):
        """Starts the process and returns at once; it logs to a file unless the options say otherwise."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [binary(), "serve", "--config", str(self.config)],
                cwd=self.folder,
                env=self.environment,
                **{"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, **options},
            )

    def start(self, **options):
        """Starts the process and waits until it takes calls."""
        self.launch(**options)
        try:
            self.url = wait_for(self._address, "the lock file", START_SECONDS_MAX, self.process)
            wait_for(lambda: self.status("/ready") == 200, "/ready answering 200", START_SECONDS_MAX, self.process)
        except BaseException:
            self.kill()
            raise
        return self

    def _address(self):
        # Left over from a process that was killed, the file names another one.
        try:
            held = json.loads((self.data_dir / "tollgate.lock").read_text())
        except (OSError, ValueError):
            return None
        return held["address"] if held.get("pid") == self.process.pid else None

    @property
    def port(self):
        return int(self.url.rsplit(":", 1)[1])

    def status(self, path, token=ADMIN_TOKEN):
        """The status of a GET; 0 when nobody answers."""
        request = urllib.request.Request(f"{self.url}{path}", headers={"authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                response.read()
                return response.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def kill(self):
        """The end that nobody can prepare for."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        if self.process is not None:
            self.process.wait()

    def stop(self):
        """An orderly stop is a promise too: exit code 0."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not stop within {STOP_SECONDS_MAX} s of SIGTERM") from None
        assert code == 0, f"the server ended with {code} after SIGTERM\n{self.log_end()}"

    def log_end(self, lines=30):
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def admin(self, path, method="GET", body=None):
        return get_json(f"{self.url}{path}", ADMIN_TOKEN, method, body)

    def text(self, path):
        request = urllib.request.Request(f"{self.url}{path}", headers={"authorization": f"Bearer {ADMIN_TOKEN}"})
        with urllib.request.urlopen(request, timeout=CALL_SECONDS_MAX) as response:
            return response.read().decode("utf-8")

    def rows(self):
        """The whole ledger."""
        text = self.text(f"/api/costs.csv?{window()}").removeprefix("\ufeff")
        assert text.splitlines()[0] == COLUMNS
        return list(csv.DictReader(io.StringIO(text)))

    def rows_of(self, marker):
        return [row for row in self.rows() if row["client_request_id"] == marker]

    def booked(self, marker, seconds_max=40):
        """The one row of a call, once it has ended."""

        def look():
            rows = self.rows_of(marker)
            assert len(rows) <= 1, f"one call has one row: {rows}"
            return rows if rows and rows[0]["status"] != "pending" else None

        return wait_for(look, f"the row of {marker}", seconds_max, self.process)[0]

    def settled(self, seconds_max=60):
        """The whole ledger, once nothing is pending."""

        def look():
            return self.admin(f"/api/costs?{window()}")["pendingCount"] == 0

        wait_for(look, "every call being booked", seconds_max, self.process)
        return self.rows()

    def check_totals(self, rows):
        """The report is the sum of the rows, and nothing is held."""
        report = self.admin(f"/api/costs?{window()}&groupBy=provider")
        total = sum(picodollars(row["cost_usd"] or "0") for row in rows)
        unknown = sum(picodollars(row["cost_usd"] or "0") for row in rows if row["status"] == "unknown")
        assert (report["pendingCount"], picodollars(report["heldUsd"])) == (0, 0)
        assert picodollars(report["totalUsd"]) == total
        assert picodollars(report["unknownUsd"]) == unknown
        assert sum(picodollars(group["costUsd"]) for group in report["groups"]) == total
        assert report["requests"] == len(rows) == sum(group["requests"] for group in report["groups"])

    def verify(self):
        """Proves the sums of a stopped server's ledger."""
        done = self.command("verify", seconds_max=120)
        assert done.returncode == 0, f"verify: {done.returncode}\n{done.stdout}{done.stderr}"


def account_cost(entry):
    """What the provider's own account says one of its requests cost, in picodollars."""
    usage = entry["usage"]
    if not usage:
        return 0
    fresh, read, write, output = PRICES[entry["model"]]
    assert usage["cache_write_1h"] == 0, "no test here writes for an hour"
    return (
        usage["input"] * fresh + usage["cache_read"] * read + usage["cache_write_5m"] * write + usage["output"] * output
    )


def idle_account(upstream, seconds_max=60):
    """The provider's account once no request runs there: each writes its line when it ends."""
    path = pathlib.Path(upstream.account_file)

    def look():
        entries = get_json(f"{upstream.url}/__account")
        with path.open("rb") as file:
            return entries if sum(1 for _ in file) >= len(entries) else None

    return wait_for(look, "the provider being idle", seconds_max)


@dataclass
class Call:
    """One request to be sent, and what came of it."""

    marker: str
    dialect: str = "openai"
    stream: bool = False
    text: str = "hello"
    model: str | None = None
    fields: dict = field(default_factory=dict)
    headers: dict = field(default_factory=dict)

    def target(self):
        return "/v1/chat/completions" if self.dialect == "openai" else "/v1/messages"

    def body(self):
        default = "openai/gpt-4o-mini" if self.dialect == "openai" else "anthropic/claude-haiku-4-5"
        body = {
            "model": self.model or default,
            "messages": [{"role": "user", "content": f"id:{self.marker} {self.text}"}],
            "stream": self.stream,
            **({"max_tokens": 400} if self.dialect == "anthropic" else {}),
            **self.fields,
        }
        return json.dumps(body).encode()

    def request(self, key, body=None):
        body = self.body() if body is None else body
        lines = [f"POST {self.target()} HTTP/1.1", "host: gateway", "content-type: application/json"]
        headers = {"content-length": str(len(body)), "x-request-id": self.marker, **self.headers}
        if key:
            headers = {"authorization": f"Bearer {key}", **headers}
        if self.dialect == "anthropic":
            headers = {"anthropic-version": "2023-06-01", **headers}
        lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


@dataclass
class Answer:
    """What came back; `complete` only when the last byte that the protocol promises was seen."""

    status: int = 0
    headers: dict = field(default_factory=dict)
    body: bytes = b""
    complete: bool = False
    seconds: float = 0.0

    def json(self):
        return json.loads(self.body)

    def error(self):
        """Type, code and message, whatever the dialect; the shape is checked."""
        body = self.json()
        error = body["error"]
        if body.get("type") == "error":
            assert set(body) == {"type", "error", "request_id"} and set(error) == {"type", "message"}, body
            return error["type"], None, error["message"]
        assert set(error) == {"message", "type", "param", "code"}, body
        return error["type"], error["code"], error["message"]


class Connection:
    """One kept-alive HTTP/1.1 connection that shows every byte."""

    def __init__(self, port, seconds_max=CALL_SECONDS_MAX):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=seconds_max)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, content):
        self.socket.sendall(content)

    def head(self):
        """Status and headers of the next answer."""
        answer = Answer()
        line = self.file.readline(65536)
        if not line:
            raise ConnectionError("the server closed the connection without an answer")
        answer.status = int(line.split()[1])
        while (line := self.file.readline(65536)) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            answer.headers[name.lower()] = value.strip()
        return answer

    def chunks(self, answer):
        """The pieces of a body as they come; ends only at its true end."""
        if answer.headers.get("transfer-encoding") == "chunked":
            while True:
                line = self.file.readline(64)
                if not line.endswith(b"\n"):
                    raise ConnectionError("the connection ended within a chunked body")
                size = int(line.split(b";")[0], 16)
                chunk = self._exactly(size)
                self._exactly(2)
                if size == 0:
                    return
                yield chunk
        else:
            yield self._exactly(int(answer.headers.get("content-length", 0)))

    def _exactly(self, size):
        assert size <= ANSWER_BYTES_MAX
        content = self.file.read(size)
        if len(content) < size:
            raise ConnectionError("the connection ended within a body")
        return content

    def answer(self):
        """The next answer, whole."""
        answer = self.head()
        self.read_body(answer)
        return answer

    def read_body(self, answer):
        for chunk in self.chunks(answer):
            answer.body += chunk
        answer.complete = True


def send(port, key, call, body=None, seconds_max=CALL_SECONDS_MAX):
    """One call on a connection of its own; network errors leave the answer incomplete."""
    began = time.monotonic()
    answer = Answer()
    try:
        with Connection(port, seconds_max) as connection:
            connection.send(call.request(key, body))
            answer = connection.head()
            connection.read_body(answer)
    except (OSError, ValueError):
        answer.complete = False
    answer.seconds = time.monotonic() - began
    return answer


def is_whole(call, answer):
    """Whether the client can say that it has got all of a good answer."""
    if answer.status != 200 or not answer.body:
        return False
    if call.stream:
        # The end marker is what SDKs go by; whether the connection ended well is no concern of theirs.
        return END_MARKERS[call.dialect] in answer.body
    return answer.complete


class Load:
    """Clients that call until they are told to stop, through restarts of the server."""

    def __init__(self, key, make_call, clients=16):
        self.key = key
        self.make_call = make_call
        self.port = None
        self.up = threading.Event()
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.results = []
        self.threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(clients)]

    def start(self):
        for thread in self.threads:
            thread.start()
        return self

    def direct_to(self, port):
        self.port = port
        self.up.set()

    def stop(self, seconds_max=CALL_SECONDS_MAX):
        self.stopping.set()
        self.up.set()
        deadline = time.monotonic() + seconds_max
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            assert not thread.is_alive(), "a client still waits for its answer"
        return self.results

    def _run(self, number):
        count = 0
        while not self.stopping.is_set():
            if not self.up.wait(timeout=0.2) or self.stopping.is_set():
                continue
            call = self.make_call(number, count)
            count += 1
            answer = send(self.port, self.key, call)
            with self.lock:
                self.results.append((call, answer))
            if answer.status != 200:
                # Nobody is there, or nobody wants calls: not a busy loop.
                self.stopping.wait(0.02)


class Scripted:
    """A provider that does one wrong thing per base path, byte by byte: `http://…/BEHAVIOUR/v1`.

    The other test provider is told by the message what to do, and a fallback carries the same message; here the path
    says it, so that a first deployment fails and the second one doesn't.
    """

    WAIT_SECONDS_MAX = 30

    def __init__(self, behaviours):
        self.behaviours = behaviours
        self.seen = []
        self.closing = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def url(self, behaviour):
        return f"http://127.0.0.1:{self.port}/{behaviour}"

    def close(self):
        self.closing.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(timeout=5)

    def _accept(self):
        while not self.closing.is_set():
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        connection.settimeout(self.WAIT_SECONDS_MAX)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with connection, connection.makefile("rb") as file:
                line = file.readline(65536)
                if not line:
                    return
                headers = {}
                while (header := file.readline(65536)) not in (b"\r\n", b""):
                    name, _, value = header.decode("latin-1").partition(":")
                    headers[name.lower()] = value.strip()
                body = file.read(int(headers.get("content-length", 0)))
                path = line.split()[1].decode()
                self.seen.append((path, headers, body))
                behaviour = path.split("/")[1]
                self.behaviours[behaviour](connection, "anthropic" if "/v1/messages" in path else "openai", body)
        except OSError:
            # The gateway has had enough, which is what it is there for.
            pass


def black_hole():
    """Sockets that together accept nobody: a listener that never takes, and the connections that fill its queue."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    held = [listener]
    for _ in range(8):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
        held.append(filler)
    return held
