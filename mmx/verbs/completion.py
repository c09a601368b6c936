"""``mmx completion bash|zsh|fish``: the script that makes TAB work; and what TAB asks.

The scripts call ``mmx --complete <line up to the cursor>``, which prints one candidate a
line: verbs, run directories, and for ``train`` and ``rank`` all that Hydra can complete.
"""

from __future__ import annotations

from collections.abc import Sequence
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
RUN_VERBS = ("eval", "predict", "resume", "reproduce", "compare")
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


def complete(arguments: Sequence[str]) -> int:
    """Print the candidates for the last word of a line."""
    for candidate in candidates(arguments[0] if arguments else ""):
        print(candidate)
    return 0


def candidates(line: str) -> list[str]:
    """Return what the last word of a command line may become."""
    words = line.split()[1:]
    last = "" if line.endswith(" ") or not words else words.pop()
    if not words:
        return [verb for verb in VERBS if verb.startswith(last)]
    verb = words[0]
    if verb == "completion":
        return [shell for shell in SCRIPTS if shell.startswith(last)]
    if verb == "cache" and len(words) == 1:
        return [action for action in CACHE_ACTIONS if action.startswith(last)]
    if verb in ("train", "rank"):
        if last.startswith("-"):
            flags = TRAIN_FLAGS if verb == "train" else RANK_FLAGS
            return [flag for flag in flags if flag.startswith(last)]
        if words[-1] in FLAG_VALUES:
            return [value for value in FLAG_VALUES[words[-1]] if value.startswith(last)]
        return train_candidates(words[1:], last)
    if verb in RUN_VERBS and len(words) <= (2 if verb == "compare" else 1):
        places = [*Path().glob("outputs/runs/*/"), *Path().glob("outputs/sweeps/*/runs/*/")]
        return sorted(str(path) for path in places if str(path).startswith(last))
    return []


def train_candidates(words: Sequence[str], last: str) -> list[str]:
    """Return what one override of ``mmx train`` may become."""
    from mmx.config.complete import complete as overrides_like

    chosen = [word for word in words if "=" in word and not word.startswith("-")]
    return overrides_like(chosen, last, config_directories(words))
