"""The report of a reconstruction file."""

from os import PathLike
from pathlib import Path

import numpy as np

from fluorojax.io import (
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
from fluorojax.report.fragments import definitions, escape, page
from fluorojax.report.scene_section import scene_section, score_table

# Noise does not compress: a pixel costs up to a byte, four thirds of that in base64. This keeps a page below 4 MB.
_PAGE_PIXELS = 2_800_000
_SCENE_PIXELS = 600_000


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
    network and stays below about 4 MB of images however many scenes there are. Raises :class:`fluorojax.io.InputError`.
    """
    inputs = [path for path in (result, truth, source) if path is not None]
    check_output(output, inputs=inputs, overwrite=overwrite)
    source = truth if source is None else source
    names = list_reconstructions(result)
    budget = min(_SCENE_PIXELS, _PAGE_PIXELS / len(names))
    sections: list[str] = []
    scores: list[SceneScore] = []
    warnings = []
    for name in names:
        reconstruction = read_reconstruction(result, name)
        scene = None if source is None else read_scene(source, name)
        true = None if truth is None else scene if truth == source else read_scene(truth, name)
        usable = bool(np.isfinite(reconstruction.x_hat).all())
        score = score_scene(reconstruction, true, file=result) if true is not None and usable else None
        if score is not None:
            scores.append(score)
        if not usable:
            warnings.append(f"{name} holds values that are not finite and must not be used.")
        sections += scene_section(reconstruction, scene, true, score, budget)
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


def _summary(names: list[str]) -> str:
    links = " · ".join(f'<a href="#{escape(name)}">{escape(name)}</a>' for name in names)
    return f'<p class="soft">{len(names)} scene{"s" if len(names) > 1 else ""}: {links}</p>'


def _provenance(provenance: Provenance) -> str:
    fields = {
        "input": provenance.input_file,
        "input SHA-256": provenance.input_sha256,
        "model": provenance.model,
        "model file SHA-256": provenance.model_sha256,
        "method": provenance.method,
        "seed": provenance.seed if provenance.seed >= 0 else "",
        "settings": dumps(provenance.settings) if provenance.settings else "",
        "versions": ", ".join(f"{name} {version}" for name, version in provenance.versions.items()),
    }
    known = {name: value for name, value in fields.items() if value != ""}
    return definitions(known) if known else '<p class="soft">The file says nothing about how it was made.</p>'
