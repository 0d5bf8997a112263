"""What resizing a gpulet and moving a model costs those who are served meanwhile.

A device switches between two plans under a constant load, as often as `--changes` says: `resize`
changes the share of the gpulet that has model `a`, `move` takes `a` from one gpulet to another.
Pause: the longest time without an answer of `a` from the order to the end of a change, less the
median of the same in spans without a change. The other models' p99 is compared between blocks
without changes and blocks with them, which take turns; both spend half their time under each of the
two plans, because who shares a gpulet with whom counts for more than the change.
`cpu_ms_per_change` is the CPU time that all processes of the cluster need for one.

`emulated` is a device that takes as long as a profile says, with shares as fine as one likes;
`cpu` are real cores with compiled models (2 cores are needed; no others while it is resized to all
of them). `late` counts refusals, `lost` what was answered in no other way: failed, unavailable
or not at all. `--rest-s` is the time between two changes: by default six a second, when the control
loop makes one a second, and four at most.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import zmq
from emulated import make_repository
from result import emit
from rig import CACHE, INPUT_NAMES, LIMIT_S, MODELS, SAMPLES, load_average, make_models

from glet.clock import SystemClock
from glet.config.cluster import BackendConfig, ClusterConfig, GpuletConfig, ModelShareConfig
from glet.native import core
from glet.observe.report import Outcome
from glet.serve.up import LocalCluster
from glet.types.plan import GpuletPlan, ModelShare
from glet.wire.channel import DealerChannel
from glet.wire.messages import (
    VERSION,
    ApplyPlan,
    BackendState,
    BackendToFrontend,
    Hello,
    StateSeen,
)
from glet.wire.zmq_path import libzmq_path

Shape = tuple[tuple[int, str], ...]
"""Gpulets: share in percent, and names of models with spaces between."""
NS = 1e9
SETTLE_S = 1.0
POLL_S = 0.002
BATCH = 4
EMULATED_SLO_MS = 500.0
RATE_RPS = {"emulated": 300.0, "cpu": 100.0}


class Case(NamedTuple):
    """`moved` is whose service is changed; `others` sit on gpulets that stay as they are."""

    kind: str
    change: str
    plans: tuple[Shape, Shape]
    moved: str
    others: tuple[str, ...]


BESIDE: Shape = ((20, "b"), (20, "c"))
CASES = (
    Case(
        "emulated",
        "resize",
        (((40, "a"), *BESIDE), ((60, "a"), *BESIDE)),
        "a",
        ("b", "c"),
    ),
    Case(
        "emulated",
        "move",
        (((30, "a x"), (30, "y"), *BESIDE), ((30, "x"), (30, "a y"), *BESIDE)),
        "a",
        ("b", "c"),
    ),
    Case("cpu", "resize", (((50, "mlp"),), ((100, "mlp"),)), "mlp", ()),
    Case(
        "cpu",
        "move",
        (((50, "mlp echo"), (50, "lenet")), ((50, "echo"), (50, "lenet mlp"))),
        "mlp",
        ("echo", "lenet"),
    ),
)


class Device:
    """A line to the backend, as a second frontend has it."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", run_dir: str) -> None:
        hello = Hello(version=VERSION, role="frontend", name="bench")
        self.channel: DealerChannel[BackendToFrontend] = DealerChannel(
            context, f"ipc://{run_dir}/device0/control", BackendToFrontend, hello
        )
        self._state: BackendState | None = None

    def listen(self, limit_s: float) -> None:
        """Takes what comes within that time."""
        if self.channel.socket.poll(int(limit_s * 1000.0)):
            for message in self.channel.receive():
                if isinstance(message, BackendState):
                    self._state = message
                    self.channel.send(StateSeen(seq=message.seq))

    def change(self, shape: Shape, cluster: LocalCluster) -> None:
        """Orders a plan, and returns when all of it is there and nothing else."""
        plan = plan_of(shape)
        self.channel.send(ApplyPlan(gpulets=plan))
        start_ns = core.now_ns()
        while not self._shows(plan):
            self.listen(POLL_S)
            if core.now_ns() - start_ns > LIMIT_S * NS:
                sys.exit("a change did not end")
        cluster.poll(0.0)

    def rest(self, seconds: float, cluster: LocalCluster) -> None:
        until_ns = core.now_ns() + int(seconds * NS)
        while (left_ns := until_ns - core.now_ns()) > 0:
            self.listen(left_ns / NS)
        cluster.poll(0.0)

    def _shows(self, plan: tuple[GpuletPlan, ...]) -> bool:
        state = self._state
        if state is None or state.plan != plan:
            return False
        wanted = sorted((g.share_pct, sorted(m.model for m in g.models)) for g in plan)
        there = [
            (g.share_pct, sorted(m.name for m in g.models if m.state == "ready"))
            for g in state.gpulets
        ]
        return sorted(there) == wanted


def plan_of(shape: Shape) -> tuple[GpuletPlan, ...]:
    gpulets: list[GpuletPlan] = []
    for share_pct, models in shape:
        names = models.split()
        shares = tuple(
            ModelShare(model=name, batch=BATCH, time_share=1.0 / len(names)) for name in names
        )
        dedup = sum(gpulet.share_pct == share_pct for gpulet in gpulets)
        gpulets.append(GpuletPlan(device=0, share_pct=share_pct, dedup=dedup, models=shares))
    return tuple(gpulets)


def names_of(case: Case) -> list[str]:
    return sorted({name for _, models in case.plans[0] for name in models.split()})


@contextmanager
def served(case: Case) -> Iterator[tuple[LocalCluster, Device]]:
    """The cluster with the case's first plan, and the line to its device."""
    with tempfile.TemporaryDirectory() as folder:
        gpulets = tuple(
            GpuletConfig(
                share_pct=share_pct,
                models=tuple(ModelShareConfig(model=n, batch=BATCH) for n in models.split()),
            )
            for share_pct, models in case.plans[0]
        )
        given: dict[str, Any] = {
            "listen": "tcp://127.0.0.1:0",
            "run_dir": folder,
            "gpulet": gpulets,
            **(emulated(case, Path(folder)) if case.kind == "emulated" else compiled()),
        }
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        with LocalCluster(ClusterConfig(**given), SystemClock()) as cluster:
            device = Device(context, folder)
            try:
                yield cluster, device
            finally:
                device.channel.close()
                context.term()


def emulated(case: Case, folder: Path) -> dict[str, Any]:
    names = names_of(case)
    models = make_repository(folder / "models", dict.fromkeys(names, EMULATED_SLO_MS))
    lines = [
        f"{name},{share_pct},{batch},{60.0 / share_pct + 0.2 * batch}\n"
        for name in names
        for share_pct in (20, 30, 40, 60)
        for batch in (1, 32)
    ]
    profile = folder / "latency.csv"
    profile.write_text("".join(lines), encoding="utf-8")
    backend = BackendConfig(profile=str(profile))
    return {"models": str(models), "partition": "profiled", "backend": (backend,)}


def compiled() -> dict[str, Any]:
    make_models()
    return {"models": str(MODELS), "cache": str(CACHE)}


class Spans(NamedTuple):
    """Start and end of each change, of each quiet span, and of both kinds of blocks, in ns.

    `more_cpu_s` is how much more CPU time the cluster took with changes than without, by block.
    """

    changes: list[tuple[int, int]]
    quiet: list[tuple[int, int]]
    with_changes: list[tuple[int, int]]
    without: list[tuple[int, int]]
    more_cpu_s: list[float]


def run_blocks(
    case: Case, args: argparse.Namespace, cluster: LocalCluster, device: Device
) -> Spans:
    """A/B/A/B: blocks with and without changes, equally long; half of each under either plan."""
    spans = Spans([], [], [], [], [])
    each = -(-args.changes // args.blocks)
    for _ in range(args.blocks):
        start_ns, cpu_s = core.now_ns(), cluster_cpu_s()
        for number in range(each):
            before_ns = core.now_ns()
            device.change(case.plans[(number + 1) % 2], cluster)
            spans.changes.append((before_ns, core.now_ns()))
            device.rest(args.rest_s, cluster)
        end_ns = core.now_ns()
        more_cpu_s = cluster_cpu_s() - cpu_s
        spans.with_changes.append((start_ns, end_ns))
        for plan in case.plans:
            device.change(plan, cluster)
            device.rest(args.rest_s, cluster)
            quiet_ns, cpu_s = core.now_ns(), cluster_cpu_s()
            device.rest((end_ns - start_ns) / (2.0 * NS), cluster)
            spans.without.append((quiet_ns, core.now_ns()))
            more_cpu_s -= cluster_cpu_s() - cpu_s
        spans.more_cpu_s.append(more_cpu_s)
        device.change(case.plans[0], cluster)
        device.rest(args.rest_s, cluster)
    return spans


def cluster_cpu_s() -> float:
    """CPU time of all processes of the cluster since their starts."""
    times = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return sum(each.user + each.system for each in times)


def loaded(
    case: Case, args: argparse.Namespace, cluster: LocalCluster, device: Device
) -> tuple[np.ndarray, Spans, list[str]]:
    """All records of one run, times since the core's clock started; spans; models by number."""
    names = names_of(case)
    # Both plans once: afterwards all latencies are known.
    device.change(case.plans[1], cluster)
    device.change(case.plans[0], cluster)
    loop = core.LoadLoop(libzmq_path(), cluster.endpoint)
    seconds = 2.0 * args.changes * (args.rest_s + args.longest_s) + 2.0 * SETTLE_S
    rps = args.rps or RATE_RPS[case.kind]
    arrivals_ns = np.arange(0.0, seconds, 1.0 / rps) * NS
    rng = np.random.default_rng(0)
    for name in names:
        x = SAMPLES.get(name, np.zeros(4, dtype=np.float32))
        shifted = (arrivals_ns + rng.uniform(0.0, NS / rps)).astype(np.int64)
        loop.add_model(name, [[(INPUT_NAMES.get(name, "x"), x)]], arrivals_ns=shifted)
    try:
        start_ns = core.now_ns()
        loop.start_open()
        device.rest(SETTLE_S, cluster)
        spans = run_blocks(case, args, cluster, device)
        device.rest(SETTLE_S, cluster)
        loop.stop()
        if not loop.wait(LIMIT_S):
            sys.exit("the load did not end")
        records = loop.records().copy()
    finally:
        loop.close()
    if core.now_ns() - start_ns > seconds * NS:
        sys.exit("changes took longer than the load; give a larger --longest-s")
    records["answered_ns"] += start_ns
    records["intended_ns"] += start_ns
    return records, spans, names


def longest_gaps_ms(answered_ns: np.ndarray, spans: list[tuple[int, int]]) -> np.ndarray:
    """Of each span, the longest time without an answer, in ms. Gaps over its ends count whole."""
    gaps = []
    for start_ns, end_ns in spans:
        first = max(0, np.searchsorted(answered_ns, start_ns) - 1)
        last = np.searchsorted(answered_ns, end_ns, side="right") + 1
        around = answered_ns[first:last]
        if len(around) > 1:
            gaps.append(np.diff(around).max() / 1e6)
    return np.array(gaps)


def cut(spans: list[tuple[int, int]], length_ns: int) -> list[tuple[int, int]]:
    """Spans of that length, one after the other, out of longer ones."""
    return [
        (start_ns, start_ns + length_ns)
        for first_ns, end_ns in spans
        for start_ns in range(first_ns, end_ns - length_ns, length_ns)
    ]


def latencies_ms(
    records: np.ndarray, names: list[str], others: tuple[str, ...], spans: list[tuple[int, int]]
) -> np.ndarray:
    """Latencies of others' ok answers to requests that were meant for one of the spans."""
    wanted = np.isin(records["model"], [names.index(name) for name in others])
    inside = np.zeros(len(records), dtype=bool)
    for start_ns, end_ns in spans:
        inside |= (records["intended_ns"] >= start_ns) & (records["intended_ns"] < end_ns)
    chosen = records[wanted & inside & (records["outcome"] == 0)]
    taken_ms: np.ndarray = (chosen["answered_ns"] - chosen["intended_ns"]) / 1e6
    return taken_ms


def measure(case: Case, args: argparse.Namespace) -> None:
    with served(case) as (cluster, device):
        records, spans, names = loaded(case, args, cluster, device)
    ok = records["outcome"] == 0
    answered_ns = np.sort(
        records["answered_ns"][ok & (records["model"] == names.index(case.moved))]
    )
    took_ms = np.array([(end - start) / 1e6 for start, end in spans.changes])
    quiet = longest_gaps_ms(answered_ns, cut(spans.without, int(np.median(took_ms) * 1e6)))
    pauses_ms = np.maximum(0.0, longest_gaps_ms(answered_ns, spans.changes) - np.median(quiet))
    figures: dict[str, Any] = {
        "changes": len(spans.changes),
        "took_ms": float(np.median(took_ms)),
        "quiet_gap_ms": float(np.median(quiet)),
        "quiet_gap_p99_ms": float(np.quantile(quiet, 0.99)),
        "pause_p50_ms": float(np.median(pauses_ms)),
        "pause_p99_ms": float(np.quantile(pauses_ms, 0.99)),
        "pause_max_ms": float(pauses_ms.max()),
        "cpu_ms_per_change": sum(spans.more_cpu_s) / len(spans.changes) * 1000.0,
    }
    if case.others:
        without = latencies_ms(records, names, case.others, spans.without)
        changing = latencies_ms(records, names, case.others, spans.with_changes)
        figures["others_p99_ms"] = float(np.quantile(without, 0.99))
        figures["others_p99_changing_ms"] = float(np.quantile(changing, 0.99))
        figures["others_ratio"] = figures["others_p99_changing_ms"] / figures["others_p99_ms"]
    emit(
        "reorganise",
        {
            "device": case.kind,
            "change": case.change,
            "rps": args.rps or RATE_RPS[case.kind],
            "blocks": args.blocks,
            "rest_s": args.rest_s,
        },
        **figures,
        requests=len(records),
        late=int(np.isin(records["outcome"], [Outcome.LATE, Outcome.FULL]).sum()),
        lost=int((records["outcome"] > Outcome.FULL).sum()),
        load=load_average(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--changes", type=int, default=100, help="of each kind")
    parser.add_argument("--blocks", type=int, default=5, help="with changes, and as many without")
    parser.add_argument("--rps", type=float, help=f"of each model; without, {RATE_RPS}")
    parser.add_argument("--longest-s", type=float, default=0.5, help="what a change may take")
    parser.add_argument("--rest-s", type=float, default=0.15, help="between two changes")
    parser.add_argument("--only", choices=("emulated", "cpu"), help="one kind of device")
    args = parser.parse_args()
    for case in CASES:
        if args.only in (None, case.kind):
            measure(case, args)


if __name__ == "__main__":
    main()
