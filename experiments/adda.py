"""Adversarial discriminative domain adaptation (ADDA; Tzeng et al. 2017): a classifier learns a domain that has no labels.

python -m experiments.lenet --target slanted_digits --side 16 --steps 600 --workdir runs/source_only     # first the source's
python -m experiments.adda                                                                              # then the target's
python -m experiments.adda --classifier RUN --dataset mnist --target usps --data-dir D

A run of `experiments.lenet --translator`, which was trained on translations of the source into the target, makes this the last
stage of CyCADA (Hoffman et al. 2018): the source images go through the same translator here.

python -m experiments.cycada                                                    # the translator, in runs/cycada
python -m experiments.lenet --target slanted_digits --side 16 --steps 600 --translator runs/cycada --workdir runs/translated
python -m experiments.adda --classifier runs/translated --workdir runs/adda_of_translated

With seed 0 the first classifier errs on 4.7 +- 1.1 % of 360 test images of digits and on 20.8 +- 2.1 % of the slanted ones
("source only"); after the adaptation on 3.3 +- 0.9 % and 7.5 +- 1.4 %. The classifier of translations errs on 14.7 +- 1.9 % of
the slanted ones, and after its adaptation on 11.9 +- 1.7 %: here the translations help less than the adaptation of scores does,
and both together less than that alone. The first two commands took 86 and 91 seconds of processor time, and the translator 260.

Against the papers and the code of Hoffman et al. (github.com/jhoffman/cycada_release: scripts/train_adda.py):

| | the papers, or the code | here |
| --- | --- | --- |
| classifier | LeNet of 20 and 50 maps, no padding, 500 units, dropout of maps and units, 28x28 | that of the run, see below |
| what is judged | features of 500 (Tzeng et al.); the 10 scores (the code) | the scores |
| discriminator | 500-500-2, rectified | 500-500-1, whose logit stands for the difference of two |
| dropout while adapting | in both classifiers | the same |
| turns | the discriminator, then the classifier where the former was right on over 60 % of the batch | the same |
| an epoch without a move | ends the training | the training goes on |
| optimizer | Adam of 1e-5, 200 epochs, batches of 128 | Adam of 1e-4, 400 steps, batches of 128 |
| best step | none is chosen | the same |
| training images | 2,000 of MNIST and 1,800 of USPS (Tzeng et al.); all (the code) | all; `--subset 2000 1800` |

The code's classifier is `lenet --side 28 --channels 20 50 --hidden 500 --valid --map-dropout 0.5 --learning-rate 1e-4`.
`error` is that of the adapted classifier, and `error_before` that of the one it began with, on the test images of each domain.
"""

from collections.abc import Callable, Mapping

import flax.linen as nn
import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, objectives
from jaxgen.analysis.confusion import confusion_picture
from jaxgen.analysis.translations import shown_translated, translations_by_class
from jaxgen.flags import Count, Counts, Positive, Share, Whole
from jaxgen.losses.classification import error
from jaxgen.models.cnn import LeNet
from jaxgen.models.gan.mlp import Discriminator
from jaxgen.types import Array, Batch, Key, Params, Vars

DOMAINS = ("source", "target")


@jaxgen.recorded
def experiment(
    *,
    classifier: str = "runs/source_only",
    dataset: str | data.Given = "digits",
    target: str | data.Given = "slanted_digits",
    subset: tuple[Count, Count] | None = None,
    hidden: Counts = (500, 500),
    threshold: Share = 0.6,
    steps: Whole = 400,
    batch_size: Count = 128,
    learning_rate: Positive = 1e-4,
    accumulate: Count = 1,
) -> jaxgen.Experiment:
    """A classifier of a domain without labels, which a discriminator of scores cannot tell from that of another domain.

    Args:
      classifier: the run of `experiments.lenet` that is adapted; this run keeps it.
      dataset: the set that the classifier was trained on.
      target: the set of the domain that it is adapted to, of the same classes; their labels are for measuring alone.
      subset: the numbers of training images of the source and of the target, the first of each set; None takes all of them.
      hidden: widths of the discriminator's layers.
      threshold: the discriminator's accuracy on a batch, which has to be larger for the classifier to move in that step.
      batch_size: the number of images of each domain in a step.
      learning_rate: Adam's learning rate of both players.
    """
    part = jaxgen.frozen(classifier)
    if not isinstance(part.module, LeNet):
        raise jaxgen.UserError(f"--classifier {classifier} is no classifier of scores; give a run of experiments.lenet.")
    image, names = part.inputs[0].shape[1:], part.classes["label"]
    sets, some = dict(zip(DOMAINS, (dataset, target), strict=True)), subset or (None, None)
    wanted = {("test", d): (one, "test") for d, one in sets.items()}
    wanted |= {("train", d): (sets[d], f"train[:{n}]" if n else "train") for d, n in zip(DOMAINS, some, strict=True)}
    side = data.squared(image[0] if image[0] == image[1] else None)
    opened = data.in_colour_together({key: data.load(one, split, **side) for key, (one, split) in wanted.items()})
    if (found := data.common_shape("image", *opened.values())) != image:
        shapes = ("x".join(map(str, shape)) for shape in (found, image))
        raise jaxgen.UserError("The images are {} here, and those of --classifier {}; give its sets.".format(*shapes))
    if data.common_classes("label", *opened.values()) != names:
        raise jaxgen.UserError("The classes of --dataset are others than those of --classifier; give the set that it learned.")
    test = {d: opened["test", d] for d in DOMAINS}

    frozen = {"source": part}
    if part.role is not None:
        frozen["translator"] = jaxgen.frozen(classifier, part.role)
    shown = shown_translated(frozen["translator"], image) if "translator" in frozen else None
    discriminator = Discriminator(hidden, activation=nn.relu)
    of_discriminator, of_model = objectives.adversarial_adaptation(part.module, part.module, discriminator, shown=shown)
    tx = optax.adam(learning_rate)

    def told_apart(state: jaxgen.TrainState, metrics: Mapping[str, Array]) -> Array:
        return metrics["discriminator/accuracy"] > threshold

    def init(key: Key) -> tuple[Params, Vars]:
        params, vars = jaxgen.initialize({"discriminator": networks["discriminator"]})(key)
        return {**params, "model": part.params}, vars

    networks = {
        "model": jaxgen.Network(part.module, *part.inputs),
        "discriminator": jaxgen.Network(discriminator, jnp.zeros((1, len(names)))),
    }

    def scores(name: str) -> Callable[[jaxgen.TrainState, Array], Array]:
        return lambda state, x: objectives.apply(part.module, state.params, state.vars, x, name=name)[0]

    def errors_in(domain: str) -> jaxgen.Measure:
        """The errors of both classifiers, on images of the source as they are shown in training."""

        def measure(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
            x = batch["image"]
            x = shown(state, x) if shown is not None and domain == "source" else x
            of = {"error": "model", "error_before": "source"}
            return {name: error(scores(network)(state, x), batch["label"]) for name, network in of.items()}

        return measure

    pictures = {
        f"confusions{suffix}": confusion_picture(
            test["target"], scores(name), classes=len(names), told=f"Images of the target {told} the adaptation"
        )
        for suffix, name, told in (("", "model", "after"), ("_before", "source", "before"))
    }
    if shown is not None:
        pictures["translations"] = translations_by_class(test["source"], shown, classes=len(names))
    return jaxgen.Experiment(
        train=data.join(**{d: data.shuffled(opened["train", d], batch_size, data.scale()) for d in DOMAINS}),
        players={
            "discriminator": jaxgen.Player(of_discriminator, tx, ema=()),
            "model": jaxgen.Player(of_model, tx, when=told_apart),
        },
        steps=steps,
        networks=networks,
        init=init,
        frozen=frozen,
        splits={f"{split}/{domain}": source for (split, domain), source in opened.items()},
        evaluators={
            f"test/{d}": jaxgen.mean_over(source, errors_in(d), batch_size=500, transform=data.scale())
            for d, source in test.items()
        },
        pictures=pictures,
        accumulate=accumulate,
        # Without labels of the target nothing says which step is the best.
        best=None,
        protocol=dict.fromkeys(("error", "error_before"), ()),
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
