"""The error a user meets when a file or a setting is not what was expected."""

from os import PathLike


class InputError(Exception):
    """Bad input: what is wrong, where, and what was expected, in one line.

    ``str(error)`` reads ``file: scene: field: problem``; parts that do not apply are left out.
    """

    def __init__(self, file: str | PathLike[str], scene: str | None, field: str | None, problem: str):
        self.file = str(file)
        self.scene = scene
        self.field = field
        self.problem = " ".join(problem.split())  # messages of HDF5 and the JSON parser may span lines
        super().__init__(self.file, scene, field, self.problem)

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.scene, self.field, self.problem) if part)


class RunError(ValueError):
    """A run that cannot be done as it was asked for, whatever its scenes hold: a setting, a state of another run.

    It ends a run, where any other ``ValueError`` of a method ends a scene.
    """
