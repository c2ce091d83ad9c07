"""Calls with an `Idempotency-Key`: made once, whatever the client, the network and the process do.

What counts as one call is what the test provider's own account says, not what the gateway says of itself.
"""

import concurrent.futures
import json
import os
import threading
import time
import uuid

import anthropic
import openai
import pytest

from books import all_rows, picodollars
from conftest import Gateway, Upstream, get_json, wait_for
from load import Call, Connection, Scripted, Server, is_whole, provider, send

pytestmark = pytest.mark.gateway

OPENAI = "openai/gpt-4o-mini"
CLAUDE = "anthropic/claude-haiku-4-5"
HEADER = "idempotency-key"


@pytest.fixture
def key():
    """An idempotency key that no other test uses."""
    return f"test-{uuid.uuid4()}"


def port(gateway):
    return int(gateway.url.rsplit(":", 1)[1])


def rows_of(gateway, marker):
    """The entries of a marker, oldest first; what is not waited for at its end is there soon after."""
    return sorted((row for row in all_rows(gateway) if row["client_request_id"] == marker), key=lambda row: row["id"])


def keyed(marker, key, text="hello", **options):
    headers = {HEADER: key, **options.pop("headers", {})}
    return Call(marker, text=text, headers=headers, **options)


def sent_to(upstream, marker):
    return len(upstream.account(marker))


def check_replay(first, again):
    """The same answer, told as one that was given before."""
    assert (again.status, again.body) == (first.status, first.body), (first, again)
    assert again.headers["content-type"] == first.headers["content-type"]
    assert again.headers["idempotent-replayed"] == "true" and "idempotent-replayed" not in first.headers
    original = first.headers["x-tollgate-request-id"]
    assert again.headers["x-tollgate-original-request-id"] == original != again.headers["x-tollgate-request-id"]
    # The response cache wasn't asked, and nothing was paid.
    assert again.headers["x-tollgate-cache"] == "bypass" and again.headers["x-tollgate-attempts"] == "0"
    assert again.headers["x-tollgate-cost-usd"] == "0"
    for name in ("x-tollgate-provider", "x-tollgate-model"):
        assert again.headers[name] == first.headers[name]


def check_refused(answer, status, code, retried):
    """A refusal in the shape of the dialect, with a word to SDKs about trying again."""
    assert answer.status == status, (answer.status, answer.body)
    if answer.error()[1] is not None:
        assert answer.error()[1] == code
    assert answer.headers["x-should-retry"] == ("true" if retried else "false")
    if retried:
        assert 0 < int(answer.headers["retry-after-ms"]) <= 60_000
    return answer.error()[2]


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
def test_the_same_call_again_gets_the_same_answer(gateway, upstream, marker, key, dialect, stream):
    call = keyed(marker, key, "usage:in=40,out=20 echo:one two three four", dialect=dialect, stream=stream)
    first = send(port(gateway), gateway.key, call)
    assert is_whole(call, first), first
    for _ in range(3):
        again = send(port(gateway), gateway.key, call)
        assert is_whole(call, again)
        check_replay(first, again)
    assert sent_to(upstream, marker) == 1
    wait_for(lambda: len(rows_of(gateway, marker)) == 4, "an entry for each", 20)
    (row, *replays) = rows_of(gateway, marker)
    assert picodollars(row["cost_usd"]) > 0 and row["attempts"] == "1"
    assert len(replays) == 3, "every request that was answered has its entry"
    for replay in replays:
        assert (replay["status"], replay["cost_usd"], replay["attempts"]) == ("settled", "0", "0")
        assert (replay["cache"], replay["model"]) == ("bypass", row["model"])


def test_of_fifty_at_once_one_is_made_and_all_who_ask_again_agree(gateway, upstream, marker, key):
    call = keyed(marker, key, "slow:1s usage:in=40,out=20 echo:once")
    barrier = threading.Barrier(50)

    def one(_):
        barrier.wait()
        answers = [send(port(gateway), gateway.key, call)]
        while answers[-1].status == 409:
            check_refused(answers[-1], 409, "idempotency_key_in_use", True)
            assert len(answers) < 100
            time.sleep(0.1)
            answers.append(send(port(gateway), gateway.key, call))
        return answers

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        histories = list(pool.map(one, range(50)))
    assert sent_to(upstream, marker) == 1
    assert {history[-1].status for history in histories} == {200}
    assert len({history[-1].body for history in histories}) == 1
    made = [history for history in histories if "idempotent-replayed" not in history[-1].headers]
    assert len(made) == 1 and len(made[0]) == 1
    assert sum(history[0].status == 409 for history in histories) > 0


def test_another_body_is_refused_while_the_call_runs_and_after(gateway, upstream, marker, key):
    slow = keyed(marker, key, "slow:2s hello")
    other = keyed(marker, key, "something else")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(send, port(gateway), gateway.key, slow)
        wait_for(lambda: sent_to(upstream, marker) == 1, "the call reaching the provider", 20)
        assert "new key" in check_refused(send(port(gateway), gateway.key, other), 422, "idempotency_key_reused", False)
        assert "still runs" in check_refused(
            send(port(gateway), gateway.key, slow), 409, "idempotency_key_in_use", True
        )
        assert running.result().status == 200
    check_refused(send(port(gateway), gateway.key, other), 422, "idempotency_key_reused", False)
    check_refused(
        send(port(gateway), gateway.key, keyed(marker, key, "slow:2s hello", fields={"temperature": 0})),
        422,
        "idempotency_key_reused",
        False,
    )
    assert sent_to(upstream, marker) == 1
    refused = [row for row in rows_of(gateway, marker) if row["error"]]
    assert {row["error"] for row in refused} == {"idempotency_key_reused", "idempotency_key_in_use"}
    assert all((row["status"], row["cost_usd"]) == ("failed", "0") for row in refused)


def test_headers_that_change_the_answer_belong_to_the_body_and_others_do_not(gateway, upstream, marker, key):
    def ask(**headers):
        call = keyed(marker, key, headers={name.replace("_", "-"): value for name, value in headers.items()})
        return send(port(gateway), gateway.key, call)

    first = ask(x_tollgate_operation="review-code", x_tollgate_tags="team=a")
    assert first.status == 200
    check_refused(ask(x_tollgate_operation="chat"), 422, "idempotency_key_reused", False)
    check_replay(first, ask(x_tollgate_operation="review-code", x_tollgate_tags="team=b", x_tollgate_timeout="5s"))
    assert sent_to(upstream, marker) == 1


def test_keys_of_other_callers_and_paths_do_not_meet(gateway, upstream, marker, key):
    other = gateway.admin("/api/keys", "POST", {"name": f"other-{marker}"})["key"]
    mine = send(port(gateway), gateway.key, keyed(marker, key, "echo:mine"))
    theirs = send(port(gateway), other, keyed(marker, key, "echo:theirs"))
    claude = send(port(gateway), gateway.key, keyed(marker, key, "echo:claude", dialect="anthropic"))
    assert [answer.status for answer in (mine, theirs, claude)] == [200, 200, 200]
    assert all("idempotent-replayed" not in answer.headers for answer in (mine, theirs, claude))
    assert sent_to(upstream, marker) == 3
    check_replay(theirs, send(port(gateway), other, keyed(marker, key, "echo:theirs")))


@pytest.mark.parametrize("bad", ["", " ", "a b", "k" * 256, "schlüssel"])
def test_a_key_that_is_none_is_refused(gateway, marker, bad):
    call = keyed(marker, bad)
    request = call.request(gateway.key).decode("latin-1")
    with Connection(port(gateway)) as connection:
        connection.send(request.encode("latin-1", errors="replace"))
        answer = connection.answer()
    assert answer.status == 400, answer
    kind, code, message = answer.error()
    assert (kind, code, answer.json()["error"]["param"]) == ("invalid_request_error", "invalid_value", HEADER)
    assert "1 to 255 visible ASCII" in message


def test_two_keys_in_one_request_are_refused(gateway, marker, key):
    call = Call(marker, headers={HEADER: key, HEADER.title(): f"{key}-2"})
    assert send(port(gateway), gateway.key, call).status == 400


def test_what_was_refused_or_owes_nothing_frees_its_key(gateway, upstream, marker, key):
    # Refused by the provider: the corrected call is another body, and goes.
    assert send(port(gateway), gateway.key, keyed(marker, key, "error:400")).status == 400
    # Refused here, before anything was sent.
    assert send(port(gateway), gateway.key, keyed(marker, key, model="openai/no-such-model")).status == 404
    fixed = keyed(marker, key, "echo:corrected")
    first = send(port(gateway), gateway.key, fixed)
    assert first.status == 200 and b"corrected" in first.body
    check_replay(first, send(port(gateway), gateway.key, fixed))
    assert sent_to(upstream, marker) <= 3


def test_a_failure_that_owes_nothing_is_tried_again(gateway, upstream, marker, key, faulty):
    # The gateway's own three attempts fail, and a fourth does not.
    call = keyed(marker, key, "error:500;times=3 hello", model=faulty("openai", "gpt-4o-mini"))
    assert send(port(gateway), gateway.key, call).status == 502
    first = send(port(gateway), gateway.key, call)
    assert first.status == 200
    check_replay(first, send(port(gateway), gateway.key, call))
    assert sent_to(upstream, marker) == 4


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_may_be_owed_is_not_made_again(gateway, upstream, marker, key, faulty, stream):
    # It hangs, and nobody can say what it costs; or it breaks off after it has begun.
    text = "cut:4 echo:one two three four five six" if stream else "hang"
    name = "gpt-4o-mini"
    call = keyed(marker, key, text, stream=stream, model=faulty("openai", name))
    first = send(port(gateway), gateway.key, call)
    assert not is_whole(call, first)
    made = sent_to(upstream, marker)
    message = check_refused(send(port(gateway), gateway.key, call), 409, "idempotency_answer_lost", False)
    (row,) = [row for row in rows_of(gateway, marker) if row["attempts"] != "0"]
    assert row["id"] in message and f"{row['cost_usd']} USD" in message and "new key" in message
    check_refused(
        send(port(gateway), gateway.key, keyed(marker, key, "other")), 422, "idempotency_key_reused", False
    )
    assert sent_to(upstream, marker) == made
    # The way out that the message names.
    assert send(port(gateway), gateway.key, keyed(marker, f"{key}-2", "echo:new")).status == 200


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_is_too_large_is_not_kept_and_the_call_not_made_again(gateway, upstream, marker, key, stream):
    call = keyed(marker, key, f"usage:in=9,out=5 echo:{'x' * 270_000}", stream=stream)
    first = send(port(gateway), gateway.key, call)
    assert is_whole(call, first) and len(first.body) > 256 * 1024
    message = check_refused(send(port(gateway), gateway.key, call), 409, "idempotency_answer_lost", False)
    (row,) = [row for row in rows_of(gateway, marker) if row["attempts"] != "0"]
    assert row["id"] in message and f"{row['cost_usd']} USD" in message and "256 KiB" in message
    assert sent_to(upstream, marker) == 1


def test_a_client_that_lost_its_connection_gets_its_answer(gateway, upstream, marker, key):
    call = keyed(marker, key, "drip:60ms usage:in=9,out=9 echo:one two three four five six seven", stream=True)
    with Connection(port(gateway)) as connection:
        connection.send(call.request(gateway.key))
        head = connection.head()
        next(connection.chunks(head))
    # The provider goes on, and is paid for it.
    answers = []

    def again():
        answers.append(send(port(gateway), gateway.key, call))
        return answers[-1].status != 409

    wait_for(again, "the answer of the first call", 20)
    assert is_whole(call, answers[-1]), answers[-1]
    assert answers[-1].headers["x-tollgate-original-request-id"] == head.headers["x-tollgate-request-id"]
    assert sent_to(upstream, marker) == 1


@pytest.mark.parametrize("mode", ["default", "only", "refresh", "bypass"])
def test_a_replay_comes_before_the_response_cache(gateway, upstream, marker, key, mode):
    call = keyed(marker, key)
    first = send(port(gateway), gateway.key, call)
    call.headers["x-tollgate-cache"] = mode
    check_replay(first, send(port(gateway), gateway.key, call))
    assert sent_to(upstream, marker) == 1


def test_what_the_cache_answers_is_kept_too_and_what_it_lacks_frees_the_key(gateway, upstream, marker, key):
    only = keyed(marker, key, headers={"x-tollgate-cache": "only"})
    assert send(port(gateway), gateway.key, only).status == 504
    first = send(port(gateway), gateway.key, Call(marker))
    hit = send(port(gateway), gateway.key, keyed(marker, key))
    assert (first.headers["x-tollgate-cache"], hit.headers["x-tollgate-cache"]) == ("miss", "hit")
    gateway.admin(f"/api/cache?pattern=text:*{marker}*", "DELETE")
    check_replay(hit, send(port(gateway), gateway.key, keyed(marker, key)))
    assert sent_to(upstream, marker) == 1


def test_a_replay_needs_no_budget_and_no_rate(gateway, upstream, marker, key):
    made = gateway.admin(
        "/api/keys",
        "POST",
        {
            "name": f"poor-{marker}",
            "budgets": [{"window": "total", "limitUsd": "0.002", "action": "block"}],
            "limits": {"requestsPerMinute": 1},
        },
    )["key"]
    call = keyed(marker, key, "usage:in=9,out=200 hello", fields={"max_tokens": 300})
    first = send(port(gateway), made, call)
    assert first.status == 200, first.body
    for _ in range(3):
        check_replay(first, send(port(gateway), made, call))
    # A call of its own is still limited.
    assert send(port(gateway), made, keyed(marker, f"{key}-2", "other")).status == 429
    assert sent_to(upstream, marker) == 1


def test_every_path_that_makes_something_takes_a_key(gateway, upstream, marker, key):
    paths = {
        "/v1/embeddings": {"model": "openai/text-embedding-3-small", "input": f"id:{marker} a"},
        "/v1/responses": {"model": OPENAI, "input": f"id:{marker} b"},
        "/v1/images/generations": {"model": "openai/gpt-4o-mini", "prompt": f"id:{marker} c"},
        "/v1/messages/count_tokens": {"model": CLAUDE, "messages": [{"role": "user", "content": f"id:{marker} d"}]},
    }
    for path, body in paths.items():

        class Other(Call):
            def target(self):
                return path

        call = keyed(marker, key, dialect="anthropic" if "messages" in path else "openai")
        call.__class__ = Other
        first, again = (send(port(gateway), gateway.key, call, json.dumps(body).encode()) for _ in range(2))
        assert first.status == 200, (path, first.body)
        assert again.body == first.body and again.headers["idempotent-replayed"] == "true", path
    assert sent_to(upstream, marker) == len(paths)


def test_a_form_that_is_sent_again_is_the_same_form(gateway, upstream, marker, key):
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0) as client:

        def upload():
            # The SDK draws a new boundary each time.
            return client.files.with_raw_response.create(
                file=(f"id={marker}.jsonl", b"{}\n"), purpose="batch", extra_headers={HEADER: key}
            )

        first, again = upload(), upload()
    assert again.headers["idempotent-replayed"] == "true"
    assert again.parse().id == first.parse().id
    assert sent_to(upstream, marker) == 1


def test_what_only_reads_takes_no_notice_of_a_key(gateway, key):
    for _ in range(2):
        listed = get_json(f"{gateway.url}/v1/files", gateway.key, headers={HEADER: key})
        assert listed["object"] == "list"


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_an_sdk_that_tries_again_waits_for_the_call_that_runs(gateway, upstream, marker, key, dialect):
    """A client with little patience hangs up, tries again with its key, and gets the answer of its first call."""
    text = f"id:{marker} slow:2500ms usage:in=9,out=9 echo:patience"
    options = {"api_key": gateway.key, "max_retries": 3, "timeout": 1}
    if dialect == "openai":
        with openai.OpenAI(base_url=f"{gateway.url}/v1", **options) as client:
            answer = client.chat.completions.create(
                model=OPENAI, messages=[{"role": "user", "content": text}], extra_headers={HEADER: key}
            )
        assert answer.choices[0].message.content == "patience"
    else:
        with anthropic.Anthropic(base_url=gateway.url, **options) as client:
            answer = client.messages.create(
                model=CLAUDE,
                max_tokens=50,
                messages=[{"role": "user", "content": text}],
                extra_headers={HEADER: key},
            )
        assert answer.content[0].text == "patience"
    assert sent_to(upstream, marker) == 1


def test_an_sdk_that_tries_again_after_a_failure_gets_an_answer(gateway, upstream, marker, key, faulty):
    text = f"id:{marker} error:429;times=1;retry-after-ms=300 echo:second"
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=2) as client:
        answer = client.chat.completions.create(
            model=faulty("openai", "gpt-4o-mini"),
            messages=[{"role": "user", "content": text}],
            extra_headers={HEADER: key},
        )
    assert answer.choices[0].message.content == "second"


def test_an_sdk_does_not_pay_twice_for_a_call_that_may_have_been_made(gateway, upstream, marker, key, faulty):
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=5) as client,
        pytest.raises(openai.ConflictError) as refused,
    ):
        client.chat.completions.create(
            model=faulty("openai", "gpt-4o-mini"),
            messages=[{"role": "user", "content": f"id:{marker} hang"}],
            extra_headers={HEADER: key},
        )
    assert refused.value.code == "idempotency_answer_lost"
    assert sent_to(upstream, marker) == 1


def test_kept_answers_go_with_their_owner(gateway, upstream, marker, key):
    call = keyed(marker, key, headers={"x-tollgate-session": f"s-{marker}"})
    assert send(port(gateway), gateway.key, call).status == 200
    assert gateway.admin(f"/api/content?session=s-{marker}", "DELETE")["deleted"] == 1
    assert "deleted" in check_refused(send(port(gateway), gateway.key, call), 409, "idempotency_answer_lost", False)
    assert sent_to(upstream, marker) == 1


# Restarts and kills, each with a server of its own


class OwnUpstream(Upstream):
    def __init__(self, folder):
        self.account_file = folder / "upstream.jsonl"
        super().__init__(folder)


@pytest.fixture
def own(tmp_path):
    upstream = OwnUpstream(tmp_path)
    root = upstream.url
    settings = provider("openai", "openai", f"{root}/v1") + provider("anthropic", "anthropic", root)
    server = Server(tmp_path / "gateway", settings)
    server.upstream = upstream
    server.key = server.create_key("once")
    server.start()
    yield server
    server.kill()
    upstream.stop()


def test_a_key_outlives_a_stop_and_a_kill(own, marker, key):
    calls = [keyed(marker, f"{key}-{stream}", f"echo:for ever {stream}", stream=stream) for stream in (False, True)]
    first = [send(own.port, own.key, call) for call in calls]
    for end in (own.stop, own.kill):
        end()
        own.start()
        for call, answer in zip(calls, first, strict=True):
            check_replay(answer, send(own.port, own.key, call))
    assert sent_to(own.upstream, marker) == 2
    own.stop()
    own.verify()


def test_a_kill_in_the_middle_leaves_no_second_call(own, marker, key):
    call = keyed(marker, key, "slow:5s hello")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(send, own.port, own.key, call)
        wait_for(lambda: sent_to(own.upstream, marker) == 1, "the call reaching the provider", 20)
        own.kill()
        assert not running.result().complete
    own.start()
    message = check_refused(send(own.port, own.key, call), 409, "idempotency_answer_lost", False)
    (row,) = [row for row in own.rows_of(marker) if row["status"] == "unknown"]
    assert row["id"] in message and f"{row['cost_usd']} USD" in message
    assert sent_to(own.upstream, marker) == 1


ROUNDS = 60 if os.environ.get("DEEP_TESTS") == "1" else 6


def test_no_kill_at_any_instant_makes_two_calls_of_one_key(own, marker):
    """Many keys, each asked for again and again through kills, until it has an answer or a final refusal."""
    import random

    dice = random.Random(marker)
    up = threading.Event()
    up.set()
    stopping = threading.Event()
    outcomes = []

    def client(number):
        count = 0
        while not stopping.is_set():
            mark = f"{marker}-{number}-{count}"
            speed = f"slow:{(number * 7 + count * 13) % 120}ms"
            call = keyed(mark, f"key-{mark}", f"{speed} usage:in=9,out=9 echo:{mark}", stream=bool(count % 2))
            whole = set()
            while True:
                up.wait(20)
                answer = send(own.port, own.key, call)
                if is_whole(call, answer):
                    whole.add(answer.body)
                    # Once more: what was given once must not change.
                    if len(whole) > 1 or "idempotent-replayed" in answer.headers:
                        break
                elif answer.status == 409 and answer.headers.get("x-should-retry") == "false":
                    break
                if stopping.is_set() and answer.status == 0:
                    break
                time.sleep(0.01)
            outcomes.append((mark, whole, answer.status))
            count += 1

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(client, number) for number in range(8)]
        for _ in range(ROUNDS):
            time.sleep(dice.uniform(0.1, 0.9))
            up.clear()
            own.kill()
            own.start()
            up.set()
        stopping.set()
        for one in clients:
            one.result(timeout=60)
    sent = {}
    for entry in get_json(f"{own.upstream.url}/__account"):
        sent[entry["id"]] = sent.get(entry["id"], 0) + 1
    assert max(sent.values()) == 1, {mark: count for mark, count in sent.items() if count > 1}
    assert all(len(whole) <= 1 for _, whole, _ in outcomes), "one key, two answers"
    assert sum(status == 200 for *_, status in outcomes) > ROUNDS
    print(len(outcomes), "keys,", sum(status == 409 for *_, status in outcomes), "lost to a kill")


def test_a_file_that_is_damaged_refuses_keys_and_nothing_else(own, marker, key):
    own.stop()
    (own.data_dir / "idempotency.redb").write_bytes(b"no such file")
    own.start()
    answer = send(own.port, own.key, keyed(marker, key))
    assert answer.status == 503 and answer.error()[1] == "idempotency_unavailable"
    assert "idempotency.redb can't be read" in own.admin("/api/status")["idempotency"]["trouble"]
    assert send(own.port, own.key, Call(marker)).status == 200
    assert sent_to(own.upstream, marker) == 1


def test_under_relaxed_durability_too_a_key_stands_for_one_call(tmp_path, folder, upstream, marker, key):
    own = tmp_path / "relaxed"
    own.mkdir()
    running = Gateway(own, upstream, '\n[ledger]\ndurability = "relaxed"\n')
    try:
        call = keyed(marker, key)
        first = send(port(running), running.key, call)
        check_replay(first, send(port(running), running.key, call))
    finally:
        running.stop()
    assert sent_to(upstream, marker) == 1


def test_a_provider_that_breaks_in_every_way_is_asked_once(tmp_path, marker, key):
    """What breaks before an answer is tried again by the gateway; by a client's retry it is not once it may be owed."""

    def reset(connection, _dialect, _body):
        connection.close()

    scripted = Scripted({"reset": reset})
    server = Server(tmp_path / "gateway", provider("openai", "openai", f"{scripted.url('reset')}/v1"))
    key_of_caller = server.create_key("once")
    server.start()
    try:
        call = keyed(marker, key)
        assert send(server.port, key_of_caller, call).status == 502
        made = len(scripted.seen)
        check_refused(send(server.port, key_of_caller, call), 409, "idempotency_answer_lost", False)
        assert len(scripted.seen) == made
    finally:
        server.kill()
        scripted.close()
