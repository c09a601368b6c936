"""Data is opened once a process, and again where one of its files has changed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pictures

from mmx.experiment import opened_tasks
from mmx.experiment.opened_tasks import open_data
from mmx.modalities.image import ImageColumn
from mmx.runs import file_states
from mmx.tasks import TaskData
from mmx.tasks.base import CutTask, Samples
from mmx.tasks.digit_columns import DigitColumns
from mmx.tasks.digits import Digits
from mmx.tasks.digits_av import DigitsAv
from mmx.tasks.moving_digits import MovingDigits
from mmx.tasks.moving_profiles import MovingProfiles
from mmx.tasks.table import Table

ROWS = 12
NODE = {"_target_": "mmx.tasks.table.Table"}


@pytest.fixture(autouse=True)
def _nothing_opened() -> Iterator[None]:
    opened_tasks._OPENED.clear()
    opened_tasks._READ.clear()
    yield
    opened_tasks._OPENED.clear()
    opened_tasks._READ.clear()


def settle(path: Path) -> None:
    """Let a file be one that was changed long ago; its status still changed just now."""
    past = time.time() - 3600
    os.utime(path, (past, past))


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(file_states, "SETTLED_NS", -(10**12))
    draw = np.random.default_rng(0)
    lines = ["image,title,label"]
    for row in range(ROWS):
        pixels = draw.integers(256, size=(6, 6, 3), dtype=np.uint8)
        Pictures.fromarray(pixels).save(tmp_path / f"{row}.png")
        lines.append(f"{row}.png,word {row},{'ab'[row % 2]}")
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(lines))
    return path


def read(path: Path, **options: object) -> TaskData:
    columns = {"image": "image", "text": "title"}
    task = Table(name="rows", path=str(path), label="label", columns=columns, **options)  # type: ignore[arg-type]
    return open_data(task, {**NODE, "path": str(path), **options})


def assert_same(found: TaskData, wanted: TaskData) -> None:
    """Hold opened data against that of a task that was opened by itself."""
    assert found.fingerprint == wanted.fingerprint
    assert found.notes == wanted.notes
    assert torch.equal(found.values, wanted.values)
    assert found.splits.keys() == wanted.splits.keys()
    for name, rows in wanted.splits.items():
        assert np.array_equal(found.splits[name], rows)


def read_seed(path: Path, seed: int) -> TaskData:
    return read(path, split_seed=seed, val_fraction=0.4)


def test_a_table_is_read_once_for_all_seeds_and_again_where_it_has_changed(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, whole = [], Table.read

    def read_counted(task: Table) -> Samples:
        count.append(task.split_seed)
        return whole(task)

    monkeypatch.setattr(Table, "read", read_counted)
    found = [read_seed(table, seed) for seed in range(4)]
    assert count == [0]
    assert len({each.splits["val"].tobytes() for each in found}) > 1
    opened_tasks._OPENED.clear()
    opened_tasks._READ.clear()
    for seed in (3, 2):
        opened_tasks._READ.clear()
        assert_same(found[seed], read_seed(table, seed))
    assert count == [0, 3, 2]
    table.write_text(table.read_text().replace("0.png,word 0,a", "0.png,word 0,b"))
    settle(table)
    assert read_seed(table, 5).fingerprint != found[0].fingerprint
    assert count == [0, 3, 2, 5]


def test_data_is_opened_once_for_equal_options(table: Path) -> None:
    first = read(table)
    assert read(table) is first
    few = read(table, limit=4)
    assert len(few.splits["train"]) == 4
    assert read(table) is first
    third = read(table, limit=6)  # the oldest has to go
    assert read(table, limit=6) is third
    assert read(table, limit=4) is not few


@pytest.mark.parametrize("change", ["label", "picture", "same_size"])
def test_data_is_opened_again_where_a_file_has_changed(table: Path, change: str) -> None:
    first = read(table)
    if change == "label":
        table.write_text(table.read_text().replace("0.png,word 0,a", "0.png,word 0,b"))
        settle(table)
    elif change == "picture":
        (table.parent / "0.png").write_bytes((table.parent / "1.png").read_bytes())
    else:
        text = table.read_text()
        table.write_text(text.replace("word 3", "WORD 3"))
        assert len(table.read_text()) == len(text)
    second = read(table)
    assert second is not first
    assert second.fingerprint != first.fingerprint
    assert read(table) is second


def test_a_picture_that_has_gone_is_noticed(table: Path) -> None:
    first = read(table)
    (table.parent / "0.png").unlink()
    second = read(table)
    assert not second.columns["image"].present[0]
    assert second.fingerprint != first.fingerprint
    assert read(table) is not second  # the file may come back


def test_a_video_that_is_given_a_sound_track_is_noticed(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = table.parent / "film.mp4"
    film.write_bytes(b"silent")
    table.write_text(table.read_text().replace("\n0.png", "\nfilm.mp4"))
    monkeypatch.setattr(
        ImageColumn,
        "is_in",
        lambda path: path.suffix == ".png" or path.read_bytes() != b"silent",
    )
    first = read(table)
    assert not first.columns["image"].present[0]
    assert read(table) is first
    film.write_bytes((table.parent / "1.png").read_bytes())
    assert read(table).columns["image"].present[0]


def test_data_with_files_that_were_changed_just_now_is_not_kept(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_states, "SETTLED_NS", 3600 * 10**9)
    assert read(table) is not read(table)


def test_data_with_files_that_are_not_known_is_not_kept(table: Path) -> None:
    pattern = table.parent / "*.csv"
    assert read(pattern) is not read(pattern)


class Made(Digits):
    """A task of somebody who does not say what it reads."""


def test_data_of_a_task_that_says_nothing_of_its_files_is_not_kept() -> None:
    task = Made(name="made")
    assert open_data(task, {"_target_": "made"}) is not open_data(task, {"_target_": "made"})


@pytest.mark.parametrize("make", [Digits, DigitsAv, DigitColumns, MovingDigits, MovingProfiles])
def test_data_that_no_file_holds_is_opened_once(
    make: type[CutTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made of what is installed with mmx, in every job of a sweep the same."""
    count, whole = [], make.read

    def read_counted(task: CutTask) -> Samples:
        count.append(task.name)
        return whole(task)

    monkeypatch.setattr(make, "read", read_counted)
    node = {"_target_": make.__name__, "split_seed": 0}
    first = open_data(make(name="a"), node)
    assert open_data(make(name="a"), node) is first
    for seed in (1, 2, 0):  # more than are kept
        found = open_data(make(name="a", split_seed=seed), {**node, "split_seed": seed})
        assert_same(found, make(name="a", split_seed=seed).divide(whole(make(name="a"))))
    assert count == ["a"]
    assert open_data(make(name="a", limit=40), {**node, "limit": 40}) is not first
    assert len(count) == 2


@pytest.mark.parametrize("states_files", [True, False])
def test_a_subclass_that_may_read_more_files_must_list_them(
    table: Path, states_files: bool
) -> None:
    """Its labels are in a file of their own, which the list of its base class lacks."""
    extra = table.parent / "labels.txt"
    extra.write_text("ab" * (ROWS // 2))

    class Own(Table):
        def read(self) -> Samples:
            samples = super().read()
            return replace(samples, values=np.array([ord(c) - 97 for c in extra.read_text()]))

    class Stated(Own):
        def list_files(self, data: TaskData) -> list[Path] | None:
            found = super().list_files(data)
            return None if found is None else [*found, extra]

    kind = Stated if states_files else Own
    task = kind(name="rows", path=str(table), label="label", columns={"text": "title"})
    first = open_data(task, {"_target_": kind.__name__})
    assert (open_data(task, {"_target_": kind.__name__}) is first) == states_files
    extra.write_text("ba" * (ROWS // 2))
    changed = open_data(task, {"_target_": kind.__name__})
    assert changed.values.tolist() == [1, 0] * (ROWS // 2)
