"""``mmx predict`` answers every row that it can, and says why the others have no answer."""

from __future__ import annotations

import csv
import signal
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from mmx.cli import main
from mmx.verbs import predict_answers

COLUMNS = ["id", "picture", "title", "year", "label"]


def write(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    random = np.random.default_rng(0)
    for number in range(40):
        pixels = random.integers(0, 120, (8, 8, 3)) + 130 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes((folder / "0.png").read_bytes()[:40])
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    names = ("shoe", "coat")
    rows = [
        [f"a{n}", f"{n}.png", f"{names[n % 2]} {n % 5}", 2000 + n, names[n % 2]] for n in range(40)
    ]
    table = write(folder / "train.csv", rows)
    columns = "target.columns={image: picture, text: title, tabular: year}"
    words = ["source=none", "target=table", f"target.path={table}", "target.label=label", columns]
    words += ["target.image.size=8", "trainer.epochs=2", "control=none", "trainer.threads=1"]
    assert main(["train", *words, "device=cpu", f"output_dir={folder / 'out'}"]) == 0
    return next((folder / "out" / "runs").iterdir())


def predicted(run: Path, *words: str) -> tuple[int, list[dict[str, str]]]:
    output = run.parent / "p.csv"
    output.unlink(missing_ok=True)
    code = main(["predict", str(run), *words, "--output", str(output)])
    return code, read(output) if output.exists() else []


GOOD = ["b1", "1.png", "coat 1", 2001, ""]
BAD = [
    ["b2", "broken.png", "coat 1", 2001, ""],
    ["b3", "", "", "", ""],
    ["b4", "1.png", "coat 1", "old", ""],
]


def test_unusable_rows_have_a_reason_and_the_others_an_answer(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = write(folder / "alone.csv", [GOOD])
    _, [answer] = predicted(run, str(alone))
    code, found = predicted(run, str(write(folder / "new.csv", [*BAD, GOOD])))
    assert code == 0
    assert [row["row"] for row in found] == ["1", "2", "3", "4"]
    assert [row["prediction"] for row in found[:3]] == ["", "", ""]
    assert [row["p(coat)"] for row in found[:3]] == ["", "", ""]
    reasons = [row["reason"] for row in found]
    assert reasons[0].startswith(f"cannot read image {folder / 'broken.png'}: ")
    assert reasons[1] == "has no image and no tabular and no text"
    assert reasons[2].startswith("column 'year' holds 'old'")
    assert reasons[3] == ""
    assert {**found[3], "row": "1"} == answer
    said = capsys.readouterr().err
    assert "note: 3 of 4 rows have no prediction; row 1: cannot read image" in said


def test_a_file_that_does_not_exist_is_said_beside_the_answer(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [GOOD, ["b5", "gone.png", "coat 1", 2001, ""], ["b6", "", "coat 1", 2001, ""]]
    code, found = predicted(run, str(write(folder / "gone.csv", rows)))
    assert code == 0
    assert found[1]["prediction"] != ""
    gone = f"image: {folder / 'gone.png'} does not exist"
    assert [row["reason"] for row in found] == ["", gone, ""]
    assert found[1]["p(coat)"] == found[2]["p(coat)"] != found[0]["p(coat)"]
    said = capsys.readouterr().err
    assert (
        "note: 1 of 3 rows name files that do not exist, and are predicted without them; "
        f"row 2: {gone}\n" in said
    )


def test_how_the_table_was_read_is_said(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write(folder / "quotes.csv", [GOOD, GOOD])
    table.write_text(table.read_text().replace("coat 1", '"coat 1', 1))
    code, found = predicted(run, str(table))
    assert (code, len(found)) == (0, 2)
    err = capsys.readouterr().err
    assert err == "note: unbalanced quotes are read as part of their cells\n"


def test_all_files_of_a_table_may_be_gone(run: Path, folder: Path) -> None:
    rows = [["b5", "gone.png", "coat 1", 2001, ""], ["b6", "lost.png", "shoe 1", 2001, ""]]
    code, found = predicted(run, str(write(folder / "all_gone.csv", rows)))
    assert code == 0
    assert all(row["prediction"] and "does not exist" in row["reason"] for row in found)


@pytest.mark.parametrize("row", [BAD[0], BAD[1], ["b5", "gone.png", "coat 1", 2001, ""]])
def test_strict_fails_and_writes_nothing(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str], row: list[object]
) -> None:
    code, found = predicted(run, str(write(folder / "strict.csv", [GOOD, row])), "--strict")
    assert (code, found) == (1, [])
    said = capsys.readouterr().err
    assert "mmx: 1 of 2 rows" in said
    assert "row 2: " in said
    assert "tip: mend the rows" in said
    assert predicted(run, str(write(folder / "fine.csv", [GOOD])), "--strict")[0] == 0


def test_columns_are_carried_over(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = str(write(folder / "kept.csv", [GOOD, BAD[0], ["=cmd()", "1.png", "coat", 1, ""]]))
    code, found = predicted(run, table, "--keep", "id", "title")
    assert code == 0
    assert list(found[0])[:4] == ["row", "id", "title", "prediction"]
    assert [row["id"] for row in found] == ["b1", "b2", "'=cmd()"]
    assert found[1]["title"] == "coat 1"
    capsys.readouterr()
    assert predicted(run, table, "--keep", "idd")[0] == 1
    said = capsys.readouterr().err
    assert "has no column 'idd'; its columns: id, picture, title, year, label" in said
    assert "tip: --keep id\n" in said
    code, found = predicted(run, "--keep", "id")  # the run's own test rows
    assert code == 0
    table_rows = read(folder / "train.csv")
    assert [row["id"] for row in found] == [table_rows[int(r["row"]) - 1]["id"] for r in found]


def test_a_table_without_one_usable_row_is_an_error(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = predicted(run, str(write(folder / "none.csv", BAD)))
    assert (code, found) == (1, [])
    assert "mmx: no row can be predicted; row 1: " in capsys.readouterr().err


def test_a_column_called_like_one_of_the_predictions_is_refused(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = folder / "taken.csv"
    table.write_text("prediction,picture,title,year\nx,1.png,coat,2001\n")
    assert predicted(run, str(table), "--keep", "prediction")[0] == 2
    assert "predictions have a column of that name already" in capsys.readouterr().err


def test_of_a_folder_the_files_that_training_reads_are_predicted(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(40):
        place = tmp_path / "photos" / ("dark", "light")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}.png").write_bytes((folder / f"{number}.png").read_bytes())
    words = ["source=none", "target=image_folder", f"target.path={tmp_path / 'photos'}"]
    words += ["target.image.size=8", "trainer.epochs=1", "control=none", "trainer.threads=1"]
    assert main(["train", *words, "device=cpu", f"output_dir={tmp_path / 'out'}"]) == 0
    run = next((tmp_path / "out" / "runs").iterdir())
    new = tmp_path / "new"
    (new / "deep").mkdir(parents=True)
    for name in ("a.png", "deep/b.PNG", ".hidden.png", "notes.txt"):
        (new / name).write_bytes((folder / "1.png").read_bytes())
    (new / "broken.png").write_bytes((folder / "broken.png").read_bytes())
    code, found = predicted(run, str(new))
    assert code == 0
    assert [row["file"] for row in found] == [
        str(new / name) for name in ("a.png", "broken.png", "deep/b.PNG")
    ]
    assert [bool(row["prediction"]) for row in found] == [True, False, True]
    (tmp_path / "empty").mkdir()
    capsys.readouterr()
    assert predicted(run, str(tmp_path / "empty"))[0] == 2
    assert "there is no file to read in" in capsys.readouterr().err
    assert predicted(run, str(new), "--keep", "id")[0] == 2
    assert "only a table has columns to keep" in capsys.readouterr().err


@pytest.fixture(scope="module")
def many(folder: Path) -> Path:
    """A table of several batches, of which some rows cannot be read and one batch none."""
    rows: list[list[object]] = []
    for n in range(900):
        row: list[object] = [f"c{n}", f"{n % 40}.png", f"coat {n % 7}", 1990 + n % 50, ""]
        if n % 90 == 7:
            row[1] = row[2] = row[3] = ""
        if n % 131 == 5 or 256 <= n < 560:
            row[3] = "old"
        rows.append(row)
    return write(folder / "many.csv", rows)


def test_rows_that_are_read_in_parts_have_the_same_answers(
    run: Path, many: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, whole = predicted(run, str(many), "--keep", "id")
    said = capsys.readouterr().err
    monkeypatch.setattr(predict_answers, "AT_ONCE", 256)
    monkeypatch.setattr("mmx.tasks.table_rows.BLOCK", 100)
    _, parts = predicted(run, str(many), "--keep", "id")
    assert parts == whole
    assert [row["id"] for row in whole] == [f"c{n}" for n in range(900)]
    assert [row["row"] for row in whole] == [str(n + 1) for n in range(900)]
    assert capsys.readouterr().err == said
    assert "of 900 rows have no prediction; row 6: column 'year' holds 'old'" in said
    assert "tabular: 6 of 900 cells of 'year' are missing" in said


def test_parquet_has_the_answers_of_csv_as_numbers(run: Path, many: Path) -> None:
    _, found = predicted(run, str(many), "--keep", "id")
    path = run.parent / "p.parquet"
    assert main(["predict", str(run), str(many), "--keep", "id", "--out", str(path)]) == 0
    table = pyarrow.parquet.read_table(path)
    types = {field.name: str(field.type) for field in table.schema}
    assert types == {
        "row": "int64",
        "id": "string",
        "prediction": "string",
        "p(coat)": "float",
        "p(shoe)": "float",
        "reason": "string",
    }
    for row, line in zip(table.to_pylist(), found, strict=True):
        for name in ("p(coat)", "p(shoe)"):
            assert line[name] == ("" if row[name] is None else f"{row[name]:.6f}")
        assert [row["prediction"], row["reason"]] == [
            line["prediction"] or None,
            line["reason"] or None,
        ]
        assert (str(row["row"]), row["id"]) == (line["row"], line["id"])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_an_interrupted_call_leaves_the_file_that_was_there(
    run: Path, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(predict_answers, "AT_ONCE", 256)
    path = tmp_path / f"p{suffix}"
    path.write_text("before")
    predict = predict_answers.predict
    calls = []

    def interrupted(*given: object) -> object:
        calls.append(given)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return predict(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(predict_answers, "predict", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    try:
        assert main(["predict", str(run), str(many), "--output", str(path)]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(calls) == 2
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "before"


def test_a_format_that_is_not_written_is_refused(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(run), "--output", "p.jsonl"]) == 2
    said = capsys.readouterr().err
    assert ".csv or .parquet, not as .jsonl" in said
    assert "tip: --output p.csv" in said


def test_a_table_in_another_encoding_is_read_as_the_message_says(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "picture,title,year,label\n1.png,coat é 1,2001,coat\n2.png,shoe 2,2002,shoe\n"
    plain, page = folder / "plain.csv", folder / "page.csv"
    plain.write_text(text, encoding="utf-8")
    page.write_text(text, encoding="windows-1252")
    _, expected = predicted(run, str(plain))
    assert predicted(run, str(page)) == (1, [])
    assert "tip: target.csv.encoding=windows-1252 " in capsys.readouterr().err
    assert predicted(run, str(page), "target.csv.encoding=windows-1252") == (0, expected)
    capsys.readouterr()
    assert main(["eval", str(run), str(plain)]) == 0
    on_plain = capsys.readouterr().out
    assert main(["eval", str(run), str(page), "target.csv.encoding=windows-1252"]) == 0
    assert capsys.readouterr().out.replace("page", "plain") == on_plain
    # Without another table it would change how the run's own is read.
    assert predicted(run, "target.csv.encoding=windows-1252") == (2, [])
