"""Official files of public data sets, a few rows each, and a server that publishes them.

The digests that the libraries and the tasks know are those of the real files, so a test replaces
them by those of its own files; there is no option that does so.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import re
import struct
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image


@dataclass
class Publisher:
    """A server on the loopback address.

    Attributes:
        files: Name to content, of the files that it has.
        damage: Name to what is sent in place of a file: ``half`` of it, or one ``changed`` byte.
        asked: Names that were asked for.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    damage: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    address: str = ""

    def put(self, name: str, content: bytes) -> str:
        """Publish a file and return its address."""
        self.files[name] = content
        return f"{self.address}/{name}"

    def send(self, name: str) -> bytes:
        content = self.files[name]
        how = self.damage.get(name)
        if how == "half":
            return content[: len(content) // 2]
        return content[:-1] + bytes([content[-1] ^ 1]) if how == "changed" else content


@contextmanager
def publish() -> Iterator[Publisher]:
    """Serve what the publisher has."""
    publisher = Publisher()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            publisher.asked.append(name)
            found = name in publisher.files
            content = publisher.send(name) if found else b""
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *given: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    publisher.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield publisher
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_idx(values: npt.NDArray[np.uint8]) -> bytes:
    """Return an IDX file of bytes, as of MNIST: 0, 0, type 8, axes, sizes, values."""
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    return header + values.tobytes()


def pack(files: Mapping[str, bytes], mode: str = "w:gz") -> bytes:
    """Return a TAR of files."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def draw(image: npt.NDArray[np.uint8], form: str = "png") -> bytes:
    """Return an image file."""
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, format=form)
    return file.getvalue()


def shade(*shape: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Return random pixels."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def publish_mnist(publisher: Publisher, official: Any, change: Any, rows: int = 20) -> Any:
    """Publish IDX files of ``rows`` images a split; return split to images and labels."""
    made = {}
    resources = []
    for split, name, seed in (("train", "train", 1), ("test", "t10k", 2)):
        images = shade(rows, 28, 28, seed=seed)
        labels = (np.arange(rows) % 10).astype(np.uint8)
        made[split] = images, labels
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            content = gzip.compress(write_idx(values), mtime=0)
            publisher.put(f"{name}-{kind}-ubyte.gz", content)
            resources.append((f"{name}-{kind}-ubyte.gz", md5(content)))
    change.setattr(official, "mirrors", [f"{publisher.address}/"])
    change.setattr(official, "resources", resources)
    return made


NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
"""The classes of CIFAR-10, in its order."""
STL_NAMES = ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"]


def publish_cifar10(publisher: Publisher, change: Any, rows: int = 20) -> Any:
    """Publish CIFAR-10 with ``rows`` images a batch; return batch to images and labels."""
    from torchvision.datasets import CIFAR10

    made, files = {}, {}
    batches = [f"data_batch_{number}" for number in range(1, 6)]
    for seed, name in enumerate([*batches, "test_batch"]):
        images = shade(rows, 3, 32, 32, seed=seed)
        labels = [row % 10 for row in range(rows)]
        made[name] = images.transpose(0, 2, 3, 1), labels
        files[name] = pickle_as_python_2({"data": images.reshape(rows, -1), "labels": labels})
    files["batches.meta"] = pickle_as_python_2({"label_names": NAMES})
    archive = pack({f"cifar-10-batches-py/{name}": data for name, data in files.items()})
    change.setattr(CIFAR10, "url", publisher.put("cifar-10-python.tar.gz", archive))
    change.setattr(CIFAR10, "tgz_md5", md5(archive))
    change.setattr(CIFAR10, "train_list", [[name, md5(files[name])] for name in batches])
    change.setattr(CIFAR10, "test_list", [["test_batch", md5(files["test_batch"])]])
    change.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5(files["batches.meta"])})
    return made


def pickle_as_python_2(content: dict[str, Any]) -> bytes:
    """Return what Python 2 and its NumPy wrote: names in bytes, and flags of a dtype as 0 and 1."""
    new = pickle.dumps(content, protocol=2)
    # Behind the name of the dtype: False and True, which Python 2 wrote as 0 and 1.
    dtype = re.compile(rb"X\x02\x00\x00\x00u1(q.)\x89\x88\x87", re.DOTALL)
    return dtype.sub(lambda found: b"U\x02u1" + found[1] + b"K\x00K\x01\x87", new)


def publish_stl10(publisher: Publisher, change: Any, rows: int = 20) -> Any:
    """Publish STL-10; return split to images ``(N, 96, 96, 3)`` and labels from 0."""
    from torchvision.datasets import STL10

    made, files = {}, {}
    for seed, split in enumerate(("train", "test")):
        images = shade(rows, 96, 96, 3, seed=10 + seed)
        labels = np.arange(rows) % 10
        made[split] = images, labels.tolist()
        files[f"{split}_X.bin"] = images.transpose(0, 3, 2, 1).tobytes()  # column by column
        files[f"{split}_y.bin"] = (labels + 1).astype(np.uint8).tobytes()
    files["unlabeled_X.bin"] = shade(1, 3, 96, 96).tobytes()
    files["class_names.txt"] = "\n".join(STL_NAMES).encode() + b"\n"
    archive = pack({f"stl10_binary/{name}": data for name, data in files.items()})
    train = ("train_X.bin", "train_y.bin", "unlabeled_X.bin")
    change.setattr(STL10, "url", publisher.put("stl10_binary.tar.gz", archive))
    change.setattr(STL10, "tgz_md5", md5(archive))
    change.setattr(STL10, "train_list", [[name, md5(files[name])] for name in train])
    names = ("test_X.bin", "test_y.bin")
    change.setattr(STL10, "test_list", [[name, md5(files[name])] for name in names])
    return made


def publish_mat(publisher: Publisher, name: str, content: dict[str, Any]) -> str:
    """Publish a MATLAB file and return its MD5."""
    from scipy.io import savemat

    file = io.BytesIO()
    savemat(file, content)
    # savemat writes the time of day into the header: replaced, so that a file has one digest.
    data = b"MATLAB 5.0 MAT-file".ljust(116) + file.getvalue()[116:]
    publisher.put(name, data)
    return md5(data)


def put_folder(root: Path, files: Mapping[str, bytes]) -> None:
    """Write files below a folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
