"""Faults of wiring in PixelCNN++, and in the network, the likelihood and the sampler under it.

Each is one change of text, and a test of the file named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

Change = tuple[str, str, str]
"""What is wrong then; a text, and what it becomes."""

WIRING: Sequence[Change] = [
    ("--bits of the data is dropped", "data.quantize(bits)", "data.quantize(8)"),
    (
        "--bits of the likelihood is dropped",
        "LogisticMixtureLikelihood(components, 2**bits)",
        "LogisticMixtureLikelihood(components)",
    ),
    ("--flip is dropped", "if flip else quantise", "if False else quantise"),
    ("mirror images are evaluated", "transform=quantise)}", "transform=augment)}"),
    ("--dropout is dropped", "len(names), dropout, dtype", "len(names), 0.5, dtype"),
    ("--scales is dropped", "width, blocks, scales,", "width, blocks, 2,"),
    ("the rate stays", "optax.exponential_decay(learning_rate, 1, rate_decay)", "optax.constant_schedule(learning_rate)"),
    ("samples in [-1, 1]", "return (x + 1) / 2", "return x"),
    ("--keep-rows is dropped", "rows(keep_rows))", "rows(0.0))"),
    ("the lower rows are kept", "[:, None] < round(share * height)", "[:, None] >= round(share * height)"),
    ("the whole image is shown as completed", "draw(state, key, given, rows(0.5))", "draw(state, key, given, rows(0.0))"),
    ("trained on the test split", "train=data.shuffled(train,", "train=data.shuffled(test,"),
    ("evaluated on the training split", "jaxgen.mean_over(test,", "jaxgen.mean_over(train,"),
    ("no classes in the samples", "of_classes(names) if labels else None", "of_classes(names) if False else None"),
]

MODEL: Sequence[Change] = [
    ("the rows above are not moved down", "above = _down(conv(", "above = (conv("),
    ("the row is not moved down", "row = _down(conv(", "row = (conv("),
    ("the left is not moved right", "left = row + _right(conv(", "left = row + (conv("),
    ("no channel of ones", "[x, jnp.ones_like(x[..., :1])]", "[x, jnp.zeros_like(x[..., :1])]"),
    ("both sides are seen", '{"left": width - 1} if self.right', '{"left": 0, "right": width - 1} if self.right'),
    ("doubling looks ahead", "left = 0 if self.right else (width - 1) // 2", "left = 1"),
    ("the class is dropped", "attended=seen, condition=y", "attended=seen, condition=None"),
    ("no dropout in training", "condition=y, train=train)", "condition=y)"),
    ("ELU of x twice", "jnp.concatenate([x, -x], axis=-1)", "jnp.concatenate([x, x], axis=-1)"),
    ("ReLU at the end", "out(jax.nn.elu(left))", "out(jax.nn.relu(left))"),
]

LIKELIHOOD: Sequence[Change] = [
    ("bits of an image", "(x[0].size * math.log(2))", "math.log(2)"),
    ("evaluated alone", "name=name, train=train)", "name=name)"),
    ("the sign", "nll = -sum_event", "nll = sum_event"),
]

SAMPLER: Sequence[Change] = [
    ("pixels come from below", "(jnp.arange(h * w) == position)", "(jnp.arange(h * w)[::-1] == position)"),
    ("known pixels are drawn", " & ~keep", ""),
    ("pixels outside of the mask are seen", "jnp.where(mask[..., None], known, 0.0)", "known"),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("experiments/pixelcnn_pp.py", "wiring/test_pixelcnn_pp_facts.py"): WIRING,
    ("jaxgen/models/autoregressive/pixelcnn_pp.py", "models/test_pixelcnn_pp.py"): MODEL,
    ("jaxgen/objectives/pixel_likelihood.py", "objectives/test_pixel_likelihood.py"): LIKELIHOOD,
    ("jaxgen/samplers/pixels.py", "samplers/test_pixels.py"): SAMPLER,
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
