"""Faults of wiring in the ladder VAE, and in the model and the bounds under it.

Each is one change of text, and a test of the file named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

Change = tuple[str, str, str]
"""What is wrong then; a text, and what it becomes."""

LADDER_VAE: Sequence[Change] = [
    ("dynamic is static", '"dynamic": data.binarize(),', '"dynamic": data.binarize_statically(),'),
    ("the KLs do not warm up", "optax.linear_schedule(0.0, 1.0, warmup) if warmup else", ""),
    ("the KLs' weight falls", "optax.linear_schedule(0.0, 1.0, warmup)", "optax.linear_schedule(1.0, 0.0, warmup)"),
    ("--share is dropped", "() if share else downwards(), by_mean", "downwards(), by_mean"),
    ("--by-mean is dropped", "() if share else downwards(), by_mean", "() if share else downwards(), True"),
    ("the inferences are swapped", 'if inference == "bottom-up"\n', 'if inference == "ladder"\n'),
    ("--balanced is dropped", "if balanced else None", "if False else None"),
    ("--free-bits is dropped", "free_bits=free_bits, sizes", "sizes"),
    ("--analytic-kl is dropped", "sizes=sizes, analytic_kl=analytic_kl)", "sizes=sizes)"),
    ("the widths are one layer off", "hidden_sizes[i + 1]", "hidden_sizes[i]"),
    ("no normalisation", "vae.MLP(width, batch_norm=batch_norm), batch_norm)", "vae.MLP(width, batch_norm=False), False)"),
    ("no bound on the norm", "optax.clip_by_global_norm(4.0), ", ""),
    ("no bound on the numbers", "optax.clip(0.9), ", ""),
    ("Adam's own epsilon", "learning_rate, eps=1e-4", "learning_rate"),
    ("--nll-samples is dropped", "samples=nll_samples)\n\n    def called", "samples=50)\n\n    def called"),
    ("units of the training images", "active_units(test, units", "active_units(train, units"),
    ("the best by the lowest ELBO", '"negative_elbo": -values["elbo"]', '"negative_elbo": values["elbo"]'),
    ("evaluated on the training split", "jaxgen.mean_over(test, measure", "jaxgen.mean_over(train, measure"),
    ("trained on the test split", "train=data.shuffled(train,", "train=data.shuffled(test,"),
    ("the lower layers are kept", '"decode_from", layer=layer)', '"decode_from", layer=0)'),
]

LADDER: Sequence[Change] = [
    ("means are weighed by variances", "first.mean * one + second.mean * two", "first.mean * two + second.mean * one"),
    ("the variance for the deviation", "jnp.sqrt(variance))\n", "variance)\n"),
    ("deviations are merged", "one, two = first.std**-2, second.std**-2", "one, two = first.std**-1, second.std**-1"),
    (
        "the bias of the variance starts at zero",
        "self.batch_norm, train, nn.initializers.ones_init())",
        "self.batch_norm, train)",
    ),
    ("no slope below zero", "nn.leaky_relu(x, 0.01)", "nn.relu(x)"),
    ("one draw for all images", "laws[i].sample(keys.fold_in(key, i))", "laws[i].sample(keys.of_batch(key))"),
    ("lower layers are the means", "train=train).sample(keys.fold_in(key, i)))", "train=train).mean)"),
]

BOUND: Sequence[Change] = [
    ("the bound is a sum", " - math.log(samples)", ""),
    ("the weights are upside down", "(log_p - log_q).sum(0)).reshape", "(log_q - log_p).sum(0)).reshape"),
    ("chunks share their samples", "number * chunk + jnp.arange(chunk)", "jnp.arange(chunk)"),
    ("the sampled KL's sign", "else log_q - log_p", "else log_p - log_q"),
    ("the ELBO is reported at beta", '"elbo": likelihood - total', '"elbo": likelihood - scaled.sum(0)'),
    ("balanced to the end", "jnp.where(weight < 1, balanced, 1.0)", "balanced"),
    ("free bits of each image", "_batch_mean(scaled, batch)[:, None] > free_bits", "scaled > free_bits"),
    ("free bits in evaluation", "if train and free_bits:", "if free_bits:"),
    ("a replica's own mean", "total, count = collectives.total(", "total, count = tuple("),
    (
        "the mean counts padding",
        "real = jnp.ones(values.shape[1], bool) if mask is None else",
        "real = jnp.ones_like(mask, bool) if True else",
    ),
    ("a gradient through the balance", "raw = lax.stop_gradient(", "raw = ("),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("experiments/ladder_vae.py", "wiring/test_ladder_vae_facts.py"): LADDER_VAE,
    ("jaxgen/models/vae/ladder.py", "models/test_ladder.py"): LADDER,
    ("jaxgen/objectives/hierarchical_elbo.py", "objectives/test_hierarchical_elbo.py"): BOUND,
    ("jaxgen/measuring/collapse.py", "wiring/test_ladder_vae_facts.py"): [
        ("active units of a sum", "kl / source.length > above", "kl > above"),
    ],
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
