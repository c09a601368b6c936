"""The digest of an allowed package: which files it is of, and that nothing is imported for it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mmx.experiment.identify import digest_packages
from mmx.runs import code


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(code, "_KNOWN", {})
    files = {
        "own_pack/__init__.py": "raise RuntimeError('imported')\n",
        "own_pack/deep/part.py": "import own_beside\nfrom ..other import x\n",
        "own_pack/notes.txt": "a",
        "own_beside.py": "import own_further, os\n",
        "own_further/inner.py": "A = 1\n",
        "own_unrelated.py": "B = 1\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def digest(name: str) -> str | None:
    code._KNOWN.clear()  # as in another process
    return code.package_digest(name)


@pytest.mark.parametrize(
    "changed",
    ["own_pack/__init__.py", "own_pack/deep/part.py", "own_beside.py", "own_further/inner.py"],
)
def test_a_changed_file_counts(folder: Path, changed: str) -> None:
    before = digest("own_pack")
    assert before is not None
    assert digest("own_pack.deep") == before
    with (folder / changed).open("a") as file:
        file.write("# changed\n")
    assert digest("own_pack") != before
    assert not {"own_pack", "own_beside"} & sys.modules.keys()


@pytest.mark.parametrize("changed", ["own_pack/notes.txt", "own_unrelated.py"])
def test_what_is_no_code_of_it_does_not_count(folder: Path, changed: str) -> None:
    before = digest("own_pack")
    (folder / changed).write_text("C = 2\n")
    assert digest("own_pack") == before


def test_a_module_of_one_file_and_one_that_is_not_there(folder: Path) -> None:
    assert digest("own_unrelated") is not None
    assert digest("own_absent") is None


def test_packages_count_only_where_a_class_of_theirs_is_named(folder: Path) -> None:
    own, ours = {"_target_": "own_unrelated.Sum"}, {"_target_": "mmx.fusion.concat.Concat"}
    allowed = ("own_unrelated",)
    assert digest_packages({"fusion": ours}, allowed) == {}
    code._KNOWN.clear()
    before = digest_packages({"terms": [{"fusion": own}]}, allowed)
    assert list(before) == ["own_unrelated"]
    (folder / "own_unrelated.py").write_text("B = 2\n")
    code._KNOWN.clear()
    assert digest_packages({"terms": [{"fusion": own}]}, allowed) != before
