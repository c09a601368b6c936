"""A weighted sum of objectives."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterable
from typing import Annotated, Any, cast, get_type_hints

import pydantic
import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.errors import Problem, closest
from mmx.modalities import Encoded, StepRows
from mmx.objectives.base import Criterion, ModelOutput, Objective
from mmx.renamed_options import find_word
from mmx.variants import find_variants

Weight = Annotated[float, Field(gt=0, le=1e6)]


class Combined(Objective):
    """L = Σ_t λ_t L_t, such as the task's loss and what aligns the modalities.

    Each L_t keeps its own mean, so λ means the same at every batch size where L_t does.
    The kinds of target served are those that all terms serve.

    Args:
        terms: Objective to λ > 0; None: ``{cross_entropy: 1.0}``. One at least reads
            outputs, or the head would not learn.
        options: Objective to its options, as far as they are not the default ones. A term of
            your own has any name that mmx has not, and its node here:
            ``terms={cross_entropy: 1, mine: 0.1}``,
            ``options={mine: {_target_: my_package.mine.Mine}}``.

    Raises:
        ValueError: There is no such objective or option, or the terms do not fit each other.
    """

    def __init__(
        self,
        *,
        terms: dict[str, Weight] | None = None,
        options: dict[str, Objective | dict[str, Any]] | None = None,
    ) -> None:
        terms = {"cross_entropy": 1.0} if terms is None else terms
        options = {} if options is None else options
        self.weights = {name: terms[name] for name in sorted(terms)}
        self.terms = {name: _term(name, options.get(name, {})) for name in self.weights}
        self._check_terms(terms, options)
        self.kinds = frozenset.intersection(*(term.kinds for term in self.terms.values()))
        if not self.kinds:
            served = (f"{name} {' or '.join(sorted(t.kinds))}" for name, t in self.terms.items())
            raise ValueError(f"`terms` serve no kind of target together: {', '.join(served)}")
        self.cross_modal = any(term.cross_modal for term in self.terms.values())
        self.compares_rows = any(term.compares_rows for term in self.terms.values())
        self.counts_losses = any(term.counts_losses for term in self.terms.values())
        self.may_be_negative = any(term.may_be_negative for term in self.terms.values())

    def _check_terms(self, terms: dict[str, Weight], options: Iterable[str]) -> None:
        """Raise ValueError for options of no term, and where no term trains the head."""
        for name in options:
            if name not in terms:
                raise _problem("options", name, "is not among `terms`", terms)
        if not any(term.reads_outputs for term in self.terms.values()):
            raise ValueError(
                f"`terms` ({', '.join(terms) or 'none'}) read no outputs, so the head would not "
                "learn: add one that does, such as cross_entropy, or choose objective=info_nce "
                "to train without labels"
            )

    def bind(self, target: Tensor, outputs: int, widths: dict[str, int]) -> Criterion:
        """Return the loss; see :class:`~mmx.objectives.base.Objective`."""
        bound = {name: term.bind(target, outputs, widths) for name, term in self.terms.items()}
        reading = [name for name, term in self.terms.items() if term.reads_outputs]
        return CombinedLoss(bound, self.weights, reading)

    def with_class_weights(self) -> Objective:
        """Return it with class weights in its cross-entropy or focal term; see Objective."""
        changed = {
            name: term.with_class_weights()
            for name, term in self.terms.items()
            if term.weighs_classes
        }
        if not changed:
            return super().with_class_weights()
        other = copy.copy(self)
        other.terms = {**self.terms, **changed}
        return other


class CombinedLoss(Criterion):
    """The loss of :class:`Combined`.

    Args:
        terms: The bound terms, by name.
        weights: λ of each.
        reading: The terms that read outputs.
    """

    def __init__(
        self, terms: dict[str, Criterion], weights: dict[str, float], reading: list[str]
    ) -> None:
        super().__init__()
        self.terms = nn.ModuleDict(terms)
        self.weights = weights
        self.reading = reading
        self.observes = any(term.observes for term in terms.values())
        self.aligning = next((name for name, term in terms.items() if term.aligns), None)
        self.aligns = self.aligning is not None

    def task_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the weighted sum of the terms that read outputs; see Criterion."""
        return self._sum(
            {name: self._term(name).task_loss(outputs, target) for name in self.reading}
        )

    def forward(self, said: ModelOutput, target: Tensor) -> Tensor:
        """Return the weighted sum of all terms."""
        return self._sum({name: self._term(name)(said, target) for name in self.weights})

    def task_part(self, outputs: Tensor, target: Tensor, step: Tensor) -> Tensor:
        """Return the weighted sum of the parts, each a part of its own mean; see Criterion."""
        return self._sum(
            {name: self._term(name).task_part(outputs, target, step) for name in self.reading}
        )

    def part(self, said: ModelOutput, target: Tensor, step: StepRows) -> Tensor:
        """Return the weighted sum of the parts, each a part of its own mean; see Criterion."""
        return self._sum({name: self._term(name).part(said, target, step) for name in self.weights})

    def after_epoch(self, val: Encoded, outputs: Tensor) -> None:
        """Let those terms look that want to; see Criterion."""
        for name in self.weights:
            if self._term(name).observes:
                self._term(name).after_epoch(val, outputs)

    def embed(self, pooled: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the embeddings of the first term, by name, that aligns; see Criterion."""
        if self.aligning is None:
            return super().embed(pooled)
        return self._term(self.aligning).embed(pooled)

    def _term(self, name: str) -> Criterion:
        return cast(Criterion, self.terms[name])

    def _sum(self, losses: dict[str, Tensor]) -> Tensor:
        return torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()


def _find_objectives() -> dict[str, type[Objective]]:
    """Return every objective that can be a term, by name."""
    kinds = find_variants(__name__.rpartition(".")[0], Objective)
    return {name: kind for name, kind in kinds.items() if kind is not Combined}


def _term(name: str, options: Objective | dict[str, Any]) -> Objective:
    """Return an objective by its name, with checked options, or one's own as it was built."""
    kind = _find_objectives().get(name)
    if isinstance(options, Objective):
        if kind is not None or isinstance(options, Combined):
            raise _problem("terms", name, "cannot be a class of one's own", _find_objectives())
        return options
    if kind is None:
        reason = "cannot be a term of itself" if name == "combined" else "is no objective"
        if renamed := find_word("objective", name):
            reason = renamed.why
        raise _problem("terms", name, reason, _find_objectives())
    signature = inspect.signature(kind)
    hints = get_type_hints(kind.__init__, include_extras=True)
    values = {}
    for option, value in options.items():
        if option not in signature.parameters:
            raise _problem(f"options.{name}", option, "no code reads this", signature.parameters)
        values[option] = _convert(f"options.{name}.{option}", value, hints[option])
    return kind(**values)


def _convert(where: str, value: Any, hint: Any) -> Any:
    """Return an option's value as its annotation wants it; neither bool nor NaN is a number."""
    reason = "is not a number"
    try:
        converted = pydantic.TypeAdapter(hint).validate_python(value)
    except pydantic.ValidationError as error:
        reason = error.errors()[0]["msg"].lower()
    else:
        is_nan = isinstance(converted, float) and math.isnan(converted)
        if isinstance(value, bool) is isinstance(converted, bool) and not is_nan:
            return converted
    raise ValueError(f"`{where}` (={value}): {reason}")


def _problem(where: str, given: str, reason: str, accepted: Any) -> ValueError:
    """Return the error of a name that is not among those accepted."""
    problem = Problem(
        f"{where}.{given}",
        reason,
        accepted=", ".join(accepted) or "no options",
        closest=closest(given, accepted),
    )
    return ValueError(str(problem))
