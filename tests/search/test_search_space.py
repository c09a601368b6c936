"""What an override with a range or several values means."""

from __future__ import annotations

from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from mmx.errors import ConfigError, UsageError
from mmx.search.space import read_choices, read_range
from mmx.verbs.search import read_whole_numbers, split_space, take_options
from mmx.verbs.train_line import CommandLine


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("log(1e-5,1e-2)", FloatDistribution(1e-5, 1e-2, log=True)),
        ("log( 0.1 , 10 )", FloatDistribution(0.1, 10.0, log=True)),
        ("log(16,512)", IntDistribution(16, 512, log=True)),
        ("64..512", IntDistribution(64, 512)),
        ("-3..4", IntDistribution(-3, 4)),
        ("0..0.5", FloatDistribution(0.0, 0.5)),
        (".25..1.", FloatDistribution(0.25, 1.0)),
        ("1e-3..2e-3", FloatDistribution(1e-3, 2e-3)),
    ],
)
def test_a_range(value: str, expected: object) -> None:
    found = read_range(f"optimizer.lr={value}")
    assert found is not None
    assert (found.key, found.to_distribution()) == ("optimizer.lr", expected)


@pytest.mark.parametrize("value", ["1,2", "0.1", "1..", "a..b", "[1,2]", "path/../x", "1,2,3", ""])
def test_what_is_no_range(value: str) -> None:
    assert read_range(f"key={value}") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lr=log(1,2", "is no range of numbers"),
        ("lr=log(a,b)", "is no range of numbers"),
        ("lr=log(1..2)", "is no range of numbers"),
        ("lr=0.5..0.1", "type:     lr=0.1..0.5"),
        ("lr=2..2", "type:     lr=2"),
        ("lr=log(0,1)", "begins above 0"),
        ("lr=log(1e-2,1e-4)", "type:     lr=log(0.0001,0.01)"),
        ("lr=0..1e999", "not finite"),
    ],
)
def test_a_range_that_cannot_be_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_range(text)
    assert said in str(caught.value)


def test_overrides_are_written_exactly() -> None:
    found = read_range("lr=log(1e-5,1e-2)")
    assert found is not None
    value = 1.2345678901234567e-05
    assert float(found.format_override(value).partition("=")[2]) == value
    whole = read_range("width=1..9")
    assert whole is not None
    assert whole.format_override(4) == "width=4"
    assert read_choices("a=x,y,x", "a", ["x", "y", "x"]).to_distribution() == (
        CategoricalDistribution(("x", "y"))
    )


def test_a_line_is_split_into_what_varies_and_what_stays() -> None:
    dimensions, fixed = split_space(
        ["target=digits", "fusion=[concat,gated]", "seed=1,2", "modalities=[image]", "a.b=1..2"],
        [],
    )
    assert [(each.key, each.choices) for each in dimensions] == [
        ("fusion", ("concat", "gated")),
        ("seed", ("1", "2")),
        ("a.b", ()),
    ]
    assert fixed == ["target=digits", "modalities=[image]"]


def test_a_line_that_varies_nothing_or_something_twice() -> None:
    with pytest.raises(UsageError, match="varies nothing"):
        split_space(["target=digits"], [])
    with pytest.raises(ConfigError, match="is varied here, and seed=3 sets it"):
        split_space(["seed=3", "seed=1,2"], [])
    with pytest.raises(ConfigError, match="a second time"):
        split_space(["seed=1..3", "seed=1,2"], [])


def test_options_are_taken_off_the_line() -> None:
    found, rest = take_options(["trials=7", "target=digits", "sampler=random"])
    assert found == {"trials": 7, "sampler": "random", "pruner": "hyperband"}
    assert rest == ["target=digits"]
    with pytest.raises(ConfigError) as caught:
        take_options(["trials=0", "sampler=grid"])
    assert "accepted: a number, from 1" in str(caught.value)
    assert "type:     sampler=tpe" in str(caught.value)


def test_hydra_s_sweepers_lead_to_the_verb(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mmx.cli import main

    assert main(["train", "-m", "hydra/sweeper=optuna", "seed=1,2"]) == 2
    assert "type:     mmx search 'optimizer.lr=log(1e-4,1e-2)' trials=20" in capsys.readouterr().err


def test_whole_ends_of_a_setting_that_is_none_leave_what_lies_between() -> None:
    line = CommandLine(["target=digits"])
    dimensions, _ = split_space(["optimizer.lr=0..1", "trainer.epochs=1..9"], [])
    rate, epochs = read_whole_numbers(line, dimensions)
    assert rate.to_distribution() == FloatDistribution(0.0, 1.0)
    assert epochs.to_distribution() == IntDistribution(1, 9)
