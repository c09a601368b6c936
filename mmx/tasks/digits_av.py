"""Handwritten digits with dial tones: the images are real, the sounds are synthetic."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mmx.modalities import Column, Modality
from mmx.modalities.audio import Audio, AudioColumn
from mmx.modalities.image import ImageColumn
from mmx.tasks.base import Samples, TaskData
from mmx.tasks.digits import DIGIT_NAMES, Digits, load_images
from mmx.tasks.set_facts import SetFacts

SAMPLE_RATE = 8000  # Hz
SAMPLES = 1600  # 0.2 s
TONE = 800  # samples with the tone, 0.1 s
SPREAD = 3.0  # dB by which the ratio of a row differs from ``snr_db`` at most
NOISE_STD = 0.1  # standard deviation of the noise, where full scale is 1

ROW_HZ = (697, 770, 852, 941)  # Hz, top to bottom of the keypad
COLUMN_HZ = (1209, 1336, 1477)  # Hz, left to right
KEYPAD = ("123", "456", "789", "*0#")


@dataclass(kw_only=True, eq=False)
class DigitsAv(Digits):
    """The images of :class:`Digits`, each with the telephone dial tone of its digit.

    Use it to try fusion methods without a download; its results say little about real sounds.

    **Half synthetic.** The images are real, and the 0.2 s of sound are generated: the two
    frequencies of the key (ITU-T Q.23) with random phases and a random onset, in white noise
    that is so loud that the sound is not enough to recognise the digit. The sound of a row
    depends only on its row number and digit. The splits are those of ``Digits`` with the same
    ``split_seed``, so neither task validates or tests on training rows of the other.

    Args:
        snr_db: Signal-to-noise ratio in dB; the ratio of each row varies by up to ±3 dB.
        audio: How the sounds are decoded.
    """

    reads_alike: ClassVar[bool] = True
    facts: ClassVar[SetFacts | None] = SetFacts(
        {"all": 1_797}, 10, 0, "CC BY 4.0", "the images of digits; the sounds are synthetic"
    )
    snr_db: Annotated[float, Field(ge=-60, le=60)] = -12.0
    audio: Audio = field(default_factory=lambda: Audio(sample_rate=SAMPLE_RATE, max_seconds=0.2))

    @property
    def modalities(self) -> dict[str, Modality[Any, Any] | None]:
        """Image and audio."""
        return {"image": self.image, "audio": self.audio}

    def read(self) -> Samples:
        """Return images, tones and digits."""
        images, labels = load_images()
        tones = np.stack([dial(int(label), row, self.snr_db) for row, label in enumerate(labels)])
        columns: dict[str, Column] = {
            "image": ImageColumn(images),
            "audio": AudioColumn(tones, sample_rate=SAMPLE_RATE),
        }
        return Samples(columns, labels, DIGIT_NAMES, {"train": np.arange(len(labels))})

    def list_files(self, data: TaskData) -> list[Path]:
        """Return no file: all is made of the images that scikit-learn installs."""
        return []


def find_frequencies(digit: int) -> tuple[int, int]:
    """Return the frequencies of the row and the column of a key, in Hz."""
    for row, keys in enumerate(KEYPAD):
        if str(digit) in keys:
            return ROW_HZ[row], COLUMN_HZ[keys.index(str(digit))]
    raise ValueError(f"`digit` (={digit}) must be 0 to 9")


def dial(digit: int, row: int, snr_db: float) -> npt.NDArray[np.int16]:
    """Return one noisy dial tone, ``(1600,)`` int16; the row number is the seed."""
    # The order of the draws (noise, onset, ratio, phases) is part of the data: another order
    # would change the sounds, and with them the task's fingerprint.
    random = np.random.default_rng(row)
    noise = random.normal(0.0, NOISE_STD, SAMPLES)
    onset = random.integers(0, SAMPLES - TONE + 1)
    ratio = snr_db + random.uniform(-SPREAD, SPREAD)
    # Two sines of amplitude a have together the power a², the noise has NOISE_STD².
    amplitude = NOISE_STD * 10 ** (ratio / 20)
    seconds = np.arange(TONE) / SAMPLE_RATE
    for hertz in find_frequencies(digit):
        phase = random.uniform(0, 2 * np.pi)
        noise[onset : onset + TONE] += amplitude * np.sin(2 * np.pi * hertz * seconds + phase)
    return np.clip(np.rint(noise * 32768), -32768, 32767).astype(np.int16)
