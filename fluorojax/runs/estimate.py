"""What a run will take: memory, time and the devices it runs on, told before it begins."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.foreign.memory import free_bytes

if TYPE_CHECKING:
    from fluorojax.methods.protocol import Method

# Float32 arrays of the size of its counts that a scene of a chunk holds while it waits for its turn: data and results.
_WAITING_ARRAYS = 24
_COMPILE_SECONDS = 40.0
WHOLE_BYTES = 1_500_000_000
"""Memory that a scene may take as a whole where blocks give the same numbers, bytes."""


@dataclass(frozen=True)
class Estimate:
    """What a run will take, roughly."""

    scenes: int
    shapes: tuple[tuple[int, ...], ...]
    """The different shapes of the counts."""
    bytes: int
    """Memory on the device, peak."""
    seconds: float | None
    """Wall time, compilation of new programs not counted; None where nothing is known."""

    def sentence(self) -> str:
        """Number and shapes of the scenes, memory and time, in one line."""
        shapes = ", ".join("×".join(map(str, shape)) for shape in self.shapes[:3])
        shapes += ", …" if len(self.shapes) > 3 else ""
        what = f"{self.scenes} scene{'' if self.scenes == 1 else 's'} of {shapes}"
        needs = f"about {size_words(self.bytes)} of memory"
        if self.seconds is None:
            return f"{what}: {needs}"
        time = time_words(self.seconds)
        return f"{what}: {needs} and {time}, plus up to {_COMPILE_SECONDS:.0f} s to compile a shape for the first time"


def estimate(shapes: Mapping[str, tuple[int, ...]], options: ReconstructOptions) -> Estimate:
    """What reconstructing scenes of these shapes, (T, H, W) or (H, W) by name, will take with ``options``.

    The figures are measured on CPU cores; elsewhere no time is given.
    """
    from fluorojax.methods.registry import make_method

    method, values = make_method(options), list(shapes.values())
    together = max(1, options.batch or 1)
    largest = max((_values_at_once(method, shape, options) for shape in values), default=0)
    memory = method.process_bytes + 4 * largest * (method.working_arrays + _WAITING_ARRAYS * (together - 1))
    known = [method.seconds(shape[0] if len(shape) == 3 else 1, math.prod(shape[-2:])) for shape in values]
    times = [time for time in known if time is not None]
    seconds = sum(times) if len(times) == len(known) and _on_cpu() else None
    return Estimate(len(values), tuple(dict.fromkeys(values)), memory, seconds)


def in_blocks(method: "Method", shape: tuple[int, ...], options: ReconstructOptions) -> bool:
    """Whether a scene is read, solved and written in blocks (:mod:`fluorojax.runs.long_runs`).

    With ``options.block_frames`` where it has more frames than that. Else where the whole would take more than
    :data:`WHOLE_BYTES` and blocks of the method give the same numbers, or more than is free and they do not quite.
    Raises ``ValueError`` where blocks are asked for and the method has none, or needs longer ones.
    """
    if len(shape) != 3 or 0 in shape:  # a scene without pixels is refused where it is read
        return False
    if options.between:  # images between the frames are made of the whole run
        return False
    run = (shape[0], shape[1], shape[2])
    values = method.block_values(run, options.block_frames)
    if options.block_frames is not None:
        if values is None:
            raise ValueError(
                f"block_frames is {options.block_frames}, and the method {options.method!r} needs a whole run at once; "
                "expected map or learned"
            )
        return shape[0] > options.block_frames
    if values is None or values >= math.prod(shape):
        return False
    whole = method.process_bytes + 4 * math.prod(shape) * method.working_arrays
    if method.exact_blocks:
        return whole > WHOLE_BYTES
    free = available_bytes()
    return free is not None and whole > free


def _values_at_once(method: "Method", shape: tuple[int, ...], options: ReconstructOptions) -> int:
    """Counts of a scene that are solved at once."""
    if in_blocks(method, shape, options):
        values = method.block_values((shape[0], shape[1], shape[2]), options.block_frames)
        assert values is not None
        return values
    return math.prod(shape)


def check_memory(needs: Estimate, available: int | None = None) -> None:
    """Raise ``ValueError`` where the memory there is cannot hold the run; ``available`` bytes, by default measured."""
    found = available_bytes() if available is None else available
    if found is not None and needs.bytes > found:
        raise ValueError(
            f"the run needs about {size_words(needs.bytes)} of memory and {size_words(found)} are free; expected "
            "smaller scenes (--crop, --frames), blocks (--block-frames), a smaller --batch, or a machine with more "
            "memory (--ignore-memory starts all the same)"
        )


def available_bytes() -> int | None:
    """Bytes that a run may still take: of the accelerator if there is one, else of the machine; None if unknown."""
    if not _on_cpu():
        import jax

        facts = jax.local_devices()[0].memory_stats() or {}
        return facts.get("bytes_limit")
    return free_bytes()


def backend_words() -> str:
    """The devices in use, e.g. ``CPU (2 cores), JAX 0.10.2``."""
    import jax

    devices = jax.local_devices()
    kind = devices[0].platform.upper()
    if kind == "CPU":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        what = f"CPU ({cores} core{'' if cores == 1 else 's'})"
        if len(devices) > 1:
            what += f" as {len(devices)} devices"
    else:
        what = f"{f'{len(devices)} × ' if len(devices) > 1 else ''}{kind} ({devices[0].device_kind})"
    return f"{what}, JAX {jax.__version__}"


def size_words(count: int) -> str:
    """Bytes as MB or GB, to two digits."""
    if count < 1e9:
        return f"{count / 1e6:.0f} MB"
    return f"{count / 1e9:.1f} GB" if count < 1e10 else f"{count / 1e9:.0f} GB"


def time_words(seconds: float) -> str:
    """Seconds in the unit that suits them, to two digits at most."""
    for size, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit}" if seconds < 10 * size else f"{seconds / size:.0f} {unit}"
    return "1 second" if seconds < 1.5 else f"{seconds:.0f} seconds"


def _on_cpu() -> bool:
    import jax

    return jax.default_backend() == "cpu"
