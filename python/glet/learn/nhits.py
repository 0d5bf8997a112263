"""Trains N-HiTS on other days with torch (extra `forecast`), and keeps what it learned by content.

The network itself is policy/forecast/nhits.py; torch is imported only here, and only when needed.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from glet.errors import ConfigError
from glet.policy.forecast import nhits
from glet.policy.forecast.forecaster import Floats, checked_days, windows

Progress = Callable[[int, int], None]
"""Called with how many passes over the data are done, of how many."""


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """How it is trained; of `passes` the best is kept, judged by the last `held_out` days."""

    width: int = 64
    passes: int = 20
    batch: int = 256
    rate: float = 2e-3
    held_out: int = 2
    seed: int = 0


class Examples(NamedTuple):
    """Rows of what was known and what came, in units of the model's mean above the last count."""

    past: Floats
    around: Floats
    came: Floats


def trained_file(
    history: Mapping[str, Floats],
    folder: Path,
    training: Training | None = None,
    progress: Progress | None = None,
) -> Path:
    """The weights for these days, as numpy's .npz: trained, or found in `folder`.

    The name is a hash of the counts, the settings and the form of the network. `history` has shape
    (days, intervals) by model. Raises ConfigError without torch, or with too few days.
    """
    how = training or Training()
    name = hashlib.sha256(msgspec.json.encode([how, nhits.BLOCKS, nhits.QUANTILES]))
    for model, days in sorted(history.items()):
        name.update(model.encode() + np.ascontiguousarray(days, dtype=np.float64).tobytes())
    path = folder / f"nhits-{name.hexdigest()[:20]}.npz"
    if not path.exists():
        _keep(path, train(history, how, progress))
    return path


def _keep(path: Path, weights: dict[str, Floats]) -> None:
    """Whole or not at all, also when two train at once."""
    part = path.with_suffix(f".{os.getpid()}.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(part, **weights)  # type: ignore[arg-type]  # Names are arrays, not its options.
        part.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None


def train(
    history: Mapping[str, Floats], training: Training, progress: Progress | None = None
) -> dict[str, Floats]:
    """Weights by name, of all models together; the least pinball loss on the held-out days."""
    least = training.held_out + 2
    checked = {model: checked_days(days) for model, days in history.items()}
    for model, days in checked.items():
        if len(days) < least or days.shape[1] < nhits.LAGS + nhits.STEPS:
            raise ConfigError(
                f"history of {model!r}: {len(days)} days of {days.shape[1]} intervals; N-HiTS "
                f"needs {least} days or more, of {nhits.LAGS + nhits.STEPS} or more"
            )
    if not checked:
        raise ConfigError("N-HiTS learns from other days; name a history with a column `day`")
    torch = _torch()
    kept = -training.held_out
    known = _tensors(torch, [examples(days[:kept], days[:kept]) for days in checked.values()])
    held = _tensors(torch, [examples(days[kept:], days[:kept]) for days in checked.values()])
    threads = torch.get_num_threads()
    # So small a network is slower on several.
    torch.set_num_threads(1)
    try:
        found = _fitted(torch, training, known, held, progress or (lambda done, of: None))
    finally:
        torch.set_num_threads(threads)
    return {name: value.numpy() for name, value in found.items()}


def examples(days: Floats, others: Floats) -> Examples:
    """Every place of `days`; `others` are the other days, and may hold the day itself as well."""
    scale, parts = nhits.scale_of(others), []
    for day in days:
        same = (others == day).all(axis=1)
        mean = others[~same].mean(axis=0)
        before, came = windows(day, nhits.LAGS, nhits.STEPS)
        start = nhits.LAGS - nhits.AROUND
        around, _ = windows(mean[start:], nhits.AROUND + nhits.STEPS, 0)
        last = before[:, -1:]
        parts.append(((before - last) / scale, (around - last) / scale, (came - last) / scale))
    return Examples(*(np.concatenate(one) for one in zip(*parts, strict=True)))


def _fitted(
    torch: Any, training: Training, known: Any, held: Any, progress: Progress
) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(training.seed)
    weights = {
        name: _start(torch, shape, generator)
        for name, shape in nhits.shapes(training.width).items()
    }
    loss = _loss(torch)
    optimiser = torch.optim.Adam(weights.values(), lr=training.rate)
    steps = -(-len(known.past) // training.batch) * training.passes
    slower = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=training.rate, total_steps=steps)
    best, least = {}, float("inf")
    for done in range(1, training.passes + 1):
        order = torch.randperm(len(known.past), generator=generator)
        for rows in order.split(training.batch):
            optimiser.zero_grad()
            loss(weights, *(one[rows] for one in known)).backward()
            optimiser.step()
            slower.step()
        with torch.no_grad():
            now = float(loss(weights, *held))
        if now < least:
            least = now
            best = {name: value.detach().clone() for name, value in weights.items()}
        progress(done, training.passes)
    return best


def _loss(torch: Any) -> Callable[..., Any]:
    """The mean pinball loss over all quantiles."""
    maths = nhits.Maths(relu=torch.relu, highest=lambda x: x.amax(dim=-1))
    lines = [
        (torch.tensor(back, dtype=torch.float32), torch.tensor(fore, dtype=torch.float32))
        for back, fore in zip(nhits.BACK, nhits.FORE, strict=True)
    ]
    quantiles = torch.tensor(nhits.QUANTILES)[None, :, None]

    def loss(weights: Any, past: Any, around: Any, came: Any) -> Any:
        apart = came[:, None, :] - nhits.network(weights, past, around, lines, maths)
        return torch.maximum(quantiles * apart, (quantiles - 1.0) * apart).mean()

    return loss


def _start(torch: Any, shape: tuple[int, ...], generator: Any) -> Any:
    """Uniform by the number of inputs, biases 0."""
    if len(shape) == 1:
        return torch.zeros(shape, requires_grad=True)
    bound = shape[0] ** -0.5
    return (2.0 * torch.rand(shape, generator=generator) - 1.0).mul_(bound).requires_grad_(True)


def _tensors(torch: Any, parts: list[Examples]) -> Examples:
    joined = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Examples(*(torch.tensor(one, dtype=torch.float32) for one in joined))


def _torch() -> Any:
    try:
        return import_module("torch")
    except ImportError:
        raise ConfigError(
            "N-HiTS needs torch; install it with: pip install 'glet[forecast]'"
        ) from None
