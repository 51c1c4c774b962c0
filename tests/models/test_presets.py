"""The networks of the papers: their sizes, and that they run when made small."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parameters import filled, normal

from jaxgen.models.diffusion import presets


def count(model: Any, side: int, channels: int = 3, **told: Any) -> int:
    x = jnp.zeros((1, side, side, channels))
    shapes = jax.eval_shape(lambda key: model.init(key, x, jnp.zeros(1), **told), jax.random.key(0))
    return sum(p.size for p in jax.tree.leaves(shapes["params"]))


LABEL = {"label": jnp.zeros(1, jnp.int32)}


def test_ddpm_has_its_parameters() -> None:
    # Ho et al. 2020, section 4 and appendix B: 35.7 and 114 million.
    assert count(presets.ddpm(), 32) == 35_746_307
    large = presets.ddpm(multipliers=(1, 1, 2, 2, 4, 4), attention_levels=(4,), dropout=0.0)
    assert round(count(large, 256) / 1e6) == 114


def test_improved_ddpm_has_its_parameters() -> None:
    # The checkpoint cifar10_uncond_50M_500K.pt of the authors, by its name.
    assert 50e6 < count(presets.improved_ddpm(), 32) < 55e6


def test_adm_has_its_parameters() -> None:
    # Dhariwal & Nichol 2021, table 11: 296 million; "unlabelled" is ours.
    assert round((count(presets.adm(), 64, **LABEL) - 768) / 1e6) == 296


def test_stable_diffusion_has_its_parameters() -> None:
    # The configuration of Stable Diffusion 1 makes a U-Net of 859.52 million, as its code prints.
    context = {"context": jnp.zeros((1, 77, 768))}
    assert count(presets.stable_diffusion(), 64, 4, **context) == 859_520_964


SMALL: dict[str, Any] = {"channels": 8, "multipliers": (1, 2), "blocks": 0, "attention_levels": (1,)}
MAKERS = {
    "ddpm": (presets.ddpm, {}, 2),
    "improved_ddpm": (presets.improved_ddpm, {}, 6),
    "ddpmpp": (presets.ddpmpp, {"classes": 3}, 2),
    "ncsnpp": (presets.ncsnpp, {}, 2),
    "adm": (presets.adm, {"classes": 3, "outputs": 4}, 4),
    "stable_diffusion": (presets.stable_diffusion, {}, 2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_a_small_network_of_each_kind_runs(name: str) -> None:
    make, fields, outputs = MAKERS[name]
    model = make(**SMALL, **fields)
    x, time = normal(2, 8, 8, 2), jnp.array([0.1, 3.0])
    told: dict[str, Any] = {"label": jnp.array([0, 3])} if "classes" in fields else {}
    told |= {"context": normal(2, 4, 6)} if name == "stable_diffusion" else {}
    variables = filled(model, x, time, **told)
    y = model.apply(variables, x, time, **told)
    assert y.shape == (2, 8, 8, outputs)
    assert np.isfinite(y).all()
    assert set(variables) == ({"params", "constants"} if name == "ncsnpp" else {"params"})
    assert make(**SMALL, **fields, dropout=0.7, heads=3).dropout == 0.7


def test_kernels_start_within_the_papers_bounds() -> None:
    draw = lambda init: np.abs(init(jax.random.key(0), (3, 3, 40, 60))).max()
    fan_in, fan_out = 9 * 40, 9 * 60
    assert draw(presets.XAVIER) == pytest.approx((6 / (fan_in + fan_out)) ** 0.5, rel=1e-3)
    assert draw(presets.ALMOST_ZERO) == pytest.approx(1e-5 * (6 / (fan_in + fan_out)) ** 0.5, rel=1e-3)
    assert draw(presets.TORCH) == pytest.approx(fan_in**-0.5, rel=1e-3)


def test_fractions_of_the_channels() -> None:
    model = presets.adm(256, (0.5, 1, 1, 2, 2, 4, 4), 2, (4, 5, 6), dropout=0.0)
    assert (model.channels[0], model.width, model.stem) == (128, 256, None)
    assert presets.ddpmpp(multipliers=(2, 2, 2)).stem == 128
