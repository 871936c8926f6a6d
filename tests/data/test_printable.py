"""Foreign text on a terminal: one line, nothing that acts, cut where it is long."""

import json

import pytest

from fluorojax.cli.printing import print_json, say, tell
from fluorojax.data.printable import printable
from fluorojax.io import InputError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Röntgen µ → 管", "Röntgen µ → 管"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("two\nlines\r\ttab", "two\\nlines\\r\\ttab"),
        ("\x9b31m", "\\x9b31m"),
        ("name\u202egnp.exe", "name\\u202egnp.exe"),
        ("half\udc80", "half\\udc80"),
        ("thin\u202fspace", "thin\u202fspace"),
    ],
)
def test_what_is_shown(text, shown):
    assert printable(text) == shown


def test_long_text_is_cut():
    assert printable("x" * 50, 10) == "xxxxxxxxxx… (50 characters)"
    assert printable("x" * 10, 10) == "x" * 10


def test_an_error_is_one_line():
    error = InputError("a\n.h5", "sample_\x1b[31m", "k" * 500, "is 'x\x07'\n expected y" + "z" * 5000)
    assert str(error).isprintable()
    assert str(error).startswith("a\\n.h5: sample_\\x1b[31m: kkk")
    assert "… (500 characters): is 'x\\x07' expected yzzz" in str(error)
    assert len(str(error)) < 1300
    assert error.scene == "sample_\x1b[31m"  # the name itself, for whoever compares it


def test_what_commands_print(capsys):
    tell("a\x1b[2J\nb")
    say("c\x1b[2J\nd")
    document = {"key\x1b\x9b": ["\u202e", "\U000e0001", "ä"]}
    print_json(document)
    out, err = capsys.readouterr()
    assert err == "fluorojax: a\\x1b[2J\\nb\n"
    first, rest = out.split("\n", 1)
    assert first == "c\\x1b[2J\\nd"
    assert all(line.isprintable() for line in rest.splitlines())
    assert json.loads(rest) == document
    assert "ä" in rest
