"""What no single node can know: whether the parts of an experiment fit each other."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mmx.encoders import Encoder
from mmx.errors import Problem, closest
from mmx.experiment.settings import Modalities
from mmx.fusion import Fusion, Widths
from mmx.objectives import Objective
from mmx.tasks import Task
from mmx.transfer import Transfer

M = TypeVar("M", bound=torch.nn.Module)
FITTING_OBJECTIVE = {
    "classes": "cross_entropy",
    "multilabel": "binary_cross_entropy",
    "regression": "mean_squared_error",
}


@dataclass(frozen=True)
class Parts:
    """What has been built so far; None where a node is wrong by itself.

    Attributes:
        tasks: ``source`` and ``target``; None where there is none.
        objective, transfer, fusion: As configured.
        encoders: Modality to ``make(spec)``.
        vectorizers: Modality to what an encoder brings to read it.
        failed: Modalities whose encoder node is wrong by itself.
    """

    tasks: dict[str, Task | None]
    objective: Objective | None
    transfer: Transfer | None
    fusion: Callable[..., Fusion] | None
    encoders: dict[str, Callable[..., Encoder]]
    vectorizers: Modalities
    failed: frozenset[str]


def misfits(parts: Parts) -> Iterator[Problem]:
    """Yield what does not fit together."""
    for role, task in parts.tasks.items():
        if task is not None:
            yield from _name(role, task)
            yield from _kinds(parts, role, task)
            yield from _shapes(parts, role, task)
    yield from _shared_modality(parts)


def _name(role: str, task: Task) -> Iterator[Problem]:
    """Check that a task's name can be part of a run directory's name."""
    if not re.fullmatch(r"\w[\w.+-]*", task.name):
        yield Problem(
            f"{role}.name={task.name}",
            "is part of a directory's name",
            accepted="letters, digits and _, then also . + -",
        )


def _kinds(parts: Parts, role: str, task: Task) -> Iterator[Problem]:
    """Check that objective and fusion serve the task's kind of target."""
    if parts.objective is not None and task.kind not in parts.objective.kinds:
        name = type(parts.objective).__module__.rsplit(".", 1)[-1]
        served = ", ".join(sorted(parts.objective.kinds))
        yield Problem(
            f"objective={name}",
            f"{role}={task.name} has a target of kind {task.kind}; this objective is for {served}",
            type_this=f"objective={FITTING_OBJECTIVE[task.kind]}",
        )
    if isinstance(parts.fusion, partial):
        method = cast(type[Fusion], parts.fusion.func)
        kinds = method.kinds(**parts.fusion.keywords)
        if task.kind not in kinds:
            yield Problem(
                f"fusion={method.__module__.rsplit('.', 1)[-1]}",
                f"{role}={task.name} has a target of kind {task.kind}; with these options the "
                f"fusion is for {', '.join(sorted(kinds))}",
            )


def _shapes(parts: Parts, role: str, task: Task) -> Iterator[Problem]:
    """Check that each modality has an encoder, and try to make the model from example specs."""
    widths: dict[str, Widths] = {}
    tensors: list[str] = []
    for name, given in task.modalities.items():
        modality = given if given is not None else parts.vectorizers.get(name)
        if name in parts.failed:
            continue
        if given is not None and name in parts.vectorizers:
            yield Problem(
                f"encoder.{name}.vectorizer",
                f"no code reads this key: a task says how its {name} is read",
                type_this=f"leave out encoder.{name}.vectorizer",
            )
        if name not in parts.encoders or modality is None:
            yield Problem(
                f"{role}={task.name}",
                f"has {name}, and no encoder for it is chosen",
                type_this=f"encoder/{name}=<option>",
            )
            continue
        make = parts.encoders[name]
        options = make.keywords if isinstance(make, partial) else {}
        if options.get("pretrained") or options.get("weights"):
            continue  # weights are read once, when the model is made
        try:
            encoder = _on_paper(make, modality.example())
        except ValueError as error:
            yield Problem(f"encoder.{name}", str(error))
            continue
        widths[name] = Widths(encoder.width, tuple(encoder.level_widths))
        tensors.extend(f"encoders.{name}.{tensor}" for tensor in encoder.state_dict())
    if parts.fusion is not None and widths.keys() == task.modalities.keys():
        try:
            fusion = _on_paper(parts.fusion, widths, outputs=1 if task.kind == "regression" else 2)
        except ValueError as error:
            yield Problem("fusion", str(error))
            return
        tensors.extend(f"fusion.{tensor}" for tensor in fusion.state_dict())
        if fusion.level != "decision":
            tensors.extend(("head.weight", "head.bias"))
        if role == "target" and parts.transfer is not None:
            yield from _tensor_names(parts.transfer, tensors)


def _tensor_names(transfer: Transfer, tensors: list[str]) -> Iterator[Problem]:
    """Check the tensor names that a transfer's options speak of."""
    for option, pattern in transfer.unmatched(tensors):
        near = closest(pattern, [*tensors, *(f"{part}.*" for part in _prefixes(tensors))])
        yield Problem(
            f"transfer.{option}={pattern}",
            "matches no tensor of the model",
            accepted=", ".join(f"{part}.*" for part in _prefixes(tensors)),
            closest=near,
            type_this=near and f"transfer.{option}=[{near}]",
        )


def _prefixes(tensors: list[str]) -> list[str]:
    """Return the parts of a model: each encoder, the fusion, the head."""
    parts = (name.split(".")[: 2 if name.startswith("encoders.") else 1] for name in tensors)
    return list(dict.fromkeys(".".join(part) for part in parts))


class _WithoutDraws(TorchFunctionMode):
    """Leaves weights undrawn: on paper they have no values, and asking costs seconds.

    ``normal_`` of a meta tensor imports torch's whole compiler.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        drawing = getattr(func, "__module__", "") == "torch.nn.init"
        if drawing or func in (Tensor.normal_, Tensor.uniform_):
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def _on_paper(make: Callable[..., M], *arguments: object, **keywords: object) -> M:
    """Return a module made without memory for its weights, or with it where there is no way."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        try:
            with torch.device("meta"), _WithoutDraws():
                return make(*arguments, **keywords)
        except (RuntimeError, NotImplementedError):  # a constructor that looks at its numbers
            return make(*arguments, **keywords)


def _shared_modality(parts: Parts) -> Iterator[Problem]:
    source, target = parts.tasks["source"], parts.tasks["target"]
    if source is None or target is None or parts.transfer is None:
        return
    if parts.transfer.needs == "weights" and not source.modalities.keys() & target.modalities:
        yield Problem(
            f"source={source.name} target={target.name}",
            f"no modality is in both: the source has {', '.join(source.modalities)}, "
            f"the target {', '.join(target.modalities)}",
            type_this="source=none",
        )
