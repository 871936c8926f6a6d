"""Any content at all: a file is read, or refused in one line that can be printed."""

import json
import math
import tempfile
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fluorojax.cli.info import _of_reconstruction, _of_scenes
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import SPEC_NAMES
from fluorojax.io import InputError, Selection, open_scenes, read_reconstruction
from fluorojax.reports import write_report

quick = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
SHAPE = (2, 12, 12)

extremes = st.sampled_from(
    [
        *(0, -0.0, 1, -1, 1e-320, 1e-30, 1e-6, 0.5, 8, 1000, 1e6, 3e38, 1e39, 1e308, -1e308, 2**63, 10**308, 10**400),
        *(math.nan, math.inf, -math.inf),
    ]
)
numbers = extremes | st.floats() | st.integers()
text = st.text(max_size=40) | st.sampled_from(["\x1b[2J", "\n", "\u202e", "sample_00", "ms", "lag", "x" * 400])
scalars = st.none() | st.booleans() | numbers | text
anything = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4))
protocol = st.dictionaries(st.sampled_from(list(Acquisition.__dataclass_fields__)), numbers, max_size=7)
ranges = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(SPEC_NAMES) | text, "min": numbers, "max": numbers},
        optional={"unit": st.sampled_from(["ms", "%/frame", "", "s"]) | scalars},
    ),
    max_size=4,
)
SOUND_RANGES = [{"name": name, "min": -0.1, "max": 0.2} for name in SPEC_NAMES]
values = npst.arrays(
    npst.integer_dtypes()
    | npst.floating_dtypes(sizes=(16, 32, 64))
    | npst.unsigned_integer_dtypes()
    | npst.complex_number_dtypes(sizes=(64, 128))
    | npst.byte_string_dtypes(min_len=1, max_len=3)
    | npst.boolean_dtypes(),
    npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
)


def as_json(value):
    """As Python writes it: with NaN and Infinity, which are no JSON."""
    return json.dumps(value)


@contextmanager
def file_of(attributes, datasets):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        with h5py.File(path, "w") as handle:
            group = handle.create_group("sample_00")
            for name, value in datasets.items():
                group[name] = value
            for name, value in attributes.items():
                if len(value) < 60_000:
                    group.attrs[name] = value.encode()
        yield path


def read_or_refuse(read):
    """The result of ``read``; None where it was refused in one line."""
    try:
        return read()
    except InputError as error:
        refused = error
    line = str(refused)
    assert line.isprintable()
    assert 0 < len(line) < 2000
    return None


def check_scene(path):
    scenes = read_or_refuse(lambda: open_scenes(path))
    scene = None if scenes is None else read_or_refuse(lambda: scenes["sample_00"])
    if scene is not None:
        assert np.isfinite(scene.y).all()
        assert (scene.y >= 0).all()
        scene.acquisition.check(scene.ranges, scene.operator.parameters)
        json.dumps(scene.metadata)
    read_or_refuse(lambda: _of_scenes(path, Selection()))
    return scene


@quick
@given(values)
def test_counts_of_any_type_and_shape(array):
    with file_of(
        {"acquisition": as_json({"photons_per_pixel": 100.0}), "spec_ranges": as_json(SOUND_RANGES)}, {"y": array}
    ) as path:
        scene = check_scene(path)
        if scene is not None:
            np.testing.assert_array_equal(scene.y, array.astype(np.float32))


@quick
@given(protocol | anything, ranges | st.just(SOUND_RANGES) | anything, anything, st.none() | anything)
def test_protocols_and_ranges(acquisition, spec_ranges, metadata, true_spec):
    attributes = {"acquisition": acquisition, "spec_ranges": spec_ranges, "metadata": metadata}
    if true_spec is not None:
        attributes["true_spec"] = true_spec
    with file_of({name: as_json(value) for name, value in attributes.items()}, {"y": np.ones(SHAPE, "u2")}) as path:
        check_scene(path)


@quick
@given(protocol)
def test_extreme_protocols_alone(acquisition):
    attributes = {"acquisition": as_json({"photons_per_pixel": 100.0} | acquisition)}
    attributes["spec_ranges"] = as_json(SOUND_RANGES)
    with file_of(attributes, {"y": np.ones(SHAPE, "u2")}) as path:
        check_scene(path)


@quick
@given(anything, anything)
def test_stages_and_text_that_is_no_json(stages, garbage):
    attributes = {"acquisition": str(garbage), "spec_ranges": as_json(SOUND_RANGES), "stages": as_json(stages)}
    attributes = {name: value.encode("utf-8", "replace").decode() for name, value in attributes.items()}
    with file_of(attributes, {"y": np.ones(SHAPE, "u2")}) as path:
        check_scene(path)


spec = st.dictionaries(st.sampled_from(SPEC_NAMES), numbers | st.none(), min_size=3, max_size=3)
diagnostics = st.dictionaries(
    st.sampled_from(
        "model identifiability contraction variance_share_of_chain fisher_information energy mean_squared_residual "
        "information_in_counts iterations rounds variance_factor variance_factor_measured variance_factor_std verdict "
        "convergence divergences newton_steps".split()
    )
    | text,
    anything,
    max_size=8,
)


@settings(quick, max_examples=25)
@given(spec, diagnostics, st.sampled_from(["converged", "diverged", "not_converged", "\x1b"]), numbers, anything)
def test_results_and_their_report(found, facts, status, seconds, parameters):
    attributes = {"corrected_spec": as_json(found), "diagnostics": as_json(facts), "status": status}
    attributes["corrected_spec_std"] = as_json(dict.fromkeys(SPEC_NAMES, 0.5))
    if isinstance(parameters, list):
        attributes["parameters"] = as_json(parameters)
    with file_of(attributes, {"x_hat": np.full(SHAPE, 0.5, "f4"), "x_std": np.full(SHAPE, 0.1, "f4")}) as path:
        with h5py.File(path, "r+") as handle:
            handle["sample_00"].attrs["seconds"] = float(min(max(seconds, -1e300), 1e300))
        read_or_refuse(lambda: read_reconstruction(path, "sample_00"))
        read_or_refuse(lambda: _of_reconstruction(path, None))
        page = path.with_suffix(".html")
        if read_or_refuse(lambda: write_report(page, path)) is not None:
            assert "\x1b" not in page.read_text(encoding="utf-8")
