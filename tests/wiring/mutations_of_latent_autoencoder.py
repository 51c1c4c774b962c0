"""Faults of wiring in the first stage of latent diffusion and in the code under it, such as a person makes.

Each is one change of text, and a test of the files named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

from wiring.mutations_of_likelihoods import Change

EXPERIMENT: Sequence[Change] = [
    ("pixels in [0, 1]", "LOW, HIGH = PIXELS = (-1.0, 1.0)", "LOW, HIGH = PIXELS = (0.0, 1.0)"),
    ("another weight of the divergence", "kl: NonNegative = 1e-6", "kl: NonNegative = 1e-4"),
    ("--kl is dropped", '("kl", kl), 0.5', '("kl", 1e-6), 0.5'),
    ("means in kl", '("kl", kl), 0.5, objectives.summed_difference', '("kl", kl), 0.5, objectives.mean_difference'),
    ("sums in vq", "1.0), 0.75, objectives.mean_difference", "1.0), 0.75, objectives.summed_difference"),
    ("a quarter of the codebook's loss", '("quantisation", 1.0)', '("quantisation", 0.25)'),
    ("--commitment is dropped", "codes, commitment=commitment, **shared", "codes, **shared"),
    ("the weight of vq in kl", '("kl", kl), 0.5', '("kl", kl), 0.75'),
    ("--gan is dropped", "weight = own_gan if gan is None else gan", "weight = own_gan"),
    ("--start is dropped in the loss", "        start=start,\n", ""),
    ("a discriminator that begins at once", "when=lambda state, _: state.step >= start, ", ""),
    ("a discriminator that begins a step late", "state.step >= start, ema", "state.step > start, ema"),
    ("--loss is dropped", "value_of(LOSSES, loss)", "adversarial.hinge"),
    ("momentum of 0.9", "b1=0.5, b2=0.9)", "b2=0.9)"),
    ("a long memory of squares", "b1=0.5, b2=0.9)", "b1=0.5)"),
    ("averages of the discriminator", "state.step >= start, ema=())", "state.step >= start)"),
    ("the turns are exchanged", '("autoencoder", "discriminator") if weight', '("discriminator", "autoencoder") if weight'),
    ("always a discriminator", ' if weight else ("autoencoder",)', ""),
    (
        "a role of the images' shape",
        "FirstStage((height // factor, across // factor, latents)",
        "FirstStage((height, across, latents)",
    ),
    ("a role of other pixels", "latents), PIXELS)", "latents), (0.0, 1.0))"),
    ("no role", "jnp.zeros((1, *image)), role=role)", "jnp.zeros((1, *image)))"),
    ("one halving more", "factor = 2 ** (len(channels) - 1)", "factor = 2 ** len(channels)"),
    ("decibels of a range of one", "(HIGH - LOW) ** 2 / jnp.maximum", "1 / jnp.maximum"),
    ("decibels of the root", "psnr = 10 *", "psnr = 20 *"),
    ("the spread of means", ', batch["image"], keys.per_example(key, batch))', ', batch["image"])'),
    ("a root mean square", "np.sqrt(square - mean**2)", "np.sqrt(square)"),
    ("pictures of what is not quantised", 'call("from_latents", state, z)', 'call("decode", state, z)'),
    ("pictures in [-1, 1]", '(call("from_latents", state, z) - LOW) / (HIGH - LOW)', 'call("from_latents", state, z)'),
    ("--blocks is dropped", '"blocks": blocks, ', ""),
    ("--attention-levels is dropped", '"attention_levels": attention_levels, ', ""),
    ("--bf16 is dropped", 'attention_levels, "dtype": dtype}', "attention_levels}"),
    ("--ema is dropped", "        ema=ema,\n", ""),
    ("LPIPS once in kl", "        perceptual *= math.prod(image)\n", ""),
    ("--perceptual is dropped", "(vectors, perceptual)", "(vectors, 1.0)"),
    ("--lpips is dropped from the loss", "None if lpips is None else (vectors", "None if True else (vectors"),
    ("LPIPS is no figure", '*["lpips"] * (lpips is not None)', ""),
    ("LPIPS of drawn weights", "initialize(networks, held)", "initialize(networks)"),
    ("--accumulate is dropped", "        accumulate=accumulate,\n", ""),
]

OBJECTIVE: Sequence[Change] = [
    ("no small number", "+ 1e-4)", "+ 0.0)"),
    ("the ratio is turned round", "adaptive_weight(*gradients)", "adaptive_weight(*gradients[::-1])"),
    ("the weight has a gradient", "lax.stop_gradient(jnp.clip(ratio, 0.0, MOST))", "jnp.clip(ratio, 0.0, MOST)"),
    ("the weight has no bound", "jnp.clip(ratio, 0.0, MOST)", "ratio"),
    ("the whole loss of the discriminator", "loss.discriminator(on_real, on_fake) / 2", "loss.discriminator(on_real, on_fake)"),
    ("real and fake are exchanged", "loss.discriminator(on_real, on_fake) / 2", "loss.discriminator(on_fake, on_real) / 2"),
    ("the padding counts", "mask / jnp.maximum(collectives.total(mask.sum()), 1.0)", "jnp.ones(like.shape) / len(like)"),
    ("the weight of a replica", "collectives.total(back(own(share)[0])[0])", "back(own(share)[0])[0]"),
    ("the cost has no weight", "values, toward = off + beta * costs,", "values, toward = off + costs,"),
    ("draws in an evaluation", "drawn = keys.fold_in(key, 0) if train else None", "drawn = keys.fold_in(key, 0)"),
    ("means in training", "drawn = keys.fold_in(key, 0) if train else None", "drawn = None"),
    ("begins a step late", "state.step >= start, metrics", "state.step > start, metrics"),
    ("the network has no weight", "values + of_vectors * metrics", "values + metrics"),
    ("the adaptive weight does not see the network", "for own in (toward,", "for own in (back_of_difference,"),
    ("the network's distance is not squared", "jnp.square(see(x)[0] - see(y)[0])", "jnp.abs(see(x)[0] - see(y)[0])"),
    ("squares", "return jnp.abs(x - y).sum(", "return jnp.square(x - y).sum("),
    (
        "the first turn keeps the discriminator's statistics",
        "Aux(updates_of(vars, made), metrics)",
        "Aux(updates_of(vars, judged), metrics)",
    ),
]

AUTOENCODERS: Sequence[Change] = [
    ("other limits", "LOG_VARIANCES = (-30.0, 20.0)", "LOG_VARIANCES = (-20.0, 20.0)"),
    ("variances for deviations", "jnp.exp(0.5 * jnp.clip", "jnp.exp(jnp.clip"),
    ("log-variances come first", "mean, log_variance = jnp.split", "log_variance, mean = jnp.split"),
    ("always means", "jnp.asarray(q.mean) if key is None else q.sample(key)", "jnp.asarray(q.mean)"),
    ("the divergence is a mean", "sum_event(q.kl(Normal()))", "sum_event(q.kl(Normal())) / q.mean[0].size"),
    ("latents are not quantised", "self.decode(self.quantiser(z).vectors, train=train)", "self.decode(z, train=train)"),
    (
        "latents are quantised",
        "        return self.before(self.encoder(x)).astype(jnp.float32)",
        "        return self.quantiser(self.before(self.encoder(x)).astype(jnp.float32)).vectors",
    ),
]

NETWORKS: Sequence[Change] = [
    ("zeros before the first", "padding=((0, 1), (0, 1))", "padding=((1, 0), (1, 0))"),
    ("a block too few in the decoder", "range(self.blocks + 1)", "range(self.blocks)"),
    ("no attention in the middle", "h = _block(half, h, h.shape[-1], attend=True)", "h = _block(half, h, h.shape[-1])"),
    ("--groups is dropped", "functools.partial(GroupNorm, half.groups)", "functools.partial(GroupNorm, 1)"),
    ("no activation at the end", "jax.nn.swish(_norm(half)(dtype=half.dtype)(h))", "_norm(half)(dtype=half.dtype)(h)"),
]

MAPS: Sequence[Change] = [
    ("one deviation", "EXTENT = 2.0", "EXTENT = 1.0"),
    ("one unit for all channels", "z.mean((0, 1, 2)), z.std((0, 1, 2))", "z.mean(), z.std()"),
    ("the pictures of another range", "encode, decode, x, pixels=pixels)", "encode, decode, x)"),
    ("images of other pixels", "(x - low) / (high - low), min(16", "x, min(16"),
]

LPIPS: Sequence[Change] = [
    ("images in [0, 1]", "maps(imagenet_colours(x))", "maps(imagenet_colours(2 * x - 1))"),
    ("sums over places", "weight / (found.shape[1] * found.shape[2])", "weight"),
    ("weights that are squared", "jnp.sqrt(weight / (", "(weight / ("),
    ("vectors of any length", "found / (jnp.sqrt(jnp.where(length > 0, length, 1.0)) + 1e-10)", "found"),
    ("one weight for all layers", 'f"lin{i}.model.1.weight") not', '"lin0.model.1.weight") not'),
    ("smaller images", "least = 1 << len(self.stages)", "least = 1"),
]

CONVOLUTIONS: Sequence[Change] = [
    ("kernels are not turned", ".transpose(2, 3, 1, 0)", ".transpose(2, 3, 0, 1)"),
    ("the order of the text", "sorted(n for", "list(n for"),
    ("no names of lpips", r"(?:features\.|net\.slice\d+\.)?", r"(?:features\.)?"),
    ("no names of torchvision", r"(?:features\.|net", r"(?:net"),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("experiments/latent_autoencoder.py", "wiring/test_latent_autoencoder_facts.py"): EXPERIMENT,
    ("jaxgen/objectives/latent_autoencoder.py", "objectives/test_latent_autoencoder_objective.py"): OBJECTIVE,
    ("jaxgen/models/first_stage/autoencoders.py", "models/test_first_stage_models.py"): AUTOENCODERS,
    ("jaxgen/models/first_stage/networks.py", "models/test_first_stage_models.py"): NETWORKS,
    ("jaxgen/models/cnn/lpips.py", "models/test_lpips.py"): LPIPS,
    ("jaxgen/models/cnn/vgg_weights.py", "models/test_lpips.py"): CONVOLUTIONS,
    ("jaxgen/analysis/latent_maps.py", "analysis/test_latent_maps.py"): MAPS,
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
