"""Tables as people have them: each is read as its owner means it, or refused by its place."""

from __future__ import annotations

import base64
import csv
import datetime
import decimal
import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet
import pytest
from refusals import check_error

from mmx.errors import DataError
from mmx.modalities.image import Image, ImageSpec
from mmx.modalities.tabular import Tabular, TabularColumn
from mmx.tasks.csv_format import CsvFormat
from mmx.tasks.table import Table

COUNT = 20
YS = ["a", "b"] * (COUNT // 2)


def load(path: Any, **options):
    defaults = {"label": "y", "columns": {"text": "t"}}
    given = path if isinstance(path, (list, dict)) else str(path)
    return Table(name="mine", path=given, **{**defaults, **options}).load()


def refuse(path: Any, *says: object, types=(), **options) -> None:
    with pytest.raises(DataError) as error:
        load(path, **options)
    check_error(error.value, *says, types=types)


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def list_rows(cells: list[str], header: str = "t,y", delimiter: str = ",") -> str:
    """Return the text of a table with these first cells, and a and b in turns."""
    lines = [f"{cell}{delimiter}{y}" for cell, y in zip(cells, YS, strict=False)]
    return "\n".join([header, *lines]) + "\n"


WORDS = [f"w{i}" for i in range(COUNT)]


def read_numbers(path: Path, column: str = "x", **options) -> list[float]:
    """Return the numbers of a column, NaN where they are missing, in the unit of the file."""
    data = load(path, columns={"tabular": column}, labelled=False, **options)
    cells, modality = data.columns["tabular"], Tabular()
    rows = range(len(cells.present))
    spec = modality.fit(cells, rows)
    assert spec.numeric == (column,)
    stored = modality.encode(cells, rows, spec).values.double().numpy()
    numbers = stored[:, 0] * spec.stds[0] + spec.means[0]
    return np.where(cells.present, numbers, np.nan).tolist()


def near(expected: list[float]):
    """Return what equals numbers that were standardised in 32 bits."""
    scale = max(map(abs, expected))
    return pytest.approx(expected, rel=0, abs=1e-6 * scale, nan_ok=True)


# CSV and TSV as text


@pytest.mark.parametrize(
    ("encoding", "end"),
    [
        *[(name, "\n") for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "utf-32")],
        *[("utf-8", "\r"), ("utf-16", "\r"), ("utf-16-le", "\r\n"), ("utf-8", "\r\n")],
    ],
)
def test_encodings_and_line_ends(tmp_path, encoding, end):
    cells = ["很好", "“grün”", "naïve – ok", "😀 yes", *WORDS[4:]]
    content = list_rows(cells).replace("\n", end)
    data = load(write(tmp_path / "a.csv", content.encode(encoding)))
    assert data.columns["text"].texts == cells
    assert data.values.tolist() == [0, 1] * 10


def test_windows_1252_is_asked_for_in_cells_and_in_names_of_columns(tmp_path):
    path = write(tmp_path / "a.csv", list_rows(["“w0” – 5 €", *WORDS[1:]]).encode("cp1252"))
    says = [path, "line 2", "windows-1252 reads '“w0” – 5 €'"]
    refuse(path, *says, types=["target.csv.encoding=windows-1252"])
    data = load(path, csv=CsvFormat(encoding="windows-1252"))
    assert data.columns["text"].texts[:2] == ["“w0” – 5 €", "w1"]
    named = write(tmp_path / "b.csv", list_rows(WORDS, "größe,y").encode("cp1252"))
    chosen = {"columns": {"text": "größe"}}
    says = [named, "line 1", "windows-1252 reads 'größe'"]
    refuse(named, *says, types=["target.csv.encoding=windows-1252"], **chosen)
    data = load(named, csv=CsvFormat(encoding="windows-1252"), **chosen)
    assert data.columns["text"].texts == WORDS


def test_bytes_of_nul_are_refused_by_line(tmp_path):
    damaged = write(tmp_path / "my a.csv", list_rows(WORDS).replace("w7", "w\0") + "\0\0")
    says = [damaged, "line 9", "NUL"]
    refuse(damaged, *says, types=[f"tr -d '\\000' <'{damaged}' >clean.csv"])


@pytest.mark.parametrize(
    ("content", "says", "tip"),
    [
        (list_rows(WORDS).replace("w7,b", "w7"), ["line 9", "2 cells", "got 1"], '"quotes"'),
        (list_rows(WORDS).replace(",b", ",b,"), ["line 3", "2 cells", "got 3"], '"quotes"'),
        (list_rows(WORDS).replace("w7,b", "t,y"), ["line 9", "header"], "target.path="),
        ("# by me\n# 2020\n" + list_rows(WORDS), ["line 3", "1 cells"], "'# by me'"),
        ("t,y\n" + '"w0,a\nw1,b\nw2",a\nw3,b\n', ["line 2", "swallows", "line 4"], '"quotes"'),
        ("t,t,y\n" + "w,w,a\n" * 4, ["column 't'", "more than one"], "rename"),
    ],
    ids=["short", "long", "header", "comment", "quote", "twice"],
)
def test_rows_that_do_not_fit_the_header(tmp_path, content, says, tip):
    refuse(write(tmp_path / "a.csv", content), tmp_path / "a.csv", *says, types=[tip])


@pytest.mark.parametrize(
    "content",
    [
        "\n  \n" + list_rows(WORDS) + "\n   \n",
        list_rows([f"{word},1,2" for word in WORDS], "t,z,z,y"),
        list_rows([f"{i},{word},x" for i, word in enumerate(WORDS)], ",t,,y"),
        list_rows([f"{word},,{y}" for word, y in zip(WORDS, YS, strict=True)], "t,,y,"),
        list_rows([f'"{word}"' for word in WORDS], '" t ","y"'),
        "sep=;\n" + list_rows(WORDS, "t;y", ";"),
        list_rows(WORDS, "t\ty", "\t"),
        list_rows(WORDS, "t|y", "|"),
    ],
    ids=["spaces", "twice", "unnamed", "last", "quoted", "sep", "tab", "pipe"],
)
def test_headers_and_delimiters_that_are_unusual(tmp_path, content):
    data = load(write(tmp_path / "a.csv", content))
    assert data.columns["text"].texts == WORDS
    assert (data.target.classes, data.values.tolist()) == (("a", "b"), [0, 1] * 10)


def test_a_row_like_the_header_is_one_where_it_can_be_meant(tmp_path):
    path = write(tmp_path / "a.csv", "t\nw\nt\n")
    assert load(path, labelled=False).columns["text"].texts == ["w", "t"]
    path = write(tmp_path / "b.csv", "1,0\n0,1\n1,0\n")
    data = load(path, columns={"tabular": ["1", "0"]}, labelled=False)
    assert data.columns["tabular"].columns == {"1": ["0", "1"], "0": ["1", "0"]}


# Numbers and booleans in cells


@pytest.mark.parametrize(
    ("cells", "expected", "decimal"),
    [
        (["1.234,50", "-2,25", "10.000,00", ""], [1234.5, -2.25, 10000, np.nan], None),
        (["1.234.567", "12", "1.234", "3"], [1234567, 12, 1234, 3], ","),
        (["12,5 %", "3,25 %", "100,0 %", "0,0 %"], [12.5, 3.25, 100, 0], None),
        (["1.234,50 €", "-5,00 €", "0,01 €", "7,00 €"], [1234.5, -5, 0.01, 7], None),
        (["(1.234,50)", "2,25", "(0,5)", "1,0"], [-1234.5, 2.25, -0.5, 1], None),
        (["1e9", "1000000001", "1.000000002E9", "1e9"], [1e9, 1e9 + 1, 1e9 + 2, 1e9], None),
        (["1e-9", "2e-9", "0.000000003", "4E-9"], [1e-9, 2e-9, 3e-9, 4e-9], None),
        (["2021-01-02", "1969-12-31", "", "1970-01-01"], [18629, -1, np.nan, 0], None),
    ],
)
def test_numbers_between_semicolons(tmp_path, cells, expected, decimal):
    path = write(tmp_path / "a.csv", list_rows(cells, "x;y", ";"))
    assert read_numbers(path, csv=CsvFormat(decimal=decimal)) == near(expected)


def test_numbers_that_64_bits_cannot_hold_are_refused_by_row():
    def fit(cells):
        column = TabularColumn({"x": cells})
        return Tabular().fit(column, range(len(cells)))

    for cells, says in (
        ([str(2**70), "7", str(2**70 + 1)], []),  # far apart: what is rounded does not count
        ([str(2**70), str(2**70 + 1)], ["row 2", f"'{2**70 + 1}'", "1.1805916207174113e+21"]),
        (["1", "inf", "3"], ["row 2", "'inf'", "finite"]),
        (["1", "-1e200"], ["row 2", "'-1e200'", "squares"]),
        (["0", "1e-200"], ["row 2", "'1e-200'", "squares"]),
        (["inf", "outf"], []),
    ):
        if not says:
            fit(cells)
            continue
        with pytest.raises(DataError) as error:
            fit(cells)
        check_error(error.value, "'x'", *says, types=["target.tabular.categorical=[x]"])


def test_booleans_have_one_spelling_also_beside_numbers(tmp_path):
    cells = ["True", "0", "TRUE", "false", "1", "1.0", "FALSE", "true"]
    path = write(tmp_path / "a.csv", list_rows(cells, "x,y"))
    data = load(path, columns={"tabular": "x"}, labelled=False)
    column, modality = data.columns["tabular"], Tabular()
    expected = [True, False, True, False, True, True, False, True]
    assert column.columns["x"] == [str(one).lower() for one in expected]
    spec = modality.fit(column, range(8))
    assert spec.categories == (("false", "true"),)
    bits = TabularColumn({"x": ["1", "0", "1.0", "2"]})  # as another program writes them
    codes = modality.encode(bits, range(4), spec).values
    assert codes.tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    labels = write(tmp_path / "b.csv", "t,y\n" + "".join(f"w,{cell}\n" for cell in cells * 3))
    data = load(labels)
    assert (data.target.classes, data.values.tolist()) == (("false", "true"), [*expected] * 3)


def test_words_that_differ_in_case_are_noted():
    column = TabularColumn({"x": ["Yes", "yes", "NO", "maybe"]})
    spec = Tabular().fit(column, range(4))
    assert spec.categories == (("NO", "Yes", "maybe", "yes"),)
    (note,) = Tabular().remarks(column, range(4), spec)
    check_error(ValueError(note), "'x'", "'Yes', 'yes'")


# Labels


@pytest.mark.parametrize(
    ("cells", "names", "missing"),
    [
        (["NA", "EU"], ["NA", "EU"], [""]),
        (["None", "n/a"], ["None", "n/a"], ["NA"]),
        ([" dog", "cat\u00a0"], ["dog", "cat"], []),
        ([str(10**20), str(10**20 + 1)], [str(10**20), str(10**20 + 1)], []),
        (["010", "10"], ["010", "10"], []),
        (["2021-01-02T00:00:00", "2021-01-01 00:00"], ["2021-01-02", "2021-01-01"], []),
        (["1.0", "2.50"], ["1", "2.5"], []),
        (["cat", "Cat"], ["cat", "Cat"], []),
    ],
)
def test_names_of_classes(tmp_path, cells, names, missing):
    rows = [f"w{i},{cell}" for i, cell in enumerate(cells * 10)]
    data = load(write(tmp_path / "a.csv", "\n".join(["t,y", *rows])), missing=missing)
    assert data.target.classes == tuple(sorted(names))
    assert [data.target.classes[i] for i in data.values] == names * 10
    alike = [note for note in data.notes if "differ only" in note]
    assert len(alike) == (cells in (["cat", "Cat"], ["010", "10"]))


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1e9", "1000000001", "1.5e9"], [1e9, 1e9 + 1, 1.5e9]),
        (["1e-9", "2.5e-9", "-3e-9"], [1e-9, 2.5e-9, -3e-9]),
        (['"1.234,5"', '"2,25"', '"3,0"'], [1234.5, 2.25, 3]),
        (['"$1,234.50"', "-$5", "($7)"], [1234.5, -5, -7]),
        (["5%", "12.5 %", "0%"], [5, 12.5, 0]),
        (["9007199254740993", "9107199254740993", "1"], [2.0**53, 9107199254740992.0, 1]),
    ],
)
def test_numbers_to_predict(tmp_path, cells, expected):
    rows = [f"w{i},{cells[i % 3]}" for i in range(21)]
    data = load(write(tmp_path / "a.csv", "\n".join(["t,y", *rows])), kind="regression")
    assert data.values[:3].tolist() == expected


SEA, SKY, BOTH, NONE = [1, 0], [0, 1], [1, 1], [0, 0]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["['sea']", "['sea', 'sky']", "[]", "['sky']"], [SEA, BOTH, NONE, SKY]),
        (["{'sea'}", "{'sky', 'sea'}", "set()", "{'sky'}"], [SEA, BOTH, NONE, SKY]),
        (["('sea',)", "('sea', 'sky')", "()", "('sky',)"], [SEA, BOTH, NONE, SKY]),
        (['["sea", null]', '["sea","sky"]', "[ ]", '["sky"]'], [SEA, BOTH, NONE, SKY]),
        (["sea", "sky|sea", "[]", "sky|"], [SEA, BOTH, NONE, SKY]),
        (["sea;sea", " sky ; sea ", "[]", "sky"], [SEA, BOTH, NONE, SKY]),
    ],
)
def test_several_labels_in_one_cell(tmp_path, cells, expected):
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["t", "y"], *([f"w{i}", c] for i, c in enumerate(cells * 5))])
    data = load(path, kind="multilabel")
    assert data.target.classes == ("sea", "sky")
    assert data.values.tolist() == expected * 5


@pytest.mark.parametrize("cell", ["['sea' 'sky']", "[sea, sky]", "{sea,sky}"])
@pytest.mark.parametrize("other", ["['sea']", "sky"])
def test_what_only_looks_like_a_list_of_labels_is_refused_by_row(tmp_path, cell, other):
    content = "".join(f't{i};"{one}"\n' for i, one in enumerate([other, cell] * 10))
    path = write(tmp_path / "a.csv", "t;y\n" + content)
    tip = ['["sea", "sky"] or sea|sky']
    refuse(path, "row 2", "'y'", repr(cell), "list", types=tip, kind="multilabel")


def test_a_column_for_each_label(tmp_path):
    rows = [f"w{i},{'TRUE' if i % 2 else '0.0'},{1 - i % 2}" for i in range(COUNT)]
    path = write(tmp_path / "a.csv", "\n".join(["t,sea,sky", *rows]))
    data = load(path, label=["sea", "sky"], kind="multilabel")
    assert data.target.classes == ("sea", "sky")
    assert data.values.tolist() == [SKY, SEA] * 10
    path = write(tmp_path / "b.csv", "\n".join(["t,sea,sky", *rows, "w,x,0"]))
    says = ["row 21", "'sea'", "'x'", "1, 0, true, false"]
    refuse(path, *says, label=["sea", "sky"], kind="multilabel")


# JSON


def test_json_in_other_layouts_is_refused_with_how_to_write_rows(tmp_path):
    rows = [{"t": word, "y": y} for word, y in zip(WORDS, YS, strict=True)]
    path = write(tmp_path / "a.json", json.dumps({"data": rows}))
    refuse(path, path, "20 rows in 'data'", types=[f"<{path} >rows.jsonl"])
    by_column = {key: {str(i): row[key] for i, row in enumerate(rows)} for key in ("t", "y")}
    path = write(tmp_path / "b.json", json.dumps(by_column))
    refuse(path, path, "20 rows in 't'", types=[f"pandas.read_json('{path}')"])
    one = {"meta": {"title": "x"}, "boxes": [{"w": 1}]}  # a single row is none of these
    path = write(tmp_path / "c.json", json.dumps(one))
    assert load(path, columns={"text": "meta.title"}, labelled=False).columns["text"].texts == ["x"]


def test_json_values_have_the_spelling_of_csv(tmp_path):
    rows = [
        {"t": word, "n": [i, None, float("nan")][i % 3], "y": [True, 0, 1, "false"][i % 4]}
        for i, word in enumerate(WORDS)
    ]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)).encode("utf-16"))
    data = load(path, columns={"text": "t", "tabular": "n"})
    assert data.target.classes == ("false", "true")
    assert data.values[:4].tolist() == [1, 0, 1, 0]
    assert data.columns["tabular"].columns["n"][:5] == ["0", None, None, "3", None]
    lists = [[1, 2], [], [2, None], [10]] * 5
    rows = [{"t": word, "y": one} for word, one in zip(WORDS, lists, strict=True)]
    path = write(tmp_path / "b.jsonl", "\n".join(map(json.dumps, rows)))
    data = load(path, kind="multilabel")
    assert data.target.classes == ("1", "2", "10")
    assert data.values[:4].tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1]]


# Parquet

MORNING = datetime.datetime(2021, 3, 28, 1, 30)
DAYS = [18714 + 1.5 / 24, 18715 + 1.5 / 24]


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")),
        pa.timestamp("us", "UTC"),
        pa.timestamp("ns", "Europe/Berlin"),  # the hour of the change to summer time
        pa.timestamp("s", "+05:30"),
    ],
    ids=str,
)
def test_times_in_every_unit_and_zone_are_one_number(tmp_path, kind):
    times = pa.array([MORNING, MORNING + datetime.timedelta(days=1)], kind)
    pyarrow.parquet.write_table(pa.table({"x": times}), tmp_path / "a.parquet")
    assert read_numbers(tmp_path / "a.parquet") == near(DAYS)


ROUND = decimal.Decimal("1.50")


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([ROUND, decimal.Decimal("-0.25"), None]), [1.5, -0.25, np.nan]),
        (pa.array([1.5, float("nan"), None]), [1.5, np.nan, np.nan]),
        (pa.array([datetime.date(1900, 1, 1), datetime.date(1970, 1, 2)]), [-25567, 1]),
        (pa.array([5, 7, 5]).dictionary_encode(), [5, 7, 5]),
        (pa.array([2**63, 2**40], pa.uint64()), [2.0**63, 2.0**40]),
        (pa.array([-1, 1], pa.int8()), [-1, 1]),
    ],
    ids=lambda one: str(getattr(one, "type", "")),
)
def test_numbers_of_every_type(tmp_path, column, expected):
    pyarrow.parquet.write_table(pa.table({"x": column}), tmp_path / "a.parquet")
    assert read_numbers(tmp_path / "a.parquet") == near(expected)


@pytest.mark.parametrize(
    ("labels", "kind", "classes", "values"),
    [
        (pa.array(["a", "b"] * 10).dictionary_encode(), "classes", ("a", "b"), [0, 1]),
        (pa.array(["a", "b"] * 10, pa.large_string()), "classes", ("a", "b"), [0, 1]),
        (pa.array([True, False] * 10), "classes", ("false", "true"), [1, 0]),
        (pa.array([2.0, 10.0] * 10), "classes", ("2", "10"), [0, 1]),
        (pa.array([ROUND, ROUND + 1] * 10), "classes", ("1.5", "2.5"), [0, 1]),
        (pa.array([2**64 - 1, 2**64 - 2] * 10, pa.uint64()), "classes", None, [1, 0]),
        (pa.array([b"sea", b"sky"] * 10), "classes", ("sea", "sky"), [0, 1]),
        (pa.array([["sea", None], []] * 10), "multilabel", ("sea",), [[1], [0]]),
        (
            pa.array([["b"], ["a", "b"]] * 10, pa.large_list(pa.large_string())),
            *("multilabel", ("a", "b"), [[0, 1], [1, 1]]),
        ),
        (pa.array([0.5, -1e-9] * 10), "regression", (), [0.5, -1e-9]),
        (pa.array([datetime.date(1970, 1, 3)] * 20), "regression", (), [2, 2]),
    ],
    ids=lambda one: str(getattr(one, "type", "")),
)
def test_labels_of_every_type(tmp_path, labels, kind, classes, values):
    table = pa.table({"t": pa.array(WORDS, pa.large_string()), "y": labels})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet", row_group_size=7)
    data = load(tmp_path / "a.parquet", kind=kind)
    assert data.columns["text"].texts == WORDS
    assert (
        data.target.classes
        == (("18446744073709551614", "18446744073709551615"), classes)[classes is not None]
    )
    assert data.values[:2].tolist() == values


# Files in cells, and where they lie


def png(shade: int) -> bytes:
    content = io.BytesIO()
    PIL.Image.new("RGB", (4, 4), (shade, 0, 0)).save(content, "PNG")
    return content.getvalue()


def read_shades(data) -> list[int | None]:
    """Return the red of each image, None where there is none."""
    column = data.columns["image"]
    rows = np.flatnonzero(column.present)
    stored = Image(size=4).encode(column, rows, ImageSpec(4, 4)).values[:, 0, 0, 0].tolist()
    found = dict(zip(rows.tolist(), stored, strict=True))
    return [found.get(row) for row in range(len(column.present))]


def test_images_as_addresses_of_data(tmp_path):
    texts = [f"data:image/png;base64,{base64.b64encode(png(i)).decode()}" for i in range(4)]
    content = "\n".join(json.dumps({"p": text}) for text in [*texts, None])
    data = load(write(tmp_path / "a.jsonl", content), columns={"image": "p"}, labelled=False)
    assert read_shades(data) == [0, 1, 2, 3, None]
    broken = write(tmp_path / "b.jsonl", '{"p": null}\n{"p": "data:image/png;base64,@@@"}\n')
    refuse(broken, broken, "column 'p'", "row 2", columns={"image": "p"}, labelled=False)


@pytest.mark.parametrize("where", ["folder", "zip", "tar"])
def test_paths_that_programs_write_differently(tmp_path, where):
    files = {"in/a b.png": 1, "in/50%.png": 2, "in/a%20c.png": 3, "in/ä.png": 4}
    root = tmp_path / f"my root.{where}"
    for name, shade in files.items():
        if where == "folder":
            write(root / name, png(shade))
        elif where == "zip":
            with zipfile.ZipFile(root, "a") as archive:
                archive.writestr(name, png(shade))
        else:
            with tarfile.open(root, "a") as archive:
                info = tarfile.TarInfo(name)
                info.size = len(png(shade))
                archive.addfile(info, io.BytesIO(png(shade)))
    cells = ["in\\a b.png", "in/a%20b.png", "in/50%25.png", "in/a%20c.png", "in/%C3%A4.png"]
    cells += ["./in//ä.png", " in/50%.png ", "in/none%20.png", "in"]
    path = write(tmp_path / "a.csv", "p\n" + "\n".join(cells))
    data = load(path, columns={"image": "p"}, labelled=False, root=str(root))
    assert read_shades(data) == [1, 1, 2, 3, 4, 4, 2, None, None]
    assert "image: 2 of 9 files do not exist" in data.notes


@pytest.mark.parametrize(
    ("address", "typed"),
    [
        ("https://x.org/a b.csv?v=1", "curl -L -o 'a b.csv' 'https://x.org/a%20b.csv?v=1'"),
        ("s3://bucket/a b.csv", "aws s3 cp 's3://bucket/a b.csv' 'a b.csv'"),
    ],
)
def test_addresses_with_spaces_can_be_typed(tmp_path, address, typed):
    refuse(address, address, types=[typed])
    path = write(tmp_path / "a.csv", f"p\n{address}\n")
    refuse(path, "row 1", address, types=[typed], columns={"image": "p"}, labelled=False)


def test_patterns_shards_and_files_named_twice(tmp_path):
    folder = tmp_path / "[old] data*"
    shards = {"s10.csv": "w2", "s2.csv.gz": "w1", "s1.tsv": "w0"}
    for name, word in shards.items():
        content = f"y\tt\na\t{word}\n" if "tsv" in name else f"t,y\n{word},a\n"
        packed = gzip.compress(content.encode()) if name.endswith("gz") else content
        write(folder / name, packed)
    for given in (f"{folder}/s*", f"{folder}/**/*.*sv*", [f"{folder}/{one}" for one in shards]):
        found = load(given, labelled=False).columns["text"].texts
        assert found == (["w0", "w1", "w2"] if isinstance(given, str) else ["w2", "w1", "w0"])
    again = [f"{folder}/s10.csv", f"{folder}/../{folder.name}/s10.csv"]
    refuse(again, "twice", again[1], labelled=False)
    empty = write(folder / "s3.csv", "")
    refuse(f"{folder}/s*", empty, "empty", labelled=False)
    for name, typed in (("t.data", "mv"), ("t.xlsx", "CSV"), ("t.zip", "t.csv.zip")):
        refuse(write(tmp_path / name, "t,y\n"), tmp_path / name, ".csv", types=[typed])


# What is refused, and what to type then


@pytest.mark.parametrize(
    ("word", "encoding", "typed"),
    [
        ("这部电影很好看", "gb18030", "<the one that reads right>"),
        ("とても良い", "shift_jis", "<the one that reads right>"),
        ("привет", "windows-1251", "<the one that reads right>"),
        ("déjà vu", "windows-1252", "windows-1252"),
    ],
)
def test_an_encoding_is_proposed_only_where_it_shows(tmp_path, word, encoding, typed):
    cells = [f"{word}{i}" for i in range(COUNT)]
    path = write(tmp_path / "a.csv", list_rows(cells).encode(encoding))
    refuse(path, "line 2", f"{encoding} reads", types=[f"target.csv.encoding={typed}"])
    assert load(path, csv=CsvFormat(encoding=encoding)).columns["text"].texts == cells


def test_labels_that_differ_in_what_is_invisible_are_noted(tmp_path):
    path = write(tmp_path / "a.csv", list_rows(WORDS).replace(",b", ",a\ufeff"))
    data = load(path)
    assert data.target.classes == ("a", "a\ufeff")
    note = "'a', 'a\\ufeff' differ only in spaces, case or spelling, and count as different labels"
    assert note in data.notes


@pytest.mark.parametrize(
    ("cells", "noted"),
    [
        (["sea sky", "sea", "sky", "sea sky sun"], True),
        (["New York", "New Delhi", "Rome"], False),
        (["sea", "blue sky"], False),
    ],
)
def test_labels_between_spaces_are_read_whole_and_noted(tmp_path, cells, noted):
    rows = [f"w{i},{cell}" for i, cell in enumerate(cells * 5)]
    path = write(tmp_path / "a.csv", "\n".join(["t,y", *rows]))
    data = load(path, kind="multilabel")
    assert data.target.classes == tuple(sorted(cells))
    notes = [note for note in data.notes if "read whole" in note]
    assert len(notes) == noted
    if noted:
        check_error(ValueError(notes[0]), "'sea sky'", "'target.label_separator=\" \"'")
        data = load(path, kind="multilabel", label_separator=" ")
        assert data.target.classes == ("sea", "sky", "sun")
        assert data.values[:4].tolist() == [[1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 1, 1]]


def test_a_word_that_is_no_split_says_how_to_go_on(tmp_path):
    path = write(tmp_path / "a.csv", list_rows([f"w{i},{i % 3}" for i in range(COUNT)], "t,s,y"))
    refuse(path, "row 1", "'0'", types=["target.split=null"], split="s")
    assert sum(map(len, load(path, split=None).splits.values())) == COUNT


def test_an_object_in_a_column_of_texts_names_a_key(tmp_path):
    rows = [{"t": {"en": word}, "y": y} for word, y in zip(WORDS, YS, strict=True)]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    refuse(path, "column 't'", "row 1", "an object", types=["t.en"])
    assert load(path, columns={"text": "t.en"}).columns["text"].texts == WORDS


def test_a_missing_file_is_replaced_within_all_that_was_typed(tmp_path):
    for name in ("train.csv", "valid.csv"):
        write(tmp_path / name, list_rows(WORDS))
    train, wrong, right = (str(tmp_path / f"{one}.csv") for one in ("train", "vlid", "valid"))
    typed = [f"train: {train}", f"val: {right}"]
    refuse({"train": train, "val": wrong}, wrong, types=typed)
    refuse([train, wrong], wrong, types=[f"target.path=[{train},{right}]"])
    refuse(wrong, wrong, types=[f"target.path={right} "])


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_a_text_that_is_named_otherwise(tmp_path, name):
    path = write(tmp_path / name, "größe,t,y\n" + "1,w,a\n2,v,b\n" * 10)
    refuse(path, path, "is a text", types=[f"mv {path} {path.with_suffix('.csv')}"])
    rows = write(tmp_path / f"rows-{name}", '{"t": "w", "y": "a"}\n')
    refuse(rows, types=[f"mv {rows} {rows.with_suffix('.jsonl')}"])


def test_dates_with_two_readings_are_words_and_noted(tmp_path):
    path = write(tmp_path / "a.csv", list_rows(["01/12/2020", "05/06/2021"] * 10, "x,y"))
    column, modality = load(path, columns={"tabular": "x"}).columns["tabular"], Tabular()
    spec = modality.fit(column, range(COUNT))
    assert spec.categories == (("01/12/2020", "05/06/2021"),)
    assert modality.remarks(column, range(COUNT), spec) == (
        "tabular: column 'x' is read as words, since its dates may be day/month/year or "
        "month/day/year, such as '01/12/2020', and none of the training rows decides; 2024-03-31 "
        "has one reading",
    )


@pytest.mark.parametrize("packed", [False, True])
def test_accents_as_signs_of_their_own_name_the_same_file(tmp_path, packed):
    names = ["u\u0308.png", "\xe9.png"]  # as macOS writes them, and as others do
    if packed:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for shade, name in enumerate(names):
                archive.writestr(name, png(shade))
    else:
        for shade, name in enumerate(names):
            write(tmp_path / "a" / name, png(shade))
    path = write(tmp_path / "a.csv", "p\n\xfc.png\nu\u0308.png\ne\u0301.png\n\xe9.png\n")
    root = str(tmp_path / ("a.zip" if packed else "a"))
    data = load(path, columns={"image": "p"}, labelled=False, root=root)
    assert read_shades(data) == [0, 0, 1, 1]


def test_names_without_a_suffix_say_which_they_lack(tmp_path):
    for i in range(COUNT):
        write(tmp_path / f"{i}.png", png(i))
    path = write(tmp_path / "a.csv", list_rows([str(i) for i in range(COUNT)], "p,y"))
    refuse(path, "'p'", "there is 0.png", types=["with .png"], columns={"image": "p"})
