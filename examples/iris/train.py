"""Train a classifier on the iris data that scikit-learn ships, and keep it."""

import os

import joblib
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

if __name__ == "__main__":
    seed = int(os.environ.get("CARBOY_SEED", "0"))  # that of a recorded run: carboy run --record --seed 7
    data = load_iris()
    x_train, x_test, y_train, y_test = train_test_split(data.data, data.target, test_size=0.3, random_state=seed)
    model = RandomForestClassifier(n_estimators=50, random_state=seed).fit(x_train, y_train)
    print(f"accuracy: {model.score(x_test, y_test):.3f} on {len(x_test)} flowers")
    joblib.dump(model, "model.joblib")
