"""Weight files and what they refuse."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.learned.networks import UNet, architecture, build_network
from fluorojax.learned.spread import CalibratedNetwork
from fluorojax.learned.weights import load_weights, named_arrays, read_arrays, save_weights, write_arrays


@architecture("tiny")
def _tiny(key):
    return UNet(key, widths=(8, 8), encode=(1, 0), decode=(1,), hidden=4)


RECIPE = {"architecture": "tiny", "steps": 3}


@pytest.fixture(scope="module")
def network():
    return build_network("tiny", jax.random.key(1))


@pytest.fixture
def file(tmp_path, network):
    save_weights(tmp_path / "w.npz", network, RECIPE)
    return tmp_path / "w.npz"


def test_weights_come_back_in_half_precision(file, network):
    loaded = load_weights(file)
    assert loaded.recipe["steps"] == 3
    assert len(loaded.sha256) == 64
    for name, value in named_arrays(CalibratedNetwork(network)).items():
        np.testing.assert_allclose(named_arrays(loaded.network)[name], value, rtol=1e-3, atol=1e-6)
        assert named_arrays(loaded.network)[name].dtype == np.float32


def test_the_same_network_gives_the_same_bytes(tmp_path, network, file):
    assert save_weights(tmp_path / "again.npz", network, RECIPE).sha256 == load_weights(file).sha256


def test_another_hash_is_refused(file):
    with pytest.raises(ValueError, match=r"SHA-256 is .*; expected 00"):
        load_weights(file, sha256="00")


def test_changed_arrays_are_refused(file, tmp_path):
    with np.load(file) as store:
        arrays = dict(store)
    name = next(n for n in arrays if n != "recipe")
    arrays[name] = arrays[name] + np.float16(1)
    np.savez(tmp_path / "changed.npz", **arrays)
    with pytest.raises(ValueError, match="SHA-256 differs"):
        load_weights(tmp_path / "changed.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 99}, "version is 99; expected"),
        ({"architecture": "transformer"}, "architecture is 'transformer'; expected one of"),
        ({"architecture": "unet"}, "has shape|is missing"),
    ],
)
def test_foreign_recipes_are_refused(file, tmp_path, change, message):
    arrays, facts = read_arrays(file)
    facts.pop("arrays_sha256")
    write_arrays(tmp_path / "other.npz", arrays, {**facts, **change})
    with pytest.raises(ValueError, match=message) as caught:
        load_weights(tmp_path / "other.npz")
    assert "other.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_finite_are_refused(tmp_path, network):
    bad = eqx.tree_at(lambda n: n.enter.bias, network, network.enter.bias.at[0].set(jnp.nan))
    with pytest.raises(ValueError, match=r"enter\.bias holds values that are not finite"):
        save_weights(tmp_path / "bad.npz", bad, RECIPE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04broken", json.dumps({"a": 1}).encode()])
def test_damaged_files_are_refused(tmp_path, content):
    file = tmp_path / "damaged.npz"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged\.npz: not a file of weights"):
        load_weights(file)
    with pytest.raises(ValueError, match="no such file"):
        load_weights(tmp_path / "nothing.npz")
