"""What an exported folder says and keeps of its run, without a run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from jinja2 import Environment, PackageLoader

from mmx.export import rebuild
from mmx.export.description import write_classes
from mmx.export.formats.safetensors import Safetensors
from mmx.tasks import Target

CONFIG = {
    "seed": 3,
    "target": {"_target_": "mmx.tasks.table.Table", "path": "x.csv"},
    "tracker": {"_target_": "mmx.trackers.mlflow.MLflow", "uri": "https://me:secret@host"},
    "callbacks": [{"_target_": "my_pkg.hooks.MyCallback"}],
    "output_dir": "/home/me/outputs",
    "cache": "/home/me/cache",
    "data_dir": "/home/me/data",
}


def write_card(target: dict[str, Any], calibration: Any) -> str:
    about = {
        "inputs": {},
        "packages": [],
        "target": target,
        "calibration": calibration,
        "provenance": {},
        "checked": {"largest_difference": 0.0},
    }
    pages = Environment(loader=PackageLoader("mmx", "export"), autoescape=False)
    card = pages.get_template("model_card.md.jinja")
    return card.render(about=about, metrics={}, licences={}, gains=[], precision="fp32")


def test_the_card_speaks_of_probabilities_where_there_are_some() -> None:
    classes = {"kind": "classes", "classes": ["a", "b"]}
    assert "Probabilities are not calibrated" in write_card(classes, None)
    assert "Probabilities are calibrated on" in write_card(classes, {"scale": [1.0]})
    numbers = {"kind": "regression", "classes": [], "mean": 0.0, "std": 1.0}
    assert "robabilit" not in write_card(numbers, None)


def test_names_of_classes_are_text_in_the_card() -> None:
    names = ["<script>alert(1)</script>", "a & b", "c\nd", "e\x1b[2J"]
    shown = r"&lt;script&gt;alert(1)&lt;/script&gt;, a &amp; b, c\nd, e\x1b[2J"
    assert write_classes(names) == shown


def test_the_config_keeps_the_model_and_no_place_of_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph: Any = SimpleNamespace(
        model=torch.nn.Linear(2, 1),
        list_inputs=dict,
        target=Target("classes", ("a", "b")),
    )
    Safetensors().write(graph, CONFIG, tmp_path)
    text = (tmp_path / rebuild.CONFIG).read_text()
    assert yaml.safe_load(text) == {"seed": 3, "target": CONFIG["target"]}

    assembled: list[Any] = []

    def assemble(config: Any, allow: Any) -> Any:
        assembled.append(config)
        raise InterruptedError

    monkeypatch.setattr(rebuild, "assemble", assemble)
    for kept in (yaml.safe_load(text), CONFIG):  # CONFIG: a folder from before
        (tmp_path / rebuild.CONFIG).write_text(yaml.safe_dump(kept))
        with pytest.raises(InterruptedError):
            rebuild.rebuild(tmp_path)
        own = {"seed": 3, "target": CONFIG["target"]}
        assert assembled.pop() == {**own, "data_dir": str(tmp_path), "cache": "off"}


def test_readers_beside_a_model_refuse_what_mmx_refuses() -> None:
    pytest.importorskip("av")
    from mmx.export.readers import image, video
    from mmx.modalities import clips, pixels

    assert video.SAFE == clips.SAFE
    assert set(image.UNSAFE) == pixels.UNSAFE
