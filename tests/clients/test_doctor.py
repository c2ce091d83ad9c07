"""`tollgate doctor`: a healthy installation is well, each fault is found with its mend, and nothing of a key is told."""

import contextlib
import email.utils
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time

import pytest

from conftest import get_json

pytestmark = pytest.mark.gateway

KEY = "sk-doctor-0123456789abcdef-WXYZ"
BAD_KEY = "sk-doctor-fedcba9876543210-QRST"
SECONDS_MAX = 15
NOBODY = 65_534
VERDICTS = {"ok", "skipped", "warning", "problem"}
NAMES = {
    "installation", "settings", "clock", "disk", "file permissions", "ledger health", "DNS", "provider keys", "price coverage",
    "unpriced traffic", "cache health", "budget sanity",
}


class Models(http.server.BaseHTTPRequestHandler):
    """Answers the list of models, and nothing else: a call of anything that costs money is noted."""

    def do_GET(self):
        server = self.server
        key = (self.headers.get("authorization") or self.headers.get("x-api-key") or "").removeprefix("Bearer ")
        status = 404 if self.path.startswith("/without") else 200 if key in ("", KEY) else 401
        listed = {"status": "up"} if self.path.startswith("/other") else {"data": []}
        body = json.dumps({"data": [], "error": {"message": f"wrong key {key}"}} if status != 200 else listed).encode()
        self.send_response_only(status)
        self.send_header("date", email.utils.formatdate(time.time() + server.ahead, usegmt=True))
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        server.asked.append(self.path)

    def do_POST(self):
        """A call that is refused costs nothing."""
        self.rfile.read(int(self.headers["content-length"]))
        if not self.server.refuses:
            self.server.paid.append(self.path)
        self.send_response(401 if self.server.refuses else 500)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def models():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Models)
    server.asked, server.paid, server.ahead, server.refuses = [], [], 0, False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
    assert server.paid == [], "nothing that costs money is asked for"


class Installation:
    def __init__(self, binary, folder, models):
        self.binary, self.folder, self.models = binary, folder, models
        self.root = f"http://127.0.0.1:{models.server_address[1]}"
        self.environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "MODELS_KEY": KEY, "BAD_KEY": BAD_KEY}
        self.environment["WEBHOOK"] = "http://127.0.0.1:9/x"
        self.user = None
        self.configure()

    def configure(self, more="", providers=""):
        text = 'listen = "127.0.0.1:0"\ndata_dir = "data"\ntime_zone = "UTC"\n' + providers
        text += f'[[providers]]\nname = "first"\nkind = "openai"\nbase_url = "{self.root}/v1"\napi_key = "env:MODELS_KEY"\n'
        text += f'[[providers]]\nname = "second"\nkind = "anthropic"\nbase_url = "{self.root}"\napi_key = "env:MODELS_KEY"\n'
        text += '[[providers]]\nname = "box"\nkind = "sandbox"\n'
        text += '[[routes]]\nname = "smart"\ndeployments = ["box/sandbox-small"]\n'
        text += '[alerts]\nwebhook_url = "env:WEBHOOK"\nwebhook_secret = "env:MODELS_KEY"\nprivate_hosts = ["127.0.0.1"]\n'
        (self.folder / "tollgate.toml").write_text(text + more)

    def run(self, *command, **variables):
        environment = {**self.environment, **variables}
        return subprocess.run(
            [self.binary, *command], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=60, user=self.user
        )

    def doctor(self, *flags, **variables):
        """The report, after what is true of every one."""
        started = time.monotonic()
        done = self.run("doctor", "--json", *flags, **variables)
        assert time.monotonic() - started < SECONDS_MAX
        text = done.stdout + done.stderr
        for secret in (KEY, BAD_KEY, KEY[:-4], BAD_KEY[:-4]):
            assert secret not in text
        report = json.loads(done.stdout)
        problems = [check for check in report["checks"] if check["verdict"] == "problem"]
        assert report["problems"] == len(problems) and report["ok"] == (not problems)
        assert done.returncode == (1 if problems else 0), text
        for check in report["checks"]:
            assert set(check) == {"name", "about", "verdict", "found", "numbers", "mend"}
            assert check["verdict"] in VERDICTS and check["found"]
            assert bool(check["mend"]) == (check["verdict"] in ("warning", "problem")), check
            assert all(isinstance(number, int) for number in check["numbers"].values())
        return report

    @contextlib.contextmanager
    def serving(self):
        with subprocess.Popen(
            [self.binary, "serve"], cwd=self.folder, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as server:
            for line in server.stderr:
                if b"setup?token=" in line:
                    break
            threading.Thread(target=server.stderr.read, daemon=True).start()
            try:
                yield json.loads((self.folder / "data" / "tollgate.lock").read_text())["address"]
            finally:
                server.terminate()
                server.wait(timeout=40)

    def make(self):
        """Leaves a folder behind that a server has used, with a sound budget."""
        with self.serving():
            done = self.run("budget", "set", "everything", "month", "500")
            assert done.returncode == 0, done.stderr


    def call(self, address, model="smart"):
        key = json.loads(self.run("key", "create", f"key-{time.monotonic_ns()}", "--json").stdout)["key"]
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        return get_json(f"{address}/v1/chat/completions", key, method="POST", body=body)


@pytest.fixture
def installation(gateway, tmp_path, models):
    made = Installation(gateway.binary, tmp_path, models)
    made.make()
    return made


@pytest.fixture
def unprivileged(gateway, models):
    """An installation of a user that the system may refuse something; root is refused nothing."""
    with tempfile.TemporaryDirectory(prefix="tollgate-doctor-") as folder:
        made = Installation(gateway.binary, pathlib.Path(folder), models)
        made.make()
        if os.geteuid() == 0:
            made.user = NOBODY
            for path in (made.folder, *made.folder.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        yield made


def close_to_its_user(path):
    """The file as a restore by root, or a command that root ran, leaves it behind."""
    if os.geteuid() == 0:
        os.chown(path, 0, 0)
    path.chmod(0o600 if os.geteuid() == 0 else 0)


def found(report, name, verdict, words, mend="", about=None):
    """The one check that says this."""
    fits = [
        check for check in report["checks"]
        if check["name"] == name and check["verdict"] == verdict and words in check["found"]
        and (about is None or about in (check["about"] or ""))
    ]
    assert len(fits) == 1, (name, verdict, words, report["checks"])
    assert mend in (fits[0]["mend"] or ""), fits[0]
    return fits[0]


def test_a_healthy_installation_is_well_with_and_without_a_server(installation):
    report = installation.doctor()
    assert report["ok"] and report["warnings"] == 0 and not report["byServer"], report
    assert {check["name"] for check in report["checks"]} == NAMES
    with installation.serving() as address:
        report = installation.doctor()
        assert report["ok"] and report["warnings"] == 0 and report["byServer"], report
        for name in ("first", "second"):
            found(report, "provider keys", "ok", "1 key is known", about=name)
            found(report, "DNS", "ok", "needs no look-up", about=name)
        assert found(report, "clock", "ok", "within")["numbers"]["offsetMs"] in range(-5_000, 5_001)
        token = (installation.folder / "data" / "local-token").read_text().strip()
        answered = get_json(f"{address}/api/doctor?offline=true", token, method="POST")
        assert answered["ok"] and answered["byServer"]
        remote = installation.doctor("--server", address, "--token", token)
        assert remote["byServer"] and remote["ok"]
    assert set(installation.models.asked) == {"/v1/models"}


def test_offline_leaves_the_network_out(installation):
    report = installation.doctor("--offline")
    for name in ("DNS", "provider keys"):
        found(report, name, "skipped", "--offline")
    assert installation.models.asked == []


def test_the_list_is_short_and_aligned_and_its_mends_stand_below(installation):
    installation.configure(more='[workers]\nconcurrency = 2\n')
    done = installation.run("doctor")
    lines = done.stdout.splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith("warning  settings"))
    assert "workers: not used by this version yet" in lines[at] and lines[at + 1].lstrip().startswith("→ ")
    assert lines[-1].startswith("0 problems, 1 warning, ") and done.returncode == 0


def test_each_provider_that_can_not_be_used_is_found_by_its_own_words(installation, own_port):
    root = installation.root

    def provider(name, url, key="env:BAD_KEY"):
        return f'[[providers]]\nname = "{name}"\nkind = "openai"\nbase_url = "{url}"\napi_key = "{key}"\n'

    installation.configure(
        providers=provider("dead", f"http://127.0.0.1:{own_port}/v1")
        + provider("nowhere", "https://nowhere.invalid/v1")
        + provider("plain", root.replace("http://", "https://") + "/v1")
        + provider("wrong", f"{root}/v1")
        + provider("without", f"{root}/without/v1")
        + provider("other", f"{root}/other/v1", "env:MODELS_KEY")
    )
    report = installation.doctor()
    found(report, "DNS", "problem", f"no connection to port {own_port} holds", "base_url", about="dead")
    found(report, "DNS", "problem", "can't be looked up", "resolv.conf", about="nowhere")
    found(report, "DNS", "problem", "TLS does not come about", "openssl", about="plain")
    refused = "no key is ready: key 1 (…QRST) is refused (401)"
    found(report, "provider keys", "problem", refused, "where key 1 of provider wrong points: a file or .env is read again", about="wrong")
    found(report, "provider keys", "skipped", "it can't be told: it has no list of models (404)", about="without")
    found(report, "provider keys", "skipped", "what it answers is no list of models", about="other")


def test_a_key_that_is_paused_here_is_told_beside_what_its_provider_says(installation):
    installation.models.refuses = True
    with installation.serving() as address:
        with pytest.raises(AssertionError, match="502"):
            installation.call(address, "first/gpt-4o-mini")
        paused = "is paused here for another"
        found(installation.doctor("--offline"), "provider keys", "problem", paused, "/api/providers/first/credentials/1/enable", about="first")
        check = found(installation.doctor(), "provider keys", "problem", "key 1 (…WXYZ) is known to it, and " + paused, about="first")
        assert "it was refused with 401" in check["found"] and check["numbers"]["paused"] == 1
        # The mend can be run as it stands.
        variables = {"TOLLGATE_SERVER": address, "TOLLGATE_ADMIN_TOKEN": (installation.folder / "data" / "local-token").read_text().strip()}
        subprocess.run(["sh", "-c", check["mend"]], env={**os.environ, **variables}, check=True, capture_output=True)
        found(installation.doctor(), "provider keys", "ok", "1 key is known to it", about="first")


def test_a_clock_that_is_wrong_is_found_by_the_providers_answers(installation):
    installation.models.ahead = 3_600
    check = found(installation.doctor(), "clock", "problem", "behind the providers", "set-ntp")
    assert -3_605_000 < check["numbers"]["offsetMs"] < -3_595_000


@pytest.mark.parametrize("served", [True, False])
def test_files_that_are_open_to_others_are_found(installation, served):
    def check():
        (installation.folder / "data" / "pepper").chmod(0o640)
        report = installation.doctor("--offline")
        found(report, "file permissions", "problem", "mode 0640", "chmod 600", about="pepper")
        (installation.folder / "data").chmod(0o755)
        report = installation.doctor("--offline")
        found(report, "file permissions", "problem", "mode 0755", "chmod 700 data")

    (installation.folder / ".env").write_text("OTHER=1\n")
    (installation.folder / ".env").chmod(0o644)
    with installation.serving() if served else contextlib.nullcontext():
        check()
        found(installation.doctor("--offline"), "file permissions", "warning", "variables", "chmod 600 .env", about=".env")
    (installation.folder / "tollgate.toml").chmod(0o644)
    installation.configure(more='[telemetry]\nmetrics_token = "a-literal-that-stands-in-the-file"\n')
    report = installation.doctor("--offline")
    found(report, "settings", "warning", "the secret stands in the file itself", "chmod 600", about="metrics_token")


def test_calls_and_routes_without_a_price_are_found_with_the_lines_to_paste(installation):
    installation.configure(more='[[routes]]\nname = "odd"\ndeployments = ["first/made-up-1"]\n')
    report = installation.doctor("--offline")
    check = found(report, "price coverage", "problem", "first/made-up-1", '[prices."first/made-up-1"]')
    # The lines are refused until somebody has filled them in, and good then.
    for filled, expected in (("", 2), ("0", 0)):
        lines = check["mend"].replace('"?"', f'"{filled}"') if filled else check["mend"]
        installation.configure(more=f'[[routes]]\nname = "odd"\ndeployments = ["first/made-up-1"]\n{lines}\n')
        assert installation.run("check-config").returncode == expected
    found(installation.doctor("--offline"), "price coverage", "ok", "each with a price")


def test_traffic_that_had_no_price_is_counted(installation):
    with installation.serving() as address:
        assert installation.run("budget", "remove", "budget_1").returncode == 0
        key = json.loads(installation.run("key", "create", "ci", "--json").stdout)["key"]
        body = {"model": "box/never-heard-of", "messages": [{"role": "user", "content": "hi"}]}
        get_json(f"{address}/v1/chat/completions", key, method="POST", body=body)
        report = installation.doctor("--offline")
        check = found(report, "unpriced traffic", "warning", "1 attempt in 30 days", '[prices."box/never-heard-of"]')
        assert check["numbers"]["tokens"] > 0 and "re-rate" in check["mend"]
        found(report, "budget sanity", "warning", "no budget at all", "tollgate budget set everything")
    found(installation.doctor("--offline"), "unpriced traffic", "warning", "box/never-heard-of")


def test_budgets_that_do_not_do_what_was_meant_are_found(installation):
    made = installation.run("budget", "set", "provider:box", "day", "0")
    assert made.returncode == 0, made.stderr
    assert installation.run("budget", "set", "model:sandbox-small", "day", "5", "--action", "downgrade", "--downgrade-to", "smart").returncode == 0
    text = (installation.folder / "tollgate.toml").read_text()
    (installation.folder / "tollgate.toml").write_text(text.replace('name = "smart"', 'name = "other"'))
    report = installation.doctor("--offline")
    check = found(report, "budget sanity", "problem", "its calls are refused until", "tollgate budget set provider:box day")
    done = installation.run(*check["mend"].split()[1:])
    assert done.returncode == 0, done.stderr
    found(report, "budget sanity", "problem", "the route smart, which is gone", "--downgrade-to ROUTE")
    installation.configure(more='[[routes]]\nname = "x"\ndeployments = ["box/sandbox-free"]\n')
    found(installation.doctor("--offline"), "budget sanity", "warning", "no cheaper", "--downgrade-to ROUTE")


def test_budgets_that_no_call_fits_into_or_that_bind_nothing_are_found(installation):
    def budget(*words):
        done = installation.run("budget", "set", *words)
        assert done.returncode == 0, done.stderr

    budget("everything", "hour", "100000")
    budget("model:sandbox-large", "day", "0.0000001")
    budget("model:back/m2", "day", "5")
    report = installation.doctor("--offline")
    found(report, "budget sanity", "warning", "its limit of $100,000 is never reached: budget_1 holds the same calls to $500 (monthly)", "budget remove")
    found(report, "budget sanity", "problem", "no call fits into 0.0000001 USD", "tollgate budget set model:sandbox-large day LIMIT")
    found(report, "budget sanity", "warning", "there is no provider back, and no model of this name, so it binds no call", "budget remove")
    with installation.serving() as address:
        token = (installation.folder / "data" / "local-token").read_text().strip()
        warnings = get_json(f"{address}/api/config/reload", token, method="POST")["warnings"]
        assert any('there is no provider "back"' in json.dumps(warning, ensure_ascii=False).replace("\\", "") for warning in warnings), warnings


def test_a_redis_that_is_away_is_found(installation, own_port):
    text = (installation.folder / "tollgate.toml").read_text()
    (installation.folder / "tollgate.toml").write_text(f'redis_url = "redis://:canary-pass@127.0.0.1:{own_port}"\n' + text)
    for served in (False, True):
        with installation.serving() if served else contextlib.nullcontext():
            report = installation.doctor()
            found(report, "cache health", "problem", "the Redis does not answer", "redis-cli", about="redis")
            assert "canary-pass" not in json.dumps(report)


def test_settings_that_can_not_be_used_are_findings_and_no_crash(installation):
    text = (installation.folder / "tollgate.toml").read_text()
    broken = text + '[[routes]]\nname = "smart"\ndeployments = ["frist/x"]\n'
    with installation.serving():
        (installation.folder / "tollgate.toml").write_text(broken)
        report = installation.doctor("--offline")
        assert report["byServer"]
        found(report, "settings", "problem", "no provider", 'did you mean "first"?')
    report = installation.doctor()
    found(report, "settings", "problem", "no provider", "did you mean")
    # A server may have its keys from elsewhere.
    (installation.folder / "tollgate.toml").write_text(text)
    del installation.environment["MODELS_KEY"]
    report = installation.doctor("--offline")
    assert all("MODELS_KEY is not set" in check["found"] for check in report["checks"] if check["verdict"] == "problem")
    installation.environment["MODELS_KEY"] = KEY
    with installation.serving():
        del installation.environment["MODELS_KEY"]
        assert installation.doctor("--offline")["ok"]
    installation.environment["MODELS_KEY"] = KEY
    (installation.folder / "tollgate.toml").write_text(broken)
    report = installation.doctor()
    found(report, "disk", "ok", "free for a ledger")
    found(report, "ledger health", "skipped", "the settings can't be used")
    (installation.folder / "tollgate.toml").write_text("[[[ no toml")
    report = installation.doctor("--data-dir", "data")
    assert {check["name"] for check in report["checks"]} == NAMES
    found(report, "settings", "problem", "not TOML", "mend it there, and prove it: tollgate check-config")
    found(report, "disk", "ok", "free for a ledger")


def reload(address, token, is_taken):
    """Has the settings read again, and says whether they were taken over."""
    with contextlib.nullcontext() if is_taken else pytest.raises(AssertionError, match="422|400"):
        get_json(f"{address}/api/config/reload", token, method="POST")


def test_a_server_tells_what_of_the_file_is_not_in_force(installation):
    file = installation.folder / "tollgate.toml"
    text = file.read_text()
    with installation.serving() as address:
        token = (installation.folder / "data" / "local-token").read_text().strip()

        def from_elsewhere():
            return installation.doctor("--offline", "--server", address, "--token", token)

        for spoiled, words in (("color = 1\n" + text, "unknown key"), (text + "x=[", "not TOML"), (None, "it is gone")):
            file.write_text(spoiled) if spoiled else file.unlink()
            reload(address, token, is_taken=False)
            found(from_elsewhere(), "settings", "problem", f"not taken over when a request had it read, and what was in force stays: {words}")
            found(installation.doctor("--offline", "--data-dir", "data"), "settings", "problem", words)
        file.write_text(text.replace('time_zone = "UTC"', 'time_zone = "Europe/Berlin"'))
        reload(address, token, is_taken=True)
        for report in (from_elsewhere(), installation.doctor("--offline")):
            assert report["ok"]
            found(report, "settings", "warning", "waits for a restart", "restart tollgate", about="time_zone")


def test_the_installation_that_was_looked_at_is_named_and_is_the_one_that_runs(installation):
    file = installation.folder / "tollgate.toml"
    text = file.read_text()
    with installation.serving():
        for broken in (text + "x=[", "zz = 1\n" + text):
            file.write_text(broken)
            report = installation.doctor("--offline")
            assert report["byServer"] and NAMES == {check["name"] for check in report["checks"]}
            data = installation.folder / "data"
            found(report, "installation", "ok", "the server of process")["found"].index(f"the data folder {data}, with the settings of {file}")
        file.write_text("zz = 1\n")
        report = installation.doctor("--offline")
        assert not report["byServer"]
        expected = f"no server runs on the data folder {installation.folder / 'tollgate-data'}, which is not there yet"
        found(report, "installation", "warning", expected, "tollgate doctor --data-dir DIR")
        assert installation.doctor("--offline", "--data-dir", "data")["byServer"]
        assert installation.doctor("--offline", TOLLGATE_DATA_DIR="data")["byServer"]


def test_a_server_that_runs_on_another_folder_than_the_settings_name_is_noticed(installation, own_port):
    file = installation.folder / "tollgate.toml"
    text = file.read_text().replace("127.0.0.1:0", f"127.0.0.1:{own_port}")
    file.write_text(text)
    found(installation.doctor("--offline"), "installation", "ok", "no server runs on the data folder")
    with installation.serving():
        file.write_text(text.replace('"data"', '"data2"'))
        report = installation.doctor("--offline")
        found(report, "installation", "problem", f"something answers at 127.0.0.1:{own_port}", "--data-dir DIR")


def test_a_file_of_settings_that_is_not_there_or_closed_is_told_with_its_mend(unprivileged):
    report = unprivileged.doctor("--offline", "--config", "nix.toml")
    found(report, "settings", "problem", "can't be read", "put nix.toml there, or name the file that is meant by --config, and prove it: tollgate check-config --config nix.toml")
    close_to_its_user(unprivileged.folder / "tollgate.toml")
    found(unprivileged.doctor("--offline"), "settings", "problem", "can't be read", "tollgate.toml && chmod 600")


def test_nothing_there_yet_is_no_crash_and_makes_nothing(gateway, tmp_path, models):
    def run(*flags):
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(tmp_path)}
        return subprocess.run(
            [gateway.binary, "doctor", "--json", *flags], cwd=tmp_path, env=environment, capture_output=True, timeout=60
        )

    done = run()
    report = json.loads(done.stdout)
    found(report, "settings", "problem", "there is no provider", "OPENAI_API_KEY")
    found(report, "file permissions", "ok", "the first start makes it")
    assert done.returncode == 1 and list(tmp_path.iterdir()) == []
    (tmp_path / "data").mkdir()
    report = json.loads(run("--data-dir", "data").stdout)
    found(report, "ledger health", "ok", "there is no ledger yet")
    assert not (tmp_path / "data" / "ledger.redb").exists()
    (tmp_path / "file").write_text("x")
    report = json.loads(run("--data-dir", "file/below").stdout)
    assert report["problems"] >= 1
    assert subprocess.run([gateway.binary, "doctor", "--frob"], capture_output=True).returncode == 2


def test_a_damaged_ledger_is_found_and_left_as_it_is(installation):
    ledger = installation.folder / "data" / "ledger.redb"
    ledger.write_bytes(b"no ledger at all")
    report = installation.doctor("--offline")
    found(report, "ledger health", "problem", "can't be read", "ledger.redb of a backup")
    assert ledger.read_bytes() == b"no ledger at all"
    found(report, "unpriced traffic", "skipped", "the ledger can't be opened")
    found(report, "price coverage", "ok", "1 model of the routes, each with a price")
    ledger.unlink()
    found(installation.doctor("--offline"), "ledger health", "problem", "is missing", "ledger.redb of a backup")
    pepper = installation.folder / "data" / "pepper"
    pepper.write_bytes(bytes(32))
    found(installation.doctor("--offline"), "ledger health", "problem", "doesn't belong to these settings", about="keys")


def test_only_an_admin_may_have_the_server_examined(installation):
    with installation.serving() as address:
        key = json.loads(installation.run("key", "create", "ci", "--json").stdout)["key"]
        for token in (None, key):
            with pytest.raises(AssertionError, match="40[13]"):
                get_json(f"{address}/api/doctor", token, method="POST")
        done = installation.run("doctor", "--server", address, "--token", "tga-nobody")
        assert done.returncode == 1 and "admin token" in done.stderr


@pytest.mark.parametrize("name", ["settings.redb", "pepper", "ledger.redb", "idempotency.redb"])
def test_a_file_that_its_user_may_not_open_is_to_be_opened_and_never_replaced(unprivileged, name):
    path = unprivileged.folder / "data" / name
    close_to_its_user(path)
    report = unprivileged.doctor("--offline")
    found(report, "ledger health", "problem", "", f"data/{name} && chmod 600")
    found(report, "file permissions", "problem", "", f"data/{name}", about=f"data/{name}")
    for check in report["checks"]:
        assert "backup" not in (check["mend"] or "") and "move" not in (check["mend"] or ""), check


def test_a_folder_that_its_user_may_not_write_is_told_with_the_command_that_opens_it(unprivileged):
    folder = unprivileged.folder / "data"
    folder.chmod(0o500)
    report = unprivileged.doctor("--offline")
    found(report, "file permissions", "problem", "may not use it (mode 0500)", "chmod 700 data")
    found(report, "disk", "problem", "nothing can be written into data", "chmod 700 data")


def test_a_backup_goes_back_as_the_manual_says_and_verify_proves_it(installation):
    data, backup = installation.folder / "data", installation.folder / "backup"
    with installation.serving() as address:
        installation.call(address)
    done = installation.run("verify", "--heads", "heads.json")
    assert done.returncode == 0, done.stderr
    shutil.copytree(data, backup)
    with installation.serving() as address:
        installation.call(address)
    for damaged in (["ledger.redb"], ["settings.redb", "pepper"]):
        for name in damaged:
            (data / name).write_bytes(b"no file of ours")
        assert not installation.doctor("--offline")["ok"]
        for name in damaged:
            shutil.copy2(backup / name, data / name)
        done = installation.run("verify", "--expect", "heads.json")
        assert done.returncode == 0, done.stderr
        with installation.serving() as address:
            installation.call(address)
            assert installation.doctor("--offline")["ok"]
