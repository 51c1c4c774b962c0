"""Faults of wiring in the consistency model and in the code under it, such as a person makes.

Each is one change of text, and a test of the file named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

from wiring.mutations_of_likelihoods import Change

EXPERIMENT: Sequence[Change] = [
    (
        "begins without the teacher's parameters",
        '{"model": teacher.params}',
        '{"model": jax.tree.map(jnp.zeros_like, teacher.params)}',
    ),
    ("the teacher is trained away", 'frozen={"teacher": teacher}', 'frozen={"another": teacher}'),
    ("dropout of the teacher", "teacher.module.clone(dropout=dropout)", "teacher.module"),
    ("the law of EDM", "laws.log_normal(log_mean, log_std)", "laws.log_normal(-1.2, 1.2)"),
    ("mean and deviation are swapped", "laws.log_normal(log_mean, log_std)", "laws.log_normal(log_std, log_mean)"),
    ("stages ignore --shrink", "q=shrink, ", ""),
    ("k and b are swapped", "k=widen, b=slope", "k=slope, b=widen"),
    ("the whole training is a stage", "objectives.closing(stage_steps,", "objectives.closing(steps,"),
    ("the distance ignores --huber", ", c=huber", ""),
    ("samples of the teacher", 'for name in ("model", "teacher"))', 'for name in ("teacher", "model"))'),
    (
        "samples go down EDM's grid",
        "diffusion.discretised(noise, noises)",
        "diffusion.discretised(noise, grids.karras(noise, 18))",
    ),
    (
        "samples by DDIM",
        "diffusion_model.of_sampler(student, samplers.multistep_consistency(chain)",
        "diffusion_model.of_sampler(student, samplers.ddim(chain)",
    ),
    ("one evaluation at the least noise", "discretised(noise, (noise.end,))", "discretised(noise, noises[-1:])"),
    ("the flow is the student's", "end = flow(before(state, batch)", "end = flow(student(state, batch)"),
    ("the untuned distance is the student's", '"untuned": once(before(state, batch)', '"untuned": once(student(state, batch)'),
    ("the tuned distance is the teacher's", '"one_step": once(student(state, batch)', '"one_step": once(before(state, batch)'),
    ("a flow of two steps", "TEACHER_STEPS = 18", "TEACHER_STEPS = 2"),
    ("the picture begins at the most noise of all", "start.sigma * z", "x"),
    ("a root of noise", "x = noise.end * z\n        end", "x = z\n        end"),
    ("the test split is trained on", "train=data.shuffled(train,", "train=data.shuffled(test,"),
    (
        "all images are mirrored",
        "augment = data.chain(transform, data.flip()) if flip else transform",
        "augment = data.chain(transform, data.flip())",
    ),
    ("a best step", "best=None", 'best="test/loss"'),
    ("no averages", "        ema=ema,\n", ""),
    ("equal noises pass", "after >= before", "after > before"),
    ("plain Adam", "optax.radam(", "optax.adam("),
    ("the network tells nothing of itself", "*teacher.inputs, role=role", "*teacher.inputs"),
]

OBJECTIVE: Sequence[Change] = [
    ("the target learns", "jax.lax.stop_gradient(known)", "known"),
    ("the target is at t", "jnp.where(r > 0, r, t)", "t"),
    ("no target of data", "there[0], x0)", "there[0], there[0])"),
    ("not divided by the gap", "distance / (t - r)", "distance"),
    ("a square", "jnp.sqrt(jnp.where(squared > 0, squared, 1.0))", "jnp.where(squared > 0, squared, 1.0)"),
    ("c is not taken off", ", 0.0) - c", ", 0.0)"),
    ("c and not its square", "+ c**2", "+ c"),
    ("stages from zero", "q ** (1 + ", "q ** (0 + "),
    ("a stage too early", "(step // every)", "((step + 1) // every)"),
    ("the sign of b", "jax.nn.sigmoid(-b * t)", "jax.nn.sigmoid(b * t)"),
    ("negative times", "jnp.maximum(1 - gap, 0.0)", "(1 - gap)"),
    ("a mean of pixels", "sum_event((here[0]", "1e-2 * sum_event((here[0]"),
]

TABLE: Sequence[Change] = [
    ("no new noise", "s.alpha[:, None], s.sigma**2)", "s.alpha[:, None], 0 * s.sigma)"),
    ("the noise of before", "s.alpha[:, None], s.sigma**2)", "s.alpha[:, None], r.sigma**2)"),
    ("something is kept", "Table(r, np.zeros(chain.steps), s", "Table(r, np.full(chain.steps, 0.5), s"),
    ("data of full size", "s.alpha[:, None], s.sigma**2)", "np.ones_like(s.alpha)[:, None], s.sigma**2)"),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("experiments/consistency.py", "wiring/test_consistency_facts.py"): EXPERIMENT,
    ("jaxgen/objectives/consistency.py", "objectives/test_consistency.py"): OBJECTIVE,
    ("jaxgen/samplers/tables.py", "samplers/test_multistep_consistency.py"): TABLE,
}
"""By experiment and file of tests: what is wrong, the text, and what it becomes."""
