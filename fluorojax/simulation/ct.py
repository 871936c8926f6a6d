"""Project a CT volume of the user's into the layers a simulated patient is made of."""

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.ndimage import affine_transform, gaussian_filter, map_coordinates

from fluorojax.simulation.anatomy import WATER_PER_MM, Anatomy, HeartShape
from fluorojax.simulation.curves import PSF_PIXELS
from fluorojax.simulation.grid import Grid

BONE_HU = 250.0
SOFT_TISSUE = 1.05
"""Attenuation of soft tissue relative to water."""
HEART_FRONT = 0.12
"""Where the heart lies in front of the middle of the body, relative to its depth."""
DEEPEST = 7.5
"""Optical depth (99.5th percentile) above which the tube voltage is taken to rise, lowering all attenuation alike."""


def read_volume(path: str | Path) -> tuple[Float[np.ndarray, "X Y Z"], tuple[float, float, float]]:
    """Read a NIfTI volume in Hounsfield units.

    **Returns:** the volume with axes towards the patient's right, front and head (float32), and the voxel size along
    each, mm.

    **Raises:** ``ValueError`` when nibabel is missing, the file cannot be read, or it is no 3-D CT volume.
    """
    try:
        import nibabel
    except ImportError:
        raise ValueError("ct needs nibabel to read NIfTI volumes; install the extra fluorojax[ct]") from None
    try:
        image = nibabel.as_closest_canonical(nibabel.load(path))  # pyright: ignore
        volume = np.asarray(image.dataobj, dtype=np.float32)  # pyright: ignore
        spacing = tuple(float(v) for v in image.header.get_zooms()[:3])  # pyright: ignore
    except (OSError, nibabel.filebasedimages.ImageFileError, EOFError, zlib.error) as error:  # pyright: ignore
        raise ValueError(f"ct is {str(path)!r}, which cannot be read ({error}); expected a NIfTI volume") from None
    while volume.ndim > 3 and volume.shape[-1] == 1:
        volume = volume[..., 0]
    if volume.ndim != 3 or min(volume.shape) < 8:
        raise ValueError(f"ct has shape {volume.shape}; expected a 3-D volume of at least 8 voxels along each axis")
    if not np.isfinite(volume).all():
        raise ValueError("ct holds voxels that are not finite; expected Hounsfield units")
    if volume.max() <= -200 or volume.min() >= -50 or volume.max() > 70_000:
        raise ValueError(
            f"ct holds values from {volume.min():g} to {volume.max():g}; expected Hounsfield units (air -1000, water 0)"
        )
    return volume, (spacing[0], spacing[1], spacing[2])


def project_volume(path: str | Path, rng: np.random.Generator, shape: tuple[int, int]) -> Anatomy:
    """Parallel projections of a CT volume along the anterior–posterior axis, split into layers that move.

    Attenuation is ``0.022/mm · max(0, 1 + HU/1000)``. The layer that stays is what bone (> 250 HU) attenuates above
    soft tissue; a smooth ellipsoid where the heart should be beats; everything else follows the diaphragm. The view
    angle, up to ±15° about the long axis, and the centre of the field come from ``rng``.

    **Arguments:**

    - `path`: NIfTI file in Hounsfield units.
    - `rng`: generator of the view.
    - `shape`: detector pixels (H, W).

    **Raises:** ``ValueError`` where the volume cannot be used, see :func:`read_volume`.
    """
    volume, spacing = read_volume(path)
    extent = np.array(volume.shape) * spacing
    height, width = shape
    # The field covers as much of the volume as fits, and at most what a cardiac field of view covers.
    fit = max(shape) * min(0.95 * extent[0] / width, 0.95 * extent[2] / height)
    grid = Grid(shape, float(min(fit, 230.0)))
    mu, voxel = _resample(np.clip(1.0 + volume / 1000.0, 0.0, None), np.array(spacing), grid.pixel_mm)

    dome = _diaphragm(mu, voxel)
    centre_x = rng.uniform(-0.05, 0.05) * max(extent[0] - grid.pixel_mm * width, 0.0)
    room = max(0.5 * (extent[2] - grid.pixel_mm * height), 0.0)
    centre_y = float(np.clip(dome - 0.2 * grid.half_height_mm, -room, room))
    size = min(1.0, extent[0] / 250.0)
    # The heart lies left of and in front of the axis of rotation, the great vessels behind it: they part in an oblique
    # view.
    angle = rng.uniform(-15.0, 15.0)
    turn, front = np.deg2rad(angle), HEART_FRONT * extent[1]
    inside = HeartShape(
        centre=np.array([18.0 * size, dome - 38.0 * size]),
        axes=np.array([[0.8, 0.6], [-0.6, 0.8]]),
        radii=np.array([62.0, 46.0]) * size,
    )
    seen = np.array([inside.centre[0] * np.cos(turn) - front * np.sin(turn) - centre_x, inside.centre[1] - centre_y])
    bone = np.clip(mu - SOFT_TISSUE, 0.0, None) * (mu > 1.0 + BONE_HU / 1000.0)
    tissue = mu - bone
    weight = _heart_weight(mu.shape, voxel, inside)
    layers = [
        _place(_project(part, voxel, angle), voxel, grid, (centre_x, centre_y))
        for part in (bone, tissue * (1.0 - weight), tissue * weight)
    ]
    inner = (slice(grid.margin, -grid.margin),) * 2
    total = np.sum(layers, axis=0)[inner]
    if total.max() <= 0.1:
        raise ValueError(f"ct projects to an optical depth of {total.max():g}; expected a patient in the volume")
    soften = min(1.0, DEEPEST / float(np.percentile(total, 99.5)))
    fixed, soft, beating = (soften * gaussian_filter(layer, PSF_PIXELS) for layer in layers)

    x, y = grid.coordinates()
    height_share = np.clip((y + centre_y - (dome - 150.0)) / 150.0, 0.0, 1.0)
    lateral = np.clip(np.abs(x + centre_x) / (0.5 * extent[0]), 0.0, 1.0)
    return Anatomy(
        grid=grid,
        fixed=fixed[inner],
        soft=soft,
        heart=beating,
        follow=height_share**2 * (3.0 - 2.0 * height_share) * (1.0 - lateral**4),
        heart_shape=replace(inside, centre=seen),
        spine_mm=float(0.15 * extent[1] * np.sin(turn) - centre_x),
        description=f"CT {Path(path).name}, {angle:+.0f} deg",
    )


def _resample(volume: np.ndarray, spacing: np.ndarray, pixel_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Average whole blocks of voxels that are finer than a pixel: projections do not need them."""
    block = np.maximum(np.floor(pixel_mm / spacing).astype(int), 1)
    size = np.array(volume.shape) // block
    cut = volume[tuple(slice(0, n * b) for n, b in zip(size, block, strict=True))]
    shape = [value for pair in zip(size, block, strict=True) for value in pair]
    return cut.reshape(shape).mean(axis=(1, 3, 5)), spacing * block


def _axis(count: int, spacing: float) -> np.ndarray:
    return (np.arange(count) - 0.5 * (count - 1)) * spacing


def _diaphragm(mu: np.ndarray, voxel: np.ndarray) -> float:
    """Height (mm below the centre of the volume) under which less than a third of the largest lung area is left."""
    lung = (mu > 0.03) & (mu < 0.5)
    area = lung.mean(axis=(0, 1))
    if area.max() < 0.02:
        return 0.2 * mu.shape[2] * voxel[2]
    lowest = int(np.flatnonzero(area > area.max() / 3.0)[0])
    return float(-_axis(mu.shape[2], voxel[2])[lowest])


def _heart_weight(shape: tuple[int, ...], voxel: np.ndarray, heart: HeartShape) -> np.ndarray:
    """A smooth ellipsoid in the front half of the body: 1 inside the heart, 0 where it would touch its neighbours."""
    right, front, up = (_axis(n, s) for n, s in zip(shape, voxel, strict=True))
    along, across = heart.normalised(*np.broadcast_arrays(-right[:, None], -up[None, :]))
    depth = (front - HEART_FRONT * shape[1] * voxel[1]) / (0.8 * heart.radii[1])
    radius = (along**2 + across**2)[:, None, :] + (depth**2)[None, :, None]
    ramp = np.clip(1.5 * (1.0 - radius), 0.0, 1.0)
    return ramp**2 * (3.0 - 2.0 * ramp)


def _project(part: np.ndarray, voxel: np.ndarray, angle: float) -> np.ndarray:
    """Optical depth (head-up rows of patient-right-first columns) at a view angle in degrees about the long axis."""
    turn = np.deg2rad(angle)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = np.diag(1.0 / voxel[:2]) @ rotation @ np.diag(voxel[:2])
    middle = 0.5 * (np.array(part.shape[:2]) - 1)
    flat = np.empty((part.shape[2], part.shape[0]))
    for level in range(part.shape[2]):
        turned = affine_transform(part[:, :, level], matrix, tuple(middle - matrix @ middle), order=1)  # pyright: ignore
        flat[level] = turned.sum(axis=1) * (voxel[1] * WATER_PER_MM)
    return flat[::-1, ::-1]


def _place(flat: np.ndarray, voxel: np.ndarray, grid: Grid, centre: tuple[float, float]) -> np.ndarray:
    x, y = grid.coordinates(canvas=True)
    rows = (y + centre[1]) / voxel[2] + 0.5 * (flat.shape[0] - 1)
    columns = (x + centre[0]) / voxel[0] + 0.5 * (flat.shape[1] - 1)
    return np.clip(map_coordinates(flat, [rows, columns], order=1, mode="nearest"), 0.0, None)
