"""vasprun.xml and OUTCAR of VASP 6.4, those parts that the parsers read."""

from __future__ import annotations

import numpy as np
from ase.data import atomic_masses

from aiida_goectp.core.crystals.elements import ATOMIC_NUMBERS

VERSION = '6.4.2'
TIMING = """ General timing and accounting informations for this job:
 ========================================================

                  Total CPU time used (sec):       69.225
                            User time (sec):       68.616
                          System time (sec):        0.610
                         Elapsed time (sec):       70.423

                   Maximum memory used (kb):      150796.
                   Average memory used (kb):           0.

                          Minor page faults:        71562
                          Major page faults:            0
                 Voluntary context switches:        17548
"""


def loops_of(inputs, fault):
    """Return steps and convergence of each self-consistency loop of a run."""
    nelm = int(inputs.incar.get('NELM', 60))
    ground = (nelm, False) if fault in ('electronic', 'hidden') else (min(14, nelm - 1), True)
    if not inputs.incar.get('LEPSILON'):
        return [ground]
    if fault == 'electronic':
        return [ground]
    response = [(min(10, nelm - 1), True)] * (6 + (3 * len(inputs.symbols) if inputs.incar.get('IBRION') == 8 else 0))
    if fault == 'response':
        response[-1] = (nelm, False)
    return [ground, *response]


def outcar(inputs, answer, fault, forces, gap):
    """Return the text of OUTCAR without the timing at its end."""
    incar = inputs.incar
    lines = [f' vasp.{VERSION} replay (build none) complex', '']
    lines += [f'   ENMAX  =  {enmax:.3f}; ENMIN  =  {0.75 * enmax:.3f} eV' for enmax in inputs.enmax]
    lines += [
        f'   number of bands    NBANDS=  {_bands(inputs)}',
        f'   ENCUT  =  {float(incar.get("ENCUT", max(inputs.enmax))):.1f} eV',
        f'   NELM   =    {incar.get("NELM", 60)};   NELMIN=  2; NELMDL= -5     # of ELM steps',
        f'   NSW    =      {incar.get("NSW", 0)}    number of steps for IOM',
        f'   IBRION =      {incar.get("IBRION", -1)}    ionic relax: 0-MD 1-quasi-New 2-CG',
        '',
    ]
    for steps, converged in loops_of(inputs, fault):
        for step in range(1, steps + 1):
            dashes = '-' * 40
            lines.append(f'{dashes} Iteration    1({step:4d})  {dashes}')
        verdict = 'because EDIFF is reached' if converged else 'EDIFF was not reached (unconverged)'
        lines.append(f'------------------------ aborting loop {verdict} ----------------------------------------')
    lines += _levels_text(inputs, gap)
    lines += [' POSITION                                       TOTAL-FORCE (eV/Angst)', ' ' + '-' * 80]
    for position, force in zip(inputs.positions @ inputs.lattice, forces, strict=True):
        lines.append(''.join(f'{value:13.5f}' for value in (*position, *force)))
    lines.append('')
    if answer is not None:
        lines += _outcar_response(inputs, answer)
    return '\n'.join(lines) + '\n'


def _outcar_response(inputs, answer):
    def block(tensor):
        return [' ' + '-' * 54, *(_row(row, 6) for row in tensor), ' ' + '-' * 54, '']

    lines = [' MACROSCOPIC STATIC DIELECTRIC TENSOR (including local field effects in DFT)', *block(answer.electronic)]
    lines += [' BORN EFFECTIVE CHARGES (including local field effects) (in |e|, cummulative output)', ' ' + '-' * 49]
    for atom, charge in enumerate(answer.born_charges, start=1):
        lines.append(f' ion {atom:4d}')
        lines += [f'  {axis:3d}  {_row(row, 5)}' for axis, row in enumerate(charge, start=1)]
    lines.append('')
    if inputs.incar.get('IBRION') == 8:
        values, _ = modes(inputs, answer)
        lines += [' Eigenvectors and eigenvalues of the dynamical matrix', ' ' + '-' * 52, '']
        for mode, value in enumerate(values[::-1], start=1):
            sign = 'f  ' if value >= 0 else 'f/i'
            lines.append(f' {mode:3d} {sign}= {np.sqrt(abs(value)):11.6f} THz {0:11.6f} 2PiTHz {0:11.6f} cm-1')
        lines += ['', ' MACROSCOPIC STATIC DIELECTRIC TENSOR IONIC CONTRIBUTION', *block(answer.ionic)]
    return lines


def modes(inputs, answer):
    """Return squared frequencies (THz², ascending) and dynamical matrix; all optical modes are equal."""
    weight = np.sqrt(np.repeat(atomic_masses[inputs.numbers], 3))
    shift = np.tile(np.eye(3), (len(inputs.numbers), 1)) * weight[:, None]
    shift /= np.linalg.norm(shift, axis=0)
    value = np.sign(answer.frequency) * answer.frequency**2
    matrix = value * (np.eye(len(shift)) - shift @ shift.T)
    return np.linalg.eigvalsh(matrix), matrix


def vasprun(inputs, answer, fault, forces, gap):
    """Return the text of vasprun.xml."""
    parts = ['<?xml version="1.0" encoding="ISO-8859-1"?>', '<modeling>', _head(inputs)]
    parts += ['<calculation>']
    steps = loops_of(inputs, fault)
    parts += [_step(inputs)] * steps[0][0]
    parts += [_structure(inputs, ''), _array('forces', forces), _array('stress', np.zeros((3, 3))), _energy(inputs)]
    parts += [_step(inputs)] * sum(count for count, _ in steps[1:])
    if answer is not None:
        parts.append(_array('epsilon', answer.electronic))
        charges = ''.join(f'<set>{_vectors(charge)}</set>\n' for charge in answer.born_charges)
        parts.append(f'<array name="born_charges" ><dimension dim="1">ion</dimension>\n{charges}</array>')
        if inputs.incar.get('IBRION') == 8:
            values, matrix = modes(inputs, answer)
            eigenvalues = ' '.join(f'{-value:16.8E}' for value in values)
            parts.append(
                f'<dynmat><i name="unit" type="string">THz^2</i>{_array("hessian", -matrix)}'
                f'<v name="eigenvalues"> {eigenvalues}</v></dynmat>'
            )
            parts.append(_array('epsilon_ion', answer.ionic))
    parts += [_bands_xml(inputs, gap), '</calculation>', _structure(inputs, 'finalpos'), '</modeling>']
    return '\n'.join(parts) + '\n'


def _head(inputs):
    nelm, nsw = inputs.incar.get('NELM', 60), inputs.incar.get('NSW', 0)
    spins = inputs.incar.get('ISPIN', 1)
    elements = [title.split()[1].split('_')[0] for title in inputs.titles]
    rows = ''.join(f'<rc><c>{symbol:2s}</c><c>{elements.index(symbol) + 1:4d}</c></rc>\n' for symbol in inputs.symbols)
    kinds = ''.join(
        f'<rc><c>1</c><c>{element:2s}</c><c>{atomic_masses[ATOMIC_NUMBERS[element]]:.8f}</c><c>4.0</c>'
        f'<c> {title} </c></rc>\n'
        for element, title in zip(elements, inputs.titles, strict=True)
    )
    return f"""<generator><i name="program" type="string">vasp </i><i name="version" type="string">{VERSION}  </i>
</generator>
<incar></incar>
<kpoints><varray name="kpointlist" ><v> 0.0 0.0 0.0 </v></varray><varray name="weights" ><v> 1.0 </v></varray></kpoints>
<parameters>
<separator name="electronic" >
<separator name="electronic smearing" ><i type="int" name="ISMEAR">0</i></separator>
<separator name="electronic convergence" ><i type="int" name="NELM">{nelm:6d}</i></separator>
<separator name="electronic spin" ><i type="int" name="ISPIN">{spins}</i></separator>
<i type="int" name="NBANDS">{_bands(inputs)}</i>
</separator>
<separator name="ionic" ><i type="int" name="NSW">{nsw}</i><i type="int" name="IBRION">{inputs.incar.get('IBRION', -1)}
</i></separator>
</parameters>
<atominfo><atoms>{len(inputs.symbols)}</atoms>
<array name="atoms" ><dimension dim="1">ion</dimension><field type="string">element</field><field type="int">atomtype
</field><set>
{rows}</set></array>
<array name="atomtypes" ><set>
{kinds}</set></array></atominfo>
{_structure(inputs, 'initialpos')}"""


def _bands(inputs):
    return 4 * len(inputs.symbols) + 4


def _structure(inputs, name):
    title = f' name="{name}"' if name else ''
    return (
        f'<structure{title} ><crystal>{_array("basis", inputs.lattice)}<i name="volume"> '
        f'{abs(np.linalg.det(inputs.lattice)):.8f} </i></crystal>{_array("positions", inputs.positions)}</structure>'
    )


def _energies(inputs):
    value = -5.0 * len(inputs.symbols)
    return ''.join(f'<i name="{name}">{value:16.8f} </i>' for name in ('e_fr_energy', 'e_wo_entrp', 'e_0_energy'))


def _energy(inputs):
    return f'<energy>{_energies(inputs)}</energy>'


def _step(inputs):
    return f'<scstep><time name="total">    1.50    1.50</time>{_energy(inputs)}</scstep>'


def _levels(inputs, gap):
    """Return energies and occupations of all bands."""
    count = _bands(inputs)
    occupied = count // 2
    below = np.linspace(-8.0, 0.0, occupied)
    above = np.linspace(gap, gap + 10.0, count - occupied)
    fillings = [1.0] * occupied + [0.0] * (count - occupied)
    if gap <= 0:  # a metal: levels at the Fermi energy, partly filled
        above[0] = 0.0
        fillings[occupied - 1], fillings[occupied] = 0.6, 0.4
    return list(zip(np.concatenate([below, above]).tolist(), fillings, strict=True))


def _levels_text(inputs, gap):
    lines = [' E-fermi :   0.0000     XC(G=0):  -9.3260     alpha+bet :-11.7273', '']
    lines += [' k-point     1 :       0.0000    0.0000    0.0000', '  band No.  band energies     occupation ']
    lines += [
        f'{band:7d} {energy:12.4f} {filling:12.5f}' for band, (energy, filling) in enumerate(_levels(inputs, gap), 1)
    ]
    return [*lines, '', '-' * 104, '']


def _bands_xml(inputs, gap):
    levels = _levels(inputs, gap)
    rows = ''.join(f'<r>{energy:11.4f} {filling:10.4f} </r>\n' for energy, filling in levels)
    spins = ''.join(
        f'<set comment="spin {spin}"><set comment="kpoint 1">\n{rows}</set></set>\n'
        for spin in range(1, int(inputs.incar.get('ISPIN', 1)) + 1)
    )
    return (
        '<eigenvalues><array><dimension dim="1">band</dimension><dimension dim="2">kpoint</dimension>'
        f'<dimension dim="3">spin</dimension><field>eigene</field><field>occ</field><set>\n{spins}</set></array>'
        '</eigenvalues>'
    )


def _array(name, rows):
    return f'<varray name="{name}" >\n{_vectors(rows)}</varray>'


def _vectors(rows):
    return ''.join(f'<v>{_row(row, 8)} </v>\n' for row in rows)


def _row(values, digits):
    return ''.join(f' {value:{digits + 8}.{digits}f}' for value in values)
