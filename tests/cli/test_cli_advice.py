"""What to type in place of a line that has no effect or does not fit: word for word."""

from __future__ import annotations

import shlex

import pytest

from mmx.errors import ConfigError
from mmx.verbs.preflight import preflight
from mmx.verbs.train_line import read_line

ADVICE = {
    # a regulariser that holds nothing
    "source=none target=digits_av regularizer=l2_sp": """\
regularizer=l2_sp: has no effect, since there is no source for it to hold the target near
  type:     regularizer=none   (or source=<task>)""",
    "transfer=scratch regularizer=l2_sp": """\
regularizer=l2_sp: has no effect, since transfer=scratch takes nothing from a source for it to \
hold the target near
  type:     regularizer=none   (or transfer=parameter)""",
    "transfer=auto regularizer=l2_sp": """\
regularizer=l2_sp: is one of several that transfer=auto may choose from
  type:     transfer.regularizers=[l2_sp]   (in its place)""",
    # words of earlier versions
    "sharing=tasks": """\
sharing=tasks: joint training is now asked for by transfer=joint alone, and who shares the trunk \
is now said by sharing.modalities and sharing.classifier
  accepted: none, trunk
  type:     transfer=joint sharing=trunk sharing.modalities=false""",
    "balance=focal": """\
balance=focal: the focal loss is now an objective alone
  accepted: mixup, none, resample, smote_features, weights
  type:     objective=focal   (source_objective=cross_entropy keeps it from a source)""",
    "balance.gamma=3": """\
balance.gamma=3: the focal loss is now an objective alone
  type:     objective=focal objective.gamma=3""",
    "source=none match=params fusion.hidden=64": """\
fusion.hidden=64: has no effect, since match=params chooses it
  type:     leave out fusion.hidden=64   (or match=none)""",
    # keys of another option
    "transfer=parameter transfer.head=knn": """\
transfer.head=knn: transfer=parameter has no key head
  accepted: transfer.head under transfer=feature
  type:     transfer=feature transfer.head=knn""",
    "transfer=feature transfer.freeze_depth=2": """\
transfer.freeze_depth=2: transfer=feature has no key freeze_depth
  accepted: transfer.freeze_depth under transfer=parameter
  type:     transfer=parameter transfer.freeze_depth=2""",
    "transfer=scratch transfer.class_map={a:b}": """\
transfer.class_map={a:b}: transfer=scratch has no key class_map
  accepted: transfer.class_map under transfer=adapter, auto, parameter
  type:     transfer=parameter transfer.class_map={a:b}""",
    "regularizer.strength=0.1": """\
regularizer.strength=0.1: regularizer=none has no keys, so choose another first
  accepted: regularizer.strength under regularizer=bi_tuning, bss, co_tuning, coral, delta, \
distill, lwf, mmd, rkd, similarity
  type:     regularizer=delta regularizer.strength=0.1""",
    "regularizer=l2_sp regularizer.strength=0.1": """\
regularizer.strength=0.1: regularizer=l2_sp has no key strength but alpha, beta
  accepted: regularizer.strength under regularizer=bi_tuning, bss, co_tuning, coral, delta, \
distill, lwf, mmd, rkd, similarity
  type:     regularizer=delta regularizer.strength=0.1""",
    "+regularizer=l2_sp": """\
+regularizer=l2_sp: regularizer is chosen already: it is changed, not added
  type:     regularizer=l2_sp""",
    "regularizer.alfa=0.1": """\
regularizer.alfa=0.1: regularizer=none has no keys, so choose another first
  accepted: regularizer.alpha under regularizer=l2_sp
  type:     regularizer=l2_sp regularizer.alpha=0.1""",
    "regularizer.foo=0.1": """\
regularizer.foo=0.1: regularizer=none has no keys, so choose another first
  type:     regularizer=delta""",
    "source=none source.label=x": """\
source.label=x: source=none has no keys, so choose another first
  accepted: source.label under source=table
  type:     source=table source.label=x""",
    # values near to one that is accepted
    "transfer.wise_ft=true": """\
transfer.wise_ft=true: expected one of none, curve, best
  type:     transfer.wise_ft=curve   (or transfer.wise_ft=best)""",
    "transfer.lp_ft=yes": """\
transfer.lp_ft=yes: expected true or false
  type:     transfer.lp_ft=true""",
    "target=table target.path=x.csv target.label=y target.columns=image:photo": """\
target.columns=image:photo: expected a mapping {key: value}
  type:     'target.columns={image: photo}'""",
    "trainer.resident=off": """\
trainer.resident=off: expected auto or true or false
  type:     trainer.resident=false""",
    "transfer.map=audio:image": """\
transfer.map=audio:image: expected a mapping {key: value} or null
  type:     'transfer.map={audio: image}'""",
    "match=true": """\
match=true: expected one of none, params
  type:     match=params""",
    "transfer.freeze=foo": """\
transfer.freeze=foo: expected a list of texts
  type:     transfer.freeze=[foo]""",
    "transfer=auto transfer.modes=[feture]": """\
transfer.modes=[feture]: expected a list of any of scratch, feature, parameter, adapter, \
structure, joint
  closest:  feature
  type:     transfer.modes=[feature]""",
    "transfer=auto transfer.regularizers=[none,delta,lwff]": """\
transfer.regularizers=[none,delta,lwff]: expected a list of any of none, l2_sp, delta, bss, mmd, \
coral, distill, rkd, similarity, stochnorm, co_tuning, bi_tuning, lwf
  closest:  lwf
  type:     transfer.regularizers=[none,delta,lwf]""",
    "transfer=auto transfer.depths=[0,-2]": """\
transfer.depths=[0,-2]: expected a list of integers ≥ 0 and ≤ 1024
  type:     transfer.depths=[0]""",
    "curve=[0.2,5]": """\
curve=[0.2,5]: expected fractions or a list of numbers > 0 and ≤ 1 or null
  type:     curve=[0.2,1]""",
    "curve=[0.2]": """\
curve=[0.2]: expected fractions or a list of numbers > 0 and ≤ 1 or null
  type:     curve=fractions""",
    "target=digits_av curve=[0.2,1.0]": """\
curve=[0.2,1.0]: takes parts of all training rows, and target=digits_av keeps some of them \
unless told otherwise (target.per_class=10)
  type:     curve=[0.2,1.0] target.per_class=null""",
    # one modality's encoder from another's
    "source=cifar10 target=fsdd encoder/image=resnet18": """\
source=cifar10 target=fsdd: no modality is in both: the source has image, the target audio
  type:     source=none   (or 'transfer.map={audio: image}' encoder/audio=spectrogram_resnet18)""",
    "source=cifar10 target=fsdd encoder/image=resnet50": """\
source=cifar10 target=fsdd: no modality is in both: the source has image, the target audio
  type:     source=none   (or 'transfer.map={audio: image}' encoder/image=small_cnn \
encoder/audio=spectrogram_cnn)""",
    "source=cifar10 target=fsdd 'transfer.map={audio: image}'": """\
transfer.map={audio: image}: no tensor of the audio encoder has the name of one of the image \
encoder
  accepted: encoders of one architecture
  type:     encoder/image=small_cnn encoder/audio=spectrogram_cnn""",
    "source=cifar10 target=fsdd 'transfer.map={audio: image}' "
    "encoder/audio=spectrogram_resnet18": """\
transfer.map={audio: image}: no tensor of the audio encoder has the name of one of the image \
encoder
  accepted: encoders of one architecture
  type:     encoder/image=resnet18 encoder/audio=spectrogram_resnet18""",
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
def test_advice(mmx, line):
    said = mmx("train", *shlex.split(line))
    assert said.err == f"mmx: 1 problem in the config\n{ADVICE[line]}\n"
    assert (said.code, said.out) == (2, "")


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_what_the_field_calls_a_mode_otherwise_leads_to_it(mmx, name):
    closest, typed = OTHER_NAMES[name]
    said = mmx("train", f"transfer={name}")
    assert said.err.endswith(f"\n  closest:  {closest}\n  type:     {typed}\n")


@pytest.mark.parametrize("line", WORKS)
def test_what_is_advised_leads_to_no_other_error(line):
    assert len(preflight(read_line(shlex.split(line)), [])) == 1


@pytest.mark.parametrize(
    "line",
    [
        "source=none,cifar10 regularizer=none,l2_sp",
        "transfer=scratch,parameter regularizer=none,l2_sp",
    ],
)
def test_in_a_sweep_the_same_run_comes_twice_and_is_no_error(line):
    jobs = preflight(read_line(["-m", *line.split()]), [])
    assert [job.experiment.regularizer is not None for job in jobs] == [False, False, False, True]
    first, twice, *others = (job.experiment.fingerprint for job in jobs)
    assert first == twice
    assert len({first, *others}) == 3


def test_a_regularizer_that_no_job_of_a_sweep_reads_is_refused():
    with pytest.raises(ConfigError, match=r"^1 problem .*\nregularizer=l2_sp: has no effect"):
        preflight(read_line(["-m", "source=none", "regularizer=l2_sp", "seed=1,2"]), [])
