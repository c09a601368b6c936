"""``mmx compare`` and what ``mmx reproduce`` says of a path that leads to no run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmx.cli import main
from mmx.reports import run_comparison
from mmx.runs.directory import RunDirectory
from mmx.runs.identity import NOTHING, NOTHING_THAT_COUNTS
from mmx.runs.manifest import Manifest
from mmx.terminal import Console
from mmx.verbs import compare, find_verbs
from mmx.verbs.compare import MOST
from mmx.verbs.completion import complete_line


def made(where: Path, name: str, accuracy: float, **more: Any) -> Path:
    """Make a run of this accuracy, with as many classes as make a comparison long."""
    directory = RunDirectory.create(
        where,
        label="x",
        fingerprint="f" * 32,
        config={"trainer": {"epochs": more.get("epochs", 1)}, "transfer": {"head": "knn"}},
        manifest=more.get("manifest", Manifest()),
        files={},
        exactly=where / name,
    )
    classes = {str(place): {"recall": accuracy / (place + 2)} for place in range(20)}
    summary = {
        "source": {"steps": 3},
        "target": {"classes": classes, "metrics": {"test": {"accuracy": accuracy}}},
        "control": {"scratch": {"metrics": {"test": {"accuracy": accuracy / 3}}}},
        "gain": {"value": accuracy - 0.1, "interval": [0.0, accuracy]},
    }
    if more.get("done", True):
        directory.write_json("summary.json", summary)
    return directory.path


def test_causes_first_then_gain_and_test_metrics_and_no_more_than_fit(tmp_path, capsys):
    one, two = made(tmp_path, "a", 1 / 3), made(tmp_path, "b", 0.5, epochs=2)
    assert main(["compare", str(one), str(two)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:7] == [
        "what differs around the numbers:",
        "  trainer.epochs: 1 -> 2",
        "24 numbers differ, 1 identical",
        "  gain.value: 0.233333 -> 0.4  (+0.167)",
        "  gain.interval: [0, 0.333333] -> [0, 0.5]",
        "  target.metrics.test.accuracy: 0.333333 -> 0.5  (+0.167)",
        "  control.scratch.metrics.test.accuracy: 0.111111 -> 0.166667  (+0.0556)",
    ]
    assert len(lines) == 3 + MOST + 2
    assert lines[-1] == f"no paired comparison: {two} keeps no scores of its test rows"
    assert lines[-2] == f"  … and 12 more: mmx compare {one} {two} --all"
    assert main(["compare", str(one), str(two), "--all"]) == 0
    every = capsys.readouterr().out.splitlines()
    assert every[: len(lines) - 2] == lines[:-2]
    assert len(every) == 3 + 24 + 1


def test_the_same_run_twice_is_identical(tmp_path, capsys):
    one = made(tmp_path, "a", 0.5)
    assert main(["compare", str(one), str(one)]) == 0
    assert capsys.readouterr().out == "identical: all 25 numbers, bit for bit\n"


@pytest.mark.parametrize(
    ("code", "said"), [("one", NOTHING), ("other", NOTHING_THAT_COUNTS)], ids=["same", "other"]
)
def test_files_without_numbers_that_changed_are_not_nothing(tmp_path, capsys, code, said):
    identity = {"config": "c", "code": {"mmx": "m"}}
    manifests = [{"identity": identity, "code": {"digest": each}} for each in ("one", code)]
    paths = [
        made(tmp_path, name, 0.5, manifest=Manifest.from_json(manifest))
        for name, manifest in zip("ab", manifests, strict=True)
    ]
    compare.print_comparison(Console(), *(RunDirectory.open(path) for path in paths))
    lines = capsys.readouterr().out.splitlines()
    assert ("  code.digest: one -> other" in lines) == (code == "other")
    assert lines[-2:] == [said, "identical: all 25 numbers, bit for bit"]


def test_one_run_alone_is_refused(tmp_path, capsys):
    run = made(tmp_path, "a", 0.5)
    assert main(["compare", str(run)]) == 2
    assert capsys.readouterr().err == (
        f"mmx: {run} is one run: there is nothing to compare it with\n"
        f"  tip: mmx compare {run} OTHER   (mmx list shows the runs)\n"
    )


def test_a_run_that_is_not_done_has_no_numbers(tmp_path, capsys):
    one, two = made(tmp_path, "a", 0.5), made(tmp_path, "b", 0.5, done=False)
    assert main(["compare", str(one), str(two)]) == 1
    assert capsys.readouterr().err == (
        f"mmx: {two} is not done: it has no numbers\n  tip: mmx resume {two}\n"
    )


@pytest.mark.parametrize("verb", [n for n, v in find_verbs().items() if "runs" in v.completes])
def test_a_path_that_leads_to_no_run_is_a_mistake_in_the_line(tmp_path, capsys, verb):
    more = {"compare": [str(tmp_path)], "mirror": ["--to", "tensorboard"]}.get(verb, [])
    words = [verb, str(tmp_path / "nix"), *more]
    assert main(words) == 2
    said = f"mmx: {tmp_path}/nix does not exist\n  tip: mmx list shows the runs\n"
    assert capsys.readouterr().err == said


def test_of_a_sweep_its_runs_are_named(tmp_path, capsys):
    runs = [made(tmp_path / "sweep" / "runs", f"r{place}", 0.5) for place in range(7)]
    assert main(["reproduce", str(tmp_path / "sweep")]) == 2
    assert capsys.readouterr().err == (
        f"mmx: {tmp_path}/sweep is not a run directory: it has no config.yaml\n"
        f"  tip: it holds runs: {', '.join(map(str, runs[:5]))} and 2 more\n"
    )


def test_every_flag_of_reproduce_has_a_text(capsys):
    with pytest.raises(SystemExit):
        main(["reproduce", "--help"])
    assert "--config-dir DIR  the folder of your own YAML" in capsys.readouterr().out


def test_both_runs_are_completed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made(tmp_path / "outputs" / "runs", "a", 0.5)
    assert complete_line("mmx compare ") == ["outputs/runs/a"]
    assert complete_line("mmx compare outputs/runs/a ") == ["outputs/runs/a"]
    assert complete_line("mmx compare outputs/runs/a outputs/runs/a ") == []
    assert complete_line("mmx reproduce outputs/runs/a ") == []


def test_numbers_that_an_older_run_did_not_record_have_not_drifted(tmp_path, capsys):
    old, new = (RunDirectory(made(tmp_path, name, 0.5)) for name in "ab")
    summary = new.summary()
    summary["target"]["every_metric"] = {"kappa": 0.4}
    new.write_json("summary.json", summary)
    for pair in ((old, new), (new, old)):
        assert run_comparison.compare(*pair).drifted == {}
    summary["target"]["every_metric"] = {"kappa": 0.5}
    other = RunDirectory(made(tmp_path, "c", 0.5))
    other.write_json("summary.json", summary)
    drifted = run_comparison.compare(new, other).drifted
    assert drifted == {"target.every_metric.kappa": (0.4, 0.5)}
