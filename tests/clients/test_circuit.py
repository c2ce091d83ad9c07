"""What counts against a deployment: what its provider does to the end of an answer, and nothing that a client asks for or does.

Each test has a provider of its own, so that no circuit it opens meets another test. Five failures in a row open one, for five
seconds; what is refused by it is a 503 `circuit_open`.
"""

import concurrent.futures
import itertools
import time

import pytest

from conftest import Upstream, wait_for
from load import Call, Connection, Scripted, Server, is_whole, provider, route, send

pytestmark = pytest.mark.gateway

PROVIDERS = 12
# As many as open a circuit, and one more.
TIMES = 6
OPEN_SECONDS = 5
# What a deployment that fails costs a caller at most before the next one answers: half a second is waited for the rest
# of an error's body, and not a minute as for the rest of an answer.
FALLBACK_SECONDS_MAX = 2.0


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    running = Upstream(tmp_path_factory.mktemp("upstream"))
    yield running
    running.stop()


def stalls(connection, _dialect, _body):
    """An error whose body stops half way."""
    head = "HTTP/1.1 503 Not Now\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"
    connection.sendall(f'{head}{{"error":{{"message":"not'.encode())
    connection.recv(1)


@pytest.fixture(scope="module")
def stalling():
    running = Scripted({"stalls": stalls})
    yield running
    running.close()


@pytest.fixture(scope="module", params=["drain", "cancel"])
def server(request, tmp_path_factory, upstream, stalling):
    names = [f"alone-{number}" for number in range(PROVIDERS)]
    settings = "".join(provider(name, "openai", f"{upstream.url}/v1", "openai") for name in names)
    settings += f'[streams]\non_disconnect = "{request.param}"\n'
    settings += provider("stalls", "openai", stalling.url("stalls") + "/v1", "openai")
    settings += route("past-it", ["stalls/gpt-4o-mini", "alone-0/gpt-4o-mini"])
    running = Server(tmp_path_factory.mktemp("gateway"), settings)
    running.key = running.create_key("circuits")
    running.start()
    running.numbers = itertools.count(1)
    yield running
    running.check_totals(running.settled())
    running.stop()
    running.verify()


@pytest.fixture
def model(server):
    return f"alone-{next(server.numbers)}/gpt-4o-mini"


def hasty(time_max):
    """The header of a client that waits no longer."""
    return {"x-tollgate-timeout": time_max}


def check_closed(server, marker, model):
    """A call goes through."""
    call = Call(f"{marker}-after", model=model, fields={"max_tokens": 9})
    answer = send(server.port, server.key, call)
    assert is_whole(call, answer), answer


def is_answered(server, marker, model):
    """Whether a call is let through: not while another one finds out."""
    answer = send(server.port, server.key, Call(f"{marker}-next", model=model, fields={"max_tokens": 9}))
    assert answer.status == 200 or answer.error()[1] == "circuit_open", answer
    return answer.status == 200


def open_circuit(server, marker, model):
    """Fails until the deployment is not asked any more; each call makes several attempts."""
    for number in range(TIMES):
        answer = send(server.port, server.key, Call(f"{marker}-fails-{number}", model=model, text="error:500"))
        if answer.error()[1] == "circuit_open":
            return
        assert answer.status == 502, answer
    raise AssertionError("the circuit is closed")


@pytest.mark.parametrize("time_max", ["1ms", "150ms"], ids=["no_time_to_send", "no_time_to_answer"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_clients_without_patience_open_no_circuit(server, marker, model, time_max, stream):
    for number in range(TIMES):
        call = Call(f"{marker}-{number}", model=model, stream=stream, text="slow:1s", headers=hasty(time_max))
        answer = send(server.port, server.key, call)
        assert (answer.status, answer.error()[1]) == (504, "timeout_total"), answer
        entry = server.admin(f"/api/requests/{answer.headers['x-request-id']}")
        assert entry["error"] == "timeout_total"
        # Whose limit it was; nothing where nothing was sent.
        expected = {None, "timeout_call"} if time_max == "1ms" else {"timeout_call"}
        assert {attempt["error"] for attempt in entry["attempts"]} <= expected, entry
    check_closed(server, marker, model)


def test_clients_that_leave_before_the_first_word_open_no_circuit(server, upstream, marker, model):
    for number in range(TIMES):
        call = Call(f"{marker}-{number}", model=model, stream=True, text="slow:400ms")
        with Connection(server.port) as connection:
            connection.send(call.request(server.key))
            wait_for(lambda call=call: upstream.account(call.marker), "the provider being asked", 20)
        server.booked(call.marker)
    check_closed(server, marker, model)


def test_streams_that_break_off_after_their_first_word_open_one(server, marker, model):
    for number in range(5):
        call = Call(f"{marker}-{number}", model=model, stream=True, text="cut:3 echo:one two three four")
        answer = send(server.port, server.key, call)
        assert answer.status == 200 and b"stream_broke_off" in answer.body, answer
    after = send(server.port, server.key, Call(f"{marker}-after", model=model))
    assert (after.status, after.error()[1]) == (503, "circuit_open"), after


def test_an_error_whose_body_stops_half_way_delays_the_fallback_for_a_moment_only(server, marker):
    answer = send(server.port, server.key, Call(marker, model="past-it"))
    assert answer.status == 200 and answer.headers["x-tollgate-attempts"] == "2", answer
    assert answer.seconds < FALLBACK_SECONDS_MAX


def test_a_probe_that_its_client_cuts_short_is_given_back_to_the_next_call(server, marker, model):
    open_circuit(server, marker, model)
    time.sleep(OPEN_SECONDS + 0.1)
    cut_short = Call(f"{marker}-probe", model=model, text="slow:1s", headers=hasty("150ms"))
    assert send(server.port, server.key, cut_short).error()[1] == "timeout_total"
    check_closed(server, marker, model)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_a_probe_whose_client_leaves_keeps_nobody_waiting(server, upstream, marker, model, stream):
    open_circuit(server, marker, model)
    time.sleep(OPEN_SECONDS + 0.1)
    probe = Call(f"{marker}-probe", model=model, stream=stream, text="slow:3s")
    with Connection(server.port) as connection:
        connection.send(probe.request(server.key))
        wait_for(lambda: upstream.account(probe.marker), "the provider being asked", 20)
    began = time.monotonic()
    wait_for(lambda: is_answered(server, marker, model), "a call being let through", 20)
    assert time.monotonic() - began < 2, "it need not wait for what is read on for the bill"
    server.booked(probe.marker)


def test_a_call_that_waits_for_money_keeps_no_probe_from_others(server, upstream, marker, model):
    # What one call of it may cost fits into its budget, and not what two may.
    poor = server.create_key(f"poor-{marker}", "--budget", "day=0.0006")
    fields = {"max_tokens": 400}
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        holder = Call(f"{marker}-holder", model="alone-0/gpt-4o-mini", text="slow:12s", fields=fields)
        holding = pool.submit(send, server.port, poor, holder)
        wait_for(lambda: upstream.account(holder.marker), "its money being held", 20)
        open_circuit(server, marker, model)
        time.sleep(OPEN_SECONDS + 0.1)
        waiting = pool.submit(send, server.port, poor, Call(f"{marker}-poor", model=model, fields=fields))
        time.sleep(0.3)
        check_closed(server, marker, model)
        assert waiting.result().error()[1] == "budget_held"
        assert is_whole(holder, holding.result())


def test_who_has_waited_for_another_until_no_time_was_left_makes_no_attempt(server, upstream, marker, model):
    first = Call(f"{marker}-same", model=model, text="slow:3s")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        leading = pool.submit(send, server.port, server.key, first)
        wait_for(lambda: upstream.account(first.marker), "the first being asked", 20)
        following = Call(f"{marker}-same", model=model, text="slow:3s", headers=hasty("300ms"))
        following.headers["x-request-id"] = f"{marker}-following"
        answer = send(server.port, server.key, following)
        assert (answer.status, answer.error()[1]) == (504, "timeout_total"), answer
        assert answer.headers["x-tollgate-attempts"] == "0"
        assert is_whole(first, leading.result())
    assert len(upstream.account(first.marker)) == 1
    row = server.booked(f"{marker}-following")
    assert (row["status"], row["cost_usd"], row["attempts"]) == ("failed", "0", "0")
