"""How well a gate refuses what it was not fitted on.

    python benchmarks/gate.py --data archive.zip --out results/gate.csv --arms clinic=FOLDER --others chest=FOLDER …

Fitted on the training films of the default split, on strangers and on simulated bodies. Each kind of stranger, the
photographs of each package and each group of bodies is refused by a gate that was fitted without it.
`--arms` names films of known regions from elsewhere, `--others` films of other parts of the body; neither is fitted on.
"""
import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from bonefrac.deploy.predict import image_files
from bonefrac.experiment.config import run_config
from bonefrac.experiment.run import Prepared
from bonefrac.phantom.bodies import BODIES
from bonefrac.training.gate import DRAWN, features, fit_numbers, gate_scores, processed, references, squares_of
from bonefrac.training.refusal import REASONS, gate_square
from bonefrac.training.strangers import PHOTOGRAPHS, STRANGERS, photograph, photographs

GROUPS = {'leg': ('thigh', 'knee', 'leg', 'ankle', 'foot'), 'hip': ('pelvis', 'hip'), 'trunk': ('lumbar', 'chest'),
          'head': ('skull',)}

def kinds_of(name):
    "Kind of each picture that is drawn."
    kinds, n, _ = DRAWN[name]
    return np.repeat(list(kinds), n)

def without(drawn, left_out):
    "What is drawn, without some kinds."
    return dict(drawn, **{name: drawn[name][~np.isin(kinds_of(name), left_out)] for name in ('strangers', 'bodies')})

def without_package(drawn, package):
    "What is drawn, with photographs of other packages only."
    files = [file for name in PHOTOGRAPHS if name != package for file in photographs(name)]
    crops = [gate_square(photograph(np.random.default_rng(k), files)) for k in range(DRAWN['strangers'][1])]
    rest = without(drawn, ['photograph'])
    return dict(rest, strangers=np.concatenate([rest['strangers'], features(np.stack(crops))]))

def row(question, refused, kept, keep, strange):
    "AUROC, and the share refused where 95 % of the others are kept."
    a, b = (scores[:, question] for scores in (keep, strange))
    auroc = roc_auc_score(np.repeat([0, 1], [len(a), len(b)]), [*a, *b])
    share = float((b > np.quantile(a, .95)).mean())
    return dict(question=REASONS[question], refused=refused, kept=kept, n_refused=len(b), n_kept=len(a), auroc=auroc,
                share=share)

def named(pairs): return {name: features(squares_of(image_files(Path(path)))) for name, path in pairs}

def parser():
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument('--data', default='')
    made.add_argument('--out', default='gate.csv')
    for name in ('--arms', '--others'): made.add_argument(name, nargs='*', default=[], type=lambda t: t.split('=', 1))
    return made

def main():
    args, rng, drawn = parser().parse_args(), np.random.default_rng(0), references()
    split = Prepared(run_config(data=args.data)).split
    train, valid, test = (squares_of(split.path[split.split == part]) for part in ('train', 'valid', 'test'))
    known = features(np.concatenate([train, [processed(one, rng) for one in train]]))
    held, films = features(valid), features(np.concatenate([valid, test]))
    other_look = features(np.stack([processed(one, rng) for one in np.concatenate([valid, test])]))
    def gate(*left_out): return fit_numbers(known, held, without(drawn, left_out))
    numbers, rows = gate(), []
    keep = gate_scores(films, numbers)
    for package in PHOTOGRAPHS:
        one = fit_numbers(known, held, without_package(drawn, package))
        seen = features(squares_of(photographs(package)))
        rows.append(row(0, f'photographs: {package}', 'test films', gate_scores(films, one), gate_scores(seen, one)))
    for kind in STRANGERS:
        if kind == 'photograph': continue
        one, seen = gate(kind), drawn['strangers'][kinds_of('strangers') == kind]
        rows.append(row(0, f'drawn: {kind}', 'test films', gate_scores(films, one), gate_scores(seen, one)))
    others, arms = named(args.others), named(args.arms)
    if others: others['all of these'] = np.concatenate(list(others.values()))
    for name, seen in others.items():
        rows.append(row(1, name, 'test films', keep, gate_scores(seen, numbers)))
    if others:
        strange = gate_scores(others['all of these'], numbers)
        rows.append(row(1, 'all of these', 'test films, processed', gate_scores(other_look, numbers), strange))
        for name, seen in arms.items(): rows.append(row(1, 'all of these', name, gate_scores(seen, numbers), strange))
    for group, names in GROUPS.items():
        one, seen = gate(*names), drawn['bodies'][np.isin(kinds_of('bodies'), names)]
        rows.append(row(1, f'simulated: {group}', 'test films', gate_scores(films, one), gate_scores(seen, one)))
    assert {name for names in GROUPS.values() for name in names} == set(BODIES)
    table = pd.DataFrame(rows).round(4)
    table.to_csv(args.out, index=False)
    print(table.to_string(index=False))

if __name__ == '__main__': main()
