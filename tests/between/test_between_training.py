"""Training of the network between frames, small: examples, augmentation, resumption, calibration."""

import jax
import numpy as np
import pytest

from fluorojax.between import examples
from fluorojax.between.examples import SlowRun, collate, draw_example, example, read_slow_runs, write_slow_runs
from fluorojax.between.network import BetweenNetwork
from fluorojax.between.training import BetweenOptions, fit_between, measure, train_between
from fluorojax.between.weights import load_between
from fluorojax.learned.inference import LearnedPosterior
from fluorojax.learned.scenes import CleanSequence, write_shard

OPTIONS = BetweenOptions(steps=2, batch=2, crop=16, every=1, warmup=1)


def slow(seed=0, frames=3, stride=2, size=16, noise=0.05):
    rng = np.random.default_rng(seed)
    y, x = np.indices((size, size))
    steps = (frames - 1) * stride + 1
    truth = np.stack([2.0 + np.exp(-((y - 8) ** 2 + (x - 4 - t) ** 2) / 8.0) for t in range(steps)])
    mean = truth[::stride] + noise * rng.normal(size=(frames, size, size))
    flow = np.zeros((frames - 1, stride - 1, 2, size, size))
    flow[:, :, 1] = stride
    std = np.full(mean.shape, noise)
    return SlowRun(*(v.astype(np.float16) for v in (mean, std, truth, flow)))


def test_examples_are_images_between_frames():
    run = slow(frames=4, stride=3)
    near, truth = example(run, 0, 1)
    assert near.share == pytest.approx(1 / 3)
    assert np.asarray(near.beyond).tolist() == [0, 1]
    np.testing.assert_array_equal(truth, run.truth[1].astype(np.float32))
    np.testing.assert_array_equal(np.asarray(near.frames)[0], np.asarray(near.frames)[1])
    near, truth = example(run, 2, 2)
    assert np.asarray(near.beyond).tolist() == [1, 0]
    np.testing.assert_array_equal(truth, run.truth[8].astype(np.float32))


@pytest.mark.parametrize("seed", range(8))
def test_augmentation_keeps_motion_and_images_together(seed):
    """What stands at p at the share u was at p − u·flow in the frame before, also in a mirror and in reversed time."""
    run = slow(noise=1e-3)
    near, truth = draw_example(np.random.default_rng(seed), [run], 16)
    flow, first = np.asarray(near.flow), np.asarray(near.frames)[1]
    row, column = np.unravel_index(truth.argmax(), truth.shape)
    was = np.rint(np.array([row, column]) - float(near.share) * flow[:, row, column]).astype(int)
    assert first[tuple(was)] == pytest.approx(truth.max(), abs=0.02)


def test_a_run_continues_and_writes_weights(tmp_path):
    runs, output, told = [slow(i, frames=4) for i in range(3)], tmp_path / "b.npz", []

    def train():
        kept = {"validation": runs, "calibration": runs}
        return train_between(runs, output, OPTIONS, report=lambda share, line: told.append(line), **kept)

    found = train()
    assert np.isfinite(found.psnr)
    assert load_between(output).recipe["steps"] == 2
    assert "step 2" in told[-1]
    train()
    assert load_between(output).recipe["steps"] == 4
    assert "coverage" in found.sentence()


def test_the_calibration_mends_intervals_that_are_too_narrow():
    runs = [slow(i, frames=5, noise=0.05) for i in range(4)]
    wrong = [SlowRun(run.mean, (run.std / 1.5).astype(np.float16), run.truth, run.flow) for run in runs]
    network = BetweenNetwork(jax.random.key(1))
    before, after = measure(network, wrong), measure(fit_between(network, wrong), wrong)
    assert abs(after.coverage - 0.9) < abs(before.coverage - 0.9)
    assert 0.85 < after.coverage < 0.95
    assert after.psnr == pytest.approx(before.psnr, abs=1e-4)


def test_runs_are_made_once_and_read_again(tmp_path, monkeypatch):
    y, x = np.indices((96, 96))
    depth = np.stack([3.0 + (np.hypot(y - 48, x - 30 - t) < 9) for t in range(16)]).astype(np.float32)
    write_shard(tmp_path / "shard_000000_0000000.npz", [CleanSequence(depth, depth, 30.0, "body")], seed=0, first=0)
    seen = []

    def fake(network, counts, protocol, mean, std, **options):
        seen.append(protocol["frame_time_ms"])
        depth = -np.log((counts + 0.5) / protocol["photons_per_pixel"])
        return LearnedPosterior(depth, np.full_like(depth, 0.1), np.zeros((3, *depth.shape), np.float32))

    monkeypatch.setattr(examples, "posterior", fake)
    monkeypatch.setattr(examples, "flow_between", lambda a, *rest: np.zeros((2, *a.shape), np.float32))
    for _ in range(2):
        write_slow_runs(tmp_path, tmp_path / "made", None, seed=3)
    assert len(seen) == 1
    assert seen[0] > 60.0
    (run,) = read_slow_runs(tmp_path / "made")
    assert len(run.truth) == (len(run.mean) - 1) * run.stride + 1
    near, truth = collate([example(run, 0, 1)])
    assert near.frames.shape == (1, 4, 96, 96)
    assert truth.shape == (1, 96, 96)
    with pytest.raises(ValueError, match="no shards of training sequences"):
        write_slow_runs(tmp_path / "made" / "none", tmp_path / "x", None, seed=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no runs"):
        read_slow_runs(tmp_path / "empty")
