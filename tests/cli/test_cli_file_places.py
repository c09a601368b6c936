"""A problem with a key of one's own YAML names the file and the line, and what mends it there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mmx.errors import Problem

Refuse = Callable[..., tuple[Problem, ...]]
GLOBAL = "# @package _global_\n"
PARAMETER = "_target_: mmx.transfer.parameter.Parameter\n"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], None]:
    """Return ``write(name, text)``, which writes a file of the user's config folder."""

    def make(name: str, text: str) -> None:
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return make


@pytest.mark.parametrize(
    ("files", "words", "given", "where", "type_this"),
    [
        (  # a misspelt key: a command line cannot take it away
            {"transfer/mine.yaml": f"# mine\n{PARAMETER}freeze_deph: 1\n"},
            "transfer=mine",
            "transfer.freeze_deph=1",
            "own/transfer/mine.yaml, line 3",
            "freeze_depth: 1   (in place of that line)",
        ),
        (  # a wrong value: one on the command line would replace it
            {"experiment/mine.yaml": f"{GLOBAL}trainer:\n  workers: 0\n  epochs: many\n"},
            "experiment=mine",
            "trainer.epochs=many",
            "own/experiment/mine.yaml, line 4",
            None,
        ),
        (  # the experiment's value replaces the option's
            {
                "transfer/mine.yaml": f"{PARAMETER}freeze_depth: no\n",
                "experiment/mine.yaml": f"{GLOBAL}defaults:\n  - override /transfer: mine\n"
                "transfer:\n  freeze_depth: -1\n",
            },
            "experiment=mine",
            "transfer.freeze_depth=-1",
            "own/experiment/mine.yaml, line 5",
            "transfer.freeze_depth=0",
        ),
        (  # an option that a defaults list chooses
            {
                "experiment/mine.yaml": f"{GLOBAL}defaults:\n  - override /source: digits\n"
                "  - override /target: digits_av\n  - override /objective: mean_squared_error\n"
            },
            "experiment=mine",
            "objective=mean_squared_error",
            "own/experiment/mine.yaml, line 5",
            "objective=cross_entropy",
        ),
        (  # an item of a list
            {"transfer/mine.yaml": f"{PARAMETER}min_copied: 0.5\nfreeze:\n  - [a]\n"},
            "transfer=mine",
            "transfer.freeze=[[a]]",
            "own/transfer/mine.yaml, line 3",
            None,
        ),
        (  # what only a command line may say
            {"experiment/mine.yaml": f"{GLOBAL}seed: 1\ncache: /elsewhere\n"},
            "experiment=mine",
            "cache=/elsewhere",
            "own/experiment/mine.yaml, line 3",
            "cache=auto   (or what you mean)",
        ),
        (  # a task under both of its names
            {"task/mine.yaml": "_target_: mmx.tasks.digits.Digits\nname: x\nnmae: y\n"},
            "source=none target=mine",
            "target.nmae=y",
            "own/task/mine.yaml, line 3",
            "name: y   (in place of that line)",
        ),
    ],
    ids=["misspelt", "value", "experiment", "choice", "list", "owner", "task"],
)
def test_a_key_of_a_file_has_a_place(
    files: dict[str, str],
    words: str,
    given: str,
    where: str,
    type_this: str | None,
    refuse: Refuse,
    write: Callable[[str, str], None],
) -> None:
    for name, text in files.items():
        write(name, text)
    found = {each.given: each for each in refuse("train", "--config-dir", "own", *words.split())}
    assert found[given].where == where
    if type_this is not None:
        assert found[given].type_this == type_this
    assert f"\n  in:       {where}\n" in f"{found[given]}\n"


@pytest.mark.parametrize(
    "words", ["transfer=mine transfer.freeze_depth=-1", "transfer=parameter trainer.epochs=0"]
)
def test_what_was_typed_has_none(
    words: str, refuse: Refuse, write: Callable[[str, str], None]
) -> None:
    write("transfer/mine.yaml", f"{PARAMETER}freeze_depth: 1\n")
    write("experiment/mine.yaml", f"{GLOBAL}trainer:\n  epochs: 1\n")
    line = ["train", "--config-dir", "own", "experiment=mine", *words.split()]
    assert [each.where for each in refuse(*line)] == [None]
