"""The memory a NUTS run takes on a device, and the refusal of more chains than it holds.

The counts of arrays are fitted to XLA's memory analysis of a block of the shipped models (4 to 16 frames of 32² to 64²
pixels, one frame of 96²; 1 to 4 chains in turn and vectorised; tree depths 8 and 12; single and double precision), from
which the estimate is off by −4 to +19 %.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from fluorojax.engines.draws import NutsOptions
from fluorojax.engines.online_statistics import Grid, Moments, Stream, device_memory

# Arrays of the size of the latents. What a chain keeps: position, gradient, mass matrix and its roots.
_STATE_ARRAYS = 9
# What an iteration needs besides: both ends of the trajectory, proposals, energies' gradients; and per level of the
# tree a checkpoint of the momentum and one of its sum, each in and out of the loop.
_STEP_ARRAYS, _ARRAYS_PER_LEVEL = 24, 4
# What all chains share: per latent that moves with the chain its response and its centring, each twice, and the rest.
_ARRAYS_PER_SHARED, _OTHER_SHARED_ARRAYS = 4, 10


def bytes_needed(
    options: NutsOptions, shape: Sequence[int], latents: int, shared: int, chains: int, *, in_turn: bool
) -> int:
    """Bytes on a device that runs ``chains`` chains, in the precision that is set.

    **Arguments:** ``shape`` of the counts; ``latents`` the number of all latent values, ``shared`` of those that move
    with the chain (:func:`fluorojax.engines.nuts_state.shared_sites`); ``in_turn`` whether one chain runs at a time.
    """
    array = jnp.dtype(jnp.result_type(float)).itemsize * latents
    streamed = jax.eval_shape(lambda: Stream.zero(Grid.around(Moments.zero(shape))))
    state = _STATE_ARRAYS * array + _bytes(streamed)
    step = (_STEP_ARRAYS + _ARRAYS_PER_LEVEL * options.max_tree_depth) * array + _bytes(streamed.histogram)
    common = (_ARRAYS_PER_SHARED * shared + _OTHER_SHARED_ARRAYS) * array
    # A block reads the states of all chains and writes new ones; a loop over several holds one more.
    if in_turn:
        return common + step + (2 * chains + (chains > 1)) * state
    return common + chains * (2 * state + step)


def check_memory(
    options: NutsOptions, shape: Sequence[int], latents: int, shared: int, *, devices: int, in_turn: bool
) -> None:
    """Raise ``ValueError`` where the chains of a run, spread over ``devices`` devices, do not fit in their memory.

    The other arguments are those of :func:`bytes_needed`.
    """

    def need(chains: int) -> int:
        return bytes_needed(options, shape, latents, shared, chains, in_turn=in_turn)

    available = device_memory()
    if (needed := need(options.chains // devices)) <= available:
        return
    each = need(3) - need(2)
    most = 0 if need(1) > available else max(1, 2 + (available - need(2)) // each)
    raise ValueError(
        f"chains is {options.chains}, which needs about {needed / 2**30:.3g} GiB per device; expected at most "
        f"{most * devices} for the {available / 2**30:.3g} GiB there"
    )


def _bytes(tree: object) -> int:
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
