"""The learned energy: its form, its training, its file, and the shipped model that uses it."""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.data.spec import Spec
from fluorojax.engines.map import solve_map
from fluorojax.learned.energy import (
    NOISE,
    RidgeEnergy,
    load_energy,
    save_energy,
    score_matching_loss,
    train_energy,
)
from fluorojax.learned.scenes import CleanSequence, write_shard
from fluorojax.models.loading import load_model
from fluorojax.runs.batches import scene_data
from fluorojax.simulation import SimulationOptions, simulate_scene

DEPTH = np.random.default_rng(0).normal(2.0, 0.3, (5, 12, 12)).astype(np.float32)


@pytest.fixture(scope="module")
def energy():
    return load_energy()


def test_the_energy_is_convex_and_blind_to_the_level(energy):
    other = np.random.default_rng(1).normal(2.0, 0.3, DEPTH.shape).astype(np.float32)
    ends = 0.5 * (energy(jnp.asarray(DEPTH)) + energy(jnp.asarray(other)))
    assert float(energy(jnp.asarray(0.5 * (DEPTH + other)))) <= float(ends)
    assert float(energy(jnp.asarray(DEPTH + 1.5))) == pytest.approx(float(energy(jnp.asarray(DEPTH))), rel=1e-3)
    assert float(energy(jnp.full((3, 8, 8), 4.0))) == pytest.approx(0.0, abs=1e-3)


def test_residuals_are_those_of_the_ridges_and_smooth_at_zero(energy):
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), energy)
        depth = jnp.asarray(DEPTH, jnp.float64)
        response = wide.responses(depth)
        weight, knee = (jnp.exp(v)[:, None, None, None] for v in (wide.log_weight, wide.log_knee))
        ridge = weight * knee**2 * (jnp.sqrt(1.0 + (response / knee) ** 2) - 1.0)
        assert float(wide(depth)) == pytest.approx(float(jnp.sum(ridge)), rel=1e-10)
        step = 1e-6 * jnp.asarray(np.random.default_rng(2).normal(size=DEPTH.shape))
        slope = jnp.vdot(jax.grad(wide)(depth), step)
        assert float(wide(depth + step) - wide(depth - step)) == pytest.approx(2.0 * float(slope), rel=1e-6)
    flat = jax.jacrev(lambda depth: energy.residuals(depth))(jnp.full((3, 5, 5), 2.0))
    assert np.isfinite(flat).all()


def test_score_matching_finds_the_energy_of_white_noise():
    """For clean images without detail the best energy removes as much noise as its filters can see."""
    start = RidgeEnergy(jax.random.key(0), filters=4)
    rng = np.random.default_rng(0)
    clean = jnp.zeros((4, 6, 16, 16))
    draw = lambda: jnp.asarray(rng.standard_normal(clean.shape), jnp.float32)  # noqa: E731
    found, noise = start, draw()
    slope = eqx.filter_jit(eqx.filter_value_and_grad(score_matching_loss))
    before = None
    for _ in range(60):
        loss, gradient = slope(found, clean, draw())
        before = float(loss) if before is None else before
        found = eqx.apply_updates(found, jax.tree.map(lambda g: -0.02 * jnp.sign(g), gradient))
    assert float(score_matching_loss(found, clean, noise)) < 0.6 * before


def test_training_is_the_same_for_a_seed_and_its_file_comes_back(tmp_path):
    rng = np.random.default_rng(3)
    depth = np.cumsum(rng.normal(0, 0.05, (9, 32, 32)), axis=2).astype(np.float32)
    write_shard(tmp_path / "shard_000001_0000000.npz", [CleanSequence(depth, depth, 15.0, "chest")], seed=1, first=0)
    lines = []
    first, recipe = train_energy(tmp_path, steps=3, seed=4, report=lambda share, line: lines.append((share, line)))
    again, _ = train_energy(tmp_path, steps=3, seed=4)
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True))
    assert (recipe["steps"], recipe["scenes"], recipe["noise"]) == (3, {"chest": 1}, NOISE)
    assert lines[-1][0] == 1.0
    save_energy(tmp_path / "mine.npz", first, recipe)
    back = load_energy(tmp_path / "mine.npz")
    np.testing.assert_array_equal(back.filters, first.filters)
    (tmp_path / "other.npz").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"other\.npz: not a file of weights"):
        load_energy(tmp_path / "other.npz")
    with pytest.raises(ValueError, match="no shards of training sequences"):
        train_energy(tmp_path / "nowhere")
    unet = Path(train_energy.__code__.co_filename).parent / "weights" / "unet.npz"
    with pytest.raises(ValueError, match="expected a ridge-energy"):
        load_energy(unet)


def test_the_shipped_model_denoises_a_scene():
    scene = simulate_scene(5, SimulationOptions(frames=4, size=24, photons=1500.0))
    spec = scene.true_spec
    assert spec is not None
    model, data = load_model("learned"), scene_data(scene, spec)
    assert set(model.latent_shapes(data)) == {"spec_base", "white"}
    known = Spec.from_dict({name: jnp.float32(value) for name, value in spec.as_dict().items()})
    found = jax.jit(lambda data, key: solve_map(model, data, known, jnp.zeros(3), key, samples=8))(
        data, jax.random.key(0)
    )
    raw = np.asarray(data.operator.invert_static(data.counts, data.acquisition, known))
    error = np.mean((np.asarray(found.x) - scene.x_true) ** 2)
    assert error < 0.2 * np.mean((raw - scene.x_true) ** 2)
    assert bool(found.minimum.converged)
    z = (np.asarray(found.x) - scene.x_true) / np.sqrt(np.asarray(found.noise_variance))
    assert 0.5 < np.sqrt(np.mean(z**2)) < 1.6
