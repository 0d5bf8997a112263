"""What is counted since the start of a process: parts of messages, see messages.py."""

import msgspec

from glet.types.observation import StageObservation


class ModelCounters(msgspec.Struct, frozen=True, kw_only=True):
    """What a gpulet counted for a model since its executor started, until `at_s` of its clock.

    `borrowed` are batches that ran on the share of an idle neighbour, too. `running_ms` is how long
    a batch of it has been running by now.
    """

    gpulet: int
    model: int
    ok: int = 0
    late: int = 0
    full: int = 0
    failed: int = 0
    cancelled: int = 0
    batches: int = 0
    items: int = 0
    borrowed: int = 0
    waiting: int = 0
    correction: float = 1.0
    busy_ms: float = 0.0
    running_ms: float = 0.0
    at_s: float = 0.0


class FrontendCounters(msgspec.Struct, frozen=True, kw_only=True):
    """What a frontend counted for a model, or for an app of the name `model`, since its start.

    `good` are the ok answers within their deadline. `latency` are the buckets of a histogram of ok
    answers that are not empty: (upper end in nanoseconds, count), rising.
    """

    model: str
    slo_ms: float
    max_batch: int = 0
    received: int = 0
    ok: int = 0
    good: int = 0
    late: int = 0
    full: int = 0
    failed: int = 0
    unavailable: int = 0
    invalid: int = 0
    cancelled: int = 0
    outstanding: int = 0
    latency: tuple[tuple[int, int], ...] = ()


class AppCounters(msgspec.Struct, frozen=True, kw_only=True):
    """What a frontend counted for an app, and how it splits the app's objective now."""

    counted: FrontendCounters
    stages: tuple[StageObservation, ...] = ()
