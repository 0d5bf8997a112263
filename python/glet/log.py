"""One line per event: `time role level message key=value`. Only commands call setup()."""

import logging
import sys

LEVELS = ("debug", "info", "warning", "error")


def setup(role: str, level: str = "info") -> None:
    """Sends all of glet's log lines to standard error, marked with the process's role."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter(f"%(asctime)s.%(msecs)03d {role} %(levelname)s %(message)s", "%H:%M:%S")
    )
    root = logging.getLogger("glet")
    root.handlers[:] = [handler]
    root.propagate = False
    root.setLevel(level.upper())
