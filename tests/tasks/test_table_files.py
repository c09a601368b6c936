"""Tables of several files, folders that ``datasets`` saves, archives as root, unusable files."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet
import pytest
from refusals import check_error, check_notes

from mmx import cli
from mmx.errors import DataError
from mmx.modalities import members
from mmx.modalities.image import Image, ImageSpec
from mmx.tasks.image_folder import ImageFolder
from mmx.tasks.table import Table

ROWS = [{"t": f"word {i}", "y": "ab"[i % 2], "n": i} for i in range(30)]


def load(path, **options):
    defaults = {"label": "y", "columns": {"text": "t"}}
    given = path if isinstance(path, (list, dict)) else str(path)
    return Table(name="mine", path=given, **{**defaults, **options}).load()


def refusal(path, **options) -> DataError:
    with pytest.raises(DataError) as error:
        load(path, **options)
    return error.value


def write_rows(path: Path, rows) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines) + "\n")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=4)
    else:
        table = pa.Table.from_pylist(rows)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    return str(path)


def split_texts(data) -> dict[str, list[str]]:
    texts = data.columns["text"].texts
    return {name: [texts[row] for row in rows] for name, rows in data.splits.items()}


def png(shade: int) -> bytes:
    content = io.BytesIO()
    PIL.Image.new("RGB", (4, 4), (shade, 0, 0)).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "arrow"])
def test_shards_are_read_as_one_file(tmp_path, suffix, monkeypatch):
    whole = load(write_rows(tmp_path / f"whole.{suffix}", ROWS))
    shards = [
        write_rows(tmp_path / "shards" / f"part-{i}.{suffix}", ROWS[start : start + 10])
        for i, start in zip((1, 2, 10), (0, 10, 20), strict=True)  # in numeric order
    ]
    monkeypatch.chdir(tmp_path)
    for path in (
        shards,
        tmp_path / "shards",
        f"{tmp_path}/shards/part-*.{suffix}",
        f"{tmp_path}/**/part-?*.{suffix}",
        f"shards\\part-1.{suffix}" if os.sep == "/" else shards[0],
    ):
        data = load(path)
        if path == shards[0] or "\\" in str(path):
            assert data.columns["text"].texts == [row["t"] for row in ROWS[:10]]
        else:
            assert data.fingerprint == whole.fingerprint
            assert data.columns["text"].texts == [row["t"] for row in ROWS]


def test_files_of_each_split(tmp_path):
    one = write_rows(tmp_path / "x.csv", ROWS[:10])
    two = write_rows(tmp_path / "y.jsonl", ROWS[10:20])
    three = write_rows(tmp_path / "z.parquet", ROWS[20:])
    data = load({"train": one, "valid": two, "Test": [three]})
    texts = [row["t"] for row in ROWS]
    assert split_texts(data) == {
        "train": texts[:10],
        "val": texts[10:20],
        "test": texts[20:],
    }
    cut = load({"train": [one, two], "test": three})
    assert split_texts(cut)["test"] == texts[20:]
    assert len(cut.splits["val"]) == 2
    error = refusal({"train": one, "tset": two})
    check_error(error, "tset", "accepted", types=["target.path=", "test"])
    check_error(refusal({"train": one, "test": one}), one, "twice")
    check_error(refusal({"test": one}), "path", "train")


def test_rows_are_called_by_file_number_and_line(tmp_path):
    one = tmp_path / "a.csv"
    one.write_text('t,y\n"two\nlines",a\n\nx,b\n')
    two = tmp_path / "b.csv"
    two.write_text("t,y\nx,a\ny,b\nz,\n")
    check_error(refusal([str(one), str(two)]), "row 3 of b.csv", "no label")
    one.write_text('t,y\n"two\nlines",a\n\nx,\n')
    check_error(refusal(one), "row 2 (line 5)", "no label")
    error = refusal([str(one), str(two)])
    check_error(error, "row 2 (line 5) of a.csv", "no label")
    lines = tmp_path / "c.jsonl"
    lines.write_text('{"t": "x", "y": "a"}\n\n\n{"t": {"b": 1}, "y": "a"}\n')
    check_error(refusal(lines), "row 2 (line 4)", "object")
    rows = [{**row, "y": str(i)} for i, row in enumerate(ROWS)]
    numbers = [write_rows(tmp_path / f"{i}.csv", rows[i * 10 : i * 10 + 10]) for i in range(3)]
    Path(numbers[2]).write_text(Path(numbers[2]).read_text().replace(",25,", ",many,"))
    error = refusal(numbers, kind="regression")
    check_error(error, "row 6 of 2.csv", "many")
    repeated = [write_rows(tmp_path / f"r{i}.csv", ROWS[:10]) for i in range(2)]
    data = load({"train": repeated[0], "test": repeated[1]})
    note = next(note for note in data.notes if "test rows are repeated in train" in note)
    check_error(ValueError(note), "row 2 of r1.csv is row 2 of r0.csv")


def test_a_column_that_one_shard_lacks(tmp_path):
    one = write_rows(tmp_path / "a.csv", ROWS)
    two = write_rows(tmp_path / "b.csv", [{"u": "x", "y": "a"}])
    check_error(refusal([one, two]), two, "'t'", types=["b.csv"])
    one = write_rows(tmp_path / "a.jsonl", ROWS)
    two = write_rows(tmp_path / "b.jsonl", [{"y": "a", "u": "x"}] * 3)
    texts = load([one, two], columns={"text": ["t", "u"]}).columns["text"].texts
    assert texts[-4:] == ["word 29", "x", "x", "x"]


@pytest.mark.parametrize(
    ("address", "typed"),
    [
        (
            "https://example.org/a/b.csv?raw=1",
            "curl -L -o b.csv 'https://example.org/a/b.csv?raw=1'",
        ),
        ("s3://bucket/b.parquet", "aws s3 cp s3://bucket/b.parquet b.parquet"),
        (
            "hf://datasets/owner/name/data/*.parquet",
            "hf download owner/name --repo-type dataset --local-dir name",
        ),
    ],
)
def test_addresses_are_refused_with_what_to_do(tmp_path, address, typed):
    check_error(refusal(address), address, "this machine", types=[typed])
    path = tmp_path / "a.csv"
    path.write_text(f't,y\n"{address}",a\nx,b\n')
    error = refusal(path, columns={"image": "t"})
    check_error(error, "column 't'", "row 1", address, types=[typed])


def test_paths_that_lead_nowhere(tmp_path):
    write_rows(tmp_path / "train.csv", ROWS)
    error = refusal(tmp_path / "trian.csv")
    check_error(error, tmp_path / "trian.csv", types=[f"target.path={tmp_path}/train.csv"])
    check_error(refusal(f"{tmp_path}/*.parquet"), f"{tmp_path}/*.parquet", types=[f"ls {tmp_path}"])
    (tmp_path / "empty").mkdir()
    check_error(refusal(tmp_path / "empty"), tmp_path / "empty", ".parquet")
    write_rows(tmp_path / "two" / "a.csv", ROWS)
    write_rows(tmp_path / "two" / "b.parquet", ROWS)
    check_error(refusal(tmp_path / "two"), ".csv", ".parquet", types=[f"{tmp_path}/two/*.csv"])


def test_a_folder_with_shards_named_after_splits(tmp_path):
    parts = {"train-00000-of-00002": ROWS[:8], "train-00001-of-00002": ROWS[8:16]}
    parts |= {"validation-00000-of-00001": ROWS[16:20], "test-00000-of-00001": ROWS[20:]}
    for name, rows in parts.items():
        write_rows(tmp_path / "data" / f"{name}.parquet", rows)
    (tmp_path / "README.txt").write_text("about")
    texts = [row["t"] for row in ROWS]
    found = split_texts(load(tmp_path))
    assert found == {"train": texts[:16], "val": texts[16:20], "test": texts[20:]}
    write_rows(tmp_path / "data" / "sample.parquet", ROWS[:2])
    error = refusal(tmp_path)
    check_error(error, tmp_path, "sample.parquet", types=["target.path={train: ["])


def test_files_of_several_names_for_one_split_are_noted(tmp_path):
    def note(*names: str) -> list[str]:
        folder = tmp_path / names[0]
        for name, rows in zip(
            ("train.csv", *names), (ROWS[:16], ROWS[16:23], ROWS[23:]), strict=True
        ):
            write_rows(folder / name, rows)
        return [each for each in load(folder).notes if "names" in each]

    assert note("validation_matched.csv", "validation_mismatched.csv") == [
        "val is read from files of several names: validation_matched.csv, validation_mismatched.csv"
    ]
    assert note("test-00000-of-00002.csv", "test-00001-of-00002.csv") == []
    assert note("test_1.csv", "test_2.csv") == []
    assert note("test-0-1a2b3c4d5e.csv", "test-1-99aa88bb77.csv") == []


def test_two_words_for_one_split_are_refused(tmp_path):
    named = {"train": ROWS[:16], "dev": ROWS[16:20], "validation": ROWS[20:24], "test": ROWS[24:]}
    files = {name: write_rows(tmp_path / f"{name}.csv", rows) for name, rows in named.items()}
    two = [files["dev"], files["validation"]]
    path = {"train": files["train"], "val": two, "test": files["test"]}
    shown = f"{{train: [{files['train']}], val: [{','.join(two)}], test: [{files['test']}]}}"
    given = (tmp_path, "dev.csv", "validation.csv", "both say val")
    check_error(refusal(tmp_path), *given, types=[f"'target.path={shown}'"])
    texts = [row["t"] for row in ROWS]
    assert split_texts(load(path))["val"] == texts[16:24]
    (tmp_path / "dev.csv").unlink()
    assert split_texts(load(tmp_path))["val"] == texts[20:24]


def save_to_disk(path: Path, rows, features: dict | None = None, **state) -> None:
    """Write a folder in the layout of ``datasets.Dataset.save_to_disk``, in two shards."""
    path.mkdir(parents=True)
    table = pa.Table.from_pylist(rows)
    if features:
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        table = table.replace_schema_metadata(metadata)
    half = len(rows) // 2
    names = [f"data-0000{i}-of-00002.arrow" for i in range(2)]
    for name, part in zip(names, (table[:half], table[half:]), strict=True):
        with pa.OSFile(str(path / name), "wb") as file, pa.ipc.new_stream(file, part.schema) as out:
            out.write_table(part)
    files = [{"filename": name} for name in names]
    (path / "state.json").write_text(json.dumps({"_data_files": files, **state}))
    (path / "dataset_info.json").write_text("{}")


def test_folders_that_datasets_saves(tmp_path):
    plain = load(write_rows(tmp_path / "a.csv", ROWS))
    save_to_disk(tmp_path / "one", ROWS)
    assert load(tmp_path / "one").fingerprint == plain.fingerprint
    coded = [{**row, "y": i % 2} for i, row in enumerate(ROWS)]
    label = {"y": {"names": ["a", "b"], "_type": "ClassLabel"}}
    save_to_disk(tmp_path / "coded", coded, label)
    assert load(tmp_path / "coded").fingerprint == plain.fingerprint
    for name, rows in (("train", coded[:20]), ("test", coded[20:])):
        save_to_disk(tmp_path / "both" / name, rows, label)
    (tmp_path / "both" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    data = load(tmp_path / "both")
    assert data.target.classes == ("a", "b")
    assert split_texts(data)["test"] == [row["t"] for row in ROWS[20:]]
    save_to_disk(tmp_path / "chosen", ROWS, _indices_data_files=[{"filename": "i.arrow"}])
    check_error(refusal(tmp_path / "chosen"), "order", types=["flatten_indices"])
    wrong = [{**row, "y": 7} for row in ROWS]
    save_to_disk(tmp_path / "wrong", wrong, label)
    check_error(refusal(tmp_path / "wrong"), "column 'y'", "7", "2", "a, b")


def test_class_names_of_lists_and_of_no_class(tmp_path):
    names = {"names": ["sea", "sky"], "_type": "ClassLabel"}
    features = {"y": {"feature": names, "_type": "List"}, "k": names}
    rows = [{"t": f"w {i}", "y": [0, 1][: i % 3], "k": i % 3 - 1} for i in range(30)]
    save_to_disk(tmp_path / "sets", rows, features)
    data = load(tmp_path / "sets", kind="multilabel", columns={"text": "t", "tabular": "k"})
    assert data.target.classes == ("sea", "sky")
    assert data.values[:3].tolist() == [[0, 0], [1, 0], [1, 1]]
    assert data.columns["tabular"].columns["k"][:3] == [None, "sea", "sky"]


@pytest.mark.parametrize("suffix", ["zip", "tar"])
def test_an_archive_stands_for_a_folder(tmp_path, suffix, monkeypatch):
    archive = tmp_path / f"my photos.{suffix}"
    files = {f"in/a {i}.png": png(i) for i in range(20)}
    if suffix == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            for name, content in files.items():
                file.writestr(name, content)
    else:
        with tarfile.open(archive, "w") as file:
            for name, content in files.items():
                info = tarfile.TarInfo(f"./{name}")
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
            link = tarfile.TarInfo("in/link.png")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            file.addfile(link)
    (tmp_path / "t.csv").write_text(
        "p,y\n" + "".join(f"in/a {i}.png,{'ab'[i % 2]}\n" for i in range(20))
    )
    data = load(tmp_path / "t.csv", columns={"image": "p"}, root=str(archive))
    stored = Image(size=4).encode(data.columns["image"], range(20), ImageSpec(4, 4))
    assert stored.values[:, 0, 0, 0].tolist() == list(range(20))
    assert {path.name for path in tmp_path.iterdir()} == {archive.name, "t.csv"}
    for name, content in files.items():  # the same as from a folder
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert load(tmp_path / "t.csv", columns={"image": "p"}).fingerprint == data.fingerprint
    inner = tmp_path / "u.csv"
    inner.write_text("p,y\na 3.png,a\n.\\a 4.png,b\n../../t.csv,a\nlink.png,b\n")
    data = load(inner, columns={"image": "p"}, root=f"{archive}/in", labelled=False)
    assert data.columns["image"].present.tolist() == [True, True, False, False]
    monkeypatch.setattr(members, "LARGEST_MEMBER", 10)
    with pytest.raises(DataError) as error:
        load(tmp_path / "t.csv", columns={"image": "p"}, root=str(archive))
    check_error(error.value, "row 1", "a 0.png", "at most 10")
    packed = tmp_path / "photos.tar.gz"
    packed.write_bytes(b"\x1f\x8b")
    error = refusal(tmp_path / "t.csv", columns={"image": "p"}, root=str(packed))
    check_error(error, packed, types=[f"tar -xf {packed}"])
    damaged = tmp_path / f"bad.{suffix}"
    damaged.write_bytes(b"no archive")
    error = refusal(tmp_path / "t.csv", columns={"image": "p"}, root=str(damaged))
    check_error(error, damaged)


def test_cells_that_name_files_in_many_ways(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my dir").mkdir()
    (tmp_path / "my dir" / "ä b.png").write_bytes(png(7))
    ways = [
        "my dir/ä b.png", "./my dir/ä b.png", "my dir\\ä b.png", " my dir/ä b.png ",
        "~/my dir/ä b.png", str(tmp_path / "my dir" / "ä b.png"),
        (tmp_path / "my dir" / "ä b.png").as_uri(), "my dir/../my dir/ä b.png",
    ]  # fmt: skip
    (tmp_path / "t.csv").write_text("p,y\n" + "".join(f'"{way}",a\n' for way in ways))
    data = load(tmp_path / "t.csv", columns={"image": "p"}, labelled=False)
    assert data.columns["image"].present.all()
    stored = Image(size=4).encode(data.columns["image"], range(8), ImageSpec(4, 4))
    assert stored.values[:, 0, 0, 0].tolist() == [7] * 8


def test_unusable_files_are_dropped_and_counted_where_asked(tmp_path):
    for i in range(20):
        (tmp_path / f"{i}.png").write_bytes(png(i) if i not in (3, 5) else b"junk")
    lines = [f"{i}.png,{'ab'[i % 2]},{'' if i == 3 else 'word'}" for i in range(20)]
    lines.append("gone.png,a,")
    (tmp_path / "t.csv").write_text("p,y,t\n" + "\n".join(lines) + "\n")
    columns = {"image": "p", "text": "t"}
    error = refusal(tmp_path / "t.csv", columns=columns)
    check_error(error, "row 21", tmp_path / "gone.png", types=["target.unusable=drop"])
    data = load(tmp_path / "t.csv", columns=columns, unusable="drop")
    assert sum(map(len, data.splits.values())) == 19  # rows 4 and 21 have nothing else
    assert np.flatnonzero(~data.columns["image"].present).tolist() == [3, 5, 20]
    notes = [note for note in data.notes if "decoded" in note or "nothing else" in note]
    check_notes(notes, ["2 of 20 files", "row 4", "row 6"], ["2 rows"])
    check_error(refusal(tmp_path / "t.csv", columns={"image": "p"}), types=["target.unusable=drop"])


def test_unusable_images_in_folders(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(12):
            (tmp_path / name / f"{i}.png").write_bytes(png(i) if i else b"junk")
    data = ImageFolder(name="f", path=str(tmp_path), unusable="drop").load()
    assert sum(map(len, data.splits.values())) == 22
    assert "image: 2 of 24 files cannot be decoded" in " ".join(data.notes)


def test_dotted_keys_reach_into_objects(tmp_path):
    rows = [
        {"meta": {"title": {"text": f"w {i}"}, "price": i / 2}, "y": "ab"[i % 2]} for i in range(20)
    ]
    rows[1]["meta"] = None
    rows[2]["meta"]["title"] = None
    read = []
    for suffix in ("jsonl", "parquet", "arrow"):
        path = write_rows(tmp_path / f"a.{suffix}", rows)
        columns = {"text": "meta.title.text", "tabular": "meta.price"}
        data = load(path, columns=columns, labelled=False)
        assert data.columns["text"].texts[:4] == ["w 0", None, None, "w 3"]
        assert data.columns["tabular"].columns["meta.price"][:4] == ["0", None, "1", "1.5"]
        read.append(data.fingerprint)
        check_error(refusal(path, columns={"text": "meta.titel"}), "'meta.titel'")
    assert len(set(read)) == 1
    named = write_rows(tmp_path / "b.jsonl", [{"meta.title": "x", "y": "a", "meta": {"title": 2}}])
    assert load(named, columns={"text": "meta.title"}, labelled=False).columns["text"].texts == [
        "x"
    ]


def test_a_key_for_each_split_leads_to_the_path(capsys):
    assert cli.main(["train", "source=none", "target=table", "target.train=a.csv"]) == 2
    assert "type:     'target.path={train: a.csv}'" in capsys.readouterr().err
