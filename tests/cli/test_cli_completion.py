"""What TAB finds, and that the shells' own scripts pass it on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from catalogue import options, starting

from mmx.verbs import find_verbs
from mmx.verbs.completion import SCRIPTS, complete_line

TR, CI, FS = (
    starting("tr", find_verbs()),
    starting("ci", options("source")),
    starting("fs", options("source")),
)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mmx tr", TR),
        ("mmx re", starting("re", find_verbs())),
        ("mmx completion ", ["bash", "zsh", "fish"]),
        ("mmx train source=ci", starting("ci", options("source"), "source=")),
        ("mmx train target=ci", starting("ci", options("target"), "target=")),
        ("mmx train encoder/image=sm", starting("sm", options("encoder/image"), "encoder/image=")),
        ("mmx train trainer.ep", ["trainer.epochs="]),
        ("mmx train encoder/image=vit_b_16 encoder.image.he", ["encoder.image.heads="]),
        ("mmx train ta", ["target.", "target="]),
        ("mmx train -m source=none,fs", starting("fs", options("source"), "source=none,")),
        ("mmx train -m seed=1,2 fusion=g", starting("g", options("fusion"), "fusion=")),
        ("mmx train --cfg ", ["job", "hydra", "all"]),
        ("mmx train --res", ["--resolve"]),
        ("mmx train --config-dir o", []),
        ("mmx train hyd", []),
        ("mmx train +hyd", []),
        ("mmx train task", []),
        ("mmx list ", []),
    ],
)
def test_candidates(line, expected):
    assert complete_line(line) == expected


def test_candidates_are_names_that_there_are():
    assert {"source=cifar10", "source=cifar100"} <= {*complete_line("mmx train source=ci")}
    assert {"resume", "reproduce"} <= {*complete_line("mmx re")}


def test_every_group_is_offered():
    assert {"source=", "target=", "fusion=", "encoder/", "trainer.", "seed="} <= set(
        complete_line("mmx train ")
    )


@pytest.mark.parametrize("flag", ["--config-dir own", "--config-dir=own", "-cd own"])
def test_the_users_own_tasks(tmp_path, monkeypatch, flag):
    (tmp_path / "own" / "task").mkdir(parents=True)
    (tmp_path / "own" / "task" / "mine.yaml").write_text("# mine\n_target_: a.B\n")
    monkeypatch.chdir(tmp_path)
    assert complete_line(f"mmx train {flag} target=mi") == ["target=mine"]
    assert complete_line("mmx train target=mi") == []


@pytest.mark.parametrize("verb", [n for n, v in find_verbs().items() if v.completes == {"runs": 1}])
def test_run_directories(tmp_path, monkeypatch, verb):
    monkeypatch.chdir(tmp_path)
    Path("outputs/runs/one").mkdir(parents=True)
    Path("outputs/sweeps/s/runs/two").mkdir(parents=True)
    both = ["outputs/runs/one", "outputs/sweeps/s/runs/two"]
    assert complete_line(f"mmx {verb} ") == both
    assert complete_line(f"mmx {verb} outputs/r") == both[:1]
    assert complete_line(f"mmx {verb} outputs/runs/one x") == []


def test_matrix_takes_overrides_runs_and_sweeps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("outputs/runs/one").mkdir(parents=True)
    Path("outputs/sweeps/s/runs/two").mkdir(parents=True)
    sources = starting("ci", options("source"), "source=")
    assert complete_line("mmx matrix source=ci") == sources
    runs = ["outputs/runs/one", "outputs/sweeps/s/runs/two"]
    assert complete_line("mmx matrix outputs/") == [*runs, "outputs/sweeps/s"]
    assert complete_line("mmx matrix outputs/runs/one outputs/s") == [runs[1], "outputs/sweeps/s"]
    assert complete_line("mmx matrix --format j") == ["json"]


@pytest.fixture
def path_with_mmx(tmp_path: Path) -> str:
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "mmx"
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} -m mmx "$@"\n')
    tool.chmod(0o755)
    (tmp_path / "recipes").mkdir()
    return f"{tmp_path / 'bin'}:/usr/local/bin:/usr/bin:/bin"


def shell(name: str, script: str, folder: Path, path: str) -> list[str]:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    done = subprocess.run(
        [name, "-c", script],
        cwd=folder,
        env={"PATH": path, "HOME": str(folder), "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


BASH = """
eval "$(mmx completion bash)"
complete -p mmx
compopt() { echo "compopt $*"; }
try() {
    COMP_LINE="$1" COMP_POINT=${#1} COMPREPLY=()
    COMP_WORDS=($1) COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _mmx
    echo "$1 -> ${COMPREPLY[*]}"
}
try "mmx tr"
try "mmx train source=ci"
try "mmx train trainer.ep"
try "mmx train -m source=none,fs"
try "mmx train --config-dir r"
"""


@pytest.mark.slow
def test_bash(tmp_path, path_with_mmx):
    assert shell("bash", BASH, tmp_path, path_with_mmx) == [
        "complete -o default -F _mmx mmx",
        f"mmx tr -> {' '.join(TR)}",
        f"mmx train source=ci -> {' '.join(CI)}",  # readline replaces what follows the "="
        "compopt -o nospace",
        "mmx train trainer.ep -> trainer.epochs=",
        f"mmx train -m source=none,fs -> {' '.join(f'none,{name}' for name in FS)}",
        "mmx train --config-dir r -> ",
    ]


@pytest.mark.slow
def test_fish(tmp_path, path_with_mmx):
    script = "mmx completion fish | source\n" + "\n".join(
        f'complete -C "{line}"'
        for line in ("mmx tr", "mmx train source=ci", "mmx train --config-dir rec")
    )
    assert shell("fish", script, tmp_path, path_with_mmx) == [
        *TR,
        *(f"source={name}" for name in CI),
        "recipes/",
    ]


@pytest.mark.slow
def test_zsh_defines_its_function(tmp_path, path_with_mmx):
    script = (
        "autoload -Uz compinit; compinit -u -d dump; "
        'eval "$(mmx completion zsh)"; print ${_comps[mmx]} $+functions[_mmx]'
    )
    assert shell("zsh", script, tmp_path, path_with_mmx) == ["_mmx 1"]


def test_scripts_say_how_to_install_them():
    for name, script in SCRIPTS.items():
        assert f"mmx completion {name}" in script
