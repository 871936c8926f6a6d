"""Files of scenes in (:func:`open_scenes`), reconstruction files out; nothing is pickled."""

from fluorojax.io.atomic import atomic_output, atomic_stream, check_output, write_text, writing
from fluorojax.io.challenge import list_scenes, read_scene
from fluorojax.io.challenge_writer import write_challenge
from fluorojax.io.counting import Counting
from fluorojax.io.errors import InputError
from fluorojax.io.json_fields import dumps, strict
from fluorojax.io.long_runs import LongRun
from fluorojax.io.matching import open_reconstructed, recorded_selection
from fluorojax.io.parts import gather, parts_folder, publish_scene, read_parts
from fluorojax.io.provenance import Provenance, file_sha256, package_versions
from fluorojax.io.reconstruction_reader import (
    ResultSummary,
    iter_reconstructions,
    list_reconstructions,
    read_count_digests,
    read_provenance,
    read_reconstruction,
    read_skipped,
    read_summaries,
)
from fluorojax.io.reconstruction_writer import ReconstructionWriter
from fluorojax.io.scenes import Scenes, open_scenes
from fluorojax.io.selection import Selection
from fluorojax.io.stack_writer import write_stack

__all__ = [
    "Counting",
    "InputError",
    "LongRun",
    "Provenance",
    "ReconstructionWriter",
    "ResultSummary",
    "Scenes",
    "Selection",
    "atomic_output",
    "atomic_stream",
    "check_output",
    "dumps",
    "file_sha256",
    "gather",
    "iter_reconstructions",
    "list_reconstructions",
    "list_scenes",
    "open_reconstructed",
    "open_scenes",
    "package_versions",
    "parts_folder",
    "publish_scene",
    "read_count_digests",
    "read_parts",
    "read_provenance",
    "read_reconstruction",
    "read_scene",
    "read_skipped",
    "read_summaries",
    "recorded_selection",
    "strict",
    "write_challenge",
    "write_stack",
    "write_text",
    "writing",
]
