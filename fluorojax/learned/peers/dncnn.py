"""DnCNN: a plain stack of 3 × 3 convolutions that predicts a residual.

K. Zhang, W. Zuo, Y. Chen, D. Meng and L. Zhang, "Beyond a Gaussian denoiser: residual learning of deep CNN for image
denoising", IEEE Trans. Image Process. 26:3142 (2017), arXiv:1608.03981; section III-A and equation 1, of depth 17.

What differs: 24 channels instead of 64, on 2 × 2 unshuffled pixels. The residual is taken to the mean of the run
instead of the noisy frame, as for every network here. Batch normalisation has the form that it has at test time, a
scale and a shift, which are part of the weights and the bias of the convolution: the doses in one batch differ a
hundredfold.
"""

import jax
from jaxtyping import Array, Float, PRNGKeyArray

from fluorojax.learned.features import BLOCK
from fluorojax.learned.networks import Conv, architecture, shuffle
from fluorojax.learned.peers.blocks import Enter, PointNetwork


class DnCNN(PointNetwork):
    """See the module docstring."""

    enter: Enter
    layers: tuple[Conv, ...]
    leave: Conv

    def __init__(self, key: PRNGKeyArray, width: int = 24, depth: int = 17):
        first, *keys, last = jax.random.split(key, depth)
        self.enter = Enter(first, width)
        self.layers = tuple(Conv(k, width, width) for k in keys)
        self.leave = Conv(last, width, 4 * BLOCK, gain=0.05)

    @property
    def reach(self) -> int:
        """See :class:`~fluorojax.learned.networks.Network`."""
        return 2 * (len(self.layers) + 2) + 16

    def estimate(
        self, images: Float[Array, "N H W channels"], conditions: Float[Array, "N conditions"]
    ) -> Float[Array, "N H W block"]:
        """See :class:`~fluorojax.learned.peers.blocks.PointNetwork`."""
        x = jax.nn.relu(self.enter(images, conditions))
        for layer in self.layers:
            x = jax.nn.relu(layer(x))
        return shuffle(self.leave(x))


@architecture("dncnn")
def _dncnn(key: PRNGKeyArray) -> DnCNN:
    return DnCNN(key)
