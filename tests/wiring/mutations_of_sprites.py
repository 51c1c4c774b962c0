"""Faults in the drawn sprites, and in how latents that follow factors are measured and shown, such as a person makes.

Each is one change of text, and a test of the file named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

Change = tuple[str, str, str]
"""What is wrong then; a text, and what it becomes."""

SPRITES: Sequence[Change] = [
    (
        "the last angle is the first",
        "np.arange(lattice.orientations) / lattice.orientations",
        "np.linspace(0, 1, lattice.orientations)",
    ),
    ("turned clockwise", "outline @ turn.T", "outline @ turn"),
    ("areas are not those of a scale", "width * scale * outline", "width * outline"),
    ("shapes of different areas", "/ np.sqrt(abs(area))", "/ np.sqrt(2)"),
    ("off the middle", "(outline - centre) /", "outline /"),
    ("upside down", "inside[::-1].reshape", "inside.reshape"),
    ("touched pixels are white", "covered > SUPERSAMPLES**2 / 2", "covered > 0"),
    (
        "x and y are exchanged",
        "image[y : y + len(sprite), x : x + len(sprite)]",
        "image[x : x + len(sprite), y : y + len(sprite)]",
    ),
    ("grey for white", "255 * sprite", "1 * sprite"),
    (
        "images that look the same in both splits",
        "held_out[look].reshape",
        "held_out[np.arange(len(look)) % len(held_out)].reshape",
    ),
    ("half of the images held out", "< TEST", "< 5 * TEST"),
    ("the splits are exchanged", "lattice.positions) == held_out", "lattice.positions) != held_out"),
]

METRICS: Sequence[Change] = [
    ("the gap to the smallest", "padded, axis=0)[-2:]", "padded, axis=0)[[0, -1]]"),
    ("shares of the code's entropy", "(h + entropy - both) / entropy", "(h + entropy - both) / max(h, 1e-9)"),
    ("latents and factors are exchanged", "return np.array(columns).T", "return np.array(columns)"),
    ("accuracies of the answers", "np.bincount(shared, right, factors", "np.bincount(shared[::-1], right, factors"),
    ("completeness of the coordinates", "for column in matrix.T])\n    right", "for column in matrix])\n    right"),
    ("bins between other edges", "* bins).astype", "* (bins - 1)).astype"),
]

FACTORS: Sequence[Change] = [
    ("the latent with least information", "information.argmax(0)", "information.argmin(0)"),
    ("the factor with most information", "information.argmax(0)", "information.argmax(1)"),
    ("informations of another latent", "squares(shares[latent], walk", "squares(shares[0], walk"),
]

FLAG: Sequence[Change] = [
    ("factors of the training images", "follow.over(test, space", "follow.over(train, space"),
    ("a picture without factors", "    if factors:\n        information", "    if not factors:\n        information"),
    ("factors are always measured", "*[disentangled] * bool(factors)", "disentangled"),
    ("one factor is enough", "or len(factors) == 1:", ":"),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("jaxgen/data/builders/sprites.py", "data/test_sprites.py"): SPRITES,
    ("jaxgen/metrics/disentanglement.py", "metrics/test_disentanglement.py"): METRICS,
    ("jaxgen/analysis/factors.py", "wiring/test_factors_facts.py"): FACTORS,
    ("experiments/vae.py", "wiring/test_factors_facts.py"): FLAG,
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
