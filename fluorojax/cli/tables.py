"""Tables on the terminal."""

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fluorojax.data.printable import printable

_WIDEST = 1000  # columns


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, notes: Sequence[str] = ()
) -> None:
    """Print a table to standard output; the first column is left-aligned, numbers to the right.

    Where output is no terminal the table takes the width it needs, so that no cell is cut in a log.
    """
    table = Table(box=SIMPLE_HEAD)
    for index, column in enumerate(columns):
        table.add_column(Text(printable(column)), justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        # a measurement never exceeds the console it is taken on
        console = Console(width=max(Console(width=_WIDEST).measure(table).maximum, 1))
    print(printable(title))
    console.print(table)
    for note in notes:
        print(printable(note))
