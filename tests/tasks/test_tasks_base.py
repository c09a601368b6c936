import inspect
import typing
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest
import torch
from refusals import check_error

from mmx.errors import DataError
from mmx.modalities.text import TextColumn
from mmx.tasks import Samples, Task

TRAIN, TEST = np.arange(40), np.arange(40, 50)


@dataclass(kw_only=True, eq=False)
class Toy(Task):
    """50 texts of the classes a (half), b and c; rows 40 to 49 are the test split."""

    texts: list[str | None] = field(default_factory=lambda: [f"text {i}" for i in range(50)])
    labels: list[int] = field(default_factory=lambda: [0, 1, 0, 2] * 12 + [0, 1])
    splits: dict[str, np.ndarray] = field(default_factory=lambda: {"train": TRAIN, "test": TEST})
    names: tuple[str, ...] = ("a", "b", "c")

    @property
    def modalities(self):
        return {"text": None}

    def read(self) -> Samples:
        values = np.array(self.labels, dtype=np.int64)
        return Samples({"text": TextColumn(self.texts)}, values, self.names, self.splits)


@dataclass(kw_only=True, eq=False)
class Numbers(Toy):
    kind: str = "regression"

    def read(self) -> Samples:
        values = np.arange(50, dtype=np.float32) * 10
        return Samples({"text": TextColumn(self.texts)}, values, (), self.splits)


def toy(**options) -> Toy:
    return Toy(name="toy", **options)


def sizes(task: Task) -> dict[str, int]:
    return {name: len(rows) for name, rows in task.load().splits.items()}


def test_the_signature_shows_all_options_with_real_annotations():
    parameters = inspect.signature(Toy).parameters
    common = ["name", "val_fraction", "split_seed", "classes", "limit", "fraction", "per_class"]
    assert list(parameters)[:7] == common
    assert all(one.kind is one.KEYWORD_ONLY for one in parameters.values())
    hints = typing.get_type_hints(Toy.__init__, include_extras=True)
    assert "ge=1" in repr(hints["per_class"])


def test_val_is_cut_from_train_and_never_from_test():
    data = toy().load()
    assert sizes(toy()) == {"train": 36, "val": 4, "test": 10}
    assert data.splits["test"].tolist() == TEST.tolist()
    assert sorted([*data.splits["train"], *data.splits["val"]]) == TRAIN.tolist()


def test_a_given_val_is_kept():
    splits = {"train": np.arange(30), "val": np.arange(30, 40), "test": TEST}
    assert toy(splits=splits).load().splits["val"].tolist() == list(range(30, 40))


def test_seed_moves_val_but_not_test():
    first, second = toy(split_seed=1).load(), toy(split_seed=2).load()
    assert first.splits["val"].tolist() != second.splits["val"].tolist()
    assert first.splits["test"].tolist() == second.splits["test"].tolist()
    assert first.fingerprint != second.fingerprint


@pytest.mark.parametrize(
    ("options", "train", "val"),
    [
        ({"limit": 8}, 8, 4),
        ({"limit": 3}, 3, 3),  # selection never uses more labels than training
        ({"limit": 1000}, 36, 4),
        ({"fraction": 0.5}, 18, 4),
        ({"fraction": 1.0}, 36, 4),
        ({"per_class": 1}, 3, 3),
        ({"per_class": 2}, 6, 4),
    ],
)
def test_few_training_rows(options, train, val):
    assert sizes(toy(**options)) == {"train": train, "val": val, "test": 10}


def test_per_class_takes_from_the_training_rows_that_all_would_have():
    whole, few = toy().load(), toy(per_class=2).load()
    assert set(few.splits["train"]) < set(whole.splits["train"])
    assert set(few.splits["val"]) <= set(whole.splits["val"])
    assert np.bincount(few.values[few.splits["train"]]).tolist() == [2, 2, 2]


def test_classes_are_chosen_in_the_given_order():
    data = toy(classes=["c", "a"]).load()
    assert data.target.classes == ("c", "a")
    whole = toy().load()
    for name, rows in data.splits.items():
        labels = [int(whole.values[row]) for row in rows]
        assert set(labels) == {0, 2}
        assert [int(data.values[row]) for row in rows] == [{2: 0, 0: 1}[one] for one in labels]
        assert set(rows) <= set(whole.splits[name])


def test_an_unknown_class():
    with pytest.raises(DataError) as error:
        toy(names=("cat", "dog", "frog"), classes=["fog"]).load()
    types = "target.classes=[frog]", "source.classes=[frog]"
    check_error(error.value, "toy", "'fog'", "cat, dog, frog", types=types)


def test_every_class_needs_a_training_row():
    with pytest.raises(DataError) as error:
        toy(names=("a", "b", "c", "d")).load()
    types = "target.classes=[a,b,c]", "source.classes=[a,b,c]"
    check_error(error.value, "toy", "'d'", "training", types=types)
    assert toy(names=("a", "b", "c", "d"), classes=["a", "b"]).load().target.outputs == 2


def test_nothing_can_be_held_out():
    splits = {"train": np.array([0, 1, 3]), "test": TEST}
    with pytest.raises(DataError) as error:
        toy(splits=splits).load()
    check_error(error.value, "toy", "val")


def test_options_that_exclude_each_other():
    for task, options, says in (
        (toy, {"limit": 5, "per_class": 2}, ["limit, fraction, per_class"]),
        (partial(Numbers, name="n"), {"per_class": 1}, ["classes", "regression"]),
        (partial(Numbers, name="n"), {"classes": ["a"]}, ["regression"]),
        (toy, {"classes": ["a", "a"]}, ["once"]),
        (toy, {"classes": []}, ["once"]),
    ):
        with pytest.raises(ValueError, match="`") as error:
            task(**options)
        given = [f"`{name}` (={value})" for name, value in options.items()]
        check_error(error.value, *given, *says)


def test_regression_is_standardised_by_the_training_rows():
    data = Numbers(name="numbers", limit=10).load()
    train = data.splits["train"]
    assert data.target.outputs == 1
    assert data.values.dtype == torch.float64
    used = np.concatenate(list(data.splits.values()))
    assert data.values[used].tolist() == [10.0 * row for row in used]
    seen = data.target.standardize(data.values)
    assert seen.dtype == torch.float32
    assert float(seen[train].mean()) == pytest.approx(0, abs=1e-6)
    assert float(seen[train].std(correction=0)) == pytest.approx(1, abs=1e-6)


def test_fingerprint_sees_content_label_and_split_only():
    def of(**options) -> str:
        return toy(**options).load().fingerprint

    texts = [f"text {i}" for i in range(50)]
    labels = [0, 1, 0, 2] * 12 + [0, 1]
    seen = {
        of(),
        of(texts=["uext 0", *texts[1:]]),  # "t" and "u" differ in one bit
        of(texts=[None, *texts[1:]]),
        of(labels=[2, *labels[1:]]),
        of(splits={"train": TRAIN, "test": TEST[1:]}),
        of(names=("a", "b", "z")),
        of(split_seed=1),
    }
    assert len(seen) == 7
    assert of() == of() == Toy(name="another name").load().fingerprint


def test_digests_tell_whether_samples_are_shared():
    one = toy(texts=["same", None, *map(str, range(48))], splits={"train": TRAIN, "test": TEST[:5]})
    other = toy(texts=["other", "same", *map(str, range(48))])
    mine, theirs = one.load().digests["text"], other.load().digests["text"]
    assert mine.dtype == np.uint64
    assert mine[0] == theirs[1] != theirs[0]
    assert mine[1] == 0
    assert (mine[45:] == 0).all()  # in no split
    assert (mine[2:45] == theirs[2:45]).all()
