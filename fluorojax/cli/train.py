"""``fluorojax train``: train a network of the learned posterior on simulated scenes."""

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from fluorojax.cli.options import OverwriteOption, QuietOption, SeedOption, VerboseOption
from fluorojax.cli.printing import say


def train(
    architecture: Annotated[
        str,
        typer.Argument(
            metavar="ARCH",
            help="Architecture: unet, stream, a learned peer such as dncnn, between, or ridge-energy.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="WEIGHTS.npz", help="Weights to write.")],
    scenes: Annotated[int, typer.Option(min=1, help="Number of noise-free sequences to simulate.")] = 752,
    steps: Annotated[int, typer.Option(min=1, help="Number of steps of this run.")] = 8000,
    minutes: Annotated[
        float | None,
        typer.Option(min=0, help="Stop after this wall time, if the steps take longer.", show_default=False),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Folder of the simulated sequences. Default: WEIGHTS.scenes.", show_default=False
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option("--from", metavar="WEIGHTS.npz", help="Weights to start from.", show_default=False),
    ] = None,
    learning_rate: Annotated[float, typer.Option(min=0, help="Largest learning rate.")] = 2e-3,
    decay: Annotated[
        float, typer.Option(min=0, max=1, help="Last share of the run over which the learning rate falls to zero.")
    ] = 0.6,
    every: Annotated[int, typer.Option(min=1, help="Steps between validations and checkpoints.")] = 300,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Train a network on simulated scenes, calibrate its standard deviations and validate it on scenes of other seeds.

    The same command continues a run that was stopped, from its state in WEIGHTS.state.npz. --overwrite starts again
    from the beginning. `--decay 0` keeps the learning rate high, for a run that you want to continue later. The file of
    weights contains its recipe.

    The architecture unet is the network of `--method learned`, and stream the network of `fluorojax stream`.
    The architecture between is the network between frames (--times, --to-fps). Its examples are made with the shipped
    network of the learned posterior and stand in WEIGHTS.scenes too.

    The architecture ridge-energy is the energy of the shipped model `learned`, whose training takes minutes: it has no
    state and no validation.
    """
    from fluorojax.io import check_output
    from fluorojax.learned.data import Library
    from fluorojax.learned.networks import check_architecture
    from fluorojax.learned.spread import fit_spread
    from fluorojax.learned.training import TrainOptions
    from fluorojax.learned.training import train as run
    from fluorojax.learned.validate import validation_runs
    from fluorojax.learned.weights import load_weights, save_weights
    from fluorojax.runs.progress import make_progress

    if output.suffix != ".npz":
        raise ValueError(f"output is {output}; expected a name that ends in .npz")
    folder = output.with_suffix(".scenes") if data is None else data
    if architecture == ENERGY:
        if minutes is not None:
            raise ValueError(f"--minutes is {minutes:g} with {ENERGY}; expected --steps alone")
        check_output(output, overwrite=overwrite)
        _simulate((folder / "training", seed + 1, scenes), quiet=quiet, verbose=verbose)
        return _train_energy(output, folder / "training", steps, seed, learning_rate, start, quiet, verbose)
    if architecture == BETWEEN:
        if start is not None:
            raise ValueError(f"--from is {start} with {BETWEEN}; expected none, as a run continues its own state")
        check_continued(output, overwrite)
        _simulate_all(folder, seed, scenes, quiet=quiet, verbose=verbose)
        settings = {"steps": steps, "minutes": minutes, "learning_rate": learning_rate, "decay": decay, "every": every}
        return _train_between(output, folder, settings, seed, overwrite, quiet, verbose)
    if architecture == STREAM:
        import_module("fluorojax.streaming.learning")  # registers it
    check_architecture(architecture)
    check_continued(output, overwrite)
    options = TrainOptions(
        architecture=architecture,
        steps=steps,
        minutes=minutes,
        learning_rate=learning_rate,
        decay=decay,
        seed=seed,
        every=every,
    )
    beginning = None
    if start is not None:
        weights = load_weights(start)
        if weights.recipe["architecture"] != architecture:
            raise ValueError(f"{start}: architecture is {weights.recipe['architecture']!r}; expected {architecture!r}")
        beginning = weights.network.network
    _simulate_all(folder, seed, scenes, quiet=quiet, verbose=verbose)
    with make_progress(f"train {architecture}", quiet=quiet, verbose=verbose) as progress:
        progress.start(100, "per cent")
        run(
            folder / "training",
            output,
            options,
            validation=folder / "validation",
            resume=not overwrite,
            start=beginning,
            report=lambda share, line: progress.update(100 * share, line),
        )
    trained = load_weights(output)
    network = fit_spread(
        trained.network.network, validation_runs(Library(folder / "calibration").sequences, seed=seed, most=KEPT_APART)
    )
    found = validation_runs(Library(folder / "validation").sequences, most=KEPT_APART).measure(network)
    save_weights(output, network, {**trained.recipe, "calibrated": found.as_dict()})
    if not quiet:
        say(f"wrote {output}: {found.sentence()}")
    return 0


def check_continued(output: Path, overwrite: bool) -> None:
    """Raise ``ValueError`` where weights would be replaced that no state continues."""
    if output.exists() and not output.with_suffix(".state.npz").exists() and not overwrite:
        raise ValueError(
            f"{output}: exists and has no state to continue; --overwrite replaces it, --from starts from it"
        )


def _simulate_all(folder: Path, seed: int, scenes: int, *, quiet: bool, verbose: bool) -> None:
    """Simulate what the folders of sequences for training, validation and calibration lack."""
    for part in (
        (folder / "validation", seed + VALIDATION_SEED, min(KEPT_APART, scenes)),
        (folder / "calibration", seed + CALIBRATION_SEED, min(KEPT_APART, scenes)),
        (folder / "training", seed + 1, scenes),
    ):
        _simulate(part, quiet=quiet, verbose=verbose)


def _simulate(part: tuple[Path, int, int], *, quiet: bool, verbose: bool) -> None:
    """Simulate what a folder of sequences lacks."""
    from fluorojax.learned.scenes import write_shards
    from fluorojax.runs.progress import make_progress

    place, seed, count = part
    with make_progress(f"simulate {place.name}", quiet=quiet, verbose=verbose) as progress:
        progress.start(count)
        write_shards(place, seed=seed, count=count, report=lambda done: progress.update(done, "clean sequences"))


def _train_between(
    output: Path,
    folder: Path,
    settings: dict[str, Any],
    seed: int,
    overwrite: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    from fluorojax.between.examples import read_slow_runs, write_slow_runs
    from fluorojax.between.training import BetweenOptions, train_between
    from fluorojax.learned.weights import load_weights, shipped_file
    from fluorojax.runs.progress import make_progress

    network, runs = load_weights(shipped_file()).network, {}
    for name, number in (("validation", VALIDATION_SEED), ("calibration", CALIBRATION_SEED), ("training", 1)):
        made = folder / f"between-{name}"
        with make_progress(f"frames of {name}", quiet=quiet, verbose=verbose) as progress:
            progress.start(100, "per cent")
            write_slow_runs(
                folder / name,
                made,
                network,
                seed=seed + number,
                report=lambda done, all_, progress=progress: progress.update(100 * done / all_, "runs"),
            )
        runs[name] = read_slow_runs(made)
    with make_progress(f"train {BETWEEN}", quiet=quiet, verbose=verbose) as progress:
        progress.start(100, "per cent")
        found = train_between(
            runs["training"],
            output,
            BetweenOptions(seed=seed, **settings),
            validation=runs["validation"],
            calibration=runs["calibration"],
            resume=not overwrite,
            report=lambda share, line: progress.update(100 * share, line),
        )
    if not quiet:
        say(f"wrote {output}: {found.sentence()}")
    return 0


def _train_energy(
    output: Path,
    folder: Path,
    steps: int,
    seed: int,
    learning_rate: float,
    start: Path | None,
    quiet: bool,
    verbose: bool,
) -> int:
    from fluorojax.learned.energy import load_energy, save_energy, train_energy
    from fluorojax.runs.progress import make_progress

    with make_progress(f"train {ENERGY}", quiet=quiet, verbose=verbose) as progress:
        progress.start(100, "per cent")
        energy, recipe = train_energy(
            folder,
            steps=steps,
            seed=seed,
            learning_rate=learning_rate,
            start=None if start is None else load_energy(start),
            report=lambda share, line: progress.update(100 * share, line),
        )
    save_energy(output, energy, recipe)
    if not quiet:
        say(f"wrote {output}: {steps} steps, loss {recipe['loss']:g}")
    return 0


BETWEEN = "between"
"""Architecture that is the network between frames (:mod:`fluorojax.between`)."""
STREAM = "stream"
"""Architecture of the network of a stream."""
ENERGY = "ridge-energy"
"""Architecture that is an energy and no network of the learned posterior."""
VALIDATION_SEED = 9001
"""Added to the seed for the validation scenes."""
CALIBRATION_SEED = 9501
"""Added to the seed for the scenes that standard deviations are calibrated on."""
KEPT_APART = 72
"""Sequences of either kind, which training never sees."""
