"""What tests with a daemon ask about a submitted campaign."""

__all__ = ('REPORT',)

REPORT = """
import json, sys
from aiida import orm
from aiida.common.links import LinkType

node = orm.load_node(int(sys.argv[1]))

def calls(process, path=''):
    for link in process.base.links.get_outgoing(link_type=(LinkType.CALL_WORK, LinkType.CALL_CALC)).all():
        if link.link_label == 'CALL':  # calcfunctions of an engine
            continue
        yield path + link.link_label, link.node
        yield from calls(link.node, path + link.link_label + '/')

called = list(calls(node))
table = [item for item in node.called_descendants if item.process_label == 'TableDfptWorkChain']
jobs = [item for item in node.called_descendants if isinstance(item, orm.CalcJobNode)]
# a process that is being stored has no state
states = [item.process_state for item in node.called_descendants]
print(json.dumps({
    'finished': node.is_terminated,
    'message': str(node.exception or node.exit_message),
    'status': node.exit_status,
    'created': sum(state is None or state.value == 'created' for state in states),
    'running': [path for path, call in called if not call.is_terminated],
    'finished_calls': sorted(path for path, call in called if call.is_finished_ok),
    # of a worker that was killed: the node of a calcfunction stays as it was, and its work chain calls it again
    'interrupted_calls': [
        path for path, call in called if isinstance(call, orm.CalcFunctionNode) and not call.is_terminated
    ],
    'calls': len(called),
    'jobs': sorted(job.process_label for job in jobs),
    'structures': sorted(item.inputs.structure.pk for item in table),
    'history': node.outputs.history.get_dict() if 'history' in node.outputs else {},
}))
"""
"""prints the calls, jobs and decisions of the campaign with the given PK as JSON"""
