"""Tensors of exported programs and of TorchScript, against torch; nothing of a file is executed."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mmx.encoders.exported_tensors import SCALARS, read_exported
from mmx.encoders.published import Published, read_tensors
from mmx.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore")


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.register_buffer("shift", torch.arange(4, dtype=torch.float64)[::2])
        self.register_buffer("scale", torch.randn(5).to(torch.bfloat16))
        self.register_buffer("flag", torch.tensor([True, False]))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).mean((2, 3)) * self.scale[0] + self.shift[1]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList([Block()])
        self.head = nn.Linear(4, 2)
        self.blocks[0].conv.weight.data = self.blocks[0].conv.weight.data.to(
            memory_format=torch.channels_last
        )

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x.float())


X = torch.zeros(2, 3, 8, 8)
WAYS: dict[str, Callable[[nn.Module, Path], object]] = {
    "net.pt2": lambda net, path: torch.export.save(torch.export.export(net, (X,)), path),
    "traced.pt": lambda net, path: torch.jit.save(torch.jit.trace(net, X), path),
    "scripted.pt": lambda net, path: torch.jit.save(torch.jit.script(net), path),
    "state.pth": lambda net, path: torch.save(net.state_dict(), path),
}


@pytest.mark.parametrize("name", WAYS)
def test_tensors_are_those_of_the_module(tmp_path: Path, name: str) -> None:
    net, path = Net().eval(), tmp_path / name
    WAYS[name](net, path)
    assert (read_exported(path) is None) == (name == "state.pth")
    published = Published.of_file(str(path))
    assert published is not None
    found, own = read_tensors(published), net.state_dict()
    assert found.keys() == own.keys()
    for key, value in own.items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key], value), key


def test_types_have_the_numbers_of_torch() -> None:
    from torch._export.serde.schema import ScalarType
    from torch._export.serde.serialize import _TORCH_TO_SERIALIZE_DTYPE

    numbers = {kind: int(number) for kind, number in _TORCH_TO_SERIALIZE_DTYPE.items()}
    assert ScalarType.FLOAT == 7
    assert {kind: i for i, kind in enumerate(SCALARS) if kind} == {
        kind: numbers[kind] for kind in SCALARS if kind
    }


class Call:
    """Runs something when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def rewrite(path: Path, changes: dict[str, Callable[[bytes], bytes]]) -> None:
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, each in content.items():
            change = changes.get(name.partition("/")[2], lambda given: given)
            archive.writestr(name, change(each))


def test_nothing_of_a_file_is_executed(tmp_path: Path) -> None:
    done = tmp_path / "done"
    script, program = tmp_path / "x.pt", tmp_path / "x.pt2"
    WAYS["traced.pt"](Net().eval(), script)
    rewrite(script, {"data.pkl": lambda _: pickle.dumps(Call(done), protocol=2)})
    WAYS["net.pt2"](Net().eval(), program)
    buffer = io.BytesIO()
    torch.save(Call(done), buffer)
    rewrite(
        program,
        {
            "data/weights/weight_0": lambda _: buffer.getvalue(),
            "data/weights/model_weights_config.json": lambda given: given.replace(
                b'"use_pickle": false', b'"use_pickle": true'
            ),
        },
    )
    for path, reason in ((script, "which is not read"), (program, "nothing of the file is exec")):
        with pytest.raises(DataError, match=reason):
            read_tensors(Published.of_file(str(path)))
    assert not done.exists()


def test_a_tensor_larger_than_its_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt2"
    WAYS["net.pt2"](nn.Sequential(nn.Flatten(), nn.Linear(192, 2)).eval(), path)
    listed, many = "data/weights/model_weights_config.json", b'{"as_int": 99999999999}'
    rewrite(path, {listed: lambda given: given.replace(b'{"as_int": 192}', many)})
    with pytest.raises(DataError, match="a tensor of shape"):
        read_tensors(Published.of_file(str(path)))


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt2"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data/weights/model_weights_config.json", b"{}")
    with pytest.raises(DataError, match="is compressed"):
        read_tensors(Published.of_file(str(path)))
