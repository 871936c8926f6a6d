"""Settings of every test."""

import atexit
import os
import shutil
import tempfile

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
