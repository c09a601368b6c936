"""What a group is told to take where it was given no option of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmx.config.option_problems import check_options
from mmx.errors import Problem

KNOWN = ["concat", "gated"]
COLUMNS = "{role}.label=<column> '{role}.columns={{<modality>: <column>}}'"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Some files of one's own in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name in ("shapes.csv", "my shapes.csv.gz", "shards.tar", "notes.txt"):
        Path(name).touch()


@pytest.mark.parametrize("role", ["source", "target"])
@pytest.mark.parametrize(
    ("given", "typed", "there"),
    [
        ("shapes.csv", f"{{role}}=table {{role}}.path=shapes.csv {COLUMNS}", True),
        ("./shapes.csv", f"{{role}}=table '{{role}}.path=\"./shapes.csv\"' {COLUMNS}", True),
        (
            "my shapes.csv.gz",
            f"{{role}}=table '{{role}}.path=my shapes.csv.gz' {COLUMNS}",
            True,
        ),
        ("absent.parquet", f"{{role}}=table {{role}}.path=absent.parquet {COLUMNS}", False),
        ("notes.txt", f"{{role}}=table {{role}}.path=notes.txt {COLUMNS}", True),
        ("absent.feather", f"{{role}}=table {{role}}.path=absent.feather {COLUMNS}", False),
        ("photos", "{role}=image_folder {role}.path=photos", True),
        ("/nowhere/photos", "{role}=image_folder {role}.path=/nowhere/photos", False),
        ("shards.tar", "{role}=webdataset {role}.path=shards.tar", True),
    ],
)
def test_a_path_is_answered_with_what_reads_it(role, given, typed, there):
    text = f"{role}={given}"
    reason = f"{role} takes the name of an option, and this is a path"
    assert check_options(role, given, text, KNOWN, ()) == Problem(
        text,
        reason if there else f"{reason} at which there is nothing",
        type_this=typed.format(role=role),
    )


@pytest.mark.parametrize("given", ["absent", "task/absent", "x\0y.csv"])
def test_what_is_neither_there_nor_written_as_a_path_is_an_unknown_option(given):
    found = check_options("target", given, f"target={given}", KNOWN, ())
    assert found is not None
    assert found.reason == f"target has no option {given}"
    assert found.accepted == "concat, gated"


def test_a_file_is_no_option_of_another_group():
    found = check_options("fusion", "shapes.csv", "fusion=shapes.csv", KNOWN, ())
    assert found == Problem(
        "fusion=shapes.csv", "fusion has no option shapes.csv", accepted="concat, gated"
    )


def test_an_unknown_name_may_be_an_option_of_ones_own():
    found = check_options("fusion", "mine", "fusion=mine", KNOWN, ())
    assert found == Problem(
        "fusion=mine",
        "fusion has no option mine",
        accepted="concat, gated",
        type_this="--config-dir <folder> --allow <package> fusion=mine   "
        "(for an option of your own, in <folder>/fusion/mine.yaml)",
    )
    found = check_options("fusion", "mine", "fusion=mine", KNOWN, [Path("parts")])
    assert found == Problem(
        "fusion=mine",
        "fusion has no option mine, and there is no parts/fusion/mine.yaml",
        accepted="concat, gated",
    )


def test_a_task_of_ones_own_is_in_the_folder_of_tasks():
    found = check_options("source", "mine", "source=mine", KNOWN, ())
    assert found is not None
    assert found.type_this is not None
    assert found.type_this.endswith("   (for an option of your own, in <folder>/task/mine.yaml)")


def test_none_is_no_name_of_an_option_of_ones_own():
    found = check_options("target", "none", "target=none", KNOWN, ())
    assert found == Problem("target=none", "target has no option none", accepted="concat, gated")


def test_a_name_with_a_slip_leads_to_the_option_that_was_meant():
    found = check_options("fusion", "concatt", "fusion=concatt", KNOWN, ())
    assert found == Problem(
        "fusion=concatt",
        "fusion has no option concatt",
        accepted="concat, gated",
        closest="concat",
        type_this="fusion=concat",
    )
