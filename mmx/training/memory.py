"""Memory that is full: on a device, or of this machine."""

from __future__ import annotations

MACHINE = "this machine"
_CPU = "can't allocate memory"
"""What torch says where the system gives it no memory; the error is a plain RuntimeError."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that a GPU or this machine has no memory left.

    Example:
        >>> is_out_of_memory(MemoryError())
        True
        >>> is_out_of_memory(RuntimeError("shapes differ"))
        False
    """
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    return type(error).__name__ == "OutOfMemoryError" or _CPU in str(error)


def name_full_memory(error: BaseException) -> str:
    """Return whose memory is full."""
    return "CUDA" if type(error).__name__ == "OutOfMemoryError" else MACHINE
