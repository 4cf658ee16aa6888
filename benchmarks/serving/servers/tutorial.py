"""A prediction service as tutorials write it: pydantic rows, a pandas frame, scikit-learn's ``predict_proba``."""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path
from typing import Any

import pandas as pd
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, create_model

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, required=True)
parser.add_argument("--pipeline", type=Path, required=True, help="made by run.py on this machine a moment before")
arguments = parser.parse_args()

pipeline, columns = pickle.loads(arguments.pipeline.read_bytes())
fields: Any = {name: (str | None, None) if is_text else (float | None, None) for name, is_text in columns}
Row = create_model("Row", **fields)


class Request(BaseModel):
    rows: list[Row]


app = FastAPI()


@app.post("/predict")
def predict(request: Request) -> dict[str, list[dict[str, float]]]:
    frame = pd.DataFrame([row.model_dump() for row in request.rows], columns=[name for name, _ in columns])
    frame = frame.astype({name: object if is_text else float for name, is_text in columns})
    probabilities = pipeline.predict_proba(frame)
    return {"predictions": [{"no": float(no), "yes": float(yes)} for no, yes in probabilities]}


if __name__ == "__main__":
    uvicorn.run(app, port=arguments.port, log_level="warning", access_log=False)
