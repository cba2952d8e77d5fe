"""Work chains: prediction, training, screening, evaluation, verification by DFPT, and campaigns."""
