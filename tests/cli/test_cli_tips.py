"""What an error advises works when it is typed, as far as the check of the config goes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import cache

import pytest

from mmx.errors import ConfigError, Problem
from mmx.verbs.preflight import preflight
from mmx.verbs.train_expand import expand
from mmx.verbs.train_line import parse_line

pytestmark = pytest.mark.slow

OF_TABLE = "source=none target=table target.path=t.csv target.label=y"
ACROSS = "source=cifar10 target=fsdd"
LINES = f"""
source=none target=digits_av regularizer=l2_sp
transfer=scratch regularizer=l2_sp
transfer=auto regularizer=l2_sp
sharing=architecture
sharing=modalities
sharing=parameters
sharing=tasks
sharing=tasks_modalities
-m sharing=none,tasks
balance=focal
balance.gamma=3
objective=contrastive source=none
source_objective=contrastive
source=none match=params fusion.hidden=64
transfer=parameter transfer.head=knn
transfer=feature transfer.freeze_depth=2
transfer=scratch 'transfer.class_map={{a: b}}'
regularizer.strength=0.1
+regularizer=l2_sp
regularizer.alfa=0.1
regularizer.foo=0.1
source=none source.label=x
transfer.wise_ft=true
transfer.lp_ft=yes
{OF_TABLE} target.columns=image:photo
trainer.resident=off
{ACROSS} encoder/audio=spectrogram_cnn transfer.map=audio:image
match=true
transfer.freeze=foo
transfer=auto transfer.modes=[feture]
transfer=auto transfer.regularizers=[none,delta,lwff]
transfer=auto transfer.depths=[0,-2]
target=digits curve=[0.2,5]
target=digits curve=[0.2]
target=digits_av curve=[0.2,1.0]
{ACROSS} encoder/image=resnet18
{ACROSS} encoder/image=resnet50
{ACROSS} 'transfer.map={{audio: image}}'
{ACROSS} 'transfer.map={{audio: image}}' encoder/audio=spectrogram_resnet18
transfer=finetune
transfer=Fine-Tuning
transfer=lp_ft
transfer=wise_ft
transfer=linear_probe
transfer=lora
transfer=none
transfer=multitask
tarket=digits
target=cifar11
target=task/cifar10
task=digits
encoder.image=resnet18
encoder/imag=resnet18
+encoder/imag=resnet18
experiment=[cifar_halves,fahion]
~fusion
trainer.epoch=3
target=digits target.split_sed=3
lr=3
+fusion.hiden=3
~seed
target.name=~/a
target.name=ü
trainer.epochs=abc
trainer.epochs=0
seed=1.5
optimizer.lr=nan
trainer.warmup=1
trainer.clip=-1
compile=1
device=gpu
objective.class_weights=1
optimizer.betas=[0.9]
target=digits encoder/text=lstm
transfer=feature source=none
+encoder.image.vectorizer._target_=mmx.modalities.text.Tokens
seed=1,2
optimizer.lr=interval(0.001,0.1)
-m optimizer.lr=interval(0.001,0.1)
-m trainer.epochs=interval(1,5)
'optimizer.lr=glob(a*)'
-m 'optimizer.lr=glob(a*)'
seed=range(1,3)
'seed=choice(1,2)'
-m 'fusion=glob(zzz*)'
fusion=[concat,gmu]
encoder=small_cnn
source=none target=fsdd objective=mean_squared_error
{OF_TABLE} 'target.columns={{tabular: a}}' target.kind=multilabel
{OF_TABLE} 'target.columns={{imag: a}}'
{OF_TABLE} 'target.columns={{tabular: y}}'
{OF_TABLE} target.columns.image=photo
target=table
{OF_TABLE} 'target.columns={{text: a}}' target.kind=multi_label
{OF_TABLE} 'target.columns={{text: a}}' target.missing=NA
fusion=contat
source=digits,none transfer=feature,parameter
trainer.threads=0
seeds=3 seed=1,2
-m seeds=2 'seed=range(3)'
-m seeds=2,3
seeds=0
seeds=many
seeds=2 seed=-1
seeds=2 fusion=gmu,concat
target=digits curve=fraction
target=digits curve=[0.5]
target=digits curve=[0,0.5]
-m target=digits curve=0.1,0.5
curve=fractions
curve=fractions target.per_class=null target.fraction=0.5
-m curve=fractions target.per_class=null target.limit=5,6
control=scrach
control=[scratch,uni_modal]
control=3
source=none control=linear_probe
source=none control=[scratch,linear_probe]
transfer=scratch control=[scratch,linear_probe]
transfer=joint control=[linear_probe,majority]
modalities=[imag]
modalities=[]
transfer=structure transfer.sparsity=magnitud
source=none target=digits encoder/image=resnet
optimizer=adam
encoder/image=resnet18 encoder.image.weigths=null
fusion=hierarchical fusion.fuse=low_rnk
objective=combined 'objective.terms={{info_nce: 1}}'
objective=info_nce
balance=smote transfer=feature
target=digits target.limit=5 target.fraction=0.1
target=digits target.image.size=abc
target=digits 'target.classes=[a,a]'
target=digits target.val_fraction=2
device=cpu precision=half
""".strip().splitlines()


@pytest.mark.parametrize("line", LINES)
def test_what_an_error_advises_works_when_typed(line: str) -> None:
    words = shlex.split(line)
    problems = problems_of(words)
    assert problems, "the line is no longer refused: choose another"
    for problem in problems:
        if problem.type_this is not None and problem.reason != BLANK:
            again = problems_of(retyped(words, problem))
            assert (problem.given, problem.reason) not in {(p.given, p.reason) for p in again}
            assert len(problems) > 1 or accepted(retyped(words, problem), steps=2), again


BLANK = "needs a value"
"""Of what only the user knows, such as the path of a table."""


def problems_of(words: Sequence[str]) -> tuple[Problem, ...]:
    """Return what ``mmx train`` finds wrong before it opens any data."""
    return _find_problems(tuple(words))


@cache
def _find_problems(words: tuple[str, ...]) -> tuple[Problem, ...]:
    try:
        preflight(expand(parse_line(words)), ())
    except ConfigError as error:
        return tuple(error.problems)
    return ()


def accepted(words: Sequence[str], steps: int) -> bool:
    """Return whether a line is accepted, further advice being followed for some steps."""
    problems = problems_of(words)
    if steps == 0 or not problems or all(problem.reason == BLANK for problem in problems):
        return not problems or problems[0].reason == BLANK
    return problems[0].type_this is not None and accepted(retyped(words, problems[0]), steps - 1)


def retyped(words: Sequence[str], problem: Problem) -> list[str]:
    """Return the line as somebody types it who follows the advice.

    What stands in brackets after it is another way. What is advised takes the place of what
    sets the same key and of what was refused.
    """
    advice = str(problem.type_this).split("   (")[0]
    refused = {key_of(word) for word in shlex.split(problem.given)}
    if advice.startswith("leave out "):
        left_out = key_of(advice.removeprefix("leave out "))
        return [word for word in words if not f"{key_of(word)}.".startswith(f"{left_out}.")]
    typed = shlex.split(advice)
    assert not any("<" in word for word in typed), f"nobody can type {advice}"
    keys = refused | {key_of(word) for word in typed}
    return [*(word for word in words if key_of(word) not in keys), *typed]


def key_of(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]
