"""Faults of wiring in NVAE, and in the network, the mixture of logistics, the penalty and the statistics under it.

Each is one change of text, and a test of the file named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

Change = tuple[str, str, str]
"""What is wrong then; a text, and what it becomes."""

NVAE: Sequence[Change] = [
    ("dynamic is static", '"dynamic": data.binarize(),', '"dynamic": data.binarize_statically(),'),
    ("bytes in another range", "data.scale(*mixture.pixels)", "data.scale()"),
    ("--balanced is dropped", "sizes_by_resolution(groups) if balanced else None", "sizes_by_resolution(groups)"),
    ("nothing is balanced", "objectives.sizes_by_resolution(groups) if balanced else None", "None"),
    ("--residual is dropped", "        residual=residual,\n", ""),
    ("--flows is dropped", "        flows=flows,\n", ""),
    ("--padding is dropped", "        padding=padding,\n", ""),
    ("the KLs' weight has no least", "/ beta_warmup, FIRST, 1.0)", "/ beta_warmup, 0.0, 1.0)"),
    ("the spectrum's weight rises", "** (1 - beta(step))", "** beta(step)"),
    ("no weight on the spectrum", "if spectral:\n", "if False:\n"),
    ("replicas' vectors are averaged", "merging.same}", "merging.mean}"),
    ("Adamax's own epsilon", "optax.adamax(rate, eps=1e-3)", "optax.adamax(rate)"),
    ("no decay of weights", "optax.add_decayed_weights(weight_decay), ", ""),
    ("the rate falls to zero", ", final=final_learning_rate", ""),
    ("--nll-samples is dropped", "samples=nll_samples, chunk=10", "samples=50, chunk=10"),
    ("bits of a whole image", "(math.log(2) * math.prod(image))", "math.log(2)"),
    ("channels of the training images", "active_units(test, channels", "active_units(train, channels"),
    ("--temperature is dropped", '"generate", temperature=temperature, kept=kept)', '"generate", kept=kept)'),
    ("--readjust is dropped", "passes=readjust", "passes=0"),
    ("the best by the lowest ELBO", '"negative_elbo": -values["elbo"]', '"negative_elbo": values["elbo"]'),
    ("evaluated on the training split", "jaxgen.mean_over(test, measure", "jaxgen.mean_over(train, measure"),
    ("trained on the test split", "train=data.shuffled(train,", "train=data.shuffled(test,"),
    ("no group is kept", "for z in first[:number])", "for z in first[:0])"),
]

NETWORK: Sequence[Change] = [
    ("means are not clamped", "return BOUND * jnp.tanh(x / BOUND)", "return x"),
    ("no least deviation", "jnp.exp(log_std) + LEAST_STD", "jnp.exp(log_std)"),
    ("never residual", "raw + own if self.residual else own", "own"),
    ("always residual", "raw + own if self.residual else own", "raw + own"),
    ("one draw for all groups", "z = law.sample(keys.fold_in(key, number))", "z = law.sample(key)"),
    ("the density of a bent sample", "log_q = law.log_prob(z)\n            if", "log_q = law.log_prob(0 * z)\n            if"),
    ("a closed KL of a bent posterior", "log_q - log_p if self.flows else law.kl(prior)", "law.kl(prior)"),
    ("the prior before the flow", "            log_p = prior.log_prob(z)\n", "            log_p = prior.log_prob(law.mean)\n"),
    ("no temperature", "temperature * prior.std", "prior.std"),
    ("white padding", "constant_values=-1.0", "constant_values=1.0"),
    ("pixels from 0 to 1", "x = 2 * (x - black) / (white - black) - 1", "x = (x - black) / (white - black)"),
    ("kept latents are drawn", "kept[number] if number < len(kept) else", "kept[number] if False else"),
]

CELLS: Sequence[Change] = [
    ("a cell adds all of its branch", "BRANCH = 0.1", "BRANCH = 1.0"),
    ("another order of the grids", "((0, 0), (1, 1), (0, 1), (1, 0))", "((0, 0), (0, 1), (1, 1), (1, 0))"),
    ("no activation before halving", "        x = nn.swish(x)\n        quarter", "        quarter"),
    ("a bias where there is none", "NormedConv(self.features, use_bias=False", "NormedConv(self.features"),
    ("padding of one side", "self.kernel_size[0] // 2,", '"SAME",'),
    ("statistics that move by a tenth", "momentum=0.95", "momentum=0.9"),
    ("six times as wide behind the tower too", "wide = self.expansion * x.shape[-1]", "wide = 6 * x.shape[-1]"),
]

FLOWS: Sequence[Change] = [
    ("the first layer sees itself", "before = raster_mask(sees_itself=False", "before = raster_mask(sees_itself=True"),
    ("the flows go one way", "z = ShiftFlow(backwards=True, dtype=self.dtype)(z)", "z = ShiftFlow(dtype=self.dtype)(z)"),
    (
        "pixels in one order",
        "until = raster_mask(sees_itself=True, colours=channels",
        "until = raster_mask(sees_itself=True, colours=1",
    ),
]

MIXTURE: Sequence[Change] = [
    ("components are not weighed", "total = jax.nn.log_softmax(self.logits)", "total = 0 * self.logits"),
    ("the pairs are mixed up", "first = c * (c - 1) // 2", "first = 0"),
    (
        "the mean without earlier colours",
        "means.append(self._shifted(c, means))",
        "means.append(self._shifted(c, [0 * m for m in means]))",
    ),
    ("samples without earlier colours", "(self._shifted(c, drawn), self", "(self._shifted(c, [0 * d for d in drawn]), self"),
    ("one draw for all colours", "keys.fold_in(key, c + 1)", "keys.fold_in(key, 1)"),
]

PENALTY: Sequence[Change] = [
    ("a penalty in evaluation", "        if not train:\n            return values, aux\n", ""),
    ("vectors move by micro-batches", "jnp.where(again, before, after)", "after"),
    ("without the scales", "factor * (norms + steep)", "factor * norms"),
    ("the vectors stay", '"after": vectors, "before": start', '"after": start, "before": start'),
]

SPECTRAL: Sequence[Change] = [
    ("a gradient through the vectors", "fixed = lax.stop_gradient(stack)", "fixed = 1.0 * stack"),
    ("one iteration", "lax.scan(iterate, start, None, iterations)", "lax.scan(iterate, start, None, 1)"),
]

STATISTICS: Sequence[Change] = [
    ("every pass draws the same", "jax.random.fold_in(jax.random.key(0), number)", "jax.random.key(0)"),
    ("the passes are dropped", "**own, STATISTICS: statistics}})", "**own}})"),
]

LENGTHS: Sequence[Change] = [
    (
        "lengths are added",
        "jnp.exp(log_scale) / (_lengths(direction) + 1e-5)",
        "jnp.exp(log_scale) + (_lengths(direction) + 1e-5)",
    ),
    ("no gain", " + math.log(self.gain)", ""),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("experiments/nvae.py", "wiring/test_nvae_facts.py"): NVAE,
    ("jaxgen/models/vae/nvae.py", "models/test_nvae.py"): NETWORK,
    ("jaxgen/models/vae/nvae_cells.py", "models/test_nvae.py"): CELLS,
    ("jaxgen/models/vae/nvae_flows.py", "models/test_nvae.py"): FLOWS,
    ("jaxgen/distributions/logistic_mixture.py", "distributions/test_logistic_mixture.py"): MIXTURE,
    ("jaxgen/objectives/spectral_regularisation.py", "objectives/test_spectral_regularisation.py"): PENALTY,
    ("jaxgen/losses/spectral.py", "losses/test_spectral.py"): SPECTRAL,
    ("jaxgen/analysis/batch_statistics.py", "analysis/test_batch_statistics.py"): STATISTICS,
    ("jaxgen/nn/weight_norm.py", "nn/test_weight_norm.py"): LENGTHS,
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
