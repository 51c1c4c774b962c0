"""The distributions that a bound needs, as pytrees of arrays with pure methods.

A small module of our own and not a library: distrax pulls in a nightly build of TensorFlow Probability, numpyro's objects bring
a probabilistic language along, and neither has the discretised logistic. The tests hold it against scipy and numpyro.
"""

from jaxgen.distributions.bernoulli import Bernoulli
from jaxgen.distributions.discretized_normal import DiscretizedNormal
from jaxgen.distributions.event import sum_event
from jaxgen.distributions.flow_posterior import FlowPosterior
from jaxgen.distributions.logistic import DiscretizedLogistic
from jaxgen.distributions.logistic_mixture import LogisticMixture
from jaxgen.distributions.multivariate_normal import MultivariateNormal
from jaxgen.distributions.normal import Normal

__all__ = [
    "Bernoulli",
    "DiscretizedLogistic",
    "DiscretizedNormal",
    "FlowPosterior",
    "LogisticMixture",
    "MultivariateNormal",
    "Normal",
    "sum_event",
]
