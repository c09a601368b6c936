"""Cross-modal transfer: which source encoder each target encoder starts from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from mmx.errors import Problem, TransferError
from mmx.stage_id import Role

ALIKE = {
    frozenset({"audio", "image"}): "encoder/image=small_cnn encoder/audio=spectrogram_cnn",
    frozenset({"audio", "text"}): "encoder/audio=logmel_lstm encoder/text=lstm",
    frozenset({"image", "text"}): "encoder/image=small_cnn encoder/text=grid_cnn",
}
"""For two modalities, encoders with the same tensor names."""
RESNETS = "encoder/image=resnet18 encoder/audio=spectrogram_resnet18"


def find_origins(
    source: Collection[str], target: Collection[str], modality_map: Mapping[str, str]
) -> dict[str, str]:
    """Return target modality to the source modality from which its encoder starts.

    A modality starts from the same modality of the source unless the map names another. Modalities
    without an origin in the source are left out.

    Args:
        source: The source's modalities.
        target: The target's modalities.
        modality_map: Target modality to source modality, for encoders that start from another
            modality's encoder.

    Raises:
        TransferError: The map names a modality that does not exist.
    """
    for new, old in modality_map.items():
        for name, known, side in ((new, target, Role.TARGET), (old, source, Role.SOURCE)):
            if name not in known:
                raise TransferError(
                    f"transfer.map={{{new}: {old}}}: the {side} has no {name}",
                    tip=f"the {side} has {', '.join(sorted(known))}",
                )
    # A map entry replaces the modality's own origin.
    origins = {name: modality_map.get(name, name) for name in target}
    return {name: origin for name, origin in origins.items() if origin in source}


def find_unlike_encoders(
    source: Mapping[str, Collection[str]],
    target: Mapping[str, Collection[str]],
    modality_map: Mapping[str, str],
) -> Iterator[Problem]:
    """Yield a problem for each mapped pair of encoders with no tensor name in common.

    It needs names alone, so that it can be called before anything is trained.

    Args:
        source: Source modality to the tensor names of its encoder.
        target: Target modality to the tensor names of its encoder. Modalities may be left out of
            both.
        modality_map: Target modality to source modality.
    """
    for new, old in modality_map.items():
        if new in target and old in source and not set(target[new]) & set(source[old]):
            yield Problem(
                f"transfer.map={{{new}: {old}}}",
                f"no tensor of the {new} encoder has the name of one of the {old} encoder",
                accepted="encoders of one architecture",
                # .conv1. is a name that only residual networks have.
                type_this=RESNETS
                if any(".conv1." in name for name in (*target[new], *source[old]))
                else ALIKE.get(frozenset({new, old})),
            )
