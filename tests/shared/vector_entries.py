"""Entries of a model repository whose models, and apps of one stage, take and give four floats."""

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


def app_toml(model: str, slo_ms: float) -> str:
    """What app.toml says of an app that hands its input to `model`."""
    stage = f'[[stage]]\nname = "one"\nmodel = "{model}"\ninputs = {{ x = "x" }}\n'
    return f'slo_ms = {slo_ms}\n{_VECTORS}{stage}{_OUTPUT}from = "one.y"\n'
