"""How far a draw moves torch's generator, so that it can be moved there without the draw.

The generator of the CPU gives out words of 32 bits. Most initialisers take as many for one seed as
for another.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

STATE_BYTES, LEFT, NORMALS = 5056, slice(8, 12), (slice(5040, 5044), slice(5052, 5056))
"""Size of the generator's state, where it says how many words are left of the 624 that it makes
at once, and whether it keeps a normal draw for the next call."""
BLOCK = 624


def count_drawn_words(draw: Callable[[], object], most: int) -> int | None:
    """Return how many words a draw takes; None where they differ, or other generators are used.

    The generator is left as it was.

    Args:
        draw: Draws.
        most: More than this are not counted.
    """
    # Two seeds: a draw that rejects numbers and repeats takes another count with each.
    found = {_count_once(draw, seed, most) for seed in (0, 1)}
    return found.pop() if len(found) == 1 else None


def _count_once(draw: Callable[[], object], seed: int, most: int) -> int | None:
    others = _read_other_states()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        draw()
        after = torch.get_rng_state()
        if not can_skip_words():  # it keeps a draw for the next call
            return None
        if _read_other_states() != others:
            return None
        torch.manual_seed(seed)
        # Known up to whole blocks, which are skipped below until the states agree.
        # The state says how many of a block of 624 words are left, so the count is known modulo
        # 624.
        words = (_read_left(torch.get_rng_state()) - _read_left(after)) % BLOCK
        skip_words(words)
        while not torch.equal(torch.get_rng_state(), after):
            if words > most:
                return None
            skip_words(BLOCK)
            words += BLOCK
    return words


def _read_other_states() -> tuple[object, str]:
    """Return the states of the generators of Python and NumPy."""
    return random.getstate(), repr(np.random.get_state(legacy=False))  # noqa: NPY002


def _read_left(state: Tensor) -> int:
    return int(state[LEFT].numpy().view(np.int32)[0])


def can_skip_words() -> bool:
    """Return whether torch's generator is in a state from which words can be skipped."""
    state = torch.get_rng_state()
    return len(state) == STATE_BYTES and not any(state[each].any() for each in NORMALS)


def skip_words(count: int) -> None:
    """Move torch's generator by so many words, as a draw that takes them does."""
    while count > 0:
        part = min(count, 2**22)  # at most 4 MiB at a time, in bytes
        torch.empty(part, dtype=torch.uint8).random_()  # a word for each
        count -= part
