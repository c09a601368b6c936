"""Speech Commands, version 0.02 (Warden 2018)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from mmx.modalities import Modality
from mmx.modalities.audio import Audio, AudioColumn
from mmx.tasks.base import Samples
from mmx.tasks.fetching import RemoteFile
from mmx.tasks.official_files import OfficialFiles
from mmx.tasks.row_keys import read_row_groups
from mmx.tasks.set_facts import SetFacts
from mmx.tasks.splits import SplitRows

SPLITS = {"train": "training", "val": "validation", "test": "testing"}
"""Split to what torchaudio calls it."""


@dataclass(kw_only=True, eq=False)
class SpeechCommands(OfficialFiles):
    """105,829 recordings of one second at 16 kHz: 35 words.

    Use it as a source for other spoken words. No speaker is in two splits.

    Args:
        group: ``speaker`` keeps each speaker's rows in one split where splits are cut: for folds.
        audio: How the recordings are decoded.
    """

    group: Literal["speaker"] | None = None
    audio: Audio = field(default_factory=lambda: Audio(sample_rate=16_000, max_seconds=1.0))

    files: ClassVar[str] = "SpeechCommands"
    unpacked: ClassVar[str] = "speech_commands_v0.02"
    remote: ClassVar[tuple[RemoteFile, ...]] = (
        RemoteFile(  # the same as in torchaudio
            "speech_commands_v0.02.tar.gz",
            "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
            "sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
        ),
    )
    facts: ClassVar[SetFacts | None] = SetFacts(
        {"train": 84_843, "val": 9_981, "test": 11_005},
        35,
        2_428.9,
        "CC BY 4.0",
        "Warden 2018, arxiv.org/abs/1804.03209",
    )

    @property
    def modalities(self) -> dict[str, Modality[Any, Any] | None]:
        """The sound."""
        return {"audio": self.audio}

    def read_files(self, folder: Path) -> Samples:
        """Return recordings and words, as torchaudio lists them."""
        from torchaudio.datasets import SPEECHCOMMANDS  # slow to import

        paths: list[Path] = []
        words: list[str] = []
        speakers: list[str | None] = []
        splits: dict[str, SplitRows] = {}
        for split, official in SPLITS.items():
            data = SPEECHCOMMANDS(folder.parent, url=self.unpacked, subset=official)
            start = len(paths)
            for row in range(len(data)):
                path, _, word, speaker, _ = data.get_metadata(row)
                paths.append(folder / path)
                words.append(word)
                speakers.append(speaker)
            splits[split] = np.arange(start, len(paths))
        if missing := next((path for path in paths if not path.is_file()), None):
            raise ValueError(f"{missing} is missing")
        classes = sorted(set(words))
        groups = None
        if self.group is not None:
            groups = read_row_groups(self.group, speakers, np.arange(len(paths)))
        return Samples(
            {"audio": AudioColumn(paths)},
            np.array([classes.index(word) for word in words], dtype=np.int64),
            tuple(classes),
            splits,
            groups=groups,
        )
