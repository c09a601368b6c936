"""Ready-made experiments from published weights: they run to their end, and say what they lack.

The weights are random and tiny, made on the spot, and so is the data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import catalogue
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from tiny_models import find_stand_ins, publishes

from mmx.config import compose
from mmx.encoders.published import Published
from mmx.errors import ConfigError
from mmx.experiment import assemble
from mmx.experiment.publishing import PublishedStart, find_missing_files, find_other_formats
from mmx.runs.directory import RunDirectory
from mmx.stage_id import Role

pytest.importorskip("transformers")
pytest.importorskip("timm")
pytestmark = pytest.mark.filterwarnings("ignore")

RECIPES = [path for path in catalogue.folder("experiment") if publishes(catalogue.read(path))]
NAMES = [path.stem for path in RECIPES]


def find_lines(recipe: Path) -> list[str]:
    """Return what a recipe's header says to type, without ``mmx train``."""
    return re.findall(r"^# mmx train (.*)$", recipe.read_text(encoding="utf-8"), re.MULTILINE)


LINES = [(recipe, line) for recipe in RECIPES for line in find_lines(recipe)]
NUMBERED = [(recipe, n) for recipe in RECIPES for n, _ in enumerate(find_lines(recipe))]
CIFAR = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TOPICS = ("World", "Sports", "Business", "Sci/Tech")


def save_image(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), (shade, 255 - shade, 128)).save(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder in the layouts that the recipes read, with a few rows of each class."""
    folder = tmp_path_factory.mktemp("data")
    for number, name in enumerate(CIFAR):
        for split, rows in (("train", 4), ("test", 1)):
            for row in range(rows):
                save_image(folder / "cifar10" / split / name / f"{row}.png", 20 * number + row)
    sounds = folder / "fsdd" / "recordings"
    sounds.mkdir(parents=True)
    for digit in range(10):
        for speaker, rows in (("jackson", 3), ("theo", 1), ("yweweler", 1)):
            for row in range(rows):
                tone = np.sin(np.arange(1600) * (digit + 1) / 9 + row)
                soundfile.write(sounds / f"{digit}_{speaker}_{row}.wav", tone * 0.4, 8000)
    save_news(folder / "ag_news" / "news.csv")
    [fashion] = [path for path in RECIPES if path.stem.startswith("fashion")]
    save_products(folder / "fashion" / "products.csv", catalogue.read(fashion)["target"]["classes"])
    return folder


def save_news(path: Path) -> None:
    path.parent.mkdir()
    lines = ["title,description,topic,split"]
    for row in range(5 * len(TOPICS)):
        split = "test" if row >= 4 * len(TOPICS) else "train"
        lines.append(f"a cat {row},dogs of {row % 4},{TOPICS[row % 4]},{split}")
    path.write_text("\n".join(lines) + "\n")


def save_products(path: Path, classes: list[str]) -> None:
    path.parent.mkdir()
    lines = ["image,title,articleType,split"]
    for row in range(5 * len(classes)):
        kind, turn = classes[row % len(classes)], row // len(classes)
        split = ("train", "train", "train", "val", "test")[turn]
        save_image(path.parent / "images" / f"{row}.jpg", row)
        lines.append(f"images/{row}.jpg,a {kind},{kind},{split}")
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "line"), LINES, ids=[f"{r.stem}-{n}" for r, n in NUMBERED])
def test_what_a_recipe_says_to_type_gains_over_the_same_network_fresh(
    recipe: Path,
    line: str,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    once: Callable[[list[str]], RunDirectory],
) -> None:
    monkeypatch.setenv("MMX_DATA_DIR", str(data))
    small = ["target.per_class=2", "trainer.epochs=1", "trainer.workers=0"]
    words = [word for word in line.split() if word not in ("seeds=5", "download=true")]
    run = once([*words, *find_stand_ins(recipe), *small])
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["source"]["task"] == "published"
    assert summary["transfer"]["mode"] == (
        "feature" if "transfer=feature" in words else "parameter"
    )
    assert list(summary["gains"]) == ["scratch"]
    # Every encoder starts from its weights; the head, and nothing else, is fresh.
    states = json.loads((run.path / "transfer.json").read_text())
    taken = {name.split(".")[1] for name in states["copied"] + states["frozen"]}
    assert taken == set(catalogue.read(recipe)["encoder"])
    assert {name.split(".")[0] for name in states["fresh"]} <= {"head"}


@pytest.mark.parametrize("recipe", RECIPES, ids=NAMES)
def test_without_weights_a_recipe_says_what_to_type(
    recipe: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMX_DATA_DIR", str(data))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    given = find_stand_ins(recipe)
    for left_out in given:
        kept = [each for each in given if each != left_out]
        key = left_out.partition("=")[0].rpartition(".")[0]
        problem = describe_missing_weights([f"experiment={recipe.stem}", *kept])
        assert problem.startswith(key)
        assert re.search(rf"download=true .*; or {key}\.(model=<folder>|weights=<file>)$", problem)


def describe_missing_weights(line: list[str]) -> str:
    """Return the one problem of a line whose weights are not there."""
    with compose.composer():
        config = compose.compose_job(line).config
    try:
        made = assemble(config)
        problems = [*find_missing_files(made.start, made.find_encoder_path)]
    except ConfigError as error:
        problems = [*error.problems]
    [problem] = problems
    return str(problem)


@pytest.mark.parametrize("recipe", RECIPES, ids=NAMES)
def test_a_recipe_states_a_line_for_fine_tuning_and_one_for_frozen_features(recipe: Path) -> None:
    lines = find_lines(recipe)
    assert ["transfer=feature" in line for line in lines] == [False, True]
    for line in lines:
        assert {f"experiment={recipe.stem}", "seeds=5"} <= set(line.split())


@pytest.mark.parametrize("recipe", RECIPES, ids=NAMES)
def test_the_gains_in_a_header_are_those_of_the_table(recipe: Path) -> None:
    table = (Path(__file__).parents[2] / "docs/measured/published.md").read_text(encoding="utf-8")
    header = " ".join(line[1:] for line in recipe.read_text().splitlines() if line[:1] == "#")
    for gain, _ in re.findall(r"(\d\.\d+) ± (\d\.\d+) by", header):
        assert f"| +{gain} |" in table
    assert recipe.stem in table


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("net.h5", b"\x89HDF", "a file of Keras"),
        ("net.onnx", b"\x08\x08", "a file of ONNX"),
        (
            "net.safetensors",
            b"version https://git-lfs.github.com/spec/v1\nsize 9\n",
            "a pointer of Git LFS in place of the file: git lfs pull fetches it",
        ),
        ("net.pth", b"PK", None),  # what it holds is seen when it is read
    ],
)
def test_files_that_hold_no_tensors_are_found_before_a_run(
    tmp_path: Path, name: str, content: bytes, why: str | None
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    weights = Published.of_file(str(path))
    assert weights is not None
    start = PublishedStart(Role.TARGET, {"image_front": weights})
    found = [str(problem) for problem in find_other_formats(start, "encoder.{}".format)]
    accepted = "tensors alone (.safetensors, .pth, .pt, .pt2, .bin)"
    one = f"encoder.image_front.weights={path}: {why}\n  accepted: {accepted}"
    assert found == ([one] if why else [])
    whole = replace(weights, named=False)
    start = PublishedStart(Role.TARGET, {"text": whole})
    found = [str(problem) for problem in find_other_formats(start, "encoder.{}".format)]
    one = f"encoder.text.model={tmp_path}: {name}: {why}\n  accepted: {accepted}"
    assert found == ([one] if why else [])
