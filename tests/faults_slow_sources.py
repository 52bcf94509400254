"""Faults of sources that take minutes: `python tests/faults_slow_sources.py` prints a line for each and stops at
the first that does not hold. What it printed last is beside it, in faults_slow_sources.txt.

| fault | function |
|---|---|
| an archive of 2 MB that unpacks to 2 GB, one of 200,000 members, one without room on the disk | `archives` |
| images of as many pixels as are just read, of all kinds: their memory | `memory` |
| an archive, its members and its classes named in HTML: the pages of an audit, a run and a study | `pages` |
| a server that takes the connection and says nothing | `silence` |
| the published archive: content hash, number of films | `published` |
"""
import json
import os
import re
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from conftest import BIN, REAL_DATA
from test_faults_sources import CHROMIUM, SCRIPT, png, seen, zipped

MEMORY = '''
import sys
from bonefrac.data.pixels import load_grey
print(load_grey(sys.argv[1]).shape)
print(next(int(line.split()[1])//1024 for line in open('/proc/self/status') if line.startswith('VmHWM')))
'''

def say(*words): print(*words, flush=True)

def bonefrac(*words, cwd):
    "Seconds, and what a command printed."
    start = time.monotonic()
    done = subprocess.run([str(BIN/'bonefrac'), *map(str, words)], cwd=cwd, capture_output=True, text=True)
    return time.monotonic() - start, done

def unpacked(work): return sorted((work/'cache').rglob('archives/*'))

def refused(work, file, words):
    "An archive is refused before anything of it is unpacked."
    seconds, done = bonefrac('data', file, cwd=work)
    assert done.returncode == 1 and re.search(words, done.stderr) and done.stderr.count('\n') == 1, done.stderr
    assert unpacked(work) == []
    say(f'{file.name}, {file.stat().st_size/1e6:.1f} MB: refused in {seconds:.1f} s: {done.stderr.strip()[-150:]}')

def archives(work):
    with zipfile.ZipFile(work/'bomb.zip', 'w', zipfile.ZIP_DEFLATED) as z, z.open('a.jpg', 'w', force_zip64=True) as f:
        for _ in range(2100): f.write(bytes(1_000_000))
    refused(work, work/'bomb.zip', 'ratio .* is above the limit')
    many = zipped(work/'many.zip', [(f'{i}.jpg', b'') for i in range(200_000)], zipfile.ZIP_STORED)
    refused(work, many, 'members 200,000 is above the limit 150,000')
    os.environ['BONEFRAC_MOST_RATIO'], os.environ['BONEFRAC_MOST_UNPACKED_BYTES'] = '1e18', '1e18'
    lies = zipped(work/'lies.zip', [(f'{i}.jpg', b'') for i in range(20_000)], zipfile.ZIP_STORED)
    def large(found): return found[1] + b'\xff\xff\xff\xfe' # 4 GB each
    told = re.sub(rb'(PK\x01\x02.{20}).{4}', large, lies.read_bytes(), flags=re.S)
    lies.write_bytes(told)
    refused(work, lies, 'GB unpacked, but the cache has .* GB free')
    del os.environ['BONEFRAC_MOST_RATIO'], os.environ['BONEFRAC_MOST_UNPACKED_BYTES']

def memory(work):
    for bits, colour, channels in ((8, 0, 1), (16, 0, 1), (8, 2, 3), (8, 6, 4), (16, 2, 3), (16, 6, 4), (16, 4, 2)):
        file = png(work/'most.png', 7070, bits, colour, channels)
        done = subprocess.run([sys.executable, '-c', MEMORY, file], capture_output=True, text=True)
        shape, megabytes = done.stdout.splitlines()
        say(f'PNG 7070 × 7070, {bits} bits, {channels} channels, {file.stat().st_size/1e3:.0f} kB: {megabytes} MB')
        assert shape == '(7070, 7070)' and int(megabytes) < 3500

def check_pages(browser, folder):
    "Pages open no dialog, hold no handler, and ask no other host."
    found = sorted(folder.rglob('*.html'))
    assert found
    for page in found:
        dialogs, handlers, asked, text = seen(browser, page)
        assert dialogs == [] and handlers == [] and asked == [], (page, dialogs, handlers, asked)
        say(f'{page.name}: {page.stat().st_size/1e3:.0f} kB, no dialog, no handler, no other host; the name is '
            f'{"shown as text" if "onerror=alert(1)" in text else "not on it"}')

def pages(work):
    from bonefrac.phantom.archive import make_phantoms
    from playwright.sync_api import sync_playwright
    films = sorted(make_phantoms(work/'phantoms', n=72, size=64).rglob('*.jpg'))
    classes = f'hand{SCRIPT}'.replace('/', ''), 'elbow`<svg onload=alert(2)>`$_$'
    members = [(f'{classes[i % 2]}/{i}{SCRIPT}.jpg', film.read_bytes()) for i, film in enumerate(films)]
    file = zipped(work/f'x`{SCRIPT}`.zip', members)
    tiny = '--weights scratch --size 64 --epochs 1 --batch-size 8'.split()
    seconds, done = bonefrac('audit', file, '--known', 12, '--out', 'audit', cwd=work)
    say(f'audit: {seconds:.0f} s, status {done.returncode}', done.stderr[-300:])
    assert done.returncode == 0
    named = '--data', file, '--arch', 'squeezenet1_1', '--seed', '0,1', '--task', 'label', *tiny
    seconds, done = bonefrac('study', *named, '--runs', 'runs', cwd=work)
    say(f'study: {seconds:.0f} s, status {done.returncode}', done.stderr[-300:])
    assert done.returncode == 0
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox', '--disable-gpu'])
        for folder in (work/'audit', work/'runs'/'report'): check_pages(browser, folder)
        browser.close()

def silence(work):
    box = socket.create_server(('127.0.0.1', 0))
    address = f'http://127.0.0.1:{box.getsockname()[1]}/x.zip#sha256={"0"*64}'
    seconds, done = bonefrac('data', address, cwd=work)
    say(f'silent server: {seconds:.0f} s: {done.stderr.strip()}')
    assert done.returncode == 1 and seconds < 130 and done.stderr.count('\n') == 1

def published(work):
    if not REAL_DATA: return say('no published archive here: not tried')
    seconds, done = bonefrac('data', REAL_DATA, '--json', cwd=work)
    found = json.loads(done.stdout)
    say(f'published archive: {found["counts"]["all"]["images"]} films, files {found["files"]}, {seconds:.0f} s')
    assert found['counts']['all']['images'] == 4148

TRIED = archives, memory, pages, silence, published

def main(names):
    for tried in TRIED:
        if names and tried.__name__ not in names: continue
        with TemporaryDirectory() as work:
            os.environ['XDG_CACHE_HOME'], os.environ['BONEFRAC_QUIET'] = f'{work}/cache', '1'
            tried(Path(work))

if __name__ == '__main__': main(sys.argv[1:])
