"""Pictures as PNG files, as a GIF, or as an MP4 movie; every file appears whole or not at all."""

import errno
import os
import signal
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from fractions import Fraction
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from fluorojax.io import InputError, atomic_output, check_output, writing
from fluorojax.io.shutdown import at_stop

SUFFIXES = (".png", ".gif", ".mp4")
"""File name endings of :func:`write_pictures`."""
INSTALL = "pip install 'fluorojax[movie]'"
SLOWEST, FASTEST = 0.1, 240.0
"""Frames per second of a movie."""
_MOST_SIDE = 16384


def output_files(path: str | PathLike[str], numbers: Sequence[int]) -> list[Path]:
    """The files that :func:`write_pictures` makes: several frames as PNG have their number in the name."""
    path = Path(path)
    if path.suffix.lower() != ".png" or len(numbers) == 1:
        return [path]
    digits = max(4, len(str(max(numbers))))
    return [path.with_name(f"{path.stem}-{number:0{digits}d}{path.suffix}") for number in numbers]


def check_pictures(
    path: str | PathLike[str],
    numbers: Sequence[int],
    *,
    inputs: Iterable[str | PathLike[str]] = (),
    overwrite: bool = False,
) -> None:
    """Raise :class:`~fluorojax.io.InputError` where :func:`write_pictures` could not write.

    That is another ending of the name, a file that is there and not to be replaced, and ``.mp4`` without the extra
    ``movie``.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(path, None, None, f"has the ending {suffix!r}; expected one of {', '.join(SUFFIXES)}")
    inputs = list(inputs)
    for file in output_files(path, numbers):
        check_output(file, inputs=inputs, overwrite=overwrite)
    if suffix == ".mp4":
        _ffmpeg(path)


def write_pictures(
    path: str | PathLike[str],
    pictures: UInt8[np.ndarray, "T H W 3"],
    *,
    rate: float = 15.0,
    numbers: Sequence[int] | None = None,
    inputs: Iterable[str | PathLike[str]] = (),
    overwrite: bool = False,
) -> list[Path]:
    """Write frames in the format that the ending of ``path`` names; returns the files.

    ``.png`` is one file a frame, ``OUT-0000.png`` and so on where there are several, named by ``numbers`` (from 0 where
    not given). ``.gif`` and ``.mp4`` play ``rate`` frames per second; a GIF rounds the time of a frame to hundredths of
    a second, and keeps one frame for several that are equal. An MP4 movie (H.264) has an even number of rows and
    columns, for which the last ones are repeated.

    Raises :class:`~fluorojax.io.InputError` as :func:`check_pictures` and where a file cannot be written, and
    ``ValueError`` for a rate outside 0.1 … 240 and for no frames.
    """
    if pictures.ndim != 4 or 0 in pictures.shape:
        raise ValueError(f"pictures have shape {pictures.shape}; expected frames (T, H, W, 3)")
    if max(pictures.shape[1:3]) > _MOST_SIDE:
        raise ValueError(
            f"pictures have {pictures.shape[1]} × {pictures.shape[2]} pixels; expected at most {_MOST_SIDE}"
        )
    if not SLOWEST <= rate <= FASTEST:
        raise ValueError(f"rate is {rate:g}; expected {SLOWEST:g} to {FASTEST:g} frames per second")
    numbers = range(len(pictures)) if numbers is None else numbers
    inputs = list(inputs)
    check_pictures(path, numbers, inputs=inputs, overwrite=overwrite)
    suffix, files = Path(path).suffix.lower(), output_files(path, numbers)
    with ExitStack() as stack:
        made = [stack.enter_context(atomic_output(file, inputs=inputs, overwrite=overwrite)) for file in files]
        with writing(path):
            if suffix == ".png":
                for temporary, picture in zip(made, pictures, strict=True):
                    _image(picture).save(temporary, format="PNG")
            elif suffix == ".gif":
                _write_gif(made[0], pictures, rate)
            else:
                _write_mp4(made[0], pictures, rate, path)
    return files


def _image(picture: np.ndarray) -> Image.Image:
    """Grey pictures stay grey, which is smaller and exact in every format."""
    if (picture == picture[..., :1]).all():
        return Image.fromarray(np.ascontiguousarray(picture[..., 0]))
    return Image.fromarray(np.ascontiguousarray(picture))


def _write_gif(path: Path, pictures: np.ndarray, rate: float) -> None:
    grey = bool((pictures == pictures[..., :1]).all())
    frames = [
        Image.fromarray(np.ascontiguousarray(picture[..., 0]))
        if grey
        else Image.fromarray(picture).quantize(256, dither=Image.Dither.NONE)
        for picture in pictures
    ]
    hundredths = max(2, round(100.0 / rate))  # browsers slow down what is faster
    frames[0].save(
        path, format="GIF", save_all=True, append_images=frames[1:], duration=10 * hundredths, loop=0, optimize=False
    )


def _write_mp4(path: Path, pictures: np.ndarray, rate: float, told: str | PathLike[str]) -> None:
    odd = [(0, 0), *((0, size % 2) for size in pictures.shape[1:3]), (0, 0)]
    pictures = np.pad(pictures, odd, mode="edge")
    height, width = pictures.shape[1:3]
    command = [_ffmpeg(told).get_ffmpeg_exe(), "-y", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{width}x{height}", "-r", str(Fraction(rate).limit_denominator()), "-i", "-", "-an"]
    command += ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "14", "-movflags", "+faststart", "-f", "mp4"]
    # imageio_ffmpeg's own writer does not look at how ffmpeg ends, and a full disk would leave half a movie
    with subprocess.Popen(
        [*command, str(path)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        with at_stop(process.kill):
            try:
                frames = np.ascontiguousarray(pictures).data.cast("B")  # without a copy, which bytes would be
                _, errors = process.communicate(frames)  # pyright: ignore[reportArgumentType]
            except BaseException:
                process.kill()
                raise
    if process.returncode != 0:
        raise _refused(process.returncode, errors.decode(errors="replace"), told)


def _refused(code: int, errors: str, told: str | PathLike[str]) -> Exception:
    """What to raise where ffmpeg ended with a code other than 0: the error of the disk, where it tells of one."""
    if code == -getattr(signal, "SIGXFSZ", 0):
        return OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE):
        if os.strerror(number) in errors:
            return OSError(number, os.strerror(number))
    return InputError(told, None, None, f"cannot be written: ffmpeg ended with code {code}: {' '.join(errors.split())}")


def _ffmpeg(path: str | PathLike[str]):
    try:
        import imageio_ffmpeg
    except ImportError as error:
        problem = f"needs {error.name or 'imageio_ffmpeg'}, which is not installed; install it with: {INSTALL}, or "
        raise InputError(path, None, None, problem + "write .gif or .png") from error
    return imageio_ffmpeg
