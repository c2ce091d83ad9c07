"""Coming from LiteLLM with the real binary: its settings, and what was spent there."""

import csv
import datetime
import io
import json
import os
import subprocess
import tomllib
import urllib.error
import urllib.request

import pytest

from conftest import ADMIN_TOKEN, get_json
from load import Server, binary

pytestmark = pytest.mark.gateway

SANDBOX = '[[providers]]\nname = "sandbox"\nkind = "sandbox"\n'
SECRET = "sk-canary-0123456789"
SETTINGS = f"""
model_list:
  - model_name: smart
    litellm_params: &openai
      model: openai/gpt-4o
      api_key: os.environ/OPENAI_KEY_ONE
      weight: 3
  - model_name: smart
    litellm_params:
      <<: *openai
      api_key: {SECRET}
      weight: 1
  - model_name: careful
    litellm_params: {{model: anthropic/claude-sonnet-4-5, api_key: os.environ/ANTHROPIC_KEY}}
  - model_name: local
    litellm_params: {{model: openai/qwen3, api_base: "http://10.0.0.5:8000/v1", api_key: none}}
    model_info: {{input_cost_per_token: 0, output_cost_per_token: 2.5e-07}}
  - model_name: "groq/*"
    litellm_params: {{model: "groq/*"}}
  - model_name: elsewhere
    litellm_params: {{model: bedrock/some-model, aws_secret_access_key: {SECRET}}}
router_settings:
  routing_strategy: simple-shuffle
  num_retries: 2
  fallbacks: [{{smart: [careful]}}]
  model_group_alias: {{clever: smart}}
litellm_settings:
  cache: true
  cache_params: {{type: local, ttl: 300}}
  drop_params: true
  max_budget: 25.5
  budget_duration: 30d
  success_callback: [langfuse]
general_settings:
  master_key: {SECRET}
  database_url: postgresql://user:{SECRET}@db/litellm
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def run(folder, *arguments, code=0, environment=None):
    """Runs the binary in a folder; what it printed, and what it told."""
    variables = {"PATH": os.environ["PATH"], "HOME": str(folder), **(environment or {})}
    done = subprocess.run([binary(), *arguments], cwd=folder, env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, f"{arguments}: {done.returncode} {done.stdout}{done.stderr}"
    assert SECRET not in done.stdout + done.stderr
    return done.stdout, done.stderr


def test_the_settings_of_a_proxy_become_a_file_that_can_be_used(folder):
    (folder / "config.yaml").write_text(SETTINGS)
    _, told = run(folder, "import", "litellm", "config.yaml")
    written = (folder / "tollgate.toml").read_text()
    assert SECRET not in written
    assert (folder / "tollgate.toml").stat().st_mode & 0o777 == 0o600
    settings = tomllib.loads(written)
    providers = {provider["name"]: provider for provider in settings["providers"]}
    assert list(providers) == ["groq", "openai", "openai-2", "anthropic", "local"]
    assert providers["openai"]["api_key"] == "env:OPENAI_KEY_ONE"
    assert providers["openai-2"]["api_key"] == "env:OPENAI_2_API_KEY"
    assert "api_key" not in providers["local"]
    routes = {route["name"]: route for route in settings["routes"]}
    assert list(routes) == ["smart", "careful", "local", "clever"]
    assert routes["smart"]["deployments"] == ["openai/gpt-4o", "openai-2/gpt-4o", "anthropic/claude-sonnet-4-5"]
    assert routes["smart"]["weights"] == routes["clever"]["weights"] == [3, 1, 0]
    assert settings["prices"] == {"local/qwen3": {"input": "0", "output": "0.25"}}
    assert settings["cache"] == {"enabled": True, "ttl": "5m"}
    for path in (
        "model_list[5].litellm_params.model", "litellm_settings.drop_params", "litellm_settings.success_callback",
        "general_settings.master_key", "general_settings.database_url",
    ):  # fmt: skip
        assert path in told, told
    assert "tollgate budget set everything month 25.5" in told
    assert "ANTHROPIC_KEY, GROQ_API_KEY, OPENAI_2_API_KEY, OPENAI_KEY_ONE" in told

    keys = {name: "sk-1" for name in ("ANTHROPIC_KEY", "GROQ_API_KEY", "OPENAI_2_API_KEY", "OPENAI_KEY_ONE")}
    run(folder, "check-config", environment=keys)
    run(folder, "check-config", code=2)
    # What is there is not written over; that it is the same already is fine.
    run(folder, "import", "litellm", "config.yaml")
    (folder / "tollgate.toml").write_text(written + "# mine\n")
    _, told = run(folder, "import", "litellm", "config.yaml", code=2)
    assert "is there already" in told
    assert (folder / "tollgate.toml").read_text() == written + "# mine\n"


def test_it_is_printed_or_told_as_json(folder):
    (folder / "config.yaml").write_text(SETTINGS)
    printed, _ = run(folder, "import", "litellm", "config.yaml", "--out", "-")
    assert tomllib.loads(printed)["routes"][0]["name"] == "smart"
    told, _ = run(folder, "import", "litellm", "config.yaml", "--out", "-", "--json")
    told = json.loads(told)
    assert told["out"] is None and told["settings"] == printed
    assert told["budgets"] == [
        {
            "scope": "everything", "window": "month", "limitUsd": "25.5", "made": False,
            "command": "tollgate budget set everything month 25.5",
        }
    ]  # fmt: skip
    assert all(note["reason"] and note["wayOut"] and note["line"] for note in told["leftOut"])
    assert {"name": "GROQ_API_KEY", "isSet": False} in told["variables"]
    assert os.listdir(folder) == ["config.yaml"]


def test_budgets_are_made_where_that_is_asked_for(folder):
    (folder / "config.yaml").write_text(SETTINGS)
    # Whoever imports has none of the providers' keys yet. A second run changes nothing.
    for _ in range(2):
        _, told = run(folder, "import", "litellm", "config.yaml", "--apply")
        assert "could not be taken over" in told and "to be set before the start" in told and "1 budget made" in told
        listed = json.loads(run(folder, "budget", "list", "--json")[0])["items"]
        assert [(budget["scope"]["kind"], budget["window"], budget["limitUsd"]) for budget in listed] == [("everything", "month", "25.5")]


def test_a_failure_to_make_budgets_is_told_below_the_report_and_a_second_run_goes_on(folder):
    (folder / "config.yaml").write_text(SETTINGS)
    (folder / "tollgate-data").write_text("no folder")
    _, told = run(folder, "import", "litellm", "config.yaml", "--apply", code=1)
    assert "could not be taken over" in told and "tollgate budget set everything month 25.5" in told
    assert "tollgate.toml is written; of 1 budget 0 made: run the same command again to go on" in told
    told = json.loads(run(folder, "import", "litellm", "config.yaml", "--apply", "--json", code=1)[0])
    assert [budget["made"] for budget in told["budgets"]] == [False] and told["leftOut"]
    (folder / "tollgate-data").unlink()
    _, told = run(folder, "import", "litellm", "config.yaml", "--apply")
    assert "1 budget made" in told


@pytest.mark.parametrize(
    "text, code, says",
    [
        ("services: {web: {image: x}}", 2, "no configuration of a LiteLLM proxy"),
        ("model_list: [", 2, "not YAML"),
        ("a: &a [x,x]\n" + "".join(f"b{i}: &b{i} [*a,*a]\n" for i in range(3)), 2, "no configuration"),
        ("{" * 5000, 2, "not YAML"),
        (None, 1, "can't be read"),
    ],
)
def test_what_is_something_else_is_refused(folder, text, code, says):
    if text is not None:
        (folder / "config.yaml").write_text(text)
    _, told = run(folder, "import", "litellm", "config.yaml", code=code)
    assert says in told
    assert not (folder / "tollgate.toml").exists()


COLUMNS = (
    "request_id,call_type,api_key,spend,total_tokens,prompt_tokens,completion_tokens,startTime,endTime,model,"
    "custom_llm_provider,team_id,metadata,key_alias,team_alias"
)


def spend_row(identity, spend, start, alias="ci", model="gpt-4o", team=""):
    cells = [identity, "acompletion", "hash", spend, "15", "10", "5", start, "", model, "openai", "", "", alias, team]
    return ",".join(cells)


def write_rows(folder, *rows):
    (folder / "spend.csv").write_text("\n".join([COLUMNS, *rows]) + "\n")


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def stamp(moment):
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "server", SANDBOX)
    yield server
    server.kill()


def admin(server, path, method="GET", body=None):
    return get_json(f"{server.url}{path}", ADMIN_TOKEN, method, body)


def command(server, *arguments, code=0):
    done = server.command(*arguments)
    assert done.returncode == code, f"{arguments}: {done.returncode} {done.stdout}{done.stderr}"
    return done.stderr if code else done.stdout


def call(server, key):
    body = json.dumps({"model": "sandbox-small", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{server.url}/v1/chat/completions", body, headers), timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_spend_of_the_past_counts_under_budgets_of_a_running_server(server):
    key = server.create_key("ci")
    server.start()
    scope = {"kind": "everything", "id": None}
    for window in ("day", "month", "total"):
        admin(server, "/api/budgets", "POST", {"scope": scope, "window": window, "limitUsd": "10", "action": "block"})
    assert call(server, key) == 200
    before = {budget["window"]: float(budget["spentUsd"]) for budget in admin(server, "/api/budgets")["items"]}
    moment = now()
    long_ago = moment - datetime.timedelta(days=70)
    write_rows(
        server.folder,
        spend_row("a", "1.5", stamp(moment - datetime.timedelta(seconds=1)), team="red"),
        spend_row("b", "4.25e-05", stamp(long_ago)),
        spend_row("b", "4.25e-05", stamp(long_ago)),
    )
    dry = json.loads(command(server, "import", "spend", "spend.csv", "--dry-run", "--json"))
    assert (dry["calls"], dry["costUsd"], dry["repeated"], dry["booked"]) == (2, "1.5000425", 1, None)
    assert {(row["key"], row["model"], row["calls"]) for row in dry["sums"]} == {("ci", "openai/gpt-4o", 1)}
    first = json.loads(command(server, "import", "spend", "spend.csv", "--json"))
    assert (first["booked"], first["known"]) == (2, 0)
    again = json.loads(command(server, "import", "spend", "spend.csv", "--json"))
    assert (again["booked"], again["known"]) == (0, 2)
    spent = {budget["window"]: float(budget["spentUsd"]) for budget in admin(server, "/api/budgets")["items"]}
    assert spent["day"] - before["day"] == pytest.approx(1.5)
    assert spent["total"] - before["total"] == pytest.approx(1.5000425)
    from_to = f"from={(long_ago - datetime.timedelta(days=1)).date()}&to={(moment + datetime.timedelta(days=2)).date()}"
    costs = admin(server, f"/api/costs?{from_to}&groupBy=tag:import")
    assert {group["key"]: group["costUsd"] for group in costs["groups"]}["litellm"] == "1.5000425"
    rows = admin(server, f"/api/requests?{from_to}&operation=import")["items"]
    assert {(row["key"], row["team"], row["costBasis"], row["status"]) for row in rows} == {
        ("ci", "red", "estimated", "settled"), ("ci", None, "estimated", "settled"),
    }  # fmt: skip
    # What is used up by the history refuses calls.
    write_rows(server.folder, spend_row("c", "9", stamp(now() - datetime.timedelta(seconds=1))))
    assert json.loads(command(server, "import", "spend", "spend.csv", "--json"))["booked"] == 1
    assert call(server, key) == 429
    command(server, "verify")
    report = command(server, "report", "monthly", f"{long_ago:%Y-%m}")
    assert "gpt-4o" in report


def test_it_works_on_the_folder_and_tells_unknown_keys(server):
    server.create_key("ci")
    yesterday = stamp(now() - datetime.timedelta(days=1))
    write_rows(server.folder, spend_row("a", "1", yesterday, alias="old ci"), spend_row("b", "2", yesterday, alias="gone"))
    told = command(server, "import", "spend", "spend.csv", code=2)
    assert "old ci (1 call)" in told and "gone (1 call)" in told and "--key-map" in told
    # A dry run ends as the real one would.
    told = command(server, "import", "spend", "spend.csv", "--dry-run", code=2)
    assert "old ci (1 call)" in told
    command(server, "import", "spend", "spend.csv", "--dry-run", "--unknown-keys", "keep")
    assert "no virtual key \"nobody\"" in command(server, "import", "spend", "spend.csv", "--key-map", "gone=nobody", code=2)
    done = command(server, "import", "spend", "spend.csv", "--key-map", "old ci=ci", "--unknown-keys", "keep")
    assert "2 booked, 0 booked before" in done
    exported = command(server, "export", "costs", "--from", str((now() - datetime.timedelta(days=3)).date()))
    rows = list(csv.DictReader(io.StringIO(exported)))
    assert {(row["key"], row["cost_usd"], row["cost_basis"]) for row in rows} == {("ci", "1", "estimated"), ("gone", "2", "estimated")}
    command(server, "verify")

    # Our own export goes into another data folder, once.
    other = Server(server.folder / "other", SANDBOX)
    (other.folder / "costs.csv").write_text(exported)
    for booked, known in ((2, 0), (0, 2)):
        taken = json.loads(command(other, "import", "spend", "costs.csv", "--unknown-keys", "keep", "--json"))
        assert (taken["source"], taken["booked"], taken["known"], taken["costUsd"]) == ("tollgate", booked, known, "3")


def test_adjustments_come_along_in_the_amounts_of_their_calls(server):
    server.create_key("ci")
    moment = now() - datetime.timedelta(days=1)
    write_rows(server.folder, *(spend_row(f"r{number}", "1", stamp(moment)) for number in range(3)))
    command(server, "import", "spend", "spend.csv")
    since = str((now() - datetime.timedelta(days=3)).date())
    ids = [row["id"] for row in csv.DictReader(io.StringIO(command(server, "export", "costs", "--from", since)))]
    command(server, "adjust", ids[0], "--cost", "0.25", "--reason", "an invoice")
    command(server, "adjust", ids[1], "--cost", "1.5", "--reason", "an invoice", "--above-held")
    command(server, "adjust", ids[1], "--cost", "1.75", "--reason", "another invoice", "--above-held")
    exported = command(server, "export", "costs", "--from", since)
    assert len(exported.splitlines()) == 1 + 3 + 3
    totals = json.loads(command(server, "export", "costs", "--from", since, "--group-by", "key", "--json").splitlines()[0])

    other = Server(server.folder / "other", SANDBOX)
    (other.folder / "costs.csv").write_text(exported)
    keep = ("import", "spend", "costs.csv", "--unknown-keys", "keep")
    for booked, known in ((3, 0), (0, 3)):
        taken = json.loads(command(other, *keep, "--json"))
        assert (taken["booked"], taken["known"], taken["differing"], taken["costUsd"]) == (booked, known, 0, "3")
    dry = json.loads(command(other, *keep, "--dry-run", "--json"))
    assert (dry["calls"], dry["adjustments"], dry["costUsd"]) == (3, 3, "3") and dry["costUsd"] == totals["costUsd"]
    rows = csv.DictReader(io.StringIO(command(other, "export", "costs", "--from", since)))
    assert {row["id"]: row["cost_usd"] for row in rows} == {ids[0]: "0.25", ids[1]: "1.75", ids[2]: "1"}
    command(other, "verify")
    # An older export has an amount that is another one by now, and is told so.
    (other.folder / "costs.csv").write_text("".join(line for line in exported.splitlines(True) if "adjusts" not in line))
    done = other.command(*keep)
    assert "0 booked, 3 booked before" in done.stdout and "2 rows were booked before with another amount or key" in done.stderr
    (other.folder / "costs.csv").write_text("".join(line for line in exported.splitlines(True) if ids[0] + '",' not in line[:60]))
    assert "which the file doesn't have" in command(other, *keep, code=1)


def test_one_bad_row_keeps_the_whole_file_out(server):
    server.create_key("ci")
    yesterday = stamp(now() - datetime.timedelta(days=1))
    good = [spend_row(f"g{number}", "0.001", yesterday) for number in range(1500)]
    write_rows(server.folder, *good, spend_row("x", "-1", yesterday), spend_row("y", "=1+1", yesterday), spend_row("z", "NaN", yesterday))
    told = command(server, "import", "spend", "spend.csv", code=1)
    assert "line 1502, spend: a negative amount" in told and "line 1503, spend" in told and "nothing was booked" in told
    write_rows(server.folder, *good)
    assert json.loads(command(server, "import", "spend", "spend.csv", "--json"))["booked"] == 1500
    assert "no-such-file.csv can't be read" in command(server, "import", "spend", "no-such-file.csv", code=1)
