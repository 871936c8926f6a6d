"""The report of a reconstruction file."""

from os import PathLike
from pathlib import Path

import numpy as np

from fluorojax.io import (
    InputError,
    Provenance,
    check_output,
    dumps,
    file_sha256,
    list_reconstructions,
    read_provenance,
    read_reconstruction,
    read_scene,
    read_skipped,
    write_text,
)
from fluorojax.metrics import SceneScore, score_scene
from fluorojax.reconstruction import Reconstruction, Status
from fluorojax.report.fragments import definitions, escape, page
from fluorojax.report.scene_section import ROWS, scene_section, score_table
from fluorojax.report.strips import StripPlan, plan_strips
from fluorojax.scene import Scene

PAGE_BYTES = 4_000_000
"""Most that the images of a page take, in bytes of HTML."""
# A scene takes an equal share of what is left, within these bounds; the lower one is three frames of about 32×32.
_SCENE_BYTES = (32_000, 800_000)


def write_report(
    output: str | PathLike[str],
    result: str | PathLike[str],
    *,
    truth: str | PathLike[str] | None = None,
    source: str | PathLike[str] | None = None,
    overwrite: bool = False,
) -> None:
    """Write a self-contained HTML page about the reconstruction file ``result``, atomically.

    ``truth`` (a challenge file with ``x_true``) adds true images, scores and true parameters; ``source`` (the challenge
    file that was reconstructed, by default the truth file) the measurement and the prior ranges. The page needs no
    network. Its images take at most :data:`PAGE_BYTES`: with many scenes they become fewer and smaller, and from some
    scene on there are none, which the page says; the text takes a few kB a scene. Raises
    :class:`fluorojax.io.InputError`, also where the files do not fit each other.
    """
    inputs = [path for path in (result, truth, source) if path is not None]
    check_output(output, inputs=inputs, overwrite=overwrite)
    source = truth if source is None else source
    names = list_reconstructions(result)
    left = PAGE_BYTES
    illustrated = 0
    sections: list[str] = []
    scores: list[SceneScore] = []
    warnings = []
    for index, name in enumerate(names):
        reconstruction = read_reconstruction(result, name)
        scene = None if source is None else _read_like(source, reconstruction)
        true = None if truth is None else scene if truth == source else _read_like(truth, reconstruction)
        diverged = reconstruction.status is Status.DIVERGED
        usable = diverged or bool(np.isfinite(reconstruction.x_hat).all())
        score = score_scene(reconstruction, true, file=result) if true is not None and usable else None
        if score is not None:
            scores.append(score)
        if diverged:
            warnings.append(f"{name} diverged: its result must not be used and enters no mean.")
        elif not usable:
            warnings.append(f"{name} holds values that are not finite and must not be used.")
        plan, size = _plan(reconstruction.x_hat.shape, left, len(names) - index)
        # what is missing is missing from one place on, not here and there
        left = left - size if plan is not None else 0
        illustrated += plan is not None
        sections += scene_section(reconstruction, scene, true, score, plan)
    if illustrated < len(names):
        warnings.append(f"Images are shown of the first {illustrated} of {len(names)} scenes, to keep the page small.")
    warnings += [f"{name} was skipped: {reason}" for name, reason in read_skipped(result).items()]
    provenance = read_provenance(result)
    if source is not None and provenance.input_sha256 and file_sha256(source) != provenance.input_sha256:
        warnings.append(f"{Path(source).name} is not the file that was reconstructed (its SHA-256 differs).")

    title = f"fluorojax report: {Path(result).name}"
    body = [f"<h1>{escape(title)}</h1>", _summary(names)]
    body += [f'<p class="warn">{escape(line)}</p>' for line in warnings]
    if len(scores) > 1:
        body += ["<h2>All scenes</h2>", score_table(scores)]
    body += [*sections, "<h2>Provenance</h2>", _provenance(provenance)]
    write_text(output, page(title, body), inputs=inputs, overwrite=overwrite)


def _read_like(path: str | PathLike[str], result: Reconstruction) -> Scene:
    """The scene of a challenge file that belongs to ``result``."""
    scene = read_scene(path, result.name)
    if scene.y.shape != result.x_hat.shape:
        shapes = f"has shape {scene.y.shape}; expected {result.x_hat.shape}, like x_hat"
        raise InputError(path, result.name, "y", shapes)
    return scene


def _plan(shape: tuple[int, ...], left: int, scenes: int) -> tuple[StripPlan | None, int]:
    """How a scene is shown within its share of the bytes ``left`` for ``scenes`` more, and what that takes."""
    least, most = _SCENE_BYTES
    share = min(max(left / scenes, least), most, left)
    return plan_strips(shape, ROWS, share) or (None, 0)


def _summary(names: list[str]) -> str:
    links = " · ".join(f'<a href="#{escape(name)}">{escape(name)}</a>' for name in names)
    return f'<p class="soft">{len(names)} scene{"s" if len(names) > 1 else ""}: {links}</p>'


def _provenance(provenance: Provenance) -> str:
    fields = {
        "input": provenance.input_file,
        "input SHA-256": provenance.input_sha256,
        "model": provenance.model,
        "model file SHA-256": ", ".join(f"{name} {digest}" for name, digest in provenance.model_files.items()),
        "method": provenance.method,
        "seed": provenance.seed if provenance.seed >= 0 else "",
        "settings": dumps(provenance.settings) if provenance.settings else "",
        "versions": ", ".join(f"{name} {version}" for name, version in provenance.versions.items()),
    }
    known = {name: value for name, value in fields.items() if value != ""}
    return definitions(known) if known else '<p class="soft">The file says nothing about how it was made.</p>'
