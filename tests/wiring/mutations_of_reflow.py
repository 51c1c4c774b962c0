"""Faults of wiring in reflow and in the code under it, such as a person makes.

Each is one change of text, and a test of the file named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

from wiring.mutations_of_likelihoods import Change

EXPERIMENT: Sequence[Change] = [
    ("begins without the flow", '{"model": parent.params}', '{"model": jax.tree.map(jnp.zeros_like, parent.params)}'),
    ("the flow is trained away", 'frozen={"flow": parent}', 'frozen={"another": parent}'),
    ("dropout of the flow", "parent.module.clone(dropout=dropout)", "parent.module"),
    ("the flows are swapped", 'for name in ("model", "flow"))', 'for name in ("flow", "model"))'),
    ("pairs of the trained flow", "by_euler(pair_steps)(before(state, batch)", "by_euler(pair_steps)(after(state, batch)"),
    ("pairs by one step", "by_euler(pair_steps)", "by_euler(1)"),
    ("noise of its own", ', noise="noise")', ")"),
    ("distilled where steps end", "grids.even(PATH, distil + 1)[:-1]", "grids.even(PATH, distil + 1)[1:]"),
    ("no distillation", " if distil else PATH\n", " if False else PATH\n"),
    ("samples of the frozen flow", "diffusion_model.of_sampler(after,", "diffusion_model.of_sampler(before,"),
    (
        "Heun's is Euler's",
        '"heun": lambda chain: samplers.heun(PATH, grid)',
        '"heun": lambda chain: samplers.euler(PATH, grid)',
    ),
    ("one step more", "grid = grids.even(PATH, drawn_by + 1)", "grid = grids.even(PATH, drawn_by + 2)"),
    ("two steps of a distilled flow", "sampling_steps or distil or 2", "sampling_steps or 2"),
    ("measured at all steps", "if not distil or distil % k == 0", ""),
    ("distances from noise", "end = pairs(state, batch, z)", "end = z"),
    ("a sum over pixels", "((x - end) ** 2).mean((1, 2, 3))", "((x - end) ** 2).sum((1, 2, 3))"),
    ("before is after", '("_before", before(state, batch))', '("_before", after(state, batch))'),
    ("straightness of distilled flows", "            if not distil:\n", "            if True:\n"),
    ("chords of five steps", "CHORDS = 20", "CHORDS = 5"),
    ("the picture's rows are swapped", "for of in (before, after) for k in few", "for of in (after, before) for k in few"),
    ("the test split is trained on", "train=data.shuffled(train,", "train=data.shuffled(test,"),
    ("a best step", "best=None", 'best="test/loss"'),
    ("no averages", "        ema=ema,\n", ""),
    ("no micro-batches", "        accumulate=accumulate,\n", ""),
    ("no warm-up", ", warmup=warmup)", ")"),
    ("no clipping", "optimizers.clipped(optax.adam(rate), clip)", "optax.adam(rate)"),
    ("the network tells nothing of itself", "*parent.inputs, role=role", "*parent.inputs"),
    ("a protocol without the pairs", '("pair_steps",)', "()"),
    ("any steps of a distilled flow", " or distil % drawn_by):", "):"),
    ("any sampler of a distilled flow", 'sampler != "euler" or ', ""),
]

COUPLING: Sequence[Change] = [
    ("the pairs learn", "jax.lax.stop_gradient(make(state, batch, z))", "make(state, batch, z)"),
    ("the noise of the batch", "keys.draw(jax.random.normal, own, batch[feature].shape)", "batch[feature]"),
    ("noise and data are swapped", "feature: x, noise: z", "feature: z, noise: x"),
    ("one noise for all", "keys.per_example(key, batch)", "keys.per_example(key, batch)[:1]"),
]

REGRESSION: Sequence[Change] = [
    ("noise is drawn in any case", "if noise is None else batch[noise].astype(jnp.float32)", ""),
]

STRAIGHTNESS: Sequence[Change] = [
    ("not about the chord", "(squares / steps - chord**2)", "(squares / steps)"),
    ("the cost is the length", "(chord**2).mean(event))", "(squares / steps).mean(event))"),
    ("a sum", "(squares / steps - chord**2).mean(event)", "(squares / steps - chord**2).sum(event)"),
    ("times from the data", "times = 1 - jnp.arange(steps, dtype=jnp.float32) / steps", "times = jnp.arange(steps) / steps"),
    ("away from the data", "x - v / steps", "x + v / steps"),
]

LAW: Sequence[Change] = [
    ("the last time is left out", "shape, 0, len(few))", "shape, 0, len(few) - 1 or 1)"),
]

ROLE: Sequence[Change] = [
    (
        "any parameterisation",
        "(level.alpha, level.sigma, velocity), (1 - times, times, jnp.full(2, 2.0))",
        "(level.alpha, level.sigma), (1 - times, times)",
    ),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("experiments/reflow.py", "wiring/test_reflow_facts.py"): EXPERIMENT,
    ("jaxgen/objectives/coupling.py", "objectives/test_coupling.py"): COUPLING,
    ("jaxgen/objectives/score_matching.py", "objectives/test_coupling.py"): REGRESSION,
    ("jaxgen/analysis/straightness.py", "analysis/test_straightness.py"): STRAIGHTNESS,
    ("jaxgen/diffusion/laws.py", "objectives/test_coupling.py"): LAW,
    ("jaxgen/analysis/diffusion_model.py", "wiring/test_reflow_facts.py"): ROLE,
}
"""By experiment and file of tests: what is wrong, the text, and what it becomes."""
