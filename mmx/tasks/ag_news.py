"""AG News (Zhang, Zhao and LeCun 2015)."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from mmx.modalities.text import TextColumn
from mmx.tasks.base import Samples
from mmx.tasks.fetching import RemoteFile
from mmx.tasks.official_files import OfficialTexts
from mmx.tasks.set_facts import SetFacts
from mmx.tasks.splits import SplitRows

TOPICS = ("World", "Sports", "Business", "Sci/Tech")
"""Topics 1 to 4 of the files."""
ADDRESS = "https://raw.githubusercontent.com/mhjabreel/CharCnn_Keras/master/data/ag_news_csv"


@dataclass(kw_only=True, eq=False)
class AgNews(OfficialTexts):
    """127,600 news items, title and first sentences, of four topics.

    Use it for short texts with few classes.
    """

    files: ClassVar[str] = "ag_news_csv"
    remote: ClassVar[tuple[RemoteFile, ...]] = (  # the same as in torchtext
        RemoteFile("train.csv", f"{ADDRESS}/train.csv", "md5:b1a00f826fdfbd249f79597b59e1dc12"),
        RemoteFile("test.csv", f"{ADDRESS}/test.csv", "md5:d52ea96a97a2d943681189a97654912d"),
    )
    facts: ClassVar[SetFacts | None] = SetFacts(
        {"train": 120_000, "test": 7_600},
        4,
        31.3,
        "non-commercial use",
        "Zhang, Zhao and LeCun 2015, from the AG corpus of A. Gulli",
    )

    def read_files(self, folder: Path) -> Samples:
        """Return title and text of each item, joined by a space, and its topic."""
        texts: list[str | None] = []
        labels: list[int] = []
        splits: dict[str, SplitRows] = {}
        for split in ("train", "test"):
            start = len(texts)
            for topic, text in _read_items(folder / f"{split}.csv"):
                labels.append(topic - 1)
                texts.append(text)
            splits[split] = np.arange(start, len(texts), dtype=np.int64)
        values = np.array(labels, dtype=np.int64)
        return Samples({"text": TextColumn(texts)}, values, TOPICS, splits)


def _read_items(path: Path) -> list[tuple[int, str]]:
    """Return the topic, 1 to 4, and the text of each row of a file without a header.

    Raises:
        ValueError: A row is something else; the message names its line.
    """
    items = []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        for cells in reader:
            if len(cells) != 3 or cells[0] not in ("1", "2", "3", "4"):
                raise ValueError(f"{path}, line {reader.line_num}: no topic, title and text")
            items.append((int(cells[0]), f"{cells[1]} {cells[2]}"))
    return items
