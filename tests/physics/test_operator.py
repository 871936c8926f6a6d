"""Laws of the composed operator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec
from fluorojax.physics import (
    PUBLISHED_OPERATOR,
    BeerLambert,
    ChargeReleaseLag,
    DarkRate,
    ExposureWindow,
    FluoroscopyOperator,
    GainDrift,
    Scatter,
    VeilingGlare,
)

SHAPE = (5, 6, 7)
OPERATORS = {
    "default": PUBLISHED_OPERATOR,
    "linear window, dark start, no scatter": FluoroscopyOperator(
        (ExposureWindow("linear"), ChargeReleaseLag("dark"), GainDrift())
    ),
    "cubic window, glare, dark rate": FluoroscopyOperator(
        (ExposureWindow("cubic"), ChargeReleaseLag(), GainDrift(), Scatter(), VeilingGlare(radius=3.0), DarkRate(2.0))
    ),
}
SPECS = [Spec(-5.0, -3.0, -0.5), Spec(0.0, 0.0, 0.0), Spec(9.0, 5.4, 0.9), Spec(11.5, 6.9, 1.15)]
ACQUISITIONS = [
    Acquisition(),
    Acquisition(photons_per_pixel=30.0, scatter_fraction=0.3),
    Acquisition(attenuation_scale=4.0, frame_time_ms=1000 / 15),
    Acquisition(photons_per_pixel=3e4, frame_time_ms=1000 / 60, pulse_width_ms=10.0, lag_ms=14.0),
]


def scene(seed=0, shape=SHAPE, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(seed).uniform(size=shape), dtype)


def stacked(trees):
    return jax.tree.map(lambda *leaves: jnp.asarray(leaves, jnp.float32), *trees)


default = jax.jit(PUBLISHED_OPERATOR)
primary_only = jax.jit(PUBLISHED_OPERATOR.without_stage("scatter"))
invert = jax.jit(PUBLISHED_OPERATOR.invert_static, static_argnames="floor")
every_operator = pytest.mark.parametrize("operator", list(OPERATORS.values()), ids=list(OPERATORS))
every_protocol = pytest.mark.parametrize(("spec", "acquisition"), list(zip(SPECS, ACQUISITIONS, strict=True)))


@pytest.fixture(autouse=True)
def _strict_promotion():
    with jax.numpy_dtype_promotion("strict"):
        yield


@every_operator
def test_vmap_over_specs_protocols_and_doses_is_the_loop(operator):
    xs = jnp.stack([scene(seed) for seed in range(4)])
    operator = jax.jit(operator)
    batched = jax.vmap(operator)(xs, stacked(SPECS), stacked(ACQUISITIONS))
    loop = [operator(x, spec, acquisition) for x, spec, acquisition in zip(xs, SPECS, ACQUISITIONS, strict=True)]
    np.testing.assert_allclose(batched, jnp.stack(loop), rtol=2e-5)


@every_operator
def test_jit_is_eager(operator):
    spec, acquisition = SPECS[3], ACQUISITIONS[1]
    eager = operator(scene(), spec, acquisition)
    np.testing.assert_allclose(jax.jit(operator)(scene(), spec, acquisition), eager, rtol=3e-5)


@every_operator
def test_one_trace_per_shape(operator):
    traces = []

    @jax.jit
    def traced(x, spec, acquisition):
        traces.append(x.shape)
        return operator(x, spec, acquisition)

    for shape in (SHAPE, (3, 4, 4), SHAPE):
        for spec, acquisition in zip(SPECS, ACQUISITIONS, strict=True):
            traced(scene(shape=shape), spec, acquisition)
    assert traces == [SHAPE, (3, 4, 4)]


@jax.jit
def counts(operator, x, theta, acquisition):
    return operator(x, Spec.from_array(theta), acquisition)


@jax.jit
def derivatives(operator, x, theta, acquisition, directions, cotangent):
    def rate(x, theta):
        return operator(x, Spec.from_array(theta), acquisition)

    return jax.jvp(rate, (x, theta), directions)[1], jax.vjp(rate, x, theta)[1](cotangent)


@every_operator
@every_protocol
def test_derivatives_in_scene_and_spec(operator, spec, acquisition):
    rng = np.random.default_rng(1)
    x, theta, step = rng.uniform(size=SHAPE), np.asarray(spec.as_array(), np.float64), 1e-5
    directions, cotangent = (rng.normal(size=SHAPE), rng.normal(size=3)), rng.normal(size=SHAPE)
    with jax.enable_x64(True):
        ahead, behind = (
            np.asarray(counts(operator, x + s * directions[0], theta + s * directions[1], acquisition))
            for s in (step, -step)
        )
        tangent, gradients = derivatives(operator, x, theta, acquisition, directions, cotangent)
    scale = float(acquisition.photons_per_pixel)
    np.testing.assert_allclose(tangent, (ahead - behind) / (2 * step), atol=1e-7 * scale)
    pairing = np.vdot(gradients[0], directions[0]) + np.vdot(gradients[1], directions[1])
    np.testing.assert_allclose(pairing, np.vdot(cotangent, tangent), rtol=1e-9)


@every_protocol
def test_scene_at_rest_without_scatter_fades_only_by_gain(spec, acquisition):
    frame = scene(shape=SHAPE[1:])
    fading = primary_only(jnp.stack([frame] * 5), spec, acquisition)
    open_beam = acquisition.photons_per_pixel * (1 + spec.gain_drift / 100) ** np.arange(5)
    expected = open_beam[:, None, None] * np.exp(-acquisition.attenuation_scale * np.asarray(frame))
    np.testing.assert_allclose(fading, expected, rtol=1e-5)


@every_protocol
def test_single_frame_is_a_run_at_rest(spec, acquisition):
    frame = scene(shape=SHAPE[1:])
    single = default(frame, spec, acquisition)
    assert single.shape == frame.shape
    np.testing.assert_allclose(single, default(frame[None], spec, acquisition)[0], rtol=1e-5)
    np.testing.assert_allclose(single, default(jnp.stack([frame] * 3), spec, acquisition)[0], rtol=1e-5)


@every_protocol
def test_temporal_matrix_is_the_operator_on_transmissions(spec, acquisition):
    operator = PUBLISHED_OPERATOR.without_stage("scatter")
    weights = operator.temporal_matrix(spec, acquisition, SHAPE[0])
    transmission = BeerLambert().transmission(scene(), acquisition.attenuation_scale)
    expected = acquisition.photons_per_pixel * np.tensordot(weights, transmission, 1)
    np.testing.assert_allclose(operator(scene(), spec, acquisition), expected, rtol=1e-5)


@every_protocol
def test_rates_are_positive_for_the_sharpest_contrast(spec, acquisition):
    bars = jnp.asarray(np.indices(SHAPE).sum(axis=0) % 2, jnp.float32)
    assert np.min(default(bars, spec, acquisition)) > 0


def test_dark_rate_adds_counts_behind_the_gain():
    bright = default(scene(), SPECS[2], ACQUISITIONS[1])
    dark = jax.jit(PUBLISHED_OPERATOR.with_stage(DarkRate(2.5)))(scene(), SPECS[2], ACQUISITIONS[1])
    np.testing.assert_allclose(dark - bright, 2.5, rtol=1e-4)


@pytest.mark.parametrize("shape", [SHAPE, SHAPE[1:]])
@every_protocol
def test_static_inversion_is_exact_at_rest(spec, acquisition, shape):
    x = jnp.broadcast_to(0.5 * scene(shape=SHAPE[1:]), shape)
    measured = primary_only(x, spec, acquisition)
    np.testing.assert_allclose(invert(measured, acquisition, spec, floor=1e-6), x, atol=1e-6)


def test_static_inversion_takes_the_floor_where_nothing_was_counted():
    estimate = PUBLISHED_OPERATOR.invert_static(jnp.zeros(SHAPE), Acquisition(photons_per_pixel=50.0), Spec())
    np.testing.assert_allclose(estimate, np.log(100) / 7, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_of_the_scene_is_kept(dtype):
    operator = PUBLISHED_OPERATOR.with_stage(VeilingGlare()).with_stage(DarkRate(1.0))
    with jax.enable_x64(True):
        x = scene(dtype=dtype)
        assert jax.eval_shape(operator, x, Spec(1.0, 2.0, 0.1), Acquisition()).dtype == x.dtype
        assert jax.eval_shape(operator.invert_static, x, Acquisition(), Spec()).dtype == x.dtype


def test_structural_errors_name_the_argument():
    operator = PUBLISHED_OPERATOR
    with pytest.raises(ValueError, match="x has dtype int32; expected a floating dtype"):
        operator(jnp.zeros(SHAPE, int), Spec(), Acquisition())
    with pytest.raises(ValueError, match=r"shape \(3,\); expected \(T, H, W\) or \(H, W\)"):
        operator(jnp.zeros(3), Spec(), Acquisition())
    with pytest.raises(ValueError, match=r"motion_blur has shape \(4,\); expected a scalar"):
        operator(scene(), stacked(SPECS), Acquisition())
    with pytest.raises(ValueError, match=r"y has shape \(3,\) and dtype float32"):
        operator.invert_static(jnp.zeros(3), Acquisition(), Spec())
    with pytest.raises(ValueError, match="floor is 0; expected a positive number"):
        operator.invert_static(scene(), Acquisition(), Spec(), floor=0)


@pytest.mark.parametrize("fraction", [0.0, 0.4])
def test_the_information_of_a_pixel_is_that_of_its_primary_quanta(fraction):
    """For a static window and lag, and scatter too wide to tell pixels apart: (∂λ/∂x)²/λ by differentiation."""
    acquisition = Acquisition(photons_per_pixel=900.0, scatter_fraction=fraction)
    operator = PUBLISHED_OPERATOR
    x = 0.1 + 0.7 * scene(shape=(40, 40))
    spec = Spec(jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))
    rate = operator(x, spec, acquisition)
    own = jnp.diagonal(jax.jacfwd(lambda v: operator(v.reshape(x.shape), spec, acquisition).ravel())(x.ravel()))
    found = operator.pixel_information(x, rate, spec, acquisition)
    np.testing.assert_allclose(found.ravel(), own**2 / rate.ravel(), rtol=0.02)


def test_the_information_follows_the_gain():
    spec = Spec(jnp.zeros(()), jnp.zeros(()), jnp.asarray(1.0))
    x = jnp.full((5, 4, 4), 0.3)
    rate = PUBLISHED_OPERATOR(x, spec, Acquisition())
    found = PUBLISHED_OPERATOR.pixel_information(x, rate, spec, Acquisition())
    np.testing.assert_allclose(found[:, 0, 0] / found[0, 0, 0], 1.01 ** np.arange(5), rtol=1e-5)
