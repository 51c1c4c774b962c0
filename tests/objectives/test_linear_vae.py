"""Training a linear VAE finds probabilistic PCA (Lucas et al. 2019), whose likelihood scikit-learn knows."""

import jax
import jax.numpy as jnp
import linear_gaussian as lg
import numpy as np
import optax
import pytest
from sklearn.decomposition import PCA

from jaxgen.game import LossFn, Player, TrainState, create_state, make_train_step
from jaxgen.objectives import elbo, importance_weighted

MODEL = lg.LinearGaussian(dim=5, latents=2)
TRUTH = {**lg.exact(5, 2), "weight": lg.exact(5, 2)["weight"] * [1.0, 1.6], "log_sigma": np.array(-0.5)}
X = lg.draw(TRUTH, 1000)


def trained(loss: LossFn) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    start = {
        "weight": 0.5 * rng.normal(size=(5, 2)),
        "mean": np.zeros(5),
        "log_sigma": np.zeros(()),
        "encoder": 0.1 * rng.normal(size=(2, 5)),
        "offset": np.zeros(2),
        "log_std": np.zeros(2),
    }
    players = {"model": Player(loss, optax.adam(optax.cosine_decay_schedule(0.05, 600)))}
    step = make_train_step(players)

    def run(state: TrainState, _: None) -> tuple[TrainState, None]:
        return step(state, {"image": jnp.array(X)})[0], None

    begin = create_state(jax.random.key(0), lg.tree(start), {}, players)
    end, _ = jax.jit(lambda state: jax.lax.scan(run, state, None, length=600))(begin)
    return {name: np.asarray(value) for name, value in end.params["model"].items()}


@pytest.mark.trains
@pytest.mark.parametrize(
    "loss",
    [elbo(MODEL), elbo(MODEL, analytic_kl=False, samples=2), importance_weighted(MODEL, samples=4)],
    ids=["analytic", "sampled", "weighted"],
)
def test_training_reaches_the_likelihood_of_pca_from_below(loss: LossFn) -> None:
    best = PCA(n_components=2).fit(X)
    params = trained(loss)
    # In nats an example. The bound's noise is that of 100 samples of each of 1,000 examples.
    bound = -np.asarray(lg.values(elbo(MODEL, samples=100), lg.tree(params), X)[0], np.float64).mean()
    likelihood = lg.evidence(params, X).mean()
    assert bound < likelihood + 0.01
    assert likelihood < best.score(X) + 1e-3
    assert bound > best.score(X) - 0.05
    w, sigma = params["weight"], np.exp(params["log_sigma"])
    np.testing.assert_allclose(w @ w.T + sigma**2 * np.eye(5), best.get_covariance(), atol=0.15)
    np.testing.assert_allclose(params["mean"], best.mean_, atol=0.05)
