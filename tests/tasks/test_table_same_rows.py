"""The same rows in every format: one fingerprint, and the same trained numbers."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path

import PIL.Image
import pyarrow as pa
import pyarrow.parquet
import pytest
from refusals import check_error

from mmx import cli
from mmx.errors import DataError
from mmx.modalities.image import Image, ImageSpec
from mmx.tasks.table import Table

COUNT = 1000
ROWS = [
    {
        "txt": f'the {"good" if i % 2 else "bad"} film number {i}, "quoted" é',
        "score": i / 4,
        "whole": i % 7,
        "flag": i % 3 == 0,
        "day": f"2021-0{1 + i % 9}-0{1 + i % 5}",
        "word": ["red", "green", None][i % 3],
        "y": "ab"[i % 2],
        "part": "test" if i % 5 == 0 else "train",
    }
    for i in range(COUNT)
]


def write_csv(path: Path) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ROWS[0], delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(ROWS)  # True and 0.5 and 1.0, as Python and pandas write them
    return path


def write_json(path: Path) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def write_parquet(path: Path) -> Path:
    table = pa.Table.from_pylist(ROWS)
    pyarrow.parquet.write_table(table, path, row_group_size=300)
    return path


def write_saved(path: Path) -> Path:
    """Write the layout of ``datasets.Dataset.save_to_disk``, with dates and coded classes."""
    path.mkdir()
    rows = [{**row, "y": "ab".index(row["y"])} for row in ROWS]
    table = pa.Table.from_pylist(rows)
    days = table.column("day").cast(pa.date32())
    table = table.set_column(table.schema.get_field_index("day"), "day", days)
    label = {"y": {"names": ["a", "b"], "_type": "ClassLabel"}}
    table = table.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": label}})}
    )
    names = []
    for number, start in enumerate(range(0, COUNT, 250)):
        names.append(f"data-0000{number}-of-00004.arrow")
        with pa.OSFile(str(path / names[-1]), "wb") as file:
            writer = pa.ipc.new_stream(file, table.schema)
            writer.write_table(table[start : start + 250])
            writer.close()
    (path / "state.json").write_text(json.dumps({"_data_files": [{"filename": n} for n in names]}))
    return path


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def write_tar(path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        for number, row in enumerate(ROWS):
            others = {key: value for key, value in row.items() if key != "txt"}
            add(archive, f"a/{number:04d}.txt", row["txt"].encode())
            add(archive, f"a/{number:04d}.json", json.dumps(others).encode())
    return path


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("rows")
    return [
        write_csv(folder / "a.csv"),
        write_csv(folder / "a.tsv"),
        write_json(folder / "a.jsonl"),
        write_parquet(folder / "a.parquet"),
        write_saved(folder / "saved"),
        write_tar(folder / "a.tar"),
    ]


COLUMNS = {"text": "txt", "tabular": ["score", "whole", "flag", "day", "word"]}


def test_every_format_has_one_fingerprint(paths):
    found = {
        str(path): Table(
            name="mine", path=str(path), label="y", columns=COLUMNS, split="part"
        ).load()
        for path in paths
    }
    assert len({data.fingerprint for data in found.values()}) == 1, {
        name: data.fingerprint for name, data in found.items()
    }
    for data in found.values():
        assert data.columns["text"].texts[7] == 'the good film number 7, "quoted" é'
        cells = {name: cells[8] for name, cells in data.columns["tabular"].columns.items()}
        assert cells == {
            "score": "2", "whole": "1", "flag": "false", "day": "2021-09-04", "word": None
        }  # fmt: skip
        assert data.target.classes == ("a", "b")
        assert len(data.splits["test"]) == 200


def test_every_format_trains_the_same_numbers(paths, tmp_path, capsys):
    metrics = []
    for path in paths:
        assert not cli.main(
            [
                "train", "source=none", "control=none", "target=table", f"target.path={path}",
                "target.label=y", "target.split=part", "trainer.epochs=1", "trainer.threads=1",
                "target.columns={text: txt, tabular: [score, whole, flag, day, word]}",
                "encoder/text=tfidf", "target.per_class=32",
                "trainer.workers=0", "device=cpu", "cache=off", f"output_dir={tmp_path}/out",
            ]
        )  # fmt: skip
        run = Path(capsys.readouterr().out.strip())
        lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        metrics.append([(one["name"], one["value"]) for one in lines if one["name"] != "seconds"])
    assert len(metrics[0]) > 3
    assert all(one == metrics[0] for one in metrics)


def png(shade: int) -> bytes:
    content = io.BytesIO()
    PIL.Image.new("RGB", (4, 4), (shade, 0, 0)).save(content, "PNG")
    return content.getvalue()


def test_samples_in_an_archive_hold_files(tmp_path):
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as archive:
        for i in range(20):
            add(archive, f"{i:03d}.jpg.png", png(i))
            add(archive, f"{i:03d}.cls", b"ab"[i % 2 : i % 2 + 1] + b"\n")
    options = {"name": "mine", "label": "cls", "columns": {"image": "jpg.png"}}
    data = Table(path=str(path), **options).load()
    stored = Image(size=4).encode(data.columns["image"], range(20), ImageSpec(4, 4))
    assert stored.values[:, 0, 0, 0].tolist() == list(range(20))
    assert data.target.classes == ("a", "b")
    with tarfile.open(path, "a") as archive:
        add(archive, "003.cls", b"a")
    with pytest.raises(DataError) as error:
        Table(path=str(path), **options).load()
    check_error(error.value, path, "003", "'cls'")
    path.write_bytes(b"junk" * 400)
    with pytest.raises(DataError) as error:
        Table(path=str(path), **options).load()
    check_error(error.value, path, types=["gunzip"])
