"""Train a classifier on the wine data set and write it, with what it was measured at, to the folder named."""

import json
import sys
from pathlib import Path

import joblib
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_score

target = Path(sys.argv[1])
target.mkdir(parents=True, exist_ok=True)
wine = load_wine()
model = RandomForestClassifier(n_estimators=50, random_state=0)
accuracy = cross_val_score(model, wine.data, wine.target, cv=5).mean()
model.fit(wine.data, wine.target)
joblib.dump(model, target / "model.joblib")
(target / "model.json").write_text(
    json.dumps(
        {"features": list(wine.feature_names), "classes": wine.target_names.tolist(), "accuracy": round(accuracy, 3)}
    )
)
print(f"accuracy: {accuracy:.3f} in 5 folds of {len(wine.data)} wines")
