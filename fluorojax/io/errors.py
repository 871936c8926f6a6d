"""The error a user meets when a file or a setting is not what was expected."""

from os import PathLike

from fluorojax.data.printable import MESSAGE, NAME, printable


class InputError(Exception):
    """Bad input: what is wrong, where, and what was expected, in one line.

    ``str(error)`` reads ``file: scene: field: problem``; parts that do not apply are left out. Names and values
    from files are cut where they are long, and their control characters are shown as escapes.
    """

    def __init__(self, file: str | PathLike[str], scene: str | None, field: str | None, problem: str):
        self.file = str(file)
        self.scene = scene
        self.field = field
        # messages of HDF5 and the JSON parser may span lines
        self.problem = printable(" ".join(problem.split()), MESSAGE)
        super().__init__(self.file, scene, field, self.problem)

    def __str__(self) -> str:
        places = [printable(self.file), *(printable(part, NAME) for part in (self.scene, self.field) if part)]
        return ": ".join(part for part in (*places, self.problem) if part)


class RunError(ValueError):
    """A run that cannot be done as it was asked for, whatever its scenes hold: a setting, a state of another run.

    It ends a run, where any other ``ValueError`` of a method ends a scene.
    """
