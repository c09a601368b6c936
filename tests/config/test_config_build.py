"""A config is data: what it may name, and that nothing else is imported or called."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from refusals import Refusal, check_refusals, read_problems

from mmx.cli import main
from mmx.config import compose
from mmx.config.build import BUILTIN_PACKAGES, Builder, locate
from mmx.encoders import Encoder
from mmx.encoders.image.small_cnn import SmallCnn
from mmx.errors import ConfigError
from mmx.fusion import Fusion
from mmx.modalities.image import Image
from mmx.tasks import Task
from mmx.tasks.digits import Digits
from mmx.transfer import Transfer

ALLOWED = ", ".join(BUILTIN_PACKAGES)


def why(node, expected=Encoder, allowed=()):
    """Return the message about a node that must not be built."""
    builder = Builder(allowed)
    assert builder.build(node, expected, "x") is None
    with pytest.raises(ConfigError) as caught:
        builder.finish()
    return caught.value.message.removeprefix("1 problem in the config\n")


OUTSIDE = (
    "torch.nn.Linear",
    "torch.hub.load",
    "os.system",
    "subprocess.run",
    "builtins.eval",
    "shutil.copyfile",
    "hydra.utils.instantiate",
    "mmxevil.encoders.Encoder",
)


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_outside(name):
    package = name.split(".")[0]
    assert why({"_target_": name, "command": "touch pwned"}) == (
        f"x._target_={name}: comes from {name}, which no one allowed\n"
        f"  accepted: {ALLOWED}\n"
        f"  type:     --allow {package}   (only if you trust it: it will be executed)"
    )


def test_mmx_itself_is_not_offered():
    assert why({"_target_": "mmx.cli.main"}) == (
        "x._target_=mmx.cli.main: comes from mmx.cli.main, which no one allowed\n"
        f"  accepted: {ALLOWED}"
    )


@pytest.mark.parametrize(
    "name",
    [
        "mmx.encoders.base.nn.Linear",
        "mmx.fusion.base.torch.hub.load",
        "mmx.encoders.base.torch.os.system",
        "mmx.encoders.image.small_cnn.SmallCnn.forward",
        "mmx.encoders.image.small_cnn.SmallCnn.__init__.__globals__",
        "mmx.encoders.base:nn.Linear",
        "mmx.encoders..os",
    ],
)
def test_no_way_leads_through_a_module(name):
    assert why({"_target_": name}).startswith(f"x._target_={name}: does not exist (No module named")


def test_an_allowed_package_that_is_not_found_is_to_be_installed():
    builder = Builder(["tastes_nowhere"])
    builder.build({"_target_": "tastes_nowhere.fuse.Sum"}, Encoder, "x")
    check_refusals(
        builder.problems,
        [Refusal("x._target_=tastes_nowhere.fuse.Sum", ("tastes_nowhere", "PYTHONPATH"))],
    )


def test_a_re_export_comes_from_where_it_was_defined():
    assert why({"_target_": "mmx.encoders.base.nn"}).startswith(
        "x._target_=mmx.encoders.base.nn: comes from torch.nn, which no one allowed"
    )
    assert why({"_target_": "mmx.objectives.cross_entropy.Field"}).startswith(
        "x._target_=mmx.objectives.cross_entropy.Field: comes from pydantic.fields, "
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mmx.tasks.base.cut_test", "is not a kind of Encoder"),
        ("mmx.fusion.concat.Concat", "is not a kind of Encoder"),
        ("mmx.encoders.base", "is not a kind of Encoder"),
        ("mmx.encoders.base.Encoder", "is abstract: it lacks forward"),
        (
            "mmx.encoders.image.small_cnn.SmalCnn",
            "does not exist (module 'mmx.encoders.image.small_cnn' has no attribute 'SmalCnn')\n"
            "  closest:  mmx.encoders.image.small_cnn.SmallCnn",
        ),
        ("SmallCnn", "expected the dotted name of a class"),
        (3, "expected the dotted name of a class"),
        (None, "expected the dotted name of a class"),
    ],
)
def test_what_is_inside_must_be_the_right_kind(name, message):
    shown = "null" if name is None else name
    assert why({"_target_": name}) == f"x._target_={shown}: {message}"


@pytest.mark.parametrize("node", [None, 3, "resnet18", [], {}, {"width": 3}])
def test_what_is_no_node(node):
    assert "expected a node with _target_" in why(node)


@pytest.fixture
def sentinel(tmp_path, monkeypatch):
    """A package that leaves a mark when it is imported."""
    package = tmp_path / "sentinelpkg"
    package.mkdir()
    mark = tmp_path / "imported"
    (package / "__init__.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    (package / "parts.py").write_text(
        "from mmx.tasks.digits import Digits\n"
        "class Mine(Digits): pass\n"
        "class Positional(Digits):\n"
        "    def __init__(self, shade: int = 1, *, name: str): pass\n"
        "class Bare(Digits):\n"
        "    def __init__(self, *, name='x', shade): self.name, self.shade = name, shade\n"
        "class C: pass\n"
    )
    (package / "broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield mark
    for name in [name for name in sys.modules if name.startswith("sentinelpkg")]:
        del sys.modules[name]


MINE = "sentinelpkg.parts.Mine"


def test_nothing_of_the_users_is_imported_unless_allowed(sentinel):
    assert why({"_target_": MINE, "name": "a"}, Task).splitlines()[-1] == (
        "  type:     --allow sentinelpkg   (only if you trust it: it will be executed)"
    )
    assert not sentinel.exists()
    built = Builder(["sentinelpkg"]).build({"_target_": MINE, "name": "a"}, Task, "x")
    assert isinstance(built, Digits)
    assert type(built).__name__ == "Mine"
    assert sentinel.exists()


@pytest.mark.parametrize(
    "value",
    [
        {"_target_": MINE},
        {"a": {"_target_": MINE}},
        {"a": [{"_target_": MINE}]},
        [{"_target_": MINE}],
        {"_target_": "os.system", "command": "exit 1"},
    ],
)
@pytest.mark.parametrize(
    ("node", "key", "expected"),
    [
        ("mmx.transfer.parameter.Parameter", "class_map", Transfer),
        ("mmx.transfer.parameter.Parameter", "freeze", Transfer),
        ("mmx.fusion.concat.Concat", "hidden", Fusion),
        ("mmx.tasks.digits.Digits", "image", Task),
        ("mmx.tasks.digits.Digits", "classes", Task),
        ("mmx.tasks.digits.Digits", "nokey", Task),
    ],
)
def test_nodes_inside_values_are_data(sentinel, value, node, key, expected):
    """No path from a value to code: not in lists, free mappings or unknown keys."""
    builder = Builder()
    made = builder.build({"_target_": node, key: value}, expected, "x")
    assert not sentinel.exists()
    if made is not None:  # a mapping of texts may well have such a key
        assert getattr(made, key) == value
    else:
        assert builder.problems


def test_a_node_of_mmx_is_data_where_the_signature_wants_no_object():
    class_map = {"_target_": "mmx.modalities.image.Image"}
    node = {"_target_": "mmx.transfer.parameter.Parameter", "class_map": class_map}
    assert Builder().build(node, Transfer, "x").class_map == class_map


def test_a_nested_node_must_be_of_the_kind_that_the_signature_wants():
    node = {"_target_": "mmx.tasks.digits.Digits", "name": "a"}
    image = {"_target_": "mmx.modalities.image.Image", "size": 4}
    built = Builder().build({**node, "image": image}, Task, "x")
    assert isinstance(built, Digits)
    assert isinstance(built.image, Image)
    wrong = {**node, "image": {"_target_": "mmx.modalities.audio.Audio", "nokey": 1}}
    assert why(wrong, Task) == (
        "x.image._target_=mmx.modalities.audio.Audio: is not a kind of Image"
    )


def test_a_class_of_the_users_that_a_config_cannot_set(sentinel):
    node = {"_target_": "sentinelpkg.parts.Positional", "shade": 2, "name": "a"}
    assert why(node, Task, ["sentinelpkg"]) == (
        "x.shade=2: Positional takes shade by position too: "
        "a config sets only what stands after a * in the signature"
    )


def test_a_class_without_annotations(sentinel):
    node = {"_target_": "sentinelpkg.parts.Bare", "shade": [1, "a"]}
    built = Builder(["sentinelpkg"]).build(node, Task, "x")
    assert built is not None
    assert (built.name, built.shade) == ("x", [1, "a"])
    del node["shade"]
    assert why(node, Task, ["sentinelpkg"]) == (
        "x.shade: needs a value\n  accepted: a value\n  type:     x.shade=<value>"
    )


def test_a_module_of_the_users_that_breaks(sentinel):
    assert why({"_target_": "sentinelpkg.broken.Mine"}, Task, ["sentinelpkg"]) == (
        "x._target_=sentinelpkg.broken.Mine: "
        "cannot be imported: ZeroDivisionError: division by zero"
    )


@pytest.mark.parametrize("how", ["--allow", "MMX_ALLOW", None])
def test_allow_on_the_command_line(sentinel, tmp_path, monkeypatch, capsys, how):
    (tmp_path / "own" / "task").mkdir(parents=True)
    (tmp_path / "own" / "task" / "mine.yaml").write_text(
        f"# mine\n_target_: {MINE}\nname: mine\nsplit_seed: ${{seed}}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MMX_ALLOW", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    words = ["train", "--config-dir", "own", "target=mine", "trainer.epochs=0"]
    if how == "--allow":
        words += ["--allow", "sentinelpkg"]
    elif how:
        monkeypatch.setenv("MMX_ALLOW", "other,sentinelpkg")
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "trainer.epochs=0: expected an integer ≥ 1" in said
    assert sentinel.exists() is (how is not None)
    assert ("which no one allowed" in said) is (how is None)
    assert not (tmp_path / "outputs").exists()


def test_locate_looks_at_a_module_and_one_name_in_it():
    assert locate("mmx.encoders.image.small_cnn.SmallCnn", BUILTIN_PACKAGES) is SmallCnn
    assert locate("mmx.encoders.Encoder", BUILTIN_PACKAGES) is Encoder
    with pytest.raises(PermissionError):
        locate("mmx.encodersx.Encoder", BUILTIN_PACKAGES)


def test_the_root_config_is_not_replaced(tmp_path, monkeypatch, capsys):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "config.yaml").write_text("hydra:\n  searchpath: [pkg://sentinelpkg]\n")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--config-dir", "own"]) == 2
    check_refusals(
        read_problems(capsys.readouterr().err),
        [
            Refusal(
                "own/config.yaml",
                ("mmx's own root config",),
                type_this="mv own/config.yaml own/experiment/<name>.yaml   "
                "(with '# @package _global_' as first line)",
            )
        ],
    )


def test_config_directories_leave_nothing_behind(tmp_path: Path):
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "mine.yaml").write_text("# mine\n_target_: a.B\n")
    with compose.composer([tmp_path]):
        assert compose.compose_job(["target=mine"]).config["target"] == {"_target_": "a.B"}
    with compose.composer(), pytest.raises(compose.COMPOSE_ERRORS):
        compose.compose_job(["target=mine"])
