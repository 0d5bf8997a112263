"""How long requests take on so many replicas: the latency models that autoscalers plan with.

Rates are requests/s, times seconds here. Everything is vectorised over jobs and steps.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from glet.types.fleet import BatchLatency

Floats = NDArray[np.float64]

# Above this utilisation the formula is left for a line through the origin: latency stays finite.
RELAXED_RHO = 0.95
# Stands for "nobody ever waits" where a logarithm needs a number.
LEAST_WAITING = 1e-4


class Service(NamedTuple):
    """One request on one replica takes `service_s`; `percentile` (0..1) of requests are looked at.

    Both are arrays that broadcast against the rates. A percentile below 0 stands for the mean.
    """

    service_s: Floats
    percentile: Floats


def burst_latency_s(rate_rps: ArrayLike, service_s: ArrayLike, replicas: ArrayLike) -> Floats:
    """Upper bound: all requests of a second arrive at once, the last waits for all others.

    Faro (Jeon et al., EuroSys 2025, section 3.3) and MArk (Zhang et al., ATC 2019).
    """
    work = np.asarray(rate_rps, dtype=np.float64) * np.asarray(service_s, dtype=np.float64)
    servers = np.asarray(replicas, dtype=np.float64)
    return np.where(servers > 0.0, work / np.maximum(servers, 1e-9), np.inf)


def mdc_latency_s(
    rate_rps: ArrayLike,
    service_s: ArrayLike,
    replicas: ArrayLike,
    percentile: ArrayLike = 0.99,
    relaxed_rho: float | None = RELAXED_RHO,
) -> Floats:
    """Latency of M/D/c at a percentile: half the wait of M/M/c, and the service itself.

    `replicas` may be real: the sum in Erlang's formula has floor(replicas) terms, the rest takes
    the real number (as published). Above `relaxed_rho` latency is that of this utilisation times
    how far the rate is above it; with None it is infinite from 1 on. Without replicas it is
    infinite. Faro (EuroSys 2025, sections 3.3 and 3.4); half of M/M/c after Tijms (2006).
    """
    rate, service, servers, q = np.broadcast_arrays(
        *(np.asarray(one, dtype=np.float64) for one in (rate_rps, service_s, replicas, percentile))
    )
    some = servers > 0.0
    servers = np.where(some, servers, 1.0)
    knee = 1.0 if relaxed_rho is None else relaxed_rho
    rho = rate * service / servers
    held = np.minimum(rho, knee)
    blocked = _erlang_b(held * servers, np.floor(servers))
    with np.errstate(divide="ignore", invalid="ignore"):
        latency = _from_blocking(blocked, held, servers, Service(service, q))
    beyond = np.where(rho < 1.0, 1.0, np.inf) if relaxed_rho is None else rho / knee
    latency = np.where(rho < knee, latency, np.nan_to_num(latency, nan=np.inf) * beyond)
    return np.where(some, latency, np.inf)


def mdc_table_s(rate_rps: Floats, service: Service, most: int) -> Floats:
    """mdc_latency_s() for 0..most replicas at once: shape (most + 1, *rates), row 0 infinite.

    One pass of the recursion for Erlang's B serves all rows; rows above the knee need only what
    one server count says at the knee.
    """
    offered = np.asarray(rate_rps * service.service_s)
    blocked = _blocking(offered, most)
    counts = np.arange(1.0, most + 1.0).reshape(most, *(1,) * offered.ndim)
    rho = offered / counts
    table = np.full(blocked.shape, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        below = _from_blocking(blocked[1:], np.minimum(rho, RELAXED_RHO), counts, service)
    at_knee = _blocked_at_knee(most).reshape(counts.shape)
    knee = _from_blocking(at_knee, np.array(RELAXED_RHO), counts, service)
    table[1:] = np.where(rho > RELAXED_RHO, knee * (rho / RELAXED_RHO), below)
    return table


def mdc_within(rate_rps: Floats, service: Service, slo_s: Floats, most: int) -> Floats:
    """The part of the requests that M/D/c answers within `slo_s`, for 0..most replicas at once.

    Shape (most + 1, *rates), row 0 is 0; the percentile of `service` does not matter. The wait is
    half that of M/M/c, as in mdc_latency_s(). Above the knee as many are answered in time as at the
    knee, of more: what is too much is refused.
    """
    offered = np.asarray(rate_rps * service.service_s)
    blocked = _blocking(offered, most)[1:]
    counts = np.arange(1.0, most + 1.0).reshape(most, *(1,) * offered.ndim)
    rho = offered / counts
    held = np.minimum(rho, RELAXED_RHO)
    at_knee = _blocked_at_knee(most).reshape(counts.shape)
    blocked = np.where(rho > RELAXED_RHO, at_knee, blocked)
    waiting = blocked / (1.0 - held * (1.0 - blocked))
    # Whoever waits does so as long as an exponential time of this rate, halved.
    ending = 2.0 * counts * (1.0 - held) / service.service_s
    left_s = slo_s - service.service_s
    late = np.where(left_s < 0.0, 1.0, waiting * np.exp(-ending * np.maximum(left_s, 0.0)))
    table = np.zeros((most + 1, *offered.shape))
    table[1:] = (1.0 - late) * (held / np.maximum(rho, np.finfo(float).tiny))
    return table


def batch_latency_s(
    rate_rps: Floats, batches: Iterable[BatchLatency], percentile: float, most: int
) -> Floats:
    """Latency of a model that batches: shape (most + 1, *rates), infinite where nothing is known.

    Batches of b requests are the customers of an M/D/1 queue at rate / b, each served in the
    profile's latency; of all batch sizes the best for the rate is taken, since a queue that takes
    what waits settles there. More units never are slower.
    """
    rate = np.asarray(rate_rps, dtype=np.float64)
    table = np.full((most + 1, *rate.shape), np.inf)
    points = [point for point in batches if 1 <= point.replicas <= most]
    if points:
        shape = (len(points), *(1,) * rate.ndim)
        sizes = np.array([float(point.batch) for point in points]).reshape(shape)
        took_s = np.array([point.latency_ms / 1000.0 for point in points]).reshape(shape)
        found = mdc_latency_s(rate / sizes, took_s, 1.0, percentile)
        np.minimum.at(table, [point.replicas for point in points], found)
    return np.asarray(np.minimum.accumulate(table, axis=0))


def batch_rate_rps(batches: Sequence[BatchLatency], replicas: int, slo_ms: float) -> float:
    """What these units can answer within the objective: a batch collects while another runs.

    The largest b / L(b) of which two fit the objective (Nexus, SOSP 2019, section 4.1), of up to
    `replicas`; 0 where none does.
    """
    able = (
        1000.0 * point.batch / point.latency_ms
        for point in batches
        if point.replicas <= replicas and 2.0 * point.latency_ms <= slo_ms
    )
    return max(able, default=0.0)


def _blocking(offered: Floats, most: int) -> Floats:
    """Erlang's B for 0..most servers, by its recursion: shape (most + 1, *offered)."""
    blocked = np.empty((most + 1, *offered.shape))
    blocked[0] = 1.0
    for servers in range(1, most + 1):
        step = offered * blocked[servers - 1]
        blocked[servers] = step / (servers + step)
    return blocked


@lru_cache(maxsize=64)
def _blocked_at_knee(most: int) -> Floats:
    """Erlang's B of 1..most servers at the knee."""
    counts = np.arange(1.0, most + 1.0)
    return _erlang_b(RELAXED_RHO * counts, counts)


def _erlang_b(offered: Floats, servers: Floats) -> Floats:
    """Erlang's B for each pair, by its recursion over the number of servers."""
    blocked = np.ones(np.broadcast(offered, servers).shape)
    for count in range(1, int(servers.max(initial=0.0)) + 1):
        step = offered * blocked / (count + offered * blocked)
        blocked = np.where(servers >= count, step, blocked)
    return blocked


def _from_blocking(
    blocked: Floats, rho: Floats, servers: Floats | float, service: Service
) -> Floats:
    """Half of M/M/c's wait at the percentile, or of its mean, and the service. Below rho 1."""
    waiting = blocked / (1.0 - rho * (1.0 - blocked))
    # Times between departures while all servers are busy, less those between arrivals.
    with np.errstate(divide="ignore"):
        scale_s = service.service_s / (servers * (1.0 - rho))
    likely = np.where(waiting > 0.0, waiting, LEAST_WAITING)
    q = service.percentile
    tail = np.log(likely / np.where(q < 1.0, 1.0 - np.maximum(q, 0.0), np.finfo(float).tiny))
    wait_s = np.maximum(0.0, tail * scale_s)
    if (q < 0.0).any():
        wait_s = np.where(q < 0.0, waiting * scale_s, wait_s)
    return np.asarray(wait_s / 2.0 + service.service_s)
