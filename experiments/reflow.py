"""Reflow (Liu et al. 2023): a trained flow, trained on between the ends of its own paths, which straightens them.

python -m experiments.flow_matching                                  # first the flow, in runs/flow_matching
python -m experiments.reflow                                         # then 2-rectified flow
python -m experiments.reflow --flow runs/reflow --workdir runs/reflow3          # 3-rectified flow, and so on
python -m experiments.reflow --flow runs/reflow --distil 1 --workdir runs/one   # its distillation into one step
jaxgen sample runs/reflow --sampling-steps 1
jaxgen evaluate runs/reflow --metrics frechet precision_recall --sampling-steps 1 2 4

The network goes on from the parameters of --flow. In each step new noise z is carried by the frozen flow to its image x, and
the network learns the velocity z - x of the straight line between the two. The dataset gives the shape of the images and the
real ones that samples are measured against; no image of it is trained on.

Against the paper (algorithm 1) and the authors' code (github.com/gnobitab/RectifiedFlow, run_lib_reflow.py):

| | the paper, or its code | here |
| --- | --- | --- |
| pairs | 1 million or more, by RK45; or in training, by 20 Euler steps of the averages | in training, by 20 Euler steps |
| start | the parameters of the flow | the averages of its parameters |
| times | uniform in [0.001, 1]; of a distillation into k steps the k times at which they begin | the same; without the 0.001 |
| loss | the squared error of the velocity; LPIPS where one step is distilled | the squared error alone |
| optimizer | Adam of 2e-4, a warm-up over 5,000 steps, clipping at 1, averages of 0.9999 | a rate of 3e-4, without a warm-up |
| before a distillation | a reflow, from whose pairs is distilled | as --flow says |

On digits (the second command, seed 0 alone, n = 360), the straightness falls from 0.1388 to 0.0108, and the squared
difference a pixel from the ends of the frozen flow from 0.248 to 0.034 by one step, from 0.053 to 0.015 by two, and from
0.0146 to 0.0092 by four. Each of the 200 steps solves the frozen flow in 20 evaluations: together seven minutes of processor
time.  Of a small network and eight modes on a ring, one reflow brings the straightness S from 0.517 to 0.004, the cost of
transport from 0.182 to 0.169, and the squared error of one step from 1.20 to 0.013 (2,000 noises, in a mean over both
numbers; seeds and sizes in `tests/objectives/test_coupling.py`, `pytest -m slow`).
"""

from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import optax

import jaxgen
from jaxgen import data, diffusion, keys, objectives, optimizers, samplers
from jaxgen.analysis import diffusion_model
from jaxgen.analysis.straightness import straightness
from jaxgen.diffusion import grids, laws
from jaxgen.flags import Count, Late, Positive, Share, Whole
from jaxgen.types import Array, Batch, Key, Params, Vars

PATH = diffusion.linear_path()
FEW = (1, 2, 4)
CHORDS = 20


@jaxgen.recorded
def experiment(
    *,
    flow: str = "runs/flow_matching",
    dataset: str | data.Given = "digits",
    pair_steps: Count = 20,
    distil: Whole = 0,
    sampler: Late[Literal["euler", "heun", samplers.OnChain]] = "euler",
    sampling_steps: Late[Count | None] = None,
    dropout: Share = 0.0,
    steps: Whole = 200,
    batch_size: Count = 64,
    learning_rate: Positive = 3e-4,
    warmup: Whole = 0,
    clip: Positive = 1.0,
    ema: Share = 0.99,
    accumulate: Count = 1,
) -> jaxgen.Experiment:
    """A flow whose paths are straightened by training between the ends of another flow's paths.

    Args:
      flow: the run of `experiments.flow_matching`, or of this experiment, whose paths are straightened; this run keeps it.
      dataset: a TFDS name, or a folder with the subfolders train and test; in Python also sources of arrays (`data.Given`). It
        is the set that the flow was trained on.
      pair_steps: steps of Euler's method from the noise of a pair to its image.
      distil: steps of Euler's method into which the flow is distilled: the velocity is learned at the times where they begin,
        and nowhere else. 0 is reflow, at all times.
      sampler: the method by which images are drawn: Euler's or Heun's in t, or one of diffusion models. Heun's takes two
        network evaluations a step, the others one.
      sampling_steps: steps of the sampler; by default as many as are distilled, or 2.
      warmup: steps over which the learning rate rises from zero along a line.
    """
    drawn_by = sampling_steps or distil or 2
    if distil and (sampler != "euler" or distil % drawn_by):
        raise jaxgen.UserError(
            f"--distil {distil} learns the velocity where {distil} of Euler's steps begin and nowhere else; sample by "
            f"--sampler euler and --sampling-steps that divide {distil}."
        )
    parent = jaxgen.frozen(flow)
    train, test = data.train_and_test(dataset)
    image = data.common_shape("image", train, test)
    role = diffusion_model.trained_on_path(parent, image)
    pixels, transform = role.pixels, data.scale(*role.pixels)

    network = parent.module.clone(dropout=dropout)
    after, before = (diffusion_model.denoise_by(network, diffusion.VELOCITY, name=name) for name in ("model", "flow"))

    def by_euler(steps: int) -> samplers.Sampler:
        return samplers.euler(PATH, grids.even(PATH, steps + 1))

    def pairs(state: jaxgen.TrainState, batch: Batch, z: Array) -> Array:
        return by_euler(pair_steps)(before(state, batch), z, jax.random.key(0)).x  # Euler's method draws nothing

    times = diffusion.Drawn(PATH, laws.among(grids.even(PATH, distil + 1)[:-1])) if distil else PATH
    regression = objectives.denoising_score_matching(network, times, diffusion.VELOCITY, noise="noise")
    rate = optimizers.learning_rate(learning_rate, steps=steps, warmup=warmup)
    player = jaxgen.Player(objectives.coupled(regression, pairs), optimizers.clipped(optax.adam(rate), clip))

    def init(key: Key) -> tuple[Params, Vars]:
        return {"model": parent.params}, {}

    grid = grids.even(PATH, drawn_by + 1)
    chain = diffusion.discretised(PATH, grid)
    methods: samplers.Methods = {
        "euler": lambda chain: samplers.euler(PATH, grid),
        "heun": lambda chain: samplers.heun(PATH, grid),
        **samplers.ON_CHAIN,
    }
    diffused = diffusion_model.of_sampler(after, methods[sampler](chain), chain.level(chain.steps), image, pixels=pixels)
    few = tuple(k for k in FEW if not distil or distil % k == 0)

    def measured(state: jaxgen.TrainState, batch: Batch, key: Key) -> Mapping[str, Array]:
        """Squared distances a pixel of samples by few steps from the ends of the frozen flow, and the straightness of both."""
        z = keys.draw(jax.random.normal, keys.per_example(key, batch), batch["image"].shape)
        end = pairs(state, batch, z)
        found: dict[str, Array] = {}
        for suffix, denoise in (("", after(state, batch)), ("_before", before(state, batch))):
            ends = {k: by_euler(k)(denoise, z, key).x for k in few}
            found |= {f"mse_{k}{suffix}": ((x - end) ** 2).mean((1, 2, 3)) for k, x in ends.items()}
            if not distil:
                paths = straightness(PATH, denoise, z, CHORDS)
                found |= {f"straightness{suffix}": paths.straightness, f"cost{suffix}": paths.cost}
        return found

    @jax.jit
    def side_by_side(state: jaxgen.TrainState, key: Key) -> Array:
        given, z = jaxgen.given(16), jax.random.normal(key, (16, *image))
        rows = [pairs(state, given, z)]
        rows += [by_euler(k)(of(state, given), z, key).x for of in (before, after) for k in few]
        return diffused.visible(jnp.concatenate(rows))

    def compared(state: jaxgen.TrainState, key: Key) -> jaxgen.Picture:
        several = ", ".join(map(str, few))
        caption = (
            f"From one noise a column: {pair_steps} steps of the frozen flow; {several} of it; {several} of this one; "
            f"training step {int(state.step):,}"
        )
        return jaxgen.Picture(side_by_side(state, key), 16, caption)

    def over_test(measure: jaxgen.Measure) -> jaxgen.Evaluator:
        return jaxgen.mean_over(test, measure, batch_size=batch_size, transform=transform)

    shown = data.examples(test, 8, transform)["image"]
    drawn = diffused.pictures(shown, chain, drawn=f"{drawn_by} {sampler} steps")
    names = (*(f"mse_{k}" for k in few), *(() if distil else ("straightness", "cost")))
    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, transform),
        players={"model": player},
        steps=steps,
        networks={"model": jaxgen.Network(network, *parent.inputs, role=role)},
        init=init,
        frozen={"flow": parent},
        splits={"train": train, "test": test},
        evaluators={"test": over_test(jaxgen.loss_of(player))},
        final={"test": over_test(measured)},
        pictures={"samples": drawn["samples"], "compared": compared},
        sample=diffused.sample,
        sampling=("sampler", "sampling_steps"),
        ema=ema,
        accumulate=accumulate,
        best=None,
        schedules={"learning_rate": rate},
        protocol=dict.fromkeys((*names, *(f"{name}_before" for name in names)), ("pair_steps",)),
    )


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
