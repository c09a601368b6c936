"""An encoder of images on every frame, and what the frames are together."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, get_type_hints

import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor, nn

import mmx.encoders.image
from mmx.encoders.base import Encoder, FollowsInput
from mmx.encoders.padding import step_mask
from mmx.encoders.positions import make_positions
from mmx.encoders.published import Published
from mmx.errors import closest
from mmx.modalities import Features, Modality
from mmx.modalities.image import ImageSpec
from mmx.modalities.video import Video, VideoSpec

FramePooling = Literal["mean", "attention"]


class Frames(Encoder):
    """The pooled vector of each frame from an encoder of images, and their mean.

    Use it to start from published weights of images (``image=timm``), of which there are many more
    than of videos, and where single frames tell most. With ``pooling=attention`` a layer of
    self-attention over the frames, which knows their order, comes before the mean; with ``mean``
    the order of the frames makes no difference.

    ``tokens`` are the frames, T of them; ``levels`` are those of the encoder of images, their mean
    over the frames, and ``pooled`` is the mean of the tokens.

    Args:
        spec: Number and size of the frames.
        image: The encoder of images: a name that ``encoder/image`` takes, such as ``small_cnn``,
            ``resnet18`` or ``timm``.
        options: Its options, but for the four that follow: ``{width: 64}``.
        model: As the encoder of images takes it: an architecture, a folder or ``owner/name``.
        weights: As the encoder of images takes it: a file with published weights.
        revision: As the encoder of images takes it: a commit, branch or tag.
        download: Whether published weights may be fetched.
        pooling: ``mean`` of the frames, or ``attention`` over them first.
        heads: Attention heads; the width of the encoder of images is a multiple of them.

    Raises:
        DataError, ValueError: There is no such encoder of images, it does not take the options, or
            refuses their values.
    """

    def __init__(
        self,
        spec: VideoSpec,
        *,
        image: str = "small_cnn",
        options: dict[str, Any] | None = None,
        model: str | None = None,
        weights: str | None = None,
        revision: str | None = None,
        download: bool = False,
        pooling: FramePooling = "mean",
        heads: Annotated[int, Field(ge=1, le=1_024)] = 4,
    ) -> None:
        super().__init__()
        kind, given = _read_options(
            image=image,
            options=options,
            model=model,
            weights=weights,
            revision=revision,
            download=download,
        )
        self.image = kind(ImageSpec(spec.height, spec.width), **given)
        self.width = self.image.width
        self.level_widths = self.image.level_widths
        self.attention: nn.Module | None = None
        if pooling == "attention":
            if self.width % heads or self.width % 2:
                raise ValueError(
                    f"`heads` (={heads}) must divide the width of {image} (={self.width}), "
                    "which must be even"
                )
            self.attention = nn.TransformerEncoderLayer(
                self.width, heads, 2 * self.width, 0.0, batch_first=True, norm_first=True
            )

    @classmethod
    def find_published(cls, **options: Any) -> Published | None:
        """Return the published weights of the encoder of images."""
        kind, given = _read_options(**options)
        return kind.find_published(**given)

    @classmethod
    def read_with(cls, modality: Modality[Any, Any] | None, **options: Any) -> Modality[Any, Any]:
        """Return clips whose frames are read as the encoder of images expects it."""
        kind, given = _read_options(**options)
        video = modality if isinstance(modality, Video) else Video()
        return video.read_frames_with(kind.read_with(video.image, **given))

    @classmethod
    def describe_deviations(cls, spec: VideoSpec, **options: Any) -> tuple[str, ...]:
        """Return in what frames differ from the images that the weights were trained on."""
        kind, given = _read_options(**options)
        found = kind.describe_deviations(ImageSpec(spec.height, spec.width), **given)
        return tuple(each.replace("image.size", "video.size") for each in found)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode clips.

        Args:
            x: ``(B, T, 3, H, W)`` in [0, 1].
            lengths: Not used.

        Returns:
            Tokens ``(B, T, D)``, the levels of the encoder of images.
        """
        batch, frames = x.shape[:2]
        # All frames of the batch as one batch of images, (B T, 3, H, W).
        images = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        found = self.image(images)
        tokens = found.pooled.unflatten(0, (batch, frames))  # (B, T, D)
        # Levels are means over frames: they are vectors of a clip.
        levels = tuple(each.unflatten(0, (batch, frames)).mean(1) for each in found.levels)
        if self.attention is not None:
            places = make_positions(frames, self.width, x.device).to(tokens.dtype)
            tokens = self.attention(tokens + places)
        # every clip has as many frames
        return Features(tokens, step_mask(None, tokens), tokens.mean(1), levels)

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the depths of the encoder of images, then the attention."""
        found = tuple(
            tuple(f"image.{prefix}" for prefix in prefixes) for prefixes in self.image.depths()
        )
        return found if self.attention is None else (*found, ("attention.",))

    def input_tensors(self) -> dict[str, FollowsInput]:
        """Return those of the encoder of images."""
        return {f"image.{name}": how for name, how in self.image.input_tensors().items()}

    def read_published(self, published: Published) -> dict[str, Tensor]:
        """Return the published tensors of the encoder of images."""
        found = self.image.read_published(published)
        return {f"image.{name}": value for name, value in found.items()}


def _read_options(**given: Any) -> tuple[type[Encoder], dict[str, Any]]:
    """Return the class of the encoder of images, and the options that it takes.

    Raises:
        ValueError: There is no such encoder, or it does not take an option that is set.
    """
    name = given.get("image", "small_cnn")
    kinds = list_image_encoders()
    if name not in kinds:
        near = closest(name, list(kinds))
        raise ValueError(
            f"`image` (={name}) is no encoder of images; accepted: {', '.join(kinds)}"
            + (f"; closest: {near}" if near else "")
        )
    kind = kinds[name]
    taken = inspect.signature(kind).parameters
    options: dict[str, Any] = dict(given.get("options") or {})
    for key in ("model", "weights", "revision", "download"):
        if given.get(key):
            options[key] = given[key]
    if "download" not in taken:  # it says what may be done, not what is to be done
        options.pop("download", None)
    for key in options:
        if key not in taken or key == "spec":
            known = ", ".join(each for each in taken if each != "spec")
            raise ValueError(f"`image` (={name}) takes no option `{key}`; accepted: {known}")
        _check_option(name, kind, key, options[key])
    needs_model = "model" in taken and taken["model"].default is inspect.Parameter.empty
    if needs_model and "model" not in options:
        raise ValueError(f"`model` must be set where `image` is {name}")
    return kind, options


def _check_option(name: str, kind: type[Encoder], key: str, value: Any) -> None:
    """Raise ValueError if a value does not fit an option of an encoder of images."""
    hint = get_type_hints(kind.__init__, include_extras=True)[key]
    try:
        TypeAdapter(hint).validate_python(value, strict=True)
    except ValidationError as error:
        why = error.errors()[0]["msg"]
        raise ValueError(f"`options.{key}` (={value}) of image={name}: {why}") from error


@cache
def list_image_encoders() -> Mapping[str, type[Encoder]]:
    """Return the encoders of images by the names that ``encoder/image`` takes."""
    found: dict[str, type[Encoder]] = {}
    for module in pkgutil.iter_modules(mmx.encoders.image.__path__):
        path = f"{mmx.encoders.image.__name__}.{module.name}"
        own = [
            each
            for each in vars(importlib.import_module(path)).values()
            # An alias such as dict[str, int] is a class to Python 3.10: the module comes first.
            if inspect.isclass(each)
            and each.__module__ == path
            and issubclass(each, Encoder)
            and not inspect.isabstract(each)
        ]
        for kind in own:
            name = kind.__name__.lower()
            if len(own) == 1 and name == module.name.replace("_", ""):
                found[module.name] = kind
            elif kind.__bases__[0] in own:  # a depth of a family, such as ResNet18
                found[name] = kind
    return dict(sorted(found.items()))
