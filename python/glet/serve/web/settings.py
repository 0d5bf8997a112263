"""Settings of logging and of tracing, as the protocol has them, changed while glet runs."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from glet.config.cluster import TraceConfig
from glet.config.load import nearest
from glet.errors import InvalidInputError
from glet.serve.tracing import Tracing
from glet.serve.web.failure import NotSupportedError

LEVELS = {"log_error": logging.ERROR, "log_warning": logging.WARNING, "log_info": logging.INFO}
VERBOSE = "log_verbose_level"
FORMATS = ("default",)


class LogSettings:
    """What this process logs: each level for itself; a verbose level above 0 is debug."""

    def __init__(self, logger: logging.Logger) -> None:
        """What the logger is set to is where it starts from."""
        self._logger = logger
        self._on = {name: logger.isEnabledFor(level) for name, level in LEVELS.items()}
        self._verbose = int(logger.isEnabledFor(logging.DEBUG))
        logger.addFilter(self._passes)
        for handler in logger.handlers:
            handler.addFilter(self._passes)

    def get(self) -> dict[str, Any]:
        """All settings by name."""
        return {"log_file": "", **self._on, VERBOSE: self._verbose, "log_format": FORMATS[0]}

    def update(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Changes those that are given, all or none, and returns all. Raises InvalidInputError."""
        valid = self.get()
        for name, value in given.items():
            if name not in valid:
                raise InvalidInputError(f"no log setting {name[:60]!r}; {nearest(name, valid)}")
            _check_log(name, value)
        for name, value in given.items():
            if name in self._on:
                self._on[name] = value
        self._verbose = int(given.get(VERBOSE, self._verbose))
        enabled = [level for name, level in LEVELS.items() if self._on[name]]
        lowest = logging.DEBUG if self._verbose else min(enabled, default=logging.CRITICAL)
        self._logger.setLevel(lowest)
        return self.get()

    def _passes(self, record: logging.LogRecord) -> bool:
        name = next((name for name, level in LEVELS.items() if level == record.levelno), "")
        return self._on.get(name, True)


def _check_log(name: str, value: Any) -> None:
    if name in LEVELS:
        if not isinstance(value, bool):
            raise InvalidInputError(f"{name} is {_short(value)}; valid are true and false")
    elif name == VERBOSE:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 0xFFFF:
            raise InvalidInputError(f"{name} is {_short(value)}; valid is a whole number from 0")
    elif name == "log_file":
        if value != "":
            raise NotSupportedError("log_file: glet logs to its standard error; valid is ''")
    elif value not in FORMATS:
        raise InvalidInputError(f"{name} is {_short(value)}; valid is {', '.join(FORMATS)}")


TRACE_DEFAULTS: dict[str, list[str] | str] = {
    "trace_level": ["OFF"],
    "trace_rate": "1000",
    "trace_count": "-1",
    "log_frequency": "0",
    "trace_file": "",
    "trace_mode": "opentelemetry",
}
TRACE_LEVELS = ("OFF", "TIMESTAMPS")


class TraceSettings:
    """Which part of the requests is traced: of all models, or of one where it has its own.

    `on_change` is called after every change with nothing; `ratio()` then says the new part. Without
    it nothing traces, and switching it on is refused.
    """

    def __init__(self, on_change: Callable[[], None] | None = None) -> None:
        self.on_change = on_change
        self._all: dict[str, Any] = dict(TRACE_DEFAULTS)
        self._models: dict[str, dict[str, Any]] = {}

    def ratio(self, model: str = "") -> float:
        """The part of the requests to trace, 0..1."""
        settings = self.get(model)
        if "TIMESTAMPS" not in settings["trace_level"]:
            return 0.0
        return 1.0 / int(settings["trace_rate"])

    def ratios(self) -> dict[str, float]:
        """ratio() of the models that have settings of their own."""
        return {model: self.ratio(model) for model, own in self._models.items() if own}

    def get(self, model: str = "") -> dict[str, Any]:
        """All settings by name, those of a model over those of all."""
        return {**self._all, **self._models.get(model, {})}

    def update(self, given: Mapping[str, Any], model: str = "") -> dict[str, Any]:
        """Changes those that are given, all or none, and returns all. None: as before any change.

        Raises InvalidInputError, and NotSupportedError for what is not traced here.
        """
        checked = {name: self._checked(name, value) for name, value in given.items()}
        target = self._models.setdefault(model, {}) if model else self._all
        for name, value in checked.items():
            if value is not None:
                target[name] = value
            elif model:
                target.pop(name, None)
            else:
                target[name] = TRACE_DEFAULTS[name]
        if self.on_change is not None:
            self.on_change()
        return self.get(model)

    def _checked(self, name: str, value: Any) -> Any:
        if name not in TRACE_DEFAULTS:
            hint = nearest(name, TRACE_DEFAULTS)
            raise InvalidInputError(f"no trace setting {name[:60]!r}; {hint}")
        if value is None:
            return None
        if name == "trace_level":
            return self._checked_levels(value)
        text = value[0] if isinstance(value, list) and len(value) == 1 else value
        text = str(text) if isinstance(text, int) and not isinstance(text, bool) else text
        if name == "trace_rate":
            if not _is_count(text, 1):
                raise InvalidInputError(
                    f"trace_rate is {_short(value)}; valid is N from 1: one request of N is traced"
                )
            return str(int(text))
        if text != TRACE_DEFAULTS[name]:
            raise NotSupportedError(
                f"{name} is {_short(value)}; only {TRACE_DEFAULTS[name]!r} is supported"
            )
        return text

    def _checked_levels(self, value: Any) -> list[str]:
        levels = [value] if isinstance(value, str) else value
        if not isinstance(levels, list) or not levels or any(x not in TRACE_LEVELS for x in levels):
            raise InvalidInputError(
                f"trace_level is {_short(value)}; valid are {', '.join(TRACE_LEVELS)}"
            )
        if "TIMESTAMPS" in levels and self.on_change is None:
            raise NotSupportedError(
                "trace_level TIMESTAMPS: this glet was started without tracing; valid is OFF"
            )
        return ["OFF"] if "TIMESTAMPS" not in levels else ["TIMESTAMPS"]


def trace_settings(tracing: Tracing | None, config: TraceConfig) -> TraceSettings:
    """Those of a frontend: its tracing does as they say from the first change on."""
    if tracing is None:
        return TraceSettings()
    settings = TraceSettings(lambda: None)
    if config.ratio > 0.0:
        rate = str(max(1, round(1.0 / config.ratio)))
        settings.update({"trace_level": ["TIMESTAMPS"], "trace_rate": rate})
    settings.on_change = lambda: tracing.set_ratio(settings.ratio(), settings.ratios())
    return settings


def _is_count(text: Any, least: int) -> bool:
    return isinstance(text, str) and text.isdecimal() and len(text) < 10 and int(text) >= least


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
