"The reader in a real browser: films are dropped, answered and listed, and nothing leaves the machine."
import os
import re
import signal
import socket
import subprocess
from base64 import b64encode
from pathlib import Path

import psutil
import pytest

from conftest import BIN
from test_site import CHROMIUM, FLAGS, barriers

PATIENT = 'Doe^Planted'
DROP = """([selector, name, data]) => {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0)), transfer = new DataTransfer()
  transfer.items.add(new File([bytes], name))
  const event = new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true })
  document.querySelector(selector).dispatchEvent(event)
}"""

@pytest.fixture(scope='module')
def spots(tmp_path_factory):
    "A run of the task spot, on phantoms that are enough for a gate, and the films that it saw."
    from bonefrac.data.sources import load_images
    from bonefrac.experiment.config import run_config
    from bonefrac.experiment.run import run
    config = run_config(task='spot', data='phantom:240:0.5', weights='scratch', size=64, epochs=1, batch_size=8,
                        precision='float32')
    return run(config, tmp_path_factory.mktemp('runs')), list(map(Path, load_images(config.data).path))

def free_port():
    with socket.socket() as one:
        one.bind(('127.0.0.1', 0))
        return one.getsockname()[1]

@pytest.fixture(scope='module')
def app(spots, tmp_path_factory):
    "The app, started as a user starts it; process and address."
    command = [str(BIN/'bonefrac'), 'reader', str(spots[0]), '--port', str(free_port()), '--no-browser']
    process = subprocess.Popen(command, cwd=tmp_path_factory.mktemp('app'), stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    addresses = (re.search(r'http://\S+token=\w+', line) for line in process.stderr)
    address = next(filter(None, addresses), None)
    assert address, process.wait(10)
    yield process, address[0]
    if process.poll() is None: os.killpg(process.pid, signal.SIGKILL)

@pytest.fixture(scope='module')
def chromium():
    if not CHROMIUM:
        if os.environ.get('BONEFRAC_BROWSER') == 'required':
            pytest.fail('no Chromium, which BONEFRAC_BROWSER=required asks for')
        pytest.skip('no Chromium on the path: the reader was not looked at')
    from playwright.sync_api import sync_playwright
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()

@pytest.fixture
def view(app, chromium):
    "The page of the reader; what a script says goes wrong is kept in `faults`, requests in `asked`."
    view = chromium.new_page(viewport=dict(width=1280, height=1000))
    view.set_default_timeout(240_000)
    view.faults, view.asked = [], []
    view.on('pageerror', lambda error: view.faults.append(str(error)))
    view.on('request', lambda request: view.asked.append(request))
    view.goto(app[1], wait_until='domcontentloaded')
    view.wait_for_selector('.bf-stage.bf-none')
    yield view
    view.close()

def drop(view, name, data): view.evaluate(DROP, ['.bf-stage', name, b64encode(data).decode()])

def test_a_phantom_is_dropped_and_the_slider_moves_its_boxes(view, spots):
    for path, name in zip(spots[1], ('first.jpg', 'second.jpg')): drop(view, name, path.read_bytes())
    view.wait_for_selector('.bf-table tr:nth-child(2) >> text=second.jpg')
    view.wait_for_selector('.bf-reader h3 >> text=/annotated|empty/')
    assert view.evaluate("document.querySelector('.bf-film img').naturalWidth") > 100
    handle = view.locator('.noUi-handle').first
    handle.press('Home')
    view.wait_for_selector('.bf-box')
    shown = view.locator('.bf-box').count()
    assert view.locator('.bf-table td').nth(3).inner_text() == str(shown)
    handle.press('End')
    view.wait_for_function("!document.querySelector('.bf-box')")
    assert barriers(view)[0] == []

def test_a_photograph_is_refused(view, spots):
    from skimage import data
    folder = Path(data.__file__).parent
    drop(view, 'cat.png', (folder/'chelsea.png').read_bytes())    # in colours
    drop(view, 'page.png', (folder/'text.png').read_bytes())      # grey
    drop(view, 'film.jpg', spots[1][0].read_bytes())
    view.wait_for_selector('.bf-table tr:nth-child(3) >> text=film.jpg')
    rows = view.locator('.bf-table tbody tr').all_inner_texts()
    assert ['refused' in row and 'not a radiograph' in row for row in rows] == [True, True, False], rows
    assert view.locator('.bf-reader h3').inner_text() == 'refused' and not view.locator('.bf-box').count()
    assert not view.locator('.bf-bar').count()

def test_films_change_by_the_keyboard_and_the_table_is_saved(view, spots, tmp_path):
    for path, name in zip(spots[1], ('first.jpg', '=second.jpg')): drop(view, name, path.read_bytes())
    view.wait_for_selector('.bf-table tr:nth-child(2)')
    first = view.locator('.bf-film img').get_attribute('src')
    view.locator('.bf-film').press('ArrowRight')
    view.wait_for_selector('text=film 2 of 2')
    view.wait_for_function("old => document.querySelector('.bf-film img').src !== old", arg=first)
    view.keyboard.press('ArrowLeft')
    view.wait_for_selector('text=film 1 of 2')
    view.locator('select:has(option:text-is("clahe"))').select_option('clahe')
    view.wait_for_selector('text=/With clahe: /')
    with view.expect_download() as got: view.click('button:has-text("save the table")')
    got.value.save_as(tmp_path/'films.csv')
    lines = (tmp_path/'films.csv').read_text().splitlines()
    assert len(lines) == 3 and lines[0].startswith('film,answer,probability') and lines[2].startswith("'=second.jpg")
    view.click('button:has-text("forget all")')
    view.wait_for_selector('.bf-stage.bf-none')
    view.wait_for_function("!document.querySelector('.bf-table tr')") # it is written after the stage

def with_patient():
    "A DICOM file that names a patient, as bytes."
    from io import BytesIO
    from pydicom import dcmread
    from pydicom.data import get_testdata_file
    ds, file = dcmread(get_testdata_file('CT_small.dcm')), BytesIO()
    ds.PatientName = PATIENT
    ds.save_as(file)
    return file.getvalue()

def test_broken_files_are_named_and_nothing_of_a_header_is_told(view):
    name = '<img src=x onerror="window.hacked=1">.png'
    drop(view, name, b'no image')
    drop(view, 'empty.dcm', b'')
    drop(view, 'ct.dcm', with_patient())
    view.wait_for_selector('.bf-table tr:nth-child(3) >> text=ct.dcm')
    said = view.locator('.bf-faults ul').inner_text()
    assert f'{name}: not an image' in said and 'empty.dcm: the file is empty' in said and 'ct.dcm' not in said
    assert 'Planted' not in view.content() and view.evaluate('window.hacked') is None
    assert view.faults == []

def outside(requests):
    "Addresses on other machines that were asked for, and not stopped by the page's own policy."
    local = ('http://127.0.0.1', 'ws://127.0.0.1', 'data:', 'blob:')
    return [one.url for one in requests if not one.url.startswith(local) and one.failure != 'csp']

def test_nothing_leaves_the_machine(view, app, spots):
    drop(view, 'film.jpg', spots[1][0].read_bytes())
    view.wait_for_selector('.bf-table tr')
    assert len(view.asked) > 10 and outside(view.asked) == []
    assert 'nothing is sent anywhere else' in view.inner_text('.bf-reader')
    refused = view.evaluate("fetch('https://example.org').then(() => 'sent', () => 'refused')")
    assert refused == 'refused'
    servers = [psutil.Process(app[0].pid), *psutil.Process(app[0].pid).children(recursive=True)]
    listening = {one.laddr.ip for server in servers for one in server.net_connections('inet') if one.status == 'LISTEN'}
    assert listening == {'127.0.0.1'}

def test_a_stranger_on_this_machine_is_refused(app, chromium):
    page = chromium.new_page()
    page.goto(app[1].partition('?')[0])
    assert page.locator('.bf-reader').count() == 0 and 'Films stay' not in page.content()
    page.close()

def test_an_interrupt_ends_it_and_leaves_no_process(app):
    process, _ = app
    started = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 0
    psutil.wait_procs(started, timeout=60)
    assert not any(one.is_running() for one in started)
