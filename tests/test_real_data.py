"Facts about the published archive."
import pandas as pd
import pytest

from bonefrac.data import REGIONS, problems, read_images, summary
from bonefrac.splits import crossing_groups, distinct, make_split

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

def test_copies_share_a_source(images):
    annotated = images[images.annotated]
    copies = annotated[annotated.split == 'train'].source.value_counts()
    assert (copies % 3 == 0).mean() > .98
    assert len(distinct(annotated)) == 860

def test_grouped_split_holds(images):
    split = make_split(images)
    assert split.split.value_counts().to_dict() == dict(train=589, test=172, valid=99)
    assert crossing_groups(split) == []

def test_grouped_split_is_the_recorded_one(images, request):
    record = pd.read_parquet(next((request.config.rootpath/'results/predictions').glob('*.parquet')))
    split = make_split(images)
    for part in ('valid', 'test'): assert sorted(split.name[split.split == part]) == sorted(record.name[record.part == part])

def test_shipped_split_leaks_names(images, capsys):
    split = make_split(images, 'shipped')
    assert split.split.value_counts().to_dict() == dict(train=1804, valid=173, test=83)
    assert len(crossing_groups(split)) == 23
    assert '23 groups lie on more than one side' in capsys.readouterr().out

def test_twin_trees_count_once(real_archive, images, tmp_path):
    import zipfile
    with zipfile.ZipFile(real_archive) as source, zipfile.ZipFile(tmp_path/'twins.zip', 'w') as twins:
        for info in source.infolist():
            if '/test/' in info.filename or info.filename.endswith('data.yaml'):
                for tree in ('BoneFractureYolo8', 'bone fracture detection.v4-v4.yolov8'):
                    twins.writestr(info.filename.replace('BoneFractureYolo8', tree), source.read(info))
    table = read_images(tmp_path/'twins.zip')
    assert len(table) == table.attrs['twins'] == 169 and len(problems(table)) == 0
    both = pd.concat([table.sha256.sort_values(ignore_index=True), images[images.split == 'test'].sha256.sort_values(ignore_index=True)], axis=1)
    assert (both.iloc[:, 0] == both.iloc[:, 1]).all()
