"""CSV and TSV: delimiter, quotes, encoding and compression are found and said, or asked for."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from refusals import check_error, check_notes

from mmx.errors import DataError
from mmx.tasks import compressed
from mmx.tasks.csv_format import CsvFormat
from mmx.tasks.csv_rows import check_csv
from mmx.tasks.table import Table


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def load(path: Path, **options):
    defaults = {"label": "y", "columns": {"text": "t"}}
    return Table(name="mine", path=str(path), **{**defaults, **options}).load()


def texts(path: Path, **options) -> list[str | None]:
    return load(path, labelled=False, **options).columns["text"].texts


def refusal(path: Path, **options) -> DataError:
    with pytest.raises(DataError) as error:
        load(path, **options)
    return error.value


def test_quotes_that_do_not_balance_are_part_of_their_cells(tmp_path):
    lines = [f'"start {i}\t{"ab"[i % 2]}\nplain {i}\t{"ab"[i % 2]}\n' for i in range(10)]
    path = write(tmp_path / "a.tsv", "t\ty\n" + "".join(lines))
    data = load(path)
    assert len(data.values) == 20
    assert data.columns["text"].texts[:2] == ['"start 0', "plain 0"]
    assert data.target.classes == ("a", "b")
    assert "unbalanced quotes are read as part of their cells" in data.notes


@pytest.mark.parametrize(
    ("content", "why"),
    [
        # one cell from a quote to the next, which ends it
        ('t,y\n"a,x\nb,y\nc",x\nd,y\n', ["line 2", "quote", "rows"]),
        ('t,y\n"a, b",x\n"c,y\nd,x\n', ["line 3", "quote"]),
        ('t,y\n"a, b",x\n"big" sale,y\n', ["line 3", "quote"]),
        ("t,y\na,x\nb,y,z\n", ["line 3", "2 cells", "3"]),
        ("t,y\na,x\n\nb\n", ["line 4", "2 cells", "1"]),
    ],
)
def test_damaged_rows_name_their_line(tmp_path, content, why):
    path = write(tmp_path / "a.csv", content)
    error = refusal(path)
    check_error(error, path, *why)


def test_a_cell_with_lines_that_could_be_rows_is_noted(tmp_path):
    path = write(tmp_path / "a.csv", 't,y\n"a, b, c\nd,x\ne",x\nf,x\n')
    check_notes(load(path, labelled=False).notes, ["1 cells", "lines 2 to 4", "quote"])


def test_quoted_cells_of_several_lines_are_read(tmp_path):
    cells = ["one\ntwo, three", 'say ""hi""', "a\r\nb", "", ' "x'.strip(), "long " * 40_000]
    lines = [f'{i},"{cell}",{"ab"[i % 2]}\r\n' for i, cell in enumerate(cells) if cell != '"x']
    path = write(tmp_path / "a.csv", "\ufeffn,t,y\r\n" + "".join(lines))
    data = load(path, columns={"text": "t", "tabular": "n"}, labelled=False)
    assert data.columns["text"].texts == [
        "one\ntwo, three", 'say "hi"', "a\r\nb", None, "long " * 40_000
    ]  # fmt: skip
    check_notes(data.notes, ["text", "1 of 5 rows"])


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_another_delimiter_is_found_and_said(tmp_path, delimiter):
    lines = ["t,y", *(f"word {i},{'ab'[i % 2]}" for i in range(20))]
    path = write(tmp_path / "a.csv", "\n".join(lines).replace(",", delimiter))
    data = load(path)
    assert data.columns["text"].texts[3] == "word 3"
    assert data.notes[0].startswith("a.csv has ")
    hinted = write(tmp_path / "b.csv", "sep=^\n" + "\n".join(lines).replace(",", "^"))
    assert load(hinted).fingerprint == data.fingerprint


def test_encodings(tmp_path):
    content = "t,y,é\ngrün,a,1\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        assert texts(write(tmp_path / "a.csv", content.encode(encoding))) == ["grün"]
    latin = write(tmp_path / "b.csv", content.encode("latin-1"))
    error = refusal(latin, labelled=False)
    types = ["target.csv.encoding=windows-1252", "source.csv.encoding=windows-1252"]
    says = ["line 2", "UTF-8", "b'gr\\xfcn'", "windows-1252 reads 'grün'", "windows-1251"]
    check_error(error, latin, *says, types=types)
    unused = load(latin, label="t", columns={"text": "y"}, labelled=False)
    assert unused.columns["text"].texts == ["a"]
    for encoding in ("latin-1", "windows-1252"):
        assert texts(latin, csv=CsvFormat(encoding=encoding)) == ["grün"]
    error = refusal(latin, csv=CsvFormat(encoding="utf-8"))
    check_error(error, latin, "line 1", "utf-8", types=["target.csv.encoding=null"])
    euro = write(tmp_path / "c.csv", "t,y\n5 €,a\n".encode("windows-1252"))
    data = load(euro, csv=CsvFormat(encoding="latin-1"), labelled=False)
    check_notes(data.notes, ["c.csv", "1 bytes", "target.csv.encoding=windows-1252"])
    # NUL bytes that no UTF-16 has
    error = refusal(write(tmp_path / "d.csv", b"t,y\n\0,a\nb,b"))
    check_error(error, tmp_path / "d.csv", "line 2", "NUL", types=["target.csv.encoding=utf-16-le"])


@pytest.mark.parametrize("encoding", ["latin-1", "windows-1252", "windows-1251"])
def test_utf8_is_not_read_in_a_code_page(tmp_path, encoding):
    path = write(tmp_path / "a.csv", "t,y\nplain,a\nein grüner,b\n".encode())
    wrong = "grüner".encode().decode(encoding)
    says = [f"is in UTF-8, not in {encoding}", f"{wrong!r} for 'grüner' in line 3"]
    error = refusal(path, csv=CsvFormat(encoding=encoding))
    check_error(error, path, *says, types=["target.csv.encoding=utf-8"])
    with pytest.raises(DataError, match="is in UTF-8, not in"):  # as predict reads it, by parts
        check_csv(path, CsvFormat(encoding=encoding))
    assert texts(path, csv=CsvFormat(encoding="utf-8")) == ["plain", "ein grüner"]


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("gb18030", "这部电影很好看"),
        ("shift_jis", "映画はとても"),
        ("euc_kr", "영화가 좋다"),
        ("windows-1251", "очень хорошо"),
    ],
)
def test_an_encoding_that_bytes_do_not_show_is_asked_for(tmp_path, encoding, text):
    path = write(tmp_path / "a.csv", f"t,y\n{text},a\n".encode(encoding))
    check_error(refusal(path, labelled=False), "line 2", f"{encoding} reads {text!r}")
    assert texts(path, csv=CsvFormat(encoding=encoding)) == [text]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_compressed_tables_are_unpacked_and_noted(tmp_path, suffix):
    rows = {"csv": "t,y\ngrün,a\n", "jsonl": '{"t": "grün", "y": "a"}\n'}
    content = rows[suffix].encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(f"a.{suffix}", content)
    ways = {
        "gz": gzip.compress(content),
        "bz2": bz2.compress(content),
        "xz": lzma.compress(content),
        "zst": pa.compress(content, "zstd", asbytes=True),
        "zip": packed.getvalue(),
    }
    for way, data in ways.items():
        path = write(tmp_path / f"a.{suffix}.{way}", data)
        found = load(path, labelled=False)
        assert found.columns["text"].texts == ["grün"]
        check_notes(found.notes, [path.name])
        check_error(refusal(write(path, data[:-9])), path, types=["cut off"])
    unnamed = write(tmp_path / f"b.{suffix}", ways["gz"])  # found by content, not by name
    assert texts(unnamed) == ["grün"]


def test_a_compressed_table_is_unpacked_only_up_to_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(compressed, "LARGEST", 1000)
    path = write(tmp_path / "a.csv.gz", gzip.compress(b"t,y\n" + b"a,b\n" * 999))
    check_error(refusal(path), path, "1,000 bytes")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x1f\x8b\x08", ["gzip"]),
        (b"PK\x03\x04", ["ZIP"]),
        (b"PAR1", ["Parquet", ".parquet"]),
        (b"SQLite format 3", ["SQLite"]),
    ],
)
def test_files_that_are_no_text_are_called_by_their_name(tmp_path, content, what):
    for suffix in ("csv", "tsv", "json", "jsonl"):
        path = write(tmp_path / f"a.{suffix}", content + bytes(20))
        check_error(refusal(path), path, *what)
    book = io.BytesIO()
    with zipfile.ZipFile(book, "w") as archive:
        archive.writestr("xl/workbook.xml", "")
    path = write(tmp_path / "b.csv", book.getvalue())
    check_error(refusal(path), path, "Excel", types=["CSV"])


@pytest.mark.parametrize(
    ("options", "content", "expected"),
    [
        ({"delimiter": "^"}, "t^y\na, b^x\n", "a, b"),
        ({"delimiter": "tab"}, "t\ty,z\na,b\tc\n", "a,b"),
        ({"delimiter": ";"}, "t;y,z\na;b,c\n", "a"),
        ({"delimiter": "space"}, 't y\n"a b" c\n', "a b"),
        ({"quoting": "none"}, 't,y\n"a",b\n', '"a"'),
        ({"quoting": "single"}, "t,y\n'a, \"b\" ''c''',x\n", "a, \"b\" 'c'"),
        ({"quoting": "backslash"}, 't,y\n"say \\"hi\\", now",b\n', 'say "hi", now'),
    ],
)
def test_how_a_csv_file_is_written_can_be_said(tmp_path, options, content, expected):
    data = load(write(tmp_path / "a.csv", content), csv=CsvFormat(**options), labelled=False)
    assert data.columns["text"].texts == [expected]
    assert data.notes == ()


def test_what_is_doubtful_in_a_csv_file_leads_to_what_to_type(tmp_path):
    both = write(tmp_path / "a.csv", "t;y,z\na;b,c\nd;e,f\n")
    check_error(refusal(both), "comma", "';'", types=['target.csv.delimiter=","'])
    tabs = write(tmp_path / "a.tsv", "t,z\ty\na,b\tc\n")  # its suffix says which
    assert texts(tabs, columns={"text": "y"}, label="t,z") == ["c"]
    escaped = write(tmp_path / "b.csv", 't,y\n"say \\"hi\\", now",b\nc,d\n')
    check_error(refusal(escaped), "line 2", types=["target.csv.quoting=backslash"])
    single = write(tmp_path / "c.csv", "t^y\na^b\n")
    check_error(refusal(single), "'t'", "t^y", types=["target.csv.delimiter="])
    spaced = write(tmp_path / "d.csv", 't, y\n"a, b", "x, y"\nc, z\n')
    data = load(spaced, label="t", columns={"text": "y"}, labelled=False)
    assert data.columns["text"].texts == ["x, y", "z"]
    check_notes(data.notes, ["spaces"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"delimiter": "ab"}, ["delimiter", "ab", "tab"]),
        ({"encoding": "latin-l"}, ["encoding", "latin-l", "closest: latin-1"]),
        ({"encoding": "zlib"}, ["encoding", "zlib"]),
    ],
)
def test_options_of_csv_that_cannot_be(options, says):
    with pytest.raises(ValueError, match=r"`\w+`") as error:
        CsvFormat(**options)
    check_error(error.value, *says)


@pytest.mark.slow
def test_a_cell_of_50_megabytes(tmp_path):
    lines = f"{'a, ' * 333}\n" * 50_000
    path = write(tmp_path / "a.csv", f't,y\n"{lines}",x\nc,y\n')
    found = texts(path)
    assert (len(found[0]), found[1]) == (50_000_000, "c")


def test_headers(tmp_path):
    spaced = write(tmp_path / "a.csv", "t, y\nhello,a\nworld,b\n" * 1 + "x y,a\nz,b\n" * 9)
    assert load(spaced).target.classes == ("a", "b")
    twice = write(tmp_path / "b.csv", "t,n,n,,\nhello,1,2,3,4\n")
    assert texts(twice) == ["hello"]
    error = refusal(twice, columns={"tabular": "n"}, labelled=False)
    check_error(error, twice, "column 'n'", types=["rename"])
    check_error(refusal(write(tmp_path / "c.csv", "")), tmp_path / "c.csv", "empty")
