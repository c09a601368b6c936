"""The two states of a stage under way: whichever is damaged, training ends the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mmx.errors import Interrupted
from mmx.model import MultimodalModel
from mmx.stages import extract_features
from mmx.training import checkpoint, saved_state
from mmx.training.fit import _Run
from mmx.transfer import Start
from mmx.transfer.base import start_fresh

pytestmark = pytest.mark.slow

SAVING = {"checkpoint_seconds": 0}


def flip(path: Path, place: float) -> None:
    data = bytearray(path.read_bytes())
    data[round(place * (len(data) - 1))] ^= 4
    path.write_bytes(data)


def poison(path: Path) -> None:
    """Put NaN into a weight, and a new digest over it."""
    tensors, facts = checkpoint.read_checkpoint(path)
    name = next(name for name, t in tensors.items() if name.startswith("model.enc"))
    tensors[name].view(-1)[0] = torch.nan
    checkpoint.write_checkpoint(path, tensors, facts)


def forget_progress(path: Path) -> None:
    """Leave out how far the training was, and put a new digest over the rest."""
    tensors, facts = checkpoint.read_checkpoint(path)
    del facts["progress"]
    checkpoint.write_checkpoint(path, tensors, facts)


@pytest.fixture
def stopped(bench: Callable[..., Any], stop_after: type) -> Callable[[], Any]:
    """Return ``make()``, a training that was stopped in its second epoch and is to go on."""

    def make() -> Any:
        run = bench(trainer=SAVING)
        with pytest.raises(Interrupted):
            run.fit(stop_after(8))
        return run

    return make


def said(run: Any) -> list[str]:
    return [event.text for event in run.events if event.kind == "note"]


CASES: dict[str, tuple[dict[str, Callable[[Path], object]], list[str]]] = {
    "whole": ({}, []),
    "last": (
        {"state": lambda path: flip(path, 0.9)},
        ["state.safetensors is damaged: going on from previous.safetensors, epoch 2, step 7 ("],
    ),
    "last, no progress": (
        {"state": forget_progress},
        ["state.safetensors is damaged: going on from previous.safetensors, epoch 2, step 7 ("],
    ),
    "last, its header": (
        {"state": lambda path: flip(path, 0.01)},
        ["state.safetensors is damaged: going on from previous.safetensors, epoch 2, step 7 ("],
    ),
    "last, not finite": (
        {"state": poison},
        ["state.safetensors is damaged: going on from previous.safetensors, epoch 2, step 7 ("],
    ),
    "last, empty": (
        {"state": lambda path: path.write_bytes(b"")},
        ["state.safetensors is damaged: going on from previous.safetensors, epoch 2, step 7 ("],
    ),
    "last, gone": ({"state": Path.unlink}, []),
    "previous": (
        {"previous": lambda path: flip(path, 0.5)},
        ["previous.safetensors is damaged: going on from state.safetensors, epoch 2, step 8 ("],
    ),
    "both": (
        {"state": lambda path: flip(path, 0.4), "previous": lambda path: flip(path, 0.6)},
        [
            "state.safetensors is damaged: the stage starts over (",
            "previous.safetensors is damaged: the stage starts over (",
        ],
    ),
    "both, not finite": (
        {"state": poison, "previous": poison},
        [
            "state.safetensors is damaged: the stage starts over (",
            "previous.safetensors is damaged: the stage starts over (",
        ],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_damaged_state_is_said_and_changes_no_number(
    bench: Callable[..., Any], stopped: Callable[[], Any], tmp_path: Path, name: str
) -> None:
    damage, expected = CASES[name]
    run = stopped()
    for stem, spoil in damage.items():
        spoil(tmp_path / f"{stem}.safetensors")
    again = bench(trainer=SAVING)
    again.fit()
    saved_state.remove_states(run.state_path)
    whole = bench()
    whole.fit()
    for text, start in zip(said(again), expected, strict=True):
        assert text.startswith(f"WARNING: the checkpoint {start}")
    assert all(
        torch.equal(tensor, whole.model.state_dict()[key])
        for key, tensor in again.model.state_dict().items()
    )
    first = again.epochs()[0][0] - 1
    assert again.epochs() == whole.epochs()[first:]
    assert first == (0 if name.startswith("both") else 1)


def test_a_kill_at_any_moment_of_a_save_leaves_a_whole_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.safetensors"

    class Killed(BaseException):
        pass

    def facts(step: int) -> dict[str, Any]:
        return {"progress": {"epochs": 0, "step": step}}

    real = Path.replace
    for after in range(3):
        saved_state.remove_states(path)
        for step in (1, 2):
            saved_state.save(path, {"w": torch.full((3,), step)}, facts(step))
        left = after

        def replace(self: Path, target: Path) -> Path:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return real(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", replace)
            with contextlib.suppress(Killed):
                saved_state.save(path, {"w": torch.full((3,), 3)}, facts(3))
        taken: list[saved_state.State] = []
        assert saved_state.resume(path, taken.append) == []
        assert taken[0].facts["progress"]["step"] == (3 if after == 2 else 2)
        assert saved_state.count_epochs(path) == 0


def test_weights_that_are_not_finite_are_not_saved(bench: Callable[..., Any]) -> None:
    bench_run = bench()
    run = _Run(
        bench_run.loss_of,
        bench_run.start(bench_run.model),
        bench_run.recipe(),
        bench_run.events.append,
    )
    run.save()
    kept = bench_run.state_path.read_bytes()
    with torch.no_grad():
        next(bench_run.model.parameters()).fill_(torch.inf)
    run.save()
    assert bench_run.state_path.read_bytes() == kept
    assert [each.name for each in bench_run.folder.iterdir()] == ["state.safetensors"]


def freeze_images(model: MultimodalModel) -> Start:
    """Start with the image encoder frozen."""
    start = start_fresh(model)
    names = (name for name, _ in model.named_parameters() if name.startswith("encoders.image."))
    return replace(start, frozen=frozenset(names))


@pytest.fixture
def extracted(bench: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``make(**options)``, a training on features of images that were computed before."""

    def make(**trainer: Any) -> Any:
        run = bench(trainer=trainer)
        run.start = freeze_images
        run.data = extract_features(run.data, run.model, "image", run.format)
        return run

    return make


def test_a_state_leaves_out_an_encoder_that_no_step_reads(
    extracted: Callable[..., Any], stop_after: type
) -> None:
    whole = extracted()
    whole.fit()
    first = extracted(**SAVING)
    with pytest.raises(Interrupted):
        first.fit(stop_after(8))
    tensors, facts = checkpoint.read_checkpoint(first.state_path)
    assert not [name for name in tensors if ".encoders.image." in name]
    assert {name.split(".")[0] for name in tensors if ".encoders.tabular." in name} == {
        "model",
        "best",
    }
    again = extracted()
    again.fit()
    assert again.epochs() == whole.epochs()[1:]
    own = whole.model.state_dict()
    assert all(torch.equal(each, own[key]) for key, each in again.model.state_dict().items())
    # A state of before holds the encoder too.
    frozen = {name: each for name, each in own.items() if name.startswith("encoders.image.")}
    more = {f"{part}.{name}": each for part in ("model", "best") for name, each in frozen.items()}
    checkpoint.write_checkpoint(first.state_path, {**tensors, **more}, facts)
    old = extracted()
    old.fit()
    assert old.epochs() == again.epochs()
    assert all(torch.equal(each, own[key]) for key, each in old.model.state_dict().items())
