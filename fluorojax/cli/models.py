"""``fluorojax models``: the generative models that ship with the package, and what a model is made of."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluorojax.cli.options import OverwriteOption, check_suffix

if TYPE_CHECKING:
    from fluorojax.models.protocol import SceneData, SceneModel


def models(
    show: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Show a model, shipped or your own .py file, whose code is run.", show_default=False
        ),
    ] = None,
    shape: Annotated[
        str, typer.Option(metavar="T,H,W", help="Shape of the counts for which the model is shown.")
    ] = "16,128,128",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="CHAIN.svg", help="Also write a picture of the imaging chain."),
    ] = None,
    overwrite: OverwriteOption = False,
) -> int:
    """List the shipped models and the places of their files. Copy one and edit it to make your own.

    With --show, print what a model is made of: its latents with their shapes, what the model offers to the methods,
    and the imaging chain of the published task with its unknown parameters, their units and their prior ranges.
    """
    from fluorojax.models.loading import list_models

    if show is None:
        if output is not None:
            raise ValueError(f"--output is {str(output)!r} without --show; expected --show MODEL")
        shipped = list_models()
        width = max(map(len, shipped), default=0)
        for name, path in shipped.items():
            print(f"{name:<{width}}  {path}")
        return 0
    return _show(show, _shape(shape), output, overwrite=overwrite)


def _shape(text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) not in (2, 3) or min(found) < 1:
        raise ValueError(f"--shape is {text!r}; expected T,H,W or H,W, e.g. 16,128,128")
    return found


def _show(name: str, shape: tuple[int, ...], output: Path | None, *, overwrite: bool) -> int:
    from fluorojax.io import check_output, write_text
    from fluorojax.models.loading import load_model, model_for, model_path

    if output is not None:
        check_suffix("--output", output, (".svg",))
        check_output(output, inputs=[], overwrite=overwrite)
    name = model_for(name, len(shape))
    model, path, data = load_model(name), model_path(name), _scene(shape)
    model.check_hooks(data)
    description = data.operator.describe(data.acquisition, data.ranges, shape)
    print(f"model {model.name}, {path}")
    for line in _model_lines(model, data):
        print(line)
    print("\nimaging chain, with the default protocol")
    print(description)
    if output is not None:
        write_text(output, description.svg() + "\n", inputs=[], overwrite=overwrite)
    return 0


def _scene(shape: tuple[int, ...]) -> "SceneData":
    """A scene of one count everywhere with the default protocol; only shapes matter here."""
    import numpy as np

    from fluorojax.api import scene_from_counts
    from fluorojax.runs.batches import scene_data

    return scene_data(scene_from_counts(np.ones(shape, np.float32), photons=1500.0))


def _model_lines(model: "SceneModel", data: "SceneData") -> list[str]:
    from fluorojax.models.protocol import SPEC_SITE

    lines = ["latents, all standard normal"]
    for latent, size in model.latent_shapes(data).items():
        words = " × ".join(map(str, size)) or "one number"
        if latent == SPEC_SITE:
            words += ", the unknown parameters of the imaging chain: " + ", ".join(data.ranges.names)
        elif latent in model.hyperparameters:
            words += ", describes the prior: map holds it at its median, nuts samples it"
        lines.append(f"  {latent}: {words}")
    hooks = {
        "initial_aux": "begins with local scales (empirical Bayes)",
        "update_aux": f"updates the local scales in {model.aux_rounds} rounds",
        "carry_latents": "carries the image over to new scales",
        "latent_curvature": "gives the preconditioner",
        "pixel_variance": "gives the variance of every pixel in closed form",
    }
    offered = [words for hook, words in hooks.items() if getattr(model, hook) is not None]
    lines.append(f"the model {', '.join(offered)}" if offered else "the model offers no hooks; methods do without")
    return lines
