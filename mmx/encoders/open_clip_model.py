"""Image-text pairs of the library open_clip: two towers, one file of weights."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor, nn

from mmx.encoders.hub import Folder, name_folder
from mmx.encoders.published import Published
from mmx.encoders.transformer_layers import group_layers
from mmx.errors import DataError
from mmx.extras import import_extra

Tower = Literal["visual", "text"]
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
"""What the file of a pair's weights is called, in the order in which the library looks."""
PROJECTIONS = ("net.proj", "net.text_projection")
"""Projections into the common space: the library registers them first, and applies them last."""


def find_weights(options: Mapping[str, Any]) -> Published:
    """Return the weights of a pair: of several files in a folder, the one that open_clip reads."""
    folder = name_folder(options)
    found = folder.find_published()
    there = [folder.path / name for name in WEIGHTS if (folder.path / name).is_file()]
    return replace(found, weight_files=(there[0] if there else folder.path / WEIGHTS[0],))


def read_pair_config(folder: Folder) -> dict[str, Any]:
    """Return what ``open_clip_config.json`` says: ``model_cfg`` and ``preprocess_cfg``.

    Raises:
        DataError: There is none, or it names a kind of model that is not read here.
    """
    path = folder.path / "open_clip_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        model = config["model_cfg"]
        text, _ = model["text_cfg"], model["vision_cfg"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: cannot be read as a model of open_clip: {error!r}",
            tip="the folder must hold open_clip_config.json with model_cfg and preprocess_cfg",
        ) from error
    if "multimodal_cfg" in model:
        raise DataError(f"{path}: a captioning model (CoCa) is not read, only pairs of towers")
    if text.get("hf_model_name"):
        raise DataError(
            f"{path}: the architecture of its text tower is not in the folder but in "
            f"{text['hf_model_name']}, which is not read"
        )
    return dict(config)


def make_tower(folder: Folder, tower: Tower, size: int | None = None) -> nn.Module:
    """Return one tower of a pair as the configuration says, drawn fresh.

    Args:
        folder: Of the pair.
        tower: ``visual`` or ``text``.
        size: Side of the images in pixels; None for the weights' own.

    Raises:
        DataError: open_clip cannot make it.
    """
    library = import_extra("open_clip.model", "clip")
    config = read_pair_config(folder)["model_cfg"]
    quick = bool(config.get("quick_gelu", False))
    try:
        if tower == "text":
            net = library._build_text_tower(config["embed_dim"], config["text_cfg"], quick)
        else:
            vision = {**config["vision_cfg"], "timm_model_pretrained": False}
            vision |= {} if size is None else {"image_size": size}
            net = library._build_vision_tower(config["embed_dim"], vision, quick)
            if size is not None and hasattr(net, "set_input_size"):
                net.set_input_size(size)
    except Exception as error:  # of the library, for each architecture
        raise DataError(
            f"{folder.path}: open_clip cannot make its {tower} tower: {error}",
            tip="the config must be of a model that this version of open_clip knows",
        ) from error
    made: nn.Module = net
    return made


def read_pair(published: Published, size: int | None = None) -> nn.Module:
    """Return a pair with its published weights, as the library reads them.

    Raises:
        DataError: Files are absent or unreadable, or of another architecture.
    """
    library = import_extra("open_clip", "clip")
    if missing := published.missing_files():
        raise DataError(f"{published.name}: there is no {missing[0]}", tip=published.absent)
    file = published.weight_files[0]
    config = read_pair_config(Folder(file.parent, published.name))
    # A network of timm's takes another size once it has its weights, others before.
    later = size is not None and "timm_model_name" in config["model_cfg"]["vision_cfg"]
    try:
        with _silence():
            pair: nn.Module = library.create_model(
                f"local-dir:{file.parent}",
                load_weights=False,
                pretrained_text=False,
                force_image_size=None if later else size,
                force_custom_text=True,  # both towers are modules of their own then
            )
            library.load_checkpoint(pair, str(file), strict=True, weights_only=True)
            if later:
                pair.visual.set_input_size(size)  # type: ignore[operator,union-attr]
    except Exception as error:  # of the library and its readers
        raise DataError(
            f"{file}: cannot be read as weights of this pair: {str(error).splitlines()[0]}",
            tip="the file must hold weights of the architecture in open_clip_config.json",
        ) from error
    return pair.float()


def read_tower(
    net: nn.Module, published: Published, tower: Tower, size: int | None = None
) -> dict[str, Tensor]:
    """Return the published tensors of a tower, by their names in the encoder."""
    found = read_pair(published, size).get_submodule(tower).state_dict()
    return {f"net.{name}": found[name] for name in net.state_dict()}


def read_scale(published: Published) -> tuple[float, float]:
    """Return scale and bias of the logits: scale · cosine + bias."""
    pair: Any = read_pair(published)
    bias = 0.0 if pair.logit_bias is None else float(pair.logit_bias.detach())
    return float(pair.logit_scale.detach().exp()), bias


def order_depths(net: nn.Module) -> tuple[tuple[str, ...], ...]:
    """Return the input, each layer, and what follows: the projection is part of the last."""
    *before, last = group_layers(net, "net.")
    kept = [tuple(name for name in depth if name not in PROJECTIONS) for depth in before]
    moved = tuple(name for depth in before for name in depth if name in PROJECTIONS)
    return (*(depth for depth in kept if depth), (*last, *moved))


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the library from logging to the terminal that it has read no weights yet."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
