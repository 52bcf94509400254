"Each gate holds of this checkout's copy, and fails when what it guards is broken."
import json
import subprocess

import pytest
from gates import GATES, Broken, ROOT, copy_of

@pytest.fixture
def copy(tmp_path):
    "A copy of the checkout that is a git repository of its own."
    root = copy_of(ROOT, tmp_path)
    (root/'results').symlink_to(ROOT/'results')
    for args in (['init', '-q'], ['add', '-A']): subprocess.run(['git', *args], cwd=root, check=True)
    return root

def edit(path, old, new):
    text = path.read_text(encoding='utf8')
    assert old in text, f'{old!r} is not in {path.name}'
    path.write_text(text.replace(old, new, 1), encoding='utf8')

def edit_notebook(path, change):
    nb = json.loads(path.read_text(encoding='utf8'))
    change(nb)
    path.write_text(json.dumps(nb, indent=1, ensure_ascii=False) + '\n', encoding='utf8')

DATA = 'nbs/library/data/05_readers.ipynb'

def rename_export(root): edit_notebook(root/DATA, lambda nb: [c.update(source=['#| default_exp dataset']) for c in nb['cells'] if 'default_exp' in ''.join(c['source'])])
def untag(root): edit_notebook(root/'nbs/study/03_run.ipynb', lambda nb: [c['metadata'].clear() for c in nb['cells']])
def dirty(root): edit_notebook(root/DATA, lambda nb: next(c for c in nb['cells'] if c['cell_type'] == 'code')['metadata'].update(scrolled=True))
def same_ids(root): edit_notebook(root/DATA, lambda nb: nb['cells'][1].update(id=nb['cells'][0]['id']))
def skip_cell(root): edit_notebook(root/DATA, lambda nb: next(c for c in nb['cells'] if 'test_eq(' in ''.join(c['source']))['source'].insert(0, '#| eval: false\n'))
def no_tests(root): edit_notebook(root/DATA, lambda nb: nb.update(cells=[c for c in nb['cells'] if c['cell_type'] == 'markdown' or '#| ' in ''.join(c['source'])]))
def new_module(root):
    (root/'nbs/library/99_more.ipynb').write_text(json.dumps(dict(cells=[dict(cell_type='code', id='a', metadata={}, outputs=[], execution_count=None, source='#| default_exp more\n'), dict(cell_type='code', id='b', metadata={}, outputs=[], execution_count=None, source='#| export\nx = 1')], metadata={}, nbformat=4, nbformat_minor=5)))
def forgotten(root):
    subprocess.run(['git', 'rm', '-q', '--cached', 'bonefrac/splits.py'], cwd=root, check=True)
def widget(root): edit_notebook(root/'nbs/study/03_run.ipynb', lambda nb: next(c for c in nb['cells'] if c.get('outputs'))['outputs'].append(dict(data={'application/vnd.jupyter.widget-view+json': {}, 'text/plain': ['0%|']}, metadata={}, output_type='display_data')))
def machine_path(root): edit_notebook(root/'nbs/study/03_run.ipynb', lambda nb: next(c for c in nb['cells'] if c.get('outputs'))['outputs'].append(dict(name='stderr', output_type='stream', text=['/x/site-packages/torch.py: warning\n'])))
def unproven(root):
    (root/'nbs/study/reporting.csv').write_text('guideline,item,topic,asks,status,evidence,note\nCLAIM,1,Title,Name the method,met,,\n')
def second_page(root):
    (root/'nbs/library/99_data.ipynb').write_bytes((root/DATA).read_bytes())
    edit(root/'_quarto.yml', '- library/data/05_readers.ipynb', '- library/data/05_readers.ipynb\n          - library/99_data.ipynb')
def add(root, name, content):
    (root/name).write_bytes(content)
    subprocess.run(['git', 'add', '-f', name], cwd=root, check=True)

BREAKS = [
    ('export', 'edited module', lambda root: edit(root/'bonefrac/splits.py', 'folds:int=5', 'folds:int=6'), 'not as the notebooks export: bonefrac/splits.py'),
    ('export', 'edited notebook', lambda root: edit(root/'nbs/library/training/01_splits.ipynb', 'folds:int=5', 'folds:int=6'), 'bonefrac/splits.py'),
    ('export', 'module of a renamed notebook', rename_export, 'bonefrac/data'),
    ('export', 'new module', new_module, 'bonefrac/more.py'),
    ('export', 'module not in git', forgotten, 'not in git: bonefrac/splits.py'),
    ('clean', 'cell metadata', dirty, 'not clean: nbs/library/data/05_readers.ipynb'),
    ('clean', 'no parameters tag', untag, '03_run.ipynb: 0 cells are tagged'),
    ('clean', 'study notebook without outputs', lambda root: edit_notebook(root/'nbs/study/03_run.ipynb', lambda nb: [c.update(outputs=[]) for c in nb['cells'] if c['cell_type'] == 'code']), '03_run.ipynb: not executed'),
    ('clean', 'two cells of one id', same_ids, 'without an id of their own'),
    ('clean', 'progress bar', widget, 'the output of a widget'),
    ('clean', 'path of a machine', machine_path, 'a path of this machine'),
    ('sidebar', 'page not listed', lambda root: edit(root/'_quarto.yml', '- library/data/05_readers.ipynb', ''), 'library/data/05_readers.ipynb'),
    ('sidebar', 'two notebooks of one page', second_page, 'two notebooks make: library/data/readers.html'),
    ('readme', 'edited README', lambda root: edit(root/'README.md', 'bonefrac', 'bonefrak'), 'make prepare'),
    ('reporting', 'cell that is gone', lambda root: edit(root/'nbs/study/reporting.csv', 'nbs/study/01_data.ipynb#', 'nbs/study/01_data.ipynb#x'), '1 targets are not there'),
    ('reporting', 'met without evidence', unproven, 'met without evidence'),
    ('tracked', 'weights in git', lambda root: add(root, 'model.safetensors', b'0'), 'tracked: model.safetensors'),
    ('tracked', 'large file', lambda root: add(root, 'table.csv', b'0'*(2**20 + 1)), 'above 1 MB: table.csv'),
    ('notebooks', 'skipped cell', skip_cell, '00_data.ipynb: 1 cells are skipped'),
    ('notebooks', 'no tests', no_tests, '00_data.ipynb asserts nothing'),
]

@pytest.mark.parametrize('gate, what, harm, reason', BREAKS, ids=[f'{gate}: {what}' for gate, what, *_ in BREAKS])
def test_a_gate_fails_when_it_should(copy, gate, what, harm, reason):
    harm(copy)
    with pytest.raises(Broken) as broken: GATES[gate](copy)
    assert reason in str(broken.value)

def test_notebooks_gate_fails_with_a_failing_notebook(copy):
    for path in (copy/'nbs/library').glob('*.ipynb'):
        if path.name != '06_splits.ipynb': path.unlink()
    assert GATES['notebooks'](copy) == '1 notebooks passed, 0 failed'
    edit(copy/'nbs/library/training/01_splits.ipynb', 'test_eq(crossing_groups(split), [])', 'test_eq(crossing_groups(split), [1])')
    with pytest.raises(Broken, match='1 of 1 notebooks failed: 06_splits.ipynb'): GATES['notebooks'](copy)

def test_gates_need_something_to_look_at(tmp_path):
    (tmp_path/'nbs').mkdir()
    for gate in ('clean', 'notebooks'):
        with pytest.raises(Broken, match='no notebook below'): GATES[gate](tmp_path)
