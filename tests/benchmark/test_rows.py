"""Rows survive interruptions, and rows of other settings are refused."""

import json

import pytest

from fluorojax.benchmark.rows import RowStore, _code, code_digest, row_key
from fluorojax.io import InputError

SETTINGS = {"seed": 0, "frames": 12}


def filled(path, keys=("a", "b")):
    with RowStore(path, SETTINGS) as store:
        for key in keys:
            store.add({"key": key, "value": float("nan")})
    return path


def test_rows_come_back(tmp_path):
    path = filled(tmp_path / "deep" / "rows.jsonl")
    with RowStore(path, SETTINGS) as store:
        assert store.rows == {"a": {"key": "a", "value": None}, "b": {"key": "b", "value": None}}


def test_a_line_cut_off_by_a_crash_is_dropped_and_the_file_goes_on(tmp_path):
    path = filled(tmp_path / "rows.jsonl")
    with path.open("a") as handle:
        handle.write('{"key": "c", "val')
    with RowStore(path, SETTINGS) as store:
        assert set(store.rows) == {"a", "b"}
        store.add({"key": "d"})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line.get("key") for line in lines] == [None, "a", "b", "d"]


def test_other_settings_are_one_clear_line(tmp_path):
    path = filled(tmp_path / "rows.jsonl")
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"rows\.jsonl: frames: is 12 in the rows kept there, now 16; choose"):
        RowStore(path, {**SETTINGS, "frames": 16})
    assert path.read_bytes() == before
    with RowStore(path, {**SETTINGS, "frames": 16}, overwrite=True) as store:
        assert store.rows == {}


@pytest.mark.parametrize("text", ["hello\n", "[1]\n", '{"key": "a"}\n', '{"benchmark": 99}\n'])
def test_a_file_that_is_no_rows_file_is_refused_and_kept(tmp_path, text):
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match="rows"):
        RowStore(path, SETTINGS)
    assert path.read_text() == text


def test_two_processes_do_not_write_one_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    with RowStore(path, SETTINGS), pytest.raises(InputError, match="being written by another process"):
        RowStore(path, SETTINGS)
    with RowStore(path, SETTINGS) as store:
        assert store.rows == {}


def test_keys_depend_on_every_fact_and_not_on_their_order():
    facts = {"method": "raw", "parameters": {"alpha": 0.3}, "versions": {"jax": "1"}}
    assert row_key(facts) == row_key(dict(reversed(facts.items())))
    changed = [{**facts, "method": "map"}, {**facts, "parameters": {"alpha": 0.2}}, {**facts, "versions": {"jax": "2"}}]
    assert len({row_key(facts), *map(row_key, changed)}) == 4


def test_words_about_the_code_are_not_the_code():
    source = "LIMIT = 3\n\n\ndef double(x):\n    return 2 * x\n"
    told = '"""Module."""\nLIMIT = 3\n"""Of what."""\n# why\ndef double(x):\n    """Twice."""\n    return (2 * x)\n'
    assert _code(source) == _code(told)
    assert _code(source) != _code(source.replace("2", "3"))


def test_code_digests_tell_modules_apart():
    assert code_digest(("physics",)) == code_digest(("physics",))
    assert (
        len(
            {
                code_digest(names)
                for names in (("physics",), ("data/spec",), ("shipped_models",), ("physics", "data/spec"))
            }
        )
        == 4
    )
