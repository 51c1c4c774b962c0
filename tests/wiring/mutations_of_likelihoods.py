"""Faults of wiring in experiments of likelihoods, classifiers and pairs and in their objectives, such as a person makes.

Each is one change of text, and a test of the files named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

Change = tuple[str, str, str]
"""What is wrong then; a text, and what it becomes."""

VAE: Sequence[Change] = [
    ("the KL does not warm up", "optax.linear_schedule(0.0, beta, rising) if rising else beta", "beta"),
    ("the KL's weight falls", "optax.linear_schedule(0.0, beta, rising)", "optax.linear_schedule(beta, 0.0, rising)"),
    ("the KL's weight rises to 1", "optax.linear_schedule(0.0, beta, rising)", "optax.linear_schedule(0.0, 1.0, rising)"),
    ("binary pixels warm up", "(0 if binary else 1000) if beta_warmup", "1000 if beta_warmup"),
    ("binary pixels are Gaussian", '("bernoulli" if binary else "gaussian-learned")', '"gaussian-learned"'),
    (
        "evaluated pixels are not binarised",
        "batch_size=batch_size, transform=transform, samples",
        "batch_size=batch_size, transform=data.scale(low, high), samples",
    ),
    ("dynamic is static", '"dynamic": data.binarize()', '"dynamic": data.binarize_statically()'),
    ("trained on the test split", "train=data.shuffled(train,", "train=data.shuffled(test,"),
    ("evaluated on the training split", "jaxgen.mean_over(test, measure", "jaxgen.mean_over(train, measure"),
    ("pictures of the training split", "data.examples(test, 32", "data.examples(train, 32"),
    ("samples are in the model's range", "latents, pixels=(low, high))", "latents)"),
    (
        "the logistic sees pixels in [0, 1]",
        "    low, high = head.pixels\n",
        "    low, high = 0.0, 1.0\n",
    ),
    ("nats a dimension", '["nll"] / (math.log(2) * math.prod(image))', '["nll"] / math.prod(image)'),
    ("bits a pixel", "math.log(2) * math.prod(image)", "math.log(2) * math.prod(image[:2])"),
    ("the best by the loss", 'best="test/negative_elbo"', 'best="test/loss"'),
    ("the best by the lowest ELBO", '"negative_elbo": -values["elbo"]', '"negative_elbo": values["elbo"]'),
    ("--samples is dropped", "beta=weight, samples=samples, analytic_kl", "beta=weight, analytic_kl"),
    ("--samples is dropped beside --max-kl", "delta=max_kl, samples=samples", "delta=max_kl"),
    ("--analytic-kl is dropped", "samples=samples, analytic_kl=analytic_kl)", "samples=samples)"),
    ("--nll-samples is dropped", "samples=nll_samples", "samples=50"),
    ("the multiplier starts at its logarithm", "jnp.log(jnp.expm1(1.0))", "jnp.zeros(())"),
    ("--max-kl is swapped with --beta", "delta=max_kl,", "delta=beta,"),
    (
        "no clipping",
        "optimizers.clipped(value_of(OPTIMIZERS, optimizer)(rate), clip)",
        "value_of(OPTIMIZERS, optimizer)(rate)",
    ),
    ("the rate falls too late", "steps=steps, cosine=cosine", "steps=2 * steps, cosine=cosine"),
    ("the rate is shown and not used", "(OPTIMIZERS, optimizer)(rate)", "(OPTIMIZERS, optimizer)(learning_rate)"),
    ("--optimizer is dropped", "value_of(OPTIMIZERS, optimizer)(rate)", "optax.adam(rate)"),
    ("--activation is dropped", '{"hidden": hidden, "activation": value_of(ACTIVATIONS, activation)}', '{"hidden": hidden}'),
    ("--decoder-activation is the encoder's", "value_of(ACTIVATIONS, decoder_activation)", "value_of(ACTIVATIONS, activation)"),
    ("--decoder-hidden is turned round", '["hidden"] = decoder_hidden', '["hidden"] = decoder_hidden[:2]'),
    ("the decoder is not mirrored", "value[::-1] if isinstance", "value if isinstance"),
    ("--ema is dropped", "        ema=ema,\n", ""),
    ("--accumulate is dropped", "        accumulate=accumulate,\n", ""),
]

ELBO: Sequence[Change] = [
    (
        "the sampled KL's sign",
        "(terms.log_posterior - terms.log_prior).mean(0)",
        "(terms.log_prior - terms.log_posterior).mean(0)",
    ),
    ("beta weighs the likelihood", "return weight * kl - likelihood", "return kl - weight * likelihood"),
    ("the ELBO is reported at beta", '"elbo": likelihood - kl,', '"elbo": likelihood - weight * kl,'),
    ("summed over samples", "likelihood = terms.log_likelihood.mean(0)", "likelihood = terms.log_likelihood.sum(0)"),
    ("a mean over latents", "kl = sum_event(q.kl(prior)) if", "kl = q.kl(prior).mean(-1) if"),
    ("the wrong prior", "PRIOR = Normal(0.0, 1.0)", "PRIOR = Normal(0.0, 2.0)"),
    ("the bound without log k", "return total - math.log(samples), vars", "return total - math.log(chunk), vars"),
    ("a mean of logarithms", "jax.nn.logsumexp(terms.log_weights, axis=0)", "(terms.log_weights.mean(0) + math.log(chunk))"),
    ("the weight's prior in the denominator", "+ self.log_prior - self.log_posterior", "- self.log_prior - self.log_posterior"),
    ("the multiplier descends", "return -beta_of(params) * excess", "return beta_of(params) * excess"),
    ("the bound's sign", "return values - beta * delta", "return values + beta * delta"),
    ("the model moves the multiplier", "beta = lax.stop_gradient(beta_of(params))", "beta = beta_of(params)"),
]

VIB: Sequence[Change] = [
    ("--train-samples is --samples", "samples=train_samples", "samples=samples"),
    (
        "a mean of logarithms",
        "classification.error(told.probabilities, label)",
        "classification.error(told.log_probs.mean(0), label)",
    ),
    ("the rate falls each epoch", "round(2 * stream.epoch_steps)", "round(stream.epoch_steps)"),
    ("the rate falls in no steps", "decay, staircase=True", "decay"),
    ("the rate is shown and not used", "optax.adam(rate, b1", "optax.adam(learning_rate, b1"),
    ("pixels in [0, 1]", "transform = data.scale(-1, 1)", "transform = data.scale()"),
    (
        "evaluated pixels in [0, 1]",
        "batch_size=batch_size, transform=transform)",
        "batch_size=batch_size, transform=data.scale())",
    ),
    ("nats for bits", '"rate_bits": told.rate / math.log(2)', '"rate_bits": told.rate * math.log(2)'),
    (
        "the label's entropy in bits less nats",
        "(math.log(classes) - cross_entropy) / math.log(2)",
        "math.log2(classes) - cross_entropy",
    ),
    ("a share for per cent", '"error": 100.0 *', '"error": 1.0 *'),
    ("the best by one sample", 'best="test/error"', 'best="test/error_one_sample"'),
    ("--beta is not in the loss", "beta=beta, samples=train_samples", "beta=1e-3, samples=train_samples"),
    ("measured on the training split", "jaxgen.mean_over(test, measure", "jaxgen.mean_over(train, measure"),
    ("tanh", "mlp.Encoder(hidden, nn.relu", "mlp.Encoder(hidden, nn.tanh"),
    ("the first beta of Adam", "b1=0.5", "b1=0.9"),
]

BOTTLENECK: Sequence[Change] = [
    ("a geometric mean", "jnp.exp(self.log_probs).mean(0)", "jnp.exp(self.log_probs.mean(0))"),
    (
        "the loss of the mean prediction",
        "of_class(self.log_probs.mean(0), label)",
        "of_class(jnp.log(self.probabilities), label)",
    ),
    (
        "a softmax over examples",
        "jax.nn.log_softmax(logits.astype(jnp.float32))",
        "jax.nn.log_softmax(logits.astype(jnp.float32), axis=0)",
    ),
    ("a mean over latents", "Prediction(sum_event(q.kl(prior)),", "Prediction(sum_event(q.kl(prior)) / z.shape[-1],"),
    (
        "the loss without the rate",
        "return cross_entropy + weight * prediction.rate, Aux",
        "return cross_entropy - weight * prediction.rate, Aux",
    ),
]

LENET: Sequence[Change] = [
    ("test images are augmented", "batch_size=500, transform=data.scale())", "batch_size=500, transform=augmented)"),
    ("--smoothing is dropped", "smoothing=smoothing, shown=shown", "shown=shown"),
    ("--dropout is dropped", "channels, hidden, dropout, ", "channels, hidden, 0.0, "),
    (
        "optimizers are swapped",
        '{"adam": optax.adam(rate), "sgd": optax.sgd(rate, momentum=0.9)}',
        '{"sgd": optax.adam(rate), "adam": optax.sgd(rate, momentum=0.9)}',
    ),
    ("no momentum", "optax.sgd(rate, momentum=0.9)", "optax.sgd(rate)"),
    ("the rate is shown and not used", '"adam": optax.adam(rate)', '"adam": optax.adam(peak)'),
    ("--flip is the other way", "data.flip() if flip", "data.flip() if not flip"),
    ("one shift more", "data.pad(shift), data.crop", "data.pad(shift + 1), data.crop"),
    ("one rate for both", '(0.05 if optimizer == "sgd" else 1e-3)', "1e-3"),
    ("measured on the training split", "jaxgen.mean_over(source, ", 'jaxgen.mean_over(splits["train"], '),
]

SUPERVISED: Sequence[Change] = [
    ("smoothed in evaluation", "smoothing=smoothing if train else 0.0", "smoothing=smoothing"),
    ("evaluated as in training", "name=name, train=train)", "name=name, train=True)"),
    ("trained as in evaluation", "name=name, train=train)", "name=name, train=False)"),
]

CLASSIFICATION: Sequence[Change] = [
    ("smoothed by a sum", "smoothing * log_p.mean(-1)", "smoothing * log_p.sum(-1)"),
    (
        "a softmax over examples",
        "jax.nn.log_softmax(logits.astype(jnp.float32))",
        "jax.nn.log_softmax(logits.astype(jnp.float32), axis=0)",
    ),
    ("the least likely class", "scores.argmax(-1)", "scores.argmin(-1)"),
]

AUTOENCODER: Sequence[Change] = [
    ("another width", "likelihoods.GaussianLikelihood(std=1.0)", "likelihoods.GaussianLikelihood(std=0.1)"),
    (
        "likelihoods are swapped",
        '    "bernoulli": likelihoods.BernoulliLikelihood(),\n    "gaussian": likelihoods.GaussianLikelihood(std=1.0),\n',
        '    "gaussian": likelihoods.BernoulliLikelihood(),\n    "bernoulli": likelihoods.GaussianLikelihood(std=1.0),\n',
    ),
    ("measured on the training split", "jaxgen.mean_over(test, ", "jaxgen.mean_over(train, "),
    ("pixels in [-1, 1]", "transform = data.scale(low, high)", "transform = data.scale(-1, 1)"),
    ("the decoder is not mirrored", "value[::-1] if isinstance", "value if isinstance"),
    ("the pyramid is turned round", "PyramidDecoder(out, channels[::-1],", "PyramidDecoder(out, channels,"),
    ("--skip-channels is dropped", 'skip_channels if decoder == "skips" else 0', '1 if decoder == "skips" else 0'),
    ("the pyramid has skips", 'skip_channels if decoder == "skips" else 0', "skip_channels"),
    ("--scale-weight is dropped", "multiscale_reconstruction(model, weight=scale_weight)", "multiscale_reconstruction(model)"),
    ("the code's error has its skips", 'state.vars, z, method="decode")', "state.vars, x)"),
    ("skips are told of the mlp too", 'decoder == "skips" and not from_classification', "False"),
    ("codes are classified by the test images", "units.of_both(train, test,", "units.of_both(test, test,"),
    ("right answers are the error", "= 1.0 - probe", "= probe"),
    ("no classes are needed", 'bool(train.classes.get("label")) and', "True or"),
    ("VGG without norms", "batch_norm=True, dtype", "batch_norm=False, dtype"),
    ("VGG of three convolutions a stage", "CONVOLUTIONS = (2, 2, 3, 3, 3)", "CONVOLUTIONS = (3, 3, 3, 3, 3)"),
    ("ResNet of one block a stage", "(2,) * len(channels), dtype", "(1,) * len(channels), dtype"),
    ("images are shown in the model's range", "(one.mean - low) / (high - low)", "(one.mean - 1) / (high - low)"),
]

RECONSTRUCTION: Sequence[Change] = [
    ("a mean over pixels", "return -sum_event(p.log_prob(x)), Aux", "return -sum_event(p.log_prob(x)) / x[0].size, Aux"),
    ("the squared error's mean", "sum_event((x - p.mean) ** 2)", "sum_event((x - p.mean) ** 2) / x[0].size"),
]

CLIP: Sequence[Change] = [
    ("not transposed", "retrieval.recall(cosine.T,", "retrieval.recall(cosine,"),
    ("recall at 1 for all", 'recall(cosine, right["text"], k)', 'recall(cosine, right["text"], 1)'),
    ("evaluated pixels in [0, 1]", 'x = scale(batch, state.key)["image"]', 'x = data.scale()(batch, state.key)["image"]'),
    ("no bound on the scale", "optax.chain(adam, objectives.clip_scale(100.0))", "adam"),
    ("a bound of 10", "objectives.clip_scale(100.0)", "objectives.clip_scale(10.0)"),
    ("all weights decay", "weight_decay=weight_decay, mask=decayed", "weight_decay=weight_decay"),
    (
        "Adam's numbers are swapped",
        '{"resnet": (0.999, 1e-8), "vit": (0.98, 1e-6)}',
        '{"vit": (0.999, 1e-8), "resnet": (0.98, 1e-6)}',
    ),
    ("no warm-up", "warmup=warmup, cosine", "cosine"),
    ("the rate is shown and not used", "optax.adamw(rate,", "optax.adamw(learning_rate,"),
    ("--temperature is dropped", "vision[encoder](), text, temperature)", "vision[encoder](), text)"),
    ("other classes' prompts", "start += count * each", "start += count"),
    ("images are encoded as in training", 'x, method="encode_image")', 'x, method="encode_image", train=True)'),
    ("texts are encoded as in training", 'tokens, method="encode_text")', 'tokens, method="encode_text", train=True)'),
    (
        "a tokenizer of the test captions",
        'data.texts(data.load(dataset, "train"))',
        'data.texts(data.load(dataset, "test"))',
    ),
    ("--pairs is dropped", '"test" if pairs is None else f"test[:{pairs}]"', '"test"'),
    ("cosines of vectors that are not normalised", "cosine = normalize(image) @ normalize(text).T", "cosine = image @ text.T"),
    ("trained on pixels in [0, 1]", "scale = data.scale(-1, 1)", "scale = data.scale()"),
    ("always mirrored", "data.flip() if flip", "data.flip() if True"),
    ("a black border", 'data.pad(crop, mode="edge")', "data.pad(crop)"),
    ("the farthest images are shown", "jnp.argsort(-cosine, axis=0)", "jnp.argsort(cosine, axis=0)"),
    ("the standard error of n and not n - 1", "values.std(ddof=1)", "values.std()"),
]

CONTRASTIVE: Sequence[Change] = [
    ("one way alone", "(cross_entropy(to_text) + cross_entropy(to_image)) / 2", "cross_entropy(to_text)"),
    ("not transposed", "scale * (text @ collectives.gather(image).T)", "scale * (image @ collectives.gather(text).T)"),
    ("not normalised", "image, text = normalize(image), normalize(text)", "image, text = image + 0, text + 0"),
    ("divided by the scale", "to_text = scale *", "to_text = (1 / scale) *"),
    ("a softmax over the wrong axis", "jax.nn.logsumexp(logits, axis=-1)", "jax.nn.logsumexp(logits, axis=0)"),
    ("padding is a negative", "return jnp.where(allowed, to_text, -np.inf)", "return to_text + 0 * allowed"),
]

PAIRS: Sequence[Change] = [
    ("the ways are swapped", '"image_to_text": _nearest(to_text, partner)', '"image_to_text": _nearest(to_image, partner)'),
    ("training without batch statistics", 'method="encode_image", train=train)', 'method="encode_image", train=False)'),
    ("the scale's logarithm is not bounded", "bound = math.log(maximum)", "bound = maximum"),
    ("padding is not masked", 'mask = batch.get("mask")', "mask = None"),
]

ZERO_SHOT: Sequence[Change] = [
    ("prompts are not normalised first", "normalize(normalize(prompts).mean(1))", "normalize(prompts.mean(1))"),
    (
        "an accuracy for the balanced one",
        "(total / jnp.maximum(count, 1.0)).sum() / jnp.maximum((count > 0).astype(jnp.float32).sum(), 1.0)",
        "total.sum() / count.sum()",
    ),
]

ACTIVE: Sequence[Change] = [
    ("a deviation for a variance", "variance = z.var(0)", "variance = z.std(0)"),
    ("all latents are shown", "min(max(count, 1), 12)", "12"),
    ("the smallest KL first", "np.sort(np.asarray(kl))[::-1]", "np.sort(np.asarray(kl))"),
    ("every latent counts as active", "int((kl > above).sum())", "int((kl > 0).sum())"),
]

LATENT_MODEL: Sequence[Change] = [
    ("a narrower law of z", "self.decode(state, self.law(", "self.decode(state, 0.7 * self.law("),
    ("samples of one key", "self.law(key, len(", "self.law(jax.random.key(0), len("),
    (
        "images are in the model's range",
        "jnp.clip((x - low) / (high - low), 0.0, 1.0)  # a Gaussian",
        "jnp.clip(x, 0.0, 1.0)  # a Gaussian",
    ),
    (
        "images leave [0, 1]",
        "jnp.clip((x - low) / (high - low), 0.0, 1.0)  # a Gaussian",
        "(x - low) / (high - low)  # a Gaussian",
    ),
    ("generated images are in the model's range", "jnp.clip((x - low) / (high - low), 0.0, 1.0)  # not all", "x  # not all"),
    ("generated by batch statistics", "z, name=name, told=told(state))[0]", "z, name=name, train=True)[0]"),
    ("generated by other parameters", "apply(generator, params(state)", "apply(generator, state.params"),
    ("codes that are drawn", "z.mean if mean else z", "z.mean + z.std if mean else z"),
    ("traversals without a scale", 'if name != "traversals"', "if name"),
    ("the KL of the prior from the posterior", "return q.kl(Normal())", "return Normal().kl(q)"),
    ("KLs of what has no closed form", "kl=kl if normal else None", "kl=kl"),
    ("the KL of the first image alone", "self.kl(state, x).mean(0)", "self.kl(state, x)[0]"),
]

RATES: Sequence[Change] = [
    ("clipped after the optimizer", "chain(optax.clip_by_global_norm(norm), tx)", "chain(tx, optax.clip_by_global_norm(norm))"),
    ("clipped element by element", "optax.clip_by_global_norm(norm)", "optax.clip(norm)"),
    ("the warm-up falls", "optax.linear_schedule(0.0, peak, warmup)", "optax.linear_schedule(peak, 0.0, warmup)"),
    ("the rate falls over all steps", "max(steps - warmup, 1)", "max(steps, 1)"),
    ("no cosine", "        if cosine\n", "        if not cosine\n"),
    ("no warm-up", "[warmup]) if warmup else", "[warmup]) if not warmup else"),
]

NLL: Sequence[Change] = [
    ("the bound for its negative", '{"nll": -bound}', '{"nll": bound}'),
    ("a chunk for all samples", "own, samples=samples, chunk=at_once", "own, samples=at_once"),
    ("a chunk that does not divide", "math.gcd(samples, chunk)", "min(samples, chunk)"),
    ("one key for all images", "own, at_once = keys.per_example(key, batch)", "own, at_once = key"),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("experiments/vae.py", "wiring/test_vae_facts.py"): VAE,
    ("jaxgen/analysis/latent_model.py", "analysis/test_latent_model.py"): LATENT_MODEL,
    ("jaxgen/optimizers.py", "test_learning_rates.py"): RATES,
    ("jaxgen/objectives/elbo.py", "objectives"): ELBO,
    ("jaxgen/objectives/elbo.py", "objectives/test_importance_weighted.py"): NLL,
    ("experiments/vib.py", "wiring/test_vib_facts.py"): VIB,
    ("jaxgen/objectives/bottleneck.py", "objectives/test_bottleneck_objective.py"): BOTTLENECK,
    ("experiments/lenet.py", "wiring/test_lenet_facts.py"): LENET,
    ("jaxgen/objectives/supervised.py", "objectives/test_supervised.py"): SUPERVISED,
    ("jaxgen/losses/classification.py", "losses/test_classification.py"): CLASSIFICATION,
    ("experiments/autoencoder.py", "wiring/test_autoencoder_facts.py"): AUTOENCODER,
    ("jaxgen/objectives/reconstruction.py", "objectives/test_reconstruction.py"): RECONSTRUCTION,
    ("experiments/clip.py", "wiring/test_clip_facts.py"): CLIP,
    ("jaxgen/losses/contrastive.py", "losses/test_contrastive.py"): CONTRASTIVE,
    ("jaxgen/objectives/contrastive.py", "objectives/test_contrastive_objective.py"): PAIRS,
    ("jaxgen/metrics/zero_shot.py", "wiring/test_clip_facts.py"): ZERO_SHOT,
    ("jaxgen/analysis/latent_space.py", "analysis/test_latent_space.py"): ACTIVE,
}
"""By the file that is changed, and the file or folder in `tests` of which a test must fail."""
