import pickle
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import soundfile
from refusals import check_error, check_notes

from mmx.errors import DataError
from mmx.modalities.image import Image
from mmx.tasks.cifar import Cifar10, Cifar100
from mmx.tasks.folders import IMAGES
from mmx.tasks.fsdd import Fsdd
from mmx.tasks.image_folder import ImageFolder
from mmx.tasks.stl import Stl10


def save_images(folder: Path, count: int, *, shade: int = 0, first: int = 0) -> None:
    folder.mkdir(parents=True)
    for i in range(first, first + count):
        PIL.Image.new("RGB", (4, 4), (shade, i, 0)).save(folder / f"{i:03}.png")


@pytest.fixture
def split_folder(tmp_path):
    for split, start in (("train", 0), ("test", 100)):
        save_images(tmp_path / split / "cat", 6, shade=10, first=start)
        save_images(tmp_path / split / "dog", 6, shade=200, first=start)
    return tmp_path


def shades(task, rows) -> list[int]:
    data = task.load()
    image = Image(size=4)
    spec = image.fit(data.columns["image"], rows)
    return image.encode(data.columns["image"], rows, spec).values[:, 0, 0, 0].tolist()


def test_split_folders(split_folder):
    task = ImageFolder(name="pets", path=str(split_folder), val_fraction=0.34)
    data = task.load()
    assert data.target.classes == ("cat", "dog")
    assert {name: len(rows) for name, rows in data.splits.items()} == {
        "train": 8, "val": 4, "test": 12
    }  # fmt: skip
    rows = data.splits["test"]
    expected = [{0: 10, 1: 200}[int(data.values[row])] for row in rows]
    assert shades(task, rows) == expected


def test_a_plain_folder_is_cut_into_splits(tmp_path):
    save_images(tmp_path / "a", 10)
    save_images(tmp_path / "b", 10, shade=9)
    tests = [
        ImageFolder(name="p", path=str(tmp_path), split_seed=seed).load().splits["test"].tolist()
        for seed in (0, 1)
    ]
    assert tests[0] == tests[1]
    assert len(tests[0]) == 4


def test_a_val_folder_is_used(split_folder):
    for name in ("cat", "dog"):
        save_images(split_folder / "val" / name, 2, shade=3 if name == "cat" else 4)
    assert len(ImageFolder(name="p", path=str(split_folder)).load().splits["val"]) == 4


def test_other_files_are_noted_and_hidden_ones_ignored(split_folder):
    (split_folder / "train" / "cat" / "readme.txt").write_text("hello")
    (split_folder / "train" / ".DS_Store").write_text("")
    data = ImageFolder(name="p", path=str(split_folder)).load()
    check_notes(data.notes[:1], ["1 files", ".txt"])


def test_fingerprint_follows_content_not_place(split_folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.copytree(split_folder, elsewhere)
    one = ImageFolder(name="p", path=str(split_folder)).load().fingerprint
    assert ImageFolder(name="p", path=str(elsewhere)).load().fingerprint == one
    changed = elsewhere / "train" / "cat" / "000.png"
    content = bytearray(changed.read_bytes())
    content[-1] ^= 1
    changed.write_bytes(content)
    assert ImageFolder(name="p", path=str(elsewhere)).load().fingerprint != one


def test_folder_errors(tmp_path):
    with pytest.raises(DataError) as error:
        ImageFolder(name="pets", path=str(tmp_path / "no")).load()
    types = "target.path=", "source.path="
    check_error(error.value, "pets", tmp_path / "no", types=types)
    with pytest.raises(DataError) as error:
        ImageFolder(name="pets", path=str(tmp_path)).load()
    check_error(error.value, tmp_path, "folder", types=[f"{tmp_path}/<class>/"])
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError) as error:
        ImageFolder(name="pets", path=str(tmp_path)).load()
    accepted = f"accepted: {', '.join(sorted(IMAGES))}"
    check_error(error.value, tmp_path / "cat", accepted, types=["remove"])


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "valid", "testing"),
        ("Train", "VAL", "TEST"),
        ("training", "dev", "test"),
        ("training_set", "validation", "test_set"),
        ("Training Images", "Validate", "Eval"),
        ("train2017", "val2017", "Evaluation"),
        ("trn", "development", "tst"),
        ("TRAIN_DATA", "valid_data", "TEST_DATA"),
        ("X_train", "X_val", "X_test"),
    ],
)
def test_folders_of_splits_have_many_names(tmp_path, train, val, test):
    for split, count in ((train, 10), (val, 6), (test, 4)):
        for name, shade in (("a", 0), ("b", 1)):
            save_images(tmp_path / split / name, count, shade=shade, first=count * 10)
    data = ImageFolder(name="p", path=str(tmp_path)).load()
    sizes = {name: len(rows) for name, rows in data.splits.items()}
    assert sizes == {"train": 20, "val": 12, "test": 8}
    assert data.target.classes == ("a", "b")
    assert data.notes == ()


def test_every_image_on_disk_is_read_or_said_to_be_left_out(tmp_path):
    for name in ("a", "b"):
        save_images(tmp_path / "train" / name, 10)
        save_images(tmp_path / "test" / name, 4, first=50)
        save_images(tmp_path / "holdout" / name, 3, first=100)
    save_images(tmp_path / "train" / "a" / "more" / "deep", 2, first=200)
    save_images(tmp_path / "train" / ".trash", 5, first=210)
    save_images(tmp_path / "__MACOSX" / "train", 6, first=220)
    for place in ("train", "."):
        PIL.Image.new("RGB", (4, 4)).save(tmp_path / place / "loose.png")
    (tmp_path / "train" / "a" / "Thumbs.db").write_text("")
    (tmp_path / "train" / "a" / "UPPER.PNG").write_bytes(
        (tmp_path / "train" / "loose.png").read_bytes()
    )
    data = ImageFolder(name="p", path=str(tmp_path)).load()
    check_notes(
        data.notes[:-2],
        ["5 hidden"],
        ["1", f"{tmp_path}/train", "class", "left out"],
        ["2", f"{tmp_path}/train/a/more/deep", "class"],
        ["6", f"{tmp_path}/holdout", "left out", "test, train"],
        ["6 hidden", tmp_path, "left out"],
        ["1", tmp_path, "split", "left out"],
    )
    on_disk = sum(path.suffix.lower() == ".png" for path in tmp_path.rglob("*"))
    read = len(data.columns["image"])
    assert on_disk == read + 5 + 1 + 6 + 6 + 1
    assert {name: len(rows) for name, rows in data.splits.items()} == {
        "train": 21, "val": 2, "test": 8
    }  # fmt: skip
    assert data.values.tolist().count(0) == 13 + 4


def test_a_class_may_have_the_name_of_a_split(tmp_path):
    for name in ("bus", "train"):
        save_images(tmp_path / name, 10)
    assert ImageFolder(name="p", path=str(tmp_path)).load().target.classes == ("bus", "train")


def test_folders_that_cannot_be_told_apart_are_refused(tmp_path):
    def check(*folders: str, says: list[str]) -> None:
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        for folder in folders:
            save_images(root / folder, 2)
        with pytest.raises(DataError) as error:
            ImageFolder(name="p", path=str(root)).load()
        facts = [fact.replace("ROOT", str(root)) for fact in says]
        check_error(error.value, *facts)

    check("train/a", "val/a", "dev/a", says=["ROOT/dev", "ROOT/val", "val split"])
    check("test/a", "valid/a", says=["ROOT", "valid, test", "train"])
    check("train", "test", says=["ROOT/train", "2", "class"])
    check("a/train", "b/train", "a/test", says=["ROOT/a", "'test'", "split", "above"])
    check(
        *("animals/cat", "animals/dog", "cars/bus"), says=["ROOT/animals", "4", "ROOT/animals/cat"]
    )


def test_folders_that_are_neither_split_nor_class_are_named_in_one_error(tmp_path):
    for name in ("train/a", "test/a", "vaild/a", "trian/a", "annotations/a"):
        save_images(tmp_path / name, 3)
    with pytest.raises(DataError) as error:
        ImageFolder(name="p", path=str(tmp_path)).load()
    check_error(error.value, f"{tmp_path}/vaild", types=[f"mv {tmp_path}/vaild {tmp_path}/val"])
    # The training split is there already, and the last one is like no split.
    assert not {"trian", "annotations"} & set(error.value.message.split("/"))
    plain = tmp_path / "plain"
    for name in ("a", "b"):
        save_images(plain / name, 3)
    for name in ("docs", "labels/more"):
        (plain / name).mkdir(parents=True)
    (plain / "docs" / "readme.txt").write_text("")
    with pytest.raises(DataError) as error:
        ImageFolder(name="p", path=str(plain)).load()
    check_error(error.value, "2 folders", plain / "docs", plain / "labels", types=["remove"])


def test_the_folder_that_holds_the_splits_is_advised(tmp_path):
    for split in ("train", "test"):
        for name in ("a", "b"):
            save_images(tmp_path / "data" / split / name, 5)
    with pytest.raises(DataError) as error:
        ImageFolder(name="p", path=str(tmp_path)).load()
    path = tmp_path / "data"
    check_error(error.value, types=[f"target.path={path}", f"source.path={path}"])
    assert len(ImageFolder(name="p", path=str(path)).load().columns["image"]) == 20


def test_a_link_below_a_class_is_not_followed(tmp_path):
    for name in ("a", "b"):
        save_images(tmp_path / name, 5)
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a", target_is_directory=True)
    (tmp_path / "b" / "up").symlink_to(tmp_path, target_is_directory=True)
    assert len(ImageFolder(name="p", path=str(tmp_path)).load().columns["image"]) == 10


@pytest.mark.parametrize(("task", "name"), [(Cifar10, "cifar10"), (Stl10, "stl10")])
def test_folders_win_over_official_files(tmp_path, task, name):
    for split, start in (("train", 0), ("test", 50)):
        save_images(tmp_path / name / split / "car", 5, first=start)
        save_images(tmp_path / name / split / "ship", 5, shade=1, first=start)
    (tmp_path / task.files).mkdir()
    data = task(name="mine", data_dir=str(tmp_path)).load()
    assert data.target.classes == ("car", "ship")
    assert {name: len(rows) for name, rows in data.splits.items()} == {
        "train": 9, "val": 1, "test": 10
    }  # fmt: skip


def test_neither_folder_nor_official_files(tmp_path):
    with pytest.raises(DataError) as error:
        Cifar10(name="cifar10", data_dir=str(tmp_path)).load()
    says = "cifar10", f"{tmp_path}/cifar10/{{train,test}}", f"{tmp_path}/cifar-10-batches-py"
    check_error(error.value, *says, types=["download=true", "MMX_DATA_DIR="])


def test_broken_official_files(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(DataError) as error:
        Cifar10(name="cifar10", data_dir=str(tmp_path)).load()
    file = "cifar-10-batches-py/data_batch_1"
    check_error(error.value, "cifar10", tmp_path, file, types=["download=true"])


def fake_cifar(root: Path, files: list[str], labels: str, names: str, meta: str, classes: int):
    root.mkdir()
    random = np.random.default_rng(0)
    count = 2 * classes
    originals = {}
    for file in files:
        data = random.integers(0, 256, (count, 3072), dtype=np.uint8)
        originals[file] = data
        content = {"data": data, labels: [i % classes for i in range(count)]}
        (root / file).write_bytes(pickle.dumps(content))
    (root / meta).write_bytes(pickle.dumps({names: [f"name {i}" for i in range(classes)]}))
    return originals


@pytest.mark.parametrize(
    ("task", "files", "labels", "names", "meta", "classes"),
    [
        (Cifar10, [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"], "labels",
         "label_names", "batches.meta", 10),
        (Cifar100, ["train", "test"], "fine_labels", "fine_label_names", "meta", 100),
    ],
)  # fmt: skip
def test_official_cifar_files(
    tmp_path, monkeypatch, capsys, task, files, labels, names, meta, classes
):
    import torchvision.datasets

    official = getattr(torchvision.datasets, task.__name__.upper())
    monkeypatch.setattr(official, "_check_integrity", lambda self: not print("checked"))
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    originals = fake_cifar(tmp_path / task.files, files, labels, names, meta, classes)
    data = task(name="official", data_dir=str(tmp_path), download=True, val_fraction=0.2).load()
    assert data.target.classes == tuple(f"name {i}" for i in range(classes))
    assert len(data.splits["test"]) == 2 * classes
    assert len(data.splits["train"]) + len(data.splits["val"]) == 2 * classes * (len(files) - 1)
    first = data.columns["image"].images[0]
    assert (first == originals[files[0]][0].reshape(3, 32, 32).transpose(1, 2, 0)).all()
    assert int(data.values[data.splits["test"][3]]) == 3 % classes
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "checked" in printed.err


def test_official_stl_files(tmp_path, monkeypatch):
    import torchvision.datasets

    monkeypatch.setattr(torchvision.datasets.STL10, "_check_integrity", lambda self: True)
    root = tmp_path / "stl10_binary"
    root.mkdir()
    random = np.random.default_rng(0)
    originals = {}
    for split in ("train", "test"):
        originals[split] = random.integers(0, 256, (20, 3, 96, 96), dtype=np.uint8)
        originals[split].tofile(root / f"{split}_X.bin")
        (np.arange(20) % 10 + 1).astype(np.uint8).tofile(root / f"{split}_y.bin")
    (root / "class_names.txt").write_text("\n".join(f"name {i}" for i in range(10)))
    data = Stl10(name="stl10", data_dir=str(tmp_path)).load()
    assert data.target.classes == tuple(f"name {i}" for i in range(10))
    # The files hold images column by column: torchvision turns them.
    image = data.columns["image"].images[21]
    assert (image == originals["test"][1].transpose(2, 1, 0)).all()
    assert int(data.values[21]) == 1


@pytest.fixture
def voices(tmp_path):
    folder = tmp_path / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    for speaker, shade in (("ann", 0.1), ("bob", 0.2), ("cid", 0.3), ("dee", 0.4)):
        for digit in range(10):
            for index in range(2):
                soundfile.write(
                    folder / f"{digit}_{speaker}_{index}.wav", np.full(8, shade + digit / 100), 8000
                )
    return tmp_path


def test_fsdd_is_split_by_speaker(voices):
    task = Fsdd(name="f", data_dir=str(voices), test_speakers=["bob"], val_speakers=["cid"])
    data = task.load()
    assert {name: len(rows) for name, rows in data.splits.items()} == {
        "train": 40, "val": 20, "test": 20
    }  # fmt: skip
    spec = task.audio.fit(data.columns["audio"], data.splits["train"])
    assert spec.max_samples == 8000
    for name, shade in (("val", 0.3), ("test", 0.2)):
        rows = data.splits[name]
        stored = task.audio.encode(data.columns["audio"], rows, spec)
        loudness = task.audio.prepare(stored, spec)[:, 0].tolist()
        expected = [shade + int(data.values[row]) / 100 for row in rows]
        assert loudness == pytest.approx(expected, abs=1e-3)


def test_fsdd_without_val_speakers_holds_rows_out(voices):
    task = Fsdd(name="f", data_dir=str(voices), test_speakers=["bob"], val_speakers=[])
    assert len(task.load().splits["val"]) == 6


def test_fsdd_errors(voices, tmp_path_factory):
    with pytest.raises(DataError) as error:
        Fsdd(name="f", data_dir=str(voices), test_speakers=["bop"], val_speakers=[]).load()
    types = [f"{role}.test_speakers=[bob]" for role in ("target", "source")]
    check_error(error.value, "f", "test_speakers", "'bop'", "ann, bob, cid, dee", types=types)
    with pytest.raises(ValueError, match="test_speakers"):
        Fsdd(name="f", data_dir="", test_speakers=["a"], val_speakers=["a"])
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(DataError) as error:
        Fsdd(name="f", data_dir=str(empty)).load()
    check_error(
        error.value,
        *("f", "<digit>_<speaker>_<index>.wav", f"{empty}/fsdd/recordings"),
        types=[
            "git clone https://github.com/Jakobovski/free-spoken-digit-dataset fsdd",
            "MMX_DATA_DIR=<folder>",
        ],
    )
