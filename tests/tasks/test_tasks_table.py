import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet
import pytest
import soundfile
from hydra.core.override_parser.overrides_parser import OverridesParser
from refusals import check_error, check_notes

from mmx.errors import DataError
from mmx.modalities.image import Image, ImageSpec
from mmx.tasks.open_table import TABLE_SUFFIXES
from mmx.tasks.split_names import SPLITS
from mmx.tasks.table import MODALITIES, Table

ROWS = 20


def cells() -> dict[str, list]:
    return {
        "photo": [f"media/{i}.png" for i in range(ROWS)],
        "sound": [f"media/{i}.wav" for i in range(ROWS)],
        "title": [f"title {i}, \"quoted\"" for i in range(ROWS)],
        "more": [f"more {i}" for i in range(ROWS)],
        "price": [str(i) for i in range(ROWS)],
        "colour": ["red", "blue"] * (ROWS // 2),
        "kind": ["cat", "dog", "dog", "cat"] * (ROWS // 4),
        "where": ["train"] * 12 + ["Dev"] * 4 + ["test"] * 4,
    }  # fmt: skip


def write_csv(path: Path, columns: dict[str, list], delimiter: str = ",") -> Path:
    import csv

    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(columns)
        writer.writerows(
            ["" if cell is None else cell for cell in row]
            for row in zip(*columns.values(), strict=True)
        )
    return path


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "media").mkdir()
    for i in range(ROWS):
        PIL.Image.new("RGB", (4, 4), (i * 10, 0, 0)).save(tmp_path / f"media/{i}.png")
        soundfile.write(tmp_path / f"media/{i}.wav", np.full(8, i / 100), 8000)
    return tmp_path


def table(path, **options) -> Table:
    defaults = {"label": "kind", "columns": {"text": "title"}, "split": "where"}
    return Table(name="mine", path=str(path), **{**defaults, **options})


ALL = {
    "image": "photo",
    "audio": "sound",
    "text": ["title", "more"],
    "tabular": ["price", "colour"],
}


def test_every_format_reads_alike(folder):
    columns = cells()
    columns["price"][3] = None
    columns["colour"][5] = None
    write_csv(folder / "t.csv", columns)
    write_csv(folder / "t.tsv", columns, "\t")
    pyarrow.parquet.write_table(pa.table(columns), folder / "t.parquet")
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    for suffix in ("jsonl", "json"):
        (folder / f"t.{suffix}").write_text("\n".join(map(json.dumps, rows)))
    loaded = [
        table(folder / f"t.{suffix}", columns=ALL).load()
        for suffix in ("csv", "tsv", "parquet", "jsonl", "json")
    ]
    assert len({data.fingerprint for data in loaded}) == 1
    data = loaded[0]
    assert {name: rows.tolist() for name, rows in data.splits.items()} == {
        "train": list(range(12)), "val": list(range(12, 16)), "test": list(range(16, 20))
    }  # fmt: skip
    assert data.target.classes == ("cat", "dog")
    assert data.values.tolist() == [0, 1, 1, 0] * 5
    assert data.columns["text"].texts[2] == 'title 2, "quoted" more 2'
    assert data.columns["tabular"].columns["price"][:5] == ["0", "1", "2", None, "4"]
    counts = ["1 of 20", "train 1 of 12", "val 0 of 4", "test 0 of 4"]
    check_notes(data.notes[:2], ["tabular", "'price'", *counts], ["tabular", "'colour'", *counts])


def test_numbers_in_parquet_read_like_text(folder):
    columns = {"a": [1.0, None, 2.5], "b": [1, 2, 3], "c": [True, False, True]}
    pyarrow.parquet.write_table(pa.table(columns), folder / "t.parquet")
    task = table(folder / "t.parquet", label="c", columns={"tabular": ["a", "b"]}, labelled=False)
    assert task.load().columns["tabular"].columns == {"a": ["1", None, "2.5"], "b": ["1", "2", "3"]}


def test_a_missing_file_is_missing_and_never_filled_by_a_neighbour(folder):
    columns = cells()
    columns["photo"][4] = None
    (folder / "media/7.png").unlink()
    (folder / "media/8.wav").unlink()
    data = table(write_csv(folder / "t.csv", columns), columns=ALL).load()
    assert np.flatnonzero(~data.columns["image"].present).tolist() == [4, 7]
    stored = Image(size=4).encode(data.columns["image"], range(ROWS), ImageSpec(4, 4))
    expected = [0 if i in (4, 7) else i * 10 for i in range(ROWS)]
    assert stored.values[:, 0, 0, 0].tolist() == expected
    assert np.flatnonzero(~data.columns["audio"].present).tolist() == [8]
    assert data.digests["image"][7] == 0
    check_notes(
        data.notes[:4],
        ["image", "1 of 19 files"],
        ["audio", "1 of 20 files"],
        ["image", "2 of 20 rows", "train 2 of 12", "val 0 of 4", "test 0 of 4"],
        ["audio", "1 of 20 rows", "train 1 of 12", "val 0 of 4", "test 0 of 4"],
    )


def test_all_files_missing_is_a_wrong_root(folder):
    path = write_csv(folder / "t.csv", cells())
    task = table(path, columns={"image": "photo"}, root=str(folder / "elsewhere"))
    with pytest.raises(DataError) as error:
        task.load()
    says = "mine", "column 'photo'", f"{folder}/elsewhere/media/0.png"
    check_error(error.value, *says, types=["target.root=", "source.root="])


def test_root_moves_the_media(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    path = write_csv(elsewhere / "t.csv", cells())
    here = table(write_csv(folder / "t.csv", cells()), columns=ALL).load()
    there = table(path, columns=ALL, root=str(folder)).load()
    assert here.fingerprint == there.fingerprint


def test_fingerprint_follows_a_moved_folder_and_one_changed_bit(folder, tmp_path_factory):
    write_csv(folder / "t.csv", cells())
    copy = tmp_path_factory.mktemp("moved") / "copy"
    shutil.copytree(folder, copy)
    one = table(folder / "t.csv", columns=ALL).load().fingerprint
    assert table(copy / "t.csv", columns=ALL).load().fingerprint == one
    changed = copy / "media/3.wav"
    content = bytearray(changed.read_bytes())
    content[-1] ^= 1
    changed.write_bytes(content)
    assert table(copy / "t.csv", columns=ALL).load().fingerprint != one


def test_a_row_without_any_modality(folder):
    columns = cells()
    columns["title"][6] = ""
    with pytest.raises(DataError) as error:
        table(write_csv(folder / "t.csv", columns)).load()
    check_error(error.value, "mine", "row 7", "text")


@pytest.mark.parametrize("cell", ["", "NA", "NaN", "null", " "])
def test_a_row_without_a_label(folder, cell):
    columns = cells()
    columns["kind"][2] = columns["kind"][9] = cell
    path = write_csv(folder / "t.csv", columns)
    with pytest.raises(DataError) as error:
        table(path).load()
    types = "target.unlabelled=drop", "source.unlabelled=drop"
    check_error(error.value, "mine", "row 3", "'kind'", repr(cell), "2 of 20", types=types)
    data = table(path, unlabelled="drop").load()
    check_notes(data.notes[:1], ["2 of 20 rows", "label"])
    used = np.concatenate(list(data.splits.values()))
    assert sorted(set(range(ROWS)) - set(used.tolist())) == [2, 9]
    assert data.values[used].tolist() == [[0, 1, 1, 0][row % 4] for row in used]


def test_na_can_be_a_word(folder):
    columns = cells()
    columns["kind"] = ["NA", "EU"] * 10
    data = table(write_csv(folder / "t.csv", columns), missing=[""]).load()
    assert data.target.classes == ("EU", "NA")


def test_an_unknown_column(folder):
    path = write_csv(folder / "t.csv", {name: cells()[name] for name in ("title", "kind", "where")})
    columns = "'{}.columns={{text: title}}'"
    for options, option, given, tip in (
        ({"columns": {"text": "titel"}}, "columns.text", "titel", columns),
        ({"label": "knd"}, "label", "knd", "{}.label=kind"),
        ({"split": "were"}, "split", "were", "{}.split=where"),
    ):
        with pytest.raises(DataError) as error:
            table(path, **options).load()
        says = "mine", path, f"'{given}'", option, "title, kind, where"
        check_error(error.value, *says, types=[tip.format(role) for role in ("target", "source")])


@pytest.mark.parametrize(
    ("option", "without"),
    [
        ("split", "validation and test are then cut from all rows"),
        ("group", "rows are then divided one by one"),
        ("time", "rows are then divided at random"),
    ],
)
def test_a_column_that_a_table_can_do_without_is_left_out_if_none_is_like_it(
    folder, option, without
):
    path = write_csv(folder / "t.csv", {name: cells()[name] for name in ("title", "kind")})
    options = {"split": None, option: "xyz"}
    with pytest.raises(DataError) as error:
        table(path, columns={"text": "title"}, **options).load()
    leave_out = f"target.{option}=null (source.{option}=null where it is the source): {without}"
    assert error.value.tip == leave_out
    options[option] = "titles"
    with pytest.raises(DataError) as error:
        table(path, columns={"text": "title"}, **options).load()
    another = f"target.{option}=title (source.{option}=title where it is the source)"
    assert error.value.tip == f"{another}, or {leave_out}"


def test_splits_are_cut_where_no_column_says(folder):
    columns = cells()
    columns["kind"] = ["cat"] * 15 + ["dog"] * 5
    path = write_csv(folder / "t.csv", columns)
    first, second = (table(path, split=None, split_seed=seed).load() for seed in (0, 1))
    assert {name: len(rows) for name, rows in first.splits.items()} == {
        "train": 14, "val": 2, "test": 4
    }  # fmt: skip
    assert first.splits["test"].tolist() == second.splits["test"].tolist()
    assert np.bincount(first.values[first.splits["test"]]).tolist() == [3, 1]


def test_a_split_column_without_test_or_val(folder):
    columns = cells()
    columns["where"] = ["train"] * ROWS
    splits = table(write_csv(folder / "t.csv", columns)).load().splits
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 14, "val": 2, "test": 4}


def test_two_words_for_one_split_in_a_column_are_noted(folder):
    columns = cells()
    columns["where"] = (
        ["Train"] * 5 + ["train set"] * 5 + ["dev", "Dev", "validation"] + ["test"] * 7
    )
    data = table(write_csv(folder / "t.csv", columns)).load()
    assert {name: len(rows) for name, rows in data.splits.items()} == {
        "train": 10, "val": 3, "test": 7
    }  # fmt: skip
    (note,) = [each for each in data.notes if "where" in each]
    said = "'dev' (2 rows) and 'validation' (1 rows): all are read as val"
    assert note == f"split column 'where' says {said}"


def test_split_column_errors(folder):
    columns = cells()
    columns["where"][4] = "holdout"
    with pytest.raises(DataError) as error:
        table(write_csv(folder / "t.csv", columns)).load()
    check_error(
        error.value, "mine", "row 5", "'where'", "'holdout'", f"accepted: {', '.join(SPLITS)}"
    )
    columns["where"] = ["test"] * ROWS
    with pytest.raises(DataError) as error:
        table(write_csv(folder / "t.csv", columns)).load()
    check_error(error.value, "'where'", "train")


def test_class_names_that_are_numbers_are_in_their_order(folder):
    columns = cells()
    columns["kind"] = ["10", "9"] * 10
    assert table(write_csv(folder / "t.csv", columns)).load().target.classes == ("9", "10")


def test_multilabel_in_one_cell(folder):
    columns = cells()
    columns["kind"] = ["b| a", "a", "b|c|", "c"] * 5
    task = table(write_csv(folder / "t.csv", columns), kind="multilabel")
    data = task.load()
    assert task.kind == data.target.kind == "multilabel"
    assert data.target.classes == ("a", "b", "c")
    assert data.values[:4].tolist() == [[1, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1]]
    chosen = table(folder / "t.csv", kind="multilabel", classes=["c", "a"]).load()
    assert chosen.values[:3].tolist() == [[0, 1], [0, 1], [1, 0]]


def test_multilabel_as_lists_and_as_columns(folder):
    columns = cells()
    columns["kind"] = [["b", "a"], [], ["c"], ["a"]] * 5
    columns |= {"a": [1, 0] * 10, "b": [True, False] * 10}
    pyarrow.parquet.write_table(pa.table(columns), folder / "t.parquet")
    lists = table(folder / "t.parquet", kind="multilabel").load()
    assert lists.values[:3].tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    flags = table(folder / "t.parquet", kind="multilabel", label=["b", "a"]).load()
    assert flags.target.classes == ("b", "a")
    assert flags.values[:2].tolist() == [[1, 1], [0, 0]]
    with pytest.raises(DataError) as error:
        table(folder / "t.parquet", kind="multilabel", label=["a", "price"]).load()
    check_error(error.value, "row 3", "label 'price'", "'2'", "1, 0, true, false")


def test_regression(folder):
    columns = cells()
    data = table(write_csv(folder / "t.csv", columns), label="price", kind="regression").load()
    train = data.splits["train"]
    assert data.target.mean == pytest.approx(5.5)
    assert data.values.tolist() == list(range(ROWS))
    assert float(data.target.standardize(data.values)[train].mean()) == pytest.approx(0, abs=1e-6)
    columns["price"][1] = "cheap"
    with pytest.raises(DataError) as error:
        table(write_csv(folder / "t.csv", columns), label="price", kind="regression").load()
    types = ["target.kind=classes objective=cross_entropy"]
    check_error(error.value, "row 2", "label 'price'", "'cheap'", types=types)


def test_prediction_needs_neither_label_nor_split(folder):
    trained = table(write_csv(folder / "t.csv", cells()), columns=ALL)
    columns = cells()
    del columns["kind"], columns["where"]
    task = trained.with_path(str(write_csv(folder / "new.csv", columns)))
    assert trained.labelled
    assert task.columns == ALL
    data = task.load()
    assert {name: len(rows) for name, rows in data.splits.items()} == {
        "train": 0, "val": 0, "test": 20
    }  # fmt: skip
    assert data.values.tolist() == [0] * 20
    assert (data.digests["image"] != 0).all()
    for kind, shape in (("regression", (20,)), ("multilabel", (20, 0))):
        other = table(folder / "new.csv", kind=kind, labelled=False).load()
        assert other.values.shape == shape


def test_a_column_that_rows_to_predict_lack(folder):
    trained = table(write_csv(folder / "t.csv", cells()), columns=ALL)
    for lost, added, tip in (
        ("price", "prices", ["rename 'prices' to 'price'", "add a column 'price'"]),
        ("price", None, ["add a column 'price'"]),
    ):
        columns = cells()
        columns |= {added: columns[lost]} if added else {}
        del columns[lost]
        with pytest.raises(DataError) as error:
            trained.with_path(str(write_csv(folder / "new.csv", columns))).load()
        check_error(error.value, "price", types=tip)
    columns = cells() | {"price": [None] * ROWS}
    data = trained.with_path(str(write_csv(folder / "new.csv", columns))).load()
    assert data.columns["tabular"].columns["price"] == [None] * ROWS


def test_a_table_that_is_not_there(folder):
    write_csv(folder / "products.csv", cells())
    with pytest.raises(DataError) as error:
        table(folder / "product.csv").load()
    types = [f"{role}.path={folder}/products.csv" for role in ("target", "source")]
    check_error(error.value, "mine", f"{folder}/product.csv", types=types)


def test_broken_tables(folder):
    def check(name: str, text: str, *says: str, types: tuple[str, ...] = ()) -> None:
        (folder / name).write_text(text)
        with pytest.raises(DataError) as error:
            table(folder / name).load()
        check_error(error.value, folder / name, *says, types=types)

    check("t.xlsx", "", f"accepted: {', '.join(TABLE_SUFFIXES)}")
    check("ragged.csv", "title,kind,where\na,b\n", "line 2", "3 cells", "2")
    check("broken.json", '[{"title": "a"},\n{"title": }]', "line 2", "Expecting value")
    check("empty.csv", "title,kind,where\n", "mine", "no rows")
    check("twice.csv", "title,kind,title\na,b,c\n", "'title'", types=("rename",))
    check("t.parquet", "junk")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"columns": {"foto": "photo"}},
            ["`columns`", "'foto'", f"accepted: {', '.join(MODALITIES)}"],
        ),
        (
            {"columns": {"images": "photo"}},
            ["`columns`", "'images'", f"accepted: {', '.join(MODALITIES)}", "closest: image"],
        ),
        ({"columns": {"image": ["a", "b"]}}, ["`columns.image` (=['a', 'b'])"]),
        ({"columns": {}}, ["`columns`", "empty"]),
        ({"columns": {"text": "kind"}}, ["`label` (=kind)", "`columns`"]),
        ({"label": ["a", "b"]}, ["`label` (=['a', 'b'])", "multilabel"]),
        ({"kind": "multilabel", "label": []}, ["`label`", "`label_separator`", "empty"]),
    ],
)
def test_options_that_contradict_each_other(options, says):
    with pytest.raises(ValueError, match="`") as error:
        table("t.csv", **options)
    check_error(error.value, *says, lacks="" if "closest: image" in says else "closest")


def test_modalities_are_those_of_the_columns():
    task = table("t.csv", columns=ALL)
    assert task.modalities == {
        "image": task.image, "audio": task.audio, "text": None, "tabular": task.tabular
    }  # fmt: skip
    assert table("t.csv").modalities == {"text": None}


def test_a_column_with_a_space_is_advised_as_it_is_typed(folder):
    path = folder / "t.csv"
    path.write_text("shoe size,a\n" + "".join(f"{'xy'[i % 2]},{i}\n" for i in range(20)))
    with pytest.raises(DataError) as error:
        table(path, columns={"tabular": "a"}, label="shoe sise").load()
    typed = shlex.split(str(error.value.tip))[0]
    assert typed == "target.label=shoe size"
    assert OverridesParser.create().parse_override(typed).value() == "shoe size"
