"""What became of a row, as a function of the row and its record: every status, at its bounds and beyond them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jaxgen.experiments.ledger import page
from jaxgen.experiments.ledger.row import Chosen, Figure, Row
from jaxgen.experiments.ledger.rows import ROWS
from jaxgen.experiments.ledger.verdict import Bound, Status, bounds, estimate, verdict

READ = "a/repository, README.md"
PAPER = Figure(100.0, None, "Author 2020, table 1", READ)
EXACT = PAPER._replace(error=2.0)
RERUN = Figure(103.0, None, "a rerun", READ)
ROW = Row(
    system="a system",
    dataset="a set",
    figure="a figure",
    unit="nats",
    command="python -m experiments.vae",
    value="test/nll",
    paper=PAPER,
    chosen={"rate": Chosen.PAPER},
)


def record(*values: float, error: float | None = None) -> dict:
    return {"runs": [{"seed": seed, "value": value, "error": error} for seed, value in enumerate(values)]}


@pytest.mark.parametrize(
    ("row", "measured", "status"),
    [
        (ROW, None, "not run"),
        (ROW, record(), "not run"),
        (ROW._replace(paper=None), record(100.0, error=1.0), "baseline"),
        (ROW._replace(other_system="wider"), record(100.0, error=1.0), "other system"),
        # Two standard errors of one run, on both sides, the ends included.
        (ROW, record(100.0, error=1.0), "reproduced"),
        (ROW, record(102.0, error=1.0), "reproduced"),
        (ROW, record(98.0, error=1.0), "reproduced"),
        (ROW, record(102.01, error=1.0), "near"),
        (ROW, record(97.99, error=1.0), "near"),
        (ROW, record(104.0, error=1.0), "near"),
        (ROW, record(96.0, error=1.0), "near"),
        (ROW, record(104.01, error=1.0), "missed"),
        (ROW, record(95.99, error=1.0), "missed"),
        # Ends that no float holds exactly: 1.13 + 0.22.
        (ROW._replace(paper=PAPER._replace(value=1.13)), record(1.35, error=0.11), "reproduced"),
        (ROW._replace(paper=PAPER._replace(value=1.13)), record(0.91, error=0.11), "reproduced"),
        # Over seeds: the standard error of the mean of 99, 101, 103 is 2 / sqrt(3); that of an evaluation no longer counts.
        (ROW._replace(seeds=3), record(99.0, 101.0, 103.0), "reproduced"),
        (ROW._replace(seeds=3), record(100.5, 101.0, 101.5, error=50.0), "near"),
        (ROW._replace(seeds=2), record(100.0, 100.0), "reproduced"),
        (ROW._replace(seeds=2), record(101.0, 101.0), "missed"),
        # The paper's own error goes before ours, however large ours is.
        (ROW._replace(paper=EXACT), record(102.0, error=50.0), "reproduced"),
        (ROW._replace(paper=EXACT), record(98.0), "reproduced"),
        (ROW._replace(paper=EXACT), record(103.0, error=50.0), "near"),
        (ROW._replace(paper=EXACT), record(104.1, error=50.0), "missed"),
        (ROW._replace(paper=EXACT), record(95.9), "missed"),
        # A named rerun: about its value, by the larger error of the two.
        (ROW._replace(rerun=RERUN), record(104.0, error=0.5), "reproduced"),
        (ROW._replace(rerun=RERUN), record(105.0, error=0.5), "near"),
        (ROW._replace(rerun=RERUN), record(105.1, error=0.5), "missed"),
        (ROW._replace(rerun=RERUN._replace(error=1.0)), record(105.0, error=0.5), "reproduced"),
        (ROW._replace(rerun=RERUN._replace(error=1.0)), record(103.5), "reproduced"),
        (ROW._replace(rerun=RERUN, paper=EXACT), record(103.0), "near"),
        # Nothing is known of the error.
        (ROW, record(100.0), "near"),
        (ROW, record(100.4), "near"),
        # What keeps the very value of the paper from counting as reproduced.
        (ROW._replace(reduced="fewer epochs"), record(100.0, error=1.0), "near"),
        (ROW._replace(reduced="fewer epochs"), record(110.0, error=1.0), "near"),
        (ROW._replace(differs="more images"), record(100.0, error=1.0), "near"),
        (ROW._replace(differs="more images"), record(110.0, error=1.0), "missed"),
        (ROW._replace(chosen={"rate": Chosen.TEST}), record(100.0, error=1.0), "near"),
        (ROW._replace(chosen={"rate": Chosen.TEST}), record(110.0, error=1.0), "missed"),
        (ROW._replace(seeds=5), record(99.0, 101.0, 100.0, 100.0), "near"),
        (ROW._replace(paper=PAPER._replace(read_in="")), record(100.0, error=1.0), "near"),
        (ROW._replace(paper=PAPER._replace(read_in="")), record(103.0, error=1.0), "missed"),
        (ROW._replace(paper=PAPER._replace(read_in="")), record(100.0), "missed"),
    ],
)
def test_status(row: Row, measured: dict | None, status: str) -> None:
    assert verdict(row, measured).status == status


@pytest.mark.parametrize("origin", [c for c in Chosen if c is not Chosen.TEST])
def test_only_a_choice_by_the_test_figure_counts_against_a_row(origin: Chosen) -> None:
    assert verdict(ROW._replace(chosen={"rate": origin}), record(100.0, error=1.0)).status == Status.REPRODUCED


finite = st.floats(-1e3, 1e3)
errors = st.none() | st.floats(0, 1e2)


@given(distance=st.floats(0, 1e3), ours=errors, theirs=errors, reduced=st.booleans(), read=st.booleans())
def test_too_good_is_as_far_off_as_too_bad(
    distance: float, ours: float | None, theirs: float | None, reduced: bool, read: bool
):
    paper = Figure(0.0, theirs, "a source", READ if read else "")
    row = ROW._replace(paper=paper, reduced="less" if reduced else "")
    above, below = (verdict(row, record(value, error=ours)) for value in (distance, -distance))
    assert above.status == below.status
    assert above.distance == -below.distance


@given(value=finite, centre=finite, ours=errors, theirs=errors, rerun=finite | st.none())
def test_reproduced_is_within_a_bound_of_finite_width(value, centre, ours, theirs, rerun) -> None:
    paper = Figure(centre, theirs, "a source", READ)
    row = ROW._replace(paper=paper, rerun=None if rerun is None else Figure(rerun, None, "a rerun", READ))
    found = verdict(row, record(value, error=ours))
    assert (found.status == Status.REPRODUCED) == any(bound.holds(value) for bound in found.bounds)
    for bound in found.bounds:
        far = bound.centre + 2 * bound.half + 1
        assert not bound.holds(far)
        assert not bound.holds(2 * bound.centre - far)
        assert bound.reason


def test_a_mean_over_seeds_has_the_standard_error_of_the_mean() -> None:
    found = estimate(record(1.0, 2.0, 3.0, 4.0, 5.0, error=9.0))
    assert found is not None
    assert (found.value, found.deviation, found.seeds) == (3.0, math.sqrt(2.5), 5)
    assert found.error == pytest.approx(math.sqrt(2.5 / 5))


def test_no_row_has_a_bound_of_its_own() -> None:
    assert not {"at_most", "at_least"} & set(Row._fields)
    for row in ROWS.values():
        for found in bounds(row, estimate(record(1.0, error=0.5))):
            assert isinstance(found, Bound)
            known = {figure.value for figure in (row.paper, row.rerun) if figure is not None}
            assert found.centre in known


@pytest.mark.parametrize("name", ROWS)
def test_every_row_names_its_sources_and_how_its_settings_were_chosen(name: str) -> None:
    row = ROWS[name]
    assert row.chosen
    assert all(isinstance(chosen, Chosen) for chosen in row.chosen.values())
    for figure in (row.paper, row.rerun):
        if figure is not None:
            assert figure.source
            assert figure.read_in or "memory" in figure.source


@pytest.mark.parametrize(
    ("name", "never"),
    [
        ("modes_ring_wgan_gp", "other system"),
        ("modes_grid_wgan_gp", "other system"),
        ("modes_grid_gan", "other system"),
        ("lenet", "other system"),
        ("vae_static_mnist", "near"),
        ("k_sparse_25", "near"),
        ("iwae_k1", "near"),
        ("vib", "near"),
    ],
)
def test_what_cannot_be_reproduced_by_any_value(name: str, never: str) -> None:
    """Not even by the paper's own value, with all seeds and an error of ours."""
    row = ROWS[name]
    assert row.paper is not None
    values = [row.paper.value + (-1) ** seed * 1e-3 for seed in range(row.seeds)] if row.seeds > 1 else [row.paper.value]
    assert verdict(row, record(*values, error=1e-2)).status == never


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (90.33088, 0.2512, "90.33 +- 0.25"),
        (205.4704, 2.305, "205.5 +- 2.3"),
        (0.00850000046, 0.00091, "0.00850 +- 0.00091"),
        (1234.5, 25.0, "1234 +- 25"),
        (25.0, 0.0, "25 +- 0"),
        (1.25999, None, "1.26"),
    ],
)
def test_digits_follow_the_error(value: float, error: float | None, shown: str) -> None:
    assert page.number(value, error) == shown


@pytest.mark.parametrize(
    ("measured", "shown"),
    [
        (record(100.0, error=1.0), "reproduced"),
        (record(102.43, error=1.0), "near: 2.4 nats above"),
        (record(97.5, error=1.0), "near: 2.5 nats below"),
        (record(80.5, error=1.0), "missed: 19.5 nats below"),
    ],
)
def test_the_distance_is_printed_with_its_side(measured: dict, shown: str) -> None:
    assert page.status(ROW, verdict(ROW, measured)) == shown
