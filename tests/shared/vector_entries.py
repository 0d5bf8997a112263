"""Entries of a model repository whose models, and apps of one stage, take and give four floats."""

import json
import zipfile
from pathlib import Path

_VECTORS = """[[input]]
name = "x"
dtype = "float32"
shape = [4]
"""
_OUTPUT = """[[output]]
name = "y"
"""


def model_toml(slo_ms: float, max_batch: int = 8) -> str:
    """What model.toml says."""
    head = f"slo_ms = {slo_ms}\nmax_batch = {max_batch}\n"
    return f'{head}{_VECTORS}{_OUTPUT}dtype = "float32"\nshape = [4]\n'


def write_doubles(models: Path, *names: str, slo_ms: float = 5000.0, max_batch: int = 8) -> None:
    """Entries of Python models that double what they take."""
    for name in names:
        (models / name).mkdir(parents=True)
        (models / name / "model.toml").write_text(model_toml(slo_ms, max_batch))
        (models / name / "model.py").write_text("def infer(x):\n    return x * 2\n")


def app_toml(model: str, slo_ms: float) -> str:
    """What app.toml says of an app that hands its input to `model`."""
    stage = f'[[stage]]\nname = "one"\nmodel = "{model}"\ninputs = {{ x = "x" }}\n'
    return f'slo_ms = {slo_ms}\n{_VECTORS}{stage}{_OUTPUT}from = "one.y"\n'


def program(width: int = 4) -> str:
    """The sound signature of an exported program that takes and gives `width` floats."""
    sizes = [{"as_expr": {"expr_str": "Symbol('s0')"}}, {"as_int": width}]
    argument = {"arg": {"as_tensor": {"name": "x"}}}
    graph = {
        "graph_module": {
            "graph": {"tensor_values": {"x": {"dtype": 7, "sizes": sizes}}},
            "signature": {
                "input_specs": [{"user_input": argument}],
                "output_specs": [{"user_output": argument}],
            },
        },
        "range_constraints": {},
    }
    return json.dumps(graph)


def write_program(folder: Path) -> None:
    """A model.pt2 with a sound signature, and nothing in it that torch could load."""
    with zipfile.ZipFile(folder / "model.pt2", "w") as archive:
        archive.writestr("m/models/model.json", program())
        # Another model is another program.
        archive.writestr("m/name", folder.name)
