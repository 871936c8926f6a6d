"""What commands print: remarks on standard error, answers on standard output, nothing that acts on a terminal."""

import json
import sys
from typing import Any

from fluorojax.data.printable import MESSAGE, printable

_LONGEST = 4000  # characters of a line of an answer


def tell(line: str) -> None:
    """One line on standard error, after the name of the program."""
    print(f"fluorojax: {printable(line, MESSAGE)}", file=sys.stderr)


def say(line: str) -> None:
    """One line on standard output."""
    print(printable(line, _LONGEST))


def print_json(document: Any) -> None:
    """A document as strict JSON on standard output; characters that act on a terminal stand there as JSON escapes."""
    from fluorojax.io.json_fields import dumps

    lines = dumps(document, indent=2).split("\n")
    print("\n".join(line if line.isprintable() else "".join(map(_escaped, line)) for line in lines))


def _escaped(character: str) -> str:
    return character if character.isprintable() else json.dumps(character)[1:-1]
