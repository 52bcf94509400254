"""Measures of how the code is written.

    python tests/measures.py                  figures of the package and of the notebooks' code cells
    python tests/measures.py FOLDER ...       figures of other packages, to compare
    python tests/measures.py --check          exit status 1 where the package is above a bar

A body is a function without its signature and docstring; its characters are counted without indentation and line ends.
"""
import argparse
import ast
import json
import re
import sys
from collections import Counter
from pathlib import Path
from statistics import mean, median

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 120
BARS = {
    'lines over 120': 0,
    'notebook lines over 120': 0,
    'characters per body line': 55,
    'characters per body': 180,
    'private functions called once': 84,
}

def quantile(values, share):
    "The value below which `share` of the values lie."
    values = sorted(values)
    return values[min(len(values) - 1, int(share*len(values)))]

def is_docstring(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)

def body_lines(function, lines):
    "Lines of a function below its signature and docstring, without indentation."
    body = function.body[is_docstring(function.body[0]):]
    if not body: return []
    start, end = body[0].lineno, function.end_lineno
    first = lines[start - 1].encode()[body[0].col_offset:].decode() # the body may begin on the line of the signature
    return [line.strip() for line in (first, *lines[start:end])]

def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]

def private_functions(tree):
    "Names of private functions of a module, and how many of them are named once outside their definition."
    uses = Counter(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    names = [f.name for f in tree.body if isinstance(f, ast.FunctionDef) and f.name.startswith('_')]
    return len(names), sum(uses[name] == 1 for name in names)

def is_wide(line):
    "Is a line too long, and neither an address nor data that someone marked?"
    if len(line) <= WIDTH or '# noqa: E501' in line: return False
    words = line.split()
    if len(words) == 1 or (len(words) == 2 and words[0].startswith('#')): return False
    return not ('://' in words[-1] and len(line) - len(words[-1]) <= WIDTH)

def written(text):
    "Lines of a module that a person wrote: no blank ones, none of nbdev's."
    text = re.sub(r'^__all__ = \[.*?\]$', '', text, flags=re.M | re.S) if '# %% auto' in text else text
    return [line for line in text.splitlines() if line.strip() and not line.startswith('# %%')]

def code_cells(root):
    "Sources of code cells of the notebooks below nbs/."
    folder = root/'nbs'
    skip = {'.ipynb_checkpoints', 'runs'}
    paths = [p for p in folder.rglob('*.ipynb') if not skip & set(p.relative_to(folder).parts)]
    cells = [cell for p in sorted(paths) for cell in json.loads(p.read_text(encoding='utf8'))['cells']]
    return [''.join(cell['source']) for cell in cells if cell['cell_type'] == 'code']

def modules(folder):
    skip = {'_modidx.py'}
    found = [p for p in sorted(Path(folder).rglob('*.py')) if p.name not in skip and '__pycache__' not in p.parts]
    if not found: raise SystemExit(f'no module below {folder}')
    return [p.read_text(encoding='utf8') for p in found]

def line_figures(lines, prefix=''):
    wide = sum(map(is_wide, lines))
    share = 100*wide/max(len(lines), 1)
    return {f'{prefix}lines': len(lines), f'{prefix}lines over 120': wide, f'{prefix}share over 120, %': share}

def measure(folder):
    "Figures of the package in `folder`."
    texts = modules(folder)
    trees = [ast.parse(text) for text in texts]
    found = [(f, body_lines(f, text.splitlines())) for text, tree in zip(texts, trees) for f in functions(tree)]
    bodies = [body for _, body in found if body]
    if not bodies: raise SystemExit(f'no function below {folder}')
    length = [f.end_lineno - f.lineno + 1 for f, _ in found]
    characters = [sum(map(len, body)) for body in bodies]
    private = [private_functions(tree) for tree in trees]
    return {
        'modules': len(texts),
        'functions': len(found),
        'lines per function': median(length),
        'lines per function, p90': quantile(length, .9),
        'characters per body line': median(mean(map(len, body)) for body in bodies),
        'characters per body': median(characters),
        'characters per body, p90': quantile(characters, .9),
        'bodies over 400': sum(n > 400 for n in characters),
        'bodies over 800': sum(n > 800 for n in characters),
        'private functions': sum(n for n, _ in private),
        'private functions called once': sum(once for _, once in private),
        **line_figures([line for text in texts for line in written(text)]),
    }

def measure_all(root):
    "Figures of the package in a checkout and of its notebooks' code cells."
    lines = [line for cell in code_cells(root) for line in cell.splitlines() if line.strip()]
    return {**measure(root/'bonefrac'), **line_figures(lines, 'notebook ')}

def held(root):
    "What a checkout holds until it reaches its bars: figures of tests/held.json that may fall and never rise."
    file = root/'tests/held.json'
    return json.loads(file.read_text(encoding='utf8')) if file.exists() else {}

def limits(root):
    "What each figure may be: its bar, or what is held above it for now."
    return {name: max(bar, held(root).get(name, 0)) for name, bar in BARS.items()}

def above(figures, bars):
    "Which figures are above their bar, as words."
    return [f'{name} {figures[name]:.4g}, at most {bar}' for name, bar in bars.items() if figures[name] > bar]

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folders', nargs='*', type=Path, help='packages; default: bonefrac and the notebooks')
    parser.add_argument('--root', type=Path, default=ROOT, help='checkout to look at')
    parser.add_argument('--check', action='store_true', help='fail where bonefrac is above a bar')
    args = parser.parse_args()
    tables = {str(folder): measure(folder) for folder in args.folders} or {'bonefrac': measure_all(args.root)}
    for title, figures in tables.items():
        print(title)
        for name, value in figures.items(): print(f'  {name:32}{value:10,.5g}')
    wrong = above(measure_all(args.root), BARS) if args.check else []
    for line in wrong: print(f'above its bar: {line}')
    sys.exit(bool(wrong))

if __name__ == '__main__': main()
