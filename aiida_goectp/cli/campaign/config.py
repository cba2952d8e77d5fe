"""The file that a campaign is started from: what may stand in it, and what is said of what may not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from aiida_goectp.core.dielectric.gates import check_thresholds
from aiida_goectp.core.formats.npz import FormatError
from aiida_goectp.core.formats.settings import Settings, settings_errors
from aiida_goectp.core.learning.settings import TrainSettings
from aiida_goectp.core.selection.acquisition import acquisition
from aiida_goectp.core.selection.picking import PickSettings
from aiida_goectp.core.selection.retraining import RetrainingPolicy
from aiida_goectp.core.selection.stopping import StopRules

__all__ = ('CampaignConfig', 'DatasetSource', 'DfptSettings', 'PoolSource', 'read_config')


def _text(value: Any) -> Any:
    """Return a PK as the text that it is elsewhere; YAML reads a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Name = Annotated[str, BeforeValidator(_text), Field(min_length=1)]
"""PK, UUID or label of a node, or a path"""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str | int) and not isinstance(value, bool) else value


Names = Annotated[tuple[Name, ...], BeforeValidator(_listed), Field(min_length=1)]


class PoolSource(Settings):
    """The crystals to search in."""

    source: Names = Field(description='PK, UUID or label of a node of crystals; or files and folders of structures')
    properties: str | None = Field(default=None, description='CSV table of property columns, for files')


class DatasetSource(Settings):
    """Labels that are known beforehand."""

    source: Name = Field(description='PK, UUID or label of a dataset; or a dataset.npz or labelled JSON lines')
    functional: str | None = Field(default=None, description='of rows that do not say, for a file')
    split_file: str | None = Field(default=None, description='JSON file of splits, for a file')


class DfptSettings(Settings):
    """What the engine is told, as ``aiida-goectp verify`` takes it."""

    codes: dict[str, Name] = Field(default_factory=dict, description='role: label of the code, e.g. pw: pw@cluster')
    potentials: str | None = Field(default=None, description='family of pseudopotentials or POTCARs')
    protocol: str | None = Field(default=None, description='fast, balanced or stringent, of the engine')
    relax: bool | None = Field(default=None, description='relax first, or compute the structures as they are')
    electronic_only: bool | None = Field(default=None, description='compute the electronic part alone')
    processes: int | None = Field(default=None, ge=1, description='MPI processes of each job')
    queue: str | None = Field(default=None, description='queue or partition')
    account: str | None = Field(default=None, description='account to charge')
    wall_time: int | None = Field(default=None, ge=60, description='seconds a job may take')
    options: dict[str, Any] = Field(default_factory=dict, description='further options of each job')
    overrides: dict[str, Any] = Field(default_factory=dict, description='over the protocol of the engine')
    arguments: dict[str, Any] = Field(default_factory=dict, description='any other argument of the engine, by name')


class CampaignConfig(Settings):
    """All that a campaign is told; what is left out is as the protocol has it."""

    label: str = Field(default='', description='of the work chain')
    description: str = Field(default='', description='of the work chain')
    pool: PoolSource
    dataset: DatasetSource
    split: str | None = Field(
        default=None, description='base split of the dataset; one by formula is made if not given'
    )
    model: Name | None = Field(default=None, description='node, shipped model or file; trained first if not given')
    predictions: Name | None = Field(default=None, description='node: of the pool by that model, for the first round')
    labels: Name | None = Field(
        default=None, description='node: a dataset of labels of your own, as if of earlier rounds'
    )
    engine: str = Field(description='quantumespresso, vasp, or the entry point of another engine')
    dfpt: DfptSettings = Field(default_factory=DfptSettings)
    thresholds: dict[str, float | None] = Field(default_factory=dict, description='of gates; off for none')
    reuse: bool = Field(default=True, description='take over what was computed before')
    protocol: str | None = Field(default=None, description='fast, balanced or stringent')
    code: Name | None = Field(default=None, description='label of the code goectp; goectp@localhost if not given')
    device: str | None = Field(default=None, description='auto, cpu, cuda or cuda:N')
    gpus: int = Field(default=0, ge=0, description='to ask the scheduler for, each prediction and each training')
    options: dict[str, Any] = Field(default_factory=dict, description='of each prediction and each training')
    picking: PickSettings = Field(default_factory=PickSettings)
    stop_rules: StopRules = Field(default_factory=StopRules)
    retraining: RetrainingPolicy = Field(default_factory=RetrainingPolicy)
    training: TrainSettings = Field(default_factory=TrainSettings, description='of each member of the committee')
    max_concurrent: int | None = Field(default=None, ge=1, description='DFPT calculations at the same time')
    max_trainings: int | None = Field(default=None, ge=1, description='members in training at the same time')
    seed: int | None = Field(default=None, ge=0)
    overrides: dict[str, Any] = Field(default_factory=dict, description='of predict and train, as in the protocol')

    @field_validator('pool', 'dataset', mode='before')
    @classmethod
    def _short(cls, value: Any) -> Any:
        return value if isinstance(value, Mapping) else {'source': value}

    @field_validator('picking')
    @classmethod
    def _known(cls, picking: PickSettings) -> PickSettings:
        acquisition(picking.acquisition.name)
        return picking

    @field_validator('thresholds', mode='before')
    @classmethod
    def _off(cls, value: Any) -> Any:
        """Let YAML's ``off``, which is false, switch a gate off."""
        if not isinstance(value, Mapping):
            return value
        values = {key: None if item is False or item == 'off' else item for key, item in value.items()}
        check_thresholds({key: item for key, item in values.items() if item is None or isinstance(item, int | float)})
        return values

    @model_validator(mode='before')
    @classmethod
    def _empty(cls, values: Any) -> Any:
        """Take a key without a value as one that is not given."""
        return (
            {key: item for key, item in values.items() if item is not None} if isinstance(values, Mapping) else values
        )

    def given(self, name: str) -> dict[str, Any]:
        """Return what a section says itself, without the defaults."""
        section: dict[str, Any] = getattr(self, name).model_dump(mode='json', exclude_unset=True)
        return section


def read_config(path: Path) -> CampaignConfig:
    """Read a configuration.

    :raises FormatError: with one line for each wrong key: file, line, key, what is wrong and what there is instead
    """
    try:
        text = path.read_text(encoding='utf-8')
        tree, values = yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise FormatError(f'{path.name}: no text ({error}); give a YAML file') from error
    except yaml.YAMLError as error:
        raise FormatError(f'{path.name}: no YAML: {" ".join(str(error).split())}') from error
    if not isinstance(tree, yaml.MappingNode):
        raise FormatError(f'{path.name}: holds no settings; `aiida-goectp campaign template` prints some to begin with')
    lines = dict(_lines(tree))
    twice = [f'{path.name}:{line}: {key}: stands there twice' for key, line in _twice(tree)]
    try:
        config = CampaignConfig.model_validate(values)
    except ValidationError as error:
        wrong = [item.removeprefix('.') for item in settings_errors(CampaignConfig, error, '')]
        raise FormatError('\n'.join([*twice, *(_placed(path.name, lines, item) for item in wrong)])) from error
    if twice:
        raise FormatError('\n'.join(twice))
    return config


def _placed(name: str, lines: Mapping[str, int], complaint: str) -> str:
    """Return a complaint with the line of its key, or of the section that the key is missing from."""
    key = complaint.partition(': ')[0]
    while key and key not in lines:
        key = key.rpartition('.')[0]
    return f'{name}:{lines[key]}: {complaint}' if key else f'{name}: {complaint}'


def _lines(tree: yaml.MappingNode, path: str = '') -> Iterator[tuple[str, int]]:
    """Return the line of each key, from 1, by its dotted name."""
    for key, value in tree.value:
        place = f'{path}{key.value}'
        yield place, key.start_mark.line + 1
        if isinstance(value, yaml.MappingNode):
            yield from _lines(value, f'{place}.')


def _twice(tree: yaml.MappingNode) -> Iterator[tuple[str, int]]:
    """Return keys that stand in one section twice, of which YAML takes the last without a word."""
    seen: set[str] = set()
    for place, line in _lines(tree):
        if place in seen:
            yield place, line
        seen.add(place)
