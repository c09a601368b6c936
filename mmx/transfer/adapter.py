"""Adapter transfer: small modules train inside the source's frozen encoders."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import nn

from mmx.errors import Problem, TransferError
from mmx.transfer.adapters import ADAPTERS, AdapterMethod, AdapterModule, AdapterName, base_name
from mmx.transfer.base import Report, Source, Start, Transfer
from mmx.transfer.copying import Copied, copy_fitting
from mmx.transfer.norms import NORMS, find_statistics
from mmx.variants import read_options, variant


class Adapter(Transfer):
    """Keeps every encoder weight of the source, bit for bit, and trains adapters inside.

    The adapters train, and so do fusion and head, the encoders' norms, and any part of an encoder
    that the source could not give. The adapters start as the identity, so training starts where
    ``transfer=parameter`` does. In an encoder that takes nothing from the source the adapters
    remain the identity: such an encoder is fresh and trains as a whole. Use it when the target has
    too few rows for fine-tuning, but its inputs differ too much from the source's for
    ``transfer=feature``.

    Args:
        kind: ``lora``, low-rank updates of weight matrices and kernels (Hu et al. 2022, arXiv
            2106.09685), or ``bottleneck``, small residual layers after the encoder's own
            (Houlsby et al. 2019, arXiv 1902.00751). Your own kind is a node with its options.
        rank: Rank of the updates, ``lora`` only; None: 8. A layer's smaller side bounds it.
        alpha: The updates are scaled by ``alpha / rank``, ``lora`` only; None: 16.
        width: Units of a bottleneck, ``bottleneck`` only; None: 32.
        norms: Whether scale and shift of the encoders' norms train too.
        batch_norm: ``eval`` normalises by the source's statistics, which are frozen; ``train``
            by those of each batch, and the running statistics follow the target.
        fusion: Whether fusion and head are taken too, if they fit; ``auto`` takes them from
            a source of several modalities.
        map: Target modality to source modality, for encoders that start from another modality's.
        class_map: Source class to target class, for a class with two names.
        min_copied: Fraction of an encoder's tensors that must come from the source, adapters not
            counted.

    Raises:
        ValueError: An option is given that the kind does not read, or statistics are to follow
            the target in norms that do not train.
    """

    needs = "weights"

    def __init__(
        self,
        *,
        kind: AdapterName | AdapterMethod = "lora",
        rank: Annotated[int, Field(ge=1, le=65_536)] | None = None,
        alpha: Annotated[float, Field(gt=0, le=1000)] | None = None,
        width: Annotated[int, Field(ge=1, le=65_536)] | None = None,
        norms: bool = True,
        batch_norm: Literal["eval", "train"] = "eval",
        fusion: Literal["auto"] | bool = "auto",
        map: dict[str, str] | None = None,
        class_map: dict[str, str] | None = None,
        min_copied: Annotated[float, Field(ge=0, le=1)] = 0.5,
    ) -> None:
        self.kind = kind if isinstance(kind, str) else variant(type(kind))
        given = {"rank": rank, "alpha": alpha, "width": width}
        options = read_options("kind", self.kind, ADAPTERS, given)
        self.method = ADAPTERS[kind](**options) if isinstance(kind, str) else kind
        if batch_norm == "train" and not norms:
            raise ValueError(
                "`batch_norm` (=train) moves the statistics of norms that `norms` (=False) freezes"
            )
        self.norms = norms
        self.batch_norm = batch_norm
        self.fusion = fusion
        self.modality_map = map or {}
        self.class_map = class_map or {}
        self.min_copied = min_copied

    def takes_fusion(self, modalities: Collection[str]) -> bool:
        """Return whether the source is trained with the target's fusion."""
        return len(modalities) > 1 if self.fusion == "auto" else self.fusion

    def misfits(self, model: nn.Module) -> list[Problem]:
        """Return a problem for each encoder that has no layer to adapt."""
        return [
            Problem(
                f"transfer.kind={self.kind}",
                f"the {name} encoder {type(encoder).__name__} has no layer to adapt: no linear, "
                "convolutional, recurrent, attention or embedding layer",
                type_this="transfer=feature   (freezes it whole), or transfer=parameter",
            )
            for name, encoder in model.get_submodule("encoders").named_children()
            if not self.method.find_places(encoder)
        ]

    def equip(self, model: nn.Module) -> None:
        """Add the adapters to every encoder.

        Raises:
            TransferError: An encoder has no layer to adapt.
        """
        for problem in self.misfits(model):
            raise TransferError(f"{problem.given}: {problem.reason}", tip=problem.type_this)
        for encoder in model.get_submodule("encoders").children():
            self.method.add_to(encoder)

    def start(self, source: Source | None, model: nn.Module, classes: tuple[str, ...]) -> Start:
        """Copy what fits; freeze the copied encoder tensors, except the norms."""
        if source is None:
            raise TransferError("adapter transfer needs a trained source")
        done = self._copy(source, model, classes)
        taken = {name for name in (*done.copied, *done.adapted) if name.startswith("encoders.")}
        reached = {name.split(".")[1] for name in taken}
        frozen, frozen_statistics = self._find_frozen(model, taken)
        added, parameters = _find_adapter_parameters(model), dict(model.named_parameters())
        # Adapters of a fresh encoder never train, and so stay the identity.
        idle = {name for name in added if name.split(".")[1] not in reached}
        trained = sum(parameters[name].numel() for name in added - idle)
        kept = sum(parameters[name].numel() for name in frozen & parameters.keys())
        note = f"{self.kind} adapters of {trained:,} parameters, in encoders of {kept:,} frozen"
        return Start(
            report=Report(
                copied=tuple(name for name in done.copied if name not in frozen),
                adapted=tuple(name for name in done.adapted if name not in frozen),
                frozen=tuple(sorted(frozen)),
                fresh=done.fresh,
                notes=(*done.notes, note),
                classes=done.classes,
            ),
            frozen=frozenset((frozen & parameters.keys()) | idle),
            frozen_statistics=frozenset(frozen_statistics),
        )

    def _find_frozen(self, model: nn.Module, taken: set[str]) -> tuple[set[str], set[str]]:
        """Return the names of frozen tensors, and of modules with frozen statistics.

        Args:
            model: The started model.
            taken: Names of the encoders' tensors that came from the source.
        """
        of_module = find_statistics(model)
        resting = self.batch_norm == "eval"
        frozen_statistics = {
            name for name, own in of_module.items() if resting and taken.issuperset(own)
        }
        # Statistics that follow the target are buffers from the source, but not frozen.
        moving = {
            tensor
            for name, own in of_module.items()
            if name not in frozen_statistics
            for tensor in own
        }
        trained_norms = _find_norm_parameters(model) if self.norms else set()
        return taken - moving - trained_norms, frozen_statistics

    def _copy(self, source: Source, model: nn.Module, classes: tuple[str, ...]) -> Copied:
        """Copy into the model under the names that source and target share."""
        # The source has no adapters: its tensors have plain names, those of the adapted model a
        # suffix where a weight is updated.
        adapters = _find_adapter_parameters(model)
        own = {base_name(name): name for name in model.state_dict() if name not in adapters}
        # A head is trained on its fusion: one is not taken without the other.
        left = ("fusion.", "head.") if self.fusion is False else ()
        state = {name: value for name, value in source.state.items() if not name.startswith(left)}
        done = copy_fitting(
            Source(state, source.classes),
            _Unadapted(model, own),
            classes,
            self.class_map,
            modality_map=self.modality_map,
            min_copied=self.min_copied,
        )
        fresh = {own[name] for name in done.fresh} | adapters
        return Copied(
            tuple(own[name] for name in done.copied),
            tuple(own[name] for name in done.adapted),
            tuple(name for name in model.state_dict() if name in fresh),
            done.notes,
            done.classes,
        )


class _Unadapted(nn.Module):
    """A view of an adapted model without its adapters: the same tensors under plain names.

    Args:
        model: The adapted model.
        names: Plain name to the name in the model.
    """

    def __init__(self, model: nn.Module, names: Mapping[str, str]) -> None:
        super().__init__()
        self.model, self.names = model, names
        self.label_tensors: tuple[str, ...] = tuple(getattr(model, "label_tensors", ()))

    def state_dict(self, *arguments: Any, **options: Any) -> dict[str, Any]:  # type: ignore[override]
        """Return the model's tensors, without the adapters, by their plain names."""
        state = self.model.state_dict(*arguments, **options)
        return {name: state[within] for name, within in self.names.items()}

    def get_submodule(self, target: str) -> nn.Module:
        """Return a submodule of the adapted model."""
        return self.model.get_submodule(target)


def _find_adapter_parameters(model: nn.Module) -> set[str]:
    """Return the names of the adapters' parameters."""
    return {
        f"{prefix}.{name}"
        for prefix, module in model.named_modules()
        if isinstance(module, AdapterModule)
        for name, _ in module.named_parameters()
    }


def _find_norm_parameters(model: nn.Module) -> set[str]:
    """Return the names of the scales and shifts of the encoders' norms."""
    encoders = model.get_submodule("encoders")
    return {
        f"{prefix}.{name}"
        for prefix, module in encoders.named_modules(prefix="encoders")
        if isinstance(module, NORMS)
        for name, _ in module.named_parameters(recurse=False)
    }
