"""Installed packages add options by entry points; nothing of them is executed unasked."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from refusals import check_notes

from mmx.config import compose
from mmx.config.clashes import find_clash
from mmx.config.locate import builtin_directory
from mmx.config.part_packages import find_part_packages
from mmx.errors import Problem
from mmx.experiment.publishing import find_published_encoders
from mmx.runs.directory import RunDirectory
from mmx.runs.manifest import Manifest
from mmx.verbs.completion import complete_line
from mmx.verbs.doctor_packages import find_packages
from mmx.verbs.run_packages import list_other_versions, require_packages

CODE = """\
from mmx.fusion.concat import Concat


class Mine(Concat):
    \"\"\"Concatenates.\"\"\"
"""
MINE = "# a fusion of my own\n_target_: {module}.fusions.Mine\nhidden: 8  # of a layer\n"
Install = Callable[..., Path]
PACKAGE = "[part-one 1.0, --allow part_one]"
LINE = ("train", "source=none", "target=digits_av")


@pytest.fixture
def install(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return ``install(module, files, name=…, version=…, entry=…)``, which returns its site."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(
        module: str, files: dict[str, str], *, version: str = "1.0", entry: str | None = None
    ) -> Path:
        site = tmp_path_factory.mktemp("site")
        folder = site / module.replace(".", "/")
        for name, text in {"__init__.py": "", "fusions.py": CODE, **files}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        about = site / f"{module.replace('.', '_')}-{version}.dist-info"
        about.mkdir()
        name = module.replace("_", "-").replace(".", "-")
        (about / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        (about / "entry_points.txt").write_text(f"[mmx.parts]\n{name} = {entry or module}\n")
        monkeypatch.syspath_prepend(str(site))
        return site

    return write


@pytest.fixture(autouse=True)
def _forget_modules() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("part_one", "part_two", "part_bad", "acme"):
            del sys.modules[name]


def offer(module: str, option: str = "mine") -> dict[str, str]:
    return {f"configs/fusion/{option}.yaml": MINE.format(module=module)}


def test_options_are_shown_with_their_package(install: Install, mmx: Callable[..., Any]) -> None:
    install("part_one", {**offer("part_one"), "configs/task/shoes.yaml": "# my shoes\n"})
    page = mmx("train", "--help").out
    (line,) = [line for line in page.splitlines() if "a fusion of my own" in line]
    assert " ".join(line.split()) == f"mine a fusion of my own {PACKAGE}"
    assert "my shoes [part-one 1.0" in page
    assert complete_line("mmx train fusion=mi") == ["fusion=mine"]
    assert complete_line("mmx train target=sho") == ["target=shoes"]
    (found,) = find_packages()
    assert (found.name, found.state) == ("part-one 1.0", "ok")
    assert found.found == "adds fusion=mine, task=shoes   (--allow part_one)"


def test_a_near_word_is_found(install: Install, refuse: Callable[..., Any]) -> None:
    install("part_one", offer("part_one"))
    (problem,) = refuse(*LINE, "fusion=minn")
    assert (problem.closest, problem.type_this) == ("mine", "fusion=mine")
    assert "mine" in problem.accepted


def test_nothing_is_executed_unasked(install: Install, refuse: Callable[..., Any]) -> None:
    site = install("part_one", offer("part_one"))
    (problem,) = refuse(*LINE, "fusion=mine")
    assert problem.given == "fusion._target_=part_one.fusions.Mine"
    assert problem.type_this.startswith("--allow part_one   (")
    assert problem.where == f"{site}/part_one/configs/fusion/mine.yaml, line 2"
    assert not [name for name in sys.modules if name.startswith("part_one")]


def test_what_is_allowed_is_built(install: Install, mmx: Callable[..., Any]) -> None:
    install("part_one", offer("part_one"))
    with pytest.raises(AssertionError, match="something was written"):  # the run's directory
        mmx(*LINE, "--allow", "part_one", "fusion=mine", "fusion.hidden=4", "output_dir=there")
    assert sys.modules["part_one.fusions"].Mine


def test_a_module_within_a_package(install: Install, refuse: Callable[..., Any]) -> None:
    """Of ``acme.parts`` the folder is found without importing ``acme``."""
    site = install("acme.parts", offer("acme.parts"))
    (site / "acme" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (found,) = find_part_packages()
    assert (found.folder, found.package) == (site / "acme" / "parts" / "configs", "acme")
    (problem,) = refuse(*LINE, "fusion=mine")
    assert problem.type_this.startswith("--allow acme   (")


def test_one_that_cannot_be_imported_breaks_those_alone_who_use_it(
    install: Install, refuse: Callable[..., Any], mmx: Callable[..., Any]
) -> None:
    install("part_bad", {**offer("part_bad"), "fusions.py": "import no_such_library\n"})
    (problem,) = refuse(*LINE, "--allow", "part_bad", "fusion=mine")
    assert problem.given == "fusion._target_=part_bad.fusions.Mine"
    assert "no_such_library" in problem.reason
    assert mmx("train", "--cfg", "job", "fusion=gated").code == 0


def test_a_package_without_its_folder_is_named(install: Install, mmx: Callable[..., Any]) -> None:
    install("part_one", {}, entry="part_one")
    install("part_two", offer("part_two"), entry="part_two:configs")
    assert [(each.name, each.state) for each in find_packages()] == [
        ("part-one 1.0", "note"),
        ("part-two 1.0", "note"),
    ]
    assert mmx("train", "--cfg", "job", "fusion=gated").code == 0


def test_no_name_of_mmx_is_taken_away(install: Install, mmx: Callable[..., Any]) -> None:
    none = {"configs/source/none.yaml": "# mine\nlost: true\n"}
    site = install("part_one", {**offer("part_one", "concat"), **none})
    folder = site / "part_one" / "configs"
    found = mmx(*LINE, "--dry-run", "fusion=concat")
    assert found.code == 0
    notes = sorted(line for line in found.err.splitlines() if line.startswith("note:"))
    check_notes(
        notes,
        ("fusion=concat", "mmx", "part-one 1.0", typed := f"--config-dir {folder} fusion=concat"),
        ("source=none", "mmx", "part-one 1.0", f"--config-dir {folder} source=none"),
    )
    own = mmx(*LINE, "--cfg", "job", "fusion=concat").out
    assert "_target_: mmx.fusion.concat.Concat" in own
    assert "lost" not in own
    found = mmx("train", "--cfg", "job", *shlex.split(typed))
    assert "_target_: part_one.fusions.Mine" in found.out
    named = [each.found for each in find_packages() if each.state == "note"]
    check_notes(named, ("fusion=concat", typed), ("source=none",))


def test_names_are_quoted_for_a_shell(install: Install) -> None:
    site = install("part_one", offer("part_one", "a;b"))
    install("part_two", offer("part_two", "a;b"))
    clash = find_clash("fusion", "a;b", "fusion=a;b")
    assert clash is not None
    assert clash.type_this is not None
    folder = site / "part_one" / "configs"
    assert clash.type_this.startswith(f"--config-dir {folder} 'fusion=a;b'   (")


@pytest.mark.parametrize("group", ["fusion", "encoder/image", "transfer", "objective"])
def test_a_default_stays_that_of_mmx(install: Install, mmx: Callable[..., Any], group: str) -> None:
    own = mmx("train", "--cfg", "job").out
    names = [path.stem for path in (builtin_directory() / group).glob("*.yaml")]
    install("part_one", {f"configs/{group}/{name}.yaml": "lost: true\n" for name in names})
    assert mmx("train", "--cfg", "job").out == own


def test_two_packages_with_one_name(install: Install, refuse: Callable[..., Any]) -> None:
    site = install("part_one", offer("part_one"))
    install("part_two", offer("part_two"), version="2.1")
    (problem,) = refuse(*LINE, "fusion=mine")
    assert "part-one 1.0" in problem.reason
    assert "part-two 2.1" in problem.reason
    chosen = f"--config-dir {site / 'part_one' / 'configs'} fusion=mine"
    assert problem.type_this.startswith(chosen)
    (allowed,) = refuse(*LINE, *shlex.split(chosen))
    assert allowed.given == "fusion._target_=part_one.fusions.Mine"


def recipe_with(option: str) -> dict[str, str]:
    recipe = f"# @package _global_\ndefaults:\n  - override /fusion: {option}\n"
    return {**offer("part_one", option), "configs/experiment/own.yaml": recipe}


def test_a_file_of_a_package_chooses_no_name_of_two_packages(
    install: Install, refuse: Callable[..., Any]
) -> None:
    install("part_one", recipe_with("mine"))
    install("part_two", offer("part_two"))
    problems: tuple[Problem, ...] = refuse(*LINE, "experiment=own")
    assert "fusion=mine" in [problem.given for problem in problems]


def test_a_file_of_a_package_chooses_what_mmx_has(
    install: Install, mmx: Callable[..., Any]
) -> None:
    install("part_one", recipe_with("gated"))
    found = mmx(*LINE, "--dry-run", "experiment=own")
    assert found.code == 0
    notes = [line for line in found.err.splitlines() if line.startswith("note: fusion")]
    check_notes(notes, ("fusion=gated", "part-one 1.0"))
    own = mmx(*LINE, "--cfg", "job", "experiment=own").out
    assert "_target_: mmx.fusion.gated." in own


def test_files_may_say_what_those_of_a_folder_may(
    install: Install, refuse: Callable[..., Any], tmp_path: Path
) -> None:
    """They do not say where results go, what is downloaded, or anything to Hydra."""
    recipe = f"# @package _global_\noutput_dir: {tmp_path}\ntrainer:\n  epochs: 3\n"
    hydra = "# @package _global_\nhydra:\n  job:\n    chdir: true\n"
    install(
        "part_one",
        {
            "configs/experiment/there.yaml": recipe,
            "configs/experiment/hydra.yaml": hydra,
            "configs/config.yaml": "seed: 7\n",
            "configs/hydra/launcher/basic.yaml": "lost: true\n",
        },
    )
    (problem,) = refuse(*LINE, "experiment=there")
    assert problem.given.startswith("output_dir=")
    assert refuse(*LINE, "experiment=hydra")
    with compose.composer():
        assert compose.compose_job([]).config["seed"] == 0


def test_the_working_directory_installs_nothing(
    install: Install, mmx: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = install("part_one", offer("part_one"))
    assert find_part_packages()
    monkeypatch.chdir(site)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert find_part_packages() == ()


def test_looking_for_published_weights_imports_no_package(install: Install) -> None:
    before = find_published_encoders("image")
    text = "_target_: part_one.fusions.Mine\n"
    install("part_one", {"configs/encoder/image/mine.yaml": text})
    assert find_published_encoders("image") == before
    assert "part_one" not in sys.modules


class Recorded(RunDirectory):
    """A run directory with a manifest alone."""

    def __init__(self, name: str, version: str) -> None:
        self._manifest = Manifest(packages={"part_one": name}, versions={name: version})

    def manifest(self) -> Manifest:
        return self._manifest


CONFIG = {"fusion": {"_target_": "part_one.fusions.Mine"}, "objective": {"_target_": "mmx.a.B"}}


def test_what_to_install_is_said(refuse: Callable[..., Any]) -> None:
    with pytest.raises(Exception, match=r"part-one 1\.0") as caught:
        require_packages(Recorded("part-one", "1.0"), CONFIG)
    (problem,) = caught.value.problems
    assert problem.given == "fusion._target_=part_one.fusions.Mine"
    assert problem.type_this.startswith("pip install 'part-one==1.0'   (if you trust it")


@pytest.mark.parametrize(("name", "version"), [("-r x", "1"), ("a';rm -rf ~;'", "1"), ("a", "1 b")])
def test_a_forged_name_is_not_advised(name: str, version: str) -> None:
    with pytest.raises(Exception, match="not installed") as caught:
        require_packages(Recorded(name, version), CONFIG)
    assert caught.value.problems[0].type_this is None


def test_another_version_is_said(install: Install) -> None:
    install("part_one", offer("part_one"), version="1.1")
    require_packages(Recorded("part-one", "1.0"), CONFIG)
    (note,) = list_other_versions(Recorded("part-one", "1.0"))
    assert "part-one 1.0" in note
    assert "1.1" in note
    assert list(list_other_versions(Recorded("part-one", "1.1"))) == []


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (
            "fusion=mine",
            "fusion=mine is an option, and a class is checked\n"
            "  tip: mmx check part_one.fusions:Mine",
        ),
        (
            "fusion=mime",
            "fusion=mime is an option, and a class is checked; there is no fusion=mime, but "
            "fusion=mine\n  tip: mmx check part_one.fusions:Mine",
        ),
        (
            "part_ome.fusions:Mine",
            "there is no module part_ome\n  tip: mmx check part_one.fusions:Mine",
        ),
        (
            "fusion=",
            "'fusion=' names no class of a module\n  tip: mmx check my_package.my_module:MyClass",
        ),
    ],
)
def test_the_class_of_an_option_is_told(
    install: Install, mmx: Callable[..., Any], typed: str, message: str
) -> None:
    install("part_one", offer("part_one"))
    said = mmx("check", typed)
    assert (said.code, said.out, said.err) == (2, "", f"mmx: {message}\n")


def test_the_class_of_a_task_is_told_with_its_file(mmx: Callable[..., Any]) -> None:
    path = builtin_directory() / "task" / "digits.yaml"
    said = mmx("check", "target=digits")
    assert said.err.endswith(f"tip: mmx check mmx.tasks.digits:Digits --config {path}\n")


def test_an_option_without_a_contract_is_told_so(mmx: Callable[..., Any]) -> None:
    said = mmx("check", "optimizer=sgd")
    assert said.code == 2
    assert said.err.startswith(
        "mmx: optimizer=sgd is an option of a kind without a contract; the kinds that have one are "
    )
