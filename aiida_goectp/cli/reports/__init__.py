"""Commands that write figures, report pages and provenance graphs."""
