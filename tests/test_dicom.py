"DICOM files as people have them: what is read, how it looks, and that no header gets out."
import json
import subprocess
import sys

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from conftest import ROOT, SHARED

from bonefrac.data.pixels import load_grey, read_film
from bonefrac.data.sources import read_images
from bonefrac.phantom.simulate import phantom_image

PERSON = 'Sample^Erika'

def write(path, grey, study, region='HAND', mono='MONOCHROME2', **header):
    "A radiograph of 12 bits whose header names a person wherever it can."
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = '1.2.840.10008.5.1.4.1.1.1.1', ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid()
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    ds.PatientName = ds.ReferringPhysicianName = ds.OperatorsName = PERSON
    ds.PatientID = ds.AccessionNumber = ds.ViewPosition = ds.Laterality = ds.StudyID = 'ERIKA-PLANTED-47'
    ds.StudyDescription = ds.SeriesDescription = ds.ImageComments = ds.InstitutionName = f'{PERSON} 4711-PLANTED'
    ds.StudyInstanceUID, ds.BodyPartExamined, ds.Modality = study, region, 'DX'
    ds.Rows, ds.Columns = grey.shape[-2:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, mono, 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    for key, value in header.items(): setattr(ds, key, value)
    ds.PixelData = (grey.astype(np.uint16)*16).tobytes()
    ds.save_as(path, enforce_file_format=True)

@pytest.fixture(scope='module')
def hospital(tmp_path_factory):
    "Two regions; a study lies in both of them, the last file has no ending."
    root = tmp_path_factory.mktemp('hospital')
    for i in range(4):
        for region in ('hand', 'wrist'):
            grey = phantom_image('wrist', seed=i, size=64).image
            study = f'1.2.826.47114711.{i if region == "hand" or i == 0 else 10 + i}'
            write(root/region/(f'{i}.dcm' if i else 'IM0'), grey, study, region.upper())
    return root

def test_table(hospital):
    images = read_images(hospital, cache=False)
    assert images.attrs['counts'] == dict(files=8, read=8, aside=0, other=0)
    assert images.region.tolist() == ['hand']*4 + ['wrist']*4 and set(images.modality) == {'DX'}
    assert images.study.nunique() == 7 and images.view.isna().all() and images.laterality.isna().all()
    zero = images[images.name.str.endswith('IM0')]
    assert zero.study.nunique() == 1

def test_no_header_gets_out(hospital, call, tmp_path):
    "The name is planted in every element that may hold text; it must be in no table, log, page or cache."
    outputs = []
    for command in ('data', 'audit'):
        done = call('bonefrac', command, str(hospital), *['--json']*(command == 'data'), cwd=tmp_path)
        outputs.append(done.stdout + done.stderr)
        assert done.returncode == 0, done.stderr
    images = read_images(hospital)
    outputs += [images.to_csv(), json.dumps(images.attrs), repr(read_film(images.path[0]))]
    cache = [path for path in tmp_path.rglob('*') if path.is_file()]
    outputs += [path.read_bytes().decode('latin1') for path in cache]
    assert len(outputs) > 5
    for text in outputs:
        assert not any(word in text for word in ('Erika', 'ERIKA', 'PLANTED', '1.2.826.'))

def test_window_inversion_and_frames(tmp_path):
    grey = phantom_image('elbow', seed=1, size=64).image
    write(tmp_path/'plain.dcm', grey, '1.2')
    write(tmp_path/'inverse.dcm', 255 - grey.astype(int), '1.2', mono='MONOCHROME1', PresentationLUTShape='INVERSE')
    write(tmp_path/'frames.dcm', np.stack([grey]*3), '1.2', NumberOfFrames=3)
    write(tmp_path/'window.dcm', grey, '1.2', WindowCenter=2048, WindowWidth=4096)
    write(tmp_path/'zero.dcm', grey, '1.2', WindowCenter=2048, WindowWidth=0)
    plain = load_grey(tmp_path/'plain.dcm')
    for name in ('frames', 'zero'): assert (load_grey(tmp_path/f'{name}.dcm') == plain).all()
    assert np.abs(load_grey(tmp_path/'inverse.dcm').astype(int) - plain).max() <= 1
    assert np.abs(load_grey(tmp_path/'window.dcm').astype(int) - grey).max() <= 1 # 4,080 of 4,095 are 254
    assert read_film(tmp_path/'frames.dcm').frames == 3

def all_of_pydicom():
    folder = get_testdata_file('CT_small.dcm')
    return sorted(path for path in type(ROOT)(folder).parent.rglob('*') if path.suffix == '.dcm')

def test_files_of_pydicom():
    "Each is read, with grey values that pydicom's own reading orders alike, or refused with a reason."
    read, refused = [], {}
    for path in all_of_pydicom():
        try: grey = load_grey(path)
        except ValueError as e: refused[path.name] = str(e)
        else: read.append((path, grey))
    assert len(read) + len(refused) >= 75 and len(read) >= 55
    assert all(reason.startswith(str(path.parent)) or name in reason for name, reason in refused.items())
    for path, grey in read:
        ds = dcmread(path)
        if ds.SamplesPerPixel > 1 or 'PALETTE' in ds.PhotometricInterpretation or ds.get('VOILUTSequence'): continue
        raw = ds.pixel_array.astype(float)
        raw = raw[0] if raw.ndim == 3 else raw
        assert grey.shape == raw.shape
        if raw.std() == 0 or grey.std() == 0: continue
        sign = -1 if ds.PhotometricInterpretation == 'MONOCHROME1' else 1
        ranks = [values.ravel().argsort().argsort() for values in (raw, sign*grey.astype(float))]
        assert np.corrcoef(*ranks)[0, 1] > .3, path.name

def test_missing_decoder_is_named():
    path = get_testdata_file('MR_small_jpeg_ls_lossless.dcm')
    program = f'''
import sys
for name in ('gdcm', 'openjpeg', 'pylibjpeg', 'jpeg_ls'): sys.modules[name] = None
from bonefrac.data.pixels import load_grey
try: load_grey({str(path)!r})
except ValueError as e: print(e)
else: print('read')
'''
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, cwd=ROOT)
    assert "pip install 'bonefrac[dicom]'" in done.stdout, done.stdout + done.stderr[-1000:]

def test_cases():
    cases = SHARED/'fieldcases'
    if not cases.is_dir(): pytest.skip('the made data sets are not beside this checkout')
    images = read_images(cases/'dicom_folders', cache=False)
    grey = {row.name: load_grey(row.path) for row in images.itertuples()}
    assert any('more than one page or frame' in note for note in images.attrs['notes'])
    assert all(values.std() > 10 for values in grey.values())
    for region in ('elbow', 'wrist'):
        deep = [load_grey(cases/f'deep_rgb/{region}/{name}.png') for name in ('grey', 'rgb', 'alpha')]
        assert (deep[0] == deep[1]).all() and (deep[0] == deep[2]).all() and deep[0].mean() > 50
