"""Folders of pictures as sources: which files are examples, which class each has, and a message about the files left out."""

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxgen import progress
from jaxgen.data import decode, stamps
from jaxgen.data.labels import ordered
from jaxgen.data.source import Source, from_examples, record_opened, recording_opened
from jaxgen.errors import UserError

DECODER = 1
"""The version of the decoder, raised when it gives other pixels of the same bytes: old caches are then not read."""

BOOKKEEPING = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin"}
"""Files that systems put among a user's files, in lower case; names that begin with a dot are theirs as well."""

EXAMPLES = 3
"""The number of names that a message shows of many."""


class Found(NamedTuple):
    """The pictures below a folder, and the files that are no examples.

    Fields:
      pictures: path, class and stamp of every example, in order.
      classes: names of the classes, in order; empty where the pictures lie in the folder itself.
      left_out: the names of the files that are no examples, by the reason.
    """

    pictures: list[tuple[str, int, stamps.Stamp]]
    classes: tuple[str, ...]
    left_out: Mapping[str, list[str]]


def from_folder(folder: str | Path, *, size: int | None = None, grey: bool = False) -> Source:
    """A source over the pictures below a folder; the names of its subfolders, if any, are the labels.

    Every format that Pillow decodes counts, and links are followed. A folder with pictures is a class, called by its path
    below `folder`, and pictures next to class folders have no class and are left out. So are hidden files and files of other
    kinds. A message counts the files that are left out. Class names that are all whole numbers are in the order of the
    numbers, others in that of their characters; pictures are in the order of their classes and then of their names.

    Args:
      folder: the folder, whose pictures lie as `folder/*.png` or `folder/CLASS/*.png`.
      size: side in pixels that the central square of every image is resized to; None keeps them as they are.
      grey: whether to read one channel instead of three.

    Returns:
      A source of `image` uint8 `[H, W, C]` as a viewer shows it (`jaxgen.data.decode`) and, with subfolders, `label`. Its
      fingerprint is a hash of the files' contents, wherever they lie and whenever they were written.

    Raises:
      UserError: if there is no picture, or a link leads nowhere or in a circle.
    """
    folder = Path(folder)
    name = decode.shown(folder)
    found = scan(folder)
    for reason, names in found.left_out.items():
        progress.say(f"{name}: {_counted(names)} left out: {reason}.")
    if not found.pictures:
        raise UserError(f"No image ({', '.join(COMMON)} ...) lies below {name}; check the path.")
    hashed = stamps.hashes(
        folder,
        [(path, own) for path, _, own in found.pictures],
        track=lambda numbers, told: progress.track(numbers, description=told),
    )
    examples = _Pictures(found, hashed, size, grey)
    mark = hashlib.sha256(repr((DECODER, found.classes, size, grey)).encode())
    for (_, label, _), content in zip(found.pictures, hashed, strict=True):
        mark.update(f"{label} {content}\n".encode())
    with recording_opened():
        source = from_examples(
            examples,
            name=name,
            fingerprint=mark.hexdigest()[:32],
            classes={"label": found.classes} if found.classes else {},
        )
    return record_opened(source)


COMMON = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".webp")


class _Pictures:
    """The pictures of a folder, decoded when they are asked for; a file that holds something else by then is refused."""

    def __init__(self, found: Found, hashed: Sequence[str], size: int | None, grey: bool) -> None:
        self._pictures, self._labelled = found.pictures, bool(found.classes)
        self._hashed, self._size, self._grey = hashed, size, grey

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, i: int) -> dict[str, Any]:
        path, label, own = self._pictures[i]
        content = decode.contents_of(path)
        if stamps.stamp(os.stat(path)) != own and stamps.sha256(content) != self._hashed[i]:
            raise UserError(f"{decode.shown(path)} was changed while it was in use; give the same command again.")
        example: dict[str, Any] = {"image": decode.decode(content, decode.shown(path), size=self._size, grey=self._grey)}
        if self._labelled:
            example["label"] = label
        return example


def scan(folder: Path) -> Found:
    """Finds the examples below a folder, without opening a file.

    Raises:
      UserError: if a folder or a link cannot be followed.
    """
    below, left_out = _walk(folder)
    filled = {place: files for place, files in below.items() if files}
    leading = {"/".join(place.split("/")[:i]) for place in filled for i in range(1 + place.count("/") + 1)}
    if filled and (empty := sorted(below.keys() - leading)):
        left_out.setdefault("there is no picture in them", []).extend(empty)
    if len(filled) > 1 and "" in filled:
        loose = [os.path.basename(path) for path, _ in filled.pop("")]
        left_out.setdefault("beside folders of classes they have no class", []).extend(loose)
    places = ordered([place for place in filled if place])
    pictures = [(path, i, own) for i, place in enumerate(places or filled) for path, own in sorted(filled[place])]
    return Found(pictures, tuple(decode.shown(place) for place in places), left_out)


def _walk(root: Path) -> tuple[dict[str, list[tuple[str, stamps.Stamp]]], dict[str, list[str]]]:
    """The pictures in every folder below one, by its place, and what is none, by reason."""
    below: dict[str, list[tuple[str, stamps.Stamp]]] = {}
    left_out: dict[str, list[str]] = {}
    waiting: list[tuple[str, str, frozenset[tuple[int, int]]]] = [(str(root), "", frozenset())] if root.is_dir() else []
    while waiting:
        folder, place, above = waiting.pop()
        try:
            own = os.stat(folder)
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise UserError(f"{decode.shown(folder)} cannot be read ({error.strerror}); mend or remove it.") from None
        if (own.st_dev, own.st_ino) in above:
            raise UserError(f"{decode.shown(folder)} is a link to a folder that it lies in, a circle; remove the link.")
        here = below.setdefault(place, [])
        for entry in entries:
            inner = f"{place}/{entry.name}" if place else entry.name
            if entry.name.startswith(".") or entry.name.lower() in BOOKKEEPING:
                left_out.setdefault("hidden, or the system's", []).append(inner)
                continue
            try:
                found = entry.stat()
            except OSError as error:  # a link to nothing
                raise UserError(f"{decode.shown(entry.path)} cannot be read ({error.strerror}); mend or remove it.") from None
            if stat.S_ISDIR(found.st_mode):
                waiting.append((entry.path, inner, above | {(own.st_dev, own.st_ino)}))
            elif os.path.splitext(entry.name)[1].lower() not in decode.suffixes():
                left_out.setdefault("of a kind that is not read as a picture", []).append(inner)
            elif not stat.S_ISREG(found.st_mode):
                left_out.setdefault("no plain file", []).append(inner)
            else:
                here.append((entry.path, stamps.stamp(found)))
    return below, left_out


def _counted(names: Sequence[str]) -> str:
    """`2 (a.txt, b.txt) are`, with the kinds of files where there are many."""
    listed = ", ".join(decode.shown(name) for name in names[:EXAMPLES])
    if len(names) > EXAMPLES:
        kinds = Counter(os.path.splitext(name)[1].lower() or "without an ending" for name in names).most_common(EXAMPLES)
        listed = f"{listed} ...; {', '.join(f'{count:,} {decode.shown(kind)}' for kind, count in kinds)}"
    return f"{len(names):,} ({listed}) {'is' if len(names) == 1 else 'are'}"
