"""Repositories of a hub: fetched only when it is said, pinned to a commit, offline afterwards.

A server on this machine answers as the hub does. The libraries read their address when they are
imported, so each test speaks to it from processes of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import COMMIT, Hub
from tiny_models import save_text_model

pytest.importorskip("huggingface_hub")
pytestmark = pytest.mark.slow
CODE = "modeling_tiny.py"


FIND = """
from mmx.encoders.hub import find_model_folder
from mmx.errors import DataError
try:
    found = find_model_folder("owner/tiny", download={download})
    print(found.name, found.revision, found.find_published().licence)
    print(*sorted(each.name for each in found.path.iterdir()))
except DataError as error:
    print("refused:", error.message)
    print(error.tip)
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder = save_text_model(tmp_path / "tiny")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "modeling_tiny.TinyModel"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / CODE).write_text("raise SystemExit('code of a repository was run')\n")
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    found = Hub(files, tmp_path / "home")
    found.start()
    yield found
    found.stop()


def test_a_repository_is_fetched_once_without_its_code(hub: Hub) -> None:
    refused = hub.run(FIND.format(download=False))
    assert refused.startswith("refused:")
    assert "download=true" in refused
    assert hub.asked == []
    first = hub.run(FIND.format(download=True)).splitlines()
    assert first[0] == f"owner/tiny {COMMIT} apache-2.0"
    assert set(first[1].split()) == set(hub.files) - {CODE}
    assert not any(path.endswith(".py") for path in hub.asked)
    hub.stop()
    assert hub.run(FIND.format(download=False)).splitlines() == first
    assert hub.run(FIND.format(download=True)).splitlines() == first


def test_a_damaged_download_is_refused_and_fetched_again(hub: Hub) -> None:
    hub.damage = "changed"
    said = hub.run(FIND.format(download=True))
    assert said.startswith("refused: model.safetensors: what was fetched is not what the hub")
    assert "again" in said
    hub.damage = ""
    again = hub.run(FIND.format(download=True))
    assert again.startswith(f"owner/tiny {COMMIT}")
    assert "model.safetensors" in again


def test_an_unreachable_hub_is_named(hub: Hub) -> None:
    hub.stop()
    said = hub.run(FIND.format(download=True))
    assert said.startswith("refused: model=owner/tiny: cannot be fetched: ")
    assert "Got:" not in said
    assert "check network, name and revision; HF_ENDPOINT" in said


TRAIN = """
import sys
from mmx.cli import main
code = main(sys.argv[1:] or {arguments})
print("exit", code)
"""


def test_a_run_keeps_the_commit(hub: Hub, tmp_path: Path) -> None:
    table = tmp_path / "texts.csv"
    words = [("cat dog", "dog cat s")[i % 2] + " abc"[: i % 4] for i in range(40)]
    rows = [f"{word},{'ab'[i % 2]},{('train', 'test')[i > 29]}" for i, word in enumerate(words)]
    table.write_text("text,label,split\n" + "\n".join(rows) + "\n")
    arguments = [
        "train", "source=published", "target=table", f"target.path={table}",
        "target.label=label", "target.columns={text: text}", "target.split=split",
        "encoder/text=transformers", "encoder.text.model=owner/tiny", "encoder.text.max_tokens=8",
        "transfer=feature",
        "trainer.epochs=1", "control=none", "cache=off", "device=cpu", "download=true",
        f"output_dir={tmp_path / 'outputs'}",
    ]  # fmt: skip
    assert "exit 0" in hub.run(TRAIN.format(arguments=arguments))
    (run,) = (tmp_path / "outputs/runs").iterdir()
    manifest = json.loads((run / "manifest.json").read_text())
    facts = manifest["published"]["text"]
    assert facts["origin"] == facts["name"] == "owner/tiny"
    assert (facts["revision"], facts["licence"], facts["role"]) == (
        COMMIT,
        "apache-2.0",
        "target",
    )
    assert Path(facts["card"]).name == "README.md"
    assert facts["digest"] == manifest["identity"]["weights"]["text"]
    assert "model.safetensors" in manifest["identity"]["weight_files"]["text"]
    page = (run / "report.html").read_text()
    assert COMMIT in page
    assert facts["digest"] in page
    notes = json.loads((run / "summary.json").read_text())["notes"]
    assert any(COMMIT[:12] in note for note in notes)
    hub.stop()
    said = hub.run(TRAIN.format(arguments=["doctor"]))
    assert f"owner/tiny at {COMMIT[:12]} (apache-2.0)" in said
