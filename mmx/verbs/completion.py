"""``mmx completion bash|zsh|fish``: the script that makes TAB work; and what TAB asks.

The scripts call ``mmx --complete <line up to the cursor>``, which prints one candidate a
line: verbs, run directories, and for ``train`` and ``rank`` all that Hydra can complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from mmx.config.locate import config_directories
from mmx.errors import UsageError, closest
from mmx.verbs import VERBS

SCRIPTS = {
    "bash": """\
# mmx completion for bash; in ~/.bashrc:  eval "$(mmx completion bash)"
_mmx() {
    local line="${COMP_LINE:0:$COMP_POINT}" word
    word="${line##* }"
    mapfile -t COMPREPLY < <(mmx --complete "$line" 2>/dev/null)
    [[ ${#COMPREPLY[@]} -eq 1 && "${COMPREPLY[0]}" == *[=/.] ]] && compopt -o nospace
    # readline replaces only what follows the last = or : of the word
    local cut="${word%"${word##*[=:]}"}"
    COMPREPLY=("${COMPREPLY[@]#"$cut"}")
}
complete -o default -F _mmx mmx
""",
    "zsh": """\
#compdef mmx
# mmx completion for zsh; in ~/.zshrc, after compinit:  eval "$(mmx completion zsh)"
_mmx() {
    local -a found
    found=("${(@f)$(mmx --complete "${BUFFER[1,CURSOR]}" 2>/dev/null)}")
    [[ -n "${found[1]}" ]] || { _files; return }
    compadd -Q -S '' -- "${found[@]}"
}
compdef _mmx mmx
""",
    "fish": """\
# mmx completion for fish; once:  mmx completion fish > ~/.config/fish/completions/mmx.fish
function __mmx
    set -l found (mmx --complete (commandline -cp) 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c mmx -f -a '(__mmx)'
""",
}
CACHE_ACTIONS = ("ls", "rm", "verify")
TRAIN_FLAGS = (
    "--multirun",
    "--config-dir",
    "--allow",
    "--cfg",
    "--resolve",
    "--package",
    "--info",
    "--help",
    "--debug",
)
RANK_FLAGS = ("--multirun", "--rows", "--config-dir", "--allow", "--help", "--debug")
FLAG_VALUES: dict[str, tuple[str, ...]] = {
    "--config-dir": (),  # a path: the shell knows better
    "-cd": (),
    "--allow": (),
    "--rows": (),
    "--cfg": ("job", "hydra", "all"),
    "-c": ("job", "hydra", "all"),
    "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}


def main(arguments: Sequence[str]) -> int:
    """Print a shell's script."""
    shell = arguments[0] if arguments else ""
    if shell in ("-h", "--help"):
        print(__doc__)
        return 0
    if shell not in SCRIPTS:
        near = closest(shell, SCRIPTS) or "bash"
        raise UsageError(
            f"no completion for the shell {shell!r}; there is bash, zsh, fish",
            tip=f"mmx completion {near}",
        )
    print(SCRIPTS[shell], end="")
    return 0


def print_completions(arguments: Sequence[str]) -> int:
    """Print what the last word of a line may become."""
    for word in complete_line(arguments[0] if arguments else ""):
        print(word)
    return 0


def complete_line(line: str) -> list[str]:
    """Return what the last word of a command line may become."""
    words = line.split()[1:]
    last = "" if line.endswith(" ") or not words else words.pop()
    if not words:
        return _select(VERBS, last)
    verb, *rest = words
    return COMPLETERS[verb](rest, last) if verb in COMPLETERS else []


def _select(words: Iterable[str], beginning: str) -> list[str]:
    """Return the words with a beginning."""
    return [word for word in words if word.startswith(beginning)]


def _complete_shell(words: Sequence[str], last: str) -> list[str]:
    return _select(SCRIPTS, last)


def _complete_cache(words: Sequence[str], last: str) -> list[str]:
    return [] if words else _select(CACHE_ACTIONS, last)


def _complete_override(flags: Sequence[str], words: Sequence[str], last: str) -> list[str]:
    """Return the flags, values of a flag, or overrides of ``mmx train`` and ``mmx rank``."""
    if last.startswith("-"):
        return _select(flags, last)
    if words and words[-1] in FLAG_VALUES:
        return _select(FLAG_VALUES[words[-1]], last)
    from mmx.config.complete import complete_override

    chosen = [word for word in words if "=" in word and not word.startswith("-")]
    return complete_override(chosen, last, config_directories(words))


def _complete_run(most: int, words: Sequence[str], last: str) -> list[str]:
    """Return run directories, where fewer than ``most`` are named already."""
    if len(words) >= most:
        return []
    places = [*Path().glob("outputs/runs/*/"), *Path().glob("outputs/sweeps/*/runs/*/")]
    return sorted(_select(map(str, places), last))


COMPLETERS: dict[str, Callable[[Sequence[str], str], list[str]]] = {
    "completion": _complete_shell,
    "cache": _complete_cache,
    "train": partial(_complete_override, TRAIN_FLAGS),
    "rank": partial(_complete_override, RANK_FLAGS),
    **dict.fromkeys(("eval", "predict", "resume", "reproduce"), partial(_complete_run, 1)),
    "compare": partial(_complete_run, 2),
}
"""Verb to what completes a word of its line: ``complete(words before, beginning)``."""
