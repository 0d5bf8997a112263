"""`ModelList.txt`: a plan in the format of the published gpulet tools.

gpu,share,dedup,model,batch,duty_cycle_ms     a line per model on a gpulet, or for an idle gpulet
0,60,0,reserved,32,0.000000                   the model `reserved`
"""

import math
import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from glet.config.load import read_text
from glet.errors import ConfigError
from glet.types.plan import GpuletPlan, ModelShare, Plan, lingers, problems

RESERVED = "reserved"
RESERVED_BATCH = 32
COLUMNS = ("gpu", "share", "dedup", "model", "batch", "duty_cycle_ms")

_Place = tuple[int, int, int]
_NUMBER = re.compile(r"\d{1,9}")


def read(path: Path) -> Plan:
    """The plan in a file. Raises ConfigError `file:line: what is wrong; what is valid`."""
    return parse(read_text(path), str(path))


def parse(text: str, where: str) -> Plan:
    """Like read(), for text; `where` names its origin in errors.

    A model's rate is a full batch per duty cycle; what the cycles say of waiting is in lingers().
    Models of one gpulet are promised equal parts of its time: the format has no column for that.
    """
    placed: dict[_Place, list[ModelShare]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        at = f"{where}:{number}"
        place, share = _line(line.strip(), at)
        models = placed.setdefault(place, [])
        if share is not None:
            models.append(share)
        found = problems(_gpulets(placed))
        if found:
            raise ConfigError(f"{at}: {found[0]}")
    if not placed:
        raise ConfigError(f"{where}: is empty; valid are lines {','.join(COLUMNS)}")
    return Plan(gpulets=_gpulets(placed))


def render(gpulets: Iterable[GpuletPlan]) -> str:
    """The text that parse() reads back; the unmet part of a plan has no place in it."""
    lines = []
    for gpulet in gpulets:
        place = f"{gpulet.device},{gpulet.share_pct},{gpulet.dedup}"
        if not gpulet.models:
            lines.append(f"{place},{RESERVED},{RESERVED_BATCH},{0.0:f}")
        lines += [f"{place},{m.model},{m.batch},{_duty_cycle_ms(m):f}" for m in gpulet.models]
    return "".join(f"{line}\n" for line in lines)


def _duty_cycle_ms(share: ModelShare) -> float:
    if share.duty_cycle_ms is not None:
        return share.duty_cycle_ms
    return share.batch * 1000.0 / share.rate_rps if share.rate_rps > 0 else 0.0


def _gpulets(placed: dict[_Place, list[ModelShare]]) -> tuple[GpuletPlan, ...]:
    return tuple(
        GpuletPlan(
            device=device,
            share_pct=share_pct,
            dedup=dedup,
            models=tuple(
                msgspec.structs.replace(model, time_share=1.0 / len(models))
                for model in lingers(models)
            ),
        )
        for (device, share_pct, dedup), models in placed.items()
    )


def _line(line: str, at: str) -> tuple[_Place, ModelShare | None]:
    cells = line.split(",")
    if len(cells) != len(COLUMNS):
        raise ConfigError(f"{at}: has {len(cells)} columns; valid is {','.join(COLUMNS)}")
    gpu, share_pct, dedup = (_integer(cells[i], COLUMNS[i], at) for i in range(3))
    model, batch = cells[3].strip(), _integer(cells[4], "batch", at)
    duty_cycle_ms = _milliseconds(cells[5], at)
    if not model:
        raise ConfigError(f"{at}: model is empty; valid is a model's name, or {RESERVED}")
    place = (gpu, share_pct, dedup)
    if model == RESERVED:
        return place, None
    return place, ModelShare(
        model=model,
        batch=batch,
        rate_rps=batch * 1000.0 / duty_cycle_ms if duty_cycle_ms > 0 else 0.0,
        duty_cycle_ms=duty_cycle_ms,
    )


def _integer(cell: str, column: str, at: str) -> int:
    if _NUMBER.fullmatch(cell.strip()) is None:
        raise ConfigError(f"{at}: {column} is {cell!r}; valid is a whole number")
    return int(cell)


def _milliseconds(cell: str, at: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    # Below a nanosecond a rate would no longer be a number.
    if not (math.isfinite(value) and (value == 0 or value >= 1e-6)):
        raise ConfigError(f"{at}: duty_cycle_ms is {cell!r}; valid is milliseconds, 0 or more")
    return value
