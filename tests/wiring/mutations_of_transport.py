"""Faults in transport and in approximate Bayesian computation, such as a person makes.

Each is one change of text, and a test of the file named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

from wiring.mutations_of_likelihoods import Change

SINKHORN: Sequence[Change] = [
    ("no slope", "return Transport(value + slope,", "return Transport(value,"),
    ("a slope of the whole", "value = epsilon * ((a * f)", "value = 2 * epsilon * ((a * f)"),
    ("one potential", " + (b * g).sum())", ")"),
    (
        "points without mass",
        "jnp.exp(log_a[:, None] + log_b + f[:, None] + g - fixed)",
        "a[:, None] * b * jnp.exp(f[:, None] + g - fixed)",
    ),
    ("the masses of the rows", "-jax.nn.logsumexp(log_b + g - fixed, axis=1)", "-jax.nn.logsumexp(g - fixed, axis=1)"),
    ("not debiased", "across - of_x / 2 - of_y / 2,", "across,"),
    ("debiased by one", "across - of_x / 2 - of_y / 2,", "across - of_x / 2,"),
    ("distances that are not squared", "((point - y) ** 2).sum(-1)", "jnp.abs(point - y).sum(-1)"),
]

OBJECTIVE: Sequence[Change] = [
    ("padding counts", 'batch["mask"].astype(jnp.float32) if "mask" in batch else jnp.ones(len(x))', "jnp.ones(len(x))"),
    ("each replica for itself", "(collectives.gather(of) for of in (made, x, mask))", "(made, x, mask)"),
    ("uniform codes", "keys.draw(jax.random.normal,", "keys.draw(jax.random.uniform,"),
]

PLANS: Sequence[Change] = [
    ("the potentials are swapped", 'log["u"], log["v"]', 'log["v"], log["u"]'),
    ("a map the other way", "a = inverse @", "a = root @"),
    ("no shift", "return a, other_mean - a @ mean", "return a, other_mean"),
]

ABC: Sequence[Change] = [
    ("ties are far", "off <= epsilon)", "off < epsilon)"),
    (
        "the last chunk is lost",
        "i in range(first, first + n, at_once)]",
        "i in range(first, first + n - at_once + 1, at_once)]",
    ),
    ("chunks draw the same", "jnp.arange(i, min(i + at_once, first + n))", "jnp.arange(min(at_once, first + n - i))"),
    ("the rate of all that ran", "int(order[-1]) + 1)", "done)"),
    ("the farthest share", 'np.argsort(off, kind="stable")[:count]', 'np.argsort(-off, kind="stable")[:count]'),
    (
        "flat weights of the regression",
        "posterior.weight * (1 - (posterior.distance / posterior.epsilon) ** 2)",
        "posterior.weight",
    ),
    ("moved the other way", "posterior.theta - off @ slope", "posterior.theta + off @ slope"),
    ("unweighted populations", "weight=weight / weight.sum()))\n    return populations", "))\n    return populations"),
    ("the prior is forgotten", "log_prior(theta) - jax.nn.logsumexp", "-jax.nn.logsumexp"),
    ("hardly any noise", "np.linalg.cholesky(2 * before.covariance)", "np.linalg.cholesky(1e-4 * before.covariance)"),
    (
        "outside of the prior",
        "jnp.where(jnp.isfinite(log_prior(theta)),",
        "jnp.where(True,",
    ),
    (
        "a mean deviation",
        "np.median(np.abs(statistics - np.median(statistics, axis=0)), axis=0)",
        "np.mean(np.abs(statistics - np.median(statistics, axis=0)), axis=0)",
    ),
]

FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("jaxgen/losses/sinkhorn.py", "losses/test_sinkhorn.py"): SINKHORN,
    ("jaxgen/objectives/sinkhorn.py", "objectives/test_sinkhorn_objective.py"): OBJECTIVE,
    ("jaxgen/metrics/plans.py", "metrics/test_plans.py"): PLANS,
    ("jaxgen/samplers/approximate_bayesian.py", "samplers/test_approximate_bayesian.py"): ABC,
}
"""By file of the package and file of tests: what is wrong, the text, and what it becomes."""
