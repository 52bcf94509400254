"Forms of data sets that people have, from made pictures: what each gives, and that no file is lost."
import json

import pytest

from conftest import SHARED

from bonefrac.data.sources import read_images

CASES = SHARED/'fieldcases'

# case, or a file in it: images read, set aside, without a region, annotated, splits
READ = {
    'background_without_label': (4, 14, 0, 4, {'train'}),
    'boxes_among_polygons': (10, 0, 0, 10, {'train'}),
    'boxes_only': (9, 0, 0, 9, {'train', 'valid'}),
    'capital_splits': (9, 0, 0, 9, {'train', 'test'}),
    'coco_json': (9, 0, 0, 9, {'train', 'valid'}),
    'csv_backslashes/list.csv': (6, 0, 0, 0, {''}),
    'csv_bom/list.csv': (6, 0, 0, 0, {''}),
    'csv_fracatlas/dataset.csv': (4, 0, 0, 2, {''}),
    'csv_latin1/list.csv': (3, 0, 0, 0, {''}),
    'csv_semicolon/list.csv': (6, 0, 0, 0, {''}),
    'cvat_yolo': (4, 0, 0, 4, {'train'}),
    'deep_rgb': (6, 0, 0, 0, {''}),
    'dicom_beside_png': (20, 0, 0, 0, {''}),
    'dicom_folders': (10, 0, 0, 0, {''}),
    'fracatlas_boxes': (12, 0, 12, 5, {'train', 'valid', 'test'}),
    'fracatlas_tree': (6, 0, 0, 3, {''}),
    'fractured_folders': (24, 0, 24, 12, {'train', 'valid', 'test'}),
    'just_outside': (5, 0, 0, 5, {'train'}),
    'macosx_folders/regions.zip': (10, 0, 0, 0, {''}),
    'macosx_yolo/export.zip': (8, 0, 0, 8, {'train', 'valid'}),
    'mura_tree': (84, 0, 0, 56, {'train', 'valid'}),
    'mura_tree/MURA-v1.1/train_image_paths.csv': (42, 0, 0, 28, {'train'}),
    'mura_tree/MURA-v1.1/valid_labeled_studies.csv': (42, 0, 0, 28, {'valid'}),
    'nested_split_regions': (9, 0, 0, 9, {'train', 'valid'}),
    'odd_pictures': (7, 2, 0, 0, {''}),
    'one_stray_class': (7, 0, 1, 7, {'train'}),
    'regions_beyond_the_arm': (48, 0, 0, 0, {''}),
    'three_regions': (30, 0, 0, 0, {''}),
    'validation_only': (12, 0, 0, 12, {'train', 'valid', 'test'}),
    'wrist_only': (30, 0, 0, 0, {''}),
    'zip_top_folder/upload.zip': (12, 0, 0, 0, {'train', 'test'}),
}

REFUSED = {
    'names_missing': 'no list `names` of classes',
    'zip_encrypted/locked.zip': 'needs a password',
    'zip_in_zip/outer.zip': '2 ZIP files lie there',
}

@pytest.fixture(autouse=True)
def cases():
    if not CASES.is_dir(): pytest.skip('the made data sets are not beside this checkout')

@pytest.mark.parametrize('case', READ)
def test_what_is_read(case):
    n, aside, unknown, annotated, splits = READ[case]
    images = read_images(CASES/case, cache=False)
    assert (len(images), images.region.isna().sum(), images.annotated.sum()) == (n, unknown, annotated)
    assert len(images.attrs['problems']) == aside and set(images.split) == splits
    if case.endswith('.csv'): return # other files of its folder are not part of the data
    counts = images.attrs['counts']
    assert counts['read'] == n and counts['read'] + counts['aside'] + counts['other'] == counts['files']

@pytest.mark.parametrize('case', REFUSED)
def test_what_is_refused(case):
    with pytest.raises(ValueError, match=REFUSED[case]): read_images(CASES/case, cache=False)

def test_persons_stay_together_and_boxes_are_said():
    mura = read_images(CASES/'mura_tree', cache=False)
    assert set(mura.groupby('study').split.nunique()) == {1} and mura.study[0] == 'patient00000'
    assert '4 of 10 outlines are boxes' in read_images(CASES/'boxes_among_polygons', cache=False).attrs['notes']

def test_columns_can_be_named(call, tmp_path):
    (tmp_path/'own.csv').write_text('where,what\n' + ''.join(f'{i}.png,wrist\n' for i in range(2)))
    for i in range(2): (tmp_path/f'{i}.png').write_bytes((CASES/f'wrist_only/wrist/patient0{i}/1.png').read_bytes())
    done = call('bonefrac', 'data', 'own.csv', '--columns', 'path=where,region=what', '--json', cwd=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)['counts']['all']['wrist'] == 2, done.stderr
    refused = call('bonefrac', 'data', 'own.csv', cwd=tmp_path)
    assert refused.returncode == 1 and 'no column path; found are where, what' in refused.stderr
