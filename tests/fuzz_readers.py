"""Damage data sets at random and read them: `python tests/fuzz_readers.py SECONDS [SEED] [FOLDER]`.

The data sets are those of `test_layouts.py` and the folders in FOLDER. A copy is changed one to four times: bytes,
names, cut files, nested folders. Then it must be read, with counts that add up, or be refused by a `ValueError` that
names its path. A kind of fault is printed once, with its seed.
"""
import os
import random
import shutil
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from test_layouts import NAMED, READ, write

from bonefrac.data.sources import read_images

NAMES = ['é.png', 'a b', 'train', 'labels', 'images', '.hidden', 'data.yaml', 'dataset.csv', 'x.json', 'x.xml', 'x.dcm',
         '_annotations.csv', '_classes.csv', 'wrist', 'XR_HAND', '0.txt', "it's", 'n\nl', '=1+1', 'C:\\x.png']
TEXTS = [b'nan', b'-1', b'1e999', b'\0', b'\xff\xfe', b'"', b'[]', b'{}', b'null', b',,,', b'\r', b'\n\n', b'<',
         b'9'*5000]

def files_of(root):
    "Files below a folder."
    return sorted(path for path in root.rglob('*') if path.is_file() and not path.is_symlink())

def of_text(rng, paths):
    "A file, rather one of text: there are fewer of them and more to damage in them."
    texts = [path for path in paths if path.suffix in ('.txt', '.yaml', '.json', '.xml', '.csv', '.names')]
    return rng.choice(texts if texts and rng.random() < .7 else paths)

def cut(rng, root, path):
    "Keep the first bytes."
    raw = path.read_bytes()
    path.write_bytes(raw[:rng.randrange(len(raw) + 1)])

def spoil(rng, root, path):
    "Change some bytes."
    raw = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 8)):
        if raw: raw[rng.randrange(len(raw))] = rng.randrange(256)
    path.write_bytes(raw)

def insert(rng, root, path):
    "Put a text in the place of some bytes."
    raw = path.read_bytes()
    at = rng.randrange(len(raw) + 1)
    path.write_bytes(raw[:at] + rng.choice(TEXTS) + raw[at + rng.randint(0, 5):])

def swap(rng, root, path):
    "Put a value in the place of another word of a text."
    words = path.read_bytes().split(b' ')
    words[rng.randrange(len(words))] = rng.choice(TEXTS)
    path.write_bytes(b' '.join(words))

def rename(rng, root, path):
    "Another name, or that of another file."
    new = path.with_name(rng.choice(NAMES + [other.name for other in files_of(root)[:50]]))
    if not new.exists(): path.rename(new)

def rename_folder(rng, root, path):
    "Another name for a folder."
    folder = path.parent
    if folder != root and not (new := folder.with_name(rng.choice(NAMES))).exists(): folder.rename(new)

def nest(rng, root, path):
    "A file one folder deeper."
    folder = path.parent/rng.choice(NAMES)
    if folder.is_file(): return
    folder.mkdir(exist_ok=True)
    if not (folder/path.name).exists(): path.rename(folder/path.name)

def copy(rng, root, path):
    "A file as another one."
    other = rng.choice(files_of(root))
    if other != path: shutil.copy(other, path)

def remove(rng, root, path): path.unlink()

def make_folder(rng, root, path):
    "A folder in the place of a file."
    path.unlink()
    path.mkdir()

def link(rng, root, path):
    "A link to nowhere, to the folder above, or to another file, in the place of a file."
    path.unlink()
    path.symlink_to(rng.choice(['nowhere', '..', os.path.relpath(rng.choice([*files_of(root), root]), path.parent)]))

CHANGES = [cut, spoil, insert, insert, swap, swap, rename, rename_folder, nest, copy, remove, make_folder, link]

def damaged(rng, root):
    "Change a folder; the names of what was done."
    done = []
    for change in rng.choices(CHANGES, k=rng.randint(1, 4)):
        paths = files_of(root)
        if not paths: break
        path = of_text(rng, paths)
        done.append(f'{change.__name__} {path.relative_to(root)}')
        change(rng, root, path)
    return done

def outcome(root):
    "`read` or `refused`; an `AssertionError` or another error is a fault."
    tables = [path for path in files_of(root) if path.suffix == '.csv' and path.parent == root]
    try: images = read_images(tables[0] if tables and len(list(root.iterdir())) < 9 else root, cache=False)
    except ValueError as e:
        assert type(e) is ValueError, type(e).__name__
        assert str(root) in str(e), f'names no path: {e}'
        return 'refused'
    counts = images.attrs['counts']
    assert not counts or counts['read'] + counts['aside'] + counts['other'] == counts['files'], counts
    assert not counts or min(counts.values()) >= 0, counts
    assert len(images) and all(0 <= x <= 1 for polygons in images.polygons for _, *xy in polygons for x in xy)
    assert not images.name.duplicated().any(), 'a name twice'
    return 'read'

def cases_in(made, folder):
    "Small data sets: those of the tests, written to the folder `made`, and those in another folder."
    forms = {name: files for name, (files, *_) in READ.items()}
    forms |= {name: {'images/0.png': None, file: text} for name, (file, text) in NAMED.items()}
    own = [write(made/name, files) for name, files in forms.items()]
    others = Path(folder).iterdir() if folder else ()
    return own + sorted(path for path in others if path.is_dir() and len(files_of(path)) < 120)

def fuzz(cases, seconds, seed):
    "Damage and read for some seconds."
    seen, faults, end, i = Counter(), {}, time.monotonic() + float(seconds), int(seed)
    while time.monotonic() < end:
        rng, i = random.Random(i), i + 1
        case = rng.choice(cases)
        with TemporaryDirectory() as d:
            root = Path(d).resolve()/case.name
            shutil.copytree(case, root)
            done = damaged(rng, root)
            try: seen[outcome(root)] += 1
            except Exception as e:
                seen['fault'] += 1
                at = traceback.extract_tb(e.__traceback__)
                own = next((step for step in reversed(at) if 'bonefrac' in step.filename), at[-1])
                said = str(e)[:90] if own.filename == __file__ else ''
                key = type(e).__name__, Path(own.filename).name, own.name, said
                if key not in faults: print(f'seed {i - 1} {case.name}: {done}: {key}: {str(e)[:300]}', flush=True)
                faults.setdefault(key, i - 1)
    print(f'{sum(seen.values())} damaged data sets of {len(cases)} kinds, seeds {seed} to {i - 1}: '
          f'{seen["read"]} read, {seen["refused"]} refused, {seen["fault"]} faults of {len(faults)} kinds')
    return bool(faults)

def main(seconds=300, seed=0, folder=''):
    "Fuzz, and forget the data sets."
    with TemporaryDirectory() as made: return fuzz(cases_in(Path(made), folder), seconds, seed)

if __name__ == '__main__': sys.exit(main(*sys.argv[1:]))
