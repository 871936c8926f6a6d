"""``fluorojax train``: from nothing to weights, continued, and what it refuses."""

import pytest

from fluorojax.cli.train import train
from fluorojax.io import InputError
from fluorojax.learned.energy import load_energy
from fluorojax.learned.networks import UNet, architecture
from fluorojax.learned.weights import load_weights


@architecture("tiny")
def _tiny(key):
    return UNet(key, widths=(8, 8), encode=(1, 0), decode=(1,), hidden=4)


def test_train_makes_weights_and_continues(tmp_path, capsys):
    output = tmp_path / "w.npz"
    train("tiny", output, scenes=1, steps=2, every=2, quiet=True)
    first = load_weights(output)
    assert first.recipe["steps"] == 2
    assert set(first.recipe["calibrated"]) == {"psnr", "psnr_moving", "coverage", "coverage_moving"}
    assert first.network.coefficients.any()
    train("tiny", output, scenes=1, steps=2, every=2)
    assert load_weights(output).recipe["steps"] == 4
    assert "w.npz: validation" in capsys.readouterr().out
    with pytest.raises(ValueError, match="architecture is 'tiny'; expected 'unet'"):
        train("unet", tmp_path / "other.npz", start=output, quiet=True)
    energy = tmp_path / "e.npz"
    train("ridge-energy", energy, data=output.with_suffix(".scenes"), scenes=1, steps=2)
    assert load_energy(energy).filters.shape == (16, 3, 5, 5)
    assert "e.npz: 2 steps, loss" in capsys.readouterr().out
    with pytest.raises(InputError, match="exists"):
        train("ridge-energy", energy, data=output.with_suffix(".scenes"), scenes=1, steps=2)
    output.with_suffix(".state.npz").unlink()
    with pytest.raises(ValueError, match="exists and has no state to continue"):
        train("tiny", output, quiet=True)


def test_train_refuses_other_names(tmp_path):
    with pytest.raises(ValueError, match=r"expected a name that ends in \.npz"):
        train("unet", tmp_path / "w.pkl", quiet=True)
    with pytest.raises(ValueError, match="architecture is 'transformer'; expected one of"):
        train("transformer", tmp_path / "w.npz", quiet=True)
    with pytest.raises(ValueError, match="--minutes is 3 with ridge-energy; expected --steps alone"):
        train("ridge-energy", tmp_path / "w.npz", minutes=3.0, quiet=True)
