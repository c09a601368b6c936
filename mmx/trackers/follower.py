"""A tracker that follows a run from a thread of its own, and can neither stop nor hold it up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from mmx.trackers.base import Ending, OpenRun, Point, TrackedRun, Tracker

MOST_WAITING = 200_000
"""Points that may wait for a slow tracker; with more of them it counts as failed."""
WAIT_INTERRUPTED = 10.0
"""Most seconds that a run that was stopped waits for its tracker."""


class TrackerThread:
    """Hands the points of a run to a tracker while the run goes on.

    The tracker is called from a daemon thread alone. Whatever it raises is told once, from the
    thread of the run, and the tracker is not called again.

    Args:
        tracker: The tracker.
        run: What it is told of the run.
        say: Receives the one warning.
    """

    def __init__(self, tracker: Tracker, run: TrackedRun, say: Callable[[str], None]) -> None:
        self._tracker, self._run, self._say = tracker, run, say
        self._news = threading.Condition()
        self._points: list[Point] = []
        self._ending: Ending | None = None
        self._failure = ""
        self._said = False
        self._over = threading.Event()
        threading.Thread(target=self._work, name=f"tracker {tracker.name}", daemon=True).start()

    def add(self, points: Sequence[Point]) -> None:
        """Hand over points; returns at once."""
        with self._news:
            if self._failure:
                self._points.clear()
            else:
                self._points.extend(points)
                if len(self._points) > MOST_WAITING:
                    self._failure = f"is too slow: {len(self._points):,} numbers wait for it"
                self._news.notify()
        self._tell()

    def end(self, ending: Ending) -> None:
        """Hand over how the run has ended, and wait a limited time until the tracker has it."""
        with self._news:
            self._ending = ending
            self._news.notify()
        most = self._tracker.wait
        most = min(most, WAIT_INTERRUPTED) if ending.status == "interrupted" else most
        if not self._over.wait(most) and not self._failure:
            self._failure = f"did not take the run's numbers within {most:g} s"
        self._tell()

    def _tell(self) -> None:
        if self._failure and not self._said:
            self._said = True
            self._say(
                f"WARNING: tracker {self._tracker.name} {self._failure}; the run goes on without "
                "it, and mmx mirror can copy it later"
            )

    def _work(self) -> None:
        """Write what comes until the end, in the tracker's thread."""
        try:
            with self._tracker.open(self._run) as opened:
                self._write_all(opened)
        except BaseException as error:  # a library may raise anything, also SystemExit
            lines = str(error).strip().splitlines()
            self._failure = self._failure or (
                f"failed ({type(error).__name__}{f': {lines[0]}' if lines else ''})"
            )
        finally:
            self._over.set()

    def _write_all(self, opened: OpenRun) -> None:
        known = set(opened.find_known())
        while not self._failure:
            points, ending = self._take()
            new = [point for point in points if point.key not in known]
            if new:
                opened.add(new)
                known |= {point.key for point in new}
            if ending is not None:
                if not opened.has_ended():
                    opened.end(ending)
                return

    def _take(self) -> tuple[list[Point], Ending | None]:
        """Wait for news, and return the points so far and the end of the run, if it has come."""
        with self._news:
            while not self._points and self._ending is None:
                self._news.wait()
            points, self._points = self._points, []
            return points, self._ending


def copy_run(
    tracker: Tracker, run: TrackedRun, points: Sequence[Point], ending: Ending | None
) -> tuple[int, str]:
    """Copy a run to a tracker.

    Args:
        tracker: Where to.
        run: What it is told of the run.
        points: All points of the run.
        ending: How it has ended; None while it has not.

    Returns:
        How many points and endings it did not have yet, and how to look at the run there.
    """
    with tracker.open(run) as opened:
        if not opened.keeps:
            return 0, opened.where
        known = set(opened.find_known())
        new = [point for point in points if point.key not in known]
        if new:
            opened.add(new)
        if ending is None or opened.has_ended():
            return len(new), opened.where
        if ending.status == "done" or new:
            opened.end(ending)
            return len(new) + 1, opened.where
        if opened.shown_running:
            opened.end(ending)
        return 0, opened.where
