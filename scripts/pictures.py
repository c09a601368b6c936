"""Draw the pictures of README and docs from real runs.

    python scripts/pictures.py [report data sweep ...] [--work FOLDER]

Each picture is a page of mmx, or what a command prints, in a headless Chromium. Runs are kept in
FOLDER (default: build/pictures) and taken from there the next time. All data but that of
``published`` comes with mmx; that one needs MMX_DATA_DIR with ag_news, and the small weights of
scripts/install --weights. Takes about 10 minutes on two cores, the first time.
"""

from __future__ import annotations

import argparse
import csv
import html
import io
import os
import re
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "docs")]

from browser import Browser  # noqa: E402  the one that tests drive
from docs_pages import read_blocks  # noqa: E402

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
    """

    def __init__(self, work: Path, browser: Browser) -> None:
        self.work = work
        self.browser = browser

    def run(self, *command: str) -> str:
        """Run a command of this environment in the work folder, and return its stdout."""
        program = str(Path(sys.executable).parent / command[0])
        found = subprocess.run(
            [program, *command[1:]], cwd=self.work, capture_output=True, text=True, check=False
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
        frame = self.browser.evaluate(f"{FIND_FRAME}({start!r}, {stop!r}, {height}, {MARGIN})")
        clip = {
            "x": 0,
            "y": frame["top"],
            "width": min(width, max(frame["right"], NARROWEST)),
            "height": frame["bottom"] - frame["top"],
            "scale": 1.5,
        }
        shot = self.browser.ask("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
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


def draw_tutorial(studio: Studio) -> None:
    studio.shoot("tutorial", train_table(studio) / "report.html", height=1100)


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
    sizes = [f"{each.stat().st_size:>9,}  {each.name}" for each in sorted(folder.iterdir())]
    place = str(folder.relative_to(studio.work)).replace(run, "$RUN")
    studio.show_terminal(
        "export", ("mmx export $RUN --format onnx", f"{place}\n"), ("ls", "\n".join(sizes))
    )


def draw_python(studio: Studio) -> None:
    train_sweep(studio)
    code = (
        "import mmx\n"
        'found = mmx.list_runs("outputs", "target=digits_av", "fusion=gated", '
        'columns=["source", "seed", "test.accuracy", "gain"])\n'
    )
    shown = studio.run("python", "-c", code + "print(found.drop(columns='run').to_string())")
    studio.show_terminal("python", ("python", ">>> " + code.replace("\nf", "\n>>> f") + shown))


def train_sweep(studio: Studio) -> Path:
    """Return a sweep over sources, fusions and seeds."""
    values = ["source=none,digits", "fusion=concat,gated,late_mean", "seed=1,2"]
    line = ["-m", "target=digits_av", *values, "trainer.epochs=6"]
    return studio.keep("sweep", "mmx", "train", *line)


def draw_sweep(studio: Studio) -> None:
    studio.shoot("sweep", train_sweep(studio) / "sweep.html", height=1000)


def draw_compare(studio: Studio) -> None:
    sweep = train_sweep(studio)
    page = studio.work / "compare.html"
    by = ["--by", "source,fusion", "--format", "html"]
    page.write_text(studio.run("mmx", "compare", str(sweep), *by), encoding="utf-8")
    studio.shoot("compare", page, height=1000)


def draw_search(studio: Studio) -> None:
    line = [
        *("source=digits", "target=digits_av", "optimizer.lr=log(1e-4,1e-2)"),
        *("fusion=concat,gated", "trials=8", "trainer.epochs=4"),
    ]
    run = studio.keep("search", "mmx", "search", *line)
    sweep = next(each for each in run.parents if each.name.startswith("search-"))
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
        studio.browser.evaluate("document.querySelector('textarea').value = 'an odd number'")
        studio.browser.evaluate("document.querySelector('form').requestSubmit()")
        time.sleep(3)
        studio.browser.emulate()
        studio.capture("serve", start="", stop="", height=1000, width=1000)
    finally:
        server.terminate()
        server.wait()


def draw_published(studio: Studio) -> None:
    from real_weights import find_minilm  # installed by scripts/install --weights

    folder = find_minilm()
    words = [
        *("experiment=ag_news_from_minilm", f"encoder.text.model={folder}"),
        *("transfer=feature", "transfer.head=logistic"),
    ]
    run = studio.keep("published", "mmx", "train", *words)
    studio.shoot("published", run / "report.html", stop="Learning curves")


def draw_parts(studio: Studio) -> None:
    typed = "mmx help fusion=low_rank"
    studio.show_terminal("parts", (typed, studio.run(*typed.split())))


def draw_clusters(studio: Studio) -> None:
    line = [
        *("-m", "source=none,digits", "target=digits_av", "seed=1,2", "trainer.epochs=2"),
        *("hydra/launcher=submitit", "hydra.launcher.cluster=local"),
    ]
    sweep = studio.keep("cluster", "mmx", "train", *line)
    typed = ["mmx sweep ls", f"mmx sweep status {sweep.name}"]
    studio.show_terminal("clusters", *((each, studio.run(*each.split())) for each in typed))


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
