"""What is wrong with a command that a page shows, found without running it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from docs_pages import ROOT

from mmx.config.chosen import find_chosen_names
from mmx.config.composed import Composed
from mmx.errors import MmxError
from mmx.experiment import assemble
from mmx.verbs import find_verbs
from mmx.verbs.line_jobs import build_line
from mmx.verbs.train_expand import expand
from mmx.verbs.train_line import CommandLine, parse_line

TAKES_OVERRIDES = ("train", "data", "rank", "search", "doctor", "matrix")
"""Verbs that take what ``mmx train`` takes."""
OWN_KEYS = {"search": ("trials", "sampler", "pruner")}
RANGE = re.compile(r"[\w.]+=(log\(.*\)|[\d.e-]+\.\.[\d.e-]+)")
"""A setting that a search draws."""
WEIGHTS = re.compile(r"encoder\.\w+\.(model|weights)=")
"""Weights that a reader has and a test has not: how they are built is not checked."""


def find_problems(words: Sequence[str], *, builds: bool = False) -> list[str]:
    """Return what is wrong with the words of a command.

    Args:
        words: As the shell would pass them.
        builds: Whether the parts that ``mmx train`` would run are built too, which takes longer.
    """
    program, *rest = words
    while re.fullmatch(r"\w+=.*", program):  # a variable before the command
        program, *rest = rest
    if program == "torchrun" and "mmx" in rest:
        program, *rest = rest[rest.index("mmx") :]
    if program == "mmx":
        return list(_check_mmx(rest, builds))
    if program == "pip":
        return list(_check_pip(rest))
    if program == "python" and rest and rest[0].startswith("scripts/"):
        return [] if (ROOT / rest[0]).is_file() else [f"no file {rest[0]}"]
    if program.startswith("scripts/"):
        return [] if (ROOT / program).is_file() else [f"no file {program}"]
    return [f"{program} cannot be checked: run it, or say <!-- not run: why -->"]


def _check_pip(words: Sequence[str]) -> Iterator[str]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = set(re.findall(r"^([\w-]+) = \[", text.partition("optional-dependencies]")[2], re.M))
    for word in words[1:]:
        found = re.fullmatch(r"(?:mmx|\.)(?:\[([\w,-]+)\])?|-e", word)
        if not found:
            yield f"pip installs {word}, which is not mmx"
        elif unknown := set((found[1] or "").split(",")) - extras - {""}:
            yield f"no extra {unknown}"


def _check_mmx(words: Sequence[str], builds: bool) -> Iterator[str]:
    if not words or words[0] in ("--help", "--version"):
        return
    name, *rest = words
    verbs = find_verbs()
    if name not in verbs:
        yield f"no verb {name}"
        return
    yield from _check_flags(verbs[name].module, rest)
    yield from _check_first_word(verbs[name].completes.get("words"), rest)
    typed = [word for word in rest if re.match(r"[+~]?[\w/.]+=", word)]
    if name in TAKES_OVERRIDES and typed:
        yield from _check_overrides(name, rest, builds)


def _check_first_word(accepted: Sequence[str] | None, rest: Sequence[str]) -> Iterator[str]:
    if accepted and rest and rest[0] not in accepted:
        yield f"no {rest[0]} among {accepted}"


def _check_flags(module: str, words: Sequence[str]) -> Iterator[str]:
    """Yield the flags that the verb's own files do not name."""
    stem = module.rpartition(".")[2]
    files = [*(ROOT / "mmx/verbs").glob(f"{stem}*.py"), ROOT / "mmx/verbs/arguments.py"]
    files.append(ROOT / "mmx/verbs/train_line.py")
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    for word in words:
        flag = word.partition("=")[0]
        if flag.startswith("-") and not re.search(rf"[\s\"'\[]{flag}\b", text):
            yield f"no flag {flag}"


def _check_overrides(verb: str, words: Sequence[str], builds: bool) -> Iterator[str]:
    own = OWN_KEYS.get(verb, ())
    kept = [w for w in words if not RANGE.fullmatch(w) and w.partition("=")[0] not in own]
    try:
        line = parse_line([*_drop_flags(kept)], "train")
        line = expand(line) if verb == "train" else line
        if verb != "train":
            line.multirun = True
    except MmxError as error:
        yield str(error)
        return
    known = verb == "train" and not any(WEIGHTS.match(word) for word in kept)
    yield from _compose(line, builds=builds and known and not line.multirun)


def _drop_flags(words: Sequence[str]) -> Iterator[str]:
    """Yield what ``mmx train`` reads too: settings, and where configs and classes are."""
    rest = iter(words)
    for word in rest:
        if word in ("--config-dir", "--allow"):
            yield from (word, next(rest))
        elif word == "-m" or ("=" in word and not word.startswith("-")):
            yield word


def _compose(line: CommandLine, *, builds: bool) -> Iterator[str]:
    def build(composed: Composed) -> object:
        names = find_chosen_names(composed, line.config_dirs)
        return assemble(composed.config, line.allow, names) if builds else None

    try:
        jobs, problems = build_line(line, build)
    except MmxError as error:
        yield str(error)
        return
    found = [*problems, *(each for job in jobs for each in (*job.typed, *job.parts))]
    yield from dict.fromkeys(str(problem) for problem in found)
