"""``fluorojax simulate``: write a challenge file with known truth."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluorojax.cli.backend import use_cache
from fluorojax.cli.options import (
    HDF5_SUFFIXES,
    DetectorOption,
    OverwriteOption,
    QuietOption,
    SeedOption,
    StageOption,
    VerboseOption,
    check_suffix,
    make_detector,
)
from fluorojax.cli.printing import say

if TYPE_CHECKING:
    from fluorojax.runs.progress import Progress
    from fluorojax.simulation import SimulationOptions


def simulate(
    output: Annotated[Path, typer.Argument(metavar="OUT.h5", help="Challenge file to write.", show_default=False)],
    tier: Annotated[str, typer.Option(help="Spec ranges: public, dev or hidden.")] = "public",
    scenes: Annotated[int, typer.Option(min=1, help="Number of scenes.")] = 4,
    frames: Annotated[int, typer.Option(min=1, help="Frames per scene; 1 is stored as (H, W).")] = 16,
    size: Annotated[int, typer.Option(min=16, help="Detector side length, pixels.")] = 128,
    fps: Annotated[float, typer.Option(help="Frames per second.")] = 30.0,
    photons: Annotated[
        float, typer.Option(help="Detected quanta per pixel and frame with nothing in the beam.")
    ] = 1500.0,
    motion: Annotated[
        str, typer.Option(help="slow (breathing, heartbeat, contrast agent) or fast (also devices that swing fast).")
    ] = "slow",
    scatter_fraction: Annotated[float, typer.Option(help="Scattered share of the quanta, 0 ≤ f < 1.")] = 0.0,
    detector: DetectorOption = None,
    stage: StageOption = None,
    read_noise: Annotated[
        float | None,
        typer.Option(
            help="Standard deviation of the read noise, quanta. Default: that of --detector, else 0.",
            show_default=False,
        ),
    ] = None,
    slow_tails: Annotated[bool, typer.Option("--slow-tails", help="Add the slow charge traps of real panels.")] = False,
    no_mismatch: Annotated[bool, typer.Option("--no-mismatch", help="Set all three spec parameters to zero.")] = False,
    contrast_start: Annotated[
        float | None,
        typer.Option(
            metavar="MS",
            help="Time of the contrast injection after frame 0, in ms. Default: drawn at random.",
            show_default=False,
        ),
    ] = None,
    ct: Annotated[Path | None, typer.Option(help="CT volume (NIfTI) to project.", show_default=False)] = None,
    seed: SeedOption = 0,
    overwrite: OverwriteOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Simulate scenes with known truth.

    The spec parameters are signed offsets from the nominal protocol: the exposure window is 8 + motion_blur ms, the
    time constant of the lag is 10 + lag ms, and the gain of frame t is (1 + gain_drift/100)^t.

    --stage makes scatter or veiling glare of a share that is drawn at random, and whose truth the file states.

    --detector takes the nominal lag, the electronic noise and the veiling glare of a detector; the pixels are those of
    the detector.
    """
    from fluorojax.physics.extensions import extended
    from fluorojax.physics.operator import PUBLISHED_OPERATOR
    from fluorojax.runs.progress import make_progress
    from fluorojax.simulation import SimulationOptions

    check_suffix("OUT.h5", output, HDF5_SUFFIXES)
    use_cache(quiet)
    chosen = make_detector(detector)
    behind = {}
    operator = PUBLISHED_OPERATOR if chosen is None else chosen.operator(PUBLISHED_OPERATOR, None)
    behind["operator"] = extended(operator, stage or ())
    if chosen is not None:
        if (lag_ms := chosen.value("lag_ms")) is not None:
            behind["lag_ms"] = lag_ms
        read_noise = chosen.value("electronic_noise") if read_noise is None else read_noise
    options = SimulationOptions(
        tier=tier,
        frames=frames,
        size=size,
        fps=fps,
        photons=photons,
        motion=motion,  # pyright: ignore[reportArgumentType]  # any word may be typed; the options refuse wrong ones
        mismatch=not no_mismatch,
        scatter_fraction=scatter_fraction,
        read_noise=read_noise or 0.0,
        slow_tails=slow_tails,
        contrast_start_ms=contrast_start,
        ct=ct,
        **behind,
    )
    with make_progress("simulate", quiet=quiet, verbose=verbose) as progress:
        run_simulate(output, options, count=scenes, seed=seed, overwrite=overwrite, progress=progress)
    if not quiet:
        say(f"wrote {scenes} scene{'s' if scenes > 1 else ''} to {output}")
    return 0


def run_simulate(
    output: Path, options: "SimulationOptions", *, count: int, seed: int, overwrite: bool, progress: "Progress"
) -> None:
    """Simulate ``count`` scenes into a challenge file, atomically."""
    from fluorojax.data.scene import Scene
    from fluorojax.io import InputError, check_output, package_versions, write_challenge
    from fluorojax.physics import stages_as_list
    from fluorojax.simulation import simulate_scenes

    check_output(output, inputs=() if options.ct is None else [options.ct], overwrite=overwrite)
    if options.ct is not None and not Path(options.ct).is_file():
        raise InputError(options.ct, None, None, "no such file; expected a CT volume (NIfTI)")
    done = 0

    def report(scene: Scene) -> None:
        nonlocal done
        done += 1
        progress.update(done, f"{scene.name}: {scene.y.mean():.3g} counts per pixel and frame")

    settings = asdict(options)
    settings["ct"] = None if options.ct is None else Path(options.ct).name
    settings["operator"] = stages_as_list(options.operator)
    settings["spec"] = None if options.spec is None else options.spec.as_dict()
    provenance = {"versions": package_versions(), "seed": seed, "settings": settings}
    progress.start(count)
    scenes = simulate_scenes(count, seed, options)
    write_challenge(output, scenes, tier=options.tier, overwrite=overwrite, provenance=provenance, on_scene=report)
