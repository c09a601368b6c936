"""Nothing is computed twice, and what comes from the cache is the same to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mmx.runs.cache import Cache
from mmx.runs.directory import RunDirectory

Overrides = Callable[..., list[str]]
Kept = dict[str, dict]
TWO = ("image", "tabular")


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
    once(line("transfer=parameter", "transfer.regularizer=l2_sp", "target.fraction=0.7"))
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
        assert content == text or content != text
        changed.write_text(content)
        once(overrides(changed, tables["two"], TWO, "control=none"))
    changed.unlink()
    assert kinds(cache) == {"stage": 2}


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
