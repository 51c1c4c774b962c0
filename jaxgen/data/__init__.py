"""Data: sources of examples, streams of batches, and what happens to an example on the way."""

from jaxgen.data.by_name import place
from jaxgen.data.cache import cached
from jaxgen.data.compatibility import common_classes, common_shape, same_classes
from jaxgen.data.domains import Domains, load_domains
from jaxgen.data.edm_augmentation import AUGMENT_LABELS, augment_edm
from jaxgen.data.files import from_file
from jaxgen.data.folder import from_folder
from jaxgen.data.load import Given, load, located, train_and_test
from jaxgen.data.palette import Palette, coloured, palette_of, voc_colours
from jaxgen.data.pixels import resize, squared
from jaxgen.data.source import (
    Opened,
    Source,
    contents,
    from_arrays,
    from_examples,
    mean,
    record_opened,
    recording_opened,
    variance,
)
from jaxgen.data.splits import HeldOut, validating
from jaxgen.data.stream import Joined, Shuffled, Stream, apply_transform, examples, in_order, join, prefetch, shuffled
from jaxgen.data.text import Tokenizer, detokenise, texts, tokenise, tokenised, train_tokenizer
from jaxgen.data.tfds_prepare import Prepared, names, prepare, prepared
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
    jointly,
    one_hot,
    pad,
    quantize,
    resample,
    scale,
)
from jaxgen.data.views import in_bytes, in_colour, in_colour_together, map_examples, part, showing, stacked, take

__all__ = [
    "AUGMENT_LABELS",
    "Domains",
    "Given",
    "HeldOut",
    "Joined",
    "Opened",
    "Palette",
    "Prepared",
    "Shuffled",
    "Source",
    "Stream",
    "Tokenizer",
    "Transform",
    "apply_transform",
    "augment_edm",
    "binarize",
    "binarize_statically",
    "cached",
    "center_crop",
    "chain",
    "coloured",
    "common_classes",
    "common_shape",
    "contents",
    "crop",
    "dequantize",
    "detokenise",
    "examples",
    "flip",
    "from_arrays",
    "from_examples",
    "from_file",
    "from_folder",
    "identity",
    "in_bytes",
    "in_colour",
    "in_colour_together",
    "in_order",
    "join",
    "jointly",
    "load",
    "load_domains",
    "located",
    "map_examples",
    "mean",
    "names",
    "one_hot",
    "pad",
    "palette_of",
    "part",
    "place",
    "prefetch",
    "prepare",
    "prepared",
    "quantize",
    "record_opened",
    "recording_opened",
    "resample",
    "resize",
    "same_classes",
    "scale",
    "showing",
    "shuffled",
    "squared",
    "stacked",
    "take",
    "texts",
    "tokenise",
    "tokenised",
    "train_and_test",
    "train_tokenizer",
    "validating",
    "variance",
    "voc_colours",
]
