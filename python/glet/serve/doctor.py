"""`glet doctor`: looks at what this machine can do, one finding per check.

The checks run in a process of their own, so that a driver that hangs or crashes costs one finding
and not the doctor. Nothing on the machine is changed but glet's own cache of compiled models.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from glet.clock import Clock
from glet.serve.doctor_finding import Check, Finding, Wish
from glet.serve.doctor_process import CheckProcess

_SOFTWARE = "glet.serve.doctor_software"
_MACHINE = "glet.serve.doctor_machine"
_SERVING = "glet.serve.doctor_serving"
_NUMBERS = "glet.serve.doctor_numbers"
_GPU = "glet.serve.doctor_gpu"
_MPS = "glet.serve.doctor_mps"
_SHARES = "glet.serve.doctor_gpu_shares"

CHECKS = (
    Check(name="core", group="software", where=f"{_SOFTWARE}:core_loads"),
    Check(name="python", group="software", where=f"{_SOFTWARE}:python"),
    Check(name="torch", group="software", where=f"{_SOFTWARE}:torch", needs=("core",), limit_s=60),
    Check(name="compiler", group="software", where=f"{_SOFTWARE}:compiler", limit_s=30),
    Check(name="cache", group="software", where=f"{_SOFTWARE}:cache", limit_s=30),
    Check(name="load", group="machine", where=f"{_MACHINE}:load"),
    Check(name="cores", group="machine", where=f"{_MACHINE}:cores"),
    Check(name="memory", group="machine", where=f"{_MACHINE}:memory"),
    Check(name="clock", group="machine", where=f"{_MACHINE}:clock"),
    Check(name="files", group="machine", where=f"{_MACHINE}:open_files"),
    Check(name="folders", group="machine", where=f"{_MACHINE}:folders"),
    Check(name="sockets", group="serving", where=f"{_SERVING}:sockets", needs=("core",)),
    Check(
        name="gpulets", group="serving", where=f"{_SERVING}:side_by_side", needs=("core",),
        limit_s=60,
    ),
    Check(name="threads", group="serving", where=f"{_SERVING}:threads", needs=("core", "torch")),
    Check(name="numbers", group="serving", where=f"{_NUMBERS}:callable_numbers", needs=("core",)),
    Check(
        name="compiled", group="serving", where=f"{_NUMBERS}:compiled_numbers", limit_s=600,
        needs=("core", "torch", "cache"), slow=True,
    ),
    Check(name="models", group="serving", where=f"{_SERVING}:models", needs=("core",), limit_s=120),
    Check(name="driver", group="gpu", where=f"{_GPU}:driver", needs=("core",), limit_s=30),
    Check(name="gpu-mode", group="gpu", where=f"{_GPU}:gpu_mode", part_of="driver"),
    Check(name="mps", group="gpu", where=f"{_MPS}:mps", part_of="driver", limit_s=30),
    Check(name="counters", group="gpu", where=f"{_GPU}:counters", part_of="driver"),
    Check(
        name="gpu-torch", group="gpu", where=f"{_GPU}:gpu_torch", needs=("driver", "torch"),
        limit_s=120, slow=True,
    ),
    Check(
        name="gpu-numbers", group="gpu", where=f"{_GPU}:gpu_numbers", needs=("gpu-torch",),
        limit_s=120, slow=True,
    ),
    Check(
        name="gpu-shares", group="gpu", where=f"{_SHARES}:gpu_shares", needs=("gpu-numbers",),
        limit_s=300, slow=True,
    ),
)  # fmt: skip


def wanted_checks(wish: Wish) -> tuple[Check, ...]:
    """All checks, in the order in which they run."""
    return tuple(check for check in CHECKS if wish.models or check.name != "models")


def examine(
    checks: Sequence[Check],
    wish: Wish,
    clock: Clock,
    *,
    before: Callable[[Check], None] = lambda check: None,
    after: Callable[[Check, Finding], None] = lambda check, finding: None,
) -> list[Finding]:
    """One finding per check, in order. `before` and `after` are called around each.

    A check that throws, crashes or goes past its limit is a failed finding.
    """
    findings: dict[str, Finding] = {}
    with CheckProcess(clock) as process:
        for check in checks:
            before(check)
            spared = _spared(check, wish, findings)
            finding = process.run(check, wish) if spared is None else spared
            findings[check.name] = msgspec.structs.replace(finding, check=check.name)
            after(check, findings[check.name])
    return list(findings.values())


def is_well(findings: Iterable[Finding]) -> bool:
    """Whether nothing failed."""
    return all(finding.state != "failed" for finding in findings)


def _spared(check: Check, wish: Wish, findings: Mapping[str, Finding]) -> Finding | None:
    """What is said instead of making a check, None when it is to be made."""
    failed = [name for name in check.needs if _state(findings, name) == "failed"]
    if failed:
        return Finding(state="skipped", says=f"not looked at, because {failed[0]} failed")
    above = [name for name in (*check.needs, check.part_of) if _state(findings, name) == "skipped"]
    if above:
        return Finding(state="skipped", says=f"not looked at, because {above[0]} was skipped")
    if check.slow and wish.quick:
        return Finding(state="skipped", says="takes seconds; left out by --quick")
    return None


def _state(findings: Mapping[str, Finding], name: str) -> str:
    return findings[name].state if name in findings else ""
