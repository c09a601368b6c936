"""Auto: the mode, regulariser, frozen depth and learning rate that validation prefers."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import Field
from torch import nn

from mmx.errors import TransferError
from mmx.transfer.base import Source, Start, Transfer
from mmx.transfer.candidates import MODES, REGULARIZERS, combine_candidates
from mmx.transfer.heads import HeadName
from mmx.transfer.search_contract import NO_REGULARIZER, Choices, Search, SearchCandidate

if TYPE_CHECKING:
    Mode: TypeAlias = str
    Name: TypeAlias = str
else:  # derived from the folders, so that a new file is a new choice
    Mode = Literal[tuple(MODES)]
    NAMES = (NO_REGULARIZER, *REGULARIZERS)
    Name = Literal[NAMES]
Some = Field(min_length=1)
TRAININGS = 4
"""Without a budget the trials take as many steps as this many trainings of the target."""


class Auto(Transfer, Search):
    """Searches among the other modes, and is replaced by the one it chooses.

    For whoever does not know which mode suits a pair of source and target, and can afford a few
    trainings to find out.

    Candidates are all that the lists allow. Each mode states which of its settings are worth
    trying, :meth:`Transfer.search_space`, and which regularisers it can be combined with,
    :meth:`Transfer.holds`. Transferability scores of the source's features on the target's
    training rows order the candidates: they decide which are tried first and, where the budget
    is short, which are tried at all. Successive halving on validation then trains all for a
    little and the best of them for longer. The test rows are not opened. The run goes on as if
    the winner had been asked for: its ``config.yaml`` is the winner's, and the given config is
    kept as ``config.auto.yaml``.

    The budget is that of all trials. Training the source, the scores and the run that the winner
    becomes are not counted. With a budget of steps a search is reproducible. One of seconds
    depends on the speed of the machine: each rung has an equal share of it, in which no trial
    starts that is not expected to end.

    Example:
        >>> auto = Auto(modes=("scratch", "parameter"), depths=(0, 2), budget_steps=600)
        >>> auto.find_budget_steps(steps_per_epoch=10, epochs=5)
        600

    Args:
        modes: To choose from. With ``scratch`` the search can say whether transfer hurts.
        regularizers: To combine modes with; ``none`` for none.
        depths: Values of ``freeze_depth``, of ``parameter``.
        rates: Values of ``copied_rate``, of ``parameter``.
        heads: Of ``feature``. One that is fitted without epochs is at its best in every rung,
            while others have trained for a part of their time: it tends to win.
        eta: One candidate in ``eta`` is kept after a rung.
        budget_steps: Optimiser steps of all trials together. None: 4 times those of the run's
            own training, unless there are ``budget_seconds``.
        budget_seconds: Seconds of all trials together.
        fusion: Whether fusion and head are taken too, where the mode has that option. All
            candidates share one trained source. With several modalities, modes that take its
            fusion need another source than modes that do not; the search leaves out whichever
            needs another one.
        map: Target modality to the source modality whose encoder it starts from.
        class_map: Source class to target class, where one class has two names.
        min_copied: Fraction of an encoder's tensors that must come from the source, for each
            encoder that starts from one.

    Raises:
        ValueError: There are two budgets.

    Reference: Jamieson and Talwalkar 2016, arXiv 1502.07943.
    """

    needs = "weights"

    def __init__(
        self,
        *,
        modes: Annotated[tuple[Mode, ...], Some] = ("scratch", "feature", "parameter"),
        regularizers: Annotated[tuple[Name, ...], Some] = ("none", "l2_sp"),
        depths: Annotated[tuple[Annotated[int, Field(ge=0, le=1_024)], ...], Some] = (0, 2),
        rates: Annotated[tuple[Annotated[float, Field(gt=0, le=1000)], ...], Some] = (1.0, 0.3),
        heads: Annotated[tuple[HeadName, ...], Some] = ("linear",),
        eta: Annotated[int, Field(ge=2, le=100_000)] = 3,
        budget_steps: Annotated[int, Field(ge=1, le=10**10)] | None = None,
        budget_seconds: Annotated[float, Field(gt=0, le=1e9)] | None = None,
        fusion: bool = False,
        map: dict[str, str] | None = None,
        class_map: dict[str, str] | None = None,
        min_copied: Annotated[float, Field(ge=0, le=1)] = 0.5,
    ) -> None:
        if budget_steps is not None and budget_seconds is not None:
            raise ValueError(
                f"`budget_steps` (={budget_steps}) and `budget_seconds` (={budget_seconds:g}) "
                "are both set: a search has one budget"
            )
        self.modes = modes
        self.choices = Choices(regularizers, heads, depths, rates)
        self.eta = eta
        self.budget_steps = budget_steps
        self.budget_seconds = budget_seconds
        self.fusion = fusion
        self.modality_map = map or {}
        self.class_map = class_map or {}
        self.min_copied = min_copied

    @property
    def search(self) -> Search:
        """The search itself."""
        return self

    def list_candidates(self) -> list[SearchCandidate]:
        """Return all candidates; see :func:`~mmx.transfer.candidates.combine_candidates`."""
        common = {
            "map": dict(self.modality_map) or None,
            "class_map": dict(self.class_map) or None,
            "min_copied": self.min_copied,
            "fusion": self.fusion,
        }
        return combine_candidates(self.modes, self.choices, common)

    def takes_fusion(self, modalities: Collection[str]) -> bool:
        """Return whether the source is trained with the target's fusion."""
        return self.fusion

    def find_budget_steps(self, steps_per_epoch: int, epochs: int) -> int:
        """Return the optimiser steps of all trials, where the budget is not one of seconds.

        Args:
            steps_per_epoch: Of the target's training.
            epochs: Of the run itself.
        """
        return self.budget_steps or TRAININGS * epochs * steps_per_epoch

    def start(self, source: Source | None, model: nn.Module, classes: tuple[str, ...]) -> Start:
        """Refuse: a search chooses a mode that starts in its place."""
        raise TransferError("transfer=auto chooses another mode before anything is trained")
