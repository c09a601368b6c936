"""``mmx check``: how a class is named and made, what is printed, and the exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from refusals import check_error, read_error

from mmx.cli import main
from mmx.contract import KINDS

FUSE = """\
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.fusion import Fusion, Widths
from mmx.fusion.base import zero_absent
from mmx.modalities import Features


class Sum(Fusion):
    def __init__(
        self, widths: dict[str, Widths], *, outputs: int, width: Annotated[int, Field(ge=1)] = 8
    ) -> None:
        super().__init__(widths, outputs=outputs)
        self.width = width
        self.maps = nn.ModuleDict({n: nn.Linear(widths[n].pooled, width) for n in self.modalities})

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        print("in forward")
        x = self.list_pooled(features, present)
        parts = [self.maps[name](each) for name, each in zip(self.modalities, x)]
        return sum(zero_absent(x, present[n]) for x, n in zip(parts, self.modalities))


class Mixing(Sum):
    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        return super().forward(features, present).softmax(0)


class Raising(Sum):
    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        raise IndexError("no such place")


class Idle(Fusion):
    pass


class Plain(nn.Module):
    pass


text = "no class"
"""
LINE = next(n for n, line in enumerate(FUSE.splitlines(), 1) if "no such place" in line)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with fusions in the working directory."""
    folder = tmp_path / "checkedpkg"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "fuse.py").write_text(FUSE)
    (folder / "wrong.py").write_text("import no_such_module_anywhere\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MMX_ALLOW", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "checkedpkg"]:
        del sys.modules[name]


@pytest.fixture
def said(package: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*words: str) -> tuple[int, str, str]:
        code = main(["check", *words])
        return (code, *capsys.readouterr())

    return run


def test_a_class_that_keeps_its_promises(said: Callable[..., Any]) -> None:
    code, out, err = said("checkedpkg.fuse:Sum", "width=4")
    lines = out.splitlines()
    assert code == 0
    assert lines[0] == "checkedpkg.fuse:Sum, a fusion with width=4"
    assert "  ✓ the stated width           (B, 4)" in lines
    assert lines[-2] == "  – settle                     it fits nothing after training"
    assert lines[-1] == "13 of 13 checks passed, 1 not tested"
    assert len(lines) == 16
    assert set(err.splitlines()) == {"in forward"}  # stdout is the report alone


def test_a_class_that_breaks_one(said: Callable[..., Any]) -> None:
    code, out, _ = said("checkedpkg.fuse.Mixing")
    (broken,) = [line for line in out.splitlines() if line.startswith("  ✗")]
    assert code == 1
    assert broken.startswith(
        "  ✗ rows not mixed             expected what is said of a row to depend"
    )
    assert out.splitlines()[-1] == "12 of 13 checks passed, 1 not tested"


def test_as_json(said: Callable[..., Any]) -> None:
    code, out, _ = said("checkedpkg.fuse:Mixing", "--json")
    found = json.loads(out)
    assert code == 1
    assert (found["class"], found["kind"]) == ("checkedpkg.fuse:Mixing", "fusion")
    assert (found["passed"], found["failed"], found["skipped"]) == (12, 1, 1)
    assert [e["name"] for e in found["checks"] if e["state"] == "failed"] == ["rows not mixed"]


def test_an_exception_is_one_line_and_its_traceback_only_asked_for(
    said: Callable[..., Any],
) -> None:
    code, out, err = said("checkedpkg.fuse:Raising")
    assert code == 1
    first = out.splitlines()[1].split(maxsplit=4)[-1]
    assert first == f"IndexError: no such place ({Path('checkedpkg/fuse.py')}:{LINE})"
    assert "Traceback" not in out + err
    _, again, err = said("checkedpkg.fuse:Raising", "--debug")
    assert again == out
    assert 'raise IndexError("no such place")' in err


def test_signs_that_a_plain_terminal_can_show(
    said: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmx.contract.findings import marks_for

    assert set(marks_for("ascii").values()) == {"ok  ", "FAIL", "-   "}
    assert set(marks_for("latin-1").values()) == {"ok  ", "FAIL", "-   "}
    assert set(marks_for(None).values()) == {"ok  ", "FAIL", "-   "}
    assert set(marks_for("utf-8").values()) == {"✓", "✗", "–"}


@pytest.mark.parametrize("form", ["--config", "positional", "file", "both"])
def test_options_of_a_file_and_of_the_line(
    said: Callable[..., Any], package: Path, form: str
) -> None:
    (package / "sum.yaml").write_text("# a sum\n_target_: checkedpkg.fuse.Sum\nwidth: 5\n")
    words = {
        "--config": ["--config", "width=5"],
        "positional": ["width=5"],
        "file": ["--config", "sum.yaml"],
        "both": ["--config", "sum.yaml", "width=6"],
    }[form]
    code, out, _ = said("checkedpkg.fuse:Sum", *words)
    assert code == 0
    width = 6 if form == "both" else 5
    assert out.splitlines()[0] == f"checkedpkg.fuse:Sum, a fusion with width={width}"
    assert f"(B, {width})" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "checkedpkg.fuse:Sum wdth=3",
            "1 problem in the config\nwdth=3: no code reads this key\n"
            "  accepted: width\n  closest:  width\n  type:     width=3",
        ),
        (
            "checkedpkg.fuse:Sum width=0",
            "1 problem in the config\nwidth=0: expected an integer ≥ 1\n  type:     width=8",
        ),
        (
            "checkedpkg.fuse:Sum outputs=3",
            "1 problem in the config\noutputs=3: no code reads this key\n  accepted: width",
        ),
        (
            "checkedpkg.fuse:Sun",
            "checkedpkg.fuse has no class Sun; its classes are Sum, Mixing, Raising, Idle, Plain\n"
            "  tip: mmx check checkedpkg.fuse:Sum",
        ),
        (
            "checkedpkg.fuse",
            "checkedpkg.fuse is a module; its classes are Sum, Mixing, Raising, Idle, Plain\n"
            "  tip: mmx check checkedpkg.fuse:Sum",
        ),
        (
            "checkedpkg.fuze:Sum",
            "there is no module checkedpkg.fuze\n  tip: mmx check checkedpkg.fuse:Sum",
        ),
        (
            "checkedpkg/fuse.py:Sum",
            "checkedpkg/fuse.py:Sum names a file; a class is named by its module\n"
            "  tip: mmx check checkedpkg.fuse:Sum",
        ),
        ("checkedpkg.fuse:Idle", "checkedpkg.fuse:Idle is abstract: it lacks forward"),
        ("checkedpkg.fuse:text", "checkedpkg.fuse:text is not a class"),
        (
            "checkedpkg.fuse:nn",
            "checkedpkg.fuse:nn comes from torch.nn, which was not named\n"
            "  tip: mmx check checkedpkg.fuse:nn --allow torch",
        ),
        (
            "Sum",
            "'Sum' names no class of a module\n  tip: mmx check my_package.my_module:MyClass",
        ),
    ],
)
def test_what_cannot_be_checked(said: Callable[..., Any], words: str, message: str) -> None:
    code, out, err = said(*words.split())
    assert (code, out) == (2, "")
    assert err == f"mmx: {message}\n"


def test_a_class_of_no_kind(said: Callable[..., Any]) -> None:
    code, _, err = said("checkedpkg.fuse:Plain")
    assert code == 2
    assert f"checkedpkg.fuse:Plain is of no kind that has a contract: {', '.join(KINDS)}" in err


@pytest.mark.parametrize(
    ("base", "kind"),
    [
        ("mmx.transfer.parameter.Parameter", "mmx.transfer.base.Transfer"),
        ("mmx.training.optimizer.Optimizer", "mmx.training.optimizer.Optimizer"),
        ("mmx.balance.base.Balance", "mmx.balance.base.Balance"),
        ("mmx.sharing.base.Sharing", "mmx.sharing.base.Sharing"),
    ],
)
def test_a_kind_without_a_contract(
    said: Callable[..., Any], package: Path, base: str, kind: str
) -> None:
    module, _, name = base.rpartition(".")
    text = f"from {module} import {name}\n\n\nclass Shrink({name}):\n    pass\n"
    (package / "checkedpkg" / "shrink.py").write_text(text)
    code, out, err = said("checkedpkg.shrink:Shrink")
    assert (code, out) == (2, "")
    assert f"Shrink is a kind of {kind}, and there is no contract yet to check it" in err
    assert "derive it" not in err


def test_a_module_that_cannot_be_imported(said: Callable[..., Any]) -> None:
    code, _, err = said("checkedpkg.wrong:Sum")
    assert code == 2
    assert err.startswith(
        "mmx: checkedpkg.wrong cannot be imported: ModuleNotFoundError: No module"
    )
    assert "checkedpkg/wrong.py:1)" in err


def test_a_file_of_another_class(said: Callable[..., Any], package: Path) -> None:
    (package / "sum.yaml").write_text("_target_: checkedpkg.fuse.Mixing\nwidth: 5\n")
    code, _, err = said("checkedpkg.fuse:Sum", "--config", "sum.yaml")
    assert code == 2
    check_error(
        read_error(err),
        "sum.yaml",
        "checkedpkg.fuse.Mixing",
        "checkedpkg.fuse.Sum",
        types=("mmx check checkedpkg.fuse.Mixing --config sum.yaml",),
    )
    assert said("checkedpkg.fuse.Mixing", "--config", "sum.yaml")[0] == 1
    assert said("checkedpkg.fuse:Sum", "--config", "none.yaml")[0] in (1, 2)


def test_mmx_own_classes_can_be_looked_at(said: Callable[..., Any]) -> None:
    code, out, _ = said("mmx.fusion.concat:Concat")
    assert code == 0
    assert out.startswith("mmx.fusion.concat:Concat, a fusion\n")
