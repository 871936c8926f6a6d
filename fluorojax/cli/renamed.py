"""Options under the names they had before; each serves for one version and is then dropped."""

from collections.abc import Callable, Mapping, Sequence

RENAMED = {"--chain": "--spec"}
"""New names by old ones, since 0.2.0; `--chain` was taken for a Markov chain."""


def with_new_names(
    arguments: Sequence[str], notify: Callable[[str], None], renamed: Mapping[str, str] = RENAMED
) -> list[str]:
    """The arguments of a command line under today's names; ``notify`` receives a line for each old name.

    Both ``--old VALUE`` and ``--old=VALUE`` are known. What stands after ``--`` is left as it is.
    """
    found = list(arguments)
    end = found.index("--") if "--" in found else len(found)
    for index, argument in enumerate(found[:end]):
        name, equals, value = argument.partition("=")
        if name in renamed:
            notify(f"{name} is now called {renamed[name]}; the next version will not accept the old name")
            found[index] = renamed[name] + equals + value
    return found
