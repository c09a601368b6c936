"""Which files make up a table: one, a list, a pattern, a folder of shards, or files by split."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from mmx.errors import DataError, closest
from mmx.modalities.suffixes import is_hidden
from mmx.stand_ins import find_stand_in_at
from mmx.table_suffixes import BINARY_SUFFIXES, TABLE_SUFFIXES, find_suffix
from mmx.tasks.addresses import is_address, make_address_error, strip_file_scheme
from mmx.tasks.advice import type_task_option
from mmx.tasks.split_names import SPLITS, count_synonyms, find_split

PathOption = Annotated[
    str | list[str] | dict[str, str | list[str]], Field(examples=["products.csv"])
]

SIDECARS = re.compile(r"(dataset_infos?|dataset_dict|state|readme|licen[cs]e)\.(json|txt)", re.I)
"""Files in a folder of shards that describe it."""
SPLIT_IN_NAME = re.compile(r"([a-z]+)(?:[-_. ]?(?:set|split))?(?:[-_.][\w.-]*|\d+)?", re.I)
NUMBERS = re.compile(r"[-_.]?(?:of[-_.]?)?(?:\d+(?![a-z])|[0-9a-f]{8,})", re.I)
"""What numbered shards differ in: ``-00000-of-00002``, ``_1`` or a digest."""
WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class TableFile:
    """A file of a table, and the split that its rows belong to, if its place says so."""

    path: Path
    split: str | None = None


def find_table_files(task: str, option: PathOption) -> list[TableFile]:
    """Return the files that an option ``path`` names, in the order in which they are read.

    Args:
        task: Name of the task, for messages.
        option: A file, a pattern or a folder; several of them; or those of each split.

    Raises:
        DataError: A file is absent, an address, not fetched (a pointer of Git LFS), or of no split
            where others are of one.
    """
    if isinstance(option, Mapping):
        files = []
        for key, paths in option.items():
            split = find_split(key)
            if split is None:
                raise DataError(
                    f"{task}: path names the split '{key}'; accepted: {', '.join(SPLITS)}",
                    tip=type_task_option("path", _rename_key(option, key)),
                )
            files += [replace(one, split=split) for one in _find_all(task, paths, option, key)]
    else:
        files = _find_all(task, option, option, None)
    seen: set[Path] = set()
    for one in files:
        place = one.path.parent.resolve() / one.path.name
        if place in seen:
            raise DataError(f"{task}: path names {one.path} twice", tip="name each file once")
        seen.add(place)
        if place.is_file() and (found := find_stand_in_at(place)) is not None:
            raise DataError(f"{task}: {one.path} is {found}")
    return files


def _rename_key(option: Mapping[str, object], key: str) -> dict[str, object]:
    near = closest(key, SPLITS) or "train"
    return {SPLITS[near] if name == key else name: value for name, value in option.items()}


def _find_all(
    task: str, paths: str | Sequence[str], option: PathOption, key: str | None
) -> list[TableFile]:
    """Return the files of some paths, those of ``option``, or of its split ``key``."""
    each = [paths] if isinstance(paths, str) else list(paths)
    found = []
    for path in each:
        try:
            found += _find(task, path)
        except _NoTableError as error:
            given = _replace_path(paths, path, error.near)
            whole = {**option, key: given} if isinstance(option, Mapping) and key else given
            raise DataError(error.message, tip=type_task_option("path", whole)) from error
    return found


def _replace_path(paths: str | Sequence[str], old: str, new: str) -> str | list[str]:
    return new if isinstance(paths, str) else [new if each == old else each for each in paths]


class _NoTableError(DataError):
    """There is no such file.

    Attributes:
        near: A file that may be meant, or a placeholder.
    """

    def __init__(self, message: str, near: str) -> None:
        super().__init__(message)
        self.near = near


def _find(task: str, text: str) -> list[TableFile]:
    """Return the files of one path, pattern or folder."""
    if is_address(text):
        raise make_address_error(f"{task}: path", text)
    path = Path(strip_file_scheme(text)).expanduser()
    if not path.exists() and "\\" in text:
        path = Path(text.replace("\\", "/")).expanduser()
    if path.is_dir():
        return list(_list_folder(task, path))
    if path.is_file():
        return [TableFile(path)]
    if WILD.search(str(path)):
        pattern = _escape_folders(path)
        found = [Path(one) for one in glob.glob(pattern, recursive=True)]  # noqa: PTH207
        if files := [one for one in sort_naturally(found) if one.is_file()]:
            return [TableFile(one) for one in files]
        raise DataError(f"{task}: no file fits the pattern {path}", tip=_advise_pattern(path))
    siblings = path.parent.iterdir() if path.parent.is_dir() else ()
    near = closest(path.name, [other.name for other in siblings])
    raise _NoTableError(
        f"{task}: there is no table {path}", str(path.parent / near) if near else "<table>"
    )


def _escape_folders(path: Path) -> str:
    """Return a pattern in which a folder that exists is meant literally, such as ``[old]``."""
    parents = [folder for folder in path.parents if folder.is_dir()]
    if not parents:
        return str(path)
    return str(Path(glob.escape(str(parents[0]))) / path.relative_to(parents[0]))


def _advise_pattern(path: Path) -> str:
    folder = path.parent
    while WILD.search(str(folder)):
        folder = folder.parent
    return f"ls {folder}   (* stands for any part of a name, ** for any folders)"


def sort_naturally(paths: list[Path]) -> list[Path]:
    """Return paths in the order of their names, with numbers in numeric order."""

    def make_key(path: Path) -> list[tuple[int, str]]:
        parts = re.split(r"(\d+)", str(path))
        return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]

    return sorted(paths, key=make_key)


def _list_folder(task: str, path: Path) -> Iterator[TableFile]:
    """Yield the files of a folder: one that ``datasets`` has saved, or any shards."""
    if (path / "dataset_dict.json").is_file():
        for name in _read_json(path / "dataset_dict.json", "splits"):
            for file in _list_saved(path / str(name)):
                yield TableFile(file, _require_split(task, path, str(name)))
    elif (path / "state.json").is_file():
        yield from (TableFile(file) for file in _list_saved(path))
    else:
        yield from _list_shards(task, path)


def _list_saved(path: Path) -> list[Path]:
    """Return the shards of a folder written by ``Dataset.save_to_disk``."""
    names = [str(one["filename"]) for one in _read_json(path / "state.json", "_data_files")]
    if _read_json(path / "state.json", "_indices_data_files"):
        raise DataError(
            f"{path} holds rows and the order in which they are used; mmx reads rows alone",
            tip="dataset.flatten_indices().save_to_disk(folder)",
        )
    for name in names:
        if not (path / name).is_file() or Path(name).name != name:
            raise DataError(f"{path}/state.json names {name!r}, which is not a file there")
    return [path / name for name in names]


def _read_json(path: Path, key: str) -> list[Any]:
    """Return a list in a JSON file; empty where it has none of that name."""
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get(key) or []
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"cannot read {path}: {error}", tip="save the data set again") from error
    if not isinstance(found, list):
        raise DataError(f"{path}: {key} is not a list", tip="save the data set again")
    return found


def _require_split(task: str, folder: Path, name: str) -> str:
    split = find_split(name)
    if split is None:
        raise DataError(
            f"{task}: {folder} has a split '{name}'; accepted: {', '.join(SPLITS)}",
            tip=type_task_option("path", {"train": str(folder / name)}),
        )
    return split


def _list_shards(task: str, path: Path) -> Iterator[TableFile]:
    """Yield the tables in a folder, with the splits that their names say."""
    files = [file for file in sort_naturally(list(path.rglob("*"))) if _is_shard(file, path)]
    if not files:
        raise DataError(
            f"{task}: there is no table in the folder {path}; accepted: "
            f"{', '.join(TABLE_SUFFIXES)}",
            tip=type_task_option("path", "<table>"),
        )
    kinds = sorted({find_suffix(file) for file in files})
    if len(kinds) > 1 and not set(kinds) <= set(BINARY_SUFFIXES):
        raise DataError(
            f"{task}: {path} holds tables of several formats: {', '.join(kinds)}",
            tip=type_task_option("path", f"{path}/*{kinds[0]}"),
        )
    splits = [find_split_in_name(file.relative_to(path)) for file in files]
    if any(splits):
        _require_all_splits(task, path, files, splits)
        _refuse_synonyms(task, path, files)
    for file, split in zip(files, splits, strict=True):
        yield TableFile(file, split if "train" in splits else None)


def _is_shard(file: Path, folder: Path) -> bool:
    """Return whether a path in a folder is a table that is not hidden and describes no other."""
    return (
        find_suffix(file) in TABLE_SUFFIXES
        and not SIDECARS.fullmatch(file.name)
        and not any(is_hidden(part) for part in file.relative_to(folder).parts)
        and file.is_file()
    )


def _require_all_splits(
    task: str, folder: Path, files: list[Path], splits: list[str | None]
) -> None:
    """Refuse files of which some are named after a split and others are not.

    Raises:
        DataError: The message names the first of the others.
    """
    if None not in splits:
        return
    by_split: dict[str, list[str]] = {
        split: [str(file) for file, own in zip(files, splits, strict=True) if own == split]
        for split in ("train", "val", "test")
        if split in splits
    }
    raise DataError(
        f"{task}: {folder} holds {len(files)} tables, of which some are named after a split "
        f"and some are not, such as {files[splits.index(None)].name}",
        tip=type_task_option("path", by_split),
    )


def _refuse_synonyms(task: str, folder: Path, files: list[Path]) -> None:
    """Refuse files of which two words name one split, such as ``dev.csv`` and ``validation.csv``.

    Raises:
        DataError: The message names one file of each word.
    """
    words = [_find_word(file.relative_to(folder)) or "" for file in files]
    for split, counts in count_synonyms(words).items():
        first, other = (files[words.index(word)].name for word in list(counts)[:2])
        kept: dict[str, list[str]] = {"train": [], "val": [], "test": []}
        for file, word in zip(files, words, strict=True):
            kept[find_split(word) or ""].append(str(file))
        typed = type_task_option("path", {name: each for name, each in kept.items() if each})
        raise DataError(
            f"{task}: {folder} holds {first} and {other}, whose names both say {split}",
            tip=f"{typed}   (or move one of them away)",
        )


def note_several_names(option: PathOption, files: Sequence[TableFile]) -> Iterator[str]:
    """Yield a note for each split of files whose names differ in more than numbers.

    ``validation_matched.csv`` and ``validation_mismatched.csv`` may be two data sets, and numbered
    shards are one.

    Args:
        option: ``path``; where it names the files of each split, it says what belongs together.
        files: Those that it names.
    """
    if isinstance(option, Mapping):
        return
    for split in dict.fromkeys(file.split for file in files if file.split):
        paths = [file.path for file in files if file.split == split]
        names = {NUMBERS.sub("", path.name): path.name for path in reversed(paths)}
        if len(names) > 1:
            shown = ", ".join(sorted(names.values()))
            yield f"{split} is read from files of several names: {shown}"


def find_split_in_name(path: Path) -> str | None:
    """Return the split that the name of a shard says, or that of a folder of shards."""
    word = _find_word(path)
    return None if word is None else find_split(word)


def _find_word(path: Path) -> str | None:
    """Return the word that names a split in the name of a shard, or of a folder of shards."""
    for part in (*path.parts[:-1], path.name):
        found = SPLIT_IN_NAME.fullmatch(part)
        if found is not None and find_split(found[1]):
            return found[1].lower()
    return None
