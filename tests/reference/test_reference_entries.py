"""Every group, option and key is explained, and what is said agrees with the code that reads it."""

from __future__ import annotations

import inspect
import shlex
from pkgutil import resolve_name

import pytest
from catalogue import GROUPS, class_of, options, read, root_keys, variants

from mmx.config.yaml_comments import read_comments
from mmx.errors import UsageError
from mmx.reference.docstrings import Docs, first_sentence, read_docs, split_paragraphs
from mmx.reference.entries import describe_option, describe_root
from mmx.reference.prompt import WIDTH, write_topic
from mmx.reference.topics import Catalog, GroupTopic, KeysTopic, ListTopic

EVERY_GROUP = [*GROUPS, "experiment"]
LEAST_WORDS = 3


@pytest.fixture(scope="module")
def reference():
    return Catalog()


def say(word, reference):
    return [text for text, _ in write_topic(reference.find(word), reference)]


@pytest.mark.parametrize("group", EVERY_GROUP)
def test_no_option_and_no_key_is_without_a_sentence(group):
    silent = []
    for name in options(group):
        option = describe_option(group, name)
        if not option.headline:
            silent.append(option.typed)
        if name in variants(group) and not option.docs.summary:
            silent.append(f"the class of {option.typed}")
        for key in option.keys:
            if len(key.text.split()) < LEAST_WORDS or not key.short or not key.accepts:
                silent.append(key.path)
    assert silent == [], f"Args of the docstring says less than {LEAST_WORDS} words of these keys"


def test_no_root_key_is_without_a_sentence():
    found = describe_root()
    silent = [key.path for key in found if len(key.text.split()) < LEAST_WORDS or not key.accepts]
    assert silent == []
    assert all(key.short for key in found)
    named = [key.path for key in found if not key.path.startswith("trainer.")]
    assert named == root_keys()


@pytest.mark.parametrize("group", GROUPS)
def test_keys_are_those_of_the_files(group):
    for name, path in variants(group).items():
        found = [key.path for key in describe_option(group, name).keys]
        prefix = group.replace("/", ".")
        own = [f"{prefix}.{key}" for key in read(path) if key != "_target_"]
        assert [key for key in found if key in own] == own
        nested = {f"{prefix}.{k}" for k, v in read(path).items() if isinstance(v, dict)}
        assert all(any(key.startswith(f"{n}.") for n in nested) for key in {*found} - {*own})


def test_a_key_in_full():
    key = next(k for k in describe_option("transfer", "parameter").keys if k.name == "wise_ft")
    assert (key.path, key.accepts, key.default) == (
        "transfer.wise_ft", "one of none, curve, best", "none",
    )  # fmt: skip
    assert "arXiv 2109.01903" in key.text
    assert "``best``" in key.text
    assert key.short == read_comments(options("transfer")["parameter"].read_text())["wise_ft"]


def test_a_key_that_has_to_be_typed_and_the_keys_of_a_node_in_it():
    keys = {key.path: key for key in describe_option("target", "table").keys}
    assert keys["target.path"].default is None
    node = read(options("target")["table"])["image"]
    kind = resolve_name(node["_target_"])
    said = read_docs(kind).arguments["size"]
    assert keys["target.image.size"].text == said.replace("None", "null")


def test_values_are_named_as_they_are_typed():
    keys = {key.path: key for key in describe_root()}
    assert keys["trainer.clip"].text.endswith("; null for no clipping.")
    keys = {key.path: key for key in describe_option("target", "table").keys}
    assert keys["target.labelled"].text.startswith("false for prediction: ")


def test_the_command_of_an_option_has_the_keys_that_must_be_typed():
    option = describe_option("target", "table")
    last = [text for text, _ in write_topic(option, Catalog())][-1]
    keys = [key.path for key in option.keys if key.default is None]
    assert keys == ["target.path", "target.label", "target.columns"]
    typed = shlex.split(last.removeprefix("type:  "))
    assert typed[:3] == ["mmx", "train", "target=table"]
    assert typed[3:] == ["target.path=<path>", "target.label=<label>", "target.columns=<columns>"]


def test_controls_are_explained_one_by_one():
    key = next(key for key in describe_root() if key.path == "control")
    assert {"scratch", "unimodal", "zero_shot", "none"} <= {*key.choices}
    assert all(len(text.split()) >= LEAST_WORDS for text in key.choices.values())


def test_an_option_that_is_based_on_another(tmp_path):
    (tmp_path / "task").mkdir()
    text = "# mine\ndefaults:\n  - table\n  - _self_\nlabel: y  # the price\n"
    (tmp_path / "task" / "mine.yaml").write_text(text)
    option = describe_option("target", "mine", [tmp_path])
    keys = {key.path: key for key in option.keys}
    assert option.headline == "mine"
    assert (keys["target.label"].default, keys["target.label"].short) == ("y", "the price")
    assert keys["target.columns"].default is None
    assert keys["target.columns"].short.startswith("modality to column")


def test_a_class_that_nobody_allowed_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "stranger_part.py").write_text("raise RuntimeError('was imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "fusion").mkdir()
    text = "# of a stranger\n_target_: stranger_part.Fuse\nwidth: 3  # of what it gives\n"
    (tmp_path / "fusion" / "odd.yaml").write_text(text)
    option = describe_option("fusion", "odd", [tmp_path])
    assert option.docs == Docs()
    assert [(key.path, key.default, key.text) for key in option.keys] == [
        ("fusion.width", "3", "of what it gives")
    ]
    lines = [text for text, _ in write_topic(option, Catalog([tmp_path]))]
    assert any("--allow stranger_part" in line for line in lines)


@pytest.mark.parametrize("default", [";touch${IFS}/tmp/owned", "$(id)", "a'b", "[]"])
def test_a_command_is_quoted_for_a_shell(tmp_path, default):
    (tmp_path / "fusion").mkdir()
    (tmp_path / "fusion" / "a;b.yaml").write_text(f'# of a stranger\nwidth: "{default}"\n')
    reference = Catalog([tmp_path])
    typed = say("fusion=a;b", reference)[-1].removeprefix("type:  ")
    flags = ["--config-dir", str(tmp_path)]
    assert shlex.split(typed) == ["mmx", "train", *flags, "fusion=a;b", f"fusion.width={default}"]
    assert typed == shlex.join(shlex.split(typed))  # no part of it is left to the shell


def test_a_command_names_the_package_of_a_class_and_a_number_to_change(tmp_path):
    (tmp_path / "fusion").mkdir()
    text = "# of a stranger\n_target_: stranger_part.Fuse\nplaces: []\nkind: soft\nrate: 0.5\n"
    (tmp_path / "fusion" / "odd.yaml").write_text(text)
    assert say("fusion=odd", Catalog([tmp_path]))[-1] == (
        f"type:  mmx train --config-dir {tmp_path} --allow stranger_part fusion=odd fusion.rate=0.5"
    )


def test_commands_of_mmx_are_quoted_for_every_shell(tmp_path):
    (tmp_path / "fusion").mkdir()
    (tmp_path / "fusion" / "odd.yaml").write_text("# of a stranger\nplaces: []\n")
    typed = say("fusion=odd", Catalog([tmp_path]))[-1]
    assert typed.endswith(" fusion=odd 'fusion.places=[]'")  # zsh takes [] for a pattern


def test_a_source_that_depends_on_the_target(reference):
    said = " ".join(say("source", reference))
    assert "default, none where the target reads data of your own" in said
    assert "of your own" not in " ".join(say("transfer", reference)[-4:])


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("transfer", GroupTopic),
        ("encoder/image", GroupTopic),
        ("encoder.image", GroupTopic),
        ("trainer", KeysTopic),
        ("trainer.batch_size", KeysTopic),
        ("seed=3", KeysTopic),
        ("wise_ft", KeysTopic),
        ("target.image", KeysTopic),
        ("encoder", ListTopic),
        ("transformers", ListTopic),
        ("width", ListTopic),
    ],
)
def test_what_a_word_stands_for(word, kind, reference):
    assert isinstance(reference.find(word), kind)


def test_a_bare_name_of_an_option(reference):
    assert reference.find("hierarchical").typed == "fusion=hierarchical"
    assert reference.find("digits").typed == "target=digits"


def test_a_key_names_the_options_that_have_it(reference):
    topic = reference.find("transfer.wise_ft")
    assert [options for _, options in topic.keys] == [("transfer=parameter",)]
    assert "    of transfer=parameter" in say("transfer.wise_ft", reference)


@pytest.mark.parametrize(
    ("word", "tip"),
    [
        ("transfer=paramter", "mmx help transfer=parameter"),
        ("trainer.batchsize", "mmx help trainer.batch_size"),
        ("transfr", "mmx help transfer"),
        ("wiseft", "mmx help wise_ft"),
        ("fuson=concat", "mmx help fusion=concat"),
        ("objective.temprature", "mmx help objective.temperature"),
        ("qqqqqq", "mmx train --help lists them all"),
    ],
)
def test_a_misspelt_word(word, tip, reference):
    with pytest.raises(UsageError) as error:
        reference.find(word)
    assert error.value.tip == tip
    if tip.startswith("mmx help "):
        assert say(tip.removeprefix("mmx help "), reference)  # what it says to type works


@pytest.mark.parametrize("group", GROUPS)
def test_pages_fit_80_columns(group, reference):
    for name in list(options(group))[:4]:
        lines = say(f"{group}={name}", reference)
        notes = reference.describe(group, name).notes  # as they stand in the file
        wide = [line for line in lines if len(line) > WIDTH and line.strip() not in notes]
        # Formulas of a docstring stay as they are written.
        doc = inspect.getdoc(class_of(options(group)[name])) if name in variants(group) else ""
        # So does a command, which would not be one in two lines.
        left = [line for line in wide if line.strip() not in (doc or "")]
        assert [line for line in left if not line.startswith("type:  mmx")] == []


def test_sentences():
    assert first_sentence("As in Kumar et al. 2022. Then more.") == "As in Kumar et al. 2022."
    assert first_sentence("Kumar et al. Then 2022 came. More.") == "Kumar et al. Then 2022 came."
    assert first_sentence("") == ""
    assert split_paragraphs("a\nb\n\n    f = g\n    h\n\nc") == ["a b", "    f = g\n    h", "c"]


class Formula:
    """Adds.

        a = x + 1
        b = a + 1

    Use it to add.
    """


def test_a_formula_below_the_first_line_keeps_its_lines():
    body = read_docs(Formula).body
    assert split_paragraphs(body) == ["    a = x + 1\n    b = a + 1", "Use it to add."]


def test_a_key_is_explained_once_where_both_texts_say_the_same(reference):
    said = say("trainer.epochs", reference)
    assert [line for line in said if "passes over the training rows" in line.lower()] == [
        "    passes over the training rows, for source and target alike"
    ]
