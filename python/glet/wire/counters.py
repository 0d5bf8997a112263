"""What is counted since the start of a process: parts of messages, see messages.py."""

from typing import Annotated

import msgspec
from msgspec import Meta

from glet.types.observation import StageObservation
from glet.wire.message import Count, NotNegative, Number


class ModelCounters(msgspec.Struct, frozen=True, kw_only=True):
    """What a gpulet counted for a model since its executor started, until `at_s` of its clock.

    `borrowed` are batches that ran on the share of an idle neighbour, too. `running_ms` is how long
    a batch of it has been running by now.
    """

    gpulet: Number
    model: Number
    ok: Count = 0
    late: Count = 0
    full: Count = 0
    failed: Count = 0
    cancelled: Count = 0
    batches: Count = 0
    items: Count = 0
    borrowed: Count = 0
    waiting: Count = 0
    correction: NotNegative = 1.0
    busy_ms: NotNegative = 0.0
    running_ms: NotNegative = 0.0
    at_s: NotNegative = 0.0


class FrontendCounters(msgspec.Struct, frozen=True, kw_only=True):
    """What a frontend counted for a model, or for an app of the name `model`, since its start.

    `good` are the ok answers within their deadline. `latency` are the buckets of a histogram of ok
    answers that are not empty: (upper end in nanoseconds, count), rising.
    """

    model: str
    slo_ms: NotNegative
    max_batch: Annotated[int, Meta(ge=0, le=65536)] = 0
    received: Count = 0
    ok: Count = 0
    good: Count = 0
    late: Count = 0
    full: Count = 0
    failed: Count = 0
    unavailable: Count = 0
    invalid: Count = 0
    cancelled: Count = 0
    outstanding: int = 0
    latency: tuple[tuple[Count, Count], ...] = ()


class AppCounters(msgspec.Struct, frozen=True, kw_only=True):
    """What a frontend counted for an app, and how it splits the app's objective now."""

    counted: FrontendCounters
    stages: tuple[StageObservation, ...] = ()
