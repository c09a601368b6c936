"""Which encoder of the source each encoder of the target starts from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from mmx.errors import Problem, TransferError
from mmx.stage_id import Role

ALIKE = {
    frozenset({"audio", "image"}): "encoder/image=small_cnn encoder/audio=spectrogram_cnn",
    frozenset({"audio", "text"}): "encoder/audio=logmel_lstm encoder/text=lstm",
}
"""For two modalities, encoders whose tensors have the same names."""
RESNETS = "encoder/image=resnet18 encoder/audio=spectrogram_resnet18"


def find_origins(
    source: Collection[str], target: Collection[str], modality_map: Mapping[str, str]
) -> dict[str, str]:
    """Return target modality to source modality, for those that have one to start from.

    A modality starts from its own kind where the source has it, unless the map says otherwise.

    Args:
        source: The source's modalities.
        target: The target's.
        modality_map: Target modality to source modality, for encoders that start from another
            modality's.

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
    origins = {name: modality_map.get(name, name) for name in target}
    return {name: origin for name, origin in origins.items() if origin in source}


def find_unlike_encoders(
    source: Mapping[str, Collection[str]],
    target: Mapping[str, Collection[str]],
    modality_map: Mapping[str, str],
) -> Iterator[Problem]:
    """Yield the mapped encoders of which nothing could be copied, before anything is trained.

    Args:
        source: Modality of the source to the names of its encoder's tensors.
        target: Modality of the target to the same; modalities may be left out of both.
        modality_map: Target modality to source modality.
    """
    for new, old in modality_map.items():
        if new in target and old in source and not set(target[new]) & set(source[old]):
            yield Problem(
                f"transfer.map={{{new}: {old}}}",
                f"no tensor of the {new} encoder has the name of one of the {old} encoder",
                accepted="encoders of one architecture",
                type_this=RESNETS
                if any(".conv1." in name for name in (*target[new], *source[old]))
                else ALIKE.get(frozenset({new, old})),
            )
