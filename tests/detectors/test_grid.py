"""The map of a distorting detector from the image of a grid, and its way into the imaging chain."""

import numpy as np
import pytest

from fluorojax.cli import main
from fluorojax.detectors.detector import Detector, load_detector
from fluorojax.detectors.grid import fit_grid
from fluorojax.io import InputError, Selection, open_scenes
from fluorojax.physics import PUBLISHED_OPERATOR, Distortion

SHAPE = (160, 160)
BENT = Distortion.of_intensifier(0.06, 0.05)


def grid(distortion, pitch=11.0, turn=0.1):
    """Counts behind a turned grid of beads, and those of the open beam."""
    down, across = (place - 79.5 + shift for place, shift in zip(distortion.places(SHAPE), (1.3, -2.1), strict=True))
    first, second = np.cos(turn) * down + np.sin(turn) * across, np.cos(turn) * across - np.sin(turn) * down
    squared = sum((axis - pitch * np.round(axis / pitch)) ** 2 for axis in (first, second))
    rng = np.random.default_rng(0)
    depth = 1.2 * np.exp(-0.5 * squared / 1.6**2)
    return (rng.poisson(dose, (8, *SHAPE)).astype(np.float32) for dose in (300.0 * np.exp(-depth), 300.0))


@pytest.mark.parametrize("bent", [Distortion((0.0,), (0.0,)), BENT], ids=["straight", "pincushion and S"])
def test_the_map_is_found_to_a_tenth_of_a_pixel(bent):
    found = fit_grid(*grid(bent))
    errors = np.hypot(
        *(np.subtract(*pair) for pair in zip(found.distortion.places(SHAPE), bent.places(SHAPE), strict=True))
    )
    inside = np.hypot(*(np.indices(SHAPE) - 79.5)) < 72
    assert np.sqrt(np.mean(errors[inside] ** 2)) < 0.08
    assert errors[inside].max() < 0.25
    assert found.pitch == pytest.approx(11.0, rel=2e-3)
    assert found.residual < 0.15


def test_an_image_without_a_grid_is_refused():
    flat = np.random.default_rng(0).poisson(300.0, (4, 64, 64)).astype(np.float32)
    with pytest.raises(ValueError, match=r"holds a grid of \d+ beads; expected at least 42"):
        fit_grid(flat, flat)
    with pytest.raises(ValueError, match="expected the same"):
        fit_grid(flat, flat[:, :32])


def test_the_command_writes_a_detector_whose_map_enters_the_chain(tmp_path, capsys):
    image, flat = grid(BENT)
    np.save(tmp_path / "grid.npy", image)
    np.save(tmp_path / "flat.npy", flat)
    out = tmp_path / "mine.toml"
    arguments = ["detectors", "grid", str(tmp_path / "grid.npy"), str(tmp_path / "flat.npy"), "-o", str(out)]
    assert main([*arguments, "--detector", "image-intensifier"]) == 0
    assert "beads" in capsys.readouterr().out
    detector = load_detector(out)
    assert detector.value("glare_share") == load_detector("image-intensifier").value("glare_share")
    assert Detector.from_settings(detector.as_settings()) == detector
    operator = detector.operator(PUBLISHED_OPERATOR, 0.3)
    assert operator.stage(Distortion) == detector.distortion
    selection = Selection(protocol={"photons_per_pixel": 300.0}, detector=detector)
    assert open_scenes(tmp_path / "flat.npy", selection=selection)["sample_00"].operator.stage(Distortion) is not None
    cropped = Selection(protocol={"photons_per_pixel": 300.0}, detector=detector, crop=((0, 9), (0, 9)))
    with pytest.raises(InputError, match="expected no --crop"):
        open_scenes(tmp_path / "flat.npy", selection=cropped)["sample_00"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("rows = [0.0]", "no table of rows and columns"),
        ("rows = [0.0]\ncolumns = 'x'", "columns of distortion is no list of numbers"),
        ("rows = [0.0, 1.0]\ncolumns = [0.0]", "rows holds 2 values"),
    ],
)
def test_maps_that_are_none_are_refused(tmp_path, table, message):
    (tmp_path / "a.toml").write_text(f"title = 'a'\n[distortion]\n{table}\n")
    with pytest.raises(InputError, match=message):
        load_detector(tmp_path / "a.toml")
