"""Laws of the two blurs within a frame."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fluorojax.data.acquisition import Acquisition
from fluorojax.data.spec import Spec
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


@pytest.mark.parametrize(("width", "tail"), [(0.1, 0.0), (0.25, 1.0), (0.5, 0.4)])
def test_an_unknown_kernel_is_the_stated_one_at_its_value(width, tail):
    field, spec = image((3, 20, 9)), Spec(scatter_ratio=0.5, scatter_width=width, scatter_tail=tail)
    found = jax.jit(Scatter(unknown="everything"))(field, spec, Acquisition())
    stated = Scatter(width=width, tail=tail)
    np.testing.assert_allclose(found, stated.with_scatter(field, 1 / 3), rtol=2e-4)
    np.testing.assert_allclose((found - field).sum((-2, -1)), 0.5 * field.sum((-2, -1)), rtol=1e-5)
    known, fraction = Scatter(unknown="everything").known(spec, Acquisition())
    assert (known.width, known.tail, known.unknown) == (width, tail, "nothing")
    assert fraction == pytest.approx(1 / 3)


def test_the_long_tail_of_scatter_is_the_stated_kernel():
    field = np.asarray(image((20, 24)))
    b = 0.1 * 24
    tail = mirrored_convolution(field, lambda y, x: b / (2 * np.pi) * (y**2 + x**2 + b**2) ** -1.5)
    missing = field.mean() * b / (5 * 22)
    np.testing.assert_allclose(Scatter(width=0.1, tail=1.0).blur(jnp.asarray(field)), tail + missing, atol=5e-3)


def test_the_share_of_the_protocol_stands_unless_the_share_is_unknown():
    field, protocol = image((3, 16, 12)), Acquisition(scatter_fraction=0.2)
    kernel = Scatter(unknown="kernel")
    assert [p.name for p in kernel.parameters] == ["scatter_width", "scatter_tail"]
    spec = Spec(scatter_ratio=0.9, scatter_width=0.25, scatter_tail=0.0)
    np.testing.assert_allclose(kernel(field, spec, protocol), Scatter()(field, spec, protocol), rtol=1e-5)
    assert Scatter(unknown="share").known(spec, protocol)[1] == pytest.approx(0.9 / 1.9)


def test_glare_of_unknown_share_and_scale():
    field, spec = image((3, 16, 12)), Spec(glare_share=0.15, glare_radius=6.0)
    glare = VeilingGlare(unknown="everything")
    assert [p.name for p in glare.parameters] == ["glare_share", "glare_radius"]
    np.testing.assert_allclose(glare(field, spec, Acquisition()), VeilingGlare(0.15, 6.0).blur(field), rtol=1e-6)
    known = VeilingGlare(0.1, 9.0, "share")
    np.testing.assert_allclose(known(field, spec, Acquisition()), VeilingGlare(0.15, 9.0).blur(field), rtol=1e-6)


@pytest.mark.parametrize("stage", [Scatter(unknown="everything"), VeilingGlare(unknown="everything")])
def test_derivatives_of_unknown_shares_and_kernels(stage):
    with jax.enable_x64(True):
        field, step = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 8, 9))), 1e-5
        names = [p.name for p in stage.parameters]

        @jax.jit
        def seen(values):
            return stage(field, Spec.from_dict(dict(zip(names, values, strict=True))), Acquisition())

        values = jnp.asarray([p.nominal for p in stage.parameters])
        sides = step * jnp.eye(len(names))
        differences = [(seen(values + e) - seen(values - e)) / (2 * step) for e in sides]
        np.testing.assert_allclose(jax.jit(jax.jacfwd(seen))(values), jnp.stack(differences, -1), atol=1e-8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Scatter(tail=1.5), "tail is 1.5; expected a share between 0 and 1"),
        (lambda: Scatter(unknown="all"), "unknown is 'all'; expected one of nothing, share, kernel, everything"),
        (lambda: VeilingGlare(unknown="all"), "unknown is 'all'; expected one of nothing"),
    ],
)
def test_wrong_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
