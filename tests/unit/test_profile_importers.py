"""Importers of published profiles: what they make of files, and what they say of wrong ones."""

from pathlib import Path

import pytest

from glet.errors import ArgumentError, ConfigError, ProfileError
from glet.profiles.device_profile import Demand
from glet.profiles.importers import (
    import_gpulet,
    import_mig,
    read_device_config,
    read_mem_config,
    read_util,
)

DEVICES = """{
	"device_specs":[
	{
	"type":"2080ti",
	"mem_mb":11000,
	"latency_prof_file": "2080ti/latency.csv",
	"interference_const_file": "2080ti/INT_MODEL_CONSTANT.CSV",
	"interference_util_file": "2080ti/UTIL.CSV"
	}
	]
}
"""
MEMORY = '{"models": [{"name": "vgg16", "mem": 2920}, {"name": "lenet1", "mem": 50}]}'
UTIL = """bench,batch,avg_duration(ms),SM_util(%),l2_util(%),mem_util(%),achieved occupancy,x
vgg16,1,0.067,41.5,31.0,56.0,49.5,54.8
lenet,1,0.004,7.8,2.4,11.3,32.0,90.9
"""
LATENCY = "vgg16,20,32,348.1\nvgg16,100,1,6.9\nvgg16,100,32,71.0\nlenet1,100,1,0.5\n"
MIG_HEADER = "Mig instance,Batch size,Workload Number,Throughput,Latency"

SHARED = Path("/work/shared/data")
published = pytest.mark.skipif(not SHARED.is_dir(), reason="published data is not here")


def gpulet(folder: Path) -> Path:
    (folder / "2080ti").mkdir()
    (folder / "2080ti" / "latency.csv").write_text(LATENCY)
    (folder / "2080ti" / "UTIL.CSV").write_text(UTIL)
    (folder / "mem-config.json").write_text(MEMORY)
    (folder / "device-config.json").write_text(DEVICES)
    return folder / "device-config.json"


def test_a_device_of_the_published_tools(tmp_path: Path) -> None:
    config = gpulet(tmp_path)
    profiles = import_gpulet(config, tmp_path / "mem-config.json")
    assert list(profiles) == ["2080ti"]
    profile = profiles["2080ti"]
    assert (profile.type, profile.memory_mb) == ("2080ti", 11000.0)
    assert profile.models() == ("lenet1", "vgg16")
    vgg = profile.model("vgg16")
    assert vgg.memory_mb == 2920.0
    assert vgg.latency_ms(100, 32) == 71.0
    assert vgg.demand(1) == Demand(l2=0.31, dram=0.56)
    assert profile.model("lenet1").demand(1) == Demand(l2=0.024, dram=0.113)
    with pytest.raises(ProfileError, match=r"2080ti/latency\.csv: has no model 'bert'"):
        profile.model("bert")
    assert import_gpulet(config, None)["2080ti"].model("vgg16").memory_mb == 0.0


def test_paths_are_relative_to_the_config(tmp_path: Path) -> None:
    (spec,) = read_device_config(gpulet(tmp_path))
    assert spec.latency_csv == tmp_path / "2080ti" / "latency.csv"
    assert spec.constants_csv == tmp_path / "2080ti" / "INT_MODEL_CONSTANT.CSV"
    assert spec.util_csv == tmp_path / "2080ti" / "UTIL.CSV"


def test_a_file_that_a_config_names_and_that_is_not_there(tmp_path: Path) -> None:
    config = gpulet(tmp_path)
    (tmp_path / "2080ti" / "UTIL.CSV").unlink()
    with pytest.raises(ConfigError) as caught:
        import_gpulet(config, None)
    assert "device_specs[0]: interference_util_file names" in str(caught.value)
    (tmp_path / "2080ti" / "latency.csv").unlink()
    with pytest.raises(ConfigError) as caught:
        import_gpulet(config, None)
    assert str(caught.value) == (
        f"{config}: device_specs[0]: latency_prof_file names {tmp_path}/2080ti/latency.csv, "
        "a file that is not there; it would hold lines model,share,batch,latency_ms"
    )


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("11000,", "11000", "device-config.json:6:2: Expecting ',' delimiter"),
        ("11000", '"11000"', "device_specs[0].mem_mb: expected float, got str"),
        ("11000", "-1", "device_specs[0].mem_mb: expected float >= 0.0"),
        ('"2080ti"', '""', "device_specs[0].type: expected str of length >= 1"),
        ('"type"', '"typ"', "in device_specs[0], unknown key 'typ'; did you mean 'type'?"),
        ('"type":"2080ti",', "", "device_specs[0]: missing required field type"),
    ],
)
def test_a_wrong_device_config(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = gpulet(tmp_path)
    assert old in DEVICES
    path.write_text(DEVICES.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        read_device_config(path)
    assert str(caught.value).startswith(str(path))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            '{"models": [{"name": "a", "mem": 1}, {"name": "a", "mem": 2}]}',
            "models[1].name: 'a' is",
        ),
        ('{"models": [{"name": "a", "mem": "1"}]}', "models[0].mem: expected float, got str"),
        ('{"models": [{"name": "a", "mem": 1e300}]}', "models[0].mem: expected float <= 1"),
        ('{"models": {}}', "models: expected array, got object"),
        ("[", ":1:2: Expecting value"),
        ("", ":1:1: Expecting value"),
    ],
)
def test_a_wrong_mem_config(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "mem-config.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_mem_config(path)
    assert says in str(caught.value)


def test_device_types_are_there_once(tmp_path: Path) -> None:
    path = tmp_path / "device-config.json"
    spec = '{"type": "a", "mem_mb": 1, "latency_prof_file": "l"}'
    path.write_text(f'{{"device_specs": [{spec}, {spec}]}}')
    with pytest.raises(ConfigError, match=r"device_specs\[1\]\.type: 'a' is there twice"):
        read_device_config(path)
    path.write_text('{"device_specs": []}')
    with pytest.raises(ConfigError, match="device_specs is empty"):
        read_device_config(path)


def test_utilisation_by_any_header_and_with_trailing_commas(tmp_path: Path) -> None:
    path = tmp_path / "UTIL.CSV"
    path.write_text(
        "model,batch,L2_util (%),dram_util,,\nssd,4,20,50,,\nlenet2,1,7,9,\nlenet,1,1,2"
    )
    demands = read_util(path)
    assert demands["ssd-mobilenetv1"] == {4: Demand(l2=0.2, dram=0.5)}
    assert "ssd" not in demands
    assert demands["lenet6"] == {1: Demand(l2=0.01, dram=0.02)}
    assert demands["lenet2"] == {1: Demand(l2=0.07, dram=0.09)}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "UTIL.CSV: is empty"),
        ("model,batch,l2_util,mem_util\n", "UTIL.CSV: is empty"),
        ("model,batch,l2_util\na,1,2\n", "UTIL.CSV:1: has no column mem_util or dram_util"),
        (
            "model,batch,l2_util,mem_util,dram_util\na,1,2,3,4\n",
            "UTIL.CSV:1: has more than one column mem_util or dram_util",
        ),
        ("model,batch,l2_util,mem_util\na,1,2\n", "UTIL.CSV:2: has 3 cells; at least 4 are needed"),
        ("model,batch,l2_util,mem_util\na,1,2,101\n", "UTIL.CSV:2: dram is '101'; valid is"),
        ("model,batch,l2_util,mem_util\na,1,nan,1\n", "UTIL.CSV:2: l2 is 'nan'"),
        ("model,batch,l2_util,mem_util\na,1,1,1\na,1,1,1\n", "UTIL.CSV:3: a,1 is there twice"),
    ],
)
def test_wrong_utilisation(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "UTIL.CSV"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_util(path)
    assert says in str(caught.value)


def mig(folder: Path, *lines: str, model: str = "resnet50") -> Path:
    (folder / f"{model}.csv").write_text("\n".join((MIG_HEADER, *lines)))
    return folder


def test_instances_become_shares_and_seconds_milliseconds(tmp_path: Path) -> None:
    folder = mig(
        tmp_path,
        "1,1,1,196.762,0.005",
        "1,8,1,358.277,0.022",
        "1,8,2,185.293,0.043",
        "1,16,1,0,0",
        "7,1,1,195.8,0.005",
        "7,8,1,1500,0.0055",
    )
    profile = import_mig(folder, "a100", 40960.0)
    assert (profile.type, profile.memory_mb) == ("a100", 40960.0)
    assert profile.shares == (14, 28, 42, 57, 100)
    model = profile.model("resnet50")
    assert (model.shares, model.max_batch) == ((14, 100), 8)
    # Three decimals of a second are coarse; the rate of batches one after the other is not.
    assert model.latency_ms(14, 8) == pytest.approx(8000 / 358.277)
    assert model.latency_ms(100, 8) == pytest.approx(8000 / 1500)
    beside = import_mig(folder, "a100", 40960.0, workload=2).model("resnet50")
    assert beside.latency_ms(14, 8) == pytest.approx(8000 / 185.293)
    with pytest.raises(
        ProfileError, match=r"/vgg16\.csv: has no model 'vgg16'; valid are resnet50"
    ):
        profile.model("vgg16")


def test_a_rate_that_disagrees_with_the_latency_is_left_aside(tmp_path: Path) -> None:
    folder = mig(tmp_path, "7,8,1,100,0.022")
    assert import_mig(folder, "a", 0).model("resnet50").latency_ms(100, 8) == pytest.approx(22.0)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("5,1,1,1,1", "Mig instance is '5'; valid is one of 1, 2, 3, 4, 7 slices of seven"),
        ("8,1,1,1,1", "Mig instance is '8'"),
        ("1,0,1,1,1", "Batch size is '0'"),
        ("1,1,0,1,1", "Workload Number is '0'"),
        ("1,1,1,-1,1", "Throughput is '-1'"),
        ("1,1,1,1,nan", "Latency is 'nan'"),
        ("1,1,1,0,0.005", "Throughput and Latency are both 0 or both above it"),
        ("1,1,1,1", "has 4 cells; valid are 5"),
        ("7,1,1,1,1", "7,1,1 is there twice; first at"),
    ],
)
def test_wrong_instance_tables(tmp_path: Path, line: str, says: str) -> None:
    folder = mig(tmp_path, "7,1,1,200,0.005", line)
    with pytest.raises(ConfigError) as caught:
        import_mig(folder, "a100", 0)
    assert str(caught.value).startswith(f"{tmp_path}/resnet50.csv:3: ")
    assert says in str(caught.value)


def test_folders_without_anything_that_ran(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no folder"):
        import_mig(tmp_path / "none", "a100", 0)
    with pytest.raises(ConfigError, match="has no tables"):
        import_mig(tmp_path, "a100", 0)
    with pytest.raises(ArgumentError, match="nothing ran with 2 processes"):
        import_mig(mig(tmp_path, "7,1,1,200,0.005", "7,1,2,0,0"), "a100", 0, workload=2)


@published
def test_the_published_files_of_gpulet_are_read() -> None:
    folder = SHARED / "gpulet"
    memory_mb = read_mem_config(folder / "mem-config.json")
    assert len(memory_mb) == 14
    assert memory_mb["vgg16"] == 2920.0
    specs = read_device_config(folder / "device-config.json")
    assert [(spec.type, spec.memory_mb) for spec in specs] == [("2080ti", 11000), ("3080", 10200)]
    for spec in specs:
        assert spec.util_csv is not None
        demands = read_util(spec.util_csv)
        assert set(demands) == {"lenet", *memory_mb}
        assert all(len(by_batch) == 10 for by_batch in demands.values())
    with pytest.raises(ConfigError, match=r"latency_prof_file names .*, a file that is not there"):
        import_gpulet(folder / "device-config.json", folder / "mem-config.json")


@published
def test_the_published_a100_tables_are_read() -> None:
    profile = import_mig(SHARED / "parvagpu-a100", "a100", 40960.0)
    assert len(profile.models()) == 11
    resnet = profile.model("resnet50")
    assert resnet.shares == (14, 28, 42, 57, 100)
    assert resnet.max_batch == 32
    assert profile.model("vgg16").latency_ms(14, 1) == pytest.approx(1000 / 123.337)
