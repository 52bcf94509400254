"""The built site: its links and figures, and what a reader finds in a real browser.

BONEFRAC_SITE names a folder that holds a built site, of Quarto or of site/build.py; without it the tests build one
with site/build.py. What they ask is what both promise, so that what is deployed is what is tested.
"""
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from base64 import b64decode
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import yaml
from bs4 import BeautifulSoup

from conftest import ROOT
from gates import copy_of
from quarto import finish
from readme import page

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
         '--disable-component-update', '--disable-sync']

def listed(items):
    "Notebooks of the sidebar, in their order."
    for item in items:
        if isinstance(item, str): yield item
        else: yield from listed(item['contents'])

CONFIG = yaml.safe_load((ROOT/'_quarto.yml').read_text(encoding='utf8'))
LISTED = list(listed(CONFIG['website']['sidebar']['contents']))
PAGES = [page(name) for name in LISTED]
[FILTERS] = [name for name in PAGES if name.endswith('data/filters.html')]

class Fallback:
    "Where a site of site/build.py keeps what a reader uses."
    search, hit, nothing, toggle = '#site-search', '#site-found a', '#site-found .none', '#site-theme'
    theme = "document.documentElement.dataset.theme"
    menu_open = "document.getElementById('site-menu').open"

class Quarto:
    "The same of a site of Quarto."
    search, hit, nothing = '#quarto-search input', '.aa-Panel a', '.quarto-search-no-results'
    toggle = '.quarto-color-scheme-toggle:visible'
    theme = "document.body.classList.contains('quarto-dark') ? 'dark' : 'light'"
    menu_open = "document.getElementById('quarto-sidebar').classList.contains('show')"

STYLED = "[...document.querySelectorAll('link[rel=stylesheet]')].every(link => link.sheet)"

def switch_theme(view, made_by):
    "Switch between light and dark, and wait for the styles."
    view.locator(made_by.toggle).first.click()
    view.wait_for_function(STYLED)

@pytest.fixture(scope='module')
def site(tmp_path_factory):
    "Folder of the site: the one that BONEFRAC_SITE names, else one that was built just now from a copy."
    if os.environ.get('BONEFRAC_SITE'):
        folder = Path(os.environ['BONEFRAC_SITE']).resolve()
        assert (folder/'index.html').is_file(), f'BONEFRAC_SITE: {folder} holds no site; run make docs first'
        return folder
    root = copy_of(ROOT, tmp_path_factory.mktemp('site'))
    done = subprocess.run([sys.executable, str(root/'site/build.py')], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0 and f'{len(PAGES)} pages' in done.stdout, done.stderr[-2000:]
    return root/'_docs'

@pytest.fixture(scope='module')
def made_by(site): return Quarto if (site/'site_libs').is_dir() else Fallback

@pytest.fixture(scope='module')
def soups(site): return {name: BeautifulSoup((site/name).read_text(encoding='utf8'), 'html.parser') for name in PAGES}

def targets(name, soup):
    "Internal links of a page as (page, anchor)."
    for link in soup.find_all('a', href=True):
        if re.match(r'[a-z]+:', link['href']): continue
        path, _, part = unquote(link['href']).partition('#')
        target = os.path.normpath(os.path.join(os.path.dirname(name), path)) if path else name
        yield 'index.html' if target == '.' else target, part

def test_every_link_leads_somewhere(site, soups):
    ids = {name: {node['id'] for node in soup.find_all(id=True)} for name, soup in soups.items()}
    links = [(name, target, part) for name, soup in soups.items() for target, part in targets(name, soup)]
    assert len(links) > 1000
    missing = [link for link in links if not (site/link[1]).is_file()]
    assert missing == []
    assert [(name, target, part) for name, target, part in links if part and part not in ids.get(target, ())] == []

def test_links_stay_on_the_site(soups):
    host = re.search(r'doc_host = https?://(\S+)', (ROOT/'settings.ini').read_text())[1]
    away = f'main a[href*="{host}"]'
    assert [(name, link['href']) for name, soup in soups.items() for link in soup.select(away)] == []

def test_no_page_shows_a_cell_that_failed(soups):
    text = {name: soup.find('main').get_text() for name, soup in soups.items()}
    assert min(map(len, text.values())) > 100
    failed = re.compile(r'Traceback \(most recent call last\)\n|-{60,}\n')
    assert [name for name, page in text.items() if failed.search(page)] == []

def test_every_figure_has_a_text(soups):
    images = [(name, image) for name, soup in soups.items() for image in soup.find_all('img')]
    assert len(images) > 20
    assert [(name, image['src']) for name, image in images if not image.get('alt', '').strip()] == []

def test_every_figure_keeps_its_place(soups, made_by):
    if made_by is Quarto: pytest.skip('Quarto sizes figures by its own style')
    figures = [(name, image) for name, soup in soups.items() for image in soup.select('main figure img, .output img')]
    assert len(figures) > 20
    assert [(name, image['src']) for name, image in figures if not image.get('width') or not image.get('height')] == []

def test_numbers_stand_together(soups, made_by):
    "Columns of numbers are set to the right."
    if made_by is Quarto: pytest.skip('Quarto aligns tables itself')
    cells = [cell for soup in soups.values() for cell in soup.select('tbody td')
             if re.fullmatch(r'-?\d*\.\d+', cell.text)]
    assert len(cells) > 500
    assert sum('number' in cell.get('class', []) for cell in cells) > .8*len(cells)

def test_every_caption_is_that_of_one_picture(soups):
    figures = [(name, caption.find_parent('figure')) for name, soup in soups.items()
               for caption in soup.find_all('figcaption')]
    assert len(figures) > 10
    odd = [(name, figure.figcaption.get_text()) for name, figure in figures
           if len(figure.find_all('img')) != 1 or figure.find('table')]
    assert odd == []

def test_identifiers_are_unique(soups):
    for name, soup in soups.items():
        ids = [node['id'] for node in soup.find_all(id=True) if not node['id'].startswith('quarto-')]
        assert sorted({i for i in ids if ids.count(i) > 1}) == [], name

def test_no_link_is_shown_as_markdown(soups):
    left = {name: re.findall(r'\[[^\[\]]+\]\(https?:[^)]*\)', soup.main.get_text()) for name, soup in soups.items()}
    assert {name: found for name, found in left.items() if found} == {}

def test_set_up_is_not_shown(soups):
    hidden = 0
    for name in LISTED:
        for cell in json.loads((ROOT/'nbs'/name).read_text(encoding='utf8'))['cells']:
            if not ''.join(cell['source']).startswith('#| include: false'): continue
            line = max(cell['source'], key=len).strip()
            assert line not in soups[page(name)].get_text(), name
            hidden += 1
    assert hidden > 10

WANTED = ['study/transfer.html', 'study/architectures.html', 'study/filters.html', 'study/errors.html',
          'study/cards.html#data-card', 'study/data.html', f'{FILTERS}#apply_filter', 'index.html#own-images']

@pytest.mark.parametrize('wanted', WANTED)
def test_home_leads_there_in_two_clicks(soups, wanted):
    def led(name): return {f'{target}#{part}'.rstrip('#') for target, part in targets(name, soups[name])}
    first = led('index.html') | {'index.html'}
    second = set().union(*(led(name) for name in {link.split('#')[0] for link in first} & set(soups)))
    assert wanted in first | second

class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass

@pytest.fixture(scope='module')
def browser(site):
    "Chromium and the address of the site."
    if not CHROMIUM:
        if os.environ.get('BONEFRAC_BROWSER') == 'required':
            pytest.fail('no Chromium, which BONEFRAC_BROWSER=required asks for')
        pytest.skip('no Chromium on the path: the site was not looked at in a browser')
    from playwright.sync_api import sync_playwright
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium, f'http://127.0.0.1:{server.server_port}/'
        chromium.close()
    server.shutdown()

def watch(view):
    "Keep what goes wrong on a page in its `faults`."
    view.faults = []
    loud = ('error', 'warning')
    view.on('console', lambda message: view.faults.append(message.text) if message.type in loud else None)
    view.on('pageerror', lambda error: view.faults.append(str(error)))
    view.on('requestfailed', lambda request: view.faults.append(f'{request.url} failed'))
    view.on('response', lambda got: view.faults.append(f'{got.url}: {got.status}') if got.status >= 400 else None)

@pytest.fixture
def open_page(browser):
    "Opens a page of the site; what goes wrong there is kept in `faults`."
    opened = []
    def begin(name, width=1280, theme='light', first=''):
        size = dict(width=width, height=900)
        view = browser[0].new_page(viewport=size, color_scheme=theme, reduced_motion='reduce')
        opened.append(view)
        if first: view.add_init_script(first)
        watch(view)
        assert view.goto(browser[1] + name).status == 200
        return view
    yield begin
    for view in opened: view.close()

BROKEN_IMAGES = """() => Promise.all([...document.images].map(image => {
  image.loading = 'eager'
  return image.decode().then(() => null, () => image.src)
})).then(found => found.filter(Boolean))"""

CUT = """() => {
  const wide = node => node.scrollWidth > node.clientWidth + 1
  const scrolls = node => node && node !== document.body
    && (['auto', 'scroll'].includes(getComputedStyle(node).overflowX) || scrolls(node.parentElement))
  const lines = [...document.querySelectorAll('main pre')].filter(wide)
  const tables = [...document.querySelectorAll('main table')].filter(node => wide(node.parentElement) && !scrolls(node))
  return [...lines, ...tables].map(node => node.textContent.trim().slice(0, 80))
}"""

def barriers(view):
    "Serious faults of accessibility, and the number of rules that a page keeps."
    from axe_playwright_python.sync_playwright import Axe
    found = Axe().run(view, options=dict(resultTypes=['violations'])).response
    serious = [fault for fault in found['violations'] if fault['impact'] in ('serious', 'critical')]
    return [(fault['id'], fault['nodes'][0]['html'][:200]) for fault in serious], len(found['passes'])

@pytest.mark.parametrize('name', PAGES)
def test_a_page_in_the_browser(open_page, made_by, name):
    view = open_page(name)
    assert view.evaluate(BROKEN_IMAGES) == [] and view.faults == []
    assert view.evaluate(CUT) == []
    for theme in ('light', 'dark'):
        if view.evaluate(made_by.theme) != theme: switch_theme(view, made_by)
        assert view.evaluate(made_by.theme) == theme
        faults, kept = barriers(view)
        assert faults == [] and kept > 10, theme
    view.set_viewport_size(dict(width=390, height=844))
    assert view.evaluate('document.documentElement.scrollWidth') <= 390
    assert view.evaluate(CUT) == []
    view.wait_for_function(f'!({made_by.menu_open})')

def test_a_page_asks_no_other_host(open_page, browser):
    asked = []
    view = open_page('index.html')
    view.on('request', lambda request: asked.append(request.url))
    for name in PAGES: view.goto(browser[1] + name)
    assert len(asked) > len(PAGES)
    assert [url for url in asked if not url.startswith((browser[1], 'data:'))] == []

def test_search_finds_filters(open_page, made_by):
    view = open_page('study/comparison.html')
    view.fill(made_by.search, 'filters')
    view.locator(f'{made_by.hit}[href*="{FILTERS}"]').first.click()
    view.wait_for_url(f'**/{FILTERS}*')
    assert view.faults == []

ASKED = { # what a visitor types -> a page that the first hits must name
    'leakage': 'study/words', 'limitations': 'study/words', 'calibration': 'evaluation/calibration',
    'uncertainty': 'study/words',
    'overfitting': 'study/words', 'fracture detection': 'study/words', 'grad-cam': 'study/',
    'dicom': 'library/data/dicom', 'quickstart': 'study/words', 'license': 'study/words',
    'resnet50': 'study/words', 'roc': 'study/words',
    'copies': 'library/audit/copies', 'make_split': 'library/training/splits', 'wilson': 'library/evaluation/intervals',
}

@pytest.mark.parametrize('words,page', ASKED.items())
def test_search_knows_the_words_of_the_field(open_page, made_by, words, page):
    view = open_page('index.html')
    view.fill(made_by.search, words)
    view.wait_for_selector(made_by.hit)
    hits = [link.get_attribute('href') for link in view.locator(made_by.hit).all()[:4]]
    assert any(page in link for link in hits), hits

def test_search_matches_beginnings_of_words(open_page, made_by):
    "The letters roc within processing are no hit."
    view = open_page('index.html')
    view.fill(made_by.search, 'roc')
    view.wait_for_selector(made_by.hit)
    assert 'process' not in view.locator(made_by.hit).first.inner_text().lower()

def test_search_says_when_nothing_is_found(open_page, made_by):
    view = open_page('index.html')
    view.fill(made_by.search, 'xylophone')
    view.wait_for_selector(made_by.nothing)

def test_theme_follows_the_system_and_is_remembered(open_page, made_by):
    view = open_page('index.html', theme='dark')
    assert view.evaluate(made_by.theme) == 'dark'
    switch_theme(view, made_by)
    view.reload()
    assert view.evaluate(made_by.theme) == 'light'

# The page on which a network answers

@pytest.fixture(scope='module')
def live(site):
    "What the page in the browser reads first, where its network can answer."
    facts = json.loads((site/'live/films.json').read_text(encoding='utf8'))
    if not facts['missing']: return facts
    said = f'the page in the browser was not asked: {facts["missing"]}'
    if os.environ.get('BONEFRAC_BROWSER') == 'required': pytest.fail(said)
    pytest.skip(said)

LIVE = 'study/browser.html'
FILMS = "[...document.querySelectorAll('.live-film canvas')].map(film => film.toDataURL())"
BARS = "[...document.querySelectorAll('.live-bar [role=meter]')].map(bar => +bar.getAttribute('aria-valuenow'))"

def drawn(view, number):
    "Wait until film `number` of each view is shown, answered and drawn into the chart."
    view.wait_for_selector(f'.live-page[data-shown="{number}"]', timeout=120_000)
    if number: view.wait_for_selector(f'.live-page[data-drawn="{number}"]', timeout=120_000)

def drawn_films(view):
    "Pixels of the films that the page shows, grey uint8."
    import cv2
    films = [np.frombuffer(b64decode(url.partition(',')[2]), np.uint8) for url in view.evaluate(FILMS)]
    return [cv2.imdecode(film, cv2.IMREAD_GRAYSCALE) for film in films]

def films_in_python(site, live, number):
    "The same films, read without a browser."
    import cv2
    for view in live['views']:
        picture, (x, y) = cv2.imread(str(site/'live'/view['file']), 0), view['films'][number]['at']
        yield picture[y:y + view['height'], x:x + view['width']]

def log_odds(percent): return np.log(percent/(100 - percent))

def test_a_network_answers_in_the_browser_as_in_python(open_page, site, live):
    from bonefrac.deploy.browser import probability_of
    from bonefrac.deploy.predict import onnx_network
    card = json.loads((site/'live/card.json').read_text(encoding='utf8'))
    network = onnx_network(site/'live/model.onnx', card)
    view, steps, pairs = open_page(LIVE), len(live['translations']), []
    def check(number):
        drawn(view, number)
        films, told = drawn_films(view), view.evaluate(BARS)
        assert len(films) == len(told) == len(live['views'])
        for film, percent, read in zip(films, told, films_in_python(site, live, number), strict=True):
            off = film.astype(int) - read
            assert film.shape == read.shape and abs(off).max() <= 2  # decoders of JPEG differ by a grey value or two
            pairs.append((percent, 100*probability_of(film, network, card)))
    check(1 + live['start'][0])
    for slider, number in (('translation', steps), ('angulation', steps*len(live['angulations']))):
        view.locator(f'.live-{slider}').press('End')
        check(number)
    view.uncheck('.live-broken')
    check(0)
    shown, python = np.array(pairs).clip(.5, 99.5).T
    # eight bits are rounded in another order by WebAssembly, which is most where the probability is steep
    assert abs(shown - python).mean() <= 5, pairs
    assert abs(log_odds(shown) - log_odds(python)).max() <= 1, pairs
    assert view.faults == []

def test_sliders_move_the_fracture_and_the_probability(open_page, live):
    view = open_page(LIVE)
    view.locator('.live-translation').press('Home')
    drawn(view, 1)
    films, bars, chart = view.evaluate(FILMS), view.evaluate(BARS), view.locator('.live-chart circle').count()
    assert len(films) == len(bars) == chart == 2
    view.locator('.live-translation').press('End')
    drawn(view, len(live['translations']))
    assert all(a != b for a, b in zip(films, view.evaluate(FILMS)))
    assert view.evaluate(BARS)[0] > bars[0]                      # the front view shows it
    assert '8 mm' in view.inner_text('.live-sliders')
    plain = view.evaluate(FILMS)
    view.check('.live-where')
    assert all(a != b for a, b in zip(plain, view.evaluate(FILMS)))
    faults, kept = barriers(view)
    assert faults == [] and kept > 10
    view.set_viewport_size(dict(width=390, height=844))
    assert view.evaluate('document.documentElement.scrollWidth') <= 390

def test_the_network_comes_from_the_site_alone(open_page, browser, live):
    view, asked = open_page(LIVE), []
    view.on('request', lambda request: asked.append(request.url))
    view.reload()
    drawn(view, 1 + live['start'][0])
    assert any(url.endswith('.wasm') for url in asked) and any(url.endswith('model.onnx') for url in asked)
    assert [url for url in asked if not url.startswith((browser[1], 'data:', 'blob:'))] == []

def test_without_webassembly_the_page_says_what_would_be_there(open_page):
    view = open_page(LIVE, first='delete window.WebAssembly')
    view.wait_for_selector('.live-page[data-refused]')
    said = view.inner_text('.live-page')
    assert 'Here a small network would say' in said and 'No answer: ' in said
    films = view.evaluate(FILMS)
    view.locator('.live-translation').press('End')
    assert view.evaluate(FILMS) != films and view.faults == []

def test_without_scripts_the_page_says_what_would_be_there(soups):
    assert 'two films stand here' in soups[LIVE].find(id='live').get_text()

def test_home_says_what_the_record_says():
    from bonefrac.report.home import FINDINGS, Known, three_numbers
    known, text = Known(ROOT/'results'), (ROOT/'README.md').read_text(encoding='utf8')
    said = [*three_numbers(known).splitlines(), *(say(known)[0] for say, _ in FINDINGS.values())]
    assert len(said) == 3 + len(FINDINGS) and len(FINDINGS) >= 5
    assert [line for line in said if line not in text] == [], 'execute nbs/index.ipynb and make prepare'

# What is one builder's own

FROM_QUARTO = """<head><meta property="og:url" content="https://bonefrac.github.io/bonefrac/library/a.html">
<script src="https://cdn.jsdelivr.net/npm/requirejs@2.3.6/require.min.js" integrity="sha384-c9c"></script>
<script src="https://cdn.jsdelivr.net/npm/jquery@3.5.1/dist/jquery.min.js"></script>
<script type="application/javascript">define('jquery', [],function() {return window.jQuery;})</script>
</head><a class="x" href="https://bonefrac.github.io/bonefrac/library/b.html#b">b</a>
<span># or [`b`](https://bonefrac.github.io/bonefrac/library/b.html#b) of it</span>"""

def test_pages_of_quarto_are_finished(tmp_path):
    (tmp_path/'library').mkdir()
    for name in ('index.html', 'library/a.html'): (tmp_path/name).write_text(FROM_QUARTO)
    entry = dict(objectID='a', text='one of [`b`](https://bonefrac.github.io/bonefrac/library/b.html#b), or é')
    (tmp_path/'search.json').write_text(json.dumps([entry]))
    assert finish(tmp_path) == 2
    for name, up in (('index.html', './'), ('library/a.html', '../')):
        text = (tmp_path/name).read_text(encoding='utf8')
        assert '<script' not in text and f'<a class="x" href="{up}library/b.html#b">b</a>' in text
        assert '<span># or `b` of it</span>' in text
        assert 'content="https://bonefrac.github.io/bonefrac/library/a.html"' in text
    assert json.loads((tmp_path/'search.json').read_text(encoding='utf8')) == [{**entry, 'text': 'one of `b`, or é'}]

def test_a_broken_link_is_an_error(tmp_path):
    root = copy_of(ROOT, tmp_path)
    config = {**CONFIG, 'website': {**CONFIG['website'], 'sidebar': dict(contents=['index.ipynb'])}}
    (root/'_quarto.yml').write_text(yaml.safe_dump(config))
    for name in ('library', 'study'): shutil.rmtree(root/'nbs'/name)
    def build(*args):
        program = [sys.executable, str(root/'site/build.py'), *args]
        return subprocess.run(program, cwd=root, capture_output=True, text=True)
    done = build()
    assert done.returncode == 1 and 'which is no page' in done.stderr and not (root/'_docs').exists()
    assert 'Traceback' not in done.stderr
    (tmp_path/'mine').mkdir()
    (tmp_path/'mine/letter.txt').write_text('dear')
    done = build(str(tmp_path/'mine'))
    assert done.returncode == 1 and 'is no site of this script' in done.stderr
    assert (tmp_path/'mine/letter.txt').read_text() == 'dear'
