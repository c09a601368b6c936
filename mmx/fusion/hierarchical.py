"""Fusion in steps; each step takes the outputs of all earlier steps."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from torch import Tensor, nn

from mmx.errors import closest
from mmx.fusion.base import Fusion, Widths, zero_absent
from mmx.modalities import Features


class Hierarchical(Fusion):
    """Fuses the modalities, then fuses the results of all earlier steps.

        F¹ = fuse(x_1, …, x_M),  F^k = fuse(F¹, …, F^{k-1}) for k = 2..depth,  F = F^depth

    Use it with encoders that expose their stages, so that the modalities interact at several
    depths and not only in their last features.

    Every step has its own parameters. By default it is

        fuse(a, b, …) = dropout(relu(W_k [a; b; …] + b_k))

    and it may be any other method that returns one vector, with ``dropout`` applied to its
    output. Such a method receives earlier results as further modalities, ``@fused01``,
    ``@fused02``, …, which sort before all others by name and which every row has. With
    ``levels``, step k also takes the pooled features of stage k of every encoder that exposes
    its stages (``image@01`` is the first stage of the image encoder, present where the image
    is), so that early features are fused before late ones. With a single modality, its own
    stages are fused.

    Args:
        widths: Modality to widths.
        outputs: Not used.
        width: Width option of every step, for most methods the width of its output; D_out
            is the width of the last step.
        depth: Number of steps.
        levels: Whether steps also take the encoders' stages.
        fuse: Method of a step, by name: any at feature level, or ``weighted_sum``.
        fuse_options: The method's own options by name, the same in every step.
        dropout: Fraction of each step's activations dropped in training.

    Raises:
        ValueError: There is no such method, it does not take such options, or it cannot be
            built with them.
    """

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        width: Annotated[int, Field(ge=1, le=65_536)] = 128,
        depth: Annotated[int, Field(ge=1, le=1_024)] = 3,
        levels: bool = True,
        fuse: str = "concat",
        fuse_options: dict[str, Any] | None = None,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    ) -> None:
        super().__init__(widths, outputs=outputs)
        method = _find_method(fuse)
        options = {**_check_options(method, fuse_options or {}), method.width_option: width}
        # Encoders may have fewer stages than there are steps: then later steps take fewer inputs.
        # staged[k]: the modalities with a stage that step k + 1 takes.
        self.staged = [
            [name for name in self.modalities if levels and k < len(widths[name].levels)]
            for k in range(depth)
        ]
        self.steps = nn.ModuleList()
        self.dropout = nn.Dropout(dropout)
        fused: dict[str, Widths] = {}
        for k, staged in enumerate(self.staged, 1):
            stages = {_name_stage(name, k): Widths(widths[name].levels[k - 1]) for name in staged}
            # Only the first step reads the pooled features; later ones read all earlier outputs.
            before = fused or {name: Widths(widths[name].pooled) for name in self.modalities}
            try:
                step = method({**before, **stages}, outputs=outputs, **options)
            except ValueError as error:
                raise ValueError(f"step {k} cannot be fuse={fuse}: {error}") from error
            fused[_name_fused(k)] = Widths(step.width)
            # The default's layers alone, since its inputs are concatenated in _apply: this
            # keeps the tensors' names in checkpoints short, ``steps.0.0.weight``.
            layers = step.layers_of_concatenation
            self.steps.append(step if layers is None else layers)
            self.width = step.width

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, D_out)``; see :class:`~mmx.fusion.base.Fusion`."""
        # Outputs of steps have values in every row, also where a modality was absent.
        everywhere = torch.ones_like(present[self.modalities[0]])
        fused: dict[str, tuple[Tensor, Tensor]] = {}
        output = everywhere
        for k, (step, staged) in enumerate(zip(self.steps, self.staged, strict=True), 1):
            before = fused or {n: (features[n].pooled, present[n]) for n in self.modalities}
            stages = {_name_stage(n, k): (features[n].levels[k - 1], present[n]) for n in staged}
            output = self.dropout(_apply(step, {**before, **stages}))
            fused[_name_fused(k)] = output, everywhere
        return output


def _name_fused(k: int) -> str:
    """Return the name of step k's output as a modality of later steps.

    Two digits, so that names sort in the order of the steps.
    """
    return f"@fused{k:02}"


def _name_stage(name: str, k: int) -> str:
    """Return the name of an encoder's stage k as a modality of a step."""
    return f"{name}@{k:02}"


def _apply(step: nn.Module, inputs: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
    """Return a step's output for vectors ``(B, D)`` and their ``(B,)`` presence.

    The default step concatenates them in the order given; other methods sort them by name.
    """
    if isinstance(step, Fusion):
        # A vector is a sequence of one token.
        # (tokens (B, 1, D), mask (B, 1), pooled (B, D))
        features = {n: Features(x[:, None], here[:, None], x) for n, (x, here) in inputs.items()}
        fused: Tensor = step(features, {name: here for name, (_, here) in inputs.items()})
    else:
        fused = step(torch.cat([zero_absent(x, here) for x, here in inputs.values()], dim=1))
    return fused


def _find_method(name: str) -> type[Fusion]:
    """Return the method called ``name``; only its module is imported, unless there is none."""
    names = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])]
    found = _load_method(name) if name in names else None
    if found is None:
        accepted = [each for each in names if _load_method(each)]
        near = closest(name, accepted)
        raise ValueError(
            f"`fuse` (={name}) is not one of {', '.join(accepted)}"
            + (f"; the closest is {near}" if near else "")
        )
    return found


def _load_method(name: str) -> type[Fusion] | None:
    """Return a module's method if it fuses pooled vectors into one vector, else None."""
    kind = getattr(
        import_module(f"mmx.fusion.{name}"),
        "".join(part.capitalize() for part in name.split("_")),
        None,
    )
    if not (inspect.isclass(kind) and issubclass(kind, Fusion)) or inspect.isabstract(kind):
        return None
    usable = kind.level in ("data", "feature") and kind.reads == "pooled" and not kind.settles
    return kind if usable and kind is not Hierarchical else None


def _check_options(method: type[Fusion], options: dict[str, Any]) -> dict[str, Any]:
    """Return the options after a check of their names and values against the method."""
    set_here = {"widths", "outputs", method.width_option}
    accepted = [name for name in inspect.signature(method).parameters if name not in set_here]
    hints = get_type_hints(method.__init__, include_extras=True)
    for name, value in options.items():
        if name == method.width_option:
            raise ValueError(f"`fuse_options.{name}` is set by `width`")
        if name not in accepted:
            near = closest(str(name), accepted)
            raise ValueError(
                f"`fuse_options.{name}` is not an option of {method.__name__}, which takes "
                + (", ".join(accepted) or "none")
                + (f"; the closest is {near}" if near else "")
            )
        try:
            TypeAdapter(hints[name], config=ConfigDict(strict=True)).validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise ValueError(f"`fuse_options.{name}` (={value}): {reason}") from error
    return options
