"""Answer on a device, offline: the small model of two phases alone, on onnxruntime and numpy.

::

    python on_device.py small.onnx < rows.json

Reads a JSON array of raw rows and writes an array of answers. A row that the small model is not sure of has the phase
``full`` and no label: keep it until the device is connected, and send it to ``POST /models/<use case>/predict``. Where
the model abstains as a whole, the device does too.
"""

import json
import sys

import numpy as np
import onnxruntime


def answer(session, rows):
    """Return one answer a row: its label, confidence and phase."""
    facts = session.get_modelmeta().custom_metadata_map
    classes, least, lowest = json.loads(facts["classes"]), float(facts["confidence"]), facts.get("abstain_below", 0)
    codes = json.loads(facts.get("text_codes", "{}"))

    def number(name, value):  # None becomes NaN
        return codes[name]["codes"].get(value or "", codes[name]["otherwise"]) if name in codes else value

    columns = {}
    for column in session.get_inputs():
        if column.type == "tensor(string)":
            columns[column.name] = np.array([[row.get(column.name) or ""] for row in rows], dtype=object)
        else:  # all numbers are in one input, and codes of texts too
            names = json.loads(facts["number_columns"])
            values = [[number(name, row.get(name)) for name in names] for row in rows]
            columns[column.name] = np.array(values, dtype=np.float64)
    answers = []
    for probabilities in session.run(["probabilities"], columns)[0]:
        confidence = probabilities.max()
        if facts["task"] == "binary":
            label = classes[int(probabilities[1] >= float(facts["threshold"]))]
        else:
            label = classes[probabilities.argmax()]
        sure = confidence >= least
        answers.append(
            {
                "label": label if sure and confidence >= float(lowest) else None,
                "confidence": float(confidence),
                "phase": "small" if sure else "full",
            }
        )
    return answers


if __name__ == "__main__":
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    json.dump(answer(session, json.load(sys.stdin)), sys.stdout, indent=1)
