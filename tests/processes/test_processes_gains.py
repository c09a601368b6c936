"""Sweeps over seeds and label fractions, from the command line to the files they leave."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mmx.cli import main
from mmx.runs.directory import RunDirectory

pytestmark = pytest.mark.slow

Overrides = Callable[..., list[str]]
Tables = dict[str, Path]
Said = tuple[str, str]


@pytest.fixture
def words(tables: Tables, overrides: Overrides) -> list[str]:
    given = overrides(tables["one"], tables["two"], ("tabular",), "trainer.epochs=1")
    return [*given, "trainer.threads=1", "device=cpu"]


@pytest.fixture
def say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Return ``say(*words)``: what ``mmx train`` says in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*given: str) -> Said:
        assert main(["train", *given]) == 0
        return tuple(capsys.readouterr())  # type: ignore[return-value]

    return run


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_several_seeds_end_with_the_gain_over_them(
    words: list[str], say: Callable[..., Said]
) -> None:
    out, err = say(*words, "seeds=2", "seed=3", "control=[scratch,majority]")
    assert out.count("\n") == 1
    folder = Path(out.strip())
    assert "Gain over the control, 97.5 % intervals: all 2 hold together in 95 % of cases" in err
    assert "weighed over all groups of the table" in err
    lines = read(folder / "gains.csv")
    assert [(line["over"], line["seeds"]) for line in lines] == [
        ("scratch", "2"),
        ("majority", "2"),
    ]
    runs = [RunDirectory(path) for path in sorted((folder / "runs").iterdir())]
    assert sorted(run.manifest().seed for run in runs) == [3, 4]
    for run in runs:
        assert not {"seeds", "curve"} & run.config().keys()
        assert not any("seeds" in text for text in run.manifest().overrides)
    gains = [run.summary()["gains"]["scratch"]["value"] for run in runs]
    assert float(lines[0]["gain"]) == pytest.approx(sum(gains) / 2)
    assert json.loads((folder / "gains.json").read_text())["comparisons"] == 2
    assert (folder / "sweep.html").exists()
    soon = [run.summary()["faster"] for run in runs]
    there = [each for each in soon if each["target_steps"] is not None]
    assert lines[0]["faster_reached"] in ("", str(len(there)))  # none where scratch is at chance
    assert lines[1]["faster_reached"] == ""
    assert ("To the control's best: in how many seeds" in err) == bool(lines[0]["faster_reached"])
    again, err = say("-m", *words, "seed=3,4", "control=[scratch,majority]")
    assert again == out  # the same sweep in other words: nothing is run again
    assert err.count("skipped ") == 2


def test_a_curve_says_how_many_labels_are_enough(
    words: list[str], say: Callable[..., Said]
) -> None:
    out, err = say(*words, "curve=[0.5,1.0]")
    lines = read(Path(out.strip()) / "gains.csv")
    assert [(line["target.fraction"], line["seeds"]) for line in lines] == [
        ("0.5", "1"),
        ("1.0", "1"),
    ]
    (answer,) = json.loads((Path(out.strip()) / "gains.json").read_text())["less_data"]
    assert answer["text"] in err
    assert "over test samples alone" in err
    reached = answer["reached"]
    wanted = float(lines[1]["control_mean"])
    enough = [float(line["target_mean"]) >= wanted for line in lines]
    assert reached == (0.5 if enough[0] else 1.0 if enough[1] else None)
    assert answer["level"] == 0.95
    assert answer["certain"] in (None, reached)
    assert (answer["interval"] is not None) == (reached == 0.5)
