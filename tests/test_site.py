"The built site: its links and figures, and what a reader finds in a real browser."
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from urllib.parse import unquote

import pytest
import yaml
from bs4 import BeautifulSoup

from conftest import ROOT
from gates import copy_of
from readme import page

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
LISTED = [name for part in yaml.safe_load((ROOT/'_quarto.yml').read_text())['website']['sidebar']['contents'] for name in ([part] if isinstance(part, str) else part['contents'])]
PAGES = [page(name) for name in LISTED]

@pytest.fixture(scope='module')
def site(tmp_path_factory):
    "Folder of a site that was built just now, from a copy of the checkout."
    root = copy_of(ROOT, tmp_path_factory.mktemp('site'))
    done = subprocess.run([sys.executable, str(root/'site/build.py')], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0 and f'{len(PAGES)} pages' in done.stdout, done.stderr[-2000:]
    return root/'_docs'

@pytest.fixture(scope='module')
def soups(site): return {name: BeautifulSoup((site/name).read_text(encoding='utf8'), 'html.parser') for name in PAGES}

def targets(name, soup):
    "Internal links of a page as (page, anchor)."
    for link in soup.find_all('a', href=True):
        if re.match(r'[a-z]+:', link['href']): continue
        path, _, part = unquote(link['href']).partition('#')
        yield os.path.normpath(os.path.join(os.path.dirname(name), path)) if path else name, part

def test_every_link_leads_somewhere(site, soups):
    ids = {name: {node['id'] for node in soup.find_all(id=True)} for name, soup in soups.items()}
    links = [(name, target, part) for name, soup in soups.items() for target, part in targets(name, soup)]
    assert len(links) > 1000
    assert [link for link in links if not (site/link[1]).is_file() or link[2] and link[2] not in ids[link[1]]] == []

def test_links_stay_on_the_site(soups):
    host = re.search(r'doc_host = https?://(\S+)', (ROOT/'settings.ini').read_text())[1]
    assert [(name, link['href']) for name, soup in soups.items() for link in soup.select(f'main a[href*="{host}"]')] == []

def test_every_figure_has_a_text(soups):
    images = [(name, image) for name, soup in soups.items() for image in soup.find_all('img')]
    assert len(images) > 20
    assert [(name, image['src']) for name, image in images if not image.get('alt', '').strip()] == []

def test_identifiers_are_unique(soups):
    for name, soup in soups.items():
        ids = [node['id'] for node in soup.find_all(id=True)]
        assert sorted({i for i in ids if ids.count(i) > 1}) == [], name

WANTED = ['study/comparison.html#does-transfer-learning-help', 'study/comparison.html#which-architecture-is-best', 'study/comparison.html#how-does-preprocessing-change-accuracy',
          'study/cards.html#data-card', 'study/data.html', 'library/data/filters.html#apply_filter', 'index.html#own-images']

@pytest.mark.parametrize('wanted', WANTED)
def test_home_leads_there_in_two_clicks(soups, wanted):
    first = {f'{target}#{part}'.rstrip('#') for target, part in targets('index.html', soups['index.html'])} | {'index.html'}
    second = {f'{target}#{part}'.rstrip('#') for link in first if link.split('#')[0] in soups for target, part in targets(link.split('#')[0], soups[link.split('#')[0]])}
    assert wanted in first | second

@pytest.fixture(scope='module')
def browser(site):
    "Chromium and the address of the site."
    if not CHROMIUM:
        if os.environ.get('BONEFRAC_BROWSER') == 'required': pytest.fail('no Chromium, which BONEFRAC_BROWSER=required asks for')
        pytest.skip('no Chromium on the path: the site was not looked at in a browser')
    from playwright.sync_api import sync_playwright
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium, f'http://127.0.0.1:{server.server_port}/'
        chromium.close()
    server.shutdown()

@pytest.fixture
def open_page(browser):
    "Opens a page of the site; what goes wrong there is kept in `faults`."
    opened = []
    def begin(name, width=1280, theme='light'):
        view = browser[0].new_page(viewport=dict(width=width, height=900), color_scheme=theme)
        opened.append(view)
        view.faults = []
        view.on('console', lambda message: view.faults.append(message.text) if message.type in ('error', 'warning') else None)
        view.on('pageerror', lambda error: view.faults.append(str(error)))
        view.on('requestfailed', lambda request: view.faults.append(f'{request.url} failed'))
        view.on('response', lambda response: view.faults.append(f'{response.url}: {response.status}') if response.status >= 400 else None)
        assert view.goto(browser[1] + name).status == 200
        return view
    yield begin
    for view in opened: view.close()

LOADED = "() => Promise.all([...document.images].map(image => { image.loading = 'eager'; return image.decode().then(() => null, () => image.src) })).then(found => found.filter(Boolean))"

@pytest.mark.parametrize('name', PAGES)
def test_a_page_in_the_browser(open_page, name):
    from axe_playwright_python.sync_playwright import Axe
    view = open_page(name)
    assert view.evaluate(LOADED) == [] and view.faults == []
    for theme in ('light', 'dark'):
        view.evaluate('theme => { document.documentElement.dataset.theme = theme }', theme)
        found = Axe().run(view, options=dict(resultTypes=['violations'])).response
        assert [(fault['id'], fault['nodes'][0]['html'][:200]) for fault in found['violations'] if fault['impact'] in ('serious', 'critical')] == [], theme
        assert len(found['passes']) > 10
    view.set_viewport_size(dict(width=390, height=844))
    assert view.evaluate('document.documentElement.scrollWidth') <= 390
    assert view.locator('#menu').get_attribute('open') is None

def test_search_finds_filters(open_page):
    view = open_page('study/comparison.html')
    view.fill('#search', 'filters')
    view.wait_for_selector('#found a')
    view.click('#found a[href$="library/data/filters.html"], #found a[href*="library/data/filters.html#"]')
    view.wait_for_url('**/library/data/filters.html*')
    assert view.faults == []

def test_search_says_when_nothing_is_found(open_page):
    view = open_page('index.html')
    view.fill('#search', 'xylophone')
    view.wait_for_selector('#found .none')

def test_theme_follows_the_system_and_is_remembered(open_page):
    view = open_page('index.html', theme='dark')
    theme = lambda: view.evaluate('document.documentElement.dataset.theme')
    assert theme() == 'dark'
    view.click('#theme')
    view.reload()
    assert theme() == 'light'

def test_long_tables_can_be_sorted(open_page):
    view = open_page('study/comparison.html')
    head = view.locator('table.sortable thead tr:first-child th', has_text='difference').first
    table, column = head.locator('xpath=ancestor::table'), head.evaluate('head => head.cellIndex')
    values = lambda: [float(text) for text in table.evaluate('(table, k) => [...table.tBodies[0].rows].map(row => row.cells[k].textContent)', column)]
    before = values()
    for way in ('ascending', 'descending'):
        head.locator('button').click()
        assert head.get_attribute('aria-sort') == way and values() == sorted(before, reverse=way == 'descending')

def test_home_says_what_the_record_says():
    from bonefrac.report.answers import Answers, answers_table
    answers, text = answers_table(Answers(ROOT/'results')), (ROOT/'README.md').read_text(encoding='utf8')
    assert len(answers) == 3
    assert [row.question for row in answers.itertuples() if row.answer not in text] == [], 'execute nbs/index.ipynb and make prepare'

def test_a_broken_link_is_an_error(tmp_path):
    root = copy_of(ROOT, tmp_path)
    config = yaml.safe_load((root/'_quarto.yml').read_text())
    config['website']['sidebar']['contents'] = ['index.ipynb']
    (root/'_quarto.yml').write_text(yaml.safe_dump(config))
    for name in ('library', 'study'): shutil.rmtree(root/'nbs'/name)
    done = subprocess.run([sys.executable, str(root/'site/build.py')], cwd=root, capture_output=True, text=True)
    assert done.returncode == 1 and 'which is no page' in done.stderr and not (root/'_docs').exists()
    assert 'Traceback' not in done.stderr
    (tmp_path/'mine').mkdir()
    (tmp_path/'mine/letter.txt').write_text('dear')
    done = subprocess.run([sys.executable, str(root/'site/build.py'), str(tmp_path/'mine')], cwd=root, capture_output=True, text=True)
    assert done.returncode == 1 and 'is no site of this script' in done.stderr and (tmp_path/'mine/letter.txt').read_text() == 'dear'
