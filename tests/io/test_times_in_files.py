"""Times of images in reconstruction files: they come back, and times that are none are refused."""

from dataclasses import replace

import h5py
import numpy as np
import pytest

from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.io import (
    InputError,
    Provenance,
    ReconstructionWriter,
    read_reconstruction,
    read_summaries,
    write_challenge,
)


@pytest.fixture
def written(tmp_path, make_scene, make_result):
    source, path = tmp_path / "in.h5", tmp_path / "out.h5"
    write_challenge(source, [make_scene()])
    result = make_result()
    times = 12.5 * np.arange(len(result.x_hat))
    provenance = Provenance.of_run(source, ReconstructOptions(to_fps=80.0))
    with ReconstructionWriter(path, provenance, source=source) as writer:
        writer.write(replace(result, times_ms=times))
    return path, times, source


def test_times_come_back(written):
    path, times, _ = written
    (summary,) = read_summaries(path)
    found = read_reconstruction(path, summary.name)
    np.testing.assert_array_equal(found.times_ms, times)
    np.testing.assert_array_equal(summary.times_ms, times)
    assert found.frame_time_ms == 12.5
    np.testing.assert_array_equal(found.image_times_ms, times)


def test_a_run_for_other_times_is_another_run(written):
    _, _, source = written
    runs = [
        Provenance.of_run(source, ReconstructOptions(**values))
        for values in ({}, {"to_fps": 80.0}, {"times": (0.0, 5.0)}, {"times": (0.0, 6.0)})
    ]
    assert runs[1].assets.keys() - runs[0].assets.keys() == {"between.npz"}
    for i, one in enumerate(runs):
        for j, other in enumerate(runs):
            assert bool(one.differences(other)) == (i != j)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros(2), "not ascending"),
        (np.array([0.0, np.nan]), "not finite"),
        (np.zeros((2, 2)), r"has shape \(2, 2\)"),
        (np.arange(99.0), "has 99 values; expected one for each image"),
    ],
)
def test_times_that_are_none_are_refused(written, values, words):
    path = written[0]
    with h5py.File(path, "r+") as handle:
        (name,) = handle
        del handle[name]["times_ms"]
        handle[name]["times_ms"] = values
    with pytest.raises(InputError, match=words):
        read_reconstruction(path, name)
