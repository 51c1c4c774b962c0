"""Faults in the code under the experiments of diffusion: schedules, samplers, guidance, bounds and their losses.

Each is one change of text, and a test of the file named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

from wiring.mutations_of_likelihoods import Change

BOUND: Sequence[Change] = [
    ("the decoder's variance is that of step 2", "np.sqrt(reverse[1])", "np.sqrt(reverse[min(2, steps)])"),
    ("half the squared error is whole", "/ (2 * reverse[2:])", "/ reverse[2:]"),
    (
        "the variances' ratio is turned",
        "schedule.posterior_variance[2:] / reverse[2:]",
        "reverse[2:] / schedule.posterior_variance[2:]",
    ),
    ("the variances' part is dropped", "Bound(prior, total + spread, decoded", "Bound(prior, total, decoded"),
    ("the prior is dropped", "return self.prior + self.transitions + self.decoder", "return self.transitions + self.decoder"),
    ("transitions are one off", "predicted(at + 2,", "predicted(at + 1,"),
    ("a mean over the drawn transitions", "weight / (count * chosen)", "weight / count"),
    ("nats", "unit = 1 / (math.log(2) * self.dimensions)", "unit = 1 / self.dimensions"),
    ("one draw of noise for all transitions", "keys.fold_in(middle, i)", "middle"),
]

TOLD: Sequence[Change] = [
    (
        "something else stands for nothing",
        "jnp.asarray(nothing, value.dtype), value)",
        "jnp.asarray(nothing - 1, value.dtype), value)",
    ),
    ("the share that is dropped is kept", "value.shape[:1]) < drop", "value.shape[:1]) > drop"),
]

REVERSE: Sequence[Change] = [
    (
        "sampling starts from N(0, 1)",
        'samplers.noise(first, (len(given["index"]), *shape), start)',
        'jax.random.normal(first, (len(given["index"]), *shape))',
    ),
    ("samples leave [0, 1]", "jnp.clip((x - low) / (high - low), 0.0, 1.0)", "x"),
]

GUIDANCE: Sequence[Change] = [
    ("guided from the conditional prediction", "u.x0 + s * (c.x0 - u.x0)", "c.x0 + s * (c.x0 - u.x0)"),
    ("guided outside of the interval", "scale, 1.0)", "1.0, scale)"),
    ("the interval is of sigma alone", "level.sigma / level.alpha, xt)", "level.sigma, xt)"),
    ("rescaled in whole", "share * ratio + 1 - share", "ratio"),
    ("the noise does not follow", "Prediction(x0, X0.eps(x0, xt, level), v)", "Prediction(x0, xt, v)"),
    ("the threshold of a batch", "axis=1)", "axis=1).max() + jnp.zeros(len(x0))"),
    ("small images are made larger", "jnp.maximum(size, 1.0)", "size"),
    ("a classifier guides away from the class", "eps - scale * sigma * gradient", "eps + scale * sigma * gradient"),
    ("a classifier's gradient is not scaled by the noise", "eps - scale * sigma * gradient", "eps - scale * gradient"),
    ("the image does not follow the classifier", "x0 + scale * sigma**2 / alpha * gradient", "x0"),
    ("a classifier is asked for the mean", "log_prob(x, level).sum()", "log_prob(x, level).mean()"),
]

SCHEDULES: Sequence[Change] = [
    ("steps from 0", "randint(key, shape, 1, self.steps + 1)", "randint(key, shape, 0, self.steps + 1)"),
    ("the last step is never drawn", "randint(key, shape, 1, self.steps + 1)", "randint(key, shape, 1, self.steps)"),
    ("the betas end at 0.01", "min(20 / steps, 0.999)", "min(10 / steps, 0.999)"),
    ("sigmas are evenly spaced", "np.geomspace(smallest, largest, levels)", "np.linspace(smallest, largest, levels)"),
    ("alpha for its square", "np.exp(log_alpha_bar / 2)", "np.exp(log_alpha_bar)"),
    (
        "the last step is left out",
        "np.linspace(0, schedule.steps, steps + 1)[1:]",
        "np.linspace(1, schedule.steps, steps + 1)[:-1]",
    ),
]

TABLES: Sequence[Change] = [
    ("the last step adds noise", "np.append(np.ones(chain.steps - 1), 0.0)", "np.ones(chain.steps)"),
    ("a deviation for a variance", "least[:0:-1] * noisy", "least[:0:-1] ** 0.5 * noisy"),
    (
        "DDIM keeps the signal of the step before",
        "(s.alpha - kept * r.alpha)[:, None], variance)",
        "(r.alpha - kept * r.alpha)[:, None], variance)",
    ),
]

SOLVERS: Sequence[Change] = [
    ("the former prediction counts whole", "h[1:][usable] / (2 * h[:-1][usable])", "h[1:][usable] / h[:-1][usable]"),
    ("half a step of the SDE", "twice = 2 * h if stochastic else h", "twice = h"),
    ("the drift of another sign", "np.append(1 - h * f - share, 0.0)", "np.append(1 + h * f - share, 0.0)"),
    ("a step of reverse diffusion without its drift", "2 - a - share", "1 - share"),
    ("the corrector's weight is the predictor's", "np.linalg.solve(powers, wanted)", "np.linalg.solve(powers, wanted) * 0.5"),
    ("B for its square", "table.data[:, 0] ** 2)", "table.data[:, 0])"),
]

MARCH: Sequence[Change] = [
    (
        "one noise for all steps",
        "jax.random.normal(jax.random.fold_in(key, j), x.shape, x.dtype)",
        "jax.random.normal(key, x.shape, x.dtype)",
    ),
    ("a variance for a deviation", "std = jnp.sqrt(moves.variance)", "std = moves.variance"),
]

HEUN: Sequence[Change] = [
    ("the slope of the start alone", "0.5 * h * (rate + slope(euler, second, j))", "h * rate"),
    ("churn at every level", "np.where(within, min(", "np.where(noise > 0, min("),
    ("new noise is not inflated", "(1.0 if churn is None else churn.inflation)", "1.0"),
]

WEIGHTS: Sequence[Change] = [
    ("sigma for its square", "return level.sigma**2", "return level.sigma"),
    ("a slope for its square", "_slope(parameterisation.eps, level) ** 2", "_slope(parameterisation.eps, level)"),
    ("P2 of another sign", "** -power", "** power"),
    ("the signal is not bounded", "jnp.minimum(1.0, largest / snr(level))", "largest / snr(level)"),
]

VARIANCES: Sequence[Change] = [
    (
        "the first variance is beta_1",
        "schedule.posterior_variance[2] if schedule.steps > 1 else schedule.beta[1]",
        "schedule.beta[1]",
    ),
]

CONTINUOUS: Sequence[Change] = [
    ("times end at 1", "self.start, self.end)", "self.start, 1.0)"),
    (
        "the SDE of the signal alone",
        "_derivative(self.log_snr, t)",
        "2 * self.drift(t)",
    ),
    (
        "sub-VP has the noise of VP",
        "lambda t: -jnp.expm1(2 * log_alpha(t)), start",
        "lambda t: jnp.sqrt(-jnp.expm1(2 * log_alpha(t))), start",
    ),
]

PARAMETERISATION: Sequence[Change] = [
    ("the input is not scaled", "expand(self.input(level), xt) * xt", "xt"),
    ("edm's time is not a quarter", "0.25 * jnp.log(", "0.5 * jnp.log("),
    (
        "the velocity points to the data",
        "VELOCITY = of_target(lambda level: -one(level), one)",
        "VELOCITY = of_target(one, lambda level: -one(level))",
    ),
]

POWER: Sequence[Change] = [
    ("all examples have one step", '(before + batch["slot"]) % schedule.steps', '0 * batch["slot"]'),
    ("every batch has the same steps", "state.step * batch_size if train else 0", "0"),
    ("the power of the image", ".eps\n", ".x0\n"),
]

OPTIMAL: Sequence[Change] = [
    ("dips are believed", "np.maximum.accumulate(", "np.asarray("),
    ("the mean's factor is not squared", "((alpha[s] * added / variance[t]) ** 2", "((alpha[s] * added / variance[t])"),
    ("the path is the dearest", "through.argmin(0)", "np.where(np.isfinite(through), through, -1).argmax(0)"),
]

LEARNED: Sequence[Change] = [
    ("the bound reaches the mean", "at.found._replace(x0=lax.stop_gradient(at.found.x0))", "at.found"),
    ("the bound is not scaled", "at.noise_error + share * of_variance", "at.noise_error + of_variance"),
    ("nats", "(math.log(2) * at.x0[0].size)", "at.x0[0].size"),
    ("one term and not T", "(schedule.steps / (math", "(1 / (math"),
    ("labels are dropped", "train=train, told=own)", "train=train)"),
]

RESAMPLING: Sequence[Change] = [
    ("by the mean loss", "jnp.sqrt((losses**2).mean(1))", "losses.mean(1)"),
    ("steps without a loss are drawn by it", '(history["counts"] >= self.history).all()', '(history["counts"] >= 0).all()'),
    ("weights of another direction", "1 / (self.steps * law[index])", "self.steps * law[index]"),
    ("steps from 0", "return index + 1, 1 /", "return index, 1 /"),
    ("padding is kept", "jnp.where(real, t - 1, self.steps)", "t - 1"),
    ("each replica keeps its own", "collectives.gather(x) for x in", "x for x in"),
    ("a step that is met twice is kept once", "+ before) % self.history", ") % self.history"),
    ("the first of many stay", "stays = same.sum(1) - before <= self.history", "stays = before < self.history"),
    ("counts go on", "self.history + total % self.history)", "total)"),
]

PARTS: Sequence[Change] = [
    ("a model of labels is taken", "if role.conditions:", "if False:"),
    ("any run is taken", "if not isinstance(role, diffusion.Trained) or", "if role and"),
    ("images of any size", "if image != own:", "if False:"),
]

NOISY: Sequence[Change] = [
    ("one time for all", "schedule.draw(times, len(x0))", "schedule.draw(times[:1], 1).repeat(len(x0))"),
    ("clean images", "*given, key=key", "x0, given[1], key=key"),
    ("the time is not scaled", "*given, key=key", "given[0], level.time, key=key"),
    ("never trained", "name=name, train=train)", "name=name, train=False)"),
    ("dropout while it guides", "level), name=name)[0]", "level), name=name, key=jax.random.key(0), train=True)[0]"),
    ("the loss in place of its negative", "return -cross_entropy", "return cross_entropy"),
]

CORRECTOR: Sequence[Change] = [
    ("a norm of the batch", "x.reshape(len(x), -1) ** 2, axis=1", "x.reshape(len(x), -1) ** 2"),
    ("half a step", "2 * a * (snr", "a * (snr"),
    ("a ratio for its square", "np.append(table.level.alpha[1:], 1.0)) ** 2", "np.append(table.level.alpha[1:], 1.0))"),
    ("the noise of one step", "jnp.sqrt(2 * size)", "jnp.sqrt(size)"),
    ("one noise for all steps", "count * (m + 1) + j", "count + j"),
]

ADAPTIVE: Sequence[Change] = [
    ("a solution of order 4", "19372 / 6561", "19272 / 6561"),
    ("no step is refused", "good = error <= 1", "good = error <= 1e9"),
    ("the slope backwards", "return sign * ravel_pytree", "return ravel_pytree"),
    ("the last noise stays", "if denoise_last:", "if not denoise_last:"),
]

DENSITY: Sequence[Change] = [
    ("the change of another sign", "+ change[:, -1]", "- change[:, -1]"),
    ("a prior of unit variance", "Normal(0.0, schedule.sigma(jnp.float32(schedule.end)))", "Normal(0.0, 1.0)"),
    ("a sum over the probes", "jnp.mean(products)[None]", "jnp.sum(products)[None]"),
    ("the width of a level", "bits - math.log2(width)", "bits + math.log2(width)"),
]

LANGEVIN: Sequence[Change] = [
    ("the step's size is not squared", "(schedule.sigma / schedule.sigma[1]) ** 2", "schedule.sigma / schedule.sigma[1]"),
    ("steps relative to the most noise", "schedule.sigma / schedule.sigma[1]", "schedule.sigma / schedule.sigma[-1]"),
    ("a whole step of drift", "0.5 * sizes[i] * score", "sizes[i] * score"),
    ("levels from the least noise", "i = schedule.steps - j // steps", "i = 1 + j // steps"),
    ("the noise is not scaled", "jnp.sqrt(sizes[i]) * jax.random", "sizes[i] * jax.random"),
]

SPLITS: Sequence[Change] = [
    ("the rest of the samples is left to the last part", "i * len(logits) // splits", "i * (len(logits) // splits)"),
]

SCORE_MATCHING: Sequence[Change] = [
    ("labels are dropped in evaluation", "tell(told, batch, drop if train else None)", "tell(told, batch, drop)"),
    ("no label is dropped", "tell(told, batch, drop if train else None)", "tell(told, batch)"),
    ("a sum over pixels", "dimensions = x0[0].size", "dimensions = 1"),
    ("the weight divides", "return weight(level) * error", "return error / weight(level)"),
    (
        "the target of another level",
        "parameterisation.target(x0, eps, level)",
        "parameterisation.target(x0, eps, schedule.level(1))",
    ),
    (
        "the score's noise has the score's sign",
        "parameterisation.eps(out, xt, level) - eps",
        "parameterisation.eps(out, xt, level) + eps",
    ),
    ("trained without dropout", "key=key, name=name, train=train, told=own)", "key=key, name=name, told=own)"),
    ("the level is one for all", "schedule.draw(times, len(x0))", "schedule.draw(times, len(x0))[:1].repeat(len(x0))"),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("jaxgen/objectives/score_matching.py", "objectives/test_score_matching.py"): SCORE_MATCHING,
    ("jaxgen/objectives/told.py", "objectives/test_score_matching.py"): TOLD,
    ("jaxgen/analysis/diffusion_model.py", "wiring/test_ncsn_facts.py"): REVERSE,
    ("jaxgen/diffusion/guidance.py", "diffusion/test_guidance.py"): GUIDANCE,
    ("jaxgen/objectives/variational_bound.py", "objectives/test_variational_bound.py"): BOUND,
    ("jaxgen/diffusion/schedules.py", "diffusion/test_schedules.py"): SCHEDULES,
    ("jaxgen/samplers/tables.py", "wiring/test_ddpm_facts.py"): TABLES,
    ("jaxgen/samplers/tables.py", "samplers/test_tables.py"): SOLVERS,
    ("jaxgen/samplers/march.py", "samplers/test_samplers.py"): MARCH,
    ("jaxgen/samplers/two_stage.py", "samplers/test_two_stage.py"): HEUN,
    ("jaxgen/objectives/weights.py", "objectives/test_weights_of_errors.py"): WEIGHTS,
    ("jaxgen/diffusion/variances.py", "diffusion/test_schedules.py"): VARIANCES,
    ("jaxgen/diffusion/continuous.py", "diffusion/test_continuous.py"): CONTINUOUS,
    ("jaxgen/diffusion/parameterisation.py", "diffusion/test_parameterisation.py"): PARAMETERISATION,
    ("jaxgen/objectives/noise_power.py", "objectives/test_noise_power.py"): POWER,
    ("jaxgen/diffusion/optimal_chain.py", "diffusion/test_optimal_chain.py"): OPTIMAL,
    ("jaxgen/analysis/diffusion_model.py", "wiring/test_classifier_guidance_facts.py"): PARTS,
    ("jaxgen/objectives/noisy_classification.py", "objectives/test_noisy_classification.py"): NOISY,
    ("jaxgen/objectives/learned_variance.py", "objectives/test_learned_variance.py"): LEARNED,
    ("jaxgen/objectives/resampling.py", "objectives/test_drawn_by_losses.py"): RESAMPLING,
    ("jaxgen/samplers/predictor_corrector.py", "samplers/test_predictor_corrector.py"): CORRECTOR,
    ("jaxgen/samplers/adaptive.py", "samplers/test_adaptive.py"): ADAPTIVE,
    ("jaxgen/objectives/probability_flow.py", "objectives/test_probability_flow.py"): DENSITY,
    ("jaxgen/samplers/langevin.py", "samplers/test_samplers.py"): LANGEVIN,
    ("jaxgen/metrics/inception_score.py", "metrics/test_inception_score.py"): SPLITS,
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
