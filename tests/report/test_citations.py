"""What to cite is what CITATION.cff states."""

from pathlib import Path

import yaml

from aiida_goectp.report.citations import REFERENCES, citations


def test_references_are_those_of_the_citation_file():
    stated = yaml.safe_load((Path(__file__).parents[2] / 'CITATION.cff').read_text())['references']
    assert [purpose for purpose, _ in REFERENCES] == [item['notes'] for item in stated]
    for (_, text), item in zip(REFERENCES, stated, strict=True):
        assert item['title'] in text
        assert str(item['year']) in text
        assert item.get('url', f'https://doi.org/{item.get("doi")}') in text


def test_models_are_cited_once():
    assert citations(['a paper', '', 'a paper'])[-1] == 'a paper (the model)'
    assert len(citations(['a paper', 'a paper'])) == len(citations()) + 1
