"""Faults of wiring in autoguidance and in power-function averages, and in the code under them, such as a person makes.

Each is one change of text, and a test of the file named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

from wiring.mutations_of_likelihoods import Change

EXPERIMENT: Sequence[Change] = [
    ("the strong model is trained away", 'frozen={"strong": strong}', 'frozen={"another": strong}'),
    (
        "the models are swapped",
        '((strong.module, "strong"), (network, "model"))',
        '((network, "model"), (strong.module, "strong"))',
    ),
    ("no interval", "scale, interval=interval", "scale"),
    ("samples without guidance", "of_sampler(guided_by(guidance), draw", "of_sampler(unguided, draw"),
    ("the law of noise is fixed", "laws.log_normal(log_mean, log_std)", "laws.log_normal(-1.2, 1.2)"),
    ("mean and deviation are swapped", "laws.log_normal(log_mean, log_std)", "laws.log_normal(log_std, log_mean)"),
    ("the strong loss is the weak one", ', name="strong")\n    rate', ")\n    rate"),
    ("sampling ignores --rho", ", rho=rho)", ")"),
    ("sampling ignores --smallest and --largest", "diffusion.time_is_sigma(smallest, largest)", "diffusion.time_is_sigma()"),
    ("the picture begins at 1", "largest * jax.random.normal(key", "jax.random.normal(key"),
    ("rows are swapped", "every = (weak, unguided,", "every = (unguided, weak,"),
    ("the picture is not guided", "guided_by(guidance))\n        return diffused", "unguided)\n        return diffused"),
    ("the test split is trained on", "train=data.shuffled(train,", "train=data.shuffled(test,"),
    (
        "all images are mirrored",
        "data.chain(transform, data.flip()) if flip else transform",
        "data.chain(transform, data.flip())",
    ),
    ("no averages", "        ema=ema,\n", ""),
    ("no micro-batches", "        accumulate=accumulate,\n", ""),
    ("no warm-up", ", warmup=warmup)", ")"),
    ("no clipping", "optimizers.clipped(optax.adam(rate), clip)", "optax.adam(rate)"),
    ("no bfloat16", "jnp.bfloat16 if bf16 else jnp.float32", "jnp.float32"),
    ("no dropout", "dropout=dropout, ", ""),
    ("the network tells nothing of itself", "jnp.zeros(1), role=role", "jnp.zeros(1)"),
    ("equal noise passes", "if smallest >= largest", "if smallest > largest"),
    ("an interval of one level passes", "interval[0] >= interval[1]:", "interval[0] > interval[1]:"),
]

GUIDANCE: Sequence[Change] = [
    ("the models are swapped", "classifier_free(strong, weak, scale", "classifier_free(weak, strong, scale"),
    ("no interval", "classifier_free(strong, weak, scale, interval=interval)", "classifier_free(strong, weak, scale)"),
]

AVERAGES: Sequence[Change] = [
    ("gamma and not gamma + 1", "(exponent(self.sigma_rel) + 1) * jnp.log1p", "exponent(self.sigma_rel) * jnp.log1p"),
    ("steps are counted from 0", "(step + 1).astype(jnp.float32)))", "(step + 2).astype(jnp.float32)))"),
    ("another root", ".real.max())", ".real.min())"),
    ("the power of the earlier one", "np.where(ta < tb, b, a)", "np.where(ta < tb, a, b)"),
    ("no normalisation of densities", "/ (a + b + 1) * ratio**power", "/ (a + b + 2) * ratio**power"),
    ("coefficients do not sum to one", "    found = found / found.sum()\n", ""),
    ("the error is a square", "np.sqrt(max(squared, 0.0) / size)", "(max(squared, 0.0) / size)"),
    ("any width passes", "if not 0 < sigma_rel < WIDEST:", "if False:"),
]

RECONSTRUCTION: Sequence[Change] = [
    ("later checkpoints too", "if 0 < one <= step]", "if 0 < one]"),
    ("the state's own averages at every step", "own = state if one == step else", "own = state if True else"),
    ("the first average alone", ", *own.more_ema])", ", *[Averages(own.ema, own.ema_vars) for _ in own.more_ema]])"),
    ("widths and steps are mixed up", "weights[i * len(widths) + place]", "weights[place * len(steps) + i]"),
    ("any error passes", "if error > LARGEST_ERROR:", "if False:"),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("experiments/autoguidance.py", "wiring/test_autoguidance_facts.py"): EXPERIMENT,
    ("jaxgen/diffusion/guidance.py", "diffusion/test_guidance.py"): GUIDANCE,
    ("jaxgen/game/power_averages.py", "game/test_power_averages.py"): AVERAGES,
    ("jaxgen/runs/reconstruction.py", "game/test_power_averages.py"): RECONSTRUCTION,
}
"""By experiment and file of tests: what is wrong, the text, and what it becomes."""
