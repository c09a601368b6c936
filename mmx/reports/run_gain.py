"""The part of a finished run that the gains of a sweep are computed from."""

from __future__ import annotations

from dataclasses import dataclass

from mmx.evaluation.chance import Chance
from mmx.evaluation.faster import Faster
from mmx.evaluation.sample_metric import Pair
from mmx.runs import sample_scores
from mmx.runs.directory import RunDirectory
from mmx.runs.draw import Draw


@dataclass(frozen=True)
class Compared:
    """A metric in which runs are compared: its name, and whether a smaller value is better."""

    name: str
    lower_is_better: bool = False


@dataclass(frozen=True)
class RunGain:
    """The numbers of a finished run that its group's gain is computed from.

    Attributes:
        draw: Its seed and fold.
        metric: The metric of its gain.
        target: Test metric of the target.
        controls: Control to its test metric.
        pairs: Control to the scores of target and control on test rows, where they are kept.
        lower_is_better: Whether a smaller value of the metric is better.
        chance: Chance level of its test split; None where the target has no classes.
        faster: When the target was as good as the first trained control.
    """

    draw: Draw
    metric: str
    target: float
    controls: dict[str, float]
    pairs: dict[str, Pair]
    lower_is_better: bool = False
    chance: Chance | None = None
    faster: Faster | None = None

    @property
    def sign(self) -> int:
        """1, or -1 where lower is better."""
        return -1 if self.lower_is_better else 1

    @classmethod
    def read(cls, directory: RunDirectory, other: Compared | None = None) -> RunGain:
        """Read a run directory.

        Args:
            directory: Of a finished run.
            other: A metric of its target and controls, instead of the one that its gain is
                stated in. Scores of test rows are not kept of it.
        """
        summary = directory.read_summary()
        draw, tested = Draw.of(summary), summary.target.metrics["test"]
        if summary.gain is None:
            return cls(draw, "", 0.0, {}, {})
        metric = summary.gain.metric
        if other is not None and other.name != metric:
            against = {name: each.metrics["test"] for name, each in summary.control.items()}
            controls = {name: values[other.name] for name, values in against.items()}
            lower = other.lower_is_better
            return cls(draw, other.name, tested[other.name], controls, {}, lower)
        kept = sample_scores.read_scores(directory)
        least, soon = summary.target.chance, summary.faster
        return cls(
            draw,
            metric,
            tested[metric],
            {name: each.metrics["test"][metric] for name, each in summary.control.items()},
            {} if kept is None else {name: (kept[0], each) for name, each in kept[1].items()},
            summary.gain.lower_is_better,
            None if least is None else least.as_chance(),
            None if soon is None else soon.as_faster(),
        )
