import numpy as np
import pytest
import soundfile
import torch

from mmx.errors import DataError
from mmx.modalities import Stored
from mmx.modalities.audio import Audio, AudioColumn, AudioSpec


def tone(hertz: float, rate: int, seconds: float) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def loudest(samples: torch.Tensor, rate: int) -> float:
    spectrum = torch.fft.rfft(samples.double()).abs()
    return float(spectrum.argmax()) * rate / len(samples)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 16000])
def test_a_440_hz_tone_stays_440_hz_and_keeps_its_length(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", tone(440, rate, 0.5), rate)
    audio = Audio(sample_rate=16000)
    column = AudioColumn([tmp_path / "a.wav"])
    spec = audio.fit(column, [0])
    stored = audio.encode(column, [0], spec)
    assert spec == AudioSpec(16000, 8000)
    assert stored.values.dtype == torch.int16
    assert stored.lengths.tolist() == [8000]
    inputs = audio.prepare(stored, spec)
    assert loudest(inputs[0], 16000) == pytest.approx(440, abs=2)
    assert float(inputs[0, 1000:7000].abs().max()) == pytest.approx(0.5, abs=0.02)


def test_rows_are_padded_cut_and_absent(tmp_path):
    soundfile.write(tmp_path / "short.wav", np.full(3, 0.25), 8000)
    soundfile.write(tmp_path / "long.wav", np.full(20, -0.5), 8000)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 8000)
    paths = [tmp_path / "long.wav", None, tmp_path / "short.wav", tmp_path / "empty.wav"]
    stored = Audio(sample_rate=8000).encode(AudioColumn(paths), range(4), AudioSpec(8000, 5))
    assert stored.values.tolist() == [
        [-16384] * 5, [0] * 5, [8192] * 3 + [0] * 2, [0] * 5
    ]  # fmt: skip
    assert stored.lengths.tolist() == [5, 0, 3, 1]


def test_channels_are_mixed(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([[0.5, 0.0], [0.5, -0.5]]), 8000)
    stored = Audio(sample_rate=8000).encode(
        AudioColumn([tmp_path / "a.wav"]), [0], AudioSpec(8000, 2)
    )
    assert stored.values.tolist() == [[8192, 0]]


def test_length_is_that_of_the_longest_training_row(tmp_path):
    for name, count in (("a", 100), ("b", 441), ("test", 900)):
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(count), 44100)
    column = AudioColumn([tmp_path / f"{name}.wav" for name in ("a", "b", "test")])
    assert Audio(sample_rate=16000).fit(column, [0, 1]) == AudioSpec(16000, 160)
    fixed = Audio(sample_rate=8000, max_seconds=0.5)
    assert fixed.fit(column, [0, 1]) == AudioSpec(8000, 4000)


def test_no_training_row_has_sound():
    with pytest.raises(DataError) as error:
        Audio().fit(AudioColumn([None]), [0])
    assert str(error.value) == (
        "max_seconds=null takes the longest training recording, "
        "but no training row has any sound\n"
        "  tip: give the audio a max_seconds, such as 1.0"
    )


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_arrays_survive_unchanged(dtype):
    counts = np.array([[0, 1, -32768, 32767]], dtype=np.int16)
    array = counts if dtype == np.int16 else (counts / 32768).astype(dtype)
    column = AudioColumn(array, sample_rate=8000)
    stored = Audio(sample_rate=8000).encode(column, [0], AudioSpec(8000, 4))
    assert stored.values.tolist() == counts.tolist()


def test_an_array_and_only_an_array_has_a_rate():
    message = r"^`sample_rate` belongs to an array of samples, and only to one$"
    with pytest.raises(ValueError, match=message):
        AudioColumn(np.zeros((1, 4)))
    with pytest.raises(ValueError, match=message):
        AudioColumn([None], sample_rate=8000)


def test_a_corrupt_sound_names_row_and_path(tmp_path):
    junk = tmp_path / "junk.wav"
    junk.write_bytes(b"not a sound")
    column = AudioColumn([None, junk])
    with pytest.raises(DataError) as error:
        Audio().encode(column, [0, 1], AudioSpec(16000, 4))
    assert error.value.message == f"row 2: cannot read sound {junk}: Format not recognised."
    with pytest.raises(DataError, match=r"^row 2: cannot read sound"):
        Audio().fit(column, [0, 1])


def test_shift_moves_sound_and_fills_with_silence():
    values = torch.arange(1, 11, dtype=torch.int16).repeat(50, 1)
    lengths = torch.full((50,), 10)
    lengths[0] = 0
    torch.manual_seed(0)
    stored = Audio(sample_rate=100, shift=0.03).augment(Stored(values, lengths))
    moved = set()
    for row, length in zip(stored.values[1:].tolist(), stored.lengths[1:].tolist(), strict=True):
        shift = row.index(1) if 1 in row else -(row[0] - 1)
        expected = [x if 1 <= (x := i + 1 - shift) <= 10 else 0 for i in range(10)]
        assert row == expected
        assert length == min(10, 10 + shift)
        moved.add(shift)
    assert moved == set(range(-3, 4))
    assert stored.lengths[0] == 0


def test_gain_changes_loudness_per_row_within_its_bounds():
    values = torch.full((200, 4), 1000, dtype=torch.int16)
    torch.manual_seed(0)
    stored = Audio(gain=6.0).augment(Stored(values, torch.full((200,), 4)))
    assert stored.values.dtype == torch.int16
    loudness = stored.values[:, 0]
    assert 501 <= int(loudness.min()) < 550
    assert 1800 < int(loudness.max()) <= 1996
    assert len(loudness.unique()) > 100
    loud = torch.full((20, 1), 32767, dtype=torch.int16)
    clipped = Audio(gain=6.0).augment(Stored(loud, torch.ones(20, dtype=torch.int64)))
    assert int(clipped.values.min()) > 0  # cut off, not wrapped around


def test_without_augmentation_nothing_is_drawn():
    state = torch.get_rng_state()
    stored = Stored(torch.ones(2, 4, dtype=torch.int16), torch.tensor([4, 4]))
    assert torch.equal(Audio().augment(stored).values, stored.values)
    assert torch.equal(torch.get_rng_state(), state)


def test_digest_is_content_not_path(tmp_path):
    for name, value in (("a", 0.1), ("b", 0.1), ("c", 0.2)):
        soundfile.write(tmp_path / f"{name}.wav", np.full(4, value), 8000)
    column = AudioColumn([tmp_path / f"{name}.wav" for name in "abc"])
    assert column.digest(0) == column.digest(1) != column.digest(2)
    samples = np.zeros((1, 4), dtype=np.int16)
    slow, fast = AudioColumn(samples, sample_rate=8000), AudioColumn(samples, sample_rate=16000)
    assert slow.digest(0) != fast.digest(0)


def test_bytes_per_row():
    assert Audio().bytes_per_row(AudioSpec(8000, 100)) == 208


def test_sounds_of_another_rate_are_named_with_what_makes_them_alike():
    slow, fast = AudioSpec(8000, 100), AudioSpec(16000, 100)
    assert Audio().other_scale(slow, AudioSpec(8000, 900)) is None
    assert Audio().other_scale(slow, fast) == (
        "the source's sounds have 16000 Hz, the target's 8000 Hz, and an encoder's bands reach up "
        "to half of that: target.audio.sample_rate=16000 or source.audio.sample_rate=8000 makes "
        "them alike"
    )
