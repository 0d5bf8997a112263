"""A cluster on a libcuda.so.1 that plays a GPU: `glet up --partition green`, in processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fake_gpu_up import environment, up
from vector_entries import write_doubles

from glet.serve.share_gate import ShareGate, write_gate

CLUSTER_TOML = """
listen = "tcp://127.0.0.1:*"
models = "models"
plan = "ModelList.txt"
partition = "green"
run_dir = "r"
"""
PLAN = """0,20,0,a,1,10
0,80,0,eager,1,10
"""


def write_cluster(tmp_path: Path) -> Path:
    """Models `a` and `eager`, which cannot be captured, on 3 and 12 units of the GPU.

    Numbers on 9 units were found to be wrong. XDG_CACHE_HOME is what that goes into.
    """
    write_gate(ShareGate(device="Fake GPU 0", driver="13.0", unit_sms=8, bad_units=(9,)))
    write_doubles(tmp_path / "models", "a", "eager")
    (tmp_path / "ModelList.txt").write_text(PLAN)
    (tmp_path / "cluster.toml").write_text(CLUSTER_TOML)
    return tmp_path / "cluster.toml"


@contextmanager
def glet_up(cluster: Path, fake_cuda: Path) -> Iterator[tuple[str, list[str]]]:
    """Where it serves, and what it said until then."""
    with up((str(cluster),), environment(fake_cuda)) as said:
        yield said[-1].split()[-1], said
