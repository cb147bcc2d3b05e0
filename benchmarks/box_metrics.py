"""How long the numbers of boxes take: 5,000 images with 100 answers each, ours with intervals beside pycocotools.

    python -m benchmarks.box_metrics [--images 5000] [--classes 20]

Answers are true boxes moved a little, and chance boxes; one core. Prints processor seconds of both and how far AP
differs.
"""

import argparse
import contextlib
import io
import time

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmarks import machine
from saccade import tasks
from saccade.types import Labels, Prediction, Sample

SIDE, ANSWERS = 640, 100


def world(images: int, classes: int) -> list[tuple[Prediction, Sample]]:
    random = np.random.default_rng(0)
    picture = np.zeros((1, 1, 3), np.uint8)
    pairs = []
    for i in range(images):
        count = int(random.integers(1, 16))
        corner = random.uniform(0, SIDE - 120, (count, 2))
        boxes = np.concatenate([corner, corner + random.uniform(8, 120, (count, 2))], 1).astype(np.float32)
        ids = random.integers(0, classes, count)
        pick = random.integers(0, count, ANSWERS)
        said = (boxes[pick] + random.normal(0, 6, (ANSWERS, 4))).astype(np.float32)
        said[:, 2:] = np.maximum(said[:, 2:], said[:, :2] + 1)
        scores = np.sort(random.random(ANSWERS).astype(np.float32))[::-1].copy()
        guess = np.where(random.random(ANSWERS) < 0.8, ids[pick], random.integers(0, classes, ANSWERS))
        sample = Sample(f"{i}", picture, {"boxes": boxes, "box_classes": ids})
        pairs.append((Prediction(SIDE, SIDE, guess, scores, said), sample))
    return pairs


def ours(pairs: list[tuple[Prediction, Sample]], labels: Labels) -> float:
    scorer = tasks.find("detection").scorer(labels)
    for prediction, sample in pairs:
        scorer.add(prediction, sample)
    return scorer.card("test")["ap"].value


def sizes(boxes: np.ndarray) -> list[list[float]]:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).astype(np.float64).tolist()


def theirs(pairs: list[tuple[Prediction, Sample]], labels: Labels) -> float:
    truth, found = [], []
    for i, (prediction, sample) in enumerate(pairs):
        for box, kind in zip(sizes(sample.annotation["boxes"]), sample.annotation["box_classes"].tolist(), strict=True):
            area = box[2] * box[3]
            truth.append(
                {"id": len(truth) + 1, "image_id": i, "category_id": kind, "bbox": box, "area": area, "iscrowd": 0}
            )
        assert prediction.boxes is not None
        assert prediction.class_ids is not None
        assert prediction.scores is not None
        rows = zip(sizes(prediction.boxes), prediction.class_ids.tolist(), prediction.scores.tolist(), strict=True)
        found += [{"image_id": i, "category_id": k, "bbox": b, "score": s} for b, k, s in rows]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i} for i in range(len(pairs))],
            "categories": [{"id": k, "name": n} for k, n in enumerate(labels.names)],
            "annotations": truth,
        }
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(found), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return float(judge.stats[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--classes", type=int, default=20)
    options = parser.parse_args()
    print(machine.describe())
    labels = Labels(tuple(f"class {i}" for i in range(options.classes)))
    pairs = world(options.images, options.classes)
    took, scores = {}, {}
    for name, judge in (("saccade", ours), ("pycocotools", theirs)):
        began = time.process_time()
        scores[name] = judge(pairs, labels)
        took[name] = time.process_time() - began
        print(f"{name:<12} {took[name]:6.1f} processor seconds, AP {scores[name]:.6f}", flush=True)
    gap = abs(scores["saccade"] - scores["pycocotools"])
    print(
        f"ratio {took['pycocotools'] / took['saccade']:.1f}, AP differs by {gap:.1e}; ours with every interval and plot"
    )
    machine.save("box_metrics", {**vars(options), "answers": ANSWERS, "processor_s": took, "ap": scores})


if __name__ == "__main__":
    main()
