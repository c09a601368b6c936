"""Keeping the chatter of torch's exporters off the terminal; mmx checks what they have written."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

TALKERS = ("torch.onnx", "torch._export", "torch.export", "onnxscript", "onnx_ir")


@contextmanager
def keep_exporters_quiet() -> Iterator[None]:
    """Drop warnings and log lines below an error in the ``with`` block."""
    loggers = [logging.getLogger(name) for name in TALKERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
