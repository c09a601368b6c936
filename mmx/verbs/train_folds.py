"""``target.folds=5``: a run for each fold, expanded before anything runs.

target.folds=5                      -m target.folds=5 target.fold=1,2,3,4,5
target.folds=5 target.repeats=2     -m target.folds=5 target.fold=1,2,3,4,5 target.repeat=1,2
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from mmx.config.nodes import ConfigNode
from mmx.errors import Problem
from mmx.experiment.settings import MOST_RUNS

FOLDS, FOLD = "target.folds", "target.fold"
REPEATS, REPEAT = "target.repeats", "target.repeat"


@dataclass(frozen=True)
class FoldSweep:
    """The folds that a line asks for.

    Attributes:
        folds: How many, each to be run; None where the line chooses them, or asks for none.
        repeats: How many partitions; None where the line chooses them.
        known: The keys that the target's config has.
        given: The keys of folds that have a value, each as it was typed or as the config says.
    """

    folds: int | None
    repeats: int | None
    known: Collection[str]
    given: Mapping[str, str]

    @classmethod
    def of(cls, config: ConfigNode, typed: Mapping[str, str]) -> FoldSweep:
        """Return what a config with its typed overrides asks for.

        Args:
            config: Composed; of a sweep, that of its first job.
            typed: Key to override.
        """
        node = config.get("target")
        target = node if isinstance(node, dict) else {}
        given = {
            key: typed.get(key, f"{key}={target[name]}")
            for key in (FOLDS, FOLD, REPEATS, REPEAT)
            if target.get(name := key.partition(".")[2]) is not None
        }
        folds, repeats = target.get("folds"), target.get("repeats")
        usable = _is_count(folds, 2)  # else the task says what is wrong with it
        return cls(
            folds if usable and FOLD not in given else None,
            repeats if usable and _is_count(repeats, 1) and REPEAT not in given else None,
            target.keys(),
            given,
        )

    @property
    def asked(self) -> bool:
        """Whether there is anything to expand."""
        return self.folds is not None or self.repeats is not None

    def write_out(self, typed: Collection[str]) -> list[str]:
        """Return the overrides that the line is short for."""
        overrides = []
        if self.repeats is not None and REPEATS not in typed:  # an experiment says it
            overrides.append(f"{REPEATS}=null")
        for key, count in ((REPEAT, self.repeats), (FOLD, self.folds)):
            if count is not None:
                add = "" if key.partition(".")[2] in self.known else "+"
                overrides.append(f"{add}{key}=" + ",".join(map(str, range(1, count + 1))))
        return overrides

    def problems(self, several: Collection[str]) -> Iterator[Problem]:
        """Yield what cannot be expanded.

        Args:
            several: Overrides that give several values.
        """
        for key in (FOLDS, REPEATS):
            if (text := self.given.get(key)) in several and text is not None:
                reason = "stands for a sweep itself"
                yield Problem(text, reason, type_this=text.partition(",")[0])
        if REPEATS in self.given and REPEAT in self.given:
            yield Problem(
                self.given[REPEATS],
                f"runs all its repeats, and {self.given[REPEAT]} says which",
                type_this=f"{self.given[REPEAT]} {REPEATS}=null",
            )
        runs = (self.folds or 1) * (self.repeats or 1)
        if runs > MOST_RUNS:
            text = self.given.get(FOLDS, self.given.get(REPEATS, ""))
            yield Problem(text, f"asks for {runs:,} runs; at most {MOST_RUNS:,} are run at once")


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
