"""Serve the model: GET /health and /model, POST /predict."""

import json
import os
from pathlib import Path

import joblib
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

folder = Path(os.environ.get("MODEL_DIR", "model"))
about = json.loads((folder / "model.json").read_text())
model = joblib.load(folder / "model.joblib")
app = FastAPI(title="wine")


class Sample(BaseModel):
    """Features of one wine, in the order that /model tells."""

    features: list[float]


@app.get("/health")
def health() -> dict[str, str]:
    """Whether it answers."""
    return {"status": "ok"}


@app.get("/model")
def describe() -> dict[str, object]:
    """The features that are wanted, the classes, and how good the model is."""
    return about


@app.post("/predict")
def predict(sample: Sample) -> dict[str, object]:
    """The class that is most likely."""
    if len(sample.features) != len(about["features"]):
        raise HTTPException(422, f"{len(about['features'])} features are needed, not {len(sample.features)}")
    chances = model.predict_proba([sample.features])[0]
    best = int(chances.argmax())
    return {"class": about["classes"][best], "probability": round(float(chances[best]), 3)}
