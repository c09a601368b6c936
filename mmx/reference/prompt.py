"""Topics as text for a terminal or a pipe: lines of 80 columns, with styles for a terminal."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping

from mmx.config.default_source import NO_SOURCE, OWN_DATA, SOURCE
from mmx.config.locate import ALIASES, find_default_option
from mmx.printable import printable
from mmx.reference.docstrings import split_paragraphs
from mmx.reference.entries import Key, Option, list_group
from mmx.reference.topics import Catalog, GroupTopic, KeysTopic, ListTopic, Topic

WIDTH = 80
HEAD, NAME, QUIET, PLAIN = "bold", "bold cyan", "dim", ""
NUMBER = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")
MOST_OPTIONS = 6
"""Most options that a key's line names."""
Line = tuple[str, str]
"""A line, and the style that rich gives it."""


def write_topic(topic: Topic, reference: Catalog) -> Iterator[Line]:
    """Yield the lines that explain a topic."""
    if isinstance(topic, Option):
        yield from _write_option(topic, reference)
    elif isinstance(topic, GroupTopic):
        yield from _write_group(topic.group, reference)
    elif isinstance(topic, KeysTopic):
        yield from _write_keys(topic)
    else:
        yield from _write_list(topic)


def _write_option(option: Option, reference: Catalog) -> Iterator[Line]:
    yield from _wrap(f"{option.typed}: {option.headline}", style=HEAD)
    yield PLAIN, PLAIN
    for part in split_paragraphs(f"{option.docs.summary}\n\n{option.docs.body}"):
        yield from _write_paragraph(part)
        yield PLAIN, PLAIN
    if option.notes:
        yield from ((f"  {line}".rstrip(), PLAIN) for line in option.notes.splitlines())
        yield PLAIN, PLAIN
    if option.target and not option.docs.summary:
        package = option.target.partition(".")[0]
        yield from _wrap(f"Its class is {option.target}: with --allow {package} it is explained.")
        yield PLAIN, PLAIN
    if not option.keys:
        yield "It has no keys of its own.", QUIET
        return
    yield "keys:", HEAD
    for key in option.keys:
        yield from _write_key(key, indent=2)
    yield PLAIN, PLAIN
    yield f"type:  {_example(option, reference)}", QUIET


def _example(option: Option, reference: Catalog) -> str:
    """Return a command with the option, and with its keys that have to be typed or else one key.

    It is a number where there is one.
    """
    keys = [key for key in option.keys if key.default and " " not in key.default]
    keys.sort(key=lambda key: (NUMBER.fullmatch(key.default or "") is None, key.default == "[]"))
    settings = [f"{key.path}={key.default}" for key in keys[:1]]
    if needed := [key.path for key in option.keys if key.default is None]:
        settings = [f"{path}=<{path.rpartition('.')[2]}>" for path in needed]
    package = (option.target or "mmx").partition(".")[0]
    flags = [word for each in reference.extra for word in ("--config-dir", str(each))]
    flags += [] if package == "mmx" else ["--allow", package]
    # A file of somebody else may have any text as a name or as a default.
    return shlex.join(["mmx", "train", *flags, option.typed, *settings])


def _write_group(group: str, reference: Catalog) -> Iterator[Line]:
    """Yield the options of a group, with its default."""
    options = list_group(group, reference.extra)
    default = find_default_option(group)
    yield f"{group}=", HEAD
    yield from _write_table(
        {f"{name}{' *' if name == default else ''}": text for name, text in options.items()}
    )
    yield PLAIN, PLAIN
    notes = [f"* is the default, {_describe_exception(group)}."] if default else []
    if group in ALIASES:
        notes.append(f"The keys of an option are typed as {group.replace('/', '.')}.<key>.")
    first = default or next(iter(options), "")
    notes.append(f"{_type_help(f'{group}={first}')} explains an option and its keys.")
    for note in notes:
        yield from _wrap(note, style=QUIET)


def _describe_exception(group: str) -> str:
    """Return where the default of a group is another."""
    own = f"{NO_SOURCE} where {OWN_DATA}, " if group == SOURCE else ""
    return f"{own}unless an experiment says otherwise"


def _type_help(word: str) -> str:
    return shlex.join(["mmx", "help", word])


def _write_keys(topic: KeysTopic) -> Iterator[Line]:
    """Yield keys with the options that have them."""
    for number, (key, options) in enumerate(topic.keys):
        if number:
            yield PLAIN, PLAIN
        yield from _write_key(key, indent=0, full=True)
        if options:
            shown = ", ".join(options[:MOST_OPTIONS])
            more = f" and {len(options) - MOST_OPTIONS} more" * (len(options) > MOST_OPTIONS)
            yield from _wrap(f"of {shown}{more}", indent=4, style=QUIET)


def _write_list(topic: ListTopic) -> Iterator[Line]:
    yield f"{topic.word} {topic.says}:", HEAD
    yield from _write_table(dict(topic.found))
    yield PLAIN, PLAIN
    yield f"{_type_help(topic.found[0][0])} explains the first of them.", QUIET


def _write_key(key: Key, *, indent: int, full: bool = False) -> Iterator[Line]:
    """Yield a key: what is typed, what it takes, and what it means.

    Args:
        key: The key.
        indent: Columns in front of it.
        full: Whether its line of the config file is shown too, which has examples.
    """
    default = "=??? (to be typed)" if key.default is None else f"={key.default}"
    yield from _wrap(f"{key.path}{default}", indent=indent, style=NAME)
    if key.accepts:
        yield from _wrap(f"takes {key.accepts}", indent=indent + 4, style=QUIET)
    for text in _drop_repeated(key.short, key.text) if full else [key.text]:
        yield from _wrap(text, indent=indent + 4)
    for name, text in key.choices.items():
        yield from _wrap(f"{name}: {text}", indent=indent + 4, hanging=2)


def _drop_repeated(short: str, text: str) -> list[str]:
    """Return two texts, or the longer one where it begins with all that the other says."""
    plain, other = (each.rstrip(".").lower() for each in (short, text))
    if other.startswith(plain):
        return [text]
    return [short] if plain.startswith(other) else [short, text]


def _write_table(rows: Mapping[str, str]) -> Iterator[Line]:
    """Yield names with their descriptions in a second column."""
    column = min(max((len(name) for name in rows), default=0), 34) + 4
    for name, text in rows.items():
        lines = textwrap.wrap(_plain(text), WIDTH - column) or [""]
        yield f"  {name:{column - 4}s}  {lines[0]}".rstrip(), PLAIN
        yield from ((" " * column + line, PLAIN) for line in lines[1:])


def _write_paragraph(text: str) -> Iterator[Line]:
    """Yield a paragraph; formulas and examples, which are indented, stay as they are."""
    if text.startswith(" "):
        yield from ((f"  {line}".rstrip(), PLAIN) for line in text.splitlines())
    else:
        yield from _wrap(text, indent=2)


def _wrap(text: str, *, indent: int = 0, hanging: int = 0, style: str = PLAIN) -> Iterator[Line]:
    first = " " * indent
    lines = textwrap.wrap(
        _plain(text),
        WIDTH,
        initial_indent=first,
        subsequent_indent=first + " " * hanging,
        break_on_hyphens=False,
        break_long_words=False,
    )
    yield from ((line, style) for line in lines)


def _plain(text: str) -> str:
    """Return a text without the marks of code."""
    return printable(re.sub(r"``([^`]*)``", r"\1", text))
