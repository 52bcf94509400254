"Main names come from the package itself, each imported when it is first used."
import json
import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

PROGRAM = '''
import json, pydoc, sys
import bonefrac
early = sorted({'torch', 'fastai', 'pandas', 'cv2'} & set(sys.modules))
listed = dir(bonefrac)
from bonefrac import make_split, run, predict
names = [f'{one.__module__}.{one.__name__}' for one in (make_split, run, predict)]
try: said = str(bonefrac.nothing)
except AttributeError as e: said = f'AttributeError: {e}'
text = pydoc.render_doc(bonefrac.make_split, renderer=pydoc.plaintext)
codes = bonefrac.make_split.__code__
parameters = codes.co_varnames[:codes.co_argcount + codes.co_kwonlyargcount]
from bonefrac.training.splits import SPLITTERS as methods
print(json.dumps(dict(file=bonefrac.__file__, early=early, listed=listed, names=names, said=said, help=text,
                      parameters=parameters, methods=list(methods))))
'''

@pytest.fixture(scope='module')
def package(tmp_path_factory):
    "A copy of the package with whole docstrings, and what a fresh interpreter sees of it."
    folder = tmp_path_factory.mktemp('fresh')
    shutil.copytree(ROOT/'bonefrac', folder/'bonefrac', ignore=shutil.ignore_patterns('__pycache__'))
    subprocess.run([sys.executable, ROOT/'site/docstrings.py', folder], check=True)
    env = {**os.environ, 'PYTHONPATH': str(folder)} # an installed package may not answer for it
    command = [sys.executable, '-c', PROGRAM]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen['file'].startswith(str(folder)), seen['file']
    return seen

def test_names_come_from_their_rooms_and_only_when_used(package):
    assert package['early'] == []
    assert package['names'] == ['bonefrac.training.splits.make_split', 'bonefrac.experiment.run.run',
                                'bonefrac.deploy.predict.predict']

def test_dir_lists_them(package): assert {'make_split', 'run', 'predict', '__version__'} <= set(package['listed'])

def test_an_unknown_name_is_an_attribute_error(package):
    assert package['said'] == "AttributeError: module 'bonefrac' has no attribute 'nothing'"

def test_help_names_every_parameter_and_the_allowed_splits(package):
    text = package['help'].split('Parameters')[1]
    assert len(package['parameters']) >= 3
    for name in package['parameters']: assert f'{name} : ' in text, text
    assert len(package['methods']) >= 3
    for name in package['methods']: assert name in text, text

MODULES = {'a.py': "KINDS:dict = dict(x=1)\n\ndef f(\n    kind, # A name of `KINDS`\n):\n    'Of its own.'\n",
           'b.py': "KINDS = dict(y=1)\nTONES = 'z',\n",
           'c.py': "from .b import KINDS\n\ndef f(\n    kind, # A name of `KINDS`\n):\n    'Imported.'\n",
           'd.py': "def f(\n    kind, # A name of `KINDS`\n    tone, # A name of `TONES`\n):\n    'Neither.'\n"}

def test_a_docstring_lists_the_table_that_its_module_sees(tmp_path):
    (tmp_path/'bonefrac').mkdir()
    for name, text in MODULES.items(): (tmp_path/'bonefrac'/name).write_text(text)
    subprocess.run([sys.executable, ROOT/'site/docstrings.py', tmp_path], check=True)
    said = {name: (tmp_path/'bonefrac'/name).read_text() for name in MODULES}
    assert '`KINDS` (x)' in said['a.py'] and '`KINDS` (y)' in said['c.py']
    assert '`KINDS` (' not in said['d.py'] and '`TONES` (z)' in said['d.py'] # two tables of one name: none is guessed
