import numpy as np
import pytest

from mmx.tasks import digits
from mmx.tasks.digits import Digits, load_images
from mmx.tasks.digits_av import SAMPLE_RATE, DigitsAv, dial, find_frequencies


def test_digits_are_the_images_of_scikit_learn():
    from sklearn.datasets import load_digits

    data, original = Digits(name="digits").load(), load_digits()
    image = data.columns["image"].images[5]
    assert image.dtype == np.uint8
    assert image.tolist() == [[round(x * 255 / 16) for x in row] for row in original.images[5]]
    assert data.values.tolist() == original.target.tolist()
    assert {name: len(rows) for name, rows in data.splits.items()} == {
        "train": 1294, "val": 144, "test": 359
    }  # fmt: skip


def test_the_file_of_scikit_learn_holds_what_scikit_learn_returns(monkeypatch):
    from sklearn.datasets import load_digits

    images, labels = load_images()
    original = load_digits()
    assert (images == np.rint(original.images * 255 / 16)).all()
    assert labels.tolist() == original.target.tolist()
    monkeypatch.setattr(digits, "find_spec", lambda name: None)  # its file is elsewhere
    again, same = load_images()
    assert (images == again).all()
    assert (labels == same).all()
    assert (again.dtype, same.dtype) == (images.dtype, labels.dtype) == (np.uint8, np.int64)


@pytest.mark.parametrize("seed", [0, 7])
def test_both_digits_tasks_split_alike(seed):
    digits = Digits(name="digits", split_seed=seed).load()
    both = DigitsAv(name="digits_av", split_seed=seed).load()
    for name in ("train", "val", "test"):
        assert digits.splits[name].tolist() == both.splits[name].tolist()
    assert (digits.digests["image"] == both.digests["image"]).all()
    few = DigitsAv(name="digits_av", split_seed=seed, per_class=10).load()
    assert len(few.splits["train"]) == len(few.splits["val"]) == 100
    assert set(few.splits["val"]) < set(digits.splits["val"])
    assert set(few.splits["train"]) < set(digits.splits["train"])


def test_frequencies_of_the_keypad():
    assert [find_frequencies(digit) for digit in (0, 1, 5, 9)] == [
        (941, 1336), (697, 1209), (770, 1336), (852, 1477)
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"^`digit` \(=11\) must be 0 to 9$"):
        find_frequencies(11)


@pytest.mark.parametrize("digit", range(10))
def test_a_tone_peaks_at_its_two_frequencies(digit):
    tone = dial(digit, row=3, snr_db=30).astype(float)
    power = np.abs(np.fft.rfft(tone)) ** 2
    hertz = np.fft.rfftfreq(len(tone), 1 / SAMPLE_RATE)
    low = hertz[np.where(hertz < 1000, power, 0).argmax()]
    high = hertz[np.where(hertz >= 1000, power, 0).argmax()]
    assert (low, high) == pytest.approx(find_frequencies(digit), abs=8)


def test_tones_are_drawn_by_row_and_drown_in_noise_as_asked():
    assert (dial(4, 1, -12) == dial(4, 1, -12)).all()
    assert (dial(4, 1, -12) != dial(4, 2, -12)).any()
    power = {snr: np.mean([np.var(dial(4, row, snr) / 32768) for row in range(50)])
             for snr in (-60, 0)}  # fmt: skip
    noise = power[-60]
    assert noise == pytest.approx(0.1**2, rel=0.05)
    # At 0 dB, ±3 dB uniform, half of the time: the mean of 10^(x/10) is 1.08.
    assert (power[0] - noise) / noise == pytest.approx(0.5 * 1.08, rel=0.15)


def test_sound_belongs_to_the_digit_of_its_row():
    data = DigitsAv(name="digits_av", snr_db=40).load()
    tones = data.columns["audio"].recordings
    for row in (0, 17, 1796):
        spectrum = np.abs(np.fft.rfft(tones[row].astype(float)))
        hertz = np.fft.rfftfreq(tones.shape[1], 1 / SAMPLE_RATE)
        low = hertz[np.where(hertz < 1000, spectrum, 0).argmax()]
        assert low == pytest.approx(find_frequencies(int(data.values[row]))[0], abs=10)
