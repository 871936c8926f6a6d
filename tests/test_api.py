"""The front door: what ``import fluorojax`` offers, and what it refuses."""

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from small_models import MODEL

import fluorojax
from fluorojax.data.digest import counts_digest
from fluorojax.data.reconstruction import Reconstruction, Status
from fluorojax.data.spec import SpecRanges
from fluorojax.io import write_challenge

COUNTS = np.random.default_rng(0).poisson(50.0, (4, 16, 16))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("api") / "mine.py"
    path.write_text(MODEL)
    return str(path)


def test_import_is_light_and_every_name_is_there():
    code = "import sys, fluorojax; heavy = {'jax', 'numpyro', 'h5py', 'matplotlib', 'scipy'} & set(sys.modules); "
    code += "assert not heavy, heavy; assert set(fluorojax.__all__) <= set(dir(fluorojax)); "
    code += "[getattr(fluorojax, name) for name in fluorojax.__all__]"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = fluorojax.nonsense


def test_a_stack_of_counts_needs_no_file(model):
    result = fluorojax.reconstruct(COUNTS, model=model, fps=15, photons=2000, attenuation_scale=5.0)
    scene = fluorojax.scene_from_counts(COUNTS, fps=15, photons=2000, attenuation_scale=5.0)
    assert scene.acquisition.as_dict()["frame_time_ms"] == pytest.approx(1000 / 15)
    assert scene.acquisition.as_dict()["photons_per_pixel"] == 2000
    again = fluorojax.reconstruct(scene, model=model)
    np.testing.assert_array_equal(result.x_hat, again.x_hat)
    assert result.x_hat.shape == COUNTS.shape


def test_scenes_and_files_give_lists_in_their_order(model, tmp_path):
    scenes = fluorojax.simulate(2, seed=4, frames=4, size=16, output=tmp_path / "in.h5")
    small = replace(scenes[0], name="b", y=scenes[0].y[:, :12], x_true=scenes[0].x_true[:, :12])
    mixed = fluorojax.reconstruct([scenes[1], small, scenes[0]], model=model)
    assert [result.name for result in mixed] == ["sample_01", "b", "sample_00"]
    from_file = fluorojax.reconstruct(tmp_path / "in.h5", model=model)
    assert [result.name for result in from_file] == ["sample_00", "sample_01"]
    np.testing.assert_allclose(from_file[0].x_hat, mixed[2].x_hat, atol=1e-5)
    assert fluorojax.score(from_file[0], scenes[0]).psnr > 10


def test_the_default_range_is_narrowed_where_the_window_would_reach_zero():
    with pytest.warns(UserWarning, match=r"range of motion_blur narrowed to -3.6 … 10 ms: with pulse_width_ms 4"):
        scene = fluorojax.scene_from_counts(COUNTS, pulse_ms=4)
    assert scene.ranges.as_dict()["motion_blur"] == pytest.approx((-3.6, 10.0))
    assert scene.ranges.as_dict()["lag"] == pytest.approx((-3.0, 6.0))


@pytest.mark.parametrize(
    ("counts", "arguments", "message"),
    [
        (-COUNTS, {}, "sample_00: counts: has -.* at index .*; expected counts ≥ 0"),
        (np.where(COUNTS > 60, np.nan, COUNTS), {}, "counts: has nan at index .*; expected finite counts"),
        (COUNTS[0, 0], {}, r"counts: has shape \(16,\); expected \(T, H, W\)"),
        (COUNTS.astype(str), {}, "counts: have dtype <U.*; expected real numbers"),
        (COUNTS + 1j, {}, "counts: have dtype complex128; expected real numbers"),
        (COUNTS, {"fps": 0}, "fps: is 0; expected a positive number of frames per second"),
        (COUNTS, {"fps": "fast"}, "fps: is 'fast'; expected a number"),
        (COUNTS, {"fps": 15, "frame_time_ms": 66}, "frame_time_ms: gives frame_time_ms a second time"),
        (COUNTS, {"pulse_ms": float("nan")}, "pulse_width_ms is nan; expected a finite number"),
        (COUNTS, {"photons": -1}, "photons_per_pixel is -1; expected a positive number"),
        (COUNTS, {"photons": float("inf")}, "photons_per_pixel is inf; expected a positive number"),
        (COUNTS, {"kilovolts": 75}, "kilovolts: is no protocol value; expected fps, photons, pulse_ms"),
        (COUNTS, {"tier": "secret"}, "tier: tier is 'secret'; expected one of public, dev, hidden"),
        (COUNTS, {"ranges": SpecRanges.for_tier("public"), "pulse_ms": 4}, "makes the exposure window -1 ms"),
        (
            COUNTS,
            {"ranges": SpecRanges(np.float32([0, 0, 1]), np.float32([1, 1, 1]))},
            "ranges: gain_drift has min 1 and max 1",
        ),
        (COUNTS, {"ranges": {"lag": (0.0, 1.0)}}, "ranges: is of type dict; expected SpecRanges"),
        (COUNTS, {"operator": None}, "operator: is of type NoneType; expected FluoroscopyOperator"),
        (COUNTS, {"photons": True}, "photons: is True; expected a number"),
        (COUNTS, {"name": "a/b"}, "name: is 'a/b'; expected a text without slashes"),
        (COUNTS[:0], {}, r"counts: has shape \(0, 16, 16\); expected at least one pixel"),
        (np.ma.masked_greater(COUNTS, 60), {}, "counts: are a masked array; expected a count in every pixel"),
        ([[1.0, 2.0], [3.0]], {}, r"counts: are frames of different shapes; expected an array \(T, H, W\)"),
        ([], {}, "source: is empty; expected counts, a scene, several scenes, or the path of a file"),
        (["a.h5", "b.h5"], {}, "source: holds str at index 0; expected counts"),
        (None, {}, "source: is of type NoneType; expected counts"),
        ({"y": COUNTS}, {}, "source: is of type dict; expected counts"),
    ],
)
def test_bad_counts_and_protocols_are_refused_by_name(counts, arguments, message):
    with pytest.raises(fluorojax.InputError, match=message):
        fluorojax.reconstruct(counts, **arguments)


def test_frames_in_a_list_are_counts(monkeypatch):
    def seen(scenes, options, progress):
        return [SimpleNamespace(name=scene.name, y=scene.y, diagnostics={}) for scene in scenes]

    monkeypatch.setattr("fluorojax.runs.batches.reconstruct_scenes", seen)
    for source in (list(COUNTS), tuple(COUNTS), COUNTS.tolist(), iter(COUNTS)):
        np.testing.assert_array_equal(fluorojax.reconstruct(source).y, COUNTS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": 1.5}, "seed is 1.5; expected a whole number"),
        ({"seed": None}, "seed is None; expected a whole number"),
        ({"batch": "two"}, "batch is 'two'; expected a positive number of scenes"),
        ({"batch": 0}, "batch is 0; expected a positive number of scenes"),
        ({"settings": {"samples": 1.5}}, "samples is 1.5; expected a positive number of mirrored pairs"),
        ({"settings": {"sample": 3}}, "settings name 'sample'; expected samples, chains"),
        ({"settings": {"method": "nuts"}}, "settings name method; expected it as an argument of its own, method=…"),
        ({"settings": {"held_out": 0.1}}, "settings name held_out; expected it as an argument of its own"),
        ({"settings": 3}, "settings is 3; expected a mapping"),
    ],
)
def test_bad_options_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        fluorojax.reconstruct(COUNTS, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count is 0; expected a positive whole number of scenes"),
        ({"count": 1.5}, "count is 1.5; expected a positive whole number"),
        ({"frame": 3}, "frame is no option of the simulator; expected tier, frames"),
    ],
)
def test_the_simulator_names_what_it_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        fluorojax.simulate(**arguments)


def test_scenes_made_by_hand_get_the_checks_of_files(model):
    good = fluorojax.scene_from_counts(COUNTS)
    with pytest.raises(fluorojax.InputError, match="sample_00: counts: has nan"):
        fluorojax.reconstruct(replace(good, y=np.full(COUNTS.shape, np.nan, np.float32)), model=model)
    with pytest.raises(fluorojax.InputError, match=r"x_true: has shape \(2, 2\); expected \(4, 16, 16\)"):
        fluorojax.reconstruct([replace(good, x_true=np.zeros((2, 2), np.float32))], model=model)
    with pytest.raises(fluorojax.InputError, match="sample_00: is the name of more than one scene"):
        fluorojax.reconstruct([good, good], model=model)
    with pytest.raises(fluorojax.InputError, match="fps: is given for a scene that has its own"):
        fluorojax.reconstruct(good, model=model, fps=15)
    with pytest.raises(fluorojax.InputError, match="counts: are of type list; expected a NumPy array"):
        fluorojax.reconstruct(replace(good, y=COUNTS.tolist()), model=model)
    with pytest.raises(fluorojax.InputError, match="acquisition: lag_ms is 'long'; expected a number"):
        fluorojax.reconstruct(replace(good, acquisition=fluorojax.Acquisition(lag_ms="long")), model=model)
    with pytest.raises(fluorojax.InputError, match="true_spec: has lag nan; expected a finite number"):
        fluorojax.reconstruct(replace(good, true_spec=fluorojax.Spec(lag=np.nan)), model=model, spec="true")
    with pytest.raises(fluorojax.InputError, match="source: holds ndarray at index 1; expected counts, a scene"):
        fluorojax.reconstruct([good, COUNTS], model=model)
    with pytest.raises(ValueError, match=r"ranges have bounds of shapes \(1,\) and \(1,\); expected \(3,\)"):
        replace(good, ranges=SpecRanges(np.zeros(1), np.ones(1)))
    with pytest.raises(ValueError, match="operator of a scene is NoneType; expected FluoroscopyOperator"):
        replace(good, operator=None)


def test_score_wants_two_of_a_kind(tmp_path):
    (scene,) = fluorojax.simulate(1, frames=2, size=16)
    write_challenge(tmp_path / "in.h5", [scene])
    with pytest.raises(fluorojax.InputError, match="expected two files, or a result and a scene"):
        fluorojax.score(tmp_path / "in.h5", scene)
    result = Reconstruction(
        "b", scene.x_true, None, fluorojax.Spec(), fluorojax.Spec(), {}, Status.CONVERGED, seconds=0.0
    )
    with pytest.raises(fluorojax.InputError, match="truth: is the scene sample_00; expected b, which"):
        fluorojax.score(result, scene)
    assert fluorojax.score(result, scene, allow_other=True).psnr == np.inf
    made_from_it = replace(result, name=scene.name, counts_sha256=counts_digest(scene.y))
    assert fluorojax.score(made_from_it, scene).psnr == np.inf
    other = replace(scene, y=scene.y + 1)
    with pytest.raises(fluorojax.InputError, match=r"sample_00.*truth: has other counts than those"):
        fluorojax.score(made_from_it, other)
    assert fluorojax.score(made_from_it, other, allow_other=True).psnr == np.inf
    with pytest.raises(fluorojax.InputError, match="x_true: has nan"):
        fluorojax.score(result, replace(scene, name="b", x_true=np.full_like(scene.y, np.nan)))
    with pytest.raises(fluorojax.InputError, match="result: is of type int; expected a result and a scene"):
        fluorojax.score(3, 4)


def test_subpackages_are_there_without_an_import_of_their_own():
    import pkgutil
    import subprocess
    import sys

    found = {part.name for part in pkgutil.iter_modules(fluorojax.__path__) if part.ispkg}
    inner = {"benchmark", "cli", "foreign"}  # programs, whose functions are commands
    command = "import sys, fluorojax; assert 'jax' not in sys.modules; print(' '.join(fluorojax._PACKAGES)); "
    command += "fluorojax.streaming.start; assert 'streaming' in dir(fluorojax)"
    told = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True).stdout
    assert set(told.split()) == found - inner
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fluorojax.nothing


def test_report_takes_dose_files_in_a_list(tmp_path):
    with pytest.raises(fluorojax.InputError, match="dose: is of type str; expected a list of paths"):
        fluorojax.report(tmp_path / "out.h5", tmp_path / "page.html", dose="rdsr.dcm")
    with pytest.raises(fluorojax.InputError, match="dose"):
        fluorojax.report(tmp_path / "out.h5", tmp_path / "page.html", dose=[3])


def test_report_wants_a_file(tmp_path):
    with pytest.raises(fluorojax.InputError, match="result: is of type list; expected the path of a reconstruction"):
        fluorojax.report([], tmp_path / "page.html")
