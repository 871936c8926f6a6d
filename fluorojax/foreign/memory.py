"""How much memory the machine can still give."""

import os
import platform
from pathlib import Path


def free_bytes() -> int | None:
    """Bytes that a process may still take, of the machine and of its control group; None where nothing tells."""
    return min((found for found in (_machine_bytes(), _group_bytes()) if found is not None), default=None)


def _machine_bytes() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    if platform.system() == "Windows":
        return None
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None


def _group_bytes() -> int | None:
    """What the control group of the process (a container's limit) still leaves; caches can be given back."""
    folder = Path("/sys/fs/cgroup")
    limit, used = (_number(folder / name) for name in ("memory.max", "memory.current"))
    if limit is None or used is None:
        return None
    try:
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        lines = []
    cached = sum(int(line.split()[1]) for line in lines if line.startswith(("inactive_file ", "active_file ")))
    return max(limit - used + cached, 0)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no limit reads as "max"
        return None
