"""Tables of a repository of the hub: which of its files are read, in its local cache."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from mmx.errors import DataError, closest
from mmx.extras import import_extra
from mmx.hub_cache import check_fetched, read_licence
from mmx.modalities.suffixes import is_hidden
from mmx.table_suffixes import BINARY_SUFFIXES, JSON_SUFFIXES, find_suffix
from mmx.tasks.advice import type_task_option
from mmx.tasks.contents import Origin
from mmx.tasks.split_names import find_split
from mmx.tasks.table_files import SIDECARS, find_split_in_name, sort_naturally

FORMATS = (BINARY_SUFFIXES, JSON_SUFFIXES, (".csv", ".tsv", ".tab"))
"""Suffixes of tables, from those that say most of their columns to those that say least."""
OURS = ("train", "val", "test")
CARD = ("README.md", "LICENSE*")
NUMBERED = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\.[\w.]+)")
PARQUET_BRANCH = "refs/convert/parquet"
"""Where the hub keeps a copy of most sets as Parquet, of those too that come with code."""
FETCHED = ".mmx-fetched.json"
"""File next to the tables of a commit that lists them, once all of them are there."""
LARGEST_CARD = 1_000_000
"""Bytes of a card that are read."""


@dataclass(frozen=True)
class HubData:
    """The tables of a repository.

    Attributes:
        files: Split to its files.
        origin: Repository, commit and licence.
        left_out: Splits that are none of train, val and test.
        merged: Split to those of the repository that are read as this one, where they are several.
        is_checked: Whether all its tables were fetched by mmx, and checked.
    """

    files: dict[str, list[str]]
    origin: Origin
    left_out: tuple[str, ...] = ()
    merged: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    is_checked: bool = False


def find_hub_data(
    repository: str, *, revision: str | None, subset: str | None, download: bool
) -> HubData:
    """Return the tables of a repository, from its local cache where they are there.

    No code of a repository is run or fetched.

    Args:
        repository: ``owner/name``.
        revision: A commit, branch or tag; None for the main branch.
        subset: Which of several sets in it.
        download: Whether they may be fetched if they are not here.

    Raises:
        DataError: They are not here, cannot be fetched, or are no tables.
    """
    hub = import_extra("huggingface_hub", "hub")
    given: dict[str, Any] = {"repo_type": "dataset", "revision": revision}
    try:
        # The library would refuse a folder without the files that are not read, such as code.
        cached = {"local_files_only": True, "allow_patterns": [FETCHED]}
        here = Path(hub.snapshot_download(repository, **cached, **given))
    except Exception as error:  # of the hub's library, which has many
        if not download:
            raise DataError(
                f"{repository}: the hub's cache does not hold it",
                tip="download=true fetches it; or target.path=<folder or tables>",
            ) from error
    else:
        if not download or _is_whole(here):
            return _read_snapshot(repository, here, subset)
    try:
        info = hub.HfApi().dataset_info(repository, revision=revision)
        names = [each.rfilename for each in info.siblings or ()]
        tables = [name for name in names if is_table(name)]
        place = Path(hub.snapshot_download(repository, allow_patterns=[*tables, *CARD], **given))
    except Exception as error:
        why = str(error).splitlines()[0].removeprefix("Got: ")
        raise DataError(
            f"{repository}: cannot be fetched: {why}",
            tip="check network, name and revision; HF_ENDPOINT and HF_TOKEN lead to a private hub",
        ) from error
    check_fetched(place)
    (place / FETCHED).write_text(json.dumps(tables), encoding="utf-8")
    return _read_snapshot(repository, place, subset)


def is_table(name: str) -> bool:
    """Return whether a file of a repository is a table that may be read."""
    path = PurePosixPath(name)
    return (
        find_suffix(Path(name)) in {suffix for each in FORMATS for suffix in each}
        and not SIDECARS.fullmatch(path.name)
        and not any(is_hidden(part) for part in path.parts)
    )


def _is_whole(folder: Path) -> bool:
    """Return whether all tables of a commit were fetched and checked, and are still there."""
    names = _list_fetched(folder)
    return names is not None and all((folder / name).is_file() for name in names)


def _list_fetched(folder: Path) -> list[str] | None:
    """Return the tables of a commit; None where mmx has not fetched all of them."""
    try:
        found = json.loads((folder / FETCHED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return [str(name) for name in found] if isinstance(found, list) else None


def _read_snapshot(repository: str, folder: Path, subset: str | None) -> HubData:
    """Return the tables of a commit in the hub's cache.

    Raises:
        DataError: One of them is absent.
    """
    fetched = _list_fetched(folder)
    _require_all(repository, folder, fetched or ())
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    found = choose_files(names, subset, _read_card(folder), repository)
    paths: dict[str, list[str]] = {}
    merged: dict[str, tuple[str, ...]] = {}
    for ours in OURS:
        theirs = tuple(name for name in found if find_split(name) == ours)
        if files := [file for name in theirs for file in found[name]]:
            _require_all_shards(repository, files)
            paths[ours] = [str(folder / file) for file in files]
        if len(theirs) > 1:
            merged[ours] = theirs
    return HubData(
        paths,
        Origin(repository, folder.name, read_licence(folder / "README.md")),
        tuple(name for name in found if find_split(name) is None),
        merged,
        is_checked=fetched is not None,
    )


def choose_files(
    names: Iterable[str], subset: str | None, card: Mapping[str, Any], repository: str
) -> dict[str, list[str]]:
    """Return split, as the repository calls it, to the names of its tables.

    Args:
        names: Of all files, with slashes.
        subset: Which of several sets; None where there is one.
        card: What the front matter of the card states.
        repository: For messages.

    Raises:
        DataError: There is no table, or it has to be said which subset is meant.
    """
    tables = [name for name in names if is_table(name)]
    if not tables:
        raise DataError(
            f"{repository}: holds no Parquet, Arrow, JSON or CSV file; code of a repository is "
            "never run",
            tip=f"{type_task_option('revision', PARQUET_BRANCH)}, with download=true",
        )
    stated = _read_configs(card)
    if stated:
        chosen = _choose(stated, subset, repository)
        found = {split: _match(tables, patterns) for split, patterns in stated[chosen].items()}
        if absent := [split for split, each in found.items() if not each]:
            raise DataError(
                f"{repository}: the files of {absent[0]} ({', '.join(stated[chosen][absent[0]])}) "
                "are not here",
                tip="download=true fetches them",
            )
        return found
    return _divide(_take_subset(_take_format(tables), subset, repository))


def _take_format(tables: list[str]) -> list[str]:
    """Return the tables of the format that says most of its columns."""
    for suffixes in FORMATS:
        if found := [name for name in tables if find_suffix(Path(name)) in suffixes]:
            return found
    return []


def _take_subset(tables: list[str], subset: str | None, repository: str) -> list[str]:
    """Return the tables of a subset, which is a folder of their name."""
    folders = {parts[0] for name in tables if len(parts := PurePosixPath(name).parts) > 1}
    subsets = {name: name for name in sorted(folders) if name != "data" and not find_split(name)}
    if not subsets and subset is None:
        return tables
    chosen = _choose(subsets, subset, repository)
    return [name for name in tables if name.startswith(f"{chosen}/")]


def _choose(subsets: Mapping[str, object], subset: str | None, repository: str) -> str:
    """Return the subset that is meant: the one that is named, the only one, or ``default``."""
    if subset is None and (len(subsets) == 1 or "default" in subsets):
        return "default" if "default" in subsets else next(iter(subsets))
    if subset in subsets:
        return str(subset)
    near = closest(subset, subsets) if subset else None
    raise DataError(
        f"{repository}: "
        + (f"there is no subset '{subset}'" if subset else "it has to be said which subset is read")
        + f"; it has {', '.join(subsets) or 'none'}",
        tip=type_task_option("subset", near or next(iter(subsets), None)),
    )


def _divide(tables: list[str]) -> dict[str, list[str]]:
    """Return split to its files, as their names say; all are ``train`` where none says anything."""
    paths = sort_naturally([Path(name) for name in tables])
    found: dict[str, list[str]] = {}
    for path in paths:
        found.setdefault(find_split_in_name(path) or path.stem, []).append(path.as_posix())
    if not any(find_split(split) for split in found):
        return {"train": [path.as_posix() for path in paths]}
    return found


def _match(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    found = {name for each in patterns for name in fnmatch.filter(names, each.removeprefix("./"))}
    return [path.as_posix() for path in sort_naturally([Path(name) for name in found])]


def _read_configs(card: Mapping[str, Any]) -> dict[str, dict[str, list[str]]]:
    """Return subset to split to patterns of files, as the front matter of a card states them."""
    found: dict[str, dict[str, list[str]]] = {}
    configs = card.get("configs")
    for each in configs if isinstance(configs, list) else ():
        files = each.get("data_files") if isinstance(each, dict) else None
        splits = files if isinstance(files, list) else [{"split": "train", "path": files}]
        if files and all(isinstance(one, dict) and "path" in one for one in splits):
            found[str(each.get("config_name", "default"))] = {
                str(one.get("split", "train")): _list(one["path"]) for one in splits
            }
    return found


def _list(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


def _read_card(folder: Path) -> dict[str, Any]:
    """Return the front matter of a repository's card; empty where there is none."""
    try:
        with (folder / "README.md").open(encoding="utf-8", errors="replace") as file:
            text = file.read(LARGEST_CARD)
        found = yaml.safe_load(text.split("---", 2)[1]) if text.startswith("---") else {}
    except (OSError, ValueError, IndexError, RecursionError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _require_all(repository: str, folder: Path, names: Iterable[str]) -> None:
    """Refuse a folder that lacks one of the files which were fetched into it."""
    for name in names:
        if not (folder / name).is_file():
            raise DataError(f"{repository}: {name} is not here", tip="download=true fetches it")


def _require_all_shards(repository: str, names: Sequence[str]) -> None:
    """Refuse part of the files ``…-00000-of-00003…``, as an interrupted download leaves them.

    Raises:
        DataError: The message names the first that is absent.
    """
    here = set(names)
    for name in names:
        if found := NUMBERED.fullmatch(name):
            start, count, end = found[1], found[3], found[4]
            for number in range(int(count)):
                wanted = f"{start}-{number:05d}-of-{count}{end}"
                if wanted not in here:
                    raise DataError(
                        f"{repository}: {wanted} is not here", tip="download=true fetches it"
                    )
