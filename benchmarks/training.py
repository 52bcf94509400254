"""Training throughput: bonefrac against a plain PyTorch loop.

The plain loop is written as the reference study writes it: images resized beforehand and kept as
files in class folders, `ImageFolder` with PIL augmentation, float32, one process. All sides train
one network on the same images of one size and batch size, by turns, in one process: the plain loop
as it is, the plain loop with freed memory kept (`keep_memory`), and bonefrac, which keeps it too.
Prints images per second of wall time and of CPU time, and the ratios to the plain loop.

    python benchmarks/training.py --data path/to/archive.zip
    python benchmarks/training.py --data phantom:72 --size 64 --batch_size 8 --batches 2 --turns 2 # a quick try
"""
import argparse
import ctypes
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch
from PIL import Image
from torch import nn

from bonefrac.training.loaders import cached_pixels, image_loaders
from bonefrac.training.architectures import get_arch
from bonefrac.training.splits import make_split
from bonefrac.data.sources import load_images
from bonefrac.training.learner import make_learner
from bonefrac.training.precision import bf16_speedup, keep_memory
from fastai.callback.core import Callback, CancelValidException
from torchvision import datasets, models, transforms

def write_folders(images, folder, size):
    "Resized RGB images in class folders, as the reference study has them."
    for i, row in enumerate(images.itertuples()):
        (folder/row.region).mkdir(exist_ok=True)
        Image.open(row.path).convert('RGB').resize((size, size)).save(folder/row.region/f'{i}.jpg')

def plain_loader(folder, batch_size):
    "The loader of the reference study."
    steps = [
        transforms.RandomHorizontalFlip(),
        transforms.RandomRotation(10),
        transforms.ToTensor(),
        transforms.Normalize((.485, .456, .406), (.229, .224, .225)),
    ]
    files = datasets.ImageFolder(folder, transforms.Compose(steps))
    return torch.utils.data.DataLoader(files, batch_size=batch_size, shuffle=True, drop_last=True)

def plain_epoch(loader, model, optimiser):
    "One epoch of the plain loop."
    model.train()
    device = next(model.parameters()).device
    for x, y in loader:
        x, y = x.to(device), y.to(device)
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()

# M_MMAP_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_TOP_PAD as glibc has them, once it has seen large arrays
FOUND = {-4: 2**16, -3: 2**25, -1: 2**26, -2: 2**17}

def give_back():
    "Freed memory goes back to the kernel, as in a process that was told nothing."
    if not keep_memory(): return
    glibc = ctypes.CDLL(None)
    for what, value in FOUND.items(): glibc.mallopt(what, value)
    glibc.malloc_trim(0)

class SkipValidation(Callback):
    "Leave the validation part out of a timed epoch."
    def before_validate(self): raise CancelValidException

def bonefrac_epoch(learn):
    "One epoch through fastai's own loop, without validation."
    learn.fit(1, 1e-4, cbs=[SkipValidation()])

def timed(epoch):
    "Wall and CPU seconds of an epoch."
    wall, cpu = time.perf_counter(), time.process_time()
    epoch()
    if torch.cuda.is_available(): torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', default='', help='data source; default: BONEFRAC_DATA, else phantoms')
    parser.add_argument('--arch', default='resnet18', choices=('resnet18', 'mobilenet_v2', 'squeezenet1_1'))
    parser.add_argument('--size', type=int, default=224)
    parser.add_argument('--batch_size', type=int, default=32)
    parser.add_argument('--batches', type=int, default=6, help='batches of a turn')
    parser.add_argument('--turns', type=int, default=4)
    args = parser.parse_args()
    images = make_split(load_images(args.data))
    n, row = args.batches*args.batch_size, get_arch(args.arch)
    train = images[images.split == 'train'].sample(n, random_state=0, replace=True)
    rest = images[images.split != 'train']
    images = pd.concat([train, rest], ignore_index=True)
    pixels = cached_pixels(images, 'none', args.size)
    learn = make_learner(image_loaders(images, pixels, row.mean, row.std, args.batch_size), args.arch, 'scratch')
    model = models.get_model(args.arch, num_classes=6).to(learn.dls.device)
    optimiser = torch.optim.Adam(model.parameters(), 1e-4)
    with TemporaryDirectory() as d, learn.no_bar(), learn.no_logging():
        write_folders(train, Path(d), args.size)
        loader = plain_loader(d, args.batch_size)
        def plain(): plain_epoch(loader, model, optimiser)
        sides = {
            'plain': (give_back, plain),
            'plain, kept': (keep_memory, plain),
            'bonefrac': (keep_memory, lambda: bonefrac_epoch(learn)),
        }
        for _, epoch in sides.values(): epoch()
        rows = []
        for turn in range(1, args.turns + 1):
            for side, (memory, epoch) in sides.items():
                memory()
                wall, cpu = timed(epoch)
                rows.append(dict(turn=turn, side=side, wall=wall, cpu=cpu))
    report(pd.DataFrame(rows), n, f'{args.arch}, {learn.dls.device}, {learn.precision}')

def report(table, n, how):
    "Print throughput and ratios."
    table[['images/s wall', 'images/s CPU']] = n/table[['wall', 'cpu']].values
    print(table.round(2).to_string(index=False))
    side = table.pivot(index='turn', columns='side')
    bf16 = f'bfloat16 products are {bf16_speedup():.2f} times as fast as float32 on this CPU'
    print(f'\nagainst the plain loop on {how}, {os.cpu_count()} cores; {bf16}')
    for name in ('plain, kept', 'bonefrac'):
        for kind in ('wall', 'cpu'):
            ratio = side[kind].plain/side[kind][name]
            spread = f'median of {len(ratio)} turns; {ratio.min():.2f} to {ratio.max():.2f}'
            print(f'  {name:<11} {kind:<4} {ratio.median():.2f} times ({spread})')

if __name__ == '__main__': main()
