"""`latency.csv`: latency by model, share and batch; `model,share,batch,latency_ms`, no header."""

from pathlib import Path

from glet.errors import ConfigError, ProfileError
from glet.profiles.csv_table import (
    BATCH,
    LATENCY_MS,
    SHARE,
    cell_value,
    cells_of,
    name,
    numbered_lines,
    read_sized,
)
from glet.profiles.device_profile import DeviceProfile, model_profiles
from glet.profiles.files import read_profile

COLUMNS = "model,share,batch,latency_ms"

Measured = dict[str, dict[int, dict[int, float]]]
"""{model: {share_pct: {batch: latency_ms}}}"""


class LatencyProfile:
    """What an emulated device asks of a profile: names and latencies. Errors name the file."""

    def __init__(self, profile: DeviceProfile) -> None:
        self.device = profile

    def models(self) -> list[str]:
        """Names of all models in the profile, sorted."""
        return list(self.device.models())

    def shares(self, model: str) -> list[int]:
        """Shares in percent at which the model was measured, sorted."""
        return list(self.device.model(model).shares)

    def latency_ms(self, model: str, share_pct: int, batch: int) -> float:
        """Latency of a batch, as ModelProfile has it. Raises ProfileError where it has none."""
        return self.table(model, share_pct, batch)[-1][1]

    def table(self, model: str, share_pct: int, max_batch: int) -> list[tuple[int, float]]:
        """Points (batch, latency_ms) 1..max_batch, never decreasing. Raises ProfileError."""
        profile = self.device.model(model)
        try:
            profile.latency_ms(share_pct, max_batch)
        except ProfileError as error:
            raise ProfileError(f"{self.device.where}: {error}") from error
        latencies_ms = profile.tables((share_pct,))[0, :max_batch]
        return list(enumerate(latencies_ms.tolist(), start=1))


def read(path: Path) -> LatencyProfile:
    """The profile in a file, or in a profile folder.

    Raises ConfigError `file:line: what is wrong; what is valid`.
    """
    if path.is_dir():
        return LatencyProfile(read_profile(path))
    return parse(read_sized(path), str(path))


def parse(text: str, where: str) -> LatencyProfile:
    """Like read(), for the text of a file; `where` names its origin in errors."""
    models = model_profiles(parse_latencies(text, where), {}, {})
    return LatencyProfile(DeviceProfile("profiled", models, memory_mb=0.0, where=where))


def parse_latencies(text: str, where: str) -> Measured:
    """The numbers in a text. Raises ConfigError."""
    measured: Measured = {}
    for number, line in numbered_lines(text):
        at = f"{where}:{number}"
        model, share_pct, batch, latency_ms = _line(line, at)
        points = measured.setdefault(model, {}).setdefault(share_pct, {})
        if batch in points:
            raise ConfigError(f"{at}: {model},{share_pct},{batch} is there twice")
        points[batch] = latency_ms
    if not measured:
        raise ConfigError(f"{where}: is empty; valid are lines {COLUMNS}")
    return measured


def _line(line: str, at: str) -> tuple[str, int, int, float]:
    cells = cells_of(line)
    if len(cells) != 4:
        raise ConfigError(f"{at}: is {line.strip()!r}; valid is {COLUMNS}")
    return (
        cell_value(cells[0], "model", at, name),
        cell_value(cells[1], "share", at, SHARE),
        cell_value(cells[2], "batch", at, BATCH),
        cell_value(cells[3], "latency_ms", at, LATENCY_MS),
    )
