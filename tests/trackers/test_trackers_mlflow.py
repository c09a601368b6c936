"""MLflow over its REST calls, and in a database of its own."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("mlflow")

from mlflow_server import serve

from mmx.trackers import Ending, Point, TrackedRun
from mmx.trackers.follower import TrackerThread, copy_run
from mmx.trackers.mlflow import Mlflow

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
POINTS = [Point("target/val.accuracy", epoch, epoch / 8, 2.0 * epoch) for epoch in (1, 2, 3)]


@pytest.fixture
def run(tmp_path):
    settings = {"optimizer.lr": 0.1, "source.classes.café": "x" * 900, "seeds": None}
    return TrackedRun("a_run", "00ff00ff", tmp_path, settings, {"mmx.seed": "3"}, 1000.0)


def test_what_a_server_is_told(run, tmp_path):
    report = tmp_path / "report.html"
    report.write_text("the report")
    with serve(tmp_path / "files") as service:
        with Mlflow(uri=service.address, experiment="mine").open(run) as opened:
            opened.add(POINTS)
            opened.end(Ending("done", {"summary/seconds": 7.0}, "it helps", [report]))
        (kept,) = service.runs.values()
    assert service.experiments == {"mine": "1"}
    assert (kept["name"], kept["status"]) == ("a_run", "FINISHED")
    assert kept["params"] == {
        "optimizer.lr": "0.1",
        "source.classes.caf_": "x" * 500,
        "seeds": "None",
    }
    own = {"mmx.seed": "3", "mmx.key": "00ff00ff", "mmx.ended": "true"}
    assert kept["tags"].items() >= {**own, "mlflow.note.content": "it helps"}.items()
    found = [(each["key"], each["value"], each.get("step", 0)) for each in kept["metrics"]]
    assert found[:3] == [("target/val.accuracy", epoch / 8, epoch) for epoch in (1, 2, 3)]
    assert found[3:] == [("summary/seconds", 7.0, 0)]
    assert kept["metrics"][0]["timestamp"] == 1_002_000
    assert (tmp_path / "files" / kept["id"] / "report.html").read_text() == "the report"


def test_a_run_is_found_again_and_goes_on(run, tmp_path):
    with serve(tmp_path / "files") as service:
        tracker = Mlflow(uri=service.address)
        with tracker.open(run) as opened:
            opened.add(POINTS[:2])
            opened.end(Ending("interrupted"))
        assert [each["status"] for each in service.runs.values()] == ["KILLED"]
        with tracker.open(run) as opened:
            assert opened.find_known() == {point.key for point in POINTS[:2]}
            assert [each["status"] for each in service.runs.values()] == ["KILLED"]
            opened.add(POINTS[2:])
            assert [each["status"] for each in service.runs.values()] == ["RUNNING"]
        assert len(service.runs) == 1


@pytest.mark.parametrize(("status", "shown"), [("failed", "FAILED"), ("interrupted", "KILLED")])
def test_a_run_that_ended_early_stays_so_however_often_it_is_copied(run, tmp_path, status, shown):
    def copy(count: int) -> tuple[int, list[str]]:
        found, _ = copy_run(Mlflow(uri=service.address), run, POINTS[:count], Ending(status))
        return found, [each["status"] for each in service.runs.values()]

    with serve(tmp_path / "files") as service:
        assert copy(0) == (0, [shown])  # before its first epoch
        assert copy(2) == (3, [shown])
        assert copy(2) == (0, [shown])
        assert copy(3) == (2, [shown])
        service.runs["0" * 32]["status"] = "RUNNING"  # as a process leaves it that is killed
        assert copy(3) == (0, [shown])


def test_a_server_that_does_not_answer_is_left_after_its_time(run, tmp_path):
    answer, said = threading.Event(), list[str]()
    with serve(tmp_path / "files", stalls=answer) as service:
        follower = TrackerThread(Mlflow(uri=service.address, wait=0.3), run, said.append)
        follower.add(POINTS)
        follower.end(Ending("done"))
        answer.set()
    assert len(said) == 1
    assert "tracker mlflow did not take the run's numbers within 0.3 s" in said[0]


def test_a_server_that_is_not_there_is_named(run, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    said: list[str] = []
    follower = TrackerThread(Mlflow(uri="http://127.0.0.1:9"), run, said.append)
    follower.end(Ending("done"))
    assert len(said) == 1
    assert "127.0.0.1" in said[0]
    assert "refused" in said[0]


def test_a_database_in_the_output_folder(run, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    for times in (0, 1):
        with Mlflow().open(run) as opened:
            assert opened.has_ended() == bool(times)
            assert len(opened.find_known()) == 4 * times
            if not times:
                opened.add(POINTS)
                (tmp_path / "summary.json").write_text("{}")
                opened.end(Ending("done", {"summary/x": 1.0}, "", [tmp_path / "summary.json"]))
    assert opened.where == f"experiment mmx of sqlite:///{tmp_path}/mlflow.db"
    assert len([*tmp_path.glob("mlflow-artifacts/*/artifacts/summary.json")]) == 1
    assert not (tmp_path / "mlruns").exists()


def test_a_password_is_not_shown(run, tmp_path):
    with serve(tmp_path / "files") as service:
        address = service.address.replace("://", "://me:secret@")
        assert "secret" not in Mlflow(uri=address).open(run).where
