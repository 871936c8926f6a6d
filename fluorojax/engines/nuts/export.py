"""Export of the draws of a run to ArviZ, as an xarray tree or a netCDF file."""

import os
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from fluorojax.data.export import draws_tree
from fluorojax.data.reconstruction import Reconstruction
from fluorojax.engines.nuts.result import NutsResult
from fluorojax.io.atomic import atomic_stream

if TYPE_CHECKING:
    import xarray

_IMAGES = ("x_mean", "x_variance", "x_quantiles", "x_quantile_error", "x_rhat")


def to_datatree(
    result: NutsResult | Reconstruction, counts: Float[np.ndarray, "*shape"] | None = None
) -> "xarray.DataTree":
    """The draws as ArviZ 1.x reads them: groups ``posterior`` and ``sample_stats`` over (chain, draw).

    ``constant_data`` holds mean, variance and quantiles of x, and of a :class:`NutsResult` R-hat; ``observed_data`` the
    ``counts`` where given. A :class:`~fluorojax.data.reconstruction.Reconstruction` has a method of the same name,
    which also serves results without draws; here one without draws raises ``ValueError``. Raises ``ImportError``
    without xarray.
    """
    if isinstance(result, Reconstruction):
        if not {parameter.name for parameter in result.parameters} <= set(result.draws):
            raise ValueError(f"{result.name} has no draws; expected a reconstruction by the method nuts")
        return result.to_datatree(counts)
    return draws_tree(
        spec={name: result.spec_draws[..., i] for i, name in enumerate(result.spec_names)},
        hyperparameters=result.hyperparameter_draws,
        places=result.watched_draws,
        images={name: getattr(result, name) for name in _IMAGES},
        stats=result.sample_stats,
        attributes={"model": result.model, "verdict": result.verdict},
        counts=counts,
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
    with atomic_stream(path, overwrite=overwrite) as stream:
        stream.write(tree.to_netcdf(engine="h5netcdf"))
