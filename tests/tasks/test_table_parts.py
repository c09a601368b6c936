"""A table that is read in parts is read as the whole of it, whatever decides how a column is."""

from __future__ import annotations

import datetime
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from mmx.errors import DataError
from mmx.tasks import compressed
from mmx.tasks.csv_format import CsvFormat
from mmx.tasks.csv_rows import check_csv, open_csv
from mmx.tasks.table import Table

COUNT = 11
MIDNIGHT = datetime.datetime(2024, 3, 1)
ROWS: list[dict[str, Any]] = [
    {
        "text": f"line {n}, with a comma" if n != 4 else "two\nlines",
        "whole": f"{n}.0",  # 0.0 is 0, since all are numbers
        "code": f"{n}.0" if n < 9 else "x",  # and here it is not, since of one of the last
        "flag": ["1", "0"][n % 2] if n else "True",
        "day": f"2024-03-{n + 1:02d}T00:00",
        "time": f"2024-03-{n + 1:02d}T00:00" if n != 8 else "2024-03-09T10:30",
        "list": "[1, 2.5]" if n == 10 else "",
        "y": "ab"[n % 2],
    }
    for n in range(COUNT)
]
TABULAR = ["whole", "code", "flag", "day", "time", "list"]


def make_task(**options: Any) -> Table:
    given = {"label": "y", "columns": {"text": "text", "tabular": TABULAR}, **options}
    return Table(name="mine", path="unused.csv", **given)


def read_whole(task: Table, path: Path) -> tuple[list[Any], dict[str, list[Any]]]:
    columns = task.with_path(str(path)).read().columns
    return list(columns["text"].texts), {k: list(v) for k, v in columns["tabular"].columns.items()}


def read_parts(
    task: Table, path: Path, size: int, passed: int | None = None
) -> tuple[list[Any], dict[str, list[Any]], list[object], list[str]]:
    """Return texts, cells, row numbers, and what is carried over, read some rows at a time."""
    parts = task.open_parts(str(path), ["text"])
    assert parts is not None
    texts: list[Any] = []
    cells: dict[str, list[Any]] = {}
    numbers: list[object] = []
    kept: list[str] = []
    while (part := parts.read(size)) is not None:
        count = len(part.rows) if passed is None or parts.is_last else passed
        parts.pass_over(count)
        rows = part.rows[:count]
        texts += [part.data.columns["text"].texts[row] for row in rows]
        for name, column in part.data.columns["tabular"].columns.items():
            cells.setdefault(name, []).extend(column[row] for row in rows)
        numbers += list(part.names)[:count]
        kept += list(part.kept["text"])[:count]
    return texts, cells, numbers, kept


def as_csv(rows: list[dict[str, Any]]) -> str:
    def quote(cell: object) -> str:
        return '"' + str(cell).replace('"', '""') + '"'

    lines = [",".join(rows[0])] + [",".join(map(quote, row.values())) for row in rows]
    return "".join(line + "\n" for line in lines)


def write(path: Path) -> Path:
    if path.suffix == ".csv":
        path.write_text(as_csv(ROWS))
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(as_csv(ROWS).encode()))
    elif path.suffix == ".tsv":
        path.write_bytes(b"\xef\xbb\xbf" + as_csv(ROWS).replace('","', '"\t"').encode())
        path.write_text(
            path.read_text().replace("text,whole,code,flag,day,time,list,y", "\t".join(ROWS[0]))
        )
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    else:
        table = pa.Table.from_pylist(ROWS)
        if path.suffix == ".parquet":
            pa.parquet.write_table(table, path, row_group_size=4)
        else:
            pa.feather.write_feather(table, path, chunksize=4)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".jsonl", ".parquet", ".feather"])
@pytest.mark.parametrize(("size", "passed"), [(1, None), (3, None), (4, 3), (100, None)])
def test_parts_are_read_as_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, size: int, passed: int | None
) -> None:
    monkeypatch.setattr("mmx.tasks.table_rows.BLOCK", 2)
    task, path = make_task(), write(tmp_path / f"rows{suffix}")
    texts, cells = read_whole(task, path)
    assert cells["whole"][1] == "1"
    assert cells["code"][1] == "1.0"
    assert cells["flag"][:2] == ["true", "false"]
    assert cells["day"][0] == "2024-03-01"
    assert cells["time"][0] == "2024-03-01 00:00"
    assert cells["list[2]"][-2:] == [None, "2.5"]
    found = read_parts(task, path, size, passed)
    assert found == (texts, cells, list(range(1, COUNT + 1)), [str(row["text"]) for row in ROWS])


def test_times_of_parquet_are_dates_only_where_all_are(tmp_path: Path) -> None:
    times = [MIDNIGHT + datetime.timedelta(days=n) for n in range(6)]
    for last in (times[-1], times[-1].replace(hour=9)):
        table = pa.table({"text": pa.array([*times[:-1], last], pa.timestamp("us")), "n": range(6)})
        path = tmp_path / "t.parquet"
        pa.parquet.write_table(table, path)
        task = make_task(columns={"text": "text", "tabular": "n"})
        assert read_parts(task, path, 2)[:2] == read_whole(task, path)


def test_dotted_names_lead_where_any_row_has_a_value(tmp_path: Path) -> None:
    rows = [
        {"text": "a"},
        {"text": "b", "meta": {"n": 1}},
        {"text": "c", "meta": {}},
        {"text": "d"},
    ]
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = make_task(columns={"text": "text", "tabular": "meta.n"})
    assert read_whole(task, path)[1] == {"meta.n": [None, "1", None, None]}
    for size in (1, 2):
        assert read_parts(task, path, size)[:2] == read_whole(task, path)


@pytest.mark.parametrize(
    ("name", "text", "notes"),
    [
        ("a.csv", 'text,n\nsix" pipe,1\n"old" coat,2\nhat,3\n', "unbalanced quotes"),
        ("b.csv", 'text,n\n"a", "1,5"\nb, 2\n', "spaces before quotes"),
        ("c.csv", "text;n\na;1\nb;2\n", "has ';' between"),
        ("d.csv", "sep=;\ntext;n\na,b;1\nc;2\n", ""),
        ("e.csv", "text,n\r\na,1\r\n\r\nb,2\r\n", ""),
    ],
)
def test_unusual_files_are_read_in_parts_with_the_same_notes(
    tmp_path: Path, name: str, text: str, notes: str
) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode())
    whole, file = open_csv(path), check_csv(path)
    rows = list(file.rows())
    assert [row.cells for row in rows] == whole.rows
    assert [row.line for row in rows] == whole.lines
    assert file.notes == whole.notes
    assert notes in " ".join(file.notes)
    assert file.found.rows == []
    assert file.found.count == len(whole.rows)


@pytest.mark.parametrize(
    "data",
    [
        b"text,n\na,1\nb\n",
        b'text,n\n"a,1\nb,2\nc",3\nd,4\n',
        b"text,n\na,1\ntext,n\n",
        b"",
        b"text\tn,m\na\t1,2\n",
        b"text,n\n\xe4,1\nb,2\n",
        b"text,n\na\0,1\n",
    ],
)
def test_what_is_refused_is_refused_in_the_same_words(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    task = make_task(columns={"text": "text", "tabular": "n"})
    with pytest.raises(DataError) as whole:
        task.with_path(str(path)).read()
    with pytest.raises(DataError) as parts:
        read_parts(task, path, 1)
    assert (str(parts.value), parts.value.tip) == (str(whole.value), whole.value.tip)


def test_an_encoding_is_read_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("text,n\nMü,1\nŁ,2\n".encode("windows-1250"))
    task = make_task(
        columns={"text": "text", "tabular": "n"}, csv=CsvFormat(encoding="windows-1250")
    )
    assert read_parts(task, path, 1)[0] == ["Mü", "Ł"]
    path.write_bytes(b"text,n\nM\x81,1\n")
    with pytest.raises(DataError, match="line 2"):
        read_parts(task, path, 1)


def test_a_list_of_objects_is_not_read_in_parts(tmp_path: Path) -> None:
    for text in (json.dumps(ROWS), json.dumps(ROWS[0]), json.dumps(ROWS[0], indent=1)):
        path = tmp_path / "a.json"
        path.write_text(text)
        assert make_task().open_parts(str(path)) is None


def test_what_a_compressed_table_unpacks_to_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "rows.csv.gz")
    monkeypatch.setattr(compressed, "LARGEST", 300)
    with pytest.raises(DataError, match="more than 300 bytes"):
        make_task().open_parts(str(path))
    path.write_bytes(path.read_bytes()[:-9])
    monkeypatch.undo()
    with pytest.raises(DataError, match="compressed by gzip"):
        make_task().open_parts(str(path))


def test_rows_keep_the_numbers_of_the_file_in_messages(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv")
    parts = make_task().open_parts(str(path))
    assert parts is not None
    parts.read(3)
    parts.pass_over(3)
    part = parts.read(3)
    assert part is not None
    column = part.data.columns["tabular"]
    assert column.row_names is not None
    assert [column.name_row(int(row)) for row in part.rows[:3]] == [
        "row 4 (line 5)",
        "row 5 (line 6)",
        "row 6 (line 8)",
    ]
    assert np.array_equal(part.data.splits["test"], part.rows)
