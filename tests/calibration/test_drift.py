"""The gain drift is read off the static part of a scene, and nothing is read where nothing is static."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.integrate import trapezoid

from fluorojax.calibration import drift
from fluorojax.calibration._blocks import block_curves
from fluorojax.calibration.drift import drift_log_posterior
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec
from fluorojax.physics import GainDrift, Scatter

LOW, HIGH = -0.5, 1.0
PRIOR_SD = (HIGH - LOW) / np.sqrt(12)
SHAPE = (64, 64)


def static_and_moving(drift, counts, *, frames=16, shape=SHAPE, static=0.5, seed=0, gains=None):
    """Poisson counts whose upper part rests while every 4 × 4 tile of the lower part has a random slope (1 %/frame)."""
    rng = np.random.default_rng(seed)
    tiles = rng.normal(size=(shape[0] // 4 + 1, shape[1] // 4 + 1))
    slopes = np.kron(tiles, np.ones((4, 4)))[: shape[0], : shape[1]]
    slopes[: int(static * shape[0])] = 0
    t = np.arange(frames)[:, None, None]
    gains = np.asarray(GainDrift().gains(Spec(gain_drift=drift), frames)) if gains is None else gains
    rate = counts * gains[:, None, None] * np.exp(slopes / 100 * t)
    return jnp.asarray(rng.poisson(rate), jnp.float32)


def posterior(y, low=LOW, high=HIGH, acquisition=None, **options):
    acquisition = Acquisition() if acquisition is None else acquisition
    return drift_log_posterior(y, acquisition, low, high, **options)


def moments(grid, log_density):
    grid, mass = np.asarray(grid, float), np.exp(np.asarray(log_density, float))
    mass /= mass.sum()
    mean = mass @ grid
    return mean, np.sqrt(mass @ (grid - mean) ** 2)


def below(grid, log_density, value):
    mass = np.exp(np.asarray(log_density, float))
    return np.interp(value, np.asarray(grid), np.cumsum(mass / mass.sum()))


@pytest.mark.parametrize("counts", [20.0, 400.0])
@pytest.mark.parametrize("drift", [-0.2, 0.6])
def test_the_drift_of_the_static_part_is_recovered(drift, counts):
    grid, log_density = posterior(static_and_moving(drift, counts))
    mean, sd = moments(grid, log_density)
    assert abs(mean - drift) < 0.05
    assert sd < PRIOR_SD / 3
    assert 0.03 < below(grid, log_density, drift) < 0.97


def test_more_dose_narrows_the_posterior():
    sds = [moments(*posterior(static_and_moving(0.3, counts)))[1] for counts in (2.0, 20.0, 200.0)]
    assert sds[0] > 1.5 * sds[1] > 2 * sds[2]


@pytest.mark.parametrize("counts", [20.0, 400.0])
def test_without_anything_static_the_posterior_stays_near_the_prior(counts):
    _, sd = moments(*posterior(static_and_moving(0.3, counts, static=0.0)))
    assert sd > 0.6 * PRIOR_SD


def test_a_field_without_counts_gives_about_the_prior():
    mean, sd = moments(*posterior(jnp.zeros((16, *SHAPE))))
    assert mean == pytest.approx((LOW + HIGH) / 2, abs=0.05)
    assert sd == pytest.approx(PRIOR_SD, rel=0.05)


def test_a_positive_drift_brightens_the_run():
    brighter = static_and_moving(None, 100.0, static=1.0, gains=np.linspace(1, 1.08, 16))
    assert moments(*posterior(brighter))[0] == pytest.approx(0.5, abs=0.05)
    assert moments(*posterior(brighter[::-1], low=-HIGH, high=-LOW))[0] == pytest.approx(-0.5, abs=0.05)


@pytest.mark.parametrize("drift", [LOW + 0.01, HIGH - 0.01])
def test_a_drift_at_the_edge_of_its_range_stays_inside(drift):
    grid, log_density = posterior(static_and_moving(drift, 200.0))
    assert abs(float(grid[jnp.argmax(log_density)]) - drift) < 0.05
    assert jnp.isfinite(log_density).all()


def test_the_density_integrates_to_one_on_the_given_grid():
    grid, log_density = posterior(static_and_moving(0.1, 50.0, shape=(8, 8)), points=41)
    assert grid.shape == log_density.shape == (41,)
    assert (float(grid[0]), float(grid[-1])) == (LOW, HIGH)
    assert float(trapezoid(jnp.exp(log_density), grid)) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("frames", "shape"), [(2, (16, 16)), (3, (8, 8)), (4, (37, 9)), (3, (4, 4))])
def test_short_small_and_oblong_runs_give_a_density(frames, shape):
    grid, log_density = posterior(static_and_moving(0.2, 50.0, frames=frames, shape=shape, static=1.0))
    assert log_density.dtype == jnp.float32
    assert float(trapezoid(jnp.exp(log_density), grid)) == pytest.approx(1, abs=1e-4)
    assert 0.01 < below(grid, log_density, 0.2) < 0.99


def test_known_scatter_of_moving_anatomy_does_not_pull_the_drift():
    fraction, frames, drift = 0.5, 16, 0.3
    t = np.arange(frames)[:, None, None]
    slopes = np.zeros(SHAPE)
    slopes[32:] = 3 * np.random.default_rng(1).normal(size=(32, 64)) + 3
    primary = jnp.asarray(500 * np.exp((np.log1p(drift / 100) + slopes / 100) * t), jnp.float32)
    y = jnp.asarray(np.random.default_rng(2).poisson(Scatter().with_scatter(primary, fraction)), jnp.float32)
    mean, _ = moments(*posterior(y, acquisition=Acquisition(scatter_fraction=fraction)))
    ignored, _ = moments(*posterior(y))
    assert abs(mean - drift) < 0.1 < abs(ignored - drift)


def test_vmap_over_scenes_equals_a_loop():
    y = jnp.stack([static_and_moving(d, 50.0, shape=(20, 24), seed=i) for i, d in enumerate((0.0, 0.5))])
    low, high = jnp.array([-0.5, -0.3]), jnp.array([1.0, 1.2])
    scatter = jnp.array([0.0, 0.2])
    batched = jax.vmap(lambda y, f, a, b: posterior(y, a, b, Acquisition(scatter_fraction=f)))(y, scatter, low, high)
    for i in range(2):
        grid, log_density = posterior(
            y[i], float(low[i]), float(high[i]), Acquisition(scatter_fraction=float(scatter[i]))
        )
        np.testing.assert_allclose(batched[0][i], grid, atol=1e-6)
        np.testing.assert_allclose(batched[1][i], log_density, atol=0.02)


def test_one_compilation_serves_every_scene_of_a_shape(monkeypatch):
    traced = []
    monkeypatch.setattr(drift, "block_curves", lambda y, *rest, **kw: traced.append(y) or block_curves(y, *rest, **kw))
    for seed, low in enumerate((-0.5, -0.4, -0.3)):
        acquisition = Acquisition(photons_per_pixel=100.0 + seed)
        posterior(static_and_moving(0.1, 20.0, shape=(20, 20), seed=seed), low=low, acquisition=acquisition)
    assert len(traced) == 1


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 16, 16), {}, r"\(1, 16, 16\).*T ≥ 2"),
        ((4, 3, 16), {}, r"\(4, 3, 16\).*H, W ≥ 4"),
        ((4, 16, 16), {"points": 1}, "points is 1"),
    ],
)
def test_too_little_data_is_an_error_that_says_so(shape, options, message):
    with pytest.raises(ValueError, match=message):
        posterior(jnp.ones(shape), **options)


def test_two_blocks_that_move_alike_count_as_one():
    """Every block twice is no more information than every block once, taken as independent of the others."""
    once = static_and_moving(0.3, 100.0, shape=(32, 32))
    grid, log_density = posterior(jnp.concatenate([once, once], axis=2))
    curves = block_curves(once, jnp.zeros_like(once), stride=drift.STRIDE, side=1)
    independent = moments(grid, drift.atom_log_likelihood(curves, grid))
    found = moments(grid, log_density)
    assert found[1] == pytest.approx(independent[1], rel=0.1)
    assert found[0] == pytest.approx(independent[0], abs=0.3 * found[1])


@pytest.mark.parametrize("counts", [1.0, 20.0])
def test_electronic_noise_is_part_of_the_noise_of_blocks(counts):
    """Slopes of blocks at rest scatter as their variance says, negative sums included."""
    sigma, rng = 3.0, np.random.default_rng(5)
    y = rng.poisson(counts, (8, 64, 64)) + sigma * rng.standard_normal((8, 64, 64))
    y = jnp.asarray(y, jnp.float32)
    curves = block_curves(y, jnp.zeros_like(y), stride=4, side=2, electronic_variance=sigma**2)
    present = np.asarray(curves.present) > 0
    z = np.asarray(curves.slope / jnp.sqrt(curves.slope_variance))[present]
    assert np.isfinite(z).all()
    assert np.sqrt(np.mean(z**2)) == pytest.approx(1.0, abs=0.2)
    blind = block_curves(y, jnp.zeros_like(y), stride=4, side=2)
    assert np.mean(np.asarray(blind.slope**2 / blind.slope_variance)[present]) > 1.3


def test_the_drift_is_recovered_behind_electronic_noise():
    rng = np.random.default_rng(6)
    y = static_and_moving(0.6, 40.0) + jnp.asarray(3.0 * rng.standard_normal((16, *SHAPE)), jnp.float32)
    grid, log_density = posterior(y, acquisition=Acquisition(electronic_noise=3.0))
    mean, sd = moments(grid, log_density)
    assert abs(mean - 0.6) < 3 * sd
    assert sd < PRIOR_SD / 2
