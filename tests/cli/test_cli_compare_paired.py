"""``mmx compare`` on the same test rows: two runs, two groups of runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mmx.cli import main
from mmx.evaluation.gain_intervals import bonferroni_level, find_seed_interval
from mmx.evaluation.mcnemar import Discordant
from mmx.evaluation.sample_metric import SampleScores
from mmx.reports.pairing import Side, compare_sides
from mmx.runs import sample_scores
from mmx.runs.directory import RunDirectory
from mmx.runs.manifest import Manifest

ROWS = 60
SAME = {"tabular": "a" * 32, "labels": "b" * 32}


def right(count: int, start: int = 0) -> SampleScores:
    """Return scores of a model that is right on so many rows."""
    hits = np.zeros((ROWS, 1))
    hits[start : start + count] = 1
    return SampleScores("accuracy", hits, np.arange(ROWS))


def made(
    where: Path,
    name: str,
    found: SampleScores,
    *,
    seed: int = 0,
    contents: dict[str, str] | None = None,
) -> Path:
    directory = RunDirectory.create(
        where,
        label="x",
        fingerprint=name.ljust(32, "f"),
        config={"seed": seed},
        manifest=Manifest(data={"target": name}),
        files={},
        exactly=where / name,
    )
    test = {"accuracy": found.value}
    summary = {
        "seed": seed,
        "target": {"metrics": {"test": test, "val": test}, "task": "t"},
    }
    directory.write_json("summary.json", summary)
    sample_scores.write_scores(directory, found, {}, SAME if contents is None else contents)
    return directory.path


def last(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out.splitlines()[-1]


def test_two_runs_on_the_same_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = made(tmp_path, "a", right(30)), made(tmp_path, "b", right(42, 2))
    assert main(["compare", str(one), str(two)]) == 0
    counts = Discordant(14, 2, ROWS)
    low, high = counts.interval(0.95)
    assert last(capsys) == (
        "on the same test rows: B 0.700, A 0.500 accuracy: +0.200 (95 % interval "
        f"{low:+.3f} … {high:+.3f} over 60 test rows, one seed): B is better; B alone is right on "
        f"14 rows, A alone on 2 (McNemar's exact test: p = {counts.p:.2g})"
    )
    assert main(["compare", str(two), str(one)]) == 0
    assert "B is worse; B alone is right on 2 rows" in last(capsys)


def test_four_rows_to_none_are_no_clear_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = made(tmp_path, "a", right(30)), made(tmp_path, "b", right(34))
    assert main(["compare", str(one), str(two)]) == 0
    said = last(capsys)
    assert "): no clear difference; B alone is right on 4 rows, A alone on 0" in said
    assert said.endswith("p = 0.12)")


@pytest.mark.parametrize(
    ("rows", "contents", "why"),
    [
        (np.arange(ROWS) + 1, SAME, "they were tested on different rows of the data"),
        (np.arange(ROWS), {**SAME, "labels": "c"}, "their test rows differ in labels"),
        (np.arange(ROWS), {**SAME, "tabular": "c"}, "their test rows differ in tabular"),
        (np.arange(ROWS), {}, "their data differs, and it is not known whether the test rows do"),
    ],
)
def test_other_rows_make_no_pairs(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rows: npt.NDArray[np.int64],
    contents: dict[str, str],
    why: str,
) -> None:
    one = made(tmp_path, "a", right(30))
    two = made(
        tmp_path, "b", SampleScores("accuracy", right(34).statistics, rows), contents=contents
    )
    assert main(["compare", str(one), str(two)]) == 0
    assert last(capsys) == f"no paired comparison of {one} and {two}: {why}"
    assert main(["compare", str(one), "--with", str(two)]) == 1
    assert why in capsys.readouterr().err


def test_another_modality_of_the_same_rows_is_comparable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = made(tmp_path, "a", right(30))
    two = made(tmp_path, "b", right(44), contents={"image": "c", "labels": SAME["labels"]})
    assert main(["compare", str(one), str(two)]) == 0
    assert "B is better" in last(capsys)


def test_two_groups_are_compared_seed_by_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = [right(20 + seed, seed) for seed in range(3)]
    new = [right(38 + 2 * seed, seed) for seed in range(3)]
    ours = [made(tmp_path, f"b{s}", each, seed=s) for s, each in enumerate(new)]
    theirs = [made(tmp_path, f"a{s}", each, seed=s) for s, each in enumerate(old)]
    # The order in which they are typed does not matter: seeds are paired.
    words = [*map(str, theirs), "--with", *map(str, ours[::-1])]
    assert main(["compare", *words]) == 0
    low, high = find_seed_interval(list(zip(new, old, strict=True)))
    said = capsys.readouterr().out
    assert f"({'95 % interval'} {low:+.3f} … {high:+.3f} over 60 test rows, 3 seeds)" in said
    assert "B is better; higher in 3 of 3 seeds" in said
    assert main(["compare", *words[:2], "--with", str(ours[0])]) == 1
    assert "name as many runs on both sides of --with" in capsys.readouterr().err


def test_several_sides_share_the_error(tmp_path: Path) -> None:
    sides = [
        Side(
            name,
            [
                RunDirectory(made(tmp_path, f"{name}{s}", right(count + s, place), seed=s))
                for s in range(2)
            ],
        )
        for place, (name, count) in enumerate((("concat", 10), ("gmu", 12), ("late", 50)))
    ]
    lines = compare_sides(sides)
    assert lines[0].startswith("3 comparisons on the same test rows, 98.33 % intervals")
    assert len(lines) == 4
    assert f"{100 * bonferroni_level(3):.4g} % interval" in lines[1]
    assert re.search(r"late 0.842, gmu 0.208 accuracy: \+0.633", lines[3])


def test_one_run_says_what_to_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(made(tmp_path, "0", right(30)))]) == 2
    assert "tip: mmx compare" in capsys.readouterr().err
