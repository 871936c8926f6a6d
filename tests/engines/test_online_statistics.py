"""Online statistics are the moments and quantiles that NumPy finds when it sees all images."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.engines.online_statistics import (
    BINS,
    MAX_IMAGES,
    CoMoments,
    Grid,
    Moments,
    pool,
    potential_scale_reduction,
)

SHAPE = (2, 3, 4)
IMAGES = (5.0 + np.random.default_rng(0).normal(size=(4, 60, *SHAPE)) * np.geomspace(1e-3, 10, 4)).astype(np.float32)


@jax.jit
def stream_moments(images, weights):
    start = Moments.zero(images.shape[1:])
    return jax.lax.scan(lambda moments, row: (moments.add(*row), None), start, (images, weights))[0]


def streamed(images, weights=None):
    weights = np.ones(len(images), np.float32) if weights is None else weights.astype(np.float32)
    return stream_moments(jnp.asarray(images, jnp.float32), jnp.asarray(weights))


def test_moments_are_those_of_all_images():
    moments = streamed(IMAGES[0])
    assert float(moments.count) == 60
    np.testing.assert_allclose(moments.mean, IMAGES[0].mean(0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(moments.variance(), IMAGES[0].var(0, ddof=1, dtype=np.float64), rtol=5e-4)


def test_float32_keeps_a_variance_far_below_the_mean():
    images = (1000.0 + 0.01 * np.random.default_rng(1).normal(size=(500, 6))).astype(np.float32)
    exact = images.astype(np.float64).var(0, ddof=1)
    np.testing.assert_allclose(streamed(images).variance(), exact, rtol=2e-2)


def test_images_without_weight_change_nothing():
    weights = np.arange(60) % 3 == 0
    kept, all_of_them = streamed(IMAGES[0][weights]), streamed(IMAGES[0], weights)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), kept, all_of_them)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images_have_no_variance(count):
    np.testing.assert_array_equal(streamed(IMAGES[0, :count]).variance(), np.zeros(SHAPE))


def test_pooled_chains_are_one_long_chain():
    chains = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(streamed, IMAGES))
    pooled, everything = pool(chains), IMAGES.reshape(-1, *SHAPE).astype(np.float64)
    assert float(pooled.count) == 240
    np.testing.assert_allclose(pooled.mean, everything.mean(0), rtol=1e-6)
    np.testing.assert_allclose(pooled.variance(), everything.var(0, ddof=1), rtol=1e-4)


def test_reduction_of_pixels_is_that_of_their_draws():
    from numpyro.diagnostics import gelman_rubin

    shifted = IMAGES + np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1, 1)
    chains = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(streamed, shifted))
    np.testing.assert_allclose(potential_scale_reduction(chains), gelman_rubin(shifted.astype(np.float64)), rtol=1e-3)


def test_pixels_that_never_move_agree_with_themselves_only():
    still = jnp.zeros((2, 3)).at[1, 2].set(1.0)
    moments = Moments(jnp.full(2, 10.0), still, jnp.zeros((2, 3)))
    np.testing.assert_array_equal(potential_scale_reduction(moments), [1.0, 1.0, np.inf])


PROBABILITIES = (0.05, 0.25, 0.5, 0.75, 0.95)
DISTRIBUTIONS = {
    "normal": lambda rng, n: rng.normal(2.0, 0.3, (n, 5)),
    "skewed": lambda rng, n: rng.gamma(2.0, 1.0, (n, 5)),
    "two peaks": lambda rng, n: rng.choice([-1.0, 1.0], (n, 5)) + 0.1 * rng.normal(size=(n, 5)),
}


@jax.jit
def histogram_of(images, grid):
    images = jnp.asarray(images, jnp.float32)
    return jax.lax.scan(lambda histogram, image: (grid.add(histogram, image), None), grid.empty(), images)[0]


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_quantiles_lie_within_a_bin_of_those_of_all_images(name):
    rng = np.random.default_rng(2)
    pilot, images = (DISTRIBUTIONS[name](rng, n) for n in (100, 400))
    grid = Grid.around(streamed(pilot.astype(np.float32)))
    histogram = histogram_of(images, grid)
    quantiles = grid.quantiles(histogram, PROBABILITIES)
    exact = np.quantile(images, PROBABILITIES, axis=0, method="inverted_cdf")
    assert np.all(np.abs(quantiles - exact) <= np.asarray(grid.width) * 1.001)
    if name == "normal":  # smooth densities do far better than the bound
        assert np.max(np.abs(quantiles - exact) / np.asarray(grid.width)) < 0.7
    assert np.all(np.diff(quantiles, axis=0) >= 0)


def test_the_width_of_a_bin_is_a_share_of_the_pilot_sd():
    pilot = streamed(IMAGES[0])
    np.testing.assert_allclose(Grid.around(pilot).width, 10 / BINS * np.sqrt(pilot.variance()), rtol=1e-5)


def test_values_beyond_the_bins_are_counted_and_bound_the_quantiles():
    grid = Grid(jnp.zeros(1), jnp.full(1, 1.0))
    histogram = histogram_of(np.array([-5.0, 3.5, 3.5, 1e9, -1e9, 3.5, 3.5, 3.5, 3.5, 3.5])[:, None], grid)
    assert float(grid.outside(histogram)) == pytest.approx(0.3)
    low, median, high = np.asarray(grid.quantiles(histogram, (0.1, 0.5, 0.99)))[:, 0]
    assert (low, high) == (0.0, BINS)
    assert 3.0 <= median <= 4.0


def test_a_pilot_that_never_moved_still_gives_bins():
    grid = Grid.around(streamed(np.full((5, 3), 0.7, np.float32)))
    median = grid.quantiles(histogram_of(np.full((4, 3), 0.7, np.float32), grid), (0.5,))
    np.testing.assert_allclose(median, 0.7, rtol=1e-4)


def test_a_histogram_takes_the_most_images_allowed():
    grid = Grid(jnp.zeros(1), jnp.full(1, 1.0))
    full = grid.add(jnp.full((BINS + 2, 1), MAX_IMAGES - 1, jnp.uint16), jnp.full(1, 3.5))
    assert int(full[4, 0]) == MAX_IMAGES


def test_co_moments_of_chains_give_the_correlation_of_all_their_draws():
    rng = np.random.default_rng(4)
    numbers = rng.normal(size=(2, 30, 3)).astype(np.float32)
    images = (IMAGES[:2, :30] + numbers[..., :1, None, None] * [0.5, 0.0, 2.0, -1.0]).astype(np.float32)
    images[..., -1, -1] = 0.3  # a pixel that never varies
    numbers[1] += 2.0  # chains that differ
    images[1] += 0.7

    @jax.jit
    def of_chain(chain, images):
        def add(index, sums):
            return sums.add(chain[index], images[index], index % 5 != 0)

        return jax.lax.fori_loop(0, 30, add, CoMoments.zero(3, SHAPE))

    sums = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(of_chain, numbers, images))
    counted = np.arange(30) % 5 != 0
    few, all_ = numbers[:, counted].reshape(-1, 3), images[:, counted].reshape(-1, np.prod(SHAPE))
    moving = np.ptp(all_, axis=0) > 0
    expected = np.zeros((3, all_.shape[1]))
    expected[:, moving] = np.corrcoef(few.T, all_[:, moving].T)[:3, 3:]
    found = np.asarray(sums.correlation()).reshape(3, -1)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert np.abs(expected).max() > 0.6
