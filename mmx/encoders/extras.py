"""Libraries that only some encoders need: imported where they are used, named where they lack."""

from __future__ import annotations

import importlib
from types import ModuleType

from mmx.errors import DataError


def import_extra(module: str, extra: str) -> ModuleType:
    """Return an optional library.

    Args:
        module: What is imported.
        extra: The extra of mmx that installs it.

    Raises:
        DataError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise DataError(
            f"needs {module.partition('.')[0]}, which is not installed ({error})",
            tip=f"pip install 'mmx[{extra}]'",
        ) from error
