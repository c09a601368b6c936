from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mmx.errors import RunError
from mmx.training import checkpoint
from mmx.training.optimizer import AdamW, Optimizer, Sgd, parameter_groups


def tensors() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(0)
    return {
        "float": torch.randn(3, 4, generator=random),
        "bool": torch.tensor([True, False]),
        "int": torch.tensor([2**40, -1]),
        "scalar": torch.tensor(7),
        "half": torch.randn(5, generator=random).bfloat16(),
        "empty": torch.zeros(0, 3),
        "transposed": torch.randn(3, 4, generator=random).T,
        "channels_last": torch.randn(2, 3, 4, 5, generator=random).to(
            memory_format=torch.channels_last
        ),
        "with grad": torch.randn(2, generator=random).requires_grad_(),
    }


FACTS = {"step": 3, "score": [0.1, -0.30000000000000004], "name": "é", "none": None}


def test_tensors_and_facts_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "last.safetensors"
    checkpoint.write(path, tensors(), FACTS)
    found, facts = checkpoint.read(path)
    assert facts == FACTS
    assert found.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert torch.equal(found[name], tensor)
    assert [each.name for each in path.parent.iterdir()] == ["last.safetensors"]


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_a_crash_while_writing_leaves_the_old_file(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.safetensors"
    checkpoint.write(path, {"w": torch.zeros(2)}, {"step": 1})
    before = path.read_bytes()

    def crash(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync") if fails == "fsync" else (Path, "replace")), crash)
        with pytest.raises(OSError, match="no space left"):
            checkpoint.write(path, {"w": torch.ones(1000)}, {"step": 2})
    assert path.read_bytes() == before
    assert checkpoint.read(path)[1] == {"step": 1}
    checkpoint.write(path, {"w": torch.ones(1)}, {"step": 3})
    assert checkpoint.read(path)[1] == {"step": 3}
    assert [each.name for each in tmp_path.iterdir()] == ["last.safetensors"]


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, ("executed",))


@pytest.mark.parametrize("content", ["empty", "garbage", "pickle", "foreign", "folder", "absent"])
def test_what_is_no_checkpoint_is_refused_and_never_executed(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "best.safetensors"
    if content == "pickle":
        torch.save(Evil(), path)
    elif content == "foreign":
        from safetensors.torch import save_file

        save_file({"w": torch.zeros(2)}, path)
    elif content == "folder":
        path.mkdir()
    elif content != "absent":
        path.write_bytes({"empty": b"", "garbage": b"\x08" + bytes(range(256))}[content])
    with pytest.raises(RunError) as caught:
        checkpoint.read(path)
    assert caught.value.message.startswith(f"cannot read the checkpoint {path}: ")
    assert not (tmp_path / "executed").exists()


def test_reading_never_calls_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("unpickled")

    path = tmp_path / "best.safetensors"
    checkpoint.write(path, tensors(), FACTS)
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    assert checkpoint.read(path)[1] == FACTS


def test_prefixes_keep_groups_apart() -> None:
    one, two = torch.tensor(1), torch.tensor(2)
    joined = {
        **checkpoint.prefixed("best", {"w": one}),
        **checkpoint.prefixed("bestest", {"w": two}),
    }
    assert joined == {"best.w": one, "bestest.w": two}
    assert checkpoint.within("best", joined) == {"w": one}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.point = nn.Conv2d(8, 8, 1)
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.out = nn.Linear(8, 2)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.point(self.first(x).relu()) * self.scale
        result: Tensor = self.out(hidden.mean((2, 3)))
        return result


def trained(recipe: Optimizer, steps: range, net: Net, optimizer: torch.optim.Optimizer) -> None:
    for step in steps:
        torch.manual_seed(step)
        x = torch.randn(4, 3, 6, 6).to(memory_format=torch.channels_last)
        net(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("recipe", [AdamW(), Sgd(), Sgd(momentum=0.0)], ids=["adamw", "sgd", "0"])
@pytest.mark.parametrize("before", [0, 3])
def test_an_optimiser_goes_on_bit_for_bit(recipe: Optimizer, before: int, tmp_path: Path) -> None:
    def make() -> tuple[Net, torch.optim.Optimizer]:
        net = Net()
        groups = parameter_groups(net, recipe, {}, decay=True)
        for group in groups:
            group["lr"] = group["peak_lr"]
        return net, recipe.make(groups, torch.device("cpu"))

    net, optimizer = make()
    trained(recipe, range(before), net, optimizer)
    state, plain = checkpoint.optimizer_state(optimizer)
    path = tmp_path / "last.safetensors"
    checkpoint.write(
        path,
        {**checkpoint.prefixed("model", net.state_dict()), **checkpoint.prefixed("o", state)},
        {"plain": plain},
    )
    trained(recipe, range(before, before + 4), net, optimizer)

    again, other = make()
    found, facts = checkpoint.read(path)
    again.load_state_dict(checkpoint.within("model", found))
    checkpoint.load_optimizer_state(other, checkpoint.within("o", found), facts["plain"])
    ordered = [parameter for group in other.param_groups for parameter in group["params"]]
    for index, each in other.state_dict()["state"].items():
        for key, value in each.items():
            assert key == "step" or value.stride() == ordered[index].stride()
    trained(recipe, range(before, before + 4), again, other)
    for one, two in zip(net.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)
    for group in other.param_groups:
        assert group["peak_lr"] == recipe.lr
