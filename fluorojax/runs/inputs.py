"""Which files a command works on: names, patterns, a manifest, and the output of each.

Several inputs need a folder for their outputs: the result of ``study/run1.h5`` becomes ``FOLDER/run1.h5``. A manifest
names an output for every input where that rule does not serve.
"""

import csv
import glob
import io
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fluorojax.io.errors import InputError

_LONGEST_LIST = 20_000_000  # bytes of a list of times

if TYPE_CHECKING:
    from fluorojax.data.reconstruction import ReconstructOptions
    from fluorojax.data.scene import Scene
    from fluorojax.io import Scenes

_MAGIC = frozenset("*?[")


@dataclass(frozen=True)
class FilePair:
    """An input file and the reconstruction file that is made of it."""

    source: Path
    output: Path


def find_pairs(
    inputs: Sequence[str], output: str | os.PathLike[str] | None, manifest: str | os.PathLike[str] | None = None
) -> list[FilePair]:
    """Inputs with their outputs, in the order given, each input once.

    **Arguments:** ``inputs`` are file names and patterns (``*``, ``?``, ``[…]``, and ``**`` for folders at any depth).
    A pattern that is the name of a file means that file. ``output`` is a file for a single input, and a folder for
    several or where it is an existing folder or ends in a path separator. ``manifest`` lists further inputs
    (:func:`read_manifest`).

    Raises :class:`~fluorojax.io.InputError` for a pattern without files and an unreadable manifest; ``ValueError``
    where an output is missing or a file stands where a folder is expected.
    """
    named = [(path, None) for pattern in inputs for path in expand(pattern)]
    listed = [] if manifest is None else read_manifest(manifest)
    entries: dict[Path, Path | None] = {}
    for source, chosen in [*named, *listed]:
        key = Path(os.path.abspath(source))
        if chosen is not None or key not in entries:
            entries[key] = chosen
    if not entries:
        raise ValueError("no input; expected at least one IN.h5, or --manifest with a list of them")
    shown = {Path(os.path.abspath(source)): source for source, _ in reversed([*named, *listed])}
    several = len(entries) > 1 or any(map(_is_pattern, inputs)) or manifest is not None
    folder = several or (output is not None and _is_folder(output))
    pairs = []
    for key, chosen in entries.items():
        if chosen is None:
            if output is None:
                raise ValueError(f"no output for {shown[key]}; expected --output")
            chosen = Path(output) / f"{key.stem}.h5" if folder else Path(output)
        pairs.append(FilePair(shown[key], chosen))
    if folder and output is not None and any(entries[key] is None for key in entries):
        _refuse_file(output, len(entries))
    return pairs


def expand(pattern: str) -> list[Path]:
    """The files that a name or a pattern means, sorted; raises :class:`~fluorojax.io.InputError` for a pattern of none.

    A name without wildcards is returned as it is, whether there is such a file or not: whoever opens it says what is
    wrong.
    """
    if not _is_pattern(pattern):
        return [Path(pattern)]
    found = sorted(path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path))
    if not found:
        raise InputError(pattern, None, None, "no file fits this pattern; expected at least one")
    return [Path(path) for path in found]


def _is_pattern(name: str) -> bool:
    return bool(_MAGIC & set(name)) and not os.path.exists(name)


def read_manifest(path: str | os.PathLike[str]) -> list[tuple[Path, Path | None]]:
    """Inputs of a manifest, each with its output or None, in the order of the lines.

    A line holds an input and, after a comma (``.csv``) or a tab (any other name), optionally its output. Relative names
    count from the folder of the manifest, and an input may be a pattern where it has no output. Empty lines, lines that
    begin with ``#``, and a first line ``input,output`` are passed over.

    Raises :class:`~fluorojax.io.InputError` naming the manifest and the line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(path, None, None, "is not text in UTF-8; expected one input on each line") from error
    except OSError as error:
        raise InputError(path, None, None, f"cannot be read: {error.strerror}; expected a list of inputs") from error
    found: list[tuple[Path, Path | None]] = []
    for number, cells in enumerate(_rows(text, "," if path.suffix.lower() == ".csv" else "\t"), 1):
        cells = [cell.strip() for cell in cells]
        if not any(cells) or cells[0].startswith("#") or (number == 1 and cells[0].lower() == "input"):
            continue
        source, output = cells[0], cells[1] if len(cells) > 1 else ""
        if not source or any(cells[2:]):
            raise InputError(path, f"line {number}", None, "expected an input and, if wanted, one output")
        sources = [path.parent / source] if output else expand(str(path.parent / source))
        found += [(each, path.parent / output if output else None) for each in sources]
    if not found:
        raise InputError(path, None, None, "lists no input; expected one on each line")
    return found


def _rows(text: str, delimiter: str) -> Iterable[list[str]]:
    if delimiter == ",":
        return csv.reader(io.StringIO(text))
    return (line.split(delimiter) for line in text.splitlines())


def _is_folder(output: str | os.PathLike[str]) -> bool:
    return os.path.isdir(output) or os.fspath(output).endswith(("/", os.sep))


def _refuse_file(output: str | os.PathLike[str], inputs: int) -> None:
    if os.path.isdir(output):
        return
    if os.path.exists(output) or Path(output).suffix.lower() in (".h5", ".hdf5"):
        what = f"{inputs} inputs" if inputs > 1 else "a pattern or a manifest"
        raise ValueError(f"--output is {os.fspath(output)!r}, but {what} need a folder; expected the name of a folder")


def check_pairs(pairs: Sequence[FilePair]) -> None:
    """Raise :class:`~fluorojax.io.InputError` for two inputs with one output, and for an output that is any input.

    An output would otherwise replace an input that is still to be read, where outputs may be replaced. The same file
    under another name (a symbolic or hard link) counts as the input.
    """
    taken: dict[str, Path] = {}
    sources = {_identity(pair.source): pair.source for pair in pairs}
    for pair in pairs:
        if (source := sources.get(_identity(pair.output))) is not None:
            raise InputError(pair.output, None, None, f"is the input file {source}; expected another output file")
        key = os.path.abspath(pair.output)
        if key in taken:
            problem = f"would be the output of {taken[key]} and of {pair.source}; expected --manifest with two outputs"
            raise InputError(pair.output, None, None, problem)
        taken[key] = pair.source


def _identity(path: Path) -> tuple[int, int] | str:
    """What two names of one file have in common; the name itself where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return os.path.abspath(path)
    return found.st_dev, found.st_ino


def read_times(text: str) -> tuple[float, ...]:
    """The times that ``--times`` names: numbers separated by commas, or the name of a file of numbers.

    In a file, commas, blanks and new lines separate, and what follows a ``#`` is passed over. Raises ``ValueError`` for
    what is neither, and :class:`~fluorojax.io.InputError` for a file that cannot be read or holds other words.
    """
    expected = "expected times in ms, separated by commas, or a file of them"
    path = Path(text)
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        if not path.is_file():
            raise ValueError(f"--times is {text!r}; {expected}") from error
    try:
        if path.stat().st_size > _LONGEST_LIST:
            raise InputError(path, None, None, f"is larger than {_LONGEST_LIST / 1e6:g} MB; {expected}")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(path, None, None, f"cannot be read as text; {expected}") from error
    found: list[float] = []
    for number, line in enumerate(lines, 1):
        for word in line.partition("#")[0].replace(",", " ").split():
            try:
                found.append(float(word))
            except ValueError as error:
                raise InputError(path, None, f"line {number}", f"holds {word[:40]!r}; {expected}") from error
    return tuple(found)


def refuse_times(scene: "Scene", options: "ReconstructOptions", file: str | os.PathLike[str] = "") -> None:
    """Raise :class:`~fluorojax.io.InputError` where a scene cannot have images at the times that ``options`` name."""
    from fluorojax.between.times import check_times

    try:
        check_times(options, scene.y.shape, scene.acquisition.as_dict()["frame_time_ms"])
    except ValueError as error:
        raise InputError(file, scene.name, "times", str(error)) from error


def check_scenes(
    scenes: "Scenes", options: "ReconstructOptions", on_error: Callable[[InputError], None] | None
) -> tuple[list[str], dict[str, str], list[str]]:
    """Names of the scenes fit to reconstruct, why the others are not, and remarks on what was assumed.

    A bad scene is told to ``on_error`` and left out; without it, and where no scene is left, raises
    :class:`~fluorojax.io.InputError`.
    """
    from fluorojax.methods.registry import make_method  # slow to import, and files are looked for before
    from fluorojax.runs.estimate import in_blocks
    from fluorojax.runs.notes import assumptions

    names: list[str] = []
    skipped: dict[str, str] = {}
    remarks: list[str] = []
    method, shapes = make_method(options), scenes.shapes()
    for name in scenes.names:
        try:
            if name in shapes and in_blocks(method, shapes[name], options):
                run = scenes.run(name)
                run.check()
                scene = run.head
            else:
                scene = scenes[name]
            if options.spec == "true" and scene.true_spec is None:
                raise InputError(scenes.path, name, "true_spec", "missing; expected with spec 'true'")
            refuse_times(scene, options, scenes.path)
        except InputError as error:
            if on_error is None:
                raise
            on_error(error)
            skipped[name] = ": ".join(part for part in (error.field, error.problem) if part)
            continue
        names.append(name)
        remarks += [f"{scenes.path}: {name}: {remark}" for remark in assumptions(scene)]
    if not names:
        raise InputError(scenes.path, None, None, "none of its scenes can be read; nothing to reconstruct")
    return names, skipped, remarks
