"""Text from files and users, made fit for one line on a terminal."""

import unicodedata

MESSAGE = 1000
"""Characters after which a message is cut."""
NAME = 120
"""Characters after which a name inside a message is cut."""


def printable(text: object, longest: int | None = None) -> str:
    """``text`` in one line without a character that acts on a terminal, cut after ``longest`` characters.

    Line breaks, control characters (the escape sequences of terminals among them), marks that turn the direction of
    writing, and half characters appear as their escapes, such as ``\\x1b``. What was cut is told by its length.
    """
    whole = str(text)
    kept = whole if longest is None else whole[:longest]
    shown = kept if kept.isprintable() else "".join(map(_shown, kept))
    return shown if len(kept) == len(whole) else f"{shown}… ({len(whole)} characters)"


def _shown(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    return character.encode("unicode_escape").decode()
