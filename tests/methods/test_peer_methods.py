"""Learned peers behind the protocol of all methods: what they state, and what they do not."""

import jax
import numpy as np
import pytest

from fluorojax.benchmark.contestants import CONTESTANTS, Contestant
from fluorojax.data.reconstruction import ReconstructOptions, Status
from fluorojax.learned.networks import architecture
from fluorojax.learned.peers import PEERS
from fluorojax.learned.peers.diffusion import Diffusion
from fluorojax.learned.peers.dncnn import DnCNN
from fluorojax.learned.peers.unrolled import Unrolled
from fluorojax.learned.size import operations, weight_count
from fluorojax.learned.weights import known_weights, load_weights, save_weights, shipped_file
from fluorojax.methods.registry import make_method, method_class, method_names
from fluorojax.runs.batches import reconstruct_scenes
from fluorojax.simulation import SimulationOptions, simulate_scene

TINY = {
    "dncnn": architecture("tiny-dncnn")(lambda key: DnCNN(key, width=4, depth=3)),
    "unrolled": architecture("tiny-unrolled")(lambda key: Unrolled(key, steps=1, width=4)),
    "diffusion": architecture("tiny-diffusion")(
        lambda key: Diffusion(key, widths=(4, 4), encode=(1, 0), decode=(1,), draws=2, steps=2)
    ),
}


@pytest.fixture(scope="module")
def scene():
    return simulate_scene(3, SimulationOptions(frames=30, size=16, photons=1000.0))


@pytest.mark.parametrize("name", TINY)
def test_a_peer_reconstructs_and_invents_no_standard_deviation(name, scene, tmp_path):
    file = tmp_path / "w.npz"
    save_weights(file, TINY[name](jax.random.key(0)), {"architecture": f"tiny-{name}"})
    options = ReconstructOptions(method=name, weights=str(file), spec="nominal")
    (found,) = reconstruct_scenes([scene], options)
    assert found.status is Status.CONVERGED
    assert found.x_hat.shape == scene.y.shape
    # A random network of small output is close to the mean over the frames.
    mean = -np.log(scene.y.mean(0) / 1000.0) / scene.acquisition.as_dict()["attenuation_scale"]
    assert np.abs(found.x_hat - mean).mean() < 0.05
    assert (found.x_std is not None) == (name == "diffusion")
    assert found.spec_correlation is None
    assert found.diagnostics["weights"]["file"] == "w.npz"
    assert "held_out" not in found.diagnostics


def test_peers_are_known_by_name_but_are_no_posteriors():
    assert not set(PEERS) & set(method_names())
    for name, peer in PEERS.items():
        assert method_class(name).label == peer.label
    with pytest.raises(ValueError, match="or a learned peer: dncnn, red-cnn"):
        make_method(ReconstructOptions(method="resnet"))


def test_every_peer_has_shipped_weights_with_their_recipe():
    assert known_weights() == ("unet", *PEERS)
    recipes = {name: load_weights(shipped_file(name)).recipe for name in PEERS}
    for name, recipe in recipes.items():
        assert recipe["architecture"] == name
        assert recipe["options"] == {**recipes["dncnn"]["options"], "architecture": name}
        assert recipe["scenes"] == recipes["dncnn"]["scenes"]


def test_a_peer_of_the_benchmark_calibrates_and_knows_the_size_of_its_network(tmp_path, monkeypatch):
    file = tmp_path / "dncnn.npz"
    save_weights(file, TINY["dncnn"](jax.random.key(0)), {"architecture": "tiny-dncnn"})
    with pytest.raises(ValueError, match="no shipped weights named 'resnet'; expected one of unet, dncnn"):
        shipped_file("resnet")
    monkeypatch.setenv("FLUOROJAX_PEERS", str(tmp_path))
    assert shipped_file("dncnn") == file
    contestant = Contestant("dncnn", "DnCNN")
    assert contestant.calibrates
    assert set(contestant.parameters(0)["assets"]) == {"dncnn.npz"}
    network = load_weights(file).network
    assert contestant.network() == {"weights": weight_count(network), "operations": operations(network)}
    assert not CONTESTANTS["raw"].calibrates
    assert CONTESTANTS["raw"].network() is None
