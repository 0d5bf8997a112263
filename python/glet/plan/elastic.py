"""Elastic partitioning, as published: spatial and temporal sharing, two gpulets per device."""

from glet.plan.elastic_cuts import Cuts
from glet.plan.elastic_round import Round
from glet.plan.problem import Problem, Task
from glet.plan.room import Cluster
from glet.plan.squishy import packed
from glet.types.plan import Plan


class ElasticPlanner:
    """gpulet (Choi et al., USENIX ATC 2022, section 4).

    Models are placed one at a time, by rising rate times SLO. While a model has rate left, its
    ideal share is the knee of its throughput, or the smallest share that carries the rest if that
    is smaller; best fit finds a free gpulet for it or cuts a whole device in two. When nothing is
    free that is large enough, it takes what is free (readjust), then what its own gpulets have left
    (merge), then turns beside other models (time share); elastic_round.py. Beside a neighbour a
    model may lose up to 15 % of its rate, which is placed again once. The plan is on the smallest
    number of devices on which all of that succeeds; the published search adds devices one by one,
    here larger steps find the same number.

    `slack_rps` of a model count as served, in the published tool 15, here 0; in the plan they are
    unmet. The order is the tool's, whose own name for it says falling; that would place fewer. What
    the tool adds to rates as a margin, and to latencies for copying, is left to the caller.
    """

    name = "elastic"

    def __init__(self, slack_rps: float = 0.0) -> None:
        self._slack_rps = slack_rps

    def plan(self, problem: Problem) -> Plan:
        cluster = Cluster(problem)
        search = _Search(cluster, self._slack_rps)
        return cluster.plan(search.fewest().gpulets(), packed)


class _Search:
    """For the smallest number of devices on which a round succeeds."""

    def __init__(self, cluster: Cluster, slack_rps: float) -> None:
        self._cluster = cluster
        self._slack_rps = slack_rps
        self._cuts = {name: Cuts(menu) for name, menu in cluster.menus.items()}
        self._tasks = [task for task in cluster.tasks if self._types(task)]
        self._tasks.sort(key=lambda task: (task.rate_rps * task.slo_ms, task.model))
        ranked = sorted(cluster.menus, key=lambda name: (-self._speed(name), name))
        self._devices = [(name, n) for name in ranked for n in cluster.numbers[name]]

    def fewest(self) -> Round:
        """The round on the fewest devices; on all of them when none succeeds."""
        most = len(self._devices)
        best = Round(self._cluster, self._cuts, [])
        low, high = 0, most + 1
        count, step = min(most, self._guess()), 1
        while low + 1 < high:
            tried, succeeds = self._round(count)
            if succeeds or count == most:
                best = tried
            if succeeds:
                high = count
            else:
                low = count
            if high > most:
                count = min(most, low + step)
            elif low == 0:
                count = max(1, high - step)
            else:
                count = (low + high) // 2
            step *= 2
        return best

    def _round(self, count: int) -> tuple[Round, bool]:
        """With fewer devices than there are it ends at the first model that finds no room."""
        tried = Round(self._cluster, self._cuts, self._devices[:count])
        succeeds = True
        for task in self._tasks:
            if not tried.place(task.model, task.rate_rps, self._slack_rps):
                succeeds = False
                if count < len(self._devices):
                    return tried, False
        return tried, tried.retry(self._slack_rps) and succeeds

    def _guess(self) -> int:
        """Devices whose shares add up to what all models are estimated to need; at least 1."""
        total = sum(
            self._cuts[self._types(task)[0]].share_needed(task.model, task.rate_rps)
            for task in self._tasks
        )
        return max(1, -(-total // 100))

    def _types(self, task: Task) -> list[str]:
        """Types that have room for the model when nobody else is there, the fastest first."""
        cluster = self._cluster
        fastest = cluster.fastest(task.model)
        return [name for name in fastest if cluster.memory_holds(name, [[task.model]])]

    def _speed(self, type_name: str) -> float:
        """How much of a model's best whole-device rate the type gives, over all models."""
        menu = self._cluster.menus[type_name]
        return sum(
            menu.lone_rps[task.model][-1]
            / self._cluster.menus[self._cluster.fastest(task.model)[0]].lone_rps[task.model][-1]
            for task in self._tasks
            if menu.serves(task.model)
        )
