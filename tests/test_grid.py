"Grids of real processes: finished, failed, interrupted, killed, on a full disk, on Dask."
import json
import re
import shutil
import signal
import socket
import subprocess
import time
from functools import partial

import psutil
import pytest

from conftest import BIN

from bonefrac.experiment.record import collect, finished, read_record

CELLS = '''
defaults: {data: "phantom:72", size: 64, epochs: EPOCHS, batch_size: 8, weights: scratch, arch: squeezenet1_1}
runs:
  - {seed: SEEDS}
'''

def write_grid(folder, epochs=1, seeds='[0, 1, 2]', more=''):
    "Write a grid of three cells; the command that makes it."
    (folder/'grid.yml').write_text(CELLS.replace('EPOCHS', str(epochs)).replace('SEEDS', seeds) + more)
    return ['bonefrac', 'grid', 'grid.yml']

@pytest.fixture
def grid(tmp_path):
    "Writes a grid of three cells."
    return partial(write_grid, tmp_path)

@pytest.fixture(scope='module')
def first_made(call, tmp_path_factory):
    "A folder in which a grid of three cells was made, and what was said."
    folder = tmp_path_factory.mktemp('made')
    return folder, call(*write_grid(folder), '--jobs', '2', cwd=folder)

@pytest.fixture
def made_before(first_made, tmp_path):
    "A copy of that folder for one test."
    shutil.copytree(first_made[0], tmp_path, dirs_exist_ok=True)

@pytest.fixture
def start(tmp_path):
    "Starts a program of the environment that is ended after the test."
    started = []
    def begin(*args, **options):
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(subprocess.Popen([str(BIN/args[0]), *map(str, args[1:])], cwd=tmp_path, **pipes, **options))
        return started[-1]
    yield begin
    for process in started:
        if process.poll() is None: process.kill()
        process.communicate()

def wait_for(condition, seconds=120):
    "Wait until something holds."
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(.1)
    return found

def processes_of(folder):
    "Processes that make runs in a folder."
    def belongs(process):
        try: where, line = process.cwd(), ' '.join(process.cmdline())
        except psutil.Error: return False
        return str(folder) in f'{where} {line}' and ('bonefrac.experiment' in line or 'ipykernel' in line)
    return [process for process in psutil.process_iter() if belongs(process)]

def training(folder):
    "Finds the hidden folders of runs that are being made."
    return lambda: [path for path in (folder/'runs').glob('.*.squeezenet*') if path.is_dir()]

def made(folder): return {run: (run/'model.safetensors').stat().st_mtime_ns for run in finished(folder/'runs')}

def test_a_dry_run_makes_nothing(call, grid, tmp_path):
    line = grid()
    dry = call(*line, '--dry-run', cwd=tmp_path)
    assert dry.returncode == 0 and 'grid.yml: 3 cells: 0 done, 0 failed, 3 open' in dry.stdout, dry.stderr
    assert len(dry.stdout.splitlines()) == 3 and not (tmp_path/'runs').exists() # images, SIMULATED, one line per grid
    assert call(*line, '--dry-run', '--cells', cwd=tmp_path).stdout.count(' open ') == 3

def test_a_grid_is_made_recorded_and_only_what_is_missing_again(call, grid, first_made, made_before, tmp_path):
    line, done = grid(), first_made[1]
    assert done.returncode == 0 and '3 cells: 3 done' in done.stdout, done.stderr[-2000:]
    assert done.stdout.count('SIMULATED') == 2 and '95 % interval' in done.stdout
    assert 'record: runs/record/runs.csv' in done.stdout
    assert 'next: bonefrac predict IMAGE runs/squeezenet' in done.stdout
    assert not re.search('[\r\x1b]', done.stdout + done.stderr) and not (tmp_path/'results').exists()
    record, before = read_record(tmp_path/'runs/record'), made(tmp_path)
    for name in record.run: assert f'done   {name} ·' in done.stdout # the names that are printed are those of folders
    assert len(record) == 3 and record.seed.tolist() == [0, 1, 2]
    lost = record.run[1]
    for file in (tmp_path/'runs'/lost).iterdir(): file.unlink()
    (tmp_path/'runs'/lost).rmdir()
    (tmp_path/'runs/record/predictions'/f'{lost}.parquet').unlink()
    assert '2 done, 0 failed, 1 open' in call(*line, '--dry-run', cwd=tmp_path).stdout
    assert call(*line, cwd=tmp_path).returncode == 0
    after = made(tmp_path)
    assert [run.name for run in before if before[run] != after[run]] == [lost]
    assert sorted(read_record(tmp_path/'runs/record').run) == sorted(record.run)

def test_a_record_alone_says_what_is_done(call, grid, made_before, tmp_path):
    line = [*grid(), '--results', 'results']
    (tmp_path/'runs/record').rename(tmp_path/'results')
    (tmp_path/'runs').rename(tmp_path/'elsewhere')
    again = call(*line, '--dry-run', cwd=tmp_path)
    assert '3 done, 0 failed, 0 open' in again.stdout and 'no run' not in again.stderr
    other = call(*line, '--dry-run', '--data', 'phantom:78', cwd=tmp_path)
    assert '3 open' in other.stdout and 'no run in results is on these images' in other.stderr
    (tmp_path/'more.yml').write_text(CELLS.replace('EPOCHS', '1').replace('SEEDS', '[2, 3]'))
    both = call(*line, 'more.yml', '--dry-run', cwd=tmp_path).stdout.splitlines()[2:]
    for text, words in zip(both, ('grid.yml: 3 cells: 3 done', 'more.yml: 2 cells: 1 done', 'total: 4 cells: 3 done')):
        assert text.startswith(words), both
    found = json.loads(call(*line, '--dry-run', '--json', cwd=tmp_path).stdout)
    assert [cell['state'] for cell in found['grids']['grid.yml']] == ['done']*3 and len(found['runs']) == 3
    forgotten = call('bonefrac', 'grid', 'grid.yml', '--dry-run', cwd=tmp_path)
    assert '3 open' in forgotten.stdout and '--results results would look at' in forgotten.stderr
    assert len(collect(tmp_path/'results', tmp_path/'other')) == 3
    assert len(list((tmp_path/'other/predictions').iterdir())) == 3

def test_a_failed_cell_is_recorded_and_mended(call, grid, made_before, tmp_path):
    line = grid(more='  - {seed: 5, weights: gone.safetensors}\n')
    done = call(*line, '--jobs', '2', cwd=tmp_path)
    assert done.returncode == 1 and '4 cells: 3 done, 1 failed, 0 open' in done.stdout
    [file] = (tmp_path/'runs/record/failed').glob('*.json')
    failure = json.loads(file.read_text())
    assert failure['reason'] == ('gone.safetensors: no such file of weights; '
                                 'use imagenet, scratch or the path of a .safetensors or .pth file')
    assert failure['config']['seed'] == 5
    assert '1 failed' in call(*line, '--dry-run', cwd=tmp_path).stdout
    [run, *_] = finished(tmp_path/'runs')
    (tmp_path/'gone.safetensors').write_bytes((run/'model.safetensors').read_bytes())
    assert '4 done, 0 failed' in call(*line, cwd=tmp_path).stdout and not file.exists()

def test_interrupt_leaves_nothing_running_and_the_grid_goes_on(call, grid, start, tmp_path):
    line = grid(epochs=40)
    process = start(*line, '--jobs', '2')
    wait_for(training(tmp_path))
    assert processes_of(tmp_path)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and 'Traceback' not in err, err
    assert 'bonefrac: interrupted; run the same command again to resume' in err
    wait_for(lambda: not processes_of(tmp_path), 20)
    grid(epochs=1, seeds='[0]')
    assert '1 done' in call(*line, cwd=tmp_path).stdout

def test_runs_end_with_a_killed_parent(grid, start, tmp_path):
    process = start(*grid(epochs=400))
    wait_for(training(tmp_path))
    process.kill()
    wait_for(lambda: not processes_of(tmp_path), 30)
    assert finished(tmp_path/'runs') == []

def test_a_full_disk_fails_one_grid_and_harms_nothing(call, grid, tmp_path):
    line = grid(seeds='[0]')
    (tmp_path/'small').mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=1500k', 'tmpfs', tmp_path/'small']
    if subprocess.run(mount, capture_output=True).returncode: pytest.skip('no right to mount a small disk')
    try:
        done = call(*line, '--runs', 'small/runs', '--results', 'results', cwd=tmp_path)
        assert done.returncode == 1 and '1 failed' in done.stdout, done.stdout + done.stderr
        assert finished(tmp_path/'small/runs') == []
    finally: subprocess.run(['umount', tmp_path/'small'], check=True)
    assert '1 done' in call(*line, cwd=tmp_path).stdout

def test_dask_workers_share_a_grid_and_one_may_die(call, grid, start, tmp_path):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        address = f'127.0.0.1:{free.getsockname()[1]}'
    port, alone = address.split(':')[1], dict(start_new_session=True)
    start('dask', 'scheduler', '--host', '127.0.0.1', '--port', port, '--no-dashboard', **alone)
    options = ['--nthreads', '1', '--no-nanny', '--no-dashboard']
    workers = [start('dask', 'worker', address, *options, '--name', str(i), **alone) for i in range(2)]
    line = grid(epochs=12)
    process = start(*line, '--executor', 'dask', '--scheduler', address, '--store', f'file://{tmp_path}/store')
    wait_for(lambda: len(training(tmp_path)()) == 2)
    workers[0].kill()
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0 and '3 cells: 3 done, 0 failed, 0 open' in out, out + err
    assert len(finished(tmp_path/'runs')) == 3 == len(read_record(tmp_path/'runs/record'))
    assert not training(tmp_path)()
    stored = {file.parent.name for file in (tmp_path/'store').glob('*/metrics.json')}
    assert {run.name for run in finished(tmp_path/'runs')} == stored
