"""Results of nodes for readers: figures, reports, provenance, and words for codes.

Figures are functions of :mod:`aiida_goectp.report.figures`, the page is
:func:`aiida_goectp.report.page.report_html`, and the graph :func:`aiida_goectp.report.provenance.provenance_svg`.
"""
