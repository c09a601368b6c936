"""The contract of every encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from mmx.encoders.published import Published, fit_names, read_tensors
from mmx.modalities import Features, Modality

FollowsInput = Literal["channels", "grid", "sequence"]
"""How a tensor's shape depends on the input: ``channels`` is a convolution ``(D, K, …)`` over
K input channels; ``grid`` is positions ``(1, 1 + S·S, D)`` of a class token and a square of
patches; ``sequence`` is positions ``(1, T, D)`` of steps."""


@dataclass(frozen=True)
class TextTower:
    """The encoder of texts of a pair, whose features are in the same space as its images'.

    Attributes:
        make: ``make(spec)`` of the encoder, its options bound.
        read_scale: Reads from the pair's published weights by which scale and bias a cosine
            becomes a logit: scale · cosine + bias.
    """

    make: partial[Encoder]
    read_scale: Callable[[Published], tuple[float, float]]


class Encoder(nn.Module, ABC):
    """Base of all encoders.

    Write an encoder to try another network on a modality; it is one file with a class and one
    YAML with its options.

    The constructor takes the modality's spec as its only positional argument. All other
    arguments are keyword-only, of plain types and annotated, since the config is checked
    against the signature.

    Example:
        >>> from dataclasses import dataclass
        >>> import torch
        >>> from mmx.modalities import Spec
        >>> @dataclass(frozen=True)
        ... class PointSpec(Spec):
        ...     width: int
        >>> class Linear(Encoder):
        ...     def __init__(self, spec: PointSpec, *, width: int = 4) -> None:
        ...         super().__init__()
        ...         self.width = width
        ...         self.linear = nn.Linear(spec.width, width)
        ...
        ...     def forward(self, x, lengths=None):
        ...         tokens = self.linear(x)[:, None]  # (B, 1, D), a single token
        ...         mask = torch.ones(len(x), 1, dtype=torch.bool, device=x.device)
        ...         return Features(tokens, mask, tokens[:, 0])
        >>> Linear(PointSpec(width=2))(torch.zeros(3, 2)).pooled.shape
        torch.Size([3, 4])

    Attributes:
        width: D of tokens and pooled vector.
        level_widths: Width of each entry of ``Features.levels``.
        architecture: Name of the architecture, where encoders of other modalities have the same:
            tensors of the same names and shapes, but for the input. With ``transfer.map`` one can
            then start from the other. Empty for none.
        ignores_order: Whether ``pooled`` is the same for tokens in any order, as of a bag of words.
            An encoder of words then wants ``vectorizer.pairs: true``: in scripts without spaces,
            pairs of characters are all that it sees of words.
        library: The package whose version decides what is made of the options; empty for none.
        stands_in: Whether the class only stands for another encoder, and is no option of a config.
        library_prefixes: What the names of a library's own model start with here, and in the whole
            model that the library makes, whose modules an adapter of peft names; None for an
            encoder of no library.
        other_parts: Modules of the library's whole model that are not here, such as the other
            tower of a pair; an adapter may have tensors of theirs too.
    """

    architecture: ClassVar[str] = ""
    ignores_order: ClassVar[bool] = False
    library: ClassVar[str] = ""
    stands_in: ClassVar[bool] = False
    library_prefixes: tuple[str, str] | None = None
    other_parts: tuple[str, ...] = ()
    width: int
    level_widths: tuple[int, ...] = ()

    @abstractmethod
    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode a batch of present rows.

        Args:
            x: What the modality's ``prepare`` returns, ``(B, ...)``.
            lengths: ``(B,)`` int64 valid steps, for sequences only.

        Returns:
            Features of the batch.
        """

    def fixed_front(self) -> Callable[[Tensor, Tensor | None], Tensor] | None:
        """Return what is computed first, of each row alone and without a weight; None for nothing.

        Training computes it once for each row where it can, such as the spectrogram of a sound.
        Called as :meth:`forward` is, it returns a tensor that ``forward`` takes in place of ``x``.
        """
        return None

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the prefixes of the names of the tensors at each depth, input first.

        Together they match every tensor of ``state_dict`` exactly once. Gradual unfreezing,
        learning rates by depth and new weights for the last layers count in these depths. By
        default an encoder has one depth.

        Returns:
            The prefixes of each depth: ``stages.0.`` matches all tensors of a module,
            ``net.token`` a single tensor.
        """
        return (("",),)

    def input_tensors(self) -> dict[str, FollowsInput]:
        """Return the tensors of input-dependent shape, and how their shape depends on it.

        A transfer may adapt them to a target of another input, since the values along that
        axis have an order or a meaning that can be interpolated or summed. Any other tensor
        of another shape keeps its fresh values.
        """
        return {}

    @classmethod
    def find_published(cls, **options: Any) -> Published | None:
        """Return the published weights that an encoder of these options can start from.

        An encoder with an option ``weights`` returns
        ``Published.of_file(options.get("weights"))``.

        Args:
            options: As the constructor takes them.

        Returns:
            None where there are none.
        """
        return None

    @classmethod
    def read_with(
        cls, modality: Modality[Any, Any] | None, **options: Any
    ) -> Modality[Any, Any] | None:
        """Return what reads the input of an encoder of these options.

        Weights expect their input as it was read when they were trained: an encoder that has
        some says here of which size, at which rate, by which tokenizer.

        Args:
            modality: How the task, or the config, says that it is read; None where neither does.
            options: As the constructor takes them.
        """
        return modality

    @classmethod
    def text_tower(cls, **options: Any) -> TextTower | None:
        """Return the encoder of texts that was trained together with one of these options.

        Where there is one, a text can be compared with what this encoder reads, so that
        ``control=zero_shot`` can answer from the names of the classes.

        Args:
            options: As the constructor takes them.

        Returns:
            None where there is none.
        """
        return None

    @classmethod
    def describe_deviations(cls, spec: Any, **options: Any) -> tuple[str, ...]:
        """Return in what the input differs from what the published weights were trained on.

        Args:
            spec: How the input is read.
            options: As the constructor takes them.

        Returns:
            A line each, for the notes of a run.
        """
        return ()

    def read_published(self, published: Published) -> dict[str, Tensor]:
        """Return published values of this encoder's tensors, by their names here.

        By default the files hold the tensors of this very module. What follows the input
        (:meth:`input_tensors`) may have another shape there.

        Args:
            published: What :meth:`find_published` returned for the options of this encoder.

        Raises:
            DataError: A file is absent or unreadable, or of another architecture.
        """
        found = {
            name: value
            for there, value in read_tensors(published).items()
            if (name := self.name_published(there)) is not None
        }
        return fit_names(found, self.state_dict(), published, tuple(self.input_tensors()))

    def name_published(self, name: str) -> str | None:
        """Return what a published tensor is called here; None for one that is not used."""
        return name
