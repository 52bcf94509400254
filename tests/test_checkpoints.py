"Runs whose process is killed go on, and end as if nothing had happened."
import signal
import subprocess
import sys

import pandas as pd
import pytest

RUN = '''
import sys
from bonefrac.experiment.config import RunConfig
from bonefrac.experiment.run import run
from bonefrac.training import checkpoints
checkpoints.EVERY = 0
task, epochs, runs = sys.argv[1:]
own = dict(arch='squeezenet1_1', data='phantom:72') if task == 'region' else dict(data='phantom:24:0.5')
run(RunConfig(**own, task=task, weights='scratch', size=64, batch_size=8, epochs=int(epochs)), runs)
'''

def start(task, runs):
    "A run of four epochs in a process of its own."
    command = [sys.executable, '-c', RUN, task, '4', str(runs)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

def hidden(runs): return [path.name for path in runs.iterdir() if path.name.startswith('.')]

def whole(process):
    "What a run said that was left alone."
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0, out
    return out

@pytest.mark.parametrize('task', ['region', 'spot'])
def test_a_killed_run_goes_on_and_ends_as_one_that_was_not_killed(task, tmp_path):
    process = start(task, tmp_path/'killed')
    assert any('epoch  2/4' in line for line in process.stdout)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert any(name.endswith('.checkpoint') for name in hidden(tmp_path/'killed'))
    out = whole(start(task, tmp_path/'killed'))
    assert 'goes on after epoch' in out and 'epoch  1/4' not in out
    assert 'goes on' not in whole(start(task, tmp_path/'left'))
    assert hidden(tmp_path/'killed') == []
    [killed], [left] = ([*(tmp_path/name).iterdir()] for name in ('killed', 'left'))
    for name in ('model.safetensors', 'history.csv', 'split.csv'):
        assert (killed/name).read_bytes() == (left/name).read_bytes()
    pd.testing.assert_frame_equal(*(pd.read_parquet(folder/'predictions.parquet') for folder in (killed, left)))
