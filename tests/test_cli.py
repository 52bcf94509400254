"The command `bonefrac` in processes of its own."
import json
import os
import shutil
import signal
import subprocess

import psutil
import pytest

from conftest import BIN

from bonefrac.experiment.record import finished
from bonefrac.experiment.run import read_run

HEAVY = {'torch', 'fastai', 'pandas', 'numpy', 'cv2'}

def options_of(**values):
    "Values as options of the command line."
    return [part for name, value in values.items() for part in (f'--{name}', str(value))]

def with_control_characters(text): return [line for line in text.splitlines() if '\r' in line or '\x1b' in line]

def start(*args, cwd):
    "Starts the command; its output is read line by line."
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen([str(BIN/'bonefrac'), *map(str, args)], cwd=cwd, start_new_session=True, **pipes)

def read_until(process, words):
    "Read standard output until a line has these words."
    assert any(words in line for line in process.stdout), f'{words!r} was not printed'

@pytest.fixture(scope='module')
def two_classes(tmp_path_factory):
    "A folder of 320 images in two classes, enough for a bar where one is drawn."
    import cv2
    import numpy as np
    folder, rng = tmp_path_factory.mktemp('classes'), np.random.default_rng(0)
    for i in range(320):
        file = folder/('bright', 'dark')[i % 2]/f'{i}.png'
        file.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(file), rng.integers(0, 120, (40, 40), np.uint8) + np.uint8(120*(i % 2 == 0)))
    return folder

def test_help_and_version_are_light(call, tmp_path):
    program = ('import sys, bonefrac.cli as c\nc.main(["--help"])\nc.main(["--version"])\n'
               f'print(sorted({HEAVY} & set(sys.modules)))')
    done = call('python', '-c', program, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.rstrip().endswith('[]'), done.stdout + done.stderr

def test_help_ends_quietly_where_its_reader_does(tmp_path):
    done = subprocess.run(f'{BIN}/bonefrac --help | head -2', shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert len(done.stdout.splitlines()) == 2 and done.stderr == ''
    for line in (['--help'], ['run', '--help']):
        process = start(*line, cwd=tmp_path)
        process.stdout.close() # nobody reads
        assert (process.stderr.read(), process.wait()) == ('', 0)

def test_study_makes_what_is_missing(call, tiny, tmp_path):
    line = ['bonefrac', 'study', *tiny, '--seed', '0,1']
    done = call(*line, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert '95 % interval' in done.stdout and done.stdout.count('epoch  1/1') == 2
    assert done.stdout.count('SIMULATED') == 2 and 'Not a medical device' in done.stdout
    report = next(line.split(': ')[1] for line in done.stdout.splitlines() if line.startswith('report: '))
    page = (tmp_path/report).read_text(encoding='utf8')
    assert 'squeezenet1_1 seed=1' in page and 'p (Holm)' in page and 'SIMULATED' in page
    assert len(list((tmp_path/'runs/report').glob('*.html'))) == 3
    times = {folder: (folder/'model.safetensors').stat().st_mtime_ns for folder in finished(tmp_path/'runs')}
    lost = next(iter(times))
    shutil.rmtree(lost)
    again = call(*line, cwd=tmp_path)
    assert again.returncode == 0 and again.stdout.count('epoch  1/1') == 1
    now = {folder: (folder/'model.safetensors').stat().st_mtime_ns for folder in finished(tmp_path/'runs')}
    assert {folder for folder in times if times[folder] != now[folder]} == {lost}

def test_a_study_asks_several_questions(call, tmp_path):
    line = 'study --data phantom:144:0.5 --size 64 --epochs 1 --batch_size 8 --weights scratch'.split()
    tasks = ['--task', 'region,abnormal,spot,spot_map']
    done = call('bonefrac', *line, *tasks, '--arch', 'efficientnet_lite0', cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    made = {read_run(folder)['config']['task'] for folder in finished(tmp_path/'runs')}
    assert made == {'region', 'abnormal', 'spot', 'spot_map'}
    assert all(word in done.stdout for word in ('accuracy', 'AUROC', 'ap50'))
    page = (tmp_path/'runs'/'report'/'index.html').read_text(encoding='utf8')
    assert '4 runs on 4 test sets' in page

def test_a_failed_run_is_recorded_and_the_others_go_on(call, tiny, tmp_path):
    (tmp_path/'weights').mkdir()
    (tmp_path/'weights'/'squeezenet1_1.pth').write_bytes(b'truncated')
    line = ['bonefrac', 'study', *tiny, '--weights', 'imagenet', '--arch', 'squeezenet1_1,efficientnet_lite0']
    done = call(*line, cwd=tmp_path, BONEFRAC_WEIGHTS=str(tmp_path/'weights'))
    assert done.returncode == 1
    assert 'squeezenet1_1.pth: unreadable weights' in done.stderr and '1 of 2 runs failed' in done.stderr
    assert [read_run(f)['config']['arch'] for f in finished(tmp_path/'runs')] == ['efficientnet_lite0']
    [failed] = (tmp_path/'runs/notebooks').glob('squeezenet1_1*.failed.ipynb')
    assert str(failed.name) in done.stderr
    assert 'unreadable weights' in failed.read_text()

def kernels_of(process):
    "Kernels that a process has started."
    children = psutil.Process(process.pid).children(recursive=True)
    return [child for child in children if 'ipykernel' in ' '.join(child.cmdline())]

def hidden(runs): return [path for path in runs.glob('.*') if path.is_dir()]

def test_a_killed_kernel_leaves_nothing_half_and_the_run_is_made_again(call, tiny, tmp_path):
    line = ['run', *tiny, '--epochs', '20']
    process = start(*line, cwd=tmp_path)
    read_until(process, 'epoch  1/20')
    [kernel] = kernels_of(process)
    [aside] = hidden(tmp_path/'runs')
    kernel.send_signal(signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1 and 'died' in err and 'Traceback' not in err
    assert finished(tmp_path/'runs') == [] and aside.exists()
    again = call('bonefrac', *line, cwd=tmp_path)
    assert again.returncode == 0 and 'an earlier attempt was interrupted; this run starts anew' in again.stdout
    [run] = finished(tmp_path/'runs')
    assert sorted(path.name for path in (tmp_path/'runs').iterdir()) == sorted(['notebooks', run.name])

def test_interrupt_is_one_line(tiny, tmp_path):
    process = start('run', *tiny, '--epochs', '60', cwd=tmp_path)
    read_until(process, 'epoch  1/60')
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and 'Traceback' not in err
    assert 'bonefrac: interrupted; run the same command again to resume' in err
    assert finished(tmp_path/'runs') == []

def test_predict_names_files_and_problems(call, tiny, tmp_path):
    made = call('bonefrac', 'phantom', '--out', tmp_path/'phantoms', '--n', '12', '--size', '96', cwd=tmp_path)
    assert made.returncode == 0
    assert call('bonefrac', 'run', *tiny, cwd=tmp_path).returncode == 0
    (tmp_path/'phantoms/empty.jpg').touch()
    [run] = finished(tmp_path/'runs')
    done = call('bonefrac', 'predict', tmp_path/'phantoms', run, '--out', 'answers.csv', cwd=tmp_path)
    assert done.returncode == 0 and 'Not a medical device' in done.stdout and 'SIMULATED' in done.stdout
    assert 'empty.jpg: the file is empty' in done.stderr
    assert len((tmp_path/'answers.csv').read_text().splitlines()) == 13
    only_bad = call('bonefrac', 'predict', tmp_path/'phantoms/empty.jpg', run, cwd=tmp_path)
    assert only_bad.returncode == 1 and only_bad.stdout == '' and only_bad.stderr.count('\n') == 1
    for option in ('--out', '--html'):
        no_file = call('bonefrac', 'predict', tmp_path/'phantoms', run, option, 'phantoms', cwd=tmp_path)
        assert no_file.returncode == 1 and no_file.stdout == ''
        assert no_file.stderr == 'bonefrac: phantoms: a folder; name a file to write\n', no_file.stderr
    images = sorted((tmp_path/'phantoms').rglob('*_png*.jpg'))[:3]
    for image in images: shutil.copy(image, tmp_path)
    command = f'{BIN}/bonefrac predict *.jpg {run} --json --quiet'
    globbed = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert globbed.stderr == ''
    assert [row['path'] for row in json.loads(globbed.stdout)['images']] == sorted(image.name for image in images)

def test_filters_and_collect(call, tiny, tmp_path):
    done = call('bonefrac', 'filters', 'phantom:72', '--n', '5', '--out', 'filtered', cwd=tmp_path)
    assert done.returncode == 0 and 'clahe_median' in done.stdout
    assert len(list((tmp_path/'filtered').rglob('*.png'))) == 30
    assert call('bonefrac', 'run', *tiny, cwd=tmp_path).returncode == 0
    done = call('bonefrac', 'collect', cwd=tmp_path)
    assert done.returncode == 0 and '1 runs in results/runs.csv' in done.stdout
    assert not [p for p in (tmp_path/'results').rglob('*') if p.suffix in ('.safetensors', '.png', '.jpg')]

def test_json_and_quiet_and_both_spellings(call, tiny, tmp_path):
    spelt = ['--batch-size' if word == '--batch_size' else word for word in tiny]
    found = call('bonefrac', 'run', *tiny, '--json', cwd=tmp_path)
    assert found.returncode == 0 and 'epoch  1/1' in found.stderr, found.stderr
    [row] = json.loads(found.stdout)['runs']
    assert row['arch'] == 'squeezenet1_1' and json.loads(found.stdout)['simulated']
    quiet = call('bonefrac', 'run', *spelt, '--seed', '1', '--quiet', cwd=tmp_path)
    assert quiet.returncode == 0 and quiet.stderr == ''
    assert 'epoch' not in quiet.stdout and '95 % interval' in quiet.stdout
    assert [read_run(folder)['config']['batch_size'] for folder in finished(tmp_path/'runs')] == [8, 8]
    refused = call('bonefrac', 'run', *spelt, '--task', 'abnormal', '--json', cwd=tmp_path)
    assert refused.returncode == 1 and refused.stdout == '' and refused.stderr.count('bonefrac: task abnormal') == 1
    assert len(list((tmp_path/'runs/notebooks').iterdir())) == 2 # no notebook was started

def test_other_tasks_and_no_control_characters_in_a_pipe(call, tiny, two_classes, tmp_path):
    seen = call('bonefrac', 'data', two_classes, cwd=tmp_path)
    assert seen.returncode == 0, seen.stderr
    assert f'next: bonefrac run --data {two_classes} --task label' in seen.stdout
    label = call('bonefrac', 'run', *tiny, *options_of(data=two_classes, task='label'), cwd=tmp_path)
    assert label.returncode == 0, label.stderr[-2000:]
    assert 'accuracy' in label.stdout and 'SIMULATED' not in label.stdout
    phantoms = options_of(out='phantoms', n=60, size=96, annotated=.5)
    assert call('bonefrac', 'phantom', *phantoms, cwd=tmp_path).returncode == 0
    yes_no = call('bonefrac', 'run', *tiny, *options_of(data='phantoms', task='abnormal'), cwd=tmp_path)
    assert yes_no.returncode == 0 and 'AUROC' in yes_no.stdout and 'SIMULATED' in yes_no.stdout, yes_no.stderr[-2000:]
    for done in (seen, label, yes_no): assert with_control_characters(done.stdout + done.stderr) == []

def test_errors_are_one_line_with_the_nearest_name(call, tmp_path):
    for line, status, message in [('predikt', 2, "unknown command 'predikt'; did you mean predict?"),
                                  ('run --batch-sise 8', 2, 'unknown option --batch-sise; did you mean --batch-size;'),
                                  ('study grid.yml', 2, 'grid.yml is a grid file; use bonefrac grid grid.yml'),
                                  ('data /no/such.zip', 1, "'/no/such.zip': no such file or folder")]:
        done = call('bonefrac', *line.split(), cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr.count('\n')) == (status, '', 1), done.stderr
        assert done.stderr.startswith(f'bonefrac: {message}')
    assert 'Traceback' in call('bonefrac', 'data', '/no/such.zip', '--debug', cwd=tmp_path).stderr
