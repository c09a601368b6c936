"""Image-text pairs of the library transformers: CLIP and SigLIP, two towers in one folder.

A tower's tensors are called as they are in the library's whole pair, ``vision_model.…`` and
``text_model.…``, so that one file, and one adapter of peft, gives both.

Shape legend: ``B`` batch, ``T`` tokens, ``D`` width of the space that a pair has in common.
"""

from __future__ import annotations

import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from mmx.encoders.hub import Folder
from mmx.encoders.published import Published
from mmx.encoders.transformers_model import (
    read_config_facts,
    read_model,
    read_model_config,
    read_net,
)
from mmx.errors import DataError
from mmx.extras import import_extra

T = TypeVar("T", bound="PairTower")
IMAGE_PARTS = ("vision_model", "visual_projection")
TEXT_PARTS = ("text_model", "text_projection")
"""What the parts of each tower are called in the whole pair."""


class TowerOutput(NamedTuple):
    """What a tower makes of a batch.

    Attributes:
        tokens: ``(B, T, D)``, in the common space where the tower allows it.
        pooled: ``(B, D)``, what the library's ``get_image_features`` and ``get_text_features``
            return.
        layers: ``(B, T_k, D_k)`` of each layer.
    """

    tokens: Tensor
    pooled: Tensor
    layers: tuple[Tensor, ...]


class PairTower(nn.Module, ABC):
    """One tower of a pair; the base of all.

    Attributes:
        config: The library's configuration of the tower.
        width: D.
        checkpointed: The library's model, which can checkpoint gradients.
    """

    config: Any
    width: int

    @property
    @abstractmethod
    def checkpointed(self) -> nn.Module:
        """The library's model."""


class PairImageTower(PairTower):
    """A tower of images.

    Args:
        config: Of the pair.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config.vision_config

    @property
    def checkpointed(self) -> nn.Module:
        """The library's model."""
        return self.get_submodule("vision_model")

    @abstractmethod
    def forward(self, x: Tensor, *, interpolate: bool) -> TowerOutput:
        """Encode ``(B, 3, H, W)`` normalised images.

        Args:
            x: The images.
            interpolate: Whether positions are interpolated, for another size than the weights'.
        """


class PairTextTower(PairTower):
    """A tower of texts.

    Args:
        config: Of the pair.

    Attributes:
        context: Tokens that it reads at most.
        pads: Whether it reads its padding too, and so every text at its whole context.
    """

    pads: ClassVar[bool] = False

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config.text_config
        self.context = int(self.config.max_position_embeddings)

    @property
    def checkpointed(self) -> nn.Module:
        """The library's model."""
        return self.get_submodule("text_model")

    @abstractmethod
    def forward(self, ids: Tensor) -> TowerOutput:
        """Encode ``(B, T)`` ids, padding behind each text."""


class ClipImageTower(PairImageTower):
    """CLIP's tower of images: the class token, normalised and projected."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        library = import_extra("transformers", "transformers")
        self.width = self.config.projection_dim = int(config.projection_dim)
        made = library.CLIPVisionModelWithProjection(self.config)
        self.vision_model, self.visual_projection = made.vision_model, made.visual_projection

    def forward(self, x: Tensor, *, interpolate: bool) -> TowerOutput:
        """Encode images; see :class:`PairImageTower`."""
        found = self.vision_model(
            pixel_values=x, interpolate_pos_encoding=interpolate, output_hidden_states=True
        )
        patches = found.last_hidden_state[:, 1:]
        tokens = self.visual_projection(self.vision_model.post_layernorm(patches))
        pooled = self.visual_projection(found.pooler_output)
        return TowerOutput(tokens, pooled, tuple(each[:, 1:] for each in found.hidden_states[1:]))


class ClipTextTower(PairTextTower):
    """CLIP's tower of texts: the end token, projected; no token reads what stands behind it."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        library = import_extra("transformers", "transformers")
        self.width = self.config.projection_dim = int(config.projection_dim)
        made = library.CLIPTextModelWithProjection(self.config)
        self.text_model, self.text_projection = made.text_model, made.text_projection

    def forward(self, ids: Tensor) -> TowerOutput:
        """Encode texts; see :class:`PairTextTower`."""
        found = self.text_model(input_ids=ids, output_hidden_states=True)
        tokens = self.text_projection(found.last_hidden_state)
        pooled = self.text_projection(found.pooler_output)
        return TowerOutput(tokens, pooled, tuple(found.hidden_states[1:]))


class SiglipImageTower(PairImageTower):
    """SigLIP's tower of images: a learned query attends to the patches."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        if not getattr(self.config, "vision_use_head", True):  # 5.20 lacks it
            raise DataError("its tower of images has no pooling head (vision_use_head=false)")
        library = import_extra("transformers", "transformers")
        self.width = int(self.config.hidden_size)
        self.vision_model = library.SiglipVisionModel(self.config)

    def forward(self, x: Tensor, *, interpolate: bool) -> TowerOutput:
        """Encode images; see :class:`PairImageTower`.

        Single patches are not in the common space, so that the pooled vector is the only token.
        """
        found = self.vision_model(
            pixel_values=x, interpolate_pos_encoding=interpolate, output_hidden_states=True
        )
        pooled = found.pooler_output
        return TowerOutput(pooled[:, None], pooled, tuple(found.hidden_states[1:]))


class SiglipTextTower(PairTextTower):
    """SigLIP's tower of texts: the last position, which is padding in all but the longest."""

    pads = True

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        library = import_extra("transformers", "transformers")
        self.width = int(self.config.projection_size)
        self.text_model = library.SiglipTextModel(self.config)

    def forward(self, ids: Tensor) -> TowerOutput:
        """Encode texts; see :class:`PairTextTower`."""
        found = self.text_model(input_ids=ids, output_hidden_states=True)
        tokens = self.text_model.head(found.last_hidden_state)
        return TowerOutput(tokens, found.pooler_output, tuple(found.hidden_states[1:]))


class Family(NamedTuple):
    """A family of pairs.

    Attributes:
        images: Its tower of images.
        texts: Its tower of texts.
        whole: The library's class of the pair.
        scales: Tensors of the pair by which a cosine becomes a logit: the logarithm of the
            scale, and the bias where there is one.
        tokenizer: The library's class of the tokenizer, where the folder does not say.
    """

    images: type[PairImageTower]
    texts: type[PairTextTower]
    whole: str
    scales: tuple[str, ...]
    tokenizer: str

    def find_whole(self) -> Any:
        """Return the library's class of the pair."""
        return getattr(import_extra("transformers", "transformers"), self.whole)


FAMILIES: Mapping[str, Family] = {
    "clip": Family(ClipImageTower, ClipTextTower, "CLIPModel", ("logit_scale",), "CLIPTokenizer"),
    "siglip": Family(
        SiglipImageTower,
        SiglipTextTower,
        "SiglipModel",
        ("logit_scale", "logit_bias"),
        "SiglipTokenizer",
    ),
}
"""Type of a model to its family."""

CLEANING = {"SiglipTokenizer": "siglip", "Siglip2Tokenizer": "siglip2"}
"""The library's class of a tokenizer to how it cleans a text before it cuts it; see
:class:`~mmx.modalities.clip_texts.ClipTextSpec`. All others leave that to ``tokenizer.json``."""


def find_family(folder: Folder) -> Family | None:
    """Return the family of a folder's pair; None for a folder of anything else.

    Raises:
        DataError: It holds a pair of another family, or one tower of a pair alone.
    """
    facts = read_config_facts(folder)
    kind = facts.model_type
    if kind in FAMILIES:
        return FAMILIES[kind]
    family = next((each for each in FAMILIES if kind.startswith(f"{each}_")), None)
    if family is not None:
        raise DataError(
            f"model={folder.name} is one tower of a pair alone ({kind})",
            tip=f"the folder of the whole pair, of which config.json says model_type {family}",
        )
    if facts.is_pair:
        raise DataError(
            f"model={folder.name}: {kind} reads images and texts, and of such models only pairs "
            f"of {' and '.join(FAMILIES)} are read",
            tip="one of these, or a pair of open_clip by encoder/image=open_clip",
        )
    return None


def find_cleaning(folder: Folder, family: Family) -> str | None:
    """Return how a pair's tokenizer cleans a text; None where ``tokenizer.json`` says all."""
    try:
        text = (folder.path / "tokenizer_config.json").read_text(encoding="utf-8")
        named = json.loads(text).get("tokenizer_class") or family.tokenizer
    except (OSError, ValueError):
        named = family.tokenizer
    return CLEANING.get(str(named).removesuffix("Fast"))


def make_pair_tower(folder: Folder, tower: type[T]) -> T:
    """Return a tower of a pair, drawn fresh.

    Args:
        folder: Of the pair.
        tower: One of the classes of its family.

    Raises:
        DataError: The library cannot make it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made: T = tower(read_model_config(folder)).to(torch.float32)
        except DataError as error:
            raise DataError(f"model={folder.name}: {error.message}", tip=error.tip) from error
    return made


def read_pair_tower(tower: nn.Module, published: Published, prefix: str) -> dict[str, Tensor]:
    """Return the published tensors of a tower as the library reads them.

    Args:
        tower: Drawn fresh.
        published: The weights of the pair, all in one folder.
        prefix: What the names start with in the encoder.
    """
    return read_net(tower, published, prefix, _family_of(published).find_whole())


def read_pair_scale(published: Published) -> tuple[float, float]:
    """Return scale and bias of the logits: scale · cosine + bias."""
    family = _family_of(published)
    scale, *bias = read_model(family.find_whole(), published, family.scales).values()
    return float(scale.exp()), float(bias[0]) if bias else 0.0


def _family_of(published: Published) -> Family:
    folder = Folder(Path(published.weight_files[0]).parent, published.name)
    if (family := find_family(folder)) is None:
        raise DataError(f"{folder.path} holds no pair of images and texts")
    return family
