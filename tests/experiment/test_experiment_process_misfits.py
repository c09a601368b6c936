"""What several processes cannot train is refused before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from refusals import Refusal, check_refusals

from mmx.config import compose
from mmx.errors import ConfigError
from mmx.experiment import Experiment, assemble

Assemble = Callable[..., Experiment]
ALONE = "processes=1   (larger batches in one process: trainer.accumulate)"


@pytest.fixture(scope="module")
def made() -> Iterator[Assemble]:
    with compose.composer():
        yield lambda *overrides: assemble(compose.compose_job(overrides).config)


@pytest.mark.parametrize(
    ("overrides", "given", "says"),
    [
        (["regularizer=coral"], "regularizer=coral", "each of 2 processes"),
        (["balance=mixup"], "balance=mixup", "compares the rows of a batch"),
        (["objective=gradient_blending"], "objective=gradient_blending", "counts"),
        (["transfer=joint"], "transfer=joint", "two tasks at once"),
    ],
)
def test_what_looks_at_a_whole_batch_is_refused(
    made: Assemble, overrides: list[str], given: str, says: str
) -> None:
    made(*overrides)  # one process does it
    with pytest.raises(ConfigError) as caught:
        made(*overrides, "processes=2")
    check_refusals(caught.value.problems, [Refusal(given, (says,), type_this=ALONE)])


def test_a_search_by_candidates_is_refused(made: Assemble) -> None:
    with pytest.raises(ConfigError) as caught:
        made("transfer=auto", "processes=2")
    tip = "processes=1   (candidates side by side: mmx search, or mmx train -m)"
    check_refusals(caught.value.problems, [Refusal("transfer=auto", (2,), type_this=tip)])


def test_one_process_is_what_runs_were_before_there_could_be_several(made: Assemble) -> None:
    one, two = made(), made("processes=2")
    assert "processes" not in one.config
    assert made("processes=1").fingerprint == one.fingerprint != two.fingerprint
    assert two.config["processes"] == 2
    assert assemble(two.config).fingerprint == two.fingerprint


def test_batch_norm_over_processes_needs_several(made: Assemble) -> None:
    with pytest.raises(ConfigError) as caught:
        made("trainer.sync_batch_norm=true")
    tip = "trainer.sync_batch_norm=false   (or processes=2)"
    check_refusals(
        caught.value.problems, [Refusal("trainer.sync_batch_norm=true", (), type_this=tip)]
    )
    with pytest.raises(ConfigError) as caught:
        made("trainer.sync_batch_norm=true", "processes=2", "compile=true")
    (problem,) = caught.value.problems
    assert problem.type_this == "compile=false"
    several = made("trainer.sync_batch_norm=true", "processes=2")
    assert several.config["trainer"]["sync_batch_norm"] is True
    assert "sync_batch_norm" not in made("processes=2").config["trainer"]
