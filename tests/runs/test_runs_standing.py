"""A sweep started again: what is skipped, gone on with, run again, and why; what is averaged."""

from __future__ import annotations

import csv
import json
import random
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image as Pictures
from safetensors.torch import save_file

from mmx import stages
from mmx.cli import main
from mmx.config.composed import Composed
from mmx.encoders.image.resnet import ResNet18
from mmx.errors import Interrupted
from mmx.experiment import Experiment, identify
from mmx.runs import code, file_states, standing, surroundings
from mmx.runs.directory import RunDirectory
from mmx.runs.manifest import Manifest
from mmx.stage_id import Role
from mmx.verbs import train_sweep

pytestmark = pytest.mark.slow

Say = Callable[..., tuple[int, str, str]]
COMMON = ("source=none", "target=table", "trainer.threads=1", "trainer.epochs=1", "device=cpu")
NUMBERS = ("target.columns={tabular: [a,b]}", "encoder.tabular.width=8", "encoder.tabular.hidden=8")
LINE = (*COMMON, "target.path=t.csv", "target.label=label", "target.split=split", *NUMBERS)


def table(path: Path, rows: int = 60, seed: int = 0, **renamed: str) -> Path:
    """Write a table of two classes; ``renamed`` gives columns other names."""
    draw = random.Random(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    heads = ["a", "b", "label", "other", "split", "picture"]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([renamed.get(head, head) for head in heads])
        for row in range(rows):
            label, split = row % 2, ("train", "train", "val", "test")[row // 2 % 4]
            cells = [label + draw.gauss(0, 1), draw.gauss(0, 1), f"c{label}", f"d{row % 3}", split]
            writer.writerow([*cells, f"{row % 6}.png"])
    return path


@pytest.fixture
def say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Say]:
    """Return ``say(*words)``: exit code, stdout and stderr of ``mmx train -m`` in a folder.

    No code that one command has imported is known to the next, as in processes of their own.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MMX_ALLOW", raising=False)
    table(tmp_path / "t.csv")

    def run(*words: str, verb: str = "train") -> tuple[int, str, str]:
        code._KNOWN.clear()
        surroundings._list_versions.cache_clear()
        for name in ("own_parts", "own_help"):
            sys.modules.pop(name, None)
        flags = ["-m"] if verb == "train" else []
        done = main([verb, *flags, *words])
        return done, *capsys.readouterr()

    yield run
    identify.forget_data()
    surroundings._list_versions.cache_clear()


def rows(out: str) -> list[dict[str, str]]:
    with (Path(out.strip().splitlines()[-1]) / "summary.csv").open() as file:
        return list(csv.DictReader(file))


def count(folder: str) -> int:
    return len(list((Path(folder.strip()) / "runs").iterdir()))


def test_what_is_as_it_was_is_skipped(say: Say) -> None:
    done, out, _ = say(*LINE, "control=none", "seed=1,2")
    assert done == 0
    for _ in range(2):
        done, again, err = say(*LINE, "control=none", "seed=1,2")
        assert (done, again, err.count("skipped ")) == (0, out, 2)
    assert count(out) == 2


@pytest.mark.parametrize("change", ["fewer rows", "a label", "a split", "an input"])
def test_changed_data_runs_again_and_says_so(say: Say, tmp_path: Path, change: str) -> None:
    words = (*LINE, "control=none", "seed=1,2")
    _, out, _ = say(*words)
    old = rows(out)
    lines = (tmp_path / "t.csv").read_text().splitlines()
    if change == "fewer rows":
        lines = lines[:40]
    elif change == "a label":
        lines[5] = lines[5].replace("c0", "c1")
    elif change == "a split":
        lines[1], lines[7] = lines[1].replace("train", "test"), lines[7].replace("test", "train")
    else:
        lines[1] = "9" + lines[1]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    done, again, err = say(*words)
    assert (done, again) == (0, out)
    assert "skipped" not in err
    for row in old:
        assert f"runs again {row['job']}: the data of target changed since {row['run']}\n" in err
    new = rows(out)
    assert not {row["run"] for row in old} & {row["run"] for row in new}
    for row in new:
        metrics = RunDirectory(Path(row["run"])).summary()["target"]["metrics"]["test"]
        assert float(row["test.loss"]) == metrics["loss"]
    assert say(*words)[2].count("skipped ") == 2


def test_the_columns_of_a_table_that_nothing_reads_may_change(say: Say, tmp_path: Path) -> None:
    words = (*LINE, "control=none", "seed=1")
    say(*words)
    text = (tmp_path / "t.csv").read_text()
    (tmp_path / "t.csv").write_text(text.replace("d1", "e1"))
    assert "skipped" in say(*words)[2]


def test_a_changed_picture_behind_a_table_of_paths_runs_again(say: Say, tmp_path: Path) -> None:
    for name in range(6):
        Pictures.new("RGB", (8, 8), (40 * name, 0, 0)).save(tmp_path / f"{name}.png")
    words = (*COMMON, "target.path=t.csv", "target.label=label", "target.split=split")
    words += ("target.columns={image: picture}", "target.image.size=8", "control=none", "seed=1")
    words += ("encoder.image.width=8",)
    assert say(*words)[0] == 0
    Pictures.new("RGB", (8, 8), (0, 255, 0)).save(tmp_path / "3.png")
    assert "the data of target changed since" in say(*words)[2]


def test_data_that_cannot_be_read_any_more_fails_and_shows_no_old_numbers(
    say: Say, tmp_path: Path
) -> None:
    words = (*LINE, "control=majority", "seed=1,2")
    _, out, _ = say(*words)
    folder = Path(out.strip())
    assert (folder / "gains.csv").exists()
    (tmp_path / "t.csv").rename(tmp_path / "elsewhere.csv")
    done, again, err = say(*words)
    assert (done, again) == (1, out)
    assert [row["status"] for row in rows(out)] == ["failed", "failed"]
    assert "test.accuracy" not in rows(out)[0]
    assert "there is no table" in err
    assert not list(folder.glob("gains.*"))


def test_data_that_was_moved_is_known_by_its_content(say: Say, tmp_path: Path) -> None:
    words = (*LINE, "control=none", "seed=1", "hydra.sweep.dir=here")
    say(*words)
    (tmp_path / "t.csv").rename(tmp_path / "moved to.csv")
    done, out, err = say(*words, 'target.path="moved to.csv"')
    assert (done, out) == (0, "here\n")
    assert "skipped" in err
    assert count(out) == 1


def test_a_sweep_of_many_jobs_reads_data_once(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*LINE, "control=none", "seed=1", "optimizer.lr=0.1,0.2,0.3,0.4")
    say(*words)
    read: list[object] = []
    before = identify._read_fingerprint

    def read_and_count(task: Any, node: Any) -> str | None:
        read.append(task)
        return before(task, node)

    monkeypatch.setattr(identify, "_read_fingerprint", read_and_count)
    assert say(*words)[2].count("skipped ") == 4
    assert len(read) == 1


def test_records_of_finished_runs_are_read_once_and_again_where_a_file_changes(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_states, "SETTLED_NS", -(10**12))
    words = (*LINE, "control=none", "seed=1,2")
    say(*words)
    read: list[Path] = []
    before = RunDirectory.manifest

    def count_runs(directory: RunDirectory) -> Manifest:
        read.append(directory.path)
        return before(directory)

    monkeypatch.setattr(RunDirectory, "manifest", count_runs)
    standing._RECORDS.clear()
    assert say(*words)[2].count("skipped ") == 2
    assert len(read) == len(set(read)) == 2
    assert say(*words)[2].count("skipped ") == 2
    assert len(read) == 2
    for name in ("manifest.json", "status.json"):
        first = Path(rows(say(*words)[1])[0]["run"])
        text = (first / name).read_text()
        (first / name).write_text(text.replace("d", "D", 1))
        read.clear()
        assert "runs again" in say(*words)[2]
        assert first in read


def test_a_run_that_goes_on_is_read_again_since_its_process_may_be_killed(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_states, "SETTLED_NS", -(10**12))
    run = RunDirectory(Path(rows(say(*LINE, "control=none", "seed=1")[1])[0]["run"]))
    standing._RECORDS.clear()
    for status in ("running", "killed"):  # which no file says: the process is gone
        monkeypatch.setattr(RunDirectory, "status", lambda _, now=status: {"status": now})
        assert standing._read_records(run)[1] == status


def test_a_finished_run_that_does_not_say_what_data_it_has_seen_runs_again(say: Say) -> None:
    words = (*LINE, "control=none", "seed=1")
    _, out, _ = say(*words)
    run = RunDirectory(Path(rows(out)[0]["run"]))
    recorded = run.manifest().to_json()
    run.write_manifest(Manifest.from_json({**recorded, "data": {}}))
    _, again, err = say(*words)
    assert "the data cannot be compared with what" in err
    assert "runs again" in err
    assert count(again) == 2


def test_changed_code_of_mmx_runs_again(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*LINE, "control=none", "seed=1")
    say(*words)
    monkeypatch.setattr(identify, "numbers_digest", lambda: "other")
    assert "the code of mmx changed since" in say(*words)[2]
    assert "skipped" in say(*words)[2]


def test_another_version_of_a_library_runs_again(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*LINE, "control=none", "seed=1")
    say(*words)
    monkeypatch.setattr(surroundings.metadata, "version", lambda name: "99")
    assert f"torch {torch.__version__.partition('+')[0]} -> 99" in say(*words)[2]


OWN = """
from mmx.fusion.concat import Concat
{imported}
class First(Concat):
    {body}
class Second(Concat):
    pass
"""


def test_changed_code_of_an_allowed_package_runs_again(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    own, helper = tmp_path / "own_parts.py", tmp_path / "own_help.py"
    own.write_text(OWN.format(imported="import own_help", body="pass"))
    helper.write_text("A = 1\n")
    words = (*LINE, "control=none", "seed=1", "fusion._target_=own_parts.First", "--allow")
    words = (*words, "own_parts")
    assert say(*words)[0] == 0
    assert "skipped" in say(*words)[2]
    own.write_text(OWN.format(imported="import own_help", body="A = 1"))
    assert "the code of own_parts changed since" in say(*words)[2]
    helper.write_text("A = 2\n")  # a module next to it that it imports counts as well
    assert "the code of own_parts changed since" in say(*words)[2]
    (tmp_path / "unrelated.py").write_text("B = 1\n")
    assert "skipped" in say(*words)[2]


def test_a_changed_weight_file_runs_again_and_a_moved_one_does_not(
    say: Say, tmp_path: Path
) -> None:
    for name in range(6):
        Pictures.new("RGB", (8, 8), (40 * name, 0, 0)).save(tmp_path / f"{name}.png")
    torch.manual_seed(0)
    net = ResNet18.build()
    file = tmp_path / "my weights.safetensors"
    save_file(net.state_dict(), file)
    words = (*COMMON, "target.path=t.csv", "target.label=label", "target.split=split")
    words += ("target.columns={image: picture}", "target.image.size=8", "control=none", "seed=1")
    words = tuple(word for word in words if word != "source=none")
    words += ("source=published", "transfer=parameter", "encoder/image=resnet18")
    words += ("encoder.image.stem=standard", "hydra.sweep.dir=here")
    weights = f'encoder.image.weights="{file}"'
    done, _, err = say(*words, weights)
    assert done == 0, err
    (run,) = (tmp_path / "here" / "runs").iterdir()
    recorded = RunDirectory(run).manifest()
    assert list(recorded.identity.weights) == ["image"]
    moved = tmp_path / "moved.safetensors"
    shutil.copy(file, moved)
    assert "skipped" in say(*words, f"encoder.image.weights={moved}")[2]
    net.conv1.weight.data += 1
    save_file(net.state_dict(), file)
    done, _, err = say(*words, weights)
    assert done == 0, err
    assert "weights of encoder.image: my weights.safetensors changed since" in err
    prints = {RunDirectory(each).manifest().fingerprint for each in run.parent.iterdir()}
    assert len(prints) == 2
    done, _, err = say(*words, "encoder.image.weights=moved.safetensor")
    assert done == 2
    assert f"encoder.image.weights={tmp_path}/moved.safetensor: there is no such file" in err
    assert f"type:     encoder.image.weights={moved}" in err


def interrupted(
    experiment: Experiment, directory: RunDirectory, *arguments: object, **options: object
) -> None:
    """Open the data, as a run does, and stop."""
    fingerprint = experiment.target.load().fingerprint
    directory.write_manifest(directory.manifest().with_data(Role.TARGET, fingerprint))
    raise Interrupted("stopped", signal_number=2)


def test_a_job_that_was_interrupted_goes_on_in_its_directory(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*LINE, "control=none", "seed=1,2")
    with monkeypatch.context() as patch:
        patch.setattr(stages, "run", interrupted)
        done, out, _ = say(*words)
    assert done == 130
    assert [row["status"] for row in rows(out)] == ["interrupted", "not started"]
    row = rows(out)[0]
    done, again, err = say(*words)
    assert (done, again) == (0, out)
    assert f"resuming {row['job']}: interrupted in {row['run']}\n" in err
    new = rows(out)
    assert new[0]["run"] == row["run"]
    assert count(out) == 2
    run = RunDirectory(Path(row["run"]))
    assert run.manifest().argv == ["mmx", "train", "-m", *words]
    assert run.manifest().resumed == [["mmx", "train", "-m", *words]]
    _, other, _ = say(*words, "hydra.sweep.dir=whole")
    for one, two in zip(new, rows(other), strict=True):
        assert one["test.loss"] == two["test.loss"]


def test_a_killed_worker_of_a_launcher_ends_in_the_table_of_what_is_done(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(task: train_sweep.SweepJob, jobs: Sequence[Composed], here: object) -> None:
        task(jobs[0])
        raise BrokenProcessPool("The exit codes of the workers are {SIGKILL(-9)}")

    words = (*LINE, "control=none", "seed=1,2")
    with monkeypatch.context() as patch:
        patch.setattr(train_sweep, "run_jobs", broken)
        done, out, err = say(*words)
    assert done == 1
    assert "a worker process was killed: the same command goes on with what is not done\n" in err
    assert [row["status"] for row in rows(out)] == ["done", "not started"]
    done, again, err = say(*words)
    assert (done, again, err.count("skipped ")) == (0, out, 1)


def test_a_job_whose_data_changed_since_it_was_interrupted_starts_over(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*LINE, "control=none", "seed=1")
    with monkeypatch.context() as patch:
        patch.setattr(stages, "run", interrupted)
        _, out, _ = say(*words)
    table(tmp_path / "t.csv", rows=48)
    done, _, err = say(*words)
    assert (done, count(out)) == (0, 2)
    assert "resuming" not in err
    row = next(line for line in err.splitlines() if line.startswith("runs again "))
    assert ": the data of target changed since " in row


def test_an_interrupted_job_of_which_a_file_is_damaged_starts_over_and_says_so(
    say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*LINE, "control=none", "seed=1")
    with monkeypatch.context() as patch:
        patch.setattr(stages, "run", interrupted)
        _, out, _ = say(*words)
    row = rows(out)[0]
    with (Path(row["run"]) / "config.yaml").open("a") as file:
        file.write("seed: 2\n")
    done, _, err = say(*words)
    assert (done, count(out)) == (0, 2)
    assert f"runs again {row['job']}: {row['run']}/config.yaml" in err


@pytest.mark.parametrize("name", ["manifest.json", "status.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", None])
def test_a_run_that_cannot_be_read_runs_again_and_says_so(
    say: Say, name: str, text: str | None
) -> None:
    words = (*LINE, "control=none", "seed=1")
    _, out, _ = say(*words)
    row = rows(out)[0]
    file = Path(row["run"]) / name
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    done, again, err = say(*words, "optimizer.lr=0.001", "hydra.sweep.dir=" + out.strip())
    assert (done, again) == (0, out)
    assert "runs again" not in err  # it is of another job
    done, again, err = say(*words, "hydra.sweep.dir=" + out.strip())
    assert (done, again) == (0, out)
    (line,) = [line for line in err.splitlines() if line.startswith("runs again ")]
    assert row["run"] in line
    assert rows(out)[0]["run"] != row["run"]
    assert "skipped" in say(*words)[2]


def test_a_run_of_an_older_mmx_runs_again(say: Say) -> None:
    words = (*LINE, "control=none", "seed=1")
    _, out, _ = say(*words)
    run = RunDirectory(Path(rows(out)[0]["run"]))
    recorded = run.manifest().to_json()
    for name in ("identity", "places", "names"):
        del recorded[name]
    run.write_manifest(Manifest.from_json(recorded))
    plan = Path(out.strip()) / "plan.json"
    plan.write_text(json.dumps({"jobs": [{"overrides": "seed=1", "fingerprint": "x"}]}))
    _, again, err = say(*words)
    assert again == out
    assert f"{run.path} was made by an older mmx" in err.replace(f"{Path.cwd()}/", "")
    assert "skipped" in say(*words)[2]


@pytest.mark.parametrize("text", ["", "{", "{}", '{"target": 3}'])
def test_a_finished_run_without_its_numbers_runs_again(say: Say, text: str) -> None:
    words = (*LINE, "control=none", "seed=1")
    _, out, _ = say(*words)
    row = rows(out)[0]
    (Path(row["run"]) / "summary.json").write_text(text)
    done, _, err = say(*words)
    assert done == 0
    assert f"{row['run']}/summary.json" in err
    assert "runs again" in err
    assert rows(out)[0]["run"] != row["run"]


def groups_of(out: str) -> list[tuple[str, int]]:
    """Return the first column of a sweep's groups, and of how many seeds each is."""
    with (Path(out.strip()) / "gains.csv").open() as file:
        return [(next(iter(row.values())), int(row["seeds"])) for row in csv.DictReader(file)]


NAMES = {
    "spaces": ("shoe size", "shoe type"),
    "quotes": ("size 'EU'", "size 'US'"),
    "signs": ("a=b", "a=c"),
    "umlauts": ("größe", "große"),
    "commas": ("x, y", "x, z"),
}


@pytest.mark.parametrize("kind", NAMES)
def test_two_labels_are_two_groups_of_two_seeds(say: Say, tmp_path: Path, kind: str) -> None:
    one, two = NAMES[kind]
    table(tmp_path / "t.csv", label=one, other=two)
    words = [text for text in LINE if not text.startswith("target.label=")]
    given = f'target.label="{one}","{two}"'
    done, out, err = say(*words, given, "control=majority", "seed=1,2")
    assert done == 0, err
    assert [seeds for _, seeds in groups_of(out)] == [2, 2]
    assert len({label for label, _ in groups_of(out)}) == 2
    found = rows(out)
    for label, _ in groups_of(out):
        runs = [RunDirectory(Path(r["run"])) for r in found if r["target.label"] == label]
        assert len({run.config()["target"]["label"] for run in runs}) == 1
        assert sorted(run.config()["seed"] for run in runs) == [1, 2]


def test_two_files_with_spaces_in_their_path_are_two_groups(say: Say, tmp_path: Path) -> None:
    for seed, name in enumerate(("one", "two")):
        table(tmp_path / "my data" / f"{name}.csv", seed=seed)
    words = [text for text in LINE if not text.startswith("target.path=")]
    given = 'target.path="my data/one.csv","my data/two.csv"'
    done, out, err = say(*words, given, "control=majority", "seed=1,2")
    assert done == 0, err
    assert groups_of(out) == [("my data/one.csv", 2), ("my data/two.csv", 2)]


def test_a_value_that_is_the_seed_makes_groups_of_one(say: Say) -> None:
    done, out, err = say(*LINE, "control=majority", "seed=1,2", "optimizer.lr=${seed}")
    assert done == 0, err
    assert groups_of(out) == [("1", 1), ("2", 1)]


def test_seeds_that_cut_their_own_validation_rows_are_one_group(say: Say) -> None:
    words = [text for text in LINE if not text.startswith("target.split=")]
    done, out, err = say(*words, "control=majority", "seed=1,2")
    assert done == 0, err
    assert len(groups_of(out)) == 1
    with (Path(out.strip()) / "gains.csv").open() as file:
        assert [row["seeds"] for row in csv.DictReader(file)] == ["2"]


def test_own_variants_of_one_file_are_told_apart(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_parts.py").write_text(OWN.format(imported="", body="pass"))
    folder = tmp_path / "conf" / "fusion"
    folder.mkdir(parents=True)
    for name, kind in (("early", "First"), ("late", "Second"), ("wide", "First")):
        width = 16 if name == "wide" else 8
        (folder / f"{name}.yaml").write_text(f"_target_: own_parts.{kind}\nhidden: {width}\n")
    flags = ("--config-dir", "conf", "--allow", "own_parts")
    done, out, err = say(*flags, *LINE, "control=none", "fusion=early,late,wide")
    assert done == 0, err
    assert [row["fusion"] for row in rows(out)] == ["early", "late", "wide"]
    for row in rows(out):
        run = RunDirectory(Path(row["run"]))
        assert run.summary()["fusion"] == row["fusion"]
        assert f"-{row['fusion']}_" in run.path.name
        assert run.manifest().argv == [
            "mmx", "train", "-m", *flags, *LINE, "control=none", "fusion=early,late,wide"
        ]  # fmt: skip
    done, out, err = say(*flags, *LINE, "control=none", "fusion._target_=own_parts.First")
    assert done == 0, err
    assert [row["fusion"] for row in rows(out)] == ["first"]
