"""Configuration file of a campaign: its keys, and its validation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import click
import yaml
from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from aiida_goectp.calculations.base import device_error
from aiida_goectp.cli.options import scheduler_options
from aiida_goectp.core.crystals.property_table import TableSettings
from aiida_goectp.core.dielectric.gates import check_thresholds
from aiida_goectp.core.formats.errors import FormatError
from aiida_goectp.core.formats.functionals import check_functional
from aiida_goectp.core.formats.settings import Settings, settings_errors
from aiida_goectp.core.formats.yaml_input import read_yaml
from aiida_goectp.core.learning.settings import TrainSettings
from aiida_goectp.core.selection.acquisition import AcquisitionSettings, acquisition
from aiida_goectp.core.selection.picking import PickSettings
from aiida_goectp.core.selection.retraining import RetrainingPolicy
from aiida_goectp.core.selection.stopping import StopRules

__all__ = (
    'CampaignConfig',
    'DatasetSource',
    'DfptSettings',
    'ParsedConfig',
    'PoolSource',
    'configuration_error',
    'parse_config',
    'read_config',
)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# YAML reads a PK as a number
Name = Annotated[str, BeforeValidator(lambda value: str(value) if _is_integer(value) else value), Field(min_length=1)]
"""PK, UUID or label of a node, or a path"""

Names = Annotated[
    tuple[Name, ...],
    BeforeValidator(lambda value: [value] if isinstance(value, str) or _is_integer(value) else value),
    Field(min_length=1),
]
"""one name or a list of names"""


class _InstalledAcquisition(AcquisitionSettings):
    """Stored settings may name a function of a package that is not installed here; those of a new campaign may not."""

    @field_validator('name')
    @classmethod
    def _exists(cls, name: str) -> str:
        try:
            acquisition(name)
        except FormatError as error:
            raise ValueError(str(error).removeprefix('acquisition.name: ')) from error
        return name


class _Picking(PickSettings):
    acquisition: _InstalledAcquisition = Field(default_factory=_InstalledAcquisition)


class PoolSource(Settings):
    """The crystals to search."""

    source: Names = Field(description='PK, UUID or label of a node of crystals, or files and folders of structures')
    recursive: bool = Field(default=False, description='whether to read files in subfolders; only with folders')
    properties: str | None = Field(default=None, description='table of property columns; only with files')
    table: TableSettings = Field(default_factory=TableSettings, description='how the table of properties is read')


class DatasetSource(Settings):
    """The starting dataset."""

    source: Name = Field(description='PK, UUID or label of a dataset node, or a dataset.npz or labelled JSON lines')
    functional: str | None = Field(default=None, description='functional of rows without one; only with a file')
    split_file: str | None = Field(default=None, description='JSON file of splits; only with a file')


class DfptSettings(Settings):
    """Arguments of the engine, as in ``aiida-goectp verify``."""

    codes: dict[str, Name] = Field(default_factory=dict, description='role → label of the code, e.g. pw: pw@cluster')
    potentials: str | None = Field(default=None, description='family of pseudopotentials or POTCARs')
    protocol: str | None = Field(default=None, description='protocol of the engine: fast, balanced or stringent')
    relax: bool | None = Field(default=None, description='whether to relax the structures first')
    electronic_only: bool | None = Field(default=None, description='whether to compute only the electronic part')
    processes: int | None = Field(default=None, ge=1, description='MPI processes per job')
    queue: str | None = Field(default=None, description='queue or partition of the scheduler')
    account: str | None = Field(default=None, description='account that the scheduler charges')
    wall_time: int | None = Field(default=None, ge=60, description='time limit of a job in seconds')
    options: dict[str, Any] = Field(default_factory=dict, description='further `metadata.options` of each job')
    overrides: dict[str, Any] = Field(default_factory=dict, description='overrides of the protocol of the engine')
    arguments: dict[str, Any] = Field(default_factory=dict, description='any other argument of the engine, by name')

    def requested(self) -> dict[str, Any]:
        """Return what is requested of the engine, for :func:`.engine_arguments`."""
        given = self.model_dump()
        return {
            **given,
            'codes': [f'{role}={label}' for role, label in self.codes.items()],
            'options': {**self.options, **scheduler_options(given)},
        }


class CampaignConfig(Settings):
    """Configuration of a campaign; the protocol gives the keys that are left out."""

    label: str = Field(default='', description='label of the work chain')
    description: str = Field(default='', description='description of the work chain')
    pool: PoolSource
    dataset: DatasetSource
    split: str | None = Field(
        default=None, description='base split of the dataset; without it, a split by formula is created'
    )
    model: Name | None = Field(
        default=None, description='node, shipped model or file of the initial model; without it, one is trained first'
    )
    predictions: Name | None = Field(
        default=None, description='node of predictions of the pool by the initial model, for the first round'
    )
    labels: Name | None = Field(
        default=None, description='node of a dataset with further labels, as if of earlier rounds'
    )
    engine: str = Field(description='quantumespresso, vasp, or the entry point of another engine')
    dfpt: DfptSettings = Field(default_factory=DfptSettings)
    thresholds: dict[str, float | None] = Field(
        default_factory=dict, description='gate → threshold; `off` disables the gate'
    )
    reuse: bool = Field(default=True, description='whether to use stored responses of equal calculations')
    protocol: str | None = Field(default=None, description='fast, balanced or stringent')
    code: Name | None = Field(default=None, description='label of the code of goectp; goectp@localhost by default')
    device: str | None = Field(default=None, description='auto, cpu, cuda or cuda:N')
    gpus: int = Field(default=0, ge=0, description='GPUs to request per prediction and training')
    options: dict[str, Any] = Field(
        default_factory=dict, description='`metadata.options` of each prediction and training'
    )
    picking: _Picking = Field(default_factory=_Picking)
    stop_rules: StopRules = Field(default_factory=StopRules)
    retraining: RetrainingPolicy = Field(default_factory=RetrainingPolicy)
    training: TrainSettings = Field(
        default_factory=TrainSettings, description='training settings of each member of the committee'
    )
    max_concurrent: int | None = Field(default=None, ge=1, description='maximum number of concurrent calculations')
    max_trainings: int | None = Field(default=None, ge=1, description='maximum number of concurrent trainings')
    seed: int | None = Field(default=None, ge=0)
    overrides: dict[str, Any] = Field(
        default_factory=dict, description='overrides of predict and train, nested as in the protocol'
    )

    @field_validator('dataset')
    @classmethod
    def _functional_exists(cls, dataset: DatasetSource) -> DatasetSource:
        if dataset.functional is not None:
            check_functional(dataset.functional)
        return dataset

    @field_validator('device')
    @classmethod
    def _device_exists(cls, device: str | None) -> str | None:
        if device is not None and (error := device_error(device)):
            raise ValueError(error)
        return device

    @field_validator('pool', 'dataset', mode='before')
    @classmethod
    def _source_alone(cls, value: Any) -> Any:
        return value if isinstance(value, Mapping) else {'source': value}

    @field_validator('thresholds', mode='before')
    @classmethod
    def _off_is_none(cls, value: Any) -> Any:
        """Replace ``off``, which YAML reads as false, by None."""
        if not isinstance(value, Mapping):
            return value
        values = {key: None if item is False or item == 'off' else item for key, item in value.items()}
        check_thresholds({key: item for key, item in values.items() if item is None or isinstance(item, int | float)})
        return values

    @model_validator(mode='before')
    @classmethod
    def _without_empty_keys(cls, values: Any) -> Any:
        """Leave out keys without a value."""
        if not isinstance(values, Mapping):
            return values
        return {key: item for key, item in values.items() if item is not None}

    def given(self, section: str) -> dict[str, Any]:
        """Return the keys of a section that the file contains, without the defaults."""
        values: dict[str, Any] = getattr(self, section).model_dump(mode='json', exclude_unset=True)
        return values


def configuration_error(messages: Iterable[str]) -> click.UsageError:
    """Return the error of an invalid configuration, which lists the invalid keys in the order of their lines.

    :param messages: one line per invalid key
    """
    return click.UsageError('\n  '.join(['Invalid campaign configuration:', *sorted(messages, key=_line_of)]))


def _line_of(message: str) -> int:
    """Return the line number that a message begins with, after the name of the file, or 0."""
    found = re.match(r'.*?:(\d+): ', message)
    return int(found[1]) if found else 0


class ParsedConfig(NamedTuple):
    """A configuration, valid or not, with the places of its keys."""

    name: str
    """of the file"""
    config: CampaignConfig | None
    """without the invalid keys; None if nothing of it can be used"""
    invalid: frozenset[str]
    """keys of the first level that are invalid or missing"""
    lines: dict[str, int]
    """dotted name → line, from 1"""
    errors: list[str]
    """one line per invalid key: file, line, key, error, and what is allowed"""

    def locate(self, message: str) -> str:
        """Return a message that begins with a dotted key, with file and line of that key."""
        return f'{self.name}{_line_number(self.lines, message.partition(": ")[0])}: {message}'


def parse_config(path: Path) -> ParsedConfig:
    """Read a configuration and collect its errors.

    :raises FormatError: not a YAML file with keys
    """
    try:
        text = path.read_text(encoding='utf-8')
        tree, values = read_yaml(text, path.name)
    except UnicodeDecodeError as error:
        raise FormatError(f'{path.name}: not a text file ({error}); give a YAML file') from error
    if not isinstance(tree, yaml.MappingNode):
        raise FormatError(f'{path.name}: no keys found; print an example with `aiida-goectp campaign template`')
    lines = dict(_key_lines(tree))
    errors: list[str] = []
    parsed = ParsedConfig(path.name, None, frozenset(), lines, errors)
    try:
        return parsed._replace(config=CampaignConfig.model_validate(values))
    except ValidationError as error:
        messages = list(settings_errors(CampaignConfig, error))
        errors += map(parsed.locate, messages)
    fields = CampaignConfig.model_fields
    invalid = {message.partition(': ')[0].partition('.')[0] for message in messages}
    valid = {key: value for key, value in values.items() if key in fields and key not in invalid}
    missing = {key for key, field in fields.items() if field.is_required() and valid.get(key) is None}
    try:  # the other keys are checked further: all faults are reported at once
        config = CampaignConfig.model_validate({**valid, **dict.fromkeys(missing, 'invalid')})
    except ValidationError:
        return parsed
    return parsed._replace(config=config, invalid=frozenset(invalid | missing))


def read_config(path: Path) -> CampaignConfig:
    """Read a configuration.

    :raises FormatError: one line per invalid key: file, line, key, error, and what is allowed
    """
    parsed = parse_config(path)
    if parsed.errors or parsed.config is None:
        raise FormatError('\n'.join(parsed.errors))
    return parsed.config


def _key_lines(tree: yaml.MappingNode, prefix: str = '') -> Iterator[tuple[str, int]]:
    """Yield the dotted name and the line, from 1, of each key."""
    for key, value in tree.value:
        name = f'{prefix}{key.value}'
        yield name, key.start_mark.line + 1
        if isinstance(value, yaml.MappingNode):
            yield from _key_lines(value, f'{name}.')


def _line_number(lines: Mapping[str, int], key: str) -> str:
    """Return ``:LINE`` of a key, or of the section in which it is missing; empty without a section."""
    while key and key not in lines:
        key = key.rpartition('.')[0]
    return f':{lines[key]}' if key else ''
