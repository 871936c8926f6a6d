"""Batches of scenes: one answer per scene, whatever shares its batch, its device or its run."""

from dataclasses import replace

import equinox as eqx
import jax
import numpy as np
import pytest

from fluorojax.data.reconstruction import ReconstructOptions, Status
from fluorojax.data.spec import SPEC_NAMES, TIERS, Spec, SpecRanges
from fluorojax.metrics import expected_counts
from fluorojax.physics import PUBLISHED_OPERATOR
from fluorojax.runs.batches import chunk_size, reconstruct_scenes
from fluorojax.runs.outcomes import Outcome
from fluorojax.simulation import SimulationOptions, simulate_scene, simulate_scenes

OPTIONS = SimulationOptions(frames=6, size=24)

# One static image of independent pixels, so well conditioned, without hooks.
# Every trace leaves a line in a file beside it.
STATIC_MODEL = """
from pathlib import Path

import jax.numpy as jnp
import numpyro
from numpyro.distributions import Normal, Poisson

from fluorojax.models.protocol import spec_prior


def model(data):
    with Path(__file__).with_suffix(".traces").open("a") as traces:
        traces.write(f"{data.counts.shape}\\n")
    spec = spec_prior(data.ranges)
    detail = numpyro.sample("detail", Normal(0.0, 1.0).expand(data.counts.shape[1:]).to_event(2))
    image = 0.5 + 0.2 * detail
    x = numpyro.deterministic("x", jnp.broadcast_to(image, data.counts.shape))
    rate = numpyro.deterministic("rate", data.operator(x, spec, data.acquisition))
    numpyro.sample("counts", LIKELIHOOD.to_event(3), obs=data.counts)
"""


class Recorder:
    """A progress display that remembers what it was told."""

    def __init__(self):
        self.totals, self.updates = [], []

    def start(self, total, unit="scene"):
        self.totals.append(total)

    def update(self, done, note):
        self.updates.append((done, note))


def write_model(folder, name, likelihood):
    path = folder / f"{name}.py"
    path.write_text(STATIC_MODEL.replace("LIKELIHOOD", likelihood))
    return path


def traces(path):
    return path.with_suffix(".traces").read_text().splitlines()


def by_name(results):
    return {result.name: result for result in results}


def psnr(x, truth):
    return -10 * np.log10(np.mean((np.asarray(x, np.float64) - truth) ** 2))


def check_same(first, second):
    """One answer up to rounding; a deviation also up to where its conjugate gradients stop, at a residual of 1e-2."""
    for field, tolerance in (("x_hat", 1e-4), ("x_std", 1e-2)):
        one, other = getattr(first, field), getattr(second, field)
        assert np.abs(one - other).max() < tolerance * np.abs(other).max(), field


@pytest.fixture(scope="module")
def scenes():
    """Four scenes of one shape and, between them, one of another."""
    found = list(simulate_scenes(4, 0, OPTIONS))
    wide = simulate_scene(9, replace(OPTIONS, size=(16, 20)), name="wide")
    return [found[0], wide, *found[1:]]


@pytest.fixture(scope="module")
def static_model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"), "static", "Poisson(rate)")


@pytest.fixture(scope="module")
def progress():
    return Recorder()


@pytest.fixture(scope="module")
def results(scenes, static_model, progress):
    """At most three to a chunk: the four scenes of one shape go two and two."""
    options = ReconstructOptions(model=str(static_model), spec="true", batch=3)
    return by_name(reconstruct_scenes(scenes, options, progress=progress))


@pytest.fixture(scope="module")
def one_by_one(scenes, static_model, results):
    options = ReconstructOptions(model=str(static_model), spec="true", batch=1)
    return by_name(reconstruct_scenes([s for s in scenes if s.name != "wide"], options))


@pytest.fixture(scope="module")
def sequences():
    return list(simulate_scenes(2, 3, replace(OPTIONS, frames=8)))


@pytest.fixture(scope="module")
def blind(sequences):
    """The default model at the calibrated chain."""
    return by_name(reconstruct_scenes(sequences, ReconstructOptions(method="map", batch=2)))


def test_the_default_model_beats_the_raw_estimate(sequences, blind):
    for scene in sequences:
        raw = PUBLISHED_OPERATOR.invert_static(jax.numpy.asarray(scene.y), scene.acquisition, Spec())
        assert psnr(blind[scene.name].x_hat, scene.x_true) > psnr(raw, scene.x_true) + 3


def test_a_result_is_complete(sequences, blind):
    for scene in sequences:
        result = blind[scene.name]
        assert result.x_hat.shape == result.x_std.shape == scene.y.shape
        assert result.x_hat.dtype == result.x_std.dtype == np.float32
        assert np.isfinite(result.x_hat).all()
        assert np.isfinite(result.x_std).all()
        assert result.x_std.min() > 0
        assert result.status in (Status.CONVERGED, Status.STALLED, Status.ITERATION_LIMIT)
        assert result.seconds > 0
        assert set(result.diagnostics["variance_share_of_chain"]) == set(SPEC_NAMES)
        assert 0.2 < result.diagnostics["energy_per_pixel"] < 1.5


def test_a_calibrated_chain_lies_inside_its_ranges(sequences, blind):
    for scene in sequences:
        result = blind[scene.name]
        for name, (low, high) in TIERS["public"].items():
            lower, upper = result.spec_interval[name]
            assert low <= lower <= getattr(result.spec, name) <= upper <= high
            assert getattr(result.spec_std, name) > 0
            assert name in result.diagnostics["identifiability"][name]


def test_the_deviation_is_of_the_size_of_the_error(sequences, blind):
    for scene in sequences:
        result = blind[scene.name]
        error = np.sqrt(np.mean((result.x_hat - scene.x_true) ** 2))
        assert 0.3 < error / np.sqrt(np.mean(result.x_std**2)) < 3


def test_the_variance_splits_into_noise_and_chain(sequences, blind):
    for scene in sequences:
        result = blind[scene.name]
        assert result.spec_correlation.shape == (3, *scene.y.shape)
        assert np.abs(result.spec_correlation).max() <= 1
        shares = np.mean(result.spec_correlation**2 * result.x_std**2, axis=(1, 2, 3)) / np.mean(result.x_std**2)
        assert dict(zip(SPEC_NAMES, shares, strict=True)) == pytest.approx(
            result.diagnostics["variance_share_of_chain"], rel=1e-3
        )
        assert np.mean(result.noise_std**2) == pytest.approx((1 - shares.sum()) * np.mean(result.x_std**2), rel=1e-3)
        # A larger gain is explained by less attenuation in the first frame's favour: the last frame's x rises with it.
        assert result.spec_correlation[2, -1].mean() > result.spec_correlation[2, 0].mean()


def test_mgvi_agrees_with_map_where_the_posterior_is_narrow(scenes, static_model, results):
    options = ReconstructOptions(model=str(static_model), method="mgvi", spec="true", samples=24)
    for result in reconstruct_scenes([s for s in scenes if s.name != "wide"][:2], options):
        mode = results[result.name]
        assert result.status is Status.CONVERGED
        assert result.diagnostics["rounds"] >= 2
        assert result.diagnostics["cg_residual"] < 0.05
        # Poisson counts of some hundred quanta over the run: the mean lies within a fraction of the width of the mode.
        assert np.sqrt(np.mean(((result.x_hat - mode.x_hat) / mode.x_std) ** 2)) < 0.3
        assert np.median(result.x_std / mode.x_std) == pytest.approx(1, abs=0.15)
        np.testing.assert_allclose(result.spec_correlation, 0, atol=1e-6)


def test_mgvi_carries_the_uncertainty_of_the_chain(scenes, static_model):
    """Of a static image the data know the drift badly only where the calibration does; its share is in the map."""
    options = ReconstructOptions(model=str(static_model), method="mgvi", samples=24)
    # Two scenes, so that the program compiled for the test above serves.
    result, _ = reconstruct_scenes([s for s in scenes if s.name != "wide"][:2], options)
    assert result.status is Status.CONVERGED
    assert 0 < result.diagnostics["variance_share_of_chain"]["gain_drift"] < 1
    assert np.abs(result.spec_correlation[2]).max() > 0.05
    # The correlations belong to the x_std of the file, which the residuals have corrected.
    assert result.diagnostics["variance_factor"] != 1
    shares = np.mean(result.spec_correlation**2 * result.x_std**2, axis=(1, 2, 3)) / np.mean(result.x_std**2)
    told = result.diagnostics["variance_share_of_chain"]
    assert dict(zip(SPEC_NAMES, shares, strict=True)) == pytest.approx(told, rel=1e-3)


def test_every_scene_comes_back_whatever_its_shape(scenes, results):
    assert set(results) == {scene.name for scene in scenes}
    for scene in scenes:
        assert results[scene.name].x_hat.shape == scene.y.shape


def test_a_users_own_model_is_reconstructed(scenes, results):
    for scene in scenes:
        result = results[scene.name]
        assert result.status is Status.CONVERGED
        assert result.diagnostics["model"] == "static"
        assert np.isfinite(result.x_hat).all()
        assert result.x_std.min() > 0
        # All frames of this model show one image, and six frames of counts show it better than one.
        np.testing.assert_allclose(result.x_hat, np.broadcast_to(result.x_hat[0], scene.y.shape))
        raw = PUBLISHED_OPERATOR.invert_static(jax.numpy.asarray(scene.y), scene.acquisition, scene.true_spec)
        assert psnr(result.x_hat, scene.x_true) > psnr(raw, scene.x_true)


def test_gaussian_observations_are_reconstructed(scenes, results, tmp_path):
    path = write_model(tmp_path, "gaussian", "Normal(rate, jnp.sqrt(jnp.maximum(data.counts, 1.0)))")
    (result,) = reconstruct_scenes(scenes[:1], ReconstructOptions(model=str(path), spec="true", batch=1))
    assert result.status is Status.CONVERGED
    # At tens of counts a pixel the Gaussian noise model is close to the Poisson one.
    assert np.abs(result.x_hat - results[result.name].x_hat).mean() < 0.02
    assert np.median(result.x_std / results[result.name].x_std) == pytest.approx(1, abs=0.3)


def test_the_answer_does_not_depend_on_the_chunk(one_by_one, results):
    for name, alone in one_by_one.items():
        check_same(alone, results[name])


@pytest.mark.slow
def test_the_default_model_does_not_depend_on_the_chunk_either(sequences, blind):
    """Four rounds of local scales amplify whatever two chunks compute differently."""
    for alone in reconstruct_scenes(sequences, ReconstructOptions(method="map", batch=1)):
        check_same(alone, blind[alone.name])


def test_scattered_quanta_widen_the_deviation(sequences, blind):
    """Scatter adds noise and no signal: at half the quanta scattered the error grows, and the deviation with it."""
    scattered = []
    for scene in sequences:
        acquisition = eqx.tree_at(lambda a: a.scatter_fraction, scene.acquisition, 0.5)
        rate = PUBLISHED_OPERATOR(jax.numpy.asarray(scene.x_true), scene.true_spec, acquisition)
        counts = np.random.default_rng(0).poisson(np.asarray(rate)).astype(np.float32)
        scattered.append(replace(scene, y=counts, acquisition=acquisition))
    results = reconstruct_scenes(scattered, ReconstructOptions(method="map", batch=2))
    for scene, result in zip(scattered, results, strict=True):
        assert result.name == scene.name
        z = (result.x_hat - scene.x_true) / result.x_std
        assert 0.5 < np.sqrt(np.mean(z**2)) < 1.4
        assert result.x_std.mean() > 1.1 * blind[scene.name].x_std.mean()


def test_a_known_chain_may_lie_outside_its_ranges(scenes, static_model):
    """The nominal chain is all offsets zero, whether or not the ranges hold them."""
    options = ReconstructOptions(model=str(static_model), spec="nominal", batch=1)
    inside = scenes[0]
    apart = replace(inside, ranges=SpecRanges(np.float32([2, 1, 0.2]), np.float32([10, 6, 1])))
    results = list(reconstruct_scenes([inside, apart], options))
    assert results[1].spec.as_dict() == dict.fromkeys(SPEC_NAMES, 0.0)
    check_same(results[1], results[0])


def test_a_known_chain_is_taken_as_it_is(scenes, results):
    for scene in scenes:
        result = results[scene.name]
        assert result.spec.as_dict() == pytest.approx(scene.true_spec.as_dict())
        assert result.spec_std.as_dict() == dict.fromkeys(SPEC_NAMES, 0.0)
        assert set(result.diagnostics["variance_share_of_chain"].values()) == {0.0}
        assert all("taken as known" in text for text in result.diagnostics["identifiability"].values())


def test_progress_counts_scenes(scenes, results, progress):
    assert progress.totals == [len(scenes)]
    done = [amount for amount, _ in progress.updates]
    assert done == sorted(done)
    assert done[-1] == len(scenes)
    assert {1, 2, 3, 4, 5} <= set(done)
    for scene in scenes:
        facts = results[scene.name].diagnostics
        last = [note for _, note in progress.updates if scene.name in note][-1]
        assert last == (
            f"{scene.name}: converged after {facts['iterations']} iterations, mean squared residual "
            f"{facts['mean_squared_residual']:.3g} (photon noise alone: 1)"
        )
        rate = expected_counts(results[scene.name].x_hat, results[scene.name].spec, scene.acquisition)
        assert facts["mean_squared_residual"] == pytest.approx(np.mean((scene.y - rate) ** 2 / rate), rel=1e-4)


@pytest.mark.parametrize(
    ("field", "value"), [("attenuation_scale", 1e-6), ("attenuation_scale", 1e3), ("photons_per_pixel", 1e-30)]
)
def test_a_scene_without_information_is_its_prior_and_says_so(scenes, static_model, field, value):
    """The posterior of the model is its prior, sd 0.2 in every pixel; the same scene at a real dose has converged."""
    protocol = eqx.tree_at(lambda a: getattr(a, field), scenes[0].acquisition, value)
    counts = np.random.default_rng(0).poisson(expected_counts(scenes[0].x_true, Spec(), protocol))
    scene = replace(scenes[0], y=counts.astype(np.float32), acquisition=protocol)
    progress = Recorder()
    options = ReconstructOptions(model=str(static_model), spec="nominal")
    (result,) = reconstruct_scenes([scene], options, progress=progress)
    assert result.status is Status.PRIOR_ONLY
    assert np.sqrt(np.mean(result.x_std**2)) == pytest.approx(0.2, rel=0.05)  # of random probes
    assert result.diagnostics["information_in_counts"] < 0.1
    assert progress.updates[-1][1] == "sample_00: prior only: the counts hold no information about this scene"
    assert Outcome((), {}, prior_only=(result.name,)).exit_code == 1


def test_results_carry_the_protocol_of_their_scene(scenes, results):
    for scene in scenes:
        assert results[scene.name].nominal == scene.acquisition.as_dict()
        assert results[scene.name].prior_ranges == scene.ranges.as_dict()
        assert results[scene.name].frame_time_ms == pytest.approx(1000 / 30)


def test_a_second_run_of_a_shape_compiles_nothing(scenes, one_by_one, static_model):
    before = len(traces(static_model))
    alone = [scene for scene in scenes if scene.name != "wide"][:2]
    options = ReconstructOptions(model=str(static_model), spec="true", batch=1)
    again = by_name(reconstruct_scenes(alone, options))
    assert len(traces(static_model)) == before
    for name, result in again.items():
        np.testing.assert_array_equal(result.x_hat, one_by_one[name].x_hat)
        np.testing.assert_array_equal(result.x_std, one_by_one[name].x_std)


def test_a_new_model_costs_few_traces_and_few_programs(scenes, one_by_one, tmp_path, caplog):
    model = write_model(tmp_path, "fresh", "Poisson(rate)")
    options = ReconstructOptions(method="map", model=str(model), spec="true", batch=1, held_out=0.0)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        (result,) = reconstruct_scenes(scenes[:1], options)
    np.testing.assert_array_equal(result.x_hat, one_by_one[result.name].x_hat)
    # One trace checks the layout and one gives the values, which the check of the rate may see with other types.
    assert len(traces(model)) <= 3
    programs = [record.message for record in caplog.records if record.message.startswith("Compiling")]
    assert any("batched" in program for program in programs)
    assert len(programs) <= 6, programs


def test_chunks_of_one_shape_share_a_trace(scenes, one_by_one, static_model):
    chunks = reconstruct_scenes(
        [s for s in scenes if s.name != "wide"], ReconstructOptions(model=str(static_model), spec="nominal", batch=1)
    )
    first = next(chunks)
    before = len(traces(static_model))
    rest = list(chunks)
    assert len(rest) == 3
    assert len(traces(static_model)) == before
    # The nominal chain is all offsets zero, and another chain than the true one gives another image.
    assert first.spec.as_dict() == dict.fromkeys(SPEC_NAMES, 0.0)
    assert np.abs(first.x_hat - one_by_one[first.name].x_hat).max() > 1e-4


def test_a_single_frame_keeps_the_priors_of_its_chain():
    frame = simulate_scene(5, replace(OPTIONS, frames=1), name="frame")
    (result,) = reconstruct_scenes([frame], ReconstructOptions())
    assert result.x_hat.shape == result.x_std.shape == (24, 24)
    assert result.diagnostics["model"] == "single_frame"
    assert np.isfinite(result.x_hat).all()
    assert result.x_std.min() > 0
    for name, (low, high) in TIERS["public"].items():
        assert getattr(result.spec, name) == pytest.approx((low + high) / 2, abs=1e-3)
        assert getattr(result.spec_std, name) == pytest.approx((high - low) / np.sqrt(12), rel=1e-2)
        assert "not determined by these data" in result.diagnostics["identifiability"][name]
    raw = PUBLISHED_OPERATOR.invert_static(jax.numpy.asarray(frame.y), frame.acquisition, Spec())
    assert psnr(result.x_hat, frame.x_true) > psnr(raw, frame.x_true)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "gibbs"}, "method is 'gibbs'; expected one of learned, map, stream, mgvi"),
        ({"samples": 0}, "samples is 0; expected a positive number of mirrored pairs"),
        ({"spec": "guessed"}, "spec is 'guessed'; expected one of calibrated, joint, nominal, true"),
        ({"batch": 0}, "batch is 0; expected a positive number of scenes"),
        ({"batch": -2}, "batch is -2; expected a positive number of scenes"),
        ({"model": "nothing"}, "model is 'nothing'; expected one of"),
    ],
)
def test_bad_options_are_refused_before_any_work(scenes, changes, message):
    with pytest.raises(ValueError, match=message):
        reconstruct_scenes(scenes, ReconstructOptions(**changes))


def test_a_true_chain_needs_a_truth(scenes):
    unknown = replace(scenes[0], true_spec=None)
    with pytest.raises(ValueError, match="spec is 'true', but sample_00 has no true_spec"):
        reconstruct_scenes([unknown, scenes[1]], ReconstructOptions(spec="true"))


def test_a_model_outside_the_protocol_is_refused_before_any_work(scenes, tmp_path):
    path = tmp_path / "half.py"
    path.write_text("def model(data):\n    pass\n")
    with pytest.raises(ValueError, match="model half: no deterministic site 'x'"):
        reconstruct_scenes(scenes, ReconstructOptions(model=str(path)))


def test_no_scenes_give_no_results():
    recorder = Recorder()
    assert list(reconstruct_scenes([], ReconstructOptions(), progress=recorder)) == []
    assert recorder.totals == [0]


def test_a_model_that_cannot_run_is_named(scenes):
    with pytest.raises(
        ValueError, match=r"model single_frame: cannot run on counts of shape \(6, 24, 24\): "
    ) as caught:
        reconstruct_scenes(scenes, ReconstructOptions(model="single_frame"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("batch", [None, 1, 3, 100])
@pytest.mark.parametrize("scenes_of_shape", [1, 2, 7])
def test_chunks_fill_the_devices_and_no_more(scenes_of_shape, batch):
    devices = jax.local_device_count()
    size = chunk_size((6, 24, 24), scenes_of_shape, batch)
    assert size % devices == 0
    assert 1 <= size < scenes_of_shape + devices
    if batch is not None:
        assert size < batch + devices
