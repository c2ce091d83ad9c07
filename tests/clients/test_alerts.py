"""Alerts of the real binary, at stand-ins for Slack, Discord and a webhook of one's own.

A token of the sandbox's model costs 0.001 USD here, so a call of 100 tokens costs 0.1.
"""

import datetime
import json
import time
import urllib.error
import urllib.request

import pytest

from conftest import ADMIN_TOKEN, get_json, wait_for
from load import Server
from receivers import Discord, Slack, Webhook

pytestmark = pytest.mark.gateway

SECONDS_MAX = 30
# Longer than a look at what calls have touched takes: what has not come by then does not come.
QUIET_SECONDS = 3
THRESHOLDS = [50, 80, 100]
SANDBOX = """
[[providers]]
name = "sandbox"
kind = "sandbox"

[prices."sandbox/sandbox-small"]
input = "0"
output = "1000"
"""


@pytest.fixture
def receivers():
    running = {"slack": Slack(), "discord": Discord(), "webhook": Webhook()}
    yield running
    for receiver in running.values():
        receiver.stop()


def settings(receivers, extra='private_hosts = ["127.0.0.1"]', more=SANDBOX):
    lines = ["[alerts]", extra]
    if "slack" in receivers:
        lines.append(f'slack_webhook_url = "{receivers["slack"].url}"')
    if "discord" in receivers:
        lines.append(f'discord_webhook_url = "{receivers["discord"].url}"')
    if "webhook" in receivers:
        lines.append(f'webhook_url = "{receivers["webhook"].url}"\nwebhook_secret = "{Webhook.secret}"')
    return "\n".join(lines) + "\n" + more


@pytest.fixture
def start(tmp_path):
    """Starts the binary; every one that still runs is stopped in the end."""
    running = []

    def start(text):
        server = Server(tmp_path / f"server-{len(running)}", text)
        running.append(server)
        return server.start()

    yield start
    for server in running:
        server.kill()


def admin(server, path, method="GET", body=None):
    return get_json(f"{server.url}{path}", ADMIN_TOKEN, method, body)


def set_budget(server, limit="1", action="alert", window="day", **more):
    scope = {"kind": "everything", "id": None}
    return admin(server, "/api/budgets", "POST", {"scope": scope, "window": window, "limitUsd": limit, "action": action, **more})


def call(server, key, tokens, model="sandbox/sandbox-small", headers=None):
    """One call; its status."""
    body = {"model": model, "messages": [{"role": "user", "content": f"{time.monotonic_ns()}"}], "max_tokens": tokens}
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}", **(headers or {})}
    headers.setdefault("x-tollgate-sandbox", f"tokens={tokens}")
    request = urllib.request.Request(f"{server.url}/v1/chat/completions", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            response.read()
            return response.status
    except urllib.error.HTTPError as error:
        error.read()
        return error.code


def key_of(server):
    return admin(server, "/api/keys", "POST", {"name": f"key-{time.monotonic_ns()}"})["key"]


def passed(messages):
    return [message["thresholdPercent"] for message in messages]


def wait_for_thresholds(webhook, expected):
    wait_for(lambda: passed(webhook.of_type("budget_threshold")) == expected, f"thresholds {expected}", SECONDS_MAX)


def settle(receiver):
    """As long as something may still come."""
    time.sleep(QUIET_SECONDS)
    return receiver.taken


def test_each_threshold_is_told_once_everywhere_also_after_a_restart(start, receivers):
    server = start(settings(receivers))
    key, budget = key_of(server), set_budget(server)
    for tokens, expected in [(490, []), (10, [50]), (290, [50]), (10, [50, 80]), (200, THRESHOLDS), (300, THRESHOLDS)]:
        assert call(server, key, tokens) == 200
        wait_for_thresholds(receivers["webhook"], expected)
    assert admin(server, f"/api/budgets/{budget['id']}")["spentUsd"] == "1.3"
    # An orderly end and a crash: neither forgets what was told.
    for end in (server.stop, server.kill):
        end()
        server.start()
        assert call(server, key, 50) == 200
        settle(receivers["webhook"])
        assert passed(receivers["webhook"].of_type("budget_threshold")) == THRESHOLDS
    for name in ("slack", "discord"):
        texts = [message.get("text") or message["content"] for message in receivers[name].taken]
        told = [text for text in texts if "budget of everything" in text and "At this pace" not in text]
        assert len(told) == 3 and "$0.50" in told[0].replace("\\", ""), (name, texts)
        assert receivers[name].refused == []
    first = receivers["webhook"].of_type("budget_threshold")[0]
    assert first["scope"] == {"kind": "everything", "id": None}
    assert (first["window"], first["spentUsd"], first["limitUsd"]) == ("day", "0.5", "1")
    assert set(first) == {
        "id", "type", "scope", "window", "thresholdPercent", "spentUsd", "limitUsd", "time", "text",
    }  # fmt: skip
    listed = admin(server, "/api/alerts")["items"]
    mine = [item for item in listed if item["type"] == "budget_threshold"]
    assert [item["thresholdPercent"] for item in mine] == THRESHOLDS[::-1]
    assert all(delivery["state"] == "delivered" for item in mine for delivery in item["deliveries"])
    assert {delivery["channel"] for delivery in mine[0]["deliveries"]} == {"slack", "discord", "webhook"}
    log = server.log.read_text()
    assert "canary" not in log and Webhook.secret not in log


def test_a_budget_that_blocks_is_used_up_when_it_refuses(start, receivers):
    server = start(settings(receivers))
    key = key_of(server)
    set_budget(server, action="block")
    # Of 256 tokens or fewer no call is clipped.
    for tokens in (250, 250, 250, 200):
        assert call(server, key, tokens) == 200
    wait_for_thresholds(receivers["webhook"], [50, 80])
    assert call(server, key, 300) == 429
    wait_for_thresholds(receivers["webhook"], THRESHOLDS)
    assert "Calls are refused" in receivers["webhook"].of_type("budget_threshold")[-1]["text"]


def test_a_receiver_that_is_down_gets_it_later_and_delays_nobody(start, receivers, own_port):
    receivers.pop("slack").stop()
    gone = Slack(own_port)
    gone.stop()
    server = start(settings({**receivers, "slack": gone}))
    key = key_of(server)
    set_budget(server, thresholds=[50])
    began = time.monotonic()
    assert call(server, key, 600) == 200
    assert time.monotonic() - began < 2
    wait_for_thresholds(receivers["webhook"], [50])
    delivery = lambda: {d["channel"]: d for d in admin(server, "/api/alerts")["items"][-1]["deliveries"]}["slack"]
    wait_for(lambda: delivery()["attempts"] >= 2, "a second attempt", SECONDS_MAX)
    assert delivery()["state"] == "waiting" and "no answer" in delivery()["error"]
    server.kill()
    back = Slack(own_port)
    try:
        server.start()
        wait_for(lambda: delivery()["state"] == "delivered", "the delivery", SECONDS_MAX)
        settle(back)
        assert len([message for message in back.taken if "has passed 50" in message["text"]]) == 1
    finally:
        back.stop()


def test_a_receiver_that_asks_for_a_pause_gets_it(start, receivers):
    server = start(settings({"discord": receivers["discord"]}))
    key = key_of(server)
    receivers["discord"].answer_next = [Discord.limited(1.5)]
    set_budget(server, thresholds=[50, 60], window="total")
    assert call(server, key, 700) == 200
    wait_for(lambda: len(receivers["discord"].taken) == 2, "both alerts", SECONDS_MAX)
    assert receivers["discord"].refused == []


def test_a_test_tells_what_came_of_it_at_each_receiver(start, receivers):
    server = start(settings(receivers))
    tested = admin(server, "/api/alerts/test", "POST", {})["items"]
    assert tested == [{"channel": name, "ok": True, "error": None} for name in ("slack", "discord", "webhook")]
    receivers["slack"].answer_next = [(404, {}, b"no_service")]
    tested = admin(server, "/api/alerts/test", "POST", {"channel": "slack"})["items"]
    assert tested == [{"channel": "slack", "ok": False, "error": "it answered 404: no_service"}]
    assert [len(receiver.taken) for receiver in receivers.values()] == [1, 1, 1]
    channels = {channel["channel"]: channel for channel in admin(server, "/api/alerts")["channels"]}
    assert channels["slack"]["error"] == "it answered 404: no_service" and channels["webhook"]["isSigned"]
    assert "canary" not in json.dumps(admin(server, "/api/alerts"))


def test_an_address_inside_is_refused_in_the_settings_and_at_the_connection(start, receivers, tmp_path):
    refused = Server(tmp_path / "refused", settings(receivers, extra="")).command("check-config")
    assert refused.returncode == 2 and "alerts.slack_webhook_url: this address lies in a private network" in refused.stderr
    assert "canary" not in refused.stderr + refused.stdout
    # A name may lead anywhere: it is looked at when it is connected to.
    text = settings(receivers, extra="").replace("127.0.0.1", "localhost")
    server = start(text)
    for item in admin(server, "/api/alerts/test", "POST", {})["items"]:
        assert not item["ok"] and "leads into a private network" in item["error"], item
    assert all(receiver.taken == [] and receiver.refused == [] for receiver in receivers.values())


def test_a_provider_that_fails_and_comes_back_is_told_once_each(start, receivers):
    server = start(settings({"webhook": receivers["webhook"]}))
    key, webhook = key_of(server), receivers["webhook"]
    for _ in range(6):
        assert call(server, key, 10, headers={"x-tollgate-sandbox": "error=503"}) >= 500
    wait_for(lambda: webhook.of_type("provider_down"), "the alert", SECONDS_MAX)
    assert webhook.of_type("provider_down")[0]["scope"] == {"kind": "provider", "id": "sandbox"}
    wait_for(lambda: call(server, key, 10) == 200, "the provider answering again", SECONDS_MAX)
    wait_for(lambda: webhook.of_type("provider_recovered"), "the alert", SECONDS_MAX)
    settle(webhook)
    assert [len(webhook.of_type(kind)) for kind in ("provider_down", "provider_recovered")] == [1, 1]


def test_traffic_without_a_price_is_told_once_a_day_with_names_that_stay_names(start, receivers):
    more = """
[[providers]]
name = "own"
kind = "openai-compatible"
base_url = "BASE"
"""
    own = start(settings({}))
    own_key = key_of(own)
    more = more.replace("BASE", f"{own.url}/v1") + f'api_key = "{own_key}"\n'
    server = start(settings(receivers, more=more))
    key = key_of(server)
    for _ in range(3):
        assert call(server, key, 10, model="own/sandbox-small") == 200
    wait_for(lambda: receivers["slack"].taken and receivers["discord"].taken, "the alert", SECONDS_MAX)
    settle(receivers["webhook"])
    assert [message["scope"] for message in receivers["webhook"].of_type("unpriced_traffic")] == [
        {"kind": "provider", "id": "own"}
    ]
    assert receivers["discord"].taken[0]["allowed_mentions"] == {"parse": []}


def clock(offset_minutes):
    """A time of the day in UTC, so many minutes from now."""
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=offset_minutes)
    return f"{moment:%H:%M}"


def test_a_daily_report_that_is_due_is_sent_once_also_over_restarts(start, receivers):
    wanted = f'private_hosts = ["127.0.0.1"]\ndaily_report = "{clock(-1)}"'
    server = start(settings(receivers, wanted))
    webhook = receivers["webhook"]
    yesterday = datetime.datetime.now(datetime.timezone.utc).date() - datetime.timedelta(days=1)
    if clock(-1) > clock(0):
        yesterday -= datetime.timedelta(days=1)
    wait_for(lambda: webhook.of_type("daily_report"), "the report", SECONDS_MAX)
    report = webhook.of_type("daily_report")[0]
    assert f"{yesterday.day} {yesterday:%b %Y}" in report["text"].splitlines()[0], report
    assert (report["scope"], report["window"], report["spentUsd"]) == ({"kind": "everything", "id": None}, "day", "0")
    for name in ("slack", "discord"):
        wait_for(lambda: receivers[name].taken, f"the report at {name}", SECONDS_MAX)
        assert receivers[name].refused == []
    for end in (server.stop, server.kill):
        end()
        server.start()
        settle(webhook)
        assert len(webhook.of_type("daily_report")) == 1
    logged = [item for item in admin(server, "/api/alerts")["items"] if item["type"] == "daily_report"]
    assert len(logged) == 1 and {delivery["state"] for delivery in logged[0]["deliveries"]} == {"delivered"}
    assert webhook.of_type("monthly_report") == []


def test_a_report_that_is_not_due_waits(start, receivers):
    # Not due today: the one that was due yesterday at that time is, and it is about the day before it.
    server = start(settings(receivers, f'private_hosts = ["127.0.0.1"]\ndaily_report = "{clock(30)}"'))
    webhook = receivers["webhook"]
    wait_for(lambda: webhook.of_type("daily_report"), "the report of the day before yesterday", SECONDS_MAX)
    before = datetime.datetime.now(datetime.timezone.utc).date() - datetime.timedelta(days=2)
    if clock(30) >= "00:30":
        assert f"{before.day} {before:%b %Y}" in webhook.of_type("daily_report")[0]["text"].splitlines()[0]
    settle(webhook)
    assert len(webhook.of_type("daily_report")) == 1
