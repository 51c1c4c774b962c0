"""Subcommands for the ledger of papers' figures: reproduce, ledger."""

from pathlib import Path

from tyro.conf import Positional

from jaxgen import disk
from jaxgen.flags import Place, Seed, checked


@checked
def reproduce(
    row: Positional[str | None] = None,
    *,
    data_dir: str | None = None,
    seeds: tuple[Seed, ...] | None = None,
    runs: Place = Path("runs/ledger"),
    results: Place | None = None,
    reason: str | None = None,
) -> None:
    """Reproduce a figure of a paper by its command, and record what was measured; without a name, list the figures.

    Args:
      row: the name of the row.
      data_dir: folder of prepared sets.
      seeds: seeds to run with, such as 0 1 2; by default those that the row asks for.
      runs: the folder of the runs; the same command goes on with one that was stopped.
      results: folder of the record; by default `results` below --runs. The committed ones are in experiments/ledger/results.
      reason: the reason why the row is run again, for the history of its record.
    """
    from jaxgen.experiments.ledger import page, records
    from jaxgen.experiments.ledger.reproduce import reproduce
    from jaxgen.experiments.ledger.rows import ROWS
    from jaxgen.experiments.ledger.verdict import estimate, verdict

    folder = results or runs / "results"
    committed = records.read()
    if row is None:
        for name, entry in ROWS.items():
            paper = "none" if entry.paper is None else page.published(entry.paper)
            became = page.status(entry, verdict(entry, committed.get(name)))
            print(f"{name:20} {became:26} {entry.system}; {entry.dataset}; paper {paper}")
        return
    record = reproduce(row, data_dir=data_dir, seeds=seeds, runs=runs, results=folder, reason=reason)
    entry = ROWS[row]
    for whose, one in (("yours", record), ("committed", committed.get(row))):
        found = verdict(entry, one)
        measured = page.ours(estimate(one)) if one else ""
        print(f"{row}, {whose}: {f'{measured}; ' if measured else ''}{page.status(entry, found)}")
        for lack in found.short_of:
            print(f"  {lack}")
    if entry.paper is not None:
        print(f"{row}, the paper's: {page.published(entry.paper)}; {entry.paper.source}")
    print(folder / f"{row}.json")


def ledger() -> None:
    """Write the ledger's page and its table in the README from the records."""
    from jaxgen.experiments.ledger import page

    readme = Path(page.__file__).parents[2] / "README.md"
    with disk.explained(f"Writing {page.PAGE} and {readme}", "run it in a clone of the repository."):
        document = page.put(readme.read_text(encoding="utf-8"), page.table())
        disk.write(page.PAGE, page.page())
        disk.write(readme, document)
    print(page.PAGE, readme, sep="\n")
