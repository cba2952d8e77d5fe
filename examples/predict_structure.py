"""Predict one structure in this process, with provenance. Run with ``verdi run examples/predict_structure.py``."""

import numpy as np
from aiida.orm import StructureData
from aiida.plugins import DataFactory

from aiida_goectp.calculations.inprocess import predict_crystals

# MgO, a = 4.212 Å
structure = StructureData(cell=(np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 4.212 / 2).tolist())
structure.append_atom(position=(0.0, 0.0, 0.0), symbols='Mg')
structure.append_atom(position=(2.106, 2.106, 2.106), symbols='O')

model = DataFactory('goectp.model').get_or_create('goectp-small')
predictions = predict_crystals(structure, model)

print(f'node {predictions.pk}, created by process {predictions.creator.pk}')
print('electronic:', predictions.predictions.electronic[0].round(3).tolist())
print('ionic:     ', predictions.predictions.ionic[0].round(3).tolist())
print('total:     ', predictions.predictions.total[0].round(3).tolist())
