"""What `experiments.latent_diffusion` is wired to, held against Rombach et al. 2022 and the authors' code (github.com/CompVis/
latent-diffusion: ldm/models/diffusion/ddpm.py and ddim.py, ldm/modules/encoders/modules.py).

An orthogonal matrix stands in for the first stage, and a network whose answer is known for the U-Net."""

import inspect
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import orthogonal
import pytest
from contract import make
from orthogonal import IMAGE, LATENTS, TURN
from wiring.conftest import Measured

import experiments.latent_diffusion as module
import jaxgen
from jaxgen import data, diffusion
from jaxgen.data.text import END, PAD, START
from jaxgen.objectives import LATENT_SCALE
from jaxgen.runs import run

NAME, KEY = "latent_diffusion", jax.random.key(3)
X = jnp.asarray(np.random.default_rng(0).normal(size=(3, *LATENTS)), jnp.float32)
LABEL = jnp.asarray([0, 3, 9])


class Known(nn.Module):
    """The answer `constant` and the mean of the context's first numbers."""

    @nn.compact
    def __call__(self, x: Any, time: Any, context: Any = None, mask: Any = None, *, train: bool = False) -> Any:
        out = self.param("constant", nn.initializers.zeros_init(), ()) + 0 * x
        return out if context is None else out + context[:, :1, :1, None]


@pytest.fixture(autouse=True)
def first_stage(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts another first stage in the place of the orthogonal one."""

    def put(part: Any) -> None:
        monkeypatch.setattr(module.jaxgen, "frozen", lambda run, network: part)

    put(orthogonal.part())
    return put


@pytest.fixture(autouse=True)
def networks(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The fields of the U-Nets that a test's experiments make."""
    made: list[dict[str, Any]] = []

    def unet(channels: int, multipliers: Any, blocks: int, attention_levels: Any, **fields: Any) -> Known:
        own = {"channels": channels, "multipliers": multipliers, "blocks": blocks, "levels": attention_levels}
        made.append(own | fields)
        return Known()

    monkeypatch.setattr(module.presets, "stable_diffusion", unet)
    return made


def tiny(**flags: Any) -> jaxgen.Experiment:
    return make(NAME, **{"first_stage": "runs/mine", **flags})


def calls(monkeypatch: pytest.MonkeyPatch, where: Any, name: str) -> list[tuple[Any, dict[str, Any]]]:
    """The arguments with which a function is called."""
    seen: list[tuple[Any, dict[str, Any]]] = []
    function = getattr(where, name)
    monkeypatch.setattr(where, name, lambda *of, **how: seen.append((of, how)) or function(*of, **how))
    return seen


def begun(experiment: jaxgen.Experiment) -> jaxgen.TrainState:
    """A state whose tokens of the classes are 0, 1, 2 ... in every number."""
    state = run.begin(experiment, 0)
    table = state.params["model"]["encoder"]["embed"]["embedding"]
    known = {"encoder": {"embed": {"embedding": jnp.arange(float(len(table)))[:, None] + 0 * table}}}
    return state._replace(params={**state.params, "model": {**state.params["model"], **known}}, ema={})


def test_the_defaults_are_the_papers() -> None:
    written = {name: p.default for name, p in inspect.signature(module.experiment).parameters.items()}
    assert written["betas"] == (0.0015, 0.0195)
    assert written["timesteps"] == 1000
    assert (written["sampler"], written["sampling_steps"]) == ("ddim", 50)
    assert written["drop"] == 0.1
    assert written["decay"] == 0.01  # torch.optim.AdamW's own
    assert written["dropout"] == 0
    assert written["scale"] is None


def test_noise_is_predicted_on_the_chain_of_scaled_variances(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = calls(monkeypatch, module.objectives, "denoising_score_matching")
    tiny(timesteps=1000, betas=(0.00085, 0.012))
    (_, noise), how = seen[-1]
    np.testing.assert_allclose(noise.beta[1:], np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, rtol=1e-9)
    assert set(how) == {"told"}


@pytest.mark.parametrize(("told", "depth"), [("label", 1), (None, 0)])
def test_the_network_gets_its_flags(networks: list[dict[str, Any]], told: Any, depth: int) -> None:
    flags = {"channels": (4, 12), "blocks": 2, "attention_levels": (1,), "dropout": 0.3, "remat": True, "bf16": True}
    tiny(told=told, heads=2, **flags)
    expected = {"channels": 4, "multipliers": (1, 3), "blocks": 2, "levels": (1,), "heads": 2, "dropout": 0.3}
    assert networks[-1] == expected | {"transformer_depth": depth, "outputs": 4, "remat": True, "dtype": jnp.bfloat16}


def test_latents_of_training_images_are_diffused_and_not_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those times the scale; the error of a network that answers 0 is the power of the noise."""
    seen: list[Any] = []
    matching = module.objectives.denoising_score_matching

    def recording(*of: Any, **how: Any) -> Any:
        loss = matching(*of, **how)

        def recorded(params: Any, state: Any, batch: Any, key: Any, *, train: bool) -> Any:
            seen.append(np.asarray(batch["image"]))
            return loss(params, state, batch, key, train=train)

        return recorded

    monkeypatch.setattr(module.objectives, "denoising_score_matching", recording)
    experiment = tiny(told=None)
    state = run.begin(experiment, 0)
    x = np.random.default_rng(1).normal(size=(6, *IMAGE)).astype(np.float32)
    batch = {"image": jnp.asarray(x), "slot": jnp.arange(6)}
    found, _ = experiment.players["model"].loss(state.params, state, batch, KEY, train=True)
    z = (x.reshape(6, -1) @ TURN.T).reshape(6, *LATENTS)
    np.testing.assert_allclose(seen[0], float(state.vars[LATENT_SCALE]) * z, rtol=1e-4, atol=1e-5)
    own = jax.vmap(lambda slot: jax.random.fold_in(jax.random.fold_in(KEY, slot), 1))(jnp.arange(6))
    noise = jax.vmap(lambda key: jax.random.normal(key, LATENTS))(own)
    np.testing.assert_allclose(found, (noise**2).mean((1, 2, 3)), rtol=1e-5)
    assert experiment.networks["model"].inputs[0].shape == (1, *LATENTS)


def test_a_step_moves_the_model_and_neither_the_first_stage_nor_the_scale() -> None:
    experiment = tiny()
    state = run.begin(experiment, 0)
    step = jax.jit(jaxgen.make_train_step(experiment.players, ema=experiment.ema))
    batch = {"image": jnp.ones((8, *IMAGE)), "label": jnp.arange(8), "slot": jnp.arange(8)}
    before = jax.tree.map(np.asarray, (state.params, state.vars))
    state, _ = step(state, batch)
    assert set(experiment.players) == set(state.opt) == set(state.ema) == {"model"}
    np.testing.assert_array_equal(state.params["first_stage"]["turn"], before[0]["first_stage"]["turn"])
    np.testing.assert_array_equal(state.params["first_stage"]["turn"], TURN)
    assert state.vars[LATENT_SCALE] == before[1][LATENT_SCALE]
    assert state.params["model"]["denoiser"]["constant"] != 0
    moved = state.params["model"]["encoder"]["embed"]["embedding"] - before[0]["model"]["encoder"]["embed"]["embedding"]
    assert (np.abs(moved) > 0).any()


def test_the_scale_is_that_of_a_shuffled_batch_or_the_one_that_is_given(first_stage: Callable[..., None]) -> None:
    first_stage(orthogonal.part(factor=3.0))
    experiment = tiny(batch_size=16)
    found = run.begin(experiment, 0).vars[LATENT_SCALE]
    stream = data.shuffled(experiment.splits["train"], 16, data.scale(-1.0, 1.0))
    x = stream.read(0, seed=0)["image"][0] / 127.5 - 1.0
    z = 3 * x.reshape(16, -1) @ TURN.T
    assert float(found) == pytest.approx(1 / z.std(ddof=1), rel=1e-4)
    given = run.begin(tiny(scale=0.18215), 0).vars[LATENT_SCALE]
    assert float(given) == pytest.approx(0.18215)


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
    """What `of_sampler` gets."""
    return calls(monkeypatch, module.diffusion_model, "of_sampler")


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_the_noise_is_guided_and_nothing_is_clipped(sampled: list[Any], scale: float) -> None:
    """eps = eps_u + s (eps_c - eps_u), of a network that answers with its token; the number 10 stands for no class."""
    experiment = tiny(guidance=scale, timesteps=1000)
    denoise, level = sampled[-1][0][0], diffusion.scaled_linear(first=0.0015, last=0.0195).level(700)
    found = denoise(begun(experiment), {"label": LABEL})(X, level)
    eps = (10 + scale * (LABEL - 10.0)).reshape(3, 1, 1, 1) + 0 * X
    np.testing.assert_allclose(found.eps, eps, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.x0, (X - level.sigma * eps) / level.alpha, rtol=1e-3, atol=1e-3)
    assert (np.abs(found.x0) > 1).any()


@pytest.mark.parametrize(("flags", "s"), [({}, 2), ({"drop": 0.0}, 1), ({"told": None}, 1), ({"guidance": 5.0}, 5)])
def test_the_guidance_by_default(flags: dict[str, Any], s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = calls(monkeypatch, module.diffusion_model.DiffusionModel, "pictures")
    tiny(**flags, sampling_steps=3)
    assert seen[-1][1]["drawn"] == f"guidance {s}, 3 ddim steps"


def test_samples_are_drawn_as_latents_and_decoded_once(sampled: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Any] = []
    plain = orthogonal.Orthogonal.from_latents
    monkeypatch.setattr(
        orthogonal.Orthogonal, "from_latents", lambda self, z, **how: decoded.append(z.shape) or plain(self, z, **how)
    )
    experiment = tiny(timesteps=1000, sampling_steps=3, scale=100.0, guidance=1.0)
    (_, _, start, shape), how = sampled[-1]
    chain = diffusion.scaled_linear(first=0.0015, last=0.0195)
    assert (shape, how["pixels"]) == (LATENTS, (-1.0, 1.0))
    assert float(start.sigma) == pytest.approx(chain.sigma[1000])
    state = begun(experiment)
    given = {"index": jnp.arange(5), "label": jnp.zeros(5, jnp.int32)}
    images = experiment.sample(state, KEY, given)
    assert decoded == [(5, *LATENTS)]
    # The network answers 0, so that every step of DDIM divides by alpha.
    first, _ = jax.random.split(KEY)
    z = chain.sigma[1000] * jax.random.normal(first, (5, *LATENTS)) / chain.alpha[1000]
    x = orthogonal.turned(z / 100)
    np.testing.assert_allclose(images, np.clip((x + 1) / 2, 0, 1), atol=1e-3)
    assert ((images > 0) & (images < 1)).any()


@pytest.mark.parametrize(("sampler", "count"), [("ddim", 2), ("ancestral", 6)])
def test_the_sampler_walks_evenly_spaced_steps(sampler: Any, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    method = module.samplers.ON_CHAIN[sampler]
    monkeypatch.setitem(module.samplers.ON_CHAIN, sampler, lambda chain: made.append(chain) or method(chain))
    tiny(timesteps=6, sampling_steps=count, sampler=sampler)
    np.testing.assert_array_equal(made[-1].time, np.linspace(0, 6, count + 1))


def test_the_pictures_show_pixels(first_stage: Callable[..., None]) -> None:
    experiment = tiny(scale=4.0)
    state = begun(experiment)
    shown = experiment.splits["test"].gather(np.arange(16))["image"] / 255
    forward = np.asarray(experiment.pictures["forward"](state, KEY).images)
    np.testing.assert_allclose(forward[:: len(forward) // 8], shown[:8], atol=1e-4)
    ceiling = np.asarray(experiment.pictures["reconstructions"](state, KEY).images)
    np.testing.assert_allclose(ceiling, np.concatenate([shown, shown]), atol=1e-4)
    reverse = experiment.pictures["reverse"](state, KEY)
    assert (reverse.columns, reverse.images.shape) == (16, (128, *IMAGE))


def test_the_ceiling_is_measured_in_brightness(measured: list[Measured]) -> None:
    """An image that is half of a grey level off everywhere has 10 log10(1 / d^2) decibels."""
    experiment = tiny()
    state, batch = begun(experiment), {"image": jnp.full((2, *IMAGE), 0.5)}
    at_end = measured[-1]
    assert (at_end.source is measured[-2].source is experiment.splits["test"], len(measured)) == (True, 2)
    less = state._replace(params={**state.params, "first_stage": {**state.params["first_stage"], "turn": 0.9 * TURN}})
    # Q^T Q is 0.81, so that 0.5 comes back as 0.405: 0.0475 of the brightness too dark.
    found = at_end.measure(less, batch, KEY)["reconstruction_psnr"]
    np.testing.assert_allclose(found, 20 * np.log10(1 / 0.0475), rtol=1e-3)


def test_data_are_read_where_they_belong(measured: list[Measured]) -> None:
    experiment = tiny()
    images = {"image": jnp.asarray([[[[0, 255]]]], jnp.uint8)}
    for one in measured:
        np.testing.assert_allclose(one.transform(images, KEY)["image"].ravel(), [-1, 1])
    assert "train" in experiment.train.names[0]
    assert experiment.splits["test"].length == 360


@pytest.mark.parametrize("drop", [0.1, 0.7])
def test_a_share_of_the_classes_is_dropped(drop: float, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = calls(monkeypatch, module.objectives, "denoising_score_matching")
    experiment = tiny(drop=drop, guidance=1.0)
    assert seen[-1][1]["told"] == {"tokens": ("label", 10, drop)}
    assert list(experiment.given.features) == ["label"]


def test_captions_are_tokens_and_an_empty_one_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"image": np.zeros((12, *IMAGE), np.uint8), "caption": np.array(["a red one", "a blue two"] * 6)}
    source = data.from_arrays(rows, name="captioned")
    seen = calls(monkeypatch, module.objectives, "denoising_score_matching")
    encoders = calls(monkeypatch, module, "TokenEncoder")
    experiment = tiny(told="caption", dataset=(source, source), vocabulary=300, text_length=7, text_width=8, text_depth=3)
    feature, nothing, drop = seen[-1][1]["told"]["tokens"]
    assert (feature, nothing.tolist(), drop) == ("tokens", [START, END, PAD, PAD, PAD, PAD, PAD], 0.1)
    (size, *of), how = encoders[-1]
    assert (of, how["padding"]) == ([7, 8, 3], PAD)
    assert 260 < size <= 300
    assert experiment.networks["model"].inputs[2].shape == (1, 7)
    given = experiment.given.given({"caption": ["a red one"]})
    assert jaxgen.given(1, given)["tokens"].tolist() == source_tokens(experiment)


def source_tokens(experiment: jaxgen.Experiment) -> list[list[int]]:
    """The tokens of the first training caption."""
    return experiment.splits["train"].gather(np.zeros(1, np.int64))["tokens"].tolist()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"timesteps": 5, "sampling_steps": 6}, "--sampling-steps 6 are more than --timesteps 5"),
        ({"told": None, "guidance": 2.0}, "--guidance 2 leads to a condition, and --told None has none"),
        ({"drop": 0.0, "guidance": 3.0}, "--guidance 3 needs a model that also knows no condition.*give --guidance 1"),
    ],
)
def test_flags_that_do_not_go_together(flags: dict[str, Any], sentence: str) -> None:
    with pytest.raises(jaxgen.UserError, match=sentence):
        tiny(**flags)


def test_a_run_without_maps_of_latents_is_refused(first_stage: Callable[..., None]) -> None:
    first_stage(orthogonal.part(role=None))
    with pytest.raises(jaxgen.UserError, match=r"is no autoencoder whose latents are maps; give a run of experiments\.latent_"):
        tiny()


def test_the_network_of_the_other_run_is_its_autoencoder(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(module.jaxgen, "frozen", lambda *of: asked.append(of) or orthogonal.part())
    tiny(first_stage="runs/other")
    assert asked == [("runs/other", "autoencoder")]


def test_images_of_another_size_are_refused() -> None:
    rows = {"image": np.zeros((8, 9, 9, 1), np.uint8)}
    with pytest.raises(jaxgen.UserError, match="images of --dataset are 9x9x1, and those of --first-stage 8x8x1"):
        tiny(told=None, dataset=(data.from_arrays(rows, name="large"), data.from_arrays(rows, name="large")))


def test_what_is_kept_and_where(monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = tiny(learning_rate=1e-4, warmup=10, ema=0.9, accumulate=2)
    assert set(experiment.frozen) == {"first_stage"}
    assert (experiment.ema, experiment.accumulate) == (0.9, 2)
    assert experiment.sampling == ("guidance", "sampler", "sampling_steps")
    rate = experiment.schedules["learning_rate"]
    assert (float(rate(5)), float(rate(500))) == (pytest.approx(0.5e-4), pytest.approx(1e-4))
