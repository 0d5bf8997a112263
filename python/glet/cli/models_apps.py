"""`glet models`, as far as it concerns apps."""

from collections.abc import Mapping
from typing import Any

from glet.errors import ConfigError
from glet.serve.repository import Repository


def list_apps(repository: Repository) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """(sound apps as --json shows them, what is wrong with the others), by name."""
    apps: dict[str, dict[str, Any]] = {}
    broken: dict[str, str] = {}
    for name in repository.app_names():
        try:
            config, spec = repository.app_config(name)
        except ConfigError as error:
            broken[name] = str(error).removeprefix(f"app {name!r}: ")
            continue
        apps[name] = {
            "slo_ms": spec.slo_ms,
            "inputs": [str(tensor) for tensor in spec.signature.inputs],
            "outputs": [str(tensor) for tensor in spec.signature.outputs],
            "stages": [
                {"stage": stage.name, "model": stage.model, "requests": stage.fan_out}
                for stage in spec.stages
            ],
            "description": config.description,
        }
    return apps, broken


def show_apps(apps: Mapping[str, Mapping[str, Any]]) -> None:
    """A line per app; nothing without any."""
    if not apps:
        return
    print()
    rows = [("app", "SLO ms", "stages", "inputs -> outputs")]
    for name, app in apps.items():
        stages = ", ".join(
            stage["model"] + (f" x{stage['requests']}" if stage["requests"] > 1 else "")
            for stage in app["stages"]
        )
        signature = f"{', '.join(app['inputs'])} -> {', '.join(app['outputs'])}"
        rows.append((name, f"{app['slo_ms']:g}", stages, signature))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for name, slo_ms, stages, signature in rows:
        print(f"{name:{widths[0]}}  {slo_ms:>{widths[1]}}  {stages:{widths[2]}}  {signature}")
