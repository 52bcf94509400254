"""How fast phantoms are made, and how much memory that takes.

    python benchmarks/phantom.py [--n 600] [--size 512]
    python benchmarks/phantom.py --regions [--n 240]

Each line is a process of its own that writes an archive: images per second of wall time, CPU milliseconds per image
(all processes), and the largest resident memory of any of its processes. The last lines give ratios within this run:
a pool against one process, 4 n against n images, half the size against the size. A quick try: `--n 24 --size 128`.
`--regions` compares the regions of the study with the further ones instead, in turns, in one process each.
"""
import argparse
import json
import os
import subprocess
import sys
from tempfile import TemporaryDirectory

ONE = '''
import json, os, resource, sys, time
import bonefrac.phantom.archive as phantom
folder, n, size, jobs = sys.argv[1], *map(int, sys.argv[2:5])
more = dict(regions=sys.argv[5].split(',')) if sys.argv[5] else {}
phantom._parallel = lambda n: phantom.joblib.Parallel(n_jobs=jobs, return_as='generator')
start, before = time.time(), sum(os.times()[:4])
phantom.make_phantoms(folder, n=n, size=size, **more)
wall = time.time() - start
phantom.joblib.externals.loky.get_reusable_executor().shutdown(wait=True) # so that its processes count
cpu = sum(os.times()[:4]) - before
peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(json.dumps(dict(n=n, size=size, processes=jobs, per_second=n/wall, cpu_ms=1000*cpu/n, megabytes=peak/1024)))
'''

ROW = '{n:6} {size:5} {processes:9} {per_second:9.1f} {cpu_ms:13.1f} {megabytes:9.0f}'

def measure(n, size, jobs, regions=''):
    "One archive in a process of its own."
    with TemporaryDirectory() as folder:
        command = [sys.executable, '-c', ONE, f'{folder}/phantoms', str(n), str(size), str(jobs), regions]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    row = json.loads(done.stdout.splitlines()[-1])
    print(ROW.format(**row), flush=True)
    return row

def summed(rows, name): return sum(row[name] for row in rows)

def compare_regions(n, size, turns=3):
    "Old and new regions in turns."
    from bonefrac.phantom.anatomy import VIEWS
    from bonefrac.vocabulary import REGIONS
    further = ','.join(region for region in VIEWS if region not in REGIONS)
    old, new = zip(*[(measure(n, size, 1), measure(n, size, 1, further)) for _ in range(turns)])
    cpu, wall = (summed(new, name)/summed(old, name) for name in ('cpu_ms', 'per_second'))
    print(f'odd lines: {len(REGIONS)} regions of the study; even lines: {further}')
    print(f'further regions against those of the study: {cpu:.2f}× CPU per image, {wall:.2f}× images per second')
    print(f'load at the end: {os.getloadavg()[0]:.1f} processes on {os.cpu_count()} cores; with more, CPU time counts')

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--n', type=int, default=600)
    parser.add_argument('--size', type=int, default=512)
    parser.add_argument('--jobs', type=int, default=2, help='processes of the pool')
    parser.add_argument('--regions', action='store_true', help='compare old and new regions only')
    args = parser.parse_args()
    print('     n  size processes  images/s  CPU ms/image  peak MB')
    if args.regions: return compare_regions(args.n, args.size)
    alone, pool = measure(args.n, args.size, 1), measure(args.n, args.size, args.jobs)
    more, small = measure(4*args.n, args.size, args.jobs), measure(args.n, args.size//2, args.jobs)
    def ratio(a, b, of='per_second'): return f'{a[of]/b[of]:.2f}×'
    cpu, memory = ratio(pool, alone, 'cpu_ms'), ratio(more, pool, 'megabytes')
    print(f'pool of {args.jobs} against one process: {ratio(pool, alone)} images per second, {cpu} CPU')
    print(f'{4*args.n} against {args.n} images: {memory} peak memory, {ratio(more, pool)} images per second')
    print(f'{args.size//2} against {args.size} px: {ratio(small, pool)} images per second')

if __name__ == '__main__': main()
