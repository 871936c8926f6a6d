"""The scripts, the notebooks and the examples of the README, run with tiny settings."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import h5py
import matplotlib as mpl
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from fluorojax.cli import main as fluorojax
from fluorojax.data.reconstruction import Reconstruction, Status
from fluorojax.data.spec import SPEC_NAMES, Spec
from fluorojax.io import list_reconstructions, read_reconstruction, read_scene, write_challenge
from fluorojax.models.loading import load_model
from fluorojax.simulation import SimulationOptions, simulate_scenes

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def python_blocks(page):
    """The Python examples of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# Minutes each, for programs of many shapes; what they show has tests of its own.
LONG_NOTEBOOKS = ("batch", "own_model", "train_your_own", "uncertainty")
OWN_MODEL = next(block for block in python_blocks("docs/models.md") if "def model(data)" in block)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A challenge file of two tiny scenes."""
    path = tmp_path_factory.mktemp("scenes") / "IN.h5"
    write_challenge(path, simulate_scenes(2, 0, SimulationOptions(frames=4, size=24)))
    return path


@pytest.fixture
def own_model(tmp_path):
    """The model of docs/models.md as a user's file; it compiles much faster than the shipped ones."""
    path = tmp_path / "my_model.py"
    path.write_text(OWN_MODEL, encoding="utf-8")
    return path


@pytest.fixture
def script(monkeypatch):
    """Run a script of inference/ in this process; returns its exit code."""

    def run(name, *arguments):
        path = ROOT / "inference" / name
        spec = importlib.util.spec_from_file_location(f"recipe_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        return module.main()

    return run


def test_the_model_of_the_docs_follows_the_protocol_and_fits(script, scenes, own_model, tmp_path, capsys):
    assert load_model(own_model).name == "my_model"
    output = tmp_path / "OUT.h5"
    assert script("map_batch.py", scenes, "-o", output, "--model", own_model, "--batch", 2) == 0
    assert list_reconstructions(output) == ["sample_00", "sample_01"]
    for name in list_reconstructions(output):
        result, scene = read_reconstruction(output, name), read_scene(scenes, name)
        assert result.status is Status.CONVERGED
        # a white prior shrinks the raw estimate, of which the truth is a few standard deviations away
        assert np.sqrt(np.mean((result.x_hat - scene.x_true) ** 2)) < 0.1
        assert result.x_std is not None
        assert (result.x_std > 0).all()
    assert "gain_drift" in capsys.readouterr().out


def test_batch_map_refuses_bad_input_in_one_line(script, tmp_path, scenes, capsys):
    assert script("map_batch.py", tmp_path / "none.h5", "-o", tmp_path / "OUT.h5") == 2
    assert script("map_batch.py", scenes, "-o", tmp_path / "OUT.h5", "--model", "no_such_model") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "none.h5: " in lines[0]
    assert "no_such_model" in lines[1]
    assert list(tmp_path.iterdir()) == []


class StubEngine:
    """Answers at once: the raw counts, and ``diverging`` scenes as diverged; raises at ``failing``."""

    def __init__(self):
        self.diverging, self.failing, self.seen = set(), set(), []

    def __call__(self, scenes, options, *, state_file=None, on_foreign_state=None, progress=None):
        for scene in list(scenes):
            if scene.name in self.failing:
                raise KeyboardInterrupt
            self.seen.append(scene.name)
            status = Status.DIVERGED if scene.name in self.diverging else Status.CONVERGED
            facts = {"identifiability": {"lag": "lag: nothing known"}}
            intervals = dict.fromkeys(SPEC_NAMES, (0.0, 0.0))
            yield Reconstruction(scene.name, scene.y, None, Spec(), Spec(), intervals, status, 0.1, facts)


@pytest.fixture
def engine(monkeypatch):
    stub = StubEngine()
    module = ModuleType("fluorojax.runs.batches")
    vars(module)["reconstruct_scenes"] = stub
    monkeypatch.setitem(sys.modules, "fluorojax.runs.batches", module)
    return stub


def test_blind_entry_started_again_still_tells_what_failed(script, scenes, engine, tmp_path, capsys):
    inputs, outputs = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    write_challenge(inputs / "a.h5", [read_scene(scenes, "sample_00")])
    (inputs / "b.h5").write_bytes(scenes.read_bytes())
    (inputs / "c.h5").write_bytes(scenes.read_bytes())
    with h5py.File(inputs / "b.h5", "r+") as handle:
        del handle["sample_00/y"]
    engine.diverging = {"sample_01"}
    assert script("blind_entry.py", inputs, outputs) == 1
    first = capsys.readouterr()
    engine.seen.clear()
    assert script("blind_entry.py", inputs, outputs) == 1
    again = capsys.readouterr()
    assert engine.seen == []
    assert again.out.count("finished before") == 3
    assert again.out.count("a scene diverged or was skipped") == first.out.count("a scene diverged or was skipped") == 2
    assert "not fully usable: b.h5, c.h5" in again.err


def test_blind_entry_refuses_a_bad_model_and_seed(script, scenes, engine, tmp_path, capsys):
    inputs, outputs = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    (inputs / "a.h5").write_bytes(scenes.read_bytes())
    assert script("blind_entry.py", inputs, outputs, "--model", "none.py") == 2
    assert script("blind_entry.py", inputs, outputs, "--seed", -1) == 2
    errors = capsys.readouterr().err
    assert "none.py: no such file" in errors
    assert "seed is -1" in errors


def test_batch_map_resumed_tells_what_diverged_before(script, scenes, engine, tmp_path, capsys):
    output = tmp_path / "OUT.h5"
    engine.diverging, engine.failing = {"sample_00"}, {"sample_01"}
    assert script("map_batch.py", scenes, "-o", output, "--overwrite") == 130
    assert "1 of 2 finished scenes are kept" in capsys.readouterr().err
    engine.failing = set()
    assert script("map_batch.py", scenes, "-o", output, "--overwrite") == 1
    assert engine.seen == ["sample_00", "sample_01"]
    assert "sample_00 diverged; its result must not be used" in capsys.readouterr().err


def test_batch_map_checks_every_scene_first_and_skips_on_request(script, scenes, engine, tmp_path, capsys):
    source, output = tmp_path / "IN.h5", tmp_path / "OUT.h5"
    source.write_bytes(scenes.read_bytes())
    with h5py.File(source, "r+") as handle:
        del handle["sample_01/y"]
    assert script("map_batch.py", source, "-o", output) == 2
    assert engine.seen == []
    assert script("map_batch.py", source, "-o", output, "--keep-going") == 1
    assert engine.seen == ["sample_00"]
    assert "skipped: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nowhere/chain.png", "IN.h5"])
def test_calibration_refuses_a_bad_plot_before_the_work(script, scenes, tmp_path, capsys, name):
    (tmp_path / "IN.h5").write_bytes(scenes.read_bytes())
    assert script("calibrate.py", tmp_path / "IN.h5", "--plot", tmp_path / name, "--overwrite") == 2
    captured = capsys.readouterr()
    assert "motion_blur" not in captured.out + captured.err
    assert (tmp_path / "IN.h5").read_bytes() == scenes.read_bytes()


def test_calibration_table_and_plot(script, scenes, tmp_path, capsys):
    picture = tmp_path / "chain.png"
    assert script("calibrate.py", scenes, "--plot", picture) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    table, told = capsys.readouterr()
    assert re.search(
        r"^calibrate 2/2 \(.*scene.*\): sample_01: motion_blur .+, gain_drift [+-].+ ± .+ %/frame$", told, re.M
    )
    for scene in ("sample_00", "sample_01"):
        truth = read_scene(scenes, scene).true_spec
        assert truth is not None
        for name in SPEC_NAMES:
            assert any(
                scene in line and name in line and f"{truth.as_dict()[name]:+.3f}" in line
                for line in table.splitlines()
            )
    assert script("calibrate.py", scenes, "--plot", picture) == 2
    assert "already exists" in capsys.readouterr().err


def test_blind_entry_goes_on_after_a_bad_file(script, scenes, own_model, tmp_path, monkeypatch, capsys):
    inputs, outputs = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    (inputs / "a_bad.h5").write_bytes(b"not HDF5")
    (inputs / "b_good.h5").write_bytes(scenes.read_bytes())
    monkeypatch.setenv("FLUOROJAX_INPUT", str(inputs))
    monkeypatch.setenv("FLUOROJAX_OUTPUT", str(outputs))
    assert script("blind_entry.py", "--model", own_model) == 1
    captured = capsys.readouterr()
    assert [path.name for path in outputs.iterdir()] == ["b_good.h5"]
    assert "a_bad.h5: not a file of a known format" in captured.err
    assert list_reconstructions(outputs / "b_good.h5") == ["sample_00", "sample_01"]

    (inputs / "a_bad.h5").unlink()
    assert script("blind_entry.py", "--model", own_model) == 0
    assert "finished before" in capsys.readouterr().out


def test_blind_entry_without_work_says_so(script, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("FLUOROJAX_INPUT", raising=False)
    monkeypatch.delenv("FLUOROJAX_OUTPUT", raising=False)
    assert script("blind_entry.py") == 2
    assert script("blind_entry.py", tmp_path, tmp_path / "out") == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("default:range of motion_blur narrowed")
def test_python_examples_of_the_readme(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in python_blocks("README.md"):
        exec(compile(block, "README.md", "exec"), names)
    shown = capsys.readouterr().out
    assert "converged (8, 64, 64) (8, 64, 64)" in shown
    assert "gain_drift: 90 % interval" in shown


def test_python_examples_of_the_docs(scenes, tmp_path, monkeypatch, capsys):
    """They run in the order of the page, each with what the ones before it defined."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "IN.h5").write_bytes(scenes.read_bytes())
    names: dict = {}
    with mpl.rc_context({"backend": "agg"}):
        for block in python_blocks("docs/python.md"):
            exec(compile(block, "python.md", "exec"), names)
        names["plt"].close("all")
    shown = capsys.readouterr().out
    assert "sample_01 converged (4, 24, 24)" in shown
    assert "gain_drift: 90 % interval" in shown


def test_commands_of_the_readme_exist(capsys):
    """Every ``fluorojax`` line of the page names a command and options that it has."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    text = "\n".join(block for language, block in blocks if not language)
    lines = re.findall(r"^fluorojax (.+)$", text, flags=re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        command, *words = line.split()
        assert fluorojax([command, "--help"]) == 0
        help_text = capsys.readouterr().out
        for option in (word for word in words if word.startswith("-")):
            assert re.search(rf"{re.escape(option)}\b", help_text), f"{command} has no {option}"


@pytest.mark.filterwarnings("default")  # the notebook runs in a process of its own; Jupyter's warnings are not ours
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.slow] if path.stem in LONG_NOTEBOOKS else []) for path in NOTEBOOKS],
    ids=lambda path: path.stem,
)
def test_notebook_runs(path, monkeypatch, tmp_path):
    monkeypatch.setenv("FLUOROJAX_QUICK", "1")
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_committed_with_their_pictures(path):
    notebook = nbformat.read(path, as_version=4)
    committed = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in committed), "commit the notebook with its outputs"
    assert all(output.output_type != "error" and output.get("name") != "stderr" for output in committed)
    assert path.stat().st_size < 500_000
