"""What a Markov chain keeps of its images: statistics by stage, and every draw of the watched places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.engines.nuts.kept import ImageStatistics, Watch
from fluorojax.engines.online_statistics import Grid

SHAPE = (2, 3, 4)
SPEC = jnp.array([2.0, 1.0, 0.1])
IMAGES = (5.0 + np.random.default_rng(0).normal(size=(4, 60, *SHAPE)) * np.geomspace(1e-3, 10, 4)).astype(np.float32)


def test_statistics_tell_warmup_from_the_halves_of_the_draws():
    grid = Grid(jnp.zeros(SHAPE), jnp.full(SHAPE, 0.5))
    add = jax.jit(lambda statistics, image, index: statistics.add(SPEC, image, grid, index, 10, jnp.asarray(18)))
    statistics = ImageStatistics.zero(grid, 3)
    for index, image in enumerate(IMAGES[0, :30]):
        statistics = add(statistics, image, index)
    np.testing.assert_allclose(statistics.pilot.mean, IMAGES[0, 5:10].mean(0), rtol=1e-5)
    np.testing.assert_array_equal(statistics.moments.count, [8, 12])
    assert statistics.together.count == 20
    np.testing.assert_allclose(statistics.together.image_mean, IMAGES[0, 10:30].mean(0), rtol=1e-5)
    np.testing.assert_allclose(statistics.moments.mean[0], IMAGES[0, 10:18].mean(0), rtol=1e-5)
    np.testing.assert_allclose(statistics.moments.mean[1], IMAGES[0, 18:30].mean(0), rtol=1e-5)
    np.testing.assert_array_equal(statistics.histogram.sum(axis=0), np.full(SHAPE, 20))


def test_watched_places_are_pixels_then_means_over_regions():
    mask = np.zeros(SHAPE, bool)
    mask[1, :2, 1:] = True
    watch = Watch.of({"heart": mask, "node": (1, 2, 3)}, SHAPE)
    image = IMAGES[0, 0]
    assert watch.names == ("node", "heart")
    np.testing.assert_allclose(watch.values(jnp.asarray(image)), [image[1, 2, 3], image[mask].mean()], rtol=1e-6)


@pytest.mark.parametrize(("shape", "places"), [((6, 16, 20), 16), ((16, 16), 16), ((2, 3, 1), 3)])
def test_by_default_a_grid_of_the_middle_frame_is_watched(shape, places):
    watch = Watch.of(None, shape)
    assert len(watch.names) == len(set(watch.names)) == len(watch.pixels) == places
    assert len(shape) == 2 or set(np.asarray(watch.pixels)[:, 0].tolist()) == {shape[0] // 2}


BAD_PLACES = {
    "outside": ((0, 3, 0), "is (0, 3, 0); expected the index of a pixel inside (2, 3, 4)"),
    "negative": ((-1, 0, 0), "is (-1, 0, 0); expected the index"),
    "flat": ((1, 1), "is (1, 1); expected the index"),
    "cropped": (np.ones((2, 3), bool), "is a mask of shape (2, 3); expected (2, 3, 4)"),
    "empty": (np.zeros(SHAPE, bool), "not all False"),
}


@pytest.mark.parametrize("name", BAD_PLACES)
def test_places_that_x_does_not_have_are_refused(name):
    place, message = BAD_PLACES[name]
    with pytest.raises(ValueError, match=r"^watch\['") as caught:
        Watch.of({name: place}, SHAPE)
    assert message in str(caught.value)
    assert name in str(caught.value)
