"""Whether the locks of a folder's file system hold between machines, by how it is mounted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """A mounted file system.

    Attributes:
        point: Where it is mounted.
        kind: Its type, such as ``nfs4``.
        options: All of its options.
    """

    point: Path
    kind: str
    options: frozenset[str]


def find_mount(folder: Path) -> Mount | None:
    """Return the file system that a folder is on, or will be; None on a system that does not tell.

    Args:
        folder: Need not exist.
    """
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
        path = folder.resolve()
    except OSError:
        return None
    found: Mount | None = None
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, rest = before.split(), after.split()
        if len(fields) < 6 or len(rest) < 3:
            continue
        point = Path(_ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), fields[4]))
        # Of several at one place the last is seen.
        inside = path.is_relative_to(point)
        if inside and (found is None or len(point.parts) >= len(found.point.parts)):
            options = frozenset([*fields[5].split(","), *rest[2].split(",")])
            found = Mount(point, rest[0], options)
    return found


def explain_local_locks(folder: Path) -> str:
    """Return why locks in a folder hold on one machine alone; "" where they hold, or unknown.

    Args:
        folder: Need not exist.
    """
    mount = find_mount(folder)
    if mount is None:
        return ""
    why = _explain_mount(mount)
    return f"{folder} is on {mount.kind}, mounted {why} at {mount.point}" if why else ""


def _explain_mount(mount: Mount) -> str:
    local: tuple[str, ...] = ()
    if mount.kind in ("nfs", "nfs4"):
        local = ("nolock", "local_lock=flock", "local_lock=all")
    elif mount.kind in ("cifs", "smb3"):
        local = ("nobrl",)
    elif mount.kind == "lustre":
        if "flock" in mount.options:
            return ""
        return "with localflock" if "localflock" in mount.options else "without flock"
    elif mount.kind == "fuse.sshfs":
        return "without locks between machines"
    given = [option for option in local if option in mount.options]
    return f"with {given[0]}" if given else ""
