"""The cone-beam projector: line integrals of a volume from the source to every pixel.

Joseph's method (IEEE Trans. Med. Imaging 1:192, 1982): a ray crosses one plane of voxels after the other; the volume is
interpolated bilinearly in each plane, and the sum is multiplied by the length of the ray between planes. The planes of
a view are those of the axis, in voxels, along which its central ray is longest. The projector is linear in the volume,
its adjoint is the transpose that JAX derives, and it is differentiable in every pose. Cost and memory are linear in
rays and voxels.

The projector is written here because no library fits: mbirjax (BSD, JAX) describes circular orbits, and its geometry
is static, so that there is no derivative by the pose of a frame; scico's own JAX projector is a parallel beam; LEAP,
ASTRA, TIGRE and diffct work outside JAX, most of them on CUDA alone.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from fluorojax.tomography.geometry import ConeGeometry
from fluorojax.tomography.grid import VoxelGrid

# Samples of the volume in memory together; a smaller number would add up more copies of the volume than needed.
_SAMPLES = 2**19
# The axis across the planes, and the two within them.
_ORDERS = np.array([[0, 1, 2], [1, 0, 2], [2, 0, 1]])


class _Rays(NamedTuple):
    """Rays from one source."""

    source: Float[Array, "3"]
    ends: Float[Array, "N 3"]


def project(
    volume: Float[Array, "X Y Z"], geometry: ConeGeometry, grid: VoxelGrid, *, samples: int | None = None
) -> Float[Array, "T rows columns"]:
    """Line integrals of ``volume`` from the source of each frame to its pixels, dimensionless.

    The volume is taken as zero outside, and continuous: it falls to zero over one voxel at its border. Only what lies
    between source and pixel counts. Computes in the dtype of the volume; pure and traceable.

    **Arguments:** ``volume`` attenuation, 1/mm; ``samples`` of the volume held in memory at a time, by default the
    larger of half a million and the number of voxels: rays are taken in chunks of that size, and computed again for the
    gradient. **Raises** ``ValueError`` where the volume does not lie on ``grid`` or is not floating.
    """
    if volume.shape != grid.shape:
        raise ValueError(f"volume has shape {volume.shape}; expected {grid.shape}, like the grid")
    if not jnp.issubdtype(volume.dtype, jnp.floating):
        raise ValueError(f"volume has dtype {volume.dtype}; expected a floating dtype")
    views = geometry.views
    samples = max(_SAMPLES, volume.size) if samples is None else samples
    per_view = geometry.rows * geometry.columns
    chunk = max(1, min(samples // max(grid.shape), per_view))
    chunks = -(-per_view // chunk)

    pixels = geometry.pixels(volume.dtype).reshape(views, per_view, 3)
    # Rays beyond the last pixel repeat it, and are cut off below.
    pixels = jnp.pad(pixels, ((0, 0), (0, chunks * chunk - per_view), (0, 0)), mode="edge")
    ends = pixels.reshape(views * chunks, chunk, 3)
    source, centre = (jnp.asarray(pose, volume.dtype) for pose in (geometry.source, geometry.centre))
    axis = jnp.argmax(jnp.abs(centre - source) / jnp.asarray(grid.spacing, volume.dtype), axis=-1)
    axes, sources = (jnp.repeat(values, chunks, 0) for values in (axis, source))

    # The volume in its enclosing cube, once for each axis across the planes: one program serves all axes, and compiles
    # in a third of the time.
    size = max(grid.shape)
    cube = jnp.pad(volume, [(0, size - n) for n in grid.shape])
    stacks = [
        jnp.pad(jnp.transpose(cube, order), ((0, 0), (1, 2), (1, 2))).reshape(size, (size + 3) ** 2)
        for order in _ORDERS.tolist()
    ]
    stacks = jnp.stack(stacks)

    @jax.checkpoint
    def integrals(chunk: tuple[Array, _Rays]) -> Float[Array, " N"]:
        axis, rays = chunk
        return _integrals(stacks[axis], jnp.asarray(_ORDERS)[axis], rays, grid)

    found = jax.lax.map(integrals, (axes, _Rays(sources, ends))).reshape(views, chunks * chunk)
    return found[:, :per_view].reshape(views, geometry.rows, geometry.columns)


def backproject(
    data: Float[Array, "T rows columns"], geometry: ConeGeometry, grid: VoxelGrid, *, samples: int | None = None
) -> Float[Array, "X Y Z"]:
    """The adjoint of :func:`project`, in mm: every line integral is smeared back along its ray."""
    shape = jax.ShapeDtypeStruct(grid.shape, data.dtype)
    return jax.linear_transpose(lambda volume: project(volume, geometry, grid, samples=samples), shape)(data)[0]


def _integrals(
    planes: Float[Array, "n plane"], order: Int[Array, "3"], rays: _Rays, grid: VoxelGrid
) -> Float[Array, " N"]:
    """Line integrals from one source to N points, by planes of the axis ``order[0]``.

    ``planes`` hold the voxels of the axes ``order[1]`` and ``order[2]``, flat, with one zero before and two after each
    row and column.
    """
    dtype, size = planes.dtype, len(planes)
    spacing, origin = (jnp.asarray(values, dtype)[order] for values in (grid.spacing, grid.origin))
    start = (rays.source[order] - origin) / spacing
    ray = rays.ends - rays.source
    steps = ray[:, order] / spacing
    run, slopes = steps[:, 0], steps[:, 1:] / steps[:, :1]
    stride = size + 3

    def add(total: Float[Array, " N"], plane: tuple[Float[Array, " plane"], Float[Array, ""]]) -> tuple[Array, None]:
        voxels, index = plane
        travel = index - start[0]
        # One voxel outside and beyond, all is zero.
        a, b = (jnp.clip(start[k + 1] + travel * slopes[:, k], -1, size) + 1 for k in range(2))
        low_a, low_b = jnp.floor(a), jnp.floor(b)
        a, b = a - low_a, b - low_b
        place = low_a.astype(jnp.int32) * stride + low_b.astype(jnp.int32)

        def read(offset: int) -> Array:
            return voxels.at[place + offset].get(mode="promise_in_bounds")

        near = read(0) * (1 - b) + read(1) * b
        far = read(stride) * (1 - b) + read(stride + 1) * b
        between = (travel * run >= 0) & (jnp.abs(travel) <= jnp.abs(run))
        return total + jnp.where(between, near * (1 - a) + far * a, 0), None

    total, _ = jax.lax.scan(add, jnp.zeros(len(run), dtype), (planes, jnp.arange(len(planes), dtype=dtype)))
    return jnp.linalg.norm(ray, axis=-1) / jnp.abs(run) * total
