"""Groups stay whole, and classes keep their shares as far as groups allow."""

from pathlib import Path

import numpy as np
import pytest
from refusals import check_error
from sklearn.model_selection import StratifiedGroupKFold

from mmx.errors import DataError
from mmx.modalities.text import TextColumn
from mmx.tasks.base import Samples, Task, TaskData
from mmx.tasks.group_splits import cut_groups, deal_groups
from mmx.tasks.row_keys import read_row_groups
from mmx.tasks.table import Table

TABLES = 200


def draw_rows(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return groups and classes of a random table; classes differ between groups."""
    random = np.random.default_rng(seed)
    count = int(random.integers(4, 40))
    groups = np.repeat(np.arange(count), random.integers(1, 20, count))
    prefers = random.dirichlet([1, 1, 1], count)
    labels = np.array([random.choice(3, p=prefers[group]) for group in groups])
    order = random.permutation(len(groups))
    return groups[order], labels[order]


def write(path: Path, groups: np.ndarray, labels: np.ndarray, split: list[str] | None = None):
    lines = ["text,kind,patient,where"]
    for row, (group, label) in enumerate(zip(groups, labels, strict=True)):
        lines.append(f"row {row},k{label},p{group},{split[row] if split else ''}")
    path.write_text("\n".join(lines) + "\n")
    return path


def make_table(path: Path, **options: object) -> Table:
    given = {"label": "kind", "columns": {"text": "text"}, "group": "patient"}
    return Table(name="table", path=str(path), **{**given, **options})


def list_groups(data: TaskData, groups: np.ndarray) -> dict[str, set[int]]:
    return {name: set(groups[rows].tolist()) for name, rows in data.splits.items()}


def test_no_group_is_in_two_splits_of_many_tables(tmp_path):
    loaded = 0
    for seed in range(TABLES):
        groups, labels = draw_rows(seed)
        path = write(tmp_path / "t.csv", groups, labels)
        try:
            data = make_table(path, split_seed=seed, test_fraction=0.1 + 0.3 * (seed % 2)).load()
        except DataError as error:
            check_error(error, "patient")  # each group is the only one with some class
            assert len(set(groups)) < 6
            continue
        loaded += 1
        found = list_groups(data, groups)
        assert not found["train"] & found["test"]
        assert not found["train"] & found["val"]
        assert not found["val"] & found["test"]
        assert sorted(np.concatenate(list(data.splits.values())).tolist()) == [*range(len(groups))]
        assert set(labels[data.splits["train"]]) == set(labels)
    assert loaded > 0.95 * TABLES


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_a_cut_is_near_its_share_of_rows_and_classes(share):
    cut = []
    for seed in range(100):
        groups, labels = draw_rows(seed)
        is_cut = cut_groups(groups, labels, share, np.random.default_rng(seed))
        largest = np.bincount(groups).max() / len(groups)
        assert abs(is_cut.mean() - share) <= max(largest, 0.1)
        cut.append([is_cut.mean(), *(is_cut[labels == label].mean() for label in range(3))])
    assert np.abs(np.mean(cut, 0) - share).max() < 0.03


def test_folds_are_as_even_as_those_of_scikit_learn():
    def spread(parts: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
        counts = np.zeros((5, 3))
        np.add.at(counts, (parts, labels), 1)
        return (counts / counts.sum(0)).std(0).mean(), counts.sum(1).std() / len(labels)

    ours, theirs = [], []
    for seed in range(100):
        groups, labels = draw_rows(seed + 1000)
        if len(np.unique(groups)) < 8 or min(np.bincount(labels)) < 5:
            continue
        ours.append(
            spread(deal_groups(groups, labels, [0.2] * 5, np.random.default_rng(0)), labels)
        )
        other = np.zeros(len(groups), dtype=int)
        folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        for place, (_, test) in enumerate(folds.split(labels, labels, groups)):
            other[test] = place
        theirs.append(spread(other, labels))
    assert len(ours) > 50
    assert (np.mean(ours, 0) <= np.mean(theirs, 0)).all()


def test_every_fold_gets_a_group_where_there_are_as_many():
    for seed in range(30):
        groups = np.repeat(np.arange(5), np.random.default_rng(seed).integers(1, 50, 5))
        dealt = deal_groups(groups, np.zeros(len(groups)), [0.2] * 5, np.random.default_rng(seed))
        assert len(np.unique(dealt)) == 5


def test_a_cut_from_two_groups_takes_the_smaller():
    groups = np.array([0, 0, 0, 1, 1])
    is_cut = cut_groups(groups, np.zeros(5), 0.01, np.random.default_rng(0))
    assert is_cut.tolist() == [False, False, False, True, True]


def test_the_only_group_of_a_class_is_never_cut_off():
    groups, labels = np.repeat(np.arange(10), 4), np.zeros(40, dtype=int)
    labels[groups == 3] = 1
    for seed in range(20):
        is_cut = cut_groups(groups, labels, 0.5, np.random.default_rng(seed))
        assert is_cut.any()
        assert not is_cut[groups == 3].any()


def test_spaces_around_a_group_do_not_count_and_other_seeds_cut_other_groups(tmp_path):
    groups, labels = np.repeat(np.arange(20), 5), np.tile([0, 1], 50)
    path = write(tmp_path / "t.csv", groups, labels)
    path.write_text(path.read_text().replace(",p7,", ", p7 ,", 3))
    cuts = []
    for seed in range(3):
        data = make_table(path, split_seed=seed).load()
        found = list_groups(data, groups)
        assert not found["train"] & (found["val"] | found["test"])
        cuts.append((frozenset(found["val"]), frozenset(found["test"])))
    assert len({val for val, _ in cuts}) > 1
    assert len({test for _, test in cuts}) == 1  # never by the user's seed


def test_two_spellings_of_a_number_are_one_group():
    rows = np.arange(4)
    assert read_row_groups("g", ["1", "1.0", "2.50", None], rows[:3]).of_rows.tolist() == [
        0,
        0,
        1,
        -1,
    ]
    apart = read_row_groups("g", ["10.0", "2.0", "1.0", "3.0"], rows)  # all are spelled alike
    assert apart.names == ("1.0", "10.0", "2.0", "3.0")


def test_groups_that_may_be_one_are_noted(tmp_path):
    lines = [f"t{i},k{i % 2},{('P1', 'p1', 'p2', 'p3', '07', '7')[i % 6]}" for i in range(60)]
    path = tmp_path / "t.csv"
    path.write_text("text,kind,patient\n" + "\n".join(lines) + "\n")
    noted = [note for note in make_table(path).load().notes if "differ only" in note]
    assert noted == [
        f"groups {names} in column 'patient' differ only in spaces, case or spelling, and count "
        "as different groups"
        for names in ("'07', '7'", "'P1', 'p1'")
    ]


def test_val_is_cut_by_group_from_a_given_training_split(tmp_path):
    groups, labels = np.repeat(np.arange(20), 5), np.tile([0, 1], 50)
    split = ["test" if group >= 16 else "train" for group in groups]
    data = make_table(write(tmp_path / "t.csv", groups, labels, split), split="where").load()
    found = list_groups(data, groups)
    assert found["test"] == {16, 17, 18, 19}
    assert not found["train"] & found["val"]
    assert len(found["val"]) == 2  # 0.1 of 16 groups of one size


def test_own_splits_that_share_a_group_are_refused_with_rows_and_both_ways_out(tmp_path):
    groups, labels = np.repeat(np.arange(10), 4), np.tile([0, 1], 20)
    split = ["train"] * 38 + ["test"] * 2  # group 9 is in rows 37 to 40
    path = write(tmp_path / "t.csv", groups, labels, split)
    with pytest.raises(DataError) as caught:
        make_table(path, split="where").load()
    check_error(
        caught.value, "patient", "'p9'", "train", "test", 37, 39, types=["target.split=null"]
    )
    make_table(path, split=None).load()
    make_table(path, split="where", group=None).load()


def test_files_of_splits_that_share_a_group_are_not_told_to_drop_a_column(tmp_path):
    groups, labels = np.repeat(np.arange(10), 4), np.tile([0, 1], 20)
    paths = {
        "train": str(write(tmp_path / "train.csv", groups, labels)),
        "test": str(write(tmp_path / "test.csv", groups[:4], labels[:4])),
    }
    given = {"label": "kind", "columns": {"text": "text"}}
    with pytest.raises(DataError) as caught:
        Table(name="table", path=paths, group="patient", **given).load()
    check_error(caught.value, "patient", "'p0'", types=["target.group=null"])
    assert "split=null" not in caught.value.tip
    Table(name="table", path=paths, group=None, **given).load()


class GivenGroups(Task):
    """A task with groups and no option for its splits."""

    @property
    def modalities(self):
        return {"text": None}

    def read(self) -> Samples:
        splits = {"train": np.arange(6), "val": np.arange(6, 9), "test": np.arange(9, 12)}
        groups = read_row_groups("patient", ["a", "b"] * 6, np.arange(12))
        column = TextColumn([f"row {row}" for row in range(12)])
        return Samples({"text": column}, np.arange(12) % 2, ("x", "y"), splits, groups=groups)


def test_a_task_without_the_option_is_not_told_to_cut_anew():
    with pytest.raises(DataError) as caught:
        GivenGroups(name="given").load()
    check_error(caught.value, "patient", "'a'", types=["target.group=null"])
    assert "split=null" not in caught.value.tip


def test_a_row_without_group_is_refused(tmp_path):
    groups, labels = np.repeat(np.arange(10), 4), np.tile([0, 1], 20)
    path = write(tmp_path / "t.csv", groups, labels)
    path.write_text(path.read_text().replace(",p2,", ",,", 2))
    with pytest.raises(DataError) as caught:
        make_table(path).load()
    check_error(caught.value, "row 9", "patient", "2 of 40", types=["target.group=null"])


def test_group_and_time_together_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"group.*time"):
        make_table(tmp_path / "t.csv", time="where")


def test_rows_to_predict_need_no_group(tmp_path):
    path = write(tmp_path / "t.csv", np.arange(6), np.zeros(6, dtype=int))
    other = tmp_path / "other.csv"
    other.write_text("text\nhello\n")
    task = make_table(path, folds=3, fold=1).with_path(str(other))
    assert task.load().splits["test"].tolist() == [0]
