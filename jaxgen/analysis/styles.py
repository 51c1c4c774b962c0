"""A generator with styles as a value: its samples, its pictures, and the lengths of paths in its two latent spaces."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxgen import objectives
from jaxgen.analysis import latent_space
from jaxgen.analysis.path_length import along_line, along_sphere, path_lengths, trimmed_mean
from jaxgen.game import TrainState
from jaxgen.pictures import Picture
from jaxgen.progress import Track
from jaxgen.types import Array, Batch, Key, Params
from jaxgen.uncertainty import named

PSIS = (1.0, 0.7, 0.5, 0.3, 0.0, -0.5)
"""The factors of the truncation in a picture, as far as to the opposite of the average."""

CHUNK, FEW = 250, 10
"""The number of paths that are measured at once, in pixels and in the vectors of a network."""

MOST = 256
"""The side above which images are made smaller before a network sees them."""


class Embedding(NamedTuple):
    """A network whose vectors paths are measured in, such as `cnn.LPIPS`.

    Fields:
      module: the module, of images in [-1, 1] to vectors `[N, F]`.
      params: the function that reads the module's parameters; it is called where paths are measured.
      name: the name of its distance in the figures.
    """

    module: nn.Module
    params: Callable[[], Params]
    name: str = "lpips"


class StyleModel(NamedTuple):
    r"""The functions of a state that a generator with styles has, for an `Experiment`; `style_model` makes them.

    Fields:
      styles: the mapping, `(state, z [N, L], psi) -> w [N, layers, W]`, truncated by psi.
      images: the synthesis, `(state, w, key) -> images [N, H, W, C]`; the key, or a key of each, is that of the noise. Black is
        0 and white 1, with values beyond.
      latents: the dimension of $z \sim N(0, I)$.
      layers: the number of layers that have a style.
      psi: the factor of the truncation of samples.
    """

    styles: Callable[[TrainState, Array, float | Array], Array]
    images: Callable[[TrainState, Array, Key], Array]
    latents: int
    layers: int
    psi: float

    def sample(self, state: TrainState, key: Key, given: Batch) -> Array:
        """Images of normal latents: `Experiment.sample`."""
        z = jax.random.normal(jax.random.fold_in(key, 0), (len(given["index"]), self.latents))
        return jnp.clip(self.images(state, self.styles(state, z, self.psi), jax.random.fold_in(key, 1)), 0.0, 1.0)

    def pictures(self) -> dict[str, Callable[[TrainState, Key], Picture]]:
        """The pictures of the model, for `Experiment.pictures`: `samples`, `interpolations`, `mixing` and `truncation`."""

        def fixed(state: TrainState, w: Array, key: Key) -> Array:
            """Images that all have the same noise."""
            noise = jnp.broadcast_to(jax.random.fold_in(key, 1), (len(w),))
            return jnp.clip(self.images(state, w, noise), 0.0, 1.0)

        def draw(key: Key, n: int) -> Array:
            return jax.random.normal(jax.random.fold_in(key, 0), (n, self.latents))

        def samples(state: TrainState, key: Key) -> Picture:
            images = self.sample(state, key, {"index": np.arange(128)})
            return Picture(images, 16, f"Samples, psi {self.psi:g}; step {int(state.step):,}")

        def interpolate(state: TrainState, key: Key) -> Picture:
            w = self.styles(state, draw(key, 16), self.psi)
            images = latent_space.interpolations(lambda w: fixed(state, w, key), w[:8], w[8:], steps=16)
            return Picture(
                images, 16, f"From one sample to another along a line in w, with one noise; step {int(state.step):,}"
            )

        def mix(state: TrainState, key: Key) -> Picture:
            w = self.styles(state, draw(key, 21), self.psi)
            rows, columns = w[:6], w[6:]
            coarse = (jnp.arange(self.layers) < self.layers // 2)[:, None]
            mixed = jnp.where(coarse, rows[:, None], columns[None])
            images = fixed(state, jnp.concatenate([w, mixed.reshape(-1, *w.shape[1:])]), key)
            own, others, inside = images[:6], images[6:21], images[21:].reshape(6, 15, *images.shape[1:])
            top = jnp.concatenate([jnp.ones_like(own[:1]), others])
            body = jnp.concatenate([own[:, None], inside], axis=1).reshape(-1, *images.shape[1:])
            caption = (
                f"Mixed styles: coarse layers of the first column's sample, the other {self.layers - self.layers // 2} of the "
                f"first row's; step {int(state.step):,}"
            )
            return Picture(jnp.concatenate([top, body]), 16, caption)

        def truncate(state: TrainState, key: Key) -> Picture:
            z = draw(key, 16)
            images = jnp.concatenate([fixed(state, self.styles(state, z, psi), key) for psi in PSIS])
            shown = ", ".join(f"{psi:g}" for psi in PSIS)
            return Picture(images, 16, f"The same samples with psi of {shown}, from above; step {int(state.step):,}")

        return {"samples": samples, "interpolations": interpolate, "mixing": mix, "truncation": truncate}

    def path_length(
        self, samples: int, embedding: Embedding | None = None
    ) -> Callable[[TrainState, Key, Track], Mapping[str, float]]:
        """An evaluator of the path lengths in z and in w, in pixels of [0, 1] or in the vectors of a network.

        `path_length_pixels_z` goes along great circles between normal z, and `path_length_pixels_w` along lines between their
        w; with a network its name stands for `pixels`. Places are uniform on the path, both ends of a step have the same noise,
        and nothing is truncated. A network sees images of more than 256 pixels as means of blocks, as in the authors' code.

        Args:
          samples: the number of paths; some lengths at either end are left out.
          embedding: the network; None compares pixels, and values are then not comparable with the paper's.

        Returns:
          The evaluator.

        Source: Karras et al. 2019, section 4.1; their code, metrics/perceptual_path_length.py.
        """
        chunk, unit = (CHUNK, "pixels") if embedding is None else (FEW, embedding.name)

        @jax.jit
        def lengths(params: Params, state: TrainState, key: Key) -> tuple[Array, Array]:
            ends, place, noise = (jax.random.fold_in(key, i) for i in range(3))
            start, stop = jax.random.normal(ends, (2, chunk, self.latents))
            t = jax.random.uniform(place, (chunk,))
            own = jax.random.split(noise, chunk)

            def features(w: Array) -> Array:
                images = self.images(state, w, own)
                if embedding is None:
                    return images.reshape(chunk, -1)
                return jnp.asarray(embedding.module.apply({"params": params}, 2 * smaller(images) - 1))

            def of_w(w: Array) -> Array:
                return features(jnp.repeat(w[:, None], self.layers, axis=1))

            a, b = (self.styles(state, z, 1.0)[:, 0] for z in (start, stop))
            in_z = path_lengths(lambda z: features(self.styles(state, z, 1.0)), along_sphere, start, stop, t)
            return in_z, path_lengths(of_w, along_line, a, b, t)

        def evaluate(state: TrainState, key: Key, track: Track) -> Mapping[str, float]:
            params = {} if embedding is None else embedding.params()
            chunks = range(-(-samples // chunk))
            drawn = [
                jax.device_get(lengths(params, state, jax.random.fold_in(key, i)))
                for i in track(chunks, description="path lengths", total=len(chunks))
            ]
            in_z, in_w = (np.concatenate(found)[:samples] for found in zip(*drawn, strict=True))
            return named({f"path_length_{unit}_z": trimmed_mean(in_z), f"path_length_{unit}_w": trimmed_mean(in_w)})

        return evaluate


def smaller(images: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Means of square blocks of pixels, as large as leaves the shorter side `MOST` or more.

    >>> smaller(jnp.zeros((1, 1024, 1024, 3))).shape, smaller(jnp.zeros((1, 28, 28, 1))).shape
    ((1, 256, 256, 3), (1, 28, 28, 1))
    """
    b, height, width, c = images.shape
    factor = max(1, min(height, width) // MOST)
    blocks = images[:, : height // factor * factor, : width // factor * factor]
    return blocks.reshape(b, height // factor, factor, width // factor, factor, c).mean((2, 4))


def style_model(
    generator: Any,
    latents: int,
    *,
    lod: Callable[[TrainState], Array],
    psi: float = 1.0,
    truncated: int = 8,
    name: str = "generator",
) -> StyleModel:
    """The style model of a generator.

    Args:
      generator: a module with the methods `styles`, from z to w, and `synthesise`, from w to images in [-1, 1], and the number
        of its `layers`.
      latents: the dimension of z.
      lod: the level of detail, of a state.
      psi: the factor of the truncation of samples.
      truncated: the number of layers, from the coarsest on, that are truncated.
      name: the name of its parameters.

    Returns:
      The style model.
    """

    def apply(state: TrainState, x: Array, **told: Any) -> Array:
        method = "styles" if "psi" in told else "synthesise"
        found: Array = objectives.apply(generator, state.params, state.vars, x, name=name, method=method, told=told)[0]
        return found

    @jax.jit
    def styles(state: TrainState, z: Array, psi: float | Array) -> Array:
        return apply(state, z, psi=psi, truncated=truncated)

    @jax.jit
    def images(state: TrainState, w: Array, key: Key) -> Array:
        return (apply(state, w, lod=lod(state), key=key) + 1) / 2

    return StyleModel(styles, images, latents, generator.layers, psi)
