"""Subcommands for datasets: data list, data prepare, data convert."""

from pathlib import Path

from tyro.conf import Positional

from jaxgen import progress
from jaxgen.flags import Count, Seed, Share, checked


def data_list(*, data_dir: str | None = None) -> None:
    """List the datasets that can be read now, with their splits, features, sizes and places.

    Args:
      data_dir: folder of prepared sets; by default $TFDS_DATA_DIR or TFDS's own.
    """
    from jaxgen import data

    found = data.prepared(data_dir)
    for entry in found:
        splits = ", ".join(f"{split} {n:,}" for split, n in entry.splits.items())
        features = ", ".join(f"{feature} {shape}" for feature, shape in entry.features.items())
        print(
            f"{entry.name:20} {entry.version:8} {splits}",
            f"    {features}",
            f"    {_size(entry.size)} in {entry.place}",
            sep="\n",
        )
    rest = [name for name in data.names(data_dir) if name not in {entry.name for entry in found}]
    if rest:
        print(f"Made when they are first used: {', '.join(rest)}.")


def data_prepare(dataset: Positional[str], *, data_dir: str | None = None) -> None:
    """Prepare a TFDS dataset; the official ones need the extra `tf` and a network.

    Args:
      dataset: a TFDS name.
      data_dir: folder to prepare it in; by default $TFDS_DATA_DIR or TFDS's own.
    """
    from jaxgen import data

    builder = data.prepare(dataset, data_dir=data_dir)
    for split, info in builder.info.splits.items():
        print(f"{builder.info.full_name} {split}: {info.num_examples:,} examples in {builder.data_path}")


@checked
def data_convert(
    dataset: Positional[str],
    out: Positional[Path],
    *,
    train: str | None = None,
    test: str | None = None,
    split: Share | None = None,
    size: Count | None = None,
    grey: bool = False,
    data_dir: str | None = None,
    seed: Seed = 0,
) -> None:
    """Write any set of images to an .npz file with the splits train and test, to be named by --dataset.

    Args:
      dataset: a TFDS name, a folder of images, or an .npz or .npy file.
      out: the file to write, OUT.npz.
      train: the split to take as train; by default `train`, or the whole of a set without splits.
      test: the split to take as test; by default `test`.
      split: the share of the training examples that stay, 0.9; the others become test, of every class alike.
      size: side in pixels that the central square of every image is resized to.
      grey: whether to write one channel instead of three.
      data_dir: folder of prepared sets; by default $TFDS_DATA_DIR or TFDS's own.
      seed: the seed of the cut in two.
    """
    from jaxgen.data.convert import convert

    made = convert(
        dataset,
        out,
        train=train,
        test=test,
        split=split,
        size=size,
        grey=grey,
        data_dir=data_dir,
        seed=seed,
        track=lambda rows, description: progress.track(rows, description=description),
    )
    print(f"{out}: {', '.join(f'{name} of {n:,} examples' for name, n in made.items())}; read it with --dataset {out}")


def _size(n: int) -> str:
    """Bytes as people read them.

    >>> _size(1_500_000), _size(20_000)
    ('1.5 MB', '20 kB')
    """
    unit, name = next(
        (unit, name) for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")) if n >= unit or unit == 1
    )
    return f"{n / unit:.2g} {name}" if n < 10 * unit else f"{n / unit:.0f} {name}"
