"""Make what the record holds again, beyond `bonefrac audit` and `bonefrac study`.

    python results/remake.py manifests    folds over studies, and the shipped split with its crossing images
    python results/remake.py removals     predictions of the study-grouped runs after shortcuts were taken away
    python results/remake.py transfer     36 runs at 96 pixels: phantoms, real images, and real images after phantoms; each on the other's images
    python results/remake.py realism      histograms, spectra and responses to filters of real images and phantoms

Needs the archive (BONEFRAC_DATA) and, for removals, the folder runs/ after `bonefrac study results/grids/splits.yml`. Finished runs are not made again.
"""
import sys
from pathlib import Path

import pandas as pd

from bonefrac.audit.manifests import audited
from bonefrac.data.table import data_hash
from bonefrac.audit.findings import write_findings
from bonefrac.report.removals import predictions_on, without_shortcuts
from bonefrac.audit.realism import compare_sets
from bonefrac.data.groups import distinct
from bonefrac.training.tasks import ask
from bonefrac.training.splits import folds_table, make_split
from bonefrac.data.sources import load_images
from bonefrac.experiment.config import run_config
from bonefrac.experiment.run import read_run, run
from bonefrac.experiment.record import collect, finished

RESULTS = Path(__file__).resolve().parent

def manifests():
    images = load_images()
    data, images = data_hash(images), audited(images)
    folds_table(images).to_csv(RESULTS/'manifests'/f'study_grouped-{data}.csv', index=False)
    shipped, apart = make_split(images, 'shipped'), set(make_split(images, 'shipped_apart').name)
    shipped[['name', 'region', 'source', 'study', 'split']].assign(kept_apart=shipped.name.isin(apart).astype(int)).to_csv(RESULTS/'manifests'/f'shipped-{data}.csv', index=False)

def removals():
    images, tables = audited(load_images()), []
    for folder in finished('runs'):
        config = read_run(folder)['config']
        if (config['split'], config['fold'], config['size']) != ('study_grouped', 0, 96) or config['filter'] != 'none' or config['arch'] not in ('efficientnet_lite0', 'custom_cnn'): continue
        tables += [table.assign(run=folder.name, removal=removal) for removal, table in without_shortcuts(folder, images).items()]
    pd.concat(tables).to_parquet(RESULTS/'audit'/'removals.parquet', index=False)

TRANSFER = [('resnet18', 'scratch'), ('efficientnet_lite0', 'imagenet'), ('custom_cnn', 'scratch'), ('efficientnet_lite0', 'scratch')]
PHANTOMS, TRANSFER_RUNS = 'phantom:2000', 'runs/transfer'

def _other_side(runs, real, phantoms):
    "Predictions of runs on phantoms for all real sources, and of runs on real images for the phantoms of the test part."
    held_out = phantoms[phantoms.split == 'test']
    for folder in runs:
        config = read_run(folder)['config']
        if config['data'] == PHANTOMS: yield predictions_on(folder, real).assign(run=folder.name, on='real')
        elif config['weights'] in ('scratch', 'imagenet'): yield predictions_on(folder, held_out).assign(run=folder.name, on='phantom')

def transfer():
    made, same = [], dict(size=96, precision='bfloat16')
    for seed in range(3):
        for arch, weights in TRANSFER:
            first = run(run_config(arch=arch, weights=weights, data=PHANTOMS, seed=seed, epochs=10, **same), TRANSFER_RUNS)
            made += [first, run(run_config(arch=arch, weights=weights, seed=seed, epochs=12, **same), TRANSFER_RUNS),
                     run(run_config(arch=arch, weights=str(first/'model.safetensors'), seed=seed, epochs=12, **same), TRANSFER_RUNS)]
            print(*(folder.name for folder in made[-3:]), sep='\n', flush=True)
        collect(TRANSFER_RUNS, RESULTS/'phantoms')
        real, phantoms = distinct(ask("region", audited(load_images()))), make_split(load_images(PHANTOMS))
        pd.concat(_other_side(made, real, phantoms)).to_parquet(RESULTS/'phantoms'/'transfer.parquet', index=False)

def realism():
    write_findings(compare_sets(distinct(ask("region", audited(load_images()))), load_images(PHANTOMS)), RESULTS/'phantoms')

if __name__ == '__main__':
    jobs = dict(manifests=manifests, removals=removals, transfer=transfer, realism=realism)
    if len(sys.argv) != 2 or sys.argv[1] not in jobs: sys.exit(__doc__)
    jobs[sys.argv[1]]()
