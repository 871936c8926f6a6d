"""Laws of the step of a stream: what it estimates, what it notices, and that its state does not grow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.data.acquisition import Acquisition
from fluorojax.physics import ChargeReleaseLag
from fluorojax.streaming import events_of, late, start, step
from fluorojax.streaming.bands import NOISE, pool, split
from fluorojax.streaming.state import without_lag

SHAPE = (24, 24)
ACQUISITION = Acquisition(photons_per_pixel=400.0, attenuation_scale=2.0)
LEVEL = 100.0  # quanta of the still scene


def still(frames, seed=0, *, drift=0.0, level=LEVEL):
    """Counts of a scene at rest with a gain drift in %/frame."""
    rates = level * (1 + drift / 100) ** np.arange(frames)
    return np.random.default_rng(seed).poisson(rates[:, None, None], (frames, *SHAPE)).astype(np.float32)


def play(state, counts, times=None):
    """All results of a run, and the events by frame."""
    results, events, before = [], {}, None
    for index, frame in enumerate(counts):
        elapsed = 0.0 if times is None or before is None else float(times[index] - before)
        before = None if times is None else times[index]
        state, x, sd = step(state, frame, elapsed)
        results.append((np.asarray(x), np.asarray(sd)))
        if found := events_of(state.news, index, period_ms=float(state.clock.period)):
            events[index] = found
    return state, results, events


def test_the_bands_add_up_and_have_the_noise_that_is_stated():
    impulse = jnp.zeros((64, 64)).at[32, 32].set(1.0)
    bands = split(impulse)
    np.testing.assert_allclose(sum(bands), impulse, atol=1e-6)
    np.testing.assert_allclose([float(jnp.sum(band**2)) for band in bands], NOISE, rtol=1e-4)


def test_pooling_is_the_mean_over_a_window():
    image = jnp.asarray(np.random.default_rng(0).normal(size=(40, 40)).astype(np.float32))
    np.testing.assert_allclose(pool(image, 2)[20, 19], jnp.mean(image[14:27:2, 13:26:2]), rtol=1e-5, atol=1e-6)


def test_lag_is_removed_exactly_without_noise():
    exposed = np.random.default_rng(1).uniform(10, 50, (6, 4, 4)).astype(np.float32)
    period, delay, tau = 25.0, 20.0, 12.0
    read, _ = ChargeReleaseLag().scan(jnp.asarray(exposed), tau, period, delay)
    kept, held = np.exp(-period / tau), np.exp(-delay / tau)
    trapped = held / (1 - kept) * read[0]
    for frame, truth in zip(read, exposed, strict=True):
        found, trapped = without_lag(frame, trapped, kept, held)
        np.testing.assert_allclose(found, truth, rtol=1e-4)


@pytest.mark.slow
def test_a_step_is_the_same_alone_and_in_a_whole_run():
    counts = still(5)
    state = start(ACQUISITION, SHAPE)

    def body(carry, frame):
        carry, x, sd = step(carry, frame)
        return carry, (x, sd)

    _, (x, sd) = jax.lax.scan(body, state, jnp.asarray(counts))
    _, results, _ = play(state, counts)
    for index, (mine, error) in enumerate(results):
        np.testing.assert_allclose(mine, x[index], atol=2e-5)
        np.testing.assert_allclose(error, sd[index], rtol=1e-3, atol=1e-6)


def test_the_state_neither_grows_nor_asks_for_another_program():
    state = start(ACQUISITION, SHAPE)
    state, _, _ = step(state, still(1)[0], 0.0)
    programs = step._cache_size()

    def layout(tree):
        return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]

    before = layout(state)
    state, _, _ = play(state, still(40))
    assert layout(state) == before
    assert step._cache_size() == programs


def test_what_is_at_rest_is_averaged_and_covered():
    truth = -np.log(LEVEL / 400) / 2
    _, results, events = play(start(ACQUISITION, SHAPE, drift_range=(-1e-3, 1e-3)), still(30))
    assert not events
    x, sd = results[-1]
    single = 1 / (2 * np.sqrt(LEVEL))
    assert np.sqrt(np.mean((x - truth) ** 2)) < 0.3 * single
    assert 0.8 < np.mean(np.abs(x - truth) < 1.645 * sd) <= 1.0


def test_the_standard_deviation_rises_where_the_scene_moves():
    counts = still(14)
    counts[13, 6:14, 6:14] = np.random.default_rng(3).poisson(0.6 * LEVEL, (8, 8))
    _, results, _ = play(start(ACQUISITION, SHAPE), counts)
    before, after = results[12][1], results[13][1]
    assert after[8:12, 8:12].mean() > 1.5 * before[8:12, 8:12].mean()
    new = -np.log(0.6 * LEVEL / 400) / 2
    assert abs(results[13][0][8:12, 8:12].mean() - new) < 0.08


def test_the_drift_is_found_with_an_error_that_shrinks():
    state = start(ACQUISITION, SHAPE)
    spreads = []
    counts = still(40, 5, drift=0.5)
    for chunk in (counts[:10], counts[10:20], counts[20:]):
        state, _, _ = play(state, chunk)
        mean, std = map(float, state.gain_drift)
        spreads.append(std)
    assert abs(mean - 0.5) < 3 * std
    assert std < 0.05
    assert spreads == sorted(spreads, reverse=True)


def test_a_step_of_dose_is_told_and_taken_out():
    rates = jnp.repeat(jnp.asarray([LEVEL, 2 * LEVEL]), jnp.asarray([10, 6]))
    read, _ = ChargeReleaseLag().scan(rates, 11.5, 1000 / 30, 1000 / 30)  # the lag that the stream assumes
    counts = np.random.default_rng(9).poisson(np.asarray(read)[:, None, None], (16, *SHAPE)).astype(np.float32)
    state, results, events = play(start(ACQUISITION, SHAPE, drift_range=(-0.01, 0.01)), counts)
    assert list(events) == [10]
    (event,) = events[10]
    assert event.kind == "dose"
    assert abs(event.value - 2) < 4 * event.std < 0.2
    known = float(state.gain.log_gain_variance) ** 0.5
    assert abs(results[-1][0].mean() - results[9][0].mean()) < 3 * known / 2 + 0.002
    assert 0.001 < known < 0.02
    assert results[-1][1].mean() < 1.2 * results[9][1].mean()


def test_missing_frames_are_told_and_do_not_bend_the_drift():
    times = np.arange(40) * 1000 / 30
    kept = np.array([index for index in range(40) if index not in (12, 20, 21)])
    counts = still(40, 6, drift=0.5)
    state, _, events = play(start(ACQUISITION, SHAPE), counts[kept], times[kept])
    assert [(event.kind, event.value) for found in events.values() for event in found] == [
        ("missing", 1),
        ("missing", 2),
    ]
    mean, std = map(float, state.gain_drift)
    assert abs(mean - 0.5) < 3 * std < 0.3


def test_a_new_frame_rate_is_told_once():
    times = np.cumsum([0, *[33.3] * 5, *[66.7] * 6])
    _, _, events = play(start(ACQUISITION, SHAPE), still(len(times)), times)
    kinds = [event.kind for found in events.values() for event in found]
    assert kinds == ["missing", "rate"]
    assert abs(events[7][0].value - 15) < 0.1


def test_a_moved_view_is_told():
    rng = np.random.default_rng(0)
    views = [rng.uniform(20, 300, (6, 6)).repeat(4, 0).repeat(4, 1) for _ in range(2)]
    counts = rng.poisson([views[0]] * 5 + [views[1]] * 3).astype(np.float32)
    _, results, events = play(start(ACQUISITION, SHAPE), counts)
    assert [event.kind for event in events[5]] == ["view"]
    truth = -np.log(views[1] / 400) / 2
    assert np.sqrt(np.mean((results[5][0] - truth) ** 2)) < 0.1  # the view before differs by 0.5


def test_a_smoother_is_late_and_better():
    counts, truth = still(6, 8), -np.log(LEVEL / 400) / 2
    state, results, _ = play(start(ACQUISITION, SHAPE, delay=2, drift_range=(-1e-3, 1e-3)), counts)
    smoothed = late(state, 2)
    np.testing.assert_allclose(results[-1][0], smoothed[0], rtol=1e-5)
    _, causal, _ = play(start(ACQUISITION, SHAPE, drift_range=(-1e-3, 1e-3)), counts[:4])
    assert np.mean((smoothed[0] - truth) ** 2) < np.mean((causal[3][0] - truth) ** 2)
    assert smoothed[1].mean() < causal[3][1].mean()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"tier": "other"}, "tier is 'other'"),
        ({"delay": 3}, "delay is 3"),
        ({"drift_range": (1.0, 0.0)}, "drift_range is 1 to 0"),
        ({"lag": -20.0}, "expected a positive sum"),
        ({"shape": (3, 9)}, "shape is (3, 9)"),
    ],
)
def test_bad_settings_are_named(arguments, named):
    with pytest.raises(ValueError, match=named.replace("(", r"\(").replace(")", r"\)")):
        start(ACQUISITION, **{"shape": SHAPE, **arguments})


@pytest.mark.parametrize("level", [3.0, 20.0])
def test_electronic_noise_moves_nothing_and_widens_the_intervals(level):
    sigma, rng = 3.0, np.random.default_rng(8)
    counts = still(20, seed=7, level=level) + (sigma * rng.standard_normal((20, *SHAPE))).astype(np.float32)
    acquisition = Acquisition(photons_per_pixel=4.0 * level, attenuation_scale=3.0, electronic_noise=sigma)
    _, results, _ = play(start(acquisition, SHAPE), counts)
    x, sd = results[-1]
    truth = np.log(4.0) / 3.0
    assert abs(np.median(x - truth)) * 3.0 < 0.08
    assert np.mean(np.abs(x - truth) < 1.645 * sd) > 0.8
    _, quiet, _ = play(start(ACQUISITION, SHAPE), still(20, seed=7, level=level))
    assert sd.mean() * 3.0 > quiet[-1][1].mean() * 2.0
