"""Starts the test provider and the real binary between it and the official SDKs.

`TOLLGATE_BIN` names the binary (default `target/debug/tollgate`). With `TOLLGATE_DIRECT=1` the SDKs talk straight to
the test provider, which shows that provider and tests agree with the real SDKs; tests marked `gateway` are then left
out. The data folder is kept, and the end of the server's log printed, when a test failed.
"""

import base64
import importlib.util
import itertools
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid

import anthropic
import openai
import pytest

from books import check_books

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WIRE = HERE.parent / "fixtures" / "wire"
DIRECT = os.environ.get("TOLLGATE_DIRECT") == "1"
UPSTREAM_KEY = "sk-upstream-test"
ADMIN_TOKEN = "clients-suite-admin-token-0123456789abcd"
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 40
LOG_LINES_SHOWN = 60
# Each test that makes a provider fail gets one of its own, so that no circuit it opens meets another test.
FAULTY_PROVIDERS = 256
OLD_VERSION = "2023-06-01"
NEW_VERSION = "2026-10-21"

# The frameworks have an environment of their own.
collect_ignore = [] if importlib.util.find_spec("langchain_openai") else ["test_frameworks.py"]

# Neither the caller's keys nor a proxy may reach the SDKs under test.
for name in list(os.environ):
    if name.startswith(("OPENAI_", "ANTHROPIC_")) or name.lower() in ("http_proxy", "https_proxy", "all_proxy"):
        del os.environ[name]


def get_json(url, token=None, method="GET", body=None, headers=None):
    """One JSON request without any SDK; raises with the answer's text when it is refused."""
    headers = {"content-type": "application/json", **(headers or {})}
    if token:
        headers["authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            text = response.read().decode()
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{method} {url}: {error.code} {error.read().decode(errors='replace')}") from error
    return json.loads(text) if text else None


def wait_for(found, what, seconds_max, process=None):
    """Polls until `found` returns something; a process that ended meanwhile ends the wait."""
    deadline = time.monotonic() + seconds_max
    while time.monotonic() < deadline:
        value = found()
        if value:
            return value
        if process is not None and process.poll() is not None:
            raise AssertionError(f"the process ended with {process.returncode} before {what}")
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen within {seconds_max} s")


class Upstream:
    """The test provider as a child process, and its account."""

    def __init__(self, folder, *arguments):
        port_file = folder / "upstream.port"
        self.account_file = folder / "upstream.jsonl"
        command = [sys.executable, str(HERE / "upstream.py"), "--port", "0", "--port-file", str(port_file)]
        command += ["--account", str(self.account_file), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_for(port_file.exists, "the test provider listening", START_SECONDS_MAX, self.process)
        self.url = f"http://127.0.0.1:{port_file.read_text()}"

    def account(self, marker):
        """The requests that carried this marker, in order."""
        return [entry for entry in get_json(f"{self.url}/__account") if entry["id"] == marker]

    def paths(self):
        """Every path that was ever asked for."""
        return [entry["path"] for entry in get_json(f"{self.url}/__account")]

    def request(self, entry):
        """Headers and body of one request as they arrived."""
        kept = get_json(f"{self.url}/__request/{entry['sequence']}")
        return kept["headers"], base64.b64decode(kept["body"])

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=STOP_SECONDS_MAX)


def configuration(upstream, dead_port, data_dir):
    """The file the server is started with."""
    root = upstream.url
    dead = f"http://127.0.0.1:{dead_port}"
    parts = [f'listen = "127.0.0.1:0"\ndata_dir = "{data_dir}"\ntime_zone = "UTC"\n']

    def provider(name, kind, base_url, catalog=None, key="env:UPSTREAM_KEY", extra=""):
        lines = ["[[providers]]", f'name = "{name}"', f'kind = "{kind}"', f'base_url = "{base_url}"']
        lines.append(f'api_key = "{key}"')
        if catalog:
            lines.append(f'catalog = "{catalog}"')
        if extra:
            lines.append(extra)
        parts.append("\n".join(lines) + "\n")

    # Shorter than any test waits, longer than a busy machine takes where time is not what a test is about.
    hasty = 'timeouts = { connect = "800ms", first_token = "1500ms", idle = "1500ms", total = "5s" }'
    provider("openai", "openai", f"{root}/v1")
    provider("anthropic", "anthropic", root)
    provider("compat", "openai-compatible", f"{root}/compat/v1")
    provider("dead-openai", "openai", f"{dead}/v1", "openai")
    provider("dead-anthropic", "anthropic", dead, "anthropic")
    provider("wrong-key-openai", "openai", f"{root}/v1", "openai", "env:UPSTREAM_WRONG_KEY")
    provider("wrong-key-anthropic", "anthropic", root, "anthropic", "env:UPSTREAM_WRONG_KEY")
    for number in range(FAULTY_PROVIDERS):
        provider(f"faulty-openai-{number}", "openai", f"{root}/v1", "openai", extra=hasty)
        provider(f"faulty-anthropic-{number}", "anthropic", root, "anthropic", extra=hasty)
        provider(f"faulty-compat-{number}", "openai-compatible", f"{root}/compat/v1", "compat", extra=hasty)
    routes = {
        "resilient": ["dead-openai/gpt-4o-mini", "openai/gpt-4o-mini"],
        "resilient-claude": ["dead-anthropic/claude-haiku-4-5", "anthropic/claude-haiku-4-5"],
        "crossing": ["dead-openai/gpt-4o-mini", "anthropic/claude-haiku-4-5"],
    }
    for name, deployments in routes.items():
        parts.append(f'[[routes]]\nname = "{name}"\nstrategy = "fallback"\ndeployments = {json.dumps(deployments)}\n')
    parts.append('[prices."compat/qwen3-coder"]\ninput = "0.2"\noutput = "0.8"\n')
    return "\n".join(parts)


class Gateway:
    """The running binary: where it listens, its virtual key, and what it booked."""

    direct = False

    def __init__(self, folder, upstream, settings=""):
        self.folder = folder
        self.upstream = upstream
        # Bound and never listening: refused at once, and nobody else can take it.
        self.dead = socket.socket()
        self.dead.bind(("127.0.0.1", 0))
        self.data_dir = folder / "data"
        self.config = folder / "tollgate.toml"
        text = configuration(upstream, self.dead.getsockname()[1], self.data_dir)
        self.config.write_text(text + settings, encoding="utf-8")
        binary = pathlib.Path(os.environ.get("TOLLGATE_BIN", "target/debug/tollgate"))
        self.binary = str(binary if binary.is_absolute() else ROOT / binary)
        self.environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(folder),
            "UPSTREAM_KEY": UPSTREAM_KEY,
            "UPSTREAM_WRONG_KEY": "sk-not-the-key",
            "TOLLGATE_ADMIN_TOKEN": ADMIN_TOKEN,
        }
        self.key = self._create_key()
        self.log = folder / "server.log"
        with self.log.open("wb") as log:
            command = [self.binary, "serve", "--config", str(self.config)]
            self.process = subprocess.Popen(command, cwd=folder, env=self.environment, stdout=log, stderr=log)
        lock = self.data_dir / "tollgate.lock"
        try:
            self.url = wait_for(lambda: self._address(lock), "the lock file", START_SECONDS_MAX, self.process)
            wait_for(self._is_ready, "/ready answering 200", START_SECONDS_MAX, self.process)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def _create_key(self):
        command = [self.binary, "key", "create", "sdk", "--config", str(self.config), "--json"]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, timeout=60)
        assert done.returncode == 0, f"key create: {done.returncode}\n{done.stdout.decode()}{done.stderr.decode()}"
        return json.loads(done.stdout)["key"]

    def _address(self, lock):
        # The command before it may have left a lock file behind, or the server may be writing it right now.
        try:
            held = json.loads(lock.read_text())
        except (OSError, ValueError):
            return None
        return held["address"] if held.get("pid") == self.process.pid else None

    def _is_ready(self):
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=5) as response:
                return response.status == 200
        except OSError:
            return False

    def model(self, provider, name):
        return f"{provider}/{name}"

    def admin(self, path, method="GET", body=None, headers=None):
        """One call of the management API."""
        return get_json(f"{self.url}{path}", ADMIN_TOKEN, method, body, headers)

    def text(self, path):
        """One text answer of the management API."""
        request = urllib.request.Request(f"{self.url}{path}", headers={"authorization": f"Bearer {ADMIN_TOKEN}"})
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.read().decode("utf-8")

    def stop(self):
        """An orderly stop is a promise too: exit code 0."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server did not stop within {STOP_SECONDS_MAX} s of SIGTERM") from None
        finally:
            self.dead.close()
        assert code == 0, f"the server ended with {code} after SIGTERM"


class Direct:
    """No gateway at all: the SDKs talk to the test provider."""

    direct = True

    def __init__(self, upstream):
        self.url = upstream.url
        self.key = UPSTREAM_KEY

    def model(self, provider, name):
        return name

    def stop(self):
        """Nothing was started."""


def pytest_collection_modifyitems(config, items):
    """Leaves out what has no meaning without the gateway."""
    if DIRECT:
        left_out = [item for item in items if item.get_closest_marker("gateway")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("gateway")]


@pytest.fixture(scope="session")
def folder(request):
    """Everything the run writes; kept when a test failed."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="tollgate-clients-"))
    request.config.clients_folder = path
    request.config.clients_stopped_well = True
    yield path
    if request.session.testsfailed == 0 and request.config.clients_stopped_well:
        shutil.rmtree(path)


def pytest_terminal_summary(terminalreporter, config):
    """Where the data is, and the end of the server's log, after a failure."""
    path = getattr(config, "clients_folder", None)
    if path is None or not path.exists():
        return
    terminalreporter.section("kept for a look")
    terminalreporter.write_line(f"data, log and account: {path}")
    log = path / "server.log"
    if log.exists():
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES_SHOWN:]:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def upstream(folder):
    provider = Upstream(folder)
    yield provider
    provider.stop()


@pytest.fixture(scope="session")
def gateway(request, folder, upstream):
    running = Direct(upstream) if DIRECT else Gateway(folder, upstream)
    yield running
    # A failure here is counted only after the folder's own end, which has to know.
    request.config.clients_stopped_well = False
    running.stop()
    request.config.clients_stopped_well = True


def wait_where_it_ends(period, seconds):
    """Waits for the next day or hour, in UTC, where this one ends within so many seconds."""
    left = period - time.time() % period
    if left < seconds:
        time.sleep(left + 1)


@pytest.fixture(autouse=True)
def not_at_midnight():
    """Budgets, reports and proofs are about days: a test that saw one end would see two of them."""
    wait_where_it_ends(24 * 3600, 120)


@pytest.fixture
def not_at_the_full_hour():
    """The same for what an hour counts."""
    wait_where_it_ends(3600, 30)


@pytest.fixture
def own_port():
    """A port that stays the test's own: it refuses connections until a server of the test listens on it."""
    with socket.socket() as holder:
        # Whoever asks for any port gets another one; who names this one may listen: all servers here set this option.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.fixture
def marker():
    """Unique per test: finds its requests in the account, its rows in the ledger, and keeps it out of the cache."""
    return uuid.uuid4().hex[:16]


@pytest.fixture(scope="session")
def faulty_numbers():
    return itertools.count()


@pytest.fixture
def faulty(gateway, faulty_numbers):
    """A provider of each dialect that only this test uses, with short timeouts."""
    number = next(faulty_numbers)
    assert number < FAULTY_PROVIDERS, "more tests ask for a provider of their own than FAULTY_PROVIDERS"
    return lambda kind, name: gateway.model(f"faulty-{kind}-{number}", name)


@pytest.fixture
def booked(gateway, upstream, marker):
    """Headers that mark a test's calls in the ledger; once the test is over, the books must balance."""
    yield {"x-request-id": marker}
    if not gateway.direct:
        check_books(gateway, upstream, marker)


@pytest.fixture
def openai_options(gateway):
    """Without the SDK's own retries, so that a test sees what the server answered."""
    return {"base_url": f"{gateway.url}/v1", "api_key": gateway.key, "max_retries": 0, "timeout": 60}


@pytest.fixture
def openai_client(openai_options):
    with openai.OpenAI(**openai_options) as client:
        yield client


@pytest.fixture
def booked_openai(openai_options, booked):
    """The same, with every call weighed against the provider's account after the test."""
    with openai.OpenAI(**openai_options, default_headers=booked) as client:
        yield client


@pytest.fixture
def anthropic_options(gateway):
    return {"base_url": gateway.url, "api_key": gateway.key, "max_retries": 0, "timeout": 60}


@pytest.fixture
def anthropic_client(anthropic_options):
    with anthropic.Anthropic(**anthropic_options) as client:
        yield client


@pytest.fixture
def booked_anthropic(anthropic_options, booked):
    """As `booked_openai`."""
    with anthropic.Anthropic(**anthropic_options, default_headers=booked) as client:
        yield client


@pytest.fixture
def sent(upstream, marker):
    """The body of the one request that reached the provider."""

    def read():
        (entry,) = upstream.account(marker)
        return json.loads(upstream.request(entry)[1])

    return read
