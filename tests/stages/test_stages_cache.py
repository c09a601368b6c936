"""Nothing is computed twice, and what comes from the cache is the same to the last bit."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmx import execution
from mmx.config import compose
from mmx.experiment import assemble
from mmx.runs.cache import Cache
from mmx.runs.directory import RunDirectory
from mmx.stages import artifacts
from mmx.stages.begin import begin, context_of
from mmx.training.events import Event, StopRequest
from mmx.transfer.regularizers import delta
from mmx.transfer.regularizers.channel_weights import channel_weights

Overrides = Callable[..., list[str]]
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
    given = [line("transfer=feature", "sharing=modalities", f"fusion={f}") for f in PAIR]
    cached = [numbers(once(each)) for each in given]
    monkeypatch.setenv("MMX_CACHE_DIR", "off")
    assert cached == [numbers(once(each)) for each in given]


def test_the_rows_that_a_label_free_source_leaves_out_count(
    cache: Cache, overrides: Overrides, once, tables: dict[str, Path]
) -> None:
    for missing in ("mask", "drop"):
        more = ("source_objective=contrastive", "control=none", f"missing={missing}")
        once(overrides(tables["one"], tables["two"], TWO, *more))
    assert kinds(cache) == {"stage": 2}


def test_one_source_for_all_budgets_of_a_fusion_that_it_has_not(
    cache: Cache, line: Callable[..., list[str]], once
) -> None:
    for budget in (2000, 3000):
        once(line("transfer=feature", "match=params", f"match_params={budget}"))
    assert kinds(cache)["stage"] == 1


def test_a_source_that_was_interrupted_is_not_kept_without_its_first_epochs(
    cache: Cache, line: Callable[..., list[str]], tmp_path: Path
) -> None:
    with compose.composer():
        composed = compose.compose([*line(), "trainer.threads=1", "device=cpu"])
    experiment = assemble(composed.config)
    directory = execution.create(
        experiment, tmp_path / "runs", choices={}, overrides=[], unresolved={}
    )

    def interrupt(event: Event) -> None:
        if (event.stage, event.kind, event.epoch) == ("source", "epoch", 1):
            os.kill(os.getpid(), signal.SIGTERM)

    assert execution.execute(experiment, directory, interrupt)["exit_code"] == 143
    assert execution.execute(experiment, directory, lambda event: None)["status"] == "done"
    assert "stage" not in kinds(cache)
    assert {e["epoch"] for e in directory.metrics() if e["stage"] == "source"} == {1, 2}


def test_a_weight_file_counts_by_its_content_wherever_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = []
    for content in (b"1", b"2"):
        (tmp_path / "w.pth").write_bytes(content)
        found.append(artifacts._weights({"image": {"weights": "~/w.pth"}}))
        assert found[-1] == artifacts._weights({"image": {"weights": str(tmp_path / "w.pth")}})
    assert found[0] != found[1]
    assert artifacts._weights({"image": {"weights": None}, "text": {}}) == {}


def test_features_without_the_test_rows_are_not_those_of_a_run(
    line: Callable[..., list[str]], tmp_path: Path
) -> None:
    with compose.composer():
        composed = compose.compose([*line("transfer=feature"), "device=cpu", "cache=off"])
    experiment = assemble(composed.config)
    directory = execution.create(
        experiment, tmp_path / "runs", choices={}, overrides=[], unresolved={}
    )
    context = context_of(experiment, directory, lambda event: None, StopRequest())
    begun = begin(context)
    assert begun.given is not None
    model, task = begun.given.trained.model, begun.target.task
    splits = {**task.splits, "test": np.array([0])}
    whole = replace(begun.target, task=replace(task, splits=splits))
    few, all_ = (
        artifacts.features_inputs(context, each, model, "image") for each in (begun.target, whole)
    )
    assert {name for name in few if few[name] != all_[name]} == {"rows"}


def test_channel_weights_are_measured_once_for_all_that_they_do_not_depend_on(
    cache: Cache, line: Callable[..., list[str]], once, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def counted(given, encoder, name: str, rows: int) -> list:
        measured.append(name)
        return channel_weights(given, encoder, name, rows)

    monkeypatch.setattr(delta, "channel_weights", counted)
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
