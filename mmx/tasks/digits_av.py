"""Handwritten digits with their dial tones: images are real, sounds are made here."""

from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mmx.modalities import Modality
from mmx.modalities.audio import Audio, AudioColumn
from mmx.modalities.image import ImageColumn
from mmx.tasks.base import Samples, cut_test
from mmx.tasks.digits import DIGIT_NAMES, Digits, load_images

SAMPLE_RATE = 8000  # Hz
SAMPLES = 1600  # 0.2 s
TONE = 800  # 0.1 s of them sound
SPREAD = 3.0  # dB around the asked ratio
NOISE_STD = 0.1  # standard deviation, of full scale 1

ROW_HZ = (697, 770, 852, 941)  # Hz, top to bottom of the keypad
COLUMN_HZ = (1209, 1336, 1477)  # Hz, left to right
KEYPAD = ("123", "456", "789", "*0#")


@dataclass(kw_only=True, eq=False)
class DigitsAv(Digits):
    """The images of :class:`Digits`, each with the telephone dial tone of its digit.

    **Half synthetic.** The images are real; the 0.2 s of sound are made here: the two
    frequencies of the key (ITU-T Q.23) at random phases and a random onset, in white
    noise loud enough that sound alone does not settle the digit. Sound of a row depends on its
    number and digit alone. Splits are those of ``Digits`` with the same ``split_seed``,
    so that neither validates or tests on what the other trained on.

    Args:
        snr_db: Power of the tone over that of the noise, in dB; each row varies by ±3 dB.
        audio: How the sounds are decoded.
    """

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
        columns = {
            "image": ImageColumn(images),
            "audio": AudioColumn(tones, sample_rate=SAMPLE_RATE),
        }
        return Samples(columns, labels, DIGIT_NAMES, cut_test(labels, self.test_fraction))


def find_frequencies(digit: int) -> tuple[int, int]:
    """Return the row's and the column's frequency of a key, in Hz."""
    for row, keys in enumerate(KEYPAD):
        if str(digit) in keys:
            return ROW_HZ[row], COLUMN_HZ[keys.index(str(digit))]
    raise ValueError(f"`digit` (={digit}) must be 0 to 9")


def dial(digit: int, row: int, snr_db: float) -> npt.NDArray[np.int16]:
    """Return one noisy dial tone, ``(1600,)`` int16, drawn by the row's number."""
    random = np.random.default_rng(row)
    noise = random.normal(0.0, NOISE_STD, SAMPLES)
    onset = random.integers(0, SAMPLES - TONE + 1)
    ratio = snr_db + random.uniform(-SPREAD, SPREAD)
    # Two sines of amplitude a have the power a²; the noise has NOISE².
    amplitude = NOISE_STD * 10 ** (ratio / 20)
    seconds = np.arange(TONE) / SAMPLE_RATE
    for hertz in find_frequencies(digit):
        phase = random.uniform(0, 2 * np.pi)
        noise[onset : onset + TONE] += amplitude * np.sin(2 * np.pi * hertz * seconds + phase)
    return np.clip(np.rint(noise * 32768), -32768, 32767).astype(np.int16)
