"""The events of a stage so far, next to its training state; the cache keeps them with its weights.

A stage that is resumed after an interruption can be cached like any other if all of its earlier
events are here under the same key: code, data and config are then those it began with. Each line
contains its digest; if one has changed, the stage is not cached.
"""

from __future__ import annotations

import json
from pathlib import Path

from mmx.errors import UnreadableFileError
from mmx.runs.atomic import write_text
from mmx.runs.digests import seal, unseal
from mmx.training import saved_state as states
from mmx.training.events import Event, EventKind
from mmx.untrusted import parse_json, read_text

KEPT_EVENTS = (EventKind.EPOCH, EventKind.VITALS)
LIMIT = 64 * 2**20
"""Most bytes of a log that are read."""


class EventLog:
    """The events of a stage under way: a first line with the key, then one JSON line for each.

    Attributes:
        events: The events up to the state from which training resumes, and those since.
        whole: Whether they are all events of the stage since it was begun, under this key.

    Args:
        state: The file of the stage's training state; the log is in the same folder.
        key: The key of the artifact that the stage becomes.
    """

    def __init__(self, state: Path, key: str) -> None:
        self._path, self._key = _log_path(state), key
        self.events: list[Event] = []
        self.whole = True
        if states.has_state(state):
            epochs = states.count_epochs(state)
            found = self._read()
            # Later epochs are trained, and told of, again.
            self.events = [event for event in found or [] if event.epoch <= epochs]
            told = [event.epoch for event in self.events if event.kind is EventKind.EPOCH]
            self.whole = found is not None and told == list(range(1, epochs + 1))

    def begin(self) -> None:
        """Write the events so far before training goes on.

        An incomplete log is removed: the stage will have been trained under two keys.
        """
        if not self.whole:
            self.remove()
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lines = [{"key": self._key}, *(seal(event.to_json()) for event in self.events)]
        write_text(self._path, "".join(json.dumps(line) + "\n" for line in lines))

    def add(self, event: Event) -> None:
        """Append an event if it belongs to the stage's results."""
        if event.kind in KEPT_EVENTS and self.whole:
            # An epoch that is repeated, since its state could not be used, replaces its events.
            if event.kind is EventKind.EPOCH:
                self.events = [each for each in self.events if each.epoch < event.epoch]
            self.events.append(event)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(seal(event.to_json())) + "\n")

    def remove(self) -> None:
        """Remove the log."""
        self._path.unlink(missing_ok=True)

    def _read(self) -> list[Event] | None:
        """Return the events in the file, without an incomplete last line.

        None if the key is missing or another one, or if a line has changed.
        """
        try:
            lines = read_text(self._path, limit=LIMIT).splitlines()
            if parse_json(lines[0], dict, self._path) != {"key": self._key}:
                return None
        except (UnreadableFileError, IndexError):
            return None
        found = []
        for number, line in enumerate(lines[1:], 2):
            try:
                entry = unseal(parse_json(line, dict, self._path))
            except UnreadableFileError:
                entry = None
            if entry is not None:
                found.append(Event.from_json(entry))
            elif number < len(lines):
                return None
        return found


def remove_log(state: Path) -> None:
    """Remove the log of a stage that goes on without the cache."""
    _log_path(state).unlink(missing_ok=True)


def _log_path(state: Path) -> Path:
    return state.with_name("events.jsonl")
