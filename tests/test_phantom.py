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
from bonefrac.phantom.simulate import NUISANCES, Case, phantom_image, simulate
from bonefrac.phantom.archive import make_phantoms, plan
from bonefrac.data.groups import crossing_groups
from bonefrac.training.splits import make_split

def digest(folder):
    "Content of every file below a folder."
    return {path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob('*')) if path.is_file()}

def test_one_seed_gives_the_same_bytes_in_every_process(call, tmp_path):
    "One process alone, one with a pool; other numbers of threads and hash seeds."
    make = 'import sys, bonefrac.phantom.archive as p; p.joblib.Parallel = (lambda real: lambda n_jobs, **kw: real(n_jobs=int(sys.argv[2]), **kw))(p.joblib.Parallel); p.make_phantoms(sys.argv[1], n=40, size=128, copies=1, masks=True)'
    for name, jobs, env in (('alone', 1, dict(OMP_NUM_THREADS='1', PYTHONHASHSEED='1')), ('pool', 2, dict(OMP_NUM_THREADS='2', PYTHONHASHSEED='2'))):
        done = call('python', '-c', make, tmp_path/name, jobs, cwd=tmp_path, **env)
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
    assert crossing_groups(audited(images).assign(subject=images.name.str.extract(r'(subject\d+)')[0]), 'subject') == [] # nor does the shipped split

@pytest.mark.parametrize('arguments, reason', [
    (('--n', '0'), 'at least one image'), (('--size', '20'), 'between 64 and 1024 px'), (('--annotated', '2'), 'between 0 and 1'),
    (('--off', 'casts'), 'unknown nuisance casts; use growth_plates'), (('--copies', '-1'), 'use 0 to 20')])
def test_impossible_parameters_are_one_line(call, tmp_path, arguments, reason):
    done = call('bonefrac', 'phantom', '--out', 'made', *arguments, cwd=tmp_path)
    assert done.returncode == 1 and reason in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []

def test_a_killed_process_leaves_no_archive(tmp_path):
    process = subprocess.Popen([str(BIN/'bonefrac'), 'phantom', '--out', 'made', '--n', '2000'], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while not list(tmp_path.glob('.made.*/made/train/images/*.jpg')): time.sleep(.1); assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path/'made').exists()
    assert make_phantoms(tmp_path/'made', n=6, size=64).is_dir() # what is left over is not in the way

def test_interrupt_is_one_line_and_leaves_nothing(tmp_path):
    process = subprocess.Popen([str(BIN/'bonefrac'), 'phantom', '--out', 'made', '--n', '100'], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob('.made.*/made/train/images/*.jpg')): time.sleep(.1); assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and 'interrupted' in err and 'Traceback' not in err
    assert list(tmp_path.iterdir()) == []

def test_a_full_disk_is_one_line_and_leaves_nothing(call, tmp_path):
    "A real file system of 600 kB."
    disk = tmp_path/'disk'
    disk.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=600k', 'tmpfs', str(disk)], capture_output=True).returncode: pytest.skip('mounting a small disk needs root')
    try:
        done = call('bonefrac', 'phantom', '--out', disk/'made', '--n', '100', '--masks', cwd=tmp_path)
        left = [path.name for path in disk.iterdir()]
    finally: subprocess.run(['umount', str(disk)])
    assert done.returncode == 1 and f'{disk/"made"}: not written: No space left on device; nothing was kept' in done.stderr, done.stderr
    assert left == [] and len(done.stderr.strip().splitlines()) == 1

def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    "Peak of one process, for 20 and for 320 images."
    program = 'import sys, resource, bonefrac.phantom.archive as p; p._parallel = lambda n: p.joblib.Parallel(n_jobs=1, return_as="generator"); p.make_phantoms(sys.argv[1], n=int(sys.argv[2]), size=256); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)'
    peaks = [int(subprocess.run([sys.executable, '-c', program, str(tmp_path/str(n)), str(n)], capture_output=True, text=True, check=True).stdout) for n in (20, 320)]
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
    "Of two sets that differ in one switch, only images with that nuisance differ; but for frame and exposure, only a part of them."
    rows = [case for *_, case in plan(60, 0, 1.)]
    often = dict.fromkeys(NUISANCES, .5)
    usual = [simulate(case, 96, often) for case in rows]
    for name in set(NUISANCES) - {'exposure'}:
        off = [simulate(case, 96, {**often, name: 0}) for case in rows]
        changed = np.array([(a.image.shape != b.image.shape) or (a.image != b.image).any() for a, b in zip(usual, off)])
        there = np.array([bool(a.truth[name]) for a in usual])
        assert there.sum() > 0 and not any(b.truth[name] for b in off), name
        assert not (changed & ~there).any(), name # nothing changes where it was not
        assert changed[there].mean() > .8, name

def test_metal_and_frame_do_not_tell_a_fracture():
    "The same subject without the fracture: same frame, same place of the metal."
    for seed in range(8):
        one, other = (phantom_image('forearm', fractured, seed, 256, nuisances={**dict.fromkeys(NUISANCES, 0), 'plate': 1}) for fractured in (True, False))
        assert one.image.shape == other.image.shape and one.truth['pixel_mm'] == other.truth['pixel_mm']
        metal = [np.argwhere(phantom.image > np.quantile(phantom.image, .995)) for phantom in (one, other)]
        assert np.abs(np.median(metal[0], 0) - np.median(metal[1], 0)).max() < 6

def test_every_planned_fracture_is_in_its_image():
    for *_, case in plan(120, 3, 1.):
        phantom = simulate(case, 96)
        assert phantom.truth['fractures'] == len(phantom.polygons) >= 1, case
        for row in phantom.fractures: assert (phantom.mask >= row['label']).any(), case

def test_every_region_and_view_can_be_made_at_every_size():
    from bonefrac.phantom.anatomy import VIEWS
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
        inside = cv2.fillPoly(np.zeros((h, w), np.uint8), [np.round(p*[w, h]).astype(np.int32) for p in phantom.polygons], 1)
        near = [cv2.dilate((phantom.mask == label).astype(np.uint8), np.ones((3, 3), np.uint8)) for label in (2, 3)]
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
    assert (fractures.view_translation_mm <= fractures[['translation_mm']].max(axis=1) + fractures.gap_mm + fractures.shortening_mm + 1).all()
    assert fractures[fractures.kind.isin(['greenstick', 'buckle'])].translation_mm.sum() == 0

