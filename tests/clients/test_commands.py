"""The command line against a running server and against a folder that nobody serves: the same words, the same exit codes."""

import json
import os
import subprocess

import pytest

pytestmark = pytest.mark.gateway

WRONG_USAGE = [
    ["report", "daily", "foo"],
    ["report", "monthly", "2026-13"],
    ["export", "costs", "--group-by", "foo"],
    ["export", "costs", "--from", "foo"],
    ["export", "requests", "--to", "foo"],
    ["export", "costs", "--format", "focus", "--json"],
    ["export", "requests", "--format", "csv", "--json"],
    ["key", "create", ""],
    ["key", "create", "wrong", "--requests-per-minute", "0"],
    ["key", "create", "wrong", "--expires", "2020-01-01"],
    ["key", "create", "wrong", "--tag", "a=b", "--tag", "a=c"],
    ["budget", "set", "everything", "month", "5", "--thresholds", "0"],
    ["budget", "set", "nobody", "month", "5"],
]


def words(command):
    return " ".join(word or "''" for word in command)


@pytest.fixture(scope="session")
def unserved(gateway, folder):
    """A folder with a key and a ledger that no server runs on."""
    here = folder / "unserved"
    here.mkdir()
    (here / "tollgate.toml").write_text('listen = "127.0.0.1:0"\ndata_dir = "data"\ntime_zone = "UTC"\n')
    environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(here)}
    # A server that has run once has left a ledger.
    with subprocess.Popen(
        [gateway.binary, "serve"], cwd=here, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as server:
        for line in server.stderr:
            if b"setup?token=" in line:
                break
        server.terminate()
        server.stderr.read()
    assert server.returncode == 0

    def run(*command, **variables):
        variables = {**environment, **variables}
        return subprocess.run([gateway.binary, *command], cwd=here, env=variables, capture_output=True, timeout=60)

    return run


@pytest.fixture(scope="session")
def served(gateway):
    def run(*command):
        command = [gateway.binary, *command, "--config", str(gateway.config)]
        return subprocess.run(
            command, cwd=gateway.folder, env=gateway.environment, capture_output=True, timeout=60
        )

    return run


@pytest.mark.parametrize("command", WRONG_USAGE, ids=words)
@pytest.mark.parametrize("where", ["served", "unserved"])
def test_wrong_usage_is_told_by_its_exit_code(request, where, command):
    done = request.getfixturevalue(where)(*command)
    assert (done.returncode, done.stdout) == (2, b""), done
    assert done.stderr


@pytest.mark.parametrize("where", ["served", "unserved"])
def test_what_can_be_done_is_done_everywhere(request, where):
    run = request.getfixturevalue(where)
    for command in (["report", "daily"], ["export", "costs"], ["key", "list", "--json"], ["budget", "list"], ["verify"]):
        done = run(*command)
        assert done.returncode == 0, done
        assert b"\x1b[" not in done.stdout + done.stderr, "colours are for terminals"


def test_what_is_logged_into_a_file_has_no_colours(unserved):
    done = unserved("verify", TOLLGATE_LOG="trace")
    assert done.returncode == 0 and b"\x1b[" not in done.stderr


@pytest.mark.parametrize("where", ["served", "unserved"])
def test_a_list_of_budgets_names_keys(request, where):
    run = request.getfixturevalue(where)
    made = json.loads(run("key", "create", f"named-{where}", "--budget", "day=1", "--json").stdout)
    listed = run("budget", "list").stdout.decode()
    assert f"key:named-{where}" in listed and made["id"] not in listed
    told = run("budget", "set", "everything", "total", "1000").stdout.decode()
    budget, _, terms = told.partition(": ")
    assert terms.startswith("1000 USD in all for everything"), told
    assert run("budget", "remove", budget).returncode == 0


def test_a_forgotten_password_of_nobody_says_so_once(served):
    told = served("admin", "reset-password").stderr.decode()
    assert "there is no user yet" in told and "can't do this" not in told


def test_help_is_a_command(unserved):
    done = unserved("help")
    assert done.returncode == 0 and b"tollgate key create" in done.stdout


SECRETIVE = """
listen = "127.0.0.1:0"
data_dir = "data"
[[providers]]
name = "openai"
kind = "openai"
api_key = "env:PROVIDERS_SECRET"
[alerts]
webhook_url = "https://hooks.example.com/x"
webhook_secret = "env:ALERTS_SECRET"
"""
# What needs no secret: on a server that runs, and on the folder when none does.
SPARING = [
    ["verify"], ["key", "list"], ["budget", "set", "everything", "month", "5"], ["budget", "list"], ["export", "costs"],
    ["report", "daily"], ["admin", "token", "list"], ["re-rate", "--from", "2026-01-01"],
]  # fmt: skip


def test_only_the_server_needs_the_secrets_of_the_settings(gateway, tmp_path):
    (tmp_path / "tollgate.toml").write_text(SECRETIVE)
    bare = {"PATH": os.environ.get("PATH", ""), "HOME": str(tmp_path)}

    def run(*command, code=0, **variables):
        done = subprocess.run(
            [gateway.binary, *command], cwd=tmp_path, env={**bare, **variables}, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == code, f"{words(command)}: {done.returncode} {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    secrets = {"PROVIDERS_SECRET": "sk-1", "ALERTS_SECRET": "hush"}
    with subprocess.Popen(
        [gateway.binary, "serve"], cwd=tmp_path, env={**bare, **secrets}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as server:
        try:
            for line in server.stderr:
                if b"setup?token=" in line:
                    break
            for command in SPARING:
                assert "SECRET" not in run(*command)
            # A file that was spoiled meanwhile is told of, and doesn't keep anybody from the server that runs.
            (tmp_path / "tollgate.toml").write_text("color = 1\n" + SECRETIVE)
            assert "color: unknown key" in run("key", "list")
            # One that is no TOML says where the folder is as far as it can be made out, and needn't where it is named.
            (tmp_path / "tollgate.toml").write_text(SECRETIVE + "x=[")
            assert "not TOML" in run("key", "create", "ci")
            (tmp_path / "tollgate.toml").write_text("<<<<<<< HEAD\n")
            for named in ({}, {"TOLLGATE_DATA_DIR": "data"}):
                flags = [] if named else ["--data-dir", "data"]
                assert "the data folder data does this" in run("key", "list", *flags, **named)
            run("key", "revoke", "ci", "--data-dir", "data")
            assert "can't be read" in run("key", "list", "--data-dir", "data", "--config", "nowhere.toml")
            assert "no server runs on the data folder tollgate-data (nothing" in run("key", "list", code=2)
            (tmp_path / "tollgate.toml").write_text(SECRETIVE)
        finally:
            server.terminate()
            server.stderr.read()
    for command in SPARING:
        assert "SECRET" not in run(*command)
    # What fetches with an admin key by itself says that it is missing.
    (tmp_path / "tollgate.toml").write_text(SECRETIVE.replace("[alerts]", 'admin_api_key = "env:ADMIN_SECRET"\n[alerts]'))
    assert "ADMIN_SECRET is not set" in run("reconcile", code=2)
    run("reconcile", "--no-fetch")
    (tmp_path / "tollgate.toml").write_text(SECRETIVE)
    for command in (["serve"], ["check-config"]):
        told = run(*command, code=2)
        assert "PROVIDERS_SECRET is not set" in told and "ALERTS_SECRET is not set" in told
    (tmp_path / "tollgate.toml").write_text("color = 1\n" + SECRETIVE)
    told = run("key", "list", code=2)
    assert "color: unknown key" in told and "SECRET" not in told
