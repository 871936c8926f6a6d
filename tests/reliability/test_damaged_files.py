"""Damaged files through every command: exit code 0, 1 or 2, one line for each error, and no hang."""

import sys

import pytest
from reliability.fuzz import COMMANDS, fuzz, make_bases, running
from reliability.mutations import mutate

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="memory is measured and limited as Linux does"),
]

FEW = dict.fromkeys(COMMANDS, 4) | {"info": 16, "info of results": 8, "state": 8}


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    return make_bases(tmp_path_factory.mktemp("bases"))


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    with running(tmp_path_factory.mktemp("cache")) as found:
        yield found


def check(worker, bases, command, seeds, folder):
    summary = fuzz(worker, bases, command, seeds, folder)
    assert summary.files == len(seeds)
    assert not summary.problems, "\n".join(summary.problems)
    assert set(summary.codes) <= {"0", "1", "2"}
    # The child process has 2 s and what the size of the file allows, and is started again three times at most.
    assert summary.largest_bytes < 2**31
    assert summary.codes["2"] > 0


@pytest.mark.parametrize("command", COMMANDS)
def test_a_few_damaged_files(worker, bases, command, tmp_path):
    check(worker, bases, command, range(FEW[command]), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_thousand_damaged_files(worker, bases, command, tmp_path):
    check(worker, bases, command, range(10_000, 11_000), tmp_path)


def test_the_same_seed_does_the_same_damage(bases, tmp_path):
    ways = set()
    for seed in range(40):
        source = bases["counts"][seed % 3]
        found = []
        for name in "ab":
            path = tmp_path / name
            path.write_bytes(source.read_bytes())
            found.append((mutate(path, seed), path.read_bytes() if seed % 3 == 0 else b""))
        ways.add(found[0][0])
        assert found[0][0] == found[1][0]
    assert len(ways) > 10
