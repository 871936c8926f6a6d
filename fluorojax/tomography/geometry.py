"""The geometry of a cone-beam run as data: source and detector of every frame, in millimetres.

Coordinates are those of the patient as in DICOM (LPS): x towards the patient's left, y towards the back, z towards the
head; the isocentre is (0, 0, 0). The centre of the pixel in row r and column c of frame t lies at::

    centre_t + (c − (columns − 1)/2) · pitch_c · column_axis_t + (r − (rows − 1)/2) · pitch_r · row_axis_t
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from fluorojax.tomography.grid import VoxelGrid

# A C-arm has its detector 0.9 to 1.2 m from the source, a specimen scanner 0.2 m, a therapy machine 1.5 m.
_DISTANCE_MM = (50.0, 10_000.0)
_PITCH_MM = (0.005, 50.0)
_AXIS_TOLERANCE = 1e-3


class ConeGeometry(eqx.Module):
    """Source and flat detector of every frame, mm; a pytree whose leaves can be differentiated.

    See the module's text for the position of a pixel. :func:`check_geometry` validates; construction does not, so that
    poses may be traced.
    """

    source: Float[Array, "T 3"] | Float[np.ndarray, "T 3"]
    """Focal spot, mm."""
    centre: Float[Array, "T 3"] | Float[np.ndarray, "T 3"]
    """Centre of the detector, mm."""
    column_axis: Float[Array, "T 3"] | Float[np.ndarray, "T 3"]
    """Unit vector along which the column index grows."""
    row_axis: Float[Array, "T 3"] | Float[np.ndarray, "T 3"]
    """Unit vector along which the row index grows."""
    pitch: tuple[float, float] = eqx.field(static=True)
    """Distance of neighbouring pixels along a column and along a row (row pitch, column pitch), mm."""
    rows: int = eqx.field(static=True)
    columns: int = eqx.field(static=True)

    @property
    def views(self) -> int:
        """Number of frames T."""
        return jnp.shape(self.source)[0]

    def pixels(self, dtype: Any = float) -> Float[Array, "T rows columns 3"]:
        """Centres of all pixels, mm."""
        across = jnp.asarray(self.pitch[1] * (np.arange(self.columns) - 0.5 * (self.columns - 1)), dtype)
        down = jnp.asarray(self.pitch[0] * (np.arange(self.rows) - 0.5 * (self.rows - 1)), dtype)
        centre, u, v = (jnp.asarray(a, dtype)[:, None, None] for a in (self.centre, self.column_axis, self.row_axis))
        return centre + across[:, None] * u + down[:, None, None] * v

    def select(self, views: Any) -> "ConeGeometry":
        """The geometry of some frames: a slice or an array of indices."""
        return self.with_poses(*(leaf[views] for leaf in self.poses()))

    def poses(self) -> tuple[Float[Array, "T 3"] | Float[np.ndarray, "T 3"], ...]:
        """Source, centre, column axis and row axis, each (T, 3)."""
        return self.source, self.centre, self.column_axis, self.row_axis

    def with_poses(self, source, centre, column_axis, row_axis) -> "ConeGeometry":
        """The same detector at other poses, in the order of :meth:`poses`."""
        return ConeGeometry(source, centre, column_axis, row_axis, self.pitch, self.rows, self.columns)

    def at(self, frames: Float[ArrayLike, " K"], dtype: Any = float) -> "ConeGeometry":
        """The poses at fractional frames, by cubic convolution between frames (Keys, IEEE Trans. ASSP 29:1153, 1981).

        Beyond either end of the run the motion of the last two frames goes on; a run of one frame stands still. For 4°
        between frames the source is within 2 µm of its circle. Differentiable in ``frames``.
        """
        frames = jnp.asarray(frames, dtype)
        poses = [jnp.asarray(pose, dtype) for pose in self.poses()]
        if self.views == 1:
            return self.with_poses(*(jnp.repeat(pose, frames.shape[0], 0) for pose in poses))
        index = jnp.clip(jnp.floor(frames), 0, self.views - 2).astype(int)
        s = (frames - index)[:, None]

        def between(pose: Float[Array, "T 3"]) -> Float[Array, "K 3"]:
            # Beyond the ends a parabola through the last three frames, or a line where there are but two.
            if self.views == 2:
                first, last = 2 * pose[:1] - pose[1:], 2 * pose[1:] - pose[:1]
            else:
                first, last = (
                    3 * a - 3 * b + c
                    for a, b, c in ((pose[:1], pose[1:2], pose[2:3]), (pose[-1:], pose[-2:-1], pose[-3:-2]))
                )
            padded = jnp.concatenate([first, pose, last])
            a, b, c, d = (padded[index + k] for k in range(4))
            return b + 0.5 * s * (c - a + s * (2 * a - 5 * b + 4 * c - d + s * (3 * (b - c) + d - a)))

        source, centre, u, v = (between(pose) for pose in poses)
        unit = lambda axis: axis / jnp.linalg.norm(axis, axis=-1, keepdims=True)  # noqa: E731
        return self.with_poses(source, centre, unit(u), unit(v))


def positioner_geometry(
    primary_deg: Float[np.ndarray, " T"] | Sequence[float],
    secondary_deg: Float[np.ndarray, " T"] | Sequence[float] | float = 0.0,
    *,
    source_detector_mm: Float[np.ndarray, " T"] | Sequence[float] | float = 1200.0,
    source_isocentre_mm: Float[np.ndarray, " T"] | Sequence[float] | float = 750.0,
    rows: int,
    columns: int,
    pitch_mm: float | tuple[float, float],
    offset_mm: tuple[float, float] = (0.0, 0.0),
) -> ConeGeometry:
    """The geometry of a C-arm from DICOM positioner angles and distances.

    With the primary angle α and the secondary angle β (DICOM PS3.3 C.8.7.5: α grows from RAO to LAO, β from CAU to CRA;
    both are zero where the detector is in front of a supine patient), the detector lies along::

        e = (sin α · cos β, −cos α · cos β, sin β),   source = −SOD · e,   centre = (SID − SOD) · e

    Columns run along ∂e/∂α, that is, towards the patient's left at α = 0, and rows along −∂e/∂β, towards the feet.

    **Arguments:** angles in degrees, one per frame (or one secondary angle for all); ``source_detector_mm`` SID
    (0018,1110) and ``source_isocentre_mm`` SOD (0018,1111); ``pitch_mm`` of the pixels, (row, column) or one for both;
    ``offset_mm`` shift of the detector along its rows' and its columns' axis. **Raises** ``ValueError`` as
    :func:`check_geometry` does.
    """
    alpha = np.deg2rad(np.atleast_1d(np.asarray(primary_deg, float)))
    views = len(alpha)
    shaped = {}
    for name, value in (
        ("secondary_deg", secondary_deg),
        ("source_detector_mm", source_detector_mm),
        ("source_isocentre_mm", source_isocentre_mm),
    ):
        value = np.asarray(value, float)
        if value.shape not in ((), (1,), (views,)):
            raise ValueError(f"{name} has shape {value.shape}; expected one value or {views}, one per primary angle")
        shaped[name] = np.broadcast_to(value, (views,))
    beta = np.deg2rad(shaped["secondary_deg"])
    zero = np.zeros(views)
    towards = np.stack([np.sin(alpha) * np.cos(beta), -np.cos(alpha) * np.cos(beta), np.sin(beta)], -1)
    column_axis = np.stack([np.cos(alpha), np.sin(alpha), zero], -1)
    row_axis = np.stack([np.sin(alpha) * np.sin(beta), -np.cos(alpha) * np.sin(beta), -np.cos(beta)], -1)
    sid, sod = shaped["source_detector_mm"][:, None], shaped["source_isocentre_mm"][:, None]
    centre = (sid - sod) * towards + offset_mm[0] * row_axis + offset_mm[1] * column_axis
    pitch = (pitch_mm, pitch_mm) if isinstance(pitch_mm, int | float) else pitch_mm
    geometry = ConeGeometry(
        -sod * towards, centre, column_axis, row_axis, (float(pitch[0]), float(pitch[1])), int(rows), int(columns)
    )
    check_geometry(geometry)
    return geometry


def circular_geometry(
    views: int,
    *,
    span_deg: float = 200.0,
    start_deg: float = -100.0,
    source_detector_mm: float = 1200.0,
    source_isocentre_mm: float = 750.0,
    rows: int,
    columns: int,
    pitch_mm: float | tuple[float, float],
) -> ConeGeometry:
    """A rotational run: primary angles from ``start_deg`` over ``span_deg``, evenly spaced, secondary angle zero.

    A full turn (360°) leaves its end out, which is its start; a shorter span includes both ends. **Raises**
    ``ValueError`` as :func:`check_geometry` does, and for fewer than two views.
    """
    if views < 2:
        raise ValueError(f"a rotational run has {views} views; expected at least 2")
    angles = start_deg + np.linspace(0.0, span_deg, views, endpoint=abs(span_deg) < 360)
    return positioner_geometry(
        angles,
        source_detector_mm=source_detector_mm,
        source_isocentre_mm=source_isocentre_mm,
        rows=rows,
        columns=columns,
        pitch_mm=pitch_mm,
    )


def check_geometry(geometry: ConeGeometry, grid: VoxelGrid | None = None, frames: int | None = None) -> None:
    """Raise ``ValueError``, in one line, where a geometry (unbatched, on the host) cannot be that of a run.

    Refused are poses that are missing or not finite, distances that are not in mm, axes that are no orthogonal unit
    vectors, a detector behind the source, in front of the isocentre or edge-on to the beam, and, with ``grid``, a
    volume that reaches behind the source or the detector. With ``frames``, the geometry must have that many views.
    """
    source, centre, u, v = (np.asarray(pose, float) for pose in geometry.poses())
    names = ("source", "centre", "column_axis", "row_axis")
    for name, pose in zip(names, (source, centre, u, v), strict=True):
        if pose.ndim != 2 or pose.shape[1] != 3 or pose.shape[0] == 0:
            raise ValueError(f"geometry: {name} has shape {pose.shape}; expected (T, 3), one row per frame")
        if len(pose) != len(source):
            raise ValueError(f"geometry: {name} has {len(pose)} views and source has {len(source)}; expected as many")
        if bad := [int(t) for t in np.flatnonzero(~np.isfinite(pose).all(1))]:
            raise ValueError(f"geometry: {name} of view {bad[0]} is not finite ({len(bad)} of {len(pose)} views)")
    if frames is not None and len(source) != frames:
        raise ValueError(f"geometry: has {len(source)} views, the run has {frames} frames; expected one view per frame")
    if geometry.rows < 1 or geometry.columns < 1:
        raise ValueError(f"geometry: detector of {geometry.rows} × {geometry.columns} pixels; expected at least one")
    distance = np.linalg.norm(centre - source, axis=1)
    low, high = _DISTANCE_MM
    for t in np.flatnonzero((distance < low) | (distance > high))[:1]:
        raise ValueError(
            f"geometry: source and detector of view {t} are {distance[t]:g} mm apart; expected {low:g} to {high:g} mm "
            "(metres and centimetres have to be converted first)"
        )
    low, high = _PITCH_MM
    for pitch in geometry.pitch:
        if not low <= pitch <= high:
            raise ValueError(f"geometry: pixel pitch is {pitch:g}; expected {low:g} to {high:g} mm")
    for name, axis in (("column_axis", u), ("row_axis", v)):
        for t in np.flatnonzero(np.abs(np.linalg.norm(axis, axis=1) - 1) > _AXIS_TOLERANCE)[:1]:
            raise ValueError(f"geometry: {name} of view {t} has length {np.linalg.norm(axis[t]):g}; expected 1")
    for t in np.flatnonzero(np.abs(np.sum(u * v, 1)) > _AXIS_TOLERANCE)[:1]:
        raise ValueError(f"geometry: column_axis and row_axis of view {t} are not at right angles")
    beam = (centre - source) / distance[:, None]
    depth = -np.sum(source * beam, 1)  # of the isocentre along the central ray
    for t in np.flatnonzero(depth <= 0)[:1]:
        raise ValueError(f"geometry: the detector of view {t} is behind the source, seen from the isocentre (0, 0, 0)")
    for t in np.flatnonzero(depth >= distance)[:1]:
        raise ValueError(
            f"geometry: the detector of view {t} is in front of the isocentre (0, 0, 0), {depth[t]:g} mm from the "
            f"source; expected it behind, at {distance[t]:g} mm"
        )
    for t in np.flatnonzero(np.abs(np.sum(np.cross(u, v) * beam, 1)) < 0.1)[:1]:
        raise ValueError(f"geometry: the detector of view {t} is edge-on to the beam; expected it to face the source")
    if grid is None:
        return
    normal = np.cross(u, v)
    normal *= np.sign(np.sum(normal * beam, 1))[:, None]
    reach = np.einsum("tkc,tc->tk", grid.corners() - source[:, None], normal)
    wall = np.sum((centre - source) * normal, 1)[:, None]
    for what, outside in (("behind the source", reach <= 0), ("behind the detector", reach >= wall)):
        for t in np.flatnonzero(outside.any(1))[:1]:
            raise ValueError(f"the volume reaches {what} of view {t}; expected it between source and detector")
