"""Published image encoders of the library transformers: ViT, DINOv2, Swin, ConvNeXt and others."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from mmx.encoders.base import Encoder
from mmx.encoders.gradient_checkpointing import checkpoint_transformers
from mmx.encoders.hub import Folder, name_folder
from mmx.encoders.normalize import Normalize
from mmx.encoders.padding import step_mask
from mmx.encoders.peft_adapter import add_adapter
from mmx.encoders.published import Published
from mmx.encoders.transformer_layers import group_layers
from mmx.encoders.transformers_model import make_net, read_net
from mmx.errors import DataError
from mmx.modalities import Features, Modality
from mmx.modalities.image import ImageSpec
from mmx.modalities.resized_image import ResizedImage, describe_size

RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""PIL's numbers of interpolations to their names."""


class Transformers(Encoder):
    """An encoder of images, of the architecture that a model's ``config.json`` states.

    It is drawn fresh; ``source=published`` starts it from the model's weights. Images are read
    as the weights expect it: their size, crop and interpolation are those of
    ``preprocessor_config.json``.

    ``tokens`` are the patches after the last layer, ``levels`` the means of each layer's, and
    ``pooled`` the class token, or the mean of the patches where there is none.

    Args:
        spec: Size of the images.
        model: A local folder with ``config.json``, or ``owner/name`` of a repository.
        size: Side in pixels of the square that images are resized to; None for the weights' own.
        revision: Commit, branch or tag of a repository; None for its main branch.
        download: Whether a repository that is not in the hub's cache may be fetched.
        adapter: A folder or repository with LoRA weights of peft, which are merged into the
            published weights; None for none.
        gradient_checkpointing: Compute each layer's activations again in the backward pass,
            rather than keep them: less memory, about a third more time, the same gradients.

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
        size: Annotated[int, Field(ge=8, le=8_192)] | None = None,
        revision: str | None = None,
        download: bool = False,
        adapter: str | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.library_prefixes = ("net.", "")
        options = {"model": model, "revision": revision, "download": download}
        self.net = make_net(name_folder(options))
        if gradient_checkpointing:
            checkpoint_transformers(self.net)
        settings = read_preprocessor(name_folder(options))
        self.normalize = Normalize(settings["mean"], settings["std"])
        # A ViT reads other sizes than its own with its positions interpolated.
        own = getattr(self.net.config, "image_size", None)
        own = (own, own) if isinstance(own, int) else tuple(own or ())
        self.interpolates = bool(own) and own != (spec.height, spec.width)
        mode = self.net.training
        with torch.no_grad():
            seen = self.eval()(torch.zeros(1, 3, spec.height, spec.width))
        self.train(mode)
        self.width = seen.pooled.shape[1]
        self.level_widths = tuple(level.shape[1] for level in seen.levels)

    @classmethod
    def find_published(cls, **options: Any) -> Published:
        """Return the weights in the model's folder, with the adapter."""
        return add_adapter(name_folder(options).find_published(), options)

    @classmethod
    def read_with(cls, modality: Modality[Any, Any] | None, **options: Any) -> Modality[Any, Any]:
        """Return images as the weights expect them, with the task's augmentation."""
        settings = read_preprocessor(name_folder(options))
        side = options.get("size")
        return ResizedImage(
            modality,  # type: ignore[arg-type]
            size=(side, side) if side else settings["size"],
            crop_part=settings["crop_part"],
            interpolation=settings["interpolation"],
            how=settings["how"],
        )

    @classmethod
    def describe_deviations(cls, spec: ImageSpec, **options: Any) -> tuple[str, ...]:
        """Return that images have another size than the weights were trained on."""
        own = read_preprocessor(name_folder(options))["size"]
        return describe_size((spec.height, spec.width), own, "encoder.image.size")

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode images.

        Args:
            x: ``(B, 3, H, W)`` in [0, 1].
            lengths: Not used.

        Returns:
            Tokens ``(B, T, D)`` and one level for each layer or stage.
        """
        more = {"interpolate_pos_encoding": True} if self.interpolates else {}
        found = self.net(pixel_values=self.normalize(x), output_hidden_states=True, **more)
        last = found.last_hidden_state
        levels = tuple(_mean(each) for each in found.hidden_states[1:])
        if last.ndim == 4:  # (B, D, H, W)
            tokens = last.flatten(2).transpose(1, 2)
            return Features(tokens, step_mask(None, tokens), tokens.mean(1), levels)
        extra = self._count_prefix()
        tokens = last[:, extra:]
        pooled = last[:, 0] if extra else tokens.mean(1)
        return Features(tokens, step_mask(None, tokens), pooled, levels)

    def _count_prefix(self) -> int:
        """Return how many tokens come before the patches: a class token, registers."""
        names = [name.rsplit(".", 1)[-1] for name, _ in self.net.named_parameters()]
        registers = int(getattr(self.net.config, "num_register_tokens", 0) or 0)
        return int("cls_token" in names) + int("distillation_token" in names) + registers

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the embeddings, then the layers, then what follows them."""
        return group_layers(self.net, "net.")

    def read_published(self, published: Published) -> dict[str, Tensor]:
        """Return the model's weights as the library reads them; see :class:`Encoder`."""
        return read_net(self.net, published, "net.")


def read_preprocessor(folder: Folder) -> dict[str, Any]:
    """Return size, crop, interpolation, mean and std that a model's weights expect.

    Raises:
        DataError: The folder does not say.
    """
    import json

    path = folder.path / "preprocessor_config.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        size = _sides(data["size"])
        crop = _sides(data["crop_size"]) if data.get("do_center_crop") else None
        shortest = isinstance(data["size"], dict) and "shortest_edge" in data["size"]
        return {
            "size": crop or size,
            "crop_part": 1.0 if crop is None else crop[0] / size[0],
            "how": "center" if shortest or crop else "squash",
            "interpolation": RESAMPLING[int(data.get("resample", 2))],
            "mean": data.get("image_mean") or [0.0] * 3,
            "std": data.get("image_std") or [1.0] * 3,
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: does not say how images are read: {error!r}",
            tip="the folder must hold preprocessor_config.json with size, image_mean and image_std",
        ) from error


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
