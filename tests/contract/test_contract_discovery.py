"""Classes are found by their folder, and every one of them can be chosen by a YAML."""

from __future__ import annotations

import inspect

import catalogue
import pytest

from mmx.contract import KINDS
from mmx.contract.discovery import PACKAGES, find_classes, find_missing_members
from mmx.encoders.image.resnet import ResNet, ResNet18
from mmx.fusion import Fusion


def group_of(kind: str) -> str | None:
    """Return the config group of a kind of part; heads are chosen by a key of ``feature``."""
    return None if kind == "head" else kind


@pytest.mark.parametrize("kind", [kind for kind in KINDS if group_of(kind)])
def test_every_class_has_a_config_and_every_config_such_a_class(kind: str) -> None:
    groups = [group for group in [*catalogue.GROUPS, "task"] if group.split("/")[0] == kind]
    named = {each for group in groups for each in catalogue.classes(group).values()}
    assert named == set(find_classes(kind))


def test_every_kind_has_its_package() -> None:
    assert PACKAGES.keys() == KINDS.keys()
    assert all(find_classes(kind) for kind in PACKAGES)


def test_what_others_derive_from_is_no_variant() -> None:
    assert find_missing_members(Fusion) == sorted(Fusion.__abstractmethods__) != []
    assert find_missing_members(ResNet)  # a class variable, that its variants set
    assert find_missing_members(ResNet18) == []
    assert not inspect.isabstract(ResNet)
    assert not {Fusion, ResNet} & {*find_classes("fusion"), *find_classes("encoder")}
