"""A run is measured again in what it was computed in, whatever this machine is fast at."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mmx.cli import main
from mmx.runs.directory import RunDirectory
from mmx.verbs.predict import open_model

pytestmark = pytest.mark.slow
FORMATS = "mmx.training.precision.cpu_formats"


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def run(
    request: pytest.FixtureRequest,
    run_in: Callable[[list[str], Path], RunDirectory],
    overrides: Callable[..., list[str]],
    tables: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> RunDirectory:
    """Return a run with ``precision=auto`` of a machine that is fast at bf16, or is not."""
    words = overrides(None, tables["one"], ("image", "tabular"), "control=none")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FORMATS, lambda: {"amx_bf16"} if request.param == "bf16" else set())
        found = run_in(words, tmp_path_factory.mktemp("outputs"))
    assert found.summary()["precision"] == request.param
    assert found.config()["precision"] == "auto"
    return found


def test_on_a_machine_that_is_fast_at_bf16(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FORMATS, lambda: {"amx_bf16"})
    assert main(["eval", str(run.path)]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"test": run.summary()["target"]["metrics"]["test"]}
    assert err == ""
    assert open_model(run, {}).precision.name == run.summary()["precision"]


def test_on_a_machine_that_is_slow_at_bf16(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FORMATS, set)
    assert main(["eval", str(run.path)]) == 0
    out, err = capsys.readouterr()
    own = run.summary()
    if own["precision"] == "fp32":
        assert err == ""
        assert json.loads(out) == {"test": own["target"]["metrics"]["test"]}
    else:
        assert err == (
            "note: the run was computed in bf16, at which this device is slow: it computes in fp32 "
            "here, and numbers may differ\n"
        )
    assert open_model(run, {}).precision.name == "fp32"
