"""RED-CNN: five convolutions and five deconvolutions of 5 × 5 pixels with shortcuts between them.

H. Chen, Y. Zhang, M. K. Kalra, F. Lin, Y. Chen, P. Liao, J. Zhou and G. Wang, "Low-dose CT with a residual
encoder-decoder convolutional neural network", IEEE Trans. Med. Imaging 36:2524 (2017), arXiv:1702.00288; figure 1.

What differs: 20 channels instead of 96, on 2 × 2 unshuffled pixels, and zero padding instead of layers that first
shrink and then grow the image, so that images of 16 pixels can be used. A deconvolution of stride one with padding is a
convolution. The first shortcut leads from the mean of the run to the output, as for every network here. The
last rectifier, for images that are nowhere negative, is left out.
"""

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from fluorojax.learned.features import BLOCK
from fluorojax.learned.networks import Conv, architecture, shuffle
from fluorojax.learned.peers.blocks import Enter, PointNetwork

_SIZE = 5


class RedCnn(PointNetwork):
    """See the module docstring."""

    enter: Enter
    encode: tuple[Conv, ...]
    decode: tuple[Conv, ...]
    leave: Conv

    def __init__(self, key: PRNGKeyArray, width: int = 20):
        first, *keys, last = jax.random.split(key, 10)
        self.enter = Enter(first, width, size=_SIZE)
        self.encode = tuple(Conv(k, width, width, size=_SIZE) for k in keys[:4])
        self.decode = tuple(Conv(k, width, width, size=_SIZE) for k in keys[4:])
        self.leave = Conv(last, width, 4 * BLOCK, size=_SIZE, gain=0.05)

    @property
    def reach(self) -> int:
        """See :class:`~fluorojax.learned.networks.Network`."""
        return 2 * 2 * 10 + 16

    def estimate(
        self, images: Float[Array, "N H W channels"], conditions: Float[Array, "N conditions"]
    ) -> Float[Array, "N H W block"]:
        """See :class:`~fluorojax.learned.peers.blocks.PointNetwork`."""
        one = jax.nn.relu(self.enter(images, conditions))
        two = jax.nn.relu(self.encode[0](one))
        three = jax.nn.relu(self.encode[1](two))
        four = jax.nn.relu(self.encode[2](three))
        x = jax.nn.relu(self.encode[3](four))
        x = jax.nn.relu(self.decode[0](x) + four)
        x = jax.nn.relu(self.decode[1](x))
        x = jax.nn.relu(self.decode[2](x) + two)
        x = jax.nn.relu(self.decode[3](x))
        return shuffle(self.leave(x))


@architecture("red-cnn")
def _red_cnn(key: PRNGKeyArray) -> RedCnn:
    return RedCnn(key)
