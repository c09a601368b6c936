"""Multimodal transfer learning experiments from config files.

From Python: :func:`compose`, :func:`train`, :func:`load`, :func:`list_runs` and :class:`Run` of
:mod:`mmx.api`, which is imported when one of them is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmx.api import Run, compose, list_runs, load, train

__version__ = "0.1.0"
__all__ = ["Run", "__version__", "compose", "list_runs", "load", "train"]


def __getattr__(name: str) -> object:
    """Return a part of :mod:`mmx.api`."""
    if name in __all__:
        return getattr(import_module("mmx.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
