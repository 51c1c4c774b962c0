"""The translation of CyCADA (Hoffman et al. 2018): CycleGAN whose translations keep the class of the images.

python -m experiments.cycada                        # digits and slanted ones, nothing to download
python -m experiments.cycada --dataset mnist --target usps --data-dir D --side 28 --width 64 --blocks 6 --layers 3 \
    --batch-size 100
jaxgen translate runs/cycada PICTURES --out OUT --resize

The classifier that learns from the translations is `experiments.lenet --translator runs/cycada`, and the adaptation of its
scores `experiments.adda`, which has all commands in order.

The first, with seed 0, makes translations of 360 test digits of which the source's classifier mistakes 6.1 +- 1.3 %, and of
the digits themselves 4.4 +- 1.1 %. Of slanted ones it mistakes 22.2 +- 2.2 %, and 20.0 +- 2.1 % when they are brought to the
source. The way there and back changes the pixels by 0.196 of a range of 2 from the digits on, and by 0.185 from the slanted
ones. It took 260 seconds of processor time on cores that other programs shared.

Against the paper (section 3.1, equation 5 without its terms of features) and its authors' code, which is a fork of CycleGAN's
(github.com/jhoffman/pytorch-CycleGAN-and-pix2pix: train_cycada.sh, models/cycle_gan_semantic_model.py):

| | the paper, or its code | here |
| --- | --- | --- |
| networks | as CycleGAN's for 32x32, of 64 channels; 3 layers of patches | 16 channels, 3 blocks, 2 layers; flags |
| semantic terms | by labels from a to b, by the classifier's answers from b to a; weights 1 | the same |
| their gate | the classifier's loss on the batch of the step before, at most 1 | on the batch itself, before it moves |
| classifier | 4 convolutions of stride 2, batch norm, 2 dense layers; in the paper trained before | a LeNet |
| its optimizer | Adam of 1e-3, beta1 of 0.5, in the same steps, on real images of the source alone | the same |
| weights | cycles 1, identity 0, adversarial 2 from a to b and 1 back; least squares, the discriminators' halved | the same |
| order | translators, discriminators, classifier | the same |
| optimizers, rate, pool | Adam of 2e-4, beta1 of 0.5, constant and then along a line; 50 images | the same |
| batches | 100 of each domain | 8 |

`error` is that of the classifier of domain a on the test images of a domain, and `error_translated` that on their translations:
from a to b of images that ought to keep their class, and from b to a of target images that are brought to the source.
"""

from collections.abc import Mapping
from typing import Literal

import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, objectives, optimizers
from jaxgen.analysis.translations import translation_model, translations_by_class
from jaxgen.flags import Count, Counts, Late, NonNegative, Positive, Whole
from jaxgen.game import merging
from jaxgen.losses import adversarial
from jaxgen.losses.classification import error
from jaxgen.models.cnn import LeNet
from jaxgen.models.translation import PatchDiscriminator, ResnetTranslator, empty_pool, exchange
from jaxgen.objectives.cycle import DISCRIMINATORS, DOMAINS, POOLS, TRANSLATORS
from jaxgen.types import Array, Batch, Key, Params, Vars

CHUNK = 16
"""Test images that are translated at a time; no value depends on it."""


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    target: str | data.Given = "slanted_digits",
    side: Count = 16,
    blocks: Whole = 3,
    width: Count = 16,
    layers: Whole = 2,
    channels: Counts = (16, 32),
    hidden: Counts = (64,),
    gan: tuple[Positive, Positive] = (2.0, 1.0),
    cycle: tuple[NonNegative, NonNegative] = (1.0, 1.0),
    identity: NonNegative = 0.0,
    semantic_limit: NonNegative = 1.0,
    pool: Whole = 50,
    steps: Whole = 1000,
    batch_size: Count = 8,
    learning_rate: Positive = 2e-4,
    classifier_rate: Positive = 1e-3,
    decay_steps: Whole | None = None,
    bf16: bool = False,
    direction: Late[Literal["a_to_b", "b_to_a"]] = "a_to_b",
) -> jaxgen.Experiment:
    """CycleGAN with semantic consistency, from a domain with labels to one without.

    Args:
      dataset: the images of domain a, the source, with their classes.
      target: the images of domain b, of the same classes; their labels are for measuring alone. If one domain is grey and the
        other in colour, both are taken in colour.
      side: the side to which the central squares of all images are brought, a multiple of 4.
      blocks: the residual blocks of the translators.
      width: the channels of the first maps of translators and discriminators.
      layers: the discriminators' convolutions of stride two: with 1, 2, 3 they judge patches of 16, 34 and 70 pixels, with 0
        single ones.
      channels: feature maps of the classifier's convolutions, the largest map first.
      hidden: widths of the classifier's dense layers.
      gan: the weights of the translators' adversarial losses, of translations of domain a and of domain b.
      cycle: the weights of the mean absolute difference of pixels, which are in [-1, 1], after the ways a to b to a, and b to a
        to b.
      identity: the weight, relative to that of the cycle, of what a translator changes in images of its target.
      semantic_limit: the classifier's cross-entropy on a batch of domain a, in nats, up to which translations are held to their
        classes; 0 never holds them to.
      pool: the number of translations into each domain that are kept and shown to the discriminators again; 0 keeps none.
      batch_size: the number of images of each domain in a step.
      learning_rate: Adam's learning rate of translators and discriminators.
      classifier_rate: Adam's learning rate of the classifier, which is constant.
      decay_steps: steps at the end over which the learning rate falls to zero along a line; by default half of them.
      direction: the way that samples are made: images of domain a into domain b, or back.
    """
    domains = data.load_domains(dict(zip(DOMAINS, (dataset, target), strict=True)), side=side)
    train, test = domains
    image, names = data.common_shape("image", *domains.splits.values()), data.common_classes("label", *domains.splits.values())
    scale = data.scale(-1, 1)

    dtype = jnp.bfloat16 if bf16 else jnp.float32
    translator = ResnetTranslator(blocks, width, image[-1], dtype)
    discriminator = PatchDiscriminator(layers, width, dtype, instance=True)
    classifier = LeNet(len(names), channels, hidden, dtype=dtype)
    losses = objectives.cycle_translation(
        (translator, translator),
        (discriminator, discriminator),
        adversarial.least_squares(),
        cycle=cycle,
        identity=identity,
        gan=gan,
        exchange=exchange if pool else None,
        further=objectives.semantic_consistency(classifier, limit=semantic_limit),
    )
    of_images = objectives.classification(classifier, name="classifier")

    def of_source(params: Params, state: jaxgen.TrainState, batch: Batch, key: Key, *, train: bool) -> tuple[Array, jaxgen.Aux]:
        return of_images(params, state, batch[DOMAINS[0]], key, train=train)

    rate = optimizers.constant_then_linear(learning_rate, steps=steps, falls=steps // 2 if decay_steps is None else decay_steps)
    tx, merge = optax.adam(rate, b1=0.5), {POOLS: merging.whole} if pool else {}
    inputs = {translator: TRANSLATORS, discriminator: DISCRIMINATORS, classifier: ("classifier",)}
    networks = {name: jaxgen.Network(module, jnp.zeros((1, *image))) for module, of in inputs.items() for name in of}

    def init(key: Key) -> tuple[Params, Vars]:
        params, vars = jaxgen.initialize(networks)(key)
        pools = {domain: empty_pool(image, pool) for domain in DOMAINS}
        return params, {**vars, POOLS: pools} if pool else vars

    model = translation_model((translator, translator), test)

    def measure_in(domain: str) -> jaxgen.Measure:
        """The terms of a domain's images, and the errors of the classifier of domain a on them and on their translations."""
        way = TRANSLATORS[DOMAINS.index(domain)]

        def measure(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
            x, params = batch["image"], state.params
            made = objectives.apply(translator, params, state.vars, x, name=way)[0]
            scores = {
                name: objectives.apply(classifier, params, state.vars, shown, name="classifier")[0]
                for name, shown in (("error", x), ("error_translated", made))
            }
            found = {name: error(own, batch["label"]) for name, own in scores.items()}
            return {**losses.terms[domain](state, batch, key), **found}

        return measure

    def into_target(state: jaxgen.TrainState, x: Array) -> Array:
        return model.translated(state, 255 * x, TRANSLATORS[0])

    return jaxgen.Experiment(
        train=data.join(**{d: data.shuffled(source, batch_size, scale) for d, source in train.items()}),
        players={
            "translators": jaxgen.Player(losses.translators, tx, owns=TRANSLATORS),
            "discriminators": jaxgen.Player(losses.discriminators, tx, owns=DISCRIMINATORS, merge=merge),
            "classifier": jaxgen.Player(of_source, optax.adam(classifier_rate, b1=0.5)),
        },
        steps=steps,
        networks=networks,
        init=init,
        splits=domains.splits,
        evaluators={
            f"test/{d}": jaxgen.mean_over(source, measure_in(d), batch_size=CHUNK, transform=scale)
            for d, source in test.items()
        },
        pictures={**model.pictures(), "classes": translations_by_class(test["a"], into_target, classes=len(names))},
        sample=model.sample(direction),
        given=model.conditions(direction),
        sampling=("direction",),
        # Errors in domain b need labels, and a small error of the cycle may come of translators that change nothing.
        best=None,
        schedules={"learning_rate": rate},
        protocol=dict.fromkeys(("cycle", "error", "error_translated"), ()),
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
