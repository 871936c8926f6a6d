"""How well the amplified standard deviation of `fluorojax display` agrees with the true errors of enhanced pictures.

    python benchmarks/amplified_sd.py RESULT.h5 TRUTH.h5

The gains are those of the reconstruction. The same filter is applied to the true errors, and the root mean square of
what comes out is divided by that of the amplified standard deviation; 1 is right, more is too small an sd. The column
"before" is the same ratio before the enhancement.
"""

import argparse
from dataclasses import replace

import numpy as np

from fluorojax.display import Enhancement, design
from fluorojax.io import iter_reconstructions, open_scenes


def main() -> None:
    """Print one line for each scene, enhancement and correlation width."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("result")
    parser.add_argument("truth")
    arguments = parser.parse_args()
    scenes = open_scenes(arguments.truth)
    print("scene enhancement correlation before enhanced median-amplification")
    for result in iter_reconstructions(arguments.result):
        truth = scenes[result.name].x_true
        if result.x_std is None or truth is None:
            raise SystemExit(f"{result.name}: no standard deviation or no truth")
        error = result.x_hat - truth
        before = np.sqrt(np.mean(error**2) / np.mean(result.x_std**2))
        for name, options in (("contrast", Enhancement(contrast=3.0)), ("sharpen", Enhancement(sharpen=3.0))):
            for width in (0.0, 0.5, 0.75, 1.0, 1.5):
                chosen = design(result.x_hat, result.x_std, replace(options, correlation=width))
                stated, actual = chosen.spread(result.x_std), chosen.apply(error)
                ratio = np.sqrt(np.mean(actual**2) / np.mean(stated**2))
                factor = np.median(stated / result.x_std)
                print(f"{result.name} {name} {width:g} {before:.2f} {ratio:.2f} {factor:.2f}")


if __name__ == "__main__":
    main()
