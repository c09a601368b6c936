"""Which classes two tasks share, judged by their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from mmx.errors import TransferError, closest
from mmx.quoting import type_override
from mmx.stage_id import Role

SYNONYMS = (
    ("airplane", "aeroplane"),
    ("bicycle", "bike"),
    ("car", "automobile"),
    ("couch", "sofa"),
    ("motorcycle", "motorbike"),
    ("tv", "television", "tvmonitor"),
)
"""Names of the same object in common data sets (CIFAR, STL-10, VOC, COCO), synonyms in WordNet.

A match by this table is shown in the mapping like any other, and ``class_map`` overrides it.
"""

CLASSES_SHOWN = 20  # classes named in a note; the report holds the whole mapping


def match_classes(
    source: Sequence[str], target: Sequence[str], class_map: Mapping[str, str]
) -> dict[int, int]:
    """Return target index to source index for the classes that both tasks have.

    ``class_map`` comes first. Of the remaining classes, those are matched that are spelled alike
    up to case, spaces, ``-`` and ``_``, and then those that are :data:`SYNONYMS`.

    Args:
        source: The source's class names in index order.
        target: The target's class names in index order.
        class_map: Source class to target class.

    Raises:
        TransferError: ``class_map`` is wrong (see :func:`check_class_map`), or several
            classes of one task match the same class of the other.
    """
    check_class_map(class_map, source, target)
    rows = {target.index(new): source.index(old) for old, new in class_map.items()}
    # The map, then spelling, then synonyms: each round matches only what the rounds before left.
    for read in (_normalize_name, _find_synonym):
        taken = set(rows.values())
        left = {
            Role.SOURCE: {i: read(name) for i, name in enumerate(source) if i not in taken},
            Role.TARGET: {i: read(name) for i, name in enumerate(target) if i not in rows},
        }
        _refuse_ambiguous(left, {Role.SOURCE: source, Role.TARGET: target})
        origins = {word: index for index, word in left[Role.SOURCE].items()}
        rows |= {i: origins[word] for i, word in left[Role.TARGET].items() if word in origins}
    return dict(sorted(rows.items()))


def _refuse_ambiguous(
    left: Mapping[Role, Mapping[int, str]], classes: Mapping[Role, Sequence[str]]
) -> None:
    """Refuse several classes of one task that match the same class of the other.

    Args:
        left: For each task, index to normalised name, of the classes not yet matched.
        classes: All class names of each task.

    Raises:
        TransferError: There are such classes.
    """
    # Two classes of one task may have one name as long as the other task does not have it.
    shared = set(left[Role.SOURCE].values()) & set(left[Role.TARGET].values())
    for side, words in left.items():
        counts = Counter(words.values())
        if ambiguous := sorted(word for word in shared if counts[word] > 1):
            alike = {
                end: [classes[end][i] for i, word in each.items() if word == ambiguous[0]]
                for end, each in left.items()
            }
            raise _make_ambiguity_error(side, ambiguous[0], alike)


def _make_ambiguity_error(
    side: Role, read: str, alike: Mapping[Role, Sequence[str]]
) -> TransferError:
    """Return the error for several classes with one normalised name, and how to map them."""
    first = type_override("transfer.class_map", {alike[Role.SOURCE][0]: alike[Role.TARGET][0]})
    return TransferError(
        f"several classes of the {side} read as {read!r}: {_join_names(alike[side])}",
        tip=f"say which one is meant, such as {first}",
    )


def check_class_map(
    class_map: Mapping[str, str], source: Sequence[str], target: Sequence[str]
) -> None:
    """Check that a map names existing classes, and each target class only once.

    It needs names alone, so that it can be called before anything is trained.

    Args:
        class_map: Source class to target class.
        source: The source's class names.
        target: The target's class names.

    Raises:
        TransferError: The map names an unknown class, or a target class twice.
    """
    for given, known, side in (
        (class_map.keys(), source, Role.SOURCE),
        (class_map.values(), target, Role.TARGET),
    ):
        for name in given:
            if name not in known:
                near = closest(name, known)
                raise TransferError(
                    f"transfer.class_map names {name!r}, no class of the {side}"
                    + (f"; the closest is {near!r}" if near else ""),
                    tip=f"the {side}'s classes are {_join_names(known)}"
                    if known
                    else f"the {side} has no classes",
                )
    twice = [name for name, count in Counter(class_map.values()).items() if count > 1]
    if twice:
        raise TransferError(
            f"transfer.class_map gives {twice[0]!r} to several source classes",
            tip="name each target class once",
        )


def name_classes(
    rows: Mapping[int, int], source: Sequence[str], target: Sequence[str]
) -> dict[str, str]:
    """Return target class to source class, from the indices of :func:`match_classes`."""
    return {target[index]: source[origin] for index, origin in rows.items()}


def describe_classes(mapping: Mapping[str, str], target: Sequence[str]) -> str:
    """Return a mapping as one line, such as ``2 of 3 classes … (car=automobile); fresh: monkey``.

    Only pairs with different names are shown.

    Args:
        mapping: Target class to source class.
        target: The target's class names.
    """
    pairs = [f"{name}={origin}" for name, origin in mapping.items() if name != origin]
    fresh = [name for name in target if name not in mapping]
    text = f"{len(mapping)} of {len(target)} classes shared by name"
    text += f" ({_join_names(pairs)})" if pairs else ""
    return f"{text}; fresh: {_join_names(fresh)}" if fresh else text


def _normalize_name(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter not in " -_")


def _find_synonym(name: str) -> str:
    spelled = _normalize_name(name)
    return next((names[0] for names in SYNONYMS if spelled in names), spelled)


def _join_names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:CLASSES_SHOWN])
    return (
        shown if len(names) <= CLASSES_SHOWN else f"{shown}, … ({len(names) - CLASSES_SHOWN} more)"
    )
