"""Checks of codes and their computers: configured, enabled, reachable, executable there."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from aiida import orm
from aiida.common.log import override_log_level

__all__ = ('code_errors', 'codes_in', 'computer_error', 'errors_of_codes')


def codes_in(inputs: Any) -> Iterator[orm.AbstractCode]:
    """Yield the codes among nested inputs of a process."""
    if isinstance(inputs, orm.AbstractCode):
        yield inputs
    elif isinstance(inputs, Mapping):
        for value in inputs.values():
            yield from codes_in(value)


def computer_error(computer: orm.Computer) -> str | None:
    """Return why a computer is not set up for the user of the profile, and what to do; None if it is."""
    user = orm.User.collection.get_default()
    if user is None or not computer.is_user_configured(user):
        who = 'the user' if user is None else user.email
        command = f'verdi computer configure {computer.transport_type} {computer.label}'
        return f'computer {computer.label} is not configured for {who}; run `{command}`'
    if not computer.is_user_enabled(user):
        return f'computer {computer.label} is disabled for {user.email}; run `verdi computer enable {computer.label}`'
    return None


def code_errors(codes: Iterable[orm.AbstractCode]) -> list[str]:
    """Return why codes cannot run, one message for each computer or code: what is wrong, and what to do."""
    return [message for _, message in errors_of_codes(codes)]


def errors_of_codes(codes: Iterable[orm.AbstractCode]) -> list[tuple[orm.AbstractCode, str]]:
    """Return codes that cannot run, with the reason; of the codes on a computer that cannot be used, the first one.

    A code without computer, or within a container, has no executable that can be looked for.
    """
    by_computer: dict[str, list[Any]] = {}
    for code in codes:
        if code.computer is not None:
            by_computer.setdefault(code.computer.uuid, []).append(code)
    errors: list[tuple[orm.AbstractCode, str]] = []
    for group in by_computer.values():
        computer = group[0].computer
        if error := computer_error(computer):
            errors.append((group[0], error))
            continue
        installed = [code for code in dict.fromkeys(group) if type(code) is orm.InstalledCode]
        try:
            with override_log_level(), computer.get_transport() as transport:
                errors += [(code, error) for code in installed if (error := _executable_error(code, transport))]
        except Exception as error:  # each transport raises its own
            reason = ' '.join(str(error).split()) or type(error).__name__
            test = f'see `verdi computer test {computer.label}`'
            errors.append((group[0], f'computer {computer.label} cannot be reached ({reason}); {test}'))
    return errors


def _executable_error(code: orm.InstalledCode, transport: Any) -> str | None:
    path = code.filepath_executable
    remedy = f'replace it: `verdi code show {code.full_label}`, `verdi code create core.code.installed`'
    if not path.is_absolute():
        # elsewhere, or after `module load`, the search path is known in a job only
        local = code.computer.transport_type == 'core.local' and not code.prepend_text and not _prepended(code)
        if local and shutil.which(str(path)) is None:
            return f'code {code.full_label}: no program {path} in PATH; {remedy}'
        return None
    if not transport.isfile(str(path)):
        return f'code {code.full_label}: no file {path} on {code.computer.label}; {remedy}'
    if not transport.get_mode(str(path)) & 0o111:
        return f'code {code.full_label}: {path} on {code.computer.label} is not executable; run `chmod +x` there'
    return None


def _prepended(code: orm.InstalledCode) -> bool:
    return bool(code.computer is not None and code.computer.get_prepend_text())
