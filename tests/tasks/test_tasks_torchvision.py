"""Sets of torchvision by name, of each kind of reading: arrays, paths, opened files, no splits."""

from __future__ import annotations

import bz2
import io
import zipfile

import numpy as np
import pytest
import torchvision.datasets
from official_layouts import draw, md5, pack, publish_mnist, put_folder, shade
from refusals import check_error

from mmx.errors import DataError
from mmx.tasks.torchvision import SETS, TorchvisionSet, find_set
from mmx.tasks.torchvision_rows import join_class_names, list_set_rows


def load(name, tmp_path, **options):
    return TorchvisionSet(name=name, data_dir=str(tmp_path), **options).load()


def test_every_set_is_one_of_torchvision() -> None:
    for name in SETS:
        assert name in torchvision.datasets.__all__
        assert find_set(name.lower()) == name
    assert find_set("oxford_iiit_pet") == "OxfordIIITPet"


def test_arrays(publisher, monkeypatch, tmp_path) -> None:
    made = publish_mnist(publisher, torchvision.datasets.KMNIST, monkeypatch)
    data = load("kmnist", tmp_path, download=True)
    rows = data.splits["test"]
    assert np.array_equal(data.columns["image"].images[rows], made["test"][0])
    assert data.values[rows].tolist() == made["test"][1].tolist()
    assert data.target.classes[:3] == ("o", "ki", "su")


def test_letters_are_upright_and_count_from_a(tmp_path) -> None:
    folder = tmp_path / "EMNIST" / "raw"
    given = {}
    for part, count in (("train", 104), ("test", 26)):
        given[part] = np.stack([shade(28, 28, seed=count + n) for n in range(count)])
        labels = 1 + np.arange(count) % 26
        for kind, magic, array in (
            ("images-idx3", 2051, given[part]),
            ("labels-idx1", 2049, labels),
        ):
            head = np.array([magic, *array.shape], dtype=">u4").tobytes()
            content = head + array.astype(np.uint8).tobytes()
            put_folder(folder, {f"emnist-letters-{part}-{kind}-ubyte": content})
    data = load("emnist", tmp_path, options={"split": "letters"})
    found = data.columns["image"].images[data.splits["test"]]
    assert np.array_equal(found, given["test"].transpose(0, 2, 1))  # the files hold columns first
    assert data.target.classes == tuple("abcdefghijklmnopqrstuvwxyz")
    assert data.values[data.splits["test"]].tolist() == list(range(26))


def test_without_splits_test_is_cut(publisher, monkeypatch, tmp_path) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(10):
            for name in ("Forest", "River"):
                content = draw(shade(8, 8, 3, seed=number), "jpeg")
                file.writestr(f"2750/{name}/{name}_{number}.jpg", content)
    address = publisher.put("EuroSAT.zip", archive.getvalue())

    def fetch(url, download_root, md5):  # its address stands in the function that fetches it
        real(address, download_root, md5=own)

    own, real = md5(archive.getvalue()), torchvision.datasets.utils.download_and_extract_archive
    monkeypatch.setattr("torchvision.datasets.eurosat.download_and_extract_archive", fetch)
    data = load("EuroSAT", tmp_path, download=True, test_fraction=0.4)
    sizes = {split: len(rows) for split, rows in data.splits.items()}
    assert sizes == {"train": 10, "val": 2, "test": 8} or sum(sizes.values()) == 20
    assert sizes["test"] == 8
    images = data.columns["image"].images
    assert all(
        images[row].parent.name == data.target.classes[int(data.values[row])] for row in range(20)
    )


def test_three_splits_of_paths_and_an_option(publisher, monkeypatch, tmp_path) -> None:
    files = {
        f"dtd/images/{c}/{c}_{i}.jpg": draw(shade(8, 8, 3), "jpeg") for c in "ab" for i in "123"
    }
    for split, number in (("train", "1"), ("val", "2"), ("test", "3")):
        lines = [f"b/b_{number}.jpg", f"a/a_{number}.jpg"]
        files[f"dtd/labels/{split}2.txt"] = "\n".join(lines).encode()
    archive = pack(files)
    official = torchvision.datasets.DTD
    monkeypatch.setattr(official, "_URL", publisher.put("dtd.tar.gz", archive))
    monkeypatch.setattr(official, "_MD5", md5(archive))
    data = load("dtd", tmp_path, download=True, options={"partition": 2})
    images = data.columns["image"].images
    for split, number in (("train", "1"), ("val", "2"), ("test", "3")):
        rows = data.splits[split]
        assert [images[row].name for row in rows] == [f"b_{number}.jpg", f"a_{number}.jpg"]
        assert data.values[rows].tolist() == [1, 0]


def test_opened_files_stay_files(tmp_path) -> None:
    root = tmp_path / "caltech101" / "101_ObjectCategories"
    sizes = {
        f"{name}/image_000{n}.jpg": (8 + n, 9) for name in ("ant", "bass") for n in (1, 2, 3, 4)
    }
    put_folder(root, {name: draw(shade(*size, 3), "jpeg") for name, size in sizes.items()})
    (root / "BACKGROUND_Google").mkdir()
    data = load("caltech101", tmp_path, test_fraction=0.25)
    images = data.columns["image"].images
    assert sorted(f"{path.parent.name}/{path.name}" for path in images) == sorted(sizes)
    assert data.target.classes == ("ant", "bass")


def test_images_of_many_sizes_keep_their_pixels(tmp_path) -> None:
    pixels = [shade(5 + n, 6, 3, seed=n) for n in range(6)]
    training = tmp_path / "gtsrb" / "GTSRB" / "Training"
    put_folder(training, {f"0000{n % 2}/{n}.ppm": draw(pixels[n], "ppm") for n in range(4)})
    images = tmp_path / "gtsrb" / "GTSRB" / "Final_Test" / "Images"
    put_folder(images, {f"{n}.ppm": draw(pixels[n], "ppm") for n in (4, 5)})
    answers = "Filename;Width;Height;ClassId\n4.ppm;6;9;1\n5.ppm;6;10;0\n"
    (tmp_path / "gtsrb" / "GT-final_test.csv").write_text(answers)
    data = load("gtsrb", tmp_path, val_fraction=0.5)
    column, rows = data.columns["image"], data.splits["test"]
    from mmx.modalities.image import read_image

    assert data.values[rows].tolist() == [1, 0]
    for row, number in zip(rows, (4, 5), strict=True):
        assert np.array_equal(read_image(column, int(row), None), pixels[number])


def test_classes_without_names_are_numbers(publisher, monkeypatch, tmp_path) -> None:
    splits = {}
    for split, seed in (("train", 0), ("test", 1)):
        values = np.random.default_rng(seed).uniform(-1, 1, (20, 256))
        lines = [
            " ".join([str(n % 10 + 1), *(f"{i + 1}:{v:.4f}" for i, v in enumerate(row))])
            for n, row in enumerate(values)
        ]
        content = bz2.compress("\n".join(lines).encode())
        name = f"usps.{split}.bz2"
        splits[split] = [publisher.put(name, content), name, md5(content)]
    monkeypatch.setattr(torchvision.datasets.USPS, "split_list", splits)
    data = load("usps", tmp_path, download=True)
    assert data.target.classes == tuple("0123456789")
    assert data.values[data.splits["test"]].tolist() == [n % 10 for n in range(20)]
    assert data.columns["image"].images.shape == (40, 16, 16)


def test_two_classes_of_pets_have_their_names(tmp_path) -> None:
    root = tmp_path / "oxford-iiit-pet"
    kinds = {"Abyssinian": (1, 1), "beagle": (2, 2), "pug": (3, 2)}
    for split, number in (("trainval", 1), ("test", 2)):
        names = {f"{kind}_{number}{i}": of for kind, of in kinds.items() for i in (1, 2)}
        lines = [f"{name} {breed} {species} 1" for name, (breed, species) in names.items()]
        put_folder(root / "annotations", {f"{split}.txt": "\n".join(lines).encode()})
        images = {f"{name}.jpg": draw(shade(8, 9, 3), "jpeg") for name in names}
        put_folder(root / "images", images)
    options = {"target_types": "binary-category"}
    data = load("oxford_iiit_pet", tmp_path, options=options)
    assert data.target.classes == ("Cat", "Dog")
    assert data.values[data.splits["test"]].tolist() == [0, 0, 1, 1, 1, 1]
    assert load("oxford_iiit_pet", tmp_path).target.classes == ("Abyssinian", "Beagle", "Pug")


@pytest.mark.parametrize("label", [None, 0.5, np.zeros((2, 8)), (1, 2)])
def test_a_row_without_a_class_is_refused(label: object) -> None:
    with pytest.raises(ValueError, match="row 1 has no class"):
        list_set_rows([("a.jpg", label)])


def test_a_number_stands_for_one_class_in_all_splits() -> None:
    assert join_class_names([["0", "1"], ["0", "1", "2"]]) == ("0", "1", "2")
    assert join_class_names([["0", "1", "2"], ["0"]]) == ("0", "1", "2")
    with pytest.raises(ValueError, match="class 1 is b in one split and c in another"):
        join_class_names([["a", "b", "c"], ["a", "c"]])


@pytest.mark.parametrize("option", ["what", "transforms", "kwargs"])
def test_options_that_would_change_the_splits_are_refused(tmp_path, option: str) -> None:
    with pytest.raises(DataError, match=f"no option '{option}'"):
        load("qmnist", tmp_path, options={option: "test50k"})


def test_errors(tmp_path) -> None:
    with pytest.raises(ValueError, match="closest: eurosat"):
        load("eurosatt", tmp_path)
    with pytest.raises(DataError) as error:
        load("emnist", tmp_path)
    check_error(error.value, "emnist", "'split'", types=["'target.options={split: balanced}'"])
    with pytest.raises(DataError) as error:
        load("dtd", tmp_path, options={"partitions": 2})
    types = ["'target.options={partition: 2}'"]
    check_error(error.value, "dtd", "'partitions'", "partition", types=types)
    with pytest.raises(DataError) as error:
        load("dtd", tmp_path)
    check_error(error.value, "dtd", "DTD", tmp_path, types=["download=true"])
    with pytest.raises(DataError) as error:
        load("fer2013", tmp_path, download=True)
    check_error(error.value, "fer2013", "FER2013", types=["help(d.FER2013)"])
