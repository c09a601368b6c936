"""Times are read exactly or refused, and splits follow them."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import check_error

from mmx.errors import DataError
from mmx.tasks.table import Table
from mmx.tasks.time_splits import cut_latest
from mmx.tasks.times import read_times


def rank(*cells: str | None) -> list[int]:
    return read_times("when", cells, np.arange(len(cells)))[0].of_rows.tolist()


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["2024-01-02", "2023-12-31", "2024-01-02"], [1, 0, 1]),
        (["2024/1/2", "2023/12/31"], [1, 0]),
        (["10", "9", "1.0", "1", "-3"], [3, 2, 1, 1, 0]),
        (["9007199254740993", "9007199254740992"], [1, 0]),  # equal in 64-bit floats
        (["1711900800.000000001", "1711900800.000000002"], [0, 1]),
        (["1e5", "100000", "99999.9"], [1, 1, 0]),
        (["2024-01-02 10:00:00+01:00", "2024-01-02T09:00Z", "2024-01-02 08:59:59.999Z"], [1, 1, 0]),
        (["2024-01-02 10:00:00.1", "2024-01-02 10:00:00,10", "2024-01-02 10:00"], [1, 1, 0]),
        (["2024-01-01 00:30-0330", "2024-01-01T03:59Z"], [1, 0]),
        (["31/03/2024", "01/04/2024"], [0, 1]),
        (["03/31/2024", "04/01/2024"], [0, 1]),
        (["31.12.1999", "01.01.2000"], [0, 1]),
        (["0001-01-01", "9999-12-31"], [0, 1]),
        (["20240131", "20231231"], [1, 0]),
        (["2024-02-29 23:59:59", "2024-03-01 00:00:00"], [0, 1]),
    ],
)
def test_times_in_order(cells, expected):
    assert rank(*cells) == expected


def test_the_order_of_day_and_month_is_noted():
    _, notes = read_times("when", ["01/04/2024", "31/03/2024"], np.arange(2))
    assert len(notes) == 1
    assert "day, month, year" in notes[0]
    assert "row 2" in notes[0]


@pytest.mark.parametrize(
    ("cells", "row", "says"),
    [
        (["01/02/2024", "03/04/2024"], 1, ["'01/02/2024'", "day/month/year", "month/day/year"]),
        (["31/03/2024", "03/31/2024"], 2, ["'03/31/2024'", "row 1"]),
        (["2024-02-28", "2024-02-30"], 2, ["'2024-02-30'", "day"]),
        (["2024-01-01", "2024-01-01 10:00"], 2, ["date with time", "row 1", "'2024-01-01'"]),
        (["2024-01-01 10:00", "2024-01-01 10:00Z"], 2, ["time zone"]),
        (["1", "2024-01-01"], 2, ["a number", "row 1"]),
        (["yesterday"], 1, ["'yesterday'"]),
        (["2024-01-01", "nan"], 2, ["'nan'"]),
        (["01/02/24"], 1, ["'01/02/24'"]),
        (["12:30"], 1, ["'12:30'"]),
        (["2024-01-01 24:00"], 1, ["'2024-01-01 24:00'"]),
        (["2024-01-01 10:00+25:00"], 1, ["+25:00"]),
        (["31032024", "01042024"], 1, ["'31032024'", "year last"]),
        (["1,5", "2"], 1, ["'1,5'"]),
        (["1600000000", "1600000000000"], 2, ["milliseconds", "row 1", "'1600000000'", "seconds"]),
    ],
)
def test_what_may_be_read_wrongly_is_refused(cells, row, says):
    with pytest.raises(DataError) as caught:
        rank(*cells)
    check_error(caught.value, f"row {row}", "when", *says, types=["target.time=null"])


def test_numbers_of_any_length_are_in_order_but_for_times_since_1970_in_two_units():
    keys, _ = read_times("when", ["1600000000", "999999999", "1600000000001.5"], np.arange(3))
    assert keys.of_rows.tolist() == [1, 0, 2]


def test_a_row_without_time_is_refused():
    with pytest.raises(DataError) as caught:
        rank("1", None, "3", None)
    check_error(caught.value, "row 2", "when", "2 of 4", types=["target.time=null"])


@given(st.lists(st.integers(0, 12), min_size=2, max_size=60), st.floats(0.01, 0.99))
def test_the_latest_share_is_cut_and_equal_times_stay_together(times, fraction):
    of_rows = np.array(times)
    rows = np.arange(len(times)) * 2
    rest, part = cut_latest(rows, of_rows, fraction)
    if len(set(times)) == 1:
        assert len(rest) == len(part) == 0
        return
    assert sorted([*rest, *part]) == rows.tolist()
    assert of_rows[rest // 2].max() < of_rows[part // 2].min()
    # A second implementation: every boundary between two times, tried one by one.
    wanted = max(1, round(fraction * len(times)))
    sizes = [int((of_rows >= time).sum()) for time in sorted(set(times))[1:]]
    best = min(abs(size - wanted) for size in sizes)
    assert len(part) == min(size for size in sizes if abs(size - wanted) == best)


def make_table(path: Path, **options: object) -> Table:
    given = {"label": "kind", "columns": {"text": "text"}, "time": "when"}
    return Table(name="table", path=str(path), **{**given, **options})


def write(path: Path, times: list[str], split: list[str] | None = None) -> Path:
    rows = [
        f"row {row},{'ab'[row % 2]},{time},{split[row] if split else ''}"
        for row, time in enumerate(times)
    ]
    path.write_text("\n".join(["text,kind,when,where", *rows]) + "\n")
    return path


def test_test_is_the_latest_and_val_the_latest_of_the_rest(tmp_path):
    days = [f"2024-{1 + day // 28:02}-{1 + day % 28:02}" for day in range(100)]
    order = np.random.default_rng(0).permutation(100)
    data = make_table(write(tmp_path / "t.csv", [days[day] for day in order])).load()
    found = {name: sorted(order[rows].tolist()) for name, rows in data.splits.items()}
    assert found == {"train": [*range(72)], "val": [*range(72, 80)], "test": [*range(80, 100)]}
    assert any("2024-03-25" in note and "100" not in note for note in data.notes)


def test_own_splits_out_of_order_are_refused_with_both_rows(tmp_path):
    times = [str(year) for year in range(2000, 2020)]
    split = ["test"] * 2 + ["train"] * 18
    path = write(tmp_path / "t.csv", times, split)
    with pytest.raises(DataError) as caught:
        make_table(path, split="where").load()
    check_error(caught.value, "when", "'2017'", 18, "'2000'", 1, types=["target.split=null"])
    make_table(path).load()
    make_table(path, split="where", time=None).load()


def test_one_time_for_all_rows_is_refused(tmp_path):
    with pytest.raises(DataError) as caught:
        make_table(write(tmp_path / "t.csv", ["2024-01-01"] * 10)).load()
    check_error(caught.value, "test", 10, "'2024-01-01'", types=["target.time=null"])


def test_folds_over_time_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"folds.*time"):
        make_table(tmp_path / "t.csv", folds=5, fold=1)
