"""Source tensors into a target model: what fits is copied, what does not is named."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from torch import Tensor, nn

from mmx.errors import TransferError
from mmx.transfer.base import Source


@dataclass(frozen=True)
class Copied:
    """Names of the model's tensors by what happened to them, and notes on what did not fit."""

    copied: tuple[str, ...]
    adapted: tuple[str, ...]
    fresh: tuple[str, ...]
    notes: tuple[str, ...]


def copy_fitting(
    source: Source, model: nn.Module, classes: tuple[str, ...], class_map: dict[str, str]
) -> Copied:
    """Copy every source tensor that fits into ``model``, in place.

    Encoder and fusion tensors are copied where name and shape agree. Tensors with one
    row a class (``model.label_tensors``) are copied row by row, classes matched by name,
    and only where all of the fusion before them was copied: a head means nothing on top
    of features that it has never seen.

    Args:
        source: The trained source.
        model: The target model.
        classes: The target's class names in index order.
        class_map: Source class to target class, for names that differ.

    Raises:
        TransferError: No encoder tensor fits, or class names are ambiguous.
    """
    own = model.state_dict()
    labelled = set(getattr(model, "label_tensors", ()))
    copied, fresh, notes = [], [], []
    for name, tensor in own.items():
        if name in labelled:
            continue
        given = source.state.get(name)
        if given is not None and given.shape == tensor.shape:
            tensor.copy_(given)
            copied.append(name)
        else:
            fresh.append(name)
            if given is not None:
                notes.append(f"{name} is {_shape(tensor)} here, {_shape(given)} in the source")
    if not any(name.startswith("encoders.") for name in copied):
        raise TransferError(
            "no encoder tensor of the source fits the target's encoders",
            tip="choose a source that shares a modality and an encoder with the target",
        )
    adapted: list[str] = []
    lost = [name for name in fresh if name.startswith("fusion.")]
    if labelled and lost:
        notes.append(f"the head is fresh, since the fusion below it is ({lost[0]}, …)")
    elif labelled:
        rows = match_classes(source.classes, classes, class_map)
        fitting = _fitting_heads(source, own, sorted(labelled)) if rows else []
        same = rows == {index: index for index in range(len(classes))}
        same = same and len(source.classes) == len(classes)
        for name in fitting:
            for target_row, source_row in rows.items():
                own[name][target_row] = source.state[name][source_row]
        (copied if same else adapted).extend(fitting)
        if fitting and not same:
            notes.append(f"the head keeps {len(rows)} of {len(classes)} classes, matched by name")
        notes.extend(
            f"{name} is {_shape(own[name])} here, {_shape(source.state[name])} in the source"
            for name in sorted(labelled - set(fitting))
            if rows and name in source.state and source.state[name].shape[1:] != own[name].shape[1:]
        )
    fresh.extend(sorted(labelled - {*copied, *adapted}))
    return Copied(tuple(copied), tuple(adapted), tuple(fresh), tuple(notes))


def _fitting_heads(source: Source, own: dict[str, Tensor], labelled: list[str]) -> list[str]:
    """Return the tensors of those heads that fit whole: a bias means nothing without its weight."""
    heads: dict[str, list[str]] = {}
    for name in labelled:
        heads.setdefault(name.rpartition(".")[0], []).append(name)
    return [
        name
        for names in heads.values()
        if all(
            each in source.state and source.state[each].shape[1:] == own[each].shape[1:]
            for each in names
        )
        for name in names
    ]


def match_classes(
    source: tuple[str, ...], target: tuple[str, ...], class_map: dict[str, str]
) -> dict[int, int]:
    """Return target index to source index for the classes that both name.

    What ``class_map`` says holds. All other names are compared without regard to case,
    spaces, ``-`` and ``_``.

    Raises:
        TransferError: Two classes of one task read the same as one of the other's, or
            ``class_map`` names a class that does not exist, or one target class twice.
    """
    for given, known, side in (
        (class_map.keys(), source, "source"),
        (class_map.values(), target, "target"),
    ):
        for name in given:
            if name not in known:
                raise TransferError(
                    f"transfer.class_map names {name!r}, no class of the {side}",
                    tip=f"the {side}'s classes are {', '.join(known)}",
                )
    twice = [name for name, count in Counter(class_map.values()).items() if count > 1]
    if twice:
        raise TransferError(f"transfer.class_map gives {twice[0]!r} to several source classes")
    said = {target.index(new): source.index(old) for old, new in class_map.items()}
    left = {
        "source": [(i, _key(name)) for i, name in enumerate(source) if name not in class_map],
        "target": [(i, _key(name)) for i, name in enumerate(target) if i not in said],
    }
    shared = {key for _, key in left["source"]} & {key for _, key in left["target"]}
    for side, names in left.items():
        counts = Counter(key for _, key in names)
        ambiguous = sorted(key for key in shared if counts[key] > 1)
        if ambiguous:
            raise TransferError(
                f"several classes of the {side} read as {ambiguous[0]!r}",
                tip="say which one is meant: 'transfer.class_map={source_class: target_class}'",
            )
    where = {key: index for index, key in left["source"]}
    alike = {index: where[key] for index, key in left["target"] if key in where}
    return dict(sorted({**said, **alike}.items()))


def _key(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter not in " -_")


def _shape(tensor: Tensor) -> str:
    return "×".join(str(size) for size in tensor.shape) or "scalar"
