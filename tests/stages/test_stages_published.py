"""``source=published``: published weights are a source like any other, and a replaced file counts.

The models are tiny and random, made on the spot.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import catalogue
import pytest
import torch
import torchvision
from refusals import check_error, check_notes
from tiny_models import find_tiny_model, save_text_model, save_timm

from mmx.config import compose
from mmx.encoders.image.resnet import ResNet18
from mmx.encoders.image.timm import Timm
from mmx.errors import ConfigError, TransferError
from mmx.experiment import Experiment, assemble
from mmx.experiment.publishing import publishes
from mmx.modalities.image import Image
from mmx.reports.run_comparison import describe_changes
from mmx.runs.directory import RunDirectory
from mmx.stages import load_trained
from mmx.stages.run import run as run_stages
from mmx.training import checkpoint
from mmx.training.events import StopRequest

pytest.importorskip("transformers")
pytest.importorskip("timm")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

Overrides = Callable[..., list[str]]
Once = Callable[[list[str]], RunDirectory]
Prepared = Callable[[list[str], Path], tuple[Experiment, RunDirectory]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_text_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def line(tables: dict[str, Path], overrides: Overrides, model: Path) -> Callable[..., list[str]]:
    """Return the overrides of a run from published text weights on a table of texts."""

    def make(*more: str, folder: Path = model) -> list[str]:
        plain = [
            each
            for each in overrides(None, tables["two"], ("text", "tabular"))
            if not each.startswith(("source=", "encoder/text", "encoder.text"))
        ]
        text = ["encoder/text=transformers", f"encoder.text.model={folder}"]
        return ["source=published", *plain, *text, "encoder.text.max_tokens=8", *more]

    return make


def tensors(run: RunDirectory, stage: str) -> dict[str, torch.Tensor]:
    return checkpoint.read_checkpoint(run.stage_file(stage))[0]


def read_trained(run: RunDirectory) -> dict[str, torch.Tensor]:
    """Return the target's tensors, those that published files hold among them."""
    with compose.composer():
        experiment = assemble(run.config())
    return load_trained(experiment, run, torch.device("cpu")).model.state_dict()


def read_published(model: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    found = load_file(model / "model.safetensors")
    return {
        f"encoders.text.net.{name}": value
        for name, value in found.items()
        if not name.startswith("pooler.")
    }


def assemble_line(words: list[str], folder: Path):
    with compose.composer():
        return assemble(compose.compose_job([*words, f"output_dir={folder}"]).config)


def test_frozen_features_are_the_published_ones(
    once: Once, line: Callable[..., list[str]], model: Path
) -> None:
    run = once(line("transfer=feature", "control=[scratch,linear_probe]"))
    summary = run.summary()
    assert summary["source"]["task"] == "published"
    assert summary["timing"]["source_s"] == 0.0
    assert set(summary["control"]) == {"scratch", "linear_probe"}
    note = next(each for each in summary["notes"] if "published" in each or "tiny" in each)
    assert "licence apache-2.0" in note
    assert "not counted" in note
    found, given = read_trained(run), read_published(model)
    assert given
    for name, value in given.items():
        assert torch.equal(found[name], value), name
    assert "_published-two-concat_" in run.path.name


def test_the_scratch_control_is_a_fresh_draw(
    once: Once, line: Callable[..., list[str]], model: Path
) -> None:
    """No tensor of it is nearer to the published weights than a fresh draw is.

    It draws the same head and fusion as the target, which starts with the same seed.
    """
    run = once(line("transfer=parameter", "trainer.epochs=1", "optimizer.lr=1e-12"))
    target, control = read_trained(run), tensors(run, "control")
    given = read_published(model)
    assert target.keys() == control.keys()
    for name, value in target.items():
        if name in given:
            assert torch.allclose(value, given[name], atol=1e-9), name
        else:
            assert torch.allclose(value, control[name], atol=1e-9), name
    for name, value in given.items():
        if value.ndim > 1 and name.endswith("weight"):
            far = (control[name] - value).norm() / value.norm()
            assert far > 0.9, name  # two independent draws differ by about √2 of their norm


def test_a_source_is_trained_on_top_of_published_weights(
    once: Once, line: Callable[..., list[str]], tables: dict[str, Path], overrides: Overrides
) -> None:
    words = [each for each in line() if each != "source=published"]
    source = [
        each.replace("target", "source", 1)
        for each in words
        if each.startswith("target") and "audio" not in each
    ]
    source = [each.replace("two", "one") for each in source]
    run = once([*source, *words, "source_weights=published", "transfer=parameter"])
    assert run.summary()["source"]["task"] == "published+one"
    assert run.summary()["timing"]["source_s"] > 0


@pytest.mark.parametrize("regularizer", ["l2_sp", "delta", "bss", "rkd", "similarity"])
def test_regularisers_hold_the_target_near_published_weights(
    once: Once, line: Callable[..., list[str]], regularizer: str
) -> None:
    run = once(line("transfer=parameter", f"regularizer={regularizer}", "control=none"))
    assert run.summary()["transfer"]["regularizer"]["name"] == regularizer


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["regularizer=distill"], "published weights come without a head"),
        (["regularizer=lwf"], "published weights come without a head"),
        (["regularizer=co_tuning"], "published weights come without a head"),
        (["regularizer=mmd"], "published weights come without any"),
        (["transfer=joint"], "published weights come without any"),
        (["transfer=structure"], "that of published weights is the encoder's"),
        (["source.modalities=[image]"], "the target has no image"),
    ],
)
def test_what_published_weights_lack_is_refused(
    line: Callable[..., list[str]], tmp_path: Path, words: list[str], reason: str
) -> None:
    with pytest.raises(ConfigError) as error:
        assemble_line(line(*words), tmp_path)
    found = [each for each in error.value.problems if reason in each.reason]
    assert found
    assert all(each.type_this for each in found)


@pytest.mark.parametrize("modality", ["image", "audio", "text", "tabular"])
def test_an_encoder_without_published_weights_is_refused(
    tables: dict[str, Path], overrides: Overrides, tmp_path: Path, modality: str
) -> None:
    """The advice names all encoders of the modality that have some, and none of another."""
    words = overrides(None, tables["two"], (modality,))
    words = [each for each in words if each != "source=none"]
    with pytest.raises(ConfigError, match="has no published weights") as error:
        assemble_line(["source=published", *words], tmp_path)
    (problem,) = error.value.problems
    kinds = catalogue.classes(f"encoder/{modality}")
    known = [name for name, kind in kinds.items() if publishes(kind)]
    assert bool(known) == (modality != "tabular")
    expected = f"encoder/{modality}={', '.join(known)}" if known else None
    assert problem.accepted == expected
    typed = str(problem.type_this).partition("   ")[0].split()
    if not known:
        assert typed == ["source=none"]
        return
    kind = kinds[typed[0].partition("=")[2]]
    folder = str(find_tiny_model(kind)) if len(typed) > 1 else ""
    typed = [each.replace("<folder>", folder) for each in typed]
    if folder:  # of torchvision no weights are here, which is another refusal
        words = [each for each in words if not each.startswith(f"encoder.{modality}")]
        assert assemble_line(["source=published", *words, *typed], tmp_path).start.weights


def test_a_replaced_file_is_another_experiment_and_a_moved_one_is_not(
    line: Callable[..., list[str]], model: Path, tmp_path: Path
) -> None:
    first = assemble_line(line(), tmp_path)
    moved = shutil.copytree(model, tmp_path / "elsewhere")
    again = assemble_line(line(folder=moved), tmp_path)
    assert again.fingerprint == first.fingerprint
    assert again.weight_digests == first.weight_digests
    save_text_model(moved, seed=1)
    other = assemble_line(line(folder=moved), tmp_path)
    assert other.fingerprint != first.fingerprint
    fresh = [each.replace("source=published", "source=none") for each in line(folder=moved)]
    before = assemble_line(fresh, tmp_path).fingerprint
    save_text_model(moved, seed=2)  # a fresh network does not depend on the weights
    assert assemble_line(fresh, tmp_path).fingerprint == before
    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps({**config, "hidden_act": "relu"}))
    assert assemble_line(fresh, tmp_path).fingerprint != before


def test_auto_searches_over_published_weights(once: Once, line: Callable[..., list[str]]) -> None:
    run = once(
        line(
            "transfer=auto",
            "transfer.modes=[scratch,parameter,feature]",
            "transfer.budget_steps=20",
            "trainer.epochs=2",
        )
    )
    assert run.summary()["source"]["task"] in ("published", "none")


def test_images_start_from_timm(
    once: Once, tables: dict[str, Path], overrides: Overrides, tmp_path: Path
) -> None:
    folder = save_timm(tmp_path / "net", "test_resnet")
    words = [
        each
        for each in overrides(None, tables["two"], ("image",))
        if not each.startswith(("source=", "encoder"))
    ]
    run = once(
        [
            "source=published",
            *words,
            "encoder/image=timm",
            f"encoder.image.model={folder}",
            "encoder.image.size=32",
            "transfer=parameter",
            "transfer.layer_decay=0.9",
            "transfer.freeze_depth=1",
        ]
    )
    assert run.summary()["transfer"]["frozen"] > 0


def test_a_run_names_a_replaced_weight_file(
    once: Once, line: Callable[..., list[str]], model: Path, tmp_path: Path
) -> None:
    """Facts stand in the manifest; a run from other weights says which file is another."""
    before = once(line("transfer=feature", "control=none"))
    facts = before.manifest().published["text"]
    assert (facts.role, facts.licence, facts.revision) == ("target", "apache-2.0", None)
    assert facts.origin == str(model)
    assert facts.digest == before.manifest().identity.weights["text"]
    page = (before.path / "report.html").read_text()
    assert "Published weights" in page
    assert str(facts.digest) in page
    other = save_text_model(tmp_path / "other", seed=5)
    after = once(line("transfer=feature", "control=none", folder=other))
    assert describe_changes(before, after) == "changed: weights (encoder.text: model.safetensors)"


def test_a_size_that_is_not_the_weights_own_is_noted(tmp_path: Path) -> None:
    folder = save_timm(tmp_path / "net", "test_resnet")
    spec = Image(size=32).example()
    (said,) = Timm.describe_deviations(spec, model=str(folder), size=32)
    assert "32×32" in said
    assert "encoder.image.size=96" in said
    assert Timm.describe_deviations(Image(size=96).example(), model=str(folder)) == ()
    (said,) = ResNet18.describe_deviations(spec)
    assert "target.image.size=224" in said
    assert ResNet18.describe_deviations(Image(size=224).example()) == ()


def test_heads_are_fitted_to_published_features(
    once: Once, tables: dict[str, Path], overrides: Overrides, tmp_path: Path
) -> None:
    net = ["encoder/image=timm", f"encoder.image.model={save_timm(tmp_path / 'net')}"]
    more = ["encoder.image.size=32", "transfer=feature", "transfer.head=knn", "control=none"]

    def make(*modalities: str) -> list[str]:
        words = overrides(None, tables["two"], modalities)
        words = [each for each in words if not each.startswith(("source=", "encoder.image"))]
        return ["source=published", *words, *net, *more]

    assert once(make("image")).summary()["target"]["metrics"]["test"]
    with pytest.raises(ConfigError, match="no tabular encoder"):
        assemble_line(make("image", "tabular"), tmp_path)


def test_a_model_that_is_not_there_is_one_problem(
    line: Callable[..., list[str]], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as error:
        assemble_line(line(folder=tmp_path / "nowhere"), tmp_path)
    (problem,) = error.value.problems
    assert problem.given == "encoder.text"
    assert f"model={tmp_path / 'nowhere'}: there is no such folder" in problem.reason
    assert "owner/name and download=true" in (problem.type_this or "")


def test_a_fresh_stem_leads_to_what_can_be_typed(
    prepared: Prepared, tables: dict[str, Path], overrides: Overrides, tmp_path: Path
) -> None:
    weights = tmp_path / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), weights)
    given = [*overrides(None, tables["two"], ("image",)), "encoder/image=resnet18"]
    words = [each for each in given if not each.startswith(("source=", "encoder.image"))]
    words += ["source=published", f"encoder.image.weights={weights}", "transfer=parameter"]
    words += ["regularizer=delta", "control=none", "trainer.epochs=1"]
    experiment, run = prepared(words, tmp_path)
    with pytest.raises(TransferError) as error:
        run_stages(experiment, run, lambda event: None, StopRequest())
    typed = ["encoder.image.stem=standard", "regularizer=l2_sp"]
    check_error(error.value, "regularizer=delta", "encoders.image.stem.0.weight", types=typed)
    experiment, run = prepared([*words, typed[0]], tmp_path)
    assert run_stages(experiment, run, lambda event: None, StopRequest()).target


def test_a_published_transformer_that_trains_fast_is_noted(
    once: Once, line: Callable[..., list[str]]
) -> None:
    def read_notes(*more: str) -> list[str]:
        run = once(line("control=none", "trainer.epochs=1", *more))
        return [each for each in run.summary()["notes"] if "fine-tuned" in each]

    fast = "optimizer.lr=0.005"
    check_notes(
        read_notes("transfer=parameter", fast),
        ["text", "0.005", "optimizer.lr=0.0001", "transfer.copied_rate=0.02"],
    )
    for more in (["transfer.copied_rate=0.02"], [], ["optimizer=sgd"]):
        rate = [fast] if more and "sgd" not in more[0] else ["optimizer.lr=0.0005"]
        assert read_notes("transfer=parameter", *more, *rate) == []
    assert read_notes("transfer=feature", fast) == []
