"""The byte-pair tokenizer, and its way through `load`."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen import UserError, data
from jaxgen.data.text import END, PAD, SPECIAL, START

CORPUS = ["a small red seven", "a large red six", "a small blue six", "a red sea"] * 3
TOKENIZER = data.train_tokenizer(CORPUS, SPECIAL + 40)


def pairs_by_hand(words: list[list[str]], merges: int) -> list[str]:
    """Algorithm 1 of Sennrich et al. 2016, with word starts marked as sentencepiece does."""
    learned = []
    for _ in range(merges):
        counts: dict[tuple[str, str], int] = {}
        for word in words:
            for pair in itertools.pairwise(word):
                counts[pair] = counts.get(pair, 0) + 1
        best = max(counts, key=counts.__getitem__)
        assert list(counts.values()).count(counts[best]) == 1, "a tie, which the algorithm leaves open"
        learned.append("".join(best))
        for word in words:
            i = 0
            while i < len(word) - 1:
                if (word[i], word[i + 1]) == best:
                    word[i : i + 2] = ["".join(best)]
                i += 1
    return learned


def test_pieces_are_those_of_the_algorithm_in_its_order() -> None:
    corpus = ["ab"] * 4 + ["cab"] * 3 + ["ca"] * 2
    tokenizer = data.train_tokenizer(corpus, SPECIAL + 4 + 5)  # of which four letters
    processor = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model)
    learned = [processor.id_to_piece(SPECIAL + i) for i in range(5)]
    assert learned == pairs_by_hand([["▁", *text] for text in corpus], 5) == ["ab", "▁c", "▁ab", "▁cab", "▁ca"]
    assert (data.tokenise(tokenizer, "cab bac", 12) > END).sum() == 5


@settings(max_examples=60)
@given(st.text(max_size=30))
def test_no_text_is_lost(text: str) -> None:
    # Case and white space are folded, so it is the folded text that comes back: folding it again changes nothing.
    tokens = data.tokenise(TOKENIZER, text, 400)
    once = data.detokenise(TOKENIZER, tokens)
    np.testing.assert_array_equal(data.tokenise(TOKENIZER, once, 400), tokens)
    if text.isascii() and text.isprintable():
        assert once == " ".join(text.lower().split())


def test_tokens_lie_between_start_and_end_and_padding_follows() -> None:
    tokens = data.tokenise(TOKENIZER, "a small red seven", 16)
    assert tokens.dtype == np.int32
    assert tokens.shape == (16,)
    end = int((tokens == END).argmax())
    assert tokens[0] == START
    assert (tokens[1:end] > END).all()
    assert (tokens[end + 1 :] == PAD).all()
    np.testing.assert_array_equal(data.tokenise(TOKENIZER, "a small red seven", 30)[:16], tokens)
    cut = data.tokenise(TOKENIZER, "a small red seven", 4)
    np.testing.assert_array_equal(cut, [*tokens[:3], END])
    np.testing.assert_array_equal(data.tokenise(TOKENIZER, "", 3), [START, END, PAD])
    for same in (b"a small red seven", "A  small\nRED seven", np.bytes_(b"a small red seven"), np.str_("a small red seven")):
        np.testing.assert_array_equal(data.tokenise(TOKENIZER, same, 16), tokens)


def test_frequent_words_become_one_token_and_special_names_are_mere_text() -> None:
    assert (data.tokenise(TOKENIZER, "small red", 8) > END).sum() == 2
    assert (data.tokenise(TOKENIZER, "qqqq", 32) > END).sum() > 4
    tokens = data.tokenise(TOKENIZER, "</s><s><pad>", 60)
    assert (tokens == END).sum() == (tokens == START).sum() == 1
    assert data.detokenise(TOKENIZER, tokens) == "</s><s><pad>"


def test_training_is_deterministic_bounded_and_silent() -> None:
    again = data.train_tokenizer(iter([c.encode() for c in CORPUS]), SPECIAL + 40)
    assert again == TOKENIZER
    assert again.fingerprint == TOKENIZER.fingerprint
    assert data.train_tokenizer(CORPUS[:-3], SPECIAL + 40).fingerprint != TOKENIZER.fingerprint
    assert TOKENIZER.size == SPECIAL + 40
    assert data.train_tokenizer(CORPUS, 5000).size < SPECIAL + 120  # there are no more pairs
    code = "from jaxgen import data; t = data.train_tokenizer(['a b c'] * 9, 300); data.tokenise(t, 'a b', 5)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (out.stdout, out.stderr) == ("", "")


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match=r"A vocabulary of 262 tokens.*--vocabulary \d+"):
        data.train_tokenizer(CORPUS, 262)
    with pytest.raises(UserError, match="no text"):
        data.train_tokenizer([" "], 300)
    with pytest.raises(UserError, match="no room"):
        data.tokenise(TOKENIZER, "a", 1)
    with pytest.raises(UserError, match=r"digits.*has no text 'caption', only image, label"):
        data.texts(data.load("digits", "test"))


def test_tokens_reach_the_device_and_the_text_does_not() -> None:
    source = data.from_arrays({"caption": np.array([b"a red six", b"a sea"]), "image": np.zeros((2, 4, 4, 1), np.uint8)})
    assert data.texts(source) == ["a red six", "a sea"]
    options = data.tokenised(TOKENIZER, 8)
    mapped = data.map_examples(source, options["example_map"], name=options["example_map_name"])
    (batch,) = data.in_order(mapped, 2)
    assert set(batch) == {"image", "tokens", "index", "mask"}
    np.testing.assert_array_equal(batch["tokens"], [data.tokenise(TOKENIZER, t, 8) for t in ("a red six", "a sea")])
    assert mapped.gather(np.arange(2))["caption"].tolist() == [b"a red six", b"a sea"]
    with pytest.raises(UserError, match="no text 'title' to tokenise"):
        data.tokenised(TOKENIZER, 8, feature="title")["example_map"]({"caption": b"a"})


def test_another_tokenizer_or_length_has_another_cache() -> None:
    other = data.train_tokenizer(CORPUS, SPECIAL + 30)
    marks = {
        data.load("captioned_digits", "test[:4]", **data.tokenised(tokenizer, length)).fingerprint
        for tokenizer, length in [(TOKENIZER, 24), (other, 24), (TOKENIZER, 25), (TOKENIZER, 24)]
    }
    assert len(marks) == 3
