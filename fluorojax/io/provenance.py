"""What a reconstruction was made from and with."""

import hashlib
from dataclasses import asdict, dataclass, field
from importlib import metadata
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fluorojax.data.reconstruction import ReconstructOptions
from fluorojax.io.errors import InputError
from fluorojax.io.scenes import NO_SELECTION, Selection, open_scenes
from fluorojax.methods.registry import make_method
from fluorojax.models.loading import model_for, model_path

if TYPE_CHECKING:
    from fluorojax.methods.protocol import Method

# Changing only these between two runs leaves the result of each scene the same up to rounding, so a run that was
# stopped (for want of memory, say) may continue with others.
EXECUTION_SETTINGS = frozenset({"batch"})


@dataclass(frozen=True)
class Provenance:
    """Versions, settings and input of a reconstruction file; its root attributes."""

    model: str
    """Name of a shipped model, or the file name of a user's."""
    method: str
    seed: int
    settings: dict[str, Any]
    """The remaining options of the run."""
    input_file: str
    """File name, without its directory."""
    input_sha256: str
    model_files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of every model file the scenes of the input are reconstructed with, by file name."""
    assets: dict[str, str] = field(default_factory=dict)
    """SHA-256 of every file that the method ships, such as network weights, by file name."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of fluorojax, jax and numpyro."""

    @classmethod
    def of_run(
        cls, input_path: str | PathLike[str], options: ReconstructOptions, selection: Selection = NO_SELECTION
    ) -> "Provenance":
        """Provenance of a run with ``options`` on ``selection`` of the file ``input_path``, in this environment.

        The selection joins the settings where it says anything: a run on other scenes, frames or pixels, or with
        another protocol, is another run.

        Raises :class:`InputError` for an input that cannot be read and ``ValueError`` for a model that does not exist.
        """
        settings = asdict(options)
        model = settings.pop("model")
        if settings["times"] is not None:
            settings["times"] = list(settings["times"])  # as JSON gives it back
        if settings["weights"] is not None:
            settings["weights"] = Path(settings["weights"]).name
        return cls(
            model=Path(model).name if model.endswith(".py") else model,
            method=settings.pop("method"),
            seed=settings.pop("seed"),
            settings=settings | selection.as_settings(),
            input_file=Path(input_path).name,
            input_sha256=file_sha256(input_path),
            model_files=_model_files(input_path, model, selection),
            assets=asset_digests(make_method(options)) | _between_digests(options),
            versions=package_versions(),
        )

    def differences(self, other: "Provenance") -> list[str]:
        """What keeps scenes of the two runs from standing in one file, each as ``name (this, other)``."""
        pairs = {
            "input": (self.input_sha256[:12], other.input_sha256[:12]),
            "model": (self.model, other.model),
            "method": (self.method, other.method),
            "seed": (self.seed, other.seed),
            "fluorojax version": (self.versions.get("fluorojax"), other.versions.get("fluorojax")),
        }
        for what, mine, its in (
            ("model file", self.model_files, other.model_files),
            ("asset", self.assets, other.assets),
        ):
            for name in sorted(set(mine) | set(its)):
                pairs[f"{what} {name}"] = (str(mine.get(name))[:12], str(its.get(name))[:12])
        for name in sorted((set(self.settings) | set(other.settings)) - EXECUTION_SETTINGS):
            pairs[name] = (self.settings.get(name), other.settings.get(name))
        return [f"{name} ({ours}, {theirs})" for name, (ours, theirs) in pairs.items() if ours != theirs]


def _model_files(input_path: str | PathLike[str], model: str, selection: Selection) -> dict[str, str]:
    """SHA-256 by file name; which files are loaded depends on the shapes of the scenes."""
    dimensions = {len(shape) for shape in open_scenes(input_path, selection=selection).shapes().values()}
    names = {model_for(model, number) for number in dimensions} or {model}
    files = [model_path(name) for name in sorted(names)]
    return {path.name: file_sha256(path) for path in files}


def asset_digests(method: "Method") -> dict[str, str]:
    """SHA-256 by file name of the files that a method ships; raises :class:`InputError` for one it cannot read."""
    return {path.name: file_sha256(path) for path in method.assets()}


def _between_digests(options: ReconstructOptions) -> dict[str, str]:
    if not options.between:
        return {}
    from fluorojax.between.weights import SHIPPED

    return {SHIPPED.name: file_sha256(SHIPPED)}


def file_sha256(path: str | PathLike[str]) -> str:
    """SHA-256 of a file's bytes, hexadecimal; of a folder, that of the names and digests of the files in it."""
    path = Path(path)
    try:
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.is_file())
            names = "".join(f"{file.name}\0{file_sha256(file)}\n" for file in files)
            return hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise InputError(path, None, None, f"cannot be read: {error.strerror}") from error


def package_versions() -> dict[str, str]:
    """Installed versions of fluorojax and of the packages its numbers depend on."""
    return {name: _version(name) for name in ("fluorojax", "jax", "numpyro")}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # run from a checkout without installation
        return "unknown"
