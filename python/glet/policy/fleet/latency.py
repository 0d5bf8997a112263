"""How long requests take on so many replicas: the latency models that autoscalers plan with.

Rates are requests/s, times seconds here. Everything is vectorised over jobs and steps.
"""

from collections.abc import Iterable, Sequence
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
    rate, service_s, q = np.broadcast_arrays(rate_rps, service.service_s, service.percentile)
    own = Service(service_s, q)
    table = np.full((most + 1, *rate.shape), np.inf)
    offered = rate * service_s
    blocked = np.ones(rate.shape)
    counts = np.arange(1.0, most + 1.0)
    at_knee = _erlang_b(RELAXED_RHO * counts, counts)
    for servers in range(1, most + 1):
        blocked = offered * blocked / (servers + offered * blocked)
        rho = offered / servers
        over = rho > RELAXED_RHO
        count = float(servers)
        with np.errstate(divide="ignore", invalid="ignore"):
            row = _from_blocking(blocked, np.minimum(rho, RELAXED_RHO), count, own)
        if over.any():
            knee = _from_blocking(at_knee[servers - 1], np.array(RELAXED_RHO), count, own)
            row = np.where(over, knee * rho / RELAXED_RHO, row)
        table[servers] = row
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
    wait_s = np.where(q < 0.0, waiting * scale_s, np.maximum(0.0, tail * scale_s))
    return np.asarray(wait_s / 2.0 + service.service_s)
