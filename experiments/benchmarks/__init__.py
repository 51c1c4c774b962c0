"""Benchmarks: modules that pair contenders in alternation and report medians and ratios."""
