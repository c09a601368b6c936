"""A table of every kind of input as a user has it: files of many sorts, scripts, missing cells."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from clips import save_clip
from PIL import Image

ROWS = 36
TEXTS = (
    "The cat, the CAT and 3 dogs",
    "Ein großer Hund läuft übers Eis",
    "猫が好きです cat",
    "안녕하세요 세계",
    "\uff23\uff21\uff34 full-width \u2603\ufe0f snow",
    "धीरे धीरे रे मना",
    "e\u0301te\u0301 à la plage :) 👍🏽",
    "สวัสดีชาวโลก",
    "dog",
)
COLUMNS = {
    "image": "photo",
    "audio": "sound",
    "video": "clip",
    "text": "words",
    "vector": "numbers",
    "sequence": "track",
}


def write_raw_table(folder: Path, rows: int = ROWS) -> Path:
    """Write the table with its files; a third of the rows is tested on."""
    random = np.random.default_rng(5)
    lines = []
    for row in range(rows):
        label = row % 2
        cells = {
            "photo": save_photo(folder, row, label, random),
            "sound": save_sound(folder, row, label, random),
            "clip": save_video(folder, row, label, random),
            "words": f"{TEXTS[row % len(TEXTS)]} {('yes', 'no')[label]}",
            "numbers": make_vector(row, label, random),
            "track": make_track(folder, row, label, random),
        }
        for place, name in enumerate(cells):
            if row % 7 == place:
                cells[name] = ""
        split = ("train", "val", "test")[row // 2 % 3]
        lines.append(
            {
                **cells,
                "label": ("low", "high")[label],
                "labels": ("low", "high", "low|odd", "high|odd")[row % 4],
                "number": str(label + row % 5 / 4),
                "split": split,
            }
        )
    path = folder / "raw.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return path


def save_photo(folder: Path, row: int, label: int, random: np.random.Generator) -> str:
    """Write a PNG, one with transparency, a large JPEG, or one that EXIF turns."""
    height, width = ((20, 30), (41, 23), (300, 420), (50, 90))[row % 4]
    small = random.integers(0, 150, (6, 6, 3)) + 90 * label
    picture = Image.fromarray(small.astype(np.uint8)).resize((width, height), 3)
    if row % 4 == 1:
        picture.putalpha(Image.linear_gradient("L").resize((width, height)))
    if row % 4 < 2:
        picture.save(folder / f"{row}.png")
        return f"{row}.png"
    exif = Image.Exif()
    exif[0x0112] = 6 if row % 4 == 3 else 1
    picture.save(folder / f"{row}.jpg", exif=exif)
    return f"{row}.jpg"


def save_sound(folder: Path, row: int, label: int, random: np.random.Generator) -> str:
    """Write a sound at one of several rates, of one channel or two."""
    rate = (8000, 11025, 16000, 44100)[row % 4]
    seconds = np.arange(int(rate * (0.15 + 0.02 * (row % 5)))) / rate
    tone = 0.4 * np.sin(2 * np.pi * 500 * (1 + label) * seconds)
    channels = [tone + random.normal(0, 0.02, len(tone)) for _ in range(1 + row % 2)]
    soundfile.write(folder / f"{row}.wav", np.stack(channels, 1), rate)
    return f"{row}.wav"


def save_video(folder: Path, row: int, label: int, random: np.random.Generator) -> str:
    """Write a clip, some of them turned, or with frames at uneven times."""
    shades = random.integers(0, 120, 6) + 100 * label
    frames = np.stack([np.full((32, 48, 3), shade, np.uint8) for shade in shades])
    frames[:, :16, :20, row % 3] = 250
    stamps = [0, 1, 2, 5, 6, 9] if row % 3 == 1 else None
    save_clip(folder / f"{row}.mp4", frames, rotation=90 * (row % 3 == 2), stamps=stamps)
    return f"{row}.mp4"


def make_vector(row: int, label: int, random: np.random.Generator) -> str:
    """Return a cell of numbers, some of them missing."""
    numbers: list[float | None] = (random.normal(3, 2, 4) + label).round(4).tolist()
    if row % 5 == 2:
        numbers[row % 4] = None
    return json.dumps(numbers)


def make_track(folder: Path, row: int, label: int, random: np.random.Generator) -> str:
    """Return a cell of 1 to 5 steps, or the path of a file that holds them."""
    steps = random.normal(label, 1, (1 + row % 5, 3)).astype(np.float32)
    np.save(folder / f"{row}.npy", steps)
    return f"{row}.npy"


def read_raw_rows(table: Path, columns: dict[str, str]) -> list[dict[str, Any]]:
    """Return the rows as ``rows.json`` holds them; numbers are lists, files are paths."""
    with table.open(newline="", encoding="utf-8") as file:
        return [
            {name: read_raw(table.parent, name, row[column]) for name, column in columns.items()}
            for row in csv.DictReader(file)
        ]


def read_raw(folder: Path, name: str, cell: str) -> Any:
    if not cell:
        return None
    if name == "vector":
        return json.loads(cell)
    return cell if name == "text" else str(folder / cell)
