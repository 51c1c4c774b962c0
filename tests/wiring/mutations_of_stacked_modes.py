"""Faults in the count of modes of stacked images, such as a person makes.

Each is one change of text, and a test of the files named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

from wiring.mutations_of_likelihoods import Change

EXPERIMENT: Sequence[Change] = [
    ("pixels in [0, 1]", "data.scale(-1, 1)", "data.scale(0, 1)"),
    ("normal codes", "law = uniform_law(latents)", "law = latents"),
    ("the discriminator moves as often", "jaxgen.Player(d_loss, tx, every=2)", "jaxgen.Player(d_loss, tx)"),
    ("the generator moves less often", "jaxgen.Player(g_loss, tx)", "jaxgen.Player(g_loss, tx, every=2)"),
    ("momentum", "b1=0.5", "b1=0.9"),
    ("--packing is dropped", "dtype=dtype), packing)", "dtype=dtype), 1)"),
    ("test stacks of training digits", "data.stacked(test, mode_samples", "data.stacked(train, mode_samples"),
    ("the same samples in each chunk", "z[start : start + CHUNK]", "z[:CHUNK]"),
    ("one channel thrice", "recognise(x[..., i : i + 1])", "recognise(x[..., :1])"),
    ("--classifier-steps is dropped", "hidden=(64,), steps=classifier_steps)", "hidden=(64,))"),
    ("the first channel alone in the picture", "x[..., i : i + 1], 3, axis=-1", "x[..., :1], 3, axis=-1"),
    ("a classifier of test digits", "recogniser(train, classes", "recogniser(test, classes"),
    ("the last samples are left out", "range(0, mode_samples, CHUNK), desc", "range(0, mode_samples - CHUNK, CHUNK), desc"),
    ("--ema is dropped", "        ema=ema,\n", ""),
]

PACKED: Sequence[Change] = [
    (
        "packs across the batch",
        "x.reshape(-1, self.packing, *x.shape[1:]), 1, -2",
        "x.reshape(self.packing, -1, *x.shape[1:]), 0, -2",
    ),
    ("channels interleaved", "1, -2)\n", "1, -1)\n"),
    ("logits in another order", "jnp.repeat(logits, self.packing, axis=0)", "jnp.tile(logits, self.packing)"),
]

STACKS: Sequence[Change] = [
    ("one image thrice", "size=(length, 3))", "size=(length, 1)).repeat(3, 1)"),
    ("the last image is never drawn", "integers(source.length, size", "integers(source.length - 1, size"),
    ("others at each reading", "drawn[indices].reshape(-1)", "np.random.default_rng().permutation(drawn[indices].reshape(-1))"),
    ("a mark without the seed", "{length} stacks by {seed}", "{length} stacks"),
    ("a mark without the length", "{length} stacks by {seed}", "stacks by {seed}"),
    ("channels that are rows", "np.moveaxis(images, 1, -1)", "images.reshape(len(indices), *shape[:2], 3)"),
]

COUNTS: Sequence[Change] = [
    ("triples that collide", "classes ** np.arange", "2 ** np.arange"),
    ("bits", "(shares * np.log(shares)).sum() + labels", "(shares * np.log2(shares)).sum() + labels"),
    ("equal shares over the modes that were hit", "labels.shape[1] * math.log(classes))", "math.log(len(counts)))"),
    ("labels that are no classes", '    check_labels(labels.reshape(-1), classes=classes, name="the samples\' classes")\n', ""),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("experiments/stacked_modes.py", "wiring/test_stacked_modes_facts.py"): EXPERIMENT,
    ("jaxgen/models/gan/packed.py", "models/test_packed.py"): PACKED,
    ("jaxgen/data/views.py", "data/test_stacked.py"): STACKS,
    ("jaxgen/metrics/modes.py", "metrics/test_modes.py"): COUNTS,
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
