"The chapters on explanation and on own films as papermill executes them."
import json

from bonefrac.experiment.notebooks import execute, notebook_path

def texts(notebook):
    "All that the cells of an executed notebook show."
    cells = json.loads(notebook.read_text())['cells']
    shown = [output.get('data', {}) for cell in cells for output in cell.get('outputs', [])]
    return '\n'.join(''.join(data.get(kind, '')) for data in shown for kind in ('text/markdown', 'text/html'))

def test_explanation_in_a_minute(tmp_path):
    done = execute(notebook_path('21_explanation'), tmp_path/'out.ipynb', dict(quick=True, runs=str(tmp_path/'runs')))
    shown = texts(done)
    for word in ('Grad-CAM points at it', 'middle of the film', 'random patches', 'answer of the detector'):
        assert word in shown, word
    tasks = {json.loads(card.read_text())['task'] for card in (tmp_path/'runs').glob('[!.]*/card.json')}
    assert tasks == {'abnormal', 'region', 'spot'}

def test_own_films_are_judged(tmp_path):
    done = execute(notebook_path('22_evaluation'), tmp_path/'out.ipynb', dict(out=str(tmp_path)))
    assert 'SIMULATED' in texts(done) and 'these films' in texts(done)
    scores = json.loads((tmp_path/'scores.json').read_text())
    assert scores['simulated'] and scores['n'] == 72 and (tmp_path/'predictions.parquet').exists()
