"""Checks of a user's fusions and encoders on made-up rows, before any data is opened."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from mmx.encoders import Encoder
from mmx.errors import Problem
from mmx.fusion import Fusion
from mmx.meta_model import make_without_memory
from mmx.modalities import Spec
from mmx.model import MultimodalModel, NoFusion, Parts, fusion_widths
from mmx.quoting import format_value
from mmx.variants import class_of, is_own

if TYPE_CHECKING:
    from mmx.contract.base import Result


def find_encoder_problems(make: Callable[..., Encoder], spec: Spec, path: str) -> Iterator[Problem]:
    """Yield the promises of the contract that a user's encoder breaks.

    Args:
        make: ``make(spec)``.
        spec: An example of what may be learned from data.
        path: Config path of its node.

    Raises:
        ValueError: Its constructor refuses options or input.
    """
    if is_own(class_of(make)):
        from mmx.contract.dry_run import find_broken_by_encoder  # slow to import

        options = make.keywords if isinstance(make, partial) else {}
        yield from _list_problems(class_of(make), options, path, find_broken_by_encoder(make, spec))


def find_fusion_problems(
    method: partial[Fusion],
    make: Callable[..., Fusion],
    encoders: Mapping[str, Encoder],
    outputs: int,
    parts: Parts,
) -> Iterator[Problem]:
    """Yield the promises of the contract that a user's fusion breaks after these encoders.

    Args:
        method: The class and its options.
        make: ``make(widths, outputs=C)``.
        encoders: Modality to an encoder that states its widths.
        outputs: C.
        parts: The optional parts around the fusion.

    Raises:
        ValueError: Its constructor refuses options or modalities, or that of a part before it.
    """
    if not is_own(class_of(method)):
        return
    from mmx.contract.dry_run import find_broken_by_fusion  # slow to import

    given = {name: partial(_return_encoder, encoder) for name, encoder in encoders.items()}
    specs = {name: Spec() for name in encoders}
    model = make_without_memory(MultimodalModel, specs, given, NoFusion, outputs, parts)
    pooled = model.mapping.widths if model.mapping is not None else model.encoded_widths
    broken = find_broken_by_fusion(method, make, fusion_widths(model.widths, pooled), outputs)
    yield from _list_problems(class_of(method), method.keywords, "fusion", broken)


def _return_encoder(encoder: Encoder, spec: Spec) -> Encoder:
    return encoder


def _list_problems(
    kind: type, options: Mapping[str, Any], path: str, broken: Sequence[Result]
) -> Iterator[Problem]:
    """Yield broken promises as problems, each with the command that checks all of them."""
    for each in broken:
        yield Problem(
            f"{path}._target_={kind.__module__}.{kind.__qualname__}",
            f"{each.name}: {each.said}",
            type_this=f"{_write_command(kind, options)}   (looks at the rest of its contract too)",
        )


def _write_command(kind: type, options: Mapping[str, Any]) -> str:
    words = [shlex.quote(f"{name}={format_value(value)}") for name, value in options.items()]
    return " ".join([f"mmx check {kind.__module__}:{kind.__qualname__}", *words])
