"""Reading movies back."""

import re
import subprocess

import imageio_ffmpeg
import numpy as np


def decoded_mp4(path):
    """Frames (T, H, W, 3) and frames per second of a movie."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    found = subprocess.run(command, capture_output=True, check=True)
    told = found.stderr.decode()
    width, height = map(int, re.search(r"Video: .*? (\d{2,})x(\d+)", told).groups())
    rate = float(re.search(r"([\d.]+) fps", told)[1])
    return np.frombuffer(found.stdout, np.uint8).reshape(-1, height, width, 3), rate
