"""The learned peers: registered, trainable, of the structure that their papers describe. The networks are random."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learned_inputs import MEAN, PROTOCOL, STD

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec
from fluorojax.learned.data import acquire, collate
from fluorojax.learned.features import BLOCK, CHANNELS, CONDITIONS
from fluorojax.learned.inference import spec_state
from fluorojax.learned.losses import loss
from fluorojax.learned.networks import UNet, check_architecture
from fluorojax.learned.peers import PEERS
from fluorojax.learned.peers.diffusion import Diffusion, noise_levels
from fluorojax.learned.peers.dncnn import DnCNN
from fluorojax.learned.peers.red_cnn import RedCnn
from fluorojax.learned.peers.restormer import Depthwise, Restormer, TransposedAttention
from fluorojax.learned.peers.swinir import SwinIR, WindowAttention, apart, image_of, windows_of
from fluorojax.learned.peers.unrolled import Unrolled
from fluorojax.learned.size import operations, weight_count
from fluorojax.physics.operator import PUBLISHED_OPERATOR

TINY = {
    "dncnn": lambda key: DnCNN(key, width=4, depth=4),
    "red-cnn": lambda key: RedCnn(key, width=4),
    "restormer": lambda key: Restormer(key, widths=(4, 4), blocks=(1, 1, 1), heads=(1, 2)),
    "swinir": lambda key: SwinIR(key, width=4, groups=1, layers=2, heads=2),
    "unrolled": lambda key: Unrolled(key, steps=3, width=4),
    "diffusion": lambda key: Diffusion(key, widths=(4, 4), encode=(1, 0), decode=(1,), draws=3, steps=3),
}


def random_network(name, seed=0):
    """A tiny network with weights from NumPy: JAX would compile a program for the shape of each."""
    return filled(np.random.default_rng(seed), TINY[name])


def filled(rng, build):
    shapes = eqx.filter_eval_shape(build, jax.random.key(0))
    fill = lambda leaf: jnp.asarray(0.1 * rng.standard_normal(leaf.shape), leaf.dtype)  # noqa: E731
    return jax.tree.map(lambda v: fill(v) if isinstance(v, jax.ShapeDtypeStruct) else v, shapes)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    depth = np.stack([2.0 + np.add.outer(np.arange(16), np.arange(16) + t) / 16 for t in range(6)]).astype(np.float32)
    run = acquire(rng, depth, 0 * depth, photons=400.0, frame_time_ms=33.3)
    return jax.tree.map(jnp.asarray, collate(None, [run], 2))


def inputs(seed=0, size=16):
    rng = np.random.default_rng(seed)
    return normal(rng, 1, size, size, CHANNELS), normal(rng, 1, CONDITIONS)


def normal(rng, *shape):
    return jnp.asarray(rng.standard_normal(shape), jnp.float32)


def test_every_peer_is_an_architecture():
    assert set(TINY) == set(PEERS)
    for name in PEERS:
        check_architecture(name)


@pytest.mark.parametrize("name", ["restormer", "swinir"])
def test_every_weight_of_a_network_has_an_influence(name):
    network, (images, conditions) = random_network(name, 1), inputs(size=8)
    gradient = eqx.filter_jit(eqx.filter_grad(lambda n: jnp.sum(n.estimate(images, conditions) ** 2)))(network)
    idle = [path for path, leaf in jax.tree_util.tree_leaves_with_path(gradient) if not np.any(leaf)]
    assert not [jax.tree_util.keystr(path) for path in idle]


@pytest.mark.parametrize("name", ["unrolled", "diffusion"])
def test_a_step_down_the_gradient_lowers_the_loss(name, batch):
    """Of the two networks that :func:`fluorojax.learned.losses.loss` treats apart."""
    network = random_network(name, 1)

    @eqx.filter_jit
    def slope(network):
        return eqx.filter_value_and_grad(lambda n: loss(n, batch, jax.random.key(2))[0])(network)

    before, gradient = slope(network)
    rate = 0.003 / np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(gradient)))
    after, _ = slope(eqx.apply_updates(network, jax.tree.map(lambda g: -rate * g, gradient)))
    assert float(after) < float(before)
    assert all(np.any(g) for g in jax.tree.leaves(gradient)), "a weight has no influence"


def test_the_reach_of_shifted_windows_is_no_less_than_stated():
    network = random_network("swinir", 3)
    size = network.reach + 16
    size += -size % 8
    values, conditions = inputs(size=size)
    call = jax.jit(lambda v: network(v[:, :8], conditions)[0])
    differs = np.flatnonzero(np.any(call(values) != call(values.at[:, :, :8].add(30.0)), axis=(0, 1, 3)))
    assert 8 < differs.max() < 8 + network.reach


def test_networks_without_a_standard_deviation_say_so(batch):
    for name in TINY:
        network = random_network(name, 0)
        assert network.std_source == ("draws" if name == "diffusion" else "none")
    unet = eqx.filter_eval_shape(lambda key: UNet(key, (4, 4), (1, 0), (1,), hidden=4), jax.random.key(0))
    assert unet.std_source == "head"


def test_depthwise_is_a_convolution_of_each_channel():
    rng = np.random.default_rng(0)
    layer = eqx.filter_eval_shape(lambda key: Depthwise(key, 3), jax.random.key(0))
    layer, x = eqx.tree_at(lambda d: d.weight, layer, normal(rng, 9, 3)), normal(rng, 2, 6, 5, 3)
    numbers = ("NHWC", "HWIO", "NHWC")

    @jax.jit
    def both(x):
        kernel = layer.weight.reshape(3, 3, 1, 3)
        return layer(x), jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=3
        )

    np.testing.assert_allclose(*both(x), atol=1e-5)


def test_transposed_attention_does_not_know_where_a_pixel_is():
    """Without the depthwise mixing, equation 1 commutes with permutations of the pixels."""
    rng = np.random.default_rng(0)
    layer = filled(rng, lambda key: TransposedAttention(key, 8, 2))
    layer = eqx.tree_at(lambda a: a.mix.weight, layer, jnp.asarray(np.eye(9)[4][:, None] * np.ones(24), jnp.float32))
    x, order = rng.standard_normal((1, 4, 4, 8)).astype(np.float32), rng.permutation(16)
    mixed = lambda v: np.asarray(v).reshape(1, 16, 8)[:, order].reshape(1, 4, 4, 8)  # noqa: E731
    call = jax.jit(lambda v: layer(v))
    np.testing.assert_allclose(call(mixed(x)), mixed(call(x)), atol=1e-5)


def test_windows_partition_the_image_and_shifted_ones_do_not_wrap():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 8, 12, 4)).astype(np.float32)
    np.testing.assert_array_equal(image_of(windows_of(x), 8, 12), x)
    layer = filled(rng, lambda key: WindowAttention(key, 4, 2))
    changed = x + (np.arange(12) == 0)[:, None].astype(np.float32)
    call = jax.jit(lambda v: layer(v, 2))
    differs = np.flatnonzero(np.any(call(x) != call(changed), axis=(0, 1, 3)))
    assert differs.tolist() == [0, 1]
    assert not apart(8, 12, 2)[0].any()


def test_window_attention_without_scores_is_the_mean_of_the_window():
    rng = np.random.default_rng(0)
    layer = filled(rng, lambda key: WindowAttention(key, 4, 2))
    value = jnp.asarray(np.concatenate([np.zeros((4, 8)), np.eye(4)], axis=1)[None, None], jnp.float32)
    unit = jnp.asarray(np.eye(4)[None, None], jnp.float32)
    zeros = [jnp.asarray(np.zeros(v.shape), v.dtype) for v in (layer.bias, layer.project.bias, layer.merge.bias)]
    layer = eqx.tree_at(
        lambda a: (a.project.weight, a.merge.weight, a.bias, a.project.bias, a.merge.bias), layer, (value, unit, *zeros)
    )
    x = rng.standard_normal((1, 8, 8, 4)).astype(np.float32)
    found = np.asarray(windows_of(np.asarray(jax.jit(lambda v: layer(v, 0))(x))))
    np.testing.assert_allclose(found, np.broadcast_to(windows_of(x).mean(2, keepdims=True), found.shape), atol=1e-5)


def test_unrolled_steps_without_a_prior_raise_the_likelihood_of_the_valid_frames():
    """With proximal maps that pass everything, the network is gradient descent on the likelihood of the operator."""
    network = random_network("unrolled")
    bias = jnp.asarray(np.tile(np.repeat([30.0, 0.0], BLOCK), 4), jnp.float32)
    leaves = lambda n: [v for p in n.proximals for v in (p.leave.weight, p.leave.bias)]  # noqa: E731
    passing = [v for p in network.proximals for v in (jnp.asarray(np.zeros(p.leave.weight.shape), jnp.float32), bias)]
    network = eqx.tree_at(leaves, network, passing)
    network = eqx.tree_at(lambda n: n.log_steps, network, jnp.asarray(np.zeros(3), jnp.float32))
    spec = spec_state(PROTOCOL, MEAN, STD)
    known, acquisition = Spec(1.0, 1.0, 0.2), Acquisition.from_dict({**PROTOCOL, "attenuation_scale": 1.0})
    truth = np.broadcast_to(2.0 + 0.5 * np.sin(np.arange(8.0))[:, None, None], (8, 8, 8)).astype(np.float32)
    rates = jax.jit(lambda depth: PUBLISHED_OPERATOR(depth, known, acquisition))
    counts = np.random.default_rng(1).poisson(rates(truth)).astype(np.float32)
    solve = jax.jit(lambda c, frames: network.solve(c, frames, spec, jnp.float32(400.0)))

    def misfit(depth):
        rate = np.asarray(rates(depth))
        return np.mean(rate - counts * np.log(rate))

    exact = np.mean(counts - counts * np.log(np.maximum(counts, 1e-3)))
    level = np.broadcast_to(-np.log(counts.mean(0) / 400.0), counts.shape).astype(np.float32)
    assert misfit(solve(counts, 8)) - exact < 0.15 * (misfit(level) - exact)
    # Frames behind the run have no influence.
    spoilt = np.concatenate([counts[:6], np.full((2, 8, 8), 1e4, np.float32)])
    np.testing.assert_allclose(solve(spoilt, 6)[:6], solve(counts, 6)[:6], atol=1e-4)


def test_noise_levels_fall_to_zero():
    levels = noise_levels(6)
    assert len(levels) == 7
    assert (np.diff(levels) < 0).all()
    assert levels[-1] == 0


def test_draws_follow_the_key_and_give_the_stated_moments():
    network = random_network("diffusion")
    images, conditions = inputs(size=8)

    @jax.jit
    def all_of_them(images):
        draws = [network.draw(images, conditions, k) for k in jax.random.split(jax.random.key(0), network.draws)]
        # Equation 7: c_skip is one and c_out zero where σ is zero.
        clean = network.denoise(draws[0], jnp.full(1, 1e-4), images, conditions, draws[1])
        return jnp.stack(draws), network(images, conditions), clean

    draws, (mean, log_std), clean = jax.tree.map(np.asarray, all_of_them(images))
    np.testing.assert_allclose(clean, draws[0], rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(mean, draws.mean(0), rtol=1e-3, atol=1e-3)
    variance = (1 + 1 / len(draws)) * np.var(draws, axis=0, ddof=1)
    np.testing.assert_allclose(np.exp(2 * log_std), variance, rtol=0.02, atol=1e-4)
    assert np.abs(draws[0] - draws[1]).max() > 0.01


def test_a_network_with_draws_needs_a_key(batch):
    with pytest.raises(ValueError, match="key is None; expected a key"):
        loss(random_network("diffusion", 0), batch)


def test_operations_count_convolutions_and_products():
    """DnCNN in closed form: 2 × 2 pixels share a convolution, a block has four frames."""
    network = random_network("dncnn")
    layers = 9 * (4 * CHANNELS * 4 + 2 * 4 * 4 + 4 * 4 * BLOCK)
    assert operations(network) == pytest.approx(layers / 4 / BLOCK, rel=0.01)
    assert weight_count(network) == layers + CONDITIONS * 4 + 4 * 4 + 4 * BLOCK
    for name in TINY:
        assert operations(random_network(name, 0)) > 0
