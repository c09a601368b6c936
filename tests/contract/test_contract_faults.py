"""What is said of an exception of a class under test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mmx.contract.faults import LONGEST, _is_installed, describe_fault


def described(message: str) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is what is tested
        raise ValueError(message)
    return describe_fault(caught.value)


def test_a_fault_is_named_by_its_type_its_message_and_its_place() -> None:
    assert described("two\n  lines").startswith("ValueError: two lines (")
    assert described("").startswith("ValueError: without a message (")
    assert described("").split(":")[-2].endswith("test_contract_faults.py")


def test_a_long_message_is_cut() -> None:
    assert LONGEST == 200
    assert described("x" * 200).startswith(f"ValueError: {'x' * 200} (")
    assert described("x" * 201).startswith(f"ValueError: {'x' * 199}… (")


@pytest.mark.parametrize(
    ("path", "installed"),
    [
        (Path(sys.prefix) / "lib" / "part.py", True),
        (Path(sys.prefix) / "work" / "part.py", False),  # as of a project in /usr or /opt
        (Path("/x/site-packages/part.py"), True),
        (Path("<string>"), True),
        (Path("/x/part.py"), False),
    ],
)
def test_what_lies_beside_the_libraries_of_python_is_a_users_own(
    path: Path, installed: bool
) -> None:
    assert _is_installed(path) == installed
