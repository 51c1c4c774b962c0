"""Data: sources of examples, streams of batches, and what happens to an example on the way."""

from jaxgen.data.cache import cached
from jaxgen.data.load import load, names, prepare, resize
from jaxgen.data.source import Source, common_classes, common_shape, from_arrays, from_examples, from_folder, map_examples
from jaxgen.data.stream import Joined, Shuffled, Stream, apply_transform, examples, in_order, join, prefetch, shuffled
from jaxgen.data.text import Tokenizer, detokenise, texts, tokenise, tokenised, train_tokenizer
from jaxgen.data.transforms import (
    Transform,
    binarize,
    binarize_statically,
    center_crop,
    chain,
    crop,
    dequantize,
    flip,
    identity,
    pad,
    scale,
)

__all__ = [
    "Joined",
    "Shuffled",
    "Source",
    "Stream",
    "Tokenizer",
    "Transform",
    "apply_transform",
    "binarize",
    "binarize_statically",
    "cached",
    "center_crop",
    "chain",
    "common_classes",
    "common_shape",
    "crop",
    "dequantize",
    "detokenise",
    "examples",
    "flip",
    "from_arrays",
    "from_examples",
    "from_folder",
    "identity",
    "in_order",
    "join",
    "load",
    "map_examples",
    "names",
    "pad",
    "prefetch",
    "prepare",
    "resize",
    "scale",
    "shuffled",
    "texts",
    "tokenise",
    "tokenised",
    "train_tokenizer",
]
