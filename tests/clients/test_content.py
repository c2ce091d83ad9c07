"""What is kept of calls where `[log] bodies` asks for it: shown, deleted, and never a secret among it."""

import json
import urllib.error
import urllib.request

import openai
import pytest
from conftest import ADMIN_TOKEN, UPSTREAM_KEY, Gateway, wait_for

pytestmark = pytest.mark.gateway


@pytest.fixture(scope="module")
def keeping(folder, upstream):
    """A server of its own that keeps everything."""
    own = folder / "keeping"
    own.mkdir()
    running = Gateway(own, upstream, '\n[log]\nbodies = "full"\nretention = "1d"\n')
    yield running
    running.stop()


def ask(keeping, text, session, **more):
    """A call, and its id."""
    options = {"base_url": f"{keeping.url}/v1", "api_key": keeping.key, "max_retries": 0, "timeout": 60}
    with openai.OpenAI(**options) as client:
        answer = client.chat.completions.with_raw_response.create(
            model="openai/gpt-4o-mini",
            messages=[{"role": "user", "content": text}],
            extra_headers={"x-tollgate-session": session},
            **more,
        )
        if more.get("stream"):
            for _ in answer.parse():
                pass
        return answer.headers["x-tollgate-request-id"]


def kept(keeping, request_id):
    """What is kept of a call, once it is written."""
    return wait_for(lambda: keeping.admin(f"/api/requests/{request_id}")["content"], "the contents being written", 20)


def test_a_call_is_kept_with_its_session_and_user_and_can_be_deleted(keeping, marker):
    request_id = ask(keeping, f"a question {marker}", f"s-{marker}", user=f"u-{marker}")
    content = kept(keeping, request_id)
    assert content["session"] == f"s-{marker}"
    assert content["users"] == [f"u-{marker}"]
    assert json.loads(content["request"]["text"])["messages"][0]["content"] == f"a question {marker}"
    assert json.loads(content["answer"]["text"])["object"] == "chat.completion"
    assert keeping.admin(f"/api/content?user=u-{marker}", "DELETE") == {"deleted": 1}
    entry = keeping.admin(f"/api/requests/{request_id}")
    assert entry["content"] is None
    assert entry["status"] == "settled"


def test_a_stream_is_kept_as_it_came(keeping, marker):
    request_id = ask(keeping, f"a stream {marker}", f"s-{marker}", stream=True)
    answer = kept(keeping, request_id)["answer"]["text"]
    assert answer.startswith("data: ") and answer.rstrip().endswith("data: [DONE]")


def test_a_failure_is_kept_with_its_reason(keeping, marker):
    with pytest.raises(openai.APIStatusError) as refused:
        ask(keeping, f"refused {marker}", f"s-{marker}", extra_body={"model": "dead-openai/gpt-4o-mini"})
    content = kept(keeping, refused.value.response.headers["x-tollgate-request-id"])
    assert marker in content["request"]["text"]
    assert "can't connect to dead-openai" in content["answer"]["text"]


def test_no_secret_comes_into_the_file(keeping, marker):
    request_id = ask(keeping, f"my keys are {keeping.key} and {UPSTREAM_KEY} and {ADMIN_TOKEN} {marker}", "canary")
    assert "my keys are *** and *** and ***" in kept(keeping, request_id)["request"]["text"]
    everything = (keeping.data_dir / "content.redb").read_bytes()
    for secret in (keeping.key, UPSTREAM_KEY, ADMIN_TOKEN):
        assert secret.encode() not in everything


def test_a_virtual_key_sees_no_contents_and_deletes_none(keeping, marker):
    request_id = ask(keeping, f"mine {marker}", f"s-{marker}")
    kept(keeping, request_id)
    headers = {"authorization": f"Bearer {keeping.key}"}
    own = urllib.request.Request(f"{keeping.url}/api/requests/{request_id}", headers=headers)
    with urllib.request.urlopen(own, timeout=30) as response:
        assert json.load(response)["content"] is None
    deletion = urllib.request.Request(f"{keeping.url}/api/content?user=x", headers=headers, method="DELETE")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(deletion, timeout=30)
    assert refused.value.code == 403
    assert keeping.admin(f"/api/content?session=s-{marker}", "DELETE") == {"deleted": 1}
