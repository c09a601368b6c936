"""Pair pictures, texts and sounds that have nothing in common but the number of their class.

    python scripts/pair_by_class.py "$MMX_DATA_DIR"

Reads cifar10/{train,test}/<class>, ag_news/news.csv and fsdd/recordings in the folder of the data,
and writes paired/rows.csv there: columns image, text, audio, topic and split. Row for row, a news
item of one of four topics is paired with a picture of one of four classes and a recording of one of
four digits. The pairing is synthetic: it says what fusion makes of modalities that are independent
given the class, and nothing about real pairs. Training, validation and test rows are taken from the
training and test files of each set; speakers of one split are in no other.
"""

from __future__ import annotations

import argparse
import csv
import random
from pathlib import Path

CLASSES = {  # topic: picture, digit
    "World": ("airplane", 0),
    "Sports": ("automobile", 1),
    "Business": ("bird", 2),
    "Sci/Tech": ("cat", 3),
}
SIZES = {"train": 60, "val": 20, "test": 40}
"""Rows of a class in each split."""
SPEAKERS = {
    "train": ("george", "jackson", "lucas", "nicolas"),
    "val": ("theo",),
    "test": ("yweweler",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    with (data / "ag_news" / "news.csv").open(encoding="utf-8", newline="") as file:
        news = list(csv.DictReader(file))
    draw = random.Random(0)
    rows = []
    for topic, (picture, digit) in CLASSES.items():
        texts = {
            name: [
                f"{item['title']} {item['description']}"
                for item in news
                if item["topic"] == topic and item["split"] == name
            ]
            for name in ("train", "test")
        }
        pictures = {
            name: sorted((data / "cifar10" / name / picture).iterdir())
            for name in ("train", "test")
        }
        used = {"train": 0, "test": 0}
        for split, count in SIZES.items():
            home = "test" if split == "test" else "train"  # val rows are training rows of a set
            sounds = [
                path
                for speaker in SPEAKERS[split]
                for path in sorted((data / "fsdd" / "recordings").glob(f"{digit}_{speaker}_*.wav"))
            ]
            start = used[home]
            used[home] += count
            chosen = zip(
                pictures[home][start : used[home]],
                texts[home][start : used[home]],
                draw.sample(sounds, count),
                strict=True,
            )
            rows += [
                (
                    f"../{image.relative_to(data)}",
                    text,
                    f"../{sound.relative_to(data)}",
                    topic,
                    split,
                )
                for image, text, sound in chosen
            ]
    path = data / "paired" / "rows.csv"
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "text", "audio", "topic", "split"])
        table.writerows(rows)
    print(f"{path}: {len(rows)} rows")


if __name__ == "__main__":
    main()
