"""The report of a reconstruction file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from markupsafe import Markup

from fluorojax.data.reconstruction import Reconstruction, Status
from fluorojax.data.scene import Scene
from fluorojax.io import (
    InputError,
    Provenance,
    Scenes,
    check_output,
    dumps,
    list_reconstructions,
    open_reconstructed,
    read_provenance,
    read_reconstruction,
    read_skipped,
    write_text,
)
from fluorojax.metrics import SceneScore, score_scene
from fluorojax.reports.document import document
from fluorojax.reports.facts import patient_dose
from fluorojax.reports.fragments import definitions
from fluorojax.reports.scene_section import SceneInputs, scene_section, score_table
from fluorojax.reports.templates import render
from fluorojax.runs.outcomes import Outcome

PAGE_BYTES = 4_000_000
"""Most bytes of HTML that the images of a page take. Text and scripts usually add a tenth of it."""
# A scene takes an equal share of what is left, but never less: a few frames of 32×32 pixels.
_SCENE_BYTES = 48_000


@dataclass(frozen=True)
class WrittenReport:
    """How the run ended that a page reports, and what the page could not show."""

    outcome: Outcome
    notes: tuple[str, ...]
    """One line for everything that the user asked for and that the page cannot show."""


def write_report(
    output: str | PathLike[str],
    result: str | PathLike[str],
    *,
    truth: str | PathLike[str] | None = None,
    source: str | PathLike[str] | None = None,
    overwrite: bool = False,
    allow_other: bool = False,
    dose: Sequence[str | PathLike[str]] = (),
) -> WrittenReport:
    """Write a self-contained interactive HTML page about the reconstruction file ``result``, atomically.

    ``truth`` (a challenge file with ``x_true``) adds true images, scores and true parameters; ``source`` (the challenge
    file that was reconstructed, by default the truth file) the measurement and the prior ranges. ``dose`` are dose
    reports and images of the patient (:func:`fluorojax.dose.reading.read_dose`); without them the headers of a DICOM
    source are asked.

    The page needs no network. Its images take at most :data:`PAGE_BYTES`. Large and long scenes therefore lose
    resolution or frames, and the last of many scenes may have no images; the page says so. The text takes a few kB for
    each scene. The page notes a scene that cannot be read and a truth that is missing, and shows the rest.

    Raises :class:`fluorojax.io.InputError` where no scene can be read, where ``truth`` or ``source`` is not the file
    that was reconstructed (unless ``allow_other``), and where the files do not fit each other.
    """
    inputs = [path for path in (result, truth, source, *dose) if path is not None]
    check_output(output, inputs=inputs, overwrite=overwrite)
    source = truth if source is None else source
    names = list_reconstructions(result)
    skipped = read_skipped(result)
    provenance = read_provenance(result)
    left, illustrated = PAGE_BYTES, 0
    sections: list[Markup] = []
    shown: list[str] = []
    scores: list[SceneScore] = []
    diverged: list[str] = []
    unconverged: list[str] = []
    prior_only: list[str] = []
    warnings: list[str] = []
    notes: list[str] = []
    measured, truths = (
        None if path is None else open_reconstructed(result, path, allow_other=allow_other, notify=warnings.append)
        for path in (source, truth)
    )
    for index, (name, reconstruction) in enumerate(_readable(result, names, skipped)):
        scene = None if measured is None else _read_like(measured, reconstruction)
        true = None if truths is None else scene if truth == source else _read_like(truths, reconstruction)
        score = _score(reconstruction, true, result, truth, notes)
        if score is not None:
            scores.append(score)
        if reconstruction.status is Status.DIVERGED:
            diverged.append(name)
            warnings.append(f"{name} diverged: its result must not be used and enters no mean.")
        elif not np.isfinite(reconstruction.x_hat).all():
            warnings.append(f"{name} holds values that are not finite and must not be used.")
        if reconstruction.status is Status.NOT_CONVERGED:
            unconverged.append(name)
        if reconstruction.status is Status.PRIOR_ONLY:
            prior_only.append(name)
            warnings.append(f"{name} shows only the model's prior: its counts hold no information about the scene.")
        share = min(max(left / (len(names) - index), _SCENE_BYTES), left)
        section, size = scene_section(SceneInputs(reconstruction, scene, true, score), share)
        # what is missing is missing from one place on, not here and there
        left = left - size if size else 0
        illustrated += size > 0
        sections.append(section)
        shown.append(name)
    if illustrated < len(shown):
        warnings.append(f"Images are shown of the first {illustrated} of {len(shown)} scenes, to keep the page small.")
    warnings += [*notes, *(f"{name} was skipped: {reason}" for name, reason in skipped.items())]

    title = f"fluorojax report: {Path(result).name}"
    body = render(
        "report",
        title=title,
        names=shown,
        warnings=warnings,
        scores=score_table(scores) if len(scores) > 1 else "",
        sections=Markup("\n").join(sections),
        dose=patient_dose(dose, source),
        provenance=_provenance(provenance),
    )
    write_text(output, document(title, [body]), inputs=inputs, overwrite=overwrite)
    return WrittenReport(Outcome(tuple(diverged), skipped, tuple(unconverged), tuple(prior_only)), tuple(notes))


def _readable(
    path: str | PathLike[str], names: list[str], skipped: dict[str, str]
) -> Iterator[tuple[str, Reconstruction]]:
    """The scenes that can be read; the others enter ``skipped``. Raises where there are none."""
    first: InputError | None = None
    found = False
    for name in names:
        try:
            reconstruction = read_reconstruction(path, name)
        except InputError as error:
            first = first or error
            skipped[name] = ": ".join(part for part in (error.field, error.problem) if part)
            continue
        found = True
        yield name, reconstruction
    if first is not None and not found:
        raise first


def _read_like(scenes: Scenes, result: Reconstruction) -> Scene:
    """The scene of a file of scenes that belongs to ``result``."""
    scene = scenes[result.name]
    if result.times_ms is not None and scene.y.ndim == 3:
        return scene
    if scene.y.shape != result.x_hat.shape:
        shapes = f"has shape {scene.y.shape}; expected {result.x_hat.shape}, like x_hat"
        raise InputError(scenes.path, result.name, "y", shapes)
    return scene


def _score(
    result: Reconstruction,
    true: Scene | None,
    file: str | PathLike[str],
    truth: str | PathLike[str] | None,
    notes: list[str],
) -> SceneScore | None:
    """The score where the truth is known. A reason why a score that was asked for is missing enters ``notes``."""
    if true is None or truth is None:
        return None
    if true.x_true is None:
        missing = "missing; expected the truth, without which there are no scores"
        notes.append(str(InputError(Path(truth).name, result.name, "x_true", missing)))
        return None
    if result.status is not Status.DIVERGED and not np.isfinite(result.x_hat).all():
        return None
    try:
        return score_scene(result, true, file=Path(file).name)
    except InputError as error:
        notes.append(str(error))
        return None


def _provenance(provenance: Provenance) -> Markup:
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
    return definitions(known) if known else Markup("")
