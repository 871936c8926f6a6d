"""``--times`` and ``--to-fps``: bad input in one line, and what the other commands say of such a file."""

import numpy as np
import pytest

from fluorojax.io import read_reconstruction, write_challenge
from fluorojax.simulation import SimulationOptions, simulate_scene


@pytest.fixture(scope="module")
def run_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("between") / "in.h5"
    write_challenge(path, [simulate_scene(5, SimulationOptions(frames=3, size=16, fps=10.0, photons=3000.0))])
    return path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--times", "0,50,900"), "the time 900 ms is outside of the run; expected 0 to 200 ms"),
        (("--times", "50,20"), "times has 20 after 50"),
        (("--times", "0,nan"), "times has nan at position 1"),
        (("--times", "soon"), "--times is 'soon'"),
        (("--to-fps", "1e12"), "of memory and"),
        (("--to-fps", "0"), "to_fps is 0.0"),
        (("--times", "1", "--to-fps", "30"), "both given"),
        (("--to-fps", "30", "--frames", "0:1"), "single frame"),
    ],
)
def test_bad_times_are_one_line_and_exit_2(run, run_file, tmp_path, arguments, words):
    code, out, err = run("reconstruct", run_file, "-o", tmp_path / "out.h5", "-q", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_the_other_commands_know_the_times(run, run_file, tmp_path):
    made = tmp_path / "out.h5"
    code, _, err = run("reconstruct", run_file, "-o", made, "-q", "--method", "raw", "--to-fps", "20")
    assert code == 0, err
    found = read_reconstruction(made, "sample_00")
    np.testing.assert_allclose(found.times_ms, [0, 50, 100, 150, 200])
    code, out, _ = run("info", made)
    assert "5 images from 0 to 200 ms, one every 50 ms; frames are 100 ms apart" in out
    code, out, err = run("score", made, "--truth", run_file)
    assert code == 0, err
    page = tmp_path / "page.html"
    code, _, err = run("report", made, "--truth", run_file, "-o", page)
    assert code == 0, err
    assert "nearest frame" in page.read_text(encoding="utf-8")
    assert "5 images from 0 to 200 ms" in page.read_text(encoding="utf-8")
    code, _, err = run("subtract", made, "-o", tmp_path / "dsa.h5")
    assert code == 2
    assert "expected a reconstruction of the frames" in err
