"""Members and viewers over the running binary: what they reach by their session, and that two teams never meet."""

import http.cookiejar
import json
import re
import threading
import urllib.error
import urllib.parse
import urllib.request

import openai
import pytest

pytestmark = pytest.mark.gateway

PASSWORD = "correct horse battery"
MODEL = "openai/gpt-4o-mini"


class Person:
    """A browser of somebody, without the pages' script."""

    def __init__(self, gateway):
        self.url = gateway.url
        self.cookies = http.cookiejar.CookieJar()
        proxies = urllib.request.ProxyHandler({})
        self.opener = urllib.request.build_opener(proxies, urllib.request.HTTPCookieProcessor(self.cookies))
        self.token = ""

    def send(self, path, method="GET", body=None, form=None):
        """Status and text of an answer, redirects followed."""
        headers = {"x-csrf-token": self.token} if method != "GET" else {}
        data = None
        if body is not None:
            data, headers["content-type"] = json.dumps(body).encode(), "application/json"
        if form is not None:
            data = urllib.parse.urlencode(form).encode()
        request = urllib.request.Request(f"{self.url}{path}", data=data, headers=headers, method=method)
        try:
            with self.opener.open(request, timeout=30) as answer:
                return answer.status, answer.read().decode(), answer.geturl()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), error.geturl()

    def form(self, page, path, **fields):
        """Fills the form of a page in."""
        _, text, _ = self.send(page)
        token = re.search(r'name="csrf_token" value="([^"]+)"', text).group(1)
        return self.send(path, "POST", form={"csrf_token": token, **fields})

    def log_in(self, name):
        status, text, _ = self.form("/login", "/login", username=name, password=PASSWORD, next="/")
        assert status == 200, text
        self.token = re.search(r'"x-csrf-token":"([^"]+)"', text.replace("&#34;", '"').replace("&quot;", '"')).group(1)
        return self

    def json(self, path):
        status, text, _ = self.send(path)
        assert status == 200, f"{path}: {status} {text}"
        return json.loads(text)


def ask(gateway, key, text="hello"):
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0, timeout=60) as client:
        messages = [{"role": "user", "content": text}]
        return client.chat.completions.with_raw_response.create(model=MODEL, messages=messages).headers["x-tollgate-request-id"]


@pytest.fixture
def teams(gateway, marker):
    """Two teams with a key, a budget and a call each, and a member of the first."""
    made = {}
    for side in ("own", "canary"):
        team = f"{side}-{marker}"
        key = gateway.admin("/api/keys", "POST", {"name": f"{side}-key-{marker}", "team": team})
        budget = {"scope": {"kind": "team", "id": team}, "window": "day", "limitUsd": "5", "action": "block"}
        budget = gateway.admin("/api/budgets", "POST", budget)
        made[side] = {"team": team, "key": key, "budget": budget["id"], "call": ask(gateway, key["key"])}
    ask(gateway, made["canary"]["key"]["key"], "a second one")
    return made


def invited(gateway, name, role, team=None):
    """Somebody who came in by an invitation and has logged in."""
    made = gateway.admin("/api/users", "POST", {"name": name, "role": role, "team": team})
    person = Person(gateway)
    path = made["invite"]["path"]
    status, text, url = person.form(path, "/reset", token=made["invite"]["token"], password=PASSWORD)
    assert status == 200 and url.endswith("/login?say=password"), text
    assert person.send(path)[0] == 403, "the link works once"
    return person.log_in(name)


def test_a_member_sees_their_team_and_nothing_of_another(gateway, teams, marker):
    person = invited(gateway, f"mia-{marker}", "member", teams["own"]["team"])
    own, other = teams["own"], teams["canary"]
    assert [item["id"] for item in person.json("/api/requests")["items"]] == [own["call"]]
    assert [item["id"] for item in person.json("/api/keys")["items"]] == [own["key"]["id"]]
    assert [item["id"] for item in person.json("/api/teams")["items"]] == [own["team"]]
    assert [item["id"] for item in person.json("/api/budgets")["items"]] == [own["budget"]]
    costs = person.json("/api/costs?groupBy=key")
    assert costs["requests"] == 1 and len(costs["groups"]) == 1
    pages = ["/", f"/teams/{own['team']}", "/requests?range=30d", "/costs?by=team", "/costs?by=key", f"/keys/{own['key']['id']}"]
    paths = ["/api/costs.csv", "/api/costs.jsonl", "/api/requests.jsonl", "/api/costs.csv?groupBy=team"]
    for path in pages + paths:
        status, text, _ = person.send(path)
        assert status == 200, path
        for telling in ("canary-", other["key"]["id"], other["call"]):
            assert telling not in text, f"{path} tells {telling}"
    for path in (
        f"/api/requests/{other['call']}",
        f"/api/keys/{other['key']['id']}",
        f"/api/teams/{other['team']}",
        f"/api/budgets/{other['budget']}",
        f"/requests/{other['call']}",
        f"/keys/{other['key']['id']}",
        f"/teams/{other['team']}",
    ):
        assert person.send(path)[0] == 404, path
    for path in ("/api/users", "/api/status", "/api/metrics", "/api/reports/daily", "/api/cache", "/api/admin/tokens",
                 "/metrics", "/budgets", "/people", "/reports", "/cache", "/alerts"):
        assert person.send(path)[0] == 403, path


def test_a_member_makes_and_revokes_keys_of_their_team_alone(gateway, teams, marker):
    person = invited(gateway, f"mo-{marker}", "member", teams["own"]["team"])
    status, text, _ = person.send("/api/keys", "POST", {"name": f"canary-key-{marker}"})
    made = json.loads(text)
    assert (status, made["team"]) == (201, teams["own"]["team"]), "another team's name is no obstacle, and not told"
    ask(gateway, made["key"])
    other = teams["canary"]
    refused = person.send("/api/keys", "POST", {"name": "x", "team": other["team"]})
    assert refused[0] == 403 and refused[1] == person.send("/api/keys", "POST", {"name": "x", "team": "nowhere"})[1]
    assert person.send(f"/api/keys/{other['key']['id']}", "DELETE")[0] == 404
    assert person.send(f"/api/keys/{other['key']['id']}/rotate", "POST", {})[0] == 404
    assert person.send(f"/api/budgets/{teams['own']['budget']}", "DELETE")[0] == 403
    assert person.send(f"/api/keys/{made['id']}", "PATCH", {"limits": {"requestsPerMinute": 5}})[0] == 403
    assert person.send(f"/api/keys/{made['id']}", "DELETE")[0] == 204
    with pytest.raises(openai.AuthenticationError):
        ask(gateway, made["key"])
    ask(gateway, other["key"]["key"])


def test_a_viewer_reads_all_or_one_team_and_changes_nothing(gateway, teams, marker):
    everything = invited(gateway, f"eve-{marker}", "viewer")
    one = invited(gateway, f"vic-{marker}", "viewer", teams["own"]["team"])
    listed = {item["id"] for item in everything.json("/api/keys")["items"]}
    assert {teams["own"]["key"]["id"], teams["canary"]["key"]["id"]} <= listed
    assert everything.send("/api/status")[0] == 200 and everything.send("/reports")[0] == 200
    assert {item["id"] for item in one.json("/api/keys")["items"]} == {teams["own"]["key"]["id"]}
    # Whoever sees everything reads all that isn't told apart by teams; whoever is of a team reads none of it.
    for path in (
        "/api/reconciliation", "/costs/reconciliation", "/api/routes", "/api/routes/nothing/explain",
        "/api/routes/nothing/prompt-cache", "/metrics",
    ):  # fmt: skip
        assert everything.send(path)[0] in (200, 404), path
        assert one.send(path)[0] == 403, path
    for person in (everything, one):
        for method, path, body in (
            ("GET", "/api/verify", None),
            ("POST", "/api/reconciliation", {}),
            ("POST", "/api/re-rate", {"from": "2026-01-01"}),
            ("GET", "/budgets/new", None),
            ("POST", "/api/keys", {"name": "x"}),
            ("DELETE", f"/api/keys/{teams['own']['key']['id']}", None),
            ("POST", "/api/teams", {"name": "x"}),
            ("GET", "/api/users", None),
            ("GET", "/api/admin/tokens", None),
        ):
            assert person.send(path, method, body)[0] == 403, f"{method} {path}"


def test_the_live_stream_tells_a_member_of_their_teams_calls_only(gateway, teams, marker):
    person = invited(gateway, f"liv-{marker}", "member", teams["own"]["team"])
    request = urllib.request.Request(f"{gateway.url}/events?topics=request,kpi")
    with person.opener.open(request, timeout=30) as stream:
        assert stream.readline().startswith(b"retry"), "it has begun"
        others = [ask(gateway, teams["canary"]["key"]["key"], f"other {number}") for number in range(3)]
        own = ask(gateway, teams["own"]["key"]["key"], "own")
        text = ""
        while own not in text:
            text += stream.readline().decode()
        assert not any(call in text for call in others) and "canary-" not in text
        assert "event: kpi" not in text, "tiles are of everybody's calls"


def test_another_role_or_state_is_in_force_at_once(gateway, teams, marker):
    name = f"max-{marker}"
    person = invited(gateway, name, "member", teams["own"]["team"])
    assert person.send("/api/keys")[0] == 200
    gateway.admin(f"/api/users/{name}", "PATCH", {"team": teams["canary"]["team"]})
    assert person.send("/api/keys")[0] == 401, "the session of before is over"
    person.log_in(name)
    assert [item["id"] for item in person.json("/api/keys")["items"]] == [teams["canary"]["key"]["id"]]
    gateway.admin(f"/api/users/{name}", "PATCH", {"disabled": True})
    assert person.send("/api/keys")[0] == 401
    status, _, _ = person.form("/login", "/login", username=name, password=PASSWORD, next="/")
    assert status == 401
    gateway.admin(f"/api/users/{name}", "DELETE")
    assert name not in json.dumps(gateway.admin("/api/users"))
