"""Published ImageNet weights: finding, fetching and loading them."""

from __future__ import annotations

import urllib.error
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from mmx.errors import DataError
from mmx.modalities.image import ImageSpec

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Stem = Literal["auto", "small", "standard"]
SMALL_SIDE = 96  # pixels; largest side for the small stem, that of STL-10's images


class Normalize(nn.Module):
    """Standardises images: as ImageNet weights expect, or else from [0, 1] to [-2, 2]."""

    def __init__(self, *, imagenet: bool) -> None:
        super().__init__()
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if imagenet else ((0.5,), (0.25,))
        # Constants of the architecture, so checkpoints and transfer reports leave them out.
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` ``(B, 3, H, W)`` standardised."""
        return (x - self.get_buffer("mean")) / self.get_buffer("std")


def uses_small_stem(stem: Stem, spec: ImageSpec, *, pretrained: bool) -> bool:
    """Return whether the stem keeps the resolution of the images.

    ``auto`` is the standard stem where weights are loaded, since they were trained with it,
    and for images with a side above 96 pixels. For all others it is the small stem.
    """
    if stem == "auto":
        return not pretrained and max(spec.height, spec.width) <= SMALL_SIDE
    return stem == "small"


def load_weights(
    net: nn.Module, *, url: str, weights: str | None, download: bool, fresh: tuple[str, ...]
) -> None:
    """Load published weights into a torchvision network.

    Args:
        net: The network, without its classifier.
        url: Where torchvision publishes the weights.
        weights: A local ``.pth`` or ``.safetensors`` file to read instead.
        download: Whether ``url`` may be fetched when it is not in torch's cache.
        fresh: Prefixes of the names of tensors that are not loaded: the classifier, and a stem
            of another shape.

    Raises:
        DataError: The file is absent or unreadable, or does not fit the network.
    """
    path = Path(weights).expanduser() if weights else _fetch_cached(url, download=download)
    if not path.is_file():
        raise DataError(f"weights={weights}: there is no such file")

    def is_loaded(name: str) -> bool:
        return not name.startswith(fresh)

    # Both sides without the fresh tensors, so that any other difference is reported.
    found = {name: tensor for name, tensor in _read_tensors(path).items() if is_loaded(name)}
    wanted = {name: tensor for name, tensor in net.state_dict().items() if is_loaded(name)}
    wrong = [
        *(f"{name}: not in the file" for name in wanted.keys() - found.keys()),
        *(f"{name}: not in the network" for name in found.keys() - wanted.keys()),
        *(
            f"{name}: shape {tuple(found[name].shape)} in the file, "
            f"{tuple(wanted[name].shape)} in the network"
            for name in wanted.keys() & found.keys()
            if found[name].shape != wanted[name].shape
        ),
    ]
    if wrong:
        shown = "".join(f"\n  {line}" for line in sorted(wrong)[:5])
        raise DataError(
            f"{path}: {len(wrong)} tensors do not fit {type(net).__name__}{shown}",
            tip="the file must hold torchvision's weights of this architecture",
        )
    net.load_state_dict(found, strict=False)


def published_file(url: str) -> Path:
    """Return the path of torch's copy of published weights, which need not exist."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def _fetch_cached(url: str, *, download: bool) -> Path:
    """Return the path of torch's copy, after fetching it if it is absent and may be fetched."""
    path = published_file(url)
    if path.is_file():
        return path
    if not download:
        raise DataError(
            f"pretrained weights are not at {path}",
            tip=f"download=true fetches them from {url}; or put the file there yourself",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = path.stem.rsplit("-", 1)[-1]  # the name ends in the first digits of its SHA-256
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=digest, progress=False)
    except (urllib.error.URLError, OSError, RuntimeError) as error:
        raise DataError(
            f"cannot fetch {url}: {error}", tip=f"fetch it elsewhere and put it at {path}"
        ) from error
    return path


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file; no code in it is executed."""
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # the readers raise many types for a damaged file
        raise DataError(
            f"{path}: cannot be read as weights: {error}",
            tip="accepted: .safetensors, or .pth with tensors only",
        ) from error
