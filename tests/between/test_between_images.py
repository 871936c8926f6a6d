"""Results at any times: exact at the frames, continuous, wider between them, for every method and size."""

from dataclasses import replace

import numpy as np
import pytest

from fluorojax.between.images import at_times, interpolate
from fluorojax.between.times import Place
from fluorojax.between.weights import SHIPPED, load_between
from fluorojax.data.reconstruction import QUANTILES, Reconstruction, Status
from fluorojax.data.spec import Spec

PERIOD = 100.0


def result(frames=4, size=(24, 20), **changes):
    rng = np.random.default_rng(0)
    y, x = np.indices(size, dtype=np.float64)
    images = [0.4 + 0.3 * np.exp(-((y - 12) ** 2 + (x - 5 - 3 * t) ** 2) / 8.0) for t in range(frames)]
    x_hat = (np.stack(images) + 0.005 * rng.normal(size=(frames, *size))).astype(np.float32)
    std = rng.uniform(0.005, 0.01, x_hat.shape).astype(np.float32)
    fields = {
        "name": "sample_00",
        "x_hat": x_hat,
        "x_std": std,
        "spec": Spec(),
        "spec_std": Spec(1.0, 1.0, 0.1),
        "spec_interval": {},
        "status": Status.CONVERGED,
        "seconds": 1.0,
        "spec_correlation": rng.uniform(-0.4, 0.4, (3, *x_hat.shape)).astype(np.float32),
        "x_quantiles": np.stack([x_hat + z * std for z in (-1.6, -0.7, 0.0, 0.7, 1.6)]).astype(np.float32),
        "nominal": {"frame_time_ms": PERIOD},
    }
    return Reconstruction(**{**fields, **changes})


@pytest.fixture(scope="module")
def found():
    return at_times(result(), np.array([0.0, 1e-3 * PERIOD, 50.0, 100.0, 250.0, 300.0]))


def test_at_the_frames_it_is_the_frame(found):
    frames = result()
    for image, frame in ((0, 0), (3, 1), (5, 3)):
        np.testing.assert_array_equal(found.x_hat[image], frames.x_hat[frame])
        np.testing.assert_array_equal(found.x_std[image], frames.x_std[frame])
        np.testing.assert_allclose(found.spec_correlation[:, image], frames.spec_correlation[:, frame], atol=1e-6)
        np.testing.assert_array_equal(found.x_quantiles[:, image], frames.x_quantiles[:, frame])
    assert found.x_quantiles.shape[0] == len(QUANTILES)


def test_it_is_continuous_at_the_frames(found):
    assert np.abs(found.x_hat[1] - found.x_hat[0]).max() < 0.02
    assert np.abs(np.log(found.x_std[1] / found.x_std[0])).max() < 0.35


def test_intervals_are_wider_where_something_moves(found):
    y, x = np.indices(found.x_hat.shape[1:])
    way = (np.abs(y - 12) < 3) & (x > 4) & (x < 9)
    still = (y > 20) | (y < 3)
    base = 0.5 * (result().x_std[0] + result().x_std[1])
    wider = found.x_std[2] / base
    assert wider[way].mean() > 1.5
    assert wider[way].mean() > 1.5 * wider[still].mean()


def test_the_result_says_when_its_images_are(found):
    assert found.times_ms.tolist() == [0.0, 0.1, 50.0, 100.0, 250.0, 300.0]
    assert found.frame_time_ms is None
    assert found.diagnostics["between"]["frames"] == 4
    assert at_times(result(), np.array([0.0, 50.0, 100.0])).frame_time_ms == 50.0
    assert found.at_frames() is None  # the frame at 200 ms is missing


def test_the_frames_are_found_again():
    frames = result()
    again = at_times(frames, np.arange(0.0, 301.0, 50.0)).at_frames()
    assert again.times_ms is None
    np.testing.assert_array_equal(again.x_hat, frames.x_hat)
    np.testing.assert_array_equal(again.x_std, frames.x_std)
    assert frames.at_frames() is frames


def test_tiles_do_not_show():
    network = load_between().network
    rng = np.random.default_rng(1)
    _, x = np.indices((16, 232))
    frames = (1.0 + 0.3 * np.sin(0.1 * x) + 0.02 * rng.normal(size=(2, 16, 232))).astype(np.float32)
    std = np.full_like(frames, 0.02)
    whole, tiled = (interpolate(network, frames, std, [Place(0, 0.4)], tile=tile) for tile in (232, 64))
    for a, b in zip(whole, tiled, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)


def test_a_method_without_standard_deviations_has_none_between():
    bare = replace(result(), x_std=None, spec_correlation=None, x_quantiles=None)
    found = at_times(bare, np.array([50.0]))
    assert found.x_std is None
    assert found.x_quantiles is None
    assert np.isfinite(found.x_hat).all()


def test_a_result_that_must_not_be_used_stays_one():
    frames = result()
    for bad in (replace(frames, status=Status.DIVERGED), replace(frames, x_hat=np.full_like(frames.x_hat, np.nan))):
        found = at_times(bad, np.array([0.0, 70.0]))
        np.testing.assert_array_equal(found.x_hat, bad.x_hat[[0, 1]])
        assert found.status is bad.status


@pytest.mark.parametrize(
    "changes",
    [{"x_hat": np.zeros((8, 8), np.float32)}, {"nominal": {}}, {"times_ms": np.arange(4.0)}],
    ids=["one frame", "no period", "times already"],
)
def test_what_has_no_frames_is_refused(changes):
    with pytest.raises(ValueError, match="expected the frames of a run"):
        at_times(result(**changes), np.array([0.0]))


def test_progress_is_told():
    told = []
    x = result()
    at_times(x, np.array([0.0, 50.0]), report=told.append)
    assert told == [1.0]


def test_weights_that_are_none_are_refused(tmp_path):
    missing = tmp_path / "none.npz"
    with pytest.raises(ValueError, match="no such file"):
        load_between(missing)
    from fluorojax.learned.weights import shipped_file

    with pytest.raises(ValueError, match="expected 'between'"):
        load_between(shipped_file())
    broken = tmp_path / "broken.npz"
    broken.write_bytes(SHIPPED.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"broken\.npz"):
        load_between(broken)
