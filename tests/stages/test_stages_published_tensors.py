"""A checkpoint leaves out what published files hold, bit for bit, and refuses other files."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from refusals import check_error, read_error
from tiny_models import save_text_model

from mmx import execution
from mmx.cli import main
from mmx.config import compose
from mmx.experiment import Experiment, assemble
from mmx.runs.directory import RunDirectory
from mmx.stage_id import StageId
from mmx.stages import load_trained
from mmx.stages.core.cache_keys import digest_tensors
from mmx.stages.run import run as run_stages
from mmx.training import checkpoint
from mmx.training.events import Event, StopRequest

pytest.importorskip("transformers")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

CPU = torch.device("cpu")
Prepared = Callable[[list[str], Path], tuple[Experiment, RunDirectory]]
RunIn = Callable[[list[str], Path], RunDirectory]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_text_model(tmp_path / "models" / "tiny")


@pytest.fixture
def line(
    tables: dict[str, Path], overrides: Callable[..., list[str]], model: Path
) -> Callable[..., list[str]]:
    def make(*more: str) -> list[str]:
        plain = [
            each
            for each in overrides(None, tables["two"], ("text", "tabular"))
            if not each.startswith(("source=", "encoder/text", "encoder.text"))
        ]
        text = ["encoder/text=transformers", f"encoder.text.model={model}"]
        return ["source=published", *plain, *text, "encoder.text.max_tokens=8", *more]

    return make


@pytest.fixture
def frozen(run_in: RunIn, line: Callable[..., list[str]], tmp_path: Path) -> RunDirectory:
    words = line("transfer=feature", "control=[scratch,linear_probe]")
    return run_in(words, tmp_path / "outputs")


def read_target(run: RunDirectory) -> tuple[dict[str, torch.Tensor], dict]:
    return checkpoint.read_checkpoint(run.stage_file(StageId.TARGET))


def reopen(run: RunDirectory):
    config = run.config()
    with compose.composer():
        return assemble(config)


def test_a_frozen_encoder_is_not_stored_and_is_filled_in(
    frozen: RunDirectory, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file

    tensors, facts = read_target(frozen)
    assert not [name for name in tensors if name.startswith("encoders.text.")]
    assert [name for name in tensors if name.startswith("encoders.tabular.")]
    left = facts["published"]["text"]
    given = load_file(model / "model.safetensors")
    own = {name.removeprefix("encoders.text.net."): name for name in left["tensors"]}
    assert {*own} == {name for name in given if not name.startswith("pooler.")}
    assert left["bits"] == digest_tensors({own[name]: given[name] for name in own})
    loaded = load_trained(reopen(frozen), frozen, CPU).model.state_dict()
    for name, whole in own.items():
        assert torch.equal(loaded[whole], given[name]), name
    whole = run_size(frozen, "target") + sum(given[name].nbytes for name in own)
    assert whole > 3 * run_size(frozen, "target")
    # The scratch control holds no published tensor; the probe leaves its own out too.
    assert "published" not in checkpoint.read_facts(frozen.stage_file(StageId.parse("control")))
    capsys.readouterr()
    assert main(["eval", str(frozen.path), "--device", "cpu"]) == 0
    found = json.loads(capsys.readouterr().out)["test"]
    assert found == pytest.approx(frozen.summary()["target"]["metrics"]["test"])
    assert main(["predict", str(frozen.path), "--device", "cpu"]) == 0


def run_size(run: RunDirectory, stage: str) -> int:
    return sum(t.nbytes for t in checkpoint.read_checkpoint(run.stage_file(stage))[0].values())


def test_a_stage_that_was_trained_before_is_filled_in(frozen: RunDirectory) -> None:
    before, said = frozen.summary()["target"], list[str]()

    def listen(event: Event) -> None:
        said.append(event.text or "")

    again = run_stages(reopen(frozen), frozen, listen, StopRequest())
    assert "target had been trained before" in said
    assert again.to_json()["target"]["metrics"] == before["metrics"]


def test_a_control_of_the_cache_is_filled_in(
    run_in: RunIn, line: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMX_CACHE_DIR", str(tmp_path / "cache"))
    words = line("transfer=feature", "control=linear_probe")
    first = run_in(words, tmp_path / "a")
    second = run_in([*words, "fusion=gated"], tmp_path / "b")
    one, two = (run.summary()["control"]["linear_probe"] for run in (first, second))
    assert one["metrics"] == two["metrics"]
    kept = [read_kept(path) for path in (tmp_path / "cache").rglob("*.safetensors")]
    stages = [names for names in kept if any(name.startswith("head.") for name in names)]
    assert stages
    assert not [name for names in stages for name in names if name.startswith("encoders.text.")]


def read_kept(path: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return list(file.keys())


def test_a_trained_encoder_is_stored_whole_and_its_start_is_not(
    run_in: RunIn, line: Callable[..., list[str]], tmp_path: Path
) -> None:
    run = run_in(
        line("transfer=parameter", "transfer.wise_ft=curve", "control=none"), tmp_path / "c"
    )
    tensors, facts = read_target(run)
    changed = [name for name in tensors if name.startswith("encoders.text.net.encoder.")]
    assert changed
    left = facts["published"]["text"]["tensors"]
    assert {f"line.start.{name}" for name in changed} <= set(left)
    load_trained(reopen(run), run, CPU)


def test_a_run_whose_checkpoint_leaves_tensors_out_is_reproduced(
    frozen: RunDirectory, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["reproduce", str(frozen.path)]) == 0
    again = RunDirectory.open(Path(capsys.readouterr().out.split()[-1]))
    assert again.path != frozen.path
    one, two = read_target(frozen), read_target(again)
    assert two[1]["published"] == one[1]["published"]
    assert one[0].keys() == two[0].keys()
    assert all(torch.equal(each, two[0][name]) for name, each in one[0].items())
    save_text_model(model, seed=5)
    assert main(["reproduce", str(frozen.path)]) == 1
    assert "model.safetensors" in capsys.readouterr().err


def test_an_older_checkpoint_without_the_key_is_read(frozen: RunDirectory) -> None:
    path = frozen.stage_file(StageId.TARGET)
    tensors, facts = read_target(frozen)
    loaded = load_trained(reopen(frozen), frozen, CPU).model.state_dict()
    del facts["published"]
    checkpoint.write_checkpoint(path, {**loaded, **tensors}, facts)
    (frozen.path / "recorded.json").unlink(missing_ok=True)
    again = checkpoint.read_checkpoint(path)[0]
    assert again.keys() == loaded.keys()


def test_gone_and_other_files_are_refused_and_moved_ones_are_read(
    frozen: RunDirectory, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = shutil.copytree(model, tmp_path / "elsewhere")
    line = ["eval", str(frozen.path), "--device", "cpu"]
    (model / "model.safetensors").unlink()
    assert main(line) != 0
    said = capsys.readouterr().err
    assert "there is no" in said
    assert "model.safetensors" in said
    save_text_model(model, seed=5)
    capsys.readouterr()
    assert main(line) != 0
    said = " ".join(capsys.readouterr().err.split())
    assert "another file than the run started from" in said
    assert "encoder.text.model=" in said
    assert main([*line, f"encoder.text.model={moved}"]) == 0
    shutil.rmtree(model)
    assert main(line) != 0
    said = capsys.readouterr().err
    assert "tiny" in said
    assert main([*line, f"encoder.text.model={moved}"]) == 0


def test_resuming_refuses_weights_that_were_replaced(
    line: Callable[..., list[str]],
    prepared: Prepared,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    experiment, run = prepared(line("transfer=parameter"), tmp_path / "outputs")

    def interrupt(event: Event) -> None:
        if event.kind == "epoch":
            os.kill(os.getpid(), signal.SIGTERM)

    assert execution.execute(experiment, run, interrupt)["exit_code"] == 143
    kept = shutil.copytree(model, tmp_path / "kept")
    save_text_model(model, seed=5)
    capsys.readouterr()
    assert main(["resume", str(run.path)]) == 1
    error = read_error(capsys.readouterr().err)
    typed = f"mmx resume {run.path} encoder.text.model="
    check_error(error, model / "model.safetensors", run.path, types=[typed])
    assert run.status()["status"] == "interrupted"
    assert main(["resume", str(run.path), f"encoder.text.model={kept}"]) == 0
    assert run.status()["status"] == "done"
