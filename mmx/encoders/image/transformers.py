"""Published image encoders of the library transformers: ViT, DINOv2, Swin, ConvNeXt, CLIP."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmx.encoders.base import TextTower
from mmx.encoders.gradient_checkpointing import checkpoint_transformers
from mmx.encoders.hub import Folder, name_folder
from mmx.encoders.hub_encoder import share_options
from mmx.encoders.image.hub_image_encoder import HubImageEncoder, ImageSide, Preprocessing
from mmx.encoders.normalize import Normalize
from mmx.encoders.padding import step_mask
from mmx.encoders.published import Published
from mmx.encoders.text.transformers import Transformers as TextTransformers
from mmx.encoders.transformers_model import make_net, read_model_config
from mmx.encoders.transformers_pair import (
    TEXT_PARTS,
    PairImageTower,
    find_family,
    make_pair_tower,
    read_pair_scale,
    read_pair_tower,
)
from mmx.encoders.wrong_paths import explain_folder
from mmx.modalities import Features
from mmx.modalities.image import ImageSpec

RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""PIL's numbers of interpolations to their names."""


class Transformers(HubImageEncoder):
    """An encoder of images, of the architecture that a model's ``config.json`` states.

    Use it for images where there are published weights. Its options are those of
    :class:`~mmx.encoders.image.hub_image_encoder.HubImageEncoder`; ``preprocessor_config.json``
    says how images are shown to it.

    ``tokens`` are the patches after the last layer, ``levels`` the means of each layer's, and
    ``pooled`` the class token, or the mean of the patches where there is none.

    Of a pair of CLIP or SigLIP it is the image tower, and ``control=zero_shot`` can answer:
    ``pooled`` is what the library's ``get_image_features`` returns, in the space that the pair
    has in common, before it is normalised; ``tokens`` are the patches in the same space, of
    SigLIP, which pools them by attention, ``pooled`` alone.

    Raises:
        DataError: There is no such model, or it is no encoder of images.

    Example:
        mmx train source=published target=stl10 encoder/image=transformers
        encoder.image.model=dinov2-small transfer=feature
    """

    def __init__(
        self,
        spec: ImageSpec,
        *,
        model: str,
        size: ImageSide | None = None,
        revision: str | None = None,
        download: bool = False,
        adapter: str | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        folder = name_folder({"model": model, "revision": revision, "download": download})
        family = find_family(folder)
        self.net: nn.Module
        self.shuffles = False
        if family is None:
            # A masked autoencoder shows three of four patches to no layer unless it is told to.
            self.shuffles = read_model_config(folder).model_type == "vit_mae"
            changes = {"mask_ratio": 0.0} if self.shuffles else {}
            self.net = make_net(folder, reads="pixel_values", **changes)
        else:
            self.net, self.other_parts = make_pair_tower(folder, family.images), TEXT_PARTS
        if gradient_checkpointing:
            checkpoint_transformers(getattr(self.net, "checkpointed", self.net))
        shown = read_preprocessor(folder)
        self.normalize = Normalize(shown.mean, shown.std)
        # A ViT reads other sizes than its own with its positions interpolated.
        own = getattr(self.net.config, "image_size", None)
        own = (own, own) if isinstance(own, int) else tuple(own or ())
        self.interpolates = bool(own) and own != (spec.height, spec.width)
        self.measure_widths(spec)

    @classmethod
    def find_preprocessing(cls, **options: Any) -> Preprocessing:
        """Return what ``preprocessor_config.json`` says; ``size`` takes the place of its own."""
        shown, side = read_preprocessor(name_folder(options)), options.get("size")
        return replace(shown, size=(side, side)) if side else shown

    @classmethod
    def text_tower(cls, **options: Any) -> TextTower | None:
        """Return the other tower of a pair; None for a model that is none."""
        if find_family(name_folder(options)) is None:
            return None
        return TextTower(share_options(TextTransformers, options), read_pair_scale)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode images.

        Args:
            x: ``(B, 3, H, W)`` in [0, 1].
            lengths: Not used.

        Returns:
            Tokens ``(B, T, D)`` and one level for each layer or stage.
        """
        x = self.normalize(x)
        if isinstance(self.net, PairImageTower):
            tokens, pooled, layers = self.net(x, interpolate=self.interpolates)
            return Features(tokens, step_mask(None, tokens), pooled, tuple(map(_mean, layers)))
        more: dict[str, Any] = {"interpolate_pos_encoding": True} if self.interpolates else {}
        if self.shuffles:
            more["noise"] = self._order_patches(x)
        found = self.net(pixel_values=x, output_hidden_states=True, **more)
        last = found.last_hidden_state
        levels = tuple(_mean(each) for each in found.hidden_states[1:])
        if last.ndim == 4:  # (B, D, H, W)
            tokens = last.flatten(2).transpose(1, 2)
            return Features(tokens, step_mask(None, tokens), tokens.mean(1), levels)
        extra = self._count_prefix()
        tokens = last[:, extra:]
        pooled = last[:, 0] if extra else tokens.mean(1)
        return Features(tokens, step_mask(None, tokens), pooled, levels)

    def _order_patches(self, x: Tensor) -> Tensor:
        """Return ``(B, T)`` by which a masked autoencoder sorts its patches: as they are."""
        side = int(self.net.config.patch_size)  # type: ignore[union-attr,arg-type]
        count = (x.shape[2] // side) * (x.shape[3] // side)
        return torch.arange(count, device=x.device, dtype=torch.float32).expand(len(x), -1)

    def _count_prefix(self) -> int:
        """Return how many tokens come before the patches: a class token, registers."""
        names = [name.rsplit(".", 1)[-1] for name, _ in self.net.named_parameters()]
        registers = int(getattr(self.net.config, "num_register_tokens", 0) or 0)
        return int("cls_token" in names) + int("distillation_token" in names) + registers

    def read_published(self, published: Published) -> dict[str, Tensor]:
        """Return the model's weights as the library reads them; see :class:`Encoder`."""
        if isinstance(self.net, PairImageTower):
            return read_pair_tower(self.net, published, self.prefix)
        return super().read_published(published)


def read_preprocessor(folder: Folder) -> Preprocessing:
    """Return how images are shown to a model.

    Raises:
        DataError: The folder does not say.
    """
    path = folder.path / "preprocessor_config.json"
    try:
        data = _read_settings(folder.path)
        size = _sides(data["size"])
        crop = _sides(data["crop_size"]) if data.get("do_center_crop") else None
        shortest = isinstance(data["size"], dict) and "shortest_edge" in data["size"]
        return Preprocessing(
            size=crop or size,
            crop_part=1.0 if crop is None else crop[0] / size[0],
            how="center" if shortest or crop else "squash",
            interpolation=RESAMPLING[int(data.get("resample", 2))],
            mean=data.get("image_mean") or [0.0] * 3,
            std=data.get("image_std") or [1.0] * 3,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = "there is none" if isinstance(error, FileNotFoundError) else repr(error)
        raise explain_folder(
            folder.path,
            f"{path}: does not say how images are read: {why}",
            "the folder must hold preprocessor_config.json with size, image_mean and image_std",
        ) from error


def _read_settings(folder: Path) -> dict[str, Any]:
    """Return the settings of images, which newer versions of the library keep with the texts'."""
    path = folder / "preprocessor_config.json"
    if not path.is_file() and (both := folder / "processor_config.json").is_file():
        return dict(json.loads(both.read_text(encoding="utf-8"))["image_processor"])
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _sides(size: Any) -> tuple[int, int]:
    """Return (height, width) of a size as a preprocessing states it."""
    if isinstance(size, int):
        return size, size
    if "shortest_edge" in size:
        return int(size["shortest_edge"]), int(size["shortest_edge"])
    return int(size["height"]), int(size["width"])


def _mean(state: Tensor) -> Tensor:
    """Return ``(B, D)`` of a layer's tokens ``(B, T, D)`` or map ``(B, D, H, W)``."""
    return state.mean(1) if state.ndim == 3 else state.mean((2, 3))
