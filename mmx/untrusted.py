"""Untrusted files, read within bounds: size, nesting, aliases, kind of file, plain values.

A run directory, a cache entry or a config folder may come from anybody. Its files are read here,
or refused at once in one line: a pipe or a device does not block, a file of gigabytes is not
loaded, ten lines of YAML do not expand to billions of values, and parsed data is never deeper,
larger or of another type than the code that uses it can handle.

    read_text(path)          UTF-8
    read_json(path, dict)    the outermost value is a mapping
    read_yaml(path, list)    the outermost value is a list
    parse_json(text, dict, path)  one line of a JSONL file, or a header

All raise only :class:`~mmx.errors.UnreadableFileError`.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import yaml

from mmx.errors import UnreadableFileError

MAX_BYTES = 16 * 2**20
"""Bytes of a text or JSON file, unless the caller says otherwise."""
YAML_LIMIT = 2**20
"""Bytes of a YAML file, which is parsed twenty times more slowly than JSON."""
MAX_DEPTH = 64
"""Mappings and lists within each other."""
MAX_NODES = 100_000
"""Values of a YAML file, where an alias counts as many values as it expands to."""
INTEGER_BITS = 64
"""Larger integers fit neither a tensor nor a float."""
NUMBER_LENGTH = 256
"""Characters of an unquoted YAML number: a long one takes quadratic time to convert."""

_T = TypeVar("_T")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_NAMES: dict[type, str] = {
    dict: "a mapping",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "nothing",
    bytes: "binary data",
    set: "a set",
}


def unusable_path(path: str | Path) -> str | None:
    """Return why the system cannot handle a path, in words that follow it; None if it can.

    The path need not exist. A name of 5,000 letters, or one with a NUL, is no path at all: any
    system call with it raises.
    """
    try:
        os.lstat(Path(path).expanduser().absolute())
    except ValueError:
        return "is no path: it holds a NUL character"
    except RuntimeError:
        return "is no path: there is no user of that name"
    except OSError as error:
        return "is no path: it is too long" if error.errno == errno.ENAMETOOLONG else None
    return None


def read_bytes(path: Path, *, limit: int = MAX_BYTES, follow_links: bool = True) -> bytes:
    """Return the content of a regular file.

    Args:
        path: The file.
        limit: Bytes that it may have.
        follow_links: Whether the file itself may be a symbolic link.

    Raises:
        UnreadableFileError: It does not exist, is no regular file, is too large, or cannot be
            read.
    """
    with open_regular(path, follow_links=follow_links) as file:
        if os.fstat(file.fileno()).st_size > limit:
            raise _too_large(path, limit)
        try:
            content = file.read(limit + 1)  # the file may have grown since
        except OSError as error:
            raise UnreadableFileError(path, f"cannot be read: {error.strerror}") from error
    if len(content) > limit:
        raise _too_large(path, limit)
    return content


def open_regular(path: Path, *, follow_links: bool = True) -> BinaryIO:
    """Return a regular file, opened for reading, without waiting for a pipe or a device.

    Args:
        path: The file.
        follow_links: Whether the file itself may be a symbolic link.

    Raises:
        UnreadableFileError: It does not exist, is no regular file, or cannot be opened.
    """
    # Not every system has these flags. Without O_NONBLOCK, opening a pipe waits for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
    flags |= 0 if follow_links else getattr(os, "O_NOFOLLOW", 0)
    flags |= getattr(os, "O_BINARY", 0)
    try:
        status = path.stat() if follow_links else path.lstat()
        _refuse_special(path, status)  # before opening it: opening a device may have effects
        file = open(os.open(path, flags), "rb")  # noqa: PTH123, SIM115
    except FileNotFoundError as error:
        raise UnreadableFileError(path, "does not exist", missing=True) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = getattr(error, "strerror", None) or str(error)
        raise UnreadableFileError(path, f"cannot be read: {why}") from error
    try:
        _refuse_special(path, os.fstat(file.fileno()))  # it may have been replaced in between
    except BaseException:
        file.close()
        raise
    return file


def read_text(path: Path, *, limit: int = MAX_BYTES, follow_links: bool = True) -> str:
    """Return the text of a UTF-8 file; arguments and errors are those of :func:`read_bytes`."""
    content = read_bytes(path, limit=limit, follow_links=follow_links)
    try:
        return content.decode("utf-8-sig")  # drops a byte order mark
    except UnicodeDecodeError as error:
        reason = f"is not UTF-8: byte {error.start} is 0x{content[error.start]:02x}"
        raise UnreadableFileError(path, reason) from error


def read_json(
    path: Path,
    kind: type[_T],
    *,
    limit: int = MAX_BYTES,
    depth: int = MAX_DEPTH,
    follow_links: bool = True,
    names_of_files: bool = False,
) -> _T:
    """Return what a JSON file holds.

    Args:
        path: The file.
        kind: What the outermost value must be: dict, list, …; object for any.
        limit: Bytes that the file may have.
        depth: How deep mappings and lists may be nested.
        follow_links: Whether the file itself may be a symbolic link.
        names_of_files: Whether it may hold lone surrogates, which Python uses for the bytes of
            a file name that is not UTF-8.

    Raises:
        UnreadableFileError: It is not such a file.
    """
    text = read_text(path, limit=limit, follow_links=follow_links)
    return parse_json(text, kind, path, depth=depth, names_of_files=names_of_files)


def parse_json(
    text: str, kind: type[_T], path: Path, *, depth: int = MAX_DEPTH, names_of_files: bool = False
) -> _T:
    """Return what a JSON text holds; messages name ``path`` as its file."""
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise _too_deep(path, depth) from error
    except json.JSONDecodeError as error:
        reason = f"is not JSON (line {error.lineno}: {error.msg})"
        raise UnreadableFileError(path, reason) from error
    except ValueError as error:  # an integer of thousands of digits
        raise UnreadableFileError(path, f"is not JSON ({error})") from error
    return _plain(found, kind, path, depth, names_of_files=names_of_files)


def read_yaml(
    path: Path,
    kind: type[_T],
    *,
    limit: int = YAML_LIMIT,
    depth: int = MAX_DEPTH,
    nodes: int = MAX_NODES,
    follow_links: bool = True,
) -> _T:
    """Return what a YAML file holds: plain data, never an object.

    Args:
        path: The file.
        kind: What the outermost value must be: dict, list, …; object for any.
        limit: Bytes that the file may have.
        depth: How deep mappings and lists may be nested.
        nodes: Values that it may hold, where an alias counts as many as it expands to.
        follow_links: Whether the file itself may be a symbolic link.

    Raises:
        UnreadableFileError: It is not such a file.
    """
    text = read_text(path, limit=limit, follow_links=follow_links)
    return parse_yaml(text, kind, path, depth=depth, nodes=nodes)


def parse_yaml(
    text: str, kind: type[_T], path: Path, *, depth: int = MAX_DEPTH, nodes: int = MAX_NODES
) -> _T:
    """Return what a YAML text holds; messages name ``path`` as its file."""
    check_yaml(text, path, depth=depth, nodes=nodes)
    try:
        found = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise make_yaml_error(path, error) from error
    return _plain(found, kind, path, depth)


def check_yaml(text: str, path: Path, *, depth: int = MAX_DEPTH, nodes: int = MAX_NODES) -> None:
    """Refuse YAML that would become too deep or too large, before any object is made of it.

    Aliases make ten short lines expand to billions of values ("billion laughs"), so sizes are
    counted over the parser's events.

    Raises:
        UnreadableFileError: It is not YAML, or beyond the bounds; messages name ``path``.
    """
    sizes: dict[str, int] = {}  # anchor -> the number of values that its alias expands to
    opened: list[tuple[str | None, int]] = []  # anchor, and the number of values before it
    seen = 0
    for event in _events(text, path):
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            if anchor is not None:
                sizes[anchor] = seen - before
        elif isinstance(event, yaml.AliasEvent):
            seen += _size(event.anchor, sizes, [name for name, _ in opened], path)
        elif isinstance(event, yaml.NodeEvent):
            if isinstance(event, yaml.CollectionStartEvent):
                opened.append((event.anchor, seen))
            elif event.anchor is not None:
                sizes[event.anchor] = 1
            seen += 1
            _refuse_long_number(event, path)
        if len(opened) > depth:
            raise _too_deep(path, depth)
        if seen > nodes:
            reason = f"holds more than {nodes:,} values, each alias counted in full"
            raise UnreadableFileError(path, reason)


def _events(text: str, path: Path) -> Iterator[Any]:
    try:
        yield from yaml.parse(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise make_yaml_error(path, error) from error


def _size(anchor: str | None, sizes: dict[str, int], opened: list[str | None], path: Path) -> int:
    if anchor in opened:
        raise UnreadableFileError(path, f"holds a value that contains itself: *{anchor}")
    if anchor is None or anchor not in sizes:
        raise UnreadableFileError(path, f"is not YAML (*{anchor} stands for nothing)")
    return sizes[anchor]


def _refuse_long_number(event: Any, path: Path) -> None:
    """Refuse a long unquoted number; in YAML 1.1, 1:59:59:… is a number too, in base 60."""
    value = getattr(event, "value", "")
    if len(value) > NUMBER_LENGTH and not event.style and value[0] in "+-.0123456789":
        if set(value) - set("+-.:_0123456789abcdefxABCDEFX"):
            return  # text that begins with a digit
        raise UnreadableFileError(path, f"holds a number of {len(value):,} characters")


def _plain(
    found: Any, kind: type[_T], path: Path, depth: int, *, names_of_files: bool = False
) -> _T:
    """Return data after checking its outermost type, its depth, and that all of it is plain."""
    if not isinstance(found, kind):
        reason = f"holds {_name(found)}, where {_NAMES.get(kind, kind.__name__)} is expected"
        raise UnreadableFileError(path, reason)
    # A loop instead of recursion: the data may be nested deeper than Python's stack allows.
    waiting: list[tuple[Any, int]] = [(found, 0)]
    while waiting:
        value, level = waiting.pop()
        if isinstance(value, (dict, list)):
            if level >= depth:
                raise _too_deep(path, depth)
            inner = [*value, *value.values()] if isinstance(value, dict) else value
            waiting.extend((each, level + 1) for each in inner)
        elif isinstance(value, str):
            if "\0" in value or not (value.isascii() or names_of_files):
                _refuse_unwritable(value, path)
        elif isinstance(value, int):
            if value.bit_length() > INTEGER_BITS:
                raise UnreadableFileError(path, f"holds an integer of {value.bit_length()} bits")
        elif not (value is None or isinstance(value, float)):
            raise UnreadableFileError(path, f"holds {_name(value)}, which is not plain data")
    return found


def _refuse_unwritable(value: str, path: Path) -> None:
    """Refuse text that cannot be written to a file or terminal: a lone surrogate, or NUL."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        reason = f"holds half a character, U+{ord(value[error.start]):04X}"
        raise UnreadableFileError(path, reason) from error
    if "\0" in value:
        raise UnreadableFileError(path, "holds a NUL character")


def _refuse_special(path: Path, status: os.stat_result) -> None:
    """Refuse all but a regular file."""
    if stat.S_ISLNK(status.st_mode):
        raise UnreadableFileError(path, "is a symbolic link, where a file is expected")
    for is_kind, name in _KINDS:
        if is_kind(status.st_mode):
            raise UnreadableFileError(path, f"is {name}, where a file is expected")


def _name(value: Any) -> str:
    return _NAMES.get(type(value), f"a value of type {type(value).__name__}")


def _too_large(path: Path, limit: int) -> UnreadableFileError:
    return UnreadableFileError(path, f"has more than {limit:,} bytes")


def _too_deep(path: Path, depth: int) -> UnreadableFileError:
    return UnreadableFileError(path, f"nests mappings and lists more than {depth} deep")


def make_yaml_error(path: Path, error: Exception) -> UnreadableFileError:
    """Return the error of a file that is not YAML, with the line at which it is not."""
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}: " if mark is not None else ""
    what = getattr(error, "problem", None) or str(error).partition("\n")[0]
    return UnreadableFileError(path, f"is not YAML ({where}{what})")
