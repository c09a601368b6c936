"""A user's part tried on made-up rows, before a run opens its data.

Only classes from outside mmx are tried, and only for faults that would give a wrong answer or
stop the run. mmx's own are checked by its tests, so an ordinary run starts without delay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
from torch.nn import Module

from mmx.contract import encoder, fusion
from mmx.contract.base import Check, Part, Result, run_checks
from mmx.contract.encoder import EncoderSubject
from mmx.contract.example_inputs import SPECS
from mmx.contract.fusion import FusionSubject
from mmx.encoders import Encoder
from mmx.fusion import Fusion, Widths
from mmx.modalities import Spec
from mmx.variants import class_of

MOST_PARAMETERS = 30_000_000
"""Most parameters of a part that is tried: a larger one would delay the start."""
_S = TypeVar("_S")
_known: dict[tuple[Any, ...], tuple[Result, ...]] = {}


def find_broken_by_fusion(
    method: partial[Fusion], make: Callable[..., Fusion], widths: Mapping[str, Widths], outputs: int
) -> tuple[Result, ...]:
    """Return the promises that a fusion breaks on features like those of the run.

    Args:
        method: The class and its options.
        make: ``make(widths, outputs=C)``, such as the class with another width.
        widths: Modality to the widths that the run's encoders state.
        outputs: C.

    Raises:
        ValueError: The constructor refuses its options, or these modalities.
    """
    kind = class_of(method)
    key = (kind, repr(sorted(method.keywords.items())), repr(sorted(widths.items())), outputs)
    if key not in _known:
        part = Part(kind, method.keywords)
        subject = FusionSubject(part, make, (dict(widths),), outputs)
        _known[key] = _find_broken(fusion.FUSION_START_CHECKS, subject, subject.build)
    return _known[key]


def find_broken_by_encoder(make: Callable[..., Encoder], spec: Spec) -> tuple[Result, ...]:
    """Return the promises that an encoder breaks on inputs like those of the run.

    Args:
        make: ``make(spec)``.
        spec: An example of what may be learned from data.

    Raises:
        ValueError: The constructor refuses its options, or this input.
    """
    kind, options = class_of(make), make.keywords if isinstance(make, partial) else {}
    if type(spec) not in SPECS:
        return ()
    key = (kind, repr(sorted(options.items())), repr(spec))
    if key not in _known:
        subject = EncoderSubject(Part(kind, options), make, spec)
        _known[key] = _find_broken(encoder.ENCODER_START_CHECKS, subject, subject.build)
    return _known[key]


def _find_broken(
    checks: Sequence[Check[_S]], subject: _S, build: Callable[[], Module]
) -> tuple[Result, ...]:
    """Return the failed checks; a ValueError of the constructor passes to the caller."""
    with torch.random.fork_rng(devices=[]):
        try:
            module = build()
        except ValueError:
            raise
        except Exception:
            module = None  # the first check will report the error
    if module is not None and sum(each.numel() for each in module.parameters()) > MOST_PARAMETERS:
        return ()
    return tuple(each for each in run_checks(checks, subject) if each.state == "failed")
