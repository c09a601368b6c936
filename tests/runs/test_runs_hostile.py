"""A stranger's run directory: whatever lies in it is data, read within bounds, obeyed never.

Each payload is given to the verbs that read the spoilt file. None may execute anything, write
outside, hang, or answer with more than one line and a tip.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmx.cli import main
from mmx.runs import recorded
from mmx.runs.digests import SEAL
from mmx.runs.directory import RunDirectory
from mmx.training import checkpoint

Spoil = Callable[[Path, Path], None]
SECONDS = 60
"""A hang fails; two seconds are the aim, and this machine may be busy."""
TINY = [
    "source=none",
    "target=digits",
    "target.per_class=3",
    "encoder.image.width=8",
    "trainer.epochs=1",
    "control=none",
]
SUMMARY = {"target": {"metrics": {"test": {"accuracy": 0.5}}}}


@pytest.fixture(autouse=True)
def watchdog() -> Iterator[None]:
    def bark(*_: object) -> None:
        raise TimeoutError(f"no answer within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, bark)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def real(train: Callable[..., RunDirectory]) -> Path:
    """Return a finished run, made once."""
    return train(*TINY).path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: Path) -> Path:
    """Return a working directory with two runs; the first is to be spoilt."""
    work = tmp_path / "work"
    for name in ("20260101-000001_spoilt", "20260101-000002_good"):
        run = work / "outputs" / "runs" / name
        shutil.copytree(real, run)
        unseal(run)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("precious")
    monkeypatch.chdir(work)
    return work


def unseal(run: Path) -> None:
    """Take away by which damage is seen: a stranger would, or write a digest that is right."""
    (run / recorded.FILE).unlink()
    for name, key in (("manifest.json", recorded.MARK), ("status.json", SEAL)):
        found = json.loads((run / name).read_text())
        found.pop(key, None)
        (run / name).write_text(json.dumps(found))


def spoilt(here: Path) -> Path:
    return here / "outputs" / "runs" / "20260101-000001_spoilt"


def tree(folder: Path) -> dict[str, Any]:
    """Return everything in a folder, by name, kind, time and content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path)] = (status.st_mode, status.st_mtime_ns, content)
    return found


def command(verb: str, here: Path) -> list[str]:
    run, good = spoilt(here), here / "outputs" / "runs" / "20260101-000002_good"
    if verb == "list":
        return ["list"]
    return [verb, str(run), *([str(good)] if verb == "compare" else [])]


def interrupt(run: Path) -> None:
    """Let a finished run be one that can go on."""
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps({**status, "status": "interrupted"}))
    (run / "summary.json").unlink()


def refused(verb: str, here: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Give the spoilt run to a verb, and return the one line that it answers."""
    outside = here.parent / "outside"
    before, kept = tree(outside), tree(spoilt(here))
    code = main(command(verb, here))
    out, err = capsys.readouterr()
    assert tree(outside) == before
    assert tree(spoilt(here)) == kept, "something was written to the run"
    assert not (here / "executed").exists()
    assert sorted(path.name for path in here.iterdir()) == ["outputs"]
    if verb == "list":
        assert code == 0
        rows = [line for line in out.splitlines() if "_spoilt" in line]
        assert len(rows) == 1
        assert "?" in rows[0].split()
        assert any("_good" in line and " done " in line for line in out.splitlines())
        return rows[0]
    assert code in (1, 2), err
    lines = [line for line in err.splitlines() if not line.startswith(("note: ", "  "))]
    problems = re.match(r"mmx: (\d+) problems? in the config", lines[0])
    assert len(lines) == 1 + (int(problems[1]) if problems else 0), err
    assert lines[0].startswith("mmx: "), err
    assert not re.match(r"mmx: \w+(Error|Exception|Warning): ", lines[0]), err
    return err


def text(name: str, content: bytes | str) -> Spoil:
    def spoil(run: Path, outside: Path) -> None:
        data = content.encode() if isinstance(content, str) else content
        (run / name).write_bytes(data)

    return spoil


def linked(name: str, to: str | None = None) -> Spoil:
    def spoil(run: Path, outside: Path) -> None:
        path = run / name
        path.parent.mkdir(exist_ok=True)
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        path.symlink_to(to or outside)

    return spoil


def pipe(name: str) -> Spoil:
    def spoil(run: Path, outside: Path) -> None:
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)

    return spoil


def folder(name: str) -> Spoil:
    def spoil(run: Path, outside: Path) -> None:
        (run / name).unlink(missing_ok=True)
        (run / name).mkdir()

    return spoil


def value(name: str, key: str, raw: str) -> Spoil:
    """Write a value, given as JSON, to a place in one of the run's files."""

    def spoil(run: Path, outside: Path) -> None:
        path = run / name
        load = yaml.safe_load if name.endswith("yaml") else json.loads
        data = load(path.read_text())
        *parents, last = key.split(".")
        node = data
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = "<here>"
        path.write_text(json.dumps(data).replace('"<here>"', raw))  # JSON is YAML too

    return spoil


ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 11)
)
READ_BY = {
    "config.yaml": ("eval", "predict", "resume", "reproduce", "compare"),
    "manifest.json": ("eval", "predict", "resume", "reproduce", "compare", "list"),
    "status.json": ("resume", "list"),
    "summary.json": ("reproduce", "compare", "list"),
}
BROKEN: dict[str, Callable[[str], Spoil]] = {
    "aliases": lambda name: text(name, ALIASES),
    "deep": lambda name: text(name, '{"a":' * 20_000 + "1" + "}" * 20_000),
    "deep list": lambda name: text(name, "[" * 100_000),
    "huge": lambda name: text(name, b"# " + b"x" * (70 * 2**20)),
    "not UTF-8": lambda name: text(name, b"\xff\xfe{\x00}\x00"),
    "a list": lambda name: text(name, "[1, 2]"),
    "a word": lambda name: text(name, '"x"'),
    "cut": lambda name: text(name, '{"a": {"b'),
    "an object": lambda name: text(name, "!!python/object/apply:os.system [touch executed]"),
    "a NUL": lambda name: text(name, '{"a\\u0000": "b\\u0000"}'),
    "long number": lambda name: text(name, f'{{"seed": {"9" * 10_000}}}'),
    "a pipe": pipe,
    "a folder": folder,
    "a link to a device": lambda name: linked(name, "/dev/zero"),
}
FILES = [
    (verb, name, broken)
    for name, verbs in READ_BY.items()
    for broken in BROKEN
    for verb in verbs
    if not (broken == "huge" and verb not in ("eval", "list"))
]


@pytest.mark.parametrize(("verb", "name", "broken"), FILES)
def test_a_file_that_mmx_did_not_write(
    here: Path, capsys: pytest.CaptureFixture[str], verb: str, name: str, broken: str
) -> None:
    if verb == "resume":
        interrupt(spoilt(here))
    BROKEN[broken](name)(spoilt(here), here.parent / "outside")
    if verb == "list" and broken in ("aliases", "a link to a device"):
        capsys.readouterr()
    said = refused(verb, here, capsys)
    assert name in said or verb == "list"


INSIDE = [
    ("status.json", "status", "7"),
    ("status.json", "status", '{"a": 1}'),
    ("status.json", "pid", '"abc"'),
    ("status.json", "pid", "1e400"),
    ("status.json", "pid", "-1"),
    ("status.json", "pid", "[1]"),
    ("status.json", "error", "{}"),
    ("summary.json", "target", '"x"'),
    ("summary.json", "target.metrics", "[]"),
    ("summary.json", "target.metrics.test", '{"accuracy": "high"}'),
    ("summary.json", "target.metrics.test", '{"accuracy": true}'),
    ("summary.json", "transfer", "7"),
    ("summary.json", "transfer.regularizer", '"l2"'),
    ("summary.json", "gain", '"much"'),
    ("summary.json", "gain.value", '"much"'),
    ("summary.json", "timing", "[]"),
    ("summary.json", "timing.total_s", '"long"'),
    ("summary.json", "control", '{"scratch": []}'),
    ("summary.json", "seed", "{}"),
    ("summary.json", "notes", '{"a": 1}'),
    ("manifest.json", "seed", '"x"'),
    ("manifest.json", "overrides", "7"),
    ("manifest.json", "overrides", "[7]"),
    ("manifest.json", "choices", "5"),
    ("manifest.json", "data", "[]"),
    ("manifest.json", "code", '"x"'),
    ("manifest.json", "machine", "[]"),
    ("manifest.json", "machine.threads", '"8"'),
    ("manifest.json", "machine.threads", "-3"),
    ("manifest.json", "cached", "7"),
    ("manifest.json", "parent", "{}"),
]


@pytest.mark.parametrize(
    ("verb", "name", "key", "raw"),
    [(verb, *each) for each in INSIDE for verb in READ_BY[each[0]]],
)
def test_a_value_of_another_type(
    here: Path, capsys: pytest.CaptureFixture[str], verb: str, name: str, key: str, raw: str
) -> None:
    if verb == "resume":
        interrupt(spoilt(here))
    value(name, key, raw)(spoilt(here), here.parent / "outside")
    said = refused(verb, here, capsys)
    assert name in said


IN_CONFIG = [
    ("seed", "{}"),
    ("trainer", "7"),
    ("trainer", "null"),
    ("trainer.epochs", '"many"'),
    ("encoder", "[]"),
    ("encoder.image", "7"),
    ("encoder.image", '{"_target_": 7}'),
    ("encoder.image", '{"_target_": "os.system", "command": "touch executed"}'),
    ("target", "7"),
    ("target", '{"_target_": []}'),
    ("target", '{"_target_": "subprocess.run", "args": "touch executed"}'),
    ("target.per_class", '{"_target_": "os.mkdir", "path": "executed"}'),
    ("fusion", '{"_target_": "builtins.exec", "source": "open(\'executed\', \'w\')"}'),
    ("fusion", "null"),
    ("transfer", '"x"'),
    ("optimizer", "[]"),
    ("optimizer.lr", "1e400"),
    ("objective", '{"_target_": "x"}'),
    ("modalities", "7"),
    ("control", "{}"),
    ("device", "[1]"),
    ("precision", '"fp7"'),
    ("balance", "7"),
    ("encoder.image.weights", "7"),
    ("whatever", "1"),
]


@pytest.mark.parametrize("verb", ["eval", "resume", "reproduce"])
@pytest.mark.parametrize(("key", "raw"), IN_CONFIG)
def test_a_config_of_another_type(
    here: Path, capsys: pytest.CaptureFixture[str], verb: str, key: str, raw: str
) -> None:
    if verb == "resume":
        interrupt(spoilt(here))
    value("config.yaml", key, raw)(spoilt(here), here.parent / "outside")
    refused(verb, here, capsys)


@pytest.mark.parametrize("verb", ["eval", "predict", "resume"])
@pytest.mark.parametrize(
    "name",
    ["checkpoints", "checkpoints/target", "eval", "eval/missing.csv", "predictions.csv",
     "status.json", "summary.json", "report.html", "run.log", "metrics.jsonl", ".lock",
     "traceback.txt", "manifest.json", "anything"],
)  # fmt: skip
def test_nothing_is_written_through_a_link(
    here: Path, capsys: pytest.CaptureFixture[str], verb: str, name: str
) -> None:
    if verb == "resume":
        interrupt(spoilt(here))
    path = here.parent / "outside"
    to = path if "." not in name.lstrip(".") and name != ".lock" else path / "precious"
    if name == "status.json" and verb == "resume":
        (path / "precious").write_text('{"status": "interrupted"}')
    linked(name, str(to))(spoilt(here), path)
    if (verb, name) != ("resume", "summary.json"):  # read before: it holds no JSON
        assert "is a symbolic link" in refused(verb, here, capsys) or name == "status.json"


@pytest.mark.parametrize("name", ["run.log", "metrics.jsonl", ".lock"])
def test_a_file_with_two_names_is_not_added_to(
    here: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    interrupt(spoilt(here))
    (spoilt(here) / name).unlink()
    os.link(here.parent / "outside" / "precious", spoilt(here) / name)
    assert "hard links" in refused("resume", here, capsys)


@pytest.mark.parametrize("name", ["run.log", "metrics.jsonl", "report.html", "predictions.csv"])
@pytest.mark.parametrize("spoil", [pipe, folder])
def test_nothing_else_is_in_the_place_of_a_file(
    here: Path, capsys: pytest.CaptureFixture[str], name: str, spoil: Callable[[str], Spoil]
) -> None:
    interrupt(spoilt(here))
    spoil(name)(spoilt(here), here)
    assert name in refused("resume", here, capsys)


@pytest.mark.parametrize("what", ["pipe", "device"])
@pytest.mark.parametrize("verb", ["eval", "resume", "reproduce"])
def test_data_is_no_pipe(
    here: Path, capsys: pytest.CaptureFixture[str], verb: str, what: str
) -> None:
    if verb == "resume":
        interrupt(spoilt(here))
    os.mkfifo(here.parent / "outside" / "pipe")
    path = "/dev/zero" if what == "device" else str(here.parent / "outside" / "pipe")
    node = {
        "_target_": "mmx.tasks.table.Table",
        "name": "rows",
        "path": path,
        "label": "y",
        "columns": {"tabular": "x"},
    }
    value("config.yaml", "target", json.dumps(node))(spoilt(here), here)
    assert "is a pipe or a device" in refused(verb, here, capsys)


def opener(here: Path, verb: str, *words: str, **config: object) -> Path:
    """Give a run with such root keys to a verb, and return the working directory."""
    run = spoilt(here)
    if verb == "resume":
        interrupt(run)
    path = run / "config.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **config}))
    assert main([verb, str(run), *words]) == 0
    return run


@pytest.mark.parametrize("verb", ["eval", "predict", "resume", "reproduce"])
@pytest.mark.parametrize("up", [False, True])
def test_a_run_does_not_say_where_results_and_cache_go(
    here: Path, monkeypatch: pytest.MonkeyPatch, verb: str, up: bool
) -> None:
    outside = here.parent / "outside"
    monkeypatch.setenv("MMX_CACHE_DIR", str(here.parent / "cache"))
    before = tree(outside)
    where = "../outside" if up else str(outside)
    opener(here, verb, output_dir=where, cache=where, cache_gb=1e-9, data_dir=where)
    assert tree(outside) == before
    runs = sorted(path.name for path in (here / "outputs" / "runs").iterdir())
    assert len(runs) == (3 if verb == "reproduce" else 2)
    assert sorted(path.name for path in here.iterdir()) == ["outputs"]


def test_what_is_typed_says_where_a_reproduction_goes(here: Path) -> None:
    opener(here, "reproduce", "output_dir=mine", output_dir="/absent/folder")
    (again,) = (here / "mine" / "runs").iterdir()
    config = RunDirectory(again).config()
    assert config["output_dir"] == "mine"
    assert config["trainer"]["workers"] == 2


def test_a_run_starts_no_more_threads_than_there_are_cores(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value("manifest.json", "machine.threads", "100000")(spoilt(here), here)
    value("config.yaml", "trainer.threads", "100000")(spoilt(here), here)
    value("config.yaml", "trainer.workers", "100000")(spoilt(here), here)
    assert main(["eval", str(spoilt(here))]) == 0
    err = capsys.readouterr().err
    assert err.count("note: the run computed with 100,000 CPU threads, and this machine has") == 1


@pytest.mark.parametrize("verb", ["eval", "predict", "resume"])
@pytest.mark.parametrize("word", ["optimizer.lr=1", "seed=3", "target.per_class=4"])
def test_what_would_be_another_run_is_not_typed(
    here: Path, capsys: pytest.CaptureFixture[str], verb: str, word: str
) -> None:
    run = spoilt(here)
    assert main([verb, str(run), word]) == 2
    err = capsys.readouterr().err
    assert word in err
    if verb != "eval":
        assert err.endswith(f"  tip: mmx reproduce {run} {word}\n")
        assert main([verb, str(run), "target.pth=x"]) == 2
        assert capsys.readouterr().err.endswith(f"  tip: mmx {verb} {run} target.path=x\n")


ESCAPES = "\x1b[2J\x1b]0;owned\x07[bold red]x[/]\u202egnp:smile:"


@pytest.mark.parametrize("verb", ["list", "compare"])
def test_a_terminal_obeys_nothing_of_a_run(
    here: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    path = spoilt(here) / "summary.json"
    summary = json.loads(path.read_text())
    summary["target"] = {**summary["target"], "task": ESCAPES}
    summary["fusion"], summary["gain"] = f"a\nrow {ESCAPES}", {"metric": ESCAPES, "value": 1.0}
    path.write_text(json.dumps(summary))
    assert main(command(verb, here)) == 0
    out, err = capsys.readouterr()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", out + err)
    assert "\\x1b[2J" in out
    assert "[bold red]x[/]" in out
    assert "\nrow" not in out


def test_a_forged_index_shows_no_numbers(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = here / "outputs"
    name = f"runs/{spoilt(here).name}"
    forged = {"run": name, "status": "done", "test": {"accuracy": 0.999}, "gain": 0.9}
    deep = "[" * 100_000
    (root / "index.jsonl").write_text(f"{json.dumps(forged)}\n{deep}\n7\n\udcff"[:-1])
    assert main(["list"]) == 0
    assert "0.999" not in capsys.readouterr().out
    assert "0.999" not in (root / "index.jsonl").read_text()


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_an_index_in_another_form_is_left_alone(
    here: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    path, outside = here / "outputs" / "index.jsonl", here.parent / "outside"
    path.unlink(missing_ok=True)
    if kind == "link":
        path.symlink_to(outside / "precious")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    before = tree(outside)
    assert main(["list"]) == 0
    assert main(["reproduce", str(spoilt(here))]) == 0
    assert tree(outside) == before
    assert " done " in capsys.readouterr().out


def facts(key: str, given: object) -> Spoil:
    """Write a value to the header of the target's checkpoint, under a digest that is right."""

    def spoil(run: Path, outside: Path) -> None:
        path = run / "checkpoints" / "target" / "best.safetensors"
        tensors, found = checkpoint.read_checkpoint(path)
        node = found
        *parents, last = key.split(".")
        for part in parents:
            node = node[part]
        node[last] = given
        checkpoint.write_checkpoint(path, tensors, found)

    return spoil


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("specs", 7),
        ("specs", {}),
        ("specs.image", [1]),
        ("specs.image", {"kind": "nothing"}),
        ("specs.image.height", "tall"),
        ("target", 7),
        ("target.classes", 7),
        ("target.kind", "nothing"),
        ("target.std", "wide"),
        ("frozen_encoders", 7),
        ("frozen_encoders", ["nothing"]),
    ],
)
def test_a_checkpoint_of_another_form(
    here: Path, capsys: pytest.CaptureFixture[str], key: str, given: object
) -> None:
    facts(key, given)(spoilt(here), here)
    assert "best.safetensors" in refused("eval", here, capsys)


@pytest.mark.parametrize(
    "overrides",
    [
        ["modalities=[" + ",".join("a" for _ in range(20_000)) + "]"],
        ["x=" + "[" * 5000],
        ["+x={a:" * 100],
        ["seed=range(0,1000000000)"],
        ["target.per_class=" + "1" * 100_000],
        [f"+a{n}=1" for n in range(3000)],
        ["target.per_class=\x1b[2J"],
    ],
)
def test_overrides_that_cannot_be_composed_again(
    here: Path, capsys: pytest.CaptureFixture[str], overrides: list[str]
) -> None:
    value("manifest.json", "overrides", json.dumps(overrides))(spoilt(here), here)
    before = tree(here)
    assert main(["reproduce", str(spoilt(here)), "optimizer.lr=0.001"]) in (1, 2)
    err = capsys.readouterr().err
    assert tree(here) == before
    assert "\x1b" not in err
    assert len(err.splitlines()) <= 6


@pytest.fixture
def on_table(
    train: Callable[..., RunDirectory],
    tables: dict[str, Path],
    overrides: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Return a copy of a run on a table, which has moved: the run's own path leads nowhere."""
    words = overrides(None, tables["one"], ("tabular",), "control=none", "trainer.epochs=1")
    run = tmp_path / "run"
    shutil.copytree(train(*words).path, run)
    shutil.copytree(tables["one"].parent, tmp_path / "moved")
    unseal(run)
    path = run / "config.yaml"
    path.write_text(path.read_text().replace(str(tables["one"].parent), "/nowhere"))
    monkeypatch.chdir(tmp_path)
    return run


@pytest.mark.parametrize("verb", ["eval", "predict", "resume"])
def test_data_that_has_moved_is_named(
    on_table: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    if verb == "resume":
        interrupt(on_table)
    assert main([verb, str(on_table)]) in (1, 2)
    assert "/nowhere/one.csv" in capsys.readouterr().err
    assert main([verb, str(on_table), "target.path=moved/one.csv"]) == 0
    assert "not what the run was trained on" not in capsys.readouterr().err


def test_other_data_is_no_moved_data(on_table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved = on_table.parent / "moved" / "one.csv"
    lines = moved.read_text().splitlines()
    moved.write_text("\n".join([*lines[:-3], *lines[-2:]]) + "\n")
    assert main(["eval", str(on_table), f"target.path={moved}"]) == 0
    said = "note: the data of target=one is not what the run was trained on"
    assert said in capsys.readouterr().err
    interrupt(on_table)
    assert main(["resume", str(on_table), f"target.path={moved}"]) == 1
    assert "the data of target=one has changed since this run began" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["eval", "predict", "reproduce"])
@pytest.mark.parametrize("word", ["target.data_dir=x", "source.path=x"])
def test_a_path_that_the_run_does_not_have(
    on_table: Path, capsys: pytest.CaptureFixture[str], verb: str, word: str
) -> None:
    assert main([verb, str(on_table), word]) == 2
    assert f"{word}: the run has no {word.split('=')[0]}" in capsys.readouterr().err


LONG = json.dumps("x" * 1_000_000)


@pytest.mark.parametrize(
    ("verb", "name", "key", "raw"),
    [
        *((verb, "config.yaml", "device", LONG) for verb in ("eval", "resume", "reproduce")),
        *((verb, "config.yaml", "target._target_", LONG) for verb in ("eval", "reproduce")),
        ("eval", "config.yaml", f"target.{'k' * 1000}", "1"),
        ("compare", "summary.json", "seed", LONG),
        ("compare", "summary.json", f"target.metrics.{'k' * 100_000}", "7"),
        ("list", "summary.json", "target.task", LONG),
        ("compare", "summary.json", "target.task", LONG),
        ("compare", "config.yaml", "target.name", LONG),
        ("list", "status.json", "error", LONG),
    ],
)
def test_of_a_long_value_the_beginning_is_shown(
    here: Path, capsys: pytest.CaptureFixture[str], verb: str, name: str, key: str, raw: str
) -> None:
    if verb == "resume":
        interrupt(spoilt(here))
    value(name, key, raw)(spoilt(here), here)
    main(command(verb, here))
    out, err = capsys.readouterr()
    assert len(out + err) < 12_000
    assert "…" in out + err
