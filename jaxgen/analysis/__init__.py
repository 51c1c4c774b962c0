"""Analyses of trained models: studies and pictures."""
