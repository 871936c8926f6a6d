"""What a benchmark leaves in its folder: table.md, table.json and figure.png, beside the rows."""

import os
import platform
from pathlib import Path
from typing import Any

from fluorojax.benchmark.contestants import CONTESTANTS
from fluorojax.benchmark.figure import draw
from fluorojax.benchmark.matrix import Matrix
from fluorojax.benchmark.rows import RowStore
from fluorojax.benchmark.runner import Task
from fluorojax.benchmark.summary import summarise
from fluorojax.benchmark.table import markdown
from fluorojax.io import dumps, package_versions, write_text


def make_document(matrix: Matrix, tasks: list[Task], store: RowStore) -> dict[str, Any]:
    """Settings, versions and cells as plain values."""
    return {
        "settings": matrix.as_dict(),
        "versions": versions(matrix.methods),
        "machine": machine(),
        "cells": summarise(tasks, store.rows),
        "rows": [store.rows[task.key] for task in tasks if task.key in store.rows],
    }


def write_document(document: dict[str, Any], folder: Path) -> list[Path]:
    """Write the three files, each whole or not at all; returns their paths."""
    table, data, picture = (folder / name for name in ("table.md", "table.json", "figure.png"))
    write_text(table, markdown(document), overwrite=True)
    write_text(data, dumps(document, indent=1) + "\n", overwrite=True)
    draw(document, picture)
    return [table, data, picture]


def versions(methods: tuple[str, ...]) -> dict[str, str | None]:
    """Versions of everything that the methods use."""
    found: dict[str, str | None] = {"python": platform.python_version(), **package_versions()}
    for method in methods:
        found |= CONTESTANTS[method].versions()
    return found


def machine() -> str:
    """What the times were taken on."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        cores = os.cpu_count() or 1
    return f"{platform.system()} {platform.machine()}, {cores} CPU core{'s' * (cores > 1)} for this process"
