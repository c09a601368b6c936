"""The command that ``mmx train`` advises at its end works as it stands."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from mmx.cli import main

pytestmark = pytest.mark.slow
Capture = pytest.CaptureFixture[str]


def train(capsys: Capture, *words: str) -> tuple[list[str], str]:
    """Train, and return the command that is advised, and all that was said."""
    capsys.readouterr()
    assert main(["train", *words]) == 0
    said = capsys.readouterr().err
    (line,) = [line for line in said.splitlines() if line.startswith("next: ")]
    return shlex.split(line.removeprefix("next: ").split("   (")[0]), said


@pytest.fixture
def words(
    tables: dict[str, Path], overrides: Callable[..., list[str]], tmp_path: Path
) -> Callable[..., list[str]]:
    def make(source: str | None, *modalities: str) -> list[str]:
        found = overrides(tables[source] if source else None, tables["two"], modalities)
        own = ["trainer.threads=1", "device=cpu", f"output_dir={tmp_path / 'out'}"]
        return [*found, *own]

    return make


@pytest.mark.parametrize(
    ("more", "seeds", "advised"),
    [
        (["trainer.epochs=1"], 2, "trainer.epochs=3"),
        (["trainer.epochs=20"], 2, "hydra.sweep.dir="),
        (["source=none", "control=majority", "trainer.epochs=40"], 4, "suite=missing"),
    ],
)
def test_after_a_sweep_of_one_group(
    more: list[str],
    seeds: int,
    advised: str,
    words: Callable[..., list[str]],
    tmp_path: Path,
    capsys: Capture,
) -> None:
    source = None if "source=none" in more else "one"
    given = [*words(source, "tabular", "text"), *more, "budget=1h", "jobs=1"]
    command, said = train(capsys, *dict.fromkeys(given), f"seeds={seeds}")
    (sweep,) = (tmp_path / "out" / "sweeps").iterdir()
    assert [word for word in command if word.startswith(advised)], said
    assert "budget=1h" not in command
    before = set((sweep / "runs").iterdir())
    assert main(command[1:]) == 0
    after = set((sweep / "runs").iterdir())
    assert (before < after) == (advised == "hydra.sweep.dir=")  # what is done is not run again
    assert before <= after


def test_after_a_sweep_of_two_groups(
    words: Callable[..., list[str]], tmp_path: Path, capsys: Capture
) -> None:
    varied = ["control=majority", "optimizer.lr=0.001,0.1", "seeds=2", "jobs=1"]
    command, _ = train(capsys, "-m", *words(None, "tabular"), *varied)
    (sweep,) = (tmp_path / "out" / "sweeps").iterdir()
    assert command == ["mmx", "compare", str(sweep)]
    assert main(command[1:]) == 0


@pytest.mark.parametrize(
    ("modalities", "control"), [(("text", "tabular"), "unimodal"), (("tabular",), "majority")]
)
def test_after_a_run_without_source_or_control(
    modalities: tuple[str, ...], control: str, words: Callable[..., list[str]], capsys: Capture
) -> None:
    command, said = train(capsys, *words(None, *modalities))
    assert "there is no source and no other control, so no gain is stated" in said
    assert command[-1] == f"control={control}"
    again, said = train(capsys, *command[2:])
    assert f"{control} control" in said
    assert again[1] == "train"
