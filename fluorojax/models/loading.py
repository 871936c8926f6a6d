"""Finding and loading model files: the shipped ones by name, a user's own by path."""

import importlib.util
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fluorojax.models.protocol import SceneModel

_HOOKS = ("initial_aux", "update_aux", "carry_latents", "latent_curvature", "pixel_variance")


def _shipped_directory() -> Path:
    """``_models`` inside an installed package, else ``models/`` beside the package of a checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_models"
    return installed if installed.is_dir() else package.parent / "models"


def list_models() -> dict[str, Path]:
    """Names and files of the shipped models."""
    return {path.stem: path for path in sorted(_shipped_directory().glob("*.py"))}


def model_for(name: str, dimensions: int) -> str:
    """The model that serves scenes of 2 or 3 dimensions when ``name`` is asked for.

    A single frame (H, W) under the shipped ``sequence`` goes to ``single_frame``; everything else to ``name`` itself.
    """
    return "single_frame" if dimensions == 2 and name == "sequence" else name


def model_path(name: str | Path) -> Path:
    """The file of a model: of a shipped one by name, or the given path (anything that ends in ``.py``).

    Raises ``ValueError`` where there is no such model.
    """
    shipped = list_models()
    path = Path(name) if str(name).endswith(".py") else shipped.get(str(name))
    if path is None:
        raise ValueError(f"model is {str(name)!r}; expected one of {', '.join(shipped)} or the path of a .py file")
    if not path.is_file():
        raise ValueError(f"model file {path}: no such file")
    return path


def load_model(name: str | Path) -> "SceneModel":
    """Load a model by shipped name (``sequence``) or by path (anything that ends in ``.py``).

    The protocol a file must follow is in :mod:`fluorojax.models.protocol`. Raises ``ValueError`` where there is no such
    model, the file cannot be executed, or it defines no function ``model``.
    """
    path = model_path(name)
    return _load(path.resolve(), path.stat().st_mtime_ns)


@lru_cache(maxsize=32)
def _load(path: Path, modified: int) -> "SceneModel":
    """The same object for the same file, so that what was compiled for it is found again; ``modified`` is its time."""
    from fluorojax.models.protocol import SceneModel

    module = _execute(path)
    if not callable(getattr(module, "model", None)):
        raise ValueError(f"model file {path}: defines no function 'model'")
    rounds = getattr(module, "AUX_ROUNDS", 1)
    if not isinstance(rounds, int) or isinstance(rounds, bool) or rounds < 1:
        raise ValueError(f"model file {path}: AUX_ROUNDS is {rounds!r}; expected a positive integer")
    names, energies = (_names(module, path, attribute) for attribute in ("HYPERPARAMETERS", "ENERGIES"))
    return SceneModel(
        name=path.stem,
        model=module.model,
        hyperparameters=names,
        energies=energies,
        aux_rounds=rounds,
        **{hook: _compiled(getattr(module, hook, None)) for hook in _HOOKS},
    )


def _compiled(hook: Any) -> Any:
    """The hook as a compiled function, which JAX traces once for its check and all its uses together."""
    import jax

    return jax.jit(hook) if callable(hook) else hook


def _execute(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"fluorojax_model_{path.stem}", path)
    assert spec is not None  # both hold for every path that ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())
        raise ValueError(f"model file {path}: {type(error).__name__}: {text}") from error
    return module


def _names(module: ModuleType, path: Path, attribute: str) -> tuple[str, ...]:
    names = getattr(module, attribute, ())
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"model file {path}: {attribute} is {names!r}; expected a tuple of names")
    return tuple(names)
