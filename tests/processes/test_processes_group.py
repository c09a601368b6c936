"""What two real processes add up, gather and agree on, against one process that does all of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmx.errors import ProcessError
from mmx.processes.batch_norm import NormRows
from mmx.processes.group import Group, ProcessGroup
from mmx.processes.shares import divide_rows
from mmx.ranks.connection import connect_in

pytestmark = pytest.mark.slow
BATCHES = [np.arange(7), np.arange(7, 10)]  # shares of 4 and 3 rows, and of 3 and none
EVEN = [np.arange(6), np.arange(6, 10)]


class Model(nn.Module):
    """Some rows alone pass ``rare``, and none passes ``unused``."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.BatchNorm1d(3)
        self.usual, self.rare, self.unused = nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x: Tensor, rows: np.ndarray[Any, Any]) -> Tensor:
        found: Tensor = self.usual(self.norm(x))
        rare = torch.from_numpy(rows) >= 8
        return found + torch.where(rare[:, None], self.rare(x), 0) if rare.any() else found


def inputs(rows: np.ndarray[Any, Any]) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(10, 3)[torch.from_numpy(rows)]


class Parts(nn.Module):
    """A norm for each set of rows that have its modality, used where a batch has two or more."""

    HAVE: ClassVar = {"both": [0, 1, 2, 3, 8, 9], "first": [0, 1, 2, 8], "none": [0, 8]}

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleDict({name: nn.BatchNorm1d(3) for name in self.HAVE})
        for norm in self.norms.values():
            norm.running_mean += torch.tensor([0.1, 0.2, 0.7])

    def forward(self, x: Tensor, rows: np.ndarray[Any, Any]) -> Tensor:
        found = 0 * x
        for name, norm in self.norms.items():
            here = np.isin(rows, self.HAVE[name])
            norm.train(bool(here.sum() > 1))
            if here.any():
                found[here] = found[here] + norm(x[here])
        return found


def take_step(group: Group, model: nn.Module, batches: list[Any] = BATCHES) -> dict[str, Any]:
    loss = torch.zeros(())
    penalties = []
    for rows in group.share(batches):
        part = model(inputs(rows), rows).square().sum() / 10
        penalty = 0.1 * part.detach()
        (part + 0).backward()
        loss += part.detach()
        penalties.append(penalty)
    loss = group.add_up(model, loss, penalties, batches)
    gradients = {
        name: None if each.grad is None else each.grad.clone()
        for name, each in model.named_parameters()
    }
    return {"loss": loss, "penalties": penalties, "gradients": gradients}


def find_all(group: Group) -> dict[str, Any]:
    """Do everything that processes do together; return what came out."""
    found: dict[str, Any] = {}
    plain, whole = Model(), Model()
    with group.count_norm_rows(plain):
        found["eval"] = take_step(group, plain.eval())
    model, parts = Model().train(), Parts()
    with group.count_norm_rows(model):
        found["train"] = take_step(group, model)
    found["buffers"] = dict(model.named_buffers())
    with group.count_norm_rows(parts):
        for _ in range(2):
            take_step(group, parts, [np.arange(10)])
    found["parts"] = dict(parts.named_buffers())
    with group.synchronise(whole.train(), lambda rows: "one kind"):
        found["synchronised"] = take_step(group, whole, EVEN)
        whole.zero_grad()
        found["uneven"] = take_step(group, whole)  # the first process takes all rows
    found["synchronised buffers"] = dict(whole.named_buffers())
    found["agreed"] = [group.agree(None), group.agree(15 if group.rank == group.size - 1 else None)]
    device = torch.device("cpu")
    found["spread"] = [
        group.spread(range(count), lambda items: [item * 10 for item in items], device)
        for count in (1, 2, 5)
    ]
    made: list[int] = []

    def make() -> str:
        made.append(group.rank)
        return "made"

    def find_it(_: Callable[[], str]) -> str:
        if group.rank:
            raise AssertionError("the first process alone looks")
        return "found"

    found["once"] = [group.make_once(find_it, make), group.make_once(lambda ask: ask(), make)]
    found["made"] = len(made)
    group.require_equal({"a": torch.ones(3), "b": torch.zeros(2)}, "here")
    try:
        group.require_equal({"a": torch.ones(3), "b": torch.full((2,), group.rank)}, "there")
    except ProcessError as error:
        found["error"] = error.message
    return found


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    connection = connect_in(Path(folder), rank, 2)
    with connection.open_group(torch.device("cpu"), 1, lambda error: error) as group:
        assert isinstance(group, ProcessGroup)
        torch.save(find_all(group), Path(folder) / f"{rank}.pt")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("group")
    torch.multiprocessing.spawn(work, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    return find_all(Group())


def test_both_have_the_same(found):
    one, other = found
    for key in ("eval", "train", "synchronised", "uneven"):
        torch.testing.assert_close(one[key]["gradients"], other[key]["gradients"], rtol=0, atol=0)
        assert torch.equal(one[key]["loss"], other[key]["loss"])
    for key in ("buffers", "synchronised buffers", "parts"):
        torch.testing.assert_close(one[key], other[key], rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["eval", "synchronised", "uneven"])
def test_gradients_and_losses_are_those_of_one_process(found, alone, kind):
    for each in found:
        assert each[kind]["gradients"]["unused.weight"] is None
        assert each[kind]["gradients"]["rare.weight"] is not None
        torch.testing.assert_close(each[kind]["gradients"], alone[kind]["gradients"])
        torch.testing.assert_close(each[kind]["loss"], alone[kind]["loss"])
    penalty = sum(alone[kind]["penalties"])
    torch.testing.assert_close(found[0][kind]["penalties"], [penalty])
    torch.testing.assert_close(found[0]["synchronised buffers"], alone["synchronised buffers"])


def test_running_statistics_are_the_mean_weighed_by_rows(found):
    counts, sums = [7, 3], []
    for rank in range(2):
        norm = nn.BatchNorm1d(3)
        for rows in BATCHES:
            share = divide_rows(rows, 2)[rank]
            if len(share):
                norm(inputs(share))
        sums.append(norm.running_var * counts[rank] / 10)
    torch.testing.assert_close(found[0]["buffers"]["norm.running_var"], sum(sums))
    assert found[1]["buffers"]["norm.num_batches_tracked"] == 2  # of the first, which had rows


def test_statistics_are_weighed_by_the_rows_that_a_norm_has_seen(found):
    shares, alone = np.split(np.arange(10), 2), Parts()
    start = dict(Parts().named_buffers())
    for name, seen in (("both", [4, 2]), ("first", [3, 0])):
        norm = alone.norms[name]
        expected = []
        for share, count in zip(shares, seen, strict=True):
            rows = share[np.isin(share, Parts.HAVE[name])]
            own = copy.deepcopy(norm)
            for _ in range(2 if count else 0):
                own(inputs(rows))
            expected.append(own.running_mean * count / sum(seen))
        torch.testing.assert_close(found[0]["parts"][f"norms.{name}.running_mean"], sum(expected))
    assert [int(found[1]["parts"][f"norms.{each}.num_batches_tracked"]) for each in Parts.HAVE] == [
        2,
        2,
        0,
    ]
    for name in ("running_mean", "running_var"):  # not rounded either
        assert torch.equal(found[1]["parts"][f"norms.none.{name}"], start[f"norms.none.{name}"])


def test_compiled_norms_are_weighed_by_the_rows_of_the_step():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3).eval())
    seen = NormRows(model)
    with seen.counting():
        model(torch.randn(4, 3))
        model(torch.randn(5, 3))
        assert seen.list_seen(11) == [9, 0]
        seen.start_step()
        assert seen.list_seen(11) == [0, 0]
        torch.compile(model, backend="eager")(torch.randn(4, 3))
        assert seen.list_seen(11) == [11, 0]
    seen.start_step()
    model(torch.randn(4, 3))
    assert not seen._seen  # it no longer counts


def test_a_step_is_not_added_up_where_nothing_counts_rows():
    with pytest.raises(RuntimeError, match="add_up outside of"):
        ProcessGroup(0, 2, lambda error: error).add_up(Model(), torch.zeros(()), [], BATCHES)


def test_they_agree_gather_in_order_and_make_together(found, alone):
    for each in (*found, alone):
        assert each["agreed"] == [None, 15]
        assert each["spread"] == [[0], [0, 10], [0, 10, 20, 30, 40]]
        assert each["once"] == ["found", "made"]
        assert each["made"] == 1
    assert "error" not in alone
    assert all("of b there" in each["error"] for each in found)
