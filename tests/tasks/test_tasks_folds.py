"""Folds: every row is tested once, in shares of classes, the same rows for every seed."""

import re
from dataclasses import dataclass

import numpy as np
import pytest
import soundfile
from hypothesis import given, reject
from hypothesis import strategies as st
from refusals import check_error
from sklearn.model_selection import StratifiedKFold

from mmx.errors import DataError
from mmx.modalities.tabular import Tabular, TabularColumn
from mmx.tasks.base import CutTask, Samples
from mmx.tasks.digits import Digits
from mmx.tasks.folds import Fold, divide_into_folds
from mmx.tasks.fsdd import Fsdd
from mmx.tasks.row_keys import read_row_groups

LABELS = st.lists(st.integers(0, 4), min_size=12, max_size=120).map(np.array)


@dataclass(kw_only=True, eq=False)
class Numbers(CutTask):
    """Rows with classes, perhaps with groups and splits of their own."""

    labels: list[int]
    groups: list[str] | None = None
    own: dict[str, list[int]] | None = None

    @property
    def modalities(self):
        return {"tabular": Tabular()}

    def read(self):
        rows = np.arange(len(self.labels))
        groups = None if self.groups is None else read_row_groups("who", self.groups, rows)
        columns = {"tabular": TabularColumn({"number": rows.tolist()})}
        names = tuple("abcdef"[: max(self.labels) + 1])
        splits = {"train": rows} if self.own is None else self.own
        return Samples(columns, np.array(self.labels), names, splits, groups=groups)


def load_folds(folds: int, **options: object) -> list[dict[str, np.ndarray]]:
    return [
        Numbers(name="numbers", folds=folds, fold=number, **options).load().splits
        for number in range(1, folds + 1)
    ]


@given(LABELS, st.integers(2, 10), st.integers(1, 3))
def test_folds_differ_by_one_row_in_all_and_of_each_class(labels, folds, repeat):
    try:
        dealt = divide_into_folds(labels, None, Fold(1, folds, repeat))
    except DataError as error:  # few rows can be divided in few ways
        if "has the same folds as repeat" not in error.message:
            raise
        reject()
    sizes = np.bincount(dealt, minlength=folds)
    assert len(sizes) == folds
    assert sizes.max() - sizes.min() <= 1
    for label in set(labels.tolist()):
        own = np.bincount(dealt[labels == label], minlength=folds)
        assert own.max() - own.min() <= 1


@pytest.mark.filterwarnings("ignore:The least populated class")
@given(LABELS.filter(lambda labels: np.bincount(labels).max() >= 6), st.integers(2, 6))
def test_folds_hold_as_many_of_each_class_as_those_of_scikit_learn(labels, folds):
    dealt = divide_into_folds(labels, None, Fold(1, folds, 1))
    ours = [np.bincount(labels[dealt == place], minlength=5).tolist() for place in range(folds)]
    divided = StratifiedKFold(folds, shuffle=True, random_state=0).split(labels, labels)
    theirs = [np.bincount(labels[test], minlength=5).tolist() for _, test in divided]
    for label in range(5):
        assert sorted(row[label] for row in ours) == sorted(row[label] for row in theirs)
    assert sorted(map(sum, ours)) == sorted(map(sum, theirs))


def test_every_row_is_tested_once_and_never_trained_where_it_is():
    labels = np.random.default_rng(0).integers(0, 3, 100).tolist()
    found = load_folds(5, labels=labels)
    assert sorted(np.concatenate([splits["test"] for splits in found]).tolist()) == [*range(100)]
    for splits in found:
        parts = [set(splits[name].tolist()) for name in ("train", "val", "test")]
        assert sum(map(len, parts)) == 100 == len(set.union(*parts))
        assert len(parts[1]) == 8  # 0.1 of the 80 other rows


def test_folds_do_not_follow_the_seed_and_val_does():
    labels = np.random.default_rng(1).integers(0, 3, 100).tolist()
    one, other = (load_folds(4, labels=labels, split_seed=seed) for seed in (0, 1))
    for here, there in zip(one, other, strict=True):
        assert here["test"].tolist() == there["test"].tolist()
        assert here["val"].tolist() != there["val"].tolist()


def test_folds_are_the_same_whatever_rows_are_kept_for_training():
    labels = np.random.default_rng(1).integers(0, 3, 100).tolist()
    whole, few = (load_folds(4, labels=labels, **more) for more in ({}, {"fraction": 0.2}))
    assert [a["test"].tolist() for a in whole] == [b["test"].tolist() for b in few]
    assert len(few[0]["train"]) < len(whole[0]["train"])


def test_repeats_have_other_folds():
    labels = [0, 1] * 50
    found = [
        tuple(
            Numbers(name="n", labels=labels, folds=5, fold=1, repeat=repeat).load().splits["test"]
        )
        for repeat in (1, 2, 3)
    ]
    assert len(set(found)) == 3
    first = Numbers(name="n", labels=labels, folds=5, fold=1).load().splits["test"]
    assert tuple(first) == found[0]


def test_groups_stay_in_one_fold_in_every_split():
    random = np.random.default_rng(2)
    groups = [f"p{number}" for number in random.integers(0, 15, 120)]
    found = load_folds(5, labels=random.integers(0, 2, 120).tolist(), groups=groups)
    assert sorted(np.concatenate([splits["test"] for splits in found]).tolist()) == [*range(120)]
    for splits in found:
        who = [{groups[row] for row in splits[name]} for name in ("train", "val", "test")]
        assert sum(map(len, who)) == len(set.union(*who))


def test_repeats_of_the_only_partition_are_refused():
    groups = [f"p{number % 4}" for number in range(40)]
    labels = [number // 4 % 2 for number in range(40)]
    task = Numbers(name="n", labels=labels, groups=groups, folds=4, fold=2, repeat=2)
    with pytest.raises(DataError) as caught:
        task.load()
    check_error(caught.value, "repeat 2", "repeat 1", 4, types=["target.repeats=null"])


@pytest.mark.parametrize(
    ("options", "says", "types"),
    [
        ({"labels": [0, 1, 0, 1], "folds": 5}, ["folds=5", 4, "rows"], ["target.folds=4"]),
        (
            {"labels": [0, 1] * 10, "groups": ["a", "b"] * 10, "folds": 3},
            ["class 'a'", "'a'", "who"],
            ["target.group=null"],
        ),
        (
            {"labels": [0, 1, 1, 0] * 5, "groups": ["a", "b"] * 10, "folds": 3},
            ["folds=3", 2, "groups"],
            ["target.group=null"],  # two groups are too few for three splits
        ),
        (
            {"labels": [0] * 10 + [1], "folds": 2},
            ["class 'b'", "one row"],
            ["give each class two rows at least"],
        ),
        (
            {"labels": [0] * 5 + [1, 2] + [3] * 5, "folds": 2},
            ["class 'b'", "one row", "1 more class is alike"],
            ["target.classes=[a,d]"],
        ),
        (
            {"labels": [0, 1, 2] * 5, "groups": ["x", "y", "z"] * 5, "folds": 2},
            ["class 'a'", "one group alone ('x'", "2 more classes are alike"],
            ["target.group=null"],
        ),
        (
            {"labels": [0] * 30, "groups": ["x", "y", "z"] * 10, "folds": 2},
            ["all 10 rows are in one group of column 'who'"],
            ["target.folds=3", "target.group=null"],
        ),
        (
            {"labels": [0, 1] * 2, "folds": 2},
            ["no val split can be cut from the 2 rows that train fold 1 of 2"],
            ["target.folds=4"],
        ),
        (
            {"labels": [0, 1] * 10, "folds": 2, "own": {"train": [*range(12)], "test": [12, 13]}},
            ["folds=2", "test", "2 rows"],
            ["target.pool=train", "pool=all"],
        ),
    ],
)
def test_folds_that_cannot_be_are_refused(options, says, types):
    with pytest.raises(DataError) as caught:
        load_folds(**options)
    check_error(caught.value, *says, types=types)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=3, max_size=24),
    st.integers(2, 4),
    st.booleans(),
)
def test_a_number_of_folds_that_a_tip_names_works(rows, folds, grouped):
    _, labels = np.unique([label for label, _ in rows], return_inverse=True)
    options = {"labels": labels.tolist()}
    options |= {"groups": [f"g{group}" for _, group in rows]} if grouped else {}
    try:
        load_folds(folds, **options)
    except DataError as error:
        named = re.match(r"target\.folds=(\d+)", error.tip or "")
        if named and named[1] != "null":
            assert all(len(each["val"]) for each in load_folds(int(named[1]), **options))


@pytest.mark.parametrize(("pool", "rows"), [("train", [*range(16)]), ("all", [*range(20)])])
def test_rows_of_own_splits_are_divided_where_asked_for(pool, rows):
    own = {"train": [*range(12)], "val": [*range(12, 16)], "test": [*range(16, 20)]}
    found = load_folds(4, labels=[0, 1] * 10, own=own, pool=pool)
    assert sorted(np.concatenate([splits["test"] for splits in found]).tolist()) == rows


def test_classes_that_are_left_out_do_not_matter():
    labels = [0, 1] * 20 + [2]
    found = load_folds(4, labels=labels, classes=["b", "a"])
    assert sorted(np.concatenate([splits["test"] for splits in found]).tolist()) == [*range(40)]
    for splits in found:
        assert np.bincount(np.array(labels)[splits["test"]]).tolist() == [5, 5]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"folds": 5}, r"`folds` \(=5\).*`fold`.*target\.folds=5"),
        ({"fold": 2}, r"`fold` \(=2\) needs `folds`"),
        ({"pool": "all"}, r"`pool` \(=all\) needs `folds`"),
        ({"repeat": 2}, r"`repeat` \(=2\) needs `folds`"),
        ({"folds": 5, "fold": 6}, r"`fold` \(=6\).*`folds` \(=5\)"),
        ({"folds": 5, "fold": 1, "repeats": 2}, r"`repeats` \(=2\)"),
    ],
)
def test_options_that_do_not_say_what_is_tested_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        Digits(name="digits", **options)


def test_speakers_can_be_folds(tmp_path):
    folder = tmp_path / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    for speaker in ("anna", "bert", "carl", "dora", "theo", "yweweler"):
        for digit in range(10):
            path = folder / f"{digit}_{speaker}_0.wav"
            soundfile.write(path, np.full(8, digit / 10 + len(speaker) / 100), 8000)
    options = {"data_dir": str(tmp_path), "group": "speaker", "folds": 6, "pool": "all"}
    tested = []
    for fold in (1, 2, 3, 4, 5, 6):
        data = Fsdd(name="fsdd", fold=fold, **options).load()
        files = data.columns["audio"].recordings
        who = {
            name: {files[row].name.split("_")[1] for row in rows}
            for name, rows in data.splits.items()
        }
        assert [len(who[name]) for name in ("train", "val", "test")] == [4, 1, 1]
        assert sum(map(len, who.values())) == len(set.union(*who.values()))
        tested += [*who["test"]]
    assert len(set(tested)) == 6
