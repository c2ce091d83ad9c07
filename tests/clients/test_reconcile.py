"""What providers say they charged, against what the real binary booked: by admin key, by file, with and without a server.

A day has to be over before anybody is told of it, so calls are made by a server whose clock stands days back: a library of a
few lines, made by the machine's C compiler, stands before the system's clock.
"""

import datetime
import json
import shutil
import subprocess
import urllib.error
import urllib.request

import pytest

from books import picodollars
from conftest import ADMIN_TOKEN, get_json, wait_for
from load import Server
from receivers import Webhook
from reports import AnthropicReports, OpenAiReports, busy

pytestmark = pytest.mark.gateway

SECONDS_MAX = 30
DAYS_BACK = 3
CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int done = real(id, at);
    char *back = getenv("TEST_SECONDS_BACK");
    if (!done && id == CLOCK_REALTIME && back) at->tv_sec -= atoll(back);
    return done;
}
"""


def today():
    return datetime.datetime.now(datetime.timezone.utc).date()


@pytest.fixture(scope="module")
def clock(tmp_path_factory):
    """The library that sets a clock back."""
    if not shutil.which("cc"):
        pytest.skip("no C compiler: install gcc")
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "clock.so", folder / "clock.c", "-ldl"], check=True)
    return str(folder / "clock.so")


@pytest.fixture
def openai():
    running = OpenAiReports()
    yield running
    running.stop()


@pytest.fixture
def anthropic():
    running = AnthropicReports()
    yield running
    running.stop()


@pytest.fixture
def webhook():
    running = Webhook()
    yield running
    running.stop()


@pytest.fixture
def make(tmp_path):
    """A data folder with these settings; every server that still runs on one is killed in the end."""
    made = []

    def make(text, environment=None):
        keys = {"ADMIN_KEY": OpenAiReports.key, "ANTHROPIC_ADMIN": AnthropicReports.key, **(environment or {})}
        made.append(Server(tmp_path / f"server-{len(made)}", text, keys))
        return made[-1]

    yield make
    for server in made:
        server.kill()


def settings(openai=None, anthropic=None, webhook=None, more="", calls=None):
    parts = []
    if webhook:
        parts.append(f'[alerts]\nprivate_hosts = ["127.0.0.1"]\nwebhook_url = "{webhook.url}"\nwebhook_secret = "{Webhook.secret}"\n')
    if openai:
        admin = f'admin_api_key = "env:ADMIN_KEY"\n{more}\n'
        parts.append(f'[[providers]]\nname = "openai"\nkind = "openai"\napi_key = "env:UPSTREAM_KEY"\nbase_url = "{openai.url}/v1"\n{admin}')
    if anthropic:
        admin = 'admin_api_key = "env:ANTHROPIC_ADMIN"\n'
        parts.append(f'[[providers]]\nname = "anthropic"\nkind = "anthropic"\napi_key = "env:UPSTREAM_KEY"\nbase_url = "{anthropic.url}"\n{admin}')
    if calls:
        # Where calls go: the same name, so that what is booked is held against the reports of that name.
        parts.append(f'[[providers]]\nname = "openai"\nkind = "openai"\napi_key = "env:UPSTREAM_KEY"\nbase_url = "{calls.url}/v1"\n')
    return "\n".join(parts)


def reconcile(server, *arguments, code=0):
    done = server.command("reconcile", *arguments)
    assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
    return done


def compared(server, *arguments, code=0):
    return json.loads(reconcile(server, *arguments, "--json", code=code).stdout)


def line(answer, day, provider="openai"):
    (found,) = [line for line in answer["days"] if line["day"] == str(day) and line["provider"] == provider]
    return found


def admin(server, path, method="GET", body=None):
    return get_json(f"{server.url}{path}", ADMIN_TOKEN, method, body)


def call(server, key, model="openai/gpt-4o-mini"):
    """Twenty thousand tokens in and ten thousand out at gpt-4o-mini: 0.009 USD."""
    body = {"model": model, "messages": [{"role": "user", "content": "usage:in=20000,out=10000 echo:hi"}]}
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}", "x-tollgate-cache": "bypass"}
    request = urllib.request.Request(f"{server.url}/v1/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()


@pytest.fixture
def booked(make, clock, upstream, openai, webhook):
    """A folder in which a hundred dollars' hundredth was booked three days ago: two calls of 0.009 USD; not running."""
    back = {"LD_PRELOAD": clock, "TEST_SECONDS_BACK": str(DAYS_BACK * 86400)}
    server = make(settings(webhook=webhook, calls=upstream), back)
    key = server.create_key("ci")
    server.start()
    for _ in range(2):
        call(server, key)
    server.stop()
    # From now on in the present, and with the reports.
    for name in back:
        del server.environment[name]
    head = server.config.read_text().split("[alerts]")[0].split("[[providers]]")[0]
    server.config.write_text(head + settings(openai, webhook=webhook))
    server.day = today() - datetime.timedelta(days=DAYS_BACK)
    return server


def test_a_day_that_agrees_is_no_alarm_and_names_what_was_compared(booked, openai):
    openai.charge(booked.day, "gpt-4o-mini-2024-07-18, input", "0.006")
    openai.charge(booked.day, "gpt-4o-mini-2024-07-18, output", "0.012000000000000002")
    openai.use(booked.day, "gpt-4o-mini-2024-07-18", 2, 40_000, 20_000)
    answer = compared(booked)
    assert answer["fetches"] == [{"provider": "openai", "error": None}] and openai.refused == []
    day = line(answer, booked.day)
    assert (day["ourUsd"], day["theirUsd"], day["basis"], day["driftPercent"]) == ("0.018", "0.018", "money", 0.0)
    assert (day["state"], day["isDrifting"], day["ourRequests"], day["theirRequests"]) == ("complete", False, 2, 2)
    assert day["ourTokens"] == day["theirTokens"] == {"input": 40_000, "cached": 0, "output": 20_000}
    (model,) = day["models"]
    assert (model["model"], model["theirModels"]) == ("gpt-4o-mini", ["gpt-4o-mini-2024-07-18"])
    table = reconcile(booked, "--no-fetch").stdout
    assert str(booked.day) in table and "gpt-4o-mini" in table and "drifts" not in table


def test_a_drift_of_five_percent_is_told_once(booked, openai, webhook):
    openai.charge(booked.day, "gpt-4o-mini-2024-07-18, input", "0.0171")
    drifting = compared(booked, code=1)
    assert drifting["driftingDays"] == 1 and round(line(drifting, booked.day)["driftPercent"], 1) == 5.3
    assert "drifts" in reconcile(booked, "--no-fetch", code=1).stdout
    booked.start()
    for _ in range(2):
        # Through the server now; fetched again, the same is not told again.
        assert compared(booked, code=1)["driftingDays"] == 1
    wait_for(lambda: webhook.of_type("cost_drift"), "the alert", SECONDS_MAX)
    booked.stop()
    booked.start()
    assert compared(booked, code=1)["driftingDays"] == 1
    (told,) = webhook.of_type("cost_drift")
    assert told["scope"] == {"kind": "provider", "id": "openai"} and told["window"] == "day"
    assert "gpt-4o-mini +5.3" in told["text"] and str(booked.day) in told["text"]
    assert [item["type"] for item in admin(booked, "/api/alerts")["items"]] == ["cost_drift"]
    # Corrected by the provider: a later fetch takes the place of the earlier.
    openai.rows.clear()
    openai.charge(booked.day, "gpt-4o-mini-2024-07-18, input", "0.018")
    assert compared(booked)["driftingDays"] == 0
    log = booked.log.read_text()
    assert "canary" not in log, "no key in the log"


def test_pages_are_followed_to_their_end_within_the_providers_limits(make, openai, anthropic):
    first = today() - datetime.timedelta(days=80)
    for offset in range(80):
        openai.charge(first + datetime.timedelta(days=offset), "gpt-4o, input", "0.5")
        anthropic.charge(first + datetime.timedelta(days=offset), "claude-haiku-4-5-20251001", "0.25")
    openai.page_days_max = anthropic.page_days_max = 13
    server = make(settings(openai, anthropic))
    server.create_key("ci")
    server.start()
    answer = compared(server, "--from", str(first), "--to", str(today()), code=1)
    assert openai.refused == [] and anthropic.refused == []
    for provider, amount in [("openai", "0.5"), ("anthropic", "0.25")]:
        told = [line["theirUsd"] for line in answer["days"] if line["provider"] == provider]
        assert told == [amount] * 80, provider
    assert len([path for path, _ in openai.asked if path.endswith("/costs")]) == 7


def test_a_provider_that_is_busy_is_asked_again_when_it_says(make, openai):
    day = today() - datetime.timedelta(days=2)
    openai.charge(day, "gpt-4o, input", "0.5")
    openai.answer_next = [busy(1), (503, {}, b"{}")]
    server = make(settings(openai))
    server.create_key("ci")
    server.start()
    answer = compared(server, code=1)
    assert answer["fetches"] == [{"provider": "openai", "error": None}]
    assert line(answer, day)["theirUsd"] == "0.5"


@pytest.mark.parametrize(
    ("key", "words"),
    [("sk-admin-canary-unknown", ["(401)", "sk-admin-"]), ("sk-proj-canary-of-calls", ["(403)", "keys for calls don't work there"])],
)
def test_a_wrong_key_is_told_with_the_way_out_and_nowhere_repeated(make, openai, key, words):
    server = make(settings(openai), {"ADMIN_KEY": key})
    server.create_key("ci")
    server.start()
    failed = reconcile(server, code=1)
    assert all(word in failed.stderr for word in words), failed.stderr
    later = json.dumps(admin(server, "/api/reconciliation"))
    server.stop()
    # On the folder it is the same.
    alone = reconcile(server, code=1)
    assert all(word in alone.stderr for word in words), alone.stderr
    for text in (failed.stdout, failed.stderr, alone.stdout, alone.stderr, later, server.log.read_text()):
        assert "canary" not in text
    assert len(openai.asked) == 2, "a key that is refused is not tried again"


def test_half_a_report_is_not_kept(make, openai):
    day = today() - datetime.timedelta(days=2)
    openai.charge(day, "gpt-4o, input", "0.5")
    server = make(settings(openai))
    server.create_key("ci")
    server.start()
    compared(server, code=1)
    openai.rows.clear()
    openai.charge(day, "gpt-4o, input", "0.7")
    openai.use(day, "gpt-4o", 1, -5, 1)
    failed = compared(server, code=1)
    assert "no report that is understood" in failed["fetches"][0]["error"]
    assert line(failed, day)["theirUsd"] == "0.5", "what was known before stands"


def test_only_the_projects_that_are_meant_are_compared(make, openai):
    day = today() - datetime.timedelta(days=2)
    openai.charge(day, "gpt-4o, input", "0.5", "proj_ours")
    openai.charge(day, "gpt-4o, input", "9", "proj_of_others")
    server = make(settings(openai, more='admin_projects = ["proj_ours"]'))
    server.create_key("ci")
    server.start()
    assert line(compared(server, code=1), day)["theirUsd"] == "0.5"
    assert openai.refused == []


def test_a_file_of_the_console_is_taken_whole_or_not_at_all(booked, openai, tmp_path):
    start = int(datetime.datetime.combine(booked.day, datetime.time(), datetime.timezone.utc).timestamp())
    head = "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id\n"
    row = f'{start},{start + 86400},{booked.day}T00:00:00+00:00,,%s,usd,"gpt-4o-mini-2024-07-18, input",\n'
    good, bad, other = tmp_path / "good.csv", tmp_path / "bad.csv", tmp_path / "other.csv"
    good.write_text("\ufeff" + head + row % "0.018000000000000000000", encoding="utf-8")
    bad.write_text(head + row % "0.5" + row % "a lot", encoding="utf-8")
    other.write_text("name,price\na,1\n", encoding="utf-8")
    taken = compared(booked, "--csv", str(good))
    assert taken["import"] == {"provider": "openai", "what": "costs of OpenAI", "rows": 1, "from": str(booked.day), "to": str(booked.day + datetime.timedelta(days=1))}
    assert line(taken, booked.day)["driftPercent"] == 0.0 and line(taken, booked.day)["source"] == "file"
    refused = reconcile(booked, "--csv", str(bad), code=1).stderr
    assert "line 3" in refused and 'amount_value is "a lot"' in refused and "nothing was imported" in refused
    refused = reconcile(booked, "--csv", str(other), code=1).stderr
    assert "the file's columns are name, price" in refused and "start_time, amount_value, amount_currency" in refused
    assert line(compared(booked, "--no-fetch"), booked.day)["theirUsd"] == "0.018", "the refused ones changed nothing"
    assert openai.asked == [], "a file asks nobody"
    booked.start()
    with pytest.raises(AssertionError, match="422.*name, price"):
        reconciled = urllib.request.Request(f"{booked.url}/api/reconciliation", other.read_bytes(), {"content-type": "text/csv", "authorization": f"Bearer {ADMIN_TOKEN}"})
        try:
            urllib.request.urlopen(reconciled, timeout=30)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{error.code} {error.read().decode()}") from error
    assert line(compared(booked, "--csv", str(good)), booked.day)["theirUsd"] == "0.018"


def test_a_day_that_is_not_over_is_provisional_and_no_alarm(make, openai, upstream):
    openai.charge(today(), "gpt-4o, input", "5")
    server = make(settings(openai))
    server.create_key("ci")
    server.start()
    answer = compared(server, "--from", str(today()))
    day = line(answer, answer["from"])
    assert (day["state"], day["isDrifting"]) == ("provisional", False)
    assert admin(server, "/api/alerts")["items"] == []


def test_usage_alone_is_held_against_our_prices(booked, openai, tmp_path):
    start = int(datetime.datetime.combine(booked.day, datetime.time(), datetime.timezone.utc).timestamp())
    usage = tmp_path / "usage.csv"
    usage.write_text(
        "start_time,end_time,num_model_requests,model,batch,service_tier,input_tokens,output_tokens,input_cached_tokens\n"
        f"{start},{start + 86400},2,gpt-4o-mini-2024-07-18,False,default,40000,20000,0\n",
        encoding="utf-8",
    )
    day = line(compared(booked, "--csv", str(usage)), booked.day)
    assert (day["basis"], day["theirUsd"], day["isOver"]) == ("usage", "0.018", False)
    assert picodollars(day["ourUsd"]) == picodollars("0.018")
    assert "~0.018" in reconcile(booked, "--no-fetch").stdout


def test_without_an_admin_key_the_command_teaches(make, tmp_path):
    server = make('[[providers]]\nname = "openai"\nkind = "openai"\napi_key = "env:UPSTREAM_KEY"\n')
    server.create_key("ci")
    server.start()
    told = reconcile(server, code=1).stderr
    assert "admin_api_key" in told and "--csv FILE" in told
    helped = server.command("reconcile", "--help").stdout
    assert "Exit codes: 0 every complete day agrees within 2%, 1" in " ".join(helped.split())
