"""Settings of Sphinx: https://www.sphinx-doc.org/en/master/usage/configuration.html."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / '_ext'))

from aiida_goectp import __version__

project = 'aiida-goectp'
author = 'The aiida-goectp developers'
project_copyright = author
version = release = __version__

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'from_code']
myst_enable_extensions = ['dollarmath', 'deflist', 'fieldlist']
myst_heading_anchors = 3
source_suffix = {'.md': 'markdown'}
exclude_patterns = ['_build', '_ext']
nitpicky = False
smartquotes_action = 'qe'  # no dashes, which options begin with

autodoc_typehints = 'none'
autodoc_member_order = 'bysource'

html_theme = 'furo'
html_title = f'aiida-goectp {version}'
html_show_sourcelink = False
