"""Predict the kind of one flower with the model that R trained."""

import joblib

if __name__ == "__main__":
    flower = [5.1, 3.5, 1.4, 0.2]  # sepal length and width, petal length and width, in cm
    kind = joblib.load("model.joblib").predict([flower])[0]
    print(f"prediction for {flower}: {kind}")
