"""A composed config to an Experiment: the only caller of build.

Everything that is wrong with a config is found here and reported at once, before any
data is opened. Below this file there is no config, only typed arguments.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from mmx.config.build import Builder
from mmx.encoders import Encoder
from mmx.errors import Problem
from mmx.fusion import Fusion
from mmx.modalities import Modality
from mmx.objectives import Objective
from mmx.tasks import Task
from mmx.training.optimizer import Optimizer
from mmx.training.trainer import Trainer
from mmx.transfer import Transfer
from mmx.transfer.scratch import Scratch

NODES = ("source", "target", "encoder", "fusion", "transfer", "objective", "optimizer", "trainer")
SCRATCH = {"_target_": "mmx.transfer.scratch.Scratch"}
WHERE_NOT_WHAT = ("data_dir", "output_dir", "download")
HOW_NOT_WHAT = ("resident", "workers", "checkpoint_seconds", "threads")
"""Keys that do not change what an experiment is, and so not its fingerprint."""

Modalities = dict[str, Modality[Any, Any]]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The root keys of a config.

    Args:
        seed: Decides everything that is drawn.
        control: Which control is trained beside the target.
        device: Where to compute; ``auto`` takes CUDA where there is one.
        precision: Number format of the forward pass.
        compile: Whether encoders and fusion are compiled.
        data_dir: Where tasks look for their data.
        output_dir: Where run directories are made.
        download: Whether anything may be downloaded.
    """

    seed: Annotated[int, Field(ge=0)] = 0
    control: Literal["scratch", "none"] = "scratch"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = False
    data_dir: str
    output_dir: str = "outputs"
    download: bool = False


@dataclass(frozen=True)
class Experiment:
    """Everything of a run, built and checked; no data has been opened.

    Attributes:
        config: The config in canonical form: only what this run reads.
        dropped: Config path to why this run does not read it.
        settings, trainer, optimizer, objective, transfer, fusion: As configured.
        source: None where nothing is transferred.
        target: The task whose metric counts.
        encoders: Modality to ``make(spec)``.
        modalities: ``source`` and ``target`` to how each of its modalities is read.
    """

    config: dict[str, Any]
    dropped: dict[str, str]
    settings: Settings
    trainer: Trainer
    optimizer: Optimizer
    objective: Objective
    transfer: Transfer
    fusion: Callable[..., Fusion]
    source: Task | None
    target: Task
    encoders: dict[str, Callable[..., Encoder]]
    modalities: dict[str, Modalities]

    @property
    def fingerprint(self) -> str:
        """Hex digest of what the experiment is, not of where or how fast it runs."""
        return fingerprint(self.config)

    @property
    def control(self) -> bool:
        """Whether the from-scratch control is trained."""
        return self.settings.control == "scratch" and self.source is not None


def assemble(config: dict[str, Any], allowed: Collection[str] = ()) -> Experiment:
    """Build an experiment from a resolved config.

    Args:
        config: Plain data, as composed or as read from a run's ``config.yaml``.
        allowed: Packages beside mmx whose classes the config may name.

    Raises:
        ConfigError: Everything that is wrong with it.
    """
    config = _absolute_paths(config)
    builder = Builder(allowed)
    root = {key: value for key, value in config.items() if key not in NODES}
    settings = builder.values(Settings, root, "")
    trainer = builder.values(Trainer, config.get("trainer", {}), "trainer")
    target = builder.build(config.get("target"), Task, "target")
    source = builder.build(config["source"], Task, "source") if config.get("source") else None
    transfer = builder.build(config.get("transfer"), Transfer, "transfer")
    objective = builder.build(config.get("objective"), Objective, "objective")
    optimizer = builder.build(config.get("optimizer"), Optimizer, "optimizer")
    fusion = builder.partial(config.get("fusion"), Fusion, "fusion", supplied=("outputs",))
    dropped: dict[str, str] = {}
    if transfer is not None:
        config, source, transfer = _without_idle_source(config, source, transfer, dropped)
    used = _used_modalities(source, target)
    encoders: dict[str, Callable[..., Encoder]] = {}
    vectorizers: Modalities = {}
    encoder_nodes = config.get("encoder")
    if not isinstance(encoder_nodes, dict):
        given = f"encoder={encoder_nodes}"
        builder.problems.append(Problem(given, "expected a node for each modality"))
        encoder_nodes = {}
    for name, node in encoder_nodes.items():
        if target is not None and name not in used:
            dropped[f"encoder.{name}"] = f"no task of this run has {name}"
            if not isinstance(node, dict):
                continue
        _build_encoder(builder, name, node, encoders, vectorizers)
    tasks = {"source": source, "target": target}
    if target is not None:
        _check_together(builder, tasks, objective, encoders, vectorizers, transfer)
    builder.finish()
    if not (
        settings and trainer and target and transfer and objective and optimizer and fusion
    ):  # unreachable: finish raises wherever one of these is None
        raise RuntimeError("a node was not built and no problem was noted")
    return Experiment(
        config=_without(config, dropped),
        dropped=dropped,
        settings=settings,
        trainer=trainer,
        optimizer=optimizer,
        objective=objective,
        transfer=transfer,
        fusion=fusion,
        source=source,
        target=target,
        encoders={name: encoders[name] for name in used},
        modalities={
            role: {
                name: modality if modality is not None else vectorizers[name]
                for name, modality in task.modalities.items()
            }
            for role, task in tasks.items()
            if task is not None
        },
    )


def _without_idle_source(
    config: dict[str, Any], source: Task | None, transfer: Transfer, dropped: dict[str, str]
) -> tuple[dict[str, Any], Task | None, Transfer]:
    """Reduce the config to scratch where there is no source, or none is asked for."""
    if source is not None and transfer.needs != "nothing":
        return config, source, transfer
    if source is not None:
        dropped["source"] = "this transfer mode takes nothing from a source"
    elif not isinstance(transfer, Scratch):
        dropped["transfer"] = "source=none: there is nothing to transfer"
    if config.get("control") != "none":
        dropped["control"] = "the run itself is from scratch: there is nothing to compare it with"
    return {**config, "source": None, "transfer": SCRATCH, "control": "none"}, None, Scratch()


def _used_modalities(source: Task | None, target: Task | None) -> list[str]:
    tasks = [task for task in (source, target) if task is not None]
    return sorted({name for task in tasks for name in task.modalities})


def _build_encoder(
    builder: Builder,
    name: str,
    node: Any,
    encoders: dict[str, Callable[..., Encoder]],
    vectorizers: Modalities,
) -> None:
    """Build an encoder's recipe and, where it brings one, the vectoriser of its input."""
    path = f"encoder.{name}"
    if isinstance(node, dict) and "vectorizer" in node:
        node = dict(node)
        vectorizer = builder.build(node.pop("vectorizer"), Modality, f"{path}.vectorizer")
        if vectorizer is not None:
            vectorizers[name] = vectorizer
    made = builder.partial(node, Encoder, path)
    if made is not None:
        encoders[name] = made


def _check_together(
    builder: Builder,
    tasks: dict[str, Task | None],
    objective: Objective | None,
    encoders: dict[str, Callable[..., Encoder]],
    vectorizers: Modalities,
    transfer: Transfer | None,
) -> None:
    """Note what no single node can know: whether they fit each other."""
    failed = {
        problem.given.split("=")[0].split(".")[1]
        for problem in builder.problems
        if problem.given.startswith("encoder.")
    }
    for role, task in tasks.items():
        if task is None:
            continue
        if objective is not None and task.kind not in objective.kinds:
            fitting = {
                "classes": "cross_entropy",
                "multilabel": "binary_cross_entropy",
                "regression": "mean_squared_error",
            }[task.kind]
            builder.problems.append(
                Problem(
                    f"objective={type(objective).__module__.rsplit('.', 1)[-1]}",
                    f"{role}={task.name} has a target of kind {task.kind}; this objective is for "
                    + ", ".join(sorted(objective.kinds)),
                    type_this=f"objective={fitting}",
                )
            )
        for name, modality in task.modalities.items():
            if name in failed:
                continue
            if name not in encoders or (modality is None and name not in vectorizers):
                builder.problems.append(
                    Problem(
                        f"{role}={task.name}",
                        f"has {name}, and no encoder for it is chosen",
                        type_this=f"encoder/{name}=<option>",
                    )
                )
    source, target = tasks["source"], tasks["target"]
    if source is not None and target is not None and transfer is not None:
        shared = source.modalities.keys() & target.modalities.keys()
        if transfer.needs == "weights" and not shared:
            builder.problems.append(
                Problem(
                    f"source={source.name} target={target.name}",
                    f"no modality is in both: the source has {', '.join(source.modalities)}, "
                    f"the target {', '.join(target.modalities)}",
                    type_this="source=none",
                )
            )


def _absolute_paths(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config with its data paths made absolute, so that it reads the same anywhere."""
    config = dict(config)
    if isinstance(config.get("data_dir"), str):
        config["data_dir"] = _absolute(config["data_dir"])
    for role in ("source", "target"):
        node = config.get(role)
        if isinstance(node, dict):
            config[role] = {
                key: _absolute(value)
                if key in ("path", "root", "data_dir") and isinstance(value, str) and value != "???"
                else value
                for key, value in node.items()
            }
    return config


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def _without(config: dict[str, Any], dropped: dict[str, str]) -> dict[str, Any]:
    """Return the config without the encoders that nothing reads."""
    encoder = {
        name: node for name, node in config["encoder"].items() if f"encoder.{name}" not in dropped
    }
    return {**config, "encoder": encoder}


def fingerprint(config: dict[str, Any]) -> str:
    """Return the hex digest of a canonical config, less where and how fast it runs."""

    def what(node: Any, ignored: Collection[str]) -> Any:
        if isinstance(node, dict):
            return {k: what(v, WHERE_NOT_WHAT) for k, v in node.items() if k not in ignored}
        return [what(item, ()) for item in node] if isinstance(node, (list, tuple)) else node

    kept = {
        key: what(node, (*WHERE_NOT_WHAT, *HOW_NOT_WHAT) if key == "trainer" else WHERE_NOT_WHAT)
        for key, node in config.items()
        if key not in WHERE_NOT_WHAT
    }
    text = json.dumps(kept, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
