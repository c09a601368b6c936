"""Draw the pictures of README and docs from real runs.

    python scripts/pictures.py [report data sweep ...] [--work FOLDER]

Each picture is a page of mmx, or what a command prints, in a headless Chromium. Runs are kept in
FOLDER (default: build/pictures) and taken from there the next time. Data comes with mmx, but for
``published``: news of ``MMX_DATA_DIR``, and weights of ``scripts/install --weights``.
"""

from __future__ import annotations

import argparse
import csv
import html
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "docs")]

from browser import Browser  # noqa: E402  the one that tests drive
from docs_pages import read_blocks  # noqa: E402
from real_weights import find_minilm  # noqa: E402  of scripts/install --weights

PICTURES = ROOT / "docs" / "pictures"
LARGEST = 150_000
"""Bytes of a picture at most."""
TABLE = [
    "target=table",
    "target.path=numbers.csv",
    "target.label=number",
    "target.columns={image: image, text: caption}",
    "target.image.size=8",
]
HALVES = [
    "target=table",
    "target.path=halves.csv",
    "target.label=number",
    "target.columns={image: {left: left, right: right}}",
    "target.per_class=20",
]
TERMINAL = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 20px 24px; background: #f6f8fa; color: #1f2328 }}
pre {{ margin: 0; font: 14px/1.45 "DejaVu Sans Mono", monospace; white-space: pre-wrap }}
b {{ color: #00695c }}</style>{}"""
MARGIN = 24
"""Pixels around what a picture shows."""
NARROWEST = 700
"""Pixels of a page that a picture shows at least, so that its text is as small as that of docs."""
FIND_FRAME = """
((start, stop, height, margin) => {
  const find_top = (text) => [...document.querySelectorAll('h1, h2, h3')]
    .find((each) => each.textContent.trim() === text).getBoundingClientRect().top + scrollY;
  const whole = 'figure, li, tr, p, pre, dl, h1, h2, h3, img, svg, canvas, button, input, textarea';
  const solid = 'li, img, svg, canvas, button, input, textarea';
  const boxes = [...document.querySelectorAll('body *')]
    .filter((each) => each.checkVisibility() && (each.matches(whole) || !each.children.length))
    .map((each) => {
      const inside = document.createRange();
      inside.selectNodeContents(each);
      const [box, text] = [each, inside].map((part) => part.getBoundingClientRect());
      const right = each.matches(solid) ? box.right : text.right;
      return {top: box.top + scrollY, bottom: box.bottom + scrollY, right};
    })
    .filter((box) => box.bottom > box.top);
  const top = start ? find_top(start) : 0;
  let bottom = Math.min(top + height, stop ? find_top(stop) - 1 : Infinity);
  const is_cut = (box) => box.top < bottom - 1 && box.bottom > bottom + 1;
  while (boxes.some(is_cut)) bottom = Math.min(...boxes.filter(is_cut).map((box) => box.top));
  const seen = boxes.filter((box) => box.top >= top && box.bottom <= bottom + 1);
  const last = Math.max(...seen.map((box) => box.bottom));
  const above = boxes.map((box) => box.bottom).filter((each) => each <= top);
  const below = boxes.map((box) => box.top).filter((each) => each > last);
  return {
    top: Math.max(0, top - margin, ...above.map((each) => each + 2)),
    bottom: Math.min(last + margin, ...below.map((each) => each - 2)),
    right: Math.max(...seen.map((box) => box.right)) + margin,
  };
})
"""
"""The part of a page between headings, as high as may be without a cut through anything."""


class Studio:
    """Runs commands in a work folder, and takes pictures of what they leave.

    Args:
        work: Where runs are kept.
        browser: Which shows pages.
        variables: Of the environment of its commands, besides those that are set.
    """

    def __init__(
        self, work: Path, browser: Browser, variables: Mapping[str, str] | None = None
    ) -> None:
        self.work = work
        self.browser = browser
        self.variables = {**os.environ, **(variables or {})}

    def run(self, *command: str) -> str:
        """Run a command of this environment in the work folder, and return its stdout."""
        program = str(Path(sys.executable).parent / command[0])
        found = subprocess.run(
            [program, *command[1:]],
            cwd=self.work,
            env=self.variables,
            capture_output=True,
            text=True,
            check=False,
        )
        if found.returncode:
            raise SystemExit(f"{' '.join(command)}\n{found.stderr}")
        return found.stdout

    def keep(self, name: str, *command: str) -> Path:
        """Return the path that a command prints last, of an earlier call where there is one."""
        note = self.work / f"{name}.path"
        if not note.is_file():
            last = self.run(*command).strip().splitlines()[-1]
            note.write_text(last.removeprefix("data card: "), encoding="utf-8")
        return self.work / note.read_text(encoding="utf-8")

    def shoot(
        self,
        name: str,
        page: Path,
        *,
        start: str = "",
        stop: str = "",
        height: int = 1000,
        width: int = 1000,
    ) -> None:
        """Keep a part of a page as a picture.

        Args:
            name: Of the picture.
            page: A file.
            start: The heading at which the part begins; without it, the top of the page.
            stop: The heading before which it ends.
            height: At most so many pixels, and fewer where that would cut through something.
            width: Of the window.
        """
        self.browser.open(page, width=width)
        self.capture(name, start=start, stop=stop, height=height, width=width)

    def capture(self, name: str, *, start: str, stop: str, height: int, width: int) -> None:
        """Keep a part of the page that is open; see shoot."""
        # As high as the page: Chromium lays a page out anew where it captures beyond the window.
        whole = self.browser.evaluate("document.documentElement.scrollHeight")
        self.browser.ask("Emulation.setDeviceMetricsOverride", width=width, height=whole,
                         deviceScaleFactor=1, mobile=False)  # fmt: skip
        frame = self.browser.evaluate(f"{FIND_FRAME}({start!r}, {stop!r}, {height}, {MARGIN})")
        clip = {
            "x": 0,
            "y": frame["top"],
            "width": min(width, max(frame["right"], NARROWEST)),
            "height": frame["bottom"] - frame["top"],
            "scale": min(1.5, 1500 / width),
        }
        shot = self.browser.ask("Page.captureScreenshot", clip=clip)
        save(name, b64decode(shot["data"]))

    def show_terminal(self, name: str, *commands: tuple[str, str]) -> None:
        """Keep commands and what they print as a picture."""
        lines = []
        for typed, printed in commands:
            lines.append(f"<b>$ {html.escape(typed)}</b>")
            lines += map(html.escape, printed.rstrip().splitlines())
            lines.append("")
        page = self.work / f"{name}.html"
        rows = (f"<pre>{line or ' '}</pre>" for line in lines[:-1])
        page.write_text(TERMINAL.format("".join(rows)), encoding="utf-8")
        self.shoot(name, page)


def save(name: str, picture: bytes) -> None:
    """Save a picture with few colours, so that it is small."""
    path = PICTURES / f"{name}.png"
    with Image.open(io.BytesIO(picture)) as shown:
        for colours in (128, 64, 32):
            few = shown.convert("RGB").quantize(colors=colours, dither=Image.Dither.NONE)
            few.save(path, optimize=True)
            if path.stat().st_size <= LARGEST:
                break
    print(f"{path.relative_to(ROOT)} {path.stat().st_size:,} bytes {few.size}")
    assert path.stat().st_size <= LARGEST


def make_tables(work: Path) -> None:
    """Write the table of the tutorial, by its own code, and one of halves of digits."""
    if (work / "halves.csv").is_file():
        return
    text = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    code = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[0]
    subprocess.run([sys.executable, "-c", code], cwd=work, check=True)
    digits = load_digits()
    (work / "halves").mkdir()
    with (work / "halves.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["left", "right", "number"])
        for row, (pixels, number) in enumerate(zip(digits.images, digits.target, strict=True)):
            names = [f"halves/{row}-{side}.png" for side in ("left", "right")]
            for name, half in zip(names, np.split(pixels, 2, axis=1), strict=True):
                Image.fromarray((half * 15).astype("uint8")).save(work / name)
            table.writerow([*names, f"number {number}"])


def draw_report(studio: Studio) -> None:
    run = studio.keep("demo", "mmx", "train")
    studio.shoot("report", run / "report.html", height=1100)


def draw_data(studio: Studio) -> None:
    card = studio.keep("data", "mmx", "data", *TABLE[:-1])
    studio.shoot("data", card, stop="Columns", height=1100)


def draw_own_data(studio: Studio) -> None:
    card = studio.keep("data", "mmx", "data", *TABLE[:-1])
    studio.shoot("own_data", card, start="Columns", height=800)


def draw_arrays(studio: Studio) -> None:
    card = studio.keep("arrays", "mmx", "data", "target=moving_profiles")
    studio.shoot("arrays", card, start="Samples", height=700)


def draw_video(studio: Studio) -> None:
    card = studio.keep("video", "mmx", "data", "target=moving_digits")
    studio.shoot("video", card, start="Samples", height=500)


def draw_inputs(studio: Studio) -> None:
    run = studio.keep("halves", "mmx", "train", "source=none", *HALVES, "control=unimodal")
    studio.shoot("inputs", run / "report.html", stop="Learning curves")


def train_table(studio: Studio) -> Path:
    """Return the run of the tutorial."""
    source = ["source=digits", 'source.classes=["0","1","2","3","4"]']
    return studio.keep("table", "mmx", "train", *source, *TABLE, "target.per_class=10")


def draw_tutorial(studio: Studio) -> None:
    studio.shoot("tutorial", train_table(studio) / "report.html", height=1100)


def draw_predict(studio: Studio) -> None:
    run = train_table(studio).relative_to(studio.work)
    studio.run("mmx", "predict", str(run), "numbers.csv", "--output", "answers.csv")
    with (studio.work / "answers.csv").open(encoding="utf-8") as file:
        first = "".join(next(file) for _ in range(6))
    studio.show_terminal(
        "predict", ("mmx predict $RUN numbers.csv --output answers.csv; head -6 answers.csv", first)
    )


def draw_explain(studio: Studio) -> None:
    page = studio.keep("explain", "mmx", "explain", str(train_table(studio)))
    studio.shoot("explain", page, height=1200)


def draw_export(studio: Studio) -> None:
    run = str(train_table(studio).relative_to(studio.work))
    folder = studio.keep("export", "mmx", "export", run, "--format", "onnx")
    shutil.copy(studio.work / "images" / "5.png", folder / "five.png")
    rows = '[{"image": "five.png", "text": "an odd number"}, {"text": "an even number"}]'
    (folder / "rows.json").write_text(rows + "\n", encoding="utf-8")
    made = ("model.onnx", "model.json", "run_model.py", "readers", "README.md", "LICENCES.md")
    assert all((folder / name).exists() for name in made)
    answers = Studio(folder, studio.browser).run("python", "run_model.py", "rows.json")
    place = str(folder.relative_to(studio.work)).replace(run, "$RUN")
    studio.show_terminal(
        "export",
        ("mmx export $RUN --format onnx", place),
        (f"cd {place}; ls", "   ".join(made)),
        ("cat rows.json", rows),
        ("python run_model.py rows.json", answers),
    )


def draw_python(studio: Studio) -> None:
    train_sweep(studio)
    lines = [
        "import mmx",
        'columns = ["source", "seed", "test.accuracy", "gain"]',
        'found = mmx.list_runs("outputs", "target=digits_av", "fusion=gated", columns=columns)',
    ]
    table = studio.run("python", "-c", "\n".join([*lines, "print(found[columns])"]))
    typed = "\n".join(f">>> {line}" for line in [*lines, "found[columns]"])
    studio.show_terminal("python", ("python", f"{typed}\n{table}"))


def train_sweep(studio: Studio) -> Path:
    """Return a sweep over sources, fusions and seeds."""
    values = ["source=none,digits", "fusion=concat,gated,late_mean", "seed=1,2"]
    line = ["-m", "target=digits_av", *values, "trainer.epochs=6"]
    return studio.keep("sweep", "mmx", "train", *line)


def draw_sweep(studio: Studio) -> None:
    studio.shoot("sweep", train_sweep(studio) / "sweep.html", height=480)


def draw_compare(studio: Studio) -> None:
    sweep = train_sweep(studio)
    page = studio.work / "compare.html"
    by = ["--by", "source,fusion", "--format", "html"]
    page.write_text(studio.run("mmx", "compare", str(sweep), *by), encoding="utf-8")
    studio.shoot("compare", page, stop="Time")


def draw_search(studio: Studio) -> None:
    line = [
        *("source=none", "target=digits", "optimizer.lr=log(1e-4,1e-2)"),
        *("trainer.batch_size=32..256", "trials=6", "trainer.epochs=4"),
    ]
    sweep = studio.keep("search", "mmx", "search", *line)
    with (sweep / "trials.csv").open(encoding="utf-8") as file:
        table = "".join(file)
    studio.show_terminal("search", ("cat outputs/sweeps/search-*/trials.csv", table))


def draw_serve(studio: Studio) -> None:
    run = str(train_table(studio))
    server = subprocess.Popen(
        [str(Path(sys.executable).parent / "mmx"), "serve", run, "--port", "8765"],
        cwd=studio.work,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(120):
            studio.browser.ask("Page.navigate", url="http://127.0.0.1:8765/")
            if studio.browser.evaluate("!!document.querySelector('form')"):
                break
            time.sleep(0.5)
        picture = studio.work / "images" / "5.png"
        root = studio.browser.ask("DOM.getDocument")["root"]["nodeId"]
        field = studio.browser.ask("DOM.querySelector", nodeId=root, selector="[type=file]")
        studio.browser.ask("DOM.setFileInputFiles", files=[str(picture)], nodeId=field["nodeId"])
        studio.browser.evaluate("document.querySelector('textarea').value = 'an odd number'")
        studio.browser.evaluate("document.querySelector('form').requestSubmit()")
        studio.browser.wait("!['', '…'].includes(document.getElementById('answer').textContent)")
        studio.browser.emulate()
        studio.capture("serve", start="", stop="", height=1000, width=1000)
    finally:
        server.terminate()
        server.wait()


def draw_published(studio: Studio) -> None:
    news = Path(os.environ["MMX_DATA_DIR"]).resolve() / "ag_news" / "news.csv"
    table = ["target=table", f"target.path={news}", "target.label=topic", "target.per_class=10"]
    columns = "target.columns={text: [title, description]}"
    text = ["encoder/text=transformers", f"encoder.text.model={find_minilm()}"]
    steps = ["optimizer.lr=1e-4", "trainer.batch_size=8"]
    line = ["source=published", *table, columns, *text, *steps]
    run = studio.keep("published", "mmx", "train", *line)
    studio.shoot("published", run / "report.html", stop="Learning curves")


def draw_parts(studio: Studio) -> None:
    typed = "mmx help fusion=low_rank"
    studio.show_terminal("parts", (typed, studio.run(*typed.split())))


def draw_clusters(studio: Studio) -> None:
    sweep = train_sweep(studio)
    typed = f"mmx sweep status {sweep.name}"
    shown = re.sub(r"\d{8}-\d{6}-\d{6}_\S+(?=-\w{4}$)", "…", studio.run(*typed.split()), flags=re.M)
    studio.show_terminal("clusters", (typed, shown))


def draw_several_processes(studio: Studio) -> None:
    line = ["source=none", "target=moving_profiles", "control=none", "trainer.epochs=2"]
    runs = [
        studio.keep(f"processes_{count}", "mmx", "train", *line, f"processes={count}")
        for count in (1, 2)
    ]
    names = [str(run.relative_to(studio.work)) for run in runs]
    printed = studio.run("mmx", "compare", *names)
    for name, short in zip(names, ("$ONE", "$TWO"), strict=True):
        printed = printed.replace(name, short)
    studio.show_terminal("several_processes", ("mmx compare $ONE $TWO", printed))


def draw_trackers(studio: Studio) -> None:
    sweep = train_sweep(studio).relative_to(studio.work)
    studio.run("mmx", "mirror", str(sweep), "--to", "tensorboard")
    words = ["tensorboard", "--logdir", "outputs/tensorboard", "--port", "8766"]
    server = subprocess.Popen(
        [str(Path(sys.executable).parent / words[0]), *words[1:]],
        cwd=studio.work,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        page = "http://127.0.0.1:8766/?tagFilter=val.accuracy#timeseries"
        studio.browser.ask("Emulation.setDeviceMetricsOverride", width=1200, height=760,
                           deviceScaleFactor=1, mobile=False)  # fmt: skip
        for _ in range(120):
            studio.browser.ask("Page.navigate", url=page)
            if studio.browser.evaluate("!!document.querySelector('app-root, tb-webapp')"):
                break
            time.sleep(0.5)
        studio.browser.wait("document.querySelectorAll('card-view').length > 1")
        studio.browser.evaluate(
            "[...document.querySelectorAll('button')]"
            ".find((each) => each.innerText.includes('Settings')).click()"
        )
        time.sleep(20)  # it draws lines when it comes to it
        shot = studio.browser.ask("Page.captureScreenshot")
        save("trackers", b64decode(shot["data"]))
    finally:
        server.terminate()
        server.wait()


def draw_own_package(studio: Studio) -> None:
    folder = studio.work / "own_package"
    if not folder.is_dir():
        shutil.copytree(ROOT / "examples" / "own_part", folder / "own_part")
        install = ["pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
        studio.run(*install, "--target", str(folder / "site"), str(folder / "own_part"))
    inside = Studio(folder, studio.browser, {"PYTHONPATH": str(folder / "site")})
    typed = "mmx help fusion=maximum --allow own_part"
    studio.show_terminal(
        "own_package", ("pip install ./own_part", ""), (typed, inside.run(*typed.split()))
    )


def show_check(studio: Studio, guide: str) -> None:
    """Keep what the guide's checks and tests print, of its own files in a folder of their own."""
    blocks = list(read_blocks(ROOT / "docs" / "guides" / f"{guide}.md"))
    inside = Studio(studio.work / guide, studio.browser)
    for block in blocks:
        if block.file:
            path = inside.work / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
    (script,) = (block.text for block in blocks if block.marker == "run")
    lines = script.replace("\\\n", " ").splitlines()
    check, test = lines[0].split(), lines[1].split()
    studio.show_terminal(
        guide,
        (lines[0], inside.run(*check)),
        (lines[1], re.sub(r" in [\d.]+s", "", inside.run(*test))),
    )


def draw_add_fusion(studio: Studio) -> None:
    show_check(studio, "add_fusion")


def draw_add_encoder(studio: Studio) -> None:
    show_check(studio, "add_encoder")


def draw_add_task(studio: Studio) -> None:
    show_check(studio, "add_task")


def draw_add_metric(studio: Studio) -> None:
    show_check(studio, "add_metric")


def draw_add_regularizer(studio: Studio) -> None:
    show_check(studio, "add_regularizer")


def find_drawings() -> Iterator[tuple[str, Callable[[Studio], None]]]:
    """Yield each picture's name and what draws it."""
    for name, value in globals().items():
        if name.startswith("draw_"):
            yield name.removeprefix("draw_"), value


def main() -> None:
    drawings = dict(find_drawings())
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="PICTURE", help=", ".join(drawings))
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "pictures")
    given = parser.parse_args()
    if unknown := set(given.names) - set(drawings):
        parser.error(f"no such picture: {', '.join(unknown)}; there are {', '.join(drawings)}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    given.work.mkdir(parents=True, exist_ok=True)
    PICTURES.mkdir(exist_ok=True)
    make_tables(given.work)
    with tempfile.TemporaryDirectory() as folder, Browser(Path(folder)) as browser:
        for name in given.names or drawings:
            drawings[name](Studio(given.work, browser))


if __name__ == "__main__":
    main()
