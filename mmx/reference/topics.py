"""What a word of ``mmx help`` stands for: a group, an option, or one or several keys."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmx.config.locate import HIDDEN_GROUPS, find_default_option, find_options, list_groups
from mmx.errors import UsageError, closest
from mmx.reference.entries import (
    TRAINER,
    Key,
    Option,
    describe_option,
    describe_root,
)
from mmx.stage_id import TASK_ROLES, Role

ROLE_OF_TASKS = Role.TARGET.value
"""Of the two groups that take the same tasks, the one that their keys are shown of."""


@dataclass(frozen=True)
class GroupTopic:
    """A group, with its options."""

    group: str


@dataclass(frozen=True)
class KeysTopic:
    """Keys that a word names, each with the options that have it so.

    Attributes:
        keys: Key to the options that have it, as they are typed; none for a root key.
    """

    keys: tuple[tuple[Key, tuple[str, ...]], ...]


@dataclass(frozen=True)
class ListTopic:
    """Several things of one name, of which each has a page of its own.

    Attributes:
        word: What was typed.
        found: What to type for each, with its headline.
        says: What the word is of them.
    """

    word: str
    found: tuple[tuple[str, str], ...]
    says: str = "is the name of several"


Topic = GroupTopic | KeysTopic | ListTopic | Option


class Catalog:
    """Everything that can be looked up.

    Args:
        extra: The user's config directories.
        allowed: Packages other than mmx whose classes may be imported.
    """

    def __init__(self, extra: Sequence[Path] = (), allowed: Collection[str] = ()) -> None:
        self.extra, self.allowed = tuple(extra), tuple(allowed)
        self.groups = list_groups(self.extra)
        self.root = {key.path: key for key in describe_root()}

    def describe(self, group: str, name: str) -> Option:
        """Return an option."""
        return _describe(group, name, self.extra, self.allowed)

    def find(self, word: str) -> Topic:
        """Return what a word stands for.

        Raises:
            UsageError: It stands for nothing; says what is most like it.
        """
        name, equals, value = word.strip("/").lstrip("+~").partition("=")
        name = self._spell(name)
        if name in self.groups:
            return self._find_option(name, value, word) if value else GroupTopic(name)
        found: Topic | None = self._find_keys(name)
        if found is None and not equals:
            found = self._find_groups_below(name) or self._find_by_name(name)
        if found is None:
            raise self._nothing(name, value)
        return found

    def _spell(self, name: str) -> str:
        """Return a group with slashes: it may be typed with dots."""
        slashed = name.replace(".", "/")
        return slashed if slashed in self.groups else name

    def _find_option(self, group: str, value: str, word: str) -> Option:
        options = find_options(group, self.extra)
        if value in options:
            return self.describe(group, value)
        near = closest(value, options)
        raise UsageError(
            f"{word}: {group} has no option {value}; it has {', '.join(options)}",
            tip=shlex.join(["mmx", "help", f"{group}={near}" if near else group]),
        )

    def _find_groups_below(self, name: str) -> ListTopic | None:
        """Return the groups of ``encoder``, which has one for each modality."""
        below = [group for group in self.groups if group.startswith(f"{name}/")]
        found = [(group, ", ".join(find_options(group, self.extra))) for group in below]
        return ListTopic(name, tuple(found), "has these groups") if found else None

    def _find_keys(self, path: str) -> KeysTopic | None:
        """Return the keys at a path, or below it: ``trainer``, ``target.image``."""
        if path in self.root:
            return KeysTopic(((self.root[path], ()),))
        if path == TRAINER:
            below = (key for name, key in self.root.items() if name.startswith(f"{TRAINER}."))
            return KeysTopic(tuple((key, ()) for key in below))
        group = self._find_group_of(path)
        return None if group is None else self._gather(group, path)

    def _find_group_of(self, path: str) -> str | None:
        """Return the group whose options may have a key."""
        starts = [each for each in self.groups if path.startswith(f"{each.replace('/', '.')}.")]
        return max(starts, key=len) if starts else None

    def _gather(self, group: str, path: str) -> KeysTopic | None:
        """Return the key as each option of a group has it, alike ones together."""
        found: dict[tuple[str, str, str, str | None], list[str]] = {}
        keys: dict[tuple[str, str, str, str | None], Key] = {}
        for name in self._order(group):
            for key in self.describe(group, name).keys:
                if key.path == path or key.path.startswith(f"{path}."):
                    same = (key.path, key.accepts, key.text, None)
                    keys.setdefault(same, key)
                    found.setdefault(same, []).append(f"{group}={name}")
        topic = tuple((keys[same], tuple(options)) for same, options in found.items())
        return KeysTopic(topic) if topic else None

    def _order(self, group: str) -> list[str]:
        """Return the options of a group, the default first."""
        options = find_options(group, self.extra)
        first = find_default_option(group)
        return sorted(options, key=lambda name: (name != first, name))

    def _find_by_name(self, name: str) -> Topic | None:
        """Return what a bare name stands for: an option, or the last part of keys."""
        options = [
            (group, name)
            for group in self.groups
            if name in find_options(group, self.extra) and group != "source_objective"
        ]
        if {group for group, _ in options} == {*TASK_ROLES}:
            options = [(ROLE_OF_TASKS, name)]
        if len(options) == 1:
            return self.describe(*options[0])
        if options:
            found = [self.describe(*each) for each in options]
            return ListTopic(name, tuple((each.typed, each.headline) for each in found))
        paths = {path: key for path, key in self.list_keys().items() if key.name == name}
        if len(paths) == 1:
            return self._find_keys(next(iter(paths)))
        if paths:
            return ListTopic(name, tuple((path, key.short) for path, key in paths.items()))
        return None

    def list_keys(self) -> dict[str, Key]:
        """Return every key by its path; keys of tasks as those of the target."""
        found = dict(self.root)
        for group in self.groups:
            if group in ("source", "source_objective", "experiment", *HIDDEN_GROUPS):
                continue
            for name in self._order(group):
                for key in self.describe(group, name).keys:
                    found.setdefault(key.path, key)
        return found

    def _nothing(self, name: str, value: str) -> UsageError:
        """Return the error of a word that stands for nothing."""
        keys = self.list_keys()
        options = {each for group in self.groups for each in find_options(group, self.extra)}
        if "." in name:
            near = closest(name, keys)
        else:
            near = closest(name, [*self.groups, TRAINER, *self.root]) or closest(
                name, [*options, *(key.name for key in keys.values())]
            )
        if near in self.groups and value:
            near = f"{near}={value}" if value in find_options(near, self.extra) else near
        return UsageError(
            f"there is no verb, group, option or key {name!r}",
            tip=shlex.join(["mmx", "help", near]) if near else "mmx train --help lists them all",
        )


@functools.lru_cache(maxsize=1024)
def _describe(group: str, name: str, extra: tuple[Path, ...], allowed: tuple[str, ...]) -> Option:
    return describe_option(group, name, extra, allowed)
