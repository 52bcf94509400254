"""After `quarto render`: nothing from other hosts, and links to this site as links within it.

    python site/quarto.py [FOLDER]      default: the output folder that Quarto names to its scripts, else _docs

Quarto calls it (`post-render` of _quarto.yml), perhaps with another Python than the project's: standard library only.
"""
import json
import os
import re
import sys
from pathlib import Path

CONFIG = Path(__file__).resolve().parent.parent/'_quarto.yml'
HOST = re.search(r'^ *site-url: *(\S+?)/?$', CONFIG.read_text(encoding='utf8'), re.M)[1] + '/'
FOREIGN = (
    r'<script src="https://cdn\.jsdelivr\.net/npm/(?:requirejs|jquery)[^>]*></script>\n?',
    r"<script type=\"application/javascript\">define\('jquery'.*?</script>\n?",
)

def plain_links(text):
    "Text in which a link that stayed markdown, as nbdev leaves them in signatures, is its name alone."
    return re.sub(r'\[(`[^`\]<]+`)\]\(https?://[^()\s"<]+\)', r'\1', text)

def finish_page(text, up):
    "A page without scripts of other hosts; `up` leads from it to the top of the site."
    for pattern in FOREIGN: text = re.sub(pattern, '', text)
    text = re.sub(rf'(<a [^>]*href="){re.escape(HOST)}', rf'\1{up or "./"}', text)
    return plain_links(text)

def finish_search(text):
    "Index of the search whose texts hold no markdown links."
    entries = json.loads(text)
    for entry in entries: entry['text'] = plain_links(entry.get('text', ''))
    return json.dumps(entries, ensure_ascii=False, indent=2) + '\n'

def finish(out):
    "Finish all pages below a folder and its search index; number of pages."
    pages = [file for file in sorted(out.rglob('*.html')) if 'site_libs' not in file.parts]
    for file in pages:
        up = '../'*(len(file.relative_to(out).parts) - 1)
        file.write_text(finish_page(file.read_text(encoding='utf8'), up), encoding='utf8')
    index = out/'search.json'
    if index.is_file(): index.write_text(finish_search(index.read_text(encoding='utf8')), encoding='utf8')
    return len(pages)

if __name__ == '__main__':
    out = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get('QUARTO_PROJECT_OUTPUT_DIR', '_docs'))
    if not finish(out): sys.exit(f'site/quarto.py: {out}: no page there; run make docs first')
