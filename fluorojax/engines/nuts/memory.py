"""The memory a NUTS run takes on a device, and the refusal of more Markov chains than it holds.

The counts of arrays are fitted to XLA's memory analysis of a block of the shipped models (4 to 16 frames of 32² to 64²
pixels, one frame of 96²; 1 to 4 Markov chains in turn and vectorised; tree depths 8 and 12; single and double
precision), from which the estimate is off by −4 to +19 %.
"""

import os
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from fluorojax.engines.nuts.kept import ImageStatistics
from fluorojax.engines.nuts.options import NutsOptions
from fluorojax.engines.online_statistics import Grid, Moments
from fluorojax.io.errors import RunError

# Arrays of the size of the latents. What a Markov chain keeps: position, gradient, mass matrix and its roots.
_STATE_ARRAYS = 9
# What an iteration needs besides: both ends of the trajectory, proposals, energies' gradients; and per level of the
# tree a checkpoint of the momentum and one of its sum, each in and out of the loop.
_STEP_ARRAYS, _ARRAYS_PER_LEVEL = 24, 4
# What all Markov chains share: per shared latent its response and its centring, each twice, and the rest.
_ARRAYS_PER_SHARED, _OTHER_SHARED_ARRAYS = 4, 10


def bytes_needed(
    options: NutsOptions,
    shape: Sequence[int],
    latents: int,
    shared: int,
    parameters: int,
    chains: int,
    *,
    in_turn: bool,
) -> int:
    """Bytes on a device that runs ``chains`` Markov chains, in the precision that is set.

    **Arguments:** ``shape`` of the counts; ``latents`` the number of all latent values, ``shared`` of those whose
    moves the fields follow (``shared_sites`` of the coordinates); ``parameters`` the number of spec
    parameters; ``in_turn`` whether one Markov chain runs at a time.
    """
    array = jnp.dtype(jnp.result_type(float)).itemsize * latents
    statistics = jax.eval_shape(lambda: ImageStatistics.zero(Grid.around(Moments.zero(shape)), parameters))
    state = _STATE_ARRAYS * array + _bytes(statistics)
    step = (_STEP_ARRAYS + _ARRAYS_PER_LEVEL * options.max_tree_depth) * array + _bytes(statistics.histogram)
    common = (_ARRAYS_PER_SHARED * shared + _OTHER_SHARED_ARRAYS) * array
    # A block reads the states of all Markov chains and writes new ones; a loop over several holds one more.
    if in_turn:
        return common + step + (2 * chains + (chains > 1)) * state
    return common + chains * (2 * state + step)


def check_memory(
    options: NutsOptions,
    shape: Sequence[int],
    latents: int,
    shared: int,
    parameters: int,
    *,
    devices: int,
    in_turn: bool,
) -> None:
    """Raise ``ValueError`` where the Markov chains of a run do not fit in the memory of ``devices`` devices.

    The other arguments are those of :func:`bytes_needed`.
    """

    def need(chains: int) -> int:
        return bytes_needed(options, shape, latents, shared, parameters, chains, in_turn=in_turn)

    available = device_memory()
    if (needed := need(options.chains // devices)) <= available:
        return
    each = need(3) - need(2)
    most = 0 if need(1) > available else max(1, 2 + (available - need(2)) // each)
    raise RunError(
        f"chains is {options.chains}, which needs about {needed / 2**30:.3g} GiB per device; expected at most "
        f"{most * devices} for the {available / 2**30:.3g} GiB there"
    )


def _bytes(tree: object) -> int:
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def device_memory() -> int:
    """Bytes of memory of a local device; for CPU devices the machine's, shared evenly; unbounded where unknown."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        return int((device.memory_stats() or {}).get("bytes_limit", 2**62))
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // jax.local_device_count()
    except (AttributeError, ValueError, OSError):  # not a POSIX system: the allocator will say
        return 2**62
