"""Protocols: each gives a builder with valid inputs; unknown names are reported."""

import pytest
from aiida import orm
from aiida.engine.processes.ports import PortNamespace

from aiida_goectp.calculations.predict import PredictCalculation
from aiida_goectp.calculations.train import TrainCalculation
from aiida_goectp.data.model import ModelData
from aiida_goectp.workflows.aiida_private import builder_inputs
from aiida_goectp.workflows.campaign.retrain import RetrainWorkChain
from aiida_goectp.workflows.campaign.workchain import ActiveLearningWorkChain
from aiida_goectp.workflows.committee import TrainCommitteeWorkChain
from aiida_goectp.workflows.evaluate import EvaluateWorkChain
from aiida_goectp.workflows.predict import PredictWorkChain
from aiida_goectp.workflows.protocols.mixin import gpu_options, merge
from aiida_goectp.workflows.screen import ScreenWorkChain
from aiida_goectp.workflows.train import TrainWorkChain
from aiida_goectp.workflows.verify import VerifyWorkChain

PROCESSES = (
    ActiveLearningWorkChain,
    EvaluateWorkChain,
    PredictCalculation,
    PredictWorkChain,
    RetrainWorkChain,
    ScreenWorkChain,
    TrainCalculation,
    TrainCommitteeWorkChain,
    TrainWorkChain,
    VerifyWorkChain,
)


@pytest.fixture
def tiny(aiida_profile, write_model):
    return ModelData.get_or_create(write_model())


@pytest.fixture
def any_code(aiida_profile, aiida_code_installed):
    return aiida_code_installed(label='any', filepath_executable='/bin/true')


def keys_of(mapping, path=''):
    for key, value in mapping.items():
        yield f'{path}{key}'
        if isinstance(value, dict) and key not in ('resources', 'filters'):
            yield from keys_of(value, f'{path}{key}.')


def test_merge_changes_neither_side():
    first, second = {'a': {'b': 1, 'c': 2}}, {'a': {'b': 3}, 'd': {'e': 1}}
    assert merge(first, second) == {'a': {'b': 3, 'c': 2}, 'd': {'e': 1}}
    assert (first, second) == ({'a': {'b': 1, 'c': 2}}, {'a': {'b': 3}, 'd': {'e': 1}})


@pytest.mark.parametrize('work_chain', [PredictWorkChain, ScreenWorkChain])
def test_every_key_of_the_files_is_an_input(work_chain):
    assert set(work_chain.get_available_protocols()) == {'fast', 'balanced', 'stringent'}
    assert work_chain.get_default_protocol() == 'balanced'
    for protocol in work_chain.get_available_protocols():
        for key in keys_of(work_chain.get_protocol_inputs(protocol)):
            ports = work_chain.spec().inputs
            for part in key.split('.'):
                assert part in ports, key
                ports = ports[part]


@pytest.mark.parametrize('protocol', ['fast', 'balanced', 'stringent', None])
def test_builders_are_complete(any_code, crystals, tiny, protocol):
    builder = PredictWorkChain.get_builder_from_protocol(any_code, crystals, tiny, protocol)
    assert PredictWorkChain.spec().inputs.validate(builder_inputs(builder)) is None
    builder = ScreenWorkChain.get_builder_from_protocol(
        any_code, crystals, tiny, protocol, filters={'min_gap': 1}, overrides={'figure_of_merit': 'gap_total'}
    )
    inputs = builder_inputs(builder)
    assert ScreenWorkChain.spec().inputs.validate(inputs) is None
    assert inputs['filters'].get_dict() == {'min_gap': 1}
    assert inputs['predict']['goectp']['code'] == any_code
    assert inputs['max_concurrent_shards'] == 1  # without a scheduler each job uses the whole machine


@pytest.mark.parametrize(('scheduler', 'size', 'jobs'), [('core.direct', 50_000, 1), ('core.slurm', 10_000, 4)])
def test_shards_are_larger_where_they_follow_each_other(
    aiida_profile, aiida_computer, crystals, tiny, scheduler, size, jobs
):
    computer = aiida_computer(label=f'shards-{scheduler}', scheduler_type=scheduler)
    code = orm.InstalledCode(label='shards', computer=computer, filepath_executable='/bin/true').store()
    builder = ScreenWorkChain.get_builder_from_protocol(code, crystals, tiny)
    assert (builder.shard_size, builder.max_concurrent_shards) == (size, jobs)
    few = ScreenWorkChain.get_builder_from_protocol(code, crystals, tiny, overrides={'max_concurrent_shards': 2})
    assert (few.shard_size, few.max_concurrent_shards) == (10_000, 2)


def test_overrides_take_precedence(any_code, crystals, tiny):
    builder = PredictWorkChain.get_builder_from_protocol(
        any_code.full_label,
        crystals,
        tiny,
        'fast',
        overrides={'goectp': {'batch_atoms': 128, 'metadata': {'options': {'max_wallclock_seconds': 60}}}},
        options={'account': 'me'},
    )
    assert builder.goectp.batch_atoms == 128
    assert builder.goectp.max_failed_fraction == 1.0
    assert builder.goectp.metadata.options['max_wallclock_seconds'] == 60
    assert builder.goectp.metadata.options['account'] == 'me'
    builder = ScreenWorkChain.get_builder_from_protocol(
        any_code,
        crystals,
        tiny,
        overrides={'shard_size': 7, 'max_concurrent_shards': 3, 'predict': {'max_iterations': 2}},
    )
    assert builder.shard_size == 7
    assert builder.max_concurrent_shards == 3
    assert builder.predict.max_iterations == 2


def test_unknown_protocol_and_keys(any_code, crystals, tiny):
    with pytest.raises(ValueError, match='quick'):
        ScreenWorkChain.get_builder_from_protocol(any_code, crystals, tiny, 'quick')
    with pytest.raises(ValueError, match=r'goectp\.batch_atom: unknown input .*; nonsense: unknown input'):
        PredictWorkChain.get_builder_from_protocol(
            any_code, crystals, tiny, overrides={'goectp': {'batch_atom': 1}, 'nonsense': 2}
        )
    with pytest.raises(ValueError, match=r'predict\.goectp\.devise: unknown input'):
        ScreenWorkChain.get_builder_from_protocol(
            any_code, crystals, tiny, overrides={'predict': {'goectp': {'devise': 'cpu'}}}
        )
    ScreenWorkChain.get_builder_from_protocol(
        any_code,
        crystals,
        tiny,
        overrides={
            'filters': {'ranges': {'band_gap': [1, 2]}},
            'predict': {'goectp': {'metadata': {'options': {'resources': {'num_machines': 1}}}}},
        },
    )


@pytest.mark.parametrize(
    ('name', 'wrong', 'right'),
    [
        ('max_wallclock_seconds', (0, -5, True), 600),
        ('max_memory_kb', (-1, 0), None),
        ('parser_name', ('goectp.predct',), 'goectp.predict'),
    ],
)
def test_limits_and_parser_of_a_job(any_code, crystals, tiny, name, wrong, right):
    for value in wrong:
        with pytest.raises(ValueError, match=rf'options\.{name}: '):
            PredictWorkChain.get_builder_from_protocol(any_code, crystals, tiny, options={name: value})
    PredictWorkChain.get_builder_from_protocol(any_code, crystals, tiny, options={name: right})


@pytest.mark.parametrize(
    ('scheduler', 'line'),
    [
        ('core.slurm', '#SBATCH --gres=gpu:2'),
        ('core.sge', '#$ -l gpu=2'),
        ('core.lsf', '#BSUB -gpu "num=2"'),
        ('core.direct', None),
    ],
)
def test_request_of_gpus(aiida_profile, aiida_computer, crystals, tiny, scheduler, line):
    computer = aiida_computer(label=f'with-{scheduler}', scheduler_type=scheduler)
    code = orm.InstalledCode(label='with-gpus', computer=computer, filepath_executable='/bin/true').store()
    resources = {'resources': {'parallel_env': 'mpi', 'tot_num_mpiprocs': 1}} if scheduler == 'core.sge' else {}
    builder = PredictWorkChain.get_builder_from_protocol(code, crystals, tiny, gpus=2, options=resources)
    assert builder.goectp.metadata.options.get('custom_scheduler_commands') == line
    assert gpu_options(code, 0, {}) == {}
    assert gpu_options(code, 1, {'custom_scheduler_commands': '#mine'}) == {}
    with pytest.raises(ValueError, match='-1'):
        gpu_options(code, -1, {})


@pytest.mark.parametrize(
    ('scheduler', 'given', 'used'),
    [
        ('core.sge', {'parallel_env': 'mpi', 'tot_num_mpiprocs': 8}, {'parallel_env': 'mpi', 'tot_num_mpiprocs': 8}),
        ('core.lsf', {'tot_num_mpiprocs': 8}, {'tot_num_mpiprocs': 8}),
        ('core.slurm', {'num_machines': 2}, {'num_machines': 2, 'num_mpiprocs_per_machine': 1}),
    ],
)
def test_resources_of_a_scheduler(aiida_profile, aiida_computer, crystals, tiny, scheduler, given, used):
    computer = aiida_computer(label=f'resources-{scheduler}', scheduler_type=scheduler)
    code = orm.InstalledCode(label='resources', computer=computer, filepath_executable='/bin/true').store()
    builder = PredictWorkChain.get_builder_from_protocol(code, crystals, tiny, options={'resources': given})
    assert builder.goectp.metadata.options.resources == used
    assert PredictWorkChain.spec().inputs.validate(builder_inputs(builder)) is None
    overrides = {'goectp': {'metadata': {'options': {'resources': given}}}}
    builder = PredictWorkChain.get_builder_from_protocol(code, crystals, tiny, overrides=overrides)
    assert builder.goectp.metadata.options.resources == used


def test_scheduler_without_a_request_of_gpus(aiida_profile, aiida_computer):
    computer = aiida_computer(label='with-pbs', scheduler_type='core.pbspro')
    code = orm.InstalledCode(label='with-gpus', computer=computer, filepath_executable='/bin/true').store()
    with pytest.raises(ValueError, match=r'core\.pbspro'):
        gpu_options(code, 1, {})
    assert gpu_options(code, 1, {'queue_name': 'gpu'}) == {}


@pytest.mark.parametrize('process', PROCESSES)
def test_ports_and_exit_codes(process):
    codes = process.spec().exit_codes
    assert len({code.status for code in codes.values()}) == len(codes)
    assert all(code.message for code in codes.values())

    def check(ports):
        for name, port in ports.items():
            if name == 'metadata':
                continue
            if isinstance(port, PortNamespace):
                check(port)
            else:
                assert port.help, name

    check(process.spec().inputs)
    assert all(port.help for port in process.spec().outputs.values())


def test_exit_codes_of_nested_processes_do_not_contradict():
    meanings = {}
    for process in (PredictWorkChain, ScreenWorkChain, PredictCalculation):
        for label, code in process.spec().exit_codes.items():
            assert meanings.setdefault(code.status, label) == label


def test_failed_runs_are_not_cached():
    own = {label: code for label, code in PredictCalculation.spec().exit_codes.items() if code.status >= 200}
    assert {label for label, code in own.items() if not code.invalidates_cache} == {'ERROR_TOO_MANY_FAILED_ROWS'}
