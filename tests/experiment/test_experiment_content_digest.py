"""The digest of files and folders: what is in them, and not where they lie."""

from __future__ import annotations

from pathlib import Path

from mmx.experiment.content_digest import content_digest


def test_a_folder_that_a_link_leads_to_counts_and_a_circle_ends(tmp_path: Path) -> None:
    shared, model = tmp_path / "shared", tmp_path / "model"
    shared.mkdir()
    model.mkdir()
    (shared / "weights").write_text("one")
    (model / "config").write_text("c")
    (model / "part").symlink_to(shared, target_is_directory=True)
    (model / "again").symlink_to(model, target_is_directory=True)
    before = content_digest(model)
    (shared / "weights").write_text("two")
    assert content_digest(model) != before
    (model / "part").unlink()
    (model / "part").mkdir()
    (model / "part" / "weights").write_text("one")
    assert content_digest(model) == before
