from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from refusals import check_error
from safetensors.torch import save_file
from torch import Tensor, nn

from mmx.errors import DamagedFileError, RunError
from mmx.training import checkpoint
from mmx.training.optimizer import AdamW, Optimizer, Sgd, make_parameter_groups


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
    checkpoint.write_checkpoint(path, tensors(), FACTS)
    found, facts = checkpoint.read_checkpoint(path)
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
    checkpoint.write_checkpoint(path, {"w": torch.zeros(2)}, {"step": 1})
    before = path.read_bytes()

    def crash(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync") if fails == "fsync" else (Path, "replace")), crash)
        with pytest.raises(OSError, match="no space left"):
            checkpoint.write_checkpoint(path, {"w": torch.ones(1000)}, {"step": 2})
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["last.safetensors"]
    assert checkpoint.read_checkpoint(path)[1] == {"step": 1}
    checkpoint.write_checkpoint(path, {"w": torch.ones(1)}, {"step": 3})
    assert checkpoint.read_checkpoint(path)[1] == {"step": 3}
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
        save_file({"w": torch.zeros(2)}, path)
    elif content == "folder":
        path.mkdir()
    elif content != "absent":
        path.write_bytes({"empty": b"", "garbage": b"\x08" + bytes(range(256))}[content])
    with pytest.raises(RunError) as caught:
        checkpoint.read_checkpoint(path)
    assert caught.value.message.startswith(f"cannot read the checkpoint {path}: ")
    assert not (tmp_path / "executed").exists()


def test_reading_never_calls_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("unpickled")

    path = tmp_path / "best.safetensors"
    checkpoint.write_checkpoint(path, tensors(), FACTS)
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    assert checkpoint.read_checkpoint(path)[1] == FACTS


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_every_bit_that_changes_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    checkpoint.write_checkpoint(path, {"w": torch.tensor([1.5, -2.0])}, {"epoch": 3})
    written = path.read_bytes()
    for bit in range(8 * len(written)):
        path.write_bytes(flipped(written, bit))
        with pytest.raises(DamagedFileError) as caught:
            checkpoint.read_checkpoint(path)
        assert caught.value.message.startswith(f"cannot read the checkpoint {path}: ")
    for cut in (0, 7, 8, 100, len(written) - 1):
        path.write_bytes(written[:cut])
        with pytest.raises(DamagedFileError):
            checkpoint.read_checkpoint(path)
    path.write_bytes(written + b"\0")
    with pytest.raises(DamagedFileError):
        checkpoint.read_checkpoint(path)
    path.write_bytes(written)
    assert checkpoint.read_checkpoint(path)[1] == {"epoch": 3}
    assert checkpoint.has_digest(path)


def test_a_checkpoint_of_before_there_was_a_digest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    save_file({"w": torch.ones(2)}, path, metadata={"mmx": json.dumps(FACTS)})
    found, facts = checkpoint.read_checkpoint(path)
    assert torch.equal(found["w"], torch.ones(2))
    assert facts == FACTS
    assert not checkpoint.has_digest(path)


def test_a_later_format_is_refused_by_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "best.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT", 3)
        checkpoint.write_checkpoint(path, {"w": torch.ones(2)}, {})
    with pytest.raises(RunError, match="format 3, of another version of mmx; this one reads 2"):
        checkpoint.read_checkpoint(path)


def with_header(text: bytes, length: int | None = None) -> bytes:
    return (len(text) if length is None else length).to_bytes(8, "little") + text


HOSTILE = {
    "a length beyond the file": with_header(b"{}", 2**62),
    "a length that fills the file": with_header(b" " * 100),
    "lists in lists": with_header(b"[" * 200_000),
    "facts in facts": with_header(json.dumps({"__metadata__": {"mmx": '{"a":' * 50_000}}).encode()),
    "no metadata": with_header(b'{"w":1}'),
    "a list": with_header(b"[1]"),
    "no text": with_header(b"\xff\xfe{}"),
    "facts that are a number": with_header(b'{"__metadata__":{"mmx":"1"}}'),
    "a digest that is a list": with_header(
        b'{"__metadata__":{"mmx":"{\\"format\\":2,\\"digest\\":[],\\"facts\\":{}}"}}'
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_refused_at_once(name: str, tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(DamagedFileError):
        checkpoint.read_checkpoint(path)


def test_a_header_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    with path.open("wb") as file:
        file.write((2**40).to_bytes(8, "little"))
        file.truncate(2**41)  # takes no room on the disk
    with pytest.raises(DamagedFileError, match=r"its header takes 1,099,511,627,776 bytes"):
        checkpoint.read_checkpoint(path)
    with pytest.raises(ValueError, match="the header of"):
        checkpoint.write_checkpoint(path, {}, {"words": ["word"] * 5_000_000})


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    os.mkfifo(path)
    with pytest.raises(DamagedFileError, match="is a pipe, where a file is expected"):
        checkpoint.read_checkpoint(path)


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("kept")
    (tmp_path / ".best.safetensors.new").symlink_to(mine)
    checkpoint.write_checkpoint(tmp_path / "best.safetensors", {"w": torch.ones(1)}, {})
    assert mine.read_text() == "kept"
    assert not (tmp_path / "best.safetensors").is_symlink()


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.register_buffer("lowest", torch.tensor(torch.inf))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_not_finite_are_refused_by_name(value: float, tmp_path: Path) -> None:
    module, path = Counting(), tmp_path / "best.safetensors"
    given = {name: each.clone() for name, each in Counting().state_dict().items()}
    checkpoint.restore(module, given, path)  # what counts from infinity may be there still
    before = {name: each.clone() for name, each in module.state_dict().items()}
    given["layer.weight"][1, 0] = value
    with pytest.raises(DamagedFileError) as caught:
        checkpoint.restore(module, given, path)
    check_error(caught.value, path, "layer.weight", "finite")
    assert all(torch.equal(before[name], each) for name, each in module.state_dict().items())


def test_tensors_of_another_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    with pytest.raises(
        RunError, match=r"does not fit its run's config and code: Missing key.*bias"
    ):
        checkpoint.restore(nn.Linear(2, 2), Counting().state_dict(), path)


def test_prefixes_keep_groups_apart() -> None:
    one, two = torch.tensor(1), torch.tensor(2)
    joined = {
        **checkpoint.add_prefix("best", {"w": one}),
        **checkpoint.add_prefix("bestest", {"w": two}),
    }
    assert joined == {"best.w": one, "bestest.w": two}
    assert checkpoint.take_prefix("best", joined) == {"w": one}


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
        groups = make_parameter_groups(net, recipe, {}, decay=True)
        for group in groups:
            group["lr"] = group["peak_lr"]
        return net, recipe.make(groups, torch.device("cpu"))

    net, optimizer = make()
    trained(recipe, range(before), net, optimizer)
    state, plain = checkpoint.optimizer_state(optimizer)
    path = tmp_path / "last.safetensors"
    checkpoint.write_checkpoint(
        path,
        {**checkpoint.add_prefix("model", net.state_dict()), **checkpoint.add_prefix("o", state)},
        {"plain": plain},
    )
    trained(recipe, range(before, before + 4), net, optimizer)

    again, other = make()
    found, facts = checkpoint.read_checkpoint(path)
    again.load_state_dict(checkpoint.take_prefix("model", found))
    checkpoint.load_optimizer_state(other, checkpoint.take_prefix("o", found), facts["plain"])
    ordered = [parameter for group in other.param_groups for parameter in group["params"]]
    for index, each in other.state_dict()["state"].items():
        for key, value in each.items():
            assert key == "step" or value.stride() == ordered[index].stride()
    trained(recipe, range(before, before + 4), again, other)
    for one, two in zip(net.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)
    for group in other.param_groups:
        assert group["peak_lr"] == recipe.lr
