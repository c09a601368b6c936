"""``control=zero_shot``: answers from the names of the classes, by a pair's published weights.

The pairs are tiny and random, made on the spot.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
import torch.nn.functional as F
from refusals import Refusal, check_refusals
from tiny_models import save_open_clip, save_pair

from mmx.config import compose
from mmx.errors import ConfigError
from mmx.experiment import Experiment, assemble
from mmx.modalities.clip_texts import clean_for_siglip
from mmx.quoting import type_override
from mmx.runs.directory import RunDirectory
from mmx.stage_id import Role
from mmx.stages.core.opened_data import open_task
from mmx.stages.pipeline.controls.base import ControlBench
from mmx.stages.pipeline.controls.zero_shot import ZeroShotTrainer
from mmx.stages.selection.prepare import make_context
from mmx.training.events import StopRequest

open_clip = pytest.importorskip("open_clip")
pytestmark = pytest.mark.filterwarnings("ignore")

Prepared = Callable[[list[str], Path], tuple[Experiment, RunDirectory]]
Overrides = Callable[..., list[str]]
Once = Callable[[list[str]], RunDirectory]
TEMPLATES = ("a photo of a {}.", "{}, small")
USUAL = type_override("templates", ["a photo of a {}."])
TYPED = "templates=['a photo of a {}.','{}, small']"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs") / "tiny"
    return save_open_clip(folder, init_logit_scale=2.0, init_logit_bias=-3.0)


@pytest.fixture
def line(tables: dict[str, Path], overrides: Overrides, pair: Path) -> Callable[..., list[str]]:
    """Return the overrides of a run with the pair's image tower on a table of images."""

    def make(
        *more: str, modalities: tuple[str, ...] = ("image",), source: str = "none"
    ) -> list[str]:
        plain = [
            each
            for each in overrides(None, tables["two"], modalities)
            if not each.startswith(("source=", "encoder.image"))
        ]
        image = ["encoder/image=open_clip", f"encoder.image.model={pair}"]
        exact = ["control=zero_shot", "precision=fp32"]  # auto is bf16 where a CPU has it
        return [f"source={source}", *plain, *image, *exact, *more]

    return make


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_pairs_of_transformers_answer_as_the_library_does(
    line: Callable[..., list[str]], prepared: Prepared, tmp_path: Path, family: str
) -> None:
    transformers = pytest.importorskip("transformers")
    folder = save_pair(tmp_path / "pair", family)
    words = line("encoder/image=transformers", f"encoder.image.model={folder}", TYPED)
    control, opened = train_control(prepared, words, tmp_path)
    rows = opened.task.splits["test"]
    net = transformers.AutoModel.from_pretrained(folder).eval()
    words = [t.replace("{}", name) for name in opened.task.target.classes for t in TEMPLATES]
    how = {"padding": "max_length", "max_length": 20, "truncation": True, "return_tensors": "pt"}
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    cleaned = [clean_for_siglip(each) for each in words] if family == "siglip" else words
    images = [PIL.Image.open(opened.task.columns["image"].images[row]) for row in rows]
    module = getattr(transformers.models, family)
    name = {"clip": "CLIPImageProcessorPil", "siglip": "SiglipImageProcessorPil"}[family]
    pixels = getattr(module, name).from_pretrained(folder)(
        [each.convert("RGB") for each in images], return_tensors="pt"
    )
    with torch.no_grad():
        ids = tokenizer(cleaned, **how)["input_ids"]
        texts = F.normalize(net.get_text_features(input_ids=ids).pooler_output, dim=-1)
        classes = F.normalize(texts.reshape(-1, len(TEMPLATES), texts.shape[1]).mean(1), dim=-1)
        found = F.normalize(net.get_image_features(**pixels).pooler_output, dim=-1)
        expected = net.logit_scale.exp() * found @ classes.T + getattr(net, "logit_bias", 0.0)
    assert expected.std() > 0.01
    torch.testing.assert_close(control.answers(rows), expected, atol=1e-5, rtol=0)
    said = " ".join(control.notes)
    assert "scores are" in said
    assert ("yes or no" in said) == (family == "siglip")


@pytest.fixture
def made() -> Iterator[Callable[[list[str]], Experiment]]:
    with compose.composer():
        yield lambda words: assemble(compose.compose_job(words).config)


def train_control(prepared: Prepared, words: list[str], folder: Path) -> tuple[Any, Any]:
    """Return the control of a run whose target is not trained, and the data that it answers."""
    experiment, directory = prepared([*words, "cache=off"], folder)
    context = make_context(experiment, directory, lambda event: None, StopRequest())
    task = experiment.target.load()
    opened = open_task(context, task, experiment.modalities[Role.TARGET], {})
    trainer = ZeroShotTrainer("zero_shot", ControlBench(context, opened, {}, None))
    objective = SimpleNamespace(task_loss=lambda outputs, target: outputs.new_zeros(()))
    return trainer.train(SimpleNamespace(criterion=objective)), opened


def compute_logits(pair: Path, images: list[Path], classes: tuple[str, ...]) -> torch.Tensor:
    """Return the library's own zero-shot logits."""
    net, transform = open_clip.create_model_from_pretrained(f"local-dir:{pair}")
    net.eval()
    weights = open_clip.build_zero_shot_classifier(
        net, open_clip.get_tokenizer(f"local-dir:{pair}"), classes, TEMPLATES
    )
    x = torch.stack([transform(PIL.Image.open(path)) for path in images])
    with torch.no_grad():
        features = net.encode_image(x, normalize=True)
        return net.logit_scale.exp() * features @ weights + net.logit_bias


@pytest.mark.parametrize("source", ["none", "published"])
def test_logits_equal_the_library(
    line: Callable[..., list[str]], prepared: Prepared, pair: Path, tmp_path: Path, source: str
) -> None:
    control, opened = train_control(prepared, line(TYPED, source=source), tmp_path)
    rows = opened.task.splits["test"]
    images = [opened.task.columns["image"].images[row] for row in rows]
    expected = compute_logits(pair, images, opened.task.target.classes)
    torch.testing.assert_close(control.answers(rows), expected, atol=1e-5, rtol=0)
    assert expected.std() > 0.01
    some = control.answers(rows[[3, 0]])
    torch.testing.assert_close(some, expected[[3, 0]], atol=1e-5, rtol=0)


def test_rows_without_an_image_are_answered_by_the_prior(
    line: Callable[..., list[str]], prepared: Prepared, pair: Path, tmp_path: Path
) -> None:
    control, opened = train_control(
        prepared, line(TYPED, modalities=("image", "tabular")), tmp_path
    )
    rows = np.sort(np.concatenate([opened.task.splits[each] for each in ("val", "test")]))
    here = opened.task.columns["image"].present[rows]
    assert 0 < here.sum() < len(rows)
    images = [opened.task.columns["image"].images[row] for row in rows[here]]
    found = control.answers(rows)
    expected = compute_logits(pair, images, opened.task.target.classes)
    torch.testing.assert_close(found[torch.from_numpy(here)], expected, atol=1e-5, rtol=0)
    labels = opened.task.values[torch.from_numpy(opened.task.splits["train"])]
    shares = torch.bincount(labels, minlength=3) / len(labels)
    assert torch.allclose(found[torch.from_numpy(~here)].exp(), shares.expand((~here).sum(), 3))
    assert f"{(~here).sum()} of {len(rows)}" in " ".join(control.notes)


def test_it_is_a_row_of_the_table_and_there_is_a_gain_over_it(
    once: Once, line: Callable[..., list[str]]
) -> None:
    words = line("control=[scratch,zero_shot,majority]", "transfer=feature", source="published")
    summary = once(words).summary()
    assert list(summary["control"]) == ["scratch", "zero_shot", "majority"]
    gain = summary["gains"]["zero_shot"]
    ours = summary["target"]["metrics"]["test"]["accuracy"]
    theirs = summary["control"]["zero_shot"]["metrics"]["test"]["accuracy"]
    assert gain["value"] == ours - theirs
    assert summary["gain"]["control"] == "scratch"
    assert any("a photo of a {}." in each and "tiny" in each for each in summary["notes"])


def test_features_of_the_run_are_not_computed_again(
    once: Once, line: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under ``transfer=feature`` the run's own features are those that the control compares."""
    from mmx.stages.core import cached

    counted: list[str] = []
    extract = cached.extract_features

    def count(data: Any, model: Any, name: str, precision: Any) -> Any:
        counted.append(name)
        return extract(data, model, name, precision)

    monkeypatch.setattr(cached, "extract_features", count)
    once(line("transfer=feature", f"cache={tmp_path / 'kept'}", source="published"))
    assert counted == ["image"]


def test_templates_belong_to_the_experiment_where_they_are_read(
    made: Callable[[list[str]], Experiment], line: Callable[..., list[str]]
) -> None:
    plain = made(line())
    other = made(line(TYPED))
    assert other.settings.templates == TEMPLATES
    assert other.fingerprint != plain.fingerprint
    assert assemble(other.config).fingerprint == other.fingerprint
    unread = made(line("control=majority", TYPED))
    assert "templates" not in unread.config
    assert unread.dropped["templates"] == "no control of this run reads it"
    assert unread.fingerprint == made(line("control=majority")).fingerprint


def test_the_weights_count_although_no_encoder_starts_from_them(
    made: Callable[[list[str]], Experiment], line: Callable[..., list[str]], tmp_path: Path
) -> None:
    folder = save_open_clip(tmp_path / "pair")
    words = line(f"encoder.image.model={folder}")
    compared, trained = digests(made(words))
    without = made([*words, "control=majority"]).fingerprint
    save_open_clip(folder, seed=1)
    other, same = digests(made(words))
    assert other != compared
    assert same == trained  # what is trained does not read them
    assert made([*words, "control=majority"]).fingerprint == without


def digests(experiment: Experiment) -> tuple[str, dict[str, str]]:
    return experiment.fingerprint, experiment.encoder_digests


REFUSED: dict[str, tuple[list[str], Refusal]] = {
    "numbers": (
        ["target.label=number", "target.kind=regression", "objective=mean_squared_error"],
        Refusal("control=zero_shot", says=("one class", "regression"), type_this="control=none"),
    ),
    "labels": (
        ["target.label=tags", "target.kind=multilabel", "objective=binary_cross_entropy"],
        Refusal("control=zero_shot", says=("one class", "multilabel"), type_this="control=none"),
    ),
    "template": (
        ["templates=['a photo']"],
        Refusal("templates=[a photo]", says=("{}",), type_this=USUAL),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compared_is_refused(
    made: Callable[[list[str]], Experiment], line: Callable[..., list[str]], case: str
) -> None:
    words, refusal = REFUSED[case]
    with pytest.raises(ConfigError) as error:
        made(line(*words))
    check_refusals(error.value.problems, [refusal])


def test_what_a_refusal_says_to_type_works(
    made: Callable[[list[str]], Experiment], line: Callable[..., list[str]]
) -> None:
    assert made(line(*shlex.split(USUAL))).settings.templates == ("a photo of a {}.",)


def test_an_encoder_without_a_text_tower_is_refused(
    made: Callable[[list[str]], Experiment], line: Callable[..., list[str]]
) -> None:
    words = [each for each in line() if not each.startswith(("encoder/image", "encoder.image"))]
    with pytest.raises(ConfigError) as error:
        made(words)
    says = ("small_cnn", "no text tower")
    refusal = Refusal("control=zero_shot", says=says, type_this="control=none")
    check_refusals(error.value.problems, [refusal])


def test_a_target_without_images_is_refused(
    made: Callable[[list[str]], Experiment], line: Callable[..., list[str]]
) -> None:
    words = [
        each
        for each in line(modalities=("tabular",))
        if not each.startswith(("encoder/image", "encoder.image"))
    ]
    with pytest.raises(ConfigError) as error:
        made(words)
    check_refusals(
        error.value.problems,
        [Refusal("control=zero_shot", says=("images", "tabular"), type_this="control=none")],
    )


def test_an_absent_file_is_named(
    made: Callable[[list[str]], Experiment], line: Callable[..., list[str]], tmp_path: Path
) -> None:
    folder = save_open_clip(tmp_path / "pair")
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"there is no .*open_clip_model\.safetensors"):
        made(line(f"encoder.image.model={folder}"))
