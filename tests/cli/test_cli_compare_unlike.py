"""``mmx compare`` of runs whose test metrics differ in kind, and of names that pdflatex lacks."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from latex_paper import compile_paper

from mmx.cli import main
from mmx.runs.directory import RunDirectory
from mmx.runs.manifest import Manifest

NUMBERS = {"mse": 0.5, "r2": 0.4}
CLASSES = {"accuracy": 0.6, "f1_macro": 0.5}
LABELS = {"f1_macro": 0.3}


def make_run(folder: Path, target: str, fusion: str, metrics: dict[str, float]) -> None:
    """Make a finished run with what a comparison reads."""
    config = {"seed": 1, "fusion": {"_target_": "f.F", "name": fusion}}
    directory = RunDirectory.create(
        folder,
        label="x",
        fingerprint=f"{target}{fusion}".encode().hex()[:32].ljust(32, "0"),
        config={**config, "target": {"_target_": "t.T", "name": target}},
        manifest=Manifest(
            seed=1, names={"fusion": fusion, "target": target}, data={"target": target}
        ),
        files={},
        exactly=folder / f"{target}-{fusion}",
    )
    every = {split: {"loss": 0.5, **metrics} for split in ("val", "test")}
    directory.write_json("summary.json", {
        "format": 1, "run": directory.path.name, "source": {"task": "none"}, "fusion": fusion,
        "seed": 1, "target": {"task": target, "metrics": every}, "transfer": {"mode": "none"},
        "timing": {"target_s": 1.0, "source_s": 0.0, "source_cached": False, "total_s": 2.0,
                   "train_samples_per_s": 1.0, "seconds_per_sample": 1.0},
        "params": {"total": 10, "trainable": 10, "shared": 0}, "cost": {"flops_per_sample": 1},
    })  # fmt: skip
    directory.set_status("done")


def find_tip(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the tip of a comparison that is refused for want of a common metric."""
    assert main(["compare", *words]) == 2
    said, tip = capsys.readouterr().err.split("\n  tip: ")
    assert said.startswith("mmx: the runs have no test metric in common: some have ")
    return tip.rstrip("\n")


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make two groups of classes in ``my runs``, and one of numbers and one of labels in ``b``."""
    monkeypatch.chdir(tmp_path)
    for fusion in ("concat", "gated"):
        make_run(Path("my runs", "runs"), "photos", fusion, CLASSES)
    make_run(Path("b", "runs"), "prices", "concat", NUMBERS)
    make_run(Path("b", "runs"), "tags", "gated", LABELS)


@pytest.mark.usefixtures("folders")
def test_the_tip_names_the_folders_that_were_given_and_works(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tip = find_tip(capsys, "my runs", "b", "seed=1", "--by", "fusion,target")
    given = "mmx compare 'my runs' b seed=1 --by fusion,target"
    assert tip == f"{given} 'accuracy!=null'"
    assert main(shlex.split(tip)[1:]) == 0
    shown = capsys.readouterr().out
    assert "photos" in shown
    assert "prices" not in shown


@pytest.mark.usefixtures("folders")
def test_groups_of_one_kind_each_are_sent_to_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["b", "--format", "json"]
    assert find_tip(capsys, *words) == "mmx list   (which other runs there are)"
    assert main(["compare", *words, "--metric", "accuracy"]) == 2
    said = capsys.readouterr().err
    assert said == "mmx: --metric accuracy: all runs have loss\n  tip: --metric loss\n"


@pytest.mark.usefixtures("folders")
def test_latex_names_what_pdflatex_does_not_print(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["compare", "my runs", "--by", "fusion,target", "--format", "latex"]
    assert main(words) == 0
    plain = capsys.readouterr()
    assert plain.err == ""
    assert "pdflatex" not in plain.out
    make_run(Path("my runs", "runs"), "天空", "gated", CLASSES)
    make_run(Path("my runs", "runs"), "Züge", "gated", CLASSES)
    assert main(words) == 0
    shown = capsys.readouterr()
    note = (
        "pdflatex does not know 天空: compile with lualatex or xelatex, in a font that has them "
        "(\\usepackage{fontspec} \\setmainfont{…})"
    )
    assert shown.err == f"note: {note}\n"
    assert shown.out.split("\n")[0] == f"% {note}"
    with pytest.raises(AssertionError, match="天"):
        compile_paper(tmp_path, shown.out)
    compile_paper(tmp_path, shown.out.replace("天空", "sky"))
