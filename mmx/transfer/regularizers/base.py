"""The contract of every regulariser: R(w), added to the loss of each training step.

Shape legend: ``B`` batch, ``D`` width, ``C`` classes, ``N`` rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, get_args

from torch import Tensor, nn

from mmx.modalities import Batch, Features, StepRows

Need = Literal["weights", "model", "source_rows", "classes"]
ActsOn = Literal["weights", "statistics", "features", "relations", "outputs"]
"""What of a target a regulariser acts on; see :attr:`Regularizer.acts_on`."""
Keep = Callable[[str, int, Callable[[], list[Tensor]]], list[Tensor]]


class Reference(Protocol):
    """The trained source model: frozen, in evaluation mode, never changed.

    Attributes:
        modalities: Those of the target that it can encode.
        outputs_count: C of the source.
    """

    modalities: tuple[str, ...]
    outputs_count: int

    def features(self, batch: Batch) -> dict[str, Features]:
        """Return f0, its features of a target's batch, without gradient."""

    def decide(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, C)`` outputs of features through its frozen fusion and head.

        Gradients flow into the features, not into the weights.
        """

    def decision(self) -> nn.Module:
        """Return a trainable copy of all behind its encoders: (features, present) → ``(B, C)``."""

    def encoder(self, modality: str) -> nn.Module:
        """Return its encoder of a target's modality."""


@dataclass(frozen=True)
class Given:
    """What a regulariser may look at before training starts.

    Attributes:
        model: The target's, at its starting point w0.
        shared: Names of trainable parameters that came from the source; all other
            trainable ones count as head.
        reference: The trained source; None where the regulariser does not need it.
        widths: Modality to D of what its encoder says in the target.
        outputs: C of the target.
        kind: The target's kind: classes, multilabel or regression.
        rows: Yields the target's training rows in batches, without augmentation.
        source_features: Modality to ``(N, D)`` pooled f0 of the source's own training rows.
        seed: The run's.
        keep: ``keep(modality, rows, make)`` returns the channel weights that ``make`` measures
            on so many rows, from the artifact cache where they are there.
    """

    model: nn.Module
    shared: frozenset[str]
    reference: Reference | None
    widths: dict[str, int]
    outputs: int
    kind: str
    rows: Callable[[], Iterator[Batch]]
    source_features: Callable[[], dict[str, Tensor]]
    seed: int
    keep: Keep = lambda modality, rows, make: make()


@dataclass(frozen=True)
class Step:
    """A batch of the target in training, as a penalty sees it.

    Attributes:
        model: Being trained, in training mode.
        batch: As the model read it, augmentation included.
        features: f, what the model's encoders said of it.
        outputs: ``(B, C)`` of the model.
        fused: ``(B, D)`` of which the head made them; None where only weights are looked at.
    """

    model: nn.Module
    batch: Batch
    features: dict[str, Features]
    outputs: Tensor
    fused: Tensor | None = None


class Penalty(nn.Module, ABC):
    """A regulariser bound to a model; parameters of its own train with the model.

    Draws, if any, come from torch's global generator, which every step seeds anew. Tensors
    that must survive an interruption are parameters or buffers; the reference is neither.

    Attributes:
        of_weights: Whether it looks at weights alone: it is then added once a step, however
            many batches the step has.
    """

    of_weights: ClassVar[bool] = False

    @abstractmethod
    def forward(self, step: Step) -> Tensor:
        """Return strength · R as a scalar in float32, a mean over the batch."""

    def part(self, step: Step, rows: StepRows) -> Tensor:
        """Return a batch's part of the penalty of a step that is accumulated over several.

        Args:
            step: Of the batch.
            rows: All rows of the step.
        """
        penalty: Tensor = self(step)
        return penalty * (len(step.batch) / len(rows))


class Regularizer(ABC):
    """Base of all regularisers; keyword-only, plain, annotated constructor arguments.

    A regulariser never says which transfer modes it works with. It says what it acts on, and
    each mode says what may be acted on while it trains::

        class Nearness(Regularizer):
            \"\"\"strength · mean_i ‖f_i − f0_i‖², row by row, in the source's axes.\"\"\"

            acts_on = "features"
            needs = frozenset({"model"})
            zero_at_start = True

    Attributes:
        acts_on: What it holds near the source.
            ``weights``: the values of copied parameters, one by one, such as ‖w − w0‖².
            ``statistics``: the moving statistics of copied batch norms; there is nothing to do
            where they stand still.
            ``features``: what encoders say, in the source's own axes. Set it where a rotation
            of the features would change R; the encoders must then start from the source's.
            ``relations``: how rows lie to each other. Set it where no rotation of the features
            changes R; fresh encoders can then be held too.
            ``outputs``: what is decided behind the encoders, by the source's head or by labels.
        reads_source_outputs: Whether it calls :meth:`Reference.decide` or
            :meth:`Reference.decision`. A source that was trained without labels decides
            nothing, and is then refused.
        needs: ``weights``: at least one parameter came from the source and trains.
            ``model``: the trained source is at hand while the target trains.
            ``source_rows``: its own rows are encoded once.
            ``classes``: the target has classes, and so has the source.
        weight_decay: False where it takes the place of weight decay.
        reads_outputs: Whether it holds a batch's outputs against its labels: it then has no
            meaning where rows are mixed with rows of other classes.
        compares_rows: Whether it holds the rows of a batch against each other, or their statistics
            against others: then the steps of several small batches are not those of a large one.
        watches: Whether it looks at modules inside the encoders: compiled ones show none.
        zero_at_start: Whether R(w0) = 0: a target that is as its source is not pulled at all.
    """

    acts_on: ClassVar[ActsOn] = "features"
    reads_source_outputs: ClassVar[bool] = False
    needs: ClassVar[frozenset[Need]] = frozenset()
    weight_decay: ClassVar[bool] = True
    reads_outputs: ClassVar[bool] = False
    compares_rows: ClassVar[bool] = False
    watches: ClassVar[bool] = False
    zero_at_start: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        """Refuse a word for what it acts on that no mode knows."""
        super().__init_subclass__()
        if cls.acts_on not in get_args(ActsOn):
            accepted = ", ".join(get_args(ActsOn))
            raise TypeError(f"{cls.__name__}.acts_on = {cls.acts_on!r} is none of {accepted}")

    def check(self, model: nn.Module, shared: frozenset[str]) -> None:  # noqa: B027 most ask for nothing
        """Refuse a started model, by names and shapes alone: the source may not be trained yet.

        Args:
            model: The target's.
            shared: Names of its trainable parameters that came from the source.

        Raises:
            TransferError: There is nothing that it could hold.
        """

    @abstractmethod
    def bind(self, given: Given) -> Penalty:
        """Return the penalty for a model.

        Raises:
            TransferError: There is nothing that it could hold.
        """

    def equip(self, model: nn.Module, shared: frozenset[str]) -> None:  # noqa: B027 most change nothing
        """Change modules of the model before training; their state keeps its names."""
