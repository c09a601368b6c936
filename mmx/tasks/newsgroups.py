"""20 Newsgroups (Lang 1995), sorted by date."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from mmx.tasks.base import Samples
from mmx.tasks.fetching import RemoteFile
from mmx.tasks.official_files import OfficialTexts
from mmx.tasks.set_facts import SetFacts
from mmx.tasks.text_files import read_text_folders

Removed = Literal["headers", "footers", "quotes"]


@dataclass(kw_only=True, eq=False)
class Newsgroups(OfficialTexts):
    """18,846 posts to 20 newsgroups; the test posts are later than the training posts.

    Use it for longer texts with many classes. The texts are those of scikit-learn's
    ``fetch_20newsgroups``, whose functions remove headers, footers and quotes; its cache is not
    read, since it is a pickle, which can run code.

    Args:
        remove: What is removed of each post. Headers and signatures give away the group, so models
            trained with them do not carry over to other texts.
    """

    remove: list[Removed] = field(default_factory=lambda: ["headers", "footers", "quotes"])

    files: ClassVar[str] = "20newsgroups"
    remote: ClassVar[tuple[RemoteFile, ...]] = (
        RemoteFile(  # the same as in sklearn.datasets
            "20news-bydate.tar.gz",
            "https://ndownloader.figshare.com/files/5975967",
            "sha256:8f1b2514ca22a5ade8fbb9cfa5727df95fa587f4c87b786e15c759fa66d95610",
        ),
    )
    facts: ClassVar[SetFacts | None] = SetFacts(
        {"train": 11_314, "test": 7_532},
        20,
        14.5,
        "not stated",
        "Lang 1995, qwone.com/~jason/20Newsgroups",
    )

    def read_files(self, folder: Path) -> Samples:
        """Return texts and groups."""
        folders = {split: folder / f"20news-bydate-{split}" for split in ("train", "test")}
        return read_text_folders(folders, None, encoding="latin-1", change=self.strip)

    def strip(self, text: str) -> str:
        """Return a post without what is to be removed."""
        from sklearn.datasets import _twenty_newsgroups as posts  # slow to import

        if "headers" in self.remove:
            text = posts.strip_newsgroup_header(text)
        if "footers" in self.remove:
            text = posts.strip_newsgroup_footer(text)
        if "quotes" in self.remove:
            text = posts.strip_newsgroup_quoting(text)
        return text
