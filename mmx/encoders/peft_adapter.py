"""Adapters of the library peft: LoRA weights in a folder, merged into published weights.

    adapter_config.json         peft_type, r, lora_alpha, alpha_pattern, modules_to_save …
    adapter_model.safetensors   base_model.model.<module>.lora_A.weight, … .lora_B.weight

The library itself is not needed. A weight becomes ``W + (alpha / r) · B A``, with ``alpha / √r`` of
an adapter that was trained with rslora; modules that were trained as a whole (``modules_to_save``)
take the place of the published ones. What would mean something else is refused by name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mmx.encoders.hub import find_model_folder
from mmx.encoders.published import Published, read_tensors
from mmx.errors import DataError
from mmx.hub_cache import REPOSITORY
from mmx.json_object import Json
from mmx.untrusted import read_json

if TYPE_CHECKING:
    from mmx.encoders.base import Encoder

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What every tensor's name starts with in the file."""
WITHOUT_EFFECT = frozenset(
    (
        "auto_mapping",
        "base_model_name_or_path",
        "corda_config",
        "ensure_weight_tying",
        "eva_config",
        "exclude_modules",
        "fan_in_fan_out",
        "inference_mode",
        "layers_pattern",
        "layers_to_transform",
        "loftq_config",
        "lora_dropout",
        "lora_ga_config",
        "megatron_core",
        "peft_version",
        "qalora_group_size",
        "revision",
        "runtime_config",
        "target_modules",
        "task_type",
    )
)
"""Entries that change nothing of what trained tensors mean."""
READ = frozenset(
    (
        "peft_type",
        "r",
        "lora_alpha",
        "use_rslora",
        "rank_pattern",
        "alpha_pattern",
        "modules_to_save",
        "init_lora_weights",
        "bias",
    )
)
PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
"""Values of ``init_lora_weights`` that leave the published weights as they are."""
ELSEWHERE = ("pooler", "classifier", "score", "lm_head", "cls", "decoder", "projector", "proj_out")
"""First parts of the names of what stands behind an encoder or beside it, and is not used here."""
PARTS = re.compile(r"(.+?)\.(lora_A|lora_B)\.weight|(.+?)\.(lora_embedding_[AB])")
PATTERN = re.compile(r"\^?[\w.]+", re.ASCII)
"""Keys of ``alpha_pattern`` that are read: names, not expressions that a stranger has written."""
ACCEPTED = "adapters that peft has saved with peft_type LORA, bias none, without use_dora"


@dataclass(frozen=True)
class PeftAdapter:
    """LoRA weights in a folder.

    Attributes:
        config: What ``adapter_config.json`` says.
        published: Where they come from, and their files.
    """

    config: Json
    published: Published

    @property
    def name(self) -> str:
        """The name of the folder or repository."""
        return self.published.name

    @property
    def rank(self) -> int:
        """The rank of most updates."""
        return int(self.config.get("r", 8))

    def rank_of(self, module: str) -> int:
        """Return the rank of a module's update."""
        return int(_of_pattern(self.config.get("rank_pattern"), module, self.rank))

    def scale_of(self, module: str) -> float:
        """Return what B A of a module is multiplied by."""
        alpha = float(
            _of_pattern(self.config.get("alpha_pattern"), module, self.config.get("lora_alpha", 8))
        )
        rank = self.rank_of(module)
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)


def add_adapter(published: Published, options: Mapping[str, Any]) -> Published:
    """Return published weights together with the adapter that an encoder's options name.

    Args:
        published: The weights.
        options: With ``adapter``, a folder or ``owner/name``; None for none.

    Raises:
        DataError: There is no such adapter, or it is of a kind that cannot be merged.
    """
    given = options.get("adapter")
    if given is None:
        return published
    adapter = read_adapter(str(given), download=bool(options.get("download")))
    return replace(published, adapter=adapter.published)


def read_adapter(given: str, *, download: bool = False) -> PeftAdapter:
    """Return the adapter in a folder, its tensors not read yet.

    Args:
        given: Path of a folder, or ``owner/name`` of a repository.
        download: Whether a repository that is not in the hub's cache may be fetched.

    Raises:
        DataError: There is none, or one of a kind that cannot be merged.
    """
    if not Path(given).expanduser().is_dir() and not REPOSITORY.fullmatch(given):
        raise DataError(
            f"adapter={given}: there is no such folder", tip=f"the path of a folder with {CONFIG}"
        )
    try:
        folder = find_model_folder(given, download=download)
    except DataError as error:
        raise DataError(error.message.replace("model=", "adapter=", 1), tip=error.tip) from error
    config, tensors = folder.path / CONFIG, folder.path / TENSORS
    for path in (config, tensors):
        if not path.is_file():
            raise DataError(
                f"adapter={given}: there is no {path.name} in {folder.path}",
                tip="the folder that save_pretrained of peft writes",
            )
    found = replace(folder.find_published(), weight_files=(tensors,), other_files=(config,))
    return PeftAdapter(_read_config(config, given), found)


def _read_config(path: Path, given: str) -> Json:
    """Return an adapter's config, having checked that all that it says is understood."""
    try:
        config: Json = read_json(path, dict)
    except Exception as error:  # of the file system or of the reader
        raise DataError(f"{path}: cannot be read: {error}") from error
    for name, value in _list_unknown(config):
        raise DataError(
            f"adapter={given}: {name}={str(value)[:80]} in {path.name} is not supported",
            tip=f"accepted: {ACCEPTED}; or merge it by peft (merge_and_unload, save_pretrained) "
            "and give the merged folder as model",
        )
    return config


def _list_unknown(config: Json) -> Iterator[tuple[str, Any]]:
    """Yield the entries that would be merged wrongly."""
    if config.get("peft_type") != "LORA":
        yield "peft_type", config.get("peft_type")
    if config.get("bias", "none") != "none":
        yield "bias", config["bias"]
    if config.get("init_lora_weights", True) not in PLAIN_STARTS:
        yield "init_lora_weights", config["init_lora_weights"]
    for name, least in (("r", 1), ("lora_alpha", 0)):
        if not isinstance(config.get(name), int | float) or not config[name] >= least:
            yield name, config.get(name)
    for name in ("rank_pattern", "alpha_pattern"):
        if not _is_plain_pattern(config.get(name) or {}):
            yield name, config[name]
    for name in sorted(config.keys() - WITHOUT_EFFECT - READ):
        if config[name]:
            yield name, config[name]


def _is_plain_pattern(pattern: Any) -> bool:
    """Return whether a pattern gives positive numbers to names."""
    return isinstance(pattern, dict) and all(
        PATTERN.fullmatch(key) and isinstance(value, int | float) and value > 0
        for key, value in pattern.items()
    )


def _of_pattern(pattern: Any, module: str, default: float) -> float:
    """Return a module's own value: that of the first key that its name ends with, as peft does."""
    for key, value in (pattern or {}).items():
        if re.match(rf"(.*\.)?({key})$", module):
            return float(value)
    return default


def merge_adapter(
    encoder: Encoder, tensors: Mapping[str, Tensor], published: Published, *, needed: bool = True
) -> tuple[dict[str, Tensor], str]:
    """Return published tensors with an adapter merged into them, and a note about it.

    Args:
        encoder: Whose tensors they are.
        tensors: Published values, by the encoder's names.
        published: With the adapter.
        needed: Whether an adapter that adapts nothing of the encoder is refused.

    Raises:
        DataError: The adapter is of another architecture, or adapts what cannot be merged.
    """
    if published.adapter is None:
        raise RuntimeError(f"{published.name} comes without an adapter")
    (config,), (file,) = published.adapter.other_files, published.adapter.weight_files
    adapter = PeftAdapter(_read_config(config, published.adapter.name), published.adapter)
    found = read_tensors(published.adapter)
    merged = dict(tensors)
    updates: dict[str, dict[str, Tensor]] = {}
    modules: dict[str, str] = {}  # the patterns speak of the names in the file
    beside = set()
    for there, value in found.items():
        whole = PARTS.fullmatch(there.removeprefix(PREFIX))
        module, part = (whole[1] or whole[3], whole[2] or whole[4]) if whole else (there, "")
        name = _name_here(encoder, (module if part else there).removeprefix(PREFIX), not part)
        if name is None:
            beside.add(there)
        elif part:
            modules[name] = module.removeprefix(PREFIX)
            updates.setdefault(name, {})[part.replace("embedding_", "")] = value
        elif name not in merged or merged[name].shape != value.shape:
            raise _misfit(file, there, "is of no weight of the model")
        else:
            merged[name] = value.to(merged[name].dtype)
    if needed and not updates:
        raise DataError(
            f"{file}: adapts no weight of the encoder",
            tip="the adapter must have been trained on the model that it is given with",
        )
    for name, parts in updates.items():
        weight = _update(encoder, merged, name, parts, adapter, modules[name], file)
        merged[f"{name}.weight"] = weight
    more = f"; {len(beside)} tensors of what it does not have are not used" if beside else ""
    return merged, f"the adapter {adapter.name} is merged into {len(updates)} of its weights{more}"


def _name_here(encoder: Encoder, there: str, tensor: bool) -> str | None:
    """Return what a module or tensor of an adapter's is called in the encoder.

    Args:
        encoder: The encoder.
        there: Its name in the library's model, which may be part of one with a head.
        tensor: Whether it is a tensor.

    Returns:
        None for a part that the encoder does not have, such as a head.

    Raises:
        DataError: It is of another architecture.
    """
    if encoder.library_prefixes is None:
        raise DataError(f"{type(encoder).__name__} has no modules that peft could name")
    own, library = encoder.library_prefixes
    there = there.replace(".base_layer.", ".")
    known = encoder.state_dict().keys() if tensor else dict(encoder.named_modules()).keys()
    net: Any = encoder.get_submodule(own.rstrip("."))
    whole = f"{getattr(net, 'base_model_prefix', '') or '-'}."  # bert. of a model with a head
    for name in (there, there.removeprefix(whole)):
        here = own + name.removeprefix(library)
        if name.startswith(library) and here in known:
            return here
    if there.removeprefix(whole).split(".")[0] in (*ELSEWHERE, *encoder.other_parts):
        return None
    raise DataError(
        f"the adapter's {there} is not in the model",
        tip="the adapter must have been trained on the model that it is given with",
    )


def _update(
    encoder: Encoder,
    merged: Mapping[str, Tensor],
    name: str,
    parts: Mapping[str, Tensor],
    adapter: PeftAdapter,
    module: str,
    file: Path,
) -> Tensor:
    """Return a weight with its update.

    Raises:
        DataError: The update does not fit it.
    """
    layer, weight = encoder.get_submodule(name), merged.get(f"{name}.weight")
    if parts.keys() != {"lora_A", "lora_B"} or weight is None:
        raise _misfit(file, module, "lacks lora_A, lora_B or its weight")
    down, up = parts["lora_A"].float().flatten(1), parts["lora_B"].float().flatten(1)
    turned = isinstance(layer, nn.Embedding) or type(layer).__name__ == "Conv1D"  # (inputs, D)
    kinds = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    if (not turned and not isinstance(layer, kinds)) or getattr(layer, "groups", 1) > 1:
        raise _misfit(file, module, f"updates a {type(layer).__name__}, which cannot be merged")
    expected = (weight.shape[1], weight.shape[0]) if turned else weight.flatten(1).shape
    if (up.shape[0], down.shape[1]) != tuple(expected) or up.shape[1] != down.shape[0]:
        raise _misfit(file, module, f"does not fit its weight of shape {tuple(weight.shape)}")
    if down.shape[0] != adapter.rank_of(module):
        said = adapter.rank_of(module)
        raise _misfit(file, module, f"has rank {down.shape[0]}, and {CONFIG} says {said}")
    product = up @ down
    delta = (product.T if turned else product).reshape(weight.shape)
    with torch.no_grad():
        return (weight.float() + adapter.scale_of(module) * delta).to(weight.dtype)


def _misfit(file: Path, name: str, why: str) -> DataError:
    return DataError(
        f"{file}: {name} {why}",
        tip="the adapter must have been trained on the model that it is given with",
    )
