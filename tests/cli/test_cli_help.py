"""``mmx help``: verbs, groups, options and keys, in a pipe and on a terminal."""

from __future__ import annotations

from catalogue import GROUPS, options, root_keys, starting

from mmx.cli import main
from mmx.verbs import find_verbs
from mmx.verbs.completion import complete_line
from mmx.verbs.help import ROOT_KEYS


def help_of(capsys, *words):
    assert main(["help", *words]) == 0
    return capsys.readouterr().out


def test_an_option_in_a_pipe(capsys):
    said = help_of(capsys, "transfer=parameter")
    assert "\x1b" not in said
    assert "``" not in said
    assert said.startswith("transfer=parameter: fine-tuning: start from the source's weights")
    assert "transfer.wise_ft=none\n" in said
    assert "takes one of none, curve, best" in said
    assert "arXiv 2109.01903" in " ".join(said.split())


def test_several_words(capsys):
    both = help_of(capsys, "missing=mask", "missing=mean")
    assert help_of(capsys, "missing=mask,mean") == both
    assert both.index("missing=mask:") < both.index("missing=mean:")


def test_without_a_word_and_with_a_verb(capsys):
    assert main(["--help"]) == 0
    every = capsys.readouterr().out
    assert help_of(capsys) == every
    assert help_of(capsys, "compare").startswith("usage: mmx compare")
    assert help_of(capsys, "train").startswith("mmx train [flags]")


def test_verbs_that_are_keys_too(capsys):
    assert {*ROOT_KEYS} == {*find_verbs()} & {*root_keys()}
    said = help_of(capsys, "cache")
    assert "cache is a key too" in said
    assert "cache=auto" in said


def test_a_misspelt_word(capsys):
    assert main(["help", "transfer=paramter"]) == 2
    assert "mmx help transfer=parameter" in capsys.readouterr().err


def test_the_help_of_train_has_the_options_of_a_folder(capsys, tmp_path):
    (tmp_path / "fusion").mkdir()
    (tmp_path / "fusion" / "mine.yaml").write_text("# of my own\nwidth: 3\n")
    said = help_of(capsys, "train", "--config-dir", str(tmp_path))
    assert "of my own" in said


def test_names_of_files_are_shown_by_number(capsys, tmp_path):
    for folder in ("fusion", "odd\x1b[2J"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a\x1b[31m\nb.yaml").write_text("# red\nwidth: 3\n")
    flags = ("--config-dir", str(tmp_path))
    assert main(["train", "--help", *flags]) == 0
    page = capsys.readouterr().out
    for said in (page, help_of(capsys, "fusion", *flags)):
        assert "\x1b" not in said
        assert r"a\x1b[31m" in said
    assert r"odd\x1b[2J=" in page
    assert r"a\x1b[31m\nb  red" in page


def test_the_groups_of_a_word(capsys):
    said = help_of(capsys, "encoder")
    groups = [group for group in GROUPS if group.startswith("encoder/")]
    assert len(groups) == 7
    for group in groups:
        assert f"  {group}  " in said
        assert all(name in said for name in options(group))


def test_what_the_folder_of_data_takes(capsys):
    said = help_of(capsys, "data_dir")
    assert "data_dir=null" in said
    assert "takes text or null" in said


def test_completion():
    assert complete_line("mmx help transfer=p") == starting("p", options("transfer"), "transfer=")
    assert complete_line("mmx help trainer.ep") == ["trainer.epochs"]
    assert {"compare", "completion"} <= {*complete_line("mmx help comp")}
    assert complete_line("mmx hel") == ["help"]
