"""The denoising networks: sizes, sides, and what they are told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.errors import SizeError
from jaxgen.models.diffusion import MLP, Captioned, TokenEncoder, UNet
from jaxgen.nn import AdaptiveGroupNorm, ConditionalInstanceNorm, RandomFourier

SMALL = UNet((4, 8), 1, (), dropout=0.0)
X, TIME = normal(2, 5, 6, 1), jnp.array([3.0, 900.0])


@pytest.fixture(scope="module")
def variables() -> dict:
    return filled(SMALL, X, TIME)


def outputs(model, *inputs):
    return jax.eval_shape(lambda key: model.init_with_output(key, *inputs), jax.random.key(0))


def test_the_papers_cifar10_model_has_its_parameters() -> None:
    y, variables = outputs(UNet(), jnp.zeros((2, 32, 32, 3)), TIME)
    assert y.shape == (2, 32, 32, 3)
    # Ho et al. 2020, section 4: 35.7 million.
    assert sum(p.size for p in jax.tree.leaves(variables)) == 35_746_307


@pytest.mark.slow
@pytest.mark.parametrize("sides", [(8, 8), (7, 7), (28, 28), (5, 9), (32, 32), (64, 64)])
@pytest.mark.parametrize("levels", [1, 3, 4])
def test_any_side_comes_back(sides: tuple[int, int], levels: int) -> None:
    y, _ = outputs(UNet((4, 8, 8, 8)[:levels], 1, (7, 4)), jnp.zeros((2, *sides, 3)), TIME)
    assert y.shape == (2, *sides, 3)
    assert y.dtype == jnp.float32


def test_attention_is_where_it_is_asked_for_and_at_the_smallest_maps() -> None:
    def count(*attention: int) -> int:
        _, variables = outputs(UNet((4, 8, 8), 2, attention), jnp.zeros((1, 16, 16, 1)), TIME[:1])
        return sum(name.startswith("SelfAttention") for name in variables["params"])

    # Two blocks down, one in the middle, three up.
    assert (count(), count(8), count(4), count(16, 8)) == (1, 6, 6, 11)


def test_last_convolution_starts_at_zero() -> None:
    model = UNet((4,), 0, ())
    started = jax.jit(model.init)(jax.random.key(0), X, TIME)
    np.testing.assert_array_equal(jax.jit(model.apply)(started, X, TIME), 0)


def test_every_parameter_has_a_gradient_once_none_is_zero(variables: dict) -> None:
    gradient = jax.jit(jax.grad(lambda v: (SMALL.apply(v, X, TIME) ** 2).sum()))(variables)
    for path, g in jax.tree_util.tree_leaves_with_path(gradient):
        # A key's bias shifts all logits of a query alike, and the softmax does not see it.
        if "key" not in jax.tree_util.keystr(path):
            assert np.abs(g).max() > 0, path


def test_time_reaches_each_example(variables: dict) -> None:
    apply = jax.jit(SMALL.apply)
    one, other = apply(variables, X, TIME), apply(variables, X, jnp.array([3.0, 100.0]))
    np.testing.assert_allclose(one[0], other[0], rtol=1e-4, atol=1e-4)
    assert np.abs(one[1] - other[1]).max() > 0.01


def test_rematerialised_it_is_the_same() -> None:
    def gradient(variables: dict, remat: bool) -> dict:
        model = UNet((4,), 1, (), dropout=0.0, remat=remat)
        return jax.jit(jax.grad(lambda v: (model.apply(v, X, TIME, train=True) ** 2).sum()))(variables)["params"]

    variables = filled(UNet((4,), 1, (), dropout=0.0), X, TIME)
    plain, again = gradient(variables, False), gradient({"params": _renamed(variables["params"])}, True)
    for a, b in zip(jax.tree.leaves(_renamed(plain)), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3)


def _renamed(params: dict) -> dict:
    """Rematerialised blocks are called `Checkpoint...`; nothing else changes."""
    return {name.replace("Conditional", "CheckpointConditional"): p for name, p in params.items()}


@pytest.mark.trains  # JAX's attention promotes half precision by itself
def test_bfloat16_is_close(variables: dict) -> None:
    half = jax.jit(UNet((4, 8), 1, (), dropout=0.0, dtype=jnp.bfloat16).apply)(variables, X, TIME)
    full = jax.jit(SMALL.apply)(variables, X, TIME)
    assert half.dtype == jnp.float32
    assert 0 < np.abs(half - full).max() < 0.1 * np.abs(full).max()


@pytest.mark.parametrize("model", [UNet((4,), 1, (), classes=3), MLP(8, 1, classes=3)])
def test_labels_and_the_lack_of_one_are_told(model) -> None:
    x, label = normal(4, 4, 4, 1), jnp.array([0, 1, 2, 3])  # 3 is "unlabelled"
    variables = filled(model, x, jnp.ones(4), label)
    apply = jax.jit(model.apply)
    same = jnp.broadcast_to(x[:1], x.shape)
    found = apply(variables, same, jnp.ones(4), label)
    assert len({round(float(v), 5) for v in found.reshape(4, -1)[:, 0]}) == 4


@pytest.mark.parametrize("norm", [AdaptiveGroupNorm, ConditionalInstanceNorm])
def test_other_normalisations_and_embeddings(norm) -> None:
    model = UNet((4, 8), 1, (), norm=norm, time=RandomFourier(8))
    y, variables = outputs(model, X, TIME)
    assert y.shape == X.shape
    assert set(variables) == {"params", "constants"}


def test_points_keep_their_shape_and_the_mlp_starts_at_zero() -> None:
    x = normal(3, 2)
    started = MLP(8, 2).init(jax.random.key(0), x, jnp.ones(3))
    np.testing.assert_array_equal(MLP(8, 2).apply(started, x, jnp.ones(3)), 0)
    variables = filled(MLP(8, 2), x, jnp.ones(3))
    y = MLP(8, 2).apply(variables, x, jnp.array([1.0, 1.0, 50.0]))
    assert y.shape == (3, 2)
    assert np.abs(y[2] - MLP(8, 2).apply(variables, x, jnp.ones(3))[2]).max() > 0.01
    half = MLP(8, 2, dtype=jnp.bfloat16).apply(variables, x, jnp.ones(3))
    assert half.shape == (3, 2)


class TestCaptioned:
    """A U-Net that looks at the tokens of a text."""

    MODEL = Captioned(UNet((4, 8), 1, (), dropout=0.0), TokenEncoder(20, 6, 8, 1, 2))
    TOKENS = jnp.array([[1, 5, 2, 0, 0, 0], [1, 7, 8, 9, 2, 0]])

    def found(self):
        variables = filled(self.MODEL, X, TIME, self.TOKENS)
        return self.MODEL.apply(variables, X, TIME, self.TOKENS), variables

    def test_its_text_moves_the_output_and_the_padding_does_not(self) -> None:
        y, variables = self.found()
        assert y.shape == X.shape
        other = self.TOKENS.at[0, 1].set(6)
        moved = self.MODEL.apply(variables, X, TIME, other)
        assert np.abs(moved[0] - y[0]).max() > 1e-3
        np.testing.assert_allclose(moved[1], y[1], rtol=1e-4, atol=1e-4)
        shorter = self.MODEL.apply(variables, X, TIME, self.TOKENS[:, :5])
        np.testing.assert_allclose(shorter, y, rtol=1e-3, atol=1e-3)

    def test_the_order_of_the_words_matters(self) -> None:
        y, variables = self.found()
        turned = self.MODEL.apply(variables, X, TIME, self.TOKENS[:, jnp.array([0, 3, 2, 1, 4, 5])])
        assert np.abs(turned[1] - y[1]).max() > 1e-4  # of rounding it would be 1e-6

    def test_a_text_without_places_is_refused(self) -> None:
        with pytest.raises(SizeError, match="Texts of 7 tokens"):
            TokenEncoder(20, 6, 8, 1, 2).init(jax.random.key(0), jnp.zeros((1, 7), jnp.int32))

    def test_a_network_without_a_context_has_no_parameters_for_one(self) -> None:
        paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(filled(SMALL, X, TIME))]
        assert not [path for path in paths if "CrossAttention" in path]
