"""The reference pages of the documentation: every group, option and key, from the code itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from mmx.config.default_source import NO_SOURCE, OWN_DATA
from mmx.config.locate import ALIASES, find_default_option, find_options
from mmx.reference.docstrings import split_paragraphs
from mmx.reference.entries import Key, Option, list_group
from mmx.reference.topics import Catalog
from mmx.stage_id import Role

FOLDER = "reference/options"
_CODE = re.compile(r"(``[^`]*``|`[^`]*`)")
_SPECIAL = re.compile(r"([\\*_<>\[\]|])")


def write_pages() -> dict[str, str]:
    """Return the path of each page, below the folder of the documentation, to its Markdown.

    A key's heading has the key as its anchor: ``transfer/parameter.md#transfer.wise_ft``.
    """
    reference = Catalog()
    pages = {f"{FOLDER}/keys.md": _write_root(reference)}
    for group in reference.groups:
        pages[f"{FOLDER}/{group}/index.md"] = _write_group(group)
        for name in list_own_options(group):
            option = reference.describe(group, name)
            pages[f"{FOLDER}/{group}/{name}.md"] = _join(_write_option(option))
    return {f"{FOLDER}/index.md": _write_index(reference), **pages}


def list_own_options(group: str) -> list[str]:
    """Return the options that have their page under a group.

    A task has one page, under ``target``, and so has an objective, under ``objective``.
    """
    if group == Role.SOURCE:
        return [name for name in find_options(group) if name not in find_options(Role.TARGET)]
    if group == "source_objective":
        return [name for name in find_options(group) if name not in find_options("objective")]
    return list(find_options(group))


def _write_index(reference: Catalog) -> str:
    lines = [
        "# Every option and key",
        "",
        "These pages are made from the code that reads a config; `mmx help` says the same at the "
        "prompt.",
        "",
        "- [Keys of a run and of the trainer](keys.md)",
        *(f"- [`{group}=`]({group}/index.md)" for group in reference.groups),
    ]
    return _join(lines)


def _write_root(reference: Catalog) -> str:
    lines = ["# Keys of a run and of the trainer", ""]
    for key in reference.root.values():
        lines += [*_write_key(key, with_short=True)]
    return _join(lines)


def _write_group(group: str) -> str:
    """Return the page of a group: its options, each with a link to its page."""
    default, own = find_default_option(group), list_own_options(group)
    lines = [f"# {group}=", ""]
    if default is not None:
        other = f", and `{NO_SOURCE}` where {OWN_DATA}" if group == Role.SOURCE else ""
        lines += [f"The default is `{group}={default}`{other}.", ""]
    if group in ALIASES and len(own) < len(find_options(group)):
        other = Role.TARGET.value if group == Role.SOURCE else ALIASES[group]
        lines += [f"It also takes [the options of `{other}=`](../{other}/index.md).", ""]
    lines += ["| option | what it is |", "|---|---|"]
    heads = list_group(group)
    lines += [f"| [`{name}`]({name}.md) | {_escape(heads[name])} |" for name in own]
    return _join(lines)


def _write_option(option: Option) -> Iterator[str]:
    yield f"# {option.typed}"
    yield ""
    yield _sentence(option.headline)
    yield ""
    for part in split_paragraphs(f"{option.docs.summary}\n\n{option.docs.body}"):
        yield part if part.startswith(" ") else _escape(part)
        yield ""
    if option.notes:
        yield from ("```text", option.notes, "```", "")
    for key in option.keys:
        yield from _write_key(key)


def _write_key(key: Key, *, with_short: bool = False) -> Iterator[str]:
    """Yield a heading that can be linked to, and what the key takes and means."""
    yield f"## `{key.path}` {{ #{key.path} }}"
    yield ""
    default = "It has to be typed." if key.default is None else f"Default: `{key.default}`."
    yield f"Takes {_escape(key.accepts)}. {default}"
    yield ""
    if with_short and key.short != key.text:
        yield _sentence(key.short)
        yield ""
    yield _escape(key.text)
    yield ""
    yield from (f"- `{name}`: {_escape(text)}" for name, text in key.choices.items())
    if key.choices:
        yield ""


def _sentence(text: str) -> str:
    """Return a comment of a config file as a sentence."""
    shown = _escape(text)
    return shown if shown.endswith((".", "?", "!")) else f"{shown}."


def _escape(text: str) -> str:
    """Return plain text as Markdown: code in single backticks, and no sign of it elsewhere."""
    parts = _CODE.split(text)
    return "".join(
        f"`{part.strip('`')}`" if part.startswith("`") else _SPECIAL.sub(r"\\\1", part)
        for part in parts
    )


def _join(lines: Iterator[str] | list[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"


def list_navigation(pages: Mapping[str, str]) -> list[object]:
    """Return the pages as MkDocs lists them: the index, the keys, a section for each group."""
    found: list[object] = [f"{FOLDER}/index.md", {"Keys": f"{FOLDER}/keys.md"}]
    groups = [path for path in pages if path.endswith("/index.md") and path.count("/") > 2]
    for index in groups:
        folder = index.removesuffix("index.md")
        group = folder.removeprefix(f"{FOLDER}/").strip("/")
        own = [path for path in pages if path.startswith(folder) and path != index]
        below = [{path.removeprefix(folder).removesuffix(".md"): path} for path in own]
        found.append({f"{group}=": [index, *below]})
    return found
