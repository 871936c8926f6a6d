"""What a file may ask for. Every limit is far beyond what files of fluoroscopy need."""

MIB = 2**20

SCENES = 10_000
OBJECTS = 100_000
"""Groups and datasets of a file."""
ATTRIBUTES = 1_000
"""Attributes of one group or dataset."""
DEPTH = 16
"""Groups inside groups."""
NAME_BYTES = 128
"""UTF-8 bytes of the name of a scene: names of files are made from it."""
TEXT_BYTES = 16 * MIB
"""One attribute, or one text."""
CHUNK_BYTES = 1024 * MIB
"""One chunk of a dataset, unpacked."""
PACKED_SLACK = 64 * 1024
"""Bytes by which a packed chunk may exceed the unpacked one."""
EXPANSION = 1100
"""Unpacked bytes for each packed one: gzip packs zeros to a 1030th, and no compression goes beyond that."""
SMALL = 64 * MIB
"""Data up to this size may expand as it likes."""
PAGES = 100_000
"""Pages of a TIFF stack."""
MEMORY_UNKNOWN = 64 * 1024 * MIB
"""What the values of one dataset may take where the system does not tell how much memory is free."""

WALK_BYTES = 1024 * MIB
"""Memory of the child beyond what it needs to start, while it looks through the structure of a file."""
RESTARTS = 3
"""How often the child is started again, without the scene at which it ended, before the whole file is refused."""
START_SECONDS = 120.0
"""Wall time in which the child has to start."""


def walk_seconds(file_bytes: int) -> float:
    """Processor time for the structure of a file of this size."""
    return 2.0 + file_bytes / 10e6


def data_seconds(unpacked_bytes: int) -> float:
    """Processor time for values of this size."""
    return 2.0 + unpacked_bytes / 20e6


def picture_seconds(unpacked_bytes: int) -> float:
    """Processor time for compressed pictures of this size: JPEG 2000 takes ten times as long as gzip."""
    return 10.0 + unpacked_bytes / 2e6


def wall_seconds(processor_seconds: float) -> float:
    """Wall time for a step with this limit of processor time: disks, networks and other processes take theirs."""
    return 30.0 + 30.0 * processor_seconds
