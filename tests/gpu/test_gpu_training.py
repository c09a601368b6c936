from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmx.cli import main
from mmx.errors import Interrupted
from mmx.runs.directory import RunDirectory
from mmx.training.optimizer import Sgd
from mmx.training.randomness import make_deterministic

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_training_on_the_device_learns(bench: Callable[..., object], precision: str) -> None:
    run = bench(device="cuda", precision=precision, missing=False, trainer={"epochs": 8})
    fitted = run.fit()
    losses = [values["train.loss"] for _, _, values in run.epochs()]
    assert losses[-1] < 0.75 * losses[0]
    assert fitted.val["accuracy"] >= 0.75
    assert all(parameter.dtype == torch.float32 for parameter in run.model.parameters())


def test_resident_data_is_on_the_device(bench: Callable[..., object]) -> None:
    run, other = bench(device="cuda"), bench(device="cpu")
    rows = run.data.rows("train")[:9]
    for (_, stored), (_, expected) in zip(
        run.data.batches([rows]), other.data.batches([rows]), strict=True
    ):
        batch = run.data.assemble(rows, stored, augment=False)
        same = other.data.assemble(rows, expected, augment=False)
        for name in batch.inputs:
            assert batch.inputs[name].device.type == "cuda"
            assert torch.allclose(batch.inputs[name].cpu(), same.inputs[name], atol=1e-6)
        assert batch.target.tolist() == same.target.tolist()


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("sgd", [False, True])
def test_a_stopped_run_ends_bit_for_bit_as_if_it_had_not_been(
    bench: Callable[..., object], stop_after: Callable[[int], object], precision: str, sgd: bool
) -> None:
    make_deterministic(None)
    options = {"device": "cuda", "precision": precision, **({"optimizer": Sgd()} if sgd else {})}
    whole = bench(**options)
    fitted = whole.fit()
    for steps in (1, 5, 8):
        whole.state_path.unlink(missing_ok=True)
        first = bench(**options)
        with pytest.raises(Interrupted):
            first.fit(stop_after(steps))
        second = bench(**options)
        again = second.fit()
        assert replace(again, seconds=0, samples_per_s=0) == replace(
            fitted, seconds=0, samples_per_s=0
        )
        for one, two in zip(
            whole.model.state_dict().values(), second.model.state_dict().values(), strict=True
        ):
            assert torch.equal(one, two)


@pytest.mark.parametrize("mode", ["parameter", "feature"])
def test_a_run_is_reproduced_bit_for_bit(
    tables: dict[str, Path],
    overrides: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    mode: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = overrides(tables["one"], tables["two"], ("image", "audio", "text", "tabular"))
    assert main(["train", *given, f"transfer={mode}", "device=cuda"]) == 0
    run = RunDirectory.open(tmp_path / capsys.readouterr().out.strip())
    assert run.summary()["device"] == "cuda"
    assert run.summary()["precision"] == "bf16"
    assert main(["reproduce", str(run.path)]) == 0
    assert "identical: all " in capsys.readouterr().err
    assert main(["eval", str(run.path)]) == 0
