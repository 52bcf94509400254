"The committed manifests hold: no study on two sides, and anyone can rebuild them."
import hashlib
import subprocess
import sys

import pandas as pd
import pytest

from conftest import ROOT

from bonefrac.audit import manifests
from bonefrac.data.groups import crossing_groups
from bonefrac.training.splits import folds_table

FOLDER = ROOT/'results/manifests'

def only(pattern):
    [path] = FOLDER.glob(pattern)
    return pd.read_csv(path)

@pytest.fixture(scope='module')
def folds(): return only('study_grouped-*.csv')

@pytest.fixture(scope='module')
def groups(): return only('groups-*.csv')

def parts(folds): return [column for column in folds if column.startswith('seed')]

def test_every_fold_holds(folds):
    assert len(parts(folds)) == 25
    for column in parts(folds):
        table = folds.assign(split=folds[column])
        assert crossing_groups(table) == [] == crossing_groups(table, 'source'), column
        assert set(table.split) == {'train', 'valid', 'test'}
        shares = pd.crosstab(table.split, table.region, normalize='index')
        assert (shares.max() - shares.min()).max() < .06, column

def test_every_image_is_tested_once_a_repeat(folds):
    for seed in range(5): assert ((folds.filter(like=f'seed{seed}_') == 'test').sum(axis=1) == 1).all()

def test_the_check_finds_a_crossing_study(folds):
    table = folds.assign(split=folds.seed0_fold0)
    study = table.study[table.study.duplicated()].iloc[0]
    row = table.index[table.study == study][0]
    table.loc[row, 'split'] = 'train' if table.split[row] == 'test' else 'test'
    assert crossing_groups(table) == [study]

def test_groups_and_folds_agree(folds, groups):
    "One original a source; a source in one study; folds made of the groups' originals."
    assert groups.original.groupby(groups.source).sum().eq(1).all()
    assert groups.groupby('source')[['study', 'study_strict']].nunique().eq(1).all(axis=None)
    assert groups.groupby('study_strict').study.nunique().eq(1).all()
    known = groups.assign(file=groups.name.str.rsplit('/', n=1).str[-1]).set_index('file')
    mine = known.loc[folds.name.str.rsplit('/', n=1).str[-1]]
    assert (mine.source.to_numpy() == folds.source).all() and (mine.study.to_numpy() == folds.study).all()
    assert len(folds) == 860 and groups.source.nunique() == 1728

def test_folds_are_rebuilt_without_images(folds):
    rebuilt = folds_table(folds[['name', 'region', 'source', 'study']].assign(original=True, sharpness=0., split=''))
    pd.testing.assert_frame_equal(rebuilt, folds)

VIEWS = [
    ('image1_2336', 'image2_2337'),
    ('image1_97', 'image2_98'),
    ('image2_619', 'image3_620'),
    ('image2_632', 'image3_633'),
]

@pytest.mark.parametrize('pair', VIEWS)
def test_known_views_of_one_patient_are_together(folds, pair):
    stems = folds.source.str.replace('_png', '').str.split('~').str[0]
    a, b = (set(folds.study[stems == name]) for name in pair)
    assert a & b

def test_shipped_split_and_its_crossing_images():
    shipped = only('shipped-*.csv')
    assert shipped.split.value_counts().to_dict() == dict(train=1804, valid=173, test=83)
    test = shipped.split == 'test'
    crossing = shipped.study.isin(shipped.study[~test]) & test
    assert (shipped.kept_apart == (~crossing).astype(int)).all() and crossing.sum() == 18

def test_the_package_finds_the_committed_tables():
    assert manifests.MANIFESTS.resolve() == FOLDER
    assert list(manifests.MANIFESTS.glob('groups-*.csv'))

@pytest.mark.parametrize('folder', ['nbs/library/audit', 'nbs/study', '/'])
def test_they_are_found_from_the_folder_of_a_notebook(folder):
    code = 'from bonefrac.audit.manifests import MANIFESTS; print(MANIFESTS.resolve())'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT/folder, capture_output=True, text=True)
    assert done.stdout.strip() == str(FOLDER), done.stderr

def refused(*parts): raise AssertionError(f'neither an audit nor its cache may be asked: {parts}')

@pytest.fixture
def no_search(monkeypatch):
    "An audit, and the cache of earlier ones, are errors."
    monkeypatch.setattr('bonefrac.audit.examinations.audit', refused)
    monkeypatch.setattr(manifests, 'cache_dir', refused)

def test_committed_groups_are_read_and_not_searched(groups, no_search, monkeypatch):
    [path] = FOLDER.glob('groups-*.csv')
    monkeypatch.setattr(manifests, 'data_hash', lambda images: path.stem.split('-')[1])
    table = manifests.audited(groups[['name']].sample(frac=1, random_state=0))
    assert table.source.nunique() == 1728 and table.original.sum() == 1728
    monkeypatch.setattr(manifests, 'data_hash', lambda images: '0'*16)
    with pytest.raises(AssertionError, match='neither an audit'): manifests.audited(groups[['name']]) # other data

def test_a_package_without_its_tables_is_an_error(no_search, monkeypatch, tmp_path):
    one = dict(name='a.png', sha256='0', region='wrist', polygons='', split='', source='a', study='a')
    images = pd.DataFrame([one])
    monkeypatch.setattr(manifests, 'MANIFESTS', tmp_path/'gone')
    with pytest.raises(FileNotFoundError, match='gone: no tables of groups; install the package again'):
        manifests.audited(images)

# The labels that were read again

@pytest.fixture(scope='module')
def review():
    from bonefrac.audit.review import read_review
    return read_review(ROOT/'results/labels/review.csv')

def test_every_annotated_source_was_read(review, folds):
    region = folds.set_index('name').region
    assert sorted(review.name) == sorted(region.index)
    assert list(review.published) == list(region[review.name])

def test_labels_follow_from_the_readings(review):
    from bonefrac.audit.review import decided, readers_of
    again = decided(review.drop(columns=['reviewed', 'verdict']))
    pd.testing.assert_frame_equal(again[['reviewed', 'verdict']], review[['reviewed', 'verdict']])
    whole = [name for name in readers_of(review) if (review[f'read_{name}'] != '').all()]
    assert len(whole) >= 2

def test_recorded_runs_used_these_labels():
    record = pd.read_csv(ROOT/'results/runs.csv', dtype=str)
    told = hashlib.sha256((ROOT/'results/labels/review.csv').read_bytes()).hexdigest()[:16]
    if 'labels' not in record: pytest.skip('no run on reviewed labels is recorded yet')
    reviewed = record[record.labels == 'reviewed']
    assert len(reviewed) and set(reviewed.labels_hash) == {told}
