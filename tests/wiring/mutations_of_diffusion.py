"""Faults of wiring in the experiments of diffusion and score matching, such as a person makes.

Each is one change of text, and a test of the file named beside it must fail of it (`tests/test_mutations.py` puts them in).
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

EDM: Sequence[Change] = [
    ("the noise is uniform", "laws.log_normal(log_mean, log_std)", "laws.log_normal(0.0, 1.0)"),
    (
        "the data's error is not weighted",
        "weight=objectives.on_data(weights.edm(data_std), meaning),",
        "weight=objectives.on_data(objectives.uniform, meaning),",
    ),
    ("--data-std is dropped", "diffusion.edm(data_std)", "diffusion.edm(1.0)"),
    ("--augment is dropped", "for p in (augment, 0.0))", "for p in (0.12, 0.0))"),
    ("test images are augmented", "for p in (augment, 0.0))", "for p in (augment, augment))"),
    ("the network does not get the label", '{"augment": objectives.Told("augment")}', "{}"),
    ("the network has no place for the label", "inputs += [None, None, None, jnp.zeros((1, data.AUGMENT_LABELS))]", "pass"),
    (
        "augmented before they are scaled",
        "data.chain(transform, data.augment_edm(p))",
        "data.chain(data.augment_edm(p), transform)",
    ),
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

GUIDED: Sequence[Change] = [
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

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("experiments/ddpm.py", "wiring/test_ddpm_facts.py"): DDPM,
    ("experiments/ncsn.py", "wiring/test_ncsn_facts.py"): NCSN,
    ("experiments/edm.py", "wiring/test_edm_facts.py"): EDM,
    ("experiments/analytic_dpm.py", "wiring/test_analytic_dpm_facts.py"): ANALYTIC,
    ("experiments/classifier_guidance.py", "wiring/test_classifier_guidance_facts.py"): GUIDED,
    ("experiments/flow_matching.py", "wiring/test_flow_matching_facts.py"): FLOW,
    ("experiments/improved_ddpm.py", "wiring/test_improved_ddpm_facts.py"): IMPROVED,
    ("experiments/score_sde.py", "wiring/test_score_sde_facts.py"): SDE,
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
