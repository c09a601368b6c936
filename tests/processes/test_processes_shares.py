"""How a batch is divided among processes."""

import numpy as np
import pytest

from mmx.processes.shares import divide_rows, divide_step


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


def test_a_step_is_divided_batch_by_batch():
    batches = [np.arange(7), np.arange(10, 13)]
    first, second = divide_step(batches, 2)
    assert [rows.tolist() for rows in first] == [[0, 1, 2, 3], [10, 11, 12]]
    assert [rows.tolist() for rows in second] == [[4, 5, 6], []]


@pytest.mark.parametrize(
    ("batches", "kind"),
    [
        ([np.arange(8), np.arange(3)], lambda rows: "any"),  # a share would be empty
        ([np.arange(8), np.arange(8)], lambda rows: 7 in rows),  # a share has what another lacks
        ([np.arange(8)], lambda rows: None),  # alike, and not to be computed with others
        ([np.arange(8)], lambda rows: None if len(rows) == 8 else 1),  # so is the whole batch
    ],
)
def test_the_first_takes_all_where_shares_are_not_of_one_kind(batches, kind):
    first, second = divide_step(batches, 2, kind)
    assert [len(rows) for rows in first] == [len(rows) for rows in batches]
    assert not any(map(len, second))
    even = [np.arange(8)]
    assert [len(each[0]) for each in divide_step(even, 2, lambda rows: "any")] == [4, 4]
