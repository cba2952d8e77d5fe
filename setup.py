"""Long description of the package: README.md with absolute links, for pages that show it outside the repository."""

import re
from pathlib import Path

from setuptools import setup

DOCUMENTATION = 'https://aiida-goectp.readthedocs.io/en/latest'
FILES = 'https://github.com/aiida-goectp/aiida-goectp/blob/main'
IMAGES = 'https://raw.githubusercontent.com/aiida-goectp/aiida-goectp/main'


def absolute_links(text: str) -> str:
    """Return Markdown whose relative links lead to the manual (pages of docs) or to files of the repository."""
    return re.sub(r'(!?)\[([^][]*)\]\((?!https?://|#)([^()\s]+)\)', _absolute, text)


def _absolute(link: re.Match[str]) -> str:
    image, text, target = link.groups()
    path, _, anchor = target.partition('#')
    if image:
        address = f'{IMAGES}/{path}'
    elif path.startswith('docs/') and path.endswith('.md'):
        address = f'{DOCUMENTATION}/{path.removeprefix("docs/").removesuffix(".md")}.html'
    else:
        address = f'{FILES}/{path}'
    return f'{image}[{text}]({address}{"#" if anchor else ""}{anchor})'


if __name__ == '__main__':
    readme = Path(__file__).with_name('README.md').read_text(encoding='utf-8')
    setup(long_description=absolute_links(readme), long_description_content_type='text/markdown')
