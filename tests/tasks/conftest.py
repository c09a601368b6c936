"""A server of official files."""

from collections.abc import Iterator

import pytest
from official_layouts import Publisher, publish


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with publish() as found:
        yield found
