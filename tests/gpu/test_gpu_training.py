from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmx.cli import main
from mmx.encoders.bilstm import BiLstm
from mmx.errors import Interrupted
from mmx.model import _rest
from mmx.runs.directory import RunDirectory
from mmx.stages.phases import training_setup
from mmx.training.data import Data
from mmx.training.optimizer import Sgd
from mmx.training.precision import Precision, bf16_is_fast
from mmx.training.randomness import make_deterministic

CPU, CUDA = torch.device("cpu"), torch.device("cuda")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture(autouse=True)
def _deterministic() -> Iterator[None]:
    """As every run asks for; before the first product, at which cuBLAS looks what was asked."""
    make_deterministic(None, CUDA)
    yield
    make_deterministic(None, CPU)


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


def test_batches_that_are_copied_ahead_are_those_kept_on_the_device(
    bench: Callable[..., object],
) -> None:
    run = bench(device="cuda")
    streamed = Data(
        run.data.views, run.data.target, run.data.splits, device=CUDA, resident=False, workers=1
    )
    rows = [run.data.rows("train")[at : at + 5] for at in range(0, 35, 5)]
    for (one, kept), (other, copied) in zip(
        run.data.batches(rows), streamed.batches(rows), strict=True
    ):
        assert one.tolist() == other.tolist()
        assert kept["image"].values.equal(copied["image"].values)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_replayed_steps_train_as_others_do(bench: Callable[..., object], accumulate: int) -> None:
    options = {"device": "cuda", "dropout": 0.0, "augment": False}
    trainer = {"epochs": 2, "accumulate": accumulate}
    plain, replayed = (bench(**options, trainer=trainer) for _ in range(2))
    for module in (*replayed.model.encoders.values(), replayed.model.fusion):
        training_setup._replay(module)
    plain.fit()
    plain.state_path.unlink(missing_ok=True)
    replayed.fit()
    for (*_, values), (*_, expected) in zip(replayed.epochs(), plain.epochs(), strict=True):
        assert values == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("sgd", [False, True])
def test_a_stopped_run_ends_bit_for_bit_as_if_it_had_not_been(
    bench: Callable[..., object], stop_after: Callable[[int], object], precision: str, sgd: bool
) -> None:
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
        assert replace(again, seconds=0, samples_per_s=0, history=[]) == replace(
            fitted, seconds=0, samples_per_s=0, history=[]
        )
        assert [(e[0], e[2]) for e in again.history] == [(e[0], e[2]) for e in fitted.history]
        for one, two in zip(
            whole.model.state_dict().values(), second.model.state_dict().values(), strict=True
        ):
            assert torch.equal(one, two)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_gradients_pass_through_a_recurrent_layer_that_rests(precision: str) -> None:
    torch.manual_seed(0)
    lstm = BiLstm(3, width=8, layers=2, dropout=0.0)
    x, mask = torch.randn(4, 6, 3), torch.arange(6) < torch.tensor([[6], [3], [1], [2]])
    expected = lstm(x, mask)[mask]
    _rest(lstm.to(CUDA).requires_grad_(False))
    inputs = x.to(CUDA).requires_grad_()
    with Precision(precision, CUDA).autocast():
        states = lstm(inputs, mask.to(CUDA))
    assert states.dtype == (torch.float16 if precision == "fp16" else torch.float32)
    torch.testing.assert_close(states[mask.to(CUDA)].float().cpu(), expected, atol=5e-3, rtol=5e-3)
    states.float().square().sum().backward()
    assert inputs.grad is not None
    assert inputs.grad.isfinite().all()


@pytest.mark.parametrize(
    "more",
    [
        ["transfer=parameter"],
        ["transfer=feature"],
        ["transfer=parameter", "fusion=transformer", "precision=fp16"],
        ["transfer=parameter", "trainer.resident=false", "trainer.workers=1"],
        ["transfer=parameter", "compile=reduce-overhead"],
    ],
    ids=lambda more: " ".join(more),
)
def test_a_run_is_reproduced_bit_for_bit(
    tables: dict[str, Path],
    overrides: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    given = overrides(tables["one"], tables["two"], ("image", "audio", "text", "tabular"))
    assert main(["train", *given, *more, "device=cuda"]) == 0
    run = RunDirectory.open(tmp_path / capsys.readouterr().out.strip())
    assert run.summary()["device"] == "cuda"
    usual = "bf16" if bf16_is_fast(CUDA) else "fp32"
    assert run.summary()["precision"] == ("fp16" if "precision=fp16" in more else usual)
    assert main(["reproduce", str(run.path)]) == 0
    assert "identical: all " in capsys.readouterr().err
    assert main(["eval", str(run.path)]) == 0
