"""CPU seconds of one cone-beam projection and its adjoint, and how well the two agree.

``python benchmarks/projector.py [--voxels 64] [--views 50] [--pixels 96]`` prints the row of ``RESULTS.md``.
"""

import argparse
import time

import jax
import jax.numpy as jnp

from fluorojax.tomography.geometry import circular_geometry
from fluorojax.tomography.grid import VoxelGrid
from fluorojax.tomography.projector import backproject, project


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--voxels", type=int, default=64)
    parser.add_argument("--views", type=int, default=50)
    parser.add_argument("--pixels", type=int, default=96)
    options = parser.parse_args()
    grid = VoxelGrid.centred(options.voxels, 256.0 / options.voxels)
    pitch = 403.0 / options.pixels
    geometry = circular_geometry(options.views, rows=options.pixels, columns=options.pixels, pitch_mm=pitch)
    volume = jax.random.uniform(jax.random.key(0), grid.shape)
    forward = jax.jit(lambda volume: project(volume, geometry, grid))
    adjoint = jax.jit(lambda data: backproject(data, geometry, grid))
    data = forward(volume).block_until_ready()
    back = adjoint(data).block_until_ready()
    seconds = []
    for function, argument in ((forward, volume), (adjoint, data)):
        begin = time.process_time()
        function(argument).block_until_ready()
        seconds.append(time.process_time() - begin)
    mismatch = abs(float(jnp.vdot(volume, back) / jnp.vdot(data, data)) - 1)
    print("| voxels | views | pixels | projection, CPU s | adjoint, CPU s | mismatch of the dot products |")
    print("|---|---|---|---|---|---|")
    sizes = f"{options.voxels}³", options.views, f"{options.pixels}²"
    cells = (*sizes, *(f"{s:.2f}" for s in seconds), f"{mismatch:.0e}")
    print("| " + " | ".join(map(str, cells)) + " |")


if __name__ == "__main__":
    main()
