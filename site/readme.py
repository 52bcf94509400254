"""README.md from nbs/index.ipynb, without Quarto."""
import re

README_FILES = 'README_files'

def page(name):
    "Page that nbdev makes of a notebook: without the number of its file name."
    return re.sub(r'(^|/)\d+[a-z]?_([^/]*)$', r'\1\2', str(name)).removesuffix('.ipynb') + '.html'

def _absolute(text, doc_host):
    "Links to pages of the site instead of links to notebooks."
    link = re.compile(r'\]\((?!https?:|#)([\w/.-]+)\.ipynb(#[\w-]*)?\)')
    return link.sub(lambda m: f']({doc_host}/{page(m[1])}{m[2] or ""})', text)

def _shown(nb):
    "A notebook without hidden cells and source that is not to be seen, its text as markdown alone."
    nb.cells = [cell for cell in nb.cells if not re.match(r'#\|\s*hide\b', cell.source)]
    for cell in nb.cells:
        if re.match(r'#\|\s*echo:\s*false', cell.source): cell.metadata['transient'] = {'remove_source': True}
        for out in cell.get('outputs', []):
            markdown = out.get('data', {}).get('text/markdown')
            if markdown: out['data'] = {'text/markdown': markdown}
    nb.metadata['language_info'] = {'name': 'python'}
    return nb

def render(notebook):
    "Text of the README, and its figures as a dict of path -> bytes."
    import nbformat
    from nbconvert import MarkdownExporter
    nb = _shown(nbformat.read(notebook, as_version=4))
    text, resources = MarkdownExporter().from_notebook_node(nb, resources=dict(output_files_dir=README_FILES))
    text = re.sub(r'^> (.*)$', r'\1', text, count=1, flags=re.M)
    text = _absolute(text, doc_url(notebook.parent.parent))
    text = re.sub(r'!\[(png|svg)\]\(', '![Simulated radiographs](', text)
    text = re.sub(r'\n{3,}', '\n\n', text).strip()
    files = {name.replace('\\', '/'): data for name, data in resources.get('outputs', {}).items()}
    return f'<!-- Written from nbs/index.ipynb; edit that. -->\n\n{text}\n', files

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
