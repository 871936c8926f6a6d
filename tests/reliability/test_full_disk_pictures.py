"""Pictures on a disk that is full: one line, nothing half-written, and an older picture stays."""

import io
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec, SpecRanges
from fluorojax.io import write_challenge

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "import sys; from fluorojax.cli import main; sys.exit(main())"
FIGURE = """
import resource, sys
from pathlib import Path
import numpy as np
from fluorojax.data.reconstruction import Reconstruction, Status
from fluorojax.data.spec import Spec
from fluorojax.io import InputError
from fluorojax.plot import frame_strip

images = np.random.default_rng(0).uniform(size=(4, 32, 32)).astype(np.float32)
figure = frame_strip(Reconstruction("s", images, 0.1 * images, Spec(), Spec(), {}, Status.CONVERGED, 1.0))
for name in ("new.png", "new.svg", "none"):
    figure.savefig(Path(sys.argv[1], name))
    print(sorted(path.name for path in Path(sys.argv[1]).iterdir()))
    next(Path(sys.argv[1]).glob("n*")).unlink()
Path(sys.argv[1], "old.png").write_bytes(b"an older picture")
resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))
for name in ("new.png", "new.svg", "none", "old.png"):
    try:
        figure.savefig(Path(sys.argv[1], name))
    except InputError as error:
        print(error)
"""

DISPLAY = """
import resource, sys
from fluorojax.cli import main

source, *outputs = sys.argv[1:]
for limit in (256, resource.RLIM_INFINITY):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for output in outputs:
        print(main(["display", source, "-o", output, "--magnify", "6", "-q"]))
"""


def run(script, *args, limit=None):
    """Run a Python script in a process of its own, which may write files of ``limit`` bytes at most."""

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # pyright: ignore[reportArgumentType]

    return subprocess.run(
        [sys.executable, "-c", script, *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=None if limit is None else limited,
    )


@pytest.fixture
def counts(tmp_path):
    path = tmp_path / "in.h5"
    rng = np.random.default_rng(0)
    fields = {"acquisition": Acquisition(photons_per_pixel=200.0), "ranges": SpecRanges.for_tier("public")}
    x_true = rng.uniform(0.2, 0.8, (4, 16, 16)).astype(np.float32)
    y = rng.poisson(30.0, (4, 16, 16)).astype(np.float32)
    write_challenge(path, [Scene("sample_00", y, x_true=x_true, true_spec=Spec(), **fields)])
    return path


def test_figures_of_fluorojax_plot(tmp_path):
    process = run(FIGURE, tmp_path)
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert lines[:3] == ["['new.png']", "['new.svg']", "['none.png']"]
    for name, line in zip(("new.png", "new.svg", "none.png", "old.png"), lines[3:], strict=True):
        assert line.startswith(f"{tmp_path / name}: cannot be written: no space left on {tmp_path}: "), line
    assert [path.name for path in tmp_path.iterdir()] == ["old.png"]
    assert (tmp_path / "old.png").read_bytes() == b"an older picture"


def test_other_streams_and_formats_are_those_of_matplotlib(tmp_path):
    from fluorojax.plot._canvas import PlainFigure

    figure, stream = PlainFigure(figsize=(1, 1)), io.BytesIO()
    figure.savefig(stream, format="png")
    assert stream.getvalue().startswith(b"\x89PNG")
    assert figure._repr_png_().startswith(b"\x89PNG")
    figure.savefig(str(tmp_path / "figure"), format="svg")
    assert b"<svg" in (tmp_path / "figure").read_bytes()
    with pytest.raises(ValueError, match=r"Format 'tiffany' is not supported"):
        figure.savefig(tmp_path / "figure.tiffany")
    assert [path.name for path in tmp_path.iterdir()] == ["figure"]


@pytest.mark.parametrize("names", [("a.png", "a.gif"), pytest.param(("a.mp4",), marks=pytest.mark.slow)])
def test_pictures_and_movies(counts, tmp_path, names):
    if ".mp4" in names[0]:
        pytest.importorskip("imageio_ffmpeg")
    folder = tmp_path / "out"
    folder.mkdir()
    process = run(DISPLAY, counts, *(folder / name for name in names))
    assert process.stdout.split() == ["2"] * len(names) + ["0"] * len(names), process.stderr
    for name, line in zip(names, process.stderr.splitlines(), strict=True):
        assert line.startswith(f"fluorojax: {folder / name}: cannot be written: no space left on {folder}: "), line
    frames = [f"a-000{i}.png" for i in range(4)] if "a.png" in names else []
    assert sorted(path.name for path in folder.iterdir()) == sorted([*frames, *names[bool(frames) :]])
    assert all(path.stat().st_size > 256 for path in folder.iterdir())


@pytest.mark.slow
def test_the_figure_of_a_benchmark(counts, tmp_path):
    folder = tmp_path / "out"
    args = ["benchmark", counts, "--methods", "raw", "--scenarios", "I", "-q", "-o", folder]
    process = run(COMMAND, *args)
    assert process.returncode == 0, process.stderr
    picture = folder / "figure.png"
    limit = 1 + max(path.stat().st_size for path in folder.iterdir() if path.is_file() and path != picture)
    assert picture.stat().st_size > limit
    picture.unlink()
    process = run(COMMAND, *args, limit=limit)
    assert (process.returncode, process.stderr.count("\n")) == (2, 1), process.stderr
    assert f"{picture}: cannot be written: no space left on {folder}: " in process.stderr
    assert not picture.exists()
    assert not list(folder.glob("*.tmp"))
    assert run(COMMAND, *args).returncode == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_plot_of_the_calibration(counts, tmp_path):
    picture, recipe = tmp_path / "plot.png", str(ROOT / "inference" / "calibrate.py")
    process = run(
        f"import runpy; runpy.run_path({recipe!r}, run_name='__main__')", counts, "--plot", picture, limit=4096
    )
    assert process.returncode == 2, process.stderr
    assert f"calibrate: {picture}: cannot be written: no space left on {tmp_path}: " in process.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5"]
