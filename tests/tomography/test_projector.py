"""The projector against closed forms, its adjoint and its derivatives; the geometry against DICOM's conventions."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.tomography.geometry import ConeGeometry, check_geometry, circular_geometry, positioner_geometry
from fluorojax.tomography.grid import VoxelGrid, check_volume
from fluorojax.tomography.phantoms import Ellipsoids, shepp_logan, thorax
from fluorojax.tomography.projector import backproject, project


def run(views=4, rows=9, columns=11, pitch=30.0, **options):
    return circular_geometry(views, rows=rows, columns=columns, pitch_mm=pitch, **options)


GRID = VoxelGrid((8, 10, 9), (20.0, 18.0, 22.0), (-70.0, -85.0, -80.0))


def ball(radius, centre=(0.0, 0.0, 0.0), value=0.02):
    return Ellipsoids(np.array([value]), np.array([centre]), np.full((1, 3), radius), np.eye(3)[None])


@pytest.fixture(scope="module")
def double():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(
    ("primary", "secondary", "towards"),
    [(0, 0, (0, -1, 0)), (90, 0, (1, 0, 0)), (-90, 0, (-1, 0, 0)), (0, 90, (0, 0, 1)), (0, -90, (0, 0, -1))],
)
def test_positioner_angles_follow_dicom(primary, secondary, towards):
    """LAO is the detector at the patient's left, CRA at the head; columns, rows and beam are a right-handed frame."""
    geometry = positioner_geometry([primary], secondary, rows=4, columns=4, pitch_mm=1.0)
    np.testing.assert_allclose(np.asarray(geometry.source)[0], -750 * np.array(towards), atol=1e-9)
    np.testing.assert_allclose(np.asarray(geometry.centre)[0], 450 * np.array(towards), atol=1e-9)
    across, down = np.asarray(geometry.column_axis)[0], np.asarray(geometry.row_axis)[0]
    np.testing.assert_allclose(np.cross(across, down), -np.array(towards), atol=1e-9)
    assert across[0] > -1e-9 if secondary else True


def test_poses_between_frames_stay_on_the_circle():
    geometry = circular_geometry(51, span_deg=200, rows=4, columns=4, pitch_mm=1.0)
    at = eqx.filter_jit(ConeGeometry.at)
    between = at(geometry, np.concatenate([np.linspace(0, 50, 117), np.arange(101) / 2, np.arange(51.0)]))
    radius = np.linalg.norm(np.asarray(between.source), axis=1)
    np.testing.assert_allclose(radius, 750, atol=0.05)
    exact = circular_geometry(101, span_deg=200, rows=4, columns=4, pitch_mm=1.0)
    np.testing.assert_allclose(between.source[117:218], exact.source, atol=0.05)
    for pose, same in zip(between.poses(), geometry.poses(), strict=True):
        np.testing.assert_allclose(pose[218:], same, atol=1e-3)


def test_unit_voxel_integrates_to_its_width():
    """A ray through the centre of one voxel of 1/mm along an axis has the integral of the spacing."""
    grid = VoxelGrid.centred(5, 3.0)
    volume = jnp.zeros(grid.shape).at[2, 2, 2].set(1.0)
    geometry = positioner_geometry([0.0, 90.0], rows=1, columns=1, pitch_mm=1.0)
    np.testing.assert_allclose(project(volume, geometry, grid), 3.0, rtol=1e-5)


@pytest.mark.usefixtures("double")
def test_line_integrals_of_ellipsoids_match_sampling():
    """The closed form against a fine sum along the ray, for rotated and overlapping ellipsoids."""
    geometry = run(3, 3, 4, 50.0)
    phantom = shepp_logan()
    t = (np.arange(40_000) + 0.5) / 40_000
    source = np.asarray(geometry.source)[:, None, None]
    ray = np.asarray(geometry.pixels()) - source
    points = source[..., None, :] + t[:, None] * ray[..., None, :]
    total = np.zeros(points.shape[:-1])
    for value, centre, axes, rotation in zip(
        phantom.attenuation, phantom.centres, phantom.axes, phantom.rotations, strict=True
    ):
        total += value * (np.sum(((points - centre) @ rotation.T / axes) ** 2, -1) <= 1)
    expected = total.mean(-1) * np.linalg.norm(ray, axis=-1)
    np.testing.assert_allclose(phantom.line_integrals(geometry), expected, atol=2e-3)


def test_projected_ball_converges_to_the_closed_form():
    """Half the voxel, well below half the error; at every angle, with each axis as the longest, off the isocentre."""
    geometry = positioner_geometry([0.0, 45.0, 80.0, 0.0], [20.0, 0.0, 0.0, 80.0], rows=20, columns=20, pitch_mm=9.0)
    phantom = ball(60.0, (8.0, -5.0, 3.0))
    exact = np.asarray(phantom.line_integrals(geometry))
    errors = []
    for voxels in (12, 24):
        grid = VoxelGrid.centred(voxels, 180.0 / voxels)
        found = project(jnp.asarray(phantom.volume(grid)), geometry, grid)
        errors.append(np.sqrt(np.mean((found - exact) ** 2, (1, 2))))
    assert (errors[0] < 0.08 * exact.max()).all()
    assert (errors[1] < 0.6 * errors[0]).all()


def test_mass_of_a_phantom_is_kept_by_its_voxels():
    grid = VoxelGrid.centred(40, 6.0)
    volume = ball(70.0).volume(grid)
    assert volume.sum() * 6.0**3 == pytest.approx(0.02 * 4 / 3 * np.pi * 70**3, rel=0.01)


@pytest.mark.parametrize("phantom", [shepp_logan(), thorax(3)], ids=["shepp_logan", "thorax"])
def test_phantoms_are_patients(phantom):
    """Nothing negative, nothing outside the field, and an optical depth that X-rays pass."""
    grid = VoxelGrid.centred(24, 10.0)
    volume = phantom.volume(grid)
    check_volume(volume, grid)
    assert volume.min() > -1e-6
    assert volume[[0, -1]].max() == volume[:, [0, -1]].max() == 0
    assert 2 < float(phantom.line_integrals(run()).max()) < 8


@pytest.mark.usefixtures("double")
def test_backprojection_is_the_adjoint():
    geometry = run()
    volume, data = (jax.random.normal(jax.random.key(s), n) for s, n in ((0, GRID.shape), (1, (4, 9, 11))))
    forward = jnp.vdot(data, project(volume, geometry, GRID, samples=200))
    backward = jnp.vdot(volume, backproject(data, geometry, GRID, samples=200))
    assert forward == pytest.approx(float(backward), rel=1e-12)


@pytest.mark.usefixtures("double")
def test_chunks_change_nothing_and_the_projector_is_linear():
    geometry, volume = run(), jax.random.normal(jax.random.key(0), GRID.shape)
    whole = project(volume, geometry, GRID)
    np.testing.assert_allclose(project(2 * volume, geometry, GRID, samples=130), 2 * whole, rtol=1e-12)


@pytest.mark.usefixtures("double")
def test_derivatives_are_those_of_finite_differences():
    """By the volume, and by every pose, along random directions."""
    geometry = run(2, 5, 6, 40.0)
    smooth = np.exp(-np.sum((np.stack(np.meshgrid(*map(GRID.axis, range(3)), indexing="ij")) / 60) ** 2, 0))
    weights = jax.random.normal(jax.random.key(2), (2, 5, 6))

    @jax.jit
    def loss(volume, poses):
        return jnp.vdot(weights, jnp.exp(-project(volume, geometry.with_poses(*poses), GRID)))

    at = (jnp.asarray(0.01 * smooth), tuple(jnp.asarray(pose) for pose in geometry.poses()))
    leaves, tree = jax.tree.flatten(jax.grad(loss, (0, 1))(*at))
    for index, (leaf, gradient) in enumerate(zip(jax.tree.leaves(at), leaves, strict=True)):
        direction = jax.random.normal(jax.random.key(index), leaf.shape)
        size = 1e-5 * (1e-2 if index == 0 else 1.0)

        def moved(step, index=index, direction=direction):
            changed = list(jax.tree.leaves(at))
            changed[index] = changed[index] + step * direction
            return loss(*jax.tree.unflatten(tree, changed))

        numeric = (moved(size) - moved(-size)) / (2 * size)
        assert jnp.vdot(gradient, direction) == pytest.approx(float(numeric), rel=2e-4), index


def changed(**fields):
    geometry = run()
    poses = dict(zip(("source", "centre", "column_axis", "row_axis"), map(np.array, geometry.poses()), strict=True))
    shape = {"pitch": geometry.pitch, "rows": 9, "columns": 11}
    return ConeGeometry(**{**poses, **shape, **fields})


POSES = [np.array(pose) for pose in run().poses()]
NAN = np.where(np.arange(4)[:, None] == 2, np.nan, POSES[0])


@pytest.mark.parametrize(
    ("geometry", "told"),
    [
        (changed(source=2 * POSES[1], centre=3 * POSES[1]), "is behind the source"),
        (changed(centre=0.5 * POSES[0]), "is in front of the isocentre"),
        (changed(source=POSES[0] / 1000, centre=POSES[1] / 1000), "metres"),
        (changed(source=NAN), "source of view 2 is not finite"),
        (changed(source=POSES[0][:3]), "4 views and source has 3"),
        (changed(pitch=(3e-4, 3e-4)), "pixel pitch is 0.0003"),
        (changed(column_axis=2 * POSES[2]), "has length 2"),
        (changed(row_axis=POSES[2]), "not at right angles"),
        (changed(row_axis=POSES[1] / 450), "edge-on"),
        (changed(source=np.zeros((4, 2))), "expected (T, 3)"),
    ],
)
def test_impossible_geometries_are_told_in_one_line(geometry, told):
    with pytest.raises(ValueError, match=r"geometry: ") as error:
        check_geometry(geometry)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_geometry_and_volume_have_to_fit():
    with pytest.raises(ValueError, match="has 4 views, the run has 5 frames"):
        check_geometry(run(), frames=5)
    with pytest.raises(ValueError, match="reaches behind the source of view 0"):
        check_geometry(run(), VoxelGrid.centred(16, 99.0))
    with pytest.raises(ValueError, match="Hounsfield"):
        check_volume(np.full((3, 3, 3), 40.0))
    with pytest.raises(ValueError, match="like the grid"):
        check_volume(np.zeros((3, 3, 3)), GRID)
    with pytest.raises(ValueError, match="not finite"):
        check_volume(np.full((3, 3, 3), np.nan))
    with pytest.raises(ValueError, match="like the grid"):
        project(jnp.zeros((2, 2, 2)), run(), GRID)
    with pytest.raises(ValueError, match="grid spacing"):
        VoxelGrid.centred(8, 0.0)
    with pytest.raises(ValueError, match="expected mm"):
        VoxelGrid.from_dict({**GRID.as_dict(), "unit": "m"})
    assert VoxelGrid.from_dict(GRID.as_dict()) == GRID
    with pytest.raises(ValueError, match="at least 2"):
        circular_geometry(1, rows=2, columns=2, pitch_mm=1.0)
    with pytest.raises(ValueError, match="secondary_deg has shape"):
        positioner_geometry([0.0, 1.0, 2.0], [0.0, 1.0], rows=2, columns=2, pitch_mm=1.0)
