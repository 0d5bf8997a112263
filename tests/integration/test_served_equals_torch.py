"""Real daemons answer with what the model computes in plain torch, alone and among strangers.

The measure is max |served - torch| / max |torch| per output tensor; `pytest --junit-xml=FILE`
writes the largest of every model.
"""

import asyncio
import hashlib
import os
import shutil
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from glet.client import AsyncClient, Client, Result  # noqa: E402
from glet.clock import SystemClock  # noqa: E402
from glet.config.cluster import ClusterConfig  # noqa: E402
from glet.config.model import ModelConfig, to_toml  # noqa: E402
from glet.config.resource import resource  # noqa: E402
from glet.config.zoo import ZooModel, zoo  # noqa: E402
from glet.serve import export  # noqa: E402
from glet.serve.compile import compile_entries  # noqa: E402
from glet.serve.compile_cache import Cache  # noqa: E402
from glet.serve.repository import Repository  # noqa: E402
from glet.serve.up import LocalCluster  # noqa: E402
from glet.types.model import TensorSpec  # noqa: E402

LIMIT = 1e-5
# Two inputs have to differ more than this in what comes out, or an answer for the wrong one
# could pass.
APART = 1e-2
DEADLINE_MS = 120_000.0
# Requests in one go may still run one by one when the model is quicker than their arrival.
ROUNDS = 20
HEAVY = {"vgg16", "densenet161", "bert", "resnet50"}

Arrays = dict[str, np.ndarray]
Eager = Callable[[Arrays], Arrays]


def compare(served: Arrays, wanted: Arrays) -> float:
    """The largest max |difference| / max |wanted| of the tensors; wants equal names and shapes."""
    assert served.keys() == wanted.keys()
    for name, array in wanted.items():
        assert served[name].shape == array.shape
        assert served[name].dtype == array.dtype
        assert np.isfinite(array).all()
    return max(
        float(np.abs(served[name] - array).max() / np.abs(array).max())
        for name, array in wanted.items()
    )


def eager(network: "torch.nn.Module", config: ModelConfig) -> Eager:
    """One input (no batch dimension) through a module, alone."""

    def run(inputs: Arrays) -> Arrays:
        tensors = [torch.from_numpy(inputs[spec.name]).unsqueeze(0) for spec in config.input]
        with torch.inference_mode():
            found = network(*tensors)
        outputs = found if isinstance(found, tuple) else (found,)
        names = [spec.name for spec in config.output]
        return {name: out[0].numpy() for name, out in zip(names, outputs, strict=True)}

    return run


class Served:
    """A model in a cluster of its own, and the same in torch."""

    def __init__(self, cluster: LocalCluster, name: str, run: Eager, config: ModelConfig) -> None:
        self._endpoint = cluster.endpoint
        self._name = name
        self._eager = run
        self._outputs = [spec.name for spec in config.output]

    def check(self, inputs: list[Arrays], strangers: list[Arrays]) -> float:
        """The largest difference of all answers, alone and in company."""
        wanted = [self._eager(one) for one in inputs]
        for before, after in pairwise(wanted):
            assert compare(before, after) > APART
        alone = self._alone(inputs)
        assert [result.batch for result in alone] == [1] * len(inputs)
        largest = 0.0
        batches: set[int] = set()
        for _ in range(ROUNDS):
            together = asyncio.run(self._together(inputs, strangers))
            batches |= {result.batch for result in together}
            largest = max(largest, *self._differences(together, wanted))
            if max(batches) > 1:
                break
        assert max(batches) > 1
        return max(largest, *self._differences(alone, wanted))

    def _alone(self, inputs: list[Arrays]) -> list[Result]:
        with Client(self._endpoint) as client:
            return [
                client.infer_detailed(self._name, one, deadline_ms=DEADLINE_MS) for one in inputs
            ]

    async def _together(self, inputs: list[Arrays], strangers: list[Arrays]) -> list[Result]:
        """All at once, a stranger beside every input; the answers to the inputs."""
        async with AsyncClient(self._endpoint) as ours, AsyncClient(self._endpoint) as theirs:
            asked = []
            for one, other in zip(inputs, strangers, strict=True):
                asked.append(theirs.infer_detailed(self._name, other, deadline_ms=DEADLINE_MS))
                asked.append(ours.infer_detailed(self._name, one, deadline_ms=DEADLINE_MS))
            return list(await asyncio.gather(*asked))[1::2]

    def _differences(self, results: list[Result], wanted: list[Arrays]) -> list[float]:
        return [
            compare(self._named(result), one) for result, one in zip(results, wanted, strict=True)
        ]

    def _named(self, result: Result) -> Arrays:
        outputs = result.outputs
        return outputs if isinstance(outputs, dict) else {self._outputs[0]: outputs}


def serve(models: Path, cache: Path) -> LocalCluster:
    config = ClusterConfig(listen="tcp://127.0.0.1:0", models=str(models), cache=str(cache))
    return LocalCluster(config, SystemClock())


def one_by_one(arrays: Arrays) -> list[Arrays]:
    (count,) = {len(array) for array in arrays.values()}
    return [{name: array[index] for name, array in arrays.items()} for index in range(count)]


@pytest.fixture
def exported(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> Path:
    """A folder with `models/` (one sample, exported) and `compiled/`, kept in pytest's cache.

    It is made again when the definition of the sample or the code that exports it changes.
    """
    name: str = request.param
    sources = [
        resource("models", zoo()[name].file).read_bytes(),
        Path(export.__file__).read_bytes(),
        repr((zoo()[name], torch.__version__)).encode(),
    ]
    key = hashlib.sha256(b"\0".join(sources)).hexdigest()[:16]
    kept = pytestconfig.cache.mkdir("zoo")
    folder = kept / f"{name}={key}"
    for old in kept.glob(f"{name}=*"):
        if old != folder:
            shutil.rmtree(old)
    if not (folder / "models" / name).exists():
        export.export_model(name, folder / "models")
    return folder


def eager_sample(name: str, model: ZooModel, entry: Path) -> Eager:
    """The sample as its definition says, with the weights of the exported program."""
    network = export.build(model)
    network.load_state_dict(torch.export.load(str(entry / "model.pt2")).state_dict)
    return eager(network, model.config())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="needs a compiler")
@pytest.mark.parametrize(
    ("name", "exported"), [(name, name) for name in zoo()], ids=list(zoo()), indirect=["exported"]
)
def test_a_compiled_sample(
    name: str, exported: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    if zoo()[name].dataset:
        pytest.importorskip("sklearn")
    model = zoo()[name]
    models, cache = exported / "models", exported / "compiled"
    entries = [Repository(models).entry(name)]
    (compiled,) = compile_entries(entries, Cache(cache, SystemClock()), SystemClock(), print)
    assert compiled.runner == "compiled", compiled.reason
    count = 3 if name in HEAVY else 6
    inputs, strangers = (
        one_by_one(export.random_inputs(model, count, seed)) for seed in (100, 200)
    )
    run = eager_sample(name, model, models / name)
    with serve(models, cache) as cluster:
        largest = Served(cluster, name, run, model.config()).check(inputs, strangers)
    record_testsuite_property(f"largest difference of {name}", f"{largest:.1e}")
    assert largest <= LIMIT


CONFIG = ModelConfig(
    slo_ms=1000.0,
    max_batch=8,
    input=(TensorSpec(name="image", dtype="float32", shape=(3, 16, 16)),),
    output=(TensorSpec(name="scores", dtype="float32", shape=(10,)),),
)
CALLABLE = """
from pathlib import Path
import torch
from torch.nn import functional

def load():
    weights = torch.load(Path(__file__).parent / "weights.pt", weights_only=True)

    def infer(image):
        with torch.inference_mode():
            x = functional.conv2d(torch.from_numpy(image.copy()), weights["0.weight"],
                                  weights["0.bias"])
            x = functional.linear(x.relu().flatten(1), weights["3.weight"], weights["3.bias"])
            return x.numpy()

    return infer
"""


def small_network() -> "torch.nn.Module":
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten()]
        return torch.nn.Sequential(*layers, torch.nn.Linear(8 * 14 * 14, 10)).eval()


def write_torchscript(network: "torch.nn.Module", entry: Path) -> ModelConfig:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(network, torch.zeros(2, 3, 16, 16)).save(str(entry / "model.pt"))
    return CONFIG


def write_callable(network: "torch.nn.Module", entry: Path) -> ModelConfig:
    torch.save(network.state_dict(), entry / "weights.pt")
    (entry / "model.py").write_text(CALLABLE)
    return CONFIG


def write_program(network: "torch.nn.Module", entry: Path) -> ModelConfig:
    batch = {0: torch.export.Dim("batch", min=1, max=8)}
    example = torch.zeros(2, 3, 16, 16)
    program = torch.export.export(network, (example,), dynamic_shapes=(batch,))
    torch.export.save(program, str(entry / "model.pt2"))
    return msgspec.structs.replace(CONFIG, runner="python")


@pytest.mark.parametrize("write", [write_torchscript, write_callable, write_program])
def test_a_model_that_runs_in_python(
    write: Callable[["torch.nn.Module", Path], ModelConfig],
    tmp_path: Path,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    network = small_network()
    entry = tmp_path / "models" / "small"
    entry.mkdir(parents=True)
    config = write(network, entry)
    (entry / "model.toml").write_text(to_toml(config))
    rng = np.random.default_rng(0)
    inputs, strangers = (
        one_by_one({"image": rng.standard_normal((16, 3, 16, 16), dtype=np.float32)})
        for _ in range(2)
    )
    with serve(entry.parent, tmp_path / "compiled") as cluster:
        served = Served(cluster, "small", eager(network, config), config)
        largest = served.check(inputs, strangers)
    record_testsuite_property(f"largest difference, {write.__name__}", f"{largest:.1e}")
    assert largest <= LIMIT
