"The command `bonefrac audit` on archives with known faults."
import pandas as pd
import pytest

from bonefrac.findings import leaky_phantoms

@pytest.fixture(scope='module')
def leaky(tmp_path_factory): return leaky_phantoms(tmp_path_factory.mktemp('data')/'leaky', n=48)

def test_findings_are_printed_and_written(call, leaky, tmp_path):
    files = sorted((leaky/'train/images').glob('*.jpg'))
    data = files[0].read_bytes()
    files[0].write_bytes(data[:len(data)//3])
    try: done = call('bonefrac', 'audit', str(leaky), '--known', '10', cwd=tmp_path)
    finally: files[0].write_bytes(data)
    assert done.returncode == 0, done.stderr[-3000:]
    for text in ('distinct sources; 1 files set aside', 'studies cross it', 'empty copy', 'shortcut to'): assert text in done.stdout, done.stdout
    page = (tmp_path/'audit/index.html').read_text(encoding='utf8')
    assert f'report: {tmp_path/"audit/index.html"}' in done.stdout
    assert page.count('<img') >= 3 and files[0].name in page and 'Traceback (most' not in page
    crossing = pd.read_csv(tmp_path/'audit/crossing.csv')
    assert (crossing['copy'] & crossing.parts.str.contains('train, test')).sum() >= 2
    assert pd.read_csv(tmp_path/'audit/files.csv').file.tolist() == [files[0].relative_to(leaky).as_posix()]

def test_corrected_groups_beside_the_data_are_used(call, leaky, tmp_path):
    "Groups that someone wrote win over those that an audit would find."
    from bonefrac.audit import audited, write_groups
    from bonefrac.data import read_images
    images = read_images(leaky)
    own = images.assign(original=True, study_strict='one', study='one')
    write_groups(own, leaky/'groups.csv')
    try: assert audited(images).study.unique().tolist() == ['one']
    finally: (leaky/'groups.csv').unlink()
    assert audited(images).study.nunique() > 20

@pytest.mark.parametrize('arguments, reason', [(('gone.zip',), "'gone.zip': no such file or folder"), (('.',), 'the folder is empty'), (('.', '--known', '0'), 'known must be at least 1')])
def test_errors_are_one_line(call, tmp_path, arguments, reason):
    done = call('bonefrac', 'audit', *arguments, cwd=tmp_path)
    assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith('bonefrac: ') and reason in done.stderr
    assert not (tmp_path/'audit').exists()

def test_help_teaches(call, tmp_path):
    done = call('bonefrac', 'audit', '--help', cwd=tmp_path)
    assert done.returncode == 0 and 'studies that cross the split' in done.stdout and '--known' in done.stdout
