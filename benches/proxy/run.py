#!/usr/bin/env python3
"""What a call through Tollgate costs, beside nginx and a bare proxy on the same stack, in one run.

    cargo build --release --bin tollgate --examples
    python3 benches/proxy/run.py [--build target/release] [--rounds 5] [--seconds 3] [--json FILE]
    python3 benches/proxy/run.py --rounds 1 --latency-calls 0 --half-load --probe --open-streams 10000 --entries 1000000

Needs `nginx` and `wrk` (both in Debian); standard library only. Everything runs on loopback, in a temporary folder, and
ends with this script. Machines differ and neighbours disturb, so what counts are CPU seconds of the process
under test (its children included), as ratios within a run: the targets take turns in every round, each round begins with
another one, and the median of the rounds is shown.
"""

import argparse
import contextlib
import http.client
import json
import os
import pathlib
import platform
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ADMIN_TOKEN = "tga-benchmark-0123456789abcdef0123456789abcdef"
MODEL = "gpt-4o-mini"
CHUNKS = 20
CHUNK_INTERVAL_MS = 5
START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 40
TICK = os.sysconf("SC_CLK_TCK")
PATH = "/v1/chat/completions"
FILE = "/answer.json"
BEFORE = "before, strict"
UNCACHED = "tollgate, strict, no cache"
PROBE_STREAMS, PROBE_CHUNKS, PROBE_INTERVAL_MS = 64, 200, 20
OPEN_SECONDS = 40
FILES_MAX = 65_536


# What is sent and answered

def request_body(model, stream):
    """About 1 KB, as a small chat call is."""
    body = {"model": model, "max_tokens": 200, "temperature": 0.2, "messages": [
        {"role": "system", "content": "You are a careful assistant. Answer in at most three sentences."},
        {"role": "user", "content": ""}]}
    if stream:
        body["stream"] = True
    body["messages"][1]["content"] = ("What does this program print? " * 40)[:1024 - len(json.dumps(body))]
    return json.dumps(body)


def answer_body():
    """About 1.1 KB, with a usage to book."""
    answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1795330000, "model": f"{MODEL}-2024-07-18",
              "choices": [{"index": 0, "message": {"role": "assistant", "content": "", "refusal": None},
                           "logprobs": None, "finish_reason": "stop"}],
              "usage": {"prompt_tokens": 250, "completion_tokens": 150, "total_tokens": 400,
                        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0}},
              "service_tier": "default", "system_fingerprint": "fp_0123456789"}
    answer["choices"][0]["message"]["content"] = ("It prints a line. " * 60)[:1126 - len(json.dumps(answer))]
    return json.dumps(answer)


# Processes

def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def processes_of(pid):
    """The process and what it started."""
    found = [pid]
    for parent in found:
        for task in pathlib.Path(f"/proc/{parent}/task").iterdir():
            # A thread may have ended since the folder was listed.
            with contextlib.suppress(FileNotFoundError):
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_seconds(pid):
    ticks = 0
    for process in processes_of(pid):
        fields = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICK


def resident_mib(pid):
    kib = 0
    for process in processes_of(pid):
        status = pathlib.Path(f"/proc/{process}/status").read_text()
        kib += next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return kib / 1024


class Running:
    """Processes that this script started: stopped by their ids, in the reverse order."""

    def __init__(self, folder):
        self.folder = folder
        self.processes = []

    def start(self, name, command, environment=None):
        # Into a file, as an operator would: a terminal or a pipe that nobody reads would be measured too.
        with open(self.folder / f"{name}.out", "ab") as out:
            process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=out,
                                       stderr=out, env={**os.environ, **(environment or {})})
        self.processes.append(process)
        return process

    def stop(self, process):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def stop_all(self):
        for process in reversed(self.processes):
            self.stop(process)


def wait_for_port(port, process):
    until = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.002)
    raise SystemExit(f"{process.args[0]} does not listen on port {port}")


def wait_until_ready(port, process):
    """Returns how many seconds it took from now until `/ready` said yes."""
    began = time.monotonic()
    while time.monotonic() < began + START_SECONDS_MAX and process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
            connection.request("GET", "/ready")
            if connection.getresponse().status == 200:
                return time.monotonic() - began
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.001)
    raise SystemExit(f"{process.args[0]} is not ready")


def filled(name, folder, **values):
    text = (HERE / name).read_text()
    for key, value in {"folder": folder, **values}.items():
        text = text.replace("{{" + key + "}}", str(value))
    path = folder / name
    path.write_text(text)
    return path


# The targets

class Target:
    """Something that calls go through: for each case, the process whose CPU counts, a port, and the model to ask for.

    The cases: `whole` and `stream` ask for something else every time, `hit` for the same every time, which nginx has in a
    file; `probe` is for many streams at once.
    """

    def __init__(self, name, cases, key="sk-any"):
        self.name, self.cases, self.key = name, cases, key

    def request(self, case):
        """Method and path of a case."""
        return ("GET", FILE) if case == "hit" and self.name == "nginx" else ("POST", PATH)


def admin(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"authorization": f"Bearer {ADMIN_TOKEN}", "content-type": "application/json"}
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status not in (200, 201):
        raise SystemExit(f"{method} {path}: {answer.status} {text.decode()}")
    return json.loads(text)


def start_tollgate(running, binary, durability, upstreams, name=None, cache=True):
    """Everything on: a virtual key, a blocking budget over everything, the ledger, the cache, metrics, the log."""
    name = name or f"tollgate, {durability}"
    folder = running.folder / name.replace(", ", "-").replace(" ", "-")
    folder.mkdir()
    config = folder / "tollgate.toml"
    port = free_port()
    providers = "".join(
        f'[[providers]]\nname = "{provider}"\nkind = "openai"\nbase_url = "http://127.0.0.1:{upstream}/v1"\n'
        f'api_key = "env:BENCH_UPSTREAM_KEY"\ncatalog = "openai"\nconcurrent_requests_max = 20000\n'
        for provider, upstream in upstreams.items())
    config.write_text(f'listen = "127.0.0.1:{port}"\ndata_dir = "{folder / "data"}"\ntime_zone = "UTC"\n'
                      f'limits = {{ concurrent_requests_max = 20000 }}\n'
                      f'ledger = {{ durability = "{durability}" }}\n'
                      f'cache = {{ enabled = {str(cache).lower()} }}\n{providers}')
    command = [binary, "serve", "--config", config]
    environment = {"TOLLGATE_ADMIN_TOKEN": ADMIN_TOKEN, "BENCH_UPSTREAM_KEY": "sk-upstream-test"}
    process = running.start(folder.name, command, environment)
    facts = {"first_start_ms": wait_until_ready(port, process) * 1000, "idle_mib": resident_mib(process.pid)}
    admin(port, "POST", "/api/budgets",
          {"scope": {"kind": "everything", "id": None}, "window": "day", "limitUsd": "1000", "action": "block"})
    key = admin(port, "POST", "/api/keys", {"name": "benchmark"})["key"]
    models = {"whole": "whole", "stream": "paced", "probe": "probe"}
    if cache:
        models["hit"] = "whole"
    cases = {case: (process.pid, port, f"{provider}/{MODEL}") for case, provider in models.items()}
    facts.update(command=command, environment=environment, process=process, port=port)
    return Target(name, cases, key), facts


def start_targets(running, build, against=None):
    whole, paced, probe = free_port(), free_port(), free_port()
    upstreams = {"whole": whole, "paced": paced, "probe": probe}
    upstream = filled("upstream.nginx", running.folder, port=whole, answer=answer_body().replace("'", " "))
    wait_for_port(whole, running.start("upstream", ["nginx", "-c", upstream, "-p", running.folder]))
    pacing = [build / "examples" / "paced_upstream", f"127.0.0.1:{paced}", CHUNKS, CHUNK_INTERVAL_MS]
    wait_for_port(paced, running.start("paced", pacing))

    ports = {"whole": free_port(), "stream": free_port(), "probe": free_port(), "hit": free_port()}
    # For a worker of nginx, which isn't root.
    running.folder.chmod(0o755)
    (running.folder / FILE.lstrip("/")).write_text(answer_body())
    proxy = filled("proxy.nginx", running.folder, workers=os.cpu_count(), **upstreams, port_whole=ports["whole"],
                   port_paced=ports["stream"], port_probe=ports["probe"], port_hit=ports["hit"])
    nginx = running.start("nginx", ["nginx", "-c", proxy, "-p", running.folder])
    wait_for_port(ports["whole"], nginx)
    targets = [Target("nginx", {case: (nginx.pid, port, MODEL) for case, port in ports.items()})]

    cases = {}
    for case, upstream_port in (("whole", whole), ("stream", paced), ("probe", probe)):
        port = free_port()
        command = [build / "examples" / "bare_proxy", f"127.0.0.1:{port}", f"http://127.0.0.1:{upstream_port}"]
        process = running.start(f"bare-{case}", command)
        wait_for_port(port, process)
        cases[case] = (process.pid, port, MODEL)
    targets.append(Target("actix-web + reqwest", cases))

    tollgates = {}
    for durability in ("strict", "relaxed"):
        target, facts = start_tollgate(running, build / "tollgate", durability, upstreams)
        targets.append(target)
        tollgates[durability] = facts
    targets.append(start_tollgate(running, build / "tollgate", "strict", upstreams, UNCACHED, cache=False)[0])
    # Twice, so that the difference of two equal programs shows what the noise is.
    for name in (BEFORE, f"{BEFORE}, again") if against else ():
        targets.append(start_tollgate(running, against, "strict", upstreams, name)[0])
    models = {"whole": whole, "stream": paced, "probe": probe}
    direct = Target("direct", {case: (None, port, MODEL) for case, port in models.items()})
    return targets, direct, tollgates


# Measuring

def load(target, case, folder, connections, seconds, pause_ms=0):
    """One round: CPU seconds per 1,000 calls, and what wrk saw; each connection pauses so long on average between calls."""
    pid, port, model = target.cases[case]
    body = folder / "body.json"
    body.write_text(request_body(model, case == "stream"))
    method, path = target.request(case)
    environment = {**os.environ, "BENCH_METHOD": method, "BENCH_BODY": str(body), "BENCH_KEY": target.key,
                   "BENCH_SAME": "1" if case == "hit" else "", "BENCH_PAUSE_MS": str(round(pause_ms))}
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(HERE / "load.lua"),
               f"http://127.0.0.1:{port}{path}"]
    before = cpu_seconds(pid)
    out = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds + 30, check=True).stdout
    spent = cpu_seconds(pid) - before
    seen = json.loads(out.strip().splitlines()[-1])
    if seen["failed"] or not seen["requests"]:
        raise SystemExit(f"{target.name}, {case}: {seen['failed']} of {seen['requests']} calls failed")
    return {"cpu": spent * 1000 / seen["requests"], "rate": seen["requests"] / seen["seconds"],
            "p50": seen["p50_ms"], "p99": seen["p99_ms"], "requests": seen["requests"]}


def one_by_one(target, case, count, pause):
    """Milliseconds to the first byte of the body and to its end, one call at a time on one connection."""
    _, port, model = target.cases[case]
    body = request_body(model, case == "stream").encode()
    begun = body.index(b"What does")
    head = (f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {target.key}\r\ncontent-length: {len(body)}\r\n\r\n").encode()
    firsts, ends = [], []
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            time.sleep(pause)
            # No answer of a call before may serve this one.
            asked = body[:begun] + f"{time.time_ns():020d}".encode() + body[begun + 20:]
            began = time.perf_counter()
            connection.sendall(head + asked)
            got, first, length = b"", None, None
            while True:
                piece = connection.recv(65536)
                if not piece:
                    raise SystemExit(f"{target.name}, {case}: the connection was closed")
                got += piece
                if length is None:
                    headers, found, rest = got.partition(b"\r\n\r\n")
                    if not found:
                        continue
                    if b" 200 " not in headers[:16]:
                        raise SystemExit(f"{target.name}, {case}: {got.decode(errors='replace')}")
                    fields = dict(line.lower().split(b": ", 1) for line in headers.split(b"\r\n")[1:])
                    length = len(headers) + 4 + int(fields[b"content-length"]) if b"content-length" in fields else -1
                else:
                    rest = b"more"
                if first is None and rest:
                    first = time.perf_counter()
                if len(got) == length or (length == -1 and got.endswith(b"0\r\n\r\n")):
                    break
            firsts.append((first - began) * 1000)
            ends.append((time.perf_counter() - began) * 1000)
    return firsts, ends


def half_load(targets, rounds, options, folder):
    """Calls at about half the rate that each target reached: latency without queues of its own making."""
    figures = {}
    for target in targets:
        rate = statistics.median(one["rate"] for one in rounds[target.name]) / 2
        pause_ms = options.connections / rate * 1000 - 1
        figures[target.name] = load(target, "whole", folder, options.connections, options.seconds * 2, pause_ms)
    print("\nwhole, at half the rate that each reached")
    print(f"| {'target':<20} | calls / s | p50 ms | p99 ms |")
    print(f"| {'---':<20} | ---: | ---: | ---: |")
    for name, one in figures.items():
        print(f"| {name:<20} | {one['rate']:.0f} | {one['p50']:.2f} | {one['p99']:.2f} |")
    return figures


def probe(running, build, direct, target, streams, chunks, interval_ms, while_open=lambda: None):
    """Many streams at once; the provider and the clients are one program, so that one clock says how late a chunk is."""
    upstream, (_, port, model) = direct.cases["probe"][1], target.cases["probe"]
    command = [build / "examples" / "stream_probe", f"127.0.0.1:{upstream}", f"127.0.0.1:{port}", target.key, model,
               streams, chunks, interval_ms]
    with subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True) as process:
        running.processes.append(process)
        said = process.stdout.readline()
        seen = while_open() if said == "open\n" else None
        said += process.stdout.read()
    if process.returncode:
        raise SystemExit(f"{target.name}: {said}")
    return {**json.loads(said.splitlines()[-1]), "while_open": seen}


def chunk_delay(running, build, direct, targets):
    figures = {}
    print(f"\nchunks of {PROBE_STREAMS} streams, every {PROBE_INTERVAL_MS} ms: milliseconds from their writing to their arrival")
    print(f"| {'target':<20} | p50 | p99 |")
    print(f"| {'---':<20} | ---: | ---: |")
    for target in [direct, *targets]:
        one = probe(running, build, direct, target, PROBE_STREAMS, PROBE_CHUNKS, PROBE_INTERVAL_MS)
        figures[target.name] = one
        print(f"| {target.name:<20} | {one['p50_us'] / 1000:.2f} | {one['p99_us'] / 1000:.2f} |")
    return figures


def open_streams(running, build, direct, targets, streams):
    print(f"\n{streams} open streams, resident")
    figures = {}
    for target in targets:
        pid = target.cases["probe"][0]
        before = resident_mib(pid)
        chunks = 2
        one = probe(running, build, direct, target, streams, chunks, OPEN_SECONDS * 1000 // chunks, lambda: resident_mib(pid))
        figures[target.name] = {"before_mib": before, "open_mib": one["while_open"]}
        print(f"| {target.name:<20} | {before:.1f} MiB before | {one['while_open']:.1f} MiB |")
    return figures


def start_with_entries(running, build, binary, entries):
    """How long a start takes over a ledger that has so many entries."""
    target, facts = start_tollgate(running, binary, "strict", {"whole": free_port()}, f"filled {entries}")
    running.stop(facts["process"])
    data = running.folder / f"filled-{entries}" / "data"
    for name in ("ledger.redb", "ledger.created"):
        (data / name).unlink()
    subprocess.run([str(build / "examples" / "filled_ledger"), str(data), str(entries)], check=True)
    times = []
    for _ in range(5):
        again = running.start("filled-again", facts["command"], facts["environment"])
        times.append(wait_until_ready(facts["port"], again) * 1000)
        booked = admin(facts["port"], "GET", "/api/costs") if len(times) == 5 else None
        mib = resident_mib(again.pid)
        running.stop(again)
    size = (data / "ledger.redb").stat().st_size / 2**20
    print(f"\nstart to ready with {entries} entries ({size:.0f} MiB): median {statistics.median(times):.0f} ms, "
          f"{min(times):.0f} … {max(times):.0f}; {mib:.1f} MiB resident")
    return {"times_ms": times, "file_mib": size, "mib": mib, "booked": booked}


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


# Telling

def show_load(case, rounds, targets):
    base = statistics.median(one["cpu"] for one in rounds[targets[0].name])
    print(f"\n{case}: CPU seconds per 1,000 calls, median of {len(rounds[targets[0].name])} rounds")
    print(f"| {'target':<20} | CPU-s / 1,000 | lowest … highest | ÷ nginx | calls / s | p50 ms | p99 ms |")
    print(f"| {'---':<20} | ---: | ---: | ---: | ---: | ---: | ---: |")
    for target in targets:
        ones = rounds[target.name]
        cpu = [one["cpu"] for one in ones]
        median = {name: statistics.median(one[name] for one in ones) for name in ("rate", "p50", "p99")}
        print(f"| {target.name:<20} | {statistics.median(cpu):.4f} | {min(cpu):.4f} … {max(cpu):.4f} | "
              f"{statistics.median(cpu) / base:.2f} | {median['rate']:.0f} | {median['p50']:.2f} | {median['p99']:.2f} |")
    for other in (BEFORE, UNCACHED):
        for target in targets if other in rounds else ():
            show_against(rounds, target.name, other)


def show_against(rounds, name, other):
    ratios = sorted(one["cpu"] / before["cpu"] for one, before in zip(rounds[name], rounds[other]))
    print(f"{name} ÷ {other}, round by round: median {statistics.median(ratios):.3f}, "
          f"middle half {percentile(ratios, 0.25):.3f} … {percentile(ratios, 0.75):.3f}")


def show_latency(title, figures):
    print(f"\n{title}: one call at a time, milliseconds beyond direct")
    print(f"| {'target':<20} | p50 | p99 | added p50 | added p99 |")
    print(f"| {'---':<20} | ---: | ---: | ---: | ---: |")
    direct = figures["direct"]
    for name, values in figures.items():
        p50, p99 = percentile(values, 0.5), percentile(values, 0.99)
        print(f"| {name:<20} | {p50:.3f} | {p99:.3f} | {p50 - percentile(direct, 0.5):.3f} | {p99 - percentile(direct, 0.99):.3f} |")


def measure(options, running):
    build = options.build
    targets, direct, tollgates = start_targets(running, build, options.against)
    stripped = running.folder / "stripped"
    shutil.copy(build / "tollgate", stripped)
    with contextlib.suppress(OSError):
        subprocess.run(["strip", str(stripped)], check=False)
    result = {"machine": f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}, Linux {platform.release()}",
              "binary_mib": stripped.stat().st_size / 2**20, "load": {}, "latency": {}}
    if options.only:
        targets = [target for target in targets if any(name in target.name for name in ["nginx", *options.only.split(",")])]
    for case in options.cases.split(","):
        able = [target for target in targets if case in target.cases]
        rounds = {target.name: [] for target in able}
        for target in able:
            load(target, case, running.folder, options.connections, 1)
        for number in range(options.rounds):
            turn = number % len(able)
            for target in able[turn:] + able[:turn]:
                rounds[target.name].append(load(target, case, running.folder, options.connections, options.seconds))
        show_load(case, rounds, able)
        result["load"][case] = rounds

    if options.latency_calls:
        for case, count, pause, which in (("whole", options.latency_calls, 0.003, 1),
                                          ("stream", options.latency_calls // 10, 0, 0)):
            if case not in options.cases.split(","):
                continue
            figures = {target.name: [] for target in [direct, *targets]}
            for _ in range(10):
                for target in [direct, *targets]:
                    figures[target.name] += one_by_one(target, case, max(1, count // 10), pause)[which]
            title = "to the end of a whole answer" if which else "to the first text of a stream"
            show_latency(title, figures)
            result["latency"][case] = {name: {"p50": percentile(values, 0.5), "p99": percentile(values, 0.99)}
                                       for name, values in figures.items()}

    if options.half_load:
        result["half_load"] = half_load(targets, result["load"]["whole"], options, running.folder)
    if options.probe:
        result["chunk_delay"] = chunk_delay(running, build, direct, targets)
    if options.open_streams:
        result["open_streams"] = open_streams(running, build, direct, targets, options.open_streams)
    if options.entries:
        result["start"] = start_with_entries(running, build, build / "tollgate", options.entries)
    strict = tollgates["strict"]
    entries = admin(strict["port"], "GET", "/api/costs")
    result["loaded_mib"] = resident_mib(strict["process"].pid)
    running.stop(strict["process"])
    again = running.start("tollgate-again", strict["command"], strict["environment"])
    result["start_again_ms"] = wait_until_ready(strict["port"], again) * 1000
    result["again_mib"] = resident_mib(again.pid)
    running.stop(again)
    result.update(first_start_ms=strict["first_start_ms"], idle_mib=strict["idle_mib"], entries=entries["requests"],
                  booked_usd=entries["totalUsd"])
    print(f"\nbinary, stripped     {result['binary_mib']:.1f} MiB")
    print(f"idle, resident       {result['idle_mib']:.1f} MiB, {result['again_mib']:.1f} MiB with {entries['requests']} entries, "
          f"{result['loaded_mib']:.1f} MiB after the load")
    print(f"start to ready       {result['first_start_ms']:.0f} ms on an empty folder, "
          f"{result['start_again_ms']:.0f} ms with {entries['requests']} entries")
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parent.parent / "target" / "release")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--cases", default="whole,stream,hit")
    parser.add_argument("--only", help="targets beside nginx, by parts of their names")
    parser.add_argument("--against", type=pathlib.Path, help="another tollgate binary, to compare with round by round")
    parser.add_argument("--latency-calls", type=int, default=1000)
    parser.add_argument("--half-load", action="store_true", help="latency of whole answers at half the rate reached")
    parser.add_argument("--probe", action="store_true", help="how late the chunks of 64 streams are")
    parser.add_argument("--open-streams", type=int, help="memory with so many open streams")
    parser.add_argument("--entries", type=int, help="start to ready with a ledger of so many entries")
    parser.add_argument("--json", type=pathlib.Path, help="where to write every figure")
    options = parser.parse_args()
    with contextlib.suppress(ValueError, OSError):
        # A stream has two sockets; who isn't root may have to do with less.
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_MAX, FILES_MAX))
    for program in ("nginx", "wrk"):
        if not shutil.which(program):
            raise SystemExit(f"{program} is missing: apt-get install nginx-light wrk")
    with tempfile.TemporaryDirectory(prefix="tollgate-bench-") as folder:
        running = Running(pathlib.Path(folder))
        try:
            result = measure(options, running)
        except SystemExit:
            for path in pathlib.Path(folder).glob("*.out"):
                sys.stderr.write(f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}\n")
            raise
        finally:
            running.stop_all()
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
