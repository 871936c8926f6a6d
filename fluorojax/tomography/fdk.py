"""Filtered backprojection for circular cone-beam runs (Feldkamp, Davis & Kress, J. Opt. Soc. Am. A 1:612, 1984)."""

from functools import partial
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from fluorojax.tomography.geometry import ConeGeometry, check_geometry
from fluorojax.tomography.grid import VoxelGrid

Window = Literal["ramp", "hann"]


def fdk(
    depths: Float[np.ndarray, "T rows columns"], geometry: ConeGeometry, grid: VoxelGrid, *, window: Window = "hann"
) -> Float[np.ndarray, "X Y Z"]:
    """Attenuation, 1/mm, float32, from line integrals of a circular run of a short scan or a full turn.

    Cosine weights, ramp filter along the rows (band-limited kernel of Kak & Slaney 1988, eq. 3.61) times a window,
    Parker's weights (Med. Phys. 9:254, 1982) with the overscan of Silver (Med. Phys. 27:773, 2000) for less than a full
    turn, and backprojection with the weight ``(R/U)²``. Orbit, angles and their spacing come from the positions of the
    source. A span below 180° plus the fan leaves artefacts of the missing angles.

    **Arguments:** ``depths`` dimensionless; ``window`` ``"hann"``, which passes half of the highest frequencies'
    amplitude on average, or the bare ``"ramp"``. **Raises** ``ValueError`` where the geometry is not that of a circular
    run around an axis parallel to the detector's columns, within 5°, or the shapes differ.
    """
    if window not in get_args(Window):
        raise ValueError(f"window is {window!r}; expected one of {', '.join(get_args(Window))}")
    check_geometry(geometry, frames=len(depths))
    angles, axis = orbit(geometry)
    weights = _weights(geometry, angles, axis)
    filtered = _filtered(np.asarray(depths, np.float32) * weights, geometry, window)
    poses = [jnp.asarray(pose, jnp.float32) for pose in geometry.poses()]
    return np.asarray(_backproject(jnp.asarray(filtered), geometry.with_poses(*poses), grid))


def orbit(geometry: ConeGeometry) -> tuple[Float[np.ndarray, " T"], Float[np.ndarray, "3"]]:
    """Angles of the source on its circle, radians, growing from zero, and the axis of that rotation.

    Raises ``ValueError`` where the source does not move evenly on a circle around the isocentre, within 5 %.
    """
    source = np.asarray(geometry.source, float)
    if len(source) < 3:
        raise ValueError(f"the run has {len(source)} views; filtered backprojection needs at least 3")
    axis = np.linalg.svd(source - source.mean(0))[2][2]
    turning = np.sum(np.cross(source[:-1], source[1:]) @ axis)
    axis = axis if turning > 0 else -axis
    first = source[0] - axis * (source[0] @ axis)
    radius = np.linalg.norm(first)
    first = first / radius
    flat = np.stack([source @ first, source @ np.cross(axis, first)], 1)
    spread = np.abs(np.linalg.norm(flat, axis=1) / radius - 1).max()
    angles = np.unwrap(np.arctan2(flat[:, 1], flat[:, 0]))
    if spread > 0.05 or np.abs(source @ axis).max() > 0.1 * radius or (np.diff(angles) <= 0).any():
        raise ValueError("the source does not run on a circle around the isocentre; filtered backprojection needs one")
    if np.abs(np.asarray(geometry.row_axis, float) @ axis).min() < np.cos(np.deg2rad(5)):
        raise ValueError("the columns of the detector are not parallel to the axis of the run, within 5°")
    return angles - angles[0], axis


def _weights(
    geometry: ConeGeometry, angles: Float[np.ndarray, " T"], axis: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "T rows columns"]:
    """Cosine weight times the share of every ray in its line times the angle that its view stands for."""
    source = np.asarray(geometry.source, float)[:, None, None]
    ray = np.asarray(geometry.pixels()) - source
    across, down = (np.asarray(pose, float) for pose in (geometry.column_axis, geometry.row_axis))
    normal = np.cross(across, down)[:, None, None]
    cosine = np.abs(np.sum(ray * normal, -1)) / np.linalg.norm(ray, axis=-1)
    fan = np.arctan2(np.cross(-source, ray) @ axis, np.sum(-source * (ray - (ray @ axis)[..., None] * axis), -1))
    step = np.gradient(angles)
    span = angles[-1] + np.diff(angles).mean()
    if span > 2 * np.pi - 1e-3:
        return (0.5 * cosine * step[:, None, None]).astype(np.float32)
    over = max(0.5 * (angles[-1] - np.pi), np.abs(fan).max())
    beta = angles[:, None, None]
    rise = np.sin(0.25 * np.pi * np.clip(beta / np.maximum(over - fan, 1e-6), 0, 2)) ** 2
    fall = np.sin(0.25 * np.pi * np.clip((np.pi + 2 * over - beta) / np.maximum(over + fan, 1e-6), 0, 2)) ** 2
    share = np.where(beta < 2 * (over - fan), rise, np.where(beta > np.pi - 2 * fan, fall, 1.0))
    return (cosine * share * step[:, None, None]).astype(np.float32)


def _filtered(
    depths: Float[np.ndarray, "T rows columns"], geometry: ConeGeometry, window: Window
) -> Float[np.ndarray, "T rows columns"]:
    """Rows convolved with the ramp; the pitch is that at the isocentre."""
    source, centre = np.asarray(geometry.source, float), np.asarray(geometry.centre, float)
    normal = np.cross(np.asarray(geometry.column_axis, float), np.asarray(geometry.row_axis, float))
    detector = np.abs(np.sum((centre - source) * normal, 1))
    radius = np.linalg.norm(source, axis=1)
    pitch = geometry.pitch[1] * radius / detector
    size = 2 ** int(np.ceil(np.log2(2 * geometry.columns)))
    n = np.fft.fftfreq(size, 1 / size)
    kernel = np.where(n == 0, 0.25, np.where(n % 2 == 1, -1 / (np.pi * np.where(n == 0, 1, n)) ** 2, 0.0))
    response = np.real(np.fft.rfft(kernel))
    if window == "hann":
        response = response * 0.5 * (1 + np.cos(np.pi * np.arange(len(response)) / (len(response) - 1)))
    spectrum = np.fft.rfft(depths, size) * response / pitch[:, None, None]
    return np.fft.irfft(spectrum, size)[..., : geometry.columns].astype(np.float32)


@partial(jax.jit, static_argnums=2)
def _backproject(
    filtered: Float[Array, "T rows columns"], geometry: ConeGeometry, grid: VoxelGrid
) -> Float[Array, "X Y Z"]:
    axes = [jnp.asarray(grid.axis(k), filtered.dtype) for k in range(3)]
    points = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), -1)

    def add(total: Array, view: tuple[Array, ...]) -> tuple[Array, None]:
        image, source, centre, u, v = view
        normal = jnp.cross(u, v)
        distance = jnp.dot(centre - source, normal)
        radius = jnp.linalg.norm(source)
        ray = points - source
        depth = ray @ normal / distance
        at = ray / depth[..., None] - (centre - source)
        column = at @ u / geometry.pitch[1] + 0.5 * (geometry.columns - 1)
        row = at @ v / geometry.pitch[0] + 0.5 * (geometry.rows - 1)
        value = jax.scipy.ndimage.map_coordinates(image, [row, column], order=1, mode="constant")
        return total + value * (radius / (depth * jnp.abs(distance))) ** 2, None

    views = (filtered, *(jnp.asarray(pose) for pose in geometry.poses()))
    return jax.lax.scan(add, jnp.zeros(grid.shape, filtered.dtype), views)[0]
