"""What to type in place of a line that has no effect or does not fit."""

from __future__ import annotations

import shlex

import pytest
from catalogue import listed, options, with_key
from refusals import Refusal, check_refusals

from mmx.errors import ConfigError
from mmx.verbs.preflight import preflight
from mmx.verbs.train_line import parse_line

ADVICE: dict[str, Refusal] = {
    "source=none target=digits_av regularizer=l2_sp": Refusal(
        "regularizer=l2_sp",
        says=("no effect", "no source"),
        type_this="regularizer=none   (or source=<task>)",
    ),
    "transfer=scratch regularizer=l2_sp": Refusal(
        "regularizer=l2_sp",
        says=("transfer=scratch", "no effect"),
        type_this="regularizer=none   (or transfer=parameter)",
    ),
    "transfer=auto regularizer=l2_sp": Refusal(
        "regularizer=l2_sp",
        says=("transfer=auto",),
        type_this="transfer.regularizers=[l2_sp]   (in its place)",
    ),
    # words of earlier versions
    "sharing=tasks": Refusal(
        "sharing=tasks",
        says=("transfer=joint", "sharing.modalities", "sharing.classifier"),
        accepted=listed(options("sharing")),
        type_this="transfer=joint sharing=trunk sharing.modalities=false",
    ),
    "balance=focal": Refusal(
        "balance=focal",
        says=("objective",),
        accepted=listed(options("balance")),
        type_this="objective=focal   (source_objective=cross_entropy keeps it from a source)",
    ),
    "balance.gamma=3": Refusal(
        "balance.gamma=3", says=("objective",), type_this="objective=focal objective.gamma=3"
    ),
    "source=none match=params fusion.hidden=64": Refusal(
        "fusion.hidden=64",
        says=("match=params",),
        type_this="leave out fusion.hidden=64   (or match=none)",
    ),
    "transfer=parameter transfer.head=knn": Refusal(
        "transfer.head=knn",
        says=("transfer=parameter",),
        accepted="transfer.head under transfer=" + listed(with_key("transfer", "head")),
        type_this="transfer=feature transfer.head=knn",
    ),
    "transfer=feature transfer.freeze_depth=2": Refusal(
        "transfer.freeze_depth=2",
        says=("transfer=feature",),
        accepted="transfer.freeze_depth under transfer="
        + listed(with_key("transfer", "freeze_depth")),
        type_this="transfer=parameter transfer.freeze_depth=2",
    ),
    "transfer=scratch transfer.class_map={a:b}": Refusal(
        "transfer.class_map={a:b}",
        says=("transfer=scratch",),
        accepted="transfer.class_map under transfer=" + listed(with_key("transfer", "class_map")),
        type_this="transfer=parameter transfer.class_map={a:b}",
    ),
    "regularizer.strength=0.1": Refusal(
        "regularizer.strength=0.1",
        says=("regularizer=none",),
        accepted="regularizer.strength under regularizer="
        + listed(with_key("regularizer", "strength")),
        type_this="regularizer=delta regularizer.strength=0.1",
    ),
    "regularizer=l2_sp regularizer.strength=0.1": Refusal(
        "regularizer.strength=0.1",
        says=("regularizer=l2_sp",),
        accepted="regularizer.strength under regularizer="
        + listed(with_key("regularizer", "strength")),
        type_this="regularizer=delta regularizer.strength=0.1",
    ),
    "+regularizer=l2_sp": Refusal(
        "+regularizer=l2_sp", says=("changed, not added",), type_this="regularizer=l2_sp"
    ),
    "regularizer.alfa=0.1": Refusal(
        "regularizer.alfa=0.1",
        says=("regularizer=none",),
        accepted="regularizer.alpha under regularizer=" + listed(with_key("regularizer", "alpha")),
        type_this="regularizer=l2_sp regularizer.alpha=0.1",
    ),
    "regularizer.foo=0.1": Refusal(
        "regularizer.foo=0.1", says=("regularizer=none",), type_this="regularizer=delta"
    ),
    "source=none source.label=x": Refusal(
        "source.label=x",
        says=("source=none",),
        accepted="source.label under source=" + listed(with_key("task", "label")),
        type_this="source=table source.label=x",
    ),
    "transfer.wise_ft=true": Refusal(
        "transfer.wise_ft=true",
        says=("none, curve, best",),
        type_this="transfer.wise_ft=curve   (or transfer.wise_ft=best)",
    ),
    "transfer.lp_ft=yes": Refusal(
        "transfer.lp_ft=yes", says=("true or false",), type_this="transfer.lp_ft=true"
    ),
    "target=table target.path=x.csv target.label=y target.columns=image:photo": Refusal(
        "target.columns=image:photo",
        says=("a mapping {key: value}",),
        type_this="'target.columns={image: photo}'",
    ),
    "trainer.resident=off": Refusal(
        "trainer.resident=off",
        says=("auto", "true or false"),
        type_this="trainer.resident=false",
    ),
    "transfer.map=audio:image": Refusal(
        "transfer.map=audio:image",
        says=("a mapping {key: value}",),
        type_this="'transfer.map={audio: image}'",
    ),
    "match=true": Refusal("match=true", says=("none, params",), type_this="match=params"),
    "transfer.freeze=foo": Refusal(
        "transfer.freeze=foo", says=("a list of texts",), type_this="transfer.freeze=[foo]"
    ),
    "transfer=auto transfer.modes=[feture]": Refusal(
        "transfer.modes=[feture]",
        says=("feature",),
        closest="feature",
        type_this="transfer.modes=[feature]",
    ),
    "transfer=auto transfer.regularizers=[none,delta,lwff]": Refusal(
        "transfer.regularizers=[none,delta,lwff]",
        says=("none, ", "lwf"),
        closest="lwf",
        type_this="transfer.regularizers=[none,delta,lwf]",
    ),
    "transfer=auto transfer.depths=[0,-2]": Refusal(
        "transfer.depths=[0,-2]",
        says=("≥ 0", "≤ 1024"),
        type_this="transfer.depths=[0]",
    ),
    "curve=[0.2,5]": Refusal("curve=[0.2,5]", says=("> 0", "≤ 1"), type_this="curve=[0.2,1]"),
    "curve=[0.2]": Refusal("curve=[0.2]", says=("> 0", "≤ 1"), type_this="curve=fractions"),
    "target=digits_av curve=[0.2,1.0]": Refusal(
        "curve=[0.2,1.0]",
        says=("target=digits_av", "(target.per_class=10)"),
        type_this="curve=[0.2,1.0] target.per_class=null",
    ),
    "source=cifar10 target=fsdd encoder/image=resnet18": Refusal(
        "source=cifar10 target=fsdd",
        says=("image", "audio"),
        type_this="source=none   (or 'transfer.map={audio: image}' "
        "encoder/audio=spectrogram_resnet18)",
    ),
    "source=cifar10 target=fsdd encoder/image=resnet50": Refusal(
        "source=cifar10 target=fsdd",
        says=("image", "audio"),
        type_this="source=none   (or 'transfer.map={audio: image}' encoder/image=small_cnn "
        "encoder/audio=spectrogram_cnn)",
    ),
    "source=cifar10 target=fsdd 'transfer.map={audio: image}'": Refusal(
        "transfer.map={audio: image}",
        says=("audio", "image"),
        accepted="encoders of one architecture",
        type_this="encoder/image=small_cnn encoder/audio=spectrogram_cnn",
    ),
    "source=cifar10 target=fsdd 'transfer.map={audio: image}' "
    "encoder/audio=spectrogram_resnet18": Refusal(
        "transfer.map={audio: image}",
        says=("audio", "image"),
        accepted="encoders of one architecture",
        type_this="encoder/image=resnet18 encoder/audio=spectrogram_resnet18",
    ),
}

OTHER_NAMES = {
    "finetune": ("parameter", "transfer=parameter"),
    "Fine-Tuning": ("parameter", "transfer=parameter"),
    "full": ("parameter", "transfer=parameter"),
    "lp_ft": ("parameter", "transfer=parameter transfer.lp_ft=true"),
    "wise_ft": ("parameter", "transfer=parameter transfer.wise_ft=best"),
    "linear_probe": ("feature", "transfer=feature"),
    "probe": ("feature", "transfer=feature"),
    "frozen": ("feature", "transfer=feature"),
    "lora": ("adapter", "transfer=adapter transfer.kind=lora"),
    "none": ("scratch", "transfer=scratch"),
    "multitask": ("joint", "transfer=joint"),
}

WORKS = [
    "source=digits_av transfer=feature transfer.head=knn",
    "transfer.regularizers=[l2_sp] transfer=auto",
    "transfer=auto transfer.regularizers=[none,delta,lwf]",
    "regularizer=delta regularizer.strength=0.1",
    "transfer.wise_ft=curve",
    "source=none control=scratch",
    "source=cifar10 target=fsdd 'transfer.map={audio: image}' encoder/audio=spectrogram_cnn",
    "source=cifar10 target=fsdd 'transfer.map={audio: image}' encoder/image=resnet18 "
    "encoder/audio=spectrogram_resnet18",
    *(typed for _, typed in OTHER_NAMES.values()),
]


@pytest.mark.parametrize("line", ADVICE)
def test_advice(refuse, line):
    check_refusals(refuse("train", *shlex.split(line)), [ADVICE[line]])


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_what_the_field_calls_a_mode_otherwise_leads_to_it(refuse, name):
    (found,) = refuse("train", f"transfer={name}")
    assert (found.closest, found.type_this) == OTHER_NAMES[name]


@pytest.mark.parametrize("line", WORKS)
def test_what_is_advised_leads_to_no_other_error(line):
    assert len(preflight(parse_line(shlex.split(line)), [])) == 1


@pytest.mark.parametrize(
    "line",
    [
        "source=none,cifar10 regularizer=none,l2_sp",
        "transfer=scratch,parameter regularizer=none,l2_sp",
    ],
)
def test_in_a_sweep_the_same_run_comes_twice_and_is_no_error(line):
    jobs = preflight(parse_line(["-m", *line.split()]), [])
    assert [job.experiment.regularizer is not None for job in jobs] == [False, False, False, True]
    first, twice, *others = (job.experiment.fingerprint for job in jobs)
    assert first == twice
    assert len({first, *others}) == 3


def test_a_regularizer_that_no_job_of_a_sweep_reads_is_refused():
    with pytest.raises(ConfigError, match=r"^1 problem .*\nregularizer=l2_sp: has no effect"):
        preflight(parse_line(["-m", "source=none", "regularizer=l2_sp", "seed=1,2"]), [])
