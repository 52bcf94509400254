"""The picture that links to the site show: nbs/card.png, three phantoms and the name.

    python site/card.py
"""
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt

from bonefrac.phantom.simulate import phantom_image

SUBTITLE = 'Reproducible deep learning on bone radiographs, written as notebooks'
SHOWN = ('elbow', 'lateral', 12), ('shoulder', 'ap', 44), ('wrist', 'pa', 45) # region, view, seed

figure = plt.figure(figsize=(12, 6.3), facecolor='#15191d')
figure.text(.05, .84, 'bonefrac', color='#e6e9ec', fontsize=48, fontweight='bold')
figure.text(.05, .76, SUBTITLE, color='#b3bcc5', fontsize=19)
for k, (region, view, seed) in enumerate(SHOWN):
    phantom, ax = phantom_image(region, seed=seed, view=view, size=400), figure.add_axes([.05 + .31*k, .06, .28, .62])
    ax.imshow(phantom.image, cmap='gray', vmin=0, vmax=255)
    for polygon in phantom.polygons:
        corners = polygon*phantom.image.shape[::-1]
        ax.add_patch(plt.Polygon(corners, fill=False, color='#f0b840', lw=2))
    ax.axis('off')
figure.savefig(Path(__file__).resolve().parent.parent/'nbs/card.png', dpi=100)
