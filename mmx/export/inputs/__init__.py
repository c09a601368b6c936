"""The kinds of input of an exported graph, one a file."""

from __future__ import annotations

from typing import Any

from mmx.errors import DataError
from mmx.export.inputs.base import GraphInput
from mmx.modalities import Modality, Spec
from mmx.variants import find_variants

__all__ = ["GraphInput", "make_input"]


def make_input(name: str, modality: Modality[Any, Any], spec: Spec) -> GraphInput[Any]:
    """Return how an input enters a graph.

    Args:
        name: Of the input, for messages.
        modality: How the run reads it.
        spec: What was learned from its training rows.

    Raises:
        DataError: It is read in a way of the user's own, or its preprocessing cannot be described.
    """
    kinds: list[type[GraphInput[Any]]] = [
        kind
        for kind in find_variants(__name__, GraphInput).values()
        if kind.spec_type is type(spec)
    ]
    if not kinds:
        raise DataError(
            f"{name}: its preprocessing, {type(modality).__name__} with {type(spec).__name__}, is "
            "not one of mmx, and only code could describe it"
        )
    made = kinds[0](modality, spec)
    try:
        made.describe()
    except DataError as error:
        raise DataError(f"{name}: {error.message}", tip=error.tip) from error
    return made
