"""Calling callbacks, so that none draws random numbers and an exception names its callback."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch

from mmx.callbacks.base import Callback
from mmx.errors import CallbackError, Interrupted


def call_callbacks(callbacks: Sequence[Callback], method: str, *given: object) -> None:
    """Call a method of each callback, in order, and put random generators back afterwards.

    Raises:
        CallbackError: One raised an exception; the others after it are not called.
    """
    if not callbacks:
        return
    numbers, others = np.random.get_state(), random.getstate()  # noqa: NPY002
    with torch.random.fork_rng():
        try:
            for each in callbacks:
                _call(each, method, given)
        finally:
            np.random.set_state(numbers)  # noqa: NPY002
            random.setstate(others)


def _call(callback: Callback, method: str, given: Sequence[object]) -> None:
    try:
        getattr(callback, method)(*given)
    except Interrupted:
        raise
    except (Exception, SystemExit) as error:
        kind = type(callback)
        raise CallbackError(
            f"the callback {kind.__module__}.{kind.__qualname__} raised {type(error).__name__} in "
            f"{method}: {error}",
            tip="mend it and go on with mmx resume RUN; the traceback is in RUN/traceback.txt",
        ) from error


def overrides(callbacks: Sequence[Callback], method: str) -> list[Callback]:
    """Return the callbacks that have a method of their own."""
    return [each for each in callbacks if getattr(type(each), method) is not vars(Callback)[method]]
