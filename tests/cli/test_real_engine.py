"""Commands through the engine itself, on scenes as small as they can be."""

import re

import numpy as np
import pytest

from fluorojax.data.reconstruction import Status
from fluorojax.io import read_provenance, read_reconstruction, write_challenge

LIGHT = """
import numpyro
from numpyro.distributions import Normal, Poisson

from fluorojax.models.protocol import spec_prior


def model(data):
    spec = spec_prior(data.ranges)
    white = numpyro.sample("white", Normal(0.0, 1.0).expand(data.counts.shape).to_event())
    x = numpyro.deterministic("x", 0.5 + 0.25 * white)
    rate = numpyro.deterministic("rate", data.operator(x, spec, data.acquisition))
    numpyro.sample("counts", Poisson(rate).to_event(), obs=data.counts)
"""


@pytest.fixture
def model(tmp_path):
    """Writes a user's model file, with one line changed."""

    def write(old="", new=""):
        path = tmp_path / "mine.py"
        path.write_text(LIGHT.replace(old, new) if old else LIGHT)
        return path

    return write


def test_a_file_is_simulated_reconstructed_and_scored(run, tmp_path):
    source, out = tmp_path / "in.h5", tmp_path / "out.h5"
    assert run("simulate", source, "--scenes", 1, "--frames", 6, "--size", 24, "-q")[0] == 0
    code, stdout, stderr = run("reconstruct", source, "-o", out, "--spec", "nominal", "--verbose")
    assert code == 0, stderr
    assert "converged" in stdout
    told = (
        r"^reconstruct 1/1 \(.+/.+, took .+\): sample_00: "
        r"converged, mean squared residual [01]\.\d+ .photon noise alone: 1.$"
    )
    assert re.search(told, stderr, re.MULTILINE)
    quiet = run("reconstruct", source, "-o", tmp_path / "again.h5", "--spec", "nominal", "--quiet")
    assert quiet == (0, "", "")
    result = read_reconstruction(out, "sample_00")
    assert result.x_hat.shape == result.x_std.shape == (6, 24, 24)
    made = read_provenance(out)
    assert (made.method, list(made.assets)) == ("learned", [result.diagnostics["weights"]["file"]])
    assert result.diagnostics["held_out"]["share"] == 0.1
    assert run("score", out, "--truth", source)[0] == 0


def test_scenes_below_sixteen_pixels_of_which_one_diverges(run, model, make_scene, tmp_path):
    """Counts at the end of single precision overflow the energy of the second scene, and of that one only."""
    source, out = tmp_path / "in.h5", tmp_path / "out.h5"
    shape = (3, 12, 9)
    write_challenge(
        source,
        [make_scene("sample_00", shape), make_scene("sample_01", shape, y=np.full(shape, 3e38, np.float32))],
    )
    code, _, stderr = run("reconstruct", source, "-o", out, "--model", model(), "--spec", "nominal", "-q")
    assert code == 1, stderr
    assert "sample_01: diverged" in stderr
    good, bad = (read_reconstruction(out, name) for name in ("sample_00", "sample_01"))
    assert (good.status, bad.status) == (Status.CONVERGED, Status.DIVERGED)
    assert good.x_hat.shape == good.x_std.shape == shape
    assert np.isfinite(good.x_hat).all()
    assert (good.x_std > 0).all()


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("    spec = ", "    1 / 0\n    spec = ", "division by zero"),
        ("data.operator(x,", "data.operator(x[:, 1:],", "site 'rate' has shape"),
        ("data.counts.shape", "data.no_such_thing", "no_such_thing"),
    ],
    ids=["raises", "shape", "attribute"],
)
def test_an_error_of_a_users_model_is_one_line(run, model, challenge, tmp_path, old, new, named):
    code, stdout, stderr = run("reconstruct", challenge, "-o", tmp_path / "out.h5", "-q", "--model", model(old, new))
    assert (code, stdout, stderr.count("\n")) == (2, "", 1), stderr
    assert "model mine: " in stderr
    assert named in stderr
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".pyc") == ["in.h5", "mine.py"]
