"""Every task's YAML states every option of its class, with a value of its type."""

import inspect
import typing
from pathlib import Path
from typing import Any

import pydantic
import pytest
from catalogue import make_up_required, with_key
from omegaconf import OmegaConf

from mmx.tasks import Task

FOLDER = Path(__file__).parents[2] / "configs" / "task"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
GIVEN = {
    "image_folder": {"path": "folder"},
    "hf_dataset": {"path": "folder", "label": "kind", "columns": {"text": "title"}},
    "torchvision": {"name": "eurosat"},
    "pickled_sequences": {"path": "mosi.pkl"},
    "webdataset": {"path": "a.tar"},
    "table": {"path": "t.csv", "label": "kind", "columns": {"text": "title"}},
}
DOWNLOAD = {name: {"download": False} for name in with_key("task", "download")}


def built(node: dict[str, Any]) -> Any:
    from pkgutil import resolve_name

    node = dict(node)
    target = resolve_name(node.pop("_target_"))
    assert set(node) == set(inspect.signature(target).parameters)
    hints = typing.get_type_hints(target.__init__, include_extras=True)
    options = {}
    for name, value in node.items():
        if isinstance(value, dict) and "_target_" in value:
            value = built(value)
        config = pydantic.ConfigDict(arbitrary_types_allowed=True)
        adapter = pydantic.TypeAdapter(hints[name], config=config)
        options[name] = adapter.validate_python(value)
    return target(**options)


@pytest.mark.parametrize("name", NAMES)
def test_a_config_states_every_option(name):
    path = FOLDER / f"{name}.yaml"
    assert path.read_text().startswith("# ")
    surroundings = {"seed": 3, "data_dir": "data", "download": False}
    config = OmegaConf.create({**surroundings, "task": OmegaConf.load(path)})
    for key, value in (GIVEN.get(name) or make_up_required(path)).items():
        OmegaConf.update(config, f"task.{key}", value)
    node = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)["task"]
    task = built(node)
    assert isinstance(task, Task)
    assert task.name == GIVEN.get(name, {}).get("name", name)
    assert task.split_seed == 3
    assert task.per_class == (10 if name == "digits_av" else None)


def list_values(part):
    """Return the options of a part of mmx, and those of parts in it; any other value as it is."""
    if not type(part).__module__.startswith("mmx."):
        return part
    return type(part), {name: list_values(value) for name, value in vars(part).items()}


def test_yaml_and_class_agree_on_defaults():
    for name in NAMES:
        node = OmegaConf.to_container(OmegaConf.load(FOLDER / f"{name}.yaml"))
        given = {"name": name, **GIVEN.get(name, {})}
        task = built({**node, "split_seed": 0, **given, **DOWNLOAD.get(name, {})})
        needed = {key: node[key] for key in ("data_dir",) if key in node}
        default = type(task)(**needed, **given)
        for option in node.keys() - {"_target_"}:
            ours, theirs = list_values(getattr(task, option)), list_values(getattr(default, option))
            if (name, option) != ("digits_av", "per_class"):  # the YAML makes it a demo
                assert ours == theirs, (name, option)


def test_none_is_an_empty_source():
    text = (FOLDER.parent / "source" / "none.yaml").read_text()
    assert text == "# no source: the target learns from scratch\n{}\n"
