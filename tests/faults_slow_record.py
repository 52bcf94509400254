"""Faults of runs that need root and minutes: `python tests/faults_slow_record.py` prints a line for each and stops
at the first that does not hold. What it printed last is beside it, in faults_slow_record.txt.

| fault | function |
|---|---|
| a container killed in a run, and started again: the same command has the same number again | `restarted` |
| two containers with processes of one number, one cell | `twins` |
| power cut: a disk is copied one second after a run has finished, and mounted elsewhere | `power_cut` |
| no room on the disk while a failure is recorded | `full_disk` |
"""
import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from conftest import BIN
from bonefrac.experiment.record import collect, finished

CELL = dict(arch='squeezenet1_1', weights='scratch', size=64, epochs=2, batch_size=8, data='phantom:72')
CONTAINER = ['unshare', '-pf', '--mount-proc', '--kill-child'] # each process in it has the number that it had before

def say(*words): print(*words, flush=True)

def line(epochs=2):
    "A command line that makes one run."
    words = [[f'--{name.replace("_", "-")}', str(value)] for name, value in dict(CELL, epochs=epochs).items()]
    return [str(BIN/'bonefrac'), 'run', *sum(words, [])]

def container(work, epochs=2):
    "The command in a process namespace of its own."
    out = open(work/f'out{time.time_ns()}.txt', 'w')
    return subprocess.Popen([*CONTAINER, *line(epochs)], cwd=work, stdout=out, stderr=out, start_new_session=True)

def begun(work, seconds=120):
    "Wait until a run has begun."
    end = time.time() + seconds
    while not [path for path in (work/'runs').glob('.*') if path.is_dir()]:
        assert time.time() < end, 'no run has begun'
        time.sleep(.05)

def said(work): return '\n'.join(path.read_text() for path in sorted(work.glob('out*.txt')))

def restarted(work):
    first = container(work, epochs=40)
    begun(work)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert [path for path in (work/'runs').glob('.*') if path.is_dir()], 'nothing was left to stumble on'
    start = time.monotonic()
    assert container(work, epochs=40).wait() == 0, said(work)
    assert len(finished(work/'runs')) == 1 and not [path for path in (work/'runs').glob('.*') if path.is_dir()]
    say(f'a container killed in a run and started again: made in {time.monotonic() - start:.0f} s, nothing left over')

def twins(work):
    both = [container(work, epochs=40) for _ in range(2)]
    assert [one.wait() for one in both] == [0, 0], said(work)
    [run] = finished(work/'runs')
    say(f'two containers, one cell: both end well, one whole run, {len(list(run.iterdir()))} files')

@contextmanager
def mounted(source, at, *options):
    "A file system for a while."
    at.mkdir(exist_ok=True)
    subprocess.run(['mount', *options, str(source), str(at)], check=True)
    try: yield at
    finally: subprocess.run(['umount', '-l', str(at)], check=True)

def power_cut(work):
    image, copy = work/'disk.img', work/'copy.img'
    with open(image, 'wb') as f: f.truncate(300_000_000)
    subprocess.run(['mkfs.ext4', '-q', '-F', str(image)], check=True)
    with mounted(image, work/'disk', '-o', 'loop,commit=60') as disk:
        done = subprocess.run([*line(), '--runs', str(disk/'runs')], cwd=work, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        time.sleep(1)
        shutil.copyfile(image, copy) # what the disk holds if the power goes now
    with mounted(copy, work/'after', '-o', 'loop') as disk:
        [run] = finished(disk/'runs')
        sizes = {path.name: path.stat().st_size for path in run.iterdir()}
        assert all(sizes.values()), sizes
        assert len(collect(disk/'runs', work/'record')) == 1
    say(f'power cut one second after a run, commit every 60 s: whole, {len(sizes)} files, none empty, recorded')

def full_disk(work):
    (work/'grid.yml').write_text(json.dumps(dict(runs=[dict(CELL, weights='gone.safetensors')])))
    words = [str(BIN/'bonefrac'), 'grid', 'grid.yml', '--results', str(work/'record')]
    with mounted('none', work/'record', '-t', 'tmpfs', '-o', 'size=64k') as record:
        (record/'full').write_bytes(bytes(64*1024))
        done = subprocess.run(words, cwd=work, capture_output=True, text=True)
        assert done.returncode == 1 and 'No space left' in done.stderr, done.stdout + done.stderr
        assert not [path for path in (record/'failed').glob('*.json')] if (record/'failed').exists() else True
        (record/'full').unlink()
        done = subprocess.run([*words, '--dry-run'], cwd=work, capture_output=True, text=True)
        assert done.returncode == 0 and '1 open' in done.stdout, done.stdout + done.stderr
    say('no room while a failure is recorded: said, no half note, and the grid goes on when there is room')

if __name__ == '__main__':
    for fault in (restarted, twins, power_cut, full_disk):
        with TemporaryDirectory(ignore_cleanup_errors=True) as work: fault(Path(work))
