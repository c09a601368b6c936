"""Other files of a run than its config and numbers: of any form, they cost a line or nothing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mmx.cli import main
from mmx.runs import recorded
from mmx.runs.digests import SEAL
from mmx.runs.directory import RunDirectory

TINY = [
    "source=none",
    "target=digits",
    "target.per_class=3",
    "encoder.image.width=8",
    "trainer.epochs=1",
    "control=none",
]
FORMS = {
    "a list": "[1, 2]",
    "a word": '"x"',
    "a number": "7",
    "empty": "",
    "cut": '{"plan": {"b',
    "not UTF-8": b"\xff\xfe{\x00}\x00",
    "deep": "[" * 100_000,
    "wrong values": '{"plan": 7, "trials": "x", "winner": {"a": 1}, "jobs": 7, "key": []}',
    "a winner alone": '{"winner": "transfer=scratch"}',
    "an object": "!!python/object/apply:os.system [touch executed]",
    "events": '{"key": "x"}\n{"kind": 7}\n[1]\n',
}
FILES = (
    "auto.json",
    "transfer.json",
    "checkpoints/target/events.jsonl",
    ".hydra/overrides.yaml",
    ".hydra/choices.yaml",
    ".hydra/unresolved.yaml",
)


@pytest.fixture(scope="module")
def real(train: Callable[..., RunDirectory]) -> Path:
    """Return a finished run, made once."""
    return train(*TINY).path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: Path) -> Path:
    """Return a copy of the run without the digests by which damage is seen."""
    path = tmp_path / "outputs" / "runs" / "20260101-000001_spoilt"
    shutil.copytree(real, path)
    (path / recorded.FILE).unlink()
    for name, key in (("manifest.json", recorded.MARK), ("status.json", SEAL)):
        found = json.loads((path / name).read_text())
        found.pop(key, None)
        (path / name).write_text(json.dumps(found))
    monkeypatch.chdir(tmp_path)
    return path


def spoil(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def interrupt(run: Path) -> None:
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps({**status, "status": "interrupted"}))
    (run / "summary.json").unlink()


def answered(words: list[str], capsys: pytest.CaptureFixture[str]) -> int:
    """Return the exit code of a verb, after a look that it is no error of mmx's own."""
    code = main(words)
    err = capsys.readouterr().err
    assert code in (0, 1, 2)
    assert not re.search(r"^(mmx|failed): \w+(Error|Exception|Warning): ", err, re.M), err
    assert "Traceback" not in err
    assert not Path("executed").exists()
    assert code == 0 or len([x for x in err.splitlines() if x.startswith("mmx: ")]) == 1, err
    return code


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", FILES)
def test_a_done_run_with_such_a_file(
    run: Path, capsys: pytest.CaptureFixture[str], name: str, form: str
) -> None:
    spoil(run / name, FORMS[form])
    assert answered(["resume", str(run)], capsys) == 0
    assert answered(["list"], capsys) == 0


@pytest.mark.parametrize("form", FORMS)
def test_a_run_that_goes_on_beside_such_files(
    run: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    for name in FILES:
        spoil(run / name, FORMS[form])
    interrupt(run)
    assert answered(["resume", str(run)], capsys) in (0, 1)


@pytest.mark.parametrize("form", ["a list", "wrong values", "an object"])
def test_a_run_with_such_files_is_reproduced(
    run: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    for name in FILES:
        spoil(run / name, FORMS[form])
    assert answered(["reproduce", str(run)], capsys) == 0


TRANSFERS = [
    ("auto", '{}'),
    ("auto", '{"tried": 7}'),
    ("auto", '{"tried": [1], "not_tried": {}, "budget": {}, "steps": 1, "seconds": 1.0}'),
    ("auto", '{"tried": [], "not_tried": 7, "budget": {"steps": "x"}}'),
    ("auto", '{"tried": [{"candidate": "a"}], "not_tried": {}, "budget": {}, "steps": 1, '
             '"seconds": "x"}'),
    ("wise_ft", "{}"),
    ("wise_ft", '{"alpha": 7, "metric": "accuracy", "kept": 0.5}'),
    ("wise_ft", '{"alpha": {}, "metric": "accuracy", "kept": 0.5}'),
    ("wise_ft", '{"alpha": {"0.5": {"val": {}}}, "metric": [], "kept": "x"}'),
]  # fmt: skip


@pytest.mark.parametrize(("key", "raw"), TRANSFERS)
@pytest.mark.parametrize("verb", ["resume", "compare", "list"])
def test_a_summary_of_a_search_that_mmx_did_not_write(
    run: Path, capsys: pytest.CaptureFixture[str], verb: str, key: str, raw: str
) -> None:
    path = run / "summary.json"
    summary = json.loads(path.read_text())
    summary["transfer"][key] = json.loads(raw)
    path.write_text(json.dumps(summary))
    words = {"list": ["list"], "compare": ["compare", str(run), str(run)]}
    answered(words.get(verb, [verb, str(run)]), capsys)


@pytest.mark.parametrize("form", FORMS)
def test_a_sweep_started_again_over_such_files(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    real: Path,
    form: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    strange = tmp_path / "sweep" / "runs" / "20260101-000001_strange"
    shutil.copytree(real, strange)
    for name in ("manifest.json", "status.json", *FILES):
        spoil(strange / name, FORMS[form])
    (strange.parent / "a file").write_text("x")
    for name in ("plan.json", "gains.json", "summary.csv"):
        spoil(tmp_path / "sweep" / name, FORMS[form])
    assert answered(["train", "-m", *TINY, "seed=1,2", "hydra.sweep.dir=sweep"], capsys) == 0
