"""What encoders of published models have in common: the folder that they are made from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from mmx.encoders.base import Encoder
from mmx.encoders.hub import name_folder
from mmx.encoders.peft_adapter import add_adapter
from mmx.encoders.published import Published
from mmx.encoders.transformer_layers import group_layers
from mmx.encoders.transformers_model import read_net

SHARED = ("model", "revision", "download", "adapter")
"""Options that say from which folder an encoder is made."""


class HubEncoder(Encoder):
    """Base of the encoders of a model in a local folder or in a repository of a hub.

    An encoder is drawn fresh, of the architecture that the folder states; ``source=published``
    starts it from the folder's weights. By default the folder is one of the library
    transformers, whose model is the module that ``prefix`` names.

    Args:
        model: A local folder, or ``owner/name`` of a repository.
        revision: Commit, branch or tag of a repository; None for its main branch.
        download: Whether a repository that is not in the hub's cache may be fetched.
        adapter: A folder or repository with LoRA weights of peft, which are merged into the
            published weights; None for none.
        gradient_checkpointing: Compute each layer's activations again in the backward pass,
            rather than keep them: less memory, about a third more time, the same gradients.

    Attributes:
        prefix: What the names of the library's own tensors start with here.
    """

    library: ClassVar[str] = "transformers"
    prefix: ClassVar[str] = "net."
    library_prefixes: tuple[str, str] | None = ("net.", "")

    @classmethod
    def find_published(cls, **options: Any) -> Published | None:
        """Return the weights in the model's folder, with the adapter."""
        return add_adapter(name_folder(options).find_published(), options)

    @property
    def library_net(self) -> nn.Module:
        """The library's model."""
        return self.get_submodule(self.prefix.rstrip("."))

    def depths(self) -> tuple[tuple[str, ...], ...]:
        """Return what reads the input, then the layers, then what follows them."""
        return group_layers(self.library_net, self.prefix)

    def read_published(self, published: Published) -> dict[str, Tensor]:
        """Return the model's weights as the library reads them; see :class:`Encoder`."""
        return read_net(self.library_net, published, self.prefix)


def share_options(kind: type[Encoder], options: Mapping[str, Any]) -> partial[Encoder]:
    """Return the recipe of another encoder of the same folder, such as a pair's other tower."""
    shared = {key: options[key] for key in SHARED if key in options}
    return partial(kind, **shared)
