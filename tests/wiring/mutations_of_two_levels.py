"""Faults of wiring in the VQ-VAE-2, its priors and the PixelSNAIL, such as a person makes.

Each is one change of text, and a test of the files named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

Change = tuple[str, str, str]
"""What is wrong then; a text, and what it becomes."""

VQVAE2: Sequence[Change] = [
    ("pixels in [0, 1]", "PIXELS = (-0.5, 0.5)", "PIXELS = (0.0, 1.0)"),
    ("the variance of the test images", 'data.variance("image", train)', 'data.variance("image", test)'),
    ("--commitment is dropped from averages", "EMA(codes, features, commitment,", "EMA(codes, features, 0.25,"),
    ("--commitment is dropped", "VectorQuantiser(codes, features, commitment)", "VectorQuantiser(codes, features)"),
    ("--decay is dropped", "commitment, decay,", "commitment, 0.99,"),
    ("--restart is dropped", "restart=restart,", "restart=None,"),
    ("the codebooks move for each micro-batch", "micro_batches=accumulate", "micro_batches=1"),
    ("--blocks is dropped", "blocks=blocks", "blocks=2"),
    ("--bf16 is dropped", "width=width, dtype=dtype", "width=width"),
    ("another rate", "optax.adam(learning_rate)", "optax.adam(1e-3)"),
    ("measured on the training split", "jaxgen.mean_over(test, losses", "jaxgen.mean_over(train, losses"),
    ("codes of the training split", "jaxgen.sum_over(test, chosen", "jaxgen.sum_over(train, chosen"),
    ("the best step is that of the lowest loss", 'best="test/mse"', 'best="test/loss"'),
    ("perplexities of batches are averaged", 'not name.endswith("batch_perplexity")', "name"),
]

PRIOR: Sequence[Change] = [
    ("both players learn the top codes", "encode(state, batch)[level],", 'encode(state, batch)["top"],'),
    ("the bottom is given its own codes", 'encode(state, batch)["top"]) if', 'encode(state, batch)["bottom"]) if'),
    ("the drawn bottom is not given the drawn top", 'above=z.get("top")', 'above=known.get("top")'),
    ("both levels draw with the same keys", "keys.fold_in(own, i)", "own"),
    ("the warp is dropped", "warp=warp, **kept", "**kept"),
    ("--keep-rows is dropped", "rows(keep_rows)", "rows(0.5)"),
    ("the lower rows are kept", "[:, None] < round", "[:, None] >= round"),
    ("variations keep the bottom", 'jnp.zeros(grids["bottom"], bool)', 'jnp.ones(grids["bottom"], bool)'),
    ("pixels in [0, 1]", "LOW, HIGH = -0.5, 0.5", "LOW, HIGH = 0.0, 1.0"),
    ("the bottom attends", "attention=False, ", ""),
    ("the nll is that of the top", '"nll": own["top"]["nll"] + own["bottom"]["nll"]', '"nll": own["top"]["nll"]'),
    ("--heads is dropped", '"heads": heads}', '"heads": 1}'),
    ("--residuals is dropped", '"residuals": residuals,', '"residuals": 1,'),
    ("--residuals is dropped above", "residuals_above=residuals", "residuals_above=3"),
    ("--dropout is dropped", '"dropout": dropout', '"dropout": 0.5'),
    ("--temperature is dropped", "warp(temperature=temperature, ", "warp("),
    ("the best by the loss of one level", 'best="test/nll"', 'best="test/top_bits_per_code"'),
]

CAUSAL: Sequence[Change] = [
    ("a position sees itself", "kept[-1, shape[1] // 2 :] = 0", "kept[-1, shape[1] // 2 + 1 :] = 0"),
    ("the length is taken before the mask", "Masked(WeightNorm(conv), _before", "Masked(conv, _before"),
    ("a position attends to itself", "(places < places[:, None])", "(places <= places[:, None])"),
    ("the first position gets a mean of all", "jnp.where(places[:, None, None] > 0, y,", "jnp.where(True, y,"),
    ("a step attends to itself", "< position)[None, None]", "<= position)[None, None]"),
    ("the rows do not move on", "rows = jnp.where(column == 0, next_row", "rows = jnp.where(column < 0, next_row"),
]

SNAIL: Sequence[Change] = [
    ("the rows are not shifted down", "h = margins(rows, top=1)", "h = margins(rows, left=0)[:, :1] + margins(rows, top=1)"),
    ("coordinates from 0", "- n / 2) / n for n", ") / n for n"),
    ("the grid above is tiled", "h = h.repeat(-(-side // h.shape[axis]), axis=axis)", "h = jnp.concatenate([h, h], axis)"),
    ("the label is dropped beside a grid above", "told if maps is None else maps + told", "told if maps is None else maps"),
    ("a step has the condition of the first place", "here(cache.condition), label", "cache.condition[:, :1, :1], label"),
    ("the codes before a row are forgotten", "% width + reach].set(known)", "% width + reach].set(0 * known)"),
]

LEVELS: Sequence[Change] = [
    ("the bottom does not see the top", "jnp.concatenate([decoded.astype", "jnp.concatenate([0 * decoded.astype"),
    ("the bottom codebook never moves", "top.vectors, train), mask=mask, train=train)", "top.vectors, train), mask=mask)"),
    ("the top's mask is dropped", "self.top_quantiser(vectors, mask=mask,", "self.top_quantiser(vectors,"),
    (
        "levels are exchanged in the image",
        "[enlarged.astype(jnp.float32), bottom]",
        "[0 * enlarged.astype(jnp.float32), bottom]",
    ),
]

OBJECTIVE: Sequence[Change] = [
    (
        "one level's loss",
        "sum(q.loss for q in levels.values())",
        "max((q.loss for q in levels.values()), key=lambda x: x.sum())",
    ),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("experiments/vqvae2.py", "wiring/test_vqvae2_facts.py"): VQVAE2,
    ("experiments/hierarchical_code_prior.py", "wiring/test_hierarchical_code_prior_facts.py"): PRIOR,
    ("jaxgen/models/autoregressive/causal.py", "models/test_pixelsnail.py"): CAUSAL,
    ("jaxgen/models/autoregressive/pixelsnail.py", "models/test_pixelsnail.py"): SNAIL,
    ("jaxgen/models/vqvae/two_levels.py", "models/test_two_levels.py"): LEVELS,
    ("jaxgen/objectives/vector_quantisation.py", "objectives/test_vector_quantisation_objective.py"): OBJECTIVE,
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
