"""What to cite for a result."""

from __future__ import annotations

from collections.abc import Iterable

from aiida_goectp import __version__
from aiida_goectp.core.formats.terminal import printable

__all__ = ('REFERENCES', 'citations')

REFERENCES = (
    (
        'the method',
        'Hua et al., Scalable Dielectric Tensor Predictions for Inorganic Materials using Equivariant Graph Neural '
        'Networks (2026), https://arxiv.org/abs/2601.04755',
    ),
    (
        'the backbone of the presets goectp and published, iComFormer',
        'K. Yan, C. Fu, X. Qian, X. Qian, S. Ji, Complete and Efficient Graph Transformers for Crystal Material '
        'Property Prediction, International Conference on Learning Representations (2024), '
        'https://arxiv.org/abs/2403.11857',
    ),
    (
        'the workflow engine',
        'S. P. Huber et al., AiiDA 1.0, a scalable computational infrastructure for automated reproducible workflows '
        'and data provenance, Scientific Data 7, 300 (2020), https://doi.org/10.1038/s41597-020-00638-4',
    ),
)
"""purpose and reference, those of CITATION.cff"""


def citations(model_citations: Iterable[str] = ()) -> list[str]:
    """Return what to cite, one line each.

    :param model_citations: of the model cards
    """
    own = [f'aiida-goectp {__version__} (this software)', *(f'{text} ({purpose})' for purpose, text in REFERENCES)]
    return [*own, *(f'{printable(text)} (the model)' for text in dict.fromkeys(filter(None, model_citations)))]
