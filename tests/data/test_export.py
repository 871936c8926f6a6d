"""Reconstructions as labelled arrays: units, coordinates, and groups for every method."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.reconstruction import QUANTILES, Reconstruction, Status, facts_of
from fluorojax.data.scene import Scene
from fluorojax.data.spec import SPEC_NAMES, Spec, SpecRanges

xarray = pytest.importorskip("xarray")

SHAPE = (4, 5, 6)


def result(shape=SHAPE, **changes):
    rng = np.random.default_rng(0)
    fields = {
        "name": "sample_00",
        "x_hat": rng.uniform(size=shape).astype(np.float32),
        "x_std": np.full(shape, 0.1, np.float32),
        "spec": Spec(1.0, 0.5, 0.25),
        "spec_std": Spec(0.5, 0.25, 0.125),
        "spec_interval": {"motion_blur": (0.0, 2.0), "lag": (0.0, 1.0)},
        "status": Status.CONVERGED,
        "seconds": 1.5,
        "spec_correlation": np.full((3, *shape), 0.5, np.float32),
    }
    return Reconstruction(**{**fields, **changes})


def scene(metadata):
    y = np.zeros(SHAPE, np.float32)
    return Scene("sample_00", y, Acquisition(frame_time_ms=40.0), SpecRanges.for_tier("public"), metadata)


def test_images_have_units_and_times():
    found = replace(result(), **facts_of(scene({"pixel_mm": 0.3}))).to_xarray()
    assert found.x_hat.dims == ("frame", "row", "column")
    np.testing.assert_array_equal(found.x_hat, result().x_hat)
    np.testing.assert_allclose(found.time, [0, 40, 80, 120])
    np.testing.assert_allclose(found.y, 0.3 * np.arange(5))
    np.testing.assert_allclose(found.x, 0.3 * np.arange(6))
    assert (found.time.units, found.x.units, found.x_hat.units) == ("ms", "mm", "1")
    assert all("units" in variable.attrs for variable in found.data_vars.values())
    np.testing.assert_allclose(found.noise_std, 0.1 * np.sqrt(0.25), rtol=1e-6)
    assert found.attrs["nominal_frame_time_ms"] == 40


def test_parameters_are_found_by_name():
    found = result().to_xarray()
    assert float(found.spec.sel(parameter="lag")) == 0.5
    assert float(found.spec_high.sel(parameter="motion_blur")) == 2
    assert np.isnan(found.spec_low.sel(parameter="gain_drift"))
    assert str(found.parameter_unit.sel(parameter="gain_drift").item()) == "%/frame"


@pytest.mark.parametrize("pixel", [None, 0, -1.0, float("nan"), "0.3", True])
def test_what_is_not_known_has_no_coordinate(pixel):
    assert facts_of(scene({"pixel_mm": pixel}))["pixel_mm"] is None
    bare = result(x_std=None, spec_correlation=None).to_xarray()
    assert not {"time", "x", "y", "x_std", "noise_std", "quantile"} & set(bare.variables)
    np.testing.assert_array_equal(bare.frame, range(4))


def test_a_single_frame_has_no_frame():
    assert result((5, 6)).to_xarray().x_hat.dims == ("row", "column")
    assert "time" not in replace(result((5, 6)), nominal={"frame_time_ms": 40.0}).to_xarray().coords


def test_quantiles_are_found_by_probability():
    quantiles = np.stack([np.full(SHAPE, q, np.float32) for q in QUANTILES])
    assert float(result(x_quantiles=quantiles).to_xarray().x_quantiles.sel(quantile=0.95)[0, 0, 0]) == np.float32(0.95)


def test_every_method_has_a_tree():
    counts = np.ones(SHAPE)
    tree = result().to_datatree(counts)
    assert set(tree.children) == {"constant_data", "observed_data", "reconstruction"}
    np.testing.assert_allclose(tree["constant_data"]["x_variance"], 0.01, rtol=1e-5)
    assert tree["reconstruction"]["x_hat"].dims == ("frame", "row", "column")
    assert tree["constant_data"].attrs["verdict"] == "converged"


def test_draws_stand_where_arviz_looks_for_them():
    draws = {name: np.zeros((2, 7)) for name in (*SPEC_NAMES, "x[0, 1, 2]")}
    draws["scale"] = np.zeros((2, 7, 3))
    tree = result(draws=draws, sample_stats={"diverging": np.zeros((2, 7), np.uint8)}).to_datatree()
    posterior = tree["posterior"]
    assert dict(posterior.sizes) == {"chain": 2, "draw": 7, "place": 1, "scale_dim_0": 3}
    assert set(posterior.data_vars) == {*SPEC_NAMES, "x", "scale"}
    assert posterior["lag"].units == "ms"
    assert tree["sample_stats"]["diverging"].dtype == bool


def test_without_xarray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    for export in (result().to_xarray, result().to_datatree):
        with pytest.raises(ImportError, match=r"install fluorojax\[arviz\]"):
            export()
