"""Run the tests of one library notebook on the module that it exports, to measure the module's coverage.

    python tests/cover.py nbs/library/data/03_table.ipynb

nbdev_test runs the exported cells themselves, so the lines of the module stay unseen. Here these cells are left out,
and the other cells run in the module's namespace. The settings of coverage are those of pyproject.toml.
"""
import importlib
import json
import os
import re
import sys
from pathlib import Path

import coverage

def cells_of(path):
    "Module that a notebook exports, and the code of its other cells."
    nb = json.loads(path.read_text(encoding='utf8'))
    cells = [''.join(cell['source']) for cell in nb['cells'] if cell['cell_type'] == 'code']
    module = re.search(r'^#\|\s*default_exp\s+(\S+)', '\n'.join(cells), re.M)[1]
    return module, [cell for cell in cells if not re.search(r'^#\|\s*(export|default_exp)', cell, re.M)]

def run_cells(module, cells):
    "Run cells in the namespace of an imported module."
    from IPython.core.interactiveshell import InteractiveShell
    shell = InteractiveShell.instance(user_module=module, user_ns=vars(module))
    for cell in cells: shell.run_cell(cell, silent=True).raise_error()

def main(path):
    os.environ.setdefault('MPLBACKEND', 'agg')
    root = Path(__file__).resolve().parent.parent
    sys.path.insert(0, str(root))
    data = os.environ.get('COVERAGE_FILE', str(root/'.coverage'))
    measured = coverage.Coverage(config_file=str(root/'pyproject.toml'), data_file=data)
    name, cells = cells_of(path)
    os.chdir(path.parent)
    with measured.collect(): run_cells(importlib.import_module(f'bonefrac.{name}'), cells)
    measured.save()

if __name__ == '__main__': main(Path(sys.argv[1]).resolve())
