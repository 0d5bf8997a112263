"""interference.toml is read back as written; the published constants are read; both say what is
wrong."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glet.errors import ConfigError
from glet.profiles.device_profile import Demand, DeviceProfile, ModelProfile
from glet.profiles.interference import BandwidthInterference, Tenant
from glet.profiles.interference_files import (
    BandwidthNumbers,
    ConstantNumbers,
    LinearNumbers,
    NoNumbers,
    Numbers,
    linear_from_gpulet,
    make_interference,
    read_constants,
    read_interference,
    read_numbers,
    write_numbers,
)

HEADER = "l2_util_m1,l2_util_m2,dram_util_m1,dram_util_m2,constant"
PROFILE = DeviceProfile(
    "d",
    {"m": ModelProfile("m", {100: {1: 1.0, 32: 2.0}}, demands={1: Demand(l2=0.5, dram=0.8)})},
    memory_mb=0.0,
    where="here",
)
COEFFICIENTS = st.floats(-1e6, 1e6)
POSITIVE = st.floats(1e-6, 1e6)
NUMBERS = st.one_of(
    st.just(NoNumbers()),
    st.builds(ConstantNumbers, factor=st.floats(1.0, 1e3)),
    st.builds(
        LinearNumbers,
        l2_victim=COEFFICIENTS,
        l2_neighbour=COEFFICIENTS,
        dram_victim=COEFFICIENTS,
        dram_neighbour=COEFFICIENTS,
        constant=COEFFICIENTS,
    ),
    st.builds(
        BandwidthNumbers,
        capacity=POSITIVE,
        sensitivity=POSITIVE,
        sensitivities=st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8), POSITIVE
        ),
    ),
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("interference") / "interference.toml"


@given(numbers=NUMBERS)
def test_numbers_survive_a_round_trip(path: Path, numbers: Numbers) -> None:
    write_numbers(path, numbers, comments=["from 12 pairs\nof today", ""])
    assert path.read_text(encoding="utf-8").startswith("# from 12 pairs of today\n#\nkind = ")
    assert read_numbers(path) == numbers
    victim, others = Tenant("m", 4, 50), [Tenant("m", 8, 50)]
    made = make_interference(numbers, PROFILE)
    assert read_interference(path, PROFILE).slowdown(victim, others) == made.slowdown(
        victim, others
    )
    kinds = {"NoNumbers": "none"}
    name = type(numbers).__name__
    assert made.name == kinds.get(name, name.removesuffix("Numbers").lower())


def test_a_file_as_one_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "interference.toml"
    path.write_text(
        'kind = "bandwidth"\ncapacity = 0.9\nsensitivity = 1\n[sensitivities]\n"vgg16" = 2.5\n'
    )
    model = read_interference(path, PROFILE)
    assert isinstance(model, BandwidthInterference)
    assert (model.capacity, model.sensitivity, model.sensitivities) == (0.9, 1.0, {"vgg16": 2.5})
    # Both draw 0.8 of it.
    m = Tenant("m", 1, 100)
    assert model.slowdown(m, [m]) == pytest.approx(1.6 / 0.9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "missing required field kind"),
        ('kind = "quadratic"', "kind: 'quadratic' is none of bandwidth, constant, linear, none"),
        ('kind = "constant"', "missing required field factor"),
        ('kind = "constant"\nfactor = "much"', "factor: expected float, got str"),
        ('kind = "constant"\nfactor = 0.9', "factor is 0.9; valid is 1..1000"),
        ('kind = "constant"\nfactor = inf', "factor is inf; valid is 1..1000"),
        ('kind = "constant"\nfaktor = 1.1', "unknown key 'faktor'; did you mean 'factor'"),
        ('kind = "none"\nfactor = 1.1', "unknown key 'factor'"),
        ('kind = "bandwidth"\ncapacity = 0.0\nsensitivity = 1.0', "capacity is 0; valid is"),
        (
            'kind = "bandwidth"\ncapacity = 1.0\nsensitivity = 1.0\nsensitivities = {m = -1.0}',
            "sensitivity of 'm' is -1; valid is",
        ),
        ('kind = "linear"\nl2_victim = nan', "missing required field"),
        ("kind = ", ":1: "),
    ],
)
def test_bad_toml(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "interference.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        read_interference(path, PROFILE)
    assert str(raised.value).startswith(str(path))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_interference(tmp_path / "interference.toml", PROFILE)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_constants(tmp_path / "INT_MODEL_CONSTANT.CSV")


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_published_constants(tmp_path: Path, end: str) -> None:
    path = tmp_path / "INT_MODEL_CONSTANT.CSV"
    path.write_bytes(f"{HEADER}{end or chr(10)}0.1,0.7,-0.3,0.05,0.9{end}".encode())
    constants = read_constants(path)
    assert constants == (0.1, 0.7, -0.3, 0.05, 0.9)
    m = Tenant("m", 1, 100)
    expected = 0.1 * 0.5 + 0.7 * 0.5 - 0.3 * 0.8 + 0.05 * 0.8 + 0.9
    assert linear_from_gpulet(constants, PROFILE).slowdown(m, [m]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("0.1,0.2,0.3,0.4,0.5\n", ":1: has no column 'l2_util_m1'"),
        (f"{HEADER}\n", "has 0 lines of numbers; valid is 1"),
        (f"{HEADER}\n1,2,3,4,5\n\n1,2,3,4,5\n", ":4: has 2 lines of numbers; valid is 1"),
        (f"{HEADER}\n1,2,3,4\n", ":2: has 4 cells; valid are 5"),
        (f"{HEADER}\n1,2,x,4,5\n", ":2: dram_util_m1 is 'x'; valid is a number"),
        (f"{HEADER}\n1,2,3,4,nan\n", ":2: constant is 'nan'; valid is a number"),
        (f"{HEADER}\n1,2,3,4,1e999\n", ":2: constant is '1e999'; valid is a number"),
    ],
)
def test_bad_constants(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "INT_MODEL_CONSTANT.CSV"
    path.write_text(text)
    with pytest.raises(ConfigError) as raised:
        read_constants(path)
    assert str(raised.value).startswith(str(path))
    assert message in str(raised.value)
