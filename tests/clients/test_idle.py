"""Connections that wait for nothing cost next to nothing: ten thousand of them fit into 150 MB.

In short runs a tenth as many with a tenth as much; `DEEP_TESTS=1` opens all of them.
"""

import os
import pathlib
import resource
import socket

import pytest
from load import Server

CONNECTIONS = 10_000 if os.environ.get("DEEP_TESTS") == "1" else 1_000
MEMORY_BYTES_MAX = 150 * 1_000_000
# Files beside the connections: the server's own, and what the tests hold.
FILES_SPARE = 500


@pytest.fixture
def many_files():
    """Room for the connections' files, here and in the server, which inherits it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + FILES_SPARE
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"the limit of open files is {hard}, and {wanted} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def server(many_files, tmp_path):
    running = Server(tmp_path, "")
    running.start()
    yield running
    try:
        running.stop()
    finally:
        running.kill()


def resident_bytes(server):
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def asked(connection):
    """One request on a connection that is kept."""
    connection.sendall(b"GET /health HTTP/1.1\r\nhost: gateway\r\n\r\n")
    return connection.recv(4096)


def test_idle_connections_are_cheap_and_still_served(server):
    before = resident_bytes(server)
    connections = []
    try:
        for _ in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
            connections.append(connection)
            assert asked(connection).startswith(b"HTTP/1.1 200 ")
        held = resident_bytes(server)
        print(f"{CONNECTIONS} idle connections: {before / 1e6:.0f} MB before, {held / 1e6:.0f} MB with them")
        share = CONNECTIONS / 10_000
        assert held - before < MEMORY_BYTES_MAX * share
        if share == 1:
            assert held < MEMORY_BYTES_MAX
        for connection in connections[:: CONNECTIONS // 50]:
            assert asked(connection).startswith(b"HTTP/1.1 200 "), "a connection that was idle is served"
    finally:
        for connection in connections:
            connection.close()
    assert server.status("/health") == 200
