"""What is done to datasets: labelled JSON lines, gates, splits, joining; the dataset itself is in ``dataset``."""
