"""The page that a backend serves by itself."""

import http.client
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from metric_parts import backend_state
from waiting import wait_for

from glet.errors import ConfigError
from glet.serve.backend_metrics import BackendMetrics
from glet.serve.metrics_server import MOST_CONNECTIONS, MetricsServer

LIMIT_S = 60.0


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    made = MetricsServer("127.0.0.1:*", lambda: "glet_x 1\n", insecure=False)
    yield made
    made.close()


def fetch(server: MetricsServer, method: str, path: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(server.address, timeout=LIMIT_S)
    connection.request(method, path)
    return connection.getresponse()


def test_the_page_is_made_for_every_scrape() -> None:
    pages = iter(["glet_x 1\n", "glet_x 2\n"])
    made = MetricsServer("127.0.0.1:*", lambda: next(pages), insecure=False)
    try:
        got = [fetch(made, "GET", "/metrics").read() for _ in range(2)]
    finally:
        made.close()
    assert got == [b"glet_x 1\n", b"glet_x 2\n"]


def test_a_scrape_says_what_format_it_is(server: MetricsServer) -> None:
    answer = fetch(server, "GET", "/metrics?x=1")
    assert answer.getheader("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    head = fetch(server, "HEAD", "/metrics")
    assert (head.status, head.getheader("content-length"), head.read()) == (200, "9", b"")


def test_another_path_says_which_is_valid(server: MetricsServer) -> None:
    answer = fetch(server, "GET", "/metric")
    assert answer.status == 404
    assert b"valid is /metrics" in answer.read()
    assert fetch(server, "POST", "/metrics").status == 501


def test_clients_that_say_nothing_do_not_pile_up(server: MetricsServer) -> None:
    host, _, port = server.address.rpartition(":")
    idle = [socket.create_connection((host, int(port)), LIMIT_S) for _ in range(MOST_CONNECTIONS)]

    def turned_away() -> bool:
        with socket.create_connection((host, int(port)), LIMIT_S) as late:
            late.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            try:
                return late.recv(100) == b""
            except ConnectionError:
                return True

    wait_for(turned_away)
    for client in idle:
        client.close()
    wait_for(lambda: not turned_away())


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1", "valid is HOST:PORT"),
        ("127.0.0.1:x", "valid is HOST:PORT"),
        ("127.0.0.1:99999", "cannot listen there"),
        ("0.0.0.0:0", "can be reached from outside"),
    ],
)
def test_an_address_that_cannot_be_is_one_line(address: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        MetricsServer(address, str, insecure=False)
    assert "\n" not in str(caught.value)


def test_an_address_that_is_taken_is_one_line(server: MetricsServer) -> None:
    with pytest.raises(ConfigError, match="cannot listen there"):
        MetricsServer(server.address, str, insecure=False)


def test_a_backend_tells_its_last_state() -> None:
    made = BackendMetrics("127.0.0.1:*", insecure=False)
    try:
        url = f"http://{made.address}/metrics"
        with urllib.request.urlopen(url, timeout=LIMIT_S) as answer:
            before = answer.read().decode()
        made.take(backend_state())
        with urllib.request.urlopen(url, timeout=LIMIT_S) as answer:
            after = answer.read().decode()
    finally:
        made.close()
    assert "glet_gpulet_share_pct" not in before
    assert 'glet_build_info{version="' in before
    assert 'glet_gpulet_share_pct{backend="device0",device="0",gpulet="5"} 40\n' in after
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=LIMIT_S)
