"Layouts made here: what is read of each, what is only named, and that files add up."
import json

import numpy as np
import pytest
from PIL import Image

from bonefrac.data.sources import read_images

SIZE = '<size><width>30</width><height>40</height></size>'
NO_SIZE = '<size><width>0</width><height>0</height></size>'
CORNERS = '<bndbox><xmin>3</xmin><ymin>4</ymin><xmax>9</xmax><ymax>12</ymax></bndbox>'
HEADER = 'filename,width,height,class,xmin,ymin,xmax,ymax\n'
BOX = '0 .5 .5 .2 .2\n'

def voc(image, label='wrist', size=SIZE):
    "A file of Pascal VOC."
    return f'<annotation><filename>{image}</filename>{size}<object><name>{label}</name>{CORNERS}</object></annotation>'

def labelme(image, kind='rectangle'):
    "A file of LabelMe."
    shape = dict(label='elbow', shape_type=kind, points=[[12, 14], [15, 18]])
    return json.dumps(dict(version='5.0', flags={}, shapes=[shape], imagePath=image, imageHeight=40, imageWidth=30))

def coco(segmentation):
    "A file of COCO with one box."
    mark = dict(image_id=0, category_id=1, bbox=[3, 4, 6, 8], segmentation=segmentation)
    images, names = [dict(id=0, file_name='0.png', width=30, height=40)], [dict(id=1, name='wrist')]
    return json.dumps(dict(images=images, categories=names, annotations=[mark]))

# form: files with their text (None for an image); images read, set aside, polygons, splits
READ = {
    'VOC beside images': ({f'{part}/{i}{end}': text for part in ('train', 'valid', 'test') for i in range(2)
                           for end, text in (('.png', None), ('.xml', voc(f'{i}.png')))}, 6, 0, 6, 'test train valid'),
    'VOC in folders': ({'JPEGImages/0.png': None, 'JPEGImages/1.png': None, 'Annotations/0.xml': voc('0.jpg'),
                        'Annotations/1.xml': voc('C:\\x\\1.png', size=NO_SIZE), 'ImageSets/Main/train.txt': '0\n',
                        'ImageSets/Main/val.txt': '1\n'}, 2, 0, 2, 'train valid'),
    'VOC with an entity': ({'0.png': None, '1.png': None, '0.xml': voc('0.png'),
                            '1.xml': '<!DOCTYPE a [<!ENTITY b "c">]>' + voc('1.png', '&b;')}, 1, 2, 1, ''),
    'VOC cut': ({'0.png': None, '1.png': None, '0.xml': voc('0.png'), '1.xml': voc('1.png')[:99]}, 1, 2, 1, ''),
    'LabelMe': ({'a/0.png': None, 'a/1.png': None, 'a/2.png': None, 'a/0.json': labelme('..\\a\\0.png'),
                 'a/1.json': labelme('/home/me/1.png', 'circle')}, 3, 0, 2, ''),
    'LabelMe cut': ({'0.png': None, '1.png': None, '0.json': labelme('0.png'), '1.json': labelme('1.png')[:70]},
                    1, 2, 1, ''),
    'list of boxes': ({'train/0.png': None, 'train/1.png': None, 'train/_annotations.csv': HEADER
                       + '0.png,30,40,wrist,3,4,9,12\n0.png,30,40,wrist,1,1,2,2\n1.png,30,40,elbow,3,4,9,12\n'},
                      2, 0, 3, 'train'),
    'table of classes': ({'valid/0.png': None, 'valid/_classes.csv': 'filename, wrist, elbow\n0.png, 0, 1\n'},
                         1, 0, 0, 'valid'),
    'COCO masks': ({'train/0.png': None, 'train/_annotations.coco.json': coco(dict(counts=[5], size=[40, 30]))},
                   1, 0, 1, 'train'),
    'FracAtlas': ({'images/Fractured/0.png': None, 'images/Non_fractured/1.png': None, 'Annotations/YOLO/0.txt': BOX,
                   'Annotations/YOLO/1.txt': '', 'dataset.csv': 'image_id,hand,fractured\n0.png,1,1\n1.png,1,0\n'},
                  2, 0, 1, ''),
    'GRAZPEDWRI': ({'images/0.png': None, 'labels/voc/0.xml': voc('0.png', 'fracture'), 'labels/yolo/0.txt': BOX,
                    'dataset.csv': 'filestem,patient_id,fracture_visible,bodypart\n0,7,1,wrist\n'}, 1, 0, 1, ''),
    'YOLO with a path': ({'data.yaml': 'path: ../x\ntrain: [../train/images]\nnames: {0: wrist}\n',
                          'train/images/p1/0.png': None, 'train/labels/p1/0.txt': BOX}, 1, 0, 1, 'train'),
    'YOLO in capitals': ({'Data.yaml': 'names: [wrist]', 'Train/Images/0.png': None, 'Train/Labels/0.txt': BOX},
                         1, 0, 1, 'train'),
    'YOLO of Windows': ({'classes.txt': '\ufeffwrist\r\nelbow\r\n', 'images/0.png': None,
                         'labels/0.txt': '\ufeff1\t.5\t.5\t.2\t.2\r\n\r\n'}, 1, 0, 1, ''),
    'two suffixes': ({'data.yaml': 'names: [wrist]', 'images/0.png': None, 'images/0.bmp': None, 'images/1.png': None,
                      'labels/0.txt': BOX, 'labels/1.txt': BOX}, 1, 2, 1, ''),
    'German folders': ({'Handgelenk /0.png': None, 'Unterarm/0.png': None}, 2, 0, 0, ''),
}

def write(folder, files):
    "Write a data set."
    for i, (name, text) in enumerate(files.items()):
        path = folder/name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 255, (40, 30), np.uint8)
        if text is None: Image.fromarray(pixels).save(path)
        else: path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder

@pytest.fixture
def made(tmp_path):
    "Writes a data set below a folder of the test."
    return lambda files: write(tmp_path/'set', files)

@pytest.mark.parametrize('form', READ)
def test_what_is_read(made, form):
    files, n, aside, polygons, splits = READ[form]
    images = read_images(made(files), cache=False)
    assert (len(images), len(images.attrs['problems']), images.polygons.map(len).sum()) == (n, aside, polygons)
    assert ' '.join(sorted(set(images.split))) == splits
    assert images.attrs['counts'] == dict(files=len(files), read=n, aside=aside, other=len(files) - n - aside)
    boxes = images.polygons[images.polygons.map(len) > 0]
    assert all(0 <= x <= 1 for polygons in boxes for _, *xy in polygons for x in xy)

NAMED = {
    'CVAT XML': ('annotations.xml', '<?xml version="1.0"?>\n<annotations><image id="0" name="0.png"/></annotations>'),
    'VGG Image Annotator': ('via.json', '{"_via_settings": {}}'),
    'Supervisely JSON': ('ann/0.png.json', '{"objects": [{"classTitle": "wrist", "geometryType": "rectangle"}]}'),
    'Label Studio JSON': ('tasks.json', '[{"id": 1, "annotations": [{"id": 3, "result": []}]}]'),
    'CreateML JSON': ('a.json', '[{"image": "0.png", "annotations": [{"label": "a", "coordinates": {"x": 1}}]}]'),
    'oriented boxes (DOTA)': ('labelTxt/0.txt', '1.0 1.0 5.0 1.0 5.0 5.0 1.0 5.0 wrist 0\n'),
    'TFRecord': ('a.tfrecord', b'\0'*9), 'tar (webdataset)': ('0.tar', b'\0'*9), 'Parquet': ('a.parquet', b'PAR1'),
    'HDF5': ('a.h5', b'\x89HDF'), 'NumPy': ('a.npz', b'PK\3\4'), 'NIfTI': ('a.nii.gz', b'\x1f\x8b'),
    'PDF': ('a.pdf', b'%PDF-1.7'),
}

@pytest.mark.parametrize('kind', NAMED)
def test_what_is_named(made, kind):
    name, text = NAMED[kind]
    with pytest.raises(ValueError) as refused: read_images(made({'images/0.png': None, name: text}), cache=False)
    assert f'{kind} is not read (1 file): ' in str(refused.value)

def test_what_is_named_beside_what_is_read(made):
    files = {'wrist/0.png': None, 'elbow/0.png': None, 'via.json': '{"_via_settings": {}}'}
    images = read_images(made(files), cache=False)
    assert images.attrs['notes'] == ['VGG Image Annotator is not read (1 file): export it as COCO, YOLO or Pascal VOC']

@pytest.mark.parametrize('text', ['\tDatei\tKörperregion\n0\t0.png\tHandgelenk\n'.encode('latin1'),
                                  b'path,region\n0,0.png,wrist\n', b'id;path;region\n0;0.png;wrist\n'])
def test_odd_tables(made, text):
    images = read_images(made({'0.png': None, 'a.csv': text})/'a.csv', cache=False)
    assert images.region.tolist() == ['wrist']
