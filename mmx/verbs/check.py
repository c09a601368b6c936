"""``mmx check MODULE:CLASS``: whether a class of one's own keeps the contract of its kind.

    mmx check my_pkg.fuse:MyFusion
    mmx check my_pkg.fuse:MyFusion width=32 dropout=0.1
    mmx check my_pkg.tasks:Shoes --config my_configs/task/shoes.yaml

A calibration, encoder, fusion, mapping, metric, missing, objective, regularizer, head, task or
tracker is made from its options and tried on a few made-up rows (a task on its own data, a tracker
on a made-up run): gradients, dtype, width, rows that must not be mixed, absent rows that must not
be read, order, randomness, state, options.
One line a check; exit code 1 where a promise is broken.

The class is executed: naming it here is the permission. What its options name besides needs
``--allow PKG``. Options are KEY=VALUE, as after ``fusion.`` on the line of ``mmx train``, or a
YAML file of them.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mmx.config import signature
from mmx.config.allowed import allow
from mmx.config.build import BUILTIN_PACKAGES, TARGET, Builder
from mmx.config.compose import composer, find_data_directory, parse
from mmx.config.nodes import ConfigNode
from mmx.contract import Part, PartKind, Result, check_part, kind_of
from mmx.contract.findings import count_results, format_result, marks_for, to_data
from mmx.errors import ConfigError, Problem, UsageError
from mmx.printable import one_line
from mmx.quoting import format_value
from mmx.untrusted import read_yaml
from mmx.verbs.arguments import Parser, list_allowed_packages
from mmx.verbs.check_class import NamedClass, find_named, read_name

SUMMARY = "hold a class of your own against the contract of its kind"
PLACE = 110

SURROUNDINGS = {"seed": 0, "download": False}
"""Root keys, other than ``data_dir``, that a file of options may refer to, and their values."""


def main(arguments: Sequence[str]) -> int:
    """Check a class, and return 1 where it breaks a promise."""
    given = _parser().parse_args(arguments)
    named = read_name(given.target)
    packages = list_allowed_packages([named.package, *given.allow])
    allow(packages)
    kind, found = find_named(named, (*BUILTIN_PACKAGES, *packages))
    options = _read_options([*given.options, *given.config], named)
    part = Part(found, _build_options(kind, found, options, packages), refuse)
    results: list[Result] = []
    marks = marks_for(sys.stdout.encoding)
    if not given.json:
        shown = ", ".join(f"{name}={format_value(value)}" for name, value in options.items())
        title = f"{found.__module__}:{found.__qualname__}, {_add_article(kind.name)}"
        print(one_line(title + (f" with {shown}" if shown else "")))
    for result in _check_quietly(part):
        results.append(result)
        if not given.json:
            print(one_line(format_result(result, marks)), flush=True)
            if given.debug and result.trace:
                print(result.trace, file=sys.stderr)
    if given.json:
        print(json.dumps(to_data(part, kind.name, results), ensure_ascii=False, indent=2))
    else:
        print(count_results(results))
    return 1 if any(result.state == "failed" for result in results) else 0


def _parser() -> Parser:
    parser = Parser("check", description=__doc__).with_allow()
    parser.add_argument("target", metavar="MODULE:CLASS", help="a class; MODULE.CLASS does too")
    parser.add_argument("options", nargs="*", metavar="KEY=VALUE", help="options of the class")
    parser.add_argument(
        "--config",
        nargs="+",
        default=[],
        metavar="FILE",
        help="a YAML file of options; later ones, and KEY=VALUE, win",
    )
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")
    return parser


def _add_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _check_quietly(part: Part) -> Iterator[Result]:
    """Yield results; send what the class prints to stderr, so that stdout holds only results."""
    results = check_part(part)
    while True:
        with contextlib.redirect_stdout(sys.stderr):
            result = next(results, None)
        if result is None:
            return
        yield result


def _read_options(given: Sequence[str], named: NamedClass) -> ConfigNode:
    """Return the options of files and of the command line; the command line wins."""
    files = [text for text in given if "=" not in text]
    options: ConfigNode = {}
    for path in files:
        node = read_yaml(Path(path), dict)
        target = node.pop(TARGET, named.dotted_name)
        if target != named.dotted_name:
            raise UsageError(
                f"{path} is of {target}, not of {named.dotted_name}",
                tip=f"mmx check {target} --config {path}",
            )
        options.update(_resolve(node, path))
    with composer():
        overrides = parse([text for text in given if text not in files])
    for override in overrides:
        if override.is_sweep_override():
            raise UsageError(
                f"{override.input_line} gives several values: one is checked at a time"
            )
        value = _resolve(override.value(), str(override.input_line))
        _set(options, override.key_or_group.split("."), value)
    return options


def _set(options: ConfigNode, path: list[str], value: Any) -> None:
    for name in path[:-1]:
        inner = options.setdefault(name, {})
        options = inner if isinstance(inner, dict) else {}
    options[path[-1]] = value


def _resolve(value: Any, path: str) -> Any:
    """Return a file's values with references to the seed and the data folder resolved."""
    if isinstance(value, dict):
        return {key: _resolve(item, path) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolve(item, path) for item in value]
    if not isinstance(value, str):
        return value
    known = {**SURROUNDINGS, "data_dir": str(find_data_directory())}
    for name in re.findall(r"\$\{(.*?)\}", value):
        if name not in known:
            raise UsageError(
                f"{path} refers to ${{{name}}}, which only a whole config has",
                tip="give it as KEY=VALUE",
            )
        if value == f"${{{name}}}":
            return known[name]
        value = value.replace(f"${{{name}}}", str(known[name]))
    return value


def _build_options(
    kind: PartKind, found: type, options: ConfigNode, packages: Sequence[str]
) -> ConfigNode:
    """Return the options, converted and with their nested objects built.

    Raises:
        ConfigError: A config could not set them.
    """
    builder = Builder(packages)
    node = {TARGET: f"{found.__module__}.{found.__name__}", **options}
    made: partial[Any] | None = builder.bind(node, kind.base, "", kind.supplied)
    if builder.problems:
        raise ConfigError(_drop_leading_dot(problem) for problem in builder.problems)
    return {} if made is None else dict(made.keywords)


def _drop_leading_dot(problem: Problem) -> Problem:
    """Return a problem without the leading dot of its key: the class has no path here."""
    return Problem(
        problem.given.lstrip("."),
        problem.reason,
        problem.accepted,
        problem.closest,
        problem.type_this,
    )


def refuse(part: type, options: Mapping[str, Any]) -> list[str]:
    """Return why a config may not set these options of a class; missing ones are no problem."""
    kind = kind_of(part)
    supplied = () if kind is None else kind.supplied
    problems = signature.check_values(part, dict(options), "", supplied)[1]
    return [f"{each.given}: {each.reason}" for each in problems if "=" in each.given]
