"""Requests that the core traced, made spans of OpenTelemetry."""

from types import SimpleNamespace
from typing import Any

import pytest
from waiting import wait_for

from glet.config.cluster import TraceConfig
from glet.errors import ConfigError
from glet.serve import tracing
from glet.serve.tracing import TracedRequest, Tracing, collector_url, start_tracing, timespans

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
NOW_NS = 1_700_000_000_000_000_000
MS = 1_000_000


def traced(**changes: Any) -> TracedRequest:
    given: dict[str, Any] = {
        "model": "lenet", "outcome": "ok", "trace_id": "", "span_id": "", "ago_ns": 5 * MS,
        "total_ns": 10 * MS, "queue_ns": 2 * MS, "batch_ns": 1 * MS, "execute_ns": 4 * MS,
        "batch": 3,
    }  # fmt: skip
    return TracedRequest(**(given | changes))


class FakeLoop:
    """Hands out rows once, as core.FrontendLoop does."""

    def __init__(self) -> None:
        self.rows: list[TracedRequest] = []
        self.ratios: list[tuple[float, dict[str, float]]] = []

    def set_trace_ratio(self, ratio: float, of_models: dict[str, float]) -> None:
        self.ratios.append((ratio, of_models))

    def take_traces(self) -> list[tuple[Any, ...]]:
        taken, self.rows = self.rows, []
        return [tuple(row) for row in taken]

    def traces_dropped(self) -> int:
        return 7


@pytest.fixture
def memory() -> Any:
    """An exporter that keeps what it gets."""
    module = pytest.importorskip(
        "opentelemetry.sdk.trace.export.in_memory_span_exporter", reason="opentelemetry-sdk"
    )
    return module.InMemorySpanExporter()


def exported(rows: list[TracedRequest], exporter: Any) -> tuple[Any, ...]:
    loop = FakeLoop()
    loop.rows = rows
    made = Tracing(loop, TraceConfig(ratio=0.5), exporter)
    wait_for(lambda: made.counts() == {"exported": len(rows), "failed": 0, "dropped": 7})
    made.close()
    return tuple(exporter.get_finished_spans())


def test_parts_lie_one_behind_the_other_inside_the_request() -> None:
    whole, parts = timespans(traced(), NOW_NS)
    assert (whole.end_ns, whole.start_ns) == (NOW_NS - 5 * MS, NOW_NS - 15 * MS)
    assert [part.name for part in parts] == ["queue", "batch", "execute"]
    starts = [(part.start_ns - whole.start_ns) / MS for part in parts]
    assert starts == [1.5, 3.5, 4.5]
    assert (parts[-1].end_ns - whole.start_ns) / MS == 8.5


def test_parts_never_end_after_the_request() -> None:
    whole, parts = timespans(traced(total_ns=3 * MS), NOW_NS)
    assert max(part.end_ns for part in parts) == whole.end_ns
    assert all(part.start_ns <= part.end_ns for part in parts)


def test_what_never_ran_has_no_parts() -> None:
    never = traced(outcome="late", queue_ns=0, batch_ns=0, execute_ns=0, batch=0)
    assert timespans(never, NOW_NS)[1] == ()


def test_a_request_is_a_span_with_its_parts_as_children(memory: Any) -> None:
    *parts, whole = exported([traced()], memory)
    assert whole.name == "glet.request"
    assert whole.parent is None
    assert dict(whole.attributes) == {
        "glet.model": "lenet", "glet.outcome": "ok", "glet.batch": 3,
    }  # fmt: skip
    assert whole.resource.attributes["service.name"] == "glet"
    assert whole.end_time - whole.start_time == 10 * MS
    for part, took_ms in zip(parts, (2, 1, 4), strict=True):
        assert part.parent.span_id == whole.context.span_id
        assert part.context.trace_id == whole.context.trace_id
        assert part.end_time - part.start_time == took_ms * MS


def test_a_parent_goes_on_in_the_request(memory: Any) -> None:
    *_, whole = exported([traced(trace_id=TRACE, span_id=SPAN)], memory)
    assert whole.context.trace_id == int(TRACE, 16)
    assert whole.parent.span_id == int(SPAN, 16)
    assert whole.parent.is_remote


def test_two_requests_without_a_parent_are_two_traces(memory: Any) -> None:
    spans = exported([traced(), traced()], memory)
    assert len({span.context.trace_id for span in spans}) == 2


def test_what_went_wrong_is_an_error_by_name(memory: Any) -> None:
    (whole,) = exported([traced(outcome="late", batch=0)], memory)
    assert whole.status.status_code.name == "ERROR"
    assert whole.status.description == "late"


def test_many_requests_go_in_several_messages(memory: Any) -> None:
    count = tracing.MOST_SPANS
    spans = exported([traced() for _ in range(count)], memory)
    assert len(spans) == 4 * count


class Broken:
    """An exporter whose collector is not there: it fails as the SDK's do, or throws."""

    def __init__(self, *, throws: bool) -> None:
        self.throws = throws
        self.ended = False

    def export(self, spans: Any) -> Any:
        if self.throws:
            raise OSError("no route to host")
        return SimpleNamespace(name="FAILURE")

    def shutdown(self) -> None:
        self.ended = True


@pytest.mark.parametrize("throws", [False, True])
def test_what_a_collector_does_not_take_is_counted(*, throws: bool) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk")
    loop, exporter = FakeLoop(), Broken(throws=throws)
    made = Tracing(loop, TraceConfig(), exporter)
    loop.rows = [traced(), traced()]
    wait_for(lambda: made.counts()["failed"] == 2)
    loop.rows = [traced()]
    made.close()
    assert made.counts()["failed"] == 3
    assert exporter.ended


def test_the_ratio_goes_to_the_core(memory: Any) -> None:
    loop = FakeLoop()
    made = Tracing(loop, TraceConfig(ratio=0.25), memory)
    made.set_ratio(0.5, {"lenet": 1.0})
    made.close()
    assert loop.ratios == [(0.25, {}), (0.5, {"lenet": 1.0})]


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
        ("https://collector/otlp/v1/traces", "https://collector/otlp/v1/traces"),
    ],
)
def test_a_collector_is_found_at_the_path_that_otlp_has(endpoint: str, url: str) -> None:
    assert collector_url(endpoint) == url


def test_without_an_endpoint_nothing_is_traced() -> None:
    assert start_tracing(FakeLoop(), TraceConfig()) is None


def test_without_opentelemetry_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(tracing, "import_module", missing)
    with pytest.raises(ConfigError, match=r"pip install 'glet\[otel\]'"):
        start_tracing(FakeLoop(), TraceConfig(endpoint="http://127.0.0.1:4318"))


@pytest.mark.parametrize("endpoint", ["127.0.0.1:4318", "tcp://h:1", "http://", "grpc://h:4317"])
def test_an_endpoint_that_is_no_url_is_refused(endpoint: str) -> None:
    with pytest.raises(ValueError, match="is no URL"):
        TraceConfig(endpoint=endpoint)
