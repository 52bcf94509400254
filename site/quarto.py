"""After `quarto render`: nothing from other hosts, and links to this site as links within it."""
import os, re, sys
from pathlib import Path

HOST = 'https://bonefrac.github.io/bonefrac/'
OUT = Path(os.environ.get('QUARTO_PROJECT_OUTPUT_DIR', '_docs'))

for file in OUT.rglob('*.html'):
    if 'site_libs' in file.parts: continue
    text, up = file.read_text(encoding='utf8'), '../'*(len(file.relative_to(OUT).parts) - 1)
    text = re.sub(r'<script src="https://cdn\.jsdelivr\.net/npm/(requirejs|jquery)[^>]*></script>\n?', '', text)
    text = re.sub(r"<script type=\"application/javascript\">define\('jquery'.*?</script>\n?", '', text)
    text = re.sub(rf'(<a [^>]*href="){re.escape(HOST)}', rf'\1{up or "./"}', text)
    file.write_text(text, encoding='utf8')
