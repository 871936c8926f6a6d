"""Settings of every test."""

import atexit
import os
import shutil
import tempfile

import pytest

# Tests neither read the compiled programs of a user nor leave theirs; tests of the cache name a folder of their own.
os.environ["FLUOROJAX_CACHE_DIR"] = "off"
# Most of the time of the tests is compilation, and LLVM's optimisation is most of that. Other flags take precedence.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
# All processes of one run of the tests (workers, commands, notebooks) share what XLA compiled; nothing stays behind.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _programs = tempfile.mkdtemp(prefix="fluorojax-tests-")
    atexit.register(shutil.rmtree, _programs, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _programs
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "0"

# Files that take longest begin first: a long file that begins last would keep one worker busy alone. A file that is not
# named here costs at most as much idle time as it lasts; the order does not matter for what a test finds.
LONGEST_FIRST = (
    "tests/test_recipes.py",
    "tests/methods/test_nuts_method.py",
    "tests/cli/test_real_engine.py",
    "tests/runs/test_lanes.py",
    "tests/methods/test_fourth_parameter.py",
    "tests/validation/test_prior_draws.py",
    "tests/learned/test_training.py",
    "tests/reliability/test_full_disk_commands.py",
    "tests/reliability/test_kills.py",
)


def pytest_collection_modifyitems(session, config, items):
    """Put the tests of the longest files first; the order within a file stays."""
    root = config.rootpath
    if gone := [name for name in LONGEST_FIRST if not (root / name).exists()]:
        raise pytest.UsageError(f"tests/conftest.py: LONGEST_FIRST names {gone[0]}, which does not exist")

    def place(item):
        name = item.path.relative_to(root).as_posix() if item.path.is_relative_to(root) else ""
        return LONGEST_FIRST.index(name) if name in LONGEST_FIRST else len(LONGEST_FIRST)

    items.sort(key=place)


@pytest.fixture
def run(capsys):
    """Run a command line; returns exit code, standard output and standard error."""

    from fluorojax.cli import main  # after the settings above

    def call(*args):
        code = main([str(a) for a in args])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call
