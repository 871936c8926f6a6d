"""Training end to end on tiny networks: examples, losses, optimiser, checkpoints."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.learned import training
from fluorojax.learned.data import Library, acquire, batches, collate, draw_run
from fluorojax.learned.features import BLOCK, SPAN
from fluorojax.learned.losses import loss
from fluorojax.learned.networks import UNet, architecture, build_network
from fluorojax.learned.optimisers import orthogonalise
from fluorojax.learned.scenes import CleanSequence, write_shard
from fluorojax.learned.training import NotFiniteError, TrainOptions, train
from fluorojax.learned.weights import load_weights, read_arrays


@architecture("tiny")
def _tiny(key):
    return UNet(key, widths=(8, 8), encode=(1, 0), decode=(1,), hidden=4)


OPTIONS = TrainOptions(architecture="tiny", steps=4, every=2, patches=1, blocks=2, crop=16, warmup=1)


def moving_disc(frames=16, size=96):
    y, x = np.indices((size, size))
    depth = np.stack([3.0 + (np.hypot(y - 48, x - 30 - 2 * t) < 9) for t in range(frames)]).astype(np.float32)
    return CleanSequence(depth, depth + 0.01, 30.0, "body")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    write_shard(folder / "shard_000000_0000000.npz", [moving_disc()], seed=0, first=0)
    return folder


def test_runs_follow_the_dose_and_stay_consistent(folder):
    library = Library(folder).sequences
    means = [draw_run(np.random.default_rng(i), library, 32).counts.mean() for i in range(40)]
    assert 1 < min(means) < 12
    assert 120 < max(means) < 700


def test_posteriors_of_the_spec_are_consistent_with_its_truth():
    depth = np.full((3, 4, 4), 2.0, np.float32)
    taus = [
        acquire(np.random.default_rng(i), depth, 0 * depth, photons=1e3, frame_time_ms=33.0).spec for i in range(200)
    ]
    # The truth is the second uniform number of the generator.
    truth = [np.random.default_rng(i).uniform([2.5, 6.0], [19.5, 17.0])[1] for i in range(200)]
    z = [(t - float(c.tau_ms)) / float(c.tau_std) for t, c in zip(truth, taus, strict=True)]
    assert abs(np.mean(z)) < 0.25
    assert 0.8 < np.std(z) < 1.25


def test_batches_have_fixed_shapes(folder):
    batch = next(batches(np.random.default_rng(0), Library(folder), patches=2, blocks=3, crop=16))
    assert batch.counts.shape == (2, SPAN, 16, 16)
    assert batch.depth.shape == (2, 3, 16, 16, BLOCK)
    assert batch.weight.shape == (2, 3, BLOCK)


def test_loss_ignores_frames_behind_the_run(folder):
    run = draw_run(np.random.default_rng(0), Library(folder).sequences, 16)
    short = replace(run, counts=run.counts[:3], depth=run.depth[:3])
    batch = collate(None, [short], 1)
    network = build_network("tiny", jax.random.key(0))
    spoilt = eqx.tree_at(lambda b: b.depth, batch, batch.depth.copy())
    spoilt.depth[..., 3] = 1e6
    error = eqx.filter_jit(lambda some: loss(network, some)[1])
    one, other = (jax.tree.map(jnp.asarray, b) for b in (batch, spoilt))
    assert float(error(one)) == pytest.approx(float(error(other)))


def test_orthogonalise_makes_singular_values_alike():
    matrix = jax.random.normal(jax.random.key(0), (20, 8)) * jnp.linspace(0.1, 3.0, 8)
    for candidate in (matrix, matrix.T):
        values = np.linalg.svd(orthogonalise(candidate), compute_uv=False)
        assert values.min() > 0.5
        assert values.max() < 1.3


def test_training_writes_weights_continues_and_names_what_is_not_finite(folder, tmp_path):
    lines = []
    train(folder, tmp_path / "w.npz", OPTIONS, validation=folder, report=lambda share, line: lines.append(line))
    assert load_weights(tmp_path / "w.npz").recipe["steps"] == 4
    train(folder, tmp_path / "w.npz", OPTIONS, validation=folder)
    arrays, facts = read_arrays(tmp_path / "w.state.npz")
    assert facts["step"] == 8
    assert [point["step"] for point in facts["curve"]] == [2, 4, 6, 8]
    assert any("optimiser" in name for name in arrays)
    assert any("validation" in line for line in lines)
    with pytest.raises(ValueError, match=r"holds the architecture 'tiny'; expected 'unet'"):
        train(folder, tmp_path / "w.npz", TrainOptions(steps=1), validation=folder)
    kept = (tmp_path / "w.state.npz").read_bytes()
    spoilt = TrainOptions(**{**vars(OPTIONS), "learning_rate": float("nan")})
    with pytest.raises(NotFiniteError, match=r"not finite at or before step 10; the state of step 8 is kept"):
        train(folder, tmp_path / "w.npz", spoilt, validation=folder)
    assert (tmp_path / "w.state.npz").read_bytes() == kept


def test_training_starts_from_weights(folder, tmp_path):
    start = build_network("tiny", jax.random.key(9))
    state = training.initial_state(OPTIONS, start)
    np.testing.assert_array_equal(state.network.enter.weight, start.enter.weight)


def test_a_folder_without_shards_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no shards of training sequences"):
        train(tmp_path, tmp_path / "w.npz", OPTIONS, validation=tmp_path)
