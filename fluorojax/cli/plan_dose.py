"""``fluorojax plan-dose``: the dose that a wanted standard deviation in a region takes."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fluorojax.cli.backend import use_cache
from fluorojax.cli.options import QuietOption, ResultArgument, SceneOption, SeedOption, VerboseOption, make_notify
from fluorojax.cli.printing import print_json, say

if TYPE_CHECKING:
    from fluorojax.data.reconstruction import ReconstructOptions
    from fluorojax.data.scene import Scene
    from fluorojax.dose.planning import DosePlan, PlanCheck
    from fluorojax.io import Provenance


def plan_dose(
    result_file: ResultArgument,
    roi: Annotated[
        str,
        typer.Option(
            "--roi",
            metavar="R0:R1,C0:C1",
            help="Rows and columns of the region, R1 and C1 excluded.",
            show_default=False,
        ),
    ],
    sd: Annotated[
        float,
        typer.Option(
            "--sd",
            metavar="TARGET",
            help="Wanted standard deviation of a pixel in the region, in the unit of x.",
            show_default=False,
        ),
    ],
    frames: Annotated[
        str | None, typer.Option("--frames", metavar="A:B", help="Frames of the region, B excluded. Default: all.")
    ] = None,
    scene: SceneOption = None,
    exponent: Annotated[
        float | None,
        typer.Option(
            help="Exponent of the variance in the dose, 0 to 1, in place of those measured for the method.",
            show_default=False,
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Reconstruct counts at the planned dose and report what is reached (slow)."),
    ] = False,
    source: Annotated[
        Path | None,
        typer.Option(
            "--source",
            metavar="IN.h5",
            help="File that was reconstructed: a plan with less dose is checked on its thinned counts.",
            show_default=False,
        ),
    ] = None,
    seed: SeedOption = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> int:
    """Find the dose per frame, or the frame rate, that brings the standard deviation in a region to a wanted value.

    The part of the variance from photon noise and prior changes with the dose, more slowly than 1/dose; the part from
    the unknown imaging chain is taken to stay. A value below that part is refused. The answer is a range, because the
    law depends on the scene: `--check` measures it by simulating the planned dose, or for less dose by thinning the
    measured counts.
    """
    from dataclasses import asdict

    from fluorojax.dose.planning import Region, check_plan, plan_dose
    from fluorojax.io import InputError, list_reconstructions, read_provenance, read_reconstruction
    from fluorojax.io.selection import parse_range, parse_window
    from fluorojax.runs.progress import make_progress

    rows, columns = parse_window("--roi", roi)
    region = Region(rows, columns, None if frames is None else parse_range("--frames", frames))
    if exponent is not None and not 0 < exponent <= 2:
        raise ValueError(f"--exponent is {exponent:g}; expected a number above 0, at most 2")
    if source is not None and not check:
        raise ValueError("--source is given without --check; expected both, or neither")
    names = list_reconstructions(result_file)
    if missing := [name for name in scene or () if name not in names]:
        problem = f"no such scene in this file; expected one of {', '.join(names)}"
        raise InputError(result_file, missing[0], None, problem)
    provenance = read_provenance(result_file)
    options = _options(result_file, provenance) if check else None
    if check:
        use_cache(quiet)
    documents, lines = [], []
    for name in scene or names:
        result = read_reconstruction(result_file, name)
        try:
            plan = plan_dose(
                result,
                region,
                sd,
                method=provenance.method or "map",
                exponent=None if exponent is None else (exponent, exponent, exponent),
            )
        except ValueError as error:
            raise InputError(result_file, None, None, str(error)) from error
        lines += ["", *_plan_lines(plan)] if lines else _plan_lines(plan)
        document = asdict(plan) | {
            "planned_photons_per_pixel": plan.planned_photons,
            "planned_frames_per_second": plan.planned_frames_per_second,
        }
        if options is not None:
            measured = None if source is None else _measured(result_file, source, name, quiet=quiet)
            with make_progress(f"check {name}", quiet=quiet, verbose=verbose) as progress:
                found = check_plan(plan, result, options, scene=measured, seed=seed, progress=progress)
            lines += _check_lines(plan, found)
            document["check"] = asdict(found)
        documents.append(document)
    if as_json:
        print_json({"plans": documents})
    else:
        for line in lines:
            say(line)
    return 0


def _options(file: Path, provenance: "Provenance") -> "ReconstructOptions":
    """The options of the run that made a file, for the check."""
    from dataclasses import fields

    from fluorojax.data.reconstruction import ReconstructOptions
    from fluorojax.io import InputError

    if not provenance.method:
        raise InputError(file, None, "method", "is not recorded; --check needs a file that fluorojax wrote")
    if provenance.model.endswith(".py"):
        problem = (
            f"is {provenance.model}, a model file whose path is not recorded; expected a shipped model for --check"
        )
        raise InputError(file, None, "model", problem)
    known = {field.name for field in fields(ReconstructOptions)} - {"batch"}
    settings = {name: value for name, value in provenance.settings.items() if name in known}
    try:
        return ReconstructOptions(model=provenance.model, method=provenance.method, **settings)
    except (TypeError, ValueError) as error:
        raise InputError(file, None, "settings", str(error)) from error


def _measured(file: Path, source: Path, name: str, *, quiet: bool) -> "Scene":
    """The scene that was reconstructed, of the file of scenes."""
    from fluorojax.io import InputError, open_reconstructed

    scenes = open_reconstructed(file, source, notify=make_notify(quiet))
    if name not in scenes:
        raise InputError(source, name, None, f"is not in this file, but in {file}; expected the same scenes")
    return scenes[name]


def _plan_lines(plan: "DosePlan") -> Iterator[str]:
    low, high = plan.factor_range
    rows, columns = plan.region.rows, plan.region.columns
    yield (
        f"{plan.scene}, rows {rows[0]}:{rows[1]}, columns {columns[0]}:{columns[1]}: standard deviation "
        f"{plan.sd:.3g} now "
        f"({plan.noise_sd:.3g} from photon noise and prior, {plan.chain_sd:.3g} from the unknown imaging chain), "
        f"{plan.target:.3g} wanted"
    )
    span = "" if _alike(low, high) else f" ({low:.3g} to {high:.3g})"
    yield f"  dose per frame: {plan.factor:.3g} times the present one{span}"
    if plan.photons_per_pixel is not None and plan.planned_photons is not None:
        yield (
            f"  that is {plan.planned_photons:.4g} quanta per pixel and frame in the open beam, in place of "
            f"{plan.photons_per_pixel:.4g}; air kerma and kerma-area product change by the same factor"
        )
    rate = plan.planned_frames_per_second
    if rate is not None:
        yield (
            f"  or, where the region stands still from frame to frame: {rate:.3g} frames per second at the "
            f"present dose "
            f"per frame, in place of {plan.frames_per_second:.3g}"
        )
    elif plan.frames_per_second is not None:
        yield (
            f"  a higher frame rate does not serve: frames would be shorter than the exposure window, which may be "
            f"{plan.shortest_frame_ms:.3g} ms"
        )
    yield (
        f"  the variance of noise and prior is taken to fall as dose to the power −{plan.exponent[1]:.2g} "
        f"({plan.exponent[0]:.2g} to {plan.exponent[2]:.2g}), not as 1/dose: the prior holds part of it"
    )
    if plan.extrapolated:
        yield "  this is farther from the present dose than the law was measured over; take it as a direction only"


def _alike(a: float, b: float) -> bool:
    """Whether two factors print alike."""
    return abs(a - b) <= 1e-9 * max(abs(a), abs(b))


def _check_lines(plan: "DosePlan", found: "PlanCheck") -> Iterator[str]:
    how = {
        "thinned": "the measured counts thinned to that dose",
        "simulated": "counts simulated from x_hat at both doses",
    }[found.kind]
    yield (
        f"  check, with {how}: {found.reached:.3g} is reached ({found.sd_planned:.3g} at the planned dose, "
        f"{found.sd_present:.3g} at the present one)"
    )
    if found.error is not None:
        yield f"  the true error of that simulation in the region is {found.error:.3g}"
    if found.exponent is not None:
        text = f"  the exponent of this scene is {found.exponent:.2g}"
        if found.factor is not None:
            text += f", by which {found.factor:.3g} times the present dose reaches {plan.target:.3g}"
        yield text
