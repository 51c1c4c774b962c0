"""What `experiments.vae --factors` is wired to: which values are compared with which latents, and what the picture shows.

Networks without hidden layers and with chosen weights have posterior means that are the pixels of the images."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make
from wiring.test_vae_facts import bare, chosen

import jaxgen
from jaxgen import data


def two_factors(shuffled: bool = False) -> data.Source:
    """Images of 2x2 pixels, of which the first is as bright as one factor and the second as the other, or of any others."""
    values = np.stack(np.meshgrid(np.arange(3), np.arange(4), np.arange(20), indexing="ij"), -1).reshape(-1, 3)
    images = np.zeros((len(values), 2, 2, 1), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = values[:, 0] * 120, values[:, 1] * 80
    images = np.random.default_rng(0).permutation(images) if shuffled else images
    return data.from_arrays(
        {"image": images, "first": values[:, 0], "second": values[:, 1], "third": 0 * values[:, 0]},
        name="two factors",
        classes={"first": "abc", "second": "abcd", "third": "a"},
    )


def following(experiment: jaxgen.Experiment, kernel: list[list[float]]) -> jaxgen.TrainState:
    """The state whose posterior means are these rows' products with the pixels."""
    params, vars = experiment.initial(jax.random.key(0))
    model = jax.tree.map(jnp.zeros_like, params["model"])
    matrix = np.asarray(kernel)
    model["head"]["kernel"] = model["head"]["kernel"].at[:, : len(matrix)].set(matrix.T)
    return jaxgen.create_state(jax.random.key(1), {"model": model}, vars, experiment.players)


quiet = lambda items, **_: items
FOLLOWED = {"beta_vae", "mig", "disentanglement", "completeness", "informativeness"}


def test_known_factors_are_measured_in_the_posteriors_means_of_the_test_images() -> None:
    flags: dict[str, Any] = {"dataset": (two_factors(shuffled=True), two_factors()), "latents": 2, "likelihood": "gaussian"}
    experiment = bare(**flags, factors=("first", "second"))
    right = following(experiment, [[0, 1, 0, 0], [1, 0, 0, 0]])
    found = experiment.final["test"](right, jax.random.key(0), quiet)
    assert found["mig"] == found["mig_first"] == found["mig_second"] == pytest.approx(1)
    assert min(found[name] for name in FOLLOWED) > 0.99
    both = following(experiment, [[0, 1, 0, 0], [0, 2, 0, 0]])
    found = experiment.final["test"](both, jax.random.key(0), quiet)
    assert (found["mig_first"], found["mig_second"]) == (pytest.approx(0, abs=1e-9), pytest.approx(0, abs=1e-9))
    assert found["informativeness_second"] == pytest.approx(1)
    assert found["informativeness_first"] < 0.6
    assert {"nll", "nll_stderr"} < found.keys()
    assert set(experiment.protocol) == {"nll", *FOLLOWED}
    assert experiment.protocol["mig"] == ("binarization", "likelihood", "factors")


def test_the_picture_of_factors_has_the_latent_of_each_and_its_informations() -> None:
    """z0 follows neither factor, z1 the second and z2 the first."""
    source = two_factors()
    experiment = bare(dataset=(source, source), latents=3, likelihood="gaussian", factors=("first", "second"))
    state = following(experiment, [[0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]])
    decoder = state.params["model"]["decoder"]["Dense_0"]
    decoder["kernel"] = decoder["kernel"].at[1, 2].set(1.0).at[2, 3].set(1.0)  # z1 to the third pixel, z2 to the fourth
    picture = experiment.pictures["factors"](state, jax.random.key(0))
    images = np.asarray(picture.images).reshape(2, 13, 4)
    assert picture.columns == 13
    walk = np.linspace(-3, 3, 11).clip(0, 1)
    np.testing.assert_allclose(images[0, :11, 3], walk, atol=1e-6)
    np.testing.assert_allclose(images[1, :11, 2], walk, atol=1e-6)
    np.testing.assert_allclose(images[:, 11:], np.broadcast_to(np.eye(2)[..., None], (2, 2, 4)), atol=1e-6)
    assert "first by z2 (1.00), second by z1 (1.00)" in picture.caption


def test_a_factor_that_is_the_same_in_all_images_is_refused() -> None:
    source = two_factors()
    experiment = bare(dataset=(source, source), latents=2, likelihood="gaussian", factors=("first", "third"))
    state = following(experiment, [[0, 1, 0, 0], [1, 0, 0, 0]])
    sentence = "All images of two factors have the same 'third', which no latent can follow; leave it out."
    with pytest.raises(jaxgen.UserError, match=sentence):
        experiment.final["test"](state, jax.random.key(0), quiet)
    with pytest.raises(jaxgen.UserError, match=sentence):
        experiment.pictures["factors"](state, jax.random.key(0))


def test_without_factors_nothing_is_measured_or_shown_of_them() -> None:
    experiment = bare()
    assert "factors" not in experiment.pictures
    assert set(experiment.protocol) == {"nll"}
    assert set(experiment.final["test"](chosen(experiment), jax.random.key(0), quiet)) == {"nll", "nll_stderr"}


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        ({"factors": ("first",)}, "does not name two factors or more, each once"),
        ({"factors": ("first", "first")}, "does not name two factors or more, each once"),
        ({"factors": ("first", "fourth")}, "has no classes of a feature 'fourth'"),
        ({"network": "conv", "decoder_hidden": (3,)}, "belong to the mlp"),
        ({"network": "residual", "decoder_activation": "tanh"}, "belong to the mlp"),
    ],
)
def test_factors_and_decoders_that_have_no_meaning_are_refused(flags: Any, match: str) -> None:
    source = two_factors()
    with pytest.raises(jaxgen.UserError, match=match):
        make("vae", dataset=(source, source), **flags)
