"""Published text encoders of the library transformers: BERT, RoBERTa, MiniLM, E5 and others."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from mmx.encoders.base import Encoder
from mmx.encoders.gradient_checkpointing import checkpoint_transformers
from mmx.encoders.hub import find_model_folder, name_folder
from mmx.encoders.padding import step_mask
from mmx.encoders.peft_adapter import add_adapter
from mmx.encoders.published import Published
from mmx.encoders.transformer_layers import group_layers
from mmx.encoders.transformers_model import make_net, read_net
from mmx.modalities import Features, Modality
from mmx.modalities.masking import masked_mean
from mmx.modalities.sub_words import SubWords, SubWordSpec

Pooling = Literal["mean", "cls", "last"]


class Transformers(Encoder):
    """An encoder of sub-words, of the architecture that a model's ``config.json`` states.

    Use it for texts in the place of ``tfidf`` or ``lstm``, above all with few labels, where
    published weights know the language already. It is drawn fresh; ``source=published`` starts
    it from the model's weights.

    ``tokens`` are the last hidden states, ``levels`` the means of each layer's, ``pooled`` as
    ``pooling`` says. The pooler that some models bring is left out: nothing here would train it.

    Args:
        spec: The model's tokenizer.
        model: A local folder with ``config.json``, or ``owner/name`` of a repository.
        pooling: ``mean`` over a text's tokens, its first token (``cls``), or its ``last`` one.
        max_tokens: A longer text is cut.
        revision: Commit, branch or tag of a repository; None for its main branch.
        download: Whether a repository that is not in the hub's cache may be fetched.
        adapter: A folder or repository with LoRA weights of peft, which are merged into the
            published weights; None for none.
        gradient_checkpointing: Compute each layer's activations again in the backward pass,
            rather than keep them: less memory, about a third more time, the same gradients.

    Raises:
        DataError: There is no such model, or it is no encoder of text.

    Example:
        mmx train source=published target=news encoder/text=transformers
        encoder.text.model=all-MiniLM-L6-v2 transfer=feature
    """

    def __init__(
        self,
        spec: SubWordSpec,
        *,
        model: str,
        pooling: Pooling = "mean",
        max_tokens: Annotated[int, Field(ge=2, le=100_000)] = 128,
        revision: str | None = None,
        download: bool = False,
        adapter: str | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.library_prefixes = ("net.", "")
        folder = find_model_folder(model, revision=revision, download=download)
        self.net = make_net(folder)
        config: Any = self.net.config
        most = getattr(config, "max_position_embeddings", None)
        if most is not None and spec.max_tokens > most:
            raise ValueError(f"`max_tokens` (={spec.max_tokens}) is at most {most} for {model}")
        if gradient_checkpointing:
            checkpoint_transformers(self.net)
        self.pooling = pooling
        self.width = int(config.hidden_size)
        self.level_widths = (self.width,) * int(config.num_hidden_layers)

    @classmethod
    def find_published(cls, **options: Any) -> Published:
        """Return the weights in the model's folder, with the adapter."""
        return add_adapter(name_folder(options).find_published(), options)

    @classmethod
    def read_with(cls, modality: Modality[Any, Any] | None, **options: Any) -> Modality[Any, Any]:
        """Return the model's own tokenizer."""
        return SubWords(name_folder(options).path, max_tokens=options.get("max_tokens", 128))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Encode texts.

        Args:
            x: ``(B, T)`` int64 ids.
            lengths: ``(B,)`` tokens of each text.

        Returns:
            Tokens ``(B, T, D)``, zeros where a text has ended, and one level for each layer.
        """
        if x.shape[1] == 0:
            x = x.new_zeros(len(x), 1)  # texts of no tokens: one of padding
        steps = x.shape[1]
        if lengths is not None:
            x = x[:, : max(1, int(lengths.max()))]  # padding behind the longest text costs nothing
        mask = step_mask(lengths, x[..., None])
        found = self.net(
            input_ids=x, attention_mask=mask.to(torch.int64), output_hidden_states=True
        )
        tokens = found.last_hidden_state  # (B, T', D)
        layers = found.hidden_states[1:]
        levels = tuple(masked_mean(layer, mask) for layer in layers)
        pooled, behind = self._pool(tokens, mask), steps - tokens.shape[1]
        tokens = F.pad(tokens.masked_fill(~mask[..., None], 0.0), (0, 0, 0, behind))
        return Features(tokens, F.pad(mask, (0, behind)), pooled, levels)

    def _pool(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Return ``(B, D)`` of ``(B, T, D)``."""
        if self.pooling == "mean":
            return masked_mean(tokens, mask)
        if self.pooling == "cls":
            return tokens[:, 0]
        last = mask.sum(1).clamp(min=1) - 1
        return tokens[torch.arange(len(tokens), device=tokens.device), last]

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return the embeddings, then the layers, then what follows them."""
        return group_layers(self.net, "net.")

    def read_published(self, published: Published) -> dict[str, Tensor]:
        """Return the model's weights as the library reads them; see :class:`Encoder`."""
        return read_net(self.net, published, "net.")
