"""Parameters that no gradient reaches: an option or a layer that has no effect."""

from __future__ import annotations

from collections.abc import Sequence

from mmx.errors import DeadParameterError
from mmx.stage_id import StageId


def find_dead_parameters(names: set[str], encoders: set[str]) -> list[str]:
    """Return the names of parameters, sorted, that belong to none of the encoders' modalities.

    Where no batch had a modality, neither its encoder nor what the fusion keeps for it, such
    as ``fusion.project.image.weight``, could get a gradient.

    Args:
        names: Of parameters.
        encoders: Prefixes, such as ``encoders.image.``.
    """
    absent = [prefix.split("encoders.") for prefix in encoders]  # whose model, which modality
    return sorted(
        name
        for name in names
        if not any(name.startswith(model) and f".{part}" in name for model, part in absent)
    )


def dead_parameters_error(stage: StageId, dead: Sequence[str]) -> DeadParameterError:
    """Return the error that names the first of the dead parameters.

    Args:
        stage: Which was trained.
        dead: Names of parameters; at least one.
    """
    several = "s" if len(dead) > 1 else ""
    return DeadParameterError(
        f"stage {stage}: no gradient reaches {len(dead)} trainable parameter{several} after the "
        f"first step: {', '.join(dead[:5])}{', …' if len(dead) > 5 else ''}",
        tip="use the parameter in forward, or freeze it",
    )
