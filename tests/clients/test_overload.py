"""More calls than may run at once: a short fair queue at each provider, and quick refusals everywhere else."""

import concurrent.futures
import statistics
import threading
import time

import openai
import pytest

from conftest import Upstream, wait_for
from load import Call, Connection, Server, is_whole, provider, route, send

pytestmark = pytest.mark.gateway

# The provider's answers take so long in these tests, unless they say otherwise.
SLOW = "slow:400ms"
# Waiting for a place ends after this, as the product promises.
QUEUE_SECONDS_MAX = 10


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    running = Upstream(tmp_path_factory.mktemp("upstream"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory, upstream):
    root = upstream.url

    def narrow(name, places):
        return provider(name, "openai", f"{root}/v1", "openai", extra=f"concurrent_requests_max = {places}")

    settings = "".join([narrow("two", 2), narrow("one", 1), narrow("stuck", 1), narrow("roomy", 50)])
    settings += route("spill", ["one/gpt-4o-mini", "roomy/gpt-4o-mini"])
    settings += route("narrow", ["one/gpt-4o-mini", "stuck/gpt-4o-mini"])
    settings += "[cache]\nenabled = false\n[limits]\nconcurrent_requests_max = 60\n"
    running = Server(tmp_path_factory.mktemp("gateway"), settings)
    running.keys = {name: running.create_key(name) for name in ("loud", "quiet", "poor")}
    running.start()
    yield running
    running.stop()
    running.verify()


def crowd(server, name):
    (found,) = [one for one in server.admin("/api/metrics")["overload"]["providers"] if one["name"] == name]
    return found["running"], found["waiting"]


def refused(server):
    return server.admin("/api/metrics")["overload"]["refused"]


def metric(server, line):
    (found,) = [text for text in server.text("/metrics").splitlines() if text.startswith(line)]
    return float(found.rsplit(" ", 1)[1])


def call(marker, model, text=SLOW, **options):
    return Call(marker, model=f"{model}/gpt-4o-mini" if "/" not in model else model, text=text, **options)


class Pool:
    """Calls under way."""

    def __init__(self, server):
        self.server = server
        self.pool = concurrent.futures.ThreadPoolExecutor(128)
        self.order = []
        self.lock = threading.Lock()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pool.shutdown()

    def send(self, key, one):
        def run():
            answer = send(self.server.port, self.server.keys[key], one)
            with self.lock:
                self.order.append((key, answer.status))
            return answer

        return self.pool.submit(run)


def test_calls_wait_for_a_place_and_never_more_run_than_may(server, upstream, marker):
    with Pool(server) as pool:
        answers = [pool.send("loud", call(f"{marker}-{n}", "two", "slow:200ms")) for n in range(12)]
        seen = []
        while not all(answer.done() for answer in answers):
            seen.append(crowd(server, "two"))
            time.sleep(0.01)
    assert {answer.result().status for answer in answers} == {200}
    assert max(running for running, _ in seen) == 2 and max(waiting for _, waiting in seen) >= 5
    assert crowd(server, "two") == (0, 0)


def test_the_burst_of_one_key_makes_another_wait_for_a_few_calls_at_most(server, marker):
    with Pool(server) as pool:
        # The first holds the place until everybody waits.
        pool.send("loud", call(f"{marker}-l0", "one", "slow:3s"))
        wait_for(lambda: crowd(server, "one") == (1, 0), "the place being taken", 20)
        for n in range(1, 12):
            pool.send("loud", call(f"{marker}-l{n}", "one", "slow:150ms"))
        wait_for(lambda: crowd(server, "one") == (1, 11), "the burst waiting", 20)
        for n in range(2):
            pool.send("quiet", call(f"{marker}-q{n}", "one", "slow:150ms"))
        wait_for(lambda: crowd(server, "one") == (1, 13), "the others waiting too", 20)
    places = [place for place, (key, _) in enumerate(pool.order) if key == "quiet"]
    assert {status for _, status in pool.order} == {200}
    # One that runs, and then turn by turn.
    assert places[0] <= 4 and places[1] <= 6, pool.order


def test_the_queue_is_bounded_and_refuses_at_once(server, marker):
    before = refused(server)["provider"]
    with Pool(server) as pool:
        answers = [pool.send("loud", call(f"{marker}-0", "one", "slow:3s"))]
        wait_for(lambda: crowd(server, "one") == (1, 0), "the place being taken", 20)
        answers += [pool.send("loud", call(f"{marker}-{n}", "one", "slow:100ms")) for n in range(1, 25)]
        # One runs and sixteen wait.
        wait_for(lambda: sum(answer.done() for answer in answers) >= 8, "the refusals", 20)
        turned_away = [answer.result() for answer in answers if answer.done() and answer.result().status != 200]
        # A key with nothing in the queue takes a place of the one that has most.
        quiet = pool.send("quiet", call(f"{marker}-q", "one", "slow:10ms"))
    assert len(turned_away) >= 7
    for answer in turned_away:
        kind, code, message = answer.error()
        assert (answer.status, kind, code) == (429, "rate_limit_error", "provider_crowded")
        assert "concurrent_requests_max" in message and int(answer.headers["retry-after"]) >= 1
        assert answer.headers["x-tollgate-attempts"] == "0"
        assert answer.seconds < 2
    assert quiet.result().status == 200
    everyone = [answer.result().status for answer in answers]
    assert everyone.count(200) >= 16 and set(everyone) == {200, 429}
    assert refused(server)["provider"] - before == everyone.count(429)
    assert metric(server, 'tollgate_refused_calls_total{limit="provider"}') == refused(server)["provider"]
    rows = [row for row in server.settled() if row["error"] == "provider_crowded"]
    assert rows and all((row["status"], row["cost_usd"], row["attempts"]) == ("failed", "0", "0") for row in rows)


def test_who_waits_too_long_is_told_to_come_back(server, marker):
    with Pool(server) as pool:
        pool.send("loud", call(f"{marker}-1", "stuck", "slow:13s"))
        wait_for(lambda: crowd(server, "stuck") == (1, 0), "the place being taken", 20)
        waiting = send(server.port, server.keys["quiet"], call(f"{marker}-2", "stuck"))
        assert waiting.status == 429 and waiting.error()[1] == "provider_crowded"
        assert QUEUE_SECONDS_MAX - 1 < waiting.seconds < QUEUE_SECONDS_MAX + 2
        hasty = call(f"{marker}-3", "stuck", headers={"x-tollgate-timeout": "500ms"})
        assert send(server.port, server.keys["quiet"], hasty).seconds < 2, "nobody waits beyond their own time"


def test_who_hangs_up_while_waiting_leaves_the_queue_at_once_and_is_never_sent(server, upstream, marker):
    with Pool(server) as pool:
        running = pool.send("loud", call(f"{marker}-1", "one", "slow:5s"))
        wait_for(lambda: crowd(server, "one") == (1, 0), "the place being taken", 20)
        leavers = []
        for n in range(5):
            leaver = Connection(server.port)
            leaver.send(call(f"{marker}-gone{n}", "one").request(server.keys["loud"]))
            leavers.append(leaver)
        wait_for(lambda: crowd(server, "one") == (1, 5), "five waiting", 20)
        for leaver in leavers:
            leaver.close()
        wait_for(lambda: crowd(server, "one") == (1, 0), "all of them having left", 20)
        assert not running.done()
    assert not [entry for n in range(5) for entry in upstream.account(f"{marker}-gone{n}")]
    row = server.booked(f"{marker}-gone0")
    assert (row["status"], row["cost_usd"], row["error"]) == ("failed", "0", "client_left")


def test_who_waits_holds_no_money(server, marker):
    with Pool(server) as pool:
        pool.send("loud", call(f"{marker}-1", "one", "slow:4s"))
        wait_for(lambda: server.admin("/api/costs")["pendingCount"] == 1, "money being held for it", 20)
        held = server.admin("/api/costs")["heldUsd"]
        assert held != "0"
        for n in range(8):
            pool.send("quiet", call(f"{marker}-w{n}", "one", "slow:10ms"))
        wait_for(lambda: crowd(server, "one") == (1, 8), "eight waiting", 20)
        report = server.admin("/api/costs")
        assert (report["heldUsd"], report["pendingCount"]) == (held, 1)


def test_a_full_provider_is_passed_over_while_another_has_room(server, upstream, marker):
    with Pool(server) as pool:
        running = pool.send("loud", call(f"{marker}-1", "one", "slow:4s"))
        wait_for(lambda: crowd(server, "one") == (1, 0), "the place being taken", 20)
        spilled = [send(server.port, server.keys["quiet"], Call(f"{marker}-s{n}", model="spill")) for n in range(3)]
        for answer in spilled:
            assert answer.status == 200
            assert answer.headers["x-tollgate-provider"] == "roomy" and answer.headers["x-tollgate-attempts"] == "1"
        assert not running.done(), "nobody has waited for the place"
    back = send(server.port, server.keys["quiet"], Call(f"{marker}-b", model="spill"))
    assert back.headers["x-tollgate-provider"] == "one", "it is well, and first again"


def test_where_every_provider_is_full_the_first_is_waited_for(server, marker):
    with Pool(server) as pool:
        for name, seconds in (("one", "2s"), ("stuck", "6s")):
            pool.send("loud", call(f"{marker}-{name}", name, f"slow:{seconds}"))
            wait_for(lambda name=name: crowd(server, name)[0] == 1, f"the place at {name} being taken", 20)
        answer = send(server.port, server.keys["quiet"], Call(f"{marker}-w", model="narrow"))
    assert (answer.status, answer.headers["x-tollgate-provider"]) == (200, "one")


def test_a_stream_keeps_its_place_until_its_end(server, marker):
    with Pool(server) as pool:
        text = "drip:200ms echo:one two three four five six seven eight nine ten"
        pool.send("loud", call(f"{marker}-1", "one", text, stream=True))
        wait_for(lambda: crowd(server, "one") == (1, 0), "the place being taken", 20)
        answer = send(server.port, server.keys["quiet"], call(f"{marker}-2", "one", "hello"))
        assert answer.status == 200 and answer.seconds > 0.3
        wait_for(lambda: pool.order, "the stream having ended too", 1)


def test_an_sdk_gets_through_by_itself(server, marker):
    with Pool(server) as pool:
        for n in range(17):
            pool.send("loud", call(f"{marker}-{n}", "one", "slow:150ms"))
        wait_for(lambda: crowd(server, "one")[1] > 8, "a queue", 20)
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.keys["loud"], max_retries=4) as client:
            answer = client.chat.completions.create(
                model="one/gpt-4o-mini", messages=[{"role": "user", "content": f"id:{marker} echo:through"}]
            )
    assert answer.choices[0].message.content == "through"


def test_the_server_takes_no_more_than_its_limit_and_refusals_stay_quick(server, marker):
    """Sixty may run. While they do, all others are refused, as quickly at the end as at the beginning."""
    before = refused(server)["server"]
    with Pool(server) as pool:
        running = [pool.send("loud", call(f"{marker}-{n}", "roomy", "slow:8s")) for n in range(50)]
        running += [pool.send("loud", call(f"{marker}-o{n}", "two", "slow:8s")) for n in range(2)]
        wait_for(lambda: crowd(server, "two") == (2, 0), "both places being taken", 20)
        # Those that wait count like those that run.
        running += [pool.send("loud", call(f"{marker}-w{n}", "two", "slow:10ms")) for n in range(8)]
        wait_for(lambda: server.admin("/api/metrics")["requests"]["inFlight"] == 60, "sixty running", 20)
        seconds = []
        began = time.monotonic()
        while len(seconds) < 300 and time.monotonic() - began < 4:
            # Its body is not read, so each has a connection of its own.
            answer = send(server.port, server.keys["quiet"], call(f"{marker}-r", "roomy"))
            seconds.append(answer.seconds)
            assert answer.status == 503 and answer.error()[1] == "overloaded", answer
            assert answer.headers["retry-after"] == "1"
        assert server.admin("/api/metrics")["requests"]["inFlight"] <= 60
    quick, slow = statistics.median(seconds), sorted(seconds)[int(len(seconds) * 0.99) - 1]
    print(f"{len(seconds)} refusals: median {quick * 1000:.2f} ms, 99 % {slow * 1000:.2f} ms")
    assert quick < 0.05, (quick, slow)
    third = len(seconds) // 3
    early, late = statistics.median(seconds[:third]), statistics.median(seconds[-third:])
    assert third >= 10
    assert late < early * 5 + 0.01, (early, late)
    assert refused(server)["server"] - before >= len(seconds)
    assert metric(server, 'tollgate_refused_calls_total{limit="server"}') == refused(server)["server"]
    assert all(is_whole(call(marker, "roomy"), answer.result()) for answer in running)


def test_bodies_that_are_still_on_their_way_count_too(server, marker):
    connections = []
    try:
        for n in range(60):
            connection = Connection(server.port)
            request = call(f"{marker}-{n}", "roomy").request(server.keys["loud"])
            connection.send(request[:-5])
            connections.append(connection)
        wait_for(lambda: server.admin("/api/metrics")["requests"]["inFlight"] == 60, "sixty on their way", 20)
        assert send(server.port, server.keys["quiet"], call(marker, "roomy")).status == 503
    finally:
        for connection in connections:
            connection.close()
    wait_for(lambda: server.admin("/api/metrics")["requests"]["inFlight"] == 0, "all of them having left", 20)


def test_the_limit_of_a_key_leaves_others_alone(server, marker):
    made = server.admin("/api/keys", "POST", {"name": f"k-{marker}", "limits": {"concurrentRequests": 1}})["key"]
    server.keys["one-at-once"] = made
    before = refused(server)["key"]
    with Pool(server) as pool:
        running = pool.send("one-at-once", call(f"{marker}-1", "roomy", "slow:3s"))
        wait_for(lambda: crowd(server, "roomy")[0] == 1, "the call running", 20)
        answer = send(server.port, made, call(f"{marker}-2", "roomy"))
        assert answer.status == 429 and "running at once" in answer.error()[2] and not running.done()
        assert send(server.port, server.keys["quiet"], call(f"{marker}-3", "roomy", "hello")).status == 200
    assert refused(server)["key"] - before == 1
