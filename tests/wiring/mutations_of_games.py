"""Faults of wiring in the adversarial experiments and in their objective, losses and penalties, such as a person makes.

Each is one change of text, and a test of the files named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

from wiring.mutations_of_likelihoods import Change

DCGAN: Sequence[Change] = [
    ("pixels in [0, 1]", "transform = data.scale(-1, 1)", "transform = data.scale()"),
    ("samples of another range", "of_generator(generator, latents)", "of_generator(generator, latents, pixels=(0.0, 1.0))"),
    ("trained on the test split", "train=data.shuffled(train,", "train=data.shuffled(test,"),
    ("measured on the training split", "jaxgen.mean_over(test, losses", "jaxgen.mean_over(train, losses"),
    ("the losses are swapped", "d_loss, g_loss = objectives", "g_loss, d_loss = objectives"),
    ("no augmentation", "penalty=penalty, augment=adaptive or fixed", "penalty=penalty"),
    ("only the first augmentation", "for name in augment)) if augment", "for name in augment[:1])) if augment"),
    (
        "the generator moves first",
        '{"discriminator": jaxgen.Player(d_loss, tx, merge=rules), "generator": jaxgen.Player(g_loss, tx)}',
        '{"generator": jaxgen.Player(g_loss, tx), "discriminator": jaxgen.Player(d_loss, tx, merge=rules)}',
    ),
    ("two moves of the discriminator", "jaxgen.Player(g_loss, tx)", "jaxgen.Player(g_loss, tx, every=2)"),
    ("--ada-images is dropped", "ada_target, images=ada_images)", "ada_target)"),
    ("--ada-target is dropped", "augmentation_pipe.bgc, ada_target,", "augmentation_pipe.bgc, 0.6,"),
    ("replicas' sums are averaged", "merging.same}", "merging.mean}"),
    (
        "--loss is dropped",
        "discriminator, value_of(LOSSES, loss), latents",
        "discriminator, adversarial.non_saturating, latents",
    ),
    ("losses are mixed up", '"minimax": adversarial.minimax', '"minimax": adversarial.non_saturating'),
    ("the rate is fixed", "optax.adam(learning_rate, b1=0.5)", "optax.adam(2e-4, b1=0.5)"),
    ("the machine is tested on what it learnt from", "units.of_both(train, test, of", "units.of_both(train, train, of"),
    ("the machine sees the pixels alone", '("svm_error", features)', '("svm_error", pixels)'),
    ("errors are shares", "(100 * error.error, None", "(error.error, None"),
    ("all labels are seen", "labels=svm_labels", "labels=len(classes)"),
    ("one draw", "draws=svm_draws", "draws=1"),
    ("the generator is not mirrored", "dcgan.Generator(image, channels[::-1]", "dcgan.Generator(image, channels"),
    ("norms are swapped", 'normalised=norm == "batch", spectral=norm == "spectral"', 'normalised=norm != "batch"'),
    ("R1 in every step", "lazily(r1(gamma), gamma_every)", "r1(gamma)"),
    ("R1 with twice its weight", "r1(gamma)", "r1(2 * gamma)"),
    ("R1 at the samples", "from jaxgen.losses.penalty import lazily, r1", "from jaxgen.losses.penalty import lazily, r2 as r1"),
    ("--accumulate is dropped", "        accumulate=accumulate,\n", ""),
    ("--ema is dropped", "        ema=ema,\n", ""),
    ("the discriminator in full precision", 'spectral=norm == "spectral", dtype=dtype)', 'spectral=norm == "spectral")'),
]

WGAN: Sequence[Change] = [
    ("pixels in [0, 1]", "transform = data.scale(-1, 1)", "transform = data.scale()"),
    ("measured on the training split", "jaxgen.mean_over(test, losses", "jaxgen.mean_over(train, losses"),
    ("the generator moves in every step", "jaxgen.Player(g_loss, tx, every=critic_steps)", "jaxgen.Player(g_loss, tx)"),
    ("the critic waits", "jaxgen.Player(d_loss, critic_tx)", "jaxgen.Player(d_loss, critic_tx, every=critic_steps)"),
    ("the generator is clipped", "jaxgen.Player(g_loss, tx,", "jaxgen.Player(g_loss, critic_tx,"),
    ("nothing is clipped", "critic_tx = optax.chain(tx, clip_weights(limit))", "critic_tx = tx"),
    ("clipped before the move", "optax.chain(tx, clip_weights(limit))", "optax.chain(clip_weights(limit), tx)"),
    ("clipped and penalised", 'value_of({"gp": gradient_penalty(weight), "clip": None}, penalty)', "gradient_penalty(weight)"),
    ("--weight is dropped", "gradient_penalty(weight)", "gradient_penalty()"),
    ("--limit is dropped", "clip_weights(limit)", "clip_weights(0.01)"),
    ("the norms are swapped", 'normalised=penalty == "clip"', 'normalised=penalty == "gp"'),
    ("one rate for both", "learning_rate or 5e-5", "learning_rate or 1e-4"),
    ("another game", "adversarial.wasserstein,", "adversarial.hinge,"),
    ("samples of another range", "of_generator(generator, latents)", "of_generator(generator, latents, pixels=(0.0, 1.0))"),
    ("no averages by default", "ema: Share | None = 0.99", "ema: Share | None = None"),
]

OPTIMIZERS_OF_WGAN: Sequence[Change] = [
    ("Adam with momentum", "b1=0.0, b2=0.9)", "b1=0.9, b2=0.9)"),
    ("Adam's slow second moment", "b1=0.0, b2=0.9)", "b1=0.0)"),
    ("epsilon inside of the root", ", eps_in_sqrt=False)", ")"),
    ("the wrong decay", "decay=0.99, eps_in_sqrt", "decay=0.9, eps_in_sqrt"),
]

OPTIMIZERS_OF_DCGAN: Sequence[Change] = [
    ("the first beta of Adam", "optax.adam(learning_rate, b1=0.5)", "optax.adam(learning_rate)"),
    ("weights decay", "optax.adam(learning_rate, b1=0.5)", "optax.adamw(learning_rate, b1=0.5, weight_decay=1e-2)"),
]

CONDITIONAL_GAN: Sequence[Change] = [
    ("nobody is told the label", ', condition="label"\n', "\n"),
    ("samples of class 0", 'given["label"])\n', '0 * given["label"])\n'),
    ("samples are one class off", 'given["label"])\n', '(given["label"] + 1) % classes)\n'),
    ("classes in blocks", 'given["label"])\n', 'jnp.sort(given["label"]))\n'),
    ("the columns' labels", "jnp.repeat(jnp.arange(8) % classes, 16)", "jnp.tile(jnp.arange(8) % classes, 16)"),
    ("a class more", "    classes = len(names)\n", "    classes = 11\n"),
    ("a sigmoid", "output=jnp.tanh, dtype", "dtype"),
    ("pixels in [0, 1]", "transform = data.scale(-1, 1)", "transform = data.scale()"),
    ("dropout of pixels", "dropout=(0.0, 0.3)", "dropout=(0.3, 0.3)"),
    ("the paper's dropout", "dropout=(0.0, 0.3)", "dropout=(0.0, 0.5)"),
    ("the generator's widths", "tuple(-(-width // 2) for width in hidden)", "hidden"),
    ("planes for dense networks", 'planes=network == "conv")', "planes=True)"),
    ("the minimax game", "adversarial.non_saturating, latents=latents", "adversarial.minimax, latents=latents"),
    ("measured on the training split", "jaxgen.mean_over(test, losses", "jaxgen.mean_over(train, losses"),
    ("the loop is not told of the classes", "        given=conditions,\n", ""),
    ("the rate is fixed", "optax.adam(learning_rate, b1=0.5)", "optax.adam(2e-4, b1=0.5)"),
    (
        "narrower codes in samples",
        'jax.random.normal(key, (len(given["label"]), latents))',
        '0.7 * jax.random.normal(key, (len(given["label"]), latents))',
    ),
]

MODES: Sequence[Change] = [
    ("fewer samples", "DRAWN = 2500", "DRAWN = 1000"),
    ("mixtures are swapped", '"gaussian_ring": mixtures.RING', '"gaussian_ring": mixtures.GRID'),
    ("a variance for a deviation", "centres, mixture.std)", "centres, mixture.std**2)"),
    ("a Student error", "of_share(share, DRAWN)", "of_share(share, DRAWN // 2)"),
    ("the best by the modes", 'best="test/reverse_kl"', 'best="test/modes"'),
    ("the GAN is averaged", "tx)._replace(ema=None)", "tx)"),
    ("faster averages", "ema: float | None = 0.999", "ema: float | None = 0.99"),
    ("the paper's weight", "gradient_penalty(1.0)", "gradient_penalty()"),
    ("one step of the critic", "gradient_penalty(1.0), every=5)", "gradient_penalty(1.0))"),
    ("the critic waits", "jaxgen.Player(d_loss, tx), ", "jaxgen.Player(d_loss, tx, every=every), "),
    ("the GAN saturates", "game(adversarial.non_saturating,", "game(adversarial.minimax,"),
    ("leaky rectifiers", "mlp.Discriminator(hidden, activation=nn.relu)", "mlp.Discriminator(hidden)"),
    ("points in [0, 1]", "output=lambda x: x)\n    discriminator", "output=nn.sigmoid)\n    discriminator"),
    ("no regularisation to speak of", "EPSILON = 0.05", "EPSILON = 0.5"),
    ("two iterations", "iterations=50", "iterations=2"),
    (
        "uniform codes",
        'z = jax.random.normal(key, (len(given["index"]), latents))',
        'z = jax.random.uniform(key, (len(given["index"]), latents), minval=-1)',
    ),
    (
        "the critic's rate does not fall",
        "optax.cosine_decay_schedule(learning_rate or 3e-3, decay_steps)",
        "learning_rate or 3e-3",
    ),
    (
        "the rate falls over fixed steps",
        "optax.cosine_decay_schedule(learning_rate or 1e-3, decay_steps)",
        "optax.cosine_decay_schedule(learning_rate or 1e-3, 20_000)",
    ),
    (
        "the first beta of the GAN's Adam",
        "optax.adam(learning_rate or 1e-3, b1=0.5)\n    return",
        "optax.adam(learning_rate or 1e-3)\n    return",
    ),
    ("more diffusion steps", "diffusion.cosine(100)", "diffusion.cosine(200)"),
    ("another schedule", "diffusion.cosine(100)", "diffusion.linear(100)"),
    ("the large variance", "samplers.ancestral(schedule)", "samplers.ancestral(schedule, variance=diffusion.large_variance)"),
    ("sampling starts at the first level", "schedule.level(schedule.steps))", "schedule.level(1))"),
    ("training points are shown", "shown = data.examples(test, ", "shown = data.examples(train, "),
    ("trained on the test split", "train=data.shuffled(train,", "train=data.shuffled(test,"),
    ("few numbers for VEEGAN", "LATENTS = 254", "LATENTS = 2"),
    ("VEEGAN without noise for F", "    noise = 1\n", "    noise = 0\n"),
    (
        "two layers for VEEGAN's discriminator",
        "mlp.Discriminator(hidden[:1], activation",
        "mlp.Discriminator(hidden, activation",
    ),
    ("LeCun's weights in VEEGAN", "nn.initializers.xavier_uniform()", "nn.initializers.lecun_normal()"),
    ("F does not move", 'owns={"generator": ("generator", "reconstructor")}', "owns={}"),
    ("VEEGAN is averaged", "sampler_of(generator, LATENTS), ema=None)", "sampler_of(generator, LATENTS))"),
    (
        "one momentum for VEEGAN as for all",
        "    tx = optax.adam(learning_rate or 1e-3, b1=0.5)\n    losses",
        "    tx = optax.adam(learning_rate or 1e-3)\n    losses",
    ),
]

AUGMENTATIONS: Sequence[Change] = [
    ("brightness of a half", "_uniform(key, x, -0.5, 0.5)", "_uniform(key, x, 0.0, 0.5)"),
    ("saturation about the image's mean", "mean = x.mean(-1, keepdims=True)", "mean = x.mean((1, 2, 3), keepdims=True)"),
    ("contrast about zero", "_uniform(key, x, 0.5, 1.5) + mean", "_uniform(key, x, 0.5, 1.5)"),
    ("contrast of twice the range", "_uniform(key, x, 0.5, 1.5)", "_uniform(key, x, 0.0, 2.0)"),
    (
        "what leaves comes in again",
        "jnp.pad(image, [(1, 1), (1, 1), (0, 0)])",
        'jnp.pad(image, [(1, 1), (1, 1), (0, 0)], mode="wrap")',
    ),
    ("one shift less", "maxval=most + 1", "maxval=most"),
    ("one shift for both axes", "_shift(keys.fold_in(key, axis), x", "_shift(keys.fold_in(key, 0), x"),
    ("a cross instead of a rectangle", "inside = inside & ", "inside = inside | "),
    ("a rectangle too wide", "for by in (0, size - 1))", "for by in (0, size))"),
    ("one shift for a batch", "maxval=most + 1), key, (len(x),))", "maxval=most + 1), key[0], (1,)).repeat(len(x))"),
    ("one draw for several augmentations", "one(keys.fold_in(key, i), x)", "one(key, x)"),
]

ADVERSARIAL: Sequence[Change] = [
    ("evaluated with an augmentation", "keys.fold_in(key, 0), x) if train else x", "keys.fold_in(key, 0), x)"),
    (
        "the probability of the step before",
        'augment.moved(state.vars[AUGMENTATION], state.step)["p"]',
        'state.vars[AUGMENTATION]["p"]',
    ),
    ("signs of the samples", "augment.noted(now, real_logits,", "augment.noted(now, fake_logits,"),
    ("padding counts", 'augment.noted(now, real_logits, batch.get("mask"))', "augment.noted(now, real_logits)"),
    ("one code for a batch", "jax.vmap(lambda own: law(own, 1)[0])(draw)", "law(draw[0], len(draw))"),
    ("codes in [0, 1]", "minval=-limit, maxval=limit", "maxval=limit"),
    (
        "a turn keeps both players' statistics",
        "        kept = updates_of(vars, judged)\n",
        "        kept = {**state.vars, **vars}\n",
    ),
    ("the condition of samples is forgotten", "return () if condition is None else", "return () if condition is not None else"),
    (
        "real is fake",
        "values = loss.discriminator(real_logits, fake_logits)",
        "values = loss.discriminator(fake_logits, real_logits)",
    ),
    (
        "samples are judged with older statistics",
        "fake_logits, vars = judge(params, state, vars,",
        "fake_logits, vars = judge(params, state, state.vars,",
    ),
    ("the penalty is not added", "values, metrics = values + extra,", "values, metrics = values,"),
    ("a step in evaluation", "between, state.step if train else None)", "between, state.step)"),
    (
        "the wrong statistics are kept",
        "return loss.generator(logits), Aux(updates_of(vars, made))",
        "return loss.generator(logits), Aux()",
    ),
    (
        "evaluated as in training",
        "key=key, name=judged, train=train, told=more)",
        "key=key, name=judged, train=True, told=more)",
    ),
    ("a penalty between other samples", "penalty(critic, x, fake.astype(x.dtype),", "penalty(critic, x, x,"),
]

LOSSES: Sequence[Change] = [
    ("swapped signs", "jax.nn.softplus(-real) + jax.nn.softplus(fake)", "jax.nn.softplus(real) + jax.nn.softplus(-fake)"),
    (
        "the mean of the halves",
        "jax.nn.softplus(-real) + jax.nn.softplus(fake)",
        "(jax.nn.softplus(-real) + jax.nn.softplus(fake)) / 2",
    ),
    (
        "the saturating generator",
        "lambda fake: jax.nn.softplus(-fake), probabilities",
        "lambda fake: -jax.nn.softplus(fake), probabilities",
    ),
    ("a critic with the wrong sign", "lambda real, fake: fake - real,", "lambda real, fake: real - fake,"),
    ("a distance with the wrong sign", '"wasserstein": real - fake', '"wasserstein": fake - real'),
    ("a margin of zero", "jax.nn.relu(1.0 - real) + jax.nn.relu(1.0 + fake)", "jax.nn.relu(-real) + jax.nn.relu(fake)"),
    ("logits for probabilities", 'jax.nn.sigmoid(real), "fake', 'real, "fake'),
]

PENALTIES: Sequence[Change] = [
    (
        "one-sided",
        "(norm / target - 1) ** 2",
        "jnp.maximum(norm / target - 1, 0) ** 2",
    ),
    ("about zero", "(norm / target - 1) ** 2", "squared"),
    ("at the data", "u * real + (1 - u) * fake", "real + 0 * u * fake"),
    ("a number for each pixel", "key, (real.shape[0], *[1] * (real.ndim - 1))", "key, real.shape"),
    ("no floor under the root", "jnp.maximum(squared, 1e-12)", "squared"),
    (
        "R1 without its half",
        "key, step: gamma / 2 * squared_gradient(critic, real)",
        "key, step: gamma * squared_gradient(critic, real)",
    ),
    (
        "R2 at the data",
        "key, step: gamma / 2 * squared_gradient(critic, fake)",
        "key, step: gamma / 2 * squared_gradient(critic, real)",
    ),
    ("lazy and weaker", "lambda: every * penalty(", "lambda: penalty("),
    ("lazy in the last of n steps", "step % every == 0", "step % every == every - 1"),
    (
        "the root of the gradient",
        "return sum_event(jax.grad(lambda x: critic(x).sum())(x) ** 2)",
        "return jnp.sqrt(sum_event(jax.grad(lambda x: critic(x).sum())(x) ** 2))",
    ),
    ("clipped above alone", "jnp.clip(p, -limit, limit)", "jnp.minimum(p, limit)"),
    ("norms of rows", "(p**2).sum(tuple(range(p.ndim - 1)), keepdims=True)", "(p**2).sum(-1, keepdims=True)"),
    ("short weights grow", "limit / jnp.maximum(norm, limit)", "limit / norm"),
]

GAN: Sequence[Change] = [
    (
        "trained on all images",
        "train, validation = data.part(images, 0, -held_out)",
        "train, validation = data.part(images, 0)",
    ),
    ("a narrower law of z", "limit=math.sqrt(3)", "limit=1.0"),
    ("the halves are summed", "lambda step: rate(step) / 2, rising", "rate, rising"),
    ("the momentum rises by steps", "line(jnp.asarray(step) // stream.epoch_steps)", "line(jnp.asarray(step))"),
    ("the momentum rises an epoch too long", "max(momentum_epochs - 1, 1)", "max(momentum_epochs, 1)"),
    (
        "a gradient takes the current rate",
        "optax.chain(optax.scale(-rate), optax.trace(momentum))",
        "optax.chain(optax.trace(momentum), optax.scale(-rate))",
    ),
    ("the rate does not fall", "-math.log1p(rate_decay)", "-0 * math.log1p(rate_decay)"),
    (
        "the width is chosen on the test images",
        "((validation, min(validation.length, VALIDATION)), (test, test.length))",
        "((test, min(test.length, VALIDATION)), (test, test.length))",
    ),
    ("counted on the validation images", "(test, test.length))", "(validation, validation.length))"),
    ("the generator's weights for both", "kernel_init=mlp.symmetric(0.005)", "kernel_init=mlp.symmetric(0.05)"),
    ("no bias of the mean image", "bias_init=lambda key, shape, dtype: logits, ", ""),
    (
        "pixels in [-1, 1]",
        "stream = data.shuffled(train, batch_size, data.scale())",
        "stream = data.shuffled(train, batch_size, data.scale(-1, 1))",
    ),
    ("--dropout is dropped", "units, dropout=dropout, kernel_init", "units, kernel_init"),
    ("--loss is dropped", "discriminator, value_of(LOSSES, loss), latents", "discriminator, adversarial.minimax, latents"),
    ("evaluated as in training", "batch, key, train=False)", "batch, key, train=True)"),
    ("measured on the training split", "jaxgen.mean_over(test, losses", "jaxgen.mean_over(train, losses"),
]

VEEGAN: Sequence[Change] = [
    ("a generated pair is false", "minimax.discriminator(on_made, on_data)", "minimax.discriminator(on_data, on_made)"),
    ("F's mean is judged", "mean + keys.draw(jax.random.normal, keys.fold_in(own, 2), mean.shape)", "mean"),
    ("the generator ascends", "judge(params, z, x) + reconstruction", "reconstruction - judge(params, z, x)"),
    ("a mean over the noise", "reconstructed(params, x, own)).sum(-1)", "reconstructed(params, x, own)).mean(-1)"),
    ("twice the reconstruction", "latents * math.log(2 * math.pi)) / 2", "latents * math.log(2 * math.pi))"),
    ("x and then z", "jnp.concatenate([z, _flat(x)], axis=-1)", "jnp.concatenate([_flat(x), z], axis=-1)"),
    ("F without noise", "jnp.concatenate([_flat(x), given], axis=-1)", "jnp.concatenate([_flat(x), 0 * given], axis=-1)"),
    (
        "one code for a batch",
        "keys.draw(jax.random.normal, keys.fold_in(own, 0), (len(own), latents))",
        "jax.random.normal(own[0], (len(own), latents))",
    ),
]

DIRAC: Sequence[Change] = [
    ("a penalty of twice the size", "self.gamma / 2 * psi**2", "self.gamma * psi**2"),
    (
        "the generator climbs",
        "return self.loss.generator((psi * theta)[None])[0]",
        "return -self.loss.generator((psi * theta)[None])[0]",
    ),
    (
        "data are at theta",
        "self.loss.discriminator(jnp.zeros(1, theta.dtype), ",
        "self.loss.discriminator((psi * theta)[None], ",
    ),
    ("at once though in turn", "if alternating else point", "if not alternating else point"),
    ("the discriminator stands still", "psi = point[0] + learning_rate", "psi = point[0] + 0 * learning_rate"),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("jaxgen/analysis/dirac_game.py", "analysis/test_dirac_game.py"): DIRAC,
    ("experiments/dcgan.py", "wiring/test_dcgan_facts.py"): DCGAN,
    ("experiments/dcgan.py", "game/test_optimizers.py"): OPTIMIZERS_OF_DCGAN,
    ("experiments/wgan.py", "wiring/test_wgan_facts.py"): WGAN,
    ("experiments/wgan.py", "game/test_optimizers.py"): OPTIMIZERS_OF_WGAN,
    ("experiments/conditional_gan.py", "wiring/test_conditional_gan_facts.py"): CONDITIONAL_GAN,
    ("experiments/conditional_gan.py", "game/test_optimizers.py"): OPTIMIZERS_OF_DCGAN,
    ("experiments/modes.py", "wiring/test_modes_facts.py"): MODES,
    ("experiments/gan.py", "wiring/test_gan_facts.py"): GAN,
    ("jaxgen/objectives/veegan.py", "objectives/test_veegan_objective.py"): VEEGAN,
    ("jaxgen/objectives/adversarial.py", "objectives/test_adversarial.py"): ADVERSARIAL,
    ("jaxgen/losses/adversarial.py", "losses/test_adversarial_losses.py"): LOSSES,
    ("jaxgen/losses/penalty.py", "losses/test_penalty.py"): PENALTIES,
    ("jaxgen/losses/augmentation.py", "losses/test_augmentation.py"): AUGMENTATIONS,
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
