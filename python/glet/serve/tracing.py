"""Traces of requests, out of the core's ring and to a collector, by OpenTelemetry (extra `otel`).

The core chooses the requests that are traced and keeps what it knows of them when they end
(csrc/glet/net/trace_ring.h). A thread here takes them some times a second. The ring is the only
buffer: while a collector is slow, the core drops the oldest and counts them.
"""

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from glet.clock import unix_ns
from glet.config.cluster import TraceConfig
from glet.errors import ConfigError

logger = logging.getLogger(__name__)

PERIOD_S = 0.25
EXPORT_LIMIT_S = 5.0
# Of the spans of one request to a collector; more go in several messages.
MOST_SPANS = 512
PATH = "/v1/traces"
PARTS = ("queue", "batch", "execute")


class TracedStage(NamedTuple):
    """A stage of an app that was traced. Times of its batch are of the request answered last."""

    stage: str
    model: str
    outcome: str
    """`cancelled` for one that was under way when the app ended without it."""
    requests: int
    began_ago_ns: int
    ended_ago_ns: int
    queue_ns: int
    batch_ns: int
    execute_ns: int
    batch: int


class TracedRequest(NamedTuple):
    """A row of core.FrontendLoop.take_traces(). Times in ns; `ago_ns`: how long ago it ended.

    `trace_id` and `span_id` are the parent's, in hexadecimal; empty where the trace begins here.
    """

    model: str
    outcome: str
    trace_id: str
    span_id: str
    ago_ns: int
    total_ns: int
    queue_ns: int
    batch_ns: int
    execute_ns: int
    batch: int
    stages: Sequence[Sequence[Any]] = ()
    """Of an app: rows of TracedStage, for each stage that began."""


class Timespan(NamedTuple):
    """A span's place in time, in ns since 1970."""

    name: str
    start_ns: int
    end_ns: int


def timespans(request: TracedRequest, now_ns: int) -> tuple[Timespan, tuple[Timespan, ...]]:
    """The request, and its parts in the executor; none of what was never run, or ran as stages.

    The executor tells how long each part took and not when: clocks of two hosts are never compared.
    So what is left of the whole, the way there and back, is taken to be half before and half after.
    """
    end_ns = now_ns - request.ago_ns
    whole = Timespan("glet.request", end_ns - request.total_ns, end_ns)
    return whole, () if request.stages else _parts(whole, request)


def stage_timespans(stage: TracedStage, now_ns: int) -> tuple[Timespan, tuple[Timespan, ...]]:
    """The same of a stage. Its requests go out together; the parts are of the one answered last."""
    whole = Timespan("glet.stage", now_ns - stage.began_ago_ns, now_ns - stage.ended_ago_ns)
    return whole, _parts(whole, stage)


def _parts(whole: Timespan, ran: TracedRequest | TracedStage) -> tuple[Timespan, ...]:
    if not ran.batch:
        return ()
    took = (ran.queue_ns, ran.batch_ns, ran.execute_ns)
    at_ns = whole.start_ns + max(0, whole.end_ns - whole.start_ns - sum(took)) // 2
    parts = []
    for name, took_ns in zip(PARTS, took, strict=True):
        parts.append(Timespan(name, at_ns, min(at_ns + took_ns, whole.end_ns)))
        at_ns = parts[-1].end_ns
    return tuple(parts)


def in_messages(rows: Sequence[TracedRequest]) -> Iterable[list[TracedRequest]]:
    """Together of MOST_SPANS spans at most, but for a single request that has more."""
    some: list[TracedRequest] = []
    spans = 0
    for row in rows:
        count = (1 + len(PARTS)) * (1 + len(row.stages))
        if some and spans + count > MOST_SPANS:
            yield some
            some, spans = [], 0
        some.append(row)
        spans += count
    if some:
        yield some


class Tracing:
    """The thread between a FrontendLoop and an exporter of OpenTelemetry's SDK."""

    def __init__(self, loop: Any, config: TraceConfig, exporter: Any) -> None:
        """Raises ConfigError without OpenTelemetry."""
        self._loop = loop
        self._exporter = exporter
        self._writer = SpanWriter(config.service)
        self._exported = 0
        self._failed = 0
        self._stop = threading.Event()
        self.set_ratio(config.ratio)
        self._thread = threading.Thread(target=self._run, name="glet-traces", daemon=True)
        self._thread.start()

    def set_ratio(self, ratio: float, of_models: Mapping[str, float] | None = None) -> None:
        """The part of the requests without a parent that is traced, of all or of one model."""
        self._loop.set_trace_ratio(ratio, dict(of_models or {}))

    def counts(self) -> dict[str, int]:
        """Requests by what became of their traces; for `dropped` the ring had no room."""
        return {
            "exported": self._exported,
            "failed": self._failed,
            "dropped": self._loop.traces_dropped(),
        }

    def close(self) -> None:
        """Exports what is there; returns after EXPORT_LIMIT_S at the latest, about."""
        self._stop.set()
        self._thread.join(EXPORT_LIMIT_S + 1.0)
        self._exporter.shutdown()

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_S):
            self._drain()
        self._drain()

    def _drain(self) -> None:
        rows = [TracedRequest(*row) for row in self._loop.take_traces()]
        now_ns = unix_ns()
        for some in in_messages(rows):
            if self._export(self._writer.spans(some, now_ns)):
                self._exported += len(some)
            else:
                self._failed += len(some)

    def _export(self, spans: Sequence[Any]) -> bool:
        try:
            return str(self._exporter.export(spans).name) == "SUCCESS"
        except Exception as error:  # noqa: BLE001 - whatever a stranger's exporter throws
            logger.warning("traces not exported: %s", error)
            return False


class SpanWriter:
    """Requests into spans of OpenTelemetry's SDK."""

    def __init__(self, service: str) -> None:
        """Raises ConfigError without OpenTelemetry."""
        self._api = otel("opentelemetry.trace")
        sdk = otel("opentelemetry.sdk.trace")
        sampling = otel("opentelemetry.sdk.trace.sampling")
        resources = otel("opentelemetry.sdk.resources")
        self._ended: list[Any] = []
        # The core has chosen already.
        provider = sdk.TracerProvider(
            sampler=sampling.ALWAYS_ON,
            resource=resources.Resource.create({"service.name": service}),
            shutdown_on_exit=False,
        )
        provider.add_span_processor(_keeper(sdk.SpanProcessor, self._ended))
        self._tracer = provider.get_tracer("glet")

    def spans(self, requests: Iterable[TracedRequest], now_ns: int) -> list[Any]:
        """All that these requests make, as ReadableSpan; parts and stages before their request."""
        for request in requests:
            self._write(request, now_ns)
        spans = list(self._ended)
        self._ended.clear()
        return spans

    def _write(self, request: TracedRequest, now_ns: int) -> None:
        whole, parts = timespans(request, now_ns)
        span = self._tracer.start_span(
            whole.name,
            context=self._parent(request),
            kind=self._api.SpanKind.SERVER,
            start_time=whole.start_ns,
        )
        self._fill(span, parts, request)
        inside = self._api.set_span_in_context(span)
        for row in request.stages:
            stage = TracedStage(*row)
            took, its_parts = stage_timespans(stage, now_ns)
            child = self._tracer.start_span(took.name, inside, start_time=took.start_ns)
            child.set_attributes({"glet.stage": stage.stage, "glet.requests": stage.requests})
            self._fill(child, its_parts, stage)
            child.end(took.end_ns)
        span.end(whole.end_ns)

    def _fill(self, span: Any, parts: Iterable[Timespan], ran: TracedRequest | TracedStage) -> None:
        """What a request and a stage have alike."""
        span.set_attributes({"glet.model": ran.model, "glet.outcome": ran.outcome})
        if ran.batch:
            span.set_attribute("glet.batch", ran.batch)
        if ran.outcome != "ok":
            span.set_status(self._api.Status(self._api.StatusCode.ERROR, ran.outcome))
        inside = self._api.set_span_in_context(span)
        for part in parts:
            child = self._tracer.start_span(part.name, inside, start_time=part.start_ns)
            child.end(part.end_ns)

    def _parent(self, request: TracedRequest) -> Any:
        """A context with the caller's span; an empty one where there is none."""
        if not request.trace_id:
            return otel("opentelemetry.context").Context()
        caller = self._api.SpanContext(
            trace_id=int(request.trace_id, 16),
            span_id=int(request.span_id, 16),
            is_remote=True,
            trace_flags=self._api.TraceFlags(self._api.TraceFlags.SAMPLED),
        )
        return self._api.set_span_in_context(self._api.NonRecordingSpan(caller))


def start_tracing(loop: Any, config: TraceConfig) -> Tracing | None:
    """As a cluster.toml says; None where it says nothing. Raises ConfigError without `otel`."""
    if not config.endpoint:
        return None
    module = otel("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    exporter = module.OTLPSpanExporter(
        endpoint=collector_url(config.endpoint), timeout=EXPORT_LIMIT_S
    )
    return Tracing(loop, config, exporter)


def collector_url(endpoint: str) -> str:
    """With the path that OTLP has, where none is given."""
    has_path = urlsplit(endpoint).path not in ("", "/")
    return endpoint if has_path else endpoint.rstrip("/") + PATH


def otel(module: str) -> Any:
    """A module of OpenTelemetry. Raises ConfigError when it is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"[trace] endpoint is given, but {module.partition('.')[0]} is not installed; "
            "pip install 'glet[otel]', or leave endpoint empty"
        ) from error


def _keeper(root: Any, ended: list[Any]) -> Any:
    """A SpanProcessor that puts what ends into a list."""
    keeper = root()
    keeper.on_end = ended.append
    return keeper
