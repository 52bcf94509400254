"The built wheel is whole: it works in an empty environment outside the repository."
import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from conftest import BIN, ROOT, TINY

@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    "The wheel that BONEFRAC_WHEEL names, such as one that is about to be published, else one that is built here."
    if os.environ.get('BONEFRAC_WHEEL'): return (ROOT/os.environ['BONEFRAC_WHEEL']).resolve(strict=True)
    shutil.rmtree(ROOT/'build', ignore_errors=True) # setuptools would pack modules that are gone from the package
    out = tmp_path_factory.mktemp('dist')
    command = [BIN/'python', '-m', 'build', '--wheel', '--installer', 'uv', '--outdir', out, ROOT]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    [path] = out.glob('*.whl')
    return path

@pytest.fixture(scope='module')
def environment(wheel, tmp_path_factory):
    "Folder of programs of an environment that holds the wheel and what it asks for, nothing else."
    folder = tmp_path_factory.mktemp('empty')/'venv'
    subprocess.run([BIN/'uv', 'venv', '-q', '--python', sys.executable, folder], check=True)
    where, pins = ['--python', folder/'bin/python'], ['-c', ROOT/'constraints.txt']
    done = subprocess.run([BIN/'uv', 'pip', 'install', '-q', *where, *pins, wheel], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder/'bin'

def below(folder, pattern, prefix):
    "Files of the checkout as the wheel should name them, at least one."
    found = {f'{prefix}/{p.relative_to(ROOT/folder).as_posix()}' for p in (ROOT/folder).rglob(pattern)}
    assert found
    return {name for name in found if '__pycache__' not in name and '.ipynb_checkpoints' not in name}

def test_contents(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {n for n in names if n.endswith('.py')} == below('bonefrac', '*.py', 'bonefrac')
    links = ('manifests', 'labels')
    tables = {name for link in links for name in below(f'results/{link}', '*.csv', f'bonefrac/{link}')}
    assert {n for n in names if n.endswith('.csv')} == tables
    notebooks = {f'bonefrac/notebooks/{p.name}' for p in (ROOT/'nbs/study').glob('*.ipynb')}
    assert {n for n in names if n.endswith('.ipynb')} == notebooks != set()
    assert 'bonefrac/py.typed' in names
    assert not [n for n in names if not n.startswith(('bonefrac/', 'bonefrac-'))]

def test_classifiers(wheel):
    file = zipfile.ZipFile(wheel)
    [name] = [n for n in file.namelist() if n.endswith('.dist-info/METADATA')]
    text = file.read(name).decode()
    assert 'License-Expression: Apache-2.0' in text
    for said in ('Intended Audience :: Science/Research', 'Python :: 3.10', 'Python :: 3.13'):
        assert f':: {said}\n' in text or f'Classifier: {said}\n' in text

def test_import_is_light(environment, tmp_path):
    heavy = {'torch', 'fastai', 'pandas', 'cv2'}
    program = f'import sys, bonefrac; print(bonefrac.__file__, sorted({heavy} & set(sys.modules)))'
    done = subprocess.run([environment/'python', '-c', program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(environment.parent) in done.stdout and done.stdout.rstrip().endswith('[]'), done.stdout

def test_a_phantom_run(environment, tmp_path):
    options = [part for key, value in TINY.items() for part in (f'--{key}', str(value))]
    env = {k: v for k, v in os.environ.items() if not k.startswith(('BONEFRAC', 'PYTHON', 'VIRTUAL_ENV'))}
    command = [environment/'bonefrac', 'run', *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'squeezenet1_1' in done.stdout and len(list((tmp_path/'runs').glob('*/model.safetensors'))) == 1
    assert len(list((tmp_path/'runs/notebooks').glob('*.ipynb'))) == 1
