"""The rows of a benchmark: JSON lines, one for each method, scenario and scene, appended as they come.

The first line holds what all rows share (seed, frames, size, versions). A row is found again by its key, a hash of
everything its numbers depend on; rows whose code or parameters have changed since stay in the file, unused.
"""

import ast
import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from fluorojax.io import InputError, check_output, dumps, writing
from fluorojax.io.disk import sync_folder
from fluorojax.io.lock import FileLock

FORMAT = 1
_KEPT = "the finished rows are kept, and the same command continues once the disk can be written"
Row = dict[str, Any]


def row_key(facts: dict[str, Any]) -> str:
    """Hash of plain values, 16 hexadecimal digits."""
    return hashlib.sha256(dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def code_digest(names: tuple[str, ...]) -> str:
    """Hash of the code of modules and subpackages of fluorojax: which code made a row.

    ``shipped_models`` stands for the shipped model files. Comments, docstrings and layout do not count.
    """
    from fluorojax.models.loading import model_path

    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for name in names:
        folder = model_path("sequence").parent if name == "shipped_models" else root / name
        files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
        for file in files:
            digest.update(f"{file.name}\0{_code(file.read_text(encoding='utf-8'))}\0".encode())
    return digest.hexdigest()[:16]


def _code(source: str) -> str:
    """The syntax tree of a module without its strings that stand alone."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [  # pyright: ignore[reportAttributeAccessIssue]
                entry for entry in body if not (isinstance(entry, ast.Expr) and isinstance(entry.value, ast.Constant))
            ]
    return ast.dump(tree)


class RowStore:
    """The rows of one file; a context manager that holds its lock.

    Opening reads what is there. Raises :class:`InputError` for a file of other settings, or that is no rows file, and
    where another process writes to it.
    """

    def __init__(self, path: Path, settings: dict[str, Any], *, overwrite: bool = False):
        self.path = path
        self._lock = FileLock(path.with_name(f"{path.name}.lock"))
        with writing(path, advice=_KEPT):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(path)
        try:
            check_output(path, overwrite=True)
            if overwrite and path.exists():
                with writing(path):
                    path.unlink()
            self.rows: dict[str, Row] = self._open(settings)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> "RowStore":
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def add(self, row: Row) -> None:
        """Append a row: one write of a whole line, forced to disk. A row of the same key is superseded."""
        self._append(row)
        self.rows[row["key"]] = row

    def _append(self, value: Row) -> None:
        line = (dumps(value) + "\n").encode()
        with writing(self.path, advice=_KEPT):
            new = not self.path.exists()
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                before = os.fstat(descriptor).st_size
                try:
                    while line:
                        line = line[os.write(descriptor, line) :]
                    os.fsync(descriptor)
                except OSError:
                    with suppress(OSError):
                        os.ftruncate(descriptor, before)
                    raise
            finally:
                os.close(descriptor)
            if new:
                sync_folder(self.path.parent)

    def _open(self, settings: dict[str, Any]) -> dict[str, Row]:
        if not self.path.exists() or self.path.stat().st_size == 0:
            self._append({"benchmark": FORMAT, "settings": settings})
            return {}
        with writing(self.path):
            content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):  # the last write was cut off
            with writing(self.path):
                os.truncate(self.path, len(whole))
        try:
            lines = [json.loads(line) for line in whole.splitlines()]
        except (ValueError, RecursionError) as error:
            raise InputError(self.path, None, None, f"malformed JSON: {error}; expected rows of a benchmark") from error
        if not lines or not isinstance(lines[0], dict) or lines[0].get("benchmark") != FORMAT:
            raise InputError(self.path, None, None, "is no rows file of a benchmark; choose another output")
        stored = lines[0].get("settings", {})
        for name, value in json.loads(dumps(settings)).items():
            if stored.get(name) != value:
                raise InputError(
                    self.path,
                    None,
                    name,
                    f"is {stored.get(name)!r} in the rows kept there, now {value!r}; "
                    "choose another output, or add --overwrite to start again",
                )
        return {row["key"]: row for row in lines[1:] if isinstance(row, dict) and "key" in row}
