"""How the cost of an audit grows with the number of images.

    python benchmarks/audit.py [--data ARCHIVE] [--base N] [--times 1,2,4,8]

Variants of N images (turned, re-exposed, compressed, as an export makes them) fill up each size. Every size runs in
a process of its own; wall and CPU seconds are those of reading, finding copies and linking studies, without making the
variants. The last column is the exponent of growth against the size before: 1 is linear, 2 the square. Above
`bonefrac.audit.copies.EXACT` images neighbours are found by an approximate index; the last lines compare both searches
on random descriptions. A quick try: `--data phantom:72 --base 48 --times 1,2 --search 4000`.
"""
import argparse
import json
import os
import subprocess
import sys
import time
from math import log
from pathlib import Path
from tempfile import TemporaryDirectory

ONE = '''
import json, resource, sys, time
import pandas as pd
from bonefrac.audit.examinations import audit
images = pd.read_pickle(sys.argv[1])
start, cpu = time.time(), time.process_time()
found = audit(images)
spent = dict(wall=time.time() - start, cpu=time.process_time() - cpu)
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**20
counts = dict(images=len(images), sources=found.groups.source.nunique(), pairs=len(found.copies))
print(json.dumps(dict(**counts, **spent, gigabytes=memory)))
'''

def variants(images, times, folder):
    "The images and `times` - 1 exported copies of each."
    import cv2
    import numpy as np
    import pandas as pd

    from bonefrac.phantom.augment import exported_copy
    from bonefrac.data.pixels import load_grey
    rng, rows = np.random.default_rng(times), images.to_dict('records')
    for row in images.to_dict('records'):
        for k in range(1, times):
            path = folder/f'{len(rows)}.jpg'
            cv2.imwrite(str(path), exported_copy(load_grey(row['path']), rng)[0], [cv2.IMWRITE_JPEG_QUALITY, 85])
            own = f'variant{len(rows)}'
            named = dict(name=f'{row["name"]}.{times}.{k}', path=str(path), sha256=path.name)
            rows.append({**row, **named, 'source': own, 'study': own})
    return pd.DataFrame(rows)

def audit_seconds(images, times):
    "What one audit took, in a process of its own."
    with TemporaryDirectory() as folder:
        table = Path(folder)/'images.pkl'
        variants(images, times, Path(folder)).to_pickle(table)
        command = [sys.executable, '-c', ONE, str(table)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])

def search_seconds(n):
    "CPU seconds of an exact and an approximate search of `n` random descriptions, and the share that both find."
    import numpy as np

    from bonefrac.audit.copies import neighbours
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(n//4, 288)).astype(np.float32).repeat(4, 0)
    points = 2*centres + rng.normal(size=centres.shape).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    seconds, found = [], []
    for exact in (n, 0):
        start = time.process_time()
        found.append(neighbours(points, 3, exact=exact)[0])
        seconds.append(time.process_time() - start)
    recall = np.mean([len(set(a) & set(b))/3 for a, b in zip(*found)])
    return dict(n=n, exact=seconds[0], approximate=seconds[1], recall=recall)

HEADER = f'{"times":>5} {"images":>7} {"wall s":>7} {"CPU s":>7} {"sources":>8} {"pairs":>7} {"GB":>5} {"exponent":>8}'
ROW = '{times:5} {images:7} {wall:7.0f} {cpu:7.0f} {sources:8} {pairs:7} {gigabytes:5.1f}'
SEARCH = ('neighbours of {n}: exact {exact:.1f} CPU s, approximate {approximate:.1f} CPU s ({ratio:.2f}×), '
          'recall {recall:.3f}')

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get('BONEFRAC_DATA')
    parser.add_argument('--data', default=data, help='archive, folder or phantom:N; default: BONEFRAC_DATA')
    parser.add_argument('--base', type=int, default=0, help='images to start from; default: all')
    parser.add_argument('--times', default='1,2,4,8')
    sizes = '10000,20000,40000'
    parser.add_argument('--search', default=sizes, help='sizes of the search for neighbours; empty: none')
    args = parser.parse_args()
    if not args.data: parser.error('name an archive: --data or BONEFRAC_DATA')
    from bonefrac.data.sources import load_images
    images = load_images(args.data)
    if args.base: images = images.sample(args.base, random_state=0).sort_index()
    print(HEADER)
    before = None
    for times in map(int, args.times.split(',')):
        row = audit_seconds(images, times)
        exponent = f'{log(row["cpu"]/before["cpu"])/log(row["images"]/before["images"]):8.2f}' if before else ''
        print(ROW.format(times=times, **row), exponent, flush=True)
        before = row
    for n in filter(None, args.search.split(',')):
        row = search_seconds(int(n))
        print(SEARCH.format(ratio=row['exact']/row['approximate'], **row), flush=True)

if __name__ == '__main__': main()
