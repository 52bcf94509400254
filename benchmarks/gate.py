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

class Films:
    "Features of the films of a split, and gates that are fitted on them."
    def __init__(self, data):
        split, rng = Prepared(run_config(data=data)).split, np.random.default_rng(0)
        train, valid, test = (squares_of(split.path[split.split == part]) for part in ('train', 'valid', 'test'))
        def looks(squares): return features(np.stack([processed(one, rng) for one in squares]))
        self.known, self.held = np.concatenate([features(train), looks(train)]), features(valid)
        held_out = np.concatenate([valid, test])
        self.films, self.processed, self.drawn = features(held_out), looks(held_out), references()

    def gate(self, drawn): return fit_numbers(self.known, self.held, drawn)

    def row(self, question, name, numbers, seen, kept='test films', films=None):
        keep = self.films if films is None else films
        return row(question, name, kept, gate_scores(keep, numbers), gate_scores(seen, numbers))

def stranger_rows(films):
    "What is no radiograph."
    for package in PHOTOGRAPHS:
        seen = features(squares_of(photographs(package)))
        yield films.row(0, f'photographs: {package}', films.gate(without_package(films.drawn, package)), seen)
    for kind in sorted(set(STRANGERS) - {'photograph'}):
        seen = films.drawn['strangers'][kinds_of('strangers') == kind]
        yield films.row(0, f'drawn: {kind}', films.gate(without(films.drawn, [kind])), seen)

def other_rows(films, others, arms):
    "Films of other parts of the body from elsewhere."
    numbers = films.gate(films.drawn)
    for name, seen in others.items(): yield films.row(1, name, numbers, seen)
    everything = np.concatenate(list(others.values()))
    looks = {'test films': films.films, 'test films, processed': films.processed, **arms}
    for kept, own in looks.items(): yield films.row(1, 'all of these', numbers, everything, kept, own)

def simulated_rows(films):
    "Simulated bodies of a group that was left out."
    for group, names in GROUPS.items():
        seen = films.drawn['bodies'][np.isin(kinds_of('bodies'), names)]
        yield films.row(1, f'simulated: {group}', films.gate(without(films.drawn, names)), seen)

def main():
    args = parser().parse_args()
    assert {name for names in GROUPS.values() for name in names} == set(BODIES)
    films, others = Films(args.data), named(args.others)
    rows = [*stranger_rows(films), *simulated_rows(films)]
    if others: rows += other_rows(films, others, named(args.arms))
    table = pd.DataFrame(rows).round(4)
    table.to_csv(args.out, index=False)
    print(table.to_string(index=False))

if __name__ == '__main__': main()
