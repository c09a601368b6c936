"""ImageNet weights that torchvision publishes: where they lie, and when they are fetched."""

from __future__ import annotations

import urllib.error
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from mmx.encoders.base import Encoder
from mmx.encoders.normalize import Normalize
from mmx.encoders.published import Published
from mmx.errors import DataError
from mmx.modalities.image import ImageSpec
from mmx.modalities.resized_image import describe_size

Stem = Literal["auto", "small", "standard"]
Normalization = Literal["published", "centered"]
SMALL_SIDE = 96  # pixels; STL-10's images are the largest that the small stem suits
LICENCE = "BSD-3-Clause, trained on ImageNet-1k"


class TorchvisionEncoder(Encoder):
    """Base of the networks whose ImageNet weights torchvision publishes.

    Attributes:
        published_weights: The member of torchvision's enumeration of weights.
        modality: What it reads, for messages.
        licence: Of the weights.
    """

    published_weights: ClassVar[Any]
    modality: ClassVar[str] = "image"
    licence: ClassVar[str] = LICENCE

    @classmethod
    def find_published(cls, **options: Any) -> Published:
        """Return torchvision's weights: from ``weights``, else torch's cache.

        Raises:
            DataError: They are to be fetched, and cannot be.
        """
        url = cls.published_weights.url
        name = f"{cls.published_weights}".replace("_Weights", "").replace(".", " ")
        if given := options.get("weights"):
            path, origin = Path(given).expanduser(), str(given)
            name = path.name
        else:
            path, origin = find_cached_file(url), url
            if options.get("download") and not path.is_file():
                fetch(url, path)
        return Published(
            name,
            (path,),
            origin=origin,
            licence=None if given else cls.licence,
            absent=f"download=true fetches it from {url}; or encoder.{cls.modality}.weights=<file>",
            named=bool(given),
        )

    @classmethod
    def describe_deviations(cls, spec: Any, **options: Any) -> tuple[str, ...]:
        """Return in what images are shown otherwise than the weights were trained on."""
        (side,) = cls.published_weights.transforms().crop_size
        found = list(describe_size((spec.height, spec.width), (side, side), "target.image.size"))
        if options.get("normalization") == "centered":
            found.append(
                "images are centred otherwise than for the weights: "
                "encoder.image.normalization=published"
            )
        return tuple(found)

    @classmethod
    def make_normalize(cls, normalization: Normalization) -> Normalize:
        """Return what centres and scales images."""
        if normalization == "centered":
            return Normalize((0.5,), (0.25,))
        preset = cls.published_weights.transforms()
        return Normalize(tuple(preset.mean), tuple(preset.std))


def has_small_stem(stem: Stem, spec: ImageSpec) -> bool:
    """Return whether the stem keeps the resolution of small images.

    ``auto`` is standard for images with a side above 96 pixels, small for all others.
    """
    return max(spec.height, spec.width) <= SMALL_SIDE if stem == "auto" else stem == "small"


def find_cached_file(url: str) -> Path:
    """Return where torch keeps its copy of published weights, whether it is there or not."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def fetch(url: str, path: Path) -> None:
    """Fetch published weights to torch's cache, and check their digest.

    Raises:
        DataError: They cannot be fetched, or are not what was published.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = path.stem.rsplit("-", 1)[-1]  # torchvision names a file by its SHA-256
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=digest, progress=True)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise DataError(
            f"cannot fetch {url}: {error}", tip=f"fetch it elsewhere and put it at {path}"
        ) from error
