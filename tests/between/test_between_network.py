"""The network between frames: what it is at the frames, in which units, and its parts against closed forms."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.between.network import BetweenNetwork, Neighbours, catmull_rom, spread_terms, warp

SIZE = 16


@pytest.fixture(scope="module")
def network():
    return eqx.filter_jit(BetweenNetwork(jax.random.key(0), width=8))


def neighbours(share, scale=1.0, seed=0):
    rng = np.random.default_rng(seed)
    frames = rng.normal(2.0, 0.3, (1, 4, SIZE, SIZE)) * scale
    std = rng.uniform(0.05, 0.2, (1, 2, SIZE, SIZE)) * scale
    flow = rng.normal(0.0, 1.0, (1, 2, SIZE, SIZE))
    values = (frames, std, flow, [share], np.ones((1, 2)))
    return Neighbours(*(jnp.asarray(v, jnp.float32) for v in values))


def test_at_a_frame_it_is_the_posterior_of_the_frame(network):
    for share, frame in ((0.0, 0), (1.0, 1)):
        near = neighbours(share)
        mean, std = network(near)
        np.testing.assert_allclose(mean, near.frames[:, 1 + frame], atol=1e-5)
        np.testing.assert_allclose(std, near.std[:, frame], rtol=1e-4)


def test_it_is_reached_continuously(network):
    near = neighbours(1e-4)
    mean, std = network(near)
    np.testing.assert_allclose(mean, near.frames[:, 1], atol=5e-3)
    np.testing.assert_allclose(std, near.std[:, 0], rtol=0.05)


def test_the_unit_does_not_matter(network):
    near, larger = neighbours(0.4), neighbours(0.4, scale=7.0)
    for a, b in zip(network(near), network(larger), strict=True):
        np.testing.assert_allclose(7.0 * a, b, rtol=2e-3, atol=1e-3)


def test_it_is_small():
    shapes = eqx.filter_eval_shape(BetweenNetwork, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes) if hasattr(leaf, "size")) <= 100_000


def test_the_derivative_is_finite_also_without_motion_and_change(network):
    near = neighbours(0.5)
    still = near._replace(frames=jnp.ones_like(near.frames), flow=jnp.zeros_like(near.flow))
    gradient = jax.jit(jax.grad(lambda x: sum(map(jnp.sum, network(still._replace(frames=x))))))
    assert np.isfinite(gradient(still.frames)).all()


def test_the_cubic_is_exact_for_parabolas_in_time():
    # also for cubics in the middle; parabolas everywhere
    times, u = np.array([-1.0, 0.0, 1.0, 2.0]), np.array([0.0, 0.2, 0.5, 1.0])
    values = 1.0 + 2.0 * times - 0.7 * times**2
    frames = np.broadcast_to(values[None, :, None, None], (4, 4, 2, 2))
    expected = np.broadcast_to((1.0 + 2.0 * u - 0.7 * u**2)[:, None, None], (4, 2, 2))
    np.testing.assert_allclose(catmull_rom(jnp.asarray(frames), jnp.asarray(u)), expected, atol=1e-6)


def test_warping_by_whole_pixels_moves_pixels():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(1, 12, 10)).astype(np.float32)
    by = np.zeros((1, 2, 12, 10), np.float32)
    np.testing.assert_array_equal(warp(jnp.asarray(image), jnp.asarray(by)), image)
    by[:, 0], by[:, 1] = 2.0, -1.0
    found = np.asarray(warp(jnp.asarray(image), jnp.asarray(by)))
    np.testing.assert_allclose(found[0, :-2, 1:], image[0, 2:, :-1], atol=1e-6)


def test_warping_follows_a_smooth_image_to_third_order():
    y, x = np.indices((32, 32), dtype=np.float64)

    def image(row, column):
        return np.sin(0.3 * (y + row)) * np.cos(0.25 * (x + column))

    by = np.broadcast_to(np.array([0.4, -0.7])[None, :, None, None], (1, 2, 32, 32))
    found = np.asarray(warp(jnp.asarray(image(0, 0)[None], jnp.float32), jnp.asarray(by, jnp.float32)))[0]
    np.testing.assert_allclose(found[3:-3, 3:-3], image(0.4, -0.7)[3:-3, 3:-3], atol=3e-3)


def test_the_calibration_vanishes_at_the_frames():
    std, base = jnp.full((3, 2), 0.3), jnp.full((3, 2), 0.1)
    terms = spread_terms(std, base, jnp.array([[0.0], [0.5], [1.0]]))
    np.testing.assert_allclose(terms[:, [0, 2]], 0.0, atol=1e-7)
    assert np.abs(terms[:, 1]).min() > 0.1
