"""``mmx completion bash|zsh|fish``: the script for TAB, and the completions that it asks for.

The scripts call ``mmx --complete <line up to the cursor>``, which prints one candidate a
line: a verb, or what the verb's file states in ``COMPLETES``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmx.config.locate import find_options, read_config_directories
from mmx.errors import UsageError, closest
from mmx.verbs import find_verbs

SUMMARY = "print the completion script for bash, zsh or fish"
PLACE = 130
COMPLETES = {"words": ("bash", "zsh", "fish")}

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
    """Print the completions of the last word of a line."""
    for word in complete_line(arguments[0] if arguments else ""):
        print(word)
    return 0


def complete_line(line: str) -> list[str]:
    """Return the completions of the last word of a command line."""
    words = line.split()[1:]
    last = "" if line.endswith(" ") or not words else words.pop()
    verbs = find_verbs()
    if not words:
        return _select(verbs, last)
    verb, *rest = words
    return _complete(verbs[verb].completes, rest, last) if verb in verbs else []


def _complete(completes: Mapping[str, Any], words: Sequence[str], last: str) -> list[str]:
    """Return the completions that a verb has for the last word, given the words before it."""
    flags = completes.get("flags", {})
    if last.startswith("-"):
        return _select([flag for flag in flags if flag.startswith("--")], last)
    if words and (values := flags.get(words[-1])) is not None:
        return _select(find_options(values) if isinstance(values, str) else values, last)
    found = _complete_run(last) if len(words) < completes.get("runs", 0) else []
    if completes.get("sweeps") and (words or "words" not in completes):
        found += _complete_sweep(last)
    if completes.get("topics"):
        return _complete_topic(last)
    if completes.get("overrides"):
        return _complete_override(words, last) + found
    return (_select(completes.get("words", ()), last) if not words else []) + found


def _complete_topic(last: str) -> list[str]:
    """Return what can be looked up: verbs, groups, options and keys."""
    keys = (each.rstrip("=") if "." in each else each for each in _complete_override([], last))
    return _select(find_verbs(), last) + list(keys)


def _select(words: Iterable[str], beginning: str) -> list[str]:
    """Return the words that start with a beginning."""
    return [word for word in words if word.startswith(beginning)]


def _complete_override(words: Sequence[str], last: str) -> list[str]:
    """Return groups, options, keys and values, as Hydra completes them."""
    from mmx.config.complete import complete_override

    chosen = [word for word in words if "=" in word and not word.startswith("-")]
    return complete_override(chosen, last, read_config_directories(words))


def _complete_run(last: str) -> list[str]:
    """Return run directories, of sweeps too."""
    places = [*Path().glob("outputs/runs/*/"), *Path().glob("outputs/sweeps/*/runs/*/")]
    return sorted(_select(map(str, places), last))


def _complete_sweep(last: str) -> list[str]:
    """Return directories of sweeps."""
    return sorted(_select(map(str, Path().glob("outputs/sweeps/*/")), last))
