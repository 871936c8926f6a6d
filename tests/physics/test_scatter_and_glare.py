"""Laws of the two blurs within a frame."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.physics import Scatter, VeilingGlare

SHAPES = ((3, 20, 9), (5, 1))
BLURS = {
    "scatter": jax.jit(Scatter().blur),
    "narrow scatter": jax.jit(Scatter(width=0.1).blur),
    "glare": jax.jit(VeilingGlare(share=0.3, radius=4.0).blur),
}


def image(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(size=shape), jnp.float32)


def mirrored_convolution(field, kernel):
    """Direct sum over mirror images of the field; ``kernel(dy, dx)``, five periods either way."""
    height, width = field.shape
    tiles = np.pad(field, [(5 * height, 5 * height), (5 * width, 5 * width)], mode="symmetric")
    rows, columns = np.indices(tiles.shape)
    result = np.empty(field.shape)
    for i, j in np.ndindex(field.shape):
        result[i, j] = np.sum(tiles * kernel(rows - i - 5 * height, columns - j - 5 * width))
    return result


@pytest.mark.parametrize("blur", list(BLURS.values()), ids=list(BLURS))
@pytest.mark.parametrize("shape", SHAPES)
def test_total_is_conserved(blur, shape):
    np.testing.assert_allclose(blur(image(shape)).sum((-2, -1)), image(shape).sum((-2, -1)), rtol=1e-5)


@pytest.mark.parametrize("blur", list(BLURS.values()), ids=list(BLURS))
@pytest.mark.parametrize("shape", SHAPES)
def test_blur_is_its_own_adjoint(blur, shape):
    a, b = image(shape), image(shape, seed=1)
    np.testing.assert_allclose(jnp.vdot(blur(a), b), jnp.vdot(a, blur(b)), rtol=1e-5)


@pytest.mark.parametrize("blur", list(BLURS.values()), ids=list(BLURS))
def test_uniform_field_stays_uniform(blur):
    np.testing.assert_allclose(blur(jnp.full((3, 20, 9), 0.3)), 0.3, rtol=1e-5)


@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.4])
def test_scatter_fraction_is_the_scattered_share_of_the_total(fraction):
    primary = image((3, 16, 12))
    total = Scatter().with_scatter(primary, fraction)
    np.testing.assert_allclose((total - primary).sum() / total.sum(), fraction, atol=1e-5)


def test_no_scatter_is_exactly_the_primary():
    primary = image((3, 16, 12))
    np.testing.assert_array_equal(Scatter().with_scatter(primary, 0.0), primary)


def test_scatter_is_a_gaussian_of_the_stated_width():
    field = np.zeros((20, 24), np.float32)
    field[7, 15] = 1
    sigma = 0.15 * 24
    direct = mirrored_convolution(field, lambda y, x: np.exp(-(y**2 + x**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2))
    np.testing.assert_allclose(Scatter(width=0.15).blur(jnp.asarray(field)), direct, atol=1e-8)


def test_glare_is_the_stated_kernel():
    """Differs from the direct sum only by the tail beyond the five summed periods."""
    field = np.asarray(image((12, 14)))
    a, b = 0.3, 3.0
    tail = mirrored_convolution(field, lambda y, x: (1 + (y**2 + x**2) / b**2) ** -1.5 / (2 * np.pi * b**2))
    missing = field.mean() * b / (5 * 14)
    result = jax.jit(VeilingGlare(a, b).blur)(field)
    np.testing.assert_allclose(result, (1 - a) * field + a * (tail + missing), atol=2e-3)


@pytest.mark.parametrize("glare", [VeilingGlare(share=0.0), VeilingGlare(radius=0.0)], ids=["no share", "no width"])
def test_glare_without_tail_is_the_identity(glare):
    np.testing.assert_allclose(jax.jit(glare.blur)(image((8, 9))), image((8, 9)), atol=1e-6)


def test_derivatives_of_the_glare():
    with jax.enable_x64(True):
        field, step = jnp.asarray(np.random.default_rng(0).uniform(size=(8, 9))), 1e-5

        @jax.jit
        def blurred(values):
            return VeilingGlare(values[0], values[1]).blur(field)

        values = jnp.asarray([0.079, 4.0])
        differences = [(blurred(values + e) - blurred(values - e)) / (2 * step) for e in step * jnp.eye(2)]
        np.testing.assert_allclose(jax.jit(jax.jacfwd(blurred))(values), jnp.stack(differences, -1), atol=1e-9)


def test_width_of_the_scatter_must_be_positive():
    with pytest.raises(ValueError, match="width is 0; expected a positive share"):
        Scatter(width=0)


def test_without_its_tail_a_blurred_image_is_the_image_times_the_rest():
    glare, field = VeilingGlare(share=0.3, radius=4.0), image((3, 20, 9))
    blurred = glare.blur(field)
    np.testing.assert_allclose(blurred - glare.tail(blurred), 0.7 * field, atol=1e-5)
