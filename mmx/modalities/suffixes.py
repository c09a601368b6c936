"""Which files of a folder are images, sounds and videos, for all readers of folders."""

from __future__ import annotations

from pathlib import Path

IMAGES = frozenset(
    {".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".j2k", ".jfif", ".jp2"}
    | {".jpe", ".jpeg", ".jpg", ".jpx", ".mpo", ".pbm", ".pcx", ".pfm", ".pgm", ".png", ".pnm"}
    | {".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp"}
)
SOUNDS = frozenset(
    {".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".rf64"}
    | {".sph", ".w64", ".wav"}
)
VIDEOS = frozenset(
    {".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm"}
    | {".wmv"}
)
MEDIA_SUFFIXES = {"image": IMAGES, "audio": SOUNDS, "video": VIDEOS}
"""Modality (of those with one file for each row) to the suffixes of its files, in lower case."""

LEFT_BEHIND = frozenset({"__macosx", "thumbs.db", "desktop.ini"})
"""Files and folders that operating systems and archives create, in lower case."""


def is_hidden(name: str) -> bool:
    """Return whether a file or folder is hidden or was created by the operating system."""
    return name.startswith(".") or name.lower() in LEFT_BEHIND


def counts_as(path: Path, modality: str) -> bool:
    """Return whether a file is of a modality, by its suffix.

    Args:
        path: The file, which is not read.
        modality: ``image``, ``audio`` or ``video``.
    """
    return path.suffix.lower() in MEDIA_SUFFIXES[modality]


def list_visible_files(folder: Path, modality: str) -> list[Path]:
    """Return the sorted files of a modality in a folder and its subfolders, except hidden ones.

    Args:
        folder: The folder.
        modality: ``image``, ``audio`` or ``video``.
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if counts_as(path, modality)
        and not any(is_hidden(part) for part in path.relative_to(folder).parts)
        and path.is_file()
    )
