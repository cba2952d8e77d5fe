"""Software that results depend on."""

from importlib.metadata import version

from aiida_goectp.core.crystals.compiled import software as module
from aiida_goectp.core.crystals.compiled.software import changes, software, source_files


def test_a_changed_source_is_other_software(tmp_path, monkeypatch):
    for folder in ('network', 'crystals', 'figures'):
        (tmp_path / folder / 'deep').mkdir(parents=True)
        (tmp_path / folder / 'deep' / 'one.py').write_text('A = 1')
    monkeypatch.setattr(module, '_CORE', tmp_path)
    before = software('network', 'crystals')
    (tmp_path / 'figures' / 'deep' / 'one.py').write_text('A = 2')
    assert software('network', 'crystals') == before
    (tmp_path / 'network' / 'deep' / 'one.py').write_text('A = 2')
    after = software('network', 'crystals')
    assert changes(before, after) == f'sources {before["sources"]} (now {after["sources"]})'
    assert not changes(before, before)


def test_versions_and_modules():
    assert software('network')['torch'] == version('torch')
    assert {'prepared.py', 'springs.py'} <= {path.name for path in source_files('network')}
