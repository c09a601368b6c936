"""``mmx data``: tables, JSON, and a card that needs nothing but itself."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import soundfile
from browser import Browser
from html_pages import HtmlPage, read_rows

from mmx.cli import main
from mmx.verbs.completion import complete_line

NOTE = "<script>alert(1)</script> & Привет"


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A table of 40 rows with a picture, a sound, a text, numbers; in the working directory."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    lines = ["photo,clip,note,price,kind"]
    for row in range(40):
        PIL.Image.new("RGB", (60, 90), (6 * row, 250 - 6 * row, 99)).save(f"{row}.png")
        soundfile.write(f"{row}.wav", rng.uniform(-0.5, 0.5, 4000), 8000)
        lines.append(f'{row}.png,{row}.wav,"{NOTE} {row}",{row},{"abcd"[row % 4]}')
    Path("shop.csv").write_text("\n".join(lines))
    return [
        "target=table",
        "target.name=shop",
        "target.path=shop.csv",
        "target.label=kind",
        "target.columns={image: photo, audio: clip, text: note, tabular: [price]}",
    ]


def test_the_card_is_one_file_with_twelve_of_each(shop, capsys):
    assert main(["data", *shop]) == 0
    out = capsys.readouterr().out
    last = out.splitlines()[-1]
    assert re.fullmatch(r"data card: outputs/data/shop-[0-9a-f]{8}\.html", last)
    assert out.startswith("shop: 40 rows of image, audio, text, tabular; 4 classes\n")
    text = Path(last.removeprefix("data card: ")).read_text(encoding="utf-8")
    assert len(text.encode()) < 2_000_000
    page = HtmlPage(text)
    page.require_own()
    assert not re.search(r"url\(|@import", text)
    assert len(page.tags("img")) == 24  # pictures and spectrograms
    assert all(each["alt"] for each in page.tags("img"))
    assert len(page.tags("audio")) == len(page.tags("blockquote")) == 12
    assert next(name for name, _ in page.found if name in ("h1", "h2")) == "h1"
    assert NOTE in page.text
    assert "prefers-color-scheme: dark" in text
    assert {"lang": "en"} in page.tags("html")
    assert "40 rows of image, audio, text and tabular; 4 classes" in page.text
    splits = "29 for training, 3 for validation and 8 for the test. No row lacks an input."
    assert splits in page.text
    bars = read_rows(page.charts["Training rows of each class"])
    assert {name: row["x"] for name, row in bars.items()} == {"a": 7, "b": 7, "c": 7, "d": 8}
    assert page.find_table("class", "train", "val", "test")[0] == ["a", "7", "1", "2"]


def test_the_card_of_a_number_to_predict(shop):
    words = ["target.label=price", "target.kind=regression", "target.columns={text: note}"]
    assert main(["data", *shop[:3], *words, "--out", "card.html"]) == 0
    page = HtmlPage.read(Path("card.html"))
    assert "40 rows of text; a number to predict" in page.text
    rows = page.find_table("split", "rows", "least", "median", "most")
    assert [row[:2] for row in rows] == [["train", "29"], ["val", "3"], ["test", "8"]]
    spreads = read_rows(page.charts["Numbers to predict"])
    for split, _, *numbers in rows:
        shown = spreads[split]
        assert [shown[key] for key in ("low", "x", "high")] == [float(each) for each in numbers]


@pytest.mark.parametrize(("count", "lacking"), [(3, "3 lack text"), (1, "1 lacks text")])
def test_the_lead_says_what_is_missing(tmp_path, monkeypatch, count, lacking):
    monkeypatch.chdir(tmp_path)
    lines = [f"{'' if row < count else f'word {row}'},{row},{'ab'[row % 2]}" for row in range(40)]
    lines.append("word,40,")
    Path("few.csv").write_text("\n".join(["note,size,kind", *lines]))
    words = [
        "target.path=few.csv",
        "target.label=kind",
        "target.columns={text: note, tabular: [size]}",
    ]
    words.append("target.unlabelled=drop")
    assert main(["data", "target=table", *words, "--out", "card.html"]) == 0
    text = HtmlPage.read(Path("card.html")).text
    assert f"1 more is in no split. Of these rows, {lacking}." in text
    assert "Data card: few" in text  # a table without a name of its own is called as its file


def test_the_command_of_a_card_writes_it_again(shop):
    line = ["data", *shop, "seed=3", "fusion=gmu", "--out", "card.html"]
    assert main(line) == 0
    text = Path("card.html").read_text(encoding="utf-8")
    command = HtmlPage(text).text.partition("Write it again ")[2].partition(" Copy")[0]
    verb, *words = shlex.split(command)
    assert verb == "mmx"
    assert "fusion=gmu" not in words  # which changes nothing of a card
    assert main([*words, "--out", "again.html"]) == 0
    assert Path("again.html").read_text(encoding="utf-8") == text


def test_long_sounds_and_noisy_pictures_leave_a_card_below_2_mb(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    lines = ["one,two,three,clip,kind"]
    noise = rng.uniform(-0.9, 0.9, 16_000 * 30)
    for row in range(24):
        PIL.Image.fromarray(rng.integers(0, 256, (300, 300, 3), dtype=np.uint8)).save(f"{row}.png")
        soundfile.write(f"{row}.wav", noise, 16_000)
        lines.append(f"{row}.png,{row}.png,{row}.png,{row}.wav,{'ab'[row % 2]}")
    Path("big.csv").write_text("\n".join(lines))
    columns = "target.columns={image: {a: one, b: two, c: three}, audio: clip}"
    words = ["target=table", "target.path=big.csv", "target.label=kind", columns]
    assert main(["data", *words, "--out", "card.html"]) == 0
    assert 1_000_000 < Path("card.html").stat().st_size < 2_000_000


@pytest.mark.browser
def test_the_card_in_a_browser(shop, browser: Browser):
    assert main(["data", *shop, "--out", "card.html"]) == 0
    for width in (1200, 400):
        for dark in (False, True):
            shown = browser.open(Path("card.html"), width=width, dark=dark)
            assert shown.errors == shown.requests == []
            assert browser.find_wide() == []
            assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert browser.evaluate("document.querySelectorAll('.plot svg .mark-rect path').length") == 4
    pictures = "[...document.querySelectorAll('.samples img')]"
    assert browser.evaluate(f"{pictures}.filter((each) => each.naturalWidth > 0).length") == 24


def test_samples_are_the_rows_themselves(shop, capsys):
    main(["data", *shop, "--out", "card.html"])
    assert capsys.readouterr().out.endswith("data card: card.html\n")
    page = HtmlPage.read(Path("card.html"))
    picture = next(each for each in page.tags("img") if each["alt"].startswith("image,"))
    row = int(re.search(r"row (\d+)", picture["alt"])[1]) - 1
    assert f": {'abcd'[row % 4]}" in picture["alt"]
    shown = PIL.Image.open(io.BytesIO(base64.b64decode(picture["src"].split(",")[1])))
    assert shown.size == (60, 90)
    original = np.asarray(PIL.Image.open(f"{row}.png"), dtype=float)
    assert abs(np.asarray(shown, dtype=float) - original).max() < 3
    sound = page.tags("audio")[0]
    row = int(re.search(r"row (\d+)", sound["aria-label"])[1]) - 1
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(sound["src"].split(",")[1])))
    assert rate == 8000
    np.testing.assert_allclose(samples, soundfile.read(f"{row}.wav")[0], atol=1e-4)


def test_json_has_every_fact(shop, capsys):
    assert main(["data", *shop, "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert Path(found["card"]).is_file()
    assert found["card"].endswith(f"shop-{found['fingerprint'][:8]}.html")
    assert sum(found["splits"].values()) == 40
    assert found["modalities"]["image"]["tallies"][0] == {"name": "size", "rows": {"60×90": 40}}
    assert found["modalities"]["text"]["tallies"][0]["rows"] == {"Latin": 40}
    assert [each["use"] for each in found["columns"]] == [
        "image",
        "audio",
        "text",
        "tabular",
        "label",
    ]


def test_the_fingerprint_and_the_notes_are_those_of_a_run(shop, capsys):
    main(["data", *shop, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert main(["train", *shop, "source=none", "trainer.epochs=1", "modalities=[tabular]"]) == 0
    run = Path(capsys.readouterr().out.strip())
    assert json.loads((run / "manifest.json").read_text())["data"]["target"] == found["fingerprint"]
    logged = json.loads((run / "summary.json").read_text())["notes"]
    of_data = [note.removeprefix("shop: ") for note in logged if note.startswith("shop: ")]
    assert of_data
    assert set(of_data) <= set(found["notes"])


def test_several_targets_have_a_card_each(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "-m", "target=digits,digit_columns", "seed=3"]) == 0
    out = capsys.readouterr().out
    assert out.count("data card: ") == len(list(Path("outputs/data").glob("*.html"))) == 2
    assert main(["data", "target=digits,digit_columns"]) == 2
    assert "-m" in capsys.readouterr().err
    assert main(["data", "-m", "target=digits,digit_columns", "--out", "one.html"]) == 2
    assert "leave out --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["target=digit"],
        ["target=table", "target.path=none.csv", "target.label=y", "target.columns={text: t}"],
        ["target=digits", "target.pathh=3"],
        ["target=digits", "target.limit=0"],
        ["target=table"],
    ],
)
def test_errors_are_those_of_train(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = main(["train", "source=none", *words])
    by_train = capsys.readouterr().err
    assert main(["data", *words]) != 0
    by_data = capsys.readouterr().err
    assert code != 0
    first = next(line for line in by_data.splitlines() if line.strip() and "problem" not in line)
    assert first.removeprefix("mmx: ") in by_train
    assert list(Path().glob("outputs/data/*")) == []


def test_what_is_not_read_is_said_and_rows_are_not_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "target=digits", "fusion=gmu", "optimizer.lr=1"]) == 0
    err = capsys.readouterr().err
    assert "reads the target alone; fusion=gmu optimizer.lr=1 change nothing here" in err
    assert [path.name for path in Path("outputs").iterdir()] == ["data"]


def test_a_task_of_ones_own_needs_its_package_allowed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "data_own_pkg"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "tasks.py").write_text(
        "from mmx.tasks.digits import Digits\n\n\nclass Mine(Digits):\n    '''Mine.'''\n"
    )
    (tmp_path / "configs" / "task").mkdir(parents=True)
    (tmp_path / "configs/task/mine.yaml").write_text(
        "_target_: data_own_pkg.tasks.Mine\nname: mine\nlimit: 100\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    line = ["data", "--config-dir", "configs", "target=mine"]
    assert main(line) == 2
    assert "--allow data_own_pkg" in capsys.readouterr().err
    assert main([*line, "--allow", "data_own_pkg"]) == 0
    assert capsys.readouterr().out.startswith("mine: ")


def test_flags_are_completed_and_checked(capsys):
    assert "--out" in complete_line("mmx data --o")
    assert main(["data", "--out"]) == 2
    assert "--out card.html" in capsys.readouterr().err
    assert main(["data", "--cfg", "job"]) == 2
    assert main(["data", "--help"]) == 0
    assert "data card" in capsys.readouterr().out
