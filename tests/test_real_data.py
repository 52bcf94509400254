"Facts about the published archive."
import pandas as pd
import pytest
from PIL import Image

from conftest import ROOT

from bonefrac.audit.examinations import audit
from bonefrac.audit.manifests import audited
from bonefrac.vocabulary import REGIONS
from bonefrac.data.table import data_hash, problems, summary
from bonefrac.data.sources import read_images
from bonefrac.audit.labels import label_problems
from bonefrac.data.groups import crossing_groups, distinct
from bonefrac.training.splits import folds_table, make_split
from bonefrac.experiment.config import RunConfig
from bonefrac.experiment.record import read_record

@pytest.fixture(scope='module')
def images(real_archive): return read_images(real_archive)

def test_counts(images):
    table = summary(images)
    assert table.images.to_dict() == dict(train=3631, valid=348, test=169, all=4148)
    assert table.annotated.to_dict() == dict(train=1804, valid=173, test=83, all=2060)
    assert table.polygons.to_dict() == dict(train=2088, valid=204, test=96, all=2388)
    assert len(problems(images)) == 0 and images.attrs['twins'] == 0

def test_regions(images):
    table = summary(images)[list(REGIONS)]
    assert table.loc['train'].tolist() == [306, 433, 283, 299, 315, 168]
    assert table.loc['valid'].tolist() == [28, 41, 37, 31, 19, 17]
    assert table.loc['test'].tolist() == [13, 22, 13, 14, 15, 6]

def test_ids_3_and_4_are_humerus_and_counted_once(images):
    ids = images[images.annotated].polygons.map(lambda rows: {row[0] for row in rows})
    both = images.loc[ids.index[ids == {3, 4}]]
    assert len(both) == 3 and set(both.split) == {'train'} and set(both.region) == {'humerus'}
    assert images.name.is_unique and images.path.is_unique

def test_polygons_lie_in_the_image(images):
    xy = [value for rows in images.polygons for row in rows for value in row[1:]]
    assert min(xy) >= 0 and max(xy) <= 1
    assert all(len(row) >= 7 and len(row) % 2 for rows in images.polygons for row in rows)

def test_longest_side(images):
    assert (images[['width', 'height']].max(axis=1) == 512).mean() > .996

@pytest.fixture(scope='module')
def checked(images): return audited(images)

def test_the_committed_groups_are_those_of_this_archive(images, checked):
    assert (ROOT/'results/manifests'/f'groups-{data_hash(images)}.csv').is_file()
    annotated = checked[checked.annotated]
    assert annotated.groupby('split').source.nunique().to_dict() == dict(train=604, valid=173, test=83)
    assert len(distinct(annotated)) == 860 and checked.source.nunique() == 1728
    assert crossing_groups(checked, 'source') == []
    assert len(crossing_groups(annotated)) == 50

def test_the_committed_groups_are_read_and_not_searched(images, monkeypatch):
    def refused(*parts): raise AssertionError(f'neither an audit nor its cache may be asked: {parts}')
    monkeypatch.setattr('bonefrac.audit.examinations.audit', refused)
    monkeypatch.setattr('bonefrac.audit.manifests.cache_dir', refused)
    assert audited(images).source.nunique() == 1728

def test_an_audit_finds_the_committed_groups(images, checked):
    "Copies of the annotated part, found again from pixels."
    part = checked[checked.annotated & (checked.split != 'valid')].iloc[::2].reset_index(drop=True)
    plain = images.set_index('name').loc[part.name].reset_index()
    found = audit(plain).groups
    pairs = pd.crosstab(found.source, part.source.to_numpy()).gt(0)
    joined = [{name for name in part.source if pairs.loc[row, name]} for row in pairs.index[pairs.sum(axis=1) > 1]]
    # one shoulder, turned, mirrored and lettered; the committed groups were made before crops were searched
    assert joined == [{'image1_369_png~2', 'image2_368_png'}]     # nothing else is joined
    assert (pairs.sum(axis=0) > 1).sum() <= 2       # darkened copies may lose the sibling that joins them
    assert 0 < len(found) - found.source.nunique()

def test_label_problems(checked):
    kinds = label_problems(checked).problem.value_counts()
    assert kinds['empty copy'] == 6 and kinds['several class ids'] == 3

def test_study_grouped_split_holds(checked):
    split = make_split(checked)
    assert split.split.value_counts().to_dict() == dict(train=590, test=172, valid=98)
    assert crossing_groups(split) == []
    assert (checked.set_index('name').source.loc[split.name].is_unique)

def test_folds_are_the_committed_ones(images, checked):
    committed = pd.read_csv(ROOT/'results/manifests'/f'study_grouped-{data_hash(images)}.csv')
    pd.testing.assert_frame_equal(folds_table(checked), committed)

def test_grouped_is_the_study_grouped_split(images):
    pd.testing.assert_frame_equal(make_split(images, 'grouped'), make_split(images))

@pytest.mark.parametrize('task', ['region', 'abnormal'])
def test_runs_use_the_study_grouped_split_unless_told_otherwise(images, task):
    assert RunConfig().split == RunConfig(split='grouped').split == 'study_grouped'
    recorded = read_record(ROOT/'results')
    asked = (recorded.task == task) & (recorded.split == 'study_grouped') & (recorded.fold == 0)
    run = recorded[asked].run.iloc[0]
    predicted = pd.read_parquet(ROOT/'results/predictions'/f'{run}.parquet')
    split = make_split(images, task=task)
    for part in ('valid', 'test'):
        assert sorted(split.name[split.split == part]) == sorted(predicted.name[predicted.part == part])

def test_splits_that_do_not_hold_say_so(checked, capsys):
    split = make_split(checked, 'shipped')
    assert split.split.value_counts().to_dict() == dict(train=1804, valid=173, test=83)
    assert '50 studies lie on more than one side' in capsys.readouterr().out
    assert (make_split(checked, 'shipped_apart').split == 'test').sum() == 65
    assert crossing_groups(make_split(checked, 'random'), 'source')

def test_twin_trees_count_once(real_archive, images, tmp_path):
    import zipfile
    with zipfile.ZipFile(real_archive) as source, zipfile.ZipFile(tmp_path/'twins.zip', 'w') as twins:
        for info in source.infolist():
            if '/test/' in info.filename or info.filename.endswith('data.yaml'):
                for tree in ('BoneFractureYolo8', 'bone fracture detection.v4-v4.yolov8'):
                    twins.writestr(info.filename.replace('BoneFractureYolo8', tree), source.read(info))
    table = read_images(tmp_path/'twins.zip')
    assert len(table) == table.attrs['twins'] == 169 and len(problems(table)) == 0
    assert sorted(table.sha256) == sorted(images.sha256[images.split == 'test'])

PLAIN = {'jfif', 'jfif_version', 'jfif_unit', 'jfif_density', 'dpi', 'progressive', 'progression'}

def test_no_file_carries_more_than_the_header_of_its_format(images):
    "Neither EXIF nor a comment could tell a person, a place or a time."
    for path in images.path:
        with Image.open(path) as image: told = set(image.info) - PLAIN
        assert not told and not image.getexif()
