"""Patterns that no scene of the training has are named; anatomy is not."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from fluorojax.learned.familiarity import unfamiliar
from fluorojax.simulation import SimulationOptions, simulate_scene

SIZE, FRAMES = 64, 12


def grid():
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return (rows % 8 < 1) | (columns % 8 < 1)


def text():
    image = Image.new("L", (SIZE, SIZE), 0)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(10)
    for row in range(0, SIZE, 11):
        draw.text((1, row), "FLUORO 1234 abc", fill=255, font=font)
    return np.asarray(image) / 255.0


def bars():
    columns = np.arange(SIZE)
    period = np.repeat([2, 3, 4, 6], SIZE // 4)
    return np.broadcast_to(columns % period < period / 2, (SIZE, SIZE))


PATTERNS = {"grid": grid, "text": text, "resolution target": bars}


def fooling(name, contrast, level, moving, seed=0):
    """Counts of a flat field behind a pattern of the given optical depth."""
    pattern = np.asarray(PATTERNS[name](), float)
    frames = np.stack([np.roll(pattern, 2 * t * moving, axis=1) for t in range(FRAMES)])
    return np.random.default_rng(seed).poisson(level * np.exp(-contrast * frames)).astype(np.float32)


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize(("contrast", "level"), [(0.3, 30.0), (1.0, 5.0), (1.0, 200.0)])
def test_patterns_made_to_fool_the_network_are_named(name, moving, contrast, level):
    (line,) = unfamiliar(fooling(name, contrast, level, moving))
    assert "unlike any anatomy" in line


@pytest.mark.parametrize("photons", [90.0, 1500.0, 9000.0])
@pytest.mark.parametrize("motion", ["slow", "fast"])
def test_simulated_anatomy_is_familiar(photons, motion):
    for index in range(2):
        options = SimulationOptions(size=SIZE, frames=6, photons=photons, motion=motion)
        assert unfamiliar(simulate_scene(52525, options, index=index).y) == []


def test_a_flat_field_and_small_images_are_not_judged():
    rng = np.random.default_rng(0)
    assert unfamiliar(rng.poisson(20.0, (8, 64, 64)).astype(np.float32)) == []
    assert unfamiliar(fooling("text", 1.0, 50.0, False)[:, :20, :20]) == []


def test_a_label_in_a_corner_does_not_count():
    counts = np.random.default_rng(1).poisson(50.0, (8, 64, 64)).astype(np.float32)
    counts[:, :24, :24] = fooling("text", 1.0, 50.0, False)[:8, :24, :24]
    assert unfamiliar(counts) == []
