"""Faults of wiring in the experiments of flows, such as a person makes.

Each is one change of text, and a test of the file named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

Change = tuple[str, str, str]
"""What is wrong then; a text, and what it becomes."""

REALNVP: Sequence[Change] = [
    ("all levels of the pixels", "dequantise = data.dequantize(bits)", "dequantise = data.dequantize()"),
    ("--alpha is dropped", "blocks=blocks, alpha=alpha)", "blocks=blocks)"),
    ("--blocks is dropped", "width=width, blocks=blocks,", "width=width,"),
    (
        "--bits is dropped from the likelihood",
        "objectives.flow_likelihood(model, bits=bits)",
        "objectives.flow_likelihood(model)",
    ),
    ("--flip is dropped", "data.chain(data.flip(), dequantise) if flip", "dequantise if flip"),
    ("all parameters have the penalty", 'path[-1].key == "scale"', "True"),
    ("no clipping", "optimizers.clipped(optax.adam(learning_rate), clip)", "optax.adam(learning_rate)"),
    ("--noise-samples is dropped", "samples=noise_samples, bits=bits", "samples=1, bits=bits"),
    ("--temperature is dropped", "image, temperature=temperature)", "image)"),
    ("evaluated on the training split", "jaxgen.mean_over(test, losses", "jaxgen.mean_over(train, losses"),
]

GLOW: Sequence[Change] = [
    ("all levels of the pixels", "dequantise = data.dequantize(bits)", "dequantise = data.dequantize()"),
    ("--depth is dropped", "levels=levels, depth=depth,", "levels=levels, depth=1,"),
    ("--additive is dropped", "additive=additive,", "additive=False,"),
    ("--mixing is dropped", ", mixing=value_of(MIXING, mixing))", ")"),
    ("warm-up of a tenth of an epoch", "round(warmup_epochs * epoch)", "round(0.01 * warmup_epochs * epoch)"),
    ("the average of a step", "else ema,", "else 0.0,"),
    ("first batch of the test images", "data.examples(train, FIRST_BATCH", "data.examples(test, FIRST_BATCH"),
    ("no clipping", "optimizers.clipped(optax.adamax(rate, b2=decay), clip)", "optax.adamax(rate, b2=decay)"),
    ("--temperature is dropped", "image, temperature=temperature)", "image)"),
]

PLANAR_FLOW: Sequence[Change] = [
    ("dynamic is static", '"dynamic": data.binarize(),', '"dynamic": data.binarize_statically(),'),
    ("the weight begins at nothing", "0.01 + step / anneal_steps", "step / anneal_steps"),
    ("the weight passes one", "jnp.minimum(1.0, 0.01 + step / anneal_steps)", "0.01 + step / anneal_steps"),
    ("nothing is watched", "alarms=(collapse", "alarms=() and (collapse"),
    ("--amortised is dropped", "(flow_steps, amortised))", "(flow_steps, True))"),
    ("--flow-steps is dropped", "(flow_steps, amortised))", "(10, amortised))"),
    ("--transform is dropped", "value_of(TRANSFORMS, transform)", "flows.Planar"),
    ("units without pieces", "tuple(pieces * n for n in hidden)", "tuple(n for n in hidden)"),
    ("--nll-samples is dropped", "samples=nll_samples", "samples=50"),
    ("evaluated on the training split", "jaxgen.mean_over(test, measure", "jaxgen.mean_over(train, measure"),
]

ALBUM: Sequence[Change] = [
    ("one temperature", "space.decode(state, t * z)", "space.decode(state, z)"),
    ("z without the temperature", "temperature * jax.random.normal", "jax.random.normal"),
    ("lines between other images", '["interpolations"]}', '["reconstructions"]}'),
]

TIGHTER: Sequence[Change] = [
    ("nats a dimension", "-bound / (x[0].size * math.log(2))}", "-bound / x[0].size}"),
    ("bits of a byte", "samples=samples, bits=bits, name=name", "samples=samples, name=name"),
    ("one draw", "own, samples=samples, bits", "own, samples=1, bits"),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("experiments/realnvp.py", "wiring/test_realnvp_facts.py"): REALNVP,
    ("experiments/glow.py", "wiring/test_glow_facts.py"): GLOW,
    ("experiments/planar_flow.py", "wiring/test_planar_flow_facts.py"): PLANAR_FLOW,
    ("jaxgen/analysis/latent_model.py", "analysis/test_latent_model_of_flows.py"): ALBUM,
    ("jaxgen/objectives/flow_likelihood.py", "objectives/test_flow_likelihood.py"): TIGHTER,
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
