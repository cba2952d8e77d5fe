"""One parser for each calculation job, of the same name."""
