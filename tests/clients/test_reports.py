"""Reports and exports of the real binary: by API, on the command line with and without a server, the same either way."""

import csv
import datetime
import io
import json
import pathlib
import subprocess
import urllib.request

import openai
import pytest

from books import all_rows, picodollars, settled_row, window
from conftest import ADMIN_TOKEN, Gateway

pytestmark = pytest.mark.gateway

COMMAND_SECONDS_MAX = 60


def today():
    return datetime.datetime.now(datetime.timezone.utc).date()


def command(gateway, *arguments, code=0):
    """Runs the binary on the gateway's folder; returns what it printed."""
    line = [gateway.binary, "--config", str(gateway.config), *arguments]
    done = subprocess.run(line, env=gateway.environment, cwd=gateway.folder, capture_output=True, timeout=COMMAND_SECONDS_MAX)
    assert done.returncode == code, f"{line}: {done.stderr.decode(errors='replace')}"
    return done.stdout.decode() if code == 0 else done.stderr.decode()


def asked(gateway, path, accept):
    request = urllib.request.Request(gateway.url + path, headers={"authorization": f"Bearer {ADMIN_TOKEN}", "accept": accept})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.headers, answer.read().decode()


def call(gateway, marker, text="usage:in=100,out=10 echo:once", model="openai/gpt-4o-mini"):
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0, timeout=60) as client:
        messages = [{"role": "user", "content": f"id:{marker} {text}"}]
        client.chat.completions.create(model=model, messages=messages, extra_headers={"x-request-id": marker})
    return settled_row(gateway, marker)


def csv_rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_a_report_comes_to_what_the_rows_come_to(gateway, marker):
    call(gateway, marker)
    day = today()
    headers, text = asked(gateway, f"/api/reports/daily?date={day}", "application/json")
    assert headers["content-type"] == "application/json"
    report = json.loads(text)
    rows = [row for row in all_rows(gateway) if row["time"].startswith(str(day)) and row["status"] != "pending"]
    total = sum(picodollars(row["cost_usd"]) for row in rows)
    assert (picodollars(report["spentUsd"]), report["requests"]) == (total, len(rows))
    for groups in ("providers", "models", "operations", "teams", "keys"):
        assert sum(picodollars(group["spentUsd"]) for group in report[groups]) == total, groups
    assert max(picodollars(row["cost_usd"]) for row in rows) == picodollars(report["dearest"][0]["costUsd"])
    assert report["isRunning"] is True and report["callsLookedAtAll"] is True

    headers, text = asked(gateway, f"/api/reports/monthly?month={day:%Y-%m}", "*/*")
    assert headers["content-type"] == "text/markdown; charset=utf-8"
    assert text.startswith(f"# Tollgate, {day:%B %Y}\n") and "## By model" in text and "gpt-4o-mini" in text


def test_the_command_line_prints_what_the_server_reports(gateway, marker):
    call(gateway, marker)
    text = command(gateway, "report", "daily", str(today()))
    assert text.startswith("# Tollgate, ") and "spent**" in text
    report = json.loads(command(gateway, "report", "monthly", f"{today():%Y-%m}", "--json"))
    assert report["kind"] == "monthly" and report["requests"] >= 1
    assert "has not begun yet" in command(gateway, "report", "daily", str(today() + datetime.timedelta(days=2)), code=2)
    assert "is no month" in command(gateway, "report", "monthly", "2026-13", code=2)


def test_exports_of_the_command_line_are_those_of_the_api(gateway, marker, tmp_path):
    call(gateway, marker)
    day = today()
    days = ["--from", str(day - datetime.timedelta(days=1)), "--to", str(day + datetime.timedelta(days=2))]
    assert command(gateway, "export", "costs", *days) == gateway.text(f"/api/costs.csv?{window()}")
    groups = command(gateway, "export", "costs", *days, "--group-by", "model", "--format", "jsonl")
    total = sum(picodollars(row["cost_usd"]) for row in all_rows(gateway))
    assert sum(picodollars(json.loads(line)["costUsd"]) for line in groups.splitlines()) == total

    calls = [json.loads(line) for line in command(gateway, "export", "requests", *days, "--format", "jsonl").splitlines()]
    ours = [entry for entry in calls if entry["clientRequestId"] == marker]
    assert len(ours) == 1 and ours[0]["attempts"][0]["rawUsage"]["prompt_tokens"] == 100

    focus = tmp_path / "focus.csv"
    command(gateway, "export", "costs", *days, "--format", "focus", "--out", str(focus))
    rows = csv_rows(focus.read_text(encoding="utf-8"))
    assert sum(picodollars(row["BilledCost"]) for row in rows) == total
    for row in rows:
        assert row["BillingCurrency"] == "USD" and row["ChargeCategory"] == "Usage"
        assert row["ChargePeriodStart"].endswith("T00:00:00Z") and row["ChargeClass"] == ""
        assert set(json.loads(row["Tags"])) >= {"key", "operation"}
    assert list(tmp_path.iterdir()) == [focus], "nothing half written stays behind"


def test_what_cannot_be_exported_is_told_and_leaves_no_file(gateway, tmp_path):
    out = tmp_path / "costs.csv"
    assert "groupBy has to be" in command(gateway, "export", "costs", "--group-by", "colour", "--out", str(out), code=2)
    assert "from has to" in command(gateway, "export", "requests", "--from", "yesterday", "--out", str(out), code=2)
    assert "--group-by" in command(gateway, "export", "costs", "--format", "focus", "--group-by", "team", code=2)
    assert "no-such-folder" in command(gateway, "export", "costs", "--out", str(tmp_path / "no-such-folder" / "x.csv"), code=1)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_would_be_a_formula_is_text_in_every_export(gateway, marker):
    made = gateway.admin("/api/keys", "POST", {"name": f"=cmd|' /C calc'!A{marker}", "team": "@SUM(1+1)"})
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=made["key"], max_retries=0, timeout=60) as client:
        messages = [{"role": "user", "content": f"id:{marker} usage:in=10,out=1 echo:x"}]
        client.chat.completions.create(model="openai/gpt-4o-mini", messages=messages, extra_headers={"x-request-id": marker})
    row = settled_row(gateway, marker)
    assert row["key"].startswith("'=cmd|") and row["team"] == "'@SUM(1+1)"
    rows = [row for row in csv_rows(gateway.text("/api/costs.focus.csv")) if row["ResourceId"] == made["id"]]
    assert rows and all(row["ResourceName"].startswith("'=") and row["SubAccountId"].startswith("'@") for row in rows)
    _, text = asked(gateway, f"/api/reports/daily?date={today()}", "text/markdown")
    assert "=cmd\\|' /C calc" in text, "a bar in a name doesn't end its cell"


def test_a_folder_without_a_server_reports_and_exports_the_same(folder, upstream, marker):
    path = pathlib.Path(folder) / f"alone-{marker}"
    path.mkdir()
    gateway = Gateway(path, upstream)
    try:
        call(gateway, marker)
        day = today()
        running = command(gateway, "export", "costs")
        lines = command(gateway, "export", "requests", "--format", "jsonl")
        focus = command(gateway, "export", "costs", "--format", "focus")
        report = json.loads(command(gateway, "report", "daily", str(day), "--json"))
    finally:
        gateway.stop()
    assert len(csv_rows(running)) == 1
    assert command(gateway, "export", "costs") == running
    assert command(gateway, "export", "requests", "--format", "jsonl") == lines
    assert command(gateway, "export", "costs", "--format", "focus") == focus
    alone = json.loads(command(gateway, "report", "daily", str(day), "--json"))
    for moving in ("writtenAt", "forecastUsd", "monthSoFar", "before"):
        report.pop(moving), alone.pop(moving)
    assert alone == report
    assert "has not begun yet" in command(gateway, "report", "monthly", "2099-01", code=2)
    assert "groupBy has to be" in command(gateway, "export", "costs", "--group-by", "colour", code=2)
