"""Real faults of what others made: sources, downloads, archives, caches, cards, and the pages that show them.

| fault | where it is tried |
|---|---|
| networks and cards without finite numbers, of huge sizes, with classes that no terminal shows | `test_card_*` |
| names and values that are HTML or Markdown | `test_page_*`; a whole audit and study in faults_slow_sources.py |
| archives that grow, of too many members, encrypted, with false sizes, with names that are one | `test_archive_*` |
| images of too many pixels | `test_image_*` |
| data.yaml with nested aliases, keys twice, Python tags | `test_names_*` |
| tables, pixels, archives and phantoms in the cache that are empty, cut, zero, changed or foreign | `test_cache_*` |
| downloads that are a page, cut, endless, slow, killed, or that anybody could have changed | `test_download_*` |
| escapes and ends of lines in names, classes that a spreadsheet would run | `test_terminal_*`, `test_spreadsheet_*` |
| pipes, devices and sockets | `test_pipe_*` |
"""
import http.server
import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
import zipfile
import zlib
from hashlib import sha256
from itertools import chain
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

from bonefrac.cli import main
from bonefrac.data.sources import fetch, kept_table, listing_hash, phantom_images, phantom_name, read_images
from bonefrac.data.table import data_hash
from bonefrac.deploy.predict import predict
from bonefrac.files import cache_dir, file_sha256, in_markdown
from bonefrac.phantom.archive import make_phantoms
from bonefrac.report.pages import write_page
from bonefrac.training.loaders import cached_pixels, pixels_file

ESCAPES = '\x1b[2J\x1b]0;title\x07'
FORGED = 'a\nbonefrac: all is well\r'
SCRIPT = '<img src=x onerror=alert(1)>'

def left(*parts): return sorted(path.name for path in cache_dir(*parts).iterdir())

@pytest.fixture(autouse=True)
def empty_cache(tmp_path_factory, monkeypatch):
    "Each test has a cache of its own."
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))

@pytest.fixture(scope='module')
def phantoms(tmp_path_factory):
    "A folder of 12 phantoms."
    return make_phantoms(tmp_path_factory.mktemp('phantoms')/'some', n=12, size=64)

def zipped(file, members, method=zipfile.ZIP_DEFLATED):
    "An archive of pairs of name and content."
    with warnings.catch_warnings(), zipfile.ZipFile(file, 'w', method) as z:
        warnings.simplefilter('ignore') # names twice
        for name, content in members: z.writestr(name, content)
    return file

def members_of(folder):
    "Names and content of all files of a folder."
    return [(path.relative_to(folder).as_posix(), path.read_bytes()) for path in sorted(folder.rglob('*'))
            if path.is_file()]

def refused(source, words):
    "A source is refused with these words, its name in front, in one line, and nothing of it stays in the cache."
    with pytest.raises(ValueError, match=words) as caught: read_images(source)
    assert Path(source).name in str(caught.value) and '\n' not in str(caught.value)
    assert left('archives') == []

# cards

@pytest.fixture
def model(tmp_path):
    "Writes a run's folder: a card with other values, and weights with other numbers."
    from safetensors.torch import save_file

    from bonefrac.training.models import create_model
    def make(fill=None, **card):
        weights = create_model('squeezenet1_1', 'scratch', 2, 32).state_dict()
        if fill is not None: weights = {name: tensor*0 + fill for name, tensor in weights.items()}
        save_file(weights, tmp_path/'model.safetensors')
        whole = dict(arch='squeezenet1_1', classes=['hand', 'wrist'], filter='none', size=32, mean=[.5]*3, std=[.2]*3,
                     sha256=file_sha256(tmp_path/'model.safetensors'), says='Which region is it?')
        (tmp_path/'card.json').write_text(json.dumps({**whole, **card}))
        return tmp_path
    return make

@pytest.fixture
def film(phantoms): return sorted(phantoms.rglob('*.jpg'))[0]

@pytest.mark.parametrize('fill', [float('nan'), float('inf')])
def test_card_of_a_network_without_finite_numbers(model, film, fill):
    with pytest.raises(ValueError, match=f'{film.name}.*no finite probability'): predict([film], model(fill))

WRONG = [dict(mean=[float('nan')]*3), dict(std=[0, 0, 0]), dict(std=[float('inf')]*3), dict(mean='.5'),
         dict(size=30000), dict(size=10**9), dict(size=31), dict(size=64.), dict(arch='custom_cnn', size=16000),
         dict(arch='../squeezenet1_1'), dict(classes=['hand', 'hand']), dict(classes='ab'), dict(classes=['hand', 1]),
         dict(classes=['hand', ESCAPES]), dict(classes=['hand', FORGED]), dict(classes=['hand', 'wr\u202eist'])]

@pytest.mark.parametrize('card', WRONG, ids=repr)
def test_card_is_refused(model, film, card):
    folder, start = model(**card), time.monotonic()
    with pytest.raises(ValueError, match=r'card\.json: ') as caught: predict([film], folder)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500 and time.monotonic() - start < 5

def test_card_that_is_whole_answers(model, film):
    assert np.isfinite(predict([film], model()).probability).all()

# archives

def test_archive_that_grows(tmp_path):
    start = time.monotonic()
    file = zipped(tmp_path/'bomb.zip', [('a.jpg', bytes(150_000_000))])
    written = time.monotonic() - start
    assert file.stat().st_size < 200_000
    refused(file, r'bomb\.zip: ratio [\d,.]+ is above the limit 100.*BONEFRAC_MOST_RATIO')
    assert time.monotonic() - start - written < 2

def test_archive_of_too_many_bytes(tmp_path, phantoms, monkeypatch):
    file = zipped(tmp_path/'large.zip', members_of(phantoms))
    monkeypatch.setenv('BONEFRAC_MOST_UNPACKED_BYTES', '10000')
    refused(file, 'unpacked bytes .* is above the limit 10,000')
    monkeypatch.delenv('BONEFRAC_MOST_UNPACKED_BYTES')
    assert len(read_images(file)) == 12

def test_archive_of_too_many_members(tmp_path, monkeypatch):
    file = zipped(tmp_path/'many.zip', [(f'{i}.jpg', b'') for i in range(1001)], zipfile.ZIP_STORED)
    monkeypatch.setenv('BONEFRAC_MOST_MEMBERS', '1000')
    refused(file, 'members 1,001 is above the limit 1,000; .*BONEFRAC_MOST_MEMBERS=1001')

def test_archive_with_a_false_size(tmp_path):
    file = zipped(tmp_path/'false.zip', [('a.jpg', bytes(150_000_000))])
    content = file.read_bytes().replace(struct.pack('<L', 150_000_000), struct.pack('<L', 1000))
    file.write_bytes(content)
    refused(file, r'false\.zip: not a whole zip archive')

def test_archive_whose_members_share_their_bytes(tmp_path):
    file = zipped(tmp_path/'one.zip', [(f'{i:03}.jpg', bytes(1_000_000)) for i in range(150)])
    content = file.read_bytes()
    start = content.index(b'PK\1\2')
    entries = [b'PK\1\2' + part for part in content[start:content.index(b'PK\5\6')].split(b'PK\1\2')[1:]]
    entries = [entry[:42] + bytes(4) + entry[46:] for entry in entries] # all begin where the first does
    first, size = content[:content.index(b'PK\3\4', 4)], sum(map(len, entries))
    end = struct.pack('<4s4H2LH', b'PK\5\6', 0, 0, len(entries), len(entries), size, len(first), 0)
    file.write_bytes(first + b''.join(entries) + end)
    refused(file, 'ratio .* is above the limit|not a whole zip archive')

def encrypted(file, name):
    "Set the mark of encryption on the members of an archive."
    content = bytearray(file.read_bytes())
    for sign, at in ((b'PK\3\4', 6), (b'PK\1\2', 8)):
        for match in re.finditer(re.escape(sign), bytes(content)): content[match.start() + at] |= 1
    (file.parent/name).write_bytes(content)
    return file.parent/name

def test_archive_that_needs_a_password(tmp_path, phantoms):
    refused(encrypted(zipped(tmp_path/'open.zip', members_of(phantoms)), 'locked.zip'), 'needs a password')
    bomb = zipped(tmp_path/'bomb.zip', [('a.jpg', bytes(150_000_000))])
    refused(encrypted(bomb, 'locked-bomb.zip'), 'needs a password')

NAMES = [('elbow/x.jpg', './elbow/x.jpg'), ('elbow/x.jpg', 'elbow//x.jpg'), ('elbow/x.jpg', 'elbow/./x.jpg'),
         ('elbow/x.jpg', 'elbow\\x.jpg'), ('elbow/x.jpg', 'elbow/x.jpg'), ('elbow/x.jpg', 'Elbow/x.jpg'),
         ('elbow/x.jpg', 'Elbow/y.jpg'), ('elbow/x.jpg', 'elbow/X.JPG'), ('caf\u00e9/x.jpg', 'cafe\u0301/x.jpg'),
         ('stra\u00dfe.jpg', 'STRASSE.jpg'), ('elbow', 'elbow/x.jpg'), ('elbow/x.jpg', 'elbow')]

@pytest.mark.parametrize('names', NAMES, ids=repr)
def test_archive_of_two_names_that_are_one(tmp_path, film, names):
    file = zipped(tmp_path/'twice.zip', [(name, film.read_bytes()) for name in names])
    refused(file, 'two members are')

@pytest.mark.parametrize('name', ['../x.jpg', '/x.jpg', 'a/../../x.jpg', '..\\x.jpg', 'C:\\x.jpg', '\\\\host\\x.jpg'])
def test_archive_that_leaves_its_folder(tmp_path, film, name):
    refused(zipped(tmp_path/'out.zip', [(name, film.read_bytes())]), 'would land outside its folder')

def test_archive_of_odd_but_clear_names(tmp_path, phantoms):
    members = [(f'./{name}'.replace('/', '//'), content) for name, content in members_of(phantoms)]
    assert data_hash(read_images(zipped(tmp_path/'odd.zip', members))) == data_hash(read_images(phantoms))

# images

def png(file, side, bits, colour, channels):
    "A black PNG, written row by row."
    def chunk(kind, content):
        return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))
    packer, row = zlib.compressobj(1), bytes(1 + side*channels*bits//8)
    pixels = b''.join([*(packer.compress(row) for _ in range(side)), packer.flush()])
    head = struct.pack('>IIBBBBB', side, side, bits, colour, 0, 0, 0)
    file.write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', pixels) + chunk(b'IEND', b''))
    return file

MEMORY = '''
import sys
from bonefrac.data.pixels import load_grey
try: load_grey(sys.argv[1])
except ValueError as e: print(e)
print(next(int(line.split()[1])//1024 for line in open('/proc/self/status') if line.startswith('VmHWM')))
'''

@pytest.mark.parametrize('bits, colour, channels', [(16, 0, 1), (8, 6, 4)])
def test_image_of_too_many_pixels(tmp_path, bits, colour, channels):
    file = png(tmp_path/'huge.png', 13_300, bits, colour, channels)
    done = subprocess.run([sys.executable, '-c', MEMORY, file], capture_output=True, text=True, timeout=60)
    said, megabytes = done.stdout.splitlines()
    assert re.match(r'.*huge\.png: 13300 × 13300: pixels .* above the limit .*BONEFRAC_MOST_PIXELS', said), said
    assert int(megabytes) < 300

def huge(file, side=13_300):
    "An image of the format that the name of a file says, of very many pixels in few bytes."
    from PIL import Image
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import generate_uid
    if file.suffix != '.dcm':
        small = Image.new('L', (64, 64))
        small.save(file)
        content = file.read_bytes()
        if file.suffix == '.bmp': content = content[:18] + struct.pack('<ll', side, side) + content[26:]
        if file.suffix == '.gif': content = content[:6] + struct.pack('<HH', side, side) + content[10:]
        if file.suffix == '.pgm': content = content.replace(b'64 64', b'13300 13300')
        if file.suffix == '.tif':
            content = content.replace(struct.pack('<HHLHH', 256, 4, 1, 64, 0), struct.pack('<HHLL', 256, 4, 1, side))
            content = content.replace(struct.pack('<HHLHH', 257, 4, 1, 64, 0), struct.pack('<HHLL', 257, 4, 1, side))
        if file.suffix == '.jpg':
            sides = struct.pack('>HH', side, side)
            content = re.sub(rb'(\xff\xc0\0.\x08)\0@\0@', lambda found: found[1] + sides, content, flags=re.S)
        assert content != file.read_bytes()
        return file.write_bytes(content)
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = '1.2.840.10008.1.2.4.50'
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = '1.2.840.10008.5.1.4.1.1.1.1'
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.Rows = ds.Columns = side
    ds.SamplesPerPixel, ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 1, 8, 8, 7, 0
    ds.PhotometricInterpretation = 'MONOCHROME2'
    from pydicom.encaps import encapsulate
    ds.PixelData = encapsulate([b'\xff\xd8\xff\xd9'])
    ds['PixelData'].is_undefined_length = True
    ds.save_as(file, enforce_file_format=True)

@pytest.mark.parametrize('name', ['huge.bmp', 'huge.gif', 'huge.pgm', 'huge.tif', 'huge.jpg', 'huge.dcm'])
def test_image_of_too_many_pixels_in_any_format(tmp_path, phantoms, name):
    folder = tmp_path/'images'
    for path in sorted(phantoms.rglob('*.jpg'))[:6]:
        (folder/'abc'[hash(path.name) % 2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder/'abc'[hash(path.name) % 2])
    huge(folder/'a'/name)
    table = read_images(folder)
    [(file, reason)] = table.attrs['problems']
    assert file.endswith(name) and 'above the limit' in reason and len(table) == 6

# data.yaml

ALIASES = 'a: &a [x,x,x,x,x,x,x,x,x]\n' + ''.join(
    f'{b}: &{b} [{",".join([f"*{a}"]*9)}]\n' for a, b in zip('abcdefgh', 'bcdefghi')) + 'names: *i\n'
YAMLS = {'above the limit': ALIASES, 'inside its own value': 'names: &a [*a]\n',
         'is there twice': 'names: [a, b]\nnames: [b, a]\n', 'not YAML': 'names: !!python/object/apply:os.abort []\n',
         'nested too deeply': 'names: ' + '['*200_000, 'yaml bytes': 'names: [a]\n' + '#'*1_100_000}

@pytest.mark.parametrize('words', YAMLS)
def test_names_of_classes_that_are_a_trap(tmp_path, phantoms, words):
    folder, start = tmp_path/'set', time.monotonic()
    shutil.copytree(phantoms, folder)
    [file] = folder.rglob('data.yaml')
    file.write_text(YAMLS[words])
    with pytest.raises(ValueError, match=f'data.yaml: .*{words}') as caught: read_images(folder)
    assert len(str(caught.value)) < 1000 and time.monotonic() - start < 10

# the cache

def remade(file, damage, again):
    "A file of the cache is damaged in a way; what is read again, and the damage is gone."
    before = file.read_bytes()
    file.write_bytes(damage(before))
    found = again()
    assert file.read_bytes() == before, 'not made again'
    return found

def zeros_inside(content): return content[:200] + bytes(len(content)//2) + content[200 + len(content)//2:]

DAMAGES = dict(empty=lambda content: b'', cut=lambda content: content[:len(content)//2], zeros=lambda c: bytes(len(c)),
               zeros_inside=zeros_inside, text=lambda content: b'<html>no', tail=lambda content: content[:-1])

@pytest.mark.parametrize('damage', DAMAGES)
def test_cache_of_tables_is_damaged(phantoms, damage, capfd):
    whole, file = kept_table(phantoms), cache_dir('tables')/f'{listing_hash(phantoms)}.parquet'
    again = remade(file, DAMAGES[damage], lambda: kept_table(phantoms))
    pd.testing.assert_frame_equal(whole, again)
    assert again.attrs == whole.attrs and f'{file.name}: damaged' in capfd.readouterr().err

FOREIGN = pd.DataFrame(dict(a=[1])), pd.DataFrame(), pd.DataFrame(dict(path=['x'], sha256=['y']))

@pytest.mark.parametrize('foreign', FOREIGN)
def test_cache_of_tables_is_foreign(phantoms, foreign):
    whole, file = kept_table(phantoms), cache_dir('tables')/f'{listing_hash(phantoms)}.parquet'
    foreign.to_parquet(file)
    pd.testing.assert_frame_equal(whole, kept_table(phantoms))

def zero_pixels(content):
    "The header is right, and so is the length."
    return content[:128] + bytes(len(content) - 137) + content[-9:]

@pytest.mark.parametrize('damage', [*DAMAGES.values(), zero_pixels])
def test_cache_of_pixels_is_damaged(phantoms, damage):
    images = read_images(phantoms)
    whole = np.array(cached_pixels(images, size=64))
    again = remade(pixels_file(images, 'none', 64), damage, lambda: cached_pixels(images, size=64))
    assert whole.std() > 10 and (again == whole).all()

def remove(files): files[0].unlink()
def cut(files): files[0].write_bytes(files[0].read_bytes()[:100])
def blacken(files): files[0].write_bytes(bytes(files[0].stat().st_size)) # as long as before
def swap(files): shutil.copy(files[1], files[0])
def add(files): shutil.copy(files[0], files[0].with_name('new.jpg'))
def link(files): files[0].unlink(), files[0].symlink_to(files[1])

@pytest.mark.parametrize('change', [remove, cut, blacken, swap, add, link])
def test_cache_of_archives_is_changed(tmp_path, phantoms, change, capfd):
    file = zipped(tmp_path/'some.zip', members_of(phantoms))
    whole = data_hash(read_images(file))
    [folder] = cache_dir('archives').iterdir()
    change(sorted(folder.rglob('*.jpg')))
    table = read_images(file)
    assert data_hash(table) == whole and len(table) == 12 and table.attrs['problems'] == []
    assert 'unpacked again' in capfd.readouterr().err and len(left('archives')) == 1

@pytest.fixture(scope='module')
def cached(tmp_path_factory):
    "A cache that holds 12 phantoms."
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('phantom-cache')))
        return cache_dir(), data_hash(phantom_images(12)), phantom_name(12, 0, 1.)

def healed(cached, change):
    "Phantoms of the cache are changed in a way, and made again as they were."
    shutil.copytree(cached[0], cache_dir(), dirs_exist_ok=True)
    change(cache_dir('phantoms')/cached[2])
    again = phantom_images(12)
    assert data_hash(again) == cached[1] and left('phantoms') == [cached[2]] and again.attrs['simulated']
    assert json.loads((cache_dir('phantoms')/cached[2]/'phantom.json').read_text())['n'] == 12

@pytest.mark.parametrize('content', [b'', b'[]', b'{}', b'{"n": 12, "se', b'\xff\xfe', b'null'])
def test_cache_of_phantoms_is_damaged(cached, content):
    healed(cached, lambda folder: (folder/'phantom.json').write_bytes(content))

@pytest.mark.parametrize('name', ['*.jpg', 'phantom.json', 'truth.csv'])
def test_cache_of_phantoms_has_lost_a_file(cached, name):
    healed(cached, lambda folder: sorted(folder.rglob(name))[0].unlink())

# downloads

class Answers(http.server.BaseHTTPRequestHandler):
    "A server that does what the address says."
    def log_message(self, *args): pass
    def do_GET(self):
        self.server.asked.append(self.path)
        getattr(self, re.search(r'\w+', self.path)[0])(self.server.archive)

    def start(self, *headers, status=200):
        self.send_response(status)
        for name, value in headers: self.send_header(name, value)
        self.end_headers()

    def whole(self, archive):
        self.start(('Content-Length', str(len(archive))))
        self.wfile.write(archive)

    def page(self, archive):
        self.start(('Content-Type', 'text/html'))
        self.wfile.write(b'\n<!DOCTYPE html><title>Sign in</title>' + bytes(1000))

    def cut(self, archive):
        self.start()
        self.wfile.write(archive[:len(archive)//2])

    def short(self, archive):
        self.start(('Content-Length', str(len(archive))))
        self.wfile.write(archive[:-10])

    def empty(self, archive): self.start()
    def secret(self, archive): self.start(status=403)
    def away(self, archive): self.start(('Location', self.server.elsewhere), status=302)
    def disk(self, archive): self.start(('Location', 'file:///etc/passwd'), status=302)

    def declared(self, archive): self.start(('Content-Length', str(10**12)))

    def endless(self, archive, pause=0, size=1 << 20):
        self.start()
        try:
            while True:
                self.wfile.write(bytes(size))
                time.sleep(pause)
        except OSError: pass

    def slow(self, archive): self.endless(archive, .1, 1)
    def steady(self, archive): self.endless(archive, .05)

def serve(archive, context=None):
    "A server in a thread."
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Answers)
    server.daemon_threads, server.block_on_close = True, False
    server.asked, server.archive, server.elsewhere = [], archive, ''
    if context: server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f'{"https" if context else "http"}://127.0.0.1:{server.server_port}'
    return server

@pytest.fixture(scope='module')
def context(tmp_path_factory):
    "A certificate of a minute's age, and what a server needs of it."
    if not shutil.which('openssl'): pytest.skip('no openssl on the path: nothing was downloaded by https')
    folder = tmp_path_factory.mktemp('certificate')
    words = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost'
    files = folder/'cert.pem', folder/'key.pem'
    names = '-addext', 'subjectAltName=IP:127.0.0.1', '-out', *files[:1], '-keyout', *files[1:]
    subprocess.run(['openssl', *words.split(), *names], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return context, files[0]

@pytest.fixture(scope='module')
def archive(tmp_path_factory, phantoms):
    "Content of an archive of phantoms."
    return zipped(tmp_path_factory.mktemp('archive')/'x.zip', members_of(phantoms)).read_bytes()

@pytest.fixture
def safe(context, archive, monkeypatch):
    "A server that is asked by https."
    server = serve(archive, context[0])
    monkeypatch.setenv('SSL_CERT_FILE', str(context[1]))
    monkeypatch.setattr(urllib.request, '_opener', None)
    yield server
    server.shutdown(), server.server_close()

@pytest.fixture
def plain(archive):
    "A server that is asked by http."
    server = serve(archive)
    yield server
    server.shutdown(), server.server_close()

def not_downloaded(url, words):
    "Nothing is kept of a download, and the message tells the address without its query."
    start = time.monotonic()
    with pytest.raises(ValueError, match=words) as caught: fetch(url)
    assert urllib.request.urlsplit(url).path in str(caught.value) and 'token' not in str(caught.value)
    assert [path for path in cache_dir('downloads').rglob('*') if path.is_file()] == []
    assert time.monotonic() - start < 15

BAD = dict(page='a web page came instead', cut='not a whole zip', short='bytes are missing', empty='not a whole zip',
           secret='403', disk='302|not downloaded')

@pytest.mark.parametrize('what', BAD)
def test_download_is_not_what_was_asked_for(safe, what):
    for n in (1, 2):
        not_downloaded(f'{safe.url}/{what}/x.zip?token=abc', BAD[what])
        assert len(safe.asked) == n, 'the server was not asked again'

def test_download_that_was_bad_is_asked_for_again(safe, archive):
    safe.archive = archive[:-30]
    not_downloaded(f'{safe.url}/whole/x.zip', 'not a whole zip')
    safe.archive = archive
    assert len(read_images(f'{safe.url}/whole/x.zip')) == len(read_images(f'{safe.url}/whole/x.zip')) == 12
    assert len(safe.asked) == 2

@pytest.mark.parametrize('damage', DAMAGES.values())
def test_download_in_the_cache_is_damaged(safe, damage):
    path = fetch(f'{safe.url}/whole/x.zip')
    path.write_bytes(damage(path.read_bytes()))
    for _ in range(2): # damage inside is seen when it is unpacked
        try: table = read_images(f'{safe.url}/whole/x.zip')
        except ValueError as e: assert 'downloaded again next time' in str(e)
    assert len(table) == 12 and len(safe.asked) == 2

def test_download_has_no_end(safe, monkeypatch):
    monkeypatch.setenv('BONEFRAC_MOST_DOWNLOAD_BYTES', '5e6')
    not_downloaded(f'{safe.url}/endless/x.zip', 'download bytes .* above the limit 5,000,000.*BONEFRAC_MOST_DOWNLOAD')
    not_downloaded(f'{safe.url}/declared/x.zip', 'download bytes 1,000,000,000,000 is above')

def test_download_takes_too_long(safe, monkeypatch):
    monkeypatch.setenv('BONEFRAC_MOST_SECONDS', '1')
    not_downloaded(f'{safe.url}/slow/x.zip', 'seconds .* is above the limit 1;')

KILLED = 'import sys; from bonefrac.data.sources import fetch; fetch(sys.argv[1])'

def test_download_is_killed(safe):
    url = f'{safe.url}/steady/x.zip'
    process = subprocess.Popen([sys.executable, '-c', KILLED, url], stderr=subprocess.PIPE)
    def parts(): return [path for path in cache_dir('downloads').rglob('*') if path.is_file() and path.stat().st_size]
    until = time.monotonic() + 60
    while not parts() and time.monotonic() < until: time.sleep(.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert parts(), 'nothing was left behind'
    fetch(f'{safe.url}/whole/other.zip')
    assert [path.name for path in parts()] == ['other.zip']

def test_download_that_anybody_can_change(plain, safe, archive):
    not_downloaded(f'{plain.url}/whole/x.zip', 'http:// is not safe')
    not_downloaded(f'HTTP://127.0.0.1:{plain.server_port}/whole/x.zip', 'http:// is not safe')
    safe.elsewhere = f'{plain.url}/whole/x.zip'
    not_downloaded(f'{safe.url}/away/x.zip', 'http:// is not safe')
    assert plain.asked in ([], ['/whole/x.zip']) # a redirect is followed, but what comes is not taken
    right, wrong = sha256(archive).hexdigest(), '0'*64
    not_downloaded(f'{plain.url}/whole/x.zip#sha256={wrong}', f'sha256 is {right}, not {wrong}')
    assert fetch(f'{plain.url}/whole/x.zip#sha256={right}').read_bytes() == archive

ADDRESSES = ['/whole/x.zip#part', '/whole/download', '/whole/', '/whole/x.zip?download=1', '/whole/file.ZIP',
             '/whole/a%20b.zip', '/whole/x.zip#sha256={sha256}', '/whole/download#sha256={sha256}']

@pytest.mark.parametrize('address', ADDRESSES)
def test_download_of_an_address(safe, archive, address):
    url = safe.url.replace('https', 'HTTPS') + address.format(sha256=sha256(archive).hexdigest().upper())
    assert len(read_images(url)) == 12

def test_checksum_of_a_file_is_held(tmp_path, archive):
    (tmp_path/'x.zip').write_bytes(archive)
    right = sha256(archive).hexdigest()
    assert len(read_images(f'{tmp_path}/x.zip#sha256={right}')) == 12
    with pytest.raises(ValueError, match='sha256 is'): read_images(f'{tmp_path}/x.zip#sha256={"0"*64}')
    with pytest.raises(ValueError, match='64 hexadecimal'): read_images(f'{tmp_path}/x.zip#sha256={right[:-1]}')

# terminals and spreadsheets

def printed(capfd, *words):
    "What a command prints: no character moves a cursor, no name begins a line of its own."
    try: main([*map(str, words)])
    except SystemExit as e: assert e.code == 1
    done = capfd.readouterr()
    text = done.out + done.err
    assert all(c.isprintable() or c in '\n\t' for c in text), repr(text)
    assert not any(line.startswith('bonefrac: all is well') for line in text.splitlines())
    return done

@pytest.fixture
def odd_names(tmp_path, phantoms):
    "An archive of names that would take over a terminal; two of its films are damaged."
    films = sorted(phantoms.rglob('*.jpg'))
    members = [(f'{"ab"[i % 2]}{ESCAPES}/{i}{FORGED}.jpg', film.read_bytes()) for i, film in enumerate(films)]
    members += [(f'a{ESCAPES}/{FORGED}{i}.jpg', b'no film') for i in range(2)]
    return zipped(tmp_path/f'odd{ESCAPES}{FORGED}.zip', members)

def test_terminal_is_shown_names(odd_names, capfd):
    done = printed(capfd, 'data', odd_names)
    assert done.err.count('set aside: ') == 2 and r'\x1b[2J' in done.err and 'next: bonefrac run' in done.out
    found = json.loads(printed(capfd, 'data', odd_names, '--json').out)
    assert ESCAPES in found['problems'][0][0]
    assert printed(capfd, 'data', f'{ESCAPES}{FORGED}').err.count('\n') == 1
    assert printed(capfd, 'predict', f'{ESCAPES}{FORGED}', 'x').err.count('\n') == 1

def test_terminal_is_shown_names_by_a_process(call, odd_names, tmp_path):
    done = call('bonefrac', 'data', odd_names, cwd=tmp_path)
    assert done.returncode == 0 and '\x1b' not in done.stdout + done.stderr and '\r' not in done.stdout

def test_terminal_is_shown_answers(model, film, tmp_path, capfd):
    file = tmp_path/f'{ESCAPES}{FORGED}.jpg'
    shutil.copy(film, file)
    assert r'\x1b[2J' in printed(capfd, 'predict', file, model(says=f'Which?{ESCAPES}')).out

def test_spreadsheet_runs_no_cell(model, film, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('=1+1.jpg', '+2.jpg', '@x.jpg'): shutil.copy(film, name)
    folder = model(classes=["=cmd|' /C calc'!A0", '@SUM(1+1)'])
    main(['predict', '=1+1.jpg', '+2.jpg', '@x.jpg', str(folder), '--out', 'answers.csv'])
    table = pd.read_csv('answers.csv')
    cells = [*table.columns, *chain(*table.select_dtypes(object).to_numpy())]
    assert len(table) == 3 and not any(str(cell).startswith(('=', '@', '+', '-')) for cell in cells), cells
    assert table.probability.dtype == float and table.path[0] == "'=1+1.jpg"

def test_spreadsheet_of_images_is_read_again(phantoms, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, film in enumerate(sorted(phantoms.rglob('*.jpg'))):
        folder = Path('=set')/('=a', '-b')[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(film, folder/f'+{i}.jpg')
    main(['data', '=set', '--out', 'list.csv'])
    text = Path('list.csv').read_text()
    assert not re.search(r'(^|,)"?[=+@-][^\d]', text, re.M), text
    assert data_hash(read_images('list.csv')) == data_hash(read_images('=set'))

# pipes

@pytest.mark.parametrize('name', ['f.zip', 'f.csv', 'f', 'f.jpg'])
def test_pipe_is_no_source(tmp_path, name):
    os.mkfifo(tmp_path/name)
    with pytest.raises(ValueError, match=f'{name}: neither a file nor a folder'): read_images(tmp_path/name)
    with pytest.raises(ValueError, match='neither a file nor a folder'): read_images((tmp_path/name).as_uri())

def test_pipe_in_another_form(tmp_path, phantoms, model):
    box = socket.socket(socket.AF_UNIX)
    box.bind(str(tmp_path/'s.zip'))
    (tmp_path/'z.zip').symlink_to('/dev/zero')
    for source in (tmp_path/'s.zip', tmp_path/'z.zip', '/dev/zero', '/dev/stdin'):
        with pytest.raises(ValueError, match='neither a file nor a folder|no such file'): read_images(source)
    box.close()
    os.mkfifo(tmp_path/'f.jpg')
    with pytest.raises(ValueError, match='neither a file nor a folder'): predict(tmp_path/'f.jpg', model())

@pytest.mark.parametrize('name', ['data.yaml', 'f.jpg', 'groups.csv', 'train/images/f.jpg', 'train/labels/f.txt'])
def test_pipe_in_a_folder(tmp_path, phantoms, name):
    program = 'import sys; from bonefrac.data.sources import read_images; print(len(read_images(sys.argv[1])))'
    shutil.copytree(phantoms, tmp_path/'set')
    file = tmp_path/'set'/name
    if file.exists(): file.unlink()
    file.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(file)
    done = subprocess.run([sys.executable, '-c', program, tmp_path/'set'], capture_output=True, text=True, timeout=30)
    assert done.stdout == '12\n' or name in done.stderr, done.stderr

# pages

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')

@pytest.fixture(scope='module')
def browser():
    "A real Chromium."
    if not CHROMIUM:
        if os.environ.get('BONEFRAC_BROWSER') == 'required':
            pytest.fail('no Chromium, which BONEFRAC_BROWSER=required asks for')
        pytest.skip('no Chromium on the path: no page was opened in a browser')
    from playwright.sync_api import sync_playwright
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox', '--disable-gpu'])
        yield chromium
        chromium.close()

HANDLERS = '''() => [...document.querySelectorAll('*')].filter(part => [...part.attributes].some(a =>
  a.name.startsWith('on') || /^\\s*(javascript|data:text)/i.test(a.value))).map(part => part.outerHTML.slice(0, 200))'''

def seen(browser, page):
    "Dialogs that a page opens, elements with handlers, hosts that it asks, and its text."
    view, dialogs, asked = browser.new_page(), [], []
    view.on('dialog', lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    view.on('request', lambda request: asked.append(request.url))
    view.goto(page.as_uri())
    view.wait_for_timeout(300)
    found = dialogs, view.evaluate(HANDLERS), [url for url in asked if url.startswith('http')], view.inner_text('body')
    view.close()
    return found

HOSTILE = [SCRIPT, f'`{SCRIPT}`', f'``` {SCRIPT}', '</code><script>alert(2)</script>', '[x](javascript:alert(3))',
           '![x](http://example.invalid/x.png)', '<svg/onload=alert(4)>', '&lt;img src=x onerror=alert(5)&gt;',
           '$\\href{javascript:alert(6)}{x}$', '<!--', '**x**', '# x', '<a href="javascript:alert(7)">x</a>', '|a|b|',
           '<javascript:alert(8)>', 'http://example.invalid/', f'\n\n{SCRIPT}\n\n', '{{ 7*7 }}']

@pytest.fixture(scope='module')
def hostile_page(tmp_path_factory):
    "A page as reports are made, of values that are HTML or Markdown."
    from IPython.display import Markdown
    new, folder = nbformat.v4, tmp_path_factory.mktemp('page')
    def shown(kind, text): return new.new_output('display_data', {kind: text})
    says = [shown('text/markdown', Markdown(f'Source {in_markdown(text)}, **{in_markdown(text)}**').data)
            for text in HOSTILE]
    table = pd.DataFrame(dict(file=HOSTILE), index=HOSTILE)
    code = new.new_code_cell('data = ' + repr(HOSTILE), outputs=[*says, shown('text/html', table.to_html())])
    nb = new.new_notebook(cells=[new.new_markdown_cell('# A page'), code])
    nbformat.write(nb, folder/'page.ipynb')
    links = '\n'.join(f'- [{in_markdown(text)}](./x.html)' for text in HOSTILE)
    write_page(folder/'page.ipynb', folder/'page.html', links)
    return folder/'page.html'

def test_page_of_hostile_values(browser, hostile_page):
    dialogs, handlers, asked, text = seen(browser, hostile_page)
    assert dialogs == [] and handlers == [] and asked == []
    for value in HOSTILE: assert text.count(' '.join(value.split())) >= 3 or '\n' in value, value

def test_page_loads_no_script(hostile_page):
    text = hostile_page.read_text(encoding='utf8')
    assert not re.search(r'<script[^>]+src=|<link[^>]+href="http|require\.js|unpkg|mermaid', text)

def test_page_names_itself_safely(browser, tmp_path, hostile_page):
    out = tmp_path/'<img src=x onerror=alert(1)>.html'.replace('/', '')
    write_page(hostile_page.with_name('page.ipynb'), out)
    assert seen(browser, out)[:3] == ([], [], [])

@pytest.mark.parametrize('name', ['03_run', '04_report'])
def test_page_cells_escape_what_they_show(name):
    notebook = Path(__file__).parent.parent/'nbs'/'study'/f'{name}.ipynb'
    code = '\n'.join(cell.source for cell in nbformat.read(notebook, 4).cells)
    values = re.findall(r'\{([^{}]*)\}', '\n'.join(re.findall(r"Markdown\(f'.*", code)))
    risky = [value for value in values if re.search(r'\b(data|title|name|path|file)\b', value)]
    assert risky and all(value.startswith('in_markdown(') for value in risky), risky
