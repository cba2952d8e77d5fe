"""Results of nodes for readers: figures, reports, provenance, and words for codes."""
