"""Published text encoders of the library transformers: BERT, RoBERTa, MiniLM, E5, CLIP, SigLIP."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, get_args

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mmx.encoders.gradient_checkpointing import checkpoint_transformers
from mmx.encoders.hub import Folder, name_folder
from mmx.encoders.hub_encoder import HubEncoder
from mmx.encoders.padding import step_mask
from mmx.encoders.published import Published
from mmx.encoders.transformers_model import make_net, note_padding, read_config_facts
from mmx.encoders.transformers_pair import (
    IMAGE_PARTS,
    PairTextTower,
    find_cleaning,
    find_family,
    make_pair_tower,
    read_pair_tower,
)
from mmx.errors import DataError, UnreadableFileError
from mmx.json_object import Json
from mmx.modalities import Features, Modality
from mmx.modalities.clip_texts import ClipTexts
from mmx.modalities.masking import masked_mean
from mmx.modalities.sub_words import SubWords, SubWordSpec
from mmx.untrusted import read_json

Pooling = Literal["auto", "mean", "cls", "last"]
POOLED_BY = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_max_tokens": "the maximum",
    "pooling_mode_mean_sqrt_len_tokens": "the sum over the root of the length",
    "pooling_mode_weightedmean_tokens": "a weighted mean",
}
"""Keys of sentence-transformers to what they stand for, the options here by their names."""
USUAL_TOKENS = 128
"""``max_tokens`` where nobody says it, of a model that reads as many."""


class Transformers(HubEncoder):
    """An encoder of sub-words, of the architecture that a model's ``config.json`` states.

    Use it for texts in the place of ``tfidf`` or ``lstm``, above all with few labels, where
    published weights know the language already. Its other options are those of
    :class:`~mmx.encoders.hub_encoder.HubEncoder`.

    ``tokens`` are the last hidden states, ``levels`` the means of each layer's, ``pooled`` as
    ``pooling`` says. The pooler that some models bring is left out: nothing here would train it.

    Of a pair of CLIP or SigLIP it is the text tower: with ``pooling=auto``, ``pooled`` is what
    the library's ``get_text_features`` returns, in the space that the pair has in common, before
    it is normalised; ``tokens`` are in the same space. A text of SigLIP takes the pair's whole
    context, since it reads its padding too.

    Args:
        spec: The model's tokenizer.
        pooling: ``mean`` over a text's tokens, its first token (``cls``), or its ``last`` one;
            ``auto`` is the mean, and of a pair its own.
        max_tokens: A longer text is cut; None for 128, or all that the model reads where that
            is less.

    Raises:
        DataError: There is no such model, it is no encoder of text, or it reads fewer tokens.

    Example:
        mmx train source=published target=news encoder/text=transformers
        encoder.text.model=all-MiniLM-L6-v2 transfer=feature
    """

    def __init__(
        self,
        spec: SubWordSpec,
        *,
        model: str,
        pooling: Pooling = "auto",
        max_tokens: Annotated[int, Field(ge=2, le=100_000)] | None = None,
        revision: str | None = None,
        download: bool = False,
        adapter: str | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        folder = name_folder({"model": model, "revision": revision, "download": download})
        family = find_family(folder)
        self.net: nn.Module
        if family is None:
            self.net = make_net(folder, reads="input_ids")
        else:
            self.net, self.other_parts = make_pair_tower(folder, family.texts), IMAGE_PARTS
        check_max_tokens(spec.max_tokens, self.net, folder)
        check_vocabulary(spec, self.net, folder)
        config: Any = self.net.config
        if gradient_checkpointing:
            checkpoint_transformers(getattr(self.net, "checkpointed", self.net))
        self.pooling, self.padding = pooling, spec.padding
        self.width = int(getattr(self.net, "width", config.hidden_size))
        self.level_widths = (int(config.hidden_size),) * int(config.num_hidden_layers)

    @classmethod
    def read_with(cls, modality: Modality[Any, Any] | None, **options: Any) -> Modality[Any, Any]:
        """Return the model's own tokenizer.

        Raises:
            DataError: There is none that can be read.
        """
        folder = name_folder(options)
        family, facts = find_family(folder), read_config_facts(folder)
        most = (facts.positions if family is None else facts.text_positions) or USUAL_TOKENS
        tokens = options.get("max_tokens") or min(USUAL_TOKENS, most)
        if family is not None and (clean := find_cleaning(folder, family)):
            return ClipTexts(folder.path, max_tokens=tokens, clean=clean)
        return SubWords(folder.path, max_tokens=tokens)

    @classmethod
    def describe_deviations(cls, spec: SubWordSpec, **options: Any) -> tuple[str, ...]:
        """Return that tokens are pooled otherwise than in training, or that padding is read."""
        folder = name_folder(options)
        found, own = list(note_padding(folder)), read_pooling(folder)
        chosen = options.get("pooling", "auto")
        if own is not None and ("mean" if chosen == "auto" else chosen) != own:
            found.append(
                f"tokens are pooled by {'mean' if chosen == 'auto' else chosen}, where "
                f"sentence-transformers pooled these weights by {own}"
                + (f": encoder.text.pooling={own}" if own in get_args(Pooling) else "")
            )
        return tuple(found)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode texts.

        Args:
            x: ``(B, T)`` int64 ids.
            lengths: ``(B,)`` tokens of each text.

        Returns:
            Tokens ``(B, T, D)``, zeros where a text has ended, and one level for each layer.
        """
        if x.shape[1] == 0:
            x = x.new_zeros(x.shape[0], 1)  # texts of no tokens: one of padding
        steps = x.shape[1]
        if lengths is not None and not torch.compiler.is_exporting():  # a graph reads no values
            x = x[:, : max(1, int(lengths.max()))]  # padding behind the longest text costs nothing
        mask = step_mask(lengths, x[..., None])
        tokens, own, layers = self._run(x, mask)  # (B, T', D), (B, D)
        levels = tuple(masked_mean(layer, mask) for layer in layers)
        pooled = self._pool(tokens, mask) if own is None or self.pooling != "auto" else own
        behind = steps - tokens.shape[1]
        tokens = F.pad(tokens.masked_fill(~mask[..., None], 0.0), (0, 0, 0, behind))
        return Features(tokens, F.pad(mask, (0, behind)), pooled, levels)

    def _run(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None, tuple[Tensor, ...]]:
        """Return the last states, what the model pools itself, and the states of each layer."""
        if not isinstance(self.net, PairTextTower):
            found = self.net(
                input_ids=x, attention_mask=mask.to(torch.int64), output_hidden_states=True
            )
            return found.last_hidden_state, None, found.hidden_states[1:]
        ids, steps = x.masked_fill(~mask, self.padding), x.shape[1]
        if self.net.pads:
            ids = F.pad(ids, (0, self.net.context - steps), value=self.padding)
        tokens, pooled, layers = self.net(ids)
        return tokens[:, :steps], pooled, tuple(layer[:, :steps] for layer in layers)

    def _pool(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return ``(B, D)`` of ``(B, T, D)``."""
        if self.pooling == "cls":
            return tokens[:, 0]
        if self.pooling == "last":
            last = mask.sum(1).clamp(min=1) - 1
            return tokens[torch.arange(tokens.shape[0], device=tokens.device), last]
        return masked_mean(tokens, mask)

    def read_published(self, published: Published) -> dict[str, Tensor]:
        """Return the model's weights as the library reads them; see :class:`Encoder`."""
        if isinstance(self.net, PairTextTower):
            return read_pair_tower(self.net, published, self.prefix)
        return super().read_published(published)


def read_pooling(folder: Folder) -> str | None:
    """Return how sentence-transformers pools a model's tokens; None where the folder says not."""
    path = next(iter(sorted(folder.path.glob("*_Pooling/config.json"))), None)
    if path is None or find_family(folder) is not None:
        return None
    try:
        said: Json = read_json(path, dict)
    except (OSError, UnreadableFileError):
        return None
    found = [name for key, name in POOLED_BY.items() if said.get(key) is True]
    return " and ".join(found) or None  # several are joined to one vector


def check_vocabulary(spec: SubWordSpec, net: nn.Module, folder: Folder) -> None:
    """Check that a model has an embedding for each id of its tokenizer.

    Special tokens that were added behind the vocabulary stand in no text, and may have none.

    Raises:
        DataError: It has fewer.
    """
    config: Any = net.config
    rows = getattr(config, "vocab_size", None)
    if not rows or spec.vocabulary <= rows:
        return
    added = json.loads(spec.tokenizer).get("added_tokens", ())
    beyond = sum(token["id"] >= rows and token["special"] for token in added)
    if spec.vocabulary - beyond > rows or spec.padding >= rows:
        raise DataError(
            f"{folder.name}: its tokenizer has {spec.vocabulary} ids, and its model embeddings for "
            f"{rows}",
            tip="the folder must hold the tokenizer that its weights were trained with",
        )


def check_max_tokens(tokens: int, net: nn.Module, folder: Folder) -> None:
    """Check that a model reads so many tokens.

    Raises:
        DataError: It reads fewer.
    """
    config: Any = net.config
    most = getattr(config, "max_position_embeddings", None)
    for name, part in net.named_modules():
        # Models of RoBERTa's kind count positions from behind the id of padding.
        if name.endswith("position_embeddings") and getattr(part, "padding_idx", None) is not None:
            most = part.num_embeddings - part.padding_idx - 1
    if most and 0 < most < tokens:  # -1 of models without positions, such as XLNet
        raise DataError(
            f"max_tokens={tokens}: {folder.name} reads {most} tokens at most",
            tip=f"encoder.text.max_tokens={most}",
        )
