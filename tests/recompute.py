"""The numbers of the home page, computed again from results/ with NumPy alone.

    python tests/recompute.py        print each number of README.md beside the one computed here

Nothing of bonefrac is imported, and no pandas: tables are dicts of lists. Counts must be equal. The end of an interval
is a draw of its own and may differ by half a point, an accuracy by what was rounded.
"""
import csv
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT/'results'
# what a run of the main design has; a column that an old row lacks has this value too
DESIGN = dict(task='region', versions='3.1', split='study_grouped', folds='5', split_seed='0', recipe='bonefrac',
              balance='none', batch_size='32', augment='True', share='1.0', resize='stretch', leave_out='', schedule='',
              patience='-1', dropout='-1.0', wd='-1.0', lr='0.0')
DEFAULTS = DESIGN | dict(labels='published', rates='')

def rows_of(path):
    "Rows of a CSV file."
    with open(path, encoding='utf8', newline='') as f: return list(csv.DictReader(f))

def recorded(*folders):
    "Rows of records, with the folder that holds their predictions."
    return [dict(DEFAULTS) | {k: v for k, v in row.items() if v != '' or k not in DEFAULTS} | dict(folder=folder)
            for folder in folders for row in rows_of(folder/'runs.csv')]

def of_design(rows, **more): return [row for row in rows if all(row[k] == v for k, v in (DESIGN | more).items())]

class End(float):
    "An end of an interval, which another draw moves a little."

class Answers:
    "Predictions of one part of a run."
    def __init__(self, row, part='test'):
        table = pq.read_table(row['folder']/'predictions'/f'{row["run"]}.parquet').to_pydict()
        kept = [i for i, where in enumerate(table['part']) if where == part]
        self.name, self.group, self.truth = ([table[k][i] for i in kept] for k in ('name', 'group', 'truth'))
        self.classes = [k[2:] for k in table if k.startswith('p_')]
        self.probs = np.array([[table[f'p_{c}'][i] for c in self.classes] for i in kept])

    def right(self, truth=None):
        "Is each image answered correctly?"
        answer = [self.classes[k] for k in self.probs.argmax(1)]
        return np.array([a == t for a, t in zip(answer, truth or self.truth)], float)

    def loss(self):
        "Mean negative log probability of the truth."
        own = self.probs[np.arange(len(self.truth)), [self.classes.index(t) for t in self.truth]]
        return -np.log(np.clip(own, 1e-15, 1)).mean()

def mean_of(several):
    "Answers with the mean of the probabilities."
    first = several[0]
    assert all(one.name == first.name for one in several)
    mean = object.__new__(Answers)
    mean.__dict__ = dict(first.__dict__, probs=np.mean([one.probs for one in several], 0))
    return mean

def group_sums(values, groups):
    "Sum of the values and number of rows in each group."
    number = {g: k for k, g in enumerate(dict.fromkeys(groups))}
    at = np.array([number[g] for g in groups])
    return np.bincount(at, values), np.bincount(at).astype(float)

def interval(values, groups, n=4000):
    "95 % interval of a mean over resampled groups."
    sums, counts = group_sums(values, groups)
    times = np.random.default_rng(1).multinomial(len(sums), np.full(len(sums), 1/len(sums)), n)
    return np.percentile(times @ sums/(times @ counts), [2.5, 97.5])

def flip_p(values, groups, n=9999):
    "p of a mean difference when the signs of whole groups are turned at random."
    sums, _ = group_sums(values, groups)
    signs = np.random.default_rng(2).choice([-1., 1.], (n, len(sums)))
    return (1 + (np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9).sum())/(n + 1)

def exchange_p(treated, n=9999):
    "p of the spread of several treatments (seed -> answers) when they are exchanged within groups."
    seeds = sorted(set.intersection(*map(set, treated)))
    first = treated[0][seeds[0]]
    assert all(found[seed].name == first.name for found in treated for seed in seeds)
    sums = np.array([group_sums(np.mean([found[s].right() for s in seeds], 0), first.group)[0] for found in treated]).T
    rng = np.random.default_rng(3)
    draws = np.array([rng.permuted(sums, axis=1).sum(0).var() for _ in range(n)])
    return (1 + (draws >= sums.sum(0).var() - 1e-9).sum())/(n + 1)

def holm(ps):
    "Adjusted p values."
    order, found = np.argsort(ps), np.empty(len(ps))
    found[order] = np.minimum(1, np.maximum.accumulate(np.sort(ps)*np.arange(len(ps), 0, -1)))
    return found

def five_folds(rows):
    "Rows of each configuration that has every fold once with seed 0, by fold."
    found = defaultdict(list)
    for row in rows:
        if row['seed'] == '0': found[tuple(row[k] for k in ('arch', 'weights', 'size', 'epochs', 'rates'))].append(row)
    found = {key: sorted(part, key=lambda row: int(row['fold'])) for key, part in found.items()}
    return {key: part for key, part in found.items() if [row['fold'] for row in part] == list('01234')}

def nested(labels, by='accuracy'):
    "Answers of the candidate that validation prefers in each fold, by accuracy, then log loss; number of candidates."
    rows = of_design(recorded(RECORD), labels=labels, filter='none', rates='')
    configs = five_folds([row for row in rows if int(row['size']) >= 224])
    if not configs: return None
    parts = {key: [{part: Answers(row, part) for part in ('valid', 'test')} for row in rows]
             for key, rows in configs.items()}
    if len(parts) > 1:
        parts['average'] = [{part: mean_of([fold[part] for fold in folds]) for part in ('valid', 'test')}
                            for folds in zip(*parts.values())]
    def worth(valid): return by == 'accuracy' and valid.right().mean(), -valid.loss()
    def best(k): return max(parts.values(), key=lambda own: worth(own[k]['valid']))
    folds = [best(k)[k]['test'] for k in range(5)]
    return folds, len(parts)

def wilson(k, n, z=1.959964):
    "Share in percent with the ends of its Wilson interval."
    p, half = k/n, z*np.sqrt(k*(n - k)/n + z**2/4)
    return [100*p, *((100*(k + z**2/2 + sign*half)/(n + z**2)) for sign in (-1, 1))]

def percent_of(folds, label=None):
    "Accuracy over all folds in percent, with its interval."
    right = np.concatenate([fold.right(label and [label[name] for name in fold.name]) for fold in folds])
    groups = [g for fold in folds for g in fold.group]
    return [100*right.mean(), *map(End, 100*interval(right, groups))], len(right)

def auc(yes, score, weights):
    "Area under the ROC curve of weighted images; ties count half."
    up, down = weights*yes, weights*~yes
    order = np.unique(score, return_inverse=True)[1]
    high, low = np.bincount(order, up), np.bincount(order, down)
    return (high*(np.cumsum(low) - low/2)).sum()/(high.sum()*low.sum())

def overlap(a, b):
    "Intersection over union of two boxes."
    sides = [min(a[k + 2], b[k + 2]) - max(a[k], b[k]) for k in range(2)]
    def area(box): return (box[2] - box[0])*(box[3] - box[1])
    both = sides[0]*sides[1] if min(sides) > 0 else 0
    return both/(area(a) + area(b) - both)

def precision(rows, least=.5):
    "Average precision at 101 recalls; each box, best first, takes the free mark that it overlaps most."
    found = []
    for row in rows:
        free = list(row['truth'])
        for box in sorted(row['boxes'], key=lambda box: -box[4]):
            over = [overlap(box, mark) for mark in free]
            hit = bool(over) and max(over) >= least
            if hit: free.pop(int(np.argmax(over)))
            found.append((box[4], hit))
    hits = np.array([hit for _, hit in sorted(found, key=lambda one: -one[0])]).cumsum()
    recall = hits/sum(len(row['truth']) for row in rows)
    best = np.maximum.accumulate((hits/np.arange(1, len(hits) + 1))[::-1])[::-1]
    at = np.searchsorted(recall, np.linspace(0, 1, 101) - 1e-12)
    return np.append(best, 0)[at].mean()

def spots():
    "Whether and where: AUROC, best boxes that point into a mark, the middle of the film, precision, numbers of films."
    runs = [row for row in recorded(RECORD) if all(row[k] == v for k, v in (
        DESIGN | dict(task='spot', batch_size=row['batch_size'], labels='reviewed', seed='0')).items())]
    parts = [pq.read_table(RECORD/'predictions'/f'{row["run"]}.parquet').to_pydict() for row in runs]
    rows = [dict(zip(part, values)) for part in parts for values in zip(*part.values())]
    rows = [row for row in rows if row['part'] == 'test']
    yes, score = np.array([len(row['truth']) > 0 for row in rows]), np.array([row['probability'] for row in rows])
    number = {g: k for k, g in enumerate(dict.fromkeys(row['group'] for row in rows))}
    at = np.array([number[row['group']] for row in rows])
    times = np.random.default_rng(4).multinomial(len(number), np.full(len(number), 1/len(number)), 1000)[:, at]
    ends = np.percentile([auc(yes, score, one) for one in times], [2.5, 97.5])
    there = [row for row in rows if row['truth']]
    def inside(row, x, y): return any(x0 <= x <= x1 and y0 <= y <= y1 for x0, y0, x1, y1 in row['truth'])
    def best(row): return max(row['boxes'], key=lambda box: box[4])
    hit = np.array([bool(row['boxes']) and inside(row, sum(best(row)[0:3:2])/2, sum(best(row)[1:4:2])/2)
                    for row in there], float)
    middle = np.mean([inside(row, .5, .5) for row in there])
    pointing = interval(hit, [row['group'] for row in there])
    return [auc(yes, score, np.ones(len(rows))), *map(End, ends), hit.mean(), *map(End, pointing), len(there), middle,
            precision(rows), len(rows)]

def copies(part=''):
    "Points between files with and without a copy in training, with their interval, and the numbers of files."
    runs = [row for row in recorded(RECORD) if all(row[k] == v for k, v in (
        DESIGN | dict(split='random', arch='efficientnet_lite0', weights='imagenet', size='96', fold='0', filter='none',
                      labels='published', rates='')).items())]
    data = runs[0]['data']
    short = {'/'.join(r['name'].split('/')[-3:]): r['source'] for r in rows_of(RECORD/f'manifests/groups-{data}.csv')}
    source = {r['name']: short['/'.join(r['name'].split('/')[-3:])]
              for r in rows_of(RECORD/f'manifests/shipped-{data}.csv')}
    tables = [Answers(row) for row in runs]
    held = {*tables[0].name, *Answers(runs[0], 'valid').name}
    trained = {s for name, s in source.items() if name not in held}
    asked = [name for name in tables[0].name if part in ('', name.split('/')[-3])]
    right = {name: np.mean([dict(zip(t.name, t.right()))[name] for t in tables]) for name in asked}
    group = dict(zip(tables[0].name, tables[0].group))
    halves = [[n for n in right if (source[n] in trained) == seen] for seen in (True, False)]
    means = [np.mean([right[n] for n in half]) for half in halves]
    draws = []
    for k, half in enumerate(halves):
        sums, counts = group_sums(np.array([right[n] for n in half]), [group[n] for n in half])
        times = np.random.default_rng(k).multinomial(len(sums), np.full(len(sums), 1/len(sums)), 4000)
        draws.append(times @ sums/(times @ counts))
    ends = map(End, 100*np.percentile(draws[0] - draws[1], [2.5, 97.5]))
    return [100*(means[0] - means[1]), *ends, *map(len, halves)]

def first_fold():
    "Answers on the first fold at 96 pixels and 12 epochs: (arch, start, filter) -> seed -> answers."
    both = recorded(RECORD, RECORD/'phantoms')
    rows = of_design(both, labels='published', rates='', fold='0', size='96', epochs='12')
    data = Counter(row['data'] for row in recorded(RECORD)).most_common(1)[0][0]
    rows = [row for row in rows if row['data'] == data and row['weights'] in ('scratch', 'imagenet')]
    found = defaultdict(dict)
    for row in sorted(rows, key=lambda row: row['precision']): # bfloat16 first; the first one counts
        found[row['arch'], row['weights'], row['filter']].setdefault(row['seed'], row)
    return {key: {seed: Answers(row) for seed, row in own.items()} for key, own in found.items()}

def paired(a, b):
    "Mean difference over common seeds and images, p by flips, whether all seeds have one sign, interval."
    seeds = sorted(set(a) & set(b))
    single = [a[s].right() - b[s].right() for s in seeds]
    each = np.mean(single, 0)
    ends = sorted(one.mean() for one in single)
    groups = a[seeds[0]].group
    return each.mean(), flip_p(each, groups), ends[0]*ends[-1] > 0, *interval(each, groups)

def alike():
    "Configurations like the one that validation prefers, their networks, and their lowest and highest accuracy."
    rows = [of_design(recorded(RECORD), labels='published', filter='none', rates=rates) for rates in ('', 'equal')]
    configs = [part for own in rows for part in five_folds(own).values()]
    best = max(configs, key=lambda part: np.mean([float(row['valid_accuracy']) for row in part]))
    right, group = [], {}
    for part in configs:
        folds = [Answers(row) for row in part]
        right.append({name: ok for fold in folds for name, ok in zip(fold.name, fold.right())})
        group |= {name: g for fold in folds for name, g in zip(fold.name, fold.group)}
    names = sorted(group)
    table, groups = np.array([[one[name] for name in names] for one in right]), [group[name] for name in names]
    pairs = [(a, b) for a in range(len(table)) for b in range(a)]
    ps = holm(np.array([flip_p(table[a] - table[b], groups) for a, b in pairs]))
    own = configs.index(best)
    same = {own} | {k for pair, p in zip(pairs, ps) if own in pair and p >= .05 for k in pair}
    accuracy, ends = 100*table[sorted(same)].mean(1), [100*interval(table[k], groups) for k in sorted(same)]
    networks = {configs[k][0]['arch'] for k in same}
    return [len(same), len(networks), accuracy.min(), accuracy.max(), End(np.min(ends)), End(np.max(ends))]

def clahe():
    "Lowest and highest change by CLAHE over five folds, number of networks, ends of their intervals, number of films."
    rows = of_design(recorded(RECORD), labels='reviewed', rates='')
    plain, with_it = (five_folds([row for row in rows if row['filter'] == name]) for name in ('none', 'clahe'))
    gains = [one_change(with_it[key], plain[key]) for key in with_it if key in plain]
    if not gains: return None
    means, lows, highs, counts = zip(*gains)
    return [min(means), max(means), len(gains), End(min(lows)), End(max(highs)), counts[0]]

def one_change(own, other):
    "Mean difference over the films of five folds, its interval, and their number."
    a, b = ([Answers(row) for row in rows] for rows in (own, other))
    assert all(one.name == two.name for one, two in zip(a, b))
    each = np.concatenate([one.right() - two.right() for one, two in zip(a, b)])
    return each.mean(), *interval(each, [g for fold in a for g in fold.group]), len(each)

def long_start():
    "What ImageNet weights change after the longest training over five folds, its interval, steps, pixels, films."
    rows = of_design(recorded(RECORD), labels='reviewed', filter='none', rates='')
    found = five_folds([row for row in rows if row['weights'] in ('imagenet', 'scratch')])
    other = {key: (key[0], 'scratch', *key[2:]) for key in found if key[1] == 'imagenet'}
    key = max((key for key in other if other[key] in found), key=lambda key: int(key[3]))
    mean, low, high, n = one_change(found[key], found[other[key]])
    steps = max(int(row['epochs'])*(int(float(row['train_images']))//int(row['batch_size'])) for row in found[key])
    return [mean, End(low), End(high), f'{steps:,}', key[2]], n

def numbers():
    "Name -> number or list of numbers."
    review = rows_of(RECORD/'labels/review.csv')
    label = {row['name']: row['reviewed'] for row in review}
    moved = Counter((r['published'], r['reviewed']) for r in review if r['published'] != r['reviewed'])
    (old, new), count = moved.most_common(1)[0]
    found = dict(labels=[count, sum(r['published'] == old for r in review)], words=[old, new],
                 changed=[sum(moved.values()), len(review)])
    for name in ('reviewed', 'published'):
        choice = nested(name)
        if choice: found[name], found[f'{name} n'] = percent_of(choice[0])
        if choice: found[f'{name} candidates'] = choice[1]
        if choice and choice[1] > 1: found[f'{name} by loss'] = percent_of(nested(name, 'log loss')[0])[0]
        if choice and name == 'published': found['published on reviewed'] = percent_of(choice[0], label)[0]
    found['copies'], found['copies of one part'] = copies(), copies('train')
    found['alike'] = alike()
    found['spots'] = spots()
    found['clahe'] = clahe()
    found['starts'], found['starts n'] = long_start()
    tables = first_fold()
    starts = [paired(tables[arch, 'imagenet', 'none'], tables[arch, 'scratch', 'none'])
              for arch, start, name in tables
              if (start, name) == ('imagenet', 'none') and (arch, 'scratch', 'none') in tables]
    differences, _, _, lows, highs = zip(*starts)
    found['transfer'], found['transfer networks'] = [min(differences), max(differences)], len(starts)
    found['transfer ends'] = [End(min(lows)), End(max(highs))]
    found['transfer n'] = len(next(iter(tables.values()))['0'].name)
    pairs = [paired(own, tables[(*key[:2], 'none')]) for key, own in tables.items()
             if key[2] != 'none' and (*key[:2], 'none') in tables]
    _, ps, signs, lows, highs = zip(*pairs)
    found['filters'] = [sum(p < .05 and one for p, one in zip(holm(np.array(ps)), signs)), len(pairs)]
    found['filters'] += [End(min(lows)), End(max(highs))]
    networks = sorted({key[:2] for key in tables if key[2] != 'none'})
    ps = [exchange_p([own for key, own in tables.items() if key[:2] == network]) for network in networks]
    found['filters'] += [int((holm(np.array(ps)) < .05).sum()), len(networks)]
    return found

NUMBER = r'([+-]?[\d.]+)'
SAID = { # what README.md says -> the names of its numbers
    rf'\*\*{NUMBER} % \({NUMBER} to {NUMBER}\)\*\* of (\d+) annotated films .*? on (\w+) labels'
    rf'.*?takes one of (\d+) networks or their average.*?by log loss, .*?, it is {NUMBER} % \({NUMBER} to {NUMBER}\)':
        lambda f, m: [*f[m[5]], f[f'{m[5]} n'], m[5], f[f'{m[5]} candidates'] - 1, *f[f'{m[5]} by loss']],
    r'\*\*(\d+) of (\d+)\*\* \((\d+) %, (\d+) to (\d+)\) films labelled \*(\w+)\* show the (\w+)':
        lambda f, m: [*f['labels'], *wilson(*f['labels']), *f['words']],
    rf'\*\*{NUMBER} points\*\* \({NUMBER} to {NUMBER}; n = (\d+) and (\d+)\)'
    rf'.*? {NUMBER} points \({NUMBER} to {NUMBER}; n = (\d+) and (\d+)\)':
        lambda f, m: [*f['copies'], *f['copies of one part']],
    r'No: (\d+) of (\d+) were changed': lambda f, m: f['changed'],
    rf'Trained on reviewed labels {NUMBER} % \({NUMBER} to {NUMBER}\); trained on published labels, .*?, {NUMBER} % '
    rf'\({NUMBER} to {NUMBER}\), and the same answers against reviewed labels {NUMBER} % \({NUMBER} to {NUMBER}\)':
        lambda f, m: [*f['reviewed'], *f['published'], *f['published on reviewed']],
    rf'{NUMBER} \({NUMBER} to {NUMBER}\) in one network after ([\d,]+) steps, over five folds at (\d+) pixels, '
    rf'.*?; after \d+ steps, .*?, {NUMBER} to {NUMBER} in (\d+) small networks on one fold \(n = (\d+); '
    rf'95 % intervals between {NUMBER} and {NUMBER}\).*?\| (\d+) \|': lambda f, m: [
        *f['starts'], *f['transfer'], f['transfer networks'], f['transfer n'], *f['transfer ends'], f['starts n']],
    rf'(\d+) configurations of (\d+) networks at {NUMBER} to {NUMBER} % .*? {NUMBER} and {NUMBER}\)':
        lambda f, m: f['alike'],
    rf'(\d+) of (\d+) comparisons are beyond chance .*? {NUMBER} and {NUMBER}\), and a test of all '
    r'filters at once finds a difference in (\d+) of (\d+) networks': lambda f, m: f['filters'],
    rf'CLAHE, said to give \+0\.06, changes accuracy by {NUMBER} to {NUMBER} in (\d+) networks over five folds '
    rf'\(95 % intervals between {NUMBER} and {NUMBER}\).*?\| (\d+) \|': lambda f, m: f['clahe'],
    rf'AUROC {NUMBER} \({NUMBER} to {NUMBER}\); where: the middle of the best box lies in a marked box on a share '
    rf'of {NUMBER} \({NUMBER} to {NUMBER}\) of (\d+) annotated films, the middle of the film on {NUMBER}; .*?average '
    rf'precision is {NUMBER} .*?\| (\d+) \|':
        lambda f, m: f['spots'],
}

def apart(said, found):
    "How far a number of the page is from one computed here, in units of what may differ."
    if not isinstance(found, float | np.floating): return 0 if str(said) == str(found) else np.inf
    digits = len(said.partition('.')[2])
    moves = 0 if not isinstance(found, End) else .5 if abs(found) > 1 else .01
    return abs(float(said) - found)/(.5001*10**-digits + moves)

def compare(text, found):
    "One row per number of the page: sentence, said, found by `numbers`, is it right?"
    rows = []
    for pattern, names in SAID.items():
        match = re.search(pattern, text)
        if not match: rows.append((pattern, '', '', False))
        else: rows += [(match[0][:60], said, own, apart(said, own) <= 1)
                       for said, own in zip(match.groups('1'), names(found, match), strict=True)]
    return rows

if __name__ == '__main__':
    rows = compare((ROOT/'README.md').read_text(encoding='utf8'), numbers())
    for sentence, said, own, right in rows: print('ok  ' if right else 'NOT ', said, own, '|', sentence)
    sys.exit(not all(row[-1] for row in rows))
