"""The other commands: simulate, score, scenarios, report, demo, models, help and version."""

import json
import os
import subprocess
import sys
from types import ModuleType

import h5py
import numpy as np
import pytest

import fluorojax.simulation
from fluorojax.data.spec import Spec
from fluorojax.io import list_scenes, read_scene, write_challenge
from fluorojax.methods.registry import method_names
from fluorojax.metrics import expected_counts
from fluorojax.runs.scenarios import verdict, without_mismatch


@pytest.fixture
def result(run, engine, challenge, tmp_path):
    assert run("reconstruct", challenge, "-o", tmp_path / "out.h5", "-q")[0] == 0
    return tmp_path / "out.h5"


@pytest.fixture
def generator(monkeypatch, make_scene):
    """Stands for the simulator; records what it was asked."""
    calls = []

    def simulate_scenes(count, seed, options):
        calls.append((count, seed, options))
        for index in range(count):
            shape = options.shape if options.frames == 1 else (options.frames, *options.shape)
            yield make_scene(f"sample_{index:02d}", shape)

    monkeypatch.setattr(fluorojax.simulation, "simulate_scenes", simulate_scenes)
    return calls


def test_help_needs_no_jax():
    code = "import sys; from fluorojax.cli import main; code = main(['--help']); sys.exit(code or 'jax' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0
    for command in (
        "simulate",
        "reconstruct",
        "score",
        "scenarios",
        "report",
        "demo",
        "models",
        "subtract",
        "benchmark",
    ):
        assert command in process.stdout


@pytest.mark.parametrize("command", ["simulate", "reconstruct", "scenarios", "demo"])
def test_random_commands_take_a_seed(run, command):
    code, stdout, _ = run(command, "--help")
    assert code == 0
    assert "--seed" in stdout


def test_version(run):
    code, stdout, _ = run("--version")
    assert code == 0
    assert stdout.startswith("fluorojax ")


SLOW_CONSTANT = """
import sys
from fluorojax.cli import main
main(sys.argv[1:])
import jax, jax.numpy as jnp, numpy as np
image = jnp.asarray(np.random.default_rng(0).random((200, 200), np.float32))
total = jax.jit(lambda x: x + jax.lax.reduce_window(image, 0.0, jax.lax.add, (9, 9), (1, 1), "SAME"))
total.lower(1.0).compile({"xla_backend_optimization_level": 0})
"""


@pytest.mark.slow
@pytest.mark.parametrize(("args", "told"), [(["models", "--debug"], True), (["models"], False)])
def test_the_compiler_prints_no_alarm(args, told):
    variables = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    variables["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    command = [sys.executable, "-c", SLOW_CONSTANT, *args]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ("Constant folding" in done.stderr) == told, done.stderr


def test_the_level_of_messages_is_set_before_jax_is_imported(run, monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    run("models", "--debug")
    assert "TF_CPP_MIN_LOG_LEVEL" not in os.environ
    run("models")
    assert os.environ.pop("TF_CPP_MIN_LOG_LEVEL") == "3"


def test_the_module_is_the_command():
    command = [sys.executable, "-m", "fluorojax", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("fluorojax ")


def test_models_are_listed(run, monkeypatch, tmp_path):
    module = ModuleType("fluorojax.models.loading")
    module.list_models = lambda: {"sequence": tmp_path / "sequence.py"}
    monkeypatch.setitem(sys.modules, "fluorojax.models.loading", module)
    assert run("models") == (0, f"sequence  {tmp_path / 'sequence.py'}\n", "")


def test_simulate_passes_its_options_on(run, generator, tmp_path):
    out = tmp_path / "scenes.h5"
    flags = "--tier dev --scenes 3 --frames 5 --size 24 --fps 15 --photons 80 --motion fast --scatter-fraction 0.2"
    code, stdout, stderr = run("simulate", out, *flags.split(), "--read-noise", "1.5", "--slow-tails", "--seed", 9)
    assert code == 0, stderr
    assert "wrote 3 scenes" in stdout
    count, seed, options = generator[0]
    assert (count, seed) == (3, 9)
    assert (options.tier, options.frames, options.size, options.fps, options.photons) == ("dev", 5, 24, 15.0, 80.0)
    assert (options.motion, options.scatter_fraction, options.read_noise) == ("fast", 0.2, 1.5)
    assert (options.slow_tails, options.mismatch) == (True, True)
    with h5py.File(out) as handle:
        assert handle.attrs["tier"] == b"dev"
        assert json.loads(handle.attrs["provenance"])["seed"] == 9


def test_no_mismatch(run, generator, tmp_path):
    assert run("simulate", tmp_path / "a.h5", "--no-mismatch", "--frames", 2, "--size", 16, "-q") == (0, "", "")
    assert generator[0][2].mismatch is False


@pytest.mark.parametrize(("frames", "shape"), [(3, (3, 16, 16)), (1, (16, 16))])
def test_a_simulated_file_can_be_read(run, tmp_path, frames, shape):
    out = tmp_path / "scenes.h5"
    code, _, err = run("simulate", out, "--scenes", 1, "--frames", frames, "--size", 16, "--seed", 3, "--verbose")
    assert code == 0
    scene = read_scene(out, "sample_00")
    assert err.endswith(f"sample_00: {scene.y.mean():.3g} counts per pixel and frame\n")
    assert scene.y.shape == scene.x_true.shape == shape
    assert scene.true_spec is not None


def test_score_prints_tables(run, result, challenge):
    code, stdout, _ = run("score", result, "--truth", challenge)
    assert code == 0
    for text in ("PSNR (dB)", "mean", "sample_02", "cover 90 %", "+0.500 ± 0.500 ✓", "mean |error|"):
        assert text in stdout


def test_score_prints_strict_json(run, result, challenge):
    with h5py.File(challenge) as truth, h5py.File(result, "r+") as handle:
        handle["sample_00/x_hat"][...] = truth["sample_00/x_true"][()]
        del handle["sample_00/x_std"]
    code, stdout, _ = run("score", result, "--truth", challenge, "--json")

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    document = json.loads(stdout, parse_constant=refuse)
    assert code == 0
    assert document["scenes"][0]["psnr"] == document["mean"]["psnr"] == "Infinity"
    assert document["scenes"][0]["coverage"] == {}
    assert document["scenes"][1]["spec"]["motion_blur"]["error"] == pytest.approx(0.5)


def test_scenarios(run, engine, challenge, tmp_path):
    table = tmp_path / "table.json"
    code, stdout, stderr = run("scenarios", challenge, "-o", table, "--seed", 4)
    assert code == 0, stderr
    assert [options.spec for options in engine.options] == ["nominal", "nominal", "calibrated"]
    for text in ("I    no mismatch, nominal spec", "III  mismatch, calibrated spec", "mean of 3 scenes", "PSNR"):
        assert text in stdout
    document = json.loads(table.read_text())
    assert list(document["scenarios"]) == ["I", "II", "III"]
    assert [len(part["scenes"]) for part in document["scenarios"].values()] == [3, 3, 3]
    assert document["scenarios"]["I"]["mean"]["psnr"] != document["scenarios"]["II"]["mean"]["psnr"]
    assert document["summary"] in stdout
    assert json.loads(run("scenarios", challenge, "--seed", 4, "--json")[1]) == document


@pytest.mark.parametrize("value", [0.5, np.nan], ids=["finite", "NaN"])
def test_diverged_scenes_enter_no_score(run, engine, challenge, tmp_path, value):
    out, page = tmp_path / "out.h5", tmp_path / "page.html"
    engine.diverging, engine.diverged_value = {"sample_01"}, value
    assert run("reconstruct", challenge, "-o", out, "-q")[0] == 1
    code, stdout, stderr = run("score", out, "--truth", challenge)
    assert code == 1
    assert "sample_01: diverged; its result must not be used" in stderr
    rows = [line for line in stdout.splitlines() if "sample_01" in line]
    assert "diverged" in rows[0]
    assert "mean of 2" in stdout

    document = json.loads(run("score", out, "--truth", challenge, "--json")[1])
    scores = [scene["psnr"] for scene in document["scenes"]]
    assert scores[1] is None
    assert document["mean"]["psnr"] == pytest.approx((scores[0] + scores[2]) / 2)
    assert document["mean_over"] == ["sample_00", "sample_02"]

    code, _, stderr = run("report", out, "--truth", challenge, "-o", page)
    assert code == 1
    assert "sample_01: diverged" in stderr
    text = page.read_text()
    assert "sample_01 diverged: its result must not be used and enters no mean." in text
    assert "<td>diverged</td>" in text


def test_a_scene_that_diverges_in_one_scenario_enters_the_mean_of_none(run, engine, challenge, monkeypatch):
    plain = type(engine).result

    def result(scene, options):
        engine.diverging = {"sample_02"} if options.spec == "calibrated" else set()
        return plain(engine, scene, options)

    monkeypatch.setattr(engine, "result", result)
    code, stdout, stderr = run("scenarios", challenge)
    assert code == 1
    assert "mean of 2 scenes" in stdout
    assert "left out of the means, diverged in a scenario: sample_02" in stdout
    assert f"{challenge}: scenario III: sample_02: diverged" in stderr
    document = json.loads(run("scenarios", challenge, "--json")[1])
    for part in document["scenarios"].values():
        assert part["mean_over"] == ["sample_00", "sample_01"]
        assert part["mean"]["psnr"] == pytest.approx(np.mean([scene["psnr"] for scene in part["scenes"][:2]]))
    assert [s["status"] for s in document["scenarios"]["III"]["scenes"]] == ["converged", "converged", "diverged"]


def test_scenarios_name_the_file_of_a_scene_that_cannot_be_scored(run, engine, tmp_path, make_scene):
    path = tmp_path / "small.h5"
    write_challenge(path, [make_scene(shape=(3, 8, 8))])
    code, _, stderr = run("scenarios", path, "-q")
    assert code == 2
    assert f"{path}: sample_00: cannot be scored" in stderr


def test_matched_counts_are_poisson_about_the_nominal_rate(make_scene):
    scene = make_scene(shape=(4, 60, 60))
    matched = without_mismatch(scene, 0)
    rate = expected_counts(scene.x_true, Spec(), scene.acquisition)
    standard = (matched.y - rate) / np.sqrt(rate)
    assert standard.mean() == pytest.approx(0, abs=0.03)
    assert standard.std() == pytest.approx(1, abs=0.03)
    assert matched.true_spec.as_dict() == Spec().as_dict()
    np.testing.assert_array_equal(without_mismatch(scene, 0).y, matched.y)
    assert (without_mismatch(scene, 1).y != matched.y).any()


class Mean:
    def __init__(self, psnr):
        self.psnr = psnr

    def means(self):
        return {"psnr": self.psnr}


@pytest.mark.parametrize(
    ("psnr", "sentence"),
    [
        ((42, 38, 41), "Mismatch costs 4.00 dB of PSNR; calibration wins back 3.00 dB of it (75 %)."),
        ((42, 38, 37), "Mismatch costs 4.00 dB of PSNR; calibration loses another 1.00 dB."),
        ((np.nan, np.nan, np.nan), "Nothing to compare: every scene diverged in one of the scenarios."),
        ((42, 42, 42), "Mismatch costs no measurable PSNR here (+0.00 dB); calibration changes it by +0.00 dB."),
    ],
)
def test_verdict(psnr, sentence):
    assert verdict({name: Mean(value) for name, value in zip(("I", "II", "III"), psnr, strict=True)}) == sentence


def test_report_command(run, result, challenge, tmp_path):
    page = tmp_path / "page.html"
    code, stdout, _ = run("report", result, "--truth", challenge, "-o", page)
    assert (code, stdout) == (0, f"wrote {page}\n")
    assert "sample_02" in page.read_text()
    assert run("report", result, "-o", page)[0] == 2
    assert run("report", result, "-o", page, "--overwrite")[0] == 0


def test_demo_runs_the_whole_chain(run, engine, generator, tmp_path):
    code, stdout, stderr = run("demo", "--out", tmp_path / "demo", "--seed", 2)
    assert code == 0, stderr
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == [
        "reconstruction.h5",
        "report.html",
        "scenes.h5",
    ]
    assert list_scenes(tmp_path / "demo" / "scenes.h5") == ["sample_00", "sample_01"]
    assert (generator[0][:2], engine.options[0].seed) == ((2, 2), 2)
    assert f"report: {tmp_path / 'demo' / 'report.html'}" in stdout
    assert run("demo", "--out", tmp_path / "demo")[0] == 2


def test_demo_with_a_diverged_scene_still_reports(run, engine, generator, tmp_path):
    engine.diverging = {"sample_01"}
    code, stdout, stderr = run("demo", "--out", tmp_path / "demo")
    assert code == 1
    assert "mean of 1" in stdout
    assert "sample_01: diverged" in stderr
    assert (tmp_path / "demo" / "report.html").exists()


def test_methods_are_listed(run):
    _, stdout, _ = run("reconstruct", "--help")
    assert f"Inference method: {', '.join(method_names())}, or a classical one" in " ".join(
        stdout.replace("│", " ").split()
    )


def test_demo_names_the_directory_it_chose(run, engine, generator, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, stdout, _ = run("demo", "-q")
    assert code == 0
    assert stdout.startswith(f"report: {tmp_path}")
