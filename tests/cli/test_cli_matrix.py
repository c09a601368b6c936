"""``mmx matrix``: gains of sources on targets, from runs that exist and from a sweep of its own."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from browser import Browser
from html_pages import HtmlPage
from latex_paper import compile_paper

from mmx.cli import main
from mmx.errors import ConfigError
from mmx.evaluation.gain_intervals import Differences, GainInterval
from mmx.evaluation.sample_metric import SampleScores
from mmx.evaluation.verdict import Gain
from mmx.reports.group_gain import GroupGain
from mmx.reports.many_runs_table import FORMATS
from mmx.reports.run_groups import find_runs
from mmx.reports.transfer_matrix import Matrix, MatrixCell, Trouble, build_matrix
from mmx.reports.transfer_matrix_table import describe_matrix
from mmx.runs.directory import RunDirectory
from mmx.runs.manifest import Manifest
from mmx.runs.sample_scores import write_scores
from mmx.verbs import find_verbs
from mmx.verbs.preflight import preflight_possible
from mmx.verbs.train_line import CommandLine

pytestmark = pytest.mark.slow

ROWS = 400
CONTROL = 0.60
ACCURACY = {
    ("a", "x"): (0.80, 0.82, 0.81),  # clearly positive
    ("b", "x"): (0.40, 0.41, 0.39),  # clearly negative
    ("a", "b"): (0.60, 0.62, 0.59),  # not clear
    ("b", "b"): (0.90, 0.91, 0.92),  # its own source: no transfer
    ("none", "x"): (0.60, 0.60, 0.60),
}
VAL = {"a": 0.55, "b": 0.75, "none": 0.5}
CONTROL_VAL = 0.65
Capture = pytest.CaptureFixture[str]


def score(part: float) -> SampleScores:
    """Return scores of which a part is right."""
    hits = np.random.default_rng(0).permutation(ROWS) < round(part * ROWS)
    return SampleScores("accuracy", hits.astype(float)[:, None], np.arange(ROWS))


def make_run(
    folder: Path, source: str, target: str, seed: int, test: float, fusion: str = "concat"
) -> RunDirectory:
    """Make a run with the gain over the scratch control, as far as a matrix reads it."""

    def task(name: str) -> dict[str, str] | None:
        return None if name == "none" else {"_target_": f"t.{name.upper()}", "name": name}

    name = f"{source}-{target}-{fusion}-{seed}"
    directory = RunDirectory.create(
        folder,
        label="x",
        fingerprint=name.encode().hex()[:32].ljust(32, "0"),
        config={
            "seed": seed,
            "source": task(source),
            "target": task(target),
            "fusion": {"_target_": f"mmx.fusion.{fusion}.X"},
        },
        manifest=Manifest(
            seed=seed,
            names={"encoder/image": source, "source": source, "target": target, "fusion": fusion},
            data={"target": target},
        ),
        files={},
        exactly=folder / name,
    )
    own, control = (
        {
            "test": {"loss": 1 - value, "accuracy": value},
            "val": {"loss": 1 - val, "accuracy": val},
        }
        for value, val in ((test, VAL[source]), (CONTROL, CONTROL_VAL))
    )
    write_scores(directory, score(test), {"scratch": score(CONTROL)}, {"labels": target})
    directory.write_json("summary.json", {
        "format": 1,
        "run": name, "source": {"task": source}, "fusion": fusion, "seed": seed,
        "target": {"task": target, "metrics": own}, "transfer": {"mode": "parameter"},
        "gain": {"metric": "accuracy", "value": test - CONTROL, "control": "scratch"},
        "control": {"scratch": {"metrics": control}},
        "timing": {"target_s": 1.0, "source_s": 0.0, "source_cached": False,
                   "total_s": 2.0, "train_samples_per_s": 1.0, "seconds_per_sample": 1.0},
        "params": {"total": 10, "trainable": 10, "shared": 0}, "cost": {"flops_per_sample": 1},
    })  # fmt: skip
    directory.set_status("done")
    return directory


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two sources on two targets, three seeds each, and two that failed."""
    root = tmp_path_factory.mktemp("matrix")
    for (source, target), values in ACCURACY.items():
        for seed, test in enumerate(values, 1):
            make_run(root / "runs", source, target, seed, test)
    for source, target in (("b", "a"), ("none", "y")):  # without a source there is no cell
        failed = make_run(root / "runs", source, target, 1, 0.5)
        (failed.path / "summary.json").unlink()
        failed.set_status("failed", error="DataError: no\nrows\n  tip: add rows")
    return root


def show(capsys: Capture, *words: object) -> str:
    assert main(["matrix", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_a_cell_is_the_mean_gain_with_the_interval_of_its_sweep(
    outputs: Path, capsys: Capture
) -> None:
    found = json.loads(show(capsys, outputs, "--format", "json"))
    assert (found["sources"], found["targets"]) == (["a", "b"], ["a", "b", "x"])
    cells = {(each["source"], each["target"]): each for each in found["cells"]}
    kept = [("a", "b"), ("a", "x"), ("b", "x")]
    assert found["comparisons"] == 3
    groups = [
        Differences.of([(score(test), score(CONTROL)) for test in ACCURACY[pair]]) for pair in kept
    ]
    expected = GainInterval.of(groups, level=1 - 0.05 / 3)
    for pair, interval in zip(kept, expected, strict=True):
        cell = cells[pair]
        assert cell["gain"] == pytest.approx(np.mean(ACCURACY[pair]) - CONTROL)
        assert (cell["low"], cell["high"]) == pytest.approx(interval.interval)
        assert (cell["n"], cell["over"], cell["metric"]) == (3, "scratch", "accuracy")
    assert [cells[pair]["mark"] for pair in kept] == ["·", "+", "-"]
    assert [cells[pair]["best_by_validation"] for pair in kept] == [True, False, True]
    assert cells["a", "a"]["status"] == cells["b", "b"]["status"] == "the same task"
    assert cells["b", "a"] == {
        "source": "b",
        "target": "a",
        "status": "failed",
        "why": "DataError: no rows; tip: add rows",
    }


def test_the_table_for_people(outputs: Path, capsys: Capture) -> None:
    lines = show(capsys, outputs).splitlines()
    assert lines[0].startswith("Gain in accuracy over the scratch control, 98.33 % intervals: all")
    assert lines[2].split() == ["source", "a", "b", "x"]
    assert lines[3].split() == ["a", "–", "+0.003", "n=3", "[·]", "+0.210", "n=3", "[+]"]
    assert lines[5].split() == ["b", "failed", "–", "-0.200", "n=3", "[-]"]
    said = "\n".join(lines[8:])
    assert "negative transfer: b → x -0.200 (-0." in said
    assert "best source by validation for x: b, gain -0.200 " in said
    assert said.count("accuracy 0.750, scratch control 0.650\n") == 1
    # a is the best on b, and worse there than the control.
    assert "accuracy 0.550, scratch control 0.650, which is no worse" in said
    assert "failed: b → a: DataError: no rows; tip: add rows" in said
    assert "note: 3 runs without a source left out" in said
    assert "note: 3 runs of a source on itself left out" in said


def test_csv_has_a_line_for_each_pair(outputs: Path, capsys: Capture) -> None:
    rows = list(csv.DictReader(io.StringIO(show(capsys, outputs, "--format", "csv"))))
    assert len(rows) == 6
    one = next(row for row in rows if (row["source"], row["target"]) == ("b", "x"))
    assert one["verdict"] == "negative transfer: the source hurts"
    assert float(one["gain"]) == pytest.approx(-0.2)
    assert "mark" not in one


def test_damaged_runs_are_named_beside_a_csv_and_stop_nothing(
    outputs: Path, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copytree(outputs / "runs", tmp_path / "runs")
    places = [
        path for path in (tmp_path / "runs").iterdir() if not (path / "summary.json").exists()
    ]
    (places[0] / "manifest.json").write_text("{")  # of a run that is not done
    capsys.readouterr()
    assert main(["matrix", str(tmp_path), "--format", "csv"]) == 0
    told = capsys.readouterr()
    assert told.err.startswith(f"note: left out: {places[0]}/manifest.json is not what mmx wrote")
    assert "left out" not in told.out


def test_runs_of_other_settings_make_a_matrix_each(tmp_path: Path, capsys: Capture) -> None:
    for fusion, gain in (("concat", 0.1), ("gated", 0.2)):
        for source in "ab":
            for seed in (1, 2):
                test = CONTROL + gain + 0.01 * seed
                make_run(tmp_path / "runs", source, "x", seed, test, fusion)
    found = json.loads(show(capsys, tmp_path, "--format", "json"))
    gains = {(each["fusion"], each["source"]): each["gain"] for each in found["cells"]}
    assert gains["concat", "a"] == pytest.approx(0.115)
    assert gains["gated", "b"] == pytest.approx(0.215)
    assert all(each["n"] == 2 for each in found["cells"])
    lines = show(capsys, tmp_path).splitlines()
    assert [line for line in lines if line.startswith("fusion=")] == [
        "fusion=concat",
        "fusion=gated",
    ]
    assert "fusion=gated" not in show(capsys, tmp_path, "fusion=concat")


def test_another_metric_in_which_less_is_better(outputs: Path, capsys: Capture) -> None:
    text = show(capsys, outputs, "target=x", "--metric", "loss", "--format", "json")
    cells = {each["source"]: each for each in json.loads(text)["cells"]}
    assert cells["a"]["gain"] == pytest.approx(0.21)
    assert cells["b"]["gain"] == pytest.approx(-0.2)
    assert cells["b"]["lower_is_better"]
    assert cells["b"]["best_by_validation"]  # 0.25 is less than 0.45


def test_matrices_of_several_settings_are_named_below_each_other_in_latex(
    tmp_path: Path, capsys: Capture
) -> None:
    for number, fusion in enumerate(("concat", "gated")):
        for source in ("a", "b"):
            for seed, part in enumerate((0.61, 0.59, 0.62), 1):
                make_run(tmp_path / "runs", source, "x", seed, part + number / 5, fusion)
                make_run(tmp_path / "runs", source, "y", seed, part + number / 5, fusion)
    table = show(capsys, tmp_path, "--format", "latex")
    for name in ("concat", "gated"):
        assert rf"\par\noindent fusion={name}\par\noindent" in table.splitlines()
    assert "Overfull" not in compile_paper(tmp_path, table)


@pytest.mark.browser
def test_settings_of_one_source_are_told_apart_on_a_page(
    tmp_path: Path, capsys: Capture, browser: Browser
) -> None:
    for fusion, parts in (("concat", (0.80, 0.82)), ("gated", (0.61, 0.59)), ("gmu", (0.7, 0.9))):
        for seed, part in enumerate(parts, 1):
            make_run(tmp_path / "runs", "a", "x", seed, part, fusion)
    file = tmp_path / "matrix.html"
    file.write_text(show(capsys, tmp_path, "--format", "html"), encoding="utf-8")
    page = HtmlPage.read(file)
    page.require_own()
    (heat,) = page.charts.values()
    rows = [cell["row"] for cell in heat["data"]["values"]]
    assert rows == ["concat", "gated", "gmu"]
    settings = [row[:2] for row in page.find_table("setting", "source")]
    assert settings == [[f"fusion={name}", "a"] for name in rows]
    assert page.text.count("none that is clear") == 1
    assert "None of 3 transfers gains clearly, none loses clearly" in page.text
    assert "negative transfer: none that is clear with 3 of 3 settings" in page.text
    for width, dark in ((1200, False), (400, True)):
        shown = browser.open(file, width=width, dark=dark)
        assert shown.errors == shown.requests == []
        assert browser.find_wide() == []
        assert browser.evaluate("document.querySelectorAll('.plot svg .mark-rect path').length")
    head = "[...document.querySelectorAll('table.sortable th[scope=col]')][2]"
    browser.evaluate(f"{head}.querySelector('button').click()")
    first = "document.querySelector('table.sortable tbody th').textContent"
    assert browser.evaluate(first) == "fusion=gated"


def test_formats_for_papers_escape_what_they_obey(outputs: Path, capsys: Capture) -> None:
    latex = show(capsys, outputs, "--format", "latex")
    assert latex.count(r"\\") == 3  # a head and two rows
    assert r" & \textbf{+0.210 (" in latex
    assert r"[$\cdot$] & " in latex
    markdown = show(capsys, outputs, "--format", "markdown").splitlines()
    assert markdown[3] == "| --- | --- | --- | --- |"
    assert markdown[5].startswith("| b | failed | – | -0.200 (")
    assert markdown[5].endswith(r" n=3 \[-\] |")
    page = HtmlPage(show(capsys, outputs, "--format", "html"))
    page.require_own()
    assert "Gain in accuracy" in page.text
    rows = page.find_table("source")
    assert [row[0] for row in rows] == ["a", "b"]
    assert rows[1][1:3] == ["failed", "–"]
    assert "1 of 3 transfers gains clearly, 1 loses: most b → x -0.200" in page.text
    (heat,) = page.charts.values()
    cells = {(cell["row"], cell["column"]): cell for cell in heat["data"]["values"]}
    assert [cell["sign"] for cell in cells.values()].count(-1) == 1
    (lost,) = [cell for cell in cells.values() if cell["sign"] < 0]
    assert lost["text"] == "−0.200 [−]"
    assert lost["row"] == "b"


@pytest.mark.parametrize("suffix", ["pdf", "svg", "png"])
def test_a_figure(outputs: Path, tmp_path: Path, capsys: Capture, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"figure.{suffix}"
    show(capsys, outputs, "--figure", path)
    begins = {"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG"}[suffix]
    assert path.read_bytes().startswith(begins)
    if suffix == "svg":
        text = path.read_text()
        assert all(word in text for word in ("−0.200", "n = 3", "failed", "gain in accuracy"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "mmx matrix needs source=… and target=…, or finished runs"),
        (["source=digits"], "mmx matrix needs target=…, or finished runs"),
        (["source=none,digits", "target=digits_av"], "without a source there is no gain"),
        (["source=digits", "target=digits"], "each source is its target"),
        (["source=digits", "target=digtis"], "target=digtis: target has no option digtis"),
        (["source=digits", "target=digits_av", "--figure", "a.gif"], "ends in one of .pdf"),
    ],
)
def test_what_is_refused(mmx: Callable[..., Any], words: list[str], message: str) -> None:
    said = mmx("matrix", *words)
    assert said.code == 2
    assert message in said.err


def test_a_metric_that_not_all_have(outputs: Path, capsys: Capture) -> None:
    assert main(["matrix", str(outputs), "--metric", "acuracy"]) == 2
    assert "--metric acuracy: all runs have loss, accuracy" in capsys.readouterr().err
    assert main(["matrix", str(outputs), "source=none"]) == 1
    assert "no finished run has the gain of a source" in capsys.readouterr().err


def test_help_offers_all_formats() -> None:
    flags = find_verbs()["matrix"].completes["flags"]
    assert flags["--format"] == FORMATS


def test_a_pair_without_a_common_modality_is_refused_alone() -> None:
    line = CommandLine(["source=digits,digit_columns", "target=digits_av"], multirun=True)
    found, (refused,) = preflight_possible(line, [])
    assert [job.composed.choices["source"] for job in found] == ["digits"]
    assert refused.composed.choices["source"] == "digit_columns"
    assert "no modality is in both" in refused.parts[0].reason
    with pytest.raises(ConfigError):
        preflight_possible(
            replace(line, overrides=["source=digit_columns", *line.overrides[1:]]), []
        )
    with pytest.raises(ConfigError):  # wrong by itself, so that no job counts as refused
        preflight_possible(replace(line, overrides=[*line.overrides, "target.nmae=x"]), [])


def test_a_refused_pair_has_its_place(outputs: Path) -> None:
    runs = find_runs([str(outputs)])
    troubles = [Trouble("c", "x", "refused", "no modality is in both")]
    found = build_matrix(runs, troubles, pairs=[("c", "x"), ("c", "b"), ("a", "x")])
    assert found.sources == ("c", "a", "b")
    assert [found.find_status("c", target) for target in ("x", "b", "c")] == [
        "refused",
        "not run",
        "–",
    ]
    assert "refused: c → x: no modality is in both" in describe_matrix(found)


def test_a_sweep_of_its_own_is_run_once(
    tables: dict[str, Path],
    overrides: Callable[..., list[str]],
    tmp_path: Path,
    capsys: Capture,
) -> None:
    words = overrides(tables["one"], tables["two"], ("tabular",), "seed=1,2", "device=cpu")
    words += ["trainer.epochs=1", "trainer.threads=1", f"output_dir={tmp_path / 'out'}"]
    assert main(["matrix", *words]) == 0
    first = capsys.readouterr()
    assert first.out.splitlines()[2].split() == ["source", "two"]
    assert first.out.splitlines()[3].split()[::2] == ["one", "n=2"]
    (sweep,) = (tmp_path / "out" / "sweeps").iterdir()
    assert main(["matrix", *words, "--format", "json"]) == 0
    again = capsys.readouterr()
    assert again.err.count("skipped ") == 2
    assert show(capsys, sweep) == first.out
    (cell,) = json.loads(again.out)["cells"]
    with (sweep / "gains.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["gain"]) == cell["gain"]
    assert float(row["high"]) == cell["high"]
    # It is the sweep of mmx train.
    assert main(["train", "-m", *words]) == 0
    assert capsys.readouterr().out == f"{sweep}\n"


def test_a_source_without_a_value_on_validation_is_not_the_best() -> None:
    values = {"a": float("nan"), "b": -0.4, "c": -0.2}
    cells: Any = {(name, "x"): SimpleNamespace(signed_val=each) for name, each in values.items()}
    assert Matrix((), cells).find_best("x") is cells["c", "x"]


@pytest.mark.parametrize(
    ("learned", "interval", "mark"),
    [
        (True, (0.01, 0.03), "+"),
        (True, (-0.03, -0.01), "-"),
        (True, (-0.01, 0.03), "·"),
        (True, (0.0, 0.03), "·"),
        (True, (-0.03, 0.0), "·"),
        (True, None, "·"),
        (False, (0.01, 0.03), "?"),
    ],
)
def test_a_mark_is_the_side_of_zero_on_which_the_whole_interval_lies(
    learned: bool, interval: tuple[float, float] | None, mark: str
) -> None:
    gain = Gain("accuracy", 0.01, interval, learned=learned)
    cell = MatrixCell("a", "x", GroupGain({}, (), 0.8, 0.79, gain), val=0.8, control_val=None)
    assert cell.mark == mark
