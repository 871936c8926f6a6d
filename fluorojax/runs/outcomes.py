"""How the run that made a reconstruction file ended, as the file itself tells."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from fluorojax.data.reconstruction import Status
from fluorojax.io import (
    InputError,
    Provenance,
    list_reconstructions,
    parts_folder,
    read_parts,
    read_provenance,
    read_skipped,
    read_summaries,
)

NOT_COMPUTED = "not computed"
"""Begins the reason of every scene that nothing is wrong with and that has no result all the same: a time limit left it
out, or its workers died. The same command computes those scenes."""


@dataclass(frozen=True)
class Outcome:
    """How the run that made a reconstruction file ended. An interrupted run counts with all its parts."""

    diverged: tuple[str, ...]
    """Names of the scenes whose result must not be used."""
    skipped: dict[str, str]
    """Scenes left out because of bad input, the time limit, or workers that died, with the reason."""
    unconverged: tuple[str, ...] = ()
    """Names of the scenes whose Markov chains have not mixed."""
    prior_only: tuple[str, ...] = ()
    """Names of the scenes about which the counts hold no information: their result is the model's prior."""

    @property
    def exit_code(self) -> int:
        """0 where every scene has a result that can be used, else 1."""
        return 1 if self.diverged or self.unconverged or self.prior_only or self.skipped else 0


def read_outcome(path: str | PathLike[str]) -> Outcome:
    """The outcome a reconstruction file tells of; raises :class:`fluorojax.io.InputError`."""
    statuses = {summary.name: summary.status for summary in read_summaries(path)}

    def of(status: Status) -> tuple[str, ...]:
        return tuple(name for name, found in statuses.items() if found is status)

    return Outcome(of(Status.DIVERGED), read_skipped(path), of(Status.NOT_CONVERGED), of(Status.PRIOR_ONLY))


def is_unfinished(outcome: Outcome) -> bool:
    """Whether a time limit, or workers that died, left scenes of a file to be computed."""
    return any(reason.startswith(NOT_COMPUTED) for reason in outcome.skipped.values())


def ended_early(output: Path) -> bool:
    """Whether an output is one with scenes left to be computed (:func:`is_unfinished`), of whatever run."""
    try:
        return output.is_file() and is_unfinished(read_outcome(output))
    except InputError:
        return False


def finished_earlier(output: Path, provenance: Provenance) -> list[str]:
    """The scenes of an output that :func:`ended_early`, where it is of this run; none of any other file."""
    if not output.is_file():
        return []
    try:
        if provenance.differences(read_provenance(output)) or not is_unfinished(read_outcome(output)):
            return []
        read_parts(parts_folder(output), provenance)
    except InputError:
        return []
    return list_reconstructions(output)
