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

LATE = "not computed"
"""Begins the reason of every scene that a time limit left out; the same command computes those scenes."""


@dataclass(frozen=True)
class Outcome:
    """How the run that made a reconstruction file ended. An interrupted run counts with all its parts."""

    diverged: tuple[str, ...]
    """Names of the scenes whose result must not be used."""
    skipped: dict[str, str]
    """Scenes left out because of bad input, an error, or the time limit, with the reason."""
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


def is_late(outcome: Outcome) -> bool:
    """Whether a time limit left scenes of a file to be computed."""
    return any(reason.startswith(LATE) for reason in outcome.skipped.values())


def ended_early(output: Path) -> bool:
    """Whether an output is one that a time limit ended early, of whatever run."""
    try:
        return output.is_file() and is_late(read_outcome(output))
    except InputError:
        return False


def finished_in_time(output: Path, provenance: Provenance) -> list[str]:
    """The scenes of an output that a time limit ended early, where it is of this run; none of any other file."""
    if not output.is_file():
        return []
    try:
        if provenance.differences(read_provenance(output)) or not is_late(read_outcome(output)):
            return []
        read_parts(parts_folder(output), provenance)
    except InputError:
        return []
    return list_reconstructions(output)
