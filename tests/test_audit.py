"The command `bonefrac audit` on archives with known faults."
import pandas as pd
import pytest

from bonefrac.audit.findings import leaky_phantoms

@pytest.fixture(scope='module')
def leaky(tmp_path_factory): return leaky_phantoms(tmp_path_factory.mktemp('data')/'leaky', n=48)

def test_findings_are_printed_and_written(call, leaky, tmp_path):
    files = sorted((leaky/'train/images').glob('*.jpg'))
    data = files[0].read_bytes()
    files[0].write_bytes(data[:len(data)//3])
    try: done = call('bonefrac', 'audit', str(leaky), '--known', '10', cwd=tmp_path)
    finally: files[0].write_bytes(data)
    assert done.returncode == 0, done.stderr[-3000:]
    for text in ('distinct sources; 1 files set aside', 'studies cross it', 'empty copy', 'shortcut to'):
        assert text in done.stdout, done.stdout
    page = (tmp_path/'audit/index.html').read_text(encoding='utf8')
    assert 'report: audit/index.html' in done.stdout
    assert page.count('<img') >= 3 and files[0].name in page and 'Traceback (most' not in page
    crossing = pd.read_csv(tmp_path/'audit/crossing.csv')
    assert (crossing['copy'] & crossing.parts.str.contains('train, test')).sum() >= 2
    assert pd.read_csv(tmp_path/'audit/files.csv').file.tolist() == [files[0].relative_to(leaky).as_posix()]

def test_corrected_groups_beside_the_data_are_used(call, leaky, tmp_path):
    "Groups that someone wrote win over those that an audit would find."
    from bonefrac.audit.manifests import audited, write_groups
    from bonefrac.data.sources import read_images
    images = read_images(leaky)
    own = images.assign(original=True, study_strict='one', study='one')
    write_groups(own, leaky/'groups.csv')
    try: assert audited(images).study.unique().tolist() == ['one']
    finally: (leaky/'groups.csv').unlink()
    assert audited(images).study.nunique() > 20

REFUSED = [
    (('gone.zip',), "'gone.zip': no such file or folder"),
    (('.',), 'the folder is empty'),
    (('.', '--known', '0'), 'known must be at least 1'),
]

@pytest.mark.parametrize('arguments, reason', REFUSED)
def test_errors_are_one_line(call, tmp_path, arguments, reason):
    done = call('bonefrac', 'audit', *arguments, cwd=tmp_path)
    assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith('bonefrac: ') and reason in done.stderr
    assert not (tmp_path/'audit').exists()

def test_help_teaches(call, tmp_path):
    done = call('bonefrac', 'audit', '--help', cwd=tmp_path)
    assert done.returncode == 0 and 'studies that cross the split' in done.stdout and '--known' in done.stdout

def test_folders_of_patients_stay_together(tmp_path):
    "The layout region/patient/study/image: patients are the studies of the data set."
    import cv2
    from bonefrac.audit.manifests import audited
    from bonefrac.data.sources import read_images
    import numpy as np
    from bonefrac.data.groups import crossing_groups
    from bonefrac.training.splits import make_split
    rng = np.random.default_rng(0)
    for region in ('elbow', 'wrist'):
        for i in range(24):
            file = tmp_path/'own'/f'XR_{region.upper()}'/f'patient{i//3}'/f'study{i % 2}'/f'image{i % 3 + 1}.png'
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), cv2.resize(rng.integers(0, 255, (60, 50), dtype=np.uint8), (250, 300)))
    images = read_images(tmp_path/'own')
    split = make_split(audited(images))
    patient = images.set_index('name').study.loc[split.name].to_numpy()
    assert images.study.nunique() == 8 and crossing_groups(split.assign(patient=patient), 'patient') == []

def test_tiny_and_unreadable_images_of_ones_own(call, tmp_path):
    import cv2
    import numpy as np
    rng = np.random.default_rng(0)
    for region in ('elbow', 'wrist'):
        (tmp_path/'own images'/region).mkdir(parents=True)
        for i in range(4):
            noise = rng.integers(0, 255, (20 + 40*i, 24), dtype=np.uint8)
            cv2.imwrite(str(tmp_path/'own images'/region/f'{i}.png'), noise)
    (tmp_path/'own images/elbow/broken.png').write_bytes(b'no image')
    done = call('bonefrac', 'audit', 'own images', '--known', '3', cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '8 images of 8 distinct sources; 1 files set aside' in done.stdout, done.stdout

AUDIT = '''
import sys
from bonefrac.audit.examinations import audit
from bonefrac.data.sources import read_images
audit(read_images(sys.argv[1], cache=False))
'''

def test_a_full_cache_is_one_line(call, leaky, tmp_path):
    "A disk without room for the squares, as a real file system of 300 kB."
    import subprocess
    disk = tmp_path/'disk'
    disk.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=300k', 'tmpfs', str(disk)]
    if subprocess.run(mount, capture_output=True).returncode: pytest.skip('mounting a small disk needs root')
    try: done = call('python', '-c', AUDIT, str(leaky), cwd=tmp_path, XDG_CACHE_HOME=str(disk))
    finally: subprocess.run(['umount', str(disk)])
    assert done.returncode == 1 and 'no room for' in done.stderr.splitlines()[-1]

@pytest.mark.parametrize('room', ['copies', 'examinations', 'manifests', 'shortcuts', 'findings'])
def test_an_import_loads_neither_the_simulator_nor_what_is_needed_late(room):
    import subprocess
    import sys
    heavy = 'bonefrac.phantom.simulate bonefrac.phantom.anatomy cleanlab faiss skimage seaborn matplotlib torch'
    heavy += ' sklearn'*(room in ('copies', 'examinations', 'manifests'))
    code = f'import sys, bonefrac.audit.{room}; print(*(name for name in "{heavy}".split() if name in sys.modules))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == '', done.stdout + done.stderr
