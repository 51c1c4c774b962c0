"""Text as numbers: a byte-pair tokenizer that is trained on a dataset's own captions.

It runs on the host, before the cache: `data.load(name, split, **tokenised(tokenizer, length))`. A device gets the tokens and
never the text.
"""

import functools
import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import sentencepiece

from jaxgen.data.source import Source
from jaxgen.errors import UserError

PAD, START, END, UNKNOWN = 0, 1, 2, 3
"""The tokens that no text contains; the last stays unused, since an unknown letter is spelled in bytes."""

SPECIAL = 4 + 256
"""The number of special tokens and bytes, which come before the learned pieces."""


class Tokenizer(NamedTuple):
    """A trained tokenizer, as a value: two with the same bytes are the same.

    Fields:
      model: sentencepiece's serialised model.
    """

    model: bytes

    @property
    def size(self) -> int:
        """The number of tokens, special ones and bytes included."""
        return _processor(self.model).vocab_size()

    @property
    def fingerprint(self) -> str:
        """A hash that changes when the vocabulary does: it is a part of the name of a cache of tokens."""
        return hashlib.sha256(self.model).hexdigest()[:12]


def train_tokenizer(corpus: Iterable[str | bytes], vocabulary: int) -> Tokenizer:
    """Learns a vocabulary of byte pairs: the most frequent pair of neighbouring pieces becomes a piece, until it is full.

    Upper case is folded and white space is one space. A letter that the corpus lacks is spelled in its bytes, so that no text
    is lost. The same corpus gives the same tokenizer, bit for bit.

    Args:
      corpus: texts; bytes are UTF-8.
      vocabulary: the largest number of tokens; a small corpus has fewer pairs. The special tokens and the bytes are 260 of
        them.

    Returns:
      The tokenizer.

    Raises:
      UserError: if the corpus is empty, or the vocabulary has no room for its letters.

    >>> tokenizer = train_tokenizer(["a red seven", "a blue seven"], 300)
    >>> detokenise(tokenizer, tokenise(tokenizer, "A red  seven!", 12))
    'a red seven!'

    Source: Sennrich et al. 2016, algorithm 1; Radford et al. 2021, section 2.4 (lower case, start and end tokens).
    """
    texts = [_text(line) for line in corpus]
    if not any(text.strip() for text in texts):
        raise UserError("A tokenizer cannot be trained on no text; give a dataset with captions.")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            vocab_size=vocabulary,
            hard_vocab_limit=False,
            model_type="bpe",
            byte_fallback=True,
            character_coverage=1.0,
            normalization_rule_name="nmt_nfkc_cf",
            pad_id=PAD,
            bos_id=START,
            eos_id=END,
            unk_id=UNKNOWN,
            num_threads=1,
            max_sentence_length=1 << 16,
            minloglevel=3,  # it would write some 60 lines to stderr
        )
    except RuntimeError as error:
        letters = len(set("".join(texts)))
        raise UserError(
            f"A vocabulary of {vocabulary} tokens cannot be learned from {len(texts)} texts of {letters} different letters: "
            f"the special tokens and bytes alone are {SPECIAL}; give --vocabulary {SPECIAL + 2 * letters} or more."
        ) from error
    return Tokenizer(model.getvalue())


def tokenise(tokenizer: Tokenizer, text: str | bytes, length: int) -> np.ndarray:
    """The tokens of a text between start and end, and padding after these: int32 `[length]`.

    Args:
      tokenizer: a trained one.
      text: bytes are UTF-8.
      length: the number of tokens in the result; a longer text loses its end, but not its end token.

    Returns:
      The tokens.

    Raises:
      UserError: if there is no room for a start and an end.
    """
    if length < 2:
        raise UserError(f"A text of {length} tokens has no room for its start and its end; give a length of 2 or more.")
    pieces = _processor(tokenizer.model).encode(_text(text))[: length - 2]
    tokens = np.full(length, PAD, np.int32)
    tokens[: len(pieces) + 2] = [START, *pieces, END]
    return tokens


def detokenise(tokenizer: Tokenizer, tokens: Sequence[int] | np.ndarray) -> str:
    """The text of tokens, without special ones; in lower case, as the tokenizer sees it."""
    pieces = [int(t) for t in tokens if t > UNKNOWN]
    return _processor(tokenizer.model).decode(pieces)


def tokenised(tokenizer: Tokenizer, length: int, *, feature: str = "caption", into: str = "tokens") -> dict[str, Any]:
    """Arguments with which `data.load` adds a text's tokens to every example: `data.load("emoji", "train", **tokenised(...))`.

    Args:
      tokenizer: a trained one.
      length: the number of tokens of each text.
      feature: the text.
      into: the new feature, int32 `[length]`; the text stays, on the host.

    Returns:
      `example_map`, and `example_map_name` with the tokenizer's fingerprint: another tokenizer never reads this one's cache.
    """

    def example_map(example: dict[str, Any]) -> dict[str, Any]:
        if feature not in example:
            raise UserError(f"There is no text {feature!r} to tokenise; the features are {', '.join(sorted(example))}.")
        return {**example, into: tokenise(tokenizer, example[feature], length)}

    name = f"{into} of {feature} {tokenizer.fingerprint} {length}"
    mapping: Callable[[dict[str, Any]], dict[str, Any]] = example_map
    return {"example_map": mapping, "example_map_name": name}


def texts(source: Source, feature: str = "caption", *, rows: int = 1024) -> list[str]:
    """A text feature of all examples, in order: the corpus to train a tokenizer on.

    Args:
      source: the examples.
      feature: the text.
      rows: examples at a time, which bounds the memory that their images take.

    Returns:
      One string per example.

    Raises:
      UserError: if there is no such feature, or it is no text.
    """
    out: list[str] = []
    for start in range(0, source.length, rows):
        chunk = source.gather(np.arange(start, min(start + rows, source.length)))
        found = chunk.get(feature)
        if found is None or found.dtype.kind not in "SUO":
            raise UserError(
                f"{source.name} has no text {feature!r}, only {', '.join(sorted(chunk))}; "
                "take a set whose images have captions, such as captioned_digits or emoji."
            )
        out += [_text(text) for text in found]
    return out


def _text(text: str | bytes) -> str:
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)


@functools.lru_cache(maxsize=8)
def _processor(model: bytes) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=model)
