"""What `experiments.clip` is wired to, held against Radford et al. 2021 (sections 2.3 to 2.5, 3.1.4, figure 3 and the common
hyperparameters of the appendix) and the authors' code (github.com/openai/CLIP: clip/model.py, the prompt-engineering notebook).

In most tests the two networks are a fixed linear map each, so that every figure has an oracle in numpy."""

import inspect
import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import make

import experiments.clip
import jaxgen
from jaxgen import data
from jaxgen.data.builders.captioned_digits import ATTRIBUTES
from jaxgen.types import Batch

N, D, LENGTH, VOCABULARY = 40, 6, 24, 400
RNG = np.random.default_rng(0)
IMAGE_MAP = RNG.normal(size=(32 * 32 * 3, D)) / 10
TEXT_MAP = RNG.normal(size=(VOCABULARY, LENGTH, D))


def image_vectors(x: Any) -> Any:
    return x.reshape(len(x), -1) @ IMAGE_MAP.astype(np.float32) + np.float32(0.1)


def text_vectors(tokens: Any) -> Any:
    """Vectors of very different lengths, so that it matters where they are normalised."""
    v = jnp.asarray(TEXT_MAP, jnp.float32)[tokens, jnp.arange(LENGTH)].sum(1)
    return v * jnp.exp(2 * jnp.tanh(v[:, :1]))


class Linear(nn.Module):
    """Two maps without parameters, that say zero in training."""

    image: nn.Module
    text: nn.Module
    temperature: float = 0.07

    def setup(self) -> None:
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(-math.log(self.temperature)), ())

    def encode_image(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        return image_vectors(x) * (not train)

    def encode_text(self, tokens: jax.Array, *, train: bool = False) -> jax.Array:
        return text_vectors(tokens) * (not train)

    def scale(self, *, train: bool = False) -> jax.Array:
        return jnp.exp(self.logit_scale)

    def __call__(self, x: jax.Array, tokens: jax.Array) -> jax.Array:
        return self.scale()


class Made(NamedTuple):
    """An experiment of linear maps; the splits it loaded, and what its tokenizer was trained on."""

    experiment: jaxgen.Experiment
    splits: list[str]
    corpus: list[str]
    tokenizer: data.Tokenizer

    def state(self) -> jaxgen.TrainState:
        return state_of(self.experiment)


def state_of(experiment: jaxgen.Experiment) -> jaxgen.TrainState:
    params, vars = experiment.initial(jax.random.key(0))
    return jaxgen.create_state(jax.random.key(1), params, vars, experiment.players)


@pytest.fixture(scope="module")
def made() -> Made:
    splits: list[str] = []
    corpus: list[str] = []
    tokenizers: list[data.Tokenizer] = []
    load, train = data.load, data.train_tokenizer

    def loading(name: str, split: str, **options: Any) -> data.Source:
        splits.append(split)
        return load(name, split, **options)

    def training(texts: Any, vocabulary: int) -> data.Tokenizer:
        corpus.extend(texts)
        tokenizers.append(train(corpus, vocabulary))
        return tokenizers[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", loading)
        patch.setattr(data, "train_tokenizer", training)
        patch.setattr(experiments.clip.clip, "CLIP", Linear)
        experiment = make("clip", pairs=N, vocabulary=VOCABULARY, text_length=LENGTH)
    return Made(experiment, splits, corpus, tokenizers[0])


@pytest.fixture(scope="module")
def test_set() -> tuple[data.Source, dict[str, np.ndarray]]:
    source = data.load("captioned_digits", f"test[:{N}]")
    return source, dict(source.gather(np.arange(N)))


@pytest.fixture(scope="module")
def found(made: Made) -> dict[str, float]:
    return dict(made.experiment.evaluators["test"](made.state(), jax.random.key(0), lambda items, **_: items))


def unit(v: Any) -> np.ndarray:
    v = np.asarray(v, np.float64)
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def vectors(made: Made, batch: dict[str, np.ndarray], texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of test images, of pixels in [-1, 1], and of texts."""
    tokens = np.stack([data.tokenise(made.tokenizer, text, LENGTH) for text in texts])
    return unit(image_vectors(np.asarray(batch["image"], np.float32) / 127.5 - 1)), unit(text_vectors(tokens))


def test_the_defaults() -> None:
    written = {name: p.default for name, p in inspect.signature(experiments.clip.experiment).parameters.items()}
    facts = {"temperature": 0.07, "weight_decay": 0.2, "flip": False, "ema": None, "pairs": None}
    assert {name: written[name] for name in facts} == facts


def test_the_tokenizer_and_the_model_see_the_training_split_and_figures_the_first_test_pairs(made: Made) -> None:
    assert made.splits == ["train", "train", f"test[:{N}]"]
    assert made.experiment.train.source.length == len(made.corpus) > 8000
    assert make("clip", pairs=5).protocol["image_to_text_at_1"] == ("pairs",)


def test_recall_is_that_of_cosines_each_way(made: Made, found: dict[str, float], test_set: Any) -> None:
    source, batch = test_set
    image, text = vectors(made, batch, list(data.texts(source)))
    attributes = np.stack([batch[name] for name in ATTRIBUTES], 1)
    right = (attributes[:, None] == attributes[None]).all(-1)
    cosine = image @ text.T
    values = {}
    for k in (1, 5, 10):
        for way, similarity in {"image_to_text": cosine, "text_to_image": cosine.T}.items():
            hits = np.take_along_axis(right, np.argsort(-similarity, 1)[:, :k], 1).any(1)
            values[f"{way}_at_{k}"] = hits.mean()
            assert found[f"{way}_at_{k}_stderr"] == pytest.approx(hits.std(ddof=1) / math.sqrt(N), abs=1e-6)
        count = right.sum(1)
        values[f"chance_at_{k}"] = np.mean([1 - math.comb(N - r, k) / math.comb(N, k) for r in count])
    assert {name: found[name] for name in values} == pytest.approx(values, abs=1e-5)
    assert any(values[f"image_to_text_at_{k}"] != values[f"text_to_image_at_{k}"] for k in (1, 5, 10))


def test_zero_shot_takes_the_mean_of_the_prompts_unit_vectors(made: Made, found: dict[str, float], test_set: Any) -> None:
    source, batch = test_set
    described = experiments.clip.prompts("captioned_digits", source.classes)
    assert set(described) == set(ATTRIBUTES)
    for name, by_class in described.items():
        image, _ = vectors(made, batch, ["a"])
        weights = np.stack([unit(vectors(made, batch, sentences)[1].mean(0)) for sentences in by_class])
        hits = (image @ weights.T).argmax(1) == batch[name]
        label = np.asarray(batch[name])
        assert found[f"zero_shot_{name}"] == pytest.approx(hits.mean(), abs=1e-5), name
        each = [hits[label == c].mean() for c in np.unique(label)]
        assert found[f"zero_shot_{name}_balanced"] == pytest.approx(np.mean(each), abs=1e-5), name
        assert found[f"zero_shot_{name}_chance"] == pytest.approx(1 / len(by_class))
        assert found[f"zero_shot_{name}_commonest"] == pytest.approx(np.bincount(label).max() / N)


def test_the_loss_reported_is_symmetric_over_a_batch_of_the_evaluation(made: Made, found: Any, test_set: Any) -> None:
    """Batches of 8, as in training; cosines are divided by the temperature of 0.07."""
    source, batch = test_set
    image, text = vectors(made, batch, list(data.texts(source)))
    values = []
    for start in range(0, N, 8):
        logits = image[start : start + 8] @ text[start : start + 8].T / 0.07
        values.extend(np.log(np.exp(rows).sum(1)) - np.diag(rows) for rows in (logits, logits.T))
    assert found["loss"] == pytest.approx(np.mean(values), rel=1e-4)
    assert found["scale"] == pytest.approx(1 / 0.07, rel=1e-5)


def test_the_picture_shows_the_images_nearest_to_each_of_five_captions(made: Made, test_set: Any) -> None:
    source, batch = test_set
    image, text = vectors(made, batch, list(data.texts(source)))
    queries = np.linspace(0, N - 1, 5).astype(int)
    shown = np.asarray(made.experiment.pictures["retrieved"](made.state(), jax.random.key(0)).images)
    nearest = np.argsort(-(text[queries] @ image.T), 1)[:, :10].ravel()
    np.testing.assert_allclose(shown[:, 2:-2, 2:-2], batch["image"][nearest] / 255, atol=1e-6)


@pytest.mark.parametrize("flags", [{}, {"crop": 0}, {"crop": 2}, {"crop": 0, "flip": True}])
def test_training_images_are_in_minus_1_to_1_shifted_over_their_own_edge(flags: Any) -> None:
    experiment = make("clip", **flags)
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 20:] = 255
    n = 60
    batch: Batch = {"image": jnp.asarray(np.tile(image, (n, 1, 1, 1))), "slot": jnp.arange(n)}
    seen = np.asarray(experiment.train.transform(batch, jax.random.key(0))["image"])
    assert set(np.unique(seen)) == {-1.0, 1.0}
    white = (seen[:, 0, :, 0] == 1).sum(1)
    by = flags.get("crop", 1)
    assert set(white) == set(range(12 - by, 13 + by))
    assert (seen[:, :, 0] == 1).all((1, 2)).any() == flags.get("flip", False)


@pytest.mark.parametrize("cosine", [True, False])
def test_the_rate_rises_over_the_warmup_and_falls_along_a_cosine(cosine: bool) -> None:
    experiment = make("clip", warmup=3, steps=9, cosine=cosine, learning_rate=0.1, weight_decay=0.0)
    tx, w = experiment.players["model"].tx, {"kernel": jnp.zeros(2)}
    opt = tx.init(w)
    for step in range(9):
        after = 0.05 * (1 + math.cos(math.pi * (step - 3) / 6)) if cosine else 0.1
        rate = 0.1 * step / 3 if step < 3 else after
        assert float(experiment.schedules["learning_rate"](step)) == pytest.approx(rate, abs=1e-7)
        updates, opt = tx.update({"kernel": jnp.ones(2)}, opt, w)
        np.testing.assert_allclose(-updates["kernel"], rate, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("encoder", ["vit", "resnet"])
def test_the_scale_ends_at_100_and_comes_back(encoder: Any) -> None:
    tx = make("clip", encoder=encoder, warmup=0, learning_rate=1.0, depth=1, width=16).players["model"].tx
    params = {"logit_scale": jnp.float32(math.log(90)), "kernel": jnp.ones(2)}
    opt = tx.init(params)
    for gradient, expected in ((-1.0, math.log(100)), (-1.0, math.log(100)), (30.0, None)):
        updates, opt = tx.update({"logit_scale": jnp.float32(gradient), "kernel": jnp.ones(2)}, opt, params)
        params = jax.tree.map(jnp.add, params, updates)
        if expected is None:
            assert params["logit_scale"] < math.log(100) - 0.1
        else:
            assert float(params["logit_scale"]) == pytest.approx(expected, abs=1e-6)


def test_the_temperature_starts_where_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments.clip.clip, "CLIP", Linear)
    for tau in (0.07, 0.5):
        params, _ = make("clip", temperature=tau).initial(jax.random.key(0))
        assert float(params["model"]["logit_scale"]) == pytest.approx(-math.log(tau), rel=1e-5)


@pytest.mark.slow
def test_a_text_is_read_off_at_its_end() -> None:
    """What follows the end token changes nothing, and each token before it something."""
    experiment = make("clip", text_length=8)
    state = state_of(experiment)
    start, end = data.text.START, data.text.END
    tokens = np.array([[start, 100, 101, 102, end, 0, 0, 0], [start, 110, 111, end, 0, 0, 0, 0]])
    x = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)), jnp.float32)

    @jax.jit
    def loss(tokens: jax.Array) -> jax.Array:
        batch: Batch = {"image": x, "tokens": tokens}
        return experiment.players["model"].loss(state.params, state, batch, jax.random.key(0), train=False)[0]

    before = np.asarray(loss(jnp.asarray(tokens)))
    for place in range(8):
        changed = tokens.copy()
        changed[0, place] = 150
        if place == 4:
            continue
        same = np.allclose(loss(jnp.asarray(changed)), before, rtol=0, atol=1e-7)
        assert same == (place > 4), place
