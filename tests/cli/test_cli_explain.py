"""``mmx explain`` writes a page and its numbers, changes nothing else, and refuses by name."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser import Browser

from mmx.cli import main
from mmx.errors import UsageError
from mmx.runs.directory import RunDirectory
from mmx.verbs.explain import read_words

KEPT = ("tabular", "text")


@pytest.fixture(scope="module")
def run(train: Callable[..., RunDirectory], tables: dict[str, Path], overrides: Any) -> Path:
    """Return a run on words and cells, which is fast to explain."""
    return train(*overrides(None, tables["one"], KEPT, "control=none", "trainer.epochs=4")).path


def read_files(run: Path) -> dict[str, tuple[int, bytes]]:
    paths = [path for path in run.rglob("*") if path.is_file() and "explain" not in path.parts]
    return {
        str(path.relative_to(run)): (path.stat().st_mtime_ns, path.read_bytes()) for path in paths
    }


def explain(run: Path, *words: str) -> dict[str, Any]:
    """Explain, and return the numbers."""
    out = run.parent / "why.html"
    assert main(["explain", str(run), *words, "--out", str(out)]) == 0
    found: dict[str, Any] = json.loads(out.with_suffix(".json").read_text())
    return found


def test_a_page_and_its_numbers_and_nothing_else(run, capsys):
    before = read_files(run)
    assert main(["explain", str(run)]) == 0
    said = capsys.readouterr()
    page = run / "explain" / "test.html"
    assert said.out == f"{page}\n"
    assert read_files(run) == before
    assert sorted(path.name for path in page.parent.iterdir()) == ["test.html", "test.json"]
    found = json.loads(page.with_suffix(".json").read_text())
    summary = json.loads((run / "summary.json").read_text())
    shares = found["shares"]
    assert found["metric"] == "accuracy"
    assert shares["full"] == pytest.approx(summary["target"]["metrics"]["test"]["accuracy"])
    total = sum(each["value"] for each in shares["inputs"].values())
    assert abs(total - (shares["full"] - shares["empty"])) < 1e-6
    assert set(shares["inputs"]) == set(KEPT)
    assert f"accuracy {shares['full']:.3f}" in said.err
    text = page.read_text()
    assert f"mmx explain {run}" in text
    assert len(text) < 2_000_000


def test_the_rows_are_the_most_confident_errors_then_right_ones(run):
    found = explain(run)["explained"]
    wrong = [each["confidence"] for each in found if not each["right"]]
    assert wrong == sorted(wrong, reverse=True)
    assert [each["right"] for each in found] == sorted(each["right"] for each in found)
    assert len(wrong) <= 10
    for row in found:
        assert row["right"] == (row["truth"] == row["answer"])
        total = sum(row["shares"].values())
        assert abs(total - (row["value"] - row["value_without_inputs"])) < 1e-6
        for given in row["inputs"]:
            found_map = given["maps"]["integrated_gradients"]
            complete = found_map["completeness"]
            assert complete["holds"]
            assert sum(found_map["values"]) == pytest.approx(
                complete["total"] + complete["gap"], abs=1e-4
            )
            assert "transformer" in given["not_used"]["attention"]


def test_rows_by_number_words_and_cells_with_their_names(run, tables):
    (row,) = explain(run, "18")["explained"]
    assert row["row"] == 18
    assert explain(run, "rows=18")["explained"] == [row]
    lines = tables["one"].read_text().splitlines()
    cells = dict(zip(lines[0].split(","), lines[18].split(","), strict=True))
    assert row["truth"] == cells["label"]
    inputs = {each["input"]: each for each in row["inputs"]}
    assert [each["name"] for each in inputs["text"]["parts"]] == cells["words"].split()
    assert [each["name"] for each in inputs["tabular"]["parts"]] == ["a", "b"]
    texts = [each["text"] for each in inputs["tabular"]["parts"]]
    assert texts[1] == cells["b"]
    assert len(inputs["tabular"]["maps"]["integrated_gradients"]["values"]) == 2


def test_another_class_is_explained_where_it_is_named(run):
    rows = [explain(run, "18", "--class", name)["explained"][0] for name in ("low", "high")]
    assert [row["explained"] for row in rows] == ["low", "high"]
    maps = [row["inputs"][0]["maps"]["integrated_gradients"]["values"] for row in rows]
    assert maps[0] != maps[1]


def test_another_split(run):
    found = explain(run, "split=val")
    assert found["split"] == "val"
    summary = json.loads((run / "summary.json").read_text())
    assert found["shares"]["full"] == pytest.approx(summary["target"]["metrics"]["val"]["accuracy"])


@pytest.mark.parametrize(
    ("words", "said", "tip"),
    [
        (["1"], "row 1 is in the split val, not in test", "mmx explain RUN 1 split=val"),
        (["99"], "the data has 48 rows", "mmx explain RUN 7"),
        (["rows=a"], "rows are numbers from 1", "rows=3,17"),
        (["split=tset"], "there is no such split; accepted: test, val, train", "split=val"),
        (["--method", "grad_camera"], "no such method; accepted: attention, grad_cam",
         "mmx explain RUN --method grad_cam"),
        (["--method", "grad_cam"], "fits no input of this run: ", "mmx explain RUN"),
        (["--class", "lo"], "accepted: high, low, middle", "mmx explain RUN --class low"),
        (["--out", "why.txt"], "it names a page", "--out why.html"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_type(run, capsys, words, said, tip):
    assert main(["explain", str(run), *words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert f"tip: {tip.replace('RUN', str(run))}" in err


def test_what_the_tip_for_a_row_says_to_type_works(run):
    assert main(["explain", str(run), "1", "split=val", "--out", str(run.parent / "a.html")]) == 0


def test_words_are_told_apart():
    asked = read_words(
        ["a/run", "3,17", "4", "rows=9", "split=val", "data_dir=/d", "fusion=concat"]
    )
    assert asked.runs == ["a/run"]
    assert asked.numbers == [3, 17, 4, 9]
    assert (asked.split, asked.moved, asked.conditions) == (
        "val",
        ["data_dir=/d"],
        ["fusion=concat"],
    )
    with pytest.raises(UsageError, match="no run is given"):
        read_words(["split=val"])


def test_over_seeds(train, tables, overrides, capsys):
    line = overrides(None, tables["one"], ("tabular",), "control=none")
    runs = [train(*line, f"seed={seed}").path for seed in (1, 2, 3)]
    capsys.readouterr()
    assert main(["explain", *map(str, runs)]) == 0
    page = Path(capsys.readouterr().out.strip())
    assert page == runs[0] / "explain" / "test-3-runs.html"
    found = json.loads(page.with_suffix(".json").read_text())
    assert found["runs"] == [run.name for run in runs]
    assert found["shares"]["interval_over"] == "runs and rows"
    each = [run["inputs"]["tabular"]["value"] for run in found["shares_of_runs"]]
    assert found["shares"]["inputs"]["tabular"]["value"] == pytest.approx(sum(each) / 3)
    other = train(*line, "seed=1", "encoder.tabular.width=4").path
    assert main(["explain", str(runs[0]), str(other)]) == 2
    said = capsys.readouterr().err
    assert "differ in more than their seed: target=one encoder.tabular.width=8" in said
    tip = shlex.split(said.partition("tip: ")[2])
    assert tip[:2] == ["mmx", "explain"]
    assert main(tip[1:]) == 0
    assert Path(capsys.readouterr().out.strip()) == runs[0] / "explain" / "test.html"


def test_numbers_are_explained_by_how_far_off_they_are(train, tables, overrides):
    line = [
        word.replace("target.label=label", "target.label=number")
        for word in overrides(None, tables["one"], ("tabular",), "control=none")
    ]
    more = ("target.kind=regression", "objective=mean_squared_error")
    run = train(*line, *more).path
    found = explain(run)
    assert found["metric"] == "r2"
    off = [row["confidence"] for row in found["explained"]]
    assert off[:10] == sorted(off[:10], reverse=True)
    row = found["explained"][0]
    assert row["right"] is None
    assert abs(float(row["truth"]) - row["value"]) == pytest.approx(row["confidence"], rel=1e-4)


@pytest.fixture
def own_table(tables, tmp_path) -> Path:
    """Return a copy of the table, in a place of its own."""
    path = tmp_path / "own.csv"
    path.write_text(tables["one"].read_text())
    return path


def read_cells(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def write_cells(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def pick(found: dict[str, Any]) -> list[tuple[Any, ...]]:
    names = ("row", "truth", "answer", "explained", "right", "confidence")
    return [tuple(each[name] for name in names) for each in found["explained"]]


def test_classes_are_those_of_the_model_where_the_table_has_more_now(
    train, own_table, overrides, capsys
):
    run = train(*overrides(None, own_table, ("tabular",), "control=none")).path
    before = explain(run)
    rows = read_cells(own_table)
    trained = [row for row in rows if row["split"] == "train"]
    for row in trained[:2]:
        row["label"] = "above"  # the first by name: the table's classes are numbered anew
    write_cells(own_table, rows)
    capsys.readouterr()
    after = explain(run)
    assert pick(after) == pick(before)
    assert after["shares"]["full"] == before["shares"]["full"]
    said = capsys.readouterr().err
    assert "is not what the run was trained on" in said
    assert f"2 of {len(trained)} training rows have a class that the model does not know" in said
    assert main(["explain", str(run), "--class", "above"]) == 2
    assert "accepted: high, low, middle" in capsys.readouterr().err
    tested = next(row for row in rows if row["split"] == "test")
    tested["label"] = "above"
    write_cells(own_table, rows)
    assert main(["explain", str(run)]) == 1
    said = capsys.readouterr().err
    assert "target=own: 1 row has the class 'above', which the run was not trained on" in said


def test_classes_are_those_of_the_model_where_the_table_has_fewer_now(train, own_table, overrides):
    run = train(*overrides(None, own_table, ("tabular",), "control=none")).path
    before = pick(explain(run))
    rows = [row for row in read_cells(own_table) if row["label"] != "high"]
    write_cells(own_table, rows)
    numbers = {id(row): number for number, row in enumerate(rows, 1)}
    tested = [row for row in rows if row["split"] == "test"]
    words = ["rows=" + ",".join(str(numbers[id(row)]) for row in tested)]
    found = pick(explain(run, *words))
    assert [each[1] for each in found] == [row["label"] for row in tested]
    answers = sorted((answer, sure) for _, _, answer, _, _, sure in found)
    whole = {(answer, sure) for _, _, answer, _, _, sure in before}
    assert {each[0] for each in answers} <= {"high", "low", "middle"}
    assert whole & set(answers)


def test_numbers_are_on_the_scale_of_the_model(train, own_table, overrides):
    line = [
        word.replace("target.label=label", "target.label=number")
        for word in overrides(None, own_table, ("tabular",), "control=none")
    ]
    more = ("target.kind=regression", "objective=mean_squared_error")
    run = train(*line, *more).path
    before = explain(run)
    rows = read_cells(own_table)
    for row in rows:
        if row["split"] == "train":
            row["number"] = str(float(row["number"]) * 10 + 1000)
    write_cells(own_table, rows)
    after = explain(run)
    assert pick(after) == pick(before)
    assert after["shares"]["full"] == before["shares"]["full"]
    assert [each["value"] for each in after["explained"]] == [
        each["value"] for each in before["explained"]
    ]


@pytest.mark.slow
def test_every_modality_of_a_table_at_once_with_frozen_encoders(train, tables, overrides, tmp_path):
    line = overrides(None, tables["one"], ("image", "audio", "text", "tabular"), "control=none")
    run = train(*line).path
    shutil.copytree(run, tmp_path / "run")
    found = explain(tmp_path / "run")
    seen: dict[str, set[str]] = {}
    for row in found["explained"]:
        for given in row["inputs"]:
            seen.setdefault(given["modality"], set()).update(given["maps"])
    maps = {"grad_cam", "integrated_gradients"}
    assert seen == {
        "image": maps,
        "audio": maps,
        "text": {"integrated_gradients"},
        "tabular": {"integrated_gradients"},
    }
    page = (tmp_path / "why.html").read_text()
    assert page.count("<audio") == sum(
        given["input"] == "audio" for row in found["explained"] for given in row["inputs"]
    )
    assert "data:image/png;base64," in page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "modality"),
    [
        (("target=moving_profiles", "encoder/sequence=transformer"), "sequence"),
        (("target=moving_digits", "encoder/video=small_cnn_3d", "target.per_class=4"), "video"),
        (("target=digits_av", "encoder/audio=spectrogram_cnn"), "audio"),
    ],
)
def test_other_modalities(train, words, modality):
    run = train("source=none", *words, "control=none", "trainer.epochs=1").path
    found = explain(run, "--method", "integrated_gradients")
    given = {each["modality"] for row in found["explained"] for each in row["inputs"]}
    assert modality in given


@pytest.mark.browser
def test_the_page_in_a_browser(run, browser: Browser):
    out = run.parent / "shown.html"
    assert main(["explain", str(run), "--out", str(out)]) == 0
    for width in (1200, 400):
        for dark in (False, True):
            shown = browser.open(out, width=width, dark=dark)
            assert shown.errors == []
            assert shown.requests == []
            assert browser.find_wide() == []
    assert browser.evaluate("document.querySelectorAll('.plot svg .mark-rect path').length") == 2
    assert browser.evaluate("document.querySelectorAll('article').length") > 3
