"""Faults of wiring in the translation of images and its objectives, such as a person makes.

Each is one change of text, and a test of the files named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

from wiring.mutations_of_likelihoods import Change

PIX2PIX: Sequence[Change] = [
    ("labels in [0, 1]", 'data.scale(-1, 1, feature="label_rgb")', 'data.scale(feature="label_rgb")'),
    (
        "labels interpolated",
        'data.resample(enlarged, method="nearest", feature="label_rgb")',
        'data.resample(enlarged, feature="label_rgb")',
    ),
    ("cut apart", "data.jointly((source, target), cut)", 'data.chain(cut, data.crop((height, across), feature="label_rgb"))'),
    ("--flip is dropped", "data.flip() if flip else data.identity", "data.identity"),
    ("augmented in evaluations", "batch_size=CHUNK, transform=scale)", "batch_size=CHUNK, transform=augmented)"),
    (
        "the directions are swapped",
        'if direction == "photo_to_labels" else ("label_rgb"',
        'if direction != "photo_to_labels" else ("label_rgb"',
    ),
    ("the losses are swapped", "d_loss, g_loss = objectives", "g_loss, d_loss = objectives"),
    ("--loss is dropped", "value_of(LOSSES, loss),", "adversarial.non_saturating,"),
    ("--l1 is dropped", "        l1=l1,\n", ""),
    ("--gan is dropped", "        gan=gan,\n", ""),
    ("no noise at test", "        noise=noise,\n", "        noise=False,\n"),
    ("samples with other noise", "if noise else None", "if not noise else None"),
    ("running statistics", 'own = statistics == "own"', 'own = statistics != "own"'),
    ("the rate falls at once", "steps=steps, falls=falls)", "steps=falls, falls=falls)"),
    ("--decay-steps is dropped", "steps // 2 if decay_steps is None else decay_steps", "steps // 2"),
    ("momentum of 0.9", "optax.adam(rate, b1=0.5)", "optax.adam(rate)"),
    ("void pixels count", "unknown = VOID.get(known) if void is None else void", "unknown = None"),
    ("samples in [-1, 1]", "own_statistics=own) + 1) / 2", "own_statistics=own))"),
    ("measured against what is translated", "data.showing(split, target)", "data.showing(split, source)"),
    ("samples of what they become", "data.showing(test, source)", "data.showing(test, target)"),
    ("always a discriminator", '("discriminator", "generator") if gan else ("generator",)', '("discriminator", "generator")'),
    ("--accumulate is dropped", "        accumulate=accumulate,\n", ""),
    ("--ema is dropped", "        ema=ema,\n", ""),
    ("--dropout is dropped", "shapes[target][2], dropout, dtype)", "shapes[target][2], 0.5, dtype)"),
]

TRANSLATION: Sequence[Change] = [
    ("the whole loss of the discriminator", "loss.discriminator(on_real, on_fake) / 2", "loss.discriminator(on_real, on_fake)"),
    ("the pair is turned round", "jnp.concatenate([batch[given], y], axis=-1)", "jnp.concatenate([y, batch[given]], axis=-1)"),
    ("no noise in an evaluation", "if train or noise else None", "if train else None"),
    ("a sum over the pixels", "(batch[wanted] - fake).mean((1, 2, 3))", "(batch[wanted] - fake).sum((1, 2, 3))"),
    ("squares", "jnp.abs(batch[wanted] - fake)", "jnp.square(batch[wanted] - fake)"),
    ("evaluations by their batch", "if train or not own_statistics:", "if train:"),
    ("the generator's turn keeps the discriminator's statistics", "Aux(updates_of(vars, made), metrics)", "Aux(vars, metrics)"),
]

CYCLEGAN: Sequence[Change] = [
    ("pixels in [0, 1]", "scale = data.scale(-1, 1)", "scale = data.scale()"),
    ("augmented in evaluations", "batch_size=CHUNK, transform=scale)", "batch_size=CHUNK, transform=augmented)"),
    ("--flip is dropped", "data.flip() if flip else data.identity", "data.identity"),
    ("--jitter is dropped", "data.resample((side + jitter, side + jitter)) if jitter else data.identity", "data.identity"),
    ("trained on the test split", "augmented) for d, source in train.items()", "augmented) for d, source in test.items()"),
    (
        "measured on the training split",
        "for d, source in test.items()\n        },",
        "for d, source in train.items()\n        },",
    ),
    ("the discriminators move first", 'players = {"translators"', 'players = {"discriminators": None, "translators"'),
    ("every other move", "losses.discriminators, tx, owns", "losses.discriminators, tx, 2, owns"),
    ("the discriminators are averaged", "owns=DISCRIMINATORS, ema=(), merge", "owns=DISCRIMINATORS, merge"),
    ("pools are averaged over replicas", "{POOLS: merging.whole} if pool else {}", "{}"),
    ("pools are not used", "exchange=exchange if pool else None", "exchange=None"),
    ("pools of another size", "empty_pool(image, pool)", "empty_pool(image)"),
    ("--loss is dropped", "value_of(LOSSES, loss),", "adversarial.least_squares(),"),
    ("--cycle is dropped", "        cycle=cycle,\n", ""),
    ("--identity is dropped", "        identity=identity,\n", ""),
    ("--gan is dropped", "        gan=gan,\n", ""),
    ("the rate falls at once", "steps=steps, falls=falls)", "steps=falls, falls=falls)"),
    ("--decay-steps is dropped", "steps // 2 if decay_steps is None else decay_steps", "steps // 2"),
    ("momentum of 0.9", "optax.adam(rate, b1=0.5)", "optax.adam(rate)"),
    ("batch normalisation", "dtype, instance=True)", "dtype)"),
    ("--side is dropped", "strict=True)), side=side)", "strict=True)), side=8)"),
    ("one way alone", "sample=model.sample(direction)", 'sample=model.sample("a_to_b")'),
    ("samples of the other domain", "given=model.conditions(direction)", 'given=model.conditions("a_to_b")'),
    ("the classifier of the own domain", "into = (train[other], test[other])", "into = (train[domain], test[domain])"),
    ("translated the other way", "TRANSLATORS[DOMAINS.index(domain)]\n", "TRANSLATORS[1 - DOMAINS.index(domain)]\n"),
    ("--classifier-steps is dropped", "steps=classifier_steps, chunk", "steps=400, chunk"),
    ("classified in any case", "bool(classifier_steps and same_classes(domains.splits))", "bool(classifier_steps)"),
    ("--direction is no flag of sampling", '        sampling=("direction",),\n', ""),
    ("--ema is dropped", "        ema=ema,\n", ""),
    ("the best by the cycle", "best=None", 'best="test/a/cycle"'),
]

CYCLE: Sequence[Change] = [
    (
        "the whole loss of the discriminators",
        "loss.discriminator(on_real, on_fake) / 2",
        "loss.discriminator(on_real, on_fake)",
    ),
    (
        "judged by the own domain",
        "judge(1 - domain, params, made))\n        return found",
        "judge(domain, params, made))\n        return found",
    ),
    ("there and there again", "translate(back, params, made), x)", "translate(there, params, made), x)"),
    ("the identity of the way there", "translate(back, params, x), x)", "translate(there, params, x), x)"),
    ("an absolute weight of the identity", '"identity": own * identity', '"identity": identity'),
    ("a sum over the pixels", "jnp.abs(x - y).mean(", "jnp.abs(x - y).sum("),
    ("squares", "jnp.abs(x - y)", "jnp.square(x - y)"),
    ("fakes of the own domain", "from_there = batch[DOMAINS[1 - i]]", "from_there = batch[domain]"),
    ("the other domain's pool", "state.vars[POOLS][domain], fake", "state.vars[POOLS][DOMAINS[1 - i]], fake"),
    ("an evaluation moves the pools", "own, train=train, mask", "own, train=True, mask"),
    ("only the last domain counts", "values = values + loss.disc", "values = loss.disc"),
]

DOMAINS: Sequence[Change] = [
    ("the sides stay", "load(one, split, **squared(side))", "load(one, split)"),
    ("grey stays grey", "else in_colour_together(found)", "else found"),
    ("grey in any case", "if colour else", "if False else"),
    (
        "the splits are swapped",
        'for d in sets} for split in ("train", "test"))',
        'for d in sets} for split in ("test", "train"))',
    ),
    ("one split in both places", "getattr(self, split)[d]", "self.train[d]"),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("experiments/pix2pix.py", "wiring/test_pix2pix_facts.py"): PIX2PIX,
    ("experiments/cyclegan.py", "wiring/test_cyclegan_facts.py"): CYCLEGAN,
    ("jaxgen/data/domains.py", "data/test_domains.py"): DOMAINS,
    ("jaxgen/objectives/cycle.py", "objectives/test_cycle_objective.py"): CYCLE,
    ("jaxgen/objectives/translation.py", "objectives/test_translation_objective.py"): TRANSLATION,
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
