"""Nothing is computed twice, and what comes from the cache is the same to the last bit."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mmx import execution
from mmx.encoders.image.resnet import ResNet18
from mmx.encoders.image.small_cnn import SmallCnn
from mmx.encoders.image.vit_b_16 import VitB16
from mmx.experiment import Experiment
from mmx.experiment.publishing import PublishedStart, digest_weights
from mmx.runs.cache import Cache
from mmx.runs.directory import RunDirectory
from mmx.stage_id import Role, StageId
from mmx.stages.core import cache_keys
from mmx.stages.core.context import Context, Opened
from mmx.stages.core.stage_model import make_model
from mmx.stages.selection.prepare import make_context, prepare
from mmx.training import checkpoint
from mmx.training.events import Event, StopRequest
from mmx.transfer.regularizers import delta
from mmx.transfer.regularizers.channel_weights import weigh_channels
from mmx.transfer.scratch import Scratch

pytestmark = pytest.mark.slow

Overrides = Callable[..., list[str]]
Prepared = Callable[[list[str], Path], tuple[Experiment, RunDirectory]]
Kept = dict[str, dict]
TWO = ("image", "tabular")
PAIR = ("concat", "transformer")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("MMX_CACHE_DIR", str(tmp_path / "cache"))
    return Cache(tmp_path / "cache", 10**9)


@pytest.fixture
def line(overrides: Overrides, tables: dict[str, Path]) -> Callable[..., list[str]]:
    return lambda *more: overrides(tables["one"], tables["two"], TWO, "control=none", *more)


def kinds(cache: Cache) -> dict[str, int]:
    found: dict[str, int] = {}
    for artifact in cache.entries():
        found[artifact.kind] = found.get(artifact.kind, 0) + 1
    return found


def numbers(run: RunDirectory) -> tuple[dict, list[dict]]:
    summary = run.summary()
    kept = {key: summary[key] for key in ("source", "target", "params", "transfer")}
    return kept, [{k: v for k, v in e.items() if k != "seconds"} for e in run.metrics()]


def test_a_sweep_over_fusions_trains_one_source_and_extracts_features_once(
    cache: Cache, line: Callable[..., list[str]], once, monkeypatch: pytest.MonkeyPatch
) -> None:
    fusions = ("gmu", "concat", "late_mean")
    cached = [numbers(once(line("transfer=feature", f"fusion={f}"))) for f in fusions]
    assert kinds(cache) == {"stage": 1, "features": 2}
    monkeypatch.setenv("MMX_CACHE_DIR", "off")
    anew = [numbers(once(line("transfer=feature", f"fusion={f}"))) for f in fusions]
    assert cached == anew


def test_tokens_and_pooled_features_are_kept_apart(
    cache: Cache, line: Callable[..., list[str]], once
) -> None:
    for fusion in ("concat", "transformer"):
        once(line("transfer=feature", f"fusion={fusion}"))
    assert kinds(cache) == {"stage": 1, "features": 4}


def test_a_fusion_that_is_transferred_is_part_of_the_source(
    cache: Cache, line: Callable[..., list[str]], once
) -> None:
    for fusion in ("gmu", "concat"):
        once(line("transfer=parameter", f"fusion={fusion}"))
    assert kinds(cache) == {"stage": 2}


def test_the_target_the_transfer_and_the_place_do_not_matter_to_a_source(
    cache: Cache, line: Callable[..., list[str]], once
) -> None:
    once(line("transfer=parameter"))
    once(line("transfer=parameter", "regularizer=l2_sp", "target.fraction=0.7"))
    once(line("transfer=parameter", "trainer.workers=1", "trainer.checkpoint_seconds=3"))
    assert kinds(cache) == {"stage": 1}


@pytest.mark.parametrize(
    "change",
    ["seed=1", "trainer.epochs=1", "optimizer.lr=0.002", "source.fraction=0.9"],
)
def test_what_the_source_depends_on_gives_another_key(
    cache: Cache, line: Callable[..., list[str]], once, change: str
) -> None:
    once(line())
    once(line(change))
    assert kinds(cache) == {"stage": 2}


def test_a_changed_bit_of_data_gives_another_key(
    cache: Cache, overrides: Overrides, once, tables: dict[str, Path], tmp_path: Path
) -> None:
    text = tables["one"].read_text()
    changed = tables["one"].with_name("changed.csv")
    for content in (text, text.replace(",x,low", ",y,low", 1)):
        changed.write_text(content)
        once(overrides(changed, tables["two"], TWO, "control=none"))
    changed.unlink()
    assert kinds(cache) == {"stage": 2}


def test_data_that_was_moved_is_found_again(
    cache: Cache, overrides: Overrides, once, tables: dict[str, Path], tmp_path: Path
) -> None:
    here = tables["one"].parent
    for folder in (here, shutil.copytree(here, tmp_path / "moved")):
        given = ("transfer=feature", "mapping=pca", "mapping.width=4")
        once(overrides(folder / "one.csv", folder / "two.csv", TWO, *given))
    assert kinds(cache) == {"stage": 2, "mapping": 3, "features": 2}


def test_a_source_with_one_modality_serves_all_fusions_and_modes(
    cache: Cache, overrides: Overrides, once, tables: dict[str, Path]
) -> None:
    for mode in ("parameter", "feature"):
        for fusion in ("gmu", "concat"):
            chosen = ("control=none", f"transfer={mode}", f"fusion={fusion}")
            once(overrides(tables["one"], tables["two"], ("image",), *chosen))
    assert kinds(cache) == {"stage": 1, "features": 1}
    asked = ("control=none", "transfer=parameter", "transfer.fusion=true", "fusion=gmu")
    once(overrides(tables["one"], tables["two"], ("image",), *asked))
    assert kinds(cache) == {"stage": 2, "features": 1}


def test_a_control_is_trained_once_for_all_transfers(
    cache: Cache, overrides: Overrides, once, tables: dict[str, Path], monkeypatch
) -> None:
    def run(*more: str) -> RunDirectory:
        return once(overrides(tables["one"], tables["two"], TWO, *more))

    chosen = [("transfer=feature",), ("transfer=parameter",), ("trainer.source_epochs=1",)]
    runs = [run("fusion=concat", *more) for more in chosen]
    said = [(each.path / "run.log").read_text() for each in runs]
    assert ["control two: taken from the cache" in text for text in said] == [False, True, True]
    monkeypatch.setenv("MMX_CACHE_DIR", "off")
    anew = run("fusion=concat", *chosen[2])
    assert runs[2].summary()["control"] == anew.summary()["control"]
    assert runs[2].summary()["gain"] == anew.summary()["gain"]
    assert numbers(runs[2]) == numbers(anew)


@pytest.mark.parametrize(
    "change", ["seed=1", "trainer.epochs=1", "target.fraction=0.9", "fusion=gmu", "balance=weights"]
)
def test_what_a_control_depends_on_gives_another_key(
    cache: Cache, overrides: Overrides, once, tables: dict[str, Path], change: str
) -> None:
    epochs = "trainer.source_epochs=2"
    for more in ((), (change,)):
        run = once(overrides(tables["one"], tables["two"], TWO, epochs, "fusion=concat", *more))
    assert "control two: taken from the cache" not in (run.path / "run.log").read_text()


def test_cache_off(cache: Cache, line: Callable[..., list[str]], once) -> None:
    once(line("cache=off"))
    assert cache.entries() == []


def test_a_cached_source_is_in_the_run_directory_and_its_epochs_in_the_metrics(
    cache: Cache, line: Callable[..., list[str]], once
) -> None:
    first, second = once(line()), once(line())
    said = (second.path / "run.log").read_text()
    assert "source one: taken from the cache" in said
    assert second.stage_file("source").read_bytes() == first.stage_file("source").read_bytes()
    assert [e for e in second.metrics() if e["stage"] == "source"]
    assert numbers(first) == numbers(second)


def test_a_trunk_does_not_hide_what_a_fusion_reads(
    cache: Cache, line: Callable[..., list[str]], once, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = [line("transfer=feature", "sharing=trunk", f"fusion={f}") for f in PAIR]
    cached = [numbers(once(each)) for each in given]
    monkeypatch.setenv("MMX_CACHE_DIR", "off")
    assert cached == [numbers(once(each)) for each in given]


def test_the_rows_that_a_label_free_source_leaves_out_count(
    cache: Cache, overrides: Overrides, once, tables: dict[str, Path]
) -> None:
    for missing in ("mask", "drop"):
        more = ("source_objective=info_nce", "control=none", f"missing={missing}")
        once(overrides(tables["one"], tables["two"], TWO, *more))
    assert kinds(cache) == {"stage": 2}


def test_one_source_for_all_budgets_of_a_fusion_that_it_has_not(
    cache: Cache, line: Callable[..., list[str]], once
) -> None:
    for budget in (2000, 3000):
        once(line("transfer=feature", "match=params", f"match_params={budget}"))
    assert kinds(cache)["stage"] == 1


@dataclass
class Interrupted:
    """A run that a signal stopped in the second epoch of its source."""

    directory: RunDirectory
    experiment: Experiment

    def resume(self) -> RunDirectory:
        quiet = execution.execute(self.experiment, self.directory, lambda event: None)
        assert quiet["status"] == "done", quiet
        return self.directory

    @property
    def state(self) -> Path:
        return self.directory.state_file("source")

    @property
    def log(self) -> Path:
        return self.state.with_name("events.jsonl")


@pytest.fixture
def interrupted(
    line: Callable[..., list[str]], prepared: Prepared, tmp_path: Path
) -> Callable[[], Interrupted]:
    def interrupt(event: Event) -> None:
        if (str(event.stage), event.kind, event.epoch) == ("source", "epoch", 1):
            os.kill(os.getpid(), signal.SIGTERM)

    def run() -> Interrupted:
        experiment, directory = prepared(line(), tmp_path)
        assert execution.execute(experiment, directory, interrupt)["exit_code"] == 143
        found = Interrupted(directory, experiment)
        assert found.state.exists()
        assert found.log.exists()
        assert {(e["stage"], e["epoch"]) for e in directory.metrics()} == {("source", 1)}
        return found

    return run


def left(run: Interrupted) -> list[str]:
    """Return what lies in the source's folder after the run."""
    return sorted(path.name for path in run.state.parent.iterdir())


def test_a_source_that_was_interrupted_is_kept_with_its_first_epochs(
    cache: Cache, line: Callable[..., list[str]], once, interrupted, monkeypatch
) -> None:
    run = interrupted()
    with run.log.open("a") as file:
        file.write('{"kind": "epo')  # as a kill leaves it
    run.resume()
    assert left(run) == ["best.safetensors"]
    assert kinds(cache) == {"stage": 1}
    taken = once(line())
    assert "source one: taken from the cache" in (taken.path / "run.log").read_text()
    monkeypatch.setenv("MMX_CACHE_DIR", "off")
    assert numbers(run.directory) == numbers(taken) == numbers(once(line()))


def test_a_source_that_others_have_finished_meanwhile_is_taken_from_the_cache(
    cache: Cache, line: Callable[..., list[str]], once, interrupted, monkeypatch
) -> None:
    run = interrupted()
    assert kinds(cache) == {}
    once(line())
    said = run.resume().path / "run.log"
    assert "source one: taken from the cache" in said.read_text()
    assert run.directory.summary()["timing"]["source_cached"] is True
    assert left(run) == ["best.safetensors"]
    monkeypatch.setenv("MMX_CACHE_DIR", "off")
    assert numbers(run.directory) == numbers(once(line()))


def test_a_resumed_run_remembers_that_its_source_came_from_the_cache(
    cache: Cache, line: Callable[..., list[str]], once, prepared: Prepared, tmp_path: Path
) -> None:
    once(line())
    experiment, directory = prepared(line(), tmp_path)

    def interrupt(event: Event) -> None:
        if (str(event.stage), event.kind) == ("target", "epoch"):
            os.kill(os.getpid(), signal.SIGTERM)

    assert execution.execute(experiment, directory, interrupt)["exit_code"] == 143
    assert Interrupted(directory, experiment).resume().summary()["timing"]["source_cached"] is True


def other_code(run: Interrupted) -> None:
    first, *events = run.log.read_text().splitlines()
    assert len(first) == len('{"key": ""}') + 32
    assert len(events) == 2  # the epoch, and the vitals of its modalities
    run.log.write_text("\n".join([f'{{"key": "{"0" * 32}"}}', *events]))


def without_an_epoch(run: Interrupted) -> None:
    lines = run.log.read_text().splitlines()
    run.log.write_text("\n".join(each for each in lines if '"epoch",' not in each))


def without_a_log(run: Interrupted) -> None:
    run.log.unlink()


def trained_on_without_a_cache(run: Interrupted) -> None:
    def stop(event: Event) -> None:
        if event.kind == "stage":
            os.kill(os.getpid(), signal.SIGTERM)

    outcome = execution.execute(run.experiment, run.directory, stop, cached=False)
    assert outcome["exit_code"] == 143
    assert run.state.exists()


@pytest.mark.parametrize(
    "spoil", [other_code, without_an_epoch, without_a_log, trained_on_without_a_cache]
)
def test_a_source_that_may_have_been_begun_otherwise_is_not_kept(
    cache: Cache, interrupted, spoil: Callable[[Interrupted], None]
) -> None:
    run = interrupted()
    spoil(run)
    said = run.resume().path / "run.log"
    assert (
        "source one: not kept in the cache: code or data may have changed since it was begun"
        in said.read_text()
    )
    assert kinds(cache) == {}
    assert left(run) == ["best.safetensors"]
    assert {e["epoch"] for e in run.directory.metrics() if e["stage"] == "source"} == {1, 2}


MAPPED = ("mapping.width=4", "control=none")


@pytest.fixture
def mapped(overrides: Overrides, tables: dict[str, Path]) -> Callable[..., list[str]]:
    """Return the line of a run with a mapping, and without a source."""
    return lambda *more: overrides(None, tables["two"], TWO, *MAPPED, *more)


@pytest.mark.parametrize("mapping", ["cca", "deep_cca"])
def test_a_sweep_over_fusions_fits_one_mapping(
    cache: Cache, mapped: Callable[..., list[str]], once, monkeypatch, mapping: str
) -> None:
    given = [mapped(f"mapping={mapping}", f"fusion={fusion}") for fusion in PAIR]
    runs = [once(each) for each in given]
    assert kinds(cache) == {"mapping": 1}
    said = [(run.path / "run.log").read_text() for run in runs]
    assert ["mapping of two: taken from the cache" in text for text in said] == [False, True]
    monkeypatch.setenv("MMX_CACHE_DIR", "off")
    taken, anew = runs[1], once(given[1])
    assert numbers(taken) == numbers(anew)
    assert notes_of(taken) == notes_of(anew)
    assert any(note.startswith("correlations of the training") for note in notes_of(anew))
    one, two = (checkpoint.read_checkpoint(each.stage_file("target"))[0] for each in (taken, anew))
    assert cache_keys.digest_tensors(one) == cache_keys.digest_tensors(two)


def notes_of(run: RunDirectory) -> list[str]:
    notes: list[str] = run.summary()["notes"]
    return notes


def test_a_mapping_behind_frozen_encoders_is_fitted_once_for_each_task(
    cache: Cache, line: Callable[..., list[str]], once, monkeypatch
) -> None:
    given = [line("transfer=feature", "mapping=pca", *MAPPED, f"fusion={f}") for f in PAIR]
    cached = [numbers(once(each)) for each in given]
    assert kinds(cache) == {"stage": 1, "mapping": 2, "features": 4}
    monkeypatch.setenv("MMX_CACHE_DIR", "off")
    assert cached == [numbers(once(each)) for each in given]


def test_each_of_two_joint_tasks_has_its_mapping_kept(
    cache: Cache, line: Callable[..., list[str]], once, monkeypatch
) -> None:
    given = line("transfer=joint", "mapping=pca", *MAPPED, "~source.columns.image")
    cached = [numbers(once(given)) for _ in range(2)]
    assert kinds(cache) == {"mapping": 2}
    monkeypatch.setenv("MMX_CACHE_DIR", "off")
    assert cached == [numbers(once(given))] * 2


@pytest.mark.parametrize(
    "change",
    ["seed=1", "target.fraction=0.9", "mapping.width=3", "mapping.whiten=true", "mapping=cca"],
)
def test_what_a_mapping_depends_on_gives_another_key(
    cache: Cache, mapped: Callable[..., list[str]], once, change: str
) -> None:
    once(mapped("mapping=pca"))
    once(mapped("mapping=pca", change))
    assert kinds(cache) == {"mapping": 2}


def test_a_mapping_that_is_trained_is_not_kept(
    cache: Cache, mapped: Callable[..., list[str]], once
) -> None:
    once(mapped("mapping=linear"))
    assert kinds(cache) == {}


def test_each_thing_that_a_mapping_is_fitted_to_counts(
    mapped: Callable[..., list[str]], prepared: Prepared, tmp_path: Path
) -> None:
    experiment, directory = prepared([*mapped("mapping=pca"), "cache=off"], tmp_path)
    context = make_context(experiment, directory, lambda event: None, StopRequest())
    target = prepare(context).target
    model = make_model(experiment, "target", target.specs, target.task.target, Scratch())

    def inputs(context: Context = context, opened: Opened = target, **more: Any) -> dict[str, Any]:
        return cache_keys.describe_mapping(
            context, StageId.TARGET, opened, model, more.get("held", ())
        )

    before = inputs()

    def changed(after: dict[str, Any]) -> set[str]:
        return {name for name in before if before[name] != after[name]}

    rows = replace(target, data=target.data.restrict_split("train", target.data.rows("train")[1:]))
    data = replace(target, task=replace(target.task, fingerprint="other"))
    seeded = replace(experiment, settings=replace(experiment.settings, seed=1))
    assert changed(inputs()) == set()
    assert changed(inputs(held=("image",))) == {"held"}
    assert changed(inputs(opened=rows)) == {"rows"}
    assert changed(inputs(opened=data)) == {"data"}
    assert changed(inputs(replace(context, experiment=seeded))) == {"config"}
    with torch.no_grad():
        next(model.encoders["image"].parameters()).view(-1)[0] += 1e-6
    assert changed(inputs()) == {"weights"}
    with torch.no_grad():
        next(model.head.parameters()).zero_()
    assert changed(inputs()) == {"weights"}


def digest_published(make: partial) -> dict[str, str]:
    """Return what counts of an image encoder's files where it starts from published weights."""
    start = PublishedStart(Role.TARGET, {"image": make.func.find_published(**make.keywords)})
    return digest_weights({"image": make}, start)


def test_a_weight_file_counts_by_its_content_wherever_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = []
    for content in (b"1", b"2"):
        (tmp_path / "w.pth").write_bytes(content)
        found.append(digest_published(partial(ResNet18, weights="~/w.pth")))
        there = partial(ResNet18, weights=str(tmp_path / "w.pth"))
        assert found[-1] == digest_published(there)
        assert digest_weights({"image": there}, PublishedStart()) == {}  # drawn fresh
    here, there, none = (cache_keys._remove_places({"weights": each}) for each in ("a", "b", None))
    assert here == there != none
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("encoder", "name"),
    [(ResNet18, "resnet18-f37072fd.pth"), (VitB16, "vit_b_16-c867db91.pth")],
)
def test_published_weights_count_by_the_content_of_torchs_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: type[nn.Module], name: str
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    chosen = partial(encoder, stem="auto")
    assert digest_published(chosen) == {}  # not fetched yet
    copy = tmp_path / "checkpoints" / name
    copy.parent.mkdir()
    found = []
    for content in (b"1", b"2"):
        copy.write_bytes(content)
        found.append(digest_published(chosen))
    assert [list(each) for each in found] == [["image"]] * 2
    assert found[0] != found[1]
    assert digest_weights({"image": chosen}, PublishedStart()) == {}
    assert digest_weights({"image": partial(SmallCnn)}, PublishedStart()) == {}


def test_features_without_the_test_rows_are_not_those_of_a_run(
    line: Callable[..., list[str]], prepared: Prepared, tmp_path: Path
) -> None:
    experiment, directory = prepared([*line("transfer=feature"), "cache=off"], tmp_path)
    context = make_context(experiment, directory, lambda event: None, StopRequest())
    begun = prepare(context)
    assert begun.given is not None
    model, task = begun.given.model, begun.target.task
    splits = {**task.splits, "test": np.array([0])}
    whole = replace(begun.target, task=replace(task, splits=splits))
    few, all_ = (
        cache_keys.describe_features(context, each, model, "image")
        for each in (begun.target, whole)
    )
    assert {name for name in few if few[name] != all_[name]} == {"rows"}


def test_channel_weights_are_measured_once_for_all_that_they_do_not_depend_on(
    cache: Cache, line: Callable[..., list[str]], once, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def counted(given, encoder, name: str, rows: int) -> list:
        measured.append(name)
        return weigh_channels(given, encoder, name, rows)

    monkeypatch.setattr(delta, "weigh_channels", counted)
    jobs = [
        ("regularizer.strength=0.1",),
        ("regularizer.strength=0.2", "fusion=concat", "transfer.fusion=false"),
        ("regularizer.strength=0.1",),
    ]
    given = [line("regularizer=delta", "transfer.fusion=false", *more) for more in jobs]
    cached = [numbers(once(each)) for each in given]
    assert measured == ["image", "tabular"]
    assert kinds(cache) == {"stage": 1, "channel_weights": 2}
    for change in ("regularizer.probe_rows=5", "seed=1"):
        once(line("regularizer=delta", "transfer.fusion=false", change))
    assert kinds(cache) == {"stage": 2, "channel_weights": 6}
    monkeypatch.setenv("MMX_CACHE_DIR", "off")
    measured.clear()
    assert cached == [numbers(once(each)) for each in given]
    assert measured == ["image", "tabular"] * 3
