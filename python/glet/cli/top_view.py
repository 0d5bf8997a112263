"""One frame of `glet top`, out of the answer to `observation`."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from glet.cli.table import new_table, number

COLUMNS = (
    "offered/s", "goodput/s", "p50 ms", "p99 ms", "SLO ms", "batch", "waiting", "corr.",
    "cancelled", "not ok",
)  # fmt: skip
SHOWN_CHANGES = 6
NAME_WIDTH = 12
LEAST_BAR = 20
MOST_BAR = 120
NOT_OK = ("late", "full", "failed", "unavailable", "invalid")
# A goodput below this part of what is offered, a p99 above this part of the SLO: worth a look.
GOOD_SHARE = 0.99
NEAR_SLO = 0.8
COLOURS = ("cyan", "magenta", "blue", "green", "yellow")


def frame(
    address: str, body: Mapping[str, Any] | None, width: int, *, gone: str = ""
) -> RenderableType:
    """Everything that is known, `width` columns wide. `gone`: why the frontend is not heard."""
    parts: list[RenderableType | None] = [_head(address, body)]
    if gone:
        parts.append(Text(f"frontend {gone}", style="bold red"))
    seen = body["observation"] if body is not None else None
    if body is not None and seen is None:
        parts.append(Text(_why_nothing(body), style="yellow"))
    if body is not None and seen is not None:
        parts += [_stale(body), Text("")]
        parts += [line for device in seen["devices"] for line in device_bar(device, width)]
        parts += [_models(seen), *_changes(body)]
    return Group(*(part for part in parts if part is not None))


def _head(address: str, body: Mapping[str, Any] | None) -> Text:
    text = Text.assemble(("glet top", "bold"), f"  {address}", no_wrap=True, overflow="ellipsis")
    if body is None or body["controller"] is None:
        return text
    controller = body["controller"]
    text.append(f"  {controller['mode'] or 'starting'}, round {controller['round']}")
    seen = body["observation"]
    if seen is not None:
        used = sum(bool(device["gpulets"]) for device in seen["devices"])
        emulated = any(device["emulated"] for device in seen["devices"])
        text.append(f", {used} of {len(seen['devices'])} {'emulated ' * emulated}devices in use")
    return text


def _why_nothing(body: Mapping[str, Any]) -> str:
    controller = body["controller"]
    if controller is None:
        return "this frontend has no controller, so nobody observes; see glet-frontend --help"
    if controller["state"] == "running":
        return "nothing observed yet"
    why = f" ({controller['error']})" if controller["error"] else ""
    return f"the controller is not running{why}: nothing observed yet"


def _stale(body: Mapping[str, Any]) -> Text | None:
    controller = body["controller"]
    if controller["state"] == "running":
        return None
    why = f" ({controller['error']})" if controller["error"] else ""
    return Text(
        f"controller down{why}: the last plan keeps serving; numbers are {body['age_s']:.0f} s old",
        style="bold yellow",
    )


def device_bar(device: Mapping[str, Any], width: int) -> list[Text]:
    """Two lines: gpulets as wide as their shares with their models, and how busy they are."""
    room = max(LEAST_BAR, min(MOST_BAR, width - NAME_WIDTH - 2))
    lost = "" if device["alive"] else " lost"
    name = f"{device['name'][: NAME_WIDTH - 1 - len(lost)]}{lost}".ljust(NAME_WIDTH)
    top, fill = Text(name, style="" if device["alive"] else "bold red"), Text(" " * NAME_WIDTH)
    gpulets = device["gpulets"]
    cells = widths([gpulet["share_pct"] for gpulet in gpulets], room)
    for index, (gpulet, cell) in enumerate(zip(gpulets, cells, strict=True)):
        colour = COLOURS[index % len(COLOURS)] if gpulet["state"] == "ready" else "bright_black"
        if gpulet["state"] == "failed":
            colour = "red"
        inner = cell - 1
        full = round(inner * min(1.0, gpulet["busy"]))
        top.append("│", style="dim")
        top.append(_label(gpulet, inner), style=colour)
        fill.append("│", style="dim")
        fill.append("█" * full, style=colour)
        fill.append("░" * (inner - full), style=f"dim {colour}")
    free = room - sum(cells)
    for line in (top, fill):
        line.append("│", style="dim")
        rest = "idle" if not gpulets and line is top else ""
        line.append(f"{rest.ljust(free - 1)}│" * (free > 0), style="dim")
        line.no_wrap = True
    return [top, fill]


def widths(shares: Sequence[int], room: int) -> list[int]:
    """Columns of each share of a bar of `room`, at least 2 each; more than 100 % are squeezed."""
    whole = max(100, sum(shares))
    edges = [round(room * sum(shares[: index + 1]) / whole) for index in range(len(shares))]
    return [max(2, edge - before) for before, edge in pairwise([0, *edges])]


def _label(gpulet: Mapping[str, Any], width: int) -> str:
    names = "+".join(model["model"] for model in gpulet["models"]) or "idle"
    state = "" if gpulet["state"] == "ready" else f" {gpulet['state']}"
    said = f"{gpulet['share_pct']}% {names}{state}"
    return said[:width].ljust(width)


def _models(seen: Mapping[str, Any]) -> Table:
    table = new_table("")
    for heading in COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for model in seen["models"]:
        tenants = [
            tenant
            for device in seen["devices"]
            for gpulet in device["gpulets"]
            for tenant in gpulet["models"]
            if tenant["model"] == model["model"]
        ]
        table.add_row(model["model"], *demand_row(model, tenants))
    for app in seen["apps"]:
        table.add_row(app["app"], *demand_row(app, ()))
        for stage in app["stages"]:
            table.add_row(Text(stage_line(stage), style="dim"), *stage_row(stage))
    return table


def stage_line(stage: Mapping[str, Any]) -> str:
    """A stage of an app: its name, and which model it asks how often where that says more."""
    times = f" x {stage['requests']}" if stage["requests"] > 1 else ""
    model = "" if stage["model"] == stage["stage"] and not times else f": {stage['model']}{times}"
    return f"  {stage['stage']}{model}"


def stage_row(stage: Mapping[str, Any]) -> list[Text]:
    """The cells of a stage: its part of the app's objective."""
    budget = Text(number(stage["budget_ms"]), style="dim")
    return [budget if heading == "SLO ms" else Text("") for heading in COLUMNS]


def demand_row(model: Mapping[str, Any], tenants: Sequence[Mapping[str, Any]]) -> list[Text]:
    """The cells of a model or app in the order of COLUMNS; `tenants` are a model's places on
    gpulets."""
    offered, good = model["offered_rps"], model["goodput_rps"]
    p99, slo = model["p99_ms"], model["slo_ms"]
    not_ok = sum(model["outcomes"][outcome] for outcome in NOT_OK)
    # Who takes a request back is not refused: a column of its own.
    cancelled = model["outcomes"]["cancelled"]
    batches = [(t["mean_batch"], t["served_rps"]) for t in tenants]
    corrections = [(t["correction"], t["busy"]) for t in tenants]
    return [
        Text(number(offered)),
        Text(number(good), style="red" if good < GOOD_SHARE * offered and not_ok else ""),
        Text(number(model["p50_ms"])),
        Text(number(p99), style=_latency_style(p99, slo)),
        Text(number(slo)),
        Text(number(weighted(batches))),
        Text(str(sum(t["waiting"] for t in tenants)) if tenants else "-"),
        Text(number(weighted(corrections))),
        Text(number(cancelled), style="" if cancelled else "dim"),
        Text(number(not_ok), style="red" if not_ok else "dim"),
    ]


def weighted(values: Sequence[tuple[float, float]]) -> float | None:
    """Mean of (value, weight); None when nothing has a weight."""
    total = sum(weight for _, weight in values)
    return sum(value * weight for value, weight in values) / total if total > 0.0 else None


def _latency_style(p99_ms: float | None, slo_ms: float) -> str:
    if p99_ms is None:
        return "dim"
    if p99_ms > slo_ms:
        return "bold red"
    return "yellow" if p99_ms > NEAR_SLO * slo_ms else "green"


def _changes(body: Mapping[str, Any]) -> list[Text]:
    shown = body["changes"][-SHOWN_CHANGES:][::-1]
    return [
        Text(
            f"{_ago(change['ago_s']):>9}  {change['text']}",
            style="red" if change["errors"] else "" if change["reorganises"] else "dim",
            no_wrap=True,
            overflow="ellipsis",
        )
        for change in shown
    ]


def _ago(seconds: float) -> str:
    if seconds < 120.0:
        return f"{seconds:.0f} s ago"
    return f"{seconds / 60.0:.0f} min ago"
