"""Style transfer by adaptive instance normalisation ("AdaIN"; Huang & Belongie 2017): any style, in one pass.

python -m experiments.style_transfer                                     # digits in the colours of others, nothing to download
python -m experiments.style_transfer --dataset PHOTOS --target PAINTINGS --side 256 --weights vgg_normalised.pth \
    --content 1 --learning-rate 1e-4 --steps 160000
jaxgen translate runs/style_transfer PICTURES --out OUT --resize --style 3 --alpha 0.5

With --weights the encoder is VGG-19 up to relu4_1, of a file that the user has: torchvision's, or the authors' "normalised" one
as PyTorch's tensors. Without, it is a small network of the same shape that first learns to reconstruct the images of both sets,
as an autoencoder, and then stands still. What is a style to it is not what is one to a network that knows a thousand classes.

Against the paper and its authors' code (github.com/xunhuang1995/AdaIN-style), and that by naoto0804 in PyTorch:

| | the paper, or its code | here |
| --- | --- | --- |
| encoder | VGG-19 to relu4_1, reflected borders | the same by --weights; else trained in the first steps |
| decoder | the encoder's mirror, nearest pixels, reflected borders, no normalisation | the same |
| style loss | moments of relu1_1 to relu4_1, sums over channels, weight 1e-2 | means over channels, weight 10, as naoto0804 |
| content loss | weight 1 | weight 10, for the small encoder; --content 1 |
| deviations | biased in the authors' code, unbiased in naoto0804's | biased |
| optimizer | Adam 1e-4, divided by 1 + 5e-5 t | Adam 1e-3, divided by 1 + 5e-5 t |
| images | resized to 512, cut to 256 | resized to --side + --jitter, cut to --side |
| batches | 8 pairs | the same |

The first, with seed 0, brings the style term of 360 test images from 0.0204 +- 0.0006 of the content itself to 0.000105 +-
0.000002, with a content term of 0.000133 +- 0.000004. Of 16 images, 200 steps of descent by themselves reach 0.000045 and
0.000070, and the network in one pass 0.000089 and 0.000096. Grounds and tints are taken over; strokes that are lighter than
their ground stay so, since moments do not say which part of an image has which colour.

`content` and `style` are the two terms, in a mean over the test images, each with a style that is drawn for it. `style_before`
is the style term of the content itself, without a transfer. `style_optimised` and `content_optimised` are the terms of images
that descend both by themselves, in `optimised_steps` steps from the content, on the first 16 pairs, and `style_first` and
`content_first` those of the network's images of these.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxgen
from jaxgen import data, keys, objectives
from jaxgen.analysis.style_optimisation import optimised
from jaxgen.flags import Count, Counts, Fraction, Late, NonNegative, Place, Positive, Share, Whole
from jaxgen.measuring import tensors
from jaxgen.models.translation import TO_RELU4_1, TransferDecoder, TransferEncoder
from jaxgen.models.translation.vgg_weights import from_torch
from jaxgen.progress import Track
from jaxgen.types import Array, Batch, Key, Params
from jaxgen.uncertainty import named

STYLES = 64
"""Test images whose styles are given to content in evaluations and pictures."""

PAIRS = 16
"""Test images whose pixels are optimised."""


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    target: str | data.Given = "captioned_digits",
    weights: Place | None = None,
    side: Count = 32,
    jitter: Whole = 0,
    channels: Counts = (32, 64),
    content: NonNegative = 10.0,
    style_weight: NonNegative = 10.0,
    encoder_steps: Whole = 500,
    steps: Whole = 2000,
    batch_size: Count = 8,
    learning_rate: Positive = 1e-3,
    decay: NonNegative = 5e-5,
    ema: Share | None = None,
    accumulate: Count = 1,
    bf16: bool = False,
    alpha: Late[Fraction] = 1.0,
    style: Late[Whole | None] = None,
    optimised_steps: Late[Whole] = 200,
) -> jaxgen.Experiment:
    """A network that gives the images of one set the styles of images of another.

    Args:
      dataset: the images of the contents, as any dataset with the splits train and test.
      target: the images of the styles, in the same way. If one set is grey and the other in colour, both are taken in colour.
      weights: the file of VGG's weights, .safetensors or .pth; None trains an encoder of --channels first.
      side: the side to which the central squares of all images are brought.
      jitter: pixels by which training images are enlarged before they are cut to their size again.
      channels: the channels of the stages of an encoder without weights; each stage but the last halves the side.
      content: the weight of the content term.
      style_weight: the weight of the style term.
      encoder_steps: steps at the beginning in which the encoder learns by reconstruction and the decoder waits; with weights
        there are none.
      batch_size: the number of pairs of images in a step.
      decay: the number d by which the learning rate falls, as 1 / (1 + d t).
      alpha: the strength of the style in samples and pictures, from 0, the content as the decoder has it, to 1.
      style: the number of the test image of the styles that all samples take theirs from; None gives the i-th sample the i-th.
      optimised_steps: steps of the images that descend both terms by themselves; 0 leaves these figures out.
    """
    # VGG takes images in colour alone.
    domains = data.load_domains({"a": dataset, "b": target}, side=side, colour=weights is not None)
    train, test = domains
    image = data.common_shape("image", *domains.splits.values())
    if style is not None and style >= test["b"].length:
        raise jaxgen.UserError(f"--style is {style}, and there are {test['b'].length:,} test images of styles; count from 0.")

    dtype = jnp.bfloat16 if bf16 else jnp.float32
    stages = TO_RELU4_1 if weights is not None else tuple((c, c) for c in channels)
    encoder = TransferEncoder(stages, recoloured=weights is not None, dtype=dtype)
    decoder = TransferDecoder(image[-1], stages, dtype)
    losses = objectives.style_transfer(encoder, decoder, decoder, content=content, style=style_weight)
    networks = {"encoder": jaxgen.Network(encoder, jnp.zeros((1, *image)))}
    maps = jax.eval_shape(lambda: encoder.init_with_output(jax.random.key(0), jnp.zeros((1, *image)))[0])
    networks["decoder"] = jaxgen.Network(decoder, jnp.zeros(maps[-1].shape))
    learns = 0 if weights is not None else encoder_steps
    if 0 < steps <= learns:
        raise jaxgen.UserError(f"--encoder-steps {learns} leave none of --steps {steps} for the decoder; give more steps.")

    def rate(step: Array) -> Array:
        return learning_rate / (1 + decay * step)

    tx = optax.adam(rate)
    players = {"decoder": jaxgen.Player(losses.decoder, tx, when=lambda state, metrics: state.step >= learns)}
    if weights is None:
        networks["reconstructor"] = networks["decoder"]
        owns = ("encoder", "reconstructor")
        first = jaxgen.Player(losses.encoder, optax.adam(learning_rate), owns=owns, when=lambda s, m: s.step < learns, ema=())
        players = {"autoencoder": first, **players}

    held: dict[str, Callable[[], Params]] = {}
    if weights is not None:
        held["encoder"] = lambda: from_torch(tensors.read(weights), encoder, name=str(weights))
    bank = jnp.asarray(data.in_order(test["b"], min(STYLES, test["b"].length))[0]["image"], jnp.float32) / 255

    def weighted(terms: Mapping[str, Array]) -> Array:
        return content * terms["content"] + style_weight * terms["style"]

    def measure(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        own, x = keys.per_example(key, batch), batch["image"]
        drawn = keys.draw(lambda k, shape: jax.random.randint(k, shape, 0, len(bank)), own, (len(x),))
        params, styles = state.params, bank[drawn]
        terms = losses.towards(params, x, styles)
        after = terms(losses.transfer(params, x, styles))
        return {"loss": weighted(after), **after, "style_before": terms(x)["style"]}

    pairs = min(PAIRS, len(bank), test["a"].length)
    shown = jnp.asarray(data.in_order(test["a"], pairs)[0]["image"], jnp.float32) / 255

    @jax.jit
    def by_descent(state: jaxgen.TrainState) -> tuple[Mapping[str, Array], ...]:
        terms = losses.towards(state.params, shown, bank[:pairs])
        made = losses.transfer(state.params, shown, bank[:pairs])
        return terms(made), terms(optimised(lambda x: weighted(terms(x)), shown, steps=optimised_steps))

    def compare(state: jaxgen.TrainState, key: Key, track: Track) -> Mapping[str, float]:
        found = zip(("first", "optimised"), by_descent(state), strict=True)
        values = {f"{term}_{which}": np.asarray(value) for which, terms in found for term, value in terms.items()}
        several = pairs > 1
        return named({k: (float(v.mean()), float(v.std(ddof=1) / pairs**0.5) if several else None) for k, v in values.items()})

    chosen = None if style is None else jnp.asarray(test["b"].gather(np.array([style]))["image"][0], jnp.float32) / 255

    @jax.jit
    def transferred(state: jaxgen.TrainState, x: Array, styles: Array, alpha: float | Array) -> Array:
        return losses.transfer(state.params, x, styles, alpha).clip(0, 1)

    def sample(state: jaxgen.TrainState, key: Key, given: Batch) -> Array:
        x, own = (jnp.asarray(given[name], jnp.float32) / 255 for name in ("image", "style"))
        return transferred(state, x, own if chosen is None else jnp.broadcast_to(chosen, own.shape), alpha)

    def transfers(state: jaxgen.TrainState, key: Key) -> jaxgen.Picture:
        made = transferred(state, shown, bank[:pairs], alpha)
        caption = f"Contents, styles, and the contents in these styles; step {int(state.step):,}"
        return jaxgen.Picture(jnp.concatenate([shown, bank[:pairs], made]), pairs, caption)

    def strengths(state: jaxgen.TrainState, key: Key) -> jaxgen.Picture:
        levels, n = jnp.linspace(0.0, 1.0, 5), min(8, pairs)
        rows = [transferred(state, shown[:n], bank[:n], level) for level in levels]
        caption = f"The strength of the style, from 0 above to 1 below; step {int(state.step):,}"
        return jaxgen.Picture(jnp.concatenate(rows), n, caption)

    def with_styles(indices: np.ndarray) -> dict[str, np.ndarray]:
        own = test["b"].gather(indices % test["b"].length)["image"]
        return {"image": test["a"].gather(indices)["image"], "style": own}

    larger = data.resample((side + jitter, side + jitter)) if jitter else data.identity
    augmented = data.chain(data.scale(), larger, data.crop(side))
    return jaxgen.Experiment(
        train=data.join(**{d: data.shuffled(source, batch_size, augmented) for d, source in train.items()}),
        players=players,
        steps=steps,
        networks=networks,
        init=jaxgen.initialize(networks, held),
        splits=domains.splits,
        evaluators={"test/a": jaxgen.mean_over(test["a"], measure, batch_size=16, transform=data.scale())},
        final={"test/a": compare} if optimised_steps else {},
        pictures={"transfers": transfers, "strengths": strengths},
        sample=sample,
        given=jaxgen.Conditions(test["a"]._replace(gather=with_styles), features=("image", "style")),
        sampling=("alpha", "style"),
        ema=ema,
        accumulate=accumulate,
        # Its terms are those of an encoder that is trained in the same run.
        best=None,
        schedules={"learning_rate": rate},
        # Nor can they be compared between runs.
        protocol={},
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
