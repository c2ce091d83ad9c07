"""Starts the real binary with its built-in provider, and a browser to look at it.

The data folder is kept, and the end of the server's log printed, when a test failed.
"""

import contextlib
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

import pytest

from chromium import Chromium, browser_path

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 40
LOG_LINES_SHOWN = 60
USER, PASSWORD = "maya", "four random words here"
# Loopback only, whatever the caller's environment says.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Refusing(http.server.BaseHTTPRequestHandler):
    """A Slack webhook that somebody has deleted."""

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(404)
        self.send_header("content-length", "10")
        self.end_headers()
        self.wfile.write(b"no_service")

    def log_message(self, *_):
        """Quiet: a test says what it needs."""


class Tollgate:
    """The running binary on a fresh data folder: where it listens, and what it printed at its first start."""

    def __init__(self, folder):
        self.log = folder / "server.log"
        self.data_dir = folder / "data"
        config = folder / "tollgate.toml"
        settings = f'listen = "127.0.0.1:0"\ndata_dir = "{self.data_dir}"\ntime_zone = "UTC"\n'
        # Where alerts go refuses them all: what the page says of that is looked at.
        self.receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
        threading.Thread(target=self.receiver.serve_forever, args=(0.01,), daemon=True).start()
        receiver = f"http://127.0.0.1:{self.receiver.server_address[1]}/services/canary"
        settings += f'[alerts]\nslack_webhook_url = "{receiver}"\nprivate_hosts = ["127.0.0.1"]\n'
        settings += '[[providers]]\nname = "sandbox"\nkind = "sandbox"\n'
        # One that nobody answers for, to see circuits.
        settings += '[[providers]]\nname = "dead"\nkind = "openai-compatible"\nbase_url = "http://127.0.0.1:9/v1"\n'
        settings += '[prices."dead/*"]\ninput = "90"\noutput = "90"\n'
        settings += '[[routes]]\nname = "smart"\nstrategy = "cost-optimized"\n'
        settings += 'deployments = ["sandbox/sandbox-large", "sandbox/sandbox-small", "dead/qwen3"]\n'
        settings += '[[routes]]\nname = "patient"\nhedge = true\ndeployments = ["sandbox/sandbox-large", "sandbox/sandbox-small"]\n'
        config.write_text(settings, encoding="utf-8")
        binary = pathlib.Path(os.environ.get("TOLLGATE_BIN", "target/debug/tollgate"))
        binary = binary if binary.is_absolute() else ROOT / binary
        self.binary, self.config = str(binary), config
        self.environment = environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder)}
        with self.log.open("wb") as log:
            command = [str(binary), "serve", "--config", str(config)]
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            self.setup_link = self._printed(r"http://\S+/setup\?token=\S+")
            self.key = self._printed(r"(?m)^\s+(tg-[0-9a-z]+)\s*$")
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        self.url = self.setup_link.split("/setup")[0]

    def _printed(self, pattern):
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            found = re.search(pattern, self.log.read_text(encoding="utf-8", errors="replace"))
            if found:
                return found.group(found.lastindex or 0)
            assert self.process.poll() is None, f"the server ended with {self.process.returncode}"
            time.sleep(0.02)
        raise AssertionError(f"the server did not print {pattern}")

    def ask(self, model="sandbox-small", text="Say hi"):
        """One call to the provider, whatever the cache has; returns its id."""
        body = {"model": model, "messages": [{"role": "user", "content": text}]}
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.key}"}
        headers["x-tollgate-cache"] = "refresh"
        request = urllib.request.Request(f"{self.url}/v1/chat/completions", json.dumps(body).encode(), headers)
        with DIRECT.open(request, timeout=30) as answer:
            answer.read()
            return answer.headers["x-tollgate-request-id"]

    def create_key(self, name, *options):
        """A virtual key beside the first one."""
        line = [self.binary, "key", "create", name, *options, "--config", str(self.config)]
        subprocess.run(line, env=self.environment, capture_output=True, timeout=60, check=True)

    def reconcile(self, text):
        """Imports a file of a provider's console."""
        file = self.data_dir.parent / "statement.csv"
        file.write_text(text, encoding="utf-8")
        line = [self.binary, "reconcile", "--provider", "sandbox", "--csv", str(file), "--config", str(self.config)]
        done = subprocess.run(line, env=self.environment, capture_output=True, timeout=60, check=False)
        assert done.returncode == 1, f"all of it is drift: {done.stdout.decode()}{done.stderr.decode()}"

    def try_to_ask(self, headers, model="sandbox-small"):
        """One call that may be refused."""
        body = {"model": model, "messages": [{"role": "user", "content": "Say no"}]}
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.key}", **headers}
        request = urllib.request.Request(f"{self.url}/v1/chat/completions", json.dumps(body).encode(), headers)
        with contextlib.suppress(urllib.error.HTTPError), DIRECT.open(request, timeout=30) as answer:
            answer.read()

    def stop(self):
        """An orderly stop, an open page notwithstanding."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server did not stop within {STOP_SECONDS_MAX} s of SIGTERM") from None
        assert code == 0, f"the server ended with {code} after SIGTERM"
        self.receiver.shutdown()


@pytest.fixture(scope="session")
def folder(request):
    """Everything the run writes; kept when a test failed."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="tollgate-pages-"))
    request.config.pages_folder = path
    yield path
    if request.session.testsfailed == 0:
        shutil.rmtree(path)


def pytest_terminal_summary(terminalreporter, config):
    """Where the data is, and the end of the server's log, after a failure."""
    path = getattr(config, "pages_folder", None)
    if path is None or not path.exists():
        return
    terminalreporter.section("kept for a look")
    terminalreporter.write_line(f"data, log and pictures: {path}")
    log = path / "server.log"
    if log.exists():
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES_SHOWN:]:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def tollgate(folder):
    running = Tollgate(folder)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def chromium():
    assert browser_path(), "no chromium: install Debian's package, or name one in CHROMIUM"
    browser = Chromium()
    yield browser
    browser.close()


@pytest.fixture
def page(chromium):
    """The browser, of which a test must not hear a complaint."""
    chromium.faults.clear()
    chromium.size(1440)
    yield chromium
    assert chromium.faults == []


@pytest.fixture
def logged_in(page, tollgate):
    """The same, with the admin at the keyboard."""
    page.open(f"{tollgate.url}/login")
    if page.path().startswith("/setup"):
        page.faults.clear()
        page.open(tollgate.setup_link)
    if page.path() != "/":
        page.wait_for("document.querySelector('#password') !== null || location.pathname === '/'")
    if page.evaluate("document.querySelector('#password') !== null"):
        page.fill("#username", USER)
        page.fill("#password", PASSWORD)
        page.submit("form .btn.pri")
    return page
