"""The same rows read the same from CSV, JSON and Parquet; what cannot be read names its place."""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet
import pytest
import soundfile
from refusals import check_error

from mmx import cli
from mmx.errors import DataError
from mmx.modalities.image import Image, ImageSpec
from mmx.modalities.tabular import Tabular
from mmx.tasks.table import Table


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def load(path: Path, **options):
    defaults = {"label": "y", "columns": {"text": "t"}}
    return Table(name="mine", path=str(path), **{**defaults, **options}).load()


def texts(path: Path) -> list[str | None]:
    return load(path, labelled=False).columns["text"].texts


def refusal(path: Path, **options) -> DataError:
    with pytest.raises(DataError) as error:
        load(path, **options)
    return error.value


def parquet(path: Path, **columns) -> Path:
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


# JSON


def test_json_strings_stay_strings_and_whole_numbers_are_exact(tmp_path):
    values = [
        "2021-01-01",
        "2021-01-01T10:00:00Z",
        "1.50",
        12345678901234567890123,
        True,
        2.0,
        None,
    ]
    lines = "\n".join(json.dumps({"t": value, "y": "a"}) for value in values)
    expected = [
        "2021-01-01", "2021-01-01T10:00:00Z", "1.50", "12345678901234567890123", "true", "2", None
    ]  # fmt: skip
    for name, content in (
        ("a.jsonl", lines),
        ("a.json", f"[{lines}]".replace("\n", ",\n")),
        ("b.jsonl", "\ufeff" + lines.replace("\n", "\r\n\r\n")),
    ):
        with_text = json.dumps({"t": "x", "y": "a"})
        path = write(tmp_path / name, content.replace('{"t": null, "y": "a"}', with_text))
        assert texts(path) == [*expected[:-1], "x"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('{"t": "a"}\n{"t": "b",}\n', ["line 2"]),
        ('{"t": "a"}\n\n{"t": "b", "t": "c"}\n', ["line 3", "'t'", "twice"]),
        ('{"t": "a"}\n["b"]\n', ["line 2", '["b"]']),
        ('[{"t": "a"}, 3]', ["line 1", "item 2", "3"]),
        ('[{"t": "a"}]\n{"t": "b"}', ["line 2", "list"]),
        ('{"t": 1e999}', ["line 1", "1e999"]),
        ("[" * 100_000, ["line 1"]),
        ('{"t": ' + "9" * 5000 + "}", ["line 1"]),
    ],
)
def test_json_that_is_none_names_its_line(tmp_path, content, why):
    path = write(tmp_path / "a.json", content)
    error = refusal(path)
    check_error(error, path, *why, types=["JSON"])


def test_a_number_that_is_none_is_missing(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"t": "a", "u": NaN}\n{"t": NaN, "u": 1}\n')
    data = load(path, columns={"text": "t", "tabular": "u"}, labelled=False)
    assert data.columns["text"].texts == ["a", None]
    assert data.columns["tabular"].columns["u"] == [None, "1"]


def test_an_object_in_a_cell_names_column_and_row(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"t": "a"}\n{"t": {"b": 1}}\n')
    check_error(refusal(path, labelled=False), path, "column 't'", "object", "row 2")


def test_half_a_surrogate_pair_is_no_text(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"t": "\\ud83d\\ude00"}\n{"t": "\\ud83d"}\n')
    check_error(refusal(path, labelled=False), path, "column 't'", "surrogate", "row 2")


# Parquet


def test_parquet_columns_that_are_text(tmp_path):
    stamps = pa.array([1_600_000_000_000_000_001, None, 0], pa.timestamp("ns"))
    day = [datetime.datetime(2021, 1, 2), None, datetime.datetime(2021, 2, 1)]
    for column, expected in (
        (stamps, ["2020-09-13 12:26:40.000000001", "x", "1970-01-01 00:00:00"]),
        (pa.array(day, pa.timestamp("ns")), ["2021-01-02", "x", "2021-02-01"]),
        (pa.array(day, pa.date32()), ["2021-01-02", "x", "2021-02-01"]),
        (pa.array([b"hello", None, "für".encode()]), ["hello", "x", "für"]),
        (pa.array([decimal.Decimal("1.50"), None, decimal.Decimal("0.00")]), ["1.50", "x", "0.00"]),
        (pa.array(["a", None, "b"]).dictionary_encode(), ["a", "x", "b"]),
        (
            pa.array([10, None, 3723 * 10**9], pa.time64("ns")),
            ["00:00:00.000000010", "x", "01:02:03"],
        ),
        (pa.array([1500, None, 0], pa.time32("ms")), ["00:00:01.500000", "x", "00:00:00"]),
        (pa.array(day, pa.date64()), ["2021-01-02", "x", "2021-02-01"]),
        (pa.array(["a", None, "b"], pa.string_view()), ["a", "x", "b"]),
        (pa.array([b"a", None, b"b"], pa.large_binary()), ["a", "x", "b"]),
        (pa.array([b"ab", None, b"cd"], pa.binary(2)), ["ab", "x", "cd"]),
        (pa.array([2**64 - 1, None, 0], pa.uint64()), ["18446744073709551615", "x", "0"]),
        (pa.array([1.5, None, 2.0], pa.float16()), ["1.5", "x", "2"]),
        (pa.array([True, None, False]), ["true", "x", "false"]),
    ):
        path = parquet(tmp_path / "a.parquet", t=column, u=["", "x", ""])
        data = load(path, columns={"text": "t", "tabular": "u"}, labelled=False, missing=[])
        assert [text or "x" for text in data.columns["text"].texts] == expected


@pytest.mark.parametrize(
    ("column", "why"),
    [
        (pa.array([b"\xff\xfe"]), ["binary", "2 bytes", "UTF-8", "row 1"]),
        (pa.array([[1.0, 2.0]]), ["list<element: double>", "row 1"]),
        (pa.array([{"a": 1}]), ["struct<a: int64>", "row 1"]),
        (pa.array([5], pa.duration("s")), ["duration[s]"]),
        (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), ["map<string, int64"]),
        (pa.array([2**53], pa.timestamp("ms")), ["timestamp[ms]"]),
    ],
)
def test_parquet_columns_that_are_no_text_name_column_and_type(tmp_path, column, why):
    path = parquet(tmp_path / "a.parquet", t=column)
    error = refusal(path, labelled=False)
    check_error(error, path, "column 't'", *why)


def encode_image(shade: int) -> bytes:
    content = io.BytesIO()
    PIL.Image.new("RGB", (4, 4), (shade, 0, 0)).save(content, "PNG")
    return content.getvalue()


def test_embedded_files_are_read_like_files(tmp_path):
    sound = io.BytesIO()
    soundfile.write(sound, np.full(8, 0.5), 8000, format="WAV")
    (tmp_path / "3.png").write_bytes(encode_image(3))
    embedded = [{"bytes": encode_image(i), "path": "x"} for i in range(3)]
    path = parquet(
        tmp_path / "a.parquet",
        image=[*embedded, {"bytes": None, "path": "3.png"}, None],
        raw=[*(one["bytes"] for one in embedded), encode_image(3), None],
        sound=[sound.getvalue()] * 5,
    )
    one, two = (
        load(path, columns={"image": name, "audio": "sound"}, labelled=False)
        for name in ("image", "raw")
    )
    assert one.columns["image"].present.tolist() == [True] * 4 + [False]
    stored = Image(size=4).encode(one.columns["image"], range(5), ImageSpec(4, 4))
    assert stored.values[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 0]
    assert one.fingerprint == two.fingerprint
    assert one.columns["audio"].measure(4) == (8, 8000)


def test_a_column_of_files_that_holds_numbers_of_another_kind(tmp_path):
    path = parquet(tmp_path / "a.parquet", t=[[1.0]])
    error = refusal(path, columns={"image": "t"}, labelled=False)
    check_error(error, path, "column 't'", "list<element: double>", "row 1", "paths", "bytes")


def test_lists_of_numbers_are_so_many_numbers_in_every_format(tmp_path):
    lists = [[0.5, 1], [2, None], None, [-1.5, 3e-7]]
    rows = [{"e": one, "u": "a"} for one in lists]
    paths = [
        parquet(tmp_path / "a.parquet", e=lists, u=["a"] * 4),
        write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows))),
        tmp_path / "a.csv",
    ]
    with paths[2].open("w", newline="") as file:
        csv.writer(file).writerows(
            [["e", "u"], *(["" if one is None else json.dumps(one), "a"] for one in lists)]
        )
    read = []
    for path in paths:
        column = load(path, columns={"tabular": ["e", "u"]}, labelled=False).columns["tabular"]
        assert list(column.columns) == ["e[1]", "e[2]", "u"]
        spec = Tabular().fit(column, [0, 1, 3])
        assert spec.numeric == ("e[1]", "e[2]")
        read.append(Tabular().encode(column, range(4), spec).values.tolist())
    assert read[0] == read[1] == read[2]
    for bad, why in (
        ([[1, 2], [3]], ["row 2", "column 'e'", "1 items", "row 1", "2"]),
        ([[1, "a"]], ["row 1", "column 'e'", "'a' (str)", "numbers"]),
        ([3, [1]], ["row 1", "column 'e'", "'3'", "list", "row 2"]),
    ):
        path = write(tmp_path / "b.jsonl", "\n".join(json.dumps({"e": one}) for one in bad))
        error = refusal(path, columns={"tabular": "e"}, labelled=False)
        check_error(error, *why)


def test_the_same_rows_predict_the_same_from_every_format(tmp_path, capsys):
    rows = [
        {"day": f"2021-0{1 + i % 2}-01", "flag": i % 4 < 2, "code": i % 3 * 1.0, "y": "yn"[i % 2]}
        for i in range(40)
    ]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)  # True and 1.0, as pandas writes them
    write(tmp_path / "t.jsonl", "\n".join(map(json.dumps, rows)))
    days = pa.array([datetime.datetime.fromisoformat(row["day"]) for row in rows])
    columns = {name: [row[name] for row in rows] for name in ("flag", "code", "y")}
    parquet(tmp_path / "t.parquet", day=days.cast(pa.timestamp("ns")), **columns)
    assert not cli.main(
        [
            "train", "source=none", "control=none", "target=table", f"target.path={tmp_path}/t.csv",
            "target.label=y", "target.columns={tabular: [day, flag, code]}",
            "target.tabular.categorical=[code]", "trainer.epochs=20", "trainer.threads=1",
            "trainer.workers=0", "device=cpu", "cache=off", f"output_dir={tmp_path}/out",
        ]
    )  # fmt: skip
    run = capsys.readouterr().out.strip()
    answers = []
    for name in ("csv", "jsonl", "parquet"):
        table, output = str(tmp_path / f"t.{name}"), tmp_path / f"{name}.out"
        assert not cli.main(["predict", run, table, "--output", str(output)])
        answers.append(output.read_text())
    assert answers[0] == answers[1] == answers[2]
    predicted = [row["prediction"] for row in csv.DictReader(io.StringIO(answers[0]))]
    assert predicted == [row["y"] for row in rows]
