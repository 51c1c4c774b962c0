"""Faults of wiring in SPADE, its objective and its networks, such as a person makes.

Each is one change of text, and a test of the files named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

from wiring.mutations_of_likelihoods import Change

SPADE: Sequence[Change] = [
    ("pixels in [0, 1]", "scale, one_hot = data.scale(-1, 1)", "scale, one_hot = data.scale()"),
    ("maps interpolated", 'data.resample(larger, method="nearest", feature="segmentation")', "data.identity"),
    ("cut apart", "data.jointly(pair, cut), one_hot)", "cut, one_hot)"),
    ("--flip is dropped", "data.flip() if flip else data.identity", "data.identity"),
    ("augmented in evaluations", "batch_size=CHUNK, transform=plain)", "batch_size=CHUNK, transform=augmented)"),
    ("void has no channel", "data.one_hot(classes, void=void)", "data.one_hot(classes)"),
    ("the losses are swapped", "g_loss, d_loss = objectives", "d_loss, g_loss = objectives"),
    ("--loss is dropped", "value_of(LOSSES, loss),", "adversarial.hinge,"),
    ("--matching is dropped", "        matching=matching,\n", ""),
    ("--kl is dropped", "        kl=kl,\n", ""),
    ("one rate for both", "for peak in (learning_rate, discriminator_rate)", "for peak in (learning_rate, learning_rate)"),
    ("momentum of 0.9", "optax.adam(rate, b1=0.0, b2=0.9)", "optax.adam(rate, b2=0.9)"),
    ("the second beta of 0.999", "optax.adam(rate, b1=0.0, b2=0.9)", "optax.adam(rate, b1=0.0)"),
    ("--decay-steps is dropped", "steps // 2 if decay_steps is None else decay_steps", "steps // 2"),
    ("the encoder does not move", 'owns=("generator", "encoder") if style else ()', "owns=()"),
    ("samples in [-1, 1]", 'name="generator")[0] + 1) / 2', 'name="generator")[0])'),
    ("the segmenter of the test split", "segmenter(train, classes", "segmenter(test, classes"),
    ("--segmenter-steps is dropped", "SegmenterRecipe(steps=segmenter_steps)", "SegmenterRecipe()"),
    ("void is scored", "classes=classes, void=void))", "classes=classes))"),
    ("--norm is dropped", 'norm == "instance"', "False"),
    ("--accumulate is dropped", "        accumulate=accumulate,\n", ""),
    ("--ema is dropped", "        ema=ema,\n", ""),
    ("--vgg is dropped", "None if vgg is None else objectives", "None if True else objectives"),
    ("--perceptual is dropped", "VGG19_WEIGHTS, perceptual)", "VGG19_WEIGHTS)"),
    ("VGG of drawn weights", "initialize(networks, held)", "initialize(networks)"),
    ("reflected borders", "dtype=dtype, reflected=False)", "dtype=dtype)"),
    ("--scales is dropped", "kernel_init=small_xavier), scales)", "kernel_init=small_xavier))"),
]

SEMANTIC: Sequence[Change] = [
    ("the last layer is matched too", "feature_distance(a[:-1], b[:-1])", "feature_distance(a, b)"),
    ("real and made are swapped", "for image in (fake, batch[wanted])]", "for image in (batch[wanted], fake)]"),
    ("the sum over sizes", "start=values[0]) / len(values)", "start=values[0])"),
    ("half of the discriminator's loss", "return _mean([loss.discriminator", "return 0.5 * _mean([loss.discriminator"),
    ("the mean of the style alone", "style.sample(own)", "style.mean"),
    ("the encoder's spectral norms stay", "**updates_of(vars, read)}", "}"),
    ("the generator's turn keeps the discriminator's variables", "Aux({**updates_of(vars, made), **", "Aux({**vars, **"),
    ("the divergence is not weighted", 'values + kl * metrics["kl"]', 'values + metrics["kl"]'),
]

NETWORKS: Sequence[Change] = [
    ("doubled before the head", "(6, 5, 4, 3, 1, 2)", "(6, 5, 4, 3, 0, 2)"),
    ("full kernels", "std = 0.02 * math.sqrt", "std = math.sqrt"),
]

PATCH: Sequence[Change] = [
    ("borders count", "count_include_pad=False", "count_include_pad=True"),
    ("biases before the normalisation", "(self.instance and not self.spectral)", "self.instance"),
]

SEGMENTER: Sequence[Change] = [
    ("void is learned", "jnp.where(known, of_pixels, 0.0)", "of_pixels"),
    ("void is the class 0", "label != void", "label >= 0"),
    ("other pixels than in training", "_scaled(images))", "images.astype(jnp.float32))"),
    ("the least probable class", "logits.argmax(-1)", "logits.argmin(-1)"),
    ("the first images again", "part = images[start : start + BATCH]", "part = images[: len(images[start : start + BATCH])]"),
]

FITTING: Sequence[Change] = [
    ("one chunk alone", "starts = range(0, steps, CHUNK)", "starts = range(0, min(steps, CHUNK), CHUNK)"),
    ("the rate does not fall", "optax.cosine_decay_schedule(learning_rate, max(steps, 1))", "30 * learning_rate"),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("experiments/spade.py", "wiring/test_spade_facts.py"): SPADE,
    ("jaxgen/objectives/semantic.py", "objectives/test_semantic_objective.py"): SEMANTIC,
    ("jaxgen/models/translation/spade.py", "models/test_spade_models.py"): NETWORKS,
    ("jaxgen/models/translation/patch.py", "models/test_spade_models.py"): PATCH,
    ("jaxgen/metrics/real_pairs.py", "metrics/test_real_pairs.py"): SEGMENTER,
    ("jaxgen/metrics/fitting.py", "metrics/test_real_pairs.py"): FITTING,
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
