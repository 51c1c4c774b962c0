r"""Progressive GAN (Karras et al. 2018): networks that grow from one resolution to the next in the course of a run.

python -m experiments.progressive_gan                                  # digits from 4x4 to 8x8, nothing to download
python -m experiments.progressive_gan --doublings 1                    # the same networks at 8x8 from the beginning
python -m experiments.progressive_gan --dataset mnist --data-dir D --channels 32 64 64          # 7x7, 14x14, 28x28
python -m experiments.progressive_gan --dataset cifar10 --data-dir D --channels 128 256 512 512 --latents 512 --flip
python -m experiments.progressive_gan --weights pggan_celebahq1024.pth --dataset faces.npz --latents 512 --doublings 8 \
    --channels 16 32 64 128 256 512 512 512 512              # goes on from the authors' weights, as genforce has converted them
jaxgen evaluate runs/progressive_gan --metrics frechet precision_recall

The level of detail is a function of the step; data and samples keep their full size and lose their details, and all parameters
are there from the beginning. The first two commands take three minutes of processor time each, and give digits that a person
reads. One doubling is too few for growth to pay: with seed 0 the Fréchet distance of pixels is 0.330 with it and 0.330 without
(10,000 samples, 360 test images; 0.273 of real images), recall 0.44 and 0.43. The losses of the test split depend on the batch
size: the discriminator sees groups. With `--steps 0` the authors' weights stay as they are, to be sampled from and measured.

Against the paper and the authors' code (github.com/tkarras/progressive_growing_of_gans, train.py, loss.py, networks.py):

| | the paper, or its code | here |
| --- | --- | --- |
| losses | Wasserstein, a gradient penalty of 10 with a target of 1, a drift of 0.001 | the same |
| turns | one of the discriminator, one of the generator | the same |
| optimizer of both players | Adam with betas of 0 and 0.99, of 1e-3; more from 128x128 on | 5e-3 at all sizes |
| state of the optimizer | begins anew where a level begins to fade in, and where it is whole | the same |
| batches | smaller ones at larger sizes | --batch-size, the same at all sizes |
| growth | 600,000 images of a size, 600,000 to fade; its level moves after each fourth step | --hold and --fade; each step |
| z | 512 normal numbers, brought to a sphere | --latents of them, the same |
| groups of the deviation | 4; 16 in the first release | --group |
| average of the generator | 0.999 in each step | --ema |
| enlarging and halving | one transposed or strided convolution | pixels or means, and a convolution: the same functions |
| horizontal flips | for faces | --flip |
"""

from typing import Any

import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, objectives, optimizers
from jaxgen.analysis import latent_model
from jaxgen.flags import Count, Counts, NonNegative, Place, Positive, Share, Whole
from jaxgen.losses import adversarial
from jaxgen.losses.penalty import gradient_penalty
from jaxgen.measuring import collapse, tensors
from jaxgen.models.gan import genforce_weights, growing, progressive
from jaxgen.types import Batch, Key, Params, Vars


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    flip: bool = False,
    latents: Count = 32,
    channels: Counts = (24, 48),
    weight: NonNegative = 10.0,
    drift: NonNegative = 1e-3,
    group: Whole = 4,
    doublings: Whole = 0,
    hold: Count = 300,
    fade: Whole = 300,
    weights: Place | None = None,
    steps: Whole = 3000,
    batch_size: Count = 32,
    learning_rate: Positive = 5e-3,
    ema: Share | None = 0.9978,
    bf16: bool = False,
) -> jaxgen.Experiment:
    """A progressive GAN of images whose sides can be halved as often as there are levels of --channels.

    Args:
      latents: the dimension of z; 512 in the paper.
      channels: the numbers of channels of both networks' maps, the largest map first. Each but the first halves the side.
      weight: the weight of the gradient penalty.
      drift: the weight of the squares of the discriminator's values of data, which keeps them near zero.
      group: the number of examples whose standard deviation the discriminator sees; 0 shows none.
      doublings: the number of doublings that the networks begin with; all of them is training without growth.
      hold: the number of steps in which the resolution stays, before the next level fades in.
      fade: the number of steps in which a level fades in.
      weights: the file of genforce's weights that both networks begin with, .safetensors or .pth.
    """
    train, test = data.train_and_test(dataset)
    image = data.common_shape("image", train, test)
    growth = growing.growth(channels, doublings=doublings, hold=hold, fade=fade)
    transform = data.scale(-1, 1)
    dtype = jnp.bfloat16 if bf16 else jnp.float32
    generator = progressive.Generator(image, channels[::-1], dtype)
    discriminator = progressive.Discriminator(channels[::-1], group, dtype=dtype)

    def tell(state: jaxgen.TrainState, batch: Batch, own: Key, whole: Key) -> tuple[dict[str, Any], dict[str, Any]]:
        lod = growth.lod(state.step)
        return {"lod": lod}, {"lod": lod, "mask": batch.get("mask")}

    d_loss, g_loss = objectives.adversarial(
        generator,
        discriminator,
        adversarial.drifting(adversarial.wasserstein, drift),
        latents=latents,
        penalty=gradient_penalty(weight) if weight else None,
        tell=tell,
        shown=lambda state, x: growth.shown(x, state.step),
    )
    tx = optimizers.restarted(optax.adam(learning_rate, b1=0.0, b2=0.99), growth.turning_points)
    players = {"discriminator": jaxgen.Player(d_loss, tx, ema=()), "generator": jaxgen.Player(g_loss, tx)}
    losses = jaxgen.loss_of(players["discriminator"], "discriminator_loss")
    space = latent_model.of_generator(generator, latents, told=lambda state: {"lod": growth.lod(state.step)})
    networks = {
        "discriminator": jaxgen.Network(discriminator, jnp.zeros((1, *image))),
        "generator": jaxgen.Network(generator, jnp.zeros((1, latents))),
    }

    def read(path: Place) -> Params:
        file, name = tensors.read(path), str(path)
        judge = genforce_weights.discriminator(file, discriminator, image, name=name)
        return {
            "discriminator": judge,
            "generator": genforce_weights.progressive_generator(file, generator, latents, name=name),
        }

    def init(key: Key) -> tuple[Params, Vars]:
        params, vars = jaxgen.initialize(networks)(key)
        return params if weights is None else jaxgen.begin_with(lambda: read(weights), params), vars

    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, data.chain(data.flip(), transform) if flip else transform),
        players=players,
        steps=steps,
        networks=networks,
        init=init,
        splits={"train": train, "test": test},
        evaluators={
            "test": jaxgen.joined(
                jaxgen.mean_over(test, losses, batch_size=batch_size, transform=transform),
                collapse.evaluator(space.sample, test),
            )
        },
        pictures=space.pictures(),
        sample=space.sample,
        schedules={"lod": growth.lod},
        ema=ema,
        # No loss against a moving opponent can be compared between steps.
        best=None,
        alarms=(collapse.of_samples("a lower --learning-rate, a larger --weight, or a larger --batch-size"),),
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
