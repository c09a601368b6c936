"""Libraries that only some runs need: imported where they are used, named where they lack."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from mmx.errors import DataError


def import_extra(module: str, extra: str, what: str = "") -> ModuleType:
    """Return an optional library.

    Args:
        module: What is imported.
        extra: The extra of mmx that installs it.
        what: What needs it, where a message does not say so already.

    Raises:
        DataError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise DataError(
            f"{what} needs {module.partition('.')[0]}, which is not installed ({error})".lstrip(),
            tip=f"pip install 'mmx[{extra}]'",
        ) from error


@contextmanager
def keep_quiet(library: str) -> Iterator[None]:
    """Keep a library's warnings, log lines and progress bars off the terminal.

    They tell of tensors that a file has and a network has not, which mmx checks for itself and
    says in its own words.

    Args:
        library: Its top module, such as ``timm``.
    """
    logger = logging.getLogger(library)
    level = logger.level
    bars = _find_progress_bars(library)
    shown = bars is not None and bars.is_progress_bar_enabled()
    if shown:
        bars.disable_progress_bar()  # type: ignore[union-attr]
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        if shown:
            bars.enable_progress_bar()  # type: ignore[union-attr]


def _find_progress_bars(library: str) -> ModuleType | None:
    """Return the module by which a library turns its progress bars on and off, if it has one."""
    try:
        found = importlib.import_module(f"{library}.utils.logging")
    except ModuleNotFoundError:
        return None
    return found if hasattr(found, "is_progress_bar_enabled") else None
