"""README.md from nbs/index.ipynb, without Quarto."""
import re
from pathlib import Path

README_FILES = 'README_files'

def page(name):
    "Page that nbdev makes of a notebook: without the number of its file name."
    return re.sub(r'(^|/)\d+[a-z]?_([^/]*)$', r'\1\2', str(name)).removesuffix('.ipynb') + '.html'

def _absolute(text, doc_host):
    "Links to pages of the site instead of links to notebooks."
    return re.sub(r'\]\((?!https?:|#)([\w/.-]+)\.ipynb(#[\w-]*)?\)', lambda m: f']({doc_host}/{page(m[1])}{m[2] or ""})', text)

def render(notebook):
    "Text of the README, and its figures as a dict of path -> bytes."
    import nbformat
    from nbconvert import MarkdownExporter
    nb = nbformat.read(notebook, as_version=4)
    nb.cells = [cell for cell in nb.cells if not re.match(r'#\|\s*hide\b', cell.source)]
    for cell in nb.cells:
        if re.match(r'#\|\s*echo:\s*false', cell.source): cell.metadata['transient'] = {'remove_source': True}
        for out in cell.get('outputs', []):
            if 'text/markdown' in out.get('data', {}): out['data'] = {'text/markdown': out['data']['text/markdown']}
    nb.metadata['language_info'] = {'name': 'python'}
    text, resources = MarkdownExporter().from_notebook_node(nb, resources=dict(output_files_dir=README_FILES))
    text = _absolute(re.sub(r'^> (.*)$', r'\1', text, count=1, flags=re.M), doc_url(notebook.parent.parent))
    text = re.sub(r'!\[(png|svg)\]\(', '![Simulated radiographs](', text)
    note = '<!-- Written from nbs/index.ipynb; edit that. -->\n\n'
    return note + re.sub(r'\n{3,}', '\n\n', text).strip() + '\n', {name.replace('\\', '/'): data for name, data in resources.get('outputs', {}).items()}

def doc_url(root):
    from configparser import ConfigParser
    settings = ConfigParser(delimiters=['='])
    settings.read(root/'settings.ini', encoding='utf8')
    return settings['DEFAULT']['doc_host'] + settings['DEFAULT']['doc_baseurl']

def write(root):
    "Write README.md and its figures."
    text, files = render(root/'nbs/index.ipynb')
    (root/README_FILES).mkdir(exist_ok=True)
    for old in (root/README_FILES).glob('*'): old.unlink()
    for name, content in files.items(): (root/name).write_bytes(content)
    (root/'README.md').write_text(text, encoding='utf8')
