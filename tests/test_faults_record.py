"""Real faults of runs, records and grids.

| fault                                                    | test                             |
|----------------------------------------------------------|----------------------------------|
| a process killed in a run                                | `test_killed_run`                |
| two processes and one grid                               | `test_two_processes_share_a_grid`|
| damaged run, among others                                | `test_damaged_run`               |
| half a copy of a run, empty predictions                  | `test_half_a_copy`               |
| empty note of a failure                                  | `test_damaged_note`              |
| lines of a record: cut, NUL bytes, conflict, two figures | `test_damaged_record`            |
| a signed address                                         | `test_no_secret_is_written_down` |
| a grid with a key twice, with aliases, with many cells   | `test_grids_of_strangers`        |
| weights that are no numbers                              | `test_weights_that_are_none`     |
| local Dask: open ports, Ctrl-C                           | `test_local_dask`                |
| the scheduler of Dask killed                             | `test_killed_scheduler`          |
"""
import hashlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from itertools import chain
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import save_file

from bonefrac.experiment.config import run_config
from bonefrac.experiment.grid import failures, read_grid
from bonefrac.experiment.record import collect, finished, read_record
from bonefrac.experiment.run import RUN_FILES, run, run_fault
from bonefrac.files import LIMITS, say_once
from bonefrac.phantom.archive import make_phantoms
from bonefrac.training.models import read_state

CONFIG = dict(arch='squeezenet1_1', weights='scratch', size=64, epochs=1, batch_size=8)
BIN = Path(sys.executable).parent
PROGRAM = [str(BIN/'bonefrac')]

@pytest.fixture(scope='module')
def made(tmp_path_factory):
    "Two finished runs."
    runs = tmp_path_factory.mktemp('made')
    for seed in (0, 1): run(run_config(**CONFIG, data='phantom:72', seed=seed), runs)
    return runs

@pytest.fixture
def runs(made, tmp_path): return Path(shutil.copytree(made, tmp_path/'runs'))

@pytest.fixture(autouse=True)
def said(): say_once.cache_clear()

def grid_file(folder, epochs=1, seeds=(0, 1), data='phantom:72'):
    "A grid of small runs."
    cells = [dict(CONFIG, epochs=epochs, seed=seed, data=data) for seed in seeds]
    (folder/'grid.yml').write_text(json.dumps(dict(runs=cells)))
    return folder/'grid.yml'

def begun(folder, *words):
    "A command that was started."
    return subprocess.Popen([*PROGRAM, *words], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

def wait_for(true, process, seconds=120):
    "Wait until something is true while a process runs."
    end = time.time() + seconds
    while not true():
        assert time.time() < end and process.poll() is None, process.communicate(timeout=9)
        time.sleep(.05)

def begun_run(folder):
    "Has a run been begun?"
    return [path for path in (folder/'runs').glob('.*') if path.is_dir()]

def test_killed_run(tmp_path):
    words = 'run --arch squeezenet1_1 --weights scratch --size 64 --batch-size 8 --data phantom:72'.split()
    process = begun(tmp_path, *words, '--epochs', '40')
    wait_for(lambda: begun_run(tmp_path), process)
    children = psutil.Process(process.pid).children(recursive=True)
    for child in children: child.kill()
    process.kill()
    process.wait()
    assert not psutil.wait_procs(children, timeout=60)[1] # a lock lives as long as the last of them
    [left] = begun_run(tmp_path)
    assert str(process.pid) not in left.name # a number means nothing in another container
    config = run_config(**dict(CONFIG, epochs=40), data='phantom:72')
    from bonefrac.experiment.run import Prepared
    from bonefrac.files import clear_abandoned
    assert clear_abandoned(tmp_path/'runs'/Prepared(config).name) and not begun_run(tmp_path)

def test_two_processes_share_a_grid(tmp_path):
    file = grid_file(tmp_path, epochs=3, seeds=(0, 1))
    both = [begun(tmp_path, 'grid', str(file)) for _ in range(2)]
    out = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], '\n'.join(chain(*out))
    assert len(finished(tmp_path/'runs')) == 2 == len(read_record(tmp_path/'runs'/'record'))
    for log in (tmp_path/'runs'/'logs').glob('*.log'): # of one writer: each epoch once
        assert [log.read_text().count(f'epoch  {i}/3') for i in (1, 2, 3)] == [1, 1, 1], log.read_text()

@pytest.mark.parametrize('name', RUN_FILES)
def test_damaged_run(runs, tmp_path, name, capsys):
    first, second = finished(runs)
    whole = (first/name).read_bytes()
    contents = [b'', whole[:len(whole)//3], bytes(len(whole))]
    if name.endswith('.json'): contents += [b'[]', b'{}', b'\xff\xfe']
    for content in contents:
        say_once.cache_clear()
        (first/name).write_bytes(content)
        assert finished(runs) == [second]
        assert f'{first.name}: left out: {name}' in capsys.readouterr().err
    record = collect(runs, tmp_path/'record')
    assert list(record.run) == [second.name]

def test_half_a_copy(runs, tmp_path, capsys):
    first, second = finished(runs)
    config = run_config(**json.loads((first/'config.json').read_text())['config'])
    for name in ('metrics.json', 'predictions.parquet'):
        (first/name).write_bytes(b'')
        assert run(config, runs) == first and not run_fault(first)
        out = capsys.readouterr().out
        assert f'{name}: missing or empty; kept as .damaged-' in out, out
    assert len(list(runs.glob('.damaged-*'))) == 2

def test_damaged_note(tmp_path, capsys):
    (tmp_path/'failed').mkdir()
    whole = dict(config=CONFIG, data='d', reason='no room')
    (tmp_path/'failed'/'whole.json').write_text(json.dumps(whole))
    damaged = b'', b'\0'*40, b'[]', b'{"config": {}}', b'{"config": [1], "data": "d", "reason": ""}'
    for i, content in enumerate(damaged):
        (tmp_path/'failed'/f'{i}.json').write_bytes(content)
    assert [note['reason'] for note, _ in failures(tmp_path).values()] == ['no room']
    err = capsys.readouterr().err
    assert all(f'{i}.json: left out: ' in err for i in range(5)), err

def test_damaged_record(runs, tmp_path, capsys):
    record = collect(runs, tmp_path/'record')
    file = tmp_path/'record'/'runs.csv'
    text = file.read_text()
    last = text.splitlines()[-1]
    damaged = [(text[:-60], 1, 'line 3: left out'), (text[:-2], 1, 'line 3: left out: cut off')]
    damaged.append((f'{text}{chr(0)*30}\n', 2, 'line 4: left out: NUL'))
    for content, n, reason in damaged:
        file.write_text(content)
        assert len(read_record(tmp_path/'record')) == n
        assert reason in capsys.readouterr().err
    for content in (f'<<<<<<< HEAD\n{text}', f'{text}=======\n{last}\n>>>>>>> other\n', '', '\0'*100):
        file.write_text(content)
        with pytest.raises(ValueError, match=r'runs\.csv, line \d: '): read_record(tmp_path/'record')
    other = tmp_path/'other'
    file.write_text(text)
    shutil.copytree(tmp_path/'record', other)
    changed = record.assign(accuracy=.25)
    changed.to_csv(other/'runs.csv', index=False)
    assert list(collect(other, tmp_path/'record').accuracy) == list(record.accuracy)
    assert 'has two values of accuracy, ' in capsys.readouterr().err

class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args): pass

def test_no_secret_is_written_down(tmp_path):
    make_phantoms(tmp_path/'phantoms', n=72, size=64)
    archive = Path(shutil.make_archive(str(tmp_path/'some'), 'zip', tmp_path/'phantoms'))
    checksum = hashlib.sha256(archive.read_bytes()).hexdigest()
    work = tmp_path/'work'
    work.mkdir()
    with ThreadingHTTPServer(('127.0.0.1', 0), partial(QuietHandler, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}/some.zip?signature=SECRET#sha256={checksum}'
        file = grid_file(work, seeds=(0,), data=address)
        bad = dict(CONFIG, data=address, weights='gone.safetensors') # fails, and a failure is recorded
        file.write_text(json.dumps(dict(runs=[*json.loads(file.read_text())['runs'], bad])))
        done = subprocess.run([*PROGRAM, 'grid', str(file)], cwd=work, capture_output=True, text=True, timeout=300)
        server.shutdown()
    file.unlink()
    assert '1 done' in done.stdout, done.stdout + done.stderr
    assert 'SECRET' not in done.stdout + done.stderr
    holding = [path for path in work.rglob('*') if path.is_file() and b'SECRET' in path.read_bytes()]
    assert not holding and list((work/'runs').rglob('config.json'))

def test_grids_of_strangers(tmp_path):
    bombs = 'a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\n'
    for one, two in zip('abcdefgh', 'bcdefghi'): bombs += f'{two}: &{two} [{", ".join([f"*{one}"]*9)}]\n'
    grids = {'runs: [{arch: vgg16}]\nruns: [{arch: resnet18}]': 'the key runs is there twice',
             bombs + 'runs: [{arch: *i}]': 'above the limit',
             'runs: [{' + ', '.join(f'{c}: [{", ".join("0123456789")}]' for c in 'abcdefghi') + '}]': 'cells 1,000,000'}
    start = time.process_time()
    for text, reason in grids.items():
        (tmp_path/'grid.yml').write_text(text)
        with pytest.raises(ValueError, match=reason) as error: read_grid(tmp_path/'grid.yml')
        assert 'grid.yml: ' in str(error.value)
    assert time.process_time() - start < 20 and LIMITS['cells'] < 1e9

def test_weights_that_are_none(tmp_path):
    numbers = torch.ones(4)
    odd = dict(nan=numbers/0*0, infinite=numbers/0, whole=numbers.to(torch.int8), imaginary=numbers*1j)
    for name, tensor in odd.items():
        save_file(dict(weight=tensor), tmp_path/f'{name}.safetensors')
        torch.save(dict(weight=tensor), tmp_path/f'{name}.pth')
        for file in (tmp_path/f'{name}.safetensors', tmp_path/f'{name}.pth'):
            with pytest.raises(ValueError, match=f'{file.name}: weight holds '): read_state(file)

def listening(pid):
    "Addresses at which a process listens."
    return [one.laddr for one in psutil.Process(pid).net_connections() if one.status == 'LISTEN']

def test_local_dask(tmp_path):
    pytest.importorskip('distributed')
    process = begun(tmp_path, 'grid', str(grid_file(tmp_path, epochs=60)), '--executor', 'dask', '--jobs', '1')
    wait_for(lambda: begun_run(tmp_path), process)
    found = listening(process.pid)
    assert all(address.ip in ('127.0.0.1', '::1') for address in found), found
    for address in found:
        with socket.create_connection((address.ip, address.port), timeout=5) as plain:
            plain.sendall(b'GET /info/main/workers.html HTTP/1.0\r\n\r\n')
            assert b' 404 ' in plain.recv(100)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and err.strip().splitlines()[-1].startswith('bonefrac: interrupted'), err
    assert 'Traceback' not in err, err

def test_killed_scheduler(tmp_path):
    pytest.importorskip('distributed')
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    address, quiet = f'127.0.0.1:{port}', dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    bin = BIN/'dask'
    options = ['--host', '127.0.0.1', '--port', str(port), '--no-dashboard']
    scheduler = subprocess.Popen([bin, 'scheduler', *options], **quiet)
    worker = subprocess.Popen([bin, 'worker', address, '--nthreads', '1', '--no-nanny', '--no-dashboard'], **quiet)
    try:
        file = str(grid_file(tmp_path, epochs=60))
        process = begun(tmp_path, 'grid', file, '--executor', 'dask', '--scheduler', address)
        wait_for(lambda: begun_run(tmp_path), process)
        scheduler.kill()
        out, err = process.communicate(timeout=120)
    finally:
        for one in (scheduler, worker): one.kill()
    assert process.returncode == 1 and 'the scheduler of Dask ended' in out + err, out + err
    assert 'Traceback' not in out + err, out + err
