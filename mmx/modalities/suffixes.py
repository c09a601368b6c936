"""Which files of a folder count as images and which as sounds: one rule for every reader."""

from __future__ import annotations

from pathlib import Path

IMAGES = frozenset(
    {".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm"}
    | {".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)
SOUNDS = frozenset(
    {".aif", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".w64", ".wav"}
)
MEDIA_SUFFIXES = {"image": IMAGES, "audio": SOUNDS}
"""Modality of which one row is one file, to the suffixes of such files, in lower case."""

LEFT_BEHIND = frozenset({"__macosx", "thumbs.db", "desktop.ini"})
"""What systems and archives leave in folders, in lower case."""


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is one that its owner does not see."""
    return name.startswith(".") or name.lower() in LEFT_BEHIND


def counts_as(path: Path, modality: str) -> bool:
    """Return whether a file counts as an image or a sound, by its suffix.

    Args:
        path: The file; nothing of it is read.
        modality: ``image`` or ``audio``.
    """
    return path.suffix.lower() in MEDIA_SUFFIXES[modality]


def visible_files(folder: Path, modality: str) -> list[Path]:
    """Return all files below a folder that count, sorted; nothing hidden, at any depth.

    Args:
        folder: Where to look.
        modality: ``image`` or ``audio``.
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if counts_as(path, modality)
        and not any(is_hidden(part) for part in path.relative_to(folder).parts)
        and path.is_file()
    )
