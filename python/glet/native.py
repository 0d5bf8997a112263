"""The only door to the compiled core."""

from glet import _core as core

__all__ = ["core"]
