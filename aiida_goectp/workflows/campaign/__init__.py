"""The active-learning campaign."""
