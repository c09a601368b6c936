"""Handwritten digits as sequences: the columns of each image from left to right."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmx.modalities import Modality
from mmx.modalities.sequence import SequenceColumn, Sequences
from mmx.tasks.base import CutTask, Samples, TaskData, cut_test
from mmx.tasks.digits import DIGIT_NAMES, load_images
from mmx.tasks.set_facts import SetFacts


@dataclass(kw_only=True, eq=False)
class DigitColumns(CutTask):
    """The images of ``digits``, read column by column as a line of handwriting is.

    Use it to try encoders of sequences without a download. A step is a column of 8 shades in
    [0, 1]; empty columns at the left and right are left out, so that lengths differ.

    Args:
        sequence: How the sequences are scaled and cut.
    """

    reads_alike: ClassVar[bool] = True
    facts: ClassVar[SetFacts | None] = SetFacts(
        {"all": 1_797}, 10, 0, "CC BY 4.0", "the images of digits, column by column"
    )
    sequence: Sequences = field(default_factory=Sequences)

    @property
    def modalities(self) -> dict[str, Modality[Any, Any] | None]:
        """The sequence."""
        return {"sequence": self.sequence}

    def read(self) -> Samples:
        """Return sequences and digits."""
        images, labels = load_images()
        steps = []
        for image in images:
            used = np.flatnonzero(image.any(axis=0))
            steps.append(image[:, used[0] : used[-1] + 1].T / 255)  # (T, 8)
        splits = cut_test(labels, self.test_fraction)
        return Samples({"sequence": SequenceColumn(steps)}, labels, DIGIT_NAMES, splits)

    def list_files(self, data: TaskData) -> list[Path]:
        """Return no file: all is made of the images that scikit-learn installs."""
        return []
