"""LoRA weights that a run trains on published weights, read again by peft and by mmx."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_models import save_text_model, save_timm, save_whisper

from mmx.config import compose
from mmx.encoders import Encoder
from mmx.encoders.audio.transformers import Transformers as AudioTransformers
from mmx.encoders.image.timm import Timm
from mmx.encoders.text.transformers import Transformers
from mmx.errors import ConfigError
from mmx.experiment import assemble
from mmx.modalities.audio import Audio
from mmx.modalities.image import Image
from mmx.reports.run_comparison import describe_changes
from mmx.runs.directory import RunDirectory
from mmx.stages import load_trained
from mmx.stages.pipeline.peft_export import find_layout
from mmx.transfer.adapters import add_lora

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore")

Overrides = Callable[..., list[str]]
Once = Callable[[list[str]], RunDirectory]
IDS = torch.tensor([[2, 5, 9, 30, 28, 3], [2, 6, 3, 0, 0, 0]])
LENGTHS = torch.tensor([6, 3])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_text_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def line(tables: dict[str, Path], overrides: Overrides, model: Path) -> Callable[..., list[str]]:
    """Return the overrides of a run from published text weights on a table of texts."""

    def make(*more: str) -> list[str]:
        plain = [
            each
            for each in overrides(None, tables["two"], ("text", "tabular"))
            if not each.startswith(("source=", "encoder/text", "encoder.text"))
        ]
        text = ["encoder/text=transformers", f"encoder.text.model={model}"]
        train = ["encoder.text.max_tokens=8", "optimizer.lr=0.05", "control=none"]
        return ["source=published", *plain, *text, *train, *more]

    return make


def read_trained(run: RunDirectory) -> dict[str, torch.Tensor]:
    """Return the target's tensors, those that published files hold among them."""
    with compose.composer():
        experiment = assemble(run.config())
    return load_trained(experiment, run, torch.device("cpu")).model.state_dict()


def encode(model: Path, tensors: dict[str, torch.Tensor], *, rank: int | None = None):
    """Return the last hidden states of mmx's encoder with a run's tensors."""
    options = {"model": str(model), "max_tokens": 8}
    encoder = Transformers(Transformers.read_with(None, **options).example(), **options)
    if rank is not None:
        add_lora(encoder, rank=rank, alpha=16.0)
    encoder.load_state_dict(
        {
            name.removeprefix("encoders.text."): each
            for name, each in tensors.items()
            if name.startswith("encoders.text.")
        }
    )
    with torch.no_grad():
        return encoder.eval()(IDS, LENGTHS).tokens


def ask(net: torch.nn.Module) -> torch.Tensor:
    """Return the last hidden states of the library's model, zeros behind each text."""
    mask = (torch.arange(IDS.shape[1]) < LENGTHS[:, None]).to(torch.int64)
    with torch.no_grad():
        states = net.eval()(input_ids=IDS, attention_mask=mask).last_hidden_state
    return states * mask[..., None]


def test_peft_reads_what_a_run_has_trained(
    once: Once, line: Callable[..., list[str]], model: Path
) -> None:
    run = once(line("transfer=adapter", "transfer.rank=4", "trainer.epochs=1"))
    folder = run.path / "adapters" / "text"
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["peft_type"]) == (4, 16, "LORA")
    assert config["base_model_name_or_path"] == str(model)
    assert "encoder.layer.2.attention.self.query" in config["target_modules"]
    assert "embeddings.LayerNorm" in config["modules_to_save"]
    ours = encode(model, read_trained(run), rank=4)
    plain = ask(transformers.AutoModel.from_pretrained(model))
    assert (ours - plain).abs().max() > 1e-3  # it has trained
    net = peft.PeftModel.from_pretrained(transformers.AutoModel.from_pretrained(model), folder)
    torch.testing.assert_close(ours, ask(net), atol=1e-6, rtol=0)
    torch.testing.assert_close(ours, ask(net.merge_and_unload()), atol=2e-6, rtol=0)
    assert "adapters/text holds the adapters" in "\n".join(run.summary()["notes"])
    listed = json.loads((run.path / "digests.json").read_text())["files"]
    assert "adapters/text/adapter_model.safetensors" in listed

    # The folder is a start in turn: frozen, it gives the same states, without an adapter.
    again = once(line("transfer=feature", f"encoder.text.adapter={folder}"))
    frozen = encode(model, read_trained(again))
    torch.testing.assert_close(frozen, ours, atol=2e-6, rtol=0)
    assert "with the adapter text" in "\n".join(again.summary()["notes"])


def test_other_adapters_are_not_written(once: Once, line: Callable[..., list[str]]) -> None:
    run = once(line("transfer=adapter", "transfer.kind=bottleneck", "trainer.epochs=1"))
    assert not (run.path / "adapters").exists()


def test_a_replaced_adapter_is_another_experiment(
    line: Callable[..., list[str]], model: Path, tmp_path: Path
) -> None:
    def assembled(*more: str):
        with compose.composer():
            return assemble(compose.compose_job([*line(*more), f"output_dir={tmp_path}"]).config)

    def save(name: str, seed: int) -> Path:
        torch.manual_seed(seed)
        config = peft.LoraConfig(target_modules=["query"], init_lora_weights=False)
        net = transformers.AutoModel.from_pretrained(model)
        peft.get_peft_model(net, config).save_pretrained(tmp_path / name)
        return tmp_path / name

    first = assembled(f"encoder.text.adapter={save('a', 0)}")
    assert first.fingerprint == assembled(f"encoder.text.adapter={save('b', 0)}").fingerprint
    assert first.fingerprint != assembled(f"encoder.text.adapter={save('b', 1)}").fingerprint
    assert first.fingerprint != assembled().fingerprint
    fresh = assembled("source=none", "transfer=scratch", f"encoder.text.adapter={tmp_path / 'b'}")
    assert "encoder.text.adapter" in fresh.dropped
    path = tmp_path / "a" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "use_dora": True}))
    with pytest.raises(ConfigError, match="use_dora=True"):
        assembled(f"encoder.text.adapter={tmp_path / 'a'}")


def test_an_adapter_is_recorded_and_a_changed_one_is_named(
    once: Once, line: Callable[..., list[str]], model: Path, tmp_path: Path
) -> None:
    """Origin, commit, licence and digest stand in manifest and report, as the weights' own do."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "models--somebody--lora" / "snapshots" / commit  # as the hub's cache has it

    def save(seed: int) -> None:
        torch.manual_seed(seed)
        config = peft.LoraConfig(target_modules=["query"], init_lora_weights=False)
        net = transformers.AutoModel.from_pretrained(model)
        peft.get_peft_model(net, config).save_pretrained(folder)
        (folder / "README.md").write_text("---\nlicense: mit\n---\n")

    save(0)
    words = line("transfer=feature", f"encoder.text.adapter={folder}")
    before = once(words)
    weights = before.manifest().published["text"]
    facts = weights.adapter
    assert facts is not None
    assert (facts.name, facts.origin, facts.revision) == ("somebody/lora",) * 2 + (commit,)
    assert (facts.licence, facts.card) == ("mit", str(folder / "README.md"))
    assert facts.digest not in (None, weights.digest)
    page = (before.path / "report.html").read_text()
    assert str(facts.digest) in page
    assert "somebody/lora" in page
    assert before.manifest().from_json(before.manifest().to_json()) == before.manifest()
    notes = "\n".join(before.summary()["notes"])
    assert f"with the adapter somebody/lora (at {commit[:12]}, licence mit)" in notes
    files = before.manifest().identity.weight_files["text"]
    assert {"adapter_config.json", "adapter_model.safetensors"} <= files.keys()
    save(1)
    after = once(words)
    assert after.manifest().fingerprint != before.manifest().fingerprint
    found = describe_changes(before, after)
    assert found == "changed: weights (encoder.text: adapter_model.safetensors)"


@pytest.mark.parametrize("kind", ["whisper", "test_vit", "test_efficientnet"])
def test_layers_of_every_kind_are_named_as_peft_names_them(tmp_path: Path, kind: str) -> None:
    """Linear layers, embeddings and convolutions; those of several groups are left out."""
    if kind == "whisper":
        folder = save_whisper(tmp_path / kind, positions=100)
        sounds = Audio(sample_rate=16_000, max_seconds=0.5).example()
        encoder: Encoder = AudioTransformers(sounds, model=str(folder))
        net = transformers.AutoModel.from_pretrained(folder)
    else:
        timm = pytest.importorskip("timm")
        folder = save_timm(tmp_path / kind, kind)
        encoder = Timm(Image(size=96).example(), model=str(folder))
        net = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0)
    published = type(encoder).find_published(model=str(folder))
    before = encoder.read_published(published)
    encoder.load_state_dict({**encoder.state_dict(), **before})
    places = add_lora(encoder, rank=20, alpha=30.0)  # more than some layers are wide
    for name, value in encoder.named_parameters():
        if name.endswith((".up", ".down")):
            torch.nn.init.normal_(value, std=0.3)
    own, library = encoder.library_prefixes
    layout = find_layout(encoder, before, own, library)
    write(tmp_path / "lora", layout.config(published), layout.tensors(encoder, own, library))
    theirs = peft.PeftModel.from_pretrained(net, tmp_path / "lora").merge_and_unload().state_dict()
    for name in set(places) - set(layout.left_out):
        value = encoder.get_submodule(name.removesuffix(".weight")).weight.detach()
        expected = theirs[library + name.removeprefix(own)]
        torch.testing.assert_close(value, expected, atol=5e-6, rtol=1e-6)
    assert bool(layout.left_out) == (kind == "test_efficientnet")
    assert len(layout.left_out) < len(places) / 2


def write(folder: Path, config: dict[str, object], tensors: dict[str, torch.Tensor]) -> None:
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(config))
