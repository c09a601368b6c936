"""Speech Commands: splits of its lists, sounds by value, speakers as groups."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from official_layouts import pack, sha256
from refusals import check_error

from mmx.errors import DataError
from mmx.tasks.fetching import RemoteFile
from mmx.tasks.speech_commands import SpeechCommands

SPEAKERS = ("0a7c", "1b2d", "3c4e", "5d6f")
"""The third is of val, the fourth of test."""
WORDS = ("yes", "bed")


def record(level: float) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.full(160, level), 16_000, format="WAV", subtype="PCM_16")
    return file.getvalue()


def find_level(word: str, speaker: str, take: int) -> float:
    return (WORDS.index(word) * 8 + SPEAKERS.index(speaker) * 2 + take + 1) / 32


@pytest.fixture(autouse=True)
def _published(publisher, monkeypatch):
    files = {
        f"./{word}/{speaker}_nohash_{take}.wav": record(find_level(word, speaker, take))
        for word in WORDS
        for speaker in SPEAKERS
        for take in (0, 1)
    }
    files["./_background_noise_/pink_noise.wav"] = record(0.9)
    for name, speaker in (("validation", "3c4e"), ("testing", "5d6f")):
        lines = [path[2:] for path in files if speaker in path]
        files[f"./{name}_list.txt"] = "\n".join(lines).encode() + b"\n"
    archive = pack(files)
    name = "speech_commands_v0.02.tar.gz"
    file = RemoteFile(name, publisher.put(name, archive), f"sha256:{sha256(archive)}")
    monkeypatch.setattr(SpeechCommands, "remote", (file,))
    rows = {"train": 8, "val": 4, "test": 4}
    monkeypatch.setattr(SpeechCommands, "facts", replace(SpeechCommands.facts, rows=rows))


def load(tmp_path, *, download: bool = True, **options):
    given = {"name": "speech_commands", "data_dir": str(tmp_path), "download": download}
    return SpeechCommands(**given, **options).load()


def test_rows_are_those_of_the_lists(tmp_path) -> None:
    data = load(tmp_path)
    assert data.target.classes == ("bed", "yes")
    column = data.columns["audio"]
    for split, speakers in (("train", "0a7c 1b2d"), ("val", "3c4e"), ("test", "5d6f")):
        rows = data.splits[split]
        names = [column.recordings[row].name.split("_nohash_") for row in rows]
        assert {speaker for speaker, _ in names} == set(speakers.split())
        for row, (speaker, take) in zip(rows, names, strict=True):
            samples, rate = column.read(int(row))
            word = data.target.classes[int(data.values[row])]
            assert rate == 16_000
            level = find_level(word, speaker, int(take[0]))
            assert samples[0] == pytest.approx(level, abs=1e-4)


def test_folds_keep_speakers_whole(tmp_path) -> None:
    options = {"group": "speaker", "folds": 4, "pool": "all"}
    tested = [load(tmp_path, fold=fold, **options) for fold in (1, 2, 3, 4)]
    for data in tested:
        rows = data.splits["test"]
        assert len({data.columns["audio"].recordings[row].name[:4] for row in rows}) == 1


def test_half_a_set_is_refused(tmp_path) -> None:
    load(tmp_path)
    folder = tmp_path / "SpeechCommands" / "speech_commands_v0.02"
    (folder / "yes" / "0a7c_nohash_1.wav").unlink()
    with pytest.raises(DataError) as error:
        load(tmp_path, download=False)
    check_error(error.value, "speech_commands", "7", "8", "train", types=["download=true"])
    (folder / "yes" / "5d6f_nohash_1.wav").unlink()
    with pytest.raises(DataError) as error:
        load(tmp_path, download=False)
    check_error(error.value, folder / "yes" / "5d6f_nohash_1.wav", types=["download=true"])
    assert len(load(tmp_path).splits["train"]) == 8
