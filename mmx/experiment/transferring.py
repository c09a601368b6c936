"""Checks that a transfer fits together: source, mode, modalities, regulariser, sharing."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import cast

from mmx.config.signature import list_options
from mmx.encoders import Encoder
from mmx.errors import DataError, Problem, closest
from mmx.experiment.fitting import Built
from mmx.experiment.inputs import list_modalities
from mmx.experiment.meta_encoders import make_meta_encoder
from mmx.quoting import format_value
from mmx.stage_id import Role
from mmx.tasks import Task
from mmx.transfer import Transfer
from mmx.transfer.cross_modal import find_unlike_encoders
from mmx.transfer.regularizers import Regularizer
from mmx.variants import variant

ALIKE = {
    # First what is advised for two modalities: a network that both are usual with.
    "lstm": {"audio": "logmel_lstm", "text": "lstm"},
    "small_cnn": {"image": "small_cnn", "audio": "spectrogram_cnn", "text": "grid_cnn"},
    "resnet18": {"image": "resnet18", "audio": "spectrogram_resnet18"},
}
"""Architecture to mmx's encoders of it, as one types them: modality to option."""


def find_transfer_misfits(built: Built) -> Iterator[Problem]:
    """Yield the problems of a transfer whose parts do not fit together."""
    yield from _check_regularizer(built)
    yield from _check_published(built)
    source, target = built.tasks[Role.SOURCE], built.tasks[Role.TARGET]
    if source is not None and target is not None and built.transfer is not None:
        own, others = built.modalities[Role.SOURCE], built.modalities[Role.TARGET]
        if built.transfer.needs == "rows":
            yield from _check_joint(built, built.transfer, source, target)
            return
        problems = list(_check_modality_map(built.transfer, source, target, set(own), set(others)))
        problems = problems or list(
            _check_shared_modality(built, built.transfer, source, target, set(own), set(others))
        )
        mapped = {} if problems else built.transfer.modality_map
        yield from problems
        theirs = {
            old: names
            for old in mapped.values()
            if (names := _list_tensors(built, Role.SOURCE, old))
        }
        ours = {new: names for new in mapped if (names := _list_tensors(built, Role.TARGET, new))}
        yield from find_unlike_encoders(theirs, ours, mapped)


def _check_joint(built: Built, transfer: Transfer, source: Task, target: Task) -> Iterator[Problem]:
    """Check that tasks can train jointly: they share weights, and their losses can be weighed."""
    own, others = sorted(built.modalities[Role.SOURCE]), sorted(built.modalities[Role.TARGET])
    sharing = built.parts.sharing
    one_trunk = sharing is not None and sharing.modalities
    if own and others and not set(own) & set(others) and not one_trunk:
        yield Problem(
            f"source={source.name} target={target.name}",
            f"no modality is in both, so they share nothing: the source has {', '.join(own)}, "
            f"the target {', '.join(others)}",
            type_this="sharing=trunk   (one for all modalities; or source=none)",
        )
    signed = [role for role, each in built.roles.items() if each.objective.may_be_negative]
    if signed and not transfer.takes_negative:
        yield Problem(
            f"transfer.weighting={transfer.weighting}",
            "weighs losses that are never negative, and that of the "
            f"{' and the '.join(signed)} may be",
            type_this="transfer.weighting=fixed",
        )


def _check_regularizer(built: Built) -> Iterator[Problem]:
    """Check that a regulariser has something to act on in this mode and for these targets."""
    regularizer, transfer = built.regularizer, built.transfer
    if regularizer is None or transfer is None or not built.has_source:
        return
    yield from _check_mode(regularizer, transfer) or _check_classes(built, regularizer)
    yield from _check_surroundings(built, regularizer)


def _check_published(built: Built) -> Iterator[Problem]:
    """Check that published weights have what transfer and regulariser ask of a source.

    They are tensors of encoders: nobody has their training rows, and what stood behind the
    encoders has been left out.
    """
    transfer, regularizer = built.transfer, built.regularizer
    if built.published is None or transfer is None:
        return
    mode, tip = variant(type(transfer)), "transfer=parameter"
    if transfer.needs == "rows":
        reason = "trains on the source's rows, and published weights come without any"
        yield Problem(f"transfer={mode}", reason, type_this=f"{tip}   (or source=<task>)")
    if transfer.needs == "architecture":
        reason = "takes the source's architecture, and that of published weights is the encoder's"
        yield Problem(f"transfer={mode}", reason, type_this=f"{tip}   (or source=<task>)")
    if regularizer is None:
        return
    given, others = f"regularizer={variant(type(regularizer))}", "l2_sp"
    if regularizer.reads_source_outputs:
        reason = "compares with what the source answers, and published weights come without a head"
        yield Problem(given, reason, type_this=f"regularizer={others}   (or source=<task>)")
    if "source_rows" in regularizer.needs:
        reason = "compares with the source's rows, and published weights come without any"
        yield Problem(given, reason, type_this=f"regularizer={others}   (or source=<task>)")
    if built.parts.sharing is not None and "model" in regularizer.needs:
        reason = "compares features behind the trunk, and published weights come without a trunk"
        yield Problem(given, reason, type_this="sharing=none   (or regularizer=l2_sp)")


def _check_mode(regularizer: Regularizer, transfer: Transfer) -> list[Problem]:
    """Check that the transfer mode, with its options, trains what the regulariser acts on."""
    name, mode = variant(type(regularizer)), variant(type(transfer))
    if transfer.search is not None:
        listed = "regularizers" in list_options(type(transfer))
        return [
            Problem(
                f"regularizer={name}",
                f"is one of several that transfer={mode} may choose from",
                type_this=f"transfer.regularizers=[{name}]   (in its place)"
                if listed
                else "regularizer=none",
            )
        ]
    if transfer.holds(regularizer):
        return []
    from mmx.transfer.candidates import MODES, REGULARIZERS  # all files of both folders

    held = [each for each, kind in REGULARIZERS.items() if transfer.holds(kind)]
    # The mode that allows most: as it is by default, since that is what one types.
    others = sorted(MODES, key=lambda each: -len(MODES[each]().regularizable))
    other = next((each for each in others if MODES[each]().holds(regularizer)), mode)
    return [
        Problem(
            f"regularizer={name}",
            f"has nothing to hold under transfer={mode} as it is set",
            accepted=", ".join(["none", *held]),
            type_this="regularizer=none" + ("" if other == mode else f"   (or transfer={other})"),
        )
    ]


def _check_classes(built: Built, regularizer: Regularizer) -> Iterator[Problem]:
    """Check that tasks have classes, where a regulariser needs them."""
    for role, task in built.tasks.items():
        if "classes" in regularizer.needs and task is not None and task.kind != "classes":
            yield Problem(
                f"regularizer={variant(type(regularizer))}",
                f"needs classes, and {role}={task.name} has a target of kind {task.kind}",
                type_this="regularizer=l2_sp",
            )


def _check_surroundings(built: Built, regularizer: Regularizer) -> Iterator[Problem]:
    """Check that objective, compilation and balance suit what a regulariser reads."""
    given = f"regularizer={variant(type(regularizer))}"
    label_free = built.roles and built.roles[Role.SOURCE].objective.label_free
    if label_free and regularizer.reads_source_outputs:
        yield Problem(
            given,
            "reads the source's outputs, and a source trained without labels has none",
            type_this="regularizer=rkd",
        )
    if built.settings is not None and built.settings.compile and regularizer.reads_modules:
        yield Problem(
            given,
            "watches the stages of the encoders, and "
            f"compile={format_value(built.settings.compile)} makes one kernel of them",
            type_this="compile=false   (or regularizer=rkd)",
        )
    if built.parts.encoder_groups and regularizer.reads_modules:
        yield Problem(
            given,
            "watches the stages of each encoder, and share_encoders gives several inputs one",
            type_this="regularizer=l2_sp   (or share_encoders=[])",
        )
    if built.balance is not None and built.balance.mixes_classes and regularizer.reads_outputs:
        balance = f"balance={variant(type(built.balance))}"
        yield Problem(
            given,
            f"holds outputs against labels, and {balance} mixes rows of two classes into one",
            type_this="balance=none   (or balance=weights, or another regularizer)",
        )


def _check_modality_map(
    transfer: Transfer, source: Task, target: Task, own: set[str], others: set[str]
) -> Iterator[Problem]:
    """Check that ``transfer.map`` names modalities that the tasks have."""
    for new, old in transfer.modality_map.items():
        given = f"transfer.map={{{new}: {old}}}"
        for name, known, role, task in (
            (new, others, Role.TARGET, target),
            (old, own, Role.SOURCE, source),
        ):
            if name not in known:
                near = closest(name, sorted(known)) or sorted(known)[0]
                fixed = f"{near}: {old}" if role is Role.TARGET else f"{new}: {near}"
                yield Problem(
                    given,
                    f"{role}={task.name} has no {name}",
                    accepted=", ".join(sorted(known)),
                    type_this=f"'transfer.map={{{fixed}}}'",
                )


def _check_shared_modality(
    built: Built, transfer: Transfer, source: Task, target: Task, own: set[str], others: set[str]
) -> Iterator[Problem]:
    """Check that some encoder of the target can start from one of the source's."""
    if transfer.needs in ("nothing", "architecture") or not own or not others:
        return
    if own & others or transfer.modality_map:
        return
    pairs = [(new, old) for new in sorted(others) for old in sorted(own)]
    found = [(pair, alike) for pair in pairs if (alike := _choose_alike(built, *pair)) is not None]
    mapped = ""
    if found:
        (new, old), words = found[0]
        mode = [] if "map" in list_options(type(transfer)) else ["transfer=parameter"]
        other = " ".join([*mode, f"'transfer.map={{{new}: {old}}}'", *words])
        mapped = f"   (or {other})"
    yield Problem(
        f"source={source.name} target={target.name}",
        f"no modality is in both: the source has {', '.join(sorted(own))}, "
        f"the target {', '.join(sorted(others))}",
        type_this=f"source=none{mapped}",
    )


def _choose_alike(built: Built, new: str, old: str) -> list[str] | None:
    """Return the overrides that give two modalities encoders of the same architecture.

    None where there are no such encoders; empty where they are chosen already.
    """
    inputs = list_modalities(built.modalities.values())
    if inputs[new] == inputs[old]:
        return []
    known = [each for each, options in ALIKE.items() if {new, old} <= options.keys()]
    if not known:
        return None
    chosen = {name: _find_architecture(built, name) for name in sorted((new, old), reverse=True)}
    wanted = next((each for each in chosen.values() if each in known), known[0])
    return [
        f"encoder/{name}={option}"
        for name, option in ALIKE[wanted].items()
        if name in chosen and chosen[name] != wanted
    ]


def _list_tensors(built: Built, role: Role, name: str) -> list[str]:
    """Return the names of an encoder's tensors; none where it cannot be a meta model."""
    make = built.encoders.get(name)
    try:
        modality = built.find_reader(role, name)
        if make is None or modality is None:
            return []
        return list(make_meta_encoder(make, modality.example()).state_dict())
    except (DataError, ValueError):
        return []  # reported as a problem of the encoder


def _find_architecture(built: Built, modality: str) -> str:
    """Return the architecture that a modality's encoder states; empty for none."""
    make = built.encoders.get(modality)
    return cast(type[Encoder], make.func).architecture if isinstance(make, partial) else ""
