"""Whatever is wrong with an entry is said in one line, without torch."""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glet.config.load import decode
from glet.config.model import ModelConfig, to_toml
from glet.errors import ConfigError, ModelError
from glet.serve.callables import load_callable
from glet.serve.program import read_program
from glet.serve.repository import Form, Repository, read_samples

TOML = """
slo_ms = 5
max_batch = 4
[[input]]
name = "x"
dtype = "float32"
shape = [3]
[[output]]
name = "y"
dtype = "float32"
shape = [2]
"""
BATCH = {"as_expr": {"expr_str": "Symbol('s0', positive=True, integer=True)"}}


def tensor(*sizes: Any, dtype: int = 7) -> dict[str, Any]:
    return {
        "dtype": dtype,
        "sizes": [size if isinstance(size, dict) else {"as_int": size} for size in sizes],
    }


def document(x: dict[str, Any], y: dict[str, Any], largest: int | None = 64) -> dict[str, Any]:
    """The parts of an exported program's model.json that glet reads."""
    return {
        "graph_module": {
            "graph": {"tensor_values": {"x": x, "y": y}},
            "signature": {
                "input_specs": [
                    {"parameter": {"arg": {"name": "w"}, "parameter_name": "w"}},
                    {"user_input": {"arg": {"as_tensor": {"name": "x"}}}},
                ],
                "output_specs": [{"user_output": {"arg": {"as_tensor": {"name": "y"}}}}],
            },
        },
        "range_constraints": {"s0": {"min_val": 1, "max_val": largest}},
    }


def write_entry(root: Path, name: str, file: str, content: bytes, toml: str | None = TOML) -> None:
    folder = root / name
    folder.mkdir()
    (folder / file).write_bytes(content)
    if toml is not None:
        (folder / "model.toml").write_text(toml)


def write_program(root: Path, name: str, model: dict[str, Any], toml: str = TOML) -> None:
    write_entry(root, name, "model.pt2", b"", toml)
    with zipfile.ZipFile(root / name / "model.pt2", "w") as archive:
        archive.writestr("model/models/model.json", json.dumps(model))
        archive.writestr("model/data/weights/weight_0", bytes(64))


def test_a_sound_program(tmp_path: Path) -> None:
    write_program(tmp_path, "a", document(tensor(BATCH, 3), tensor(BATCH, 2)))
    repository = Repository(tmp_path)

    assert repository.names() == ["a"]
    assert repository.check("a") is None
    entry = repository.entry("a")
    assert entry.form is Form.PROGRAM
    assert entry.spec.slo_ms == 5.0
    assert read_samples(entry) is None


def test_the_portable_form_comes_first(tmp_path: Path) -> None:
    write_program(tmp_path, "a", document(tensor(BATCH, 3), tensor(BATCH, 2)))
    (tmp_path / "a" / "model.py").write_text("def infer(x): return x\n")

    assert Repository(tmp_path).entry("a").form is Form.PROGRAM


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (
            document(tensor(BATCH, 4), tensor(BATCH, 2)),
            "input 'x' is float32 [3] in model.toml, float32 [4] in the program",
        ),
        (
            document(tensor(BATCH, 3), tensor(BATCH, 2, dtype=5)),
            "output 'y' is float32 [2] in model.toml, int64 [2] in the program",
        ),
        (
            document(tensor(2, 3), tensor(2, 2)),
            "input 'x' has no dynamic batch dimension in the program; "
            "output 'y' has no dynamic batch dimension in the program",
        ),
        (
            document(tensor(BATCH, 3), tensor(BATCH, 2), largest=3),
            "max_batch is 4, the program takes at most 3",
        ),
    ],
)
def test_a_program_that_contradicts_its_model_toml(
    tmp_path: Path, model: dict[str, Any], problem: str
) -> None:
    write_program(tmp_path, "a", model)

    assert Repository(tmp_path).check("a") == problem
    with pytest.raises(ConfigError, match=r"^model 'a': "):
        Repository(tmp_path).entry("a")


def test_a_program_without_a_bound_takes_any_batch(tmp_path: Path) -> None:
    write_program(tmp_path, "a", document(tensor(BATCH, 3), tensor(BATCH, 2), largest=None))

    assert Repository(tmp_path).check("a") is None


def test_another_number_of_inputs(tmp_path: Path) -> None:
    model = document(tensor(BATCH, 3), tensor(BATCH, 2))
    model["graph_module"]["signature"]["input_specs"].pop()
    write_program(tmp_path, "a", model)

    problem = Repository(tmp_path).check("a") or ""
    assert problem.startswith("model.toml has 1 input(s), the program has 0")


@pytest.mark.parametrize(
    ("file", "content", "toml", "problem"),
    [
        ("notes.txt", b"", TOML, "has none of model.pt2, model.pt, model.py"),
        ("model.py", b"def infer(x): return x", None, "has no model.toml"),
        ("model.py", b"x = 1", TOML, "model.py defines neither infer(*arrays) nor load()"),
        ("model.py", b"def infer(:", TOML, "model.py:1: invalid syntax"),
        ("model.py", b"\0", TOML, "model.py"),
        (
            "model.py",
            b"def load(): pass",
            TOML.replace("slo_ms", "slo"),
            "model.toml: unknown key 'slo'; did you mean 'slo_ms'?",
        ),
        (
            "model.py",
            b"def load(): pass",
            "runner = 'compiled'\n" + TOML,
            "runner = 'compiled' needs model.pt2, this is model.py",
        ),
        (
            "model.py",
            b"def load(): pass",
            "labels = 'classes.txt'\nsamples = 'samples.npz'\n" + TOML,
            "samples.npz cannot be read: ",
        ),
        ("model.pt2", b"junk", TOML, "model.pt2 is corrupt or no exported program: "),
        ("model.pt", b"junk", TOML, "model.pt is corrupt or no TorchScript: "),
    ],
)
def test_one_line_says_what_is_wrong(
    tmp_path: Path, file: str, content: bytes, toml: str | None, problem: str
) -> None:
    write_entry(tmp_path, "a", file, content, toml)

    found = Repository(tmp_path).check("a") or ""
    assert found.startswith(problem)
    assert "\n" not in found


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()

    assert Repository(tmp_path).check("a") == (
        "has none of model.pt2, model.pt, model.py; has no model.toml"
    )


def test_a_zip_that_is_no_program_and_one_with_a_flipped_byte(tmp_path: Path) -> None:
    write_program(tmp_path, "a", document(tensor(BATCH, 3), tensor(BATCH, 2)))
    path = tmp_path / "a" / "model.pt2"
    sound = path.read_bytes()
    path.write_bytes(sound.replace(bytes(64), bytes(63) + b"x"))

    assert "checksum of model/data/weights/weight_0" in (Repository(tmp_path).check("a") or "")

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("something", "else")
    assert (Repository(tmp_path).check("a") or "").startswith(
        "model.pt2 is a zip but no exported program"
    )


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["graph_module", "graph", "tensor_values", "signature", "sizes"]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=8,
    )
)
def test_any_document_is_a_program_or_one_error(
    tmp_path_factory: pytest.TempPathFactory, model: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/models/model.json", json.dumps(model))

    with pytest.raises(ConfigError, match="layout that glet cannot read"):
        read_program(path)


def test_unknown_names_and_folders(tmp_path: Path) -> None:
    write_entry(tmp_path, "resnet18", "model.py", b"def load(): pass")

    with pytest.raises(ConfigError, match="did you mean 'resnet18'"):
        Repository(tmp_path).entry("resnet8")
    with pytest.raises(ConfigError, match="not in"):
        Repository(tmp_path).entry("../resnet18")
    with pytest.raises(ConfigError, match="is not a folder"):
        Repository(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"z": np.zeros((5, 3))}, r"'x' is missing; it must be \(n, 3\)"),
        ({"x": np.zeros((5, 4))}, r"'x' has items of shape \[4\]"),
        ({"x": np.zeros((5, 3)), "labels": np.zeros(4)}, "differ in length"),
    ],
)
def test_samples_that_do_not_fit(tmp_path: Path, arrays: dict[str, Any], problem: str) -> None:
    write_entry(tmp_path, "a", "model.py", b"def load(): pass", "samples = 's.npz'\n" + TOML)
    np.savez(tmp_path / "a" / "s.npz", **arrays)

    with pytest.raises(ConfigError, match=problem):
        read_samples(Repository(tmp_path).entry("a"))


def test_samples_come_in_the_dtype_of_the_input(tmp_path: Path) -> None:
    write_entry(tmp_path, "a", "model.py", b"def load(): pass", "samples = 's.npz'\n" + TOML)
    stored = np.arange(6, dtype=np.float16).reshape(2, 3)
    np.savez(tmp_path / "a" / "s.npz", x=stored, labels=np.array([1, 0]))

    samples = read_samples(Repository(tmp_path).entry("a"))

    assert samples is not None
    assert samples.inputs["x"].dtype == np.float32
    assert samples.inputs["x"].tolist() == stored.tolist()
    assert samples.labels is not None
    assert samples.labels.tolist() == [1, 0]


STRINGS = TOML.replace('dtype = "float32"\nshape = [3]', 'dtype = "bytes"\nshape = [3]')


def test_strings_have_a_longest_one(tmp_path: Path) -> None:
    write_entry(tmp_path, "a", "model.py", b"def load(): pass", STRINGS)
    bounded = STRINGS.replace('dtype = "bytes"', 'dtype = "bytes"\nmax_bytes = 7')
    write_entry(tmp_path, "b", "model.py", b"def load(): pass", bounded)
    specs = [Repository(tmp_path).entry(name).config.input[0] for name in "ab"]
    assert [(spec.max_bytes, spec.nbytes) for spec in specs] == [(1024, 3 * 1028), (7, 33)]
    for name in "ab":
        config = Repository(tmp_path).entry(name).config
        assert decode(to_toml(config), ModelConfig, "model.toml") == config
    assert "max_bytes" not in to_toml(Repository(tmp_path).entry("a").config)


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        (TOML.replace("shape = [3]", "shape = [3]\nmax_bytes = 8"), "'x' is float32"),
        (STRINGS.replace("shape = [3]", "shape = [3]\nmax_bytes = -1"), "max_bytes -1 of 'x'"),
        (STRINGS.replace("[3]", "[1024, 1024]"), "valid is 1 to 252"),
        (TOML.replace('"float32"', '"string"'), "valid are .*uint64, bytes"),
    ],
)
def test_strings_that_cannot_be(tmp_path: Path, toml: str, words: str) -> None:
    write_entry(tmp_path, "a", "model.py", b"def load(): pass", toml)
    problem = Repository(tmp_path).check("a") or ""
    assert re.search(words, problem)
    assert "\n" not in problem


@pytest.mark.parametrize("file", ["model.pt2", "model.pt"])
def test_only_python_takes_strings(tmp_path: Path, file: str) -> None:
    write_entry(tmp_path, "a", file, b"", STRINGS)
    problem = Repository(tmp_path).check("a")
    assert problem == f"'x' is of bytes, which needs model.py; this is {file}"


def test_a_module_of_torch_takes_no_strings(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    code = b"import torch\ndef load(): return torch.nn.Identity()\n"
    write_entry(tmp_path, "a", "model.py", code, STRINGS)
    with pytest.raises(ModelError, match=r"'x' is of bytes and model.py gives a module of torch"):
        load_callable(Repository(tmp_path).entry("a"))


def test_samples_of_strings(tmp_path: Path) -> None:
    toml = "samples = 's.npz'\n" + STRINGS
    write_entry(tmp_path, "a", "model.py", b"def load(): pass", toml)
    np.savez(tmp_path / "a" / "s.npz", x=np.array([["a", "", "cd"]]))
    samples = read_samples(Repository(tmp_path).entry("a"))
    assert samples is not None
    assert samples.inputs["x"].tolist() == [["a", "", "cd"]]
    np.savez(tmp_path / "a" / "s.npz", x=np.zeros((1, 3)))
    with pytest.raises(ConfigError, match=r"'x' is float64; model\.toml says bytes"):
        read_samples(Repository(tmp_path).entry("a"))


@pytest.mark.parametrize(("code", "dtype"), [(28, "uint16"), (34, "uint32"), (35, "uint64")])
def test_programs_of_unsigned_integers(tmp_path: Path, code: int, dtype: str) -> None:
    toml = TOML.replace("float32", dtype)
    model = document(tensor(BATCH, 3, dtype=code), tensor(BATCH, 2, dtype=code))
    write_program(tmp_path, "a", model, toml)
    assert Repository(tmp_path).check("a") is None
