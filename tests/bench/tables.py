"""Results as tables, and beside what the architecture asks for."""

from typing import Any

CORE_NULL = "core_null"
Line = dict[str, Any]
OF_THE_MACHINE = ("bench", "params", "commit", "cores", "cpu")
# Written once above the table, because they are the same in every row.
SAME_IN_ALL = ("seconds", "rounds", "share_pct")


def tables(lines: list[Line]) -> dict[str, str]:
    """A Markdown table per benchmark."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(line["bench"], []).append(line)
    return {
        bench: compared(rows) if bench == "end_to_end" else table(rows)
        for bench, rows in found.items()
    }


def compared(lines: list[Line]) -> str:
    """Sides beside each other: requests/s (times bare; p50, p99 in ms)."""
    sides = ordered(line["params"]["side"] for line in lines)
    places = ("model", "transport", "in_flight")
    rows: dict[tuple[Any, ...], dict[str, str]] = {}
    for line in lines:
        side = line["params"]["side"]
        ratio = "" if side == "bare" else f"{line['of_bare']:.2f}x; "
        row = rows.setdefault(tuple(line["params"][key] for key in places), {})
        row[side] = (
            f"{line['requests_per_s']:,.0f} ({ratio}{cell(line['p50_ms'])}, {cell(line['p99_ms'])})"
        )
        row["load"] = cell(line["load"])
    return f"{said(lines)}; requests/s (times bare; p50 ms, p99 ms)\n\n" + markdown(
        [*places, *sides, "load"],
        [
            [*map(cell, place), *(row.get(key, "") for key in (*sides, "load"))]
            for place, row in rows.items()
        ],
    )


def table(lines: list[Line]) -> str:
    params = ordered(key for line in lines for key in line["params"] if key not in SAME_IN_ALL)
    figures = ordered(key for line in lines for key in line if key not in OF_THE_MACHINE)
    rows = [
        [cell(line["params"].get(key)) for key in params] + [cell(line.get(key)) for key in figures]
        for line in lines
    ]
    before = said(lines)
    return (f"{before}\n\n" if before else "") + markdown([*params, *figures], rows)


def said(lines: list[Line]) -> str:
    params = lines[0]["params"]
    return ", ".join(f"{key} {params[key]}" for key in SAME_IN_ALL if key in params)


def targets(lines: list[Line]) -> str:
    """What is asked for, and what was reached."""
    rows = []
    for what, reach, bench, params, figure, unit in ASKED:
        for line in lines:
            if line["bench"] == bench and params.items() <= line["params"].items():
                rows.append([what, reach, f"{cell(line[figure])}{unit}"])
    return markdown(["what", "reach", "reached"], rows)


def echo_at(in_flight: int, side: str) -> dict[str, Any]:
    return {"model": "echo", "transport": "tcp", "in_flight": in_flight, "side": side}


ASKED: list[tuple[str, str, str, dict[str, Any], str, str]] = [
    *(
        (f"core: submit to completion, caller {caller}", "median <= 20 us", CORE_NULL,
         {"result": "latency", "caller": caller}, "median_ns", " ns")
        for caller in ("waits", "looks on")
    ),
    ("core: one gpulet at batch 32", ">= 300,000 requests/s", CORE_NULL,
     {"result": "throughput", "bursts_in_flight": 4}, "requests_per_s", " requests/s"),
    *(
        (f"end to end, 16 floats, {in_flight} in flight, {side} client",
         ">= 0.4x of a bare echo", "end_to_end", echo_at(in_flight, side), "of_bare", "x")
        for side in ("raw", "native", "async")
        for in_flight in (1, 16, 64, 256)
    ),
    *(
        (f"p99 while another process computes, {nice}", "<= 1.2x of p99 without", "planning",
         {"planner": nice}, "p99_ratio", "x")
        for nice in ("nice 0", "nice 10")
    ),
    ("frontend and wire at half load, mlp", "<= 1 ms median", "added_latency", {"model": "mlp"},
     "added_p50_ms", " ms"),
    ("frontend and wire at half load, echo", "<= 1 ms median", "added_latency", {"model": "echo"},
     "added_p50_ms", " ms"),
    *(
        (f"pause of a model, {what}, {device}, p99 of 100", "<= 50 ms", "reorganise",
         {"change": what, "device": device}, "pause_p99_ms", " ms")
        for device in ("emulated", "cpu")
        for what in ("resize", "move")
    ),
    *(
        (f"p99 of the others while one changes, {what}", "<= 1.1x of p99 without", "reorganise",
         {"change": what, "device": "emulated"}, "others_ratio", "x")
        for what in ("resize", "move")
    ),
    ("devices against the proven bound, all random problems", "<= 1.05x on average", "devices_used",
     {"load": "all"}, "over_bound", "x"),
    *(
        (f"1,023 cases on {devices} devices, interference {interference}: {planner}",
         "glet >= exhaustive two-way", "schedulable",
         {"devices": devices, "interference": interference, "planner": planner}, "served", "")
        for devices in (4, 2)
        for interference in (False, True)
        for planner in ("exhaustive", "glet", "glet, any share")
    ),
    *(
        (f"plan of nine models on four devices, {rate}/s each", "< 50 ms", "plan_time",
         {"workload": f"nine at {rate}/s"}, "glet_s", " s")
        for rate in (50, 100, 200)
    ),
    ("plan of 1,000 models on 256 devices", "< 2 s", "plan_time",
     {"models": 1000, "devices": 256}, "glet_s", " s"),
]  # fmt: skip


def ordered(keys: Any) -> list[str]:
    return list(dict.fromkeys(keys))


def cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Columns as wide as their widest cell, so that it reads well as text too."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"
        for row in (head, ["-" * width for width in widths], *rows)
    ]
    return "\n".join(lines)
