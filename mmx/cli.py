"""The command line: verbs, help, exit codes. Imports nothing heavy before it must.

Exit codes: 0 done; 1 a run failed; 2 a command line or config that cannot be used;
130 stopped by Ctrl-C; 143 stopped by SIGTERM.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from mmx.printable import one_line, printable
from mmx.streams import unheard_stderr
from mmx.verbs import VERBS

HELP = f"""\
mmx: does knowledge from this source task help on that target task, through which
transfer and which fusion of modalities, by how much, and at what cost?

  mmx train                                       the built-in demo, under a minute
  mmx train source=cifar10 target=stl10 fusion=hierarchical
  mmx train -m source=none,cifar10 target=stl10 transfer=parameter,feature seed=1,2,3
  mmx reproduce outputs/runs/<run>

verbs:
{chr(10).join(f"  {name:11s} {text}" for name, text in VERBS.items())}

  mmx <verb> --help says more; mmx train --help lists all tasks, encoders, fusions ...
  --debug shows tracebacks, --version the version. Tasks are looked for in MMX_DATA_DIR.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code; who reads stderr, or nobody, changes nothing."""
    with unheard_stderr():
        return _main(arguments)


def _main(arguments: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    os.environ["PYTHONSAFEPATH"] = "1"  # no worker process imports from the working directory
    if words[:1] == ["--complete"]:
        return _complete(words[1:])
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help", "help"):
        return _print(HELP)
    if words[0] in ("-V", "--version", "version"):
        from mmx import __version__

        return _print(f"mmx {__version__}\n")
    code = 0
    try:
        shows = ["--debug"] if debug and words[0] == "check" else []  # it prints tracebacks itself
        code = _dispatch(words[0], [*words[1:], *shows])
        if sys.stdout is not None:  # closed from the start
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except Exception as error:
        from mmx.errors import MmxError

        if debug:
            raise
        if isinstance(error, MmxError):
            print(f"mmx: {printable(str(error))}", file=sys.stderr)
            return error.exit_code
        print(f"mmx: {type(error).__name__}: {one_line(str(error))}", file=sys.stderr)
        print("  tip: the same command with --debug shows where", file=sys.stderr)
        return 1


def _dispatch(verb: str, words: list[str]) -> int:
    if verb not in VERBS:
        from mmx.errors import UsageError, closest

        near = closest(verb, VERBS) or ("train" if "=" in verb else None)
        retyped = f"mmx train {verb}" if "=" in verb else f"mmx {near}"
        raise UsageError(
            f"there is no verb {verb!r}; the verbs are {', '.join(VERBS)}",
            tip=f"{retyped} {' '.join(words)}".strip() if near else "mmx --help",
        )
    if verb == "train" and {"-h", "--help"} & set(words):
        from mmx.verbs import train_help

        return _print(train_help.page(words))
    import importlib

    module = importlib.import_module(f"mmx.verbs.{'evaluate' if verb == 'eval' else verb}")
    code: int = module.main(words)
    return code


def _complete(words: list[str]) -> int:
    from mmx.errors import MmxError
    from mmx.verbs import completion

    try:
        return completion.complete(words)
    except MmxError as error:  # the shell's script shows no candidates
        print(f"mmx: {printable(str(error))}", file=sys.stderr)
        return error.exit_code


def _print(text: str) -> int:
    sys.stdout.write(text)
    return 0
