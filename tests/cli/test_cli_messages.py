"""What a mistaken command line is answered, word for word, before any data is opened."""

from __future__ import annotations

import shlex

import pytest

from mmx.cli import main
from mmx.errors import ConfigError, UsageError

GROUPS = (
    "source, target, encoder/audio, encoder/image, encoder/tabular, encoder/text, sharing, "
    "mapping, missing, fusion, balance, transfer, regularizer, objective, source_objective, "
    "optimizer, experiment"
)
ROOT_KEYS = (
    "seed, seeds, modalities, match, match_params, control, curve, device, precision, compile, "
    "data_dir, output_dir, cache, cache_gb, download"
)
ROOTS = f"{GROUPS}, trainer.<key>, {ROOT_KEYS}"
TASKS = "cifar10, cifar100, digits, digits_av, fsdd, image_folder, stl10, table"
FUSIONS = (
    "algorithm, attention, block, bottleneck, concat, cross_attention, deepset, ensemble, film, "
    "gated, gmu, hierarchical, late_mean, late_weighted, low_rank, mcb, mfb, mult, "
    "multiplicative, mutan, perceiver, poe, tensor, transformer, weighted_sum"
)
TRAINER = (
    "trainer.epochs, trainer.source_epochs, trainer.batch_size, trainer.accumulate, "
    "trainer.clip, trainer.warmup, trainer.modality_dropout, trainer.patience, "
    "trainer.resident, trainer.workers, trainer.checkpoint_seconds, trainer.threads"
)
A_TABLE = "source=none target=table target.path=x.csv target.label=y 'target.columns={tabular: a}' "
VERBS = (
    "train, rank, eval, predict, resume, reproduce, compare, list, rm, cache, check, doctor, "
    "completion"
)

ONE_PROBLEM = {
    # groups and options
    "tarket=digits": f"""\
tarket=digits: there is no group or key tarket
  accepted: {ROOTS}
  closest:  target
  type:     target=digits""",
    "target=cifar11": f"""\
target=cifar11: target has no option cifar11
  accepted: {TASKS}
  closest:  cifar10
  type:     target=cifar10""",
    "target=task/cifar10": f"""\
target=task/cifar10: target has no option task/cifar10
  accepted: {TASKS}
  closest:  cifar10
  type:     target=cifar10""",
    "target=none": f"""\
target=none: target has no option none
  accepted: {TASKS}""",
    "task=cifar10": """\
task=cifar10: a task is chosen as source or as target
  type:     source=cifar10""",
    "encoder.image=resnet18": """\
encoder.image=resnet18: encoder/image is a group of options
  type:     encoder/image=resnet18""",
    "encoder/imag=resnet18": f"""\
encoder/imag=resnet18: there is no group encoder/imag
  accepted: {GROUPS}
  closest:  encoder/image
  type:     encoder/image=resnet18""",
    "+encoder/imag=resnet18": f"""\
+encoder/imag=resnet18: there is no group encoder/imag
  accepted: {GROUPS}
  closest:  encoder/image
  type:     encoder/image=resnet18""",
    "fusion=null": f"""\
fusion=null: fusion has no option null
  accepted: {FUSIONS}""",
    "fusion=[concat,gmu]": f"""\
fusion=[concat,gmu]: fusion takes one option, and a sweep several
  accepted: {FUSIONS}
  type:     -m fusion=concat,gmu""",
    "experiment=[cifar10,fahion]": """\
experiment=[cifar10,fahion]: experiment has no option fahion
  accepted: cifar10, cifar_halves, fashion, fashion_features, fsdd_from_images, stl10_from_cifar10
  closest:  fashion
  type:     experiment=fashion""",
    "~fusion": f"""\
~fusion: a run needs a fusion
  accepted: {FUSIONS}
  type:     fusion=concat""",
    # keys
    "trainer.epoch=3": f"""\
trainer.epoch=3: there is no group or key trainer.epoch
  accepted: {TRAINER}
  closest:  trainer.epochs
  type:     trainer.epochs=3""",
    "trainer.foo=1": f"""\
trainer.foo=1: there is no group or key trainer.foo
  accepted: {TRAINER}""",
    "target=digits target.split_sed=3": """\
target.split_sed=3: there is no group or key target.split_sed
  accepted: target.name, target.test_fraction, target.val_fraction, target.split_seed, \
target.classes, target.limit, target.fraction, target.per_class, target.image
  closest:  target.split_seed
  type:     target.split_seed=3""",
    "experiment=fashion 'target.columns={image: image, tabular: [year]}'": """\
target.columns={image: image, tabular: [year]}: target.columns is {image: image, text: title} \
here, and a mapping given anew changes the values of its keys alone
  type:     ~target.columns.text +target.columns.tabular=[year]""",
    "lr=3": f"""\
lr=3: there is no group or key lr
  accepted: {ROOTS}
  closest:  optimizer.lr
  type:     optimizer.lr=3""",
    "+foo=1": f"""\
foo=1: no code reads this key
  accepted: {ROOT_KEYS}""",
    "+fusion.hiden=3": """\
fusion.hiden=3: no code reads this key
  accepted: fusion.hidden, fusion.dropout
  closest:  fusion.hidden
  type:     fusion.hidden=3""",
    "~seed": """\
~seed: seed cannot be left out
  type:     leave out ~seed""",
    "trainer=1": f"""\
trainer=1: expected a mapping
  accepted: {TRAINER}""",
    "foo": """\
foo: is not an override
  accepted: key=value, group=option, +key, ~key""",
    "target.name=~/a": """\
target.name=~/a: the value holds a character that wants quotes
  type:     'target.name="~/a"'""",
    # types, ranges, choices
    "trainer.epochs=abc": """\
trainer.epochs=abc: expected an integer ≥ 1 and ≤ 1000000
  type:     trainer.epochs=15""",
    "trainer.epochs=0": """\
trainer.epochs=0: expected an integer ≥ 1 and ≤ 1000000
  type:     trainer.epochs=15""",
    "trainer.epochs=true": """\
trainer.epochs=true: expected an integer ≥ 1 and ≤ 1000000
  type:     trainer.epochs=15""",
    "seed=1.5": """\
seed=1.5: expected an integer ≥ 0 and ≤ 9223372036854775807
  type:     seed=0""",
    "optimizer.lr=nan": """\
optimizer.lr=nan: expected a number > 0 and ≤ 1000
  type:     optimizer.lr=0.003""",
    "trainer.warmup=1": """\
trainer.warmup=1: expected a number ≥ 0 and < 1
  type:     trainer.warmup=0.1""",
    "trainer.clip=-1": """\
trainer.clip=-1: expected a number > 0 and ≤ 1e+09 or null
  type:     trainer.clip=1""",
    "compile=1": """\
compile=1: expected true or false
  type:     compile=true""",
    "device=gpu": """\
device=gpu: expected one of auto, cpu, cuda
  closest:  cpu
  type:     device=cpu""",
    "trainer.resident=yes": """\
trainer.resident=yes: expected auto or true or false
  type:     trainer.resident=true""",
    "objective.class_weights=1": """\
objective.class_weights=1: expected one of none, balanced or a list of numbers > 0 and ≤ 1e+06
  type:     objective.class_weights=none""",
    "optimizer.betas=[0.9]": """\
optimizer.betas=[0.9]: expected a list of numbers ≥ 0 and < 1
  type:     optimizer.betas=[0.9,0.999]""",
    "target.image=3": """\
target.image=3: expected an Image (a node with _target_)""",
    "target.name=../../x": """\
target.name=../../x: is part of a directory's name
  accepted: letters without accents, digits and _, then also . + -
  type:     target.name=_.._x""",
    # what nobody reads
    "encoder/text=lstm": """\
encoder/text=lstm: has no effect, since no task of this run has text
  type:     leave out encoder/text=lstm""",
    "transfer=feature source=none": """\
transfer=feature: has no effect, since there is no source to transfer from
  type:     leave out transfer=feature   (or source=<task>)""",
    "+encoder.image.vectorizer._target_=mmx.modalities.text.Tokens": """\
encoder.image.vectorizer: no code reads this key: a task says how its image is read
  type:     leave out encoder.image.vectorizer""",
    "seed=1,2": """\
seed=1,2: gives several values, and this is one run
  type:     -m seed=1,2""",
    # parts that do not fit each other
    "source=digits target=fsdd": """\
source=digits target=fsdd: no modality is in both: the source has image, the target audio
  type:     source=none   (or 'transfer.map={audio: image}' encoder/audio=spectrogram_cnn)""",
    "source=none target=fsdd objective=mean_squared_error": """\
objective=mean_squared_error: target=fsdd has a target of kind classes; \
this objective is for regression
  type:     objective=cross_entropy""",
    A_TABLE + "target.kind=multilabel": """\
objective=cross_entropy: target=table has a target of kind multilabel; \
this objective is for classes
  type:     objective=binary_cross_entropy""",
    A_TABLE + "target.kind=regression objective=mean_squared_error fusion=late_weighted "
    "fusion.combine=probabilities": """\
fusion=late_weighted: target=table has a target of kind regression; \
with these options the fusion is for classes""",
    A_TABLE + "target.kind=multilabel objective=binary_cross_entropy fusion=late_weighted "
    "fusion.combine=probabilities": """\
fusion=late_weighted: target=table has a target of kind multilabel; \
with these options the fusion is for classes""",
    "encoder.image.width=30": """\
encoder.image: `width` (=30) must be a multiple of 2 ** (depth - 1) = 8, since `depth` is 4""",
    "target.per_class=3 target.limit=30": """\
target: `limit` (=30) and `per_class` (=3) are set, \
at most one of limit, fraction, per_class can be""",
    "-m encoder.image.width=30,128": """\
encoder.image: `width` (=30) must be a multiple of 2 ** (depth - 1) = 8, since `depth` is 4""",
    "-m seed=1,2 encoder/text=lstm": """\
encoder/text=lstm: has no effect, since no task of this run has text
  type:     leave out encoder/text=lstm""",
    # flags
    "--config-dir nosuch": "--config-dir nosuch: is not a directory",
    "--cfg job trget=digits": f"""\
trget=digits: there is no group or key trget
  accepted: {ROOTS}
  closest:  target
  type:     target=digits""",
    "--cfg job seed=1,2": "seed=1,2: gives several values, and one config is shown",
}

SEVERAL = {
    "target=table": """\
3 problems in the config
target.path: needs a value
  accepted: text
  type:     target.path=<text>
target.label: needs a value
  accepted: text or a list of texts
  type:     target.label=<text>
target.columns: needs a value
  accepted: a mapping {key: value}
  type:     'target.columns={key: value}'""",
    "seed=1.5 optimizer.lr=-1 fusion=contat trainer.epoch=1": f"""\
4 problems in the config
fusion=contat: fusion has no option contat
  accepted: {FUSIONS}
  closest:  concat
  type:     fusion=concat
trainer.epoch=1: there is no group or key trainer.epoch
  accepted: {TRAINER}
  closest:  trainer.epochs
  type:     trainer.epochs=1
seed=1.5: expected an integer ≥ 0 and ≤ 9223372036854775807
  type:     seed=0
optimizer.lr=-1: expected a number > 0 and ≤ 1000
  type:     optimizer.lr=0.003""",
    "source=digits,none transfer=feature,parameter": """\
2 problems in the config
source=digits,none: gives several values, and this is one run
  type:     -m source=digits,none
transfer=feature,parameter: gives several values, and this is one run
  type:     -m transfer=feature,parameter""",
    "target=table target.path=a target.label=b target.columns.image=photo": """\
2 problems in the config
target.columns.image=photo: the keys of target.columns are set together
  type:     'target.columns={image: photo, ...}'
target.columns: needs a value
  accepted: a mapping {key: value}
  type:     'target.columns={key: value}'""",
}

USAGE = {
    "train --gpu": (
        "mmx train has no flag --gpu",
        "mmx train --help lists the flags; a setting is written key=value",
    ),
    "train --allow": ("--allow needs a value", None),
    "tarin seed=1": (f"there is no verb 'tarin'; the verbs are {VERBS}", "mmx train seed=1"),
    "source=cifar10 seed=1": (
        f"there is no verb 'source=cifar10'; the verbs are {VERBS}",
        "mmx train source=cifar10 seed=1",
    ),
    "xyzzy": (f"there is no verb 'xyzzy'; the verbs are {VERBS}", "mmx --help"),
    "completion bsh": (
        "no completion for the shell 'bsh'; there is bash, zsh, fish",
        "mmx completion bash",
    ),
    "eval": ("the following arguments are required: RUN, suite=NAME,…", "mmx eval --help"),
    "list --foo": ("unrecognized arguments: --foo", "mmx list --help"),
    "doctor x": ("unrecognized arguments: x", "mmx doctor --help"),
}


@pytest.mark.parametrize("line", ONE_PROBLEM)
def test_one_problem(mmx, line):
    said = mmx("train", *shlex.split(line))
    assert said.err == f"mmx: 1 problem in the config\n{ONE_PROBLEM[line]}\n"
    assert (said.code, said.out) == (2, "")


@pytest.mark.parametrize("line", SEVERAL)
def test_all_problems_are_told_at_once(mmx, line):
    said = mmx("train", *shlex.split(line))
    assert said.err == f"mmx: {SEVERAL[line]}\n"
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
def test_what_the_message_says_to_type_is_accepted(mmx, line):
    typed = ONE_PROBLEM[line].splitlines()[-1].removeprefix("  type:     ")
    said = mmx("train", *shlex.split(typed), "trainer.threads=0")
    assert said.err == (
        "mmx: 1 problem in the config\n"
        "trainer.threads=0: expected an integer ≥ 1 and ≤ 4096 or null\n"
        "  type:     trainer.threads=null\n"
    )


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
    said = mmx("train", "hydra.run.dir=full")
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


BROKEN = {
    "_target_: [\n": "own/task/mine.yaml: is not YAML (line 2: did not find expected node content)",
    "- a\n": "target=[a]: expected a node with _target_",
    "name: x\n": "target={{name: x}}: expected a node with _target_",
    "_target_: mmx.tasks.digits.Digits\nname: ${{nokey}}\n": "target=mine: Interpolation key "
    "'nokey' not found full_key: target.name object_type=dict",
    "_target_: mmx.tasks.digits.Digts\n": "target._target_=mmx.tasks.digits.Digts: does not exist "
    "(module 'mmx.tasks.digits' has no attribute 'Digts')\n  closest:  mmx.tasks.digits.Digits",
    "_target_: mmx.tasks.Task\n": "target._target_=mmx.tasks.Task: is abstract: "
    "it lacks modalities, read",
    "_target_: 3\n": "target._target_=3: expected the dotted name of a class",
    "_target_: mmx.tasks.digits.Digits\n": "target.name: needs a value\n"
    "  accepted: text\n  type:     target.name=<text>",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_file_of_the_user(mmx, tmp_path, text):
    file = tmp_path / "own" / "task" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text.replace("{{", "{").replace("}}", "}"))
    said = mmx("train", "--config-dir", "own", "target=mine")
    assert said.err == f"mmx: 1 problem in the config\n{BROKEN[text].format()}\n"
    assert (said.code, said.out) == (2, "")


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
