"""Named sets of inputs, each in a YAML file that says what its keys mean."""
