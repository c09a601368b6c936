"""The text towers of image-text pairs of the library open_clip: CLIP, SigLIP and others."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from mmx.encoders.hub import name_folder
from mmx.encoders.hub_encoder import HubEncoder
from mmx.encoders.open_clip_model import (
    find_weights,
    make_tower,
    order_depths,
    read_pair_config,
    read_tower,
)
from mmx.encoders.padding import step_mask
from mmx.encoders.published import Published
from mmx.errors import DataError
from mmx.modalities import Features, Modality
from mmx.modalities.clip_texts import ClipTexts
from mmx.modalities.masking import masked_mean
from mmx.modalities.sub_words import SubWordSpec

CONTEXT = 77
"""The context that a configuration of open_clip leaves unsaid."""


class OpenClip(HubEncoder):
    """The text tower of a pair, of the architecture that ``open_clip_config.json`` states.

    Use it for short texts about images, with the image tower of the same pair: their features
    are in one space. Its options are those of :class:`~mmx.encoders.hub_encoder.HubEncoder`,
    without adapter and gradient checkpointing.

    ``pooled`` is what the library's ``encode_text`` returns, before it is normalised. ``tokens``
    are the last layer's, projected into the same space; ``levels`` are the means of each
    layer's. Every text takes the pair's whole context, since some pairs read its padding too.

    Raises:
        DataError: There is no such pair, or open_clip cannot make it.

    Example:
        mmx train source=published target=fashion encoder/image=open_clip
        encoder/text=open_clip encoder.image.model=clip-vit-b-32
        encoder.text.model=clip-vit-b-32
    """

    library_prefixes = None

    library = "open_clip_torch"

    def __init__(
        self,
        spec: SubWordSpec,
        *,
        model: str,
        revision: str | None = None,
        download: bool = False,
    ) -> None:
        super().__init__()
        folder = name_folder({"model": model, "revision": revision, "download": download})
        self.net = make_tower(folder, "text")
        self.context, self.padding = spec.max_tokens, spec.padding
        config = read_pair_config(folder)["model_cfg"]
        text = config["text_cfg"]
        inner = int(text.get("width", 512))
        projects = getattr(self.net, "text_projection", None) is not None
        self.width = int(config["embed_dim"]) if projects else inner
        self.level_widths = (inner,) * int(text.get("layers", 12))

    @classmethod
    def find_published(cls, **options: Any) -> Published:
        """Return the weights in the pair's folder."""
        return find_weights(options)

    @classmethod
    def read_with(cls, modality: Modality[Any, Any] | None, **options: Any) -> Modality[Any, Any]:
        """Return the pair's own tokenizer.

        Raises:
            DataError: It draws at random which part of a long text is kept, or cuts otherwise.
        """
        folder = name_folder(options)
        text = read_pair_config(folder)["model_cfg"]["text_cfg"]
        more = dict(text.get("tokenizer_kwargs") or {})
        foreign = bool(text.get("hf_tokenizer_name"))
        clean = str(more.pop("clean", "whitespace" if foreign else "lower"))
        strips = bool(more.pop("strip_sep_token", False))
        if more or text.get("tokenizer_mode"):
            said = ", ".join([*more, *(["tokenizer_mode"] if text.get("tokenizer_mode") else [])])
            raise DataError(
                f"{folder.path}: its tokenizer has options that are not read here: {said}"
            )
        return ClipTexts(
            folder.path if foreign else None,
            max_tokens=int(text.get("context_length", CONTEXT)),
            clean=clean,
            strip_separator=strips,
        )

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode texts.

        Args:
            x: ``(B, T)`` int64 ids.
            lengths: ``(B,)`` tokens of each text.

        Returns:
            Tokens ``(B, T, D)``, zeros where a text has ended, and one level for each layer.
        """
        x = x[:, : self.context]  # what stands behind it is padding
        if not x.shape[1]:  # a batch without a single token: padding stands for one
            x = F.pad(x, (0, 1), value=self.padding)
        steps = x.shape[1]
        mask = step_mask(lengths, x[..., None])
        net: Any = self.net
        ids = x.masked_fill(~mask, self.padding)
        found = net.forward_intermediates(
            F.pad(ids, (0, self.context - steps), value=self.padding), output_fmt="NLC"
        )
        layers = [layer[:, :steps] for layer in found["text_intermediates"]]  # (B, T, D_k)
        tokens = _project(net, net.ln_final(layers[-1])).masked_fill(~mask[..., None], 0.0)
        levels = tuple(masked_mean(layer, mask) for layer in layers)
        return Features(tokens, mask, found["text_features"], levels)

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the embeddings, then the layers; the projection is in the last depth."""
        return order_depths(self.net)

    def read_published(self, published: Published) -> dict[str, Tensor]:
        """Return the tower's weights as the library reads them; see :class:`Encoder`."""
        return read_tower(self.net, published, "text")


def _project(net: Any, tokens: Tensor) -> Tensor:
    """Return tokens ``(B, T, D_k)`` in the common space ``(B, T, D)``."""
    projection = net.text_projection
    if projection is None:
        return tokens
    projected: Tensor = (
        projection(tokens) if isinstance(projection, nn.Module) else tokens @ projection
    )
    return projected
