"""Datasets: labelled crystals, their files, gates, splits, joining and evaluation."""
