"""Faults of wiring in the experiments of diffusion and score matching, and in the code under them, such as a person makes.

Each is one change of text, and a test of the files named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

from wiring.mutations_of_likelihoods import Change

DDPM: Sequence[Change] = [
    ("the bound ignores --variance", "own, variance=variances, samples", "own, samples"),
    ("the sampler ignores --variance", "functools.partial(samplers.ancestral, variance=variances)", "samplers.ancestral"),
    (
        "variances are swapped",
        '"small": diffusion.small_variance,\n    "large": diffusion.large_variance',
        '"large": diffusion.small_variance,\n    "small": diffusion.large_variance',
    ),
    (
        "the bound and the samples are told another label",
        "meaning, told=told, clip=PIXELS)",
        'meaning, told={"label": objectives.Told("index")} if labels else {}, clip=PIXELS)',
    ),
    (
        "training is told label 0",
        "weight=weight, told=told)",
        'weight=weight, told={"label": objectives.Told("label", 0, 1.0)})',
    ),
    ("samples have no classes", "        given=conditions,\n", ""),
    (
        "sampling starts at the least noise",
        "methods[sampler](chain), chain.level(chain.steps)",
        "methods[sampler](chain), chain.level(1)",
    ),
    (
        "the sampler walks the whole chain",
        "chain = noise if sampling_steps is None else diffusion.spaced(noise, sampling_steps)",
        "chain = noise",
    ),
    ("the bound is of the sampler's chain", "denoise(state, batch), noise, batch", "denoise(state, batch), chain, batch"),
    (
        "samplers are swapped",
        '"ancestral": functools.partial(',
        '"ddim": functools.partial(',
    ),
    (
        "schedules are swapped",
        '"linear": diffusion.linear, "cosine": diffusion.cosine',
        '"cosine": diffusion.linear, "linear": diffusion.cosine',
    ),
    ("--timesteps is dropped", "value_of(SCHEDULES, schedule)(timesteps)", "value_of(SCHEDULES, schedule)(1000)"),
    (
        "sampling takes the output for the noise",
        "denoise_by(model, meaning, told",
        "denoise_by(model, told",
    ),
    ("predictions are not clipped", "told=told, clip=PIXELS)", "told=told)"),
    ("the score's error is not weighted", "(diffusion.SCORE, objectives.by_variance)", "(diffusion.SCORE, objectives.uniform)"),
    ("the weight is dropped", "meaning, weight=weight, told", "meaning, told"),
    (
        "the noise's error is weighted",
        '"epsilon": (diffusion.EPSILON, objectives.uniform)',
        '"epsilon": (diffusion.EPSILON, objectives.by_variance)',
    ),
    ("pixels in [0, 1]", "PIXELS = (-1.0, 1.0)", "PIXELS = (0.0, 1.0)"),
    (
        "samples are in the model's range",
        "pixels=PIXELS, conditions",
        "pixels=(0.0, 1.0), conditions",
    ),
    (
        "evaluated images are mirrored",
        "batch_size=batch_size, transform=transform)",
        "batch_size=batch_size, transform=augment)",
    ),
    ("--flip is dropped", "data.chain(transform, data.flip()) if flip else transform", "transform"),
    ("trained on the test split", "train=data.shuffled(train,", "train=data.shuffled(test,"),
    ("evaluated on the training split", "jaxgen.mean_over(test, measure", "jaxgen.mean_over(train, measure"),
    ("pictures of the training split", "shown = data.examples(test,", "shown = data.examples(train,"),
    ("--nll-samples is dropped", "variance=variances, samples=nll_samples", "variance=variances"),
    ("nats for bits", "return found.bits", 'return found.bits | {"bits_per_dim": found.total / found.dimensions}'),
    ("no clipping", "optimizers.clipped(optax.adam(rate), clip)", "optax.adam(rate)"),
    ("the rate is shown and not used", "optax.adam(rate)", "optax.adam(learning_rate)"),
    ("no warm-up", "steps=steps, warmup=warmup", "steps=steps"),
    ("--ema is dropped", "        ema=ema,\n", ""),
    ("--dropout is dropped", "        dropout=dropout,\n", ""),
    ("--modulation is dropped", "        norm=value_of(NORMS, modulation),\n", ""),
    (
        "the paper's command without the warm-up",
        "--learning-rate 2e-4 --warmup 5000 --batch-size",
        "--learning-rate 2e-4 --batch-size",
    ),
]

NCSN: Sequence[Change] = [
    ("sampling starts at the least noise", "noise.level(noise.steps), image", "noise.level(1), image"),
    ("--langevin-steps is dropped", "steps=langevin_steps, step_size=step_size", "step_size=step_size"),
    ("--step-size is dropped", "steps=langevin_steps, step_size=step_size", "steps=langevin_steps"),
    ("the least noise stays", "step_size=step_size)", "step_size=step_size, denoise_last=False)"),
    (
        "--smallest is dropped",
        "diffusion.geometric(levels, smallest=smallest, largest=largest)",
        "diffusion.geometric(levels, largest=largest)",
    ),
    (
        "--largest is dropped",
        "diffusion.geometric(levels, smallest=smallest, largest=largest)",
        "diffusion.geometric(levels, smallest=smallest)",
    ),
    ("trained to predict the score", "noise, diffusion.EPSILON)", "noise, diffusion.SCORE)"),
    (
        "the error has the weight of a score",
        "noise, diffusion.EPSILON)",
        "noise, diffusion.EPSILON, weight=objectives.by_variance)",
    ),
    ("pixels in [-1, 1]", "PIXELS = (0.0, 1.0)", "PIXELS = (-1.0, 1.0)"),
    (
        "evaluated images are mirrored",
        "batch_size=batch_size, transform=transform)",
        "batch_size=batch_size, transform=augment)",
    ),
    ("evaluated on the training split", "jaxgen.mean_over(test,", "jaxgen.mean_over(train,"),
    ("pictures of the training split", "shown = data.examples(test,", "shown = data.examples(train,"),
    ("no clipping", "optimizers.clipped(optax.adam(learning_rate), clip)", "optax.adam(learning_rate)"),
    ("--ema is dropped", "        ema=ema,\n", ""),
    ("steps of the U-Net's time", "        time=RandomFourier(2 * channels[0], scale=1.0),\n", ""),
    (
        "norms are swapped",
        '"instance": ConditionalInstanceNorm,\n    "additive": AdditiveGroupNorm',
        '"additive": ConditionalInstanceNorm,\n    "instance": AdditiveGroupNorm',
    ),
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

EDM: Sequence[Change] = [
    ("the noise is uniform", "laws.log_normal(log_mean, log_std)", "laws.log_normal(0.0, 1.0)"),
    (
        "the data's error is not weighted",
        "weight=objectives.on_data(weights.edm(data_std), meaning),",
        "weight=objectives.on_data(objectives.uniform, meaning),",
    ),
    ("--data-std is dropped", "diffusion.edm(data_std)", "diffusion.edm(1.0)"),
    ("--rho is dropped", "sampling_steps, rho=rho)", "sampling_steps)"),
    ("--churn is dropped", "churn=added, schedule=noise)", "schedule=noise)"),
    (
        "sampling starts at the least noise",
        "methods[sampler](chain), chain.level(chain.steps)",
        "methods[sampler](chain), chain.level(1)",
    ),
    ("sampling takes the output for the noise", "denoise_by(model, meaning)", "denoise_by(model)"),
    ("trained on the test split", "train=data.shuffled(train,", "train=data.shuffled(test,"),
    ("evaluated on the training split", "jaxgen.mean_over(test,", "jaxgen.mean_over(train,"),
    ("pixels in [0, 1]", "PIXELS = (-1.0, 1.0)", "PIXELS = (0.0, 1.0)"),
    ("--dropout is dropped", "dropout=dropout, ", ""),
    ("no clipping", "optimizers.clipped(optax.adam(rate), clip)", "optax.adam(rate)"),
]

FLOW: Sequence[Change] = [
    ("trained to predict v", "value_of(LAWS, law), diffusion.VELOCITY)", "value_of(LAWS, law), diffusion.V)"),
    ("--law is dropped", "model, value_of(LAWS, law),", "model, PATH,"),
    (
        "--shift is dropped",
        "grids.shifted(grids.even(PATH, sampling_steps + 1), shift)",
        "grids.even(PATH, sampling_steps + 1)",
    ),
    ("samplers are swapped", '"euler": lambda chain: samplers.euler(', '"euler": lambda chain: samplers.heun('),
    ("sampling takes the output for v", "denoise_by(model, diffusion.VELOCITY)", "denoise_by(model, diffusion.V)"),
    ("the network is told t", "time=Sinusoidal(channels[0], scale=1000.0)", "time=Sinusoidal(channels[0])"),
    ("trained on the test split", "train=data.shuffled(train,", "train=data.shuffled(test,"),
    ("evaluated on the training split", "jaxgen.mean_over(test,", "jaxgen.mean_over(train,"),
    ("pixels in [0, 1]", "PIXELS = (-1.0, 1.0)", "PIXELS = (0.0, 1.0)"),
]

ANALYTIC: Sequence[Change] = [
    ("the power is of clipped predictions", "by(None)(state, {})", "by(pixels)(state, {})"),
    ("samples are not clipped", "of_learned_sampler(by(pixels)", "of_learned_sampler(by(None)"),
    ("the power is averaged over replicas", 'merge={"power": merging.total}', "merge={}"),
    ("samples walk another chain", "sampling_steps, first=True)", "sampling_steps)"),
    ("the covariance is that of the first steps", "power(state))[on_chain]", "power(state))[: len(on_chain)]"),
    ("--eta is dropped", "covariance, eta=eta,", "covariance,"),
    ("--largest-noise is dropped", ", largest_last=largest_noise)", ")"),
    ("--variance is dropped", 'if variance == "analytic":', "if True:"),
    ("the small variance is the large one", 'if variance == "small" else', 'if variance == "large" else'),
    ("each chain has a decoder of its own", "small_variance(noise)[1:2]", "small_variance(chain)[1:2]"),
    ("the optimal chain is the even one", "bits(shortest, analytic)", "bits(chain, analytic)"),
    ("--nll-samples is dropped", "variance=with_decoder, samples=nll_samples", "variance=with_decoder, samples=None"),
    ("bounds of training images", "jaxgen.mean_over(test, bound", "jaxgen.mean_over(train, bound"),
    ("measured on test images", "train=data.shuffled(train", "train=data.shuffled(test"),
    ("sampling starts at the least noise", "chain.level(chain.steps), image", "chain.level(1), image"),
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

IMPROVED: Sequence[Change] = [
    ("the bound ignores --variance", "own, variance=reverse, samples", "own, samples"),
    ("the sampler ignores --variance", "functools.partial(samplers.ancestral, variance=reverse)", "samplers.ancestral"),
    ("the simple loss has the large variance", '"learned" if learns else "small"', '"learned" if learns else "large"'),
    (
        "variances are swapped",
        '"small": diffusion.small_variance,\n    "large": diffusion.large_variance',
        '"large": diffusion.small_variance,\n    "small": diffusion.large_variance',
    ),
    (
        "schedules are swapped",
        '"linear": diffusion.linear, "cosine": diffusion.cosine',
        '"cosine": diffusion.linear, "linear": diffusion.cosine',
    ),
    ("the hybrid is the bound", "objectives.hybrid if learns", "objectives.vlb if learns"),
    ("uniform steps", "objectives.vlb(model, noise, law=law)", "objectives.vlb(model, noise)"),
    ("the history is averaged over replicas", "{HISTORY: merging.same}", "{HISTORY: merging.mean}"),
    ("no v", "(2 if learns else 1)", "1"),
    ("v without a use", "(2 if learns else 1)", "2"),
    ("the time is that of the chain", "scale=1000 / timesteps", "scale=1.0"),
    ("the sampler walks the whole chain", "diffusion.spaced(noise, sampling_steps, first=True)", "noise"),
    ("the first step is left out", "sampling_steps, first=True)", "sampling_steps)"),
    (
        "sampling starts at the least noise",
        "methods[sampler](chain), chain.level(chain.steps)",
        "methods[sampler](chain), chain.level(1)",
    ),
    ("the bound is of the sampler's chain", "known, noise, batch", "known, chain, batch"),
    ("predictions are not clipped", "denoise_by(model, clip=PIXELS)", "denoise_by(model)"),
    ("pixels in [0, 1]", "PIXELS = (-1.0, 1.0)", "PIXELS = (0.0, 1.0)"),
    (
        "evaluated images are mirrored",
        "batch_size=batch_size, transform=transform)",
        "batch_size=batch_size, transform=augment)",
    ),
    ("trained on the test split", "train=data.shuffled(train,", "train=data.shuffled(test,"),
    ("evaluated on the training split", "jaxgen.mean_over(test, measure", "jaxgen.mean_over(train, measure"),
    ("--nll-samples is dropped", "variance=reverse, samples=nll_samples", "variance=reverse"),
    ("--ema is dropped", "        ema=ema,\n", ""),
    ("--heads is dropped", "        heads=heads,\n", ""),
    ("the paper's command with a T of 1000", "--timesteps 4000 --channels", "--channels"),
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

GUIDED: Sequence[Change] = [
    ("a model of labels is guided", "if role.conditions:", "if False:"),
    ("any run is guided", "if not isinstance(role, diffusion.Trained) or", "if role and"),
    ("images of any size", "if image != (own", "if False and image != (own"),
    ("classes of any names", "if names != (known", "if False and names != (known"),
    ("pixels of the other run are not asked for", "data.scale(*role.pixels)", "data.scale()"),
    ("--shift is dropped", "if shift else data.identity", "if False else data.identity"),
    ("--flip is dropped", "data.flip() if flip else", "data.flip() if False else"),
    (
        "borders are grey",
        "data.chain(moved, data.flip() if flip else data.identity, transform)",
        "data.chain(transform, moved)",
    ),
    (
        "trained on another chain",
        "noisy_classification(network, noise, meaning)",
        "noisy_classification(network, chain, meaning)",
    ),
    ("the rate stays", "steps=steps, falls=steps", "steps=steps, falls=0"),
    ("--dropout is dropped", '"dropout": dropout', '"dropout": 0.0'),
    ("the guided model is not clipped", "meaning, clip=role.pixels", "meaning"),
    ("--guidance is dropped", "log_prob, guidance)", "log_prob, 1.0)"),
    ("sampling starts at the least noise", "chain.level(chain.steps)", "chain.level(1)"),
    ("samples walk all steps", "diffusion.spaced(noise, sampling_steps)", "noise"),
    ("errors of all noise in each quarter", "diffusion.subsequence(noise, one)", "noise"),
    ("trained on the test split", "train=data.shuffled(train,", "train=data.shuffled(test,"),
    ("evaluated on the training split", "jaxgen.mean_over(test,", "jaxgen.mean_over(train,"),
]

NOISY: Sequence[Change] = [
    ("one time for all", "schedule.draw(times, len(x0))", "schedule.draw(times[:1], 1).repeat(len(x0))"),
    ("clean images", "*given, key=key", "x0, given[1], key=key"),
    ("the time is not scaled", "*given, key=key", "given[0], level.time, key=key"),
    ("never trained", "name=name, train=train)", "name=name, train=False)"),
    ("dropout while it guides", "level), name=name)[0]", "level), name=name, key=jax.random.key(0), train=True)[0]"),
    ("the loss in place of its negative", "return -cross_entropy", "return cross_entropy"),
]

SDE: Sequence[Change] = [
    ("VP for sub-VP", "diffusion.sub_variance_preserving(start=FIRST)", "diffusion.variance_preserving(start=FIRST)"),
    ("VE of pixels in [0, 1]", "variance_exploding(0.02, 100.0)", "variance_exploding(0.01, 50.0)"),
    ("the network is told t", "lambda level: 999 * level.time", "lambda level: level.time"),
    ("--weighting is dropped", "value_of(WEIGHTINGS, weighting)(law.schedule)", "objectives.uniform"),
    ("sampling ends at the first time of training", "law.schedule._replace(start=law.last)", "law.schedule"),
    ("--corrector-steps is dropped", "snr=snr, steps=corrector_steps", "snr=snr"),
    ("--snr is dropped", "snr=snr, steps=corrector_steps", "steps=corrector_steps"),
    ("--predictor is dropped", "value_of(PREDICTORS, predictor)", 'PREDICTORS["reverse_diffusion"]'),
    ("ancestral variances are swapped", "sde.variance)", "diffusion.small_variance)"),
    ("bits of another width", "width=PIXELS[1] - PIXELS[0]", "width=1.0"),
    ("--nll-samples is dropped", "probes=nll_samples, ", ""),
    ("sampling takes the output for the noise", "denoise_by(model, law.meaning)", "denoise_by(model)"),
    ("trained on the test split", "train=data.shuffled(train,", "train=data.shuffled(test,"),
    ("evaluated on the training split", "jaxgen.mean_over(test,", "jaxgen.mean_over(train,"),
    ("pixels are not dequantised", "data.chain(data.dequantize(bits), data.scale(*PIXELS))", "data.scale(*PIXELS)"),
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

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("experiments/ddpm.py", "wiring/test_ddpm_facts.py"): DDPM,
    ("experiments/ncsn.py", "wiring/test_ncsn_facts.py"): NCSN,
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
    ("experiments/edm.py", "wiring/test_edm_facts.py"): EDM,
    ("experiments/analytic_dpm.py", "wiring/test_analytic_dpm_facts.py"): ANALYTIC,
    ("jaxgen/objectives/noise_power.py", "objectives/test_noise_power.py"): POWER,
    ("jaxgen/diffusion/optimal_chain.py", "diffusion/test_optimal_chain.py"): OPTIMAL,
    ("experiments/classifier_guidance.py", "wiring/test_classifier_guidance_facts.py"): GUIDED,
    ("jaxgen/objectives/noisy_classification.py", "objectives/test_noisy_classification.py"): NOISY,
    ("experiments/flow_matching.py", "wiring/test_flow_matching_facts.py"): FLOW,
    ("experiments/improved_ddpm.py", "wiring/test_improved_ddpm_facts.py"): IMPROVED,
    ("jaxgen/objectives/learned_variance.py", "objectives/test_learned_variance.py"): LEARNED,
    ("jaxgen/objectives/resampling.py", "objectives/test_drawn_by_losses.py"): RESAMPLING,
    ("experiments/score_sde.py", "wiring/test_score_sde_facts.py"): SDE,
    ("jaxgen/samplers/predictor_corrector.py", "samplers/test_predictor_corrector.py"): CORRECTOR,
    ("jaxgen/samplers/adaptive.py", "samplers/test_adaptive.py"): ADAPTIVE,
    ("jaxgen/objectives/probability_flow.py", "objectives/test_probability_flow.py"): DENSITY,
    ("jaxgen/samplers/langevin.py", "samplers/test_samplers.py"): LANGEVIN,
    ("jaxgen/metrics/inception_score.py", "metrics/test_inception_score.py"): SPLITS,
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
