"""Projection of a CT volume."""

import sys

import numpy as np
import pytest

from fluorojax.simulation import SimulationOptions, project_volume, read_volume, simulate_scene

nibabel = pytest.importorskip("nibabel")

SPACING = (6.0, 5.0, 6.5)


def save(path, volume, spacing=SPACING):
    nibabel.save(nibabel.Nifti1Image(volume.astype(np.int16), np.diag([*spacing, 1.0])), path)
    return path


def axes(shape):
    return np.meshgrid(
        *[(np.arange(n) - 0.5 * (n - 1)) * s for n, s in zip(shape, SPACING, strict=True)], indexing="ij"
    )


@pytest.fixture
def chest(tmp_path):
    """An elliptic trunk with two lungs that end at a diaphragm, a heart on the left, and a spine."""
    shape = (50, 40, 44)
    right, front, up = axes(shape)
    volume = np.full(shape, -1000.0)
    volume[(right / 140) ** 2 + (front / 95) ** 2 < 1] = 30
    for side in (-1, 1):
        volume[(((right - side * 70) / 55) ** 2 + (front / 75) ** 2 < 1) & (up > -50)] = -800
    volume[((right + 25) / 50) ** 2 + ((front - 20) / 45) ** 2 + ((up + 15) / 45) ** 2 < 1] = 40
    volume[(right / 18) ** 2 + ((front + 70) / 18) ** 2 < 1] = 500
    return save(tmp_path / "chest.nii.gz", volume)


def test_a_slab_of_water_has_its_optical_depth(tmp_path):
    volume = np.full((40, 30, 40), -1000.0)
    volume[:, 10:20, :] = 0.0
    anatomy = project_volume(save(tmp_path / "slab.nii", volume), np.random.default_rng(0), (32, 32))
    inner = (slice(anatomy.grid.margin, -anatomy.grid.margin),) * 2
    total = anatomy.fixed + anatomy.soft[inner] + anatomy.heart[inner]
    # 10 voxels of 5 mm, seen at up to 15° from the normal.
    assert 0.99 * 1.1 <= np.median(total) <= 1.1 / np.cos(np.deg2rad(15)) * 1.01
    assert anatomy.fixed.max() == 0.0


def test_spine_stays_and_lungs_are_bright_on_both_sides(chest):
    anatomy = project_volume(chest, np.random.default_rng(1), (32, 32))
    inner = (slice(anatomy.grid.margin, -anatomy.grid.margin),) * 2
    columns = anatomy.fixed.mean(axis=0)
    spine = int(np.argmax(columns))
    assert columns[spine] > 0.2
    assert columns[[2, -3]].max() < 0.1 * columns[spine]
    soft = anatomy.soft[inner]
    assert soft[:8].mean() < 0.8 * soft[-4:].mean()
    # Radiographs are seen from the front: the patient's left, and so the heart, is on the right of the image.
    total = anatomy.fixed + soft + anatomy.heart[inner]
    level = anatomy.heart[inner].sum(axis=1) > 0.5 * anatomy.heart[inner].sum(axis=1).max()
    assert total[level, 22:].mean() > 1.1 * total[level, :10].mean()


def test_heart_region_of_an_oblique_view_is_where_the_heart_projects(chest):
    for seed in range(4):
        anatomy = project_volume(chest, np.random.default_rng(seed), (48, 48))
        x, y = anatomy.grid.coordinates(canvas=True)
        weight = anatomy.heart / anatomy.heart.sum()
        centroid = np.array([(weight * x).sum(), (weight * y).sum()])
        np.testing.assert_allclose(centroid, anatomy.heart_shape.centre, atol=8.0)


def test_axes_follow_the_header_and_not_the_array_order(chest, tmp_path):
    image = nibabel.load(chest)
    flipped = nibabel.Nifti1Image(
        np.asarray(image.dataobj)[::-1].copy(), np.diag([-SPACING[0], *SPACING[1:], 1.0]) + 0 * image.affine
    )
    nibabel.save(flipped, tmp_path / "flipped.nii")
    there, spacing = read_volume(chest)
    back, spacing_back = read_volume(tmp_path / "flipped.nii")
    np.testing.assert_array_equal(there, back)
    assert spacing == pytest.approx(SPACING)
    assert spacing_back == pytest.approx(SPACING)


@pytest.mark.parametrize("motion", ["slow", "fast"])
def test_a_scene_from_a_volume(chest, motion):
    options = SimulationOptions(frames=2, size=(32, 40), ct=chest, motion=motion)
    scene = simulate_scene(0, options)
    assert scene.y.shape == (2, 32, 40)
    assert 0.0 <= scene.x_true.min() < scene.x_true.max() <= 1.0
    assert "chest.nii.gz" in scene.metadata["scene"]
    np.testing.assert_array_equal(scene.y, simulate_scene(0, options).y)


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        (np.zeros((10, 10)), "3-D volume"),
        (np.zeros((4, 20, 20)), "3-D volume"),
        (np.full((10, 10, 10), 100.0), "Hounsfield"),
        (np.full((10, 10, 10), -1000.0), "Hounsfield"),
    ],
)
def test_unusable_volumes(tmp_path, volume, message):
    path = tmp_path / "bad.nii"
    nibabel.save(nibabel.Nifti1Image(volume.astype(np.int16), np.eye(4)), path)
    with pytest.raises(ValueError, match=message):
        read_volume(path)


def test_unreadable_files(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        read_volume(tmp_path / "missing.nii.gz")
    (tmp_path / "text.nii").write_text("not a volume")
    with pytest.raises(ValueError, match="cannot be read"):
        read_volume(tmp_path / "text.nii")


def test_missing_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(ValueError, match=r"fluorojax\[ct\]"):
        read_volume(tmp_path / "any.nii")
