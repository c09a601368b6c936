"""A search: what it tries, that validation alone decides, and that nothing of it is lost."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from refusals import Refusal, check_error, check_refusals, read_error, read_problems

from mmx import execution
from mmx.cli import main
from mmx.config import compose
from mmx.errors import DivergedError, TransferError
from mmx.experiment import Experiment, assemble
from mmx.runs import sweep
from mmx.runs.directory import RunDirectory
from mmx.runs.draw import Draw
from mmx.runs.essence import essence
from mmx.runs.search_record import SearchRecord
from mmx.runs.sweep import Planned
from mmx.stages.selection import choices, order, prepare, search, trial
from mmx.stages.selection.prepare import make_context
from mmx.training import checkpoint
from mmx.training.events import Event, StopRequest
from mmx.transfer.feature import Feature
from mmx.verbs.train_sweep import describe_wanted

pytestmark = pytest.mark.slow

Overrides = Callable[..., list[str]]
Tables = dict[str, Path]
Line = Callable[..., list[str]]
Run = Callable[..., RunDirectory]
LISTS = (
    "transfer=auto",
    "transfer.depths=[0,2]",
    "transfer.rates=[1.0]",
    "transfer.heads=[linear,logistic]",
    "transfer.eta=2",
    "transfer.budget_steps=60",
    "trainer.epochs=4",
    "trainer.source_epochs=2",
    "precision=fp32",
)
NAMES = [
    "transfer=scratch",
    "transfer=feature",
    "transfer=feature transfer.head=logistic",
    "transfer=parameter",
    "transfer=parameter transfer.freeze_depth=2",
    "transfer=parameter regularizer=l2_sp",
    "transfer=parameter transfer.freeze_depth=2 regularizer=l2_sp",
]


@pytest.fixture(scope="session")
def line(tables: Tables, overrides: Overrides) -> Line:
    """Return ``line(*more)``: a search over a few candidates, or what ``more`` makes of it."""

    def given(*more: str, target: Path | None = None) -> list[str]:
        keys = {text.split("=")[0] for text in more}
        lists = [text for text in LISTS if text.split("=")[0] not in keys]
        if "transfer" in keys:  # another mode: auto's lists are not read
            lists = [text for text in lists if not text.startswith("transfer.")]
        path = target or tables["two"]
        return overrides(tables["one"], path, ("image",), *lists, *more)

    return given


def made(given: list[str], folder: Path) -> tuple[Experiment, RunDirectory]:
    """Return an experiment and its new run directory."""
    with compose.composer():
        composed = compose.compose_job(
            [*given, "trainer.threads=1", "device=cpu", f"output_dir={folder}"]
        )
    experiment = assemble(composed.config)
    directory = execution.create(
        experiment,
        folder / "runs",
        choices=composed.choices,
        overrides=composed.overrides,
        unresolved=composed.unresolved,
    )
    return experiment, directory


def record(run: RunDirectory) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.path / "auto.json").read_text())
    return found


def find_fate(data: dict[str, Any], name: str) -> str:
    return SearchRecord.from_json(data).find_fate(name)


def untimed(node: Any) -> Any:
    """Return data without what depends on how fast the machine is."""
    if isinstance(node, dict):
        return {k: untimed(v) for k, v in node.items() if k not in ("seconds", "source_cached")}
    return [untimed(item) for item in node] if isinstance(node, list) else node


def weights(run: RunDirectory) -> dict[str, torch.Tensor]:
    return checkpoint.read_checkpoint(run.stage_file("target"))[0]


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_the_winner_is_a_normal_run(train: Run, line: Line, tmp_path: Path) -> None:
    run = train(*line())
    data, given = record(run), yaml.safe_load((run.path / "config.auto.yaml").read_text())
    assert given["transfer"]["_target_"] == "mmx.transfer.auto.Auto"
    assert assemble(given).fingerprint == run.manifest().fingerprint
    assert not (run.path / "search").exists()
    nodes = dict(part.split("=") for part in data["winner"].split())
    config = run.config()
    assert config["transfer"]["_target_"].split(".")[-2] == nodes["transfer"]
    for key, value in nodes.items():
        if key.startswith("transfer."):
            assert str(config["transfer"][key.removeprefix("transfer.")]) == value
    held = config["regularizer"].get("_target_", "mmx.none.None").split(".")[-2]
    assert held == nodes.get("regularizer", "none")
    own = {**given, "transfer": config["transfer"], "regularizer": config["regularizer"]}
    if nodes["transfer"] != "scratch":
        assert config == own  # nothing else has changed
    summary = run.summary()
    assert summary["transfer"]["mode"] == nodes["transfer"]
    assert summary["transfer"]["auto"]["winner"] == data["winner"]
    assert summary["timing"]["search_s"] == pytest.approx(data["seconds"], abs=1e-3)
    assert summary["notes"][0].startswith(f"transfer=auto chose {data['winner']}, 7 candidates ")
    assert not {e["stage"] for e in run.metrics()} - {"source", "target", "control"}


def test_what_it_did_is_said(train: Run, line: Line) -> None:
    run = train(*line())
    data, log = record(run), (run.path / "run.log").read_text()
    assert data["plan"]["candidates"] == NAMES
    assert data["plan"]["refused"] == {}
    assert "search 7 candidates, 60 steps for all trials: 7 for 1 epoch, then 4 for 2 epochs" in log
    for name in NAMES:
        fate = find_fate(data, name)
        assert fate == "won" if name == data["winner"] else fate.startswith("rung ")
        assert any(name in text and text.endswith(fate) for text in log.splitlines())
    tried = run.summary()["transfer"]["auto"]["tried"]
    assert {each["candidate"] for each in tried} == set(NAMES)
    assert tried[0]["candidate"] == data["winner"]


def test_the_winner_is_the_best_of_the_last_rung(train: Run, line: Line) -> None:
    """Follow the rungs again, from what each trial's validation said."""
    data = record(train(*line()))
    alive = data["order"]
    for place, (rung, keep) in enumerate(zip(data["rungs"], (4, 2, 1), strict=True)):
        found = {}
        for name in alive:
            epochs = 0 if "logistic" in name else (1, 2, 4)[place]
            (trial,) = [
                e for e in data["trials"] if (e["candidate"], e["epochs"]) == (name, epochs)
            ]
            found[name] = (trial["val"]["accuracy"], -trial["val"]["loss"])
        best = sorted(alive, key=found.__getitem__, reverse=True)
        assert rung["tried"] == alive
        assert rung["kept"] == best[:keep]
        assert set(rung["dropped"]) == set(best[keep:])
        alive = best[:keep]
    assert alive == [data["winner"]]


def test_the_budget_is_kept(train: Run, line: Line) -> None:
    data = record(train(*line()))
    assert data["plan"]["steps_per_epoch"] == 2
    assert 0 < sum(entry["steps"] for entry in data["trials"]) <= 60
    for entry in data["trials"]:
        assert entry["steps"] == 2 * entry["epochs"]


@pytest.mark.parametrize("name", [NAMES[0], NAMES[1], NAMES[4], NAMES[5]])
def test_a_trial_is_what_a_run_of_so_many_epochs_would_be(
    train: Run, line: Line, name: str
) -> None:
    data = record(train(*line()))
    (trial,) = [e for e in data["trials"] if (e["candidate"], e["epochs"]) == (name, 1)]
    more = ["control=none"] if "scratch" not in name else []
    more += ["transfer.fusion=false"] if "parameter" in name else []
    unread = [] if "scratch" not in name else ["trainer.source_epochs=null"]
    alone = train(*line(*name.split(), *more, "trainer.epochs=1", *unread))
    assert alone.summary()["target"]["metrics"]["val"] == trial["val"]


def test_a_fitted_head_is_fitted_once(train: Run, line: Line) -> None:
    data = record(train(*line()))
    fitted = [e for e in data["trials"] if e["candidate"] == NAMES[2]]
    assert [(each["epochs"], each["steps"]) for each in fitted] == [(0, 0)]


def test_a_search_of_so_many_steps_is_the_same_again(
    train: Run, line: Line, once: Callable[[list[str]], RunDirectory]
) -> None:
    first, second = train(*line()), once(line())
    assert untimed(record(first)) == untimed(record(second))
    assert same(weights(first), weights(second))


def rewritten(path: Path, name: str, change: Callable[[dict[str, str]], None]) -> Path:
    with path.open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        change(row)
    copy = path.with_name(name)
    with copy.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return copy


def poison(row: dict[str, str]) -> None:
    if row["split"] == "test":
        row["label"] = {"low": "high", "middle": "low", "high": "middle"}[row["label"]]
        row["photo"] = "one1.png"


def test_nothing_depends_on_the_test_rows(
    train: Run, line: Line, tables: Tables, once: Callable[[list[str]], RunDirectory]
) -> None:
    clean = train(*line())
    poisoned = once(line(target=rewritten(tables["two"], "poisoned_search.csv", poison)))
    assert untimed(record(clean)) == untimed(record(poisoned))
    assert same(weights(clean), weights(poisoned))
    before, after = (run.summary()["target"]["metrics"]["test"] for run in (clean, poisoned))
    assert before != after


def test_features_and_source_are_computed_once(
    line: Line, once: Callable[[list[str]], RunDirectory], monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[str] = []
    real = search.train_source.__globals__["train_stage"]
    monkeypatch.setattr(
        "mmx.stages.core.cached.extract_features",
        lambda data, *rest: computed.append(",".join(data.splits)) or extract_features(data, *rest),
    )
    from mmx.stages.core.opened_data import extract_features

    sources: list[str] = []
    monkeypatch.setattr(
        "mmx.stages.selection.prepare.train_stage",
        lambda *given: sources.append("source") or real(*given),
    )
    run = once(line("transfer.modes=[scratch,feature]", "transfer.heads=[linear,logistic,knn]"))
    log = (run.path / "run.log").read_text()
    assert sources == ["source"]
    assert log.count("source 2 epochs") == 1
    assert computed[0] == "train,val"
    assert computed.count("train,val") == 1


class Interrupting:
    """Hears the events of a run, and asks it to stop at the next place that has not been met."""

    def __init__(self, *places: tuple[str, str, int]) -> None:
        self.places = list(places)
        self.seen = 0

    def __call__(self, event: Event) -> None:
        if self.places and (str(event.stage), event.kind) == self.places[0][:2]:
            self.seen += 1
            if self.seen == self.places[0][2]:
                self.places.pop(0)
                self.seen = 0
                os.kill(os.getpid(), signal.SIGTERM)


def test_an_interrupted_search_goes_on_with_the_trials_that_had_ended(
    train: Run, line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(*line())
    _, directory = made([*line(), "trainer.checkpoint_seconds=0"], tmp_path)
    listen = Interrupting(
        ("source", "epoch", 1), ("search", "step", 1), ("search", "step", 4), ("target", "stage", 1)
    )
    trained: list[str] = []
    real = trial.train_stage

    def counted(context: Any, stage: Any) -> Any:
        found = real(context, stage)
        trained.append(f"{context.directory.path.name}")
        return found

    monkeypatch.setattr(trial, "train_stage", counted)
    for _ in range(4):
        outcome = execution.execute(assemble(directory.config()), directory, listen)
        assert outcome["exit_code"] == 143, outcome
    assert directory.config()["transfer"]["_target_"] != "mmx.transfer.auto.Auto"
    outcome = execution.execute(assemble(directory.config()), directory, listen)
    assert outcome == {"status": "done", "exit_code": 0}
    assert len(trained) == len(set(trained)) == len(record(whole)["trials"])
    assert untimed(record(directory)) == untimed(record(whole))
    assert same(weights(directory), weights(whole))
    kept = [untimed(run.summary()["transfer"]) for run in (directory, whole)]
    assert kept[0] == kept[1]


def test_killed_when_the_winner_was_chosen_but_not_yet_written(
    train: Run, line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(*line())  # before anything is replaced
    experiment, directory = made(line(), tmp_path)
    real = RunDirectory.set_chosen_config

    def killed(self: RunDirectory, config: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RunDirectory, "set_chosen_config", killed)
    assert execution.execute(experiment, directory, lambda event: None)["exit_code"] == 130
    assert record(directory)["winner"] is not None
    monkeypatch.setattr(RunDirectory, "set_chosen_config", real)
    monkeypatch.setattr(search, "_search", lambda *given: pytest.fail("searched again"))
    again = assemble(directory.config())
    assert execution.execute(again, directory, lambda event: None)["status"] == "done"
    assert same(weights(directory), weights(whole))


def reproduced(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> RunDirectory:
    capsys.readouterr()
    assert main(["reproduce", str(run.path)]) == 0
    out, err = capsys.readouterr()
    assert "\nidentical: all " in err
    return RunDirectory(Path(out.strip()))


def test_the_winner_is_reproduced_without_a_search(
    train: Run, line: Line, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(*line())
    again = reproduced(run, capsys)
    assert not (again.path / "auto.json").exists()
    assert essence(again.config()) == essence(run.config())
    assert same(weights(run), weights(again))


def test_a_run_that_is_best_from_scratch_is_its_own_control(
    train: Run, line: Line, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = "control=[scratch,linear_probe,majority]"
    run = train(*line("transfer.modes=[scratch]", asked))
    summary, config = run.summary(), run.config()
    assert (config["source"], config["control"]) == (None, "majority")
    assert summary["control"]["scratch"]["metrics"] == summary["target"]["metrics"]
    assert (summary["gain"]["control"], summary["gain"]["value"]) == ("scratch", 0.0)
    low, high = summary["gain"]["interval"]
    assert low == pytest.approx(-high, abs=1e-9)  # of few rows that all agree
    assert summary["transfer"]["auto"]["verdict"] == "there was nothing else to try"
    assert summary["notes"][1] == (
        "control linear_probe: not trained, since the search chose scratch: there is no source"
    )
    assert not run.stage_file("control").exists()
    again = reproduced(run, capsys)
    assert "scratch" not in again.summary()["control"]


def test_a_sweep_finds_its_searches_done(train: Run, line: Line, tmp_path: Path) -> None:
    run = train(*line())
    asked = assemble(yaml.safe_load((run.path / "config.auto.yaml").read_text()))
    shutil.copytree(run.path, tmp_path / "runs" / run.path.name)
    job = Planned(("transfer=auto",), {"transfer": "auto"}, Draw(), describe_wanted(asked))
    found = sweep.plan_sweep(tmp_path, [job], tmp_path)
    done = found.find_standing(job.wanted).done
    assert done is not None
    assert done.path == tmp_path / "runs" / run.path.name
    (row,) = found.make_rows([job])
    assert (row.status, row.cells["transfer"]) == ("done", "auto")


@pytest.fixture
def searched(line: Line, tmp_path: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    """Return ``searched(*more, clock=…)``: what a search alone leaves in ``auto.json``."""

    def run(*more: str, clock: Callable[[], float] | None = None) -> dict[str, Any]:
        experiment, directory = made(line(*more), tmp_path)
        context = make_context(experiment, directory, lambda event: None, StopRequest())
        search.choose_experiment(context, **({} if clock is None else {"clock": clock}))
        return record(directory)

    yield run
    shutil.rmtree(tmp_path, ignore_errors=True)


class Ticking:
    """A clock by which each epoch of a trial takes one second, and all else no time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        real = trial.train_stage

        def train(context: Any, stage: Any) -> Any:
            self.now += context.experiment.trainer.epochs
            return real(context, stage)

        monkeypatch.setattr(trial, "train_stage", train)

    def __call__(self) -> float:
        return self.now


def seconds(budget: float) -> tuple[str, ...]:
    """Return a search of 6 candidates in rungs of 6, 3 and 2, for 1, 2 and 4 epochs if it can."""
    return (
        "transfer.budget_steps=null",
        f"transfer.budget_seconds={budget}",
        "transfer.heads=[linear]",
    )


def test_a_budget_of_seconds_makes_rungs_smaller_and_shorter(
    searched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = searched(*seconds(15), clock=Ticking(monkeypatch))
    first, second, third = data["rungs"]  # 5 seconds each
    assert [len(each["tried"]) for each in (first, second, third)] == [5, 2, 2]
    assert [each["epochs"] for each in (first, second, third)] == [1, 2, 3]
    assert first["tried"] == data["order"][:5]
    late = "rung 1: no time, its share of the seconds has room for 5 of 6"
    assert first["dropped"][data["order"][5]] == late
    late = "rung 2: no time, its share of the seconds has room for 2 of 3"
    assert second["dropped"] == {first["kept"][2]: late}
    assert sum(each["seconds"] for each in data["trials"]) == 15
    assert data["plan"]["budget"] == {"seconds": 15}


@pytest.mark.parametrize("budget", [1, 4, 9, 15, 18, 26, 100])
def test_a_budget_of_seconds_is_kept(
    searched: Any, monkeypatch: pytest.MonkeyPatch, budget: int
) -> None:
    data = searched(*seconds(budget), clock=Ticking(monkeypatch))
    assert sum(each["seconds"] for each in data["trials"]) <= budget
    assert data["winner"] in data["rungs"][-1]["kept"]


def test_a_resumed_search_of_so_many_seconds_decides_as_it_had(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment, directory = made(line(*seconds(15)), tmp_path)
    clock, found = Ticking(monkeypatch), []
    for _ in range(2):
        context = make_context(experiment, directory, lambda event: None, StopRequest())
        search.choose_experiment(context, clock)
        found.append(record(directory))
        killed = {**found[-1], "trials": found[-1]["trials"][:-1], "winner": None}
        (directory.path / "auto.json").write_text(json.dumps(killed))
    for key in ("rungs", "trials", "winner"):
        assert found[0][key] == found[1][key]


def test_without_time_for_a_second_trial_nothing_is_compared(
    searched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = searched(*seconds(1), clock=Ticking(monkeypatch))
    assert len(data["trials"]) == 1
    assert data["winner"] == data["order"][0] == "transfer=scratch"
    assert data["verdict"] == "the budget had room for no other: it was compared with nothing"


def test_that_transfer_was_better_is_said_of_as_long_as_both_were_in(searched: Any) -> None:
    data = searched()
    assert data["winner"] != "transfer=scratch"
    (epochs,) = {
        {0: 1, 1: 2, 2: 4}[place]
        for place, rung in enumerate(data["rungs"])
        if "transfer=scratch" in rung["dropped"]
    }
    assert data["verdict"] == (
        f"on validation, with the help of one, it did better than from scratch after {epochs} of "
        "4 epochs"
    )


def test_a_scratch_that_fails_says_nothing_of_the_transfer(
    searched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, lambda mode, epochs: mode == "Scratch")
    assert searched()["verdict"] == (
        "from scratch could not be trained: whether transfer helps is not known"
    )


def failing(monkeypatch: pytest.MonkeyPatch, fails: Callable[[str, int], bool]) -> None:
    """Let trials fail whose transfer and epochs are such."""
    real = trial.train_stage

    def train(context: Any, stage: Any) -> Any:
        mode = type(stage.transfer).__name__
        if fails(mode, context.experiment.trainer.epochs):
            raise DivergedError("the loss is nan", tip="do else")
        return real(context, stage)

    monkeypatch.setattr(trial, "train_stage", train)


def test_a_candidate_that_fails_is_dropped_and_says_why(
    searched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, lambda mode, epochs: mode == "Parameter")
    data = searched()
    assert find_fate(data, NAMES[3]) == "rung 1: failed: the loss is nan"
    assert set(data["rungs"][0]["kept"]) == set(NAMES[:3])
    assert data["winner"] in NAMES[:3]


def test_one_that_is_left_alone_is_not_tried_again(
    searched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, lambda mode, epochs: mode != "Scratch")
    data = searched()
    assert data["winner"] == "transfer=scratch"
    assert len(data["rungs"]) == 1
    assert data["verdict"] == (
        "no other candidate could be trained: whether transfer helps is not known"
    )


def test_a_source_that_does_not_help_is_said(
    searched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = trial.train_stage

    def train(context: Any, stage: Any) -> Any:
        found = real(context, stage)
        if type(stage.transfer).__name__ == "Scratch":
            return found
        worse = {**found.fitted.val, "accuracy": -1.0}
        return replace(found, fitted=replace(found.fitted, val=worse))

    monkeypatch.setattr(trial, "train_stage", train)
    data = searched()
    assert data["winner"] == "transfer=scratch"
    assert data["verdict"] == (
        "on validation no candidate that takes something from one did better than from scratch: "
        "this source does not help here"
    )


def test_none_that_can_be_trained(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, lambda mode, epochs: epochs > 1)
    more = ("transfer.modes=[scratch,parameter]", "transfer.depths=[0]", "transfer.budget_steps=20")
    experiment, directory = made(line(*more), tmp_path)
    outcome = execution.execute(experiment, directory, lambda event: None)
    assert (outcome["exit_code"], outcome["expected"]) == (1, True)
    head, *reasons = str(outcome["error"]).split("\n  ")
    assert head == "no candidate could be trained"
    assert len(reasons) == 2
    assert all(text.endswith(": rung 2: failed: the loss is nan") for text in reasons)


def test_what_does_not_fit_is_left_out_with_the_reason(searched: Any) -> None:
    data = searched("transfer.depths=[0,9]", "transfer.regularizers=[none]")
    assert data["plan"]["refused"] == {
        "transfer=parameter transfer.freeze_depth=9": "transfer.freeze_depth=9: the image encoder "
        "has 4 depths"
    }
    assert data["plan"]["candidates"] == NAMES[:4]


def test_a_search_in_which_nothing_fits_is_refused(line: Line, tmp_path: Path) -> None:
    given = line(
        "transfer.modes=[parameter]", "transfer.depths=[9]", "transfer.regularizers=[none]"
    )
    experiment, directory = made(given, tmp_path)
    outcome = execution.execute(experiment, directory, lambda event: None)
    check_refusals(
        read_problems(outcome["error"]),
        [
            Refusal(
                "transfer.freeze_depth=9",
                ("4 depths", "image", "encoder"),
                type_this="transfer.freeze_depth=4",
            )
        ],
    )
    assert outcome["exit_code"] == 2


FROZEN = (
    "transfer=parameter transfer.freeze_depth=4 regularizer=l2_sp",
    "regularizer=l2_sp: no trained parameter came from the source",
)


def test_what_cannot_start_is_left_out_with_the_reason(
    searched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[bool] = []
    real = search.train_source
    monkeypatch.setattr(
        choices, "dry_start", lambda *given: known.append(True) or prepare.dry_start(*given)
    )
    monkeypatch.setattr(search, "train_source", lambda *given: known.append(False) or real(*given))
    data = searched("transfer.depths=[0,4]", "transfer.budget_steps=24")
    assert data["plan"]["refused"] == dict([FROZEN])
    assert FROZEN[0] not in data["plan"]["candidates"]
    assert known == [True] * 6 + [False]  # each was tried before the source was trained


def test_a_joint_training_that_can_share_nothing_is_left_out(
    tables: Tables, overrides: Overrides, tmp_path: Path
) -> None:
    given = overrides(tables["one"], tables["two"], ("tabular",), *LISTS)
    given += ["target.columns.tabular=[a,b,number]", "transfer.modes=[scratch,structure,joint]"]
    experiment, directory = made(given, tmp_path)
    context = make_context(experiment, directory, lambda event: None, StopRequest())
    search.choose_experiment(context)
    plan = record(directory)["plan"]
    assert plan["refused"] == {
        "transfer=joint": "source and target can share nothing: each task keeps the tabular "
        "encoder (its inputs have other shapes) for itself"
    }
    assert plan["candidates"] == ["transfer=scratch", "transfer=structure"]


def test_a_search_in_which_nothing_can_start_trains_nothing(line: Line, tmp_path: Path) -> None:
    more = ("transfer.modes=[parameter]", "transfer.depths=[4]", "transfer.regularizers=[l2_sp]")
    experiment, directory = made(line(*more), tmp_path)
    outcome = execution.execute(experiment, directory, lambda event: None)
    assert outcome["error"] == (
        "no candidate can start from what the source gives\n  " + ": ".join(FROZEN)
    )
    assert not directory.stage_file("source").exists()


def test_a_linear_probe_that_cannot_start_stops_the_search_before_the_source(
    line: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise TransferError("it does not fit")

    monkeypatch.setattr(Feature, "start", refuse)
    given = line("transfer.modes=[scratch,parameter]", "control=linear_probe")
    experiment, directory = made(given, tmp_path)
    outcome = execution.execute(experiment, directory, lambda event: None)
    check_error(
        read_error(outcome["error"]), "linear_probe", "control", types=("linear_probe", "control=…")
    )
    assert not directory.stage_file("source").exists()


def test_a_budget_that_allows_no_choice_is_refused(line: Line, tmp_path: Path) -> None:
    experiment, directory = made(line("transfer.budget_steps=3"), tmp_path)
    outcome = execution.execute(experiment, directory, lambda event: None)
    check_error(
        read_error(outcome["error"]),
        "transfer.budget_steps=3",
        "2 steps",
        "epoch",
        types=("transfer.budget_steps=4",),
    )
    assert not directory.stage_file("source").exists()


def test_a_short_budget_leaves_out_variations_by_the_scores(searched: Any) -> None:
    data = searched("transfer.budget_steps=16")
    (rung,) = data["rungs"][:1]
    assert rung["tried"] == data["order"][:4]
    assert data["order"][0] == "transfer=scratch"
    assert set(data["order"][:4]) == {NAMES[0], NAMES[1], NAMES[3], NAMES[4]}
    assert find_fate(data, data["order"][5]) == (
        "not tried: the budget has room for 4, and the scores put it in place 6 of 7"
    )
    assert set(data["scores"]) == {"fresh", "source", "source, depth 2"}
    assert set(data["scores"]["source"]) >= {"logme", "transrate", "knn"}


def test_one_source_serves_all(tables: Tables, overrides: Overrides, tmp_path: Path) -> None:
    two = ("image", "tabular")
    given = overrides(tables["one"], tables["two"], two, *LISTS, "transfer.fusion=true")
    experiment, directory = made(given, tmp_path)
    context = make_context(experiment, directory, lambda event: None, StopRequest())
    search.choose_experiment(context)
    refused = record(directory)["plan"]["refused"]
    assert set(refused) == {NAMES[1], NAMES[2]}
    assert refused[NAMES[1]] == (
        "needs a source trained in another way, with its own fusion or without: "
        "transfer.fusion says which the search trains"
    )


def test_numbers_are_searched_too(searched: Any) -> None:
    data = searched(
        "target.label=number",
        "target.kind=regression",
        "objective=mean_squared_error",
        "source_objective=cross_entropy",
        "transfer.modes=[scratch,parameter]",
        "transfer.depths=[0]",
        "transfer.budget_steps=8",
    )
    assert data["scores"] == {}
    assert data["order"] == [NAMES[0], NAMES[3], NAMES[5]]
    assert data["plan"]["metric"] == "r2"


def test_joint_and_structure_are_tried_and_run(
    line: Line, once: Callable[[list[str]], RunDirectory]
) -> None:
    more = ("transfer.modes=[joint,structure]", "control=none", "transfer.budget_steps=8")
    run = once(line(*more))
    data = record(run)
    assert {each["candidate"] for each in data["trials"]} == {
        "transfer=joint",
        "transfer=structure",
    }
    assert run.summary()["transfer"]["mode"] == data["winner"].removeprefix("transfer=")
    assert not run.stage_file("source").exists()  # which no candidate takes anything of
    assert data["verdict"] == (
        "scratch was not among the candidates: whether transfer helps is for the control"
    )


def test_regularizers_are_tried_with_every_mode_that_they_can_hold(searched: Any) -> None:
    data = searched(
        "transfer.modes=[feature,structure]",
        "transfer.regularizers=[none,rkd]",
        "transfer.heads=[linear]",
        "transfer.budget_steps=16",
    )
    assert data["plan"]["refused"] == {}
    tried = {each["candidate"]: each for each in data["trials"] if each["epochs"] == 1}
    frozen, fresh, alike = (
        "transfer=feature",
        "transfer=structure",
        "transfer=structure regularizer=rkd",
    )
    assert set(tried) == {frozen, fresh, alike}
    assert [each["error"] for each in data["trials"]] == [""] * len(data["trials"])
    assert tried[fresh]["val"] != tried[alike]["val"]


class Encoder(torch.nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def depths(self) -> tuple[tuple[str, ...], ...]:
        return (("",),) * self.count


@pytest.mark.parametrize(
    ("depths", "levels", "expected"),
    [
        (4, 4, [None, 0, 1, 2, None]),
        (6, 4, [None, 0, 1, 1, 2, 3, None]),
        (3, 0, [None, None, None, None]),
        (1, 1, [None, None]),
    ],
)
def test_the_level_of_a_depth(depths: int, levels: int, expected: list[int | None]) -> None:
    model, features = torch.nn.Module(), torch.nn.Module()
    model.encoders = torch.nn.ModuleDict({"a": Encoder(depths)})
    features.levels = (torch.zeros(1, 1),) * levels
    encoded: Any = type("Encoded", (), {"features": {"a": features}})
    found = [order.find_level(model, encoded, "a", depth) for depth in range(depths + 1)]  # type: ignore[arg-type]
    assert found == expected


def test_scores_order_within_a_variation(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmx.transfer.auto import Auto

    every: Any = [
        choices.Choice(candidate, None)  # type: ignore[arg-type]
        for candidate in Auto(rates=(1.0,), heads=("linear", "logistic")).list_candidates()
    ]
    found = {
        "fresh": {"logme": 0.1, "knn": 0.1},
        "source": {"logme": 0.2, "knn": 0.3},
        "source, depth 2": {"logme": 0.3, "knn": 0.4, "nce": -1.0},
    }
    monkeypatch.setattr(order, "_score_candidates", lambda *given: found)
    found_order, _ = order.order_candidates(None, None, every)  # type: ignore[arg-type]
    assert found_order == [NAMES[0], NAMES[4], NAMES[1], NAMES[3], NAMES[6], NAMES[2], NAMES[5]]
