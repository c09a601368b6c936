"""Published weights: which files hold them, where they come from, and how their tensors are read.

The architecture is an encoder's, its weights are a source's. An encoder is always drawn fresh;
with ``source=published`` it starts from its published weights as it would from a trained
source, so that what they are worth is an ordinary gain over the same network drawn fresh.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from mmx.encoders.exported_tensors import WEIGHT_SUFFIXES, read_exported
from mmx.encoders.wrong_paths import explain_weights
from mmx.errors import DataError


@dataclass(frozen=True)
class Published:
    """The published weights of one encoder.

    Attributes:
        name: What people call them, such as ``resnet18 IMAGENET1K_V1``.
        weight_files: The files that hold their tensors, whether they are there or not.
        other_files: Files that an encoder is built from even where it is drawn fresh: its
            architecture, its preprocessing, its tokenizer.
        origin: An address, ``owner/name`` of a hub, or the path that was given.
        revision: The commit of the hub; None where there is none.
        licence: As its model card says; None where it says none.
        card: The model card; None where there is none.
        absent: What to type where a file is not there.
        named: Whether the encoder's option ``weights`` names the file.
        adapter: An adapter that is merged into them, its tensors in ``weight_files`` and its
            config in ``other_files``; None for none.
    """

    name: str
    weight_files: tuple[Path, ...]
    other_files: tuple[Path, ...] = ()
    origin: str = ""
    revision: str | None = None
    licence: str | None = None
    card: Path | None = None
    absent: str = ""
    named: bool = False
    adapter: Published | None = None

    @classmethod
    def of_file(cls, given: str | None) -> Published | None:
        """Return the weights in a file that an encoder's option ``weights`` names.

        Args:
            given: Its path; None for none.
        """
        if given is None:
            return None
        path = Path(given).expanduser()
        return cls(path.name, (path,), origin=str(path), named=True)

    def missing_files(self) -> tuple[Path, ...]:
        """Return the files with tensors that are not there."""
        return tuple(path for path in self.weight_files if not path.is_file())

    def files(self) -> tuple[Path, ...]:
        """Return all files of the weights and of their adapter, there or not."""
        own = (*self.other_files, *self.weight_files)
        return own if self.adapter is None else (*own, *self.adapter.files())

    def describe(self) -> str:
        """Return name, commit and licence in a line, and the same of an adapter."""
        more = [f"at {self.revision[:12]}"] if self.revision else []
        more.append(f"licence {self.licence}" if self.licence else "no licence stated")
        merged = f" with the adapter {self.adapter.describe()}" if self.adapter else ""
        return f"{self.name} ({', '.join(more)}){merged}"


class PublishedWeights:
    """``source=published``: encoders start from published weights, and no source is trained.

    Use it to learn what published weights are worth on a task: the gain is over the same
    network drawn fresh and trained with an equal budget. What their own pre-training has cost
    is not counted.

    Args:
        modalities: Those whose encoders start from published weights; None for all whose
            encoder has some.
    """

    name = "published"

    def __init__(self, *, modalities: tuple[str, ...] | None = None) -> None:
        self.modalities = modalities


def read_tensors(published: Published) -> dict[str, Tensor]:
    """Return the tensors of all weight files, by the names that they have there.

    Nothing in a file is executed.

    Raises:
        DataError: A file is absent, or cannot be read as tensors.
    """
    found: dict[str, Tensor] = {}
    for path in published.weight_files:
        found.update(_read(path, published))
    return found


def _read(path: Path, published: Published) -> dict[str, Tensor]:
    if not path.is_file():
        raise DataError(f"{published.name}: there is no {path}", tip=published.absent or None)
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        if (exported := read_exported(path)) is not None:
            return exported
        found = torch.load(path, map_location="cpu", weights_only=True)
        # Some files wrap the tensors, together with what training needed.
        for key in ("state_dict", "model", "model_state_dict"):
            if isinstance(found.get(key), dict):
                found = found[key]
        return {name: tensor for name, tensor in found.items() if isinstance(tensor, Tensor)}
    except Exception as error:  # each reader raises types of its own
        raise DataError(
            f"{path}: cannot be read as weights: {explain_weights(path, error)}",
            tip=f"accepted: tensors alone, as {', '.join(WEIGHT_SUFFIXES)}",
        ) from error


def fit_names(
    found: dict[str, Tensor], own: dict[str, Tensor], published: Published, fresh: tuple[str, ...]
) -> dict[str, Tensor]:
    """Return published tensors under an encoder's names, having checked that they are its own.

    Args:
        found: Published tensors, named as the encoder names them.
        own: The encoder's tensors.
        published: Whose they are, for messages.
        fresh: Prefixes of tensors that may be absent or of another shape, since they follow
            the input.

    Raises:
        DataError: They are of another architecture.
    """
    wrong = sorted(_misfits(found, own, fresh))
    if wrong:
        shown = "".join(f"\n  {line}" for line in wrong[:5])
        raise DataError(
            f"{published.weight_files[0]}: {len(wrong)} tensors do not fit the encoder{shown}",
            tip="the file must hold weights of this architecture",
        )
    return {name: found[name] for name in own if name in found}


def _misfits(
    found: dict[str, Tensor], own: dict[str, Tensor], fresh: tuple[str, ...]
) -> Iterator[str]:
    for name in own.keys() | found.keys():
        if fresh and name.startswith(fresh):
            continue
        if name not in found:
            yield f"{name}: not in the file"
        elif name not in own:
            yield f"{name}: not in the network"
        elif found[name].shape != own[name].shape:
            there, here = tuple(found[name].shape), tuple(own[name].shape)
            yield f"{name}: shape {there} in the file, {here} in the network"
