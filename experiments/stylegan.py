r"""StyleGAN (Karras, Laine, Aila 2019): a generator whose layers get styles, grown from one resolution to the next.

python -m experiments.stylegan                                         # digits from 4x4 to 8x8, nothing to download
python -m experiments.stylegan --dataset mnist --data-dir D --channels 32 64 64                 # 7x7, 14x14, 28x28
python -m experiments.stylegan --dataset cifar10 --data-dir D --channels 128 256 256 256 --doublings 1 --latents 512 --flip
python -m experiments.stylegan --weights stylegan_ffhq1024.pth --dataset faces.npz --latents 512 --doublings 8 \
    --channels 16 32 64 128 256 512 512 512 512              # goes on from the authors' weights, as genforce has converted them
jaxgen sample runs/stylegan --psi 0.7
jaxgen evaluate runs/stylegan --metrics frechet --psi 0.5 0.7 1
jaxgen evaluate runs/stylegan --lpips lpips.pth

Images grow in one run: the level of detail is a function of the step, data and samples keep their full size and lose their
details, and all parameters are there from the beginning. The final evaluation is the perceptual path length in z and in w, in
pixels, whose values are not comparable with the paper's. With `--lpips FILE` it is in the paper's distance, for images of 32x32
or larger; the package `lpips` writes the file: `torch.save(lpips.LPIPS(net="vgg").state_dict(), "lpips.pth")`.

Against the paper and the authors' code (github.com/NVlabs/stylegan, train.py, training/):

| | the paper, or its code | here |
| --- | --- | --- |
| losses | logistic, non-saturating, R1 of 10 in each step | the same, with R1 of --gamma, 0.1: 10 is too much for 8x8 |
| optimizer of both players | Adam with betas of 0 and 0.99, of 1e-3; more from 128x128 on | 5e-3 at all sizes |
| state of the optimizer | begins anew where a level begins to fade in, and where it is whole | the same |
| batches | smaller ones at larger sizes | --batch-size, the same at all sizes |
| growth | from 8x8; 600,000 images of a size, 600,000 to fade | --doublings, --hold and --fade |
| average of the generator | half of it is of the last 10,000 images | --ema; half of it is of the last 315 batches of 32 |
| running average of w | moves in both players' turns; the last one is used | moves in the generator's turn; averaged too |
| enlarging from 128x128 on | one transposed convolution | nearest pixels, then a convolution: the same functions |
| horizontal flips | for FFHQ | --flip |

With `--steps 0` the authors' weights stay as they are, to be sampled from and measured. The first command takes 4 minutes of
one core and gives digits that a person reads. Its path lengths are 93.1 +- 4.7 in z and 25.78 +- 0.83 in w (seed 0, 1,000
paths). The losses of the test split depend on the batch size: the discriminator sees groups.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, objectives, optimizers
from jaxgen.analysis.styles import Embedding, style_model
from jaxgen.flags import Count, Counts, Late, NonNegative, Place, Positive, Share, Whole
from jaxgen.game import merging
from jaxgen.losses import adversarial
from jaxgen.losses.penalty import r1
from jaxgen.measuring import collapse, tensors
from jaxgen.models.cnn.lpips import LPIPS, from_torch
from jaxgen.models.gan import genforce_weights, growing, progressive, stylegan
from jaxgen.types import Batch, Key, Params, Vars


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "digits",
    flip: bool = False,
    latents: Count = 32,
    channels: Counts = (24, 48),
    mapping_depth: Whole = 8,
    mixing: Share = 0.9,
    gamma: NonNegative = 0.1,
    group: Whole = 4,
    doublings: Whole = 0,
    hold: Count = 300,
    fade: Whole = 300,
    psi: Late[NonNegative] = 1.0,
    truncated: Late[Whole] = 8,
    path_samples: Late[Whole] = 1000,
    lpips: Late[Place | None] = None,
    weights: Place | None = None,
    steps: Whole = 3000,
    batch_size: Count = 32,
    learning_rate: Positive = 5e-3,
    ema: Share | None = 0.9978,
    accumulate: Count = 1,
    bf16: bool = False,
) -> jaxgen.Experiment:
    """A StyleGAN of images whose sides can be halved as often as there are levels of --channels.

    Args:
      latents: the dimension of z and of w; 512 in the paper.
      channels: the numbers of channels of both networks' maps, the largest map first. Each but the first halves the side.
      mapping_depth: the number of layers of the mapping network; with 0, w is z.
      mixing: the probability with which the styles of a batch are mixed from two latents.
      gamma: the weight of the R1 penalty; 10 in the paper.
      group: the number of examples whose standard deviation the discriminator sees; 0 shows none.
      doublings: the number of doublings that the networks begin with; the paper's begin at 8x8, with 1.
      hold: the number of steps in which the resolution stays, before the next level fades in.
      fade: the number of steps in which a level fades in.
      psi: the factor of the truncation of samples; 1 truncates none, and the paper's pictures have 0.7.
      truncated: the number of layers, from the coarsest on, that are truncated.
      path_samples: the number of paths of the final path length; 0 measures none.
      lpips: the file of the weights of LPIPS, in whose distance paths are measured, .safetensors or .pth; None takes pixels.
      weights: the file of genforce's weights that both networks begin with, .safetensors or .pth.
    """
    train, test = data.train_and_test(dataset)
    image = data.common_shape("image", train, test)
    growth = growing.growth(channels, doublings=doublings, hold=hold, fade=fade)
    if min(image[:2]) >> len(channels) - 1 < 2:
        raise jaxgen.UserError(
            f"--channels has {len(channels)} numbers, which halve images of {image[0]}x{image[1]} to maps of one pixel or "
            "less; give fewer, since instance normalisation makes one pixel zero."
        )
    transform = data.scale(-1, 1)
    dtype = jnp.bfloat16 if bf16 else jnp.float32
    widths = channels[::-1]
    generator = stylegan.Generator(image, widths, latents, mapping_depth, mixing=mixing, micro_batches=accumulate, dtype=dtype)
    discriminator = progressive.Discriminator(widths, group, blur=True, dtype=dtype)

    def tell(state: jaxgen.TrainState, batch: Batch, own: Key, whole: Key) -> tuple[dict[str, Any], dict[str, Any]]:
        both = {"lod": growth.lod(state.step), "mask": batch.get("mask")}
        return {**both, "key": own, "whole": whole}, both

    d_loss, g_loss = objectives.adversarial(
        generator,
        discriminator,
        adversarial.non_saturating,
        latents=latents,
        penalty=r1(gamma) if gamma else None,
        tell=tell,
        shown=lambda state, x: growth.shown(x, state.step),
    )
    adam = optax.adam(learning_rate, b1=0.0, b2=0.99)
    tx = optimizers.restarted(adam, growth.turning_points)
    players = {
        "discriminator": jaxgen.Player(d_loss, tx, ema=()),
        "generator": jaxgen.Player(g_loss, tx, merge={"averages": merging.same}),
    }
    losses = jaxgen.loss_of(players["discriminator"], "discriminator_loss")
    model = style_model(generator, latents, lod=lambda state: growth.lod(state.step), psi=psi, truncated=truncated)
    networks = {
        "discriminator": jaxgen.Network(discriminator, jnp.zeros((1, *image))),
        "generator": jaxgen.Network(generator, jnp.zeros((1, latents))),
    }

    def read(path: Place) -> tuple[Params, Vars]:
        file, name = tensors.read(path), str(path)
        judge = genforce_weights.discriminator(file, discriminator, image, name=name)
        own, averages = genforce_weights.stylegan_generator(file, generator, name=name)
        return {"discriminator": judge, "generator": own}, {"generator": averages}

    def init(key: Key) -> tuple[Params, Vars]:
        begun = jaxgen.initialize(networks)(key)
        return begun if weights is None else jaxgen.begin_with(lambda: read(weights), begun)

    vectors = LPIPS()
    if lpips is not None:
        jax.eval_shape(vectors.init, jax.random.key(0), jnp.zeros((1, *image)))  # refuses small images before the training
    embedding = (
        None if lpips is None else Embedding(vectors, lambda: from_torch(tensors.read(lpips), vectors.stages, name=str(lpips)))
    )
    lengths = [f"path_length_{'pixels' if embedding is None else embedding.name}_{space}" for space in "zw"]
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
                collapse.evaluator(model._replace(psi=1.0).sample, test),
            )
        },
        final={"test": model.path_length(path_samples, embedding)} if path_samples else {},
        pictures=model.pictures(),
        sample=model.sample,
        sampling=("psi", "truncated"),
        schedules={"lod": growth.lod},
        ema=ema,
        # No loss against a moving opponent can be compared between steps.
        best=None,
        alarms=(collapse.of_samples("a lower --learning-rate, a larger --gamma, or a larger --batch-size"),),
        accumulate=accumulate,
        protocol=dict.fromkeys(lengths if path_samples else (), ("path_samples",)),
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
