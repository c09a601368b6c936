from __future__ import annotations

import signal

import pytest
import torch
from refusals import Refusal, check_refusals

from mmx.errors import ConfigError
from mmx.training import events
from mmx.training.events import StopRequest, stop_on_signals
from mmx.training.precision import Precision, bf16_is_fast, choose_device, cpu_formats

CPU = torch.device("cpu")


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == CPU
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(ConfigError) as caught:
        choose_device("cuda")
    check_refusals(
        caught.value.problems,
        [Refusal("device=cuda", ("CUDA",), accepted="auto, cpu", type_this="device=cpu")],
    )
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(ConfigError, match="this torch was built without CUDA"):
        choose_device("cuda")


def test_auto_takes_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda")
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize(("fast", "name"), [({"amx_bf16"}, "bf16"), (set(), "fp32")])
def test_auto_takes_bf16_where_it_is_fast(
    fast: set[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cpu_formats() <= {"amx_bf16", "avx512_bf16"}
    monkeypatch.setattr("mmx.training.precision.cpu_formats", lambda: fast)
    assert bf16_is_fast(CPU) == bool(fast)
    assert Precision.choose("auto", CPU).name == name
    assert Precision.choose("fp16", CPU).name == "fp16"


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_the_forward_pass_has_the_format(name: str, dtype: torch.dtype) -> None:
    precision = Precision.choose(name, CPU)
    with precision.autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == dtype
    assert precision.scaler().is_enabled() == (name == "fp16")


def test_signals_become_a_request_and_a_second_one_stops_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(events, "monotonic", lambda: now)
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with stop_on_signals() as stop:
        assert stop.signal_number is None
        signal.raise_signal(signal.SIGTERM)
        assert stop.signal_number == signal.SIGTERM
        now += events.SAME_SIGNAL_SECONDS / 2
        signal.raise_signal(signal.SIGINT)  # the same Ctrl-C, passed on by a launcher
        now += events.SAME_SIGNAL_SECONDS
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert stop.signal_number == signal.SIGTERM
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_in_a_thread_signals_are_left_to_who_owns_them() -> None:
    import threading

    found: list[StopRequest] = []

    def work() -> None:
        with stop_on_signals() as stop:
            found.append(stop)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0].signal_number is None
