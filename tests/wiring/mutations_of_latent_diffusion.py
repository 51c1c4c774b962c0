"""Faults in latent diffusion: in the experiment, in the loss on latents, in what decodes samples, and in its chain.

Each is one change of text, and a test of the file named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

from wiring.mutations_of_likelihoods import Change

EXPERIMENT: Sequence[Change] = [
    (
        "the model is of other betas",
        "betas: tuple[Positive, Positive] = (0.0015, 0.0195)",
        "betas: tuple[Positive, Positive] = (0.00085, 0.012)",
    ),
    ("no decay of the weights by default", "decay: NonNegative = 0.01", "decay: NonNegative = 0.0"),
    ("a fifth of the conditions is dropped", "drop: Share = 0.1", "drop: Share = 0.2"),
    ("the noise has the defaults of Stable Diffusion", ", first=betas[0], last=betas[1])", ")"),
    ("the betas are turned", "first=betas[0], last=betas[1]", "first=betas[1], last=betas[0]"),
    ("another network of the other run", 'jaxgen.frozen(first_stage, "autoencoder")', 'jaxgen.frozen(first_stage, "model")'),
    ("pixels are diffused", "loss = objectives.in_latents(", "loss = (lambda of, _: of)("),
    (
        "conditions are not told in training",
        "denoising_score_matching(model, noise, told=tell)",
        "denoising_score_matching(model, noise)",
    ),
    ("the U-Net has as many outputs as images", "outputs=role.shape[-1]", "outputs=1"),
    ("no Transformer looks at the class", "transformer_depth=1 if told else 0", "transformer_depth=0"),
    ("a Transformer without a condition", "transformer_depth=1 if told else 0", "transformer_depth=1"),
    ("one head", "heads=heads", "heads=1"),
    ("no dropout", "dropout=dropout", "dropout=0.0"),
    ("always float32", "jnp.bfloat16 if bf16 else jnp.float32", "jnp.float32"),
    (
        "the last class stands for none",
        'objectives.Told("label", len(names), drop)',
        'objectives.Told("label", len(names) - 1, drop)',
    ),
    ("no class is ever dropped", 'objectives.Told("label", len(names), drop)', 'objectives.Told("label", len(names), 0.0)'),
    (
        "no caption is ever dropped",
        'data.tokenise(tokenizer, "", text_length), drop)',
        'data.tokenise(tokenizer, "", text_length), 0.0)',
    ),
    (
        "a caption stands for none",
        'data.tokenise(tokenizer, "", text_length), drop)',
        'data.tokenise(tokenizer, "a", text_length), drop)',
    ),
    ("the encoder does not know the padding", "padding=PAD, dtype=dtype", "padding=1, dtype=dtype"),
    ("the encoder has one block", "text_width, text_depth, padding", "text_width, 1, padding"),
    ("the scale is one", "jnp.float32(scale)", "jnp.float32(1.0)"),
    ("the given scale is not taken", "if scale is None else jnp.float32(scale)", "if True else jnp.float32(scale)"),
    ("the first images in their order", "stream.read(0, seed=0)", "stream.read(1, seed=0)"),
    ("guidance of 1 by default", "(2.0 if told and drop else 1.0) if guidance is None", "1.0 if guidance is None"),
    ("guided without a model of none", "if told and not drop and s != 1:", "if False:"),
    ("guided without a condition", "if not told and guidance is not None:", "if False:"),
    ("guidance is never applied", "(conditional(state, batch), u, s)", "(conditional(state, batch), u, 1)"),
    ("guided to none", "objectives.tell_nothing(tell, batch)", "objectives.tell(tell, batch)"),
    ("guided by one more", "(conditional(state, batch), u, s)", "(conditional(state, batch), u, s + 1)"),
    ("samples are clipped", "denoise_by(model, told=tell)", "denoise_by(model, told=tell, clip=role.pixels)"),
    ("samples begin from the noise of the first step", "chain.level(chain.steps)", "chain.level(1)"),
    ("samples are not decoded", "conditions=conditions, latents=latents", "conditions=conditions"),
    ("the ceiling is of the range of the pixels", '(diffused.visible(batch["image"]) - seen)', '(batch["image"] - seen)'),
    (
        "the ceiling is of the training images",
        'final={"test": over_test(reconstructed)}',
        'final={"test": jaxgen.mean_over(train, reconstructed, transform=transform)}',
    ),
    ("the rate does not warm up", "steps=steps, warmup=warmup", "steps=steps"),
    ("one step too many is allowed", "if sampling_steps > timesteps:", "if sampling_steps > timesteps + 1:"),
]

LATENTS: Sequence[Change] = [
    ("the scale divides in encoding", "return z * state.vars[LATENT_SCALE]", "return z / state.vars[LATENT_SCALE]"),
    ("the scale is forgotten at decoding", "z / state.vars[LATENT_SCALE]", "z"),
    ("means in training", "keys.LATENTS) if train else None", "keys.LATENTS) if False else None"),
    ("draws in evaluation", "keys.LATENTS) if train else None", "keys.LATENTS)"),
    (
        "the key of the noise",
        "keys.fold_in(keys.per_example(key, batch), keys.LATENTS)",
        "keys.fold_in(keys.per_example(key, batch), 1)",
    ),
    ("one draw for the batch", "keys.fold_in(keys.per_example(key, batch), keys.LATENTS)", "keys.fold_in(key, keys.LATENTS)"),
    ("always trained", "{**batch, feature: z}, key, train=train)", "{**batch, feature: z}, key, train=True)"),
    ("the scale is a variable of the loss", "if variable != LATENT_SCALE", "if True"),
    ("no variable is returned", "if variable != LATENT_SCALE", "if False"),
    (
        "the gradient reaches the first stage",
        "z = latents.encode(state, batch[feature], own)",
        "z = latents.encode(state._replace(params=params), batch[feature], own)",
    ),
    ("a biased spread", ", ddof=1)", ")"),
    ("the spread is the scale", "return 1 / spread(variables, x, own)", "return spread(variables, x, own)"),
    ("the spread of the means", "module.apply(variables, x, own, method", "module.apply(variables, x, None, method"),
]

DECODED: Sequence[Change] = [
    (
        "the forward process of pixels",
        "start = x if self.latents is None else self.latents.encode(state, x, None)",
        "start = x",
    ),
    (
        "samples stay latents",
        "return self.seen(state, self.walk(state, key, given, 0).x)",
        "return self.visible(self.walk(state, key, given, 0).x)",
    ),
    (
        "samples are decoded twice",
        "self.latents.decode(state, x))",
        "self.latents.decode(state, self.latents.decode(state, x).reshape(x.shape)))",
    ),
    ("any network is a first stage", "if not isinstance(part.role, diffusion.FirstStage):", "if False:"),
    ("images of any size", "    if image != own:", "    if own is None:"),
]

CHAIN: Sequence[Change] = [
    ("the variances grow linearly", "np.linspace(first**0.5, last**0.5, steps) ** 2", "np.linspace(first, last, steps)"),
    ("a shorter chain has less noise", "steps) ** 2 * 1000 / steps", "steps) ** 2"),
    ("no bound", "* 1000 / steps, 0.999)", "* 1000 / steps, 0.9999)"),
    (
        "the defaults are those of ImageNet",
        "first: float = 0.00085, last: float = 0.012",
        "first: float = 0.0015, last: float = 0.0195",
    ),
]

TOKEN: Sequence[Change] = [
    ("no vector for no class", "Embed(self.classes + 1, self.width", "Embed(self.classes, self.width"),
    ("vectors begin small", "init = nn.initializers.normal(1.0)", "init = nn.initializers.normal(0.02)"),
    ("the token is not there", "jnp.ones((len(label), 1), bool)", "jnp.zeros((len(label), 1), bool)"),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("experiments/latent_diffusion.py", "wiring/test_latent_diffusion_facts.py"): EXPERIMENT,
    ("jaxgen/objectives/latents.py", "objectives/test_latents.py"): LATENTS,
    ("jaxgen/analysis/diffusion_model.py", "wiring/test_latent_diffusion_facts.py"): DECODED,
    ("jaxgen/diffusion/schedules.py", "diffusion/test_scaled_linear.py"): CHAIN,
    ("jaxgen/models/diffusion/captioned.py", "models/test_class_token.py"): TOKEN,
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
