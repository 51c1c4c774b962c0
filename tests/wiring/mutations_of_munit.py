"""Faults of wiring in MUNIT, its objective, its networks and its measures, such as a person makes.

Each is one change of text, and a test of the files named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

from wiring.mutations_of_likelihoods import Change

EXPERIMENT: Sequence[Change] = [
    ("pixels in [0, 1]", "scale = data.scale(-1, 1)", "scale = data.scale()"),
    ("samples of other pixels", "return 2 * (images.astype(jnp.float32) / 255) - 1", "return images.astype(jnp.float32) / 255"),
    ("samples in [-1, 1]", "scaled(x), style, domain) + 1) / 2)", "scaled(x), style, domain) + 1))"),
    ("augmented in evaluations", "batch_size=CHUNK, transform=scale)", "batch_size=CHUNK, transform=augmented)"),
    ("--flip is dropped", "data.flip() if flip else data.identity", "data.identity"),
    ("--jitter is dropped", "data.resample((side + jitter, side + jitter)) if jitter else data.identity", "data.identity"),
    ("trained on the test split", "augmented) for d, source in train.items()", "augmented) for d, source in test.items()"),
    (
        "the discriminators are averaged",
        "losses.discriminators, tx, owns=DISCRIMINATORS, ema=()",
        "losses.discriminators, tx, owns=DISCRIMINATORS",
    ),
    ("--loss is dropped", "value_of(LOSSES, loss),", "adversarial.least_squares(),"),
    ("--gan is dropped", "        gan=gan,\n", ""),
    ("--reconstruction is dropped", "        reconstruction=reconstruction,\n", ""),
    ("--style-weight is dropped", "        style=style_weight,\n", ""),
    ("--content is dropped", "        content=content,\n", ""),
    ("--cycle is dropped", "        cycle=cycle,\n", ""),
    ("--vgg is dropped", "perceptual=0.0 if vgg is None else perceptual", "perceptual=0.0"),
    ("--perceptual is dropped", "perceptual=0.0 if vgg is None else perceptual", "perceptual=0.0 if vgg is None else 1.0"),
    ("the file is not read", "        init=jaxgen.initialize(networks, held),\n", ""),
    ("the rate stays", "halve_every, 0.5, staircase=True", "halve_every, 1.0, staircase=True"),
    ("the rate falls all the time", "halve_every, 0.5, staircase=True", "halve_every, 0.5"),
    ("momentum of 0.9", "optax.adam(rate, b1=0.5)", "optax.adam(rate)"),
    (
        "the decay of AdamW",
        "optax.chain(optax.add_decayed_weights(weight_decay), optax.adam(rate, b1=0.5))",
        "optax.adamw(rate, b1=0.5, weight_decay=weight_decay)",
    ),
    ("one size of images", "MultiScaleDiscriminator(patch, scales)", "MultiScaleDiscriminator(patch, 2)"),
    ("the style of the own domain", 'read(state, x, 1 - domain, "encode")', 'read(state, x, domain, "encode")'),
    ("put together in the other domain", 'read(state, x, domain, "__call__")', 'read(state, x, 1 - domain, "__call__")'),
    ("tested on the other domain", "own=test[DOMAINS[domain]]", "own=test[DOMAINS[1 - domain]]"),
    ("one style for all samples", 'given["index"], 1)[:, 0]', '0 * given["index"], 1)[:, 0]'),
    ("--example is dropped", "chosen = None if example is None else", "chosen = None if True else"),
    ("--example keeps its size", "str(example), size=side, grey", "str(example), size=None, grey"),
    ("one way alone", 'way, x = ways[direction], given["image"]', 'way, x = ways["a_to_b"], given["image"]'),
    ("samples of the other domain", "jaxgen.Conditions(ways[direction].own", 'jaxgen.Conditions(ways["a_to_b"].own'),
    ("--example is no flag of sampling", '("direction", "example")', '("direction",)'),
    ("--styles is dropped", "track, number=styles) if styles", "track, number=20) if styles"),
    ("the classifier of the own domain", "DOMAINS[1 - TRANSLATORS.index(name)]", "DOMAINS[TRANSLATORS.index(name)]"),
    ("the classifier of the test split", "(train[other], test[other])", "(test[other], test[other])"),
    ("--classifier-steps is dropped", "steps=classifier_steps, track", "steps=400, track"),
    ("other classes are compared", "bool(classifier_steps and same_classes(domains.splits))", "bool(classifier_steps)"),
    ("--ema is dropped", "        ema=ema,\n", ""),
    ("--accumulate is dropped", "        accumulate=accumulate,\n", ""),
    ("the best by the reconstruction", "best=None", 'best="test/a/reconstruction"'),
    ("one way in the picture of examples", "guided(ways[direction], state", 'guided(ways["a_to_b"], state'),
]

OBJECTIVE: Sequence[Change] = [
    ("the content is a constant", "_difference(c_again, c),", "_difference(c_again, jax.lax.stop_gradient(c)),"),
    ("the style is its own", '"style": _difference(other_again, other)', '"style": _difference(other_again, s)'),
    (
        "put together in the other domain",
        "_difference(decode(domain, params, c, s), x)",
        "_difference(decode(there, params, c, s), x)",
    ),
    ("read by the own encoder", "encode(there, params, made)", "encode(domain, params, made)"),
    ("judged by the own domain", "for logits in judge(there, params, made)]", "for logits in judge(domain, params, made)]"),
    ("the cycle with the drawn style", "decode(domain, params, c_again, s), x)", "decode(domain, params, c_again, other), x)"),
    ("half of the discriminators' loss", "values + gan * _sum([loss.disc", "values + 0.5 * gan * _sum([loss.disc"),
    (
        "the mean of the sizes",
        "return sum(values[1:], start=values[0])",
        "return sum(values[1:], start=values[0]) / len(values)",
    ),
    ("made of the own domain", "from_there = batch[DOMAINS[1 - i]]", "from_there = batch[domain]"),
    (
        "real and made are swapped",
        "sizes = [(logits[: -len(fake)], logits[-len(fake) :])",
        "sizes = [(logits[-len(fake) :], logits[: -len(fake)])",
    ),
    (
        "squares",
        "jnp.abs(x.astype(jnp.float32) - y.astype(jnp.float32))",
        "jnp.square(x.astype(jnp.float32) - y.astype(jnp.float32))",
    ),
    ("a real image's maps twice", "for images in (made, x))", "for images in (x, x))"),
    ("maps as they are", "jnp.square((x - mean_x) / std_x - (y - mean_y) / std_y)", "jnp.square(x - y)"),
    ("one style for a batch", "keys.per_example(key, batch), (len", "key, (len"),
    ("translated to the own domain", "return decode(1 - domain, params, encode", "return decode(domain, params, encode"),
]

STYLE_ENCODER = """    h = nn.relu({})
        for i in range(self.halvings):
            h = nn.relu(_conv(self, h, self.width * 2 ** min"""

NETWORKS: Sequence[Change] = [
    (
        "deviations before means",
        "moments[:, 2 * i + j, 0, None, None], moments[:, 2 * i + j, 1, None, None]",
        "moments[:, 2 * i + j, 1, None, None], moments[:, 2 * i + j, 0, None, None]",
    ),
    ("a rectifier behind a block", "y = nn.relu(y) if j == 0 else y", "y = nn.relu(y)"),
    ("no shortcut", "            h = h + y\n", "            h = y\n"),
    (
        "styles are normalised",
        STYLE_ENCODER.format('_conv(self, x, self.width, 7, "in")'),
        STYLE_ENCODER.format('InstanceNorm()(_conv(self, x, self.width, 7, "in"))'),
    ),
    ("channels double without end", "2 ** min(i + 1, WIDENED)", "2 ** (i + 1)"),
    (
        "contents are not normalised",
        'h = nn.relu(norm(_conv(self, x, self.width, 7, "in")))',
        'h = nn.relu(_conv(self, x, self.width, 7, "in"))',
    ),
    ("kernels of Glorot", '2.0, "fan_in", "normal"', '1.0, "fan_avg", "normal"'),
]

PATCH: Sequence[Change] = [
    ("wider and wider", "self.width * 2**i, (4, 4), (2, 2), padding=0", "self.width * 4**i, (4, 4), (2, 2), padding=0"),
    ("any side", "if min(x.shape[1:3]) >> self.layers == 0:", "if min(x.shape[1:3]) < 0:"),
]

NORM: Sequence[Change] = [
    ("a biased deviation", "max(math.prod(x.shape[1:]) - 1, 1)", "math.prod(x.shape[1:])"),
    ("epsilon in the root", "(jnp.sqrt(jnp.maximum(variance, 1e-30)) + self.epsilon)", "jnp.sqrt(variance + self.epsilon)"),
    ("no slope", "jnp.sqrt(jnp.maximum(variance, 1e-30))", "jnp.sqrt(variance)"),
    ("gains of one", "nn.initializers.uniform(1.0)", "nn.initializers.ones_init()"),
]

ANALYSIS: Sequence[Change] = [
    ("one style for all images", '{"image": index, "slot": index}', '{"image": index, "slot": 0 * index}'),
    ("the padding counts", "*made.shape[1:])[there])", "*made.shape[1:]))"),
    ("an image with itself", "pairs = number * (number - 1)", "pairs = number * number"),
    ("hues of all images together", "hues.entropy(hues.of_images(made))", "hues.entropy(hues.of_images(made).reshape(1, -1))"),
    ("all images", "number=number, inputs=INPUTS)", "number=number)"),
    ("styles of the contents", "way.style_of(state, shown)", "way.style_of(state, x)"),
    ("other targets", "groups = way.target.length // number", "groups = way.own.length // number"),
]

HUES: Sequence[Change] = [
    ("red at the edge", "* bins + 0.5).astype", "* bins).astype"),
    ("grey has a hue", "np.hypot(x, y) < grey", "np.hypot(x, y) < 0"),
    ("the brightest pixel", "np.float64).mean((-3, -2))", "np.float64).max((-3, -2))"),
    ("nats", "np.log2(", "np.log("),
]

DIGITS: Sequence[Change] = [
    ("one hue", "hue = float(np.random.default_rng(i).uniform())", "hue = 0.3"),
    ("hues of the classes", "hue = float(np.random.default_rng(i).uniform())", "hue = float(digits.target[i]) / 10"),
    ("digits upside down", "drawn_in(ink, ink_of(hue)", "drawn_in(ink[::-1], ink_of(hue)"),
]

VGG: Sequence[Change] = [
    ("images in [0, 1]", "(*x.shape[:3], 3)) + 1) / 2 - jnp", "(*x.shape[:3], 3))) - jnp"),
    ("colours are not divided", "jnp.asarray(MEAN)) / jnp.asarray(STD)", "jnp.asarray(MEAN))"),
    ("colours as they are", ".maps(imagenet_colours(x))[-2]", ".maps(x)[-2]"),
    ("maps behind the maximum", ".maps(imagenet_colours(x))[-2]", ".maps(imagenet_colours(x))[-1]"),
    ("the fourth maximum", "(*VGG16[:3], VGG16[3] + VGG16[4])", "VGG16"),
    ("smaller images", "least = 1 << len(self.stages)", "least = 1"),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("experiments/munit.py", "wiring/test_munit_facts.py"): EXPERIMENT,
    ("jaxgen/objectives/multimodal.py", "objectives/test_multimodal_objective.py"): OBJECTIVE,
    ("jaxgen/models/translation/munit.py", "models/test_munit_models.py"): NETWORKS,
    ("jaxgen/models/translation/patch.py", "models/test_munit_models.py"): PATCH,
    ("jaxgen/models/cnn/vgg.py", "models/test_trunks.py"): VGG,
    ("jaxgen/nn/norm.py", "nn/test_image_norm.py"): NORM,
    ("jaxgen/analysis/content_and_style.py", "analysis/test_content_and_style.py"): ANALYSIS,
    ("jaxgen/analysis/hues.py", "analysis/test_hues.py"): HUES,
    ("jaxgen/data/builders/coloured_digits.py", "data/test_coloured_digits.py"): DIGITS,
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
