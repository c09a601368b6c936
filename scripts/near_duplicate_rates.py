"""How often near-duplicates are found: copies are planted in the data of MMX_DATA_DIR.

    MMX_DATA_DIR=... python scripts/near_duplicate_rates.py

Prints for each change the share of copies that are found as such among the rows of the data.
Figures are in docs/guides/data.md.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import soundfile

from mmx.evaluation.near_duplicates.images import compare_pictures
from mmx.evaluation.near_duplicates.sounds import compare_sounds
from mmx.modalities.audio import AudioColumn
from mmx.modalities.image import ImageColumn

COPIES = 300
DATA = Path(os.environ["MMX_DATA_DIR"])
Image = PIL.Image.Image


def encode(image: Image, quality: int = 90) -> bytes:
    """Return an image as the bytes of a JPEG."""
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return content.getvalue()


def crop(image: Image, share: float, rng: np.random.Generator) -> Image:
    """Return an image without up to twice ``share`` of each side, ``share`` on average."""
    width, height = image.size
    left, right = (round(width * one) for one in rng.uniform(0, 2 * share, 2))
    top, bottom = (round(height * one) for one in rng.uniform(0, 2 * share, 2))
    return image.crop((left, top, width - right, height - bottom))


def pack(sound: np.ndarray, rate: int, kind: str) -> bytes:
    """Return a sound as the bytes of a file."""
    content = io.BytesIO()
    soundfile.write(content, sound, rate, format=kind)
    return content.getvalue()


RNG = np.random.default_rng(0)
PICTURES: dict[str, Callable[[Image], bytes]] = {
    "JPEG of quality 50": lambda image: encode(image, 50),
    "JPEG of quality 20": lambda image: encode(image, 20),
    "half the size": lambda image: encode(image.resize((image.width // 2, image.height // 2))),
    "double size": lambda image: encode(image.resize((image.width * 2, image.height * 2))),
    "1 % cropped on each side": lambda image: encode(crop(image, 0.01, RNG)),
    "2 % cropped on each side": lambda image: encode(crop(image, 0.02, RNG)),
    "5 % cropped on each side": lambda image: encode(crop(image, 0.05, RNG)),
    "10 % darker": lambda image: encode(image.point(lambda level: level * 0.9)),
}
SOUNDS: dict[str, Callable[[np.ndarray, int], bytes]] = {
    "OGG": lambda sound, rate: pack(sound, rate, "OGG"),
    "MP3": lambda sound, rate: pack(sound, rate, "MP3"),
    "20 dB softer": lambda sound, rate: pack(sound / 10, rate, "WAV"),
    "noise at 20 dB": lambda sound, rate: pack(
        (sound + RNG.normal(0, sound.std() / 10, len(sound))).clip(-1, 1), rate, "WAV"
    ),
}


def main() -> None:
    """Print the shares."""
    draw = np.random.default_rng(0)
    for name, pattern in (
        ("fashion", "fashion/images/*.jpg"),
        ("cifar10", "cifar10/train/*/*.jpg"),
    ):
        files = sorted(DATA.glob(pattern))[:6000]
        chosen = draw.choice(len(files), COPIES, replace=False)
        for change, make in PICTURES.items():
            copies = [make(PIL.Image.open(files[place]).convert("RGB")) for place in chosen]
            column = ImageColumn([*files, *copies])
            rows = np.arange(len(files)), np.arange(COPIES) + len(files)
            found = compare_pictures(column, None, [(rows[1], rows[0])])
            pairs = {(pair.row - len(files), pair.other) for pair in found.pairs}
            hit = sum((copy, place) in pairs for copy, place in enumerate(chosen.tolist()))
            print(f"{name}: {change}: {hit / COPIES:.1%} found", flush=True)
    sounds = sorted(DATA.glob("fsdd/recordings/*.wav"))
    chosen = draw.choice(len(sounds), COPIES, replace=False)
    for change, alter in SOUNDS.items():
        copies = [alter(*soundfile.read(sounds[place])) for place in chosen]
        recordings = AudioColumn([*sounds, *copies])
        rows = np.arange(len(sounds)), np.arange(COPIES) + len(sounds)
        found = compare_sounds(recordings, None, [(rows[1], rows[0])])
        pairs = {(pair.row - len(sounds), pair.other) for pair in found.pairs}
        hit = sum((copy, place) in pairs for copy, place in enumerate(chosen.tolist()))
        print(f"fsdd: {change}: {hit / COPIES:.1%} found", flush=True)


if __name__ == "__main__":
    main()
