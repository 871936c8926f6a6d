"""A process ends at once on a signal and leaves its files in order; compiled programs are kept where that is wanted."""

import os
import signal
import subprocess
import sys
import time

import pytest

PREFACE = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test may run where the signal is ignored
from pathlib import Path
from fluorojax.io.atomic import atomic_output
from fluorojax.io.shutdown import at_stop, undisturbed
from fluorojax.runs.interrupts import run_interruptible
out = Path(sys.argv[1])
"""
# Sleeping stands for XLA, which computes without giving control back to the thread and lets other threads run.
COMPUTING = """
def work():
    with atomic_output(out) as temporary, at_stop(lambda: print("kept", flush=True)):
        temporary.write_text("half")
        print("ready", flush=True)
        time.sleep(60)
    return 0
"""
WRITING = """
def work():
    with undisturbed():
        print("ready", flush=True)
        time.sleep(1)
        out.write_text("whole")
    time.sleep(60)
    return 0
"""
END = """
sys.exit(run_interruptible(work, "name"))
"""


def signalled(script, out, number):
    command = [sys.executable, "-c", PREFACE + script + END, str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    begin = time.monotonic()
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)
    return process.returncode, stdout, stderr, time.monotonic() - begin


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_the_process_and_its_temporary_files(tmp_path, number, code, word):
    found = signalled(COMPUTING, tmp_path / "out.txt", number)
    assert found[:3] == (code, "kept\n", f"name: {word}\n")
    assert found[3] < 2
    assert list(tmp_path.iterdir()) == []


def test_what_is_being_written_is_finished_first(tmp_path):
    code, _, _, seconds = signalled(WRITING, tmp_path / "out.txt", signal.SIGINT)
    assert code == 130
    assert (tmp_path / "out.txt").read_text() == "whole"
    assert 0.5 < seconds < 3


def test_exceptions_and_codes_pass():
    from fluorojax.runs.interrupts import run_interruptible

    before = signal.getsignal(signal.SIGINT)
    assert run_interruptible(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        run_interruptible(lambda: 1 // 0)
    assert signal.getsignal(signal.SIGINT) is before


CACHED = """
import sys, warnings
warnings.simplefilter("error")
import jax, jax.numpy as jnp
from fluorojax.runs.cache import enable_compilation_cache
print(enable_compilation_cache(notify=print))
print(jax.jit(lambda x: jnp.sin(x) @ x)(jnp.eye(3)).sum() > 0)
"""


def cached(folder):
    variables = {**os.environ, "FLUOROJAX_CACHE_DIR": str(folder), "JAX_PLATFORMS": "cpu"}
    variables.pop("JAX_COMPILATION_CACHE_DIR", None)
    process = subprocess.run([sys.executable, "-c", CACHED], env=variables, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


def test_programs_are_kept_and_a_damaged_entry_does_no_harm(tmp_path):
    folder, answer = cached(tmp_path)
    assert answer == "True"
    assert folder.startswith(str(tmp_path))
    entries = [path for path in tmp_path.rglob("*-cache") if path.is_file()]
    assert entries
    for path in entries:
        path.write_bytes(b"no program")
    assert cached(tmp_path)[1] == "True"


def test_a_folder_that_cannot_be_made_is_a_remark(tmp_path):
    (tmp_path / "file").write_text("")
    remark, nothing, answer = cached(tmp_path / "file" / "cache")
    assert "compiled programs are not kept" in remark
    assert (nothing, answer) == ("None", "True")


def test_off_is_off():
    assert cached("off") == ["None", "True"]


def test_importing_fluorojax_changes_no_setting():
    code = "import jax, fluorojax.cli, fluorojax.api, fluorojax.runs.cache; print(jax.config.values)"
    plain = "import jax; print(jax.config.values)"
    outputs = [
        subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout
        for text in (code, plain)
    ]
    assert outputs[0] == outputs[1]
