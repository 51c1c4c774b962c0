"""Faults in the experiment of variational diffusion and in the code under it.

Each is one change of text, and a test of the file named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

from wiring.mutations_of_likelihoods import Change

EXPERIMENT: Sequence[Change] = [
    ("bytes reach the ends of [-1, 1]", "PIXELS = (-255 / 256, 255 / 256)", "PIXELS = (-1.0, 1.0)"),
    ("a learned line is fixed", '"scalar": LinearGamma', '"scalar": FixedGamma'),
    ("the ends are exchanged", "value_of(GAMMAS, gamma)(low, high)", "value_of(GAMMAS, gamma)(high, low)"),
    ("--gamma-ends is dropped from gamma", "value_of(GAMMAS, gamma)(low, high)", "value_of(GAMMAS, gamma)(LOW, HIGH)"),
    ("the network hears another time", "diffusion.time_by_gamma(low, high)", "diffusion.time_by_gamma(LOW, HIGH)"),
    ("the network hears t", "diffusion.timed(diffusion.EPSILON, diffusion.time_by_gamma(low, high))", "diffusion.EPSILON"),
    ("--attend is dropped", "(0,) if attend else ()", "()"),
    ("as many outputs as CIFAR-10 has", "outputs=image[-1]", "outputs=3"),
    ("--dropout is dropped", "dropout=dropout,", "dropout=0.1,"),
    ("--remat is dropped", "remat=remat,", "remat=False,"),
    ("biases decay", 'path[-1].key != "bias"', "True"),
    ("--weight-decay is dropped", "weight_decay=weight_decay,", "weight_decay=0.01,"),
    ("another beta2 of the network", "optax.adamw(rates[0], b2=0.99,", "optax.adamw(rates[0], b2=0.999,"),
    ("another beta2 of gamma", "optax.adam(rates[1], b2=0.99)", "optax.adam(rates[1])"),
    ("gamma moves at the network's rate", "optax.adam(rates[1],", "optax.adam(rates[0],"),
    ("no warm-up", "steps=steps, warmup=warmup)", "steps=steps)"),
    ("the network's gradient is not bounded", "optimizers.clipped(adamw, clip)", "adamw"),
    ("one optimizer for all", '"schedule" if name == "schedule" else "model"', '"model"'),
    ("--bound-steps is dropped", "steps=bound_steps)", "steps=None)"),
    ("gamma does not move", "owns=tuple(networks))", 'owns=("model",))'),
    ("one step less is sampled", "sampling_steps + 1)", "sampling_steps)"),
    ("samples are not decoded", "objectives.nearest_level)", "lambda x: x)"),
    ("sampling starts from other noise", "(1.0, 0.0, 1.0)))", "(1.0, 0.0, 0.9)))"),
    (
        "--nll-samples is dropped",
        "found = objectives.vdm_bits(*of, x0, own, samples=nll_samples)",
        "found = objectives.vdm_bits(*of, x0, own, samples=32)",
    ),
    ("--nll-steps is dropped", "steps=nll_steps)", "steps=1000)"),
    ("measured on the training split", "jaxgen.mean_over(test,", "jaxgen.mean_over(train,"),
    (
        "mirrored images are measured",
        "batch_size=batch_size, transform=transform)",
        "batch_size=batch_size, transform=augment)",
    ),
    ("no image is mirrored", "data.shuffled(train, batch_size, augment)", "data.shuffled(train, batch_size, transform)"),
    ("batches are not cut", "        accumulate=accumulate,\n", ""),
    ("other averages", "        ema=ema,\n", "        ema=0.5,\n"),
]

GAMMA: Sequence[Change] = [
    ("a line may fall", "return b + jnp.abs(w) * share", "return b + w * share"),
    ("the ends move with the interior", "- first) / (last - first), ends)", "- first) / self.high, ends)"),
    ("weights may be negative", 'jnp.abs(own("u", small', '(own("u", small'),
    ("the interior is always reached", "value if interior else lax.stop_gradient(value)", "value"),
    ("the ends are always reached", "    if not ends:\n        b, w = lax.stop_gradient((b, w))\n", ""),
    ("hidden units are not centred", "2 * inner * (t[..., None] - 0.5)", "2 * inner * t[..., None]"),
]

NETWORK: Sequence[Change] = [
    ("the input is not added", "train=train) + z", "train=train)"),
    ("waves of half the frequency", "2 * np.pi * 2.0", "np.pi * 2.0"),
    ("sines alone", "[jnp.sin(angles), jnp.cos(angles)]", "[jnp.sin(angles), jnp.sin(angles)]"),
]

LOSS: Sequence[Change] = [
    ("no half", "weight = 0.5 * slope", "weight = slope"),
    ("the step's weight is that of the step after", "at - gamma(t - 1 / steps)", "gamma(t + 1 / steps) - at"),
    ("times begin their steps", "steps - 1) + 1) / steps", "steps - 1)) / steps"),
    ("a square without its factor 2", "return gradient, 2 * loss", "return gradient, loss"),
    ("the square is in nats", "_squared_for(lost * unit, probe) / unit", "_squared_for(lost, probe)"),
    ("the interior descends the bound", "lambda g: factor * g, of_plain)", "lambda g: g, of_plain)"),
    ("the interior descends both", "levels, gamma(ends=False))", "levels, gamma())"),
    (
        "z_0 is not divided by alpha",
        "level_log_prob(x0 + std * first,",
        "level_log_prob(schedule.alpha(0.0) * x0 + std * first,",
    ),
    ("levels at the ends", "+ 0.5) / levels - 1\n    every", ") / levels - 1\n    every"),
    ("a mean over times that adds up", "values.mean(0) for", "values.sum(0) for"),
    ("times are not spread in an evaluation's parts", "(i.astype(jnp.float32) + offset) / samples", "offset"),
    (
        "another offset in each step is the same",
        "jax.random.fold_in(jax.random.fold_in(key, step), keys.WHOLE)",
        "jax.random.fold_in(key, keys.WHOLE)",
    ),
    ("16 digits", ", (16, 0x0000FFFF)", ""),
    (
        "one draw of noise for both parts",
        "keys.fold_in(key, i), x0.shape) for i in range(2))",
        "keys.fold_in(key, 0), x0.shape) for i in range(2))",
    ),
]

SAMPLER: Sequence[Change] = [
    ("no noise at the end", "sigma[-2::-1] ** 2 * c)", "sigma[-2::-1] ** 2 * c * (jnp.arange(steps) < steps - 1))"),
    ("noise of the step before", "sigma[-2::-1] ** 2 * c", "sigma[:0:-1] ** 2 * c"),
    ("the state keeps all", "to / alpha[:0:-1] * jnp.exp(s - r)", "to / alpha[:0:-1]"),
    ("z_0 is decoded as it is", "decode(found.x / jnp.sqrt(jax.nn.sigmoid(-gamma[0])))", "decode(found.x)"),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("experiments/vdm.py", "wiring/test_vdm_facts.py"): EXPERIMENT,
    ("jaxgen/models/diffusion/gamma.py", "models/test_gamma.py"): GAMMA,
    ("jaxgen/models/diffusion/vdm.py", "models/test_vdm_network.py"): NETWORK,
    ("jaxgen/objectives/learned_schedule.py", "objectives/test_learned_schedule.py"): LOSS,
    ("jaxgen/samplers/variational.py", "samplers/test_variational_sampler.py"): SAMPLER,
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
