"""Challenge files in, reconstruction files out; nothing is pickled."""

from fluorojax.io.atomic import atomic_output, check_output, write_text, writing
from fluorojax.io.challenge import iter_scenes, list_scenes, read_scene
from fluorojax.io.challenge_writer import write_challenge
from fluorojax.io.errors import InputError
from fluorojax.io.json_fields import dumps, strict
from fluorojax.io.provenance import Provenance, file_sha256, package_versions
from fluorojax.io.reconstruction_reader import (
    ResultSummary,
    iter_reconstructions,
    list_reconstructions,
    read_provenance,
    read_reconstruction,
    read_skipped,
    read_summaries,
)
from fluorojax.io.reconstruction_writer import ReconstructionWriter, partial_path

__all__ = [
    "InputError",
    "Provenance",
    "ReconstructionWriter",
    "ResultSummary",
    "atomic_output",
    "check_output",
    "dumps",
    "file_sha256",
    "iter_reconstructions",
    "iter_scenes",
    "list_reconstructions",
    "list_scenes",
    "package_versions",
    "partial_path",
    "read_provenance",
    "read_reconstruction",
    "read_scene",
    "read_skipped",
    "read_summaries",
    "strict",
    "write_challenge",
    "write_text",
    "writing",
]
