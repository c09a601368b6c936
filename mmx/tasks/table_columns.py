"""Which columns of a table make up which input: the option ``columns``, read once.

A modality with one input gives it its name: ``{image: photo}`` is the input ``image``. Several of
one modality have names of their own: ``{image: {front: a, back: b}}`` are ``image_front`` and
``image_back``. Everything else takes an input's name as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from mmx.errors import closest
from mmx.modalities import Column
from mmx.tasks.table_inputs import ONE_COLUMN

NameOrNames = str | list[str]
ColumnsOption = Annotated[
    dict[str, NameOrNames | dict[str, NameOrNames]],
    Field(examples=["{image: photo, text: title}"]),
]
"""Modality, or modality and name (``image.front``), to columns; or modality to names to columns."""
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")


@dataclass(frozen=True)
class TableInput:
    """An input of a table.

    Attributes:
        name: ``image``, or ``image_front`` where the modality has several.
        modality: ``image``.
        option: Where it is set: ``columns.image.front``.
        columns: Names of its columns.
    """

    name: str
    modality: str
    option: str
    columns: tuple[str, ...]


def list_inputs(option: ColumnsOption, known: Mapping[str, type[Column]]) -> dict[str, TableInput]:
    """Return the inputs by name.

    Args:
        option: The option ``columns``.
        known: Modality to the class of its column.

    Raises:
        ValueError: It names an unknown modality, a name that nothing else could take, or several
            columns where one is read.
    """
    found: dict[str, TableInput] = {}
    for each in _flatten(option):
        if each.modality not in known:
            near = closest(each.modality, known)
            raise ValueError(
                f"`columns` names the modality '{each.modality}'; accepted: {', '.join(known)}"
                + (f"; closest: {near}" if near else "")
            )
        if known[each.modality].cells in ONE_COLUMN and len(each.columns) != 1:
            raise ValueError(
                f"`{each.option}` (={list(each.columns)}) must be one column; several inputs have "
                f"names: columns={{{each.modality}: {{front: a, back: b}}}}"
            )
        if each.name in found:
            raise ValueError(f"`{each.option}` and `{found[each.name].option}` are one input")
        found[each.name] = each
    if not any(each.columns for each in found.values()):
        raise ValueError("`columns` is empty; it maps each modality to its column")
    return found


def _flatten(option: ColumnsOption) -> Iterator[TableInput]:
    """Yield each input, whether its name is a key of its own or follows a dot."""
    for key, value in option.items():
        modality, dot, part = key.partition(".")
        if isinstance(value, dict):
            if dot:
                raise ValueError(f"`columns.{key}` has names already: it is a column, or several")
            for name, columns in value.items():
                yield _make_input(modality, name, columns)
        elif dot:
            yield _make_input(modality, part, value)
        else:
            yield TableInput(modality, modality, f"columns.{modality}", tuple(list_columns(value)))


def _make_input(modality: str, part: str, columns: NameOrNames) -> TableInput:
    """Return the input ``<modality>_<part>``; its name becomes part of keys and of tensors."""
    if not NAME.fullmatch(part):
        usable = re.sub(r"\W+", "_", part, flags=re.ASCII).strip("_0123456789")[:40] or "first"
        raise ValueError(
            f"`columns.{modality}` calls an input '{part}'; accepted: letters without accents, "
            f"digits and _, a letter first, at most 40; closest: {usable}"
        )
    option = f"columns.{modality}.{part}"
    return TableInput(f"{modality}_{part}", modality, option, tuple(list_columns(columns)))


def list_columns(columns: NameOrNames) -> list[str]:
    """Return the columns of an option that is one of them, or a list."""
    return [columns] if isinstance(columns, str) else list(columns)


def replace_column(option: ColumnsOption, old: str, new: str) -> ColumnsOption:
    """Return the option with a column's name replaced wherever it stands."""

    def replace_names(value: NameOrNames) -> NameOrNames:
        if isinstance(value, str):
            return new if value == old else value
        return [new if name == old else name for name in value]

    return {
        key: {name: replace_names(each) for name, each in value.items()}
        if isinstance(value, dict)
        else replace_names(value)
        for key, value in option.items()
    }
