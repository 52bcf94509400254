"""How long one image takes on one core: torch float32 beside exports in float32 and with eight bits.

    python benchmarks/inference.py [--arch efficientnet_lite0,mobilenet_v2] [--size 224] [--turns 40]

The networks have ImageNet weights and an untrained last layer, which takes as long as a trained one. Eight bits are
calibrated on phantoms. In each turn each side answers for one prepared image; all sides run in one process with one
thread. Prints the size, wall and CPU milliseconds (median, and the middle half of the turns), and the ratio of CPU
time to torch's within the turns. Ratios hold where other programs run; milliseconds do not. A quick try:
`--arch squeezenet1_1 --size 64 --turns 5`.
"""
import argparse
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch

from bonefrac.data.filters import prepared
from bonefrac.data.sources import load_images
from bonefrac.deploy.export import quantise, write_onnx
from bonefrac.deploy.predict import onnx_network, torch_network
from bonefrac.training.architectures import get_arch
from bonefrac.training.models import create_model

CLASSES, WARM_UP = 6, 3
BARS = { # the most that an export with eight bits may take: megabytes, and share of the CPU time of torch float32
    'efficientnet_lite0': dict(MB=5, CPU=.25),
    'mobilenet_v2': dict(MB=3),
}

def sides_of(arch, size, squares, folder):
    "Functions that answer for one image, and the size of each in bytes."
    row = get_arch(arch)
    card = dict(mean=row.mean, std=row.std, size=size, classes=list(map(str, range(CLASSES))))
    model = create_model(arch, 'imagenet', CLASSES, size).eval()
    whole, small = Path(folder)/'float32.onnx', Path(folder)/'int8.onnx'
    write_onnx(model, card, whole)
    small.write_bytes(whole.read_bytes())
    quantise(small, squares)
    sides = {'torch float32': torch_network(model, card), 'ONNX float32': onnx_network(whole, card, threads=1),
             'ONNX INT8': onnx_network(small, card, threads=1)}
    weights = sum(value.nbytes for value in model.state_dict().values())
    return sides, dict(zip(sides, (weights, whole.stat().st_size, small.stat().st_size)))

def timed(network, square):
    "Wall and CPU milliseconds of one answer."
    wall, cpu = time.perf_counter(), time.process_time()
    network(square[None])
    return 1000*(time.perf_counter() - wall), 1000*(time.process_time() - cpu)

def turns_of(sides, squares, turns):
    "One row per turn and side; the first turns warm up and are left out."
    rows = [dict(turn=turn, side=side, **dict(zip(('wall', 'CPU'), timed(network, squares[turn % len(squares)]))))
            for turn in range(turns + WARM_UP) for side, network in sides.items()]
    return pd.DataFrame(rows).query(f'turn >= {WARM_UP}')

def spread(values):
    low, high = np.percentile(values, (25, 75))
    return f'{np.median(values):6.1f} ({low:.1f} to {high:.1f})'

def report(arch, table, sizes):
    "Print a line per side, and the bars."
    cpu = table.pivot(index='turn', columns='side', values='CPU')
    for side, size in sizes.items():
        own, ratio = table[table.side == side], cpu[side]/cpu['torch float32']
        print(f'{arch:20}{side:15}{size/1e6:6.2f}{spread(own.wall):>24}{spread(own.CPU):>24}{ratio.median():9.3f}',
              flush=True)
    found = dict(MB=sizes['ONNX INT8']/1e6, CPU=ratio.median())
    return [f'{arch}: {name} {found[name]:.2f}, at most {most}: {"met" if found[name] <= most else "MISSED"}'
            for name, most in BARS.get(arch, {}).items()]

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--arch', default=','.join(BARS))
    parser.add_argument('--size', type=int, default=224)
    parser.add_argument('--turns', type=int, default=40)
    parser.add_argument('--images', type=int, default=48, help='phantoms to calibrate with and to ask about')
    args = parser.parse_args()
    torch.set_num_threads(1)
    paths = load_images('phantom:72').path[:args.images]
    squares = np.stack([prepared(path, size=args.size) for path in paths])
    print(f'{args.size} px, one thread, {args.turns} turns; {os.cpu_count()} cores, load before the start '
          f'{os.getloadavg()[0]:.1f} (above 0.5: other programs ran)')
    print(f'{"network":20}{"side":15}{"MB":>6}{"wall ms":>24}{"CPU ms":>24}{"CPU ratio":>10}')
    bars = []
    for arch in args.arch.split(','):
        with TemporaryDirectory() as folder:
            sides, sizes = sides_of(arch, args.size, squares, folder)
            bars += report(arch, turns_of(sides, squares, args.turns), sizes)
    print('\n'.join(bars))

if __name__ == '__main__': main()
