"""The losses of MUNIT, of networks that are products with a number, against the formula written out."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import normal

from jaxgen import keys, objectives
from jaxgen.game import TrainState
from jaxgen.losses import adversarial

N, SHAPE, LATENTS = 4, (4, 4, 2), 2
NUMBERS = {
    "autoencoder_a": {"content": 0.7, "style": 1.3, "decode": 1.2, "shift": -0.4},
    "autoencoder_b": {"content": -0.6, "style": 0.9, "decode": 0.8, "shift": 0.5},
    "discriminator_a": {"fine": 0.6, "coarse": -1.1},
    "discriminator_b": {"fine": -0.3, "coarse": 0.8},
    "vgg": {"factor": 1e-2},
}


class Coder(nn.Module):
    def setup(self) -> None:
        self.numbers = {n: self.param(n, nn.initializers.ones_init(), ()) for n in NUMBERS["autoencoder_a"]}

    def encode(self, x: Any, *, train: bool = False) -> Any:
        return self.numbers["content"] * x, self.numbers["style"] * x.mean((1, 2))

    def decode(self, c: Any, s: Any, *, train: bool = False) -> Any:
        return self.numbers["decode"] * c + self.numbers["shift"] * s[:, None, None]


class Judge(nn.Module):
    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        fine, coarse = (self.param(n, nn.initializers.ones_init(), ()) for n in NUMBERS["discriminator_a"])
        return fine * x[..., :1], coarse * x[:, ::2, ::2, 1:]


def of_maps(x: Any) -> Any:
    return jnp.concatenate([x[..., :1] * x[..., 1:], 3 * x + 1], axis=-1)


class Maps(nn.Module):
    """The maps of images, times a number that is no player's."""

    @nn.compact
    def __call__(self, x: Any, *, train: bool = False) -> Any:
        return self.param("factor", nn.initializers.ones_init(), ()) * of_maps(x)


WEIGHTS = {"gan": 0.5, "reconstruction": 3.0, "style": 0.7, "content": 2.0, "cycle": 1.5, "perceptual": 0.25}
PARAMS = {name: {n: jnp.float32(v) for n, v in of.items()} for name, of in NUMBERS.items()}
BATCH = {
    d: {"image": normal(N, *SHAPE, seed=i) + 0.3, "slot": jnp.arange(N), "index": jnp.arange(N)} for i, d in enumerate("ab")
}
KEY = jax.random.key(3)


def losses(**weights: float) -> Any:
    return objectives.multimodal_translation(
        (Coder(), Coder()),
        (Judge(), Judge()),
        adversarial.least_squares(),
        latents=LATENTS,
        **{**WEIGHTS, **weights},
        maps=Maps(),
    )


def state(params: Any = PARAMS) -> TrainState:
    return TrainState(jnp.int32(0), KEY, params, {}, {}, {})


def mean(x: Any) -> Any:
    return x.mean(tuple(range(1, x.ndim)))


def styles(domain: str) -> Any:
    own = keys.by_example(KEY, BATCH[domain])["key"]
    return jnp.stack([jax.random.normal(key, (LATENTS,)) for key in own])


def written_out(params: Any) -> tuple[Any, dict[str, Any]]:
    """The sum of both domains' terms."""
    total, terms = 0.0, {}
    for here, there in ("ab", "ba"):
        x, s_there = BATCH[here]["image"], styles(here)
        own, other, judge = (
            params[f"{n}_{d}"] for n, d in (("autoencoder", here), ("autoencoder", there), ("discriminator", there))
        )
        c, s = own["content"] * x, own["style"] * x.mean((1, 2))
        made = other["decode"] * c + other["shift"] * s_there[:, None, None]
        again = other["content"] * made
        decode = lambda c, own=own, s=s: own["decode"] * c + own["shift"] * s[:, None, None]
        normalised = lambda m: (m - m.mean((1, 2), keepdims=True)) / jnp.sqrt(m.var((1, 2), keepdims=True) + 1e-5)
        found = {
            "adversarial": mean((judge["fine"] * made[..., :1] - 1) ** 2)
            + mean((judge["coarse"] * made[:, ::2, ::2, 1:] - 1) ** 2),
            "reconstruction": mean(jnp.abs(decode(c) - x)),
            "style": mean(jnp.abs(other["style"] * made.mean((1, 2)) - s_there)),
            "content": mean(jnp.abs(again - c)),
            "cycle": mean(jnp.abs(decode(again) - x)),
            "perceptual": mean((normalised(1e-2 * of_maps(made)) - normalised(1e-2 * of_maps(x))) ** 2),
        }
        total = total + sum(WEIGHTS["gan" if n == "adversarial" else n] * v for n, v in found.items())
        terms |= {f"{n}_{here}": v for n, v in found.items()}
    return total, terms


def test_the_loss_of_the_autoencoders_and_its_gradient() -> None:
    """The gradient too: the contents are no constants."""
    loss = losses().autoencoders

    def ours(params: Any) -> Any:
        values, aux = loss(params, state(params), BATCH, KEY, train=True)
        return values.sum(), (values, aux.metrics)

    def formula(params: Any) -> Any:
        values, terms = written_out(params)
        return values.sum(), (values, terms)

    ((_, (values, metrics)), found), ((_, (expected, terms)), wanted) = jax.jit(
        lambda params: [jax.value_and_grad(of, has_aux=True)(params) for of in (ours, formula)]
    )(PARAMS)
    np.testing.assert_allclose(values, expected, rtol=1e-4)
    assert set(metrics) == set(terms)
    for name, value in terms.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4)
    for name in ("autoencoder_a", "autoencoder_b"):
        for number, value in wanted[name].items():
            assert found[name][number] == pytest.approx(float(value), rel=1e-3), (name, number)


@jax.jit
def judged() -> Any:
    values, aux = losses().discriminators(PARAMS, state(), BATCH, KEY, train=True)
    return values, dict(aux.metrics)


def measured(domain: str, batch: Any = None, key: Any = KEY, **weights: float) -> Any:
    return jax.jit(losses(**weights).terms[domain])(state(), BATCH[domain] if batch is None else batch, key)


def test_the_loss_of_the_discriminators_sums_the_sizes() -> None:
    values, metrics = judged()
    expected, logits = jax.jit(judged_by_hand)()
    np.testing.assert_allclose(values, expected, rtol=1e-4)
    assert set(metrics) == set(logits)
    for name, value in logits.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4)


def judged_by_hand() -> Any:
    expected, logits = 0.0, {}
    for here, there in ("ab", "ba"):
        own, other, judge = (
            PARAMS[f"{n}_{d}"] for n, d in (("autoencoder", here), ("autoencoder", there), ("discriminator", there))
        )
        made = other["decode"] * own["content"] * BATCH[here]["image"] + other["shift"] * styles(here)[:, None, None]
        sizes = [(judge["fine"] * x[..., :1], judge["coarse"] * x[:, ::2, ::2, 1:]) for x in (BATCH[there]["image"], made)]
        expected = expected + WEIGHTS["gan"] * sum(mean((r - 1) ** 2) + mean(f**2) for r, f in zip(*sizes, strict=True))
        for kind, of in zip(("real", "fake"), sizes, strict=True):
            logits[f"{kind}_logit_{there}"] = (mean(of[0]) + mean(of[1])) / 2
    return expected, logits


def test_what_is_measured_of_a_domain_are_its_terms_and_logits() -> None:
    terms = jax.jit(lambda: written_out(PARAMS)[1])()
    logits = judged()[1]
    for here, there in ("ab", "ba"):
        found = measured(here)
        for name in ("reconstruction", "style", "content", "adversarial", "cycle", "perceptual"):
            np.testing.assert_allclose(found[name], terms[f"{name}_{here}"], rtol=1e-4)
        np.testing.assert_allclose(found["real_logit"], logits[f"real_logit_{here}"], rtol=1e-4)
        np.testing.assert_allclose(found["fake_logit"], logits[f"fake_logit_{there}"], rtol=1e-4)


def test_terms_without_a_weight_are_left_out() -> None:
    found = measured("a", cycle=0.0, perceptual=0.0)
    assert set(found) == {"reconstruction", "style", "content", "adversarial", "real_logit", "fake_logit"}


def test_a_style_belongs_to_its_image() -> None:
    """An image's terms are what they are in another batch; other keys draw other styles."""
    whole = measured("a")["style"]
    part = measured("a", {name: value[1:3] for name, value in BATCH["a"].items()})["style"]
    np.testing.assert_allclose(part, whole[1:3], rtol=1e-5)
    assert np.abs(measured("a", key=jax.random.key(4))["style"] - whole).min() > 1e-4


def test_the_translation_takes_the_style_that_it_is_given() -> None:
    x, s = BATCH["b"]["image"], normal(N, LATENTS, seed=9)
    made = jax.jit(lambda x, s: losses().translate(PARAMS, x, s, 1))(x, s)
    np.testing.assert_allclose(made, 1.2 * -0.6 * x - 0.4 * s[:, None, None], rtol=1e-4, atol=1e-6)


def test_a_perceptual_weight_needs_maps() -> None:
    with pytest.raises(AssertionError, match="a perceptual weight needs a network's maps"):
        objectives.multimodal_translation((Coder(), Coder()), (Judge(), Judge()), adversarial.hinge, latents=2, perceptual=1.0)
