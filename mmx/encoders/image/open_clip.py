"""The image towers of image-text pairs of the library open_clip: CLIP, SigLIP and others."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mmx.encoders.base import TextTower
from mmx.encoders.hub import Folder, name_folder
from mmx.encoders.hub_encoder import share_options
from mmx.encoders.image.hub_image_encoder import HubImageEncoder, ImageSide, Preprocessing
from mmx.encoders.image.timm import group_tensors
from mmx.encoders.normalize import Normalize
from mmx.encoders.open_clip_model import (
    find_weights,
    make_tower,
    order_depths,
    read_pair_config,
    read_scale,
    read_tower,
)
from mmx.encoders.padding import step_mask
from mmx.encoders.published import Published
from mmx.encoders.text.open_clip import OpenClip as TextOpenClip
from mmx.errors import DataError
from mmx.extras import import_extra
from mmx.modalities import Features
from mmx.modalities.image import ImageSpec
from mmx.modalities.resized_image import Crop

RESNET = ("layer1", "layer2", "layer3", "layer4", "attnpool")
"""The parts of a ResNet of CLIP behind its stem."""
RESIZING: dict[str, Crop] = {"shortest": "center", "longest": "pad", "squash": "squash"}
"""What open_clip calls the ways to resize an image."""


class OpenClip(HubImageEncoder):
    """The image tower of a pair, of the architecture that ``open_clip_config.json`` states.

    Use it for images where there are published pairs, which also answer from the names of the
    classes alone: ``control=zero_shot``. Its options are those of
    :class:`~mmx.encoders.image.hub_image_encoder.HubImageEncoder`, without adapter and
    gradient checkpointing.

    ``pooled`` is what the library's ``encode_image`` returns, in the space that the pair has in
    common, before it is normalised. ``tokens`` are the patches, projected into the same space
    where the tower's projection allows it, else ``pooled`` alone; ``levels`` are the means of
    each layer's patches.

    Raises:
        DataError: There is no such pair, or open_clip cannot make it.

    Example:
        mmx train source=published target=cifar10 encoder/image=open_clip
        encoder.image.model=clip-vit-b-32 transfer=feature control=zero_shot
    """

    library_prefixes = None

    library = "open_clip_torch"

    def __init__(
        self,
        spec: ImageSpec,
        *,
        model: str,
        size: ImageSide | None = None,
        revision: str | None = None,
        download: bool = False,
    ) -> None:
        super().__init__()
        folder = name_folder({"model": model, "revision": revision, "download": download})
        self.size = size
        self.net = make_tower(folder, "visual", size)
        shown = read_preprocessing(folder, size)
        self.normalize = Normalize(shown.mean, shown.std)
        self.measure_widths(spec)

    @classmethod
    def find_published(cls, **options: Any) -> Published:
        """Return the weights in the pair's folder."""
        return find_weights(options)

    @classmethod
    def text_tower(cls, **options: Any) -> TextTower:
        """Return the pair's other tower."""
        return TextTower(share_options(TextOpenClip, options), read_scale)

    @classmethod
    def find_preprocessing(cls, **options: Any) -> Preprocessing:
        """Return what ``open_clip_config.json`` says of images."""
        return read_preprocessing(name_folder(options), options.get("size"))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode images.

        Args:
            x: ``(B, 3, H, W)`` in [0, 1].
            lengths: Not used.

        Returns:
            Tokens ``(B, T, D)`` and one level for each layer or stage.
        """
        net: Any = self.net
        trunk = getattr(net, "trunk", net)  # a network of timm's stands in another module
        if not hasattr(trunk, "forward_intermediates"):
            pooled = net(self.normalize(x))
            return Features(pooled[:, None], step_mask(None, pooled[:, None]), pooled)
        found = net.forward_intermediates(self.normalize(x))
        layers, pooled = found["image_intermediates"], found["image_features"]  # (B, D_k, H, W)
        tokens = _project(net, layers[-1].flatten(2).transpose(1, 2), pooled)
        levels = tuple(layer.mean((2, 3)) for layer in layers)
        return Features(tokens, step_mask(None, tokens), pooled, levels)

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the embeddings or the stem, then the layers; the projection is in the last."""
        net: Any = self.net
        if hasattr(net, "trunk"):
            trunk = group_tensors(net.trunk, "net.trunk.")
            head = tuple(f"net.head.{name}" for name in net.head.state_dict())
            return (*trunk, head) if head else trunk
        if not hasattr(net, "attnpool"):
            return order_depths(self.net)
        stem = (name for name in net.state_dict() if not name.startswith(RESNET))
        return (tuple(f"net.{name}" for name in stem), *((f"net.{part}.",) for part in RESNET))

    def read_published(self, published: Published) -> dict[str, Tensor]:
        """Return the tower's weights as the library reads them; see :class:`Encoder`.

        Positions of another number of patches are interpolated, as the library does it.
        """
        return read_tower(self.net, published, "visual", self.size)


def _project(net: nn.Module, patches: Tensor, pooled: Tensor) -> Tensor:
    """Return patches ``(B, T, D_k)`` in the common space ``(B, T, D)``.

    They go where the pooled vector goes: through the last normalisation and the projection.
    """
    projection = getattr(net, "proj", None)
    if projection is not None and getattr(net, "attn_pool", None) is None:
        tokens: Tensor = net.ln_post(patches) @ projection  # type: ignore[operator]
        return tokens
    if hasattr(net, "trunk") and patches.shape[2] == pooled.shape[1]:
        return patches
    return pooled[:, None]  # an attention pools them: single patches are not in that space


def read_preprocessing(folder: Folder, size: int | None = None) -> Preprocessing:
    """Return how images are shown to a pair.

    What the configuration leaves open is as open_clip fills it in.

    Raises:
        DataError: It asks for steps that are not taken here.
    """
    library = import_extra("open_clip.transform", "clip")
    config = read_pair_config(folder)
    given = library.merge_preprocess_dict(
        library.PreprocessCfg(), config.get("preprocess_cfg") or {}
    )
    # The library lets the tower's size overrule the one of the preprocessing.
    side = size or config["model_cfg"]["vision_cfg"].get("image_size", 224)
    height, width = (side, side) if isinstance(side, int) else side
    how = RESIZING[given["resize_mode"]]
    if how == "pad" and given["fill_color"]:
        raise DataError(
            f"{folder.path}: fills what an image leaves of its square with colour "
            f"{given['fill_color']}, and only 0, black, is possible here"
        )
    # Of a square's other shapes the library resizes by its default.
    plain = height == width or how != "center"
    bilinear = given["interpolation"] == "bilinear" and plain
    return Preprocessing(
        size=(int(height), int(width)),
        mean=given["mean"],
        std=given["std"],
        interpolation="bilinear" if bilinear else "bicubic",
        how=how,
    )
