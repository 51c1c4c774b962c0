"""Faults of wiring in the importance-weighted and the sparse autoencoder, such as a person makes.

Each is one change of text, and a test of the file named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

Change = tuple[str, str, str]
"""What is wrong then; a text, and what it becomes."""

IWAE: Sequence[Change] = [
    ("stages of 2^i epochs", "3**i * epoch", "2**i * epoch"),
    ("rates fall by an eighth of a decade", "10 ** (-i / 7)", "10 ** (-i / 8)"),
    ("rates fall one stage late", "rates], boundaries[:-1])", "rates], boundaries[1:])"),
    ("the mean image of the test images", 'data.mean("image", train)', 'data.mean("image", test)'),
    ("the mean image is clipped elsewhere", "1e-3, 1 - 1e-3", "1e-7, 1 - 1e-7"),
    ("Adam's usual epsilon", "eps=1e-4", "eps=1e-8"),
    ("another decay of Adam's", "optax.adam(rate,", "optax.adam(rate, b1=0.99,"),
    ("--k is dropped", "samples=k)", "samples=1)"),
    ("--nll-samples is dropped", "samples=nll_samples", "samples=50"),
    ("dynamic is static", '"dynamic": data.binarize()', '"dynamic": data.binarize_statically()'),
    ("static is dynamic", '"static": data.binarize_statically()', '"static": data.binarize()'),
    ("pixels in [0, 1/2]", "data.chain(data.scale(), {", "data.chain(data.scale(0.0, 0.5), {"),
    ("the output starts grey", "bias_init=lambda key, shape, dtype: logits", "bias_init=lambda key, shape, dtype: 0 * logits"),
    ("the encoder has rectifiers", "autoencoders.mlp.Encoder(hidden)", "autoencoders.mlp.Encoder(hidden, jax.nn.relu)"),
    ("batches of 100", "batch_size: Count = 20", "batch_size: Count = 100"),
]

SPARSE: Sequence[Change] = [
    ("k falls over all steps", "max(steps // 2, 1)", "max(steps, 1)"),
    ("k does not fall", "optax.linear_schedule(max(k_start, k), k, anneal)", "optax.constant_schedule(k)"),
    ("pixels in [-1, 1]", "transform = data.scale()", "transform = data.scale(-1, 1)"),
    ("the classifier sees k units", "round(alpha * k)", "k"),
    (
        "the classifier is trained on the test images",
        "probe.linear(*codes(state, train, track), features",
        "probe.linear(*codes(state, test, track), features",
    ),
    ("Nesterov's momentum", "optax.sgd(rate, momentum)", "optax.sgd(rate, momentum, nesterov=True)"),
    ("another decay of Adam's", "optax.adam(rate)", "optax.adam(rate, b1=0.5)"),
    ("a factor for each code", "each=False", "each=True"),
    ("right answers are the error", "1.0 - accuracy, float(", "accuracy, float("),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("experiments/iwae.py", "wiring/test_iwae_facts.py"): IWAE,
    ("experiments/sparse_autoencoder.py", "wiring/test_sparse_facts.py"): SPARSE,
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
