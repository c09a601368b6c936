from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import check_error
from torch import Tensor, nn

from mmx.errors import DeadParameterError, DivergedError, Interrupted, MemoryExceededError
from mmx.modalities import Batch
from mmx.model import MultimodalModel
from mmx.stage_id import StageId
from mmx.training import checkpoint
from mmx.training.data import make_batches
from mmx.training.fit import count_steps_per_epoch, fit, out_of_memory_error
from mmx.training.optimizer import AdamW, Sgd
from mmx.training.recipe import Validation
from mmx.training.trainer import Trainer
from mmx.transfer import Report, Start
from mmx.transfer.base import start_fresh
from mmx.transfer.regularizers import Penalty, Step

Make = Callable[..., object]


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    assert one.keys() == two.keys()
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


def test_the_loss_goes_down(bench) -> None:
    run = bench(missing=False, trainer={"epochs": 8})
    fitted = run.fit()
    losses = [values["train.loss"] for _, _, values in run.epochs()]
    assert losses[-1] < 0.7 * losses[0]
    assert fitted.val["accuracy"] >= 0.75
    assert fitted.epochs == 8
    assert fitted.steps == 8 * 5
    assert fitted.samples_per_s > 0
    assert math.isclose(fitted.samples_per_s * fitted.seconds, 8 * 37)


def test_events_count_epochs_and_steps(bench) -> None:
    run = bench(trainer={"epochs": 3})
    run.fit()
    assert [(event.kind, event.epoch, event.step) for event in run.events] == [
        ("step", 1, 5),
        ("epoch", 1, 5),
        ("step", 2, 10),
        ("epoch", 2, 10),
        ("step", 3, 15),
        ("epoch", 3, 15),
    ]
    assert {event.steps for event in run.events} == {15}
    assert list(run.epochs()[0][2]) == ["train.loss", "val.loss", "val.accuracy", "val.f1_macro"]
    seconds = [event.seconds for event in run.events]
    assert seconds == sorted(seconds)


def test_the_best_epochs_weights_are_left(bench) -> None:
    run = bench(trainer={"epochs": 3})
    kept: list[dict[str, Tensor]] = []
    scores = iter([0.5, 0.9, 0.7])

    def validate(model: MultimodalModel) -> Validation:
        kept.append(weights(model))
        return Validation({"accuracy": next(scores), "loss": 1.0})

    run.validate = validate
    fitted = run.fit()
    assert fitted.best_epoch == 2
    assert fitted.val == {"accuracy": 0.9, "loss": 1.0}
    assert_same(weights(run.model), kept[1])
    assert not torch.equal(kept[1]["head.weight"], kept[2]["head.weight"])


def test_equal_scores_keep_the_earlier_epoch_and_a_lower_loss_decides(bench) -> None:
    run = bench(trainer={"epochs": 4})
    found = iter([(0.5, 1.0), (0.5, 1.0), (0.5, 0.9), (0.5, 0.95)])
    names = ("accuracy", "loss")
    run.validate = lambda model: Validation(dict(zip(names, next(found), strict=True)))
    assert run.fit().best_epoch == 3


@pytest.mark.parametrize(("patience", "epochs"), [(1, 3), (2, 6), (None, 9)])
def test_patience_ends_training_early(bench, patience: int | None, epochs: int) -> None:
    run = bench(trainer={"epochs": 9, "patience": patience})
    scores = iter([0.1, 0.5, 0.4, 0.6, 0.6, 0.2, 0.3, 0.1, 0.0])
    run.validate = lambda model: Validation({"accuracy": next(scores), "loss": 1.0})
    fitted = run.fit()
    assert fitted.epochs == epochs
    assert fitted.steps == epochs * 5
    assert fitted.best_epoch == (2 if patience == 1 else 4)


@pytest.mark.parametrize(
    ("rows", "size", "accumulate", "batches", "steps"),
    [
        (37, 8, 1, [8, 8, 8, 8, 5], 5),
        (37, 8, 2, [8, 8, 8, 8, 5], 3),
        (33, 8, 1, [8, 8, 8, 8], 4),  # a last batch of one row has no variance
        (33, 8, 2, [8, 8, 8, 8], 2),  # nor has it of batches of 16
        (33, 8, 3, [8, 8, 8, 9], 2),  # of 24, the last has 9 rows
        (17, 8, 4, [8, 9], 1),
        (8, 8, 1, [8], 1),
        (1, 8, 1, [1], 1),
        (9, 8, 4, [9], 1),
        (3, 1, 1, [1, 1, 1], 3),  # batches of one row were asked for
        (5, 1, 2, [1, 1, 1, 1, 1], 3),
    ],
)
def test_batches_and_steps_of_an_epoch(
    rows: int, size: int, accumulate: int, batches: list[int], steps: int
) -> None:
    order = np.arange(rows)
    found = make_batches(order, size, accumulate)
    assert [len(part) for part in found] == batches
    assert np.concatenate(found).tolist() == order[: sum(batches)].tolist()
    trainer = Trainer(batch_size=size, accumulate=accumulate)
    assert count_steps_per_epoch(order, trainer) == steps


def seen_rows(run) -> list[list[int]]:
    """Return the rows of every batch that is trained on, in order."""
    found: list[list[int]] = []
    assemble = run.data.assemble

    def spy(rows: np.ndarray, stored: object, *, augment: bool) -> Batch:
        if augment:
            found.append(rows.tolist())
        return assemble(rows, stored, augment=augment)

    run.data.assemble = spy
    return found


@pytest.mark.parametrize(("rows", "size"), [(33, 8), (4, 1), (16, 8)])
def test_every_epoch_sees_its_rows_once_in_a_new_order(bench, rows: int, size: int) -> None:
    run = bench(rows=rows, missing=False, trainer={"batch_size": size, "epochs": 2})
    found = seen_rows(run)
    fitted = run.fit()
    half = len(found) // 2
    epochs = [[row for part in group for row in part] for group in (found[:half], found[half:])]
    assert fitted.steps == 2 * half
    for epoch in epochs:
        assert len(set(epoch)) == len(epoch) == (32 if rows == 33 else rows)
        assert set(epoch) <= set(range(rows))
    assert epochs[0] != epochs[1]


def fixed(run) -> None:
    """Make a step's gradient a function of its rows alone: in double, without batch norm."""
    for name, child in list(run.model.named_modules()):
        if isinstance(child, nn.BatchNorm2d):
            parent = run.model.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], nn.Identity())


def test_accumulated_batches_equal_one_large_batch(bench, tmp_path: Path) -> None:
    found = []
    for size, accumulate in ((16, 1), (8, 2)):
        run = bench(
            rows=40,
            dropout=0.0,
            augment=False,
            optimizer=Sgd(lr=0.05),
            trainer={"batch_size": size, "accumulate": accumulate, "epochs": 2},
        )
        fixed(run)
        assert run.fit().steps == 6
        found.append((weights(run.model), run.epochs()))
    one, two = found
    for name in one[0]:
        assert torch.allclose(one[0][name], two[0][name], atol=1e-6), name
    for left, right in zip(one[1], two[1], strict=True):
        assert left[2] == pytest.approx(right[2], abs=1e-5)


class Pull(Penalty):
    """Half of α times the squared way that the weights have gone since it was made."""

    of_weights = True

    def __init__(self, model: MultimodalModel, alpha: float) -> None:
        super().__init__()
        self.start = [p.detach().clone() for p in model.parameters()]
        self.alpha = alpha

    def forward(self, step: Step) -> torch.Tensor:
        ways = zip(step.model.parameters(), self.start, strict=True)
        return self.alpha / 2 * torch.stack([(p - p0).square().sum() for p, p0 in ways]).sum()


@pytest.mark.parametrize(("size", "accumulate"), [(16, 1), (8, 2)])
def test_a_regulariser_counts_once_a_step_whatever_the_batches(
    bench, size: int, accumulate: int
) -> None:
    run = bench(
        rows=16,
        dropout=0.0,
        augment=False,
        optimizer=Sgd(lr=0.1, momentum=0.0, weight_decay=0.0),
        trainer={"batch_size": size, "accumulate": accumulate, "epochs": 1, "warmup": 0.0},
    )
    fixed(run)
    run.penalty = Pull(run.model, 0.5)
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.add_(1.0)
    # All weights stand one away from where they started: R = 0.5 / 2 per weight.
    count = sum(p.numel() for p in run.model.parameters())
    plain = bench(
        rows=16,
        dropout=0.0,
        augment=False,
        optimizer=Sgd(lr=0.1, momentum=0.0, weight_decay=0.0),
        trainer={"batch_size": size, "accumulate": accumulate, "epochs": 1, "warmup": 0.0},
    )
    fixed(plain)
    with torch.no_grad():
        for parameter in plain.model.parameters():
            parameter.add_(1.0)
    run.fit()
    plain.fit()
    difference = run.epochs()[0][2]["train.loss"] - plain.epochs()[0][2]["train.loss"]
    assert difference == pytest.approx(0.25 * count, rel=1e-5)
    assert run.epochs()[0][2]["train.penalty"] == pytest.approx(0.25 * count, rel=1e-6)
    assert "train.penalty" not in plain.epochs()[0][2]


class Rising(Penalty):
    """Of batches of n rows the k-th says k + n / 100, and has the gradient of no loss."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, step: Step) -> torch.Tensor:
        self.count += 1
        return self.count.clone() + len(step.outputs) / 100


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_penalty_of_an_epoch_is_its_mean_over_the_steps(bench, accumulate: int) -> None:
    run = bench(trainer={"epochs": 2, "accumulate": accumulate}, penalty=Rising())
    run.fit()
    sizes, count, expected = [8, 8, 8, 8, 5], 0, []
    for _ in range(2):
        steps = []
        for first in range(0, 5, accumulate):
            group = sizes[first : first + accumulate]
            said = 0.0
            for size in group:
                count += 1
                said += size / sum(group) * (count + size / 100)
            steps.append(said)
        expected.append(sum(steps) / len(steps))
    assert [values["train.penalty"] for _, _, values in run.epochs()] == pytest.approx(
        expected, rel=1e-6
    )
    assert list(run.epochs()[0][2])[:2] == ["train.loss", "train.penalty"]


def test_the_penalty_is_that_of_a_run_that_was_not_stopped(bench, stop_after, tmp_path) -> None:
    found = []
    for stops in ((), (2, 9)):
        (tmp_path / "state.safetensors").unlink(missing_ok=True)
        events = []
        for stop in (*stops, 99):
            run = bench(trainer={"epochs": 3})
            run.penalty = Pull(run.model, 0.5)
            if stop < 99:
                with pytest.raises(Interrupted):
                    run.fit(stop_after(stop))
            else:
                run.fit()
            events += run.epochs()
        found.append([values["train.penalty"] for _, _, values in events])
    assert found[0] == found[1]
    assert found[0][0] < found[0][-1]  # it moves


class Uneven(Rising):
    """Says numbers whose sum depends on the order of additions."""

    def forward(self, step: Step) -> torch.Tensor:
        self.count += 1
        return 10.0 ** (6 - self.count % 13) / 3


@pytest.mark.slow
def test_the_penalty_is_the_same_however_often_the_run_was_saved(bench) -> None:
    found = []
    for seconds in (1e9, 0.0):
        run = bench(trainer={"batch_size": 2, "checkpoint_seconds": seconds}, penalty=Uneven())
        run.fit()
        found.append([values["train.penalty"] for _, _, values in run.epochs()])
    assert found[0] == found[1]  # what is fetched at once is added one by one all the same


def test_the_penalty_waits_for_the_device_no_more_often(bench, monkeypatch) -> None:
    calls = []
    for penalty in (None, Rising()):
        run = bench(trainer={"epochs": 1, "batch_size": 4}, missing=False, penalty=penalty)
        waits = 0

        def counted(self: Tensor, *, plain=Tensor.tolist) -> object:
            nonlocal waits
            waits += 1
            return plain(self)

        with monkeypatch.context() as patched:
            patched.setattr(Tensor, "tolist", counted)
            for name in ("item", "__float__", "__bool__"):
                plain = getattr(Tensor, name)

                def other(self: Tensor, plain=plain) -> object:
                    nonlocal waits
                    waits += 1
                    return plain(self)

                patched.setattr(Tensor, name, other)
            run.fit()
        calls.append(waits)
    assert calls[0] == calls[1] > 0


def test_rates_weigh_each_parameter(bench) -> None:
    def start(model: MultimodalModel) -> Start:
        rates = {name: 1e-12 for name, _ in model.named_parameters() if name.startswith("enc")}
        return replace(start_fresh(model), rates=rates)

    run = bench(optimizer=AdamW(weight_decay=0.0), start=start, trainer={"epochs": 1})
    before = weights(run.model)
    run.fit()
    for name, parameter in run.model.named_parameters():
        moved = (parameter - before[name]).abs().max().item()
        assert (moved > 1e-4) == (not name.startswith("enc")), name


def test_frozen_parameters_and_buffers_do_not_move_by_a_bit(bench) -> None:
    def start(model: MultimodalModel) -> Start:
        names = [n for n, _ in model.named_parameters() if n.startswith("encoders.image.")]
        return Start(report=Report(), frozen=frozenset(names))

    run = bench(start=start, missing=False)
    before = weights(run.model)
    run.fit()
    moved = {name for name, tensor in weights(run.model).items() if not tensor.equal(before[name])}
    assert moved
    assert not {name for name in moved if name.startswith("encoders.image.")}
    assert any(name.endswith("running_mean") for name in before)
    assert {n for n, p in run.model.named_parameters() if not p.requires_grad} == {
        n for n, _ in run.model.named_parameters() if n.startswith("encoders.image.")
    }


def poisoned(run, at: int, value: float = math.nan) -> None:
    """Let the loss of batch number ``at`` (from 1) be ``value``."""
    count, task_loss = 0, run.criterion.task_loss

    def loss(outputs: Tensor, target: Tensor) -> Tensor:
        nonlocal count
        count += outputs.requires_grad
        found: Tensor = task_loss(outputs, target)
        return found * value if outputs.requires_grad and count == at else found

    run.criterion.task_loss = loss


@pytest.mark.parametrize(
    ("at", "value", "epoch", "shown"), [(1, math.nan, 1, "nan"), (8, math.inf, 2, "inf")]
)
def test_a_loss_that_is_not_finite_names_the_step(
    bench, at: int, value: float, epoch: int, shown: str
) -> None:
    run = bench(optimizer=AdamW(lr=0.01))
    poisoned(run, at, value)
    with pytest.raises(DivergedError) as caught:
        run.fit()
    check_error(caught.value, shown, epoch, at, "stage", "target", types=("optimizer.lr=0.001",))


def test_a_diverged_run_names_its_last_good_checkpoint(bench) -> None:
    run = bench(trainer={"checkpoint_seconds": 0}, precision="fp16")
    poisoned(run, 7)
    with pytest.raises(DivergedError) as caught:
        run.fit()
    check_error(
        caught.value,
        "2",
        "7",
        run.state_path,
        "stage",
        "target",
        types=("optimizer.lr=0.0003", "precision=bf16"),
    )
    again = bench(trainer={"checkpoint_seconds": 0}, precision="fp16")
    assert again.fit().steps == 15  # that checkpoint was saved before step 7
    assert again.epochs()[0][:2] == (2, 10)


def test_weights_that_diverge_in_an_epochs_last_step_are_not_kept(bench) -> None:
    run = bench(optimizer=Sgd(lr=1e38), trainer={"epochs": 1, "batch_size": 64, "clip": None})
    with pytest.raises(DivergedError) as caught:
        run.fit()
    assert caught.value.message.startswith("the validation loss is nan in stage target, epoch 1,")
    assert "step 1; no good checkpoint had been saved yet" in caught.value.message


class Dead(nn.Module):
    def __init__(self, real: nn.Module) -> None:
        super().__init__()
        self.real = real
        self.spare = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.real(x)
        return result


def test_a_parameter_without_a_gradient_is_named(bench) -> None:
    def change(model: MultimodalModel) -> None:
        model.head = Dead(model.head)

    run = bench(change=change)
    with pytest.raises(DeadParameterError) as caught:
        run.fit()
    check_error(
        caught.value,
        "2 trainable",
        "head.spare.bias",
        "head.spare.weight",
        "stage",
        "target",
        types=("parameter",),
    )
    spare = frozenset({"head.spare.bias", "head.spare.weight"})
    frozen = bench(change=change, start=lambda model: Start(report=Report(), frozen=spare))
    assert frozen.fit().epochs == 3


def test_one_dead_parameter_is_spoken_of_in_the_singular(bench) -> None:
    def change(model: MultimodalModel) -> None:
        model.register_parameter("spare", nn.Parameter(torch.zeros(2)))

    with pytest.raises(DeadParameterError, match=r"1 trainable parameter after the first step: sp"):
        bench(change=change).fit()


@pytest.mark.parametrize("last", [False, True])
def test_a_modality_that_the_first_batch_lacks_is_not_dead(bench, last: bool) -> None:
    run = bench(missing=False, trainer={"epochs": 1})
    found = seen_rows(run)
    run.fit()
    here = np.zeros(len(run.data.target), dtype=np.bool_)
    here[run.rows :] = True
    if last:  # only the last batch has images
        here[found[-1]] = True
    other = bench(missing=False, trainer={"epochs": 1})
    other.data.views["image"].column.present = here
    before = weights(other.model)
    other.fit()
    moved = not torch.equal(
        other.model.state_dict()["encoders.image.stages.0.0.weight"],
        before["encoders.image.stages.0.0.weight"],
    )
    assert moved == last


def test_out_of_memory_suggests_what_fits(bench) -> None:
    run = bench(trainer={"batch_size": 6, "accumulate": 3})

    def forward(batch: Batch) -> Tensor:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    run.model.encode = forward
    with pytest.raises(MemoryExceededError) as caught:
        run.fit()
    check_error(
        caught.value,
        "CUDA",
        "trainer.batch_size=6",
        "stage",
        "target",
        types=("trainer.batch_size=3", "trainer.accumulate=6"),
    )
    one = bench(trainer={"batch_size": 1})
    check_error(out_of_memory_error(one.recipe(), "CUDA"), types=("encoder",))


RECIPES = {
    "adamw": {},
    "sgd": {"optimizer": Sgd()},
    "accumulate": {"trainer": {"accumulate": 2}},
    "patience": {"trainer": {"patience": 1, "epochs": 4}},
    "bf16": {"precision": "bf16"},
    "fp16": {"precision": "fp16", "optimizer": Sgd()},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_run_stopped_after_any_step_ends_as_if_it_had_not_been(
    bench, stop_after, name: str
) -> None:
    options = RECIPES[name]
    whole = bench(**options)
    fitted = whole.fit()
    assert fitted.steps >= 9
    stops = range(1, fitted.steps + 1) if name in ("adamw", "sgd") else (1, 4, 5, 6, fitted.steps)
    for steps in stops:
        whole.state_path.unlink(missing_ok=True)
        first = bench(**options)
        with pytest.raises(Interrupted) as caught:
            first.fit(stop_after(steps))
        total = first.settings.epochs * count_steps_per_epoch(np.arange(first.rows), first.settings)
        check_error(caught.value, steps, total, "stage", "target")
        assert caught.value.exit_code == 143
        second = bench(**options)
        torch.rand(3)  # whatever was drawn before does not matter
        again = second.fit()
        assert_same(weights(second.model), weights(whole.model))
        assert first.epochs() + second.epochs() == whole.epochs()
        assert replace(again, seconds=0, samples_per_s=0, history=[]) == replace(
            fitted, seconds=0, samples_per_s=0, history=[]
        )
        assert [(e[0], e[2]) for e in again.history] == [(e[0], e[2]) for e in fitted.history]
        assert [e[1] for e in again.history] == sorted(e[1] for e in again.history)


def test_a_run_stopped_many_times_ends_as_if_it_had_not_been(bench, stop_after) -> None:
    whole = bench()
    whole.fit()
    whole.state_path.unlink(missing_ok=True)
    epochs = []
    for steps in (2, 3, 1, 4, 3):
        part = bench()
        with pytest.raises(Interrupted):
            part.fit(stop_after(steps))
        epochs += part.epochs()
    last = bench()
    last.fit()
    assert_same(weights(last.model), weights(whole.model))
    assert epochs + last.epochs() == whole.epochs()


def scale_of(run) -> float:
    """Return the scale after going on from the state that was saved."""
    run.fit()
    _, facts = checkpoint.read_checkpoint(run.state_path)
    return float(facts["scaler"]["scale"])


def test_the_scale_of_fp16_is_part_of_the_state(bench, stop_after) -> None:
    options = {"precision": "fp16", "optimizer": Sgd()}
    whole = bench(**options)
    poisoned(whole, 2, 1e9)  # its gradients overflow: the step is left out, the scale halved
    whole.fit()
    first = bench(**options)
    poisoned(first, 2, 1e9)
    with pytest.raises(Interrupted):
        first.fit(stop_after(4))
    _, facts = checkpoint.read_checkpoint(first.state_path)
    assert facts["scaler"]["scale"] == 32768
    second = bench(**options)
    second.fit()
    assert_same(weights(second.model), weights(whole.model))
    assert scale_of(bench(trainer={"checkpoint_seconds": 0}, **options)) == 32768


def test_saving_at_every_step_changes_nothing(bench) -> None:
    whole = bench()
    whole.fit()
    assert not whole.state_path.exists()
    saving = bench(trainer={"checkpoint_seconds": 0})
    saving.fit()
    assert_same(weights(saving.model), weights(whole.model))
    assert saving.epochs() == whole.epochs()
    # from the state that was saved last nothing is left to do but to load the best weights
    over = bench(trainer={"checkpoint_seconds": 0})
    over.fit()
    assert over.events == []
    assert_same(weights(over.model), weights(whole.model))


def test_target_and_control_see_the_same_batches(bench) -> None:
    found = []
    for stage in (StageId.TARGET, StageId.CONTROL):
        run = bench()
        seen = seen_rows(run)
        recipe = replace(run.recipe(), stage=stage)
        start = start_fresh(run.model)
        fit(run.loss_of, start, recipe, run.events.append, _no_stop())
        found.append((seen, weights(run.model)))
    assert found[0][0] == found[1][0]
    assert_same(found[0][1], found[1][1])


def _no_stop() -> object:
    from mmx.training.events import StopRequest

    return StopRequest()
