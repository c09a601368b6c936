"""The key ``control``: what is accepted, what it means, what cannot be had."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator

import pytest
from catalogue import listed
from refusals import Refusal, check_refusals

from mmx.config import compose
from mmx.controls import CONTROLS as NAMES
from mmx.errors import ConfigError
from mmx.experiment import Experiment, assemble

CONTROLS = f"{listed(NAMES)}, none, or a list of them"
Assemble = Callable[..., Experiment]


@pytest.fixture(scope="module")
def made() -> Iterator[Assemble]:
    with compose.composer():
        yield lambda *overrides: assemble(compose.compose_job(overrides).config)


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


PROBLEMS: dict[str, Refusal] = {
    "control=scrach": Refusal(
        "control=scrach",
        says=("scrach",),
        accepted=CONTROLS,
        closest="scratch",
        type_this="control=scratch",
    ),
    "control=[scratch,uni_modal]": Refusal(
        "control=[scratch,uni_modal]",
        says=("uni_modal",),
        accepted=CONTROLS,
        closest="unimodal",
        type_this="control=[scratch,unimodal]",
    ),
    "control=[scratch,xyz]": Refusal(
        "control=[scratch,xyz]", says=("xyz",), accepted=CONTROLS, type_this="control=scratch"
    ),
    "control=3": Refusal("control=3", says=("3",), accepted=CONTROLS, type_this="control=scratch"),
    "source=none control=linear_probe": Refusal(
        "control=linear_probe", says=("no source",), type_this="control=none   (or source=<task>)"
    ),
    "source=none control=[scratch,linear_probe]": Refusal(
        "control=[scratch,linear_probe]",
        says=("no source",),
        type_this="control=scratch   (or source=<task>)",
    ),
    "transfer=structure control=[scratch,linear_probe]": Refusal(
        "control=[scratch,linear_probe]",
        says=("transfer=structure",),
        type_this="control=scratch   (or transfer=parameter)",
    ),
    "transfer=joint control=[linear_probe,majority]": Refusal(
        "control=[linear_probe,majority]",
        says=("transfer=joint",),
        type_this="control=majority   (or transfer=parameter)",
    ),
    "source=digits_av objective=combined 'objective.terms={cross_entropy: 1, info_nce: 0.1}' "
    "control=[scratch,unimodal]": Refusal(
        "control=[scratch,unimodal]",
        says=("objective=combined", "target=digits_av"),
        type_this="control=scratch",
    ),
    "source=none objective=info_nce control=majority": Refusal(
        "control=majority", says=("labels",), type_this="control=none"
    ),
    "seeds=3": Refusal(
        "seeds=3",
        says=("several runs",),
        type_this="seeds=null   (mmx train seeds=3 runs them all)",
    ),
    "curve=[0.5,1.0]": Refusal(
        "curve=[0.5,1]",
        says=("several runs",),
        type_this="curve=null   (mmx train curve=[0.5,1] runs them all)",
    ),
}


@pytest.mark.parametrize("line", PROBLEMS)
def test_what_cannot_be_had_is_refused_with_what_to_type(made: Assemble, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made(*shlex.split(line))
    check_refusals(caught.value.problems, [PROBLEMS[line]])


def test_no_run_reads_the_keys_of_a_line(made: Assemble) -> None:
    assert not {"seeds", "curve"} & made().config.keys()
    assert made("seeds=null", "curve=null").fingerprint == made().fingerprint
