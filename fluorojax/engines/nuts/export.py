"""The way of a run's draws to ArviZ: an xarray tree, and the same as a netCDF file."""

import datetime
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from fluorojax.data.reconstruction import QUANTILES, Reconstruction
from fluorojax.data.spec import SPEC_UNITS
from fluorojax.engines.nuts.result import NutsResult
from fluorojax.io.atomic import atomic_output
from fluorojax.io.provenance import package_versions

if TYPE_CHECKING:
    import xarray

_IMAGES = ("x_mean", "x_variance", "x_quantiles", "x_quantile_error", "x_rhat")


def to_datatree(
    result: NutsResult | Reconstruction, counts: Float[np.ndarray, "*shape"] | None = None
) -> "xarray.DataTree":
    """The draws as ArviZ 1.x reads them: groups ``posterior`` and ``sample_stats`` over (chain, draw).

    ``constant_data`` holds mean, variance and quantiles of x, and of a :class:`NutsResult` R-hat; ``observed_data`` the
    ``counts`` where given. A :class:`~fluorojax.data.reconstruction.Reconstruction`, fresh or read from a file, has
    draws where its method was NUTS. Raises ``ValueError`` for one without and ``ImportError`` without xarray.
    """
    try:
        import xarray
    except ImportError as error:
        raise ImportError("draws for ArviZ need xarray; install fluorojax[arviz]") from error
    lead = ("chain", "draw")
    kept = _kept(result)

    def dataset(variables: Mapping[str, tuple], coords: Mapping[str, Any] | None = None) -> "xarray.Dataset":
        # The verdict belongs to the draws, wherever a group of them ends up.
        return xarray.Dataset(dict(variables), coords=dict(coords or {}), attrs=_attributes(kept))

    posterior: dict[str, tuple] = {}
    for name, draws in kept.spec.items():
        posterior[name] = (lead, draws, {"units": kept.units[name]})
    for name, draws in kept.hyperparameters.items():
        posterior[name] = ((*lead, *(f"{name}_dim_{i}" for i in range(draws.ndim - 2))), draws)
    places = list(kept.places)
    if places:
        posterior["x"] = ((*lead, "place"), np.stack([kept.places[name] for name in places], axis=-1))
    count, draws = next(iter(kept.spec.values())).shape
    index = {"chain": np.arange(count), "draw": np.arange(draws)}

    axes = ("frame", "row", "column")[-kept.images["x_mean"].ndim :]
    images = {name: (("quantile", *axes)[-values.ndim :], values) for name, values in kept.images.items()}
    groups = {
        "posterior": dataset(posterior, index | ({"place": places} if places else {})),
        "sample_stats": dataset(
            # a file holds the flags as numbers
            {n: (lead, values.astype(bool) if n == "diverging" else values) for n, values in kept.stats.items()},
            index,
        ),
        "constant_data": dataset(images, {"quantile": list(QUANTILES)}),
    }
    if counts is not None:
        groups["observed_data"] = dataset({"counts": (axes, np.asarray(counts))})
    return xarray.DataTree.from_dict(groups)


@dataclass(frozen=True)
class _Kept:
    """What of a run goes out, whichever form it comes in."""

    model: str
    verdict: str
    spec: dict[str, np.ndarray]
    units: dict[str, str]
    """Of the spec parameters."""
    hyperparameters: dict[str, np.ndarray]
    places: dict[str, np.ndarray]
    images: dict[str, np.ndarray]
    stats: dict[str, np.ndarray]


def _kept(result: NutsResult | Reconstruction) -> _Kept:
    if isinstance(result, NutsResult):
        return _Kept(
            result.model,
            result.verdict,
            {name: result.spec_draws[..., i] for i, name in enumerate(result.spec_names)},
            {name: SPEC_UNITS.get(name, "") for name in result.spec_names},
            result.hyperparameter_draws,
            result.watched_draws,
            {name: getattr(result, name) for name in _IMAGES},
            result.sample_stats,
        )
    units = {parameter.name: parameter.unit for parameter in result.parameters}
    if result.x_std is None or not set(units) <= set(result.draws):
        raise ValueError(f"{result.name} has no draws; expected a reconstruction by the method nuts")
    places = {name: draws for name, draws in result.draws.items() if name.startswith("x[")}
    others = {n: draws for n, draws in result.draws.items() if n not in places and n not in units}
    images = {"x_mean": result.x_hat, "x_variance": result.x_std**2}
    if result.x_quantiles is not None:
        images["x_quantiles"] = result.x_quantiles
    return _Kept(
        str(result.diagnostics.get("model", "")),
        str(result.diagnostics.get("verdict", "")),
        {name: result.draws[name] for name in units},
        units,
        others,
        places,
        images,
        result.sample_stats,
    )


def write_netcdf(
    path: str | os.PathLike[str],
    result: NutsResult | Reconstruction,
    counts: Float[np.ndarray, "*shape"] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write :func:`to_datatree` as a netCDF-4 file, whole or not at all; ``arviz.from_netcdf`` reads it.

    Raises ``ImportError`` without xarray and h5netcdf, :class:`fluorojax.io.InputError` where the file cannot be made.
    """
    tree = to_datatree(result, counts)
    try:
        import h5netcdf  # noqa: F401  named here because xarray's own message lists every engine it knows
    except ImportError as error:
        raise ImportError("netCDF files need h5netcdf; install fluorojax[arviz]") from error
    with atomic_output(path, overwrite=overwrite) as temporary:
        tree.to_netcdf(temporary, engine="h5netcdf")


def _attributes(kept: _Kept) -> dict[str, Any]:
    versions = package_versions()
    return {
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(),
        "creation_library": "fluorojax",
        "creation_library_version": versions["fluorojax"],
        "inference_library": "numpyro",
        "inference_library_version": versions["numpyro"],
        "jax_version": versions["jax"],
        "model": kept.model,
        "verdict": kept.verdict,
    }
