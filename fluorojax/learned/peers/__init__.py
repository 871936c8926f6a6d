"""Published learned methods for comparison, at a size that trains on a CPU; one file each.

``fluorojax train NAME`` trains a peer on the batches and inputs of the U-Net, so that only the network differs, and
``fluorojax benchmark --methods NAME`` measures it. The module of a peer names its paper, the equations that it follows,
and what differs. The package contains weights of all peers, from the same number of steps; see
:func:`fluorojax.learned.weights.shipped_file` for those that you train.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    """One learned method as a table names it."""

    label: str
    module: str
    """Module of this package that registers the architecture."""
    source: str
    """Authors, journal or conference, year."""


PEERS: dict[str, Peer] = {
    "dncnn": Peer("DnCNN", "dncnn", "Zhang et al., IEEE Trans. Image Process. 26:3142 (2017)"),
    "red-cnn": Peer("RED-CNN", "red_cnn", "Chen et al., IEEE Trans. Med. Imaging 36:2524 (2017)"),
    "restormer": Peer("Restormer", "restormer", "Zamir et al., CVPR (2022)"),
    "swinir": Peer("SwinIR", "swinir", "Liang et al., ICCV Workshops (2021)"),
    "unrolled": Peer("unrolled Poisson proximal gradient", "unrolled", "Diamond et al., arXiv:1705.08041 (2017)"),
    "diffusion": Peer("diffusion, predict and refine", "diffusion", "Whang et al., CVPR (2022)"),
}
"""The peers by the name of their architecture, in the order of the tables."""
