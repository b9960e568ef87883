# Train scikit-learn's classifier on R's iris data, and keep it for Python.
library(reticulate)

ensemble <- import("sklearn.ensemble")
joblib <- import("joblib")

set.seed(0)
test <- sample(nrow(iris), 45)
values <- as.matrix(iris[, 1:4])
kinds <- as.character(iris$Species)
model <- ensemble$RandomForestClassifier(n_estimators = 50L, random_state = 0L)
invisible(model$fit(values[-test, ], kinds[-test]))
cat(sprintf("accuracy: %.3f on %d flowers\n", model$score(values[test, ], kinds[test]), length(test)))
invisible(joblib$dump(model, "model.joblib"))
