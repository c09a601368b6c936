"""What earlier versions of mmx called things: old words lead to new ones, old runs still open.

There is one table for each of the two. :data:`WORDS` and :data:`KEYS` say what to type now, and
are shown where somebody types an old word or has it in a file. :data:`NODES` says what a node of
an old run's ``config.yaml`` is now. It is applied where a run is read and never to what is typed,
and it keeps the numbers bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmx.errors import RunError
from mmx.quoting import type_override
from mmx.stage_id import TASK_ROLES

OldNode = dict[str, Any]
PACKAGES = {"objectives": "objective"}
"""Package of a class to its config group, where they are not called the same."""


@dataclass(frozen=True)
class Renamed:
    """What to type in place of an old word.

    Attributes:
        typed: Overrides that do what the old word did.
        why: What has changed.
        more: What else one may want to know; not to be typed.
    """

    typed: str
    why: str
    more: str = ""

    @property
    def advice(self) -> str:
        """What an error shows to type."""
        return f"{self.typed}   ({self.more})" if self.more else self.typed


_TRUNKS = "who shares the trunk is now said by sharing.modalities and sharing.classifier"
_JOINT = f"joint training is now asked for by transfer=joint alone, and {_TRUNKS}"
_UNFROZEN = "transfer=parameter transfer.fusion=encoders_alone"
_FINE_TUNING = {
    "_target_": "mmx.transfer.parameter.Parameter",
    "freeze": [],
    "freeze_depth": 0,
    "unfreeze_every": 0,
    "copied_rate": 1.0,
    "head_rate": 1.0,
    "layer_decay": 1.0,
    "batch_norm": "train",
    "reinitialize": 0,
    "lp_ft": False,
    "wise_ft": "none",
    "class_map": None,
    "fusion": "encoders_alone",
    "map": None,
    "min_copied": 0.5,
}
"""Every option stated, as a run's config states it: it is compared with what is composed now."""
_FEATURE = "mmx.transfer.feature.Feature"
_CONTRASTIVE = "InfoNCE is now one objective, whole loss or term of combined"
WORDS: dict[str, dict[str, Renamed]] = {
    "sharing": {
        "architecture": Renamed("sharing=trunk sharing.modalities=false", _TRUNKS),
        "modalities": Renamed("sharing=trunk", _TRUNKS),
        "parameters": Renamed("sharing=trunk sharing.classifier=true", _TRUNKS),
        "tasks": Renamed("transfer=joint sharing=trunk sharing.modalities=false", _JOINT),
        "tasks_modalities": Renamed("transfer=joint sharing=trunk", _JOINT),
    },
    "balance": {
        "focal": Renamed(
            "objective=focal",
            "the focal loss is now an objective alone",
            "source_objective=cross_entropy keeps it from a source",
        ),
    },
    "objective": {"contrastive": Renamed("objective=info_nce", _CONTRASTIVE)},
    "source_objective": {"contrastive": Renamed("source_objective=info_nce", _CONTRASTIVE)},
}
"""Group to an option that it had, to what to type now."""


def find_word(group: str, option: str) -> Renamed | None:
    """Return what to type in place of an option that a group had; None where it had none."""
    return WORDS.get(group, {}).get(option)


def find_key(key: str, value: str) -> Renamed | None:
    """Return what to type in place of a key that an option had; None where it had none.

    Args:
        key: Such as ``balance.gamma``.
        value: As it was typed.
    """
    if key == "balance.gamma":
        return Renamed(f"objective=focal objective.gamma={value}", WORDS["balance"]["focal"].why)
    key = str(key)  # a file may hold a number where a name belongs
    role, _, split = key.partition(".")
    if role in TASK_ROLES and split in ("train", "val", "test"):
        why = "the files of each split are one option"
        return Renamed(type_override(f"{role}.path", {split: str(value)}), why, "and the others")
    if key.startswith("encoder.") and key.endswith(".pretrained"):
        why = "published weights are a source now, so that what they are worth can be stated"
        if value.lower() == "true":
            return Renamed("source=published", why)
        return Renamed(f"{key.removesuffix('pretrained')}weights=null", why)
    if key == "transfer.frozen":
        why = "transfer=feature now always freezes the encoders that it copies"
        if value.lower() == "true":
            return Renamed("transfer=feature", why)
        return Renamed(_UNFROZEN, f"{why}; transfer=parameter trains them")
    return None


def find_class(target: str) -> Renamed | None:
    """Return what to type in place of a class that mmx had; None where it had none.

    Args:
        target: Such as ``mmx.sharing.tasks.Tasks``.
    """
    parts = target.split(".")
    if len(parts) != 4 or parts[0] != "mmx":
        return None
    return find_word(PACKAGES.get(parts[1], parts[1]), parts[2])


# --- runs of earlier versions


def _make_trunk(
    *, modalities: bool, classifier: bool = False
) -> Callable[[OldNode, OldNode], OldNode]:
    def translate(node: OldNode, config: OldNode) -> OldNode:
        trunk = {"_target_": "mmx.sharing.trunk.Trunk", **_options(node)}
        return {"sharing": {**trunk, "modalities": modalities, "classifier": classifier}}

    return translate


def _translate_focal(node: OldNode, config: OldNode) -> OldNode:
    """Put the focal loss into the objective; the source keeps the objective that it had."""
    objective = config.get("objective") or {}
    changed = {"balance": {}, "objective": _focus(objective, node.get("gamma", 2.0))}
    if config.get("source") and not config.get("source_objective"):
        changed["source_objective"] = objective
    return changed


def _focus(objective: OldNode, gamma: float) -> OldNode:
    """Return the node of an objective with the focal loss for its cross-entropy."""
    name = str(objective.get("_target_")).rpartition(".")[2]
    if name in ("CrossEntropy", "Focal"):
        weights = objective.get("class_weights", "none")
        target = "mmx.objectives.focal.Focal"
        return {"_target_": target, "gamma": gamma, "class_weights": weights}
    terms = objective.get("terms") or {"cross_entropy": 1.0}
    if name != "Combined" or {"cross_entropy", "focal"} <= terms.keys():
        raise _refuse(f"balance=focal and objective {name}")
    options = objective.get("options") or {}
    old = "cross_entropy" if "cross_entropy" in terms else "focal"
    weights = options.get(old, {}).get("class_weights", "none")
    focal = {"gamma": gamma, "class_weights": weights}
    others = {key: value for key, value in options.items() if key != old}
    return {
        **objective,
        "terms": {"focal" if key == old else key: value for key, value in terms.items()},
        "options": {**others, "focal": focal},
    }


def _translate_contrastive(group: str) -> Callable[[OldNode, OldNode], OldNode]:
    def translate(node: OldNode, config: OldNode) -> OldNode:
        return {group: {"_target_": "mmx.objectives.info_nce.InfoNce", **_options(node)}}

    return translate


def _translate_feature(node: OldNode, config: OldNode) -> OldNode:
    """Let a mode that copied encoders and trained them be fine-tuning, its head a linear one."""
    if "frozen" not in node:
        return {}
    if node["frozen"]:
        return {"transfer": {key: value for key, value in node.items() if key != "frozen"}}
    if node.get("head", "linear") != "linear" or node.get("normalize"):
        chosen = "normalize=true" if node.get("normalize") else f"head={node['head']}"
        raise _refuse(f"transfer=feature, frozen=false and {chosen}")
    kept = {key: node[key] for key in ("map", "min_copied") if key in node}
    return {"transfer": {**_FINE_TUNING, **kept}}


def _refuse(what: str) -> RunError:
    return RunError(
        f"the run was made by an earlier mmx with {what}, which this mmx cannot train",
        tip="install the mmx whose version its manifest.json holds",
    )


NODES: dict[tuple[str, str], Callable[[OldNode, OldNode], OldNode]] = {
    ("sharing", "mmx.sharing.architecture.Architecture"): _make_trunk(modalities=False),
    ("sharing", "mmx.sharing.modalities.Modalities"): _make_trunk(modalities=True),
    ("sharing", "mmx.sharing.parameters.Parameters"): _make_trunk(modalities=True, classifier=True),
    ("sharing", "mmx.sharing.tasks.Tasks"): _make_trunk(modalities=False),
    ("sharing", "mmx.sharing.tasks_modalities.TasksModalities"): _make_trunk(modalities=True),
    ("balance", "mmx.balance.focal.Focal"): _translate_focal,
    ("objective", "mmx.objectives.contrastive.Contrastive"): _translate_contrastive("objective"),
    ("source_objective", "mmx.objectives.contrastive.Contrastive"): _translate_contrastive(
        "source_objective"
    ),
    ("transfer", _FEATURE): _translate_feature,
}
"""(group, class) of an old node to ``translate(node, config)``, which returns the new nodes.

It returns none where the node is as it would be now.
A run that trained jointly names ``transfer=joint`` in its own config, whatever was typed.
"""


def translate_config(config: OldNode) -> OldNode:
    """Return a run's config in the words of this version; the same object where it is in them.

    Raises:
        RunError: What was trained cannot be said any more.
    """
    for (group, target), translate in NODES.items():
        node = config.get(group)
        if isinstance(node, dict) and node.get("_target_") == target:
            changed = translate(node, config)
            config = {**config, **changed} if changed else config
    return _translate_encoders(config)


def _translate_encoders(config: OldNode) -> OldNode:
    """Return the config with encoders that were drawn fresh as they are now."""
    nodes = config.get("encoder")
    old = {
        name: node
        for name, node in (nodes.items() if isinstance(nodes, dict) else ())
        if isinstance(node, dict) and "pretrained" in node
    }
    if not old:
        return config
    changed = {}
    for name, node in old.items():
        if node["pretrained"] or node.get("weights"):
            raise _refuse(f"encoder.{name} from published weights, in its control too")
        kept = {key: value for key, value in node.items() if key != "pretrained"}
        changed[name] = {**kept, "normalization": "centered"}
    return {**config, "encoder": {**config["encoder"], **changed}}


def translate_names(names: Mapping[str, str], config: OldNode) -> dict[str, str]:
    """Return by which options a run's parts were chosen, less those that are others now.

    Args:
        names: Config group to option, as the run recorded it.
        config: Of the run, as it was written.
    """
    now = translate_config(config)
    return {
        group: name
        for group, name in names.items()
        if "/" in group or _target(now, group) == _target(config, group)
    }


def translate_summary(summary: OldNode, config: OldNode) -> OldNode:
    """Return a run's summary with its transfer mode in the words of this version.

    Args:
        summary: As the run wrote it.
        config: Of the run, as it was written.
    """
    now = _target(translate_config(config), "transfer")
    if now == _target(config, "transfer"):
        return summary
    return {**summary, "transfer": {**summary.get("transfer", {}), "mode": now.split(".")[2]}}


def translate_overrides(overrides: Sequence[str], config: OldNode) -> list[str]:
    """Return the overrides that a run was composed of in the words of this version.

    Args:
        overrides: As the run recorded them.
        config: Of the run, as it was written.
    """
    found: list[str] = []
    given = {word.partition("=")[0]: word.partition("=")[2] for word in overrides}
    focal = given.get("balance") == "focal"
    trains_source = bool(config.get("source")) and "source_objective" not in given
    for word in _translate_frozen(overrides, config.get("transfer")):
        found += _translate_override(word, focal=focal)
        group = word.partition("=")[0].partition(".")[0]
        if focal and trains_source and group == "objective":
            found.append(f"source_{word}")
    if focal:
        found = [word for word in found if not word.startswith("objective=cross_entropy")]
        if trains_source and "objective" not in given:
            found.append("source_objective=cross_entropy")
    return list(dict.fromkeys(found))


def _translate_override(word: str, *, focal: bool) -> list[str]:
    """Return what one override is now.

    Args:
        word: The override.
        focal: Whether the run had ``balance=focal``.
    """
    key, _, value = word.partition("=")
    if key.startswith("encoder.") and key.endswith(".pretrained"):
        return []  # of an encoder that was drawn fresh, as it is now without a word
    renamed = find_word(key, value) or (find_key(key, value) if focal else None)
    return [word] if renamed is None else renamed.typed.split()


def _translate_frozen(overrides: Sequence[str], transfer: Any) -> list[str]:
    """Return overrides without ``transfer.frozen``, and fine-tuning where it was false."""
    if not isinstance(transfer, dict) or transfer.get("_target_") != _FEATURE:
        return list(overrides)
    if transfer.get("frozen", True):
        return [word for word in overrides if word.partition("=")[0] != "transfer.frozen"]
    dropped = ("transfer", "transfer.frozen", "transfer.head", "transfer.normalize")
    kept = [word for word in overrides if word.partition("=")[0] not in dropped]
    return [*_UNFROZEN.split(), *kept]


def _target(config: OldNode, group: str) -> Any:
    """Return the class of a group's node; the node itself where it names none."""
    node = config.get(group)
    return node.get("_target_", node) if isinstance(node, dict) else node


def _options(node: OldNode) -> OldNode:
    return {key: value for key, value in node.items() if key != "_target_"}
