"""Public sets whose official files are named here, each set in a folder of its own."""

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mmx.modalities import Modality
from mmx.tasks.base import Samples
from mmx.tasks.fetching import RemoteFile, fetch_file, unpack_tar
from mmx.tasks.official import OfficialSet


@dataclass(kw_only=True, eq=False)
class OfficialFiles(OfficialSet):
    """Base of the sets that no library fetches as a whole: their files are named here.

    Everything is in ``<data_dir>/<files>``.
    """

    remote: ClassVar[tuple[RemoteFile, ...]]
    """What is fetched; TARs are unpacked."""

    unpacked: ClassVar[str] = "."
    """Folder, in that of the set, that TARs are unpacked into."""

    @abstractmethod
    def read_files(self, folder: Path) -> Samples:
        """Return what the unpacked files in the folder of the set hold."""

    def read_official(self, root: Path) -> Samples:
        """Return the rows, if there are as many as the authors state."""
        samples = self.read_files(root / self.files)
        for split, rows in samples.splits.items():
            self.check_rows(split, len(rows))
        return samples

    def fetch(self, place: Path) -> None:
        """Fetch and unpack each file."""
        folder = place / self.files
        folder.mkdir()
        for file in self.remote:
            path = fetch_file(file, folder)
            if path.name.endswith((".tar.gz", ".tgz")):
                unpack_tar(path, folder / self.unpacked)


@dataclass(kw_only=True, eq=False)
class OfficialTexts(OfficialFiles):
    """Base of the sets of texts; the text encoder determines how they are vectorised."""

    @property
    def modalities(self) -> dict[str, Modality[Any, Any] | None]:
        """The text."""
        return {"text": None}
