"""Predict one structure in this process, with provenance.

Run with ``verdi run examples/predict_structure.py``, or in the default profile with ``python``.
"""

from aiida import load_profile
from ase.build import bulk

from aiida_goectp.calculations.inprocess import predict_crystals

load_profile()  # without effect under verdi run
# a pymatgen Structure, a StructureData, or a list of structures works as well
predictions = predict_crystals(bulk('MgO', 'rocksalt', a=4.212), model='goectp-small')

print(f'node {predictions.pk}, created by process {predictions.creator.pk}')
print('electronic:', predictions.predictions.electronic[0].round(3).tolist())
print('ionic:     ', predictions.predictions.ionic[0].round(3).tolist())
print('total:     ', predictions.predictions.total[0].round(3).tolist())
