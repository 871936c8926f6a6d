"""Scenes of one shape over the devices of this machine: chunks, lanes, one compilation per chunk shape.

Methods are written for one scene. A chunk of scenes is laid out over all local devices along its scene axis, and each
device runs its share under ``vmap``, as many scenes side by side as its lanes hold and the rest after them. The lanes
depend on the machine and the shape alone, not on the chunk: rounding differs with the width of a batched product, an
iteration amplifies it, and a scene's answer must not depend on how many others share its chunk. A method whose scenes
need very different work (:attr:`~fluorojax.methods.protocol.BatchedMethod.side_by_side`) has one lane everywhere.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from fluorojax.methods.protocol import BatchedMethod, Job
from fluorojax.methods.summary import Summary
from fluorojax.models.protocol import SceneData, SceneModel

# Working set of one scene in units of its float32 counts: optimiser history, scaled bands, linear-response vectors.
_ARRAYS_PER_SCENE = 160
_LANE_BYTES = 2 * 1024**3


def lanes(shape: tuple[int, ...]) -> int:
    """Scenes that one device solves side by side: one on a CPU, whose caches hold no more, else 2 GiB worth."""
    if jax.default_backend() == "cpu":
        return 1
    return max(1, _LANE_BYTES // (4 * _ARRAYS_PER_SCENE * int(np.prod(shape))))


def chunk_size(shape: tuple[int, ...], scenes: int, batch: int | None) -> int:
    """Scenes per chunk: ``batch`` at most, by default what fills the lanes of all devices.

    The scenes are spread evenly over as few chunks as that takes, so that little is computed twice: with several
    devices the size is a multiple of their number, and the last chunk is filled up with repeats.
    """
    devices = jax.local_device_count()
    most = min(scenes, devices * lanes(shape) if batch is None else batch)
    even = -(-scenes // -(-scenes // most))
    return -(-even // devices) * devices


def solve_chunk(method: BatchedMethod, chunk: Sequence[Job], size: int) -> list[Summary]:
    """The results of up to ``size`` scenes of one shape and imaging chain, on the host, in the order of ``chunk``.

    A program takes as many scenes as all lanes hold, whatever ``size`` is, and is called as often as the chunk needs. A
    program for another number of scenes would be compiled to other roundings, and an iteration amplifies them: with one
    lane, as on a CPU, the bits of a scene do not depend on the chunk that the scene is in.
    """
    devices = jax.local_device_count()
    width = devices * min(-(-size // devices), lanes(chunk[0].data.counts.shape))
    inputs = [method.inputs(job.posterior, job.data.ranges, job.seed) for job in chunk]
    mesh = Mesh(np.array(jax.local_devices()), ("scene",))
    layout = NamedSharding(mesh, PartitionSpec("scene"))
    # One key for all: it only drives the probes of preconditioner and variance, and a scene's answer must not depend
    # on its place in a batch.
    key = jax.device_put(jax.random.key(chunk[0].seed), NamedSharding(mesh, PartitionSpec()))
    solve = _batched(chunk[0].model, method, mesh)
    pieces = []
    for first in range(0, len(chunk), width):
        order = [i if i < len(chunk) else first for i in range(first, first + width)]
        batch = (_stack([chunk[i].data for i in order]), _stack([inputs[i] for i in order]))
        # Not waited for: no device is idle until the slowest has finished its scene.
        pieces.append(solve(*jax.device_put(batch, layout), key))
    results = jax.device_get(pieces)
    return [jax.tree.map(lambda leaf, i=i: leaf[i % width], results[i // width]) for i in range(len(chunk))]


def _stack(trees: Sequence) -> Any:
    """The leaves of several pytrees, stacked on the host."""
    dtype = jnp.result_type(float)
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf, dtype) for leaf in leaves]), *trees)


_COMPILED: dict[tuple[SceneModel, BatchedMethod, Mesh], Callable[..., Summary]] = {}


def _batched(model: SceneModel, method: BatchedMethod, mesh: Mesh) -> Callable[..., Summary]:
    """The compiled batch solver of a model; jit keeps one executable per chunk shape."""
    if (model, method, mesh) not in _COMPILED:

        def batched(data: SceneData, inputs: Any, key: Array) -> Summary:
            def solve(scene: tuple[SceneData, Any]) -> Summary:
                return method.solve(model, *scene, key)

            # A single lane is no batch at all: vmap would copy the whole state of a finished loop at every step.
            width = lanes(data.counts.shape[1:]) if method.side_by_side else 1
            return jax.lax.map(solve, (data, inputs), batch_size=width if width > 1 else None)

        program = batched
        if mesh.size > 1:
            scenes, everywhere = PartitionSpec("scene"), PartitionSpec()
            # shard_map rather than automatic partitioning: each device runs its own scenes to their own convergence.
            program = jax.shard_map(
                batched, mesh=mesh, in_specs=(scenes, scenes, everywhere), out_specs=scenes, check_vma=False
            )
        _COMPILED[model, method, mesh] = jax.jit(program)
    return _COMPILED[model, method, mesh]
