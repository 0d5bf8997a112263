"""Any text is either a struct or one ConfigError of one line that says where and what."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glet.config.load import decode, load, nearest
from glet.config.model import ModelConfig, to_toml
from glet.errors import ConfigError
from glet.types.model import TensorSpec

GOOD = """
slo_ms = 5
max_batch = 4
[[input]]
name = "x"
dtype = "float32"
shape = [2]
[[output]]
name = "y"
dtype = "int64"
shape = []
"""


class Constant(msgspec.Struct, tag="constant", frozen=True):
    rate_rps: float


class Bursty(msgspec.Struct, tag="bursty", frozen=True):
    rate_rps: float
    shape: float = 1.0


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """The forms that the configuration of glet takes: nested, lists, tables by name, variants."""

    seed: int = 0
    mode: Literal["live", "sim"] = "live"
    arrivals: Constant | Bursty | None = None
    models: dict[str, TensorSpec] = {}
    share_pct: Annotated[int, msgspec.Meta(ge=1, le=100)] = 100


def test_reads_a_model() -> None:
    config = decode(GOOD, ModelConfig, "model.toml")

    assert config.slo_ms == 5.0
    assert config.signature.inputs == (TensorSpec(name="x", dtype="float32", shape=(2,)),)
    assert config.output[0].shape == ()
    assert config.output[0].nbytes == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("slo_ms", "slo_m"), "model.toml: unknown key 'slo_m'; did you mean 'slo_ms'?"),
        (
            ('dtype = "float32"', 'type = "float32"'),
            "model.toml: in input[0], unknown key 'type'; did you mean 'dtype'?",
        ),
        (("slo_ms = 5", "slo_ms = 'x'"), "model.toml: slo_ms: expected float, got str"),
        (("slo_ms = 5", "slo_ms = nan"), "model.toml: slo_ms is nan; it must be above 0"),
        (("slo_ms = 5\n", ""), "model.toml: missing required field slo_ms"),
        (("max_batch = 4", "max_batch = 0"), "model.toml: max_batch: expected int >= 1"),
        (
            ("shape = [2]", "shape = [2, 'a']"),
            "model.toml: input[0].shape[1]: expected int, got str",
        ),
        (("shape = [2]", "shape = [0]"), "model.toml: input[0]: shape [0] has a size below 1"),
        (
            ("float32", "float31"),
            "model.toml: input[0]: dtype 'float31' is unknown; valid are float32",
        ),
        (("max_batch = 4", "max_batch ="), "model.toml:3: "),
        (("shape = []", "shape = ["), "model.toml:12: "),
    ],
)
def test_says_file_field_and_what_is_valid(change: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode(GOOD.replace(*change), ModelConfig, "model.toml")

    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[arrivals]\ntype='bursty'\nshap=1\n",
            "f: in arrivals, unknown key 'shap'; did you mean 'shape'?",
        ),
        ("[models.a]\nnam='b'\n", "f: in models.a, unknown key 'nam'; did you mean 'name'?"),
        ("zzz = 1\n", "f: unknown key 'zzz'; valid are arrivals, mode, models, seed, share_pct"),
        ("share_pct = 101\n", "f: share_pct: expected int <= 100"),
        ("mode = 'real'\n", "f: mode: 'real' is none of live, sim"),
        ("[arrivals]\ntype='steady'\n", "f: arrivals.type: 'steady' is none of bursty, constant"),
    ],
)
def test_reaches_into_variants_and_tables(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode(text, Scenario, "f")

    assert str(caught.value) == message


def test_names_the_file_that_cannot_be_read(tmp_path: Path) -> None:
    binary = tmp_path / "a.toml"
    binary.write_bytes(b"a = '\xff'")

    with pytest.raises(ConfigError, match=r"a\.toml: is not UTF-8 text \(byte 5\)"):
        load(binary, ModelConfig)
    with pytest.raises(ConfigError, match=r"b\.toml: cannot be read: No such file"):
        load(tmp_path / "b.toml", ModelConfig)


def test_nearest_lists_all_when_nothing_is_near() -> None:
    assert nearest("resnet17", ["resnet18", "bert"]) == "did you mean 'resnet18'?"
    assert nearest("zzz", ["resnet18", "bert"]) == "valid are bert, resnet18"
    assert nearest("zzz", []) == "there are none"


# Text in the alphabet of TOML, so that much of it parses; and any text at all.
WORDS = st.sampled_from(
    ["slo_ms", "max_batch", "[[input]]", "[input]", "name", "shape", "dtype", "=", '"x"', "[", "]",
     "{", "}", "\n", ".", ",", "1", "-1", "1e999", "nan", "true", "1979-05-27", "'''", "#", '"""']
)  # fmt: skip
TOML_LIKE = st.lists(WORDS, max_size=30).map(" ".join)


@given(st.one_of(st.text(max_size=80), TOML_LIKE, TOML_LIKE.map(lambda text: GOOD + text)))
def test_any_text_is_a_struct_or_one_line(text: str) -> None:
    for kind in (ModelConfig, Scenario, dict[str, ModelConfig]):
        problem = problem_of(text, kind)
        assert "\n" not in problem
        assert problem.startswith(("fuzz.toml:", "none"))


def problem_of(text: str, kind: type[object]) -> str:
    try:
        decode(text, kind, "fuzz.toml")
    except ConfigError as error:
        return str(error)
    return "none"


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "a = " + "9" * 5000])
def test_hostile_numbers_and_depth_are_errors_too(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^deep\.toml:"):
        decode(text, ModelConfig, "deep.toml")


TENSORS = st.builds(
    TensorSpec,
    name=st.text(min_size=1, max_size=8),
    dtype=st.sampled_from(["float32", "int64"]),
    shape=st.lists(st.integers(1, 9), max_size=4).map(tuple),
)


@given(
    config=st.builds(
        ModelConfig,
        slo_ms=st.floats(min_value=1e-3, max_value=1e9),
        max_batch=st.integers(1, 4096),
        input=st.lists(TENSORS, min_size=1, max_size=3, unique_by=lambda t: t.name).map(tuple),
        output=st.lists(TENSORS, min_size=1, max_size=3, unique_by=lambda t: t.name).map(tuple),
        runner=st.sampled_from(["auto", "compiled", "python"]),
        description=st.text(max_size=20),
        samples=st.text(max_size=8),
        labels=st.text(max_size=8),
    )
)
def test_what_is_written_reads_back(config: ModelConfig) -> None:
    assert decode(to_toml(config), ModelConfig, "model.toml") == config
