"The built wheel is whole: it works in an empty environment outside the repository."
import os
import subprocess
import sys
import zipfile

import pytest

from conftest import BIN, ROOT, TINY

@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    "The wheel that BONEFRAC_WHEEL names, such as one that is about to be published, else one that is built here."
    if os.environ.get('BONEFRAC_WHEEL'): return (ROOT/os.environ['BONEFRAC_WHEEL']).resolve(strict=True)
    out = tmp_path_factory.mktemp('dist')
    done = subprocess.run([str(BIN/'python'), '-m', 'build', '--wheel', '--installer', 'uv', '--outdir', str(out), str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    [path] = out.glob('*.whl')
    return path

@pytest.fixture(scope='module')
def environment(wheel, tmp_path_factory):
    "Folder of programs of an environment that holds the wheel and what it asks for, nothing else."
    folder = tmp_path_factory.mktemp('empty')/'venv'
    subprocess.run([str(BIN/'uv'), 'venv', '-q', '--python', sys.executable, str(folder)], check=True)
    done = subprocess.run([str(BIN/'uv'), 'pip', 'install', '-q', '--python', str(folder/'bin/python'), '-c', str(ROOT/'constraints.txt'), str(wheel)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder/'bin'

def test_contents(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f'bonefrac/{p.name}' for p in (ROOT/'bonefrac').glob('*.py')} <= names
    assert {f'bonefrac/notebooks/{p.name}' for p in (ROOT/'nbs/study').glob('*.ipynb')} == {n for n in names if n.endswith('.ipynb')} != set()
    assert {f'bonefrac/manifests/{p.name}' for p in (ROOT/'results/manifests').glob('*.csv')} == {n for n in names if n.startswith('bonefrac/manifests/')} != set()
    assert not [n for n in names if not n.startswith(('bonefrac/', 'bonefrac-'))]

def test_import_is_light(environment, tmp_path):
    program = "import sys, bonefrac; print(bonefrac.__file__, sorted({'torch', 'fastai', 'pandas', 'cv2'} & set(sys.modules)))"
    done = subprocess.run([str(environment/'python'), '-c', program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and str(environment.parent) in done.stdout and done.stdout.rstrip().endswith('[]'), done.stdout + done.stderr

def test_a_phantom_run(environment, tmp_path):
    options = [part for key, value in TINY.items() for part in (f'--{key}', str(value))]
    env = {k: v for k, v in os.environ.items() if not k.startswith(('BONEFRAC', 'PYTHON', 'VIRTUAL_ENV'))}
    done = subprocess.run([str(environment/'bonefrac'), 'run', *options], cwd=tmp_path, capture_output=True, text=True, timeout=600, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'squeezenet1_1' in done.stdout and len(list((tmp_path/'runs').glob('*/model.safetensors'))) == 1
    assert len(list((tmp_path/'runs/notebooks').glob('*.ipynb'))) == 1
