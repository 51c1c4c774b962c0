"""Metrics: functions of arrays that give the quality of samples and features. They know no model and no training."""
