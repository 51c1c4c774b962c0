"""Faults of style transfer, its networks, losses and weights, such as a person makes."""

from collections.abc import Mapping, Sequence

from wiring.mutations_of_likelihoods import Change

EXPERIMENT: Sequence[Change] = [
    ("the decoder moves from the start", "state.step >= learns", "state.step >= 0"),
    ("the encoder moves on", "lambda s, m: s.step < learns", "lambda s, m: s.step >= 0"),
    ("one step more for the encoder", "lambda s, m: s.step < learns", "lambda s, m: s.step <= learns"),
    ("no fall of the rate", "return learning_rate / (1 + decay * step)", "return learning_rate + 0 * step"),
    ("the weights are swapped", "content=content, style=style_weight", "content=style_weight, style=content"),
    ("a loss without its weight", "return content * terms[", "return terms["),
    ("one style for all", "bank[drawn]\n", "bank[:1].repeat(len(x), 0)\n"),
    ("the style before is that of after", 'terms(x)["style"]}', 'after["style"]}'),
    ("samples of full strength", "jnp.broadcast_to(chosen, own.shape), alpha)", "jnp.broadcast_to(chosen, own.shape), 1.0)"),
    ("the style is not chosen", "own if chosen is None else", "own if True else"),
    ("styles of the training images", 'own = test["b"].gather', 'own = train["b"].gather'),
    ("contents of the training images", '{"image": test["a"].gather', '{"image": train["a"].gather'),
    ("descends from the style", "weighted(terms(x)), shown,", "weighted(terms(x)), bank[:pairs],"),
    ("pixels in [-1, 1]", "augmented = data.chain(data.scale(),", "augmented = data.chain(data.scale(-1, 1),"),
    ("trained on the test images", "for d, source in train.items()}),", "for d, source in test.items()}),"),
    (
        "weights are forgotten",
        "initialize(networks, held)",
        "initialize(networks)",
    ),
]

OBJECTIVE: Sequence[Change] = [
    (
        "the content's maps are the target",
        "target = aligned(maps(params, batch",
        "target = (lambda a, b: a[-1])(maps(params, batch",
    ),
    ("style of the last layer alone", "in zip(found, wanted, strict=True)", "in zip(found[-1:], wanted[-1:], strict=True)"),
    ("no deviations", "channel_moments(other, epsilon), strict=True)", "channel_moments(other, epsilon)[:1], strict=False)"),
    ("the strength upside down", "(1 - alpha) * before[-1] + alpha * aligned", "alpha * before[-1] + (1 - alpha) * aligned"),
    ("style to content", "aligned(before, maps(params, style))", "aligned(maps(params, style), before)"),
    ("only the contents are reconstructed", 'for domain in ("a", "b"):', 'for domain in ("a",):'),
    ("the encoder learns with the decoder", 'name="reconstructor")', 'name="decoder")'),
    ("the weights are left out", 'content * found["content"] + style *', 'found["content"] + style *'),
]

NETWORKS: Sequence[Change] = [
    ("maps of the last convolutions", "if j == 0:", "if j == len(stage) - 1:"),
    ("all of the last stage", "stage[:1] if last else stage", "stage"),
    ("a rectifier at the end", "if i == 0 and j == len(outs) - 1 else nn.relu(h)", "if i < 0 else nn.relu(h)"),
    ("borders are always reflected", "conv(reflect_pad(h, 1) if self.reflected else h)", "conv(reflect_pad(h, 1))"),
    ("the smallest maps are halved too", "h = h if last else max_pool", "h = max_pool"),
]

WEIGHTS: Sequence[Change] = [
    ("colours are not divided", "np.diag(1 / np.asarray(STD", "np.diag(np.asarray(STD"),
    ("the mean is added", "-np.asarray(MEAN", "np.asarray(MEAN"),
]

OPTIMISATION: Sequence[Change] = [
    ("out of the range", "jnp.clip(optax.apply_updates(x, updates), 0.0, 1.0)", "optax.apply_updates(x, updates)"),
    ("climbs", "jax.grad(lambda x: loss(x).sum())", "jax.grad(lambda x: -loss(x).sum())"),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("experiments/style_transfer.py", "wiring/test_style_transfer_facts.py"): EXPERIMENT,
    ("jaxgen/objectives/style.py", "objectives/test_style_objective.py"): OBJECTIVE,
    ("jaxgen/models/translation/style_transfer.py", "models/test_style_transfer.py"): NETWORKS,
    ("jaxgen/models/translation/vgg_weights.py", "models/test_style_transfer.py"): WEIGHTS,
    ("jaxgen/analysis/style_optimisation.py", "analysis/test_style_optimisation.py"): OPTIMISATION,
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
