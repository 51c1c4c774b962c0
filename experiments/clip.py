"""Contrastive language-image pre-training (Radford et al. 2021): encoders of images and of captions into one space.

python -m experiments.clip                    # captioned digits, nothing to download
python -m experiments.clip --cosine           # text to image recall@1 89.4 %, image to text 78.2 % of 2,160 (chance 0.13 %);
                                              # zero-shot digit 64.4 % (chance 10 %), colour 99.5 % (17 %), place 99.6 % (20 %),
                                              # ground 62.5 % (50 %)
python -m experiments.clip --dataset emoji --data-dir D --text-width 96 --vocabulary 1000 --crop 4 --batch-size 128 --cosine
                                              # recall@1 47.8 % and 48.8 %, @10 63 % of 320 (chance 0.3 %, 3.1 %); zero-shot
                                              # group 32.2 %, over groups 25.9 % (chance 11.1 %; always "people" 49.4 %)

The last two took 26 and 53 minutes on 2 cores that a dozen other programs shared.

The mean of a class's prompts finds what the text encoder codes by itself. It codes the ground together with the rest
of the caption: whole captions that differ in the ground alone find it each time, and the mean of prompts hardly does.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxgen
from jaxgen import data, objectives, optimizers
from jaxgen.data.builders import captioned_digits
from jaxgen.data.text import END
from jaxgen.flags import Count, NonNegative, Positive, Share, Whole
from jaxgen.losses.contrastive import normalize
from jaxgen.metrics import retrieval, zero_shot
from jaxgen.metrics.inputs import check_labels
from jaxgen.models import clip, transformers
from jaxgen.types import Array, Batch, Key, PyTree
from jaxgen.uncertainty import named

CHUNK = 240
"""Test pairs that are encoded at a time."""

ADAM = {"resnet": (0.999, 1e-8), "vit": (0.98, 1e-6)}
"""Adam's beta2 and epsilon by image encoder (Radford et al. 2021, appendix F, "common hyperparameters")."""

Estimate = tuple[Array, Array | None]
"""A value, and its standard error where it has one."""

TEMPLATES = ("{}", "a photo of a {}", "a picture of {}", "an image of the {}")
"""Prompts of a class by its name, for a set that is not listed below."""

EMOJI: tuple[tuple[str, ...], ...] = (
    ("smiling face", "crying face", "angry face", "face with tongue", "heart"),
    ("person", "woman", "man running", "hand", "man: dark skin tone", "woman: light skin tone", "family"),
    ("dog face", "bird", "fish", "insect", "flower", "tree", "animal"),
    ("fruit", "vegetable", "bread", "drink", "cup", "dish of food", "cake"),
    ("house", "building", "car", "train", "airplane", "mountain", "clock", "sun", "weather"),
    ("ball", "medal", "trophy", "game", "party", "ribbon", "sport"),
    ("book", "phone", "clothes", "tool", "lock", "musical instrument", "bag", "computer"),
    ("sign", "arrow", "button", "square", "circle", "symbol", "letter"),
    ("flag", "triangular flag", "crossed flags"),
)
"""Names of the emoji's nine groups in words: "activities and events" is no name that a caption would have."""

SAME: Mapping[str, tuple[str, ...]] = {"captioned_digits": tuple(captioned_digits.ATTRIBUTES)}
"""The labels that a caption states in full, by dataset. Any caption that agrees on them is a right answer, in any words. In
other sets, captions are the same that differ in no more than case and spaces."""


def prompts(dataset: str, classes: Mapping[str, Sequence[str]], *, each: int = 40) -> dict[str, list[list[str]]]:
    """Descriptions of every class of every labelled attribute, as many of each class of one attribute."""
    if dataset == "captioned_digits":
        # The training captions' form with everything else left open, that is, drawn.
        rng = np.random.default_rng(0)
        fill = [{name: str(rng.choice(values)) for name, values in classes.items()} for _ in range(each)]
        word = captioned_digits.describe
        count = len(captioned_digits.TEMPLATES)
        return {
            name: [[word({**other, name: value}, i % count) for i, other in enumerate(fill)] for value in values]
            for name, values in classes.items()
        }
    if dataset == "emoji":
        most = max(map(len, EMOJI))
        return {"group": [[words[i % len(words)] for i in range(most)] for words in EMOJI]}
    return {name: [[t.format(value) for t in TEMPLATES] for value in values] for name, values in classes.items()}


def decayed(params: PyTree) -> PyTree:
    """The paper's choice: all weights that are not gains or biases; nor the temperature."""
    return jax.tree_util.tree_map_with_path(lambda path, p: path[-1].key not in ("bias", "scale", "logit_scale"), params)


@jaxgen.recorded
def experiment(
    *,
    dataset: str | data.Given = "captioned_digits",
    vocabulary: Count = 400,
    text_length: Count = 24,
    encoder: Literal["vit", "resnet"] = "resnet",
    patch: Count = 4,
    width: Count = 64,
    depth: Count = 3,
    heads: Count = 4,
    text_width: Count = 64,
    text_depth: Count = 2,
    embedding: Count = 64,
    crop: Whole = 1,
    flip: bool = False,
    steps: Whole = 1200,
    batch_size: Count = 256,
    learning_rate: Positive = 1e-3,
    warmup: Whole = 100,
    cosine: bool = False,
    weight_decay: NonNegative = 0.2,
    temperature: Positive = 0.07,
    ema: Share | None = None,
    bf16: bool = False,
    remat: bool = False,
    pairs: Count | None = None,
) -> jaxgen.Experiment:
    """CLIP on any prepared set with captions.

    Args:
      dataset: a TFDS name, or in Python sources of arrays (`data.Given`); its examples have an image and a text `caption`.
      vocabulary: byte pairs of the tokenizer, which is trained on the training captions; 260 of them are special or bytes.
      text_length: tokens of a caption, start and end included; longer ones are cut.
      encoder: the encoder of images: a residual network with attention pooling, or a Transformer over patches.
      patch: side of the vit's patches.
      width: the width of the image encoder: that of the vit's tokens, or four times the channels of the resnet's stem.
      depth: blocks of the vit, or stages of two bottlenecks of the resnet.
      heads: the number of heads of every attention.
      text_width: the width of the text encoder.
      text_depth: blocks of the text encoder.
      embedding: dimension of the common space.
      crop: pixels by which a training image is shifted at most, each way.
      flip: whether to mirror training images; not where captions name left and right.
      batch_size: pairs in a step: each has the others as its negatives.
      learning_rate: AdamW's learning rate.
      warmup: steps over which the learning rate rises from zero.
      cosine: whether to let it fall to zero again along a cosine over the other steps, as in the paper.
      weight_decay: the decay of all weights that are not gains or biases.
      temperature: the temperature tau at the start; it is learned, and 1 / tau held at 100 or below.
      bf16: whether to compute in bfloat16; parameters and the loss stay in float32.
      remat: whether to recompute the Transformers' blocks in the backward pass to save memory.
      pairs: the number of test pairs that are evaluated; by default all. Recall depends on it.
    """
    if batch_size < 2:
        raise jaxgen.UserError("A batch of one pair has no negatives to tell it from; give --batch-size 2 or more.")
    tokenizer = data.train_tokenizer(data.texts(data.load(dataset, "train")), vocabulary)
    mapped = data.tokenised(tokenizer, text_length)
    train = data.load(dataset, "train", **mapped)
    test = data.load(dataset, "test" if pairs is None else f"test[:{pairs}]", **mapped)
    image = data.common_shape("image", train, test)
    if crop and image[0] != image[1]:
        raise jaxgen.UserError(f"--crop {crop} shifts squares, and these images are {image[0]}x{image[1]}; give --crop 0.")
    shift = data.chain(data.pad(crop, mode="edge"), data.crop(image[0])) if crop else data.identity
    scale = data.scale(-1, 1)

    dtype = jnp.bfloat16 if bf16 else jnp.float32
    vision: Mapping[str, Callable[[], nn.Module]] = {
        "vit": lambda: transformers.VisionTransformer(patch, width, depth, heads, embedding, remat, dtype),
        "resnet": lambda: clip.ResNet((2,) * depth, width // 4, heads, embedding, dtype),
    }
    text = transformers.TextTransformer(
        tokenizer.size, text_length, text_width, text_depth, heads, embedding, END, remat, dtype
    )
    model = clip.CLIP(vision[encoder](), text, temperature)
    example = (jnp.zeros((1, *image)), jnp.zeros((1, text_length), jnp.int32))

    rate = optimizers.learning_rate(learning_rate, steps=steps, warmup=warmup, cosine=cosine)
    b2, eps = ADAM[encoder]
    adam = optax.adamw(rate, b2=b2, eps=eps, weight_decay=weight_decay, mask=decayed)
    player = jaxgen.Player(objectives.contrastive(model), optax.chain(adam, objectives.clip_scale(100.0)))

    known = dataset.split(":")[0] if isinstance(dataset, str) else ""  # sets whose captions and classes we know
    words = prompts(known, test.classes)
    shapes = {name: (len(by_class), len(by_class[0])) for name, by_class in words.items()}
    sentences = [sentence for by_class in words.values() for of_class in by_class for sentence in of_class]
    tokens = [data.tokenise(tokenizer, sentence, text_length) for sentence in sentences]
    prompt_tokens = np.array(tokens, np.int32).reshape(-1, text_length)  # none of a set without labels
    columns = {name: column(test, name) for name in words}
    for name, of_test in columns.items():
        check_labels(of_test, classes=len(test.classes[name]), name=f"the {name}s of {test.name}")
    labels = {name: jnp.asarray(of_test, jnp.int32) for name, of_test in columns.items()}
    told = SAME.get(known)
    captions = data.texts(test)
    meaning = (
        captions if told is None else [" ".join(map(str, row)) for row in zip(*(column(test, n) for n in told), strict=True)]
    )
    # Pictures that are equal, and captions that mean the same, are each as good an answer as the other.
    picture, text_meaning = retrieval.groups(pictures(test)), retrieval.groups(meaning)
    right = {
        "text": jnp.asarray(retrieval.relevant(picture, text_meaning)),
        "image": jnp.asarray(retrieval.relevant(text_meaning, picture)),
    }
    queries = np.linspace(0, test.length - 1, 5).astype(int)
    asked = [captions[i] for i in queries]

    @jax.jit
    def encode(state: jaxgen.TrainState, batch: Batch) -> tuple[Array, Array]:
        x = scale(batch, state.key)["image"]
        image, _ = objectives.apply(model, state.params, state.vars, x, method="encode_image")
        return image, encode_text(state, batch["tokens"])

    @jax.jit
    def encode_text(state: jaxgen.TrainState, tokens: Array) -> Array:
        return objectives.apply(model, state.params, state.vars, tokens, method="encode_text")[0]

    def embed(state: jaxgen.TrainState, track: Any) -> tuple[Array, Array]:
        """The vectors of all test images and of their captions."""
        batches = data.prefetch(lambda batch: batch, data.in_order(test, CHUNK))
        rows = [encode(state, batch) for batch in track(batches, description="embedding", total=-(-test.length // CHUNK))]
        image, text = (jnp.concatenate(parts)[: test.length] for parts in zip(*rows, strict=True))
        return image, text

    @jax.jit
    def scores(
        image: Array, text: Array, described: Array, right: Mapping[str, Array], labels: Mapping[str, Array]
    ) -> dict[str, Estimate]:
        cosine = normalize(image) @ normalize(text).T
        values = {}
        for k in (1, 5, 10):
            values[f"image_to_text_at_{k}"] = over_examples(retrieval.recall(cosine, right["text"], k))
            values[f"text_to_image_at_{k}"] = over_examples(retrieval.recall(cosine.T, right["image"], k))
            values[f"chance_at_{k}"] = retrieval.chance(right["text"], k).mean(), None
        start = 0
        for name, (count, each) in shapes.items():
            vectors = described[start : start + count * each].reshape(count, each, -1)
            start += count * each
            hits = zero_shot.correct(image, zero_shot.ensemble(vectors), labels[name])
            values[f"zero_shot_{name}"] = over_examples(hits)
            values[f"zero_shot_{name}_balanced"] = zero_shot.balanced(hits, labels[name], count), None
            values[f"zero_shot_{name}_chance"] = jnp.asarray(1 / count), None
            values[f"zero_shot_{name}_commonest"] = jnp.bincount(labels[name], length=count).max() / len(image), None
        return values

    over_test = jaxgen.mean_over(test, jaxgen.loss_of(player), batch_size=batch_size, transform=scale)

    def evaluate(state: jaxgen.TrainState, key: Key, track: Any) -> Mapping[str, float]:
        image, text = embed(state, track)
        values = jax.device_get(scores(image, text, encode_text(state, prompt_tokens), right, labels))
        return {**over_test(state, key, track), **named(jax.tree.map(float, values))}

    def retrieved(state: jaxgen.TrainState, key: Key) -> jaxgen.Picture:
        image, text = embed(state, lambda batches, **_: batches)
        cosine = normalize(image) @ normalize(text[queries]).T
        found = np.asarray(jnp.argsort(-cosine, axis=0)[:10].T)
        told = ". ".join(f"{i + 1}: {caption}" for i, caption in enumerate(asked))
        hits = np.asarray(right["image"])[queries[:, None], found]
        return jaxgen.Picture(framed(test, found, hits), found.shape[1], f"What each caption finds, right ones framed. {told}")

    return jaxgen.Experiment(
        train=data.shuffled(train, batch_size, data.chain(shift, data.flip() if flip else data.identity, scale)),
        players={"model": player},
        steps=steps,
        networks={"model": jaxgen.Network(model, *example)},
        splits={"train": train, "test": test},
        evaluators={"test": evaluate},
        pictures={"retrieved": retrieved},
        ema=ema,
        schedules={"learning_rate": rate},
        protocol={
            **{f"{way}_at_{k}": ("pairs",) for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)},
            **{f"zero_shot_{name}{kind}": ("pairs",) for name in shapes for kind in ("", "_balanced")},
        },
    )


def over_examples(values: Array) -> Estimate:
    """The mean of one value per query and its standard error over the queries; the candidates are given."""
    return values.mean(), values.std(ddof=1) / jnp.sqrt(len(values))


def column(source: data.Source, name: str) -> np.ndarray:
    """One small feature of all examples; read in parts, since their images come along."""
    parts = np.array_split(np.arange(source.length), -(-source.length // 1024))
    return np.concatenate([source.gather(part)[name] for part in parts])


def pictures(source: data.Source) -> Iterator[np.ndarray]:
    """The images of all examples, one after another; read in parts."""
    for part in np.array_split(np.arange(source.length), -(-source.length // 1024)):
        yield from source.gather(part)["image"]


def framed(source: data.Source, found: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """The images `[n * k, H + 4, W + 4, 3]` with a frame, green around the right ones."""
    images = source.gather(found.reshape(-1))["image"] / 255
    frame = np.where(hits.reshape(-1, 1, 1, 1), np.array([0.1, 0.7, 0.2]), 1.0)
    out = np.broadcast_to(frame, (len(images), images.shape[1] + 4, images.shape[2] + 4, 3)).copy()
    out[:, 2:-2, 2:-2] = images
    return out


if __name__ == "__main__":
    jaxgen.run_experiment(experiment)
