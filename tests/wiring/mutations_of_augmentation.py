"""Faults in the augmentations of a diffusion model's and of a discriminator's images, and in the warp that they share.

Each is one change of text, and a test of the files named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

from wiring.mutations_of_likelihoods import Change

AFFINE: Sequence[Change] = [
    ("turned the other way", "_matrix((cos, -sin, 0), (sin, cos, 0))", "_matrix((cos, sin, 0), (-sin, cos, 0))"),
    ("maps in the other order", 'functools.partial(jnp.matmul, precision="highest"), maps)', "lambda a, b: b @ a, maps)"),
    ("rows are columns", "2 * rows + 3 * (height - 1), 2 * columns", "2 * columns + 3 * (height - 1), 2 * rows"),
    ("half a pixel off", "- n - REACH + 1) / 2", "- n - REACH) / 2"),
    (
        "the filter is not turned round",
        "weights[row, 2 * row : 2 * row + len(SYM6)] = SYM6",
        "weights[row, 2 * row : 2 * row + len(SYM6)] = SYM6[::-1]",
    ),
    ("the border pixel goes on", "side - 1 - np.abs(side - 1 - np.abs(whole))", "np.clip(whole, 0, side - 1)"),
    ("the border is drawn out", "by_row * by_column, 0.0)", "by_row * by_column, by_row * by_column)"),
    ("the identity is filtered", "jnp.where((back == jnp.eye(3)).all(), x, out)", "out"),
    (
        "nearest pixels",
        "left + 1 - columns), (left + 1, columns - left)",
        "jnp.ones_like(left)), (left + 1, jnp.zeros_like(left))",
    ),
]

EDM: Sequence[Change] = [
    ("always mirrored", "jax.random.bernoulli(own[0]).astype", "jnp.ones(()).astype"),
    (
        "upside down in half of the cases",
        "chosen(1, jax.random.bernoulli(own[2])",
        "(lambda _, x: x)(1, jax.random.bernoulli(own[2])",
    ),
    ("half of the angles", "minval=-np.pi, maxval=np.pi))\n        stretch", "minval=0.0, maxval=np.pi))\n        stretch"),
    ("one draw for size and stretch", "jax.random.normal(own[8])", "jax.random.normal(own[4])"),
    ("always along the axes", "jax.random.uniform(own[9]) < 0.5", "jax.random.uniform(own[9]) < 0.0"),
    (
        "smaller for larger",
        "affine.scaling(2 ** (-0.2 * size), 2 ** (-0.2 * size))",
        "affine.scaling(2 ** (0.2 * size), 2 ** (0.2 * size))",
    ),
    (
        "both sides grow",
        "affine.scaling(2 ** (-0.2 * stretch), 2 ** (0.2 * stretch))",
        "affine.scaling(2 ** (-0.2 * stretch), 2 ** (-0.2 * stretch))",
    ),
    (
        "shares of the other side",
        "-place[0] * width / 8, -place[1] * height / 8",
        "-place[0] * height / 8, -place[1] * width / 8",
    ),
    ("the cosine of no turn is one", "jnp.cos(angle) - 1, jnp.sin(angle)]", "jnp.cos(angle), jnp.sin(angle)]"),
    ("the label does not know of mirrors", "written = [across,", "written = [0 * across,"),
]

PIPE: Sequence[Change] = [
    ("one draw for all coins", "jax.random.uniform(next(own)) < due", "jax.random.uniform(key) < due"),
    ("turns twice as often", "one_turn = 1 - jnp.sqrt(1 - jnp.clip(p, 0.0, 1.0))", "one_turn = jnp.clip(p, 0.0, 1.0)"),
    ("no half turns", "quarter_turns=if_due(one_of(4))", "quarter_turns=if_due(one_of(2))"),
    ("stretches of half their size", "stretch=if_due(normal(0.2))", "stretch=if_due(normal(0.1))"),
    ("one number for both directions", "shift=if_due(normal(0.125, (2,)))", "shift=if_due(normal(0.125) * jnp.ones(2))"),
    ("larger for smaller", "smaller = jnp.exp2(-jnp.asarray(changes.size))", "smaller = jnp.exp2(jnp.asarray(changes.size))"),
    (
        "shifts are not of whole pixels",
        "affine.translation(-jnp.round(across), -jnp.round(down))",
        "affine.translation(-across, -down)",
    ),
    (
        "contrast before brightness",
        "return matrix, matrix.sum(1) * changes.brightness",
        "return matrix, jnp.ones(3) * changes.brightness",
    ),
    ("colours are flipped too", "jnp.eye(3) - 2 * luma * flipped", "jnp.eye(3) - 2 * jnp.eye(3) * flipped"),
    ("hue the other way", "cos * jnp.eye(3) + sin * cross", "cos * jnp.eye(3) - sin * cross"),
    ("saturation of the greys", "luma + (jnp.eye(3) - luma) * jnp.exp2", "jnp.eye(3) * jnp.exp2"),
    ("one key for a batch", "changed(image, drawn(own, p)))(key, x)", "changed(image, drawn(key[0], p)))(key, x)"),
]

ADAPTIVE: Sequence[Change] = [
    ("another target", "target: float = 0.6", "target: float = 0.5"),
    (
        "p falls below zero",
        'jnp.maximum(kept["p"] + sign * kept["count"] / self.images, 0)',
        'kept["p"] + sign * kept["count"] / self.images',
    ),
    (
        "p moves the other way",
        '/ jnp.maximum(kept["count"], 1) - self.target)',
        '/ -jnp.maximum(kept["count"], 1) + self.target)',
    ),
    ("a step too late", 'step - kept["since"] >= self.interval', 'step - kept["since"] > self.interval'),
    (
        "sums go on",
        '"signs": jnp.zeros(()), "count": jnp.zeros(()), "since": jnp.asarray(step',
        '"signs": kept["signs"], "count": kept["count"], "since": jnp.asarray(step',
    ),
    ("logits for signs", "jnp.sign(lax.stop_gradient(logits))", "(lax.stop_gradient(logits))"),
    ("padding counts", '"count": there.sum()}', '"count": jnp.float32(len(there))}'),
    ("a replica counts its own", 'collectives.total({"signs"', '({"signs"'),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("jaxgen/affine.py", "test_affine.py"): AFFINE,
    ("jaxgen/data/edm_augmentation.py", "data/test_edm_augmentation.py"): EDM,
    ("jaxgen/losses/augmentation_pipe.py", "losses/test_augmentation_pipe.py"): PIPE,
    ("jaxgen/losses/adaptive_augmentation.py", "losses/test_adaptive_augmentation.py"): ADAPTIVE,
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
