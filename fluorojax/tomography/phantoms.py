"""Phantoms of ellipsoids, whose line integrals are known in closed form: the head of Shepp and Logan, and a thorax."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fluorojax.tomography.geometry import ConeGeometry
from fluorojax.tomography.grid import WATER_PER_MM, VoxelGrid


class Ellipsoids(eqx.Module):
    """A sum of homogeneous ellipsoids: at a point, the attenuation is the sum of those around it."""

    attenuation: Float[np.ndarray, " E"]
    """Attenuation that each ellipsoid adds inside, 1/mm; negative for a cavity."""
    centres: Float[np.ndarray, "E 3"]
    """Centres, mm."""
    axes: Float[np.ndarray, "E 3"]
    """Half axes, mm."""
    rotations: Float[np.ndarray, "E 3 3"]
    """Rotation of each: the rows are the directions of its half axes."""

    def line_integrals(self, geometry: ConeGeometry, dtype: Any = float) -> Float[Array, "T rows columns"]:
        """Exact line integrals from the sources to the pixel centres, dimensionless.

        Where the ray p + t·d, t in [0, 1], has ``|q + t·e|² = 1`` in the coordinates in which the ellipsoid is the unit
        ball, its chord is ``2 √((q·e)² − |e|²(|q|² − 1)) / |e|²`` times the length of d.
        """
        matrices = jnp.asarray(self.rotations / self.axes[:, :, None], dtype)
        centres, values = jnp.asarray(self.centres, dtype), jnp.asarray(self.attenuation, dtype)

        def view(pose: tuple[Array, Array]) -> Float[Array, "rows columns"]:
            source, pixels = pose
            ray = pixels - source
            length = jnp.linalg.norm(ray, axis=-1)
            # unit directions keep the digits of single precision
            direction = ray / length[..., None]

            def chord(total: Array, one: tuple[Array, Array, Array]) -> tuple[Array, None]:
                matrix, centre, value = one
                e = direction @ matrix.T
                square = jnp.sum(e * e, -1)
                # measured from the point of the ray nearest to the centre, for the same reason
                middle = jnp.sum((centre - source) * direction, -1)
                q = (source - centre + middle[..., None] * direction) @ matrix.T
                along = jnp.sum(q * e, -1)
                root = jnp.maximum(along**2 - square * (jnp.sum(q * q, -1) - 1), 0)
                half = jnp.sqrt(jnp.where(root > 0, root, 1.0)) / square
                at = middle - along / square
                enter, leave = (jnp.clip(at + side * half, 0, length) for side in (-1, 1))
                return total + jnp.where(root > 0, value * (leave - enter), 0), None

            return jax.lax.scan(chord, jnp.zeros(length.shape, dtype), (matrices, centres, values))[0]

        return jax.lax.map(view, (jnp.asarray(geometry.source, dtype), geometry.pixels(dtype)))

    def volume(self, grid: VoxelGrid, *, subvoxels: int = 3) -> Float[np.ndarray, "X Y Z"]:
        """Mean attenuation of every voxel, 1/mm, float32, from ``subvoxels`` points along each axis of it."""
        fine = []
        for axis in range(3):
            offsets = (np.arange(subvoxels) + 0.5) / subvoxels - 0.5
            fine.append((grid.axis(axis)[:, None] + grid.spacing[axis] * offsets).ravel())
        total = np.zeros([len(f) for f in fine])
        for value, centre, axes, rotation in zip(
            self.attenuation, self.centres, self.axes, self.rotations, strict=True
        ):
            # only the box around the ellipsoid
            reach = np.sqrt(np.sum((rotation * axes[:, None]) ** 2, 0))
            box = tuple(slice(*np.searchsorted(f, [c - r, c + r])) for f, c, r in zip(fine, centre, reach, strict=True))
            points = np.meshgrid(*[f[b] - c for f, b, c in zip(fine, box, centre, strict=True)], indexing="ij")
            scaled = np.einsum("kc,cxyz->kxyz", rotation / axes[:, None], np.stack(points))
            total[box] += value * (np.sum(scaled**2, 0) <= 1)
        blocks = total.reshape([size for n in grid.shape for size in (n, subvoxels)])
        return blocks.mean((1, 3, 5)).astype(np.float32)

    def scaled(self, factor: float) -> "Ellipsoids":
        """All lengths times ``factor``; the attenuation stays."""
        return Ellipsoids(self.attenuation, factor * self.centres, factor * self.axes, self.rotations)


# The ten ellipses of Shepp & Logan (IEEE Trans. Nucl. Sci. 21:21, 1974) with the larger contrasts of Toft's version
# (The Radon Transform, thesis, Technical University of Denmark, 1996) and the third axes that phantoms in three
# dimensions usually give them: value, centre, half axes relative to the field's half width, and the angle about z.
_SHEPP_LOGAN = (
    (1.0, (0.0, 0.0, 0.0), (0.69, 0.92, 0.81), 0.0),
    (-0.8, (0.0, -0.0184, 0.0), (0.6624, 0.874, 0.78), 0.0),
    (-0.2, (0.22, 0.0, 0.0), (0.11, 0.31, 0.22), -18.0),
    (-0.2, (-0.22, 0.0, 0.0), (0.16, 0.41, 0.28), 18.0),
    (0.1, (0.0, 0.35, -0.15), (0.21, 0.25, 0.41), 0.0),
    (0.1, (0.0, 0.1, 0.25), (0.046, 0.046, 0.05), 0.0),
    (0.1, (0.0, -0.1, 0.25), (0.046, 0.046, 0.05), 0.0),
    (0.1, (-0.08, -0.605, 0.0), (0.046, 0.023, 0.05), 0.0),
    (0.1, (0.0, -0.605, 0.0), (0.023, 0.023, 0.02), 0.0),
    (0.1, (0.06, -0.605, 0.0), (0.023, 0.046, 0.02), 0.0),
)


def shepp_logan(field_mm: float = 240.0, water_per_mm: float = WATER_PER_MM) -> Ellipsoids:
    """The three-dimensional head phantom of Shepp and Logan, in a field of ``field_mm`` across.

    Its skull has 2.5 times the attenuation of water; the brain (0.2 of the skull in the modified phantom) has half of
    water's, its details 0 to 0.75. Sections through the middle are those of Shepp & Logan (IEEE Trans.
    Nucl. Sci. 21:21, 1974) with the larger contrasts of Toft's version (thesis, 1996).
    """
    values, centres, axes, angles = zip(*_SHEPP_LOGAN, strict=True)
    half = 0.5 * field_mm
    return Ellipsoids(
        2.5 * water_per_mm * np.array(values),
        half * np.array(centres),
        half * np.array(axes),
        np.stack([_about_z(np.deg2rad(angle)) for angle in angles]),
    )


def thorax(seed: int = 0, field_mm: float = 240.0, water_per_mm: float = WATER_PER_MM) -> Ellipsoids:
    """A thorax of ellipsoids: body, lungs, spine, sternum, ribs, heart with contrast agent, aorta and lung vessels.

    Sizes and places vary with ``seed`` by a few percent; all of it lies within ``field_mm`` across. Attenuations are
    those of water (1), muscle (1.05), lung (0.25), bone (1.6 to 1.9) and diluted contrast agent (1.35), relative.
    """
    rng = np.random.default_rng(seed)
    found: list[tuple[float, np.ndarray, np.ndarray, np.ndarray]] = []
    half = 0.5 * field_mm

    def put(value: float, centre: tuple[float, ...], axes: tuple[float, ...], rotation: np.ndarray | None = None):
        shake = 1 + 0.04 * rng.standard_normal(3)
        place = np.array(centre) + 0.01 * rng.standard_normal(3)
        found.append((value, half * place, half * np.array(axes) * shake, np.eye(3) if rotation is None else rotation))

    put(1.0, (0, 0, 0), (0.8, 0.62, 0.82))
    for side in (-1, 1):
        put(-0.75, (0.38 * side, -0.02, 0.06), (0.28, 0.42, 0.56), _about_z(0.15 * side))
    put(0.8, (0.0, 0.43, 0.0), (0.12, 0.11, 0.8))
    put(0.6, (0.0, -0.53, 0.1), (0.1, 0.035, 0.4))
    for level in np.linspace(-0.5, 0.6, 4):
        for side in (-1, 1):
            for turn, depth in ((0.35, 0.28), (-0.35, -0.28)):
                put(0.7, (0.6 * side, depth, level), (0.035, 0.22, 0.05), _about_z(side * turn))
    put(0.8, (0.14, -0.18, -0.12), (0.25, 0.22, 0.27), _about_z(0.4))
    put(0.3, (0.16, -0.18, -0.12), (0.13, 0.12, 0.16), _about_z(0.4))
    put(0.3, (0.06, 0.24, 0.15), (0.06, 0.06, 0.55))
    for _ in range(8):
        side = rng.choice([-1, 1])
        place = (side * rng.uniform(0.25, 0.5), rng.uniform(-0.2, 0.15), rng.uniform(-0.25, 0.4))
        put(0.8, place, (0.03, 0.03, rng.uniform(0.12, 0.2)), _tilt(rng))
    values, centres, axes, rotations = zip(*found, strict=True)
    return Ellipsoids(water_per_mm * np.array(values), np.array(centres), np.array(axes), np.array(rotations))


def _about_z(angle: float) -> Float[np.ndarray, "3 3"]:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])


def _tilt(rng: np.random.Generator) -> Float[np.ndarray, "3 3"]:
    angle = rng.uniform(-0.7, 0.7)
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, s], [0.0, -s, c]]) @ _about_z(rng.uniform(0, np.pi))
