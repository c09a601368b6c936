"""Make a small set of spoken digits in three languages with espeak-ng: synthetic speech.

    apt-get install espeak-ng
    python scripts/make_spoken_words.py "$MMX_DATA_DIR/spoken_words"

Writes a WAV for each digit, voice and manner of speaking, and one table a language
(english.csv, german.csv, spanish.csv) with the columns path, word, digit, voice, speed, pitch and
split. Each voice is in one split, so that a model is tested on voices that it has not heard. The
same version of espeak-ng makes the same files.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import shutil
import subprocess
import sys
from pathlib import Path

WORDS = {
    "english": ("en-us", "zero one two three four five six seven eight nine"),
    "german": ("de", "null eins zwei drei vier fünf sechs sieben acht neun"),
    "spanish": ("es", "cero uno dos tres cuatro cinco seis siete ocho nueve"),
}
"""Language to its name in espeak-ng and its words for 0 to 9."""
VOICES = {
    "train": ("m1", "m2", "m3", "f1", "f2", "linda"),
    "val": ("m4", "f3"),
    "test": ("m7", "m8", "f4", "f5"),
}
"""Split to the variants of the voice that speak in it."""
MANNERS = ((140, 40), (175, 50), (210, 60))
"""Words a minute, and pitch from 0 to 99."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    program = shutil.which("espeak-ng")
    if program is None:
        sys.exit("needs espeak-ng: apt-get install espeak-ng")
    for language in WORDS:
        rows = list(speak(program, folder, language))
        with (folder / f"{language}.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
        print(f"{language}: {len(rows)} words")


def speak(program: str, folder: Path, language: str) -> list[dict[str, object]]:
    """Write the recordings of a language, and return their rows."""
    code, words = WORDS[language]
    rows: list[dict[str, object]] = []
    for split, voices in VOICES.items():
        for voice, (digit, word) in itertools.product(voices, enumerate(words.split())):
            for speed, pitch in MANNERS:
                path = Path("recordings") / f"{language}_{digit}_{voice}_{speed}.wav"
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                manner = ["-v", f"{code}+{voice}", "-s", str(speed), "-p", str(pitch)]
                subprocess.run([program, *manner, "-w", str(folder / path), word], check=True)
                rows.append(
                    {"path": path, "word": word, "digit": digit, "voice": voice,
                     "speed": speed, "pitch": pitch, "split": split}
                )  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
