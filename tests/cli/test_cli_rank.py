"""``mmx rank``: what it prints and writes, how it ends, and what it refuses."""

from __future__ import annotations

import csv
import json
import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import catalogue
import pytest
from catalogue import listed, options, root_keys, starting
from refusals import Refusal, check_refusals

from mmx.cli import main
from mmx.reports.ranking import COUNTED
from mmx.verbs import find_verbs
from mmx.verbs import rank as verb
from mmx.verbs.completion import complete_line
from mmx.verbs.preflight import preflight
from mmx.verbs.train_line import parse_line

Overrides = Callable[..., list[str]]
Tables = dict[str, Path]


@pytest.fixture
def line(
    tables: Tables, overrides: Overrides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[str]]:
    monkeypatch.chdir(tmp_path)
    given = overrides(tables["one"], tables["two"], ("image",), "trainer.threads=1", "device=cpu")
    return lambda *more: ["rank", *given, f"output_dir={tmp_path}/out", *more]


def test_a_ranking(line, capsys, tmp_path):
    assert main(line("-m", "encoder.image.width=8,16")) == 0
    out, err = capsys.readouterr()
    (path,) = out.splitlines()
    assert Path(path).parent.parent == tmp_path / "out" / "ranks"
    with Path(path).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["place"] for row in rows] == ["1", "2"]
    assert {row["encoder.image.width"] for row in rows} == {"8", "16"}
    assert {row["width"] for row in rows} == {"8", "16"}
    assert err.count("candidate source=table") == 2
    assert f"counted: {listed(COUNTED)}" in err
    kept = json.loads(Path(path).with_name("ranking.json").read_text())
    assert [each["mean_place"] for each in kept["candidates"]] == [
        float(row["mean_place"]) for row in rows
    ]
    assert json.loads(Path(path).with_name("status.json").read_text())["status"] == "done"
    assert not Path(path).with_name("work").exists()


VALUES = ["shoe size", "shoe, type", "größe", "the 'size'", "a=b", "[bold]x"]


def test_candidates_are_told_apart_whatever_their_values_are(line, capsys, monkeypatch):
    facts = {"scores": {}, "blank": {}, "metric": "accuracy", "probe": 0.5}
    asked = []
    monkeypatch.setattr(verb, "_rank_one", lambda job, *_: asked.append(job) or facts)
    given = [word for word in line() if not word.startswith(("source.path=", "source.label="))]
    label = "source.label=" + ",".join(f'"{value}"' for value in VALUES)
    paths = 'source.path="my data/one.csv","my data/two.csv"'  # two data sets of one name
    assert main([*given, "-m", label, paths]) == 0
    out, err = capsys.readouterr()
    with Path(out.strip()).open() as file:
        rows = list(csv.DictReader(file))
    assert len(asked) == len({job.experiment.fingerprint for job in asked}) == 2 * len(VALUES)
    assert {(row["source.label"], row["source.path"]) for row in rows} == {
        (shown, path)
        for shown in ("shoe size", '"shoe, type"', "größe", "\"the 'size'\"", '"a=b"', '"[bold]x"')
        for path in ("my data/one.csv", "my data/two.csv")
    }
    assert "source" not in rows[0]  # it is the same for all
    assert err.count('"[bold]x"') >= 2  # in the table, as it is


def test_one_value_in_two_spellings_is_one_candidate(line, capsys, monkeypatch):
    facts = {"scores": {}, "blank": {}, "metric": "accuracy", "probe": 0.5}
    monkeypatch.setattr(verb, "_rank_one", lambda *_: facts)
    assert main(line("-m", "optimizer.lr=0.01,1e-2,0.1")) == 0
    with Path(capsys.readouterr().out.strip()).open() as file:
        assert [row["optimizer.lr"] for row in csv.DictReader(file)] == ["0.01", "0.1"]


def test_a_copy_of_what_another_candidate_reads_is_left_out_by_name(capsys):
    def job(weights: str, digest: str) -> Any:
        experiment = SimpleNamespace(fingerprint=digest)
        return SimpleNamespace(experiment=experiment, overrides=(f"weights={weights}", "seed=1"))

    jobs = [job("a", "1"), job("b", "2"), job("copy", "1"), job("a", "1")]
    assert verb._take_each_once(jobs) == jobs[:2]
    assert capsys.readouterr().err == "left out weights=copy seed=1: the same as weights=a seed=1\n"


def test_the_same_command_says_the_same(line, capsys):
    def ranked() -> tuple[str, list]:
        assert main(line("--rows", "20")) == 0
        out, _ = capsys.readouterr()
        kept = json.loads(Path(out.strip()).with_name("ranking.json").read_text())
        timed = ("seconds", "source_seconds")
        rows = [{k: v for k, v in e.items() if k not in timed} for e in kept["candidates"]]
        return out, rows

    first = ranked()
    assert first == ranked()
    assert first[1][0]["rows"] == 20


def test_it_ends_with_the_whole_command_that_trains_the_best(line, capsys):
    assert main(line("transfer=feature", "transfer.min_copied=0.9", "transfer.head=knn")) == 0
    out, err = capsys.readouterr()
    said = err.splitlines()[-1]
    before = "no score is reliable alone, and none replaces training; the first of them: "
    assert said.startswith(before + "mmx train source=table ")
    words = shlex.split(said.removeprefix(before))
    assert words[-2:] == ["transfer.min_copied=0.9", "transfer=auto"]
    assert not {"transfer=feature", "transfer.head=knn"} & set(words)
    found = preflight(parse_line(words[2:]), [])
    assert found[0].experiment.config["transfer"]["min_copied"] == 0.9
    with Path(out.strip()).open() as file:
        assert [row["source"] for row in csv.DictReader(file)] == ["table"]


def test_without_a_source_the_command_trains_from_scratch(line, capsys):
    given = [word for word in line() if not word.startswith("source")]
    assert main([*given, "source=none"]) == 0
    command = capsys.readouterr().err.splitlines()[-1].partition("mmx train ")[2]
    assert "transfer=auto" not in command
    assert preflight(parse_line(shlex.split(command)), [])[0].experiment.source is None


def test_one_that_fails_is_named_and_the_others_are_ranked(line, capsys, monkeypatch):
    real = verb.rank

    def sometimes(context, rows):
        if context.experiment.config["encoder"]["image"]["width"] == 16:
            raise verb.MmxError("it went wrong", tip="do else")
        return real(context, rows)

    monkeypatch.setattr(verb, "rank", sometimes)
    assert main(line("-m", "encoder.image.width=8,16")) == 1
    out, err = capsys.readouterr()
    assert err.endswith("\nfailed: encoder.image.width=16: it went wrong\n  tip: do else\n")
    with Path(out.strip()).open() as file:
        assert [row["error"] for row in csv.DictReader(file)] == ["", "it went wrong"]
    kept = json.loads(Path(out.strip()).with_name("ranking.json").read_text())["candidates"]
    assert [row["tip"] for row in kept] == ["", "do else"]


def test_interrupted_it_goes_on_where_it_stopped(line, capsys, monkeypatch, tmp_path):
    real, told = verb.make_context, []

    def interrupting(experiment, directory, listen, stop):
        def heard(event):
            told.append((str(event.stage), event.kind, event.epoch))
            if event.kind == "epoch" and event.epoch == 1:
                os.kill(os.getpid(), signal.SIGINT)

        return real(experiment, directory, heard, stop)

    monkeypatch.setattr(verb, "make_context", interrupting)
    assert main(line("trainer.checkpoint_seconds=0")) == 130
    out, err = capsys.readouterr()
    (place,) = (tmp_path / "out" / "ranks").iterdir()
    assert out == ""
    assert err.splitlines()[-1] == "  tip: the same command goes on where it stopped"
    assert json.loads((place / "status.json").read_text())["status"] == "interrupted"
    assert list(place.glob("work/*/checkpoints/source/last.safetensors"))
    monkeypatch.setattr(verb, "make_context", real)
    told.clear()
    assert main(line("trainer.checkpoint_seconds=0")) == 0
    resumed = json.loads((place / "ranking.json").read_text())["candidates"][0]["scores"]
    assert main(line("trainer.checkpoint_seconds=0")) == 0
    whole = json.loads((place / "ranking.json").read_text())["candidates"][0]["scores"]
    assert resumed == whole


def test_two_at_once_are_refused(line, capsys, tmp_path, monkeypatch):
    real = verb.rank

    def again(context, rows):
        monkeypatch.setattr(verb, "rank", real)
        assert main(line()) == 1
        return real(context, rows)

    monkeypatch.setattr(verb, "rank", again)
    assert main(line()) == 0
    assert f"is being worked on by process {os.getpid()}\n" in capsys.readouterr().err


PROBLEMS: dict[str, Refusal] = {
    "surce=digits": Refusal(
        "surce=digits",
        says=("surce",),
        accepted=f"{listed(catalogue.GROUPS)}, trainer.<key>, {listed(root_keys())}",
        closest="source",
        type_this="source=digits",
    ),
    **{
        line: Refusal(line, says=("mmx rank",), type_this=f"leave out {line}")
        for line in ("regularizer=l2_sp", "control=none", "curve=fractions")
    },
    **{
        line: Refusal(line, says=("none to rank",), type_this="transfer=feature")
        for line in ("transfer=scratch", "transfer=structure")
    },
    "-m seed=1,2": Refusal(
        "seed=2", says=("same rows",), type_this="seed=1   (one seed a ranking)"
    ),
    "-m target=digits,digits_av": Refusal(
        "target=digits_av",
        says=("same rows",),
        type_this="target=digits   (one target a ranking)",
    ),
    "source=digits,none": Refusal(
        "source=digits,none", says=("several values",), type_this="-m source=digits,none"
    ),
}


@pytest.mark.parametrize("words", PROBLEMS)
def test_what_it_refuses(refuse, words):
    check_refusals(refuse("rank", *words.split()), [PROBLEMS[words]])


@pytest.mark.parametrize(
    ("words", "message", "tip"),
    [
        ("--rows 1", "--rows 1 must be an integer ≥ 2", "--rows 5000"),
        ("--rows=x", "--rows x must be an integer ≥ 2", "--rows 5000"),
        ("--rows", "--rows  must be an integer ≥ 2", "--rows 5000"),
        (
            "--cfg job",
            "mmx rank has no flag --cfg",
            "mmx train --cfg job shows the config that the same overrides give",
        ),
        (
            "--foo",
            "mmx rank has no flag --foo",
            "mmx rank --help lists the flags; a setting is written key=value",
        ),
    ],
)
def test_flags_that_it_does_not_have(mmx, words, message, tip):
    said = mmx("rank", *words.split())
    assert (said.code, said.out, said.err) == (2, "", f"mmx: {message}\n  tip: {tip}\n")


def test_what_an_experiment_says_of_seeds_can_be_unsaid(mmx, tmp_path, capsys):
    file = tmp_path / "own" / "experiment" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\n# mine\nseeds: 2\ncurve: fractions\n")
    words = ("rank", "--config-dir", "own", "experiment=mine", "target.per_class=null")
    assert "seeds=2: stands for several runs" in mmx(*words, "curve=null").err
    assert main([*words, "seeds=null", "curve=null", f"output_dir={tmp_path}/out"]) == 1
    assert "AssertionError: digits was opened" in capsys.readouterr().err


def test_help(mmx):
    said = mmx("rank", "--help")
    assert (said.code, said.err) == (0, "")
    assert "mmx rank -m target=stl10 source=cifar10,cifar100,none" in said.out
    assert "  --rows N            " in said.out


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("mmx ra", starting("ra", find_verbs())),
        ("mmx rank source=ci", starting("ci", options("source"), "source=")),
        ("mmx rank --r", ["--rows"]),
        ("mmx rank --rows ", []),
        ("mmx rank --c", ["--config-dir"]),
    ],
)
def test_completion(typed, expected):
    assert complete_line(typed) == expected
