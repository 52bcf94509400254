"Archives of phantoms as whole processes make them: bytes, faults, memory, and an audit against the truth."
import json
import os
import signal
import subprocess
import sys
import time
from hashlib import sha256

import cv2
import numpy as np
import pandas as pd
import pytest

from conftest import BIN

from bonefrac.audit.examinations import audit
from bonefrac.audit.manifests import audited
from bonefrac.data.table import summary
from bonefrac.data.sources import read_images
from bonefrac.phantom.anatomy import VIEWS
from bonefrac.phantom.nuisances import NUISANCES, Case
from bonefrac.phantom.simulate import phantom_image, simulate
from bonefrac.phantom.archive import make_phantoms, plan
from bonefrac.data.groups import crossing_groups
from bonefrac.training.splits import make_split

WITH_JOBS = '''
import resource, sys
import bonefrac.phantom.archive as archive
folder, n, size, jobs = sys.argv[1], *map(int, sys.argv[2:])
archive._parallel = lambda n: archive.joblib.Parallel(n_jobs=jobs, return_as='generator')
archive.make_phantoms(folder, n=n, size=size, copies=1, masks=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
'''

def digest(folder):
    "Content of every file below a folder."
    files = [path for path in sorted(folder.rglob('*')) if path.is_file()]
    return {path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files}

def test_one_seed_gives_the_same_bytes_in_every_process(call, tmp_path):
    "One process alone, one with a pool; other numbers of threads and hash seeds."
    for name, jobs in (('alone', 1), ('pool', 2)):
        env = dict(OMP_NUM_THREADS=str(jobs), PYTHONHASHSEED=str(jobs))
        done = call('python', '-c', WITH_JOBS, tmp_path/name, 40, 128, jobs, cwd=tmp_path, **env)
        assert done.returncode == 0, done.stderr[-3000:]
    assert len(digest(tmp_path/'alone')) > 150 and digest(tmp_path/'alone') == digest(tmp_path/'pool')

def test_the_command_writes_an_archive_that_every_reader_takes(call, tmp_path):
    done = call('bonefrac', 'phantom', '--n', '160', '--size', '96', '--annotated', '1', '--out', 'made', cwd=tmp_path)
    assert done.returncode == 0 and 'truth.csv' in done.stdout, done.stderr
    images, truth = read_images(tmp_path/'made', cache=False), pd.read_csv(tmp_path/'made/truth.csv')
    assert images.attrs['problems'] == [] and len(images) == len(truth) == 160
    assert summary(images).loc['all', 'annotated'] == 160
    split = make_split(images, folds=4)
    subject = split.name.str.extract(r'(subject\d+)')[0]
    assert crossing_groups(split.assign(subject=subject), 'subject') == [] and split.study.nunique() < len(split)
    shipped = audited(images).assign(subject=images.name.str.extract(r'(subject\d+)')[0])
    assert crossing_groups(shipped, 'subject') == [] # nor does the shipped split

@pytest.mark.parametrize('arguments, reason', [
    (('--n', '0'), 'at least one image'), (('--size', '20'), 'between 64 and 1024 px'),
    (('--annotated', '2'), 'between 0 and 1'),
    (('--off', 'casts'), 'unknown nuisance casts; did you mean cast?'), (('--copies', '-1'), 'use 0 to 20')])
def test_impossible_parameters_are_one_line(call, tmp_path, arguments, reason):
    done = call('bonefrac', 'phantom', '--out', 'made', *arguments, cwd=tmp_path)
    assert done.returncode == 1 and reason in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []

def start(folder, n, **more):
    "A process that has begun to write `made`."
    command = [str(BIN/'bonefrac'), 'phantom', '--out', 'made', '--n', str(n)]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    while not list(folder.glob('.*.made/train/images/*.jpg')):
        time.sleep(.1)
        assert process.poll() is None, process.communicate()[1]
    return process

def test_a_killed_process_leaves_no_archive(tmp_path):
    process = start(tmp_path, 2000, start_new_session=True)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path/'made').exists()
    assert make_phantoms(tmp_path/'made', n=6, size=64).is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ['made'] # what was left over is gone

def test_interrupt_is_one_line_and_leaves_nothing(tmp_path):
    process = start(tmp_path, 100)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and 'interrupted' in err and 'Traceback' not in err
    assert list(tmp_path.iterdir()) == []

def test_a_full_disk_is_one_line_and_leaves_nothing(call, tmp_path):
    "A real file system of 600 kB."
    disk = tmp_path/'disk'
    disk.mkdir()
    mount = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=600k', 'tmpfs', str(disk)], capture_output=True)
    if mount.returncode: pytest.skip('mounting a small disk needs root')
    try:
        done = call('bonefrac', 'phantom', '--out', disk/'made', '--n', '100', '--masks', cwd=tmp_path)
        left = [path.name for path in disk.iterdir()]
    finally: subprocess.run(['umount', str(disk)])
    reason = f'{disk/"made"}: not written: No space left on device; nothing was kept'
    assert done.returncode == 1 and reason in done.stderr, done.stderr
    assert left == [] and len(done.stderr.strip().splitlines()) == 1

def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    "Peak of one process, for 20 and for 320 images."
    def peak(n):
        command = [sys.executable, '-c', WITH_JOBS, str(tmp_path/str(n)), str(n), '256', '1']
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    peaks = [peak(n) for n in (20, 320)]
    assert peaks[1] < peaks[0] + 20*1024, peaks # kilobytes

def test_an_audit_finds_the_copies_that_were_made(tmp_path):
    "Sources found from pixels alone, against the truth, in images shipped as the published archive was."
    root = make_phantoms(tmp_path/'made', n=80, annotated=1., copies=2, nuisances=dict(collimation=0))
    truth = pd.read_csv(root/'groups.csv').set_index('name')
    (root/'groups.csv').unlink()
    images = read_images(root, cache=False)
    found = audit(images.assign(source=[f'file{i}' for i in range(len(images))])).groups # no name gives a copy away
    pairs = pd.crosstab(found.source.to_numpy(), truth.loc[images.name].source.to_numpy()).gt(0)
    joined, parted = (pairs.sum(axis=1) > 1).sum(), (pairs.sum(axis=0) > 1).sum()
    assert len(images) > 180 and joined <= 1 and parted <= 4, (joined, parted) # of 80 sources
    original = truth.loc[found.name[found.original]].original
    assert original.mean() > .85

def test_a_switch_changes_its_trace_alone():
    "Of two sets that differ in one switch, only images with that nuisance differ."
    rows = [case for *_, case in plan(60, 0, 1.)]
    often = dict.fromkeys(NUISANCES, .5)
    usual = [simulate(case, 96, often) for case in rows]
    for name in set(NUISANCES) - {'exposure'}:
        off = [simulate(case, 96, {**often, name: 0}) for case in rows]
        changed = np.array([not np.array_equal(one.image, other.image) for one, other in zip(usual, off)])
        there = np.array([bool(phantom.truth[name]) for phantom in usual])
        assert there.sum() > 0 and not any(phantom.truth[name] for phantom in off), name
        assert not (changed & ~there).any(), name # nothing changes where it was not
        assert changed[there].mean() > .8, name

def test_metal_and_frame_do_not_tell_a_fracture():
    "The same subject without the fracture: same frame, same place of the metal."
    for seed in range(8):
        plate = {**dict.fromkeys(NUISANCES, 0), 'plate': 1}
        one, other = (phantom_image('forearm', fractured, seed, 256, nuisances=plate) for fractured in (True, False))
        assert one.image.shape == other.image.shape and one.truth['pixel_mm'] == other.truth['pixel_mm']
        metal = [np.argwhere(phantom.image > np.quantile(phantom.image, .995)) for phantom in (one, other)]
        assert np.abs(np.median(metal[0], 0) - np.median(metal[1], 0)).max() < 6

def test_every_planned_fracture_is_in_its_image():
    for *_, case in plan(120, 3, 1.):
        phantom = simulate(case, 96)
        assert phantom.truth['fractures'] == len(phantom.polygons) >= 1, case
        for row in phantom.fractures: assert (phantom.mask >= row['label']).any(), case

def test_every_region_and_view_can_be_made_at_every_size():
    for region, views in VIEWS.items():
        for i, view in enumerate(views):
            for size in (64, 200, 1024):
                phantom = simulate(Case(region, view, True, i, i, i), size)
                assert max(phantom.image.shape) == size and phantom.image.std() > 3
                assert phantom.polygons and phantom.mask.max() >= 2

def test_polygons_hold_the_break_of_the_mask():
    "Where two fragments of the mask meet, the polygon is."
    off = dict.fromkeys(NUISANCES, 0)
    for seed in range(12):
        phantom = phantom_image('humerus', seed=seed, nuisances=off)
        h, w = phantom.mask.shape
        corners = [np.round(polygon*[w, h]).astype(np.int32) for polygon in phantom.polygons]
        inside = cv2.fillPoly(np.zeros((h, w), np.uint8), corners, 1)
        fragments = [(phantom.mask == label).astype(np.uint8) for label in (2, 3)]
        near = [cv2.dilate(fragment, np.ones((3, 3), np.uint8)) for fragment in fragments]
        meet = (near[0] & near[1]) > 0
        if meet.any(): assert inside[meet].mean() > .95, (seed, phantom.truth['kinds'])
        whole = (phantom.mask > 0).sum()
        assert (inside.astype(bool) & (phantom.mask > 0)).sum() < .35*whole # and most of the bone is outside

def test_truth_is_whole(tmp_path):
    root = make_phantoms(tmp_path/'made', n=60, size=96)
    truth, fractures = pd.read_csv(root/'truth.csv'), pd.read_csv(root/'fractures.csv')
    assert set(NUISANCES) - {'exposure'} <= set(truth) and json.loads((root/'phantom.json').read_text())['n'] == 60
    per_image = fractures.groupby('name')
    assert (per_image.size().reindex(truth.name, fill_value=0).to_numpy() == truth.fractures).all()
    assert (per_image.severity.max().reindex(truth.name, fill_value=0).to_numpy() == truth.severity).all()
    assert ((truth.severity == 0) == (truth.fractures == 0)).all() and set(truth.severity) == {0, 1, 2, 3}
    moved = fractures.translation_mm + fractures.gap_mm + fractures.shortening_mm
    assert (fractures.view_translation_mm <= moved + 1).all()
    assert fractures[fractures.kind.isin(['greenstick', 'buckle'])].translation_mm.sum() == 0

