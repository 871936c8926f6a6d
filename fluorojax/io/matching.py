"""Recognising the scenes that a reconstruction file was made from."""

from collections.abc import Callable
from os import PathLike
from pathlib import Path

from fluorojax.data.digest import counts_digest
from fluorojax.data.scene import Scene
from fluorojax.io.errors import InputError
from fluorojax.io.provenance import Provenance, file_sha256
from fluorojax.io.reconstruction_reader import read_count_digests, read_provenance
from fluorojax.io.scenes import Scenes, open_scenes
from fluorojax.io.selection import Selection

_ADVICE = "expected the same scenes; --allow-other-truth takes this file all the same"


def recorded_selection(path: str | PathLike[str], provenance: Provenance | None = None) -> Selection:
    """The scenes, frames, pixels and protocol that a reconstruction file was made from, by its provenance."""
    provenance = read_provenance(path) if provenance is None else provenance
    try:
        return Selection.from_settings(provenance.settings)
    except ValueError as error:
        raise InputError(path, None, "settings", str(error)) from error


def open_reconstructed(
    reconstruction: str | PathLike[str],
    source: str | PathLike[str],
    *,
    allow_other: bool = False,
    notify: Callable[[str], None] = lambda line: None,
) -> Scenes:
    """The scenes of ``source``, selected as those of the reconstruction file were, where they are the same scenes.

    They are the same where the SHA-256 of the whole file is the recorded one, or else where the counts of every scene
    that both files hold have the recorded digest: a file may have been converted, or have been given its truth, since.
    Otherwise :class:`InputError` is raised, unless ``allow_other``: every file calls its first scene ``sample_00``, so
    that a wrong file would give wrong scores without a sign of it. A reconstruction file that records neither digest
    cannot be compared, and ``notify`` is told so.
    """
    provenance = read_provenance(reconstruction)
    scenes = open_scenes(source, selection=recorded_selection(reconstruction, provenance))
    if provenance.input_sha256 and file_sha256(source) == provenance.input_sha256:
        return scenes
    try:
        if not _same_counts(scenes, reconstruction, provenance):
            notify(f"{reconstruction} does not say which file was reconstructed; {source} is taken as that file")
    except InputError:
        if not allow_other:
            raise
        notify(f"{source} is not the file that was reconstructed; it is used because other files were allowed")
    return scenes


def _same_counts(scenes: Scenes, reconstruction: str | PathLike[str], provenance: Provenance) -> bool:
    """Whether the counts are those that were reconstructed; False where the file does not record which those were."""
    digests = read_count_digests(reconstruction)
    if not digests:
        if not provenance.input_sha256:
            return False
        was = f"{provenance.input_file or 'a file'} with SHA-256 {provenance.input_sha256[:12]}…"
        raise InputError(scenes.path, None, None, f"is not the file that was reconstructed ({was}); {_ADVICE}")
    for name in digests:
        if name in scenes:
            check_same_counts(scenes[name], digests[name], scenes.path, reconstruction)
    return True


def check_same_counts(
    scene: Scene, digest: str, source: str | PathLike[str], reconstruction: str | PathLike[str]
) -> None:
    """Raise :class:`InputError` where the counts of ``scene`` are not those with the recorded ``digest``."""
    if counts_digest(scene.y) != digest:
        problem = f"has other counts than those that {Path(reconstruction).name} was made from; {_ADVICE}"
        raise InputError(source, scene.name, "y", problem)
