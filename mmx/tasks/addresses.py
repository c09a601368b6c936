"""Addresses of files on other machines, which mmx does not read: what to type to fetch them."""

from __future__ import annotations

import re
import shlex
from pathlib import PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from mmx.errors import DataError

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_KEPT = ":/?#[]@!$&()*+,;=%-._~"
"""What stays as it is in an address for a shell's single quotes."""
_COPY = {"s3": "aws s3 cp", "gs": "gsutil cp", "gcs": "gsutil cp"}


def is_address(text: str) -> bool:
    """Return whether a text is an address, such as ``https://…`` or ``s3://…``."""
    found = _ADDRESS.match(text)
    return found is not None and found[1].lower() != "file"


def strip_file_scheme(text: str) -> str:
    """Return the path of a ``file://`` address; any other text unchanged."""
    return unquote(urlsplit(text).path) if text.lower().startswith("file://") else text


def make_address_error(what: str, address: str) -> DataError:
    """Return the error for an address in place of a path.

    Args:
        what: What gave it, such as ``target.path`` or a column with its row.
        address: What was given.
    """
    scheme = address.partition("://")[0].lower()
    name = PurePosixPath(address.partition("://")[2].partition("?")[0]).name or "file"
    if scheme == "hf":
        parts = address.partition("://")[2].removeprefix("datasets/").split("/")
        repository = "/".join(part.partition("@")[0] for part in parts[:2])
        folder = repository.rpartition("/")[2]
        tip = f"hf download {repository} --repo-type dataset --local-dir {folder}"
    elif scheme in _COPY:
        tip = shlex.join([*_COPY[scheme].split(), address, name])
    else:
        tip = f"curl -L -o {shlex.quote(name)} '{quote(address, safe=_KEPT)}'"
    return DataError(
        f"{what} is the address {address}; tables and files are read from this machine only",
        tip=f"{tip}   (then give the path of the copy)",
    )
