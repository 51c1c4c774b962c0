"""Faults of domain adaptation, its classifiers, losses, translations and sets, such as a person makes."""

from collections.abc import Mapping, Sequence

from wiring.mutations_of_likelihoods import Change

ADDA: Sequence[Change] = [
    ("the classifier moves in any case", "> threshold", "> -1.0"),
    ("moves where it is not told apart", '"] > threshold', '"] < threshold'),
    ("the loss in the place of the accuracy", 'metrics["discriminator/accuracy"]', 'metrics["discriminator/loss"]'),
    ("begins anew", '{**params, "model": part.params}', "jaxgen.initialize(networks)(key)[0]"),
    ("leaky units", "activation=nn.relu", "activation=nn.leaky_relu"),
    ("--hidden is dropped", "Discriminator(hidden, activation", "Discriminator((5, 5), activation"),
    ("the source as it is", "discriminator, shown=shown)", "discriminator)"),
    ("the target is translated", 'domain == "source"', 'domain == "target"'),
    ("the errors are swapped", '{"error": "model", "error_before": "source"}', '{"error": "source", "error_before": "model"}'),
    ("trained on the test split", 'data.shuffled(opened["train", d]', 'data.shuffled(opened["test", d]'),
    ("pixels in [-1, 1]", "batch_size, data.scale()) for d in DOMAINS", "batch_size, data.scale(-1, 1)) for d in DOMAINS"),
    ("measured in [-1, 1]", "batch_size=500, transform=data.scale())", "batch_size=500, transform=data.scale(-1, 1))"),
    ("the subsets are swapped", "in zip(DOMAINS, some, strict=True)}", "in zip(DOMAINS, some[::-1], strict=True)}"),
    (
        "the pictures are swapped",
        '(("", "model", "after"), ("_before", "source"',
        '(("", "source", "after"), ("_before", "model"',
    ),
    (
        "pictures of the source",
        'confusion_picture(\n            test["target"]',
        'confusion_picture(\n            test["source"]',
    ),
    ("other classes are taken", "!= names:", "== ():"),
    ("any network is taken", "if not isinstance(part.module, LeNet):", "if False:"),
    ("a best step", "best=None", 'best="test/target/error"'),
    ("no micro-batches", "        accumulate=accumulate,\n", ""),
    ("the discriminator is averaged", "tx, ema=())", "tx)"),
    ("--learning-rate is dropped", "optax.adam(learning_rate)", "optax.adam(1e-4)"),
]

OBJECTIVE: Sequence[Change] = [
    ("the whole loss of the discriminator", "on_target) / 2, Aux(", "on_target), Aux("),
    (
        "the target's scores by the source",
        "scores(target, of_target, params, state, y, of_y",
        "scores(source, of_source, params, state, y, of_y",
    ),
    (
        "domains are swapped",
        "x, y = (batch[domain][feature] for domain in domains)",
        "y, x = (batch[domain][feature] for domain in domains)",
    ),
    (
        "an accuracy of the source alone",
        "(jnp.where(on_source > 0, 0.5, 0.0) + jnp",
        "(jnp.where(on_source > 0, 0.5, 0.0) + 0 * jnp",
    ),
    ("a tie counts twice", "on_target <= 0", "on_target < 0"),
    ("one key for both", "state, y, of_y, train)", "state, y, of_x, train)"),
    ("no dropout of the source", "state, x, of_x, train), train)", "state, x, of_x, False), train)"),
    ("the source as it is", "x = x if shown is None else shown(state, x)", "x = x"),
    ("the classifier helps the discriminator", "loss.generator(judge(", "loss.discriminator(jnp.zeros(len(y)), judge("),
    ("the gate is upside down", "sure = total <= limit * count", "sure = total > limit * count"),
    ("padding counts", "jnp.where(real > 0, known, 0).sum(), real.sum()", "known.sum(), jnp.ones_like(real).sum()"),
    ("a sum and not a mean", "total <= limit * count", "total <= limit"),
    (
        "classes of domain b are known",
        "cross_entropy(logits(params, state, made[other]), taken_for)",
        "cross_entropy(logits(params, state, made[other]), a[label])",
    ),
    (
        "the class of the translation",
        "taken_for = logits(params, state, b[feature])",
        "taken_for = logits(params, state, made[other])",
    ),
    ("untranslated", "logits(params, state, made[own]), a[label]", "logits(params, state, a[feature]), a[label]"),
]

CYCLE: Sequence[Change] = [
    (
        "no further terms",
        "values, metrics = values + sum(more.values()),",
        "values, metrics = values + 0 * sum(more.values()),",
    ),
    (
        "weights of the discriminators are swapped",
        "in zip(cycle, gans, strict=True)\n",
        "in zip(cycle, gans[::-1], strict=True)\n",
    ),
]

LENET_MODEL: Sequence[Change] = [
    ("the padding is dropped", "padding=self.padding, kernel_init", "kernel_init"),
    ("single units are dropped", "nn.Dropout(self.map_dropout, broadcast_dims=(1, 2))", "nn.Dropout(self.map_dropout)"),
    ("maps are dropped in evaluations", "self.drop_maps(x, deterministic=not train)", "self.drop_maps(x, deterministic=False)"),
    ("too small a side", "side = 2 * side - 1 + 4", "side = 2 * side + 4"),
]

LENET: Sequence[Change] = [
    ("the target is translated too", "jaxgen.Player(objectives.classification(model), tx)", "player"),
    ("the test split of the set in the target's place", '("test/target", target, "test")', '("test/target", dataset, "test")'),
    ("--subset is dropped", 'f"train[:{subset}]"', '"train"'),
    ("--side is dropped", "**data.squared(side)", "**data.squared(None)"),
    ("--valid is dropped", '"VALID" if valid else "SAME"', '"SAME"'),
    ("--map-dropout is dropped", ", map_dropout, dtype)", ", 0.0, dtype)"),
    ("trained on images as they are", "smoothing=smoothing, shown=shown)", "smoothing=smoothing)"),
    ("no word of the translator", 'role="translator" if frozen else None', "role=None"),
    ("the way back", 'jaxgen.frozen(translator, "a_to_b")', 'jaxgen.frozen(translator, "b_to_a")'),
]

TRANSLATIONS: Sequence[Change] = [
    ("samples of other pixels", "x = 2 * (images.astype(jnp.float32) / 255) - 1", "x = images.astype(jnp.float32) / 255"),
    ("samples in [-1, 1]", "x, name=way)[0] + 1) / 2", "x, name=way)[0])"),
    (
        "samples of the other domain",
        "self.test[DOMAINS[TRANSLATORS.index(way)]]",
        "self.test[DOMAINS[1 - TRANSLATORS.index(way)]]",
    ),
    ("the way back from the other domain", "TRANSLATORS[::-1]", "TRANSLATORS"),
    ("shown in [-1, 1]", "lax.stop_gradient((made + 1) / 2)", "lax.stop_gradient(made)"),
    ("translated from [0, 1]", "state.vars, 2 * x - 1, name=name)", "state.vars, x, name=name)"),
    ("any shape", "if wanted != image:", "if False:"),
    ("pairs upside down", "np.stack([x, y], axis=1)", "np.stack([y, x], axis=1)"),
    ("classes in disorder", "np.flatnonzero(label == k)[:PAIRS]", "np.arange(k, k + PAIRS) % len(label)"),
]

ACCURACY: Sequence[Change] = [
    ("the classifier of the test split", "classifier(train, classes", "classifier(test, classes"),
    ("classified untranslated", '"translated": translated, "un', '"translated": own, "un'),
    (
        "padding is classified",
        'translated(state, batch["image"]))[batch["mask"] > 0]',
        'translated(state, batch["image"]))[:own.length]',
    ),
    ("other steps", "Recipe(steps=steps)", "Recipe()"),
    ("other labels", 'own.gather(np.arange(own.length))["label"]', 'own.gather(np.arange(own.length)[::-1])["label"]'),
    ("other classes are compared", "if all(other == first for other in others) else ()", "if True else ()"),
]

CONFUSIONS: Sequence[Change] = [
    ("right ones are counted", "int((p.argmax(1) != label).sum())", "int((p.argmax(1) == label).sum())"),
]

SLANTED: Sequence[Change] = [
    ("slanted to the left", "(1, SLANT, -SLANT * (SIDE - 1) / 2, 0, 1, 0)", "(1, -SLANT, SLANT * (SIDE - 1) / 2, 0, 1, 0)"),
    ("slanted about a corner", "-SLANT * (SIDE - 1) / 2", "0"),
]

DIGITS: Sequence[Change] = [
    ("the splits are one", '"train": self._generate_examples(0, TRAIN)', '"train": self._generate_examples(0, None)'),
    ("digits upside down", "self.draw(i, digits.images[i] / 16)", "self.draw(i, digits.images[i][::-1] / 16)"),
    ("labels of others", "int(digits.target[i])", "int(digits.target[-1 - i])"),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("experiments/adda.py", "wiring/test_adda_facts.py"): ADDA,
    ("jaxgen/objectives/domain_adaptation.py", "objectives/test_domain_adaptation.py"): OBJECTIVE,
    ("jaxgen/objectives/cycle.py", "objectives/test_domain_adaptation.py"): CYCLE,
    ("jaxgen/models/cnn/lenet.py", "models/test_lenet.py"): LENET_MODEL,
    ("experiments/lenet.py", "wiring/test_lenet_facts.py"): LENET,
    ("jaxgen/analysis/translations.py", "analysis/test_translations.py"): TRANSLATIONS,
    ("jaxgen/analysis/confusion.py", "wiring/test_lenet_facts.py"): CONFUSIONS,
    ("jaxgen/measuring/translations.py", "measuring/test_accuracy_of_translations.py"): ACCURACY,
    ("jaxgen/data/builders/slanted_digits.py", "data/test_slanted_digits.py"): SLANTED,
    ("jaxgen/data/builders/digits.py", "data/test_slanted_digits.py"): DIGITS,
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
