"""What only the image encoders promise."""

from __future__ import annotations

import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from refusals import check_error
from safetensors.torch import save_file

from mmx.encoders import Encoder
from mmx.encoders.image import torchvision_weights
from mmx.encoders.image.resnet import ResNet18
from mmx.encoders.image.small_cnn import SmallCnn
from mmx.encoders.image.vit_b_16 import VitB16
from mmx.errors import DataError
from mmx.modalities.image import ImageSpec

TINY: dict[str, Any] = {"layers": 2, "heads": 2, "width": 8, "mlp_width": 8}


@pytest.mark.parametrize(
    ("height", "width", "tokens"),
    [(4, 4, 4), (8, 8, 4), (28, 28, 9), (32, 32, 16), (80, 60, 70), (4, 300, 300)],
)
def test_small_cnn_takes_any_size(height: int, width: int, tokens: int) -> None:
    model = SmallCnn(ImageSpec(height, width), width=16)
    features = model(torch.rand(2, 3, height, width))
    if height > 4:
        assert features.tokens.shape == (2, tokens, 16)
    assert features.pooled.isfinite().all()


def test_small_cnn_tokens_are_a_view_in_channels_last_memory() -> None:
    model = SmallCnn(ImageSpec(8, 8), width=16).to(memory_format=torch.channels_last)
    x = torch.rand(2, 3, 8, 8).to(memory_format=torch.channels_last)
    tokens = model(x).tokens
    assert tokens.is_contiguous()
    assert tokens._base is not None


def test_small_cnn_by_its_parts() -> None:
    model = SmallCnn(ImageSpec(8, 8), width=8, depth=2).eval()
    x = torch.rand(2, 3, 8, 8)
    first, last = model.stages
    a = torch.relu(first[2](torch.nn.functional.max_pool2d(first[0]((x - 0.5) / 0.25), 2)))
    b = torch.relu(last[1](last[0](a)))  # the last stage does not pool
    features = model(x)
    torch.testing.assert_close(features.pooled, b.amax((2, 3)))
    torch.testing.assert_close(features.levels, (a.mean((2, 3)), b.mean((2, 3))))
    torch.testing.assert_close(features.tokens[:, 1], b[:, :, 0, 1])


def test_small_cnn_leaves_its_input_alone() -> None:
    x = torch.rand(2, 3, 8, 8)
    before = x.clone()
    SmallCnn(ImageSpec(8, 8))(x)
    assert torch.equal(x, before)


def test_small_cnn_width_must_halve() -> None:
    with pytest.raises(ValueError, match="`width`") as error:
        SmallCnn(ImageSpec(32, 32), width=100)
    check_error(error.value, "width", "100", "8", "depth", "4")


def test_small_cnn_needs_pixels() -> None:
    with pytest.raises(ValueError, match="too small") as error:
        SmallCnn(ImageSpec(3, 32))
    check_error(error.value, "3×32", "SmallCnn", "4×4")


def test_vit_width_must_be_a_multiple_of_heads() -> None:
    with pytest.raises(ValueError, match="`heads`") as error:
        VitB16(ImageSpec(32, 32), width=10, heads=4)
    check_error(error.value, "width", "10", "heads", "4")


@pytest.mark.parametrize(
    ("side", "stem", "tokens"),
    [(8, "auto", 4), (10, "auto", 9), (33, "standard", 9), (112, "auto", 49)],
)
def test_vit_patches(side: int, stem: Any, tokens: int) -> None:
    model = VitB16(ImageSpec(side, side - 2), stem=stem, **TINY).eval()
    features = model(torch.rand(1, 3, side, side - 2))
    assert features.tokens.shape[1] == tokens


def test_vit_matches_torchvision() -> None:
    model = VitB16(ImageSpec(16, 16), **TINY).eval()
    net = torchvision.models.VisionTransformer(
        image_size=16, patch_size=4, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=8
    ).eval()
    net.heads = torch.nn.Identity()
    net.load_state_dict(model.net.state_dict())
    x = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(model(x).pooled, net(imagenet(x)))


@pytest.fixture(scope="module")
def net() -> Any:
    torch.manual_seed(3)
    return torchvision.models.resnet18().eval()


@pytest.fixture(scope="module")
def weights(net: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet18-f37072fd.pth"
    torch.save(net.state_dict(), path)
    return path


def imagenet(x: torch.Tensor) -> torch.Tensor:
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    return (x - mean) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def start_published(model: Encoder, **options: object) -> dict[str, torch.Tensor]:
    """Give an encoder its published weights, as a source would, and return them."""
    published = type(model).find_published(**options)
    assert published is not None
    found = model.read_published(published)
    own = model.state_dict()
    fitting = {name: value for name, value in found.items() if value.shape == own[name].shape}
    model.load_state_dict({**own, **fitting})
    return found


def test_resnet_reads_a_local_file(net: Any, weights: Path) -> None:
    model = ResNet18(ImageSpec(64, 64), weights=str(weights), stem="standard").eval()
    found = start_published(model, weights=str(weights))
    assert found.keys() == model.state_dict().keys()
    x = torch.rand(2, 3, 64, 64)
    net.fc = torch.nn.Identity()
    torch.testing.assert_close(model(x).pooled, net(imagenet(x)))


def test_a_constructor_draws_fresh(net: Any, weights: Path) -> None:
    model = ResNet18(ImageSpec(32, 32), weights=str(weights))
    assert not torch.equal(model.layers[0][0].conv1.weight, net.layer1[0].conv1.weight)


def test_resnet_reads_torchs_cache(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = weights.parent / "checkpoints"
    checkpoints.mkdir()
    (checkpoints / weights.name).symlink_to(weights)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(weights.parent))
    model = ResNet18(ImageSpec(128, 128))
    start_published(model)
    held = torch.load(weights, weights_only=True)
    assert torch.equal(model.layers[3][1].conv2.weight, held["layer4.1.conv2.weight"])
    assert model.stem[0].stride == (2, 2)  # by the size of the images alone


def test_a_small_stem_is_of_another_shape(net: Any, weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(torch.load(weights, weights_only=True), path)
    model = ResNet18(ImageSpec(32, 32), stem="small")
    found = start_published(model, weights=str(path))
    assert model.stem[0].weight.shape == (64, 3, 3, 3)
    assert found["stem.0.weight"].shape == (64, 3, 7, 7)
    assert torch.equal(model.layers[0][0].conv1.weight, net.layer1[0].conv1.weight)


def test_absent_published_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    model = ResNet18(ImageSpec(32, 32))
    path = tmp_path / "checkpoints" / "resnet18-f37072fd.pth"
    published = ResNet18.find_published()
    assert published.missing_files() == (path,)
    with pytest.raises(DataError) as error:
        model.read_published(published)
    check_error(
        error.value,
        "ResNet18",
        "IMAGENET1K_V1",
        path,
        types=("download=true", "encoder.image.weights=<file>"),
    )


def test_a_failed_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(url: str, path: str, *, hash_prefix: str, progress: bool) -> None:
        assert hash_prefix == "f37072fd"
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(DataError) as error:
        ResNet18.find_published(download=True)
    check_error(
        error.value,
        "https://download.pytorch.org/models/resnet18-f37072fd.pth",
        "no network",
        types=(f"{tmp_path}/checkpoints/resnet18-f37072fd.pth",),
    )


def test_weights_that_do_not_exist() -> None:
    published = ResNet18.find_published(weights="nowhere.pth")
    assert [path.name for path in published.missing_files()] == ["nowhere.pth"]
    with pytest.raises(DataError, match=r"nowhere\.pth: there is no nowhere\.pth"):
        ResNet18(ImageSpec(32, 32)).read_published(published)


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    model = VitB16(ImageSpec(16, 16), stem="small", **TINY)
    path = tmp_path / "vit.pth"
    torch.save(model.net.state_dict(), path)
    again = VitB16(ImageSpec(16, 16), stem="small", **TINY)
    start_published(again, weights=str(path))
    assert torch.equal(again.net.class_token, model.net.class_token)
    other = VitB16(ImageSpec(16, 16), stem="small", **{**TINY, "mlp_width": 4})
    with pytest.raises(DataError) as error:
        start_published(other, weights=str(path))
    first, *shown, tip = str(error.value).split("\n")
    assert first == f"{path}: 6 tensors do not fit the encoder"
    assert shown[0] == (
        "  net.encoder.layers.encoder_layer_0.mlp.0.bias: "
        "shape (8,) in the file, (4,) in the network"
    )
    assert len(shown) == 5
    assert tip == "  tip: the file must hold weights of this architecture"


def test_weights_that_are_code(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"conv1.weight": Path("not a tensor")}, path)
    with pytest.raises(DataError, match="cannot be read as weights") as error:
        start_published(ResNet18(ImageSpec(32, 32)), weights=str(path))
    assert error.value.tip.startswith("accepted: tensors alone")


def test_constants_stay_out_of_the_state() -> None:
    state = ResNet18(ImageSpec(32, 32)).state_dict()
    assert not [name for name in state if name.startswith("normalize")]
    assert torchvision_weights.SMALL_SIDE == 96
