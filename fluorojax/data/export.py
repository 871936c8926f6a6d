"""Reconstructions as labelled arrays of xarray, and as the tree of groups that ArviZ reads.

xarray is imported when a function is called; it comes with the extra ``arviz``.
"""

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from fluorojax.data.reconstruction import QUANTILES, Reconstruction
from fluorojax.data.spec import SPEC_UNITS

if TYPE_CHECKING:
    import xarray

_LEAD = ("chain", "draw")


def to_xarray(result: Reconstruction) -> "xarray.Dataset":
    """Images and parameters of a result as a dataset over (frame, row, column); a single frame has no ``frame``.

    **Coordinates:** ``time`` (ms) along the frames where the frame time is known; ``y`` and ``x`` (mm) along rows and
    columns where the size of a pixel is; else ``frame``, ``row`` and ``column`` are numbers from 0. ``parameter`` holds
    the names of the mismatch parameters, ``quantile`` probabilities.

    **Variables:** ``x_hat``, and where the result has them ``x_std``, ``noise_std``, ``x_quantiles`` and
    ``spec_correlation``, all of the dimensionless attenuation x; ``spec``, ``spec_std``, ``spec_low`` and ``spec_high``
    over ``parameter``, in the units that stand in the coordinate ``parameter_unit``. Every variable has an attribute
    ``units``. Raises ``ImportError`` without xarray.
    """
    xarray = _import_xarray()
    axes = ("frame", "row", "column")[-result.x_hat.ndim :]
    variables: dict[str, tuple] = {"x_hat": (axes, result.x_hat, _about("normalised attenuation, point estimate"))}
    for name, values, lead, what in (
        ("x_std", result.x_std, (), "posterior standard deviation of x"),
        ("noise_std", result.noise_std, (), "part of x_std that an exactly known imaging chain would leave"),
        ("x_quantiles", result.x_quantiles, ("quantile",), "posterior quantiles of x"),
        ("spec_correlation", result.spec_correlation, ("parameter",), "posterior correlation of a parameter with x"),
    ):
        if values is not None:
            variables[name] = ((*lead, *axes), values, _about(what))
    unknown, names = (float("nan"), float("nan")), [parameter.name for parameter in result.parameters]
    ends = np.array([result.spec_interval.get(name, unknown) for name in names], np.float64)
    for name, values, what in (
        ("spec", [result.spec.as_dict()[name] for name in names], "posterior median of the mismatch parameter"),
        ("spec_std", [result.spec_std.as_dict()[name] for name in names], "posterior standard deviation"),
        ("spec_low", ends[:, 0], "lower end of the 90 % credible interval"),
        ("spec_high", ends[:, 1], "upper end of the 90 % credible interval"),
    ):
        about = {"units": "see parameter_unit", "long_name": what}
        variables[name] = (("parameter",), np.asarray(values, np.float64), about)
    units = [parameter.unit for parameter in result.parameters]
    coordinates: dict[str, Any] = {
        **_places(result, axes),
        "parameter": names,
        "parameter_unit": ("parameter", units),
    }
    if result.x_quantiles is not None:
        coordinates["quantile"] = list(QUANTILES)
    attributes = {"name": result.name, "status": result.status.name.lower(), "seconds": result.seconds}
    nominal = {f"nominal_{name}": value for name, value in result.nominal.items()}
    return xarray.Dataset(variables, coords=coordinates, attrs={**attributes, **nominal})


def to_datatree(result: Reconstruction, counts: Float[np.ndarray, "*shape"] | None = None) -> "xarray.DataTree":
    """A result as a tree of datasets, for every method.

    ``constant_data`` holds mean, variance and quantiles of x; ``reconstruction`` everything that :func:`to_xarray`
    gives; ``observed_data`` the ``counts`` where given, shape (T, H, W) or (H, W). A result with draws (method nuts)
    also has ``posterior`` and ``sample_stats`` over (Markov chain, draw), which ArviZ reads without conversion.

    Raises ``ImportError`` without xarray.
    """
    images = {"x_mean": result.x_hat}
    if result.x_std is not None:
        images["x_variance"] = result.x_std**2
    if result.x_quantiles is not None:
        images["x_quantiles"] = result.x_quantiles
    places = {name: draws for name, draws in result.draws.items() if name.startswith("x[")}
    units = {parameter.name: parameter.unit for parameter in result.parameters}
    others = {n: draws for n, draws in result.draws.items() if n not in places and n not in units}
    tree = draws_tree(
        spec={name: result.draws[name] for name in units if name in result.draws},
        units=units,
        hyperparameters=others,
        places=places,
        images=images,
        stats=result.sample_stats,
        attributes={
            "model": str(result.diagnostics.get("model", "")),
            "verdict": str(result.diagnostics.get("verdict", result.status.value)),
        },
        counts=counts,
    )
    tree["reconstruction"] = _import_xarray().DataTree(to_xarray(result))
    return tree


def draws_tree(
    *,
    spec: Mapping[str, Float[np.ndarray, "chains draws"]],
    units: Mapping[str, str] = SPEC_UNITS,
    hyperparameters: Mapping[str, Float[np.ndarray, "chains draws *site"]],
    places: Mapping[str, Float[np.ndarray, "chains draws"]],
    images: Mapping[str, Float[np.ndarray, "..."]],
    stats: Mapping[str, np.ndarray],
    attributes: Mapping[str, str],
    counts: Float[np.ndarray, "*shape"] | None = None,
) -> "xarray.DataTree":
    """The groups that ArviZ 1.x reads, from draws by name and images by name; ``x_mean`` has to be among the images.

    Groups without draws are left out. ``attributes`` go into every group, with the versions of the libraries. Raises
    ``ImportError`` without xarray.
    """
    xarray = _import_xarray()
    about = {**_versions(), **attributes}

    def dataset(variables: Mapping[str, tuple], coords: Mapping[str, Any] | None = None) -> "xarray.Dataset":
        # The verdict belongs to the draws, wherever a group of them ends up.
        return xarray.Dataset(dict(variables), coords=dict(coords or {}), attrs=dict(about))

    posterior: dict[str, tuple] = {name: (_LEAD, draws, {"units": units.get(name, "")}) for name, draws in spec.items()}
    for name, draws in hyperparameters.items():
        posterior[name] = ((*_LEAD, *(f"{name}_dim_{i}" for i in range(draws.ndim - 2))), draws)
    if places:
        posterior["x"] = ((*_LEAD, "place"), np.stack(list(places.values()), axis=-1))
    groups = {}
    if posterior:
        chains, draws = next(iter(posterior.values()))[1].shape[:2]
        index = {"chain": np.arange(chains), "draw": np.arange(draws)}
        groups["posterior"] = dataset(posterior, index | ({"place": list(places)} if places else {}))
        # A file holds the flags as numbers.
        flags = {n: (_LEAD, values.astype(bool) if n == "diverging" else values) for n, values in stats.items()}
        groups["sample_stats"] = dataset(flags, index)
    axes = ("frame", "row", "column")[-images["x_mean"].ndim :]
    pictures = {name: (("quantile", *axes)[-values.ndim :], values) for name, values in images.items()}
    groups["constant_data"] = dataset(pictures, {"quantile": list(QUANTILES)})
    if counts is not None:
        groups["observed_data"] = dataset({"counts": (axes, np.asarray(counts))})
    return xarray.DataTree.from_dict(groups)


def _places(result: Reconstruction, axes: tuple[str, ...]) -> dict[str, Any]:
    """Coordinates of frames and pixels, in ms and mm where they are known."""
    sizes = dict(zip(axes, result.x_hat.shape, strict=True))
    coordinates: dict[str, Any] = {axis: np.arange(size) for axis, size in sizes.items()}
    if (times := result.image_times_ms) is not None:
        about = {"units": "ms", "long_name": "time of the image, from the middle of the first frame's exposure"}
        coordinates["time"] = ("frame", times, about)
    if result.pixel_mm is not None:
        for axis, name in (("row", "y"), ("column", "x")):
            about = {"units": "mm", "long_name": f"middle of the pixel along a {axis}, from that of the first"}
            coordinates[name] = (axis, result.pixel_mm * np.arange(sizes[axis]), about)
    return coordinates


def _about(what: str) -> dict[str, str]:
    return {"units": "1", "long_name": what}


def _versions() -> dict[str, str]:
    from fluorojax.io.provenance import package_versions

    versions = package_versions()
    return {
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(),
        "creation_library": "fluorojax",
        "creation_library_version": versions["fluorojax"],
        "inference_library": "numpyro",
        "inference_library_version": versions["numpyro"],
        "jax_version": versions["jax"],
    }


def _import_xarray() -> Any:
    try:
        import xarray
    except ImportError as error:
        raise ImportError("labelled arrays and draws for ArviZ need xarray; install fluorojax[arviz]") from error
    return xarray
