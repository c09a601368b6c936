"""Runs that an older mmx made, some in words that are others now, open in every verb."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import torch
from html_pages import HtmlPage, read_lines

from mmx.cli import main
from mmx.reports import report
from mmx.reports.summary_lines import format_gains, format_search, format_title
from mmx.runs.directory import RunDirectory
from mmx.runs.search_record import read_search
from mmx.runs.summary import Summary
from mmx.training import precision

pytestmark = pytest.mark.slow

KEPT = Path(__file__).parent / "kept"
NAMES = sorted(path.name for path in KEPT.iterdir() if path.is_dir())
Mmx = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of runs that tests may spoil."""
    folder = tmp_path_factory.mktemp("kept") / "outputs" / "runs"
    shutil.copytree(KEPT, folder)
    return folder


@pytest.fixture
def mmx(runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Mmx:
    """Return ``mmx(*words)`` -> exit code, stdout, stderr; it runs where the outputs are."""
    monkeypatch.chdir(runs.parent.parent)

    # They were computed on a CPU without bf16, which precision=auto takes where there is some.
    monkeypatch.setattr(precision, "bf16_is_fast", lambda device: False)

    def call(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(words)
        return code, *capsys.readouterr()

    return call


def test_each_kind_is_there():
    assert NAMES == ["auto", "contrastive", "feature", "joint", "parameter", "unfrozen"]


@pytest.mark.parametrize("name", NAMES)
def test_its_files_are_what_was_written(name, runs):
    run = RunDirectory.open(runs / name)
    run.require_undamaged(checkpoints=True)
    written = run.summary()
    assert "format" not in written
    assert run.read_summary().format == 0
    assert run.finished_summary().to_json() == written  # nothing is lost or added


def test_list_shows_them_all(mmx):
    code, out, _ = mmx("list", "--json")
    entries = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [entry["run"] for entry in entries] == [f"runs/{name}" for name in NAMES]
    assert {entry["status"] for entry in entries} == {"done"}


@pytest.mark.parametrize("name", NAMES)
def test_compare_eval_predict_and_resume_open_it(name, mmx, runs, tmp_path):
    run = runs / name
    summary = json.loads((run / "summary.json").read_text())
    tested = summary["target"]["metrics"]["test"]
    code, out, err = mmx("compare", str(run), str(run))
    assert code == 0
    assert "bit for bit" in out + err
    code, out, err = mmx("eval", str(run))
    assert code == 0, err
    found = json.loads(out.splitlines()[-1])["test"]
    assert found == pytest.approx(tested, rel=1e-4, abs=1e-6)
    code, out, err = mmx("resume", str(run))
    assert code == 0, err
    code, _, err = mmx("predict", str(run), f"--output={tmp_path / 'rows.csv'}")
    if name == "contrastive":  # it has no outputs
        assert code != 0
    else:
        assert code == 0, err
        with (tmp_path / "rows.csv").open() as file:
            assert len(list(csv.DictReader(file))) == 359


@pytest.mark.parametrize("name", NAMES)
def test_its_report_can_be_written_again(name, runs, tmp_path):
    copy = RunDirectory(shutil.copytree(runs / name, tmp_path / name))
    before = HtmlPage.read(copy.path / "report.html")
    report.write_report(copy)
    after = HtmlPage.read(copy.path / "report.html")
    after.require_own()
    # The page has another form; every number and sentence of the earlier one is in it.
    metrics, *tables = before.tables
    assert after.find_table(*metrics[0]) == metrics[1:]
    for head, *rows in tables:
        if head[1:4] == ["rows", "recall", "precision"]:
            assert after.find_table("class", "rows", "recall") == [row[:4] for row in rows]
            found = after.find_table("true \\ predicted", *head[4:])
            assert found == [[row[0], *row[4:]] for row in rows]
    summary = copy.read_summary()
    for text in (format_title(summary), *format_gains(summary), *format_search(summary)):
        newer = "control is no better than chance after" in text  # mmx did not say so then
        assert newer or " ".join(text.split()) in before.text
        assert " ".join(text.split()) in after.text
    for note in summary.notes:
        assert note in after.text
    names = [each["aria-label"] for each in before.tags("svg") if "." in str(each["aria-label"])]
    drawn = [spec for spec in after.charts.values() if _is_curve(spec)]
    assert len(drawn) == len(names) > 0
    lines = [line for spec in drawn for line in read_lines(spec).values()]
    assert len(lines) == len(before.tags("polyline"))


def _is_curve(spec):
    return spec.get("encoding", {}).get("x", {}).get("title") == "epoch"


@pytest.mark.parametrize("name", ["feature", "joint", "unfrozen"])
def test_it_can_be_reproduced(name, mmx, runs):
    manifest = json.loads((runs / name / "manifest.json").read_text())
    code, out, err = mmx("reproduce", str(runs / name), f"data_dir={runs.parent / 'data'}")
    again = RunDirectory(Path(out.splitlines()[-1]))
    assert again.status()["status"] == "done", err
    assert Summary.from_json(again.summary()).format == 1
    shutil.rmtree(again.path)
    same = all(
        metadata.version(package) == manifest["versions"][package] for package in ("torch", "numpy")
    )
    capability = torch.backends.cpu.get_cpu_capability()
    if same and capability == manifest["machine"]["cpu_capability"] and sys.platform == "linux":
        assert code == 0
        assert "bit for bit" in err


def test_a_search_of_before_is_read(runs):
    found = read_search(RunDirectory(runs / "auto"))
    assert found is not None
    assert found.winner == "transfer=parameter"
    assert found.format == 0
    assert found.to_json() == json.loads((runs / "auto" / "auto.json").read_text())


def test_rm_removes_a_copy_alone(mmx, runs):
    shutil.copytree(runs / "parameter", runs / "copy")
    code, _, err = mmx("rm", "--yes", str(runs / "copy"))
    assert code == 0, err
    assert not (runs / "copy").exists()
    assert (runs / "parameter").exists()
