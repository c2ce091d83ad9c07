"""A headless Chromium over its DevTools protocol: just enough to look at pages as a person does.

`CHROMIUM` names the browser (default: `chromium` on the path). Each instance has a fresh profile of its own.
"""

import base64
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import urllib.request

import websocket

START_SECONDS_MAX = 60
ANSWER_SECONDS_MAX = 30
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-address=127.0.0.1",
    "--remote-debugging-port=0",
    # The protocol's own check of who connects; only loopback can.
    "--remote-allow-origins=*",
]


def browser_path():
    """Where the browser is, or nothing."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium")


class Chromium:
    """One browser with one page."""

    def __init__(self):
        self.profile = pathlib.Path(tempfile.mkdtemp(prefix="tollgate-browser-"))
        command = [browser_path(), *FLAGS, f"--user-data-dir={self.profile}", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.socket = None
        self.sent = 0
        self.faults = []
        self.loaded = 0
        try:
            self._connect()
        except BaseException:
            self.close()
            raise

    def _connect(self):
        port_file = self.profile / "DevToolsActivePort"
        deadline = time.monotonic() + START_SECONDS_MAX
        while not (port_file.exists() and port_file.read_text().strip()):
            assert self.process.poll() is None, f"the browser ended with {self.process.returncode}"
            assert time.monotonic() < deadline, "the browser did not start"
            time.sleep(0.02)
        port = port_file.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=ANSWER_SECONDS_MAX) as answer:
            page = next(target for target in json.load(answer) if target["type"] == "page")
        url = page["webSocketDebuggerUrl"]
        self.socket = websocket.create_connection(url, timeout=ANSWER_SECONDS_MAX, http_no_proxy=["127.0.0.1"])
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        # What the content security policy refuses is told to the page only.
        source = "addEventListener('securitypolicyviolation', (e) => console.error('CSP ' + e.violatedDirective))"
        self.call("Page.addScriptToEvaluateOnNewDocument", source=source)

    def call(self, method, **params):
        """One command; events that come before its answer are noted."""
        self.sent += 1
        self.socket.send(json.dumps({"id": self.sent, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.sent:
                assert "error" not in message, f"{method}: {message['error']}"
                return message.get("result", {})
            self._note(message)

    def _note(self, message):
        method, params = message.get("method"), message.get("params", {})
        if method == "Page.loadEventFired":
            self.loaded += 1
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.faults.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            values = [str(value.get("value", value.get("description"))) for value in params["args"]]
            self.faults.append(" ".join(values))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.faults.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def evaluate(self, expression):
        """The value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, f"{expression}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    def wait_for(self, expression, seconds_max=20):
        """Polls until an expression is true; a page that is being left counts as not yet."""
        deadline = time.monotonic() + seconds_max
        while True:
            with contextlib.suppress(AssertionError):
                value = self.evaluate(expression)
                if value:
                    return value
            assert time.monotonic() < deadline, f"not within {seconds_max} s: {expression}\n{self.text()[:2000]}"
            time.sleep(0.05)

    def open(self, url):
        """Goes somewhere and waits until the page has loaded."""
        before = self.loaded
        answer = self.call("Page.navigate", url=url)
        assert not answer.get("errorText"), f"{url}: {answer['errorText']}"
        self.wait_for_load(before)

    def submit(self, selector):
        """Presses a button that leads to another page."""
        before = self.loaded
        self.click(selector)
        self.wait_for_load(before)

    def wait_for_load(self, before):
        """Waits until another page than the `before`th has loaded."""
        deadline = time.monotonic() + ANSWER_SECONDS_MAX
        while self.loaded == before:
            assert time.monotonic() < deadline, "the page did not load"
            self.call("Runtime.getIsolateId")
        self.wait_for("document.readyState === 'complete'")

    def click(self, selector):
        """Clicks as a script does; the element has to be there."""
        self.wait_for(f"document.querySelector({json.dumps(selector)}) !== null")
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def fill(self, selector, text):
        """Types into a field."""
        found = json.dumps(selector)
        self.evaluate(f"document.querySelector({found}).value = {json.dumps(text)}")

    def text(self):
        """What the page says."""
        return self.evaluate("document.body ? document.body.innerText : ''") or ""

    def path(self):
        """Where the page is, without its host."""
        return self.evaluate("location.pathname + location.search")

    def size(self, width, height=900, scheme="light"):
        """The window, and the colours that the system asks for."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def is_too_wide(self):
        """Whether the page scrolls sideways."""
        return self.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")

    def screenshot(self, path, whole=True):
        """A picture of the page, as far down as it goes."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        pathlib.Path(path).write_bytes(base64.b64decode(answer["data"]))

    def close(self):
        """Ends the browser and forgets its profile."""
        if self.socket is not None:
            self.socket.close()
        self.process.terminate()
        try:
            self.process.wait(timeout=ANSWER_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)
