"""Every YAML under configs/ composes and assembles, and states its class's own defaults."""

from __future__ import annotations

import importlib
import inspect
import json
import math
import struct
import wave
from pathlib import Path
from typing import Any

import catalogue
import pytest
import yaml
from PIL import Image
from tiny_models import find_stand_ins, find_tiny_model

from mmx.config import compose, override_problems
from mmx.config.locate import builtin_directory, find_options, list_groups, read_headline
from mmx.encoders import Encoder
from mmx.experiment import Settings, assemble
from mmx.experiment.assemble import PART_KEYS
from mmx.tasks.table import MODALITIES
from mmx.training.trainer import Trainer

CONFIGS = builtin_directory()
FILES = catalogue.FILES

OF_A_MODALITY = {
    "image": ["source=none", "target=digits"],
    "audio": ["source=none", "target=fsdd"],
    **{
        name: ["source=none", "target=table", f"target.columns={{{name}: size}}"]
        for name in MODALITIES
        if name not in {"image", "audio"}
    },
}
OBJECTIVES = catalogue.classes("objective")
METRICS = catalogue.classes("metric")
BALANCES = catalogue.classes("balance")
SOUND_AND_PICTURE = ["source=none", "target=digits_av"]
TERMS = {
    name: f"cross_entropy: 1, {name}: 0.1"
    for name, kind in OBJECTIVES.items()
    if not kind.reads_outputs and not kind.label_free
}
"""Objectives that need another one that reads the outputs."""
GIVEN = {  # of a task; without an entry, an option that is required gets a plain value of its type
    "table": ["path={folder}/table.csv", "label=kind"],
    "image_folder": ["path={folder}/images"],
    "torchvision": ["name=eurosat"],
    "pickled_sequences": ["path={folder}/mosi.pkl", "kind=classes"],
    "hf_dataset": ["path={folder}/table.csv", "label=kind", "columns={{text: words}}"],
    "webdataset": ["path={folder}/a.tar"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Real files, small ones: a table of all modalities and a folder of images."""
    folder = tmp_path_factory.mktemp("files")
    rows = ["photo,sound,words,size,kind"]
    for index in range(8):
        kind = "ab"[index % 2]
        photo = folder / "images" / kind / f"{index}.png"
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (index, 0, 0)).save(photo)
        sound = folder / f"{index}.wav"
        with wave.open(str(sound), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            tone = [int(9000 * math.sin(index + step)) for step in range(800)]
            file.writeframes(struct.pack("<800h", *tone))
        rows.append(f"{photo},{sound},some words {index},{index},{kind}")
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    return folder


def served(objective: str) -> frozenset[str]:
    """Return the kinds of target that an objective serves as its file states it."""
    kinds: frozenset[str] = getattr(OBJECTIVES[objective], "kinds", frozenset({"classes"}))
    return kinds  # of one that has them of its terms: those of cross-entropy


def is_defined(found: Any, module: Any) -> bool:
    """Return whether something is an encoder class of a module's own."""
    return (
        inspect.isclass(found)
        and found.__module__ == module.__name__  # first: Python 3.10 takes an alias for a class
        and issubclass(found, Encoder)
    )


def overrides_for(path: Path, folder: Path) -> list[str]:
    """Return a command line that uses an option, with what it needs."""
    group, name = path.relative_to(CONFIGS).parent.as_posix(), path.stem
    chosen = [f"{group}={name}"]
    if group == "task":
        chosen = ["source=none", f"target={name}"]
    elif group.startswith("encoder/"):
        modality = group.split("/")[1]
        chosen = [*OF_A_MODALITY[modality], *chosen]
        if yaml.safe_load(path.read_text()).get("model") == "???":
            module = importlib.import_module(f"mmx.encoders.{modality}.{name}")
            kind = next(each for each in vars(module).values() if is_defined(each, module))
            chosen.append(f"encoder.{modality}.model={find_tiny_model(kind)}")
    elif group == "experiment":
        chosen += find_stand_ins(path)
    elif group == "balance" and name in BALANCES and BALANCES[name].mixes_inputs_of:
        chosen = [*OF_A_MODALITY[BALANCES[name].mixes_inputs_of], *chosen]
    elif chosen == ["source=published"]:
        chosen = ["target=digits", "encoder/image=resnet18", *chosen]
    elif group == "objective" and name in TERMS:
        chosen = [*SOUND_AND_PICTURE, "objective=combined", f"objective.terms={{{TERMS[name]}}}"]
    elif group == "objective" and OBJECTIVES[name].cross_modal:
        chosen = [*SOUND_AND_PICTURE, *chosen]
    elif group == "objective" and "classes" not in served(name):
        chosen = [*OF_A_MODALITY["tabular"], f"target.kind={min(served(name))}", *chosen]
    elif group == "metric" and name in METRICS and "classes" not in METRICS[name].kinds:
        numbers = ["target.kind=regression", "objective=mean_squared_error"]
        chosen = [*OF_A_MODALITY["tabular"], *numbers, *chosen]
    for key, given in GIVEN.items():
        if f"target={key}" in chosen:
            chosen += [f"target.{each.format(folder=folder)}" for each in given]
    if group == "task" and name not in GIVEN:
        made_up = catalogue.make_up_required(path)
        chosen += [f"target.{key}={json.dumps(value)}" for key, value in made_up.items()]
    if chosen[:2] == ["source=none", "target=table"] and group == "task":
        chosen += ["'target.columns={image: photo, audio: sound, text: words, tabular: size}'"]
    return [each.strip("'") for each in chosen]


def test_every_file_is_an_option():
    listed = {path for group in list_groups() for path in find_options(group).values()}
    listed |= set((CONFIGS / "hydra" / "launcher").iterdir())  # of Hydra, which finds its own
    assert listed == set(FILES), "every file is an option of a group that help lists"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(CONFIGS)))
def test_composes_and_assembles(path, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("MMX_DATA_DIR", str(tmp_path))
    overrides = overrides_for(path, folder)
    with compose.composer():
        composed, problems = override_problems.check_overrides(compose.parse(overrides), overrides)
    assert problems == []
    experiment = assemble(composed.config)
    assert experiment.config["data_dir"] == str(tmp_path)
    group = path.relative_to(CONFIGS).parts[0]
    if group in PART_KEYS and group not in ("source", "encoder"):
        stated = yaml.safe_load(path.read_text()).get("_target_")
        if group == "objective" and path.stem in TERMS:
            stated = "mmx.objectives.combined.Combined"
        scratch = group == "transfer" and experiment.source is None
        found = experiment.config.get(group) or {}  # the usual metric is not stated
        assert scratch or found.get("_target_") == stated


@pytest.mark.parametrize("name", ["table", "image_folder"])
def test_a_task_on_real_files_loads(folder, name):
    overrides = overrides_for(CONFIGS / "task" / f"{name}.yaml", folder)
    with compose.composer():
        config = compose.compose_job(overrides).config
    data = assemble(config).target.load()
    assert data.target.classes == ("a", "b")
    assert sum(len(rows) for rows in data.splits.values()) == 8


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(CONFIGS)))
def test_opens_with_one_line(path):
    line = read_headline(path)
    assert 10 < len(line) <= 100
    assert line in path.read_text().splitlines()[1 if "experiment" in path.parts else 0]


def defaults(target: Any) -> dict[str, Any]:
    """Return keyword arguments with their defaults, as YAML would state them."""
    found = {}
    for name, parameter in inspect.signature(target).parameters.items():
        value = parameter.default
        if repr(value) == "<factory>":
            factory = {each.name: each for each in target.__dataclass_fields__.values()}[name]
            value = factory.default_factory()
        if parameter.kind is parameter.KEYWORD_ONLY:
            found[name] = list(value) if isinstance(value, tuple) else value
    return found


CLASSES = [path for path in FILES if path.parent.name in ("transfer", "optimizer", "task")]
SURROUNDINGS = {"${seed}": 0, "${download}": False}


@pytest.mark.parametrize("path", CLASSES, ids=lambda p: str(p.relative_to(CONFIGS)))
def test_yaml_states_every_option_with_its_default(path):
    stated = yaml.safe_load(path.read_text())
    module, name = stated.pop("_target_").rsplit(".", 1)
    expected = defaults(getattr(importlib.import_module(module), name))
    assert list(stated) == [key for key in stated if key in expected]
    silent = [key for key in expected if key not in stated]
    assert silent == [], "a file of mmx states every option, those of the base class too"
    for key, default in expected.items():
        value = SURROUNDINGS.get(value, value) if isinstance(value := stated[key], str) else value
        if isinstance(value, dict) or default is inspect.Parameter.empty:
            continue  # a node of its own, or what the user gives
        if (path.stem, key) == ("digits_av", "per_class"):
            continue  # the YAML makes it a demo
        assert value == default, key


@pytest.mark.parametrize(("part", "kind"), [("", Settings), ("trainer", Trainer)])
def test_the_root_states_the_defaults(part, kind):
    root = yaml.safe_load((CONFIGS / "config.yaml").read_text())
    stated = (
        root[part] if part else {k: v for k, v in root.items() if k not in {*PART_KEYS, "hydra"}}
    )
    stated.pop("defaults", None)
    expected = defaults(kind)
    assert list(stated) == list(expected)
    expected["data_dir"] = None  # $MMX_DATA_DIR is looked up when the config is composed
    assert stated == {key: expected[key] for key in stated}


def test_the_data_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("MMX_DATA_DIR", "~/data")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert compose.find_data_directory() == tmp_path / "data"
    monkeypatch.delenv("MMX_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert compose.find_data_directory() == tmp_path / "cache" / "mmx" / "data"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert compose.find_data_directory() == tmp_path / ".cache" / "mmx" / "data"


def test_a_download_goes_where_the_environment_says_now(tmp_path, monkeypatch):
    for name in ("one", "two"):
        monkeypatch.setenv("MMX_DATA_DIR", str(tmp_path / name))
        with compose.composer():
            config = compose.compose_job(["download=true"]).config
        assert config["data_dir"] == str(tmp_path / name)
