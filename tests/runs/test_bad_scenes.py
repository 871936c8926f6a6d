"""One bad scene ends as diverged with its reason, and the rest of the batch goes on."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from fluorojax.calibration.posterior import SpecPosterior
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec, SpecRanges
from fluorojax.io import (
    InputError,
    Selection,
    list_reconstructions,
    publish_scene,
    read_scene,
    read_summaries,
    write_challenge,
)
from fluorojax.io.errors import RunError
from fluorojax.methods.nuts import _high_quantile
from fluorojax.methods.summary import Summary
from fluorojax.runs import batches, files
from fluorojax.runs.files import reconstruct_file
from fluorojax.runs.notes import assumptions
from fluorojax.runs.places import Place
from fluorojax.runs.progress import ProgressDisplay

SHAPE = (3, 8, 8)


def scene(name, **changes):
    counts = np.random.default_rng(list(name.encode())).poisson(50.0, SHAPE).astype(np.float32)
    fields = {"acquisition": Acquisition(photons_per_pixel=200.0), "ranges": SpecRanges.for_tier("public")}
    return Scene(name, counts, **{**fields, **changes})


SCENES = [scene(f"sample_0{i}") for i in range(3)]
ERRORS = [
    np.linalg.LinAlgError("Eigenvalues did not converge"),
    FloatingPointError("overflow encountered in multiply"),
    ValueError("a method refuses this scene\nfor a reason"),
    jax.errors.JaxRuntimeError("INTERNAL: a custom call failed"),
]


def check(results, error):
    results = {result.name: result for result in results}
    assert {name: result.status for name, result in results.items()} == {
        "sample_00": Status.CONVERGED,
        "sample_01": Status.DIVERGED,
        "sample_02": Status.CONVERGED,
    }
    first = str(error).splitlines()[0]
    assert f"({type(error).__name__}: {first})" in results["sample_01"].diagnostics["verdict"]
    assert "\n" not in results["sample_01"].diagnostics["verdict"]


def run(options):
    return list(batches.reconstruct_scenes(SCENES, options, progress=ProgressDisplay()))


@pytest.fixture
def quick(monkeypatch):
    """A classical method that returns the start of the scene."""
    from fluorojax.methods.classical import ClassicalBase

    def solve(self, job):
        images = np.full(job.scene.y.shape, 0.5, np.float32)
        spec = job.posterior
        return Reconstruction(
            job.scene.name, images, 0.1 * images, spec.spec, spec.std, spec.interval, Status.CONVERGED, 1.0
        )

    monkeypatch.setattr(ClassicalBase, "run", solve)
    return ReconstructOptions(method="raw", spec="nominal")


def failing(function, error, of=lambda argument: argument.scene.name):
    """The function, which raises an error for the second scene."""

    def call(*args, **kwargs):
        names = of(*args)
        if "sample_01" in (names if isinstance(names, list) else [names]):
            raise error
        return function(*args, **kwargs)

    return call


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_of_a_method_ends_its_scene(quick, monkeypatch, error):
    from fluorojax.methods.classical import ClassicalBase

    solve = ClassicalBase.run
    monkeypatch.setattr(ClassicalBase, "run", failing(solve, error, of=lambda method, job: job.scene.name))
    check(run(quick), error)


def test_an_error_of_the_calibration_ends_its_scene(quick, monkeypatch):
    monkeypatch.setattr(batches, "_spec_posterior", failing(batches._spec_posterior, ERRORS[0], of=lambda s, o: s.name))
    check(run(quick), ERRORS[0])


def test_the_scene_of_a_chunk_that_fails_is_found(monkeypatch):
    def solve(method, jobs, size):
        zeros = np.zeros(SHAPE, np.float32)
        three = np.zeros((3, *SHAPE), np.float32)
        one = Summary(zeros + 0.5, zeros + 0.01, three, three, None, True, False, False, {}, None)
        return [one for _ in jobs]

    tried = failing(solve, ERRORS[3], of=lambda method, jobs, size: [job.scene.name for job in jobs])
    monkeypatch.setattr(batches, "solve_chunk", tried)
    check(run(ReconstructOptions(method="map", spec="nominal", batch=3)), ERRORS[3])


@pytest.mark.parametrize(
    "error",
    [
        RunError("draws is 4; expected at least 8"),
        MemoryError("full"),
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory"),
        KeyError("a mistake"),
    ],
    ids=["setting", "memory", "device memory", "mistake"],
)
def test_an_error_that_is_of_no_scene_ends_the_run(quick, monkeypatch, error):
    from fluorojax.methods.classical import ClassicalBase

    solve = ClassicalBase.run
    monkeypatch.setattr(ClassicalBase, "run", failing(solve, error, of=lambda method, job: job.scene.name))
    with pytest.raises(type(error)):
        run(quick)


def test_the_file_names_the_scene_and_the_reason(tmp_path, quick, monkeypatch):
    from fluorojax.methods.classical import ClassicalBase

    solve = ClassicalBase.run
    monkeypatch.setattr(ClassicalBase, "run", failing(solve, ERRORS[0], of=lambda method, job: job.scene.name))
    write_challenge(tmp_path / "in.h5", SCENES)
    outcome = reconstruct_file(tmp_path / "in.h5", tmp_path / "out.h5", quick, progress=ProgressDisplay())
    assert (outcome.diverged, outcome.exit_code) == (("sample_01",), 1)
    summaries = {summary.name: summary for summary in read_summaries(tmp_path / "out.h5")}
    assert "Eigenvalues did not converge" in summaries["sample_01"].diagnostics["verdict"]
    assert "verdict" not in summaries["sample_00"].diagnostics


RANGES = {
    "below -100": ((-150.0, 1.0), "min of gain_drift is -150 %/frame; expected more than -100 %/frame"),
    "to nothing": ((-0.5, 1e9), r"max of gain_drift is 1e+09 %/frame, by which the gain of frame 7 is 10^49"),
}


@pytest.mark.parametrize("case", RANGES)
def test_ranges_that_no_detector_has_are_refused(tmp_path, case):
    span, problem = RANGES[case]
    ranges = SpecRanges.from_dict({**SpecRanges.for_tier("public").as_dict(), "gain_drift": span})
    bad = replace(scene("sample_00", ranges=ranges), y=np.ones((8, 8, 8), np.float32))
    with pytest.raises(InputError) as caught:
        list(batches.reconstruct_scenes([bad], ReconstructOptions(), progress=ProgressDisplay()))
    assert problem in str(caught.value)
    write_challenge(tmp_path / "in.h5", [bad])
    with pytest.raises(InputError) as caught:
        reconstruct_file(tmp_path / "in.h5", tmp_path / "out.h5", ReconstructOptions(), progress=ProgressDisplay())
    assert f"in.h5: sample_00: spec_ranges: {problem}" in str(caught.value)


def test_a_key_of_the_file_does_not_meet_those_of_the_reader(tmp_path):
    """``assumed`` is where the reader lists defaults; a file may have a key of that name for itself."""
    write_challenge(tmp_path / "in.h5", [replace(SCENES[0], metadata={"assumed": "by the user", "site": "A"})])
    read = read_scene(tmp_path / "in.h5", "sample_00")
    assert read.metadata == {"assumed in the file": "by the user", "site": "A"}
    assert assumptions(read) == []


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_of_the_check_by_held_out_quanta_ends_no_scene(quick, monkeypatch, error):
    calibrated = batches._spec_posterior

    def of_all_quanta(scene, options):
        if not any(scene.y is one.y for one in SCENES):
            raise error
        return calibrated(scene, options)

    monkeypatch.setattr(batches, "_spec_posterior", of_all_quanta)
    for result in run(replace(quick, held_out=0.2)):
        assert result.status is Status.CONVERGED
        assert result.diagnostics["held_out"]["level"] == "unknown"
        assert str(error).splitlines()[0] in result.diagnostics["held_out"]["verdict"]


@pytest.mark.parametrize("limit", [float("nan"), -1.0])
def test_a_time_limit_is_a_number_of_seconds(tmp_path, limit):
    with pytest.raises(ValueError, match=r"the time limit is .*; expected a number of seconds, at least 0"):
        reconstruct_file(tmp_path / "in.h5", tmp_path / "out.h5", ReconstructOptions(), time_limit=limit)


@pytest.mark.parametrize("finished", [2, 3])
def test_a_time_limit_loses_no_scene_that_stands_on_disk(tmp_path, monkeypatch, finished):
    """Another process may have finished scenes of which the one that gathers has not heard."""

    class Elsewhere(Place):
        def run(self, shares, tally):
            for share in shares:
                for scene in SCENES[:finished]:
                    known = SpecPosterior.known(Spec(), scene.operator.parameters)
                    x = np.full(SHAPE, 0.5, np.float32)
                    spec = (known.spec, known.std, known.interval)
                    result = Reconstruction(scene.name, x, x, *spec, Status.CONVERGED, 1.0)
                    publish_scene(share.folder, share.provenance, result)
            yield from ()

    monkeypatch.setattr(files, "until", lambda events, end: events)
    source, output = tmp_path / "in.h5", tmp_path / "out.h5"
    write_challenge(source, SCENES)
    heard = []
    outcome = reconstruct_file(
        source, output, ReconstructOptions(), place=Elsewhere(), time_limit=1e6, on_result=heard.append
    )
    names = [scene.name for scene in SCENES]
    assert list_reconstructions(output) == [result.name for result in heard] == names[:finished]
    assert list(outcome.skipped) == names[finished:]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5", "out.h5"]


@pytest.mark.parametrize("frames", [5, "0-3", [0, 99], [0.5], [True], [[1]]])
def test_keys_of_the_file_that_do_not_fit_are_kept_apart(tmp_path, frames):
    """``remarks`` is what a reader tells the user, and ``mask_frames`` what a subtraction takes."""
    write_challenge(tmp_path / "in.h5", [replace(SCENES[0], metadata={"remarks": 5, "mask_frames": frames})])
    read = read_scene(tmp_path / "in.h5", "sample_00")
    assert read.metadata == {"remarks in the file": 5, "mask_frames in the file": frames}
    assert assumptions(read) == []
    Selection(frames=(0, 2)).apply(read, "in.h5")


@pytest.mark.parametrize("pixel", ["0.3", [], True, 0, -1.0, 1e300])
def test_a_distance_of_pixels_is_a_positive_number(tmp_path, pixel):
    write_challenge(tmp_path / "in.h5", [replace(SCENES[0], metadata={"pixel_mm": pixel})])
    assert read_scene(tmp_path / "in.h5", "sample_00").metadata == {"pixel_mm in the file": pixel}


def test_mask_frames_that_fit_are_taken(tmp_path):
    write_challenge(tmp_path / "in.h5", [replace(SCENES[0], metadata={"mask_frames": [0, 2]})])
    assert read_scene(tmp_path / "in.h5", "sample_00").metadata == {"mask_frames": [0, 2]}


def test_a_quantile_of_infinite_values_is_infinite_and_warns_of_nothing():
    values = np.array([1.0, 1.2, np.inf, np.inf])
    assert _high_quantile(values, 0.99) == np.inf
    assert _high_quantile(values, 0.2) == 1.2
    assert _high_quantile(values[:2], 0.5) == pytest.approx(1.1)
