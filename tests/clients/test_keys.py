"""Virtual keys and teams over the running binary: changed live, rotated with an overlap, let in to some endpoints, revoked."""

import json
import subprocess
import threading
import time
import urllib.error
import urllib.request

import anthropic
import openai
import pytest

pytestmark = pytest.mark.gateway

MODEL = "openai/gpt-4o-mini"
REVOKED_WITHIN_SECONDS = 1


def ask(gateway, key, model=MODEL, text="hello"):
    """One chat completion, without the SDK's own retries."""
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0, timeout=60) as client:
        return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])


def send(gateway, path, method="GET", body=None, headers=None):
    """A request as an admin; status, headers and JSON, refused or not."""
    headers = {"authorization": f"Bearer {gateway.environment['TOLLGATE_ADMIN_TOKEN']}", **(headers or {})}
    data = None if body is None else json.dumps(body).encode()
    if data is not None:
        headers["content-type"] = "application/json"
    request = urllib.request.Request(f"{gateway.url}{path}", data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
            return answer.status, dict(answer.headers), json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), json.loads(error.read())


def run(gateway, *arguments):
    """A command against the running server."""
    command = [gateway.binary, *arguments, "--config", str(gateway.config)]
    return subprocess.run(command, cwd=gateway.folder, env=gateway.environment, capture_output=True, timeout=60)


def test_a_rotated_key_works_with_both_secrets_until_the_overlap_ends(gateway, marker):
    made = gateway.admin("/api/keys", "POST", {"name": f"rotated-{marker}"})
    path = f"/api/keys/{made['id']}"
    status, _, renewed = send(gateway, f"{path}/rotate", "POST", {"overlap": "2s"})
    assert status == 200 and renewed["id"] == made["id"] and renewed["key"] != made["key"]
    began = time.monotonic()
    ask(gateway, made["key"])
    ask(gateway, renewed["key"])
    shown = gateway.admin(path)
    assert "key" not in shown and shown["previousSecrets"][0]["last4"] == made["last4"]
    while time.monotonic() - began < 10:
        try:
            ask(gateway, made["key"])
        except openai.AuthenticationError:
            break
        time.sleep(0.1)
    assert 1 < time.monotonic() - began < 5, "it ends when it was said to end"
    ask(gateway, renewed["key"])
    # Without an overlap the old secret is out at once.
    status, _, last = send(gateway, f"{path}/rotate", "POST", {})
    assert status == 200
    with pytest.raises(openai.AuthenticationError):
        ask(gateway, renewed["key"])
    ask(gateway, last["key"])


def test_a_revoked_key_is_out_within_a_second_and_what_runs_ends_and_is_booked(gateway, upstream, marker):
    made = gateway.admin("/api/keys", "POST", {"name": f"revoked-{marker}"})
    ask(gateway, made["key"], text="authenticated once, so anything that is cached of it is")
    pieces = []
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=made["key"], max_retries=0, timeout=60) as client:
        messages = [{"role": "user", "content": f"a long answer id:{marker}"}]
        stream = client.chat.completions.with_raw_response.create(model=MODEL, messages=messages, stream=True)
        request_id = stream.headers["x-tollgate-request-id"]
        assert send(gateway, f"/api/keys/{made['id']}", "DELETE")[0] == 204
        began = time.monotonic()
        with pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(model=MODEL, messages=messages)
        assert time.monotonic() - began < REVOKED_WITHIN_SECONDS
        for piece in stream.parse():
            pieces.append(piece)
    assert pieces and pieces[-1].choices[0].finish_reason or any(piece.choices and piece.choices[0].finish_reason for piece in pieces)
    entry = gateway.admin(f"/api/requests/{request_id}")
    assert entry["status"] == "settled" and entry["keyId"] == made["id"]
    assert gateway.admin(f"/api/keys/{made['id']}")["status"] == "revoked"


def test_limits_models_and_endpoints_change_for_the_next_call(gateway, marker):
    made = gateway.admin("/api/keys", "POST", {"name": f"changed-{marker}"})
    path = f"/api/keys/{made['id']}"

    def change(**fields):
        status, _, changed = send(gateway, path, "PATCH", fields)
        assert status == 200, changed
        return changed

    ask(gateway, made["key"])
    change(allowedModels=["anthropic/*", "resilient"])
    with pytest.raises(openai.PermissionDeniedError) as refused:
        ask(gateway, made["key"])
    assert refused.value.code == "model_not_allowed"
    ask(gateway, made["key"], model="resilient")
    change(allowedModels=None, allowedEndpoints=["embeddings", "models"])
    with pytest.raises(openai.PermissionDeniedError) as refused:
        ask(gateway, made["key"])
    assert refused.value.code == "endpoint_not_allowed" and "embeddings, models" in str(refused.value)
    with anthropic.Anthropic(base_url=gateway.url, api_key=made["key"], max_retries=0) as client:
        with pytest.raises(anthropic.PermissionDeniedError) as refused:
            client.messages.create(model="anthropic/claude-haiku-4-5", max_tokens=5, messages=[{"role": "user", "content": "x"}])
        assert refused.value.body["error"]["type"] == "permission_error"
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=made["key"], max_retries=0) as client:
        assert client.models.list().data
    change(allowedEndpoints=["chat"], limits={"requestsPerMinute": 1})
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=made["key"], max_retries=0) as client:
        with pytest.raises(openai.PermissionDeniedError):
            client.models.list()
    ask(gateway, made["key"])
    with pytest.raises(openai.RateLimitError):
        ask(gateway, made["key"])
    changed = change(limits={"requestsPerMinute": None}, owner="Ada", tags={"env": "prod"})
    assert changed["limits"]["requestsPerMinute"] is None and changed["allowedEndpoints"] == ["chat"]
    answer = ask(gateway, made["key"])
    assert answer.choices


def test_a_list_that_lets_nothing_pass_is_refused(gateway, marker):
    made = gateway.admin("/api/keys", "POST", {"name": f"lists-{marker}"})
    for field in ("allowedModels", "allowedEndpoints"):
        for status, _, problem in (
            send(gateway, "/api/keys", "POST", {"name": f"none-{marker}", field: []}),
            send(gateway, f"/api/keys/{made['id']}", "PATCH", {field: []}),
        ):
            assert (status, problem["code"], problem["field"]) == (400, "invalid_field", field), problem
            assert "null, for all" in problem["detail"]
        assert send(gateway, f"/api/keys/{made['id']}", "PATCH", {field: None})[0] == 200
    ask(gateway, made["key"])


def test_the_holder_of_an_expired_key_is_told_when_that_was(gateway, marker):
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    made = gateway.admin("/api/keys", "POST", {"name": f"expires-{marker}", "expiresAt": soon})
    while True:
        try:
            ask(gateway, made["key"])
        except openai.AuthenticationError as error:
            assert f"expired on {soon}" in str(error), error
            break
    # Who has only something like it learns nothing.
    with pytest.raises(openai.AuthenticationError, match="is not valid: check that it was copied whole"):
        ask(gateway, made["key"][:-1] + ("A" if made["key"][-1] != "A" else "B"))


def test_of_two_admins_the_second_is_told(gateway, marker):
    made = gateway.admin("/api/keys", "POST", {"name": f"seen-{marker}"})
    path = f"/api/keys/{made['id']}"
    _, headers, _ = send(gateway, path)
    tag = {"If-Match": headers["etag"]}
    status, headers, _ = send(gateway, path, "PATCH", {"owner": "first"}, tag)
    assert status == 200 and headers["etag"] != tag["If-Match"]
    status, _, problem = send(gateway, path, "PATCH", {"owner": "second"}, tag)
    assert (status, problem["code"]) == (412, "changed_meanwhile")
    assert gateway.admin(path)["owner"] == "first"
    # Of many at once, one is first.
    seen = {"If-Match": headers["etag"]}
    statuses = []
    threads = [
        threading.Thread(target=lambda n=n: statuses.append(send(gateway, path, "PATCH", {"owner": f"o{n}"}, seen)[0]))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [412] * 7


def test_a_team_has_its_keys_budgets_and_spend_and_stays_while_it_has_any(gateway, marker):
    team = f"team-{marker}"
    made = gateway.admin("/api/keys", "POST", {"name": "ci", "team": team})
    budget = {"scope": {"kind": "team", "id": team}, "window": "day", "limitUsd": "5", "action": "block"}
    budget_id = gateway.admin("/api/budgets", "POST", budget)["id"]
    ask(gateway, made["key"])
    shown = gateway.admin(f"/api/teams/{team}")
    assert shown["keys"][0]["id"] == made["id"] and shown["budgets"][0]["id"] == budget_id
    assert float(shown["spentThisMonthUsd"]) == float(shown["budgets"][0]["spentUsd"]) > 0
    renamed = gateway.admin(f"/api/teams/{team}", "PATCH", {"name": f"Lab {marker}"})
    assert (renamed["id"], renamed["name"]) == (team, f"Lab {marker}")
    ask(gateway, made["key"])
    assert gateway.admin(f"/api/requests?team={team}")["items"], "its calls stay its own under the new name"
    status, _, problem = send(gateway, f"/api/teams/{team}", "DELETE")
    assert (status, problem["code"], problem["keys"], problem["budgets"]) == (409, "team_in_use", 1, 1)
    gateway.admin(f"/api/keys/{made['id']}", "PATCH", {"team": None})
    gateway.admin(f"/api/budgets/{budget_id}", "DELETE")
    assert send(gateway, f"/api/teams/{team}", "DELETE")[0] == 204
    again = gateway.admin("/api/keys", "POST", {"name": "ci", "team": team})
    assert again["team"] != team and again["teamName"] == team, "a removed team's history is nobody's"


def test_the_commands_do_what_the_api_does(gateway, marker):
    name = f"cli-{marker}"
    arguments = ["--team", f"t-{marker}", "--owner", "Ada", "--tag", "env=prod", "--allow-model", "openai/*"]
    arguments += ["--allow-endpoint", "chat", "--requests-per-minute", "100", "--expires", "90d", "--json"]
    done = run(gateway, "key", "create", name, *arguments)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert (made["owner"], made["team"], made["allowedEndpoints"]) == ("Ada", f"t-{marker}", ["chat"])
    ask(gateway, made["key"])
    done = run(gateway, "key", "rotate", name, "--overlap", "1h", "--json")
    renewed = json.loads(done.stdout)
    ask(gateway, made["key"])
    ask(gateway, renewed["key"])
    done = run(gateway, "key", "change", name, "--allow-endpoint", "all", "--owner", "none", "--expires", "never", "--json")
    changed = json.loads(done.stdout)
    assert (changed["allowedEndpoints"], changed["owner"], changed["expiresAt"]) == (None, None, None)
    assert changed["limits"]["requestsPerMinute"] == 100, "what isn't named stays"
    assert name in run(gateway, "key", "list").stdout.decode()
    # The name alone doesn't say which, once another team has it too.
    run(gateway, "key", "create", name, "--team", f"u-{marker}", "--json")
    done = run(gateway, "key", "revoke", name)
    assert done.returncode == 1 and b"say which one by its id" in done.stderr
    assert run(gateway, "key", "revoke", made["id"]).returncode == 0
    with pytest.raises(openai.AuthenticationError):
        ask(gateway, made["key"])
    for wrong in (["key", "change", name], ["key", "create", "x", "--allow-endpoint", "realtime"]):
        assert run(gateway, *wrong).returncode == 2, wrong
