"""Free Spoken Digit Dataset (Jakobovski, CC BY-SA 4.0)."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from mmx.errors import DataError, closest
from mmx.modalities import Modality
from mmx.modalities.audio import Audio, AudioColumn
from mmx.tasks.base import Samples, Task, list_names, type_task_option
from mmx.tasks.row_keys import read_row_groups
from mmx.tasks.set_facts import SetFacts

FILE_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>\w+)_(?P<index>\d+)\.wav")
SPOKEN_DIGITS = tuple("0123456789")


@dataclass(kw_only=True, eq=False)
class Fsdd(Task):
    """3,000 recordings at 8 kHz of six speakers saying the digits 0 to 9.

    Use it as a small benchmark of real sounds. It is split by speaker, so a model is tested on
    voices that it has not been trained on. The files are
    ``<data_dir>/fsdd/recordings/<digit>_<speaker>_<index>.wav``.

    Args:
        data_dir: Folder of the data.
        test_speakers: Speakers whose recordings are the test rows, and nobody else's.
        val_speakers: Speakers of ``val``; without any, ``val`` is ``val_fraction`` of the
            other speakers' rows.
        group: ``speaker`` keeps each speaker's rows in one split where splits are cut: for folds,
            and for ``val`` without ``val_speakers``.
        audio: How the recordings are decoded.

    Raises:
        ValueError: A speaker is in both lists, or there is no test speaker.
    """

    facts: ClassVar[SetFacts | None] = SetFacts(
        {"train": 2_000, "val": 500, "test": 500},
        10,
        21.0,
        "CC BY-SA 4.0",
        "Jakobovski, github.com/Jakobovski/free-spoken-digit-dataset",
    )
    data_dir: str
    test_speakers: list[str] = field(default_factory=lambda: ["yweweler"])
    val_speakers: list[str] = field(default_factory=lambda: ["theo"])
    group: Literal["speaker"] | None = None
    audio: Audio = field(default_factory=lambda: Audio(sample_rate=8000, max_seconds=1.0))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.test_speakers or set(self.test_speakers) & set(self.val_speakers):
            raise ValueError(
                f"`test_speakers` (={self.test_speakers}) must name at least one speaker, "
                f"and must not name one of `val_speakers` (={self.val_speakers})"
            )

    @property
    def modalities(self) -> dict[str, Modality[Any, Any] | None]:
        """The sound."""
        return {"audio": self.audio}

    def read(self) -> Samples:
        """Return recordings and digits."""
        folder = Path(self.data_dir).expanduser() / "fsdd" / "recordings"
        found = [
            match
            for path in sorted(folder.glob("*.wav"))
            if (match := FILE_NAME.fullmatch(path.name))
        ]
        if not found:
            raise DataError(
                f"{self.name}: there are no recordings <digit>_<speaker>_<index>.wav in {folder}",
                tip="git clone https://github.com/Jakobovski/free-spoken-digit-dataset fsdd "
                "in your data folder, and set MMX_DATA_DIR=<folder> to that folder",
            )
        speakers = np.array([match["speaker"] for match in found])
        self._check_known("test_speakers", self.test_speakers, speakers.tolist())
        self._check_known("val_speakers", self.val_speakers, speakers.tolist())
        test, val = np.isin(speakers, self.test_speakers), np.isin(speakers, self.val_speakers)
        masks = {"train": ~test & ~val, "val": val, "test": test}
        splits = {name: np.flatnonzero(mask) for name, mask in masks.items()}
        if not self.val_speakers:
            del splits["val"]
        groups = None
        if self.group is not None:
            groups = read_row_groups(self.group, speakers.tolist(), np.arange(len(found)))
        return Samples(
            {"audio": AudioColumn([folder / match.string for match in found])},
            np.array([int(match["digit"]) for match in found], dtype=np.int64),
            SPOKEN_DIGITS,
            splits,
            groups=groups,
        )

    def _check_known(self, option: str, names: list[str], speakers: list[str]) -> None:
        for name in names:
            if name not in speakers:
                known = sorted(set(speakers))
                near = closest(name, known)
                raise DataError(
                    f"{self.name}: {option} names '{name}'; the speakers are {list_names(known)}",
                    tip=type_task_option(option, [near]) if near else None,
                )
