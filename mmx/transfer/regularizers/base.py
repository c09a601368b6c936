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
        modalities: The target's modalities that it can encode.
        outputs_count: C of the source.
    """

    modalities: tuple[str, ...]
    outputs_count: int

    def features(self, batch: Batch) -> dict[str, Features]:
        """Return f0, the source's features of a batch of the target, without gradient."""

    def decide(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return the ``(B, C)`` outputs of its frozen fusion and head for given features.

        Gradients flow into the features, but not into the weights.
        """

    def decision(self) -> nn.Module:
        """Return a trainable copy of its fusion and head: (features, present) → ``(B, C)``."""

    def encoder(self, modality: str) -> nn.Module:
        """Return the source's encoder for a modality of the target."""


@dataclass(frozen=True)
class RegularizerContext:
    """What a regulariser may read before training starts.

    Attributes:
        model: The target model at its starting point w0.
        shared: Names of the trainable parameters that came from the source; all other
            trainable parameters count as the head.
        reference: The trained source; None where the regulariser does not need it.
        widths: Modality to the width D of the target's encoder.
        outputs: C of the target.
        kind: The target's kind: classes, multilabel or regression.
        rows: Yields the target's training rows in batches, without augmentation.
        source_features: Returns, by modality, the ``(N, D)`` pooled f0 of the source's own
            training rows.
        seed: The run's seed.
        keep: ``keep(modality, rows, make)`` returns the channel weights measured on that many
            rows: from the artifact cache if they are there, else by calling ``make``.
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
        model: The target model, in training mode.
        batch: The batch as the model read it, augmentation included.
        features: f, the features that the model's encoders returned for the batch.
        outputs: ``(B, C)``, what the model returned.
        fused: ``(B, D)``, the input of the head; None for a penalty of weights alone.
    """

    model: nn.Module
    batch: Batch
    features: dict[str, Features]
    outputs: Tensor
    fused: Tensor | None = None


class Penalty(nn.Module, ABC):
    """A regulariser bound to a model. Its own parameters, if any, train with the model.

    Random numbers come from torch's global generator, which is seeded again at every step. Tensors
    that must survive an interruption are parameters or buffers; the reference is neither.

    Attributes:
        of_weights: Whether it reads weights alone. It is then added once per step, however many
            batches the step has.
    """

    of_weights: ClassVar[bool] = False

    @abstractmethod
    def forward(self, step: Step) -> Tensor:
        """Return strength · R as a scalar in float32, a mean over the batch."""

    def part(self, step: Step, rows: StepRows) -> Tensor:
        """Return one batch's part of the penalty where a step accumulates several batches.

        By default it counts by rows. Override it where rows without a modality do not count:
        the parts of a step must sum to the penalty of all its rows.

        Args:
            step: The batch.
            rows: All rows of the step.
        """
        # A mean over the batch becomes a part of the mean over the step: times n_batch / n_step.
        penalty: Tensor = self(step)
        # len(rows): rows of the whole step, over all processes
        return penalty * (len(step.batch) / len(rows))


class Regularizer(ABC):
    """Base of all regularisers; keyword-only, plain, annotated constructor arguments.

    A regulariser never says which transfer modes it works with. It says what it acts on, and
    each mode says what may be regularised while it trains.

    Example:
        Squared distance of each row's features from the source's, for encoders of equal width.

        >>> from mmx.contract.world import World  # a small source and target
        >>> from mmx.transfer.regularizers.features import ComparedPenalty
        >>> class NearnessPenalty(ComparedPenalty):
        ...     def term(self, x, x0):  # (n, D) each
        ...         return (x - x0).square().sum(1).mean()
        >>> class Nearness(Regularizer):
        ...     acts_on = "features"
        ...     needs = frozenset({"model"})
        ...     zero_at_start = True
        ...
        ...     def __init__(self, *, strength: float = 1.0):
        ...         self.strength = strength
        ...
        ...     def bind(self, context):
        ...         return NearnessPenalty(context, "nearness", self.strength)
        >>> world = World(moved=0.0)
        >>> penalty = Nearness(strength=2.0).bind(world.make_context())
        >>> penalty(world.step()).item()
        0.0

    Attributes:
        acts_on: What it keeps close to the source.
            ``weights``: the values of copied parameters, one by one, such as ‖w − w0‖².
            ``statistics``: the moving statistics of copied batch norms; it has no effect where
            these are frozen.
            ``features``: what encoders return, in the source's own axes. Set it if a rotation
            of the features would change R; the encoders must then start from the source's.
            ``relations``: distances or similarities between rows. Set it if no rotation of the
            features changes R; fresh encoders can then be regularised too.
            ``outputs``: what the source's head, or the labels, say of the features.
        reads_source_outputs: Whether it calls :meth:`Reference.decide` or
            :meth:`Reference.decision`. A source that was trained without labels has no outputs,
            and is then refused.
        needs: ``weights``: at least one trainable parameter came from the source.
            ``model``: the trained source is available while the target trains.
            ``source_rows``: the source's own rows are encoded once.
            ``classes``: both the target and the source have classes.
        weight_decay: False if it takes the place of weight decay.
        reads_outputs: Whether it compares a batch's outputs with its labels. It then has no
            meaning where rows are mixed with rows of other classes (mixup).
        compares_rows: Whether it compares the rows of a batch with each other, or their statistics
            with others. Several small batches then do not add up to one large batch.
        reads_modules: Whether it reads modules inside the encoders, which compiled encoders hide.
        zero_at_start: Whether R(w0) = 0: a target equal to its source is not pulled at all.
    """

    acts_on: ClassVar[ActsOn] = "features"
    reads_source_outputs: ClassVar[bool] = False
    needs: ClassVar[frozenset[Need]] = frozenset()
    weight_decay: ClassVar[bool] = True
    reads_outputs: ClassVar[bool] = False
    compares_rows: ClassVar[bool] = False
    reads_modules: ClassVar[bool] = False
    zero_at_start: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        """Refuse a value of ``acts_on`` that no mode knows."""
        super().__init_subclass__()
        if cls.acts_on not in get_args(ActsOn):
            accepted = ", ".join(get_args(ActsOn))
            raise TypeError(f"{cls.__name__}.acts_on = {cls.acts_on!r} is none of {accepted}")

    def check(self, model: nn.Module, shared: frozenset[str]) -> None:  # noqa: B027 most ask for nothing
        """Refuse a started model that it cannot regularise.

        Only names and shapes count, since the source may not be trained yet.

        Args:
            model: The target model.
            shared: Names of its trainable parameters that came from the source.

        Raises:
            TransferError: The model has nothing that it acts on.
        """

    @abstractmethod
    def bind(self, context: RegularizerContext) -> Penalty:
        """Return the penalty for a model.

        Raises:
            TransferError: The model has nothing that it acts on.
        """

    def equip(self, model: nn.Module, shared: frozenset[str]) -> None:  # noqa: B027 most change nothing
        """Change modules of the model before training; its tensors keep their names."""
