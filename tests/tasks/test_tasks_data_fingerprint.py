import numpy as np
import pytest

from mmx.modalities.text import TextColumn
from mmx.tasks.data_fingerprint import digest_rows, digest_task, shorten_digests

ROWS = np.arange(4)


def parts() -> dict:
    contents = {"text": digest_rows(TextColumn(["a", "b", None, "d"]), ROWS)}
    splits = {"train": ROWS[:2], "test": ROWS[2:]}
    return {"contents": contents, "values": ROWS % 2, "splits": splits, "meaning": ["classes"]}


@pytest.mark.parametrize(
    "change",
    [
        {"contents": {"text": digest_rows(TextColumn(["a", "c", None, "d"]), ROWS)}},
        {"contents": {"audio": digest_rows(TextColumn(["a", "b", None, "d"]), ROWS)}},
        {"values": np.array([0, 1, 0, 0])},
        {"values": (ROWS % 2).astype(np.float32)},
        {"splits": {"train": ROWS[1:2], "test": ROWS[2:]}},
        {"splits": {"train": ROWS[[1, 0]], "test": ROWS[2:]}},
        {"splits": {"val": ROWS[:2], "test": ROWS[2:]}},
        {"meaning": ["multilabel"]},
    ],
)
def test_each_part_counts_on_its_own(change):
    assert digest_task(**{**parts(), **change}) != digest_task(**parts())


def test_split_membership_counts_although_all_values_are_alike():
    same = {**parts(), "values": np.zeros(4, dtype=np.int64)}
    other = {**same, "splits": {"train": ROWS[:3][::2], "test": ROWS[[1, 3]]}}
    assert digest_task(**same) != digest_task(**other)


def test_values_of_unused_rows_and_the_order_of_dicts_do_not_count():
    base = {**parts(), "splits": {"test": ROWS[1:2], "train": ROWS[:1]}}
    changed = {**base, "values": np.array([0, 1, 7, 7])}
    turned = {**base, "splits": {"train": ROWS[:1], "test": ROWS[1:2]}}
    assert digest_task(**base) == digest_task(**changed) == digest_task(**turned)
    assert len(digest_task(**base)) == 32


def test_absent_rows_are_zero_and_short_digests_are_numbers():
    digests = digest_rows(TextColumn(["a", None, "a"]), np.array([0, 1, 2]))
    assert digests.shape == (3, 16)
    short = shorten_digests(digests)
    assert short.dtype == np.uint64
    assert short[1] == 0
    assert short[0] == short[2] == int.from_bytes(digests[0, :8].tobytes(), "little")
