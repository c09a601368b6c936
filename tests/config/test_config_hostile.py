"""A config folder of a stranger: nothing in it is executed, and nothing is written for it.

Each payload would create ``executed`` in the working directory, or write somewhere, if any part
of it were obeyed. Every road that composes a config is tried with each.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmx.cli import main
from mmx.config import compose
from mmx.tasks import Task

RUN = "torch.utils.collect_env.run, command: 'touch executed'"
CALL = f"{{_target_: {RUN}}}"
OPEN = "{class: logging.FileHandler, filename: executed, mode: w}"
PACKAGE = "# @package _global_\n"
BOMB = "a0: &a0 [1, 1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 11)
)
DOUBLING = "".join(f"a{n}: '${{a{n - 1}}}${{a{n - 1}}}'\n" for n in range(1, 60)) + "a0: xxxxxxxx\n"
TREE = "".join(f"a{n}: {{x: '${{a{n - 1}}}', y: '${{a{n - 1}}}'}}\n" for n in range(1, 60))

HYDRA = {
    "callback": f"hydra: {{callbacks: {{a: {CALL}}}}}",
    "callback made of text": f'hydra: {{callbacks: {{a: "${{oc.create:{CALL}}}"}}}}'.replace(
        "'touch executed'", "touch executed"
    ),
    "callback by reference": f"hydra: {{callbacks: {{a: '${{transfer.class_map}}'}}}}\n"
    f"transfer: {{class_map: {CALL}}}",
    "callbacks by reference": f"hydra: {{callbacks: '${{transfer.class_map}}'}}\n"
    f"transfer: {{class_map: {{a: {CALL}}}}}",
    "the whole node by reference": f"hydra: '${{transfer.class_map}}'\n"
    f"transfer: {{class_map: {{callbacks: {{a: {CALL}}}}}}}",
    "target by reference": "hydra: {callbacks: {a: {_target_: '${control}', "
    "command: touch executed}}}\ncontrol: torch.utils.collect_env.run",
    "decoded text": "hydra: {callbacks: \"${oc.decode:'{a: {_target_: os.abort}}'}\"}",
    "arguments by position": "hydra: {callbacks: {a: {_target_: os.system, "
    "_args_: [touch executed]}}}",
    "a partial": "hydra: {callbacks: {a: {_target_: os.system, _partial_: true}}}",
    "nested": f"hydra: {{callbacks: {{a: {{_target_: builtins.dict, b: {CALL}}}}}}}",
    "file handler": f"hydra: {{job_logging: {{handlers: {{f: {OPEN}}}}}}}",
    "file handler of Hydra's log": f"hydra: {{hydra_logging: {{handlers: {{f: {OPEN}}}}}}}",
    "factory": "hydra: {job_logging: {formatters: {plain: {(): os.abort}}}}",
    "filter": "hydra: {job_logging: {filters: {a: {(): os.abort}}}}",
    "external": "hydra: {job_logging: {handlers: {console: {stream: 'ext://os.environ'}}}}",
    "configuration": "hydra: {job_logging: {loggers: {a: {level: DEBUG, handlers: [console]}}}}",
    "plugin of a launcher": f"hydra: {{launcher: {CALL}}}",
    "launcher by reference": "hydra: {launcher: '${transfer.class_map}'}\n"
    "transfer: {class_map: {_target_: os.abort}}",
    "value of a launcher": f'hydra: {{launcher: {{n_jobs: "${{oc.create:{CALL}}}"}}}}'.replace(
        "'touch executed'", "touch executed"
    ),
    "unknown key of a launcher": "hydra: {launcher: {initializer: os.abort}}",
    "sweeper": f"hydra: {{sweeper: {CALL}}}",
    "parameters of a sweeper": "hydra: {sweeper: {params: {seed: '1,2'}}}",
    "environment": "hydra: {job: {env_set: {LD_PRELOAD: evil.so}}}",
    "copied environment": "hydra: {job: {env_copy: [HOME]}}",
    "absent environment": "hydra: {job: {env_copy: [MMX_THERE_IS_NO_SUCH_NAME]}}",
    "working directory": "hydra: {job: {chdir: true}}",
    "output folder": "hydra: {run: {dir: executed}}",
    "sweep folder": "hydra: {sweep: {dir: executed}}",
    "output below": "hydra: {output_subdir: executed}",
    "search path": "hydra: {searchpath: ['pkg://this', 'file:///']}",
    "mode": "hydra: {mode: MULTIRUN}",
    "help": "hydra: {help: {template: x}}",
    "verbose": "hydra: {verbose: true}",
    "choices": "hydra: {runtime: {choices: {a: b}}}",
    "a number": "hydra: 5",
    "a list": "hydra: [1]",
    "nothing": "hydra: null",
    "override of a launcher's file": "defaults: [override /hydra/launcher: evil]",
    "override of a sweeper": "defaults: [override /hydra/sweeper: evil]",
    "override of logging": "defaults: [override /hydra/job_logging: default]",
    "another's place": "defaults: [/task@hydra.callbacks: evil]",
    "a package of Hydra's": "# @package hydra.callbacks\na: " + CALL,
    "a file outside": "defaults: [/../secret]",
}
REFERENCES = {
    "environment in a value": "control: '${oc.env:HOME}'",
    "made node": 'fusion: "${oc.create:{_target_: os.abort}}"',
    "decoded node": "fusion: \"${oc.decode:'{_target_: os.abort}'}\"",
    "name made of references": "control: '${oc.${seed}:HOME}'",
    "Hydra's state": "control: '${hydra:runtime.cwd}'",
    "the time": "output_dir: 'x/${now:%Y}'",
    "a call in the list of defaults": "defaults: [/fusion: '${oc.env:HOME}']",
    "itself": "control: '${control}'",
    "each other": "control: '${match}'\nmatch: '${control}'",
    "texts that double": DOUBLING,
    "nodes that double": TREE + "a0: 1",
}
PARTS = {
    "a part": f"fusion: {CALL}",
    "a part by reference": f"fusion: '${{transfer.class_map}}'\ntransfer: {{class_map: {CALL}}}",
    "its name by reference": "fusion: {_target_: '${control}'}\ncontrol: os.abort",
    "a part in a part": f"objective: {{_target_: mmx.objectives.combined.Combined, terms: {CALL}}}",
    "arguments": "fusion: {_args_: [1]}",
    "partial": "fusion: {_partial_: true}",
    "not recursive": "fusion: {_recursive_: false}",
    "conversion": "fusion: {_convert_: all}",
    "a module of the working directory": "fusion: {_target_: evil.Fusion}",
    "a method": "fusion: {_target_: mmx.fusion.concat.Concat.forward}",
    "through a module": "fusion: {_target_: mmx.fusion.concat.torch.hub.load}",
}
FILES = {
    "aliases": BOMB,
    "deep lists": "a: " + "[" * 3_000 + "]" * 3_000,
    "python": "a: !!python/object/apply:os.system [touch executed]",
    "path": "output_dir: !!python/object/apply:pathlib.Path [executed]",
    "not YAML": "a: [1,",
    "not a mapping": "- 1",
    "long": "a: " + "x" * 300_000,
    "many": "".join(f"k{n}: 1\n" for n in range(30_000)),
    "a long number": "seed: " + "9" * 5_000,
    "base 60": "seed: 1" + ":1" * 50_000,
    "two equal keys": "seed: 1\nseed: 2",
    "a list for a key": "? [1, 2]\n: 3",
    "defaults that are no list": "defaults: 5",
    "defaults of numbers": "defaults: [5]",
    "itself again": "defaults: [/experiment/x]",
    "a long chain": "defaults: [/fusion: [a, b, c]]",
}
PLACES = {
    "outputs elsewhere": "output_dir: /tmp/executed",
    "outputs above": "output_dir: ../executed",
    "outputs at home": "output_dir: ~/executed",
    "cache elsewhere": "cache: /tmp/executed",
    "cache above": "cache: a/../../executed",
    "a small cache": "cache_gb: 0.001",
    "downloads": "download: true",
    "downloads of a task": "target: {_target_: mmx.tasks.cifar.Cifar10, name: c, split_seed: 0, "
    "data_dir: /tmp/executed, download: true}",
}
PAYLOADS = {
    f"{kind}: {name}": text
    for kind, texts in (
        ("hydra", HYDRA),
        ("references", REFERENCES),
        ("parts", PARTS),
        ("files", FILES),
        ("places", PLACES),
    )
    for name, text in texts.items()
}
ONE_OF_EACH = (
    "hydra: callback",
    "hydra: the whole node by reference",
    "hydra: value of a launcher",
    "hydra: environment",
    "hydra: override of a launcher's file",
    "hydra: a package of Hydra's",
    "references: environment in a value",
    "references: a call in the list of defaults",
    "references: nodes that double",
    "parts: a part",
    "parts: its name by reference",
    "files: aliases",
    "files: python",
    "files: many",
    "files: a long chain",
    "places: outputs above",
    "places: downloads",
)
"""For each check that refuses something, one payload that it refuses: all roads have to pass by
all checks, and one road shows what each check refuses."""
SHOWN = [name for name in ONE_OF_EACH if not name.startswith("parts:")]
"""What is not a config at all; what only cannot be built is shown by --cfg."""
ROADS = {
    "train": ["train"],
    "sweep": ["train", "-m", "seed=1,2"],
    "rank": ["rank"],
    "cfg": ["train", "--cfg", "job"],
    "cfg all": ["train", "--cfg", "all", "--resolve"],
    "info": ["train", "--info"],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory with a config folder in it, and data that must not be opened."""

    def opened(task: Task) -> None:
        raise AssertionError(f"{task.name} was opened")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MMX_ALLOW", raising=False)
    monkeypatch.setattr(Task, "load", opened)
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "task").mkdir()
    (tmp_path / "own" / "task" / "evil.yaml").write_text(f"a: {CALL}\n")
    (tmp_path / "secret.yaml").write_text("control: scratch\n")
    (tmp_path / "evil.py").write_text("open('executed', 'w').close()\n")
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    yield tmp_path
    root.setLevel(before[0])
    root.handlers[:] = before[1]


def put(folder: Path, text: str) -> None:
    text = text if text.startswith("# @") else PACKAGE + text + "\n"
    (folder / "own" / "experiment" / "x.yaml").write_text(text)


def refused(folder: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run mmx; return the one message with which it refused, and wrote nothing."""
    before = sorted(folder.rglob("*"))
    environment, place = dict(os.environ), Path.cwd()
    code = main(words)
    out, err = capsys.readouterr()
    assert sorted(folder.rglob("*")) == before, "something was written"
    assert not Path("/tmp/executed").exists()
    assert {**environment, "PYTHONSAFEPATH": "1"} == dict(os.environ)
    assert Path.cwd() == place
    assert (code, out) == (2, ""), err
    assert err.startswith("mmx: ")
    assert "Traceback" not in err
    assert len(err) < 3_000, err
    return err


@pytest.mark.parametrize(
    ("road", "name"),
    [*(("train", name) for name in PAYLOADS), *(("rank", name) for name in ONE_OF_EACH)],
)
def test_nothing_of_a_strangers_folder_is_executed(folder, capsys, road, name):
    put(folder, PAYLOADS[name])
    err = refused(folder, [*ROADS[road], "--config-dir", "own", "experiment=x"], capsys)
    assert "problem" in err.splitlines()[0]


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("road", ["sweep", "cfg", "info"])
def test_nothing_is_executed_on_other_roads(folder, capsys, road, name):
    put(folder, PAYLOADS[name])
    refused(folder, [*ROADS[road], "--config-dir", "own", "experiment=x"], capsys)


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory) -> Path:
    """A run that is only read."""
    return prepared(["source=none", "target=digits"], tmp_path_factory.mktemp("run"))[1].path


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_nothing_is_executed_where_a_run_is_reproduced(folder, capsys, run, name):
    put(folder, PAYLOADS[name])
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    refused(folder, ["reproduce", str(run), "experiment=x", "--config-dir", "own"], capsys)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.slow  # TAB composes the line twice for each payload
@pytest.mark.parametrize("name", SHOWN)
def test_nothing_is_executed_by_completion(folder, capsys, name):
    put(folder, PAYLOADS[name])
    before = sorted(folder.rglob("*"))
    assert main(["--complete", "mmx train --config-dir own experiment=x control"]) in (0, 2)
    assert capsys.readouterr().out == ""
    assert sorted(folder.rglob("*")) == before
    assert main(["--complete", "mmx train --config-dir own exp"]) == 0
    assert capsys.readouterr().out == "experiment=\n"


def test_what_is_refused_is_named(folder, capsys):
    options = [
        *("n_jobs", "verbose", "timeout", "batch_size"),  # of joblib
        *("cluster", "partition", "account", "qos", "constraint", "timeout_min", "cpus_per_task"),
        *("gpus_per_node", "mem_gb", "array_parallelism", "signal_delay_s", "max_num_timeout"),
        *("address", "num_cpus", "num_gpus"),  # of Ray
    ]
    put(folder, HYDRA["callback made of text"] + "\nseed: '${oc.env:HOME}'")
    assert refused(folder, ["train", "--config-dir", "own", "experiment=x"], capsys) == (
        "mmx: 2 problems in the config\n"
        "own/experiment/x.yaml: hydra.callbacks={a: ${oc.create:{_target_: "
        "torch.utils.collect_env.run, command: touch execut...: a config says nothing to Hydra but "
        "which launcher: it is data, and mmx does the rest\n"
        f"  accepted: hydra/launcher, {', '.join(f'hydra.launcher.{name}' for name in options)}\n"
        "own/experiment/x.yaml: seed=${oc.env:HOME}: is no reference to a key: a config calls "
        "nothing, and reads no environment\n"
        "  accepted: ${key}, ${key.key}\n"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 1\nseed: 2", "is not YAML (line 3: found duplicate key seed)"),
        ("seed:\t\t1", "is not YAML (line 2: found character '\\t' that cannot start any token)"),
        ("seed: 1\n---\nseed: 2", "is not YAML (line 3: but found another document)"),
        ("null: 1", "is no plain config (Incompatible key type 'NoneType')"),
        (
            "name: !!set {a, b}",
            "is no plain config (Value 'set' is not a supported primitive type)",
        ),
        ("callbacks: {a: b}", "callbacks={a: b}: is a mapping\n  accepted: a list"),
        ("trainer: [1]", "trainer=[1]: is a list\n  accepted: a mapping"),
        ("metric: [accuracy]", "metric=[accuracy]: is a list\n  accepted: a mapping"),
    ],
)
def test_a_file_that_is_no_config_is_named_with_its_line(folder, capsys, text, said):
    put(folder, text)
    assert refused(folder, ["train", "--config-dir", "own", "experiment=x"], capsys) == (
        f"mmx: 1 problem in the config\nown/experiment/x.yaml: {said}\n"
    )


def special(folder: Path, kind: str) -> None:
    path = folder / "own" / "experiment" / "x.yaml"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "link out":
        path.symlink_to(folder / "secret.yaml")
    elif kind == "link to itself":
        path.symlink_to(path)
    elif kind == "link to nothing":
        path.symlink_to(folder / "own" / "none")
    elif kind == "latin":
        path.write_bytes(PACKAGE.encode() + "# größe\n".encode("latin-1"))
    elif kind == "binary":
        path.write_bytes(bytes(range(256)))
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(2**40)
    elif kind == "unreadable":
        path.symlink_to("/proc/1/mem")


KINDS = (
    "pipe",
    "device",
    "folder",
    "link out",
    "link to itself",
    "link to nothing",
    "latin",
    "binary",
    "sparse",
    "unreadable",
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("road", ["train", "cfg"])
def test_what_is_no_plain_file_is_refused_at_once(folder, capsys, road, kind):
    special(folder, kind)
    err = refused(folder, [*ROADS[road], "--config-dir", "own", "experiment=x"], capsys)
    assert len(err.splitlines()) <= 5
    assert main(["train", "--config-dir", "own", "--help"]) == 0


def test_a_link_within_the_folder_is_read(folder):
    (folder / "own" / "experiment" / "y.yaml").write_text(PACKAGE + "seed: 5\n")
    (folder / "own" / "experiment" / "x.yaml").symlink_to("y.yaml")
    with compose.composer([Path("own")]):
        assert compose.compose_job(["experiment=x"]).config["seed"] == 5


@pytest.mark.parametrize("name", ["hydra", "hydra.yaml"])
def test_a_folder_does_not_replace_hydras_own_configs(folder, capsys, name):
    (folder / "own" / name).mkdir()
    assert refused(folder, ["train", "--config-dir", "own"], capsys) == (
        "mmx: 1 problem in the config\n"
        f"own/{name}: has the name of Hydra's own configs, which a folder does not replace\n"
    )


TYPED = (
    "hydra.callbacks={a:{_target_:os.abort}}",
    "+hydra.callbacks.a._target_=os.abort",
    "++hydra.callbacks.a._target_=os.abort",
    "hydra/callbacks=evil",
    "hydra/callbacks@hydra.x=evil",
    "hydra={callbacks:{a:1}}",
    "hydra.searchpath=[pkg://this]",
    "+hydra.job.env_set.MINE=1",
    "hydra.job.chdir=true",
    "hydra.mode=MULTIRUN",
    "hydra/job_logging=default",
    "hydra/sweeper=basic",
    "hydra/launcher=joblub",
    "+hydra/launcher=joblib",
    "~hydra.launcher",
    "hydra.launcher._target_=os.abort",
    "+hydra.launcher.initializer=os.abort",
    "hydra.launcher.n_jobs=2",
    "hydra.output_subdir=x",
    "hydra.verbose=true",
    "seed=${oc.env:HOME}",
    "control='${oc.env:HOME}'",
    "control=$\\{oc.env:HOME\\}",
    "hydra.run.dir=${oc.env:HOME}",
)


@pytest.mark.parametrize(
    ("road", "text"),
    [
        *(("train", text) for text in TYPED),
        *((road, text) for road in ("sweep", "rank", "cfg", "info") for text in TYPED[::4]),
    ],
)
def test_a_command_line_says_to_hydra_which_launcher_and_no_more(folder, capsys, road, text):
    words = [word for word in ROADS[road] if "=" not in word]
    refused(folder, [words[0], text, *words[1:]], capsys)


@pytest.mark.parametrize(
    ("overrides", "name", "options"),
    [
        ([], "basic", {}),
        (["hydra/launcher=basic"], "basic", {}),
        (["hydra/launcher=joblib"], "joblib", {}),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], "joblib", {"n_jobs": 2}),
        (
            ["hydra/launcher=joblib", "hydra.launcher.timeout=60", "hydra.launcher.batch_size=3"],
            "joblib",
            {"timeout": 60.0, "batch_size": 3},
        ),
        (["experiment=x"], "joblib", {"n_jobs": 3}),
        (["experiment=x", "hydra.launcher.n_jobs=2"], "joblib", {"n_jobs": 2}),
    ],
)
def test_a_launcher_and_its_numbers_may_be_chosen(folder, overrides, name, options):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    text = "defaults: [override /hydra/launcher: joblib]\nhydra: {launcher: {n_jobs: 3}}"
    put(folder, text)
    with compose.composer([Path("own")]):
        found = compose.compose_job(overrides).launcher
    assert (found.name, found.options) == (name, options)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("n_jobs=0", "no job would run"),
        ("n_jobs=many", "expected an integer"),
        ("n_jobs=5000", "≤ 1024"),
        ("pre_dispatch='__import__(1)'", "no code reads this key"),
        ("temp_folder=/tmp", "no code reads this key"),
        ("n_job=2", "n_jobs"),
    ],
)
def test_a_launchers_numbers_are_checked(folder, capsys, text, said):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    words = ["train", "-m", "hydra/launcher=joblib", f"hydra.launcher.{text}"]
    assert said in refused(folder, words, capsys)


def test_what_is_typed_decides_where_is_written(folder):
    put(folder, "output_dir: /tmp/executed\ncache: /tmp/executed\ncache_gb: 1\ndownload: true")
    typed = ["output_dir=mine", "cache=off", "cache_gb=2", "download=false", "experiment=x"]
    with compose.composer([Path("own")]):
        config = compose.compose_job(typed).config
    assert [config[key] for key in ("output_dir", "cache", "cache_gb")] == ["mine", "off", 2]
    put(folder, "output_dir: mine/here\ncache: store\ndata_dir: /data")
    with compose.composer([Path("own")]):
        config = compose.compose_job(["experiment=x"]).config
    assert [config[key] for key in ("output_dir", "cache")] == ["mine/here", "store"]


def test_references_between_keys_are_resolved(folder):
    put(
        folder,
        "seed: 3\nmatch_params: '${seed}'\n"
        "trainer: {warmup: '0.${seed}', epochs: '${.batch_size}'}",
    )
    with compose.composer([Path("own")]):
        config = compose.compose_job(["experiment=x", "curve=${trainer.batch_size}"]).config
    assert (config["match_params"], config["trainer"]["warmup"]) == (3, "0.3")
    assert config["trainer"]["epochs"] == config["curve"] == 64
