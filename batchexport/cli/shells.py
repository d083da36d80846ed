"""Completion in bash, zsh and fish: click's, but for names of jobs such as `bert[layers=4,float32]@cpu`.

click's script for bash loses what stands before `=` and `@`, that for fish what follows a comma, and that for zsh
fails in each new shell unless the completion system was started before.
"""

from __future__ import annotations

import os

from click.shell_completion import (
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

_BASH = """\
%(complete_func)s() {
    local line=${COMP_LINE:0:COMP_POINT} type value
    # Readline replaces what follows the last of COMP_WORDBREAKS, and an @ there, too, unless the word is quoted.
    local typed=${line##*[[:space:]]} kept=
    [[ $typed == [\\"\\']* ]] || kept=${typed%%"${typed##*["$COMP_WORDBREAKS"]}"}
    kept=${kept%%@}
    while IFS=, read -r type value; do
        if [[ $type == dir ]]; then
            compopt -o dirnames
        elif [[ $type == file ]]; then
            compopt -o default
        elif [[ $type == plain ]]; then
            COMPREPLY+=("${value#"$kept"}")
        fi
    done < <(COMP_WORDS=$line %(complete_var)s=bash_complete "$1")
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_FISH = """\
function %(complete_func)s
    set -lx %(complete_var)s fish_complete
    set -lx COMP_WORDS (commandline -cp)
    set -lx COMP_CWORD (commandline -t)
    for line in (%(prog_name)s)
        set -l item (string split --max 1 "," -- $line)
        switch $item[1]
            case dir
                __fish_complete_directories $item[2]
            case file
                __fish_complete_path $item[2]
            case plain
                echo $item[2]
        end
    end
end

complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class _Bash(ShellComplete):
    """Completion in bash 4.4 and newer, which takes words as the shell does: `=` and `@` are parts of them."""

    name = "bash"
    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)[1:]
        return (words, "") if not words or line[-1:].isspace() else (words[:-1], words[-1])

    def format_completion(self, item: CompletionItem) -> str:
        return f"{item.type},{item.value}"


class _Zsh(ZshComplete):
    """Completion in zsh, which starts the completion system where the user's files do not."""

    source_template = (
        f"(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit -i }}\n{ZshComplete.source_template}"
    )


class _Fish(FishComplete):
    """Completion in fish, where a value may hold commas."""

    source_template = _FISH


def register() -> None:
    """Let click complete with these classes in place of its own."""
    for one in (_Bash, _Zsh, _Fish):
        add_completion_class(one)
