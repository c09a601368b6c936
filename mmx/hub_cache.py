"""The hub's local cache: names of repositories, and whether what was fetched is undamaged."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from mmx.errors import DataError

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")


def check_fetched(snapshot: Path) -> None:
    """Check the files of a repository against the digests that the hub states for them.

    The hub's cache calls a file by its digest: SHA-256 of a large one, that of git of a small one.
    What is damaged is removed, so that it is fetched again.

    Raises:
        DataError: A file is not what was published.
    """
    damaged = []
    for path in sorted(snapshot.rglob("*")):
        blob = path.resolve()
        if not path.is_file() or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", blob.name):
            continue
        large = len(blob.name) == 64
        digest = hashlib.sha256() if large else hashlib.sha1(b"blob %d\0" % blob.stat().st_size)
        with blob.open("rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
        if digest.hexdigest() != blob.name:
            path.unlink()
            blob.unlink(missing_ok=True)
            damaged.append(path.name)
    if damaged:
        raise DataError(
            f"{damaged[0]}: what was fetched is not what the hub states, and was removed",
            tip="the same command fetches it again",
        )


def read_licence(card: Path) -> str | None:
    """Return the licence that the first lines of a model card state; None where they do not."""
    try:
        with card.open(encoding="utf-8", errors="replace") as file:
            head = file.read(20_000)
    except OSError:
        return None
    if not head.startswith("---"):
        return None
    front = head.split("\n---", maxsplit=1)[0]
    found = re.search(r"^license:\s*[\"']?([\w.+ -]+)", front, re.MULTILINE)
    return found.group(1).strip() if found else None
