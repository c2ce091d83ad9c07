"""The settings are read again while the server runs: what is taken over, what is refused, and what is remembered of it."""

import concurrent.futures
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest
from conftest import ADMIN_TOKEN, ROOT, START_SECONDS_MAX, STOP_SECONDS_MAX, get_json, wait_for

pytestmark = pytest.mark.gateway

SANDBOX = '[[providers]]\nname = "box"\nkind = "sandbox"\n'
OTHER = '[[providers]]\nname = "other"\nkind = "sandbox"\n'
SLOW = '[[providers]]\nname = "slow"\nkind = "sandbox"\nchunk_delay = "150ms"\n'
ROUTE = '[[routes]]\nname = "smart"\ndeployments = ["box/sandbox-small"]\n'
SECRETS = ["sk-canary-first-0123456789", "sk-canary-second-0123456789", "canary-metrics-0123456789", "canary-from-dotenv-1"]


class Server:
    """The binary in a folder of its own, started there as a person would: with whatever tollgate.toml lies in it."""

    def __init__(self, folder):
        self.folder = folder
        self.file = folder / "tollgate.toml"
        self.data_dir = folder / "data"
        self.log = folder / "server.log"
        binary = pathlib.Path(os.environ.get("TOLLGATE_BIN", "target/debug/tollgate"))
        self.binary = str(binary if binary.is_absolute() else ROOT / binary)
        self.environment = {"PATH": os.environ.get("PATH", ""), "TOLLGATE_ADMIN_TOKEN": ADMIN_TOKEN, "HOME": str(folder)}
        self.flags = []
        self.process = None

    def start(self):
        with self.log.open("ab") as log:
            command = [self.binary, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(self.data_dir), *self.flags]
            self.process = subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)
        lock = self.data_dir / "tollgate.lock"

        def address():
            try:
                held = json.loads(lock.read_text())
            except (OSError, ValueError):
                return None
            return held["address"] if held.get("pid") == self.process.pid else None

        self.url = wait_for(address, "the lock file", START_SECONDS_MAX, self.process)
        wait_for(lambda: self.try_get("/ready") == 200, "/ready answering 200", START_SECONDS_MAX, self.process)
        # The first revision is noted when the server runs.
        wait_for(lambda: self.try_get("/api/config") == 200, "the first revision", START_SECONDS_MAX, self.process)
        if not hasattr(self, "key"):
            self.key = self.admin("/api/keys", "POST", {"name": "tests"})["key"]
        return self

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(timeout=STOP_SECONDS_MAX) == 0

    def try_get(self, path):
        request = urllib.request.Request(f"{self.url}{path}", headers={"authorization": f"Bearer {ADMIN_TOKEN}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status
        except (urllib.error.HTTPError, OSError) as error:
            return getattr(error, "code", None)

    def admin(self, path, method="GET", body=None):
        return get_json(f"{self.url}{path}", ADMIN_TOKEN, method, body)

    def reload(self):
        return self.admin("/api/config/reload", "POST")

    def refused(self):
        """What a reload says that is refused."""
        request = urllib.request.Request(
            f"{self.url}/api/config/reload", method="POST", headers={"authorization": f"Bearer {ADMIN_TOKEN}"}
        )
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(request, timeout=30)
        assert raised.value.code == 422
        problem = json.loads(raised.value.read())
        assert problem["code"] == "config_refused"
        return problem

    def write(self, text):
        """As careful editors do: a new file in the place of the old one."""
        unfinished = self.file.with_suffix(".new")
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(self.file)

    def revision(self):
        return self.admin("/api/config")["revision"]

    def wait_for_revision(self, number):
        wait_for(lambda: self.revision() == number, f"revision {number}", 20, self.process)

    def wait_for_watch(self, number):
        """The files are read once more each time that other places are watched: so many times until now."""
        read_again = "a change of a file had the settings read: nothing has changed"
        wait_for(lambda: self.logged().count(read_again) >= number, "the files being watched", 20, self.process)

    def call(self, model="smart", text="hello", **headers):
        """A call; its status, headers and body."""
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": text}]}).encode()
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.key}", **headers}
        request = urllib.request.Request(f"{self.url}/v1/chat/completions", data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.headers, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, error.headers, json.loads(error.read())

    def logged(self):
        return self.log.read_text(encoding="utf-8", errors="replace")


@pytest.fixture
def server(tmp_path):
    running = Server(tmp_path)
    yield running
    running.stop()


def changes_of(server, number):
    """The lines that differ between a revision and the one before."""
    compared = server.admin(f"/api/config/revisions/{number}?against={number - 1}")["diff"]
    assert compared["against"] == number - 1
    return [(line["edit"], line["text"]) for line in compared["lines"] if line["edit"] != "kept"]


def test_each_trigger_takes_over_what_has_changed_and_is_remembered_with_it(server):
    server.write(SANDBOX + ROUTE)
    server.start()
    first = server.admin("/api/config")
    assert (first["revision"], first["trigger"], first["isInForce"], first["file"]) == (1, "start", True, "tollgate.toml")
    server.write(SANDBOX + ROUTE + '[cache]\nttl = "2m"\n')
    server.wait_for_revision(2)
    assert server.admin("/api/config")["trigger"] == "file"
    assert changes_of(server, 2) == [("removed", 'ttl = "1h"'), ("added", 'ttl = "2m"')]
    # In place, as some editors do.
    server.file.write_text(SANDBOX + ROUTE + '[cache]\nttl = "3m"\n', encoding="utf-8")
    server.wait_for_revision(3)
    # The environment of a process can't change, and .env can.
    (server.folder / ".env").write_text("TOLLGATE_STREAMS_ON_DISCONNECT=cancel\n")
    server.wait_for_revision(4)
    server.process.send_signal(signal.SIGHUP)
    unchanged = server.reload()
    assert (unchanged["revision"], unchanged["changed"]) == (4, [])


def turn(link, target):
    """Leads a link elsewhere in one step, as programs that deploy do."""
    unfinished = link.with_name("..unfinished")
    unfinished.symlink_to(target)
    unfinished.replace(link)


def release(folder, name, files):
    """A folder of files, complete before anything leads to it."""
    (folder / name).mkdir(parents=True)
    for file, text in files.items():
        (folder / name / file).write_text(text, encoding="utf-8")


def settings_with(ttl):
    return f'{SANDBOX}{ROUTE}[cache]\nttl = "{ttl}"\n'


def mounted(server):
    """As Kubernetes mounts what it keeps, and the file is used where it is mounted."""
    turn(server.folder / "..data", "..first")
    server.file.symlink_to("..data/tollgate.toml")
    return server.folder, server.folder / "..data"


def mounted_elsewhere(server):
    """As Kubernetes mounts it, and a link leads there."""
    folder = server.folder / "mounted"
    folder.mkdir()
    turn(folder / "..data", "..first")
    (folder / "tollgate.toml").symlink_to("..data/tollgate.toml")
    server.file.symlink_to(folder / "tollgate.toml")
    return folder, folder / "..data"


def below_current(server):
    """As programs deploy that keep the last releases: the file is no link, a folder above it is."""
    server.flags = ["--config", "current/tollgate.toml"]
    turn(server.folder / "current", "releases/..first")
    return server.folder / "releases", server.folder / "current"


@pytest.mark.parametrize("lay_out", [mounted, mounted_elsewhere, below_current])
def test_a_link_above_a_file_that_is_turned_elsewhere_is_noticed_each_time(server, lay_out):
    folder, link = lay_out(server)
    release(folder, "..first", {"tollgate.toml": settings_with("1m")})
    server.environment["TOLLGATE_LOG"] = "debug"
    server.start()
    for number, ttl in [(2, "2m"), (3, "3m")]:
        server.wait_for_watch(number - 1)
        release(folder, f"..{number}", {"tollgate.toml": settings_with(ttl)})
        turn(link, os.path.relpath(folder / f"..{number}", link.parent))
        server.wait_for_revision(number)
        assert (server.admin("/api/config")["trigger"], changes_of(server, number)[1][1]) == ("file", f'ttl = "{ttl}"')


def test_a_folder_that_is_replaced_or_comes_back_is_noticed(server):
    server.flags = ["--config", "conf/tollgate.toml"]
    conf = server.folder / "conf"
    release(server.folder, "conf", {"tollgate.toml": settings_with("1m")})
    release(server.folder, "next", {"tollgate.toml": settings_with("2m")})
    server.environment["TOLLGATE_LOG"] = "debug"
    server.start()
    server.wait_for_watch(1)
    conf.rename(server.folder / "before")
    (server.folder / "next").rename(conf)
    server.wait_for_revision(2)
    server.wait_for_watch(2)
    conf.rename(server.folder / "away")
    wait_for(lambda: server.admin("/api/status")["config"]["isRefused"], "the refusal", 20)
    release(server.folder, "conf", {"tollgate.toml": settings_with("3m")})
    server.wait_for_revision(3)


def test_a_rotated_key_takes_effect_by_itself(server):
    folder = server.folder / "run" / "secrets"
    release(folder, "..first", {"key": SECRETS[0]})
    turn(folder / "..data", "..first")
    (folder / "key").symlink_to("..data/key")
    plain = server.folder / "run" / "token"
    plain.write_text(SECRETS[2])
    far = f'[[providers]]\nname = "far"\nkind = "openai-compatible"\nbase_url = "http://127.0.0.1:9"\napi_key = "file:{folder / "key"}"\n'
    server.write(f'{far}[telemetry]\nmetrics_token = "file:{plain}"\n')
    server.environment["TOLLGATE_LOG"] = "debug"
    server.start()
    server.wait_for_watch(1)
    release(folder, "..second", {"key": SECRETS[1]})
    turn(folder / "..data", "..second")
    server.wait_for_revision(2)
    assert changes_of(server, 2)[-1] == ("added", "# the value of revision 2: providers.far.api_key")
    plain.write_text(SECRETS[3])
    server.wait_for_revision(3)
    request = urllib.request.Request(f"{server.url}/metrics", headers={"authorization": f"Bearer {SECRETS[3]}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


def test_a_script_that_changes_is_noticed(server):
    script = server.folder / "script.jsonl"
    script.write_text('{"match": "hello", "answer": "one"}\n')
    server.write(f'{SANDBOX}script = "{script}"\n{ROUTE}')
    server.environment["TOLLGATE_LOG"] = "debug"
    server.start()
    server.wait_for_watch(1)
    script.write_text('{"match": "hello", "answer": "two"}\n')
    server.wait_for_revision(2)
    assert server.call()[2]["choices"][0]["message"]["content"] == "two"


def test_sighup_and_a_request_do_not_wait_for_the_watch(server):
    secret = server.folder / "elsewhere" / "key"
    secret.parent.mkdir()
    secret.write_text(SECRETS[0])
    server.write(f'{SANDBOX}{ROUTE}[telemetry]\nmetrics_token = "file:{secret}"\n')
    server.start()
    secret.write_text(SECRETS[1])
    server.process.send_signal(signal.SIGHUP)
    server.wait_for_revision(2)
    assert server.admin("/api/config")["trigger"] == "sighup"
    secret.write_text(SECRETS[2])
    reloaded = server.reload()
    assert (reloaded["revision"], reloaded["changed"]) == (3, ["telemetry.metrics_token"])
    assert server.admin("/api/config")["trigger"] == "api"
    request = urllib.request.Request(f"{server.url}/metrics", headers={"authorization": f"Bearer {SECRETS[2]}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


def test_a_file_that_comes_later_counts_and_one_that_goes_changes_nothing(server):
    server.start()
    assert server.call()[0] == 404
    server.write(SANDBOX + ROUTE)
    server.wait_for_revision(2)
    assert server.call()[0] == 200
    server.file.unlink()
    wait_for(lambda: server.admin("/api/status")["config"]["isRefused"], "the refusal", 20)
    assert server.admin("/api/config")["lastRefused"]["problems"][0]["message"].startswith("it is gone")
    assert server.call()[0] == 200
    server.write(SANDBOX + ROUTE)
    wait_for(lambda: not server.admin("/api/status")["config"]["isRefused"], "the file being back", 20)
    assert server.revision() == 2


def test_an_empty_file_is_not_taken_for_meant_until_somebody_says_so(server):
    server.write(SANDBOX + ROUTE)
    server.start()
    server.file.write_text("")
    wait_for(lambda: server.admin("/api/status")["config"]["isRefused"], "the refusal", 20)
    assert server.call()[0] == 200
    assert server.reload()["revision"] == 2
    assert server.call()[0] == 404


def test_variables_that_are_gone_or_emptied_change_nothing(server):
    server.write(SANDBOX + ROUTE)
    variables = server.folder / ".env"
    variables.write_text("TOLLGATE_LIMITS_REQUESTS_PER_MINUTE=2\n")
    server.start()

    def refused():
        wait_for(lambda: server.admin("/api/status")["config"]["isRefused"], "the refusal", 20)
        return server.admin("/api/config")["lastRefused"]["problems"][0]

    variables.write_text("# TOLLGATE_LIMITS_REQUESTS_PER_MINUTE=2\n")
    assert refused()["message"].startswith("empty, and it was not before")
    variables.write_text("TOLLGATE_LIMITS_REQUESTS_PER_MINUTE=2\n")
    wait_for(lambda: not server.admin("/api/status")["config"]["isRefused"], "the mend", 20)
    wait_for(lambda: "what was wrong with the settings is mended" in server.logged(), "the log line", 10)
    variables.unlink()
    assert refused() == {"path": ".env", "place": None, "message": "it is gone; put it back, or an empty one in its place if nothing shall stand in it"}
    assert [server.call()[0] for _ in range(3)] == [200, 200, 429]
    assert server.revision() == 1


def test_settings_without_a_provider_are_refused_until_they_are_meant(server):
    server.write(SANDBOX + ROUTE)
    server.start()
    server.write("# all of it is commented out\n")
    wait_for(lambda: server.admin("/api/status")["config"]["isRefused"], "the refusal", 20)
    assert server.call()[0] == 200
    warnings = server.reload()["warnings"]
    assert [warning["path"] for warning in warnings] == ["providers"], warnings
    assert server.call()[0] == 404


def test_a_pipe_is_neither_waited_for_nor_in_the_way_of_a_stop(server):
    server.write(SANDBOX + ROUTE)
    secret = server.folder / "secret"
    secret.write_text(SECRETS[0])
    server.start()
    server.write(f'{SANDBOX}{ROUTE}[telemetry]\nmetrics_token = "file:{secret}"\n')
    server.wait_for_revision(2)
    secret.unlink()
    os.mkfifo(secret)
    assert "it is a named pipe" in server.refused()["problems"][0]["message"]
    for settings in (f'[tls]\nca_file = "{secret}"\n', f'[catalog]\nfile = "{secret}"\n', f'[[providers]]\nname = "told"\nkind = "sandbox"\nscript = "{secret}"\n'):
        server.write(SANDBOX + ROUTE + settings)
        assert "it is a named pipe" in server.refused()["problems"][0]["message"], settings
    server.file.unlink()
    os.mkfifo(server.file)
    assert "it is a named pipe" in server.refused()["problems"][0]["message"]
    metrics = urllib.request.Request(f"{server.url}/metrics", headers={"authorization": f"Bearer {ADMIN_TOKEN}"})
    with urllib.request.urlopen(metrics, timeout=10) as answer:
        assert b"tollgate_config_refused 1" in answer.read()
    server.file.unlink()
    server.write(SANDBOX + ROUTE)
    server.wait_for_revision(3)
    assert server.call()[0] == 200
    # The fixture sees it stop in time.
    server.file.unlink()
    os.mkfifo(server.file)


def test_providers_routes_prices_limits_and_the_cache_hold_for_the_next_call(server):
    server.write(SANDBOX + ROUTE)
    server.start()
    status, headers, _ = server.call()
    assert (status, headers["x-tollgate-provider"], headers["x-tollgate-model"]) == (200, "box", "sandbox-small")
    server.write(SANDBOX + OTHER + ROUTE.replace("box/sandbox-small", "other/sandbox-large"))
    # Which keys have changed is told to whoever is first, and on a slow machine that may be the watch.
    reloaded = server.reload()
    assert reloaded["revision"] == 2 and reloaded["changed"] in ([], ["providers.other", "routes.smart.deployments"])
    status, headers, _ = server.call(text="again")
    assert (status, headers["x-tollgate-provider"], headers["x-tollgate-model"]) == (200, "other", "sandbox-large")
    # A price.
    settings = SANDBOX + ROUTE
    server.write(settings + '[prices."box/sandbox-small"]\ninput = "7000"\noutput = "0"\n')
    server.reload()
    _, headers, body = server.call(text="dear")
    cost = float(headers["x-tollgate-cost-usd"])
    assert cost == pytest.approx(body["usage"]["prompt_tokens"] * 0.007), (cost, body["usage"])
    # A limit of every key.
    server.write(settings + "[limits]\nrequests_per_minute = 1\n")
    server.reload()
    assert [server.call(text=f"limited {number}")[0] for number in range(3)].count(429) >= 1
    server.write(settings)
    server.reload()
    assert server.call(text="unlimited")[0] == 200
    # A body's size.
    server.write(settings + '[limits]\nbody_bytes_max = "1KiB"\n')
    server.reload()
    assert server.call(text="x" * 2000)[0] == 413
    # The cache: its time, whether it is used at all, and who shares it.
    server.write(settings)
    server.reload()
    assert [server.call(text="kept")[1]["x-tollgate-cache"] for _ in range(2)] == ["miss", "hit"]
    server.write(settings + '[cache]\nttl = "1ms"\n')
    server.reload()
    assert server.call(text="kept")[1]["x-tollgate-cache"] == "miss"
    server.write(settings + "[cache]\nenabled = false\n")
    server.reload()
    assert server.call(text="kept")[1]["x-tollgate-cache"] == "bypass"
    wait_for(lambda: server.admin("/api/status")["cache"]["size"] == 0, "the cache being empty", 20)
    server.write(settings)
    server.reload()
    assert [server.call(text="kept")[1]["x-tollgate-cache"] for _ in range(2)] == ["miss", "hit"]


def test_a_price_file_is_watched_with_the_settings(server):
    prices = server.folder / "prices.json"

    def price(usd):
        model = {"id": "sandbox-small", "provider": "sandbox", "price": {"input": usd, "output": "0"}}
        prices.write_text(json.dumps({"models": [model]}))

    price("1000")
    server.write(f'{SANDBOX}{ROUTE}[catalog]\nfile = "prices.json"\n')
    server.start()
    cost = float(server.call()[1]["x-tollgate-cost-usd"])
    price("3000")
    server.wait_for_revision(2)
    assert float(server.call(text="other")[1]["x-tollgate-cost-usd"]) > cost * 2
    assert changes_of(server, 2) == [
        ("removed", "# the value of revision 1: catalog.file"),
        ("added", "# the value of revision 2: catalog.file"),
    ]
    prices.write_text("{")
    wait_for(lambda: server.admin("/api/status")["config"]["isRefused"], "the refusal", 20)
    assert server.admin("/api/config")["lastRefused"]["problems"][0]["path"] == "catalog.file"
    assert server.call(text="still")[0] == 200


BAD = {
    "no TOML": ("[[providers]\n", "tollgate.toml:1"),
    "an unknown key": (SANDBOX + ROUTE + "color = 1\n", "tollgate.toml:7"),
    "an unknown provider in a route": (SANDBOX + ROUTE.replace("box/", "bux/"), "tollgate.toml:6"),
    "a secret file that is not there": (SANDBOX + '[telemetry]\nmetrics_token = "file:/nowhere"\n', "tollgate.toml:5"),
    "half a file": ((SANDBOX + ROUTE)[:-12], "tollgate.toml:6"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_changes_nothing_and_says_why_everywhere(server, what):
    text, place = BAD[what]
    server.write(SANDBOX + ROUTE)
    server.start()
    server.write(text)
    wait_for(lambda: server.admin("/api/status")["config"]["isRefused"], "the refusal", 20)
    problem = server.refused()
    assert {found["place"] for found in problem["problems"]} == {place}, problem
    told = server.admin("/api/config")
    assert told["revision"] == 1
    assert told["lastRefused"]["problems"] == problem["problems"]
    assert server.call()[0] == 200
    log = server.logged()
    assert "the settings stay as they were" in log
    assert problem["problems"][0]["message"].split('"')[0] in log
    server.write(SANDBOX + ROUTE)
    wait_for(lambda: not server.admin("/api/status")["config"]["isRefused"], "the good file", 20)
    assert server.admin("/api/config")["lastRefused"] is None


TWICE = {
    "auto": (SANDBOX + ROUTE.replace("smart", "auto") * 2, 8, "route", 5),
    "a route": (SANDBOX + ROUTE * 2, 8, "route", 5),
    "a provider": (SANDBOX * 2 + ROUTE, 5, "provider", 2),
}


@pytest.mark.parametrize("what", TWICE)
def test_a_name_that_is_given_twice_is_told_with_both_places_before_and_after_the_start(server, what):
    text, line, kind, first_line = TWICE[what]
    server.write(text)
    for command in (["check-config"], ["serve", "--listen", "127.0.0.1:0"]):
        done = subprocess.run(
            [server.binary, *command], cwd=server.folder, env=server.environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 2, done
        told = done.stdout + done.stderr
        assert f"tollgate.toml:{line}: {kind}s[1].name: another {kind} is called" in told, told
        assert f"already, at tollgate.toml:{first_line}; give each its own name" in told, told
    server.write(SANDBOX + ROUTE)
    server.start()
    server.write(text)
    [problem] = server.refused()["problems"]
    assert problem["place"] == f"tollgate.toml:{line}"
    assert f"already, at tollgate.toml:{first_line};" in problem["message"]
    assert server.call()[0] == 200


def test_every_problem_is_told_at_once(server):
    server.write(SANDBOX + ROUTE)
    server.start()
    server.write("color = 1\n" + SANDBOX + ROUTE.replace("box/", "bux/") + '[cache]\nttl = "soon"\n')
    assert len(server.refused()["problems"]) == 3


def test_what_waits_for_a_restart_is_told_until_there_was_one(server):
    server.write(SANDBOX + ROUTE)
    server.start()
    server.write('time_zone = "Asia/Seoul"\n' + SANDBOX + ROUTE + '[ledger]\ndurability = "relaxed"\n')
    reloaded = server.reload()
    assert reloaded["waitingForRestart"] == ["time_zone", "ledger.durability"]
    in_force = server.admin("/api/config")
    assert in_force["waitingForRestart"] == ["time_zone", "ledger.durability"]
    assert in_force["stillInForce"]["ledger.durability"] == '"strict"'
    assert server.admin("/api/status")["config"]["waitingForRestart"] == ["time_zone", "ledger.durability"]
    assert "wait for a restart: time_zone, ledger.durability" in server.logged()
    server.stop()
    server.start()
    assert server.revision() == 2, "a start with the same settings makes no revision"
    assert server.admin("/api/config")["waitingForRestart"] == []
    assert [item["revision"] for item in server.admin("/api/config/revisions")["items"]] == [2, 1]


def test_a_stream_whose_provider_is_removed_ends_well_and_is_booked(server):
    server.write(SLOW + SANDBOX + ROUTE.replace("box/", "slow/"))
    server.start()
    host, port = server.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    body = {"model": "smart", "messages": [{"role": "user", "content": "tell me a story"}], "stream": True}
    headers = {"content-type": "application/json", "authorization": f"Bearer {server.key}"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    answer = connection.getresponse()
    assert answer.headers["x-tollgate-provider"] == "slow"
    first = answer.readline()
    server.write(SANDBOX + ROUTE)
    assert server.reload()["revision"] == 2
    _, headers, _ = server.call()
    assert headers["x-tollgate-provider"] == "box", "the next call goes by the new settings"
    named = server.call("slow/sandbox-small")[1]
    assert named["x-tollgate-provider"] == "box", "who takes any name takes that one: there is no such provider"
    rest = answer.read()
    assert first.startswith(b"data: ") and rest.rstrip().endswith(b"data: [DONE]")
    entry = server.admin(f"/api/requests/{answer.headers['x-tollgate-request-id']}")
    assert (entry["status"], entry["provider"], entry["costBasis"]) == ("settled", "slow", "exact")
    assert float(entry["costUsd"]) > 0


def test_calls_that_still_run_at_an_old_address_say_nothing_of_the_new_one(server):
    silent = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{silent.getsockname()[1]}"
    server.write(f'[[providers]]\nname = "far"\nkind = "openai-compatible"\nbase_url = "{address}"\napi_key = "sk-{"x" * 9}"\n')
    server.start()
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(server.call, "far/sandbox-small", f"question {number}") for number in range(6)]
        held = [silent.accept()[0] for _ in calls]
        server.write('[[providers]]\nname = "far"\nkind = "sandbox"\n')
        server.reload()
        assert server.call("far/sandbox-small")[0] == 200
        silent.close()
        for connection in held:
            connection.close()
        assert {call.result()[0] for call in calls} == {502}
    assert server.call("far/sandbox-small", "afterwards")[0] == 200
    (far,) = server.admin("/api/providers")["items"]
    assert (far["circuit"], far["health"], far["failing"]) == ("closed", "well", [])


def test_many_reloads_in_quick_succession_fail_no_call(server):
    server.write(SANDBOX + ROUTE)
    server.start()
    stopping, failed, made = threading.Event(), [], []

    def load(number):
        count = 0
        while not stopping.is_set():
            status, _, body = server.call(text=f"{number} {count}")
            count += 1
            (made if status == 200 else failed).append(body if status != 200 else status)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(load, number) for number in range(3)]
        try:
            for number in range(200):
                other = OTHER if number % 2 else ""
                server.write(f'{SANDBOX}{other}{ROUTE}[cache]\nttl = "{number + 1}s"\n')
                assert server.reload()["revision"] == number + 2
        finally:
            stopping.set()
        for one in loads:
            one.result(timeout=60)
    assert not failed, failed[:3]
    assert len(made) > 20
    assert server.revision() == 201


def test_ten_revisions_are_kept_and_survive_a_restart(server):
    server.write(SANDBOX + ROUTE)
    server.start()
    for number in range(2, 13):
        server.write(f'{SANDBOX}{ROUTE}[cache]\nttl = "{number}m"\n')
        assert server.reload()["revision"] == number
    expected = list(range(12, 2, -1))
    listed = server.admin("/api/config/revisions")["items"]
    assert [item["revision"] for item in listed] == expected
    assert [item["isInForce"] for item in listed] == [True] + [False] * 9
    assert server.try_get("/api/config/revisions/2") == 404
    assert server.try_get("/api/config/revisions/12?against=2") == 404
    assert server.try_get("/api/config/revisions/x") == 404
    server.stop()
    server.start()
    assert [item["revision"] for item in server.admin("/api/config/revisions")["items"]] == expected
    assert 'ttl = "7m"' in server.admin("/api/config/revisions/7")["settings"]
    assert changes_of(server, 12) == [("removed", 'ttl = "11m"'), ("added", 'ttl = "12m"')]


def test_a_changed_route_and_a_changed_secret_show_and_the_secret_nowhere(server):
    key = server.folder / "key"
    key.write_text(SECRETS[0])
    (server.folder / ".env").write_text(f"OTHER_KEY={SECRETS[3]}\n")
    provider = '[[providers]]\nname = "far"\nkind = "openai-compatible"\nbase_url = "http://127.0.0.1:9"\n'
    settings = f'{SANDBOX}{provider}api_keys = ["file:{key}", "env:OTHER_KEY"]\n'
    settings += f'[telemetry]\nmetrics_token = "{SECRETS[2]}"\n'
    server.write(settings + ROUTE)
    server.file.chmod(0o600)
    server.start()
    key.write_text(SECRETS[1])
    server.write(settings + ROUTE.replace("sandbox-small", "sandbox-large"))
    server.wait_for_revision(2)
    changed = changes_of(server, 2)
    assert ("removed", 'deployments = ["box/sandbox-small"]') in changed
    assert ("added", 'deployments = ["box/sandbox-large"]') in changed
    assert ("added", "# the value of revision 2: providers.far.api_keys[0]") in changed
    assert not any("api_keys[1]" in text or "metrics_token" in text for _, text in changed)
    server.write(settings + ROUTE + "color = 1\n")
    server.refused()
    answers = [json.dumps(server.admin(path)) for path in (
        "/api/config",
        "/api/config/revisions",
        "/api/config/revisions/2?against=1",
        "/api/status",
    )]
    server.stop()
    kept = [path.read_bytes() for path in server.data_dir.iterdir() if path.is_file()] + [server.log.read_bytes()]
    for secret in SECRETS:
        assert not any(secret in answer for answer in answers), secret
        assert not any(secret.encode() in bytes for bytes in kept), secret
    server.write(settings + ROUTE)
    server.start()


def test_budgets_that_lose_their_route_or_provider_are_told_of(server):
    server.write(SANDBOX + SLOW + ROUTE)
    server.start()
    terms = {"window": "day", "limitUsd": "1"}
    everything = {"scope": {"kind": "everything", "id": None}, "action": "downgrade", "downgradeTo": "smart", **terms}
    server.admin("/api/budgets", "POST", everything)
    server.admin("/api/budgets", "POST", {"scope": {"kind": "provider", "id": "slow"}, "action": "block", **terms})
    server.write(SANDBOX)
    warned = [f"{warning['path']}: {warning['message']}" for warning in server.reload()["warnings"]]
    assert any('route "smart"' in text for text in warned) and any('provider "slow"' in text for text in warned), warned
    assert len(server.admin("/api/config")["warnings"]) == 2
    for budget in server.admin("/api/budgets")["items"]:
        delete = urllib.request.Request(
            f"{server.url}/api/budgets/{budget['id']}", method="DELETE", headers={"authorization": f"Bearer {ADMIN_TOKEN}"}
        )
        urllib.request.urlopen(delete, timeout=10).close()
    assert server.admin("/api/config")["warnings"] == []


def test_the_dashboard_shows_what_is_in_force_what_was_refused_and_a_comparison(server):
    server.write(SANDBOX + ROUTE)
    server.start()
    server.write(SANDBOX + ROUTE + '[cache]\nttl = "4m"\n')
    server.wait_for_revision(2)
    browser = log_in(server)
    page = browser.get("/settings")
    assert "Revision 2" in page and "ttl = &#34;4m&#34;" in page or 'ttl = "4m"' in page
    compared = browser.get("/settings?from=1&to=2")
    assert "From revision 1 to 2" in compared and 'class="add"' in compared and 'class="del"' in compared
    server.write(SANDBOX + ROUTE + "color = 1\n")
    page = browser.post("/settings/reload")
    assert "The settings on the disk are not in force" in page and "tollgate.toml:7" in page and "unknown key" in page
    assert "The settings on the disk are not in force" in browser.get("/")
    server.write(SANDBOX + ROUTE + '[cache]\nttl = "5m"\n')
    wait_for(lambda: server.revision() == 3, "the good file", 20)
    page = browser.post("/settings/reload")
    assert "Nothing has changed" in page
    # The mark in the menu comes from sums that are a moment old.
    wait_for(lambda: "not in force" not in browser.get("/settings"), "the mark being gone", 20)


def test_nobody_but_admins_sees_or_reloads_settings(server):
    server.write(SANDBOX + ROUTE)
    server.start()
    paths = ["/api/config", "/api/config/revisions", "/api/config/revisions/1"]
    team = server.admin("/api/teams", "POST", {"name": "web"})["id"]
    for name, role, of in [("vera", "viewer", None), ("tim", "viewer", team), ("mia", "member", team)]:
        password = "correct horse battery staple"
        server.admin("/api/users", "POST", {"name": name, "password": password, "role": role, "team": of})
        browser = log_in(server, name, password)
        for path in paths + ["/settings"]:
            assert browser.status(path) == 403, (name, path)
        assert browser.status("/settings/reload", {}) == 403
    for path in paths:
        assert get_status(server, path, server.key) == 403
        assert get_status(server, path, None) == 401


def get_status(server, path, token):
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{server.url}{path}", headers=headers), timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


class Browser:
    """A browser without script: cookies, and the token of the last page's forms."""

    def __init__(self, server):
        self.server = server
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        self.token = ""

    def open(self, path, form=None):
        data = None
        if form is not None:
            data = "&".join(f"{name}={urllib.request.quote(value)}" for name, value in {**form, "csrf_token": self.token}.items())
        with self.opener.open(self.server.url + path, data and data.encode(), timeout=30) as answer:
            page = answer.read().decode()
        found = re.search(r'name="csrf_token" value="([^"]+)"', page)
        self.token = found[1] if found else self.token
        return page

    def get(self, path):
        return self.open(path)

    def post(self, path):
        return self.open(path, {})

    def status(self, path, form=None):
        try:
            self.open(path, form)
        except urllib.error.HTTPError as error:
            return error.code
        return 200


def log_in(server, name="root", password="correct horse battery"):
    """A browser of someone; the first admin is made by command where there is none."""
    if name == "root":
        users = server.admin("/api/users")["items"]
        if not any(user["name"] == name for user in users):
            server.admin("/api/users", "POST", {"name": name, "password": password, "role": "admin", "team": None})
    browser = Browser(server)
    browser.get("/login")
    browser.open("/login", {"username": name, "password": password})
    return browser
