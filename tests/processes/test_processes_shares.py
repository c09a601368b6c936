"""How a batch is divided among processes."""

import numpy as np
import pytest

from mmx.processes.shares import count_rows, divide_rows


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 13, 64])
def test_shares_are_all_rows_in_their_order_and_none_is_a_single_row(count, size):
    rows = np.arange(100, 100 + count)
    shares = divide_rows(rows, size)
    assert len(shares) == size
    assert np.concatenate(shares).tolist() == rows.tolist()
    lengths = [len(share) for share in shares]
    assert count == 1 or 1 not in lengths
    used = [length for length in lengths if length]
    assert lengths[: len(used)] == used  # the last ones are empty
    assert max(used) - min(used) <= 1


def test_rows_of_a_step_are_counted_over_its_batches():
    batches = [np.arange(7), np.arange(3)]
    assert count_rows(batches, 2) == [4 + 3, 3 + 0]
