"""The executable ``goectp``: what a compute node runs, from files to files."""
