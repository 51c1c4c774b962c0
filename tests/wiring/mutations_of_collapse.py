"""Faults in what watches a run: alarms, the diversity of samples, and their places in the experiments.

Each is one change of text, and a test of the files named beside it must fail of it (`tests/test_mutations.py` puts them in).
"""

from collections.abc import Mapping, Sequence

from wiring.mutations_of_likelihoods import Change

ALARMS: Sequence[Change] = [
    ("it rings again while the value stays", "fallen and not before", "fallen"),
    ("the best of all steps", "best = at, value\n", "best = at, max(map(float, evaluated(history, alarm.value).values()))\n"),
    ("the last value is the best", "        if value > best[1]:\n", "        if True:\n"),
    ("the later of equal values", "if value > best[1]:", "if value >= best[1]:"),
    ("the floor from the first step on", "alarm.below if step >= alarm.after else -math.inf", "alarm.below"),
    ("the floor one step late", "step >= alarm.after", "step > alarm.after"),
    ("the share alone", "return max(share, alarm.below if step >= alarm.after else -math.inf)", "return share"),
    ("the floor alone", "share = alarm.share * best if alarm.share and best > 0 else -math.inf", "share = -math.inf"),
    ("a share of a negative best", "alarm.share and best > 0", "alarm.share and best > -math.inf"),
    ("at the limit", "value < _limit", "value <= _limit"),
    ("at any step", "if at == step and fallen", "if fallen"),
    ("the value for its best", "after {best[1]:.3g}", "after {value:.3g}"),
]

REPORTS: Sequence[Change] = [
    ("nothing rings", "                self._ring(step, split, values)\n", ""),
    (
        "every host speaks",
        "if hosts.is_main_host():\n                        progress.say(sentence)",
        "if True:\n                        progress.say(sentence)",
    ),
    (
        "a quiet run does not speak",
        "if hosts.is_main_host():\n                        progress.say(sentence)",
        "if not self._quiet:\n                        progress.say(sentence)",
    ),
    ("each split rings", 'if alarm.value.removeprefix(f"{split}/") in values:', "if values:"),
    (
        "a line that was there rings",
        "                self._journal.scalars(step, split, values)\n                self._ring(step, split, values)\n",
        "                self._journal.scalars(step, split, values)\n            self._ring(step, split, values)\n",
    ),
]

VALIDATION: Sequence[Change] = [
    ("the test split is watched", "alarm._replace(value=of_held_out(alarm.value)) for alarm", "alarm for alarm"),
]

DIVERSITY: Sequence[Change] = [
    ("a biased variance", "2 * float(squares.sum()) / (n - 1)", "2 * float(squares.sum()) / n"),
    ("the variance for the distance", "Spread(2 * float(squares.sum())", "Spread(float(squares.sum())"),
    ("half the error", "2 * float(squares.std(ddof=1))", "float(squares.std(ddof=1))"),
    ("the deviation for its error", "squares.std(ddof=1)) / math.sqrt(n))", "squares.std(ddof=1)))"),
    ("about zero", "- first - centre) ** 2", ") ** 2"),
    ("about the first example", "- first - centre) ** 2", "- first) ** 2"),
    ("the mean of one block", "parts = range(0, n, rows)", "parts = range(0, min(n, rows), rows)"),
    ("what is not finite passes", '    check_finite(**{name.replace(" ", "_"): x})\n', ""),
    ("the inverse", "ratio = samples.distance / data.distance", "ratio = data.distance / samples.distance"),
    ("the error of the samples alone", "math.hypot(samples.stderr, ratio * data.stderr)", "samples.stderr"),
    ("the data's error in full", "ratio * data.stderr", "data.stderr"),
]

COLLAPSE: Sequence[Change] = [
    ("one key for all chunks", "jax.random.fold_in(key, start)", "key"),
    ("the first conditions again", "given(CHUNK, conditions, start=start)", "given(CHUNK, conditions)"),
    ("no conditions", "given(CHUNK, conditions, start=start)", "given(CHUNK, start=start)"),
    ("too many samples", "np.concatenate(drawn)[:n]", "np.concatenate(drawn)"),
    ("bytes for numbers in [0, 1]", "x / np.float32(255) if x.dtype == np.uint8 else x", "x"),
    ("the first examples", "np.linspace(0, source.length - 1, n)", "np.linspace(0, n - 1, n)"),
    ("the data are read at each evaluation", "    @functools.cache\n", ""),
    ("equal data are refused", "return found if found.distance > 0 else None", "return found"),
    ("a single example is refused", "        if n < 2:\n            return None\n", ""),
    ("samples that memory does not hold", "min(SAMPLES, LARGEST // max(1, int(np.prod(source.shape(feature)))))", "SAMPLES"),
    ("the alarm of another value", '"test/diversity",', '"test/diversity_stderr",'),
    ("a share of a posterior", "        below=below,\n", "        below=below,\n        share=0.3,\n"),
]


def of(*changes: tuple[str, str], sampler: str = "space.sample", split: str = "test", feature: str = "") -> Sequence[Change]:
    """The faults that each adversarial experiment may have."""
    call = f"collapse.evaluator({sampler}, {split}{feature}"
    return [
        ("diversity against training images", call, f"collapse.evaluator({sampler}, train{feature}"),
        ("nothing is watched", "alarms=(collapse", "alarms=() and (collapse"),
        *((f"advice of a flag that is not there: {text}", text, other) for text, other in changes),
    ]


FAULTS: Mapping[tuple[str, str], Sequence[Change]] = {
    ("jaxgen/alarms.py", "test_alarms.py"): ALARMS,
    ("jaxgen/training/reports.py", "training/test_falls.py"): REPORTS,
    ("jaxgen/experiment.py", "training/test_falls.py"): VALIDATION,
    ("jaxgen/metrics/diversity.py", "metrics/test_diversity.py"): DIVERSITY,
    ("jaxgen/measuring/collapse.py", "measuring/test_collapse.py"): COLLAPSE,
    ("experiments/gan.py", "wiring/test_gan_facts.py"): of(("more --dropout", "more --dropouts")),
    ("experiments/dcgan.py", "wiring/test_dcgan_facts.py"): of(("spectral with --gamma", "spectral with --weight")),
    ("experiments/wgan.py", "wiring/test_wgan_facts.py"): of(("more --critic-steps", "more --critics")),
    ("experiments/conditional_gan.py", "wiring/test_conditional_gan_facts.py"): [
        *of(sampler="sample", feature=", conditions=conditions"),
        (
            "diversity of one class",
            "collapse.evaluator(sample, test, conditions=conditions)",
            "collapse.evaluator(sample, test)",
        ),
    ],
    ("experiments/progressive_gan.py", "wiring/test_progressive_gan_facts.py"): of(("a larger --weight", "a larger --gamma")),
    ("experiments/stylegan.py", "wiring/test_stylegan_facts.py"): [
        *of(("a larger --gamma", "a larger --weight"), sampler="model._replace(psi=1.0).sample"),
        ("diversity of truncated samples", "model._replace(psi=1.0).sample", "model.sample"),
    ],
    ("experiments/stacked_modes.py", "wiring/test_stacked_modes_facts.py"): [
        *(fault for fault in of(split="real") if "training" not in fault[0]),
        (
            "diversity against training stacks",
            "collapse.evaluator(space.sample, real)",
            "collapse.evaluator(space.sample, stacks)",
        ),
    ],
    ("experiments/modes.py", "wiring/test_modes_facts.py"): [
        ("diversity is left out", " | diversity(np.asarray(drawn))", ""),
        ("diversity against training points", "collapse.against_data(test,", "collapse.against_data(train,"),
        ("nothing is watched", "alarms=(collapse", "alarms=() and (collapse"),
    ],
    ("experiments/vae.py", "wiring/test_vae_facts.py"): [
        ("another value is watched", 'of_posterior("test/kl"', 'of_posterior("test/log_likelihood"'),
        ("a bound on the KL rings", "0.1 if max_kl is None else min(0.1, max_kl / 10)", "0.1"),
        ("advice against the bound", 'if max_kl is None else "a larger --max-kl"', 'if True else "a larger --max-kl"'),
    ],
    ("experiments/iwae.py", "wiring/test_iwae_facts.py"): [
        ("units of the training images", "active_units(test, units", "active_units(train, units"),
        ("another bound on what is active", "ACTIVE = 0.01", "ACTIVE = 0.001"),
        ("another value is watched", 'of_posterior("test/active"', 'of_posterior("test/bound"'),
    ],
    ("experiments/ladder_vae.py", "wiring/test_ladder_vae_facts.py"): [
        (
            "the first layer alone is watched",
            'longer --warmup, or more --free-bits") for i in range(depth)',
            'longer --warmup, or more --free-bits") for i in range(1)',
        ),
        ("layers from zero", 'f"test/active_{i + 1}"', 'f"test/active_{i}"'),
    ],
    ("experiments/nvae.py", "wiring/test_nvae_facts.py"): [
        ("one group is watched", 'of_posterior("test/active"', 'of_posterior("test/active_1"'),
    ],
}
"""By the file that is changed, and the file in `tests` of which a test must fail."""
