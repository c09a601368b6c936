"""Which mounted file systems have locks between machines, and what is done where they have none."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmx.cli import main
from mmx.runs import file_locks
from mmx.runs.file_locks import explain_local_locks
from mmx.runs.index_cache import IndexCache

LINE = ("source=none", "target=digits", "control=none", "trainer.epochs=1", "target.limit=60")


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Return what says how a folder named ``net work`` is mounted."""
    folder = tmp_path / "net work"

    def mount(kind: str, options: str) -> Path:
        escaped = str(folder).replace(" ", r"\040")
        lines = [
            "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw",
            f"40 22 0:40 / {escaped} rw,relatime shared:1 - {kind} server:/x rw,{options}",
            f"41 22 0:41 / {escaped}/deeper rw - tmpfs none rw",
        ]
        file = tmp_path / "mountinfo"
        file.write_text("\n".join(lines))
        monkeypatch.setattr(file_locks, "MOUNTS", file)
        return folder

    return mount


@pytest.mark.parametrize(
    ("kind", "options", "why"),
    [
        ("nfs4", "vers=4.2,local_lock=none", ""),
        ("nfs", "vers=3,nolock,local_lock=all", "with nolock"),
        ("nfs", "vers=3,local_lock=flock", "with local_lock=flock"),
        ("nfs", "vers=3,local_lock=posix", ""),
        ("nfs4", "local_lock=all", "with local_lock=all"),
        ("lustre", "flock,lazystatfs", ""),
        ("lustre", "localflock", "with localflock"),
        ("lustre", "lazystatfs", "without flock"),
        ("cifs", "vers=3.1.1,nobrl", "with nobrl"),
        ("cifs", "vers=3.1.1", ""),
        ("fuse.sshfs", "user_id=0", "without locks between machines"),
        ("ext4", "nolock", ""),
    ],
)
def test_how_it_is_mounted_decides(mounted, kind: str, options: str, why: str) -> None:
    folder = mounted(kind, options)
    told = f"{folder} is on {kind}, mounted {why} at {folder}" if why else ""
    assert explain_local_locks(folder) == told
    assert bool(explain_local_locks(folder / "not" / "yet")) == bool(why)
    assert explain_local_locks(folder / "deeper" / "a") == ""  # another file system
    assert explain_local_locks(folder.parent) == ""


def test_a_system_that_does_not_tell_changes_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(file_locks, "MOUNTS", tmp_path / "absent")
    assert explain_local_locks(tmp_path) == ""


def test_the_index_is_not_kept_where_two_machines_could_write_it(mounted) -> None:
    folder = mounted("nfs", "nolock")
    folder.mkdir()
    with IndexCache(folder) as cache:
        cache.keep("entry", {"runs/a": ("1:2:3", {"status": "done"})})
        assert cache.read("entry") == {}
    assert list(folder.iterdir()) == []
    mounted("nfs4", "local_lock=none")
    with IndexCache(folder) as cache:
        cache.keep("entry", {"runs/a": ("1:2:3", {"status": "done"})})
        assert cache.read("entry") == {"runs/a": ("1:2:3", {"status": "done"})}


@pytest.mark.parametrize(
    "launcher", [["submitit"], ["ray", "hydra.launcher.address=ray://head:10001"]]
)
def test_jobs_on_several_machines_are_refused_without_locks(
    mounted, capsys: pytest.CaptureFixture[str], launcher: list[str]
) -> None:
    folder = mounted("nfs4", "local_lock=all")
    name, *more = launcher
    words = ["train", "-m", *LINE, "seed=1,2", f"hydra/launcher={name}", *more]
    assert main([*words, f"hydra.sweep.dir={folder / 'sweep'}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        f"mmx: {folder / 'sweep'} is on nfs4, mounted with local_lock=all at {folder}: its locks "
        f"hold on one machine alone, and the jobs of hydra/launcher={name} run on several\n"
        "  tip: hydra.sweep.dir=<a folder on another file system>, or run the jobs on one machine"
    )
    assert not folder.exists()


def test_a_sweep_of_one_machine_is_told_of_it(
    mounted, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = mounted("lustre", "localflock")
    monkeypatch.setattr("mmx.verbs.train_sweep._run_all", lambda *_: None)
    words = ["train", "-m", *LINE, "seed=1,2", f"hydra.sweep.dir={folder / 'sweep'}"]
    assert main(words) == 1  # no job was run
    assert (
        f"note: {folder / 'sweep'} is on lustre, mounted with localflock at {folder}: its locks "
        "hold on one machine alone, so run this sweep on one at a time\n"
    ) in capsys.readouterr().err
