"Data, weights and a cache of their own for all tests."
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent/'shared'
BIN = Path(sys.executable).parent

DEFAULTS = dict(BONEFRAC_DATA=SHARED/'data'/'bone-fracture-detection.zip', BONEFRAC_WEIGHTS=SHARED/'weights')
for name, path in DEFAULTS.items():
    if not os.environ.get(name):
        os.environ.pop(name, None)
        if path.exists(): os.environ[name] = str(path)

if os.environ.get('PYTEST_XDIST_WORKER'):
    os.environ['OMP_NUM_THREADS'] = '1' # the workers are the parallelism
    # Coverage has begun here; in what tests start it is nearly free by sys.monitoring, and else costs 40 % of the time.
    if sys.version_info < (3, 12): os.environ.pop('COVERAGE_PROCESS_START', None)

# a shell's background job ignores interrupts, and what it starts would too
signal.signal(signal.SIGINT, signal.default_int_handler)

REAL_DATA = os.environ.get('BONEFRAC_DATA')
REAL_SHA256 = '437dfc66b06964c35d7f97de695554463d8e7e4fbd04e5fb662a0003f7764fe1'

def pytest_report_header(config):
    weights = os.environ.get('BONEFRAC_WEIGHTS') or 'none'
    return f'real archive: {REAL_DATA or "none, its tests are skipped"}; ImageNet weights: {weights}'

@pytest.fixture(autouse=True, scope='session')
def own_cache(tmp_path_factory):
    "Tests neither see nor fill the user's cache."
    os.environ['XDG_CACHE_HOME'] = str(tmp_path_factory.mktemp('cache'))

@pytest.fixture(scope='session')
def real_archive():
    "Path of the published archive."
    if not REAL_DATA: pytest.skip('BONEFRAC_DATA names no archive: the published data set is not here')
    from bonefrac.files import file_sha256
    if not Path(REAL_DATA).is_file() or file_sha256(REAL_DATA) != REAL_SHA256:
        pytest.skip(f'{REAL_DATA} is not the published archive')
    return REAL_DATA

@pytest.fixture(scope='session')
def call():
    "Runs a program of the environment; returns the finished process with text output."
    def run(*args, cwd, timeout=600, **env):
        command, settings = [str(BIN/args[0]), *map(str, args[1:])], {**os.environ, **env}
        return subprocess.run(command, cwd=cwd, timeout=timeout, capture_output=True, text=True, env=settings)
    return run

TINY = dict(arch='squeezenet1_1', weights='scratch', data='phantom:72', size=64, epochs=1, batch_size=8)

@pytest.fixture
def tiny():
    "Options of a run that takes seconds, as a list for the command line."
    return [part for key, value in TINY.items() for part in (f'--{key}', str(value))]
