"""Scores of boxes: average precision against pycocotools, wAFROC against an example of RJafroc."""
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pandas as pd
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bonefrac.evaluation.detection import (
    RULES, average_precision, candidates, detection_metrics, detections, find_hits, lay_flat, ones, trace, truths,
    wafroc,
)
from bonefrac.evaluation.predictions import boxes_table, synth_boxes

PIXELS = 1000

def coco_box(box):
    "x, y, width, height in pixels, as COCO writes a box."
    x0, y0, x1, y1 = (PIXELS*value for value in box[:4])
    return [x0, y0, x1 - x0, y1 - y0]

def coco_truth(df):
    "The true boxes of a table as a COCO data set of one category."
    boxes = [(image, box) for image, found in enumerate(df.truth, 1) for box in found]
    annotations = [dict(id=k, image_id=image, category_id=1, bbox=coco_box(box), area=1, iscrowd=0)
                   for k, (image, box) in enumerate(boxes, 1)]
    coco = COCO()
    coco.dataset = dict(images=[dict(id=image) for image in range(1, len(df) + 1)], info={},
                        categories=[dict(id=1)], annotations=annotations)
    coco.createIndex()
    return coco

def coco_precision(df, ious):
    "Precision at 101 levels of recall by COCOeval, float (ious, 101)."
    answers = [dict(image_id=image, category_id=1, bbox=coco_box(box), score=box[4])
               for image, found in enumerate(df.boxes, 1) for box in found]
    with redirect_stdout(StringIO()):
        truth = coco_truth(df)
        judge = COCOeval(truth, truth.loadRes(answers), 'bbox')
        judge.params.iouThrs, judge.params.maxDets = np.asarray(ious), [10_000]
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e12]], ['all']
        judge.evaluate()
        judge.accumulate()
    return judge.eval['precision'][:, :, 0, 0, 0]

CASES = [
    dict(n=60, found=.7, false_alarms=1, shift=.15),
    dict(n=60, found=.9, false_alarms=12, shift=.3),
    dict(n=40, found=.2, false_alarms=3, shift=.1, base_rate=.1),
    dict(n=30, found=1, false_alarms=0, shift=.2),
    dict(n=30, found=.8, false_alarms=2, shift=.2, base_rate=1),
]

@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('case', CASES)
def test_average_precision_is_that_of_coco(case, seed):
    df = crowded(synth_boxes(**case, seed=seed), seed)
    ious = [.3, *np.linspace(.5, .95, 10)]
    theirs = coco_precision(df, ious).mean(1)
    flat = lay_flat(df)
    ours = [average_precision(trace(flat, find_hits(flat, 'iou', at), ones(flat))).item() for at in ious]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)
    scores = detection_metrics(df, n_boot=2)
    np.testing.assert_allclose([scores['ap30'], scores['ap50'], scores['ap']],
                               [theirs[0], theirs[1], theirs[1:].mean()], rtol=0, atol=1e-9)
    assert scores['ap30'] < 1 and (scores['ap50'] > 0 or case['found'] < .5)

def crowded(df, seed):
    "The table with each answer given once more, somewhat moved and with another score, so that boxes compete."
    rng = np.random.default_rng(seed)
    def again(box): return [*np.add(box[:4], rng.uniform(0, .01, 4) + [0, 0, .01, .01]).clip(0, 1), rng.random()]
    return df.assign(boxes=[[*found, *map(again, found)] for found in df.boxes])

def test_boxes_compete_in_the_comparison():
    flat = lay_flat(crowded(synth_boxes(60), 0))
    rivals = candidates(flat.boxes, flat.truths).query('iou >= .5').groupby('truth').size()
    assert (rivals > 1).sum() > 10

# frocCr.xlsx of RJafroc (github.com/dpc10ster/RJafroc, inst/extdata/toyFiles/FROC): three normal and five abnormal
# cases with one to three lesions. Per reader and modality: rating of each lesion that was found, and of other marks.
LESIONS = [(70, .3), (70, .7), (71, 1), (72, 1/3), (72, 1/3), (72, 1/3), (73, .1), (73, .9), (74, 1)] # case, weight
FIRST = {70: 0, 71: 2, 72: 3, 73: 6, 74: 8} # first lesion of each case
RATED = {
    (0, 0): ({0: 5.28, 1: 4.65, 2: 3.01, 3: 5.98, 6: 5, 7: 5.25, 8: 4.26}, {1: [1.02, 2.17], 2: [2.22], 3: [1.9]}),
    (0, 1): ({0: 5.2, 2: 3.27, 3: 4.61, 6: 5.18, 8: 4.72}, {1: [2.89], 2: [2.89], 74: [.84], 73: [1.85], 3: [3.22]}),
    (1, 0): ({0: 5.14, 2: 3.31, 3: 4.92, 4: 5.11, 5: 4.63, 6: 4.95, 8: 5.3}, {1: [2.21], 2: [3.1, 2.21], 3: [2.07]}),
    (1, 1): ({0: 4.77, 2: 3.19, 3: 5.2, 6: 5.39, 8: 5.01}, {1: [3.01], 2: [1.96], 3: [2.08]}),
    (2, 0): ({0: 4.66, 2: 4.03, 3: 5.22, 6: 4.94, 8: 5.27}, {1: [2.14], 2: [1.98], 3: [1.95]}),
    (2, 1): ({0: 4.87, 2: 1.94}, {71: [2.24, 4.01], 72: [1.86]}),
}
# wAFROC of each, from tests/testthat/goodValues361/UtilPseudoValues/frocCrwAFROC.rds of RJafroc
RJAFROC = {(0, 0): 26/30, (1, 0): .68, (2, 0): .82/1.5, (0, 1): .82/1.5, (1, 1): .82/1.5, (2, 1): .63}

@pytest.mark.parametrize('reader', RATED)
def test_wafroc_is_that_of_rjafroc(reader):
    found, marks = RATED[reader]
    cases = [1, 2, 3, *FIRST]
    lesions = pd.DataFrame(dict(image=[cases.index(case) for case, _ in LESIONS], positive=True,
                                score=[found.get(k, -1) for k in range(len(LESIONS))],
                                share=[weight for _, weight in LESIONS]))
    normal = pd.DataFrame(dict(image=[0, 1, 2], positive=False, share=1.,
                               score=[max(marks.get(case, [-1])) for case in cases[:3]]))
    rows = pd.concat([lesions, normal], ignore_index=True)
    area = wafroc(rows, np.ones((1, 8), int)).item()
    assert area == pytest.approx(RJAFROC[reader], abs=1e-12)

def place(k): return [.3*k, .1, .3*k + .2, .3]

def test_wafroc_of_a_table_is_that_of_rjafroc():
    "The first reader finds all lesions of the cases whose weights are unequal, so equal weights change nothing."
    found, marks = RATED[0, 0]
    truth = [[place(k - FIRST[case]) for k, lesion in enumerate(LESIONS) if lesion[0] == case] for case in FIRST]
    false = [[[.4, .7, .6, .9, rating/10] for rating in marks[case]] for case in (1, 2, 3)]
    hits = [[[*place(k - FIRST[case]), found[k]/10] for k in found if LESIONS[k][0] == case] for case in FIRST]
    names = list('abcdefgh')
    df = boxes_table(names, names, [[], [], [], *truth], false + hits)
    assert detection_metrics(df, n_boot=2)['wafroc'] == pytest.approx(RJAFROC[0, 0], abs=1e-12)

@pytest.mark.parametrize('rule', RULES)
def test_each_truth_is_found_once(rule):
    "Each truth is taken by at most one box, and each hit lies in the image of its truth."
    df = crowded(synth_boxes(100, false_alarms=5), 1)
    hits = find_hits(lay_flat(df), rule)
    assert len(set(hits.truth)) == len(hits.truth) == len(set(hits.box)) > 20
    assert (truths(df).image.to_numpy()[hits.truth] == hits.image).all()
    assert (detections(df).image.to_numpy()[hits.box] == hits.image).all()

def test_a_table_is_the_same_after_parquet(tmp_path):
    df = synth_boxes(60, group_size=2)
    df.to_parquet(tmp_path/'predictions.parquet')
    assert detection_metrics(pd.read_parquet(tmp_path/'predictions.parquet'), 20) == detection_metrics(df, 20)

def test_a_table_of_empty_lists_is_the_same_after_parquet(tmp_path):
    df = boxes_table(['a', 'b'], ['a', 'b'], [[], []], [[], []])
    df.to_parquet(tmp_path/'predictions.parquet')
    assert detection_metrics(pd.read_parquet(tmp_path/'predictions.parquet'), 20) == detection_metrics(df, 20)
