"""Faults of the diffusion Transformer and of its experiment, such as a person makes.

Each is one change of text, and a test of the file named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

from wiring.mutations_of_likelihoods import Change

WIRING: Sequence[Change] = [
    ("schedules are swapped", '"linear": diffusion.linear, "cosine"', '"linear": diffusion.cosine, "cosine"'),
    ("the small variance for the large", '"large": diffusion.large_variance', '"large": diffusion.small_variance'),
    ("--timesteps is dropped", "value_of(SCHEDULES, schedule)(timesteps)", "value_of(SCHEDULES, schedule)(1000)"),
    ("--heads and --depth are swapped", "DiT(patch, width, depth, heads,", "DiT(patch, width, heads, depth,"),
    (
        "a class too few",
        "DiT(patch, width, depth, heads, classes=len(names)",
        "DiT(patch, width, depth, heads, classes=len(names) - 1",
    ),
    ("no variance is learned", "outputs=2 * image[-1]", "outputs=image[-1]"),
    ("--remat is dropped", "remat=remat, dtype", "dtype"),
    ("--bf16 is dropped", "jnp.bfloat16 if bf16 else jnp.float32", "jnp.float32"),
    ("a real class stands for none", 'objectives.Told("label", len(names), drop)', 'objectives.Told("label", 0, drop)'),
    ("--drop is dropped", 'objectives.Told("label", len(names), drop)', 'objectives.Told("label", len(names), 0.1)'),
    ("the bound as the loss", "objectives.hybrid(model", "objectives.vlb(model"),
    ("training is told nothing", "objectives.hybrid(model, noise, told=tell)", "objectives.hybrid(model, noise)"),
    (
        "trained on another chain",
        "player = jaxgen.Player(objectives.hybrid(model, noise",
        "player = jaxgen.Player(objectives.hybrid(model, diffusion.linear(timesteps)",
    ),
    ("weights decay", "optax.adam(learning_rate)", "optax.adamw(learning_rate)"),
    ("the learning rate is a fixed one", "optax.adam(learning_rate)", "optax.adam(1e-3)"),
    ("the first step is not walked", "sampling_steps, first=True)", "sampling_steps)"),
    ("samples walk all steps", "diffusion.spaced(noise, sampling_steps, first=True)", "noise"),
    ("the sampler ignores --variance", "functools.partial(samplers.ancestral, variance=reverse)", "samplers.ancestral"),
    (
        "nothing and the class are swapped",
        "diffusion.classifier_free(conditional(state, batch), unconditional,",
        "diffusion.classifier_free(unconditional, conditional(state, batch),",
    ),
    ("--guidance is dropped", "unconditional, guidance, interval", "unconditional, 1.0, interval"),
    ("--interval is dropped", ", interval=interval)", ")"),
    ("samples are not clipped", "return diffusion.clipped(guided, *PIXELS)", "return guided"),
    ("the bound is of guided predictions", "diffusion.clipped(conditional(state, batch), *PIXELS)", "denoise(state, batch)"),
    ("the bound is not clipped", "diffusion.clipped(conditional(state, batch), *PIXELS)", "conditional(state, batch)"),
    ("the bound ignores --variance", "own, variance=reverse, samples", "own, samples"),
    ("the bound is of the sampler's chain", "variational_bound(known, noise", "variational_bound(known, chain"),
    ("--nll-samples is dropped", "samples=nll_samples", "samples=50"),
    ("sampling starts at the least noise", "chain.level(chain.steps)", "chain.level(1)"),
    ("samples have no classes", "        given=conditions,\n", ""),
    ("pixels in [0, 1]", "PIXELS = (-1.0, 1.0)", "PIXELS = (0.0, 1.0)"),
    ("test images are mirrored", "batch_size=batch_size, transform=transform", "batch_size=batch_size, transform=augment"),
    ("--flip is dropped", "shuffled(train, batch_size, augment)", "shuffled(train, batch_size, transform)"),
    ("trained on the test split", "train=data.shuffled(train,", "train=data.shuffled(test,"),
    ("evaluated on the training split", "jaxgen.mean_over(test,", "jaxgen.mean_over(train,"),
    ("--ema is dropped", "        ema=ema,\n", ""),
    ("--accumulate is dropped", "        accumulate=accumulate,\n", ""),
    ("the role knows no condition", "PIXELS, tuple(tell))", "PIXELS)"),
]

NETWORK: Sequence[Change] = [
    ("no gates", "x = x + gate * branch(", "x = x + branch("),
    ("gates are 1 + g", "x = x + gate * branch(", "x = x + (1 + gate) * branch("),
    ("no residual sums", "x = x + gate * branch(", "x = gate * branch("),
    ("the scale is not 1 + s", "x * (1 + scale) + shift", "x * scale + shift"),
    ("both branches take the attention's numbers", "(mlp, parts[3:])", "(mlp, parts[:3])"),
    ("the MLP comes first", "((attention, parts[:3]), (mlp, parts[3:]))", "((mlp, parts[3:]), (attention, parts[:3]))"),
    ("no SiLU of the condition", "dense(jax.nn.silu(condition))", "dense(condition)"),
    ("modulations are drawn", "condition.shape[-1], kernel_init=zeros", "condition.shape[-1], kernel_init=NARROW"),
    ("the last layer is drawn", "outputs, kernel_init=zeros", "outputs, kernel_init=XAVIER"),
    ("norms learn", "epsilon=1e-6, affine=False", "epsilon=1e-6, affine=True"),
    ("another epsilon", "epsilon=1e-6", "epsilon=1e-2"),
    ("no positions", " + sinusoidal_2d(grid, self.width).astype(self.dtype)", ""),
    ("sines come first", "endpoint=False, cosines_first=True", "endpoint=False"),
    ("the frequencies end at 1/10000", "256, endpoint=False, ", "256, "),
    ("no SiLU of the time", 'hidden = jax.nn.silu(dense(name="time_in")(', 'hidden = (dense(name="time_in")('),
    ("no vector for none", "Embed(self.classes + 1,", "Embed(self.classes,"),
    ("the class is ignored", "return condition + Embed(", "return condition + 0 * Embed("),
    ("queries, keys and values start wider", "variance_scaling(0.5,", "variance_scaling(1.0,"),
    ("patches start as convolutions", "kernel_init=xavier_of_patches", "kernel_init=XAVIER"),
    ("the last norm is left out", "modulate(Norm(dtype=self.dtype)(h), ", "modulate(h, "),
]

PRESETS: Sequence[Change] = [
    ("S is narrower", "384, 12, 6", "320, 12, 6"),
    ("L is as deep as XL", "1024, 24, 16", "1024, 28, 16"),
    ("other heads", "768, 12, 12", "768, 12, 6"),
    ("no variance is learned", '"outputs": 8', '"outputs": 4'),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("experiments/dit.py", "wiring/test_dit_facts.py"): WIRING,
    ("jaxgen/models/diffusion/dit.py", "models/test_dit.py"): NETWORK,
    ("jaxgen/models/diffusion/dit_presets.py", "models/test_dit.py"): PRESETS,
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
