"""The charting library of all pages: Vega-Lite, ready to be put into a page.

A page makes no request, so the library is in the page: compressed, as text. The package
``vl-convert-python`` holds its JavaScript and takes seconds to put it into one file. That is done
once for each of its versions, and the result kept in the user's cache directory.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import gzip
import hashlib
import json
import os
import zlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from mmx import untrusted
from mmx.errors import RunError, UnreadableFileError
from mmx.runs.atomic import write_json

PACKAGE = "vl-convert-python"
SNIPPET = "window.vegaEmbed = vegaEmbed;"
"""What of the library a page uses: all else is left out of the file."""
LIMIT = 4 * 2**20
"""Most bytes of the kept file, and of the library in it."""


@dataclass(frozen=True)
class ChartLibrary:
    """The library as a page holds it.

    Attributes:
        packed: The JavaScript, compressed by gzip, as base64.
        digest: Base64 of the SHA-256 of the JavaScript, by which a page allows it to run.
    """

    packed: str
    digest: str

    @classmethod
    def of(cls, script: str) -> ChartLibrary:
        """Return the library with this JavaScript."""
        # Without the time, so that equal libraries are equal bytes.
        packed = gzip.compress(script.encode(), 9, mtime=0)
        return cls(base64.b64encode(packed).decode(), hash_script(script))


def hash_script(script: str) -> str:
    """Return what a page's security policy calls a script: base64 of its SHA-256."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@functools.cache
def load_library() -> ChartLibrary:
    """Return the charting library: the kept one, or a new one, which is then kept.

    Raises:
        RunError: The package is not installed, or cannot make it.
    """
    try:
        path = find_cache() / f"charts-{metadata.version(PACKAGE)}.json"
    except metadata.PackageNotFoundError as error:
        raise RunError(
            f"charts are drawn by {PACKAGE}, which is not installed", tip=f"pip install {PACKAGE}"
        ) from error
    kept = _read_kept(path)
    if kept is None:
        kept = ChartLibrary.of(_make_script())
        with contextlib.suppress(OSError, RunError):  # without a place to keep it, it is made anew
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"digest": kept.digest, "packed": kept.packed})
    return kept


def find_cache() -> Path:
    """Return the user's cache directory for mmx."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "mmx"


def _make_script() -> str:
    import vl_convert  # 90 MB

    try:
        return str(vl_convert.javascript_bundle(SNIPPET))
    except Exception as error:
        raise RunError(f"{PACKAGE} cannot make the charting library: {error}") from error


def _read_kept(path: Path) -> ChartLibrary | None:
    """Return the kept library; None without one, or where it is damaged."""
    try:
        found = untrusted.read_json(path, dict, limit=LIMIT)
        library = ChartLibrary(str(found["packed"]), str(found["digest"]))
        unpacker = zlib.decompressobj(wbits=31)
        script = unpacker.decompress(base64.b64decode(library.packed, validate=True), LIMIT)
    except (UnreadableFileError, KeyError, ValueError, zlib.error, json.JSONDecodeError):
        return None
    whole = unpacker.eof and hash_script(script.decode(errors="replace")) == library.digest
    return library if whole else None
