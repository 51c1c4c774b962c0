"""Losses: functions of arrays that give one value per example. They know no model, no parameters and no training."""
