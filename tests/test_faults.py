"Real faults: a disk that takes no more, a file cut in the middle."
import subprocess
import sys
import zipfile

import pytest

from bonefrac.data.sources import read_images
from bonefrac.phantom.archive import make_phantoms
from bonefrac.experiment.record import finished

LIMIT = '''
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({bytes}, {bytes}))
'''

def limited(program, cwd, kilobytes):
    "Run a program in a process that cannot write a file beyond a size."
    command = [sys.executable, '-c', LIMIT.format(bytes=kilobytes*1024) + program]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)

def test_full_disk_while_a_run_is_written(tmp_path):
    program = '''
from bonefrac.experiment.config import run_config
from bonefrac.experiment.run import run
run(run_config(arch='squeezenet1_1', weights='scratch', data='phantom:72', size=64, epochs=1, batch_size=8), 'runs')
'''
    done = limited(program, tmp_path, 2000)
    reasons = 'File too large', 'No space', 'SafetensorError'
    assert done.returncode != 0 and any(reason in done.stderr for reason in reasons), done.stderr[-2000:]
    assert finished(tmp_path/'runs') == [] and list((tmp_path/'runs').iterdir()) == []

def test_full_disk_while_pixels_are_cached(tmp_path, monkeypatch):
    make_phantoms(tmp_path/'phantoms', n=36, size=64)
    program = '''
from pathlib import Path
from bonefrac.files import cache_dir
from bonefrac.data.sources import read_images
from bonefrac.training.loaders import cached_pixels
images = read_images('phantoms')
try: cached_pixels(images, 'none', 224)
except OSError as e: print('refused:', e)
print(len(list(cache_dir('pixels').glob('*.npy'))), 'files')
'''
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))
    done = limited(program, tmp_path, 500)
    assert 'refused:' in done.stdout and '0 files' in done.stdout, done.stdout + done.stderr[-2000:]

def test_archive_with_damaged_image(tmp_path):
    root = make_phantoms(tmp_path/'phantoms', n=36, size=64)
    with zipfile.ZipFile(tmp_path/'some.zip', 'w') as z:
        cut = sorted(root.rglob('*.jpg'))[:4]
        for path in sorted(p for p in root.rglob('*') if p.is_file()):
            content = path.read_bytes()
            z.writestr(path.relative_to(root).as_posix(), content[:len(content)//2] if path in cut else content)
    table = read_images(tmp_path/'some.zip')
    damaged = [file for file, reason in table.attrs['problems'] if 'truncated' in reason.lower()]
    assert len(damaged) == 4 and len(table) == 32

def test_archive_cut_in_the_middle(tmp_path):
    root = make_phantoms(tmp_path/'phantoms', n=12, size=64)
    with zipfile.ZipFile(tmp_path/'whole.zip', 'w') as z:
        for path in root.rglob('*.jpg'): z.write(path, path.name)
    whole = (tmp_path/'whole.zip').read_bytes()
    (tmp_path/'cut.zip').write_bytes(whole[:len(whole)//2])
    with pytest.raises(ValueError, match='cut.zip: not a whole zip archive'): read_images(tmp_path/'cut.zip')
    flipped = bytearray(whole)
    flipped[200] ^= 255
    (tmp_path/'flipped.zip').write_bytes(flipped)
    with pytest.raises(ValueError, match='flipped.zip: not a whole zip archive.*CRC'):
        read_images(tmp_path/'flipped.zip')

def test_archive_with_a_damaged_compressed_member(tmp_path):
    with zipfile.ZipFile(tmp_path/'deflated.zip', 'w', zipfile.ZIP_DEFLATED) as z:
        z.writestr('a.txt', ''.join(map(str, range(5000))))
    content = bytearray((tmp_path/'deflated.zip').read_bytes())
    content[100:140] = bytes(40)
    (tmp_path/'deflated.zip').write_bytes(content)
    with pytest.raises(ValueError, match='deflated.zip: not a whole zip archive'): read_images(tmp_path/'deflated.zip')
