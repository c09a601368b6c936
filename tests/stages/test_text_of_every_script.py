"""Every text encoder learns what differs in one sign, whatever the script."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmx import cli

SENTENCES = {
    "zh": "这部电影{}好看",
    "em": "order arrived {}",
    "hi": "यह शब्द {} है",
    "th": "หนังเรื่องนี้{}ดี",
}
SIGNS = {"zh": "很不", "em": "😀😡", "hi": ("मिला", "मेला"), "th": ("", "ไม่")}


@pytest.mark.parametrize("encoder", ["tfidf", "embedding_mean", "lstm", "text_cnn"])
def test_test_accuracy_is_above_0_95(tmp_path, capsys, encoder):
    lines = ["text,label"]
    for i in range(160):
        language = list(SENTENCES)[i // 2 % 4]
        lines.append(f"{SENTENCES[language].format(SIGNS[language][i % 2])} {i // 8},{'pn'[i % 2]}")
    (tmp_path / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    assert not cli.main(
        [
            "train", "source=none", "control=none", "target=table", f"target.path={tmp_path}/t.csv",
            "target.label=label", "target.columns={text: text}", f"encoder/text={encoder}",
            "trainer.epochs=40", "trainer.threads=1", "trainer.workers=0", "device=cpu",
            "cache=off", f"output_dir={tmp_path}/out",
        ]
    )  # fmt: skip
    run = Path(capsys.readouterr().out.strip())
    summary = json.loads((run / "summary.json").read_text())
    assert summary["target"]["metrics"]["test"]["accuracy"] > 0.95
