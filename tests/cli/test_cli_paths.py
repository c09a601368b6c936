"""A path that the system cannot even look at is refused by its key, wherever it is typed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from mmx.cli import main
from mmx.config import compose
from mmx.errors import ConfigError
from mmx.experiment import assemble
from mmx.runs.directory import RunDirectory

LONG = "a" * 5000
DEEP = "a/" * 2500
TOO_LONG = "is no path: it is too long"
FOLDER = ["source=none", "target=image_folder"]
TABLE = ["source=none", "target=table", "target.label=y", "target.columns={tabular: a}"]
RESNET = ["source=none", "target=digits", "encoder/image=resnet18"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("path", [LONG, DEEP])
@pytest.mark.parametrize(
    ("words", "key"),
    [
        (FOLDER, "target.path"),
        (TABLE, "target.path"),
        (["source=image_folder", "target=digits"], "source.path"),
        (RESNET, "encoder.image.weights"),
        (["target=cifar10"], "data_dir"),
        (["target=cifar10"], "target.data_dir"),
        ([], "output_dir"),
        ([], "cache"),
        ([], "hydra.run.dir"),
        (["-m", "seed=1,2"], "hydra.sweep.dir"),
    ],
)
def test_train_names_the_key(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], key: str, path: str
) -> None:
    assert main(["train", *words, f"{key}={path}"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"mmx: 1 problem in the config\n{key}=a")
    assert err.splitlines()[1].endswith(f": {TOO_LONG}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [[verb, LONG] for verb in ("eval", "predict", "resume", "reproduce", "compare", "list", "rm")]
    + [
        ["eval", "x\0y"],
        ["compare", "a", "--with", LONG],
        ["predict", "RUN", "--output", LONG],
        ["train", "--config-dir", LONG],
        ["train", "--config-dir", "x\0y"],
        ["rank", "target=digits", "--config-dir", LONG],
        ["reproduce", "RUN", "--config-dir", LONG],
    ],
)
def test_a_verb_names_the_argument(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str]
) -> None:
    assert main(words) == 2
    err = capsys.readouterr().err
    assert re.search(
        r"(argument (RUN|FOLDER\|CONDITION|FOLDER|--with|--output/--out|--config-dir)"
        r"|--config-dir)[: ]",
        err,
    )
    assert "is no path: it " in err
    assert "Error" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", ["eval", "predict", "resume", "reproduce"])
@pytest.mark.parametrize("key", ["target.path", "data_dir"])
def test_what_an_opener_types_is_looked_at(
    train: Callable[..., RunDirectory],
    tables: dict[str, Path],
    overrides: Callable[..., list[str]],
    capsys: pytest.CaptureFixture[str],
    verb: str,
    key: str,
) -> None:
    words = overrides(None, tables["one"], ("tabular",), "control=none", "trainer.epochs=1")
    run = train(*words)
    if verb == "resume":
        run.set_status("interrupted")
    assert main([verb, str(run.path), f"{key}={LONG}"]) == 2
    err = capsys.readouterr().err
    assert f"{key}=a" in err
    assert TOO_LONG in err


def test_predict_names_its_data(
    train: Callable[..., RunDirectory], capsys: pytest.CaptureFixture[str]
) -> None:
    run = train("source=none", "target=digits", "target.per_class=3", "trainer.epochs=1")
    assert main(["predict", str(run.path), LONG]) == 2
    err = capsys.readouterr().err
    assert err.startswith("mmx: DATA: aaa")
    assert err.endswith(f"… {TOO_LONG}\n  tip: mmx predict --help\n")


@pytest.mark.parametrize("path", ["x\0y", "~nobody-of-that-name/x"])
@pytest.mark.parametrize("key", ["target.path", "data_dir", "output_dir"])
def test_a_file_of_somebody_else_names_no_path(key: str, path: str) -> None:
    with compose.composer():
        config = compose.compose_job([*FOLDER, "target.path=x"]).config
    node = config
    *parents, last = key.split(".")
    for part in parents:
        node = node[part]
    node[last] = path
    with pytest.raises(ConfigError) as error:
        assemble(config)
    assert [problem.given for problem in error.value.problems] == [f"{key}={path}"]
    assert error.value.problems[0].reason.startswith("is no path: ")
