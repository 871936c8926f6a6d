"""The learned peers: registered, trainable, of the structure that their papers describe. The networks are random."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec
from fluorojax.learned.data import acquire, collate
from fluorojax.learned.features import BLOCK, CHANNELS, CONDITIONS, correct_counts, run_level
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
PROTOCOL = {
    "photons_per_pixel": 400.0,
    "attenuation_scale": 5.0,
    "frame_time_ms": 33.3,
    "pulse_width_ms": 8.0,
    "lag_ms": 10.0,
    "readout_delay_ms": 33.3,
    "scatter_fraction": 0.0,
}
MEAN, STD = np.array([1.0, 1.0, 0.2]), np.array([2.0, 1.0, 0.1])


def random_network(name, seed=0):
    """A tiny network with weights from NumPy: JAX would compile a program for the shape of each."""
    rng = np.random.default_rng(seed)
    shapes = eqx.filter_eval_shape(TINY[name], jax.random.key(0))
    fill = lambda leaf: jnp.asarray(0.3 * rng.standard_normal(leaf.shape), leaf.dtype)  # noqa: E731
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


@pytest.mark.parametrize("name", ["dncnn", "red-cnn", "restormer", "swinir"])
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


@pytest.mark.parametrize("name", ["swinir", "unrolled"])
def test_the_reach_is_no_less_than_stated(name):
    network = random_network(name, 3)
    size = network.reach + 16
    size += -size % 8
    spec, conditions = spec_state(PROTOCOL, MEAN, STD), jnp.ones((1, CONDITIONS))
    if name == "unrolled":
        values = jax.random.poisson(jax.random.key(4), 20.0, (4, 8, size)).astype(jnp.float32)
    else:
        values = jax.random.normal(jax.random.key(4), (1, 8, size, CHANNELS))

    @jax.jit
    def call(values):
        if name == "unrolled":
            return network.solve(values, 4, spec, jnp.float32(400.0))
        return network(values, conditions)[0][0].transpose(2, 0, 1)

    changed = values.at[:, :, :8].add(30.0)
    differs = np.flatnonzero(np.any(call(values) != call(changed), axis=(0, 1)))
    assert 8 < differs.max() < 8 + network.reach


def test_networks_without_a_standard_deviation_say_so(batch):
    for name in TINY:
        network = random_network(name, 0)
        assert network.std_source == ("draws" if name == "diffusion" else "none")
    unet = eqx.filter_eval_shape(lambda key: UNet(key, (4, 4), (1, 0), (1,), hidden=4), jax.random.key(0))
    assert unet.std_source == "head"


def test_depthwise_is_a_convolution_of_each_channel():
    layer, x = Depthwise(jax.random.key(0), 3), normal(np.random.default_rng(0), 2, 6, 5, 3)
    kernel = layer.weight.reshape(3, 3, 1, 3)
    numbers = ("NHWC", "HWIO", "NHWC")
    expected = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=3)
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


def test_transposed_attention_does_not_know_where_a_pixel_is():
    """Without the depthwise mixing, equation 1 commutes with permutations of the pixels."""
    layer = TransposedAttention(jax.random.key(0), 8, 2)
    layer = eqx.tree_at(lambda a: a.mix.weight, layer, jnp.zeros((9, 24)).at[4].set(1.0))
    x = jax.random.normal(jax.random.key(1), (1, 4, 4, 8))
    order = jax.random.permutation(jax.random.key(2), 16)
    mixed = lambda v: v.reshape(1, 16, 8)[:, order].reshape(1, 4, 4, 8)  # noqa: E731
    np.testing.assert_allclose(layer(mixed(x)), mixed(layer(x)), atol=1e-5)


def test_windows_partition_the_image_and_shifted_ones_do_not_wrap():
    x = jax.random.normal(jax.random.key(0), (1, 8, 12, 4))
    np.testing.assert_array_equal(image_of(windows_of(x), 8, 12), x)
    layer = WindowAttention(jax.random.key(1), 4, 2)
    changed = x.at[:, :, 0].add(1.0)
    differs = np.flatnonzero(np.any(layer(x, 2) != layer(changed, 2), axis=(0, 1, 3)))
    assert differs.tolist() == [0, 1]
    assert not apart(8, 12, 2)[0].any()


def test_window_attention_without_scores_is_the_mean_of_the_window():
    layer = WindowAttention(jax.random.key(1), 4, 2)
    weight = jnp.concatenate([jnp.zeros((4, 8)), jnp.eye(4)], axis=1)[None, None]
    layer = eqx.tree_at(lambda a: (a.project.weight, a.merge.weight), layer, (weight, jnp.eye(4)[None, None]))
    x = jax.random.normal(jax.random.key(0), (1, 8, 8, 4))
    expected = jnp.mean(windows_of(x), axis=2, keepdims=True)
    np.testing.assert_allclose(windows_of(layer(x, 0)), jnp.broadcast_to(expected, (1, 4, 16, 4)), atol=1e-5)


def test_unrolled_steps_without_a_prior_raise_the_likelihood():
    """With proximal maps that pass everything, the network is gradient descent on the likelihood of the operator."""
    network = random_network("unrolled")
    bias = jnp.concatenate([jnp.full(BLOCK, 30.0), jnp.zeros(BLOCK)])
    network = eqx.tree_at(lambda n: n.log_steps, network, jnp.zeros(3))
    for k in range(3):
        leave = network.proximals[k].leave
        network = eqx.tree_at(
            lambda n, k=k: (n.proximals[k].leave.weight, n.proximals[k].leave.bias),
            network,
            (0 * leave.weight, jnp.tile(bias, 4)),
        )
    spec = spec_state(PROTOCOL, MEAN, STD)
    truth = 2.0 + 0.5 * jnp.sin(jnp.arange(8.0))[:, None, None] * jnp.ones((8, 8, 8))
    known, acquisition = Spec(1.0, 1.0, 0.2), Acquisition.from_dict({**PROTOCOL, "attenuation_scale": 1.0})
    counts = jax.random.poisson(jax.random.key(1), PUBLISHED_OPERATOR(truth, known, acquisition)).astype(jnp.float32)

    def misfit(depth):
        rate = PUBLISHED_OPERATOR(depth, known, acquisition)
        return float(jnp.mean(rate - counts * jnp.log(rate)))

    level = run_level(correct_counts(counts, spec), 8)
    start = jnp.broadcast_to(-jnp.log(level.mean / 400.0), truth.shape)
    found = jax.jit(lambda c: network.solve(c, jnp.int32(8), spec, jnp.float32(400.0)))(counts)
    exact = float(jnp.mean(counts - counts * jnp.log(jnp.maximum(counts, 1e-3))))
    assert misfit(found) - exact < 0.15 * (misfit(start) - exact)


def test_unrolled_ignores_frames_behind_the_run():
    network = random_network("unrolled")
    spec = spec_state(PROTOCOL, MEAN, STD)
    counts = jnp.asarray(np.random.default_rng(0).poisson(30.0, (8, 8, 8)), jnp.float32)
    solve = jax.jit(lambda c: network.solve(c, jnp.int32(6), spec, jnp.float32(400.0)))
    np.testing.assert_allclose(solve(counts.at[6:].set(1e4))[:6], solve(counts)[:6], atol=1e-4)


def test_noise_levels_fall_to_zero():
    levels = noise_levels(6)
    assert len(levels) == 7
    assert (np.diff(levels) < 0).all()
    assert levels[-1] == 0


def test_the_denoiser_leaves_a_residual_without_noise_alone():
    """Equation 7: c_skip is one and c_out zero where σ is zero; for large σ the answer is the network's alone."""
    network = random_network("diffusion", 0)
    images, conditions = inputs()
    residual = jax.random.normal(jax.random.key(1), (1, 16, 16, BLOCK))
    found = network.denoise(residual, jnp.array([1e-4]), images, conditions, residual)
    np.testing.assert_allclose(found, residual, atol=1e-3)


def test_draws_follow_the_key_and_give_the_stated_moments():
    network = random_network("diffusion", 0)
    images, conditions = inputs()
    draws = [network.draw(images, conditions, k) for k in jax.random.split(jax.random.key(0), network.draws)]
    mean, log_std = network(images, conditions)
    np.testing.assert_allclose(mean, np.mean(draws, axis=0), atol=1e-4)
    variance = (1 + 1 / len(draws)) * np.var(draws, axis=0, ddof=1)
    np.testing.assert_allclose(jnp.exp(2 * log_std), variance, rtol=1e-3, atol=1e-5)
    assert float(jnp.max(jnp.abs(draws[0] - draws[1]))) > 0.01


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
