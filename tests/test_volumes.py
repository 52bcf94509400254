"CT and MRI from files: what is read, what is refused and how it is said, and that no name leaves a header."
import gzip
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from bonefrac.data.sources import load_images, read_images
from bonefrac.data.table import problems
from bonefrac.data.volumes import projected_film, read_series, read_volume, volumes_below, why_not
from bonefrac.phantom.nuisances import NUISANCES, Case
from bonefrac.phantom.scans import make_scans, write_nifti, write_series
from bonefrac.phantom.simulate import pose_scene
from bonefrac.phantom.volume import Scan, exact_film, scan_scene, shadow, shadow_errors

SECRET = 'Mustermann^Erika'

@pytest.fixture(scope='module')
def scan():
    scene = pose_scene(Case('elbow', 'ap', True, 1, 1, 1), 64, dict.fromkeys(NUISANCES, 0))
    return scan_scene(scene, 5)

@pytest.fixture
def series(scan, tmp_path): return write_series(scan, tmp_path/'ct', told=dict(BodyPartExamined='ELBOW'))

def rewritten(path, **elements):
    ds = dcmread(path)
    for name, value in elements.items(): setattr(ds, name, value)
    ds.save_as(path)

@pytest.mark.parametrize('region, view', [('fingers', 'oblique'), ('humerus', 'lateral'), ('shoulder', 'y')])
def test_shadow_is_film(region, view):
    "On the rays that are sampled the shadow is the film; between them the error falls with the voxels."
    scene = pose_scene(Case(region, view, True, 5, 5, 5), 256, dict.fromkeys(NUISANCES, 0))
    exact = exact_film(replace(scene, pixel=.4))
    off = shadow(scan_scene(scene, 4, fine=1)) - exact
    assert np.sqrt((off**2).mean()) < 2e-3*np.ptp(exact)
    errors = shadow_errors(scene, (4., 2.))
    assert errors[2.] < .8*errors[4.] < 8

def test_orientations(scan, tmp_path):
    "Whatever the order of files and the way of slicing, the same volume comes out."
    files = sorted(write_series(scan, tmp_path/'ct').iterdir())
    for k, path in enumerate(files): path.rename(tmp_path/'ct'/f'{(7*k) % len(files):04}x.dcm')
    assert (read_volume(volumes_below(tmp_path)['ct']).values == scan.hu).all()
    cut = scan.hu.transpose(2, 0, 1) # sagittal slices, from the right to the left
    ways = dict(ImageOrientationPatient=[0, 0, 1, 0, 1, 0])
    turned = write_series(Scan(cut.transpose(0, 1, 2), scan.mm, np.zeros(3)), tmp_path/'sagittal', 'another', ways)
    for k, path in enumerate(sorted(turned.iterdir())): rewritten(path, ImagePositionPatient=[5.*k, 0, 0])
    with pytest.raises(ValueError): read_series([turned/'0001.dcm'])
    back = read_series(sorted(turned.iterdir()))
    assert sorted(back.values.shape) == sorted(scan.hu.shape) and back.values.sum() == scan.hu.sum()

FAULTS = {
    'missing': (lambda d: (d/'0007.dcm').unlink(), '0006.dcm and 0008.dcm are further apart'),
    'twice': (lambda d: shutil.copy(d/'0007.dcm', d/'copy.dcm'), 'lie at one place'),
    'spacing': (lambda d: [rewritten(p, SpacingBetweenSlices=2) for p in d.iterdir()], 'the slices are 5 mm apart'),
    'no spacing': (lambda d: [rewritten(p, PixelSpacing=None) for p in d.iterdir()], 'no PixelSpacing'),
    'two grids': (lambda d: rewritten(d/'0007.dcm', PixelSpacing=[1, 1]), 'PixelSpacing differs'),
    'cut off': (lambda d: (d/'0007.dcm').write_bytes((d/'0007.dcm').read_bytes()[:-200]), '0007.dcm'),
    'no units': (lambda d: [rewritten(p, RescaleType='US') for p in d.iterdir()], 'RescaleType is not HU')}

@pytest.mark.parametrize('fault', FAULTS)
def test_faults_are_named(series, fault):
    "A series with a fault is set aside with a reason; another beside it is read."
    do, said = FAULTS[fault]
    do(series)
    write_nifti(Scan(np.int16(np.random.default_rng(0).integers(-1000, 900, (8, 9, 10))), 3, np.zeros(3)),
                series.parent/'wrist'/'good.nii.gz')
    table = read_images(series.parent, cache=False)
    assert set(table.source) == {'wrist/good.nii.gz'} and set(table.region) == {'wrist'} and set(table.spacing) == {3.}
    found = problems(table)
    assert found.file.tolist() == ['ct'] and said in found.reason[0], found.reason[0]

def test_no_name_leaves_a_header(series):
    "Table, projections, caches, errors and pages know nothing of the patient."
    more = dict(PatientName=SECRET, PatientID='4711-4711', InstitutionName='Klinik Geheim', StudyDate='20240131')
    for path in series.iterdir(): rewritten(path, **more)
    table = read_images(series.parent, cache=False)
    seen = table.to_csv() + json.dumps(table.attrs, default=str)
    seen += ''.join(path.read_bytes().decode('latin1') for path in map(Path, table.path))
    for word in ('Mustermann', '4711-4711', 'Geheim', '20240131', str(dcmread(series/'0001.dcm').StudyInstanceUID)):
        assert word not in seen
    (series/'0004.dcm').unlink()
    with pytest.raises(ValueError) as error: read_images(series.parent, cache=False)
    assert 'Mustermann' not in str(error.value) and '0003.dcm and 0005.dcm' in str(error.value)

def test_mri_is_shown_and_sent_away(tmp_path):
    "Slices of MRI are a volume that can be looked at, with a reason not to answer."
    for k in range(4):
        ds = dcmread(get_testdata_file('MR_small.dcm'))
        ds.ImagePositionPatient = [*ds.ImagePositionPatient[:2], 4.*k]
        ds.ImageOrientationPatient, ds.InstanceNumber = [1, 0, 0, 0, 1, 0], k
        if 'SpacingBetweenSlices' in ds: ds.SpacingBetweenSlices = 4
        ds.save_as(tmp_path/f'{k}.dcm')
    volume = read_volume(next(iter(volumes_below(tmp_path).values())))
    assert volume.modality == 'MR' and 'MRI' in why_not(volume) and projected_film(volume)[0].std() > 5

def test_foreign_series_of_pydicom():
    "Of the series that pydicom ships, one is whole and read; the others are refused with a reason."
    read, refused = {}, {}
    for name, files in volumes_below(Path(get_testdata_file('CT_small.dcm')).parent).items():
        try: read[name] = read_volume(files)
        except ValueError as e: refused[name] = str(e)
    assert len(read) + len(refused) >= 6 and all(refused.values())
    (volume,) = read.values()
    assert volume.values.shape == (5, 16, 16) and volume.modality == 'CT' and volume.spacing[0] == 2.5
    assert any('slices between them are missing' in reason for reason in refused.values())

def test_promised_voxels(tmp_path):
    "A header that promises more voxels than the limit is refused before anything is unpacked."
    import nibabel as nib
    header = nib.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    (tmp_path/'big.nii.gz').write_bytes(gzip.compress(header.binaryblock + b'\0'*4))
    with pytest.raises(ValueError, match='voxels'): read_volume([tmp_path/'big.nii.gz'])

def test_validator(tmp_path):
    "Where dciodvfy is installed, it finds no error in a written series."
    if not shutil.which('dciodvfy'): pytest.skip('dciodvfy (Debian: dicom3tools) is not installed')
    scans = make_scans(tmp_path/'scans', n=1, mm=5.)
    path = next(scans.rglob('0010.dcm'))
    done = subprocess.run(['dciodvfy', str(path)], capture_output=True, text=True)
    assert 'Error' not in done.stdout + done.stderr, done.stderr

def test_command_line(tmp_path):
    "Films and CT beside them; the folder of CT is counted like one of films."
    program = 'from bonefrac.cli import main; import sys; main(sys.argv[1:])'
    def bonefrac(*words):
        done = subprocess.run([sys.executable, '-c', program, *words], capture_output=True, text=True, cwd=tmp_path)
        assert not done.returncode, done.stderr
        return done.stdout
    made = json.loads(bonefrac('phantom', '--n', '6', '--size', '64', '--ct', '--mm', '5', '--json'))
    assert made['scans'] == [str(tmp_path/'phantoms-ct')]
    images = load_images(str(tmp_path/'phantoms-ct'))
    truth = pd.read_csv(tmp_path/'phantoms-ct'/'truth.csv')
    assert images.attrs['simulated'] and images.source.nunique() == len(truth)
    by_name = images.drop_duplicates('source').set_index('source')
    assert by_name.annotated.reindex(truth.name).tolist() == (truth.fractures > 0).tolist()
    assert by_name.region.reindex(truth.name).tolist() == truth.region.tolist()
    assert 'SIMULATED' in bonefrac('data', str(tmp_path/'phantoms-ct'))
