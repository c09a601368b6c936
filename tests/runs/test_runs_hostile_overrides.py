"""What a run says that it was composed of is held against its config before it is changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mmx.cli import main
from mmx.runs import recorded
from mmx.runs.directory import RunDirectory

TINY = [
    "source=none",
    "target=digits",
    "target.per_class=3",
    "encoder.image.width=8",
    "trainer.epochs=1",
    "control=none",
]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: Callable[..., RunDirectory]
) -> Path:
    """Return a run without the digests by which damage is seen."""
    path = tmp_path / "run"
    shutil.copytree(train(*TINY).path, path)
    (path / recorded.FILE).unlink()
    monkeypatch.chdir(tmp_path)
    forge(path, *TINY)
    return path


def forge(run: Path, *overrides: str) -> None:
    """Let a run say that it was composed of other overrides."""
    manifest = json.loads((run / "manifest.json").read_text())
    manifest.pop(recorded.MARK, None)
    (run / "manifest.json").write_text(json.dumps({**manifest, "overrides": overrides}))


def test_forged_overrides_are_no_other_experiment(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forge(run, *TINY, "optimizer.lr=0.5", "target.per_class=4")
    assert main(["reproduce", str(run), "seed=3"]) == 1
    err = capsys.readouterr().err
    assert "holds overrides that do not give the run's own config.yaml: " in err
    assert "target.per_class is 3 in the run and 4 of its overrides" in err
    assert "optimizer.lr is " in err
    assert " in the run and 0.5 of its overrides" in err
    assert not (run.parent / "outputs").exists()
    assert main(["reproduce", str(run)]) == 0  # as the tip says


def test_of_many_keys_the_first_are_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forge(run)
    assert main(["reproduce", str(run), "seed=3"]) == 1
    err = capsys.readouterr().err
    assert err.count(" in the run and ") == 5
    assert " more\n" in err


@pytest.mark.parametrize(
    "word", ["output_dir=elsewhere", "cache_gb=3", "trainer.workers=0", "data_dir=there"]
)
def test_what_is_its_openers_does_not_count(run: Path, word: str) -> None:
    forge(run, *TINY, word)
    path = run / "config.yaml"
    config = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**config, "data_dir": "/somewhere/else", "cache": "off"}))
    assert main(["reproduce", str(run), "trainer.epochs=2", "output_dir=mine"]) == 0
    (again,) = (run.parent / "mine" / "runs").iterdir()
    assert RunDirectory(again).config()["trainer"]["epochs"] == 2
