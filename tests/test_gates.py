"Each gate holds of this checkout's copy, and fails when what it guards is broken."
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from gates import GATES, ROOT, Broken, copy_of, library, modules, prose_words

# What the harms touch. A room is the first of these modules that the library has, so that it may move to a wing.
ROOMS = {room.module: room.path for room in library(ROOT)}
TABLE = next(name for name in ('data.table', 'data') if name in ROOMS)
SPLITS = next(name for name in ('training.splits', 'splits') if name in ROOMS)
RUN = 'nbs/study/03_run.ipynb'
SPLITS_CODE = 'folds:int=5', 'folds:int=6'
SPLITS_TEST = 'test_eq(crossing_groups(split), [])', 'test_eq(crossing_groups(split), [1])'
CITED = 'nbs/study/01_data.ipynb#'

def notebook(module): return f'nbs/library/{ROOMS[module]}'
def exported(module): return f'bonefrac/{module.replace(".", "/")}.py'

@pytest.fixture
def copy(tmp_path):
    "A copy of the checkout that is a git repository of its own."
    root = copy_of(ROOT, tmp_path)
    (root/'results').symlink_to(ROOT/'results')
    git(root, 'init', '-q')
    git(root, 'add', '-A')
    return root

def git(root, *args): subprocess.run(['git', *args], cwd=root, check=True)

def edit(path, old, new):
    text = path.read_text(encoding='utf8')
    assert old in text, f'{old!r} is not in {path.name}'
    path.write_text(text.replace(old, new, 1), encoding='utf8')

def edit_notebook(path, change):
    nb = json.loads(path.read_text(encoding='utf8'))
    change(nb)
    path.write_text(json.dumps(nb, indent=1, ensure_ascii=False) + '\n', encoding='utf8')

def code_cell(name, source):
    return dict(cell_type='code', id=name, metadata={}, outputs=[], execution_count=None, source=source)

def code_cells(nb): return [cell for cell in nb['cells'] if cell['cell_type'] == 'code']

def add_cell(root, path, source): edit_notebook(root/path, lambda nb: nb['cells'].append(code_cell('feedbeef', source)))

def write_room(root, path, module, code):
    "A library notebook of two cells."
    cells = [code_cell('aaaaaaaa', f'#| default_exp {module}'), code_cell('bbbbbbbb', f'#| export\n{code}')]
    file = root/'nbs/library'/path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=5)), encoding='utf8')

def add(root, name, content):
    (root/name).write_bytes(content)
    git(root, 'add', '-f', name)

# Harms to the copy of this checkout

def rename_export(root):
    edit_notebook(root/notebook(TABLE), lambda nb: [c.update(source=['#| default_exp dataset'])
                                                    for c in nb['cells'] if 'default_exp' in ''.join(c['source'])])

def edit_nested_module(root):
    "Export a nested notebook, then edit its module by hand."
    write_room(root, 'wing/00_more.ipynb', 'wing.more', 'x = 1')
    export(root)
    edit(root/'bonefrac/wing/more.py', 'x = 1', 'x = 2')

def forget_nested_module(root):
    write_room(root, 'wing/00_more.ipynb', 'wing.more', 'x = 1')
    export(root)
    git(root, 'rm', '-q', '--cached', 'bonefrac/wing/more.py')

def forget_init(root):
    write_room(root, 'wing/00_more.ipynb', 'wing.more', 'x = 1')
    export(root)
    git(root, 'rm', '-q', '--cached', 'bonefrac/wing/__init__.py')

def leave_nested_module(root):
    write_room(root, 'wing/00_more.ipynb', 'wing.more', 'x = 1')
    export(root)
    (root/'nbs/library/wing/00_more.ipynb').unlink()

def ignored_wing(root):
    "A wing whose name git ignores."
    write_room(root, 'runs/00_more.ipynb', 'runs.more', 'x = 1')
    export(root)

def export(root):
    "Export as `make prepare` does, docstrings included."
    import gates
    gates.export(root)
    git(root, 'add', '-A')

def untag(root): edit_notebook(root/RUN, lambda nb: [c['metadata'].clear() for c in nb['cells']])
def dirty(root): edit_notebook(root/notebook(TABLE), lambda nb: code_cells(nb)[0]['metadata'].update(scrolled=True))
def same_ids(root): edit_notebook(root/notebook(TABLE), lambda nb: nb['cells'][1].update(id=nb['cells'][0]['id']))

def skip_cell(root):
    def change(nb):
        cell = next(c for c in nb['cells'] if 'test_eq(' in ''.join(c['source']))
        cell['source'].insert(0, '#| eval: false\n')
    edit_notebook(root/notebook(TABLE), change)

def no_tests(root):
    def is_kept(cell): return cell['cell_type'] == 'markdown' or '#| ' in ''.join(cell['source'])
    edit_notebook(root/notebook(TABLE), lambda nb: nb.update(cells=[c for c in nb['cells'] if is_kept(c)]))

def no_picture(root):
    def change(nb):
        for cell in code_cells(nb):
            if '#| fig-alt' in ''.join(cell['source']): cell['outputs'] = []
    edit_notebook(root/'nbs/study/05_phantoms.ipynb', change)

def no_outputs(root): edit_notebook(root/RUN, lambda nb: [c.update(outputs=[]) for c in code_cells(nb)])

def add_chapter_cells(root, *texts):
    cells = [dict(cell_type='markdown', id=f'more{k}', metadata={}, source=[text]) for k, text in enumerate(texts)]
    edit_notebook(root/RUN, lambda nb: nb['cells'].extend(cells))

def many_words(root): add_chapter_cells(root, 'word '*900)
def many_cells(root): add_chapter_cells(root, *'a'*40)

def add_output(root, **out):
    edit_notebook(root/RUN, lambda nb: next(c for c in nb['cells'] if c.get('outputs'))['outputs'].append(out))

def widget(root):
    data = {'application/vnd.jupyter.widget-view+json': {}, 'text/plain': ['0%|']}
    add_output(root, data=data, metadata={}, output_type='display_data')

def machine_path(root):
    add_output(root, name='stderr', output_type='stream', text=['/x/site-packages/torch.py: warning\n'])

def unproven(root):
    table = 'guideline,item,topic,asks,status,evidence,note\nCLAIM,1,Title,Name the method,met,,\n'
    (root/'nbs/study/reporting.csv').write_text(table)

def second_page(root):
    page = Path(ROOMS[TABLE])
    twin = page.with_name(f'99_{page.stem[3:]}.ipynb')
    (root/'nbs/library'/twin).write_bytes((root/'nbs/library'/page).read_bytes())
    edit(root/'_quarto.yml', f'- library/{page}', f'- library/{page}\n              - library/{twin}')

def off_sidebar(root):
    text = re.sub(rf'^ *- library/{ROOMS[TABLE]}\n', '', (root/'_quarto.yml').read_text(), flags=re.M)
    (root/'_quarto.yml').write_text(text)

def replaced(path, old, new): return lambda root: edit(root/path, old, new)
def without(path): return lambda root: (root/path).unlink()
def untracked(path): return lambda root: git(root, 'rm', '-q', '--cached', path)
def with_option(line): return lambda root: add_cell(root, RUN, f'{line}\n1')

PAGE = f'library/{ROOMS[TABLE]}'

BREAKS = [
    ('export', 'edited module', replaced(exported(SPLITS), *SPLITS_CODE), f'export: {exported(SPLITS)}'),
    ('export', 'edited notebook', replaced(notebook(SPLITS), *SPLITS_CODE), f'export: {exported(SPLITS)}'),
    ('export', 'module of a renamed notebook', rename_export, exported(TABLE)),
    ('export', 'new module', lambda root: write_room(root, '99_more.ipynb', 'more', 'x = 1'), 'bonefrac/more.py'),
    ('export', 'module not in git', untracked(exported(SPLITS)), f'not in git: {exported(SPLITS)}'),
    ('export', 'edited nested module', edit_nested_module, 'not as the notebooks export: bonefrac/wing/more.py'),
    ('export', 'nested module not in git', forget_nested_module, 'not in git: bonefrac/wing/more.py'),
    ('export', 'init of a wing not in git', forget_init, 'not in git: bonefrac/wing/__init__.py'),
    ('export', 'nested module without notebook', leave_nested_module,
     'bonefrac/wing/__init__.py, bonefrac/wing/more.py'),
    ('export', 'wing that git ignores', ignored_wing, 'not in git: bonefrac/runs/__init__.py, bonefrac/runs/more.py'),
    ('clean', 'cell metadata', dirty, f'not clean: {notebook(TABLE)}'),
    ('clean', 'no parameters tag', untag, '03_run.ipynb: 0 cells are tagged'),
    ('clean', 'study notebook without outputs', no_outputs, '03_run.ipynb: not executed'),
    ('clean', 'a figure that is not there', no_picture, 'describes a figure that is not there'),
    ('clean', 'two cells of one id', same_ids, 'without an id of their own'),
    ('clean', 'progress bar', widget, 'the output of a widget'),
    ('clean', 'path of a machine', machine_path, 'a path of this machine'),
    ('sidebar', 'page not listed', off_sidebar, f'sidebar and notebooks differ: {PAGE}'),
    ('sidebar', 'two notebooks of one page', second_page, f'make: library/{TABLE.replace(".", "/")}.html'),
    ('readme', 'edited README', replaced('README.md', 'bonefrac', 'bonefrak'), 'make prepare'),
    ('chapters', 'many words', many_words, '03_run.ipynb has'),
    ('chapters', 'many cells', many_cells, 'above 40 cells or 900 words: 03_run.ipynb has'),
    ('reporting', 'cell that is gone', replaced('nbs/study/reporting.csv', CITED, f'{CITED}x'),
     'targets are not there'),
    ('reporting', 'met without evidence', unproven, 'met without evidence'),
    ('tracked', 'weights in git', lambda root: add(root, 'model.safetensors', b'0'), 'tracked: model.safetensors'),
    ('tracked', 'network in git', lambda root: add(root, 'model.onnx', b'0'), 'tracked: model.onnx'),
    ('tracked', 'large file', lambda root: add(root, 'table.csv', b'0'*(2**20 + 1)), 'above 1 MB: table.csv'),
    ('notebooks', 'skipped cell', skip_cell, f'{ROOMS[TABLE].name}: 1 cells are skipped'),
    ('notebooks', 'no tests', no_tests, f'{ROOMS[TABLE].name} asserts nothing'),
    ('manifests', 'link that is gone', without('bonefrac/manifests'), 'which is no folder'),
    ('options', 'not YAML', with_option('#| fig-alt: a figure: of two'), f'{RUN}: not YAML: fig-alt: a figure: of two'),
    ('options', 'option that Quarto does not know', with_option('#| fig-atl: a figure'),
     f'{RUN}: unknown key #| fig-atl'),
    ('options', 'no option at all', with_option('#| exprot'), f'{RUN}: not an option: exprot'),
    ('options', 'imports beside code', lambda root: add_cell(root, notebook(TABLE), 'import os\nx = 1'),
     f'{notebook(TABLE)}: imports need a cell of their own: import os'),
    ('options', 'value that Quarto does not list', with_option('#| echo: no one'), f'{RUN}: #| echo cannot be no one'),
    ('options', 'key of the site', replaced('_quarto.yml', 'repo-subdir:', 'repo-folder:'), 'key website.repo-folder'),
    ('options', 'key of a format', replaced('_quarto.yml', 'toc: true', 'contents: true'), 'key format.html.contents'),
    ('options', 'key of the sidebar', replaced('_quarto.yml', '- section: Study', '- part: Study'), 'key sidebar part'),
    ('light', 'package that loads torch', replaced('bonefrac/__init__.py', 'import warnings', 'import warnings, torch'),
     'bonefrac loads'),
    ('light', 'command line that loads tables', replaced('bonefrac/cli.py', 'import sys', 'import sys, pandas'),
     'bonefrac.cli loads numpy, pandas'),
]

IDS = [f'{gate}: {what}' for gate, what, *_ in BREAKS]

@pytest.mark.parametrize('gate, what, harm, reason', BREAKS, ids=IDS)
def test_a_gate_fails_when_it_should(copy, gate, what, harm, reason):
    harm(copy)
    with pytest.raises(Broken) as broken: GATES[gate](copy)
    assert reason in str(broken.value)

def test_words_are_those_of_prose():
    text = '# A title\n\n- code-fold: true\n\n| a | table |\n\n```bash\nmake test\n```\n[Two words](a.ipynb#b) more.'
    assert prose_words(text) == 5

def test_nested_module_passes(copy):
    write_room(copy, 'wing/00_more.ipynb', 'wing.more', 'x = 1')
    export(copy)
    assert {'bonefrac/wing/__init__.py', 'bonefrac/wing/more.py'} <= modules(copy)
    assert GATES['export'](copy).startswith(f'{len(modules(copy))} modules')

# A toy with all wings, on which gates of the layout hold

WINGS = 'evaluation phantom data audit training experiment deploy report'.split()
TOY = { # path of the notebook: its exported cell
    '00_files.ipynb': 'def cache(): "Folder."',
    '01_vocabulary.ipynb': 'REGIONS = ["elbow"]',
    '02_cli.ipynb': 'def main():\n    "All."\n    from bonefrac.report.last import z\n    return z',
    **{f'{wing}/00_first.ipynb': 'from bonefrac.files import cache\nx = cache()' for wing in WINGS},
    **{f'{wing}/01_last.ipynb': f'from bonefrac.{wing}.first import x\nz = x' for wing in WINGS},
    'data/03_table.ipynb': 'from bonefrac.evaluation.last import z\ny = z',
    'audit/02_manifests.ipynb': "from pathlib import Path\nMANIFESTS = Path(__file__).parent.parent/'manifests'",
    'deploy/02_predict.ipynb': 'from bonefrac.data.table import y\nz = y',
    'experiment/02_notebooks.ipynb': 'def parameters_cell():\n    "Cell."\n    return "seed = 0 # Deals\\n"',
}

@pytest.fixture(scope='module')
def whole_toy(tmp_path_factory):
    "A checkout with all wings and what the gates read."
    root = tmp_path_factory.mktemp('whole')/'toy'
    for name, code in TOY.items():
        module = name.removesuffix('.ipynb').replace('/', '.')
        write_room(root, name, re.sub(r'\d\d_', '', module), code)
    for name in ('settings.ini', 'pyproject.toml'): shutil.copy(ROOT/name, root/name)
    for name in ('results/manifests', 'bonefrac', 'nbs/study'): (root/name).mkdir(parents=True)
    (root/'results/manifests/groups-0.csv').write_text('name\n')
    (root/'bonefrac/manifests').symlink_to('../results/manifests')
    write_room(root, '../study/03_run.ipynb', 'run', '1')
    parameters = dict(source='seed = 0 # Deals', metadata=dict(tags=['parameters']))
    edit_notebook(root/RUN, lambda nb: nb['cells'][0].update(parameters))
    git(root, 'init', '-q')
    export(root)
    return root

@pytest.fixture
def toy(whole_toy, tmp_path): return shutil.copytree(whole_toy, tmp_path/'toy', symlinks=True)

def with_notebook(path, code):
    "Harm: another notebook, whose module is called as its file."
    module = re.sub(r'\d\d_', '', path.removesuffix('.ipynb').replace('/', '.'))
    return lambda root: write_room(root, path, module, code)

def with_room(path, code):
    "Harm: another notebook and the module that it exports."
    def harm(root):
        with_notebook(path, code)(root)
        export(root)
    return harm

def add_file(root, name, text):
    (root/name).parent.mkdir(parents=True, exist_ok=True)
    (root/name).write_text(text, encoding='utf8')

def late(line): return f'def f():\n    "Late."\n    {line}\n    return x\nx = 1'

FIRST, WIDE = 'data/00_first.ipynb', f'x = {" + ".join(["1"]*60)}'
MANIFESTS, NOTEBOOKS = 'bonefrac/audit/manifests.py', 'bonefrac/experiment/notebooks.py'
NO_CONTRACTS = '[tool.importlinter]\nroot_package = "bonefrac"\n'
BODY = 'def f{}():\n    x = [1, 2, 3, 4, 5, 6, 7, 8]\n' + '    x += x\n'*40

LAYOUT = [
    ('layers', 'import up', with_room(FIRST, 'from bonefrac.audit.first import x'),
     'data is not allowed to import bonefrac.audit'),
    ('layers', 'late import up', with_room('phantom/00_first.ipynb', late('from bonefrac.data.first import x')),
     'bonefrac.phantom is not allowed to import bonefrac.data'),
    ('layers', 'ground on ground', with_room('01_vocabulary.ipynb', 'from bonefrac.files import cache'),
     'bonefrac.vocabulary is not allowed to import bonefrac.files'),
    ('layers', 'torch', with_room('evaluation/00_first.ipynb', 'import torch\nx = 1'),
     'bonefrac.evaluation is not allowed to import torch'),
    ('layers', 'late torch', with_room('phantom/00_first.ipynb', late('import torch')),
     'bonefrac.phantom is not allowed to import torch'),
    ('layers', 'torch by way of the ground', with_room('00_files.ipynb', f'cache = dict\n{late("import torch")}'),
     'bonefrac.evaluation is not allowed to import torch'),
    ('layers', 'module outside the wings', with_room('03_utils.ipynb', 'x = 1'), 'utils'),
    ('layers', 'wing that is gone', lambda root: shutil.rmtree(root/'bonefrac/deploy'),
     'bonefrac.deploy does not exist'),
    ('layers', 'no contracts', lambda root: add_file(root, 'pyproject.toml', NO_CONTRACTS), 'contracts'),
    ('order', 'late import of a higher number', with_notebook(FIRST, late('from bonefrac.data.last import z')),
     f'{FIRST} imports data/01_last.ipynb'),
    ('order', 'module of a higher number', with_notebook(FIRST, 'from bonefrac.data import last'),
     f'{FIRST} imports data/01_last.ipynb'),
    ('order', 'relative import', with_notebook(FIRST, 'from .last import z'), f'{FIRST} imports data/01_last.ipynb'),
    ('order', 'import statement', with_notebook(FIRST, 'import bonefrac.data.last'),
     f'{FIRST} imports data/01_last.ipynb'),
    ('order', 'number twice', with_notebook('data/01_more.ipynb', 'x = 1'), 'has its number'),
    ('order', 'notebook in another wing', lambda root: write_room(root, 'data/03_more.ipynb', 'audit.more', 'x = 1'),
     'data/03_more.ipynb exports audit.more'),
    ('order', 'no default_exp', replaced(f'nbs/library/{FIRST}', 'default_exp', 'was_exp'), f'{FIRST} has 0 lines'),
    ('regions', 'comment', with_notebook(FIRST, 'x = 1 # Such as `Elbows`'), f'1 names of regions: {FIRST} (Elbows)'),
    ('regions', 'column', with_notebook('report/00_first.ipynb', "x = 'p_wrist'"), 'report/00_first.ipynb (wrist)'),
    ('regions', 'table', with_notebook(FIRST, 'from bonefrac.vocabulary import REGIONS'), f'{FIRST} (REGIONS)'),
    ('light', 'plots', with_room('data/03_table.ipynb', 'import seaborn\ny = 1'),
     'data.table loads matplotlib, seaborn'),
    ('light', 'audit', with_room('deploy/02_predict.ipynb', 'import bonefrac.audit.first'),
     'predict loads bonefrac.audit'),
    ('light', 'module that is gone', without('bonefrac/cli.py'), 'bonefrac.cli: ModuleNotFoundError'),
    ('manifests', 'moved module', replaced(MANIFESTS, '.parent.parent', '.parent'), 'which is no folder'),
    ('manifests', 'path from the working folder', replaced(MANIFESTS, 'Path(__file__).parent.parent',
     "Path('bonefrac')"),
     'which is no folder'),
    ('manifests', 'empty folder', without('results/manifests/groups-0.csv'), 'holds no manifest'),
    ('header', 'edited default', replaced(RUN, 'seed = 0', 'seed = 1'),
     "is 'seed = 1 # Deals', not 'seed = 0 # Deals'"),
    ('header', 'line too many', replaced(RUN, '# Deals', '# Deals\\nmore = 1'),
     "line 2 of the parameters is 'more = 1', not"),
    ('header', 'no generator', replaced(NOTEBOOKS, 'def parameters_cell', 'def cell'),
     "cannot import name 'parameters_cell'"),
    ('ruff', 'wide line', with_notebook(FIRST, WIDE), f'nbs/library/{FIRST}:cell 2:2:121: E501'),
    ('ruff', 'unused import', with_room(FIRST, 'import re\nx = 1'), 'F401'),
    ('ruff', 'wide test', lambda root: add_file(root, 'tests/test_x.py', f'"{"x y "*40}"\n'),
     'tests/test_x.py:1:121: E501'),
    ('ruff', 'wing left out', replaced('pyproject.toml', '"bonefrac/_modidx.py"', '"bonefrac/data"'),
     'not look at bonefrac/data'),
    ('types', 'wrong annotation', with_room(FIRST, 'def f(n:int=1) -> str: return n'),
     'Incompatible return value type (got "int", expected "str")'),
    ('measures', 'wide line', with_room(FIRST, WIDE),
     'lines over 120 1, at most 0; notebook lines over 120 1, at most 0'),
    ('measures', 'long bodies', with_room(FIRST, 'x = 1\n' + '\n'.join(map(BODY.format, range(9)))),
     'characters per body 2'),
    ('measures', 'wide bodies', with_room(FIRST, '\n'.join(f'def f{i}(): return {i}{"*100"*20}' for i in range(9))),
     'characters per body line 88'),
]

@pytest.mark.parametrize('gate', sorted({gate for gate, *_ in LAYOUT} | {'export'}))
def test_a_gate_holds_of_the_toy(toy, gate): assert re.search('[1-9]', GATES[gate](toy))

@pytest.mark.parametrize('gate, what, harm, reason', LAYOUT, ids=[f'{gate}: {what}' for gate, what, *_ in LAYOUT])
def test_a_gate_of_the_layout_fails_when_it_should(toy, gate, what, harm, reason):
    harm(toy)
    with pytest.raises(Broken) as broken: GATES[gate](toy)
    assert reason in str(broken.value)

def test_notebooks_gate_fails_with_a_failing_notebook(copy):
    for path in (copy/'nbs/library').rglob('*.ipynb'):
        if path != copy/notebook(SPLITS): path.unlink()
    assert GATES['notebooks'](copy) == '1 notebooks passed, 0 failed'
    edit(copy/notebook(SPLITS), *SPLITS_TEST)
    with pytest.raises(Broken, match=f'1 of 1 notebooks failed: {ROOMS[SPLITS].name}'): GATES['notebooks'](copy)

def test_gates_need_something_to_look_at(tmp_path):
    (tmp_path/'nbs').mkdir()
    for gate in ('clean', 'notebooks', 'order', 'regions', 'ruff'):
        with pytest.raises(Broken, match='no notebook below'): GATES[gate](tmp_path)
