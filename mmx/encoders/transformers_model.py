"""Models of the library transformers: drawn fresh from a config, and read from a folder."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmx.encoders.hub import Folder
from mmx.encoders.published import Published
from mmx.encoders.wrong_paths import explain_folder, explain_weights
from mmx.errors import DataError
from mmx.extras import import_extra, keep_quiet
from mmx.json_object import Json
from mmx.library_facts import recall_facts

CALLS_POOLER = frozenset({"squeezebert", "layoutlm"})
"""Architectures of the library that call their pooler without asking whether there is one."""
READS_PADDING = frozenset({"fnet", "convbert", "data2vec-audio", "wav2vec2-conformer"})
"""Architectures whose features of a row are others beside a longer row."""
HEADS = ("pooler.", "classifier.", "lm_head.", "cls.")
"""Prefixes of tensors behind an encoder, which nothing here reads."""


def read_model_config(folder: Folder) -> Any:
    """Return a model's configuration. No code of a repository is ever run.

    Raises:
        DataError: The folder has none, or one that needs code of its own.
    """
    import_extra("transformers", "transformers")
    path = folder.path / "config.json"
    if not path.is_file():
        reason = f"{folder.path} holds no config.json"
        raise explain_folder(folder.path, reason, "the folder that save_pretrained writes")
    config = _read_config(path, path.read_bytes())
    if config.model_type == "timm_wrapper":  # a folder of timm, which the library would wrap
        raise explain_folder(folder.path, f"{path} names no architecture", "encoder/image=timm")
    return copy.deepcopy(config)  # callers set fields of theirs


@lru_cache(maxsize=16)
def _read_config(path: Path, content: bytes) -> Any:
    """Return the configuration in a file of this content."""
    library = import_extra("transformers", "transformers")
    try:
        return library.AutoConfig.from_pretrained(
            path.parent, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # of the library, for each architecture
        own_code = b"auto_map" in content
        reason = f"{path}: no architecture that transformers knows: {str(error).splitlines()[0]}"
        if own_code:
            reason = f"{path}: a model that brings code of its own, which is not run"
        tip = "the folder that save_pretrained writes, of an architecture of transformers itself"
        raise explain_folder(path.parent, reason, tip) from error


@dataclass(frozen=True)
class ConfigFacts:
    """What a configuration says that is asked of it before its model is made.

    Attributes:
        model_type: As the library calls the architecture.
        is_pair: Whether it has a part for texts and one for images.
        positions: Tokens of a text that it reads at most; None where it does not say.
        text_positions: The same of its part for texts.
    """

    model_type: str
    is_pair: bool
    positions: int | None
    text_positions: int | None


def read_config_facts(folder: Folder) -> ConfigFacts:
    """Return facts of a model's configuration; the library is asked once for equal content.

    Raises:
        DataError: As :func:`read_model_config`.
    """

    def ask() -> Json:
        config = read_model_config(folder)
        text = getattr(config, "text_config", None)
        return {
            "model_type": str(config.model_type),
            "is_pair": text is not None and hasattr(config, "vision_config"),
            "positions": getattr(config, "max_position_embeddings", None),
            "text_positions": getattr(text, "max_position_embeddings", None),
        }

    path = folder.path / "config.json"
    if not path.is_file():
        return ConfigFacts(**ask())
    content = path.read_bytes().decode(errors="replace")
    return ConfigFacts(**recall_facts("transformers", {"config": content}, ask))


def make_net(folder: Folder, *, reads: str = "", **changes: Any) -> nn.Module:
    """Return a model as its configuration says, drawn fresh, without what stands behind it.

    Args:
        folder: With ``config.json``.
        reads: What the library calls the input that it must read; empty for any.
        changes: Fields of the configuration with other values.

    Raises:
        DataError: It is no encoder, or one of another modality.
    """
    library = import_extra("transformers", "transformers")
    config = read_model_config(folder)
    if getattr(config, "is_encoder_decoder", False):
        raise DataError(f"{folder.name} is an encoder with a decoder, not an encoder alone")
    for name, value in changes.items():
        setattr(config, name, value)
    with keep_quiet("transformers"):
        net: nn.Module = library.AutoModel.from_config(config)
    if reads and (own := str(getattr(net, "main_input_name", reads))) != reads:
        raise DataError(f"model={folder.name} reads {own} ({config.model_type}), not {reads}")
    drop_pooler(net)
    return net.to(torch.float32)


def note_padding(folder: Folder) -> Iterator[str]:
    """Yield a note on a model that has no mask for the padding behind a row."""
    kind = read_config_facts(folder).model_type
    if kind in READS_PADDING:
        yield (
            f"{kind} reads the padding behind a row, as the library has it: features of a row "
            "depend a little on the longest row of its batch"
        )


def drop_pooler(net: nn.Module) -> None:
    """Leave out the pooler, which no gradient would ever reach; one without parameters stays."""
    pooler = getattr(net, "pooler", None)
    if isinstance(pooler, nn.Module) and next(pooler.parameters(), None) is not None:
        config: Any = net.config
        calls = config.model_type in CALLS_POOLER
        net.pooler = nn.Identity() if calls else None  # type: ignore[assignment]


def read_net(
    net: nn.Module, published: Published, prefix: str, whole: Any = None, part: str = ""
) -> dict[str, Tensor]:
    """Return the published tensors of a model, as the library reads them.

    Args:
        net: The model, drawn fresh.
        published: Its weights, all in one folder.
        prefix: What the names start with in the encoder.
        whole: The class of the model that the files hold, where ``net`` is a part of it.
        part: The name of that part; empty where ``net`` names its tensors as the whole does.

    Raises:
        DataError: Files are absent or unreadable, or lack tensors of the model.
    """
    names, config = list(net.state_dict()), None if whole else net.config
    found = read_model(whole or type(net), published, names, part=part, config=config)
    return {f"{prefix}{name}": tensor for name, tensor in found.items()}


def read_model(
    kind: Any, published: Published, names: Collection[str], *, part: str = "", config: Any = None
) -> dict[str, Tensor]:
    """Return some of the tensors of a model, as the library reads them.

    Args:
        kind: The class of the model that the files hold.
        published: Its weights, all in one folder.
        names: Of the tensors.
        part: The name of the part whose tensors they are; empty for the whole.
        config: The model's configuration; None for the one in the folder.

    Raises:
        DataError: Files are absent or unreadable, or lack one of the tensors.
    """
    if missing := published.missing_files():
        raise DataError(f"{published.name}: there is no {missing[0]}", tip=published.absent)
    folder = Path(published.weight_files[0]).parent
    try:
        with keep_quiet("transformers"):
            found, said = kind.from_pretrained(
                folder,
                config=config,
                local_files_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except Exception as error:  # of the library and its readers
        raise DataError(f"{folder}: cannot be read: {explain_weights(folder, error)}") from error
    start = f"{part}." if part else ""
    absent = {n.removeprefix(start) for n in said["missing_keys"] if n.startswith(start)}
    lacking = sorted(name for name in absent & {*names} if not name.startswith(HEADS))
    if lacking or said.get("mismatched_keys"):
        first = (lacking or [str(each) for each in said["mismatched_keys"]])[0]
        raise DataError(
            f"{folder}: its weights do not fill the model, {first} to begin with",
            tip="the folder must hold weights of the architecture in its config.json",
        )
    tensors = (found.get_submodule(part) if part else found).state_dict()
    return {name: tensors[name] for name in names}
