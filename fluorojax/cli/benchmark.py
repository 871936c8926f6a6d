"""``fluorojax benchmark``: fluorojax and what a user would run instead, side by side."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluorojax.cli.options import OverwriteOption, QuietOption, VerboseOption, numbers_of
from fluorojax.cli.printing import print_json, say
from fluorojax.data.choices import MAX_SEED

if TYPE_CHECKING:
    from fluorojax.benchmark.matrix import Matrix

_LISTED = "separated by commas"


def benchmark(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[IN.h5 …]", help="Challenge files with truth; default simulated scenes.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder for rows, tables and figure; an interrupted run continues there.",
        ),
    ] = Path("benchmark"),
    methods: Annotated[str | None, typer.Option(help=f"Methods, {_LISTED}; an unknown one lists all.")] = None,
    scenarios: Annotated[str | None, typer.Option(help="Which of I, II and III. Default: all.")] = None,
    tiers: Annotated[str | None, typer.Option(help="Which of public, dev and hidden. Default: public.")] = None,
    counts: Annotated[
        str | None, typer.Option(help=f"Mean counts behind the patient, {_LISTED}; default 3,30.")
    ] = None,
    motions: Annotated[str | None, typer.Option(help="Which of slow and fast. Default: slow.")] = None,
    scenes: Annotated[
        int | None,
        typer.Option(min=1, help="Scenes of each cell. Default: 2, or all scenes of a file.", show_default=False),
    ] = None,
    slow_scenes: Annotated[
        int | None, typer.Option(min=0, help="The same for mgvi and nuts. Default: 1.", show_default=False)
    ] = None,
    frames: Annotated[
        int | None, typer.Option(min=2, help="Frames of simulated scenes. Default: 12.", show_default=False)
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(min=16, help="Side length of simulated scenes, pixels. Default: 64.", show_default=False),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=MAX_SEED, help="Seed of all randomness; default 0.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json", help="File of settings; options of the command take precedence.", show_default=False
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="All tiers, doses, motions and methods, 8 scenes of 16 × 128 × 128: hours.")
    ] = False,
    costs: Annotated[
        bool, typer.Option("--costs", help="Time and memory of map against frames, size and batch instead.")
    ] = False,
    limit: Annotated[float, typer.Option(min=1, help="Longest time for one row, in seconds.")] = 900.0,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run failed rows again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Run methods on the same scenes in Scenarios I, II and III; compare quality, interval coverage, time and memory.

    Every method runs in a process of its own. If a method fails, its row gives the reason. Finished rows are kept, and
    the same command continues an interrupted run. The exit code is 1 if a method of fluorojax itself failed.
    """
    from fluorojax.benchmark.matrix import Matrix
    from fluorojax.io import InputError

    if output.exists() and not output.is_dir():
        raise InputError(output, None, None, "is a file; expected a folder")
    chosen: dict[str, Any] = {
        "methods": _words(methods),
        "scenarios": _words(scenarios),
        "tiers": _words(tiers),
        "counts": None if counts is None else list(numbers_of("counts", counts, "positive numbers")),
        "motions": _words(motions),
        "scenes": scenes,
        "slow_scenes": slow_scenes,
        "frames": frames,
        "size": size,
        "seed": seed,
    }
    given = {name: value for name, value in chosen.items() if value is not None}
    matrix = Matrix.full() if full else Matrix()
    if files:
        matrix = matrix.with_settings({"scenes": 0})
    if config is not None:
        matrix = matrix.from_config(config)
    matrix = matrix.with_settings(given, "benchmark")
    if costs:
        return _run_costs(
            output, matrix.seed, limit, as_json=as_json, overwrite=overwrite, quiet=quiet, verbose=verbose
        )
    return _run_quality(
        matrix,
        files or [],
        output,
        limit,
        retry_failed=retry_failed,
        as_json=as_json,
        overwrite=overwrite,
        quiet=quiet,
        verbose=verbose,
    )


def _run_quality(
    matrix: "Matrix",
    files: list[Path],
    output: Path,
    limit: float,
    *,
    retry_failed: bool,
    as_json: bool,
    overwrite: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    from fluorojax.benchmark.report import make_document, write_document
    from fluorojax.benchmark.rows import RowStore
    from fluorojax.benchmark.runner import Benchmark
    from fluorojax.runs.progress import make_progress

    sources = matrix.of_files(files) if files else list(matrix.simulated())
    if not sources:
        raise ValueError("scenes is 0; expected at least one simulated scene of each cell")
    bench = Benchmark(matrix, tuple(sources), output / "scenes", limit)
    settings: dict[str, Any] = {"seed": matrix.seed}
    if not files:
        settings |= {"frames": matrix.frames, "size": matrix.size}
    with RowStore(output / "rows.jsonl", settings, overwrite=overwrite) as store:
        with make_progress("benchmark", quiet=quiet, verbose=verbose) as progress:
            tasks = bench.run(store, progress, retry_failed=retry_failed)
        document = make_document(matrix, tasks, store)
    written = write_document(document, output)
    if as_json:
        print_json(document)
    elif not quiet:
        _print_cells(document)
        say(f"wrote {', '.join(str(path) for path in written)}")
    return int(_ours_failed(document))


def _run_costs(
    output: Path, seed: int, limit: float, *, as_json: bool, overwrite: bool, quiet: bool, verbose: bool
) -> int:
    from fluorojax.benchmark.costs import cost_document, cost_markdown, draw_costs, run_costs
    from fluorojax.benchmark.report import machine
    from fluorojax.benchmark.rows import RowStore
    from fluorojax.io import dumps, package_versions, write_text
    from fluorojax.runs.progress import make_progress

    with RowStore(output / "costs.jsonl", {"seed": seed, "method": "map"}, overwrite=overwrite) as store:
        with make_progress("costs", quiet=quiet, verbose=verbose) as progress:
            found = run_costs(store, output / "scenes", progress, seed=seed, limit_s=limit)
    facts = {"method": "map", "seed": seed, "versions": package_versions(), "machine": machine()}
    document = cost_document(found, facts)
    text = cost_markdown(document)
    write_text(output / "costs.md", text, overwrite=True)
    write_text(output / "costs.json", dumps(document, indent=1) + "\n", overwrite=True)
    draw_costs(document, output / "costs.png")
    if as_json:
        print_json(document)
    elif not quiet:
        print(text)
    return int(any(row["status"] != "ok" for _, row in found))


def _words(text: str | None) -> list[str] | None:
    """Comma-separated words, each once."""
    return None if text is None else list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def _print_cells(document: dict[str, Any]) -> None:
    from fluorojax.cli.tables import print_table
    from fluorojax.reports.numbers import number

    columns = ["method", "PSNR I", "II", "III", "SSIM III", "moving III", "device III", "s/scene", "MB", "note"]
    for cell in document["cells"]:
        rows = []
        for entry in cell["methods"]:
            by = entry["scenarios"]

            def value(scenario: str, name: str, digits: int = 2, by: dict[str, Any] = by) -> str:
                found = by.get(scenario, {}).get(name)
                return "–" if found is None else number(found, digits)

            failed = "; ".join(failure["reason"] for failure in entry["failures"])
            rows.append(
                [
                    entry["label"],
                    *(value(scenario, "psnr") for scenario in ("I", "II", "III")),
                    value("III", "ssim", 4),
                    value("III", "moving_psnr"),
                    value("III", "device_psnr"),
                    "–" if entry["seconds"] is None else f"{entry['seconds']:.2f}",
                    "–" if entry["peak_mb"] is None else f"{entry['peak_mb']:.0f}",
                    "; ".join(filter(None, (entry["note"], failed))),
                ]
            )
        print_table(cell["cell"], columns, rows)


def _ours_failed(document: dict[str, Any]) -> bool:
    from fluorojax.methods.registry import method_names

    entries = [entry for cell in document["cells"] for entry in cell["methods"] if entry["method"] in method_names()]
    return any(entry["failures"] for entry in entries)
