"""Models outside the protocol are refused with a line that says what is wrong; the spec prior is uniform."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
from jax.scipy.stats import norm
from numpyro import handlers
from numpyro.distributions import Gamma, LogNormal, Normal, Poisson
from scipy import stats

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import SPEC_NAMES, TIERS, Spec, SpecRanges
from fluorojax.models.protocol import SPEC_SITE, SceneData, SceneModel, spec_prior, spec_to_base

SHAPE = (3, 4, 5)
RANGES = SpecRanges.for_tier("public")
DATA = SceneData(jnp.ones(SHAPE), Acquisition(), RANGES)


def good(data, *, latent=None, x=SHAPE, rate=SHAPE, likelihood=Poisson, spec=True, observed=1):
    """A model inside the protocol; each argument breaks one rule."""
    if spec:
        spec_prior(data.ranges)
    numpyro.sample("z", Normal(0.0, 1.0).expand(SHAPE).to_event(3))
    if latent is not None:
        numpyro.sample("other", latent)
    if x is not None:
        numpyro.deterministic("x", jnp.ones(x))
    if rate is not None:
        numpyro.deterministic("rate", jnp.ones(rate))
    for i in range(observed):
        numpyro.sample(f"counts{i}", likelihood(jnp.ones(SHAPE)).to_event(3), obs=data.counts)


def check(model=good, hyperparameters=(), **broken):
    return SceneModel("mine", lambda data: model(data, **broken), hyperparameters).latent_shapes(DATA)


def test_a_model_inside_the_protocol_gives_its_latent_shapes():
    assert check(latent=Normal(jnp.zeros(2), 1.0).to_event(1), hyperparameters=("other",)) == {
        SPEC_SITE: (3,),
        "z": SHAPE,
        "other": (2,),
    }


def test_gaussian_observations_are_inside_the_protocol():
    assert set(check(likelihood=lambda rate: Normal(rate, 2.0))) == {SPEC_SITE, "z"}


VIOLATIONS = {
    "latent with a location": ({"latent": Normal(1.0, 1.0)}, "latent site 'other' is Normal"),
    "latent with a scale": ({"latent": Normal(0.0, jnp.array([1.0, 2.0])).to_event(1)}, "latent site 'other'"),
    "positive latent": ({"latent": Gamma(1.0, 1.0)}, "latent site 'other' is Gamma; expected a standard normal"),
    "transformed latent": ({"latent": LogNormal(0.0, 1.0)}, "latent site 'other'"),
    "no x": ({"x": None}, "no deterministic site 'x'"),
    "no rate": ({"rate": None}, "no deterministic site 'rate'"),
    "x of one frame": ({"x": (1, 4, 5)}, r"site 'x' has shape \(1, 4, 5\).*\(3, 4, 5\)"),
    "rate of one frame": ({"rate": (4, 5)}, r"site 'rate' has shape \(4, 5\).*\(3, 4, 5\)"),
    "nothing observed": ({"observed": 0}, "exactly one observed site"),
    "two observed sites": ({"observed": 2}, "exactly one observed site"),
    "another likelihood": ({"likelihood": lambda rate: Gamma(rate, 1.0)}, "expected exactly one observed site"),
    "no spec": ({"spec": False}, "no latent site 'spec_base'; expected a call of spec_prior"),
}


@pytest.mark.parametrize("case", VIOLATIONS)
def test_a_violation_is_one_line_that_names_model_and_site(case):
    broken, message = VIOLATIONS[case]
    with pytest.raises(ValueError, match=message) as caught:
        check(**broken)
    assert str(caught.value).startswith("model mine: ")
    assert "\n" not in str(caught.value)


def test_unknown_hyperparameters_are_named():
    with pytest.raises(ValueError, match="HYPERPARAMETERS names amplitude, slope; no such latent sites"):
        check(hyperparameters=("z", "amplitude", "slope"))


def test_a_latent_scaled_by_the_data_is_not_standard():
    def model(data):
        good(data, latent=Normal(0.0, jnp.mean(data.counts)))

    with pytest.raises(ValueError, match="latent site 'other' is Normal; expected a standard normal"):
        check(model)


def hooked(**hooks):
    """A model inside the protocol with the given hooks."""
    sound = {
        "initial_aux": lambda data, spec: {"scale": jnp.ones((2, 3))},
        "update_aux": lambda data, sites: {"scale": data.aux["scale"] * jnp.mean(sites["x"])},
        "pixel_variance": lambda data, sites: sites["x"] ** 2,
    }
    return SceneModel("mine", good, (), 2, **(sound | hooks))


def broken_hook(*arguments):
    raise KeyError("statik")


HOOK_VIOLATIONS = {
    "initial": ({"initial_aux": broken_hook}, r"initial_aux cannot run on counts of shape \(3, 4, 5\): 'statik'"),
    "update": ({"update_aux": broken_hook}, r"update_aux cannot run .*: 'statik'"),
    "structure": (
        {"update_aux": lambda data, sites: jnp.ones(2)},
        r"update_aux returns 2 float32; .* \{'scale': '2×3 float32'\}",
    ),
    "shape": (
        {"update_aux": lambda data, sites: {"scale": jnp.ones(6)}},
        r"update_aux returns \{'scale': '6 float32'\}",
    ),
    "type": ({"update_aux": lambda data, sites: {"scale": jnp.ones((2, 3), int)}}, r"update_aux returns .*2×3 int32"),
    "carried": (
        {"carry_latents": lambda data, aux, sites: {"static": jnp.ones(2)}},
        r"carry_latents returns latents of shapes \{'static': \(2,\)\}; expected \{'static': None\}",
    ),
    "curvature": (
        {"latent_curvature": lambda data, sites: {}},
        r"latent_curvature returns latents of shapes \{\}; expected \{.*'z': ",
    ),
    "variance": ({"pixel_variance": lambda data, sites: jnp.ones((4, 5))}, r"pixel_variance has shape \(4, 5\); exp"),
}


@pytest.mark.parametrize("case", HOOK_VIOLATIONS)
def test_a_hook_that_fails_is_one_line_that_names_it(case):
    hooks, message = HOOK_VIOLATIONS[case]
    with pytest.raises(ValueError, match=rf"^model mine: {message}"):
        hooked(**hooks).check_hooks(DATA)


def test_sound_hooks_and_none_pass():
    hooked().check_hooks(DATA)
    hooked(update_aux=None, pixel_variance=None).check_hooks(DATA)
    SceneModel("mine", good).check_hooks(DATA)


def test_x_must_be_deterministic():
    def model(data):
        good(data, x=None)
        numpyro.sample("x", Normal(0.0, 1.0).expand(SHAPE).to_event(3))

    with pytest.raises(ValueError, match="no deterministic site 'x'"):
        check(model)


def spec_at(base):
    sites = handlers.trace(handlers.substitute(spec_prior, data={SPEC_SITE: base})).get_trace(RANGES)
    return {name: sites[name]["value"] for name in SPEC_NAMES}


def test_the_spec_prior_is_uniform_on_the_ranges():
    z = jnp.asarray(np.random.default_rng(0).normal(size=(4000, 3)), jnp.float32)
    values = jax.vmap(spec_at)(z)
    for name, (low, high) in TIERS["public"].items():
        draws = np.asarray(values[name])
        assert stats.kstest(draws, stats.uniform(low, high - low).cdf).pvalue > 1e-3
        assert low <= draws.min()
        assert draws.max() <= high


def test_the_sample_follows_the_latents():
    seeded = handlers.seed(spec_prior, jax.random.key(0))
    trace = handlers.trace(seeded).get_trace(RANGES)
    low, high = np.asarray(RANGES.low), np.asarray(RANGES.high)
    expected = low + (high - low) * np.asarray(norm.cdf(trace[SPEC_SITE]["value"]))
    np.testing.assert_allclose([trace[name]["value"] for name in SPEC_NAMES], expected, rtol=1e-5)


@pytest.mark.parametrize("share", [0.001, 0.2, 0.5, 0.9, 0.999])
def test_latents_of_a_spec_give_the_spec_back(share):
    low, high = np.asarray(RANGES.low), np.asarray(RANGES.high)
    spec = Spec.from_array(low + share * (high - low))
    back = spec_at(spec_to_base(spec, RANGES))
    for i, name in enumerate(SPEC_NAMES):
        assert float(back[name]) == pytest.approx(float(spec.as_array()[i]), abs=1e-3 * float(high[i] - low[i]))


@pytest.mark.parametrize("beyond", [0.0, 3.0])
def test_the_edges_have_finite_latents(beyond):
    for edge, sign in ((RANGES.low, -1), (RANGES.high, 1)):
        base = spec_to_base(Spec.from_array(np.asarray(edge) + sign * beyond), RANGES)
        assert np.all(np.isfinite(base))
        back = spec_at(base)
        np.testing.assert_allclose([back[name] for name in SPEC_NAMES], edge, atol=1e-3)


def test_sites_are_those_at_the_given_latents():
    def model(data):
        spec_prior(data.ranges)
        z = numpyro.sample("z", Normal(0.0, 1.0).expand(SHAPE).to_event(3))
        rate = numpyro.deterministic("rate", jnp.exp(numpyro.deterministic("x", 2 * z)))
        numpyro.sample("counts", Poisson(rate).to_event(3), obs=data.counts)

    scene_model = SceneModel("mine", model)
    sites = scene_model.sites(DATA, {SPEC_SITE: jnp.zeros(3), "z": jnp.full(SHAPE, 0.5)})
    assert set(sites) == {SPEC_SITE, *SPEC_NAMES, "z", "x", "rate"}
    np.testing.assert_allclose(sites["x"], np.ones(SHAPE))
    np.testing.assert_allclose(sites["rate"], np.full(SHAPE, np.e), rtol=1e-6)
    np.testing.assert_allclose([sites[name] for name in SPEC_NAMES], RANGES.mean(), atol=1e-5)
