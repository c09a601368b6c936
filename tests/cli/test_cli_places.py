"""What is not there: a device, a writable folder, a file next to the data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from refusals import Refusal, check_refusals, read_problems

from mmx.cli import main
from mmx.errors import UsageError
from mmx.runs.manifest import CodeVersion, Machine, Manifest
from mmx.runs.surroundings import digest_code
from mmx.verbs import resume, train_sweep
from mmx.verbs.opening import open_config
from mmx.verbs.preflight import preflight
from mmx.verbs.train_line import parse_line

Mmx = Callable[..., Any]
DIGITS = ("source=none", "target=digits")
WHY = "no CUDA device"


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    "words",
    [
        ("train", *DIGITS, "device=cuda"),
        ("train", *DIGITS, "device=cuda", "seeds=2"),
        ("train", "-m", *DIGITS, "device=cpu,cuda"),
        ("rank", *DIGITS, "device=cuda"),
    ],
)
def test_a_gpu_that_is_not_there_leaves_no_run_behind(mmx: Mmx, words: tuple[str, ...]) -> None:
    said = mmx(*words)  # the fixture sees to it that nothing is written
    assert (said.code, said.out) == (2, "")
    check_refusals(
        read_problems(said.err),
        [Refusal("device=cuda", (WHY,), accepted="auto, cpu", type_this="device=cpu")],
    )


def a_run(tmp_path: Path, *words: str) -> None:
    """Leave behind what a run of these words begins with."""
    (tmp_path / "run").mkdir()
    (job,) = preflight(parse_line(words), [])
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(job.experiment.config))
    (tmp_path / "run" / "manifest.json").write_text(json.dumps({"overrides": words}))


@pytest.mark.usefixtures("no_gpu")
def test_a_run_that_was_begun_on_a_gpu(mmx: Mmx, tmp_path: Path) -> None:
    a_run(tmp_path, *DIGITS, "device=cuda")
    said = mmx("resume", "run")
    assert said.code == 1
    assert said.err.endswith(
        f"mmx: run was begun with device=cuda: {WHY}\n"
        "  tip: mmx resume run device=cpu   (numbers may differ)\n"
    )
    typed = mmx("reproduce", "run", "device=cuda")
    assert (typed.code, typed.err) == (2, f"mmx: device=cuda: {WHY}\n  tip: device=cpu\n")


@pytest.mark.usefixtures("no_gpu")
def test_a_run_that_goes_on_elsewhere() -> None:
    code = CodeVersion(digest=digest_code())
    assert list(resume._list_changes(Manifest(code=code, machine=Machine(cuda=None)), "auto")) == []
    assert list(resume._list_changes(Manifest(code=code), "auto")) == []  # of an older mmx
    gpu = Manifest(code=CodeVersion(digest=""), machine=Machine(cuda="a GPU"))
    changed = "mmx's code has changed since this run began"
    assert list(resume._list_changes(gpu, "cpu")) == [changed]
    moved = "this run began on a GPU, and goes on on the CPU"
    assert list(resume._list_changes(gpu, "auto")) == [changed, moved]


@pytest.mark.usefixtures("no_gpu")
def test_the_device_of_a_trained_run(capsys: pytest.CaptureFixture[str]) -> None:
    for device, of_run in (("cpu", "cuda"), (None, "auto"), (None, "cpu"), ("auto", "cuda")):
        opened = open_config(None, {"device": of_run}, {}, device=device)
        assert opened["device"] == (device or of_run)
        assert capsys.readouterr().err == ""
    assert open_config(None, {"device": "cuda"}, {})["device"] == "auto"
    said = "note: the run was computed with device=cuda, which is not here: numbers may differ\n"
    assert capsys.readouterr().err == said
    with pytest.raises(UsageError) as error:
        open_config(None, {"device": "cpu"}, {}, device="cuda")
    assert str(error.value) == f"device=cuda: {WHY}\n  tip: device=cpu"


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        (("train", *DIGITS), "runs"),
        (("train", "-m", *DIGITS, "seed=1,2"), "sweeps/"),
        (("rank", *DIGITS), "ranks/"),
    ],
)
def test_a_folder_that_cannot_be_made(mmx: Mmx, words: tuple[str, ...], folder: str) -> None:
    said = mmx(*words, "output_dir=/dev/null")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith(f"mmx: the folder /dev/null/{folder}")
    assert said.err.endswith(
        " cannot be made: Not a directory\n  tip: output_dir=<folder>   (where results go)\n"
    )


TABLE = ("source=none", "target=table", "target.label=y", "target.columns={tabular: a}")


def test_a_relative_path_starts_in_the_working_directory(mmx: Mmx, tmp_path: Path) -> None:
    (tmp_path / "data" / "shoes").mkdir(parents=True)
    (tmp_path / "data" / "shoes" / "t.csv").touch()
    said = mmx("train", *TABLE, "target.path=shoes/t.csv")
    assert (said.code, said.out) == (2, "")
    check_refusals(
        read_problems(said.err),
        [
            Refusal(
                "target.path=shoes/t.csv",
                (tmp_path, f"{tmp_path}/data"),
                type_this="'target.path=${data_dir}/shoes/t.csv'",
            )
        ],
    )

    def path(given: str) -> str:
        (job,) = preflight(parse_line([*TABLE, f"target.path={given}"]), [])
        return str(job.experiment.config["target"]["path"])

    assert path("${data_dir}/shoes/t.csv") == f"{tmp_path}/data/shoes/t.csv"
    assert path("nowhere.csv") == f"{tmp_path}/nowhere.csv"  # said when it is opened
    (tmp_path / "shoes").mkdir()
    (tmp_path / "shoes" / "t.csv").touch()
    assert path("shoes/t.csv") == f"{tmp_path}/shoes/t.csv"


def test_a_change_that_a_reproduction_would_not_read(mmx: Mmx, tmp_path: Path) -> None:
    a_run(tmp_path, *DIGITS)
    said = mmx("reproduce", "run", "regularizer=l2_sp")
    check_refusals(
        read_problems(said.err),
        [
            Refusal(
                "regularizer=l2_sp",
                ("source", "target"),
                type_this="regularizer=none   (or source=<task>)",
            )
        ],
    )
    assert (said.code, said.out) == (2, "")


def test_a_reproduction_is_one_run(mmx: Mmx, tmp_path: Path) -> None:
    a_run(tmp_path, *DIGITS)
    said = mmx("reproduce", "run", "seed=1,2")
    check_refusals(
        read_problems(said.err),
        [
            Refusal(
                "seed=1,2",
                ("several values",),
                type_this="seed=1   (a run each: mmx train -m seed=1,2)",
            )
        ],
    )


def test_an_experiment_without_its_source() -> None:
    (job,) = preflight(parse_line(["experiment=cifar_halves", "source=none"]), [])
    assert job.experiment.source is None
    assert job.experiment.target.name == "cifar_last"


def test_a_sweep_that_is_stopped_before_its_first_run_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*given: object) -> None:
        raise SystemExit(130)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train_sweep, "run_jobs", stopped)
    for seeds, jobs in (("1,2", "2 jobs"), ("1", "1 job")):
        assert main(["train", "-m", *DIGITS, f"seed={seeds}"]) == 130
        out, err = capsys.readouterr()
        assert err == f"not started: {jobs}; the same command goes on with what is not done\n"
        assert (tmp_path / out.strip() / "summary.csv").is_file()
