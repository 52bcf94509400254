"The run notebook as a user of papermill meets it."
import json
import os
from dataclasses import fields

import pytest

from conftest import ROOT, TINY

from bonefrac.experiment.config import RunConfig
from bonefrac.experiment.notebooks import execute, notebook_parameters, notebook_path
from bonefrac.experiment.record import collect, finished, recorded
from bonefrac.experiment.run import read_predictions
from bonefrac.phantom.closeups import make_closeups

NOTEBOOK = ROOT/'nbs/study/03_run.ipynb'

def test_parameters_are_the_configuration():
    parameters = notebook_parameters(NOTEBOOK)
    assert parameters.pop('runs') == 'runs'
    assert parameters == {field.name: field.default for field in fields(RunConfig)}

def test_notebook_travels_with_the_package():
    assert notebook_path('03_run').read_bytes() == NOTEBOOK.read_bytes()
    with pytest.raises(ValueError, match="unknown notebook 'run'; .*use 01_data, 02_own_data, 03_run, 04_report"):
        notebook_path('run')

def test_help_notebook_shows_every_parameter(call, tmp_path):
    done = call('papermill', '--help-notebook', NOTEBOOK, cwd=tmp_path)
    assert done.returncode == 0
    for name in notebook_parameters(NOTEBOOK): assert f'\n  {name}: ' in done.stdout, name
    assert 'rchive, folder, CSV' in NOTEBOOK.read_text() and 'Unknown' not in done.stdout

def test_papermill_runs_it(call, tmp_path):
    options = [part for key, value in TINY.items() for part in ('-p', key, str(value))]
    done = call('papermill', NOTEBOOK, 'out.ipynb', *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    [run] = (tmp_path/'runs').iterdir()
    files = 'config.json metrics.json history.csv predictions.parquet split.csv model.safetensors card.json'
    assert {path.name for path in run.iterdir()} == set(files.split())
    config = json.loads((run/'config.json').read_text())['config']
    assert {key: config[key] for key in TINY} == TINY
    out = json.loads((tmp_path/'out.ipynb').read_text())
    pictures = [o for cell in out['cells'] for o in cell.get('outputs', []) if 'image/png' in o.get('data', {})]
    predictions = read_predictions(run)
    answers = predictions.filter(like='p_').idxmax(axis=1).str.removeprefix('p_')
    assert len(pictures) == 2 and f'Accuracy {(answers == predictions.truth).mean():.3f}' in json.dumps(out)
    assert 'SIMULATED' in json.dumps(out)

@pytest.fixture(scope='module')
def breaks(tmp_path_factory):
    "Close-ups of few breaks."
    return make_closeups(tmp_path_factory.mktemp('breaks')/'closeups', 40)

@pytest.mark.parametrize('task', ['displacement', 'severity'])
def test_papermill_measures_and_grades(call, tmp_path, breaks, task):
    asked = dict(TINY, task=task, data=str(breaks), size=64, resize='fit', folds=2, epochs=1, batch_size=8)
    options = [part for key, value in asked.items() for part in ('-p', key, str(value))]
    done = call('papermill', NOTEBOOK, 'out.ipynb', *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    [run] = (tmp_path/'runs').iterdir()
    card = json.loads((run/'card.json').read_text())
    assert card['simulated'] and card['task'] == task and 'Not a medical device' in card['says']
    assert (card['margins'] is None) == (task == 'severity')
    record = collect(tmp_path/'runs', tmp_path/'results')
    assert record.task.tolist() == [task] and recorded(tmp_path/'results')
    assert record[dict(displacement='mae', severity='accuracy')[task]].notna().all()

ROWS = """
from bonefrac.data.filters import FILTERS
from bonefrac.training.architectures import ARCHS
ARCHS['my_network'] = ARCHS['squeezenet1_1']
FILTERS['darker'] = lambda image: image//2
"""

def test_a_new_architecture_and_filter_are_one_row_each(call, tmp_path):
    (tmp_path/'rows').mkdir()
    (tmp_path/'rows/sitecustomize.py').write_text(ROWS) # read by every process, and by the kernels that they start
    path = os.pathsep.join(filter(None, [str(tmp_path/'rows'), os.environ.get('PYTHONPATH')]))
    told = call('bonefrac', 'run', '--help', cwd=tmp_path, PYTHONPATH=path)
    assert 'my_network' in told.stdout and 'darker' in told.stdout, told.stderr
    mine = dict(TINY, arch='my_network', filter='darker')
    options = [part for key, value in mine.items() for part in ('-p', key, str(value))]
    done = call('papermill', NOTEBOOK, 'out.ipynb', *options, cwd=tmp_path, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr[-3000:]
    [run] = finished(tmp_path/'runs')
    assert run.name.startswith('my_network-darker-')
    assert call('bonefrac', 'phantom', '--out', 'one', '--n', '12', '--size', '64', cwd=tmp_path).returncode == 0
    image = next((tmp_path/'one').rglob('*.jpg'))
    asked = call('bonefrac', 'predict', image, run, cwd=tmp_path, PYTHONPATH=path)
    assert asked.returncode == 0 and 'probability' in asked.stdout, asked.stderr

@pytest.mark.parametrize('name, value, reason', [
    ('arhc', 'resnet18', 'unknown parameter arhc; did you mean arch?'),
    ('arch', 'resnet19', "unknown arch 'resnet19'; did you mean resnet18?"),
    ('epochs', 'many', "epochs must be int, not 'many'")])
def test_wrong_parameter_stops_before_anything_runs(call, tmp_path, name, value, reason):
    done = call('papermill', NOTEBOOK, 'out.ipynb', '-p', name, value, cwd=tmp_path)
    assert done.returncode != 0 and reason in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ['out.ipynb']

def test_runner_refuses_unknown_parameters_before_a_kernel_starts(tmp_path):
    message = 'unknown parameter of 03_run.ipynb: arhc; did you mean arch. known are task, data'
    with pytest.raises(ValueError, match=message):
        execute(NOTEBOOK, tmp_path/'out.ipynb', dict(arhc='resnet18'))
    assert not list(tmp_path.iterdir())

def test_a_notebook_needs_exactly_one_parameters_cell(tmp_path):
    nb = json.loads(NOTEBOOK.read_text())
    for cell in nb['cells']: cell['metadata'].pop('tags', None)
    (tmp_path/'untagged.ipynb').write_text(json.dumps(nb))
    with pytest.raises(ValueError, match='0 cells are tagged parameters'):
        notebook_parameters(tmp_path/'untagged.ipynb')
