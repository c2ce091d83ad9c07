"""Traces of calls at a stand-in for an OpenTelemetry collector, which reads them by the project's own definitions."""

import json
import time
import urllib.error
import urllib.request

import pytest

from conftest import ADMIN_TOKEN, get_json, wait_for
from load import Server
from receivers import Collector

pytestmark = pytest.mark.gateway

# A batch is gathered for five seconds.
SECONDS_MAX = 20
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PROVIDERS = """
[[providers]]
name = "sandbox"
kind = "sandbox"

[[providers]]
name = "dead"
kind = "openai-compatible"
base_url = "http://127.0.0.1:9/v1"

[[routes]]
name = "careful"
strategy = "fallback"
deployments = ["dead/gpt-4o-mini", "sandbox/sandbox-small"]

[[providers]]
name = "sluggish"
kind = "sandbox"
latency = "1s"

[[routes]]
name = "hedged"
deployments = ["sluggish/sandbox-large", "sandbox/sandbox-small"]
hedge = "100ms"
hedge_percent_max = 100
"""


@pytest.fixture
def collector():
    running = Collector()
    yield running
    running.stop()


@pytest.fixture
def start(tmp_path, collector):
    running = []

    def start(more="", environment=None):
        settings = f'{PROVIDERS}[telemetry]\notlp_endpoint = "{collector.endpoint}"\n{more}'
        server = Server(tmp_path / f"server-{len(running)}", settings, environment)
        running.append(server)
        return server.start()

    yield start
    for server in running:
        server.kill()


def call(server, model="sandbox-small", headers=None, **fields):
    key = get_json(f"{server.url}/api/keys", ADMIN_TOKEN, "POST", {"name": f"key-{time.monotonic_ns()}"})["key"]
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **fields}
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}", **(headers or {})}
    request = urllib.request.Request(f"{server.url}/v1/chat/completions", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            response.read()
            return response.headers["x-tollgate-request-id"]
    except urllib.error.HTTPError as error:
        error.read()
        return error.headers["x-tollgate-request-id"]


def of_call(collector, request_id):
    """The spans of a call, its own first, when they have come."""

    def found():
        own = [span for span in collector.taken if span.get("gateway.request.id") == request_id]
        return own and [own[0], *(span for span in collector.taken if span["parent"] == own[0]["id"])]

    return wait_for(found, f"the spans of {request_id}", SECONDS_MAX)


def entry_of(server, request_id):
    return get_json(f"{server.url}/api/requests/{request_id}", ADMIN_TOKEN)


def test_a_call_is_a_span_and_each_attempt_one_below_it(start, collector):
    server = start()
    request_id = call(server, "careful")
    own, first, second = of_call(collector, request_id)
    assert own["name"] == "POST /v1/chat/completions" and own["kind"] == "server" and not own["failed"]
    assert own["resource"]["service.name"] == "tollgate" and own["resource"]["service.instance.id"]
    assert own["gen_ai.request.model"] == "careful" and own["gateway.attempts"] == 2
    assert own["parent"] is None and first["trace"] == second["trace"] == own["trace"]
    assert first["failed"] and first["error.type"] and first["name"] == "chat gpt-4o-mini"
    assert first["gen_ai.provider.name"] == "dead" and first["server.address"] == "127.0.0.1"
    assert second["kind"] == "client" and second["name"] == "chat sandbox-small" and not second["failed"]
    assert [first["gateway.attempt"], second["gateway.attempt"]] == [1, 2]
    assert own["start"] <= first["start"] <= second["start"] and second["end"] <= own["end"] + 2_000_000

    entry = entry_of(server, request_id)
    assert second["gen_ai.usage.input_tokens"] == entry["inputTokens"]
    assert second["gen_ai.usage.output_tokens"] == entry["outputTokens"]
    assert own["gateway.cost.picodollars"] == second["gateway.cost.picodollars"] > 0


def test_of_two_attempts_at_once_each_has_its_span_the_cancelled_one_too(start, collector):
    server = start()
    request_id = call(server, "hedged", stream=True)
    own, *attempts = of_call(collector, request_id)
    first, second = sorted(attempts, key=lambda span: span["start"])
    assert own["gateway.attempts"] == 2 and not own["failed"]
    assert first["failed"] and first["error.type"] == "cancelled" and first["gateway.deployment.id"] == "sluggish/sandbox-large"
    assert second["gateway.hedge"] is True and "gateway.hedge" not in first and not second["failed"]
    # In milliseconds: the second may answer within the one in which it begins.
    assert first["start"] < second["start"] <= first["end"]
    assert own["gateway.cost.picodollars"] == sum(span["gateway.cost.picodollars"] for span in (first, second))


def test_a_stream_tells_its_time_to_the_first_chunk(start, collector):
    server = start()
    request_id = call(server, stream=True, headers={"x-tollgate-sandbox": "latency=50ms"})
    _, attempt = of_call(collector, request_id)
    assert attempt["gen_ai.request.stream"] is True
    assert 0.04 < attempt["gen_ai.response.time_to_first_chunk"] < 5


def test_a_call_belongs_to_the_trace_that_the_client_names(start, collector):
    server = start()
    left_out = call(server, headers={"traceparent": f"00-{TRACE}-{SPAN}-00"})
    wrong = call(server, headers={"traceparent": f"00-{TRACE}-{SPAN}"})
    request_id = call(server, headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
    own, attempt = of_call(collector, request_id)
    assert own["trace"] == attempt["trace"] == TRACE and own["parent"] == SPAN
    own, _ = of_call(collector, wrong)
    assert own["trace"] != TRACE and own["parent"] is None
    assert not [span for span in collector.taken if span.get("gateway.request.id") == left_out]


def test_a_hit_of_the_cache_and_a_refusal_have_no_attempt(start, collector):
    server = start()
    key = get_json(f"{server.url}/api/keys", ADMIN_TOKEN, "POST", {"name": "twice"})["key"]
    headers = {"authorization": f"Bearer {key}"}
    call(server, headers=headers)
    hit = call(server, headers=headers)
    (own,) = of_call(collector, hit)
    assert own["gateway.cache.outcome"] == "hit" and own["gateway.cost.picodollars"] == 0
    refused = call(server, headers={"x-tollgate-cache": "only"}, seed=1)
    (own,) = of_call(collector, refused)
    assert own["failed"] and own["http.response.status_code"] == 504 and own["error.type"] == "cache_miss"


def test_what_the_collector_cannot_take_now_comes_later_and_once(start, collector):
    server = start()
    collector.answer_next = [(503, {}, b""), (429, {"retry-after": "1"}, b"")]
    request_id = call(server)
    assert len(of_call(collector, request_id)) == 2
    assert "can't take traces" in server.log.read_text() and not collector.answer_next


def test_a_collector_that_refuses_or_is_away_costs_no_call_anything(start, collector):
    server = start()
    collector.answer_next = [(400, {}, b"no")]
    call(server)
    wait_for(lambda: "refuses" in server.log.read_text(), "the refusal in the log", SECONDS_MAX)
    collector.stop()
    assert call(server).startswith("req_")


def test_headers_go_along_and_no_log_shows_them(start, collector):
    collector.wanted = {"authorization": "Bearer canary-otlp", "x-team": "a"}
    headers = 'otlp_headers = ["env:OTLP_HEADER", "x-team: a"]\n'
    server = start(headers, {"OTLP_HEADER": "authorization: Bearer canary-otlp"})
    request_id = call(server)
    assert len(of_call(collector, request_id)) == 2
    assert "canary-otlp" not in server.log.read_text()


def test_the_last_calls_are_sent_at_the_stop(start, collector):
    server = start()
    request_id = call(server)
    server.stop()
    assert [span for span in collector.taken if span.get("gateway.request.id") == request_id]
