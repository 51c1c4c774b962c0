"""The switches of the U-Net: what each of them changes, and what none of them may change."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import ScopeParamNotFoundError
from parameters import filled, normal

from jaxgen.errors import InputError
from jaxgen.models.diffusion import CrossAttention, ResidualPyramid, SkipPyramid, UNet, presets
from jaxgen.nn import BINOMIAL, BOX, AdaptiveGroupNorm, Sinusoidal

X, TIME, LABEL = normal(2, 6, 6, 1), jnp.array([3.0, 900.0]), jnp.array([0, 2])
CONTEXT = normal(2, 3, 5, seed=7)
BASE: dict[str, Any] = {"channels": (4, 8), "blocks": 1, "attention": (6,), "dropout": 0.0}
SMALLEST = {**BASE, "blocks": 0}


def paths(tree: Any) -> dict[str, Any]:
    flat = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in flat}


@functools.cache
def base() -> Any:
    return filled(UNet(**SMALLEST), X, TIME)


def shared(model: nn.Module, *inputs: Any, **named: Any) -> Any:
    """Parameters of a network: those of the network without the switch where there are such, of the same shape."""
    own, known = filled(model, *inputs, **named), paths(base())

    def leaf(path: Any, value: jax.Array) -> jax.Array:
        found = known.get(jax.tree_util.keystr(path, simple=True, separator="/"))
        return value if found is None or found.shape != value.shape else found

    return jax.tree_util.tree_map_with_path(leaf, own)


SWITCHES: dict[str, dict[str, Any]] = {
    "mean in blocks": {"taps": BOX},
    "mean between blocks": {"taps": BOX, "resample_in_blocks": False},
    "FIR in blocks": {"taps": BINOMIAL},
    "FIR between blocks": {"taps": BINOMIAL, "resample_in_blocks": False},
    "projected shortcuts": {"taps": BOX, "project_resampled": True},
    "PyTorch's padding": {"stride_padding": 1},
    "scale and shift": {"norm": AdaptiveGroupNorm},
    "attention after the last block": {"attend_last": True, "blocks": 1},
    "attention after every block": {"blocks": 1},
    "attention by level": {"attention_levels": (1,)},
    "two heads": {"heads": 2},
    "width of a head": {"head_width": 1},
    "transformer": {"transformer_depth": 1},
    "groups": {"groups": 4},
    "epsilon": {"epsilon": 1e-2},
    "scale of the shortcuts": {"skip_scale": 0.7},
    "residual pyramid": {"pyramid": ResidualPyramid},
    "residual pyramid by FIR": {"pyramid": ResidualPyramid, "taps": BINOMIAL},
    "skip pyramid": {"pyramid": SkipPyramid},
    "cosines first": {"time": Sinusoidal(4, cosines_first=True)},
    "frequencies without an end": {"time": Sinusoidal(4, endpoint=False)},
    "width of the time": {"width": 8},
    "stem": {"stem": 8},
    "outputs": {"outputs": 2},
}


@pytest.fixture(scope="module")
def outputs() -> dict[str, np.ndarray]:
    """The output of every network, all with the same parameters as far as they have the same."""
    found = {}
    for name, fields in {"": {}, **SWITCHES}.items():
        model = UNet(**{**SMALLEST, **fields})
        found[name] = np.asarray(model.apply(shared(model, X, TIME), X, TIME))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_changes_the_output(name: str, outputs: dict[str, np.ndarray]) -> None:
    assert np.isfinite(outputs[name]).all()
    others = [other for other in outputs if other != name and outputs[other].shape == outputs[name].shape]
    for other in others:
        assert np.abs(outputs[name] - outputs[other]).max() > 1e-4, other
    assert outputs[name].shape[:3] == X.shape[:3]


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"taps": BINOMIAL, "pyramid": ResidualPyramid, "attend_last": True, "skip_scale": 0.7, "project_resampled": True},
        {"taps": BOX, "norm": AdaptiveGroupNorm, "head_width": 4, "outputs": 2, "remat": True},
        {"transformer_depth": 1, "stride_padding": 1, "epsilon": 1e-5},
    ],
    ids=["ncsnpp", "adm", "stable diffusion"],
)
def test_a_network_runs_at_two_resolutions_with_finite_gradients(fields: dict[str, Any]) -> None:
    """Where levels attend, and not sides, the parameters are the same at every size; odd sides come back too."""
    model = UNet(**{**SMALLEST, "attention_levels": (1,), **fields})
    context = {"context": CONTEXT} if "transformer_depth" in fields else {}
    variables = filled(model, X, TIME, **context)
    y = jax.jit(model.apply)(variables, normal(2, 9, 5, 1), TIME, **context)
    assert y.shape == (2, 9, 5, model.outputs or 1)
    assert np.isfinite(y).all()
    gradient = jax.jit(jax.grad(lambda v: (model.apply(v, X, TIME, **context) ** 2).mean()))(variables)
    for path, g in paths(gradient).items():
        assert np.isfinite(g).all(), path
        # A key's bias shifts all logits of a query alike.
        assert "key" in path or np.abs(g).max() > 0, path


def test_attention_by_side_belongs_to_one_resolution() -> None:
    with pytest.raises(ScopeParamNotFoundError):
        UNet(**SMALLEST).apply(filled(UNet(**SMALLEST), normal(1, 8, 8, 1), TIME[:1]), X, TIME)


@pytest.mark.slow
@pytest.mark.trains  # JAX's attention promotes half precision by itself
@pytest.mark.parametrize("make", [presets.ncsnpp, presets.adm, presets.stable_diffusion])
def test_half_precision_reaches_all_layers(make) -> None:
    """Only normalisations and attention's softmax go by float32; the output is float32."""
    model = make(8, (1, 2), 1, (1,), dtype=jnp.bfloat16, classes=2)
    told = {"label": LABEL, "context": CONTEXT}
    variables = filled(model, X, TIME, **told)
    text = str(jax.make_jaxpr(lambda v: model.apply(v, X, TIME, **told))(variables))
    products = [line.split(" = ")[0] for line in text.splitlines() if "dot_general" in line or "conv_general" in line]
    halves = sum("bf16" in line for line in products)
    assert halves > 0.9 * len(products) > 20
    assert jax.eval_shape(model.apply, variables, X, TIME, **told).dtype == jnp.float32


class TestTold:
    """Labels, labels of augmentation and a context, and the lack of them."""

    def test_a_label_before_the_mlp_is_a_unit_vector_and_none_is_zero(self) -> None:
        model = UNet(**SMALLEST, classes=2, label_first=True)
        variables = filled(model, X, TIME, LABEL)
        assert variables["params"]["label"]["kernel"].shape == (2, 4)
        apply = lambda v, label: model.apply(v, X, TIME, jnp.full(2, label))
        first, second, nothing = (apply(variables, label) for label in (0, 1, 2))
        assert np.abs(first - second).max() > 1e-4
        assert np.abs(first - nothing).max() > 1e-4
        without = jax.tree.map(lambda p: p, variables)
        without["params"]["label"]["kernel"] = jnp.zeros((2, 4))
        np.testing.assert_array_equal(apply(without, 0), apply(variables, 2))
        assert np.isnan(apply(variables, -1)).all()
        with pytest.raises(InputError, match="2 where it has none"):
            model.apply(variables, X, TIME)

    @pytest.mark.parametrize("label_first", [False, True])
    def test_labels_are_dropped_in_training_by_example(self, label_first: bool) -> None:
        model = UNet(**SMALLEST, classes=2, label_first=label_first, label_dropout=0.5)
        variables = filled(model, X, TIME, LABEL)
        told, nothing = (model.apply(variables, X, TIME, jnp.full(2, k)) for k in (0, 2))
        label, kinds = jnp.zeros(2, jnp.int32), set()
        for i in range(12):
            y = model.apply(variables, X, TIME, label, train=True, rngs={"dropout": jax.random.key(i)})
            near = [[np.abs(y[b] - e[b]).max() < 1e-4 for b in range(2)] for e in (told, nothing)]
            assert np.sum(near, axis=0).tolist() == [1, 1]
            kinds.add(tuple(near[1]))
        assert kinds == {(False, False), (False, True), (True, False), (True, True)}
        np.testing.assert_array_equal(model.apply(variables, X, TIME, label), told)

    def test_no_augmentation_is_a_vector_of_zeros(self) -> None:
        variables = filled(UNet(**SMALLEST), X, TIME, augment=jnp.ones((2, 3)))
        assert variables["params"]["augment"].keys() == {"kernel"}
        apply = functools.partial(UNet(**SMALLEST).apply, variables, X, TIME)
        assert np.abs(apply(augment=jnp.ones((2, 3))) - apply()).max() > 1e-4
        np.testing.assert_array_equal(apply(augment=jnp.zeros((2, 3))), apply())

    def test_a_transformer_looks_at_the_context_and_not_at_its_padding(self) -> None:
        model = UNet(**SMALLEST, transformer_depth=2)
        variables = filled(model, X, TIME, context=CONTEXT)
        mask = jnp.array([[True, True, False]] * 2)
        y = model.apply(variables, X, TIME, context=CONTEXT, mask=mask)
        assert np.abs(y - model.apply(variables, X, TIME, context=CONTEXT)).max() > 1e-4
        other = CONTEXT.at[:, 2].set(9.0)
        np.testing.assert_array_equal(model.apply(variables, X, TIME, context=other, mask=mask), y)
        assert not [path for path in paths(filled(model, X, TIME)) if "cross" in path]


class TestStart:
    """Where the kernels start."""

    @staticmethod
    def started(**fields: Any) -> dict[str, Any]:
        return paths(jax.jit(UNet(**{**SMALLEST, **fields}).init)(jax.random.key(0), X, TIME)["params"])

    def test_every_kernel_starts_by_its_initializer(self) -> None:
        constant = nn.initializers.constant
        found = self.started(kernel_init=constant(1.0), last_init=constant(2.0), qkv_init=constant(3.0))
        last = max(path for path in found if path.startswith("Conv_") and path.endswith("kernel"))
        for path, p in found.items():
            if path.endswith("kernel"):
                ends = path == last or path.endswith(("/Conv_1/kernel", "out/kernel"))
                qkv = any(name in path for name in ("query", "key", "value"))
                assert np.all(p == (2 if ends else 3 if qkv else 1)), path


def test_the_names_and_shapes_of_the_defaults_stay() -> None:
    """Saved checkpoints have these, with labels, with a context and with `remat`."""
    model = UNet(**BASE, classes=3)
    shapes = jax.eval_shape(lambda key: model.init(key, X, TIME, LABEL, CONTEXT), jax.random.key(0))["params"]
    found = {path: leaf.shape for path, leaf in paths(shapes).items()}
    norm = lambda place, c: {f"{place}/GroupNorm_0/{name}": (c,) for name in ("bias", "scale")}
    layer = lambda place, *shape: {f"{place}/bias": shape[-1:], f"{place}/kernel": shape}

    def block(i: int, inputs: int, c: int) -> dict[str, tuple[int, ...]]:
        place = f"ConditionalResidualBlock_{i}"
        own = f"{place}/AdditiveGroupNorm_0"
        return {
            **norm(f"{place}/GroupNorm_0", inputs),
            **layer(f"{place}/Conv_0", 3, 3, inputs, c),
            **layer(f"{own}/Dense_0", 16, c),
            **norm(f"{own}/GroupNorm_0", c),
            **layer(f"{place}/Conv_1", 3, 3, c, c),
            **(layer(f"{place}/Conv_2", 1, 1, inputs, c) if inputs != c else {}),
        }

    def attention(i: int, c: int) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        for kind, inputs in (("SelfAttention", c), ("CrossAttention", 5)):
            place = f"{kind}_{i}"
            found |= norm(f"{place}/GroupNorm_0", c)
            for name, of in (("query", c), ("key", inputs), ("value", inputs)):
                found |= {f"{place}/Attention_0/{name}/kernel": (of, 1, c), f"{place}/Attention_0/{name}/bias": (1, c)}
            found |= layer(f"{place}/Attention_0/out", 1, c, c)
        return found

    widths = [(4, 4), (4, 8), (8, 8), (8, 8), (16, 8), (12, 8), (12, 4), (8, 4)]
    expected = {
        **layer("Dense_0", 16, 16),
        **layer("Dense_1", 4, 16),
        "Embed_0/embedding": (4, 16),
        **layer("Conv_0", 3, 3, 1, 4),
        **layer("Conv_1", 3, 3, 4, 4),
        **layer("Conv_2", 3, 3, 8, 8),
        **norm("GroupNorm_0", 4),
        **layer("Conv_3", 3, 3, 4, 1),
    }
    for i, (inputs, c) in enumerate(widths):
        expected |= block(i, inputs, c)
    for i, c in enumerate((4, 8, 4, 4)):
        expected |= attention(i, c)
    assert found == expected
    again = jax.eval_shape(lambda key: UNet(**BASE, remat=True).init(key, X, TIME), jax.random.key(0))["params"]
    renamed = {path.replace("ConditionalResidual", "CheckpointConditionalResidual") for path in expected}
    assert set(paths(again)) == {path for path in renamed if not path.startswith(("Embed", "Cross"))}


def test_cross_attention_starts_as_the_identity() -> None:
    layer, x = CrossAttention(2), normal(2, 3, 3, 4)
    started = layer.init(jax.random.key(0), x, CONTEXT)
    np.testing.assert_array_equal(layer.apply(started, x, CONTEXT), x)
    halved = CrossAttention(2, scale=0.5)
    np.testing.assert_allclose(halved.apply(started, x, CONTEXT), x / 2, rtol=1e-6)
