"""Faults in growing networks, their layers and their experiments, such as a person makes.

Each is one change of text, and a test of the files named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

from wiring.mutations_of_likelihoods import Change

EXPERIMENT: Sequence[Change] = [
    ("the centre of the file is left out", '{"generator": averages}', '{"generator": jax.tree.map(jnp.zeros_like, averages)}'),
    (
        "the discriminator of the file is left out",
        '"discriminator": judge,',
        '"discriminator": jax.tree.map(jnp.zeros_like, judge),',
    ),
    ("pixels in [0, 1]", "data.scale(-1, 1)", "data.scale(0, 1)"),
    ("momentum", "b1=0.0, b2=0.99", "b1=0.9, b2=0.99"),
    ("a long memory of squares", "b1=0.0, b2=0.99", "b1=0.0"),
    ("the optimizers never begin anew", "optimizers.restarted(adam,", "optimizers.restarted(adam, () and"),
    ("no blur", "blur=True, ", ""),
    ("--group is dropped", "(widths, group, blur", "(widths, blur"),
    ("--gamma is dropped", "r1(gamma) if gamma", "r1() if gamma"),
    ("a penalty of weight zero", "penalty=r1(gamma) if gamma else None", "penalty=r1(gamma)"),
    ("--mixing is dropped", "mixing=mixing, ", ""),
    ("--accumulate is dropped in the average of w", "micro_batches=accumulate, ", ""),
    ("--mapping-depth is dropped", "latents, mapping_depth, mixing", "latents, mixing"),
    ("the discriminator sees all details of the data", "growth.shown(x, state.step)", "x"),
    ("the full size from the beginning", 'both = {"lod": growth.lod(state.step)', 'both = {"lod": 0.0'),
    ("no mask", '"mask": batch.get("mask")', '"mask": None'),
    ("no noise", '"key": own, ', '"key": None, '),
    ("no mixing", '"whole": whole}', '"whole": None}'),
    ("--doublings is dropped", "doublings=doublings", "doublings=0"),
    ("--psi is dropped", "psi=psi, truncated", "truncated"),
    ("--truncated is dropped", "psi=psi, truncated=truncated)", "psi=psi)"),
    (
        "samples at the full size from the beginning",
        "latents, lod=lambda state: growth.lod(state.step)",
        "latents, lod=lambda state: 0.0",
    ),
    ("--flip is dropped", "data.chain(data.flip(), transform) if flip else transform", "transform"),
    ("averages of the discriminator", "jaxgen.Player(d_loss, tx, ema=())", "jaxgen.Player(d_loss, tx)"),
    ("--lpips is dropped", "path_length(path_samples, embedding)", "path_length(path_samples)"),
    ("--ema is dropped", "        ema=ema,\n", ""),
    ("the channels are turned round", "widths = channels[::-1]", "widths = channels"),
]

PROGRESSIVE: Sequence[Change] = [
    ("the discriminator of the file is left out", '"discriminator": judge,', '"discriminator": {},'),
    ("pixels in [0, 1]", "data.scale(-1, 1)", "data.scale(0, 1)"),
    ("momentum", "b1=0.0, b2=0.99", "b1=0.9, b2=0.99"),
    ("a long memory of squares", "b1=0.0, b2=0.99", "b1=0.0"),
    ("the optimizers never begin anew", "growth.turning_points)", "())"),
    ("--group is dropped", "channels[::-1], group, dtype=dtype", "channels[::-1], dtype=dtype"),
    ("--weight is dropped", "gradient_penalty(weight) if weight", "gradient_penalty() if weight"),
    ("a penalty of weight zero", "gradient_penalty(weight) if weight else None", "gradient_penalty(weight)"),
    ("no drift", "adversarial.drifting(adversarial.wasserstein, drift)", "adversarial.wasserstein"),
    ("--drift is dropped", "wasserstein, drift)", "wasserstein)"),
    ("the discriminator sees all details of the data", "growth.shown(x, state.step)", "x"),
    ("a generator at the full size", 'return {"lod": lod}, {"lod"', 'return {"lod": 0.0}, {"lod"'),
    ("a discriminator at the full size", '{"lod": lod, "mask"', '{"lod": 0.0, "mask"'),
    ("no mask", '"mask": batch.get("mask")', '"mask": None'),
    ("--doublings is dropped", "doublings=doublings", "doublings=0"),
    ("samples at the full size", 'told=lambda state: {"lod": growth.lod(state.step)}', 'told=lambda state: {"lod": 0.0}'),
    ("--flip is dropped", "data.chain(data.flip(), transform) if flip else transform", "transform"),
    ("averages of the discriminator", "jaxgen.Player(d_loss, tx, ema=())", "jaxgen.Player(d_loss, tx)"),
    ("--ema is dropped", "        ema=ema,\n", ""),
    ("the generator's channels are turned round", "Generator(image, channels[::-1]", "Generator(image, channels"),
]

GROWING: Sequence[Change] = [
    (
        "a level that jumps in",
        "weight = jnp.clip(last - level + 1 - lod, 0.0, 1.0)",
        "weight = jnp.float32(lod < last - level + 1)",
    ),
    ("a level that comes too late", "weight = jnp.clip(last - level + 1 - lod,", "weight = jnp.clip(last - level - lod,"),
    (
        "an image that enters too early",
        "jnp.clip(lod + 1 - (last - level), 0.0, 1.0)",
        "jnp.clip(lod + 2 - (last - level), 0.0, 1.0)",
    ),
    ("images that are not halved", "        image = halved(image, BOX)\n", "        image = image[:, ::2, ::2]\n"),
    ("data without the next level", "jnp.maximum(1 - jnp.abs(lod - level), 0.0)", "jnp.float32(jnp.floor(lod) == level)"),
    (
        "a phase without its fading",
        "jnp.divmod(jnp.asarray(step), self.hold + self.fade)",
        "jnp.divmod(jnp.asarray(step), self.hold)",
    ),
    ("no turn where a level is whole", "if self.fade), *phases[1:]}", "if self.fade)}"),
    ("a turn a step early", "start + self.hold + 1 for start", "start + self.hold for start"),
    ("more channels", "min(base >> (s - 1), most)", "min(base >> (s - 2), most)"),
]

STYLEGAN: Sequence[Change] = [
    ("two cutoffs", "jax.random.fold_in(whole, 0), (), 1, in_use", "jax.random.fold_in(whole, 0), (), 0, in_use"),
    ("layers that are not in use", "self.layers - 2 * jnp.floor", "self.layers - 0 * jnp.floor"),
    ("always mixed", "< self.mixing, drawn", "< 1.0, drawn"),
    ("the first w takes over", "jnp.arange(self.layers) >= self.cutoff", "jnp.arange(self.layers) < self.cutoff"),
    ("one latent twice", "keys.fold_in(key, SECOND), z.shape", "keys.fold_in(key, 0), z.shape"),
    ("an average that stands", "            self.average.move(one, mask)\n", ""),
    ("the fine layers are truncated", "jnp.arange(self.layers) < truncated", "jnp.arange(self.layers) >= truncated"),
    ("truncated from zero", "mean + factor * (w - mean)", "factor * w"),
]

STDDEV: Sequence[Change] = [
    ("neighbours in a group", "% groups]", "// members]"),
    ("a replica by itself", "whole = collectives.gather(x.astype(jnp.float32))", "whole = x.astype(jnp.float32)"),
    ("the filling counts", "counted = jnp.ones(rows) if mask is None else", "counted = jnp.ones(rows) if True else"),
    ("the last group is left out", "groups = -(-rows // members)", "groups = rows // members"),
    ("a root without a derivative", " + 1e-8)", ")"),
]

MEAN: Sequence[Change] = [
    ("a step for each micro-batch", "ends = self.part.value == self.micro_batches - 1", "ends = jnp.array(True)"),
    ("a replica's own mean", "collectives.total((counted", "((counted"),
    ("the filling counts", "jnp.ones((len(x), 1)) if mask is None else", "jnp.ones((len(x), 1)) if True else"),
]

LENGTHS: Sequence[Change] = [
    ("a step that is not squared", "jnp.square((far - near) / epsilon)", "jnp.square(far - near) / epsilon"),
    ("a chord", "a * jnp.cos(angle) + across * jnp.sin(angle)", "a + t * (b - a)"),
    ("another share", "100 - percent, method", "100 - 2 * percent, method"),
]

WEIGHTS: Sequence[Change] = [
    ("the first kernel is not turned round", "[:, :, ::-1, ::-1].transpose(1, 2, 3, 0)", ".transpose(1, 2, 3, 0)"),
    ("all kernels are turned round", "weight[::-1, ::-1] if turned else", "weight[::-1, ::-1] if True else"),
    ("the second kernel is turned round too", "turned = i == 0 and", "turned ="),
    ("maps from twice the side on", "- 1 - level >= fused", "- 1 - level > fused"),
    (
        "the raw generator before the average",
        '_Network(tensors, ("generator_smooth.", "generator."), name)\n    params: dict[str, Any] = {}',
        '_Network(tensors, ("generator.", "generator_smooth."), name)\n    params: dict[str, Any] = {}',
    ),
    ("the channels come last", "side, side, -1).transpose(1, 2, 0, 3)", "side, side, -1).transpose(2, 1, 0, 3)"),
    ("levels are counted from the smallest map", "number = last - level", "number = level"),
]

STYLES: Sequence[Change] = [
    ("a network sees [0, 1]", "2 * smaller(images) - 1", "smaller(images)"),
    ("a network sees everything", "2 * smaller(images) - 1", "2 * images - 1"),
    ("a factor too many", "max(1, min(height, width) // MOST)", "max(1, -(-min(height, width) // MOST))"),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("experiments/stylegan.py", "wiring/test_stylegan_facts.py"): EXPERIMENT,
    ("experiments/progressive_gan.py", "wiring/test_progressive_gan_facts.py"): PROGRESSIVE,
    ("jaxgen/models/gan/growing.py", "models/test_growing.py"): GROWING,
    ("jaxgen/models/gan/stylegan.py", "models/test_growing.py"): STYLEGAN,
    ("jaxgen/models/gan/genforce_weights.py", "models/test_genforce_weights.py"): WEIGHTS,
    ("jaxgen/nn/batch_deviation.py", "nn/test_batch_deviation.py"): STDDEV,
    ("jaxgen/nn/running_mean.py", "nn/test_running_mean.py"): MEAN,
    ("jaxgen/analysis/styles.py", "analysis/test_styles.py"): STYLES,
    ("jaxgen/analysis/path_length.py", "analysis/test_path_length.py"): LENGTHS,
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
