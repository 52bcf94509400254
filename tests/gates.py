"""Gates: what must hold of the repository as a whole.

    python tests/gates.py            check all; exit status 1 if one fails
    python tests/gates.py --fix      export, clean and write README.md first
    python tests/gates.py export     check one
"""
import argparse
import ast
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
sys.path[:0] = [str(ROOT/'tests'), str(ROOT/'site')] # measures; README.md and names of pages

class Broken(Exception): "A gate that does not hold."

def is_left_over(path):
    "Is a path below nbs/ not part of the source: a checkpoint, a hidden file, a notebook that a run left?"
    hidden = any(part[0] in '._' for part in path.parts)
    return hidden or ('runs' in path.parts and path.parts[0] != 'library')

def notebooks(root, *parts):
    "Notebooks below nbs/, at least one."
    nbs = root/'nbs'
    found = [p for p in sorted(nbs.joinpath(*parts).rglob('*.ipynb')) if not is_left_over(p.relative_to(nbs))]
    if not found: raise Broken(f'no notebook below {nbs.joinpath(*parts)}')
    return found

def read_notebook(path): return json.loads(path.read_text(encoding='utf8'))

def sources(cells, kind='code'):
    "Texts of the cells of one kind."
    return [''.join(cell['source']) for cell in cells if cell['cell_type'] == kind]

NOT_SOURCE = '.git .venv runs results dist build _docs _proc *.egg-info .ipynb_checkpoints __pycache__ .*_cache'.split()
ANYWHERE = ['.ipynb_checkpoints', '__pycache__']

def copy_of(root, to):
    "A copy of what nbdev reads and writes, without outputs of runs."
    def ignored(folder, names):
        inside = {'bonefrac', 'library'} & set(Path(folder).relative_to(root).parts) # a wing may have any name
        return shutil.ignore_patterns(*(ANYWHERE if inside else NOT_SOURCE))(folder, names)
    return Path(shutil.copytree(root, Path(to)/'copy', symlinks=True, ignore=ignored))

def last_line(text): return (text.strip() or 'no message').splitlines()[-1]

NBDEV = 'from nbdev.cli import *; from nbdev.clean import *; from nbdev.doclinks import *; {}()'

def nbdev(command, root):
    "Run an nbdev command in a checkout."
    program = [sys.executable, '-c', NBDEV.format(command)]
    done = subprocess.run(program, cwd=root, capture_output=True, text=True)
    if done.returncode: raise Broken(f'{command}: {last_line(done.stderr)}')

def export(root):
    "Export the package, with docstrings that name the parameters."
    from docstrings import explain
    nbdev('nbdev_export', root)
    explain(root)

OF_ROOT = """
import sys
before = set(sys.modules)
sys.path.insert(0, sys.argv[1])
# the finder of an editable install would fill in what the checkout lacks
sys.meta_path[:] = [finder for finder in sys.meta_path if '__editable__' not in getattr(finder, '__module__', '')]
import bonefrac
if not bonefrac.__file__.startswith(sys.argv[1]): sys.exit('bonefrac was not imported from the checkout')
"""

def answer(root, program):
    "JSON that a Python program prints on its last line; it imports the checkout's package from a folder elsewhere."
    with TemporaryDirectory() as elsewhere:
        command = [sys.executable, '-B', '-c', OF_ROOT + program, str(root)]
        env = {k: v for k, v in os.environ.items() if not k.startswith('COVERAGE')} # which would load more
        done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, env=env)
    if done.returncode: raise Broken(last_line(done.stderr))
    return json.loads(last_line(done.stdout))

def differing(a, b, names):
    "Which of the files `names` differ between two folders or are missing from one."
    def same(name): return (a/name).is_file() and (b/name).is_file() and (a/name).read_bytes() == (b/name).read_bytes()
    return [name for name in sorted(names) if not same(name)]

def modules(root):
    "Modules of the package, its wings included, as paths from the checkout."
    return {p.relative_to(root).as_posix() for p in (root/'bonefrac').rglob('*.py') if '__pycache__' not in p.parts}

def module_named(root, *names):
    "Dotted name of the first of the rooms `names` that the package has."
    for name in names:
        for path in sorted(modules(root)):
            if Path(path).stem == name: return path[:-3].replace('/', '.')
    raise Broken(f'no module is called {" or ".join(names)}')

def tracked_files(root, *below):
    "Files that git tracks; None where the checkout is no repository."
    done = subprocess.run(['git', 'ls-files', '-z', *below], cwd=root, capture_output=True, text=True)
    return None if done.returncode else done.stdout.split('\0')[:-1]

def gate_export(root):
    "The package is what the notebooks export, no more and no less."
    with TemporaryDirectory() as d:
        copy = copy_of(root, d)
        for name in modules(copy) - {'bonefrac/__init__.py'}: (copy/name).unlink()
        export(copy)
        made = modules(copy)
        wrong = differing(root, copy, made | modules(root))
    tracked = tracked_files(root, 'bonefrac')
    new = sorted(made - set(tracked)) if tracked is not None else []
    faults = [f'not in git: {", ".join(new)}'] if new else []
    if wrong: faults.append(f'not as the notebooks export: {", ".join(wrong)}; run make prepare')
    if faults: raise Broken('; '.join(faults))
    wings = sum(name.endswith('/__init__.py') for name in made) - 1
    return f'{len(made)} modules in {wings} wings'

def gate_clean(root):
    "Notebooks are as nbdev_clean leaves them; the study is executed, figures are there, nothing ended in an error."
    names = [p.relative_to(root).as_posix() for p in notebooks(root)]
    with TemporaryDirectory() as d:
        copy = copy_of(root, d)
        nbdev('nbdev_clean', copy)
        wrong = differing(root, copy, names)
    if wrong: raise Broken(f'not clean: {", ".join(wrong)}; run make prepare')
    for name in names:
        nb = read_notebook(root/name)
        _check_ids(name, nb)
        _check_outputs(name, nb)
        _check_figures(name, nb)
        if name.startswith('nbs/study/'): _check_study(name, nb)
    return f'{len(names)} notebooks'

WIDGET = 'application/vnd.jupyter.widget-view+json'

def _of_this_machine(out):
    "Is an output a progress bar, or does it name a folder of the machine that made it?"
    return WIDGET in out.get('data', {}) or 'site-packages/' in ''.join(out.get('text', ''))

def drop_machine_outputs(root):
    "Take progress bars and warnings with paths out of the outputs of notebooks."
    for path in notebooks(root):
        nb = read_notebook(path)
        if not any(_of_this_machine(out) for cell in nb['cells'] for out in cell.get('outputs', [])): continue
        for cell in nb['cells']:
            if 'outputs' in cell: cell['outputs'] = [out for out in cell['outputs'] if not _of_this_machine(out)]
        path.write_text(json.dumps(nb, indent=1, ensure_ascii=False) + '\n', encoding='utf8')

def _check_ids(name, nb):
    ids = [cell.get('id') for cell in nb['cells']]
    if None in ids or len(set(ids)) < len(ids): raise Broken(f'{name}: cells without an id of their own')

def _check_outputs(name, nb):
    for out in [out for cell in nb['cells'] for out in cell.get('outputs', [])]:
        if out['output_type'] == 'error': raise Broken(f'{name}: a cell ends in {out["ename"]}')
        if 'image/jpeg' in out.get('data', {}): raise Broken(f'{name}: a JPEG output')
        if _of_this_machine(out):
            raise Broken(f'{name}: the output of a widget or a path of this machine; run make prepare')

DEPEND = 'nbs/study/03_run.ipynb', 'nbs/study/04_report.ipynb' # what they draw depends on the question of their run

def _check_figures(name, nb):
    if name in DEPEND: return
    for cell in nb['cells']:
        if '#| fig-alt' not in ''.join(cell['source']): continue
        shown = [out for out in cell.get('outputs', []) if 'image/png' in out.get('data', {})]
        if not shown: raise Broken(f'{name}: cell {cell["id"]} describes a figure that is not there; execute it')

def _tagged(nb): return [cell for cell in nb['cells'] if 'parameters' in cell['metadata'].get('tags', [])]

def _check_study(name, nb):
    if not any(cell.get('outputs') for cell in nb['cells']): raise Broken(f'{name}: not executed')
    if (n := len(_tagged(nb))) != 1: raise Broken(f'{name}: {n} cells are tagged parameters; exactly one must be')

RUN_NOTEBOOK = 'nbs/study/03_run.ipynb'

HEADER = """
import json
from {module} import parameters_cell
print(json.dumps(parameters_cell()))
"""

def gate_header(root):
    "The parameters cell of the run notebook is what the fields of a configuration say."
    cells = _tagged(read_notebook(root/RUN_NOTEBOOK))
    if len(cells) != 1: raise Broken(f'{RUN_NOTEBOOK}: {len(cells)} cells are tagged parameters')
    written = ''.join(cells[0]['source']).rstrip().splitlines()
    made = answer(root, HEADER.format(module='bonefrac.experiment.notebooks')).rstrip().splitlines()
    if not made: raise Broken('parameters_cell() is empty')
    for number, (old, new) in enumerate(zip([*written, '(end)'], [*made, '(end)']), 1):
        if old != new: raise Broken(f'{RUN_NOTEBOOK}: line {number} of the parameters is {old!r}, not {new!r}')
    return f'{len(made)} lines'

def gate_readme(root):
    "README.md is nbs/index.ipynb."
    from readme import README_FILES, render
    text, files = render(root/'nbs/index.ipynb')
    if (root/'README.md').read_text(encoding='utf8') != text:
        raise Broken('README.md is not what nbs/index.ipynb says; run make prepare')
    for name, content in files.items():
        if not (root/name).is_file() or (root/name).read_bytes() != content:
            raise Broken(f'{name} is not the figure of nbs/index.ipynb; run make prepare')
    extra = {p.relative_to(root).as_posix() for p in (root/README_FILES).glob('*')} - set(files)
    if extra: raise Broken(f'left over: {", ".join(sorted(extra))}')
    return f'{len(text.splitlines())} lines, {len(files)} figures'

def _leaves(items):
    "Pages of a sidebar, those of its sections included."
    return [leaf for item in items for leaf in (_leaves(item['contents']) if isinstance(item, dict) else [item])]

def gate_sidebar(root):
    "Every notebook stands in the sidebar of _quarto.yml, nothing else does, and no two make the same page."
    import yaml
    from readme import page
    config = yaml.safe_load((root/'_quarto.yml').read_text(encoding='utf8'))
    listed = set(_leaves(config['website']['sidebar']['contents']))
    present = {p.relative_to(root/'nbs').as_posix() for p in notebooks(root)}
    if listed != present: raise Broken(f'sidebar and notebooks differ: {", ".join(sorted(listed ^ present))}')
    pages = [page(p) for p in sorted(listed)]
    if twice := sorted({p for p in pages if pages.count(p) > 1}):
        raise Broken(f'pages that two notebooks make: {", ".join(twice)}')
    return f'{len(listed)} pages'

EVIDENCE = """
import json
from {module} import missing_evidence, reporting_items
items = reporting_items({root!r} + '/nbs/study/reporting.csv')
print(json.dumps([missing_evidence(items, {root!r}), len(items), items.guideline.nunique()]))
"""

CELLS, WORDS = 40, 900 # of a chapter, at most

def _shown(cell):
    "Texts that a reader of a chapter meets in a cell: prose as written, and sentences that code made."
    if cell['cell_type'] == 'markdown': return [''.join(cell['source'])]
    made = [out.get('data', {}).get('text/markdown', '') for out in cell.get('outputs', [])]
    return list(map(''.join, made))

def prose_words(text):
    "Number of words in markdown, without blocks of code, tables, addresses and the options on top."
    text = re.sub(r'^```.*?^```', '', text, flags=re.M | re.S)
    text = re.sub(r'^( *\||- code-fold).*$', '', text, flags=re.M)
    return len(re.findall(r'\w[^\s—–]*', re.sub(r'\]\([^)]*\)', ']', text)))

def chapter_size(path):
    "Cells and words of a chapter."
    cells = read_notebook(path)['cells']
    return len(cells), sum(prose_words(text) for cell in cells for text in _shown(cell))

def gate_chapters(root):
    "A chapter of the study has few cells, and few words of prose, those that its code writes included."
    sizes = {path.name: chapter_size(path) for path in notebooks(root, 'study')}
    long = [f'{name} has {cells} cells and {words} words' for name, (cells, words) in sizes.items()
            if cells > CELLS or words > WORDS]
    if long: raise Broken(f'above {CELLS} cells or {WORDS} words: {"; ".join(long)}')
    cells, words = map(max, zip(*sizes.values()))
    return f'{len(sizes)} chapters, at most {cells} cells and {words} words'

def gate_reporting(root):
    "What the reporting page calls met or partly met is shown by a file or cell that is there."
    program = EVIDENCE.format(module=module_named(root, 'reporting'), root=str(root))
    missing, items, guidelines = answer(root, program)
    if missing: raise Broken(f'{len(missing)} targets are not there: {"; ".join(missing[:5])}')
    return f'{items} items of {guidelines} guidelines'

FORBIDDEN = r'\.(jpe?g|dcm|pth|pt|pkl|safetensors|onnx|zip|npy)$'

def gate_tracked(root):
    "No image of the data set, archive or weights is in git; no file is above 1 MB."
    files = tracked_files(root)
    if not files: raise Broken('git tracks nothing')
    wrong = [f for f in files if re.search(FORBIDDEN, f, re.I)]
    if wrong: raise Broken(f'tracked: {", ".join(wrong)}')
    large = [f for f in files if (root/f).is_file() and (root/f).stat().st_size > 2**20]
    if large: raise Broken(f'above 1 MB: {", ".join(large)}')
    return f'{len(files)} files'

FOLDER_OF_MANIFESTS = """
import json
from pathlib import Path
from {module} import MANIFESTS
folder = Path(MANIFESTS)
print(json.dumps([str(folder), folder.is_dir(), sorted(p.name for p in folder.glob('*.csv'))]))
"""

def gate_manifests(root):
    "The package finds the committed manifests of groups and splits, from any folder."
    module = module_named(root, 'manifests', 'audit')
    folder, there, found = answer(root, FOLDER_OF_MANIFESTS.format(module=module))
    if not there: raise Broken(f'{module}.MANIFESTS is {folder}, which is no folder; manifests would be made anew')
    if not found: raise Broken(f'{module}.MANIFESTS is {folder}, which holds no manifest')
    if lost := sorted({p.name for p in (root/'results/manifests').glob('*.csv')} - set(found)):
        raise Broken(f'not below {folder}: {", ".join(lost)}')
    return f'{len(found)} manifests, read by {module}'

LAYERS = r'Analyzed (\d+) files?.*Contracts: (\d+) kept, (\d+) broken'

def gate_layers(root):
    "Imports go down the wings, and what must do without torch does: the contracts of pyproject.toml."
    env = {**os.environ, 'PYTHONPATH': str(root)}
    command = [str(BIN/'lint-imports'), '--no-cache', 'pyproject.toml']
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True)
    text = re.sub(r'\x1b\[[\d;]*m', '', done.stdout)
    found = re.search(LAYERS, text, re.S)
    if not found: raise Broken(last_line(done.stderr.strip() or text))
    files, kept, broken = map(int, found.groups())
    if done.returncode or broken: raise Broken(_broken_imports(text))
    if files < len(modules(root)) or not kept: raise Broken(f'only {files} modules and {kept} contracts were looked at')
    return f'{kept} contracts over {len(modules(root))} modules'

def _broken_imports(text):
    "What import-linter says of broken contracts, without its picture and summary."
    lines = text.partition('Broken contracts')[2].splitlines()
    said = [line.strip() for line in lines if set(line) - set('- ')]
    return '; '.join(said[:8]) or last_line(text)

@dataclass
class Room:
    "A library notebook: its path below nbs/library, what it exports to, and its exported cells."
    path: Path
    module: str
    cells: list
    @property
    def number(self): return int(self.path.name.partition('_')[0])
    @property
    def wing(self): return self.module.rpartition('.')[0]

def library(root):
    "The rooms of the library."
    folder, rooms = root/'nbs/library', []
    for path in notebooks(root, 'library'):
        name = path.relative_to(folder)
        code = sources(read_notebook(path)['cells'])
        exports = re.findall(r'^#\|\s*default_exp\s+(\S+)', '\n'.join(code), re.M)
        if len(exports) != 1: raise Broken(f'{name} has {len(exports)} lines of default_exp; exactly one must be')
        if not re.fullmatch(r'\d\d_\w+', path.stem): raise Broken(f'{name} is not called NN_room.ipynb')
        exported = [cell for cell in code if re.search(r'^#\|\s*exports?i?\b', cell, re.M)]
        room = Room(name, exports[0], exported)
        if room.module.replace('.', '/') != (name.parent/path.stem[3:]).as_posix():
            raise Broken(f'{name} exports {room.module}; file, folder and module must have one name')
        rooms.append(room)
    return rooms

def _imported(cell, module):
    "Dotted names below bonefrac that a cell imports, late imports included; a name may be a module or a symbol of one."
    found = []
    for node in ast.walk(ast.parse(re.sub(r'^[%!].*$', '', cell, flags=re.M))):
        if isinstance(node, ast.Import): found += [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            above = ['bonefrac', *module.split('.')][:-node.level] if node.level else []
            source = '.'.join([*above, *filter(None, [node.module])])
            found += [source, *(f'{source}.{alias.name}' for alias in node.names)]
    return {name.removeprefix('bonefrac.') for name in found if name.startswith('bonefrac.')}

def gate_order(root):
    "Inside a wing, a room imports only rooms with lower numbers."
    found = library(root)
    _check_places(found)
    rooms = {room.module: room for room in found}
    edges = [(room, rooms[name]) for room in rooms.values() for cell in room.cells
             for name in _imported(cell, room.module) if name in rooms]
    wrong = sorted({f'{a.path} imports {b.path}' for a, b in edges if a.wing == b.wing and a.number <= b.number})
    if wrong: raise Broken('; '.join(wrong))
    if not edges: raise Broken('no room imports another: nothing was looked at')
    inside = sum(a.wing == b.wing for a, b in edges)
    return f'{len(rooms)} rooms, {len(edges)} imports, {inside} of them inside a wing'

def _check_places(rooms):
    "No two rooms have one module, or one number inside a wing."
    modules = [room.module for room in rooms]
    places = [(room.wing, room.number) for room in rooms]
    for room, place in zip(rooms, places):
        if modules.count(room.module) > 1: raise Broken(f'two notebooks export {room.module}')
        if places.count(place) > 1: raise Broken(f'{room.path}: another room of this folder has its number')

REGION = re.compile(r'(?<![A-Za-z])(?i:elbow|finger|forearm|humerus|shoulder|wrist)s?(?![A-Za-z])|\bREGIONS\b')
MAY_NAME_REGIONS = {'vocabulary', 'phantom', 'projection', 'anatomy', 'fracture'} # wings, or rooms outside wings

def gate_regions(root):
    "No exported cell outside vocabulary and phantom names a region: questions are asked of the task."
    rooms = [room for room in library(root) if room.module.partition('.')[0] not in MAY_NAME_REGIONS]
    found = [(room, m.group()) for room in rooms for cell in room.cells for m in REGION.finditer(cell)]
    if not any(room.cells for room in rooms): raise Broken('no exported cell was looked at')
    if found:
        where = sorted({f'{room.path} ({word})' for room, word in found})
        raise Broken(f'{len(found)} names of regions: {", ".join(where)}')
    return f'{sum(len(room.cells) for room in rooms)} exported cells of {len(rooms)} rooms'

TRAINING = 'torch torchvision fastai timm'.split()
TABLES = 'pandas numpy scipy pyarrow'.split()
PLOTS = 'matplotlib seaborn'.split()
FITTING = 'sklearn skimage cleanlab faiss statsmodels'.split()
LIGHT = { # what an import may not load; 'other' stands for everything outside the standard library
    'bonefrac': ['other'],
    'bonefrac.cli': [*TRAINING, *TABLES, 'cv2', 'PIL', 'papermill', *PLOTS, *FITTING],
    'bonefrac.data.table': [*TRAINING, *PLOTS, *FITTING],
    'bonefrac.deploy.predict': [*TRAINING, 'safetensors', 'onnx', 'onnxruntime', 'scipy', 'papermill', *PLOTS,
                                *FITTING, 'bonefrac.phantom', 'bonefrac.audit', 'bonefrac.experiment'],
}

LOADED = """
import importlib, json, time
importlib.import_module(%r)
print(json.dumps([time.process_time(), sorted(set(sys.modules) - before)]))
"""

def _is_other(name):
    first = name.partition('.')[0]
    return first != 'bonefrac' and not first.startswith('_') and first not in sys.stdlib_module_names

def _forbidden(loaded, forbidden):
    "Which of the `forbidden` are among the `loaded` modules."
    names = {other for other in forbidden for name in loaded if name == other or name.startswith(other + '.')}
    return names | ({name.partition('.')[0] for name in loaded if _is_other(name)} if 'other' in forbidden else set())

def gate_light(root):
    "What is imported often or by strangers loads nothing heavy."
    seconds, wrong = [], []
    for module, forbidden in LIGHT.items():
        try: used, loaded = answer(root, LOADED % module)
        except Broken as e: wrong.append(f'{module}: {e}')
        else:
            seconds.append(f'{module} {used:.2f} s')
            if heavy := _forbidden(loaded, forbidden): wrong.append(f'{module} loads {", ".join(sorted(heavy))}')
    if wrong: raise Broken('; '.join(wrong))
    return 'CPU, ' + ', '.join(seconds)

RUFF_LOOKS_AT = ['bonefrac', 'nbs', 'tests', 'site', 'benchmarks', 'setup.py']

def _ruff(root, *options):
    paths = [name for name in RUFF_LOOKS_AT if (root/name).exists()]
    command = [str(BIN/'ruff'), 'check', '--no-cache', *options, *paths]
    return subprocess.run(command, cwd=root, capture_output=True, text=True)

def gate_ruff(root):
    "The rules of ruff in pyproject.toml hold in the package, the notebooks, tests, site and benchmarks."
    files = set(_ruff(root, '--show-files').stdout.split('\n'))
    unseen = [name for name in [*modules(root), *(p.relative_to(root).as_posix() for p in notebooks(root))]
              if str(root/name) not in files and not name.endswith('_modidx.py')]
    if unseen: raise Broken(f'ruff does not look at {", ".join(sorted(unseen)[:5])}')
    done = _ruff(root, '--output-format', 'concise', '--quiet')
    if done.returncode not in (0, 1): raise Broken(last_line(done.stderr))
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    if done.returncode: raise Broken('\n      '.join([f'{len(lines)} faults', *lines[:20]]))
    return f'{len(files) - 1} files'

def gate_measures(root):
    "Lines and bodies stay below the bars of tests/measures.py, or below what tests/held.json holds until they do."
    import measures
    figures, bars = measures.measure_all(root), measures.limits(root)
    for name, value in figures.items(): print(f'    {name:32}{value:10,.5g}', flush=True)
    if wrong := measures.above(figures, bars): raise Broken('; '.join(wrong))
    open_bars = measures.above(figures, measures.BARS)
    missed = f'; bars not reached yet: {"; ".join(open_bars)}' if open_bars else ''
    return f'{figures["functions"]} functions, {figures["notebook lines"]} lines of code in notebooks{missed}'

def gate_types(root):
    "mypy finds no more in the package than tests/held.json holds."
    import measures
    program = [sys.executable, '-m', 'mypy', '--no-incremental', '--cache-dir', os.devnull]
    done = subprocess.run(program, cwd=root, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    counted = r'(?:Found (\d+) errors? .*)?checked (\d+) source|no issues found in (\d+) source'
    found = re.search(counted, lines[-1] if lines else '')
    if not found: raise Broken(f'mypy: {last_line(done.stdout + done.stderr)}')
    faults, files, most = int(found[1] or 0), found[2] or found[3], measures.held(root).get('type faults', 0)
    if faults > most: raise Broken(f'{faults} faults of types, at most {most}: {lines[0]}')
    return f'{files} files, {faults} faults of types' + (f' ({most} are held for now)' if most else '')

NBDEV_DIRECTIVES = 'default_exp default_cls_lvl export exporti exports exec_doc filter_stream hide notest'.split()

def _options(cell):
    "Lines of a cell's options as Quarto reads them, nbdev's own directives left out."
    lines = [line[2:].removeprefix(' ') for line in cell.splitlines() if line.startswith('#|')]
    return [line for line in lines if not re.match(rf'\s*({"|".join(NBDEV_DIRECTIVES)})\b', line)]

def _option_fault(cell, keys):
    "What is wrong with the options of a code cell, or None."
    import yaml
    text = '\n'.join(_options(cell))
    try: options = yaml.safe_load(text)
    except yaml.YAMLError as e: return f'not YAML: {text.splitlines()[e.problem_mark.line]}'
    if options is None: return None
    if not isinstance(options, dict): return f'not an option: {text}'
    return next(iter(_schema_faults(options, keys, '#| ')), None)

def _schema_faults(values, keys, path):
    "Keys of a YAML object that Quarto does not know, and values that it does not list."
    unknown = [f'unknown key {path}{key}' for key in values if key not in keys]
    flat = [(key, value) for key, value in values.items() if not isinstance(value, (dict, list))]
    odd = [f'{path}{key} cannot be {value}' for key, value in flat if keys.get(key) and value not in keys[key]]
    return unknown + odd

def _config_faults(config, objects):
    "Faults of a _quarto.yml, by the objects of Quarto's schema."
    faults = []
    for path, keys in objects.items():
        values = config
        for part in filter(None, path.split('.')): values = values.get(part) if isinstance(values, dict) else None
        if isinstance(values, dict): faults += _schema_faults(values, keys, f'{path}.' if path else '')
    return faults

def _sections(items):
    "Entries of a sidebar that are more than a page, at any depth."
    found = [item for item in items if isinstance(item, dict)]
    return found + [section for item in found for section in _sections(item.get('contents', []))]

def _is_run_by_site(cell):
    "Does a cell import something and do more? nbdev runs it to show the library, and none of those before it."
    if '#| export' in cell: return False
    try: kinds = {isinstance(one, (ast.Import, ast.ImportFrom)) for one in ast.parse(cell).body}
    except SyntaxError: return False
    return len(kinds) == 2

def gate_options(root):
    "Options of cells are YAML that Quarto knows, and so is _quarto.yml."
    import yaml
    schema = json.loads((root/'tests/quarto_keys.json').read_text(encoding='utf8'))
    item = schema['objects'].pop('item')
    config = yaml.safe_load((root/'_quarto.yml').read_text(encoding='utf8'))
    faults = [f'_quarto.yml: {fault}' for fault in _config_faults(config, schema['objects'])]
    for section in _sections(config['website']['sidebar']['contents']):
        faults += [f'_quarto.yml: {fault}' for fault in _schema_faults(section, item, 'sidebar ')]
    cells = [(p, cell) for p in notebooks(root) for cell in sources(read_notebook(p)['cells']) if '#|' in cell]
    for path, cell in cells:
        if fault := _option_fault(cell, schema['cell']): faults.append(f'{path.relative_to(root).as_posix()}: {fault}')
    rooms = [(p, cell) for p in notebooks(root, 'library') for cell in sources(read_notebook(p)['cells'])]
    faults += [f'{p.relative_to(root).as_posix()}: imports need a cell of their own: {cell.splitlines()[0]}'
               for p, cell in rooms if _is_run_by_site(cell)]
    if faults: raise Broken('; '.join(faults[:5]))
    if not cells: raise Broken('no cell has an option: nothing was looked at')
    return f'{len(cells)} cells with options'

def _measured(path, root, env):
    "Run a notebook's tests on its module under coverage; nbdev_test alone does not run the module's own lines."
    env = {k: v for k, v in env.items() if k != 'COVERAGE_PROCESS_START'}
    command = [sys.executable, str(root/'tests/cover.py'), str(path)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, env=env)

def _test(path, root):
    """Result of nbdev_test on one notebook, and the seconds that it took.

    Where COVERAGE_PROCESS_START is set, the notebook's tests are also run on its module, and both are measured."""
    start = time.time()
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(root)}
    command = [str(BIN/'nbdev_test'), '--path', str(path), '--n_workers', '0']
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, env=env)
    passed = done.returncode == 0 and 'Success' in done.stdout
    if passed and env.get('COVERAGE_PROCESS_START'):
        done = _measured(path, root, env)
        passed = done.returncode == 0
    return path.name, passed, time.time() - start, (done.stdout + done.stderr)[-3000:]

def _has_test(cell): return any(re.match(r'\s*(test_|assert\b)', line) for line in cell.splitlines())

def _is_skipped(cell): return re.search(r'^#\|\s*(eval:\s*false|notest|cuda|slow)', cell, re.M)

def gate_notebooks(root):
    "Every library notebook passes nbdev_test, and has tests to run."
    paths = notebooks(root, 'library')
    for path in paths:
        cells = sources(read_notebook(path)['cells'])
        if not any(map(_has_test, cells)): raise Broken(f'{path.name} asserts nothing')
        if skipped := list(filter(_is_skipped, cells)): raise Broken(f'{path.name}: {len(skipped)} cells are skipped')
    with ProcessPoolExecutor(os.cpu_count()) as pool: results = list(pool.map(_test, paths, [root]*len(paths)))
    for name, passed, seconds, text in results:
        print(f'    {"ok    " if passed else "FAILED"} {name} {seconds:.0f} s', flush=True)
        if not passed: print(text)
    failed = [name for name, passed, *_ in results if not passed]
    if failed: raise Broken(f'{len(failed)} of {len(results)} notebooks failed: {", ".join(failed)}')
    if len(results) != len(paths): raise Broken(f'{len(results)} of {len(paths)} notebooks were run')
    return f'{len(results)} notebooks passed, 0 failed'

GATES = { # quick ones first
    'ruff': gate_ruff, 'options': gate_options, 'order': gate_order, 'regions': gate_regions, 'layers': gate_layers,
    'measures': gate_measures, 'sidebar': gate_sidebar, 'tracked': gate_tracked, 'export': gate_export,
    'clean': gate_clean, 'readme': gate_readme, 'types': gate_types, 'light': gate_light, 'manifests': gate_manifests,
    'header': gate_header, 'chapters': gate_chapters, 'reporting': gate_reporting, 'notebooks': gate_notebooks,
}

def fix(root):
    "Export the package, clean the notebooks, write README.md."
    export(root)
    drop_machine_outputs(root)
    nbdev('nbdev_clean', root)
    from readme import write
    write(root)

def chosen(names, fixing):
    "Gates to check: those named, else all; after a fix all but the slow one."
    return names or [name for name in GATES if name != 'notebooks' or not fixing]

def holds(name, root):
    "Does a gate hold? Prints what it says."
    try: print(f'gate {name}: {GATES[name](root)}', flush=True)
    except (Broken, OSError) as e:
        print(f'gate {name}: FAILED: {e}', flush=True)
        return False
    return True

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('gates', nargs='*', metavar='GATE', help=f'default: all of {", ".join(GATES)}')
    parser.add_argument('--root', type=Path, default=ROOT, help='checkout to look at')
    parser.add_argument('--fix', action='store_true', help='export, clean and write README.md first')
    args = parser.parse_args()
    if wrong := set(args.gates) - set(GATES): parser.error(f'unknown gate {", ".join(sorted(wrong))}')
    root = args.root.resolve()
    if args.fix: fix(root)
    results = [holds(name, root) for name in chosen(args.gates, args.fix)]
    print(f'gates: {sum(results)} passed, {len(results) - sum(results)} failed')
    sys.exit(not all(results))

if __name__ == '__main__': main()
