"""Random numbers that depend on the position in a run, not on what was drawn before.

Every step seeds the generators from the run's seed, the role of the stage and the number of
the step. No generator state has to be saved, and a resumed run continues bit for bit.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch


def derive_seed(*parts: int | str) -> int:
    """Return a 63-bit seed that depends on every part."""
    text = "\x1f".join(str(part) for part in parts)  # separated: ("1", "23") is not ("12", "3")
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def seed_torch(*parts: int | str) -> None:
    """Seed torch's generators on every device."""
    seed = derive_seed(*parts)
    if _has_cuda():
        torch.manual_seed(seed)
    else:  # torch.manual_seed would keep the stack of each call until CUDA starts: 0.4 ms a step
        torch.default_generator.manual_seed(seed)


@cache
def _has_cuda() -> bool:
    return torch.cuda.is_available()


def make_generator(*parts: int | str) -> np.random.Generator:
    """Return a NumPy generator that depends on every part."""
    return np.random.default_rng(derive_seed(*parts))


def permute(rows: npt.NDArray[np.int64], *parts: int | str) -> npt.NDArray[np.int64]:
    """Return the rows in an order that depends on every part."""
    return make_generator(*parts).permutation(rows)


@contextmanager
def leave_new_memory_as_it_is(when: bool) -> Iterator[None]:
    """In the ``with`` block, do not fill the memory of new tensors with NaN, if ``when`` is True.

    torch does in deterministic mode, so that an operator that reads memory before it is written
    gives NaN and not a number that changes from run to run. It takes 5 to 10 % of a small
    network's step, and finds nothing in shapes that have passed it once.
    """
    settings: Any = torch.utils.deterministic
    before = settings.fill_uninitialized_memory
    settings.fill_uninitialized_memory = before and not when
    try:
        yield
    finally:
        settings.fill_uninitialized_memory = before


def make_deterministic(threads: int | None, device: torch.device) -> None:
    """Ask torch for deterministic algorithms, and set the number of CPU threads.

    An operation without a deterministic implementation on the device gives a warning instead of
    an error.
    """
    # Read when cuBLAS starts: without it, products of matrices may differ from run to run.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("TORCHINDUCTOR_DETERMINISTIC", "1")
    # As use_deterministic_algorithms(True, warn_only=True), but it does not import the compiler.
    torch.set_deterministic_debug_mode("warn")
    # Some versions of torch warn about max pooling on CUDA although it is deterministic: each
    # input's gradient is summed by one thread, in the order of the windows.
    warnings.filterwarnings("ignore", message="max_pool2d_with_indices_backward_cuda")
    # A benchmark chooses the kernel by the clock, so perhaps another one in the next run.
    torch.backends.cudnn.benchmark = False
    # In "warn" mode torch still uses its fast attention on CUDA, with nondeterministic gradients.
    fast = device.type != "cuda"
    torch.backends.cuda.enable_flash_sdp(fast)
    torch.backends.cuda.enable_mem_efficient_sdp(fast)
    torch.backends.cuda.enable_cudnn_sdp(fast)
    if threads is not None:
        torch.set_num_threads(threads)
