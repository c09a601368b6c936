"""Own fusions and encoders that break their contract stop ``train`` before data is opened."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from refusals import Refusal, check_refusals, read_problems

PARTS = """\
import torch
from torch import nn
from mmx.encoders import Encoder
from mmx.fusion import Fusion
from mmx.fusion.base import zero_absent
from mmx.modalities import Features
from mmx.modalities.image import ImageSpec


class Good(Fusion):
    def __init__(self, widths, *, outputs, width: int = 8):
        super().__init__(widths, outputs=outputs)
        self.width = width
        self.maps = nn.ModuleDict({n: nn.Linear(widths[n].pooled, width) for n in self.modalities})

    def forward(self, features, present):
        x = zip(self.modalities, self.list_pooled(features, present))
        return sum(zero_absent(self.maps[n](x), present[n]) for n, x in x)


class Wide(Good):
    def forward(self, features, present):
        return torch.cat([super().forward(features, present)] * 2, dim=1)


class Mixing(Good):
    def forward(self, features, present):
        return super().forward(features, present).softmax(0)


class Normed(Good):
    def __init__(self, widths, *, outputs):
        super().__init__(widths, outputs=outputs)
        self.norm = nn.BatchNorm1d(self.width)

    def forward(self, features, present):
        return self.norm(super().forward(features, present))


class Absent(Good):
    def forward(self, features, present):
        return sum(self.maps[n](features[n].pooled) for n in self.modalities)


class Ordered(Good):
    def __init__(self, widths, *, outputs):
        super().__init__(widths, outputs=outputs)
        self.maps = nn.ModuleDict({n: nn.Linear(widths[n].pooled, 8) for n in widths})


class Random(Good):
    def forward(self, features, present):
        return nn.functional.dropout(super().forward(features, present))


class Raising(Good):
    def forward(self, features, present):
        raise KeyError("image")


class Stateless(Good):
    def __init__(self, widths, *, outputs):
        super().__init__(widths, outputs=outputs)
        del self.width


class Refusing(Good):
    def __init__(self, widths, *, outputs):
        raise ValueError("not with these modalities")


class Pixels(Encoder):
    def __init__(self, spec: ImageSpec, *, wide: int = 0) -> None:
        super().__init__()
        self.width = 3 + wide

    def forward(self, x, lengths=None):
        pooled = x.mean((2, 3))
        return Features(pooled[:, None], torch.ones(len(x), 1, dtype=torch.bool), pooled)
"""


@pytest.fixture
def train(
    mmx: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Any]]:
    """Return ``train(group, class, *words)`` of a class in a package of the working directory."""
    folder = tmp_path / "ownpkg"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "parts.py").write_text(PARTS)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def run(group: str, name: str, *words: str) -> Any:
        path = tmp_path / "configs" / group / "own.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# a class of one's own\n_target_: ownpkg.parts.{name}\n")
        line = ["train", "--config-dir", "configs", "--allow", "ownpkg", f"{group}=own"]
        return mmx(*line, "source=none", "target=digits_av", *words)

    yield run
    for name in [name for name in sys.modules if name.split(".")[0] == "ownpkg"]:
        del sys.modules[name]


EXPECTED = {
    "Wide": "the stated width: expected (B, 8), as its width states; seen (8, 16) of 8 rows",
    "Mixing": "rows not mixed: expected what is said of a row to depend on that row alone; in ",
    "Normed": "rows not mixed: expected what is said of a row to depend on that row alone; in ",
    "Absent": "absent rows not read: expected what stands in the rows of an absent modality not ",
    "Ordered": "any order of the dict: expected the same whatever the order of the modalities; ",
    "Random": "the same again: expected evaluation to draw nothing at random; with another state ",
    "Raising": "made and called: KeyError: 'image' (ownpkg/parts.py:",
    "Stateless": "the stated width: expected the constructor to set self.width to an int; seen ",
}


@pytest.mark.parametrize(("name", "said"), EXPECTED.items())
def test_a_broken_fusion(train: Callable[..., Any], name: str, said: str) -> None:
    found = train("fusion", name)
    assert (found.code, found.out) == (2, "")
    lines = found.err.splitlines()
    assert lines[0] == "mmx: 1 problem in the config"
    assert lines[1].startswith(f"fusion._target_=ownpkg.parts.{name}: {said}")
    assert lines[2] == "  in:       configs/fusion/own.yaml, line 2"
    assert lines[3] == (
        f"  type:     mmx check ownpkg.parts:{name}   (looks at the rest of its contract too)"
    )


def test_what_is_advised_works(train: Callable[..., Any], mmx: Callable[..., Any]) -> None:
    found = train("fusion", "Mixing", "+fusion.width=6")
    command = found.err.splitlines()[3].split("mmx ")[1].split("   (")[0]
    assert command == "check ownpkg.parts:Mixing width=6"
    again = mmx(*command.split())
    assert again.code == 1
    assert "✗ rows not mixed" in again.out


def test_a_constructor_that_refuses_is_worded_as_ever(train: Callable[..., Any]) -> None:
    found = train("fusion", "Refusing")
    check_refusals(
        read_problems(found.err),
        [Refusal("fusion", ("modalities",), where="configs/fusion/own.yaml, line 2")],
    )


def test_good_ones_go_on_to_the_data(train: Callable[..., Any]) -> None:
    with pytest.raises(AssertionError, match="something was written"):  # the run's directory
        train("fusion", "Good", "output_dir=there")


@pytest.mark.parametrize("words", [["match=params"], ["transfer=joint"], ["mapping=linear"]])
def test_behind_what_stands_before_it(train: Callable[..., Any], words: list[str]) -> None:
    found = train("fusion", "Mixing", *words)
    assert found.code == 2
    assert "fusion._target_=ownpkg.parts.Mixing: rows not mixed: " in found.err or (
        words == ["transfer=joint"] and "sharing" in found.err
    )


def test_an_encoder_of_another_width(train: Callable[..., Any]) -> None:
    found = train("encoder/image", "Pixels", "+encoder.image.wide=1")
    assert found.code == 2
    check_refusals(
        read_problems(found.err),
        [
            Refusal(
                "encoder.image._target_=ownpkg.parts.Pixels",
                ("(4, 4)", "(4, 3)"),
                where="configs/encoder/image/own.yaml, line 2",
                type_this="mmx check ownpkg.parts:Pixels wide=1   "
                "(looks at the rest of its contract too)",
            )
        ],
    )
