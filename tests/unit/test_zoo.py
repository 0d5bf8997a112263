"""The sample models are the published networks: their parameter counts say so."""

import importlib.util

import pytest

from glet.config.zoo import zoo, zoo_model
from glet.errors import ConfigError, DeviceError
from glet.serve.torch_path import find_torch, is_supported

torch = pytest.importorskip("torch")

from glet.serve.export import build, random_inputs  # noqa: E402

PARAMETERS = {
    "lenet": 61_706,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "mobilenet_v2": 3_504_872,
    "vgg16": 138_357_544,
    "googlenet": 6_624_904,
    "densenet161": 28_681_000,
    "mnasnet1_0": 4_383_312,
    "ssd-mobilenetv1": 9_468_996,
    "bert": 109_482_240,
    "bert_tiny": 4_385_920,
    "detector": 97_940,
}


def test_every_sample_is_counted_here() -> None:
    assert set(zoo()) == set(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_and_shapes(name: str) -> None:
    """On the meta device: shapes and counts without memory or arithmetic."""
    model = zoo_model(name)
    with torch.device("meta"):
        network = build(model)
        inputs = [
            torch.zeros((3, *spec.shape), dtype=getattr(torch, spec.dtype)) for spec in model.input
        ]
        outputs = network(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)

    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]
    assert [tuple(output.shape) for output in outputs] == [
        (3, *spec.shape) for spec in model.output
    ]
    assert all(output.dtype == torch.float32 for output in outputs)


@pytest.mark.parametrize("name", PARAMETERS)
def test_random_inputs_fit_the_signature(name: str) -> None:
    model = zoo_model(name)
    first, again, other = (random_inputs(model, 2, seed) for seed in (1, 1, 2))

    for spec in model.input:
        array = first[spec.name]
        assert array.shape == (2, *spec.shape)
        assert array.dtype == spec.dtype
        assert (array == again[spec.name]).all()
        assert (array != other[spec.name]).any()
        if array.dtype.kind == "f":
            assert (array.astype("float16").astype(spec.dtype) == array).all()


def test_an_unknown_sample_gets_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'mobilenet_v2'"):
        zoo_model("mobilenetv2")


@pytest.mark.parametrize(
    ("version", "supported"),
    [
        ("2.10.0", False),
        ("2.11.0", True),
        ("2.13.0+cpu", True),
        ("2.14.1+cu130", True),
        ("2.15.0", False),
        ("3.0", False),
        ("nightly", False),
    ],
)
def test_torch_versions(version: str, supported: bool) -> None:
    assert is_supported(version) is supported


def test_torch_is_found_or_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert find_torch().libtorch_cpu.is_file()

    monkeypatch.setattr("glet.serve.torch_path.version", lambda _: "2.4.0")
    with pytest.raises(DeviceError, match=r"found torch 2\.4\.0, wanted >= 2\.11 and < 2\.15"):
        find_torch()

    monkeypatch.setattr("glet.serve.torch_path.find_spec", lambda _: None)
    with pytest.raises(DeviceError, match=r"pip install 'glet\[torch\]'"):
        find_torch()


def test_resources_are_found_without_being_imported() -> None:
    assert importlib.util.find_spec("glet.config.resource") is not None
    with pytest.raises(ConfigError, match=r"nothing\.toml: no such file"):
        importlib.import_module("glet.config.resource").resource("models", "nothing.toml")
