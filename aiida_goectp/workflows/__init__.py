"""Work chains: predict with restarts, and screen from crystals to a selection."""
