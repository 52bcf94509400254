"What the repository promises to contributors and in its workflows."
import json
import re
import subprocess

import yaml

from conftest import ROOT

WORKFLOWS = {path.stem: path.read_text(encoding='utf8') for path in (ROOT/'.github/workflows').glob('*.yml')}
JOBS = {(name, job): facts for name, text in WORKFLOWS.items() for job, facts in yaml.safe_load(text)['jobs'].items()}

def test_actions_are_pinned_to_commits():
    used = [line.strip() for text in WORKFLOWS.values() for line in text.splitlines() if 'uses:' in line]
    assert len(used) >= 8
    assert [line for line in used if not re.fullmatch(r'(- )?uses: [\w./-]+@[0-9a-f]{40} # v[\d.]+', line)] == []

def test_jobs_have_the_rights_that_they_need():
    assert {yaml.safe_load(text).get('permissions') == {} for text in WORKFLOWS.values()} == {True}
    assert {name: facts['permissions'] for name, facts in JOBS.items()} == {
        ('test', 'test'): dict(contents='read'),
        ('pages', 'build'): dict(contents='read'),
        ('pages', 'deploy'): {'pages': 'write', 'id-token': 'write'},
        ('release', 'build'): dict(contents='read'),
        ('release', 'publish'): {'id-token': 'write'},
    }

def test_the_site_is_tested_between_building_and_uploading():
    steps = [str(step.get('run') or step['uses'].split('@')[0]) for step in JOBS['pages', 'build']['steps']]
    places = [steps.index(step) for step in ('make docs', 'make test-docs', 'actions/upload-pages-artifact')]
    assert places == sorted(places)
    quarto = [step for step in JOBS['pages', 'build']['steps'] if 'quarto-actions/setup@' in step.get('uses', '')]
    assert [re.fullmatch(r'\d+\.\d+\.\d+', step['with']['version']) is not None for step in quarto] == [True]

def test_contributing_names_files_that_are_there():
    text = (ROOT/'CONTRIBUTING.md').read_text(encoding='utf8')
    table = text.split('## Where a change goes')[1].split('## Results')[0]
    rows = re.findall(r'^\| an? \w+ \| `([^`]+)` \| (.*) \|$', table, re.M)
    assert len(rows) == 10
    new = ('nbs/study/NN_name.ipynb', 'results/grids/name.yml')
    assert [name for name, _ in rows if not (ROOT/name).is_file()] == list(new)
    tables = [(name, word) for name, text in rows for word in re.findall(r'a row of `(\w+)`', text)]
    assert len(tables) >= 5
    missing = [pair for pair in tables if f'{pair[1]} = ' not in (ROOT/pair[0]).read_text(encoding='utf8')]
    assert missing == []
    links = re.findall(r'\]\((?!https?:)([^)#]+)', text)
    assert links and [name for name in links if not (ROOT/name).is_file()] == []

def test_nothing_that_comes_and_goes_is_tracked():
    done = subprocess.run(['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True, check=True)
    tracked = done.stdout.splitlines()
    assert len(tracked) > 100
    assert [name for name in tracked if re.search(r'(^|/)(\.lock|_docs|_proc|runs)(/|$)', name)] == []

def test_links_between_notebooks_lead_to_files():
    links = []
    for path in (ROOT/'nbs').rglob('*.ipynb'):
        for cell in json.loads(path.read_text(encoding='utf8'))['cells']:
            if cell['cell_type'] != 'markdown': continue
            found = re.findall(r'\]\((?!https?:)([^)#\s]+\.ipynb)', ''.join(cell['source']))
            links += [(path, name) for name in found]
    assert len(links) > 10
    assert [(path.name, name) for path, name in links if not (path.parent/name).is_file()] == []
