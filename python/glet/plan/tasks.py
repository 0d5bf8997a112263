"""The tasks file of the published gpulet tools: models, their rates and objectives.

3                 the number of tasks
7,120,108,        model,rate_rps,slo_ms, with a comma at the end; a model's id, or its name
"""

import re
from collections.abc import Iterable
from pathlib import Path

from glet.config.load import read_text
from glet.errors import ConfigError
from glet.plan.model_list import RESERVED
from glet.plan.problem import Task

MODEL_IDS = (
    *(f"lenet{number}" for number in range(1, 7)),
    "googlenet",
    "resnet50",
    "ssd-mobilenetv1",
    "vgg16",
    "mnasnet1_0",
    "mobilenet_v2",
    "densenet161",
    "bert",
)
"""The published models; the position is the id (Choi et al., ATC 2022, prototype)."""

COLUMNS = "model,rate_rps,slo_ms,"
MOST_TASKS = 100_000
MOST = 1e9
_ID = re.compile(r"\d{1,9}")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def read(path: Path) -> tuple[Task, ...]:
    """The tasks in a file. Raises ConfigError `file:line:column: what is wrong; what is valid`."""
    return parse(read_text(path), str(path))


def parse(text: str, where: str) -> tuple[Task, ...]:
    """Like read(), for text; `where` names its origin in errors."""
    lines = text.splitlines()
    count = _count(lines[0] if lines else "", where)
    tasks: list[Task] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        task = _task(line, f"{where}:{number}")
        if task.model in seen:
            raise ConfigError(
                f"{where}:{number}:1: model {task.model!r} is there twice, "
                f"before on line {seen[task.model]}"
            )
        seen[task.model] = number
        tasks.append(task)
    if len(tasks) != count:
        raise ConfigError(f"{where}:1: says {count} tasks, {len(tasks)} follow")
    return tuple(tasks)


def render(tasks: Iterable[Task]) -> str:
    """The text that parse() reads back; published models by their ids, others by name."""
    ids = {name: str(number) for number, name in enumerate(MODEL_IDS)}
    rows = [
        f"{ids.get(task.model, task.model)},{_text(task.rate_rps)},{_text(task.slo_ms)},\n"
        for task in tasks
    ]
    return f"{len(rows)}\n{''.join(rows)}"


def _text(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _count(line: str, where: str) -> int:
    cell = line.strip().rstrip(",").rstrip()
    if _ID.fullmatch(cell) is None or not 1 <= int(cell) <= MOST_TASKS:
        raise ConfigError(
            f"{where}:1:1: the number of tasks is {cell[:40]!r}; valid is 1..{MOST_TASKS}"
        )
    return int(cell)


def _task(line: str, at: str) -> Task:
    cells = line.split(",")
    if len(cells) == 4 and not cells[3].strip():
        cells.pop()
    if len(cells) != 3:
        raise ConfigError(f"{at}:1: is {line.strip()[:60]!r}; valid is {COLUMNS}")
    rate_column = len(cells[0]) + 2
    slo_column = rate_column + len(cells[1]) + 1
    return Task(
        model=_model(cells[0].strip(), f"{at}:1"),
        rate_rps=_amount(cells[1], f"{at}:{rate_column}: rate_rps"),
        slo_ms=_amount(cells[2], f"{at}:{slo_column}: slo_ms"),
    )


def _model(cell: str, at: str) -> str:
    if _ID.fullmatch(cell):
        if int(cell) >= len(MODEL_IDS):
            raise ConfigError(
                f"{at}: model id {cell} is unknown; "
                f"valid are 0..{len(MODEL_IDS) - 1}, or a model's name"
            )
        return MODEL_IDS[int(cell)]
    if not cell or not cell.isprintable() or cell == RESERVED:
        raise ConfigError(f"{at}: model is {cell[:40]!r}; valid is a model's id or name")
    return cell


def _amount(cell: str, what: str) -> float:
    text = cell.strip()
    value = float(text) if _NUMBER.fullmatch(text) else 0.0
    if not 0.0 < value < MOST:
        raise ConfigError(f"{what} is {text[:40]!r}; valid is a number above 0 and below {MOST:g}")
    return value
