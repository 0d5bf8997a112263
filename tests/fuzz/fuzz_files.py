"""Files that people write: valid ones, damaged. A reader says one line, or takes it."""

import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from fuzz_dice import Dice, damaged

from glet.config.addresses import read_addresses
from glet.config.app import AppConfig
from glet.config.cluster import load_cluster
from glet.config.load import load
from glet.config.model import ModelConfig
from glet.config.resource import profile_folder, resource
from glet.control.autoscalers import chosen_autoscaler
from glet.control.record import read_record
from glet.errors import GletError
from glet.plan import model_list, sched_config, tasks
from glet.profiles import latency_csv
from glet.profiles.files import read_profile
from glet.profiles.importers import read_device_config, read_mem_config
from glet.profiles.interference_files import read_constants, read_numbers
from glet.sim.scenario import load_scenario
from glet.wire.keys import read_pair, read_public
from glet.workload.trace import read_days, read_trace

MOST_LINE = 2000
NUMBERS = (b"0", b"-1", b"1e999", b"nan", b"inf", b"-inf", b"1e-320", b"0x10", b"1_000", b"",
           b"99999999999999999999", b"2147483648", b"0.5", b"1" * 5000)  # fmt: skip
WORDS = (b"", b"x", b"true", b"[]", b"{}", b"\xff", b"\x00", b"a" * 5000, b"[[", b'"', b"\\u0000",
         "\u2028".encode(), b"../..", b"# ")  # fmt: skip
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
WORD = re.compile(rb"[A-Za-z_]+")


class Target(NamedTuple):
    """A reader, the file it is given, and what that file is like."""

    read: Callable[[Path], object]
    file: str
    seed: bytes
    beside: Path | None = None


def _of(path: Path, read: Callable[[Path], object], file: str = "") -> Target:
    return Target(read, file or path.name, path.read_bytes())


def _in_profile(file: str) -> Target:
    folder = profile_folder("cpu-2core")
    return Target(
        lambda path: read_profile(path.parent), file, (folder / file).read_bytes(), folder
    )


def _both_keys(path: Path) -> None:
    read_public(path)
    read_pair(path)


KEY = b"""metadata
    name = "x"
curve
    public-key = "1NBhz[y(5(aLO(1g]3gqpHe!F]kcQt({Xj?ERdv)"
    secret-key = "$d@R{u&J$9+AX)kS=$d@R{u&J$9+AX)kS=$d@R{u"
"""
LIST = b"0,60,0,lenet,4,10.000000\n0,40,0,reserved,32,0.000000\n"
CONSTANTS = b"l2_util_m1,l2_util_m2,dram_util_m1,dram_util_m2,constant\n0.1,0.2,0.3,0.4,0.5\n"
LATENCY = b"".join(b"a,%d,%d,%d.5\n" % (s, b, b) for s in (50, 100) for b in (1, 8))
RECORD = b'{"line":"header"}\n{"line":"round","number":1}\n'


def targets() -> dict[str, Target]:
    """By name."""
    scheduler = resource("scheduler")
    return {
        "cluster": _of(resource("clusters", "one-machine.toml"), load_cluster),
        "cluster_json": Target(load_cluster, "c.json", b'{"listen":"tcp://127.0.0.1:*","http":""}'),
        "model": _of(resource("probes", "memory", "model.toml"), lambda p: load(p, ModelConfig)),
        "app": _of(resource("apps", "traffic.toml"), lambda p: load(p, AppConfig)),
        "scenario": _of(resource("scenarios", "gpulets-day.toml"), load_scenario),
        "policy": _of(resource("policies", "faro.toml"), lambda p: chosen_autoscaler(str(p))),
        "latency": Target(latency_csv.read, "latency.csv", LATENCY),
        "profile_device": _in_profile("device.toml"),
        "profile_models": _in_profile("models.csv"),
        "profile_latency": _in_profile("latency.csv"),
        "profile_demand": _in_profile("demand.csv"),
        "interference": _of(profile_folder("cpu-2core") / "interference.toml", read_numbers),
        "constants": Target(read_constants, "c.csv", CONSTANTS),
        "tasks": _of(scheduler / "tasks.csv", tasks.read),
        "sched_config": _of(scheduler / "sched-config.json", sched_config.read),
        "device_config": _of(scheduler / "device-config.json", read_device_config),
        "mem_config": _of(scheduler / "mem-config.json", read_mem_config),
        "model_list": Target(model_list.read, "ModelList.txt", LIST),
        "trace": Target(lambda p: read_trace(p, 1.0), "t.csv", b"second,a,b\n0,1,2\n1,3,4\n"),
        "days": _of(resource("traces", "slices-day.csv"), lambda p: read_days(p, 60.0)),
        "record": Target(read_record, "r.jsonl", RECORD),
        "addresses": Target(
            partial(read_addresses, names=("a", "b")), "a.toml", b'[control]\na = "tcp://h:1"\n'
        ),
        "key": Target(_both_keys, "k.key", KEY),
    }  # fmt: skip


def run(target: Target, folder: Path, data: bytes) -> str:
    """What the reader says of it, '' when it takes it. Raises what is no error of glet's."""
    if target.beside is not None:
        for other in target.beside.iterdir():
            if not (folder / other.name).exists():
                shutil.copyfile(other, folder / other.name)
    path = folder / target.file
    path.write_bytes(data)
    path.chmod(0o600)
    try:
        target.read(path)
    except GletError as error:
        said = str(error)
        assert said, "an error without a text"
        assert len(said.splitlines()) == 1, said[:MOST_LINE]
        return said
    return ""


def changed(dice: Dice, seed: bytes) -> bytes:
    """The file with up to four parts that are not as they should be."""
    data = seed
    for _ in range(dice.number(1, 4)):
        match dice.number(0, 6):
            case 0 | 1:
                data = _replaced(dice, data, NUMBER, NUMBERS)
            case 2 | 3:
                data = _replaced(dice, data, WORD, WORDS)
            case 4:
                lines = data.splitlines(keepends=True) or [b""]
                at = dice.number(0, len(lines) - 1)
                lines[at : at + 1] = [lines[at]] * dice.pick((0, 2, 300))
                data = b"".join(lines)
            case 5:
                data = b"[" * 5000 + data if dice.once_in(6) else data.replace(b",", b";", 3)
            case _:
                data = damaged(dice, data)
    return data


def _replaced(dice: Dice, data: bytes, what: re.Pattern[bytes], by: tuple[bytes, ...]) -> bytes:
    found = list(what.finditer(data))
    if not found:
        return data
    one = dice.pick(found)
    return data[: one.start()] + dice.pick(by) + data[one.end() :]
