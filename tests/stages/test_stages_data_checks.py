"""What training rows cannot teach is refused before anything is trained; the tip works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from refusals import check_error

from mmx.errors import DataError
from mmx.stages.run import run
from mmx.training.events import StopRequest

TRAIN, VAL, TEST = 24, 12, 12


def table(folder: Path, pictures: int, labels: str = "ab", name: str = "t") -> Path:
    """Write a table of words and numbers, of which the first training rows have an image.

    All rows of ``val`` and ``test`` have one.
    """
    random, lines = np.random.default_rng(0), ["words,a,picture,label,number,tags,split"]
    splits = ["train"] * TRAIN + ["val"] * VAL + ["test"] * TEST
    for row, split in enumerate(splits):
        label = labels[row % len(labels)]
        picture = f"{name}{row}.png" if split != "train" or row < pictures else ""
        if picture:
            pixels = random.integers(0, 255, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / picture)
        words = f"{['stone', 'river'][row % 2]} {row}"
        number = 7 if len(labels) == 1 else row
        tags = "x" if len(labels) == 1 else "x|y" if row % 2 else "x"
        lines.append(f"{words},{row % 5},{picture},{label},{number},{tags},{split}")
    (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return folder / f"{name}.csv"


COLUMNS = {"text": "words", "image": "picture", "tabular": "a"}


def of(path: Path, role: str = "target", used: str = "text image", **options: str) -> list[str]:
    columns = ", ".join(f"{name}: {COLUMNS[name]}" for name in used.split())
    given = {"path": path, "name": path.stem, "label": "label", "columns": f"{{{columns}}}"}
    given |= {"split": "split", **options}
    return [f"{role}=table", *(f"{role}.{key}={value}" for key, value in given.items())]


SMALL = ["encoder/text=embedding_mean", "trainer.epochs=1", "trainer.workers=0", "control=none"]


@pytest.fixture
def train(prepared: Any, tmp_path: Path) -> Any:
    """Return ``train(*overrides)`` -> summary."""

    def go(*overrides: str) -> dict[str, Any]:
        experiment, directory = prepared([*SMALL, *overrides], tmp_path / "out")
        found = run(experiment, directory, lambda event: None, StopRequest(), cached=False)
        return found.to_json()

    return go


@pytest.mark.parametrize(("pictures", "many"), [(0, "none"), (1, "one")])
def test_a_modality_that_training_cannot_teach_is_refused(train, tmp_path, pictures, many):
    words = ["source=none", *of(table(tmp_path, pictures))]
    with pytest.raises(DataError) as error:
        train(*words)
    check_error(
        error.value, "t", many, "24 training", "training", "rows", types=("modalities=[text]",)
    )
    found = train(*words, error.value.tip)
    assert found["status"] == "done"
    lost = 24 - pictures
    note = f"t: image: {lost} of 48 rows have none (train {lost} of 24, val 0 of 12, test 0 of 12)"
    assert note in found["notes"]


def test_two_training_rows_are_few_and_said_to_be(train, tmp_path):
    found = train("source=none", *of(table(tmp_path, 2)))
    assert "t: only 2 of 24 training rows have image" in found["notes"]


def test_ten_training_rows_are_nothing_to_speak_of(train, tmp_path):
    found = train("source=none", *of(table(tmp_path, 10)))
    assert not any("training rows have image" in note for note in found["notes"])


@pytest.mark.parametrize("few", ["per_class=1", "limit=2", "fraction=0.1"])
def test_few_training_rows_may_be_those_without_it(train, tmp_path, few):
    words = ["source=none", *of(table(tmp_path, 4)), f"target.{few}"]
    with pytest.raises(DataError, match=r"^t: (none|one) of 2 training rows has image"):
        train(*words)


def test_the_source_is_held_to_the_same(train, tmp_path):
    one, two = table(tmp_path, 0, name="one"), table(tmp_path, 24, name="two")
    with pytest.raises(DataError, match=r"^one: none of 24 training rows has image") as error:
        train(*of(one, "source"), *of(two))
    assert error.value.tip == "modalities=[text]"
    assert train(*of(one, "source"), *of(two), error.value.tip)["status"] == "done"


def test_a_task_that_would_have_nothing_left_is_not_advised_to_leave_it(train, tmp_path):
    one, two = table(tmp_path, 0, name="one"), table(tmp_path, 24, name="two")
    with pytest.raises(DataError, match=r"^one: none of 24 training rows has image") as error:
        train(*of(one, "source", used="image text"), *of(two, used="image"))
    check_error(error.value, types=("training rows", "image"))


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, "of the one class 'a'"),
        ({"kind": "regression", "label": "number"}, "labelled 7"),
        ({"kind": "multilabel", "label": "tags", "label_separator": '"|"'}, "of the same labels"),
    ],
)
def test_labels_that_are_all_alike_teach_nothing(train, tmp_path, options, shown):
    objective = {
        "regression": ["objective=mean_squared_error"],
        "multilabel": ["objective=binary_cross_entropy"],
    }.get(options.get("kind", ""), [])
    path = table(tmp_path, 0, labels="a")
    with pytest.raises(DataError) as error:
        train("source=none", *of(path, used="text", **options), *objective)
    check_error(
        error.value,
        "t",
        "24 training",
        shown,
        "training",
        "rows",
        types=("target.label=<another column>",),
    )


def test_one_chosen_class_teaches_nothing(train, tmp_path):
    words = ["source=none", *of(table(tmp_path, 0), used="text")]
    with pytest.raises(DataError) as error:
        train(*words, "target.classes=[b]")
    check_error(
        error.value, "t", "12 training", "b", "training", "rows", types=("target.classes=null",)
    )
    assert train(*words, "target.classes=null")["status"] == "done"


def test_what_reads_no_labels_learns_without(train, tmp_path):
    path = table(tmp_path, 24, labels="a")
    found = train("source=none", *of(path), "objective=info_nce")
    assert found["status"] == "done"
