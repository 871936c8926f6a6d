"""Runs that are longer than memory: read, solved and written in blocks, and resumed by block.

What is common to the blocks is estimated on the whole run before the first of them: the imaging chain
(:mod:`fluorojax.runs.long_calibration`), whether the method serves the run, and what held-out quanta say. A method says
how a run is cut (:meth:`fluorojax.methods.protocol.Method.blocks`) and solves one block at a time. A finished block is
safe on disk (``fluorojax.io.blocks``), and the scene is put together from the blocks at the end, some frames at a
time. No step holds the whole run.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fluorojax.calibration.identifiability import describe
from fluorojax.calibration.posterior import Marginal, SpecPosterior, recognise
from fluorojax.data.acquisition import Acquisition
from fluorojax.data.reconstruction import Reconstruction, ReconstructOptions, Status, facts_of
from fluorojax.data.scene import Scene
from fluorojax.data.spec import Spec
from fluorojax.io.blocks import BlockStore
from fluorojax.io.long_runs import LongRun
from fluorojax.io.provenance import asset_digests
from fluorojax.methods.protocol import Block, Job, Method, NotServed
from fluorojax.methods.registry import make_method
from fluorojax.metrics.agreement import LEAST_INFORMATION
from fluorojax.metrics.scene_score import expected_counts
from fluorojax.models.loading import load_model, model_for
from fluorojax.models.protocol import SceneModel
from fluorojax.physics.extensions import RECOGNITION
from fluorojax.physics.gain import GainDrift
from fluorojax.runs.batches import block_of, diverged, reconstruct_scenes, scene_data
from fluorojax.runs.long_calibration import calibrate_run
from fluorojax.runs.notes import spec_note

# Frames by which a method judges dose and patterns of a run, and frames that held-out quanta are looked at in.
_SPREAD, _CHECKED = 32, 24
# Memory that the check by held-out quanta may take beside the process, bytes.
_CHECK_BYTES = 3e8
# Frames around a part of the run within which window and lag act.
_BEFORE, _AFTER = 8, 2
# Counts that are compared with their expectation at once.
_AGREEMENT_PIXELS = 1 << 22
_WORST = (Status.CONVERGED, Status.STALLED, Status.ITERATION_LIMIT, Status.DIVERGED)


@dataclass
class LongReconstruction:
    """The reconstruction of one long run into the parts of an output."""

    run: LongRun
    options: ReconstructOptions
    store: BlockStore
    counts_sha256: str
    tell: Callable[[float, str], None]
    """Receives the fraction of the work that is done and a sentence on how it goes."""
    notify: Callable[[str], None]

    def finish(self) -> Reconstruction:
        """Compute what is missing and publish the scene; returns the result without its images.

        Raises :class:`~fluorojax.io.InputError` where counts cannot be read or results not written, and
        ``ValueError`` for a length of the blocks that the method cannot use.
        """
        begin = time.perf_counter()
        method = make_method(self.options)
        model = load_model(model_for(self.options.model, 3))
        recognised = self._recognise()
        known = self._posterior()
        self.tell(0.02, spec_note(self.run.head, known, self.options))
        try:
            method, facts = self._serving(method, known, model)
        except NotServed as refusal:
            self.store.lay_out([])
            result = replace(diverged(self.run.head, refusal), **self._images_and_digest())
            self.store.publish(result, self.run.shape)
            self.store.discard()
            return result
        # A size of the blocks is meant for the method that was asked for.
        frames = None if "fallback" in facts else self.options.block_frames
        blocks = method.blocks(self._job(method, model, known, self.run.head), self.run.shape, frames)
        assert blocks is not None
        self._solve(method, model, known, blocks)
        self.tell(0.97, "putting the blocks together")
        result = self._result(method, known, blocks, {**facts, **recognised})
        result = replace(result, seconds=time.perf_counter() - begin)
        self.store.publish(result, self.run.shape)
        self.store.discard()
        return result

    def _recognise(self) -> dict[str, Any]:
        """Take a start from dark into account that the first frames show; returns what is said of it."""
        if not self.options.recognise or self.options.spec not in ("calibrated", "joint"):
            return {}
        scene, _ = recognise(self.run.part(slice(0, min(self.run.shape[0], _SPREAD))))
        told = scene.metadata.get(RECOGNITION)
        if told is None:
            return {}
        self.run = self.run.with_stages(told["stages"])
        return {RECOGNITION: told}

    def _posterior(self) -> SpecPosterior:
        parameters = self.run.head.operator.parameters
        if self.options.spec in ("nominal", "true"):
            truth = self.run.head.true_spec
            known = Spec.nominal(parameters) if self.options.spec == "nominal" else truth
            assert known is not None  # checked before the run
            return SpecPosterior.known(known, parameters)
        kept = self.store.recall("calibration")
        if kept is None:
            found = calibrate_run(self.run)
            kept = {n: {"grid": m.grid.tolist(), "density": m.density.tolist()} for n, m in found.marginals.items()}
            self.store.remember("calibration", kept)
        # Also where it was just found, so that a run that goes on has the same numbers.
        marginals = {n: Marginal(np.array(kept[n]["grid"]), np.array(kept[n]["density"])) for n in kept}
        return SpecPosterior({p.name: marginals[p.name] for p in parameters}, parameters)

    def _job(self, method: Method, model: SceneModel, known: SpecPosterior, scene: Scene) -> Job:
        return Job(
            scene=scene,
            data=scene_data(scene if method.uses_model else self.run.head, known.spec),
            model=model,
            posterior=known,
            seed=self.options.seed,
            assets=asset_digests(method),
            frames=self.run.shape[0],
        )

    def _serving(self, method: Method, known: SpecPosterior, model: SceneModel) -> tuple[Method, dict[str, Any]]:
        """The method that takes the run, and what is known of that; the fallback where the method refuses."""
        other = method.fallback if self.options.fallback else None
        try:
            facts = self._checked(method, known, model, self.options.method)
            told = facts.get("held_out", {})
            if other is not None and told.get("level") == "bad":
                raise NotServed(
                    self.run.name, self.options.method, [f"held-out quanta speak against it: {told['verdict']}"]
                )
            return method, facts
        except NotServed as refusal:
            if other is None:
                raise
            reasons = list(refusal.reasons)
        self.tell(0.03, f"{other} instead: {'; '.join(reasons)}")
        instead = make_method(replace(self.options, method=other))
        facts = self._checked(instead, known, model, other)
        return instead, {"fallback": {"method": other, "instead_of": self.options.method, "reasons": reasons}, **facts}

    def _checked(self, method: Method, known: SpecPosterior, model: SceneModel, name: str) -> dict[str, Any]:
        """What the method says of the run, and what held-out quanta say of its result on a part of it."""
        total = self.run.shape[0]
        chosen = np.unique(np.linspace(0, total - 1, min(total, _SPREAD)).astype(int))
        frames = [self.run.part(_pair(t, total)).y[t - _pair(t, total).start] for t in chosen.tolist()]
        spread = replace(self.run.part(slice(0, 2)), y=np.stack(frames))
        facts = method.check_run(self._job(method, model, known, spread))
        share = method.held_out if self.options.held_out is None else self.options.held_out
        if share == 0:
            return facts
        kept = self.store.recall(f"held_out_{name}")
        if kept is None:
            kept = self._held_out(method, known, name, share)
            self.store.remember(f"held_out_{name}", kept)
        return {**facts, "held_out": kept}

    def _held_out(self, method: Method, known: SpecPosterior, name: str, share: float) -> dict[str, Any]:
        """The check on frames in the middle of the run, and on as many pixels in the middle as memory is meant for."""
        total, height, width = self.run.shape
        length = min(total, _CHECKED)
        first = (total - length) // 2
        side = max(32, int((_CHECK_BYTES / (4 * method.working_arrays * length)) ** 0.5))
        rows, columns = (
            slice(max(0, (size - side) // 2), max(0, (size - side) // 2) + min(side, size)) for size in (height, width)
        )
        part = self._at_gain(self.run.part(slice(first, first + length), rows, columns), known, first)
        options = replace(self.options, method=name, held_out=share, fallback=False, block_frames=None)
        (found,) = reconstruct_scenes([part], options)
        facts = dict(found.diagnostics.get("held_out", {"level": "unknown", "verdict": "not checked"}))
        where = f"frames {first} to {first + length - 1}"
        if (rows.stop - rows.start, columns.stop - columns.start) != (height, width):
            where += f", rows {rows.start} to {rows.stop - 1} and columns {columns.start} to {columns.stop - 1}"
        return {**facts, "verdict": f"{facts['verdict']} (checked on {where})"}

    def _at_gain(self, part: Scene, known: SpecPosterior, first: int) -> Scene:
        """A part as a scene of its own: its open-beam counts are those that the gain has come to at its first frame."""
        stage = part.operator.stage(GainDrift)
        if stage is None or first == 0:
            return part
        gain = float(stage.gains(known.spec, first + 1)[-1])
        protocol = part.acquisition.as_dict()
        lifted = {**protocol, "photons_per_pixel": gain * protocol["photons_per_pixel"]}
        return replace(part, acquisition=Acquisition.from_dict(lifted))

    def _solve(self, method: Method, model: SceneModel, known: SpecPosterior, blocks: Sequence[Block]) -> None:
        def damaged(path: Path, problem: str) -> None:
            self.notify(f"{self.run.name}: computing a block again, because {path} is damaged: {problem}")

        done = set(self.store.lay_out([block.kept for block in blocks], damaged))
        if done:
            self.notify(f"{self.run.name}: continuing, {len(done)} of {len(blocks)} blocks are finished")
        for number, block in enumerate(blocks):
            if number in done:
                continue
            what = f"block {number + 1} of {len(blocks)}"
            self.tell(0.05 + 0.9 * number / len(blocks), what)
            job = self._job(method, model, known, self.run.part(*block.seen))
            result = block_of(method, job, block)
            assert result.x_std is not None
            assert result.spec_correlation is not None
            total = float(np.sum(np.square(result.x_std, dtype=np.float64)))
            of_chain = [float(np.sum((c * result.x_std) ** 2, dtype=np.float64)) for c in result.spec_correlation]
            facts = {**result.diagnostics, "sums": {"variance": total, "of_chain": of_chain}}
            self.store.write(number, replace(result, diagnostics=facts))

    def _result(
        self, method: Method, known: SpecPosterior, blocks: Sequence[Block], facts: dict[str, Any]
    ) -> Reconstruction:
        """Everything but the images."""
        outcomes = [self.store.outcome(number) for number in range(len(blocks))]
        sums = [found.pop("sums") for _, found in outcomes]
        variance = max(sum(each["variance"] for each in sums), 1e-300)
        shares = np.sum([each["of_chain"] for each in sums], axis=0) / variance
        status = max((status for status, _ in outcomes), key=_WORST.index)
        diagnostics = {
            **_together([found for _, found in outcomes]),
            "variance_share_of_chain": dict(zip(known.marginals, map(float, shares), strict=True)),
            "blocks": {
                "number": len(blocks),
                "frames": max(block.seen[0].stop - block.seen[0].start for block in blocks),
                "pixels": [max(b.seen[axis].stop - b.seen[axis].start for b in blocks) for axis in (1, 2)],
            },
            **describe(known, None, self.run.head.ranges),
            **facts,
        }
        if status is not Status.DIVERGED:
            residual, information = self._agreement(known)
            diagnostics |= {"mean_squared_residual": residual, "information_in_counts": information}
            if information < LEAST_INFORMATION:
                status = Status.PRIOR_ONLY
        return Reconstruction(
            name=self.run.name,
            spec=known.spec,
            spec_std=known.std,
            spec_interval=known.interval,
            status=status,
            seconds=math.nan,
            diagnostics=diagnostics,
            **{**facts_of(self.run.head), **self._images_and_digest()},
        )

    def _images_and_digest(self) -> dict[str, Any]:
        """Images that stay on disk, and the digest of the counts of the whole run."""
        nothing = np.zeros((0, 0, 0), np.float32)
        return {"x_hat": nothing, "x_std": nothing, "counts_sha256": self.counts_sha256}

    def _agreement(self, known: SpecPosterior) -> tuple[float, float]:
        """Mean squared residual and information of :mod:`fluorojax.metrics.agreement`, some frames at a time."""
        shape, squares, information = self.run.shape, 0.0, 0.0
        for frames in self.run.slabs(_AGREEMENT_PIXELS // (shape[1] * shape[2])):
            seen = slice(max(frames.start - _BEFORE, 0), min(frames.stop + _AFTER, shape[0]))
            part = self._at_gain(self.run.part(seen), known, seen.start)
            x, std = (self.store.images(name, seen, shape) for name in ("x_hat", "x_std"))
            inner = slice(frames.start - seen.start, frames.stop - seen.start)
            rate = np.asarray(expected_counts(x, known.spec, part.acquisition, part.operator))[inner]
            protocol = part.acquisition.as_dict()
            variance = np.maximum(rate + np.float32(protocol["electronic_noise"] ** 2), np.float32(1e-30))
            squares += float(np.sum((part.y[inner] - rate) ** 2 / variance, dtype=np.float64))
            scale = np.float32(protocol["attenuation_scale"])
            information += float(np.sum((scale * std[inner]) ** 2 * rate * (rate / variance), dtype=np.float64))
        return squares / math.prod(shape), information


def _pair(frame: int, total: int) -> slice:
    """Two frames of which one is ``frame``."""
    first = min(frame, total - 2)
    return slice(first, first + 2)


def _together(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Diagnostics of all blocks as those of one run: energies add up, iterations are the most, ratios are means."""
    merged: dict[str, Any] = {}
    for name, first in found[0].items():
        values = [each[name] for each in found if name in each]
        if isinstance(first, bool) or not isinstance(first, int | float):
            if name in ("model", "weights"):
                merged[name] = first
        elif name in ("energy", "half_squared_gradient"):
            merged[name] = sum(values)
        elif name == "iterations":
            merged[name] = max(values)
        else:
            merged[name] = float(np.mean([value for value in values if value is not None] or [math.nan]))
    for each in found:
        if "verdict" in each:
            merged["verdict"] = each["verdict"]
    return merged
