"""The command line: verbs, help, exit codes. Imports nothing heavy before it must.

Exit codes: 0 done; 1 a run failed; 2 a command line or config that cannot be used;
130 stopped by Ctrl-C; 143 stopped by SIGTERM.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from mmx.printable import one_line, printable
from mmx.ranks import torchrun
from mmx.streams import unheard_stderr
from mmx.verbs import find_verbs

HELP = """\
mmx: does knowledge from this source task help on that target task, through which
transfer and which fusion of modalities, by how much, and at what cost?

  mmx train                                       the built-in demo, under a minute
  mmx train source=cifar10 target=stl10 fusion=hierarchical
  mmx train -m source=none,cifar10 target=stl10 transfer=parameter,feature seed=1,2,3
  mmx reproduce outputs/runs/<run>

verbs:
{verbs}

  mmx <verb> --help says more; mmx train --help lists all tasks, encoders, fusions ...
  mmx help transfer=parameter explains an option and its keys, mmx help wise_ft a key
  --debug shows tracebacks, --version the version. Tasks are looked for in MMX_DATA_DIR.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code, which does not depend on whether stderr is read."""
    os.environ["PYTHONSAFEPATH"] = "1"  # no worker process imports from the working directory
    if arguments is None:  # the process ends with the verb
        # Python's last collection visits all that torch has made, for a second, and frees nothing.
        atexit.register(gc.freeze)
    words = list(sys.argv[1:] if arguments is None else arguments)
    # After --complete, the words are a line that somebody is still typing.
    debug = "--debug" in words and words[0] != "--complete"
    code = 0
    if torchrun.find_rank():
        from mmx.ranks.follow import follow_by_torchrun

        return follow_by_torchrun()
    with unheard_stderr(), _followers_released():
        try:
            verb, words = _find_verb(words, debug)
            code = verb(words)
            if sys.stdout is not None:  # None where it was closed before Python started
                sys.stdout.flush()
            return code
        except BrokenPipeError:  # the reader of stdout, such as `head`, has gone
            # Python flushes stdout once more at exit, and would report the broken pipe again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return code
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            return 130
        except Exception as error:
            if debug:
                raise
            return _explain(error)


@contextmanager
def _followers_released() -> Iterator[None]:
    """Let the other processes of torchrun go after the block, where no run has taken them."""
    try:
        yield
    finally:
        if torchrun.find_size() > 1:
            from mmx.ranks.lead import release_followers

            release_followers()


def _find_verb(words: list[str], debug: bool) -> tuple[Callable[[list[str]], int], list[str]]:
    """Return the function that a command line runs, and its arguments.

    Raises:
        UsageError: There is no such verb.
    """
    if words[:1] == ["--complete"]:
        return _complete, words[1:]
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help") or words == ["help"]:
        return _print_help, words
    verb, *rest = words
    if verb in ("-V", "--version", "version"):
        return _print_version, rest
    verbs = find_verbs()
    if verb not in verbs:
        raise _no_verb(verb, rest)
    if verb == "train" and {"-h", "--help"} & set(rest):  # without importing torch
        return _print_train_help, rest
    if verb == "check" and debug:  # it prints tracebacks itself
        rest.append("--debug")
    return importlib.import_module(verbs[verb].module).main, rest


def _no_verb(verb: str, words: list[str]) -> Exception:
    from mmx.errors import UsageError, closest

    verbs = find_verbs()
    near = closest(verb, verbs, cutoff=0.6) or ("train" if "=" in verb else None)
    retyped = f"mmx train {verb}" if "=" in verb else f"mmx {near}"
    return UsageError(
        f"there is no verb {verb!r}; the verbs are {', '.join(verbs)}",
        tip=f"{retyped} {' '.join(words)}".strip() if near else "mmx --help",
    )


def _explain(error: Exception) -> int:
    """Print an error as its reader needs it, and return the exit code."""
    from mmx.errors import MmxError

    if isinstance(error, MmxError):
        print(f"mmx: {printable(str(error))}", file=sys.stderr)
        return error.exit_code
    print(f"mmx: {type(error).__name__}: {one_line(str(error))}", file=sys.stderr)
    print("  tip: the same command with --debug shows where", file=sys.stderr)
    return 1


def _complete(words: list[str]) -> int:
    from mmx.verbs import completion

    return completion.print_completions(words)


def _print_help(words: list[str]) -> int:
    lines = [f"  {verb.name:11s} {verb.summary}" for verb in find_verbs().values()]
    return _print(HELP.format(verbs="\n".join(lines)))


def _print_version(words: list[str]) -> int:
    from mmx import __version__

    return _print(f"mmx {__version__}\n")


def _print_train_help(words: list[str]) -> int:
    from mmx.verbs import train_help

    return _print(train_help.page(words))


def _print(text: str) -> int:
    sys.stdout.write(text)
    return 0
