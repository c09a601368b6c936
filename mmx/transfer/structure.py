"""Structure transfer: the source's architecture or sparsity pattern, with fresh weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from mmx.errors import Problem, TransferError
from mmx.transfer.base import Report, Source, Start, Transfer, start_fresh
from mmx.transfer.regularizers.base import ActsOn
from mmx.transfer.sparsity import PATTERNS, Layer, Pattern, PatternName, find_layers
from mmx.variants import read_options, variant


class Structure(Transfer):
    """Takes what the source decided about the architecture; its encoders' weights are fresh.

    It always takes the vocabularies and columns that come from the source's data. Options add the
    sparsity pattern that pruning finds in the source's trained encoders, applied to fresh
    weights (pruned entries are zero and stay zero), and the trained weights of its fusion, with
    fresh encoders. Use it to ask whether a gain comes from the structure that the source found
    rather than from its weights.

    Without any of these options the source is not trained, unless a regulariser needs it, and
    the mode equals ``scratch`` if both tasks lead to the same architecture: its gain is then zero
    by construction. With a pattern, the fair comparison besides ``scratch`` is a random
    pattern of the same density (Frankle and Carbin 2019, arXiv 1803.03635; Liu et
    al. 2019, arXiv 1810.05270): the gain may come from fewer weights, wherever they are.

    The first of several depths of an encoder stays dense, as do word vectors, positions,
    biases and norms; ``channel`` also prunes the bias and norm of a pruned output.

    Args:
        sparsity: ``none``; ``magnitude``, the largest weights of each layer; ``n_m``, the N
            largest of each M consecutive weights; ``channel``, the largest outputs of each layer.
            Your own pattern is a node with its options.
        amount: Fraction of each layer that is pruned, for ``magnitude`` and ``channel``; None: 0.5.
        n: N, for ``n_m``; None: 2.
        m: M, for ``n_m``; None: 4.
        fusion_weights: Whether the fusion starts from the source's trained weights, if they
            fit; encoders and head are fresh, and so is the fusion if the mapping is fitted again.

    Raises:
        ValueError: An option is given that the pattern does not read, or N is not below M.
    """

    needs: Literal["architecture", "weights"] = "architecture"

    def __init__(
        self,
        *,
        sparsity: PatternName | Pattern = "none",
        amount: Annotated[float, Field(gt=0, lt=1)] | None = None,
        n: Annotated[int, Field(ge=1, le=100_000)] | None = None,
        m: Annotated[int, Field(ge=2, le=100_000)] | None = None,
        fusion_weights: bool = False,
    ) -> None:
        name = sparsity if isinstance(sparsity, str) else variant(type(sparsity))
        options = read_options("sparsity", name, PATTERNS, {"amount": amount, "n": n, "m": m})
        # "none" is a valid name, but no pattern; a node brings its own options.
        self.pattern = PATTERNS[name](**options) if name in PATTERNS else None
        if isinstance(sparsity, Pattern):
            self.pattern = sparsity
        self.sparsity = name
        self.fusion_weights = fusion_weights
        if self.pattern is not None or fusion_weights:
            self.needs = "weights"

    @property
    def regularizable(self) -> frozenset[ActsOn]:
        """Relations between rows alone, since the encoders are fresh."""
        return frozenset({"relations"})

    def takes_fusion(self, modalities: Collection[str]) -> bool:
        """Return whether the source is trained with the target's fusion."""
        return self.fusion_weights

    def misfits(self, model: nn.Module) -> list[Problem]:
        """Return a problem for each option about something that the model does not have."""
        found = []
        if self.pattern is not None and not any(_layers(model).values()):
            found.append(
                Problem(
                    f"transfer.sparsity={self.sparsity}",
                    "has nothing to prune: no encoder has a linear, convolutional, recurrent or "
                    "attention layer",
                    type_this="transfer.sparsity=none",
                )
            )
        if self.fusion_weights and not _find_fusion_tensors(model):
            found.append(
                Problem(
                    "transfer.fusion_weights=true",
                    "has nothing to take: this fusion has no weights but those of its outputs",
                    type_this="transfer.fusion_weights=false",
                )
            )
        return found

    def equip(self, model: nn.Module) -> None:
        """Add nothing, but check that the model has what the options are about.

        Raises:
            TransferError: The model does not have it.
        """
        for problem in self.misfits(model):
            raise TransferError(f"{problem.given}: {problem.reason}", tip=problem.type_this)

    def start(self, source: Source | None, model: nn.Module, classes: tuple[str, ...]) -> Start:
        """Set the pruned weights to zero and copy the fusion, as far as the options say so."""
        if self.needs == "architecture":
            note = "the architecture is the source's, every weight is fresh"
            return start_fresh(model, note)
        if source is None:
            raise TransferError("structure transfer with these options needs a trained source")
        own = model.state_dict()
        masks, notes = (
            ({}, []) if self.pattern is None else self._make_masks(self.pattern, source, model)
        )
        copied: list[str] = []
        if self.fusion_weights:
            copied, note = _copy_fusion(source, model)
            notes.append(note)
        # The tensors of state_dict share memory with the parameters: this changes the model.
        for name, mask in masks.items():
            own[name].masked_fill_(~mask.to(own[name].device), 0.0)
        return Start(
            report=Report(
                copied=tuple(copied),
                fresh=tuple(name for name in own if name not in copied),
                notes=tuple(notes),
                density={
                    name: round(mask.double().mean().item(), 6)
                    for name, mask in masks.items()
                    if mask.dim() > 1  # biases and norms follow the density of their layer
                },
            ),
            masks=masks,
        )

    def _make_masks(
        self, pattern: Pattern, source: Source, model: nn.Module
    ) -> tuple[dict[str, Tensor], list[str]]:
        """Return the mask of each pruned tensor, and notes on how much is kept."""
        own = model.state_dict()
        masks: dict[str, Tensor] = {}
        notes: list[str] = []
        for modality, layers in _layers(model).items():
            total = kept = 0
            # A layer with another shape than the source's has no counterpart for each weight.
            there = [each for each in layers if _fits(each, source.state, own)]
            for layer in there:
                masks |= pattern.masks(layer, source.state)
                total += sum(masks[name].numel() for name in layer.weights)
                kept += sum(int(masks[name].sum()) for name in layer.weights)
            if there:
                notes.append(
                    f"the {modality} encoder keeps {kept:,} of {total:,} weights of "
                    f"{_count_layers(there)}, "
                    f"where pruning the source by {self.sparsity} keeps them"
                )
            if dense := [each for each in layers if each not in there]:
                notes.append(
                    f"the {modality} encoder: {_count_layers(dense)} left dense, "
                    f"since the source has none of that name and shape ({dense[0].weights[0]}, …)"
                )
        if not masks:
            raise TransferError(
                "no encoder layer of the source fits the target's encoders: "
                f"transfer.sparsity={self.sparsity} finds no pattern",
                tip="choose a source that shares a modality and an encoder with the target",
            )
        return masks, notes


def _layers(model: nn.Module) -> dict[str, list[Layer]]:
    """Return modality to the layers of its encoder that may be pruned."""
    encoders = model.get_submodule("encoders").named_children()
    return {name: find_layers(encoder, f"encoders.{name}.") for name, encoder in encoders}


def _fits(layer: Layer, source: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    names = (*layer.weights, *layer.per_output)
    return all(name in source and source[name].shape == own[name].shape for name in names)


def _count_layers(layers: Collection[Layer]) -> str:
    return f"{len(layers)} layer{'' if len(layers) == 1 else 's'}"


def _find_fusion_tensors(model: nn.Module) -> list[str]:
    """Return the names of the fusion's tensors, without those that have a row for each output."""
    labelled: tuple[str, ...] = tuple(getattr(model, "label_tensors", ()))
    names = [name for name in model.state_dict() if name.startswith("fusion.")]
    return [name for name in names if name not in labelled]


def _copy_fusion(source: Source, model: nn.Module) -> tuple[list[str], str]:
    """Copy the fusion's tensors that fit; return their names, and a note on how many they are.

    None is copied if the mapping is fitted again, which rotates the features to other axes.

    Raises:
        TransferError: No tensor fits.
    """
    own = model.state_dict()
    if "mapping" in _find_top_names(own) - _find_top_names(source.state):
        return [], "the fusion is fresh, since the mapping below it is"
    ours, theirs = _modalities(own), _modalities(source.state)
    # As many modalities, but others: shapes may agree although columns mean other things.
    swapped = len(ours) == len(theirs) and ours != theirs
    copied = []
    for name in _find_fusion_tensors(model):
        given = source.state.get(name)
        # With other modalities, only tensors of a modality that both have mean the same.
        foreign = swapped and not set(name.split(".")) & ours & theirs
        if given is not None and given.shape == own[name].shape and not foreign:
            own[name].copy_(given)
            copied.append(name)
    if not copied:
        raise TransferError(
            "transfer.fusion_weights=true: no fusion tensor of the source fits the target's",
            tip="choose a source with the target's modalities and encoders of the same width",
        )
    count = len(_find_fusion_tensors(model))
    return copied, f"{len(copied)} of {count} fusion tensors are the source's"


def _find_top_names(names: Collection[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def _modalities(names: Collection[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("encoders.")}
