"""``aiida-goectp campaign``: configuration, plan, start, report, extension."""
