"""Dead parameters: no gradient reaches them, so that an option or a layer has no effect."""

from __future__ import annotations

from collections.abc import Sequence

from mmx.errors import DeadParameterError
from mmx.stage_id import StageId


def find_dead_parameters(names: set[str], encoders: set[str]) -> list[str]:
    """Return the names, sorted, of parameters without a gradient that should have had one.

    If no batch had a modality, neither its encoder nor the fusion's parameters for it, such as
    ``fusion.project.image.weight``, could get a gradient; they are not reported.

    Args:
        names: Names of parameters without a gradient.
        encoders: Prefixes of the encoders of absent modalities, such as ``encoders.image.``.
    """
    # "companion.encoders.image." → ["companion.", "image."]: the model's prefix and the modality.
    absent = [prefix.split("encoders.") for prefix in encoders]
    return sorted(
        name
        for name in names
        if not any(name.startswith(model) and f".{part}" in name for model, part in absent)
    )


def dead_parameters_error(stage: StageId, dead: Sequence[str]) -> DeadParameterError:
    """Return the error that names the first of the dead parameters.

    Args:
        stage: The stage that was trained.
        dead: Names of the parameters, at least one.
    """
    several = "s" if len(dead) > 1 else ""
    return DeadParameterError(
        f"stage {stage}: no gradient reaches {len(dead)} trainable parameter{several} after the "
        f"first step: {', '.join(dead[:5])}{', …' if len(dead) > 5 else ''}",
        tip="use the parameter in forward, or freeze it",
    )
