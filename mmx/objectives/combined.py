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
    """The weighted sum of several objectives, L = Σ_t λ_t L_t.

    Use it to add a loss on the modalities' features (``info_nce``, ``cca``, ``triplet``,
    ``unimodal``) to the loss of the task.

    Each L_t is its own mean, so λ_t has the same meaning at every batch size if L_t has. The
    kinds of target served are those that all terms serve.

    Args:
        terms: Objective to λ > 0; None: ``{cross_entropy: 1.0}``. At least one has to read
            outputs, or the head would not be trained.
        options: Objective to those of its options that differ from the defaults. A term of
            your own can have any name that mmx does not use, with its node here:
            ``terms={cross_entropy: 1, mine: 0.1}``,
            ``options={mine: {_target_: my_package.mine.Mine}}``.

    Raises:
        ValueError: An objective or option does not exist, or the terms do not fit each other.
    """

    def __init__(
        self,
        *,
        terms: dict[str, Weight] | None = None,
        options: dict[str, Objective | dict[str, Any]] | None = None,
    ) -> None:
        terms = {"cross_entropy": 1.0} if terms is None else terms
        options = {} if options is None else options
        # Sorted, so that neither the sum's rounding nor the drawn weights of the terms depend
        # on the order in which they were typed.
        self.weights = {name: terms[name] for name in sorted(terms)}
        self.terms = {name: _make_term(name, options.get(name, {})) for name in self.weights}
        self._check_terms(terms, options)
        self.kinds = frozenset.intersection(*(term.kinds for term in self.terms.values()))
        if not self.kinds:
            served = (f"{name} {' or '.join(sorted(t.kinds))}" for name, t in self.terms.items())
            raise ValueError(f"`terms` have no kind of target in common: {', '.join(served)}")
        self.cross_modal = any(term.cross_modal for term in self.terms.values())
        self.compares_rows = any(term.compares_rows for term in self.terms.values())
        self.counts_losses = any(term.counts_losses for term in self.terms.values())
        self.may_be_negative = any(term.may_be_negative for term in self.terms.values())

    def _check_terms(self, terms: dict[str, Weight], options: Iterable[str]) -> None:
        """Raise ValueError for options without a term, or if no term trains the head."""
        for name in options:
            if name not in terms:
                raise _make_error("options", name, "is not among `terms`", terms)
        if not any(term.reads_outputs for term in self.terms.values()):
            raise ValueError(
                f"`terms` ({', '.join(terms) or 'none'}) do not read outputs, so the head would "
                "not be trained: add one that does, such as cross_entropy, or choose "
                "objective=info_nce to train without labels"
            )

    def bind(self, target: Tensor, outputs: int, widths: dict[str, int]) -> Criterion:
        """Return the loss; see :class:`~mmx.objectives.base.Objective`."""
        bound = {name: term.bind(target, outputs, widths) for name, term in self.terms.items()}
        reading = [name for name, term in self.terms.items() if term.reads_outputs]
        return CombinedLoss(bound, self.weights, reading)

    def with_class_weights(self) -> Objective:
        """Return a copy with class weights in its cross-entropy or focal term; see Objective."""
        changed = {
            name: term.with_class_weights()
            for name, term in self.terms.items()
            if term.weighs_classes
        }
        if not changed:
            return super().with_class_weights()
        other = copy.copy(self)  # shallow: ``self.terms`` itself must not change
        other.terms = {**self.terms, **changed}
        return other


class CombinedLoss(Criterion):
    """The loss of :class:`Combined`.

    Args:
        terms: The bound terms, by name.
        weights: λ of each term.
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
        # Its embeddings are those that retrieval metrics use.
        self.aligning = next((name for name, term in terms.items() if term.aligns), None)
        self.aligns = self.aligning is not None

    def task_loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Return the weighted sum of the terms that read outputs; see Criterion."""
        return self._sum(
            {name: self._term(name).task_loss(outputs, target) for name in self.reading}
        )

    def forward(self, output: ModelOutput, target: Tensor) -> Tensor:
        """Return the weighted sum of all terms."""
        return self._sum({name: self._term(name)(output, target) for name in self.weights})

    def task_part(self, outputs: Tensor, target: Tensor, step: Tensor) -> Tensor:
        """Return the weighted sum of the terms' parts, each of its own mean; see Criterion."""
        return self._sum(
            {name: self._term(name).task_part(outputs, target, step) for name in self.reading}
        )

    def part(self, output: ModelOutput, target: Tensor, step: StepRows) -> Tensor:
        """Return the weighted sum of the terms' parts, each of its own mean; see Criterion."""
        return self._sum(
            {name: self._term(name).part(output, target, step) for name in self.weights}
        )

    def after_epoch(self, val: Encoded, outputs: Tensor) -> None:
        """Call the terms that observe epochs; see Criterion."""
        for name in self.weights:
            if self._term(name).observes:
                self._term(name).after_epoch(val, outputs)

    def embed(self, pooled: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the embeddings of the first term by name that aligns modalities; see Criterion."""
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


def _make_term(name: str, options: Objective | dict[str, Any]) -> Objective:
    """Return an objective by its name with checked options; a user's own is already built."""
    kind = _find_objectives().get(name)
    if isinstance(options, Objective):
        if kind is not None or isinstance(options, Combined):
            raise _make_error("terms", name, "cannot be a class of your own", _find_objectives())
        return options
    if kind is None:
        reason = "cannot be a term of itself" if name == "combined" else "is not an objective"
        if renamed := find_word("objective", name):
            reason = renamed.why
        raise _make_error("terms", name, reason, _find_objectives())
    signature = inspect.signature(kind)
    hints = get_type_hints(kind.__init__, include_extras=True)
    values = {}
    for option, value in options.items():
        if option not in signature.parameters:
            raise _make_error(f"options.{name}", option, "no code reads this", signature.parameters)
        values[option] = _convert(f"options.{name}.{option}", value, hints[option])
    return kind(**values)


def _convert(where: str, value: Any, hint: Any) -> Any:
    """Return an option's value, converted to its annotation; bool and NaN are not numbers."""
    reason = "is not a number"
    try:
        converted = pydantic.TypeAdapter(hint).validate_python(value)
    except pydantic.ValidationError as error:
        reason = error.errors()[0]["msg"].lower()
    else:
        # Pydantic would accept True as 1.0, and NaN passes every bound.
        is_nan = isinstance(converted, float) and math.isnan(converted)
        if isinstance(value, bool) is isinstance(converted, bool) and not is_nan:
            return converted
    raise ValueError(f"`{where}` (={value}): {reason}")


def _make_error(where: str, given: str, reason: str, accepted: Any) -> ValueError:
    """Return the error for a name that is not accepted."""
    problem = Problem(
        f"{where}.{given}",
        reason,
        accepted=", ".join(accepted) or "no options",
        closest=closest(given, accepted),
    )
    return ValueError(str(problem))
