"""What must fit together for a transfer: source, mode, modalities, regulariser, sharing."""

from __future__ import annotations

from collections.abc import Iterator

from mmx.errors import Problem, closest
from mmx.experiment.fitting import Built, variant
from mmx.tasks import Task
from mmx.transfer import Transfer
from mmx.transfer.joint import Joint


def transfer_misfits(built: Built) -> Iterator[Problem]:
    """Yield what of a transfer does not fit together."""
    yield from _without_source(built)
    yield from _regularizer(built)
    source, target = built.tasks["source"], built.tasks["target"]
    if source is not None and target is not None and built.transfer is not None:
        own, others = built.modalities["source"], built.modalities["target"]
        if isinstance(built.transfer, Joint):
            yield from _joint(built, built.transfer, source, target)
            return
        problems = list(_modality_map(built.transfer, source, target, set(own), set(others)))
        yield from problems or _shared_modality(
            built.transfer, source, target, set(own), set(others)
        )


def _joint(built: Built, transfer: Joint, source: Task, target: Task) -> Iterator[Problem]:
    """Check that tasks can train together: something to share, and losses that can be weighed."""
    own, others = sorted(built.modalities["source"]), sorted(built.modalities["target"])
    sharing = built.parts.sharing
    one_trunk = sharing is not None and sharing.modalities
    if own and others and not set(own) & set(others) and not one_trunk:
        yield Problem(
            f"source={source.name} target={target.name}",
            f"no modality is in both, so they share nothing: the source has {', '.join(own)}, "
            f"the target {', '.join(others)}",
            type_this="sharing=tasks_modalities   (one trunk for all), or source=none",
        )
    signed = [role for role, each in built.roles.items() if each.objective.may_be_negative]
    if signed and transfer.weighting != "fixed":
        yield Problem(
            f"transfer.weighting={transfer.weighting}",
            "weighs losses that are never negative, and that of the "
            f"{' and the '.join(signed)} may be",
            type_this="transfer.weighting=fixed",
        )


def _without_source(built: Built) -> Iterator[Problem]:
    """Check that there is a source where source and target are to train together."""
    sharing = built.parts.sharing
    if sharing is not None and sharing.tasks and built.tasks["source"] is None:
        yield Problem(
            f"sharing={variant(type(sharing))}",
            "shares weights between source and target, and there is no source",
            type_this="source=<task>",
        )


def _regularizer(built: Built) -> Iterator[Problem]:
    """Check that a regulariser has something to hold in this mode and for these targets."""
    regularizer, transfer = built.regularizer, built.transfer
    if regularizer is None or transfer is None or built.tasks["source"] is None:
        return
    name, mode = variant(type(regularizer)), variant(type(transfer))
    if name not in transfer.regularizers:
        accepted = ", ".join(["none", *sorted(transfer.regularizers)])
        yield Problem(
            f"regularizer={name}",
            f"has nothing to hold under transfer={mode} as it is set",
            accepted=accepted,
            type_this="regularizer=none"
            + ("" if mode == "parameter" else "   (or transfer=parameter)"),
        )
    elif "classes" in regularizer.needs:
        for role, task in built.tasks.items():
            if task is not None and task.kind != "classes":
                yield Problem(
                    f"regularizer={name}",
                    f"needs classes, and {role}={task.name} has a target of kind {task.kind}",
                    type_this="regularizer=l2_sp",
                )
    if built.roles and built.roles["source"].objective.label_free and "model" in regularizer.needs:
        yield from _without_outputs(name)


def _without_outputs(name: str) -> Iterator[Problem]:
    """Refuse what reads the source's outputs where the source learned none."""
    if name in ("distill", "lwf", "co_tuning"):
        yield Problem(
            f"regularizer={name}",
            "reads the source's outputs, and a source trained without labels has none",
            type_this="regularizer=rkd",
        )


def _modality_map(
    transfer: Transfer, source: Task, target: Task, own: set[str], others: set[str]
) -> Iterator[Problem]:
    """Check that ``transfer.map`` speaks of modalities that the tasks have."""
    for new, old in transfer.modality_map.items():
        given = f"transfer.map={{{new}: {old}}}"
        for name, known, role, task in (
            (new, others, "target", target),
            (old, own, "source", source),
        ):
            if name not in known:
                near = closest(name, sorted(known)) or sorted(known)[0]
                fixed = f"{near}: {old}" if role == "target" else f"{new}: {near}"
                yield Problem(
                    given,
                    f"{role}={task.name} has no {name}",
                    accepted=", ".join(sorted(known)),
                    type_this=f"'transfer.map={{{fixed}}}'",
                )


def _shared_modality(
    transfer: Transfer, source: Task, target: Task, own: set[str], others: set[str]
) -> Iterator[Problem]:
    """Check that some encoder of the target can start from one of the source's."""
    if transfer.needs in ("nothing", "architecture") or not own or not others:
        return
    if own & others or transfer.modality_map:
        return
    mapped = "{" + f"{min(others)}: {min(own)}" + "}"
    yield Problem(
        f"source={source.name} target={target.name}",
        f"no modality is in both: the source has {', '.join(sorted(own))}, "
        f"the target {', '.join(sorted(others))}",
        type_this=f"source=none, or transfer=parameter 'transfer.map={mapped}'",
    )
