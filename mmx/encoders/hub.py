"""Folders of published weights: local ones, and those of a hub in its local cache."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmx.encoders.published import Published
from mmx.encoders.wrong_paths import explain_file, name_other_formats
from mmx.errors import DataError
from mmx.extras import import_extra
from mmx.hub_cache import COMMIT, REPOSITORY, check_fetched, read_licence

READ = ("*.json", "*.txt", "*.model", "*.safetensors", "README.md", "LICENSE*")
"""What is fetched of a repository: tensors, architecture, tokenizer, preprocessing; no code."""
OTHER = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "open_clip_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
)
WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "open_clip_pytorch_model.bin")
MODEL_FOLDER = "model=<folder>"
"""What to type for a local folder; where the input is known, its option is put in full."""


@dataclass(frozen=True)
class Folder:
    """A folder that holds published weights.

    Attributes:
        path: Of the folder.
        name: ``owner/name`` of a repository, else the folder's own name.
        revision: The commit of a repository; None of a local folder.
    """

    path: Path
    name: str
    revision: str | None = None

    def find_published(self) -> Published:
        """Return what the folder holds."""
        card = self.path / "README.md"
        return Published(
            self.name,
            weight_files=self._list_weights(),
            other_files=tuple(self.path / name for name in OTHER if (self.path / name).is_file()),
            origin=self.name if self.revision else str(self.path),
            revision=self.revision,
            licence=read_licence(card),
            card=card if card.is_file() else None,
            absent=f"put its weights into {self.path}{name_other_formats(self.path)}",
        )

    def is_whole(self) -> bool:
        """Return whether its weights are there, which an interrupted download may lack."""
        if self.find_published().missing_files():
            return False
        parts: set[str] = set()
        for index in self.path.glob("*.index.json"):
            parts |= set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return all((self.path / part).is_file() for part in parts)

    def _list_weights(self) -> tuple[Path, ...]:
        """Return the files with tensors; safetensors where there are any."""
        for pattern in WEIGHTS:
            if found := sorted(self.path.glob(pattern)):
                return tuple(found)
        return (self.path / "model.safetensors",)


def find_model_folder(model: str, *, revision: str | None = None, download: bool = False) -> Folder:
    """Return the folder of a model: a local one, or a repository in the hub's local cache.

    Args:
        model: Path of a folder, or ``owner/name`` of a repository.
        revision: A commit, branch or tag of the repository; None for its main branch.
        download: Whether a repository that is not in the cache may be fetched. One that is there
            is never fetched again.

    Raises:
        DataError: There is no such folder, or the repository is neither here nor fetched.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        commit = path.name if COMMIT.fullmatch(path.name) else None
        return Folder(path, _name_of(path, commit), commit)
    if path.is_file():
        raise explain_file(model, path)
    if not REPOSITORY.fullmatch(model):
        raise DataError(
            f"model={model}: there is no such folder",
            tip=f"{MODEL_FOLDER}, one with config.json; or owner/name and download=true",
        )
    hub = import_extra("huggingface_hub", "transformers")
    for here in (True, False):
        if not here and not download:
            break
        try:
            found = hub.snapshot_download(
                model, revision=revision, local_files_only=here, allow_patterns=list(READ)
            )
        except Exception as error:  # of the hub, of the network, of the file system
            if not here:
                why = str(error).splitlines()[0].removeprefix("Got: ")
                raise DataError(
                    f"model={model}: cannot be fetched: {why}",
                    tip="check network, name and revision; HF_ENDPOINT and HF_TOKEN lead to a "
                    "private hub",
                ) from error
        else:
            folder = Folder(Path(found), model, Path(found).name)
            if not here:
                check_fetched(folder.path)
            if not (here and download) or folder.is_whole():
                return folder
    raise DataError(
        f"model={model}: is no folder here, and the hub's cache does not hold it",
        tip=f"download=true fetches it; or {MODEL_FOLDER}",
    )


def list_cached(cache: Path) -> list[Folder]:
    """Return the repositories of models in a hub's cache, each commit that is there.

    Args:
        cache: The folder of the cache.
    """
    found = sorted(cache.glob("models--*--*/snapshots/*"))
    return [Folder(path, _name_of(path, path.name), path.name) for path in found if path.is_dir()]


def name_folder(options: Mapping[str, Any]) -> Folder:
    """Return the folder that an encoder's options name.

    Raises:
        DataError: There is none.
    """
    return find_model_folder(
        str(options["model"]),
        revision=options.get("revision"),
        download=bool(options.get("download")),
    )


def _name_of(path: Path, commit: str | None) -> str:
    """Return what a folder is called; one of the hub's cache after its repository."""
    if commit is None:
        return path.resolve().name
    return path.parent.parent.name.removeprefix("models--").replace("--", "/")
