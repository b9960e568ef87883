# Predict the kind of one flower with the model that train.R kept.
suppressPackageStartupMessages(library(randomForest))

flower <- data.frame(Sepal.Length = 5.1, Sepal.Width = 3.5, Petal.Length = 1.4, Petal.Width = 0.2) # in cm
kind <- predict(readRDS("model.rds"), flower)
cat(sprintf("prediction for %s: %s\n", paste(flower, collapse = ", "), kind))
