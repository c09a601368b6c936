"""``mmx help``: verbs, groups, options and keys, in a pipe and on a terminal."""

from __future__ import annotations

from catalogue import options, root_keys, starting

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


def test_completion():
    assert complete_line("mmx help transfer=p") == starting("p", options("transfer"), "transfer=")
    assert complete_line("mmx help trainer.ep") == ["trainer.epochs"]
    assert {"compare", "completion"} <= {*complete_line("mmx help comp")}
    assert complete_line("mmx hel") == ["help"]
