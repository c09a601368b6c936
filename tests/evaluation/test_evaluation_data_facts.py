"""What is said of a task's data, by value on small files."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import soundfile

from mmx.evaluation.data_facts import Quantity, Tally, draw_samples, gather_facts
from mmx.evaluation.data_facts.measure import measure_column
from mmx.evaluation.data_facts.scripts import find_script
from mmx.evaluation.data_statistics import LabelStatistics, NumberRange, measure_statistics
from mmx.modalities.image import Image, ImageColumn
from mmx.modalities.text import TextColumn
from mmx.tasks.table import Table

TEXTS = ["Hello world", "Привет, мир", "你好", "", "สวัสดี ok", "42!"]


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Hello", "Latin"),
        ("Привет мир ok", "Cyrillic"),
        ("你好世界", "Han"),
        ("こんにちは", "Hiragana"),
        ("안녕하세요", "Hangul"),
        ("नमस्ते", "Devanagari"),
        ("مرحبا", "Arabic"),
        ("שלום", "Hebrew"),
        ("สวัสดี", "Thai"),
        ("ＡＢＣ", "Latin"),
        ("ｱｲｳ", "Katakana"),
        ("々〇", "Han"),
        ("ab вг", "Cyrillic"),  # a tie
        ("12 !", "no letter"),
        ("٣", "no letter"),
        ("", "no letter"),
    ],
)
def test_a_script_is_that_of_most_letters(text, script):
    assert find_script(text) == script


@pytest.fixture
def folder(tmp_path):
    """Ten rows: pictures of two sizes and modes, sounds of two rates, texts, cells."""
    rng = np.random.default_rng(0)
    lines = ["photo,clip,note,price,colour,code,kind,unread"]
    for row in range(10):
        size, mode = ((4, 3), "L") if row < 3 else ((6, 8), "RGB")
        shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / f"{row}.png")
        rate = 8000 if row < 4 else 16000
        soundfile.write(tmp_path / f"{row}.wav", rng.uniform(-0.5, 0.5, rate // (row + 1)), rate)
        note = "" if row == 5 else f"word {'w ' * row}"
        price = "" if row == 2 else row * 1.5
        kind = "ab"[row % 2]
        lines.append(
            f"{row}.png,{row}.wav,{note},{price},{'red' if row else 'blue'},{row},{kind},x"
        )
    path = tmp_path / "t.csv"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def task(folder):
    columns = {"image": "photo", "audio": "clip", "text": "note", "tabular": ["price", "colour"]}
    return Table(name="t", path=str(folder), label="kind", columns=columns)


def test_all_facts_of_a_table(task):
    data = task.load()
    readers = {name: reader for name, reader in task.modalities.items() if reader}
    facts = gather_facts(data, readers)
    assert (facts.name, facts.kind, facts.fingerprint) == ("t", "classes", data.fingerprint)
    assert sum(facts.splits.values()) == 10
    assert facts.unused == 0
    assert {name: sum(each.values()) for name, each in facts.classes.items()} == {"a": 5, "b": 5}
    image = facts.modalities["image"]
    assert image.kind == "image"
    assert image.quantities[0] == Quantity("width", "px", 10, 4, 6, 6)
    assert image.quantities[1] == Quantity("height", "px", 10, 3, 8, 8)
    assert image.tallies == (
        Tally("size", {"6×8": 7, "4×3": 3}),
        Tally("mode", {"RGB": 7, "L": 3}),
        Tally("format", {"PNG": 10}),
    )
    audio = facts.modalities["audio"]
    assert audio.tallies == (Tally("sampling rate", {"16000 Hz": 6, "8000 Hz": 4}),)
    assert audio.quantities[0].low == pytest.approx(0.1)
    assert audio.quantities[0].high == 1.0
    text = facts.modalities["text"]
    assert sum(text.missing.values()) == 1
    assert text.quantities[1] == Quantity("words", "", 9, 1, 5, 10)
    tabular = facts.modalities["tabular"]
    assert sum(tabular.missing_cells["price"].values()) == 1
    assert sum(tabular.missing_cells["colour"].values()) == 0
    used = {column.name: column.use for column in facts.columns}
    assert used == {
        "photo": "image",
        "clip": "audio",
        "note": "text",
        "price": "tabular",
        "colour": "tabular",
        "code": "",
        "kind": "label",
        "unread": "",
    }
    holds = {column.name: column.holds for column in facts.columns}
    assert "categories: red" in holds["colour"]
    assert "target.columns" in holds["unread"]
    assert set(data.notes) <= set(facts.notes)


def test_an_identifier_is_left_out_with_the_reason(tmp_path):
    lines = [f"{row},{row % 7},{'ab'[row % 2]}" for row in range(100)]
    (tmp_path / "t.csv").write_text("\n".join(["user_id,size,kind", *lines]))
    columns = {"tabular": ["user_id", "size"]}
    task = Table(name="t", path=str(tmp_path / "t.csv"), label="kind", columns=columns)
    facts = gather_facts(task.load(), {"tabular": task.tabular})
    used = {column.name: (column.use, column.holds) for column in facts.columns}
    assert used["user_id"][0] == ""
    assert used["user_id"][1].startswith("left out: an identifier")
    assert used["size"] == ("tabular", "numbers, 0 to 6, median 3")
    assert any("'user_id' is left out" in note for note in facts.notes)


def test_regression_has_the_spread_of_each_split(tmp_path):
    lines = [f"{row},{row / 2},{split}" for row, split in enumerate(["train"] * 6 + ["test"] * 3)]
    (tmp_path / "t.csv").write_text("\n".join(["x,y,split", *lines]))
    task = Table(
        name="t",
        path=str(tmp_path / "t.csv"),
        label="y",
        columns={"tabular": ["x"]},
        split="split",
        kind="regression",
    )
    facts = gather_facts(task.load(), {"tabular": task.tabular})
    assert facts.classes == {}
    assert facts.numbers["test"] == Quantity("label", "", 3, 3.0, 3.5, 4.0)


def test_a_file_that_is_no_image_is_counted_and_named(tmp_path):
    (tmp_path / "bad.png").write_text("no image")
    PIL.Image.new("RGB", (2, 2)).save(tmp_path / "good.png")
    column = ImageColumn([tmp_path / "bad.png", tmp_path / "good.png", None])
    found = measure_column(column, [0, 1, 2])
    assert found.unreadable == [f"row 1: cannot read image {tmp_path / 'bad.png'}: no image"]
    assert found.quantities[0].rows == 1


def test_an_image_on_its_side_has_the_size_that_is_shown(tmp_path):
    image = PIL.Image.new("RGB", (10, 4))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    column = ImageColumn([tmp_path / "a.jpg"])
    found = measure_column(column, [0])
    assert found.tallies[0].rows == {"4×10": 1}
    assert Image(size=None).fit(column, [0]).width == 4  # as the rest of mmx sees it


def test_scripts_and_lengths_of_texts():
    found = measure_column(TextColumn([*TEXTS, None]), range(7))
    assert found.quantities[0] == Quantity("characters", "", 6, 0, 6, 11)
    assert found.tallies[0].rows == {
        "no letter": 2,
        "Cyrillic": 1,
        "Han": 1,
        "Latin": 1,
        "Thai": 1,
    }


def test_samples_are_drawn_evenly_from_training_rows_alone(tmp_path):
    labels = ["rare"] * 4 + ["common"] * 96
    lines = [f"text {row},{label}" for row, label in enumerate(labels)]
    (tmp_path / "t.csv").write_text("\n".join(["t,y", *lines]))
    task = Table(name="t", path=str(tmp_path / "t.csv"), label="y", columns={"text": "t"})
    data = task.load()
    drawn = draw_samples(data, "text", seed=0, count=4)
    assert set(drawn) <= set(data.splits["train"].tolist())
    assert [labels[row] for row in drawn].count("rare") == 2
    assert draw_samples(data, "text", seed=0, count=4) == drawn
    assert draw_samples(data, "text", seed=1, count=4) != drawn
    assert len(set(draw_samples(data, "text", seed=0, count=90))) == len(data.splits["train"])


def test_an_image_may_have_as_many_pixels_as_the_task_allows(tmp_path):
    PIL.Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    column = ImageColumn([tmp_path / "a.png"])
    assert measure_column(column, [0], Image(max_pixels=600)).quantities[0].high == 30
    refused = measure_column(column, [0], Image(max_pixels=599))
    assert refused.quantities == []
    assert len(refused.unreadable) == 1


def test_what_a_run_keeps_of_its_rows(task):
    data, rows = task.load(), np.arange(10)
    readers = {name: reader for name, reader in task.modalities.items() if reader}
    specs = {name: reader.fit(data.columns[name], rows) for name, reader in readers.items()}
    found = measure_statistics(data, rows, readers, specs)
    assert found.labels == LabelStatistics(10, {"a": 5, "b": 5})
    image, tabular = found.inputs["image"], found.inputs["tabular"]
    assert (image.rows, image.missing) == (10, 0)
    assert image.sizes == {"width": NumberRange(10, 4, 6), "height": NumberRange(10, 3, 8)}
    assert image.tallies["size"] == {"6×8": 7, "4×3": 3}
    assert tabular.missing_cells == {"price": 1, "colour": 0}
    assert tabular.numbers == {"price": NumberRange(9, 0, 13.5)}
