"""The controls of a run, and whether they are possible for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from mmx.config.build import Builder
from mmx.config.nodes import ConfigNode
from mmx.controls import CONTROLS
from mmx.encoders import Encoder
from mmx.errors import DataError, Problem, closest
from mmx.experiment.fitting import Built, find_misfits
from mmx.experiment.publishing import class_and_options
from mmx.experiment.settings import Settings
from mmx.quoting import format_value, type_override
from mmx.stage_id import Role
from mmx.variants import variant

NONE = "none"
IMAGE = "image"
"""The modality that is compared with texts."""


def read_control_names(control: Any) -> tuple[str, ...]:
    """Return the controls that the key ``control`` names, each once."""
    names = [control] if isinstance(control, str) else [str(name) for name in control]
    return tuple(name for name in dict.fromkeys(names) if name != NONE)


def format_controls(names: tuple[str, ...]) -> str | list[str]:
    """Return controls in canonical form: a text for one or none, a list for several."""
    return list(names) if len(names) > 1 else names[0] if names else NONE


def choose_controls(
    builder: Builder,
    config: ConfigNode,
    built: Built,
    dropped: dict[str, str],
    *,
    source_weights: bool,
) -> ConfigNode:
    """Return the config with the controls that the run trains, and collect their problems.

    Args:
        builder: Collects problems.
        config: Its ``control`` is replaced.
        built: The experiment so far.
        dropped: Receives a control that is not needed, with the reason.
        source_weights: Whether a source is trained before the target.
    """
    if built.settings is None:
        return config
    names = read_control_names(built.settings.control)
    problems = list(_refuse_unknown(names, built.settings.control))
    if not problems:
        problems = list(_refuse_impossible(names, built, source_weights=source_weights))
        names = _drop_itself(names, built, dropped)
    builder.problems.extend(problems)
    kept = _drop_unread(names, built.settings, config, dropped)
    return {**kept, "control": format_controls(names)}


def _drop_itself(names: tuple[str, ...], built: Built, dropped: dict[str, str]) -> tuple[str, ...]:
    """Return the controls less those without a source, where the run itself has none."""
    if built.transfer is None or not built.transfer.is_scratch:
        return names
    others = tuple(name for name in names if not CONTROLS[name].without_source)
    if others != names:
        why = "the run itself is from scratch: there is nothing to compare it with"
        dropped["control"] = why
    return others


def _drop_unread(
    names: tuple[str, ...], settings: Settings, config: ConfigNode, dropped: dict[str, str]
) -> ConfigNode:
    """Return the config less the options of controls that none of these controls reads."""
    read = {key for name in names if name in CONTROLS for key in CONTROLS[name].options}
    unread = {key for control in CONTROLS.values() for key in control.options} - read
    for key in sorted(unread & config.keys()):
        if getattr(settings, key) != getattr(Settings, key):
            dropped[key] = "no control of this run reads it"
    return {key: value for key, value in config.items() if key not in unread}


def _refuse_unknown(names: tuple[str, ...], given: Any) -> Iterator[Problem]:
    for name in names:
        if name not in CONTROLS:
            near = closest(name, [*CONTROLS, NONE])
            without = tuple(each for each in names if each in CONTROLS) or read_control_names(
                Settings.control
            )
            fixed = tuple(near if each == name else each for each in names) if near else without
            yield Problem(
                f"control={format_value(given)}",
                f"there is no control {name}",
                accepted=", ".join([*CONTROLS, NONE]) + ", or a list of them",
                closest=near,
                type_this=f"control={format_value(format_controls(read_control_names(fixed)))}",
            )


def _refuse_impossible(
    names: tuple[str, ...], built: Built, *, source_weights: bool
) -> Iterator[Problem]:
    """Yield why controls are not possible for this experiment."""
    given = f"control={format_value(format_controls(names))}"

    def without(name: str) -> str:
        others = tuple(each for each in names if each != name)
        return f"control={format_value(format_controls(others))}"

    label_free = Role.TARGET in built.roles and built.roles[Role.TARGET].objective.label_free
    for name in names:
        control = CONTROLS[name]
        if control.needs_source_weights and not source_weights:
            reason, other = _explain_missing_weights(built)
            yield Problem(given, f"{name} {reason}", type_this=f"{without(name)}   (or {other})")
        if control.needs_labels and label_free:
            reason = "answers with labels, and the objective reads none"
            yield Problem(given, f"{name} {reason}", type_this=without(name))
        if control.needs_text_tower:
            for problem in islice(_check_text_tower(name, built), 1):
                yield Problem(
                    problem.given or given,
                    problem.reason,
                    type_this=problem.type_this or without(name),
                )
        if control.needs_single_modalities:
            # The first problem is enough: other modalities fail for the same reason.
            for modality, problem in islice(_check_alone(built), 1):
                reason = f"trains {modality} alone, and {problem.given}: {problem.reason}"
                yield Problem(given, f"{name} {reason}", type_this=without(name))


def _check_text_tower(name: str, built: Built) -> Iterator[Problem]:
    """Yield why no published pair can answer from the names of the target's classes.

    Where it is the control itself that does not fit, a problem has no key.
    """
    target, make = built.tasks[Role.TARGET], built.encoders.get(IMAGE)
    if target is None or built.settings is None:
        return  # said where they were to be built
    has = f"target={target.name} has"
    if target.kind != "classes":
        yield Problem("", f"{name} answers with one class, and {has} a target of {target.kind}")
    own = sorted(built.modalities.get(Role.TARGET, {}))
    if IMAGE not in own:
        yield Problem("", f"{name} compares images with texts, and {has} {', '.join(own)} alone")
    for text in built.settings.templates:
        if "{}" not in text:
            yield Problem(
                f"templates=[{text}]",
                "has no {}, where the name of the class is to stand",
                type_this=type_override("templates", list(Settings.templates)),
            )
    if make is not None and IMAGE in own:
        yield from _check_pair(name, make)


def _check_pair(name: str, make: Callable[..., Encoder]) -> Iterator[Problem]:
    kind, options = class_and_options(make)
    try:
        tower, weights = kind.text_tower(**options), kind.find_published(**options)
    except (DataError, OSError, ValueError):
        return  # said where the encoder is made
    if tower is None or weights is None:
        what = f"{name} compares images with texts, and encoder/{IMAGE}={variant(kind)}"
        yield Problem("", f"{what} has no text tower")
    elif missing := weights.missing_files():
        yield Problem(
            f"encoder.{IMAGE}: {weights.name}",
            f"{name} reads its weights, and there is no {missing[0]}",
            type_this=weights.absent,
        )


def _explain_missing_weights(built: Built) -> tuple[str, str]:
    """Return why no source is trained before the target, and what to type for one."""
    source, transfer = built.tasks[Role.SOURCE], built.transfer
    reads = "reads the weights of a source trained before, and"
    if transfer is None or (source is None and not built.has_source):
        return f"{reads} there is no source", "source=<task>"
    return f"{reads} transfer={variant(type(transfer))} trains none", "transfer=parameter"


def _check_alone(built: Built) -> Iterator[tuple[str, Problem]]:
    """Yield what does not fit a modality of the target alone, but fits all of them together."""
    whole = set(find_misfits(built))
    target = built.modalities.get(Role.TARGET, {})
    for name in sorted(target) if len(target) > 1 else ():
        alone = replace(
            built,
            published=None,
            tasks={Role.SOURCE: None, Role.TARGET: built.tasks[Role.TARGET]},
            modalities={Role.TARGET: {name: target[name]}},
            transfer=None,
            regularizer=None,
        )
        for problem in find_misfits(alone):
            if problem not in whole:
                yield name, problem
