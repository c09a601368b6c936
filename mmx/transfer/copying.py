"""Copying source tensors into a target model: what fits is copied, what does not is reported."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from mmx.errors import TransferError
from mmx.transfer.adaptation import adapt
from mmx.transfer.base import Report, Source
from mmx.transfer.cross_modal import ALIKE, find_origins
from mmx.transfer.shared_classes import (
    check_class_map,
    describe_classes,
    match_classes,
    name_classes,
)

TENSORS_SHOWN = 3  # tensors named in a note; all are named in the report


@dataclass(frozen=True)
class Copied:
    """Where each of the model's tensors comes from.

    Attributes:
        copied: Names of tensors taken from the source.
        adapted: Names of tensors taken from the source and changed to fit.
        fresh: Names of all others.
        notes: What was changed and how, and what did not fit and why.
        classes: Target class to the source class from which its rows of the head were taken.
    """

    copied: tuple[str, ...]
    adapted: tuple[str, ...]
    fresh: tuple[str, ...]
    notes: tuple[str, ...]
    classes: dict[str, str] = field(default_factory=dict)

    def report(self, frozen: Collection[str], notes: Iterable[str] = ()) -> Report:
        """Return the report of a start in which some of the source's tensors are frozen.

        Args:
            frozen: Their names.
            notes: Further notes.
        """
        return Report(
            copied=tuple(name for name in self.copied if name not in frozen),
            adapted=tuple(name for name in self.adapted if name not in frozen),
            frozen=tuple(sorted(frozen)),
            fresh=self.fresh,
            notes=(*self.notes, *notes),
            classes=self.classes,
        )


@dataclass
class _Plan:
    """Which tensors will be written where; the model is unchanged until the plan is complete."""

    target_state: Mapping[str, Tensor]
    source_state: Mapping[str, Tensor]
    copied: dict[str, Tensor] = field(default_factory=dict)
    adapted: dict[str, Tensor] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def take(self, name: str, origin: str, follows: str | None = None) -> str | None:
        """Plan to fill a tensor from a source tensor; return the reason if it does not fit."""
        tensor, given = self.target_state[name], self.source_state.get(origin)
        if given is None:
            return f"{name} is not in the source" + (f" ({origin})" if origin != name else "")
        # Copied unchanged where shapes agree, also if the tensor could be adapted.
        if given.shape == tensor.shape:
            self.copied[name] = given
            return None
        changed = adapt(given, tensor.shape, follows) if follows else None
        if changed is None:
            return _describe_shapes(name, tensor, given)
        self.adapted[name], how = changed
        self.notes.append(f"{name}: {how}")
        return None

    def count_taken(self, names: Iterable[str]) -> int:
        """Return how many of the tensors come from the source."""
        return sum(name in self.copied or name in self.adapted for name in names)

    def write(self) -> None:
        """Write the planned tensors into the model."""
        # The tensors of state_dict share memory with the parameters, which must stay leaves.
        with torch.no_grad():
            for name, value in (self.copied | self.adapted).items():
                if not is_same_memory(self.target_state[name], value):
                    self.target_state[name].copy_(value)

    def result(self, classes: dict[str, str]) -> Copied:
        """Return where each of the model's tensors comes from.

        Args:
            classes: Target class to the source class from which its rows of the head are taken.
        """
        taken = self.copied.keys() | self.adapted.keys()
        return Copied(
            tuple(name for name in self.target_state if name in self.copied),
            tuple(name for name in self.target_state if name in self.adapted),
            tuple(name for name in self.target_state if name not in taken),
            tuple(self.notes),
            classes,
        )


def is_same_memory(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors of one shape and type are the same memory, read alike."""
    return (one.data_ptr(), one.stride()) == (other.data_ptr(), other.stride())


def copy_fitting(
    source: Source,
    model: nn.Module,
    classes: tuple[str, ...],
    class_map: Mapping[str, str],
    *,
    modality_map: Mapping[str, str] | None = None,
    min_copied: float = 0.0,
    in_part: bool = True,
) -> Copied:
    """Copy every source tensor that fits into ``model``, in place.

    A tensor is copied if name and shape agree. For an encoder that starts from another modality's,
    the part of the name after ``encoders.<modality>.`` has to agree. Tensors that an encoder lists
    in ``input_tensors`` are changed to fit another input. Tensors with one row per class
    (``model.label_tensors``) are copied row by row, with classes matched by name, and only if
    the whole fusion before them was copied: a head has no meaning on features that it was not
    trained on. If the mapping is fitted again, fusion and head stay fresh.

    Args:
        source: The trained source.
        model: The target model.
        classes: The target's class names in index order.
        class_map: Source class to target class, for names that differ.
        modality_map: Target modality to the source modality with the encoder that it starts from.
        min_copied: Fraction of an encoder's tensors that must come from the source, for each
            encoder that has a source encoder to start from.
        in_part: Whether the mode can start from a part of an encoder. Only the advice on what
            to type depends on it.

    Raises:
        TransferError: Too little of an encoder fits, or nothing of any; class names are
            ambiguous; a map names what does not exist. The model is then unchanged.
    """
    plan = _Plan(model.state_dict(), source.state)
    check_class_map(class_map, source.classes, classes)
    theirs, ours = _modalities(source.state), _modalities(plan.target_state)
    origins = find_origins(theirs, ours, modality_map or {})
    for modality, origin in origins.items():
        advice = partial(
            _advise_too_little,
            modality=modality,
            origin=origin,
            alone=len(origins) == 1,
            in_part=in_part,
        )
        _plan_encoder(plan, model, modality, origin, min_copied, advice)
    if not plan.copied and not plan.adapted:
        raise _make_no_fit_error(ours, theirs)
    unused = [name for name in theirs if name not in origins.values()]
    plan.notes.extend(f"nothing here starts from the source's {name} encoder" for name in unused)
    mapping = _plan_rest(plan, source, model, classes, class_map, origins)
    if class_map and not mapping:
        plan.notes.append("transfer.class_map has no effect: the head is fresh")
    plan.write()
    return plan.result(mapping)


def _make_no_fit_error(ours: Sequence[str], theirs: Sequence[str]) -> TransferError:
    """Return the error for a target with no encoder that can start from the source's."""
    tip = None
    if ours and theirs:
        tip = (
            "choose a source that shares a modality and an encoder with the target, or "
            f"say what starts from what: 'transfer.map={{{ours[0]}: {theirs[0]}}}'"
        )
    return TransferError("no encoder tensor of the source fits the target's encoders", tip=tip)


def _modalities(names: Iterable[str]) -> list[str]:
    """Return the modalities that have encoder tensors, in order."""
    return sorted({name.split(".")[1] for name in names if name.startswith("encoders.")})


def _plan_encoder(
    plan: _Plan,
    model: nn.Module,
    modality: str,
    origin: str,
    min_copied: float,
    advice: Callable[[float], str],
) -> None:
    """Plan one encoder, and refuse it if too little of it comes from the source."""
    here, there = f"encoders.{modality}.", f"encoders.{origin}."
    encoder = model.get_submodule(here[:-1])  # without the last dot
    # Tensor name to what its shape follows; an encoder without such tensors has no method.
    follow: dict[str, str] = getattr(encoder, "input_tensors", dict)()
    names = [name for name in plan.target_state if name.startswith(here)]
    origins = {name: there + name.removeprefix(here) for name in names}
    misfits = [
        misfit
        for name in names
        if (misfit := plan.take(name, origins[name], follow.get(name.removeprefix(here))))
    ]
    # Source tensors without a place are reported, but min_copied bounds the target's part alone.
    unused = sorted(
        n for n in plan.source_state if n.startswith(there) and n not in origins.values()
    )
    misfits.extend(f"{name} of the source has no place here" for name in unused)
    taken = plan.count_taken(names)
    if taken < min_copied * len(names):
        raise TransferError(
            f"{taken} of the {len(names)} tensors of the {modality} encoder would come from the "
            f"source's {origin} encoder, less than transfer.min_copied={min_copied:g}"
            + "".join(f"\n  {misfit}" for misfit in misfits[:TENSORS_SHOWN]),
            tip=advice(taken / len(names)),
        )
    if modality != origin and taken:
        plan.notes.append(f"the {modality} encoder starts from the source's {origin} encoder")
    plan.notes.extend(_shorten(misfits))


def _advise_too_little(
    part: float, *, modality: str, origin: str, alone: bool, in_part: bool
) -> str:
    """Return what to type if too little of an encoder fits."""
    alike = ALIKE.get(frozenset({modality, origin}))
    choose = "give both tasks one encoder and inputs of one kind"
    if modality != origin:
        choose = "choose encoders of one architecture" + (f": {alike}" if alike else "")
    if alone and not part:  # nothing fits: no min_copied would help
        return choose
    # Rounded down, so that the advised bound accepts this encoder.
    mode = "" if in_part or not part else "transfer=parameter "
    return f"{choose}; or accept it with {mode}transfer.min_copied={math.floor(part * 100) / 100:g}"


def _plan_rest(
    plan: _Plan,
    source: Source,
    model: nn.Module,
    classes: tuple[str, ...],
    class_map: Mapping[str, str],
    origins: Mapping[str, str],
) -> dict[str, str]:
    """Plan what comes after the encoders; return target class to source class."""
    labelled: tuple[str, ...] = tuple(getattr(model, "label_tensors", ()))
    ours, theirs = _modalities(plan.target_state), _modalities(plan.source_state)
    # As many modalities, but others: shapes may agree although columns mean other things.
    swapped = len(ours) == len(theirs) and [origins.get(name) for name in ours] != theirs
    _plan_shared_parts(plan, labelled, origins, swapped=swapped)
    if not labelled:
        return {}
    if swapped:
        plan.notes.append(
            f"fusion and head are fresh: the source joins {', '.join(theirs)}, "
            f"the target {', '.join(ours)}"
        )
        return {}
    if _is_mapping_fresh(plan):
        plan.notes.append("fusion and head are fresh, since the mapping below them is")
        return {}
    if lost := _list_lost_fusion(plan, labelled):
        plan.notes.append(f"the head is fresh, since the fusion below it is ({lost[0]}, …)")
        return {}
    # Decision-level fusions have a head per modality, which follows the modality to its origin.
    heads = {name: _name_in_source(name, origins) for name in sorted(labelled)}
    if not any(name in plan.source_state for name in heads.values()):
        return {}
    rows = match_classes(source.classes, classes, class_map)
    return _plan_head(plan, source, classes, rows, heads)


def _plan_shared_parts(
    plan: _Plan, labelled: Collection[str], origins: Mapping[str, str], *, swapped: bool
) -> None:
    """Plan trunk, mapping and fusion, without the tensors that have one row per class."""
    misfits = []
    for name in plan.target_state:
        if name.startswith("encoders.") or name in labelled:
            continue
        if name.startswith("fusion.") and _is_mapping_fresh(plan):
            continue
        # With other modalities, only tensors that belong to one modality can be matched.
        if swapped and not set(name.split(".")) & origins.keys():
            continue
        origin = _name_in_source(name, origins)
        misfit = plan.take(name, origin)
        # A tensor that the source lacks belongs to another fusion: not worth a note for each.
        if misfit and origin in plan.source_state:
            misfits.append(misfit)
    plan.notes.extend(_shorten(misfits))


def _list_lost_fusion(plan: _Plan, labelled: Collection[str]) -> list[str]:
    """Return the names of the fusion's tensors that do not come from the source."""
    names = [n for n in plan.target_state if n.startswith("fusion.") and n not in labelled]
    return [name for name in names if name not in plan.copied]


def _name_in_source(name: str, origins: Mapping[str, str]) -> str:
    """Return the name of a tensor in the source, where modalities may have other names."""
    return ".".join(origins.get(part, part) for part in name.split("."))


def _is_mapping_fresh(plan: _Plan) -> bool:
    """Return whether the mapping is fitted again, so that fusion and head get other features."""
    own = [name for name in plan.target_state if name.startswith("mapping.")]
    return bool(own) and not plan.count_taken(own)


def _plan_head(
    plan: _Plan,
    source: Source,
    classes: tuple[str, ...],
    rows: dict[int, int],
    heads: dict[str, str],
) -> dict[str, str]:
    """Plan the head's rows of shared classes; return target class to source class."""
    if not rows:
        if source.classes and classes:
            plan.notes.append("the head is fresh: no class has one name in both tasks")
        return {}
    fitting = _fitting_heads(plan, heads)
    # All classes agree, in the same order: the head is copied whole, and counts as copied.
    same = rows == {index: index for index in range(len(classes))}
    same = same and len(source.classes) == len(classes)
    for name in fitting:  # weight and bias, (C, D) and (C,): rows are classes in both
        given = plan.source_state[heads[name]]
        if same:
            plan.copied[name] = given
            continue
        value = plan.target_state[name].clone()  # classes that the source lacks keep fresh rows
        if not value.is_meta:  # without values, an assignment would only make torch import more
            # Rows of shared classes, from there to here; the others keep their fresh values.
            value[list(rows)] = given[list(rows.values())].to(value)
        plan.adapted[name] = value
    plan.notes.extend(
        _describe_shapes(name, plan.target_state[name], plan.source_state[origin])
        for name, origin in heads.items()
        if name not in fitting
        and origin in plan.source_state
        and plan.source_state[origin].shape[1:] != plan.target_state[name].shape[1:]
    )
    if not fitting:
        return {}
    mapping = name_classes(rows, source.classes, classes)
    if not same:
        taken = describe_classes(mapping, classes)
        plan.notes.append(f"the head takes the source's rows of {taken}")
    return mapping


def _fitting_heads(plan: _Plan, heads: dict[str, str]) -> list[str]:
    """Return the tensors of the heads that fit completely: a bias alone has no meaning."""
    parts: dict[str, list[str]] = {}
    for name in heads:
        parts.setdefault(name.rpartition(".")[0], []).append(name)
    return [
        name
        for names in parts.values()
        if all(
            heads[each] in plan.source_state
            and plan.source_state[heads[each]].shape[1:] == plan.target_state[each].shape[1:]
            for each in names
        )
        for name in names
    ]


def _shorten(misfits: Sequence[str]) -> list[str]:
    """Return the first few misfits, and how many more there are."""
    more = len(misfits) - TENSORS_SHOWN
    return [*misfits[:TENSORS_SHOWN], *([f"… and {more} more of the kind"] if more > 0 else [])]


def _describe_shapes(name: str, here: Tensor, there: Tensor) -> str:
    return f"{name} is {_shape(here)} here, {_shape(there)} in the source"


def _shape(tensor: Tensor) -> str:
    return "×".join(str(size) for size in tensor.shape) or "scalar"
