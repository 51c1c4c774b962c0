"""Faults of wiring in MADE, and in the masks and the likelihood under it.

Each is one change of text, and a test of the file named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

Change = tuple[str, str, str]
"""What is wrong then; a text, and what it becomes."""

WIRING: Sequence[Change] = [
    ("dynamic is static", '"dynamic": data.binarize(),', '"dynamic": data.binarize_statically(),'),
    ("--masks is dropped", "order_agnostic_likelihood(model, masks=masks)", "order_agnostic_likelihood(model, masks=8)"),
    ("samples of the first set alone", "jax.random.randint(k, shape, 0, masks)", "jax.random.randint(k, shape, 0, 1)"),
    ("samples lie as they were drawn", "model.in_place(drawn, number)", "drawn"),
    ("one set for all images", "keys.fold_in(own, 0), (n,)", "keys.fold_in(own[0], 0), (n,)"),
    ("the agnostic ones are swapped", 'orders=agnostic != "connectivity"', 'orders=agnostic != "order"'),
    ("connections never differ", 'connectivities=agnostic != "order"', "connectivities=False"),
    ("--raster is dropped", "        raster=raster,\n", ""),
    ("--direct is dropped", "        direct=direct,\n", ""),
    ("--condition is dropped", "        condition=condition,\n", ""),
    ("Adagrad begins at 0.1", "initial_accumulator_value=0.0", "initial_accumulator_value=0.1"),
    ("Adagrad's own epsilon", ", eps=1e-6)", ")"),
    ("--cosine is dropped", "steps=steps, cosine=cosine", "steps=steps"),
    ("trained on the test split", "train=data.shuffled(train,", "train=data.shuffled(test,"),
    ("evaluated on the training split", "jaxgen.mean_over(test,", "jaxgen.mean_over(train,"),
    ("logits for probabilities", "jax.nn.sigmoid(objectives.apply(", "(objectives.apply("),
]

MODEL: Sequence[Change] = [
    (
        "an output sees its own pixel",
        "y = self.out(h, before[..., :, None] < places)",
        "y = self.out(h, before[..., :, None] <= places)",
    ),
    ("the direct connections see all", "degrees.pixels[..., :, None] < places)", "degrees.pixels[..., :, None] <= places)"),
    ("hidden layers are strict", "before[..., :, None] <= own[..., None, :]", "before[..., :, None] < own[..., None, :]"),
    ("degrees begin at zero in every layer", "        least = layers[-1].min()\n", ""),
    ("a unit that sees all but nothing looks at", "(units,), least, pixels - 1)", "(units,), least, pixels)"),
    ("the orders are the connections'", "number if differ else 0)", "number)"),
    ("the same degrees in every layer", "jax.random.fold_in(connectivity, i)", "connectivity"),
    ("the seed is dropped", "base = jax.random.key(self.seed)", "base = jax.random.key(0)"),
    ("a pixel is known one place late", "places == jnp.asarray(position) - 1", "places == jnp.asarray(position) - 2"),
    (
        "the inverse order",
        "jnp.take_along_axis(flat, self.degrees(number).pixels",
        "jnp.take_along_axis(flat, jnp.argsort(self.degrees(number).pixels)",
    ),
    ("the second kernel is not masked", 'masked("condition").sum(-2)', 'self.variables["params"]["condition"].sum(-2)'),
    ("computed in float32", "x.astype(self.dtype), masked", "x, masked"),
]

LIKELIHOOD: Sequence[Change] = [
    ("the first set alone", "state.step % masks", "0 * state.step"),
    ("the mean of the logarithms", "math.log(masks) - jax.nn.logsumexp(by_mask, axis=0)", "-by_mask.mean(0)"),
    ("a sum of probabilities", "math.log(masks) - jax.nn.logsumexp", "-jax.nn.logsumexp"),
    ("bits of an image", "(x[0].size * math.log(2))", "math.log(2)"),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("experiments/made.py", "wiring/test_made_facts.py"): WIRING,
    ("jaxgen/models/autoregressive/made.py", "models/test_made.py"): MODEL,
    ("jaxgen/objectives/order_agnostic.py", "objectives/test_order_agnostic.py"): LIKELIHOOD,
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
