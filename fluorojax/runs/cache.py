"""Keeping compiled programs between processes.

JAX can keep the programs that XLA compiled in a folder. These functions choose the folder and switch that on; the
command line and the recipes call them, and importing fluorojax changes no setting of JAX.
"""

import hashlib
import os
import platform
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

CACHE_VARIABLE = "FLUOROJAX_CACHE_DIR"
"""Environment variable with the folder of the cache; ``off`` switches the cache off."""
MAX_BYTES = 1024**3
"""Most that the cache of one machine type and one version of JAX takes; what was used least recently makes room."""
_LEAST_SECONDS = 0.0  # every program is kept: hundreds of small ones together take as long as the large one


def enable_compilation_cache(
    directory: str | os.PathLike[str] | None = None,
    *,
    max_bytes: int = MAX_BYTES,
    notify: Callable[[str], None] = lambda line: None,
) -> Path | None:
    """Keep compiled programs in a folder and use those that are there, in this process from now on.

    **Arguments:** ``directory`` by default comes from the environment variable ``FLUOROJAX_CACHE_DIR``, else the user's
    cache folder is taken; ``off`` switches the cache off. ``max_bytes`` limits the size; ``notify`` receives a remark
    where the cache cannot be used.

    Returns the folder in use, or None. Programs run on the type of processor that they were compiled for, so each type
    and each version of JAX has a folder of its own inside. A folder that cannot be written or a damaged entry costs the
    time to compile and never a result. A cache that the user set up for JAX (``JAX_COMPILATION_CACHE_DIR``) is left as
    it is.
    """
    import jax

    if given := jax.config.values.get("jax_compilation_cache_dir"):
        return Path(given)
    chosen = os.environ.get(CACHE_VARIABLE, "") if directory is None else str(directory)
    if chosen.strip().lower() == "off":
        return None
    try:
        folder = (Path(chosen).expanduser() if chosen else _user_folder()) / _machine()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or error
        notify(f"compiled programs are not kept: {chosen or 'the cache folder'} cannot be written ({why})")
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", max_bytes)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    # an entry that cannot be read or written is compiled again: a failure of the cache is no failure of the run
    jax.config.update("jax_raise_persistent_cache_errors", False)
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache entry")
    return folder


def _user_folder() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("fluorojax") / "compiled"


def _machine() -> str:
    """A folder name for this version of JAX and this type of processor."""
    import jax
    import jaxlib

    processor = platform.processor() + platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        kinds = ("flags", "Features", "model name", "CPU part")
        processor += "".join(sorted({line for line in lines if line.startswith(kinds)}))
    except OSError:  # no such file outside of Linux
        pass
    digest = hashlib.sha256(processor.encode()).hexdigest()[:12]
    return f"jax-{jax.__version__}-{jaxlib.__version__}-{platform.machine()}-{digest}"
