"""A method from outside the package: one class and one registration serve every command."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from fluorojax.classical import CLASSICAL
from fluorojax.cli import main as fluorojax
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status
from fluorojax.io import (
    InputError,
    Provenance,
    ReconstructionWriter,
    read_provenance,
    read_reconstruction,
    write_challenge,
)
from fluorojax.methods import registry
from fluorojax.methods.protocol import SceneMethod
from fluorojax.methods.registry import make_method, method_class, method_names, register_method
from fluorojax.simulation import SimulationOptions, simulate_scenes
from fluorojax.validation import make_sampler, sampler_names


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "weights.npz"
    path.write_bytes(b"one")
    return path


@pytest.fixture
def method(monkeypatch, weights):
    """A method that returns the raw estimate and ships a file."""
    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))

    @dataclass(frozen=True)
    class Mine(SceneMethod):
        label: ClassVar[str] = "mine"
        summary: ClassVar[str] = "The raw estimate."
        uses_model: ClassVar[bool] = False
        path: Path = weights

        @classmethod
        def from_options(cls, options):
            return cls()

        def assets(self):
            return (self.path,)

        def run(self, job):
            assert set(job.assets) == {"weights.npz"}
            x = np.asarray(job.scene.operator.invert_static(job.data.counts, job.data.acquisition, job.posterior.spec))
            spec, std, interval = job.posterior.spec, job.posterior.std, job.posterior.interval
            return Reconstruction(job.scene.name, x, np.full_like(x, 0.1), spec, std, interval, Status.CONVERGED, 0.0)

    register_method("mine", Mine)
    return Mine


@pytest.fixture
def challenge(tmp_path):
    write_challenge(tmp_path / "in.h5", simulate_scenes(2, 0, SimulationOptions(frames=4, size=16)))
    return tmp_path / "in.h5"


def test_a_registered_method_reconstructs_and_its_assets_are_recorded(method, challenge, tmp_path):
    assert "mine" in method_names()
    assert method_class("mine") is method
    out = tmp_path / "out.h5"
    assert fluorojax(["reconstruct", str(challenge), "-o", str(out), "--method", "mine", "-q"]) == 0
    assert read_reconstruction(out, "sample_01").x_std.max() == pytest.approx(0.1)
    assert set(read_provenance(out).assets) == {"weights.npz"}


def test_a_partial_file_made_with_other_assets_is_refused(method, weights, challenge, tmp_path):
    out = tmp_path / "out.h5"

    def made_now():
        return Provenance.of_run(challenge, ReconstructOptions(method="mine"))

    (first, _) = simulate_scenes(2, 0, SimulationOptions(frames=4, size=16))
    image = np.zeros_like(first.y)
    done = Reconstruction(first.name, image, image, first.true_spec, first.true_spec, {}, Status.CONVERGED, 0.0)
    with suppress(KeyboardInterrupt), ReconstructionWriter(out, made_now(), source=challenge) as writer:
        writer.write(done)
        raise KeyboardInterrupt
    weights.write_bytes(b"two")
    writer = ReconstructionWriter(out, made_now(), source=challenge)
    with pytest.raises(InputError, match=r"asset weights\.npz"):
        writer.__enter__()


def test_missing_assets_are_named(method, weights, challenge):
    weights.unlink()
    with pytest.raises(InputError, match=r"weights\.npz: cannot be read"):
        Provenance.of_run(challenge, ReconstructOptions(method="mine"))


def test_a_method_without_joint_draws_is_checked_by_what_it_states(method):
    assert "mine" in sampler_names()
    assert callable(make_sampler("mine"))


@pytest.mark.parametrize("name", method_names())
def test_every_method_says_what_it_is(name):
    kind = method_class(name)
    assert kind.label
    assert kind.summary.endswith(".")
    assert kind.cost in ("seconds", "minutes", "hours")
    assert set(kind.spec_sources) <= {"calibrated", "joint", "nominal", "true"}
    assert make_method(ReconstructOptions(method=name)) == make_method(ReconstructOptions(method=name))


def test_classical_methods_are_methods(challenge, tmp_path):
    assert {method_class(name).label for name in CLASSICAL} == {entry.label for entry in CLASSICAL.values()}
    out = tmp_path / "kalman.h5"
    assert fluorojax(["reconstruct", str(challenge), "-o", str(out), "--method", "kalman", "-q"]) == 0
    result = read_reconstruction(out, "sample_00")
    assert result.x_hat.shape == (4, 16, 16)
    assert np.isnan(result.spec_std.lag)
    with pytest.raises(
        ValueError,
        match=r"is 'magic'; expected one of learned, map, stream, mgvi, nuts, or a classical one: raw",
    ):
        method_class("magic")


def test_a_name_is_taken_once(method):
    with pytest.raises(ValueError, match="method 'mine' exists already"):
        register_method("mine", method)
