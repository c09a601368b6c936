"""What a mistaken command line is answered, before any data is opened.

Each mistake is held to what its answer consists of; ``WORDINGS`` has one answer of each kind,
word for word, as it is printed.
"""

from __future__ import annotations

import shlex

import catalogue
import pytest
from catalogue import keys, listed, options, root_keys
from refusals import Refusal, check_refusals

from mmx.cli import main
from mmx.errors import ConfigError, UsageError, closest
from mmx.verbs import find_verbs

GROUPS = listed(catalogue.GROUPS)
ROOT_KEYS = listed(root_keys())
SETTINGS = listed(root_keys())
TRAINER = listed(catalogue.ROOT["trainer"], "trainer.")
ROOTS = f"{GROUPS}, trainer.<key>, {ROOT_KEYS}"
TASKS = listed(options("task"))
LIKE_NONE = closest("none", options("task"))
FUSIONS = listed(options("fusion"))
A_TABLE = "source=none target=table target.path=x.csv target.label=y 'target.columns={tabular: a}' "

ONE_PROBLEM: dict[str, Refusal] = {
    "tarket=digits": Refusal(
        "tarket=digits",
        says=("tarket",),
        accepted=ROOTS,
        closest="target",
        type_this="target=digits",
    ),
    "target=cifar11": Refusal(
        "target=cifar11",
        says=("cifar11",),
        accepted=TASKS,
        closest="cifar10",
        type_this="target=cifar10",
    ),
    "target=task/cifar10": Refusal(
        "target=task/cifar10",
        says=("task/cifar10",),
        accepted=TASKS,
        closest="cifar10",
        type_this="target=cifar10",
    ),
    "target=none": Refusal(
        "target=none",
        says=("none",),
        accepted=TASKS,
        closest=LIKE_NONE,
        type_this=LIKE_NONE and f"target={LIKE_NONE}",
    ),
    "task=cifar10": Refusal("task=cifar10", says=("source", "target"), type_this="source=cifar10"),
    "encoder.image=resnet18": Refusal(
        "encoder.image=resnet18", says=("encoder/image",), type_this="encoder/image=resnet18"
    ),
    "encoder/imag=resnet18": Refusal(
        "encoder/imag=resnet18",
        says=("encoder/imag",),
        accepted=GROUPS,
        closest="encoder/image",
        type_this="encoder/image=resnet18",
    ),
    "+encoder/imag=resnet18": Refusal(
        "+encoder/imag=resnet18",
        says=("encoder/imag",),
        accepted=GROUPS,
        closest="encoder/image",
        type_this="encoder/image=resnet18",
    ),
    "fusion=null": Refusal("fusion=null", says=("fusion", "null"), accepted=FUSIONS),
    "fusion=[concat,gmu]": Refusal(
        "fusion=[concat,gmu]", accepted=FUSIONS, type_this="-m fusion=concat,gmu"
    ),
    "experiment=[cifar10,fahion]": Refusal(
        "experiment=[cifar10,fahion]",
        says=("fahion",),
        accepted=listed(options("experiment")),
        closest="fashion",
        type_this="experiment=fashion",
    ),
    "~fusion": Refusal("~fusion", says=("fusion",), accepted=FUSIONS, type_this="fusion=concat"),
    "trainer.epoch=3": Refusal(
        "trainer.epoch=3",
        says=("trainer.epoch",),
        accepted=TRAINER,
        closest="trainer.epochs",
        type_this="trainer.epochs=3",
    ),
    "trainer.foo=1": Refusal("trainer.foo=1", says=("trainer.foo",), accepted=TRAINER),
    "target=digits target.split_sed=3": Refusal(
        "target.split_sed=3",
        says=("target.split_sed",),
        accepted=listed(keys("task", "digits"), "target."),
        closest="target.split_seed",
        type_this="target.split_seed=3",
    ),
    "experiment=fashion 'target.columns={image: image, tabular: [year]}'": Refusal(
        "target.columns={image: image, tabular: [year]}",
        says=("target.columns is {image: image, text: title}",),
        type_this="~target.columns.text +target.columns.tabular=[year]",
    ),
    "lr=3": Refusal(
        "lr=3", says=("lr",), accepted=ROOTS, closest="optimizer.lr", type_this="optimizer.lr=3"
    ),
    "+foo=1": Refusal("foo=1", accepted=SETTINGS),
    "+fusion.hiden=3": Refusal(
        "fusion.hiden=3",
        accepted=listed(keys("fusion", "concat"), "fusion."),
        closest="fusion.hidden",
        type_this="fusion.hidden=3",
    ),
    "~seed": Refusal("~seed", says=("seed",), type_this="leave out ~seed"),
    "trainer=1": Refusal("trainer=1", says=("mapping",), accepted=TRAINER),
    "foo": Refusal("foo", says=("override",), accepted="key=value, group=option, +key, ~key"),
    "target.name=~/a": Refusal(
        "target.name=~/a", says=("quotes",), type_this="'target.name=\"~/a\"'"
    ),
    "trainer.epochs=abc": Refusal(
        "trainer.epochs=abc",
        says=("≥ 1", "≤ 1000000", "integer"),
        type_this="trainer.epochs=15",
    ),
    "trainer.epochs=0": Refusal(
        "trainer.epochs=0",
        says=("≥ 1", "≤ 1000000"),
        type_this="trainer.epochs=15",
    ),
    "trainer.epochs=true": Refusal(
        "trainer.epochs=true",
        says=("≥ 1", "≤ 1000000", "integer"),
        type_this="trainer.epochs=15",
    ),
    "seed=1.5": Refusal("seed=1.5", says=("≥ 0", "≤ 9223372036854775807"), type_this="seed=0"),
    "optimizer.lr=nan": Refusal(
        "optimizer.lr=nan",
        says=("> 0", "≤ 1000"),
        type_this="optimizer.lr=0.003",
    ),
    "trainer.warmup=1": Refusal(
        "trainer.warmup=1",
        says=("≥ 0", "< 1"),
        type_this="trainer.warmup=0.1",
    ),
    "trainer.clip=-1": Refusal(
        "trainer.clip=-1",
        says=("> 0", "≤ 1e+09"),
        type_this="trainer.clip=1",
    ),
    "compile=1": Refusal("compile=1", says=("true or false",), type_this="compile=true"),
    "device=gpu": Refusal(
        "device=gpu", says=("auto, cpu, cuda",), closest="cpu", type_this="device=cpu"
    ),
    "trainer.resident=yes": Refusal(
        "trainer.resident=yes",
        says=("auto", "true or false"),
        type_this="trainer.resident=true",
    ),
    "objective.class_weights=1": Refusal(
        "objective.class_weights=1",
        says=("> 0", "≤ 1e+06", "none, balanced"),
        type_this="objective.class_weights=none",
    ),
    "optimizer.betas=[0.9]": Refusal(
        "optimizer.betas=[0.9]",
        says=("≥ 0", "< 1", "list of numbers"),
        type_this="optimizer.betas=[0.9,0.999]",
    ),
    "target.image=3": Refusal("target.image=3", says=("Image",)),
    "target.name=../../x": Refusal(
        "target.name=../../x",
        says=("directory",),
        accepted="letters without accents, digits and _, then also . + -",
        type_this="target.name=_.._x",
    ),
    "encoder/text=lstm": Refusal(
        "encoder/text=lstm",
        says=("no effect", "text"),
        type_this="leave out encoder/text=lstm",
    ),
    "transfer=feature source=none": Refusal(
        "transfer=feature",
        says=("no effect", "source"),
        type_this="leave out transfer=feature   (or source=<task>)",
    ),
    "+encoder.image.vectorizer._target_=mmx.modalities.text.Tokens": Refusal(
        "encoder.image.vectorizer", says=("image",), type_this="leave out encoder.image.vectorizer"
    ),
    "seed=1,2": Refusal("seed=1,2", says=("several values",), type_this="-m seed=1,2"),
    "source=digits target=fsdd": Refusal(
        "source=digits target=fsdd",
        says=("image", "audio"),
        type_this="source=none   (or 'transfer.map={audio: image}' encoder/audio=spectrogram_cnn)",
    ),
    "source=none target=fsdd objective=mean_squared_error": Refusal(
        "objective=mean_squared_error",
        says=("target=fsdd", "kind classes"),
        type_this="objective=cross_entropy",
    ),
    A_TABLE + "target.kind=multilabel": Refusal(
        "objective=cross_entropy",
        says=("target=table", "kind multilabel"),
        type_this="objective=binary_cross_entropy",
    ),
    A_TABLE + "target.kind=regression objective=mean_squared_error "
    "fusion=late_weighted fusion.combine=probabilities": Refusal(
        "fusion=late_weighted",
        says=("target=table", "kind regression"),
    ),
    A_TABLE + "target.kind=multilabel objective=binary_cross_entropy "
    "fusion=late_weighted fusion.combine=probabilities": Refusal(
        "fusion=late_weighted",
        says=("target=table", "kind multilabel"),
    ),
    "encoder.image.width=30": Refusal("encoder.image", says=("`width`", "(=30)", "`depth`", "8")),
    "target.per_class=3 target.limit=30": Refusal(
        "target",
        says=("`limit`", "(=30)", "`per_class`", "(=3)"),
    ),
    "-m encoder.image.width=30,128": Refusal("encoder.image", says=("`width`", "(=30)", "`depth`")),
    "-m seed=1,2 encoder/text=lstm": Refusal(
        "encoder/text=lstm",
        says=("no effect", "text"),
        type_this="leave out encoder/text=lstm",
    ),
    "--config-dir nosuch": Refusal("--config-dir nosuch", says=("not a directory",)),
    "--cfg job trget=digits": Refusal(
        "trget=digits", says=("trget",), accepted=ROOTS, closest="target", type_this="target=digits"
    ),
    "--cfg job seed=1,2": Refusal("seed=1,2", says=("several values",)),
}

SEVERAL: dict[str, list[Refusal]] = {
    "target=table": [
        Refusal(
            "target.path",
            accepted="text or a list of texts or a mapping {key: value}",
            type_this="target.path=products.csv",
        ),
        Refusal(
            "target.label", accepted="text or a list of texts", type_this="target.label=<text>"
        ),
        Refusal(
            "target.columns",
            accepted="a mapping {key: value}",
            type_this="'target.columns={image: photo, text: title}'",
        ),
    ],
    "seed=1.5 optimizer.lr=-1 fusion=contat trainer.epoch=1": [
        Refusal("fusion=contat", accepted=FUSIONS, closest="concat", type_this="fusion=concat"),
        Refusal(
            "trainer.epoch=1",
            accepted=TRAINER,
            closest="trainer.epochs",
            type_this="trainer.epochs=1",
        ),
        Refusal("seed=1.5", says=("≥ 0", "≤ 9223372036854775807"), type_this="seed=0"),
        Refusal("optimizer.lr=-1", says=("> 0", "≤ 1000"), type_this="optimizer.lr=0.003"),
    ],
    "source=digits,none transfer=feature,parameter": [
        Refusal("source=digits,none", type_this="-m source=digits,none"),
        Refusal("transfer=feature,parameter", type_this="-m transfer=feature,parameter"),
    ],
    "target=table target.path=a target.label=b target.columns.image=photo": [
        Refusal("target.columns.image=photo", type_this="'target.columns={image: photo, ...}'"),
        Refusal(
            "target.columns",
            accepted="a mapping {key: value}",
            type_this="'target.columns={image: photo, text: title}'",
        ),
    ],
}

WORDINGS = {  # one of each kind
    "tarket=digits": f"""\
1 problem in the config
tarket=digits: there is no group or key tarket
  accepted: {ROOTS}
  closest:  target
  type:     target=digits""",
    "target=cifar11": f"""\
1 problem in the config
target=cifar11: target has no option cifar11
  accepted: {TASKS}
  closest:  cifar10
  type:     target=cifar10""",
    "encoder.image=resnet18": """\
1 problem in the config
encoder.image=resnet18: encoder/image is a group of options
  type:     encoder/image=resnet18""",
    "+foo=1": f"""\
1 problem in the config
foo=1: no code reads this key
  accepted: {SETTINGS}""",
    "foo": """\
1 problem in the config
foo: is not an override
  accepted: key=value, group=option, +key, ~key""",
    "trainer.epochs=0": """\
1 problem in the config
trainer.epochs=0: expected an integer ≥ 1 and ≤ 1000000
  type:     trainer.epochs=15""",
    "objective.class_weights=1": """\
1 problem in the config
objective.class_weights=1: expected one of none, balanced or a list of numbers > 0 and ≤ 1e+06
  type:     objective.class_weights=none""",
    "encoder/text=lstm": """\
1 problem in the config
encoder/text=lstm: has no effect, since no task of this run has text
  type:     leave out encoder/text=lstm""",
    "source=none target=fsdd objective=mean_squared_error": """\
1 problem in the config
objective=mean_squared_error: target=fsdd has a target of kind classes; \
this objective is for regression
  type:     objective=cross_entropy""",
    "encoder.image.width=30": """\
1 problem in the config
encoder.image: `width` (=30) must be a multiple of 2 ** (depth - 1) = 8, since `depth` is 4""",
    "target=table": """\
3 problems in the config
target.path: needs a value
  accepted: text or a list of texts or a mapping {key: value}
  type:     target.path=products.csv
target.label: needs a value
  accepted: text or a list of texts
  type:     target.label=<text>
target.columns: needs a value
  accepted: a mapping {key: value}
  type:     'target.columns={image: photo, text: title}'""",
    "source=digits,none transfer=feature,parameter": """\
2 problems in the config
source=digits,none: gives several values, and this is one run
  type:     -m source=digits,none
transfer=feature,parameter: gives several values, and this is one run
  type:     -m transfer=feature,parameter""",
    "encoder/text=transformers encoder.text.model=one,two": """\
1 problem in the config
encoder.text.model=one,two: gives several values, and this is one run
  type:     -m encoder.text.model=one,two""",
}

USAGE = {
    "train --gpu": (
        "mmx train has no flag --gpu",
        "mmx train --help lists the flags; a setting is written key=value",
    ),
    "train --allow": ("--allow needs a value", None),
    "tarin seed=1": (
        f"there is no verb 'tarin'; the verbs are {listed(find_verbs())}",
        "mmx train seed=1",
    ),
    "source=cifar10 seed=1": (
        f"there is no verb 'source=cifar10'; the verbs are {listed(find_verbs())}",
        "mmx train source=cifar10 seed=1",
    ),
    "xyzzy": (f"there is no verb 'xyzzy'; the verbs are {listed(find_verbs())}", "mmx --help"),
    "params run": (
        f"there is no verb 'params'; the verbs are {listed(find_verbs())}",
        "mmx --help",
    ),
    "completion bsh": (
        "no completion for the shell 'bsh'; there is bash, zsh, fish",
        "mmx completion bash",
    ),
    "eval": ("the following arguments are required: RUN", "mmx eval --help"),
    "list --foo": ("unrecognized arguments: --foo", "mmx list --help"),
    "doctor x": ("unrecognized arguments: x", "mmx doctor --help"),
}


@pytest.mark.parametrize("line", ONE_PROBLEM)
def test_one_problem(refuse, line):
    check_refusals(refuse("train", *shlex.split(line)), [ONE_PROBLEM[line]])


@pytest.mark.parametrize("line", SEVERAL)
def test_all_problems_are_told_at_once(refuse, line):
    check_refusals(refuse("train", *shlex.split(line)), SEVERAL[line])


@pytest.mark.parametrize("line", WORDINGS)
def test_wording(mmx, line):
    said = mmx("train", *shlex.split(line))
    assert said.err == f"mmx: {WORDINGS[line]}\n"
    assert (said.code, said.out) == (2, "")


@pytest.mark.parametrize("line", USAGE)
def test_usage(mmx, line):
    said = mmx(*shlex.split(line))
    message, tip = USAGE[line]
    assert said.err == f"mmx: {message}\n" + (f"  tip: {tip}\n" if tip else "")
    assert (said.code, said.out) == (2, "")


@pytest.mark.parametrize(
    "line", ["tarket=digits", "lr=3", "encoder.image=resnet18", "encoder/imag=resnet18", "seed=1,2"]
)
def test_what_the_message_says_to_type_is_accepted(refuse, line):
    typed = shlex.split(ONE_PROBLEM[line].type_this)
    found = refuse("train", *typed, "trainer.threads=0")
    assert [each.given for each in found] == ["trainer.threads=0"]


def test_a_run_that_is_not_there(mmx):
    said = mmx("eval", "nowhere")
    assert said.err == "mmx: nowhere does not exist\n  tip: mmx list shows the runs\n"
    assert (said.code, said.out) == (2, "")


def test_no_runs_yet(mmx):
    said = mmx("list")
    assert said.err == "mmx: there is no folder outputs\n  tip: mmx train makes the first run\n"
    assert (said.code, said.out) == (1, "")


@pytest.mark.parametrize("line", ["train seed=1.5 --debug", "--debug train seed=1.5"])
def test_debug_raises(line):
    with pytest.raises(ConfigError, match=r"seed=1\.5"):
        main(line.split())
    with pytest.raises(UsageError):
        main(["--debug", "tarin"])


def test_an_error_of_the_job_itself_is_ours(mmx, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    # A number of threads, since those that other programs leave free would be told too.
    said = mmx("train", "hydra.run.dir=full", "trainer.threads=1")
    assert said.err == (
        "mmx: full exists and is not empty: a run directory is never reused\n"
        "  tip: leave hydra.run.dir out, or name a new directory\n"
    )
    assert (said.code, said.out) == (1, "")


def test_an_unexpected_error_says_how_to_see_more(mmx, monkeypatch):
    def broken(words):
        raise KeyError("width")

    monkeypatch.setattr("mmx.verbs.train.main", broken)
    said = mmx("train")
    assert said.err == (
        "mmx: KeyError: 'width'\n  tip: the same command with --debug shows where\n"
    )
    assert (said.code, said.out) == (1, "")


DIGITS = "mmx.tasks.digits.Digits"
BROKEN: dict[str, Refusal] = {
    "_target_: [\n": Refusal("own/task/mine.yaml", says=("YAML", "line 2")),
    "- a\n": Refusal("target=[a]", says=("_target_",)),
    "name: x\n": Refusal("target={name: x}", says=("_target_",)),
    f"_target_: {DIGITS}\nname: ${{nokey}}\n": Refusal(
        "target=mine", says=("'nokey'", "target.name")
    ),
    "_target_: mmx.tasks.digits.Digts\n": Refusal(
        "target._target_=mmx.tasks.digits.Digts",
        says=("'mmx.tasks.digits'", "'Digts'"),
        closest=DIGITS,
    ),
    "_target_: mmx.tasks.Task\n": Refusal(
        "target._target_=mmx.tasks.Task", says=("abstract", "modalities, read")
    ),
    "_target_: 3\n": Refusal("target._target_=3", says=("name", "class")),
    f"_target_: {DIGITS}\n": Refusal(
        "target.name", accepted="text", type_this="target.name=<text>"
    ),
}
"""Files of a user's own, to what is said of them."""


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_file_of_the_user(refuse, tmp_path, text):
    file = tmp_path / "own" / "task" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    check_refusals(refuse("train", "--config-dir", "own", "target=mine"), [BROKEN[text]])


@pytest.mark.parametrize("text", ["seed: 7", "defaults:\n  - override /source: none"])
def test_an_experiment_that_does_not_say_where_its_keys_belong(mmx, tmp_path, text):
    file = tmp_path / "own" / "experiment" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(f"# mine\n{text}\n")
    said = mmx("train", "--config-dir", "own", "experiment=mine")
    assert said.err == (
        "mmx: 1 problem in the config\n"
        "experiment=mine: its file says nothing of where its keys belong, and nothing reads them\n"
        "  type:     # @package _global_   (as the first line of that file)\n"
    )
    assert (said.code, said.out) == (2, "")
