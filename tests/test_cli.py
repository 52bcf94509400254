"The command `bonefrac` in processes of its own."
import os
import shutil
import signal
import subprocess

from conftest import BIN

from bonefrac.experiment.run import read_run
from bonefrac.experiment.record import finished

def test_help_and_version_do_not_import_torch(call, tmp_path):
    program = "import sys, bonefrac.cli as c\nc.main(['--help'])\nc.main(['--version'])\nprint(sorted({'torch', 'fastai', 'pandas'} & set(sys.modules)))"
    done = call('python', '-c', program, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.rstrip().endswith('[]'), done.stdout + done.stderr

def test_study_makes_what_is_missing(call, tiny, tmp_path):
    line = ['bonefrac', 'study', *tiny, '--seed', '0,1']
    done = call(*line, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert '95 % interval' in done.stdout and done.stdout.count('epoch  1/1') == 2
    report = next(line.split(': ')[1] for line in done.stdout.splitlines() if line.startswith('report: '))
    page = open(report, encoding='utf8').read()
    assert 'squeezenet1_1 seed=1' in page and 'p_holm' in page
    assert len(list((tmp_path/'runs/report').glob('*.html'))) == 3
    times = {folder: (folder/'model.safetensors').stat().st_mtime_ns for folder in finished(tmp_path/'runs')}
    lost = next(iter(times))
    shutil.rmtree(lost)
    again = call(*line, cwd=tmp_path)
    assert again.returncode == 0 and again.stdout.count('epoch  1/1') == 1
    now = {folder: (folder/'model.safetensors').stat().st_mtime_ns for folder in finished(tmp_path/'runs')}
    assert {folder for folder in times if times[folder] != now[folder]} == {lost}

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

def test_a_killed_kernel_leaves_nothing_half_and_the_run_is_made_again(call, tiny, tmp_path):
    line = ['bonefrac', 'run', *tiny, '--epochs', '20']
    process = subprocess.Popen([str(BIN/'bonefrac'), *line[1:]], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for text in process.stdout:
        if 'epoch  1/20' in text: break
    [aside] = (tmp_path/'runs').glob('.*')
    os.kill(int(aside.name.rsplit('.', 1)[1]), signal.SIGKILL) # an unfinished run is named by its process
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1 and 'died' in err and 'Traceback' not in err
    assert finished(tmp_path/'runs') == [] and aside.exists()
    assert call(*line, cwd=tmp_path).returncode == 0
    [run] = finished(tmp_path/'runs')
    assert not aside.exists() and sorted(p.name for p in (tmp_path/'runs').iterdir()) == sorted(['notebooks', run.name])

def test_interrupt_is_one_line(tiny, tmp_path):
    process = subprocess.Popen([str(BIN/'bonefrac'), 'run', *tiny, '--epochs', '60'], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    for text in process.stdout:
        if 'epoch  1/60' in text: break
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and 'bonefrac: interrupted; the same command goes on' in err and 'Traceback' not in err
    assert finished(tmp_path/'runs') == []

def test_predict_names_files_and_problems(call, tiny, tmp_path):
    assert call('bonefrac', 'phantom', '--out', tmp_path/'phantoms', '--n', '12', '--size', '96', cwd=tmp_path).returncode == 0
    assert call('bonefrac', 'run', *tiny, cwd=tmp_path).returncode == 0
    (tmp_path/'phantoms/empty.jpg').touch()
    [run] = finished(tmp_path/'runs')
    done = call('bonefrac', 'predict', tmp_path/'phantoms', run, '--out', 'regions.csv', cwd=tmp_path)
    assert done.returncode == 0 and 'Not a medical device' in done.stdout
    assert 'empty.jpg: the file is empty' in done.stderr
    assert len((tmp_path/'regions.csv').read_text().splitlines()) == 13
    only_bad = call('bonefrac', 'predict', tmp_path/'phantoms/empty.jpg', run, cwd=tmp_path)
    assert only_bad.returncode == 1

def test_filters_and_collect(call, tiny, tmp_path):
    done = call('bonefrac', 'filters', 'phantom:72', '--n', '5', '--out', 'filtered', cwd=tmp_path)
    assert done.returncode == 0 and 'clahe_median' in done.stdout and len(list((tmp_path/'filtered').rglob('*.png'))) == 30
    assert call('bonefrac', 'run', *tiny, cwd=tmp_path).returncode == 0
    done = call('bonefrac', 'collect', cwd=tmp_path)
    assert done.returncode == 0 and '1 runs in results/runs.csv' in done.stdout
    assert not [p for p in (tmp_path/'results').rglob('*') if p.suffix in ('.safetensors', '.png', '.jpg')]
