"""Three instances that share Debian's redis-server: answers and rate limits, and what happens when it is away.

The instances have one set of keys: the settings of the first, copied, as a restored backup would be.
"""

import concurrent.futures
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from conftest import ADMIN_TOKEN, get_json, wait_for
from load import Server

pytestmark = pytest.mark.gateway

SECONDS_MAX = 20
# Instances look for each other's news every second; a look that takes longer than 50 ms is left for the next one.
NEWS_SECONDS_MAX = 10
KEYS = ("settings.redb", "settings.created", "pepper")
SETTINGS = """
redis_url = "redis://:{password}@127.0.0.1:{port}"

[cache]
scope = "global"

[[providers]]
name = "sandbox"
kind = "sandbox"
"""
PASSWORD = "redis-canary"


class Redis:
    """A redis-server that a test may stop, empty and start again on its port."""

    def __init__(self, folder, port):
        self.folder = folder
        folder.mkdir()
        self.port = port
        self.process = None

    def start(self):
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--requirepass", PASSWORD]
        command += ["--save", "", "--appendonly", "no", "--dir", str(self.folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: self.ask("PING") == "PONG", "redis-server", SECONDS_MAX, self.process)
        return self

    def command(self, *words):
        return ["redis-cli", "-p", str(self.port), "-a", PASSWORD, "--no-auth-warning", *words]

    def ask(self, *words):
        return subprocess.run(self.command(*words), capture_output=True, text=True, timeout=10).stdout.strip()

    def answers(self):
        return [name for name in self.ask("KEYS", "tollgate:*:answer:*").splitlines() if name]

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def redis(tmp_path, own_port):
    running = Redis(tmp_path / "redis", own_port).start()
    yield running
    running.kill()


class Cluster:
    def __init__(self, folder, redis, **limits):
        self.redis = redis
        settings = SETTINGS.format(password=PASSWORD, port=redis.port)
        self.servers = [Server(folder / f"server-{number}", settings) for number in range(3)]
        first = self.servers[0].start()
        body = {"name": "shared", "limits": limits}
        self.key = get_json(f"{first.url}/api/keys", ADMIN_TOKEN, "POST", body)["key"]
        first.stop()
        for other in self.servers[1:]:
            other.data_dir.mkdir()
            for name in KEYS:
                shutil.copy2(first.data_dir / name, other.data_dir / name)
        for server in self.servers:
            server.start()

    def __iter__(self):
        return iter(self.servers)

    def __getitem__(self, number):
        return self.servers[number]

    def call(self, number, text, headers=None, **fields):
        """One call at an instance: status, headers, body."""
        body = {"model": "sandbox-small", "messages": [{"role": "user", "content": text}], **fields}
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.key}", **(headers or {})}
        url = f"{self.servers[number].url}/v1/chat/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, response.headers, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()

    def outcome(self, number, text, **options):
        status, headers, body = self.call(number, text, **options)
        assert status == 200, body
        return headers["x-tollgate-cache"]

    def keep(self, number, text, headers=None):
        """Asks until the answer is in the Redis, for what takes 50 ms there is done without; its name and the body."""
        before = self.redis.answers()

        def is_kept():
            _, _, body = self.call(number, text, {"x-tollgate-cache": "refresh", **(headers or {})})
            return [(name, body) for name in self.redis.answers() if name not in before]

        (kept,) = wait_for(is_kept, "the answer in the Redis", SECONDS_MAX)
        return kept

    def find(self, number, text):
        """Asks until an instance has found what another one has kept, which asks no provider and keeps nothing."""
        only = {"x-tollgate-cache": "only"}
        wait_for(lambda: self.call(number, text, only)[0] == 200, "the answer of another instance", SECONDS_MAX)

    def shared(self, number):
        return get_json(f"{self.servers[number].url}/api/status", ADMIN_TOKEN)["cache"]["shared"]


@pytest.fixture
def cluster(tmp_path, redis):
    started = []

    def cluster(**limits):
        started.append(Cluster(tmp_path, redis, **limits))
        return started[-1]

    yield cluster
    for one in started:
        for server in one:
            server.kill()


def test_what_one_instance_stored_is_a_hit_at_the_others_in_either_form(cluster, redis):
    three = cluster()
    _, first = three.keep(0, "What is shared?")
    three.find(1, "What is shared?")
    assert three.outcome(1, "What is shared?") == "hit"
    status, headers, second = three.call(1, "What is shared?")
    assert second == first and headers["x-tollgate-cost-usd"] == "0"
    three.find(2, "What is shared?")
    _, headers, streamed = three.call(2, "What is shared?", stream=True)
    assert headers["x-tollgate-cache"] == "hit" and streamed.endswith("data: [DONE]\n\n")
    assert three.outcome(2, "What is shared?", headers={"x-tollgate-cache": "only"}) == "hit"
    assert three.shared(1) == {"reachable": True, "hits": 1, "misses": 0}
    (entry,) = get_json(f"{three[1].url}/api/requests?cache=hit&limit=1", ADMIN_TOKEN)["items"]
    assert entry["costUsd"] == "0" and float(entry["savedUsd"]) > 0 and entry["provider"] == "sandbox"


def test_an_answer_is_gone_when_its_time_is_over_and_only_reads_what_is_there(cluster, redis):
    three = cluster()
    assert three.call(1, "Nobody has asked", headers={"x-tollgate-cache": "only"})[0] == 504
    three.keep(0, "once", {"x-tollgate-cache-ttl": "2s"})
    wait_for(lambda: redis.answers() == [], "the answer's time being over", SECONDS_MAX)
    assert three.outcome(1, "once") == "miss", "it was good for two seconds"


def test_what_is_forged_or_damaged_in_the_redis_is_no_answer(cluster, redis):
    three = cluster()
    names = [three.keep(0, text)[0] for text in ("Which is mine?", "Another one", "A third one")]
    # A sealed answer under another question's name, one cut short, and rubbish.
    assert redis.ask("COPY", names[1], names[0], "REPLACE") == "1"
    redis.ask("SETRANGE", names[1], "40", "xxxx")
    redis.ask("SET", names[2], "rubbish")
    for number, text in ((1, "Which is mine?"), (2, "Another one"), (1, "A third one")):
        assert three.outcome(number, text) == "miss"
    assert all("panic" not in server.log.read_text() for server in three)


def test_what_is_taken_out_at_one_instance_goes_everywhere(cluster, redis):
    three = cluster()
    for text in ("keep this one", "lose this one"):
        three.keep(0, text)
        for number in (1, 2):
            three.find(number, text)
    removed = get_json(f"{three[1].url}/api/cache?pattern=text:*lose*", ADMIN_TOKEN, "DELETE")
    assert removed == {"removed": 1, "removedShared": 1}
    assert len(redis.answers()) == 1

    def sizes():
        return [get_json(f"{server.url}/api/cache", ADMIN_TOKEN)["size"] for server in three]

    wait_for(lambda: sizes() == [1, 1, 1], "the others to follow", NEWS_SECONDS_MAX)
    assert three.outcome(2, "keep this one") == "hit" and three.outcome(2, "lose this one") == "miss"
    # Who takes entries out waits for a Redis that calls would go without.
    redis.ask("CLIENT", "PAUSE", "1500", "ALL")
    removed = get_json(f"{three[0].url}/api/cache?pattern=text:*keep*", ADMIN_TOKEN, "DELETE")
    assert removed == {"removed": 1, "removedShared": 1}
    wait_for(lambda: sizes() == [0, 0, 1], "the others to follow", SECONDS_MAX)
    # An emptied Redis has forgotten what was announced: who followed it can't know what it missed.
    redis.ask("FLUSHALL")
    wait_for(lambda: sizes() == [0, 0, 0], "the memories to be emptied", NEWS_SECONDS_MAX)


def test_an_answer_from_before_something_was_taken_out_elsewhere_is_not_shared(cluster, redis):
    three = cluster()
    # Something is almost always announced that the instance has not read yet.
    announce = redis.command("-r", "-1", "-i", "0.001", "INCR", "tollgate:1:taken-out:count")
    announcing = subprocess.Popen(announce, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: redis.ask("GET", "tollgate:1:taken-out:count"), "the first announcement", SECONDS_MAX)
        for number in range(10):
            assert three.outcome(0, f"on its way {number}") == "miss"
    finally:
        announcing.kill()
        announcing.wait()
    time.sleep(0.2)
    # But for one that is kept between a look, of which there is one each second, and the next announcement.
    assert len(redis.answers()) <= 2
    three.keep(0, "afterwards")


def test_one_rate_limit_is_held_by_all_together(cluster, redis):
    three = cluster(requestsPerMinute=20)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(three.call, number % 3, f"call {number}", {"x-tollgate-cache": "bypass"}) for number in range(60)]
        answers = [call.result() for call in calls]
    passed = [status for status, _, _ in answers].count(200)
    # Twenty at once; one more for each three seconds that it all took, and for each time that the Redis was too slow.
    # Three instances by themselves would let all sixty pass.
    assert 20 <= passed <= 30
    refused = [headers for status, headers, _ in answers if status == 429]
    assert len(refused) == 60 - passed and all(int(headers["retry-after"]) >= 1 for headers in refused)


def test_tokens_are_corrected_for_all(cluster, redis):
    three = cluster(tokensPerMinute=3000)
    # Taken to need some 2,000, it needs a few: what it did not use, the others may.
    for number in range(3):
        text, bypass = f"call {number}", {"x-tollgate-cache": "bypass"}
        # Had the one before used them all, there would be room for as many again after twenty seconds.
        passes = lambda: three.call(number, text, bypass, max_tokens=2000)[0] == 200
        wait_for(passes, "what the one before did not use", 5)
    assert three.call(0, "too much", {"x-tollgate-cache": "bypass"}, max_tokens=3000)[0] == 429


def test_a_redis_that_is_killed_emptied_and_started_again_under_load_breaks_nothing(cluster, redis):
    three = cluster(requestsPerMinute=100_000)
    times, stop = [], time.monotonic() + 6
    outcomes = []

    def caller(number):
        count = 0
        while time.monotonic() < stop:
            began = time.monotonic()
            status, headers, body = three.call(number % 3, f"{number} {count % 5}")
            times.append(time.monotonic() - began)
            outcomes.append((status, headers["x-tollgate-cache"]))
            assert status == 200, body
            # The answer is that of its question, whatever the Redis did.
            assert json.loads(body)["choices"][0]["message"]["content"]
            count += 1

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        callers = [pool.submit(caller, number) for number in range(6)]
        time.sleep(1)
        redis.kill()
        time.sleep(2)
        assert not any(three.shared(number)["reachable"] for number in range(3))
        redis.start()
        for one in callers:
            one.result()
    assert len(outcomes) > 100 and max(times) < 3
    # A look each second, and a pause that has doubled a few times.
    wait_for(lambda: all(three.shared(number)["reachable"] for number in range(3)), "the Redis to be asked again", 40)
    three.keep(0, "after all that")
    three.find(1, "after all that")
    for server in three:
        log = server.log.read_text()
        assert "does not answer" in log and "answers again" in log and PASSWORD not in log
        # For each time that it went away, not for each call.
        assert len([line for line in log.splitlines() if "the Redis does not answer" in line]) < 10
        server.verify()


def test_a_redis_that_hangs_costs_a_call_little(cluster, redis):
    three = cluster()
    assert three.outcome(0, "before") == "miss"
    redis.ask("CLIENT", "PAUSE", "15000", "ALL")
    began = time.monotonic()
    for count in range(80):
        assert three.outcome(1, f"while it hangs {count}") == "miss"
    # Three failures of 50 ms, then nobody asks for a while: eighty of them would take four seconds.
    assert time.monotonic() - began < 4


def test_an_instance_that_is_killed_loses_nothing(cluster, redis):
    three = cluster()
    asked = [three.call(number % 3, f"call {number}") for number in range(30)]
    assert all(status == 200 for status, _, _ in asked)
    three[1].kill()
    assert three.outcome(0, "call 1") in ("hit", "miss") and three.outcome(2, "call 4") in ("hit", "miss")
    three[1].start()
    three[1].verify()
    own = [headers["x-tollgate-request-id"] for _, headers, _ in asked[1::3]]
    rows = {row["id"] for row in get_json(f"{three[1].url}/api/requests?limit=200", ADMIN_TOKEN)["items"]}
    assert set(own) <= rows


def test_no_redis_at_all_is_told_of_and_nothing_else(tmp_path, redis):
    redis.kill()
    server = Server(tmp_path / "alone", SETTINGS.format(password="x", port=redis.port)).start()
    try:
        key = get_json(f"{server.url}/api/keys", ADMIN_TOKEN, "POST", {"name": "alone"})["key"]
        body = {"model": "sandbox-small", "messages": [{"role": "user", "content": "Hi"}]}
        headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
        request = urllib.request.Request(f"{server.url}/v1/chat/completions", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as response:
            assert response.status == 200
        removed = get_json(f"{server.url}/api/cache?pattern=*", ADMIN_TOKEN, "DELETE")
        assert removed == {"removed": 1, "removedShared": None}
    finally:
        server.kill()
