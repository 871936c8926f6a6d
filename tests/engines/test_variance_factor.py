"""The residuals of a scene tell how wrong the variances of its model are."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from numpyro.distributions import Normal, Poisson

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec, SpecRanges
from fluorojax.engines.energy import diagonal_scale, posterior
from fluorojax.engines.linear_response import sample_variance
from fluorojax.engines.map import solve_map
from fluorojax.engines.newton import conditional_mode
from fluorojax.engines.variance_factor import ADAPTED_PRIOR, motion_shares, variance_factor
from fluorojax.engines.variance_factor import factor_of as factors_of
from fluorojax.models.protocol import SPEC_SITE, SceneData, SceneModel, spec_prior

SHAPE = (4, 50, 50)
SPREAD = 0.8
RANGES = SpecRanges.for_tier("public")


def gaussian(data):
    """Independent pixels: x ~ N(0, SPREAD²), seen with noise of variance one."""
    spec_prior(data.ranges)
    z = numpyro.sample("z", Normal(0.0, 1.0).expand(data.counts.shape).to_event(3))
    x = numpyro.deterministic("x", SPREAD * z)
    rate = numpyro.deterministic("rate", 1.0 * x)
    numpyro.sample("counts", Normal(rate, 1.0).to_event(3), obs=data.counts)


def smooth(values):
    """Sum over 2 × 2 neighbourhoods, over 2: unit variance."""
    return 0.5 * sum(jnp.roll(values, shift, axis=(1, 2)) for shift in ((0, 0), (0, 1), (1, 0), (1, 1)))


def few_counts(data):
    """Counts about ``data.aux`` with smooth log rates of spread one half."""
    spec_prior(data.ranges)
    z = numpyro.sample("z", Normal(0.0, 1.0).expand(data.counts.shape).to_event(3))
    x = numpyro.deterministic("x", 0.5 * smooth(z))
    rate = numpyro.deterministic("rate", data.aux * jnp.exp(-x))
    numpyro.sample("counts", Poisson(rate).to_event(3), obs=data.counts)


def factor_of(model, counts, aux=None):
    data = SceneData(jnp.asarray(counts, jnp.float32), Acquisition(), RANGES, aux=aux)
    target = posterior(SceneModel("test", model), data, {SPEC_SITE: jnp.zeros(3)})
    start = {"z": jnp.zeros(counts.shape)}
    scale = diagonal_scale(target, start, jax.random.key(0))
    mode = conditional_mode(target, start, scale).position
    return variance_factor(target, mode, scale, jax.random.key(1)), mode, target


@pytest.mark.parametrize("true_spread", [0.0, 0.5, 0.8, 1.2])
def test_the_ratio_is_that_of_the_closed_form(true_spread):
    rng = np.random.default_rng(2)
    counts = true_spread * rng.standard_normal(SHAPE) + rng.standard_normal(SHAPE)
    found, _, _ = factor_of(gaussian, counts)
    weight = SPREAD**2 / (SPREAD**2 + 1)
    exact = (weight**2 + (1 - weight) ** 2 * true_spread**2) / weight
    # The draws for the trace add an error of their own, about 1 %.
    assert float(found.measured) == pytest.approx(exact, abs=4 * float(found.std) + 0.03 * abs(exact - 1) + 0.01)
    assert float(found.std) == pytest.approx(np.sqrt(2 / counts.size) / weight, rel=0.05)


@pytest.mark.parametrize("level", [0.7, 3.0, 30.0])
@pytest.mark.parametrize("true_spread", [0.1, 0.5])
def test_few_counts_do_not_bias_the_ratio(level, true_spread):
    rng = np.random.default_rng(3)
    truth = level * np.exp(-true_spread * np.asarray(smooth(rng.standard_normal(SHAPE))))
    found, mode, target = factor_of(few_counts, rng.poisson(truth), jnp.float32(level))
    rate, share = np.asarray(target.rate(mode)), np.sqrt(2 / truth.size) / float(found.std)
    risk = np.mean((rate - truth) ** 2 / rate) / share
    assert float(found.measured) == pytest.approx(risk, abs=4 * float(found.std))
    # The test can tell a wrong prior from a right one.
    assert (risk < 0.93) == (true_spread == 0.1)


def test_a_measurement_that_is_uncertain_hardly_counts():
    rng = np.random.default_rng(4)
    few, many = (factor_of(gaussian, 1.17 * rng.standard_normal(shape))[0] for shape in ((2, 3, 3), SHAPE))
    assert abs(float(few.applied) - 1) < 0.2 * abs(float(few.measured) - 1)
    assert abs(float(many.applied) - float(many.measured)) < 0.1 * abs(float(many.measured) - 1)


@pytest.mark.parametrize(("noise", "expected"), [(3.0, 1.5), (0.1, 0.5)])
def test_noise_that_the_model_does_not_have_is_not_made_an_error_of_any_size(noise, expected):
    counts = noise * np.random.default_rng(5).standard_normal(SHAPE)
    found, _, _ = factor_of(gaussian, counts)
    assert float(found.applied) == pytest.approx(expected)
    assert not 0.5 <= float(found.measured) <= 1.5


def test_data_that_say_nothing_leave_the_variance_alone():
    def blind(data):
        spec_prior(data.ranges)
        z = numpyro.sample("z", Normal(0.0, 1.0).expand(data.counts.shape).to_event(3))
        numpyro.deterministic("x", z)
        rate = numpyro.deterministic("rate", 0.0 * z)
        numpyro.sample("counts", Normal(rate, 1.0).to_event(3), obs=data.counts)

    found, _, _ = factor_of(blind, np.random.default_rng(6).standard_normal((2, 5, 5)))
    assert float(found.applied) == 1.0
    assert np.isnan(found.measured)
    assert np.isnan(found.std)


def test_one_defective_pixel_does_not_decide_for_a_scene():
    rng = np.random.default_rng(9)
    counts = rng.poisson(10 * np.exp(-0.5 * np.asarray(smooth(rng.standard_normal(SHAPE)))))
    whole, _, _ = factor_of(few_counts, counts, jnp.float32(10.0))
    counts[1, 7, 7] = 3000
    flawed, _, _ = factor_of(few_counts, counts, jnp.float32(10.0))
    assert abs(float(flawed.measured) - float(whole.measured)) < float(whole.std)


@pytest.mark.parametrize("wild", [3e3, 3e5])
def test_a_residual_counts_as_six_deviations_at_most(wild):
    """Whatever a defective pixel says, away from the mode too: the mode follows the pixel and would hide it."""
    counts = np.full(SHAPE, 10.0)
    counts[1, 7, 7] = wild
    data = SceneData(jnp.asarray(counts, jnp.float32), Acquisition(), RANGES, aux=jnp.float32(10.0))
    target = posterior(SceneModel("test", few_counts), data, {SPEC_SITE: jnp.zeros(3)})
    excess = np.asarray(target.excess({"z": jnp.zeros(SHAPE)}))
    most = 6 * np.sqrt(10 + 1)
    assert excess[1, 7, 7] == pytest.approx((most**2 - (10 + most)) / 10, rel=1e-4)
    np.testing.assert_allclose(excess[counts == 10], -1.0, rtol=1e-4)


def test_the_map_of_a_reconstruction_holds_the_factor():
    rng = np.random.default_rng(7)
    counts = jnp.asarray(0.6 * rng.standard_normal(SHAPE) + rng.standard_normal(SHAPE), jnp.float32)
    data, model = SceneData(counts, Acquisition(), RANGES), SceneModel("gaussian", gaussian)
    middle = Spec.from_array(jnp.asarray(RANGES.mean(), jnp.float32))
    key = jax.random.key(8)
    found = solve_map(model, data, middle, jnp.ones(3), key, samples=4)
    assert 0.65 < float(found.factor.applied) < 0.82
    target = posterior(model, data, {SPEC_SITE: jnp.zeros(3)})
    latents = {"z": jnp.zeros(SHAPE)}
    plain = sample_variance(target, latents, diagonal_scale(target, latents, key), key, 4)
    ratio = np.asarray(found.noise_variance / plain)
    np.testing.assert_allclose(ratio, float(found.factor.applied), rtol=1e-2)


def residuals(rng, factors, shares, frames, divergence=0.2):
    """Residuals of scenes whose pixels err by the given factors times what is stated, and the draws for the trace."""
    truth = np.tensordot(factors, shares, axes=1)
    noise = np.sqrt(2.0) * rng.standard_normal((frames, *truth.shape))
    excess = divergence * (truth - 2.0 * (1.0 + ADAPTED_PRIOR.adaptation)) + noise
    return jnp.asarray(excess, jnp.float32), jnp.full((2, frames, *truth.shape), divergence, jnp.float32)


@pytest.mark.parametrize("factors", [(0.4, 0.8), (0.6, 1.9)])
def test_rest_and_motion_have_factors_of_their_own(factors):
    rng = np.random.default_rng(10)
    moving = rng.beta(0.4, 1.2, (80, 80))
    shares = jnp.asarray([1.0 - moving, moving], jnp.float32)
    excess, divergence = residuals(rng, factors, shares, 40)
    found = factors_of(excess, divergence, ADAPTED_PRIOR, shares)
    truth = np.tensordot(factors, shares, axes=1)
    np.testing.assert_allclose(found.applied, truth, atol=0.12)
    assert float(found.measured) == pytest.approx(truth.mean(), abs=4 * float(found.std))
    assert float(found.facts()["variance_factor"]) == pytest.approx(truth.mean(), abs=0.05)


def test_residuals_that_say_little_leave_what_simulated_scenes_have_shown():
    rng = np.random.default_rng(11)
    moving = jnp.asarray(rng.uniform(0.0, 1.0, (6, 6)), jnp.float32)
    shares = jnp.stack([1.0 - moving, moving])
    found = factors_of(*residuals(rng, (1.5, 0.1), shares, 3, divergence=0.02), ADAPTED_PRIOR, shares)
    usual = np.tensordot(ADAPTED_PRIOR.mean, shares, axes=1)
    np.testing.assert_allclose(found.applied, usual, atol=0.05)


def test_a_scene_at_rest_says_nothing_about_motion():
    rng = np.random.default_rng(12)
    shares = jnp.stack([jnp.ones((60, 60)), jnp.zeros((60, 60))])
    found = factors_of(*residuals(rng, (0.45, 5.0), shares, 30), ADAPTED_PRIOR, shares)
    np.testing.assert_allclose(found.applied, 0.45, atol=0.05)


def test_a_pixel_moves_where_the_estimate_changes_by_more_than_its_error():
    frames = 12
    rest, motion = np.zeros((frames, 3, 3)), np.zeros((frames, 3, 3))
    motion[:, 1, 1] = np.sin(np.arange(frames)) * 0.5
    variance = jnp.full(rest.shape, 0.05**2)
    np.testing.assert_allclose(motion_shares(jnp.asarray(rest), variance), [np.ones((3, 3)), np.zeros((3, 3))])
    share = np.asarray(motion_shares(jnp.asarray(motion), variance))
    np.testing.assert_allclose(share.sum(axis=0), 1.0, rtol=1e-6)
    assert share[1, 1, 1] > 0.98
    assert np.count_nonzero(share[1]) == 1


def adapted(data):
    """Independent pixels of any shape, whose spread stands for a local scale of the counts."""
    spec_prior(data.ranges)
    z = numpyro.sample("z", Normal(0.0, 1.0).expand(data.counts.shape).to_event(data.counts.ndim))
    x = numpyro.deterministic("x", (SPREAD if data.aux is None else data.aux) * z)
    rate = numpyro.deterministic("rate", 1.0 * x)
    numpyro.sample("counts", Normal(rate, 1.0).to_event(data.counts.ndim), obs=data.counts)


@pytest.mark.parametrize(("shape", "pixels"), [((12, 20), ()), ((3, 12, 20), (12, 20))])
def test_a_single_frame_has_no_motion(shape, pixels):
    model = SceneModel(
        "adapted",
        adapted,
        initial_aux=lambda data, spec: jnp.float32(SPREAD),
        update_aux=lambda data, sites: data.aux,
        aux_rounds=1,
    )
    counts = jnp.asarray(np.random.default_rng(13).standard_normal(shape), jnp.float32)
    middle = Spec.from_array(jnp.asarray(RANGES.mean(), jnp.float32))
    data = SceneData(counts, Acquisition(), RANGES)
    found = solve_map(model, data, middle, jnp.ones(3), jax.random.key(14), samples=2)
    assert found.factor.applied.shape == pixels
    assert found.noise_variance.shape == shape
