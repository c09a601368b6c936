"""``mmx doctor target=…``: pairs by row and file, and advice that works when it is typed."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from mmx.cli import main


def paint(seed: int) -> PIL.Image.Image:
    """Return a smooth picture of random blobs."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return PIL.Image.fromarray(small).resize((80, 60), PIL.Image.Resampling.BICUBIC)


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Thirty products; of the ten in test, one picture and two names are those of training rows."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    lines = ["photo;name;kind;split;maker"]
    for row in range(30):
        split = "train" if row < 18 else "val" if row < 20 else "test"
        name = f"Product number {row}"
        image = paint(row)
        if row == 20:
            image = paint(3).resize((120, 90))
        if row == 21:
            name = "PRODUCT  number 4!"
        if row == 22:
            name = "Product number 5"
        image.save(f"photos/{row}.jpg", quality=70)
        maker = {20: 3, 21: 4, 22: 5}.get(row, row)
        lines.append(f"{row}.jpg;{name};{'ab'[row % 2]};{split};m{maker}")
    Path("shop.csv").write_text("\n".join(lines))
    return [
        "target=table",
        "target.name=shop",
        "target.path=shop.csv",
        "target.csv.delimiter=semicolon",
        "target.root=photos",
        "target.label=kind",
        "target.split=split",
        "target.columns={image: photo, text: name}",
    ]


def test_pairs_are_named_with_row_file_and_split(shop, capsys):
    assert main(["doctor", *shop]) == 0
    out = capsys.readouterr().out
    assert "1 of 10 test rows look like rows of train, 0 of them with equal content" in out
    assert "row 21 (photos/20.jpg) is row 4 (photos/3.jpg)" in out
    assert "2 of 10 test rows have the text of rows of train, 1 of them with equal content" in out
    assert "row 22 is row 5; row 23 is row 6" in out
    assert "ok   labels" in out


def test_a_column_that_all_pairs_share_is_advised(shop, capsys):
    main(["doctor", *shop])
    (advice,) = [each for each in capsys.readouterr().out.splitlines() if "->" in each]
    typed = advice.split("->")[1].partition("   (")[0].split()
    assert typed == ["target.group=maker", "target.split=null"]
    assert main(["doctor", *shop, *typed]) == 0
    out = capsys.readouterr().out
    assert "look like" not in out
    assert "have the text" not in out


def test_without_one_the_groups_are_written(shop, capsys):
    text = Path("shop.csv").read_text()
    Path("shop.csv").write_text("\n".join(line.rpartition(";")[0] for line in text.splitlines()))
    assert main(["doctor", *shop, "--groups", "out/grouped.csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (typed,) = [line.removeprefix("type: ") for line in lines if line.startswith("type: ")]
    with Path("out/grouped.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    groups = [row["near_duplicate_group"] for row in rows]
    assert (groups[20], groups[21], groups[22]) == (groups[3], groups[4], groups[5])
    assert len(set(groups)) == 27
    assert [row["name"] for row in rows][21] == "PRODUCT  number 4!"
    assert main(["doctor", *shop, *shlex.split(typed)]) == 0
    out = capsys.readouterr().out
    assert "look like" not in out
    assert "have the text" not in out
    assert main(["data", *shop, *shlex.split(typed), "--json"]) == 0
    assert sum(json.loads(capsys.readouterr().out)["splits"].values()) == 30


def test_all_pairs_are_written(shop, capsys):
    assert main(["doctor", *shop, "--pairs=pairs.csv"]) == 0
    with Path("pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = [(row["modality"], row["row"], row["other_row"]) for row in rows]
    assert found == [("image", "21", "4"), ("text", "22", "5"), ("text", "23", "6")]
    assert Path(rows[0]["file"]) == Path("photos/20.jpg").absolute()
    assert {row["split"] for row in rows} == {"test"}


def test_contradicting_labels_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = [f"word {row},{'ab'[row % 2]}" for row in range(20)] + ["word 3,a"]
    Path("t.csv").write_text("\n".join(["t,y", *lines]))
    words = ["target=table", "target.path=t.csv", "target.label=y", "target.columns={text: t}"]
    assert main(["doctor", *words]) == 0
    out = capsys.readouterr().out
    assert "2 rows of equal content have different labels (1 contents)" in out
    assert "row 4: 'b', row 21: 'a'" in out


def test_a_folder_of_images_is_advised_to_list_its_pairs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for row in range(24):
        folder = Path("p") / ("train" if row < 16 else "test") / "ab"[row % 2]
        folder.mkdir(parents=True, exist_ok=True)
        paint(1 if row == 17 else row).save(folder / f"{row}.jpg", quality=60 + row)
    words = ["target=image_folder", "target.path=p"]
    assert main(["doctor", *words]) == 0
    (advice,) = [each for each in capsys.readouterr().out.splitlines() if "->" in each]
    typed = shlex.split(advice.split("->")[1].partition("   (")[0])
    assert main(typed[1:]) == 0
    assert len(Path("pairs.csv").read_text().splitlines()) == 2
    assert main(["doctor", *words, "--groups", "g.csv"]) == 2
    assert "--pairs pairs.csv" in capsys.readouterr().err


def test_errors_are_those_of_train(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "target=digit"]) == 2
    assert "digits" in capsys.readouterr().err
    assert main(["doctor", "target=digits", "--pairs"]) == 2
    assert "--pairs pairs.csv" in capsys.readouterr().err
    assert main(["doctor", "-m", "target=digits,digit_columns", "--pairs", "p.csv"]) == 2
    assert main(["doctor", "target=digits", "--cfg", "job"]) == 2
