"""Network that predicts force constants and Born charges; the ionic permittivity follows from them."""
