"""Large Movie Review Dataset (Maas 2011)."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mmx.tasks.base import Samples
from mmx.tasks.fetching import RemoteFile
from mmx.tasks.official_files import OfficialTexts
from mmx.tasks.set_facts import SetFacts
from mmx.tasks.text_files import read_text_folders


@dataclass(kw_only=True, eq=False)
class Imdb(OfficialTexts):
    """50,000 film reviews, half of them negative; no film is in both splits.

    Use it for the sentiment of long texts. The 50,000 reviews without a label are not read.
    """

    files: ClassVar[str] = "imdb"
    remote: ClassVar[tuple[RemoteFile, ...]] = (
        RemoteFile(  # the same as in torchtext
            "aclImdb_v1.tar.gz",
            "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
            "md5:7c2ac02c03563afcf9b574c7e56c153a",
        ),
    )
    facts: ClassVar[SetFacts | None] = SetFacts(
        {"train": 25_000, "test": 25_000},
        2,
        84.1,
        "not stated",
        "Maas et al. 2011, ai.stanford.edu/~amaas/data/sentiment",
    )

    def read_files(self, folder: Path) -> Samples:
        """Return reviews and their sentiment."""
        folders = {split: folder / "aclImdb" / split for split in ("train", "test")}
        return read_text_folders(folders, ("neg", "pos"), encoding="utf-8")
