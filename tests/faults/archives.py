"""Disk full while an AiiDA archive and exports of nodes are written: the file is complete, or an error and no file."""

from __future__ import annotations

import random
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.faults.outcome import Kind, Outcome
from tests.faults.processes import ProfileBench

__all__ = ('KINDS',)

OUTPUTS = {'archive': 'result.aiida', 'export': 'predictions.npz'}


class ArchiveBench(ProfileBench):
    """A profile with one finished prediction."""

    PROFILE = 'archives'

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.prepare('predict')
        self.pk = self.client.call(self.nodes.last_process)
        self.sizes: dict[str, int] = {}
        """size of each complete file, bytes"""
        for command, name in OUTPUTS.items():
            error = self.client.call(self.nodes.write_out, command, self.pk, str(folder / name))
            assert not error, error
            self.sizes[command] = (folder / name).stat().st_size


def disk_full(bench: ArchiveBench, command: str, dice: random.Random) -> Outcome:
    """Write on a disk with random space, then on a large one, and compare the content with that of the profile."""
    place = bench.folder / 'disk'
    place.mkdir(exist_ok=True)
    output = place / OUTPUTS[command]
    size = 4096 * dice.randint(1, max(1, bench.sizes[command] // 4096))  # in pages
    subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', str(place)], check=True)
    try:
        error = bench.client.call(bench.nodes.write_out, command, bench.pk, str(output))
        notes = []
        if error and output.exists():
            # a broken archive must at least be refused when it is read
            notes += ['an incomplete file is left'] * bench.client.call(bench.nodes.is_readable, str(output))
        elif not error and not bench.client.call(bench.nodes.is_complete, command, bench.pk, str(output)):
            notes.append('no error, and an incomplete file')
        wrong = len(notes)
        with suppress(FileNotFoundError):
            output.unlink()
        subprocess.run(['mount', '-o', f'remount,size={4 * bench.sizes[command] + 65536}', str(place)], check=True)
        again = bench.client.call(bench.nodes.write_out, command, bench.pk, str(output))
        complete = not again and bench.client.call(bench.nodes.is_complete, command, bench.pk, str(output))
        outcome = Outcome(lost=int(not complete), wrong=wrong, met=bool(error))
        return outcome.with_notes([*notes, *([] if complete else [f'then: {again}'])])
    finally:
        subprocess.run(['umount', '--lazy', str(place)], check=True)
        shutil.rmtree(place, ignore_errors=True)


KINDS = {
    'disk full, verdi archive create': Kind(ArchiveBench, disk_full, 'archive', 2),
    'disk full, verdi data goectp predictions export': Kind(ArchiveBench, disk_full, 'export', 2),
}
