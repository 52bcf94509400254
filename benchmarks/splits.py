"""How long a split takes, with groups dealt by bonefrac and by scikit-learn's `StratifiedGroupKFold`.

    python benchmarks/splits.py [--sizes 2000,10000,100000] [--old_up_to 10000]

Each size is a made-up table of images of six classes, three per study. Both ways run in one process, on the same
table, and must give the same folds. Prints wall and CPU seconds of both, and their ratio. The old way takes minutes
above ten thousand rows, so it is left out there unless `--old_up_to` says otherwise.
"""
import argparse
import time
import warnings
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from bonefrac.data.groups import group_folds, group_numbers
from bonefrac.training import splits

NAMES = ('study_grouped', 'source_grouped', 'random')

def old_folds(labels, groups, folds, seed=0):
    "Folds as scikit-learn deals them."
    numbers = group_numbers(groups, seed)
    return list(StratifiedGroupKFold(folds).split(numbers, labels, numbers))

def made_up(n):
    "An audited image table of `n` rows without images."
    rows, rng = np.arange(n), np.random.default_rng(0)
    source, study = (np.char.add(kind, number.astype(str)) for kind, number in (('image', rows), ('study', rows//3)))
    table = pd.DataFrame(dict(name=source, source=source, study=study, study_strict=study, original=True))
    label = np.array(list('abcdef'))[rows//3 % 6]
    return table.assign(split='', sharpness=rng.random(n), label=label, annotated=True)

def timed(images, split, deal):
    "Wall and CPU seconds of a split, and its parts."
    splits.group_folds = deal
    wall, cpu = time.perf_counter(), time.process_time()
    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter('ignore')
        parts = splits.make_split(images, split, task='label').split
    return time.perf_counter() - wall, time.process_time() - cpu, parts

COLUMNS = 'new wall s', 'new CPU s', 'old wall s', 'old CPU s', 'ratio'
HEADER = f'{"split":15} {"rows":>7} {COLUMNS[0]:>11} {COLUMNS[1]:>10} {COLUMNS[2]:>11} {COLUMNS[3]:>10} {COLUMNS[4]:>6}'

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--sizes', default='2000,10000,100000')
    parser.add_argument('--old_up_to', type=int, default=10_000)
    args = parser.parse_args()
    print(HEADER)
    for n in map(int, args.sizes.split(',')):
        images = made_up(n)
        for name in NAMES:
            wall, cpu, parts = timed(images, name, group_folds)
            line = f'{name:15} {n:7} {wall:11.2f} {cpu:10.2f}'
            if n <= args.old_up_to:
                old_wall, old_cpu, old_parts = timed(images, name, old_folds)
                if not parts.equals(old_parts): raise SystemExit(f'{name}, {n} rows: the folds differ')
                line += f' {old_wall:11.2f} {old_cpu:10.2f} {old_cpu/cpu:6.1f}'
            print(line, flush=True)

if __name__ == '__main__': main()
