"""The key ``control``: what is accepted, what it means, what cannot be had."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from mmx.config import compose
from mmx.errors import ConfigError
from mmx.experiment import Experiment, assemble

Assemble = Callable[..., Experiment]


@pytest.fixture(scope="module")
def made() -> Iterator[Assemble]:
    with compose.composer():
        yield lambda *overrides: assemble(compose.compose(overrides).config)


@pytest.mark.parametrize(
    ("given", "controls", "config"),
    [
        ("scratch", ("scratch",), "scratch"),
        ("[scratch]", ("scratch",), "scratch"),
        ("none", (), "none"),
        ("[]", (), "none"),
        ("[none]", (), "none"),
        ("[majority,scratch]", ("majority", "scratch"), ["majority", "scratch"]),
        ("[scratch,scratch,unimodal]", ("scratch", "unimodal"), ["scratch", "unimodal"]),
        (
            "[scratch,unimodal,linear_probe,majority]",
            ("scratch", "unimodal", "linear_probe", "majority"),
            ["scratch", "unimodal", "linear_probe", "majority"],
        ),
    ],
)
def test_controls_are_named_alone_or_in_a_list(
    made: Assemble, given: str, controls: tuple[str, ...], config: str | list[str]
) -> None:
    found = made(f"control={given}")
    assert found.controls == controls
    assert found.config["control"] == config
    assert "control" not in found.dropped
    again = assemble(found.config)  # as resume and reproduce read it
    assert again.controls == controls
    assert again.fingerprint == found.fingerprint


def test_the_same_controls_are_the_same_experiment(made: Assemble) -> None:
    assert made("control=[scratch]").fingerprint == made().fingerprint
    assert made("control=[]").fingerprint == made("control=none").fingerprint
    assert made("control=[scratch,majority]").fingerprint != made().fingerprint


def test_without_a_source_scratch_says_nothing_and_the_others_stay(made: Assemble) -> None:
    found = made("source=none", "control=[scratch,unimodal,majority]")
    assert found.controls == ("unimodal", "majority")
    assert found.dropped["control"] == (
        "the run itself is from scratch: there is nothing to compare it with"
    )
    assert "control" not in made("source=none", "control=unimodal").dropped


PROBLEMS = {
    "control=scrach": """\
control=scrach: there is no control scrach
  accepted: scratch, unimodal, linear_probe, majority, none, or a list of them
  closest:  scratch
  type:     control=scratch""",
    "control=[scratch,uni_modal]": """\
control=[scratch,uni_modal]: there is no control uni_modal
  accepted: scratch, unimodal, linear_probe, majority, none, or a list of them
  closest:  unimodal
  type:     control=[scratch,unimodal]""",
    "control=[scratch,xyz]": """\
control=[scratch,xyz]: there is no control xyz
  accepted: scratch, unimodal, linear_probe, majority, none, or a list of them
  type:     control=scratch""",
    "control=3": """\
control=3: there is no control 3
  accepted: scratch, unimodal, linear_probe, majority, none, or a list of them
  type:     control=scratch""",
    "source=none control=linear_probe": """\
control=linear_probe: a linear probe reads the weights of a source trained before, and there is \
no source
  type:     control=none   (or source=<task>)""",
    "source=none control=[scratch,linear_probe]": """\
control=[scratch,linear_probe]: a linear probe reads the weights of a source trained before, and \
there is no source
  type:     control=scratch   (or source=<task>)""",
    "transfer=structure control=[scratch,linear_probe]": """\
control=[scratch,linear_probe]: a linear probe reads the weights of a source trained before, and \
transfer=structure trains none
  type:     control=scratch   (or transfer=parameter)""",
    "transfer=joint control=[linear_probe,majority]": """\
control=[linear_probe,majority]: a linear probe reads the weights of a source trained before, and \
transfer=joint trains none
  type:     control=majority   (or transfer=parameter)""",
    "source=digits_av objective=combined 'objective.terms={cross_entropy: 1, info_nce: 0.1}' "
    "control=[scratch,unimodal]": """\
control=[scratch,unimodal]: unimodal trains audio alone, and objective=combined: compares \
modalities, and target=digits_av has audio alone
  type:     control=scratch""",
    "source=none objective=info_nce control=majority": """\
control=majority: the most frequent class answers with labels, and the objective reads none
  type:     control=none""",
    "seeds=3": """\
seeds=3: stands for several runs, and this is the config of one
  type:     seeds=null   (mmx train seeds=3 runs them all)""",
    "curve=[0.5,1.0]": """\
curve=[0.5,1]: stands for several runs, and this is the config of one
  type:     curve=null   (mmx train curve=[0.5,1] runs them all)""",
}


@pytest.mark.parametrize("line", PROBLEMS)
def test_what_cannot_be_had_is_refused_with_what_to_type(made: Assemble, line: str) -> None:
    import shlex

    with pytest.raises(ConfigError) as caught:
        made(*shlex.split(line))
    assert str(caught.value) == f"1 problem in the config\n{PROBLEMS[line]}"


def test_no_run_reads_the_keys_of_a_line(made: Assemble) -> None:
    assert not {"seeds", "curve"} & made().config.keys()
    assert made("seeds=null", "curve=null").fingerprint == made().fingerprint
