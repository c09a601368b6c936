"""Opening a run with the keys that its opener decides, the device and the threads."""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmx.config import compose
from mmx.config.nodes import ConfigNode
from mmx.config.sweep_values import refuse_sweep
from mmx.errors import ConfigError, Problem, UsageError
from mmx.experiment import Experiment
from mmx.experiment.opener import apply_opener, is_openers_key, warn_of_threads
from mmx.runs.directory import RunDirectory
from mmx.terminal import Console
from mmx.training.precision import DTYPES, Precision, bf16_is_fast, choose_device
from mmx.verbs.run_packages import list_other_versions, require_packages

NOTHING_IS_MADE = ("output_dir", "cache", "cache_gb", "tracker", "callbacks")
"""Keys that eval and predict do not read, since they fill no cache and make no run."""
HOW_WRITTEN = ("target.csv.encoding", "target.csv.delimiter", "target.csv.quoting")
"""Keys that say how another table is written, which eval and predict read with that table."""
EXAMPLES = ("data_dir", "target.path", "target.root", "source.path", "source.root", "device")

SLIP = 0.85
"""Similarity, from 0 to 1, from which a key counts as a typing error of another."""


def read_key(word: str) -> str:
    """Return the key of an override."""
    return word.partition("=")[0].lstrip("+~")


def read_typed(
    words: Sequence[str],
    verb: str,
    run: Path,
    unread: Collection[str] = (),
    more: Collection[str] = (),
) -> ConfigNode:
    """Return the opener's settings among the words of a command line.

    Args:
        words: Such as ``data_dir=/data``.
        verb: The verb of the command line.
        run: The run directory, for advice.
        unread: The opener's keys that this verb does not read.
        more: Keys that this verb reads besides the opener's.

    Raises:
        UsageError: A word is no setting that the opener of a run may change.
        ConfigError: A word cannot be read.
    """
    for word in words:
        key = read_key(word)
        if "=" not in word:
            raise UsageError(f"unrecognized arguments: {word}", tip=f"mmx {verb} --help")
        if not (is_openers_key(key) or key in more) or key.partition(".")[0] in unread:
            raise _refuse_key(word, key, verb, run, unread)
    if not words:
        return {}
    with compose.composer():
        parsed = compose.parse(words)
        if problems := refuse_sweep(parsed, words):
            raise ConfigError(problems)
        values = {each.key_or_group: each.value() for each in parsed}
    data_dir = str(values.get("data_dir") or compose.find_data_directory())
    return {key: _fill_in(key, value, data_dir) for key, value in values.items()}


def _refuse_key(word: str, key: str, verb: str, run: Path, unread: Collection[str]) -> UsageError:
    """Return the error of a word that is not read, with what to type instead."""
    path = shlex.quote(str(run))
    if key.partition(".")[0] in unread:
        reason, tip = f"mmx {verb} makes no run and fills no cache", f"mmx {verb} {path}"
    else:
        reason = f"mmx {verb} changes where a run's data is and what it is computed on, not the run"
        near = difflib.get_close_matches(key, EXAMPLES, n=1, cutoff=SLIP)
        meant = shlex.quote(f"{near[0]}={word.partition('=')[2]}") if near else ""
        tip = f"mmx {verb} {path} {meant}" if near else ""
        tip = tip or f"mmx reproduce {path} {shlex.quote(word)}"
    return UsageError(f"{word}: {reason}", tip=tip)


def _fill_in(key: str, value: Any, data_dir: str) -> Any:
    """Return a value with ``${data_dir}`` filled in.

    Raises:
        ConfigError: It has another interpolation.
    """
    if isinstance(value, str) and key != "data_dir":
        value = value.replace("${data_dir}", data_dir)
    if isinstance(value, str) and "${" in value:
        reason = "an interpolation is not read here"
        raise ConfigError([Problem(f"{key}={value}", reason, type_this=f"{key}=<the value>")])
    return value


def open_config(
    directory: RunDirectory | None,
    config: ConfigNode,
    typed: Mapping[str, Any],
    *,
    device: str | None = None,
    goes_on: bool = False,
) -> ConfigNode:
    """Return a run's config with the opener's keys, and print notes on what may change its numbers.

    Sets the number of CPU threads to the run's, if this machine has as many cores.

    Args:
        directory: The run; None for a config alone.
        config: Its config.
        typed: The settings that :func:`read_typed` returned.
        device: The value of ``--device``.
        goes_on: Whether the run itself goes on, with its tracker and callbacks.

    Raises:
        UsageError: A device was typed that this machine does not have.
        ConfigError: A key was typed that the run does not have, or a package is not installed whose
            parts it is made of.
    """
    if directory is not None:
        require_packages(directory, config)
    if device is not None:
        typed = {**typed, "device": device}
    opened, notes = apply_opener(config, typed, compose.find_data_directory(), goes_on=goes_on)
    if note := _take_device(opened, "device" in typed):
        notes.append(note)
    if directory is not None:
        notes += list_other_versions(directory)
    if directory is not None and "trainer.threads" not in typed:
        notes += [note for note in keep_threads(directory, opened) if note not in notes]
    console = Console(stderr=True)
    for note in notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    return opened


def _take_device(opened: ConfigNode, typed: bool) -> str | None:
    """Set the device to one of this machine: a run's may be replaced, a typed one must exist."""
    name = opened.get("device", "auto")
    if name not in ("cpu", "cuda"):
        return None  # auto, or invalid, which is reported with the rest of the config
    try:
        choose_device(name)
    except ConfigError as error:
        if typed:
            reason = error.problems[0].reason
            raise UsageError(f"device={name}: {reason}", tip="device=cpu") from error
        opened["device"] = "auto"
        return f"the run was computed with device={name}, which is not here: numbers may differ"
    return None


def choose_precision(directory: RunDirectory, experiment: Experiment) -> Precision:
    """Return what a run's model computes in: what its config says, or what the run computed in.

    ``precision=auto`` is another format on another machine, and the run's numbers are of its own.
    Prints a note where this device would be slow at it.

    Args:
        directory: The finished run.
        experiment: As it was opened here.
    """
    stated, device = experiment.settings.precision, choose_device(experiment.settings.device)
    if stated != "auto":
        return Precision.choose(stated, device)
    own, here = directory.read_summary().precision, Precision.choose(stated, device)
    if own == "fp32" or (own == "bf16" and bf16_is_fast(device)):
        return Precision(own, device)
    if own in DTYPES:
        Console(stderr=True).print(
            f"note: the run was computed in {own}, at which this device is slow: it computes in "
            f"{here.name} here, and numbers may differ",
            highlight=False,
            soft_wrap=True,
        )
    return here


def keep_threads(directory: RunDirectory, opened: ConfigNode) -> list[str]:
    """Compute with as many CPU threads as the run did: sums depend on how they are split.

    A run records the threads of each process. Where it starts again with as many, the config gets
    the number, since the number of this process would be divided among them.

    Returns a note where this machine has fewer cores; the number then stays as it is.

    Args:
        directory: The run.
        opened: Its config with the opener's keys, to which ``trainer.threads`` is added.
    """
    import torch

    threads = directory.manifest().machine.threads
    cores = os.cpu_count() or 1
    if threads is None:
        return []
    if threads > cores:
        return [warn_of_threads(threads, cores)]
    torch.set_num_threads(threads)
    trainer, size = opened.get("trainer"), opened.get("processes", 1)
    if size != 1 and size == directory.config().get("processes") and isinstance(trainer, dict):
        trainer["threads"] = threads
    return []
